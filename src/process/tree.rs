//! Who is below a process, and the end of all of them.
//!
//! On Linux `/proc` says who is there. Elsewhere only a process group can be killed: a daemon that
//! leaves the group survives there, and a freeze stops the group without killing.

use rustix::process::{Pid, Signal};

/// A process that had to be killed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// In clock ticks since boot: with the pid, it names a process for good.
    pub(super) born: u64,
    /// The kernel's short name, at most 15 bytes.
    pub(super) name: String,
}

/// What one look around a stopped program brought.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Living processes, killed.
    pub(super) killed: Vec<Process>,
    /// Dead that are new: another could have come of them.
    pub(super) corpses: usize,
    /// Processes of which nobody knows whose they are or were: another of ours could be among them, or come
    /// of them.
    pub(super) unsure: usize,
}

/// Sends a signal to one process.
pub(super) fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Sends a signal to a process group.
pub(super) fn signal_group(leader: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(leader) {
        // Either may be gone already, which is what is wanted.
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

/// A program and all that is below its supervisor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree {
    /// The supervisor.
    pub(super) root: i32,
    /// The program.
    pub(super) leader: i32,
    /// True when the supervisor is the first process of a namespace: then all others in it are the program's.
    pub(super) alone: bool,
}

impl Tree {
    /// True when there are more processes and threads than that, the dead that nobody buried included.
    pub(super) fn is_larger_than(&self, limit: u64) -> bool {
        // A name for each process: with a fork bomb there is no time to read a file for each.
        self.alone && count() > limit || threads_below(self.root) > limit
    }

    /// Kills as many as one call can: everybody in a namespace of its own, else the program's group.
    pub(super) fn kill_at_once(&self) {
        if self.alone {
            kill_all_others();
        } else {
            signal_group(self.leader, Signal::KILL);
        }
    }
}

/// Kills every other process of a namespace at once, whatever forks meanwhile. Only for its first process.
pub(super) fn kill_all_others() {
    // A process group with the number 1 means everybody (kill(2)): for any other, of the whole machine.
    if rustix::process::getpid().is_init() {
        let _ = rustix::process::kill_process_group(Pid::INIT, Signal::KILL);
    }
}

#[cfg(target_os = "linux")]
pub(super) use linux::{
    Known, adopt_orphans, count, cpu_time_below, end, identify, is_stopped, kill_all_but,
    kill_below, kill_marked, kill_strangers, memory_below, outside, resident_below, threads_below,
};

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
        time::Duration,
    };

    use rustix::process::{self, Pid, PidfdFlags, Signal};

    use super::{Process, Round};

    /// From now on, orphans below us become our children.
    pub(in super::super) fn adopt_orphans() -> std::io::Result<()> {
        Ok(process::set_child_subreaper(Some(process::getpid()))?)
    }

    /// A process, or one thread.
    struct Stat {
        name: String,
        parent: i32,
        born: u64,
        dead: bool,
        stopped: bool,
        threads: u64,
        resident_pages: u64,
        /// CPU time in clock ticks: its own, and of all that it waited for.
        used: u64,
        reaped: u64,
    }

    impl Stat {
        fn process(&self, pid: i32) -> Process {
            Process { pid, born: self.born, name: self.name.clone() }
        }
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
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Stat {
            name: text.get(open + 1..close)?.to_owned(),
            dead: matches!(*fields.first()?, "Z" | "X"),
            stopped: matches!(*fields.first()?, "T" | "t"),
            parent: fields.get(1)?.parse().ok()?,
            used: number(11)? + number(12)?,
            reaped: number(13)? + number(14)?,
            threads: number(17)?,
            born: number(19)?,
            resident_pages: number(21)?,
        })
    }

    /// True when the process is alive and none of its threads runs.
    pub(in super::super) fn is_stopped(pid: i32) -> bool {
        let mut alive = threads(pid).filter(|thread| !thread.dead).peekable();
        alive.peek().is_some() && alive.all(|thread| thread.stopped)
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
    /// lives just long enough to fork the next one, before it is gone. Without, whole subtrees. A program
    /// that is `spared` lives, and counts as a second root: orphans may come to it as well.
    pub(in super::super) fn kill_below(
        root: i32,
        spared: Option<i32>,
        newest_first: bool,
    ) -> Vec<Process> {
        let mut pids = pids();
        if newest_first {
            pids.reverse();
        }
        let mut parents: BTreeSet<i32> = spared.into_iter().chain([root]).collect();
        let mut killed = Vec::new();
        for pid in pids {
            let Some(stat) = stat(pid) else { continue };
            if !parents.contains(&stat.parent) || spared == Some(pid) {
                continue;
            }
            if !newest_first {
                parents.insert(pid);
            }
            if !stat.dead {
                kill(pid, &stat);
                killed.push(stat.process(pid));
            }
        }
        killed
    }

    /// All processes of the machine, as far as one look sees them.
    struct Look {
        seen: BTreeMap<i32, Stat>,
        /// They were there, and nothing could be read of them.
        missed: BTreeSet<i32>,
    }

    impl Look {
        fn new() -> Look {
            let mut look = Look { seen: BTreeMap::new(), missed: BTreeSet::new() };
            // Backwards: the youngest are gone first.
            for pid in pids().into_iter().rev() {
                if let Some(stat) = stat(pid) {
                    look.seen.insert(pid, stat);
                } else {
                    look.missed.insert(pid);
                }
            }
            look
        }

        /// The living and the dead below `roots`. A child's number can be smaller than its parent's, when
        /// the numbers began again.
        fn below(&self, roots: impl IntoIterator<Item = i32>) -> Vec<(i32, &Stat)> {
            let mut children: BTreeMap<i32, Vec<(i32, &Stat)>> = BTreeMap::new();
            for (pid, stat) in &self.seen {
                children.entry(stat.parent).or_default().push((*pid, stat));
            }
            let mut below = Vec::new();
            for root in roots {
                below.extend(children.remove(&root).unwrap_or_default());
            }
            let mut at = 0;
            while let Some((pid, _)) = below.get(at) {
                below.extend(children.remove(pid).unwrap_or_default());
                at += 1;
            }
            below
        }
    }

    /// What a look around a stopped program leaves to the next one. Empty at first.
    #[derive(Debug, Default)]
    pub(in super::super) struct Known {
        /// Dead, killed or none of ours.
        settled: BTreeSet<i32>,
        /// They were there, and nothing could be read of them.
        missed: BTreeSet<i32>,
        /// Somebody's parents, and not seen themselves.
        absent: BTreeSet<i32>,
    }

    /// Kills what is below `root` except `spared`, one look. When that brought nothing, nothing can have
    /// escaped it. `spared` must be stopped before and after. `known` goes from one look to the next.
    ///
    /// A process of ours that we do not see in a look was born during it, of one that was there when the
    /// look began and dead when we came to it: now a corpse, or missing. If the look before settled that
    /// one, it was dead or killed then, or none of ours, and had no more children; if not, we cannot know,
    /// and the caller looks again. Nor do we know whose those are whose parents, or parents' parents, we do
    /// not see: they are settled later.
    pub(in super::super) fn kill_all_but(spared: i32, root: i32, known: &mut Known) -> Round {
        let look = Look::new();
        let mut round = Round::default();
        let mut resisting = BTreeSet::new();
        for (pid, stat) in look.below([root]).into_iter().filter(|(pid, _)| *pid != spared) {
            if !stat.dead {
                if !kill(pid, stat) {
                    resisting.insert(pid);
                }
                round.killed.push(stat.process(pid));
            } else if !known.settled.contains(&pid) {
                round.corpses += 1;
            }
        }
        // What is missing or absent twice is not gone: `/proc` can hide what other users do (`hidepid`).
        let gone = |pid: &&i32| !known.settled.contains(pid) && !known.missed.contains(pid);
        let parents = look.seen.values().map(|stat| stat.parent);
        let absent: BTreeSet<i32> =
            parents.filter(|pid| *pid != 0 && !look.seen.contains_key(pid)).collect();
        let strays = look.below(absent.difference(&known.absent).copied());
        let strays: BTreeSet<i32> = strays.into_iter().map(|(pid, _)| pid).collect();
        round.unsure += look.missed.iter().filter(gone).count() + strays.len();
        let settled =
            look.seen.keys().filter(|pid| !strays.contains(pid) && !resisting.contains(pid));
        *known = Known { settled: settled.copied().collect(), missed: look.missed, absent };
        round
    }

    /// CPU time of everything below `root`, with what it and they have reaped.
    pub(in super::super) fn cpu_time_below(root: i32) -> Option<Duration> {
        let look = Look::new();
        let own = look.seen.get(&root)?.reaped;
        let below = look.below([root]).into_iter().map(|(_, stat)| stat.used + stat.reaped);
        let ticks = own + below.sum::<u64>();
        (ticks * 1000)
            .checked_div(rustix::param::clock_ticks_per_second())
            .map(Duration::from_millis)
    }

    /// How many processes can be seen here, without ourselves.
    pub(in super::super) fn count() -> u64 {
        pids().len().saturating_sub(1) as u64
    }

    /// Threads of everything below `root`, one look.
    pub(in super::super) fn threads_below(root: i32) -> u64 {
        Look::new().below([root]).into_iter().map(|(_, stat)| stat.threads).sum()
    }

    fn resident(stat: &Stat) -> u64 {
        stat.resident_pages * rustix::param::page_size() as u64
    }

    /// Memory of everything below `root` in bytes, counted for each process that has it.
    pub(in super::super) fn resident_below(root: i32) -> u64 {
        Look::new().below([root]).into_iter().map(|(_, stat)| resident(stat)).sum()
    }

    /// Memory of everything below `root` in bytes, what is shared divided among those that share it. Slow:
    /// the kernel walks every page.
    pub(in super::super) fn memory_below(root: i32) -> u64 {
        let look = Look::new();
        let of_one = |(pid, stat): (i32, &Stat)| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
            let kib: Option<u64> =
                line.and_then(|line| line.trim_end_matches("kB").trim().parse().ok());
            // Not ours to read, or gone.
            kib.map_or(resident(stat), |kib| kib * 1024)
        };
        look.below([root]).into_iter().map(of_one).sum()
    }

    /// A process by its number.
    pub(in super::super) fn identify(pid: i32) -> Option<Process> {
        stat(pid).map(|stat| stat.process(pid))
    }

    /// Our number of the child of `parent` that has the number `inside` in its own namespace.
    pub(in super::super) fn outside(parent: i32, inside: i32) -> Option<i32> {
        let is = |pid: &i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            let last = line.and_then(|line| line.split_ascii_whitespace().next_back());
            last.is_some_and(|last| last.parse() == Ok(inside))
        };
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let children: Vec<i32> = match &children {
            Ok(text) => text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
            // A kernel without that file.
            Err(_) => Look::new().below([parent]).into_iter().map(|(pid, _)| pid).collect(),
        };
        children.into_iter().find(is)
    }

    /// Kills exactly this process, if it is still there. True when it is gone, or dead.
    pub(in super::super) fn end(process: &Process) -> bool {
        match stat(process.pid).filter(|stat| stat.born == process.born && !stat.dead) {
            Some(stat) => {
                kill(process.pid, &stat);
                false
            }
            None => true,
        }
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
                killed.push(stat.process(pid));
            }
        }
        killed
    }

    /// Kills our direct children that are not among `known`, with all that is below them, and buries
    /// them; one look, the youngest first. Whether there were dead among them too: one that lives only to
    /// fork the next is mostly seen dead.
    pub(in super::super) fn kill_strangers(known: &BTreeSet<i32>) -> (Vec<Process>, bool) {
        let me = process::getpid().as_raw_nonzero().get();
        let (mut killed, mut dead) = (Vec::new(), false);
        for pid in pids().into_iter().rev().filter(|pid| !known.contains(pid)) {
            let Some(stat) = stat(pid).filter(|stat| stat.parent == me) else { continue };
            if stat.dead {
                dead = true;
            } else {
                kill(pid, &stat);
                killed.extend(kill_below(pid, None, false));
                killed.push(stat.process(pid));
            }
            let _ = process::waitpid(Pid::from_raw(pid), process::WaitOptions::NOHANG);
        }
        (killed, dead)
    }

    /// Kills exactly the process seen: its pid is held while we make sure that it names the same one.
    /// False when it may live on.
    fn kill(pid: i32, seen: &Stat) -> bool {
        let Some(target) = Pid::from_raw(pid) else { return false };
        let sent = match process::pidfd_open(target, PidfdFlags::empty()) {
            Ok(handle) if stat(pid).is_some_and(|now| now.born == seen.born) => {
                process::pidfd_send_signal(&handle, Signal::KILL)
            }
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::SRCH) => Ok(()),
            // A kernel before 5.3, or no descriptor left: better a small risk than a survivor.
            Err(_) => process::kill_process(target, Signal::KILL),
        };
        matches!(sent, Ok(()) | Err(rustix::io::Errno::SRCH))
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
pub(super) use elsewhere::{
    Known, adopt_orphans, count, cpu_time_below, end, is_stopped, kill_all_but, kill_below,
    kill_marked, kill_strangers, memory_below, outside, resident_below, threads_below,
};

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::{collections::BTreeSet, time::Duration};

    use super::{Process, Round};

    #[derive(Debug, Default)]
    pub(in super::super) struct Known {}

    pub(in super::super) fn count() -> u64 {
        0
    }

    pub(in super::super) fn threads_below(_root: i32) -> u64 {
        0
    }

    pub(in super::super) fn resident_below(_root: i32) -> u64 {
        0
    }

    pub(in super::super) fn memory_below(_root: i32) -> u64 {
        0
    }

    pub(in super::super) fn outside(_parent: i32, _inside: i32) -> Option<i32> {
        None
    }

    pub(in super::super) fn end(_process: &Process) -> bool {
        true
    }

    pub(in super::super) fn adopt_orphans() -> std::io::Result<()> {
        Ok(())
    }

    pub(in super::super) fn is_stopped(_pid: i32) -> bool {
        true
    }

    pub(in super::super) fn kill_below(
        _root: i32,
        _spared: Option<i32>,
        _newest_first: bool,
    ) -> Vec<Process> {
        Vec::new()
    }

    pub(in super::super) fn kill_all_but(_spared: i32, _root: i32, _known: &mut Known) -> Round {
        Round::default()
    }

    pub(in super::super) fn cpu_time_below(_root: i32) -> Option<Duration> {
        None
    }

    pub(in super::super) fn kill_marked(_marker: &str) -> Vec<Process> {
        Vec::new()
    }

    pub(in super::super) fn kill_strangers(_known: &BTreeSet<i32>) -> (Vec<Process>, bool) {
        (Vec::new(), false)
    }
}
