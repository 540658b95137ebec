//! Carries out one command of a night: the only place where all hands meet.
//!
//! Does, and reports what happened; what follows is for the night to say. Every deed is safe to do twice,
//! by the design that its command names.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;

use crate::{
    agent::Agent,
    diff::DiffStat,
    faults,
    forge::{Forge, Landed, PullRequestDraft},
    git::{
        self, Vault,
        landing::{self, Signed, Tick},
        network::Network,
        receipts,
        user::UserRepository,
    },
    ids::{AttemptId, CommitId, TaskId, TreeId},
    night::{AttemptRecord, Command, Night, Opening},
    outcome::{Candidate, Failure, GateReport},
    plan::{self, SectionWords},
    policy::{AdmittedTask, RuleSet},
    process::{self, Environment, Stop, Supervisor},
    receipt::{ProtectedFile, Receipt},
    redact::Redactor,
    report,
    runner::{
        conversations::Conversations,
        deed::{Deed, Error},
        edit::Edit,
        include::Included,
        places::{NightPlaces, Places},
        rules,
        storage::Reserve,
        yard::Yard,
    },
    workspace::Store,
};

/// Everything that a night's deeds need.
pub struct Hands {
    /// Our repository.
    pub vault: Vault,
    /// The user's.
    pub user: UserRepository,
    /// Where trees are laid out.
    pub workspaces: Store,
    /// Directories of this repository.
    pub places: Places,
    /// Directories of this night.
    pub night_places: NightPlaces,
    /// What runs programs.
    pub supervisor: Supervisor,
    /// What stands around them, and how their files are laid out.
    pub yard: Yard,
    /// The person's own ignored files that workspaces bring along.
    pub included: Arc<Included>,
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
    /// The night's policy, compiled when it is first asked for.
    pub rules: OnceLock<RuleSet>,
    /// The base's protected files, found when they are first asked for.
    pub protected: OnceLock<Vec<ProtectedFile>>,
    /// Headings of the plan.
    pub words: SectionWords,
    /// Known secrets.
    pub redactor: Redactor,
    /// Asked while things run.
    pub stop: Stop,
    /// What is kept between two attempts of a task.
    pub conversations: Conversations,
    /// Room on the disk, held back until the night writes down how it ended.
    pub reserve: Mutex<Option<Reserve>>,
    /// Held while a gate's place is in use.
    pub gate_place: tokio::sync::Mutex<()>,
    /// Held while the base's cache is looked for, and made where it is missing.
    pub making_cache: tokio::sync::Mutex<()>,
}

/// What an agent's run needs to know of the night, taken before it starts.
#[derive(Clone, Debug)]
pub struct Brief {
    pub(super) opening: Arc<Opening>,
    /// The task's attempts before this one, and this one where it has begun.
    pub(super) attempts_made: Vec<AttemptRecord>,
    /// The gate's run on the base, where the order is one about a gate.
    pub(super) base_gate: Option<GateReport>,
    attempts: u32,
    pub(super) draft: Option<PullRequestDraft>,
    /// Receipts of what lands, or of all that landed before it is published.
    pub(super) receipts: Vec<Receipt>,
    /// Where the branch stood before it went back: copies of it may still stand there.
    pub(super) former: Vec<CommitId>,
}

/// What an attempt left, on its way to a candidate.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) task: &'a AdmittedTask,
    pub(super) attempt: &'a AttemptId,
    /// The commit that it stands on.
    pub(super) base: &'a CommitId,
    /// The tree, before our tick, and its size against the base.
    pub(super) edit: (&'a TreeId, DiffStat),
    /// The score of its diff.
    pub(super) risk: u32,
}

impl Brief {
    /// The part of the night that `command` needs.
    /// `logs` are quoted where the night is published.
    pub fn of(
        night: &Night,
        opening: &Arc<Opening>,
        command: &Command,
        logs: &report::Logs,
    ) -> Brief {
        let attempt = command.attempt();
        let task = attempt.and_then(|attempt| night.task(&attempt.task));
        let publish = matches!(command, Command::Publish { .. });
        let draft = publish.then(|| draft(night, logs));
        let receipts = if let Command::Land { attempt, .. } = command {
            Receipt::of(night, &attempt.task).into_iter().collect()
        } else if publish {
            night.landed().iter().filter_map(|(id, _)| Receipt::of(night, id)).collect()
        } else {
            Vec::new()
        };
        let gated = matches!(
            command,
            Command::RunGate { .. } | Command::ProveGate { .. } | Command::ProveTests { .. }
        );
        Brief {
            base_gate: night.base_gate().report().filter(|_| gated).cloned(),
            opening: opening.clone(),
            attempts_made: task.map(|task| task.attempts.clone()).unwrap_or_default(),
            attempts: attempt.map_or(0, |attempt| night.attempts_allowed(&attempt.task)),
            draft,
            receipts,
            former: night.former().to_vec(),
        }
    }

    pub(super) fn task(&self, id: &TaskId) -> Option<&AdmittedTask> {
        self.opening.tasks.iter().find(|task| task.id() == id)
    }
}

/// The ends of the logs that a night's report quotes. `redact` takes secrets out, before anything is cut where one
/// could be cut in two.
pub fn quoted_logs(
    night: &Night,
    places: &NightPlaces,
    redact: &dyn Fn(&str) -> String,
) -> report::Logs {
    /// Bytes of a log's end: more than a report quotes, so that what is cut here is not in it.
    const END: usize = 64 * 1024;
    let logs = report::quoted_logs(night).into_iter().filter_map(|log| {
        // A log that is gone is not quoted, and the report says all the rest.
        let bytes = std::fs::read(places.directory().join(log)).ok()?;
        let end = &bytes[bytes.len().saturating_sub(END)..];
        Some((log.to_owned(), redact(&String::from_utf8_lossy(end))))
    });
    logs.collect()
}

/// The night's pull request as it would be published now.
pub(super) fn draft(night: &Night, logs: &report::Logs) -> PullRequestDraft {
    let text = report::pull_request_with(night, logs);
    let opening = night.opening();
    let told = |(id, candidate): (&TaskId, &Candidate)| {
        let report = night.task(id)?.last()?.gate.as_ref()?;
        let (commit, task) = (candidate.commit.clone(), id.clone());
        Some(Landed { commit, description: report::labels::status(id, report), task })
    };
    let landed = night.landed().into_iter().filter_map(told).collect();
    PullRequestDraft {
        night: opening.night.clone(),
        branch: opening.night.branch(),
        base: opening.base.branch.clone(),
        head: night.tip().clone(),
        title: text.title,
        body: text.body,
        draft: text.draft,
        rest: text.rest,
        labels: report::labels::labels(night, text.waits),
        reviewers: opening.publish.reviewers.clone(),
        landed,
        statuses: !opening.publish.no_statuses,
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
        let needs_cache = matches!(
            command,
            Command::RunGate { .. }
                | Command::RunAgent { .. }
                | Command::ProveGate { .. }
                | Command::ProveTests { .. }
        );
        if needs_cache && !self.ensure_cache(brief).await? {
            return Ok(Deed::Gate(None));
        }
        match command {
            Command::CheckBase { commit, tree } => {
                Ok(Deed::Gate(self.gate(brief, None, commit, tree).await?))
            }
            Command::RunGate { attempt, commit, tree } => {
                Ok(Deed::Gate(self.gate(brief, Some(attempt), commit, tree).await?))
            }
            Command::ProveGate { commit, tree } => {
                Ok(Deed::GateProof(self.prove_gate(brief, commit, tree).await?))
            }
            Command::ProveTests { attempt, base, commit } => {
                Ok(Deed::TestProof(self.prove_tests(brief, attempt, base, commit).await?))
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
            Command::Review { attempt, commit, budget, model } => {
                self.review(brief, attempt, commit, *budget, model.clone()).await
            }
            Command::Reverse { attempt, onto } => self.reverse(brief, attempt, onto, at),
            Command::Restack { attempt, candidate, onto } => {
                self.restack(brief, attempt, candidate, onto, at)
            }
            Command::Rewind { from, to } => {
                let night = &brief.opening.night;
                landing::keep_former(&self.vault, &self.user, night, from)?;
                match landing::rewind(&self.vault, &self.user, night, &brief.former, (from, to)) {
                    Ok(()) => {
                        receipts::forget(&self.vault, night, to, from)?;
                        Ok(Deed::Rewound)
                    }
                    Err(git::Error::Moved { found, .. }) => Ok(Deed::NotLanded { found }),
                    Err(problem) => Err(problem.into()),
                }
            }
            Command::Land { from, to, tree, .. } => {
                let night = &brief.opening.night;
                self.hold_base(&brief.opening)?;
                // First: a commit on the branch has its receipt, whenever we are killed.
                self.keep_receipts(brief)?;
                faults::pass("land.receipts");
                match landing::land(&self.vault, &self.user, night, &brief.former, (from, to, tree))
                {
                    Ok(()) => Ok(Deed::Landed),
                    Err(git::Error::Moved { found, .. }) => Ok(Deed::NotLanded { found }),
                    Err(problem) => Err(problem.into()),
                }
            }
            Command::Publish { tip } => self.publish_unless_stopped(brief, tip).await,
        }
    }

    /// A push that hangs would keep a night from its end for half an hour. What was on its way is found, or sent
    /// again, by the next try.
    async fn publish_unless_stopped(&self, brief: &Brief, tip: &CommitId) -> Result<Deed, Error> {
        let publishing = self.publish(brief, tip);
        tokio::pin!(publishing);
        tokio::select! {
            deed = &mut publishing => return deed,
            () = self.stop.now() => {}
        }
        // A program that was ended makes room for a second try, which is ended too.
        for _ in 0..8 {
            process::end_probes();
            let little = std::time::Duration::from_millis(250);
            if let Ok(deed) = tokio::time::timeout(little, &mut publishing).await {
                return deed;
            }
        }
        Ok(Deed::Stopped)
    }

    /// The night's policy. Compiled once: its patterns cost more than all that they are asked.
    pub(super) fn rules(&self, opening: &Opening) -> Result<&RuleSet, Error> {
        if let Some(rules) = self.rules.get() {
            return Ok(rules);
        }
        let rules = rules::of_night(&self.vault, opening)?;
        Ok(self.rules.get_or_init(|| rules))
    }

    pub(super) fn keep_ref(
        &self,
        opening: &Opening,
        attempt: &AttemptId,
        commit: &CommitId,
    ) -> Result<(), Error> {
        self.keep_in_vault(opening, attempt, commit)?;
        faults::pass("attempt.kept");
        self.hold_base(opening)?;
        let name = opening.night.attempt_ref(attempt);
        let old = self.user.our_ref(&name)?;
        self.user.publish_ref(&self.vault, &name, old.as_ref(), commit)?;
        faults::pass("attempt.shown");
        Ok(())
    }

    /// Holds the base in the person's repository, where its objects are, whatever becomes of their branches. Safe to
    /// repeat: who removes our refs gets this one again.
    pub(super) fn hold_base(&self, opening: &Opening) -> Result<(), git::Error> {
        let (name, base) = (opening.night.keep_ref(), &opening.base.commit);
        self.user.publish_ref(&self.vault, &name, self.user.our_ref(&name)?.as_ref(), base)
    }

    /// Keeps work where the person's own repository does not see it.
    pub(super) fn keep_in_vault(
        &self,
        opening: &Opening,
        attempt: &AttemptId,
        commit: &CommitId,
    ) -> Result<(), Error> {
        let name = opening.night.attempt_ref(attempt);
        // The same attempt may have been cut off after this and be done again.
        let old = self.vault.resolve(&name)?;
        Ok(self.vault.move_ref(&name, old.as_ref(), commit)?)
    }

    pub(super) fn candidate(
        &self,
        brief: &Brief,
        work: &Work<'_>,
        signed: &Signed<'_>,
    ) -> Result<Candidate, Error> {
        let Work { task, attempt, base, edit, risk } = *work;
        let opening = &brief.opening;
        let risk = task.risk().score.max(risk);
        let tick = self.tick(opening, task, base)?;
        let reverse = opening.reverse_of(task.id());
        let co_author = (opening.agent.name == "claude" && reverse.is_none())
            .then_some("Claude <noreply@anthropic.com>");
        let message = report::Message {
            title: &task.task().title,
            night: &opening.night,
            attempt,
            of: brief.attempts,
            gate: &opening.gate.id,
            risk: (opening.policy.risk.of(risk).0, risk),
            co_author,
            reverse,
        };
        Ok(landing::candidate(&self.vault, base, edit, tick.as_ref(), signed, |tree| {
            self.redactor.redact(&message.text(tree)).into_owned()
        })?)
    }

    /// The task's own edit of the plan on `base`. `None` when plans are not updated, when that commit's
    /// plan does not have the task, when its text there is another task's by now, or when nobody could read
    /// the edit.
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
        let status = opening.mark(task.id());
        let contents = plan::tick::set_status(&bytes, found, &status).ok().filter(|edited| {
            plan::tick::reads_back(&plan.tasks, found, &status, edited, &self.words)
        });
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
                let record = brief.attempts_made.iter().find(|r| r.number == attempt.number);
                let risk = record.map_or(0, |record| record.inspection.risk.score);
                let stat = self.vault.diff(&self.vault.tree_of(onto)?, &tree)?.stat();
                let work = Work { task, attempt, base: onto, edit: (&tree, stat), risk };
                let candidate = self.candidate(brief, &work, &signed)?;
                Ok(Deed::Restack(Ok(candidate)))
            }
            Err(paths) => Ok(Deed::Restack(Err(Failure::Conflict { paths }))),
        }
    }

    /// The opposite of an earlier night's result, as a candidate of this one.
    fn reverse(
        &self,
        brief: &Brief,
        attempt: &AttemptId,
        onto: &CommitId,
        at: Timestamp,
    ) -> Result<Deed, Error> {
        let task = brief.task(&attempt.task).expect("orders name tasks of the opening");
        let reverse =
            brief.opening.reverse_of(&attempt.task).expect("orders name what is reversed");
        let tree = match landing::reverse(&self.vault, &reverse.before, &reverse.after, onto)? {
            Ok(tree) => tree,
            Err(paths) => return Ok(Deed::Restack(Err(Failure::Conflict { paths }))),
        };
        let stands = self.vault.tree_of(onto)?;
        if tree == stands {
            return Ok(Deed::Restack(Err(Failure::NothingLeft)));
        }
        let signed = Signed { author: &brief.opening.author, at };
        let stat = self.vault.diff(&stands, &tree)?.stat();
        let work = Work { task, attempt, base: onto, edit: (&tree, stat), risk: 0 };
        let candidate = self.candidate(brief, &work, &signed)?;
        self.keep_ref(&brief.opening, attempt, &candidate.commit)?;
        Ok(Deed::Restack(Ok(candidate)))
    }

    /// Gives back the room that was held for the night's end. False when that was done before.
    pub(super) fn free_reserve(&self) -> bool {
        self.reserve.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }
}

/// Runs blocking work beside the loop.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("blocking work does not panic")
}
