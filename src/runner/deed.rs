//! What an order can come to: a deed that was done, or why it could not be.
//!
//! Plain data between the hands and the loop; decides nothing.

use crate::{
    agent::AgentError,
    files, gate, git,
    ids::{CommitId, NAME},
    night::Hindrance,
    outcome::{AgentReport, Candidate, Failure, GateProof, GateReport, Review, TestProof},
    policy::Inspection,
    prompt,
};

/// Why a deed could not be done. A failing task is no error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A repository refused.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// The gate could not be run.
    #[error(transparent)]
    Gate(#[from] gate::Error),
    /// The agent could not be run, for a reason of ours.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The disk refused.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// The prompt's template is broken.
    #[error(transparent)]
    Prompt(#[from] prompt::PromptError),
    /// The policy in the journal no longer compiles.
    #[error(transparent)]
    Rules(#[from] crate::policy::RuleSetError),
    /// What agents and gates need besides the tree could not be kept for them.
    #[error("could not keep what `gate.setup` or `.worktreeinclude` brings for all tasks: {0}")]
    CacheNotKept(#[source] git::Error),
    /// It is not there any more, and the base's gate, run again, did not bring it back.
    #[error(
        "what `gate.setup` or `.worktreeinclude` brought for all tasks is gone, and the base's gate, run \
         again, is red: `{} logs gate` tells why",
        NAME
    )]
    CacheGone,
    /// The gate's way to the hosts of the configuration could not be opened.
    #[error("could not listen for the gate's programs")]
    Egress(#[source] std::io::Error),
}

/// What a deed came to.
#[derive(Debug)]
pub enum Deed {
    /// A gate spoke; `None` when the night was stopped at once.
    Gate(Option<GateReport>),
    /// A gate was tried on broken trees; `None` when the night was stopped at once.
    GateProof(Option<GateProof>),
    /// A candidate's tests were tried; `None` when the night was stopped at once.
    TestProof(Option<TestProof>),
    /// An agent's run ended.
    Agent {
        /// How.
        report: Box<AgentReport>,
        /// A candidate, or why there is none.
        result: Result<Candidate, Failure>,
        /// The commit that keeps the work.
        kept: Option<CommitId>,
        /// What the check of its diff found.
        inspection: Inspection,
    },
    /// A second opinion was had, or could not be; `None` when the night was stopped at once.
    Review(Option<Review>),
    /// A candidate was rebuilt, or did not fit.
    Restack(Result<Candidate, Failure>),
    /// The night was stopped at once before it was done, or on its way.
    Stopped,
    /// The branch stands at the candidate.
    Landed,
    /// The branch stands where it was to go back to.
    Rewound,
    /// The branch stands elsewhere; nothing was moved.
    NotLanded {
        /// Where.
        found: String,
    },
    /// There is a pull request, or the file that stands for it.
    Published {
        /// Where a person opens it.
        url: String,
        /// Its number.
        number: Option<u64>,
        /// What did not matter enough.
        notes: Vec<String>,
    },
    /// Nothing got out.
    NotPublished {
        /// What happened.
        message: String,
        /// What to do.
        help: String,
        /// Whether it passes by itself.
        hindrance: Hindrance,
    },
}
