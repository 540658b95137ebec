//! Workspaces: the files of one tree, laid out for an agent or a gate, and what changed in them.
//!
//! A [`Store`] holds all of one repository's on this machine, in slots that exist side by side. A slot costs
//! what changed, not what is there. Reading back is our own: nothing is followed, no git program and no
//! repository of an agent's takes part. Never runs a program and never decides who gets which slot.

mod behind;
mod caches;
pub(crate) mod checkout;
mod collect;
mod layers;
mod look;
mod manifest;
mod marks;
mod overlay;
mod pool;
mod product;
mod read;
mod rules;
mod switch;
mod upper;
mod walk;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use caches::Kept;
pub use collect::{Collect, Collected, InUse};
pub use overlay::probe;
pub use product::Product;
pub use read::Changes;

use crate::{
    files,
    git::{Error, Handles, Vault, oid},
    ids::{RepoPath, TreeId, hex},
    sandbox::Overlay,
    workspace::{behind::Behind, caches::Cache},
};

/// How a workspace is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A plain directory at one path that stays between uses.
    Pool,
    /// Layers, mounted inside the walls only.
    Overlay,
}

impl Kind {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Pool => "pool",
            Kind::Overlay => "overlay",
        }
    }
}

/// A place for one workspace at a time. Its name is a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(String);

impl Slot {
    /// The `n`th place of agents.
    pub fn agent(n: u32) -> Slot {
        Slot(format!("agent-{n}"))
    }

    /// The place of gates, where no agent ever writes.
    pub fn gate() -> Slot {
        Slot("gate".to_owned())
    }

    /// The slot of this name.
    pub fn named(name: &str) -> Option<Slot> {
        let number = name.strip_prefix("agent-").and_then(|number| number.parse().ok());
        match number {
            Some(number) => Some(Slot::agent(number)).filter(|slot| slot.0 == name),
            None => (name == "gate").then(Slot::gate),
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of what a base's own gate left in ignored paths.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CacheId(String);

impl CacheId {
    /// SHA-256 over all that the contents depend on, in hexadecimal.
    pub fn new(parts: &[&[u8]]) -> CacheId {
        let mut hash = Sha256::new();
        // Lengths first, so that no two lists run together into the same bytes.
        for part in parts {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        CacheId(hex(&hash.finalize()))
    }

    /// 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// All workspaces of one repository on this machine. Clones share what they know.
#[derive(Clone)]
pub struct Store {
    vault: Vault,
    root: PathBuf,
    busy: Arc<Mutex<BTreeSet<Slot>>>,
    behind: Arc<Behind>,
    /// Held while layers are made: who needs what another makes waits for it.
    layers: Arc<Mutex<()>>,
    /// What is known of slots that are not in use.
    known: Arc<Mutex<BTreeMap<Slot, pool::Rest>>>,
}

/// Whose work a slot holds, as it is written down.
#[derive(Serialize, Deserialize)]
struct Claim {
    owner: String,
    kind: Kind,
    tree: TreeId,
}

/// The file beside a slot's files that holds its claim.
const CLAIM: &str = "claim";
/// The directory of caches, beside the slots.
const CACHES: &str = "caches";

impl Store {
    /// The workspaces below `root`, which holds nothing else. Directories are made when they are needed,
    /// open to their owner only.
    pub fn new(vault: &Vault, root: &Path) -> Store {
        Store {
            vault: vault.clone(),
            root: root.to_owned(),
            busy: Arc::default(),
            behind: Arc::default(),
            layers: Arc::default(),
            known: Arc::default(),
        }
    }

    /// Lays out `tree` in `slot`: ignored paths hold what `cache` holds, or nothing; nothing else is there.
    /// `largest` is the size in bytes above which a changed file is an odd entry. An error when the slot is
    /// in use.
    pub fn lay_out(
        &self,
        kind: Kind,
        slot: &Slot,
        tree: &TreeId,
        cache: Option<&CacheId>,
        largest: u64,
    ) -> Result<Workspace, Error> {
        self.lay_out_in(self.lease(slot)?, kind, tree, cache, largest)
    }

    /// Lays out `tree` for an agent: in `preferred` when nobody needs it, else in the first place that is
    /// neither in use nor claimed.
    pub fn lay_out_agent(
        &self,
        kind: Kind,
        preferred: Option<&Slot>,
        tree: &TreeId,
        cache: Option<&CacheId>,
        largest: u64,
    ) -> Result<Workspace, Error> {
        let first = preferred.cloned().into_iter();
        let lease = first
            .chain((0..).map(Slot::agent))
            .filter(|slot| self.owner(slot).is_none())
            .find_map(|slot| self.lease(&slot).ok())
            .expect("there are more numbers than workspaces");
        self.lay_out_in(lease, kind, tree, cache, largest)
    }

    fn lay_out_in(
        &self,
        lease: Lease,
        kind: Kind,
        tree: &TreeId,
        cache: Option<&CacheId>,
        largest: u64,
    ) -> Result<Workspace, Error> {
        let place = self.root.join(&lease.slot.0);
        files::create_private_dir(&place)?;
        self.behind.wait(&place);
        files::remove_file(&place.join(CLAIM))?;
        let handles = self.vault.open()?;
        let rest = lock(&self.known).remove(&lease.slot);
        let cache = cache.and_then(|id| self.cache(&handles, id));
        if let Some(cache) = &cache {
            cache.touch()?;
        }
        let inner = match kind {
            Kind::Pool => {
                let pool = pool::Pool::lay_out(&handles, &place, rest, tree, cache.as_ref())?;
                Inner::Pool(pool)
            }
            Kind::Overlay => {
                let rooms = self.rooms();
                let cache = cache.as_ref();
                let _one = lock(&self.layers);
                Inner::Overlay(overlay::Mount::lay_out(&self.vault, &rooms, &place, tree, cache)?)
            }
        };
        Ok(self.workspace(lease, place, inner, tree, largest))
    }

    /// Makes the layers of a tree that will be laid out over `cache` soon. Directories cannot be made before.
    pub fn foresee(&self, kind: Kind, tree: &TreeId, cache: Option<&CacheId>) -> Result<(), Error> {
        if kind == Kind::Pool {
            return Ok(());
        }
        let cache = cache.and_then(|id| self.cache(&*self.vault.open().ok()?, id));
        let _one = lock(&self.layers);
        overlay::foresee(&self.vault, &self.rooms(), tree, cache.as_ref())
    }

    /// Takes over what an earlier process left in `slot` for `owner`, laid out of `tree`, as it is by now.
    /// `None` when the slot holds something else, or nothing. Call it only when nothing runs in the slot.
    pub fn reopen(
        &self,
        slot: &Slot,
        owner: &str,
        tree: &TreeId,
        largest: u64,
    ) -> Result<Option<Workspace>, Error> {
        let lease = self.lease(slot)?;
        let place = self.root.join(&slot.0);
        let claim = self.claimed(slot);
        let Some(claim) = claim.filter(|claim| claim.owner == owner && claim.tree == *tree) else {
            return Ok(None);
        };
        let inner = match claim.kind {
            Kind::Pool => {
                lock(&self.known).remove(slot);
                pool::Pool::reopen(&*self.vault.open()?, &place, tree)?.map(Inner::Pool)
            }
            Kind::Overlay => {
                overlay::Mount::reopen(&self.rooms(), &place, tree).map(Inner::Overlay)
            }
        };
        Ok(inner.map(|inner| self.workspace(lease, place, inner, tree, largest)))
    }

    /// True when there is such a cache.
    pub fn has_cache(&self, cache: &CacheId) -> bool {
        Cache::find(&self.root.join(CACHES), cache).is_some()
    }

    /// What the base's own gate left in ignored paths of `workspace` becomes the cache. Call it only after a
    /// green gate of the base, when nothing runs in the workspace. One that is there stays, and nothing is
    /// kept then.
    pub fn keep_cache(&self, workspace: &Workspace, cache: &CacheId) -> Result<Kept, Error> {
        if self.has_cache(cache) {
            return Ok(Kept::default());
        }
        let handles = self.vault.open()?;
        let caches = self.root.join(CACHES);
        files::create_private_dir(&caches)?;
        match &workspace.inner {
            Inner::Pool(pool) => pool.keep(&handles, &caches, cache, &workspace.tree),
            Inner::Overlay(mount) => mount.keep(&handles, cache),
        }
    }

    /// A cache whose own tree can be read: without it nobody could say what its products are of.
    fn cache(&self, handles: &Handles, id: &CacheId) -> Option<Cache> {
        let cache = Cache::find(&self.root.join(CACHES), id)?;
        let tree = handles.read.find_tree(oid(cache.meta.tree.as_str()));
        tree.is_ok().then_some(cache)
    }

    /// The slot that holds the work of `owner`.
    pub fn slot_of(&self, owner: &str) -> Option<Slot> {
        self.slots().into_iter().find(|slot| self.owner(slot).as_deref() == Some(owner))
    }

    /// After a killed process: forgets all claims but those of `owners`, and removes what is no workspace of
    /// ours. What cannot be removed stays.
    pub fn clear(&self, owners: &BTreeSet<String>) -> Result<(), Error> {
        files::create_private_dir(&self.root)?;
        for name in self.names() {
            let path = self.root.join(&name);
            match name.to_str().and_then(Slot::named) {
                Some(slot) => {
                    if !self.owner(&slot).is_some_and(|owner| owners.contains(&owner)) {
                        files::remove_file(&path.join(CLAIM))?;
                        overlay::clear(&path)?;
                    }
                }
                None if [CACHES, overlay::LAYERS, overlay::AT].iter().any(|own| name == *own) => {}
                None => {
                    if let Err(problem) = files::remove_any(&path) {
                        tracing::warn!(%problem, "could not remove an old workspace");
                    }
                }
            }
        }
        Ok(())
    }

    fn rooms(&self) -> overlay::Rooms {
        overlay::Rooms { root: self.root.clone(), caches: self.root.join(CACHES) }
    }

    fn names(&self) -> Vec<std::ffi::OsString> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).collect()
    }

    fn slots(&self) -> BTreeSet<Slot> {
        self.names().iter().filter_map(|name| Slot::named(name.to_str()?)).collect()
    }

    fn owner(&self, slot: &Slot) -> Option<String> {
        Some(self.claimed(slot)?.owner)
    }

    fn claimed(&self, slot: &Slot) -> Option<Claim> {
        let text = std::fs::read(self.root.join(&slot.0).join(CLAIM)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn workspace(
        &self,
        lease: Lease,
        place: PathBuf,
        inner: Inner,
        tree: &TreeId,
        largest: u64,
    ) -> Workspace {
        let (vault, known, behind) = (self.vault.clone(), self.known.clone(), self.behind.clone());
        Workspace { vault, place, inner, tree: tree.clone(), largest, lease, known, behind }
    }

    fn lease(&self, slot: &Slot) -> Result<Lease, Error> {
        if !lock(&self.busy).insert(slot.clone()) {
            return Err(Error::Unusable {
                message: format!("the workspace {slot} is in use"),
                help: "give it back before it is laid out again, or choose another".to_owned(),
            });
        }
        Ok(Lease { slot: slot.clone(), busy: self.busy.clone() })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A slot in use. Free again when it is dropped.
struct Lease {
    slot: Slot,
    busy: Arc<Mutex<BTreeSet<Slot>>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.busy).remove(&self.slot);
    }
}

/// The files of one tree in a directory of their own.
pub struct Workspace {
    vault: Vault,
    place: PathBuf,
    inner: Inner,
    tree: TreeId,
    largest: u64,
    lease: Lease,
    known: Arc<Mutex<BTreeMap<Slot, pool::Rest>>>,
    behind: Arc<Behind>,
}

enum Inner {
    Pool(pool::Pool),
    Overlay(overlay::Mount),
}

impl Workspace {
    /// How it is made.
    pub fn kind(&self) -> Kind {
        match &self.inner {
            Inner::Pool(_) => Kind::Pool,
            Inner::Overlay(_) => Kind::Overlay,
        }
    }

    /// Where it is.
    pub fn slot(&self) -> &Slot {
        &self.lease.slot
    }

    /// The files as programs see them: their working directory.
    pub fn directory(&self) -> &Path {
        match &self.inner {
            Inner::Pool(pool) => pool.directory(),
            Inner::Overlay(mount) => mount.directory(),
        }
    }

    /// Where the runner may add files before a program starts.
    pub fn own(&self) -> &Path {
        match &self.inner {
            Inner::Pool(pool) => pool.directory(),
            Inner::Overlay(mount) => mount.upper(),
        }
    }

    /// What the walls must mount; `None` when the files are simply there.
    pub fn overlay(&self) -> Option<Overlay> {
        match &self.inner {
            Inner::Pool(_) => None,
            Inner::Overlay(mount) => Some(mount.overlay()),
        }
    }

    /// Adds the files in `layer` to what programs see; nobody may change them as long as the workspace is in use.
    /// Call it before a program starts. The tree has nothing under their names.
    pub fn show(&mut self, layer: &Path) -> Result<(), Error> {
        match &mut self.inner {
            Inner::Pool(pool) => Ok(files::copy_tree(layer, pool.directory())?),
            Inner::Overlay(mount) => mount.show(layer),
        }
    }

    /// Writes down whose work the slot holds, for [`Store::reopen`]. It survives this process.
    pub fn claim(&self, owner: &str) -> Result<(), Error> {
        let claim = Claim { owner: owner.to_owned(), kind: self.kind(), tree: self.tree.clone() };
        let text = serde_json::to_vec(&claim).expect("three plain texts are JSON");
        Ok(files::write_soon(&self.place.join(CLAIM), &text)?)
    }

    /// Reads what changed, writing new contents into the vault's own store. Call it only when nothing
    /// runs in the workspace.
    pub fn changes(&self) -> Result<Changes, Error> {
        let handles = self.vault.open()?;
        let reader = read::Reader::new(&handles, &self.tree, self.largest)?;
        match &self.inner {
            Inner::Pool(pool) => pool.changes(reader),
            Inner::Overlay(mount) => mount.changes(&handles, reader),
        }
    }

    /// Makes each of `paths` what it is in `tree`, or absent where the tree does not have it. Nothing is
    /// followed: what stands in the way, a link above all, is removed. Call it only when nothing runs in
    /// the workspace.
    pub fn put(&self, tree: &TreeId, paths: &[RepoPath]) -> Result<(), Error> {
        let handles = self.vault.open()?;
        let base = rules::Base::new(&handles.read, tree)?;
        match &self.inner {
            Inner::Pool(pool) => pool.put(&base, paths),
            Inner::Overlay(mount) => {
                let own = rules::Base::new(&handles.read, &self.tree)?;
                mount.put(&own, &base, paths)
            }
        }
    }

    /// Bytes that its lay-out copied out of the cache.
    pub fn copied_bytes(&self) -> u64 {
        match &self.inner {
            Inner::Pool(pool) => pool.copied(),
            Inner::Overlay(_) => 0,
        }
    }

    /// Gives it back. What was changed in it is undone when the slot is laid out the next time, or removed beside
    /// whatever comes next.
    pub fn release(self) -> Result<(), Error> {
        self.give_back(false)
    }

    /// As [`Workspace::release`], and says that no program ran in it, not even a frozen one for a moment,
    /// since [`Workspace::changes`] read it: what that found is undone without looking a second time.
    pub fn release_as_read(self) -> Result<(), Error> {
        self.give_back(true)
    }

    fn give_back(self, as_read: bool) -> Result<(), Error> {
        files::remove_file(&self.place.join(CLAIM))?;
        match self.inner {
            Inner::Pool(pool) => {
                if let Some(rest) = pool.rest(as_read)? {
                    lock(&self.known).insert(self.lease.slot.clone(), rest);
                }
                Ok(())
            }
            Inner::Overlay(mount) => mount.release(&self.behind),
        }
    }
}
