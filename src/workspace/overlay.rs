//! Workspaces of the kind `overlay`: layers of the base, mounted inside the walls only, at one path for all.
//!
//! What a program changes is in the slot's upper directory, and that is all that is ever read back. Nothing
//! costs what the tree holds, but for its first layer. Never mounts: the walls do. Never touches a layer that
//! exists; all edits of ours go to the upper directory, while nothing has it mounted.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    diff::FileMode,
    files,
    git::{Error, Handles, Vault, oid},
    ids::{RepoPath, TreeId},
    sandbox::Overlay,
    workspace::{
        CacheId,
        behind::{Behind, GONE},
        caches::{self, Cache, Kept},
        layers::{self, Layers, Stack},
        look,
        marks::{self, Keep, Mark},
        pool,
        read::{Changes, Reader},
        rules::{Base, InBase},
        upper::Walk,
    },
};

/// What stands in the slot beside the upper directory, so that another process can take it over.
#[derive(Serialize, Deserialize)]
struct Note {
    /// The stack's number.
    stack: u64,
    /// The cache below the layers.
    cache: Option<PathBuf>,
    /// What of it the layers would hide, above them.
    shown: Option<PathBuf>,
    /// The layer above all of them.
    above: Option<PathBuf>,
}

/// One slot of this kind.
pub(super) struct Mount {
    at: PathBuf,
    place: PathBuf,
    layers: Layers,
    caches: PathBuf,
    stack: Stack,
    cache: Option<PathBuf>,
    shown: Option<PathBuf>,
    above: Option<PathBuf>,
    upper: PathBuf,
}

const NOTE: &str = "overlay";
const UPPER: &str = "upper";
const WORK: &str = "work";
/// A cache that was made to fit, of hard links.
const FITTED: &str = "cache";
/// What of a cache is above the layers, of hard links.
const SHOWN: &str = "shown";
/// What a use leaves in its slot, beside the note.
const USED: [&str; 4] = [UPPER, WORK, FITTED, SHOWN];

/// Stacks that outlive a night: the tip, and enough beside it to find a near one.
const KEPT_STACKS: usize = 8;

/// Where overlays appear, below the root of a store.
pub(super) const AT: &str = "at";
/// Where layers are, below the root of a store.
pub(super) const LAYERS: &str = "layers";

/// The directories of a store that this kind uses.
pub(super) struct Rooms {
    /// The root of the store.
    pub(super) root: PathBuf,
    /// Where its caches are.
    pub(super) caches: PathBuf,
}

impl Rooms {
    /// Where every overlay appears. Agents and gates see one path, so that absolute paths in caches fit.
    fn at(&self) -> PathBuf {
        self.root.join(AT).join("repository")
    }

    fn layers(&self) -> Layers {
        Layers::new(&self.root.join(LAYERS), &self.caches)
    }
}

impl Mount {
    /// Lays out `tree` in the slot whose directory is `place`. What an earlier use left there is removed.
    pub(super) fn lay_out(
        vault: &Vault,
        rooms: &Rooms,
        place: &Path,
        tree: &TreeId,
        cache: Option<&Cache>,
    ) -> Result<Mount, Error> {
        clear(place)?;
        for directory in [rooms.at(), rooms.root.join(LAYERS), place.to_owned()] {
            make_ours(&directory)?;
        }
        let layers = rooms.layers();
        let mark = cache.map(Cache::mark);
        let stack = layers.stack(vault, tree, mark.as_deref())?;
        let cache = cache.map(|cache| fitting(vault, cache, place, tree)).transpose()?;
        let shown = match &cache {
            Some(cache) => shown_again(vault, cache, &layers, &stack, place)?,
            None => None,
        };
        let note = Note { stack: stack.number, cache, shown, above: None };
        let mount = Mount::new(rooms, place, layers, stack, note);
        mount.fresh()?;
        mount.note()?;
        Ok(mount)
    }

    /// Takes over what is in `place`; `None` when it is not whole, or its layers are gone.
    pub(super) fn reopen(rooms: &Rooms, place: &Path, tree: &TreeId) -> Option<Mount> {
        let note = note(place)?;
        let layers = rooms.layers();
        let stack = layers.again(note.stack, tree)?;
        let mount = Mount::new(rooms, place, layers, stack, note);
        let is_dir = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
        let named = mount.cache.iter().chain(&mount.shown).chain(&mount.above);
        let whole = named.into_iter().all(|path| is_dir(path))
            && [&mount.at, &mount.upper, &mount.place.join(WORK)]
                .into_iter()
                .all(|path| is_dir(path));
        whole.then_some(mount)
    }

    fn new(rooms: &Rooms, place: &Path, layers: Layers, stack: Stack, note: Note) -> Mount {
        Mount {
            at: rooms.at(),
            place: place.to_owned(),
            layers,
            caches: rooms.caches.clone(),
            stack,
            cache: note.cache,
            shown: note.shown,
            above: note.above,
            upper: place.join(UPPER),
        }
    }

    /// Writes down what another process needs to take the slot over.
    fn note(&self) -> Result<(), Error> {
        let (cache, shown, above) = (self.cache.clone(), self.shown.clone(), self.above.clone());
        let note = Note { stack: self.stack.number, cache, shown, above };
        let text = serde_json::to_vec(&note).expect("a number and paths have a form in JSON");
        Ok(files::write_soon(&self.place.join(NOTE), &text)?)
    }

    /// Shows the files of `layer` as well, which nobody changes as long as it may be mounted. The name of what
    /// is in it must be none of the tree's.
    pub(super) fn show(&mut self, layer: &Path) -> Result<(), Error> {
        if !is_ours(layer) {
            // A file of another group cannot be changed inside the walls: a copy is ours.
            return Ok(files::copy_tree(layer, &self.upper)?);
        }
        self.above = Some(layer.to_owned());
        self.note()
    }

    /// Makes the empty upper directory, with the time that the tree's root has.
    fn fresh(&self) -> Result<(), Error> {
        files::create_private_dir(&self.upper)?;
        files::create_private_dir(&self.place.join(WORK))?;
        let top = self.layers.paths(&self.stack).swap_remove(0);
        let like = fs::symlink_metadata(&top).map_err(files::error("look at", &top))?;
        Ok(marks::set_modified(&self.upper, &like)?)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.at
    }

    pub(super) fn upper(&self) -> &Path {
        &self.upper
    }

    pub(super) fn overlay(&self) -> Overlay {
        // The cache is the lowest: whatever it holds, no file of the tree is ever hidden. What is above the
        // layers was made to fit the tree.
        let layers = self.layers.paths(&self.stack).into_iter();
        let above = self.above.iter().chain(&self.shown).cloned();
        let lower = above.chain(layers).chain(self.cache.clone()).collect();
        Overlay {
            at: self.at.clone(),
            lower,
            upper: self.upper.clone(),
            work: self.place.join(WORK),
        }
    }

    pub(super) fn changes(
        &self,
        handles: &Handles,
        mut reader: Reader<'_>,
    ) -> Result<Changes, Error> {
        let Ok(root) = look::root(&self.upper) else {
            reader.odd(&RepoPath::from("."), "the whole workspace, which is gone");
            return reader.finish();
        };
        Walk { reader, repository: &handles.read, base: &self.stack.tree }.changes(&root)
    }

    /// Makes each of `paths` what it is in `wanted`, or absent. `base` is the tree that was laid out. Only
    /// the upper directory is written, also where it ends up like the base: what programs saw change has
    /// to have a new time.
    pub(super) fn put(
        &self,
        base: &Base<'_>,
        wanted: &Base<'_>,
        paths: &[RepoPath],
    ) -> Result<(), Error> {
        let mut present = Vec::new();
        // What goes, goes first: it may stand where a directory of another path belongs.
        for path in paths {
            match wanted.find(path)? {
                InBase::File(known) => present.push((path, known)),
                InBase::Nothing | InBase::Directory => self.remove(base, path)?,
            }
        }
        for (path, known) in present {
            self.make_way(base, path)?;
            let at = look::inside(&self.upper, path);
            if known.mode == FileMode::Gitlink {
                files::create_dir_all(&at)?;
                marks::make_opaque(&at)?;
            } else {
                pool::write(&at, known.mode, wanted.contents(known.id)?.content())?;
            }
        }
        Ok(())
    }

    /// Makes a path absent from what a mount shows.
    fn remove(&self, base: &Base<'_>, path: &RepoPath) -> Result<(), Error> {
        let mut shows = true;
        for above in above(path) {
            match marks::look(&look::inside(&self.upper, &above)) {
                Some((Mark::Directory(opaque), _)) => {
                    shows = shows && !opaque && base.find(&above)? == InBase::Directory;
                }
                None if shows && base.find(&above)? == InBase::Directory => {}
                // Something else stands above it, or nothing.
                Some((Mark::Whiteout | Mark::Other, _)) | None => return Ok(()),
            }
        }
        let at = look::inside(&self.upper, path);
        files::remove_any(&at)?;
        if shows && base.find(path)? != InBase::Nothing {
            if let Some(parent) = at.parent() {
                files::create_dir_all(parent)?;
            }
            marks::make_whiteout(&at)?;
        }
        Ok(())
    }

    /// Makes everything above `path` a directory, and removes what is under its name in the upper one.
    fn make_way(&self, base: &Base<'_>, path: &RepoPath) -> Result<(), Error> {
        let mut shows = true;
        for above in above(path) {
            let at = look::inside(&self.upper, &above);
            let found = marks::look(&at);
            match found {
                Some((Mark::Directory(opaque), _)) => {
                    shows = shows && !opaque && base.find(&above)? == InBase::Directory;
                    continue;
                }
                None => shows = shows && base.find(&above)? == InBase::Directory,
                // What the base has there was hidden, and stays so.
                Some((Mark::Whiteout | Mark::Other, _)) => shows = false,
            }
            files::remove_any(&at)?;
            files::create_dir_all(&at)?;
            if !shows {
                marks::make_opaque(&at)?;
            }
        }
        Ok(files::remove_any(&look::inside(&self.upper, path))?)
    }

    /// Moves what the base's own gate left in ignored paths into a cache; the upper directory is fresh then.
    /// Nothing is copied. What an older cache below had and the gate did not remove, gets a second name.
    pub(super) fn keep(&self, handles: &Handles, cache: &CacheId) -> Result<Kept, Error> {
        let beside = caches::begin(&self.caches, cache)?;
        let tree = beside.join(caches::FILES);
        // Written after the last layer and before the gate began.
        let before = look::real(&self.place.join(NOTE));
        let before = before.map_err(|code| files::error("look at", &self.place)(code.into()))?;
        files::claim_by_rename(&self.upper, &tree)?;
        files::remove_any(&self.place.join(WORK))?;
        self.fresh()?;
        if let Some(older) = &self.cache {
            marks::lay_under(&tree, older)?;
        }
        let kept = purge(&tree, &Base::new(&handles.read, &self.stack.tree)?)?;
        let before = before.stamp.modified;
        caches::publish(&self.caches, cache, &beside, &self.stack.tree, before)?;
        if let Some(cache) = Cache::find(&self.caches, cache) {
            self.layers.fit(&self.stack, &cache.mark())?;
        }
        Ok(kept)
    }

    /// Removes what was changed. The layers stay.
    pub(super) fn release(self, behind: &Behind) -> Result<(), Error> {
        files::remove_file(&self.place.join(NOTE))?;
        behind.remove(&self.place, &USED)
    }
}

/// Makes the layers of a tree, where they are not there.
pub(super) fn foresee(
    vault: &Vault,
    rooms: &Rooms,
    tree: &TreeId,
    cache: Option<&Cache>,
) -> Result<(), Error> {
    make_ours(&rooms.root.join(LAYERS))?;
    rooms.layers().stack(vault, tree, cache.map(Cache::mark).as_deref()).map(drop)
}

/// Removes layers that nobody needs any more: neither a slot in `places`, nor one of `trees`, nor a new tip.
pub(super) fn collect(
    rooms: &Rooms,
    places: &[PathBuf],
    trees: &BTreeSet<TreeId>,
) -> Result<(), Error> {
    if !rooms.root.join(LAYERS).is_dir() {
        return Ok(());
    }
    let used: Vec<u64> = places.iter().filter_map(|place| Some(note(place)?.stack)).collect();
    rooms.layers().collect(&used, trees, KEPT_STACKS)
}

fn note(place: &Path) -> Option<Note> {
    serde_json::from_slice(&fs::read(place.join(NOTE)).ok()?).ok()
}

/// Removes what a use of this kind leaves in a slot.
pub(super) fn clear(place: &Path) -> Result<(), Error> {
    // The note first: without it nobody takes over what is half gone.
    files::remove_file(&place.join(NOTE))?;
    for name in USED {
        files::remove_any(&place.join(name))?;
    }
    let gone = fs::read_dir(place).into_iter().flatten().flatten();
    let gone = gone.filter(|entry| entry.file_name().as_bytes().starts_with(GONE.as_bytes()));
    for entry in gone {
        files::remove_any(&entry.path())?;
    }
    Ok(())
}

/// The cache's files as a layer for `tree`: as they are, or, where `tree` ignores other paths than the base
/// that made it, a second set of names of those that it still ignores.
fn fitting(vault: &Vault, cache: &Cache, place: &Path, tree: &TreeId) -> Result<PathBuf, Error> {
    let handles = vault.open()?;
    let (old, new) = (oid(cache.meta.tree.as_str()), oid(tree.as_str()));
    if !layers::ignores_differ(&handles.read, old, new)? {
        return Ok(cache.files());
    }
    let fitted = place.join(FITTED);
    files::create_private_dir(&fitted)?;
    marks::lay_under(&fitted, &cache.files())?;
    purge(&fitted, &Base::new(&handles.read, tree)?)?;
    Ok(fitted)
}

/// What of a cache the layers of a stack hide and its tree does not: where a directory or a file of an earlier
/// tree went, there is a mark that hides the cache's too. `None` when there is nothing of the kind.
fn shown_again(
    vault: &Vault,
    cache: &Path,
    layers: &Layers,
    stack: &Stack,
    place: &Path,
) -> Result<Option<PathBuf>, Error> {
    let shown = place.join(SHOWN);
    if stack.hidden.is_empty() {
        return Ok(None);
    }
    files::create_private_dir(&shown)?;
    let paths = layers.paths(stack);
    for path in &stack.hidden {
        marks::lay_part(&shown, cache, path, &paths)?;
    }
    let handles = vault.open()?;
    purge(&shown, &Base::new(&handles.read, &stack.tree)?)?;
    let mut left = fs::read_dir(&shown).map_err(files::error("list", &shown))?;
    Ok(left.next().is_some().then_some(shown))
}

/// Leaves of a directory what a cache for `base` may hold: files, links and directories that it ignores and
/// does not have.
fn purge(directory: &Path, base: &Base<'_>) -> Result<Kept, Error> {
    let mut kept = Kept::default();
    marks::strip(directory, &mut |path: &Path, metadata: &fs::Metadata| {
        let below = path.strip_prefix(directory).expect("strip asks for what is below");
        let below = RepoPath::new(below.as_os_str().as_bytes());
        if below.as_bytes() == b".git" {
            return Ok(Keep::No);
        }
        let keep = match base.find(&below)? {
            InBase::File(_) => Keep::No,
            InBase::Directory if metadata.is_dir() => Keep::IfFilled,
            InBase::Directory => Keep::No,
            InBase::Nothing if base.ignores(&below, metadata.is_dir())? => Keep::Yes,
            InBase::Nothing if metadata.is_dir() => Keep::IfFilled,
            InBase::Nothing => Keep::No,
        };
        if keep == Keep::Yes && !metadata.is_dir() {
            kept.files += 1;
            kept.bytes += metadata.size();
        }
        Ok(keep)
    })?;
    Ok(kept)
}

/// The directories above a path, the outermost first.
fn above(path: &RepoPath) -> Vec<RepoPath> {
    let bytes = path.as_bytes();
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    ends.map(|(end, _)| RepoPath::new(&bytes[..end])).collect()
}

/// Makes a directory for ourselves alone, of our own group: inside a user namespace only our own user and
/// group have a name, and a file of another cannot be changed there.
fn make_ours(path: &Path) -> Result<(), Error> {
    files::create_private_dir(path)?;
    let found = fs::symlink_metadata(path).map_err(files::error("look at", path))?;
    let group = rustix::process::getegid().as_raw();
    if found.gid() != group {
        std::os::unix::fs::chown(path, None, Some(group)).map_err(files::error("own", path))?;
    }
    // What a parent gives on: its group, to all that is made inside.
    if found.mode() & 0o2000 != 0 {
        files::set_mode(path, 0o700)?;
    }
    Ok(())
}

/// True when a directory is of our own user and group, and so is all that was made in it.
fn is_ours(directory: &Path) -> bool {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    fs::symlink_metadata(directory).is_ok_and(|found| {
        found.uid() == user && found.gid() == group && found.mode() & 0o2000 == 0
    })
}

/// Whether layers can be made below `root`; if not, why. Whether they can be mounted, only the walls know.
pub fn probe(root: &Path) -> Result<(), String> {
    // A mount's options are one text, in which these separate paths.
    if root.as_os_str().as_bytes().iter().any(|byte| b",:\\\n".contains(byte)) {
        return Err(format!("the path {} has a comma, colon or backslash", root.display()));
    }
    let place = root.join(".probe");
    let result = try_marks(&place);
    let removed = files::remove_any(&place);
    result.and(removed.map_err(Error::from)).map_err(|problem| problem.to_string())
}

/// Makes each thing that a layer needs.
fn try_marks(place: &Path) -> Result<(), Error> {
    files::remove_any(place)?;
    make_ours(place)?;
    let (directory, file) = (place.join("directory"), place.join("file"));
    files::create_private_dir(&directory)?;
    marks::make_opaque(&directory)?;
    marks::make_whiteout(&place.join("whiteout"))?;
    files::create_new(&file, b"", 0o600)?;
    let second = place.join("second");
    files::create_private_dir(&second)?;
    marks::lay_under(&second, &directory)?;
    let seen = [&directory, &place.join("whiteout")].map(|path| marks::look(path).map(|(m, _)| m));
    if seen != [Some(Mark::Directory(true)), Some(Mark::Whiteout)] {
        return Err(Error::Unusable {
            message: format!("marks of layers are not kept in {}", place.display()),
            help: "use a cache directory on a local file system".to_owned(),
        });
    }
    Ok(())
}
