//! The check of the real diff after the run, whatever the plan or the agent said about it.
//!
//! Every rule is applied to every change and all violations are returned. Contents are seen only as the diff
//! holds them; nothing is opened and no link is followed.

mod place;

use std::collections::BTreeMap;

use globset::GlobSet;
use serde::{Deserialize, Serialize};

use super::{
    AdmittedTask, Does, Origin, Refusal, Risk, RuleSet, Secrets, Severity, Verdict, WeakerTests,
    autorun,
    manifest::{self, Manifest},
    risk,
    rules::{Case, globs, is_document, is_test_or_doc, is_test_place},
    secrets::{Found, RULES_FILE},
    source,
    weaker::{self, Weight},
    words,
};
use place::is_invisible;
pub use place::reserved;

use crate::{
    diff::{ChangeKind, Diff, FileChange},
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
    /// True when files that tests stand on changed: helpers, fixtures, expected data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub support: bool,
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

    /// True when the diff may not be shown or handed on as it is: a rule refuses it for a secret.
    pub fn holds_secret(&self) -> bool {
        let secret =
            |finding: &Refusal| finding.rule == SECRET.0 && finding.verdict == Verdict::Refuse;
        self.findings.iter().any(secret)
    }

    /// True for a finding about a file that runs by itself on the machine of whoever takes the branch.
    pub fn runs_code(finding: &Refusal) -> bool {
        finding.rule == RUNS_CODE.0 || finding.rule == INSTALL.0
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
        inspector.name(change);
        inspector.deletion(change);
        inspector.mode(change);
        inspector.link(change);
        inspector.size(change);
        inspector.added_lines(change);
        inspector.runs_code(change);
        inspector.subject(change);
    }
    if diff.truncated {
        let message = "it adds more than the rules for added lines can read";
        inspector.no(SIZE, "more than 4 MiB of added lines".to_owned(), "4 MiB", message);
    }
    inspector.lines(diff);
    inspector.manifests(diff);
    inspector.secrets(diff);
    inspector.twins(diff);
    let tests = inspector.weaker_tests(diff);
    let risk = risk::of_diff(diff, &tests);
    inspector.risk(&risk);
    let support = diff.changes.iter().flat_map(FileChange::paths).any(is_test_place);
    Inspection { findings: inspector.refusals, risk, tests, support }
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
const INSTALL: Rule = Rule("inspection.install-script", Verdict::Ask, Severity::Critical, "");
const LONG_LINES: Rule = Rule("inspection.long-lines", Verdict::Report, Severity::Medium, "");
const SECRET: Rule =
    Rule("inspection.secret", Verdict::Refuse, Severity::Critical, "policy.secrets");
const SECRET_RULES: Rule = Rule("inspection.secret-rules", Verdict::Report, Severity::High, "");
const WEAKER: Rule =
    Rule("inspection.weaker-tests", Verdict::Refuse, Severity::Critical, "policy.weaker_tests");
const ASK_FIRST: Rule =
    Rule("inspection.ask-first", Verdict::Report, Severity::High, "policy.ask_first");

/// Places of one kind that are named in one refusal; more are counted.
const PLACES: usize = 5;
/// Findings of one rule that are named one by one; more are counted.
const MOST: usize = 20;
/// Bytes of a line that a person still reads.
const LONG: usize = 2_000;

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

    fn size(&mut self, change: &FileChange) {
        let most = self.rules.policy.max_file_bytes;
        let value = change.path.to_string();
        if let Some(new) = change.new.as_ref().filter(|side| side.bytes > most) {
            let message = format!("`{value}` has {} bytes, and the limit is {most}", new.bytes);
            self.no(SIZE, value.clone(), format!("at most {most} bytes"), message);
        }
        if !change.binary || change.new.is_none() {
            return;
        }
        // One byte of zero in a program hides it from every rule that reads lines.
        if source::language_of(&change.path).is_some() {
            let message = format!(
                "`{value}` is a program's text by its name and binary to git: no rule could read it"
            );
            self.no(Rule(BINARY.0, Verdict::Ask, Severity::High, BINARY.3), value, "text", message);
        } else {
            let message = format!("`{value}` is binary: its contents were not read by any rule");
            self.no(BINARY, value, "text", message);
        }
    }

    fn added_lines(&mut self, change: &FileChange) {
        for (pattern, built_in) in &self.rules.added_lines {
            if *built_in && is_document(&change.path) {
                continue;
            }
            let lines = change.added_lines.iter().enumerate();
            let hits = lines.filter(|(at, (number, line))| {
                // What ends with its line may go on in the next one.
                let next = change.added_lines.get(at + 1).filter(|(next, _)| *next == number + 1);
                let ends = pattern.find_iter(line).last().map(|found| found.end() == line.len());
                match (ends, next) {
                    (None, _) => false,
                    (Some(true), Some((_, next))) if *built_in => {
                        pattern.is_match(&format!("{line} {}", next.trim_start()))
                    }
                    (Some(_), _) => true,
                }
            });
            let hits = hits.map(|(_, hit)| hit);
            if let Some(value) = places(&change.path, hits.map(|(number, _)| *number)) {
                let message = format!("added lines match `{pattern}`");
                self.no(ADDED_LINES, value, format!("no line like `{pattern}`"), message);
            }
        }
        let long = change.added_lines.iter().filter(|(_, line)| line.len() > LONG);
        let long = long.map(|(number, _)| *number);
        if manifest::kind(&change.path) != Some(Manifest::Lock)
            && let Some(value) = places(&change.path, long)
        {
            let message = "added lines are longer than anybody reads";
            self.no(LONG_LINES, value, format!("at most {LONG} bytes a line"), message);
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
            .fold(0_u32, |sum, change| sum.saturating_add(code_lines(change)));
        if changed > most {
            let message = format!("{changed} lines changed, and the limit is {most}");
            let help =
                "make the change smaller; tests, documents, comments and blank lines do not count";
            self.no_with_help(LINES, changed.to_string(), format!("at most {most}"), message, help);
        }
    }

    /// A lock file follows its manifest: it passes where every changed manifest passed and it brings nothing from a
    /// new place.
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
            let value = change.path.to_string();
            let strange = manifest::new_hosts(change);
            let (passed, what) = match kind {
                Manifest::Manifest => (passes(change), "manifest"),
                Manifest::Lock => (explained && strange.is_empty(), "lock file"),
            };
            if !passed {
                let said = manifest::in_words(change);
                let said = said.unwrap_or_else(|| "changed by more than approved names".to_owned());
                let from = if strange.is_empty() {
                    String::new()
                } else {
                    format!(", from {}", strange.join(", "))
                };
                let message = format!("the {what} `{value}` {said}{from}");
                self.no(MANIFEST, value.clone(), limit.clone(), message);
            }
            let scripts = manifest::install_scripts(change);
            if !scripts.is_empty() {
                let names = scripts.join(", ");
                let message = format!("`{value}` runs commands when it is installed: {names}");
                self.no(INSTALL, value, "nothing runs at installation", message);
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
        if let Some(when) = change.new.as_ref().and_then(|_| autorun::when(&change.path)) {
            let value = change.path.to_string();
            let message = format!("`{value}` runs on your machine: {when}");
            self.no(RUNS_CODE, value, "read it before you check out", message);
        }
    }

    /// Values stand in no text: the rule, the place and the length must do.
    fn secrets(&mut self, diff: &Diff) {
        for problem in self.rules.secrets.problems.clone() {
            let message = format!("`{RULES_FILE}` of the base: {problem}");
            self.no(SECRET_RULES, RULES_FILE.to_owned(), "rules that can be held", message);
        }
        let verdict = match self.rules.policy.secrets {
            Secrets::Block => Verdict::Refuse,
            Secrets::Report => Verdict::Report,
        };
        let found = self.rules.secrets.scan(diff);
        let more = found.len().saturating_sub(MOST);
        for Found { rule, path, line, masked } in found.into_iter().take(MOST) {
            let value = if line == 0 { path.to_string() } else { format!("{path}:{line}") };
            let rest = if more > 0 { format!("; {more} more like it") } else { String::new() };
            let message = format!("what is added looks like a secret ({rule}, {masked}){rest}");
            let help = "take it out, also if it is made up: a value such as `example` is no secret";
            let rule = Rule(SECRET.0, verdict, SECRET.2, SECRET.3);
            self.no_with_help(rule, value, "no secret in a file", message, help);
        }
    }

    /// Tests that say less than before, unless the task's title asks for that.
    fn weaker_tests(&mut self, diff: &Diff) -> Vec<TestDelta> {
        let mut seen = weaker::look(diff, self.task.task());
        // What weighs most comes first: else many that are excused would crowd out one that is not.
        seen.weaker.sort_by_key(|found| std::cmp::Reverse(found.weight));
        let more = seen.weaker.len().saturating_sub(MOST);
        for found in seen.weaker.into_iter().take(MOST) {
            let verdict = match (found.weight, self.rules.policy.weaker_tests) {
                (Weight::Light, _)
                | (_, WeakerTests::Allow)
                | (Weight::Asked, WeakerTests::Never) => Verdict::Report,
                (Weight::Grave, WeakerTests::Never) => Verdict::Refuse,
                (Weight::Asked | Weight::Grave, WeakerTests::Ask) => Verdict::Ask,
            };
            let rule = Rule(WEAKER.0, verdict, WEAKER.2, WEAKER.3);
            let rest = if more > 0 { format!("; {more} more like it") } else { String::new() };
            let help = if found.weight == Weight::Light {
                ""
            } else {
                "put it back and make the code right; where a test must go, the task's title must say so"
            };
            let message = format!("{}{rest}", found.message);
            self.no_with_help(rule, found.place, "no test says less than before", message, help);
        }
        seen.tests
    }

    /// Two names that are one where letters of different case are the same: one of the files is lost there.
    fn twins(&mut self, diff: &Diff) {
        let mut known: BTreeMap<String, &RepoPath> = BTreeMap::new();
        for change in diff.changes.iter().filter(|change| change.new.is_some()) {
            if let Some(other) = known.insert(change.path.to_string().to_lowercase(), &change.path)
            {
                let value = change.path.to_string();
                let message =
                    format!("`{value}` and `{other}` are one file where case does not count");
                let rule = Rule(NAME.0, Verdict::Ask, Severity::Medium, NAME.3);
                self.no(rule, value, "names that differ by more than case", message);
            }
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

/// Changed lines of a file that hold code.
fn code_lines(change: &FileChange) -> u32 {
    let side = |path: &RepoPath, text: &Option<String>, lines: &[(u32, String)], total| match text {
        Some(text) => source::counted(&source::read(source::language_of(path), text), lines, total),
        None => total,
    };
    let before = if let ChangeKind::Renamed { from } = &change.kind { from } else { &change.path };
    let added = side(&change.path, &change.new_text, &change.added_lines, change.added);
    added.saturating_add(side(before, &change.old_text, &change.removed_lines, change.removed))
}

/// `src/a.rs:3, src/a.rs:9 and 4 more`; nothing for no lines.
fn places(path: &RepoPath, lines: impl Iterator<Item = u32>) -> Option<String> {
    let lines: Vec<u32> = lines.collect();
    let shown: Vec<String> = lines.iter().take(PLACES).map(|n| format!("{path}:{n}")).collect();
    let more = lines.len().saturating_sub(PLACES);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!lines.is_empty()).then(|| shown.join(", ") + &rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        budget::Limits,
        diff::{FileMode, Side},
        ids::BlobId,
        plan::Task,
        policy::{Deletion, Facts, Policy, admit, tests::ready},
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
        let old_text = Some("old".to_owned());
        // Without lines, only something else than the text changed.
        let lines = if lines.is_empty() { &["old"] } else { lines };
        FileChange { kind: ChangeKind::Modified, old, old_text, ..added(path, lines) }
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
    fn tests_that_may_go_hide_no_run_that_was_loosened() {
        let of = |lines: &[&str]| {
            let tests = (0..=MOST).map(|n| format!("def test_{n}():\n    assert f({n}) == {n}\n"));
            let mut change = modified("tests/test_a.py", lines);
            change.old_text = Some(tests.collect());
            let old = change.old_text.iter().flat_map(|text| text.lines());
            change.removed_lines = (1..).zip(old.map(str::to_owned)).collect();
            judged(&Policy::default(), &ready("Remove the old tests"), vec![change])
        };
        let weaker = |verdict| ("inspection.weaker-tests".to_owned(), verdict);
        let (gone, loosened) = (of(&["import sys"]), of(&["import sys", "sys.exit(0)"]));
        assert!(gone.contains(&weaker(Verdict::Report)), "{gone:?}");
        assert!(!gone.contains(&weaker(Verdict::Refuse)), "{gone:?}");
        assert!(loosened.contains(&weaker(Verdict::Refuse)), "{loosened:?}");
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
    fn findings_about_files_that_run_by_themselves_are_known() {
        let package = FileChange {
            old_text: Some("{}".to_owned()),
            ..modified("src/package.json", &["{\"scripts\": {\"postinstall\": \"node x.js\"}}"])
        };
        let policy = Policy { allow: vec!["**".into()], ..Policy::default() };
        let changes = vec![package, modified("src/build.rs", &["a"]), deleted("src/a.rs")];
        let found = said(&policy, &ready("Add a parser"), changes);
        let told: Vec<&str> =
            found.iter().filter(|f| Inspection::runs_code(f)).map(|f| f.rule.as_str()).collect();
        let rules = ["inspection.runs-code", "inspection.runs-code", "inspection.install-script"];
        assert_eq!(told, rules);
        let helped = |rule: &str| found.iter().find(|f| f.rule == rule).unwrap().help.is_some();
        assert!(helped("inspection.risk") && !helped("inspection.runs-code"), "{found:?}");
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

    #[test]
    fn what_an_inspection_says_of_itself_follows_its_verdicts() {
        let of = |findings: &[(&str, Verdict)]| {
            let finding = |(rule, verdict): &(&str, Verdict)| Refusal {
                rule: (*rule).to_owned(),
                verdict: *verdict,
                severity: Severity::Low,
                message: String::new(),
                value: String::new(),
                limit: String::new(),
                origin: Origin::Default,
                help: None,
            };
            let findings = findings.iter().map(finding).collect();
            let all = Inspection { findings, ..Inspection::default() };
            let runs = all.findings.iter().filter(|f| Inspection::runs_code(f)).count();
            (all.refused(), all.holds_secret(), all.objections().count(), runs)
        };
        let (report, ask, refuse) = (Verdict::Report, Verdict::Ask, Verdict::Refuse);
        assert_eq!(of(&[]), (false, false, 0, 0));
        assert_eq!(of(&[("inspection.size", ask)]), (false, false, 1, 0));
        assert_eq!(of(&[("inspection.size", refuse)]), (true, false, 1, 0));
        assert_eq!(of(&[("inspection.secret", refuse)]), (true, true, 1, 0));
        assert_eq!(of(&[("inspection.secret", report)]), (false, false, 0, 0));
        let two = [("inspection.runs-code", report), ("inspection.install-script", ask)];
        assert_eq!(of(&two), (false, false, 1, 2));
    }

    #[test]
    fn help_is_said_where_there_is_some() {
        let task = ready("Add a parser");
        let long = said(&Policy::default(), &task, vec![added("src/a.rs", &["x"; 121])]);
        assert!(long[0].help.as_ref().is_some_and(|help| help.contains("smaller")), "{long:?}");
        let binary = FileChange { binary: true, ..added("docs/a.png", &[]) };
        assert_eq!(said(&Policy::default(), &task, vec![binary])[0].help, None);
    }

    #[test]
    fn of_many_secrets_twenty_are_named_and_the_others_counted() {
        let of = |count: usize| {
            // In two parts, so that this file itself holds no token.
            let line = ["let t = \"ghp_", "kX3vQ9mZ7wL2tR5yB8nC1dF6gH4jK0pS9aVe\";"].concat();
            let lines = vec![line.as_str(); count];
            let found = said(&Policy::default(), &ready("Add a"), vec![added("src/a.rs", &lines)]);
            let secrets: Vec<_> = found.iter().filter(|f| f.rule == "inspection.secret").collect();
            let counted = secrets.iter().filter(|f| f.message.ends_with("; 2 more like it"));
            let all = secrets.iter().filter(|f| f.message.contains("more")).count();
            (secrets.len(), counted.count(), all)
        };
        assert_eq!(of(20), (20, 0, 0));
        assert_eq!(of(22), (20, 20, 20));
    }

    #[test]
    fn of_many_lost_tests_twenty_are_named_and_the_others_counted() {
        let of = |count: usize| {
            let tests = (0..count).map(|n| format!("def test_{n}():\n    assert f({n}) == {n}\n"));
            let mut change = modified("tests/test_a.py", &["import sys"]);
            change.old_text = Some(tests.collect());
            let old = change.old_text.iter().flat_map(|text| text.lines());
            change.removed_lines = (1..).zip(old.map(str::to_owned)).collect();
            let found = said(&Policy::default(), &ready("Add a"), vec![change]);
            let lost: Vec<_> = found.iter().filter(|f| f.rule == WEAKER.0).collect();
            let help = lost.iter().filter(|f| f.help.is_some()).count();
            let more = lost.iter().filter(|f| f.message.ends_with("; 2 more like it")).count();
            let all = lost.iter().filter(|f| f.message.contains("more")).count();
            (lost.len(), help, more, all)
        };
        assert_eq!(of(20), (20, 20, 0, 0));
        assert_eq!(of(22), (20, 20, 20, 20));
    }

    #[test]
    fn a_diff_of_higher_risk_than_its_task_waits_and_a_critical_one_never_lands() {
        let high = || vec![modified("src/auth/a.rs", &["x"]), modified("src/billing.rs", &["x"])];
        let of = |risk: Option<&str>, approved: bool, changes: Vec<FileChange>| {
            let mut task = ready("Add a parser");
            task.fields.risk = risk.map(str::to_owned);
            task.fields.approved = approved;
            let found = said(&everything(), &task, changes);
            let found = found.into_iter().find(|finding| finding.rule == "inspection.risk");
            found.map(|finding| (finding.verdict, finding.limit))
        };
        assert_eq!(of(None, false, high()), Some((Verdict::Ask, "at most 60".to_owned())));
        assert_eq!(of(None, true, high()), Some((Verdict::Report, "at most 60".to_owned())));
        // It was admitted as that already.
        assert_eq!(of(Some("high"), true, high()), None);
        let critical = [high(), vec![modified("db/migrations/1.sql", &["x"])]].concat();
        let expected = Some((Verdict::Refuse, "at most 85".to_owned()));
        assert_eq!(of(Some("high"), true, critical), expected);
        assert_eq!(of(None, false, vec![modified("src/auth/a.rs", &["x"])]), None);
    }

    #[test]
    fn names_that_differ_by_case_alone_are_twins() {
        let twins = vec![added("src/Read.rs", &["x"]), added("src/read.rs", &["x"])];
        assert_eq!(default(twins), one("inspection.name", Verdict::Ask));
        let moved = vec![deleted("src/Read.rs"), added("src/read.rs", &["x"])];
        assert_eq!(default(moved), one("inspection.deletion", Verdict::Refuse));
    }
}
