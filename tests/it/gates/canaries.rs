//! Gates that are tried on trees broken on purpose: those that notice, and those that cannot fail.

use super::{lines, settings};
use crate::support::night::TestNight;

/// A project whose gate runs its script.
fn shell_project() -> TestNight {
    TestNight::new()
        .task("t1", "Add a file")
        .agent("echo new > src/new.txt")
        .file("src/shop.sh", "#!/bin/sh\ntrue\n")
        .gate("sh src/shop.sh\n")
        .canary(true)
}

#[test]
fn a_gate_that_cannot_fail_starts_nothing() {
    let ran = shell_project().gate("true\n").run(&[]).exit(3).landed([]);
    let ran = ran
        .says("REFUSED: the gate did not go red, so nothing was started")
        .says("green on a syntax error in src/shop.sh")
        .says("green on every file that is not protected is unreadable")
        .says("`gate.canary: .nightshift/canary.patch`")
        .says("`gate.canary: off`");
    // Nothing of this is kept as a proof: the next night tries again.
    let ran = ran.then().call(&["logs", "canary"]).exit(0).says("==> gate/canary/1/1-quality.log");
    ran.then().call(&["check"]).says("canary: must go red on a syntax error in src/shop.sh");
}

#[test]
fn a_gate_that_notices_is_proven_once() {
    let ran = shell_project().run(&[]).exit(0).landed(["t1"]);
    let ran = ran.says("the gate can fail: quality red on a syntax error in src/shop.sh");
    let text = ran.pull_request();
    assert!(
        text.contains("Proof of the gate") && text.contains("a syntax error in src/shop.sh"),
        "{text}"
    );
    assert!(!text.contains("in an earlier night"), "{text}");
    let logs = ran.then().call(&["logs", "canary"]).exit(0);
    let night = logs.says("yntax error").then();
    let ran =
        night.call(&["check"]).says("canary: went red before, on a syntax error in src/shop.sh");
    let ran =
        ran.then().task_later("t2", "Add another").agent("echo 2 > src/two.txt").run(&["-t", "t2"]);
    ran.exit(0)
        .says("a syntax error in src/shop.sh, in an earlier night")
        .then()
        .call(&["logs", "canary"])
        .exit(2)
        .says("the proof of an earlier night holds");
}

/// A gate that runs its tests, and hides that they failed.
#[test]
fn a_gate_that_hides_its_failures_cannot_fail() {
    let ran = shell_project()
        .file("tests/a.t", "sh src/shop.sh\n")
        .gate("if sh tests/a.t; then echo 'ok a'; fi; echo '# tests 1'\n")
        .run(&[]);
    ran.exit(3).landed([]).says("the gate did not go red");
}

/// A run that is ended for its time, or that is empty where the base's had tests, has noticed nothing.
#[test]
fn only_a_red_run_that_came_to_its_end_is_a_proof() {
    let night = shell_project().gate("if grep -rq 'on purpose' src; then sleep 60; fi\n");
    let night = settings(
        night,
        "  steps: [{name: quality, run: sh .ai-validation/check_quality.sh, timeout: 1s}]\n",
    );
    night.run(&[]).exit(3).says("did not come to its end: timed out");
    let hollow = shell_project().gate("sh src/shop.sh && echo '# tests 3'\ntrue\n");
    hollow.run(&[]).exit(3).says("the gate did not go red");
}

const PATCH: &str = "diff --git a/src/a.txt b/src/a.txt\n--- a/src/a.txt\n+++ b/src/a.txt\n@@ -1,3 +1,3 @@\n-one\n+rotten\n two\n three\n";

/// A gate that refuses a word, with a patch that brings it: nothing that we break by ourselves does.
fn one_word() -> TestNight {
    let night = TestNight::new().task("t1", "Add a file").agent("echo new > src/new.txt");
    night.gate("if grep -rq rotten src; then exit 1; fi\n").canary(true)
}

fn with_patch(patch: &str) -> TestNight {
    let night = one_word().file(".nightshift/canary.patch", patch);
    settings(night, "  canary: .nightshift/canary.patch\n")
}

#[test]
fn a_patch_of_the_base_shows_that_a_gate_can_fail() {
    one_word().run(&[]).exit(3).says("green on every file that is not protected is unreadable");
    let ran = with_patch(PATCH).run(&[]).exit(0).landed(["t1"]);
    ran.says("the gate can fail: quality red on the patch .nightshift/canary.patch");
}

#[test]
fn a_patch_that_shows_nothing_starts_nothing() {
    let green = PATCH.replace("+rotten", "+fine");
    with_patch(&green).run(&[]).exit(3).says("green on the patch .nightshift/canary.patch");
    let other = PATCH.replace("-one", "-seven");
    with_patch(&other).run(&[]).exit(3).says("which does not fit the base");
    let protected = "diff --git a/.ai-validation/check_quality.sh b/.ai-validation/check_quality.sh\n--- \
                     a/.ai-validation/check_quality.sh\n+++ b/.ai-validation/check_quality.sh\n@@ -1 +1 @@\n\
                     -if grep -rq rotten src; then exit 1; fi\n+exit 1\n";
    with_patch(protected).run(&[]).exit(3).says("a protected file shows nothing");
    let missing = settings(one_word(), "  canary: ci/canary.patch\n");
    missing.run(&[]).exit(2).says("the base has no file ci/canary.patch");
}

#[test]
fn a_gate_that_nobody_tried_is_named_in_the_pull_request() {
    let ran = settings(shell_project(), "  canary: off\n").run(&[]).exit(0).landed(["t1"]);
    let words = "The gate was not tried on a tree that was broken on purpose";
    assert!(ran.pull_request().contains(&format!("**Not proven able to fail.** {words}")));
    let ran = ran.says(words).says(".nightshift/config.yml:3");
    ran.then().call(&["check"]).says("canary: off (.nightshift/config.yml:3)");
    let ran = shell_project()
        .canary(false)
        .run(&[])
        .exit(0)
        .says(words)
        .says("own file of this machine's owner");
    assert!(ran.pull_request().contains(words));
}

/// Documents alone: what the gate's script names is broken, then a document, then everything.
#[test]
fn a_repository_of_documents_has_a_way_through() {
    let night = TestNight::new()
        .task("t1", "Add a page")
        .agent("printf '# New\\n' > docs/new.md")
        .file("docs/index.md", "# Index\n")
        .gate("for page in docs/*.md; do head -n 1 $page | grep -q '^# ' || exit 1; done\n")
        .canary(true);
    night
        .run(&[])
        .exit(0)
        .landed(["t1"])
        .says("docs/index.md, which the gate's scripts name, is unreadable");
}

/// A killed night repeats the canary and nothing before it.
#[test]
fn killed_while_a_gate_is_tried_a_night_repeats_only_that() {
    let night = shell_project().tier("off");
    let (runs, go) = (night.path("runs"), night.path("go"));
    let gate = format!(
        "if grep -rq 'on purpose' src; then echo canary >> {0}; while [ ! -e {1} ]; do sleep 0.05; done; else echo \
         plain >> {0}; fi\nsh src/shop.sh\n",
        runs.display(),
        go.display()
    );
    let night = night.gate(&gate).commit();
    let mut child = night.spawn(&[]);
    crate::resume::wait_for("the canary's gate", || lines(&night, "runs").len() == 2);
    crate::resume::kill(&mut child);
    std::fs::write(&go, "").unwrap();
    let ran = night.call(&["resume"]).exit(0).landed(["t1"]);
    assert_eq!(lines(&ran.then(), "runs"), ["plain", "canary", "canary", "plain"]);
}
