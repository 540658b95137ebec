//! What a person, a pipe or a program sees while a night runs: one stream of entries, three renderers.
//!
//! Bars carry no information of their own: on anything but a terminal they do not exist, and every fact
//! is a line.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::{Timestamp, tz::TimeZone};

use crate::{
    cli::{Output, tell},
    night::{Entry, Night},
    report,
    runner::Watch,
};

/// Seconds between two progress lines (the original request's heartbeat).
const PROGRESS: i64 = 30 * 60;

/// How entries are shown.
pub(super) enum Live<'o> {
    /// One JSON object a line on standard output.
    Json(&'o Output),
    /// One line an event on standard error, with its time unless a journal adds one.
    Lines { output: &'o Output, stamped: bool, last_progress: Timestamp },
    /// The same lines above a line that moves.
    Terminal { bar: ProgressBar },
    /// Kept until the end, and shown when something went wrong.
    Quiet { kept: Vec<String> },
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
            Live::Terminal { bar }
        } else {
            Live::Lines { output, stamped, last_progress: now }
        }
    }

    /// Ends the moving line. Gives what was kept.
    pub(super) fn finish(self) -> Vec<String> {
        match self {
            Live::Terminal { bar } => {
                bar.finish_and_clear();
                Vec::new()
            }
            Live::Quiet { kept } => kept,
            Live::Json(_) | Live::Lines { .. } => Vec::new(),
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
            Live::Lines { output, stamped, last_progress } => {
                if let Some(line) = line {
                    output.note(&stamp(*stamped, entry.at, &line));
                }
                if *last_progress < night.opening().at {
                    *last_progress = night.opening().at;
                }
            }
            Live::Terminal { bar } => {
                if let Some(line) = line {
                    bar.println(line);
                }
                bar.set_message(tell::phase(night));
            }
            Live::Quiet { kept } => kept.extend(line),
        }
    }

    fn tick(&mut self, now: Timestamp, night: &Night) {
        if let Live::Lines { output, stamped, last_progress } = self
            && now.duration_since(*last_progress).as_secs() >= PROGRESS
        {
            *last_progress = now;
            output.note(&stamp(*stamped, now, &report::progress(night, now)));
        }
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
