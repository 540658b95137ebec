//! What a person decides in the morning: tasks that go again, boxes that were ticked, pull requests that were closed,
//! and too many of them that wait. Whole nights, and a GitHub on loopback.

use std::{fs, path::Path, process::Command};

use nightshift::{ids::TaskId, report::boxes};

use crate::{
    publishing::on_github,
    support::{
        github::{FakeGitHub, Fault},
        night::{Ran, TestNight},
    },
};

/// `a` lands when it is told to meet the tests, and changes nothing otherwise; others land.
const HEEDS: &str = "case $NIGHTSHIFT_TASK in
    a) grep -q 'meet the tests' && echo a > src/from_a.txt;;
    *) echo $NIGHTSHIFT_TASK > src/from_$NIGHTSHIFT_TASK.txt;;
    esac; exit 0";
const WELL: &str = "echo $NIGHTSHIFT_TASK > src/from_$NIGHTSHIFT_TASK.txt";
/// Asks, until the plan answers.
const ASKS: &str = "if grep -q 'Answer: 8080 of course'; then echo a > src/from_a.txt; else
    printf '```nightshift\\n{\"plan\": [], \"acceptance\": [], \"decisions\": [], \"questions\": [\"Which port?\"]}\\n```\\n'
    fi";

fn agent_now(night: &TestNight, script: &str) {
    fs::write(night.path("agent.sh"), script).unwrap();
}

/// What `check` says, in one line: its lines are broken at a width, and its code is about the agent too.
fn check(night: TestNight) -> (TestNight, String) {
    let ran = night.call(&["check"]);
    let all = ran.all().split_whitespace().collect::<Vec<_>>().join(" ");
    (ran.then(), all)
}

#[track_caller]
fn checks(night: TestNight, words: &str) -> TestNight {
    let (night, all) = check(night);
    assert!(all.contains(words), "no `{words}` in:\n{all}");
    night
}

#[test]
fn a_failed_task_goes_again_once_with_a_persons_words() {
    let night = TestNight::new().task("a", "Add one").task("b", "Add another").agent(HEEDS);
    let night = night.run(&[]).exit(1).landed(["b"]).then();
    let night = checks(night, "nightshift retry 'a'");
    let ran = night.call(&["show", "a"]).exit(0).says("nightshift retry a --note");
    let night = ran.then();
    // What did not fail is not tried again, and what nobody knows is named.
    let night = night.call(&["retry", "b"]).exit(1).says("its work waits in").then();
    let night = night.call(&["retry", "aa"]).exit(2).says("the plan has no task").then();
    let night = night.call(&["retry", "a", "--note", " "]).exit(2).says("it is empty").then();
    let note = ["retry", "a", "--note", "please meet the tests", "--model", "opus"];
    let ran = night.call(&note).exit(0).says("goes again").says("the next night takes it");
    let night = checks(ran.then(), "goes again: ");
    let night = night.call(&["status"]).exit(0).says("goes again tonight: a (").then();
    let ran = night.run(&[]).exit(0).landed(["a"]);
    let night = ran.then();
    let status = night.call(&["status"]).exit(0);
    assert!(!status.all().contains("goes again"), "{}", status.all());
    let night = status.then();
    let (_, all) = check(night);
    assert!(!all.contains("goes again") && all.contains("its work waits in"), "{all}");
}

#[test]
fn a_retry_is_spent_by_the_next_try_and_ends_with_an_edit() {
    let night = TestNight::new().task("a", "Add one").agent("true");
    let night = night.run(&[]).exit(1).then();
    let night = night.call(&["retry", "a"]).exit(0).then();
    let night = night.run(&[]).exit(1).says("FAILED 1").then();
    let night = checks(night, "and its text has not changed since");
    let night = night.run(&[]).exit(1).says("no task may run").then();
    let plan = night.repo().join("PROJECT_PLAN.md");
    let text = fs::read_to_string(&plan).unwrap();
    fs::write(&plan, text.replace("Add one", "Add just one")).unwrap();
    let night = night.call(&["retry", "a"]).exit(0).says("it runs by itself").then();
    let (_, all) = check(night);
    assert!(!all.contains("goes again") && all.contains("WOULD RUN 1"), "{all}");
}

#[test]
fn the_note_to_a_task_that_asked_is_its_answer_in_the_plan() {
    let night = TestNight::new().task("a", "Add one").agent(ASKS);
    let night = night.run(&[]).exit(1).says("Which port?").then();
    let night = checks(night, "nightshift retry 'a' --note");
    let plan = night.repo().join("PROJECT_PLAN.md");
    let before = fs::read_to_string(&plan).unwrap();
    let output = night.command(&["retry", "a", "--note", "8080\nof course"]).output().unwrap();
    let said = Ran::of(night, output).exit(0).says("its answer goes into PROJECT_PLAN.md");
    let night = said.says("goes again").then();
    let after = fs::read_to_string(&plan).unwrap();
    let lines = "  - Question: Which port?\n  - Answer: 8080 of course\n";
    assert_eq!(after.replacen(lines, "", 1), before, "nothing else was changed");
    assert_ne!(after, before);
    night.run(&[]).exit(0).landed(["a"]);
}

#[test]
fn a_rejection_is_heeded_unless_it_is_from_scratch_and_now_is_a_night_with_these_tasks() {
    let told = "cat > \"$(dirname \"$0\")/prompt\"; echo a > src/from_a.txt";
    let night = TestNight::new()
        .tier("off")
        .file(".nightshift/config.yml", "version: 1\nagent: {use: test}\n")
        .task("a", "Make it run")
        .agent("chmod +x src/a.txt");
    let night = night.run(&[]).exit(1).says("HELD FOR YOU").then();
    let night = night.call(&["retry", "a"]).exit(1).says("waits for your decision").then();
    let night = night.call(&["reject", "a", "--reason", "not like this"]).exit(0);
    let night = night.says("nightshift retry 'a'").then().task_later("b", "Another");
    agent_now(&night, told);
    let ran = night.call(&["retry", "a", "--from-scratch", "--now"]).exit(0).says("LANDED 1");
    let night = ran.then();
    let prompt = fs::read_to_string(night.path("prompt")).unwrap();
    assert!(prompt.contains("Make it run") && !prompt.contains("not like this"), "{prompt}");
}

#[test]
fn a_retry_is_known_on_other_machines_and_its_words_are_not() {
    let night = TestNight::new().task("a", "Add one").agent("true");
    let night = night.run(&[]).exit(1).then();
    let clone = night.path("clone");
    night.git(&["clone", "-q", night.remote().to_str().unwrap(), clone.to_str().unwrap()]);
    let elsewhere = |arguments: &[&str]| {
        let mut command = night.command(arguments);
        in_clone(&mut command, &clone, &night.path("other"));
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(elsewhere(&["check"]).contains("WOULD RUN 0"));
    let output = night.command(&["retry", "a", "--note", "secret words"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let all = elsewhere(&["check"]);
    assert!(all.contains("WOULD RUN 1") && all.contains("on another machine"), "{all}");
    let file = "refs/nightshift/ledger:ledger.jsonl";
    let ledger = night.git(&["--git-dir", night.remote().to_str().unwrap(), "show", file]);
    assert!(ledger.contains("\"kind\":\"retry\"") && !ledger.contains("secret"), "{ledger}");
}

fn in_clone(command: &mut Command, clone: &Path, home: &Path) {
    fs::create_dir_all(home).unwrap();
    command.current_dir(clone).env("HOME", home);
}

/// A night whose pull requests are on a GitHub with the real branches.
fn published(fake: &FakeGitHub, night: TestNight) -> TestNight {
    let night = on_github(fake, night, "demo");
    fake.settings(|repository| repository.bare = Some(night.remote()));
    night
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticked_box_frees_its_task_once_and_a_closed_pull_request_is_a_no() {
    let fake = FakeGitHub::start().await;
    let night = TestNight::new().task("a", "Add one").task("b", "Add another").agent(HEEDS);
    let night = published(&fake, night).run(&[]).exit(1).says("LANDED 1").then();
    assert_eq!(fake.pulls().len(), 1);
    let tick = |task: &str| boxes::retry(&TaskId::new(task).unwrap()).replacen("[ ]", "[x]", 1);
    // A box of what waits for a merge, and one of nothing, free nothing.
    let more = format!("\n{} again\n{}\n{}\n", tick("a"), tick("b"), tick("nobody"));
    fake.change(1, |pull| pull.body.push_str(&more));
    let night = checks(night, "goes again: a box in #1");
    let night = night.run(&[]).exit(1).says("FAILED 1").then();
    assert_eq!(fake.pulls().len(), 1);
    let night = checks(night, "it failed in night");
    let (night, all) = check(night);
    assert!(!all.contains("goes again") && all.contains("its work waits in"), "{all}");
    // A person's no.
    fake.change(1, |pull| pull.open = false);
    let night = checks(night, "#1 was closed without a merge");
    let night = night.run(&[]).exit(1).says("#1 was closed without a merge").then();
    // Known from the ledger where nobody can look.
    let output = night.command(&["check"]).env_remove("GH_TOKEN").output().unwrap();
    let all = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(all.contains("#1 was closed without a merge"), "{all}");
    // Open again, it waits again; closed again, a person may want it all the same.
    fake.change(1, |pull| pull.open = true);
    let night = checks(night, "its work waits in");
    fake.change(1, |pull| pull.open = false);
    agent_now(&night, WELL);
    let night = night.call(&["retry", "b"]).exit(0).says("goes again").then();
    let ran = night.run(&[]).exit(1).says("LANDED 1").says("it failed in night");
    assert_eq!(fake.pulls().len(), 2);
    checks(ran.then(), "its work waits in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_too_many_open_pull_requests_no_night_begins() {
    let fake = FakeGitHub::start().await;
    let night = TestNight::new()
        .file(".nightshift/config.yml", "version: 1\npr: {open_limit: 1}\n")
        .task("a", "Add one")
        .agent(WELL);
    let night = published(&fake, night).run(&[]).exit(0).says("LANDED 1").then();
    // Not ours: a person's, and one that a fork calls as ours are called.
    fake.add("topic", "main", "mine");
    fake.add("nightshift/2020-01-01", "main", "theirs");
    let night = night.run(&[]).exit(0).says("nothing new is ready").then();
    let night = night.task_later("b", "Add another");
    let url = format!("{}/octo/demo/pull/1", fake.url);
    let ran = night.run(&[]).exit(3).says("1 pull request is open").says(&url);
    let night = ran.says("merge or close one").then();
    let night = night.call(&["status"]).exit(0).says("no night begins: 1 pull request").then();
    let night = checks(night, "no night would begin: 1 pull request is open");
    // Who cannot look is not kept, and is told.
    fake.fault("list", Fault::BadCredentials, 1);
    let ran = night.run(&["--no-pr"]).exit(0).says("LANDED 1");
    let night = ran.says("what was decided about earlier pull requests is not known").then();
    let night = night.task_later("c", "One more");
    let night = night.run(&["--no-pr"]).exit(0).says("LANDED 1").then();
    fake.change(1, |pull| pull.open = false);
    let night = night.task_later("d", "The last");
    let night = night.run(&[]).exit(1).says("LANDED 1").then();
    assert_eq!(fake.pulls().len(), 4);
    night.call(&["status"]).exit(0);
}
