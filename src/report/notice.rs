//! What somebody is told who is not there: one line, the decision first.
//!
//! A night in which nothing was to be done tells nobody anything. Who is told, and how, is the business of others.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    ids::NAME,
    night::{Night, Publication, Stage},
    outcome::StopReason,
    policy::{RiskLevel, Verdict},
    report::{facts, first_screen, labels, line, pull_request, text},
};

/// Longest piece of foreign text in the line, in characters.
const QUOTED: usize = 120;

/// Why somebody may want to be told.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// Something landed, and is where a person can read it.
    Finished,
    /// Something waits for a person's word: a question, a held result, an approval.
    NeedsYou,
    /// A task failed, or was refused by a rule.
    Failed,
    /// The night ended before its tasks did.
    Stopped,
    /// Commits are safe and did not get out.
    Unpublished,
    /// Nothing was started.
    Refused,
}

impl Occasion {
    /// All of them.
    pub const ALL: [Occasion; 6] = [
        Occasion::Finished,
        Occasion::NeedsYou,
        Occasion::Failed,
        Occasion::Stopped,
        Occasion::Unpublished,
        Occasion::Refused,
    ];

    /// As it is written in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Occasion::Finished => "finished",
            Occasion::NeedsYou => "needs_you",
            Occasion::Failed => "failed",
            Occasion::Stopped => "stopped",
            Occasion::Unpublished => "unpublished",
            Occasion::Refused => "refused",
        }
    }
}

/// What is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Why. Never empty.
    pub occasions: BTreeSet<Occasion>,
    /// For the subject of a mail and the head of a message, at most 256 characters.
    pub title: String,
    /// One line, the decision first, with the address or the command at its end.
    pub line: String,
    /// Where a person opens it, when that is a web address.
    pub url: Option<String>,
    /// The same for programs.
    pub data: Value,
}

/// What is told of a night that ended with `exit`, in `place` (`acme/billing`). `None` when there is no news.
pub fn notice(night: &Night, place: &str, exit: u8) -> Option<Notice> {
    let told = Told::of(night);
    let occasions = told.occasions(exit);
    if occasions.is_empty() {
        return None;
    }
    let published = match night.publication() {
        Publication::Done { url, .. } => Some(url.clone()),
        Publication::Open | Publication::Failed { .. } => None,
    };
    let url =
        published.clone().filter(|url| url.starts_with("https://") || url.starts_with("http://"));
    // A path of this machine is nobody else's business.
    let here = format!("{NAME} show {}", night.opening().night);
    let place_of_it = published.as_ref().map(|_| url.as_deref().unwrap_or(&here));
    let what = told.what(night, exit, place_of_it);
    let line = text::inline_plain(&format!("{place}: {what}"));
    let title = if told.landed > 0 {
        pull_request(night).title
    } else {
        format!("{NAME} {}: nothing landed", night.opening().night)
    };
    let data = json!({
        "occasions": occasions,
        "repository": place,
        "night": night.opening().night,
        "branch": night.opening().night.branch(),
        "line": line,
        "title": title,
        "url": url,
        "landed": told.landed,
        "failed": told.failed,
        "refused": told.refused,
        "asks": told.asks,
        "approvals": told.approvals,
        "held": told.held,
        "cost_micros": night.spent().usd,
        "exit": exit,
    });
    Some(Notice { occasions, title, line, url, data })
}

/// What is told of a night that could not begin.
pub fn not_started(place: &str, message: &str, help: Option<&str>, exit: u8) -> Notice {
    let message = text::head(&text::inline_plain(message), 2 * QUOTED);
    let help = help.map(|help| format!(" {}.", text::inline_plain(help))).unwrap_or_default();
    let occasions = BTreeSet::from([Occasion::Refused]);
    let line = format!("{place}: did not start, {message}.{help}");
    let title = format!("{NAME}: {place} did not start");
    let data = json!({
        "occasions": occasions, "repository": place, "line": line, "title": title, "exit": exit,
    });
    Notice { occasions, title, line, url: None, data }
}

/// What is told when somebody tries whether it arrives.
pub fn trial(place: &str) -> Notice {
    let title = format!("{NAME}: a trial");
    let line = format!("{place}: this is a trial of {NAME}, sent by hand. Nothing happened.");
    let data = json!({"occasions": ["trial"], "repository": place, "line": line, "title": title});
    Notice { occasions: Occasion::ALL.into(), title, line, url: None, data }
}

/// How many tasks came to what.
struct Told {
    landed: usize,
    failed: usize,
    refused: usize,
    asks: usize,
    approvals: usize,
    held: usize,
    left: usize,
    early: bool,
    unpublished: bool,
}

impl Told {
    fn of(night: &Night) -> Told {
        let count = |wanted: fn(&Stage) -> bool| {
            night.tasks().filter(|(_, task)| wanted(&task.stage)).count()
        };
        let opening = night.opening();
        let waits = |verdict: Verdict| verdict != Verdict::Refuse;
        Told {
            landed: count(|stage| matches!(stage, Stage::Landed(_))),
            failed: count(|stage| matches!(stage, Stage::Failed(_))),
            held: count(|stage| matches!(stage, Stage::Held(_))),
            left: count(|stage| matches!(stage, Stage::Waiting)),
            asks: count(|stage| matches!(stage, Stage::Parked(_))),
            approvals: opening.refused.iter().filter(|task| waits(task.verdict)).count(),
            refused: opening.refused.iter().filter(|task| !waits(task.verdict)).count(),
            early: night.stopped_early().is_some(),
            unpublished: matches!(night.publication(), Publication::Failed { .. }),
        }
    }

    fn occasions(&self, exit: u8) -> BTreeSet<Occasion> {
        let begun = self.landed + self.failed + self.held + self.left > 0;
        let nothing_started = exit == 3;
        [
            (self.landed > 0 && !self.unpublished, Occasion::Finished),
            (self.asks + self.held + self.approvals > 0, Occasion::NeedsYou),
            (self.failed + self.refused > 0, Occasion::Failed),
            (self.early && begun && !nothing_started, Occasion::Stopped),
            (self.unpublished, Occasion::Unpublished),
            (nothing_started, Occasion::Refused),
        ]
        .into_iter()
        .filter_map(|(holds, occasion)| holds.then_some(occasion))
        .collect()
    }

    fn what(&self, night: &Night, exit: u8, published: Option<&str>) -> String {
        let id = &night.opening().night;
        let commits = |count: usize| {
            if count == 1 { "1 commit".to_owned() } else { format!("{count} commits") }
        };
        let safe = match self.landed {
            0 => String::new(),
            1 => format!(" 1 commit is safe on {}.", id.branch()),
            count => format!(" {count} commits are safe on {}.", id.branch()),
        };
        let cost = facts::marked(&night.spent());
        if let Publication::Failed { message, .. } = night.publication() {
            return format!(
                "not published: {}.{safe} {NAME} land",
                text::head(&text::inline_plain(message), QUOTED)
            );
        }
        if let Some(reason) = night.stopped_early() {
            let word = if exit == 3 { "did not start" } else { "stopped" };
            let at = night.last_fact().strftime("%H:%M UTC");
            let next = match reason {
                StopReason::RedBase | StopReason::GateUnproven => format!("{NAME} status"),
                StopReason::OnlyLanding
                | StopReason::Asked { .. }
                | StopReason::Time
                | StopReason::Cost
                | StopReason::FailuresInARow { .. }
                | StopReason::Limited { .. }
                | StopReason::AgentUnusable { .. }
                | StopReason::Broken { .. }
                | StopReason::BranchMoved { .. } => format!("{NAME} resume"),
            };
            let address = published.map(|url| format!(" {url}")).unwrap_or_default();
            return format!(
                "{word} at {at}, {}.{safe}{} {cost}. {next}{address}",
                text::head(&text::inline_plain(&line::stop_reason(reason)), QUOTED),
                self.others(),
            );
        }
        match published {
            Some(url) if self.landed > 0 => {
                let minutes = first_screen::reading(night);
                format!(
                    "{} ready, ~{minutes} min{}.{} {cost}. {url}",
                    commits(self.landed),
                    risks(night),
                    self.others()
                )
            }
            Some(_) | None => {
                let why =
                    night.tasks().find_map(|(task, state)| Some((task, state, state.failed()?)));
                let why = why.map_or_else(String::new, |(task, state, setback)| {
                    let times = state.attempts.len();
                    let times =
                        if times == 1 { "once".to_owned() } else { format!("{times} times") };
                    let why =
                        text::head(&text::inline_plain(&line::why_of(state, setback)), QUOTED);
                    format!(" {task} failed {times}: {why}.")
                });
                format!(
                    "nothing landed.{why}{} No pull request. {cost}. {NAME} show {id}",
                    self.others()
                )
            }
        }
    }

    /// What else there is to know, as sentences.
    fn others(&self) -> String {
        let parts: Vec<String> = [
            (self.failed, "failed"),
            (self.refused, "refused"),
            (self.asks, "waits for your answer"),
            (self.approvals, "waits for your approval"),
            (self.held, "held for your word"),
            (self.left, "not done"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
        if parts.is_empty() { String::new() } else { format!(" {}.", parts.join(", ")) }
    }
}

/// How many of the commits are not low: ` (1 medium risk)`.
fn risks(night: &Night) -> String {
    let of = |level: RiskLevel| {
        night.landed().iter().filter(|(task, _)| labels::risk(night, task) == level).count()
    };
    // What a person approved may be more, and is shown as high.
    let high = of(RiskLevel::High) + of(RiskLevel::Critical);
    let parts: Vec<String> = [(high, "high"), (of(RiskLevel::Medium), "medium")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, level)| format!("{count} {level}"))
        .collect();
    if parts.is_empty() { String::new() } else { format!(" ({} risk)", parts.join(", ")) }
}
