//! Runs the agent for one attempt: its files, its words, what it left.
//!
//! A conversation that goes on keeps its files, with what a rule refused put back; everything else begins
//! from the tip. What the agent left is judged here by rules and handed to the night, which decides.

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;

use crate::{
    agent::{Job, Purpose, Ran, Session, Talk},
    budget::Usd,
    files,
    git::{
        history,
        landing::{self, Signed},
    },
    ids::{AttemptId, CommitId, NAME, RepoPath, TreeId},
    night::{AttemptRecord, Conversation, Opening},
    outcome::{AgentEnd, AgentReport, Failure},
    policy::{AdmittedTask, Authority, Inspection, inspect},
    runner::{
        conversations::{self, Held},
        deed::{Deed, Error},
        hands::{Brief, Hands, Work, blocking},
        storage::collect,
        walls::Private,
    },
    sandbox::Network,
    workspace::{Kind, Workspace},
};

/// An order to edit.
pub(super) struct Edit<'a> {
    pub(super) attempt: &'a AttemptId,
    pub(super) base: &'a CommitId,
    pub(super) time_s: u64,
    pub(super) budget: Usd,
    pub(super) tokens: Option<u64>,
    pub(super) model: &'a Option<String>,
    pub(super) conversation: Option<&'a Conversation>,
    pub(super) at: Timestamp,
}

/// What the files are when an attempt begins.
pub(super) struct Ground {
    /// True when they are as the conversation left them, but for what was put back.
    pub(super) as_left: bool,
    /// Refused files that were put back as the base has them.
    pub(super) put_back: Vec<String>,
}

impl Edit<'_> {
    /// The attempt whose directories are the conversation's.
    pub(super) fn opener(&self) -> AttemptId {
        self.conversation.map_or_else(
            || self.attempt.clone(),
            |conversation| conversations::opener(&self.attempt.task, conversation),
        )
    }

    pub(super) fn goes_on(&self) -> bool {
        self.conversation.is_some_and(|conversation| conversation.opened_by != self.attempt.number)
    }

    /// The attempts before this one, newest first.
    pub(super) fn earlier<'b>(&self, brief: &'b Brief) -> impl Iterator<Item = &'b AttemptRecord> {
        let number = self.attempt.number;
        brief.attempts_made.iter().rev().filter(move |record| record.number < number)
    }
}

impl Hands {
    pub(super) async fn edit(&self, brief: &Brief, edit: Edit<'_>) -> Result<Deed, Error> {
        let task = brief.task(&edit.attempt.task).expect("orders name tasks of the opening");
        let opener = edit.opener();
        let (workspace, session, ground) = self.ground(brief, &edit, &opener).await?;
        let run_dir = self.night_places.attempt(edit.attempt);
        files::create_private_dir(&run_dir)?;
        let words = self.words(brief, task, &edit, &ground)?;
        words.write(&run_dir)?;
        let conversation = edit.conversation;
        let home = self.night_places.attempt(&opener);
        let private = Private {
            tmp: home.join("t"),
            stores: home.join("stores").join(edit.attempt.number.to_string()),
            write: Vec::new(),
            set_up: false,
        };
        let total = edit
            .earlier(brief)
            .filter(|record| record.conversation.as_ref() == conversation)
            .find_map(|record| record.agent.as_ref()?.total);
        let job = Job {
            purpose: Purpose::Edit,
            attempt: edit.attempt.clone(),
            workspace: workspace.directory().to_owned(),
            home,
            run_dir,
            talk: conversation.map(|conversation| Talk {
                id: conversation.id.clone(),
                resume: edit.goes_on(),
                total: total.unwrap_or(Usd::ZERO),
            }),
            prompt: words.prompt,
            system: words.system,
            brief: words.brief,
            model: edit.model.clone(),
            time_limit: Duration::from_secs(edit.time_s),
            stall_limit: Duration::from_secs(brief.opening.limits.silence_s),
            budget: edit.budget,
            tokens: edit.tokens,
            turns: Some(brief.opening.limits.turns).filter(|turns| *turns > 0),
            activity: self.conversations.activity_of(edit.attempt),
            environment: self.environment.clone(),
            walls: self.yard.around(&workspace, &private, Network::Nobody)?,
        };
        // Its files took a while: nothing new is started after a stop.
        let ran = if self.stop.asked().is_some() {
            Ok(Ran { report: AgentReport::of(AgentEnd::Interrupted), session })
        } else {
            self.agent.run(&job, session, &self.stop).await
        };
        self.conversations.done(edit.attempt);
        let Ran { report, session } = ran?;
        let report = self.redactor.redact_all(report);
        // Long work on files: other deeds and signals must go on meanwhile.
        let deed = tokio::task::block_in_place(|| {
            self.judge_work(brief, task, &edit, &workspace, report)
        })?;
        match conversation {
            Some(conversation) => {
                let home = self.night_places.attempt(&opener);
                let held = Held { conversation: conversation.id.clone(), workspace, session, home };
                if let Some(older) = self.conversations.keep(&edit.attempt.task, held) {
                    older.end().await;
                }
            }
            None => conversations::release(workspace, session.is_none()).await,
        }
        Ok(deed)
    }

    /// The attempt's files: those of its conversation where they are still there, else the base's.
    async fn ground(
        &self,
        brief: &Brief,
        edit: &Edit<'_>,
        opener: &AttemptId,
    ) -> Result<(Workspace, Option<Session>, Ground), Error> {
        let largest = brief.opening.policy.max_file_bytes;
        let home = self.night_places.attempt(opener);
        let held = self.conversations.take(&edit.attempt.task);
        let id = edit.conversation.map(|conversation| conversation.id.as_str());
        let held = match held {
            Some(held) if Some(held.conversation.as_str()) == id => Some(held),
            Some(other) => {
                other.end().await;
                None
            }
            None => None,
        };
        let tree = self.vault.tree_of(edit.base)?;
        let store = self.workspaces.clone();
        let found = match (held, id) {
            (Some(held), _) => Some((held.workspace, held.session)),
            (None, Some(id)) if edit.goes_on() => {
                let (store, tree, id) = (store.clone(), tree.clone(), id.to_owned());
                let reopened = blocking(move || match store.slot_of(&id) {
                    Some(slot) => store.reopen(&slot, &id, &tree, largest),
                    None => Ok(None),
                });
                reopened.await?.map(|workspace| (workspace, None))
            }
            (None, _) => None,
        };
        if let Some((workspace, session)) = found {
            let session = self.session_beside(brief, edit, &workspace, session).await?;
            let put = tokio::task::block_in_place(|| self.put_back(brief, edit, &workspace));
            match put {
                Ok(put_back) => {
                    return Ok((workspace, session, Ground { as_left: true, put_back }));
                }
                // An agent can make its own files unusable; then they are laid out anew.
                Err(problem) => {
                    tracing::warn!(%problem, "could not go on with an attempt's files");
                    let (conversation, home) = (String::new(), PathBuf::new());
                    Held { conversation, workspace, session, home }.end().await;
                }
            }
        }
        let history = self.places.history();
        let workspace = {
            let (vault, base) = (self.vault.clone(), edit.base.clone());
            let (owner, places) = (id.map(str::to_owned), self.places.clone());
            let (kind, cache) = (self.yard.kind, self.yard.cache_in(&store).cloned());
            blocking(move || {
                let slot = conversations::slot(&home);
                let (slot, cache) = (slot.as_ref(), cache.as_ref());
                let mut workspace = store.lay_out_agent(kind, slot, &tree, cache, largest)?;
                workspace.show(&history::prepare(&vault, &base, &history)?)?;
                collect::used_history(&places, &base)?;
                if let Some(owner) = owner {
                    conversations::remember_slot(&home, workspace.slot())?;
                    workspace.claim(&owner)?;
                }
                Ok::<_, Error>(workspace)
            })
            .await?
        };
        if !edit.goes_on() {
            return Ok((workspace, None, Ground { as_left: false, put_back: Vec::new() }));
        }
        let put_back = tokio::task::block_in_place(|| {
            self.bring_kept(brief, edit, &workspace)?;
            self.put_back(brief, edit, &workspace)
        })?;
        Ok((workspace, None, Ground { as_left: false, put_back }))
    }

    /// Brings the edits that were kept of the conversation's last attempt into a fresh workspace.
    fn bring_kept(
        &self,
        brief: &Brief,
        edit: &Edit<'_>,
        workspace: &Workspace,
    ) -> Result<(), Error> {
        let kept = edit
            .earlier(brief)
            .take_while(|record| record.conversation.as_ref() == edit.conversation)
            .find_map(|record| record.kept.clone());
        let Some(kept) = kept else { return Ok(()) };
        let (base, tree) = (self.vault.tree_of(edit.base)?, self.vault.tree_of(&kept)?);
        // The plan in it has our own tick.
        let paths: Vec<RepoPath> = self
            .vault
            .diff(&base, &tree)?
            .changes
            .iter()
            .flat_map(|change| change.paths().cloned())
            .filter(|path| *path != brief.opening.plan.path)
            .collect();
        Ok(workspace.put(&tree, &paths)?)
    }

    /// The program that waits, where our own edits of its files do not disturb it: layers must not change under
    /// a mount, so there it ends, and its conversation goes on in another process.
    async fn session_beside(
        &self,
        brief: &Brief,
        edit: &Edit<'_>,
        workspace: &Workspace,
        session: Option<Session>,
    ) -> Result<Option<Session>, Error> {
        let last = edit.earlier(brief).next().and_then(|record| record.setback.as_ref());
        let refused = last.is_some_and(|setback| matches!(setback.failure, Failure::Refused(_)));
        match session {
            Some(session) if refused && workspace.kind() == Kind::Overlay => {
                session.close().await?;
                Ok(None)
            }
            other => Ok(other),
        }
    }

    /// Puts back, as the base has them, the files for which a rule refused the last attempt.
    fn put_back(
        &self,
        brief: &Brief,
        edit: &Edit<'_>,
        workspace: &Workspace,
    ) -> Result<Vec<String>, Error> {
        let last = edit.earlier(brief).next().and_then(|record| record.setback.as_ref());
        let Some(Failure::Refused(refusals)) = last.map(|setback| &setback.failure) else {
            return Ok(Vec::new());
        };
        let refused = |path: &RepoPath| {
            let shown = path.to_string();
            refusals.iter().any(|refusal| refusal.value == shown)
        };
        let edits = workspace.changes()?.edits;
        let paths: Vec<RepoPath> = edits.into_keys().filter(refused).collect();
        let base = self.vault.tree_of(edit.base)?;
        workspace.put(&base, &paths)?;
        Ok(paths.iter().map(ToString::to_string).collect())
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
        let nothing_kept = |report: AgentReport| Deed::Agent {
            result: Err(Failure::Agent(report.ended.clone())),
            report: Box::new(report),
            kept: None,
            inspection: Inspection::default(),
        };
        if let AgentEnd::Breach { .. } = &report.ended {
            // Its files may be beyond all measure.
            return Ok(nothing_kept(report));
        }
        if let AgentEnd::DiskFull { .. } = &report.ended {
            // Its files or what keeps them may not fit any more: the end itself must be told all the same.
            let read = self.read_work(brief, task, edit, workspace, report.clone());
            return Ok(read.unwrap_or_else(|problem| {
                tracing::warn!(%problem, "could not keep the work of an attempt that a full disk ended");
                nothing_kept(report)
            }));
        }
        self.read_work(brief, task, edit, workspace, report)
    }

    fn read_work(
        &self,
        brief: &Brief,
        task: &AdmittedTask,
        edit: &Edit<'_>,
        workspace: &Workspace,
        report: AgentReport,
    ) -> Result<Deed, Error> {
        let opening = &brief.opening;
        let changes = workspace.changes()?;
        let base_tree = self.vault.tree_of(edit.base)?;
        let (tree, diff) = landing::store_tree(&self.vault, &base_tree, &changes.edits)?;
        let changed = tree != base_tree;
        let signed = Signed { author: &opening.author, at: edit.at };
        let rules = self.rules(opening)?;
        // Whatever it failed for: what holds a secret stays where only we look.
        let secret = rules.keeps_back(&diff);
        let place = if secret { Place::Vault } else { Place::User };
        let no = |report: AgentReport, failure: Failure, why: &str| -> Result<Deed, Error> {
            let keep = || self.keep(opening, edit, &tree, &signed, why, place);
            let kept = changed.then(keep).transpose()?;
            let inspection = if secret {
                inspect(rules, task, &diff, &changes.filtered)
            } else {
                Inspection::default()
            };
            Ok(Deed::Agent { report: Box::new(report), result: Err(failure), kept, inspection })
        };
        let denied =
            if let AgentEnd::Denied { tools } = &report.ended { tools.clone() } else { Vec::new() };
        if !matches!(report.ended, AgentEnd::Finished | AgentEnd::Denied { .. }) {
            let failure = Failure::Agent(report.ended.clone());
            return no(report, failure, "the agent did not come to its end");
        }
        let questions = questions(opening, &report);
        if !questions.is_empty() {
            return no(report, Failure::Question { questions }, "it waits for an answer");
        }
        if !changes.odd.is_empty() {
            let failure = Failure::Unfit(changes.odd);
            return no(report, failure, "entries that cannot enter a commit");
        }
        if !changed {
            return no(report, Failure::NoChange { denied }, "no change");
        }
        let inspection = inspect(rules, task, &diff, &changes.filtered);
        if inspection.refused() {
            let refusals = inspection.objections().cloned().collect();
            let keep = || self.keep(opening, edit, &tree, &signed, "refused by a rule", place);
            let kept = Some(keep()?);
            let result = Err(Failure::Refused(refusals));
            return Ok(Deed::Agent { report: Box::new(report), result, kept, inspection });
        }
        let work = Work {
            task,
            attempt: edit.attempt,
            base: edit.base,
            edit: (&tree, diff.stat()),
            risk: inspection.risk.score,
        };
        let candidate = self.candidate(brief, &work, &signed)?;
        self.foresee(&candidate);
        // Kept from the start: a candidate that fails its gate is an attempt that a person may open.
        self.keep_ref(opening, edit.attempt, &candidate.commit)?;
        let kept = Some(candidate.commit.clone());
        Ok(Deed::Agent { report: Box::new(report), result: Ok(candidate), kept, inspection })
    }

    fn keep(
        &self,
        opening: &Opening,
        edit: &Edit<'_>,
        tree: &TreeId,
        signed: &Signed<'_>,
        why: &str,
        place: Place,
    ) -> Result<CommitId, Error> {
        let message = format!(
            "{NAME}: kept work of {} ({why})\n\nNot landed. Kept by {NAME} for you to look at.\n",
            edit.attempt
        );
        let commit = landing::keep(&self.vault, edit.base, tree, signed, &message)?;
        match place {
            Place::User => self.keep_ref(opening, edit.attempt, &commit)?,
            Place::Vault => self.keep_in_vault(opening, edit.attempt, &commit)?,
        }
        Ok(commit)
    }
}

/// Where work is kept that did not become a candidate.
#[derive(Clone, Copy)]
enum Place {
    /// In the person's repository too, as a ref that nothing pushes.
    User,
    /// In the vault alone.
    Vault,
}

/// What only a person can answer: what the agent asks, and what it decided that is not its to decide.
fn questions(opening: &Opening, report: &AgentReport) -> Vec<String> {
    let reply = &report.reply;
    let above = reply
        .decisions
        .iter()
        .filter(|decision| opening.policy.decisions.of(decision.level) == Authority::Ask);
    let mut questions = reply.questions.clone();
    let unmet = reply.acceptance.iter().filter(|point| !point.met);
    questions.extend(unmet.map(|point| format!("it says that this is not met: {}", point.item)));
    questions.extend(
        above.map(|decision| format!("is this right: {} ({})", decision.what, decision.why)),
    );
    questions
}
