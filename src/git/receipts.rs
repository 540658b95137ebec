//! Receipts in git: blobs named by tree, in a commit at one ref for each night.
//!
//! Written into the vault and from there into the user's repository. Reading asks every ref of receipts that
//! is here, whoever put it there, and believes none of them.

use std::collections::BTreeMap;

use git2::{ObjectType, Oid, Signature};

use crate::{
    git::{
        Error, Vault, commit_id, find_ref, git, move_ref, oid, refs_below, user::UserRepository,
    },
    ids::{CommitId, NAME, NightId, REF_NAMESPACE, TreeId},
    receipt::Receipt,
};

/// Bytes of a receipt, at most: one with ten thousand protected files has one megabyte.
pub const LARGEST: usize = 16 << 20;

/// Refs of receipts live below this, with the night's name behind it.
pub fn namespace() -> String {
    format!("{REF_NAMESPACE}receipts/")
}

/// Where the vault keeps what was fetched of a remote's receipts, apart from our own.
pub fn fetched() -> String {
    format!("{REF_NAMESPACE}fetched/receipts/")
}

/// Keeps the receipt of a landed commit: `text` is what `receipt` says, as it may be seen. Durable when it
/// returns. Safe to repeat: a commit that has its receipt keeps it. `Ok(())` says nothing about the branch.
pub fn keep(vault: &Vault, receipt: &Receipt, text: &[u8]) -> Result<(), Error> {
    let handles = vault.open()?;
    let wrap = || git("keep a receipt");
    let name = receipt.night.receipts_ref();
    let old = find_ref(&handles.own, &name)?;
    let parent = match &old {
        Some(at) => Some(handles.own.find_commit(oid(at.as_str())).map_err(wrap())?),
        None => None,
    };
    let before = parent.as_ref().map(git2::Commit::tree).transpose().map_err(wrap())?;
    let mut entry = receipt.tree.to_string();
    if let Some(found) = before.as_ref().and_then(|before| before.get_name(&entry)) {
        let there = handles.own.find_blob(found.id()).map_err(wrap())?;
        if Receipt::read(there.content()).is_ok_and(|there| there.commit == receipt.commit) {
            return Ok(());
        }
        // Two tasks may lead to one tree: the second undoes the first.
        entry = format!("{}-{}", receipt.tree, receipt.commit);
        if before.as_ref().is_some_and(|before| before.get_name(&entry).is_some()) {
            return Ok(());
        }
    }
    let blob = handles.own.blob(text).map_err(wrap())?;
    let mut builder = handles.own.treebuilder(before.as_ref()).map_err(wrap())?;
    builder.insert(&entry, blob, 0o100_644).map_err(wrap())?;
    let tree = builder.write().and_then(|tree| handles.own.find_tree(tree)).map_err(wrap())?;
    let landed = handles.read.find_commit(oid(receipt.commit.as_str())).map_err(wrap())?;
    // The landed commit's own time: the same receipts are the same commit, whenever they are written.
    let by = Signature::new(NAME, &format!("{NAME}@localhost"), &landed.time()).map_err(wrap())?;
    let message = format!("Receipts of night {}\n", receipt.night);
    let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
    let commit = handles.own.commit(None, &by, &by, &message, &tree, &parents).map_err(wrap())?;
    move_ref(&handles.own, &name, old.as_ref(), &commit_id(commit))
}

/// Brings a night's receipts into the user's repository. Safe to repeat.
pub fn show(vault: &Vault, user: &UserRepository, night: &NightId) -> Result<(), Error> {
    let name = night.receipts_ref();
    let Some(tip) = vault.resolve(&name)? else { return Ok(()) };
    user.publish_ref(vault, &name, user.our_ref(&name)?.as_ref(), &tip)
}

/// All receipts that are here.
#[derive(Debug)]
pub struct Shelf {
    by_tree: BTreeMap<TreeId, Vec<(NightId, Oid)>>,
}

/// One receipt, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The night whose ref it stands in.
    pub night: NightId,
    /// What it says, or why it cannot be read.
    pub receipt: Result<Receipt, String>,
}

impl Shelf {
    /// Looks at the refs of the vault, those that were fetched into it, and those of the user's repository.
    pub fn open(vault: &Vault, user: &UserRepository) -> Result<Shelf, Error> {
        let handles = vault.open()?;
        let mut refs: Vec<(String, CommitId)> = Vec::new();
        for (space, found) in [
            (namespace(), refs_below(&handles.own, &namespace())?),
            (fetched(), refs_below(&handles.own, &fetched())?),
            (namespace(), user.our_refs(&namespace())?),
        ] {
            refs.extend(found.into_iter().map(|(name, at)| (name[space.len()..].to_owned(), at)));
        }
        let mut by_tree: BTreeMap<TreeId, Vec<(NightId, Oid)>> = BTreeMap::new();
        for (night, at) in refs {
            let Ok(night) = NightId::new(night) else { continue };
            // A ref that stands at no commit with a tree holds no receipts.
            let tree = handles.read.find_commit(oid(at.as_str())).and_then(|found| found.tree());
            let Ok(tree) = tree else { continue };
            for entry in tree.iter().filter(|entry| entry.kind() == Some(ObjectType::Blob)) {
                let name = entry.name().unwrap_or_default();
                let Some(tree) = name.get(..40).and_then(|hash| TreeId::new(hash).ok()) else {
                    continue;
                };
                let known = by_tree.entry(tree).or_default();
                if !known.contains(&(night.clone(), entry.id())) {
                    known.push((night.clone(), entry.id()));
                }
            }
        }
        Ok(Shelf { by_tree })
    }

    /// Receipts that are named by this tree.
    pub fn of(&self, vault: &Vault, tree: &TreeId) -> Result<Vec<Found>, Error> {
        let handles = vault.open()?;
        let all = handles.read.odb().map_err(git("read receipts"))?;
        let read = |id: Oid| {
            let (size, _) = all.read_header(id).map_err(|problem| problem.message().to_owned())?;
            if size > LARGEST {
                return Err(format!("it has {size} bytes, {LARGEST} at most are read"));
            }
            let blob = all.read(id).map_err(|problem| problem.message().to_owned())?;
            Receipt::read(blob.data())
        };
        let found = self.by_tree.get(tree).into_iter().flatten();
        Ok(found.map(|(night, id)| Found { night: night.clone(), receipt: read(*id) }).collect())
    }

    /// How many trees have one.
    pub fn len(&self) -> usize {
        self.by_tree.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.by_tree.is_empty()
    }
}
