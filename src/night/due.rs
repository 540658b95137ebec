//! What a night calls for next: scheduling, queue order, budget, breaker.
//!
//! The answer depends on the state and the time alone, so a resumed night does what the cut one would
//! have done.

use jiff::{SignedDuration, Timestamp};

use crate::{
    budget::Usd,
    ids::{AttemptId, TaskId},
    night::{
        BaseGate, Canary, Command, Night, Stage, TaskState, Trigger,
        conversation::{needs_review, needs_test_proof},
    },
    outcome::{GateProof, StopReason},
};

/// The most that one second opinion may cost, a dollar: it reads one diff and writes some lines.
const REVIEW: Usd = Usd::from_micros(1_000_000);

/// Why a task that was admitted was never started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotStarted {
    /// A task that it needs did not land.
    Needs(TaskId),
    /// The night's number of tasks was reached.
    TaskLimit,
    /// Its money, or the night's, is spent.
    Money,
    /// The night was stopped.
    Stopped,
    /// No model may be asked before the night's end.
    NoModel,
}

/// True when little is left because others have reserved it: what they do not need comes back.
fn is_scarce(left: Option<Usd>, reserved: bool) -> bool {
    reserved && left.is_some_and(|left| left < REVIEW)
}

impl Night {
    /// Everything the state calls for that is not already under way, in a fixed order.
    pub fn due(&self, now: Timestamp) -> Vec<Command> {
        if self.ended.is_some() {
            return Vec::new();
        }
        match self.base_gate {
            BaseGate::Unknown if self.tasks.is_empty() || self.stop.is_some() => Vec::new(),
            BaseGate::Unknown => {
                let check = Command::CheckBase {
                    commit: self.opening.base.commit.clone(),
                    tree: self.opening.base.tree.clone(),
                };
                if self.in_flight.contains(&check) { Vec::new() } else { vec![check] }
            }
            BaseGate::Red(_) => Vec::new(),
            BaseGate::Green(_) | BaseGate::Known(_) if self.needs_gate_proof() => {
                if self.gate_proof.is_some() || self.stop.is_some() {
                    return Vec::new();
                }
                let prove = Command::ProveGate {
                    commit: self.opening.base.commit.clone(),
                    tree: self.opening.base.tree.clone(),
                };
                if self.in_flight.contains(&prove) { Vec::new() } else { vec![prove] }
            }
            BaseGate::Green(_) | BaseGate::Known(_) => self.due_on_green(now),
        }
    }

    /// True while nothing may be started because the gate was not seen to fail.
    pub(super) fn needs_gate_proof(&self) -> bool {
        !matches!(self.opening.gate.canary, Canary::Off { .. })
            && !self.gate_proof.as_ref().is_some_and(GateProof::proven)
    }

    fn due_on_green(&self, now: Timestamp) -> Vec<Command> {
        // Nothing is built on a branch that is still to go back.
        if let Some((from, to)) = self.rewind.clone() {
            let rewind = Command::Rewind { from, to };
            return if self.in_flight.is_empty() { vec![rewind] } else { Vec::new() };
        }
        let mut due = Vec::new();
        let mut landing = self.tasks.values().any(|t| matches!(t.stage, Stage::Landing(_)));
        // A task has its slot from its start until it landed or failed: with one slot a task starts from
        // a tip that nobody moves under it.
        let mut busy = self.tasks.values().filter(|task| task.is_under_way()).count();
        let mut started = self.started();
        let mut left = self.money_left();
        let tokens = self.tokens_left();
        // One gate at a time: it has one place, and what it says of a tree on a tip that is about to move is worth
        // nothing.
        let mut gating =
            self.in_flight.iter().any(|command| {
                matches!(command, Command::RunGate { .. } | Command::ProveTests { .. })
            }) || self.tasks.values().any(|task| self.lands_next(task));
        let parallel = usize::try_from(self.opening.limits.parallel.max(1)).unwrap_or(1);
        // What these give back may be needed.
        let mut asking = self.in_flight.iter().any(Command::asks_a_model);
        for id in &self.order {
            // What was on the branch lands again first, in its order: each was made on the one before.
            if self.again.first().is_some_and(|first| first != id) {
                continue;
            }
            let task = &self.tasks[id];
            let last = task.attempts.last().map_or(0, |record| record.number);
            let attempt = AttemptId { task: id.clone(), number: last };
            let command = match &task.stage {
                Stage::Waiting if self.opening.reverse_of(id).is_some() => {
                    // Each on what the one before it left, the last that landed first.
                    if busy > 0 || self.held_back(id, task, now, started, left).is_some() {
                        continue;
                    }
                    busy += 1;
                    let attempt = AttemptId { task: id.clone(), number: last + 1 };
                    Command::Reverse { attempt, onto: self.tip.clone() }
                }
                Stage::Waiting => {
                    if busy >= parallel
                        || self.held_back(id, task, now, started, left).is_some()
                        || !self.needs_landed(id)
                        || task.not_before.is_some_and(|at| now < at)
                    {
                        continue;
                    }
                    let Ok(model) = self.model_for(id, now) else { continue };
                    // An opinion on work that is there goes before new work.
                    if is_scarce(left, asking)
                        || (asking && (tokens.is_some() || self.would_be_short(id, task, left)))
                        || (left.is_some_and(|left| left <= REVIEW) && self.asks_for_opinion(now))
                    {
                        continue;
                    }
                    asking = true;
                    busy += 1;
                    started += usize::from(task.attempts.is_empty());
                    let budget = self.reservation(id, task, left);
                    left = left.map(|left| left.minus(budget));
                    let attempt = AttemptId { task: id.clone(), number: last + 1 };
                    let conversation = self.conversation(&attempt);
                    // A conversation goes on in its own files, which stand on its own base.
                    let goes_on = conversation.as_ref().is_some_and(|c| c.opened_by <= last);
                    let base = match task.attempts.last() {
                        Some(record) if goes_on => record.base.clone(),
                        Some(_) | None => self.tip.clone(),
                    };
                    Command::RunAgent {
                        attempt,
                        base,
                        time_s: self.attempt_time(id, now),
                        budget,
                        tokens,
                        model,
                        conversation,
                    }
                }
                Stage::Ungated(c) if c.base == self.tip => {
                    if gating {
                        continue;
                    }
                    gating = true;
                    Command::RunGate { attempt, commit: c.commit.clone(), tree: c.tree.clone() }
                }
                Stage::Gated(c) if needs_test_proof(&self.opening, task) => {
                    if gating {
                        continue;
                    }
                    gating = true;
                    Command::ProveTests { attempt, base: c.base.clone(), commit: c.commit.clone() }
                }
                Stage::Gated(c) if needs_review(&self.opening, task) => {
                    if self.asks_nobody() || task.not_before.is_some_and(|at| now < at) {
                        continue;
                    }
                    let Ok(model) = self.model_for(id, now) else { continue };
                    if is_scarce(left, asking) {
                        continue;
                    }
                    asking = true;
                    let budget = self.reservation(id, task, left).min(REVIEW);
                    let budget = if budget.is_zero() { REVIEW } else { budget };
                    left = left.map(|left| left.minus(budget));
                    Command::Review { attempt, commit: c.commit.clone(), budget, model }
                }
                Stage::Gated(c) if c.base == self.tip && landing => continue,
                Stage::Gated(c) if c.base == self.tip => {
                    landing = true;
                    Command::Land {
                        attempt,
                        from: self.tip.clone(),
                        to: c.commit.clone(),
                        tree: c.tree.clone(),
                    }
                }
                Stage::Landing(c) => Command::Land {
                    attempt,
                    from: c.base.clone(),
                    to: c.commit.clone(),
                    tree: c.tree.clone(),
                },
                // A pass on the old tip says nothing about the new one.
                Stage::Ungated(c) | Stage::Gated(c) => {
                    Command::Restack { attempt, candidate: c.clone(), onto: self.tip.clone() }
                }
                Stage::Editing
                | Stage::Held(_)
                | Stage::Landed(_)
                | Stage::Failed(_)
                | Stage::Parked(_) => continue,
            };
            // What is already under way for this attempt is waited for, not doubled.
            if !self.in_flight.iter().any(|c| c.attempt() == command.attempt()) {
                due.push(command);
            }
        }
        if due.is_empty()
            && self.quiet(now)
            && self.publishes_at(now).is_some_and(|at| at <= now)
            && !self.has_nothing_to_publish()
        {
            due.push(Command::Publish { tip: self.tip.clone() });
        }
        due
    }

    /// True after a stop: a second opinion is an agent's. Money that is spent ends new work, not what is there.
    fn asks_nobody(&self) -> bool {
        self.stop.as_ref().is_some_and(|reason| *reason != StopReason::Cost)
    }

    /// True when a gated task needs a second opinion that can be had now.
    fn asks_for_opinion(&self, now: Timestamp) -> bool {
        self.tasks.iter().any(|(id, task)| {
            matches!(task.stage, Stage::Gated(_))
                && needs_review(&self.opening, task)
                && self.starts_at(id, task, now) <= now
        })
    }

    /// True when nothing is between a task and its landing.
    fn lands_next(&self, task: &TaskState) -> bool {
        match &task.stage {
            Stage::Landing(_) => true,
            Stage::Gated(c) => {
                c.base == self.tip
                    && !needs_test_proof(&self.opening, task)
                    && !needs_review(&self.opening, task)
            }
            Stage::Waiting
            | Stage::Editing
            | Stage::Ungated(_)
            | Stage::Held(_)
            | Stage::Landed(_)
            | Stage::Failed(_)
            | Stage::Parked(_) => false,
        }
    }

    /// When `due` will call for something though nothing happens: the end of a pause, or of a limit.
    /// `None` when nothing waits for such a time tonight.
    pub fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.tasks()
            .filter(|(id, task)| match task.stage {
                Stage::Waiting => self.why_not_started(id, now).is_none(),
                // Its second opinion waits for a model.
                Stage::Gated(_) => !self.asks_nobody() && needs_review(&self.opening, task),
                Stage::Editing
                | Stage::Ungated(_)
                | Stage::Landing(_)
                | Stage::Held(_)
                | Stage::Landed(_)
                | Stage::Failed(_)
                | Stage::Parked(_) => false,
            })
            .map(|(id, task)| self.starts_at(id, task, now))
            .filter(|at| *at < self.deadline())
            .chain(self.publishes_at(now))
            .filter(|at| *at > now)
            .min()
    }

    /// The earliest moment at which a waiting task may be started, as far as pauses and models decide.
    fn starts_at(&self, id: &TaskId, task: &TaskState, now: Timestamp) -> Timestamp {
        let pause = task.not_before.unwrap_or(now).max(now);
        match self.model_for(id, pause) {
            Ok(_) => pause,
            Err(open) => open,
        }
    }

    /// When nothing new is started any more. Time in which no process was at work on the night does not
    /// count: who resumes it in the morning has what the night had left.
    pub fn deadline(&self) -> Timestamp {
        let time = i64::try_from(self.opening.limits.time_s).unwrap_or(i64::MAX);
        let time = SignedDuration::from_secs(time).saturating_add(self.paused);
        let time = time.saturating_add(self.moved);
        self.opening.at.checked_add(time).unwrap_or(Timestamp::MAX)
    }

    /// True when no task can move any more and nothing is under way.
    pub fn quiet(&self, now: Timestamp) -> bool {
        self.in_flight.is_empty()
            && self.rewind.is_none()
            && self.tasks.iter().all(|(id, task)| match task.stage {
                Stage::Waiting => self.why_not_started(id, now).is_some(),
                Stage::Held(_) | Stage::Landed(_) | Stage::Failed(_) | Stage::Parked(_) => true,
                Stage::Gated(_) => self.lacks_opinion(id, task, now),
                Stage::Editing | Stage::Ungated(_) | Stage::Landing(_) => false,
            })
    }

    /// True when a gated task needs a second opinion that nobody can give tonight. A resumed night asks for it.
    fn lacks_opinion(&self, id: &TaskId, task: &TaskState, now: Timestamp) -> bool {
        if !matches!(task.stage, Stage::Gated(_)) || !needs_review(&self.opening, task) {
            return false;
        }
        let at = self.starts_at(id, task, now);
        self.asks_nobody() || (at > now && at >= self.deadline())
    }

    /// True when nothing is left to do: the night may be ended.
    pub fn is_over(&self, now: Timestamp) -> bool {
        match self.base_gate {
            BaseGate::Red(_) => self.in_flight.is_empty(),
            BaseGate::Unknown => {
                self.in_flight.is_empty() && (self.tasks.is_empty() || self.stop.is_some())
            }
            BaseGate::Green(_) | BaseGate::Known(_) => {
                self.quiet(now) && self.due(now).is_empty() && self.wake_at(now).is_none()
            }
        }
    }

    /// Why the night would end now before its work is done, where that is so.
    pub fn stop_reason(&self, now: Timestamp) -> Option<StopReason> {
        // Who resumes the night gets the opinion, also where its money was spent on new work.
        let lacking = |(id, task)| self.lacks_opinion(id, task, now);
        if !self.asks_nobody() && self.tasks().any(lacking) {
            return Some(self.no_model(now));
        }
        let trouble = self.only_landing.as_ref().and_then(|landing| landing.trouble.as_ref());
        if let Some(reason) = trouble.or(self.stop.as_ref()) {
            return Some(reason.clone());
        }
        let waiting = self.tasks().find_map(|(id, task)| {
            (task.stage == Stage::Waiting).then(|| self.why_not_started(id, now)).flatten()
        })?;
        let limit = self.opening.limits.failures_in_a_row;
        if limit > 0 && self.failures_in_a_row >= limit {
            return Some(StopReason::FailuresInARow { count: self.failures_in_a_row });
        }
        if now >= self.deadline() {
            return Some(StopReason::Time);
        }
        match waiting {
            NotStarted::Money => Some(StopReason::Cost),
            NotStarted::NoModel => Some(self.no_model(now)),
            NotStarted::Needs(_) | NotStarted::TaskLimit | NotStarted::Stopped => None,
        }
    }

    /// Why no model may be asked any more tonight.
    fn no_model(&self, now: Timestamp) -> StopReason {
        let limit = self.closings(now).filter(|closing| closing.trigger == Trigger::Limit);
        match limit.min_by_key(|closing| closing.until) {
            Some(closing) => {
                StopReason::Limited { until: closing.told.then(|| closing.until.as_second()) }
            }
            None => {
                let unknown = self
                    .closings(now)
                    .find(|closing| closing.trigger == Trigger::Unavailable)
                    .and_then(|closing| closing.model.as_deref());
                let message = match unknown {
                    Some(model) => format!("the model `{model}` is not available"),
                    None => "no model could be asked until the night's end".to_owned(),
                };
                StopReason::AgentUnusable { message }
            }
        }
    }

    /// Why a waiting task is not started and will not be tonight; `None` when it may still be.
    pub fn why_not_started(&self, id: &TaskId, now: Timestamp) -> Option<NotStarted> {
        self.blocked(id, now, &mut Vec::new())
    }

    /// `seen` ends the walk in a circle of needs, which the plan's checks refuse but a journal could hold.
    fn blocked(&self, id: &TaskId, now: Timestamp, seen: &mut Vec<TaskId>) -> Option<NotStarted> {
        let task = self.tasks.get(id)?;
        if let Some(reason) = self.held_back(id, task, now, self.started(), self.money_left()) {
            return Some(reason);
        }
        seen.push(id.clone());
        self.needs(id)
            .iter()
            .find(|need| {
                // Not of tonight: admission saw that it is done.
                let Some(task) = self.tasks.get(need) else { return false };
                match task.stage {
                    Stage::Held(_) | Stage::Failed(_) | Stage::Parked(_) => true,
                    Stage::Waiting => {
                        seen.contains(need) || self.blocked(need, now, seen).is_some()
                    }
                    Stage::Gated(_) => self.lacks_opinion(need, task, now),
                    Stage::Editing | Stage::Ungated(_) | Stage::Landing(_) | Stage::Landed(_) => {
                        false
                    }
                }
            })
            .map(|need| NotStarted::Needs(need.clone()))
    }

    /// Attempts that a task may have: the plan may only tighten the limit.
    pub fn attempts_allowed(&self, id: &TaskId) -> u32 {
        let limit = self.opening.limits.attempts;
        self.admitted(id).map_or(limit, |task| task.limits().attempts.min(limit)).max(1)
    }

    pub(crate) fn admitted(&self, id: &TaskId) -> Option<&crate::policy::AdmittedTask> {
        self.opening.tasks.iter().find(|task| task.id() == id)
    }

    fn needs(&self, id: &TaskId) -> &[TaskId] {
        self.admitted(id).map_or(&[], |task| task.task().fields.depends_on.as_slice())
    }

    fn needs_landed(&self, id: &TaskId) -> bool {
        self.needs(id).iter().all(|need| {
            self.tasks.get(need).is_none_or(|task| matches!(task.stage, Stage::Landed(_)))
        })
    }

    fn started(&self) -> usize {
        self.tasks.values().filter(|task| !task.attempts.is_empty()).count()
    }

    /// What nobody but a person, a clock or money can change.
    fn held_back(
        &self,
        id: &TaskId,
        task: &TaskState,
        now: Timestamp,
        started: usize,
        left: Option<Usd>,
    ) -> Option<NotStarted> {
        let limits = &self.opening.limits;
        let in_a_row =
            limits.failures_in_a_row > 0 && self.failures_in_a_row >= limits.failures_in_a_row;
        if self.stop.is_some() || in_a_row || now >= self.deadline() {
            return Some(NotStarted::Stopped);
        }
        let most = usize::try_from(limits.tasks).unwrap_or(usize::MAX);
        if task.attempts.is_empty() && started >= most {
            return Some(NotStarted::TaskLimit);
        }
        if self.starts_at(id, task, now) >= self.deadline() {
            return Some(NotStarted::NoModel);
        }
        let own = self.task_money_left(id, task);
        let empty = |money: Option<Usd>| money == Some(Usd::ZERO);
        let no_tokens = self.tokens_left() == Some(0);
        (empty(left) || empty(own) || no_tokens).then_some(NotStarted::Money)
    }

    /// Tokens of the night that are not used; `None` = no limit.
    fn tokens_left(&self) -> Option<u64> {
        let spent = self.spent();
        let used = spent.input_tokens.saturating_add(spent.output_tokens);
        let limit = self.opening.limits.tokens;
        (limit > 0).then(|| limit.saturating_sub(used))
    }

    /// Money of the night that is neither spent nor reserved; `None` = no limit.
    pub(super) fn money_left(&self) -> Option<Usd> {
        let limit = self.opening.limits.cost;
        (limit > Usd::ZERO && !self.opening.agent.subscription)
            .then(|| limit.minus(self.spent().usd))
    }

    pub(super) fn task_money_left(&self, id: &TaskId, task: &TaskState) -> Option<Usd> {
        let limit = self.admitted(id)?.limits().cost;
        (limit > Usd::ZERO && !self.opening.agent.subscription)
            .then(|| limit.minus(task.spent().usd))
    }

    /// True when less is left of the night's money than the task may have by itself: while others hold money that
    /// they may give back, starting it would end it for want of what there is.
    fn would_be_short(&self, id: &TaskId, task: &TaskState, left: Option<Usd>) -> bool {
        left.is_some_and(|left| self.task_money_left(id, task).is_none_or(|own| left < own))
    }

    /// What an attempt may spend; zero = no limit. All that the task has left: each call is reserved before it
    /// is sent, at the most that it can cost, so a share of it would end work that the rest pays for.
    fn reservation(&self, id: &TaskId, task: &TaskState, left: Option<Usd>) -> Usd {
        let least = Usd::from_micros(1); // zero would be no limit
        match (left, self.task_money_left(id, task)) {
            (Some(night), Some(own)) => night.min(own).max(least),
            (Some(one), None) | (None, Some(one)) => one.max(least),
            (None, None) => Usd::ZERO,
        }
    }

    /// Seconds of agent time for the next attempt: its own limit, and never past the night's end.
    fn attempt_time(&self, id: &TaskId, now: Timestamp) -> u64 {
        let limit = self.opening.limits.task_time_s;
        let own = self.admitted(id).map_or(limit, |task| task.limits().time_s.min(limit));
        let left = self.deadline().duration_since(now).as_secs();
        own.min(u64::try_from(left).unwrap_or(0)).max(1)
    }
}
