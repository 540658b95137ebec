//! Shows that a gate can fail, and that tests test: runs of the gate on trees that are made for it.
//!
//! These trees are laid out, walled in and judged exactly as a candidate is, and none of them is ever a candidate.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    diff::{ChangeKind, Diff, FileChange},
    files,
    gate::canary::{self, Breakage},
    git::{TreeEntry, Vault, mixed},
    ids::{AttemptId, CommitId, RepoPath, TreeId},
    night::{Canary, GateSpec},
    outcome::{
        CanaryTry, FormerTests, GateProof, GateReport, NewTests, StepEnd, StepReport, TestProof,
    },
    policy::{RuleSet, TestDelta, is_document, is_test_or_doc, with_tests_of},
    runner::{
        deed::Error,
        gating::{Trial, Whose},
        hands::{Brief, Hands},
        known,
        places::{NightPlaces, Places},
    },
};

impl Hands {
    /// Runs the gate on trees that are broken on purpose until it goes red. `None` when the night was stopped at
    /// once.
    pub(super) async fn prove_gate(
        &self,
        brief: &Brief,
        commit: &CommitId,
        tree: &TreeId,
    ) -> Result<Option<GateProof>, Error> {
        let spec = &brief.opening.gate;
        let rules = self.rules(&brief.opening)?;
        let plan = &brief.opening.plan.path;
        let ground = Ground::of(&self.vault, tree, spec, rules, plan)?;
        let kept = ground.kept(&self.places, spec);
        if let Some(proof) = read_proof(&kept, spec) {
            return Ok(Some(GateProof { reused: true, ..proof }));
        }
        if let Some(proof) = known::proof(&self.vault, spec, tree, self.yard.tier()) {
            return Ok(Some(proof));
        }
        let mut proof = GateProof { gate: spec.id.clone(), tries: Vec::new(), reused: false };
        for (number, broken) in (1..).zip(ground.broken(&self.vault, tree, spec)?) {
            let (what, broken) = match broken {
                Ok(broken) => broken,
                Err(what) => {
                    let (tree, logs) = (tree.clone(), String::new());
                    proof.tries.push(CanaryTry { what, tree, red_steps: Vec::new(), logs });
                    continue;
                }
            };
            let logs = format!("{}/{number}", NightPlaces::canary_name());
            let trial = Trial { commit, tree: &broken, logs: logs.clone(), of: Whose::Canary };
            let Some(report) = self.judged(brief, &trial).await? else { return Ok(None) };
            let (what, red_steps) = noticed(what, &report);
            proof.tries.push(CanaryTry { what, tree: broken, red_steps, logs });
            if proof.proven() {
                if let Some(parent) = kept.parent() {
                    files::create_private_dir(parent)?;
                }
                files::write_atomic(&kept, &serde_json::to_vec_pretty(&proof).unwrap_or_default())?;
                break;
            }
        }
        Ok(Some(proof))
    }

    /// Runs a candidate's tests on the base's code, and the base's tests on the candidate's. `None` when the night
    /// was stopped at once.
    pub(super) async fn prove_tests(
        &self,
        brief: &Brief,
        attempt: &AttemptId,
        base: &CommitId,
        commit: &CommitId,
    ) -> Result<Option<TestProof>, Error> {
        let record = brief.attempts_made.iter().find(|record| record.number == attempt.number);
        let deltas = record.map(|record| record.inspection.tests.as_slice()).unwrap_or_default();
        let (old, new) = (self.vault.tree_of(base)?, self.vault.tree_of(commit)?);
        let diff = self.vault.diff(&old, &new)?;
        let apart = Apart::of(&diff, deltas, &brief.opening.plan.path);
        let logs = |part: &str| format!("{}/{part}", NightPlaces::gate_name(Some(attempt)));
        let separable: Vec<&TestDelta> = deltas.iter().filter(|delta| delta.separable).collect();
        let asserts = separable.iter().any(|delta| delta.assertions.1 > 0);
        let new_tests = match apart.new {
            New::Settled(settled) => settled,
            // Red without the change they may be: a test that only loads what is new fails there too.
            New::Try if !asserts && separable.iter().any(|delta| delta.tests.1 > 0) => {
                NewTests::Empty { paths: separable.iter().map(|d| d.path.clone()).collect() }
            }
            New::Try => {
                let tree = mixed::with_files_of(&self.vault, &old, &new, &apart.tests)?;
                let logs = logs("new-tests");
                let trial =
                    Trial { commit: base, tree: &tree, logs: logs.clone(), of: Whose::Candidate };
                let Some(report) = self.judged(brief, &trial).await? else { return Ok(None) };
                let red_steps: Vec<String> =
                    report.red_steps().into_iter().map(str::to_owned).collect();
                // Green steps that tested nothing show no more than a green run does.
                if red_steps.is_empty() {
                    NewTests::Unproven { logs }
                } else {
                    let failing_tests = report.failing_tests;
                    NewTests::Proven { red_steps, failing_tests, logs }
                }
            }
        };
        let found = &brief.opening.base.tree;
        let beside = self.former_beside(&diff, found);
        let former_tests = if apart.former || !beside.is_empty() {
            let mut paths = if apart.former { apart.tests } else { Vec::new() };
            // Without our tick a change of nothing but tests gives the base's own tree, which has its receipt.
            paths.push(brief.opening.plan.path.clone());
            // As the night found them: what one task of it did to a test is no measure for the next.
            let tree = mixed::with_files_of(&self.vault, &new, found, &paths)?;
            let tree = mixed::with_texts(&self.vault, &tree, &beside)?;
            let logs = logs("former-tests");
            let trial = Trial { commit, tree: &tree, logs: logs.clone(), of: Whose::Candidate };
            let Some(report) = self.judged(brief, &trial).await? else { return Ok(None) };
            former(report, logs, beside.into_keys().collect())
        } else {
            FormerTests::Unchanged
        };
        Ok(Some(TestProof { new_tests, former_tests }))
    }

    /// The candidate's files of code whose own tests it changed, with those that the night found there.
    fn former_beside(&self, diff: &Diff, found: &TreeId) -> BTreeMap<RepoPath, Option<Vec<u8>>> {
        let mut texts = BTreeMap::new();
        for change in diff.changes.iter().filter(|change| !is_test_or_doc(&change.path)) {
            let before = match &change.kind {
                ChangeKind::Renamed { from } => from,
                ChangeKind::Added | ChangeKind::Modified | ChangeKind::Deleted => &change.path,
            };
            let (Some(old), Some(new)) = (&change.old_text, &change.new_text) else { continue };
            if with_tests_of(&change.path, old, new).is_none() {
                continue;
            }
            let Some(former) = text_of(&self.vault, found, before) else { continue };
            if let Some(mixed) = with_tests_of(&change.path, &former, new) {
                texts.insert(change.path.clone(), Some(mixed.into_bytes()));
            }
        }
        texts
    }
}

fn former(report: GateReport, logs: String, beside: Vec<RepoPath>) -> FormerTests {
    if report.passed() {
        return FormerTests::Green { logs };
    }
    let red = report.red_steps().into_iter().map(str::to_owned);
    let red_steps = red.chain(report.vacuous.clone()).collect();
    FormerTests::Red { red_steps, failing_tests: report.failing_tests, beside, logs }
}

/// The required steps that noticed what was broken. One that ran out of time or broke a limit noticed nothing, and
/// neither did a run whose steps stayed green.
fn noticed(what: String, report: &GateReport) -> (String, Vec<String>) {
    let by_itself =
        |step: &&StepReport| matches!(step.ended, StepEnd::Exit(_) | StepEnd::Signal(_));
    let (red, other): (Vec<&StepReport>, Vec<&StepReport>) =
        report.steps.iter().filter(|step| step.blocks()).partition(by_itself);
    let what = match other.first() {
        Some(step) if red.is_empty() => {
            format!("{what} (`{}` did not come to its end: {})", step.name, step.ended)
        }
        Some(_) | None => what,
    };
    (what, red.into_iter().map(|step| step.name.clone()).collect())
}

/// The base that a gate is tried on.
struct Ground<'g> {
    listing: Vec<TreeEntry>,
    rules: &'g RuleSet,
    plan: &'g RepoPath,
    scripts: Vec<String>,
}

/// A broken tree with what is broken in it, or why it could not be made.
type Broken = Result<(String, TreeId), String>;

impl<'g> Ground<'g> {
    fn of(
        vault: &Vault,
        tree: &TreeId,
        spec: &GateSpec,
        rules: &'g RuleSet,
        plan: &'g RepoPath,
    ) -> Result<Ground<'g>, crate::git::Error> {
        let listing = vault.list(tree)?;
        let mut scripts: Vec<String> = spec.steps.iter().map(|step| step.run.clone()).collect();
        for path in crate::gate::named_files(&spec.steps, &listing) {
            scripts.extend(text_of(vault, tree, &path));
        }
        Ok(Ground { listing, rules, plan, scripts })
    }

    fn spares(&self, path: &RepoPath) -> bool {
        self.rules.protects(path) || path == self.plan
    }

    fn proposals(&self, vault: &Vault, tree: &TreeId) -> Vec<Breakage> {
        canary::proposals(&canary::Base {
            files: &self.listing,
            spared: &|path| self.spares(path),
            text: &|path| text_of(vault, tree, path),
            scripts: &self.scripts,
        })
    }

    /// Where a proof is kept: for a gate, and where a patch is named for that patch.
    fn kept(&self, places: &Places, spec: &GateSpec) -> std::path::PathBuf {
        let patch = match &spec.canary {
            Canary::Patch(path) => self.listing.iter().find(|entry| entry.path == *path),
            Canary::Auto | Canary::Off { .. } => None,
        };
        places.gate_proof(&spec.id, patch.map(|entry| &entry.blob))
    }

    fn broken(
        &self,
        vault: &Vault,
        tree: &TreeId,
        spec: &GateSpec,
    ) -> Result<Vec<Broken>, crate::git::Error> {
        let Canary::Patch(path) = &spec.canary else {
            let make = |breakage: Breakage| {
                let texts: BTreeMap<RepoPath, Option<Vec<u8>>> =
                    breakage.files.into_iter().map(|(path, text)| (path, Some(text))).collect();
                Ok(Ok((breakage.what, mixed::with_texts(vault, tree, &texts)?)))
            };
            return self.proposals(vault, tree).into_iter().map(make).collect();
        };
        let patch = vault.read_file(tree, path)?.unwrap_or_default();
        Ok(vec![match mixed::with_patch(vault, tree, &patch)? {
            Err(why) => Err(format!("the patch {path}, which does not fit the base: {why}")),
            Ok((broken, paths)) => match paths.iter().find(|path| self.spares(path)) {
                Some(spared) => Err(format!(
                    "the patch {path}, which changes {spared}: a protected file shows nothing"
                )),
                None => Ok((format!("the patch {path}"), broken)),
            },
        }])
    }
}

fn text_of(vault: &Vault, tree: &TreeId, path: &RepoPath) -> Option<String> {
    let bytes = vault.read_file(tree, path).ok()??;
    String::from_utf8(bytes).ok()
}

fn read_proof(path: &std::path::Path, spec: &GateSpec) -> Option<GateProof> {
    let proof: GateProof = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    (proof.gate == spec.id && proof.proven()).then_some(proof)
}

/// What a night would do to see whether the gate can fail, in one line.
pub fn foreseen(
    places: &Places,
    vault: &Vault,
    tree: &TreeId,
    spec: &GateSpec,
    rules: &RuleSet,
    plan: Option<&RepoPath>,
) -> Result<String, crate::git::Error> {
    if let Canary::Off { origin } = &spec.canary {
        return Ok(format!("off ({origin}); the pull request says so"));
    }
    let nowhere = RepoPath::from("");
    let ground = Ground::of(vault, tree, spec, rules, plan.unwrap_or(&nowhere))?;
    if let Some(proof) = read_proof(&ground.kept(places, spec), spec) {
        let red = proof.tries.iter().find(|tried| !tried.red_steps.is_empty());
        let what = red.map_or("a broken tree", |tried| tried.what.as_str());
        return Ok(format!("went red before, on {what}"));
    }
    Ok(match &spec.canary {
        Canary::Patch(path) => {
            format!("must go red on the patch {path}")
        }
        Canary::Auto | Canary::Off { .. } => {
            let what: Vec<String> =
                ground.proposals(vault, tree).into_iter().map(|breakage| breakage.what).collect();
            match what.as_slice() {
                [] => "nothing here can be broken on purpose: name a patch in `gate.canary`"
                    .to_owned(),
                [first] => format!("must go red on {first}"),
                [first, more @ ..] => {
                    format!("must go red on {first} (or else on one of {} more)", more.len())
                }
            }
        }
    })
}

/// A candidate's tests apart from its code.
struct Apart {
    /// Changed test files that can stand without the code beside them, with what lies among them.
    tests: Vec<RepoPath>,
    /// What is known of the new tests without a run.
    new: New,
    /// True when a test file of the base was changed or is gone.
    former: bool,
}

enum New {
    Settled(NewTests),
    Try,
}

impl Apart {
    fn of(diff: &Diff, deltas: &[TestDelta], plan: &RepoPath) -> Apart {
        let beside: BTreeSet<&RepoPath> =
            deltas.iter().filter(|delta| !delta.separable).map(|delta| &delta.path).collect();
        let separable: BTreeMap<&RepoPath, &TestDelta> =
            deltas.iter().filter(|d| d.separable).map(|delta| (&delta.path, delta)).collect();
        let of_tests = |path: &RepoPath| {
            separable.contains_key(path)
                || (is_test_or_doc(path) && !is_document(path) && !beside.contains(path))
        };
        let changes = || diff.changes.iter().filter(|change| change.path != *plan);
        let tests: BTreeSet<&RepoPath> =
            changes().flat_map(FileChange::paths).filter(|path| of_tests(path)).collect();
        let any_new = changes().any(|change| {
            separable
                .get(&change.path)
                .is_some_and(|delta| change.new.is_some() && brings(delta, change))
        });
        let code = changes()
            .flat_map(FileChange::paths)
            .any(|path| beside.contains(path) || !(of_tests(path) || is_document(path)));
        let inline: Vec<RepoPath> = deltas
            .iter()
            .filter(|d| !d.separable && (d.tests.1 > d.tests.0 || d.assertions.1 > d.assertions.0))
            .map(|delta| delta.path.clone())
            .collect();
        let new = match (any_new, code, inline.is_empty()) {
            (true, true, _) => New::Try,
            (true, false, _) => New::Settled(NewTests::Alone),
            (false, _, false) => New::Settled(NewTests::Inseparable { paths: inline }),
            (false, _, true) => New::Settled(NewTests::None),
        };
        let former = changes()
            .any(|change| change.kind != ChangeKind::Added && change.paths().any(&of_tests));
        Apart { tests: tests.into_iter().cloned().collect(), new, former }
    }
}

/// True when a test file has something that it had not: not when tests were only taken out of it.
fn brings(delta: &TestDelta, change: &FileChange) -> bool {
    let (tests, assertions) = (delta.tests, delta.assertions);
    let more = tests.1 > tests.0 || assertions.1 > assertions.0;
    let fewer = tests.1 < tests.0 || assertions.1 < assertions.0;
    more || (!fewer && change.added > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diff::{FileMode, Side},
        ids::BlobId,
    };

    fn change(path: &str, kind: ChangeKind) -> FileChange {
        let side = || {
            let blob = BlobId::new("a".repeat(40)).unwrap();
            Some(Side { mode: FileMode::Regular, blob, bytes: 1, link_target: None })
        };
        FileChange {
            path: path.into(),
            old: if kind == ChangeKind::Added { None } else { side() },
            new: if kind == ChangeKind::Deleted { None } else { side() },
            kind,
            added: 1,
            removed: 0,
            binary: false,
            added_lines: Vec::new(),
            removed_lines: Vec::new(),
            old_text: None,
            new_text: None,
        }
    }

    fn delta(path: &str, tests: (u32, u32), separable: bool) -> TestDelta {
        TestDelta { path: path.into(), tests, assertions: (0, 0), skipped: (0, 0), separable }
    }

    fn apart(changes: Vec<FileChange>, deltas: &[TestDelta]) -> Apart {
        let diff = Diff { changes, truncated: false };
        Apart::of(&diff, deltas, &"PLAN.md".into())
    }

    fn tests(apart: &Apart) -> Vec<String> {
        apart.tests.iter().map(ToString::to_string).collect()
    }

    use ChangeKind::{Added, Deleted, Modified};

    #[test]
    fn new_tests_stand_on_the_base_with_their_fixtures() {
        let found = apart(
            vec![
                change("PLAN.md", Modified),
                change("src/cart.py", Modified),
                change("docs/cart.md", Modified),
                change("tests/data/cart.json", Added),
                change("tests/test_cart.py", Added),
            ],
            &[delta("tests/test_cart.py", (0, 2), true)],
        );
        assert_eq!(tests(&found), ["tests/data/cart.json", "tests/test_cart.py"]);
        assert!(matches!(found.new, New::Try) && !found.former);
    }

    #[test]
    fn a_change_of_nothing_but_tests_has_no_code_to_be_tried_without() {
        let changes = || vec![change("tests/test_cart.py", Added), change("README.md", Modified)];
        let found = apart(changes(), &[delta("tests/test_cart.py", (0, 2), true)]);
        assert!(matches!(found.new, New::Settled(NewTests::Alone)));
    }

    #[test]
    fn tests_beside_the_code_cannot_be_tried_without_it() {
        let changes = || vec![change("src/cart.rs", Modified)];
        let found = apart(changes(), &[delta("src/cart.rs", (1, 2), false)]);
        let New::Settled(NewTests::Inseparable { paths }) = found.new else { panic!("another") };
        assert_eq!(paths, [RepoPath::from("src/cart.rs")]);
        assert!(found.tests.is_empty() && !found.former);
        let same = apart(changes(), &[delta("src/cart.rs", (2, 2), false)]);
        assert!(matches!(same.new, New::Settled(NewTests::None)));
    }

    #[test]
    fn tests_that_were_only_taken_out_are_no_new_ones_and_are_put_back() {
        for (kind, counts) in [(Deleted, (3, 0)), (Modified, (3, 2))] {
            let changes = vec![change("src/a.py", Modified), change("tests/test_a.py", kind)];
            let found = apart(changes, &[delta("tests/test_a.py", counts, true)]);
            assert!(matches!(found.new, New::Settled(NewTests::None)));
            assert!(found.former);
            assert_eq!(tests(&found), ["tests/test_a.py"]);
        }
        let changes = vec![change("src/a.py", Modified), change("tests/test_a.py", Modified)];
        let changed = apart(changes, &[delta("tests/test_a.py", (3, 3), true)]);
        assert!(matches!(changed.new, New::Try) && changed.former, "another expectation");
    }

    #[test]
    fn a_test_file_that_moved_is_not_there_twice() {
        let moved = ChangeKind::Renamed { from: "tests/test_old.py".into() };
        let changes = vec![change("src/a.py", Modified), change("tests/test_new.py", moved)];
        let found = apart(changes, &[delta("tests/test_new.py", (1, 2), true)]);
        assert_eq!(tests(&found), ["tests/test_new.py", "tests/test_old.py"]);
        assert!(found.former);
    }

    fn step(name: &str, ended: StepEnd) -> StepReport {
        StepReport {
            name: name.into(),
            command: "x".into(),
            ended,
            millis: 1,
            required: true,
            log: String::new(),
            failing_tests: Vec::new(),
            tests_run: None,
            unheard: Vec::new(),
            excused: false,
        }
    }

    #[test]
    fn only_a_step_that_ended_by_itself_noticed_anything() {
        let report = |steps| GateReport {
            commit: CommitId::new("1".repeat(40)).unwrap(),
            tree: TreeId::new("2".repeat(40)).unwrap(),
            gate: crate::ids::GateId::new("3".repeat(64)).unwrap(),
            steps,
            score: 0,
            log_hash: String::new(),
            tier: "none".into(),
            failing_tests: Vec::new(),
            tests_run: None,
            reused: false,
            vacuous: None,
            former_runs: Vec::new(),
        };
        let of = |end| noticed("a thing".into(), &report(vec![step("t", end)]));
        assert_eq!(of(StepEnd::Exit(1)), ("a thing".into(), vec!["t".to_owned()]));
        assert_eq!(of(StepEnd::Exit(0)), ("a thing".into(), vec![]));
        let (what, red) = of(StepEnd::TimedOut);
        assert!(
            red.is_empty() && what.contains("`t` did not come to its end: timed out"),
            "{what}"
        );
        let mut hollow = report(vec![step("t", StepEnd::Exit(0))]);
        hollow.vacuous = Some("no tests".into());
        assert_eq!(noticed("a thing".into(), &hollow).1, Vec::<String>::new());
    }
}
