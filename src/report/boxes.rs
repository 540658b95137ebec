//! Boxes in the pull request that a person ticks on a phone, and which of them are ticked.
//!
//! A tick can only ask for another try. Never widens a rule: what a task may do is its text's and the base's.

use std::collections::BTreeSet;

use crate::ids::{NAME, TaskId};

/// The beginning of an empty box that asks for another try of a task; words for people follow on the same line.
pub fn retry(task: &TaskId) -> String {
    format!("- [ ] <!-- {NAME}:retry={} -->", task.in_ref())
}

/// A text without its boxes: in a comment nobody looks for ticks.
pub fn without(text: &str) -> String {
    let begins = format!("- [ ] <!-- {NAME}:retry=");
    text.lines().filter(|line| !line.starts_with(&begins)).collect::<Vec<_>>().join("\n")
}

/// Those of `tasks` whose box in `body` a person ticked. What looks like a box inside a fence is text.
pub fn ticked<'t>(body: &str, tasks: impl IntoIterator<Item = &'t TaskId>) -> Vec<&'t TaskId> {
    let mut fence: Option<usize> = None;
    let mut found = BTreeSet::new();
    for line in body.lines().map(str::trim) {
        let ticks = line.len() - line.trim_start_matches('`').len();
        match fence {
            None if ticks >= 3 => fence = Some(ticks),
            None => found.extend(name(line)),
            Some(open) if ticks >= open && ticks == line.len() => fence = None,
            Some(_) => {}
        }
    }
    tasks.into_iter().filter(|task| found.contains(task.in_ref().as_str())).collect()
}

/// The encoded name in a ticked box. GitHub writes `x`; people also write `X` and `*` for the list's mark.
fn name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("- ").or_else(|| line.strip_prefix("* "))?;
    let rest = rest.strip_prefix("[x] ").or_else(|| rest.strip_prefix("[X] "))?;
    let rest = rest.trim_start().strip_prefix("<!-- ")?.strip_prefix(NAME)?;
    let (name, _) = rest.strip_prefix(":retry=")?.split_once(" -->")?;
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticked_box_names_its_task_and_nothing_else_does() {
        let ids = ["task_6", "#412", "a-->b", "other"].map(|id| TaskId::new(id).unwrap());
        let boxes: Vec<String> = ids.iter().map(retry).collect();
        assert!(boxes[2].ends_with("-->") && boxes[2].matches("-->").count() == 1, "{}", boxes[2]);
        let tick = |id: usize| boxes[id].replacen("[ ]", "[x]", 1);
        let body = format!(
            "text\r\n{} try it again\r\n{} empty\n{}\n````text\n{}\n```\n{}\n````\nsee {}\n",
            tick(0),
            boxes[1],
            tick(2).replacen("- [x]", "* [X]", 1),
            tick(3),
            tick(3),
            tick(1),
        );
        assert_eq!(ticked(&body, &ids), [&ids[0], &ids[2]]);
        assert!(ticked(&body, &ids[3..]).is_empty());
        assert_eq!(without(&format!("a\n{}  try\nb\n", boxes[0])), "a\nb");
    }
}
