//! The receipt of a landed commit: what passed which gate at which tree, and all that is needed to compute the
//! gate's identity again. Pushed beside the branch, so that anybody can look.
//!
//! Plain data. It says what the night's own record says, and proves nothing by itself: whoever may push the
//! refs of receipts can write one. [`crate::runner::verify`] says what follows from it.

use serde::{Deserialize, Serialize};

use crate::{
    diff::FileMode,
    ids::{BlobId, CommitId, NAME, NightId, RepoPath, TaskId, TreeId, VERSION},
    night::{Base, GateSpec, Night, Stage},
    outcome::{GateProof, GateReport, TestProof},
};

/// The form of receipts that this version writes and reads.
pub fn schema() -> String {
    format!("{NAME}.receipt/1")
}

/// What is known of a landed commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The form, as [`schema`] names it.
    pub schema: String,
    /// The commit that landed.
    pub commit: CommitId,
    /// Its tree: what the gate ran on.
    pub tree: TreeId,
    /// Its parent.
    pub parent: CommitId,
    /// The night.
    pub night: NightId,
    /// The task.
    pub task: TaskId,
    /// Which attempt at it, from 1.
    pub attempt: u32,
    /// The program and version that made this.
    pub tool: String,
    /// Where the night started from: its gate and its protected files hold.
    pub base: Base,
    /// The plan. It is protected from agents and no part of the gate: each task's commit marks its own status.
    pub plan: RepoPath,
    /// The gate, resolved.
    pub gate: GateSpec,
    /// Files that had to stay as the base has them, in the order in which the gate's identity counts them.
    pub protected: Vec<ProtectedFile>,
    /// The gate's run at this tree, with flaky runs before it.
    pub report: GateReport,
    /// Whether the gate was seen to go red; `None` when that was off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_proof: Option<GateProof>,
    /// Whether the commit's tests test its change, where that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_proof: Option<TestProof>,
    /// True when it waited for a person, who approved it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approved: bool,
}

/// A file that had to stay as the base has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectedFile {
    /// Where it is.
    pub path: RepoPath,
    /// Its kind and permission.
    pub mode: FileMode,
    /// Its contents.
    pub blob: BlobId,
}

impl Receipt {
    /// The receipt of a task that landed or is about to, without its protected files: the night's record does
    /// not list them. `None` when no candidate of it passed the gate.
    pub fn of(night: &Night, task: &TaskId) -> Option<Receipt> {
        let opening = night.opening();
        let state = night.task(task)?;
        let (Stage::Landing(candidate) | Stage::Landed(candidate)) = &state.stage else {
            return None;
        };
        let record = state.last()?;
        let report = record.gate.clone().filter(|report| report.commit == candidate.commit)?;
        Some(Receipt {
            schema: schema(),
            commit: candidate.commit.clone(),
            tree: candidate.tree.clone(),
            parent: candidate.base.clone(),
            night: opening.night.clone(),
            task: task.clone(),
            attempt: record.number,
            tool: format!("{NAME} {VERSION}"),
            base: opening.base.clone(),
            plan: opening.plan.path.clone(),
            gate: opening.gate.clone(),
            protected: Vec::new(),
            report,
            gate_proof: night.gate_proof().cloned(),
            test_proof: record.test_proof.clone(),
            approved: record.approved_by.is_some(),
        })
    }

    /// Reads one. `Err` says in words why it cannot be read.
    pub fn read(text: &[u8]) -> Result<Receipt, String> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let head: Head = serde_json::from_slice(text).map_err(|problem| problem.to_string())?;
        if head.schema != schema() {
            return Err(format!("it is of the form `{}`, not `{}`", head.schema, schema()));
        }
        serde_json::from_slice(text).map_err(|problem| problem.to_string())
    }

    /// What does not fit together in it, in words: a receipt that contradicts itself shows nothing.
    pub fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let report = &self.report;
        if report.tree != self.tree {
            found.push(format!("its gate ran on the tree {}", report.tree.short()));
        }
        if report.gate != self.gate.id {
            found.push("its report is of another gate than the one it describes".to_owned());
        }
        if !report.passed() {
            let red = report.red_steps().join(", ");
            found.push(format!("its gate was red: {}", report.vacuous.as_deref().unwrap_or(&red)));
        }
        let same = |(step, told): (&crate::night::Step, &crate::outcome::StepReport)| {
            step.name == told.name && step.run == told.command && step.required == told.required
        };
        let steps = &self.gate.steps;
        // Set-up stands before the steps, where the base itself was run.
        let ran = report.steps.len().checked_sub(steps.len()).map(|at| &report.steps[at..]);
        if ran.is_none_or(|ran| !steps.iter().zip(ran).all(same)) {
            found.push("the steps that ran are not the gate's".to_owned());
        }
        found
    }
}
