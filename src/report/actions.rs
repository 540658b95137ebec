//! What GitHub Actions reads of a job beside its exit code: annotations, groups of lines, outputs.
//!
//! A runner takes any line that begins with `::` and any `##[` within one for an order (actions/runner,
//! `ActionCommand.cs`), so foreign text comes out of here with a gap there. Values in, lines out; who writes them
//! where is the command line's matter.

use crate::{
    ids::TaskId,
    night::{Entry, Event, Night, Publication, Stage},
    report::{facts, line, not_landed::reason, plural, pull_request::title, text},
};

/// Annotations that one step can show of each kind; we keep to it for all together.
const ANNOTATIONS: usize = 10;
/// Longest message of an annotation, in characters.
const MESSAGE: usize = 500;

/// The text with nothing in it that a runner takes for an order. Lines and their number stay.
pub fn inert(text: &str) -> String {
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| {
            let line = line.replace("##[", "##\u{200b}[");
            if line.trim_start().starts_with("::") { format!("\u{200b}{line}") } else { line }
        })
        .collect();
    lines.join("\n")
}

/// A command's data, by the runner's rules.
fn data(text: &str) -> String {
    inert(text).replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a command's property, by the runner's rules.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Foreign text between two lines that keep a runner from reading it. `token` is fresh and random: whoever wrote the
/// text cannot know it.
pub fn unread(text: &str, token: &str) -> String {
    format!("::stop-commands::{token}\n{}\n::{token}::", inert(text.trim_end_matches('\n')))
}

/// Lines that a runner folds under one title. Groups do not nest.
pub fn group(title: &str, lines: &[String], token: &str) -> String {
    let title = data(&text::inline_plain(title));
    format!("::group::{title}\n{}\n::endgroup::", unread(&lines.join("\n"), token))
}

/// The task that an entry tells of, where it tells of one.
pub fn task_of(entry: &Entry) -> Option<&TaskId> {
    match &entry.event {
        Event::Began(command) => command.attempt().map(|attempt| &attempt.task),
        Event::AgentEnded { attempt, .. }
        | Event::GateEnded { attempt, .. }
        | Event::TestsProven { attempt, .. }
        | Event::Decided { attempt, .. }
        | Event::Reviewed { attempt, .. }
        | Event::Reversed { attempt, .. }
        | Event::Restacked { attempt, .. }
        | Event::Reverted { attempt, .. }
        | Event::Landed { attempt, .. } => Some(&attempt.task),
        Event::Opened(_)
        | Event::BaseChecked { .. }
        | Event::GateProven { .. }
        | Event::Rewound { .. }
        | Event::Published { .. }
        | Event::NotPublished { .. }
        | Event::StopAsked { .. }
        | Event::Restarted { .. }
        | Event::TimePassed(_)
        | Event::Ended { .. } => None,
    }
}

/// How a task stands, for the title of its group: `task_3 landed, 2 tries`.
pub fn stands(night: &Night, id: &TaskId) -> String {
    let Some(task) = night.task(id) else { return id.to_string() };
    let how = match &task.stage {
        Stage::Landed(_) => "landed",
        Stage::Failed(_) => "failed",
        Stage::Held(_) => "held for your decision",
        Stage::Parked(_) => "waits for your answer",
        Stage::Waiting => "not finished",
        Stage::Editing | Stage::Ungated(_) | Stage::Gated(_) | Stage::Landing(_) => "under way",
    };
    format!("{id} {how}, {}", plural(task.attempts.len(), "try").replace("trys", "tries"))
}

/// One annotation.
struct Annotation {
    kind: &'static str,
    line: Option<usize>,
    title: String,
    message: String,
}

/// The night's annotations as commands, what a person must see first; at most ten, of which the last says how many
/// more the summary has.
pub fn annotations(night: &Night) -> Vec<String> {
    let mut all = Vec::new();
    let mut add = |kind, line, title: String, message: String| {
        all.push(Annotation { kind, line, title, message });
    };
    if let Some(reason) = night.stopped_early() {
        add("error", None, "the night stopped early".to_owned(), line::stop_reason(reason));
    }
    if let Publication::Failed { message, help, .. } = night.publication() {
        add("error", None, "not published".to_owned(), facts::unpublished(message, help));
    }
    let tasks = night.opening().tasks.iter();
    let at = |id: &TaskId| tasks.clone().find(|task| task.id() == id).map(|task| task.task().line);
    for (id, task) in night.tasks() {
        let Some(setback) = task.failed() else { continue };
        let message = format!("{}: {}", title(night, id), line::why_of(task, setback));
        add("error", at(id), format!("{id} failed"), message);
    }
    for (id, task) in night.tasks() {
        if let Some(setback) = task.parked() {
            let message = format!("{}: {}", title(night, id), line::why(setback));
            add("warning", at(id), format!("{id} waits for your answer"), message);
        } else if task.held().is_some() {
            let why = task.last().map(facts::why_held).unwrap_or_default();
            let message = format!("{}: {why}", title(night, id));
            add("warning", at(id), format!("{id} is held for your decision"), message);
        }
    }
    for refused in &night.opening().refused {
        let message = format!("{}: {}", refused.title, reason(refused));
        add("warning", Some(refused.line), format!("{} was refused", refused.id), message);
    }
    let landed = night.landed().len();
    if landed > 0 {
        let place = match night.publication() {
            Publication::Done { url, .. } => url.clone(),
            Publication::Open | Publication::Failed { .. } => night.opening().night.branch(),
        };
        add("notice", None, format!("{} landed", plural(landed, "commit")), place);
    }
    let more = all.len().saturating_sub(ANNOTATIONS);
    if more > 0 {
        all.truncate(ANNOTATIONS - 1);
        let message = format!("and {} more in the summary of this job", more + 1);
        all.push(Annotation { kind: "notice", line: None, title: "more".to_owned(), message });
    }
    let plan = night.opening().plan.path.to_string();
    all.iter().map(|annotation| annotation.command(&plan)).collect()
}

impl Annotation {
    fn command(&self, plan: &str) -> String {
        let mut properties = Vec::new();
        if let Some(line) = self.line {
            properties.push(format!("file={}", property(&text::inline_plain(plan))));
            properties.push(format!("line={line}"));
        }
        properties.push(format!("title={}", property(&text::inline_plain(&self.title))));
        let message = data(&text::head(&text::inline_plain(&self.message), MESSAGE));
        format!("::{} {}::{message}", self.kind, properties.join(","))
    }
}

/// What later steps of a job can ask for: `night`, `landed`, `failed` (with what waits for a person) and `pr-url`,
/// which is empty without a pull request. In the form of the runner's file, each value between marks with `token`.
pub fn outputs(night: Option<&Night>, token: &str) -> String {
    let count = |is_it: &dyn Fn(&Stage) -> bool| {
        night.map_or(0, |night| night.tasks().filter(|(_, task)| is_it(&task.stage)).count())
    };
    let refused = night.map_or(0, |night| night.opening().refused.len());
    let undone =
        |stage: &Stage| matches!(stage, Stage::Failed(_) | Stage::Held(_) | Stage::Parked(_));
    let url = match night.map(Night::publication) {
        Some(Publication::Done { url, number: Some(_), .. }) => url.as_str(),
        Some(Publication::Done { .. } | Publication::Open | Publication::Failed { .. }) | None => {
            ""
        }
    };
    [
        ("night", night.map_or(String::new(), |night| night.opening().night.to_string())),
        ("landed", count(&|stage| matches!(stage, Stage::Landed(_))).to_string()),
        ("failed", count(&undone).to_string()),
        ("refused", refused.to_string()),
        ("pr-url", text::inline_plain(url)),
    ]
    .map(|(name, value)| format!("{name}<<{token}\n{value}\n{token}\n"))
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_an_order() {
        let text = "a\n::error::b\n \t::add-mask::c\nd ##[add-mask]e\n:: f";
        let safe = inert(text);
        assert_eq!(safe.lines().count(), 5);
        assert!(!safe.contains("##[") && safe.replace('\u{200b}', "") == text);
        assert!(safe.lines().all(|line| !line.trim_start().starts_with("::")), "{safe}");
    }

    #[test]
    fn data_and_properties_are_escaped_by_the_runners_rules() {
        assert_eq!(data("100% a:b,c\r\nd"), "100%25 a:b,c%0D%0Ad");
        assert_eq!(property("100% a:b,c\r\nd"), "100%25 a%3Ab%2Cc%0D%0Ad");
        assert_eq!(data("::x\n::y"), "\u{200b}::x%0A\u{200b}::y");
    }

    #[test]
    fn foreign_lines_stand_between_marks_that_nobody_can_guess() {
        let lines = ["one".to_owned(), "::endgroup::".to_owned()];
        let text = group("a\n::error::b", &lines, "t0ken");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "::group::a ::error::b",
                "::stop-commands::t0ken",
                "one",
                "\u{200b}::endgroup::",
                "::t0ken::",
                "::endgroup::"
            ]
        );
    }

    #[test]
    fn without_a_night_the_outputs_are_there_and_say_nothing() {
        let text = outputs(None, "T");
        assert!(text.starts_with("night<<T\n\nT\nlanded<<T\n0\nT\n"), "{text}");
        assert!(text.ends_with("pr-url<<T\n\nT\n"), "{text}");
    }
}
