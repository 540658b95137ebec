//! Looks at directories that an agent could write: opens one below a root, lists it, asks for an entry.
//!
//! Nothing is followed and nothing blocks, whatever stands there. Never writes.

use std::{
    ffi::{CStr, OsStr},
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::{Errno, Result},
};

use crate::ids::RepoPath;

/// What `lstat` says about a file. An agent cannot set the time of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) inode: u64,
    pub(super) size: u64,
    /// Kind and permissions, as the system stores them.
    pub(super) mode: u32,
    /// Nanoseconds since 1970.
    pub(super) modified: i64,
    /// Nanoseconds since 1970.
    pub(super) changed: i64,
}

/// What stands under a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) stamp: Stamp,
    pub(super) kind: FileType,
    /// True when the file has another name somewhere.
    pub(super) linked: bool,
}

impl Seen {
    fn of(stat: &rustix::fs::Stat) -> Seen {
        let time = |seconds: i64, nanoseconds: i64| {
            seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
        };
        let nanoseconds = |of| i64::try_from(of).unwrap_or(0);
        Seen {
            stamp: Stamp {
                inode: stat.st_ino,
                size: u64::try_from(stat.st_size).unwrap_or(0),
                // As wide as the widest system has it.
                mode: u32::try_from(u64::from(stat.st_mode)).unwrap_or(0),
                modified: time(stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
                changed: time(stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
            },
            kind: FileType::from_raw_mode(stat.st_mode),
            linked: stat.st_nlink > 1,
        }
    }
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a directory of ours by its absolute path; the last component is not followed.
pub(super) fn root(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, DIRECTORY, Mode::empty())
}

/// Opens a directory below `root`. Any link or mount on the way is an error.
#[cfg(target_os = "linux")]
pub(super) fn below(root: impl AsFd, path: &[u8]) -> Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    if path.is_empty() {
        return step_by_step(root, path);
    }
    let rules = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(root.as_fd(), path, DIRECTORY, Mode::empty(), rules) {
        // Linux before 5.6, and containers that filter what they do not know.
        Err(Errno::NOSYS | Errno::PERM) => step_by_step(root, path),
        other => other,
    }
}

/// Opens a directory below `root`. Any link on the way is an error.
#[cfg(not(target_os = "linux"))]
pub(super) fn below(root: impl AsFd, path: &[u8]) -> Result<OwnedFd> {
    step_by_step(root, path)
}

fn step_by_step(root: impl AsFd, path: &[u8]) -> Result<OwnedFd> {
    let mut at = rustix::fs::openat(root, ".", DIRECTORY, Mode::empty())?;
    for component in path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
        at = rustix::fs::openat(&at, component, DIRECTORY, Mode::empty())?;
    }
    Ok(at)
}

/// What stands under a name of an open directory.
pub(super) fn entry(directory: impl AsFd, name: &[u8]) -> Result<Seen> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(Seen::of(&stat))
}

/// The same for a name as the system gave it.
pub(super) fn entry_c(directory: impl AsFd, name: &CStr) -> Result<Seen> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(Seen::of(&stat))
}

/// What an open file or directory is.
pub(super) fn opened(file: impl AsFd) -> Result<Seen> {
    Ok(Seen::of(&rustix::fs::fstat(file)?))
}

/// What stands at a real path whose directories are ours.
pub(super) fn real(path: &Path) -> Result<Seen> {
    entry(rustix::fs::CWD, path.as_os_str().as_bytes())
}

/// Calls `each` with every name of an open directory and its kind, which may be unknown.
#[cfg(target_os = "linux")]
pub(super) fn list(directory: impl AsFd, mut each: impl FnMut(&CStr, FileType)) -> Result<()> {
    // Without an allocation for each name: a walk lists thousands of directories.
    let mut buffer = [std::mem::MaybeUninit::uninit(); 16 * 1024];
    let directory = directory.as_fd();
    rustix::fs::seek(directory, rustix::fs::SeekFrom::Start(0))?;
    let mut stream = rustix::fs::RawDir::new(directory, &mut buffer);
    while let Some(found) = stream.next() {
        let found = found?;
        if !is_dots(found.file_name()) {
            each(found.file_name(), found.file_type());
        }
    }
    Ok(())
}

/// Calls `each` with every name of an open directory and its kind, which may be unknown.
#[cfg(not(target_os = "linux"))]
pub(super) fn list(directory: impl AsFd, mut each: impl FnMut(&CStr, FileType)) -> Result<()> {
    let mut stream = rustix::fs::Dir::read_from(directory)?;
    while let Some(found) = stream.read() {
        let found = found?;
        if !is_dots(found.file_name()) {
            each(found.file_name(), found.file_type());
        }
    }
    Ok(())
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// Opens a regular file to read it, should it still be one.
pub(super) fn open_file(directory: impl AsFd, name: &[u8]) -> Result<fs::File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty()).map(fs::File::from)
}

/// Where a link leads, as bytes.
pub(super) fn link(directory: impl AsFd, name: &[u8]) -> Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(directory, name, Vec::new())?.into_bytes())
}

/// A path without its last component, and that.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(cut) => (&path[..cut], &path[cut + 1..]),
        None => (b"", path),
    }
}

/// The real path of a repository's path below `root`.
pub(super) fn inside(root: &Path, path: &RepoPath) -> PathBuf {
    let mut joined = root.to_owned();
    joined.extend(path.components().map(OsStr::from_bytes));
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_on_the_way_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        crate::files::create_dir_all(&dir.path().join("real/deep")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        let root = root(dir.path()).unwrap();
        assert!(below(&root, b"real/deep").is_ok());
        assert!(step_by_step(&root, b"real/deep").is_ok());
        for path in [&b"link"[..], b"link/deep"] {
            assert!(below(&root, path).is_err());
            assert!(step_by_step(&root, path).is_err());
        }
        assert_eq!(entry(&root, b"link").unwrap().kind, FileType::Symlink);
    }
}
