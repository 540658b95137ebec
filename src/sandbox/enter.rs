//! The second stage: puts the walls up around itself and becomes the program.
//!
//! It is our own binary, started by a supervisor as `__enter` with an empty environment and a socket as its
//! standard input. From there come the [`Entry`] and the program's real standard input; back goes a byte when
//! the walls stand, and a [`Refused`] when something could not be done. The socket closes when the program
//! is there. The program never runs without all of its walls. Never decides which.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use serde::{Deserialize, Serialize};

use super::{Error, Tier, Walls, macos, passed};
#[cfg(target_os = "linux")]
use crate::sys;

/// The hidden first argument that makes our binary the second stage.
pub const ENTER: &str = "__enter";
/// What it says when the walls stand.
pub const READY: u8 = b'.';

/// The kernel's limit of processes is higher by so many than that of the walls.
#[cfg(target_os = "linux")]
const MORE_PROCESSES: u64 = 128;

/// What to become.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What to put up before.
    pub walls: Walls,
    /// The usual priority (`nice`), which a supervisor's own may be above.
    pub priority: i32,
    /// The program and its arguments, looked up inside the walls.
    pub argv: Vec<String>,
    /// The working directory, inside the walls.
    pub dir: PathBuf,
    /// All that the program sees of an environment.
    pub environment: BTreeMap<String, String>,
}

/// Why there is no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// There is no such program.
    NotFound,
    /// It is there and cannot be executed.
    NotExecutable,
    /// The working directory is not there.
    NoDirectory,
    /// A wall could not be put up.
    Walls,
    /// The system refused for another reason.
    Other,
}

/// Why there is no program, in words too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The kind.
    pub kind: Refusal,
    /// The system's words.
    pub message: String,
}

impl Refused {
    /// What a program that could not be executed means.
    pub fn from_exec(program: &str, dir: &Path, error: &io::Error) -> Refused {
        // "Not found" is also the kernel's answer when a script's interpreter is not there.
        let missing = error.kind() == io::ErrorKind::NotFound;
        let refused = error.kind() == io::ErrorKind::PermissionDenied
            || error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error());
        let there = program.contains('/') && dir.join(program).exists();
        let kind = if missing && !there {
            Refusal::NotFound
        } else if missing || refused {
            Refusal::NotExecutable
        } else {
            Refusal::Other
        };
        Refused { kind, message: error.to_string() }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused { kind: Refusal::Walls, message: error.to_string() }
    }
}

/// Becomes a program behind its walls. The entry behind the hidden argument `__enter`; comes back only when
/// that failed.
pub fn enter_main() -> ExitCode {
    // Without the socket there is nobody to tell.
    if let Ok(socket) = io::stdin().as_fd().try_clone_to_owned() {
        let mut socket = UnixStream::from(socket);
        let refused = enter(&mut socket);
        let _ = socket.write_all(&serde_json::to_vec(&refused).unwrap_or_default());
    }
    ExitCode::FAILURE
}

fn enter(socket: &mut UnixStream) -> Refused {
    let other = |error: io::Error| Refused { kind: Refusal::Other, message: error.to_string() };
    match prepare(socket) {
        Err(refused) => refused,
        Ok((entry, stdin)) => match socket.write_all(&[READY]) {
            Ok(()) => become_program(&entry, stdin),
            Err(error) => other(error),
        },
    }
}

fn prepare(socket: &mut UnixStream) -> Result<(Entry, OwnedFd), Refused> {
    let stdin = passed(socket).map_err(Error::at("take the program's input"))?;
    let mut text = Vec::new();
    socket.read_to_end(&mut text).map_err(Error::at("read what to start"))?;
    let entry: Entry = serde_json::from_slice(&text)
        .map_err(|error| Error::at("read what to start")(io::Error::from(error)))?;
    rustix::process::setpriority_process(None, entry.priority)
        .map_err(Error::at("take the usual priority"))?;
    put_up(entry.walls.clone())?;
    Ok((entry, stdin))
}

/// Each wall holds for this process and all that it starts. The filter of system calls is the last one: it
/// forbids what the others are made with.
#[cfg(target_os = "linux")]
fn put_up(mut walls: Walls) -> Result<(), Error> {
    use super::linux::{landlock, limits, mounts, seccomp};
    // Whoever started us may have left some open, and what is open is behind no wall.
    sys::close_all_at_exec().map_err(Error::at("keep descriptors from the program"))?;
    match walls.tier {
        Tier::T2 => {
            mounts::build(&walls)?;
            walls.read.extend(mounts::OF_THE_MACHINE.map(PathBuf::from));
        }
        Tier::T1 => {}
        Tier::Mac | Tier::None => return Err(foreign(&walls)),
    }
    // Above the one that the supervisor counts to, who can say what happened; this one only refuses.
    walls.limits.processes = walls.limits.processes.saturating_add(MORE_PROCESSES);
    limits::apply(&walls).map_err(Error::at("set limits"))?;
    limits::drop_privileges().map_err(Error::at("drop privileges"))?;
    landlock::restrict(&walls).map_err(Error::at("restrict files and network"))?;
    seccomp::install(&walls).map_err(Error::at("filter system calls"))
}

/// The walls of macOS are the program's: it is started by `sandbox-exec`.
#[cfg(not(target_os = "linux"))]
fn put_up(walls: Walls) -> Result<(), Error> {
    match walls.tier {
        Tier::Mac => Ok(()),
        Tier::T2 | Tier::T1 | Tier::None => Err(foreign(&walls)),
    }
}

fn foreign(walls: &Walls) -> Error {
    let system = std::env::consts::OS;
    let problem = format!("tier {} is not for {system}", walls.tier.name());
    Error::at("choose walls")(io::Error::other(problem))
}

#[expect(
    clippy::disallowed_methods,
    reason = "this process becomes the program; it starts no other"
)]
fn become_program(entry: &Entry, stdin: OwnedFd) -> Refused {
    let argv = match entry.walls.tier {
        Tier::Mac => macos::command(&entry.walls, &entry.argv),
        Tier::T2 | Tier::T1 | Tier::None => entry.argv.clone(),
    };
    let Some((program, arguments)) = argv.split_first() else {
        return Refused { kind: Refusal::NotFound, message: "no program given".into() };
    };
    if !entry.dir.is_dir() {
        return Refused { kind: Refusal::NoDirectory, message: entry.dir.display().to_string() };
    }
    let error = Command::new(program)
        .args(arguments)
        .current_dir(&entry.dir)
        .env_clear()
        .envs(&entry.environment)
        .stdin(Stdio::from(stdin))
        .exec();
    Refused::from_exec(program, &entry.dir, &error)
}
