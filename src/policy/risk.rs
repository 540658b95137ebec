//! How much harm a task or a diff could do: a score from 0 to 100 with its factors, and what follows.
//!
//! Words before the run, the real diff after it; the same bands for both. Never reads a file.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A score with what it is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Risk {
    /// 0 = nothing could break, 100 = data could be lost.
    pub score: u32,
    /// What added to the score, the heaviest first.
    pub factors: Vec<Factor>,
}

/// One part of a score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Factor {
    /// Stable name, such as `deletions` or `authentication`.
    pub name: String,
    /// What it adds; what it takes away when negative.
    pub points: i32,
    /// What was seen, in a few words.
    pub why: String,
}

/// The four levels of a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RiskLevel {
    /// Runs.
    Low,
    /// Runs; lands with a good enough gate.
    Medium,
    /// Waits for a person.
    High,
    /// Never runs unattended.
    Critical,
}

/// Where a level ends and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Band {
    /// The highest score of this level.
    pub upto: u32,
    /// What follows.
    #[serde(rename = "do")]
    pub does: Does,
    /// The least score of the gate with which a diff of this level lands; `None` = any green gate.
    pub proof: Option<u32>,
}

/// What follows from a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Does {
    /// It runs.
    Run,
    /// It waits for a person.
    Ask,
    /// It never runs unattended.
    Block,
}

/// The bands of the four levels, each above the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bands {
    /// From 0.
    pub low: Band,
    /// Above `low`.
    pub medium: Band,
    /// Above `medium`.
    pub high: Band,
    /// Above `high`, up to 100.
    pub critical: Band,
}

impl Bands {
    /// The level of a score, and what follows.
    pub fn of(&self, score: u32) -> (RiskLevel, &Band) {
        let bands = [
            (RiskLevel::Low, &self.low),
            (RiskLevel::Medium, &self.medium),
            (RiskLevel::High, &self.high),
        ];
        let found = bands.into_iter().find(|(_, band)| score <= band.upto);
        found.unwrap_or((RiskLevel::Critical, &self.critical))
    }
}

/// The bands of the original request: 0–30, 31–60 with a gate of 90, 61–85, 86–100.
impl Default for Bands {
    fn default() -> Bands {
        let band = |upto, does, proof| Band { upto, does, proof };
        Bands {
            low: band(30, Does::Run, None),
            medium: band(60, Does::Run, Some(90)),
            high: band(85, Does::Ask, None),
            critical: band(100, Does::Block, None),
        }
    }
}

impl fmt::Display for RiskLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RiskLevel::Low => "low",
            RiskLevel::Medium => "medium",
            RiskLevel::High => "high",
            RiskLevel::Critical => "critical",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_score_has_one_level() {
        let bands = Bands::default();
        let level = |score| bands.of(score).0;
        assert_eq!([level(0), level(30)], [RiskLevel::Low; 2]);
        assert_eq!([level(31), level(60)], [RiskLevel::Medium; 2]);
        assert_eq!([level(61), level(85)], [RiskLevel::High; 2]);
        assert_eq!([level(86), level(100)], [RiskLevel::Critical; 2]);
        assert_eq!(bands.of(45).1.proof, Some(90));
    }
}
