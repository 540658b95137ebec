//! Commits: made from a workspace's changes, rebuilt on a new tip, landed by one compare-and-swap.
//!
//! The branch moves last: until then a crash leaves only loose objects. Only this file makes a
//! [`Candidate`].

use std::{collections::BTreeMap, thread::sleep};

use git2::{ObjectType, Oid, Signature, Time};
use jiff::Timestamp;

use crate::{
    diff::{Diff, DiffStat, FileMode},
    faults,
    git::{
        Error, Handles, PAUSE, TreeEdit, Vault, blob_id, commit_id, compare, git, oid, tree,
        tree_id, user::UserRepository,
    },
    ids::{CommitId, NightId, RepoPath, TreeId},
    night::Author,
    outcome::Candidate,
};

/// Who a commit is by, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// Who.
    pub author: &'a Author,
    /// When.
    pub at: Timestamp,
}

/// The task's own edit of the plan.
#[derive(Clone, Debug)]
pub struct Tick {
    /// The plan's path.
    pub path: RepoPath,
    /// The plan's new contents on the commit's parent.
    pub contents: Vec<u8>,
}

/// Stores the tree that an agent left: the base's tree with its edits.
pub fn store_tree(
    vault: &Vault,
    base: &TreeId,
    edits: &BTreeMap<RepoPath, TreeEdit>,
) -> Result<(TreeId, Diff), Error> {
    let handles = vault.open()?;
    let tree = tree::write(&handles, base, edits)?;
    let diff = compare::diff(&handles.read, base, &tree)?;
    Ok((tree, diff))
}

/// Makes the candidate for a tree, which differs from the base's by `stat`: with the tick, and with a message that
/// can carry the final tree.
pub fn candidate(
    vault: &Vault,
    base: &CommitId,
    (edit, stat): (&TreeId, DiffStat),
    tick: Option<&Tick>,
    signed: &Signed<'_>,
    message: impl FnOnce(&TreeId) -> String,
) -> Result<Candidate, Error> {
    let handles = vault.open()?;
    let tree = match tick {
        Some(tick) => add_tick(&handles, edit, tick)?,
        None => edit.clone(),
    };
    let commit = write_commit(&handles, base, &tree, signed, &message(&tree))?;
    Ok(Candidate {
        base: base.clone(),
        commit,
        tree,
        edit: edit.clone(),
        stat,
        ticked: tick.is_some(),
    })
}

/// Makes a commit that only keeps an attempt's work: never a candidate, whatever its message says.
pub fn keep(
    vault: &Vault,
    base: &CommitId,
    edit: &TreeId,
    signed: &Signed<'_>,
    message: &str,
) -> Result<CommitId, Error> {
    let handles = vault.open()?;
    write_commit(&handles, base, edit, signed, message)
}

/// Rebuilds a candidate's edit on a new tip, in memory. The plan takes no part: the edit does not touch
/// it, and the new tip's plan is ticked anew by the caller. `Err(paths)` = conflict.
pub fn restack(
    vault: &Vault,
    candidate: &Candidate,
    onto: &CommitId,
) -> Result<Result<TreeId, Vec<RepoPath>>, Error> {
    let (ancestor, ours) = (vault.tree_of(&candidate.base)?, vault.tree_of(onto)?);
    merge(vault, &ancestor, &ours, &candidate.edit)
}

/// The tree of `onto` without what leads from the tree `before` to the tree `after`, in memory. `Err(paths)` =
/// conflict.
pub fn reverse(
    vault: &Vault,
    before: &TreeId,
    after: &TreeId,
    onto: &CommitId,
) -> Result<Result<TreeId, Vec<RepoPath>>, Error> {
    merge(vault, after, &vault.tree_of(onto)?, before)
}

/// Whether two lines that left `base` fit together, in memory: the paths in which they do not.
pub fn conflicts(
    vault: &Vault,
    base: &CommitId,
    (one, other): (&CommitId, &CommitId),
) -> Result<Vec<RepoPath>, Error> {
    let tree = |commit| vault.tree_of(commit);
    Ok(merge(vault, &tree(base)?, &tree(one)?, &tree(other)?)?.err().unwrap_or_default())
}

/// What leads from `ancestor` to `theirs`, done to `ours`.
fn merge(
    vault: &Vault,
    ancestor: &TreeId,
    ours: &TreeId,
    theirs: &TreeId,
) -> Result<Result<TreeId, Vec<RepoPath>>, Error> {
    let handles = vault.open()?;
    let wrap = || git("put two changes together");
    let tree = |id: &TreeId| handles.read.find_tree(oid(id.as_str())).map_err(wrap());
    let (ancestor, ours, theirs) = (tree(ancestor)?, tree(ours)?, tree(theirs)?);
    let mut options = git2::MergeOptions::new();
    options.find_renames(true);
    let mut index =
        handles.read.merge_trees(&ancestor, &ours, &theirs, Some(&options)).map_err(wrap())?;
    if index.has_conflicts() {
        let mut paths: Vec<RepoPath> = index
            .conflicts()
            .map_err(wrap())?
            .filter_map(Result::ok)
            .filter_map(|conflict| conflict.our.or(conflict.their).or(conflict.ancestor))
            .map(|entry| RepoPath::new(entry.path))
            .collect();
        paths.sort();
        paths.dedup();
        return Ok(Err(paths));
    }
    let merged = index.write_tree_to(&handles.read).map_err(wrap())?;
    adopt(&handles, merged)?;
    Ok(Ok(tree_id(merged)))
}

/// Moves the night's branch from `from` to `to` in the vault and in the user's repository, after reading
/// the commit again: its parent and its tree must be what the gate's pass was for. Safe to repeat.
///
/// The user's copy may still stand at one of `former`, where the branch stood before it went back.
pub fn land(
    vault: &Vault,
    user: &UserRepository,
    night: &NightId,
    former: &[CommitId],
    (from, to, tree): (&CommitId, &CommitId, &TreeId),
) -> Result<(), Error> {
    {
        let handles = vault.open()?;
        let commit = handles.own.find_commit(oid(to.as_str()));
        let commit = commit.map_err(git(format!("read the commit {}", to.short())))?;
        let parents: Vec<CommitId> = commit.parent_ids().map(commit_id).collect();
        if parents != [from.clone()] || tree_id(commit.tree_id()) != *tree {
            return Err(Error::Mismatch(format!(
                "the commit {} is not the one that passed the gate on {}",
                to.short(),
                from.short()
            )));
        }
    }
    // Looked at before anything moves: a branch that is no longer ours stops the landing as a whole.
    let branch = night.branch_ref();
    ours(vault, user, &branch, to, former)?;
    faults::pass("land.begun");
    vault.move_ref(&branch, Some(from), to)?;
    faults::pass("land.moved");
    show(vault, user, &branch, former, to)?;
    faults::pass("land.shown");
    Ok(())
}

/// Moves the night's branch back from `from` to `to`, a commit behind it, in the vault and in the user's repository.
/// Finds it anywhere between the two: an earlier move back may have been cut off. Safe to repeat. The caller keeps
/// `from` behind another ref first.
///
/// The user's copy may still stand at one of `former`, where the branch stood before it went back.
pub fn rewind(
    vault: &Vault,
    user: &UserRepository,
    night: &NightId,
    former: &[CommitId],
    (from, to): (&CommitId, &CommitId),
) -> Result<(), Error> {
    let branch = night.branch_ref();
    if !vault.contains(from, to)? {
        return Err(Error::Mismatch(format!(
            "{} is not behind {}: {branch} stays where it is",
            to.short(),
            from.short()
        )));
    }
    ours(vault, user, &branch, from, former)?;
    let stands = vault.resolve(&branch)?;
    let between = |at: &CommitId| vault.contains(from, at).unwrap_or(false);
    if let Some(at) = stands.as_ref().filter(|at| !between(at)) {
        return Err(moved(&branch, at, from));
    }
    vault.move_ref(&branch, stands.as_ref(), to)?;
    let former: Vec<CommitId> = std::iter::once(from).chain(former).cloned().collect();
    show(vault, user, &branch, &former, to)
}

/// Keeps where the branch stood before it goes back, with all commits that were on it. Safe to repeat.
pub fn keep_former(
    vault: &Vault,
    user: &UserRepository,
    night: &NightId,
    stood: &CommitId,
) -> Result<(), Error> {
    let name = night.former_ref(stood);
    vault.move_ref(&name, vault.resolve(&name)?.as_ref(), stood)?;
    user.publish_ref(vault, &name, user.our_ref(&name)?.as_ref(), stood)
}

/// True when the person's copy of the branch is one of ours: not there, or behind `tip` or one of `former`.
pub fn is_ours(
    vault: &Vault,
    user: &UserRepository,
    night: &NightId,
    tip: &CommitId,
    former: &[CommitId],
) -> Result<bool, Error> {
    match ours(vault, user, &night.branch_ref(), tip, former) {
        Ok(_) => Ok(true),
        Err(Error::Moved { .. }) => Ok(false),
        Err(problem) => Err(problem),
    }
}

/// Where the user's copy of the branch stands; an error when that is neither behind `tip` nor behind one of `former`.
fn ours(
    vault: &Vault,
    user: &UserRepository,
    branch: &str,
    tip: &CommitId,
    former: &[CommitId],
) -> Result<Option<CommitId>, Error> {
    let found = user.our_ref(branch)?;
    let behind = |at: &CommitId| {
        let mut tips = std::iter::once(tip).chain(former);
        tips.any(|tip| vault.contains(tip, at).unwrap_or(false))
    };
    match &found {
        Some(at) if !behind(at) => Err(moved(branch, at, tip)),
        Some(_) | None => Ok(found),
    }
}

fn moved(branch: &str, found: &CommitId, expected: &CommitId) -> Error {
    Error::Moved {
        name: branch.to_owned(),
        found: found.short().to_owned(),
        expected: expected.short().to_owned(),
    }
}

/// How often a branch is looked at again that the person deletes, or makes again, while it is brought to the tip.
const LOOKS: u32 = 5;

/// Brings the user's copy of the branch, which is ours or not there, to `tip`. A branch that the user deleted is made
/// again; one that they moved elsewhere is an error; one that they have checked out stays where it is, since moving it
/// would move their HEAD: the vault has the commits, and the push is made from there.
fn show(
    vault: &Vault,
    user: &UserRepository,
    branch: &str,
    former: &[CommitId],
    tip: &CommitId,
) -> Result<(), Error> {
    let mut looks = 0;
    loop {
        let found = ours(vault, user, branch, tip, former)?;
        looks += 1;
        match user.publish_ref(vault, branch, found.as_ref(), tip) {
            Err(Error::Moved { .. }) if looks < LOOKS => sleep(PAUSE),
            other => return other,
        }
    }
}

fn add_tick(handles: &Handles, edit: &TreeId, tick: &Tick) -> Result<TreeId, Error> {
    let old = tree::find(&handles.read, edit, &tick.path)?;
    let mode = old.map_or(FileMode::Regular, |entry| FileMode::from_raw(entry.filemode()));
    let blob = handles.own.blob(&tick.contents).map_err(git("store the plan"))?;
    let edits = BTreeMap::from([(tick.path.clone(), Some((mode, blob_id(blob))))]);
    tree::write(handles, edit, &edits)
}

fn write_commit(
    handles: &Handles,
    parent: &CommitId,
    tree: &TreeId,
    signed: &Signed<'_>,
    message: &str,
) -> Result<CommitId, Error> {
    let wrap = || git("make a commit");
    // UTC: the night's machine says nothing about where its owner lives.
    let time = Time::new(signed.at.as_second(), 0);
    let signature =
        Signature::new(&signed.author.name, &signed.author.email, &time).map_err(wrap())?;
    let parent = handles.read.find_commit(oid(parent.as_str())).map_err(wrap())?;
    let tree = handles.read.find_tree(oid(tree.as_str())).map_err(wrap())?;
    let buffer = handles
        .read
        .commit_create_buffer(&signature, &signature, message, &tree, &[&parent])
        .map_err(wrap())?;
    let odb = handles.own.odb().map_err(wrap())?;
    let id = odb.write(ObjectType::Commit, &buffer).map_err(wrap())?;
    Ok(commit_id(id))
}

/// Copies a tree and what it names into the vault's own store, where libgit2 left it in the user's
/// because it was there already.
pub(crate) fn adopt(handles: &Handles, root: Oid) -> Result<(), Error> {
    let wrap = || git("store a merged tree");
    let own = handles.own.odb().map_err(wrap())?;
    let all = handles.read.odb().map_err(wrap())?;
    let mut open = vec![(root, ObjectType::Tree)];
    while let Some((id, kind)) = open.pop() {
        if own.exists(id) {
            continue;
        }
        let object = all.read(id).map_err(wrap())?;
        if kind == ObjectType::Tree {
            let tree = handles.read.find_tree(id).map_err(wrap())?;
            // Only the trees: a blob that only the user's store has is one of the base's or the tip's.
            open.extend(
                tree.iter()
                    .filter(|entry| entry.kind() == Some(ObjectType::Tree))
                    .map(|entry| (entry.id(), ObjectType::Tree)),
            );
        }
        own.write(kind, object.data()).map_err(wrap())?;
    }
    Ok(())
}
