//! Where the pull request goes. One trait, because a test cannot have GitHub; two things behind it.
//!
//! A forge never touches git objects or refs: the branch is pushed before it is asked.

use std::{future::Future, pin::Pin, time::Duration};

use crate::{
    ids::{CommitId, NightId, TaskId},
    ledger::Standing,
};

pub mod endpoint;
pub mod github;
pub mod local;

pub use self::{github::GitHub, local::Local};

/// A future behind `dyn`, until `async fn` in traits can stand there.
pub type Publishing<'a> = Pin<Box<dyn Future<Output = Result<Published, ForgeError>> + Send + 'a>>;

/// As [`Publishing`], for a look.
pub type Looking<'a> = Pin<Box<dyn Future<Output = Result<Option<Over>, ForgeError>> + Send + 'a>>;

/// As [`Publishing`], for an end.
pub type Closing<'a> =
    Pin<Box<dyn Future<Output = Result<Option<Published>, ForgeError>> + Send + 'a>>;

/// As [`Publishing`], for a look at all of them.
pub type Listing<'a> = Pin<Box<dyn Future<Output = Result<Vec<Seen>, ForgeError>> + Send + 'a>>;

/// A pull request of one of our nights, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its number on the forge.
    pub number: u64,
    /// Where a person opens it.
    pub url: String,
    /// The night that made it.
    pub night: NightId,
    /// How it stands.
    pub standing: Standing,
    /// Its text, with what a person ticked in it.
    pub body: String,
}

/// How a pull request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    /// Such as `#7 is merged`.
    pub words: String,
    /// True when it was merged, false when it was closed.
    pub merged: bool,
}

/// Everything a forge needs to know about a night's pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequestDraft {
    /// The night; its id is in the hidden marker that finds the pull request again.
    pub night: NightId,
    /// The night's branch, without `refs/heads/`.
    pub branch: String,
    /// The branch it should merge into, without `refs/heads/`.
    pub base: String,
    /// Where the branch stands.
    pub head: CommitId,
    /// At most 256 characters.
    pub title: String,
    /// At most 60,000 characters, [redacted](crate::redact); begins with the [marker](crate::report::marker).
    pub body: String,
    /// What did not fit there: it goes into a comment. Empty = all fits.
    pub rest: String,
    /// True when something in it waits for a person.
    pub draft: bool,
    /// Labels to add.
    pub labels: Vec<String>,
    /// Users whose review is asked for.
    pub reviewers: Vec<String>,
    /// What landed, oldest first.
    pub landed: Vec<Landed>,
    /// Whether each landed commit says that its gate was green.
    pub statuses: bool,
}

/// A landed commit whose gate was green.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landed {
    /// The commit.
    pub commit: CommitId,
    /// What landed with it.
    pub task: TaskId,
    /// What its status says, at most 140 characters.
    pub description: String,
}

/// A pull request, or the file that stands for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where a person opens it: a URL, or a path.
    pub url: String,
    /// Its number on the forge.
    pub number: Option<u64>,
    /// What did not work but does not matter enough to fail: a label, a reviewer.
    pub notes: Vec<String>,
}

/// Why there is no pull request. The branch and every commit are safe whatever this says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ForgeError {
    /// What happened, redacted, without a full stop.
    pub message: String,
    /// What to do.
    pub help: String,
    /// True when the same request may work later: no network, a server's fault, a rate limit.
    pub temporary: bool,
    /// How long it asked us to wait; `None` = it did not say.
    pub wait: Option<Duration>,
}

/// Where the pull request goes.
pub trait Forge: Send + Sync {
    /// Finds the night's open pull request or opens one, brings its text up to date, and returns its
    /// address. Safe to repeat: never two pull requests for one branch.
    fn publish<'a>(&'a self, draft: &'a PullRequestDraft) -> Publishing<'a>;

    /// Closes the night's open pull request, which has no commit left, after its text was brought up to date; `None`
    /// when there is none that is ours and open. Safe to repeat.
    fn close<'a>(&'a self, draft: &'a PullRequestDraft) -> Closing<'a>;

    /// How the night's pull request ended, such as `#7 is merged`; `None` while it is open, and when there is none.
    /// Changes nothing.
    fn ended<'a>(&'a self, draft: &'a PullRequestDraft) -> Looking<'a>;

    /// The pull requests of all nights that somebody touched lately. One request, asked once: who looks goes on
    /// without an answer. Changes nothing.
    fn pulls(&self) -> Listing<'_>;
}
