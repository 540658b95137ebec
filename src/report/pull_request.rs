//! The morning's pull request: what landed, what did not and why, the evidence, and how to check it.
//!
//! Written for a phone: the first screen decides. Everything comes from the runner's own records; words of
//! plans and agents stand in table cells or fences that they cannot leave.

use crate::{
    ids::{NAME, NightId, TaskId},
    night::{AttemptRecord, Night, Reverse},
    outcome::Failure,
    policy::{Inspection, Refusal, Verdict},
    prompt::{Decision, Level},
    report::{
        evidence::{Logs, cost, details, drop_or_stop, evidence, failure_details, guards},
        facts, first_screen, line,
        night_picture::night_picture,
        not_landed::{Place, not_landed},
        plural, text,
    },
};

/// GitHub takes 65,536 characters; we keep a distance, and leave room for what the forge adds.
const MOST: usize = 58_000;

/// The title and the text of a night's pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// At most 256 characters.
    pub title: String,
    /// At most 60,000 characters. Its first line is the hidden marker.
    pub body: String,
    /// The sections that did not fit there, for a comment. Empty = all fit.
    pub rest: String,
    /// True when something in it waits for a person, and when it was asked to be a draft.
    pub draft: bool,
    /// True when something in it waits for a person.
    pub waits: bool,
}

/// The first line of a night's pull request, hidden by Markdown: how it is known as ours, and which night's.
pub fn marker(night: &NightId) -> String {
    format!("<!-- {NAME} v=1 night={night} -->")
}

/// Builds the pull request for the night as it stands, without a word of any log.
pub fn pull_request(night: &Night) -> PullRequest {
    pull_request_with(night, &Logs::new())
}

/// The same with the ends of the logs that [`quoted_logs`](crate::report::quoted_logs) names, where they are there.
pub fn pull_request_with(night: &Night, logs: &Logs) -> PullRequest {
    let mut body = marker(&night.opening().night);
    body.push('\n');
    let room = MOST - body.chars().count();
    let (text, rest) = fitted(
        sections(night, Place::PullRequest, logs),
        &footer(),
        room,
        "The comment below has it",
    );
    body.push_str(&text);
    let waits = waits_for_a_person(night);
    let draft = waits || night.opening().publish.draft;
    PullRequest { title: title_of(night), body, rest, draft, waits }
}

/// The same for a job's summary, which has no box to tick and room for more: at most `most` characters.
pub fn job_summary(night: &Night, most: usize) -> String {
    let heading = format!("### {}\n\n", text::inline(&title_of(night)));
    let room = most - heading.chars().count();
    let elsewhere = format!("`{NAME} show` has it");
    let (body, _) =
        fitted(sections(night, Place::JobSummary, &Logs::new()), &footer(), room, &elsewhere);
    format!("{heading}{body}")
}

fn title_of(night: &Night) -> String {
    let opening = night.opening();
    if !opening.reverses.is_empty() {
        return text::head(&reverting(night), 256);
    }
    let landed = night.landed();
    let all = night.tasks().count() + opening.refused.len();
    let (added, removed) = landed.iter().fold((0, 0), |(added, removed), (_, candidate)| {
        (added + candidate.stat.added, removed + candidate.stat.removed)
    });
    let tasks = plural(all, "task");
    format!("{NAME} {}: {} of {tasks} (+{added} −{removed})", opening.night, landed.len())
}

fn footer() -> String {
    format!(
        "\nWritten by {NAME} {} from its own records; words of agents and plans appear only in tables and code \
         blocks.\n",
        crate::ids::VERSION
    )
}

/// The parts of a report with a name for each, the most important first.
fn sections(night: &Night, place: Place, logs: &Logs) -> Vec<(String, String)> {
    let mut sections = Vec::new();
    let mut add = |name: &str, text: String| sections.push((name.to_owned(), text));
    add("what is taken back", takes_back(night));
    add("what runs by itself", runs_code(night));
    add("the counts", first_screen::decision(night));
    add("what the gate's word is worth", first_screen::gate_claim(night));
    add("the commits", first_screen::commits(night));
    add("findings of rules", reported(night));
    add("questions", waits(night));
    add("what did not land", not_landed(night, place));
    let [shown, small] = decisions(night);
    add("decisions", shown);
    add("small decisions", small);
    add("guards", guards(night));
    add("evidence", evidence(night));
    add("drop or stop", drop_or_stop(night));
    for (id, task) in night.tasks() {
        if let Some(why) = failure_details(night, id, task, logs) {
            add(&format!("why {} failed", text::inline(id.as_str())), why);
        }
    }
    add("the night as a picture", night_picture(night));
    add("cost", cost(night));
    sections
}

/// All sections that fit into `most` characters, with the names of those that do not and where they are, and those
/// sections. Cut at a section's edge alone: half a table or an open fence would swallow the rest.
fn fitted(
    sections: Vec<(String, String)>,
    footer: &str,
    most: usize,
    elsewhere: &str,
) -> (String, String) {
    /// Characters kept free for the names of what does not fit.
    const NAMES: usize = 1_000;
    let room = most.saturating_sub(footer.chars().count() + NAMES);
    let (mut body, mut length, mut left_out) = (String::new(), 0, Vec::new());
    let mut rest = String::new();
    for (name, section) in sections {
        let characters = section.chars().count();
        if length + characters > room {
            left_out.push(name);
            rest.push_str(&section);
        } else {
            length += characters;
            body.push_str(&section);
        }
    }
    if !left_out.is_empty() {
        let names = text::head(&left_out.join(", "), NAMES - 100);
        body.push_str(&format!(
            "\n**Left out, because it did not fit here**: {names}. {elsewhere}.\n"
        ));
    }
    (body + footer, rest)
}

/// The title of a night that takes results back.
fn reverting(night: &Night) -> String {
    let landed = night.landed();
    let names: Vec<&str> = landed.iter().map(|(id, _)| self::title(night, id)).collect();
    let verb = if night.opening().puts_back() { "put" } else { "take" };
    let names = text::for_commit(&names.join(", "));
    format!("{NAME} {}: {verb} back {names}", night.opening().night)
}

/// What is taken back, whose word it was, and why.
fn takes_back(night: &Night) -> String {
    let landed =
        |reverse: &&Reverse| night.task(&reverse.task).is_some_and(|task| task.landed().is_some());
    let mut rows = String::new();
    for reverse in night.opening().reverses.iter().filter(landed) {
        rows.push_str(&format!(
            "| {} | {} | {} | {} | {} |\n",
            first_screen::named(reverse.task.as_str(), self::title(night, &reverse.task)),
            reverse.commit.short(),
            reverse.night,
            text::inline(&reverse.by),
            text::inline(reverse.reason.as_deref().unwrap_or("")),
        ));
    }
    if rows.is_empty() {
        return String::new();
    }
    let what = if night.opening().puts_back() {
        "**Puts back** what an earlier night took and a person wants again."
    } else {
        "**Takes back** what an earlier night landed and a person does not want."
    };
    format!(
        "{what} No agent worked on it.\n\n\
         | task | commit | night | by | why |\n|---|---|---|---|---|\n{rows}\n"
    )
}

fn waits_for_a_person(night: &Night) -> bool {
    let refused = night.tasks().filter_map(|(_, task)| task.failed()).any(|setback| {
        if let Failure::Refused(refusals) = &setback.failure {
            refusals.iter().any(|refusal| refusal.verdict == Verdict::Ask)
        } else {
            false
        }
    });
    let waits = night.tasks().any(|(_, task)| task.parked().is_some() || task.held().is_some());
    refused || waits
}

/// What runs by itself, before anything else: some of it runs when the branch is only opened.
fn runs_code(night: &Night) -> String {
    let rows = findings(night, &|finding| Inspection::runs_code(finding)).concat();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "**Runs code on your machine**: read these files before you check the branch out.\n\n\
         | task | file | what it is |\n|---|---|---|\n{rows}\n"
    )
}

/// What rules only report, for the tasks that landed.
fn reported(night: &Night) -> String {
    let rows = findings(night, &|finding| !Inspection::runs_code(finding));
    if rows.is_empty() {
        return String::new();
    }
    let head = "| task | where | what a rule saw |\n|---|---|---|\n";
    format!("\n**Worth a look**\n\n{}", first_screen::folded(head, &rows, "finding"))
}

/// Rows of a table of what rules said of landed work and did not stop.
fn findings(night: &Night, wanted: &dyn Fn(&Refusal) -> bool) -> Vec<String> {
    let mut rows = Vec::new();
    for (id, task) in night.tasks().filter(|(_, task)| task.landed().is_some()) {
        let said = task.last().into_iter().flat_map(AttemptRecord::findings);
        for finding in said.filter(|finding| wanted(finding)) {
            rows.push(format!(
                "| **{}** | {} | {} ({}) |\n",
                text::inline(id.as_str()),
                text::code(&text::head(&finding.value, 200)),
                text::inline(&finding.message),
                text::code(&finding.rule),
            ));
        }
    }
    rows
}

/// What tasks ask, as the lines that answer them.
fn waits(night: &Night) -> String {
    let mut parts = String::new();
    for (id, task) in night.tasks() {
        let Some(setback) = task.parked() else { continue };
        let name = first_screen::named(id.as_str(), title(night, id));
        let questions = facts::questions(setback);
        if questions.is_empty() {
            let show = text::code(&format!("{NAME} show {id}"));
            parts.push_str(&format!("\n{name}: {}; {show}\n", text::inline(&line::why(setback))));
        } else {
            let lines: Vec<String> =
                facts::answer_lines(questions).iter().map(|line| format!("  {line}")).collect();
            parts.push_str(&format!("\n{name}\n\n{}\n", text::fence(&lines.join("\n"))));
        }
    }
    if parts.is_empty() {
        return String::new();
    }
    format!(
        "\n**Waits for you**: write the answer below the task in {}, and the next night takes it again.\n\
         {parts}",
        text::code(&night.opening().plan.path.to_string()),
    )
}

/// What landed tasks decided on their way: what needed a second opinion in the open, the rest folded.
fn decisions(night: &Night) -> [String; 2] {
    const HEAD: &str = "| task | level | decided | why | second opinion |\n|---|---|---|---|---|\n";
    let mut rows = [String::new(), String::new()];
    for (id, task) in night.tasks().filter(|(_, task)| task.landed().is_some()) {
        let review = task.last().and_then(|record| record.review.as_ref());
        for Decision { level, what, why } in facts::decisions(task) {
            let small = level == Level::Low;
            let opinion = match review {
                Some(review) if !small => {
                    let word = if review.agree { "agrees" } else { "disagrees" };
                    format!("{word}: {}", text::inline(&review.why))
                }
                Some(_) | None => String::new(),
            };
            rows[usize::from(small)].push_str(&format!(
                "| {} | {} | {} | {} | {opinion} |\n",
                text::inline(id.as_str()),
                level.word(),
                text::inline(&what),
                text::inline(&why),
            ));
        }
    }
    let [mut shown, mut small] = rows;
    if !shown.is_empty() {
        shown = format!("\n**Decisions** that the agents took, in their words\n\n{HEAD}{shown}");
    }
    if !small.is_empty() {
        let words = plural(small.lines().count(), "small decision");
        small = details(&format!("{words} of the agents"), &format!("{HEAD}{small}"));
    }
    [shown, small]
}

pub(super) fn title<'n>(night: &'n Night, id: &TaskId) -> &'n str {
    let found = night.opening().tasks.iter().find(|task| task.id() == id);
    found.map_or("", |task| task.task().title.as_str())
}
