//! What an agent says about its own work, in the one block that its prompt asks for.
//!
//! The block is data of the agent's: it is shown and it can hold a task back, never let one through. A
//! block that cannot be read is the same as one that asks a person, because a high decision could hide
//! in it.

use serde::{Deserialize, Serialize};

/// The info string of the fenced block that carries a reply.
pub const FENCE: &str = "nightshift";
/// Characters of one text of a reply that are kept.
const TEXT: usize = 600;
/// Entries of one list that are kept. A reply with more decisions than this has not understood its task.
const ENTRIES: usize = 30;

/// What an agent says about its own work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The steps that it took, as it planned them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<String>,
    /// Its own check against each point of the task's acceptance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acceptance: Vec<Acceptance>,
    /// What it had to decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decision>,
    /// What only a person can answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<String>,
}

/// One point of the task's acceptance, as the agent sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// The point.
    pub item: String,
    /// Whether the agent says that it is met.
    pub met: bool,
}

/// Something that the agent had to decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Who may decide such a thing.
    pub level: Level,
    /// What was decided.
    pub what: String,
    /// Why.
    #[serde(default)]
    pub why: String,
}

/// Who may decide: decision 20 of the design, `policy.decisions` of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Names, formatting, the layout of tests, the place of a file inside the task's paths.
    Low,
    /// Approach, internal interfaces, small refactoring that the task needs.
    Medium,
    /// Versions and dependencies, schema, security, public interfaces, new services, deployment.
    High,
}

/// What a second opinion says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opinion {
    /// True when every decision that it was asked about is right for the task.
    pub agree: bool,
    /// Why.
    #[serde(default)]
    pub why: String,
}

/// A block that is there and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its `{FENCE}` block cannot be read: {0}")]
pub struct Unreadable(String);

impl Level {
    /// As it is written in a block.
    pub fn word(self) -> &'static str {
        match self {
            Level::Low => "low",
            Level::Medium => "medium",
            Level::High => "high",
        }
    }
}

impl Reply {
    /// Reads the last block of `text`. No block at all is an empty reply: nothing was decided or asked.
    pub fn read(text: &str) -> Result<Reply, Unreadable> {
        let Some(block) = last_block(text) else { return Ok(Reply::default()) };
        let mut reply: Reply =
            serde_json::from_str(block).map_err(|problem| Unreadable(problem.to_string()))?;
        if reply.decisions.len() > ENTRIES || reply.questions.len() > ENTRIES {
            return Err(Unreadable(format!("more than {ENTRIES} decisions or questions")));
        }
        reply.plan.truncate(ENTRIES);
        reply.acceptance.truncate(ENTRIES);
        let texts = reply
            .plan
            .iter_mut()
            .chain(&mut reply.questions)
            .chain(reply.acceptance.iter_mut().map(|point| &mut point.item))
            .chain(reply.decisions.iter_mut().flat_map(|d| [&mut d.what, &mut d.why]));
        for text in texts {
            *text = short(text);
        }
        reply.questions.retain(|question| !question.is_empty());
        Ok(reply)
    }

    /// Decisions of this level.
    pub fn decided(&self, level: Level) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().filter(move |decision| decision.level == level)
    }

    /// True when there is nothing in it.
    pub fn is_empty(&self) -> bool {
        *self == Reply::default()
    }
}

impl Opinion {
    /// Reads the last block of `text`. Without one there is no opinion, and none is not agreement.
    pub fn read(text: &str) -> Result<Opinion, Unreadable> {
        let block = last_block(text).ok_or_else(|| Unreadable("it is not there".to_owned()))?;
        let opinion: Opinion =
            serde_json::from_str(block).map_err(|problem| Unreadable(problem.to_string()))?;
        Ok(Opinion { why: short(&opinion.why), ..opinion })
    }
}

/// One line, cleaned and cut.
fn short(text: &str) -> String {
    let line = super::clean(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    if line.chars().count() > TEXT {
        line.chars().take(TEXT).chain(['…']).collect()
    } else {
        line
    }
}

/// True for an info string that names us, whatever else stands in it.
fn is_ours(info: &str) -> bool {
    info.split(|c: char| !c.is_alphanumeric()).any(|word| word.eq_ignore_ascii_case(FENCE))
}

/// What stands in the last block that is fenced as ours. A fence of more backticks is closed by as many.
fn last_block(text: &str) -> Option<&str> {
    let mut found = None;
    let mut open: Option<(usize, usize, bool)> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let begin = at;
        at += line.len();
        let trimmed = line.trim();
        let ticks = trimmed.len() - trimmed.trim_start_matches('`').len();
        match open {
            None if ticks >= 3 => {
                open = Some((ticks, at, is_ours(&trimmed[ticks..])));
            }
            Some((fence, from, ours)) if ticks >= fence && trimmed.len() == ticks => {
                if ours {
                    found = Some(&text[from..begin]);
                }
                open = None;
            }
            None | Some(_) => {}
        }
    }
    // The answer's end was cut off: what was said so far may still be whole JSON, and if it is not, that
    // is an unreadable block and not none.
    if let Some((_, from, true)) = open {
        found = Some(&text[from..]);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(json: &str) -> String {
        format!("Done.\n\n```{FENCE}\n{json}\n```\n")
    }

    #[test]
    fn a_whole_reply_is_read() {
        let text = block(
            r#"{"plan":["look","change"],"acceptance":[{"item":"greets","met":true}],
               "decisions":[{"level":"medium","what":"a fixed window","why":"simpler"},{"level":"low","what":"name"}],
               "questions":["Which\nlimit?"]}"#,
        );
        let reply = Reply::read(&text).unwrap();
        assert_eq!(reply.questions, ["Which limit?"]);
        assert_eq!(reply.decided(Level::Medium).count(), 1);
        assert_eq!(reply.decisions[1].why, "");
        assert!(reply.acceptance[0].met && reply.plan.len() == 2);
    }

    #[test]
    fn no_block_is_an_empty_reply_and_a_broken_one_is_not() {
        assert!(Reply::read("All done. ```rust\nfn x() {}\n```").unwrap().is_empty());
        for broken in ["", "{", r#"{"decisions":[{"level":"huge","what":"x"}]}"#, "[1]"] {
            assert!(Reply::read(&block(broken)).is_err(), "{broken}");
        }
        assert!(Reply::read(&format!("```{FENCE}\n{{\"questions\":[\"a")).is_err());
        let cut_after = format!("```{FENCE}\n{{\"questions\":[\"a\"]}}");
        assert_eq!(Reply::read(&cut_after).unwrap().questions, ["a"]);
    }

    #[test]
    fn a_fence_that_names_us_among_others_is_ours() {
        for info in ["nightshift json", "json nightshift", "Nightshift", "{.nightshift}"] {
            let text = format!("```{info}\n{{\"questions\":[\"a\"]}}\n```");
            assert_eq!(Reply::read(&text).unwrap().questions, ["a"], "{info}");
        }
        assert!(Reply::read("```nightshifts\n{}x\n```").unwrap().is_empty());
    }

    #[test]
    fn the_last_block_counts_and_one_inside_another_fence_is_text() {
        let two = format!("{}{}", block(r#"{"questions":["old"]}"#), block(r#"{"plan":["new"]}"#));
        assert_eq!(Reply::read(&two).unwrap().plan, ["new"]);
        let quoted = format!("````text\n{}````\n", block(r#"{"questions":["quoted"]}"#));
        assert!(Reply::read(&quoted).unwrap().is_empty());
    }

    #[test]
    fn texts_are_one_line_short_and_cannot_paint() {
        let long = "x".repeat(5_000);
        let reply = Reply::read(&block(&format!(
            r#"{{"decisions":[{{"level":"low","what":"a\u001b[31mb\nc","why":"{long}"}}]}}"#
        )))
        .unwrap();
        assert_eq!(reply.decisions[0].what, "ab c");
        assert_eq!(reply.decisions[0].why.chars().count(), TEXT + 1);
        let many = vec![r#"{"level":"low","what":"x"}"#; 31].join(",");
        assert!(Reply::read(&block(&format!(r#"{{"decisions":[{many}]}}"#))).is_err());
    }

    #[test]
    fn silence_is_not_agreement() {
        assert!(Opinion::read("I agree.").is_err());
        assert!(!Opinion::read(&block(r#"{"agree":false,"why":"no"}"#)).unwrap().agree);
        assert!(Opinion::read(&block(r#"{"agree":"yes"}"#)).is_err());
    }
}
