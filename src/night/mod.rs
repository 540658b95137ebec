//! The rules of one night, as a value.
//!
//! [`Night::apply`] folds one fact into the state, [`Night::due`] says what to do next, [`Night::judge`]
//! says what a failure leads to. None touches the world, so a test can replay any night and cut it at any
//! line. Live run and resume are the same fold: there is no second state.

mod due;
mod event;
mod conversation;
mod judge;
mod models;
mod opening;
mod state;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use conversation::needs_review;

pub use due::NotStarted;
pub use event::{
    Actor, Charge, Closing, Command, Conversation, Entry, Event, Setback, StreamKind, Then, Trigger,
};
pub use opening::{
    AgentSpec, Author, Base, GateSpec, Opening, PlanSource, PublishSpec, RefusedTask, Step,
};

pub use state::{AttemptRecord, BaseGate, Publication, Stage, TaskState, decided, in_question};

use crate::{
    budget::{Spend, Usd},
    ids::{AttemptId, CommitId, TaskId},
    outcome::{Candidate, StopReason},
};

/// An event that cannot follow from the state: the journal is damaged or the runner is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{why}: {event}")]
pub struct IllegalEvent {
    /// The event, as JSON.
    pub event: String,
    /// Why it cannot follow.
    pub why: &'static str,
}

/// A night, folded from its facts.
#[derive(Clone, Debug)]
pub struct Night {
    opening: Opening,
    base_gate: BaseGate,
    order: Vec<TaskId>,
    tasks: BTreeMap<TaskId, TaskState>,
    tip: CommitId,
    in_flight: Vec<Command>,
    failures_in_a_row: u32,
    stop: Option<StopReason>,
    publication: Publication,
    ended: Option<(Option<StopReason>, u8)>,
    restarts: u32,
    last: Timestamp,
    closings: Vec<Closing>,
    /// Time between processes.
    paused: SignedDuration,
}

impl Night {
    /// A night of which only the opening is known.
    pub fn open(opening: Opening) -> Night {
        let order: Vec<TaskId> = opening.tasks.iter().map(|task| task.id().clone()).collect();
        let tasks = order
            .iter()
            .map(|id| {
                let state = TaskState {
                    stage: Stage::Waiting,
                    attempts: Vec::new(),
                    counted: 0,
                    not_before: None,
                };
                (id.clone(), state)
            })
            .collect();
        Night {
            tip: opening.base.commit.clone(),
            last: opening.at,
            opening,
            base_gate: BaseGate::Unknown,
            order,
            tasks,
            in_flight: Vec::new(),
            failures_in_a_row: 0,
            stop: None,
            publication: Publication::Open,
            ended: None,
            restarts: 0,
            closings: Vec::new(),
            paused: SignedDuration::ZERO,
        }
    }

    /// Rebuilds a night from its journal: the same fold that runs live.
    pub fn replay(entries: impl IntoIterator<Item = Entry>) -> Result<Night, IllegalEvent> {
        let mut entries = entries.into_iter();
        let mut night = match entries.next().map(|entry| entry.event) {
            Some(Event::Opened(opening)) => Night::open(*opening),
            Some(other) => return Err(illegal(&other, "a journal starts with the opening")),
            None => {
                return Err(IllegalEvent {
                    event: "nothing".to_owned(),
                    why: "the journal is empty",
                });
            }
        };
        for entry in entries {
            night.apply(entry.at, entry.event)?;
        }
        Ok(night)
    }

    /// What the night was opened with.
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Where the branch stands.
    pub fn tip(&self) -> &CommitId {
        &self.tip
    }

    /// The tasks in plan order.
    pub fn tasks(&self) -> impl Iterator<Item = (&TaskId, &TaskState)> {
        self.order.iter().map(|id| (id, &self.tasks[id]))
    }

    /// One task; `None` when the night does not have it.
    pub fn task(&self, id: &TaskId) -> Option<&TaskState> {
        self.tasks.get(id)
    }

    /// What is known of the gate on the base.
    pub fn base_gate(&self) -> &BaseGate {
        &self.base_gate
    }

    /// How publishing stands.
    pub fn publication(&self) -> &Publication {
        &self.publication
    }

    /// Why nothing new is started, where that is so.
    pub fn stop(&self) -> Option<&StopReason> {
        self.stop.as_ref()
    }

    /// The recorded end, with its exit code, when the last process wrote one.
    pub fn ended(&self) -> Option<&(Option<StopReason>, u8)> {
        self.ended.as_ref()
    }

    /// Commands of which the end is not known.
    pub fn in_flight(&self) -> &[Command] {
        &self.in_flight
    }

    /// How often another process took over.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// When the last fact was written.
    pub fn last_fact(&self) -> Timestamp {
        self.last
    }

    /// Candidates on the branch, in the order of the branch.
    pub fn landed(&self) -> Vec<(&TaskId, &Candidate)> {
        let mut landed: Vec<(&TaskId, &Candidate)> = self
            .tasks()
            .filter_map(|(id, task)| task.landed().map(|candidate| (id, candidate)))
            .collect();
        // Each stands on the one before: follow the chain from the base.
        let mut ordered = Vec::with_capacity(landed.len());
        let mut at = &self.opening.base.commit;
        while let Some(next) = landed.iter().position(|(_, candidate)| candidate.base == *at) {
            let found = landed.remove(next);
            at = &found.1.commit;
            ordered.push(found);
        }
        ordered
    }

    /// Money and tokens of all attempts.
    pub fn spent(&self) -> Spend {
        self.tasks.values().map(TaskState::spent).sum()
    }

    /// Folds one fact into the state.
    pub fn apply(&mut self, at: Timestamp, event: Event) -> Result<(), IllegalEvent> {
        let before = std::mem::replace(&mut self.last, at);
        match event {
            Event::Opened(_) => return Err(illegal(&event, "a night opens once")),
            Event::Began(ref command) => {
                if self.in_flight.contains(command) {
                    return Err(illegal(&event, "already under way"));
                }
                if self.ended.is_some() {
                    return Err(illegal(&event, "the night is over"));
                }
                let command = command.clone();
                self.began(at, &command).map_err(|why| illegal(&event, why))?;
                self.in_flight.push(command);
            }
            Event::BaseChecked { ref report } => {
                let found = self.settle(|command| matches!(command, Command::CheckBase { .. }));
                if found.is_none() || report.tree != self.opening.base.tree {
                    return Err(illegal(&event, "not a check of this base"));
                }
                let report = report.clone();
                self.base_gate = if report.passed() {
                    BaseGate::Green(report)
                } else {
                    self.stop.get_or_insert(StopReason::RedBase);
                    BaseGate::Red(report)
                };
            }
            Event::AgentEnded { ref attempt, ref report, ref result, ref kept } => {
                let found = self.settle(
                    |command| matches!(command, Command::RunAgent { attempt: a, .. } if a == attempt),
                );
                if found.is_none() {
                    return Err(illegal(&event, "no such agent run"));
                }
                let record = self.record(attempt);
                record.ended = at;
                record.agent = Some(report.clone());
                record.kept.clone_from(kept);
                self.seen(attempt, report);
                let record = self.record(attempt);
                match result.clone() {
                    Ok(candidate) => {
                        record.candidate = Some(candidate.clone());
                        self.state(&attempt.task).stage = Stage::Ungated(candidate);
                    }
                    Err(setback) => self.set_back(attempt, setback),
                }
            }
            Event::GateEnded { ref attempt, ref report, ref setback } => {
                let found = self.settle(
                    |command| matches!(command, Command::RunGate { attempt: a, .. } if a == attempt),
                );
                let Stage::Ungated(candidate) = self.state(&attempt.task).stage.clone() else {
                    return Err(illegal(&event, "nothing to gate"));
                };
                if found.is_none()
                    || candidate.tree != report.tree
                    || candidate.commit != report.commit
                {
                    return Err(illegal(&event, "another tree was gated"));
                }
                if report.gate != self.opening.gate.id {
                    return Err(illegal(&event, "another gate was run"));
                }
                if report.passed() != setback.is_none() {
                    return Err(illegal(&event, "the verdict is not the steps' verdict"));
                }
                let record = self.record(attempt);
                record.ended = at;
                record.gate = Some(report.clone());
                match setback.clone() {
                    None => self.state(&attempt.task).stage = Stage::Gated(candidate),
                    Some(setback) => self.set_back(attempt, setback),
                }
            }
            Event::Reviewed { ref attempt, ref review, ref setback } => {
                let order = self.settle(
                    |command| matches!(command, Command::Review { attempt: a, .. } if a == attempt),
                );
                let Some(Command::Review { budget, .. }) = order else {
                    return Err(illegal(&event, "no such review"));
                };
                if !matches!(self.state(&attempt.task).stage, Stage::Gated(_)) {
                    return Err(illegal(&event, "nothing to review"));
                }
                if review.agree != setback.is_none() {
                    return Err(illegal(&event, "the verdict is not the review's verdict"));
                }
                let record = self.record(attempt);
                record.ended = at;
                record.reviewing = record.reviewing.minus(budget);
                // A trouble of the service says nothing about the work: it stays gated, and is asked about again.
                match setback.clone() {
                    Some(Setback { then: Then::Recover { at, closing }, .. }) => {
                        record.reviews_lost = record.reviews_lost + review.spent;
                        self.state(&attempt.task).not_before = Some(at);
                        if let Some(closing) = closing {
                            self.close(closing);
                        }
                    }
                    Some(Setback { then: Then::StopNight(reason), .. }) => {
                        record.reviews_lost = record.reviews_lost + review.spent;
                        self.stop.get_or_insert(reason);
                    }
                    Some(setback) => {
                        record.review = Some(review.clone());
                        self.set_back(attempt, setback);
                    }
                    None => record.review = Some(review.clone()),
                }
            }
            Event::Restacked { ref attempt, ref result } => {
                let found = self.settle(
                    |command| matches!(command, Command::Restack { attempt: a, .. } if a == attempt),
                );
                if found.is_none() {
                    return Err(illegal(&event, "no such restack"));
                }
                match result.clone() {
                    Ok(candidate) => {
                        let record = self.record(attempt);
                        record.ended = at;
                        record.candidate = Some(candidate.clone());
                        self.state(&attempt.task).stage = Stage::Ungated(candidate);
                    }
                    Err(setback) => self.set_back(attempt, setback),
                }
            }
            Event::Landed { ref attempt, ref commit } => {
                let found = self.settle(
                    |command| matches!(command, Command::Land { attempt: a, .. } if a == attempt),
                );
                let Stage::Landing(candidate) = self.state(&attempt.task).stage.clone() else {
                    return Err(illegal(&event, "landed without an order to"));
                };
                if found.is_none() || candidate.commit != *commit || candidate.base != self.tip {
                    return Err(illegal(&event, "something else landed"));
                }
                self.tip = commit.clone();
                self.failures_in_a_row = 0;
                // What was published is behind now.
                self.publication = Publication::Open;
                self.record(attempt).ended = at;
                self.state(&attempt.task).stage = Stage::Landed(candidate);
            }
            Event::Published { ref url, number, .. } => {
                if self.settle(|command| matches!(command, Command::Publish { .. })).is_none() {
                    return Err(illegal(&event, "no such publication"));
                }
                self.publication = Publication::Done { url: url.clone(), number };
            }
            Event::NotPublished { ref message, ref help } => {
                if self.settle(|command| matches!(command, Command::Publish { .. })).is_none() {
                    return Err(illegal(&event, "no such publication"));
                }
                self.publication =
                    Publication::Failed { message: message.clone(), help: help.clone() };
            }
            Event::StopAsked { reason } => {
                self.stop.get_or_insert(reason);
            }
            Event::Restarted { charges } => {
                self.paused += at.duration_since(before).max(SignedDuration::ZERO);
                self.restarted(charges);
            }
            Event::Ended { reason, exit } => {
                self.ended = Some((reason, exit));
            }
        }
        Ok(())
    }

    /// The state's part of an order: an order that is not redoable is a stage, not only an in-flight mark.
    fn began(&mut self, at: Timestamp, command: &Command) -> Result<(), &'static str> {
        match command {
            Command::CheckBase { .. } => match self.base_gate {
                BaseGate::Unknown => Ok(()),
                BaseGate::Green(_) | BaseGate::Red(_) => Err("the base was checked already"),
            },
            Command::RunAgent { attempt, base, budget, model, conversation, .. } => {
                let base_is_green = matches!(self.base_gate, BaseGate::Green(_));
                let Some(task) = self.tasks.get_mut(&attempt.task) else {
                    return Err("no such task");
                };
                let next = u32::try_from(task.attempts.len()).unwrap_or(u32::MAX) + 1;
                if !base_is_green || task.stage != Stage::Waiting || attempt.number != next {
                    return Err("not this task's next attempt");
                }
                task.counted += 1;
                task.not_before = None;
                task.stage = Stage::Editing;
                task.attempts.push(AttemptRecord {
                    number: attempt.number,
                    base: base.clone(),
                    began: at,
                    ended: at,
                    reserved: *budget,
                    model: model.clone(),
                    conversation: conversation.clone(),
                    agent: None,
                    charged: None,
                    review: None,
                    reviewing: Usd::ZERO,
                    reviews_lost: Spend::default(),
                    candidate: None,
                    gate: None,
                    setback: None,
                    kept: None,
                });
                Ok(())
            }
            Command::RunGate { attempt, commit, tree } => {
                match self.tasks.get(&attempt.task).map(|task| &task.stage) {
                    Some(Stage::Ungated(c)) if c.commit == *commit && c.tree == *tree => Ok(()),
                    _ => Err("nothing to gate"),
                }
            }
            Command::Review { attempt, commit, budget, .. } => {
                match self.tasks.get(&attempt.task).map(|task| &task.stage) {
                    Some(Stage::Gated(c)) if c.commit == *commit => {}
                    _ => return Err("nothing to review"),
                }
                let record = self.record(attempt);
                record.reviewing = record.reviewing + *budget;
                Ok(())
            }
            Command::Restack { attempt, candidate, onto } => {
                match self.tasks.get(&attempt.task).map(|task| &task.stage) {
                    Some(Stage::Ungated(c) | Stage::Gated(c))
                        if c == candidate && *onto == self.tip =>
                    {
                        Ok(())
                    }
                    _ => Err("nothing to restack"),
                }
            }
            Command::Land { attempt, from, to, tree } => {
                let another = self.tasks.iter().any(|(id, task)| {
                    *id != attempt.task && matches!(task.stage, Stage::Landing(_))
                });
                let tip = self.tip.clone();
                let Some(task) = self.tasks.get_mut(&attempt.task) else {
                    return Err("no such task");
                };
                let (Stage::Gated(candidate) | Stage::Landing(candidate)) = task.stage.clone()
                else {
                    return Err("landed without a passing gate");
                };
                let same = candidate.base == *from
                    && candidate.commit == *to
                    && candidate.tree == *tree
                    && *from == tip;
                if another || !same {
                    return Err("landed out of turn");
                }
                if needs_review(&self.opening, task) {
                    return Err("landed without its second opinion");
                }
                task.stage = Stage::Landing(candidate);
                Ok(())
            }
            Command::Publish { tip } => {
                if *tip == self.tip {
                    Ok(())
                } else {
                    Err("published another tip")
                }
            }
        }
    }

    /// The commands in flight are of unknown outcome. Each is safe to do again, so each becomes due again;
    /// only a lost agent run costs an attempt number, and what it is charged with.
    fn restarted(&mut self, charges: Vec<Charge>) {
        for command in std::mem::take(&mut self.in_flight) {
            if let Command::RunAgent { attempt, .. } = command {
                let task = self.state(&attempt.task);
                task.stage = Stage::Waiting;
                task.counted = task.counted.saturating_sub(1);
            }
        }
        // A limit has its own end; what else was closed is tried anew.
        self.closings.retain(|closing| closing.trigger == Trigger::Limit);
        for charge in charges {
            self.record(&charge.attempt).charged = Some(charge.spent);
        }
        // A person or a timer started us again: what stopped the last process is looked at afresh.
        if self.stop != Some(StopReason::RedBase) {
            self.stop = None;
            self.failures_in_a_row = 0;
        }
        if matches!(self.publication, Publication::Failed { .. }) {
            self.publication = Publication::Open;
        }
        self.ended = None;
        self.restarts += 1;
    }

    fn set_back(&mut self, attempt: &AttemptId, setback: Setback) {
        let at = self.last;
        let record = self.record(attempt);
        record.ended = at;
        record.setback = Some(setback.clone());
        let task = self.state(&attempt.task);
        match setback.then.clone() {
            Then::Retry => task.stage = Stage::Waiting,
            Then::FailTask => {
                task.stage = Stage::Failed(setback);
                self.failures_in_a_row += 1;
            }
            Then::Uncounted => {
                task.stage = Stage::Waiting;
                task.counted = task.counted.saturating_sub(1);
            }
            Then::Recover { at, closing } => {
                task.stage = Stage::Waiting;
                task.counted = task.counted.saturating_sub(1);
                task.not_before = Some(at);
                if let Some(closing) = closing {
                    self.close(closing);
                }
            }
            Then::Park => {
                task.stage = Stage::Parked(setback);
                task.counted = task.counted.saturating_sub(1);
            }
            Then::StopNight(reason) => {
                task.stage = Stage::Waiting;
                task.counted = task.counted.saturating_sub(1);
                self.stop.get_or_insert(reason);
            }
        }
    }

    fn state(&mut self, id: &TaskId) -> &mut TaskState {
        self.tasks.get_mut(id).expect("events name tasks that their order named")
    }

    fn record(&mut self, attempt: &AttemptId) -> &mut AttemptRecord {
        self.state(&attempt.task)
            .attempts
            .iter_mut()
            .find(|record| record.number == attempt.number)
            .expect("events name attempts that their order named")
    }

    fn settle(&mut self, is_it: impl Fn(&Command) -> bool) -> Option<Command> {
        let at = self.in_flight.iter().position(is_it)?;
        Some(self.in_flight.remove(at))
    }
}

fn illegal(event: &Event, why: &'static str) -> IllegalEvent {
    IllegalEvent { event: serde_json::to_string(event).unwrap_or_default(), why }
}
