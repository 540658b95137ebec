//! The `.git` of an agent's workspace, judged by the real git.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nightshift::{
    git::{Vault, history, user::UserRepository},
    ids::CommitId,
};

struct Scene {
    root: tempfile::TempDir,
    vault: Vault,
}

impl Scene {
    /// A repository with more commits than an agent sees, a stash, and an object that no commit has.
    fn new() -> Scene {
        let root = tempfile::tempdir().unwrap();
        let repo = root.path().join("repo");
        fs::create_dir_all(repo.join("src/deep")).unwrap();
        git(&repo, &["init", "-q", "-b", "main"]);
        for number in 0..60 {
            fs::write(repo.join("src/deep/a.txt"), format!("{number}\n")).unwrap();
            fs::write(repo.join(format!("src/{}.txt", number % 7)), format!("{number}\n")).unwrap();
            commit(&repo, &format!("commit {number}"));
        }
        fs::write(repo.join("src/deep/a.txt"), "stashed\n").unwrap();
        git(&repo, &["stash", "-q"]);
        let user = UserRepository::open(&repo).unwrap();
        let vault = Vault::prepare(&root.path().join("vault.git"), &user).unwrap();
        Scene { root, vault }
    }

    fn repo(&self) -> PathBuf {
        self.root.path().join("repo")
    }

    fn shared(&self) -> PathBuf {
        self.root.path().join("history")
    }

    fn head(&self) -> CommitId {
        CommitId::new(git(&self.repo(), &["rev-parse", "HEAD"])).unwrap()
    }

    /// The files of HEAD with their throw-away repository.
    fn workspace(&self, name: &str) -> PathBuf {
        let place = self.root.path().join(name);
        fs::create_dir(&place).unwrap();
        let archive = format!("git -C '{}' archive HEAD | tar -x", self.repo().display());
        assert!(
            Command::new("sh")
                .args(["-c", &archive])
                .current_dir(&place)
                .status()
                .unwrap()
                .success()
        );
        let layer = history::prepare(&self.vault, &self.head(), &self.shared()).unwrap();
        nightshift::files::copy_tree(&layer, &place).unwrap();
        place
    }

    fn packed(&self, commit: &CommitId) -> usize {
        let packs = self.shared().join(commit.as_str()).join("objects/pack");
        let index = fs::read_dir(packs).unwrap().flatten().map(|entry| entry.path());
        let index = index.filter(|path| path.extension().is_some_and(|ext| ext == "idx"));
        index
            .map(|path| {
                let text = format!("git show-index < '{}' | wc -l", path.display());
                let output = Command::new("sh").args(["-c", &text]).output().unwrap();
                String::from_utf8(output.stdout).unwrap().trim().parse::<usize>().unwrap()
            })
            .sum()
    }
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=T", "-c", "user.email=t@localhost"])
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn commit(repo: &Path, message: &str) {
    git(repo, &["add", "-A"]);
    git(repo, &["commit", "-q", "-m", message]);
}

fn is_sound(workspace: &Path, commits: &str) {
    assert_eq!(git(workspace, &["status", "--porcelain"]), "");
    assert_eq!(git(workspace, &["rev-list", "--count", "HEAD"]), commits);
    git(workspace, &["fsck", "--full", "--strict"]);
    // Every object of every commit can be read.
    git(workspace, &["log", "-p", "--stat"]);
}

#[test]
fn an_agent_sees_recent_history_and_nothing_of_the_persons() {
    let scene = Scene::new();
    let workspace = scene.workspace("work");
    is_sound(&workspace, "50");
    let stash = git(&scene.repo(), &["rev-parse", "stash@{0}"]);
    let seen =
        Command::new("git").args(["cat-file", "-e", &stash]).current_dir(&workspace).output();
    assert!(!seen.unwrap().status.success(), "the stash is seen");
}

#[test]
fn a_new_tip_costs_what_is_new_in_it() {
    let scene = Scene::new();
    let base = scene.head();
    history::prepare(&scene.vault, &base, &scene.shared()).unwrap();
    let of_base = scene.packed(&base);
    fs::write(scene.repo().join("src/new.txt"), "new\n").unwrap();
    fs::remove_file(scene.repo().join("src/0.txt")).unwrap();
    commit(&scene.repo(), "one");
    let workspace = scene.workspace("one");
    is_sound(&workspace, "51");
    // The commit, the root, `src` and the file.
    assert_eq!(scene.packed(&scene.head()), 4);
    assert!(of_base > 100, "{of_base}");

    // A merge, whose second parent nobody has seen.
    git(&scene.repo(), &["checkout", "-q", "-b", "side", base.as_str()]);
    fs::write(scene.repo().join("side.txt"), "side\n").unwrap();
    commit(&scene.repo(), "side");
    git(&scene.repo(), &["checkout", "-q", "main"]);
    git(&scene.repo(), &["merge", "-q", "--no-ff", "-m", "merged", "side"]);
    let merged = scene.workspace("merged");
    is_sound(&merged, "53");
}

#[test]
fn a_long_chain_begins_anew() {
    let scene = Scene::new();
    for number in 0..30 {
        fs::write(scene.repo().join("tip.txt"), format!("{number}\n")).unwrap();
        commit(&scene.repo(), &format!("tip {number}"));
        history::prepare(&scene.vault, &scene.head(), &scene.shared()).unwrap();
    }
    let workspace = scene.workspace("work");
    let alternates = fs::read_to_string(workspace.join(".git/objects/info/alternates")).unwrap();
    assert!(alternates.lines().count() < 25, "{alternates}");
    assert_eq!(git(&workspace, &["status", "--porcelain"]), "");
    git(&workspace, &["fsck", "--full"]);
}

#[test]
fn a_store_that_was_cut_off_is_made_again() {
    let scene = Scene::new();
    let base = scene.head();
    history::prepare(&scene.vault, &base, &scene.shared()).unwrap();
    let store = scene.shared().join(base.as_str());
    fs::remove_file(store.join("store.json")).unwrap();
    fs::write(store.join("layer/.git/HEAD"), "half").unwrap();
    is_sound(&scene.workspace("work"), "50");
}

#[test]
fn what_a_persons_gc_moves_is_found_again() {
    let scene = Scene::new();
    let (first, head) = (git(&scene.repo(), &["rev-parse", "HEAD~9"]), scene.head());
    let first = CommitId::new(first).unwrap();
    // The vault keeps what it opened here.
    let before = scene.vault.tree_of(&head).unwrap();
    git(&scene.repo(), &["repack", "-a", "-d", "-q"]);
    let old = scene.vault.tree_of(&first).unwrap();
    git(&scene.repo(), &["repack", "-a", "-d", "-q", "-F", "--window=1"]);
    git(&scene.repo(), &["prune-packed"]);
    fs::write(scene.repo().join("new.txt"), "new\n").unwrap();
    commit(&scene.repo(), "after all that");
    assert_eq!(scene.vault.tree_of(&head).unwrap(), before);
    assert_eq!(scene.vault.list(&before).unwrap().len(), 8);
    let changed = scene.vault.diff(&old, &scene.vault.tree_of(&scene.head()).unwrap()).unwrap();
    assert!(changed.changes.iter().any(|change| change.path == "new.txt".into()));
}
