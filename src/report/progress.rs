//! How far a night is: what is under way, in words, and the two lines that a long quiet night prints.

use jiff::Timestamp;

use crate::{
    ids::AttemptId,
    night::{Command, Night, TaskState},
    report::{facts, text},
};

/// Characters of one activity that are shown.
const ACTIVITY: usize = 60;

/// How far the night is, in one line: phase, per cent, time left, recent activity, recoveries, decisions
/// (decision 22 of the design). `activity` is what agents are at right now.
pub fn progress(night: &Night, now: Timestamp, activity: &[(AttemptId, String)]) -> String {
    let landed = count(night, |task| task.landed().is_some());
    let failed = count(night, |task| task.failed().is_some());
    let asks = count(night, |task| task.parked().is_some());
    let minutes = night.lasted(now).as_mins();
    let recoveries: usize = facts::recoveries(night).iter().map(|(_, times)| times).sum();
    let decisions: usize = night.tasks().map(|(_, task)| facts::decisions(task).len()).sum();
    format!(
        "{:<10} progress {}% landed={landed} failed={failed} asks={asks} of={} {minutes}m left={}m {} \
         recovered={recoveries} decided={decisions} {}",
        "night",
        percent(night),
        night.tasks().count(),
        minutes_left(night, now),
        facts::marked(&night.spent()),
        at_work(night, now, activity),
    )
}

/// That the night lives and what it is at, in one short line.
pub fn heartbeat(night: &Night, now: Timestamp, activity: &[(AttemptId, String)]) -> String {
    let work = at_work(night, now, activity);
    format!(
        "{:<10} alive    {}% left={}m {work}",
        "night",
        percent(night),
        minutes_left(night, now)
    )
}

/// The phase, and what agents do in it.
pub fn at_work(night: &Night, now: Timestamp, activity: &[(AttemptId, String)]) -> String {
    let doing: Vec<String> = activity
        .iter()
        .filter(|(_, what)| !what.trim().is_empty())
        .map(|(attempt, what)| {
            let what = text::head(&text::inline_plain(what), ACTIVITY);
            if activity.len() > 1 { format!("{} {what}", attempt.task) } else { what }
        })
        .collect();
    let phase = phase(night, now);
    if doing.is_empty() { phase } else { format!("{phase}: {}", doing.join("; ")) }
}

/// What is under way, in words.
pub fn phase(night: &Night, now: Timestamp) -> String {
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
            Command::Reverse { attempt, .. } => format!("{attempt} is taken back"),
            Command::RunGate { attempt, .. } => format!("the gate runs for {attempt}"),
            Command::ProveGate { .. } => "the gate runs on broken trees".to_owned(),
            Command::ProveTests { attempt, .. } => format!("the tests of {attempt} are tried"),
            Command::Review { attempt, .. } => {
                format!("a second opinion on {attempt} is asked for")
            }
            Command::Restack { attempt, .. } => format!("{attempt} is rebuilt on the new tip"),
            Command::Land { attempt, .. } => format!("{attempt} lands"),
            Command::Rewind { .. } => "the branch goes back".to_owned(),
            Command::Publish { .. } => "the branch is published".to_owned(),
        })
        .collect();
    if !words.is_empty() {
        return words.join("; ");
    }
    match night.wake_at(now).filter(|_| night.ended().is_none()) {
        Some(at) => format!("waits until {}", facts::moment(at, now)),
        None => "between two steps".to_owned(),
    }
}

/// Share of the tasks that are settled.
pub(super) fn percent(night: &Night) -> usize {
    count(night, TaskState::is_settled) * 100 / night.tasks().count().max(1)
}

fn minutes_left(night: &Night, now: Timestamp) -> i64 {
    night.deadline().duration_since(now).as_mins().max(0)
}

fn count(night: &Night, is_it: impl Fn(&TaskState) -> bool) -> usize {
    night.tasks().filter(|(_, task)| is_it(task)).count()
}
