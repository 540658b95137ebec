//! Where each task of a night stands, and what is known of each attempt: plain data of the fold.

use jiff::{SignedDuration, Timestamp};

use crate::{
    budget::{Spend, Usd},
    ids::CommitId,
    night::{Conversation, Setback},
    outcome::{AgentReport, Candidate, Failure, GateReport, Review, TestProof},
    policy::{Authorities, Authority, Inspection, Refusal, Verdict},
    prompt::Decision,
};

/// Where one task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not started, or free to be tried again.
    Waiting,
    /// An agent should be at work on this attempt.
    Editing,
    /// The candidate has yet to pass the gate at exactly its own tree.
    Ungated(Candidate),
    /// The candidate passed the gate at exactly its own tree.
    Gated(Candidate),
    /// It passed everything, and a rule says that a person must see it before it lands.
    Held(Candidate),
    /// The branch may or may not have moved already. Nothing else may move it until this is settled.
    Landing(Candidate),
    /// On the branch.
    Landed(Candidate),
    /// Tried as often as it may be, or ended early.
    Failed(Setback),
    /// A person must answer before it goes on.
    Parked(Setback),
}

/// One task of the night.
#[derive(Clone, Debug)]
pub struct TaskState {
    /// Where it stands.
    pub stage: Stage,
    /// Every attempt, in order; the last is the one that the stage speaks of.
    pub attempts: Vec<AttemptRecord>,
    /// Attempts that count against the limit.
    pub counted: u32,
    /// It is not started again before this, after a trouble that passes.
    pub not_before: Option<Timestamp>,
}

/// One attempt, as far as it is known.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// 1 for the first.
    pub number: u32,
    /// The commit that it started from.
    pub base: CommitId,
    /// When the agent was started.
    pub began: Timestamp,
    /// When the last thing about its own work was learned: by agent, gate, proofs, review. What happens to its result
    /// after it landed, was held or was set back for the first time does not move it.
    pub ended: Timestamp,
    /// How long the night had lasted when it began.
    pub began_after: SignedDuration,
    /// Time from its beginning to `ended` in which a process was at the night, whatever was done to the clock.
    pub took: SignedDuration,
    /// True once it landed, was held or was set back: its times stay.
    pub settled: bool,
    /// Money reserved for it; nothing where nobody counts what the agent costs.
    pub reserved: Usd,
    /// The model that was asked for; `None` = the agent's own.
    pub model: Option<String>,
    /// The conversation that it is part of, where the agent has them.
    pub conversation: Option<Conversation>,
    /// What the agent's run came to; `None` while it runs, or when a crash cut it off.
    pub agent: Option<AgentReport>,
    /// What a crash-cut run is charged with.
    pub charged: Option<Spend>,
    /// The second opinion on its decisions.
    pub review: Option<Review>,
    /// Money reserved for second opinions that is not settled: one under way, and those that a crash cut off.
    pub reviewing: Usd,
    /// What second opinions cost that came to nothing.
    pub reviews_lost: Spend,
    /// The candidate, where one was made; after a restack the newest.
    pub candidate: Option<Candidate>,
    /// The last gate run of it.
    pub gate: Option<GateReport>,
    /// Why it did not work.
    pub setback: Option<Setback>,
    /// The commit that keeps its work.
    pub kept: Option<CommitId>,
    /// What the check of its diff found.
    pub inspection: Inspection,
    /// What the rules say of the gate's run.
    pub gate_findings: Vec<Refusal>,
    /// Whether its tests test its change.
    pub test_proof: Option<TestProof>,
    /// What the rules say of that.
    pub proof_findings: Vec<Refusal>,
    /// Who approved the held result.
    pub approved_by: Option<String>,
    /// What they said.
    pub approval_note: Option<String>,
}

impl AttemptRecord {
    /// An attempt that has just begun.
    pub(super) fn new(number: u32, base: CommitId, began: Timestamp) -> AttemptRecord {
        AttemptRecord {
            number,
            base,
            began,
            ended: began,
            began_after: SignedDuration::ZERO,
            took: SignedDuration::ZERO,
            settled: false,
            reserved: Usd::ZERO,
            model: None,
            conversation: None,
            agent: None,
            charged: None,
            review: None,
            reviewing: Usd::ZERO,
            reviews_lost: Spend::default(),
            candidate: None,
            gate: None,
            setback: None,
            kept: None,
            inspection: Inspection::default(),
            gate_findings: Vec::new(),
            test_proof: None,
            proof_findings: Vec::new(),
            approved_by: None,
            approval_note: None,
        }
    }

    /// Everything that rules said of its work: of the diff, of the gate's run, of its tests.
    pub fn findings(&self) -> impl Iterator<Item = &Refusal> {
        self.inspection.findings.iter().chain(&self.gate_findings).chain(&self.proof_findings)
    }

    /// Why a person must see it before it lands. Once somebody approved it only what no approval frees is left.
    pub fn objections(&self) -> Vec<&Refusal> {
        let least = if self.approved_by.is_some() { Verdict::Refuse } else { Verdict::Ask };
        self.findings().filter(|finding| finding.verdict >= least).collect()
    }

    /// The rules that no approval frees.
    pub fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.findings().filter(|finding| finding.verdict == Verdict::Refuse)
    }

    /// True when a person must see it before it lands.
    pub fn waits(&self) -> bool {
        !self.objections().is_empty()
    }

    /// What it cost, as far as known: reported, charged, or reserved while it runs.
    pub fn spent(&self) -> Spend {
        let own = match (&self.agent, self.charged) {
            (Some(report), _) => report.spent,
            (None, Some(charged)) => charged,
            (None, None) => Spend::reserved(self.reserved),
        };
        let review = self.review.as_ref().map(|review| review.spent).unwrap_or_default();
        own + review + self.reviews_lost + Spend::reserved(self.reviewing)
    }
}

/// What is known of the gate on the base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseGate {
    /// Not run yet.
    Unknown,
    /// It passed: the night may start.
    Green(GateReport),
    /// It did not, its failures have names, and only new ones count: the night may start.
    Known(GateReport),
    /// It did not: nothing may start.
    Red(GateReport),
}

impl BaseGate {
    /// True when tasks may be started on this base.
    pub fn may_start(&self) -> bool {
        matches!(self, BaseGate::Green(_) | BaseGate::Known(_))
    }

    /// The gate's run on the base, where there was one.
    pub fn report(&self) -> Option<&GateReport> {
        match self {
            BaseGate::Unknown => None,
            BaseGate::Green(report) | BaseGate::Known(report) | BaseGate::Red(report) => {
                Some(report)
            }
        }
    }
}

/// How publishing stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publication {
    /// Not tried yet.
    Open,
    /// There is a pull request.
    Done {
        /// Where a person opens it.
        url: String,
        /// Its number on the forge.
        number: Option<u64>,
        /// What did not work beside it: receipts, labels, reviewers.
        notes: Vec<String>,
    },
    /// It did not work. The work is safe.
    Failed {
        /// What happened.
        message: String,
        /// What to do.
        help: String,
        /// True when it may pass by itself; false when a person must act first.
        passing: bool,
        /// Tries since the branch last moved, or since a process last took over.
        tries: u32,
        /// When this night tries again by itself; `None` = it does not.
        again: Option<Timestamp>,
    },
}

/// Everything that was decided for what `record` leaves: by itself, and by the attempts before it in the same
/// conversation, whose files it went on with. Each decision once.
pub fn decided(attempts: &[AttemptRecord], record: &AttemptRecord) -> Vec<Decision> {
    let mut found: Vec<Decision> = Vec::new();
    let same = |other: &&AttemptRecord| {
        other.number == record.number
            || (other.number < record.number
                && other.conversation.is_some()
                && other.conversation == record.conversation)
    };
    for decision in attempts
        .iter()
        .filter(same)
        .filter_map(|record| record.agent.as_ref())
        .flat_map(|report| &report.reply.decisions)
    {
        if !found.iter().any(|known| known.level == decision.level && known.what == decision.what) {
            found.push(decision.clone());
        }
    }
    found
}

/// Those of [`decided`] that need a second opinion.
pub fn in_question(
    attempts: &[AttemptRecord],
    record: &AttemptRecord,
    authorities: &Authorities,
) -> Vec<Decision> {
    let mut decisions = decided(attempts, record);
    decisions.retain(|decision| authorities.of(decision.level) == Authority::Review);
    decisions
}

impl TaskState {
    /// Money and tokens of all attempts.
    pub fn spent(&self) -> Spend {
        self.attempts.iter().map(AttemptRecord::spent).sum()
    }

    /// True from its start until it landed, failed, or waits for another try.
    pub fn is_under_way(&self) -> bool {
        match self.stage {
            Stage::Editing | Stage::Ungated(_) | Stage::Gated(_) | Stage::Landing(_) => true,
            Stage::Waiting
            | Stage::Held(_)
            | Stage::Landed(_)
            | Stage::Failed(_)
            | Stage::Parked(_) => false,
        }
    }

    /// True when nothing more will be done about it tonight without a person: it landed, failed, or waits for one.
    pub fn is_settled(&self) -> bool {
        match self.stage {
            Stage::Held(_) | Stage::Landed(_) | Stage::Failed(_) | Stage::Parked(_) => true,
            Stage::Waiting
            | Stage::Editing
            | Stage::Ungated(_)
            | Stage::Gated(_)
            | Stage::Landing(_) => false,
        }
    }

    /// The candidate that waits for a person, when there is one.
    pub fn held(&self) -> Option<&Candidate> {
        if let Stage::Held(candidate) = &self.stage { Some(candidate) } else { None }
    }

    /// The result that a person may decide about: one that is held, and one that was approved and has not landed,
    /// whether it is still on its way or did not fit.
    pub fn decidable(&self) -> Option<&Candidate> {
        let last = self.last()?;
        match &self.stage {
            Stage::Held(candidate) => Some(candidate),
            Stage::Ungated(candidate) | Stage::Gated(candidate) if last.approved_by.is_some() => {
                Some(candidate)
            }
            Stage::Failed(setback) if last.approved_by.is_some() => {
                let rejected = matches!(setback.failure, Failure::Rejected { .. });
                last.candidate.as_ref().filter(|_| !rejected)
            }
            Stage::Waiting
            | Stage::Editing
            | Stage::Ungated(_)
            | Stage::Gated(_)
            | Stage::Landing(_)
            | Stage::Landed(_)
            | Stage::Failed(_)
            | Stage::Parked(_) => None,
        }
    }

    /// True when a person approved the result and it is on its way to the branch.
    pub fn is_approved(&self) -> bool {
        let going = matches!(self.stage, Stage::Ungated(_) | Stage::Gated(_) | Stage::Landing(_));
        going && self.last().is_some_and(|last| last.approved_by.is_some())
    }

    /// What a person must answer, when the task waits for that.
    pub fn parked(&self) -> Option<&Setback> {
        if let Stage::Parked(setback) = &self.stage { Some(setback) } else { None }
    }

    /// The candidate on the branch, when the task landed.
    pub fn landed(&self) -> Option<&Candidate> {
        if let Stage::Landed(candidate) = &self.stage { Some(candidate) } else { None }
    }

    /// Why the task failed, when it did.
    pub fn failed(&self) -> Option<&Setback> {
        if let Stage::Failed(setback) = &self.stage { Some(setback) } else { None }
    }

    /// The last attempt.
    pub fn last(&self) -> Option<&AttemptRecord> {
        self.attempts.last()
    }
}
