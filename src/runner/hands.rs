//! Carries out one command of a night: the only place where all hands meet.
//!
//! Does, and reports what happened; what follows is for the night to say. Every deed is safe to do twice,
//! by the design that its command names.

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    agent::{Activity, Agent, Job, Purpose, Ran},
    files,
    forge::{Forge, PullRequestDraft},
    gate::GateRun,
    git::{
        self, Vault, history,
        landing::{self, Signed, Tick},
        network::{Network, PushOutcome, Rejection},
        user::UserRepository,
        workspace::Workspace,
    },
    ids::{AttemptId, CommitId, NAME, TaskId},
    night::{Command, Conversation, Night, Opening},
    outcome::{AgentEnd, AgentReport, Candidate, Failure, GateReport},
    plan::{self, SectionWords},
    policy::{AdmittedTask, RuleSet, Tests, Verdict, inspect},
    process::{Environment, Stop, Supervisor},
    prompt::{self, LastAttempt, PromptInput},
    redact::Redactor,
    report,
    runner::{
        deed::{Deed, Error},
        places::{NightPlaces, Places},
    },
};

/// An agent that says nothing for this long is stopped: tool progress comes every 30 s, and Claude Code's
/// own idle limits end below it.
const STALL: Duration = Duration::from_secs(10 * 60);
/// Bytes of a gate log's end that go back to the agent.
const FEEDBACK: usize = 12_000;

/// Everything that a night's deeds need.
pub struct Hands {
    /// Our repository.
    pub vault: Vault,
    /// The user's.
    pub user: UserRepository,
    /// Directories of this repository.
    pub places: Places,
    /// Directories of this night.
    pub night_places: NightPlaces,
    /// What runs programs.
    pub supervisor: Supervisor,
    /// What edits.
    pub agent: Arc<dyn Agent>,
    /// Where the pull request goes; `None` = nowhere but the file.
    pub forge: Option<Arc<dyn Forge>>,
    /// The file that holds the pull request's text, whatever else happens to it.
    pub local: Arc<dyn Forge>,
    /// The way to the remote and its push address.
    pub remote: Option<(Arc<Network>, String)>,
    /// What agent and gate see of our environment.
    pub environment: Environment,
    /// Headings of the plan.
    pub words: SectionWords,
    /// Known secrets.
    pub redactor: Redactor,
    /// Asked while things run.
    pub stop: Stop,
}

/// What an agent's run needs to know of the night, taken before it starts.
#[derive(Clone, Debug)]
pub struct Brief {
    opening: Arc<Opening>,
    /// What the last attempt failed at.
    last: Option<(report::Feedback, Vec<String>)>,
    attempts: u32,
    draft: Option<PullRequestDraft>,
}

impl Brief {
    /// The part of the night that `command` needs.
    pub fn of(night: &Night, opening: &Arc<Opening>, command: &Command) -> Brief {
        let attempt = command.attempt();
        let last =
            attempt.and_then(|attempt| {
                let record =
                    night.task(&attempt.task)?.attempts.iter().rev().find(|record| {
                        record.number < attempt.number && record.setback.is_some()
                    })?;
                let setback = record.setback.as_ref()?;
                Some(report::feedback(setback))
            });
        let draft = matches!(command, Command::Publish { .. }).then(|| draft(night));
        Brief {
            opening: opening.clone(),
            last,
            attempts: attempt.map_or(0, |attempt| night.attempts_allowed(&attempt.task)),
            draft,
        }
    }

    fn task(&self, id: &TaskId) -> Option<&AdmittedTask> {
        self.opening.tasks.iter().find(|task| task.id() == id)
    }
}

fn draft(night: &Night) -> PullRequestDraft {
    let text = report::pull_request(night);
    let opening = night.opening();
    PullRequestDraft {
        night: opening.night.clone(),
        branch: opening.night.branch(),
        base: opening.base.branch.clone(),
        head: night.tip().clone(),
        title: text.title,
        body: text.body,
        draft: text.draft,
        labels: opening.publish.labels.clone(),
        reviewers: opening.publish.reviewers.clone(),
    }
}

impl Hands {
    /// Carries out a command. `at` is when it was ordered.
    pub async fn carry_out(
        &self,
        command: &Command,
        brief: &Brief,
        at: Timestamp,
    ) -> Result<Deed, Error> {
        match command {
            Command::CheckBase { commit, tree } => {
                Ok(Deed::Gate(self.gate(brief, None, commit, tree).await?))
            }
            Command::RunGate { attempt, commit, tree } => {
                Ok(Deed::Gate(self.gate(brief, Some(attempt), commit, tree).await?))
            }
            Command::RunAgent { attempt, base, time_s, budget, tokens, model, conversation } => {
                let job = Edit {
                    attempt,
                    base,
                    time_s: *time_s,
                    budget: *budget,
                    tokens: *tokens,
                    model,
                    conversation: conversation.as_ref(),
                    at,
                };
                self.edit(brief, job).await
            }
            Command::Review { .. } => unreachable!("set with the review's own deed"),
            Command::Restack { attempt, candidate, onto } => {
                self.restack(brief, attempt, candidate, onto, at)
            }
            Command::Land { from, to, tree, .. } => {
                let night = &brief.opening.night;
                match landing::land(&self.vault, &self.user, night, from, to, tree) {
                    Ok(()) => Ok(Deed::Landed),
                    Err(git::Error::Moved { found, .. }) => Ok(Deed::NotLanded { found }),
                    Err(problem) => Err(problem.into()),
                }
            }
            Command::Publish { tip } => self.publish(brief, tip).await,
        }
    }

    async fn gate(
        &self,
        brief: &Brief,
        attempt: Option<&AttemptId>,
        commit: &CommitId,
        tree: &crate::ids::TreeId,
    ) -> Result<Option<GateReport>, Error> {
        let spec = &brief.opening.gate;
        let receipt = self.places.receipt(&spec.id, tree);
        if let Some(mut report) = read_receipt(&receipt, tree, spec) {
            report.commit = commit.clone();
            report.reused = true;
            return Ok(Some(report));
        }
        let name = NightPlaces::gate_name(attempt);
        let place = attempt.map_or("base".to_owned(), AttemptId::file_name);
        let run = GateRun {
            vault: &self.vault,
            supervisor: &self.supervisor,
            spec,
            commit,
            tree,
            // A name of this process: what an earlier one could not remove is not in the way.
            place: self.places.work().join(format!("gate-{place}-{}", std::process::id())),
            logs: self.night_places.directory().join(&name),
            logs_name: name,
            environment: self.environment.clone(),
        };
        let report = run.run(&self.stop).await?;
        if let Some(report) = report.as_ref().filter(|report| report.passed()) {
            if let Some(parent) = receipt.parent() {
                files::create_private_dir(parent)?;
            }
            let text = serde_json::to_vec_pretty(report).unwrap_or_default();
            files::write_atomic(&receipt, &text)?;
        }
        Ok(report)
    }

    async fn edit(&self, brief: &Brief, edit: Edit<'_>) -> Result<Deed, Error> {
        let task = brief.task(&edit.attempt.task).expect("orders name tasks of the opening");
        let place = self.places.work().join(edit.attempt.file_name());
        let workspace = {
            let (vault, base, history) =
                (self.vault.clone(), edit.base.clone(), self.places.history());
            let largest = brief.opening.policy.max_file_bytes;
            let directory = place.clone();
            blocking(move || {
                files::remove_tree(&directory)?;
                let tree = vault.tree_of(&base)?;
                let workspace = Workspace::lay_out(&vault, &tree, &directory, largest)?;
                history::give(&vault, &base, &directory, &history)?;
                Ok::<_, Error>(workspace)
            })
            .await?
        };
        let run_dir = self.night_places.attempt(edit.attempt);
        files::create_private_dir(&run_dir)?;
        let (prompt, system) = self.prompt(brief, task, &edit)?;
        files::write_atomic(&run_dir.join("prompt.md"), prompt.as_bytes())?;
        let job = Job {
            purpose: Purpose::Edit,
            attempt: edit.attempt.clone(),
            workspace: place,
            home: run_dir.clone(),
            run_dir,
            talk: None,
            prompt,
            system,
            brief: String::new(),
            model: edit.model.clone(),
            time_limit: Duration::from_secs(edit.time_s),
            stall_limit: STALL,
            budget: edit.budget,
            tokens: edit.tokens,
            turns: Some(brief.opening.limits.turns).filter(|turns| *turns > 0),
            activity: Activity::new(),
            environment: self.environment.clone(),
        };
        let Ran { mut report, session: _ } = self.agent.run(&job, None, &self.stop).await?;
        if let Some(words) = &report.last_words {
            report.last_words = Some(self.redactor.redact(words).into_owned());
        }
        report.ended = self.redacted(&report.ended);
        // Long work on files: other deeds and signals must go on meanwhile.
        let deed = tokio::task::block_in_place(|| {
            self.judge_work(brief, task, &edit, &workspace, report)
        })?;
        let removed = blocking(move || workspace.remove()).await;
        if let Err(problem) = removed {
            // Left for the next start to remove: it says nothing about the attempt.
            tracing::warn!(%problem, "could not remove a workspace");
        }
        Ok(deed)
    }

    /// Reads what the agent left, inspects it, and makes the candidate.
    fn judge_work(
        &self,
        brief: &Brief,
        task: &AdmittedTask,
        edit: &Edit<'_>,
        workspace: &Workspace,
        report: AgentReport,
    ) -> Result<Deed, Error> {
        let opening = &brief.opening;
        let changes = workspace.changes(&self.vault)?;
        let base_tree = self.vault.tree_of(edit.base)?;
        let (tree, diff) = landing::store_tree(&self.vault, &base_tree, &changes.edits)?;
        let changed = tree != base_tree;
        let signed = Signed { author: &opening.author, at: edit.at };
        let kept = |why: &str| -> Result<Option<CommitId>, Error> {
            if !changed {
                return Ok(None);
            }
            let message = format!(
                "{}: kept work of {} ({why})\n\nNot landed. Kept by {NAME} for you to look at.\n",
                NAME, edit.attempt
            );
            let commit = landing::keep(&self.vault, edit.base, &tree, &signed, &message)?;
            self.keep_ref(opening, edit.attempt, &commit)?;
            Ok(Some(commit))
        };
        let denied =
            if let AgentEnd::Denied { tools } = &report.ended { tools.clone() } else { Vec::new() };
        if !matches!(report.ended, AgentEnd::Finished | AgentEnd::Denied { .. }) {
            let kept = kept("the agent did not come to its end")?;
            let failure = Failure::Agent(report.ended.clone());
            return Ok(Deed::Agent { report, result: Err(failure), kept });
        }
        if !changes.odd.is_empty() {
            let kept = kept("entries that cannot enter a commit")?;
            let failure = Failure::Unfit(changes.odd);
            return Ok(Deed::Agent { report, result: Err(failure), kept });
        }
        if !changed {
            let failure = Failure::NoChange { denied };
            return Ok(Deed::Agent { report, result: Err(failure), kept: None });
        }
        let rules = RuleSet::new(&opening.policy)?;
        let refusals: Vec<_> = inspect(&rules, task, &diff, &changes.filtered)
            .into_iter()
            .filter(|refusal| refusal.verdict != Verdict::Report)
            .collect();
        if !refusals.is_empty() {
            let kept = kept("refused by a rule")?;
            return Ok(Deed::Agent { report, result: Err(Failure::Refused(refusals)), kept });
        }
        let candidate = self.candidate(brief, task, edit.attempt, edit.base, &tree, &signed)?;
        // Kept from the start: a candidate that fails its gate is an attempt that a person may open.
        self.keep_ref(opening, edit.attempt, &candidate.commit)?;
        let kept = Some(candidate.commit.clone());
        Ok(Deed::Agent { report, result: Ok(candidate), kept })
    }

    /// How the agent ended, without secrets in what it said.
    fn redacted(&self, ended: &AgentEnd) -> AgentEnd {
        let text = serde_json::to_string(ended).unwrap_or_default();
        serde_json::from_str(&self.redactor.redact(&text)).unwrap_or_else(|_| ended.clone())
    }

    fn keep_ref(
        &self,
        opening: &Opening,
        attempt: &AttemptId,
        commit: &CommitId,
    ) -> Result<(), Error> {
        let name = opening.night.attempt_ref(attempt);
        // The same attempt may have been cut off after this and be done again.
        let old = self.vault.resolve(&name)?;
        self.vault.move_ref(&name, old.as_ref(), commit)?;
        let old = self.user.our_ref(&name)?;
        Ok(self.user.publish_ref(&self.vault, &name, old.as_ref(), commit)?)
    }

    fn candidate(
        &self,
        brief: &Brief,
        task: &AdmittedTask,
        attempt: &AttemptId,
        base: &CommitId,
        edit: &crate::ids::TreeId,
        signed: &Signed<'_>,
    ) -> Result<Candidate, Error> {
        let opening = &brief.opening;
        let tick = self.tick(opening, task, base)?;
        let co_author =
            (opening.agent.name == "claude").then_some("Claude <noreply@anthropic.com>");
        let message = report::Message {
            title: &task.task().title,
            night: &opening.night,
            attempt,
            of: brief.attempts,
            gate: &opening.gate.id,
            co_author,
        };
        Ok(landing::candidate(&self.vault, base, edit, tick.as_ref(), signed, |tree| {
            self.redactor.redact(&message.text(tree)).into_owned()
        })?)
    }

    /// The task's own edit of the plan on `base`. `None` when plans are not updated, when that commit's
    /// plan does not have the task, or when its text there is another task's by now.
    fn tick(
        &self,
        opening: &Opening,
        task: &AdmittedTask,
        base: &CommitId,
    ) -> Result<Option<Tick>, Error> {
        if !opening.plan.update {
            return Ok(None);
        }
        let tree = self.vault.tree_of(base)?;
        let path = opening.plan.path.clone();
        let Some(bytes) = self.vault.read_file(&tree, &path)? else { return Ok(None) };
        let (source, _) = plan::decode(&bytes);
        let (plan, _) = plan::parse(&source, &self.words);
        let mut same = plan.tasks.iter().filter(|found| found.id == *task.id());
        let (Some(found), None) = (same.next(), same.next()) else { return Ok(None) };
        let own = task.task();
        if found.text_hash != own.text_hash && found.title != own.title {
            return Ok(None);
        }
        let status = format!("DONE (night {})", opening.night);
        let contents = plan::tick::set_status(&bytes, found, &status).ok();
        Ok(contents.map(|contents| Tick { path, contents }))
    }

    fn restack(
        &self,
        brief: &Brief,
        attempt: &AttemptId,
        candidate: &Candidate,
        onto: &CommitId,
        at: Timestamp,
    ) -> Result<Deed, Error> {
        let task = brief.task(&attempt.task).expect("orders name tasks of the opening");
        match landing::restack(&self.vault, candidate, onto)? {
            Ok(tree) => {
                let signed = Signed { author: &brief.opening.author, at };
                let candidate = self.candidate(brief, task, attempt, onto, &tree, &signed)?;
                Ok(Deed::Restack(Ok(candidate)))
            }
            Err(paths) => Ok(Deed::Restack(Err(Failure::Conflict { paths }))),
        }
    }

    fn prompt(
        &self,
        brief: &Brief,
        task: &AdmittedTask,
        edit: &Edit<'_>,
    ) -> Result<(String, String), Error> {
        let opening = &brief.opening;
        let policy = &opening.policy;
        let tree = self.vault.tree_of(edit.base)?;
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
        let mut shown = vec![("Acceptance".to_owned(), fields.acceptance.join("; "))];
        shown.push(("Files".to_owned(), fields.files.join(", ")));
        if let Some(lines) = fields.estimated_lines {
            shown.push(("Estimated lines".to_owned(), lines.to_string()));
        }
        shown.retain(|(_, value)| !value.is_empty());
        let allowed = if task.files().is_empty() { &policy.allow[..] } else { task.files() };
        let input = PromptInput {
            id: task.id().to_string(),
            title: task.task().title.clone(),
            fields: shown,
            notes: task.task().notes.join("\n"),
            tests_first: policy.tests == Tests::Required && !task.only_tests_or_docs(),
            line_limit: Some(policy.max_changed_lines),
            allowed: allowed.to_vec(),
            denied: policy.deny.clone(),
            protected: policy.protected.clone(),
            commands: opening.gate.steps.iter().map(|step| step.run.clone()).collect(),
            references,
        };
        let prompt = match &brief.last {
            None => prompt::first(&input)?,
            Some((feedback, logs)) => {
                let last = LastAttempt {
                    attempt: edit.attempt.number,
                    why: feedback.why.clone(),
                    refusals: feedback.refusals.clone(),
                    output: self.log_ends(logs),
                };
                prompt::again(&input, &last)?
            }
        };
        let prompt = self.redactor.redact(&prompt).into_owned();
        Ok((prompt, self.redactor.redact(&system).into_owned()))
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

    async fn publish(&self, brief: &Brief, tip: &CommitId) -> Result<Deed, Error> {
        let opening = &brief.opening;
        let draft = brief.draft.clone().expect("a publication is briefed with its text");
        let draft = PullRequestDraft {
            title: self.redactor.redact(&draft.title).into_owned(),
            body: self.redactor.redact(&draft.body).into_owned(),
            ..draft
        };
        let refused = |message: String, help: String| Deed::NotPublished {
            message: self.redactor.redact(&message).into_owned(),
            help,
        };
        // The text is on disk first: whatever happens on the way out, a person can read it.
        let local = match self.local.publish(&draft).await {
            Ok(published) => published,
            Err(problem) => return Ok(refused(problem.message, problem.help)),
        };
        if opening.publish.push
            && let Some((network, url)) = &self.remote
        {
            let (network, url, tip) = (network.clone(), url.clone(), tip.clone());
            let branch = opening.night.branch_ref();
            let vault = self.vault.clone();
            if let Some((message, help)) =
                blocking(move || push(&network, &vault, &url, &branch, &tip)).await
            {
                return Ok(refused(message, help));
            }
        }
        match self.forge.as_ref().filter(|_| opening.publish.push && opening.publish.pull_request) {
            None => Ok(Deed::Published { url: local.url, number: None, notes: local.notes }),
            Some(forge) => match forge.publish(&draft).await {
                Ok(done) => {
                    Ok(Deed::Published { url: done.url, number: done.number, notes: done.notes })
                }
                Err(problem) => Ok(refused(problem.message, problem.help)),
            },
        }
    }
}

struct Edit<'a> {
    attempt: &'a AttemptId,
    base: &'a CommitId,
    time_s: u64,
    budget: crate::budget::Usd,
    tokens: Option<u64>,
    model: &'a Option<String>,
    conversation: Option<&'a Conversation>,
    at: Timestamp,
}

/// Pushes the branch with the lease that fits what is there: nothing, or an earlier tip of this night.
fn push(
    network: &Network,
    vault: &Vault,
    url: &str,
    branch: &str,
    tip: &CommitId,
) -> Option<(String, String)> {
    let again = || format!("every commit is safe on your own branch; `{NAME} resume` tries again");
    let there = match network.list(url, branch) {
        Ok(refs) => refs.into_iter().find(|(name, _)| name == branch).map(|(_, commit)| commit),
        Err(problem) => return Some((format!("could not push: {problem}"), again())),
    };
    if let Some(there) = &there
        && !vault.contains(tip, there).unwrap_or(false)
    {
        return Some((
            format!(
                "{branch} stands at {} on the remote, which is not of this night",
                there.short()
            ),
            "rename or delete that branch on the remote, then try again".to_owned(),
        ));
    }
    let refused = match network.push(url, tip, branch, there.as_ref()) {
        Ok(PushOutcome::Pushed | PushOutcome::UpToDate) => return None,
        Ok(PushOutcome::Rejected(rejection)) => match rejection {
            Rejection::LeaseStale => "somebody else moved the branch meanwhile".to_owned(),
            Rejection::Protected { message }
            | Rejection::Hook { message }
            | Rejection::Other { message } => format!("the remote refused the push: {message}"),
        },
        Err(problem) => format!("could not push: {problem}"),
    };
    Some((refused, again()))
}

/// A passing receipt for exactly this tree and gate.
fn read_receipt(
    path: &PathBuf,
    tree: &crate::ids::TreeId,
    spec: &crate::night::GateSpec,
) -> Option<GateReport> {
    let report: GateReport = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    (report.tree == *tree && report.gate == spec.id && report.passed()).then_some(report)
}

/// Runs blocking work beside the loop.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("blocking work does not panic")
}
