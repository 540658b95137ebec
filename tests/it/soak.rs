//! A long night, compressed: hundreds of short tasks, several at a time, while the runner is stopped and its clock is
//! set. What grows in an hour grows here in minutes.
//!
//! Not part of every run: `cargo test --test it -- --ignored soak --nocapture`. `NIGHTSHIFT_SOAK_TASKS` says how
//! many tasks, 300 where nobody says it.

use std::{
    fmt::Write as _,
    fs,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{clocks, support::night::TestNight};

/// The most that the runner may hold: a limit of the project. In KiB.
const MOST: u64 = 100 * 1024;
/// Between the first and the last quarter of the night; what is kept of each task is its record.
const GROWTH: u64 = 16 * 1024;
/// Open files that are no growth: 64 packs, which libgit2 keeps open at most, and what four tasks and a gate need.
const FILES: u64 = 128;
/// A stop of this length is noticed as one.
const LONG: Duration = Duration::from_secs(63);

/// One look at the runner.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    kib: u64,
    threads: u64,
    files: usize,
    zombies: usize,
}

fn look(pid: u32) -> Option<Sample> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let figure = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Sample {
        kib: figure("VmRSS:")?,
        threads: figure("Threads:")?,
        files: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count(),
        zombies: zombies(pid),
    })
}

/// Children of the process that ended and were not waited for.
fn zombies(parent: u32) -> usize {
    let of = format!(" Z {parent} ");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(&of))).count()
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn middle(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> u64 {
    let mut figures: Vec<u64> = samples.iter().map(of).collect();
    figures.sort_unstable();
    figures[figures.len() / 2]
}

#[test]
#[ignore = "takes minutes: cargo test --test it -- --ignored soak --nocapture"]
fn soak() {
    let tasks = std::env::var("NIGHTSHIFT_SOAK_TASKS").ok().and_then(|n| n.parse().ok());
    let tasks: usize = tasks.unwrap_or(300);
    // 0.1 to 1 s of work, by the task's number; every tenth fails its gate once.
    let script = "N=${NIGHTSHIFT_TASK#t}
        sleep 0.$((N % 9 + 1))
        if [ $((N % 10)) = 0 ] && [ $NIGHTSHIFT_ATTEMPT = 1 ]; then echo broken > src/$N.txt
        else echo $N > src/$N.txt; fi\n";
    let mut night = TestNight::new().agent(script).file(
        ".nightshift/config.yml",
        format!(
            "limits: {{tasks: {tasks}, parallel: 4, time: 8h, failures_in_a_row: 0, cost: 0, task_cost: 0}}\n"
        ),
    );
    for number in 1..=tasks {
        night = night.task(&format!("t{number}"), "Add a file");
    }
    let clock = clocks::build(&night.path(""));
    let night = if clock { clocks::with_a_clock(night) } else { night };
    let night = night.user("agents_at_once: 4").commit();
    let log = fs::File::create(night.path("output")).unwrap();
    let mut command = night.command(&["run", "--agent", "test", "--no-push"]);
    command.stdout(Stdio::null()).stderr(log);
    let began = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut samples: Vec<Sample> = Vec::new();
    let (mut busiest, mut troubled) = (0, 0);
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        samples.extend(look(child.id()));
        busiest = busiest.max(night.agents());
        // Every 20 s something: the clock to and fro, the runner stopped for a moment, and once for long.
        let turn = began.elapsed().as_secs() / 20;
        if turn > troubled {
            troubled = turn;
            match turn % 4 {
                1 => clocks::set(&night, 3_600),
                3 => clocks::set(&night, -3_600),
                _ => {
                    send(&child, Signal::STOP);
                    sleep(if turn == 2 { LONG } else { Duration::from_secs(2) });
                    send(&child, Signal::CONT);
                }
            }
        }
        sleep(Duration::from_millis(200));
    };
    let output = fs::read_to_string(night.path("output")).unwrap();
    let end: String = output.lines().rev().take(15).fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    });
    assert_eq!(code, Some(0), "{end}");
    let quarter = samples.len() / 4;
    let (first, last) = (&samples[quarter..2 * quarter], &samples[3 * quarter..]);
    let most = |of: fn(&Sample) -> u64| samples.iter().map(of).max().unwrap_or(0);
    let (before, after) = (middle(first, |s| s.kib), middle(last, |s| s.kib));
    let files = |part: &[Sample]| middle(part, |s| s.files as u64);
    let journal = fs::read_to_string(night.journal().unwrap()).unwrap();
    let count = |what: &str| journal.matches(&format!("\"event\":{{\"{what}\"")).count();
    // On standard error, past the harness: the figures are what it is run for.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!(
            "soak: {tasks} tasks in {} s, {busiest} agents at once; memory {before} to {after} KiB, at most {}; \
             files {} to {}, at most {}; threads {} to {}, at most {}; {} restacks, {} gaps; {} samples\n",
            began.elapsed().as_secs(),
            most(|s| s.kib),
            files(first),
            files(last),
            most(|s| s.files as u64),
            middle(first, |s| s.threads),
            middle(last, |s| s.threads),
            most(|s| s.threads),
            count("restacked"),
            count("time_passed"),
            samples.len(),
        )
        .as_bytes(),
    );
    assert_eq!(count("landed"), tasks, "{end}");
    // One gate at a time is what most of these wait for.
    assert!((2..=4).contains(&busiest), "{busiest} agents at once");
    assert!(most(|s| s.kib) < MOST, "{} KiB", most(|s| s.kib));
    assert!(after < before + GROWTH, "{before} KiB grew to {after}");
    let flat = files(last) <= files(first).max(FILES) + 4;
    assert!(flat, "files {} to {}", files(first), files(last));
    assert!(middle(last, |s| s.threads) <= middle(first, |s| s.threads) + 4);
    // One that ended in this moment is no zombie; one that stays is seen again and again.
    let lasting = samples.windows(10).filter(|w| w.iter().all(|s| s.zombies > 0)).count();
    assert_eq!(lasting, 0, "zombies");
    assert_eq!(night.agents(), 0);
}
