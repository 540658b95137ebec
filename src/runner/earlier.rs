//! What earlier nights made of a task, as this machine's journals tell: a task that landed and is not
//! merged yet is not done twice, one whose result is held waits for a person's word, one that failed until
//! somebody changes its text, and one that asked until somebody answers below it, which changes its text.
//!
//! Only reads journals. Other machines' nights are not known here; the ledger will bring them.

use std::collections::BTreeMap;

use crate::{
    ids::{CommitId, NAME, NightId, TaskId},
    journal,
    night::{Night, Publication, Rejection},
    outcome::Failure,
    plan::Task,
    policy::{Admission, AdmittedTask, Decision, Origin, Refusal, Severity, Verdict},
    report,
    runner::home::Home,
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

/// Holds back the tasks of a plan that an earlier night settled. Does nothing to tasks that would not run.
pub fn hold_back(home: &Home, base: &CommitId, tasks: &[Task], admissions: &mut [Admission]) {
    if admissions.iter().all(|admission| admission.admitted().is_none()) {
        return;
    }
    let earlier = of(home, base);
    for (task, admission) in tasks.iter().zip(admissions) {
        let known = earlier.get(&(task.id.clone(), task.text_hash.clone()));
        let (Some(known), Some(_)) = (known, admission.admitted()) else { continue };
        let refusal = |rule: &str, message: String, value: String, limit: &str| Refusal {
            rule: rule.to_owned(),
            verdict: Verdict::Ask,
            severity: Severity::Low,
            message,
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
                    "{NAME} approve '{0}' lands it, {NAME} reject '{0}' does not",
                    task.id
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

fn of(home: &Home, base: &CommitId) -> BTreeMap<(TaskId, String), Earlier> {
    let mut known = BTreeMap::new();
    for night in nights(home) {
        let id = &night.opening().night;
        for task in &night.opening().tasks {
            let Some(state) = night.task(task.id()) else { continue };
            let key = (task.id().clone(), task.task().text_hash.clone());
            if let Some(candidate) = night.on_branch(task.id()) {
                // Merged: the plan of the base says so too, and a task that is ready again is meant.
                if home.vault.contains(base, &candidate.commit).unwrap_or(false) {
                    known.remove(&key);
                } else {
                    known.insert(key, Earlier::Landed { place: place(&night) });
                }
            } else if state.held().is_some() || state.is_approved() {
                let why = state.last().map(report::why_held).unwrap_or_default();
                known.insert(key, Earlier::Held { night: id.clone(), why });
            } else if let Some(setback) = state.failed() {
                let why = report::why(setback);
                known.insert(key, Earlier::Failed { night: id.clone(), why });
            } else if let Some(setback) = state.parked() {
                let questions = report::questions(setback);
                let why = if questions.is_empty() {
                    report::why(setback)
                } else {
                    report::text::inline_plain(&questions.join(" / "))
                };
                let answer = report::answer_lines(questions);
                known.insert(key, Earlier::Asked { night: id.clone(), why, answer });
            }
        }
    }
    known
}

/// The nights of the last weeks, oldest first. A journal that cannot be read says nothing here; `status` names the
/// damage.
fn nights(home: &Home) -> impl Iterator<Item = Night> {
    let nights = home.places.all_nights();
    let first = nights.len().saturating_sub(NIGHTS);
    let places = home.places.clone();
    nights.into_iter().skip(first).filter_map(move |id| {
        let reading = journal::read(&places.night(&id).journal()).ok()?;
        Night::replay(reading.entries).ok()
    })
}

/// What people said about earlier results of these tasks, the newest of each. Once a task has landed that is past.
pub fn rejections(home: &Home, tasks: &[AdmittedTask]) -> Vec<Rejection> {
    let mut known: BTreeMap<TaskId, Rejection> = BTreeMap::new();
    for night in nights(home) {
        for task in tasks {
            let Some(state) = night.task(task.id()) else { continue };
            if state.landed().is_some() {
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
        | Failure::Reverted { reason: None, .. }
        | Failure::Disagreed { .. } => None,
    }
}

fn place(night: &Night) -> String {
    match night.publication() {
        Publication::Done { url, number: Some(_), .. } => url.clone(),
        Publication::Done { .. } | Publication::Open | Publication::Failed { .. } => {
            night.opening().night.branch()
        }
    }
}
