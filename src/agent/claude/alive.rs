//! Whether a silent program still works: by what it prints, by the processor time of its processes, by the
//! files that change in its workspace.
//!
//! Never ends anything. Seven minutes of silence are ordinary thinking.

use std::{os::unix::fs::MetadataExt, path::Path, time::Duration};

/// How long a program has been silent before the other signs are looked for, and how often they are then.
const FIRST_LOOK: Duration = Duration::from_secs(60);
const NEXT_LOOK: Duration = Duration::from_secs(30);
/// A program that waits uses less than a sixtieth of one processor.
const IDLE_SHARE: u32 = 60;
/// Entries of a workspace that are looked at, at most.
const ENTRIES: usize = 20_000;

/// When something in a workspace changed last: seconds and nanoseconds since 1970.
pub(super) type Changed = (i64, i64);

/// How long nothing was heard, and what was seen meanwhile.
#[derive(Debug)]
pub(super) struct Pulse {
    limit: Duration,
    silent: Duration,
    /// Silence at the last look.
    looked: Option<Duration>,
    cpu: Option<Duration>,
    changed: Option<Changed>,
}

impl Pulse {
    /// A program that may be silent for this long.
    pub(super) fn new(limit: Duration) -> Pulse {
        Pulse { limit, silent: Duration::ZERO, looked: None, cpu: None, changed: None }
    }

    /// It printed something.
    pub(super) fn heard(&mut self) {
        *self = Pulse::new(self.limit);
    }

    /// It was silent for so much longer.
    pub(super) fn waited(&mut self, time: Duration) {
        self.silent += time;
    }

    /// True when the other signs are to be looked for.
    pub(super) fn wants_look(&self) -> bool {
        match self.looked {
            None => self.silent >= FIRST_LOOK.min(self.limit / 4),
            Some(looked) => self.silent.saturating_sub(looked) >= NEXT_LOOK.min(self.limit / 4),
        }
    }

    /// Takes in the processor time of the tree and the last change in the workspace. The first look has
    /// nothing to compare with.
    pub(super) fn looked(&mut self, cpu: Option<Duration>, changed: Option<Changed>) {
        let since = self.silent.saturating_sub(self.looked.unwrap_or(self.silent));
        let works = self
            .cpu
            .zip(cpu)
            .is_some_and(|(before, now)| now.saturating_sub(before) > since / IDLE_SHARE);
        let writes = self.changed.zip(changed).is_some_and(|(before, now)| now > before);
        if works || writes {
            self.silent = Duration::ZERO;
        }
        self.looked = Some(self.silent);
        (self.cpu, self.changed) = (cpu, changed);
    }

    /// True when it has been without any sign for too long.
    pub(super) fn stalled(&self) -> bool {
        self.silent >= self.limit
    }
}

/// The last change of an entry below `directory`, of as many as a look may take. Nothing is followed, and
/// what lies in a `.git` is not looked at. `None` when there is nothing to see.
pub(super) fn last_change(directory: &Path) -> Option<Changed> {
    let mut newest = None;
    let mut left = ENTRIES;
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            if left == 0 {
                return newest;
            }
            left -= 1;
            // Of a link this is the link's own.
            let Ok(metadata) = entry.metadata() else { continue };
            newest = newest.max(Some((metadata.ctime(), metadata.ctime_nsec())));
            if metadata.is_dir() && entry.file_name() != ".git" {
                open.push(entry.path());
            }
        }
    }
    newest
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write files")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Seconds until it is taken for dead; the signs are asked for at each look.
    fn lasts(mut signs: impl FnMut(u32) -> (Option<Duration>, Option<Changed>)) -> u32 {
        let mut pulse = Pulse::new(600 * SECOND);
        for second in 1..=3_600 {
            pulse.waited(SECOND);
            if pulse.wants_look() {
                let (cpu, changed) = signs(second);
                pulse.looked(cpu, changed);
            }
            if pulse.stalled() {
                return second;
            }
        }
        u32::MAX
    }

    #[test]
    fn a_program_without_any_sign_is_given_its_limit() {
        assert_eq!(lasts(|_| (None, None)), 600);
        assert_eq!(lasts(|_| (Some(SECOND), Some((1, 2)))), 600);
        // The timers of a program that waits.
        assert_eq!(lasts(|second| (Some(SECOND * second / 100), None)), 600);
    }

    #[test]
    fn a_program_that_computes_or_writes_is_alive() {
        assert_eq!(lasts(|second| (Some(SECOND * second / 30), None)), u32::MAX);
        assert_eq!(lasts(|second| (None, Some((i64::from(second), 0)))), u32::MAX);
        // Until it stops.
        let until = |second: u32| (Some(SECOND * second.min(900)), None);
        assert_eq!(lasts(until), 900 + 600);
    }

    #[test]
    fn what_it_prints_counts_first() {
        let mut pulse = Pulse::new(4 * SECOND);
        pulse.waited(3 * SECOND);
        assert!(pulse.wants_look() && !pulse.stalled());
        pulse.heard();
        assert!(!pulse.wants_look());
        pulse.waited(4 * SECOND);
        assert!(pulse.stalled());
    }

    #[test]
    fn a_change_is_seen_wherever_it_is_but_not_behind_a_link_or_in_git() {
        let dir = tempfile::tempdir().unwrap();
        let (work, outside) = (dir.path().join("work"), dir.path().join("outside"));
        for made in [&work, &outside, &work.join(".git"), &work.join("a/b")] {
            std::fs::create_dir_all(made).unwrap();
        }
        std::os::unix::fs::symlink(&outside, work.join("link")).unwrap();
        let before = last_change(&work);
        std::thread::sleep(Duration::from_millis(20));
        std::fs::write(outside.join("x"), "").unwrap();
        std::fs::create_dir(work.join(".git/objects")).unwrap();
        std::fs::write(work.join(".git/objects/x"), "").unwrap();
        // The directory `.git` itself has changed.
        let git = last_change(&work);
        std::thread::sleep(Duration::from_millis(20));
        std::fs::write(work.join(".git/objects/y"), "").unwrap();
        assert_eq!(last_change(&work), git);
        assert!(git > before);
        std::fs::write(work.join("a/b/c"), "").unwrap();
        assert!(last_change(&work) > git);
        assert_eq!(last_change(&dir.path().join("none")), None);
    }
}
