//! Brings a pool from what it is to one tree and one cache, writing only what differs.
//!
//! First everything that is not as it was left is undone, then the difference of the trees is applied. A cut
//! anywhere leaves files whose stamps are not those of the manifest on disk, which is written last: the next
//! time they are undone. Never touches the time of a file that stays the same, but where a cache demands it.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io::Read as _,
    path::Path,
};

use git2::{ObjectType, Oid, Repository};
use rustix::fs::FileType;

use crate::{
    diff::FileMode,
    files,
    git::{Error, differences, git, oid},
    ids::{RepoPath, TreeId},
    workspace::{
        caches::Cache,
        look::{self, Seen, Stamp},
        manifest::{Manifest, Of},
        pool::{RACY_NANOSECONDS, write},
        rules::{Base, InBase, Known},
        walk::{Found, What},
    },
};

/// What a path is to become.
#[derive(Debug)]
enum Put {
    /// A file of the tree, with the time that it had when it was laid out before.
    Base(Known, Option<i64>),
    /// A file or directory of the cache.
    Cache(Seen),
}

/// One lay-out.
pub(super) struct Switch<'s> {
    repository: &'s Repository,
    root: &'s Path,
    manifest: Manifest,
    base: Base<'s>,
    tree: &'s TreeId,
    cache: Option<&'s Cache>,
    /// The tree whose gate made the cache.
    cached: Option<Base<'s>>,
    put: BTreeMap<Vec<u8>, Put>,
    gone: BTreeSet<Vec<u8>>,
    /// Directories of a former cache.
    former: Vec<Vec<u8>>,
    /// Directories that are surely there.
    made: HashSet<Vec<u8>>,
    copied: u64,
}

impl<'s> Switch<'s> {
    /// From what `manifest` says about the files below `root` to `tree` and `cache`.
    pub(super) fn new(
        repository: &'s Repository,
        root: &'s Path,
        manifest: Manifest,
        tree: &'s TreeId,
        cache: Option<&'s Cache>,
    ) -> Result<Switch<'s>, Error> {
        let cached = cache.map(|cache| Base::new(repository, &cache.meta.tree)).transpose()?;
        Ok(Switch {
            repository,
            root,
            manifest,
            base: Base::new(repository, tree)?,
            tree,
            cache,
            cached,
            put: BTreeMap::new(),
            gone: BTreeSet::new(),
            former: Vec::new(),
            made: HashSet::from([Vec::new()]),
            copied: 0,
        })
    }

    /// Does it, where `found` is everything that is not as the manifest has it. Returns what is there now,
    /// and how many bytes of the cache were copied. The manifest is not saved yet.
    pub(super) fn run(mut self, found: Vec<Found>) -> Result<(Manifest, u64), Error> {
        // From above, and before anything in them: a directory that cannot be written protects its files.
        let mut locked: Vec<&Found> =
            found.iter().filter(|found| matches!(found.what, What::Permissions)).collect();
        locked.sort_by_key(|found| found.path.len());
        for dir in locked {
            if let Some(known) = self.manifest.dir(&dir.path) {
                files::set_mode(&self.real(&dir.path), known.mode | 0o700)?;
            }
        }
        // Before anything is made in them: what a directory lays down for new files would reach those of ours.
        let touched: Vec<Vec<u8>> = found
            .iter()
            .filter(|found| matches!(found.what, What::Touched))
            .map(|found| found.path.clone())
            .collect();
        for path in &touched {
            files::strip_attributes(&self.real(path))?;
        }
        for found in found {
            self.undo(found)?;
        }
        let other_cache = self.manifest.cache != self.cache.map(Cache::mark);
        let other_rules = self.switch()?;
        if other_cache {
            self.drop_cache(|_| false);
        }
        if let Some(cache) = self.cache
            && (other_cache || other_rules)
        {
            self.bring(cache)?;
        }
        for path in std::mem::take(&mut self.gone) {
            files::remove_any(&self.real(&path))?;
            self.manifest.remove(&path);
            self.drop_empty(look::split(&path).0)?;
        }
        for path in std::mem::take(&mut self.former) {
            self.drop_empty(&path)?;
        }
        for (path, put) in std::mem::take(&mut self.put) {
            self.put(&path, &put)?;
        }
        if let Some(cache) = self.cache
            && other_cache
        {
            self.agree_with(cache)?;
        }
        self.set_times(&touched)?;
        self.manifest.tree = Some(self.tree.clone());
        self.manifest.cache = self.cache.map(Cache::mark);
        Ok((self.manifest, self.copied))
    }

    /// Gives directories that somebody changed a time of ours: a cache's own its own again, and every other the
    /// present, which is later than all that was made of what is in it.
    fn set_times(&self, touched: &[Vec<u8>]) -> Result<(), Error> {
        for path in touched {
            let real = self.real(path);
            let Some(dir) = self.manifest.dir(path).filter(|_| real.is_dir()) else { continue };
            let of_cache = if dir.of_cache { self.of_cache(path)? } else { None };
            files::set_modified(&real, of_cache.map(|seen| seen.stamp.modified))?;
        }
        Ok(())
    }

    fn real(&self, path: &[u8]) -> std::path::PathBuf {
        look::inside(self.root, &RepoPath::new(path))
    }

    fn undo(&mut self, found: Found) -> Result<(), Error> {
        let Found { path, what } = found;
        match what {
            What::Stranger(_) => files::remove_any(&self.real(&path))?,
            What::Submodule => {
                files::remove_any(&self.real(&path))?;
                self.put_back(path)?;
            }
            What::Changed(_) | What::Missing => self.put_back(path)?,
            What::Doubtful(seen) => {
                let entry = self.manifest.get(&path).map(|entry| entry.of);
                let fine = match entry {
                    Some(Of::Base(known)) => {
                        let bytes = self.contents(&path, &seen)?;
                        let id = Oid::hash_object(ObjectType::Blob, &bytes);
                        id.map_err(git("hash a file"))? == known.id
                    }
                    Some(Of::Cache) => self.is_as_cached(&path, &seen)?,
                    None => false,
                };
                if !fine {
                    self.put_back(path)?;
                }
            }
            What::NoDirectory => {
                if self.manifest.dir(&path).is_some_and(|dir| dir.of_cache) {
                    self.put_back(path)?;
                }
            }
            What::Permissions | What::Touched => {}
            What::Unreadable => {
                return Err(Error::Unusable {
                    message: format!("{} cannot be read", self.real(&path).display()),
                    help: "remove it".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Plans that a path of ours becomes what it was.
    fn put_back(&mut self, path: Vec<u8>) -> Result<(), Error> {
        let put = match self.manifest.get(&path).map(|entry| (entry.of, entry.stamp.modified)) {
            Some((Of::Base(known), modified)) => Some(Put::Base(known, Some(modified))),
            Some((Of::Cache, _)) | None => self.of_cache(&path)?.map(Put::Cache),
        };
        match put {
            Some(put) => drop(self.put.insert(path, put)),
            None => drop(self.gone.insert(path)),
        }
        Ok(())
    }

    /// What the cache has at a path, when it is the same cache as before.
    fn of_cache(&self, path: &[u8]) -> Result<Option<Seen>, Error> {
        let same = |cache: &&Cache| self.manifest.cache.as_ref() == Some(&cache.mark());
        let Some(cache) = self.cache.filter(same) else { return Ok(None) };
        let real = look::inside(&cache.files(), &RepoPath::new(path));
        match look::real(&real) {
            Ok(seen) => Ok(Some(seen)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(problem) => Err(files::error("look at", &real)(problem.into()).into()),
        }
    }

    /// True when a file whose stamp fits has the contents that the same cache has.
    fn is_as_cached(&self, path: &[u8], seen: &Seen) -> Result<bool, Error> {
        let (Some(cache), Some(there)) = (self.cache, self.of_cache(path)?) else {
            return Ok(false);
        };
        if (there.kind, there.stamp.size) != (seen.kind, seen.stamp.size) {
            return Ok(false);
        }
        let there = contents(&cache.files(), path, &there)?;
        Ok(self.contents(path, seen)? == there)
    }

    fn contents(&self, path: &[u8], seen: &Seen) -> Result<Vec<u8>, Error> {
        contents(self.root, path, seen)
    }

    /// Plans the difference of the trees. Returns whether it may change which paths of a cache fit.
    fn switch(&mut self) -> Result<bool, Error> {
        let old = self.manifest.tree.as_ref().map(|tree| oid(tree.as_str()));
        let mut other_rules = false;
        let (put, gone) = (&mut self.put, &mut self.gone);
        differences::differences(
            self.repository,
            old,
            oid(self.tree.as_str()),
            &mut |path, known| {
                other_rules |= look::split(&path).1 == b".gitignore" || known.is_none();
                match known {
                    Some((mode, id)) => {
                        put.insert(path, Put::Base(Known { mode, id }, None));
                    }
                    None => {
                        put.remove(&path);
                        gone.insert(path);
                    }
                }
            },
        )?;
        Ok(other_rules)
    }

    /// Plans that nothing of the former cache stays but what `fits`.
    fn drop_cache(&mut self, fits: impl Fn(&[u8]) -> bool) {
        let files = self.manifest.files().filter(|(_, entry)| entry.of == Of::Cache);
        let files: Vec<Vec<u8>> = files.map(|(path, _)| path).filter(|path| !fits(path)).collect();
        for path in files {
            if !matches!(self.put.get(&path), Some(Put::Base(..))) {
                self.put.remove(&path);
                self.gone.insert(path);
            }
        }
        let dirs = self.manifest.dirs().iter().filter(|dir| dir.of_cache && !dir.gone);
        let dirs: Vec<Vec<u8>> =
            dirs.map(|dir| dir.path.clone()).filter(|path| !fits(path)).collect();
        for path in dirs {
            self.manifest.keep_directory(&path, false);
            // The tree may have a file there by now.
            if !matches!(self.put.get(&path), Some(Put::Base(..))) {
                self.put.remove(&path);
            }
            self.former.push(path);
        }
    }

    /// Plans that ignored paths hold what the cache has for this tree.
    fn bring(&mut self, cache: &Cache) -> Result<(), Error> {
        let fitting = cache.fitting(&self.base)?;
        self.drop_cache(|path| fitting.contains_key(path));
        for (path, seen) in fitting {
            let there = self.manifest.get(&path).is_some_and(|entry| entry.of == Of::Cache)
                || self.manifest.dir(&path).is_some_and(|dir| dir.of_cache);
            if self.gone.contains(&path) || !there {
                self.gone.remove(&path);
                self.put.insert(path, Put::Cache(seen));
            }
        }
        Ok(())
    }

    /// Removes a directory in which nothing is left, and those above it that are empty then.
    fn drop_empty(&mut self, path: &[u8]) -> Result<(), Error> {
        let mut at = path;
        while self.manifest.is_empty(at) {
            files::remove_any(&self.real(at))?;
            self.manifest.remove_empty(at);
            self.made.remove(at);
            (at, _) = look::split(at);
        }
        Ok(())
    }

    fn put(&mut self, path: &[u8], put: &Put) -> Result<(), Error> {
        let (above, _) = look::split(path);
        if matches!(put, Put::Cache(_)) && self.is_behind_file(path)? {
            return Ok(());
        }
        self.make(above)?;
        let real = self.real(path);
        let is_dir = matches!(put, Put::Cache(seen) if seen.kind == FileType::Directory);
        if is_dir {
            self.make(path)?;
        } else if self.manifest.dir(path).is_some() {
            self.manifest.remove_directory(path);
            files::remove_any(&real)?;
        } else if self.manifest.tree.is_some() {
            files::remove_any(&real)?;
        }
        let of = match put {
            Put::Base(known, _) => Of::Base(*known),
            Put::Cache(_) => Of::Cache,
        };
        match put {
            Put::Base(Known { mode: FileMode::Gitlink, .. }, _) => {
                files::make_dir(&real)?;
            }
            Put::Base(known, modified) => {
                write(&real, known.mode, self.base.contents(known.id)?.content())?;
                let modified = match modified {
                    Some(modified) => Some(*modified),
                    None => self.as_cached(path, *known)?,
                };
                if modified.is_some() {
                    files::set_modified(&real, modified)?;
                }
            }
            Put::Cache(seen) if is_dir => {
                let mode = seen.stamp.mode & 0o7777 | 0o700;
                files::set_mode(&real, mode)?;
                self.manifest.directory(path, mode);
                self.manifest.keep_directory(path, true);
                return Ok(());
            }
            Put::Cache(seen) => {
                let cache = self.cache.expect("what is put of a cache was read of it");
                self.copied += cache.restore(&RepoPath::new(path), seen, &real)?;
            }
        }
        let stamp = stamp(&real)?;
        self.manifest.set(path, of, stamp);
        Ok(())
    }

    /// True when the tree has a file where a directory above the path would be, or the path.
    fn is_behind_file(&self, path: &[u8]) -> Result<bool, Error> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            if let InBase::File(_) = self.base.find(&RepoPath::new(&path[..end]))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The time that a file gets because the cache was made with the same contents.
    fn as_cached(&self, path: &[u8], known: Known) -> Result<Option<i64>, Error> {
        let (Some(cache), Some(cached)) = (self.cache, &self.cached) else { return Ok(None) };
        let same = cached.find(&RepoPath::new(path))? == InBase::File(known);
        Ok(same.then_some(cache.meta.before))
    }

    /// Makes a directory of ours, and those above it.
    fn make(&mut self, path: &[u8]) -> Result<(), Error> {
        if self.made.contains(path) {
            return Ok(());
        }
        let (above, _) = look::split(path);
        self.make(above)?;
        let real = self.real(path);
        if self.manifest.get(path).is_some() {
            // A file of a cache, or a submodule, where the tree has a directory now.
            files::remove_any(&real)?;
            self.manifest.remove(path);
        }
        let made = files::make_dir(&real)?;
        if made || self.manifest.dir(path).is_none() {
            self.manifest.directory(path, stamp(&real)?.mode & 0o7777);
        }
        self.made.insert(path.to_vec());
        Ok(())
    }

    /// Build tools compare times. A file that is as the cache's maker had it must not be newer than what was
    /// made of it, and any other must be: else old products would pass for those of the new contents.
    fn agree_with(&mut self, cache: &Cache) -> Result<(), Error> {
        let mut other = HashSet::new();
        let (old, new) = (oid(cache.meta.tree.as_str()), oid(self.tree.as_str()));
        differences::differences(self.repository, Some(old), new, &mut |path, _| {
            other.insert(path);
        })?;
        let mut wrong = Vec::new();
        for (path, entry) in self.manifest.files() {
            let Of::Base(known) = entry.of else { continue };
            if known.mode == FileMode::Gitlink {
                continue;
            }
            let modified = entry.stamp.modified;
            if other.contains(&path) {
                if modified <= cache.meta.until {
                    wrong.push((path, entry.of, None));
                }
            } else if modified > cache.meta.before {
                wrong.push((path, entry.of, Some(cache.meta.before)));
            }
        }
        for (path, of, time) in wrong {
            let real = self.real(&path);
            files::set_modified(&real, time)?;
            self.manifest.set(&path, of, stamp(&real)?);
        }
        Ok(())
    }
}

/// The bytes of a file, or where a link leads.
fn contents(root: &Path, path: &[u8], seen: &Seen) -> Result<Vec<u8>, Error> {
    let (above, name) = look::split(path);
    let real = look::inside(root, &RepoPath::new(path));
    let wrap = |problem: rustix::io::Errno| files::error("read", &real)(problem.into());
    let root = look::root(root).map_err(wrap)?;
    let parent = look::below(&root, above).map_err(wrap)?;
    if seen.kind == FileType::Symlink {
        return Ok(look::link(&parent, name).map_err(wrap)?);
    }
    let mut bytes = Vec::new();
    let mut file = look::open_file(&parent, name).map_err(wrap)?;
    file.read_to_end(&mut bytes).map_err(files::error("read", &real))?;
    Ok(bytes)
}

fn stamp(real: &Path) -> Result<Stamp, Error> {
    let seen = look::real(real).map_err(|problem| files::error("look at", real)(problem.into()))?;
    Ok(seen.stamp)
}

/// Saves what a lay-out came to.
pub(super) fn save(manifest: &mut Manifest, file: &Path) -> Result<(), Error> {
    Ok(manifest.save(file, RACY_NANOSECONDS)?)
}
