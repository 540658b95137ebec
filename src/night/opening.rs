//! What a night is opened with: everything that its rules need, written once, so that a replay reads no
//! file but the journal.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    budget::Limits,
    hosts::Rule,
    ids::{CommitId, GateId, NightId, RepoPath, TaskId, TreeId},
    policy::{AdmittedTask, Policy, Refusal, Verdict},
};

/// The first fact of a night.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// The night.
    pub night: NightId,
    /// When it began. Deadlines count from here.
    pub at: Timestamp,
    /// The user's repository, as an absolute path.
    pub repository: String,
    /// Where the night starts from.
    pub base: Base,
    /// Where the tasks were read.
    pub plan: PlanSource,
    /// The limits.
    pub limits: Limits,
    /// The rules for the real diff.
    pub policy: Policy,
    /// Admitted tasks, in plan order.
    pub tasks: Vec<AdmittedTask>,
    /// Tasks of the plan that asked to run and may not.
    pub refused: Vec<RefusedTask>,
    /// The gate.
    pub gate: GateSpec,
    /// The agent.
    pub agent: AgentSpec,
    /// Who the commits are by.
    pub author: Author,
    /// What happens to the branch in the end.
    pub publish: PublishSpec,
    /// What the person should know: unpushed commits, ignored edits, no walls.
    pub notes: Vec<String>,
    /// What people said about results of earlier nights that they rejected: one at most for each task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejection>,
    /// Results of an earlier night that a person takes from the base again, the last that landed first: then this
    /// night's tasks are these, and no agent is started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reverses: Vec<Reverse>,
    /// Tasks of this night that a person wants tried again though their text is the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub again: Vec<Again>,
}

/// A person's word that a task may be tried again as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// The task.
    pub task: TaskId,
    /// The hash of the text that is tried again.
    pub text: String,
    /// When it was said.
    pub at: Timestamp,
    /// Who said it or where, as far as it is known.
    pub by: String,
    /// What the agent is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The model to ask first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// True: nothing is told of what people said about earlier results.
    #[serde(default)]
    pub from_scratch: bool,
}

/// A result of an earlier night that is taken from the base again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reverse {
    /// The task.
    pub task: TaskId,
    /// The night that landed it.
    pub night: NightId,
    /// The commit that landed.
    pub commit: CommitId,
    /// The tree before it.
    pub before: TreeId,
    /// The tree after it, without the mark in the plan.
    pub after: TreeId,
    /// The night whose result comes back: then what is taken back is itself a taking back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub puts_back: Option<NightId>,
    /// What the person said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who, as far as it is known.
    pub by: String,
}

impl Opening {
    /// What a person said who wants this task tried again.
    pub fn again(&self, task: &TaskId) -> Option<&Again> {
        self.again.iter().find(|again| again.task == *task)
    }

    /// What a night that takes results back does with a task; `None` in every other night.
    pub fn reverse_of(&self, task: &TaskId) -> Option<&Reverse> {
        self.reverses.iter().find(|reverse| reverse.task == *task)
    }

    /// What a night that takes results back takes from the base; `None` where it puts one back, and in every other
    /// night.
    pub fn takes_back(&self, task: &TaskId) -> Option<&Reverse> {
        self.reverse_of(task).filter(|reverse| reverse.puts_back.is_none())
    }

    /// True in a night that puts back what an earlier night took.
    pub fn puts_back(&self) -> bool {
        self.reverses.iter().any(|reverse| reverse.puts_back.is_some())
    }

    /// What the plan says of a task once this night's result of it is there.
    pub fn mark(&self, task: &TaskId) -> String {
        let reverse = self.reverse_of(task);
        match reverse.map(|reverse| &reverse.puts_back) {
            // Who takes a result back wants to see its task again before it is done again.
            Some(None) => format!("PENDING (taken back, night {})", self.night),
            Some(Some(night)) => format!("DONE (night {night})"),
            None => format!("DONE (night {})", self.night),
        }
    }
}

/// A person's no to the result of an earlier night.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The task.
    pub task: TaskId,
    /// The night that made the result.
    pub night: NightId,
    /// Why, for the next attempt.
    pub reason: String,
    /// Who, as far as it is known.
    pub by: String,
}

/// The commit that a night starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The commit.
    pub commit: CommitId,
    /// Its tree.
    pub tree: TreeId,
    /// The branch that it was read from, without `refs/heads/`.
    pub branch: String,
    /// How it was found, in words: "fetched from origin".
    pub how: String,
}

/// Where the tasks were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSource {
    /// The plan's path in the repository.
    pub path: RepoPath,
    /// True when the working tree's file was read, false for the base commit's.
    pub working_tree: bool,
    /// Whether landed tasks are marked in it.
    pub update: bool,
}

/// A task that asked to run and may not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedTask {
    /// Its id.
    pub id: TaskId,
    /// Its title.
    pub title: String,
    /// Its line in the plan, from 1.
    pub line: usize,
    /// The hardest verdict among the refusals.
    pub verdict: Verdict,
    /// Every rule that said no.
    pub refusals: Vec<Refusal>,
}

/// A gate, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateSpec {
    /// Its identity: steps, set-up, network and protected files.
    pub id: GateId,
    /// What runs, in order.
    pub steps: Vec<Step>,
    /// Names or globs of environment variables that agent and gate may see.
    pub env: Vec<String>,
    /// Hosts that the steps may talk to; empty = nobody.
    #[serde(default)]
    pub network: Vec<Rule>,
    /// What runs once on the base, with the network, before anything else. All of them are required.
    #[serde(default)]
    pub setup: Vec<Step>,
    /// How it is seen to be able to fail.
    #[serde(default = "Canary::of_an_older_night")]
    pub canary: Canary,
    /// What a red base means.
    #[serde(default)]
    pub baseline: Baseline,
    /// How often a red run is repeated, to tell a flaky test from a broken one.
    #[serde(default)]
    pub flaky_reruns: u32,
}

/// How a gate is seen to be able to fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Canary {
    /// We break something in the base.
    Auto,
    /// This patch breaks it: a file of the base.
    Patch(RepoPath),
    /// It is not looked at; the pull request says so.
    Off {
        /// Where that was set, in words.
        origin: String,
    },
}

impl Canary {
    fn of_an_older_night() -> Canary {
        Canary::Off { origin: "the night began before gates were tried".to_owned() }
    }
}

/// What a red base means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// Nothing is started.
    #[default]
    Green,
    /// Only what fails anew counts.
    Compare,
}

/// One step of a gate, or of its set-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name in logs and reports.
    pub name: String,
    /// A command line for `sh -c`, run at the root of the workspace.
    pub run: String,
    /// Seconds until it is stopped and counts as red.
    pub timeout_s: u64,
    /// True when red makes the gate red.
    pub required: bool,
    /// Its share of the score.
    pub weight: u32,
    /// A JUnit report that it writes, relative to the workspace: read instead of guessing from its log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub junit: Option<String>,
}

/// The agent, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// `claude`, `demo`, or the name of a profile in the user's file.
    pub name: String,
    /// The program and its arguments, for agents that are a command.
    pub command: Option<Vec<String>>,
    /// The model to ask for; `None` = the agent's own default.
    pub model: Option<String>,
    /// Files of the base commit whose text goes into the prompt, where they exist.
    pub context: Vec<String>,
    /// What stands around agent and gate: `t2`, `t1`, `mac` or `none`.
    pub walls: String,
    /// What these walls do not stop, each in a few words.
    #[serde(default)]
    pub gaps: Vec<String>,
    /// Models to ask when the first may not be asked, in this order.
    #[serde(default)]
    pub fallback: Vec<String>,
    /// Per cent of a usage window from which the next model of `fallback` is asked instead; 0 = never.
    #[serde(default)]
    pub fallback_at: u8,
    /// Milliseconds before the first, second, … new try after a passing trouble of the service.
    #[serde(default)]
    pub retry_ms: Vec<u64>,
    /// True when it can go on with a conversation: a failed attempt is told what went wrong instead of being
    /// begun anew.
    #[serde(default)]
    pub converses: bool,
    /// True when it is paid by a subscription: dollars are shown and limit nothing.
    #[serde(default)]
    pub subscription: bool,
}

impl AgentSpec {
    /// True when its calls are counted: those of Claude Code are, those of a command are not seen by anybody.
    pub fn counts_cost(&self) -> bool {
        self.command.is_none()
    }
}

/// Who the commits are by: the person on whose behalf the night runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// Name.
    pub name: String,
    /// Address.
    pub email: String,
}

/// What happens to the branch in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishSpec {
    /// Where the branch is pushed, without credentials; `None` = nowhere.
    pub remote: Option<String>,
    /// False: the branch stays here, as `--no-push` asks.
    pub push: bool,
    /// False: no pull request, as `--no-pr` asks.
    pub pull_request: bool,
    /// True: the pull request is a draft whatever is in it.
    pub draft: bool,
    /// Labels to add.
    pub labels: Vec<String>,
    /// Users whose review is asked for.
    pub reviewers: Vec<String>,
    /// True: nothing is said at the landed commits (`pr.statuses: off`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_statuses: bool,
    /// The repository's page where the remote is a GitHub, without a slash at its end: reports link to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_of_an_older_night_names_nobody_and_has_no_set_up() {
        let older = format!(r#"{{"id":"{}","steps":[],"env":["LANG"]}}"#, "0".repeat(64));
        let gate: GateSpec = serde_json::from_str(&older).unwrap();
        assert!(gate.network.is_empty() && gate.setup.is_empty());
    }
}
