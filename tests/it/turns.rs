//! Who may run: one night of a repository at a time, and agents of all nights within the machine's places.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    resume::{kill, wait_for},
    support::night::TestNight,
    together::{ended, start},
};

fn waiting() -> TestNight {
    let script = TestNight::waits("echo $NIGHTSHIFT_TASK > src/from_$NIGHTSHIFT_TASK.txt");
    TestNight::new().task("a", "Add one").task("b", "Add two").agent(&script)
}

#[test]
fn a_second_start_is_told_how_far_the_first_is_and_can_wait_for_it() {
    let night = waiting().commit();
    let child = start(&night, &["-t", "a"]);
    wait_for("the agent", || night.agents() == 1);
    let began = Instant::now();
    let output = night.command(&["run", "--agent", "test", "--wait=1s"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(began.elapsed() >= Duration::from_secs(1));
    let text = String::from_utf8_lossy(&output.stderr);
    for words in [&format!("pid {}", child.id()), "since ", "0 of 1 tasks done", "--wait=2h"] {
        assert!(text.contains(words), "no `{words}` in:\n{text}");
    }
    // Lifting a stop needs no turn; going on does.
    assert_eq!(night.command(&["resume", "--only-lift"]).status().unwrap().code(), Some(0));
    assert_eq!(night.command(&["resume", "--wait=1s"]).status().unwrap().code(), Some(5));
    let second = start(&night, &["-t", "b", "--wait"]);
    sleep(Duration::from_millis(300));
    assert_eq!(night.agents(), 1, "it waits");
    night.go(&["a", "b"]);
    assert!(child.wait_with_output().unwrap().status.success());
    ended(night, second).exit(0).says("waiting: another night is running here").landed(["b"]);
}

#[test]
fn who_waits_for_a_turn_hears_of_a_stop() {
    let night = waiting().commit();
    let mut child = start(&night, &[]);
    wait_for("two agents", || night.agents() == 2);
    let second = start(&night, &["--wait=10m"]);
    sleep(Duration::from_millis(300));
    assert!(night.command(&["stop"]).status().unwrap().success());
    let output = second.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    kill(&mut child);
}

#[test]
fn a_holder_that_was_killed_blocks_nobody() {
    let night = waiting().commit();
    let mut child = start(&night, &[]);
    wait_for("two agents", || night.agents() == 2);
    kill(&mut child);
    night.go(&["a", "b"]);
    let ran = night.run(&[]).exit(0).says("going on with");
    ran.landed_in_any_order(["a", "b"]);
}

#[test]
fn nights_of_two_repositories_share_the_places_of_agents() {
    let one = waiting().user("agents_at_once: 1").commit();
    let state = one.path("home/.local/state");
    let other = waiting().user("agents_at_once: 1").env("XDG_STATE_HOME", state.to_str().unwrap());
    let other = other.commit();
    let first = start(&one, &["-t", "a", "--no-push"]);
    wait_for("the one agent", || one.agents() == 1);
    let mut second = start(&other, &["-t", "a", "--no-push", "--max-time", "2h"]);
    let status = |night: &TestNight| {
        let output = night.command(&["status"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let who = format!("1 by {} (pid {})", one.repo().display(), first.id());
    wait_for("its wait", || {
        let status = status(&other);
        status.contains("waits for one of the 1 places of agents") && status.contains(&who)
    });
    assert_eq!(other.agents(), 0);
    assert!(!status(&one).contains("waits for"));
    // A killed night frees its place by its death.
    let mut first = first;
    kill(&mut first);
    wait_for("the other's agent", || other.agents() == 1);
    wait_for("the end of the killed night's agent", || one.agents() == 0);
    // Who waits is stopped without having begun.
    let again = start(&one, &[]);
    wait_for("its turn to wait", || status(&one).contains("waits for one of the 1 places"));
    assert!(one.command(&["stop"]).status().unwrap().success());
    let stopped = again.wait_with_output().unwrap();
    assert_eq!(stopped.status.code(), Some(4), "{stopped:?}");
    other.go(&["a"]);
    assert!(second.wait().unwrap().success());
    let said = String::from_utf8_lossy(&stopped.stderr).into_owned();
    assert!(said.contains("waits    for one of the 1 places"), "{said}");
}
