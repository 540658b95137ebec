//! The throw-away `.git` of an agent's workspace: recent history to look at, nothing of the user's.
//!
//! One pack of the base's last commits is shared by all workspaces of a base. The runner writes such a
//! `.git` and never opens it again: whatever an agent does to it has no effect.

use std::path::Path;

use git2::Repository;

use crate::{
    files,
    git::{Error, Vault, git, oid},
    ids::CommitId,
};

/// Commits of history that an agent sees. Enough for `git log` and `git blame` to be useful; each costs
/// its own trees in the shared pack.
const COMMITS: usize = 50;

/// Gives the files at `workspace` a repository of their own, at `base`. `shared` is a directory of the
/// runner's that keeps the packs between workspaces.
pub fn give(vault: &Vault, base: &CommitId, workspace: &Path, shared: &Path) -> Result<(), Error> {
    let store = shared.join(base.as_str());
    if !store.join("shallow").exists() {
        pack(vault, base, &store)?;
    }
    let wrap = || git("make the agent's repository");
    let repository = Repository::init(workspace).map_err(wrap())?;
    let directory = repository.path().to_owned();
    files::create_dir_all(&directory.join("objects/info"))?;
    let alternates = format!("{}\n", store.join("objects").display());
    files::write_atomic(&directory.join("objects/info/alternates"), alternates.as_bytes())?;
    let shallow = std::fs::read(store.join("shallow"))
        .map_err(files::error("read", &store.join("shallow")))?;
    if !shallow.is_empty() {
        files::write_atomic(&directory.join("shallow"), &shallow)?;
    }
    drop(repository);
    let repository = Repository::open(workspace).map_err(wrap())?;
    let commit = repository.find_commit(oid(base.as_str())).map_err(wrap())?;
    let tree = commit.tree().map_err(wrap())?;
    repository.reference("refs/heads/work", commit.id(), true, "base").map_err(wrap())?;
    repository.set_head("refs/heads/work").map_err(wrap())?;
    let mut index = repository.index().map_err(wrap())?;
    index.read_tree(&tree).map_err(wrap())?;
    index.write().map_err(wrap())
}

/// Writes the shared pack. `shallow` is written last: it marks the store as whole.
fn pack(vault: &Vault, base: &CommitId, store: &Path) -> Result<(), Error> {
    let wrap = || git("pack the history for the agent");
    let handles = vault.open()?;
    let packs = store.join("objects/pack");
    files::create_dir_all(&packs)?;
    let mut builder = handles.read.packbuilder().map_err(wrap())?;
    let mut inside = std::collections::HashSet::new();
    let mut parents = Vec::new();
    // Our own walk: libgit2's ends at once where a shallow user repository lacks a parent.
    let mut open = std::collections::VecDeque::from([oid(base.as_str())]);
    while let Some(id) = open.pop_front() {
        if inside.len() >= COMMITS || inside.contains(&id) {
            continue;
        }
        let commit = match handles.read.find_commit(id) {
            Ok(commit) => commit,
            Err(_) if !inside.is_empty() => continue,
            Err(problem) => return Err(wrap()(problem)),
        };
        builder.insert_commit(id).map_err(wrap())?;
        inside.insert(id);
        open.extend(commit.parent_ids());
        parents.push((id, commit.parent_ids().collect::<Vec<_>>()));
    }
    builder.write(&packs, 0o444).map_err(wrap())?;
    let cut: Vec<String> = parents
        .iter()
        .filter(|(_, parents)| parents.iter().any(|parent| !inside.contains(parent)))
        .map(|(id, _)| format!("{id}\n"))
        .collect();
    Ok(files::write_atomic(&store.join("shallow"), cut.concat().as_bytes())?)
}
