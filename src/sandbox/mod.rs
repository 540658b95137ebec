//! Walls: what a program that we do not trust may see and do.
//!
//! [`Walls`] say it; the second stage of a supervisor puts them up around itself and becomes the program.
//! Everything that they do not name is not there (T2) or not allowed (T1). Never decides what a program may
//! see: the runner does. Never starts anything but the program itself.

mod enter;
#[cfg(target_os = "linux")]
pub mod linux;
pub mod macos;
mod passing;
pub mod trial;

use std::{fmt, io, path::PathBuf};

use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
pub use enter::{Entry, enter};
pub use enter::{READY, Refusal, Refused};
pub use passing::{pass, passed};

/// How much stands around a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Linux with user namespaces: its own files, processes, network and loopback, and all of T1.
    T2,
    /// Linux without: Landlock, seccomp, limits.
    T1,
    /// macOS: `sandbox-exec`.
    Mac,
    /// Nothing. Only by the user's own configuration, and every report says so.
    None,
}

impl Tier {
    /// Its name in reports, receipts and journals.
    pub fn name(self) -> &'static str {
        match self {
            Tier::T2 => "t2",
            Tier::T1 => "t1",
            Tier::Mac => "mac",
            Tier::None => "none",
        }
    }

    /// What it does not stop, each in a few words. Named wherever the tier is.
    pub fn gaps(self) -> &'static [&'static str] {
        match self {
            Tier::T2 => &[
                "a service whose socket lies where programs may read (/usr, /opt, /etc) is reached",
            ],
            Tier::T1 => &[
                "modes and times of files outside can be changed (chmod, touch), not their contents",
                "names and arguments of your other programs can be seen",
                "your other programs can be made slower (scheduling), not stopped",
                "any host that listens on the proxy's port can be reached",
                "all tasks share the machine's ports, and other machines can connect to them",
            ],
            Tier::Mac => &["system calls are not filtered", "all tasks share the machine's ports"],
            Tier::None => &["everything that your account may do"],
        }
    }
}

/// What a program may see and do. Paths are absolute and the same inside and outside, but for `tmp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// What carries them; never [`Tier::None`].
    pub tier: Tier,
    /// Files and directories that it may read and execute. One that is not there is left out. In T2 `/proc`,
    /// `/dev`, `/tmp`, `/var/tmp` and an empty `/run` are its own, whatever is named here; `/` is an error.
    pub read: Vec<PathBuf>,
    /// Files and directories that it may also write. They exist, and no symbolic link leads there.
    pub write: Vec<PathBuf>,
    /// Files and directories below `read` that are empty inside: credentials. T2 only; in T1 `read` must not
    /// hold them.
    pub hidden: Vec<PathBuf>,
    /// Directories made of layers. T2 only.
    pub overlays: Vec<Overlay>,
    /// A private directory: `/tmp` in T2, and writable under its own name in T1.
    pub tmp: PathBuf,
    /// Whom it may talk to.
    pub network: Network,
    /// What it may use up.
    pub limits: Limits,
}

/// A directory made of layers, mounted inside only. What the program changes is in `upper`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Where it appears; one that does not exist outside is made inside.
    pub at: PathBuf,
    /// Read-only layers, the topmost first; at least one.
    pub lower: Vec<PathBuf>,
    /// What the program makes, changes and removes.
    pub upper: PathBuf,
    /// The kernel's own directory, on the file system of `upper`.
    pub work: PathBuf,
}

/// Whom a program may talk to. Never by UDP, raw sockets or sockets of other programs' services, except with
/// [`Network::Host`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Nobody. In T2 it has a loopback of its own; in T1 it can listen and not connect.
    Nobody,
    /// One server of ours. In T2 on `127.0.0.1:PORT` of its own loopback, where the listening socket is made
    /// before the program starts and handed to us; in T1 on this port of the machine's.
    Ours {
        /// The port.
        port: u16,
    },
    /// The machine's network as it is: for the base's own set-up.
    Host,
}

/// What a program may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processes and threads at a time.
    pub processes: u64,
    /// Bytes in one file.
    pub file_bytes: u64,
    /// Open files of one process.
    pub open_files: u64,
    /// Bytes of memory of all processes together; 0 = no limit.
    pub memory_bytes: u64,
    /// Bytes that must stay free on each disk that is written to; 0 = no limit.
    pub disk_reserve: u64,
}

/// The part of a disk that our own figure asks to stay free, at most: one in so many.
const PART: u64 = 10;

impl Limits {
    /// Bytes that must stay free of a disk of `total` bytes; 0 = no limit. Our own figure is meant for large
    /// disks: a tenth of a small one, or no night could run there. What a person wrote is meant as it stands.
    pub fn reserve_of(&self, total: u64) -> u64 {
        if self.disk_reserve == Limits::default().disk_reserve {
            self.disk_reserve.min(total / PART)
        } else {
            self.disk_reserve
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            // safety.md, tiers: enough for any build, and a fork bomb ends in a second.
            processes: 2048,
            file_bytes: 8 << 30,
            open_files: 8192,
            memory_bytes: 0,
            disk_reserve: 1 << 30,
        }
    }
}

/// A wall that could not be put up.
#[derive(Debug, thiserror::Error)]
#[error("could not {deed}: {source}")]
pub struct Error {
    deed: String,
    source: io::Error,
}

impl Error {
    /// Wraps an error of the system with what was tried, as in "could not mount /proc: …".
    pub fn at<E: Into<io::Error>>(deed: impl fmt::Display) -> impl FnOnce(E) -> Error {
        move |source| Error { deed: deed.to_string(), source: source.into() }
    }
}
