//! A whole night with the real program, real git and a real gate, in five lines of a test.
//!
//! The environment is hermetic: HOME and the XDG directories are in a temporary directory, git reads no
//! configuration of the machine. After every run the checkout's fingerprint is compared: a test that
//! does not mention it checks it all the same.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// A repository, an agent and a gate, before the night.
pub(crate) struct TestNight {
    root: tempfile::TempDir,
    plan: String,
    agent: String,
    tier: String,
    workspaces: String,
    canary: bool,
    flaky_reruns: u32,
    committed: bool,
    remote: bool,
    user: String,
    environment: Vec<(String, String)>,
}

/// A run that ended.
pub(crate) struct Ran {
    pub(crate) night: TestNight,
    pub(crate) output: Output,
}

/// The line of the user's file for one task after another.
const ONE: &str = "limits: {parallel: 1}";

/// The gate that most tests use: every `src/*.txt` must be free of the word `broken`.
const GATE: &str = "#!/bin/sh\nif grep -rn broken src; then echo 'not ok unbroken'; exit 1; fi\n";

impl TestNight {
    pub(crate) fn new() -> TestNight {
        let night = TestNight {
            root: tempfile::tempdir().unwrap(),
            plan: "# Plan\n\n## Ready\n\n".to_owned(),
            agent: "exit 0".to_owned(),
            tier: walls(),
            workspaces: wanted("NIGHTSHIFT_TEST_WORKSPACES", "auto"),
            canary: false,
            flaky_reruns: 0,
            committed: false,
            remote: true,
            user: String::new(),
            environment: Vec::new(),
        };
        fs::create_dir_all(night.repo()).unwrap();
        night.git(&["init", "-q", "-b", "main"]);
        night
            .file("README.md", "# A project\n")
            .file("src/a.txt", "one\ntwo\nthree\n")
            .file("tests/a_test.txt", "a test\n")
            .file(".gitignore", "/target\n*.log\n")
            .gate(GATE)
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.root.path().join("repo")
    }

    pub(crate) fn remote(&self) -> PathBuf {
        self.root.path().join("remote.git")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A ready task with everything that the rules ask for.
    pub(crate) fn task(mut self, id: &str, title: &str) -> Self {
        self.plan.push_str(&format!(
            "→ **[{id}]** {title}\n  - Alignment score: 95/100\n  - Estimated lines: 10\n  \
             - Tests defined: ✅ Yes\n  - Status: READY\n\n"
        ));
        self
    }

    /// How workspaces are made: `auto`, `pool`, `overlay`.
    pub(crate) fn workspaces(mut self, kind: &str) -> Self {
        kind.clone_into(&mut self.workspaces);
        self
    }

    /// Whether the gate must be seen to fail, as the repository says. Else the user's own file says no: what most
    /// tests show has nothing to do with it, and each would run its gate twice more.
    pub(crate) fn canary(mut self, wanted: bool) -> Self {
        self.canary = wanted;
        self
    }

    /// How often a red gate is repeated. Never, unless a test is about it.
    pub(crate) fn flaky_reruns(mut self, most: u32) -> Self {
        self.flaky_reruns = most;
        self
    }

    /// A ready task that is written into the checkout after the first run.
    pub(crate) fn task_later(self, id: &str, title: &str) -> Self {
        let night = self.task(id, title);
        fs::write(night.repo().join("PROJECT_PLAN.md"), &night.plan).unwrap();
        night
    }

    /// The whole plan instead.
    pub(crate) fn plan(mut self, plan: &str) -> Self {
        plan.clone_into(&mut self.plan);
        self
    }

    /// What the agent does: a shell script in the workspace, the prompt on its standard input.
    pub(crate) fn agent(mut self, script: &str) -> Self {
        script.clone_into(&mut self.agent);
        self
    }

    /// The quality gate's script.
    pub(crate) fn gate(self, script: &str) -> Self {
        self.file(".ai-validation/check_quality.sh", script)
    }

    /// A variable of the program's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file of the base commit.
    pub(crate) fn file(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        let file = self.repo().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        self
    }

    pub(crate) fn without(self, path: &str) -> Self {
        fs::remove_file(self.repo().join(path)).unwrap();
        self
    }

    /// What the user's own file says of walls: `off`, `auto`, `t1`, `t2`.
    pub(crate) fn tier(mut self, tier: &str) -> Self {
        tier.clone_into(&mut self.tier);
        self
    }

    /// Another line of the user's own file.
    pub(crate) fn user(mut self, line: &str) -> Self {
        self.user.push_str(&format!("{line}\n"));
        self
    }

    /// Strictly one task after another: for tests in which their order is what is shown.
    pub(crate) fn one_at_a_time(self) -> Self {
        self.user(ONE)
    }

    /// A script that waits until [`TestNight::go`] is called for its task.
    pub(crate) fn waits(script: &str) -> String {
        format!(
            "until grep -q \"^# GO $NIGHTSHIFT_TASK$\" \"$0\"; do sleep 0.02; done\n{script}\nexit 0\n"
        )
    }

    /// Tells agents that wait: their own script is all that they can see of the world outside.
    pub(crate) fn go(&self, tasks: &[&str]) {
        let words = format!("# GO {}\n", tasks.join("\n# GO "));
        let mut script = fs::OpenOptions::new().append(true).open(self.path("agent.sh")).unwrap();
        std::io::Write::write_all(&mut script, words.as_bytes()).unwrap();
    }

    /// Agents of this night that run right now.
    pub(crate) fn agents(&self) -> usize {
        let line = format!("sh\0{}\0", self.path("agent.sh").display());
        let is_one = |process: &str| {
            fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|found| found == line.as_bytes())
        };
        // A copy of one that is about to become another program looks the same.
        let is_copy = |process: &str| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
            parent.is_some_and(is_one)
        };
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let names = processes.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|process| is_one(process) && !is_copy(process)).count()
    }

    pub(crate) fn without_remote(mut self) -> Self {
        self.remote = false;
        self
    }

    /// Commits and pushes what was given so far. Done by the first run otherwise.
    pub(crate) fn commit(mut self) -> Self {
        if self.committed {
            return self;
        }
        self.committed = true;
        fs::write(self.repo().join("PROJECT_PLAN.md"), &self.plan).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "base"]);
        if self.remote {
            let remote = self.remote();
            Command::new("git")
                .args(["init", "-q", "--bare", "-b", "main"])
                .arg(&remote)
                .status()
                .unwrap();
            self.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
            self.git(&["push", "-q", "-u", "origin", "main"]);
        }
        fs::write(self.path("agent.sh"), &self.agent).unwrap();
        self.tell_user_file();
        self
    }

    /// The person wants other walls from the next run on.
    pub(crate) fn tier_later(self, tier: &str) -> Self {
        let night = self.tier(tier);
        night.tell_user_file();
        night
    }

    fn tell_user_file(&self) {
        let config = self.path("home/.config/nightshift");
        fs::create_dir_all(&config).unwrap();
        let script = self.path("agent.sh");
        // Layers are for T2 alone.
        let kind = if matches!(&*self.tier, "off" | "t1") { "auto" } else { &self.workspaces };
        let user = format!(
            "sandbox: {}\nworkspaces: {kind}\ngate: {{canary: {}, flaky_reruns: {}}}\n\
             agents:\n  test: {{command: [sh, {}]}}\n{}",
            self.tier,
            if self.canary { "auto" } else { "off" },
            self.flaky_reruns,
            script.to_str().unwrap(),
            self.user
        );
        fs::write(config.join("nightshift.yml"), user).unwrap();
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(self.repo())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@localhost")])
            .envs([("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "ada@localhost")])
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// The program with a hermetic environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nightshift"));
        command
            .args(arguments)
            .current_dir(self.repo())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path("home"))
            .env("GIT_AUTHOR_NAME", "Ada")
            .env("GIT_AUTHOR_EMAIL", "ada@localhost")
            .env("TZ", "UTC")
            // A screen on which no line of ours is broken, unless a test is about that.
            .envs([("COLUMNS", "1000"), ("LANG", "C.UTF-8")])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs `nightshift run --agent test` and more arguments.
    pub(crate) fn run(self, arguments: &[&str]) -> Ran {
        self.call(&[&["run", "--agent", "test"], arguments].concat())
    }

    /// Runs any command, and checks that the checkout is as it was.
    pub(crate) fn call(self, arguments: &[&str]) -> Ran {
        let night = self.commit();
        let before = fingerprint(&night.repo());
        let output = night.command(arguments).output().unwrap();
        let after = fingerprint(&night.repo());
        let changed: Vec<_> = before
            .iter()
            .filter(|(path, state)| after.get(*path) != Some(state))
            .map(|(path, _)| path)
            .chain(after.keys().filter(|path| !before.contains_key(*path)))
            .collect();
        assert!(changed.is_empty(), "the checkout changed: {changed:?}");
        Ran { night, output }
    }

    /// Starts a run and leaves it running.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        let arguments = [&["run", "--agent", "test"], arguments].concat();
        self.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// The journal of the only night.
    pub(crate) fn journal(&self) -> Option<PathBuf> {
        let repos = self.path("home/.local/state/nightshift/repos");
        let repo = fs::read_dir(repos).ok()?.next()?.ok()?.path();
        let night = fs::read_dir(repo.join("nights")).ok()?.next()?.ok()?.path();
        Some(night.join("journal.jsonl"))
    }

    /// What the base's own gates left, with its name.
    pub(crate) fn caches(&self) -> Vec<PathBuf> {
        let repos = fs::read_dir(self.path("home/.cache/nightshift/repos")).unwrap();
        let list = |repo: &Path| fs::read_dir(repo.join("work/caches")).into_iter().flatten();
        repos
            .flat_map(|repo| list(&repo.unwrap().path()))
            .map(|cache| cache.unwrap().path())
            .collect()
    }

    /// How many entries the journal has.
    pub(crate) fn entries(&self) -> usize {
        let text = self.journal().and_then(|path| fs::read_to_string(path).ok());
        text.map_or(0, |text| text.lines().count().saturating_sub(1))
    }
}

impl Ran {
    pub(crate) fn exit(self, code: i32) -> Ran {
        assert_eq!(self.output.status.code(), Some(code), "{}", self.all());
        self
    }

    /// All that was printed.
    pub(crate) fn all(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        text(&self.output.stdout) + &text(&self.output.stderr)
    }

    pub(crate) fn says(self, words: &str) -> Ran {
        assert!(self.all().contains(words), "no `{words}` in:\n{}", self.all());
        self
    }

    /// The night's branch without `refs/heads/`: the newest.
    pub(crate) fn branch(&self) -> Option<String> {
        let refs = self.night.git(&[
            "for-each-ref",
            "--sort=-creatordate",
            "--format=%(refname:short)",
            "refs/heads/nightshift/",
        ]);
        refs.lines().max().map(str::to_owned)
    }

    /// Exactly these tasks are on the branch, each commit with its own tree in its trailer, here and on the remote, and
    /// with a receipt; in this order where the night did [one at a time](TestNight::one_at_a_time).
    pub(crate) fn landed<const N: usize>(self, ids: [&str; N]) -> Ran {
        let in_any_order = !self.night.user.contains(ONE);
        self.check_landed(ids, in_any_order)
    }

    /// As [`Ran::landed`], in this order.
    pub(crate) fn landed_in_order<const N: usize>(self, ids: [&str; N]) -> Ran {
        self.check_landed(ids, false)
    }

    /// As [`Ran::landed`], in whatever order they were ready.
    pub(crate) fn landed_in_any_order<const N: usize>(self, ids: [&str; N]) -> Ran {
        self.check_landed(ids, true)
    }

    fn check_landed<const N: usize>(self, mut ids: [&str; N], in_any_order: bool) -> Ran {
        let Some(branch) = self.branch() else {
            assert_eq!(ids.len(), 0, "no branch:\n{}", self.all());
            return self;
        };
        let format = "--format=%T|%(trailers:key=Nightshift-Tree,valueonly,separator=)|\
                      %(trailers:key=Nightshift-Task,valueonly,separator=)";
        let log = self.night.git(&["log", "--reverse", format, &format!("main..{branch}")]);
        let mut found = Vec::new();
        let receipts = if N > 0 {
            let night = branch.trim_start_matches("nightshift/");
            let name = format!("refs/nightshift/receipts/{night}");
            self.night.git(&["ls-tree", "--name-only", &name])
        } else {
            String::new()
        };
        for line in log.lines() {
            let parts: Vec<&str> = line.split('|').collect();
            assert_eq!(parts[0], parts[1], "the trailer names the commit's own tree");
            assert!(receipts.contains(parts[0]), "a receipt for {line} in:\n{receipts}");
            found.push(parts[2].to_owned());
        }
        if in_any_order {
            found.sort();
            ids.sort_unstable();
        }
        assert_eq!(found, ids, "{}", self.all());
        if self.night.remote && N > 0 {
            let tip = self.night.git(&["rev-parse", &branch]);
            let there = self.night.git(&["ls-remote", "origin", &format!("refs/heads/{branch}")]);
            assert!(there.starts_with(&tip), "the remote has the branch: {there}");
        }
        self
    }

    /// What was printed and the exit code, of a run that was started by hand.
    pub(crate) fn of(night: TestNight, output: Output) -> Ran {
        Ran { night, output }
    }

    /// A file's contents at the branch's tip.
    pub(crate) fn holds(self, path: &str, text: &str) -> Ran {
        let branch = self.branch().expect("there is a branch");
        let found = self.night.git(&["show", &format!("{branch}:{path}")]);
        assert_eq!(found, text.trim_end());
        self
    }

    /// The path is not in the branch's tip.
    pub(crate) fn lacks(self, path: &str) -> Ran {
        let branch = self.branch().expect("there is a branch");
        let all = self.night.git(&["ls-tree", "-r", "--name-only", &branch]);
        assert!(!all.lines().any(|found| found == path), "{path} is in:\n{all}");
        self
    }

    /// An attempt's work is kept, with this text in the file.
    pub(crate) fn kept(self, attempt: &str, path: &str, text: &str) -> Ran {
        let refs = self.night.git(&["for-each-ref", "--format=%(refname)", "refs/nightshift/"]);
        let name = refs
            .lines()
            .find(|name| name.ends_with(&format!("/{attempt}")))
            .unwrap_or_else(|| panic!("no attempt {attempt} in:\n{refs}"));
        let found = self.night.git(&["show", &format!("{name}:{path}")]);
        assert_eq!(found, text.trim_end());
        self
    }

    /// The journal of the only night.
    pub(crate) fn journal(&self) -> PathBuf {
        self.night.journal().unwrap()
    }

    /// Every file that the program keeps, one after another.
    pub(crate) fn everything_kept(&self) -> String {
        let mut all = String::new();
        let mut open = vec![self.night.path("home")];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).unwrap().flatten() {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    open.push(entry.path());
                } else if kind.is_file() {
                    all.push_str(&String::from_utf8_lossy(&fs::read(entry.path()).unwrap()));
                }
            }
        }
        all
    }

    /// The pull request's text.
    pub(crate) fn pull_request(&self) -> String {
        let journal = self.night.journal().unwrap();
        fs::read_to_string(journal.with_file_name("pull_request.md")).unwrap_or_default()
    }

    /// Goes on with the same repository.
    pub(crate) fn then(self) -> TestNight {
        self.night
    }
}

/// The walls that nights of tests run with, where they do not say which.
pub(crate) fn walls() -> String {
    wanted("NIGHTSHIFT_TEST_SANDBOX", best())
}

/// The best walls of this machine.
#[cfg(target_os = "linux")]
fn best() -> &'static str {
    static SOME: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    let some = || super::kernel::has_namespaces() || super::kernel::has_landlock();
    if *SOME.get_or_init(some) { "auto" } else { "off" }
}

/// Walls of other systems were tried by nobody yet.
#[cfg(not(target_os = "linux"))]
fn best() -> &'static str {
    "off"
}

/// What the tests are to run with. Each way is one more run of the same tests.
fn wanted(variable: &str, otherwise: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| otherwise.to_owned())
}

/// Every file of the work tree and of `.git` with type, mode and contents, without our refs and without
/// objects, which may only be added.
pub(crate) fn fingerprint(repo: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    walk(repo, repo, &mut found);
    found
}

fn walk(root: &Path, directory: &Path, found: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let inside = path.strip_prefix(root).unwrap().to_owned();
        let ours = [
            ".git/objects",
            ".git/refs/heads/nightshift",
            ".git/refs/nightshift",
            ".git/logs/refs/heads/nightshift",
            ".git/logs/refs/nightshift",
        ];
        if ours.iter().any(|ours| inside == Path::new(ours)) {
            continue;
        }
        let metadata = path.symlink_metadata().unwrap();
        let mode = metadata.permissions().mode();
        if metadata.is_dir() {
            found.insert(inside, (mode, Vec::new()));
            walk(root, &path, found);
        } else if metadata.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            found.insert(inside, (mode, target.as_os_str().as_bytes().to_vec()));
        } else {
            found.insert(inside, (mode, fs::read(&path).unwrap()));
        }
    }
}
