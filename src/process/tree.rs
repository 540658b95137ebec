//! Who is below a process, and the end of all of them.
//!
//! On Linux `/proc` says who is there. Elsewhere only a process group can be killed: a daemon that
//! leaves the group survives there.

use rustix::process::{Pid, Signal};

/// A process that had to be killed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// The kernel's short name, at most 15 bytes.
    pub(super) name: String,
}

/// Sends a signal to a process group.
pub(super) fn signal_group(leader: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(leader) {
        // Either may be gone already, which is what is wanted.
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

#[cfg(target_os = "linux")]
pub(super) use linux::{adopt_orphans, kill_below, kill_marked, kill_strangers};

#[cfg(target_os = "linux")]
mod linux {
    use std::{collections::BTreeSet, fs};

    use rustix::process::{self, Pid, PidfdFlags, Signal};

    use super::Process;

    /// From now on, orphans below us become our children.
    pub(in super::super) fn adopt_orphans() -> std::io::Result<()> {
        Ok(process::set_child_subreaper(Some(process::getpid()))?)
    }

    /// A process, or one thread.
    struct Stat {
        name: String,
        parent: i32,
        /// In clock ticks since boot: with the pid, it names a process for good.
        born: u64,
        dead: bool,
        threads: u64,
    }

    fn stat(pid: i32) -> Option<Stat> {
        let mut stat = read(&format!("/proc/{pid}/stat"))?;
        // A first thread that ended before the others looks as if all were dead.
        if stat.dead && stat.threads > 1 {
            stat.dead = threads(pid).all(|thread| thread.dead);
        }
        Some(stat)
    }

    fn threads(pid: i32) -> impl Iterator<Item = Stat> {
        let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        entries.filter_map(|entry| read(entry.path().join("stat").to_str()?))
    }

    fn read(path: &str) -> Option<Stat> {
        let text = fs::read(path).ok()?;
        let text = String::from_utf8_lossy(&text);
        // The name may hold blanks and brackets: the last bracket ends it.
        let (open, close) = (text.find('(')?, text.rfind(')')?);
        let fields: Vec<&str> = text.get(close + 2..)?.split_ascii_whitespace().collect();
        Some(Stat {
            name: text.get(open + 1..close)?.to_owned(),
            dead: matches!(*fields.first()?, "Z" | "X"),
            parent: fields.get(1)?.parse().ok()?,
            threads: fields.get(17)?.parse().ok()?,
            born: fields.get(19)?.parse().ok()?,
        })
    }

    fn pids() -> Vec<i32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut pids: Vec<i32> =
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        pids.sort_unstable();
        pids
    }

    /// Kills what is below `root`, one look. The caller repeats it until the kernel says that `root`
    /// has no children: what a killed process leaves behind becomes a child of `root`.
    ///
    /// With `newest_first`, direct children only, from the highest pid: that catches a process which
    /// lives just long enough to fork the next one, before it is gone. Without, whole subtrees.
    pub(in super::super) fn kill_below(root: i32, newest_first: bool) -> Vec<Process> {
        let mut pids = pids();
        if newest_first {
            pids.reverse();
        }
        let mut parents = BTreeSet::from([root]);
        let mut killed = Vec::new();
        for pid in pids {
            let Some(stat) = stat(pid) else { continue };
            if !parents.contains(&stat.parent) {
                continue;
            }
            if !newest_first {
                parents.insert(pid);
            }
            if !stat.dead {
                kill(pid, &stat);
                killed.push(Process { pid, name: stat.name });
            }
        }
        killed
    }

    /// Kills processes whose environment holds `marker` (`NAME=value`), wherever they are; one look.
    pub(in super::super) fn kill_marked(marker: &str) -> Vec<Process> {
        let me = process::getpid().as_raw_nonzero().get();
        let holds = |pid: i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|pair| pair == marker.as_bytes())
        };
        let mut killed = Vec::new();
        for pid in pids().into_iter().filter(|pid| *pid != me) {
            if let Some(stat) = stat(pid).filter(|stat| !stat.dead && holds(pid)) {
                kill(pid, &stat);
                killed.push(Process { pid, name: stat.name });
            }
        }
        killed
    }

    /// Kills our direct children that are not among `known`, with all that is below them, and buries
    /// them; one look.
    pub(in super::super) fn kill_strangers(known: &BTreeSet<i32>) -> Vec<Process> {
        let me = process::getpid().as_raw_nonzero().get();
        let mut killed = Vec::new();
        for pid in pids().into_iter().filter(|pid| !known.contains(pid)) {
            let Some(stat) = stat(pid).filter(|stat| stat.parent == me) else { continue };
            if !stat.dead {
                kill(pid, &stat);
                killed.extend(kill_below(pid, false));
                killed.push(Process { pid, name: stat.name });
            }
            let _ = process::waitpid(Pid::from_raw(pid), process::WaitOptions::NOHANG);
        }
        killed
    }

    /// Kills exactly the process seen: its pid is held while we make sure that it names the same one.
    fn kill(pid: i32, seen: &Stat) {
        let Some(target) = Pid::from_raw(pid) else { return };
        match process::pidfd_open(target, PidfdFlags::empty()) {
            Ok(handle) => {
                if stat(pid).is_some_and(|now| now.born == seen.born) {
                    let _ = process::pidfd_send_signal(&handle, Signal::KILL);
                }
            }
            Err(rustix::io::Errno::SRCH) => {}
            // A kernel before 5.3, or no descriptor left: better a small risk than a survivor.
            Err(_) => {
                let _ = process::kill_process(target, Signal::KILL);
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn we_know_our_own_parent_and_birth() {
            let me = process::getpid().as_raw_nonzero().get();
            let stat = stat(me).unwrap();
            assert_eq!(Some(stat.parent), process::getppid().map(|p| p.as_raw_nonzero().get()));
            assert!(stat.born > 0 && !stat.dead);
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::{adopt_orphans, kill_below, kill_marked, kill_strangers};

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::collections::BTreeSet;

    use super::Process;

    pub(in super::super) fn adopt_orphans() -> std::io::Result<()> {
        Ok(())
    }

    pub(in super::super) fn kill_below(_root: i32, _newest_first: bool) -> Vec<Process> {
        Vec::new()
    }

    pub(in super::super) fn kill_marked(_marker: &str) -> Vec<Process> {
        Vec::new()
    }

    pub(in super::super) fn kill_strangers(_known: &BTreeSet<i32>) -> Vec<Process> {
        Vec::new()
    }
}
