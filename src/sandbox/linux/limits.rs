//! What one program may use up, and the rights that it loses.
//!
//! Both hold for the calling process and all that it starts. Limits of the whole tree (memory, free disk)
//! are the supervisor's: the kernel has none without a control group. Never raises anything.

use std::{fs::OpenOptions, io, io::Write as _};

use rustix::{
    io::Errno,
    process::{Resource, Rlimit},
    thread::{CapabilitySet, CapabilitySets},
};

use crate::sandbox::Walls;

/// Among programs that fill the memory, ours end before the user's. The value of GitHub's runner.
const FIRST_TO_GO: &str = "500";
/// Capability numbers are tried up to the largest that the kernel's 64-bit sets can hold; it ends earlier, at
/// the first that the kernel does not know.
const CAPABILITIES: u32 = 64;

/// Sets the limits of the walls, no core files, and the usual modes of new files.
///
/// A limit is never set above the one that is there. The number of processes does not bind the user root:
/// the kernel leaves it out, with or without capabilities.
pub fn apply(walls: &Walls) -> io::Result<()> {
    let limits = &walls.limits;
    for (resource, name, value) in [
        (Resource::Nproc, "processes", limits.processes),
        (Resource::Fsize, "bytes in a file", limits.file_bytes),
        (Resource::Nofile, "open files", limits.open_files),
        (Resource::Core, "bytes in a core file", 0),
    ] {
        let hard = rustix::process::getrlimit(resource).maximum;
        let value = Some(hard.map_or(value, |hard| hard.min(value)));
        let limit = Rlimit { current: value, maximum: value };
        rustix::process::setrlimit(resource, limit)
            .map_err(|error| io::Error::other(format!("limit of {name}: {error}")))?;
    }
    // A help for the user's other programs, no wall: some containers refuse it.
    let _ = OpenOptions::new()
        .write(true)
        .open("/proc/self/oom_score_adj")
        .and_then(|mut file| file.write_all(FIRST_TO_GO.as_bytes()));
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    Ok(())
}

/// Gives up every capability for good, also for the user root of a user namespace and of the machine: after
/// the next exec there is none, and no program can bring one back.
///
/// Only the calling thread loses them: called where there is one. Fails when anything is left.
pub fn drop_privileges() -> io::Result<()> {
    let problem = |what: &str, error: Errno| io::Error::other(format!("{what}: {error}"));
    // First, since it makes the rest final: with it no exec adds to what we have.
    rustix::thread::set_no_new_privs(true).map_err(|error| problem("no_new_privs", error))?;
    rustix::thread::clear_ambient_capability_set()
        .map_err(|error| problem("ambient capabilities", error))?;
    for number in 0..CAPABILITIES {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // Beyond the kernel's last one.
            Err(Errno::INVAL) => break,
            // Without CAP_SETPCAP. What we do not have cannot come back through the bounding set, because of
            // `no_new_privs`.
            Err(Errno::PERM) => break,
            Err(error) => return Err(problem("bounding capabilities", error)),
        }
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).map_err(|error| problem("capabilities", error))?;
    let left =
        rustix::thread::capabilities(None).map_err(|error| problem("capabilities", error))?;
    if left != sets || !rustix::thread::no_new_privs().is_ok_and(|set| set) {
        return Err(io::Error::other("the kernel kept some of our capabilities"));
    }
    Ok(())
}
