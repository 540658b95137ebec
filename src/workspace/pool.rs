//! Workspaces of the kind `pool`: plain directories, one fixed path each, that stay warm between uses.
//!
//! A use costs a walk over what was laid out, and what differs. Nothing of a former use is left: what a walk
//! does not know is removed. Writes below its own directories only.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    os::{
        fd::AsFd as _,
        unix::{ffi::OsStrExt as _, fs::symlink},
    },
    path::{Path, PathBuf},
    sync::Mutex,
};

use crate::{
    diff::FileMode,
    files,
    git::{Error, Handles, differences, oid},
    ids::{RepoPath, TreeId},
    workspace::{
        CacheId,
        caches::{self, Cache, Kept},
        lock,
        look::{self, Stamp},
        manifest::{Manifest, Of},
        read::{Changes, Reader},
        rules::{Base, InBase, Known},
        switch::{self, Switch},
        walk::{self, Found, What},
    },
};

/// Files whose time of change is this close to the end of a lay-out are read again: the file system's
/// clock ticks in steps (4 ms with 250 Hz, 10 ms with 100 Hz), so their stamp cannot tell.
pub(super) const RACY_NANOSECONDS: i64 = 20_000_000;

const FILES: &str = "tree";
pub(super) const MANIFEST: &str = "manifest";
/// What could not be removed and is in the way.
const OLD: &str = "old-";

/// What this process knows of a slot between two uses.
pub(super) struct Rest {
    manifest: Manifest,
    /// Everything that is not as the manifest has it; `None` when something may have run since.
    found: Option<Vec<Found>>,
}

/// One slot of this kind, in use.
pub(super) struct Pool {
    place: PathBuf,
    directory: PathBuf,
    rest: Mutex<Rest>,
    /// False when the manifest was only guessed from the tree.
    known: bool,
    copied: u64,
}

impl Pool {
    pub(super) fn lay_out(
        handles: &Handles,
        place: &Path,
        rest: Option<Rest>,
        tree: &TreeId,
        cache: Option<&Cache>,
    ) -> Result<Pool, Error> {
        let directory = place.join(FILES);
        let known = || Manifest::load(&place.join(MANIFEST)).map(Rest::new);
        let switched = match rest.or_else(known) {
            Some(rest) => match switch(handles, &directory, rest, tree, cache) {
                Ok(switched) => Some(switched),
                Err(problem) => {
                    tracing::warn!(%problem, place = %place.display(), "lays out anew");
                    None
                }
            },
            None => None,
        };
        let (mut manifest, copied) = match switched {
            Some(switched) => switched,
            None => {
                files::remove_file(&place.join(MANIFEST))?;
                clear(place, &directory)?;
                files::create_private_dir(&directory)?;
                let rest = Rest { manifest: Manifest::new(mode(&directory)?), found: Some(vec![]) };
                switch(handles, &directory, rest, tree, cache)?
            }
        };
        switch::save(&mut manifest, &place.join(MANIFEST))?;
        Ok(Pool {
            place: place.to_owned(),
            directory,
            rest: Mutex::new(Rest::new(manifest)),
            known: true,
            copied,
        })
    }

    /// What an earlier process laid out of `tree`. `None` when there is no directory.
    pub(super) fn reopen(
        handles: &Handles,
        place: &Path,
        tree: &TreeId,
    ) -> Result<Option<Pool>, Error> {
        let directory = place.join(FILES);
        let Ok(mode) = mode(&directory) else { return Ok(None) };
        let loaded = Manifest::load(&place.join(MANIFEST));
        let loaded = loaded.filter(|manifest| manifest.tree.as_ref() == Some(tree));
        let known = loaded.is_some();
        let manifest = match loaded {
            Some(manifest) => manifest,
            None => guess(handles, tree, mode)?,
        };
        let rest = Mutex::new(Rest::new(manifest));
        Ok(Some(Pool { place: place.to_owned(), directory, rest, known, copied: 0 }))
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Bytes of the cache that the lay-out copied.
    pub(super) fn copied(&self) -> u64 {
        self.copied
    }

    pub(super) fn changes(&self, mut reader: Reader<'_>) -> Result<Changes, Error> {
        let mut rest = lock(&self.rest);
        rest.found = None;
        // The root may have been replaced by a link: nothing of where it leads is ours to read.
        let Ok(root) = look::root(&self.directory) else {
            reader.odd(&RepoPath::from("."), "the whole workspace, which is gone");
            return reader.finish();
        };
        let found = walk::walk(root.as_fd(), &rest.manifest);
        for Found { path, what } in &found {
            let (above, name) = look::split(path);
            let parent = || look::below(&root, above);
            let path = RepoPath::new(path.as_slice());
            let of = rest.manifest.get(path.as_bytes()).map(|entry| entry.of);
            match (what, of) {
                (What::Changed(seen) | What::Doubtful(seen), Some(Of::Base(known))) => {
                    match parent() {
                        Ok(parent) => reader.file(&path, &parent, name, seen, Some(known))?,
                        Err(_) => reader.odd(&path, "a file that cannot be read"),
                    }
                }
                (What::Missing, Some(Of::Base(_))) => reader.removed(&path),
                (What::Stranger(kind), _) => match parent() {
                    Ok(parent) => reader.stranger(&path, &parent, name, *kind)?,
                    Err(_) => reader.odd(&path, "an entry that cannot be looked at"),
                },
                (What::Unreadable, _) => reader.odd(&path, "a directory that cannot be read"),
                (What::Submodule, _) => match look::below(&root, path.as_bytes()) {
                    Ok(directory) => reader.submodule(&path, &directory),
                    Err(_) => reader.odd(&path, "a submodule that cannot be looked into"),
                },
                // What is of a cache is ignored.
                (
                    What::Changed(_)
                    | What::Doubtful(_)
                    | What::Missing
                    | What::NoDirectory
                    | What::Touched
                    | What::Permissions,
                    _,
                ) => {}
            }
        }
        rest.found = Some(found);
        reader.finish()
    }

    pub(super) fn put(&self, base: &Base<'_>, paths: &[RepoPath]) -> Result<(), Error> {
        lock(&self.rest).found = None;
        put(&self.directory, base, paths)
    }

    /// Keeps what stands in ignored paths as a cache. The slot is of that cache then.
    pub(super) fn keep(
        &self,
        handles: &Handles,
        caches: &Path,
        id: &CacheId,
        tree: &TreeId,
    ) -> Result<Kept, Error> {
        let mut rest = lock(&self.rest);
        rest.found = None;
        let manifest = &mut rest.manifest;
        let before = manifest.files().filter(|(_, entry)| matches!(entry.of, Of::Base(_)));
        let before = before.map(|(_, entry)| entry.stamp.modified).max().unwrap_or(0);
        let base = Base::new(&handles.read, tree)?;
        let mut seen_in = Vec::new();
        let mut note = |path: &RepoPath, seen: &look::Seen| seen_in.push((path.clone(), *seen));
        let kept = caches::keep(caches, id, &self.directory, (&base, tree), before, &mut note)?;
        if self.known {
            manifest.take_over(&seen_in);
            manifest.cache = Cache::find(caches, id).map(|cache| cache.mark());
            switch::save(manifest, &self.place.join(MANIFEST))?;
        }
        Ok(kept)
    }

    /// What the next use can begin with. `as_read`: nothing ran since the changes were read.
    pub(super) fn rest(self, as_read: bool) -> Result<Option<Rest>, Error> {
        if !self.known {
            files::remove_file(&self.place.join(MANIFEST))?;
            return Ok(None);
        }
        let mut rest = self.rest.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        rest.found = rest.found.filter(|_| as_read);
        Ok(Some(rest))
    }
}

impl Rest {
    fn new(manifest: Manifest) -> Rest {
        Rest { manifest, found: None }
    }
}

/// Brings the files from what is known of them to `tree` and `cache`.
fn switch(
    handles: &Handles,
    directory: &Path,
    rest: Rest,
    tree: &TreeId,
    cache: Option<&Cache>,
) -> Result<(Manifest, u64), Error> {
    let Rest { manifest, found } = rest;
    let open =
        || look::root(directory).map_err(|problem| files::error("open", directory)(problem.into()));
    let walked = |found: Option<Vec<Found>>| -> Result<Vec<Found>, Error> {
        match found {
            Some(found) => Ok(found),
            None => Ok(walk::walk(open()?.as_fd(), &manifest)),
        }
    };
    let mut found = walked(found)?;
    if walk::unlock(directory, &found).map_err(files::error("unlock", directory))? {
        found = walked(None)?;
    }
    Switch::new(&handles.read, directory, manifest, tree, cache)?.run(found)
}

/// What a directory must hold when only its tree is known: no stamp fits.
fn guess(handles: &Handles, tree: &TreeId, mode: u32) -> Result<Manifest, Error> {
    let mut manifest = Manifest::new(mode);
    let mut made = HashSet::new();
    differences::differences(&handles.read, None, oid(tree.as_str()), &mut |path, known| {
        let (above, _) = look::split(&path);
        if made.insert(above.to_vec()) {
            manifest.directory(above, mode);
        }
        if let Some((mode, id)) = known {
            let none = Stamp { inode: 0, size: 0, mode: 0, modified: 0, changed: 0 };
            manifest.set(&path, Of::Base(Known { mode, id }), none);
        }
    })?;
    manifest.tree = Some(tree.clone());
    Ok(manifest)
}

/// Removes a slot's files. What cannot be removed is moved out of the way and tried again the next time.
fn clear(place: &Path, directory: &Path) -> Result<(), Error> {
    let names = fs::read_dir(place).into_iter().flatten().flatten();
    let old = names.filter(|entry| entry.file_name().as_bytes().starts_with(OLD.as_bytes()));
    for entry in old {
        if let Err(problem) = files::remove_any(&entry.path()) {
            tracing::warn!(%problem, "could not remove what is left of a workspace");
        }
    }
    if let Err(problem) = files::remove_any(directory) {
        tracing::warn!(%problem, "could not remove a workspace");
        let aside = (0..).map(|number: u64| place.join(format!("{OLD}{number}")));
        let aside = aside.into_iter().find(|path| fs::symlink_metadata(path).is_err());
        let aside = aside.expect("there are more numbers than directories");
        files::claim_by_rename(directory, &aside)?;
    }
    Ok(())
}

fn mode(directory: &Path) -> Result<u32, Error> {
    let wrap = |problem: rustix::io::Errno| files::error("open", directory)(problem.into());
    let open = look::root(directory).map_err(wrap)?;
    Ok(look::opened(&open).map_err(wrap)?.stamp.mode & 0o7777)
}

/// Makes each of `paths` below `root` what it is in `base`, or absent.
pub(super) fn put(root: &Path, base: &Base<'_>, paths: &[RepoPath]) -> Result<(), Error> {
    let mut wanted = Vec::new();
    // What goes, goes first: it may stand where a directory of another path belongs.
    for path in paths {
        match base.find(path)? {
            InBase::File(known) => wanted.push((path, known)),
            InBase::Nothing | InBase::Directory if behind_other(root, path) => {}
            InBase::Directory if is_dir(&look::inside(root, path)) => {}
            InBase::Nothing | InBase::Directory => files::remove_any(&look::inside(root, path))?,
        }
    }
    for (path, known) in wanted {
        let mut at = root.to_owned();
        for component in path.components() {
            if !is_dir(&at) {
                files::remove_any(&at)?;
                files::create_dir_all(&at)?;
            }
            at.push(OsStr::from_bytes(component));
        }
        files::remove_any(&at)?;
        if known.mode == FileMode::Gitlink {
            files::create_dir_all(&at)?; // a submodule, which is an empty directory
        } else {
            write(&at, known.mode, base.contents(known.id)?.content())?;
        }
    }
    Ok(())
}

/// Writes a file that is not there.
pub(super) fn write(path: &Path, mode: FileMode, contents: &[u8]) -> Result<(), Error> {
    match mode {
        FileMode::Symlink => {
            let target = OsStr::from_bytes(contents);
            symlink(target, path).map_err(files::error("link", path))?;
        }
        FileMode::Executable => files::create_new(path, contents, 0o755)?,
        FileMode::Regular | FileMode::Gitlink => files::create_new(path, contents, 0o644)?,
    }
    Ok(())
}

fn is_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// True when a component above the file is no directory: then the path leads somewhere else.
fn behind_other(root: &Path, path: &RepoPath) -> bool {
    let mut at = root.to_owned();
    let components: Vec<&[u8]> = path.components().collect();
    components.iter().take(components.len().saturating_sub(1)).any(|component| {
        at.push(OsStr::from_bytes(component));
        !is_dir(&at)
    })
}
