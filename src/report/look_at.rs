//! What a reviewer should look at first in a landed commit, and in which order: from the rules' findings and the
//! runner's own records.
//!
//! Never judges: it says what was recorded, the heaviest first.

use crate::{
    ids::TaskId,
    night::{AttemptRecord, Night, TaskState},
    outcome::{FormerTests, NewTests},
    policy::{AdmittedTask, Inspection, RiskLevel},
    report::{facts, plural, text},
};

/// A landed commit as a reviewer meets it.
pub(super) struct Look {
    /// By the task's words and by its diff, whichever is more.
    pub(super) level: RiskLevel,
    /// The score of that.
    pub(super) score: u32,
    /// Times that it was tried.
    pub(super) tries: u32,
    /// What to look at, as Markdown for a table's cell, the heaviest first.
    pub(super) reasons: Vec<String>,
}

impl Look {
    /// The cell: the level where it is not low, and why. `–` where the records have nothing.
    pub(super) fn cell(&self) -> String {
        let reasons = self.reasons.join("; ");
        match (self.level, reasons.is_empty()) {
            (RiskLevel::Low, true) => "–".to_owned(),
            (RiskLevel::Low, false) => reasons,
            (level, true) => format!("**{level}**"),
            (level, false) => format!("**{level}**: {reasons}"),
        }
    }
}

/// What is worth a look in a landed task.
pub(super) fn look(night: &Night, id: &TaskId, task: &TaskState) -> Look {
    let opening = night.opening();
    let words = opening.tasks.iter().find(|task| task.id() == id).map(AdmittedTask::risk);
    let words_score = words.map_or(0, |risk| risk.score);
    let none = Inspection::default();
    let record = task.last();
    let inspection = record.map_or(&none, |record| &record.inspection);
    let score = inspection.risk.score.max(words_score);
    let mut reasons: Vec<String> = inspection
        .risk
        .factors
        .iter()
        .filter_map(|factor| {
            let what = named(&factor.name)?;
            Some(match factor.name.as_str() {
                "size" => text::inline(&factor.why),
                "untested" | "harmless" => what.to_owned(),
                _ => format!("{what} ({})", text::code(&factor.why)),
            })
        })
        .collect();
    if let Some(risk) = words.filter(|risk| risk.score > inspection.risk.score) {
        let first = risk.factors.iter().find(|factor| named(&factor.name).is_some());
        let first = first.map(|factor| format!("the task's words: {}", text::inline(&factor.why)));
        reasons.extend(first);
    }
    let tries = record.map_or(0, |record| record.number);
    if tries > 1 {
        reasons.push(format!("passed on the {} try", ordinal(tries)));
    }
    reasons.extend(record.into_iter().flat_map(tests));
    if let Some(record) = record {
        if let Some(by) = &record.approved_by {
            reasons.push(format!("approved by {}", text::inline(by)));
        }
        let findings = record.findings().count();
        if findings > 0 {
            reasons.push(format!("{} below", plural(findings, "finding")));
        }
    }
    let decided = facts::decisions(task).len();
    if decided > 0 {
        reasons.push(format!("{} of the agent", plural(decided, "decision")));
    }
    Look { level: opening.policy.risk.of(score).0, score, tries, reasons }
}

/// The numbers of commits (from 1, in the order of the branch), riskiest first. Those that are alike stay in the
/// branch's order.
pub(super) fn order(looks: &[Look]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..looks.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse((looks[*at].score, looks[*at].tries)));
    order.into_iter().map(|at| at + 1).collect()
}

/// What a factor of a diff's score means for a reader; `None` for what every change has.
fn named(factor: &str) -> Option<&'static str> {
    Some(match factor {
        "authentication" => "security code",
        "money" => "payment code",
        "schema" => "database schema",
        "infrastructure" => "deployment",
        "deletions" => "deletes a file",
        "dependencies" => "dependency file",
        "binary" => "binary file",
        "generated" => "generated file",
        "size" => "size",
        "untested" => "no test changed with the code",
        "harmless" => "only tests or documents",
        _ => return None,
    })
}

/// What became of the tests: only what a reader would not expect.
fn tests(record: &AttemptRecord) -> Vec<String> {
    let mut said = Vec::new();
    let sum = |of: &dyn Fn(&crate::policy::TestDelta) -> u32| -> usize {
        record.inspection.tests.iter().map(|delta| of(delta) as usize).sum()
    };
    for (count, what) in [
        (sum(&|delta| delta.tests.0.saturating_sub(delta.tests.1)), "test"),
        (sum(&|delta| delta.assertions.0.saturating_sub(delta.assertions.1)), "assertion"),
    ] {
        if count > 0 {
            said.push(format!("{} fewer", plural(count, what)));
        }
    }
    let skipped = sum(&|delta| delta.skipped.1.saturating_sub(delta.skipped.0));
    if skipped > 0 {
        said.push(format!("{} newly skipped", plural(skipped, "test")));
    }
    if let Some(proof) = &record.test_proof {
        match proof.new_tests {
            NewTests::Unproven { .. } => said.push("new tests pass without the change".to_owned()),
            NewTests::Empty { .. } => said.push("new tests assert nothing".to_owned()),
            NewTests::None
            | NewTests::Proven { .. }
            | NewTests::Inseparable { .. }
            | NewTests::Alone => {}
        }
        match proof.former_tests {
            FormerTests::Red { .. } => said.push("former tests fail".to_owned()),
            FormerTests::Unchanged | FormerTests::Green { .. } => {}
        }
    }
    said
}

/// `2nd`, `3rd`, `11th`.
fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests_of_words {
    use super::*;

    #[test]
    fn numbers_are_told_as_people_say_them() {
        let words: Vec<String> = [1, 2, 3, 4, 11, 12, 13, 21, 112].map(ordinal).to_vec();
        assert_eq!(words, ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th"]);
    }

    #[test]
    fn the_riskiest_is_read_first_and_equals_as_they_landed() {
        let look = |score, tries| Look { level: RiskLevel::Low, score, tries, reasons: Vec::new() };
        assert_eq!(order(&[look(9, 1), look(49, 1), look(9, 2), look(49, 1)]), [2, 4, 3, 1]);
    }

    #[test]
    fn every_factor_that_a_diff_can_have_is_named_or_said_of_all() {
        let of_all = ["effect", "undo"];
        for (name, _, of_diff, _) in crate::policy::FACTORS {
            let known = named(name).is_some() || of_all.contains(&name);
            assert!(known || of_diff == "–", "{name}");
        }
    }
}
