//! How much harm a task or a diff could do: a score from 0 to 100 with its factors, and what follows.
//!
//! Words before the run, the real diff after it; the same bands for both. Never reads a file.

mod diff;
mod task;

use std::fmt;

use serde::{Deserialize, Serialize};

pub(super) use diff::of_diff;
pub(super) use task::of_task;

/// Every factor: its name, what it adds to the score of a task's words, to the score of a diff (`–` = it has no
/// part in it), and what it stands for. The page `docs/risk.md` is held to this table, and so is the code.
pub const FACTORS: [(&str, &str, &str, &str); 18] = [
    (
        "effect",
        "0, 25, 30, 45",
        "25",
        "only looks; changes files; changes stored data; reaches outside or destroys data",
    ),
    (
        "undo",
        "4, 8, 41",
        "4",
        "git brings it back; stored data needs work; it cannot be taken back",
    ),
    ("authentication", "20", "20", "about sign-in, tokens, passwords, security"),
    ("money", "20", "20", "about payments, invoices, billing"),
    ("schema", "20", "20", "about migrations or a database schema"),
    ("infrastructure", "–", "20", "deployment, clusters, production set-up"),
    ("data", "6", "–", "code about a database"),
    ("outside", "6", "–", "code about e-mail, messages, webhooks"),
    ("deletions", "12", "12 each, at most 24", "takes something away"),
    ("dependencies", "15", "15", "a manifest or a lock file"),
    ("binary", "–", "8 each, at most 16", "a file that nobody reads line by line"),
    ("generated", "–", "5", "written or squeezed by a program"),
    (
        "size",
        "5, 10",
        "5, 10, 20",
        "above 30, 100 estimated lines; above 60, 120, 300 changed lines of code",
    ),
    ("untested", "5", "6", "no tests defined; no test changed beside the code"),
    ("reach", "3", "–", "`Files` that name everything"),
    ("caution", "10", "–", "a safety check with a warning sign"),
    ("checked", "−3", "–", "a safety check that passed"),
    ("harmless", "−20", "−20", "nothing but tests or documents"),
];
/// What a person says in the plan's `Risk`, where it is more than what the words give.
const DECLARED: &str = "declared";

/// Adds factors up.
#[derive(Default)]
struct Scale(Vec<Factor>);

impl Scale {
    fn add(&mut self, name: &str, points: i32, why: &str) {
        let known = name == DECLARED || FACTORS.iter().any(|factor| factor.0 == name);
        debug_assert!(known, "`{name}` is not in the table");
        if points != 0 {
            self.0.push(Factor { name: name.to_owned(), points, why: why.to_owned() });
        }
    }

    fn score(&self) -> u32 {
        let sum: i32 = self.0.iter().map(|factor| factor.points).sum();
        u32::try_from(sum.clamp(0, 100)).unwrap_or(0)
    }

    fn risk(mut self) -> Risk {
        let score = self.score();
        self.0.sort_by_key(|factor| std::cmp::Reverse(factor.points));
        Risk { score, factors: self.0 }
    }
}

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

impl Risk {
    /// `29: effect 25 (changes files of the repository), undo 4 (git brings them back)`.
    pub fn in_words(&self) -> String {
        let factor = |f: &Factor| format!("{} {:+} ({})", f.name, f.points, f.why);
        let factors: Vec<String> = self.factors.iter().map(factor).collect();
        if factors.is_empty() {
            return format!("{}: nothing to fear", self.score);
        }
        format!("{}: {}", self.score, factors.join(", "))
    }
}

impl Bands {
    /// What passes without this consequence, in words.
    pub fn below(&self, does: Does) -> String {
        let levels = [&self.low, &self.medium, &self.high, &self.critical];
        let first = levels.iter().position(|band| band.does >= does);
        match first.map(|at| if at == 0 { 0 } else { levels[at - 1].upto }) {
            Some(most) => format!("at most {most}"),
            None => "at most 100".to_owned(),
        }
    }

    /// The least score of a level.
    pub fn least(&self, level: RiskLevel) -> u32 {
        match level {
            RiskLevel::Low => 0,
            RiskLevel::Medium => self.low.upto + 1,
            RiskLevel::High => self.medium.upto + 1,
            RiskLevel::Critical => self.high.upto + 1,
        }
    }

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

impl RiskLevel {
    /// The key of the configuration that sets its band.
    pub fn key(self) -> &'static str {
        match self {
            RiskLevel::Low => "policy.risk.low",
            RiskLevel::Medium => "policy.risk.medium",
            RiskLevel::High => "policy.risk.high",
            RiskLevel::Critical => "policy.risk.critical",
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
    fn the_page_has_every_factor() {
        let page = include_str!("../../docs/risk.md");
        for (name, task, diff, what) in FACTORS {
            let row = format!("| `{name}` | {task} | {diff} | {what} |");
            assert!(page.lines().any(|line| line == row), "docs/risk.md lacks: {row}");
        }
    }

    #[test]
    fn each_score_has_one_level() {
        let bands = Bands::default();
        let level = |score| bands.of(score).0;
        assert_eq!([level(0), level(30)], [RiskLevel::Low; 2]);
        assert_eq!([level(31), level(60)], [RiskLevel::Medium; 2]);
        assert_eq!([level(61), level(85)], [RiskLevel::High; 2]);
        assert_eq!([level(86), level(100)], [RiskLevel::Critical; 2]);
        assert_eq!(bands.of(45).1.proof, Some(90));
        for least in [RiskLevel::Low, RiskLevel::Medium, RiskLevel::High, RiskLevel::Critical] {
            assert_eq!(level(bands.least(least)), least);
            let below = bands.least(least).checked_sub(1);
            assert!(below.is_none_or(|below| level(below) < least), "{least:?}");
        }
    }

    #[test]
    fn a_level_begins_above_the_one_before() {
        let bands = Bands::default();
        let levels = [RiskLevel::Low, RiskLevel::Medium, RiskLevel::High, RiskLevel::Critical];
        assert_eq!(levels.map(|level| bands.least(level)), [0, 31, 61, 86]);
        for level in levels {
            assert_eq!(bands.of(bands.least(level)).0, level);
            assert_eq!(level.key(), format!("policy.risk.{level}"));
        }
    }

    #[test]
    fn what_passes_below_a_consequence_is_told_in_words() {
        let mut bands = Bands::default();
        assert_eq!(bands.below(Does::Run), "at most 0");
        assert_eq!(bands.below(Does::Ask), "at most 60");
        assert_eq!(bands.below(Does::Block), "at most 85");
        (bands.high.does, bands.critical.does) = (Does::Run, Does::Run);
        assert_eq!(bands.below(Does::Ask), "at most 100");
        // Where nobody is asked, what is blocked is not run either.
        bands.medium.does = Does::Block;
        assert_eq!(bands.below(Does::Ask), "at most 30");
    }

    #[test]
    fn a_score_is_told_with_its_factors_the_heaviest_first() {
        let mut scale = Scale::default();
        scale.add("undo", 4, "git brings it back");
        scale.add("harmless", -20, "only tests");
        scale.add("effect", 25, "changes files");
        scale.add("size", 0, "is small");
        assert_eq!(
            scale.risk().in_words(),
            "9: effect +25 (changes files), undo +4 (git brings it back), harmless -20 (only tests)"
        );
        assert_eq!(Risk::default().in_words(), "0: nothing to fear");
    }
}
