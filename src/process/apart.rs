//! A supervisor in a world of its own: the process that the runner started steps out of the machine's
//! namespaces and starts itself again inside, as the first process there.
//!
//! The one outside only waits. When it dies, the kernel kills the one inside; when that dies, the kernel
//! kills all that is inside. Never reads what the runner says behind the first frame.

use std::{io, process::ExitCode};

#[cfg(target_os = "linux")]
use std::{
    io::Write as _,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::Command,
};

#[cfg(target_os = "linux")]
use rustix::process::Signal;

#[cfg(target_os = "linux")]
use super::{
    guard,
    launch::ourselves,
    supervisor::{ignore_signals, tell},
    tree,
    wire::Status,
};

/// The argument behind `__supervise` for the process inside. Behind it stands the usual priority.
pub(super) const INSIDE: &str = "inside";
/// What the two say to each other over a socket that is the standard error of the one inside.
#[cfg(target_os = "linux")]
const GO: &[u8] = b".";

/// Leaves the namespaces, starts the supervisor inside and waits for its end. Must be called before there is
/// a second thread.
#[cfg(target_os = "linux")]
pub(super) fn leave(host_network: bool) -> io::Result<ExitCode> {
    // The one inside has it from us: there, nobody is allowed to.
    let usual = guard::hurry()?;
    crate::sandbox::linux::apart::leave(host_network).map_err(io::Error::other)?;
    let _ = rustix::process::setsid();
    ignore_signals()?;
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut inside = Command::new(ourselves()?)
        .args([super::SUPERVISE, INSIDE, &usual.to_string()])
        .stderr(OwnedFd::from(theirs))
        .spawn()?;
    let pid = i32::try_from(inside.id()).map_err(io::Error::other)?;
    if let Some(first) = tree::identify(pid) {
        tell(&Status::Apart { pid, born: first.born });
    }
    // Not before: the runner hears of the process inside before it hears from it.
    ours.write_all(GO)?;
    let status = inside.wait()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The first steps of the process inside.
#[cfg(target_os = "linux")]
pub(super) fn arrive() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let stderr = io::stderr();
    let mut byte = [0];
    if rustix::io::read(&stderr, &mut byte)? == 0 {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    // It may have died before its end could become ours, and its process id is never visible here. Its
    // socket tells: it fails when nobody has the other end.
    rustix::io::write(&stderr, GO)?;
    crate::sandbox::linux::apart::settle().map_err(io::Error::other)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn leave(_host_network: bool) -> io::Result<ExitCode> {
    Err(io::Error::other("namespaces are only for Linux"))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn arrive() -> io::Result<()> {
    Err(io::Error::other("namespaces are only for Linux"))
}
