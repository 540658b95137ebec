//! The check of the real diff after the run, whatever the plan or the agent said about it.
//!
//! Every rule is applied to every change and all violations are returned. Contents are seen only as
//! added lines; nothing is opened and no link is followed.

use std::sync::LazyLock;

use globset::GlobSet;
use regex::RegexSet;
use serde::{Deserialize, Serialize};

use super::{
    AdmittedTask, Deletion, Does, Origin, Refusal, Risk, RuleSet, Severity, Verdict,
    manifest::{self, Manifest},
    risk,
    rules::{Case, globs, is_test_or_doc, matches},
    words,
};
use crate::{
    diff::{ChangeKind, Diff, FileChange, FileMode},
    ids::RepoPath,
};

/// What the check of a real diff found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Everything that a rule said; what only reports stops nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Refusal>,
    /// How much harm the diff could do.
    #[serde(default)]
    pub risk: Risk,
    /// Files with tests that changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<TestDelta>,
}

/// What became of the tests of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestDelta {
    /// The file; after a rename its new name.
    pub path: RepoPath,
    /// Test functions before and after.
    pub tests: (u32, u32),
    /// Assertions before and after.
    pub assertions: (u32, u32),
    /// Tests that are left out of the run, before and after.
    pub skipped: (u32, u32),
    /// True when the file holds nothing but tests: on another tree it can stand without the code beside it.
    pub separable: bool,
}

impl Inspection {
    /// True when a rule refuses: such a diff never lands.
    pub fn refused(&self) -> bool {
        self.findings.iter().any(|finding| finding.verdict == Verdict::Refuse)
    }

    /// What says more than a report.
    pub fn objections(&self) -> impl Iterator<Item = &Refusal> {
        self.findings.iter().filter(|finding| finding.verdict != Verdict::Report)
    }
}

/// Judges what an attempt changed. What a person's approval of the task freed comes back as `report`, so that
/// it is still seen.
///
/// `filtered` are the changed paths to which the base's attributes give a `filter`: what git would store
/// for them is not what the agent wrote.
pub fn inspect(
    rules: &RuleSet,
    task: &AdmittedTask,
    diff: &Diff,
    filtered: &[RepoPath],
) -> Inspection {
    // Globs that cannot be compiled (a damaged journal) allow nothing.
    let narrowed = (!task.files().is_empty())
        .then(|| globs("", task.files(), Case::Exact).unwrap_or_else(|_| GlobSet::empty()));
    let mut inspector = Inspector { rules, task, narrowed, refusals: Vec::new() };
    for change in &diff.changes {
        for path in change.paths() {
            inspector.path(path);
            if filtered.contains(path) {
                let message =
                    "its attributes name a filter, so its stored form cannot be made here";
                inspector.no(FILTER, path.to_string(), "no filtered file", message);
            }
        }
        inspector.deletion(change);
        inspector.mode(change);
        inspector.link(change);
        inspector.size(change);
        inspector.added_lines(change);
        inspector.runs_code(change);
        inspector.skipped_tests(change);
        inspector.subject(change);
    }
    if diff.truncated {
        let message = "it adds more than the rules for added lines can read";
        inspector.no(SIZE, "more than 4 MiB of added lines".to_owned(), "4 MiB", message);
    }
    inspector.lines(diff);
    inspector.manifests(diff);
    let tests = Vec::new();
    let risk = risk::of_diff(diff, &tests);
    inspector.risk(&risk);
    Inspection { findings: inspector.refusals, risk, tests }
}

/// Id, verdict, severity and the key that sets the limit (empty: built in).
struct Rule(&'static str, Verdict, Severity, &'static str);

const NAME: Rule = Rule("inspection.name", Verdict::Refuse, Severity::Critical, "");
const PROTECTED: Rule =
    Rule("inspection.protected", Verdict::Refuse, Severity::Critical, "policy.protected");
const DENIED: Rule =
    Rule("inspection.denied", Verdict::Refuse, Severity::High, "policy.paths.deny");
const PATHS: Rule = Rule("inspection.paths", Verdict::Refuse, Severity::High, "policy.paths.allow");
const SCOPE: Rule = Rule("inspection.scope", Verdict::Refuse, Severity::Medium, "policy.missing");
const FILTER: Rule = Rule("inspection.filter", Verdict::Refuse, Severity::High, "");
const DELETION: Rule =
    Rule("inspection.deletion", Verdict::Refuse, Severity::High, "policy.paths.delete");
const MODE: Rule = Rule("inspection.mode", Verdict::Ask, Severity::Medium, "");
const LINK: Rule = Rule("inspection.link", Verdict::Refuse, Severity::Critical, "");
const SUBMODULE: Rule = Rule("inspection.submodule", Verdict::Refuse, Severity::Critical, "");
const SIZE: Rule =
    Rule("inspection.size", Verdict::Refuse, Severity::Medium, "policy.max_file_bytes");
const BINARY: Rule = Rule("inspection.binary", Verdict::Report, Severity::Medium, "");
const LINES: Rule =
    Rule("inspection.lines", Verdict::Ask, Severity::Medium, "policy.max_changed_lines");
const ADDED_LINES: Rule =
    Rule("inspection.added-lines", Verdict::Refuse, Severity::Critical, "policy.added_lines");
const INVISIBLE: Rule = Rule("inspection.invisible", Verdict::Ask, Severity::High, "");
const MANIFEST: Rule =
    Rule("inspection.manifest", Verdict::Ask, Severity::High, "policy.dependencies");
const RUNS_CODE: Rule = Rule("inspection.runs-code", Verdict::Report, Severity::High, "");
const SKIPPED_TESTS: Rule = Rule("inspection.skipped-tests", Verdict::Report, Severity::High, "");
const ASK_FIRST: Rule =
    Rule("inspection.ask-first", Verdict::Report, Severity::High, "policy.ask_first");

/// Places of one kind that are named in one refusal; more are counted.
const PLACES: usize = 5;

struct Inspector<'a> {
    rules: &'a RuleSet,
    task: &'a AdmittedTask,
    narrowed: Option<GlobSet>,
    refusals: Vec<Refusal>,
}

impl Inspector<'_> {
    fn no(
        &mut self,
        rule: Rule,
        value: String,
        limit: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.no_with_help(rule, value, limit, message, "");
    }

    fn no_with_help(
        &mut self,
        Rule(id, verdict, severity, key): Rule,
        value: String,
        limit: impl Into<String>,
        message: impl Into<String>,
        help: &str,
    ) {
        let freed = verdict == Verdict::Ask && self.task.approved();
        let origin = if key.is_empty() { Origin::Default } else { self.rules.policy.origin(key) };
        self.refusals.push(Refusal {
            rule: id.to_owned(),
            verdict: if freed { Verdict::Report } else { verdict },
            severity,
            message: message.into(),
            value,
            limit: limit.into(),
            origin,
            help: (!help.is_empty()).then(|| help.to_owned()),
        });
    }

    /// Where a change may be. The first rule that says no speaks: a protected path is not also denied.
    fn path(&mut self, path: &RepoPath) {
        let value = path.to_string();
        if path.components().any(|component| is_git_name(component) || component == b"..") {
            let message = format!("`{value}` would be read as git's own directory on some systems");
            self.no(NAME, value, "no component such as `.git` or `..`", message);
        } else if matches(&self.rules.protected, path) {
            let message = format!("`{value}` is protected and must stay as the base has it");
            let help = "put the file back; what judges the work is changed by people only";
            self.no_with_help(PROTECTED, value, "identical to the base", message, help);
        } else if matches(&self.rules.deny, path) {
            let message = format!("`{value}` is denied");
            self.no_with_help(DENIED, value, "not denied", message, "put the file back");
        } else if !matches(&self.rules.allow, path) {
            let limit = self.rules.policy.allow.join(", ");
            let message = format!("`{value}` is outside the allowed paths");
            self.no_with_help(PATHS, value, limit, message, "put the file back");
        } else if self.narrowed.as_ref().is_some_and(|narrowed| !matches(narrowed, path)) {
            let limit = self.task.files().join(", ");
            let message = format!("`{value}` is outside the files that the task names");
            self.no_with_help(
                PATHS,
                value,
                limit,
                message,
                "put the file back, or name it in `Files`",
            );
        } else if self.task.only_tests_or_docs() && !is_test_or_doc(path) {
            let message = format!(
                "`{value}` is neither test nor document, and the task was admitted as writing only those"
            );
            let help = "give the task a score, an estimate and tests, or put the file back";
            self.no_with_help(SCOPE, value, "tests and documents", message, help);
        }
    }

    /// A rename is a move, not a deletion: both of its paths were judged by [`Inspector::path`].
    fn deletion(&mut self, change: &FileChange) {
        let value = change.path.to_string();
        let emptied = change.kind == ChangeKind::Modified
            && change.old.as_ref().is_some_and(|side| side.bytes > 0)
            && change
                .new
                .as_ref()
                .is_some_and(|side| side.bytes == 0 && side.mode != FileMode::Gitlink);
        let message = if change.kind == ChangeKind::Deleted {
            format!("`{value}` was deleted")
        } else if emptied {
            format!("`{value}` was emptied, which is deleting by another name")
        } else {
            return;
        };
        let verdict = match self.rules.policy.delete {
            Deletion::Allow => return,
            Deletion::Never => Verdict::Refuse,
            Deletion::Ask => Verdict::Ask,
        };
        let rule = Rule(DELETION.0, verdict, DELETION.2, DELETION.3);
        self.no_with_help(rule, value, "no file is deleted", message, "put the file back");
    }

    /// A changed permission asks and is not refused: a script may need it, and no line of a review shows it.
    fn mode(&mut self, change: &FileChange) {
        let executable = |mode| mode == FileMode::Executable;
        let Some(new) = &change.new else { return };
        let was = change.old.as_ref().is_some_and(|side| executable(side.mode));
        let is = executable(new.mode);
        let file = matches!(new.mode, FileMode::Regular | FileMode::Executable);
        if file && was != is {
            let value = change.path.to_string();
            let message = if is {
                format!("`{value}` became executable")
            } else {
                format!("`{value}` is no longer executable")
            };
            self.no(MODE, value, "permissions stay", message);
        }
    }

    fn link(&mut self, change: &FileChange) {
        let value = change.path.to_string();
        let sides = [change.old.as_ref(), change.new.as_ref()];
        if sides.iter().flatten().any(|side| side.mode == FileMode::Gitlink) {
            let message = format!("`{value}` is a submodule");
            self.no(SUBMODULE, value, "no submodule is added, moved or removed", message);
            return;
        }
        let Some(new) = change.new.as_ref().filter(|side| side.mode == FileMode::Symlink) else {
            return;
        };
        let limit = "links stay inside the repository, on paths that may be changed";
        let target = new.link_target.as_deref().unwrap_or_default();
        let Some(path) = resolve(&change.path, target) else {
            let message = format!("the link `{value}` leaves the repository: `{target}`");
            self.no(LINK, value, limit, message);
            return;
        };
        let below = path.join(b"x");
        let closed = [&path, &below].into_iter().any(|path| {
            path.components().any(is_git_name)
                || matches(&self.rules.protected, path)
                || matches(&self.rules.deny, path)
        });
        if closed {
            let message =
                format!("the link `{value}` leads to a path that may not change: `{target}`");
            self.no(LINK, value, limit, message);
        }
    }

    fn size(&mut self, change: &FileChange) {
        let most = self.rules.policy.max_file_bytes;
        let value = change.path.to_string();
        if let Some(new) = change.new.as_ref().filter(|side| side.bytes > most) {
            let message = format!("`{value}` has {} bytes, and the limit is {most}", new.bytes);
            self.no(SIZE, value.clone(), format!("at most {most} bytes"), message);
        }
        if change.binary && change.new.is_some() {
            let message = format!("`{value}` is binary: its contents were not read by any rule");
            self.no(BINARY, value, "text", message);
        }
    }

    fn added_lines(&mut self, change: &FileChange) {
        for pattern in &self.rules.added_lines {
            let hits = change.added_lines.iter().filter(|(_, line)| pattern.is_match(line));
            if let Some(value) = places(&change.path, hits.map(|(number, _)| *number)) {
                let message = format!("added lines match `{pattern}`");
                self.no(ADDED_LINES, value, format!("no line like `{pattern}`"), message);
            }
        }
        let hidden = change.added_lines.iter().filter(|(number, line)| {
            // A byte order mark is invisible too, and at a file's start it is only that.
            let line = line.strip_prefix('\u{FEFF}').filter(|_| *number == 1).unwrap_or(line);
            line.chars().any(is_invisible)
        });
        if let Some(value) = places(&change.path, hidden.map(|(number, _)| *number)) {
            let message = "added lines hold characters that hide or reorder what is shown";
            self.no(INVISIBLE, value, "no invisible or direction-changing characters", message);
        }
    }

    fn lines(&mut self, diff: &Diff) {
        let most = self.rules.policy.max_changed_lines;
        let changed = diff
            .changes
            .iter()
            // A file that moved out of the tests counts: both of its names must be one.
            .filter(|change| !change.paths().all(is_test_or_doc))
            .fold(0_u32, |sum, change| {
                sum.saturating_add(change.added).saturating_add(change.removed)
            });
        if changed > most {
            let message = format!("{changed} lines changed, and the limit is {most}");
            let help = "make the change smaller; tests and documents do not count";
            self.no_with_help(LINES, changed.to_string(), format!("at most {most}"), message, help);
        }
    }

    /// A lock file follows its manifest: it passes where every changed manifest passed.
    fn manifests(&mut self, diff: &Diff) {
        let approved = &self.rules.policy.dependencies;
        let limit = if approved.is_empty() {
            "no new dependency".to_owned()
        } else {
            format!("only {}", approved.join(", "))
        };
        let files: Vec<(&FileChange, Manifest)> = diff
            .changes
            .iter()
            .filter_map(|change| Some((change, change.paths().find_map(manifest::kind)?)))
            .collect();
        let passes = |change: &FileChange| {
            matches!(change.kind, ChangeKind::Added | ChangeKind::Modified)
                && manifest::adds_only(change, approved)
        };
        let mut manifests = files.iter().filter(|(_, kind)| *kind == Manifest::Manifest).peekable();
        let explained = manifests.peek().is_some() && manifests.all(|(change, _)| passes(change));
        for (change, kind) in files {
            let (passed, what) = match kind {
                Manifest::Manifest => (passes(change), "manifest"),
                Manifest::Lock => (explained, "lock file"),
            };
            if !passed {
                let value = change.path.to_string();
                let message = format!("the {what} `{value}` changed by more than approved names");
                self.no(MANIFEST, value, limit.clone(), message);
            }
        }
    }

    /// A diff that could do more harm than its task was admitted for waits, or never lands.
    fn risk(&mut self, risk: &Risk) {
        let bands = &self.rules.policy.risk;
        let admitted = bands.of(self.task.risk().score).0;
        let (level, band) = bands.of(risk.score);
        let (verdict, does) = match band.does {
            Does::Run => return,
            Does::Ask if level <= admitted => return,
            Does::Ask => (Verdict::Ask, Does::Ask),
            Does::Block => (Verdict::Refuse, Does::Block),
        };
        let message =
            format!("the diff is of {level} risk, and its task was admitted as {admitted}");
        let help = "make the change smaller, or leave the dangerous part to a person";
        let rule = Rule("inspection.risk", verdict, Severity::High, level.key());
        let limit = bands.below(does);
        self.no_with_help(rule, risk.in_words(), limit, message, help);
    }

    /// Only shown: such files are the reviewer's business before anybody opens the branch in an editor.
    fn runs_code(&mut self, change: &FileChange) {
        if change.new.is_some() && runs_by_itself(&change.path) {
            let value = change.path.to_string();
            let message =
                format!("`{value}` runs code on the machine of whoever builds or opens it");
            self.no(RUNS_CODE, value, "read it before you check out", message);
        }
    }

    /// Only shown: a slow new test may well be left out by default. The gate cannot see it.
    fn skipped_tests(&mut self, change: &FileChange) {
        let hits = change.added_lines.iter().filter(|(_, line)| SKIPS.is_match(line));
        if let Some(value) = places(&change.path, hits.map(|(number, _)| *number)) {
            let message = "added lines leave tests out of the run";
            self.no(SKIPPED_TESTS, value, "every test runs", message);
        }
    }

    /// Only shown: a path's words say where a change is, not what it does.
    fn subject(&mut self, change: &FileChange) {
        if is_test_or_doc(&change.path) {
            return;
        }
        let value = change.path.to_string();
        let phrases = &self.rules.policy.ask_first;
        if let Some(phrase) = phrases.iter().find(|phrase| words::contains(&value, phrase)) {
            let message = format!("`{value}` is about \"{phrase}\": read it with care");
            let limit = format!("none of: {}", phrases.join(", "));
            self.no(ASK_FIRST, value, limit, message);
        }
    }
}

/// How common frameworks leave a test out, or run one alone.
static SKIPS: LazyLock<RegexSet> = LazyLock::new(|| {
    RegexSet::new([
        r"#\[ignore",
        r"@(unittest|pytest\.mark)\.(skip|xfail)|\bpytest\.skip\(",
        r"\b(it|test|describe|context)\.(skip|only|todo)\b",
        r#"(^|\s)(xit|xtest|xdescribe|fit|fdescribe)\(\s*['"`]"#,
        r"\bt\.Skip(Now|f)?\(",
        r"@(Disabled|Ignore)\b",
    ])
    .unwrap_or_else(|_| RegexSet::empty())
});

/// `src/a.rs:3, src/a.rs:9 and 4 more`; nothing for no lines.
fn places(path: &RepoPath, lines: impl Iterator<Item = u32>) -> Option<String> {
    let lines: Vec<u32> = lines.collect();
    let shown: Vec<String> = lines.iter().take(PLACES).map(|n| format!("{path}:{n}")).collect();
    let more = lines.len().saturating_sub(PLACES);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!lines.is_empty()).then(|| shown.join(", ") + &rest)
}

/// Where a link leads, by its text alone; `None` when it is empty, absolute, leaves the repository, or
/// climbs after it went down (`a/../b`: `a` may be a link itself, and then text does not tell).
fn resolve(link: &RepoPath, target: &str) -> Option<RepoPath> {
    if target.is_empty() || target.starts_with('/') || target.contains(['\\', '\0', ':']) {
        return None;
    }
    let mut path: Vec<&[u8]> = link.components().collect();
    path.pop();
    let mut down = false;
    for component in target.split('/') {
        match component {
            "" | "." => {}
            ".." if down => return None,
            ".." => {
                path.pop()?;
            }
            name => {
                down = true;
                path.push(name.as_bytes());
            }
        }
    }
    Some(RepoPath::new(path.join(&b'/')))
}

/// True for what some file system takes for `.git`: any case, trailing dots and blanks, the short name of
/// NTFS, its streams (`.git::$INDEX_ALLOCATION`), and HFS+'s ignored characters.
fn is_git_name(component: &[u8]) -> bool {
    let text: String =
        String::from_utf8_lossy(component).chars().filter(|c| !is_ignored_by_hfs(*c)).collect();
    let name = text.split(':').next().unwrap_or_default();
    let name = name.trim_end_matches(['.', ' ']).to_lowercase();
    name == ".git" || name == "git~1"
}

/// What a name below the root of a tree means to git, in words, when it is one that git refuses to store or
/// calls an error in its check of a repository. Kept work goes to the person's repository, so that it must not
/// hold one either.
pub fn reserved(component: &[u8], link: bool) -> Option<&'static str> {
    if component.eq_ignore_ascii_case(b".git") {
        Some("a nested git repository")
    } else if is_git_name(component) {
        Some("a name that some systems read as `.git`")
    } else if link && component.eq_ignore_ascii_case(b".gitmodules") {
        Some("a link in the place of git's list of submodules")
    } else {
        None
    }
}

/// Characters that HFS+ leaves out of names.
fn is_ignored_by_hfs(c: char) -> bool {
    matches!(c, '\u{200C}' | '\u{200D}') || is_invisible(c)
}

/// Characters that take no room or turn the direction of what follows (CVE-2021-42574), and tags. Not the
/// joiners U+200C and U+200D: scripts and emoji need them.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}'
        | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
        | '\u{E0000}'..='\u{E007F}')
}

/// Files that tools run without being asked (safety review: editors, package managers, test runners).
fn runs_by_itself(path: &RepoPath) -> bool {
    let text = path.to_string().to_lowercase();
    let file = text.rsplit('/').next().unwrap_or(&text);
    [
        "build.rs",
        "conftest.py",
        "setup.py",
        "makefile",
        "gnumakefile",
        "justfile",
        "package.json",
        "cmakelists.txt",
        "rakefile",
        "sitecustomize.py",
        "noxfile.py",
        "build.gradle",
        "build.gradle.kts",
        "package.swift",
        ".envrc",
        ".npmrc",
        ".yarnrc.yml",
        ".pnpmfile.cjs",
        "jest.config.js",
        "vite.config.ts",
        "vite.config.js",
        "babel.config.js",
    ]
    .contains(&file)
        || text.starts_with(".vscode/")
        || text.starts_with(".idea/")
        || text.starts_with(".cargo/")
        || text.starts_with(".devcontainer/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        budget::Limits,
        diff::Side,
        ids::BlobId,
        plan::Task,
        policy::{Facts, Policy, admit, tests::ready},
    };

    fn side(mode: FileMode, bytes: u64) -> Side {
        let blob = BlobId::new("1".repeat(40)).unwrap();
        Side { mode, blob, bytes, link_target: None }
    }

    fn added(path: &str, lines: &[&str]) -> FileChange {
        let numbered = lines.iter().zip(1..).map(|(line, n)| (n, (*line).to_owned()));
        FileChange {
            path: path.into(),
            kind: ChangeKind::Added,
            old: None,
            new: Some(side(FileMode::Regular, 10)),
            added: u32::try_from(lines.len()).unwrap(),
            removed: 0,
            binary: false,
            added_lines: numbered.collect(),
            removed_lines: Vec::new(),
            old_text: None,
            new_text: Some(lines.join("\n")),
        }
    }

    fn modified(path: &str, lines: &[&str]) -> FileChange {
        let old = Some(side(FileMode::Regular, 10));
        FileChange { kind: ChangeKind::Modified, old, ..added(path, lines) }
    }

    fn deleted(path: &str) -> FileChange {
        let old = Some(side(FileMode::Regular, 10));
        FileChange { kind: ChangeKind::Deleted, old, new: None, ..added(path, &[]) }
    }

    fn renamed(from: &str, to: &str) -> FileChange {
        FileChange { kind: ChangeKind::Renamed { from: from.into() }, ..modified(to, &[]) }
    }

    fn link(path: &str, target: &str) -> FileChange {
        let mut change = added(path, &[]);
        let link_target = Some(target.to_owned());
        change.new = Some(Side { link_target, ..side(FileMode::Symlink, 3) });
        change
    }

    fn everything() -> Policy {
        Policy { allow: vec!["**".into()], deny: Vec::new(), ..Policy::default() }
    }

    /// Rule ids and verdicts for one diff.
    fn judged(policy: &Policy, task: &Task, changes: Vec<FileChange>) -> Vec<(String, Verdict)> {
        said(policy, task, changes).into_iter().map(|r| (r.rule, r.verdict)).collect()
    }

    fn said(policy: &Policy, task: &Task, changes: Vec<FileChange>) -> Vec<Refusal> {
        let rules = RuleSet::new(policy).unwrap();
        let admission = admit(&rules, &Limits::default(), task, &Facts::default());
        let admitted = admission.admitted().expect("the task is admitted");
        inspect(&rules, admitted, &Diff { changes, truncated: false }, &[]).findings
    }

    fn one(rule: &str, verdict: Verdict) -> Vec<(String, Verdict)> {
        vec![(rule.to_owned(), verdict)]
    }

    fn default(changes: Vec<FileChange>) -> Vec<(String, Verdict)> {
        judged(&Policy::default(), &ready("Add a parser"), changes)
    }

    #[test]
    fn a_small_change_inside_the_allowed_paths_passes() {
        let changes = vec![modified("src/a.rs", &["let a = 1;"]), added("tests/a.rs", &["a"])];
        assert_eq!(default(changes), []);
    }

    #[test]
    fn a_path_outside_the_allowed_ones_is_refused() {
        for path in ["src2/a.rs", "a.rs", "lib/src/a.rs"] {
            let changes = vec![added(path, &["x"])];
            assert_eq!(default(changes), one("inspection.paths", Verdict::Refuse), "{path}");
        }
    }

    #[test]
    fn a_denied_path_is_refused_in_any_case_and_depth() {
        for path in ["src/.env", "src/.ENV.local", "src/db/migrations/1.sql", "src/x/Cargo.lock"] {
            let first = default(vec![added(path, &["x"])]).remove(0);
            assert_eq!(first, ("inspection.denied".into(), Verdict::Refuse), "{path}");
        }
    }

    #[test]
    fn a_protected_file_must_stay_whatever_happens_to_it() {
        let policy = everything();
        let task = ready("Add a parser");
        let expected = ("inspection.protected".to_owned(), Verdict::Refuse);
        for change in [
            added(".github/workflows/x.yml", &["x"]),
            modified("docs/CLAUDE.md", &["x"]),
            modified(".GitHub/workflows/ci.yml", &["x"]),
            deleted(".ai-validation/check_quality.sh"),
            renamed(".ai-validation/check_quality.sh", "src/check.sh"),
            renamed("src/check.sh", ".ai-validation/check_quality.sh"),
        ] {
            let rules = judged(&policy, &task, vec![change.clone()]);
            assert!(rules.contains(&expected), "{change:?}: {rules:?}");
        }
        let refusal = said(&policy, &task, vec![modified("AGENTS.md", &[])]).remove(0);
        assert_eq!(refusal.severity, Severity::Critical);
    }

    #[test]
    fn all_violations_are_named_not_only_the_first() {
        let rules = default(vec![deleted("src/a.rs"), added("b.rs", &["DROP TABLE users"])]);
        let ids: Vec<&str> = rules.iter().map(|(rule, _)| rule.as_str()).collect();
        assert_eq!(ids, ["inspection.deletion", "inspection.paths", "inspection.added-lines"]);
    }

    #[test]
    fn the_files_that_a_task_names_narrow_the_paths() {
        let mut task = ready("Add a parser");
        task.fields.files = vec!["src/parse".into()];
        let policy = Policy::default();
        assert_eq!(judged(&policy, &task, vec![modified("src/parse/a.rs", &[])]), []);
        let other = judged(&policy, &task, vec![modified("src/b.rs", &[])]);
        assert_eq!(other, one("inspection.paths", Verdict::Refuse));
        // The test that ready() names is part of the task.
        assert_eq!(judged(&policy, &task, vec![added("tests/parser.rs", &["x"])]), []);
    }

    #[test]
    fn a_task_let_in_as_documents_may_not_write_code() {
        let mut task = ready("Document the retry policy");
        task.fields.alignment = None;
        let policy = Policy::default();
        assert_eq!(judged(&policy, &task, vec![added("docs/a.md", &["x"])]), []);
        let code = judged(&policy, &task, vec![modified("src/a.rs", &["x"])]);
        assert_eq!(code, one("inspection.scope", Verdict::Refuse));
        // With its score it is a task like any other.
        let scored = ready("Document the retry policy");
        assert_eq!(judged(&policy, &scored, vec![modified("src/a.rs", &["x"])]), []);
    }

    #[test]
    fn a_deletion_follows_its_setting() {
        for (delete, expected) in [
            (Deletion::Never, one("inspection.deletion", Verdict::Refuse)),
            (Deletion::Ask, one("inspection.deletion", Verdict::Ask)),
            (Deletion::Allow, Vec::new()),
        ] {
            let policy = Policy { delete, ..Policy::default() };
            assert_eq!(judged(&policy, &ready("Add a"), vec![deleted("src/a.rs")]), expected);
        }
    }

    #[test]
    fn a_move_between_allowed_paths_is_no_deletion() {
        assert_eq!(default(vec![renamed("src/a.rs", "src/b.rs")]), []);
        let out = default(vec![renamed("build.rs", "src/b.rs")]);
        assert_eq!(out, one("inspection.paths", Verdict::Refuse));
    }

    #[test]
    fn emptying_a_file_is_deleting_it() {
        let mut change = modified("src/a.rs", &[]);
        change.new = Some(side(FileMode::Regular, 0));
        assert_eq!(default(vec![change]), one("inspection.deletion", Verdict::Refuse));
        let mut new = added("src/__init__.py", &[]);
        new.new = Some(side(FileMode::Regular, 0));
        assert_eq!(default(vec![new]), []);
    }

    #[test]
    fn changed_lines_count_without_tests_and_documents() {
        let long = vec!["x"; 121];
        assert_eq!(default(vec![added("tests/a.rs", &long), added("docs/a.md", &long)]), []);
        assert_eq!(default(vec![added("src/a.rs", &long[..120])]), []);
        let mut both = modified("src/a.rs", &long[..60]);
        both.removed = 61;
        assert_eq!(default(vec![both]), one("inspection.lines", Verdict::Ask));
        // Code that moves into the tests was code.
        let mut moved = renamed("src/a.rs", "tests/a.rs");
        moved.added = 121;
        assert_eq!(default(vec![moved]), one("inspection.lines", Verdict::Ask));
    }

    #[test]
    fn what_approval_frees_is_still_shown() {
        let mut task = ready("Add a parser");
        task.fields.approved = true;
        let policy = Policy::default();
        let long = judged(&policy, &task, vec![added("src/a.rs", &vec!["x"; 121])]);
        assert_eq!(long, one("inspection.lines", Verdict::Report));
        let gone = judged(&policy, &task, vec![deleted("src/a.rs")]);
        assert_eq!(gone, one("inspection.deletion", Verdict::Refuse));
    }

    #[test]
    fn forbidden_lines_are_named_with_file_and_line() {
        let task = ready("Add a parser");
        let lines = ["ok", "drop  table users;", "// the dropdown table"];
        let refusal = said(&Policy::default(), &task, vec![modified("src/a.rs", &lines)]).remove(0);
        assert_eq!(
            (refusal.rule.as_str(), refusal.value.as_str()),
            ("inspection.added-lines", "src/a.rs:2")
        );
        let many = said(&Policy::default(), &task, vec![added("src/a.rs", &["DROP TABLE a"; 7])]);
        assert!(many[0].value.ends_with("src/a.rs:5 and 2 more"), "{}", many[0].value);
    }

    #[test]
    fn a_character_that_hides_text_needs_a_person() {
        let hidden = default(vec![added("src/a.rs", &["if admin\u{202E} {"])]);
        assert_eq!(hidden, one("inspection.invisible", Verdict::Ask));
        let marked = ["\u{FEFF}using System;", "\u{FEFF}"];
        assert_eq!(default(vec![added("src/a.cs", &marked[..1])]), []);
        assert_eq!(default(vec![added("src/a.cs", &marked)]).len(), 1);
        assert_eq!(default(vec![added("src/a.rs", &["// 👩\u{200D}🔧"])]), []);
    }

    #[test]
    fn a_permission_that_changes_needs_a_person() {
        let mut set = modified("src/a.sh", &[]);
        set.new = Some(side(FileMode::Executable, 10));
        assert_eq!(default(vec![set.clone()]), one("inspection.mode", Verdict::Ask));
        std::mem::swap(&mut set.old, &mut set.new);
        assert_eq!(default(vec![set.clone()]), one("inspection.mode", Verdict::Ask));
        set.new.clone_from(&set.old);
        set.old = Some(side(FileMode::Executable, 10));
        set.new = Some(side(FileMode::Executable, 10));
        assert_eq!(default(vec![set]), []);
    }

    #[test]
    fn a_link_stays_inside_the_repository() {
        for target in ["b.rs", "../docs/a.md", "./x/y"] {
            assert_eq!(default(vec![link("src/l", target)]), [], "{target}");
        }
        for target in [
            "/etc/passwd",
            "../../x",
            "",
            "a/../../../x",
            "../.git/config",
            "../.github",
            "a/../b",
            "C:\\x",
        ] {
            let rules = default(vec![link("src/l", target)]);
            assert_eq!(rules, one("inspection.link", Verdict::Refuse), "{target}");
        }
    }

    #[test]
    fn a_submodule_is_refused() {
        let mut change = added("src/sub", &[]);
        change.new = Some(side(FileMode::Gitlink, 0));
        assert_eq!(default(vec![change]), one("inspection.submodule", Verdict::Refuse));
    }

    #[test]
    fn a_file_may_not_be_larger_than_the_limit() {
        let limit = Policy::default().max_file_bytes;
        let mut change = added("src/a.bin", &[]);
        change.new = Some(side(FileMode::Regular, limit));
        assert_eq!(default(vec![change.clone()]), []);
        change.new = Some(side(FileMode::Regular, limit + 1));
        assert_eq!(default(vec![change]), one("inspection.size", Verdict::Refuse));
    }

    #[test]
    fn a_binary_file_is_reported() {
        let mut change = added("docs/a.png", &[]);
        change.binary = true;
        assert_eq!(default(vec![change]), one("inspection.binary", Verdict::Report));
    }

    #[test]
    fn a_manifest_asks_unless_only_approved_names_are_added() {
        let task = ready("Add a parser");
        let policy = Policy { dependencies: vec!["serde".into()], ..everything() };
        let lock = || modified("Cargo.lock", &["name = \"serde\"", "version = \"1.0\""]);
        let good = modified("Cargo.toml", &["serde = \"1.0\""]);
        assert_eq!(judged(&policy, &task, vec![good, lock()]), []);
        let bad = modified("Cargo.toml", &["serde = \"1.0\"", "left-pad = \"1\""]);
        let asks =
            [one("inspection.manifest", Verdict::Ask), one("inspection.manifest", Verdict::Ask)];
        assert_eq!(judged(&policy, &task, vec![bad, lock()]), asks.concat());
        let alone = judged(&policy, &task, vec![lock()]);
        assert_eq!(alone, one("inspection.manifest", Verdict::Ask));
    }

    #[test]
    fn a_file_that_runs_by_itself_is_reported() {
        let rules = default(vec![modified("tests/conftest.py", &["x"])]);
        assert_eq!(rules, one("inspection.runs-code", Verdict::Report));
    }

    #[test]
    fn a_test_that_is_left_out_is_reported() {
        for line in [
            "#[ignore = \"slow\"]",
            "@pytest.mark.skip",
            "  it.only('x', () => {",
            "t.Skip()",
            "  xit('x', () => {",
        ] {
            let rules = default(vec![modified("tests/a.rs", &[line])]);
            assert_eq!(rules, one("inspection.skipped-tests", Verdict::Report), "{line}");
        }
        let others = ["iter.skip(1)", "profit('x')", "model.fit(x)", "fit(x)"];
        assert_eq!(default(vec![modified("src/a.rs", &others)]), []);
    }

    #[test]
    fn a_change_about_what_needs_a_person_is_reported() {
        let rules = default(vec![modified("src/auth/session.rs", &["x"])]);
        assert_eq!(rules, one("inspection.ask-first", Verdict::Report));
        let others = vec![modified("src/author.rs", &["x"]), modified("tests/auth.rs", &["x"])];
        assert_eq!(default(others), []);
    }

    #[test]
    fn a_filtered_file_is_refused() {
        let rules = RuleSet::new(&Policy::default()).unwrap();
        let admission =
            admit(&rules, &Limits::default(), &ready("Add a parser"), &Facts::default());
        let diff = Diff { changes: vec![modified("src/a.psd", &[])], truncated: false };
        let refusals =
            inspect(&rules, admission.admitted().unwrap(), &diff, &["src/a.psd".into()]).findings;
        assert_eq!(refusals[0].rule, "inspection.filter");
    }

    #[test]
    fn a_name_that_some_systems_take_for_git_is_refused() {
        let policy = everything();
        for path in
            ["src/.GIT/config", "src/.git.", "src/git~1/x", "src/.g\u{200C}it/x", "src/.git::$DATA"]
        {
            let rules = judged(&policy, &ready("Add a parser"), vec![added(path, &["x"])]);
            assert_eq!(rules, one("inspection.name", Verdict::Refuse), "{path}");
        }
        let fine = vec![added("src/.gitkeep", &["x"]), added("src/git.rs", &["x"])];
        assert_eq!(judged(&policy, &ready("Add a parser"), fine), []);
    }

    #[test]
    fn names_that_git_refuses_are_reserved_and_others_are_not() {
        for name in [".git", ".GIT", "git~1", ".git.", ".git::$DATA", ".g\u{200c}it"] {
            assert!(reserved(name.as_bytes(), false).is_some(), "{name}");
        }
        assert!(reserved(b".gitmodules", true).is_some());
        for name in [".gitmodules", ".gitignore", "git", ".github", "git~2", "x.git"] {
            assert_eq!(reserved(name.as_bytes(), false), None, "{name}");
        }
    }
}
