//! The compiled rules of a night: its policy, and the rules for secrets that its base has.
//!
//! Reads the night's base and never its tip: what a task of the night landed makes no rules for the next.

use crate::{
    git::Vault,
    ids::RepoPath,
    night::Opening,
    policy::{RuleSet, SECRET_RULES_FILE},
    runner::deed::Error,
};

/// The rules by which attempts of the night are judged, and by which their diffs are masked.
pub fn of_night(vault: &Vault, opening: &Opening) -> Result<RuleSet, Error> {
    let rules = RuleSet::new(&opening.policy)?;
    let file = vault.read_file(&opening.base.tree, &RepoPath::from(SECRET_RULES_FILE))?;
    Ok(match file {
        Some(bytes) => rules.with_secret_rules(&String::from_utf8_lossy(&bytes)),
        None => rules,
    })
}
