//! The marks by which an overlay's layers say what they hide: whiteouts and opaque directories.
//!
//! Reads and makes them, and lays one layer under another for good. Works on layers of ours that no program
//! has mounted; never follows a link, never changes the contents or the times of a file.

use std::{
    ffi::OsStr,
    fs,
    os::{
        fd::AsFd,
        unix::{
            ffi::OsStrExt as _,
            fs::{FileTypeExt as _, MetadataExt as _},
        },
    },
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, FileType, XattrFlags};

use crate::{
    files,
    git::Error,
    ids::RepoPath,
    workspace::look::{self, Seen},
};

/// On a directory: nothing of the layers below shows in it. The kernel's name for mounts with `userxattr`;
/// a program inside such a mount can neither read nor write it (the kernel escapes or refuses the name).
const OPAQUE: &str = "user.overlay.opaque";
/// On an empty file: the newer form of a whiteout.
const WHITEOUT: &str = "user.overlay.whiteout";

/// What one name in a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nothing below shows: the name is gone.
    Whiteout,
    /// A directory. `true`: nothing of the layers below shows in it.
    Directory(bool),
    /// A file, a link or anything else, which hides what is below.
    Other,
}

/// True when an open directory of an upper layer hides what is below it.
pub(super) fn hides(directory: impl AsFd) -> bool {
    let mut value = [0_u8; 8];
    rustix::fs::fgetxattr(directory, OPAQUE, &mut value).is_ok_and(|size| value[..size] == *b"y")
}

/// True when a name in an open directory of an upper layer is a whiteout, of either form.
pub(super) fn is_whiteout_in(directory: impl AsFd, name: &[u8], seen: &Seen) -> bool {
    if seen.kind == FileType::CharacterDevice {
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        return stat.is_ok_and(|stat| stat.st_rdev == 0);
    }
    seen.kind == FileType::RegularFile
        && seen.stamp.size == 0
        && look::open_file(directory, name)
            .is_ok_and(|file| rustix::fs::fgetxattr(file, WHITEOUT, &mut [0_u8; 8]).is_ok())
}

/// Looks at one name of a layer; `None` when it is not there.
pub(super) fn look(path: &Path) -> Option<(Mark, fs::Metadata)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let kind = metadata.file_type();
    let mark = if kind.is_dir() {
        Mark::Directory(is_opaque(path))
    } else if is_whiteout(path, &metadata) {
        Mark::Whiteout
    } else {
        Mark::Other
    };
    Some((mark, metadata))
}

/// True for both forms of a whiteout. The kernel hides the name in both.
pub(super) fn is_whiteout(path: &Path, metadata: &fs::Metadata) -> bool {
    let kind = metadata.file_type();
    if kind.is_char_device() {
        return metadata.rdev() == 0;
    }
    kind.is_file()
        && metadata.size() == 0
        && rustix::fs::lgetxattr(path, WHITEOUT, &mut [0_u8; 8]).is_ok()
}

/// True when nothing of the layers below shows in this directory.
pub(super) fn is_opaque(path: &Path) -> bool {
    let mut value = [0_u8; 8];
    // `x` says that whiteouts of the newer form are below, and hides nothing by itself.
    rustix::fs::lgetxattr(path, OPAQUE, &mut value).is_ok_and(|size| value[..size] == *b"y")
}

/// Makes a directory of a layer hide what is below it.
pub(super) fn make_opaque(path: &Path) -> Result<(), files::Error> {
    let made = rustix::fs::lsetxattr(path, OPAQUE, b"y", XattrFlags::empty());
    made.map_err(|code| files::error("mark the directory", path)(code.into()))
}

/// Makes a whiteout where nothing is.
#[cfg(target_os = "linux")]
pub(super) fn make_whiteout(path: &Path) -> Result<(), files::Error> {
    use rustix::fs::{Mode, makedev, mknodat};
    let made = mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), makedev(0, 0));
    made.map_err(|code| files::error("make the whiteout", path)(code.into()))
}

/// Makes a whiteout: not here.
#[cfg(not(target_os = "linux"))]
pub(super) fn make_whiteout(path: &Path) -> Result<(), files::Error> {
    Err(files::error("make the whiteout", path)(std::io::ErrorKind::Unsupported.into()))
}

/// Gives a file or directory the time of change that another has.
pub(super) fn set_modified(path: &Path, like: &fs::Metadata) -> Result<(), files::Error> {
    let seconds = like.mtime().saturating_mul(1_000_000_000);
    files::set_modified(path, Some(seconds.saturating_add(like.mtime_nsec())))
}

/// Lays `lower` under `upper` for good: what a mount of both shows, `upper` shows alone. Whiteouts stay, as
/// they may hide what is below `lower`. Files get a second name and no second copy; both must be on one file
/// system, and nobody may write to either any more.
pub(super) fn lay_under(upper: &Path, lower: &Path) -> Result<(), files::Error> {
    let at = fs::symlink_metadata(upper).map_err(files::error("look at", upper))?;
    merge(upper, lower, &at)
}

/// Merges two directories; `at` is what the upper one was before, or what a new one shall be like.
fn merge(upper: &Path, lower: &Path, at: &fs::Metadata) -> Result<(), files::Error> {
    for entry in fs::read_dir(lower).map_err(files::error("list", lower))? {
        let entry = entry.map_err(files::error("list", lower))?;
        let (below, above) = (entry.path(), upper.join(entry.file_name()));
        let Some((mark, metadata)) = look(&below) else { continue };
        match (look(&above), mark) {
            (None, Mark::Directory(opaque)) => {
                copy_directory(&below, &above, &metadata, opaque)?;
            }
            (None, Mark::Whiteout) => make_whiteout(&above)?,
            (None, Mark::Other) => link(&below, &above)?,
            (Some((Mark::Directory(false), was)), Mark::Directory(opaque)) => {
                merge(&above, &below, &was)?;
                if opaque {
                    make_opaque(&above)?;
                }
            }
            // What is below `below` does not show through it.
            (Some((Mark::Directory(false), _)), Mark::Whiteout | Mark::Other) => {
                make_opaque(&above)?;
            }
            (Some((Mark::Directory(true) | Mark::Whiteout | Mark::Other, _)), _) => {}
        }
    }
    set_modified(upper, at)
}

/// Gives `upper` what `lower` has at `path`: second names, and directories above it, which are like those in the
/// first of `likes` that has them, or like those of `lower`. Nothing happens where `lower` has nothing, or
/// `upper` has it already.
pub(super) fn lay_part(
    upper: &Path,
    lower: &Path,
    path: &RepoPath,
    likes: &[PathBuf],
) -> Result<(), files::Error> {
    let mut at = PathBuf::new();
    let mut steps = Vec::new();
    for name in path.components() {
        at.push(OsStr::from_bytes(name));
        // Nothing is followed: a link above it would lead elsewhere.
        if steps.last().is_some_and(|(_, mark, _)| !matches!(mark, Mark::Directory(_))) {
            return Ok(());
        }
        let Some((mark, found)) = look(&lower.join(&at)) else { return Ok(()) };
        steps.push((at.clone(), mark, found));
    }
    let Some((last, mark, found)) = steps.pop() else { return Ok(()) };
    let (from, to) = (lower.join(&last), upper.join(&last));
    if look(&to).is_some() {
        return Ok(());
    }
    for (above, _, found) in &steps {
        let made = upper.join(above);
        files::create_private_dir(&made)?;
        // Whoever fills it must be able to.
        files::set_mode(&made, found.mode() & 0o7777 | 0o700)?;
    }
    match mark {
        Mark::Directory(opaque) => copy_directory(&from, &to, &found, opaque)?,
        Mark::Other => link(&from, &to)?,
        Mark::Whiteout => {}
    }
    for (above, _, found) in steps.iter().rev() {
        let like = |layer: &PathBuf| fs::symlink_metadata(layer.join(above)).ok();
        let like = likes.iter().filter_map(like).find(fs::Metadata::is_dir);
        set_modified(&upper.join(above), like.as_ref().unwrap_or(found))?;
    }
    Ok(())
}

fn copy_directory(
    from: &Path,
    to: &Path,
    like: &fs::Metadata,
    opaque: bool,
) -> Result<(), files::Error> {
    files::create_private_dir(to)?;
    if opaque {
        make_opaque(to)?;
    }
    merge(to, from, like)?;
    // Last: its mode may forbid to write in it.
    fs::set_permissions(to, like.permissions()).map_err(files::error("set the mode of", to))
}

/// Removes whiteouts that hide nothing of `below`, the directory at the same place in the layers below, if
/// there is one. The kernel lists a directory that is in one layer only as it is: they would show as names.
pub(super) fn drop_idle(directory: &Path, below: Option<&Path>) -> Result<(), files::Error> {
    let was = fs::symlink_metadata(directory).map_err(files::error("look at", directory))?;
    let below = below.filter(|_| !is_opaque(directory));
    for entry in fs::read_dir(directory).map_err(files::error("list", directory))? {
        let entry = entry.map_err(files::error("list", directory))?;
        let path = entry.path();
        let hidden = below.map(|below| below.join(entry.file_name()));
        let hidden = hidden.filter(|hidden| fs::symlink_metadata(hidden).is_ok());
        match look(&path) {
            Some((Mark::Whiteout, _)) if hidden.is_none() => files::remove_file(&path)?,
            Some((Mark::Directory(_), _)) => {
                let hidden = hidden.filter(|hidden| !hidden.is_symlink() && hidden.is_dir());
                drop_idle(&path, hidden.as_deref())?;
            }
            Some((Mark::Whiteout | Mark::Other, _)) | None => {}
        }
    }
    set_modified(directory, &was)
}

/// Gives a file or link a second name. Nothing is followed.
fn link(from: &Path, to: &Path) -> Result<(), files::Error> {
    rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty())
        .map_err(|code| files::error("link", to)(code.into()))
}

/// Takes away what only a mount needs, and what no cache may hold: whiteouts, opaque marks, sockets, pipes
/// and devices. What stays is a plain directory that its owner can read, fill and remove. `keep` is asked for
/// every file below `root`.
pub(super) fn strip(
    directory: &Path,
    keep: &mut impl FnMut(&Path, &fs::Metadata) -> Result<Keep, Error>,
) -> Result<(), Error> {
    let was = fs::symlink_metadata(directory).map_err(files::error("look at", directory))?;
    if was.mode() & 0o700 != 0o700 {
        files::set_mode(directory, was.mode() & 0o7777 | 0o700)?;
    }
    let mut changed = false;
    for entry in fs::read_dir(directory).map_err(files::error("list", directory))? {
        let path = entry.map_err(files::error("list", directory))?.path();
        let Some((mark, metadata)) = look(&path) else { continue };
        let kind = metadata.file_type();
        let verdict = match mark {
            Mark::Whiteout => Keep::No,
            Mark::Directory(_) => keep(&path, &metadata)?,
            Mark::Other if kind.is_file() || kind.is_symlink() => keep(&path, &metadata)?,
            Mark::Other => Keep::No,
        };
        match verdict {
            Keep::No => {
                files::remove_any(&path)?;
                changed = true;
            }
            Keep::Yes if kind.is_dir() => strip(&path, keep)?,
            Keep::Yes => {}
            Keep::IfFilled => {
                strip(&path, keep)?;
                let mut left = fs::read_dir(&path).map_err(files::error("list", &path))?;
                if left.next().is_none() {
                    files::remove_any(&path)?;
                    changed = true;
                }
            }
        }
    }
    if is_opaque(directory) {
        rustix::fs::lremovexattr(directory, OPAQUE)
            .map_err(|code| files::error("unmark the directory", directory)(code.into()))?;
    }
    if changed { Ok(set_modified(directory, &was)?) } else { Ok(()) }
}

/// What becomes of an entry in [`strip`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// It stays, and below it each entry is asked for.
    Yes,
    /// It goes with all that is in it.
    No,
    /// A directory that stays when anything in it does.
    IfFilled,
}
