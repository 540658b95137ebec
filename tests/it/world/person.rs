//! A person who works in the repository while a night runs there, at random and from a seed. Knows what the person's
//! own files and refs must be: what this script itself made of them, byte for byte.

use std::{
    collections::BTreeMap, fs, path::PathBuf, process::Command, thread::sleep, time::Duration,
};

use super::push_to_base;
use crate::support::night::{TestNight, fingerprint};

/// Numbers from a seed (splitmix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// What a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Commit,
    Amend,
    Rebase,
    Stash,
    Switch,
    Fetch,
    Gc,
    Repack,
    PackRefs,
    EditPlan,
    DeleteBranch,
    CheckOutOurs,
    DeleteRefs,
    OtherRemote,
    NoRemote,
    RemoteBack,
    MoveAway,
    AddWorktree,
    RemoveWorktree,
    AdvanceBase,
    RewriteBase,
}

use Act::{
    AddWorktree, AdvanceBase, Amend, CheckOutOurs, Commit, DeleteBranch, DeleteRefs, EditPlan,
    Fetch, Gc, MoveAway, NoRemote, OtherRemote, PackRefs, Rebase, RemoteBack, RemoveWorktree,
    Repack, RewriteBase, Stash, Switch,
};

const ALL: [Act; 21] = [
    Commit,
    Amend,
    Rebase,
    Stash,
    Switch,
    Fetch,
    Gc,
    Repack,
    PackRefs,
    EditPlan,
    DeleteBranch,
    CheckOutOurs,
    DeleteRefs,
    OtherRemote,
    NoRemote,
    RemoteBack,
    MoveAway,
    AddWorktree,
    RemoveWorktree,
    AdvanceBase,
    RewriteBase,
];

/// Somebody at the keyboard.
pub(super) struct Person<'n> {
    night: &'n TestNight,
    pub(super) random: Random,
    count: u32,
    worktrees: Vec<String>,
    /// What was done, in order.
    pub(super) did: Vec<Act>,
    /// The checkout after the last act.
    left: BTreeMap<PathBuf, (u32, Vec<u8>)>,
}

impl<'n> Person<'n> {
    pub(super) fn new(night: &'n TestNight, seed: u64) -> Person<'n> {
        let left = fingerprint(&night.repo());
        Person {
            night,
            random: Random(seed),
            count: 0,
            worktrees: Vec::new(),
            did: Vec::new(),
            left,
        }
    }

    /// Does one thing, and looks first whether somebody else touched what is the person's.
    pub(super) fn act(&mut self) {
        self.nobody_else_was_here();
        let at = usize::try_from(self.random.below(ALL.len() as u64)).unwrap();
        self.did.push(ALL[at]);
        self.count += 1;
        self.carry_out(ALL[at]);
        self.left = fingerprint(&self.night.repo());
    }

    /// Nothing of the person's has changed since their last act.
    pub(super) fn nobody_else_was_here(&self) {
        let now = fingerprint(&self.night.repo());
        let gone = self.left.keys().filter(|path| !now.contains_key(*path));
        let new = now.iter().filter(|(path, state)| self.left.get(*path) != Some(state));
        let changed: Vec<_> = gone.chain(new.map(|(path, _)| path)).collect();
        assert!(changed.is_empty(), "somebody else changed {changed:?} after {:?}", self.did);
    }

    /// The address of the remote is again what it was.
    pub(super) fn put_the_remote_back(&mut self) {
        self.carry_out(RemoteBack);
        self.left = fingerprint(&self.night.repo());
    }

    fn carry_out(&mut self, act: Act) {
        let (repo, n) = (self.night.repo(), self.count);
        match act {
            Commit => {
                self.leave_ours();
                fs::write(repo.join(format!("src/mine-{n}.txt")), format!("{n}\n")).unwrap();
                self.git(&["add", "src"]);
                self.git(&["commit", "-q", "-m", &format!("mine {n}")]);
            }
            Amend => {
                self.leave_ours();
                self.git(&[
                    "commit",
                    "-q",
                    "--amend",
                    "--allow-empty",
                    "-m",
                    &format!("amended {n}"),
                ]);
            }
            Rebase => {
                self.leave_ours();
                if self.try_git(&["rev-parse", "-q", "--verify", "HEAD~1"]) {
                    self.git(&["rebase", "-q", "-f", "--autostash", "HEAD~1"]);
                }
            }
            Stash => {
                fs::write(repo.join("README.md"), format!("# A project, {n}\n")).unwrap();
                self.git(&["stash", "push", "-q"]);
            }
            Switch => {
                self.leave_ours();
                self.git(&["switch", "-q", "-c", &format!("topic-{n}")]);
            }
            // Where the remote is elsewhere there is nothing to fetch.
            Fetch => drop(self.try_git(&["fetch", "-q"])),
            Gc => self.git(&["gc", "-q", "--prune=now"]),
            Repack => self.git(&["repack", "-adq"]),
            PackRefs => self.git(&["pack-refs", "--all"]),
            EditPlan => {
                self.leave_ours();
                let plan = repo.join("PROJECT_PLAN.md");
                let text = fs::read_to_string(&plan).unwrap();
                fs::write(&plan, format!("{text}\nA thought, {n}.\n")).unwrap();
            }
            DeleteBranch => {
                self.leave_ours();
                self.delete("refs/heads/nightshift/");
            }
            CheckOutOurs => {
                let Some(branch) = self.refs("refs/heads/nightshift/").pop() else { return };
                self.git(&["stash", "push", "-q"]);
                // It may be gone, or checked out elsewhere.
                let _ = self.try_git(&["switch", "-q", branch.trim_start_matches("refs/heads/")]);
            }
            DeleteRefs => self.delete("refs/nightshift/"),
            OtherRemote => {
                let nowhere = self.night.path("nowhere.git");
                let _ = self.try_git(&["remote", "set-url", "origin", nowhere.to_str().unwrap()]);
            }
            NoRemote => drop(self.try_git(&["remote", "remove", "origin"])),
            RemoteBack => {
                let address = self.night.remote();
                let address = address.to_str().unwrap();
                if !self.try_git(&["remote", "set-url", "origin", address]) {
                    self.git(&["remote", "add", "origin", address]);
                }
            }
            MoveAway => {
                let away = self.night.path("away");
                fs::rename(&repo, &away).unwrap();
                sleep(Duration::from_millis(10 + self.random.below(200)));
                take_away_what_was_made(&repo);
                fs::rename(&away, &repo).unwrap();
            }
            AddWorktree => {
                let name = format!("linked-{n}");
                let path = self.night.path(&name);
                self.git(&["worktree", "add", "-q", path.to_str().unwrap()]);
                self.worktrees.push(name);
            }
            RemoveWorktree => {
                let Some(name) = self.worktrees.pop() else { return };
                let path = self.night.path(&name);
                self.git(&["worktree", "remove", "--force", path.to_str().unwrap()]);
            }
            AdvanceBase => {
                drop(push_to_base(self.night, false, (&format!("src/theirs-{n}.txt"), "theirs\n")));
            }
            RewriteBase => {
                drop(push_to_base(self.night, true, (&format!("src/theirs-{n}.txt"), "theirs\n")));
            }
        }
    }

    /// A commit of the person's on our branch is another story.
    fn leave_ours(&self) {
        let head = self.night.git(&["rev-parse", "--symbolic-full-name", "HEAD"]);
        if head.starts_with("refs/heads/nightshift/") {
            self.git(&["switch", "-q", "main"]);
        }
    }

    fn refs(&self, below: &str) -> Vec<String> {
        let refs = self.night.git(&["for-each-ref", "--format=%(refname)", below]);
        refs.lines().map(str::to_owned).collect()
    }

    fn delete(&self, below: &str) {
        for name in self.refs(below) {
            self.git(&["update-ref", "-d", &name]);
        }
    }

    /// Two programs at one ref at the same moment: git says so, and a person tries again.
    fn git(&self, arguments: &[&str]) {
        for _ in 0..20 {
            let output = self.output(arguments);
            if output.status.success() {
                return;
            }
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let of_ours = said.contains("nightshift/") && said.contains("lock");
            assert!(of_ours, "git {arguments:?} after {:?}: {output:?}", self.did);
            sleep(Duration::from_millis(50));
        }
        panic!("git {arguments:?} finds a lock of ours that stays, after {:?}", self.did);
    }

    fn try_git(&self, arguments: &[&str]) -> bool {
        self.output(arguments).status.success()
    }

    fn output(&self, arguments: &[&str]) -> std::process::Output {
        Command::new("git")
            .args(arguments)
            .current_dir(self.night.repo())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_EDITOR", "true")
            .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@localhost")])
            .envs([("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "ada@localhost")])
            .output()
            .unwrap()
    }
}

/// A ref that was being written while the repository moved may have been written where it was: it and nothing else.
fn take_away_what_was_made(repo: &std::path::Path) {
    if !repo.exists() {
        return;
    }
    let made = fingerprint(repo);
    let files = made.iter().filter(|(path, (_, text))| !text.is_empty() || path.ends_with("HEAD"));
    let files: Vec<_> = files.map(|(path, _)| path).collect();
    assert!(files.is_empty(), "something was made where the repository was: {files:?}");
    fs::remove_dir_all(repo).unwrap();
}
