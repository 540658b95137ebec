//! Edits one task's status in a plan file, and leaves every other byte of it where it is.
//!
//! Works on the bytes of the file, not on its text, so that a file that is not UTF-8 keeps its bytes.
//! Never moves, reflows or completes anything, and refuses a file that is not the one that was read.

use std::ops::Range;

use super::{Readiness, SectionWords, Status, Task, decode, field, line::Line, parse, value};

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
    unchanged(source, task)?;
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
        edits.push(new_line(source, task, "Status", new));
    }
    edits.sort_by_key(|(range, _)| range.start);
    Ok(edit(source, &edits))
}

/// The bytes with each range replaced. Ranges are in order and do not overlap.
pub(super) fn edit(source: &[u8], edits: &[(Range<usize>, String)]) -> Vec<u8> {
    let mut edited = Vec::with_capacity(source.len() + 64);
    let mut at = 0;
    for (range, text) in edits {
        edited.extend_from_slice(&source[at..range.start]);
        edited.extend_from_slice(text.as_bytes());
        at = range.end;
    }
    edited.extend_from_slice(&source[at..]);
    edited
}

/// Says no when the file does not have the task's text where it was read.
pub(super) fn unchanged(source: &[u8], task: &Task) -> Result<(), TickError> {
    let bytes = source.get(task.span.clone());
    if bytes.is_some_and(|bytes| decode(bytes).0 == task.text) {
        Ok(())
    } else {
        Err(TickError::Changed(task.id.to_string()))
    }
}

/// Whether `edited` reads as the plan with the tasks `before` did, but that `task` says `new`.
///
/// A title can open a fence or a comment; a status below it is then only shown. Such an edit is not to be kept.
pub fn reads_back(
    before: &[Task],
    task: &Task,
    new: &str,
    edited: &[u8],
    words: &SectionWords,
) -> bool {
    let told = value::status(new);
    reads_as(before, task, edited, words, |now| {
        let says = now.fields.status.as_ref().map(|field| field.status) == told;
        let done = told == Some(Status::Done) && now.readiness() == Readiness::Done;
        (says || done) && now.fields.approved == task.fields.approved
    })
}

/// Whether `edited` reads as the plan with the tasks `before` did, but for `task`, of which `told` is true.
pub(super) fn reads_as(
    before: &[Task],
    task: &Task,
    edited: &[u8],
    words: &SectionWords,
    told: impl Fn(&Task) -> bool,
) -> bool {
    let after = parse(&decode(edited).0, words).0.tasks;
    before.len() == after.len()
        && before.iter().zip(&after).all(|(old, now)| {
            // The hash covers every line but those about status and approval; what is shown and what is hidden
            // is hashed alike, and read apart.
            let text = old.id == now.id && old.text_hash == now.text_hash && old.notes == now.notes;
            let place = old.section.class == now.section.class && old.errors == now.errors;
            let is_it = old.span.start == task.span.start;
            let said = if is_it { told(now) } else { old.readiness() == now.readiness() };
            text && place && said
        })
}

/// A line with a field: before the first one, as that one is written, or below the title.
pub(super) fn new_line(
    source: &[u8],
    task: &Task,
    name: &str,
    new: &str,
) -> (Range<usize>, String) {
    let title_end = task.title_span.end;
    let text = &task.text;
    let within = |offset: usize| offset - task.span.start;
    let line_end = line_end_at(source, title_end);
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
            return (first.start..first.start, format!("{before}{name}{between}{new}{line_end}"));
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
    (title_end..title_end, format!("{line_end}{indent}{marker}{name}: {new}"))
}

/// The line end at `at`. The file's last line may have none: it would end as the line above it does.
fn line_end_at(source: &[u8], at: usize) -> &'static str {
    let (before, behind) = source.split_at(at);
    let ends = ["\r\n", "\n", "\r"];
    let here = ends.into_iter().find(|end| behind.starts_with(end.as_bytes()));
    let above = || {
        let last = before.iter().rposition(|byte| matches!(byte, b'\n' | b'\r'))?;
        ends.into_iter().find(|end| before[..=last].ends_with(end.as_bytes()))
    };
    here.or_else(above).unwrap_or("\n")
}

/// The beginning of a line up to the box that its first field has.
fn marker_only<'a>(text: &'a str, line: &Line<'_>) -> &'a str {
    line.tick.map_or("", |tick| &text[..tick.at - 1])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{Plan, approve::approve};

    fn read(source: &[u8]) -> Plan {
        parse(&decode(source).0, &SectionWords::default()).0
    }

    fn ticked(source: &str, new: &str) -> String {
        let plan = read(source.as_bytes());
        let edited = set_status(source.as_bytes(), &plan.tasks[0], new).unwrap();
        String::from_utf8(edited).unwrap()
    }

    const DONE: &str = "DONE (night 2026-11-21)";

    #[test]
    fn only_the_value_of_a_status_changes() {
        for (before, after) in [
            (
                "→ **[a]** x\r\n\t- **Status:** READY  \r\n",
                "→ **[a]** x\r\n\t- **Status:** DONE (night 2026-11-21)  \r\n",
            ),
            ("- [ ] A-1: x\n", "- [x] A-1: x\n"),
            ("- [-] A-1: x", "- [x] A-1: x"),
            ("- [✓] A-1: x", "- [x] A-1: x"),
            (
                "- [ ] A-1: x\n  - Status: READY\n",
                "- [x] A-1: x\n  - Status: DONE (night 2026-11-21)\n",
            ),
            ("- [X] A-1: x\n", "- [X] A-1: x\n"),
        ] {
            let heading = "## Ready\n";
            assert_eq!(ticked(&format!("{heading}{before}"), DONE), format!("{heading}{after}"));
        }
    }

    #[test]
    fn a_new_status_is_written_as_the_other_fields_are() {
        for (before, after) in [
            ("→ **[a]** x\n", "→ **[a]** x\n  - Status: DONE (night 2026-11-21)\n"),
            ("→ **[a]** x", "→ **[a]** x\n  - Status: DONE (night 2026-11-21)"),
            ("\r\n→ **[a]** x", "\r\n→ **[a]** x\r\n  - Status: DONE (night 2026-11-21)"),
            (
                "→ **[a]** x\r```\r→ **[b]** y\r```\r",
                "→ **[a]** x\r  - Status: DONE (night 2026-11-21)\r```\r→ **[b]** y\r```\r",
            ),
            ("1. x\r\n2. y\r\n", "1. x\r\n   - Status: DONE (night 2026-11-21)\r\n2. y\r\n"),
            (
                "→ **[a]** x\r\n\t* Files: a\r\n",
                "→ **[a]** x\r\n\t* Status: DONE (night 2026-11-21)\r\n\t* Files: a\r\n",
            ),
            (
                "### A-1: x\n\nwords\n**Files:** a\n",
                "### A-1: x\n\nwords\n**Status:** DONE (night 2026-11-21)\n**Files:** a\n",
            ),
            (
                "### A-1: x\n_Files: a_\n",
                "### A-1: x\nStatus: DONE (night 2026-11-21)\n_Files: a_\n",
            ),
            (
                "- **[a]** x\n  - **Files**: a\n",
                "- **[a]** x\n  - **Status**: DONE (night 2026-11-21)\n  - **Files**: a\n",
            ),
            (
                "- **[a]** x\n  - Estimated lines (LOC): 3\n",
                "- **[a]** x\n  - Status: DONE (night 2026-11-21)\n  - Estimated lines (LOC): 3\n",
            ),
            (
                "- **[a]** x\n  - Acceptance:\n    - works\n",
                "- **[a]** x\n  - Status: DONE (night 2026-11-21)\n  - Acceptance:\n    - works\n",
            ),
        ] {
            let heading = "## Ready\n";
            let edited = ticked(&format!("{heading}{before}"), DONE);
            assert_eq!(edited, format!("{heading}{after}"));
        }
        assert_eq!(
            ticked("## Ready\n- [x] A-1: x\n", "FAILED 1"),
            "## Ready\n- [ ] A-1: x\n  - Status: FAILED 1\n"
        );
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let source = b"## Ready\n- **[a]** x\n  - Status: REDAY\n- **[b]** y\n";
        let plan = read(source);
        assert!(matches!(set_status(source, &plan.tasks[0], DONE), Err(TickError::Unreadable(_))));
        assert!(set_status(source, &plan.tasks[1], DONE).is_ok());
        for new in ["", "gone", "DONE\nx", "DONE\r", " DONE", "DONE <!-- x"] {
            let refused = set_status(source, &plan.tasks[1], new);
            assert!(matches!(refused, Err(TickError::NotAStatus(_))), "{new:?}");
        }
        let moved = b"## Ready!\n- **[a]** x\n  - Status: REDAY\n- **[b]** y\n";
        for changed in [&moved[..], b"", &source[..20]] {
            let refused = set_status(changed, &plan.tasks[1], DONE);
            assert!(matches!(refused, Err(TickError::Changed(_))));
        }
    }

    #[test]
    fn an_edit_that_nobody_could_read_is_seen() {
        let words = SectionWords::default();
        for (source, reads) in [
            ("## Ready\n1. x\n", true),
            ("## Ready\n1. ```\n## Later\n", false),
            ("## Ready\n→ **[a]** x\n    ```\n<!-- y\n    ```\n", false),
        ] {
            let plan = read(source.as_bytes());
            let task = &plan.tasks[0];
            let edited = set_status(source.as_bytes(), task, DONE).unwrap();
            assert_eq!(reads_back(&plan.tasks, task, DONE, &edited, &words), reads, "{source}");
            assert!(!reads_back(&plan.tasks, task, DONE, source.as_bytes(), &words), "{source}");
        }
    }

    /// A task in one of the styles that people use. Bytes, because a file need not be UTF-8.
    fn task(number: usize) -> impl Strategy<Value = Vec<u8>> {
        let title = prop::sample::select(vec![
            "→ **[ID]** Add x",
            "- **[ID]** Add x",
            "- [ ] ID: Add x",
            "- [x] **[ID]** Add x",
            "* [-] ID: Add x",
            "‚Üí **[ID]** Add x",
            "1. [ID] Add x",
            "### ID: Add x",
            "\t→ **[ID]** Add x",
        ]);
        let line = prop::sample::select(vec![
            "B Files: src/a.rs",
            "B **Acceptance:**\n    - works\n    - [ ] well",
            "B Estimated lines: 10",
            "B Tests defined: ✅ Yes (tests/a.rs)",
            "B some words",
            "",
            "words at the margin",
            "B [ ] Approve",
            "B Auto-approved: today",
            "B Approved: no",
            "    ```\n    → **[no]** task\n    ```",
            "> quoted",
            "```\n- **[no]** task\n  - Status: READY\n```",
            "<!-- - **[no]** task -->",
            "B caf\u{1}",
            "B Depends on: t0",
            "| a | b |",
            "B Reason: none",
        ]);
        let status = prop::sample::select(vec![
            "",
            "",
            "B Status: READY",
            "B **Status:** PENDING (soon)  ",
            "B Status: FAILED 2",
            "B state:: `READY`",
            "B _Status: READY_",
        ]);
        let bullet = prop::sample::select(vec!["  -", "\t-", "    *", "-", "  "]);
        let lines = prop::collection::vec(line, 0..5);
        (title, lines, status, any::<prop::sample::Index>(), bullet).prop_map(
            move |(title, mut lines, status, at, bullet)| {
                let at = at.index(lines.len() + 1);
                lines.insert(at, status);
                let mut text = title.replace("ID", &format!("t{number}"));
                text.push('\n');
                for line in lines {
                    text.push_str(&line.replace('B', bullet));
                    text.push('\n');
                }
                // One byte that is no UTF-8.
                let mut bytes = text.into_bytes();
                bytes.iter_mut().filter(|byte| **byte == 1).for_each(|byte| *byte = 0xe9);
                bytes
            },
        )
    }

    fn plan() -> impl Strategy<Value = Vec<u8>> {
        let heading = prop::sample::select(vec!["## Ready\n", "## Pending\n\n", "## Other\n", ""]);
        let tasks: Vec<_> = (0..4).map(|number| (heading.clone(), task(number))).collect();
        (tasks, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(tasks, crlf, mark, end)| {
            let mut bytes: Vec<u8> = tasks
                .into_iter()
                .flat_map(|(heading, task)| [heading.as_bytes(), &task].concat())
                .collect();
            if crlf {
                bytes = bytes.into_iter().fold(Vec::new(), |mut bytes, byte| {
                    if byte == b'\n' {
                        bytes.push(b'\r');
                    }
                    bytes.push(byte);
                    bytes
                });
            }
            if mark {
                bytes.splice(0..0, "\u{feff}".bytes());
            }
            if end {
                let kept = bytes.trim_ascii_end().len();
                bytes.truncate(kept);
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

        #[test]
        fn an_approval_changes_one_line_and_no_other_byte(
            source in plan(),
            chosen in any::<prop::sample::Index>(),
        ) {
            let before = read(&source);
            prop_assume!(!before.tasks.is_empty());
            let task = chosen.get(&before.tasks);
            let edited = match approve(&source, task, "2026-11-21", "ada") {
                Ok(edited) => edited,
                Err(TickError::Unreadable(_)) => return Ok(()),
                Err(error) => panic!("{error}"),
            };
            let shown = String::from_utf8_lossy(&edited).into_owned();
            let (mut kept, mut rest) = (source.clone(), edited.clone());
            let grown = edited.len() + task.fields.approval.as_ref().map_or(0, ExactSizeIterator::len)
                - source.len();
            if let Some(span) = &task.fields.approval {
                kept.drain(span.clone());
                rest.drain(span.start..span.start + grown);
                prop_assert_eq!(&kept, &rest, "{}", shown);
            } else {
                let common = kept.iter().zip(&rest).take_while(|(a, b)| a == b).count();
                prop_assert!(rest.ends_with(&kept[common..]) && grown < 70, "{}", shown);
                prop_assert!(common >= task.span.start, "{}", shown);
            }
            let after = read(&edited);
            prop_assert_eq!(after.tasks.len(), before.tasks.len(), "{}", shown);
            for (old, now) in before.tasks.iter().zip(&after.tasks) {
                prop_assert_eq!((&old.id, &old.text_hash), (&now.id, &now.text_hash), "{}", shown);
                prop_assert_eq!(&old.notes, &now.notes, "{}", shown);
                if old.id == task.id {
                    prop_assert!(now.fields.approved, "{}", shown);
                    prop_assert_eq!(
                        approve(&edited, now, "2026-11-21", "ada"), Ok(edited.clone())
                    );
                } else {
                    prop_assert_eq!(old.readiness(), now.readiness(), "{}", shown);
                }
            }
        }

        #[test]
        fn an_edit_changes_one_status_and_no_other_byte(
            source in plan(),
            chosen in any::<prop::sample::Index>(),
            new in prop::sample::select(vec![DONE, "FAILED 2", "READY", "PENDING (question)"]),
        ) {
            let before = read(&source);
            prop_assume!(!before.tasks.is_empty());
            let task = chosen.get(&before.tasks);
            let edited = match set_status(&source, task, new) {
                Ok(edited) => edited,
                Err(TickError::Unreadable(_)) => return Ok(()),
                Err(error) => panic!("{error}"),
            };
            let shown = String::from_utf8_lossy(&edited).into_owned();

            // Nothing before the title and nothing behind the block moved.
            prop_assert_eq!(&edited[..task.span.start], &source[..task.span.start]);
            prop_assert!(edited.ends_with(&source[task.span.end..]));
            // Inside the block only the value, the box or a new line differ.
            let mut kept = source.clone();
            let mut rest = edited.clone();
            if let Some(tick) = &task.checkbox {
                kept.remove(tick.at);
                rest.remove(tick.at);
            }
            if let Some(field) = &task.fields.status {
                let shift = usize::from(task.checkbox.as_ref().is_some_and(|tick| tick.at < field.span.start));
                kept.drain(field.span.start - shift..field.span.end - shift);
                rest.drain(field.span.start - shift..field.span.start - shift + new.len());
                prop_assert_eq!(&kept, &rest, "{}", shown);
            } else if task.checkbox.is_none() || new != DONE {
                let common = kept.iter().zip(&rest).take_while(|(a, b)| a == b).count();
                prop_assert!(rest.ends_with(&kept[common..]), "{}", shown);
                let added = rest.len() - kept.len();
                prop_assert!(added < new.len() + 24, "{}", shown);
            } else {
                prop_assert_eq!(&kept, &rest, "{}", shown);
            }

            // The same tasks, with one new status.
            let after = read(&edited);
            prop_assert_eq!(after.tasks.len(), before.tasks.len(), "{}", shown);
            for (old, now) in before.tasks.iter().zip(&after.tasks) {
                prop_assert_eq!(&old.id, &now.id, "{}", shown);
                prop_assert_eq!(&old.text_hash, &now.text_hash, "{}", shown);
                prop_assert_eq!(&old.notes, &now.notes, "{}", shown);
                prop_assert_eq!(&old.fields.files, &now.fields.files);
                prop_assert_eq!(&old.fields.acceptance, &now.fields.acceptance, "{}", shown);
                if old.id != task.id {
                    prop_assert_eq!(old.readiness(), now.readiness(), "{}", shown);
                    continue;
                }
                if new == DONE {
                    prop_assert_eq!(now.readiness(), Readiness::Done, "{}", shown);
                } else {
                    let status = now.fields.status.as_ref().unwrap();
                    prop_assert_eq!(Some(status.status), value::status(new));
                }
                // Twice is once.
                prop_assert_eq!(set_status(&edited, now, new), Ok(edited.clone()));
            }
        }
    }
}
