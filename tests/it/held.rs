//! Whole nights whose results wait for a person: held with a reason, approved, rejected, cut off and found again.

use std::{
    fs,
    process::{Child, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::night::TestNight;

/// One task's script by its name; `a` changes a mode, which asks.
const HELD_A: &str = "case $NIGHTSHIFT_TASK in
    a) echo a > src/from_a.txt; chmod +x src/from_a.txt;;
    *) echo $NIGHTSHIFT_TASK > src/from_$NIGHTSHIFT_TASK.txt;;
    esac";

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Entries of a journal whose event has this name, beginning with the entry `from`.
fn events(night: &TestNight, name: &str, from: usize) -> Vec<Value> {
    let text = fs::read_to_string(night.journal().unwrap()).unwrap();
    let entries =
        text.lines().skip(1 + from).map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.map(|entry| entry["event"][name].clone()).filter(|event| !event.is_null()).collect()
}

/// Names of orders that were begun.
fn orders(night: &TestNight, from: usize) -> Vec<String> {
    let began = events(night, "began", from);
    began.iter().map(|order| order.as_object().unwrap().keys().next().unwrap().clone()).collect()
}

/// When the first task's last try was over, as `status` says.
fn over(night: &TestNight) -> String {
    let output = night.command(&["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tries = status["data"]["night"]["tasks"][0]["attempts"].as_array().unwrap();
    tries.last().unwrap()["ended"].as_str().unwrap().to_owned()
}

fn branch(night: &TestNight) -> String {
    night.git(&["for-each-ref", "--format=%(refname:short)", "refs/heads/nightshift/"])
}

#[test]
fn a_mode_a_dependency_and_too_many_lines_are_held_with_their_reasons() {
    let night = TestNight::new()
        .file("src/package.json", "{\"dependencies\": {}}\n")
        .task("mode", "Make it run")
        .task("dependency", "Add a part")
        .task("lines", "Write much")
        .agent(
            "case $NIGHTSHIFT_TASK in
            mode) chmod +x src/a.txt;;
            dependency) echo '{\"dependencies\": {\"left-pad\": \"1\"}}' > src/package.json;;
            lines) seq 121 > src/many.txt;;
            esac",
        );
    let lines: Vec<String> = (1..=121).map(|line: u32| line.to_string()).collect();
    let ran = night.run(&[]).exit(1).landed([]).says("HELD FOR YOU 3").says("held=3");
    let ran = ran
        .says("inspection.mode: `src/a.txt` became executable; limit permissions stay (built in)")
        .says("inspection.manifest")
        .says("inspection.lines: 121 lines changed")
        .says("nightshift approve 'mode'")
        .kept("lines/1", "src/many.txt", &lines.join("\n"));
    assert_eq!(ran.pull_request(), "", "no pull request without a commit");
    let ran = ran
        .then()
        .call(&["status"])
        .exit(0)
        .says("nightshift show mode --diff, then nightshift approve mode");
    let ran = ran
        .then()
        .call(&["show", "lines"])
        .exit(0)
        .says("HELD FOR YOU")
        .says("gate             score 100");
    let ran = ran.says("ask    inspection.lines").says("reject 2");
    let night = ran.then();
    let output = night.command(&["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let task = &status["data"]["night"]["tasks"][1];
    assert_eq!(task["held"]["objections"][0]["rule"], "inspection.manifest", "{task}");
    assert_eq!(task["held"]["objections"][0]["origin"], "default", "{task}");
    assert!(task["held"]["approve"].as_str().unwrap().ends_with("/dependency"), "{task}");
    // What waits is not done again by the next night.
    let ran = night.run(&[]).exit(1).says("waits for your decision").landed([]);
    let ran = ran.then().call(&["check"]).says("nightshift approve 'mode' lands it");
    ran.then().run(&["-t", "mode"]).exit(1).says("HELD FOR YOU 1");
}

#[test]
fn an_approved_result_lands_as_it_is_with_the_pass_that_it_has() {
    let ran = TestNight::new().task("a", "Add a script").agent(HELD_A).run(&[]).exit(1).landed([]);
    let night = ran.then();
    let (before, ended) = (night.entries(), over(&night));
    let refs = night.git(&["for-each-ref", "--format=%(tree)", "refs/nightshift/attempts"]);
    // No terminal: as in a job, nobody is asked.
    let ran = night.call(&["approve", "a", "--note", "it is a script"]).exit(0).landed(["a"]);
    let ran = ran.says("became executable").says("a: landed: ").holds("src/from_a.txt", "a");
    let night = ran.then();
    assert_eq!(orders(&night, before), ["land", "publish"], "no agent, and no second gate");
    assert_eq!(over(&night), ended, "its try was over before");
    assert_eq!(night.git(&["rev-parse", &format!("{}^{{tree}}", branch(&night))]), refs);
    let ran = night.call(&["show"]).exit(0).says("LANDED 1");
    let text = ran.pull_request();
    assert!(text.contains("approved by a person") && text.contains("it is a script"), "{text}");
    assert!(!text.contains("stopped early"), "{text}");
    let ran = ran.then().call(&["status", "--exit-code"]).exit(0);
    // Twice is once.
    let ran = ran.then().call(&["approve", "a"]).exit(0).says("nothing to do: it landed");
    ran.then().call(&["resume"]).exit(0).says("nothing to go on with");
}

#[test]
fn an_approved_result_is_rebuilt_and_gated_again_where_another_landed() {
    let night =
        TestNight::new().one_at_a_time().task("a", "Add one").task("b", "Add two").agent(HELD_A);
    let ran = night.run(&[]).exit(1).landed(["b"]).says("HELD FOR YOU 1");
    assert!(ran.pull_request().contains("nightshift approve"), "{}", ran.pull_request());
    let night = ran.then();
    let before = night.entries();
    let ran = night.call(&["approve", "a"]).exit(0).landed(["b", "a"]).holds("src/from_b.txt", "b");
    assert!(!ran.pull_request().contains("held for your decision"), "{}", ran.pull_request());
    let night = ran.then();
    assert_eq!(orders(&night, before), ["restack", "run_gate", "land", "publish"]);
}

#[test]
fn what_does_not_fit_any_more_fails_with_its_reason_and_no_agent_goes_on() {
    let gate = "#!/bin/sh\nif [ -e src/from_a.txt ] && [ -e src/from_b.txt ]\nthen echo 'not ok both'; exit 1; fi\n";
    let night = TestNight::new()
        .one_at_a_time()
        .gate(gate)
        .task("a", "Add one")
        .task("b", "Add two")
        .agent(HELD_A);
    let mut night = night.run(&[]).exit(1).landed(["b"]).then();
    for _ in 0..2 {
        let before = night.entries();
        let ran = night.call(&["approve", "a"]).exit(1).landed(["b"]).says("a: failed: ");
        night = ran.kept("a/1", "src/from_a.txt", "a").then();
        assert!(!orders(&night, before).contains(&"run_agent".to_owned()));
    }
    let ran = night.run(&[]).exit(1).says("it failed in night").landed(["b"]);
    // A conflict the same.
    let both = "case $NIGHTSHIFT_TASK in a) echo a > src/a.txt; chmod +x src/a.txt;; b) echo b > src/a.txt;; esac";
    drop(ran);
    let night = TestNight::new().task("a", "Change it").task("b", "Change it too").agent(both);
    let night = night.one_at_a_time();
    let ran = night.run(&[]).exit(1).landed(["b"]);
    ran.then().call(&["approve", "a"]).exit(1).says("src/a.txt").landed(["b"]);
}

#[test]
fn a_no_is_told_to_the_next_attempt() {
    let agent = "if grep -q 'no script here'; then echo fine > src/new.txt
        else echo a > src/new.txt; chmod +x src/new.txt; fi";
    let night =
        TestNight::new().task("a", "Add a file").agent(agent).run(&[]).exit(1).landed([]).then();
    let ran = night.call(&["reject", "a"]).exit(2).says("a rejection needs a reason");
    let ran = ran.then().call(&["reject", "a", "--reason", "no script here"]).exit(0);
    let ran = ran.says("a: rejected").then().call(&["status"]).exit(0).says("no script here");
    let ran = ran.then().call(&["approve", "a"]).exit(1).says("it is not held");
    // It waits for a changed text or for its name.
    let ran = ran.then().run(&[]).exit(1).says("its text has not changed since");
    let ran = ran.kept("a/1", "src/new.txt", "a");
    let ran = ran.then().run(&["-t", "a"]).exit(0).landed(["a"]).holds("src/new.txt", "fine");
    ran.then().call(&["show", "a", "--prompt"]).exit(0).says("rejected it").says("no script here");
}

#[test]
fn a_no_brings_the_pull_request_up_to_date() {
    let night =
        TestNight::new().one_at_a_time().task("a", "Add one").task("b", "Add two").agent(HELD_A);
    let night = night.run(&[]).exit(1).landed(["b"]).then();
    let before = night.entries();
    let ran = night.call(&["reject", "a", "--reason", "not needed"]).exit(0).landed(["b"]);
    let text = ran.pull_request();
    assert!(text.contains("not needed") && !text.contains("held for your decision"), "{text}");
    let night = ran.then();
    assert_eq!(orders(&night, before), ["publish"]);
}

#[test]
fn a_night_whose_branch_is_merged_takes_nothing_more() {
    let night =
        TestNight::new().one_at_a_time().task("a", "Add one").task("b", "Add two").agent(HELD_A);
    let night = night.run(&[]).exit(1).landed(["b"]).then();
    let branch = branch(&night);
    night.git(&["merge", "-q", "--no-ff", "-m", "merged", &branch]);
    night.git(&["push", "-q", "origin", "main"]);
    let before = night.entries();
    let ran = night
        .call(&["approve", "a"])
        .exit(1)
        .says("is merged into main")
        .says("nightshift run -t 'a'");
    let ran = ran.says("git cherry-pick refs/nightshift/attempts/").landed([]);
    let night = ran.then();
    assert_eq!(night.entries(), before, "nothing was written down");
    // What the words name works.
    let attempt = night.git(&["for-each-ref", "--format=%(refname)", "refs/nightshift/attempts"]);
    assert!(attempt.lines().any(|name| name.ends_with("/a/1")), "{attempt}");
    let ran = night.call(&["reject", "a", "--reason", "too late"]).exit(0);
    ran.landed([]);
}

#[test]
fn unknown_names_get_a_suggestion_and_the_others_are_done_all_the_same() {
    let night = TestNight::new().task("alpha", "Add one").agent("chmod +x src/a.txt");
    let night = night.run(&[]).exit(1).then();
    let ran = night.call(&["approve", "alpah", "alpha"]).exit(2).landed(["alpha"]);
    let ran = ran.says("did you mean `alpha`?").says("alpha: landed");
    let ran = ran.then().call(&["approve", "last"]).exit(2).says("results are decided one by one");
    let ran = ran
        .then()
        .call(&["approve", "alpha", "--night", "2020-01-01"])
        .exit(2)
        .says("there is no night");
    ran.then().call(&["reject", "alpah", "--reason", "x"]).exit(2).says("did you mean `alpha`?");
}

#[test]
fn nothing_lands_while_the_repository_is_stopped() {
    let night = TestNight::new().task("a", "Add one").agent(HELD_A).run(&[]).exit(1).then();
    let ran = night.call(&["stop"]).exit(0).then().call(&["approve", "a"]).exit(4).landed([]);
    ran.then()
        .call(&["resume", "--only-lift"])
        .exit(0)
        .then()
        .call(&["approve", "a"])
        .exit(0)
        .landed(["a"]);
}

/// Starts a command and leaves it running.
fn start(night: &TestNight, arguments: &[&str]) -> Child {
    night.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "waited for {what}");
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn killed_at_any_line_an_approval_lands_once_by_resume_or_by_another() {
    let held = || {
        let night = TestNight::new().tier("off").task("a", "Add one").task("b", "Add two");
        let night = night.one_at_a_time();
        night.agent(HELD_A).run(&[]).exit(1).landed(["b"]).then()
    };
    let night = held();
    let before = night.entries();
    let whole = night.call(&["approve", "a"]).exit(0).then().entries();
    assert!(whole > before + 8, "{before} {whole}");
    for line in before + 1..whole {
        // Both ways between the first facts, in turn after them.
        let ways = [["approve", "a"].as_slice(), &["resume"]];
        let ways = ways.iter().enumerate();
        let ways = ways.filter(|(way, _)| line < before + 4 || line % 2 == *way);
        for (_, again) in ways {
            let night = held();
            let mut child = start(&night, &["approve", "a"]);
            wait_for("a journal line", || {
                night.entries() >= line || child.try_wait().unwrap().is_some()
            });
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
            kill_process(pid, Signal::KILL).unwrap();
            child.wait().unwrap();
            let decided = !events(&night, "decided", 0).is_empty();
            let ran = night.call(again);
            if decided || again[0] == "approve" {
                let night = ran.exit(0).landed(["b", "a"]).then();
                assert_eq!(
                    events(&night, "decided", 0).len(),
                    1,
                    "killed at {line}, then {again:?}"
                );
                assert!(!orders(&night, before).contains(&"run_agent".to_owned()));
                night.call(&["resume"]).exit(0).says("nothing to go on with");
            } else {
                ran.landed(["b"]).then().call(&["approve", "a"]).exit(0).landed(["b", "a"]);
            }
        }
    }
}

#[test]
fn a_night_that_begins_after_a_cut_off_approval_is_a_night_of_its_own() {
    let night =
        TestNight::new().tier("off").task("a", "Add one").agent(HELD_A).run(&[]).exit(1).then();
    let before = night.entries();
    let mut child = start(&night, &["approve", "a"]);
    wait_for("the decision", || {
        night.entries() > before + 2 || child.try_wait().unwrap().is_some()
    });
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    child.wait().unwrap();
    let first = branch(&night);
    if !events(&night, "ended", before).is_empty() {
        return; // It was faster than we are: there is nothing to see.
    }
    let ran = night.task_later("b", "Add two").run(&[]).says("nightshift resume lands them");
    let second = ran.branch().unwrap();
    assert_ne!(first, second, "{}", ran.all());
}

#[test]
fn two_approvals_at_once_and_one_beside_a_night() {
    let night = TestNight::new().task("a", "Add one").agent(HELD_A).run(&[]).exit(1).then();
    let mut both = [start(&night, &["approve", "a"]), start(&night, &["approve", "a"])];
    let codes = both.each_mut().map(|child| child.wait().unwrap().code().unwrap());
    assert!(codes.contains(&0) && codes.iter().all(|code| [0, 5].contains(code)), "{codes:?}");
    assert_eq!(events(&night, "landed", 0).len(), 1);
    let night = TestNight::new()
        .one_at_a_time()
        .task("a", "Add one")
        .task("b", "Wait")
        .agent("case $NIGHTSHIFT_TASK in a) chmod +x src/a.txt;; b) sleep 20;; esac");
    let night = night.commit();
    let mut child = night.spawn(&[]);
    wait_for("the second task", || {
        let text = night.journal().and_then(|path| fs::read_to_string(path).ok());
        text.is_some_and(|text| text.contains(r#""task":"b","number":1"#))
    });
    let output = night.command(&["approve", "a"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    child.wait().unwrap();
    // The night was stopped early, and is so still after the approval: `resume` goes on with it.
    let ran = night.call(&["approve", "a"]).exit(0).landed(["a"]);
    ran.then().call(&["status"]).exit(0).says("next: nightshift resume");
}

#[test]
fn a_night_that_was_killed_goes_on_after_an_approval() {
    let night = TestNight::new()
        .tier("off")
        .one_at_a_time()
        .task("a", "Add one")
        .task("b", "Wait once")
        .agent(
            "case $NIGHTSHIFT_TASK in a) chmod +x src/a.txt;;
        b) [ -e \"$(dirname \"$0\")/second\" ] || sleep 20; echo b > src/from_b.txt;; esac",
        );
    let night = night.commit();
    let mut child = night.spawn(&[]);
    wait_for("the second task", || {
        let text = night.journal().and_then(|path| fs::read_to_string(path).ok());
        text.is_some_and(|text| text.contains(r#""task":"b","number":1"#))
    });
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    child.wait().unwrap();
    fs::write(night.path("second"), "").unwrap();
    let before = night.entries();
    let ran = night.call(&["approve", "a"]).exit(0).landed(["a"]).says("resume goes on with it");
    let night = ran.then();
    assert_eq!(orders(&night, before), ["land", "publish"]);
    night.call(&["resume"]).exit(0).landed(["a", "b"]).holds("src/from_b.txt", "b");
}

#[test]
fn an_approval_needs_no_agent() {
    let night = TestNight::new().task("a", "Add one").agent(HELD_A).run(&[]).exit(1).then();
    fs::remove_file(night.path("agent.sh")).unwrap();
    night.call(&["approve", "a", "--no-push"]).exit(0);
}

const PLAN: &str = "# Plan\r\n\r\n## Ready\r\n\r\n- **[big]** Add much\r\n  - Alignment: 95\r\n  - Estimated lines: 90\r\n  \
- Tests defined: yes\r\n\r\n- **[drop]** Drop table users\r\n  - Alignment: 95\r\n  - Estimated lines: 5\r\n  \
- Tests defined: yes\r\n\r\n- **[fine]** Add one\r\n  - Alignment: 95\r\n  - Estimated lines: 5\r\n  \
- Tests defined: yes\r\n\r\n## Pending\r\n\r\n- **[later]** Add two\r\n  - Alignment: 95\r\n  - Estimated lines: 5\r\n  \
- Tests defined: yes\r\n  - Depends on: nothing-yet\r\n";

#[test]
fn a_task_that_waits_in_the_plan_is_approved_by_one_line_of_it() {
    let plan = PLAN.replace("  - Depends on: nothing-yet\r\n", "");
    let night = TestNight::new().plan(&plan).agent(HELD_A).commit();
    let file = night.repo().join("PROJECT_PLAN.md");
    let output = night
        .command(&["approve", "big", "later", "drop", "fine", "latr"])
        .env("USER", "ada")
        .output()
        .unwrap();
    let words = said(&output);
    assert_eq!(output.status.code(), Some(2), "{words}");
    for expected in [
        "big: approved: written into PROJECT_PLAN.md",
        "ask admission.lines",
        "later: approved",
        "drop: not approved: no approval frees admission.words",
        "fine: nothing to do: it may run as it is",
        "latr: unknown",
        "did you mean `later`?",
    ] {
        assert!(words.contains(expected), "no `{expected}` in:\n{words}");
    }
    let text = fs::read_to_string(&file).unwrap();
    let day = &branch_day(&text);
    let added: Vec<&str> = text.lines().filter(|line| line.contains("Approved")).collect();
    assert_eq!(added.len(), 2, "{text}");
    for line in &added {
        assert!(line.starts_with(&format!("  - Approved: {day} by ada (text ")), "{line}");
    }
    let without: String =
        text.split_inclusive('\n').filter(|line| !line.contains("Approved")).collect();
    assert_eq!(without, plan, "every other byte is as it was");
    assert_eq!(night.git(&["status", "--porcelain"]), " M PROJECT_PLAN.md");
    // They run now, and a changed text does not.
    let edited = text.replace("Add much", "Add much more");
    fs::write(&file, &edited).unwrap();
    let ran = night.run(&[]).exit(1).landed_in_any_order(["fine", "later"]);
    ran.says("admission.lines");
}

/// The date in the first approval.
fn branch_day(text: &str) -> String {
    let (_, rest) = text.split_once("Approved: ").unwrap();
    rest[..10].to_owned()
}

#[test]
fn what_an_approval_does_not_free_is_said_and_the_file_stays() {
    let night = TestNight::new().plan(PLAN).agent(HELD_A).commit();
    // A CI job reads the base's plan.
    let output = night.command(&["approve", "big"]).env("CI", "true").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("in a checkout, then commit and push"), "{}", said(&output));
    assert_eq!(night.git(&["status", "--porcelain"]), "");
    let ran = night.call(&["approve", "later"]).exit(1);
    ran.says("later: not approved");
}

#[test]
fn answers_come_as_json_too() {
    let night = TestNight::new().task("a", "Add one").agent(HELD_A).run(&[]).exit(1).then();
    let output = night.command(&["approve", "--json", "a", "b"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["schema"], "nightshift.approve/1");
    let tasks = last["data"]["tasks"].as_array().unwrap();
    let outcomes: Vec<&Value> = tasks.iter().map(|task| &task["outcome"]).collect();
    assert_eq!(outcomes, ["unknown", "landed"], "{last}");
}
