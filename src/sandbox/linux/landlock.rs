//! Landlock: which files a program may open, which TCP ports it may connect to, whom it may signal.
//!
//! The floor of T1, where nothing else separates the program from the user's files, and a second wall behind
//! the mounts of T2. It holds for the calling thread and everything that it starts, for good.
//!
//! Never decides which paths; never grants one that the walls do not name, but for the few without which no
//! program runs. What Landlock does not stop on any kernel: `stat`, `chmod`, `chown`, `utimes`, `setxattr`
//! and `flock` of files outside, UDP, sockets with a path. `seccomp` closes the sockets; the rest is a
//! named gap of T1.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use super::plan;
use crate::sandbox::{Network, Tier, Walls};

/// Devices that every program may use in T1. Their directory is not granted: for the user root it holds the
/// disks, and its terminals (`pts`) and shared memory (`shm`) are other programs' too.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// What T2's own mounts bring besides the paths of the walls. All of it is private there.
const PRIVATE: [&str; 3] = ["/tmp", "/var/tmp", "/dev"];
/// Readable in both tiers, since nothing runs without it, and writable in none: the user root may change the
/// kernel's settings below it even without capabilities. The memory, environment and files of programs
/// outside are behind the kernel's ptrace check, which Landlock makes fail for them.
const PROC: &str = "/proc";

/// Reading, writing, renaming between directories (ABI 2), truncating (ABI 3): what T1 must have. With the
/// rules for TCP that makes ABI 4: Linux 6.7, January 2024.
const FILES: ABI = ABI::V3;
/// With `ioctl` on devices (Linux 6.10). Taken where it is there.
const FILES_AND_DEVICES: ABI = ABI::V5;
/// Signals and abstract sockets stay inside (Linux 6.12). Taken where they are there; see [`gaps`].
const SCOPES: ABI = ABI::V6;

/// Restricts the calling thread and all that it starts from now on.
///
/// In T1 a kernel without Landlock's ABI 4 is an error. T2 holds without Landlock, so there it is left out on
/// kernels below ABI 3; the very first forbids every rename between two directories.
///
/// A path to write is an error when it is not there, or when it goes through a symbolic link in a directory that
/// the program may write: it could have put the link there in an earlier attempt, and would be given what it
/// leads to.
pub fn restrict(walls: &Walls) -> io::Result<()> {
    let floor = walls.tier != Tier::T2;
    if !floor && required(false).and_then(Ruleset::create).is_err() {
        return Ok(());
    }
    let connects = floor && walls.network != Network::Host;
    let rules = required(connects)
        .and_then(|rules| {
            rules
                .set_compatibility(CompatLevel::BestEffort)
                .handle_access(AccessFs::from_all(FILES_AND_DEVICES))?
                .scope(Scope::from_all(SCOPES))?
                .create()
        })
        .map_err(|error| {
            io::Error::other(format!(
                "this kernel's Landlock cannot hold tier t1, which needs Linux 6.7 with \
                 CONFIG_SECURITY_LANDLOCK and `landlock` among its `lsm=`: {error}"
            ))
        })?;
    let mut rules = grant(rules, walls)?;
    if let (true, Network::Ours { port }) = (connects, &walls.network) {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp)).map_err(words)?;
    }
    let status = rules.restrict_self().map_err(words)?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(io::Error::other("Landlock does not enforce its rules"));
    }
    Ok(())
}

/// What T1 lacks on this kernel beyond [`Tier::gaps`], each in a few words. Restricts nothing.
pub fn gaps() -> Vec<&'static str> {
    let scopes = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .scope(Scope::from_all(SCOPES))
        .and_then(Ruleset::create);
    match scopes {
        Ok(_) => Vec::new(),
        Err(_) => vec![
            "your other programs can be sent signals (closed from Linux 6.12 on)",
            "sockets with abstract names are those of the machine (closed from Linux 6.12 on)",
        ],
    }
}

/// The rights without which it is no wall.
fn required(connects: bool) -> Result<Ruleset, RulesetError> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(FILES))?;
    // Binding stays free: tests listen. In T2 the network is a namespace.
    if connects { rules.handle_access(AccessNet::ConnectTcp) } else { Ok(rules) }
}

/// The walls' paths, as rules.
fn grant(mut rules: RulesetCreated, walls: &Walls) -> io::Result<RulesetCreated> {
    let all = AccessFs::from_all(FILES_AND_DEVICES);
    let read = AccessFs::from_read(FILES_AND_DEVICES);
    let private: &[&str] = if walls.tier == Tier::T2 {
        // The names of what is there; everything that is there was put there for this program.
        rules = beneath(
            rules,
            &open(Path::new("/"), ResolveFlags::empty())?,
            AccessFs::ReadDir.into(),
        )?;
        &PRIVATE
    } else {
        &DEVICES
    };
    for path in walls.read.iter().map(AsRef::as_ref).chain([Path::new(PROC)]) {
        if let Some(file) = if_there(path)? {
            rules = beneath(rules, &file, read)?;
        }
    }
    for path in private {
        if let Some(file) = if_there(Path::new(path))? {
            rules = beneath(rules, &file, all)?;
        }
    }
    for path in writable(walls)? {
        rules = beneath(rules, &open(&path, ResolveFlags::NO_SYMLINKS)?, all)?;
    }
    Ok(rules)
}

/// The real names of all paths to write.
fn writable(walls: &Walls) -> io::Result<Vec<PathBuf>> {
    let tmp = (walls.tier != Tier::T2).then_some(&walls.tmp);
    let overlays = walls.overlays.iter().map(|overlay| &overlay.at);
    let mut real = Vec::new();
    for path in walls.write.iter().chain(overlays).chain(tmp) {
        real.push(plan::follow(path).map_err(|error| around(path, &error))?);
    }
    for link in real.iter().flat_map(|real| &real.links) {
        if real.iter().any(|other| link.at.starts_with(&other.path)) {
            let problem = "it is a symbolic link in a directory that the program may write; name where \
                           it leads to";
            return Err(around(&link.at, &io::Error::other(problem)));
        }
    }
    Ok(real.into_iter().map(|real| real.path).collect())
}

fn around(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("walls around {}: {error}", path.display()))
}

/// A path to read. One that is not there, or that we may not see either, is left out.
fn if_there(path: &Path) -> io::Result<Option<OwnedFd>> {
    match open(path, ResolveFlags::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn open(path: &Path, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve)
        .map_err(|error| around(path, &error.into()))
}

/// One rule. Rights that only directories have are taken off files.
fn beneath(
    rules: RulesetCreated,
    file: &OwnedFd,
    access: BitFlags<AccessFs>,
) -> io::Result<RulesetCreated> {
    let mode = rustix::fs::fstat(file)?.st_mode;
    let directory = FileType::from_raw_mode(mode) == FileType::Directory;
    let access = if directory { access } else { access & AccessFs::from_file(FILES_AND_DEVICES) };
    rules.add_rule(PathBeneath::new(file, access)).map_err(words)
}

fn words(error: RulesetError) -> io::Error {
    io::Error::other(format!("Landlock: {error}"))
}
