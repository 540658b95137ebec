//! What came of each step: plain data, made by the hands, judged by the night.
//!
//! A task's failure is data, not an error of ours: it belongs in the report.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    budget::{Spend, Usd},
    diff::DiffStat,
    ids::{CommitId, GateId, RepoPath, TreeId},
    policy::Refusal,
    prompt::{Decision, Reply},
};

/// A commit built on `base`, waiting to be gated and landed. Made by `git::landing` only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its parent: the tip of the night when it was made.
    pub base: CommitId,
    /// The commit.
    pub commit: CommitId,
    /// The commit's tree: what the gate judges.
    pub tree: TreeId,
    /// The tree before our tick in the plan, so that a restack can add the tick anew.
    pub edit: TreeId,
    /// Size against its base, without the tick.
    pub stat: DiffStat,
    /// True when the base's plan had the task and its status was edited.
    pub ticked: bool,
}

/// What an agent's run came to, whatever the program said about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentReport {
    /// How it ended.
    pub ended: AgentEnd,
    /// What it cost.
    pub spent: Spend,
    /// Seconds from start to end.
    pub seconds: u64,
    /// Turns of the conversation, where the agent has them.
    pub turns: Option<u32>,
    /// The conversation's id, where the agent has one.
    pub conversation: Option<String>,
    /// The model that answered, where known.
    pub model: Option<String>,
    /// The agent's last words, cut to 2,000 characters and redacted. Shown in fences only.
    pub last_words: Option<String>,
    /// Processes that were still running when the agent's turn ended, and were killed.
    pub survivors: u32,
    /// What the whole conversation has cost, as its program counts: it goes on counting when a conversation
    /// is resumed, so the next attempt in it subtracts this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Usd>,
    /// How full the tightest usage window was at the end, where the service tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<UsageWindow>,
    /// What it says about its own work.
    #[serde(default, skip_serializing_if = "Reply::is_empty")]
    pub reply: Reply,
    /// What a person should know of this run: a model without a known price, an interruption of the service
    /// that it overcame, a compaction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl AgentReport {
    /// A report that knows nothing but how it ended.
    pub fn of(ended: AgentEnd) -> AgentReport {
        AgentReport {
            ended,
            spent: Spend::default(),
            seconds: 0,
            turns: None,
            conversation: None,
            model: None,
            last_words: None,
            survivors: 0,
            total: None,
            window: None,
            reply: Reply::default(),
            notes: Vec::new(),
        }
    }
}

/// How much of a usage window is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageWindow {
    /// The service's name for it, such as `five_hour`.
    pub name: String,
    /// 0 to 100.
    pub percent: u8,
    /// Seconds since 1970 when it begins anew, where known.
    pub resets_at: Option<i64>,
}

/// What a usage limit holds back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitScope {
    /// The model that was asked; another may answer.
    Model,
    /// Every model of this account.
    #[default]
    Account,
}

/// How an agent's run ended. From structured facts only, never from its prose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentEnd {
    /// It came to its end. Whether it did anything is for the diff to say.
    Finished,
    /// It ended, and tools that it asked for were denied.
    Denied {
        /// Names of the tools.
        tools: Vec<String>,
    },
    /// Its program is not there.
    NotInstalled {
        /// What was looked for.
        program: String,
    },
    /// It has no valid credential.
    NotSignedIn {
        /// What it said.
        message: String,
    },
    /// The account has no credit left.
    OutOfCredit {
        /// What the service said.
        message: String,
    },
    /// A usage limit was reached.
    Limited {
        /// Seconds since 1970 when the limit ends, where the service said so.
        until: Option<i64>,
        /// What it holds back.
        #[serde(default)]
        scope: LimitScope,
    },
    /// The service is overloaded.
    Overloaded,
    /// The service could not be reached, or answered nonsense.
    Transport {
        /// What it said.
        message: String,
    },
    /// The conversation grew too long.
    ContextFull,
    /// The conversation that was to be gone on with is not there any more.
    ConversationLost,
    /// The money or the tokens for this attempt are gone.
    BudgetSpent,
    /// The money or the tokens do not pay for a single call.
    BudgetTooSmall,
    /// The turns for this attempt are gone.
    TurnsSpent,
    /// The model is unknown or not allowed.
    ModelUnavailable {
        /// What it said.
        message: String,
    },
    /// Its time was over and we stopped it.
    TimedOut,
    /// It was silent for too long and we stopped it.
    Stalled,
    /// We stopped it because the night was asked to stop.
    Interrupted,
    /// It died by a signal that we did not send.
    Killed {
        /// The signal's number.
        signal: i32,
    },
    /// It was killed with all that it had started, because it exceeded a limit of its walls.
    Breach {
        /// Which, such as "more than 2048 processes".
        what: String,
    },
    /// We stopped it because a disk that it writes to is almost full: the machine's trouble, not the task's.
    DiskFull {
        /// Which disk, such as "less than 51 MiB free on the disk of /x".
        what: String,
    },
    /// It ended with a code other than 0, or said that it failed.
    Failed {
        /// Its exit code.
        code: Option<i32>,
        /// What it said, cut.
        message: String,
    },
    /// It came to its end, and what it says about its own work cannot be read: a question or a decision that
    /// is a person's could be in it.
    Unreadable {
        /// What was wrong.
        message: String,
    },
    /// It ended without a result that we can read.
    Garbage {
        /// What was wrong.
        message: String,
    },
    /// Its own report of version, model, tools or mode is not what we asked for.
    Unfit {
        /// What differs.
        message: String,
    },
}

/// What a gate's run came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateReport {
    /// The commit that was laid out.
    pub commit: CommitId,
    /// The commit's tree: exactly what was tested.
    pub tree: TreeId,
    /// Which gate: its resolved steps and protected files.
    pub gate: GateId,
    /// Each step in order; steps after a red required one are absent.
    pub steps: Vec<StepReport>,
    /// 100 × weight of green and excused steps / weight of all; the set-up weighs nothing.
    pub score: u32,
    /// SHA-256 over the steps' logs, in hexadecimal.
    pub log_hash: String,
    /// What stood around the steps: `t2`, `t1`, `mac` or `none`.
    pub tier: String,
    /// Names of failing tests that the logs show, sorted. Empty when none could be recognised.
    pub failing_tests: Vec<String>,
    /// Tests that the logs count, where a known summary line was seen.
    pub tests_run: Option<u32>,
    /// True when the receipt of an earlier run at the same tree and gate was used instead of a run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reused: bool,
    /// Why the run is red although its steps ended well: it tested less than the base's own run did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vacuous: Option<String>,
    /// Red runs at the same tree that this one was repeated for, oldest first: where this one is green, what
    /// they failed in is flaky.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_runs: Vec<FormerRun>,
}

/// A red run of a gate that was repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerRun {
    /// Its steps, with their logs.
    pub steps: Vec<StepReport>,
    /// Names of failing tests, sorted.
    pub failing_tests: Vec<String>,
    /// Tests that ran, where they were counted.
    pub tests_run: Option<u32>,
}

/// One step of a gate's run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// The step's name.
    pub name: String,
    /// The command as configured.
    pub command: String,
    /// How it ended.
    pub ended: StepEnd,
    /// Milliseconds from start to end.
    pub millis: u64,
    /// True when red makes the gate red.
    pub required: bool,
    /// The log, relative to the night's directory.
    pub log: String,
    /// Names of its failing tests, sorted, where they could be recognised.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing_tests: Vec<String>,
    /// Failing tests that it names although it ended well, sorted: who said so was not heard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unheard: Vec<String>,
    /// Tests that it ran, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests_run: Option<u32>,
    /// True when it is red and fails in nothing that did not fail on the base already (`gate.baseline: compare`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub excused: bool,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnd {
    /// With this exit code; 0 is green.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// Its time was over.
    TimedOut,
    /// It used more than the walls allow, and was killed.
    Breach(String),
    /// Its program could not be started.
    NotStarted(String),
    /// The night was stopped at once.
    Interrupted,
}

impl StepReport {
    /// True when the step passed.
    pub fn green(&self) -> bool {
        self.ended == StepEnd::Exit(0)
    }

    /// True when it makes the gate red.
    pub fn blocks(&self) -> bool {
        self.required && !self.green() && !self.excused
    }
}

impl GateReport {
    /// True when every required step passed, none is missing, and the run tested what it should.
    pub fn passed(&self) -> bool {
        !self.steps.is_empty()
            && self.vacuous.is_none()
            && !self.steps.iter().any(StepReport::blocks)
    }

    /// True when each step that makes it red names the tests that failed: then a later run can be compared.
    pub fn names_failures(&self) -> bool {
        self.vacuous.is_none()
            && !self.steps.is_empty()
            && self.steps.iter().filter(|s| s.blocks()).all(|s| !s.failing_tests.is_empty())
    }

    /// Names of the required steps that did not pass.
    pub fn red_steps(&self) -> Vec<&str> {
        self.steps.iter().filter(|s| s.blocks()).map(|s| s.name.as_str()).collect()
    }
}

/// Whether a gate was seen to go red on a tree broken on purpose. Once for each gate id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateProof {
    /// Which gate.
    pub gate: GateId,
    /// What was broken, and what the gate said, in the order of the tries.
    pub tries: Vec<CanaryTry>,
    /// True when the proof of an earlier night for the same gate was used instead of a run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reused: bool,
}

/// One tree broken on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryTry {
    /// What was broken, such as "a syntax error in src/lib.rs".
    pub what: String,
    /// The broken tree.
    pub tree: TreeId,
    /// Required steps that went red; empty = the gate did not notice.
    pub red_steps: Vec<String>,
    /// The directory of the logs, relative to the night's.
    pub logs: String,
}

impl GateProof {
    /// True when the gate noticed.
    pub fn proven(&self) -> bool {
        self.tries.iter().any(|tried| !tried.red_steps.is_empty())
    }
}

/// Whether a candidate's tests test its change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestProof {
    /// The new and changed tests, on the base's code.
    pub new_tests: NewTests,
    /// The base's tests, on the candidate's code.
    pub former_tests: FormerTests,
}

/// New and changed tests on the base's code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewTests {
    /// No test was added or changed.
    None,
    /// They are red there: they test what the candidate brings.
    Proven {
        /// Required steps that went red.
        red_steps: Vec<String>,
        /// Failing tests, where they could be recognised.
        failing_tests: Vec<String>,
        /// The directory of the logs, relative to the night's.
        logs: String,
    },
    /// They are green there: they would pass without the change.
    Unproven {
        /// The directory of the logs, relative to the night's.
        logs: String,
    },
    /// They assert nothing, whatever becomes of them without the change.
    Empty {
        /// The files.
        paths: Vec<RepoPath>,
    },
    /// They stand in the same files as the code, and cannot be tried without it.
    Inseparable {
        /// The files.
        paths: Vec<RepoPath>,
    },
    /// Nothing but tests and documents was changed: there is no code that they could be tried without.
    Alone,
}

/// The base's tests on a candidate's code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormerTests {
    /// None was changed: the gate ran them.
    Unchanged,
    /// They pass as they were.
    Green {
        /// The directory of the logs, relative to the night's.
        logs: String,
    },
    /// They do not: the change alters what they held.
    Red {
        /// Required steps that went red.
        red_steps: Vec<String>,
        /// Failing tests, where they could be recognised.
        failing_tests: Vec<String>,
        /// Files of code whose own tests, beside the code, were tried as they were.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        beside: Vec<RepoPath>,
        /// The directory of the logs, relative to the night's.
        logs: String,
    },
}

impl fmt::Display for StepEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A shell's word for a program of its own that died by signal 9, which the kernel sends when memory is short.
            StepEnd::Exit(137) | StepEnd::Signal(9) => {
                f.write_str("exit 137 (killed, as when the machine has no memory left)")
            }
            StepEnd::Exit(code) => write!(f, "exit {code}"),
            StepEnd::Signal(signal) => write!(f, "signal {signal}"),
            StepEnd::TimedOut => f.write_str("timed out"),
            StepEnd::Breach(what) => write!(f, "killed: {what}"),
            StepEnd::NotStarted(why) => write!(f, "could not start: {why}"),
            StepEnd::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// Why an attempt ended without a landed commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The agent did not come to its end.
    Agent(AgentEnd),
    /// The agent came to its end and changed nothing.
    NoChange {
        /// Tools that it asked for and was denied: often the reason.
        denied: Vec<String>,
    },
    /// The real diff broke rules.
    Refused(Vec<Refusal>),
    /// The workspace holds what cannot enter a commit: a device, a nested repository, a link out of it.
    Unfit(Vec<OddEntry>),
    /// The gate was red.
    Gate(Box<GateReport>),
    /// The agent made again, byte for byte, what an earlier attempt had made.
    NoProgress {
        /// The earlier attempt's number.
        like: u32,
    },
    /// The branch moved and the change does not fit the new tip.
    Conflict {
        /// The paths in conflict.
        paths: Vec<RepoPath>,
    },
    /// The agent needs a person: it asks, or it decided what only a person may decide.
    Question {
        /// What to answer, in the agent's words.
        questions: Vec<String>,
    },
    /// The new tests pass without the change, and the rules want them proven.
    Unproven(Box<TestProof>),
    /// A person said no to the held result.
    Rejected {
        /// Why, for the next attempt.
        reason: String,
        /// Who, as far as it is known.
        by: String,
    },
    /// Nothing of the result that was to be taken back is there any more.
    NothingLeft,
    /// A person took the landed result from the branch again.
    Reverted {
        /// What the person said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Who, as far as it is known.
        by: String,
    },
    /// The second opinion does not agree with what the agent decided.
    Disagreed {
        /// What it was asked about.
        decisions: Vec<Decision>,
        /// Why it does not agree.
        why: String,
    },
}

/// What a second, short conversation says about an attempt's decisions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// True when it agrees with all of them.
    pub agree: bool,
    /// Why, or why there is no opinion.
    pub why: String,
    /// How the conversation ended; an opinion counts only when it finished.
    pub ended: AgentEnd,
    /// What it cost.
    pub spent: Spend,
    /// The model that was asked.
    pub model: Option<String>,
}

/// An entry of a workspace that cannot enter a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OddEntry {
    /// Where it is.
    pub path: RepoPath,
    /// What it is, such as "a named pipe" or "a symbolic link that leaves the repository".
    pub what: String,
}

/// Why a night ended before its work was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The gate is red on the base: nothing was started.
    RedBase,
    /// The gate was not seen to fail on any tree that was broken on purpose: nothing was started.
    GateUnproven,
    /// Only what a person approved was to be landed.
    OnlyLanding,
    /// A person asked for it.
    Asked {
        /// How: `stop`, `stop --now`, a STOP file, a signal.
        by: String,
    },
    /// The night's time is over.
    Time,
    /// The night's money is spent.
    Cost,
    /// Too many tasks failed in a row.
    FailuresInARow {
        /// How many.
        count: u32,
    },
    /// A usage limit was reached.
    Limited {
        /// Seconds since 1970 when it ends, where known.
        until: Option<i64>,
    },
    /// The agent cannot work at all: not installed, not signed in, not what we asked for.
    AgentUnusable {
        /// What to tell the person.
        message: String,
    },
    /// Something around us failed: a disk, a repository. What landed is safe.
    Broken {
        /// What, in words.
        message: String,
    },
    /// The branch was moved by somebody else.
    BranchMoved {
        /// Where it stands now.
        found: String,
    },
}
