//! The policy's globs and regular expressions, compiled once, and what a path is by its name.
//!
//! Matches bytes of paths. Never reads a file, and never follows a link.

use std::sync::Arc;

use globset::{Candidate, Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use regex::Regex;

use super::{Policy, Secrets, secrets::SecretRules};
use crate::{diff::Diff, ids::RepoPath};

/// A policy whose patterns are compiled.
#[derive(Clone, Debug)]
pub struct RuleSet {
    pub(super) policy: Policy,
    allow: Vec<GlobSet>,
    pub(super) deny: GlobSet,
    pub(super) protected: GlobSet,
    /// Each with whether it is built in: those are about what runs, and not about documents.
    pub(super) added_lines: Vec<(Regex, bool)>,
    pub(super) secrets: Arc<SecretRules>,
}

/// A pattern that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: `{pattern}` is not a valid pattern: {why}")]
pub struct RuleSetError {
    /// The key of the configuration, such as `policy.paths.deny`.
    pub key: &'static str,
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub why: String,
}

impl RuleSet {
    /// Compiles all patterns. Denied and protected paths match in any case, because some file systems
    /// do not tell `.GITHUB` from `.github`; allowed paths match exactly.
    pub fn new(policy: &Policy) -> Result<RuleSet, RuleSetError> {
        let built_in = Policy::default().added_lines;
        let added_lines = policy
            .added_lines
            .iter()
            .map(|pattern| {
                let regex = Regex::new(pattern);
                regex.map(|regex| (regex, built_in.contains(pattern))).map_err(|error| {
                    RuleSetError {
                        key: "policy.added_lines",
                        pattern: pattern.clone(),
                        why: regex_words(&error),
                    }
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(RuleSet {
            policy: policy.clone(),
            allow: policy
                .allow_lists()
                .map(|list| globs("policy.paths.allow", list, Case::Exact))
                .collect::<Result<_, _>>()?,
            deny: globs("policy.paths.deny", &policy.deny, Case::Any)?,
            protected: globs("policy.protected", &policy.protected, Case::Any)?,
            added_lines,
            secrets: SecretRules::own(),
        })
    }

    /// The same, with the rules of the base's `.gitleaks.toml`. What of them cannot be held is a finding of every
    /// inspection, and in [`RuleSet::secret_problems`].
    pub fn with_secret_rules(self, text: &str) -> RuleSet {
        RuleSet { secrets: Arc::new(SecretRules::with(text)), ..self }
    }

    /// What of the base's rules for secrets cannot be held, in words.
    pub fn secret_problems(&self) -> &[String] {
        &self.secrets.problems
    }

    /// True when a diff adds a secret and the policy keeps such a diff in the vault.
    pub fn keeps_back(&self, diff: &Diff) -> bool {
        self.policy.secrets == Secrets::Block && !self.secrets.scan(diff).is_empty()
    }

    /// A text without the values of secrets, for showing a diff that was refused for one.
    pub fn mask_secrets(&self, text: &str) -> String {
        self.secrets.mask(text)
    }

    /// True when a glob of each list of allowed paths matches.
    pub fn allows(&self, path: &RepoPath) -> bool {
        self.allow.iter().all(|list| matches(list, path))
    }

    /// True when a glob of the denied paths matches.
    pub fn denies(&self, path: &RepoPath) -> bool {
        matches(&self.deny, path)
    }

    /// True when a file must stay as the base has it.
    pub fn protects(&self, path: &RepoPath) -> bool {
        matches(&self.protected, path)
    }

    /// The policy that was compiled.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}

/// Whether letters of different case are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// They differ.
    Exact,
    /// They are the same.
    Any,
}

/// Compiles globs as one set. `*` and `?` stop at `/`, so `src/*` is not `src/a/b`.
pub(super) fn globs(
    key: &'static str,
    patterns: &[String],
    case: Case,
) -> Result<GlobSet, RuleSetError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let wrong = |why| RuleSetError { key, pattern: pattern.clone(), why };
        set.add(compile(pattern, case).map_err(wrong)?);
    }
    set.build().map_err(|error| RuleSetError {
        key,
        pattern: patterns.join(" "),
        why: error.kind().to_string(),
    })
}

fn compile(pattern: &str, case: Case) -> Result<Glob, String> {
    if pattern.is_empty() {
        return Err("it is empty".to_owned());
    }
    // Paths of a repository never begin so: the glob would silently match nothing.
    if pattern.starts_with('/')
        || pattern.starts_with("./")
        || pattern.split('/').any(|c| c == "..")
    {
        return Err("paths are relative to the repository's root, without `/`, `./` or `..`".into());
    }
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .case_insensitive(case == Case::Any)
        .build()
        .map_err(|error| error.kind().to_string())
}

/// What is wrong with a glob, if anything.
pub fn check_glob(pattern: &str) -> Result<(), String> {
    compile(pattern, Case::Exact).map(drop)
}

/// What is wrong with a regular expression, if anything.
pub fn check_regex(pattern: &str) -> Result<(), String> {
    Regex::new(pattern).map(drop).map_err(|error| regex_words(&error))
}

/// The last line of the crate's message, which draws over several lines.
fn regex_words(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).trim().to_owned()
}

pub(super) fn matches(set: &GlobSet, path: &RepoPath) -> bool {
    set.is_match_candidate(&Candidate::from_bytes(path.as_bytes()))
}

/// Directories that hold tests by convention, wherever they stand.
pub(super) const TEST_DIRECTORIES: [&str; 6] =
    ["test", "tests", "__tests__", "testdata", "e2e", "testing"];
/// Directories at the root that hold tests or documents by convention.
const ROOT_DIRECTORIES: [&str; 3] = ["doc", "docs", "spec"];
/// Kinds of file that are read by people. Not `.txt`: `requirements.txt` and `CMakeLists.txt` are built.
const DOCUMENTS: [&str; 6] = ["md", "markdown", "rst", "adoc", "asciidoc", "mdx"];

/// Names of documents without an ending.
const PLAIN_DOCUMENTS: [&str; 5] = ["README", "CHANGELOG", "LICENSE", "CONTRIBUTING", "AUTHORS"];

/// True for tests and for what they stand on: helpers, fixtures, expected data. Not for documents.
pub(super) fn is_test_place(path: &RepoPath) -> bool {
    let text = path.to_string();
    let (directories, file) = text.rsplit_once('/').unwrap_or(("", &text));
    let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension);
    let in_docs = directories.split('/').next().is_some_and(|root| root == "docs" || root == "doc");
    is_test_or_doc(path) && !in_docs && !extension.is_empty() && !DOCUMENTS.contains(&extension)
}

/// True for what people read; it takes no part in what is tested, and nothing in it runs.
pub fn is_document(path: &RepoPath) -> bool {
    let text = path.to_string();
    let file = text.rsplit('/').next().unwrap_or(&text);
    let extension = file.rsplit_once('.').map(|(_, extension)| extension);
    extension.map_or(PLAIN_DOCUMENTS.contains(&file), |end| DOCUMENTS.contains(&end))
}

/// True when a path is a test or a document by the conventions of common languages.
pub fn is_test_or_doc(path: &RepoPath) -> bool {
    let text = path.to_string();
    let (directories, file) = text.rsplit_once('/').unwrap_or(("", &text));
    let mut directories = directories.split('/');
    let root = directories.clone().next().unwrap_or_default();
    if ROOT_DIRECTORIES.contains(&root) || directories.any(|d| TEST_DIRECTORIES.contains(&d)) {
        return true;
    }
    let (stem, extension) = file.rsplit_once('.').unwrap_or((file, ""));
    if DOCUMENTS.contains(&extension) {
        return true;
    }
    if extension.is_empty() {
        return PLAIN_DOCUMENTS.contains(&stem);
    }
    // `login.test.ts`, `login.spec.ts`
    let inner = stem.rsplit_once('.').map(|(_, inner)| inner);
    stem.starts_with("test_")
        || file == "conftest.py"
        || stem.ends_with("_test")
        || stem.ends_with("_tests")
        || stem.ends_with("_spec")
        || inner == Some("test")
        || inner == Some("spec")
        || (["java", "kt", "cs", "swift", "scala", "php"].contains(&extension)
            && (stem.ends_with("Test") || stem.ends_with("Tests")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(patterns: &[&str]) -> GlobSet {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        globs("policy.paths.allow", &patterns, Case::Exact).unwrap()
    }

    #[test]
    fn a_glob_means_whole_components() {
        let src = set(&["src/**"]);
        assert!(matches(&src, &"src/a/b.rs".into()));
        for outside in ["src2/a.rs", "src", "lib/src/a.rs", "SRC/a.rs"] {
            assert!(!matches(&src, &outside.into()), "{outside}");
        }
        assert!(!matches(&set(&["src/*"]), &"src/a/b.rs".into()));
    }

    #[test]
    fn a_glob_for_any_depth_matches_at_the_root() {
        let lock = set(&["**/*.lock"]);
        assert!(matches(&lock, &"Cargo.lock".into()));
        assert!(matches(&lock, &"a/b/yarn.lock".into()));
    }

    #[test]
    fn a_path_that_is_not_text_is_matched_by_its_bytes() {
        assert!(matches(&set(&["src/**"]), &RepoPath::new(&b"src/caf\xe9.rs"[..])));
        assert!(!matches(&set(&["src/**"]), &RepoPath::new(&b"caf\xe9/src/a"[..])));
    }

    #[test]
    fn a_bad_pattern_is_named_with_its_key() {
        let mut policy = Policy { deny: vec!["a[".into()], ..Policy::default() };
        let error = RuleSet::new(&policy).unwrap_err();
        assert_eq!((error.key, error.pattern.as_str()), ("policy.paths.deny", "a["));
        policy = Policy { added_lines: vec!["(".into()], ..Policy::default() };
        let error = RuleSet::new(&policy).unwrap_err();
        assert_eq!(error.key, "policy.added_lines");
        assert!(error.to_string().contains("unclosed group"), "{error}");
    }

    #[test]
    fn a_glob_that_could_never_match_is_refused() {
        for pattern in ["/src/**", "./src/**", "../x", ""] {
            assert!(check_glob(pattern).is_err(), "{pattern}");
        }
        assert_eq!(check_glob("src/**"), Ok(()));
    }

    #[test]
    fn the_default_policy_compiles() {
        assert!(RuleSet::new(&Policy::default()).is_ok());
    }

    #[test]
    fn tests_and_documents_are_known_by_their_names() {
        for path in [
            "tests/it/main.rs",
            "src/ui/__tests__/a.tsx",
            "pkg/server_test.go",
            "src/a.spec.ts",
            "test_login.py",
            "docs/conf.py",
            "README",
            "guide/setup.md",
            "app/LoginTest.java",
        ] {
            assert!(is_test_or_doc(&path.into()), "{path}");
        }
        for path in [
            "src/contest.rs",
            "src/docs/handler.rs",
            "requirements.txt",
            "src/spec/parser.rs",
            "src/latest.rs",
            "attest/a.rs",
        ] {
            assert!(!is_test_or_doc(&path.into()), "{path}");
        }
    }

    #[test]
    fn a_diff_with_a_secret_stays_in_the_vault_unless_secrets_are_only_shown() {
        // In two parts, so that this file itself holds no token.
        let line = ["let t = \"ghp_", "kX3vQ9mZ7wL2tR5yB8nC1dF6gH4jK0pS9aVe\";"].concat();
        let diff = |line: &str| {
            let change = crate::diff::FileChange {
                path: "src/a.rs".into(),
                kind: crate::diff::ChangeKind::Modified,
                old: None,
                new: None,
                added: 1,
                removed: 0,
                binary: false,
                added_lines: vec![(1, line.to_owned())],
                removed_lines: Vec::new(),
                old_text: None,
                new_text: Some(line.to_owned()),
            };
            Diff { changes: vec![change], truncated: false }
        };
        let keeps = |secrets, line: &str| {
            let policy = Policy { secrets, ..Policy::default() };
            RuleSet::new(&policy).unwrap().keeps_back(&diff(line))
        };
        assert!(keeps(Secrets::Block, &line));
        assert!(!keeps(Secrets::Block, "let t = 1;"));
        assert!(!keeps(Secrets::Report, &line));
    }

    #[test]
    fn places_of_tests_are_told_from_documents_and_code() {
        for (path, tests, support, document) in [
            ("tests/a.rs", true, true, false),
            ("tests/data/a.json", true, true, false),
            ("tests/README.md", true, false, true),
            ("tests/README", true, false, true),
            ("tests/Makefile", true, false, false),
            ("docs/a.png", true, false, false),
            ("docs/test_a.py", true, false, false),
            ("spec/a.rb", true, true, false),
            ("src/spec/a.rb", false, false, false),
            ("src/testing/a.go", true, true, false),
            ("src/a_test.go", true, true, false),
            ("src/login.spec.ts", true, true, false),
            ("src/ATest.java", true, true, false),
            ("src/ATests.kt", true, true, false),
            ("src/ATest.rs", false, false, false),
            ("src/conftest.py", true, true, false),
            ("src/a.rs", false, false, false),
            ("src/a.adoc", true, false, true),
            ("requirements.txt", false, false, false),
            ("LICENSE", true, false, true),
            ("Dockerfile", false, false, false),
        ] {
            let path = RepoPath::from(path);
            let found = (is_test_or_doc(&path), is_test_place(&path), is_document(&path));
            assert_eq!(found, (tests, support, document), "{path}");
        }
    }

    #[test]
    fn each_way_to_name_a_test_is_known() {
        for path in [
            "src/a_tests.rs",
            "src/a_spec.rb",
            "src/a_test.go",
            "src/test_a.py",
            "src/conftest.py",
            "src/a.test.js",
            "src/a.spec.js",
            "src/ATests.kt",
            "src/ATest.scala",
            "CONTRIBUTING",
        ] {
            assert!(is_test_or_doc(&path.into()), "{path}");
        }
        for path in [
            "src/a.tests.js",
            "src/testa.py",
            "src/a_testing.go",
            "src/aspec.rb",
            "src/ATests.js",
            "src/ATested.java",
            "src/Test/a.js",
            "Makefile",
        ] {
            assert!(!is_test_or_doc(&path.into()), "{path}");
        }
    }

    #[test]
    fn what_of_the_bases_rules_cannot_be_held_is_told() {
        let rules = || RuleSet::new(&Policy::default()).unwrap();
        assert!(rules().secret_problems().is_empty());
        let bad = rules().with_secret_rules("[[rules]]\nid = 'x'\nregex = '''('''\n");
        assert_eq!(bad.secret_problems().len(), 1);
        assert!(bad.secret_problems()[0].contains("`x`"), "{:?}", bad.secret_problems());
    }
}
