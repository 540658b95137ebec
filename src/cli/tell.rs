//! What several commands tell about a night: foreign text made harmless, a night and a task as JSON, who
//! works on what. Prints nothing itself.

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use crate::{
    cli::find::Found,
    git::Vault,
    ids::{AttemptId, TaskId, TreeId},
    journal::{Holder, Lock},
    night::{AttemptRecord, Command, Night, Publication, Stage, TaskState},
    redact::Redactor,
    report::{self, text},
    runner::{
        home::{Home, redactor},
        places::Surroundings,
        refused::Refused,
    },
};

/// Makes text of agents, gates and plans fit to be shown.
pub(super) struct Cleaner(Redactor);

impl Cleaner {
    /// Knows the secrets of our environment.
    pub(super) fn new(surroundings: &Surroundings) -> Cleaner {
        Cleaner(redactor(surroundings))
    }

    /// Without secrets and without anything that a terminal would act on.
    pub(super) fn clean(&self, bytes: &[u8]) -> String {
        text::plain(&self.0.redact(&String::from_utf8_lossy(bytes)))
    }

    /// Without secrets, and otherwise as it is.
    pub(super) fn redacted(&self, bytes: &[u8]) -> String {
        self.0.redact(&String::from_utf8_lossy(bytes)).into_owned()
    }

    /// One line of it.
    pub(super) fn line(&self, words: &str) -> String {
        text::inline_plain(&self.0.redact(words))
    }
}

/// A time as this machine's people read it, with its offset.
pub(super) fn local(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// Who runs a night here, if anybody does.
pub(super) fn holder(home: &Home) -> Option<Holder> {
    Lock::holder(&home.places.lock())
}

/// A holder in words: the file it stands in may be empty for a moment.
pub(super) fn holder_in_words(holder: &Holder) -> String {
    match (holder.pid, holder.since.is_empty()) {
        (0, _) => "running".to_owned(),
        (pid, true) => format!("running (pid {pid})"),
        (pid, false) => format!("running since {} (pid {pid})", text::inline_plain(&holder.since)),
    }
}

/// What is under way, in words.
pub(super) fn phase(night: &Night) -> String {
    let words: Vec<String> = night
        .in_flight()
        .iter()
        .map(|command| match command {
            Command::CheckBase { .. } => "the gate runs on the base".to_owned(),
            Command::RunAgent { attempt, .. } => format!(
                "the agent works on {}, try {} of {}",
                attempt.task,
                attempt.number,
                night.attempts_allowed(&attempt.task)
            ),
            Command::RunGate { attempt, .. } => format!("the gate runs for {attempt}"),
            Command::Review { attempt, .. } => {
                format!("a second opinion on {attempt} is asked for")
            }
            Command::Restack { attempt, .. } => format!("{attempt} is rebuilt on the new tip"),
            Command::Land { attempt, .. } => format!("{attempt} lands"),
            Command::Publish { .. } => "the branch is published".to_owned(),
        })
        .collect();
    if words.is_empty() { "between two steps".to_owned() } else { words.join("; ") }
}

/// Where a task stands, in one word.
pub(super) fn stage(task: &TaskState) -> &'static str {
    match task.stage {
        Stage::Waiting => "waiting",
        Stage::Editing => "editing",
        Stage::Ungated(_) => "in the gate",
        Stage::Gated(_) | Stage::Landing(_) => "landing",
        Stage::Landed(_) => "landed",
        Stage::Failed(_) => "failed",
        Stage::Parked(_) => "waits for you",
    }
}

/// The title of a task of the night.
pub(super) fn title<'n>(night: &'n Night, id: &TaskId) -> &'n str {
    let found = night.opening().tasks.iter().find(|task| task.id() == id);
    found.map_or("", |task| task.task().title.as_str())
}

/// From which tree to which an attempt's work goes. A landed or restacked one is shown as it is on the
/// branch; any other as it was kept.
pub(super) fn work_of(
    vault: &Vault,
    record: &AttemptRecord,
) -> Result<Option<(TreeId, TreeId)>, Refused> {
    if let Some(candidate) = &record.candidate {
        return Ok(Some((vault.tree_of(&candidate.base)?, candidate.tree.clone())));
    }
    let Some(kept) = &record.kept else { return Ok(None) };
    Ok(Some((vault.tree_of(&record.base)?, vault.tree_of(kept)?)))
}

/// Lines that an attempt added and removed, where it left work.
pub(super) fn size_of(vault: &Vault, record: &AttemptRecord) -> Option<(u32, u32)> {
    if let Some(candidate) = &record.candidate {
        return Some((candidate.stat.added, candidate.stat.removed));
    }
    let (from, to) = work_of(vault, record).ok()??;
    let stat = vault.diff(&from, &to).ok()?.stat();
    Some((stat.added, stat.removed))
}

/// A night as JSON: the same facts as its summary.
pub(super) fn night_json(home: &Home, found: &Found, cleaner: &Cleaner) -> Value {
    let night = &found.night;
    let opening = night.opening();
    let publication = match night.publication() {
        Publication::Open => Value::Null,
        Publication::Done { url, number } => json!({"url": url, "number": number}),
        Publication::Failed { message, help } => json!({"failed": message, "help": help}),
    };
    let (reason, exit) = match night.ended() {
        Some((reason, exit)) => (reason.as_ref().map(report::stop_reason), Some(exit)),
        None => (None, None),
    };
    let tasks: Vec<Value> =
        night.tasks().map(|(id, task)| task_json(home, found, id, task, cleaner)).collect();
    json!({
        "night": opening.night,
        "repository": opening.repository,
        "branch": opening.night.branch(),
        "base": opening.base,
        "tip": night.tip(),
        "began": opening.at,
        "last_fact": night.last_fact(),
        "ended": night.ended().is_some(),
        "exit": exit,
        "stopped_early": reason,
        "spent": night.spent(),
        "landed": night.landed().iter().map(|(id, _)| id).collect::<Vec<_>>(),
        "tasks": tasks,
        "refused": opening.refused,
        "pull_request": publication,
        "notes": opening.notes,
        "damage": found.damage,
    })
}

/// A task of a night as JSON.
pub(super) fn task_json(
    home: &Home,
    found: &Found,
    id: &TaskId,
    task: &TaskState,
    cleaner: &Cleaner,
) -> Value {
    let attempts: Vec<Value> = task
        .attempts
        .iter()
        .map(|record| {
            let attempt = AttemptId { task: id.clone(), number: record.number };
            let size = size_of(&home.vault, record);
            let kept = record.kept.as_ref();
            let last_words = record.agent.as_ref().and_then(|agent| agent.last_words.as_deref());
            json!({
                "number": record.number,
                "began": record.began,
                "ended": record.ended,
                "base": record.base,
                "spent": record.spent(),
                "added": size.map(|(added, _)| added),
                "removed": size.map(|(_, removed)| removed),
                "kept": kept,
                "ref": kept.map(|_| opening_ref(found, &attempt)),
                "gate": record.gate,
                "why": record.setback.as_ref().map(|setback| cleaner.line(&report::why(setback))),
                "setback": record.setback,
                "last_words": last_words.map(|words| cleaner.clean(words.as_bytes())),
            })
        })
        .collect();
    json!({
        "id": id,
        "title": title(&found.night, id),
        "stage": stage(task),
        "why": task.failed().map(|setback| cleaner.line(&report::why(setback))),
        "commit": task.landed().map(|candidate| &candidate.commit),
        "attempts_allowed": found.night.attempts_allowed(id),
        "attempts": attempts,
    })
}

/// The ref that keeps an attempt's work.
pub(super) fn opening_ref(found: &Found, attempt: &AttemptId) -> String {
    found.night.opening().night.attempt_ref(attempt)
}

/// An argument as a person would have to type it.
pub(super) fn quoted(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./=:@%+".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
