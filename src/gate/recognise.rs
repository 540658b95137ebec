//! Names of failing tests and numbers of tests in the output of common test runners.
//!
//! Only helps to say more and to notice that a retry fails in the same way; never decides green or red.
//! What it does not recognise it does not guess.

use std::sync::LazyLock;

use regex::Regex;

/// What a log shows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Names of failing tests, as the runner prints them.
    pub failing: Vec<String>,
    /// Tests that ran, where a summary line says so.
    pub run: Option<u32>,
}

/// One runner's lines. The name is the pattern's first group; counts are summed over all groups and lines.
struct Runner {
    failing: &'static str,
    summary: &'static str,
}

const RUNNERS: [Runner; 6] = [
    // cargo test: `test a::b ... FAILED`, `test result: ok. 3 passed; 1 failed; …`
    Runner {
        failing: r"(?m)^test (\S+)(?: - .*?)? \.\.\. FAILED\s*$",
        summary: r"(?m)^test result: \w+\. (\d+) passed; (\d+) failed;",
    },
    // cargo-nextest: `        FAIL [   0.004s] crate tests::name`, `Summary [ 0.1s] 3 tests run: …`
    Runner {
        failing: r"(?m)^\s+FAIL \[[^\]]*\] (?:\([^)]*\) )?(\S+ \S+)\s*$",
        summary: r"(?m)^\s+Summary \[[^\]]*\]\s+(\d+)(?:/\d+)? tests? run:",
    },
    // pytest: `FAILED tests/test_a.py::test_b - …`, `== 1 failed, 2 passed in 0.1s ==`
    Runner {
        failing: r"(?m)^(?:FAILED|ERROR) (\S+::\S+)",
        summary: r"(?m)^=*\s*(?:(\d+) failed)?(?:, )?(?:(\d+) passed)?(?:, .*?)? in [\d.]+s",
    },
    // go test: `--- FAIL: TestA (0.00s)`; it prints no total.
    Runner { failing: r"(?m)^\s*--- FAIL: (\S+)", summary: r"\A\z(\d)" },
    // TAP, node, sh: `not ok 2 - name` or `not ok name`; `# tests 12`
    Runner {
        failing: r"(?m)^\s*not ok (?:\d+ )?(?:- )?(\S[^#\n]*?)\s*(?:#.*)?$",
        summary: r"(?m)^# tests (\d+)$",
    },
    // jest, vitest: `  ● suite › name`, `Tests:       1 failed, 2 passed, 3 total`
    Runner { failing: r"(?m)^\s+● (.+ › .+?)\s*$", summary: r"(?m)^Tests:\s.*?(\d+) total" },
];

static COMPILED: LazyLock<Vec<(Regex, Regex)>> = LazyLock::new(|| {
    let compile = |pattern| Regex::new(pattern).expect("constant");
    RUNNERS.iter().map(|runner| (compile(runner.failing), compile(runner.summary))).collect()
});

/// Reads what a log shows of its tests.
pub fn tests(log: &str) -> Seen {
    let log = crate::report::text::plain(log);
    let mut seen = Seen::default();
    for (failing, summary) in COMPILED.iter() {
        seen.failing.extend(failing.captures_iter(&log).map(|found| found[1].trim().to_owned()));
        for found in summary.captures_iter(&log) {
            let counts: Vec<u32> = found
                .iter()
                .skip(1)
                .flatten()
                .filter_map(|count| count.as_str().parse().ok())
                .collect();
            if !counts.is_empty() {
                seen.run = Some(seen.run.unwrap_or(0).saturating_add(counts.iter().sum()));
            }
        }
    }
    seen.failing.sort();
    seen.failing.dedup();
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(log: &str, failing: &[&str], run: Option<u32>) {
        let failing = failing.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(tests(log), Seen { failing, run });
    }

    #[test]
    fn cargo_test_is_recognised() {
        let log = "running 2 tests\ntest a::good ... ok\ntest a::bad ... FAILED\n\n\
                   test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n\
                   test result: ok. 3 passed; 0 failed; 0 ignored\n";
        seen(log, &["a::bad"], Some(5));
    }

    #[test]
    fn pytest_is_recognised() {
        let log = "FAILED tests/test_a.py::test_b - assert 1 == 2\n\
                   =========== 1 failed, 217 passed in 31.20s ===========\n";
        seen(log, &["tests/test_a.py::test_b"], Some(218));
        seen("1 failed, 217 passed, 3 warnings in 31.20s\n", &[], Some(218));
    }

    #[test]
    fn go_tap_and_jest_are_recognised() {
        seen("--- FAIL: TestLogin (0.01s)\n", &["TestLogin"], None);
        seen(
            "ok 1 - a\nnot ok 2 - b c # 3 ms\nnot ok farewell\n# tests 3\n",
            &["b c", "farewell"],
            Some(3),
        );
        seen(
            "  ● cart › adds up\n\nTests:       1 failed, 2 passed, 3 total\n",
            &["cart › adds up"],
            Some(3),
        );
    }

    #[test]
    fn prose_is_not_a_test() {
        seen("this is not ok\nall good in 3s\n5 things failed\n", &[], None);
    }
}
