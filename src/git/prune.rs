//! Objects of the vault that nothing names any more: found by a walk from every ref and from every name in a journal
//! that is kept, and removed when they are old.
//!
//! Works in our own store alone and never looks into the user's. What is named is in a new pack, synced, before an old
//! one goes. Only the holder of the night's lock may call it.

use std::{
    collections::{BTreeSet, HashSet},
    fs::Metadata,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use git2::{ObjectType, Oid, Repository};

use super::{Error, Vault, git, user::write_pack};
use crate::files;

/// Old packs that are put together into one even if all that they hold is named.
const PACKS: usize = 8;
/// Old loose objects that are put into one pack: git's own number for it.
const LOOSE: usize = 6_700;

/// What is kept, and what is done.
#[derive(Debug)]
pub struct Rules<'a> {
    /// Refs that do not count: they are about to go.
    pub without: &'a BTreeSet<String>,
    /// Names of objects that count as refs do. What is no object of ours is passed over.
    pub roots: &'a BTreeSet<String>,
    /// Nothing that was written after this goes.
    pub older_than: SystemTime,
    /// True: only counts.
    pub dry_run: bool,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Objects.
    pub objects: u64,
    /// Bytes on disk that are free now; of packs only what was really freed.
    pub bytes: u64,
}

/// Removes old objects that nothing names. Cut off anywhere, everything that is named is still there.
pub fn prune(vault: &Vault, rules: &Rules<'_>) -> Result<Pruned, Error> {
    let handles = vault.open()?;
    let named = named(&handles.own, rules)?;
    let objects = vault.directory().join("objects");
    let mut pruned = Pruned::default();
    let mut loose = HashSet::new();
    let mut to_pack = Vec::new();
    for (id, path, found) in loose_objects(&objects) {
        loose.insert(id);
        if !is_old(&found, rules) {
            continue;
        }
        if named.contains(&id) {
            to_pack.push(path);
        } else {
            if !rules.dry_run {
                files::remove_file(&path)?;
            }
            pruned.objects += 1;
            pruned.bytes += found.blocks() * 512;
        }
    }
    let directory = objects.join("pack");
    let old = old_packs(&directory, rules);
    let mut unnamed = 0;
    let odb = handles.own.odb().map_err(git("list the vault's objects"))?;
    odb.foreach(|id| {
        unnamed += u64::from(!named.contains(id) && !loose.contains(id));
        true
    })
    .map_err(git("list the vault's objects"))?;
    let packs = !old.is_empty() && (unnamed > 0 || old.len() >= PACKS);
    if rules.dry_run || !packs && to_pack.len() < LOOSE {
        return Ok(pruned);
    }
    let wrap = || git("write a pack into the vault");
    let mut pack = handles.own.packbuilder().map_err(wrap())?;
    for id in &named {
        pack.insert_object(*id, None).map_err(wrap())?;
    }
    let new = write_pack(&mut pack, &directory)?.map(|name| format!("pack-{name}"));
    let written = new.as_ref().map_or(0, |name| size(&directory.join(format!("{name}.pack"))));
    let mut freed = 0;
    let old_went = !old.is_empty();
    for pack in old.into_iter().filter(|pack| Some(pack) != new.as_ref()) {
        // Without its index a pack is none: what is cut off here is seen by nobody, and removed the next time.
        for ending in ["idx", "rev", "pack"] {
            let path = directory.join(format!("{pack}.{ending}"));
            freed += size(&path);
            files::remove_file(&path)?;
        }
    }
    for path in to_pack {
        freed += size(&path);
        files::remove_file(&path)?;
    }
    pruned.objects += if old_went { unnamed } else { 0 };
    pruned.bytes += u64::saturating_sub(freed, written);
    Ok(pruned)
}

/// Every object of our own store that a ref or a root leads to.
fn named(own: &Repository, rules: &Rules<'_>) -> Result<HashSet<Oid>, Error> {
    let wrap = || git("look through the vault's objects");
    let odb = own.odb().map_err(wrap())?;
    let mut open: Vec<Oid> = Vec::new();
    for reference in own.references().map_err(wrap())? {
        let reference = reference.map_err(wrap())?;
        if reference.name().is_ok_and(|name| rules.without.contains(name)) {
            continue;
        }
        open.extend(reference.target());
    }
    open.extend(rules.roots.iter().filter_map(|name| Oid::from_str(name).ok()));
    let mut named = HashSet::new();
    while let Some(id) = open.pop() {
        // What is not ours is the user's, with all that it names.
        if named.contains(&id) || !odb.exists(id) {
            continue;
        }
        named.insert(id);
        match odb.read_header(id).map_err(wrap())?.1 {
            ObjectType::Commit => {
                let commit = own.find_commit(id).map_err(wrap())?;
                open.push(commit.tree_id());
                open.extend(commit.parent_ids());
            }
            ObjectType::Tree => {
                let tree = own.find_tree(id).map_err(wrap())?;
                open.extend(tree.iter().map(|entry| entry.id()));
            }
            ObjectType::Tag => {
                open.push(own.find_tag(id).map_err(wrap())?.target_id());
            }
            ObjectType::Blob | ObjectType::Any => {}
        }
    }
    Ok(named)
}

fn loose_objects(objects: &Path) -> impl Iterator<Item = (Oid, PathBuf, Metadata)> {
    let list = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    list(objects).flat_map(move |directory| {
        let first = directory.file_name().to_string_lossy().into_owned();
        let below = (first.len() == 2).then(|| list(&directory.path()));
        below.into_iter().flatten().filter_map(move |entry| {
            let rest = entry.file_name().to_string_lossy().into_owned();
            let id =
                (rest.len() == 38).then(|| Oid::from_str(&format!("{first}{rest}")).ok())??;
            Some((id, entry.path(), entry.metadata().ok()?))
        })
    })
}

/// Names of packs, without endings, that may go once what they hold is elsewhere; also those without an index.
fn old_packs(directory: &Path, rules: &Rules<'_>) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<String> = entries
        .filter(|entry| entry.metadata().is_ok_and(|found| is_old(&found, rules)))
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let name = name.strip_suffix(".pack")?;
            (!directory.join(format!("{name}.keep")).exists()).then(|| name.to_owned())
        })
        .collect();
    found.sort();
    found
}

fn is_old(found: &Metadata, rules: &Rules<'_>) -> bool {
    found.modified().is_ok_and(|written| written < rules.older_than)
}

fn size(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).map_or(0, |found| found.blocks() * 512)
}
