//! The base tree, asked path by path: its entries, what it ignores, what it gives a filter.
//!
//! Nothing costs more than the directories on the way to the path that is asked for, and each is read once.
//! An agent's own ignore files have no say. Never looks at a directory on disk.

use std::{cell::RefCell, collections::HashMap, ffi::OsStr, os::unix::ffi::OsStrExt as _};
use std::{path::Path, rc::Rc};

use git2::{ObjectType, Oid, Repository, Tree};
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::{
    diff::FileMode,
    git::{Error, git, oid},
    ids::{RepoPath, TreeId},
    workspace::look,
};

/// An entry of the base that is not a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) mode: FileMode,
    /// The blob; for a submodule, the commit that it names.
    pub(super) id: Oid,
}

/// What the base has under a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InBase {
    Nothing,
    Directory,
    File(Known),
}

/// The base's tree and the rules that its own files hold.
pub(super) struct Base<'r> {
    repository: &'r Repository,
    directories: RefCell<HashMap<Vec<u8>, Rc<Directory<'r>>>>,
}

struct Directory<'r> {
    /// Absent for directories that the base does not have.
    tree: Option<Tree<'r>>,
    parent: Option<Rc<Directory<'r>>>,
    /// Bytes of its path, with the slash behind it; 0 for the root.
    prefix: usize,
    /// True when the directory itself is ignored: then all below it is.
    ignored: bool,
    ignores: Option<Gitignore>,
    filtered: Option<Gitignore>,
}

impl<'r> Base<'r> {
    pub(super) fn new(repository: &'r Repository, tree: &TreeId) -> Result<Base<'r>, Error> {
        let tree = repository.find_tree(oid(tree.as_str())).map_err(git("read a tree"))?;
        let base = Base { repository, directories: RefCell::default() };
        let root = base.read(Some(tree), None, 0, false)?;
        base.directories.borrow_mut().insert(Vec::new(), Rc::new(root));
        Ok(base)
    }

    /// What the base has at `path`; the root is a directory.
    pub(super) fn find(&self, path: &RepoPath) -> Result<InBase, Error> {
        if path.as_bytes().is_empty() {
            return Ok(InBase::Directory);
        }
        let (parent, name) = look::split(path.as_bytes());
        let directory = self.directory(parent)?;
        let entry = directory.tree.as_ref().and_then(|tree| tree.get_name_bytes(name));
        Ok(entry.map_or(InBase::Nothing, |entry| match entry.kind() {
            Some(ObjectType::Tree) => InBase::Directory,
            Some(_) | None => {
                InBase::File(Known { mode: FileMode::from_raw(entry.filemode()), id: entry.id() })
            }
        }))
    }

    /// True when the base's `.gitignore` files ignore the path, or a directory above it. Whether the base
    /// has a file there all the same is not looked at.
    pub(super) fn ignores(&self, path: &RepoPath, is_dir: bool) -> Result<bool, Error> {
        let (parent, _) = look::split(path.as_bytes());
        let directory = self.directory(parent)?;
        Ok(directory.ignored || directory.says(path.as_bytes(), is_dir))
    }

    /// True when the base's attributes give the path a filter (LFS, git-crypt). libgit2 runs none, so such
    /// files are laid out as the base stores them and must stay so.
    pub(super) fn filters(&self, path: &RepoPath) -> Result<bool, Error> {
        let (parent, _) = look::split(path.as_bytes());
        let directory = self.directory(parent)?;
        Ok(directory.upwards().any(|at| {
            at.filtered.as_ref().is_some_and(|rules| {
                rules.matched(text(&path.as_bytes()[at.prefix..]), false).is_ignore()
            })
        }))
    }

    /// The contents of a blob of the base.
    pub(super) fn contents(&self, id: Oid) -> Result<git2::Blob<'r>, Error> {
        self.repository.find_blob(id).map_err(git(format!("read the file {id}")))
    }

    /// The size of a blob of the base in bytes.
    pub(super) fn size(&self, id: Oid) -> Result<u64, Error> {
        let store = self.repository.odb().map_err(git("open the objects"))?;
        let (size, _) = store.read_header(id).map_err(git(format!("read the file {id}")))?;
        Ok(u64::try_from(size).unwrap_or(u64::MAX))
    }

    fn directory(&self, path: &[u8]) -> Result<Rc<Directory<'r>>, Error> {
        if let Some(known) = self.directories.borrow().get(path) {
            return Ok(known.clone());
        }
        // As deep as the path, which a workspace caps.
        let (above, name) = look::split(path);
        let parent = self.directory(above)?;
        let entry = parent.tree.as_ref().and_then(|tree| {
            let entry = tree.get_name_bytes(name)?;
            (entry.kind() == Some(ObjectType::Tree)).then(|| entry.id())
        });
        let tree = entry.map(|id| self.repository.find_tree(id)).transpose();
        let tree = tree.map_err(git("read a tree"))?;
        let ignored = parent.ignored || parent.says(path, true);
        let read = self.read(tree, Some(parent), path.len() + 1, ignored)?;
        let read = Rc::new(read);
        self.directories.borrow_mut().insert(path.to_vec(), read.clone());
        Ok(read)
    }

    fn read(
        &self,
        tree: Option<Tree<'r>>,
        parent: Option<Rc<Directory<'r>>>,
        prefix: usize,
        ignored: bool,
    ) -> Result<Directory<'r>, Error> {
        let file = |name: &str| -> Result<Option<git2::Blob<'r>>, Error> {
            let entry = tree.as_ref().and_then(|tree| tree.get_name(name)).filter(|entry| {
                entry.kind() == Some(ObjectType::Blob)
                    && entry.filemode() != FileMode::Symlink.raw()
            });
            entry.map(|entry| self.contents(entry.id())).transpose()
        };
        let ignores = file(".gitignore")?.map(|blob| ignore_rules(blob.content()));
        let filtered = file(".gitattributes")?.and_then(|blob| filtered_patterns(blob.content()));
        Ok(Directory { tree, parent, prefix, ignored, ignores, filtered })
    }
}

impl Directory<'_> {
    /// This directory and those above it, innermost first.
    fn upwards(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |at| at.parent.as_deref())
    }

    /// git's order: the innermost file that says anything about the path decides.
    fn says(&self, path: &[u8], is_dir: bool) -> bool {
        for at in self.upwards() {
            let Some(rules) = &at.ignores else { continue };
            let verdict = rules.matched(text(&path[at.prefix..]), is_dir);
            if !verdict.is_none() {
                return verdict.is_ignore();
            }
        }
        false
    }
}

fn text(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn ignore_rules(text: &[u8]) -> Gitignore {
    let mut builder = GitignoreBuilder::new("");
    for line in String::from_utf8_lossy(text).lines() {
        // A line that is no pattern ignores nothing, as in git.
        let _ = builder.add_line(None, line);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

/// The patterns of one attributes file that give a filter.
fn filtered_patterns(text: &[u8]) -> Option<Gitignore> {
    let text = String::from_utf8_lossy(text);
    let mut builder = GitignoreBuilder::new("");
    let mut any = false;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(pattern) = words.next().filter(|word| !word.starts_with('#')) else { continue };
        if words.any(|word| word.starts_with("filter=")) {
            any |= builder.add_line(None, pattern).is_ok();
        }
    }
    if any { builder.build().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory<'r>(
        parent: Option<Rc<Directory<'r>>>,
        prefix: usize,
        ignores: &str,
        attributes: &str,
    ) -> Rc<Directory<'r>> {
        Rc::new(Directory {
            tree: None,
            parent,
            prefix,
            ignored: false,
            ignores: Some(ignore_rules(ignores.as_bytes())),
            filtered: filtered_patterns(attributes.as_bytes()),
        })
    }

    #[test]
    fn the_innermost_ignore_file_decides() {
        let root = directory(None, 0, "*.log\n/target\n", "");
        let docs = directory(Some(root.clone()), 5, "!keep.log\n", "");
        assert!(docs.says(b"docs/a.log", false));
        assert!(!docs.says(b"docs/keep.log", false));
        assert!(root.says(b"target", true));
        assert!(!root.says(b"src/target", true));
    }

    #[test]
    fn a_filter_is_known_by_the_attributes() {
        let matches = |rules: &str, path: &str| {
            filtered_patterns(rules.as_bytes())
                .is_some_and(|rules| rules.matched(Path::new(path), false).is_ignore())
        };
        assert!(matches("*.bin filter=lfs diff=lfs -text\n", "assets/a.bin"));
        assert!(matches("/*.psd filter=lfs\n", "a.psd"));
        assert!(!matches("/*.psd filter=lfs\n", "deep/a.psd"));
        assert!(filtered_patterns(b"*.rs diff=rust\n").is_none());
    }
}
