//! The clock's door: the night's rules get time as an argument, from here.
//!
//! The time of day orders nothing: entries have numbers, and limits of attempts are measured by a clock that
//! nobody can set and that stands still while the machine sleeps (`Instant`). [`Watchman`] says when the two
//! went apart.

#![expect(clippy::disallowed_methods, reason = "this is the door")]

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp, Zoned};
use rustix::time::{ClockId, clock_gettime};

use crate::{faults, night::Gap};

/// A gap of so many seconds and less is a busy machine, or a clock that is kept right.
const NOTICED: u64 = 60;

/// Counts while the machine sleeps, and cannot be set.
#[cfg(target_os = "linux")]
const THROUGH: ClockId = ClockId::Boottime;
/// Elsewhere the clock of this name counts sleep, and `Instant` does not.
#[cfg(not(target_os = "linux"))]
const THROUGH: ClockId = ClockId::Monotonic;

/// Now.
pub fn now() -> Timestamp {
    shifted(Timestamp::now())
}

/// Today's date where this machine is, as `2026-11-21`.
pub fn local_date() -> String {
    let now = Zoned::now();
    shifted(now.timestamp()).to_zoned(now.time_zone().clone()).strftime("%Y-%m-%d").to_string()
}

/// What a clock says that was set to another time; only a build for tests has one.
fn shifted(now: Timestamp) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(faults::shift())).unwrap_or(now)
}

/// Measures how long something took while the machine was awake.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts it.
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// Time since then.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// What the three clocks say at one moment. Of the latter two only differences mean something.
#[derive(Clone, Copy, Debug)]
struct Look {
    /// The time of day.
    day: Timestamp,
    /// Time in which the machine was awake.
    awake: Duration,
    /// Time, sleep included.
    through: Duration,
}

/// Looks at the clocks again and again, and notices when time went by unseen.
#[derive(Debug)]
pub struct Watchman {
    began: Stopwatch,
    last: Look,
}

impl Watchman {
    /// Looks for the first time.
    pub fn begin() -> Watchman {
        let began = Stopwatch::start();
        Watchman { last: look(began), began }
    }

    /// The time of day at the last look: what is decided by it is decided after what [`Watchman::look`] found.
    pub fn day(&self) -> Timestamp {
        self.last.day
    }

    /// What went by since the last look, where it was more than a minute of one kind.
    pub fn look(&mut self) -> Option<Gap> {
        let now = look(self.began);
        gap(std::mem::replace(&mut self.last, now), now)
    }
}

fn look(began: Stopwatch) -> Look {
    let through = clock_gettime(THROUGH);
    let seconds = u64::try_from(through.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(through.tv_nsec).unwrap_or(0);
    Look { day: now(), awake: began.elapsed(), through: Duration::new(seconds, nanoseconds) }
}

/// What made the time between two looks. Looks are a quarter of a second apart when nothing is wrong.
fn gap(before: Look, after: Look) -> Option<Gap> {
    let awake = after.awake.saturating_sub(before.awake);
    let through = after.through.saturating_sub(before.through);
    let signed = SignedDuration::try_from(through).unwrap_or(SignedDuration::ZERO);
    let set = after.day.duration_since(before.day).saturating_sub(signed);
    let set = set.round(jiff::Unit::Second).map_or(0, |set| set.as_secs());
    let noticed = |seconds: u64| if seconds > NOTICED { seconds } else { 0 };
    let gap = Gap {
        slept_s: noticed(through.saturating_sub(awake).as_secs()),
        clock_s: if noticed(set.unsigned_abs()) > 0 { set } else { 0 },
        stopped_s: noticed(awake.as_secs()),
    };
    (gap != Gap::default()).then_some(gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: i64, awake: u64, through: u64) -> Look {
        Look {
            day: Timestamp::from_second(1_800_000_000 + day).unwrap(),
            awake: Duration::from_secs(awake),
            through: Duration::from_secs(through),
        }
    }

    fn between(day: i64, awake: u64, through: u64) -> Option<Gap> {
        gap(at(0, 0, 0), at(day, awake, through))
    }

    #[test]
    fn sleep_a_set_clock_and_a_stopped_process_are_told_apart() {
        assert_eq!(between(1, 1, 1), None);
        assert_eq!(between(60, 60, 60), None, "a busy machine");
        assert_eq!(between(-59, 1, 1), None, "a clock that is kept right");
        let none = Gap::default();
        assert_eq!(between(2701, 1, 2701), Some(Gap { slept_s: 2700, ..none }));
        assert_eq!(between(3601, 1, 1), Some(Gap { clock_s: 3600, ..none }));
        assert_eq!(between(-3599, 1, 1), Some(Gap { clock_s: -3600, ..none }));
        assert_eq!(between(300, 300, 300), Some(Gap { stopped_s: 300, ..none }));
        // It slept, and the network set its clock right when it woke.
        let both = Gap { slept_s: 600, clock_s: -120, ..none };
        assert_eq!(between(481, 1, 601), Some(both));
    }

    #[test]
    fn a_watchman_sees_nothing_where_nothing_is() {
        let mut watchman = Watchman::begin();
        assert_eq!((watchman.look(), watchman.look()), (None, None));
    }
}
