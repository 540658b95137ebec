//! "Not in this pull request": what did not land, why, and whose move it is.
//!
//! Offers what a person can do with one tap where the forge is a GitHub: a box that asks for another try, and its
//! editor at the task's line. A tick never widens a rule.

use crate::{
    ids::{NAME, RepoPath, TaskId},
    night::{AttemptRecord, Night, NotStarted, RefusedTask, Stage, TaskState},
    outcome::{Failure, StopReason},
    policy::{Refusal, Verdict},
    report::{
        boxes, facts,
        first_screen::{folded, named},
        line, plural,
        pull_request::title,
        text,
    },
};

/// Characters of a rule's limit in the table.
const LIMIT: usize = 40;

/// Where a text is read, and so what can be done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a pull request, where boxes can be ticked.
    PullRequest,
    /// In the summary of a job, where nothing can.
    JobSummary,
}

/// The table, the boxes below it; empty where everything landed.
pub(super) fn not_landed(night: &Night, place: Place) -> String {
    let mut rows = Vec::new();
    let mut retries = String::new();
    for (id, task) in night.tasks() {
        let boxed = place == Place::PullRequest && may_be_retried(night, task);
        let Some((why, next)) = why_and_next(night, id, task, boxed) else { continue };
        rows.push(format!("| {} | {why} | {next} |\n", named(id.as_str(), title(night, id))));
        if boxed {
            let words = format!("try {} again in the next night", text::inline(id.as_str()));
            retries.push_str(&format!("{} {words}\n", boxes::retry(id)));
        }
    }
    for refused in &night.opening().refused {
        let (why, next) = refused_why_and_next(night, refused);
        rows.push(format!("| {} | {why} | {next} |\n", named(refused.id.as_str(), &refused.title)));
    }
    if rows.is_empty() {
        return String::new();
    }
    let head = "| task | why | your move |\n|---|---|---|\n";
    let mut section = format!("\n**Not in this pull request**\n\n{}", folded(head, &rows, "task"));
    if !retries.is_empty() {
        section.push_str(&format!("\n{retries}"));
    }
    section
}

/// True where another try of a failed task can be asked for by a tick: on a forge, and not of what a person took
/// back or what has nothing left to do.
fn may_be_retried(night: &Night, task: &TaskState) -> bool {
    let opening = night.opening();
    let publish = &opening.publish;
    let on_forge = publish.web.is_some() && publish.push && publish.pull_request;
    let by_choice = |failure: &Failure| {
        matches!(
            failure,
            Failure::Reverted { .. } | Failure::NothingLeft | Failure::Rejected { .. }
        )
    };
    on_forge
        && opening.reverses.is_empty()
        && task.failed().is_some_and(|setback| !by_choice(&setback.failure))
}

fn why_and_next(
    night: &Night,
    id: &TaskId,
    task: &TaskState,
    boxed: bool,
) -> Option<(String, String)> {
    let show = || text::code(&format!("{NAME} show {id}"));
    Some(match &task.stage {
        // A task that asks has a place of its own.
        Stage::Landed(_) | Stage::Parked(_) => return None,
        Stage::Failed(setback) => {
            let tries = plural(task.attempts.len(), "try").replace("trys", "tries");
            let kept = task.attempts.iter().any(|record| record.kept.is_some());
            let next = match (boxed, kept) {
                (true, _) => format!("tick below to try again, or {}", show()),
                (false, true) => format!("its work is kept: {}", show()),
                (false, false) => format!("see what it said: {}", show()),
            };
            (
                format!(
                    "{tries}: {}",
                    text::inline(&text::head(&line::why_of(task, setback), 300))
                ),
                next,
            )
        }
        Stage::Held(_) => {
            let objections = task.last().map(AttemptRecord::objections).unwrap_or_default();
            let why: Vec<String> =
                objections.iter().take(3).map(|refusal| refusal_cell(refusal, LIMIT)).collect();
            let [approve, reject] = facts::decide(&format!("{}/{id}", night.opening().night));
            (
                format!("ready, and waits for you: {}", why.join("; ")),
                format!("{} or {}", text::code(&approve), text::code(&reject)),
            )
        }
        Stage::Waiting => (not_started(night, id), whose_turn(night)),
        Stage::Editing | Stage::Ungated(_) | Stage::Gated(_) | Stage::Landing(_) => {
            ("under way when this was written".to_owned(), text::code(&format!("{NAME} resume")))
        }
    })
}

fn not_started(night: &Night, id: &TaskId) -> String {
    match night.why_not_started(id, night.last_fact()) {
        Some(NotStarted::Needs(need)) => {
            format!("not started: {}", text::inline(&facts::needs(night, &need)))
        }
        Some(NotStarted::TaskLimit) => format!(
            "not started: the limit of {} was reached",
            plural(night.opening().limits.tasks as usize, "task")
        ),
        Some(NotStarted::NoModel) => "not finished: no model could be asked any more".to_owned(),
        Some(NotStarted::Money) => "not started: the money or the tokens are spent".to_owned(),
        Some(NotStarted::Stopped) | None => "not finished: the night stopped".to_owned(),
    }
}

fn whose_turn(night: &Night) -> String {
    match night.stopped_early() {
        Some(StopReason::AgentUnusable { .. }) => {
            format!("mend that, then {}", text::code(&format!("{NAME} resume")))
        }
        Some(_) | None => "none: the next night takes it".to_owned(),
    }
}

fn refused_why_and_next(night: &Night, refused: &RefusedTask) -> (String, String) {
    let why: Vec<String> =
        refused.refusals.iter().take(3).map(|refusal| refusal_cell(refusal, LIMIT)).collect();
    let help = refused.refusals.iter().find_map(|refusal| facts::remedy(&refused.id, refusal));
    let help = help
        .map_or_else(|| "edit the task, or leave it".to_owned(), |help| typed(&refused.id, &help));
    let next = format!("{help} ({})", place_in_plan(night, refused.line));
    let word = match refused.verdict {
        Verdict::Refuse => "refused before the start",
        Verdict::Ask | Verdict::Report => "waits for you",
    };
    (format!("{word}: {}", why.join("; ")), next)
}

/// A sentence for a cell. Only the command that approves the task is ours, and stands as code.
fn typed(task: &TaskId, help: &str) -> String {
    let approve = format!("{NAME} approve '{task}'");
    let parts: Vec<String> = help
        .split(&format!("`{approve}`"))
        .map(|part| {
            // The escaped part keeps the spaces that stand between it and the command.
            let [before, after] = [part.starts_with(' '), part.ends_with(' ')]
                .map(|space| if space { " " } else { "" });
            format!("{before}{}{after}", text::inline(part))
        })
        .collect();
    parts.join(&text::code(&approve)).trim().to_owned()
}

/// Why a task was refused, in one plain line.
pub(super) fn reason(refused: &RefusedTask) -> String {
    let why: Vec<&str> =
        refused.refusals.iter().take(3).map(|refusal| refusal.message.as_str()).collect();
    text::inline_plain(&why.join("; "))
}

/// A line of the plan: a link to GitHub's editor there where the base's own plan was read, else its name. What was
/// read from a working tree may stand elsewhere on the base.
pub(super) fn place_in_plan(night: &Night, line: usize) -> String {
    let opening = night.opening();
    let (plan, branch) = (&opening.plan, &opening.base.branch);
    let words = format!("{}:{line}", plan.path);
    match &opening.publish.web {
        Some(web) if !plan.working_tree => {
            let at = format!("{web}/edit/{}/{}#L{line}", in_url(branch), path_in_url(&plan.path));
            format!("[{}]({at})", text::inline(&words))
        }
        Some(_) | None => text::code(&words),
    }
}

fn path_in_url(path: &RepoPath) -> String {
    in_url(&path.to_string())
}

/// A path in an address: every byte but letters, digits and `/._-` as `%XX`.
fn in_url(path: &str) -> String {
    let mut encoded = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// A rule's "no" in a sentence or a cell, with so many characters of its limit, which may be a long list of words.
pub(super) fn refusal_cell(refusal: &Refusal, limit: usize) -> String {
    format!(
        "rule {} ({}), {}; limit {} ({})",
        text::code(&refusal.rule),
        format!("{:?}", refusal.severity).to_lowercase(),
        text::inline(&text::head(&refusal.message, 300)),
        text::inline(&text::head(&refusal.limit, limit)),
        text::inline(&refusal.origin.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_place_in_an_address() {
        assert_eq!(in_url("a b/ü)#?.md"), "a%20b/%C3%BC%29%23%3F.md");
    }
}
