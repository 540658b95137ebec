//! The night as a picture: who worked at what and when, in the language that GitHub draws (mermaid).
//!
//! Holds names of tasks alone, as letters and digits behind a word of ours: nothing in it can be a directive or a link.

use jiff::Timestamp;

use crate::{
    night::{AttemptRecord, Night, TaskState},
    report::{evidence::details, text},
};

/// Most bars that are still read on a phone.
const BARS: usize = 60;

/// One attempt.
struct Bar {
    from: Timestamp,
    to: Timestamp,
    name: String,
    landed: bool,
}

/// The folded picture; empty when no attempt was made or too many for one picture.
pub(super) fn night_picture(night: &Night) -> String {
    let mut bars: Vec<Bar> = Vec::new();
    for (id, task) in night.tasks() {
        for record in &task.attempts {
            bars.push(Bar {
                from: record.began,
                to: record.ended.max(record.began),
                name: bar_name(id.as_str(), record.number),
                landed: task.landed().is_some() && is_last(task, record),
            });
        }
    }
    if bars.is_empty() || bars.len() > BARS {
        return String::new();
    }
    bars.sort_by_key(|bar| bar.from);
    let minute = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M").to_string();
    let mut picture = String::from("gantt\n  dateFormat YYYY-MM-DDTHH:mm\n  axisFormat %H:%M\n");
    for (number, lane) in lanes(bars).iter().enumerate() {
        picture.push_str(&format!("  section worker {}\n", number + 1));
        for bar in lane {
            let state = if bar.landed { "done" } else { "crit" };
            // A bar of less than a minute would not be drawn.
            let to = bar.to.max(bar.from + jiff::SignedDuration::from_mins(1));
            picture.push_str(&format!(
                "  {} :{state}, {}, {}\n",
                bar.name,
                minute(bar.from),
                minute(to)
            ));
        }
    }
    let inside =
        format!("Times are UTC; red is a try that did not land.\n\n```mermaid\n{picture}```\n");
    details("The night as a picture", &inside)
}

/// A bar's name. The word before it keeps an id that is a date or a word of the picture's language from being read as
/// one, which would break the whole picture.
fn bar_name(id: &str, number: u32) -> String {
    format!("task_{}", text::name(&format!("{id}.{number}")))
}

fn is_last(task: &TaskState, record: &AttemptRecord) -> bool {
    task.last().is_some_and(|last| last.number == record.number)
}

/// Bars by worker: each goes to the first one that is free. `bars` are in the order of their beginnings.
fn lanes(bars: Vec<Bar>) -> Vec<Vec<Bar>> {
    let mut lanes: Vec<Vec<Bar>> = Vec::new();
    for bar in bars {
        let free = lanes.iter().position(|lane| lane.last().is_none_or(|last| last.to <= bar.from));
        match free {
            Some(at) => lanes[at].push(bar),
            None => lanes.push(vec![bar]),
        }
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_begins_with_what_the_language_of_the_picture_knows() {
        for id in ["2026-11-21", "gantt", "topAxis", "section", "title", "done", "click", "%%{init"]
        {
            let name = bar_name(id, 1);
            assert!(name.starts_with("task_") && name.ends_with(".1"), "{name}");
            assert!(!name.contains([':', ';', ',', '#', '%', '{', '\n']), "{name}");
        }
    }

    #[test]
    fn work_at_the_same_time_is_of_two_workers() {
        let bar = |from: i64, to: i64| Bar {
            from: Timestamp::from_second(from).unwrap(),
            to: Timestamp::from_second(to).unwrap(),
            name: String::new(),
            landed: true,
        };
        let lanes = lanes(vec![bar(0, 10), bar(5, 8), bar(8, 9), bar(10, 11)]);
        let begun: Vec<Vec<i64>> = lanes
            .iter()
            .map(|lane| lane.iter().map(|bar| bar.from.as_second()).collect())
            .collect();
        assert_eq!(begun, [vec![0, 10], vec![5, 8]]);
    }
}
