//! What the title of a task asks for, where it is about tests.
//!
//! Reads words. Never says what they free: that is `weaker`'s and the inspection's.

use crate::policy::words;

/// What a task's title asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// That tests go, are left out, renamed, merged or rewritten.
    pub(super) tests: bool,
    /// That assertions do.
    pub(super) assertions: bool,
}

/// Reads the title alone: acceptance says how a result is known. What is asked for stands at the beginning of a
/// clause, and its object in the same clause.
pub(super) fn of(title: &str) -> Asked {
    const VERBS: [&str; 20] = [
        "remove",
        "delete",
        "drop",
        "skip",
        "ignore",
        "disable",
        "rename",
        "merge",
        "rewrite",
        "consolidate",
        "combine",
        "split",
        "replace",
        "quarantine",
        "reduce",
        "move",
        "deduplicate",
        "prune",
        "simplify",
        "parametrize",
    ];
    const ENDINGS: [&str; 4] = ["ed", "er", "ers", "ion"];
    let mut asked = Asked::default();
    for clause in title.split([';', ',', '.', ':', '!', '?', '(', ')']) {
        let words = words_of(clause);
        for (at, word) in words.iter().enumerate() {
            if words::NEGATIONS.contains(&word.as_str()) {
                return asked;
            }
            let first = at == 0
                || words[at - 1] == "please"
                || (["and", "then"].contains(&words[at - 1].as_str())
                    && !words[..at].iter().any(|word| word == "to"));
            let verb = VERBS.iter().any(|verb| words::is_form(word, verb));
            if first && verb && !ENDINGS.iter().any(|ending| word.ends_with(ending)) {
                let object = object(&words[at + 1..]);
                asked.tests |= object.tests;
                asked.assertions |= object.assertions;
            }
        }
    }
    asked
}

/// The words of a clause. The name of a test is one: `test_parser_old` is `tests`.
fn words_of(clause: &str) -> Vec<String> {
    let parts = clause.split_whitespace().map(|part| {
        let name = part.trim_matches(|c: char| !c.is_alphanumeric());
        let named = name.starts_with("test_") || name.ends_with("_test");
        if named { vec!["tests".to_owned()] } else { words::split(part) }
    });
    parts.flatten().collect()
}

/// What the words behind a verb are about, as far as the next preposition or other deed.
fn object(words: &[String]) -> Asked {
    const STOPS: [&str; 32] = [
        "and", "with", "add", "write", "plus", "but", "from", "in", "for", "to", "then", "without",
        "so", "or", "on", "by", "before", "after", "when", "that", "which", "while", "at", "into",
        "as", "where", "if", "during", "of", "through", "against", "between",
    ];
    // "all of the tests" is about tests, "the output of tests" is not.
    const PARTS: [&str; 6] = ["all", "some", "most", "half", "one", "rest"];
    const TESTS: [&str; 4] = ["tests", "testcase", "testcases", "specs"];
    const ASSERTIONS: [&str; 4] = ["assertion", "assertions", "assert", "asserts"];
    // "the test of the parser" and "the test cases" are tests, "the test database" is none.
    const KINDS: [&str; 12] = [
        "case",
        "cases",
        "file",
        "files",
        "function",
        "functions",
        "suite",
        "suites",
        "module",
        "modules",
        "class",
        "classes",
    ];
    let is = |list: &[&str], word: &str| list.contains(&word);
    let stops = |at: usize| {
        is(&STOPS, &words[at]) && !(words[at] == "of" && at > 0 && is(&PARTS, &words[at - 1]))
    };
    let end = (0..words.len().min(7)).find(|at| stops(*at)).unwrap_or(words.len().min(7));
    let words = &words[..end];
    let next = |at: usize| words.get(at + 1).map(String::as_str);
    let test = |(at, word): (usize, &String)| match word.as_str() {
        "test" => next(at).is_none_or(|next| is(&KINDS, next) || is(&TESTS, next)),
        "spec" => next(at).is_some_and(|next| ["file", "files"].contains(&next)),
        word => is(&TESTS, word),
    };
    Asked {
        tests: words.iter().enumerate().any(test),
        assertions: words.iter().any(|word| is(&ASSERTIONS, word)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_task_that_is_about_tests_is_known_by_its_words() {
        let of = |title: &str| {
            let asked = super::of(title);
            (asked.tests, asked.assertions)
        };
        for title in [
            "Remove the flaky clock tests",
            "Merge duplicated parser tests",
            "Rename the tests of the parser",
            "Skip the slow integration test",
            "Rewrite all of the old unit tests",
            "Tidy the parser and remove its old tests",
            "Parser: drop the spec file of the old grammar",
            "Replace the specs",
            "Delete `test_old_parser`",
            "Please split the test cases",
        ] {
            assert_eq!(of(title), (true, false), "{title}");
        }
        assert_eq!(of("Remove the assertions on rounding"), (false, true));
        for title in [
            "Remove the debug flag and add tests",
            "Delete stale sessions, with tests",
            "Do not remove tests",
            "Fix the failing test",
            "Remove unused imports from tests",
            "Drop support for Python 3.8",
            "Replace the contest page",
            "Merge pull templates and replace the spec sheet",
            "Move the parser; tests stay",
            "Move the parser, tests stay",
            "Replace the test database",
            "Remove the output of tests",
            "Restore the removed tests",
            "Add skip tests",
            "Add a flag to run and skip tests",
            "Remove the tester role",
        ] {
            assert_eq!(of(title), (false, false), "{title}");
        }
    }
}
