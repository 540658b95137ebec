//! Money, tokens and the limits of one night. Amounts are exact integers; nothing here spends anything.

mod prices;

use std::{fmt, iter::Sum, ops::Add};

use serde::{Deserialize, Serialize};

pub use prices::{Cost, DEAREST, Price, Rates, Tokens, Usage, WEB_SEARCH, cost, price};

/// US dollars in millionths, so that sums are exact.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Usd(u64);

impl Usd {
    /// Nothing.
    pub const ZERO: Usd = Usd(0);

    /// From millionths of a dollar.
    pub const fn from_micros(micros: u64) -> Usd {
        Usd(micros)
    }

    /// From a decimal number of dollars, rounded up to the next millionth. Negative and non-finite
    /// numbers give nothing: a broken figure must not become credit.
    pub fn from_dollars(dollars: f64) -> Usd {
        if dollars.is_finite() && dollars > 0.0 {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive; saturates above 18 trillion dollars"
            )]
            Usd((dollars * 1e6).ceil() as u64)
        } else {
            Usd(0)
        }
    }

    /// Millionths of a dollar.
    pub fn micros(self) -> u64 {
        self.0
    }

    /// True for nothing.
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// What is left of `self` after `spent`; nothing when more was spent.
    #[must_use]
    pub fn minus(self, spent: Usd) -> Usd {
        Usd(self.0.saturating_sub(spent.0))
    }
}

impl Add for Usd {
    type Output = Usd;
    fn add(self, other: Usd) -> Usd {
        Usd(self.0.saturating_add(other.0))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Usd>>(amounts: I) -> Usd {
        amounts.fold(Usd::ZERO, Add::add)
    }
}

/// Two decimals, rounded up: a cost is never shown smaller than it was.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cents = self.0.div_ceil(10_000);
        f.pad(&format!("${}.{:02}", cents / 100, cents % 100))
    }
}

/// What an agent's run cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// List price, as the agent reports it; zero for agents that cost nothing or do not say.
    pub usd: Usd,
    /// Tokens read, cached ones included.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// The part of `usd` that stands for calls which were cut off: what had been reserved for them, which
    /// is the most that they can have cost.
    #[serde(default, skip_serializing_if = "Usd::is_zero")]
    pub cut: Usd,
}

impl Spend {
    /// `usd` as a reservation, not as a measured cost.
    pub fn reserved(usd: Usd) -> Spend {
        Spend { usd, cut: usd, ..Spend::default() }
    }

    /// What was measured: without what stands for calls that were cut off or are under way.
    pub fn measured(&self) -> Usd {
        self.usd.minus(self.cut)
    }

    /// True when a part of the figure is the most that can have been spent, not what was measured.
    pub fn is_estimated(&self) -> bool {
        !self.cut.is_zero()
    }
}

impl Add for Spend {
    type Output = Spend;
    fn add(self, other: Spend) -> Spend {
        Spend {
            usd: self.usd + other.usd,
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cut: self.cut + other.cut,
        }
    }
}

impl Sum for Spend {
    fn sum<I: Iterator<Item = Spend>>(amounts: I) -> Spend {
        amounts.fold(Spend::default(), Add::add)
    }
}

/// The limits of one night. Defaults are those of the original request unless a line says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Tasks that a night starts, at most.
    pub tasks: u32,
    /// Seconds from the night's start until nothing new is started. Counts everything.
    pub time_s: u64,
    /// Seconds of agent time for one attempt. Gate time and waiting do not count.
    pub task_time_s: u64,
    /// Attempts for one task.
    pub attempts: u32,
    /// Failed tasks in a row after which the night stops. 0 = never.
    pub failures_in_a_row: u32,
    /// Workspaces at the same time.
    pub parallel: u32,
    /// Money for the night; zero = no limit. Added by us: agents cost money, the request had no figure.
    pub cost: Usd,
    /// Money for one task, all its attempts; zero = no limit.
    pub task_cost: Usd,
    /// Seconds without a sign of life (output, CPU time, changed files) after which an agent is stopped. Ten
    /// minutes by default: seven are normal thinking.
    #[serde(default = "silence")]
    pub silence_s: u64,
    /// Turns of one attempt's conversation; 0 = no limit. 150 by default: a runaway loop ends there, and
    /// small tasks need some tens.
    #[serde(default)]
    pub turns: u32,
    /// Tokens of the night, read (cached ones included) and written together; 0 = no limit. The limit that
    /// a subscription can have, where dollars mean nothing.
    #[serde(default)]
    pub tokens: u64,
    /// What happens when a usage limit is reached.
    #[serde(default)]
    pub when_rate_limited: WhenLimited,
}

fn silence() -> u64 {
    10 * 60
}

/// What happens when a usage limit is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenLimited {
    /// Wait for its end, inside the night's time.
    #[default]
    Wait,
    /// End the night.
    Stop,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            tasks: 5,
            time_s: 4 * 3600,
            task_time_s: 30 * 60,
            attempts: 3,
            failures_in_a_row: 2,
            parallel: 3,
            cost: Usd::from_micros(10_000_000),
            task_cost: Usd::from_micros(3_000_000),
            silence_s: silence(),
            turns: 150,
            tokens: 0,
            when_rate_limited: WhenLimited::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_never_shown_smaller_than_it_was() {
        assert_eq!(Usd::from_micros(0).to_string(), "$0.00");
        assert_eq!(Usd::from_micros(1).to_string(), "$0.01");
        assert_eq!(Usd::from_dollars(12.341).to_string(), "$12.35");
    }

    #[test]
    fn a_broken_figure_is_not_credit() {
        for broken in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Usd::from_dollars(broken), Usd::ZERO);
        }
        assert_eq!(Usd::from_micros(3).minus(Usd::from_micros(5)), Usd::ZERO);
    }
}
