//! Repositories to measure on, made in one go; the agent that edits them; and what must not change in them.
//!
//! Runs git as a person would. Never looks into what nightshift keeps.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sha2::{Digest as _, Sha256};

/// The first argument of this program as an agent.
pub(crate) const AGENT: &str = "agent";
/// Its second argument where it edits a crate; else the number of files.
pub(crate) const EDIT_CRATE: &str = "crate";
/// The gate's only step: what costs next to nothing and can still be red.
pub(crate) const GATE: &str = "test -f PROJECT_PLAN.md";
/// Tasks of a plan; a night is told which of them to do.
const TASKS: u32 = 30;

/// A tree of files as `path` and contents.
pub(crate) type Files = Vec<(String, String)>;

/// Where the `number`th file is: twelve to a directory, thirty directories to one above.
fn path_of(number: usize) -> String {
    format!("src/d{}/m{}/f{number}.txt", number / 360, number / 12)
}

/// A tree of `count` files of 2 KiB.
pub(crate) fn plain(count: usize) -> Files {
    let text = |number: usize| {
        let line = format!("line of file {number}, which is as long as others\n");
        line.repeat(2048 / line.len() + 1)[..2048].to_owned()
    };
    (0..count).map(|number| (path_of(number), text(number))).collect()
}

/// Makes a repository at `at` with these files, a plan and a configuration with `gate` as its only step.
pub(crate) fn make(at: &Path, mut files: Files, gate: &str) {
    files.push(("PROJECT_PLAN.md".to_owned(), plan()));
    files.push((".gitignore".to_owned(), "*.log\n/target\n".to_owned()));
    files.push((
        ".nightshift/config.yml".to_owned(),
        format!(
            "limits: {{tasks: {TASKS}, parallel: 1}}\npolicy:\n  tests: optional\n  paths: {{allow: [\"src/**\", \
             \"crates/**\"]}}\ngate:\n  steps: [{{name: gate, run: {gate}}}]\n"
        ),
    ));
    fs::create_dir_all(at).unwrap();
    git(at, &["init", "-q", "-b", "main"]);
    let mut import =
        command(at, &["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stream = std::io::BufWriter::new(import.stdin.take().unwrap());
    let message = "base";
    write!(
        stream,
        "commit refs/heads/main\ncommitter Ada <ada@localhost> 1760000000 +0000\ndata {}\n{message}\n",
        message.len()
    )
    .unwrap();
    for (path, text) in files {
        write!(stream, "M 100644 inline {path}\ndata {}\n{text}\n", text.len()).unwrap();
    }
    drop(stream);
    assert!(import.wait().unwrap().success());
    git(at, &["reset", "-q", "--hard"]);
}

/// A second repository with the same commit and a checkout of its own.
pub(crate) fn copy(of: &Path, to: &Path) {
    git(of, &["clone", "-q", ".", to.to_str().unwrap()]);
    // Nothing is fetched and nothing is pushed while it is measured.
    git(to, &["remote", "remove", "origin"]);
}

fn plan() -> String {
    let task = |name| {
        format!(
            "→ **[{name}]** Append to some files\n  - Alignment score: 95/100\n  - Estimated lines: \
             10\n  - Tests defined: ✅ Yes\n  - Status: READY\n\n"
        )
    };
    let tasks: String = (1..=TASKS).map(|number| task(task_name(number))).collect();
    format!("# Plan\n\n## Ready\n\n{tasks}")
}

/// The `number`th task, from 1.
pub(crate) fn task_name(number: u32) -> String {
    format!("t{number}")
}

/// Edits the working directory: one crate, or a tree of so many files.
pub(crate) fn agent(what: &str) {
    match what.parse() {
        Ok(count) => edit_files(count),
        Err(_) => edit_crate(Path::new("")),
    }
}

/// One function more in a crate that the last one is built on.
pub(crate) fn edit_crate(root: &Path) {
    let path = root.join("crates/c5/src/lib.rs");
    let old = fs::read_to_string(&path).unwrap();
    let number = old.matches("pub fn more").count();
    fs::write(path, format!("{old}pub fn more{number}() -> usize {{\n    {number}\n}}\n")).unwrap();
}

/// Three tracked files grow, one or two are new, one is ignored.
fn edit_files(count: usize) {
    let new = |number: usize| format!("src/new/n{number}.txt");
    let number = (1..10_000).find(|number| !Path::new(&new(*number)).exists()).unwrap();
    for part in 1..=3 {
        // Large primes: each task is somewhere else.
        let path = path_of((number * 7919 + part * 15_485_863) % count);
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        writeln!(file, "task {number}, part {part}").unwrap();
    }
    fs::create_dir_all("src/new").unwrap();
    fs::write(new(number), format!("made by task {number}\n")).unwrap();
    if number % 2 == 0 {
        fs::write(format!("src/new/more{number}.txt"), "one more\n").unwrap();
    }
    fs::write("junk.log", "nobody needs this\n").unwrap();
}

/// Files that an agent makes or changes in one task.
pub(crate) const EDITED: std::ops::RangeInclusive<usize> = 1..=5;

/// A git program that reads no configuration of this machine.
pub(crate) fn command(at: &Path, arguments: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.args(arguments).current_dir(at);
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    git.envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@localhost")]);
    git.envs([("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "ada@localhost")]);
    git
}

/// Runs git and returns what it says.
pub(crate) fn git(at: &Path, arguments: &[&str]) -> String {
    let output = command(at, arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// All of a checkout that is a person's: files with their times, HEAD, index, configuration, refs that are not
/// ours.
pub(crate) fn fingerprint(repository: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![repository.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if path == repository.join(".git") {
                continue;
            }
            if metadata.is_dir() {
                open.push(path);
            } else {
                found.insert(path.clone(), state(&path, &metadata));
            }
        }
    }
    for name in ["HEAD", "index", "config"] {
        let path = repository.join(".git").join(name);
        let metadata = fs::symlink_metadata(&path).unwrap();
        found.insert(path.clone(), state(&path, &metadata));
    }
    let refs = git(repository, &["for-each-ref", "--exclude=**/nightshift/**"]);
    found.insert(PathBuf::from("refs"), refs);
    found
}

fn state(path: &Path, metadata: &fs::Metadata) -> String {
    let (second, nanosecond) = (metadata.mtime(), metadata.mtime_nsec());
    let hash = Sha256::digest(fs::read(path).unwrap());
    format!("{:o} {second}.{nanosecond} {hash:?}", metadata.mode())
}
