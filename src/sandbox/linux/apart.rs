//! A world of its own for one supervisor: users, mounts, processes, network, host name.
//!
//! Two processes do it. The one that the runner started calls [`leave`] and stays outside as the parent;
//! its only child is the first process inside and calls [`settle`]. Never starts that child.

use std::{io, io::Write as _};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType},
    thread::{CapabilitySet, CapabilitySets},
};

use super::super::Error;

/// What the first process inside needs: to mount, to drop privileges again, and to handle files of an
/// overlay as their owner would. Nothing of it is held outside of the new user namespace.
const NEEDED: [CapabilitySet; 8] = [
    CapabilitySet::SYS_ADMIN,
    CapabilitySet::SETPCAP,
    CapabilitySet::CHOWN,
    CapabilitySet::DAC_OVERRIDE,
    CapabilitySet::DAC_READ_SEARCH,
    CapabilitySet::FOWNER,
    CapabilitySet::FSETID,
    CapabilitySet::KILL,
];

/// Leaves the machine's namespaces. The process itself keeps its process namespace; its next child is the
/// first one of a new. Must be called before there is a second thread.
pub fn leave(host_network: bool) -> Result<(), Error> {
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let mut flags = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    if !host_network {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    unshare(flags).map_err(|problem| {
        let none_left = problem == nix::errno::Errno::ENOSPC;
        // "No space left on device" would send people to their disks.
        let limit = "this machine allows no more of them (user.max_user_namespaces)";
        let problem = if none_left { io::Error::other(limit) } else { problem.into() };
        Error::at("make namespaces of its own")(problem)
    })?;
    // Without it a plain user may not map groups: membership could be a reason to be kept out.
    write("/proc/self/setgroups", "deny")?;
    let (user, group) = (user.as_raw(), group.as_raw());
    write("/proc/self/uid_map", &format!("{user} {user} 1"))?;
    write("/proc/self/gid_map", &format!("{group} {group} 1"))?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(Error::at("keep mounts private"))?;
    nix::unistd::sethostname(crate::ids::NAME).map_err(Error::at("set the host name"))?;
    if !host_network {
        loopback_up().map_err(Error::at("bring the loopback up"))?;
    }
    keep_capabilities().map_err(Error::at("give up capabilities that nobody needs"))
}

fn write(path: &str, text: &str) -> Result<(), Error> {
    let file = std::fs::OpenOptions::new().write(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(Error::at(format!("write {path}")))
}

/// The kernel gives all of them to who makes a user namespace.
fn keep_capabilities() -> rustix::io::Result<()> {
    let needed = NEEDED.into_iter().collect();
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: needed, permitted: needed, inheritable: none };
    rustix::thread::set_capabilities(None, sets)
}

/// `ip link set lo up`, as one netlink message: `struct nlmsghdr` and `struct ifinfomsg`
/// (linux/netlink.h, linux/rtnetlink.h).
fn loopback_up() -> io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    /// The first interface of every network namespace.
    const LOOPBACK: i32 = 1;
    const LENGTH: u32 = 32;

    let mut message = Vec::with_capacity(LENGTH as usize);
    message.extend_from_slice(&LENGTH.to_ne_bytes());
    message.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST_ACK.to_ne_bytes());
    // Sequence, port of the sender, family and type: nothing in particular.
    message.extend_from_slice(&[0; 12]);
    message.extend_from_slice(&LOOPBACK.to_ne_bytes());
    // The flags, and which of them change.
    message.extend_from_slice(&IFF_UP.to_ne_bytes());
    message.extend_from_slice(&IFF_UP.to_ne_bytes());

    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // The first protocol of this family is routes and interfaces.
        None,
    )?;
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 64];
    let (length, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    // Behind the header stands the error: 0, or a negative number.
    let error = answer[..length].get(16..20).and_then(|bytes| bytes.try_into().ok());
    match error.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::Error::other("no answer from the kernel")),
    }
}

/// The first process inside: sees only its own processes from now on. Its files are still the machine's.
pub fn settle() -> Result<(), Error> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).map_err(Error::at("mount /proc"))
}
