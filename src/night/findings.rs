//! What the rules say of a green gate and of a candidate's tests: pure, so that a replay finds it in the facts.

use crate::{
    ids::AttemptId,
    night::{AttemptRecord, Night, TaskState},
    outcome::{FormerTests, GateReport, NewTests, TestProof},
    policy::{Refusal, Severity, Tests, Verdict, WeakerTests, asks_for_other_tests},
};

/// The rules on a gate's run that passed: a risky change lands only with a good enough score.
pub fn of_gate(night: &Night, attempt: &AttemptId, report: &GateReport) -> Vec<Refusal> {
    let policy = &night.opening().policy;
    let admitted = night.admitted(&attempt.task).map_or(0, |task| task.risk().score);
    let seen = night
        .task(&attempt.task)
        .and_then(TaskState::last)
        .map_or(0, |record| record.inspection.risk.score);
    let risk = admitted.max(seen);
    let (level, band) = policy.risk.of(risk);
    let mut findings = Vec::new();
    let record = night.task(&attempt.task).and_then(TaskState::last);
    let untested = |record: &AttemptRecord| {
        record.inspection.risk.factors.iter().any(|factor| factor.name == "untested")
    };
    if policy.tests == Tests::Proven && record.is_some_and(untested) {
        findings.push(Refusal {
            rule: "tests.unproven".to_owned(),
            verdict: Verdict::Ask,
            severity: Severity::High,
            message: "code changed and no test changed with it: nothing is proven".to_owned(),
            value: "no test".to_owned(),
            limit: "new tests, red on the base's code".to_owned(),
            origin: policy.origin("policy.tests"),
            help: Some("approve it where no test can be written".to_owned()),
        });
    }
    let Some(least) = band.proof.filter(|least| report.score < *least) else { return findings };
    findings.push(Refusal {
        rule: "gate.proof".to_owned(),
        verdict: Verdict::Ask,
        severity: Severity::High,
        message: format!("a change of {level} risk ({risk}) needs a better score of the gate"),
        value: report.score.to_string(),
        limit: format!("at least {least}"),
        origin: policy.origin(&format!("policy.risk.{level}")),
        help: Some("approve it after you have looked at the steps that are red".to_owned()),
    });
    findings
}

/// The rules on a candidate's tests, and whether they send it back to the agent.
pub fn of_tests(night: &Night, attempt: &AttemptId, proof: &TestProof) -> (Vec<Refusal>, bool) {
    let policy = &night.opening().policy;
    let required = policy.tests == Tests::Proven;
    let mut findings = Vec::new();
    let mut say = |rule: &str, verdict, message: String, value: String, limit: &str, origin| {
        findings.push(Refusal {
            rule: rule.to_owned(),
            verdict,
            severity: Severity::High,
            message,
            value,
            limit: limit.to_owned(),
            origin,
            help: None,
        });
    };
    match &proof.new_tests {
        NewTests::None | NewTests::Alone | NewTests::Proven { .. } => {}
        NewTests::Unproven { .. } | NewTests::Empty { .. } if required => {
            return (Vec::new(), true);
        }
        NewTests::Empty { paths } => {
            let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
            say(
                "tests.unproven",
                Verdict::Report,
                "the new tests assert nothing: they do not show that it works".to_owned(),
                paths.join(", "),
                "tests that assert something",
                policy.origin("policy.tests"),
            );
        }
        NewTests::Unproven { .. } => say(
            "tests.unproven",
            Verdict::Report,
            "the new tests pass without the change: they do not show that it works".to_owned(),
            "green on the base's code".to_owned(),
            "red on the base's code",
            policy.origin("policy.tests"),
        ),
        NewTests::Inseparable { paths } => {
            let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
            say(
                "tests.inseparable",
                if required { Verdict::Ask } else { Verdict::Report },
                "its tests stand beside the code and could not be tried without it".to_owned(),
                paths.join(", "),
                "tests in files of their own",
                policy.origin("policy.tests"),
            );
        }
    }
    if let FormerTests::Red { failing_tests, red_steps, beside, .. } = &proof.former_tests {
        let what = if failing_tests.is_empty() { red_steps } else { failing_tests };
        let asked = night
            .admitted(&attempt.task)
            .is_some_and(|admitted| asks_for_other_tests(&admitted.task().title));
        let verdict = match (policy.weaker_tests, asked) {
            (WeakerTests::Allow, _) | (WeakerTests::Never, true) => Verdict::Report,
            (WeakerTests::Ask, _) | (WeakerTests::Never, false) => Verdict::Ask,
        };
        let mut message =
            "tests as they were on the base fail on the changed code, and the change alters them"
                .to_owned();
        if !beside.is_empty() {
            let paths: Vec<String> = beside.iter().map(ToString::to_string).collect();
            message += &format!(
                "; those beside the code were put back into {}, where they may not compile either",
                paths.join(", ")
            );
        }
        let origin = policy.origin("policy.weaker_tests");
        say("tests.former", verdict, message, what.join(", "), "the base's tests pass", origin);
    }
    (findings, false)
}
