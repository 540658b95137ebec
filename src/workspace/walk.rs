//! Walks what a pool laid out and finds everything that is not as it was left.
//!
//! A walk asks for each entry once and compares it in place; what is as it was costs nothing else. Nothing is
//! followed. Only [`unlock`] writes, and only permissions of directories.

use std::{
    ffi::CStr,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use rustix::{
    fs::{FileType, Mode},
    io::Errno,
};

use crate::{
    diff::FileMode,
    git::differences::joined,
    workspace::{
        look::{self, Seen},
        manifest::{Dir, Manifest, Of},
    },
};

/// Threads of a walk: two get nearly all that a disk cache gives, and a night runs other things too.
const THREADS: usize = 2;
/// Directories that a thread takes at a time; below this many, one thread does it alone.
const CHUNK: usize = 64;

/// What is not as it was left.
#[derive(Debug)]
pub(super) enum What {
    /// A file of ours that may have been changed: its stamp is another.
    Changed(Seen),
    /// A file of ours whose stamp says too little.
    Doubtful(Seen),
    /// A file of ours that is not there, or is a directory now.
    Missing,
    /// A directory of ours that is not there, or is none any more.
    NoDirectory,
    /// Something that we did not lay out.
    Stranger(FileType),
    /// A directory of ours with other permissions.
    Permissions,
    /// A directory of ours that somebody changed: its time and its attributes are not ours any more.
    Touched,
    /// A directory of ours that cannot be read.
    Unreadable,
    /// A submodule's directory that is not empty.
    Submodule,
}

/// Something that is not as it was left.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: Vec<u8>,
    pub(super) what: What,
}

/// Everything below `root` that is not as `manifest` has it, in no order.
pub(super) fn walk(root: BorrowedFd<'_>, manifest: &Manifest) -> Vec<Found> {
    let dirs = manifest.dirs();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut walker = Walker { root, manifest, found: Vec::new(), met: Vec::new() };
        loop {
            let from = next.fetch_add(CHUNK, Ordering::Relaxed);
            if from >= dirs.len() {
                return walker.found;
            }
            for dir in &dirs[from..dirs.len().min(from + CHUNK)] {
                walker.directory(dir);
            }
        }
    };
    if dirs.len() <= CHUNK {
        return work();
    }
    std::thread::scope(|scope| {
        // A machine that has no thread left is slower, no more.
        let other = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..THREADS).filter_map(other).collect();
        let mut found = work();
        for other in others {
            found.extend(other.join().expect("a walk does not panic"));
        }
        found
    })
}

/// Makes directories of ours that cannot be read readable again. Returns whether there were any.
pub(super) fn unlock(root: &Path, found: &[Found]) -> std::io::Result<bool> {
    let locked = found.iter().filter(|found| matches!(found.what, What::Unreadable));
    let mut locked: Vec<&[u8]> = locked.map(|found| found.path.as_slice()).collect();
    // From above: what is below one that cannot be entered cannot be reached.
    locked.sort_by_key(|path| path.len());
    let open = look::root(root);
    for path in &locked {
        let allow = Mode::from_raw_mode(0o700);
        if path.is_empty() {
            rustix::fs::chmod(root, allow)?;
            continue;
        }
        let (above, name) = look::split(path);
        let parent = match &open {
            Ok(open) => look::below(open, above)?,
            Err(_) => look::below(look::root(root)?, above)?,
        };
        // A link would be followed.
        if look::entry(&parent, name)?.kind == FileType::Directory {
            rustix::fs::chmodat(&parent, name, allow, rustix::fs::AtFlags::empty())?;
        }
    }
    Ok(!locked.is_empty())
}

struct Walker<'w> {
    root: BorrowedFd<'w>,
    manifest: &'w Manifest,
    found: Vec<Found>,
    /// Entries of the directory at hand that are there.
    met: Vec<bool>,
}

impl Walker<'_> {
    fn tell(&mut self, path: Vec<u8>, what: What) {
        self.found.push(Found { path, what });
    }

    fn directory(&mut self, dir: &Dir) {
        if dir.gone {
            return;
        }
        let missing = |walker: &mut Self| {
            for entry in &dir.entries {
                walker.tell(joined(&dir.path, &entry.name), What::Missing);
            }
        };
        let open = match look::below(self.root, &dir.path) {
            Ok(open) => open,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                self.tell(dir.path.clone(), What::NoDirectory);
                missing(self);
                return;
            }
            Err(_) => {
                self.tell(dir.path.clone(), What::Unreadable);
                return;
            }
        };
        let own = look::opened(&open);
        if !own.is_ok_and(|seen| seen.stamp.mode & 0o7777 == dir.mode) {
            self.tell(dir.path.clone(), What::Permissions);
        }
        // A list or an attribute that is set, and a time that is, shows in the time of change.
        let settled =
            |seen: Seen| self.manifest.trusted && seen.stamp.changed < self.manifest.settled;
        if !own.is_ok_and(settled) {
            self.tell(dir.path.clone(), What::Touched);
        }
        self.met.clear();
        self.met.resize(dir.entries.len(), false);
        let listed = look::list(&open, |name, kind| self.entry(dir, open.as_fd(), name, kind));
        if listed.is_err() {
            self.tell(dir.path.clone(), What::Unreadable);
            return;
        }
        for (at, entry) in dir.entries.iter().enumerate() {
            if !self.met[at] {
                self.tell(joined(&dir.path, &entry.name), What::Missing);
            }
        }
    }

    fn entry(&mut self, dir: &Dir, open: BorrowedFd<'_>, name: &CStr, kind: FileType) {
        let bytes = name.to_bytes();
        let Ok(at) = dir.position(bytes) else {
            let path = joined(&dir.path, bytes);
            let is_dir = if kind == FileType::Unknown {
                look::entry_c(open, name).is_ok_and(|seen| seen.kind == FileType::Directory)
            } else {
                kind == FileType::Directory
            };
            if !is_dir || self.manifest.dir(&path).is_none() {
                self.tell(path, What::Stranger(kind));
            }
            return;
        };
        let entry = &dir.entries[at];
        let Ok(seen) = look::entry_c(open, name) else { return };
        let path = || joined(&dir.path, bytes);
        if matches!(entry.of, Of::Base(known) if known.mode == FileMode::Gitlink) {
            if seen.kind != FileType::Directory {
                self.met[at] = true;
                self.tell(path(), What::Changed(seen));
                return;
            }
            self.met[at] = true;
            let mut any = false;
            let listed = look::below(open, bytes)
                .and_then(|directory| look::list(&directory, |_, _| any = true));
            if any || listed.is_err() {
                self.tell(path(), What::Submodule);
            }
        } else if seen.kind == FileType::Directory {
            self.tell(path(), What::Stranger(FileType::Directory));
        } else {
            self.met[at] = true;
            if seen.stamp != entry.stamp {
                self.tell(path(), What::Changed(seen));
            } else if !self.manifest.trusted || seen.stamp.changed >= self.manifest.settled {
                self.tell(path(), What::Doubtful(seen));
            }
        }
    }
}
