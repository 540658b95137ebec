//! Whole nights with gates that lie, that are flaky, that test nothing, that are red already, and that cannot fail.

mod canaries;
mod tests_apart;

use std::fs;

use crate::support::night::{Ran, TestNight};

/// Runs every `tests/*.t` and counts them, through a helper of the project that is no file of the gate's.
const COUNTING: &str = "sh src/run_tests.sh\n";
const RUN_TESTS: &str = "failed=0; count=0
for test in tests/*.t; do
    count=$((count + 1))
    if sh \"$test\"; then echo \"ok $test\"; else echo \"not ok $test\"; failed=1; fi
done
echo \"# tests $count\"
exit $failed\n";

/// A project of three tests that read `src/a.txt`.
fn counting() -> TestNight {
    let night = TestNight::new()
        .task("t1", "Change a word")
        .gate(COUNTING)
        .file("src/run_tests.sh", RUN_TESTS);
    ["one", "two", "three"].into_iter().fold(night, |night, word| {
        night.file(&format!("tests/{word}.t"), format!("grep -q {word} src/a.txt\n"))
    })
}

fn settings(night: TestNight, gate: &str) -> TestNight {
    night.file(".nightshift/config.yml", format!("version: 1\ngate:\n{gate}"))
}

/// The lines of a file that programs of a test wrote outside.
fn lines(night: &TestNight, name: &str) -> Vec<String> {
    let text = fs::read_to_string(night.path(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// What the journal says of the gate's run on the only attempt.
fn gated(ran: &Ran) -> serde_json::Value {
    let journal = fs::read_to_string(ran.journal()).unwrap();
    let entries = journal.lines().skip(1).map(|line| serde_json::from_str(line).unwrap());
    let found = entries
        .filter_map(|entry: serde_json::Value| entry.pointer("/event/gate_ended/report").cloned());
    found.last().expect("a gate that ended")
}

#[test]
fn a_flaky_gate_lands_and_both_logs_are_named() {
    let night = TestNight::new().task("t1", "Add a file").agent("echo new > src/new.txt");
    let seen = night.path("seen");
    // Outside of walls, because a run inside them leaves nothing for the next one to see.
    let gate = format!(
        "echo 'ok first'\nif [ -e src/new.txt ] && [ ! -e {0} ]; then touch {0}; echo 'not ok shaky'; \
         echo '# tests 2'; exit 1; fi\necho '# tests 2'\n",
        seen.display()
    );
    let ran = night.gate(&gate).tier("off").flaky_reruns(1).run(&[]).exit(0).landed(["t1"]);
    let report = gated(&ran);
    assert_eq!(report.pointer("/former_runs/0/failing_tests/0").unwrap(), "shaky");
    assert_eq!(report["tests_run"], 2);
    let (first, second) = ("gate/t1@1/1-quality.log", "gate/t1@1/run-2/1-quality.log");
    // A pull request says `@` in a form that calls nobody.
    for text in [ran.all(), ran.pull_request().replace('\u{200b}', "")] {
        assert!(text.contains("shaky") && text.contains(first) && text.contains(second), "{text}");
    }
    assert!(ran.pull_request().contains("**flaky**"));
    let logs = ran.then().call(&["show", "t1", "--gate"]).exit(0).all();
    assert!(
        logs.contains(first) && logs.contains(second) && logs.contains("not ok shaky"),
        "{logs}"
    );
}

#[test]
fn a_gate_that_is_red_twice_is_red() {
    let night = TestNight::new().task("t1", "Add a file").agent("echo broken > src/new.txt");
    let runs = night.path("runs");
    let gate = format!(
        "echo run >> {}\nif grep -rq broken src; then echo 'not ok unbroken'; echo '# tests 1'; exit 1; fi\necho '# tests 1'\n",
        runs.display()
    );
    let ran = night.gate(&gate).tier("off").flaky_reruns(2).run(&[]).exit(1).landed([]);
    let report = gated(&ran);
    assert_eq!(report["former_runs"].as_array().unwrap().len(), 2);
    // The base, and three runs of the first attempt; the second made the same tree again.
    assert_eq!(lines(&ran.then(), "runs").len(), 4);
}

#[test]
fn what_cannot_be_flaky_is_not_repeated() {
    // It ends before any test, where the base's own run counted some; and it runs out of time.
    for (red, limit) in [("echo 'error: it does not compile'; exit 101", "1m"), ("sleep 60", "1s")]
    {
        let night = TestNight::new().task("t1", "Add a file").agent("echo broken > src/new.txt");
        let runs = night.path("runs");
        let gate = format!(
            "echo run >> {}\nif grep -rq broken src; then {red}; fi\necho '# tests 1'\n",
            runs.display()
        );
        let night = settings(
            night.gate(&gate),
            &format!(
                "  steps: [{{name: quality, run: sh .ai-validation/check_quality.sh, timeout: {limit}}}]\n"
            ),
        );
        let ran = night.tier("off").flaky_reruns(3).run(&[]).exit(1).landed([]);
        assert_eq!(lines(&ran.then(), "runs").len(), 2, "the base and one attempt: {red}");
    }
}

#[test]
fn a_flaky_base_does_not_cost_the_night() {
    let night = TestNight::new().task("t1", "Add a file").agent("echo new > src/new.txt");
    let seen = night.path("seen").display().to_string();
    let gate = format!("if [ ! -e {seen} ]; then touch {seen}; echo 'not ok shaky'; exit 1; fi\n");
    let ran = night.gate(&gate).tier("off").flaky_reruns(1).run(&[]).exit(0).landed(["t1"]);
    ran.says("flaky: base: quality failed and passed");
}

#[test]
fn a_green_run_that_tested_nothing_is_red() {
    let ran =
        counting().agent("echo 'echo all good' > src/run_tests.sh").run(&[]).exit(1).landed([]);
    let ran = ran.says("ran no tests, and the base's own run had 3");
    assert_eq!(gated(&ran)["steps"][0]["ended"], serde_json::json!({ "exit": 0 }));
    // The agent hears of it.
    let prompt = ran.then().call(&["show", "t1@2", "--prompt"]).exit(0).all();
    assert!(prompt.contains("ran no tests") && prompt.contains("all good"), "{prompt}");
}

#[test]
fn fewer_tests_alone_are_shown_and_land() {
    let night =
        counting().agent("sed -i 's/three/four/' src/a.txt; sed -i 's/three/four/' tests/three.t");
    // The base's test does not hold on the changed word, in whatever language it is written.
    night.run(&[]).exit(1).landed([]).says("tests=3").says("HELD FOR YOU 1");
    let fewer = "echo 'count=0; for test in tests/one.t tests/two.t; do count=$((count + 1)); sh $test || exit 1; done; \
                 echo \"# tests $count\"' > src/run_tests.sh";
    let ran = counting().agent(fewer).run(&[]).exit(0).landed(["t1"]).says("tests=3→2");
    assert!(ran.pull_request().contains("3&nbsp;→&nbsp;2&nbsp;tests"), "{}", ran.pull_request());
}

/// The base fails one of its three tests.
fn red_base(baseline: &str) -> TestNight {
    let steps = "  steps:\n    - {name: unit, run: sh .ai-validation/check_quality.sh}\n    \
                 - {name: last, run: test -d src}\n";
    settings(
        counting().file("src/a.txt", "one\ntwo\n"),
        &format!("  baseline: {baseline}\n{steps}"),
    )
}

#[test]
fn with_compare_a_red_base_starts_and_only_new_failures_count() {
    let ran = red_base("compare").agent("echo more >> src/a.txt").run(&[]).exit(0).landed(["t1"]);
    let text = ran.pull_request();
    assert!(
        text.contains("**Known failures.**") && text.contains("unit (1 known failure)"),
        "{text}"
    );
    let report = gated(&ran);
    assert_eq!(report["steps"][0]["excused"], true);
    // The steps behind a known failure run too, and only new failures count.
    assert_eq!(
        (report["steps"][1]["name"].as_str(), report["score"].as_u64()),
        (Some("last"), Some(100))
    );
}

#[test]
fn with_compare_a_new_failure_and_a_lost_test_are_red() {
    let new = red_base("compare").agent("echo one > src/a.txt").run(&[]).exit(1).landed([]);
    new.says("tests/two.t");
    let lost = "rm tests/two.t; echo more >> src/a.txt";
    let ran = settings(
        red_base("compare").agent(lost),
        "  baseline: compare\npolicy: {paths: {delete: allow}}\n",
    );
    ran.run(&[]).exit(1).landed([]).says("gate red");
}

#[test]
fn without_compare_and_without_names_a_red_base_starts_nothing() {
    red_base("green").agent("exit 0").run(&[]).exit(3).says("the gate is red on the base");
    let nameless = TestNight::new().task("t1", "Add a file").gate("exit 1\n").agent("exit 0");
    settings(nameless, "  baseline: compare\n")
        .run(&[])
        .exit(3)
        .says("the gate is red on the base");
}

/// An advisory step is red, and the required one weighs `weight` times as much.
fn advisory(weight: u32) -> Ran {
    let night = TestNight::new().task("t1", "Add a file").agent("echo new > src/new.txt");
    let steps = format!(
        "  steps:\n    - {{name: lint, run: test ! -e src/new.txt, required: false, weight: 1}}\n    \
         - {{name: unit, run: test -d src, weight: {weight}}}\n"
    );
    settings(night, &steps).run(&[])
}

#[test]
fn an_advisory_step_weighs_in_the_score_and_makes_nothing_red() {
    assert_eq!(gated(&advisory(19).exit(0).landed(["t1"]))["score"], 95);
    // A change of code without tests is of medium risk, and waits for a person below 90.
    let ran = advisory(3).exit(1).landed([]).says("needs a better score of the gate");
    assert_eq!(gated(&ran)["score"], 75);
}

/// A step whose log says nothing of tests, and that may write a report.
fn reporting(kind: &str, script: &str) -> TestNight {
    let night = TestNight::new().task("t1", "Change a word").workspaces(kind);
    let night = night.file(".ai-validation/report.sh", script).file("src/junit.txt", "green\n");
    settings(
        night,
        "  steps: [{name: unit, run: sh .ai-validation/report.sh, junit: target/junit.xml}]\n",
    )
}

const REPORT: &str = "mkdir -p target
say() { echo \"<testsuites><testsuite><testcase classname='shop' name='adds'>$1</testcase><testcase name='b'/></testsuite></testsuites>\" > target/junit.xml; }
case $(cat src/junit.txt) in
green) say '';;
red) say '<failure/>'; exit 1;;
none) echo '# tests 7';;
broken) say ''; echo '<open>' >> target/junit.xml; echo '# tests 7';;
link) rm -f target/junit.xml; echo '<testsuites/>' > target/other.xml; ln -s other.xml target/junit.xml; echo '# tests 7';;
esac\n";

#[test]
fn a_junit_report_is_counted_instead_of_the_log() {
    for kind in ["pool", "auto"] {
        let ran =
            reporting(kind, REPORT).agent("echo red > src/junit.txt").run(&[]).exit(1).landed([]);
        let report = gated(&ran);
        assert_eq!(report["failing_tests"], serde_json::json!(["shop::adds"]));
        assert_eq!(
            (&report["steps"][0]["tests_run"], &report["tests_run"]),
            (&2.into(), &2.into())
        );
    }
}

/// The report that the base's own run left in the cache is not the candidate's, and neither is one behind a link.
#[test]
fn without_a_report_of_its_own_a_step_is_counted_by_its_log() {
    for (kind, what, why) in [
        ("pool", "none", "was not written by this step"),
        ("auto", "none", "was not written"),
        ("auto", "broken", "no JUnit report in target/junit.xml"),
        ("pool", "link", "a link leads to it"),
    ] {
        let ran = reporting(kind, REPORT).agent(&format!("echo {what} > src/junit.txt")).run(&[]);
        let ran = ran.exit(0).landed(["t1"]);
        assert_eq!(gated(&ran)["tests_run"], 7, "{kind} {what}");
        let log = ran.then().call(&["show", "t1", "--gate"]).exit(0).all();
        assert!(
            log.contains("[nightshift: no JUnit report in target/junit.xml") && log.contains(why),
            "{log}"
        );
    }
}

#[test]
fn an_agent_that_replaces_the_gate_is_refused() {
    for script in [
        "echo 'exit 0' > .ai-validation/check_quality.sh; echo broken > src/a.txt",
        "mkdir -p .nightshift; echo 'gate: {canary: off, steps: \"true\"}' > .nightshift/config.yml",
        "rm .ai-validation/check_quality.sh; ln -s /bin/true .ai-validation/check_quality.sh",
    ] {
        let ran =
            TestNight::new().task("t1", "Change a word").agent(script).run(&[]).exit(1).landed([]);
        let said = ran.all();
        assert!(
            said.contains("inspection.protected") || said.contains("cannot enter a commit"),
            "{said}"
        );
    }
}
