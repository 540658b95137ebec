//! The programs that edit: one trait, because a night must not care which, and what they share.
//!
//! Never commits, never judges: an agent leaves changed files in a workspace, and everything it does,
//! also failing, is data in an [`AgentReport`].

mod claude;
mod command;
mod demo;
mod inside;
mod session;

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use claude::{ClaudeAgent, Credential, spent_of_stream};
pub use command::CommandAgent;
pub use demo::{DEMO_AGENT, DEMO_GREETING, demo_agent_main};
pub use session::Session;

use crate::{
    budget::Usd,
    files,
    ids::AttemptId,
    outcome::{AgentEnd, AgentReport},
    process::{self, Breach, Environment, Exit, Stop},
    prompt::{self, Reply},
    proxy,
    sandbox::Walls,
};

/// A future behind `dyn`, until `async fn` in traits can stand there.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A program that edits a workspace when given a task. Never commits, never pushes.
pub trait Agent: Send + Sync {
    /// Runs one attempt to its end. When it comes back, nothing of it runs any more, but for the frozen
    /// program of the session that it may return: that one goes on when it is given back for the next
    /// attempt of the same conversation, and is ended by [`Session::close`] or when it is dropped.
    fn run<'a>(
        &'a self,
        job: &'a Job,
        held: Option<Session>,
        stop: &'a Stop,
    ) -> BoxFuture<'a, Result<Ran, AgentError>>;

    /// Whether it can work at all: installed, a version we know, a credential. Blocks for a moment;
    /// costs nothing and changes nothing.
    fn preflight(&self, environment: &Environment) -> Result<AgentFacts, Unusable>;
}

/// What an attempt came to.
#[derive(Debug)]
pub struct Ran {
    /// What there is to tell.
    pub report: AgentReport,
    /// The conversation's frozen program, where it can go on.
    pub session: Option<Session>,
}

/// What an agent is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It edits a workspace.
    Edit,
    /// It answers a question about what it is shown: no tools, no files.
    Review,
}

/// The conversation that an attempt is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Talk {
    /// Its id, a UUID that we chose.
    pub id: String,
    /// True when earlier attempts were part of it: it is to be gone on with, and if it cannot be found the
    /// run ends as [`AgentEnd::ConversationLost`].
    pub resume: bool,
    /// What it has cost so far, as its program counts: the program goes on counting from there.
    pub total: Usd,
}

/// What an agent is doing right now, in a few words, for whoever watches. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<Mutex<String>>);

impl Activity {
    /// Nothing yet.
    pub fn new() -> Activity {
        Activity::default()
    }

    /// Shows something else from now on.
    pub fn set(&self, what: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = what.into();
    }

    /// What is shown; empty when nothing is.
    pub fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One attempt, as an agent sees it.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it is there for.
    pub purpose: Purpose,
    /// Which try at which task.
    pub attempt: AttemptId,
    /// Where it edits; its working directory.
    pub workspace: PathBuf,
    /// This attempt's own directory, made when missing: transcript, last words, errors.
    pub run_dir: PathBuf,
    /// The conversation's directory, made when missing: `HOME`, temporary files, settings, the program's own
    /// record. That of the attempt which opened it.
    pub home: PathBuf,
    /// The conversation, for agents that have them.
    pub talk: Option<Talk>,
    /// What it is told.
    pub prompt: String,
    /// Standing instructions: the base's `CLAUDE.md` and the like. Empty for none.
    pub system: String,
    /// What is put back into the conversation when its program has compacted it: the task, its rules, and
    /// what is known so far.
    pub brief: String,
    /// The model, where the agent has several.
    pub model: Option<String>,
    /// Longest time of the whole attempt.
    pub time_limit: Duration,
    /// Longest silence, for agents that report as they go.
    pub stall_limit: Duration,
    /// Money for this attempt; zero for no limit.
    pub budget: Usd,
    /// Tokens for this attempt, read and written; `None` for no limit.
    pub tokens: Option<u64>,
    /// Turns of this attempt; `None` for no limit.
    pub turns: Option<u32>,
    /// Where it says what it does.
    pub activity: Activity,
    /// The environment to start from. Credentials are not in it.
    pub environment: Environment,
    /// What stands around it but for its own files and its way to the model, which the agent adds; `None` =
    /// nothing.
    pub walls: Option<Walls>,
}

/// What a preflight found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentFacts {
    /// The agent's name, such as `claude`.
    pub name: String,
    /// Its version, where it has one.
    pub version: Option<String>,
    /// What a person should know before the night.
    pub warnings: Vec<String>,
}

/// The agent cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unusable {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// What we cannot go on from. What an agent does is never among it.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A file or directory of the attempt could not be made or read.
    #[error("could not prepare {path}", path = path.display())]
    Prepare {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the attempt or of its conversation could not be written or removed.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// Our proxy could not be started.
    #[error("could not start the way to the model")]
    Proxy(#[from] proxy::Error),
    /// The agent could not be started for a reason that is ours.
    #[error("could not run the agent")]
    Process(#[from] process::Error),
    /// Something that the agent started cannot be ended: no gate may run beside it.
    #[error("{count} processes of {attempt} cannot be ended")]
    StillRunning {
        /// Whose.
        attempt: AttemptId,
        /// How many.
        count: u32,
    },
}

/// Characters of last words that are kept: the end, where a question or decision stands.
const LAST_WORDS: usize = 2_000;
/// Bytes of a stream's end that are read for last words, messages and what an agent says of its work.
const TAIL: u64 = 64 * 1024;

impl Job {
    /// Makes the attempt's directories, readable by nobody else.
    fn prepare(&self) -> Result<(), AgentError> {
        for directory in [self.run_dir.clone(), self.user_home(), self.home.join("t")] {
            make_dir(&directory)?;
        }
        Ok(())
    }

    fn user_home(&self) -> PathBuf {
        self.home.join("home")
    }

    /// What every agent sees beside its own variables.
    fn base_environment(&self) -> Environment {
        let mut environment = self.environment.clone();
        environment
            .set("HOME", self.user_home().to_string_lossy())
            .set("TMPDIR", self.tmp().to_string_lossy())
            .set("NIGHTSHIFT_TASK", self.attempt.task.as_str())
            .set("NIGHTSHIFT_ATTEMPT", self.attempt.number.to_string());
        environment
    }

    fn report(&self, ended: AgentEnd, exit: Option<&Exit>) -> Result<AgentReport, AgentError> {
        let left = exit.map_or(0, |exit| exit.left);
        if left > 0 {
            return Err(AgentError::StillRunning { attempt: self.attempt.clone(), count: left });
        }
        Ok(AgentReport {
            seconds: exit.map_or(0, |exit| exit.millis.div_ceil(1000)),
            survivors: exit.map_or(0, |exit| exit.survivors),
            ..AgentReport::of(ended)
        })
    }

    /// The report of an agent that did not come to an [`Exit`], where that is its own doing.
    fn report_error(&self, error: process::Error) -> Result<AgentReport, AgentError> {
        match error {
            process::Error::NotFound { program }
            | process::Error::NotExecutable { program, .. } => {
                self.report(AgentEnd::NotInstalled { program }, None)
            }
            process::Error::SupervisorLost { killed, .. } => {
                let report = self.report(AgentEnd::Killed { signal: 9 }, None)?;
                Ok(AgentReport { survivors: killed, ..report })
            }
            error @ (process::Error::NoDirectory { .. }
            | process::Error::Output { .. }
            | process::Error::Walls { .. }
            | process::Error::NotStarted { .. }
            | process::Error::TimedOut { .. }) => Err(error.into()),
        }
    }
}

fn make_dir(path: &Path) -> Result<(), AgentError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| AgentError::Prepare { path: path.into(), source })
}

/// A small file of the attempt, written before the agent starts and read by it only.
fn write_private(path: &Path, text: &str) -> Result<(), AgentError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| AgentError::Prepare { path: path.into(), source })
}

/// The end of a file as text; empty when it cannot be read.
fn end_of_file(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// What an agent says of its own work, where its run came to its end; a block that cannot be read is an end of
/// its own, because a high decision could hide in it.
fn read_reply(purpose: Purpose, ended: AgentEnd, said: &str) -> (Reply, AgentEnd) {
    match (purpose, ended) {
        (Purpose::Edit, ended @ (AgentEnd::Finished | AgentEnd::Denied { .. })) => {
            match Reply::read(said) {
                Ok(reply) => (reply, ended),
                Err(problem) => {
                    (Reply::default(), AgentEnd::Unreadable { message: problem.to_string() })
                }
            }
        }
        // What a second opinion says has its own form.
        (Purpose::Review, ended) => (Reply::default(), ended),
        (Purpose::Edit, ended) => (Reply::read(said).unwrap_or_default(), ended),
    }
}

/// True when an agent came to its end and said nothing of its own work.
fn gave_no_account(purpose: Purpose, report: &AgentReport) -> bool {
    purpose == Purpose::Edit
        && matches!(report.ended, AgentEnd::Finished | AgentEnd::Denied { .. })
        && report.reply.is_empty()
}

/// The end of a program that was killed for exceeding a limit of its walls.
fn breach(exit: &Exit) -> Option<AgentEnd> {
    exit.breach.as_ref().map(|breach| {
        let what = breach.to_string();
        match breach {
            Breach::Disk { .. } => AgentEnd::DiskFull { what },
            Breach::Processes(_) | Breach::Memory(_) => AgentEnd::Breach { what },
        }
    })
}

/// What a person should know of processes that were killed.
fn killed(survivors: u32, names: &[String]) -> Option<String> {
    (survivors > 0).then(|| format!("killed what it left running: {}", names.join(", ")))
}

/// The end of what was said, without what a terminal would obey; `None` when nothing was said.
fn last_words(text: &str) -> Option<String> {
    let text = prompt::clean(text);
    let text = text.trim();
    let skip = text.chars().count().saturating_sub(LAST_WORDS);
    let words: String = text.chars().skip(skip).collect();
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_end_and_cannot_paint_a_terminal() {
        assert_eq!(last_words(" \n"), None);
        assert_eq!(last_words("\u{1b}[2Jdone\u{7}\n"), Some("done".into()));
        let long = format!("{}QUESTION: which?", "é".repeat(5_000));
        let words = last_words(&long).unwrap();
        assert_eq!(words.chars().count(), LAST_WORDS);
        assert!(words.ends_with("QUESTION: which?"));
    }
}
