//! Whether a night's branch still has all that landed in the night, and nothing else.
//!
//! Compares with the night's receipts. Judges no commit: that a receipt fits is for `judge` to say.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    git::{Vault, range::Commit, receipts::Shelf},
    ids::{CommitId, NightId, TreeId},
    receipt::Receipt,
    runner::{
        refused::Refused,
        verify::{Judged, Standing},
    },
};

/// What is missing and what is too much. `merged`: the line is part of its base by now, where commits of others
/// belong.
pub(super) fn compare(
    vault: &Vault,
    shelf: &Shelf,
    night: &NightId,
    judged: &[Judged],
    merged: bool,
) -> Result<Vec<String>, Refused> {
    let line: Vec<&Commit> = judged.iter().map(|judged| &judged.commit).collect();
    let trees: BTreeSet<&TreeId> = line.iter().map(|commit| &commit.tree).collect();
    let mut findings = Vec::new();
    let mut receipts = BTreeMap::new();
    let found = shelf.of_night(vault, night)?;
    if found.is_empty() && line.is_empty() {
        findings.push(format!("there is neither a commit nor a receipt of night {night}"));
    }
    for (tree, found) in found {
        match found.receipt {
            // One of another night is named where its tree stands; here it says nothing.
            Ok(receipt) if receipt.night == *night => {
                receipts.insert(receipt.commit.clone(), receipt);
            }
            Ok(_) => {}
            Err(_) if trees.contains(&tree) => {}
            Err(problem) => findings.push(format!(
                "landed and not here: tree {}, whose receipt cannot be read: {problem}",
                tree.short()
            )),
        }
    }
    let here = contained(&receipts, &line, &trees);
    for receipt in receipts.values().filter(|receipt| !here.contains(&receipt.commit)) {
        findings.push(format!(
            "landed and not here: task {}, commit {}",
            receipt.task,
            receipt.commit.short()
        ));
    }
    let foreign = judged.iter().filter(|judged| judged.standing == Standing::NotOurs && !merged);
    findings.extend(foreign.map(|judged| {
        format!("not of night {night}, and on its branch: commit {}", judged.commit.id.short())
    }));
    Ok(findings)
}

/// The landed commits whose work the line has: by itself, by its tree, or below one that it has so. A squash has
/// the last tree, and with it what led there.
fn contained(
    receipts: &BTreeMap<CommitId, Receipt>,
    line: &[&Commit],
    trees: &BTreeSet<&TreeId>,
) -> BTreeSet<CommitId> {
    let ids: BTreeSet<&CommitId> = line.iter().map(|commit| &commit.id).collect();
    let mut here = BTreeSet::new();
    for receipt in receipts.values() {
        let mut next = (ids.contains(&receipt.commit) || trees.contains(&receipt.tree))
            .then_some(&receipt.commit);
        while let Some(receipt) = next.and_then(|commit| receipts.get(commit))
            && here.insert(receipt.commit.clone())
        {
            next = Some(&receipt.parent);
        }
    }
    here
}
