//! The second stage: puts the walls up around itself and becomes the program.
//!
//! It is a copy of a supervisor. Through a socket goes a byte when the walls stand, and a [`Refused`] when
//! something could not be done. The socket closes when the program is there. The program never runs without
//! all of its walls. Never decides which.

#[cfg(target_os = "linux")]
use std::{
    collections::BTreeMap,
    io::Write,
    os::unix::{net::UnixStream, process::CommandExt},
    path::PathBuf,
    process::Command,
};
use std::{io, path::Path};

use serde::{Deserialize, Serialize};

use super::Error;
#[cfg(target_os = "linux")]
use super::{Tier, Walls};
#[cfg(target_os = "linux")]
use crate::sys;

/// What it says when the walls stand.
pub const READY: u8 = b'.';

/// The kernel's limit of processes is higher by so many than that of the walls.
#[cfg(target_os = "linux")]
const MORE_PROCESSES: u64 = 128;

/// What to become.
#[cfg(target_os = "linux")]
#[derive(Debug)]
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

/// Becomes a program behind its walls, whose standard streams, process group and other belongings of a process
/// `take` sets. Ends the process when that failed.
#[cfg(target_os = "linux")]
pub fn enter(
    entry: Entry,
    mut socket: UnixStream,
    take: impl FnOnce() -> rustix::io::Result<()>,
) -> ! {
    let refused = match prepare(&entry, take) {
        Err(error) => error.into(),
        Ok(()) => match socket.write_all(&[READY]) {
            Ok(()) => become_program(&entry),
            Err(error) => Refused { kind: Refusal::Other, message: error.to_string() },
        },
    };
    let _ = socket.write_all(&serde_json::to_vec(&refused).unwrap_or_default());
    std::process::exit(1)
}

#[cfg(target_os = "linux")]
fn prepare(entry: &Entry, take: impl FnOnce() -> rustix::io::Result<()>) -> Result<(), Error> {
    take().map_err(Error::at("take the program's place"))?;
    rustix::process::setpriority_process(None, entry.priority)
        .map_err(Error::at("take the usual priority"))?;
    put_up(entry.walls.clone())
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

#[cfg(target_os = "linux")]
fn foreign(walls: &Walls) -> Error {
    let problem = format!("tier {} is not for {}", walls.tier.name(), std::env::consts::OS);
    Error::at("choose walls")(io::Error::other(problem))
}

#[cfg(target_os = "linux")]
#[expect(
    clippy::disallowed_methods,
    reason = "this process becomes the program; it starts no other"
)]
fn become_program(entry: &Entry) -> Refused {
    let Some((program, arguments)) = entry.argv.split_first() else {
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
        .exec();
    Refused::from_exec(program, &entry.dir, &error)
}
