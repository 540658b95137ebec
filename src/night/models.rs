//! Which model may be asked, and when: limits, overload, unavailability and nearly full windows.
//!
//! Closings are facts of the journal, so a wait survives a restart, and a machine that slept finds its
//! end passed when it wakes.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::{
    ids::{AttemptId, TaskId},
    night::{Closing, Night, Trigger},
    outcome::{AgentEnd, AgentReport, LimitScope},
};

/// Longest pause between two tries when nobody says when a trouble ends. The first is a minute, each
/// twice the last: a night finds the service again within a quarter of an hour of its return.
const LONGEST_PAUSE_S: i64 = 16 * 60;
/// Seconds after a reset within which work begins again, so that not everybody comes at once; of a short
/// wait, a tenth of it.
const RESET_JITTER_S: u64 = 60;
/// Seconds after a reset before anything is asked: the service's clock and ours differ.
const RESET_MARGIN_S: i64 = 5;

impl Night {
    /// What may not be asked at `now`, the hard ones and the nearly full windows.
    pub fn closings(&self, now: Timestamp) -> impl Iterator<Item = &Closing> {
        self.closings.iter().filter(move |closing| closing.until > now)
    }

    /// The models of a task, first choice first; `None` stands for the agent's own.
    fn models(&self, id: &TaskId) -> Vec<Option<String>> {
        let agent = &self.opening.agent;
        let asked = self.opening.again(id).and_then(|again| again.model.clone());
        let own = self.admitted(id).and_then(|task| task.task().fields.model.clone());
        let mut models = vec![asked.or(own).or_else(|| agent.model.clone())];
        for fallback in &agent.fallback {
            if !models.contains(&Some(fallback.clone())) {
                models.push(Some(fallback.clone()));
            }
        }
        models
    }

    /// Until when this model may not be asked; `None` when it may.
    fn closed_until(&self, model: Option<&String>, now: Timestamp) -> Option<Timestamp> {
        self.closings(now)
            .filter(|closing| closing.trigger != Trigger::Window)
            .filter(|closing| closing.model.is_none() || closing.model.as_ref() == model)
            .map(|closing| closing.until)
            .max()
    }

    /// The model that a task's next attempt asks at `now`, or when the first of them may be asked again.
    /// One whose window is nearly full is left for when no other is open.
    pub(super) fn model_for(
        &self,
        id: &TaskId,
        now: Timestamp,
    ) -> Result<Option<String>, Timestamp> {
        let (mut spare, mut wait) = (None, Timestamp::MAX);
        for model in self.models(id) {
            if let Some(until) = self.closed_until(model.as_ref(), now) {
                wait = wait.min(until);
                continue;
            }
            let strained = self
                .closings(now)
                .any(|closing| closing.trigger == Trigger::Window && closing.model == model);
            if !strained {
                return Ok(model);
            }
            spare.get_or_insert(model);
        }
        spare.ok_or(wait)
    }

    /// The model that an attempt's order named.
    pub(super) fn model_of(&self, attempt: &AttemptId) -> Option<String> {
        let task = self.task(&attempt.task)?;
        let record = task.attempts.iter().find(|record| record.number == attempt.number)?;
        record.model.clone()
    }

    /// What `end` closes, and for how long. `None` for ends that close nothing.
    pub(super) fn closing(
        &self,
        now: Timestamp,
        attempt: &AttemptId,
        end: &AgentEnd,
    ) -> Option<Closing> {
        let model = self.model_of(attempt);
        let (model, trigger, until) = match end {
            AgentEnd::Limited { until, scope: LimitScope::Account } => {
                (None, Trigger::Limit, *until)
            }
            AgentEnd::Limited { until, scope: LimitScope::Model } => {
                (model, Trigger::Limit, *until)
            }
            AgentEnd::Overloaded => (model, Trigger::Overload, None),
            AgentEnd::Transport { .. } => (None, Trigger::Transport, None),
            AgentEnd::ModelUnavailable { .. } => {
                let until = Timestamp::MAX;
                let trigger = Trigger::Unavailable;
                return Some(Closing { model, until, trigger, strikes: 1, told: false });
            }
            AgentEnd::Finished
            | AgentEnd::Denied { .. }
            | AgentEnd::NotInstalled { .. }
            | AgentEnd::NotSignedIn { .. }
            | AgentEnd::OutOfCredit { .. }
            | AgentEnd::ContextFull
            | AgentEnd::ConversationLost
            | AgentEnd::BudgetSpent
            | AgentEnd::BudgetTooSmall
            | AgentEnd::TurnsSpent
            | AgentEnd::TimedOut
            | AgentEnd::Stalled
            | AgentEnd::Interrupted
            | AgentEnd::Killed { .. }
            | AgentEnd::Breach { .. }
            | AgentEnd::DiskFull { .. }
            | AgentEnd::Failed { .. }
            | AgentEnd::Unreadable { .. }
            | AgentEnd::Garbage { .. }
            | AgentEnd::Unfit { .. } => return None,
        };
        let same = |closing: &&Closing| closing.model == model && closing.trigger == trigger;
        let strikes = self.closings.iter().find(same).map_or(0, |closing| closing.strikes);
        let strikes = strikes.saturating_add(1);
        // A reset time in the past is none: the service's clock and ours differ.
        let reset = until.and_then(|until| Timestamp::from_second(until).ok()).filter(|r| *r > now);
        let (from, pause) = match reset {
            Some(reset) => {
                let wait = u64::try_from(reset.duration_since(now).as_secs()).unwrap_or(0);
                let most = RESET_JITTER_S.min(wait / 10);
                (reset, RESET_MARGIN_S + jitter(self, attempt, most))
            }
            None => {
                let pause = (60_i64 << (strikes - 1).min(10)).min(LONGEST_PAUSE_S);
                (now, pause + jitter(self, attempt, u64::try_from(pause / 4).unwrap_or(0)))
            }
        };
        let until = from.saturating_add(SignedDuration::from_secs(pause)).unwrap_or(Timestamp::MAX);
        Some(Closing { model, until, trigger, strikes, told: reset.is_some() })
    }

    /// Folds what an agent's run showed of its model: an answer opens what trouble had closed, and a window
    /// that is nearly full is spared.
    pub(super) fn seen(&mut self, attempt: &AttemptId, report: &AgentReport) {
        let model = self.model_of(attempt);
        if matches!(report.ended, AgentEnd::Finished | AgentEnd::Denied { .. }) {
            let now = self.last;
            self.closings.retain(|closing| {
                let trouble = matches!(closing.trigger, Trigger::Overload | Trigger::Transport);
                let answered = closing.model.is_none() || closing.model == model;
                closing.until > now && !(trouble && answered)
            });
        }
        let at = self.opening.agent.fallback_at;
        if let Some(window) = &report.window
            && at > 0
            && window.percent >= at
            && let Some(until) =
                window.resets_at.and_then(|reset| Timestamp::from_second(reset).ok())
        {
            let trigger = Trigger::Window;
            self.close(Closing { model, until, trigger, strikes: 1, told: true });
        }
    }

    pub(super) fn close(&mut self, closing: Closing) {
        self.closings.retain(|old| old.model != closing.model || old.trigger != closing.trigger);
        self.closings.push(closing);
    }
}

/// A number of seconds from 0 to `most`, always the same for the same attempt: a replay must find the
/// verdict that was written.
pub(super) fn jitter(night: &Night, attempt: &AttemptId, most: u64) -> i64 {
    let hash = Sha256::digest(format!("{}/{attempt}", night.opening.night));
    let number = u64::from_le_bytes(hash[..8].try_into().unwrap_or_default());
    i64::try_from(number % (most + 1)).unwrap_or(0)
}
