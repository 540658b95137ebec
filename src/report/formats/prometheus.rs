//! A night as metrics for node_exporter's textfile collector, in the text format 0.0.4 of Prometheus.
//!
//! A night that has not ended has no end and no exit code: an alert on a missing night must not be quieted by one that
//! was cut off.

use crate::report::formats::{Outcome, Sheet, csv::dollars};

/// Writes the metrics. Each carries the repository, so that several repositories can share one collector.
pub fn prometheus(sheet: &Sheet) -> String {
    let repository = format!("repository=\"{}\"", label(&sheet.repository));
    let mut text = String::new();
    let mut metric = |name: &str, help: &str, values: &[(String, String)]| {
        if values.is_empty() {
            return;
        }
        text.push_str(&format!("# HELP nightshift_night_{name} {help}\n"));
        text.push_str(&format!("# TYPE nightshift_night_{name} gauge\n"));
        for (labels, value) in values {
            text.push_str(&format!("nightshift_night_{name}{{{labels}}} {value}\n"));
        }
    };
    let one = |value: String| [(repository.clone(), value)];
    let began = sheet.began.as_second().to_string();
    metric("start_timestamp_seconds", "When the last night began.", &one(began));
    if let Some(exit) = sheet.exit {
        let ended = sheet.last.as_second().to_string();
        metric("end_timestamp_seconds", "When the last night ended.", &one(ended));
        metric("exit_code", "The exit code of the last night.", &one(exit.to_string()));
    }
    let seconds = sheet.lasted_s.to_string();
    metric("duration_seconds", "How long the last night took.", &one(seconds));
    let cost = dollars(sheet.spent.measured());
    metric("cost_usd", "What the last night cost, in US dollars, as far as measured.", &one(cost));
    let cut = dollars(sheet.spent.cut);
    metric("cut_off_usd", "The most that calls without an end can have cost besides.", &one(cut));
    let results: Vec<(String, String)> = Outcome::ALL
        .into_iter()
        .map(|outcome| {
            let labels = format!("{repository},result=\"{}\"", outcome.word());
            (labels, sheet.count(outcome).to_string())
        })
        .collect();
    metric("tasks", "Tasks of the last night by what came of them.", &results);
    let tries: usize = sheet.tasks.iter().map(|task| task.attempts.len()).sum();
    metric("tries", "Tries of the last night, over all tasks.", &one(tries.to_string()));
    text
}

/// A label's value: backslash, quote and line end are what the format gives a meaning.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
