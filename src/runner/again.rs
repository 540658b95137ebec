//! What people said who want a task tried again: one line for each, on this machine, in the order in which it was said.
//!
//! The words to an agent stand here and in the journal of the night that took them, and leave the machine in neither.
//! Lines are never changed: one is spent when a night speaks of its text again (`earlier`).

use crate::{
    files,
    night::Again,
    runner::{home::Home, places::Places},
};

/// Lines that are looked at, the newest: more than anybody types in two months.
const LINES: usize = 1_000;

/// Writes it down, safe against a crash.
pub fn write(home: &Home, again: &Again) -> Result<(), files::Error> {
    let line = serde_json::to_vec(again).unwrap_or_default();
    files::append_line(&home.places.again(), &line)
}

/// What was asked for, oldest first. A line that cannot be read asks for nothing.
pub(super) fn read(places: &Places) -> Vec<Again> {
    let text = std::fs::read(places.again()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let newest = &lines[lines.len().saturating_sub(LINES)..];
    newest.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
