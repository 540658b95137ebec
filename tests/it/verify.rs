//! `nightshift verify` on fresh clones by the real git, without our state: what it believes, and what not.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::support::{
    github::TOKEN,
    night::{Ran, TestNight, walls},
};

const AGENT: &str = "echo x > src/$NIGHTSHIFT_TASK.txt; echo y > tests/${NIGHTSHIFT_TASK}_test.txt";
const GATE: &str = ".ai-validation/check_quality.sh";

/// A remote that a night of three tasks was pushed to, and the night's name.
struct Scene {
    night: TestNight,
    name: String,
}

/// A fresh clone of the remote with the night's branch checked out as `work`, and a HOME of its own.
struct Fresh {
    root: tempfile::TempDir,
}

fn three_tasks() -> TestNight {
    TestNight::new()
        .one_at_a_time()
        .task("t1", "Add one")
        .task("t2", "Add two")
        .task("t3", "Add three")
        .agent(AGENT)
}

impl Scene {
    fn new() -> Scene {
        Scene::of(three_tasks().run(&[]).exit(0).landed(["t1", "t2", "t3"]))
    }

    fn of(ran: Ran) -> Scene {
        let name = ran.branch().unwrap().strip_prefix("nightshift/").unwrap().to_owned();
        let ran = ran.says(&format!("nightshift verify {name}"));
        Scene { name, night: ran.then() }
    }

    fn receipts(&self) -> String {
        format!("refs/nightshift/receipts/{}", self.name)
    }

    fn clone(&self) -> Fresh {
        self.clone_with(&[])
    }

    fn clone_with(&self, arguments: &[&str]) -> Fresh {
        let fresh = Fresh { root: tempfile::tempdir().unwrap() };
        fs::create_dir(fresh.root.path().join("home")).unwrap();
        let url = format!("file://{}", self.night.remote().display());
        let into = fresh.directory();
        let into = into.to_str().unwrap();
        let all = [&["clone", "-q"], arguments, &[url.as_str(), into]].concat();
        git(fresh.root.path(), &all);
        if into_work_tree(&fresh.directory()) {
            let branch = format!("origin/nightshift/{}", self.name);
            git(&fresh.directory(), &["checkout", "-q", "-B", "work", &branch]);
        }
        fresh
    }
}

fn into_work_tree(directory: &Path) -> bool {
    directory.join(".git").exists()
        && !git(directory, &["for-each-ref", "refs/remotes/origin/nightshift"]).is_empty()
}

fn git_output(directory: &Path, arguments: &[&str]) -> Output {
    Command::new("git")
        .args(["-c", "core.editor=true", "-c", "advice.detachedHead=false"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([("GIT_AUTHOR_NAME", "Eve"), ("GIT_AUTHOR_EMAIL", "eve@localhost")])
        .envs([("GIT_COMMITTER_NAME", "Eve"), ("GIT_COMMITTER_EMAIL", "eve@localhost")])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = git_output(directory, arguments);
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

impl Fresh {
    fn directory(&self) -> PathBuf {
        self.root.path().join("clone")
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.directory(), arguments)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.directory().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn commit(&self, arguments: &[&str]) {
        self.git(&["add", "-A"]);
        self.git(&[&["commit", "-q", "--allow-empty"], arguments].concat());
    }

    fn short(&self, revision: &str) -> String {
        self.git(&["rev-parse", "--short=7", revision])
    }

    fn message(&self, revision: &str) -> String {
        self.git(&["log", "-1", "--format=%B", revision])
    }

    fn sandbox(&self, what: &str) {
        let config = self.root.path().join("home/.config/nightshift");
        fs::create_dir_all(&config).unwrap();
        fs::write(config.join("nightshift.yml"), format!("sandbox: {what}\n")).unwrap();
    }

    /// Exit code and all that was said.
    fn verify(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_nightshift"))
            .arg("verify")
            .args(arguments)
            .current_dir(self.directory())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.root.path().join("home"))
            .envs([("TZ", "UTC"), ("COLUMNS", "1000"), ("LANG", "C")])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        // The answer is last.
        let text = [&*output.stderr, &*output.stdout].concat();
        (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
    }

    #[track_caller]
    fn is_proven(&self, arguments: &[&str]) -> String {
        let (exit, said) = self.verify(arguments);
        assert_eq!(exit, 0, "{said}");
        assert!(said.lines().last().unwrap().starts_with("proven: "), "{said}");
        said
    }

    /// Not proven, each of these commits is named with these words, and the verdict names them alone.
    #[track_caller]
    fn is_not_proven(&self, arguments: &[&str], named: &[(&str, &str)]) -> String {
        let (exit, said) = self.verify(arguments);
        assert_eq!(exit, 1, "{said}");
        let mut those = Vec::new();
        for (revision, words) in named {
            let short = self.short(revision);
            let line = said.lines().find(|line| line.starts_with(&format!("  NO    {short}")));
            let line = line.unwrap_or_else(|| panic!("no line for {revision} {short}:\n{said}"));
            assert!(line.contains(words), "no `{words}` in:\n{line}");
            those.push(short);
        }
        let verdict = said.lines().last().unwrap();
        assert!(verdict.starts_with("not proven: "), "{said}");
        assert!(verdict.contains(&format!("({})", those.join(", "))), "{named:?}\n{said}");
        said
    }
}

#[test]
fn a_nights_branch_is_proven_on_a_clone_that_knows_nothing_of_us() {
    let scene = Scene::new();
    let fresh = scene.clone();
    let said = fresh.is_proven(&[]);
    assert!(said.ends_with("proven: 3 commits, by receipts\n"), "{said}");
    assert_eq!(said.matches("the gate passed at its tree").count(), 3, "{said}");
    for line in ["t1: ", "t2: ", "t3: "] {
        assert_eq!(said.matches(line).count(), 1, "{said}");
    }
    for what in [
        scene.name.as_str(),
        &format!("nightshift/{}", scene.name),
        &format!("origin/main..origin/nightshift/{}", scene.name),
        "HEAD~1",
    ] {
        fresh.is_proven(&[what]);
    }
    // What was fetched once is here.
    fresh.is_proven(&["--no-fetch"]);
    let (exit, said) = fresh.verify(&["--json"]);
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((exit, &answer["schema"]), (0, &json!("nightshift.verify/1")));
    assert_eq!(answer["data"]["proven"], json!(true));
    let standings = answer["data"]["commits"].as_array().unwrap().iter();
    assert!(standings.clone().all(|c| c["standing"] == json!("landed")) && standings.len() == 3);
    // Nothing of it came from anywhere but the remote, and nothing stands in the clone.
    assert_eq!(fresh.git(&["for-each-ref", "refs/nightshift"]), "");
    assert_eq!(fresh.git(&["status", "--porcelain"]), "");
    // Where the night ran, its own branch is meant.
    let own = scene.night.command(&["verify"]).output().unwrap();
    let own = String::from_utf8_lossy(&own.stdout).into_owned();
    assert!(own.starts_with(&format!("night {} at ", scene.name)), "{own}");
    assert!(own.ends_with("proven: 3 commits, by receipts\n"), "{own}");
    let status = scene.night.command(&["status"]).output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains(&format!("nightshift verify {}", scene.name)), "{status}");
}

#[test]
fn whoever_changes_a_tree_is_found_and_the_commit_is_named() {
    let scene = Scene::new();
    let changed = [("HEAD", "it was changed after the gate")];

    let fresh = scene.clone();
    fresh.write("src/t3.txt", "more\n");
    fresh.commit(&["--amend", "--no-edit"]);
    fresh.is_not_proven(&[], &changed);

    let fresh = scene.clone();
    fresh.git(&["rebase", "-q", "--onto", "HEAD~2", "HEAD~1"]);
    fresh.is_not_proven(&[], &changed);

    let fresh = scene.clone();
    fresh.git(&["checkout", "-q", "-B", "work", "origin/main"]);
    let branch = format!("origin/nightshift/{}", scene.name);
    for back in ["~1", "~2", "~0"] {
        fresh.git(&["cherry-pick", &format!("{branch}{back}")]);
    }
    let said = fresh.is_not_proven(&[], &[("HEAD~2", "changed after the gate")]);
    // After two of them the tree is the one that passed, whatever the message says; so is the last one.
    assert_eq!(said.matches("same tree as").count(), 2, "{said}");
    assert!(said.contains("its trailers are those of another tree"), "{said}");

    let fresh = scene.clone();
    let script = fresh.directory().join("src/a.txt");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    fresh.commit(&["--amend", "--no-edit"]);
    fresh.is_not_proven(&[], &changed);

    let fresh = scene.clone();
    let message = fresh.message("HEAD");
    fresh.git(&["reset", "-q", "--soft", "origin/main"]);
    fresh.write("src/extra.txt", "x\n");
    fresh.commit(&["-m", &message]);
    fresh.is_not_proven(&[], &changed);
}

#[test]
fn a_squash_that_keeps_the_tree_is_proven_whatever_its_message() {
    let scene = Scene::new();
    let fresh = scene.clone();
    let last = fresh.short("HEAD");
    let all: Vec<String> = ["HEAD~2", "HEAD~1", "HEAD"].map(|at| fresh.message(at)).into();
    for message in [
        "Everything of the night".to_owned(),
        all[2].clone(),
        all[0].clone(),
        format!("Squashed\n\n* {}", all.join("\n\n* ")),
    ] {
        fresh.git(&["reset", "-q", "--soft", "origin/main"]);
        fresh.commit(&["-m", &message]);
        // It claims nothing, or it claims: proven either way, also where it must be.
        let said = fresh.is_proven(&["--require-all"]);
        assert!(said.contains(&format!("same tree as {last}, which passed")), "{said}");
    }
}

#[test]
fn forged_papers_prove_nothing() {
    let scene = Scene::new();
    let fresh = scene.clone();
    let message = fresh.message("HEAD");
    let tree = fresh.git(&["rev-parse", "HEAD^{tree}"]);

    // Trailers of a real commit, copied; and made to name the new tree.
    fresh.write("src/evil.txt", "evil\n");
    fresh.commit(&["-m", &message]);
    fresh.is_not_proven(&[], &[("HEAD", "it was changed after the gate")]);
    let evil = fresh.git(&["rev-parse", "HEAD^{tree}"]);
    fresh.commit(&["--amend", "-m", &message.replace(&tree, &evil)]);
    fresh.is_not_proven(&[], &[("HEAD", "no receipt for its tree")]);

    // A real receipt under the name of the new tree, in a ref of the clone and of the remote.
    fresh.git(&["fetch", "-q", "origin", &format!("{0}:{0}", scene.receipts())]);
    let receipt = fresh.git(&["show", &format!("{}:{tree}", scene.receipts())]);
    put_receipt(&fresh, &scene.receipts(), &evil, &receipt);
    fresh.is_not_proven(&[], &[("HEAD", "is for the tree")]);

    // One that names the tree, and forgets its own report.
    let forge = |change: &dyn Fn(&mut Value)| {
        let mut forged: Value = serde_json::from_str(&receipt).unwrap();
        forged["commit"] = json!(fresh.git(&["rev-parse", "HEAD"]));
        forged["parent"] = json!(fresh.git(&["rev-parse", "HEAD~1"]));
        forged["tree"] = json!(evil);
        change(&mut forged);
        put_receipt(&fresh, &scene.receipts(), &evil, &forged.to_string());
    };
    forge(&|_| ());
    fresh.is_not_proven(&[], &[("HEAD", "its receipt contradicts itself: its gate ran on")]);
    let whole = |forged: &mut Value| forged["report"]["tree"] = json!(evil);
    type Change<'a> = Box<dyn Fn(&mut Value) + 'a>;
    let file = |blob: String| json!({"path": "src/a.txt", "mode": "Regular", "blob": blob});
    let own = file(fresh.git(&["rev-parse", "origin/main:src/a.txt"]));
    let set = |pointer: &'static str, value: Value| -> Change<'_> {
        let (object, key) = pointer.rsplit_once('/').unwrap();
        Box::new(move |it| it.pointer_mut(object).unwrap()[key] = value.clone())
    };
    let protect = |file: Value| -> Change<'_> {
        Box::new(move |it| it["protected"].as_array_mut().unwrap().push(file.clone()))
    };
    let executable: Change<'_> = Box::new(|it| it["protected"][0]["mode"] = json!("Executable"));
    let base = serde_json::from_str::<Value>(&receipt).unwrap()["base"]["commit"].clone();
    let step = |run: &str| json!([{"name": "a", "run": run, "timeout_s": 60, "required": true, "weight": 1}]);
    let forgeries = [
        (set("/night", json!("2020-01-01")), "stands among those of"),
        (set("/parent", base), "another parent"),
        (set("/gate/steps/0/run", json!("true")), "another gate: its steps were `true`"),
        (set("/gate/setup", step("wget x")), "another gate: its set-up were `wget x`, and none in"),
        (set("/gate/env", json!(["EVIL"])), "another gate: its environment was [EVIL]"),
        (set("/gate/network", json!(["evil.example"])), "another gate: its network"),
        (set("/protected", json!([])), "another gate: .ai-validation/check_quality.sh"),
        (executable, "another gate: .ai-validation/check_quality.sh was not as the base"),
        (protect(file("ab".repeat(20))), "another gate: src/a.txt was not as the base has it"),
        (protect(own), "gate id is not that of the steps and files that it names"),
        (set("/plan", json!(GATE)), "takes .ai-validation/check_quality.sh for the plan"),
        (set("/report/steps", json!([])), "its gate was red"),
        (set("/report/steps/0/ended", json!({"exit": 1})), "its gate was red: "),
        (set("/report/steps/0/command", json!("true")), "the steps that ran are not the gate's"),
        (set("/report/vacuous", json!("no tests")), "its gate was red"),
        (set("/gate/id", json!("ab".repeat(32))), "its report is of another gate"),
        (set("/report/gate", json!("ab".repeat(32))), "its report is of another gate"),
        (
            Box::new(|it: &mut Value| {
                it["report"]["steps"][0]["ended"] = json!({"exit": 1});
                it["report"]["steps"][0]["excused"] = json!(true);
            }),
            "a red step was excused, and the built-in settings of the base excuses none",
        ),
    ];
    for (change, words) in forgeries {
        forge(&|forged| {
            whole(forged);
            change(forged);
        });
        fresh.is_not_proven(&[], &[("HEAD", words)]);
    }
    for (text, words) in [
        ("{\"schema\":\"nightshift.receipt/9\"}", "it is of the form `nightshift.receipt/9`"),
        ("not json", "cannot be read"),
    ] {
        put_receipt(&fresh, &scene.receipts(), &evil, text);
        fresh.is_not_proven(&[], &[("HEAD", words)]);
    }
    // A message that claims another gate, or another night, than its receipt.
    forge(&whole);
    let honest = message.replace(&tree, &evil);
    for (from, to, what) in [
        ("Night: 20", "Night: 19", "night"),
        ("Task: t3", "Task: t4", "task"),
        ("Gate: ", "Gate: 0", "gate"),
    ] {
        fresh.commit(&["--amend", "-m", &honest.replace(from, to)]);
        let words = format!("its message names another {what} than its receipt");
        fresh.is_not_proven(&[], &[("HEAD", &words)]);
    }
    fresh.commit(&["--amend", "-m", &message]);
    forge(&whole);
    fresh.is_not_proven(&[], &[("HEAD", "its message does not name its own tree")]);
}

/// Puts a receipt into a ref of the clone, under the name of a tree.
fn put_receipt(fresh: &Fresh, name: &str, tree: &str, text: &str) {
    fresh.write(".git/forged", text);
    let blob = fresh.git(&["hash-object", "-w", ".git/forged"]);
    let listing = fresh.git(&["ls-tree", name]);
    let kept = listing.lines().filter(|line| !line.ends_with(tree));
    let lines: Vec<String> =
        kept.map(str::to_owned).chain([format!("100644 blob {blob}\t{tree}")]).collect();
    fresh.write(".git/lines", &(lines.join("\n") + "\n"));
    let script =
        format!("git update-ref {name} $(git commit-tree -m x $(git mktree < .git/lines))");
    let done = Command::new("sh")
        .args(["-c", &script])
        .current_dir(fresh.directory())
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "Eve")))
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "eve@localhost")))
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// What `verify` says it cannot see without `--rerun`: whoever may push receipts can write one that fits.
#[test]
fn a_receipt_that_fits_is_believed_and_the_gate_itself_is_not_fooled() {
    let scene = Scene::new();
    let fresh = scene.clone();
    let (message, tree) = (fresh.message("HEAD"), fresh.git(&["rev-parse", "HEAD^{tree}"]));
    fresh.write("src/evil.txt", "broken\n");
    fresh.commit(&["-m", "x"]);
    let evil = fresh.git(&["rev-parse", "HEAD^{tree}"]);
    fresh.commit(&["--amend", "-m", &message.replace(&tree, &evil)]);
    fresh.git(&["fetch", "-q", "origin", &format!("{0}:{0}", scene.receipts())]);
    let receipt = fresh.git(&["show", &format!("{}:{tree}", scene.receipts())]);
    let mut forged: Value = serde_json::from_str(&receipt).unwrap();
    forged["commit"] = json!(fresh.git(&["rev-parse", "HEAD"]));
    forged["parent"] = json!(fresh.git(&["rev-parse", "HEAD~1"]));
    forged["tree"] = json!(evil);
    forged["report"]["tree"] = json!(evil);
    put_receipt(&fresh, &scene.receipts(), &evil, &forged.to_string());
    fresh.is_proven(&[]);

    fresh.sandbox(&walls());
    let said =
        fresh.is_not_proven(&["--rerun"], &[("HEAD", "run again now, the gate does not pass")]);
    assert!(said.contains("running the gate on 4 trees and on the base"), "{said}");
    assert!(!fresh.root.path().join("clone/.git/nightshift").exists());
}

#[test]
fn a_gate_or_a_configuration_that_the_base_does_not_have_is_named() {
    let scene = Scene::new();
    // In a commit of the night.
    let fresh = scene.clone();
    fresh.write(GATE, "#!/bin/sh\nexit 0\n");
    fresh.commit(&["--amend", "--no-edit"]);
    let words = format!("protected files are not the base's: {GATE}");
    fresh.is_not_proven(&[], &[("HEAD", &words)]);
    let fresh = scene.clone();
    fresh.write(".nightshift/config.yml", "version: 1\n");
    fresh.commit(&["--amend", "--no-edit"]);
    fresh.is_not_proven(&[], &[("HEAD", "base's: .nightshift/config.yml")]);
    // Of a person: not ours to judge, and worth a word.
    let fresh = scene.clone();
    fresh.write(GATE, "#!/bin/sh\nexit 0\n");
    fresh.commit(&["-m", "mine"]);
    let said = fresh.is_proven(&[]);
    assert!(said.contains("not ours; protected files are not the base's"), "{said}");
    fresh.is_not_proven(&["--require-all"], &[("HEAD", "no receipt for its tree")]);

    // In the base, after the night: brought in by the button that updates a branch.
    for (path, text, words) in [
        (GATE, "#!/bin/sh\nexit 0\n", format!("another gate: {GATE} was not as the base has it")),
        (
            ".nightshift/config.yml",
            "version: 1\ngate:\n  steps:\n    - {name: quick, run: 'true'}\n",
            "another gate: its steps were `bash .ai-validation/check_quality.sh`, and `true` in \
             .nightshift/config.yml of the base"
                .to_owned(),
        ),
    ] {
        let fresh = scene.clone();
        fresh.git(&["checkout", "-q", "-b", "other", "origin/main"]);
        fresh.write(path, text);
        fresh.commit(&["-m", "another gate"]);
        fresh.git(&["checkout", "-q", "work"]);
        fresh.git(&["merge", "-q", "other", "-m", "update"]);
        let all = ["HEAD~3", "HEAD~2", "HEAD~1"].map(|at| (at, words.as_str()));
        fresh.is_not_proven(&["--base", "other"], &all);
        // The merge itself is a person's: nothing is said about it, unless it is asked for.
        fresh.is_not_proven(
            &["--base", "other", "--require-all"],
            &[all[0], all[1], all[2], ("HEAD", "no receipt")],
        );
    }
}

#[test]
fn without_receipts_nothing_is_proven_and_a_run_of_the_gate_proves_it() {
    let scene = Scene::new();
    git(&scene.night.remote(), &["update-ref", "-d", &scene.receipts()]);
    let fresh = scene.clone();
    let none = "no receipt for its tree";
    fresh.is_not_proven(&[], &[("HEAD~2", none), ("HEAD~1", none), ("HEAD", none)]);
    fresh.sandbox(&walls());
    let said = fresh.is_proven(&["--rerun"]);
    assert!(said.contains("running the gate on 3 trees and on the base"), "{said}");
    assert!(said.ends_with("proven: 3 commits, by running the gate again\n"), "{said}");
}

#[test]
fn a_branch_on_a_moved_base_is_not_proven_until_the_gate_runs_again() {
    let scene = Scene::new();
    let fresh = scene.clone();
    fresh.git(&["checkout", "-q", "-b", "other", "origin/main"]);
    fresh.write("src/other.txt", "fine\n");
    fresh.commit(&["-m", "somebody else's"]);
    fresh.git(&["push", "-q", "origin", "other:main"]);
    fresh.git(&["checkout", "-q", "work"]);
    fresh.git(&["rebase", "-q", "origin/main"]);
    let moved = "it was changed after the gate";
    fresh.is_not_proven(&[], &[("HEAD~2", moved), ("HEAD~1", moved), ("HEAD", moved)]);
    fresh.sandbox(&walls());
    let said = fresh.is_proven(&["--rerun"]);
    assert_eq!(said.matches("the gate passed at its tree").count(), 3, "{said}");
    assert!(said.contains("no receipt for its tree"), "{said}");
}

#[test]
fn without_walls_the_gate_is_not_run_again_unless_the_person_says_so() {
    let night = three_tasks().tier("off");
    let count = night.path("count");
    let counting = format!(
        "#!/bin/sh\necho run >> '{}'\nif grep -rn broken src; then exit 1; fi\n",
        count.display()
    );
    let scene = Scene::of(night.gate(&counting).run(&[]).exit(0));
    let fresh = scene.clone();
    fresh.sandbox("off");
    // Nothing of an earlier run is taken for this one.
    for _ in 0..2 {
        fs::write(&count, "").unwrap();
        fresh.is_proven(&["--rerun"]);
        assert_eq!(fs::read_to_string(&count).unwrap().lines().count(), 4);
    }
    // A gate that is red on its own base says nothing.
    let fresh = scene.clone();
    fresh.sandbox("off");
    fresh.git(&["checkout", "-q", "-B", "other", "origin/main"]);
    fresh.write("src/red.txt", "broken\n");
    fresh.commit(&["-m", "red"]);
    fresh.git(&["merge", "-q", "work", "-m", "update"]);
    let (exit, said) = fresh.verify(&["--rerun", "--base", "HEAD^1"]);
    assert_eq!(exit, 3, "{said}");
    assert!(said.contains("the gate is red on the base"), "{said}");
}

#[test]
fn two_nights_are_proven_each_by_its_own_receipts() {
    let ran = TestNight::new().task("t1", "Add one").agent(AGENT).run(&[]).exit(0);
    let first = Scene::of(ran);
    let night = first.night;
    night.git(&["merge", "-q", "--ff-only", &format!("nightshift/{}", first.name)]);
    night.git(&["push", "-q", "origin", "main"]);
    fs::write(night.repo().join("PROJECT_PLAN.md"), plan_of(&night)).unwrap();
    night.git(&["commit", "-qam", "plan"]);
    night.git(&["push", "-q", "origin", "main"]);
    let second = Scene::of(night.run(&[]).exit(0).says("LANDED 1"));
    assert_ne!(first.name, second.name);
    let fresh = second.clone();
    assert!(fresh.is_proven(&[]).ends_with("proven: 1 commit, by receipts\n"));
    assert!(fresh.is_proven(&[&second.name]).contains("t2: "));
    // The first is part of main by now: its receipts say where it began.
    let said = fresh.is_proven(&[&first.name]);
    assert!(said.contains("t1: ") && said.contains("is merged; looked at from"), "{said}");
    let (exit, said) = fresh.verify(&["origin/main"]);
    assert_eq!(
        (exit, said.lines().last()),
        (0, Some("nothing to verify: there is no commit that the base does not have"))
    );
    assert_eq!(fresh.verify(&["origin/main", "--require-all"]).0, 1);
    // Both, with the person's commit between them, which changes no gate.
    let root = fresh.git(&["rev-list", "--max-parents=0", "HEAD"]);
    let said = fresh.is_proven(&[&format!("{root}..HEAD")]);
    assert!(said.ends_with("proven: 2 of 3 commits, by receipts; 1 not ours\n"), "{said}");
}

fn plan_of(night: &TestNight) -> String {
    let now = fs::read_to_string(night.repo().join("PROJECT_PLAN.md")).unwrap();
    format!(
        "{now}\n→ **[t2]** Add two\n  - Alignment score: 95/100\n  - Estimated lines: 10\n  - Tests defined: \
         ✅ Yes\n  - Status: READY\n"
    )
}

#[test]
fn clones_of_every_kind_are_answered_or_told_what_to_fetch() {
    let scene = Scene::new();
    let bare = scene.clone_with(&["--bare"]);
    bare.is_proven(&[&scene.name]);
    let branch = format!("nightshift/{}", scene.name);
    bare.is_proven(&[&branch]);

    // As `actions/checkout` leaves it: one branch, one commit.
    let shallow = scene.clone_with(&["--depth", "1", "--branch", &branch]);
    let (exit, said) = shallow.verify(&["HEAD"]);
    assert_eq!(exit, 2, "{said}");
    assert!(said.contains("this clone is shallow") && said.contains("fetch-depth: 0"), "{said}");
    shallow.git(&["fetch", "-q", "--unshallow", "origin"]);
    shallow.is_proven(&["HEAD"]);

    // A pull request as GitHub shows it, by number and by address.
    let tip = scene.night.git(&["rev-parse", &branch]);
    git(&scene.night.remote(), &["update-ref", "refs/pull/7/head", &tip]);
    git(&scene.night.remote(), &["update-ref", "-d", &format!("refs/heads/{branch}")]);
    let fresh = scene.clone_with(&["--single-branch"]);
    let said = fresh.is_proven(&["7"]);
    assert!(said.starts_with("pull request 7 at "), "{said}");
    for (what, words) in [
        ("8", "there is no pull request 8, nor on origin"),
        ("https://github.com/o/r/pull/7", "is not the repository of the remote `origin`"),
        ("nowhere", "`nowhere` names no commit here, nor on origin"),
        ("2020-01-01", "there is no branch nightshift/2020-01-01 here"),
    ] {
        let (exit, said) = fresh.verify(&[what]);
        assert_eq!(exit, 2, "{said}");
        assert!(said.contains(words), "{said}");
    }
    let (exit, said) = fresh.verify(&["7", "--no-fetch"]);
    assert!(exit == 2 && said.contains("--no-fetch keeps from asking"), "{said}");
    // Nothing can be asked: what is here is believed, and what is not is said.
    fs::rename(scene.night.remote(), scene.night.path("gone")).unwrap();
    let away = fresh.verify(&["HEAD"]);
    assert!(away.0 == 0 && away.1.contains("could not be reached"), "{}", away.1);
}

#[test]
fn the_line_of_git_in_the_pull_request_finds_changed_trees_without_us() {
    let ran = three_tasks().run(&[]).exit(0);
    let body = ran.pull_request();
    let scene = Scene::of(ran);
    let fence = body.split("```sh\n").nth(1).unwrap().split("\n```").next().unwrap();
    let lines: Vec<&str> = fence.lines().collect();
    assert_eq!(lines.len(), 2, "{fence}");
    assert!(lines[1].starts_with(&format!("nightshift verify {}", scene.name)), "{fence}");
    let check = |fresh: &Fresh| {
        // Its branch is the remote's.
        fresh.git(&["push", "-q", "-f", "origin", &format!("HEAD:nightshift/{}", scene.name)]);
        let output = Command::new("sh")
            .args(["-c", lines[0]])
            .current_dir(fresh.directory())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.code().unwrap(), said)
    };
    let named = |fresh: &Fresh, at: &str| (1, format!("not gated: {}", fresh.short(at)));
    let tip = scene.night.git(&["rev-parse", &format!("nightshift/{}", scene.name)]);
    let fresh = scene.clone();
    assert_eq!(check(&fresh), (0, String::new()), "untouched");
    fresh.write("src/t3.txt", "more\n");
    fresh.commit(&["--amend", "--no-edit"]);
    assert_eq!(check(&fresh), named(&fresh, "HEAD"), "amended");
    fresh.git(&["reset", "-q", "--hard", &tip]);
    fresh.git(&["rebase", "-q", "--onto", "HEAD~2", "HEAD~1"]);
    assert_eq!(check(&fresh), named(&fresh, "HEAD"), "dropped");
    fresh.git(&["reset", "-q", "--hard", &tip]);
    fresh.git(&["reset", "-q", "--soft", "origin/main"]);
    fresh.write("src/extra.txt", "x\n");
    fresh.commit(&["-C", &tip]);
    assert_eq!(check(&fresh), named(&fresh, "HEAD"), "squashed with another tree");
    fresh.git(&["reset", "-q", "--hard", &tip]);
    fresh.git(&["reset", "-q", "--soft", "origin/main"]);
    fresh.commit(&["-C", &tip]);
    assert_eq!(check(&fresh), (0, String::new()), "squashed with the tree kept");
    fresh.git(&["reset", "-q", "--hard", &tip]);
    fresh.write("src/mine.txt", "x\n");
    fresh.commit(&["-m", "mine"]);
    assert_eq!(check(&fresh), named(&fresh, "HEAD"), "without a trailer");
}

#[test]
fn a_remote_that_takes_no_receipts_gets_the_branch_and_the_report_says_so() {
    let night = three_tasks().commit();
    let hook = night.remote().join("hooks/update");
    fs::write(&hook, "#!/bin/sh\ncase $1 in refs/heads/*) ;; *) echo no; exit 1;; esac\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let ran = night.run(&[]).exit(0).landed(["t1", "t2", "t3"]);
    let ran = ran.says("note: the receipts did not get out (the remote refused the push: ");
    let scene = Scene::of(ran);
    // They are safe in the person's own repository, as an ordinary ref.
    let listing = scene.night.git(&["ls-tree", "--name-only", &scene.receipts()]);
    assert_eq!(listing.lines().count(), 3, "{listing}");
    fs::remove_file(hook).unwrap();
    scene.night.git(&["push", "-q", "origin", &scene.receipts()]);
    scene.clone().is_proven(&[]);
}

#[test]
fn a_receipt_is_named_by_its_tree_and_holds_no_secret() {
    let secret = TOKEN;
    let masked = "true *** ***";
    let night = TestNight::new()
        .task("t1", "Add one")
        .agent(AGENT)
        .env("SOME_TOKEN", "hunter2hunter2")
        .file(
            ".nightshift/config.yml",
            format!(
                "version: 1\ngate:\n  steps:\n    - {{name: check, run: 'sh {GATE}'}}\n    \
                 - {{name: other, run: 'true hunter2hunter2 {secret}'}}\n"
            ),
        );
    let scene = Scene::of(night.run(&[]).exit(0).landed(["t1"]));
    let branch = format!("nightshift/{}", scene.name);
    let tree = scene.night.git(&["rev-parse", &format!("{branch}^{{tree}}")]);
    let text = scene.night.git(&["show", &format!("{}:{tree}", scene.receipts())]);
    assert!(!text.contains("hunter2") && !text.contains(secret), "{text}");
    assert!(text.contains(masked), "{text}");
    let receipt: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(receipt["schema"], json!("nightshift.receipt/1"));
    assert_eq!(receipt["tree"], json!(tree));
    assert_eq!(receipt["commit"], json!(scene.night.git(&["rev-parse", &branch])));
    assert_eq!(receipt["parent"], json!(scene.night.git(&["rev-parse", "main"])));
    assert_eq!(receipt["report"]["score"], json!(100));
    let paths: Vec<&str> = receipt["protected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert!(paths.contains(&GATE) && paths.contains(&".nightshift/config.yml"), "{paths:?}");
    assert!(!paths.contains(&"PROJECT_PLAN.md"), "{paths:?}");
    // What is masked cannot be computed again.
    scene.clone().is_not_proven(&[], &[("HEAD", "another gate: its steps were")]);
}

#[test]
fn a_branch_is_judged_as_the_remote_has_it_and_what_stands_here_is_named() {
    let scene = Scene::new();
    let branch = format!("nightshift/{}", scene.name);
    let stale = scene.clone();
    stale.git(&["branch", "-q", &branch, "HEAD"]);
    let old = stale.short("HEAD");
    let other = scene.clone();
    other.write("src/t3.txt", "more\n");
    other.commit(&["--amend", "--no-edit"]);
    let new = other.short("HEAD");
    other.git(&["push", "-q", "-f", "origin", &format!("HEAD:{branch}")]);

    let range = format!("origin/main..{branch}");
    let tracking = format!("origin/{branch}");
    let judged = |fresh: &Fresh, what: &[&str]| {
        let (exit, said) = fresh.verify(what);
        assert_eq!(exit, 1, "{what:?}: {said}");
        assert!(said.contains(&format!("  NO    {new}")), "{what:?}: {said}");
        let looked = format!("note: looked at {branch} of origin, which is at {new}; ");
        let here = format!("refs/remotes/origin/{branch} is at {old} here");
        assert!(said.contains(&looked) && said.contains(&here), "{what:?}: {said}");
        said
    };
    for what in [scene.name.as_str(), &branch, &tracking, &range] {
        let said = judged(&stale, &[what]);
        assert!(said.contains(&format!("refs/heads/{branch} is at {old} here")), "{said}");
    }
    // Bare, on the night's branch; and where the night ran.
    stale.git(&["checkout", "-q", &branch]);
    judged(&stale, &[]);
    let own = scene.night.command(&["verify"]).output().unwrap();
    assert_eq!(own.status.code(), Some(1), "{own:?}");
    // What is here is meant when the remote may not be asked.
    stale.is_proven(&[&scene.name, "--no-fetch"]);
    fs::rename(scene.night.remote(), scene.night.path("gone")).unwrap();
    let said = stale.is_proven(&[&scene.name]);
    let looked = format!("looked at refs/heads/{branch}, which is at {old}");
    assert!(said.contains("note: could not ask origin: ") && said.contains(&looked), "{said}");
}

#[test]
fn a_night_is_compared_with_what_landed_in_it() {
    let scene = Scene::new();
    let branch = format!("nightshift/{}", scene.name);
    let fresh = scene.clone();
    let tip = fresh.git(&["rev-parse", "HEAD"]);
    let shorts = ["HEAD~2", "HEAD~1", "HEAD"].map(|at| fresh.short(at));
    let missing = |task: usize| {
        format!("  NO    landed and not here: task t{task}, commit {}\n", shorts[task - 1])
    };
    let check = |found: &[String]| {
        fresh.git(&["push", "-q", "-f", "origin", &format!("HEAD:{branch}")]);
        let (exit, said) = fresh.verify(&[&scene.name]);
        assert_eq!(exit, i32::from(!found.is_empty()), "{said}");
        let findings =
            said.lines().filter(|l| l.contains("not here:") || l.contains("on its branch"));
        assert_eq!(findings.count(), found.len(), "{said}");
        for one in found {
            assert!(said.contains(one), "no `{one}` in:\n{said}");
        }
        fresh.git(&["reset", "-q", "--hard", &tip]);
        said
    };
    let foreign = |fresh: &Fresh| {
        format!("not of night {}, and on its branch: commit {}\n", scene.name, fresh.short("HEAD"))
    };
    check(&[]);

    fresh.git(&["reset", "-q", "--hard", "HEAD~1"]);
    let said = check(&[missing(3)]);
    assert!(
        said.ends_with("not proven: the branch is not what the night left (1 found)\n"),
        "{said}"
    );

    fresh.write("src/t3.txt", "more\n");
    fresh.commit(&["--amend", "-m", "nothing of ours"]);
    check(&[missing(3), foreign(&fresh)]);

    fresh.git(&["reset", "-q", "--hard", "origin/main"]);
    fresh.write("src/mine.txt", "x\n");
    fresh.commit(&["-m", "mine"]);
    check(&[missing(1), missing(2), missing(3), foreign(&fresh)]);

    fresh.git(&["reset", "-q", "--hard", "origin/main"]);
    check(&[missing(1), missing(2), missing(3)]);

    // Work of a person on top of it all.
    fresh.write("src/mine.txt", "x\n");
    fresh.commit(&["-m", "mine"]);
    check(&[foreign(&fresh)]);

    // A squash of all has all; a squash of two has two.
    fresh.git(&["reset", "-q", "--soft", "origin/main"]);
    fresh.commit(&["-m", "Everything"]);
    check(&[]);
    fresh.git(&["reset", "-q", "--hard", "HEAD~1"]);
    fresh.git(&["reset", "-q", "--soft", "origin/main"]);
    fresh.commit(&["-m", "The first two"]);
    check(&[missing(3)]);

    // Merged with a merge commit, the branch is what it was.
    fresh.git(&["checkout", "-q", "-B", "other", "origin/main"]);
    fresh.git(&["merge", "-q", "--no-ff", "-m", "merged", &tip]);
    fresh.git(&["push", "-q", "origin", "other:main"]);
    fresh.git(&["checkout", "-q", "work"]);
    assert!(check(&[]).contains("is merged; looked at from"));
}

#[test]
fn nights_are_counted_back_and_a_ref_that_holds_no_receipts_is_named() {
    let ran = TestNight::new().task("t1", "Add one").agent(AGENT).run(&[]).exit(0);
    let first = Scene::of(ran);
    let night = first.night;
    night.git(&["merge", "-q", "--ff-only", &format!("nightshift/{}", first.name)]);
    fs::write(night.repo().join("PROJECT_PLAN.md"), plan_of(&night)).unwrap();
    night.git(&["commit", "-qam", "plan"]);
    night.git(&["push", "-q", "origin", "main"]);
    let second = Scene::of(night.run(&[]).exit(0).says("LANDED 1"));
    let own = |what: &str| {
        let output = second.night.command(&["verify", what]).output().unwrap();
        let text = [&*output.stderr, &*output.stdout].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    for (what, name) in [("last", &second.name), ("last~0", &second.name), ("last~1", &first.name)]
    {
        let (exit, said) = own(what);
        assert!(exit == Some(0) && said.contains(&format!("night {name} at ")), "{said}");
    }
    let (exit, said) = own("last~2");
    assert!(exit == Some(2) && said.contains("there is no night `last~2` here"), "{said}");

    let fresh = second.clone();
    let blob = git(&second.night.remote(), &["rev-parse", "main:PROJECT_PLAN.md"]);
    git(&second.night.remote(), &["update-ref", &second.receipts(), &blob]);
    let said = fresh.is_not_proven(&[&second.name], &[("HEAD", "no receipt for its tree")]);
    let named = format!("note: {} stands at {}, which is no commit", second.receipts(), &blob[..7]);
    assert!(said.contains(&named), "{said}");
}
