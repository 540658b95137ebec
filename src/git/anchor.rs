//! A directory that is held: what is in it is found although somebody moves it elsewhere meanwhile.
//!
//! Never makes a directory: one that was moved away leaves nothing behind at its place.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// A directory that is held.
#[derive(Debug)]
pub(super) struct Anchor {
    path: PathBuf,
    /// Open as long as the path is used.
    _held: Option<File>,
}

impl Anchor {
    /// Holds a directory. Where the system gives held directories no path (no `/proc`), or it is not there, the path
    /// is the one that was given.
    pub(super) fn of(directory: &Path) -> Anchor {
        held(directory).unwrap_or_else(|| Anchor { path: directory.to_owned(), _held: None })
    }

    /// Where it is, for this process alone.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(target_os = "linux")]
fn held(directory: &Path) -> Option<Anchor> {
    use std::os::{fd::AsRawFd as _, unix::fs::MetadataExt as _};

    let held = File::open(directory).ok()?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
    let (there, own) = (path.metadata().ok()?, held.metadata().ok()?);
    let same = there.is_dir() && (there.dev(), there.ino()) == (own.dev(), own.ino());
    same.then_some(Anchor { path, _held: Some(held) })
}

/// Other systems have no path for what is open.
#[cfg(not(target_os = "linux"))]
fn held(_directory: &Path) -> Option<Anchor> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_held_is_found_after_it_was_moved() {
        let root = tempfile::tempdir().unwrap();
        let (here, there) = (root.path().join("here"), root.path().join("there"));
        std::fs::create_dir(&here).unwrap();
        crate::files::create_new(&here.join("file"), b"text", 0o600).unwrap();
        let anchor = Anchor::of(&here);
        crate::files::rename(&here, &there).unwrap();
        assert_eq!(std::fs::read_to_string(anchor.path().join("file")).unwrap(), "text");
        assert!(!here.exists());
    }

    #[test]
    fn what_is_not_there_keeps_its_name() {
        let root = tempfile::tempdir().unwrap();
        let gone = root.path().join("gone");
        assert_eq!(Anchor::of(&gone).path(), gone);
    }
}
