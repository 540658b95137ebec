//! Asks a second, short conversation about what an agent decided: it sees the task, the diff and the
//! decisions, and nothing of the first one's reasons beyond them.

use std::time::Duration;

use crate::{
    agent::{Job, Purpose, Ran},
    budget::{Spend, Usd},
    files,
    ids::{AttemptId, CommitId},
    night::in_question,
    outcome::{AgentEnd, Review},
    process::Urgency,
    prompt::{self, Opinion, ReviewInput},
    runner::{
        deed::{Deed, Error},
        hands::{Brief, Hands},
        walls::Private,
    },
    sandbox::Network,
};

/// A short conversation: it reads one diff and answers.
const TIME: Duration = Duration::from_secs(5 * 60);
/// Tries when the service is in trouble; then a person is asked instead.
const TRIES: u32 = 3;

impl Hands {
    pub(super) async fn review(
        &self,
        brief: &Brief,
        attempt: &AttemptId,
        commit: &CommitId,
        budget: Usd,
        model: Option<String>,
    ) -> Result<Deed, Error> {
        let task = brief.task(&attempt.task).expect("orders name tasks of the opening");
        let record = brief.attempts_made.iter().find(|record| record.number == attempt.number);
        let record = record.expect("a review follows its attempt");
        let decisions = in_question(&brief.attempts_made, record, &brief.opening.policy.decisions);
        let candidate = record.candidate.as_ref();
        let parent = candidate.map_or(&brief.opening.base.commit, |candidate| &candidate.base);
        let (old, new) = (self.vault.tree_of(parent)?, self.vault.tree_of(commit)?);
        let diff = self.vault.patch(&old, &new)?;
        let (input, _) = self.input(brief, task, parent)?;
        let words = prompt::review(&ReviewInput {
            task: &input,
            diff: &String::from_utf8_lossy(&diff),
            decisions: &decisions,
        })?;
        let words = self.redactor.redact(&words).into_owned();
        let mut spent = Spend::default();
        for again in 0.. {
            let left = Usd::minus(budget, spent.usd);
            if self.stop.asked() == Some(Urgency::Now) {
                return Ok(Deed::Review(None));
            }
            let run_dir = self.night_places.attempt(attempt).join(format!("review-{}", again + 1));
            let workspace = run_dir.join("empty");
            files::create_private_dir(&workspace)?;
            files::write_soon(&run_dir.join("prompt.md"), words.as_bytes())?;
            let private = Private {
                tmp: run_dir.join("t"),
                stores: run_dir.join("stores"),
                write: vec![workspace.clone()],
                set_up: false,
            };
            let job = Job {
                purpose: Purpose::Review,
                attempt: attempt.clone(),
                workspace,
                home: run_dir.clone(),
                run_dir,
                talk: None,
                prompt: words.clone(),
                system: String::new(),
                brief: String::new(),
                model: model.clone(),
                time_limit: TIME,
                stall_limit: TIME,
                budget: left,
                tokens: None,
                turns: Some(3),
                activity: self.conversations.activity_of(attempt),
                environment: self.environment.clone(),
                walls: self.yard.without_files(&private, Network::Nobody)?,
            };
            let ran = self.agent.run(&job, None, &self.stop).await;
            self.conversations.done(attempt);
            let Ran { report, session } = ran?;
            if let Some(session) = session {
                session.close().await?;
            }
            spent = spent + report.spent;
            let said = report.last_words.unwrap_or_default();
            let (finished, opinion) = (report.ended == AgentEnd::Finished, Opinion::read(&said));
            let passing = matches!(report.ended, AgentEnd::Overloaded | AgentEnd::Transport { .. })
                || (finished && opinion.is_err());
            if passing && again + 1 < TRIES && !(budget > Usd::ZERO && spent.usd >= budget) {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(2 << again)) => continue,
                    () = self.stop.now() => return Ok(Deed::Review(None)),
                }
            }
            if report.ended == AgentEnd::Interrupted {
                return Ok(Deed::Review(None));
            }
            let (agree, why, ended) = match (report.ended, opinion) {
                (AgentEnd::Finished, Ok(opinion)) => {
                    (opinion.agree, opinion.why, AgentEnd::Finished)
                }
                // No opinion is not one against it: a person is asked.
                (AgentEnd::Finished, Err(unreadable)) => {
                    let message = unreadable.to_string();
                    (false, message.clone(), AgentEnd::Unreadable { message })
                }
                (other, _) => (false, crate::report::agent_end(&other), other),
            };
            let why = self.redactor.redact(&why).into_owned();
            let model = report.model;
            return Ok(Deed::Review(Some(Review { agree, why, ended, spent, model })));
        }
        Ok(Deed::Review(None))
    }
}
