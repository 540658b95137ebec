//! Facts (past tense) and orders (imperative). Facts are what the journal stores.
//!
//! A fact carries the verdict that was reached when it happened, so that a replay never judges again
//! with newer rules.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    budget::{Spend, Usd},
    ids::{AttemptId, CommitId, TreeId},
    night::Opening,
    outcome::{
        AgentReport, Candidate, Failure, GateProof, GateReport, Review, StopReason, TestProof,
    },
    policy::{Inspection, Refusal},
};

/// One line of a night's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// 1 for the first entry; no number is left out.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What kind of step this is, for streams and dashboards.
    #[serde(rename = "type")]
    pub kind: StreamKind,
    /// Who did it.
    pub actor: Actor,
    /// The model that worked, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What it cost, where it cost something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Usd>,
    /// What was decided, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// What happened.
    pub event: Event,
}

/// The kinds of step that a stream tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamKind {
    /// Reading plan, rules and base.
    Analysis,
    /// What will be done.
    Plan,
    /// A deed began.
    Step,
    /// A deed ended, or something is under way.
    Progress,
    /// A gate or an inspection spoke.
    Verification,
    /// The night ended.
    Complete,
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Actor {
    /// This program.
    Runner,
    /// The program that edits.
    Agent {
        /// Its configured name.
        name: String,
    },
    /// A person.
    Person {
        /// How it is known who it was: an account on this machine, a terminal's signal.
        known_by: String,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The night began. Always the first fact, and only the first.
    Opened(Box<Opening>),
    /// The runner is about to carry out this command. Written before it does.
    Began(Command),
    /// The gate ran on the base.
    BaseChecked {
        /// What came of it.
        report: GateReport,
    },
    /// The gate was tried on trees broken on purpose.
    GateProven {
        /// What came of it.
        proof: GateProof,
    },
    /// An agent's run ended and was inspected.
    AgentEnded {
        /// Which attempt.
        attempt: AttemptId,
        /// What the run came to.
        report: AgentReport,
        /// A candidate for the gate, or why there is none.
        result: Result<Candidate, Setback>,
        /// The commit that keeps the attempt's work, where it left any.
        kept: Option<CommitId>,
        /// What the check of its diff found.
        #[serde(default)]
        inspection: Inspection,
    },
    /// A gate's run ended.
    GateEnded {
        /// Which attempt.
        attempt: AttemptId,
        /// What came of it; green exactly when there is no setback.
        report: GateReport,
        /// What the rules say of a green run.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        findings: Vec<Refusal>,
        /// What a red gate leads to.
        setback: Option<Setback>,
    },
    /// A candidate's tests were tried on the base's code, and the base's on the candidate's.
    TestsProven {
        /// Which attempt.
        attempt: AttemptId,
        /// What came of it.
        proof: TestProof,
        /// What the rules say of it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        findings: Vec<Refusal>,
        /// What unproven tests lead to, where the rules want them proven.
        setback: Option<Setback>,
    },
    /// A person decided about a held result.
    Decided {
        /// Which attempt.
        attempt: AttemptId,
        /// True: it may land.
        approved: bool,
        /// What the person said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Who, as far as it is known: an account on this machine.
        by: String,
    },
    /// A second conversation was asked about an attempt's decisions.
    Reviewed {
        /// Which attempt.
        attempt: AttemptId,
        /// What it said; it agrees exactly when there is no setback.
        review: Review,
        /// What a "no" leads to.
        setback: Option<Setback>,
    },
    /// The opposite of an earlier night's result was made on the tip.
    Reversed {
        /// Which attempt.
        attempt: AttemptId,
        /// The candidate, or why there is none.
        result: Result<Candidate, Setback>,
    },
    /// A candidate was rebuilt on a new tip.
    Restacked {
        /// Which attempt.
        attempt: AttemptId,
        /// The new candidate, or the conflict.
        result: Result<Candidate, Setback>,
    },
    /// A person takes a landed result from the branch again. What landed after it is built anew without it.
    Reverted {
        /// Which attempt.
        attempt: AttemptId,
        /// What the person said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Who, as far as it is known: an account on this machine.
        by: String,
    },
    /// The branch moved back to before what was reverted.
    Rewound {
        /// Where the branch stands now.
        to: CommitId,
    },
    /// The branch moved to a gated candidate.
    Landed {
        /// Which attempt.
        attempt: AttemptId,
        /// Where the branch stands now.
        commit: CommitId,
    },
    /// The pull request is open and up to date.
    Published {
        /// Where a person opens it.
        url: String,
        /// Its number on the forge.
        number: Option<u64>,
        /// What did not work but does not matter enough to fail.
        notes: Vec<String>,
    },
    /// The branch or the pull request did not get out. The work is safe.
    NotPublished {
        /// What happened.
        message: String,
        /// What to do.
        help: String,
        /// True when it may pass by itself. Journals without this tell of what only a person mends.
        #[serde(default)]
        passing: bool,
        /// When this night tries again by itself; `None` = it does not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<Timestamp>,
    },
    /// Nothing new is to be started.
    StopAsked {
        /// Why.
        reason: StopReason,
    },
    /// A new process took over this night; what was in flight is of unknown outcome.
    Restarted {
        /// What lost agent runs are charged with.
        charges: Vec<Charge>,
    },
    /// Time went by in which nobody looked: the machine slept, its clock was set, or this process was stopped.
    TimePassed(Gap),
    /// The night is over.
    Ended {
        /// Why, when it was before its work was done.
        reason: Option<StopReason>,
        /// The exit code of the process.
        exit: u8,
    },
}

/// A gap between two looks of the runner, by what made it. Seconds; each is 0 when it was no cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The machine slept. Nobody worked then: an attempt's time does not count it, the night's does.
    #[serde(default)]
    pub slept_s: u64,
    /// The clock was set, negative = back. No time passed: every time of ours moves with it.
    #[serde(default)]
    pub clock_s: i64,
    /// The machine was awake and this process did not run. Agents and gates went on, so everything counts it.
    #[serde(default)]
    pub stopped_s: u64,
}

/// The cost of an agent's run that a crash cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Which run.
    pub attempt: AttemptId,
    /// What it is taken to have cost.
    pub spent: Spend,
}

/// Why an attempt did not work, and what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setback {
    /// What went wrong.
    pub failure: Failure,
    /// What follows.
    pub then: Then,
    /// The earlier attempt that failed in the same way, when that ended the task early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<u32>,
}

/// What follows from a setback. See `Night::judge` for the one table of decisions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// The task is tried again; the attempt counts.
    Retry,
    /// The task has failed.
    FailTask,
    /// The task may be tried again later; the attempt does not count against it.
    Uncounted,
    /// The task is tried again by itself; the attempt does not count against it.
    Recover {
        /// Not before.
        at: Timestamp,
        /// What may not be asked for a while.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        closing: Option<Closing>,
    },
    /// The task waits for a person's answer; the night goes on with the others.
    Park,
    /// The night stops; the attempt does not count against the task.
    StopNight(StopReason),
}

/// A model, or all of them, that may not be asked for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// The model as it is asked for; `None` = all.
    pub model: Option<String>,
    /// Until when. A reset time already has its jitter in it.
    pub until: Timestamp,
    /// Why.
    pub trigger: Trigger,
    /// How often in a row, from 1.
    pub strikes: u32,
    /// True when the service said until when; else it is our own guess.
    #[serde(default)]
    pub told: bool,
}

/// Why a model is not asked for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A usage limit.
    Limit,
    /// Its service is overloaded, again after the quick tries.
    Overload,
    /// Its service cannot be reached, again after the quick tries.
    Transport,
    /// It is unknown or not allowed for this account.
    Unavailable,
    /// Its usage window is nearly full: asked only when no other model may be.
    Window,
}

/// One conversation of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Its id, a UUID that we chose.
    pub id: String,
    /// The number of the attempt that opened it: the attempt whose number this is begins anew, a later one
    /// goes on in its files.
    pub opened_by: u32,
}

/// What to do next. Every command is safe to carry out twice; each says by which design.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Redo: runs the gate on a tree, changes nothing.
    CheckBase {
        /// The base commit.
        commit: CommitId,
        /// Its tree.
        tree: TreeId,
    },
    /// Redo: runs the gate on broken trees, changes nothing.
    ProveGate {
        /// The base commit.
        commit: CommitId,
        /// Its tree.
        tree: TreeId,
    },
    /// Redo: a fresh workspace each time.
    RunAgent {
        /// Which attempt.
        attempt: AttemptId,
        /// The commit that it starts from.
        base: CommitId,
        /// Seconds of agent time.
        time_s: u64,
        /// Money reserved for it; zero = no limit.
        budget: Usd,
        /// Tokens that it may use; `None` = no limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tokens: Option<u64>,
        /// The model to ask; `None` = the agent's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// The conversation that it is part of, where the agent has them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        conversation: Option<Conversation>,
    },
    /// Redo: makes a new commit object, moves no ref but the one that keeps it.
    Reverse {
        /// Which attempt.
        attempt: AttemptId,
        /// The tip that the opposite of the task's result is made on.
        onto: CommitId,
    },
    /// Redo: reads a tree, writes nothing.
    RunGate {
        /// Which attempt.
        attempt: AttemptId,
        /// The commit to lay out.
        commit: CommitId,
        /// The commit's tree.
        tree: TreeId,
    },
    /// Redo: runs the gate on two mixed trees, changes nothing.
    ProveTests {
        /// Which attempt.
        attempt: AttemptId,
        /// The candidate's parent.
        base: CommitId,
        /// The candidate.
        commit: CommitId,
    },
    /// Redo: asks, and changes nothing.
    Review {
        /// Which attempt.
        attempt: AttemptId,
        /// The commit whose decisions are in question.
        commit: CommitId,
        /// Money reserved for it; zero = no limit.
        budget: Usd,
        /// The model to ask; `None` = the agent's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
    },
    /// Redo: makes a new commit object, moves no ref.
    Restack {
        /// Which attempt.
        attempt: AttemptId,
        /// The candidate as it is.
        candidate: Candidate,
        /// The tip that it should stand on.
        onto: CommitId,
    },
    /// Compare and swap: moves the branch from `from` to `to`, or finds it already there.
    Land {
        /// Which attempt.
        attempt: AttemptId,
        /// Where the branch must stand.
        from: CommitId,
        /// Where it goes.
        to: CommitId,
        /// The tree of `to`, read again before the move.
        tree: TreeId,
    },
    /// Compare and swap: moves the branch back from `from` to `to`, or finds it already there.
    Rewind {
        /// Where the branch stands, or an earlier step on the way back from there.
        from: CommitId,
        /// Where it goes: a commit behind `from`.
        to: CommitId,
    },
    /// Find or create: one pull request per branch.
    Publish {
        /// Where the branch stands.
        tip: CommitId,
    },
}

impl Command {
    /// True for what asks a model, and so costs money.
    pub fn asks_a_model(&self) -> bool {
        matches!(self, Command::RunAgent { .. } | Command::Review { .. })
    }

    /// The attempt that a command belongs to, where it belongs to one.
    pub fn attempt(&self) -> Option<&AttemptId> {
        match self {
            Command::RunAgent { attempt, .. }
            | Command::Reverse { attempt, .. }
            | Command::RunGate { attempt, .. }
            | Command::ProveTests { attempt, .. }
            | Command::Review { attempt, .. }
            | Command::Restack { attempt, .. }
            | Command::Land { attempt, .. } => Some(attempt),
            Command::CheckBase { .. }
            | Command::ProveGate { .. }
            | Command::Rewind { .. }
            | Command::Publish { .. } => None,
        }
    }
}

impl Event {
    /// What kind of step this is.
    pub fn kind(&self) -> StreamKind {
        match self {
            Event::Opened(_) => StreamKind::Plan,
            Event::BaseChecked { .. }
            | Event::GateProven { .. }
            | Event::GateEnded { .. }
            | Event::TestsProven { .. }
            | Event::Reviewed { .. } => StreamKind::Verification,
            Event::Began(Command::CheckBase { .. } | Command::ProveGate { .. })
            | Event::Restarted { .. }
            | Event::TimePassed(_) => StreamKind::Analysis,
            Event::Began(_) => StreamKind::Step,
            Event::AgentEnded { .. }
            | Event::Restacked { .. }
            | Event::Reversed { .. }
            | Event::Decided { .. }
            | Event::Reverted { .. }
            | Event::Rewound { .. }
            | Event::Landed { .. }
            | Event::Published { .. }
            | Event::NotPublished { .. }
            | Event::StopAsked { .. } => StreamKind::Progress,
            Event::Ended { .. } => StreamKind::Complete,
        }
    }
}

impl Entry {
    /// An entry for an event, with the fields that can be read off it.
    pub fn new(seq: u64, at: Timestamp, agent: &str, event: Event) -> Entry {
        let (mut actor, mut model, mut cost) = (Actor::Runner, None, None);
        if let Event::AgentEnded { report, .. } = &event {
            actor = Actor::Agent { name: agent.to_owned() };
            model.clone_from(&report.model);
            cost = Some(report.spent.usd);
        }
        if let Event::Reviewed { review, .. } = &event {
            actor = Actor::Agent { name: agent.to_owned() };
            model.clone_from(&review.model);
            cost = Some(review.spent.usd);
        }
        if let Event::StopAsked { reason: StopReason::Asked { by } } = &event {
            actor = Actor::Person { known_by: by.clone() };
        }
        if let Event::Decided { by, .. } | Event::Reverted { by, .. } = &event {
            actor = Actor::Person { known_by: by.clone() };
        }
        let decision = if let Event::AgentEnded { result: Err(setback), .. }
        | Event::GateEnded { setback: Some(setback), .. }
        | Event::TestsProven { setback: Some(setback), .. }
        | Event::Reviewed { setback: Some(setback), .. }
        | Event::Reversed { result: Err(setback), .. }
        | Event::Restacked { result: Err(setback), .. } = &event
        {
            Some(setback.then.in_words())
        } else {
            None
        };
        Entry { seq, at, kind: event.kind(), actor, model, cost, decision, event }
    }
}

impl Then {
    /// What follows, for people.
    pub fn in_words(&self) -> String {
        match self {
            Then::Retry => "try again".to_owned(),
            Then::FailTask => "the task has failed".to_owned(),
            Then::Uncounted => "later; this attempt does not count".to_owned(),
            Then::Recover { at, closing } => {
                let at = closing.as_ref().map_or(*at, |closing| closing.until.max(*at));
                format!("again, at the latest from {at:.0} on; this attempt does not count")
            }
            Then::Park => "wait for a person's answer".to_owned(),
            Then::StopNight(_) => "stop the night".to_owned(),
        }
    }
}
