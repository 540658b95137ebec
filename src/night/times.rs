//! Times of a night and of its attempts: only those count in which a process was at the night.
//!
//! Asks no clock: all that is known of time is when facts were written.

use jiff::{SignedDuration, Timestamp};

use crate::{
    budget::Usd,
    ids::AttemptId,
    night::{AttemptRecord, Event, Night},
    outcome::StopReason,
};

/// True for facts that are a process's first, or stand right behind its first: what lies before is nobody's time.
fn takes_over(event: &Event) -> bool {
    matches!(
        event,
        Event::Restarted { .. }
            | Event::Decided { .. }
            | Event::Reverted { .. }
            | Event::StopAsked { reason: StopReason::OnlyLanding }
    )
}

impl Night {
    /// How long the night has lasted at `now`: the time in which a process was at it, whatever was done to the clock.
    /// Never less than nothing.
    pub fn lasted(&self, now: Timestamp) -> SignedDuration {
        let until = if self.away { self.last } else { now };
        let all = until.duration_since(self.opening.at).saturating_sub(self.moved);
        all.saturating_sub(self.paused).max(SignedDuration::ZERO)
    }

    /// A fact was written at `at`.
    pub(super) fn moves_to(&mut self, at: Timestamp, event: &Event) {
        let before = std::mem::replace(&mut self.last, at);
        if self.away || takes_over(event) {
            let between = at.duration_since(before).max(SignedDuration::ZERO);
            self.paused = self.paused.saturating_add(between);
        }
        self.away = matches!(event, Event::Ended { .. });
    }

    /// The record of an attempt of which the last fact tells something: its own work goes on until it is settled.
    pub(super) fn learned(&mut self, attempt: &AttemptId) -> &mut AttemptRecord {
        let (at, lasted) = (self.last, self.lasted(self.last));
        let record = self.record(attempt);
        if !record.settled {
            record.ended = at;
            record.took = lasted.saturating_sub(record.began_after).max(SignedDuration::ZERO);
        }
        record
    }

    /// What is held back for an order of this budget: nothing where nobody counts what the agent costs.
    pub(super) fn held_of(&self, budget: Usd) -> Usd {
        if self.opening.agent.counts_cost() { budget } else { Usd::ZERO }
    }
}
