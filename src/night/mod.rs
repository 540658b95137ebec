//! The rules of one night, as a value.
//!
//! [`Night::apply`] folds one fact into the state, [`Night::due`] says what to do next, [`Night::judge`]
//! says what a failure leads to. None touches the world, so a test can replay any night and cut it at any
//! line. Live run and resume are the same fold: there is no second state.

mod due;
mod event;
mod findings;
mod fold;
mod conversation;
mod judge;
mod models;
mod opening;
mod outbox;
mod redacted;
mod revert;
mod state;
mod times;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

pub use due::NotStarted;
pub use event::{
    Actor, Charge, Closing, Command, Conversation, Entry, Event, Gap, Setback, StreamKind, Then,
    Trigger,
};
pub use findings::{of_gate, of_tests};
pub use opening::{
    Again, AgentSpec, Author, Base, Baseline, Canary, GateSpec, Opening, PlanSource, PublishSpec,
    RefusedTask, Rejection, Reverse, Step,
};
pub use outbox::Hindrance;

pub use state::{AttemptRecord, BaseGate, Publication, Stage, TaskState, decided, in_question};

use crate::{
    budget::Spend,
    ids::{CommitId, TaskId},
    outcome::{Candidate, GateProof, StopReason},
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
    gate_proof: Option<GateProof>,
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
    /// The last fact was a process's own end: what comes next is another's.
    away: bool,
    /// By how much the clock was set, all in all.
    moved: SignedDuration,
    /// Set while only what a person approved is to land.
    only_landing: Option<OnlyLanding>,
    /// The branch is to go back: from where, to where.
    rewind: Option<(CommitId, CommitId)>,
    /// Tasks that were on the branch and are to land anew, in the order of the branch.
    again: Vec<TaskId>,
    /// Where the branch stood before it went back, oldest first.
    former: Vec<CommitId>,
    /// True from the first order to publish on: there may be a branch outside.
    outside: bool,
}

/// What stood before a person's decisions were carried out: it stands again after them.
#[derive(Clone, Debug)]
struct OnlyLanding {
    stop: Option<StopReason>,
    ended: Option<(Option<StopReason>, u8)>,
    /// What kept it from its end.
    trouble: Option<StopReason>,
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
            gate_proof: None,
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
            away: false,
            moved: SignedDuration::ZERO,
            only_landing: None,
            rewind: None,
            again: Vec::new(),
            former: Vec::new(),
            outside: false,
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

    /// True when the branch stands at the base and never was anywhere else outside: it is not made there.
    pub fn has_nothing_to_publish(&self) -> bool {
        self.tip == self.opening.base.commit && !self.outside
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

    /// What is known of the gate's ability to fail.
    pub fn gate_proof(&self) -> Option<&GateProof> {
        self.gate_proof.as_ref()
    }

    /// How publishing stands.
    pub fn publication(&self) -> &Publication {
        &self.publication
    }

    /// Why nothing new is started, where that is so.
    pub fn stop(&self) -> Option<&StopReason> {
        self.stop.as_ref()
    }

    /// Why the night itself stopped or ended early: not because it only lands what was approved.
    pub fn stopped_early(&self) -> Option<&StopReason> {
        let Some(landing) = &self.only_landing else { return self.stop.as_ref() };
        let ended = landing.ended.as_ref().and_then(|(reason, _)| reason.as_ref());
        landing.trouble.as_ref().or(ended).or(landing.stop.as_ref())
    }

    /// True from the moment when a person's decisions are being carried out until that has ended: no agent is
    /// started.
    pub fn only_lands(&self) -> bool {
        self.only_landing.is_some()
    }

    /// Results that a person approved and that have not landed: a process was cut off on their way.
    pub fn approved(&self) -> impl Iterator<Item = &TaskId> {
        self.tasks().filter(|(_, task)| task.is_approved()).map(|(id, _)| id)
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
}

fn illegal(event: &Event, why: &'static str) -> IllegalEvent {
    IllegalEvent { event: serde_json::to_string(event).unwrap_or_default(), why }
}
