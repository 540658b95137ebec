//! A person's checkout, looked at beside a base tree: what it has that the base ignores.
//!
//! Only reads, and follows nothing: a link, a mount or a pipe in it is seen and left alone. Never decides what
//! is taken from it.

use std::{fs, os::fd::OwnedFd, path::Path};

use rustix::{fs::FileType, io::Result as Read};

use crate::{
    files,
    git::{Error, Handles},
    ids::{RepoPath, TreeId},
    workspace::{
        look,
        rules::{Base, InBase},
    },
};

/// A checkout that is open to be looked at.
pub(crate) struct Checkout<'h> {
    base: Base<'h>,
    root: OwnedFd,
}

/// An entry of a directory.
pub(crate) struct Entry {
    pub(crate) path: RepoPath,
    pub(crate) kind: FileType,
}

impl<'h> Checkout<'h> {
    /// The checkout at `root`, beside the tree that says what is ignored and what is tracked.
    pub(crate) fn open(
        handles: &'h Handles,
        tree: &TreeId,
        root: &Path,
    ) -> Result<Checkout<'h>, Error> {
        let base = Base::new(&handles.read, tree)?;
        let problem = files::error("look into the checkout", root);
        let root = look::root(root).map_err(|errno| problem(errno.into()))?;
        Ok(Checkout { base, root })
    }

    /// What is in a directory, in order of name. A directory behind a link or on another file system is an
    /// error; an entry that is gone by now is left out.
    pub(crate) fn list(&self, directory: &RepoPath) -> Read<Vec<Entry>> {
        let open = look::below(&self.root, directory.as_bytes())?;
        let mut found = Vec::new();
        look::list(&open, |name, kind| found.push((name.to_bytes().to_vec(), kind)))?;
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let entry = |(name, kind): (Vec<u8>, FileType)| {
            // Some file systems do not tell it in a listing.
            let unknown = kind == FileType::Unknown;
            let kind = if unknown { look::entry(&open, &name).ok()?.kind } else { kind };
            Some(Entry { path: directory.join(&name), kind })
        };
        Ok(found.into_iter().filter_map(entry).collect())
    }

    /// Opens a regular file to read it. What it is by now is for the caller to ask.
    pub(crate) fn file(&self, path: &RepoPath) -> Read<fs::File> {
        let (above, name) = look::split(path.as_bytes());
        look::open_file(look::below(&self.root, above)?, name)
    }

    /// True when the base's own rules ignore the path, or a directory above it.
    pub(crate) fn ignores(&self, path: &RepoPath, is_dir: bool) -> Result<bool, Error> {
        self.base.ignores(path, is_dir)
    }

    /// True when the base has a file, a link or a submodule at the path.
    pub(crate) fn has_file(&self, path: &RepoPath) -> Result<bool, Error> {
        Ok(matches!(self.base.find(path)?, InBase::File(_)))
    }

    /// True when the base has anything at the path.
    pub(crate) fn has(&self, path: &RepoPath) -> Result<bool, Error> {
        Ok(self.base.find(path)? != InBase::Nothing)
    }
}
