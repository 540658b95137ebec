//! The throw-away `.git` of an agent's workspace: recent history to look at, nothing of the user's.
//!
//! The objects of each commit lie in a store that all workspaces share and none can write. A new tip's store
//! holds only what is new in it and names the stores below, so it costs what changed. The runner writes such a
//! `.git` and never opens it again: whatever an agent does to it has no effect.

mod index;

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashSet, VecDeque},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use git2::{Commit, ObjectType, Oid, PackBuilder, Repository};
use serde::{Deserialize, Serialize};

use crate::{
    files,
    git::{Error, Handles, Vault, compare, git, oid, tree, tree_id},
    ids::{CommitId, TreeId},
};

/// Commits of history that an agent sees. Enough for `git log` and `git blame` to be useful.
const COMMITS: usize = 50;
/// Stores that one builds on, at most: each is one more place to look for git. After that, all is packed anew.
const CHAIN: usize = 24;
/// Written last: it marks a store as whole.
const WHOLE: &str = "store.json";
/// The `.git` as a workspace gets it, below a store.
const LAYER: &str = "layer";

/// What a store knows of itself.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Store {
    /// Names of the stores whose objects it needs, itself first.
    stores: Vec<String>,
    /// Every commit that is in them.
    commits: BTreeSet<String>,
    /// Those whose parents are not all in them.
    cut: BTreeSet<String>,
    /// The commit's tree.
    tree: String,
}

/// Makes the store of `base` below `shared`, where it is not there, and gives back the directory that holds
/// the `.git` of a workspace at `base`: to be copied, or to be a layer. It never changes then. `shared` is a
/// directory of the runner's that keeps the objects between workspaces.
pub fn prepare(vault: &Vault, base: &CommitId, shared: &Path) -> Result<PathBuf, Error> {
    let directory = shared.join(base.as_str());
    let layer = directory.join(LAYER);
    let is_whole = || directory.join(WHOLE).exists();
    if is_whole() {
        return Ok(layer);
    }
    // Who asks for what another is making waits for it.
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if is_whole() {
        return Ok(layer);
    }
    files::remove_tree(&directory)?;
    let packs = directory.join("objects/pack");
    files::create_dir_all(&packs)?;
    let handles = vault.open()?;
    let found = Found::around(&handles.read, oid(base.as_str()), shared)?;
    let store = found.pack(&handles.pack, base, &packs)?;
    let below = found.index_below(shared);
    let index = found.index(&handles, &vault.tree_of(base)?, below.as_deref())?;
    store.lay_out(base, &index, &layer, shared)?;
    let text = serde_json::to_vec(&store).unwrap_or_default();
    files::write_atomic(&directory.join(WHOLE), &text)?;
    Ok(layer)
}

/// What there is to build on.
struct Found {
    /// Commits to pack, nearest first.
    new: Vec<Oid>,
    /// The store below, and its name.
    below: Option<(String, Store)>,
}

impl Found {
    /// Our own walk: libgit2's ends at once where a shallow user repository lacks a parent.
    fn around(repository: &Repository, base: Oid, shared: &Path) -> Result<Found, Error> {
        let mut below: Option<(String, Store)> = None;
        let mut new: Vec<Oid> = Vec::new();
        let mut seen = HashSet::from([base]);
        let mut open = VecDeque::from([base]);
        while let Some(id) = open.pop_front() {
            if new.len() >= COMMITS {
                break;
            }
            let name = id.to_string();
            if below.is_none() {
                below = read(shared, &name)
                    .filter(|store| store.stores.len() < CHAIN)
                    .map(|store| (name.clone(), store));
            }
            if below.as_ref().is_some_and(|(_, store)| store.commits.contains(&name)) {
                continue;
            }
            let commit = match repository.find_commit(id) {
                Ok(commit) => commit,
                Err(_) if !new.is_empty() => continue,
                Err(problem) => return Err(git("pack the history for the agent")(problem)),
            };
            new.push(id);
            open.extend(commit.parent_ids().filter(|parent| seen.insert(*parent)));
        }
        // What was met before the store may be in it.
        if let Some((_, store)) = &below {
            new.retain(|id| !store.commits.contains(&id.to_string()));
        }
        Ok(Found { new, below })
    }

    fn pack(&self, repository: &Repository, base: &CommitId, packs: &Path) -> Result<Store, Error> {
        let wrap = || git("pack the history for the agent");
        let mut store = Store { stores: vec![base.as_str().to_owned()], ..Store::default() };
        if let Some((_, below)) = &self.below {
            store.stores.extend(below.stores.iter().cloned());
            store.commits.extend(below.commits.iter().cloned());
            store.cut.extend(below.cut.iter().cloned());
        }
        let mut builder = repository.packbuilder().map_err(wrap())?;
        let mut seen = HashSet::new();
        // Oldest first: then each commit's parent is there, and only what differs from it is looked at.
        for id in self.new.iter().rev() {
            let commit = repository.find_commit(*id).map_err(wrap())?;
            let parent = commit.parents().next();
            let parent = parent.filter(|parent| store.commits.contains(&parent.id().to_string()));
            let old = parent.map(|parent| parent.tree_id());
            builder.insert_object(*id, None).map_err(wrap())?;
            add(repository, &mut builder, commit.tree_id(), old, &mut seen).map_err(wrap())?;
            store.commits.insert(id.to_string());
        }
        for id in &self.new {
            let commit = repository.find_commit(*id).map_err(wrap())?;
            if cut(&commit, &store.commits) {
                store.cut.insert(id.to_string());
            }
        }
        if !self.new.is_empty() {
            builder.write(packs, 0o444).map_err(wrap())?;
        }
        let tree = repository.find_commit(oid(base.as_str())).map_err(wrap())?.tree_id();
        store.tree = tree.to_string();
        Ok(store)
    }

    fn index_below(&self, shared: &Path) -> Option<Vec<u8>> {
        let (below, _) = self.below.as_ref()?;
        std::fs::read(shared.join(below).join(LAYER).join(".git/index")).ok()
    }

    /// The index of the base's tree, in pieces: the one of the store below with what differs, else a whole one.
    fn index<'o>(
        &self,
        handles: &Handles,
        tree: &TreeId,
        below: Option<&'o [u8]>,
    ) -> Result<Vec<Cow<'o, [u8]>>, Error> {
        if let (Some((_, store)), Some(old)) = (&self.below, below) {
            let old_tree = tree_id(oid(&store.tree));
            let edits = compare::edits(&handles.read, &old_tree, tree)?;
            if let Some(spliced) = index::spliced(old, &edits) {
                return Ok(spliced);
            }
        }
        Ok(vec![index::whole(&tree::list(&handles.read, tree)?).into()])
    }
}

impl Store {
    /// Writes the `.git` of a workspace.
    fn lay_out(
        &self,
        base: &CommitId,
        index: &[Cow<'_, [u8]>],
        layer: &Path,
        shared: &Path,
    ) -> Result<(), Error> {
        let at = layer.join(".git");
        let directories =
            ["info", "hooks", "objects/info", "objects/pack", "refs/heads", "refs/tags"];
        for directory in directories {
            files::create_dir_all(&at.join(directory))?;
        }
        let lines = |names: &mut dyn Iterator<Item = String>| {
            names.fold(String::new(), |text, name| text + &name + "\n")
        };
        let objects = |name: &String| shared.join(name).join("objects").display().to_string();
        let stores = lines(&mut self.stores.iter().map(objects));
        let config = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n";
        let write = |name: &str, text: &[u8]| files::create_new(&at.join(name), text, 0o644);
        write("HEAD", b"ref: refs/heads/work\n")?;
        write("config", config.as_bytes())?;
        write("refs/heads/work", format!("{base}\n").as_bytes())?;
        write("objects/info/alternates", stores.as_bytes())?;
        files::create_joined(&at.join("index"), index, 0o644)?;
        if !self.cut.is_empty() {
            write("shallow", lines(&mut self.cut.iter().cloned()).as_bytes())?;
        }
        Ok(())
    }
}

fn read(shared: &Path, name: &str) -> Option<Store> {
    serde_json::from_slice(&std::fs::read(shared.join(name).join(WHOLE)).ok()?).ok()
}

fn cut(commit: &Commit<'_>, inside: &BTreeSet<String>) -> bool {
    commit.parent_ids().any(|parent| !inside.contains(&parent.to_string()))
}

/// Adds what `old`, the same directory in an earlier commit, does not have.
fn add(
    repository: &Repository,
    builder: &mut PackBuilder<'_>,
    new: Oid,
    old: Option<Oid>,
    seen: &mut HashSet<Oid>,
) -> Result<(), git2::Error> {
    if Some(new) == old || !seen.insert(new) {
        return Ok(());
    }
    builder.insert_object(new, None)?;
    let new = repository.find_tree(new)?;
    let old = old.map(|old| repository.find_tree(old)).transpose()?;
    let earlier: HashSet<Oid> =
        old.iter().flat_map(|old| old.iter().map(|entry| entry.id())).collect();
    for entry in new.iter().filter(|entry| !earlier.contains(&entry.id())) {
        match entry.kind() {
            Some(ObjectType::Tree) => {
                let before = old.as_ref().and_then(|old| {
                    let same = old.iter().find(|found| found.name_bytes() == entry.name_bytes())?;
                    (same.kind() == Some(ObjectType::Tree)).then(|| same.id())
                });
                add(repository, builder, entry.id(), before, seen)?;
            }
            Some(ObjectType::Blob) => {
                builder.insert_object(entry.id(), None)?;
            }
            // A submodule's commit is not here.
            _ => {}
        }
    }
    Ok(())
}
