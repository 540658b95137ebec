//! Objects on their way into the person's repository, beside a person who cleans up there at the same moment.
//!
//! `git gc` and `git repack` take away what no ref names when they begin. So a pack of ours is marked as kept from
//! before it can be seen until its ref stands, and it holds all of ours that no ref of ours names there yet: what the
//! person's repository happens to have, a clean-up under way may take. Never touches a pack that is not ours.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use git2::{ObjectType, Oid, Repository};

use super::{Error, Handles, Vault, git, oid, refs_below, user::write_pack};
use crate::{
    files,
    ids::{BRANCH_NAMESPACE, NAME, REF_NAMESPACE},
};

/// How a directory begins in which a pack is made, in the vault.
const STAGE: &str = ".pack-";

/// How a file begins that is not whole yet, beside the person's packs. Not `tmp_`: git removes such files.
const COMING: &str = ".nightshift-";

/// The mark on a pack whose ref does not stand yet. Gone when this is dropped.
pub(super) struct Kept(PathBuf);

impl Drop for Kept {
    fn drop(&mut self) {
        // One that cannot be removed now is removed by the next holder of the night's lock.
        let _ = files::remove_file(&self.0);
    }
}

/// Commits of ours that refs of the person's repository hold, with all that they name.
pub(super) fn held(handles: &Handles, user: &Repository) -> Result<HashSet<Oid>, Error> {
    let bases = refs_below(user, &format!("{REF_NAMESPACE}keep/"))?;
    let mut held: HashSet<Oid> = bases.iter().map(|(_, base)| oid(base.as_str())).collect();
    let own = handles.own.odb().map_err(git("open the vault's objects"))?;
    for (_, tip) in refs_below(user, BRANCH_NAMESPACE)? {
        let mut at = Some(oid(tip.as_str()));
        while let Some(id) = at.filter(|id| own.exists(*id) && held.insert(*id)) {
            at = handles.own.find_commit(id).ok().and_then(|commit| commit.parent_id(0).ok());
        }
    }
    Ok(held)
}

/// What `tip` and the commits below it brought, as far as it is ours and nothing in `held` names it.
pub(super) fn brought(
    handles: &Handles,
    held: &HashSet<Oid>,
    tip: Oid,
) -> Result<HashSet<Oid>, Error> {
    let wrap = || git("read what is ours");
    let own = handles.own.odb().map_err(wrap())?;
    let mut found = HashSet::new();
    let mut open = vec![tip];
    while let Some(id) = open.pop() {
        if held.contains(&id) || !own.exists(id) || !found.insert(id) {
            continue;
        }
        let commit = handles.read.find_commit(id).map_err(wrap())?;
        let below = commit.parent_ids().next();
        let below = below.and_then(|parent| handles.read.find_commit(parent).ok());
        let below = below.map(|parent| parent.tree_id());
        let mut trees = vec![(commit.tree_id(), below)];
        while let Some((tree, beside)) = trees.pop() {
            if Some(tree) == beside || !own.exists(tree) || !found.insert(tree) {
                continue;
            }
            let tree = handles.read.find_tree(tree).map_err(wrap())?;
            let beside = beside.and_then(|beside| handles.read.find_tree(beside).ok());
            for entry in &tree {
                let same =
                    beside.as_ref().and_then(|beside| beside.get_name_bytes(entry.name_bytes()));
                let same = same.map(|same| same.id());
                match entry.kind() {
                    Some(ObjectType::Tree) => trees.push((entry.id(), same)),
                    Some(ObjectType::Blob)
                        if same != Some(entry.id()) && own.exists(entry.id()) =>
                    {
                        found.insert(entry.id());
                    }
                    _ => {} // a gitlink names a commit of another repository
                }
            }
        }
        open.extend(commit.parent_ids());
    }
    Ok(found)
}

/// Writes one pack of these objects into `directory`, the person's packs, and marks it until the result is dropped.
/// Durable when it returns.
pub(super) fn pack(
    vault: &Vault,
    handles: &Handles,
    objects: HashSet<Oid>,
    directory: &Path,
) -> Result<Option<Kept>, Error> {
    let wrap = || git("write a pack into your repository");
    let mut pack = handles.pack.packbuilder().map_err(wrap())?;
    for id in objects {
        pack.insert_object(id, None).map_err(wrap())?;
    }
    // Elsewhere first: its name is known when it is written, and the mark comes before it.
    let beside = tempfile::Builder::new().prefix(STAGE).tempdir_in(vault.directory());
    let beside = beside.map_err(files::error("create a directory in", vault.directory()))?;
    let Some(name) = write_pack(&mut pack, beside.path())? else { return Ok(None) };
    // Its parent is there, or there is no repository: nothing is made where one was.
    files::make_dir(directory)?;
    let kept = Kept(directory.join(format!("pack-{name}.keep")));
    files::write_soon(&kept.0, mark().as_bytes())?;
    for kind in ["pack", "idx"] {
        let file = format!("pack-{name}.{kind}");
        let (from, to) = (beside.path().join(&file), directory.join(&file));
        if to.exists() {
            continue;
        }
        let coming = directory.join(format!("{COMING}{file}"));
        files::remove_file(&coming)?;
        files::copy(&from, &coming)?;
        let copied = std::fs::File::open(&coming).and_then(|file| file.sync_all());
        copied.map_err(files::error("sync", &coming))?;
        files::rename(&coming, &to)?;
    }
    files::sync_dir(directory)?;
    Ok(Some(kept))
}

/// Removes the marks and the unfinished files that a killed night left. Only the holder of the night's lock may call it.
pub(super) fn clear_marks(directory: &Path) -> Result<(), Error> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_mark = path.extension().is_some_and(|extension| extension == "keep");
        let is_ours = is_mark && std::fs::read_to_string(&path).is_ok_and(|text| text == mark());
        let name = path.file_name().map(|name| name.to_string_lossy());
        if is_ours || name.is_some_and(|name| name.starts_with(COMING)) {
            files::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Removes what was being made when a night was killed. Only the holder of the night's lock may call it.
pub(super) fn clear_stages(vault: &Path) -> Result<(), Error> {
    let Ok(entries) = std::fs::read_dir(vault) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(STAGE) {
            files::remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// What stands in a mark of ours.
fn mark() -> String {
    format!("{NAME}: until its ref stands\n")
}
