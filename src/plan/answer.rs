//! Writes a person's answer into a plan file, below the question that a task asked: some lines of one task, and no
//! other byte.
//!
//! Works on bytes and refuses a file that is not the one that was read, as [`tick`](super::tick) does. The answer is a
//! part of the task's text, so the task is a new one to everybody who knew the old one.

use super::{
    SectionWords, Task, decode, parse,
    tick::{TickError, edit, new_line, unchanged},
};

/// The plan's bytes with lines `Question: …` and one line `Answer: …` in the style of the task's fields. A line break
/// becomes a blank: an answer is one line.
pub fn answer(
    source: &[u8],
    task: &Task,
    questions: &[String],
    words: &str,
) -> Result<Vec<u8>, TickError> {
    unchanged(source, task)?;
    let asked =
        questions.iter().map(|question| new_line(source, task, "Question", &line(question)));
    let lines: Vec<_> = asked.chain([new_line(source, task, "Answer", &line(words))]).collect();
    Ok(edit(source, &lines))
}

/// One line that opens no comment.
fn line(words: &str) -> String {
    let plain: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    words.join(" ").replace("<!--", "<! --")
}

/// Whether `edited` reads as the plan with the tasks `before` did, but that the text of `task` is another one.
pub fn reads_back(before: &[Task], task: &Task, edited: &[u8], words: &SectionWords) -> bool {
    let after = parse(&decode(edited).0, words).0.tasks;
    before.len() == after.len()
        && before.iter().zip(&after).all(|(old, now)| {
            let is_it = old.span.start == task.span.start;
            let same = old.text_hash == now.text_hash;
            let told = now.notes.len() > old.notes.len();
            old.id == now.id && old.errors == now.errors && if is_it { !same && told } else { same }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Vec<Task> {
        parse(&decode(source.as_bytes()).0, &SectionWords::default()).0.tasks
    }

    #[test]
    fn an_answer_is_a_line_in_the_style_of_the_task() {
        let questions = ["Which port?".to_owned(), "Why <!-- now".to_owned()];
        for (before, after) in [
            (
                "## Ready\r\n→ **[a]** x\r\n  - Files: a\r\n→ **[b]** y\r\n",
                "## Ready\r\n→ **[a]** x\r\n  - Question: Which port?\r\n  - Question: Why <! -- now\r\n  \
                 - Answer: 8080 of course\r\n  - Files: a\r\n→ **[b]** y\r\n",
            ),
            (
                "## Ready\n1. x\n2. y\n",
                "## Ready\n1. x\n   - Question: Which port?\n   - Question: Why <! -- now\n   \
                 - Answer: 8080 of course\n2. y\n",
            ),
            (
                "## Ready\n### A-1: x\n**Status:** READY\n",
                "## Ready\n### A-1: x\n**Question:** Which port?\n**Question:** Why <! -- now\n\
                 **Answer:** 8080 of course\n**Status:** READY\n",
            ),
        ] {
            let tasks = read(before);
            let edited = answer(before.as_bytes(), &tasks[0], &questions, "8080\nof course");
            let edited = edited.unwrap();
            assert_eq!(String::from_utf8_lossy(&edited), after);
            assert!(reads_back(&tasks, &tasks[0], &edited, &SectionWords::default()), "{after}");
            assert_ne!(read(after)[0].text_hash, tasks[0].text_hash);
        }
    }

    #[test]
    fn an_answer_changes_one_task_and_a_changed_file_is_refused() {
        let source = "## Ready\n1. x\n2. y\n";
        let tasks = read(source);
        let edited = answer(source.as_bytes(), &tasks[0], &[], "yes").unwrap();
        let edited = String::from_utf8(edited).unwrap();
        let reads = |edited: &str| {
            reads_back(&tasks, &tasks[0], edited.as_bytes(), &SectionWords::default())
        };
        assert!(reads(&edited));
        for other in [edited.replace(" y", " z"), edited.replace(" y", " y\n3. z"), source.into()] {
            assert!(!reads(&other), "{other}");
        }
        let moved = format!("\n{source}");
        assert_eq!(
            answer(moved.as_bytes(), &tasks[0], &[], "yes"),
            Err(TickError::Changed(tasks[0].id.to_string()))
        );
    }
}
