//! The base moves on the remote while a night stands on it: the night goes on where it began, and whoever reads the
//! pull request is told.

use std::process::Stdio;

use super::{push_to_base, said_in};
use crate::{
    resume::wait_for,
    support::night::{Ran, TestNight},
};

/// A night whose only task waits for `meanwhile`.
fn while_it_runs(meanwhile: impl FnOnce(&TestNight)) -> Ran {
    let agent = TestNight::waits("echo a >> src/a.txt");
    let night = TestNight::new().task("a", "Add one").agent(&agent).commit();
    let mut run = night.command(&["run", "--agent", "test"]);
    let child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the agent", || night.agents() == 1);
    meanwhile(&night);
    night.go(&["a"]);
    let output = child.wait_with_output().unwrap();
    Ran::of(night, output)
}

#[test]
fn a_base_that_moved_on_is_named_and_the_night_stays_on_its_own() {
    let ran =
        while_it_runs(|night| drop(push_to_base(night, false, ("src/theirs.txt", "theirs\n"))));
    let ran = ran.exit(0).says("The base moved on, main is 1 commit further, at").landed(["a"]);
    let text = ran.pull_request();
    assert!(text.contains("> **The base moved on, main is 1 commit further"), "{text}");
    assert!(text.contains("without a conflict; no gate has seen the result"), "{text}");
    ran.then().call(&["status"]).exit(0).says("The base moved on");
}

#[test]
fn where_both_change_the_same_lines_the_path_is_named() {
    let ran = while_it_runs(|night| drop(push_to_base(night, false, ("src/a.txt", "another\n"))));
    let text = ran.exit(0).landed(["a"]).pull_request();
    assert!(text.contains("They conflict in src/a.txt"), "{text}");
}

#[test]
fn a_base_that_was_rewritten_is_a_warning_with_what_a_merge_would_bring_back() {
    let ran =
        while_it_runs(|night| drop(push_to_base(night, true, ("src/theirs.txt", "theirs\n"))));
    let ran = ran.exit(0).says("The base was rewritten, main stands at").landed(["a"]);
    let base = ran.branch().unwrap();
    let text = ran.pull_request();
    let night = ran.then();
    let base = night.git(&["rev-parse", "--short=7", &format!("{base}~1")]);
    assert!(text.contains(&format!("bring back what was taken out ({base}). ")), "{text}");
    assert!(text.contains("git rebase --onto main"), "{text}");
}

#[test]
fn a_base_branch_that_was_deleted_is_said_and_the_work_is_out() {
    let ran = while_it_runs(|night| {
        drop(said_in(night, &night.remote(), &["update-ref", "-d", "refs/heads/main"]));
    });
    let text = ran
        .exit(0)
        .says("The base is gone, the remote has no branch main")
        .landed(["a"])
        .pull_request();
    assert!(text.contains("> **The base is gone"), "{text}");
}

#[test]
fn a_base_that_holds_what_landed_needs_no_word() {
    let night = TestNight::new().task("a", "Add one").agent("echo a >> src/a.txt");
    let night = night.run(&["--no-push"]).exit(0).then();
    let branch = night.git(&["for-each-ref", "--format=%(refname)", "refs/heads/nightshift/"]);
    night.git(&["push", "-q", "origin", &format!("{branch}:refs/heads/main")]);
    let text = night.call(&["land"]).all();
    assert!(!text.contains("base moved"), "{text}");
}
