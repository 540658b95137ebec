//! What a gate's run is worth beside the base's own: what failed there already, what was not tested at all, what may
//! have failed by chance.
//!
//! Compares two records and looks at nothing else. Believes what test runners print: code under test could forge it,
//! and what these rules can make of a forged count is a red run, or with `gate.baseline: compare` an excuse, which is
//! shown wherever it counts.

use crate::{
    gate::recognise::MOST_NAMES,
    outcome::{GateReport, StepEnd, StepReport},
};

/// True when a red step fails in nothing that did not fail on the base already: the same step was red there, the
/// failing tests are named and all of them failed there, and no test less was run.
pub fn excused(step: &StepReport, base: &GateReport) -> bool {
    let Some(there) = base.steps.iter().find(|there| there.name == step.name) else { return false };
    let by_itself = matches!(step.ended, StepEnd::Exit(_));
    let known = |test: &String| there.failing_tests.contains(test);
    !step.green()
        && !there.green()
        && by_itself
        && !step.failing_tests.is_empty()
        // A list that was cut off does not say what else fails.
        && step.failing_tests.len() < MOST_NAMES
        && step.failing_tests.iter().all(known)
        && step.tests_run.unwrap_or(0) >= there.tests_run.unwrap_or(0)
}

/// Why a run whose steps ended well is no proof: it ran no test where the base's own run had some, or fewer and in
/// less than a tenth of the base's time. `warm`: the base's run lay over a cache itself; the time of one that began
/// from nothing says nothing.
pub fn vacuous(report: &GateReport, base: &GateReport, warm: bool) -> Option<String> {
    if let Some(why) = unheard(report, base) {
        return Some(why);
    }
    let by_step = base.steps.iter().any(|step| step.tests_run.is_some());
    if !by_step {
        // A record of an older version: it counts the whole run only.
        let millis = |report: &GateReport| report.steps.iter().map(|step| step.millis).sum();
        let run = Counted { name: None, tests: report.tests_run, millis: millis(report) };
        let there = Counted { name: None, tests: base.tests_run, millis: millis(base) };
        return less(&run, &there, warm);
    }
    report.steps.iter().filter(|step| step.green()).find_map(|step| {
        let there = base.steps.iter().find(|there| there.name == step.name)?;
        let counted = |step: &StepReport| Counted {
            name: Some(step.name.clone()),
            tests: step.tests_run,
            millis: step.millis,
        };
        less(&counted(step), &counted(there), warm)
    })
}

/// A step that ends well and names failing tests lost its own verdict on the way: `| tail`, `|| true`, a program
/// that exits by itself. What the base's run of the same step names too is how the project's logs look.
fn unheard(report: &GateReport, base: &GateReport) -> Option<String> {
    report.steps.iter().filter(|step| step.green()).find_map(|step| {
        let there = base.steps.iter().find(|there| there.name == step.name);
        let known = |test: &&String| there.is_some_and(|there| there.unheard.contains(*test));
        let first = step.unheard.iter().find(|test| !known(test))?;
        let more = step.unheard.len() - 1;
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(format!(
            "the step `{}` ended with 0 and names failing tests: {first}{more}",
            step.name
        ))
    })
}

/// What was counted of a step, or of a whole run.
struct Counted {
    name: Option<String>,
    tests: Option<u32>,
    millis: u64,
}

fn less(run: &Counted, base: &Counted, warm: bool) -> Option<String> {
    let there = base.tests.filter(|there| *there > 0)?;
    let who = run.name.as_ref().map_or("the run".to_owned(), |name| format!("the step `{name}`"));
    match run.tests.unwrap_or(0) {
        0 => Some(format!("{who} ran no tests, and the base's own run had {there}")),
        here if here < there && warm && run.millis < base.millis / 10 => Some(format!(
            "{who} ran {here} of the base's {there} tests in {} ms, and the base's own run took {} ms",
            run.millis, base.millis
        )),
        _ => None,
    }
}

/// True when a red run may be a matter of chance, so that another one says something: all that is red ended by
/// itself, and where the base's own run counted tests, this one came as far as to run any. A step that ran out of
/// time or broke a limit is not repeated: it would cost as much again, and its limit is the project's own word.
pub fn may_be_chance(report: &GateReport, base: Option<&GateReport>) -> bool {
    let tests = |report: &GateReport| report.tests_run.unwrap_or(0) > 0;
    let before_tests = base.is_some_and(tests) && !tests(report);
    let mut red = report.steps.iter().filter(|step| step.blocks()).peekable();
    red.peek().is_some()
        && !before_tests
        && red.all(|step| matches!(step.ended, StepEnd::Exit(_) | StepEnd::Signal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CommitId, GateId, TreeId};

    fn step(
        name: &str,
        code: i32,
        tests: Option<u32>,
        failing: &[&str],
        millis: u64,
    ) -> StepReport {
        StepReport {
            name: name.into(),
            command: "x".into(),
            ended: StepEnd::Exit(code),
            millis,
            required: true,
            log: String::new(),
            failing_tests: failing.iter().map(|name| (*name).to_owned()).collect(),
            tests_run: tests,
            unheard: Vec::new(),
            excused: false,
        }
    }

    fn report(steps: Vec<StepReport>) -> GateReport {
        let counts: Vec<u32> = steps.iter().filter_map(|step| step.tests_run).collect();
        GateReport {
            commit: CommitId::new("1".repeat(40)).unwrap(),
            tree: TreeId::new("2".repeat(40)).unwrap(),
            gate: GateId::new("3".repeat(64)).unwrap(),
            steps,
            score: 100,
            log_hash: String::new(),
            tier: "none".into(),
            failing_tests: Vec::new(),
            tests_run: (!counts.is_empty()).then(|| counts.iter().sum()),
            reused: false,
            vacuous: None,
            former_runs: Vec::new(),
        }
    }

    #[test]
    fn a_step_that_ends_well_and_names_failing_tests_is_not_green() {
        let named = |names: &[&str]| {
            let unheard = names.iter().map(|name| (*name).to_owned()).collect();
            report(vec![StepReport { unheard, ..step("t", 0, Some(3), &[], 1) }])
        };
        let base = named(&[]);
        assert_eq!(
            vacuous(&named(&["test_a", "test_b"]), &base, false).as_deref(),
            Some("the step `t` ended with 0 and names failing tests: test_a and 1 more")
        );
        assert_eq!(vacuous(&named(&[]), &base, false), None);
        // A log that always looks so says nothing new; one more name does.
        assert_eq!(vacuous(&named(&["test_a"]), &named(&["test_a"]), false), None);
        assert!(vacuous(&named(&["test_a", "test_b"]), &named(&["test_a"]), false).is_some());
    }

    #[test]
    fn only_what_failed_on_the_base_with_its_name_is_excused() {
        let base =
            report(vec![step("t", 1, Some(10), &["a", "b"], 1), step("lint", 0, None, &[], 1)]);
        let here =
            |code, tests, failing: &[&str]| excused(&step("t", code, tests, failing, 1), &base);
        assert!(here(1, Some(10), &["a"]) && here(1, Some(12), &["a", "b"]));
        assert!(!here(1, Some(10), &["a", "c"]), "a new failure");
        assert!(!here(1, Some(9), &["a"]), "fewer tests");
        assert!(!here(1, None, &["a"]), "tests that nobody counted");
        assert!(!here(1, Some(10), &[]), "nothing is named");
        assert!(!here(0, Some(10), &["a"]), "green needs no excuse");
        assert!(!excused(&step("lint", 1, Some(1), &["a"], 1), &base), "green on the base");
        assert!(!excused(&step("new", 1, Some(1), &["a"], 1), &base), "unknown on the base");
        let mut late = step("t", 1, Some(10), &["a"], 1);
        late.ended = StepEnd::TimedOut;
        assert!(!excused(&late, &base), "it did not end by itself");
    }

    #[test]
    fn a_list_of_failures_that_was_cut_excuses_nothing() {
        let names: Vec<String> = (0..MOST_NAMES).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let base = report(vec![step("t", 1, Some(5_000), &names, 1)]);
        assert!(!excused(&step("t", 1, Some(5_000), &names, 1), &base));
        assert!(excused(&step("t", 1, Some(5_000), &names[1..], 1), &base));
    }

    #[test]
    fn a_green_run_that_tested_nothing_is_vacuous() {
        let base =
            report(vec![step("t", 0, Some(200), &[], 30_000), step("lint", 0, None, &[], 9)]);
        let run = |tests, millis| report(vec![step("t", 0, tests, &[], millis)]);
        for tests in [None, Some(0)] {
            let why = vacuous(&run(tests, 30_000), &base, false).unwrap();
            assert!(why.contains("`t` ran no tests") && why.contains("200"), "{why}");
        }
        assert_eq!(vacuous(&run(Some(199), 3_001), &base, true), None, "a plausible time");
        assert_eq!(vacuous(&run(Some(199), 2_999), &base, false), None, "against a cold run");
        assert!(vacuous(&run(Some(199), 2_999), &base, true).unwrap().contains("199"));
        assert_eq!(vacuous(&run(Some(200), 1), &base, true), None, "all of them, fast");
        let uncounted = report(vec![step("t", 0, None, &[], 30_000)]);
        assert_eq!(vacuous(&run(None, 1), &uncounted, true), None, "nobody counted");
    }

    #[test]
    fn one_step_that_tests_nothing_is_not_hidden_by_another() {
        let base = report(vec![step("unit", 0, Some(9), &[], 1), step("more", 0, Some(1), &[], 1)]);
        let run = report(vec![step("unit", 0, None, &[], 1), step("more", 0, Some(50), &[], 1)]);
        assert!(vacuous(&run, &base, false).unwrap().contains("`unit`"));
    }

    #[test]
    fn a_record_without_counts_by_step_is_compared_as_a_whole() {
        let mut base = report(vec![step("t", 0, None, &[], 30_000)]);
        base.tests_run = Some(7);
        let why = vacuous(&report(vec![step("t", 0, None, &[], 1)]), &base, false).unwrap();
        assert!(why.contains("the run ran no tests"), "{why}");
        assert_eq!(vacuous(&report(vec![step("t", 0, Some(7), &[], 1)]), &base, true), None);
    }

    #[test]
    fn only_what_may_be_chance_is_repeated() {
        let base = report(vec![step("t", 0, Some(5), &[], 1)]);
        let red = |tests| report(vec![step("t", 1, tests, &[], 1)]);
        assert!(may_be_chance(&red(Some(5)), Some(&base)));
        assert!(!may_be_chance(&red(None), Some(&base)), "it ended before any test ran");
        assert!(may_be_chance(&red(None), None) && may_be_chance(&red(None), Some(&red(None))));
        assert!(!may_be_chance(&report(vec![step("t", 0, Some(5), &[], 1)]), None), "it is green");
        for end in [StepEnd::TimedOut, StepEnd::Breach("memory".into())] {
            let mut late = red(Some(5));
            late.steps[0].ended = end;
            assert!(!may_be_chance(&late, Some(&base)));
        }
    }

    #[test]
    fn fewer_tests_in_less_time_are_fewer_only_beyond_both_borders() {
        let of = |tests, millis, warm| {
            let run = report(vec![step("t", 0, Some(tests), &[], millis)]);
            vacuous(&run, &report(vec![step("t", 0, Some(10), &[], 1_000)]), warm).is_some()
        };
        assert!(of(9, 99, true));
        assert!(!of(10, 99, true), "as many");
        assert!(!of(11, 99, true), "more");
        assert!(!of(9, 100, true), "a tenth of the time");
        assert!(!of(9, 99, false), "the base's run began from nothing");
        assert!(of(0, 100_000, false), "none at all");
    }

    #[test]
    fn one_test_that_nobody_heard_is_told_alone() {
        let unheard = vec!["test_a".to_owned()];
        let run = report(vec![StepReport { unheard, ..step("t", 0, Some(3), &[], 1) }]);
        let base = report(vec![step("t", 0, Some(3), &[], 1)]);
        assert_eq!(
            vacuous(&run, &base, false).as_deref(),
            Some("the step `t` ended with 0 and names failing tests: test_a")
        );
    }
}
