//! What a failure leads to: one table, one `match`, every case by name.

use crate::{
    ids::AttemptId,
    night::{Night, Setback, TaskState, Then},
    outcome::{AgentEnd, Candidate, Failure, GateReport, StopReason},
};

impl Night {
    /// What follows when `attempt` failed in this way.
    pub fn judge(&self, attempt: &AttemptId, failure: Failure) -> Setback {
        let Some(task) = self.task(&attempt.task) else {
            return Setback { failure, then: Then::FailTask, same_as: None };
        };
        let then = match &failure {
            Failure::Agent(end) => match end {
                // A run that ended by itself is judged by what it left, not here; if it comes here all
                // the same, another try is the harmless answer.
                AgentEnd::Finished
                | AgentEnd::Denied { .. }
                | AgentEnd::Overloaded
                | AgentEnd::Transport { .. }
                | AgentEnd::ContextFull
                | AgentEnd::BudgetSpent
                | AgentEnd::TurnsSpent
                | AgentEnd::TimedOut
                | AgentEnd::Stalled
                | AgentEnd::Killed { .. }
                | AgentEnd::Failed { .. }
                | AgentEnd::Garbage { .. } => Then::Retry,
                AgentEnd::Interrupted => Then::Uncounted,
                AgentEnd::Limited { until } => {
                    Then::StopNight(StopReason::Limited { until: *until })
                }
                AgentEnd::NotInstalled { program } => unusable(format!("`{program}` is not there")),
                AgentEnd::NotSignedIn { message } => unusable(format!("not signed in: {message}")),
                AgentEnd::ModelUnavailable { message } => unusable(message.clone()),
                AgentEnd::Unfit { message } => unusable(message.clone()),
            },
            Failure::NoChange { .. }
            | Failure::Refused(_)
            | Failure::Unfit(_)
            | Failure::Gate(_)
            | Failure::Conflict { .. } => Then::Retry,
            Failure::NoProgress { .. } => Then::FailTask,
        };
        let same_as = match &failure {
            Failure::Gate(report) => earlier_red_gate(task, attempt, report),
            Failure::NoChange { .. } => {
                earlier(task, attempt, |failure| matches!(failure, Failure::NoChange { .. }))
            }
            Failure::NoProgress { like } => Some(*like),
            Failure::Agent(_)
            | Failure::Refused(_)
            | Failure::Unfit(_)
            | Failure::Conflict { .. } => None,
        };
        let out_of_tries = task.counted >= self.attempts_allowed(&attempt.task);
        let then = if then == Then::Retry && (same_as.is_some() || out_of_tries) {
            Then::FailTask
        } else {
            then
        };
        Setback { failure, then, same_as }
    }

    /// The earlier failed attempt that had made exactly this tree, if there is one: gating it again can
    /// bring nothing new.
    pub fn same_tree_as(&self, attempt: &AttemptId, candidate: &Candidate) -> Option<u32> {
        self.task(&attempt.task)?
            .attempts
            .iter()
            .filter(|record| record.number < attempt.number && record.setback.is_some())
            .find(|record| record.candidate.as_ref().is_some_and(|c| c.edit == candidate.edit))
            .map(|record| record.number)
    }
}

fn unusable(message: String) -> Then {
    Then::StopNight(StopReason::AgentUnusable { message })
}

fn earlier(task: &TaskState, attempt: &AttemptId, is_it: fn(&Failure) -> bool) -> Option<u32> {
    task.attempts
        .iter()
        .filter(|record| record.number < attempt.number)
        .find(|record| record.setback.as_ref().is_some_and(|setback| is_it(&setback.failure)))
        .map(|record| record.number)
}

/// Decision 19: no progress = the same failing steps with the same failing tests. Where the logs name no
/// failing test, two red gates with different trees are not called the same.
fn earlier_red_gate(task: &TaskState, attempt: &AttemptId, now: &GateReport) -> Option<u32> {
    if now.failing_tests.is_empty() {
        return None;
    }
    task.attempts
        .iter()
        .filter(|record| record.number < attempt.number)
        .find(|record| match record.setback.as_ref().map(|setback| &setback.failure) {
            Some(Failure::Gate(then)) => {
                then.red_steps() == now.red_steps() && then.failing_tests == now.failing_tests
            }
            _ => false,
        })
        .map(|record| record.number)
}
