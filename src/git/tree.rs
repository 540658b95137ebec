//! Trees: listing them, and writing a new one that differs from an old one in a few entries.
//!
//! Works on objects only; no index, no work tree.

use std::collections::BTreeMap;

use git2::{ObjectType, Oid, Repository};

use crate::{
    diff::FileMode,
    git::{Error, Handles, blob_id, git, oid, tree_id},
    ids::{BlobId, RepoPath, TreeId},
};

/// A file of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// Where it is.
    pub path: RepoPath,
    /// Its kind and permission.
    pub mode: FileMode,
    /// Its contents; for a gitlink, the commit it names.
    pub blob: BlobId,
}

/// What a path shall be in the new tree; `None` = absent.
pub type TreeEdit = Option<(FileMode, BlobId)>;

impl FileMode {
    /// The number that git stores.
    pub fn raw(self) -> i32 {
        match self {
            FileMode::Regular => 0o100_644,
            FileMode::Executable => 0o100_755,
            FileMode::Symlink => 0o120_000,
            FileMode::Gitlink => 0o160_000,
        }
    }

    /// The kind that git's number means; old repositories hold 100664, which is regular.
    pub fn from_raw(raw: i32) -> FileMode {
        match raw {
            0o100_755 => FileMode::Executable,
            0o120_000 => FileMode::Symlink,
            0o160_000 => FileMode::Gitlink,
            _ => FileMode::Regular,
        }
    }
}

pub(crate) fn find(
    repository: &Repository,
    tree: &TreeId,
    path: &RepoPath,
) -> Result<Option<git2::TreeEntry<'static>>, Error> {
    let mut at = oid(tree.as_str());
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let tree = repository.find_tree(at).map_err(git("read a tree"))?;
        let Some(entry) = tree.iter().find(|entry| entry.name_bytes() == component) else {
            return Ok(None);
        };
        if components.peek().is_none() {
            return Ok(Some(entry.to_owned()));
        }
        if entry.kind() != Some(ObjectType::Tree) {
            return Ok(None);
        }
        at = entry.id();
    }
    Ok(None)
}

pub(crate) fn list(repository: &Repository, tree: &TreeId) -> Result<Vec<TreeEntry>, Error> {
    let mut found = Vec::new();
    walk(repository, oid(tree.as_str()), &RepoPath::new(""), &mut found)?;
    Ok(found)
}

fn walk(
    repository: &Repository,
    tree: Oid,
    at: &RepoPath,
    found: &mut Vec<TreeEntry>,
) -> Result<(), Error> {
    let tree = repository.find_tree(tree).map_err(git(format!("read the tree of {at}/")))?;
    for entry in &tree {
        let path = at.join(entry.name_bytes());
        if entry.kind() == Some(ObjectType::Tree) {
            walk(repository, entry.id(), &path, found)?;
        } else {
            let mode = FileMode::from_raw(entry.filemode());
            found.push(TreeEntry { path, mode, blob: blob_id(entry.id()) });
        }
    }
    Ok(())
}

/// Writes the tree that is `base` with `edits`. A file takes the place of a directory and the other way
/// round; directories that become empty go, as git wants it.
pub(crate) fn write(
    handles: &Handles,
    base: &TreeId,
    edits: &BTreeMap<RepoPath, TreeEdit>,
) -> Result<TreeId, Error> {
    let mut root = Node::default();
    for (path, edit) in edits {
        root.insert(&path.components().collect::<Vec<_>>(), edit.as_ref());
    }
    let written = root.write(handles, Some(oid(base.as_str())))?;
    match written {
        Some(id) => Ok(tree_id(id)),
        None => {
            let empty = handles.own.treebuilder(None).and_then(|builder| builder.write());
            Ok(tree_id(empty.map_err(git("write the empty tree"))?))
        }
    }
}

/// The edits of one directory.
#[derive(Default)]
struct Node<'a> {
    files: BTreeMap<&'a [u8], Option<&'a (FileMode, BlobId)>>,
    directories: BTreeMap<&'a [u8], Node<'a>>,
}

impl<'a> Node<'a> {
    fn insert(&mut self, components: &[&'a [u8]], edit: Option<&'a (FileMode, BlobId)>) {
        match components {
            [] => {}
            [name] => {
                self.files.insert(name, edit);
            }
            [name, rest @ ..] => self.directories.entry(name).or_default().insert(rest, edit),
        }
    }

    /// As deep as the path, which the snapshot caps.
    fn write(&self, handles: &Handles, base: Option<Oid>) -> Result<Option<Oid>, Error> {
        let wrap = || git("write a tree");
        let mut builder = handles.own.treebuilder(None).map_err(wrap())?;
        let mut below: BTreeMap<Vec<u8>, Oid> = BTreeMap::new();
        if let Some(base) = base {
            let tree = handles.read.find_tree(base).map_err(git("read a tree"))?;
            for entry in &tree {
                builder.insert(entry.name_bytes(), entry.id(), entry.filemode()).map_err(wrap())?;
                if entry.kind() == Some(ObjectType::Tree) {
                    below.insert(entry.name_bytes().to_vec(), entry.id());
                }
            }
        }
        let has = |builder: &git2::TreeBuilder<'_>, name: &[u8]| {
            builder.get(name).is_ok_and(|entry| entry.is_some())
        };
        // Removals first: a directory may stand where a file was, and the other way round.
        for (name, edit) in &self.files {
            if edit.is_none() && has(&builder, name) && !below.contains_key(*name) {
                builder.remove(*name).map_err(wrap())?;
            }
        }
        for (name, node) in &self.directories {
            match node.write(handles, below.get(*name).copied())? {
                Some(id) => {
                    builder.insert(*name, id, 0o040_000).map_err(wrap())?;
                }
                None if below.contains_key(*name) => builder.remove(*name).map_err(wrap())?,
                None => {}
            }
        }
        for (name, edit) in &self.files {
            if let Some((mode, blob)) = edit {
                builder.insert(*name, oid(blob.as_str()), mode.raw()).map_err(wrap())?;
            }
        }
        if builder.is_empty() {
            return Ok(None);
        }
        builder.write().map(Some).map_err(wrap())
    }
}
