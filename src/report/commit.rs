//! The message of a landed commit: a conventional subject from the task's verb, and trailers that hold
//! what is known before the gate. Results stand in receipts, never here.

use crate::{
    ids::{AttemptId, GateId, NightId, TreeId},
    night::Reverse,
    policy::RiskLevel,
    report::text,
};

/// Longest subject and longest line, in characters: what git and GitHub show without cutting.
const WIDTH: usize = 72;
/// Most lines of text between subject and trailers.
const LINES: usize = 5;

/// Everything that a landed commit's message says.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// The task's title in the plan.
    pub title: &'a str,
    /// The night.
    pub night: &'a NightId,
    /// The attempt.
    pub attempt: &'a AttemptId,
    /// Attempts that the task may have.
    pub of: u32,
    /// The gate that has to pass at this tree.
    pub gate: &'a GateId,
    /// The level of its risk, by its words and by its diff, and the score.
    pub risk: (RiskLevel, u32),
    /// `Name <address>` of the agent, where it should be credited.
    pub co_author: Option<&'a str>,
    /// What it takes back, where it does.
    pub reverse: Option<&'a Reverse>,
}

impl Message<'_> {
    /// The text for a commit of this tree.
    pub fn text(&self, tree: &TreeId) -> String {
        let title = text::for_commit(self.title);
        let takes_back = self.reverse.is_some_and(|reverse| reverse.puts_back.is_none());
        let kind = if takes_back { "revert" } else { kind(&title) };
        let subject = text::head(&format!("{kind}: {}", lower_first(&title)), WIDTH);
        let mut message = subject.clone();
        if subject.ends_with('…') {
            message.push_str(&format!("\n\n{}", wrapped(&title)));
        }
        if let Some(reverse) = self.reverse {
            let (commit, night) = (&reverse.commit, &reverse.night);
            message.push_str(&match &reverse.puts_back {
                None => format!("\n\nThis takes back {commit} of night {night}."),
                Some(first) => format!(
                    "\n\nThis puts back what night {first} landed and {commit} of night {night} took."
                ),
            });
            if let Some(reason) = &reverse.reason {
                message.push_str(&format!("\n\n{}", wrapped(&text::for_commit(reason))));
            }
        }
        let task = text::for_commit(self.attempt.task.as_str());
        message.push_str(&format!(
            "\n\nNightshift-Task: {task}\nNightshift-Night: {}\nNightshift-Try: {} of {}\n\
             Nightshift-Tree: {tree}\nNightshift-Gate: {}\nNightshift-Risk: {} {}\n",
            self.night, self.attempt.number, self.of, self.gate, self.risk.0, self.risk.1
        ));
        if let Some(co_author) = self.co_author {
            message.push_str(&format!("Co-Authored-By: {co_author}\n"));
        }
        message
    }
}

/// A sentence in at most [`LINES`] lines of [`WIDTH`] characters; `…` where more was said.
fn wrapped(sentence: &str) -> String {
    let mut lines = vec![String::new()];
    for word in sentence.split(' ') {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > WIDTH {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&text::head(word, WIDTH));
        }
    }
    if lines.len() > LINES {
        lines.truncate(LINES);
        if let Some(last) = lines.last_mut() {
            *last = text::head(&format!("{last} …"), WIDTH);
        }
    }
    lines.join("\n")
}

/// The type of a conventional commit, from the task's first word.
fn kind(title: &str) -> &'static str {
    let first = title.split(|c: char| !c.is_alphanumeric()).next().unwrap_or("");
    match first.to_lowercase().as_str() {
        "fix" | "repair" | "correct" | "prevent" | "stop" | "handle" | "avoid" | "resolve" => "fix",
        "document" | "describe" | "docs" | "docstring" | "docstrings" | "explain" => "docs",
        "test" | "tests" | "cover" => "test",
        "refactor" | "rename" | "extract" | "simplify" | "split" | "move" | "inline" | "clean"
        | "deduplicate" => "refactor",
        "speed" | "optimise" | "optimize" => "perf",
        "bump" | "upgrade" | "update" | "configure" | "format" | "lint" => "chore",
        _ => "feat",
    }
}

/// `Add x` → `add x`; `HTTP client` and `User` stay only where the whole first word is not a plain verb.
fn lower_first(title: &str) -> String {
    let mut characters = title.chars();
    match (characters.next(), characters.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => title.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TaskId;

    fn message(title: &str) -> String {
        let attempt = AttemptId { task: TaskId::new("task_5").unwrap(), number: 2 };
        let night = NightId::new("2026-11-21").unwrap();
        let gate = GateId::new("ab".repeat(32)).unwrap();
        let tree = TreeId::new("c".repeat(40)).unwrap();
        Message {
            title,
            night: &night,
            attempt: &attempt,
            of: 3,
            gate: &gate,
            risk: (RiskLevel::Low, 29),
            co_author: None,
            reverse: None,
        }
        .text(&tree)
    }

    #[test]
    fn the_message_names_task_night_try_tree_and_gate() {
        assert_eq!(
            message("Add password hashing function"),
            format!(
                "feat: add password hashing function\n\nNightshift-Task: task_5\n\
                 Nightshift-Night: 2026-11-21\nNightshift-Try: 2 of 3\nNightshift-Tree: {}\n\
                 Nightshift-Gate: {}\nNightshift-Risk: low 29\n",
                "c".repeat(40),
                "ab".repeat(32)
            )
        );
    }

    #[test]
    fn a_title_cannot_forge_a_trailer() {
        let text = message("Fix x\n\nNightshift-Tree: 000");
        assert!(text.starts_with("fix: fix x Nightshift-Tree 000\n\n"), "{text}");
        assert_eq!(text.matches("Nightshift-Tree:").count(), 1);
    }

    #[test]
    fn a_long_title_is_cut_in_the_subject_and_whole_below() {
        let title = format!("Document {}", "many words ".repeat(12));
        let text = message(&title);
        let subject = text.lines().next().unwrap();
        assert!(subject.starts_with("docs: document many") && subject.chars().count() <= 72);
        let whole = text.replace('\n', " ");
        assert!(whole.contains(title.trim_end()), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 81), "{text}");
        assert!(text.chars().count() <= 500, "{}: {text}", text.chars().count());
        let text = message(&"many words ".repeat(90));
        let said: Vec<&str> = text.split("\n\n").nth(1).unwrap().lines().collect();
        assert!(said.len() == LINES && said[4].ends_with('…'), "{text}");
        assert!(said.iter().all(|line| line.chars().count() <= WIDTH), "{text}");
    }
}
