//! What the agent is told for one attempt: the first words of a conversation, or the next ones.
//!
//! Collects what the prompt's templates need from the base, the rules and the earlier attempts; the words
//! themselves are the templates'.

use std::path::Path;

use crate::{
    files,
    ids::CommitId,
    night::{AttemptRecord, Then},
    outcome::{AgentEnd, Failure},
    policy::{AdmittedTask, Tests},
    prompt::{self, LastAttempt, PromptInput},
    report,
    runner::{
        deed::Error,
        edit::{Edit, Ground},
        hands::{Brief, Hands},
    },
};

/// Bytes of a gate log's end that go back to the agent.
const FEEDBACK: usize = 12_000;

impl Hands {
    /// What the agent is told for this attempt.
    pub(super) fn words(
        &self,
        brief: &Brief,
        task: &AdmittedTask,
        edit: &Edit<'_>,
        ground: &Ground,
    ) -> Result<Words, Error> {
        let (input, system) = self.input(brief, task, edit.base)?;
        // A fresh start is told of the last failure that says something about the work.
        let telling = |record: &&AttemptRecord| {
            record.setback.as_ref().is_some_and(|setback| {
                !matches!(setback.then, Then::Recover { .. } | Then::Uncounted)
            })
        };
        let told = edit.earlier(brief).find(telling).and_then(|record| record.setback.as_ref());
        let last = told.map(|setback| {
            let (feedback, logs) = report::feedback(setback);
            LastAttempt {
                attempt: edit.attempt.number,
                why: feedback.why,
                refusals: feedback.refusals,
                output: self.log_ends(&logs),
                put_back: ground.put_back.clone(),
            }
        });
        let prompt = if edit.goes_on() {
            let before = edit.earlier(brief).next();
            let failure =
                before.and_then(|record| record.setback.as_ref()).map(|setback| &setback.failure);
            match (failure, &last) {
                (Some(Failure::Agent(AgentEnd::Unreadable { message })), _) => {
                    prompt::unreadable(message)
                }
                (Some(failure), Some(last)) if !interrupted(failure) => {
                    prompt::going_on(&input, last)?
                }
                // What failed before may not have been heard: it is said again.
                (Some(_) | None, Some(last)) => format!(
                    "{}\n\n{}",
                    prompt::interrupted(ground.as_left),
                    prompt::going_on(&input, last)?
                ),
                (Some(_) | None, None) => prompt::interrupted(ground.as_left),
            }
        } else {
            match &last {
                None => prompt::first(&input)?,
                Some(last) => prompt::again(&input, last)?,
            }
        };
        let redact = |text: String| self.redactor.redact(&text).into_owned();
        Ok(Words {
            brief: redact(prompt::brief(&input, last.as_ref())),
            prompt: redact(prompt),
            system: redact(system),
        })
    }

    /// The task and its rules as the templates take them, and the base's standing instructions.
    pub(super) fn input(
        &self,
        brief: &Brief,
        task: &AdmittedTask,
        base: &CommitId,
    ) -> Result<(PromptInput, String), Error> {
        let opening = &brief.opening;
        let policy = &opening.policy;
        let tree = self.vault.tree_of(base)?;
        let mut references = Vec::new();
        let mut system = String::new();
        for path in &opening.agent.context {
            let Some(bytes) = self.vault.read_file(&tree, &path.as_str().into())? else { continue };
            references.push(path.clone());
            let text = String::from_utf8_lossy(&bytes);
            system.push_str(&format!("# {path}\n\n{}\n\n", text.trim_end()));
        }
        for path in [opening.plan.path.to_string(), "docs/context/tech-reference.md".to_owned()] {
            if self.vault.read_file(&tree, &path.as_str().into())?.is_some() {
                references.push(path);
            }
        }
        let fields = &task.task().fields;
        let mut shown = vec![("Files".to_owned(), fields.files.join(", "))];
        if let Some(lines) = fields.estimated_lines {
            shown.push(("Estimated lines".to_owned(), lines.to_string()));
        }
        shown.retain(|(_, value)| !value.is_empty());
        let allowed = if task.files().is_empty() { &policy.allow[..] } else { task.files() };
        let rejected = opening.rejected.iter().find(|no| no.task == *task.id());
        let input = PromptInput {
            id: task.id().to_string(),
            title: task.task().title.clone(),
            fields: shown,
            acceptance: fields.acceptance.clone(),
            notes: task.task().notes.join("\n"),
            tests_first: policy.tests != Tests::Optional && !task.only_tests_or_docs(),
            line_limit: Some(policy.max_changed_lines),
            allowed: allowed.to_vec(),
            denied: policy.deny.clone(),
            protected: policy.protected.clone(),
            commands: opening.gate.steps.iter().map(|step| step.run.clone()).collect(),
            references,
            decisions: policy.decisions.told(),
            rejected: rejected.map(|no| no.reason.clone()).unwrap_or_default(),
            said: opening.again(task.id()).and_then(|a| a.note.clone()).unwrap_or_default(),
        };
        Ok((input, system))
    }

    fn log_ends(&self, logs: &[String]) -> String {
        let mut all = String::new();
        for log in logs {
            let path = self.night_places.directory().join(log);
            let bytes = std::fs::read(path).unwrap_or_default();
            let end = &bytes[bytes.len().saturating_sub(FEEDBACK)..];
            all.push_str(&String::from_utf8_lossy(end));
        }
        self.redactor.redact(&all).into_owned()
    }
}

/// What an agent is told, exactly.
pub(super) struct Words {
    pub(super) prompt: String,
    pub(super) system: String,
    pub(super) brief: String,
}

impl Words {
    /// Beside the transcript, so that a person can read what was sent.
    pub(super) fn write(&self, directory: &Path) -> Result<(), Error> {
        for (name, text) in
            [("prompt.md", &self.prompt), ("system.md", &self.system), ("brief.md", &self.brief)]
        {
            if !text.is_empty() {
                files::write_soon(&directory.join(name), text.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// True for ends that say nothing about the work: the conversation has only to go on.
fn interrupted(failure: &Failure) -> bool {
    match failure {
        Failure::Agent(end) => match end {
            AgentEnd::NotInstalled { .. }
            | AgentEnd::NotSignedIn { .. }
            | AgentEnd::OutOfCredit { .. }
            | AgentEnd::Limited { .. }
            | AgentEnd::Overloaded
            | AgentEnd::Transport { .. }
            | AgentEnd::ModelUnavailable { .. }
            | AgentEnd::Stalled
            | AgentEnd::Interrupted
            | AgentEnd::Garbage { .. }
            | AgentEnd::DiskFull { .. }
            | AgentEnd::Killed { .. } => true,
            AgentEnd::Finished
            | AgentEnd::Denied { .. }
            | AgentEnd::ContextFull
            | AgentEnd::ConversationLost
            | AgentEnd::BudgetSpent
            | AgentEnd::BudgetTooSmall
            | AgentEnd::TurnsSpent
            | AgentEnd::TimedOut
            | AgentEnd::Breach { .. }
            | AgentEnd::Failed { .. }
            | AgentEnd::Unreadable { .. }
            | AgentEnd::Unfit { .. } => false,
        },
        Failure::NoChange { .. }
        | Failure::Refused(_)
        | Failure::Unfit(_)
        | Failure::Gate(_)
        | Failure::NoProgress { .. }
        | Failure::Conflict { .. }
        | Failure::Question { .. }
        | Failure::Unproven(_)
        | Failure::Rejected { .. }
        | Failure::NothingLeft
        | Failure::Reverted { .. }
        | Failure::Disagreed { .. } => false,
    }
}
