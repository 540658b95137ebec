//! The stop button and the signals, with the real program: what runs ends, what was made is kept, nothing begins.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::Child,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    resume::wait_for,
    support::night::TestNight,
    together::{ended, start},
};

/// The most that `stop --now` may take.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Its agents make half of their work and wait; told to go on, they make the rest.
fn half_way() -> TestNight {
    let waits = TestNight::waits("echo whole > src/from_$NIGHTSHIFT_TASK.txt");
    let script = format!("echo half > src/from_$NIGHTSHIFT_TASK.txt\n{waits}");
    TestNight::new().task("a", "Add one").task("b", "Add two").agent(&script)
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// The work of both agents is there: they wait.
fn at_work(night: &TestNight) {
    wait_for("two agents at work", || {
        let all = night.agents() == 2;
        // Their first line is done when they look for the word to go on.
        let looking = fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| line.starts_with(b"sleep\x000.02\0"))
        });
        all && looking
    });
}

#[test]
fn stop_now_ends_in_seconds_keeps_the_work_and_nothing_runs_afterwards() {
    let night = half_way().commit();
    let child = start(&night, &[]);
    at_work(&night);
    let began = Instant::now();
    assert!(night.command(&["stop", "--now"]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert_eq!(night.agents(), 0);
    let refs = night.git(&["for-each-ref", "--format=%(refname)", "refs/nightshift/attempts"]);
    for task in ["a", "b"] {
        let name = refs.lines().find(|name| name.ends_with(&format!("/{task}/1")));
        let name = name.unwrap_or_else(|| panic!("{task} in:\n{refs}"));
        assert_eq!(night.git(&["show", &format!("{name}:src/from_{task}.txt")]), "half");
    }
    assert_eq!(night.git(&["ls-remote", "origin", "refs/heads/nightshift/*"]), "");
    night.go(&["a", "b"]);
    let ran = night.run(&[]).exit(4).says("nightshift resume");
    let ran = ran.then().call(&["resume"]).exit(0).landed_in_any_order(["a", "b"]);
    // What a person interrupted counts against no task.
    ran.holds("src/from_a.txt", "whole").says("2 tries");
}

#[test]
fn stop_lets_what_runs_land_and_starts_nothing_else() {
    let night = half_way().one_at_a_time().commit();
    let child = start(&night, &[]);
    wait_for("the agent", || night.agents() == 1);
    assert!(night.command(&["stop"]).status().unwrap().success());
    wait_for("the stop in its record", || {
        fs::read_to_string(night.journal().unwrap()).unwrap().contains("stop_asked")
    });
    assert_eq!(night.agents(), 1, "it goes on");
    night.go(&["a", "b"]);
    let ran = ended(night, child).exit(4).landed(["a"]).holds("src/from_a.txt", "whole");
    let journal = fs::read_to_string(ran.journal()).unwrap();
    assert_eq!(journal.matches("\"began\":{\"run_agent\"").count(), 1, "{journal}");
}

#[test]
fn a_file_in_the_checkout_stops_a_night_and_only_its_owner_lifts_it() {
    let night = half_way().commit();
    let child = start(&night, &[]);
    at_work(&night);
    let file = night.repo().join(".nightshift/STOP");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "").unwrap();
    wait_for("the stop in its record", || {
        fs::read_to_string(night.journal().unwrap()).unwrap().contains("stop_asked")
    });
    night.go(&["a", "b"]);
    let ran = ended(night, child).exit(4).says(".nightshift/STOP");
    let ran = ran.then().run(&[]).exit(4).says("remove ");
    let ran = ran.then().call(&["resume", "--only-lift"]).exit(2).says("it is yours");
    let night = ran.then();
    assert!(file.exists());
    fs::remove_file(&file).unwrap();
    night.call(&["resume"]).exit(0).landed_in_any_order(["a", "b"]);
}

#[test]
fn a_stop_can_lift_itself_and_lifting_starts_nothing() {
    let night = half_way().commit();
    night.go(&["a", "b"]);
    let ran = night.call(&["stop", "--for", "2h"]).exit(0).says("it lifts itself at ");
    let ran = ran.then().run(&[]).exit(4).says(" until ");
    let ran = ran.then().call(&["resume", "--only-lift"]).exit(0).says("is lifted");
    assert_eq!(ran.branch(), None, "nothing began");
    let night = ran.then().call(&["stop", "--for", "1s"]).exit(0).then();
    let stopped = || {
        let output = night.command(&["status", "--json"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        status["data"]["stopped_by"].is_string() || status["stopped_by"].is_string()
    };
    assert!(stopped());
    wait_for("its end", || !stopped());
    night.run(&[]).exit(0).landed_in_any_order(["a", "b"]);
}

#[test]
fn a_shutdown_and_a_closed_session_save_the_work_and_the_next_start_goes_on() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let night = half_way().commit();
        let child = start(&night, &[]);
        at_work(&night);
        send(&child, signal);
        let ran = ended(night, child).exit(code).kept("a/1", "src/from_a.txt", "half");
        let journal = fs::read_to_string(ran.journal()).unwrap();
        assert!(journal.ends_with('\n') && journal.contains("\"ended\""), "{journal}");
        let night = ran.then();
        assert_eq!(night.agents(), 0);
        night.go(&["a", "b"]);
        let ran = night.run(&[]).exit(0).says("going on with");
        ran.landed_in_any_order(["a", "b"]);
    }
}

#[test]
fn a_night_under_nohup_outlives_its_terminal() {
    let night = half_way().commit();
    let plain = night.command(&["run", "--agent", "test"]);
    let mut nohup = std::process::Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(plain.get_program());
    nohup.args(plain.get_args()).current_dir(night.repo()).env_clear();
    nohup.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let piped = std::process::Stdio::piped;
    let child = nohup.stdout(piped()).stderr(piped()).spawn().unwrap();
    at_work(&night);
    send(&child, Signal::HUP);
    night.go(&["a", "b"]);
    ended(night, child).exit(0).landed_in_any_order(["a", "b"]);
}

/// True when the agent is there and ignores SIGINT: its first line is done.
fn is_deaf(night: &TestNight) -> bool {
    let line = format!("sh\0{}\0", night.path("agent.sh").display());
    let ignores = |status: &str| {
        let (_, mask) = status.split_once("SigIgn:").unwrap();
        let mask = u64::from_str_radix(mask.split_whitespace().next().unwrap(), 16).unwrap();
        mask & (1 << (Signal::INT.as_raw() - 1)) != 0
    };
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|found| found == line.as_bytes())
            && fs::read_to_string(entry.path().join("status")).is_ok_and(|text| ignores(&text))
    })
}

#[test]
fn the_first_interrupt_saves_and_the_second_kills_at_once() {
    let script = format!("trap '' INT TERM\n{}", TestNight::waits("exit 1"));
    let night = TestNight::new().task("a", "Wait").agent(&script).commit();
    let child = start(&night, &[]);
    wait_for("an agent that does not listen", || is_deaf(&night));
    send(&child, Signal::INT);
    wait_for("the stop in its record", || {
        fs::read_to_string(night.journal().unwrap()).unwrap().contains("stop_asked")
    });
    // A copy that is about to become `sleep` counts too.
    assert!(night.agents() > 0, "it does not listen, and has ten seconds");
    let began = Instant::now();
    send(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    wait_for("the agent's end", || night.agents() == 0);
}

#[test]
fn a_push_that_hangs_does_not_keep_a_night_from_its_end() {
    let night = half_way().commit();
    let hook = night.remote().join("hooks/pre-receive");
    let mark = night.path("receiving");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, format!("#!/bin/sh\n: > {}\nexec sleep 60\n", mark.display())).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    night.go(&["a", "b"]);
    let child = start(&night, &[]);
    wait_for("the push", || mark.exists());
    let began = Instant::now();
    assert!(night.command(&["stop", "--now"]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert!(matches!(output.status.code(), Some(4 | 6)), "{output:?}");
    fs::remove_file(&hook).unwrap();
    night.call(&["resume"]).exit(0).landed_in_any_order(["a", "b"]);
}
