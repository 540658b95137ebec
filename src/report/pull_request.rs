//! The morning's pull request: what landed, what did not and why, the evidence, and how to check it.
//!
//! Written for a phone: the first screen decides. Everything comes from the runner's own records; words of
//! plans and agents stand in table cells or fences that they cannot leave.

use crate::{
    ids::{NAME, NightId, TaskId},
    night::{AttemptRecord, Night, NotStarted, Reverse, Stage, TaskState},
    outcome::{Failure, GateReport, StopReason},
    policy::{Inspection, Refusal, Verdict},
    prompt::{Decision, Level},
    report::{
        evidence::{cost, details, evidence, failure_details, guards},
        facts, gates, line, text,
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

/// Builds the pull request for the night as it stands.
pub fn pull_request(night: &Night) -> PullRequest {
    let landed = night.landed();
    let tried = night.tasks().filter(|(_, task)| !task.attempts.is_empty()).count();
    let (added, removed) = landed.iter().fold((0, 0), |(added, removed), (_, candidate)| {
        (added + candidate.stat.added, removed + candidate.stat.removed)
    });
    let title = format!(
        "{NAME} {}: {} of {tried} tasks (+{added} −{removed})",
        night.opening().night,
        landed.len(),
    );
    let title = if night.opening().reverses.is_empty() { title } else { reverting(night) };
    let mut sections = vec![
        takes_back(night),
        runs_code(night),
        first_screen(night),
        reported(night),
        waits(night),
        not_landed(night),
    ];
    sections.extend(decisions(night));
    sections.push(guards(night));
    sections.push(evidence(night));
    sections.extend(night.tasks().filter_map(|(id, task)| failure_details(night, id, task)));
    sections.push(cost(night));
    let footer = format!(
        "\nWritten by {NAME} {} from its own records; words of agents and plans appear only in tables and \
         code blocks.\n",
        crate::ids::VERSION
    );
    let mut body = marker(&night.opening().night);
    body.push('\n');
    let mut rest = String::new();
    for section in sections.into_iter().filter(|section| !section.is_empty()) {
        // Cut at a section's edge: half a table or an open fence would swallow the rest.
        let count = body.chars().count() + section.chars().count() + footer.chars().count();
        if !rest.is_empty() || count > MOST {
            rest.push_str(&section);
        } else {
            body.push_str(&section);
        }
    }
    if !rest.is_empty() {
        body.push_str("\n_The rest did not fit here: it is in the comment below._\n");
    }
    body.push_str(&footer);
    let waits = waits_for_a_person(night);
    let draft = waits || night.opening().publish.draft;
    PullRequest { title: text::head(&title, 256), body, rest, draft, waits }
}

/// The title of a night that takes results back.
fn reverting(night: &Night) -> String {
    let landed = night.landed();
    let names: Vec<&str> = landed.iter().map(|(id, _)| self::title(night, id)).collect();
    let verb = if night.opening().puts_back() { "put" } else { "take" };
    format!("{NAME} {}: {verb} back {}", night.opening().night, text::plain(&names.join(", ")))
}

/// What is taken back, whose word it was, and why.
fn takes_back(night: &Night) -> String {
    let landed =
        |reverse: &&Reverse| night.task(&reverse.task).is_some_and(|task| task.landed().is_some());
    let mut rows = String::new();
    for reverse in night.opening().reverses.iter().filter(landed) {
        rows.push_str(&format!(
            "| **{}** {} | {} | {} | {} | {} |\n",
            text::inline(reverse.task.as_str()),
            text::inline(self::title(night, &reverse.task)),
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
    let rows = findings(night, &|finding| Inspection::runs_code(finding));
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
    format!("\n**Worth a look**\n\n| task | where | what a rule saw |\n|---|---|---|\n{rows}")
}

/// Rows of a table of what rules said of landed work and did not stop.
fn findings(night: &Night, wanted: &dyn Fn(&Refusal) -> bool) -> String {
    let mut rows = String::new();
    for (id, task) in night.tasks().filter(|(_, task)| task.landed().is_some()) {
        let said = task.last().into_iter().flat_map(AttemptRecord::findings);
        for finding in said.filter(|finding| wanted(finding)) {
            rows.push_str(&format!(
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

fn first_screen(night: &Night) -> String {
    let opening = night.opening();
    let landed = night.landed();
    let count = landed.len();
    let failed = night.tasks().filter(|(_, task)| task.failed().is_some()).count();
    let waiting = night.tasks().filter(|(_, t)| matches!(t.stage, Stage::Waiting)).count();
    let mut facts = vec![format!("**{} to review.**", plural(count, "commit"))];
    if failed > 0 {
        facts.push(format!("{} failed.", plural(failed, "task")));
    }
    let asks = night.tasks().filter(|(_, task)| task.parked().is_some()).count();
    if asks > 0 {
        let verb = if asks == 1 { "waits" } else { "wait" };
        facts.push(format!("{} {verb} for your answer.", plural(asks, "task")));
    }
    let held = night.tasks().filter(|(_, task)| task.held().is_some()).count();
    if held > 0 {
        let verb = if held == 1 { "is" } else { "are" };
        facts.push(format!("{} {verb} finished and held for your decision.", plural(held, "task")));
    }
    if !opening.refused.is_empty() {
        let count = opening.refused.len();
        facts.push(format!("{} {} refused before the start.", plural(count, "task"), was(count)));
    }
    if waiting > 0 {
        facts.push(format!(
            "{} {} not started or not finished.",
            plural(waiting, "task"),
            was(waiting)
        ));
    }
    facts.push(format!(
        "Base {}, {}, {}.",
        text::code(&format!("{}@{}", opening.base.branch, opening.base.commit.short())),
        times(night),
        facts::spent(night),
    ));
    if let Some(reason) = night.stopped_early() {
        facts.push(format!(
            "The night stopped early: {}.",
            text::inline(&line::stop_reason(reason))
        ));
    }
    let mut screen = format!("{}\n\n", facts.join(" "));
    let steps: Vec<String> = opening.gate.steps.iter().map(|step| text::code(&step.run)).collect();
    screen.push_str(&format!(
        "Each commit passed {} on exactly its own tree, where no agent ever wrote, over what the base's own \
         gate left in ignored paths. \
         The gate's files and every protected file are those of the base.\n\n",
        steps.join(", ")
    ));
    for (heading, words) in [
        ("Known failures", gates::known_failures(night)),
        ("Not proven able to fail", gates::not_proven(night)),
    ] {
        if let Some(words) = words {
            screen.push_str(&format!("> **{heading}.** {}.\n\n", text::inline(&words)));
        }
    }
    if opening.agent.walls == "none" {
        screen.push_str(
            "> **No walls.** Agent and gate ran without a sandbox, as this machine's owner allowed.\n\n",
        );
    }
    screen.push_str("| | commit | task | size | tries | gate |\n|-:|---|---|--:|--:|---|\n");
    for (number, (id, candidate)) in landed.iter().enumerate() {
        let task = night.task(id);
        let tries = task.map_or(0, |task| task.attempts.len());
        let gate = task.and_then(TaskState::last).and_then(|record| record.gate.as_ref());
        screen.push_str(&format!(
            "| {} | {} | **{}** {} | +{}&nbsp;−{} | {tries} | {} |\n",
            number + 1,
            candidate.commit.short(),
            text::inline(id.as_str()),
            text::inline(title(night, id)),
            candidate.stat.added,
            candidate.stat.removed,
            gate.map_or_else(String::new, |report| gate_cell(report, night)),
        ));
    }
    screen
}

fn gate_cell(report: &GateReport, night: &Night) -> String {
    let millis = report.steps.iter().map(|step| step.millis).sum();
    let tests = gates::tests(report, night.base_gate().report()).map_or(String::new(), |count| {
        format!(",&nbsp;{}&nbsp;tests", count.replace(' ', "&nbsp;"))
    });
    let flaky = if gates::flaky(report).is_empty() { "" } else { ", **flaky**" };
    let known = gates::excused(report)
        .map_or(String::new(), |words| format!(", red as on the base: {}", text::inline(&words)));
    format!("pass,&nbsp;{}{tests}{flaky}{known}", line::seconds(millis))
}

fn not_landed(night: &Night) -> String {
    let mut rows = String::new();
    for (id, task) in night.tasks() {
        let (why, next) = match &task.stage {
            // A task that asks has a place of its own.
            Stage::Landed(_) | Stage::Parked(_) => continue,
            Stage::Failed(setback) => (
                format!(
                    "{}: {}",
                    plural(task.attempts.len(), "try").replace("trys", "tries"),
                    text::inline(&line::why(setback))
                ),
                format!(
                    "{}: {}",
                    if task.attempts.iter().any(|record| record.kept.is_some()) {
                        "its work is kept"
                    } else {
                        "see what it said"
                    },
                    text::code(&format!("{NAME} show {id}"))
                ),
            ),
            Stage::Held(_) => {
                let objections = task.last().map(AttemptRecord::objections).unwrap_or_default();
                let why: Vec<String> =
                    objections.iter().take(3).map(|refusal| refusal_cell(refusal)).collect();
                let [approve, reject] = facts::decide(&format!("{}/{id}", night.opening().night));
                (
                    format!("ready, and waits for you: {}", why.join("; ")),
                    format!("{} or {}", text::code(&approve), text::code(&reject)),
                )
            }
            Stage::Waiting => {
                let why = match night.why_not_started(id, night.last_fact()) {
                    Some(NotStarted::Needs(need)) => {
                        format!("not started: {}", text::inline(&facts::needs(night, &need)))
                    }
                    Some(NotStarted::TaskLimit) => format!(
                        "not started: the limit of {} was reached",
                        plural(night.opening().limits.tasks as usize, "task")
                    ),
                    Some(NotStarted::NoModel) => {
                        "not finished: no model could be asked any more".to_owned()
                    }
                    Some(NotStarted::Money) => {
                        "not started: the money or the tokens are spent".to_owned()
                    }
                    Some(NotStarted::Stopped) | None => {
                        "not finished: the night stopped".to_owned()
                    }
                };
                let next = match night.stopped_early() {
                    Some(StopReason::AgentUnusable { .. }) => {
                        format!("mend that, then {}", text::code(&format!("{NAME} resume")))
                    }
                    Some(_) | None => "none: the next night takes it".to_owned(),
                };
                (why, next)
            }
            Stage::Editing | Stage::Ungated(_) | Stage::Gated(_) | Stage::Landing(_) => (
                "under way when this was written".to_owned(),
                text::code(&format!("{NAME} resume")),
            ),
        };
        rows.push_str(&row(night, id, title(night, id), &why, &next));
    }
    for refused in &night.opening().refused {
        let why: Vec<String> = refused.refusals.iter().take(3).map(refusal_cell).collect();
        let next = refused
            .refusals
            .iter()
            .find_map(|refusal| refusal.help.as_deref())
            .map_or_else(|| "edit the task, or leave it".to_owned(), text::inline);
        let word = match refused.verdict {
            Verdict::Refuse => "refused before the start",
            Verdict::Ask | Verdict::Report => "waits for you",
        };
        let why = format!("{word}: {}", why.join("; "));
        rows.push_str(&row(night, &refused.id, &refused.title, &why, &next));
    }
    if rows.is_empty() {
        return String::new();
    }
    format!("\n**Not in this pull request**\n\n| task | why | your move |\n|---|---|---|\n{rows}")
}

/// What tasks ask, as the lines that answer them.
fn waits(night: &Night) -> String {
    let mut parts = String::new();
    for (id, task) in night.tasks() {
        let Some(setback) = task.parked() else { continue };
        let name = format!("**{}** {}", text::inline(id.as_str()), text::inline(title(night, id)));
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
        text::code(&night.opening().plan.path.to_string())
    )
}

/// What landed tasks decided on their way: what needed a second opinion in the open, the rest folded.
fn decisions(night: &Night) -> Vec<String> {
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
    let [shown, folded] = rows;
    let mut parts = Vec::new();
    if !shown.is_empty() {
        parts
            .push(format!("\n**Decisions** that the agents took, in their words\n\n{HEAD}{shown}"));
    }
    if !folded.is_empty() {
        let words = plural(folded.lines().count(), "small decision");
        parts.push(details(&format!("{words} of the agents"), &format!("{HEAD}{folded}")));
    }
    parts
}

fn row(_night: &Night, id: &TaskId, title: &str, why: &str, next: &str) -> String {
    format!("| **{}** {} | {why} | {next} |\n", text::inline(id.as_str()), text::inline(title))
}

pub(super) fn refusal_cell(refusal: &Refusal) -> String {
    format!(
        "rule {} ({}), {}; limit {} ({})",
        text::code(&refusal.rule),
        format!("{:?}", refusal.severity).to_lowercase(),
        text::inline(&refusal.message),
        text::inline(&refusal.limit),
        text::inline(&refusal.origin.to_string()),
    )
}

pub(super) fn title<'n>(night: &'n Night, id: &TaskId) -> &'n str {
    let found = night.opening().tasks.iter().find(|task| task.id() == id);
    found.map_or("", |task| task.task().title.as_str())
}

fn times(night: &Night) -> String {
    let clock = |at: jiff::Timestamp| at.strftime("%H:%M").to_string();
    format!("{}–{} UTC", clock(night.opening().at), clock(night.last_fact()))
}

pub(super) fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

fn was(count: usize) -> &'static str {
    if count == 1 { "was" } else { "were" }
}
