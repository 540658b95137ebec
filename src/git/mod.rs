//! Git, all of it local and through libgit2: the vault, the user's repository, trees and diffs.
//!
//! The user's repository can only be read here, plus refs below our own namespaces and the objects that
//! they need: its type has no way to write index, work tree, HEAD, config or anybody's branch. The `git`
//! program runs in [`network`] only.

pub mod remote;
pub mod network;
mod anchor;
mod compare;
mod export;
pub mod history;
pub mod landing;
pub mod ledger;
pub mod mixed;
pub mod prune;
pub(crate) mod differences;
pub mod range;
pub mod receipts;
pub(crate) mod tree;
pub mod user;

use std::{
    fmt,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::Duration,
};

use git2::{ErrorClass, ErrorCode, ObjectType, Oid, Repository};

use anchor::Anchor;
pub(crate) use landing::adopt;
pub use tree::{TreeEdit, TreeEntry};

use crate::{
    files,
    ids::{BlobId, CommitId, RepoPath, TreeId},
    sys,
};

/// What can go wrong with a repository that we cannot go on from.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// libgit2 refused.
    #[error("could not {deed}: {source}")]
    Git {
        /// What was tried.
        deed: String,
        /// What libgit2 said.
        source: git2::Error,
    },
    /// The disk refused.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// The repository is of a kind that libgit2 cannot open, or not a repository.
    #[error("{message}")]
    Unusable {
        /// What it is.
        message: String,
        /// What to do.
        help: String,
    },
    /// A ref stands where we did not put it. Nothing was changed.
    #[error("{name} stands at {found}, not at {expected}: somebody else moved it")]
    Moved {
        /// The ref.
        name: String,
        /// Where it stands.
        found: String,
        /// Where it should.
        expected: String,
    },
    /// An object is not what the journal says it is. Nothing was changed.
    #[error("{0}")]
    Mismatch(String),
}

/// Wraps an error of libgit2 with what was tried.
pub(crate) fn git(deed: impl Into<String>) -> impl FnOnce(git2::Error) -> Error {
    move |source| Error::Git { deed: deed.into(), source }
}

pub(crate) fn oid(hash: &str) -> Oid {
    Oid::from_str(hash).expect("ids hold 40 hexadecimal digits")
}

pub(crate) fn commit_id(id: Oid) -> CommitId {
    CommitId::new(id.to_string()).expect("libgit2 prints 40 hexadecimal digits")
}

pub(crate) fn tree_id(id: Oid) -> TreeId {
    TreeId::new(id.to_string()).expect("libgit2 prints 40 hexadecimal digits")
}

pub(crate) fn blob_id(id: Oid) -> BlobId {
    BlobId::new(id.to_string()).expect("libgit2 prints 40 hexadecimal digits")
}

/// Our own bare repository for one repository of the user's.
///
/// Its own store has every object that we made; the user's objects are read through alternates that are
/// added in memory only, so that the user's `gc` can never take one of ours.
#[derive(Clone, Debug)]
pub struct Vault {
    directory: PathBuf,
    alternates: Vec<PathBuf>,
    /// The same directories, held: a person may move their repository while a night reads it.
    held: Arc<[Anchor]>,
    idle: Arc<Mutex<Idle>>,
}

/// Handles that nobody uses at the moment: opening one costs as much as most of what it is opened for. libgit2
/// looks again for objects that it does not find and for refs each time, so an old handle misses nothing.
#[derive(Default)]
struct Idle {
    handles: Vec<Handles>,
    /// Handles in use.
    lent: usize,
    /// How often handles were given back since all were new.
    uses: u32,
}

/// The vault's part that has no refs and no objects of its own, in the vault's directory.
const PACKING: &str = "packing";

/// How the name of a vault begins that is not yet in its place.
const HALF_MADE: &str = ".vault-";
/// How libgit2 names an object that it is writing.
const HALF_WRITTEN: &str = "tmp_object_git2_";

/// More than this many at a time are not kept: a deed uses two, and so does each of two things made beside it.
const IDLE: usize = 6;

/// After so many uses handles are opened anew, when none is in use: a pack that was once read stays an open file as long
/// as one handle knows of it, and each task of a night leaves some. About 20 tasks.
const FRESH_AFTER: u32 = 400;

impl fmt::Debug for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Idle({})", self.handles.len())
    }
}

/// Handles on the vault: one sees everything, one writes, one packs.
pub(crate) struct Handles {
    /// Reads our objects and the user's.
    pub(crate) read: Repository,
    /// Sees our own store only: what it writes is really there.
    pub(crate) own: Repository,
    /// Reads what `read` does, and has no refs: libgit2 looks at every ref for each pack that it makes,
    /// and there is one for each attempt that was ever kept.
    pub(crate) pack: Repository,
}

/// Handles in use. Idle again when they are dropped.
pub(crate) struct Lent {
    handles: Option<Handles>,
    idle: Arc<Mutex<Idle>>,
}

impl Deref for Lent {
    type Target = Handles;

    fn deref(&self) -> &Handles {
        self.handles.as_ref().expect("handles are there until they are dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut idle = lock(&self.idle);
        idle.lent = idle.lent.saturating_sub(1);
        idle.uses = idle.uses.saturating_add(1);
        if idle.handles.len() < IDLE {
            idle.handles.extend(self.handles.take());
        }
        if idle.lent == 0 && idle.uses >= FRESH_AFTER {
            idle.handles.clear();
            idle.uses = 0;
        }
    }
}

fn lock(idle: &Mutex<Idle>) -> MutexGuard<'_, Idle> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Vault {
    /// Opens the vault at `directory`, making it when it is not there, as a reader of `user`'s objects.
    pub fn prepare(directory: &Path, user: &user::UserRepository) -> Result<Vault, Error> {
        sys::isolate_libgit2();
        if !directory.join("HEAD").exists() {
            make(directory)?;
        }
        let shallow = std::fs::read(user.common_dir().join("shallow")).ok();
        let ours = directory.join("shallow");
        if let Some(grafts) =
            shallow.filter(|grafts| std::fs::read(&ours).ok().as_ref() != Some(grafts))
        {
            files::write_atomic(&ours, &grafts)?;
        } else if !user.is_shallow() && ours.exists() {
            // The user fetched the rest: what was cut off for them is not for us either.
            files::remove_file(&ours)?;
        }
        let (directory, alternates) = (directory.to_owned(), user.object_dirs());
        let held = alternates.iter().map(|path| Anchor::of(path)).collect();
        Ok(Vault { directory, alternates, held, idle: Arc::default() })
    }

    /// Where the vault is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The user's object directories that the vault reads.
    pub fn alternates(&self) -> &[PathBuf] {
        &self.alternates
    }

    pub(crate) fn open(&self) -> Result<Lent, Error> {
        let idle = lock(&self.idle).handles.pop();
        let handles = idle.map_or_else(|| self.handles(), Ok)?;
        lock(&self.idle).lent += 1;
        Ok(Lent { handles: Some(handles), idle: self.idle.clone() })
    }

    fn handles(&self) -> Result<Handles, Error> {
        sys::isolate_libgit2();
        let open = || Repository::open_bare(&self.directory).map_err(git("open the vault"));
        let (read, own) = (open()?, open()?);
        let packing = self.directory.join(PACKING);
        // Who only looks may have a disk that is full or not to be written: the vault itself is as good, and slower.
        let apart = packing.join("HEAD").exists() || make(&packing).is_ok();
        let pack = if apart {
            Repository::open_bare(&packing).map_err(git("open the vault"))?
        } else {
            open()?
        };
        let objects = self.directory.join("objects");
        let alternates = self.held.iter().map(Anchor::path);
        reads(&read, alternates.clone())?;
        reads(&pack, std::iter::once(&*objects).chain(alternates))?;
        Ok(Handles { read, own, pack })
    }

    /// Removes the locks that a killed night left on refs of the vault, packs that it did not bring out, and vaults that
    /// it had begun to make. Only the holder of the night's lock
    /// may call it: then nobody else works here.
    pub fn clear_stale_locks(&self) -> Result<(), Error> {
        for name in ["packed-refs.lock", "config.lock", "HEAD.lock"] {
            files::remove_file(&self.directory.join(name))?;
        }
        for place in [self.directory.parent().unwrap_or(&self.directory), &self.directory] {
            clear(place, HALF_MADE)?;
        }
        clear(&self.directory.join("objects"), HALF_WRITTEN)?;
        export::clear_stages(&self.directory)?;
        clear_ref_locks(&self.directory.join("refs"))
    }

    /// The tree of a commit.
    pub fn tree_of(&self, commit: &CommitId) -> Result<TreeId, Error> {
        let handles = self.open()?;
        let commit = handles
            .read
            .find_commit(oid(commit.as_str()))
            .map_err(git(format!("read the commit {}", commit.short())))?;
        Ok(tree_id(commit.tree_id()))
    }

    /// The contents of a regular file in a tree; `None` when there is none at the path.
    pub fn read_file(&self, tree: &TreeId, path: &RepoPath) -> Result<Option<Vec<u8>>, Error> {
        let handles = self.open()?;
        let Some(entry) = tree::find(&handles.read, tree, path)? else { return Ok(None) };
        if entry.kind() != Some(ObjectType::Blob) || entry.filemode() == 0o120_000 {
            return Ok(None);
        }
        let blob =
            handles.read.find_blob(entry.id()).map_err(git(format!("read the file {path}")))?;
        Ok(Some(blob.content().to_vec()))
    }

    /// Every entry of a tree that is not a directory, in path order.
    pub fn list(&self, tree: &TreeId) -> Result<Vec<TreeEntry>, Error> {
        let handles = self.open()?;
        tree::list(&handles.read, tree)
    }

    /// What changed from one tree to another.
    pub fn diff(&self, old: &TreeId, new: &TreeId) -> Result<crate::diff::Diff, Error> {
        let handles = self.open()?;
        compare::diff(&handles.read, old, new)
    }

    /// The change as a patch, as `git diff` prints it, for people.
    pub fn patch(&self, old: &TreeId, new: &TreeId) -> Result<Vec<u8>, Error> {
        let handles = self.open()?;
        compare::patch(&handles.read, old, new)
    }

    /// Where a ref of the vault stands.
    pub fn resolve(&self, name: &str) -> Result<Option<CommitId>, Error> {
        let handles = self.open()?;
        find_ref(&handles.own, name)
    }

    /// True when `ancestor` is `commit` or behind it.
    pub fn contains(&self, commit: &CommitId, ancestor: &CommitId) -> Result<bool, Error> {
        let (commit, ancestor) = (oid(commit.as_str()), oid(ancestor.as_str()));
        if commit == ancestor {
            return Ok(true);
        }
        let handles = self.open()?;
        handles.read.graph_descendant_of(commit, ancestor).map_err(git("compare two commits"))
    }

    /// Refs of the vault below `namespace`, which ends with `/`, and where they stand.
    pub fn refs(&self, namespace: &str) -> Result<Vec<(String, CommitId)>, Error> {
        refs_below(&self.open()?.own, namespace)
    }

    /// Removes a ref of the vault that stands at `expected`; one that is not there is fine.
    pub fn remove_ref(&self, name: &str, expected: &CommitId) -> Result<(), Error> {
        remove_ref(&self.open()?.own, name, expected)
    }

    /// Moves a ref of the vault from `expected` (`None` = absent) to `to`, or finds it there already.
    pub fn move_ref(
        &self,
        name: &str,
        expected: Option<&CommitId>,
        to: &CommitId,
    ) -> Result<(), Error> {
        let handles = self.open()?;
        move_ref(&handles.own, name, expected, to)
    }
}

/// Lets a handle read the objects in `directories` too. In memory only.
fn reads<'d>(
    handle: &Repository,
    directories: impl Iterator<Item = &'d Path>,
) -> Result<(), Error> {
    let odb = handle.odb().map_err(git("open the vault's objects"))?;
    for directory in directories {
        let path = directory.to_str().ok_or_else(|| Error::Unusable {
            message: format!("the path {} is not UTF-8", directory.display()),
            help: "move the repository to a path that is".to_owned(),
        })?;
        odb.add_disk_alternate(path).map_err(git(format!("read the objects in {path}")))?;
    }
    Ok(())
}

/// Makes a vault beside its place and moves it there in one step: somebody who looks at the same moment
/// sees none or a whole one, and of two that make one the first wins.
fn make(directory: &Path) -> Result<(), Error> {
    let parent = directory.parent().unwrap_or(Path::new("."));
    let beside = tempfile::Builder::new().prefix(HALF_MADE).tempdir_in(parent);
    let beside = beside.map_err(files::error("create a directory in", parent))?;
    let repository = Repository::init_bare(beside.path()).map_err(git("make the vault"))?;
    let mut config = repository.config().map_err(git("configure the vault"))?;
    // libgit2 syncs loose objects, packs and refs only when told to.
    for (key, value) in [
        ("core.fsyncObjectFiles", "true"),
        ("core.fsync", "all"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("core.hooksPath", "/dev/null"),
    ] {
        config.set_str(key, value).map_err(git("configure the vault"))?;
    }
    files::claim_by_rename(&beside.keep(), directory)?;
    Ok(())
}

/// Removes what a killed process had begun in `directory` under names that begin so.
fn clear(directory: &Path, begin: &str) -> Result<(), Error> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(()) };
    for entry in entries.flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(begin.as_bytes()) {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files::remove_tree(&entry.path())?;
        } else {
            files::remove_file(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes every `*.lock` below a directory of refs.
fn clear_ref_locks(directory: &Path) -> Result<(), Error> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(()) };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear_ref_locks(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "lock") {
            files::remove_file(&path)?;
        }
    }
    Ok(())
}

pub(crate) fn find_ref(repository: &Repository, name: &str) -> Result<Option<CommitId>, Error> {
    match repository.refname_to_id(name) {
        Ok(id) => Ok(Some(commit_id(id))),
        Err(problem) if problem.code() == ErrorCode::NotFound => Ok(None),
        Err(problem) => Err(git(format!("read {name}"))(problem)),
    }
}

/// Refs below `namespace`, which ends with `/`, that stand at a commit, in order of name.
pub(crate) fn refs_below(
    repository: &Repository,
    namespace: &str,
) -> Result<Vec<(String, CommitId)>, Error> {
    let wrap = || git(format!("list {namespace}"));
    let mut found = Vec::new();
    for reference in repository.references_glob(&format!("{namespace}*")).map_err(wrap())? {
        let reference = reference.map_err(wrap())?;
        if let (Ok(name), Some(commit)) = (reference.name(), reference.target()) {
            found.push((name.to_owned(), commit_id(commit)));
        }
    }
    found.sort();
    Ok(found)
}

/// Removes a ref that stands at `expected`; one that is not there is fine.
pub(crate) fn remove_ref(
    repository: &Repository,
    name: &str,
    expected: &CommitId,
) -> Result<(), Error> {
    let mut found = match repository.find_reference(name) {
        Ok(found) => found,
        Err(problem) if problem.code() == ErrorCode::NotFound => return Ok(()),
        Err(problem) => return Err(git(format!("read {name}"))(problem)),
    };
    match found.target().map(commit_id) {
        // libgit2 removes it only where it still stands at what was read.
        Some(at) if at == *expected => found.delete().map_err(git(format!("remove {name}"))),
        other => Err(Error::Moved {
            name: name.to_owned(),
            found: other.map_or("another ref".to_owned(), |at| at.short().to_owned()),
            expected: expected.short().to_owned(),
        }),
    }
}

/// Compare and swap, safe to repeat. Waits for another program that has the ref locked.
pub(crate) fn move_ref(
    repository: &Repository,
    name: &str,
    expected: Option<&CommitId>,
    to: &CommitId,
) -> Result<(), Error> {
    patiently(|| swap(repository, name, expected, to))
}

fn swap(
    repository: &Repository,
    name: &str,
    expected: Option<&CommitId>,
    to: &CommitId,
) -> Result<(), Error> {
    let found = find_ref(repository, name)?;
    if found.as_ref() == Some(to) {
        return Ok(());
    }
    let moved = |found: Option<&CommitId>| Error::Moved {
        name: name.to_owned(),
        found: found.map_or("nowhere".to_owned(), |id| id.short().to_owned()),
        expected: expected.map_or("nowhere".to_owned(), |id| id.short().to_owned()),
    };
    if found.as_ref() != expected {
        return Err(moved(found.as_ref()));
    }
    let log = crate::ids::NAME;
    let swapped = match expected {
        None => repository.reference(name, oid(to.as_str()), false, log),
        Some(expected) => {
            repository.reference_matching(name, oid(to.as_str()), true, oid(expected.as_str()), log)
        }
    };
    match swapped {
        Ok(_) => Ok(()),
        Err(problem) if matches!(problem.code(), ErrorCode::Modified | ErrorCode::Exists) => {
            Err(moved(find_ref(repository, name)?.as_ref()))
        }
        Err(problem) => Err(git(format!("move {name}"))(problem)),
    }
}

/// How often something is tried again that another program is in the way of, and the pause between: 5 s in all. git
/// itself holds the lock of one ref for milliseconds, and that of the packed ones for at most 1 s.
const AGAIN: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// Does something with refs again when another program had one locked, or took a directory of refs away that it left
/// empty, at the same moment.
fn patiently<T>(mut deed: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 0..AGAIN {
        match deed() {
            Err(Error::Git { source, .. })
                if source.code() == ErrorCode::Locked || source.class() == ErrorClass::Os => {}
            other => return other,
        }
        sleep(PAUSE);
    }
    deed()
}
