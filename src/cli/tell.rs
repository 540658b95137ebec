//! What several commands tell about a night: foreign text made harmless, a night and a task as JSON, who
//! works on what. Prints nothing itself.

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    cli::find::Found,
    git::Vault,
    ids::{AttemptId, TaskId, TreeId},
    journal::{Holder, Lock},
    night::{AttemptRecord, Night, Publication, Stage, TaskState},
    outcome::GateProof,
    redact::Redactor,
    report::{self, Screen, text},
    runner::{
        clock,
        home::{Home, redactor},
        include,
        places::Surroundings,
        refused::Refused,
    },
};

pub(super) use text::quoted;

/// Makes text of agents, gates and plans fit to be shown.
pub(super) struct Cleaner(Redactor);

impl Cleaner {
    /// Knows the secrets of our environment.
    pub(super) fn new(surroundings: &Surroundings) -> Cleaner {
        Cleaner(redactor(surroundings, &[]))
    }

    /// Knows the secrets of our environment, and those in the person's own files that a night brought along.
    pub(super) fn of(surroundings: &Surroundings, home: &Home, night: &Night) -> Cleaner {
        let base = &night.opening().base.tree;
        // What cannot be read now cannot be masked; the night itself said what was wrong with it.
        let included = include::find(&home.vault, base, home.user.work_tree()).unwrap_or_default();
        Cleaner(redactor(surroundings, &included.secrets))
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

/// True when the process that holds the lock is at this night: an earlier one may have been left open.
pub(super) fn is_at(holder: &Holder, night: &Night) -> bool {
    let named = holder.night.as_ref();
    night.ended().is_none() && named.is_none_or(|named| *named == night.opening().night)
}

/// True when a process is at the night.
pub(super) fn runs(home: &Home, night: &Night) -> bool {
    holder(home).is_some_and(|holder| is_at(&holder, night))
}

/// A night's summary. Only a process can wait: without one nothing goes on by itself.
pub(super) fn summary(night: &Night, running: bool, screen: &Screen) -> String {
    let summary = report::summary(night, clock::now(), running, screen);
    let told = |line: &&str| running || !line.starts_with("waits until ");
    summary.lines().filter(told).flat_map(|line| [line, "\n"]).collect()
}

/// Whether the gate was seen to fail, in one line.
pub(super) fn gate_proof(proof: &GateProof) -> String {
    let reused = if proof.reused { " (seen in an earlier night)" } else { "" };
    format!("{}{reused}", report::canary(proof))
}

/// Where a task stands, in one word.
pub(super) fn stage(task: &TaskState) -> &'static str {
    match task.stage {
        Stage::Waiting => "waiting",
        Stage::Editing => "editing",
        Stage::Ungated(_) => "in the gate",
        Stage::Gated(_) if task.is_approved() => "approved",
        Stage::Gated(_) | Stage::Landing(_) => "landing",
        Stage::Held(_) => "held for you",
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
        Publication::Done { url, number, notes } => {
            json!({"url": url, "number": number, "notes": notes})
        }
        Publication::Failed { message, help, passing, tries, again } => json!({
            "failed": message, "help": help, "passing": passing, "tries": tries, "again": again,
        }),
    };
    let (reason, exit) = match night.ended() {
        Some((reason, exit)) => (reason.as_ref().map(report::stop_reason), Some(exit)),
        None => (None, None),
    };
    let now = clock::now();
    let open = night.ended().is_none();
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
        "subscription": opening.agent.subscription,
        "closings": night.closings(now).filter(|_| open).collect::<Vec<_>>(),
        "goes_on_at": night.wake_at(now).filter(|_| open),
        "recoveries": report::recoveries(night)
            .into_iter()
            .map(|(what, times)| json!({"what": what, "times": times}))
            .collect::<Vec<_>>(),
        "landed": night.landed().iter().map(|(id, _)| id).collect::<Vec<_>>(),
        "tasks": tasks,
        "refused": opening.refused,
        "gate_proof": night.gate_proof(),
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
            let reply = record.agent.as_ref().map(|agent| cleaned(&agent.reply, cleaner));
            let review = record.review.as_ref().map(|review| cleaned(review, cleaner));
            let last_words = record.agent.as_ref().and_then(|agent| agent.last_words.as_deref());
            json!({
                "number": record.number,
                "began": record.began,
                "ended": record.ended,
                "base": record.base,
                "spent": record.spent(),
                "model": record.agent.as_ref().and_then(|agent| agent.model.as_ref()),
                "asked_model": record.model,
                "conversation": record.conversation,
                "turns": record.agent.as_ref().and_then(|agent| agent.turns),
                "usage_window": record.agent.as_ref().and_then(|agent| agent.window.as_ref()),
                "reply": reply,
                "review": review,
                "notes": record.agent.as_ref().map_or(&[][..], |agent| &agent.notes),
                "added": size.map(|(added, _)| added),
                "removed": size.map(|(_, removed)| removed),
                "kept": kept,
                "ref": kept.map(|_| opening_ref(found, &attempt)),
                "gate": record.gate,
                "findings": record.findings().collect::<Vec<_>>(),
                "risk": record.inspection.risk,
                "tests": record.inspection.tests,
                "test_proof": record.test_proof,
                "approved_by": record.approved_by,
                "approval_note": record.approval_note.as_ref().map(|note| cleaner.line(note)),
                "why": record.setback.as_ref().map(|setback| cleaner.line(&report::why(setback))),
                "setback": record.setback,
                "last_words": last_words.map(|words| cleaner.clean(words.as_bytes())),
            })
        })
        .collect();
    let questions = task.parked().map_or(&[][..], report::questions);
    let questions: Vec<String> = questions.iter().map(|words| cleaner.line(words)).collect();
    json!({
        "id": id,
        "title": title(&found.night, id),
        "stage": stage(task),
        "why": task
            .failed()
            .or(task.parked())
            .map(|setback| cleaner.line(&report::why_of(task, setback))),
        "held": held_json(found, id, task, cleaner),
        "questions": questions,
        "answer": report::answer_lines(&questions),
        "commit": task.landed().map(|candidate| &candidate.commit),
        "attempts_allowed": found.night.attempts_allowed(id),
        "attempts": attempts,
    })
}

/// Why a result waits, and what decides about it; null when it does not wait.
fn held_json(found: &Found, id: &TaskId, task: &TaskState, cleaner: &Cleaner) -> Value {
    let Some(record) = task.last().filter(|_| task.held().is_some()) else { return Value::Null };
    let [approve, reject] = report::decide(&quoted(&format!("{}/{id}", found.id)));
    json!({
        "why": cleaner.line(&report::why_held(record)),
        "objections": record.objections(),
        "approve": approve,
        "reject": reject,
    })
}

/// Words of an agent as JSON, without secrets and without anything that a terminal would act on.
pub(super) fn cleaned(said: &impl Serialize, cleaner: &Cleaner) -> Value {
    let mut value = serde_json::to_value(said).unwrap_or_default();
    clean_texts(&mut value, cleaner);
    value
}

fn clean_texts(value: &mut Value, cleaner: &Cleaner) {
    match value {
        Value::String(text) => *text = cleaner.line(text),
        Value::Array(values) => values.iter_mut().for_each(|value| clean_texts(value, cleaner)),
        Value::Object(map) => map.values_mut().for_each(|value| clean_texts(value, cleaner)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The ref that keeps an attempt's work.
pub(super) fn opening_ref(found: &Found, attempt: &AttemptId) -> String {
    found.night.opening().night.attempt_ref(attempt)
}
