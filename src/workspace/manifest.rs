//! What a pool laid out: for every file what it is of and how it looked, so that one walk tells what is not
//! as we left it.
//!
//! On disk it is a list of blocks, each with its checksum: the first says all, each further one what became
//! different. It is no promise that has to be kept in step with the files: an older state, or one whose last
//! block is torn, only means that more files are put back, because no stamp can be made to fit. Never looks
//! at the files themselves.

use std::{
    collections::{BTreeSet, HashMap},
    io::Write as _,
    path::Path,
};

use git2::Oid;
use rustix::fs::FileType;
use sha2::{Digest as _, Sha256};

use crate::{
    diff::FileMode,
    files,
    git::differences::joined,
    ids::{RepoPath, TreeId},
    workspace::{
        look::{self, Seen, Stamp},
        rules::Known,
    },
};

/// First bytes of a block: the format and its version.
const MAGIC: &[u8; 8] = b"nspool1\n";
const CHECKSUM: usize = 32;
const OID: usize = 20;
/// Blocks beyond the first are folded into a new first one when they are longer than this and half of it.
const FEW: u64 = 64 * 1024;

/// What a file that we laid out is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// The tree.
    Base(Known),
    /// The cache: an ignored path.
    Cache,
}

/// A file, a link or a submodule's directory as it was laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Box<[u8]>,
    pub(super) of: Of,
    /// Means nothing for a submodule.
    pub(super) stamp: Stamp,
}

/// A directory as it was laid out.
#[derive(Debug, Default)]
pub(super) struct Dir {
    pub(super) path: Vec<u8>,
    /// Permissions.
    pub(super) mode: u32,
    /// In order of name.
    pub(super) entries: Vec<Entry>,
    /// Directories in it.
    below: usize,
    /// True when it is of the cache, and stays when it is empty.
    pub(super) of_cache: bool,
    /// True when it is not there any more.
    pub(super) gone: bool,
}

impl Dir {
    pub(super) fn position(&self, name: &[u8]) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.name.as_ref().cmp(name))
    }
}

/// Everything that a pool laid out in one directory.
#[derive(Debug)]
pub(super) struct Manifest {
    /// `None` when nothing was laid out yet.
    pub(super) tree: Option<TreeId>,
    /// The cache that ignored paths are of.
    pub(super) cache: Option<String>,
    /// Files whose time of change is not before this are read again, in nanoseconds since 1970: the file
    /// system's clock ticks in steps, so their stamps cannot tell.
    pub(super) settled: i64,
    /// False when the machine was started anew since: a power cut may have left a file with its stamp and
    /// without its contents, so all are read again.
    pub(super) trusted: bool,
    dirs: Vec<Dir>,
    index: HashMap<Vec<u8>, usize>,
    /// Directories that the file does not tell right.
    unsaved: BTreeSet<usize>,
    first_block: u64,
    further_blocks: u64,
    /// True when the file must be written anew.
    anew: bool,
}

impl Manifest {
    /// Of an empty directory with these permissions.
    pub(super) fn new(mode: u32) -> Manifest {
        let mut manifest = Manifest {
            tree: None,
            cache: None,
            settled: 0,
            trusted: true,
            dirs: Vec::new(),
            index: HashMap::new(),
            unsaved: BTreeSet::new(),
            first_block: 0,
            further_blocks: 0,
            anew: true,
        };
        manifest.directory(b"", mode);
        manifest
    }

    /// All directories that are or were there, the root first.
    pub(super) fn dirs(&self) -> &[Dir] {
        &self.dirs
    }

    pub(super) fn dir(&self, path: &[u8]) -> Option<&Dir> {
        self.index.get(path).map(|at| &self.dirs[*at]).filter(|dir| !dir.gone)
    }

    pub(super) fn get(&self, path: &[u8]) -> Option<&Entry> {
        let (above, name) = look::split(path);
        let dir = self.dir(above)?;
        dir.position(name).ok().map(|at| &dir.entries[at])
    }

    /// Adds a directory, and those above it with the same permissions; one that is there gets these.
    pub(super) fn directory(&mut self, path: &[u8], mode: u32) -> usize {
        if let Some(at) = self.index.get(path).copied()
            && !self.dirs[at].gone
        {
            if self.dirs[at].mode != mode {
                self.dirs[at].mode = mode;
                self.unsaved.insert(at);
            }
            return at;
        }
        if !path.is_empty() {
            let (above, _) = look::split(path);
            let parent = match self.index.get(above).copied().filter(|at| !self.dirs[*at].gone) {
                Some(parent) => parent,
                None => self.directory(above, mode),
            };
            self.dirs[parent].below += 1;
        }
        let dir = Dir { path: path.to_vec(), mode, ..Dir::default() };
        let at = match self.index.get(path).copied() {
            Some(at) => {
                self.dirs[at] = dir;
                at
            }
            None => {
                self.dirs.push(dir);
                self.index.insert(path.to_vec(), self.dirs.len() - 1);
                self.dirs.len() - 1
            }
        };
        self.unsaved.insert(at);
        at
    }

    /// Says whether a directory is the cache's own.
    pub(super) fn keep_directory(&mut self, path: &[u8], of_cache: bool) {
        if let Some(at) = self.index.get(path).copied()
            && self.dirs[at].of_cache != of_cache
        {
            self.dirs[at].of_cache = of_cache;
            self.unsaved.insert(at);
        }
    }

    /// Adds or replaces a file. Its directory is there.
    pub(super) fn set(&mut self, path: &[u8], of: Of, stamp: Stamp) {
        let (above, name) = look::split(path);
        let Some(at) = self.index.get(above).copied() else { return };
        self.unsaved.insert(at);
        let dir = &mut self.dirs[at];
        let entry = Entry { name: name.into(), of, stamp };
        match dir.position(name) {
            Ok(found) => dir.entries[found] = entry,
            Err(place) => dir.entries.insert(place, entry),
        }
    }

    /// Forgets a file.
    pub(super) fn remove(&mut self, path: &[u8]) {
        let (above, name) = look::split(path);
        let Some(at) = self.index.get(above).copied() else { return };
        if let Ok(found) = self.dirs[at].position(name) {
            self.dirs[at].entries.remove(found);
            self.unsaved.insert(at);
        }
    }

    /// Forgets a directory and all that is in it.
    pub(super) fn remove_directory(&mut self, path: &[u8]) {
        let slash = [path, b"/"].concat();
        let inside = |dir: &Dir| !dir.gone && (dir.path == path || dir.path.starts_with(&slash));
        let all: Vec<usize> = (0..self.dirs.len()).filter(|at| inside(&self.dirs[*at])).collect();
        if all.is_empty() {
            return;
        }
        for at in all {
            let path = std::mem::take(&mut self.dirs[at].path);
            self.dirs[at] = Dir { path, gone: true, ..Dir::default() };
            self.unsaved.insert(at);
        }
        let (above, _) = look::split(path);
        if let Some(parent) = self.index.get(above).copied() {
            self.dirs[parent].below = self.dirs[parent].below.saturating_sub(1);
        }
    }

    /// Forgets a directory in which nothing is.
    pub(super) fn remove_empty(&mut self, path: &[u8]) {
        let Some(at) = self.index.get(path).copied() else { return };
        self.dirs[at].gone = true;
        self.unsaved.insert(at);
        let (above, _) = look::split(path);
        if let Some(parent) = self.index.get(above).copied() {
            self.dirs[parent].below = self.dirs[parent].below.saturating_sub(1);
        }
    }

    /// True when nothing is left of a directory, and it is neither the root nor the cache's.
    pub(super) fn is_empty(&self, path: &[u8]) -> bool {
        !path.is_empty()
            && self
                .dir(path)
                .is_some_and(|dir| dir.entries.is_empty() && dir.below == 0 && !dir.of_cache)
    }

    /// Every file with its path.
    pub(super) fn files(&self) -> impl Iterator<Item = (Vec<u8>, &Entry)> {
        let there = self.dirs.iter().filter(|dir| !dir.gone);
        there
            .flat_map(|dir| dir.entries.iter().map(|entry| (joined(&dir.path, &entry.name), entry)))
    }

    /// Makes all that is of the cache what `seen` says, and nothing else.
    pub(super) fn take_over(&mut self, seen: &[(RepoPath, Seen)]) {
        let former: Vec<Vec<u8>> =
            self.files().filter(|(_, entry)| entry.of == Of::Cache).map(|(path, _)| path).collect();
        for path in former {
            self.remove(&path);
        }
        for (path, seen) in seen {
            let path = path.as_bytes();
            if seen.kind == FileType::Directory {
                self.directory(path, seen.stamp.mode & 0o7777);
                self.keep_directory(path, true);
            } else {
                let (above, _) = look::split(path);
                if self.dir(above).is_some() {
                    self.set(path, Of::Cache, seen.stamp);
                }
            }
        }
    }

    /// The newest time of change of all files, in nanoseconds since 1970.
    pub(super) fn newest(&self) -> i64 {
        let entries = self.dirs.iter().flat_map(|dir| &dir.entries);
        entries.map(|entry| entry.stamp.changed).max().unwrap_or(0)
    }

    /// Reads a manifest; `None` when there is none whose first block is whole.
    pub(super) fn load(path: &Path) -> Option<Manifest> {
        let bytes = std::fs::read(path).ok()?;
        let boot = boot();
        let mut manifest: Option<Manifest> = None;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let Some((payload, behind)) = block(rest) else { break };
            let length = u64::try_from(rest.len() - behind.len()).unwrap_or(u64::MAX);
            let first = manifest.is_none();
            let target = manifest.get_or_insert_with(|| Manifest::new(0));
            // A checksum that fits and a text that does not is another version's.
            target.read(&mut Reader(payload), boot.as_deref())?;
            if first {
                target.first_block = length;
            } else {
                target.further_blocks += length;
            }
            rest = behind;
        }
        let mut manifest = manifest?;
        manifest.count_below();
        manifest.unsaved.clear();
        manifest.anew = !rest.is_empty();
        Some(manifest)
    }

    fn count_below(&mut self) {
        for at in 1..self.dirs.len() {
            if !self.dirs[at].gone {
                let (above, _) = look::split(&self.dirs[at].path);
                if let Some(parent) = self.index.get(above).copied() {
                    self.dirs[parent].below += 1;
                }
            }
        }
    }

    fn read(&mut self, reader: &mut Reader<'_>, boot: Option<&str>) -> Option<()> {
        let made_in = reader.bytes()?;
        self.trusted = boot.is_some_and(|boot| boot.as_bytes() == made_in);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        self.tree = Some(TreeId::new(text(reader.bytes()?)?).ok()?);
        self.cache = Some(text(reader.bytes()?)?).filter(|cache| !cache.is_empty());
        self.settled = reader.i64()?;
        for _ in 0..reader.u32()? {
            let path = reader.bytes()?;
            let (mode, flags, entries) = (reader.u32()?, reader.u8()?, reader.u32()?);
            let entries = (0..entries).map(|_| reader.entry()).collect::<Option<Vec<Entry>>>()?;
            let of_cache = flags & 1 != 0;
            let gone = flags & 2 != 0;
            let dir = Dir { path: path.to_vec(), mode, entries, below: 0, of_cache, gone };
            match self.index.get(path).copied() {
                Some(at) => self.dirs[at] = dir,
                None => {
                    self.index.insert(path.to_vec(), self.dirs.len());
                    self.dirs.push(dir);
                }
            }
        }
        reader.0.is_empty().then_some(())
    }

    /// Writes what became different, or all of it. Files that were looked at before this and are older than
    /// `racy` nanoseconds by then need not be read again.
    pub(super) fn save(&mut self, path: &Path, racy: i64) -> Result<(), files::Error> {
        self.settled = self.settled.max(self.newest() - racy);
        self.trusted = true;
        let all =
            self.anew || !path.exists() || self.further_blocks > FEW.max(self.first_block / 2);
        if all {
            self.forget_gone();
            let whole = self.block((0..self.dirs.len()).collect::<Vec<_>>().as_slice());
            files::write_atomic(path, &whole)?;
            (self.first_block, self.further_blocks) = (length(&whole), 0);
        } else {
            let unsaved: Vec<usize> = self.unsaved.iter().copied().collect();
            let part = self.block(&unsaved);
            let wrap = files::error("write", path);
            files::append_to(path)?.write_all(&part).map_err(wrap)?;
            self.further_blocks += length(&part);
        }
        self.unsaved.clear();
        self.anew = false;
        // The file system's own clock. Nothing ran since the files were looked at.
        let now = look::real(path).map_err(|e| files::error("look at", path)(e.into()))?;
        self.settled = self.settled.max(now.stamp.modified - racy);
        Ok(())
    }

    fn forget_gone(&mut self) {
        self.dirs.retain(|dir| !dir.gone);
        let paths = self.dirs.iter().map(|dir| dir.path.clone());
        self.index = paths.zip(0..).collect();
    }

    fn block(&self, dirs: &[usize]) -> Vec<u8> {
        let mut payload = Vec::new();
        put_bytes(&mut payload, boot().unwrap_or_default().as_bytes());
        put_bytes(&mut payload, self.tree.as_ref().map_or("", TreeId::as_str).as_bytes());
        put_bytes(&mut payload, self.cache.as_deref().unwrap_or_default().as_bytes());
        payload.extend(self.settled.to_le_bytes());
        put_length(&mut payload, dirs.len());
        for at in dirs {
            let dir = &self.dirs[*at];
            put_bytes(&mut payload, &dir.path);
            payload.extend(dir.mode.to_le_bytes());
            payload.push(u8::from(dir.of_cache) | u8::from(dir.gone) << 1);
            put_length(&mut payload, dir.entries.len());
            for entry in &dir.entries {
                put_entry(&mut payload, entry);
            }
        }
        let mut block = Vec::with_capacity(payload.len() + 64);
        block.extend(MAGIC);
        block.extend(length(&payload).to_le_bytes());
        block.extend(Sha256::digest(&payload));
        block.append(&mut payload);
        block
    }
}

/// The id of this run of the machine; `None` where the system does not tell.
fn boot() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn put_length(into: &mut Vec<u8>, length: usize) {
    into.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    put_length(into, bytes.len());
    into.extend_from_slice(bytes);
}

fn put_entry(into: &mut Vec<u8>, entry: &Entry) {
    put_bytes(into, &entry.name);
    match entry.of {
        Of::Base(known) => {
            into.push(match known.mode {
                FileMode::Regular => 1,
                FileMode::Executable => 2,
                FileMode::Symlink => 3,
                FileMode::Gitlink => 4,
            });
            into.extend_from_slice(known.id.as_bytes());
        }
        Of::Cache => into.push(0),
    }
    let Stamp { inode, size, mode, modified, changed } = entry.stamp;
    into.extend(inode.to_le_bytes());
    into.extend(size.to_le_bytes());
    into.extend(mode.to_le_bytes());
    into.extend(modified.to_le_bytes());
    into.extend(changed.to_le_bytes());
}

/// The contents of the block that begins here, and what is behind it. `None` when it is not whole.
fn block(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (checksum, rest) = rest.split_at_checked(CHECKSUM)?;
    let (payload, behind) = rest.split_at_checked(length)?;
    (Sha256::digest(payload).as_slice() == checksum).then_some((payload, behind))
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*chunk)
    }

    fn u8(&mut self) -> Option<u8> {
        self.chunk::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.chunk().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.chunk().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.chunk().map(i64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn entry(&mut self) -> Option<Entry> {
        let name = self.bytes()?.into();
        let mode = match self.u8()? {
            0 => None,
            1 => Some(FileMode::Regular),
            2 => Some(FileMode::Executable),
            3 => Some(FileMode::Symlink),
            4 => Some(FileMode::Gitlink),
            _ => return None,
        };
        let of = match mode {
            None => Of::Cache,
            Some(mode) => {
                Of::Base(Known { mode, id: Oid::from_bytes(&self.chunk::<OID>()?).ok()? })
            }
        };
        let stamp = Stamp {
            inode: self.u64()?,
            size: self.u64()?,
            mode: self.u32()?,
            modified: self.i64()?,
            changed: self.i64()?,
        };
        Some(Entry { name, of, stamp })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(inode: u64) -> Stamp {
        Stamp { inode, size: 5, mode: 0o100_644, modified: 7, changed: 9 }
    }

    fn of_base() -> Of {
        let id = Oid::from_bytes(&[7; OID]).unwrap();
        Of::Base(Known { mode: FileMode::Executable, id })
    }

    fn sample() -> Manifest {
        let mut manifest = Manifest::new(0o700);
        manifest.tree = TreeId::new("a".repeat(40)).ok();
        manifest.directory(b"src/deep", 0o755);
        manifest.set(b"src/deep/\xff\n", of_base(), stamp(1));
        manifest.set(b"src/b", Of::Cache, stamp(2));
        manifest.set(b"src/a", of_base(), stamp(3));
        manifest
    }

    fn shown(manifest: &Manifest) -> Vec<(Vec<u8>, Entry)> {
        let mut all: Vec<_> = manifest.files().map(|(path, entry)| (path, entry.clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    #[test]
    fn what_was_saved_in_parts_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest");
        let mut manifest = sample();
        manifest.save(&path, 0).unwrap();
        manifest.remove(b"src/a");
        manifest.remove_directory(b"src/deep");
        manifest.directory(b"other", 0o700);
        manifest.set(b"other/x", of_base(), stamp(4));
        manifest.cache = Some("c".to_owned());
        manifest.save(&path, 0).unwrap();
        let read = Manifest::load(&path).unwrap();
        assert_eq!(shown(&read), shown(&manifest));
        assert_eq!((&read.tree, &read.cache), (&manifest.tree, &manifest.cache));
        assert!(read.dir(b"src/deep").is_none() && read.dir(b"other").is_some());
        assert!(read.is_empty(b"src") == manifest.is_empty(b"src") && !read.anew);
    }

    #[test]
    fn a_torn_block_leaves_the_state_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest");
        let mut manifest = sample();
        manifest.save(&path, 0).unwrap();
        let (whole, before) = (std::fs::read(&path).unwrap(), shown(&manifest));
        manifest.remove(b"src/b");
        manifest.save(&path, 0).unwrap();
        let (both, after) = (std::fs::read(&path).unwrap(), shown(&manifest));
        for cut in 0..both.len() {
            crate::files::write_atomic(&path, &both[..cut]).unwrap();
            match Manifest::load(&path) {
                Some(read) => {
                    assert!(cut >= whole.len() && shown(&read) == before, "{cut}");
                    assert_eq!(read.anew, cut != whole.len(), "{cut}");
                }
                None => assert!(cut < whole.len(), "{cut}"),
            }
        }
        let mut damaged = both.clone();
        *damaged.last_mut().unwrap() ^= 1;
        crate::files::write_atomic(&path, &damaged).unwrap();
        assert_eq!(shown(&Manifest::load(&path).unwrap()), before);
        crate::files::write_atomic(&path, &both).unwrap();
        assert_eq!(shown(&Manifest::load(&path).unwrap()), after);
    }
}
