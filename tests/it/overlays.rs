//! Workspaces made of layers: what a mount shows, what is read back, what is kept, and what it costs.

use std::{
    collections::BTreeMap, fs, os::unix::fs::MetadataExt as _, path::Path, process::Command,
};

use nightshift::workspace::{Kind, Slot};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::support::layers::{
    EXECUTABLE, Files, GITLINK, REGULAR, SYMLINK, Scene, can_mount, files, run, times,
};

fn base() -> Files {
    files(&[
        (".gitignore", REGULAR, "/target\n*.log\n"),
        ("a.txt", REGULAR, "a\n"),
        ("run.sh", EXECUTABLE, "#!/bin/sh\n"),
        ("src/b.txt", REGULAR, "b\n"),
        ("src/link", SYMLINK, "b.txt"),
        ("src/deep/c.txt", REGULAR, "c\n"),
        ("src/deep/d.txt", REGULAR, "d\n"),
        ("src/deep/er/e.txt", REGULAR, ""),
        ("docs/one.log", REGULAR, "tracked, though ignored\n"),
        ("target/kept.txt", REGULAR, "tracked below what is ignored\n"),
        ("sub", GITLINK, ""),
    ])
}

fn agent() -> Slot {
    Slot::agent(0)
}

/// Numbers of the layers that are there.
fn layers(scene: &Scene) -> Vec<u64> {
    let entries = fs::read_dir(scene.work().join("layers")).unwrap();
    let mut numbers: Vec<u64> =
        entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

fn in_layer(scene: &Scene, number: u64) -> Vec<String> {
    fn walk(directory: &Path, at: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{at}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &format!("{path}/"), found);
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&scene.work().join("layers").join(number.to_string()), "", &mut found);
    found.sort();
    found
}

#[test]
fn a_program_sees_the_tree_and_outside_there_is_nothing() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let workspace = scene.lay_out(&agent(), &scene.tree(&base()), None);
    assert_eq!(scene.view(&workspace), base());
    assert_eq!(fs::read_dir(workspace.directory()).unwrap().count(), 0);
    assert!(workspace.changes().unwrap().edits.is_empty());
    let gate = scene.lay_out(&Slot::gate(), &scene.tree(&base()), None);
    assert_eq!(gate.directory(), workspace.directory(), "one path for all");
    assert_eq!(layers(&scene), [1], "one layer for both");
}

#[test]
fn a_new_tip_costs_its_difference_and_no_unchanged_file_gets_a_new_time() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let first = scene.lay_out(&agent(), &scene.tree(&base()), None);
    let before = times(&scene.copy_of_view(&first));
    let mut tip = base();
    tip.insert("src/deep/c.txt".to_owned(), (REGULAR, "changed\n".to_owned()));
    tip.remove("src/b.txt");
    tip.insert("new/file".to_owned(), (REGULAR, "new\n".to_owned()));
    let second = scene.lay_out(&Slot::gate(), &scene.tree(&tip), None);
    assert_eq!(in_layer(&scene, 2), ["new/file", "src/b.txt", "src/deep/c.txt"]);
    assert_eq!(scene.view(&second), tip);
    let after = times(&scene.copy_of_view(&second));
    for (path, time) in &after {
        let changed = path == "src/deep/c.txt" || path == "new/file";
        assert_eq!(before.get(path) != Some(time), changed, "{path}");
    }
}

/// A tree that differs in up to three paths; `step` makes new contents.
fn edited(files: &Files, step: usize, picks: &[usize]) -> Files {
    // Every path stands for a file in one tree and for a directory in another.
    const PATHS: [&str; 9] =
        ["a.txt", "src", "src/b.txt", "src/deep", "src/deep/c.txt", "x", "x/y", "x/y/z", "sub"];
    let mut files = files.clone();
    for pick in picks {
        let path = PATHS[pick % PATHS.len()];
        if pick % 3 == 0 {
            files.retain(|name, _| name != path && !name.starts_with(&format!("{path}/")));
            continue;
        }
        let above = |name: &str| path.starts_with(&format!("{name}/"));
        let below = |name: &str| name.starts_with(&format!("{path}/"));
        files.retain(|name, _| !above(name) && !below(name));
        let mode = [REGULAR, EXECUTABLE, SYMLINK, GITLINK][(pick / 9) % 4];
        let text = if mode == GITLINK { String::new() } else { format!("text-{step}") };
        files.insert(path.to_owned(), (mode, text));
    }
    files
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4, ..ProptestConfig::default() })]

    /// Also where forty layers are squashed into one: files become directories and the other way round.
    #[test]
    fn every_stack_shows_its_tree(
        steps in proptest::collection::vec(proptest::collection::vec(0_usize..360, 1..4), 45..50),
    ) {
        if !can_mount() {
            return Ok(());
        }
        let scene = Scene::new();
        let mut tree = base();
        let mut deepest = 0;
        for (step, picks) in steps.iter().enumerate() {
            tree = edited(&tree, step, picks);
            tree.insert("step".to_owned(), (REGULAR, step.to_string()));
            let workspace = scene.lay_out(&agent(), &scene.tree(&tree), None);
            let lower = workspace.overlay().unwrap().lower.len();
            prop_assert!(lower <= 40, "{lower} layers");
            deepest = deepest.max(lower);
            // A look at some, and at all around the squashing.
            if step % 7 == 0 || step > 36 {
                prop_assert_eq!(scene.view(&workspace), tree.clone(), "step {}", step);
            }
            workspace.release().unwrap();
        }
        prop_assert!(deepest > 10, "{}", deepest);
    }
}

#[test]
fn squashing_changes_no_time_and_copies_nothing() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mut tree = base();
    let mut seen: BTreeMap<String, i128> = BTreeMap::new();
    let mut squashed = 0;
    let mut deep = 0;
    for step in 0..45 {
        let path = format!("new/{}", step % 5);
        tree.insert(path.clone(), (REGULAR, step.to_string()));
        let workspace = scene.lay_out(&agent(), &scene.tree(&tree), None);
        let lower = workspace.overlay().unwrap().lower;
        if lower.len() < deep {
            squashed += 1;
            assert_eq!(in_layer(&scene, step + 1).len(), 5, "all that changed since the first");
            let linked = fs::metadata(lower[0].join("new/0")).unwrap().nlink();
            assert_eq!(linked, 2, "the file of the older layer");
        }
        deep = lower.len();
        if step > 35 {
            let now = times(&scene.copy_of_view(&workspace));
            for (path, time) in seen.iter().filter(|(other, _)| **other != path) {
                assert_eq!(now.get(path), Some(time), "{path} at step {step}");
            }
            seen = now;
        }
        workspace.release().unwrap();
    }
    assert_eq!(squashed, 1);
}

/// One thing that a program does, as a line of shell. What fails, fails in both kinds alike.
fn deed() -> impl Strategy<Value = String> {
    const PATHS: [&str; 20] = [
        "a.txt",
        "run.sh",
        "src",
        "src/b.txt",
        "src/link",
        "src/deep",
        "src/deep/c.txt",
        "src/deep/er",
        "src/deep/er/e.txt",
        "docs",
        "docs/one.log",
        "docs/two.log",
        "target",
        "target/kept.txt",
        "target/out/x",
        "new",
        "new/f",
        "new/g/h",
        ".gitignore",
        "sub",
    ];
    let path = || proptest::sample::select(&PATHS[..]);
    prop_oneof![
        4 => (path(), 0..3).prop_map(|(p, n)| {
            format!("mkdir -p $(dirname {p}) && echo text-{n} > {p}")
        }),
        3 => path().prop_map(|p| format!("rm -rf {p}")),
        3 => (path(), path()).prop_map(|(p, q)| format!("mv -T {p} {q}")),
        2 => path().prop_map(|p| format!("rm -rf {p} && mkdir -p {p}")),
        2 => path().prop_map(|p| format!("mkdir -p {p}")),
        1 => path().prop_map(|p| format!("chmod +x {p}")),
        1 => path().prop_map(|p| format!("chmod 644 {p}")),
        1 => path().prop_map(|p| format!("chmod 700 {p}")),
        1 => path().prop_map(|p| format!("touch {p}")),
        1 => path().prop_map(|p| format!("touch -d 2001-01-01 {p}")),
        1 => (path(), path()).prop_map(|(p, q)| format!("ln {p} {q}")),
        1 => (path(), path()).prop_map(|(p, q)| format!("cp -aT {p} {q}")),
        1 => path().prop_map(|p| format!("ln -sfn a.txt {p}")),
        1 => path().prop_map(|p| format!("ln -s ../../out {p}")),
        1 => path().prop_map(|p| format!("mkfifo {p}")),
        1 => path().prop_map(|p| format!("mkdir -p {p}/.git")),
        1 => Just("mkdir -p .git/objects && echo x > .git/config".to_owned()),
        // Back to the base's contents: no change at all.
        1 => Just("rm -rf a.txt && echo a > a.txt".to_owned()),
    ]
}

/// What a candidate must hold by its view alone: all that is not ignored or is of the base, and no
/// submodule that is not of the base.
fn expected(view: &Files, base: &Files) -> Files {
    let ignored = |path: &str| {
        path == "target"
            || path.starts_with("target/")
            || path.split('/').any(|name| name.ends_with(".log"))
    };
    let of_base = |path: &str| base.contains_key(path);
    let mut found = view.clone();
    found.retain(|path, (mode, _)| {
        let plain = *mode != GITLINK || base.get(path).is_some_and(|(mode, _)| *mode == GITLINK);
        plain && (of_base(path) || !ignored(path)) && !path.starts_with(".git/")
    });
    found
}

#[test]
fn what_is_read_back_is_what_a_program_sees() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let tree = scene.tree(&base());
    let compare = |deeds: Vec<String>| {
        let script = deeds.iter().map(|deed| format!("({deed}) 2>/dev/null\n")).collect::<String>();
        let script = format!("umask 022\n{script}true");
        let layered = scene.lay_out(&agent(), &tree, None);
        run(&layered.overlay().unwrap(), &script);
        let pooled =
            scene.store.lay_out(Kind::Pool, &Slot::gate(), &tree, None, 1_000_000).unwrap();
        let mut command = Command::new("sh");
        let done = command.args(["-c", &script]).current_dir(pooled.directory()).status().unwrap();
        prop_assert!(done.success());
        let (ours, other) = (layered.changes().unwrap(), pooled.changes().unwrap());
        prop_assert_eq!(&ours.odd, &other.odd, "{}", script);
        prop_assert_eq!(&ours.edits, &other.edits, "{}", script);
        if ours.odd.is_empty() {
            let candidate = scene.candidate(&layered, &tree);
            let seen = scene.view(&layered);
            prop_assert_eq!(scene.files(&candidate), expected(&seen, &base()), "{}", script);
        }
        layered.release().unwrap();
        pooled.release().unwrap();
        Ok(())
    };
    let config =
        ProptestConfig { failure_persistence: None, cases: 60, ..ProptestConfig::default() };
    let deeds = proptest::collection::vec(deed(), 1..9);
    TestRunner::new(config).run(&deeds, compare).unwrap();
}
