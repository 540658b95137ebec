//! What a run may print without harm: the runner's memory stays small whatever an agent says.

use std::{fs, time::Duration};

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
