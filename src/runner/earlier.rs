//! What earlier nights made of a task, as this machine's journals and the ledger of all machines tell: a task that
//! landed and is not merged yet is not done twice, one whose result is held waits for a person's word, one that
//! failed until somebody changes its text, and one that asked until somebody answers below it, which changes its
//! text.
//!
//! Only reads. The newest word about a task holds, wherever it was said; of a night of this machine its journal's.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    ids::{CommitId, NAME, NightId, TaskId},
    journal,
    ledger::{Fact, Outcome, origin},
    night::{Night, Publication, Rejection, Setback},
    outcome::Failure,
    plan::Task,
    policy::{Admission, AdmittedTask, Decision, Origin, Refusal, Severity, Verdict},
    report,
    runner::{home::Home, known, places::Places},
};

/// Nights that are looked at, newest last: two months of them.
pub(super) const NIGHTS: usize = 60;
/// The rule that holds back a task whose work waits for a merge.
pub const LANDED: &str = "admission.landed";
/// The rule that holds back a task that failed and has not changed since.
pub const FAILED: &str = "admission.failed-before";
/// The rule that holds back a task that asked and was not answered.
pub const ASKED: &str = "admission.asked";

/// The rule that holds back a task whose result waits for a person's decision.
pub const HELD: &str = "admission.held";

/// What became of a task's text in an earlier night.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Earlier {
    Landed { place: String },
    Held { night: NightId, why: String },
    Failed { night: NightId, why: String },
    Asked { night: NightId, why: String, answer: Vec<String> },
}

/// A task and the hash of its text.
type Key = (TaskId, String);
/// What became of it, and whether another machine said so.
type Word = (Earlier, bool);

/// Holds back the tasks of a plan that an earlier night settled. Does nothing to tasks that would not run.
pub fn hold_back(home: &Home, base: &CommitId, tasks: &[Task], admissions: &mut [Admission]) {
    if admissions.iter().all(|admission| admission.admitted().is_none()) {
        return;
    }
    let earlier = of(home, base);
    for (task, admission) in tasks.iter().zip(admissions) {
        let known = earlier.get(&(task.id.clone(), task.text_hash.clone()));
        let (Some((known, elsewhere)), Some(_)) = (known, admission.admitted()) else { continue };
        let place = if *elsewhere { " (on another machine)" } else { "" };
        let refusal = |rule: &str, message: String, value: String, limit: &str| Refusal {
            rule: rule.to_owned(),
            verdict: Verdict::Ask,
            severity: Severity::Low,
            message: format!("{message}{place}"),
            value,
            limit: limit.to_owned(),
            origin: Origin::Default,
            help: Some(format!("{NAME} run -t '{}' does it all the same", task.id)),
        };
        admission.decision = Decision::Waiting(vec![match known {
            Earlier::Landed { place } => refusal(
                LANDED,
                format!("its work waits in {place}"),
                place.clone(),
                "not landed and waiting",
            ),
            Earlier::Held { night, why } => Refusal {
                help: Some(format!(
                    "{NAME} approve '{0}' lands it, {NAME} reject '{0}' does not{1}",
                    task.id,
                    if *elsewhere { ", on the machine that has it" } else { "" }
                )),
                ..refusal(
                    HELD,
                    format!("its result of night {night} waits for your decision"),
                    why.clone(),
                    "approved or rejected, changed, or named with -t",
                )
            },
            Earlier::Failed { night, why } => refusal(
                FAILED,
                format!("it failed in night {night} and its text has not changed since"),
                why.clone(),
                "new, changed, or named with -t",
            ),
            Earlier::Asked { night, why, answer } => Refusal {
                help: Some(if answer.is_empty() {
                    format!("change the task, or {NAME} run -t '{}'", task.id)
                } else {
                    format!("answer below the task in the plan, such as `{}`", answer.join("` `"))
                }),
                ..refusal(
                    ASKED,
                    format!("it asked in night {night}: {why}"),
                    "no answer".to_owned(),
                    "an answer below the task, or named with -t",
                )
            },
        }]);
    }
}

fn of(home: &Home, base: &CommitId) -> BTreeMap<Key, Word> {
    let mut words: Vec<(Timestamp, Key, Option<Word>)> = Vec::new();
    let mut ours = BTreeSet::new();
    // Merged: the plan of the base says so too, and a task that is ready again is meant.
    let landed = |commit: &CommitId, place: String| {
        let merged = home.vault.contains(base, commit).unwrap_or(false);
        (!merged).then_some(Earlier::Landed { place })
    };
    for night in nights(&home.places) {
        let id = &night.opening().night;
        ours.insert(origin(night.opening()));
        for task in &night.opening().tasks {
            let Some(state) = night.task(task.id()) else { continue };
            let Some(last) = state.last() else { continue };
            // Taken back is not to be done again by itself, merged or not; one that is not says nothing.
            if let Some(reverse) = night.opening().reverse_of(task.id()) {
                let key = (task.id().clone(), task.task().text_hash.clone());
                let Some(candidate) = night.on_branch(task.id()) else { continue };
                if reverse.puts_back.is_some() {
                    let known = landed(&candidate.commit, place(&night));
                    words.push((last.ended, key, known.map(|known| (known, false))));
                } else {
                    let said = reverse.reason.as_ref().map_or(String::new(), |r| format!(": {r}"));
                    let why = format!("{} took it back{said}", reverse.by);
                    let known = Earlier::Failed { night: id.clone(), why };
                    words.push((last.ended, key, Some((known, false))));
                }
                continue;
            }
            let known = if let Some(candidate) = night.on_branch(task.id()) {
                landed(&candidate.commit, place(&night))
            } else if state.held().is_some() || state.is_approved() {
                Some(Earlier::Held { night: id.clone(), why: report::why_held(last) })
            } else if let Some(setback) = state.failed() {
                Some(Earlier::Failed { night: id.clone(), why: report::why(setback) })
            } else if let Some(setback) = state.parked() {
                let (why, answer) = asked(setback);
                Some(Earlier::Asked { night: id.clone(), why, answer })
            } else {
                continue;
            };
            let key = (task.id().clone(), task.task().text_hash.clone());
            words.push((last.ended, key, known.map(|known| (known, false))));
        }
    }
    for fact in known::said(&home.vault) {
        let Fact::Task { task, text, night, origin, happened, outcome } = fact else { continue };
        if ours.contains(&origin) {
            continue;
        }
        let known = match outcome {
            Outcome::Landed { commit, place } => landed(&commit, place),
            Outcome::Held { why } => Some(Earlier::Held { night, why }),
            Outcome::Failed { why } => Some(Earlier::Failed { night, why }),
            Outcome::Rejected { why } => {
                Some(Earlier::Failed { night, why: format!("it was rejected: {why}") })
            }
            Outcome::Asked { why, answer } => Some(Earlier::Asked { night, why, answer }),
        };
        words.push((happened, (task, text), known.map(|known| (known, true))));
    }
    words.sort_by_key(|(at, _, _)| *at);
    let mut known = BTreeMap::new();
    for (_, key, word) in words {
        match word {
            Some(word) => known.insert(key, word),
            None => known.remove(&key),
        };
    }
    known
}

/// What a task asked, and the lines that would answer it.
pub(super) fn asked(setback: &Setback) -> (String, Vec<String>) {
    let questions = report::questions(setback);
    let why = if questions.is_empty() {
        report::why(setback)
    } else {
        report::text::inline_plain(&questions.join(" / "))
    };
    (why, report::answer_lines(questions))
}

/// The nights of the last weeks, oldest first. A journal that cannot be read says nothing here; `status` names the
/// damage.
pub(super) fn nights(places: &Places) -> impl Iterator<Item = Night> {
    newest(places, NIGHTS)
}

/// As [`nights`], at most so many.
pub(super) fn newest(places: &Places, most: usize) -> impl Iterator<Item = Night> {
    let nights = places.all_nights();
    let first = nights.len().saturating_sub(most);
    let places = places.clone();
    nights.into_iter().skip(first).filter_map(move |id| {
        let reading = journal::read(&places.night(&id).journal()).ok()?;
        Night::replay(reading.entries).ok()
    })
}

/// What people said about earlier results of these tasks, the newest of each. Once a task has landed that is past.
/// Of this machine's journals alone: what stands in the ledger anybody may have written, and this reaches an agent.
pub fn rejections(home: &Home, tasks: &[AdmittedTask]) -> Vec<Rejection> {
    let mut known: BTreeMap<TaskId, Rejection> = BTreeMap::new();
    for night in nights(&home.places) {
        for task in tasks {
            let Some(state) = night.task(task.id()) else { continue };
            let reverse =
                night.opening().takes_back(task.id()).filter(|_| state.landed().is_some());
            if let Some((reverse, reason)) = reverse.and_then(|r| Some((r, r.reason.clone()?))) {
                let (task, night) = (task.id().clone(), reverse.night.clone());
                let by = reverse.by.clone();
                known.insert(task.clone(), Rejection { task, night, reason, by });
            } else if state.landed().is_some() {
                known.remove(task.id());
            } else if let Some((reason, by)) =
                state.failed().and_then(|setback| said_no(&setback.failure))
            {
                let (task, night) = (task.id().clone(), night.opening().night.clone());
                let (reason, by) = (reason.clone(), by.clone());
                known.insert(task.clone(), Rejection { task, night, reason, by });
            }
        }
    }
    known.into_values().collect()
}

/// What a person said against a result, and who: nothing is told of a no without words.
fn said_no(failure: &Failure) -> Option<(&String, &String)> {
    match failure {
        Failure::Rejected { reason, by } | Failure::Reverted { reason: Some(reason), by } => {
            Some((reason, by))
        }
        Failure::Agent(_)
        | Failure::NoChange { .. }
        | Failure::Refused(_)
        | Failure::Unfit(_)
        | Failure::Gate(_)
        | Failure::NoProgress { .. }
        | Failure::Conflict { .. }
        | Failure::Question { .. }
        | Failure::Unproven(_)
        | Failure::NothingLeft
        | Failure::Reverted { reason: None, .. }
        | Failure::Disagreed { .. } => None,
    }
}

/// Where a night's work waits: its pull request, or its branch.
pub(super) fn place(night: &Night) -> String {
    match night.publication() {
        Publication::Done { url, number: Some(_), .. } => url.clone(),
        Publication::Done { .. } | Publication::Open | Publication::Failed { .. } => {
            night.opening().night.branch()
        }
    }
}
