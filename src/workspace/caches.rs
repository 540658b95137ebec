//! Caches: what a base's own green gate left in ignored paths, kept to begin the next runs with.
//!
//! Each is a plain directory of files with their times and permissions, written beside its place, synced and
//! moved there; it never changes again. Both kinds of workspace can begin with one, whichever made it. Never
//! decides whether a gate was green.

use std::{
    collections::BTreeMap,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use crate::{
    files,
    git::Error,
    ids::{RepoPath, TreeId},
    workspace::{
        CacheId,
        look::{self, Seen},
        rules::{Base, InBase},
    },
};

const VERSION: u32 = 1;
const META: &str = "meta.json";
pub(super) const FILES: &str = "tree";
/// How the name of a cache begins that is not whole yet.
const NEW: &str = ".new-";
/// Its time says when a cache was last used.
const USED: &str = "used";

/// What is known of a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    version: u32,
    /// The tree whose gate made it.
    pub(super) tree: TreeId,
    /// Files of that tree were last changed at this time, at the latest: nanoseconds since 1970. Build tools
    /// compare with it, so the same contents elsewhere get no later time.
    pub(super) before: i64,
    /// All that is in it was made by this time. Other contents get a later one.
    pub(super) until: i64,
}

/// A cache that is there.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    directory: PathBuf,
    pub(super) id: CacheId,
    pub(super) meta: Meta,
}

/// What was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Files and links.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Bytes that had to be copied; the others are shared by the file system.
    pub copied_bytes: u64,
}

impl Cache {
    /// The cache of this name below `caches`.
    pub(super) fn find(caches: &Path, id: &CacheId) -> Option<Cache> {
        let directory = caches.join(id.as_str());
        let meta: Meta = serde_json::from_slice(&std::fs::read(directory.join(META)).ok()?).ok()?;
        let id = id.clone();
        (meta.version == VERSION).then_some(Cache { directory, id, meta })
    }

    /// Its files: paths of the repository below a directory.
    pub(super) fn files(&self) -> PathBuf {
        self.directory.join(FILES)
    }

    /// Tells it from one that was made anew under the same name.
    pub(super) fn mark(&self) -> String {
        format!("{}:{}", self.id.as_str(), self.meta.until)
    }

    /// Says that it was used now.
    pub(super) fn touch(&self) -> Result<(), Error> {
        Ok(files::set_modified(&used(&self.directory), None)?)
    }

    /// What of it belongs into a workspace of `base`: paths that it ignores and has no file at or above.
    pub(super) fn fitting(&self, base: &Base<'_>) -> Result<BTreeMap<Vec<u8>, Seen>, Error> {
        let mut fitting = BTreeMap::new();
        let files = self.files();
        ignored_below(&files, base, &mut |path, seen| {
            fitting.insert(path.as_bytes().to_vec(), *seen);
            Ok(())
        })?;
        Ok(fitting)
    }

    /// Makes `to` what the cache has at `path`: `seen`. The name is free, its directory there. Returns the
    /// bytes that were copied.
    pub(super) fn restore(&self, path: &RepoPath, seen: &Seen, to: &Path) -> Result<u64, Error> {
        place(&look::inside(&self.files(), path), seen, to)
    }
}

/// All that stands below `caches`; without a name, what a killed process began to keep.
pub(super) fn all(caches: &Path) -> Vec<(Option<CacheId>, PathBuf)> {
    let entries = std::fs::read_dir(caches).into_iter().flatten().flatten();
    let named = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        let id = name.to_str().filter(|name| !name.starts_with(NEW));
        (id.map(|name| CacheId(name.to_owned())), entry.path())
    };
    entries.map(named).collect()
}

/// The file whose time says when a cache was last used.
pub(super) fn used(directory: &Path) -> PathBuf {
    directory.join(USED)
}

/// Keeps what stands in ignored paths below `source`, a workspace of `base` or the changes that were made in
/// one; the name is free. `before` is the latest time of change of the base's own files; `each` hears of every path kept.
pub(super) fn keep(
    caches: &Path,
    id: &CacheId,
    source: &Path,
    (base, tree): (&Base<'_>, &TreeId),
    before: i64,
    each: &mut dyn FnMut(&RepoPath, &Seen),
) -> Result<Kept, Error> {
    let beside = begin(caches, id)?;
    let target = beside.join(FILES);
    files::create_private_dir(&target)?;
    let mut kept = Kept::default();
    ignored_below(source, base, &mut |path, seen| {
        let to = look::inside(&target, path);
        if let Some(parent) = to.parent() {
            files::create_dir_all(parent)?;
        }
        let copied = place(&look::inside(source, path), seen, &to)?;
        if seen.kind != FileType::Directory {
            kept.files += 1;
            kept.bytes += seen.stamp.size;
            kept.copied_bytes += copied;
        }
        each(path, seen);
        Ok(())
    })?;
    publish(caches, id, &beside, tree, before)?;
    Ok(kept)
}

/// Where a cache is made that is not whole yet; nothing is there.
pub(super) fn begin(caches: &Path, id: &CacheId) -> Result<PathBuf, Error> {
    let beside = caches.join(format!("{NEW}{}", id.as_str()));
    files::remove_any(&beside)?;
    files::create_private_dir(&beside)?;
    Ok(beside)
}

/// Makes what [`begin`] began the cache. All of its files are there, and nobody writes them any more.
pub(super) fn publish(
    caches: &Path,
    id: &CacheId,
    beside: &Path,
    tree: &TreeId,
    before: i64,
) -> Result<(), Error> {
    files::write_atomic(&used(beside), b"")?;
    let until = look::real(&used(beside));
    let until = until.map_err(|e| files::error("look at", beside)(e.into()))?.stamp.modified;
    let meta = Meta { version: VERSION, tree: tree.clone(), before, until };
    let meta = serde_json::to_vec(&meta).expect("numbers and texts are JSON");
    files::write_atomic(&beside.join(META), &meta)?;
    files::sync_all(beside)?;
    // What has this name and is no cache is what a damaged disk left.
    files::remove_any(&caches.join(id.as_str()))?;
    Ok(files::claim_by_rename(beside, &caches.join(id.as_str()))?)
}

/// Calls `each` with every directory, file and link below `root` that `base` ignores and does not have, a
/// directory before what is in it. Sockets, pipes and devices are left out, and a `.git` at the root.
fn ignored_below(
    root: &Path,
    base: &Base<'_>,
    each: &mut dyn FnMut(&RepoPath, &Seen) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut open = vec![RepoPath::new("")];
    while let Some(at) = open.pop() {
        let real = look::inside(root, &at);
        let wrap = |deed| {
            let real = real.clone();
            move |problem: rustix::io::Errno| files::error(deed, &real)(problem.into())
        };
        let directory = look::root(&real).map_err(wrap("open"))?;
        let mut names = Vec::new();
        look::list(&directory, |name, _| names.push(name.to_owned())).map_err(wrap("list"))?;
        names.sort();
        for name in names {
            let path = at.join(name.to_bytes());
            if path.as_bytes() == b".git" {
                continue;
            }
            let seen = look::entry(&directory, name.to_bytes()).map_err(wrap("look into"))?;
            let is_dir = seen.kind == FileType::Directory;
            let plain = matches!(
                seen.kind,
                FileType::Directory | FileType::RegularFile | FileType::Symlink
            );
            let free = match base.find(&path)? {
                InBase::Nothing => true,
                InBase::Directory => is_dir,
                InBase::File(_) => false,
            };
            if !plain || !free {
                continue;
            }
            if base.ignores(&path, is_dir)? {
                each(&path, &seen)?;
            }
            if is_dir {
                open.push(path);
            }
        }
    }
    Ok(())
}

/// Makes `to` what `from` is. Times of directories are not kept: they are those of the last copy.
fn place(from: &Path, seen: &Seen, to: &Path) -> Result<u64, Error> {
    if seen.kind == FileType::Directory {
        files::make_dir(to)?;
        // Its owner must be able to fill and to remove it.
        files::set_mode(to, seen.stamp.mode & 0o7777 | 0o700)?;
        return Ok(0);
    }
    let mut copied = 0;
    if seen.kind == FileType::Symlink {
        let target = std::fs::read_link(from).map_err(files::error("read the link", from))?;
        symlink(target, to).map_err(files::error("link", to))?;
    } else if files::copy(from, to)? {
        copied = seen.stamp.size;
    }
    files::set_modified(to, Some(seen.stamp.modified))?;
    Ok(copied)
}
