//! The one door to other programs.
//!
//! A program that we do not trust (an agent, a step of a gate) runs under a [`Supervisor`]: a process
//! of ours that gives it a clean environment, bounded output and no terminal, and that ends only when
//! everything below it is dead. If we die, however suddenly, it kills the whole tree. Short programs
//! that we trust (`git`, `claude --version`) go through [`probe()`].
//!
//! Never decides what an exit code means, never retries, never inherits our environment.
#![expect(clippy::disallowed_methods, reason = "this is the door")]

mod environment;
mod probe;
mod stop;
mod supervisor;
mod tree;
mod wire;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc as blocking,
    },
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

pub use environment::Environment;
pub use probe::{Output, probe};
pub use stop::{Stop, Urgency};
pub use supervisor::supervise_main;

use wire::{Failed, Frame, Spec, Status};

/// The hidden first argument that makes our binary a supervisor.
pub const SUPERVISE: &str = "__supervise";
/// Set in every supervised program, to a value of its own: a process that lost its supervisor is found
/// by it. Agents and gates must not rely on it.
pub const MARKER: &str = "NIGHTSHIFT_RUN";
/// From the first signal to the second, unless the program says otherwise. Claude Code needs it to
/// write its result, and with it the cost.
pub const GRACE: Duration = Duration::from_secs(10);
/// 64 MiB for each stream.
pub const OUTPUT_LIMIT: u64 = 64 * 1024 * 1024;

/// A supervisor needs no longer than this beyond the grace: 5 s to SIGKILL, 10 s to sweep, 2 s to drain,
/// and some to be scheduled on a busy machine. After that we end it ourselves.
const PATIENCE: Duration = Duration::from_secs(25);

/// Why a program could not be run. Its own failure is no error: see [`Exit`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such program.
    #[error("`{program}` was not found")]
    NotFound {
        /// As it was asked for.
        program: String,
    },
    /// The program is there and cannot be executed: no permission, or its interpreter is missing.
    #[error("`{program}` cannot be executed: {message}")]
    NotExecutable {
        /// As it was asked for.
        program: String,
        /// The system's words.
        message: String,
    },
    /// The directory to run in is not there.
    #[error("the directory `{dir}` is not there", dir = dir.display())]
    NoDirectory {
        /// The directory.
        dir: PathBuf,
    },
    /// A file for the output could not be opened.
    #[error("could not open the output file {message}")]
    Output {
        /// The path, and the system's words.
        message: String,
    },
    /// The system refused to start the program, or our supervisor.
    #[error("could not start `{program}`: {message}")]
    NotStarted {
        /// As it was asked for.
        program: String,
        /// The system's words.
        message: String,
    },
    /// Somebody ended the supervisor. What it had started was killed.
    #[error("the supervisor of {label} was ended from outside; {killed} processes were killed")]
    SupervisorLost {
        /// What was running.
        label: String,
        /// How many processes were still there.
        killed: u32,
    },
    /// A trusted program did not end in its time and was killed.
    #[error("`{program}` did not end within {seconds} s")]
    TimedOut {
        /// As it was asked for.
        program: String,
        /// The limit.
        seconds: u64,
    },
}

/// What to run, and where its output goes.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program and its arguments. A name without `/` is looked up in the environment's `PATH`.
    pub argv: Vec<String>,
    /// The working directory.
    pub dir: PathBuf,
    /// All that it sees of our environment.
    pub environment: Environment,
    /// The file for standard output. Made or emptied; readable only by us.
    pub stdout: PathBuf,
    /// The file for standard error. Made or emptied; readable only by us.
    pub stderr: PathBuf,
    /// Bytes kept of each stream. Of more, the beginning and the last part are kept (at most 1 MiB, a
    /// quarter of the limit), with a line between them that says how much is missing.
    pub output_limit: u64,
    /// From SIGINT to SIGTERM when [`Supervisor::run`] has to stop it. Zero kills at once.
    pub grace: Duration,
    /// What to call it in messages.
    pub label: String,
}

impl Program {
    /// A program with the usual limits, labelled with its own name.
    pub fn new(
        argv: Vec<String>,
        dir: &Path,
        environment: Environment,
        stdout: &Path,
        stderr: &Path,
    ) -> Program {
        Program {
            label: argv.first().cloned().unwrap_or_default(),
            argv,
            dir: dir.into(),
            environment,
            stdout: stdout.into(),
            stderr: stderr.into(),
            output_limit: OUTPUT_LIMIT,
            grace: GRACE,
        }
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// By itself, with this code.
    Code(i32),
    /// By this signal, ours or another's.
    Signal(i32),
}

/// Everything about a program's end. When this is there, nothing of its tree runs any more, unless
/// `left` says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// How the program itself ended.
    pub ended: Ended,
    /// Processes that it left behind and that were killed.
    pub survivors: u32,
    /// Their short names, at most ten, each once.
    pub survivor_names: Vec<String>,
    /// Processes that the kernel could not end, or that belong to another user.
    pub left: u32,
    /// Milliseconds from its start to its end.
    pub millis: u64,
    /// True when output was left out: too long, or the disk was full.
    pub output_cut: bool,
}

/// Why [`Supervisor::run`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The program ended by itself.
    Ended,
    /// Its time was over, and it was stopped.
    TimedOut,
    /// The night was asked to stop at once.
    Interrupted,
}

/// A program that was run to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// How it ended.
    pub exit: Exit,
    /// Who ended it.
    pub why: Why,
}

/// Starts programs under supervision.
#[derive(Clone, Debug)]
pub struct Supervisor {
    /// Our own binary, which runs as the supervisor when started with `__supervise`.
    pub exe: PathBuf,
}

/// Processes that this door started and that have not ended. Anything else below us is an orphan.
static CHILDREN: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
/// True when orphans of lost supervisors come to us.
static REAPER: AtomicBool = AtomicBool::new(false);
static RUNS: AtomicU64 = AtomicU64::new(1);

fn children() -> MutexGuard<'static, BTreeSet<i32>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes orphans of a supervisor that was killed our own children, so that they are found and ended.
/// Called once, at the start of a night. From then on no other code may start processes.
pub fn adopt_orphans() -> std::io::Result<()> {
    tree::adopt_orphans()?;
    REAPER.store(true, Ordering::SeqCst);
    Ok(())
}

/// Where a program is: the path itself if it is one, else the first fit in the environment's `PATH`.
pub fn find_program(name: &str, environment: &Environment) -> Option<PathBuf> {
    let fits = |path: &Path| {
        path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
    };
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![name.into()]
    } else {
        let path = environment.get("PATH").unwrap_or_default();
        path.split(':').map(|directory| Path::new(directory).join(name)).collect()
    };
    candidates.into_iter().find(|candidate| !name.is_empty() && fits(candidate))
}

impl Supervisor {
    /// Starts a program and comes back when it runs.
    pub async fn start(&self, program: Program) -> Result<Running, Error> {
        let name = program.argv.first().cloned().unwrap_or_default();
        let not_started = |message: String| Error::NotStarted { program: name.clone(), message };
        let marker = format!("{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::SeqCst));
        let mut environment = program.environment;
        environment.set(MARKER, &marker);
        let spec = Frame::Spec(Box::new(Spec {
            argv: program.argv,
            dir: program.dir.clone(),
            environment: environment.pairs().clone(),
            stdout: program.stdout,
            stderr: program.stderr,
            output_limit: program.output_limit,
        }));
        let spec = spec.encode().map_err(|error| not_started(error.to_string()))?;
        let (pid, control, status) =
            launch(&self.exe).map_err(|error| not_started(error.to_string()))?;
        // Fails only if the supervisor is gone, and then the status channel says so.
        let _ = control.send(spec);
        let mut running = Running {
            control,
            status,
            supervisor: pid,
            label: program.label,
            marker: format!("{MARKER}={marker}"),
            pid: 0,
            ended: None,
            swept: None,
        };
        match running.status.recv().await {
            Some(Status::Started { pid }) => {
                running.pid = pid;
                Ok(running)
            }
            Some(Status::Failed { kind, message }) => Err(match kind {
                Failed::NotFound => Error::NotFound { program: name },
                Failed::NotExecutable => Error::NotExecutable { program: name, message },
                Failed::NoDirectory => Error::NoDirectory { dir: program.dir },
                Failed::Output => Error::Output { message },
                Failed::Other => not_started(message),
            }),
            Some(Status::Ended { .. } | Status::Swept { .. }) | None => {
                running.lost().await;
                Err(not_started(format!("{} is no supervisor", self.exe.display())))
            }
        }
    }

    /// Runs a program to its end: gives it `input` and closes its standard input, and stops it when its
    /// time is over or the night is to stop at once.
    pub async fn run(
        &self,
        program: Program,
        input: &[u8],
        time_limit: Duration,
        stop: &Stop,
    ) -> Result<Completed, Error> {
        let grace = program.grace;
        let mut running = self.start(program).await?;
        running.send(input);
        running.close_stdin();
        let why = tokio::select! {
            exit = running.wait() => return Ok(Completed { exit: exit?, why: Why::Ended }),
            () = tokio::time::sleep(time_limit) => Why::TimedOut,
            () = stop.now() => Why::Interrupted,
        };
        Ok(Completed { exit: running.finish(grace).await?, why })
    }
}

type Channels = (i32, blocking::Sender<Vec<u8>>, mpsc::UnboundedReceiver<Status>);

/// Starts a supervisor. Two threads carry its channels, so that nothing here ever blocks on it.
fn launch(exe: &Path) -> std::io::Result<Channels> {
    let (reader, mut writer) = std::io::pipe()?;
    let nothing: [(String, String); 0] = [];
    let expression = duct::cmd(exe, [SUPERVISE])
        .full_env(nothing)
        .dir("/")
        .stdin_file(reader)
        .stderr_null()
        .unchecked();
    let handle = {
        let mut children = children();
        let handle = expression.reader()?;
        children.extend(handle.pids().first().and_then(|pid| i32::try_from(*pid).ok()));
        handle
    };
    // The expression holds the reading end; while it is open, a write to a dead supervisor would hang.
    drop(expression);
    let pid = handle.pids().first().and_then(|pid| i32::try_from(*pid).ok()).unwrap_or(0);

    let (control, frames) = blocking::channel::<Vec<u8>>();
    thread::spawn(move || {
        for frame in frames {
            if writer.write_all(&frame).is_err() {
                return;
            }
        }
    });
    let (sender, status) = mpsc::unbounded_channel();
    thread::spawn(move || {
        // The last read waits for the supervisor's end.
        for line in BufReader::new(&handle).lines().map_while(Result::ok) {
            if let Ok(status) = serde_json::from_str(&line) {
                let _ = sender.send(status);
            }
        }
        children().remove(&pid);
    });
    Ok((pid, control, status))
}

/// A program under supervision. Dropping it kills the program and all that it started.
#[derive(Debug)]
pub struct Running {
    control: blocking::Sender<Vec<u8>>,
    status: mpsc::UnboundedReceiver<Status>,
    supervisor: i32,
    label: String,
    marker: String,
    pid: i32,
    ended: Option<(Ended, u64)>,
    swept: Option<Swept>,
}

#[derive(Debug)]
struct Swept {
    survivors: u32,
    names: Vec<String>,
    left: u32,
    output_cut: bool,
}

impl Running {
    /// The program's process id, for messages.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends bytes to the program's standard input. Never blocks; a program that does not read them
    /// loses them.
    pub fn send(&self, bytes: &[u8]) {
        // Small frames, so that a stop does not wait behind a long one.
        for chunk in bytes.chunks(64 * 1024) {
            self.tell(&Frame::Data(chunk.to_vec()));
        }
    }

    /// Ends the program's standard input.
    pub fn close_stdin(&self) {
        self.tell(&Frame::Close);
    }

    /// Begins to stop it: SIGINT to its process group, after `grace` SIGTERM, after 5 s more SIGKILL to
    /// all that is left. Zero kills at once. Comes back before that is done: see [`Running::wait`].
    pub fn stop(&self, grace: Duration) {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.tell(&Frame::Stop { grace_ms });
    }

    /// A supervisor that is gone is noticed by `wait`.
    fn tell(&self, frame: &Frame) {
        if let Ok(bytes) = frame.encode() {
            let _ = self.control.send(bytes);
        }
    }

    /// Waits until the program has ended and nothing of its tree is left. May be dropped and called
    /// again.
    pub async fn wait(&mut self) -> Result<Exit, Error> {
        while let Some(status) = self.status.recv().await {
            match status {
                Status::Ended { ended, millis } => self.ended = Some((ended, millis)),
                Status::Swept { survivors, names, left, output_cut } => {
                    self.swept = Some(Swept { survivors, names, left, output_cut });
                }
                Status::Started { .. } | Status::Failed { .. } => {}
            }
        }
        let (Some(swept), Some((ended, millis))) = (self.swept.take(), self.ended) else {
            return Err(self.lost().await);
        };
        Ok(Exit {
            ended,
            survivors: swept.survivors,
            survivor_names: swept.names,
            left: swept.left,
            millis,
            output_cut: swept.output_cut,
        })
    }

    /// Stops it and waits for its end, at most as long as the ladder can take: a supervisor that does
    /// not answer is ended, and its tree with it.
    pub async fn finish(&mut self, grace: Duration) -> Result<Exit, Error> {
        self.stop(grace);
        match tokio::time::timeout(grace + PATIENCE, self.wait()).await {
            Ok(result) => result,
            Err(_) => {
                if let Some(pid) = rustix::process::Pid::from_raw(self.supervisor)
                    && children().contains(&self.supervisor)
                {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
                Err(self.lost().await)
            }
        }
    }

    /// The supervisor is gone without a word. Ends what it left: what carries our mark, and, where
    /// orphans come to us, every child that this door did not start.
    async fn lost(&self) -> Error {
        let marker = self.marker.clone();
        let swept = tokio::task::spawn_blocking(move || {
            let end = Instant::now() + Duration::from_secs(10);
            let (mut killed, mut quiet) = (BTreeSet::new(), 0);
            // Two looks without a find: one could fall between a fork and the death of the parent.
            while quiet < 2 && Instant::now() < end {
                let mut found = tree::kill_marked(&marker);
                if REAPER.load(Ordering::SeqCst) {
                    let known = children();
                    found.extend(tree::kill_strangers(&known));
                }
                quiet = if found.is_empty() { quiet + 1 } else { 0 };
                killed.extend(found);
                thread::sleep(Duration::from_millis(5));
            }
            killed.len()
        });
        let killed = swept.await.unwrap_or(0);
        Error::SupervisorLost {
            label: self.label.clone(),
            killed: u32::try_from(killed).unwrap_or(u32::MAX),
        }
    }
}
