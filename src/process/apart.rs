//! A supervisor in a world of its own: the process that the runner started steps out of the machine's
//! namespaces and starts itself again inside, as the first process there.
//!
//! The one outside only waits. When it dies, the kernel kills the one inside; when that dies, the kernel
//! kills all that is inside. Never reads what the runner says behind the first frame.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    process::{Command, ExitCode, Stdio},
};

use rustix::process::Signal;

use super::{
    launch::ourselves,
    supervisor::{ignore_signals, tell},
    tree,
    wire::Status,
};

/// The argument behind `__supervise` for the process inside.
pub(super) const INSIDE: &str = "inside";

/// Leaves the namespaces, starts the supervisor inside and waits for its end. Must be called before there is
/// a second thread.
#[cfg(target_os = "linux")]
pub(super) fn leave(host_network: bool) -> io::Result<ExitCode> {
    crate::sandbox::linux::apart::leave(host_network).map_err(io::Error::other)?;
    let _ = rustix::process::setsid();
    ignore_signals()?;
    // Nobody reads it. The process inside finds out whether we live by writing to it.
    let (_reader, lifeline) = io::pipe()?;
    let mut inside = Command::new(ourselves()?)
        .args([super::SUPERVISE, INSIDE])
        .stderr(Stdio::from(OwnedFd::from(lifeline)))
        .spawn()?;
    let pid = i32::try_from(inside.id()).map_err(io::Error::other)?;
    if let Some(first) = tree::identify(pid) {
        tell(&Status::Apart { pid, born: first.born });
    }
    let status = inside.wait()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The first steps of the process inside.
#[cfg(target_os = "linux")]
pub(super) fn arrive() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before that; its process id is never visible here.
    rustix::io::write(io::stderr().as_fd(), b".")?;
    crate::sandbox::linux::apart::settle().map_err(io::Error::other)
}
