//! What a person, a pipe or a program sees while a night runs: one stream of entries, three renderers.
//!
//! Bars carry no information of their own: on anything but a terminal they do not exist, and every fact
//! is a line.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::{Timestamp, tz::TimeZone};

use crate::{
    cli::Output,
    ids::AttemptId,
    night::{Entry, Night},
    report,
    runner::Watch,
};

/// Seconds between two progress lines.
const PROGRESS: i64 = 30 * 60;
/// Seconds between two signs of life.
const HEARTBEAT: i64 = 10 * 60;

/// How entries are shown.
pub(super) enum Live<'o> {
    /// One JSON object a line on standard output.
    Json(&'o Output),
    /// One line an event on standard error, with its time unless a journal adds one.
    Lines { output: &'o Output, stamped: bool, last: Last },
    /// The same lines above a line that moves.
    Terminal { bar: ProgressBar, last: Last },
    /// Kept until the end, and shown when something went wrong.
    Quiet { kept: Vec<String> },
}

/// When what was printed last that is printed by the clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    progress: Timestamp,
    heartbeat: Timestamp,
}

/// What the clock calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    Heartbeat,
    Progress,
}

impl Last {
    fn of(now: Timestamp) -> Last {
        Last { progress: now, heartbeat: now }
    }

    fn due(&mut self, now: Timestamp) -> Due {
        let since = |at: Timestamp| now.duration_since(at).as_secs();
        if since(self.progress) >= PROGRESS {
            *self = Last::of(now);
            Due::Progress
        } else if since(self.heartbeat) >= HEARTBEAT {
            self.heartbeat = now;
            Due::Heartbeat
        } else {
            Due::Nothing
        }
    }
}

impl<'o> Live<'o> {
    /// The renderer that fits the flags and the terminal. `stamped` is false where the system's log adds
    /// the time (`JOURNAL_STREAM`).
    pub(super) fn new(output: &'o Output, stamped: bool, now: Timestamp) -> Live<'o> {
        if output.is_json() {
            Live::Json(output)
        } else if output.is_quiet() {
            Live::Quiet { kept: Vec::new() }
        } else if output.attended() && output.moving() {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(120));
            Live::Terminal { bar, last: Last::of(now) }
        } else {
            Live::Lines { output, stamped, last: Last::of(now) }
        }
    }

    /// Ends the moving line. Gives what was kept.
    pub(super) fn finish(self) -> Vec<String> {
        match self {
            Live::Terminal { bar, .. } => {
                bar.finish_and_clear();
                Vec::new()
            }
            Live::Quiet { kept } => kept,
            Live::Json(_) | Live::Lines { .. } => Vec::new(),
        }
    }
}

impl Live<'_> {
    fn print(&self, at: Timestamp, line: &str) {
        match self {
            Live::Lines { output, stamped, .. } => output.note(&stamp(*stamped, at, line)),
            Live::Terminal { bar, .. } => bar.println(line),
            Live::Json(_) | Live::Quiet { .. } => {}
        }
    }
}

impl Watch for Live<'_> {
    fn entry(&mut self, entry: &Entry, night: &Night) {
        if let Live::Json(output) = self {
            output.json("event", entry);
            return;
        }
        let line = report::line(entry, night);
        match self {
            Live::Json(_) => {}
            Live::Lines { output, stamped, .. } => {
                if let Some(line) = line {
                    output.note(&stamp(*stamped, entry.at, &line));
                }
            }
            Live::Terminal { bar, .. } => {
                if let Some(line) = line {
                    bar.println(line);
                }
                bar.set_message(report::phase(night, entry.at));
            }
            Live::Quiet { kept } => kept.extend(line),
        }
    }

    fn tick(&mut self, now: Timestamp, night: &Night, activity: &[(AttemptId, String)]) {
        match self {
            Live::Lines { output, stamped, last } => {
                let line = match last.due(now) {
                    Due::Nothing => return,
                    Due::Heartbeat => report::heartbeat(night, now, activity),
                    Due::Progress => report::progress(night, now, activity),
                };
                output.note(&stamp(*stamped, now, &line));
            }
            // The moving line is the sign of life.
            Live::Terminal { bar, last } => {
                if last.due(now) == Due::Progress {
                    bar.println(report::progress(night, now, activity));
                }
                bar.set_message(report::at_work(night, now, activity));
            }
            Live::Json(_) | Live::Quiet { .. } => {}
        }
    }

    fn waits(&mut self, now: Timestamp, for_what: &str) {
        self.print(now, &format!("{:<10} waits    for {for_what}", "night"));
    }
}

fn stamp(stamped: bool, at: Timestamp, line: &str) -> String {
    if stamped {
        let local = at.to_zoned(TimeZone::system());
        format!("{} {line}", local.strftime("%Y-%m-%dT%H:%M:%S%:z"))
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_night_lives_every_ten_minutes_and_tells_how_far_it_is_every_thirty() {
        let at = |minute: i64| Timestamp::from_second(minute * 60).unwrap();
        let mut last = Last::of(at(0));
        let due: Vec<(i64, Due)> = (1..=65)
            .map(|minute| (minute, last.due(at(minute))))
            .filter(|(_, due)| *due != Due::Nothing)
            .collect();
        let (beat, far) = (Due::Heartbeat, Due::Progress);
        assert_eq!(due, [(10, beat), (20, beat), (30, far), (40, beat), (50, beat), (60, far)]);
        // A machine that slept does not catch up.
        assert_eq!((last.due(at(300)), last.due(at(301))), (far, Due::Nothing));
    }
}
