//! A running Claude Code and its conversation: what is said to it, what is heard from it, and how it ends.
//!
//! Never decides what an end means: see `classify`.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
    time::Duration,
};

use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};

use super::{
    alive::{Pulse, last_change},
    classify::{Facts, Stopped, classify},
    spent::{self, Counted},
    tail::{Kept, Tail, Whole},
    transcript::{Line, Transcript},
};
use crate::{
    agent::{AgentError, Job},
    ids::AttemptId,
    outcome::AgentEnd,
    process::{self, Exit, Running, Stop},
    prompt,
    proxy::{Account, Attached, Ledger},
    redact::Redactor,
    sandbox::Walls,
};

/// 256 MiB: with partial messages, an hour of work prints some tens of them.
pub(super) const STREAM_LIMIT: u64 = 256 * 1024 * 1024;
/// A process that has printed this much gets no further turn: the next one starts a new one.
const STREAM_FULL: u64 = STREAM_LIMIT / 2;
/// What the end of a stream that was cut may hold.
const STREAM_END: u64 = 1024 * 1024;
/// How often the stream is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Bytes that one look takes before it looks at the rest of the world again.
const GULP: u64 = 16 * 1024 * 1024;
/// From a result to the word that nothing goes on, and from the end of the input to the end of the program:
/// usually less than 0.1 s.
const LINGER: Duration = Duration::from_secs(5);
/// How long an interrupted program may take to write its result, and with it the cost.
const ASK: Duration = Duration::from_secs(5);
/// Characters of an activity that are shown.
const ACTIVITY: usize = 80;
/// Bytes of standard error that are kept for one attempt.
const ERRORS: u64 = 64 * 1024;

/// A program with its conversation.
#[derive(Debug)]
pub(in crate::agent) struct Live {
    pub(super) running: Running,
    pub(super) attempt: AttemptId,
    /// Where its output lies.
    pub(super) home: PathBuf,
    /// Which of the conversation's processes it is.
    pub(super) number: u32,
    pub(super) tail: Tail,
    /// What it was started with, without the conversation.
    pub(super) arguments: Vec<String>,
    pub(super) workspace: PathBuf,
    /// What it had counted at the end of its last turn.
    pub(super) counted: Counted,
    /// What it may spend, where its questions go through our proxy.
    pub(super) account: Option<Account>,
    /// What of that was told in the reports of earlier turns.
    pub(super) charged: Ledger,
    /// How long its answers may be, in tokens.
    pub(super) longest: u64,
    /// How much of its standard error was kept already.
    pub(super) errors_at: u64,
    /// The walls that it was started with, as the runner drew them.
    pub(super) walls: Option<Walls>,
    /// The entrance to our proxy from inside its walls.
    pub(super) _attached: Option<Attached>,
    /// Removed when it has ended.
    pub(super) _short: Option<tempfile::TempDir>,
}

/// What one turn needs beside the program.
pub(super) struct Turn<'a> {
    pub(super) job: &'a Job,
    pub(super) stop: &'a Stop,
    pub(super) until: Instant,
    pub(super) redactor: &'a Redactor,
    pub(super) kept: &'a mut Kept,
    pub(super) transcript: &'a mut Transcript,
    /// True when it goes on with an earlier conversation.
    pub(super) resumed: bool,
    /// True when nobody else counts what it spends.
    pub(super) counts: bool,
}

/// Why watching a turn came to an end.
#[derive(Debug)]
pub(super) enum Watched {
    /// The turn is over; the program waits for more.
    Over,
    /// It has to be stopped.
    Stop(Stopped),
    /// The program ended.
    Ended(Result<Exit, process::Error>),
}

impl Turn<'_> {
    /// What it came to, with the program still there.
    pub(super) fn verdict(&self, stopped: Option<&Stopped>) -> AgentEnd {
        classify(&Facts {
            transcript: self.transcript,
            ended: None,
            stopped,
            errors: "",
            resumed: self.resumed,
            refused: false,
            broken: false,
            until: None,
        })
    }
}

impl Live {
    /// True when the program can be given another turn.
    pub(super) fn has_room(&self) -> bool {
        self.tail.at() < STREAM_FULL
    }

    /// Says something to it.
    pub(super) fn say(&self, text: &str) {
        self.send(&json!({ "type": "user", "message": { "role": "user", "content": text } }));
    }

    fn send(&self, frame: &serde_json::Value) {
        self.running.send(format!("{frame}\n").as_bytes());
    }

    /// Takes in what it printed; true when there was something.
    pub(super) fn hear(&mut self, turn: &mut Turn<'_>) -> bool {
        let (kept, transcript) = (&mut *turn.kept, &mut *turn.transcript);
        let news = self.tail.read(GULP, |whole| match whole {
            Whole::Line(line) => {
                let line = String::from_utf8_lossy(line);
                if transcript.line(&line) == Line::Other {
                    kept.line(&line);
                }
            }
            Whole::TooLong(bytes) => kept.left_out(bytes),
        });
        if news {
            kept.flush();
            let doing = activity(turn.transcript.doing(), &self.workspace, turn.redactor);
            if doing != turn.job.activity.get() {
                turn.job.activity.set(doing);
            }
        }
        news
    }

    /// Watches until the turn is over, the program ends, or it has to be stopped.
    pub(super) async fn watch(&mut self, turn: &mut Turn<'_>) -> Watched {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pulse = Pulse::new(turn.job.stall_limit);
        let mut done = Duration::ZERO;
        let mut last = Instant::now();
        loop {
            tokio::select! {
                exit = self.running.wait() => return Watched::Ended(exit),
                () = tokio::time::sleep_until(turn.until) => return Watched::Stop(Stopped::TimedOut),
                () = turn.stop.now() => return Watched::Stop(Stopped::Interrupted),
                _ = look.tick() => {}
            }
            // A machine or a runner that stood still is no agent that was silent.
            let passed = last.elapsed().min(5 * LOOK);
            last = Instant::now();
            let news = self.hear(turn);
            if let Some(stopped) = self.trouble(turn, news) {
                return Watched::Stop(stopped);
            }
            done = if turn.transcript.is_done() { done + passed } else { Duration::ZERO };
            if turn.transcript.is_over() || done >= LINGER {
                return Watched::Over;
            }
            if news {
                pulse.heard();
                continue;
            }
            pulse.waited(passed);
            if pulse.wants_look() {
                let workspace = self.workspace.clone();
                let changed = tokio::task::spawn_blocking(move || last_change(&workspace));
                pulse.looked(self.running.cpu_time(), changed.await.unwrap_or(None));
            }
            if pulse.stalled() {
                return Watched::Stop(Stopped::Stalled);
            }
        }
    }

    /// What it printed that is a reason to stop it.
    fn trouble(&self, turn: &Turn<'_>, news: bool) -> Option<Stopped> {
        let transcript = &*turn.transcript;
        if let Some(message) = transcript.unfit() {
            return Some(Stopped::Unfit(message.to_owned()));
        }
        if transcript.lost_its_brief() && !turn.job.brief.is_empty() {
            return Some(Stopped::Forgetful);
        }
        if self.tail.at() >= STREAM_LIMIT - STREAM_END {
            return Some(Stopped::TooLong);
        }
        if news && turn.counts && !transcript.is_done() {
            let spend = spent::measured(transcript);
            let budget = turn.job.budget;
            let tokens = spend.input_tokens.saturating_add(spend.output_tokens);
            if (!budget.is_zero() && spend.usd >= budget)
                || turn.job.tokens.is_some_and(|most| tokens >= most)
            {
                return Some(Stopped::Spent);
            }
        }
        None
    }

    /// Asks it to stop what it does, and waits for its result for a while.
    pub(super) async fn interrupt(
        &mut self,
        turn: &mut Turn<'_>,
        patience: Duration,
    ) -> Option<Result<Exit, process::Error>> {
        let frame = json!({
            "type": "control_request",
            "request_id": format!("{}-stop", crate::ids::NAME),
            "request": { "subtype": "interrupt" },
        });
        self.send(&frame);
        let until = Instant::now() + patience.min(ASK);
        while Instant::now() < until {
            if let Ok(exit) = tokio::time::timeout(LOOK, self.running.wait()).await {
                return Some(exit);
            }
            self.hear(turn);
            if turn.transcript.is_done() {
                break;
            }
        }
        None
    }

    /// Ends the program: by the end of its input where it waits for more, and by force.
    pub(super) async fn end(
        &mut self,
        waits: bool,
        grace: Duration,
    ) -> Result<Exit, process::Error> {
        if waits {
            self.running.close_stdin();
            if let Ok(exit) = tokio::time::timeout(LINGER, self.running.wait()).await {
                return exit;
            }
        }
        self.running.finish(grace).await
    }

    /// Ends a program that is frozen, and removes its output.
    pub(in crate::agent) async fn close(mut self) -> Result<(), AgentError> {
        self.running.thaw();
        let exit = self.end(true, Duration::ZERO).await?;
        self.forget();
        if exit.left > 0 {
            return Err(AgentError::StillRunning { attempt: self.attempt, count: exit.left });
        }
        Ok(())
    }

    /// Removes the output of a program that has ended, once all of it was heard.
    pub(super) fn forget(&self) {
        // What is left is removed when the next turn of the conversation begins.
        if let Err(problem) = spent::forget(&self.home, self.number) {
            tracing::warn!(%problem, "could not remove the output of an agent");
        }
    }

    /// What it wrote to its standard error since the last time, the end of it.
    pub(super) fn errors(&mut self) -> String {
        let mut read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(spent::errors(&self.home, self.number))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(self.errors_at.max(length.saturating_sub(ERRORS))))?;
            self.errors_at = length;
            let mut bytes = Vec::new();
            file.take(ERRORS).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }
}

/// One line for whoever watches: without secrets, without what a terminal would obey, with paths as they are
/// in the repository.
fn activity(doing: &str, workspace: &std::path::Path, redactor: &Redactor) -> String {
    let inside = format!("{}/", workspace.display());
    let words: Vec<&str> = doing.split_whitespace().collect();
    let line = prompt::clean(&words.join(" ").replace(&inside, ""));
    // Redacted before it is cut: half a secret is not recognised.
    let line = redactor.redact(&line);
    if line.chars().count() > ACTIVITY {
        line.chars().take(ACTIVITY - 1).chain(['…']).collect()
    } else {
        line.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_activity_is_one_short_clean_line() {
        let redactor = Redactor::new(["topsecret".to_owned()]);
        let shown = |doing: &str| activity(doing, std::path::Path::new("/w/t1"), &redactor);
        assert_eq!(shown("Edit /w/t1/src/a.rs"), "Edit src/a.rs");
        assert_eq!(shown("Bash: echo\n\u{1b}[2Jtopsecret"), "Bash: echo ***");
        assert_eq!(shown(&format!("Bash: {}", "é".repeat(100))).chars().count(), ACTIVITY);
    }
}
