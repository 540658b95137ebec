//! When what was done: the journal's facts as spans on lanes, one lane for each attempt that ran beside others.
//!
//! Draws nothing, and knows no time but the journal's.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    ids::AttemptId,
    night::{Command, Entry, Event},
};

/// What took its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// An agent edited, or a result was taken back.
    Agent,
    /// The gate ran, or tests were tried.
    Gate,
    /// A second opinion was asked for.
    Review,
}

/// How a span ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Well,
    /// With a setback or a red gate.
    Badly,
    /// Nobody wrote down how: it was cut off, or is under way.
    Unknown,
}

/// One thing that took time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What it was done for; `None` = the base.
    pub attempt: Option<AttemptId>,
    /// What was done.
    pub work: Work,
    /// From when.
    pub from: Timestamp,
    /// Until when, never before `from`.
    pub to: Timestamp,
    /// How it ended.
    pub end: End,
}

/// A night's spans. Those of one lane never overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// Each lane's spans, in order of time.
    pub lanes: Vec<Vec<Span>>,
}

impl Timeline {
    /// Every span, lane by lane.
    pub fn spans(&self) -> impl Iterator<Item = &Span> {
        self.lanes.iter().flatten()
    }

    /// Times in which something was done, in order; between them the night waited.
    pub fn busy(&self) -> Vec<(Timestamp, Timestamp)> {
        let mut spans: Vec<(Timestamp, Timestamp)> =
            self.spans().map(|span| (span.from, span.to)).collect();
        spans.sort_unstable();
        let mut busy: Vec<(Timestamp, Timestamp)> = Vec::new();
        for (from, to) in spans {
            match busy.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                Some(_) | None => busy.push((from, to)),
            }
        }
        busy
    }
}

/// What a command's time is spent on, where it is worth a span.
fn work(command: &Command) -> Option<Work> {
    match command {
        Command::RunAgent { .. } | Command::Reverse { .. } => Some(Work::Agent),
        Command::CheckBase { .. }
        | Command::ProveGate { .. }
        | Command::RunGate { .. }
        | Command::ProveTests { .. } => Some(Work::Gate),
        Command::Review { .. } => Some(Work::Review),
        Command::Restack { .. }
        | Command::Land { .. }
        | Command::Rewind { .. }
        | Command::Publish { .. } => None,
    }
}

/// Which span a fact ends, and how it ended.
fn ended(event: &Event) -> Option<(Option<&AttemptId>, Work, bool)> {
    if let Event::AgentEnded { attempt, result, .. } | Event::Reversed { attempt, result } = event {
        Some((Some(attempt), Work::Agent, result.is_ok()))
    } else if let Event::GateEnded { attempt, setback, .. }
    | Event::TestsProven { attempt, setback, .. } = event
    {
        Some((Some(attempt), Work::Gate, setback.is_none()))
    } else if let Event::Reviewed { attempt, setback, .. } = event {
        Some((Some(attempt), Work::Review, setback.is_none()))
    } else if let Event::BaseChecked { report } = event {
        Some((None, Work::Gate, report.passed()))
    } else if let Event::GateProven { proof } = event {
        Some((None, Work::Gate, proof.proven()))
    } else {
        None
    }
}

/// The spans of a journal. What is open at its end lasts until `last`.
pub(super) fn timeline(entries: &[Entry], last: Timestamp) -> Timeline {
    let mut spans: Vec<Span> = Vec::new();
    let mut open: Vec<Span> = Vec::new();
    let mut before = None;
    for entry in entries {
        if let Event::Began(command) = &entry.event
            && let Some(work) = work(command)
        {
            let (from, attempt) = (entry.at, command.attempt().cloned());
            open.push(Span { attempt, work, from, to: from, end: End::Unknown });
        }
        if let Some((attempt, work, well)) = ended(&entry.event)
            && let Some(at) =
                open.iter().rposition(|span| span.work == work && span.attempt.as_ref() == attempt)
        {
            let span = open.remove(at);
            let end = if well { End::Well } else { End::Badly };
            spans.push(Span { to: entry.at.max(span.from), end, ..span });
        }
        // Nobody knows how long a killed process went on: until the last thing that it wrote down.
        if matches!(entry.event, Event::Restarted { .. } | Event::Ended { .. }) {
            let until = before.unwrap_or(entry.at);
            spans.extend(open.drain(..).map(|span| Span { to: until.max(span.from), ..span }));
        }
        before = Some(entry.at);
    }
    spans.extend(open.drain(..).map(|span| Span { to: last.max(span.from), ..span }));
    Timeline { lanes: lanes(spans) }
}

/// Puts what belongs to one attempt on one lane, the first that is free the whole time.
fn lanes(spans: Vec<Span>) -> Vec<Vec<Span>> {
    let mut groups: BTreeMap<Option<String>, Vec<Span>> = BTreeMap::new();
    for span in spans {
        let key = span.attempt.as_ref().map(ToString::to_string);
        groups.entry(key).or_default().push(span);
    }
    let mut groups: Vec<Vec<Span>> = groups.into_values().collect();
    for group in &mut groups {
        group.sort_by_key(|span| (span.from, span.to));
    }
    groups.sort_by_key(|group| group.first().map(|span| span.from));
    let mut lanes: Vec<Vec<Span>> = Vec::new();
    for group in groups {
        let free = |lane: &&mut Vec<Span>| {
            !lane
                .iter()
                .any(|other| group.iter().any(|span| span.from < other.to && other.from < span.to))
        };
        match lanes.iter_mut().find(free) {
            Some(lane) => lane.extend(group),
            None => lanes.push(group),
        }
    }
    for lane in &mut lanes {
        lane.sort_by_key(|span| (span.from, span.to));
    }
    lanes
}
