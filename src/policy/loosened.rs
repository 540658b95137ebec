//! Added lines that loosen what judges the code: a step that may fail, a runner that passes without tests, a set-up
//! that ends before the tests begin.
//!
//! Looks only into files that run tests or are them; the same words elsewhere are ordinary code.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::{
    rules::is_test_or_doc,
    shapes::regex,
    source::{self, Family, Line, language_of},
    tested::{Convention, convention},
    weaker::{Weaker, Weight},
};
use crate::{
    diff::{ChangeKind, FileChange},
    ids::RepoPath,
};

/// What one change loosens.
pub(super) fn of(change: &FileChange) -> Vec<Weaker> {
    let mut found = Vec::new();
    if change.added_lines.is_empty() {
        return found;
    }
    let exits = exits(&change.path);
    let (runs, judges) = (runs_tests(&change.path), judges(&change.path));
    let tagged =
        change.path.to_string().ends_with("_test.go") && change.kind == ChangeKind::Modified;
    if exits.is_none() && !runs && !judges && !tagged {
        return found;
    }
    let text = change.new_text.as_deref().unwrap_or_default();
    let source = source::read(language_of(&change.path), text);
    let (bare, code_lines): (Vec<&str>, Vec<&str>) =
        (source.bare.lines().collect(), source.code.lines().collect());
    let mut say = |number: u32, message: &str| {
        let place = format!("{}:{number}", change.path);
        found.push(Weaker { weight: Weight::Grave, place, message: message.to_owned() });
    };
    for (number, line) in &change.added_lines {
        let at = number.saturating_sub(1) as usize;
        if tagged && is_tag(line) && !change.removed_lines.iter().any(|(_, line)| is_tag(line)) {
            say(*number, "a build tag leaves the file's tests out");
        }
        if source.lines.get(at) == Some(&Line::Comment) {
            continue;
        }
        // A test of an exit says so on the line before.
        let expected = at.checked_sub(1).and_then(|at| code_lines.get(at));
        let expected =
            expected.is_some_and(|line| line.contains("raises") || line.contains("assert"));
        let (bare, code) = (bare.get(at).unwrap_or(&""), code_lines.get(at).unwrap_or(&""));
        if exits.as_ref().is_some_and(|exit| exit.is_match(bare))
            && !expected
            && !after_main(&code_lines, at)
        {
            say(*number, "it ends the run with success, whatever the tests would say");
        }
        if (runs || judges) && loosens(code, &change.removed_lines, runs) {
            say(*number, "it lets a failing step pass, or leaves tests out of the run");
        }
    }
    found
}

/// True for a line of what a Python file does as a program, where it runs its tests before.
fn after_main(code: &[&str], at: usize) -> bool {
    static MAIN: LazyLock<Regex> =
        LazyLock::new(|| regex(r#"^if\s+__name__\s*==\s*["']__main__["']\s*:"#));
    let deeper = |line: &str| line.trim().is_empty() || line.starts_with([' ', '\t']);
    let before = code.get(..at).unwrap_or_default();
    let head = before.iter().rposition(|line| !deeper(line));
    head.is_some_and(|head| {
        MAIN.is_match(before[head]) && before[head..].iter().any(|line| line.contains("main("))
    })
}

fn is_tag(line: &str) -> bool {
    line.starts_with("//go:build") || line.starts_with("// +build")
}

/// How a file of tests, or of their set-up, would end the whole run; `None` for other files.
fn exits(path: &RepoPath) -> Option<&'static Regex> {
    static PYTHON: LazyLock<Regex> = LazyLock::new(|| {
        regex(r"(?:^|[^\w.])(?:sys\.exit|os\._exit|exit|quit)\s*\(\s*(?:0|None)?\s*\)")
    });
    static SCRIPT: LazyLock<Regex> = LazyLock::new(|| regex(r"\bprocess\.exit\s*\(\s*0?\s*\)"));
    static RUST: LazyLock<Regex> = LazyLock::new(|| regex(r"\bprocess::exit\s*\(\s*0\s*\)"));
    static GO: LazyLock<Regex> = LazyLock::new(|| regex(r"\bos\.Exit\s*\(\s*0\s*\)"));
    static JVM: LazyLock<Regex> =
        LazyLock::new(|| regex(r"\b(?:System\.exit|exitProcess)\s*\(\s*0\s*\)"));
    static RUBY: LazyLock<Regex> =
        LazyLock::new(|| regex(r"^\s*exit!?(?:\s*\(?\s*(?:0|true)\s*\)?)?\s*$"));
    let text = path.to_string().to_ascii_lowercase();
    let file = text.rsplit('/').next().unwrap_or(&text);
    let family = language_of(path)?.family;
    // Programs that tests start are no tests.
    if ["fixture", "testdata", "mock", "stub", "fake"].iter().any(|word| text.contains(word)) {
        return None;
    }
    let set_up =
        ["conftest.py", "sitecustomize.py", "usercustomize.py", "spec_helper.rb", "test_helper.rb"]
            .contains(&file)
            || ["setuptests.", "jest.", "vitest.", "karma.", "playwright."]
                .iter()
                .any(|s| file.starts_with(s));
    let tests = is_test_or_doc(path)
        || (family != Family::Rust && convention(path, family) == Convention::Strict);
    match family {
        _ if !set_up && !tests => None,
        Family::Python => Some(&PYTHON),
        Family::Script => Some(&SCRIPT),
        Family::Rust => Some(&RUST),
        Family::Go => Some(&GO),
        Family::Jvm => Some(&JVM),
        Family::Ruby => Some(&RUBY),
        Family::C
        | Family::CSharp
        | Family::Shell
        | Family::Php
        | Family::Swift
        | Family::Plain => None,
    }
}

/// True for files that say how tests are run.
fn runs_tests(path: &RepoPath) -> bool {
    const NAMES: [&str; 24] = [
        "makefile",
        "gnumakefile",
        "justfile",
        "tox.ini",
        "noxfile.py",
        "pytest.ini",
        "setup.cfg",
        "pyproject.toml",
        "package.json",
        "cargo.toml",
        "nextest.toml",
        "pom.xml",
        "build.gradle",
        "build.gradle.kts",
        "phpunit.xml",
        "phpunit.xml.dist",
        ".rspec",
        "rakefile",
        ".gitlab-ci.yml",
        "azure-pipelines.yml",
        ".travis.yml",
        "taskfile.yml",
        "lefthook.yml",
        "jenkinsfile",
    ];
    let text = path.to_string().to_ascii_lowercase();
    let file = text.rsplit('/').next().unwrap_or(&text);
    let starts = [
        "jest.config",
        "vitest.config",
        "vite.config",
        ".mocharc",
        "karma.conf",
        "playwright.config",
    ];
    NAMES.contains(&file)
        || starts.iter().any(|start| file.starts_with(start))
        || text.starts_with(".github/")
        || text.starts_with(".circleci/")
        || text.starts_with(".cargo/")
}

/// True for a script whose name says that it judges the code. What the gate's steps name is protected anyway: this is
/// about what those call.
fn judges(path: &RepoPath) -> bool {
    // Whole words: a `latest.sh` tests nothing.
    const WORDS: [&str; 10] =
        ["test", "tests", "check", "checks", "lint", "ci", "gate", "verify", "quality", "validate"];
    let text = path.to_string().to_ascii_lowercase();
    let file = text.rsplit('/').next().unwrap_or(&text);
    let (stem, extension) = file.rsplit_once('.').unwrap_or((file, ""));
    ["sh", "bash", "zsh", "fish", "ps1", ""].contains(&extension)
        && stem.split(['-', '_', '.']).any(|word| WORDS.contains(&word))
        && !text.contains("fixture")
}

/// True when a line without its comment lets something pass, and no removed line did the same. `any`: in a file that is
/// about nothing but tests and builds, a step counts by any of their words; elsewhere it must be a known program's.
fn loosens(code: &str, removed: &[(u32, String)], any: bool) -> bool {
    static LOOSE: LazyLock<RegexSet> = LazyLock::new(|| {
        RegexSet::new([
            r"(?i)\bcontinue-on-error\s*:\s*true",
            r"(?i)\ballow_failure\s*:\s*true",
            r"^\s*set \+e\b",
            r"(?i)pass-?with-?no-?tests",
            r#"\s-[km]\s*=?\s*["']?not\s"#,
            r"--deselect\b|--exit-zero\b|--collect-only\b|\s--no-run\b",
            r"--ignore(?:-glob)?[= ]\S*tests?\b",
            r"(?i)testPathIgnorePatterns|testIgnore\b",
            r"^\s*(?:autotests|test|doctest)\s*=\s*false",
            r"(?i)skipTests|maven\.test\.skip|testFailureIgnore|ignoreFailures\s*=\s*true",
            r#""(?:test|tests|lint|check|typecheck)(?::\w+)?"\s*:\s*"(?:true|exit 0|:|echo\b[^&|;"]*|)""#,
            r"^\s*if\s*:\s*false\b",
            r"\bcargo\b.*\btest\b.*--skip\b",
        ])
        .unwrap_or_else(|_| RegexSet::empty())
    });
    static MASKED: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"(?i)\b(?:pytest|py\.test|unittest|tox|nox|jest|vitest|mocha|ava|karma|playwright|cypress|cargo|npm|npx",
            r"|yarn|pnpm|bun|deno|go (?:test|vet)|mvn|gradlew?|dotnet|rspec|phpunit|ctest|bats|eslint|ruff|mypy|flake8",
            r"|tsc|clippy|make|check|lint|test)\b.*(?:\|\||;)\s*(?:true|:|exit 0|echo\b.*)\s*['\x22,]*\s*$"
        ))
    });
    static RUNNER: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"(?i)\b(?:pytest|py\.test|unittest|tox|nox|jest|vitest|mocha|ava|karma|playwright|cypress|go (?:test|vet)",
            r"|rspec|phpunit|ctest|bats|eslint|ruff|mypy|flake8|tsc|clippy)\b",
            r"|\b(?:cargo|npm|npx|yarn|pnpm|bun|deno|mvn|gradlew?|dotnet|make)\b[^|;&]*",
            r"\b(?:test|check|lint|verify|typecheck|nextest)"
        ))
    });
    static HARMLESS: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"\b(?:install|kill|pkill|rm|mkdir|grep|which|command -v|down|cache|fetch|exit 1|test -\w)\b",
        )
    });
    let masked = |line: &str| {
        MASKED.is_match(line) && (any || RUNNER.is_match(line)) && !HARMLESS.is_match(line)
    };
    let loose = |line: &str| LOOSE.is_match(line) || masked(line);
    loose(code) && !removed.iter().any(|(_, line)| loose(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of what is said of a file of these lines, all of them new but for those that went.
    fn said(path: &str, kind: ChangeKind, lines: &[&str], removed: &[&str]) -> Vec<String> {
        let numbered = |lines: &[&str]| -> Vec<(u32, String)> {
            (1..).zip(lines.iter().map(|line| (*line).to_owned())).collect()
        };
        let found = of(&FileChange {
            path: path.into(),
            old: None,
            new: None,
            kind,
            added: 0,
            removed: 0,
            binary: false,
            added_lines: numbered(lines),
            removed_lines: numbered(removed),
            old_text: None,
            new_text: Some(lines.join("\n")),
        });
        found.into_iter().map(|weaker| weaker.place.replace(path, "").replace(':', "")).collect()
    }

    fn of_modified(path: &str, lines: &[&str]) -> Vec<String> {
        said(path, ChangeKind::Modified, lines, &[])
    }

    #[test]
    fn a_test_that_ends_the_run_with_success_is_seen() {
        for (path, line) in [
            ("tests/test_a.py", "sys.exit(0)"),
            ("tests/test_a.py", "os._exit(None)"),
            ("src/conftest.py", "exit()"),
            ("tests/a.test.js", "process.exit(0)"),
            ("jest.setup.js", "process.exit()"),
            ("tests/a.rs", "std::process::exit(0);"),
            ("a/a_test.go", "os.Exit(0)"),
            ("src/test/ATest.java", "System.exit(0);"),
            ("spec/a_spec.rb", "exit 0"),
        ] {
            assert_eq!(of_modified(path, &["x = 1", line]), ["2"], "{path}");
        }
        for (path, lines) in [
            ("src/a.py", &["sys.exit(0)"][..]),
            ("src/a.rs", &["std::process::exit(0);"]),
            ("tests/test_a.py", &["sys.exit(1)"]),
            ("tests/test_a.py", &["# sys.exit(0)"]),
            ("tests/test_a.py", &["x = \"sys.exit(0)\""]),
            ("tests/fixtures/test_a.py", &["sys.exit(0)"]),
            // Such an exit is what is tested.
            ("tests/test_a.py", &["with raises(SystemExit):", "    sys.exit(0)"]),
            // A program that ran its tests before may end.
            (
                "tests/test_a.py",
                &["if __name__ == '__main__':", "    unittest.main()", "    sys.exit(0)"],
            ),
        ] {
            assert_eq!(of_modified(path, lines), [""; 0], "{path}: {lines:?}");
        }
        let others = [
            &["if __name__ == '__main__':", "    sys.exit(0)"][..],
            &["if name == '__main__':", "    main()", "    sys.exit(0)"],
            &["if __name__ == '__main__':", "    main()", "x = 1", "sys.exit(0)"],
        ];
        for lines in others {
            assert_eq!(
                of_modified("tests/test_a.py", lines),
                [lines.len().to_string()],
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_build_tag_that_was_not_there_leaves_tests_out() {
        let tag = ["//go:build never", "package a"];
        assert_eq!(of_modified("a_test.go", &tag), ["1"]);
        assert_eq!(of_modified("a_test.go", &["// +build never"]), ["1"]);
        assert_eq!(of_modified("a.go", &tag), [""; 0]);
        assert_eq!(said("a_test.go", ChangeKind::Added, &tag, &[]), [""; 0]);
        let other = said("a_test.go", ChangeKind::Modified, &tag, &["//go:build linux"]);
        assert_eq!(other, [""; 0]);
    }

    #[test]
    fn a_step_that_may_fail_is_seen_where_steps_are_kept() {
        for (path, line) in [
            (".github/workflows/ci.yml", "continue-on-error: true"),
            ("scripts/check.sh", "pytest || true"),
            ("scripts/check", "cargo test || true"),
            ("ci/run-tests.sh", "set +e"),
            ("Makefile", "\tpytest -k 'not slow'"),
        ] {
            assert_eq!(of_modified(path, &["a", line]), ["2"], "{path}");
            // It was as loose before.
            assert_eq!(said(path, ChangeKind::Modified, &["a", line], &[line]), [""; 0], "{path}");
        }
        for (path, line) in [
            ("src/a.sh", "pytest || true"),
            ("scripts/latest.sh", "pytest || true"),
            ("tests/fixture/check.sh", "pytest || true"),
            ("scripts/check.sh", "# pytest || true"),
            ("scripts/check.sh", "rm -r tests || true"),
            ("scripts/check.sh", "pytest"),
        ] {
            assert_eq!(of_modified(path, &["a", line]), [""; 0], "{path}: {line}");
        }
    }
}
