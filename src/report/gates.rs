//! What runs of the gate say, in words: how many tests beside the base's, what is flaky, what failed already, whether
//! the gate can fail, and whether tests test.
//!
//! Plain words, no Markdown: who prints them makes foreign parts harmless for its place.

use crate::{
    ids::NAME,
    night::{BaseGate, Canary, Night},
    outcome::{CanaryTry, FormerTests, GateProof, GateReport, NewTests, StepReport, TestProof},
    report::text,
};

/// Tests that ran, beside the base's where they are fewer: `208`, `212 → 208`.
pub(super) fn tests(report: &GateReport, base: Option<&GateReport>) -> Option<String> {
    let here = report.tests_run?;
    Some(match base.and_then(|base| base.tests_run) {
        Some(there) if there > here => format!("{there} → {here}"),
        Some(_) | None => here.to_string(),
    })
}

/// Names of steps that failed and passed at the same tree; empty where nothing is flaky.
pub fn flaky(report: &GateReport) -> Vec<&str> {
    if !report.passed() {
        return Vec::new();
    }
    let mut names: Vec<&str> = report
        .former_runs
        .iter()
        .flat_map(|run| run.steps.iter().filter(|step| step.blocks()))
        .map(|step| step.name.as_str())
        .collect();
    names.dedup();
    names
}

/// What is flaky with its tests and both logs, in one sentence; `None` where nothing is.
pub fn flaky_in_words(report: &GateReport) -> Option<String> {
    let names = flaky(report);
    let first = report.former_runs.first()?;
    let mut words = format!("{} failed and passed at the same tree", names.join(", "));
    if !first.failing_tests.is_empty() {
        words.push_str(&format!(" ({})", few(&first.failing_tests)));
    }
    let log = |steps: &[StepReport]| {
        let named = |step: &&StepReport| names.contains(&step.name.as_str());
        steps.iter().find(named).map(|step| step.log.clone()).unwrap_or_default()
    };
    words.push_str(&format!("; logs: {}, {}", log(&first.steps), log(&report.steps)));
    (!names.is_empty()).then_some(words)
}

/// Steps that are red as they were on the base, with how many tests: `unit (2 known failures)`.
pub fn excused(report: &GateReport) -> Option<String> {
    let words: Vec<String> = report
        .steps
        .iter()
        .filter(|step| step.excused)
        .map(|step| match step.failing_tests.len() {
            1 => format!("{} (1 known failure)", step.name),
            many => format!("{} ({many} known failures)", step.name),
        })
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// What failed on the base already, where the night started all the same.
pub(super) fn known_failures(night: &Night) -> Option<String> {
    let BaseGate::Known(report) = night.base_gate() else { return None };
    Some(format!(
        "The base itself is red in {} ({}); only what fails anew counts (gate.baseline: compare)",
        report.red_steps().join(", "),
        few(&report.failing_tests)
    ))
}

/// Why the gate is not proven able to fail, where the night did not look.
pub(super) fn not_proven(night: &Night) -> Option<String> {
    match &night.opening().gate.canary {
        Canary::Off { origin } => Some(format!(
            "The gate was not tried on a tree that was broken on purpose (gate.canary: off, {})",
            text::inline_plain(origin)
        )),
        Canary::Auto | Canary::Patch(_) => None,
    }
}

/// Whether the gate was seen to fail, in words.
pub fn canary(proof: &GateProof) -> String {
    match proof.tries.iter().find(|tried| !tried.red_steps.is_empty()) {
        Some(tried) => {
            let when = if proof.reused { ", in an earlier night" } else { "" };
            let before = proof.tries.iter().take_while(|other| *other != tried);
            let green: Vec<&str> = before
                .filter(|other| !other.logs.is_empty())
                .map(|other| other.what.as_str())
                .collect();
            let green = if green.is_empty() {
                String::new()
            } else {
                format!("; it stayed green on {}", text::inline_plain(&green.join("; ")))
            };
            format!(
                "the gate can fail: {} red on {}{when}{green}",
                tried.red_steps.join(", "),
                text::inline_plain(&tried.what)
            )
        }
        None if proof.tries.is_empty() => "there was nothing to break on purpose".to_owned(),
        None => {
            let (ran, not): (Vec<&CanaryTry>, Vec<&CanaryTry>) =
                proof.tries.iter().partition(|tried| !tried.logs.is_empty());
            let list = |tries: &[&CanaryTry]| {
                let what: Vec<&str> = tries.iter().map(|tried| tried.what.as_str()).collect();
                text::inline_plain(&what.join("; "))
            };
            match (ran.is_empty(), not.is_empty()) {
                (_, true) => format!("the gate stayed green on: {}", list(&ran)),
                (true, _) => format!("nothing was broken on purpose: {}", list(&not)),
                (false, false) => {
                    format!("the gate stayed green on: {}; not tried: {}", list(&ran), list(&not))
                }
            }
        }
    }
}

/// What to say when a gate was not seen to fail: what was tried, and what to do.
pub(super) fn unproven(proof: &GateProof) -> Vec<String> {
    let mut lines = Vec::new();
    for tried in &proof.tries {
        let what = text::inline_plain(&tried.what);
        lines.push(if tried.logs.is_empty() {
            format!("  not tried: {what}")
        } else {
            format!("  green on {what}   {}", tried.logs)
        });
    }
    if proof.tries.is_empty() {
        lines.push(
            "  every file is protected, or there is none: nothing could be broken".to_owned(),
        );
    } else {
        lines.push(format!("  {NAME} logs canary   what the gate said each time"));
    }
    lines.push(
        "  a gate that stays green whatever is broken lets everything through; make it fail, or"
            .to_owned(),
    );
    lines.push(
        "  commit a patch that it must refuse and name it: `gate.canary: .nightshift/canary.patch`"
            .to_owned(),
    );
    lines.push(
        "  `gate.canary: off` runs without this proof, and every pull request says so".to_owned(),
    );
    lines
}

/// What is known of a candidate's tests, in words.
pub fn test_proof(proof: &TestProof) -> String {
    let new = match &proof.new_tests {
        NewTests::None => "no new tests were found".to_owned(),
        NewTests::Proven { failing_tests, .. } if !failing_tests.is_empty() => {
            format!("new tests fail without the change ({})", few(failing_tests))
        }
        NewTests::Proven { .. } => "new tests fail without the change".to_owned(),
        NewTests::Unproven { .. } => "new tests pass without the change".to_owned(),
        NewTests::Empty { .. } => "new tests assert nothing".to_owned(),
        NewTests::Inseparable { .. } => "new tests stand beside the code".to_owned(),
        NewTests::Alone => "nothing but tests".to_owned(),
    };
    match &proof.former_tests {
        FormerTests::Unchanged => new,
        FormerTests::Green { .. } => format!("{new}, former tests pass"),
        FormerTests::Red { failing_tests, .. } if !failing_tests.is_empty() => {
            format!("{new}, former tests fail ({})", few(failing_tests))
        }
        FormerTests::Red { .. } => format!("{new}, former tests fail"),
    }
}

/// The first three names, and how many more.
pub(super) fn few(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
    let more = match names.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", text::plain(&shown.join(", ")))
}
