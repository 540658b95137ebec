//! What the night tells people: one line an event, a summary for the terminal, a pull request for the
//! morning, the messages of its commits. All of it from the runner's own records.
//!
//! Pure: reads a [`Night`](crate::night::Night), returns text. No agent's claim is repeated as a fact.

pub mod actions;
pub mod boxes;
mod commit;
mod evidence;
mod facts;
pub mod formats;
mod first_screen;
mod gates;
pub mod labels;
pub mod history;
mod line;
mod look_at;
mod moved;
pub mod notice;
mod night_picture;
mod not_landed;
mod progress;
mod pull_request;
pub mod push;
mod screen;
mod summary;
pub mod text;
mod watch;

pub use commit::Message;
pub use evidence::{Logs, quoted_logs};
pub use facts::{
    agent_notes, answer_lines, approvals, branch_moved, closed, decide, decisions,
    decisions_in_words, marked, moment, needs, questions, recovered_from, recoveries,
    recoveries_in_words, remedy, spent, spent_on, tries, unpublished, why_held,
};
pub use gates::{canary, excused, flaky, flaky_in_words, test_proof};
pub use history::NightFigures;
pub use line::{
    Feedback, agent_end, behind, failure, feedback, line, red, seconds, stop_reason, why, why_of,
};
pub use moved::{BaseNow, on_top};
pub use progress::{at_work, heartbeat, phase, progress};
pub use pull_request::{PullRequest, job_summary, marker, pull_request, pull_request_with};
pub use screen::{Screen, UNKNOWN_WIDTH, column};
pub use summary::summary;
pub use watch::{framed, picture};

/// `1 task`, `2 tasks`.
fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

#[cfg(test)]
mod tests;
