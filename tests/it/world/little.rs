//! Little memory, few descriptors, few processes: each ends with a word and a code of the table, and what was begun is
//! gone on with when there is enough again.

use std::{
    fs,
    process::{Command, Output},
};

use crate::support::night::TestNight;

fn two_tasks() -> TestNight {
    let night = TestNight::new().task("a", "Add one").task("b", "Add two");
    night.agent("echo x > src/from_$NIGHTSHIFT_TASK.txt").commit()
}

#[test]
fn an_agent_that_is_killed_for_memory_has_failed_by_name() {
    let night = TestNight::new().task("a", "Add one").agent("echo x > src/a.txt; kill -9 $$");
    let ran = night.run(&[]).exit(1).landed([]);
    ran.says("died by signal 9, as when the machine has no memory left");
}

#[test]
fn a_gate_that_is_killed_for_memory_is_red_by_name() {
    let gate = "#!/bin/sh\nif [ -e src/from_a.txt ]; then kill -9 $$; fi\n";
    let night = TestNight::new().task("a", "Add one").agent("echo x > src/from_a.txt").gate(gate);
    night.run(&[]).exit(1).landed([]).says("exit 137 (killed, as when");
}

#[test]
fn with_few_descriptors_a_night_ends_by_the_table_and_is_gone_on_with() {
    // 24: nothing can be started; 64: enough. Between them it depends on the moment.
    for (most, codes) in [(24, &[3][..]), (28, &[0, 1, 3, 4]), (32, &[0, 1, 3, 4]), (64, &[0])] {
        let night = two_tasks();
        let output = limited(night.command(&["run", "--agent", "test"]), &format!("-n {most}"));
        let code = output.status.code().unwrap();
        assert!(codes.contains(&code), "{most} descriptors: {output:?}");
        let night = if code == 4 { night.call(&["resume"]).exit(0).then() } else { night };
        let night = if code == 3 { night.run(&[]).exit(0).then() } else { night };
        if code != 1 {
            night.call(&["status"]).exit(0).landed_in_any_order(["a", "b"]);
        }
    }
}

#[test]
fn without_processes_a_night_ends_by_the_table_and_begins_when_there_are_some() {
    let night = two_tasks();
    let nobody = rustix::process::getuid().is_root();
    // Root is not limited: the person is somebody who has no process, and to whom all belongs.
    let program = night.path("nightshift");
    fs::copy(env!("CARGO_BIN_EXE_nightshift"), &program).unwrap();
    let own = Command::new("chown").args(["-R", "54321:54321"]).arg(night.path("")).status();
    assert!(!nobody || own.unwrap().success());
    let run = || {
        let mut command = night.command(&[]);
        let mut with = if nobody {
            let mut with = Command::new("setpriv");
            with.args(["--reuid=54321", "--regid=54321", "--clear-groups"]).arg(&program);
            with
        } else {
            Command::new(&program)
        };
        let environment = command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        let environment = environment.env("HOME", night.path("home")).env("TZ", "UTC");
        let environment =
            environment.env("GIT_AUTHOR_NAME", "Ada").env("GIT_AUTHOR_EMAIL", "ada@localhost");
        let set = environment.get_envs().filter_map(|(name, value)| Some((name, value?)));
        with.env_clear().envs(set).current_dir(night.repo()).args(["run", "--agent", "test"]);
        with
    };
    for most in [1, 4, 12] {
        let output = limited(run(), &format!("-u {most}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(3 | 70)), "{most} processes: {output:?}");
        assert!(said.contains("error: "), "{said}");
    }
    let output = run().output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("LANDED 2"), "{output:?}");
}

/// The command with one of the shell's limits, which it gets itself: the shell becomes it.
fn limited(command: Command, limit: &str) -> Output {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    // Where somebody else is to be, the limit comes after: it is theirs.
    let words: Vec<_> = words.collect();
    let ends = words.iter().position(|word| *word == "--clear-groups").map_or(0, |at| at + 1);
    let mut shell = words[..ends].to_vec();
    let script = format!("ulimit {limit}; exec \"$@\"");
    shell.extend(["bash", "-c", &script, "bash"].map(std::ffi::OsStr::new));
    shell.extend(&words[ends..]);
    let mut limited = Command::new(shell[0]);
    limited.args(&shell[1..]).current_dir(command.get_current_dir().unwrap()).env_clear();
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.output().unwrap()
}
