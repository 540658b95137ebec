//! What the morning must know when the branch that the pull request goes to is not where the night began.
//!
//! Nothing is rebuilt then: what landed passed the gate on the base that is named, and a merge is a person's.

use crate::{
    ids::{CommitId, RepoPath},
    night::Base,
    report::text,
};

/// Most commits and paths that are named.
const NAMED: usize = 5;

/// Where the remote's base branch stands, when that is not where the night began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseNow {
    /// It holds the night's base and more.
    Ahead {
        /// Its tip.
        tip: CommitId,
        /// Commits that came after the night's base.
        by: usize,
        /// Paths in which what landed and what came do not fit together.
        conflicts: Vec<RepoPath>,
    },
    /// It does not hold the night's base any more.
    Rewritten {
        /// Its tip.
        tip: CommitId,
        /// Commits below the night's base that it no longer has, oldest first.
        without: Vec<CommitId>,
    },
    /// There is no such branch.
    Gone,
    /// It stands elsewhere, and what is there could not be looked at.
    Unseen {
        /// Its tip.
        tip: CommitId,
        /// Why.
        why: String,
    },
}

impl BaseNow {
    /// True when a merge as it stands is not what anybody wants.
    pub fn needs_a_person(&self) -> bool {
        match self {
            BaseNow::Rewritten { .. } | BaseNow::Gone => true,
            BaseNow::Ahead { .. } | BaseNow::Unseen { .. } => false,
        }
    }

    /// What happened, in a sentence without its full stop, and what follows, in whole sentences. Plain text.
    pub fn words(&self, base: &Base, branch: &str) -> (String, String) {
        let (name, began) = (text::plain(&base.branch), base.commit.short());
        match self {
            BaseNow::Ahead { tip, by, conflicts } => {
                let commits = if *by == 1 { "commit" } else { "commits" };
                let fits = if conflicts.is_empty() {
                    "Both fit together without a conflict; no gate has seen the result, so let your checks run on \
                     it before you merge."
                        .to_owned()
                } else {
                    let paths = conflicts.iter().map(|path| text::plain(&path.to_string()));
                    format!("They conflict in {}.", named(paths.collect(), conflicts.len()))
                };
                (
                    format!(
                        "The base moved on, {name} is {by} {commits} further, at {}",
                        tip.short()
                    ),
                    format!("Every commit here passed the gate on {began}. {fits}"),
                )
            }
            BaseNow::Rewritten { tip, without } => {
                let lost = without.iter().map(|commit| commit.short().to_owned());
                let lost = named(lost.collect(), without.len());
                (
                    format!(
                        "The base was rewritten, {name} stands at {} and no longer holds {began}",
                        tip.short()
                    ),
                    format!(
                        "A merge would bring back what was taken out ({lost}). Every commit here passed the gate on \
                         {began} and nowhere else; git rebase --onto {name} {began} {} puts them on the new one, \
                         ungated.",
                        text::plain(branch)
                    ),
                )
            }
            BaseNow::Gone => (
                format!("The base is gone, the remote has no branch {name} any more"),
                format!("Every commit here passed the gate on {began}."),
            ),
            BaseNow::Unseen { tip, why } => (
                format!("The base moved, {name} stands at {}", tip.short()),
                format!(
                    "Every commit here passed the gate on {began}. What came could not be looked at ({why})."
                ),
            ),
        }
    }
}

/// A list of at most [`NAMED`] names, and how many there are beside them.
fn named(mut names: Vec<String>, count: usize) -> String {
    names.truncate(NAMED);
    let mut list = names.join(", ");
    if count > NAMED {
        list.push_str(&format!(" and {} more", count - NAMED));
    }
    list
}

/// The text of a pull request with this on top, below its marker.
pub fn on_top(body: &str, (what, follows): &(String, String)) -> String {
    let note = format!("> **{}.** {}\n\n", text::inline(what), text::inline(follows));
    match body.split_once('\n') {
        Some((marker, rest)) => format!("{marker}\n{note}{rest}"),
        None => format!("{note}{body}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TreeId;

    fn commit(digit: u8) -> CommitId {
        CommitId::new(format!("{digit}").repeat(40)).unwrap()
    }

    fn base() -> Base {
        Base {
            commit: commit(1),
            tree: TreeId::new("2".repeat(40)).unwrap(),
            branch: "main".to_owned(),
            how: String::new(),
        }
    }

    #[test]
    fn a_base_that_moved_on_says_how_far_and_whether_both_fit() {
        let ahead = |conflicts| BaseNow::Ahead { tip: commit(3), by: 1, conflicts };
        let (what, follows) = ahead(Vec::new()).words(&base(), "nightshift/n");
        assert_eq!(what, "The base moved on, main is 1 commit further, at 3333333");
        assert!(follows.contains("without a conflict; no gate has seen"), "{follows}");
        let (_, follows) = ahead(vec![RepoPath::new("src/a.txt")]).words(&base(), "nightshift/n");
        assert!(follows.ends_with("They conflict in src/a.txt."), "{follows}");
        assert!(!ahead(Vec::new()).needs_a_person());
    }

    #[test]
    fn a_base_that_was_rewritten_names_what_a_merge_would_bring_back() {
        let without = (0..7).map(commit).collect();
        let now = BaseNow::Rewritten { tip: commit(3), without };
        let (what, follows) = now.words(&base(), "nightshift/n");
        assert!(what.ends_with("no longer holds 1111111"), "{what}");
        assert!(follows.contains("4444444 and 2 more"), "{follows}");
        assert!(follows.contains("git rebase --onto main 1111111 nightshift/n"), "{follows}");
        assert!(now.needs_a_person());
    }

    #[test]
    fn it_stands_below_the_marker_and_above_all_else() {
        let words = ("It <moved>".to_owned(), "So.".to_owned());
        let text = on_top("<!-- marker -->\n**1 commit**\n", &words);
        assert!(text.starts_with("<!-- marker -->\n> **It "), "{text}");
        assert!(text.ends_with(".** So.\n\n**1 commit**\n"), "{text}");
        assert!(!text.contains("<moved>"), "{text}");
    }
}
