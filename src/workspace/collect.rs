//! Makes room: removes caches and slots that nobody used for long, or that are more than is allowed.
//!
//! The least recently used goes first. Never touches what is in use, and never reads a clock.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::{
    files,
    git::Error,
    ids::TreeId,
    workspace::{CACHES, CacheId, Slot, Store, caches, lock, overlay, pool},
};

/// What may stay.
#[derive(Clone, Copy, Debug)]
pub struct Collect {
    /// What was not used for longer goes.
    pub older_than: Duration,
    /// Bytes on disk of all workspaces and caches together.
    pub largest: u64,
}

/// What stays in any case, beside the slots that this store has lent out and those that are claimed.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    /// Slots.
    pub slots: BTreeSet<Slot>,
    /// Caches.
    pub caches: BTreeSet<CacheId>,
    /// Trees whose layers are needed.
    pub trees: BTreeSet<TreeId>,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Names of slots and caches.
    pub removed: Vec<String>,
    /// Bytes on disk that are free now.
    pub bytes: u64,
}

/// Something that can be removed as a whole.
struct Stored {
    name: String,
    path: PathBuf,
    used: SystemTime,
    bytes: u64,
    in_use: bool,
    slot: Option<Slot>,
}

impl Store {
    /// Removes what `rules` do not let stay.
    pub fn collect(
        &self,
        rules: &Collect,
        in_use: &InUse,
        now: SystemTime,
    ) -> Result<Collected, Error> {
        let mut all = self.stored(in_use);
        all.sort_by_key(|stored| stored.used);
        let mut size: u64 = all.iter().map(|stored| stored.bytes).sum();
        let mut collected = Collected::default();
        for stored in all.into_iter().filter(|stored| !stored.in_use) {
            let age = now.duration_since(stored.used).unwrap_or_default();
            if age <= rules.older_than && size <= rules.largest {
                continue;
            }
            // Nobody may be given the slot meanwhile.
            let lease = stored.slot.as_ref().map(|slot| self.lease(slot)).transpose();
            let Ok(_lease) = lease else { continue };
            if let Some(slot) = &stored.slot {
                lock(&self.known).remove(slot);
            }
            self.behind.wait(&stored.path);
            files::remove_any(&stored.path)?;
            size = size.saturating_sub(stored.bytes);
            collected.bytes += stored.bytes;
            collected.removed.push(stored.name);
        }
        let slots: Vec<PathBuf> = self.slots().iter().map(|slot| self.root.join(&slot.0)).collect();
        overlay::collect(&self.rooms(), &slots, &in_use.trees)?;
        Ok(collected)
    }

    /// Bytes on disk of all workspaces and caches.
    pub fn size(&self) -> Result<u64, Error> {
        Ok(bytes_of(&self.root))
    }

    fn stored(&self, in_use: &InUse) -> Vec<Stored> {
        let busy = lock(&self.busy).clone();
        let slots = self.slots().into_iter().map(|slot| {
            let path = self.root.join(&slot.0);
            Stored {
                name: slot.to_string(),
                used: time_of(&path.join(pool::MANIFEST)),
                bytes: bytes_of(&path),
                in_use: busy.contains(&slot)
                    || in_use.slots.contains(&slot)
                    || self.owner(&slot).is_some(),
                slot: Some(slot),
                path,
            }
        });
        let caches = caches::all(&self.root.join(CACHES)).into_iter().map(|(id, path)| Stored {
            name: format!("cache {}", id.as_ref().map_or("half made", CacheId::as_str)),
            used: time_of(&caches::used(&path)),
            bytes: bytes_of(&path),
            in_use: id.is_some_and(|id| in_use.caches.contains(&id)),
            slot: None,
            path,
        });
        slots.chain(caches).collect()
    }
}

/// When a file was changed last; long ago when it is not there.
fn time_of(path: &Path) -> SystemTime {
    let modified = fs::symlink_metadata(path).and_then(|found| found.modified());
    modified.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Bytes on disk of all below a path. What cannot be read counts nothing.
fn bytes_of(path: &Path) -> u64 {
    let mut open = vec![path.to_owned()];
    let mut bytes = 0;
    while let Some(at) = open.pop() {
        // Blocks are of 512 bytes, whatever the file system's own are (stat(2)).
        bytes += fs::symlink_metadata(&at).map_or(0, |found| found.blocks() * 512);
        for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            } else {
                bytes += entry.metadata().map_or(0, |found| found.blocks() * 512);
            }
        }
    }
    bytes
}
