//! Receipts in git: blobs named by tree, in a commit at one ref for each night.
//!
//! Written into the vault, and from there into the user's repository when a night is published. Reading asks every ref of receipts that
//! is here, whoever put it there, and believes none of them.

use std::collections::{BTreeMap, BTreeSet};

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

/// Takes the receipts of commits between `base` and `tip` from the night's: the branch went back before them. The
/// commits of the ref keep them, so a copy elsewhere moves on to it. Safe to repeat.
pub fn forget(
    vault: &Vault,
    night: &NightId,
    base: &CommitId,
    tip: &CommitId,
) -> Result<(), Error> {
    let gone: BTreeSet<CommitId> =
        vault.commits(base, tip)?.into_iter().map(|commit| commit.id).collect();
    let handles = vault.open()?;
    let wrap = || git("take back a receipt");
    let name = night.receipts_ref();
    let Some(old) = find_ref(&handles.own, &name)? else { return Ok(()) };
    let parent = handles.own.find_commit(oid(old.as_str())).map_err(wrap())?;
    let before = parent.tree().map_err(wrap())?;
    let mut builder = handles.own.treebuilder(Some(&before)).map_err(wrap())?;
    builder
        .filter(|entry| {
            let blob = handles.own.find_blob(entry.id()).ok();
            let receipt = blob.and_then(|blob| Receipt::read(blob.content()).ok());
            receipt.is_none_or(|receipt| !gone.contains(&receipt.commit))
        })
        .map_err(wrap())?;
    let tree = builder.write().and_then(|tree| handles.own.find_tree(tree)).map_err(wrap())?;
    if tree.id() == before.id() {
        return Ok(());
    }
    let (by, message) = (parent.author(), format!("Receipts of night {night}, after a revert\n"));
    let commit = handles.own.commit(None, &by, &by, &message, &tree, &[&parent]).map_err(wrap())?;
    move_ref(&handles.own, &name, Some(&old), &commit_id(commit))
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
    unreadable: Vec<String>,
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
        let mut unreadable = Vec::new();
        for (night, at) in refs {
            let Ok(night) = NightId::new(night) else { continue };
            let tree = handles.read.find_commit(oid(at.as_str())).and_then(|found| found.tree());
            let Ok(tree) = tree else {
                unreadable.push(format!(
                    "{} stands at {}, which is no commit with a tree here: no receipt is read from it",
                    night.receipts_ref(),
                    at.short()
                ));
                continue;
            };
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
        Ok(Shelf { by_tree, unreadable })
    }

    /// Receipts that are named by this tree.
    pub fn of(&self, vault: &Vault, tree: &TreeId) -> Result<Vec<Found>, Error> {
        let found = self.by_tree.get(tree).into_iter().flatten();
        read(vault, found)
    }

    /// Receipts that stand among those of a night, with the tree that each is named by.
    pub fn of_night(&self, vault: &Vault, night: &NightId) -> Result<Vec<(TreeId, Found)>, Error> {
        let mut all = Vec::new();
        for (tree, known) in &self.by_tree {
            let found = read(vault, known.iter().filter(|(of, _)| of == night))?;
            all.extend(found.into_iter().map(|found| (tree.clone(), found)));
        }
        Ok(all)
    }

    /// Refs that hold no receipts because of where they stand, in words.
    pub fn unreadable(&self) -> &[String] {
        &self.unreadable
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

fn read<'f>(
    vault: &Vault,
    found: impl Iterator<Item = &'f (NightId, Oid)>,
) -> Result<Vec<Found>, Error> {
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
    Ok(found.map(|(night, id)| Found { night: night.clone(), receipt: read(*id) }).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;
    use crate::{
        diff::FileMode,
        git::{blob_id, landing, range::Commit, tree_id},
        ids::RepoPath,
        night::Author,
    };

    struct Place {
        _directory: tempfile::TempDir,
        vault: Vault,
        user: UserRepository,
        base: CommitId,
    }

    impl Place {
        fn new() -> Place {
            let directory = tempfile::tempdir().unwrap();
            let repository = git2::Repository::init(directory.path().join("repo")).unwrap();
            let time = git2::Time::new(1_795_226_400, 0);
            let by = Signature::new("Ada", "ada@localhost", &time).unwrap();
            let tree = repository.treebuilder(None).unwrap().write().unwrap();
            let tree = repository.find_tree(tree).unwrap();
            let base = repository.commit(Some("HEAD"), &by, &by, "base", &tree, &[]).unwrap();
            let user = UserRepository::open(repository.path()).unwrap();
            let vault = Vault::prepare(&directory.path().join("vault.git"), &user).unwrap();
            Place { _directory: directory, vault, user, base: commit_id(base) }
        }

        /// A commit with one file of this text.
        fn commit(&self, parent: &CommitId, text: &str) -> Commit {
            let handles = self.vault.open().unwrap();
            let blob = blob_id(handles.own.blob(text.as_bytes()).unwrap());
            let edits = BTreeMap::from([(RepoPath::from("a"), Some((FileMode::Regular, blob)))]);
            let base = self.vault.tree_of(parent).unwrap();
            let (tree, _) = landing::store_tree(&self.vault, &base, &edits).unwrap();
            let author = Author { name: "Ada".into(), email: "ada@localhost".into() };
            let at = Timestamp::from_second(1_795_226_400).unwrap();
            let signed = landing::Signed { author: &author, at };
            let id = landing::keep(&self.vault, parent, &tree, &signed, text).unwrap();
            self.vault.commits(parent, &id).unwrap().remove(0)
        }

        fn listing(&self) -> Vec<String> {
            let night = NightId::new("2026-11-21").unwrap();
            let tip = self.vault.resolve(&night.receipts_ref()).unwrap().unwrap();
            let tree = self.vault.tree_of(&tip).unwrap();
            let all = self.vault.list(&tree).unwrap();
            all.iter().map(|entry| entry.path.to_string()).collect()
        }
    }

    fn receipt(commit: &Commit) -> Receipt {
        let gate = "ab".repeat(32);
        let value = serde_json::json!({
            "schema": crate::receipt::schema(),
            "commit": commit.id, "tree": commit.tree, "parent": commit.parents[0],
            "night": "2026-11-21", "task": "t1", "attempt": 1, "tool": "x",
            "base": {"commit": commit.id, "tree": commit.tree, "branch": "main", "how": "x"},
            "plan": "PLAN.md",
            "gate": {"id": gate, "steps": [], "env": []},
            "protected": [],
            "report": {
                "commit": commit.id, "tree": commit.tree, "gate": gate, "steps": [], "score": 100,
                "log_hash": "", "tier": "none", "failing_tests": [], "tests_run": null,
            },
        });
        serde_json::from_value(value).unwrap()
    }

    fn keep_one(place: &Place, commit: &Commit) {
        let receipt = receipt(commit);
        keep(&place.vault, &receipt, &serde_json::to_vec(&receipt).unwrap()).unwrap();
    }

    #[test]
    fn receipts_are_kept_once_and_found_by_their_tree() {
        let place = Place::new();
        let first = place.commit(&place.base, "one");
        let second = place.commit(&first.id, "two");
        // A task that undoes the one before it.
        let third = place.commit(&second.id, "one");
        assert_eq!(third.tree, first.tree);
        for commit in [&first, &second, &third, &first, &third, &second] {
            keep_one(&place, commit);
        }
        let mut expected = vec![
            first.tree.to_string(),
            second.tree.to_string(),
            format!("{}-{}", third.tree, third.id),
        ];
        expected.sort();
        assert_eq!(place.listing(), expected);
        let night = NightId::new("2026-11-21").unwrap();
        show(&place.vault, &place.user, &night).unwrap();
        let there = place.user.our_refs(&namespace()).unwrap();
        let tip = place.vault.resolve(&night.receipts_ref()).unwrap().unwrap();
        assert_eq!(there, [(night.receipts_ref(), tip.clone())]);
        // Each on the one before: a push never has to be forced.
        assert_eq!(place.vault.commits(&place.base, &tip).unwrap().len(), 3);
        let shelf = Shelf::open(&place.vault, &place.user).unwrap();
        assert_eq!(shelf.len(), 2);
        let of = |tree: &TreeId| shelf.of(&place.vault, tree).unwrap();
        let found: Vec<_> = of(&first.tree).into_iter().map(|f| f.receipt.unwrap()).collect();
        assert_eq!(found, [receipt(&first), receipt(&third)]);
        assert_eq!(of(&second.tree).len(), 1);
        let empty = place.vault.tree_of(&place.base).unwrap();
        assert_eq!(of(&empty), []);
    }

    #[test]
    fn the_same_receipts_are_the_same_commit_wherever_they_are_written() {
        let tips = [Place::new(), Place::new()].map(|place| {
            keep_one(&place, &place.commit(&place.base, "one"));
            place.vault.resolve("refs/nightshift/receipts/2026-11-21").unwrap().unwrap()
        });
        assert_eq!(tips[0], tips[1]);
    }

    #[test]
    fn what_is_no_receipt_says_why() {
        let place = Place::new();
        let first = place.commit(&place.base, "one");
        for (text, why) in [("[]", "invalid"), ("{\"schema\":\"x/2\"}", "it is of the form `x/2`")]
        {
            let found = Receipt::read(text.as_bytes()).unwrap_err();
            assert!(found.contains(why), "{found}");
        }
        let huge = vec![b' '; LARGEST + 1];
        keep(&place.vault, &receipt(&first), &huge).unwrap();
        let shelf = Shelf::open(&place.vault, &place.user).unwrap();
        let found = shelf.of(&place.vault, &tree_id(oid(first.tree.as_str()))).unwrap();
        let why = found[0].receipt.as_ref().unwrap_err();
        assert!(why.contains("at most are read"), "{why}");
    }
}
