//! Which conversation an attempt is part of, and whose decisions need a second opinion.
//!
//! A failed attempt that is told what went wrong costs a fraction of a fresh one, and knows what it did.
//! But a conversation that fails twice in the same way goes round in a circle: then a fresh head, from the
//! tip, does better.

use sha2::{Digest, Sha256};

use crate::{
    ids::AttemptId,
    night::{Conversation, Night, Opening, TaskState, in_question},
    outcome::{AgentEnd, Failure},
    policy::Tests,
};

impl Night {
    /// The conversation of a task's next attempt; `None` for agents that have none.
    pub(super) fn conversation(&self, next: &AttemptId) -> Option<Conversation> {
        if !self.opening.agent.converses {
            return None;
        }
        let going_on = self.task(&next.task).and_then(TaskState::goes_on);
        Some(going_on.cloned().unwrap_or_else(|| Conversation {
            id: uuid(&format!("{}/{}/{next}", self.opening.repository, self.opening.night)),
            opened_by: next.number,
        }))
    }
}

impl TaskState {
    /// The last attempt's conversation, when the next one should go on with it.
    pub fn goes_on(&self) -> Option<&Conversation> {
        going_on(self)
    }
}

fn going_on(task: &TaskState) -> Option<&Conversation> {
    let last = task.attempts.last()?;
    let conversation = last.conversation.as_ref()?;
    let Some(setback) = &last.setback else { return Some(conversation) }; // a crash cut it off
    // What failed on a new tip is not in the conversation's own files, which stand on the old one.
    let moved = last.candidate.as_ref().is_some_and(|candidate| candidate.base != last.base);
    let of_the_tree = matches!(
        setback.failure,
        Failure::Gate(_) | Failure::Unproven(_) | Failure::Disagreed { .. }
    );
    if moved && of_the_tree {
        return None;
    }
    let now = kind(&setback.failure)?;
    let before = task.attempts.iter().rev().skip(1);
    let poisoned = before
        .take_while(|record| record.conversation.as_ref() == Some(conversation))
        .filter_map(|record| record.setback.as_ref())
        .any(|earlier| now.counts && kind(&earlier.failure).is_some_and(|k| k.name == now.name));
    (!poisoned).then_some(conversation)
}

/// What makes two failures of one conversation the same.
struct Kind {
    name: String,
    /// False for troubles that say nothing about the conversation.
    counts: bool,
}

/// `None`: the conversation, or its files, cannot be gone on with.
fn kind(failure: &Failure) -> Option<Kind> {
    let same = |name: String| Some(Kind { name, counts: true });
    match failure {
        Failure::Agent(end) => match end {
            AgentEnd::ContextFull | AgentEnd::ConversationLost | AgentEnd::Unfit { .. } => None,
            AgentEnd::Limited { .. }
            | AgentEnd::Overloaded
            | AgentEnd::Transport { .. }
            | AgentEnd::Interrupted
            | AgentEnd::DiskFull { .. }
            | AgentEnd::NotInstalled { .. }
            | AgentEnd::NotSignedIn { .. }
            | AgentEnd::OutOfCredit { .. }
            | AgentEnd::ModelUnavailable { .. } => {
                Some(Kind { name: String::new(), counts: false })
            }
            AgentEnd::Finished => same("finished".into()),
            AgentEnd::Denied { .. } => same("denied".into()),
            AgentEnd::BudgetSpent | AgentEnd::BudgetTooSmall => same("budget".into()),
            AgentEnd::TurnsSpent => same("turns".into()),
            AgentEnd::TimedOut => same("time".into()),
            AgentEnd::Stalled => same("stalled".into()),
            AgentEnd::Killed { .. } => same("killed".into()),
            AgentEnd::Breach { .. } => same("limit of the walls".into()),
            AgentEnd::Failed { .. } => same("failed".into()),
            AgentEnd::Unreadable { .. } => same("unreadable".into()),
            AgentEnd::Garbage { .. } => same("garbage".into()),
        },
        Failure::NoChange { .. } => same("no change".into()),
        Failure::Refused(refusals) => {
            let mut rules: Vec<&str> = refusals.iter().map(|r| r.rule.as_str()).collect();
            rules.sort_unstable();
            rules.dedup();
            same(format!("refused {}", rules.join(" ")))
        }
        Failure::Gate(report) => same(format!("gate {}", report.red_steps().join(" "))),
        Failure::Disagreed { .. } => same("disagreed".into()),
        Failure::Unproven(_) => same("tests not proven".into()),
        // What is in the files cannot be gone on with.
        Failure::Unfit(_) | Failure::Conflict { .. } | Failure::NoProgress { .. } => None,
        Failure::Question { .. }
        | Failure::Rejected { .. }
        | Failure::NothingLeft
        | Failure::Reverted { .. } => None,
    }
}

/// True when the tests that the last attempt touched have not been tried on the base's code.
pub(super) fn needs_test_proof(opening: &Opening, task: &TaskState) -> bool {
    opening.policy.tests != Tests::Optional
        && task.last().is_some_and(|last| {
            let inspection = &last.inspection;
            last.test_proof.is_none() && (inspection.support || !inspection.tests.is_empty())
        })
}

/// True when a decision behind the last attempt needs a second opinion that has not been had.
pub(super) fn needs_review(opening: &Opening, task: &TaskState) -> bool {
    task.last().is_some_and(|record| {
        record.review.is_none()
            && !in_question(&task.attempts, record, &opening.policy.decisions).is_empty()
    })
}

/// The form of a random UUID, which is what Claude Code accepts; the same text gives the same one.
fn uuid(text: &str) -> String {
    let hash = Sha256::digest(text);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = crate::ids::hex(&bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
