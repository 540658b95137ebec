//! Reads what stands in a workspace and judges it entry by entry: of the base, ignored, changed, odd.
//!
//! New contents go into the vault's own store. Nothing is followed; no git program and no repository of an
//! agent's takes part. Never writes into a workspace. How a kind finds the entries is its own matter.

use std::{
    collections::{BTreeMap, HashSet},
    io::Read as _,
    os::fd::AsFd,
    path::PathBuf,
};

use git2::{ObjectType, Oid, Repository};
use rustix::fs::FileType;

use crate::{
    diff::FileMode,
    files,
    git::{Error, Handles, TreeEdit, blob_id, git},
    ids::{RepoPath, TreeId},
    outcome::OddEntry,
    policy,
    workspace::{
        look::{self, Seen},
        rules::{Base, InBase, Known},
    },
};

/// Longest path that may enter, in bytes: Linux's PATH_MAX. git skips longer ones without a word.
const LONGEST_PATH: usize = 4096;

/// Said of a directory that our own user may not list.
pub(super) const UNREADABLE: &str = "a directory that cannot be read";

/// What an agent left behind.
#[derive(Debug, Default)]
pub struct Changes {
    /// The new tree as edits of the base's.
    pub edits: BTreeMap<RepoPath, TreeEdit>,
    /// Entries that cannot enter a commit.
    pub odd: Vec<OddEntry>,
    /// Changed paths that the base's attributes give a filter.
    pub filtered: Vec<RepoPath>,
}

/// Collects the changes of one workspace.
pub(super) struct Reader<'v> {
    pub(super) base: Base<'v>,
    own: &'v Repository,
    largest: u64,
    edits: BTreeMap<RepoPath, TreeEdit>,
    odd: BTreeMap<RepoPath, String>,
}

impl<'v> Reader<'v> {
    /// `largest` is the size in bytes above which a changed file is an odd entry.
    pub(super) fn new(
        handles: &'v Handles,
        tree: &TreeId,
        largest: u64,
    ) -> Result<Reader<'v>, Error> {
        let base = Base::new(&handles.read, tree)?;
        let (edits, odd) = (BTreeMap::new(), BTreeMap::new());
        Ok(Reader { base, own: &handles.own, largest, edits, odd })
    }

    /// What was found, in order of path.
    pub(super) fn finish(mut self) -> Result<Changes, Error> {
        // What is behind an odd entry was not looked at: it is not gone.
        let odd: HashSet<&[u8]> = self.odd.keys().map(RepoPath::as_bytes).collect();
        let behind = |path: &RepoPath| {
            let bytes = path.as_bytes();
            let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            odd.contains(bytes) || ends.into_iter().any(|(end, _)| odd.contains(&bytes[..end]))
        };
        if !odd.is_empty() {
            self.edits.retain(|path, edit| edit.is_some() || !behind(path));
        }
        let mut filtered = Vec::new();
        for path in self.edits.keys() {
            if self.base.filters(path)? {
                filtered.push(path.clone());
            }
        }
        let odd = self.odd.into_iter().map(|(path, what)| OddEntry { path, what }).collect();
        Ok(Changes { edits: self.edits, odd, filtered })
    }

    /// An entry that cannot enter a commit; nothing of the base below it counts as removed.
    pub(super) fn odd(&mut self, path: &RepoPath, what: &str) {
        self.odd.entry(path.clone()).or_insert_with(|| what.to_owned());
    }

    /// A file of the base that is not there, or no file any more.
    pub(super) fn removed(&mut self, path: &RepoPath) {
        self.edits.insert(path.clone(), None);
    }

    /// An entry that is no directory, `name` in the open directory `parent`. `known` is what the base has at
    /// this path; without it, nobody ignores the path.
    pub(super) fn file(
        &mut self,
        path: &RepoPath,
        parent: impl AsFd,
        name: &[u8],
        seen: &Seen,
        known: Option<Known>,
    ) -> Result<(), Error> {
        let problem = |deed: &'static str| {
            move |errno: rustix::io::Errno| files::error(deed, &shown(path))(errno.into())
        };
        if seen.kind == FileType::Symlink {
            let target = look::link(parent, name).map_err(problem("read the link"))?;
            let id = Oid::hash_object(ObjectType::Blob, &target).map_err(git("hash a link"))?;
            if known == Some(Known { mode: FileMode::Symlink, id }) {
                return Ok(());
            }
            let plain = path.components().last().unwrap_or_default();
            if let Some(what) = policy::reserved(plain, true) {
                self.odd(path, what);
                return Ok(());
            }
            if leaves(path, &target) {
                self.odd(path, "a symbolic link that leaves the repository");
                return Ok(());
            }
            let blob = self.own.blob(&target).map_err(git("store a link"))?;
            self.edits.insert(path.clone(), Some((FileMode::Symlink, blob_id(blob))));
            return Ok(());
        }
        if seen.kind != FileType::RegularFile {
            self.odd(path, kind_of(seen.kind));
            return Ok(());
        }
        let mode = mode_of(seen);
        // A file of the base may be over the limit and stay so; it may not grow.
        let size = seen.stamp.size;
        if size > self.largest
            && !known.is_some_and(|known| self.base.size(known.id).is_ok_and(|old| size <= old))
        {
            self.odd(path, &format!("a file of {size} bytes"));
            return Ok(());
        }
        let Ok(mut file) = look::open_file(parent, name) else {
            self.odd(path, "a file that cannot be read");
            return Ok(());
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(files::error("read", &shown(path)))?;
        let id = Oid::hash_object(ObjectType::Blob, &bytes).map_err(git("hash a file"))?;
        if known == Some(Known { mode, id }) {
            return Ok(());
        }
        if seen.linked {
            self.odd(path, "a hard link to another file");
            return Ok(());
        }
        if known.is_none_or(|known| known.id != id) {
            self.own.blob(&bytes).map_err(git("store a file"))?;
        }
        self.edits.insert(path.clone(), Some((mode, blob_id(id))));
        Ok(())
    }

    /// True when an entry that the base does not have must be judged: it is not ignored, and not odd by its
    /// path alone, which is noted here.
    pub(super) fn concerns(
        &mut self,
        path: &RepoPath,
        name: &[u8],
        is_dir: bool,
    ) -> Result<bool, Error> {
        if path.as_bytes() == b".git" {
            return Ok(false); // the agent's own, thrown away
        }
        if let Some(what) = policy::reserved(name, false) {
            let (above, _) = look::split(path.as_bytes());
            if above.is_empty() || !self.base.ignores(&RepoPath::new(above), true)? {
                self.odd(path, what);
            }
            return Ok(false);
        }
        if self.base.ignores(path, is_dir)? {
            return Ok(false); // ignored paths may hold anything
        }
        if path.as_bytes().len() > LONGEST_PATH {
            self.odd(path, "a path of more than 4096 bytes");
            return Ok(false);
        }
        Ok(true)
    }

    /// An entry of any kind under a name that is no file of the base: judged, and if it is a directory, with
    /// all that is in it and not of the base. Files of the base below it are the caller's to judge.
    pub(super) fn stranger(
        &mut self,
        path: &RepoPath,
        parent: impl AsFd,
        name: &[u8],
        kind: FileType,
    ) -> Result<(), Error> {
        let parent = parent.as_fd();
        let seen = || look::entry(parent, name);
        // Some file systems do not tell it in a listing.
        let kind =
            if kind == FileType::Unknown { seen().map_or(kind, |seen| seen.kind) } else { kind };
        let is_dir = kind == FileType::Directory;
        if !self.concerns(path, name, is_dir)? {
            return Ok(());
        }
        if is_dir {
            match look::below(parent, name) {
                Ok(directory) => self.strangers(path, &directory)?,
                Err(_) => self.odd(path, UNREADABLE),
            }
        } else {
            match seen() {
                Ok(seen) => self.file(path, parent, name, &seen, None)?,
                Err(_) => self.odd(path, "a file that cannot be looked at"),
            }
        }
        Ok(())
    }

    /// All that is in an open directory and is no file of the base.
    pub(super) fn strangers(&mut self, at: &RepoPath, directory: impl AsFd) -> Result<(), Error> {
        let directory = directory.as_fd();
        let mut names = Vec::new();
        let listed = look::list(directory, |name, kind| names.push((name.to_owned(), kind)));
        if listed.is_err() {
            self.odd(at, UNREADABLE);
            return Ok(());
        }
        for (name, kind) in names {
            let path = at.join(name.to_bytes());
            let of_base = match self.base.find(&path)? {
                InBase::File(known) => {
                    kind != FileType::Directory || known.mode == FileMode::Gitlink
                }
                InBase::Directory | InBase::Nothing => false,
            };
            if !of_base {
                self.stranger(&path, directory, name.to_bytes(), kind)?;
            }
        }
        Ok(())
    }

    /// A submodule of the base, which must stay an empty directory.
    pub(super) fn submodule(&mut self, path: &RepoPath, directory: impl AsFd) {
        let mut any = false;
        let listed = look::list(directory, |_, _| any = true);
        if any || listed.is_err() {
            self.odd(path, "files in a submodule");
        }
    }
}

/// The mode that git would store for a regular file.
pub(super) fn mode_of(seen: &Seen) -> FileMode {
    if seen.stamp.mode & 0o100 == 0 { FileMode::Regular } else { FileMode::Executable }
}

/// A repository's path for messages.
fn shown(path: &RepoPath) -> PathBuf {
    PathBuf::from(path.to_string())
}

fn kind_of(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::BlockDevice | FileType::CharacterDevice => "a device",
        FileType::RegularFile | FileType::Directory | FileType::Symlink | FileType::Unknown => {
            "neither a file, a directory nor a link"
        }
    }
}

/// True when a link at `path` with this target leads out of the repository, by its text alone.
fn leaves(path: &RepoPath, target: &[u8]) -> bool {
    if target.first() == Some(&b'/') || target.is_empty() {
        return true;
    }
    let mut depth = i64::try_from(path.components().count()).unwrap_or(i64::MAX) - 1;
    for component in target.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_leaves_is_seen_by_its_text() {
        let at = |text: &str| RepoPath::from(text);
        assert!(!leaves(&at("docs/link"), b"../src/a.rs"));
        assert!(!leaves(&at("link"), b"src/./a.rs"));
        assert!(leaves(&at("docs/link"), b"../../etc"));
        assert!(leaves(&at("link"), b".."));
        assert!(leaves(&at("link"), b"/etc/passwd"));
        assert!(leaves(&at("a/link"), b"b/../../../x/y"));
    }
}
