//! What a run may print without harm: the runner's memory stays small whatever an agent says.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio, time::Duration};

use crate::support::night::TestNight;

/// The most that the runner may hold at once: a limit of the project, far below any machine's memory.
const MOST: u64 = 64 * 1024;

/// The peak of a process's memory in KiB, read until it ends.
fn peak(mut child: std::process::Child) -> (u64, Option<i32>) {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        if let Some(ended) = child.try_wait().unwrap() {
            return (peak, ended.code());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_line_of_100_megabytes_and_two_gigabytes_of_output_cost_the_runner_no_memory() {
    let script = "head -c 100000000 /dev/zero | tr '\\0' x; echo\n\
                  yes 'a line of the agent that says nothing at all' | head -c 2147483648\n\
                  echo one > src/t1.txt\n";
    let night = TestNight::new().task("t1", "Print a lot").agent(script).commit();
    let (peak, code) = peak(night.spawn(&[]));
    assert_eq!(code, Some(0));
    assert!((1..MOST).contains(&peak), "{peak} KiB");
}

/// A `claude` that says nothing but noise: one line of 100 megabytes, one of numbers that is just short
/// enough to be read, pieces of answers without end.
const NOISY: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo "2.1.329 (Claude Code)"; exit 0; }
read -r LINE
head -c 100000000 /dev/zero | tr '\0' x; echo
printf '{"type":"assistant","message":{"content":['
yes 0, | head -c 4100000 | tr -d '\n'
echo '0]}}'
N=$(head -c 50000 /dev/zero | tr '\0' n)
yes '{"type":"stream_event","event":{"type":"content_block_delta","delta":{"text":"'$N'"}}}'
"#;

#[test]
fn claude_code_can_say_as_much_and_is_stopped() {
    let night = TestNight::new().task("t1", "Print a lot");
    let bin = night.path("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join("claude"), NOISY).unwrap();
    fs::set_permissions(bin.join("claude"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let config = "agent: {model: claude-sonnet-4-5}\nlimits: {attempts: 1}\n";
    let night = night
        .file(".nightshift/config.yml", config)
        .env("PATH", &path)
        .env("ANTHROPIC_API_KEY", "sk-ant-a-key-of-the-tests")
        .commit();
    let mut command = night.command(&["run"]);
    let (peak, code) = peak(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    assert_eq!(code, Some(1));
    assert!((1..MOST).contains(&peak), "{peak} KiB");
    let journal = fs::read_to_string(night.journal().unwrap()).unwrap();
    assert!(journal.contains("it printed more than we keep"), "{journal}");
}
