//! Writes a person's approval into a plan file: one line of one task, and no other byte.
//!
//! The approval names the text that it is for: when somebody edits the task afterwards, it is void. Works on bytes
//! and refuses a file that is not the one that was read, as [`tick`](super::tick) does.

use super::{
    SectionWords, Task,
    tick::{TickError, edit, new_line, reads_as, unchanged},
};

/// Hexadecimal digits of the text's hash that an approval names: four thousand million texts, of which one edits a
/// task some ten times.
const DIGITS: usize = 8;

/// The plan's bytes with the task approved: `Approved: 2026-11-21 by ada (text 1a2b3c4d)`.
///
/// Replaces an approval that is there, and is otherwise a line in the style of the task's fields. `day` is a date,
/// `by` whoever approves; signs that would mean something to Markdown or to the plan are left out.
pub fn approve(source: &[u8], task: &Task, day: &str, by: &str) -> Result<Vec<u8>, TickError> {
    unchanged(source, task)?;
    if task.errors.iter().any(|error| error.starts_with("P003") && error.contains("`approved`")) {
        return Err(TickError::Unreadable(task.id.to_string()));
    }
    let name: String =
        by.chars().filter(|c| c.is_alphanumeric() || " ._@+-".contains(*c)).take(60).collect();
    let text = task.text_hash.get(..DIGITS).unwrap_or(&task.text_hash);
    let value = format!("{day} by {} (text {text})", name.trim());
    let change = match &task.fields.approval {
        Some(span) => (span.clone(), value),
        None => new_line(source, task, "Approved", &value),
    };
    Ok(edit(source, &[change]))
}

/// Whether `edited` reads as the plan with the tasks `before` did, but that `task` is approved: a title can open a
/// fence or a comment, and an approval below it is then only shown.
pub fn reads_back(before: &[Task], task: &Task, edited: &[u8], words: &SectionWords) -> bool {
    reads_as(before, task, edited, words, |now| now.fields.approved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, Readiness, decode, parse};

    fn read(source: &[u8]) -> (Plan, Vec<&'static str>) {
        let (plan, found) = parse(&decode(source).0, &SectionWords::default());
        // That a small plan has no ready section and little to say is not what is tested here.
        let codes = found.iter().map(|message| message.code);
        (plan, codes.filter(|code| !["P001", "P013"].contains(code)).collect())
    }

    fn approved(source: &str) -> String {
        let (plan, _) = read(source.as_bytes());
        let edited = approve(source.as_bytes(), &plan.tasks[0], "2026-11-21", "ada").unwrap();
        String::from_utf8(edited).unwrap()
    }

    #[test]
    fn an_approval_is_one_line_in_the_style_of_the_task() {
        for (before, after) in [
            (
                "## Pending\n→ **[a]** x\n  - Files: a\n→ **[b]** y\n",
                "## Pending\n→ **[a]** x\n  - Approved: BY\n  - Files: a\n→ **[b]** y\n",
            ),
            ("## Ready\r\n1. x\r\n2. y\r\n", "## Ready\r\n1. x\r\n   - Approved: BY\r\n2. y\r\n"),
            (
                "## Ready\n### A-1: x\n**Status:** PENDING\n",
                "## Ready\n### A-1: x\n**Approved:** BY\n**Status:** PENDING\n",
            ),
            ("## Pending\n- [ ] A-1: x", "## Pending\n- [ ] A-1: x\n  - Approved: BY"),
            (
                "## Pending\n- **[a]** x\n  - Approved: no  \n",
                "## Pending\n- **[a]** x\n  - Approved: BY  \n",
            ),
        ] {
            let edited = approved(before);
            let (plan, codes) = read(edited.as_bytes());
            let hash = &plan.tasks[0].text_hash[..8];
            let by = format!("2026-11-21 by ada (text {hash})");
            assert_eq!(edited, after.replace("BY", &by));
            assert_eq!(plan.tasks[0].readiness(), Readiness::Ready, "{edited}");
            assert_eq!(plan.tasks[0].text_hash, read(before.as_bytes()).0.tasks[0].text_hash);
            assert!(codes.is_empty(), "{codes:?} in {edited}");
            assert_eq!(approved(&edited), edited, "twice is once");
        }
    }

    #[test]
    fn an_approval_that_nobody_could_read_is_seen() {
        for (source, reads) in [("## Pending\n1. x\n", true), ("## Pending\n1. ```\n2. y\n", false)]
        {
            let tasks = read(source.as_bytes()).0.tasks;
            let edited = approve(source.as_bytes(), &tasks[0], "2026-11-21", "ada").unwrap();
            let words = SectionWords::default();
            assert_eq!(reads_back(&tasks, &tasks[0], &edited, &words), reads, "{source}");
        }
    }

    #[test]
    fn an_approval_of_another_text_is_void_and_is_replaced() {
        let edited = approved("## Pending\n- **[a]** Add x\n  - Files: a\n");
        let other = edited.replace("Add x", "Add x and y");
        let (plan, codes) = read(other.as_bytes());
        assert!(!plan.tasks[0].fields.approved);
        assert_eq!((plan.tasks[0].readiness(), codes), (Readiness::NeedsApproval, vec!["P015"]));
        let again = approved(&other);
        assert_eq!(again.lines().count(), other.lines().count());
        assert_eq!(read(again.as_bytes()).0.tasks[0].readiness(), Readiness::Ready);
        // One of any text stays one of any text, and a ticked box is one.
        let plain = "## Pending\n- **[a]** Add x\n  - Approved: by Ada (text of today)\n";
        assert!(read(plain.as_bytes()).0.tasks[0].fields.approved);
        let box_and_void = other.replace("  - Files", "  - [x] Approve\n  - Files");
        let (plan, codes) = read(box_and_void.as_bytes());
        assert!(plan.tasks[0].fields.approved && codes.is_empty(), "{codes:?}");
        let no = plain.replace("by Ada (text of today)", "no (text 01234567)");
        assert!(!read(no.as_bytes()).0.tasks[0].fields.approved);
    }

    #[test]
    fn an_approval_cannot_say_more_than_one_line_and_a_changed_file_is_refused() {
        let source = "## Pending\n- **[a]** x\n";
        let (plan, _) = read(source.as_bytes());
        let name = "ada\n- **[b]** z <!-- (text 00000000)";
        let edited = approve(source.as_bytes(), &plan.tasks[0], "2026-11-21", name).unwrap();
        let (after, _) = read(&edited);
        assert_eq!((after.tasks.len(), after.tasks[0].fields.approved), (1, true));
        let moved = format!("\n{source}");
        let refused = approve(moved.as_bytes(), &plan.tasks[0], "2026-11-21", "ada");
        assert_eq!(refused, Err(TickError::Changed("a".to_owned())));
        let twice = "## Pending\n- **[a]** x\n  - Approved: no\n  - Approved: ada\n";
        let (plan, _) = read(twice.as_bytes());
        let refused = approve(twice.as_bytes(), &plan.tasks[0], "2026-11-21", "ada");
        assert_eq!(refused, Err(TickError::Unreadable("a".to_owned())));
    }
}
