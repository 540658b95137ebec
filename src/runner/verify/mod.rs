//! Whether the commits of a line passed the gate: from git and the receipts alone, on any clone.
//!
//! What is trusted: the commit where the line left its base, and the person who names it. Messages, receipts
//! and the line's own files are claims. Without a run of the gate, a receipt is believed where it fits all that
//! can be computed again; who may push receipts can write one that fits. `rerun` believes nobody.

mod ground;
mod judge;
mod range;
pub mod rerun;
mod whole;

use std::collections::BTreeMap;

use crate::{
    diagnostic::Style,
    git::{
        range::Commit,
        receipts::{self, Shelf},
    },
    ids::{CommitId, NightId, TaskId},
    outcome::GateReport,
    runner::{home::Home, places::Surroundings, refused::Refused},
};

pub use self::ground::Ground;

/// What a person asks.
#[derive(Clone, Debug)]
pub struct Question {
    /// A revision, a range, a pull request or a night; `None` = the last night here, else HEAD. A branch is
    /// meant as the remote has it, where the remote may be asked.
    pub what: Option<String>,
    /// Where the line left its base, instead of the remote's default branch.
    pub base: Option<String>,
    /// Whether the remote may be asked.
    pub fetch: bool,
    /// Whether a commit that does not claim to be ours must be proven as well.
    pub all: bool,
    /// How messages about files are drawn.
    pub style: Style,
}

/// Where a commit stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A receipt is for exactly this commit.
    Landed,
    /// A receipt is for its tree, and for another commit: it was squashed, moved, or its message edited.
    SameTree(CommitId),
    /// The gate was run again at its tree and passed.
    Rerun,
    /// It claims to be ours, or has to be proven, and is not.
    NotProven,
    /// It does not claim to be ours.
    NotOurs,
}

impl Standing {
    /// True when its tree passed the gate, as far as was looked.
    pub fn proven(&self) -> bool {
        matches!(self, Standing::Landed | Standing::SameTree(_) | Standing::Rerun)
    }

    /// One word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Standing::Landed => "landed",
            Standing::SameTree(_) => "same_tree",
            Standing::Rerun => "rerun",
            Standing::NotProven => "not_proven",
            Standing::NotOurs => "not_ours",
        }
    }
}

/// A commit, and what was found about it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The commit.
    pub commit: Commit,
    /// Where it stands.
    pub standing: Standing,
    /// The night and the task of its receipt.
    pub of: Option<(NightId, TaskId)>,
    /// What the receipt says of the gate's run, or what the gate said now.
    pub report: Option<GateReport>,
    /// Why it is not proven.
    pub why: Vec<String>,
    /// What a person should know of it all the same.
    pub notes: Vec<String>,
    /// Protected files that are not the base's. A gate that runs on them shows nothing.
    pub protected: Vec<String>,
}

/// What was asked about, and what was found.
#[derive(Debug)]
pub struct Verification {
    /// The base, whose gate and rules hold.
    pub ground: Ground,
    /// How the base was found, in words.
    pub base_how: String,
    /// The last commit that was looked at.
    pub tip: CommitId,
    /// What was asked about, in words.
    pub tip_how: String,
    /// The commits, parents before children.
    pub judged: Vec<Judged>,
    /// What else keeps it from being proven: what a night landed and its branch has not, and the reverse.
    pub findings: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl Verification {
    /// True when every commit is proven or none of ours, and where `all` is asked, every one is proven; and
    /// nothing else was found.
    pub fn holds(&self, all: bool) -> bool {
        self.findings.is_empty()
            && self.judged.iter().all(|judged| {
                judged.standing.proven() || (!all && judged.standing == Standing::NotOurs)
            })
    }
}

/// Answers a question without running a gate. Writes nothing but what it fetches, into the vault.
pub fn verify(
    surroundings: &Surroundings,
    home: &Home,
    question: &Question,
) -> Result<Verification, Refused> {
    let mut notes = Vec::new();
    let mut line = range::find(surroundings, home, question, &mut notes)?;
    let mut shelf = Shelf::open(&home.vault, &home.user)?;
    let wanted = |commits: &[Commit]| -> Result<bool, Refused> {
        for commit in commits.iter().filter(|commit| question.all || commit.claims) {
            if shelf.of(&home.vault, &commit.tree)?.is_empty() {
                return Ok(true);
            }
        }
        // What is not on a night's branch is known by its receipts alone.
        Ok(line.night.is_some() || (commits.is_empty() && line.merged))
    };
    if wanted(&line.commits)? && question.fetch {
        fetch_receipts(surroundings, home, &mut notes);
        shelf = Shelf::open(&home.vault, &home.user)?;
    }
    if line.commits.is_empty() && line.merged {
        line.look_back(home, &shelf, &mut notes)?;
    }
    let ground = Ground::read(home, &line.base, question.style)?;
    let mut judged = Vec::new();
    for commit in line.commits {
        let found = shelf.of(&home.vault, &commit.tree)?;
        judged.push(judge::judge(&home.vault, &ground, commit, found, question.all));
    }
    missing_tasks(&judged, &mut notes);
    notes.extend(shelf.unreadable().iter().cloned());
    let findings = match &line.night {
        Some(night) => whole::compare(&home.vault, &shelf, night, &judged, line.merged)?,
        None => Vec::new(),
    };
    let (tip, tip_how, base_how) = (line.tip, line.tip_how, line.base_how);
    Ok(Verification { ground, base_how, tip, tip_how, judged, findings, notes })
}

fn fetch_receipts(surroundings: &Surroundings, home: &Home, notes: &mut Vec<String>) {
    let Some(remote) = &home.remote else { return };
    let refspec = format!("+{}*:{}*", receipts::namespace(), receipts::fetched());
    if let Err(problem) = home.network(surroundings).fetch(&remote.fetch, &[&refspec]) {
        notes.push(format!(
            "the receipts could not be fetched from {} ({problem}); by hand: git fetch {} '{}*:{}*'",
            remote.name,
            remote.name,
            receipts::namespace(),
            receipts::namespace(),
        ));
    }
}

/// Commits of one task that stand more than once on the line are worth a look.
fn missing_tasks(judged: &[Judged], notes: &mut Vec<String>) {
    let mut seen: BTreeMap<&(NightId, TaskId), usize> = BTreeMap::new();
    for of in judged.iter().filter_map(|judged| judged.of.as_ref()) {
        *seen.entry(of).or_default() += 1;
    }
    for ((night, task), _) in seen.into_iter().filter(|(_, times)| *times > 1) {
        notes.push(format!("{task} of night {night} stands more than once on this line"));
    }
}
