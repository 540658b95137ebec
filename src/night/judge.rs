//! What a failure leads to: one table, one `match`, every case by name.
//!
//! Three classes: what passes by itself is tried again uncounted, after a pause or with another model; what
//! the agent can mend is tried again and counts; what needs a person parks the task or stops the night.

use jiff::{SignedDuration, Timestamp};

use crate::{
    budget::WhenLimited,
    ids::AttemptId,
    night::{AttemptRecord, Night, Setback, TaskState, Then, in_question, models::jitter},
    outcome::{AgentEnd, Candidate, Failure, GateReport, LimitScope, Review, StopReason},
};

impl Night {
    /// What follows when `attempt` failed in this way at `now`.
    pub fn judge(&self, now: Timestamp, attempt: &AttemptId, failure: Failure) -> Setback {
        let Some(task) = self.task(&attempt.task) else {
            return Setback { failure, then: Then::FailTask, same_as: None };
        };
        let then = match &failure {
            Failure::Agent(end) => match end {
                // A run that ended by itself is judged by what it left, not here; if it comes here all
                // the same, another try is the harmless answer.
                AgentEnd::Finished
                | AgentEnd::Denied { .. }
                | AgentEnd::TurnsSpent
                | AgentEnd::TimedOut
                | AgentEnd::Breach { .. }
                | AgentEnd::Failed { .. } => Then::Retry,
                // It had all that the task had left: another try would end at its first call.
                AgentEnd::BudgetSpent => Then::FailTask,
                AgentEnd::Overloaded | AgentEnd::Transport { .. } => {
                    self.pause(now, attempt, task, end)
                }
                // A limit of the minute, which nobody dates, passes like an overload.
                AgentEnd::Limited { until: None, scope: LimitScope::Model }
                    if recovered(task, attempt, |_| true) < self.opening.agent.retry_ms.len() =>
                {
                    self.pause(now, attempt, task, end)
                }
                AgentEnd::Limited { until, .. } => self.limited(now, attempt, end, *until),
                // Where no model is left for this task, it is not started any more; others may have one.
                AgentEnd::ModelUnavailable { .. } => {
                    Then::Recover { at: now, closing: self.closing(now, attempt, end) }
                }
                // Once is an accident; twice is this task's own trouble.
                AgentEnd::Killed { .. }
                | AgentEnd::Stalled
                | AgentEnd::Unreadable { .. }
                | AgentEnd::Garbage { .. } => {
                    if recovered(task, attempt, |then| same_end(then, end)) == 0 {
                        Then::Recover { at: self.after(now, attempt, 0), closing: None }
                    } else {
                        Then::Retry
                    }
                }
                // A fresh conversation has room again.
                AgentEnd::ContextFull => {
                    if recovered(task, attempt, |then| same_end(then, end)) == 0 {
                        Then::Recover { at: now, closing: None }
                    } else {
                        Then::Retry
                    }
                }
                AgentEnd::ConversationLost => Then::Recover { at: now, closing: None },
                AgentEnd::Interrupted => Then::Uncounted,
                // The next one would meet the same disk.
                AgentEnd::DiskFull { what } => {
                    let message = format!("a disk is almost full: {what}; make room on it");
                    Then::StopNight(StopReason::Broken { message })
                }
                AgentEnd::NotInstalled { program } => unusable(format!("`{program}` is not there")),
                AgentEnd::NotSignedIn { message } => unusable(format!("not signed in: {message}")),
                AgentEnd::BudgetTooSmall => self.too_small(attempt, task),
                AgentEnd::OutOfCredit { message } => unusable(format!("out of credit: {message}")),
                AgentEnd::Unfit { message } => unusable(message.clone()),
            },
            Failure::NoChange { .. }
            | Failure::Refused(_)
            | Failure::Unfit(_)
            | Failure::Gate(_)
            | Failure::Disagreed { .. }
            | Failure::Unproven(_)
            | Failure::Conflict { .. } => Then::Retry,
            Failure::NoProgress { .. }
            | Failure::Rejected { .. }
            | Failure::NothingLeft
            | Failure::Reverted { .. } => Then::FailTask,
            Failure::Question { .. } => Then::Park,
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
            | Failure::Disagreed { .. }
            | Failure::Unproven(_)
            | Failure::Rejected { .. }
            | Failure::NothingLeft
            | Failure::Reverted { .. }
            | Failure::Question { .. }
            | Failure::Conflict { .. } => None,
        };
        let out_of_tries = task.counted >= self.attempts_allowed(&attempt.task);
        // A person approved or had this result, not another one: no agent goes on with it by itself.
        let settled = task.is_approved() || self.rebuilds(&attempt.task);
        let then = if then == Then::Retry && (same_as.is_some() || out_of_tries || settled) {
            Then::FailTask
        } else {
            then
        };
        Setback { failure, then, same_as }
    }

    /// What follows when the second opinion does not agree, or could not be had: the agent can mend the first,
    /// a service in trouble is asked again later, and else a person must settle it.
    pub fn without_agreement(
        &self,
        now: Timestamp,
        attempt: &AttemptId,
        review: &Review,
    ) -> Setback {
        let end = || Failure::Agent(review.ended.clone());
        if let Some(closing) = self.closing(now, attempt, &review.ended) {
            let then = Then::Recover { at: now, closing: Some(closing) };
            return Setback { failure: end(), then, same_as: None };
        }
        let judged = self.judge(now, attempt, end());
        // Money that is gone does not come back when the night is resumed.
        let unpaid = review.ended == AgentEnd::BudgetTooSmall;
        if matches!(judged.then, Then::StopNight(_)) && !unpaid {
            return judged;
        }
        let task = self.task(&attempt.task);
        let record = task.and_then(TaskState::last);
        let decisions = task
            .zip(record)
            .map(|(task, record)| {
                in_question(&task.attempts, record, &self.opening.policy.decisions)
            })
            .unwrap_or_default();
        if review.ended == AgentEnd::Finished {
            let failure = Failure::Disagreed { decisions, why: review.why.clone() };
            return self.judge(now, attempt, failure);
        }
        let questions = decisions
            .iter()
            .map(|decision| format!("is this right: {} ({})", decision.what, decision.why))
            .collect();
        self.judge(now, attempt, Failure::Question { questions })
    }

    /// The quick tries first, then longer and longer pauses in which other models may be asked.
    fn pause(&self, now: Timestamp, attempt: &AttemptId, task: &TaskState, end: &AgentEnd) -> Then {
        let tried = recovered(task, attempt, |_| true);
        if tried < self.opening.agent.retry_ms.len() {
            Then::Recover { at: self.after(now, attempt, tried), closing: None }
        } else {
            Then::Recover { at: now, closing: self.closing(now, attempt, end) }
        }
    }

    /// The rest does not pay for a call: the task's rest ends the task, the night's the night, as if it were
    /// spent. Limits that never paid for one are a person's to mend.
    fn too_small(&self, attempt: &AttemptId, task: &TaskState) -> Then {
        let runs = self.tasks().flat_map(|(_, task)| &task.attempts);
        if runs.filter_map(|record| record.agent.as_ref()).all(|run| run.spent.usd.is_zero()) {
            return unusable(
                "what `limits.cost`, `limits.task_cost` or `limits.tokens` leave does not pay for a single call"
                    .to_owned(),
            );
        }
        match (self.task_money_left(&attempt.task, task), self.money_left()) {
            (Some(own), Some(night)) if own <= night => Then::FailTask,
            (Some(_), None) => Then::FailTask,
            (Some(_) | None, Some(_)) | (None, None) => Then::StopNight(StopReason::Cost),
        }
    }

    fn limited(
        &self,
        now: Timestamp,
        attempt: &AttemptId,
        end: &AgentEnd,
        until: Option<i64>,
    ) -> Then {
        match self.opening.limits.when_rate_limited {
            WhenLimited::Stop => Then::StopNight(StopReason::Limited { until }),
            WhenLimited::Wait => {
                Then::Recover { at: now, closing: self.closing(now, attempt, end) }
            }
        }
    }

    /// The end of the pause before the quick try with this index, with up to a quarter of jitter.
    fn after(&self, now: Timestamp, attempt: &AttemptId, index: usize) -> Timestamp {
        let pauses = &self.opening.agent.retry_ms;
        let pause = pauses.get(index).or(pauses.last()).copied().unwrap_or(0);
        let pause = i64::try_from(pause).unwrap_or(i64::MAX);
        let extra = jitter(self, attempt, u64::try_from(pause / 4).unwrap_or(0));
        now.saturating_add(SignedDuration::from_millis(pause.saturating_add(extra)))
            .unwrap_or(Timestamp::MAX)
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

/// How many attempts right before this one recovered by themselves.
fn recovered(
    task: &TaskState,
    attempt: &AttemptId,
    like: impl Fn(&AttemptRecord) -> bool,
) -> usize {
    task.attempts
        .iter()
        .rev()
        .filter(|record| record.number < attempt.number)
        .take_while(|record| {
            matches!(record.setback, Some(Setback { then: Then::Recover { .. }, .. }))
        })
        .filter(|record| like(record))
        .count()
}

fn same_end(record: &AttemptRecord, end: &AgentEnd) -> bool {
    let earlier = record.setback.as_ref().map(|setback| &setback.failure);
    matches!(earlier, Some(Failure::Agent(other))
        if std::mem::discriminant(other) == std::mem::discriminant(end))
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
