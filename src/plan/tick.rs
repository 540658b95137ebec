//! Edits one task's status in a plan file, and leaves every other byte of it where it is.
//!
//! Works on the bytes of the file, not on its text, so that a file that is not UTF-8 keeps its bytes.
//! Never moves, reflows or completes anything, and refuses a file that is not the one that was read.

use std::ops::Range;

use super::{Status, Task, decode, field, line::Line, value};

/// Why a status cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TickError {
    /// The file no longer has the task's text where it was read.
    #[error("the plan has changed since it was read: `{0}` is no longer where it was")]
    Changed(String),
    /// The task has a status that cannot be read, or several.
    #[error("the status of `{0}` cannot be read, so it cannot be replaced")]
    Unreadable(String),
    /// The new status is none, or does not fit in one line.
    #[error("`{0}` is not a status")]
    NotAStatus(String),
}

/// The plan's bytes with the task's status set to `new`, such as `DONE (night 2026-11-21)`.
///
/// Replaces a written status; ticks a box for `DONE` and empties it otherwise. A task with neither, or
/// with a box that cannot say what `new` says, gets one line in the style of its fields.
pub fn set_status(source: &[u8], task: &Task, new: &str) -> Result<Vec<u8>, TickError> {
    let status = value::status(new)
        .filter(|_| new.trim() == new && !new.contains(char::is_control) && !new.contains("<!--"))
        .ok_or_else(|| TickError::NotAStatus(new.to_owned()))?;
    let bytes = source.get(task.span.clone());
    if bytes.is_none_or(|bytes| decode(bytes).0 != task.text) {
        return Err(TickError::Changed(task.id.to_string()));
    }
    let unreadable = |error: &String| {
        error.starts_with("P005") || (error.starts_with("P003") && error.contains("`status`"))
    };
    if task.errors.iter().any(unreadable) {
        return Err(TickError::Unreadable(task.id.to_string()));
    }
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    if let Some(tick) = &task.checkbox {
        let old = task.text.get(tick.at - task.span.start..).and_then(|text| text.chars().next());
        let mark = if status == Status::Done { "x" } else { " " };
        // An `X` says the same as an `x`.
        if !(tick.checked && status == Status::Done) {
            edits.push((tick.at..tick.at + old.map_or(1, char::len_utf8), mark.to_owned()));
        }
    }
    if let Some(field) = &task.fields.status {
        edits.push((field.span.clone(), new.to_owned()));
    } else if task.checkbox.is_none() || status != Status::Done {
        edits.push(new_line(task, new));
    }
    edits.sort_by_key(|(range, _)| range.start);
    let mut edited = Vec::with_capacity(source.len() + 64);
    let mut at = 0;
    for (range, text) in &edits {
        edited.extend_from_slice(&source[at..range.start]);
        edited.extend_from_slice(text.as_bytes());
        at = range.end;
    }
    edited.extend_from_slice(&source[at..]);
    Ok(edited)
}

/// A line with the status: before the first field, as that one is written, or below the title.
fn new_line(task: &Task, new: &str) -> (Range<usize>, String) {
    let title_end = task.title_span.end;
    let text = &task.text;
    let within = |offset: usize| offset - task.span.start;
    let line_end = if text[within(title_end)..].starts_with("\r\n") { "\r\n" } else { "\n" };
    if let Some(first) = &task.fields.first_line {
        let first_text = &text[within(first.start)..within(first.end)];
        let line = Line::read(first_text, 0);
        if let Some(field) = field::read(line.body) {
            // Marker, emphasis and what stands between key and value stay as they are there.
            let key = line.body_at + field.key_span.start..line.body_at + field.key_span.end;
            let value_at = line.body_at + field.value_span.start;
            let before = &first_text[..key.start];
            let mut between = first_text[key.end..value_at].to_owned();
            if !between.ends_with([' ', '\t']) {
                between.push(' ');
            }
            let before = if line.tick.is_some() { marker_only(first_text, &line) } else { before };
            let plain = between.trim_matches(|c: char| c == ':' || c.is_whitespace()).is_empty()
                || before.trim_end().ends_with(['*', '_']);
            // `Estimated lines (LOC):` has a remark that only belongs there.
            let between = if plain && !between.contains('(') { between.as_str() } else { ": " };
            // A value inside its key's emphasis would leave ours open.
            let open = before.trim_end().ends_with(['*', '_']) && !between.contains(['*', '_']);
            let (before, between) =
                if open { (before.trim_end_matches(['*', '_']), ": ") } else { (before, between) };
            return (first.start..first.start, format!("{before}Status{between}{new}{line_end}"));
        }
    }
    let title = &text[within(task.title_span.start)..within(title_end)];
    let blank = &title[..title.len() - title.trim_start_matches([' ', '\t']).len()];
    let line = Line::read(title, 0);
    let indent = match line.marker {
        None => String::new(),
        Some(super::line::Marker::Number) => format!("{blank}   "),
        Some(_) => format!("{blank}  "),
    };
    let marker = if line.marker.is_none() { "" } else { "- " };
    (title_end..title_end, format!("{line_end}{indent}{marker}Status: {new}"))
}

/// The beginning of a line up to the box that its first field has.
fn marker_only<'a>(text: &'a str, line: &Line<'_>) -> &'a str {
    line.tick.map_or("", |tick| &text[..tick.at - 1])
}
