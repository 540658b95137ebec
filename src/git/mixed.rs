//! Trees that are made to be tried and never land: with files broken on purpose, with a patch, with some files of
//! another tree.
//!
//! Writes objects into the vault's own store and moves no ref: nothing but a gate ever sees these trees.

use std::collections::BTreeMap;

use super::{Error, TreeEdit, Vault, adopt, blob_id, git, oid, tree, tree_id};
use crate::{
    diff::FileMode,
    ids::{RepoPath, TreeId},
};

/// The tree that is `base` with these files: their contents, or `None` to remove one. A file that is there keeps its
/// mode.
pub fn with_texts(
    vault: &Vault,
    base: &TreeId,
    files: &BTreeMap<RepoPath, Option<Vec<u8>>>,
) -> Result<TreeId, Error> {
    let handles = vault.open()?;
    let mut edits: BTreeMap<RepoPath, TreeEdit> = BTreeMap::new();
    // Many files of one text are one object.
    let mut stored: BTreeMap<&[u8], crate::ids::BlobId> = BTreeMap::new();
    for (path, text) in files {
        let Some(text) = text else {
            edits.insert(path.clone(), None);
            continue;
        };
        let blob = match stored.get(text.as_slice()) {
            Some(blob) => blob.clone(),
            None => {
                let blob = blob_id(handles.own.blob(text).map_err(git("store a file"))?);
                stored.insert(text, blob.clone());
                blob
            }
        };
        let old = tree::find(&handles.read, base, path)?;
        let mode = old.map_or(FileMode::Regular, |entry| FileMode::from_raw(entry.filemode()));
        edits.insert(path.clone(), Some((mode, blob)));
    }
    tree::write(&handles, base, &edits)
}

/// The tree that is `base`, with each of `paths` as it is in `other`: with its contents and mode, or absent.
pub fn with_files_of(
    vault: &Vault,
    base: &TreeId,
    other: &TreeId,
    paths: &[RepoPath],
) -> Result<TreeId, Error> {
    let handles = vault.open()?;
    let mut edits: BTreeMap<RepoPath, TreeEdit> = BTreeMap::new();
    for path in paths {
        let found = tree::find(&handles.read, other, path)?;
        let edit = found
            .filter(|entry| entry.kind() != Some(git2::ObjectType::Tree))
            .map(|entry| (FileMode::from_raw(entry.filemode()), blob_id(entry.id())));
        edits.insert(path.clone(), edit);
    }
    tree::write(&handles, base, &edits)
}

/// The tree that is `base` with a patch, and the paths that the patch names. `Err` in it says why it does not fit.
pub fn with_patch(
    vault: &Vault,
    base: &TreeId,
    patch: &[u8],
) -> Result<Result<(TreeId, Vec<RepoPath>), String>, Error> {
    let handles = vault.open()?;
    let diff = match git2::Diff::from_buffer(patch) {
        Ok(diff) if diff.deltas().len() > 0 => diff,
        Ok(_) => return Ok(Err("it changes nothing".to_owned())),
        Err(problem) => return Ok(Err(problem.message().to_owned())),
    };
    let mut paths: Vec<RepoPath> = diff
        .deltas()
        .flat_map(|delta| {
            [delta.old_file(), delta.new_file()].map(|f| f.path_bytes().map(RepoPath::new))
        })
        .flatten()
        .collect();
    paths.sort();
    paths.dedup();
    let old = handles.read.find_tree(oid(base.as_str())).map_err(git("read a tree"))?;
    let mut index = match handles.read.apply_to_tree(&old, &diff, None) {
        Ok(index) => index,
        Err(problem) => return Ok(Err(problem.message().to_owned())),
    };
    let written = index.write_tree_to(&handles.read).map_err(git("store a patched tree"))?;
    adopt(&handles, written)?;
    Ok(Ok((tree_id(written), paths)))
}
