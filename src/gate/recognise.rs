//! Names of failing tests and numbers of tests in the output of common test runners.
//!
//! Says more of a run, notices that a retry fails in the same way and that a green run tested nothing; whether a step
//! is green is its exit code's matter alone. What it does not recognise it does not guess.

use std::{collections::BTreeSet, sync::LazyLock};

use regex::Regex;

/// What a step's output or report shows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Names of failing tests, as the runner prints them; sorted, each once, at most [`MOST_NAMES`].
    pub failing: Vec<String>,
    /// Tests that ran, where a summary says so.
    pub run: Option<u32>,
}

/// Failing tests that are named at most: beyond it a list is only the beginning of one.
pub const MOST_NAMES: usize = 1_000;
/// Characters of a name.
const NAME: usize = 300;

impl Seen {
    /// Brings the names into their form.
    pub(super) fn tidy(&mut self) {
        let names = std::mem::take(&mut self.failing);
        let short = |name: String| match name.char_indices().nth(NAME) {
            Some((cut, _)) => name[..cut].to_owned(),
            None => name,
        };
        let names: BTreeSet<String> = names.into_iter().map(short).collect();
        self.failing = names.into_iter().take(MOST_NAMES).collect();
    }
}

/// One runner's lines. A failing test's name is the pattern's first group; counts are summed over all groups and
/// lines, but for a group `skipped`, which is taken off.
struct Runner {
    failing: &'static str,
    summary: &'static str,
    /// True when its lines for failing tests mean something only beside its summary.
    beside: bool,
}

const RUNNERS: [Runner; 11] = [
    // cargo test: `test a::b ... FAILED`, with `-q` or `--nocapture` only `---- a::b stdout ----`;
    // `test result: ok. 3 passed; 1 failed; …`
    Runner {
        failing: r"(?m)^(?:test (.+?)(?: - should panic)? \.\.\. FAILED|---- (.+?)(?: - should panic)? stdout ----)\s*$",
        summary: r"(?m)^test result: \w+\. (\d+) passed; (\d+) failed;",
        beside: false,
    },
    // cargo-nextest: `        FAIL [   0.004s] (1/3) crate tests::name`, `Summary [ 0.1s] 3 tests run: …`. What a
    // `TRY 1 FAIL` came to in the end is not on its line.
    Runner {
        failing: r"(?m)^\s+(?:FAIL|TIMEOUT|ABORT|SIG[A-Z]+) \[[^\]]*\] (?:\([^)]*\) )?(\S+ \S+)\s*$",
        summary: r"(?m)^\s+Summary \[[^\]]*\]\s+(\d+)(?:/\d+)? tests? run:",
        beside: false,
    },
    // pytest: `FAILED tests/test_a.py::test_b[a b] - …`, `ERROR tests/test_c.py - …`,
    // `== 1 failed, 2 passed, 1 error in 0.1s ==`
    Runner {
        failing: r"(?m)^(?:FAILED|ERROR) (\S+\.py(?:::.+?)?|\S+::.+?)(?: - .*)?\s*$",
        summary: r"(?m)^=*\s*(?:(\d+) failed)?(?:, )?(?:(\d+) passed)?(?:, .*?)? in [\d.]+s",
        beside: false,
    },
    // unittest: `FAIL: test_b (tests.test_a.A.test_b)`, `Ran 12 tests in 0.003s`, `OK (skipped=2)`
    Runner {
        failing: r"(?m)^(?:FAIL|ERROR): (\S+ \(\S+\))",
        summary: r"(?m)^(?:Ran (\d+) tests? in [\d.]+s|(?:OK|FAILED) \([^)\n]*\bskipped=(?P<skipped>\d+)[^)\n]*\))\s*$",
        beside: true,
    },
    // TAP, sh: `not ok 2 - name` or `not ok name`; `# tests 12`
    Runner {
        failing: r"(?m)^\s*not ok (?:\d+ )?(?:- )?(\S[^#\n]*?)\s*(?:#.*)?$",
        summary: r"(?m)^# tests (\d+)$",
        beside: false,
    },
    // node --test: `✖ name (1.2ms)`, `ℹ tests 12`, `ℹ skipped 2`
    Runner {
        failing: r"(?m)^\s*✖ (.+?) \([\d.]+ms\)\s*$",
        summary: r"(?m)^ℹ (?:tests (\d+)|skipped (?P<skipped>\d+))$",
        beside: true,
    },
    // jest: `  ● suite › name`, `Tests:       1 failed, 3 skipped, 2 passed, 6 total`
    Runner {
        failing: r"(?m)^ {2}● (.+?)\s*$",
        summary: r"(?m)^Tests:\s+(?:(\d+) failed, )?(?:\d+ skipped, )?(?:\d+ todo, )?(?:(\d+) passed, )?\d+ total\s*$",
        beside: true,
    },
    // vitest: ` FAIL  src/a.test.ts > suite > name`, `      Tests  1 failed | 2 passed | 3 skipped (6)`
    Runner {
        failing: r"(?m)^\s*FAIL {2}(\S+ > .+?)\s*$",
        summary: r"(?m)^\s+Tests {2,}(?:(\d+) failed)?(?: \| )?(?:(\d+) passed)?[^(\n]*\(\d+\)\s*$",
        beside: false,
    },
    // mocha: `      1) name`, `  12 passing (30ms)`, `  2 failing`
    Runner {
        failing: r"(?m)^\s{4,}\d+\) (.+?)\s*$",
        summary: r"(?m)^\s+(?:(\d+) passing \([^)]*\)|(\d+) failing)\s*$",
        beside: true,
    },
    // maven: `[ERROR] a.FooTest.bar -- Time elapsed: 0.1 s <<< FAILURE!`, and after each module
    // `[INFO] Tests run: 3, Failures: 0, Errors: 0, Skipped: 1`
    Runner {
        failing: r"(?m)^(?:\[ERROR\] )?\s*(\S+)\s+(?:-- )?Time elapsed: .*<<< (?:FAILURE|ERROR)!",
        summary: r"(?m)^(?:\[\w+\] )?\s*Tests run: (\d+), Failures: \d+, Errors: \d+, Skipped: (?P<skipped>\d+)\s*$",
        beside: false,
    },
    // gradle: `FooTest > bar() FAILED`, and only of a red run `12 tests completed, 1 failed, 2 skipped`
    Runner {
        failing: r"(?m)^(\S+ > .+?) FAILED\s*$",
        summary: r"(?m)^(\d+) tests? completed(?:, \d+ failed)?(?:, (?P<skipped>\d+) skipped)?\s*$",
        beside: false,
    },
];

/// What jest marks as it marks a failing test.
const HEADINGS: [&str; 4] =
    ["Console", "Test suite failed to run", "Validation Warning:", "Deprecation Warning:"];

/// go test: `--- FAIL: TestA (0.00s)`; with `-v` a line for each test, else one for each package.
const GO: [&str; 3] = [
    r"(?m)^\s*--- FAIL: (\S+)",
    r"(?m)^\s*--- (?:PASS|FAIL): ",
    r"(?m)^(?:ok|FAIL)[ \t]+\S+[ \t]+(?:[\d.]+s|\(cached\))(?:[ \t]+coverage:.*)?\s*$",
];

/// A runner's patterns, ready to use: for failing tests, and for its summary.
struct Compiled {
    failing: Regex,
    summary: Regex,
    beside: bool,
}

static COMPILED: LazyLock<(Vec<Compiled>, [Regex; 4])> = LazyLock::new(|| {
    let compile = |pattern: &str| Regex::new(pattern).expect("constant");
    let runners = RUNNERS.iter().map(|runner| Compiled {
        failing: compile(runner.failing),
        summary: compile(runner.summary),
        beside: runner.beside,
    });
    let [failing, each, package] = GO.map(compile);
    (runners.collect(), [failing, each, package, compile(r"(?m)^=== RUN ")])
});

/// Reads what a log shows of its tests.
pub fn tests(log: &str) -> Seen {
    let log = crate::report::text::plain(log);
    let mut seen = Seen::default();
    let (runners, go) = &*COMPILED;
    for runner in runners {
        let run = counted(&runner.summary, &log);
        if let Some(run) = run {
            seen.run = Some(seen.run.unwrap_or(0).saturating_add(run));
        }
        if run.is_none() && runner.beside {
            continue;
        }
        for found in runner.failing.captures_iter(&log) {
            let name =
                found.iter().skip(1).flatten().next().map_or("", |name| name.as_str().trim());
            if !HEADINGS.contains(&name) {
                seen.failing.push(name.to_owned());
            }
        }
    }
    of_go(go, &log, &mut seen);
    seen.tidy();
    seen
}

/// All that a summary counts; `None` when there is none, or it counts nothing.
fn counted(summary: &Regex, log: &str) -> Option<u32> {
    let (mut run, mut skipped, mut any) = (0_u32, 0_u32, false);
    let mut names: Vec<Option<&str>> = Vec::new();
    names.extend(summary.capture_names());
    for found in summary.captures_iter(log) {
        for (name, group) in names.iter().zip(found.iter()).skip(1) {
            let Some(count) = group.and_then(|group| group.as_str().parse::<u32>().ok()) else {
                continue;
            };
            if name.is_some() {
                skipped = skipped.saturating_add(count);
            } else {
                run = run.saturating_add(count);
                any = true;
            }
        }
    }
    any.then(|| run.saturating_sub(skipped))
}

fn of_go([failing, each, package, verbose]: &[Regex; 4], log: &str, seen: &mut Seen) {
    seen.failing.extend(failing.captures_iter(log).map(|found| found[1].to_owned()));
    let count = if verbose.is_match(log) {
        each.find_iter(log).count()
    } else {
        package.find_iter(log).count()
    };
    if count > 0 {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        seen.run = Some(seen.run.unwrap_or(0).saturating_add(count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(log: &str, failing: &[&str], run: Option<u32>) {
        let failing = failing.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(tests(log), Seen { failing, run }, "{log}");
    }

    #[test]
    fn cargo_test_is_recognised() {
        let log = "running 2 tests\ntest a::good ... ok\ntest a::bad ... FAILED\n\n\
                   test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n\
                   test result: ok. 3 passed; 0 failed; 0 ignored\n";
        seen(log, &["a::bad"], Some(5));
        seen("test b - should panic ... FAILED\n", &["b"], None);
        let doc = "src/lib.rs - add (line 3)";
        seen(&format!("test {doc} ... FAILED\n---- {doc} stdout ----\n"), &[doc], None);
        let quiet = "running 2 tests\n.F\nfailures:\n\n---- a::bad stdout ----\nthread 'a::bad' panicked\n\n\
                     test result: FAILED. 1 passed; 1 failed; 0 ignored\n";
        seen(quiet, &["a::bad"], Some(2));
    }

    #[test]
    fn nextest_is_recognised() {
        let log = "        PASS [   0.004s] (1/3) shop tests::adds\n        FAIL [   0.004s] (2/3) shop tests::takes\n   \
                   SIGSEGV [   0.004s] (3/3) shop tests::dies\n------------\n     \
                   Summary [   0.010s] 3 tests run: 1 passed, 2 failed, 4 skipped\n";
        seen(log, &["shop tests::dies", "shop tests::takes"], Some(3));
        let flaky = "   TRY 1 FAIL [   0.004s] shop tests::takes\n   TRY 2 PASS [   0.004s] shop tests::takes\n";
        seen(flaky, &[], None);
    }

    #[test]
    fn pytest_is_recognised() {
        let log = "FAILED tests/test_a.py::test_b - assert 1 == 2\n\
                   =========== 1 failed, 217 passed in 31.20s ===========\n";
        seen(log, &["tests/test_a.py::test_b"], Some(218));
        seen("1 failed, 217 passed, 3 warnings in 31.20s\n", &[], Some(218));
        seen(
            "FAILED a.py::b[x - y z] - boom\nERROR c.py - No module\n",
            &["a.py::b[x", "c.py"],
            None,
        );
        seen("FAILED a.py::b[y z]\n", &["a.py::b[y z]"], None);
        seen("===== 3 skipped in 0.01s =====\n===== no tests ran in 0.01s =====\n", &[], None);
    }

    #[test]
    fn unittest_is_recognised() {
        let log = "ERROR: test_c (tests.test_a.A.test_c)\nFAIL: test_b (tests.test_a.A.test_b)\n\n\
                   Ran 12 tests in 0.003s\n\nFAILED (failures=1, errors=1, skipped=2)\n";
        seen(log, &["test_b (tests.test_a.A.test_b)", "test_c (tests.test_a.A.test_c)"], Some(10));
        seen("Ran 0 tests in 0.000s\n\nNO TESTS RAN\n", &[], Some(0));
        seen("ERROR: it failed (really)\n", &[], None);
    }

    #[test]
    fn go_is_recognised_with_its_tests_and_with_its_packages() {
        seen("--- FAIL: TestLogin (0.01s)\n", &["TestLogin"], None);
        let verbose = "=== RUN   TestA\n--- PASS: TestA (0.00s)\n=== RUN   TestB\n    --- FAIL: TestB/x (0.00s)\n\
                       --- FAIL: TestB (0.00s)\n--- SKIP: TestC (0.00s)\nFAIL\nFAIL\texample.org/a\t0.01s\n";
        seen(verbose, &["TestB", "TestB/x"], Some(3));
        let packages = "ok  \texample.org/a\t0.012s\nok  \texample.org/b\t(cached)\tcoverage: 80.0% of statements\n\
                        ?   \texample.org/c\t[no test files]\nok  \texample.org/d\t0.01s [no tests to run]\n\
                        FAIL\texample.org/e [build failed]\n";
        seen(packages, &[], Some(2));
    }

    #[test]
    fn runners_of_javascript_are_recognised() {
        let tap = "ok 1 - a\nnot ok 2 - b c # 3 ms\nnot ok farewell\n# tests 3\n";
        seen(tap, &["b c", "farewell"], Some(3));
        let jest = "  ● cart › adds up\n  ● subtracts\n  ● Console\n\nTests:       2 failed, 1 skipped, 2 passed, 5 total\n";
        seen(jest, &["cart › adds up", "subtracts"], Some(4));
        seen("Tests:       7 skipped, 7 total\n", &[], None);
        let vitest = " FAIL  src/a.test.ts > cart > adds up\n\n Test Files  1 failed | 1 passed (2)\n      \
                      Tests  1 failed | 2 passed | 3 skipped (6)\n";
        seen(vitest, &["src/a.test.ts > cart > adds up"], Some(3));
        let mocha = "  cart\n    ✔ adds up\n    1) subtracts\n\n  1 passing (4ms)\n  1 failing\n\n  1) cart\n       subtracts:\n";
        seen(mocha, &["subtracts"], Some(2));
        let node = "✖ takes (0.8ms)\n✔ adds (1.2ms)\nℹ tests 3\nℹ pass 1\nℹ fail 1\nℹ skipped 1\n";
        seen(node, &["takes"], Some(2));
    }

    #[test]
    fn runners_of_java_are_recognised() {
        let maven = "[ERROR] Tests run: 2, Failures: 1, Errors: 0, Skipped: 0, Time elapsed: 0.1 s <<< FAILURE! -- in a.FooTest\n\
                     [ERROR] a.FooTest.bar -- Time elapsed: 0.01 s <<< FAILURE!\n[INFO] Results:\n\
                     [ERROR] Tests run: 12, Failures: 1, Errors: 0, Skipped: 2\n";
        seen(maven, &["a.FooTest.bar"], Some(10));
        let gradle = "FooTest > bar() FAILED\n    java.lang.AssertionError\n\n12 tests completed, 1 failed, 2 skipped\n";
        seen(gradle, &["FooTest > bar()"], Some(10));
    }

    #[test]
    fn more_tests_than_can_be_counted_are_as_many_as_can() {
        seen("# tests 4294967295\n# tests 1\n", &[], Some(u32::MAX));
        seen("4294967295 failed, 4294967295 passed in 1s\n", &[], Some(u32::MAX));
    }

    #[test]
    fn prose_is_not_a_test() {
        seen(
            "this is not ok\nall good in 3s\n5 things failed\n    1) first\n  ● a point\n✖ no (1ms)\n",
            &[],
            None,
        );
    }

    #[test]
    fn names_are_bounded_in_number_and_length() {
        let many: Vec<String> = (0..2_000).map(|n| format!("test t{n} ... FAILED")).collect();
        let many = many.join("\n");
        assert_eq!(tests(&many).failing.len(), MOST_NAMES);
        let long = tests(&format!("test {} ... FAILED\n", "é".repeat(900))).failing;
        assert_eq!(long[0].chars().count(), NAME);
    }
}
