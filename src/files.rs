//! The only door to file writes: after a crash or a power cut a file is the old one or the new one.
//!
//! Never follows a symbolic link when it removes, and never decides what is written.

#![expect(clippy::disallowed_methods, reason = "this is the door")]

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
};

use crate::faults;

/// An input or output error with the path it concerns.
#[derive(Debug, thiserror::Error)]
#[error("could not {deed} {path}: {source}")]
pub struct Error {
    deed: &'static str,
    path: String,
    source: io::Error,
}

/// Wraps an error of the standard library with what was tried on which path.
pub fn error(deed: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error { deed, path: path.display().to_string(), source }
}

/// Asked before each deed of this door.
fn begin(deed: &'static str, path: &Path) -> Result<(), Error> {
    faults::ask("files", format_args!("{deed} {}", path.display())).map_err(error(deed, path))
}

/// Makes a directory and what is missing above it, open to its owner only (0700).
pub fn create_private_dir(path: &Path) -> Result<(), Error> {
    begin("create the directory", path)?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(error("create the directory", path))
}

/// Makes one directory whose parent exists. `Ok(false)` when it was there already: the way to claim a name.
pub fn claim_dir(path: &Path) -> Result<bool, Error> {
    begin("create the directory", path)?;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            if let Some(parent) = path.parent() {
                sync_dir(parent)?;
            }
            Ok(true)
        }
        Err(problem) if problem.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(problem) => Err(error("create the directory", path)(problem)),
    }
}

/// Moves a directory to a name that nobody has yet. When somebody has it by now, ours is removed.
pub fn claim_by_rename(ours: &Path, name: &Path) -> Result<(), Error> {
    begin("move into place", name)?;
    match fs::rename(ours, name) {
        Ok(()) => name.parent().map_or(Ok(()), sync_dir),
        // A directory that is not empty is never replaced by a rename.
        Err(_) if name.is_dir() => remove_tree(ours),
        Err(problem) => Err(error("move into place", name)(problem)),
    }
}

/// Gives a file or directory another name, which is free, without waiting for the disk.
pub fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    begin("move", from)?;
    fs::rename(from, to).map_err(error("move", from))
}

/// Replaces a file in one step: the bytes are synced before the name points at them, the name after. A new file is
/// private to its owner.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    replace(path, bytes, 0o600)
}

/// As [`write_atomic`], and a new file is readable by others as the umask allows: for what a person asked for in a
/// place of theirs, where another account's program may have to read it.
pub fn write_for_others(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    replace(path, bytes, 0o666)
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    begin("write", path)?;
    let parent = path.parent().unwrap_or(Path::new("."));
    let wrap = || error("write", path);
    let mut file = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(parent)
        .map_err(wrap())?;
    file.write_all(bytes).map_err(wrap())?;
    begin("write", path)?;
    file.as_file().sync_all().map_err(wrap())?;
    // Who could read the old one can read the new one.
    if let Ok(old) = fs::metadata(path) {
        file.as_file().set_permissions(old.permissions()).map_err(wrap())?;
    }
    begin("write", path)?;
    file.persist(path).map_err(|problem| wrap()(problem.error))?;
    sync_dir(parent)
}

/// As [`write_atomic`], without waiting for the disk: whoever looks sees the old or the new file, but after a power
/// cut it may be empty or gone. For what only serves this boot, or is made again when it cannot be read.
pub fn write_soon(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    begin("write", path)?;
    let parent = path.parent().unwrap_or(Path::new("."));
    let wrap = || error("write", path);
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(wrap())?;
    file.write_all(bytes).map_err(wrap())?;
    file.persist(path).map_err(|problem| wrap()(problem.error))?;
    Ok(())
}

/// Makes a new file with these permission bits. Fails when the path exists, a dangling link included.
pub fn create_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    open_new(path, mode)?.write_all(bytes).map_err(error("write", path))
}

/// As [`create_new`], of pieces in their order.
pub fn create_joined(path: &Path, pieces: &[impl AsRef<[u8]>], mode: u32) -> Result<(), Error> {
    // Long pieces are written as they are.
    let mut file = io::BufWriter::new(open_new(path, mode)?);
    let mut written = pieces.iter().map(|piece| file.write_all(piece.as_ref()));
    written.try_for_each(|piece| piece).and_then(|()| file.flush()).map_err(error("write", path))
}

fn open_new(path: &Path, mode: u32) -> Result<fs::File, Error> {
    begin("create", path)?;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(mode).open(path).map_err(error("create", path))
}

/// Opens a file of ours to add to it, private to its owner.
pub fn append_to(path: &Path) -> Result<fs::File, Error> {
    begin("open", path)?;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(path).map_err(error("open", path))
}

/// Adds one line to a file of ours and syncs it.
pub fn append_line(path: &Path, line: &[u8]) -> Result<(), Error> {
    let mut file = append_to(path)?;
    let line = [line, b"\n"].concat();
    begin("write", path)?;
    file.write_all(&line).and_then(|()| file.sync_data()).map_err(error("write", path))
}

/// Makes a plain directory of a workspace.
pub fn create_dir_all(path: &Path) -> Result<(), Error> {
    begin("create the directory", path)?;
    fs::create_dir_all(path).map_err(error("create the directory", path))
}

/// Copies a directory of ours: files and directories with their modes, not synced. None of its files is there yet.
pub fn copy_tree(from: &Path, to: &Path) -> Result<(), Error> {
    create_dir_all(to)?;
    for entry in fs::read_dir(from).map_err(error("list", from))? {
        let entry = entry.map_err(error("list", from))?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(error("look at", &from))?.is_dir() {
            copy_tree(&from, &to)?;
        } else {
            fs::copy(&from, &to).map_err(error("copy", &from))?;
        }
    }
    Ok(())
}

/// Makes one directory, as the umask allows. `Ok(false)` when the name was taken.
pub fn make_dir(path: &Path) -> Result<bool, Error> {
    begin("create the directory", path)?;
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(problem) if problem.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(problem) => Err(error("create the directory", path)(problem)),
    }
}

/// Sets the permissions of a file or directory that is no link.
pub fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    begin("set the permissions of", path)?;
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, permissions).map_err(error("set the permissions of", path))
}

/// Removes what a directory of ours lays down for new files in it, and other attributes that a program can set.
/// Labels of the system's own (SELinux) stay.
#[cfg(target_os = "linux")]
pub fn strip_attributes(path: &Path) -> Result<(), Error> {
    use rustix::{fs::lremovexattr, io::Errno};
    let wrap = |problem: Errno| error("remove attributes of", path)(problem.into());
    let mut names = vec![0; 64 * 1024];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::NOENT) => return Ok(()),
        Err(problem) => return Err(wrap(problem)),
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let acl = name.starts_with(b"system.posix_acl_");
        if acl || name.starts_with(b"user.") {
            match lremovexattr(path, name) {
                Ok(()) | Err(Errno::NODATA) => {}
                Err(problem) => return Err(wrap(problem)),
            }
        }
    }
    Ok(())
}

/// No attribute of this system changes what new files are.
#[cfg(not(target_os = "linux"))]
pub fn strip_attributes(_: &Path) -> Result<(), Error> {
    Ok(())
}

/// Sets when a file or link was changed last: nanoseconds since 1970, or now. A link is not followed.
pub fn set_modified(path: &Path, nanoseconds: Option<i64>) -> Result<(), Error> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
    let last_modification = match nanoseconds {
        Some(time) => Timespec {
            tv_sec: time.div_euclid(1_000_000_000),
            tv_nsec: time.rem_euclid(1_000_000_000),
        },
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
    };
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access, last_modification };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|problem| error("set the time of", path)(problem.into()))
}

/// Copies a regular file to a name that is free, with its permissions. `Ok(false)` when the file system let
/// both share their bytes.
pub fn copy(from: &Path, to: &Path) -> Result<bool, Error> {
    begin("copy to", to)?;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut source = fs::File::open(from).map_err(error("read", from))?;
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(to);
    let mut target = opened.map_err(error("create", to))?;
    let copied = !share(&source, &target);
    if copied {
        io::copy(&mut source, &mut target).map_err(error("copy to", to))?;
    }
    let permissions = source.metadata().map_err(error("look at", from))?.permissions();
    target.set_permissions(permissions).map_err(error("set the permissions of", to))?;
    Ok(copied)
}

#[cfg(target_os = "linux")]
fn share(source: &fs::File, target: &fs::File) -> bool {
    rustix::fs::ioctl_ficlone(target, source).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn share(_: &fs::File, _: &fs::File) -> bool {
    false
}

/// Syncs everything of the file system that holds `path`: cheaper than one file after the other.
#[cfg(target_os = "linux")]
pub fn sync_all(path: &Path) -> Result<(), Error> {
    let opened = fs::File::open(path).map_err(error("sync", path))?;
    rustix::fs::syncfs(&opened).map_err(|problem| error("sync", path)(problem.into()))
}

/// Syncs everything: this system has no call for one file system.
#[cfg(not(target_os = "linux"))]
pub fn sync_all(_: &Path) -> Result<(), Error> {
    rustix::fs::sync();
    Ok(())
}

/// Syncs a directory, so that names made in it survive a power cut.
pub fn sync_dir(path: &Path) -> Result<(), Error> {
    begin("sync", path)?;
    fs::File::open(path).and_then(|dir| dir.sync_all()).map_err(error("sync", path))
}

/// Removes a file; one that is not there is fine.
pub fn remove_file(path: &Path) -> Result<(), Error> {
    begin("remove", path)?;
    match fs::remove_file(path) {
        Err(problem) if problem.kind() != io::ErrorKind::NotFound => {
            Err(error("remove", path)(problem))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes a directory with all that is in it, links as links, also below directories that an agent made
/// unreadable. One that is not there is fine.
pub fn remove_tree(path: &Path) -> Result<(), Error> {
    begin("remove", path)?;
    match fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => unlock(path),
    }
    fs::remove_dir_all(path).or_else(|_| remove_deep(path)).map_err(error("remove", path))
}

/// Removes a directory of any depth: every directory in it is moved up to one place first, so that depth
/// costs neither open files nor stack.
fn remove_deep(path: &Path) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let place = tempfile::Builder::new().prefix(".gone-").tempdir_in(parent)?;
    let allow = || fs::Permissions::from_mode(0o700);
    let mut open = vec![path.to_owned()];
    let mut number: u64 = 0;
    while let Some(at) = open.pop() {
        fs::set_permissions(&at, allow())?;
        for entry in fs::read_dir(&at)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                // Its owner must be allowed to write it to move it.
                fs::set_permissions(entry.path(), allow())?;
                let up = place.path().join(number.to_string());
                number += 1;
                fs::rename(entry.path(), &up)?;
                open.push(up);
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        fs::remove_dir(&at)?;
    }
    place.close()
}

/// Removes whatever has this name: a tree, a file, a link, a pipe. Nothing is followed.
pub fn remove_any(path: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => remove_tree(path),
        Ok(_) | Err(_) => remove_file(path),
    }
}

/// Gives the owner back every directory below `path`.
fn unlock(path: &Path) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    if !metadata.is_dir() {
        return;
    }
    // A failure shows when the directory is removed.
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        unlock(&entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_removed_as_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "x").unwrap();
        let gone = dir.path().join("gone");
        fs::create_dir(&gone).unwrap();
        std::os::unix::fs::symlink(&kept, gone.join("link")).unwrap();
        fs::create_dir(gone.join("locked")).unwrap();
        fs::write(gone.join("locked/file"), "x").unwrap();
        fs::set_permissions(gone.join("locked"), fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(&gone).unwrap();
        assert!(!gone.exists());
        assert!(kept.join("file").exists());
    }

    #[test]
    fn a_directory_of_any_depth_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (outer, name) = (dir.path().join("outer"), "d".repeat(100));
        // Deeper than a path may be long and than files may be open: built from the inside.
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("file"), "x").unwrap();
        for _ in 0..3_000 {
            fs::create_dir(&outer).unwrap();
            fs::rename(&inner, outer.join(&name)).unwrap();
            fs::rename(&outer, &inner).unwrap();
        }
        remove_deep(&inner).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_name_is_claimed_once() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("2026-11-21");
        assert!(claim_dir(&name).unwrap());
        assert!(!claim_dir(&name).unwrap());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn attributes_of_a_directory_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(dir.path(), "user.mark", b"x", flags).unwrap();
        strip_attributes(dir.path()).unwrap();
        let mut names = [0; 100];
        let length = rustix::fs::listxattr(dir.path(), &mut names).unwrap();
        assert!(!names[..length].starts_with(b"user."), "{names:?}");
        strip_attributes(&dir.path().join("missing")).unwrap();
    }
}
