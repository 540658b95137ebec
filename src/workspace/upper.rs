//! Reads the upper directory of an overlay: what a program changed, and nothing else.
//!
//! Costs what was changed. Whiteouts and opaque directories are turned into removals of what the base has
//! there; everything else is judged by [`Reader`], as in a pool. Never writes into the directory, and never
//! looks into a layer: what the base has is asked from its tree.

use std::{
    collections::HashSet,
    os::fd::{AsFd, OwnedFd},
};

use git2::{ObjectType, Repository};
use rustix::fs::FileType;

use crate::{
    git::{Error, git, oid, tree},
    ids::{RepoPath, TreeId},
    workspace::{
        look::{self, Seen},
        marks,
        read::{Changes, Reader, UNREADABLE},
        rules::InBase,
    },
};

/// One walk.
pub(super) struct Walk<'w, 'v> {
    pub(super) reader: Reader<'v>,
    pub(super) repository: &'w Repository,
    pub(super) base: &'w TreeId,
}

impl Walk<'_, '_> {
    /// All changes that the upper directory `root` stands for.
    pub(super) fn changes(mut self, root: &OwnedFd) -> Result<Changes, Error> {
        let shows = !marks::hides(root);
        self.directory(&RepoPath::new(""), root, shows, false)?;
        self.reader.finish()
    }

    /// One directory. `shows`: what the base has in it shows through. `ignored`: only what the base has is
    /// looked at.
    fn directory(
        &mut self,
        at: &RepoPath,
        directory: &OwnedFd,
        shows: bool,
        ignored: bool,
    ) -> Result<(), Error> {
        let mut names = Vec::new();
        let listed = look::list(directory, |name, _| names.push(name.to_bytes().to_vec()));
        if listed.is_err() {
            self.reader.odd(at, UNREADABLE);
            return Ok(());
        }
        if !shows {
            let here: HashSet<&[u8]> = names.iter().map(Vec::as_slice).collect();
            self.gone(at, &here)?;
        }
        for name in names {
            let path = at.join(&name);
            if path.as_bytes() == b".git" {
                continue; // the agent's own, thrown away
            }
            match look::entry(directory, &name) {
                Ok(seen) => self.entry(&path, directory, &name, &seen, shows, ignored)?,
                Err(_) if ignored => {}
                Err(_) => self.reader.odd(&path, "a file that cannot be looked at"),
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        path: &RepoPath,
        parent: &OwnedFd,
        name: &[u8],
        seen: &Seen,
        shows: bool,
        ignored: bool,
    ) -> Result<(), Error> {
        let is_dir = seen.kind == FileType::Directory;
        let in_base = self.reader.base.find(path)?;
        if !is_dir && marks::is_whiteout_in(parent, name, seen) {
            return self.removed(path, in_base);
        }
        match in_base {
            InBase::File(known) if !is_dir => {
                self.reader.file(path, parent, name, seen, Some(known))
            }
            InBase::File(known) if known.mode == crate::diff::FileMode::Gitlink => {
                match look::below(parent, name) {
                    Ok(directory) => self.reader.submodule(path, &directory),
                    Err(_) => self.reader.odd(path, "files in a submodule"),
                }
                Ok(())
            }
            InBase::Directory if is_dir => {
                let ignored = ignored || self.reader.base.ignores(path, true)?;
                self.below(path, parent, name, shows, ignored)
            }
            InBase::File(_) | InBase::Directory => {
                self.removed(path, in_base)?;
                self.stranger(path, parent, name, seen, ignored)
            }
            InBase::Nothing => self.stranger(path, parent, name, seen, ignored),
        }
    }

    /// An entry where the base has none, or one of another kind.
    fn stranger(
        &mut self,
        path: &RepoPath,
        parent: &OwnedFd,
        name: &[u8],
        seen: &Seen,
        ignored: bool,
    ) -> Result<(), Error> {
        let is_dir = seen.kind == FileType::Directory;
        if ignored || !self.reader.concerns(path, name, is_dir)? {
            return Ok(());
        }
        if is_dir {
            self.below(path, parent, name, false, false)
        } else {
            self.reader.file(path, parent, name, seen, None)
        }
    }

    fn below(
        &mut self,
        path: &RepoPath,
        parent: &OwnedFd,
        name: &[u8],
        shows: bool,
        ignored: bool,
    ) -> Result<(), Error> {
        match look::below(parent, name) {
            Ok(directory) => {
                let shows = shows && !marks::hides(directory.as_fd());
                self.directory(path, &directory, shows, ignored)
            }
            Err(_) => {
                self.reader.odd(path, UNREADABLE);
                Ok(())
            }
        }
    }

    /// What the base has in a directory and nobody sees any more.
    fn gone(&mut self, at: &RepoPath, here: &HashSet<&[u8]>) -> Result<(), Error> {
        let Some(tree) = self.subtree(at)? else { return Ok(()) };
        let tree = self.repository.find_tree(oid(tree.as_str())).map_err(git("read a tree"))?;
        for entry in &tree {
            if !here.contains(entry.name_bytes()) {
                let path = at.join(entry.name_bytes());
                let in_base = self.reader.base.find(&path)?;
                self.removed(&path, in_base)?;
            }
        }
        Ok(())
    }

    /// Nothing of what the base has at `path` is there.
    fn removed(&mut self, path: &RepoPath, in_base: InBase) -> Result<(), Error> {
        match in_base {
            InBase::Nothing => {}
            InBase::File(_) => self.reader.removed(path),
            InBase::Directory => {
                let Some(tree) = self.subtree(path)? else { return Ok(()) };
                for entry in tree::list(self.repository, &tree)? {
                    self.reader.removed(&path.join(entry.path.as_bytes()));
                }
            }
        }
        Ok(())
    }

    /// The tree of a directory of the base.
    fn subtree(&self, path: &RepoPath) -> Result<Option<TreeId>, Error> {
        if path.as_bytes().is_empty() {
            return Ok(Some(self.base.clone()));
        }
        let entry = tree::find(self.repository, self.base, path)?;
        let entry = entry.filter(|entry| entry.kind() == Some(ObjectType::Tree));
        Ok(entry.map(|entry| crate::git::tree_id(entry.id())))
    }
}
