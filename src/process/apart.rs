//! A supervisor in a world of its own: the process that the runner started steps out of the machine's
//! namespaces and copies itself inside, as the first process there.
//!
//! The one outside only waits. When it dies, the kernel kills the one inside; when that dies, the kernel
//! kills all that is inside. Never reads what the runner says behind the first frame.

use std::io;

#[cfg(target_os = "linux")]
use std::{io::Write as _, os::unix::net::UnixStream};

#[cfg(target_os = "linux")]
use rustix::process::{Signal, WaitOptions};

#[cfg(target_os = "linux")]
use super::{
    guard,
    supervisor::{ignore_signals, tell},
    tree,
    wire::Status,
};
#[cfg(target_os = "linux")]
use crate::sys::{self, Forked};

/// What the two say to each other.
#[cfg(target_os = "linux")]
const GO: &[u8] = b".";

/// Which of the two goes on.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "there are no two"))]
pub(super) enum Side {
    /// The one that the runner started. The other has ended, and all that was inside with it.
    Outside,
    /// The first process inside, and the usual priority.
    Inside(i32),
}

/// Leaves the namespaces and comes back inside; and outside, when all is over there. Must be called before
/// there is a second thread.
#[cfg(target_os = "linux")]
pub(super) fn leave(host_network: bool) -> io::Result<Side> {
    // The one inside has it from us: there, nobody is allowed to.
    let usual = guard::hurry()?;
    crate::sandbox::linux::apart::leave(host_network).map_err(io::Error::other)?;
    let _ = rustix::process::setsid();
    let (mut ours, theirs) = UnixStream::pair()?;
    let pid = match sys::fork()? {
        Forked::Child => {
            drop(ours);
            return arrive(theirs).map(|()| Side::Inside(usual));
        }
        Forked::Parent(pid) => pid,
    };
    drop(theirs);
    if let Some(first) = tree::identify(pid) {
        tell(&Status::Apart { pid, born: first.born });
    }
    // Not before: the runner hears of the process inside before it hears from it.
    ours.write_all(GO)?;
    ignore_signals()?;
    while let Err(rustix::io::Errno::INTR) = rustix::process::wait(WaitOptions::empty()) {}
    Ok(Side::Outside)
}

/// The first steps of the process inside.
#[cfg(target_os = "linux")]
fn arrive(outside: UnixStream) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    crate::sandbox::linux::apart::settle().map_err(io::Error::other)?;
    let mut byte = [0];
    if rustix::io::read(&outside, &mut byte)? == 0 {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    // It may have died before its end could become ours, and its process id is never visible here. Its
    // socket tells: it fails when nobody has the other end.
    rustix::io::write(&outside, GO)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn leave(_host_network: bool) -> io::Result<Side> {
    Err(io::Error::other("namespaces are only for Linux"))
}
