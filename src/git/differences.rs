//! What differs between two trees of git, by path: equal directories are not looked into.
//!
//! Works on objects only.

use git2::{ObjectType, Oid, Repository, Tree};

use crate::{
    diff::FileMode,
    git::{Error, git},
};

/// Calls `each` with every path that is another in `new` than in `old`, and what it is there; `None` = gone.
/// Without `old`, with all of `new`.
pub(crate) fn differences(
    repository: &Repository,
    old: Option<Oid>,
    new: Oid,
    each: &mut dyn FnMut(Vec<u8>, Option<(FileMode, Oid)>),
) -> Result<(), Error> {
    if old == Some(new) {
        return Ok(());
    }
    between(repository, old, Some(new), b"", each)
}

/// Refuses names that would lead out of a directory, or into a repository.
pub(crate) fn check(name: &[u8]) -> Result<(), Error> {
    if matches!(name, b"" | b"." | b"..")
        || name.contains(&b'/')
        || name.eq_ignore_ascii_case(b".git")
    {
        return Err(Error::Unusable {
            message: format!("a tree has an entry named `{}`", String::from_utf8_lossy(name)),
            help: "git itself does not check it out either; see `git fsck`".to_owned(),
        });
    }
    Ok(())
}

fn between(
    repository: &Repository,
    old: Option<Oid>,
    new: Option<Oid>,
    at: &[u8],
    each: &mut dyn FnMut(Vec<u8>, Option<(FileMode, Oid)>),
) -> Result<(), Error> {
    let open = |id: Option<Oid>| id.map(|id| repository.find_tree(id)).transpose();
    let old = open(old).map_err(git("read a tree"))?;
    let new = open(new).map_err(git("read a tree"))?;
    for entry in old.iter().flat_map(Tree::iter) {
        let there = new.as_ref().and_then(|new| new.get_name_bytes(entry.name_bytes()));
        let was_dir = entry.kind() == Some(ObjectType::Tree);
        let is_dir = there.as_ref().is_some_and(|there| there.kind() == Some(ObjectType::Tree));
        if was_dir && !is_dir {
            let path = joined(at, entry.name_bytes());
            between(repository, Some(entry.id()), None, &path, each)?;
        } else if !was_dir && (there.is_none() || is_dir) {
            each(joined(at, entry.name_bytes()), None);
        }
    }
    for entry in new.iter().flat_map(Tree::iter) {
        let name = entry.name_bytes();
        check(name)?;
        let there = old.as_ref().and_then(|old| old.get_name_bytes(entry.name_bytes()));
        let same = there
            .as_ref()
            .is_some_and(|t| t.id() == entry.id() && t.filemode() == entry.filemode());
        if same {
            continue;
        }
        let path = joined(at, entry.name_bytes());
        if entry.kind() == Some(ObjectType::Tree) {
            let before = there.filter(|there| there.kind() == Some(ObjectType::Tree));
            between(repository, before.map(|before| before.id()), Some(entry.id()), &path, each)?;
        } else {
            let mode = FileMode::from_raw(entry.filemode());
            each(path, Some((mode, entry.id())));
        }
    }
    Ok(())
}

/// A path in a directory; the root's has no name.
pub(crate) fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}
