//! Workspaces between two attempts: put back, brought back, taken over from a killed process.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command};

use nightshift::{
    diff::FileMode,
    git::{Vault, user::UserRepository},
    ids::{RepoPath, TreeId},
    workspace::{Kind, Slot, Store, Workspace},
};

struct Scene {
    root: tempfile::TempDir,
    vault: Vault,
    store: Store,
    base: TreeId,
}

impl Scene {
    fn new() -> Scene {
        let root = tempfile::tempdir().unwrap();
        let repo = root.path().join("repo");
        fs::create_dir_all(repo.join("src/deep")).unwrap();
        fs::write(repo.join("src/deep/a.txt"), "a\n").unwrap();
        fs::write(repo.join("src/b.txt"), "b\n").unwrap();
        fs::write(repo.join("large.bin"), "x".repeat(5_000)).unwrap();
        fs::write(repo.join(".gitignore"), "/target\n").unwrap();
        symlink("b.txt", repo.join("src/link")).unwrap();
        for arguments in [
            &["init", "-q", "-b", "main"][..],
            &["add", "-A"],
            &["-c", "user.name=T", "-c", "user.email=t@localhost", "commit", "-q", "-m", "base"],
        ] {
            assert!(
                Command::new("git")
                    .arg("-C")
                    .arg(&repo)
                    .args(arguments)
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let user = UserRepository::open(&repo).unwrap();
        let vault = Vault::prepare(&root.path().join("vault.git"), &user).unwrap();
        let head = user.resolve("refs/heads/main").unwrap().unwrap();
        let base = vault.tree_of(&head).unwrap();
        let store = Store::new(&vault, &root.path().join("work"));
        Scene { root, vault, store, base }
    }

    fn place(&self) -> PathBuf {
        self.root.path().join("work/agent-0/tree")
    }

    fn lay_out(&self) -> Workspace {
        self.store.lay_out(Kind::Pool, &Slot::agent(0), &self.base, None, 1_000).unwrap()
    }

    fn reopen(&self) -> Workspace {
        // What a killed process left is known to nobody.
        let store = Store::new(&self.vault, &self.root.path().join("work"));
        store.reopen(&Slot::agent(0), "me", &self.base, 1_000).unwrap().unwrap()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.place().join(path)
    }
}

fn changed(workspace: &Workspace) -> Vec<String> {
    let changes = workspace.changes().unwrap();
    assert!(changes.odd.is_empty(), "{:?}", changes.odd);
    changes.edits.keys().map(ToString::to_string).collect()
}

#[test]
fn a_workspace_that_is_taken_over_shows_the_same_changes() {
    let scene = Scene::new();
    let laid_out = scene.lay_out();
    laid_out.claim("me").unwrap();
    assert!(changed(&scene.reopen()).is_empty(), "a large file of the base is none");
    fs::write(scene.path("src/b.txt"), "c\n").unwrap();
    fs::write(scene.path("src/new.txt"), "new\n").unwrap();
    fs::create_dir(scene.path("target")).unwrap();
    fs::write(scene.path("target/out"), "ignored\n").unwrap();
    fs::remove_file(scene.path("src/deep/a.txt")).unwrap();
    let expected = ["src/b.txt", "src/deep/a.txt", "src/new.txt"];
    assert_eq!(changed(&laid_out), expected);
    assert_eq!(changed(&scene.reopen()), expected);
}

#[test]
fn what_was_refused_is_put_back_and_the_rest_stays() {
    let scene = Scene::new();
    let workspace = scene.lay_out();
    fs::write(scene.path("src/b.txt"), "c\n").unwrap();
    fs::write(scene.path("src/new.txt"), "new\n").unwrap();
    fs::write(scene.path("stray"), "stray\n").unwrap();
    fs::remove_file(scene.path("src/link")).unwrap();
    let back: Vec<RepoPath> = ["src/b.txt", "stray", "src/link"].map(RepoPath::from).to_vec();
    workspace.put(&scene.base, &back).unwrap();
    assert_eq!(changed(&workspace), ["src/new.txt"]);
    assert_eq!(fs::read_link(scene.path("src/link")).unwrap(), PathBuf::from("b.txt"));
}

#[test]
fn putting_back_follows_nothing() {
    let scene = Scene::new();
    let workspace = scene.lay_out();
    let outside = scene.root.path().join("outside");
    fs::create_dir_all(outside.join("deep")).unwrap();
    fs::write(outside.join("deep/a.txt"), "mine\n").unwrap();
    fs::remove_dir_all(scene.path("src")).unwrap();
    symlink(&outside, scene.path("src")).unwrap();
    let back = [RepoPath::from("src/deep/a.txt"), RepoPath::from("src/b.txt")];
    workspace.put(&scene.base, &back).unwrap();
    assert_eq!(fs::read_to_string(outside.join("deep/a.txt")).unwrap(), "mine\n");
    assert!(!outside.join("b.txt").exists());
    assert_eq!(fs::read_to_string(scene.path("src/deep/a.txt")).unwrap(), "a\n");
    assert_eq!(changed(&workspace), ["src/link"]);
    // The file itself may be a link too.
    fs::remove_file(scene.path("src/b.txt")).unwrap();
    symlink(outside.join("deep/a.txt"), scene.path("src/b.txt")).unwrap();
    workspace.put(&scene.base, &[RepoPath::from("src/b.txt")]).unwrap();
    assert_eq!(fs::read_to_string(outside.join("deep/a.txt")).unwrap(), "mine\n");
    assert!(!fs::symlink_metadata(scene.path("src/b.txt")).unwrap().is_symlink());
}

#[test]
fn an_earlier_state_is_brought_into_a_fresh_workspace() {
    let scene = Scene::new();
    let workspace = scene.lay_out();
    fs::write(scene.path("src/b.txt"), "c\n").unwrap();
    fs::remove_dir_all(scene.path("src/deep")).unwrap();
    fs::write(scene.path("src/deep"), "a file now\n").unwrap();
    let edits = workspace.changes().unwrap().edits;
    let stored = nightshift::git::landing::store_tree(&scene.vault, &scene.base, &edits).unwrap();
    let (tree, diff) = stored;
    workspace.release().unwrap();
    let fresh = scene.lay_out();
    let paths: Vec<RepoPath> =
        diff.changes.iter().flat_map(|change| change.paths().cloned()).collect();
    fresh.put(&tree, &paths).unwrap();
    assert_eq!(fresh.changes().unwrap().edits, edits);
    assert_eq!(edits[&RepoPath::from("src/deep")].as_ref().unwrap().0, FileMode::Regular);
}
