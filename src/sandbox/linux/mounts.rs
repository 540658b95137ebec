//! A root of its own for one program, and the way into it. See `plan` for what is in it.
//!
//! First the machine's files move to `OLD` below a staging root of ours, then the new root is built below
//! `NEW` from what the plan names, then it becomes the root, and everything else is gone. Nothing is
//! written to a place that a link leads to: each step of a path is opened by itself, links refused.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, open, openat, openat2, symlinkat},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
        UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount, move_mount,
        open_tree, unmount,
    },
};

use super::{
    super::{Error, Limits, Walls},
    plan::{self, Link, What},
};
use crate::sys;

pub use plan::OF_THE_MACHINE;

/// Where the machine's files are while the new root is built.
const OLD: &str = "/old";
/// The new root while it is built.
const NEW: &str = "/new";
/// An empty file and an empty directory, to cover others with.
const EMPTY_FILE: &str = "/nothing";
const EMPTY_DIRECTORY: &str = "/empty";

/// Only directories and links are in the new root itself.
const ROOT: [(&str, &str); 3] = [("size", "16m"), ("nr_inodes", "64k"), ("mode", "755")];
/// Links, and mount points for some devices.
const DEVICES: [(&str, &str); 3] = [("size", "64k"), ("nr_inodes", "64"), ("mode", "755")];
/// Bytes of shared memory, at most: a browser under test needs some hundred megabytes.
const SHARED_MEMORY: u64 = 1 << 30;
/// Files in it, at most: each takes a kilobyte of the kernel's, which no size counts.
const SHARED_FILES: &str = "64k";
/// Only mount points are in it, and nobody may write there.
const HALL: [(&str, &str); 3] = [("size", "1m"), ("nr_inodes", "4k"), ("mode", "755")];
const TERMINALS: [(&str, &str); 2] = [("ptmxmode", "0666"), ("mode", "620")];

const DEVICE_FILES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Settings of the kernel. Root's files there belong to root in every user namespace, so a program that is
/// started by root could write them: `core_pattern` names a program that the machine's root runs.
const SETTINGS: [&str; 4] = ["sys", "sysrq-trigger", "irq", "bus"];
/// What the kernel tells about the whole machine and nobody needs; the list of Docker.
const SECRETS: [&str; 8] =
    ["acpi", "asound", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list"];

/// The kernel takes one page of mount options (mount(2)).
const LONGEST_OPTIONS: usize = 4095;

/// No step of a path leads out, and none is a link.
const ONLY_INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

const LOCKED: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);
const READ_ONLY: MountAttrFlags = LOCKED.union(MountAttrFlags::MOUNT_ATTR_RDONLY);

/// Gives this process the files that the walls name, and nothing else. Its working directory is then `/`.
/// An error leaves it somewhere between: nothing may run after one.
pub fn build(walls: &Walls) -> Result<(), Error> {
    let plan = plan::plan(walls)?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(Error::at("make mounts of its own"))?;
    let room = Room::stage(&walls.tmp)?;
    for (at, what) in &plan.mounts {
        room.mount(at, what, &walls.limits)?;
    }
    for link in &plan.links {
        room.link(link)?;
    }
    for at in ["/run", "/var"] {
        room.point(Path::new(at), true)?;
    }
    room.enter()
}

/// The new root while it is built.
struct Room {
    root: OwnedFd,
    old: OwnedFd,
}

impl Room {
    /// Puts a root of ours over a directory of the machine's, moves into it, and has the machine's files
    /// at `OLD`. In this mount namespace only.
    fn stage(over: &Path) -> Result<Room, Error> {
        let failed = || Error::at("stage a new root");
        let staging = fresh("tmpfs", &ROOT, LOCKED).map_err(failed())?;
        let there = open(over, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed())?;
        attach(&staging, &there).map_err(failed())?;
        rustix::process::fchdir(&staging).map_err(failed())?;
        for name in [OLD, NEW, EMPTY_DIRECTORY] {
            mkdirat(CWD, relative(name), Mode::from(0o755)).map_err(failed())?;
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        openat(CWD, relative(EMPTY_FILE), flags, Mode::from(0o444)).map_err(failed())?;
        rustix::process::pivot_root(".", relative(OLD)).map_err(failed())?;
        rustix::process::chdir("/").map_err(failed())?;
        let root = fresh("tmpfs", &ROOT, LOCKED).map_err(failed())?;
        let there = directory(CWD, NEW).map_err(failed())?;
        attach(&root, &there).map_err(failed())?;
        let old = directory(CWD, OLD).map_err(failed())?;
        Ok(Room { root, old })
    }

    fn mount(&self, at: &Path, what: &What, limits: &Limits) -> Result<(), Error> {
        let failed = || Error::at(format!("put {} into the room", at.display()));
        match what {
            What::Bind { source, directory, writable } => {
                let tree = self.tree(source).map_err(failed())?;
                let attributes = if *writable { LOCKED } else { READ_ONLY };
                set(&tree, attributes, true).map_err(failed())?;
                attach(&tree, self.point(at, *directory)?).map_err(failed())
            }
            What::Nothing { directory } => {
                let empty = if *directory { EMPTY_DIRECTORY } else { EMPTY_FILE };
                self.cover(at, empty, *directory)
            }
            What::Hall => {
                let hall = fresh("tmpfs", &HALL, LOCKED).map_err(failed())?;
                attach(&hall, self.point(at, true)?).map_err(failed())
            }
            What::Processes => self.processes(at),
            What::Devices => self.devices(at),
            What::SharedMemory => {
                // It is memory that no process has: what counts processes does not see it.
                let limit = Some(limits.memory_bytes).filter(|limit| *limit > 0);
                let size = limit.map_or(SHARED_MEMORY, |limit| limit.min(SHARED_MEMORY));
                let size = size.to_string();
                let options =
                    [("size", size.as_str()), ("nr_inodes", SHARED_FILES), ("mode", "1777")];
                let memory = fresh("tmpfs", &options, LOCKED).map_err(failed())?;
                attach(&memory, self.point(at, true)?).map_err(failed())
            }
            What::Layers { lower, upper, work } => self.layers(at, lower, upper, work),
        }
    }

    /// An own instance of `/proc`, without what could be changed or tells too much.
    fn processes(&self, at: &Path) -> Result<(), Error> {
        let failed = || Error::at(format!("mount {}", at.display()));
        let flags = LOCKED | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let own = fresh("proc", &[], flags).map_err(failed())?;
        attach(&own, self.point(at, true)?).map_err(failed())?;
        for name in SETTINGS {
            let Some(kind) = kind(&own, name).map_err(failed())? else { continue };
            let tree = clone(&own, name).map_err(failed())?;
            set(&tree, READ_ONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC, true).map_err(failed())?;
            attach(&tree, self.point(&at.join(name), kind)?).map_err(failed())?;
        }
        for name in SECRETS {
            if let Some(kind) = kind(&own, name).map_err(failed())? {
                let empty = if kind { EMPTY_DIRECTORY } else { EMPTY_FILE };
                self.cover(&at.join(name), empty, kind)?;
            }
        }
        Ok(())
    }

    fn devices(&self, at: &Path) -> Result<(), Error> {
        let failed = || Error::at(format!("fill {}", at.display()));
        let own = fresh("tmpfs", &DEVICES, LOCKED).map_err(failed())?;
        attach(&own, self.point(at, true)?).map_err(failed())?;
        let no_change = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        for name in DEVICE_FILES {
            let at = at.join(name);
            let tree = self.tree(&at).map_err(failed())?;
            // Mode and owner cannot be changed on a read-only mount; a device can be written all the same.
            set(&tree, no_change, false).map_err(failed())?;
            attach(&tree, self.point(&at, false)?).map_err(failed())?;
        }
        let terminals = fresh("devpts", &TERMINALS, MountAttrFlags::MOUNT_ATTR_NOSUID);
        attach(terminals.map_err(failed())?, self.point(&at.join("pts"), true)?)
            .map_err(failed())?;
        self.point(&at.join("shm"), true)?;
        for (name, to) in DEVICE_LINKS {
            symlinkat(to, &own, name).map_err(failed())?;
        }
        set(&own, READ_ONLY, false).map_err(failed())
    }

    /// The layers are named by descriptors: their paths need no escapes then, and take little of the page
    /// that the kernel has for options.
    fn layers(&self, at: &Path, lower: &[PathBuf], upper: &Path, work: &Path) -> Result<(), Error> {
        let deed = format!("mount the layers of {}", at.display());
        let mut open = Vec::new();
        let mut name = |path: &Path| -> Result<String, Error> {
            let layer = self.source(path).map_err(Error::at(format!("open {}", path.display())))?;
            let name = by_descriptor(&layer);
            open.push(layer);
            Ok(name)
        };
        let mut options = String::from("userxattr");
        let lower = lower.iter().map(|path| name(path)).collect::<Result<Vec<_>, _>>()?;
        let (upper, work) = (name(upper)?, name(work)?);
        // A write to a text in memory does not fail.
        let _ = write!(options, ",lowerdir={},upperdir={upper},workdir={work}", lower.join(":"));
        if options.len() > LONGEST_OPTIONS {
            let problem = format!("{} layers are more than the kernel takes", lower.len());
            return Err(Error::at(deed)(io::Error::other(problem)));
        }
        let options = std::ffi::CString::new(options).map_err(Error::at(&deed))?;
        let point = self.point(at, true)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("overlay", by_descriptor(&point), "overlay", flags, options.as_c_str())
            .map_err(Error::at(deed))
    }

    fn cover(&self, at: &Path, with: &str, is_directory: bool) -> Result<(), Error> {
        let failed = || Error::at(format!("cover {}", at.display()));
        let tree = clone(CWD, with).map_err(failed())?;
        set(&tree, READ_ONLY, false).map_err(failed())?;
        attach(&tree, self.point(at, is_directory)?).map_err(failed())
    }

    fn link(&self, link: &Link) -> Result<(), Error> {
        let failed = || Error::at(format!("make the link {}", link.at.display()));
        let (Some(parent), Some(name)) = (link.at.parent(), link.at.file_name()) else {
            return Err(failed()(Errno::INVAL));
        };
        match symlinkat(&link.to, self.point(parent, true)?, name) {
            // From the last time: a private directory for temporary files is kept.
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(problem) => Err(failed()(problem)),
        }
    }

    /// The place of a path in the new root, made where it is missing.
    fn point(&self, at: &Path, is_directory: bool) -> Result<OwnedFd, Error> {
        let failed = || Error::at(format!("make {} in the room", at.display()));
        match self.there(at, is_directory) {
            Err(Errno::NOENT) => {}
            found => return found.map_err(failed()),
        }
        let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else {
            return Err(failed()(Errno::INVAL));
        };
        let parent = self.point(parent, true)?;
        make(&parent, name, is_directory).map_err(failed())?;
        self.there(at, is_directory).map_err(failed())
    }

    /// The place of a path in the new root, when it is there and no link leads to it.
    fn there(&self, at: &Path, is_directory: bool) -> rustix::io::Result<OwnedFd> {
        let inside = at.strip_prefix("/").unwrap_or(at);
        let path = if inside == Path::new("") { Path::new(".") } else { inside };
        let mut flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if is_directory {
            flags |= OFlags::DIRECTORY;
        }
        openat2(&self.root, path, flags, Mode::empty(), ONLY_INSIDE)
    }

    /// A file or directory of the machine's. Its path has no links, unless somebody has just made one.
    fn source(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let path = path.strip_prefix("/").unwrap_or(path);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat2(&self.old, path, flags, Mode::empty(), ONLY_INSIDE)
    }

    fn tree(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        clone(self.source(path)?, "")
    }

    /// Makes it the root, read-only itself, and lets everything else go.
    fn enter(self) -> Result<(), Error> {
        let failed = || Error::at("enter the new root");
        set(&self.root, READ_ONLY, false).map_err(failed())?;
        rustix::process::fchdir(&self.root).map_err(failed())?;
        // Both names the same: the old root ends up over the new one, and is taken away from there.
        rustix::process::pivot_root(".", ".").map_err(failed())?;
        unmount(".", UnmountFlags::DETACH).map_err(failed())?;
        rustix::process::chdir("/").map_err(failed())
    }
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn by_descriptor(descriptor: &OwnedFd) -> String {
    format!("{OLD}/proc/self/fd/{}", descriptor.as_raw_fd())
}

/// A file system of its own, not yet anywhere.
fn fresh(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        fsconfig_set_string(&context, *name, *value)?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A copy of a mount, or of a part of it, with all that is mounted below, not yet anywhere.
fn clone(from: impl AsFd, path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    open_tree(from, path, flags)
}

fn attach(mount: impl AsFd, at: impl AsFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", at, "", flags)
}

fn set(mount: &OwnedFd, attributes: MountAttrFlags, whole: bool) -> rustix::io::Result<()> {
    sys::set_mount_attributes(mount, attributes.bits().into(), whole)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn directory(from: impl AsFd, path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(from, path, flags, Mode::empty())
}

/// Makes a directory or an empty file.
fn make(parent: &OwnedFd, name: &OsStr, is_directory: bool) -> rustix::io::Result<()> {
    if is_directory {
        return mkdirat(parent, name, Mode::from(0o755));
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::from(0o444)).map(drop)
}

/// Whether a name is a directory; `None` when it is not there.
fn kind(from: &OwnedFd, name: &str) -> rustix::io::Result<Option<bool>> {
    match rustix::fs::statat(from, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => {
            let kind = rustix::fs::FileType::from_raw_mode(found.st_mode);
            Ok(Some(kind == rustix::fs::FileType::Directory))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(problem) => Err(problem),
    }
}
