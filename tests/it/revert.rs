//! Landed results that a person takes back, before and after their night was merged.

use std::{
    fs,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::night::TestNight;

const EACH: &str = "echo $NIGHTSHIFT_TASK > src/from_$NIGHTSHIFT_TASK.txt";

fn three() -> TestNight {
    let night = TestNight::new()
        .one_at_a_time()
        .task("a", "Add one")
        .task("b", "Add two")
        .task("c", "Add three");
    night.agent(EACH)
}

fn branch(night: &TestNight) -> String {
    night.git(&["for-each-ref", "--format=%(refname:short)", "refs/heads/nightshift/"])
}

/// Names of orders that were begun after the entry `from`.
fn orders(night: &TestNight, from: usize) -> Vec<String> {
    let text = fs::read_to_string(night.journal().unwrap()).unwrap();
    let entries = text.lines().skip(1 + from);
    let entries = entries.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let orders = entries.filter_map(|entry| {
        entry["event"]["began"].as_object().map(|order| order.keys().next().unwrap().clone())
    });
    orders.collect()
}

#[test]
fn one_of_three_goes_and_the_next_is_gated_again_at_its_new_tree() {
    let night = three().run(&[]).exit(0).landed(["a", "b", "c"]).then();
    let before = night.entries();
    let name = branch(&night);
    let old = night.git(&["rev-parse", &name]);
    let ran = night.call(&["revert", "b", "-n"]).exit(0).says("goes from nightshift/");
    let ran = ran.says("b · Add two").says("is rebuilt without it").says("c · Add three");
    let night = ran.then();
    assert_eq!(night.entries(), before, "only said");
    let ran = night.call(&["revert", "b", "--reason", "it is slow"]).exit(0).landed(["a", "c"]);
    let ran =
        ran.lacks("src/from_b.txt").holds("src/from_c.txt", "c").kept("b/1", "src/from_b.txt", "b");
    let ran = ran.says("b: reverted: it is not on nightshift/").says("c: landed: again, ");
    let text = ran.pull_request();
    assert!(text.contains("it is slow") && text.contains("2 commits to review"), "{text}");
    let night = ran.then();
    assert_eq!(orders(&night, before), ["rewind", "restack", "run_gate", "land", "publish"]);
    let former = night.git(&["for-each-ref", "--format=%(objectname)", "refs/nightshift/former/"]);
    assert_eq!(former, old, "every commit stays reachable");
    // The plan on the branch says it, and nobody else is surprised.
    let plan = night.git(&["show", &format!("{name}:PROJECT_PLAN.md")]);
    assert_eq!(plan.matches("DONE (night").count(), 2, "{plan}");
    let ran = night.call(&["verify", &name]).exit(0);
    let ran = ran.then().call(&["status"]).says("reverted by");
    let ran = ran.then().call(&["revert", "b"]).exit(2).says("no night has it on its branch");
    let named = format!("{}/b", name.trim_start_matches("nightshift/"));
    let ran = ran.then().call(&["revert", &named]).exit(0).says("it is reverted already");
    // It waits for a changed text or for its name, and then its next try is told why.
    let ran = ran.then().run(&[]).says("its text has not changed since");
    let ran = ran.then().run(&["-t", "b"]).exit(0);
    ran.then().call(&["show", "b", "--prompt"]).exit(0).says("it is slow");
}

#[test]
fn what_needs_it_fails_with_its_reason_and_the_others_land() {
    let gate = "#!/bin/sh\nif [ -e src/from_b.txt ] && [ ! -e src/from_a.txt ]\nthen echo 'not ok b'; exit 1; fi\n";
    let night = three().gate(gate).run(&[]).exit(0).landed(["a", "b", "c"]).then();
    let ran = night.call(&["revert", "a"]).exit(1).landed(["c"]);
    let ran =
        ran.says("b: failed: without the other it gate red").kept("b/1", "src/from_b.txt", "b");
    ran.then().call(&["resume"]).exit(0).says("nothing to go on with");
    // A conflict the same.
    let grow = "echo $NIGHTSHIFT_TASK >> src/a.txt";
    let night =
        TestNight::new().one_at_a_time().task("a", "Add one").task("b", "Add two").agent(grow);
    let night = night.run(&[]).exit(0).landed(["a", "b"]).then();
    let ran = night.call(&["revert", "a"]).exit(1).landed([]);
    ran.says("b: failed: ").says("conflict in src/a.txt");
}

#[test]
fn a_whole_night_goes_back_to_its_base() {
    let night = three().run(&[]).exit(0).landed(["a", "b", "c"]).then();
    let name = branch(&night);
    let ran = night.call(&["revert", "last"]).exit(0).landed([]);
    let ran = ran.says("nothing is left on the branch").says("c: reverted");
    let night = ran.then();
    assert_eq!(night.git(&["rev-parse", &name]), night.git(&["rev-parse", "main"]));
    let there = night.git(&["ls-remote", "origin", &format!("refs/heads/{name}")]);
    assert!(there.starts_with(&night.git(&["rev-parse", "main"])), "{there}");
    night.call(&["revert", "last"]).exit(2).says("is on its branch");
}

#[test]
fn a_branch_that_a_person_moved_or_has_checked_out_is_left_alone() {
    let mut night = three().run(&[]).exit(0).then();
    let name = branch(&night);
    night.git(&["checkout", "-q", &name]);
    let old = night.git(&["rev-parse", "HEAD"]);
    // More than once: their copy stays where it was, the night's own goes on.
    for (task, stands) in [("c", "HEAD~1"), ("b", "HEAD~2")] {
        let ran = night.call(&["revert", task]).exit(0).says("checked out: it stays at ");
        night = ran.says("git reset --keep FETCH_HEAD").then();
        assert_eq!(night.git(&["rev-parse", "HEAD"]), old, "moving it would move their HEAD");
        let there = night.git(&["ls-remote", "origin", &format!("refs/heads/{name}")]);
        assert!(there.starts_with(&night.git(&["rev-parse", stands])), "{there}");
    }
    night.git(&["commit", "-q", "--allow-empty", "-m", "mine"]);
    let before = night.entries();
    let ran = night.call(&["revert", "a"]).exit(2).says("was moved by somebody else");
    let night = ran.then();
    assert_eq!(night.entries(), before, "nothing was written down");
}

#[test]
fn killed_at_any_line_a_revert_comes_to_the_same_end() {
    let whole = three().tier("off").run(&[]).exit(0).then();
    let before = whole.entries();
    let last = whole.call(&["revert", "b"]).exit(0).then().entries();
    assert!(last > before + 10, "{before} {last}");
    for line in before + 1..last {
        let night = three().tier("off").run(&[]).exit(0).then();
        let mut child = night.command(&["revert", "b"]);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while night.entries() < line && child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "waited for line {line}");
            sleep(Duration::from_millis(1));
        }
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        child.wait().unwrap();
        let said = fs::read_to_string(night.journal().unwrap()).unwrap().contains("\"reverted\"");
        let again: &[&str] = if said && line % 2 == 0 { &["resume"] } else { &["revert", "b"] };
        let ran = night.call(again);
        let ran = ran.landed(["a", "c"]).lacks("src/from_b.txt");
        let night = ran.then();
        let text = fs::read_to_string(night.journal().unwrap()).unwrap();
        assert_eq!(text.matches("{\"reverted\":").count(), 1, "killed at {line}, then {again:?}");
        night.call(&["resume"]).exit(0).says("nothing to go on with");
    }
}

fn merge(night: &TestNight, how: &[&str]) {
    let name = branch(night);
    let name = name.lines().last().unwrap();
    night.git(&[&["merge", "-q"], how, &[name]].concat());
    if how.contains(&"--squash") {
        night.git(&["commit", "-q", "-m", "squashed"]);
    }
    night.git(&["push", "-q", "origin", "main"]);
}

/// Somebody's commit on the remote's main.
fn push(night: &TestNight, path: &str, text: &str) {
    fs::write(night.repo().join(path), text).unwrap();
    night.git(&["add", "-A"]);
    night.git(&["commit", "-q", "-m", "somebody's"]);
    night.git(&["push", "-q", "origin", "main"]);
}

#[test]
fn what_is_merged_is_taken_back_by_a_pull_request_of_its_own() {
    for how in [["--no-ff", "-m", "merged"].as_slice(), &["--squash"]] {
        let night = three().run(&[]).exit(0).landed(["a", "b", "c"]).then();
        merge(&night, how);
        // What others did meanwhile stays.
        push(&night, "src/other.txt", "other\n");
        let ran = night.call(&["revert", "b", "-n"]).exit(0).says("a pull request takes back");
        let ran = ran.then().call(&["revert", "b", "--reason", "it is slow"]).exit(0);
        let ran = ran.says("b: reverted: ").says("takes it from main");
        let ran = ran.landed(["b"]).lacks("src/from_b.txt").holds("src/from_c.txt", "c");
        let ran = ran.holds("src/other.txt", "other");
        let last = ran.branch().unwrap();
        let night = ran.then();
        let message = night.git(&["log", "-1", "--format=%B", &last]);
        assert!(message.starts_with("revert: add two\n\nThis takes back "), "{message}");
        assert!(message.contains("\n\nit is slow\n\nNightshift-Task: b"), "{message}");
        let plan = night.git(&["show", &format!("{last}:PROJECT_PLAN.md")]);
        assert_eq!(plan.matches("DONE (night").count(), 2, "{plan}");
        assert_eq!(plan.matches("PENDING (taken back, night").count(), 1, "{plan}");
        let ran = night.call(&["verify", &last]).exit(0);
        let ran = ran.then().call(&["revert", "b"]).exit(0).says("it is taken back already");
        // And back again: nothing of the first night is lost.
        let again = last.trim_start_matches("nightshift/").to_owned();
        let ran = ran.then().call(&["revert", &again]).exit(0).says("its pull request is closed");
        ran.landed([]);
    }
}

#[test]
fn what_is_merged_and_made_the_base_red_is_taken_back_all_the_same() {
    let night = three().run(&[]).exit(0).landed(["a", "b", "c"]).then();
    merge(&night, &["--no-ff", "-m", "merged"]);
    let gate = night.repo().join(".ai-validation/check_quality.sh");
    fs::write(gate, "#!/bin/sh\n[ ! -e src/from_c.txt ]\n").unwrap();
    night.git(&["add", "-A"]);
    night.git(&["commit", "-q", "-m", "a better gate"]);
    night.git(&["push", "-q", "origin", "main"]);
    let ran = night.call(&["revert", "b"]).exit(1).says("b: failed: gate red");
    let ran = ran.then().call(&["revert", "c"]).exit(0).says("c: reverted");
    ran.landed(["c"]).lacks("src/from_c.txt");
}

#[test]
fn what_was_changed_since_is_a_conflict_that_is_named() {
    let night = three().run(&[]).exit(0).landed(["a", "b", "c"]).then();
    merge(&night, &["--no-ff", "-m", "merged"]);
    push(&night, "src/from_b.txt", "better\n");
    let ran = night.call(&["revert", "b"]).exit(1).says("conflict in src/from_b.txt").landed([]);
    // A whole night, in parts.
    let first = ran.then();
    let ran = first.call(&["revert", "last~1"]).exit(1).says("b: failed: ");
    ran.says("c: reverted").says("a: reverted").lacks("src/from_a.txt").lacks("src/from_c.txt");
}

#[test]
fn a_taking_back_that_was_cut_off_goes_on_and_is_not_begun_twice() {
    for again in [["revert", "a"].as_slice(), &["resume"]] {
        goes_on(again);
    }
}

fn goes_on(again: &[&str]) {
    let night = TestNight::new().gate("#!/bin/sh\nsleep 1\n").task("a", "Add one").agent(EACH);
    let night = night.run(&[]).exit(0).landed(["a"]).then();
    merge(&night, &["--no-ff", "-m", "merged"]);
    let nights = night.journal().unwrap().parent().unwrap().parent().unwrap().to_owned();
    let journals = || -> Vec<String> {
        let found = fs::read_dir(&nights).unwrap().flatten();
        found
            .filter_map(|night| fs::read_to_string(night.path().join("journal.jsonl")).ok())
            .collect()
    };
    let mut child = night.command(&["revert", "a"]);
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let gating = |text: &String| text.contains("\"reversed\"") && text.contains("\"run_gate\"");
    while !journals().iter().any(gating) {
        assert!(Instant::now() < end, "waited for the gate");
        sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let ran = night
        .call(again)
        .exit(0)
        .says("going on with night ")
        .landed(["a"])
        .lacks("src/from_a.txt");
    assert_eq!(journals().len(), 2);
    ran.then().call(&["resume"]).exit(0).says("nothing to go on with");
}

#[test]
fn what_was_merged_as_one_commit_and_changed_since_is_known_by_its_mark_in_the_plan() {
    let night = three().run(&[]).exit(0).landed(["a", "b", "c"]).then();
    merge(&night, &["--squash"]);
    push(&night, "src/from_c.txt", "better\n");
    let old = branch(&night);
    let tip = night.git(&["rev-parse", &old]);
    let ran = night.call(&["revert", "b"]).exit(0).says("for b: it was merged");
    let ran = ran.says("takes it from main").landed(["b"]).lacks("src/from_b.txt");
    let night = ran.holds("src/from_c.txt", "better").then();
    assert_eq!(night.git(&["rev-parse", &old]), tip, "the merged branch stays");
}

#[test]
fn nothing_is_taken_back_while_nobody_knows_whether_it_is_merged() {
    let mut night = three().run(&[]).exit(0).landed(["a", "b", "c"]).then();
    let before = night.entries();
    let away = night.path("away");
    fs::rename(night.remote(), &away).unwrap();
    for words in [["revert", "b"].as_slice(), &["revert", "b", "-n"]] {
        let ran = night.call(words).exit(3).says("is not known: main could not be fetched");
        night = ran.says("nothing was changed").then();
        assert_eq!(night.entries(), before);
    }
    fs::rename(&away, night.remote()).unwrap();
    night.call(&["revert", "b"]).exit(0).landed(["a", "c"]);
}

#[test]
fn a_taking_back_that_is_merged_is_put_back_and_can_be_taken_back_again() {
    let night = three().run(&[]).exit(0).landed(["a", "b", "c"]).then();
    let first = branch(&night).trim_start_matches("nightshift/").to_owned();
    merge(&night, &["--no-ff", "-m", "merged"]);
    let ran = night.call(&["revert", "b", "--reason", "it is slow"]).exit(0).landed(["b"]);
    let second = ran.branch().unwrap().trim_start_matches("nightshift/").to_owned();
    let night = ran.then();
    merge(&night, &["--no-ff", "-m", "taken back"]);
    let ran = night.call(&["revert", &second, "-n"]).exit(0).says("a pull request puts back");
    let ran = ran.then().call(&["revert", &second]).exit(0).says("b: put back: ");
    let ran = ran.says("puts it into main again").holds("src/from_b.txt", "b");
    let text = ran.pull_request();
    assert!(text.contains("**Puts back**") && !text.contains("akes back"), "{text}");
    let last = ran.branch().unwrap();
    let night = ran.then();
    let message = night.git(&["log", "-1", "--format=%B", &last]);
    assert!(message.starts_with("feat: add two\n\nThis puts back what night "), "{message}");
    let plan = night.git(&["show", &format!("{last}:PROJECT_PLAN.md")]);
    assert_eq!(plan.matches(&format!("DONE (night {first})")).count(), 3, "{plan}");
    merge(&night, &["--no-ff", "-m", "put back"]);
    // It is as if the first night had landed it now.
    let ran = night.call(&["revert", "b"]).exit(0).says("b: reverted: ");
    ran.landed(["b"]).lacks("src/from_b.txt");
}

#[test]
fn a_night_of_which_a_part_was_taken_back_before_goes_back_without_a_failure() {
    let night = three().run(&[]).exit(0).landed(["a", "b", "c"]).then();
    let first = branch(&night).trim_start_matches("nightshift/").to_owned();
    merge(&night, &["--squash"]);
    let night = night.call(&["revert", "b"]).exit(0).landed(["b"]).then();
    merge(&night, &["--no-ff", "-m", "taken back"]);
    let ran = night.call(&["revert", &first]).exit(0).says("b: nothing to do: nothing of it is in");
    let ran = ran.says("c: reverted: ").says("a: reverted: ").landed(["c", "a"]);
    ran.lacks("src/from_a.txt").lacks("src/from_c.txt");
}
