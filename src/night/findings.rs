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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        budget::Limits,
        ids::{CommitId, GateId, NightId, TaskId, TreeId},
        night::{
            AgentSpec, Author, Base, Baseline, Canary, GateSpec, Opening, PlanSource, PublishSpec,
        },
        plan::{SectionWords, parse},
        policy::{Factor, Facts, Missing, Origin, Policy, RuleSet, admit},
    };

    fn attempt() -> AttemptId {
        AttemptId { task: TaskId::new("a").unwrap(), number: 1 }
    }

    /// A night with one task of this title, admitted with this risk, whose attempt's diff had that one.
    fn night(policy: Policy, title: &str, admitted: u32, seen: u32, untested: bool) -> Night {
        let source =
            format!("## Ready\n\n- **[a]** {title}\n  - Tests defined: yes (tests/a.rs)\n");
        let (mut plan, _) = parse(&source, &SectionWords::default());
        plan.tasks[0].fields.risk = Some(admitted.to_string());
        let policy = Policy { missing: Missing::Assume, ..policy };
        let rules = RuleSet::new(&policy).unwrap();
        let task = admit(&rules, &Limits::default(), &plan.tasks[0], &Facts::default());
        let task = task.admitted().expect("the task is admitted").clone();
        let commit = CommitId::new("1".repeat(40)).unwrap();
        let at = jiff::Timestamp::UNIX_EPOCH;
        let opening = Opening {
            night: NightId::new("2026-11-21").unwrap(),
            at,
            repository: "/repo".into(),
            base: Base {
                commit: commit.clone(),
                tree: TreeId::new("2".repeat(40)).unwrap(),
                branch: "main".into(),
                how: "a test".into(),
            },
            plan: PlanSource { path: "PLAN.md".into(), working_tree: true, update: true },
            limits: Limits::default(),
            policy,
            tasks: vec![task],
            refused: Vec::new(),
            gate: GateSpec {
                id: GateId::new("9".repeat(64)).unwrap(),
                steps: Vec::new(),
                env: Vec::new(),
                network: Vec::new(),
                setup: Vec::new(),
                canary: Canary::Off { origin: "a test".into() },
                baseline: Baseline::Green,
                flaky_reruns: 0,
            },
            agent: AgentSpec {
                name: "pretend".into(),
                command: None,
                model: None,
                context: Vec::new(),
                walls: "none".into(),
                gaps: Vec::new(),
                fallback: Vec::new(),
                fallback_at: 0,
                retry_ms: Vec::new(),
                converses: false,
                subscription: false,
            },
            author: Author { name: "T".into(), email: "t@localhost".into() },
            publish: PublishSpec {
                remote: None,
                push: false,
                pull_request: false,
                draft: false,
                labels: Vec::new(),
                reviewers: Vec::new(),
                no_statuses: false,
                web: None,
            },
            notes: Vec::new(),
            rejected: Vec::new(),
            again: Vec::new(),
            reverses: Vec::new(),
        };
        let mut night = Night::open(opening);
        let mut record = AttemptRecord::new(1, commit, at);
        record.inspection.risk.score = seen;
        let name = if untested { "untested" } else { "effect" };
        let factor = Factor { name: name.to_owned(), points: 6, why: String::new() };
        record.inspection.risk.factors.push(factor);
        night.state(&attempt().task).attempts.push(record);
        night
    }

    fn report(score: u32) -> GateReport {
        GateReport {
            commit: CommitId::new("1".repeat(40)).unwrap(),
            tree: TreeId::new("2".repeat(40)).unwrap(),
            gate: GateId::new("9".repeat(64)).unwrap(),
            steps: Vec::new(),
            score,
            log_hash: String::new(),
            tier: "none".into(),
            failing_tests: Vec::new(),
            tests_run: None,
            reused: false,
            vacuous: None,
            former_runs: Vec::new(),
        }
    }

    fn rules(findings: &[Refusal]) -> Vec<(&str, Verdict)> {
        findings.iter().map(|finding| (finding.rule.as_str(), finding.verdict)).collect()
    }

    fn with(tests: Tests) -> Policy {
        Policy { tests, ..Policy::default() }
    }

    #[test]
    fn a_risky_change_waits_for_a_person_below_its_score_of_the_gate() {
        for (admitted, seen, score, asks) in [
            (0, 45, 89, true),
            (0, 45, 90, false),
            (0, 45, 91, false),
            // What the words spoke of counts as much as what the diff shows.
            (45, 0, 89, true),
            (0, 30, 0, false),
            (0, 31, 0, true),
        ] {
            let night = night(Policy::default(), "Improve a part", admitted, seen, false);
            let found = of_gate(&night, &attempt(), &report(score));
            let expected = [("gate.proof", Verdict::Ask)];
            assert_eq!(rules(&found), expected[..usize::from(asks)], "{admitted} {seen} {score}");
            if let [finding] = &found[..] {
                assert_eq!(
                    (finding.value.as_str(), finding.limit.as_str()),
                    (score.to_string().as_str(), "at least 90")
                );
                assert_eq!(finding.origin, Origin::Default);
            }
        }
    }

    #[test]
    fn where_tests_must_be_proven_a_change_without_any_waits() {
        for (tests, untested, asks) in [
            (Tests::Proven, true, true),
            (Tests::Proven, false, false),
            (Tests::Required, true, false),
            (Tests::Optional, true, false),
        ] {
            let night = night(with(tests), "Improve a part", 0, 10, untested);
            let found = of_gate(&night, &attempt(), &report(100));
            let expected = [("tests.unproven", Verdict::Ask)];
            assert_eq!(rules(&found), expected[..usize::from(asks)], "{tests:?} {untested}");
        }
    }

    fn proof(new_tests: NewTests) -> TestProof {
        TestProof { new_tests, former_tests: FormerTests::Unchanged }
    }

    #[test]
    fn new_tests_that_show_nothing_are_told_or_send_it_back() {
        let logs = String::new;
        let paths = || vec!["tests/a.rs".into(), "tests/b.rs".into()];
        let (red_steps, failing_tests) = (Vec::new(), Vec::new());
        let proven = NewTests::Proven { red_steps, failing_tests, logs: logs() };
        let unproven = [("tests.unproven", Verdict::Report)];
        for (new, lax, strict, back) in [
            (NewTests::None, &[][..], &[][..], false),
            (NewTests::Alone, &[], &[], false),
            (proven, &[], &[], false),
            (NewTests::Unproven { logs: logs() }, &unproven, &[], true),
            (NewTests::Empty { paths: paths() }, &unproven, &[], true),
            (
                NewTests::Inseparable { paths: paths() },
                &[("tests.inseparable", Verdict::Report)],
                &[("tests.inseparable", Verdict::Ask)],
                false,
            ),
        ] {
            let of = |tests| {
                let night = night(with(tests), "Improve a part", 0, 10, false);
                of_tests(&night, &attempt(), &proof(new.clone()))
            };
            for tests in [Tests::Optional, Tests::Required] {
                let (found, again) = of(tests);
                assert_eq!((rules(&found), again), (lax.to_vec(), false), "{new:?}");
                for finding in found.iter().filter(|_| !matches!(new, NewTests::Unproven { .. })) {
                    assert_eq!(finding.value, "tests/a.rs, tests/b.rs");
                }
            }
            let (found, again) = of(Tests::Proven);
            assert_eq!((rules(&found), again), (strict.to_vec(), back), "{new:?}");
        }
    }

    #[test]
    fn former_tests_that_are_red_ask_unless_others_were_asked_for() {
        let red = |beside: Vec<crate::ids::RepoPath>, failing: &[&str]| TestProof {
            new_tests: NewTests::None,
            former_tests: FormerTests::Red {
                red_steps: vec!["check".into(), "more".into()],
                failing_tests: failing.iter().map(|name| (*name).to_owned()).collect(),
                beside,
                logs: String::new(),
            },
        };
        for (weaker_tests, title, verdict) in [
            (WeakerTests::Never, "Improve a part", Verdict::Ask),
            (WeakerTests::Never, "Rewrite the old tests", Verdict::Report),
            (WeakerTests::Ask, "Improve a part", Verdict::Ask),
            (WeakerTests::Ask, "Rewrite the old tests", Verdict::Ask),
            (WeakerTests::Allow, "Improve a part", Verdict::Report),
        ] {
            let policy = Policy { weaker_tests, ..Policy::default() };
            let night = night(policy, title, 0, 10, false);
            let (found, again) = of_tests(&night, &attempt(), &red(Vec::new(), &["x", "y"]));
            assert_eq!((rules(&found), again), (vec![("tests.former", verdict)], false), "{title}");
            assert_eq!(found[0].value, "x, y");
            assert!(!found[0].message.contains("beside"), "{}", found[0].message);
        }
        let night = night(Policy::default(), "Improve a part", 0, 10, false);
        let (found, _) = of_tests(&night, &attempt(), &red(vec!["src/a.rs".into()], &[]));
        assert_eq!(found[0].value, "check, more", "without names the steps are told");
        let end = "put back into src/a.rs, where they may not compile either";
        assert!(found[0].message.ends_with(end), "{}", found[0].message);
        let green = FormerTests::Green { logs: String::new() };
        let green = TestProof { former_tests: green, ..proof(NewTests::None) };
        assert_eq!(of_tests(&night, &attempt(), &green), (Vec::new(), false));
    }
}
