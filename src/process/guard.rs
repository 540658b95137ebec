//! What a tree of processes may use up, looked at once a second: processes, memory, disk.
//!
//! The kernel's own limits bind one process, or one user and never root. Never ends a tree: it tells. Only
//! what a fork bomb leaves no time to tell is killed here.

use std::{
    fmt, fs, io,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::tree::{self, Tree};
use crate::sandbox::{Limits, Walls};

/// From one look to the next.
const LOOK: Duration = Duration::from_secs(1);
/// From one glance at the number of threads of the machine to the next: one small file. A fork bomb makes
/// four in a millisecond, and each that is there takes time from us.
const GLANCE: Duration = Duration::from_millis(25);
/// The most that the kernel knows (setpriority(2)).
const FIRST: i32 = -20;

/// A limit of the walls that was exceeded, and the limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Breach {
    /// Processes and threads at a time.
    Processes(u64),
    /// Bytes of memory of all processes together.
    Memory(u64),
    /// Bytes that must stay free on a disk, or one of a hundred of its files.
    Disk {
        /// The bytes.
        reserve: u64,
        /// A directory on the disk.
        of: PathBuf,
    },
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1024 * 1024;
        match self {
            Breach::Processes(limit) => write!(f, "more than {limit} processes"),
            Breach::Memory(limit) => write!(f, "more than {} MiB of memory", limit / MIB),
            Breach::Disk { reserve, of } => write!(
                f,
                "less than {} MiB, or 1 % of its files, free on the disk of {}",
                reserve / MIB,
                of.display()
            ),
        }
    }
}

/// Asks the kernel to let this thread, and all that it starts, go first; gives back the usual priority.
///
/// Behind a thousand processes that all want to run, a supervisor would come to its turn every few seconds.
/// Only root may; for others the kernel's own limit of processes holds. On Linux only: elsewhere no stage of ours
/// gives the program the usual one again.
pub(super) fn hurry() -> io::Result<i32> {
    let usual = rustix::process::getpriority_process(None)?;
    if cfg!(target_os = "linux") {
        let _ = rustix::process::setpriority_process(None, FIRST);
    }
    Ok(usual)
}

/// What a guard has seen.
pub(super) enum Seen {
    Breach(Breach),
    /// The machine has many more threads than a moment ago: maybe a fork bomb, and maybe ours.
    Crowd,
}

/// Looks at a tree until a limit of these walls is exceeded and nobody listens to it any more.
pub(super) fn watch(walls: &Walls, tree: &Tree, mut tell: impl FnMut(Seen) -> bool) {
    let limits = &walls.limits;
    let (mut looked, mut threads) = (Instant::now(), threads_of_the_machine());
    loop {
        thread::sleep(GLANCE);
        let now = threads_of_the_machine();
        let grown = now.saturating_sub(threads);
        if looked.elapsed() < LOOK && grown < limits.processes / 4 {
            continue;
        }
        (looked, threads) = (Instant::now(), now);
        if grown > limits.processes / 2 && !tree.alone {
            // To count all of them takes longer than to stop them.
            if !tell(Seen::Crowd) {
                return;
            }
            continue;
        }
        let breach = of_processes(limits, tree)
            .or_else(|| of_memory(limits, tree))
            .or_else(|| of_disk(walls));
        if let Some(breach) = breach {
            tell(Seen::Breach(breach));
            // Behind the word: the end of the program must not be heard of before the reason.
            tree.kill_at_once();
            return;
        }
    }
}

/// Says whether there are too many processes.
pub(super) fn of_processes(limits: &Limits, tree: &Tree) -> Option<Breach> {
    tree.is_larger_than(limits.processes).then_some(Breach::Processes(limits.processes))
}

/// The fourth field of `/proc/loadavg` is `RUNNING/ALL`, and counts threads (proc(5)).
fn threads_of_the_machine() -> u64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let field = text.split_ascii_whitespace().nth(3).and_then(|field| field.split('/').nth(1));
    field.and_then(|all| all.parse().ok()).unwrap_or(0)
}

fn of_memory(limits: &Limits, tree: &Tree) -> Option<Breach> {
    let limit = limits.memory_bytes;
    // What is shared counts once for each process in the first sum, so that is never too little.
    if limit == 0 || tree::resident_below(tree.root) <= limit {
        return None;
    }
    // Processes that fork while we add up are counted too high: so more than once.
    let mut again = (0..3).map(|turn| {
        thread::sleep(GLANCE * turn);
        tree::memory_below(tree.root)
    });
    again.all(|bytes| bytes > limit).then_some(Breach::Memory(limit))
}

fn of_disk(walls: &Walls) -> Option<Breach> {
    if walls.limits.disk_reserve == 0 {
        return None;
    }
    let full = |path: &PathBuf| {
        let disk = rustix::fs::statvfs(path).ok()?;
        let reserve = walls.limits.reserve_of(disk.f_blocks.saturating_mul(disk.f_frsize));
        // A file system that makes room for files as it needs says 0.
        let few_files = disk.f_files > 0 && disk.f_favail < disk.f_files / 100;
        let few_bytes = disk.f_bavail.saturating_mul(disk.f_frsize) < reserve;
        (few_files || few_bytes).then(|| Breach::Disk { reserve, of: path.clone() })
    };
    // Its files may lie on another disk than what is temporary.
    let uppers = walls.overlays.iter().map(|overlay| &overlay.upper);
    std::iter::once(&walls.tmp).chain(&walls.write).chain(uppers).find_map(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaches_are_said_in_plain_words() {
        let disk = Breach::Disk { reserve: 1 << 30, of: "/state/x".into() };
        let said = [Breach::Processes(2048), Breach::Memory(3 << 30), disk];
        assert_eq!(
            said.each_ref().map(ToString::to_string),
            [
                "more than 2048 processes",
                "more than 3072 MiB of memory",
                "less than 1024 MiB, or 1 % of its files, free on the disk of /state/x",
            ]
        );
        assert_eq!(serde_json::to_string(&said[0]).unwrap(), r#"{"processes":2048}"#);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_machine_has_threads() {
        assert!(threads_of_the_machine() > 1);
    }
}
