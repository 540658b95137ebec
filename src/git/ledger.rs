//! The ledger in git: one file in a commit at a ref of its own, each commit on the one before, so that no remote has
//! to allow a forced push.
//!
//! Only stores and finds bytes: what they say, and what two of them say together, is [`crate::ledger`]'s.

use std::collections::BTreeMap;

use git2::Signature;
use jiff::Timestamp;

use crate::{
    diff::FileMode,
    git::{Error, Vault, blob_id, commit_id, git, oid, tree},
    ids::{CommitId, NAME, REF_NAMESPACE, RepoPath},
    ledger::LARGEST,
};

/// The file's name in the commit's tree.
const FILE: &str = "ledger.jsonl";

/// Where the ledger stands, here and on remotes.
pub fn name() -> String {
    format!("{REF_NAMESPACE}ledger")
}

/// Where the vault keeps what was last seen on the remote.
pub fn fetched() -> String {
    format!("{REF_NAMESPACE}fetched/ledger")
}

/// A ledger that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The commit.
    pub commit: CommitId,
    /// Its bytes, or why there are none.
    pub text: Result<Vec<u8>, String>,
}

/// Finds the ledger at a ref of the vault.
pub fn find(vault: &Vault, name: &str) -> Result<Option<Found>, Error> {
    let Some(commit) = vault.resolve(name)? else { return Ok(None) };
    let text = read(vault, &commit);
    Ok(Some(Found { commit, text }))
}

fn read(vault: &Vault, commit: &CommitId) -> Result<Vec<u8>, String> {
    let said = |problem: git2::Error| problem.message().to_owned();
    let handles = vault.open().map_err(|problem| problem.to_string())?;
    let tree = handles.read.find_commit(oid(commit.as_str())).and_then(|found| found.tree());
    let tree = tree.map_err(said)?;
    let entry = tree.get_name(FILE).ok_or_else(|| format!("there is no {FILE} in it"))?;
    let objects = handles.read.odb().map_err(said)?;
    let (size, _) = objects.read_header(entry.id()).map_err(said)?;
    if size > LARGEST {
        return Err(format!("it has {size} bytes, {LARGEST} at most are read"));
    }
    Ok(handles.read.find_blob(entry.id()).map_err(said)?.content().to_vec())
}

/// Stores a ledger on the one before. The same bytes on the same parent are the same commit: `at` is the time of the
/// newest entry, not of now.
pub fn store(
    vault: &Vault,
    parent: Option<&CommitId>,
    text: &[u8],
    at: Timestamp,
) -> Result<CommitId, Error> {
    let wrap = || git("store the ledger");
    let handles = vault.open()?;
    let blob = blob_id(handles.own.blob(text).map_err(wrap())?);
    let empty = handles.own.treebuilder(None).and_then(|tree| tree.write()).map_err(wrap())?;
    let edits = BTreeMap::from([(RepoPath::from(FILE), Some((FileMode::Regular, blob)))]);
    let tree = tree::write(&handles, &super::tree_id(empty), &edits)?;
    let tree = handles.own.find_tree(oid(tree.as_str())).map_err(wrap())?;
    let time = git2::Time::new(at.as_second(), 0);
    let by = Signature::new(NAME, &format!("{NAME}@localhost"), &time).map_err(wrap())?;
    let parent = parent.map(|parent| handles.read.find_commit(oid(parent.as_str()))).transpose();
    let parent = parent.map_err(wrap())?;
    let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
    let commit = handles.own.commit(None, &by, &by, "Ledger\n", &tree, &parents);
    Ok(commit_id(commit.map_err(wrap())?))
}
