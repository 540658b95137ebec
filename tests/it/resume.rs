//! The real program, killed at every line of its journal, stopped and gone on with.

use std::{
    process::Child,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::night::TestNight;

/// Two tasks, the second of which needs two tries.
fn two_tasks() -> TestNight {
    two_ready_tasks().commit()
}

fn two_ready_tasks() -> TestNight {
    let agent = "echo run >> $AGENT_RUNS
        case $NIGHTSHIFT_TASK in
        a) echo a > src/from_a.txt;;
        b) if grep -q 'not ok unbroken'; then echo b > src/from_b.txt
           else echo broken > src/from_b.txt; fi;;
        esac
        sleep 0.1";
    let agent = agent.replace("$AGENT_RUNS", "\"$(dirname \"$0\")/runs\"");
    TestNight::new().task("a", "Add one").task("b", "Add another").agent(&agent)
}

pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "waited for {what}");
        sleep(Duration::from_millis(2));
    }
}

pub(crate) fn kill(child: &mut Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    // The runner alone, as the out-of-memory killer would: nobody tells its children.
    kill_process(pid, Signal::KILL).unwrap();
    child.wait().unwrap();
}

/// Its agent counts its runs in a file outside, which walls would not let it write.
#[test]
fn killed_at_any_line_of_its_journal_a_night_is_resumed_and_ends_the_same() {
    let two_tasks = || two_ready_tasks().tier("off").commit();
    let whole = {
        let night = two_tasks();
        let mut child = night.spawn(&[]);
        assert!(child.wait().unwrap().success());
        night.entries()
    };
    assert!(whole > 15, "{whole}");
    for line in 1..whole {
        let night = two_tasks();
        let mut child = night.spawn(&[]);
        wait_for("a journal line", || {
            night.entries() >= line || child.try_wait().unwrap().is_some()
        });
        kill(&mut child);
        let ran = night.call(&["resume"]);
        let ran = ran
            .exit(0)
            .landed_in_any_order(["a", "b"])
            .holds("src/from_a.txt", "a")
            .holds("src/from_b.txt", "b");
        let night = ran.then();
        let runs = std::fs::read_to_string(night.path("runs")).unwrap().lines().count();
        // Two agents at once: no more than these are repeated.
        assert!((3..=5).contains(&runs), "killed at line {line}: the agent ran {runs} times");
    }
}

#[test]
fn inside_walls_a_killed_night_is_resumed_and_ends_the_same() {
    for line in [4, 7, 9, 12] {
        let night = two_tasks();
        let mut child = night.spawn(&[]);
        wait_for("a journal line", || {
            night.entries() >= line || child.try_wait().unwrap().is_some()
        });
        kill(&mut child);
        night.call(&["resume"]).exit(0).landed_in_any_order(["a", "b"]);
    }
}

#[test]
fn a_killed_runner_leaves_no_process() {
    let night = TestNight::new().task("a", "Wait").agent("exec sleep 31.41").commit();
    let mut child = night.spawn(&[]);
    let running = || {
        std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            std::fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| line == b"sleep\x0031.41\x00")
        })
    };
    wait_for("the agent", running);
    kill(&mut child);
    wait_for("its end", || !running());
}

#[test]
fn a_second_start_is_told_who_runs() {
    let night = TestNight::new().task("a", "Wait").agent("sleep 20").commit();
    let mut child = night.spawn(&[]);
    wait_for("the agent's start", || night.entries() >= 4);
    let output = night.command(&["run", "--agent", "test"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&format!("pid {}", child.id())), "{text}");
    kill(&mut child);
}

#[test]
fn stop_ends_the_night_and_resume_goes_on() {
    let night = two_tasks();
    let mut child = night.spawn(&[]);
    wait_for("the agent's start", || night.entries() >= 4);
    assert!(night.command(&["stop"]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(4));
    let ran = night.run(&[]).exit(4).says("nightshift resume");
    let ran = ran.then().call(&["resume"]).exit(0);
    ran.landed(["a", "b"]);
}

#[test]
fn an_interrupt_saves_the_work_and_the_attempt_does_not_count() {
    let night = TestNight::new()
        .task("a", "Wait once")
        .agent("echo half > src/half.txt; [ -e \"$(dirname \"$0\")/second\" ] || sleep 20")
        .commit();
    let mut child = night.spawn(&[]);
    wait_for("the agent's start", || night.entries() >= 4);
    sleep(Duration::from_millis(300));
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    std::fs::write(night.path("second"), "").unwrap();
    let ran = night.call(&["resume"]).exit(0).landed(["a"]);
    ran.kept("a/1", "src/half.txt", "half");
}

#[test]
fn a_torn_last_line_is_dropped_and_damage_in_the_middle_is_named() {
    let night = two_tasks();
    let mut child = night.spawn(&[]);
    wait_for("some lines", || night.entries() >= 6);
    kill(&mut child);
    let journal = night.journal().unwrap();
    let whole = std::fs::read(&journal).unwrap();
    let mut torn = whole.clone();
    torn.extend_from_slice(b"{\"seq\":99,\"at\":");
    std::fs::write(&journal, &torn).unwrap();
    let ran = night.call(&["resume"]).exit(0).landed(["a", "b"]);
    let night = ran.then();
    let mut lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    lines[3] = b"not json\n";
    std::fs::write(&journal, lines.concat()).unwrap();
    let fresh = "nightshift run --fresh begins a new night";
    for command in [&["resume"][..], &["land", "last"], &["revert", "last"]] {
        let refused = night.command(command).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(3), "{said}");
        assert!(said.contains("journal.jsonl:4") && said.contains(fresh), "{said}");
    }
    let night = night.call(&["land"]).exit(6).says("journal.jsonl:4").then();
    let ran = night.call(&["check"]).says("journal.jsonl:4").then().call(&["status"]);
    let ran = ran.says("next: nightshift run --fresh");
    assert!(!ran.all().contains("nightshift resume goes on"), "{}", ran.all());
}

#[test]
fn a_resumed_night_honours_no_push_and_the_persons_own_file() {
    let night = two_ready_tasks().tier("off").commit();
    let mut child = night.spawn(&[]);
    wait_for("the agent's start", || night.entries() >= 4);
    kill(&mut child);
    let ran = night.run(&["-t", "b"]).exit(2).says("nightshift run --fresh");
    let night = ran.then();
    let file = night.path("home/.config/nightshift/nightshift.yml");
    let text = std::fs::read_to_string(&file).unwrap();
    // What was allowed when it began is not allowed any more: it goes on inside walls.
    std::fs::write(&file, text.replace("sandbox: off\n", "sandbox: auto\n")).unwrap();
    let ran = night.run(&["--no-push"]).exit(0);
    let journal = std::fs::read_to_string(ran.journal()).unwrap();
    assert!(journal.contains("\"tier\":\"t"), "{journal}");
    let night = ran.then();
    assert_eq!(night.git(&["ls-remote", "origin", "refs/heads/nightshift/*"]), "");
}
