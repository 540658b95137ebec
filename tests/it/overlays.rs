//! Workspaces made of layers: what a mount shows, what is read back, what is kept, and what it costs.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use nightshift::{
    git::landing,
    ids::RepoPath,
    workspace::{CacheId, Collect, InUse, Kind, Slot, Store, Workspace, probe},
};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::support::layers::{
    EXECUTABLE, Files, GITLINK, REGULAR, SYMLINK, Scene, can_mount, collect, files, run, shell,
    times,
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

/// How many stacks there are.
fn notes(scene: &Scene) -> usize {
    let entries = fs::read_dir(scene.work().join("layers")).unwrap();
    entries
        .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().contains('-'))
        .count()
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
            let linked = fs::metadata(lower[0].join("new/1")).unwrap().nlink();
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
        1 => path().prop_map(|p| format!("test -f {p} && chmod 644 {p}")),
        1 => path().prop_map(|p| format!("chmod 700 {p}")),
        1 => path().prop_map(|p| format!("touch {p}")),
        1 => path().prop_map(|p| format!("touch -d 2001-01-01 {p}")),
        1 => (path(), path()).prop_map(|(p, q)| format!("ln {p} {q}")),
        1 => (path(), path()).prop_map(|(p, q)| format!("cp -dT {p} {q}")),
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
            || path.split('/').any(|name| name.strip_suffix(".log").is_some())
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
    let mut earlier = base();
    earlier.remove("src/b.txt");
    earlier.insert("new".to_owned(), (REGULAR, "a file here\n".to_owned()));
    earlier.insert("a.txt/inside".to_owned(), (EXECUTABLE, "a directory here\n".to_owned()));
    earlier.remove("a.txt");
    let earlier = scene.tree(&earlier);
    let compare = |deeds: Vec<String>| {
        let script: Vec<String> =
            deeds.iter().map(|deed| format!("({deed}) 2>/dev/null\n")).collect();
        let script = format!("umask 022\n{}true", script.concat());
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
        // Some of it put back, as the base or as an earlier attempt had it.
        let wanted = if deeds.len().is_multiple_of(2) { &tree } else { &earlier };
        let some: Vec<RepoPath> = ours.edits.keys().step_by(2).cloned().collect();
        layered.put(wanted, &some).unwrap();
        pooled.put(wanted, &some).unwrap();
        let (ours, other) = (layered.changes().unwrap(), pooled.changes().unwrap());
        prop_assert_eq!(&ours.odd, &other.odd, "{} {:?}", script, some);
        prop_assert_eq!(&ours.edits, &other.edits, "{} {:?}", script, some);
        if ours.odd.is_empty() {
            let candidate = scene.candidate(&layered, &tree);
            let seen = scene.view(&layered);
            prop_assert_eq!(scene.files(&candidate), expected(&seen, &base()), "put {}", script);
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

#[test]
fn no_program_can_forge_the_marks_of_a_layer() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let tree = scene.tree(&base());
    let workspace = scene.lay_out(&agent(), &tree, None);
    let overlay = workspace.overlay().unwrap();
    let mut command =
        shell(&overlay, "touch empty mine; mkdir made; echo x > made/x; echo ready; cat");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    // As the program sees it: through the mount.
    let inside = Path::new("/proc").join(child.id().to_string()).join("root");
    let inside = inside.join(overlay.at.strip_prefix("/").unwrap());
    let none = rustix::fs::XattrFlags::empty();
    let set = |path: &str, name: &str, value: &[u8]| {
        // The kernel escapes the name, or refuses it.
        let _ = rustix::fs::lsetxattr(inside.join(path), name, value, none);
    };
    for name in ["user.overlay.", "user.overlay.overlay.", "trusted.overlay."] {
        set("src/deep", &format!("{name}opaque"), b"y");
        set("docs", &format!("{name}redirect"), b"/src");
        set("empty", &format!("{name}whiteout"), b"y");
        set("a.txt", &format!("{name}whiteout"), b"y");
        set("made", &format!("{name}opaque"), b"x");
    }
    let whiteout = rustix::fs::mknodat(
        rustix::fs::CWD,
        inside.join("made/x2"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::empty(),
        0,
    );
    assert!(whiteout.is_err());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(overlay.upper.join("src/deep").is_dir(), "it was touched");
    let changes = workspace.changes().unwrap();
    assert!(changes.odd.is_empty(), "{:?}", changes.odd);
    let changed: Vec<String> = changes.edits.keys().map(ToString::to_string).collect();
    assert_eq!(changed, ["empty", "made/x", "mine"]);
    let candidate = scene.candidate(&workspace, &tree);
    assert_eq!(scene.view(&workspace), scene.files(&candidate));
}

#[test]
fn a_layer_that_is_shown_as_well_is_no_change_and_stays_as_it_is() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let tree = scene.tree(&base());
    let layer = scene.root.path().join("layer");
    fs::create_dir_all(layer.join(".git/refs")).unwrap();
    fs::write(layer.join(".git/HEAD"), "ref: refs/heads/work\n").unwrap();
    let mut workspace = scene.lay_out(&agent(), &tree, None);
    workspace.show(&layer).unwrap();
    assert_eq!(fs::read_dir(workspace.own()).unwrap().count(), 0, "nothing is copied");
    workspace.claim("agent").unwrap();
    drop(workspace);
    // Another process finds it as well.
    let workspace = scene.store.reopen(&agent(), "agent", &tree, 1_000).unwrap().unwrap();
    let script =
        "grep -q work .git/HEAD && echo mine > .git/HEAD && touch .git/refs/new && echo a2 > a.txt";
    run(&workspace.overlay().unwrap(), script);
    let changed: Vec<String> =
        workspace.changes().unwrap().edits.keys().map(ToString::to_string).collect();
    assert_eq!(changed, ["a.txt"]);
    run(&workspace.overlay().unwrap(), "grep -q mine .git/HEAD && rm -r .git && test ! -e .git");
    assert_eq!(workspace.changes().unwrap().edits.len(), 1);
    assert_eq!(fs::read_to_string(layer.join(".git/HEAD")).unwrap(), "ref: refs/heads/work\n");
    assert!(!layer.join(".git/refs/new").exists());
    // Without it the workspace is not whole.
    drop(workspace);
    fs::remove_dir_all(&layer).unwrap();
    assert!(scene.store.reopen(&agent(), "agent", &tree, 1_000).unwrap().is_none());
}

#[test]
fn layers_that_were_foreseen_are_those_that_are_used() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    drop(scene.lay_out(&agent(), &scene.tree(&base()), None));
    let mut tip = base();
    tip.insert("new/file".to_owned(), (REGULAR, "new\n".to_owned()));
    let tree = scene.tree(&tip);
    scene.store.foresee(Kind::Pool, &tree, None).unwrap();
    assert_eq!(layers(&scene), [1], "a directory cannot be foreseen");
    scene.store.foresee(Kind::Overlay, &tree, None).unwrap();
    assert_eq!(layers(&scene), [1, 2]);
    let workspace = scene.lay_out(&Slot::gate(), &tree, None);
    assert_eq!(layers(&scene), [1, 2]);
    assert_eq!(scene.view(&workspace), tip);
}

#[test]
fn a_whiteout_of_either_form_is_a_removal() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let tree = scene.tree(&base());
    let workspace = scene.lay_out(&agent(), &tree, None);
    // As a newer kernel writes it.
    let upper = workspace.own().to_owned();
    fs::write(upper.join("a.txt"), "").unwrap();
    let none = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(upper.join("a.txt"), "user.overlay.whiteout", b"y", none).unwrap();
    run(&workspace.overlay().unwrap(), "rm run.sh && test ! -e a.txt");
    let changes = workspace.changes().unwrap();
    let removed: Vec<String> = changes.edits.keys().map(ToString::to_string).collect();
    assert_eq!(removed, ["a.txt", "run.sh"]);
    assert!(changes.edits.values().all(Option::is_none));
}

#[test]
fn a_device_or_a_pipe_is_odd_and_a_whiteout_over_nothing_is_nothing() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let workspace = scene.lay_out(&agent(), &scene.tree(&base()), None);
    let script = "mkfifo src/pipe; mkdir -p x/.git; ln a.txt linked; ln -s /etc/passwd out\n\
                  mkdir target/d; mkfifo target/d/p; echo x > gone; rm gone; mkdir .git";
    run(&workspace.overlay().unwrap(), script);
    let changes = workspace.changes().unwrap();
    let odd: Vec<(String, &str)> =
        changes.odd.iter().map(|odd| (odd.path.to_string(), odd.what.as_str())).collect();
    let expected = [
        ("linked", "a hard link to another file"),
        ("out", "a symbolic link that leaves the repository"),
        ("src/pipe", "a named pipe"),
        ("x/.git", "a nested git repository"),
    ];
    assert_eq!(odd, expected.map(|(path, what)| (path.to_owned(), what)));
    assert!(changes.edits.is_empty(), "{:?}", changes.edits);
}

fn cache(name: &str) -> CacheId {
    CacheId::new(&[name.as_bytes()])
}

/// A gate of the base that leaves something in ignored paths, kept.
fn gate_leaves(scene: &Scene, tree: &Files, below: Option<&str>, script: &str, name: &str) {
    let below = below.map(cache);
    let gate = scene.lay_out(&Slot::gate(), &scene.tree(tree), below.as_ref());
    run(&gate.overlay().unwrap(), script);
    let kept = scene.store.keep_cache(&gate, &cache(name)).unwrap();
    assert_eq!(kept.copied_bytes, 0);
    assert!(gate.changes().unwrap().edits.is_empty(), "its upper directory is fresh");
    assert!(scene.store.has_cache(&cache(name)));
    gate.release().unwrap();
}

const BUILD: &str = "mkdir -p target/deep; echo lib > target/deep/lib.o; echo log > docs/two.log\n\
                     echo junk > stray; echo more >> a.txt; rm src/b.txt; mkfifo target/pipe\n\
                     mkdir -p .git new/target; echo x > .git/x; echo x > new/target/x";

fn with(files: &Files, more: &[(&str, u32, &str)]) -> Files {
    let mut files = files.clone();
    files.extend(more.iter().map(|(p, mode, text)| ((*p).to_owned(), (*mode, (*text).to_owned()))));
    files
}

const LIB: (&str, u32, &str) = ("target/deep/lib.o", REGULAR, "lib\n");
const LOG: (&str, u32, &str) = ("docs/two.log", REGULAR, "log\n");

#[test]
fn a_cache_is_what_the_base_gate_left_in_ignored_paths() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    gate_leaves(&scene, &base(), None, BUILD, "one");
    let tree = scene.tree(&base());
    let workspace = scene.lay_out(&agent(), &tree, Some(&cache("one")));
    assert_eq!(scene.view(&workspace), with(&base(), &[LIB, LOG]));
    assert!(workspace.changes().unwrap().edits.is_empty());
    let built = times(&scene.copy_of_view(&workspace));
    // A program may do with it what it likes, the next finds it as it was.
    run(&workspace.overlay().unwrap(), "echo y > target/deep/lib.o; rm docs/two.log");
    assert!(workspace.changes().unwrap().edits.is_empty());
    workspace.release().unwrap();
    let tip = with(&base(), &[("a.txt", REGULAR, "changed\n")]);
    let gate = scene.lay_out(&Slot::gate(), &scene.tree(&tip), Some(&cache("one")));
    assert_eq!(scene.view(&gate), with(&tip, &[LIB, LOG]));
    for (path, time) in times(&scene.copy_of_view(&gate)) {
        assert!(path != "a.txt" || time > built[LIB.0], "older than what was built of another");
        assert_eq!(time == built[&path], path != "a.txt", "{path}");
    }
}

#[test]
fn a_newer_base_adds_to_an_older_cache() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    gate_leaves(&scene, &base(), None, BUILD, "one");
    let newer = with(&base(), &[("src/b.txt", REGULAR, "newer\n")]);
    let script = "rm -r target/deep; mkdir target/deep; echo 2 > target/deep/two.o; echo >> a.txt";
    gate_leaves(&scene, &newer, Some("one"), script, "two");
    let two = ("target/deep/two.o", REGULAR, "2\n");
    let workspace = scene.lay_out(&agent(), &scene.tree(&newer), Some(&cache("two")));
    assert_eq!(scene.view(&workspace), with(&newer, &[two, LOG]));
    let lowest = workspace.overlay().unwrap().lower.pop().unwrap();
    assert_eq!(fs::metadata(lowest.join(LOG.0)).unwrap().nlink(), 2, "a second name, no copy");
    // The older one is as it was.
    let gate = scene.lay_out(&Slot::gate(), &scene.tree(&base()), Some(&cache("one")));
    assert_eq!(scene.view(&gate), with(&base(), &[LIB, LOG]));
}

#[test]
fn a_cache_never_hides_a_file_of_the_tree_and_adds_none_that_it_does_not_ignore() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    gate_leaves(&scene, &base(), None, BUILD, "one");
    let lay_out = |tree: &Files| scene.lay_out(&agent(), &scene.tree(tree), Some(&cache("one")));
    let tracked = with(&base(), &[("target/deep/lib.o", REGULAR, "tracked\n")]);
    assert_eq!(scene.view(&lay_out(&tracked)), with(&tracked, &[LOG]));
    let file = with(&base(), &[("target/deep", REGULAR, "a file\n")]);
    assert_eq!(scene.view(&lay_out(&file)), with(&file, &[LOG]));
    let less = with(&base(), &[(".gitignore", REGULAR, "*.log\n")]);
    assert_eq!(scene.view(&lay_out(&less)), with(&less, &[LOG]), "target/ is not ignored");
    let inner = with(&base(), &[("docs/.gitignore", REGULAR, "!two.log\n")]);
    assert_eq!(scene.view(&lay_out(&inner)), with(&inner, &[LIB]));
}

/// The marks of what a candidate removed lie above the cache.
#[test]
fn what_a_candidate_removes_hides_nothing_of_the_cache() {
    if !can_mount() {
        return;
    }
    let without = |files: &Files, paths: &[&str]| {
        let mut files = files.clone();
        files.retain(|path, _| !paths.contains(&path.as_str()));
        files
    };
    let tracked = ("target/deep/tracked.o", REGULAR, "tracked\n");
    let only = without(&base(), &["target/kept.txt"]);
    // A directory that its owner cannot write, with something that no cache holds.
    let build = "echo 3 > target/deep/three.o; ln -s /etc target/out; mkfifo target/deep/pipe; chmod 555 target/deep";
    let three = ("target/deep/three.o", REGULAR, "3\n");
    let out = ("target/out", SYMLINK, "/etc");
    let first = with(&base(), &[tracked, ("gen/.gitignore", REGULAR, "*.c\n")]);
    let steps = [
        // The only tracked files of an ignored directory, of one below it, of one with its own list.
        with(&without(&first, &["target/kept.txt"]), &[("b.txt", REGULAR, "b\n")]),
        with(&only, &[("gen/.gitignore", REGULAR, "*.c\n")]),
        only.clone(),
        // There again; another kind; and gone for good.
        with(&only, &[("target/kept.txt", REGULAR, "again\n"), ("target/out/x", REGULAR, "x\n")]),
        with(&only, &[("target/deep", REGULAR, "a file\n")]),
        with(&only, &[("c.txt", REGULAR, "c\n")]),
        with(&only, &[three]),
        only.clone(),
    ];
    let scene = Scene::new();
    let script = format!("{BUILD}; {build}; echo int > gen/a.c");
    gate_leaves(&scene, &first, None, &script, "one");
    // Both kinds have the same of one cache, where one stack grew from the other and where it is whole.
    let both = |tree: &Files, how: &str| {
        let id = scene.tree(tree);
        let layers = scene.lay_out(&agent(), &id, Some(&cache("one")));
        let pool = Slot::agent(1);
        let pool = scene.store.lay_out(Kind::Pool, &pool, &id, Some(&cache("one")), 1_000).unwrap();
        let mut files = Files::new();
        collect(pool.directory(), "", &mut files);
        let view = scene.view(&layers);
        assert_eq!(view, files, "{how}");
        assert!(layers.changes().unwrap().edits.is_empty(), "{how}");
        layers.release().unwrap();
        pool.release().unwrap();
        view
    };
    for (number, tree) in steps.iter().enumerate() {
        let view = both(tree, &format!("step {number}"));
        for (path, mode, text) in [LOG, three, out] {
            let other = tree.keys().any(|name| {
                let (name, path) = (Path::new(name), Path::new(path));
                name.starts_with(path) || path.starts_with(name)
            });
            let expected = (mode, text.to_owned());
            assert!(other || view.get(path) == Some(&expected), "step {number}: {path}");
        }
    }
    fs::remove_dir_all(scene.work().join("layers")).unwrap();
    both(&only, "whole");
}

#[test]
fn no_build_tool_takes_another_source_for_the_one_that_the_cache_saw() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let other = with(&base(), &[("a.txt", REGULAR, "other\n")]);
    // The other's layers are older than the cache, and hold a file that its maker never saw.
    scene.lay_out(&agent(), &scene.tree(&other), None).release().unwrap();
    gate_leaves(&scene, &base(), None, BUILD, "one");
    let workspace = scene.lay_out(&agent(), &scene.tree(&other), Some(&cache("one")));
    let times = times(&scene.copy_of_view(&workspace));
    assert!(times["a.txt"] > times[LIB.0], "older than what was built of another");
    assert!(times["src/b.txt"] <= times[LIB.0], "and what is the same is not built again");
    assert_eq!(scene.view(&workspace), with(&other, &[LIB, LOG]));
}

/// What another process sees.
fn reopen(scene: &Scene, owner: &str, tree: &Files) -> Option<Workspace> {
    let store = Store::new(&scene.vault, &scene.work());
    store.reopen(&agent(), owner, &scene.tree(tree), 1_000_000).unwrap()
}

#[test]
fn a_slot_is_taken_over_by_its_owner_as_it_was_left() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    gate_leaves(&scene, &base(), None, BUILD, "one");
    let workspace = scene.lay_out(&agent(), &scene.tree(&base()), Some(&cache("one")));
    workspace.claim("me").unwrap();
    run(&workspace.overlay().unwrap(), "rm a.txt; echo new > new; echo 2 > target/two.o");
    let left = scene.view(&workspace);
    assert!(reopen(&scene, "another", &base()).is_none());
    assert!(reopen(&scene, "me", &with(&base(), &[("x", REGULAR, "")])).is_none());
    let taken = reopen(&scene, "me", &base()).unwrap();
    assert_eq!(scene.view(&taken), left);
    assert_eq!(taken.changes().unwrap().edits, workspace.changes().unwrap().edits);
    fs::remove_dir_all(scene.work().join("layers/1")).unwrap();
    assert!(reopen(&scene, "me", &base()).is_none(), "its layers are gone");
}

#[test]
fn layers_of_another_boot_are_not_believed_unless_they_are_on_the_disk() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let tip = with(&base(), &[("a.txt", REGULAR, "tip\n")]);
    for tree in [&base(), &tip] {
        scene.lay_out(&agent(), &scene.tree(tree), None).release().unwrap();
    }
    assert_eq!(layers(&scene), [1, 2]);
    let note = scene.work().join("layers").join(format!("2-{}", scene.tree(&tip)));
    let text = fs::read_to_string(&note).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    fs::write(&note, text.replace(boot.trim(), "another")).unwrap();
    assert_ne!(fs::read_to_string(&note).unwrap(), text);
    // As a power cut may leave it.
    fs::write(scene.work().join("layers/2/a.txt"), "").unwrap();
    let workspace = scene.lay_out(&agent(), &scene.tree(&tip), None);
    assert_eq!(scene.view(&workspace), tip);
    assert_eq!(layers(&scene), [1, 2, 3], "and the first was not made again");
}

#[test]
fn nothing_of_an_earlier_use_is_left() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let slot = scene.work().join("agent-0");
    let tree = scene.tree(&base());
    let workspace = scene.lay_out(&agent(), &tree, None);
    run(&workspace.overlay().unwrap(), "mkdir locked; echo x > locked/x; chmod 000 locked");
    workspace.release().unwrap();
    // What is still there is being removed, under a name that nobody looks at.
    let mut left = fs::read_dir(&slot).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.all(|name| name.to_str().unwrap().starts_with("gone-")));
    // Killed before it was given back.
    let workspace = scene.lay_out(&agent(), &tree, None);
    run(&workspace.overlay().unwrap(), "mkdir locked; echo x > locked/x; chmod 000 locked");
    drop(workspace);
    let store = Store::new(&scene.vault, &scene.work());
    let workspace = store.lay_out(Kind::Overlay, &agent(), &tree, None, 1_000_000).unwrap();
    assert_eq!(scene.view(&workspace), base());
    workspace.claim("me").unwrap();
    // A new night forgets what nobody claims, and old layers; not what somebody holds.
    for step in 0..20 {
        let tip = with(&base(), &[("step", REGULAR, &step.to_string())]);
        scene.lay_out(&Slot::gate(), &scene.tree(&tip), None).release().unwrap();
    }
    fs::create_dir(scene.work().join("layers/99")).unwrap();
    let store = Store::new(&scene.vault, &scene.work());
    store.clear(&["me".to_owned()].into()).unwrap();
    let rules = Collect { older_than: Duration::from_secs(3600), largest: u64::MAX };
    let in_use = InUse { trees: [scene.tree(&base())].into(), ..InUse::default() };
    store.collect(&rules, &in_use, SystemTime::now()).unwrap();
    assert!(!layers(&scene).contains(&99), "no stack has it");
    assert_eq!(notes(&scene), 9, "the newest eight and one that is held");
    let taken = reopen(&scene, "me", &base()).unwrap();
    assert_eq!(scene.view(&taken), base());
    drop(taken);
    store.clear(&std::collections::BTreeSet::new()).unwrap();
    assert_eq!(fs::read_dir(&slot).unwrap().count(), 0);
}

#[test]
fn a_directory_that_gives_its_group_on_is_no_trap() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let work = scene.work();
    fs::create_dir(&work).unwrap();
    // Only root may give it to a group that it is not in; for others the bit alone is tried.
    let _ = std::os::unix::fs::chown(&work, None, Some(12_345));
    fs::set_permissions(&work, fs::Permissions::from_mode(0o2770)).unwrap();
    gate_leaves(&scene, &base(), None, BUILD, "one");
    let workspace = scene.lay_out(&agent(), &scene.tree(&base()), Some(&cache("one")));
    run(&workspace.overlay().unwrap(), "echo x >> target/deep/lib.o && echo y >> a.txt");
    assert_eq!(workspace.changes().unwrap().edits.len(), 1);
}

#[test]
fn what_is_needed_is_tried_where_it_is_needed() {
    let scene = Scene::new();
    fs::create_dir(scene.work()).unwrap();
    if let Err(problem) = probe(&scene.work()) {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: no layers in {}: {problem}",
            scene.work().display()
        );
        return;
    }
    assert_eq!(fs::read_dir(scene.work()).unwrap().count(), 0, "nothing is left");
    let strange = scene.root.path().join("a:b");
    fs::create_dir(&strange).unwrap();
    assert!(probe(&strange).unwrap_err().contains("colon"));
    // Here nobody makes a file.
    assert!(probe(Path::new("/proc/self")).is_err());
}

/// As an agent would: three files changed, one new, one ignored, each copied up by the kernel.
fn edit(upper: &Path, round: usize) {
    for file in 0..3 {
        let path = upper.join(format!("d0/e{file}/f{file}.txt"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{file} in round {round}\n").repeat(100)).unwrap();
    }
    fs::write(upper.join(format!("d0/new-{round}")), "new\n").unwrap();
    fs::create_dir_all(upper.join("target")).unwrap();
    fs::write(upper.join("target/x"), "ignored\n").unwrap();
}

/// What a landed task costs in overlays, without the mounts. Not part of a test run: it measures.
///
/// `cargo test --release --test it -- --ignored --nocapture what_a_task_costs_in_layers`
#[test]
#[ignore = "measures: takes a minute and needs a release build"]
fn what_a_task_costs_in_layers() {
    for count in [100, 10_000, 100_000] {
        let shm = Path::new("/dev/shm");
        let scene = Scene::in_directory(if shm.is_dir() { shm } else { Path::new("/tmp") });
        let mut tip = scene.packed(count);
        let start = Instant::now();
        scene.lay_out(&agent(), &tip, None).release().unwrap();
        let fresh = start.elapsed();
        let mut parts: [Vec<Duration>; 6] = Default::default();
        for round in 0..60 {
            let mut took = |part: usize, since: Instant| parts[part].push(since.elapsed());
            let whole = Instant::now();
            let workspace = scene.lay_out(&agent(), &tip, None);
            took(0, whole);
            let not_ours = Instant::now();
            edit(workspace.own(), round);
            let not_ours = not_ours.elapsed();
            let start = Instant::now();
            let changes = workspace.changes().unwrap();
            took(1, start);
            assert_eq!(changes.edits.len(), 4);
            let start = Instant::now();
            tip = landing::store_tree(&scene.vault, &tip, &changes.edits).unwrap().0;
            took(2, start);
            let start = Instant::now();
            workspace.release().unwrap();
            let gate = scene.lay_out(&Slot::gate(), &tip, None);
            took(3, start);
            let start = Instant::now();
            gate.release().unwrap();
            took(4, start);
            parts[5].push(whole.elapsed().saturating_sub(not_ours));
        }
        let milliseconds = |time: Duration| time.as_secs_f64() * 1_000.0;
        let worst = parts[5].iter().max().copied().map(milliseconds).unwrap();
        let [agent, changes, stored, gate, release, task] = parts.each_mut().map(|part| {
            part.sort();
            milliseconds(part[part.len() / 2])
        });
        #[expect(clippy::print_stdout, reason = "its only purpose")]
        {
            println!(
                "{count} files: task {task:.1} ms, worst of 60 (one squashes) {worst:.1} (agent {agent:.1}, changes {changes:.1}, stored {stored:.1}, gate {gate:.1}, release {release:.1}); first layer {:.0} ms",
                milliseconds(fresh),
            );
        }
    }
}
