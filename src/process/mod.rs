//! The one door to other programs.
//!
//! A program that we do not trust (an agent, a step of a gate) runs under a [`Supervisor`]: a process
//! of ours that gives it a clean environment, bounded output and no terminal, and that ends only when
//! everything below it is dead. It can freeze the program too, so that nothing changes while we look at
//! what it made. If we die, however suddenly, it kills the whole tree. Short programs
//! that we trust (`git`, `claude --version`) go through [`probe()`].
//!
//! Never decides what an exit code means, never retries, never inherits our environment.
#![expect(clippy::disallowed_methods, reason = "this is the door")]

mod apart;
mod environment;
mod guard;
mod launch;
mod probe;
mod pump;
mod running;
mod spare;
mod stop;
mod supervisor;
mod tree;
mod wire;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use environment::Environment;
pub use guard::Breach;
pub use probe::{Output, end_probes, probe, start_and_leave};
pub use running::{Frozen, Running};
pub use stop::{Stop, Urgency};
pub use supervisor::supervise_main;

use crate::{
    faults,
    sandbox::{Network, Tier, Walls},
};
use spare::Spare;
use wire::{Failed, Frame, Spec};

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
/// and some to be scheduled on a busy machine. Nor to freeze: 1 s to stop, 10 s to kill. After that we end
/// it ourselves.
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
    /// A wall could not be put up. The program was not started.
    #[error("could not put up the walls around `{program}`: {message}")]
    Walls {
        /// As it was asked for.
        program: String,
        /// Which wall, and the system's words.
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
    /// What stands around it; `None` = nothing.
    pub walls: Option<Walls>,
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
            walls: None,
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
    /// Processes that it left behind and that were killed, without those of which a [`Frozen`] told.
    pub survivors: u32,
    /// Their short names, at most ten, each once.
    pub survivor_names: Vec<String>,
    /// Processes that the kernel could not end, or that belong to another user.
    pub left: u32,
    /// Milliseconds from its start to its end.
    pub millis: u64,
    /// True when output was left out: too long, or the disk was full.
    pub output_cut: bool,
    /// The limit of its walls for which it was killed.
    pub breach: Option<Breach>,
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
    exe: PathBuf,
    /// Where one waits for the next program, if that is wanted.
    spare: Option<Spare>,
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

/// True when whoever started us asked that the end of the terminal should not end us, as `nohup` does.
#[cfg(target_os = "linux")]
pub fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1) // SIGHUP is 1, the lowest bit
}

/// Not known here: a signal that is ignored is heard all the same.
#[cfg(not(target_os = "linux"))]
pub fn ignores_hangup() -> bool {
    false
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
    /// One that runs our binary `exe`.
    pub fn new(exe: PathBuf) -> Supervisor {
        Supervisor { exe, spare: None }
    }

    /// The same, which has the next supervisor ready when a program behind walls of tier T2 has ended. Its clones
    /// share that one. To be [retired](Supervisor::retire) at the end.
    #[must_use]
    pub fn with_spare(self) -> Supervisor {
        Supervisor { spare: Some(Spare::default()), ..self }
    }

    /// Ends the supervisor that waits for a program, and waits for none from now on.
    pub async fn retire(&self) {
        if let Some(spare) = &self.spare {
            spare.end().await;
        }
    }

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
            walls: program.walls.clone(),
        }));
        // The network of one that starts apart from the machine; `None` = it stays.
        let apart = program
            .walls
            .filter(|walls| walls.tier == Tier::T2)
            .map(|walls| walls.network == Network::Host);
        faults::ask("process.start", &program.label)
            .map_err(|error| not_started(error.to_string()))?;
        let waiting = apart.and_then(|network| self.spare.as_ref()?.take(network));
        let was_waiting = waiting.is_some();
        let fresh = || {
            apart.map_or_else(|| running::launch(&self.exe), |host| spare::apart(&self.exe, host))
        };
        let launch = |channels: std::io::Result<running::Channels>| {
            channels
                .and_then(|channels| {
                    Running::launch(channels, &spec, program.label.clone(), &marker)
                })
                .map_err(|error| not_started(error.to_string()))
        };
        let mut running = launch(waiting.map_or_else(fresh, Ok))?;
        let mut word = running.first_word().await;
        if word.is_none() && was_waiting {
            // It was ended while it waited, or now; then what it started is ended too.
            running.lost().await;
            running = launch(fresh())?;
            word = running.first_word().await;
        }
        match word {
            Some(Ok(())) => {
                if let (Some(spare), Some(host_network)) = (self.spare.clone(), apart) {
                    let exe = self.exe.clone();
                    running.then(move || spare.refill(&exe, host_network));
                }
                Ok(running)
            }
            Some(Err((kind, message))) => Err(match kind {
                Failed::NotFound => Error::NotFound { program: name },
                Failed::NotExecutable => Error::NotExecutable { program: name, message },
                Failed::NoDirectory => Error::NoDirectory { dir: program.dir },
                Failed::Output => Error::Output { message },
                Failed::Walls => Error::Walls { program: name, message },
                Failed::Other => not_started(message),
            }),
            None => {
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
        self.run_with(program, input, time_limit, stop, |_| ()).await
    }

    /// [`Supervisor::run`], with something that is made when the program runs and dropped at its end, such as
    /// the other end of its network.
    pub async fn run_with<T>(
        &self,
        program: Program,
        input: &[u8],
        time_limit: Duration,
        stop: &Stop,
        beside: impl FnOnce(&mut Running) -> T,
    ) -> Result<Completed, Error> {
        let grace = program.grace;
        let mut running = self.start(program).await?;
        let _beside = beside(&mut running);
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
