//! What a tree of processes may use up, looked at once a second: processes, memory, disk.
//!
//! The kernel's own limits bind one process, or one user and never root. Never kills: it tells.

use std::{
    fmt, fs, thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::tree;
use crate::sandbox::{Limits, Walls};

/// From one look to the next.
const LOOK: Duration = Duration::from_secs(1);
/// From one glance at the number of threads of the machine to the next: one small file. A fork bomb makes
/// thousands in a second, and each that is there makes it harder to end.
const GLANCE: Duration = Duration::from_millis(100);

/// A limit of the walls that was exceeded, and the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Breach {
    /// Processes and threads at a time.
    Processes(u64),
    /// Bytes of memory of all processes together.
    Memory(u64),
    /// Bytes that must stay free on the disk, or one of a hundred of its files.
    Disk(u64),
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1024 * 1024;
        match self {
            Breach::Processes(limit) => write!(f, "more than {limit} processes"),
            Breach::Memory(limit) => write!(f, "more than {} MiB of memory", limit / MIB),
            Breach::Disk(limit) => {
                write!(f, "less than {} MiB, or 1 % of its files, free on the disk", limit / MIB)
            }
        }
    }
}

/// Looks at everything below `root` until a limit of these walls is exceeded. Ends without one only when
/// nothing can be seen here.
pub(super) fn until_breached(walls: &Walls, root: i32) -> Option<Breach> {
    let limits = &walls.limits;
    let (mut looked, mut threads) = (Instant::now(), threads_of_the_machine());
    loop {
        thread::sleep(GLANCE);
        let now = threads_of_the_machine();
        let grown = now.saturating_sub(threads) > limits.processes / 4;
        if looked.elapsed() < LOOK && !grown {
            continue;
        }
        (looked, threads) = (Instant::now(), now);
        let breach = of_processes(limits, root).or_else(|| of_disk(walls));
        if breach.is_some() {
            return breach;
        }
    }
}

/// The fourth field of `/proc/loadavg` is `RUNNING/ALL`, and counts threads (proc(5)).
fn threads_of_the_machine() -> u64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let field = text.split_ascii_whitespace().nth(3).and_then(|field| field.split('/').nth(1));
    field.and_then(|all| all.parse().ok()).unwrap_or(0)
}

fn of_processes(limits: &Limits, root: i32) -> Option<Breach> {
    let usage = tree::usage_below(root);
    if usage.threads > limits.processes {
        return Some(Breach::Processes(limits.processes));
    }
    // What is shared counts once for each process here, so this is never too little.
    let over = |bytes: u64| limits.memory_bytes > 0 && bytes > limits.memory_bytes;
    if over(usage.resident_bytes) && over(tree::memory_below(root)) {
        return Some(Breach::Memory(limits.memory_bytes));
    }
    None
}

fn of_disk(walls: &Walls) -> Option<Breach> {
    let reserve = walls.limits.disk_reserve;
    if reserve == 0 {
        return None;
    }
    let disk = rustix::fs::statvfs(&walls.tmp).ok()?;
    // A file system that makes room for files as it needs says 0.
    let few_files = disk.f_files > 0 && disk.f_favail < disk.f_files / 100;
    let breached = few_files || disk.f_bavail.saturating_mul(disk.f_frsize) < reserve;
    breached.then_some(Breach::Disk(reserve))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaches_are_said_in_plain_words() {
        let said = [Breach::Processes(2048), Breach::Memory(3 << 30), Breach::Disk(1 << 30)];
        assert_eq!(
            said.map(|breach| breach.to_string()),
            [
                "more than 2048 processes",
                "more than 3072 MiB of memory",
                "less than 1024 MiB, or 1 % of its files, free on the disk",
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
