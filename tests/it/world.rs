//! The world goes on while a night runs: the base moves, a person works in the same repository, the machine has
//! little left. What is defined for each is in `docs/never-lost.md`; here it is seen to hold.

mod base;
#[cfg(target_os = "linux")]
mod little;
mod moves;
mod person;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use crate::support::night::TestNight;

/// Our own repository of the only one that the night knows.
fn vault(night: &TestNight) -> PathBuf {
    let repos = night.path("home/.local/state/nightshift/repos");
    let repo = fs::read_dir(repos).unwrap().next().unwrap().unwrap().path();
    repo.join("vault.git")
}

/// git in a bare repository, which reads the objects of the person's as well.
fn git_in(night: &TestNight, directory: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new("git")
        .arg("--git-dir")
        .arg(directory)
        .args(arguments)
        .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", night.repo().join(".git/objects"))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([("GIT_AUTHOR_NAME", "Bob"), ("GIT_AUTHOR_EMAIL", "bob@localhost")])
        .envs([("GIT_COMMITTER_NAME", "Bob"), ("GIT_COMMITTER_EMAIL", "bob@localhost")])
        .output()
        .unwrap()
}

/// As [`git_in`], of a command that must succeed.
fn said_in(night: &TestNight, directory: &std::path::Path, arguments: &[&str]) -> String {
    let output = git_in(night, directory, arguments);
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Somebody else's commit on the remote's main: on top of it, or in its place. `file` and its text come with it.
fn push_to_base(night: &TestNight, in_its_place: bool, (file, text): (&str, &str)) -> String {
    let remote = night.remote();
    let blob = night.path("blob");
    fs::write(&blob, text).unwrap();
    let blob = said_in(night, &remote, &["hash-object", "-w", blob.to_str().unwrap()]);
    let index = night.path("index");
    let _ = fs::remove_file(&index);
    let with_index = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("--git-dir")
            .arg(&remote)
            .args(arguments)
            .env("GIT_INDEX_FILE", &index)
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    };
    with_index(&["read-tree", "main"]);
    with_index(&["update-index", "--add", "--cacheinfo", &format!("100644,{blob},{file}")]);
    let tree = with_index(&["write-tree"]);
    let mut make = vec!["commit-tree", &tree, "-m", "of somebody else"];
    if !in_its_place {
        make.extend(["-p", "main"]);
    }
    let commit = said_in(night, &remote, &make);
    said_in(night, &remote, &["update-ref", "refs/heads/main", &commit]);
    commit
}
