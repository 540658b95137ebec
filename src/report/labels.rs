//! Labels of a pull request, and the word beside each of its commits: what they say, how they look, and how the next
//! publication knows which of them a person took away.
//!
//! Only texts. Adds no label and reads no forge.

use crate::{
    ids::{NAME, TaskId},
    night::{Night, TaskState},
    outcome::GateReport,
    policy::RiskLevel,
    report::{line::seconds, text},
};

/// While something in the pull request waits for a person.
pub const NEEDS_DECISION: &str = "needs-decision";
/// Begins the label of the highest risk.
const RISK: &str = "risk: ";
/// GitHub's limit for the description of a commit status, in characters.
const LONGEST_STATUS: usize = 140;

/// How a label looks where it did not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Six hexadecimal digits.
    pub colour: &'static str,
    /// At most 100 characters.
    pub description: &'static str,
}

/// The labels of a night's pull request: our name, what is configured, the highest risk of what landed, and
/// [`NEEDS_DECISION`] when `waits`. An empty configuration means no label at all.
pub fn labels(night: &Night, waits: bool) -> Vec<String> {
    let configured = &night.opening().publish.labels;
    if configured.is_empty() {
        return Vec::new();
    }
    let mut labels = vec![NAME.to_owned()];
    labels.extend(configured.iter().filter(|label| *label != NAME).cloned());
    let risks = night.landed().into_iter().map(|(task, _)| risk(night, task));
    // Nothing critical runs unattended; what a person approved is shown as high.
    labels.extend(risks.max().map(|risk| format!("{RISK}{}", risk.min(RiskLevel::High))));
    labels.extend(waits.then(|| NEEDS_DECISION.to_owned()));
    labels
}

/// The higher of what its words and its diff say.
pub(super) fn risk(night: &Night, task: &TaskId) -> RiskLevel {
    let admitted = night.admitted(task).map_or(0, |task| task.risk().score);
    let seen = night.task(task).and_then(TaskState::last);
    let seen = seen.map_or(0, |record| record.inspection.risk.score);
    night.opening().policy.risk.of(admitted.max(seen)).0
}

/// True for labels that say how things stand: we take them away when it is no longer so.
pub fn is_state(label: &str) -> bool {
    label == NEEDS_DECISION || label.starts_with(RISK)
}

/// How a label is made where the repository does not have it.
pub fn look(label: &str) -> Look {
    let (colour, description) = match label {
        NAME => ("1f2a44", "Made at night by an agent, behind the project's own gate"),
        NEEDS_DECISION => ("d93f0b", "Something in it waits for a person's word"),
        "risk: low" => ("c2e0c6", "Little could break by it"),
        "risk: medium" => ("fbca04", "Look at it before you merge"),
        "risk: high" => ("b60205", "Read every line before you merge"),
        _ => ("ededed", ""),
    };
    Look { colour, description }
}

/// Begins the hidden line that says which labels a publication meant to set.
fn opening() -> String {
    format!("<!-- {NAME}:labels=")
}

/// A hidden line for the end of a body.
pub fn record(labels: &[String]) -> String {
    let list = serde_json::to_string(labels).unwrap_or_default();
    // Neither may end the comment early.
    let list = list.replace('-', "\\u002d").replace('>', "\\u003e");
    format!("{}{list} -->", opening())
}

/// What the last publication meant to set; `None` when the body does not end with a [`record`].
pub fn recorded(body: &str) -> Option<Vec<String>> {
    let last = body.trim_end().lines().last()?.trim();
    let list = last.strip_prefix(opening().as_str())?.strip_suffix(" -->")?;
    serde_json::from_str(list).ok()
}

/// The description of a commit's status: what passed, and how long it took.
pub fn status(task: &TaskId, report: &GateReport) -> String {
    let steps: Vec<&str> = report.steps.iter().map(|step| step.name.as_str()).collect();
    let took = seconds(report.steps.iter().map(|step| step.millis).sum());
    let words = format!(
        "{task}: gate green in {took} at tree {}: {}",
        report.tree.short(),
        text::inline_plain(&steps.join(", "))
    );
    text::head(&words, LONGEST_STATUS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_read_back_and_a_text_cannot_say_it() {
        let labels = ["nightshift", "a --> b", "risk: low"].map(str::to_owned).to_vec();
        let body = format!("text\n{}\n", record(&labels));
        assert_eq!(body.matches("-->").count(), 1, "{body}");
        assert_eq!(recorded(&body), Some(labels));
        let quoted = format!("```text\n{}\n```\nmore", record(&["x".to_owned()]));
        assert_eq!(recorded(&quoted), None);
        assert_eq!(recorded(""), None);
    }

    #[test]
    fn each_label_of_ours_keeps_githubs_limits() {
        for label in [NAME, NEEDS_DECISION, "risk: low", "risk: medium", "risk: high", "other"] {
            let look = look(label);
            assert!(look.description.chars().count() <= 100 && look.colour.len() == 6, "{label}");
            assert_eq!(is_state(label), !matches!(label, NAME | "other"), "{label}");
        }
    }
}
