//! Claude Code, run without a person: one conversation over all attempts at a task.
//!
//! The contract is that of version 2.1.329, tried by hand. It is told each attempt as one user message, and
//! frozen between two; what its output means stands in `transcript` and `classify`. Never believes its exit
//! code or its prose, never lets it read settings, hooks, servers or instructions of the repository, and
//! never gives it our environment or the user's login files.

mod alive;
mod classify;
mod frame;
mod invocation;
mod live;
mod spent;
mod tail;
mod transcript;
mod way;

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{sync::OnceCell, time::Instant};
use url::Url;

pub(super) use self::live::Live;
pub use self::spent::spent_of_stream;
use self::{
    classify::{Facts, Stopped, classify, goes_on},
    invocation::{Files, Start},
    live::{STREAM_LIMIT, Turn, Watched},
    spent::Counted,
    tail::{Kept, Tail},
    transcript::{NEWER, OLDEST, Transcript, parse_version, show},
    way::Way,
};
use super::{
    Agent, AgentError, AgentFacts, BoxFuture, Job, Purpose, Ran, Session, Unusable, breach,
    gave_no_account, killed, last_words, read_reply, write_private,
};
use crate::{
    budget::Spend,
    files,
    outcome::{AgentEnd, AgentReport},
    process::{
        self, Ended, Environment, Exit, Frozen, Program, Stop, Supervisor, find_program, probe,
    },
    prompt,
    proxy::{self, Allowance, Ledger, Proxy, Refused},
    redact::{Redactor, Secret},
};

/// The version whose behaviour was tried in full.
const TRIED: (u32, u32, u32) = (2, 1, 329);
/// How to get a version that we know.
const INSTALL: &str =
    "install it with `npm install -g @anthropic-ai/claude-code@2.1.329` on Node 22 or later";

/// How it signs in. One of them: with both, the key silently wins and the bill is a surprise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// `ANTHROPIC_API_KEY`: paid by use.
    ApiKey(Secret),
    /// `CLAUDE_CODE_OAUTH_TOKEN`, from `claude setup-token`: a subscription.
    OAuthToken(Secret),
}

impl Credential {
    fn secret(&self) -> &str {
        match self {
            Credential::ApiKey(secret) | Credential::OAuthToken(secret) => secret.expose(),
        }
    }

    /// Another one of the same kind.
    fn like(&self, secret: &str) -> Credential {
        match self {
            Credential::ApiKey(_) => Credential::ApiKey(Secret::new(secret)),
            Credential::OAuthToken(_) => Credential::OAuthToken(Secret::new(secret)),
        }
    }
}

/// Claude Code as an agent.
#[derive(Clone, Debug)]
pub struct ClaudeAgent {
    /// The program: `claude`, or a path.
    pub program: String,
    /// Starts it.
    pub supervisor: Supervisor,
    /// How it signs in.
    pub credential: Option<Credential>,
    /// Where it sends its questions, if not to the vendor.
    pub base_url: Option<String>,
    /// Commands that it may run, exactly as they stand: the gate's own. Those that no rule can say exactly
    /// are left out, and `preflight` warns of them.
    pub bash: Vec<String>,
    /// Globs, from the workspace's root, where it may not write.
    pub no_edit: Vec<String>,
    /// From SIGINT, after which it writes its result and cost, to SIGTERM.
    pub grace: Duration,
    /// Whether its questions go through our proxy, which holds the credential and the budget. Without it the
    /// program holds the credential, and the budget may be passed by the calls in flight.
    pub proxy: bool,
    /// Started with the first run, for all of them.
    server: Arc<OnceCell<Proxy>>,
}

/// One attempt while it runs, whichever process carries it.
struct Run<'a> {
    job: &'a Job,
    stop: &'a Stop,
    started: Instant,
    conversation: String,
    files: Files,
    arguments: Vec<String>,
    redactor: Redactor,
    kept: Kept,
    /// True when it goes on with an earlier conversation.
    resumed: bool,
}

/// A process when a turn was over.
enum State {
    /// It waits for the next one.
    Frozen(Frozen),
    /// It has ended.
    Ended(Result<Exit, process::Error>),
}

impl ClaudeAgent {
    /// The installed `claude` with nothing allowed but edits.
    pub fn new(supervisor: Supervisor, credential: Option<Credential>) -> ClaudeAgent {
        ClaudeAgent {
            program: "claude".into(),
            supervisor,
            credential,
            base_url: None,
            bash: Vec::new(),
            no_edit: Vec::new(),
            grace: process::GRACE,
            proxy: true,
            server: Arc::default(),
        }
    }

    async fn attempt(
        &self,
        job: &Job,
        held: Option<Session>,
        stop: &Stop,
    ) -> Result<Ran, AgentError> {
        let files = Files::prepare(self, job)?;
        let secrets = self.credential.iter().map(|credential| credential.secret().to_owned());
        let redactor = Redactor::new(secrets);
        let transcript = job.run_dir.join("transcript.jsonl");
        let kept = Kept::begin(&transcript, redactor.clone())?;
        let own = || invocation::own_conversation(job);
        let resume = job.talk.as_ref().is_some_and(|talk| talk.resume);
        let mut run = Run {
            job,
            stop,
            started: Instant::now(),
            conversation: job.talk.as_ref().map_or_else(own, |talk| talk.id.clone()),
            arguments: invocation::arguments(self, job, &files),
            files,
            redactor,
            kept,
            resumed: resume,
        };
        match held {
            Some(session) if resume && run.fits(&session) => {
                session.live.running.thaw();
                if let Some(ran) = self.give(&mut run, session.live, true).await? {
                    return Ok(ran);
                }
            }
            Some(session) => session.close().await?,
            None => {}
        }
        let record = run.files.record(&run.conversation);
        let counted = match (resume, record) {
            (true, None) => {
                let report = job.report(AgentEnd::ConversationLost, None)?;
                let conversation = Some(run.conversation);
                return Ok(Ran { report: AgentReport { conversation, ..report }, session: None });
            }
            (true, Some(_)) => {
                let talk = job.talk.as_ref().map(|talk| talk.total);
                Counted { usd: talk.unwrap_or_default(), tokens: None }
            }
            (false, record) => {
                // The same attempt was begun before, and the program refuses an id that it knows.
                if let Some(record) = record {
                    files::remove_file(&record)?;
                }
                Counted { tokens: Some((0, 0)), ..Counted::default() }
            }
        };
        let live = match self.start(&mut run, resume, counted).await {
            Ok(live) => live,
            Err(AgentError::Process(error)) => {
                return Ok(Ran { report: job.report_error(error)?, session: None });
            }
            Err(error) => return Err(error),
        };
        let ran = self.give(&mut run, live, false).await?;
        Ok(ran.expect("only a process that had a turn before can have nothing to tell"))
    }

    async fn start(
        &self,
        run: &mut Run<'_>,
        resume: bool,
        counted: Counted,
    ) -> Result<Box<Live>, AgentError> {
        run.files.shorten()?;
        let job = run.job;
        let id = run.conversation.as_str();
        let start = if resume { Start::Resume(id) } else { Start::New(id) };
        let number = spent::next_stream(&job.home);
        let stream = spent::stream(&job.home, number);
        let server = self.server().await?;
        let account = server.map(|server| server.open(Allowance::default()));
        let walls = run.files.walls(self, job, server.map(Proxy::port));
        let server = server.map(|server| Way::to(server, walls.as_ref()));
        let url = server.as_ref().map(Way::url).or_else(|| self.base_url.clone());
        let shown = self.credential.as_ref().map(|credential| match &account {
            Some(account) => credential.like(account.token()),
            None => credential.clone(),
        });
        let mut program = Program::new(
            invocation::command_line(&run.arguments, start),
            &run.files.workspace,
            invocation::environment(job, &run.files, url.as_deref(), shown.as_ref()),
            &stream,
            &spent::errors(&job.home, number),
        );
        program.output_limit = STREAM_LIMIT;
        program.walls = walls;
        program.label = format!("claude for {}", job.attempt);
        let mut running = self.supervisor.start(program).await?;
        let attached = match &server {
            Some(way) => way.enter(&mut running, &self.program)?,
            None => None,
        };
        Ok(Box::new(Live {
            running,
            attempt: job.attempt.clone(),
            home: job.home.clone(),
            number,
            tail: Tail::of(&stream, 0),
            arguments: run.arguments.clone(),
            workspace: run.files.workspace.clone(),
            counted,
            account,
            charged: Ledger::default(),
            longest: spent::longest_answer(job.model.as_deref(), job.budget),
            errors_at: 0,
            walls: job.walls.clone(),
            _attached: attached,
            _short: run.files.take_short(),
        }))
    }

    /// Gives the attempt to a process, and follows it to its end. `None` when a process that was kept had died
    /// meanwhile: nothing was done.
    async fn give(
        &self,
        run: &mut Run<'_>,
        mut live: Box<Live>,
        later: bool,
    ) -> Result<Option<Ran>, AgentError> {
        let job = run.job;
        live.attempt = job.attempt.clone();
        spent::begin(&job.home, live.number, live.tail.at())?;
        if let Some(account) = &live.account {
            let usd = Some(job.budget).filter(|budget| !budget.is_zero());
            account.allow(Allowance { usd, tokens: job.tokens });
        }
        let expected = invocation::expected(self, job);
        let mut transcript = Transcript::of(&run.conversation, expected, later);
        let keeps = run.keeps(&live);
        let mut turn = Turn {
            job,
            stop: run.stop,
            until: run.started + job.time_limit,
            redactor: &run.redactor,
            kept: &mut run.kept,
            transcript: &mut transcript,
            resumed: run.resumed,
            counts: live.account.is_none(),
        };
        live.say(&job.prompt);
        let watched = live.watch(&mut turn).await;
        let (stopped, state) = self.settle(&mut live, &mut turn, watched, keeps).await;
        while live.hear(&mut turn) {}
        job.activity.set("");

        let errors = live.errors();
        let ended = match &state {
            State::Frozen(_) => None,
            State::Ended(exit) => {
                live.forget();
                if let Some(account) = &live.account {
                    // What is still under way is charged now.
                    account.close();
                }
                if later && !transcript.has_begun() && stopped.is_none() {
                    return run.nothing(exit.as_ref().ok());
                }
                exit.as_ref().ok().map(|exit| exit.ended)
            }
        };
        let errors = run.keep_errors(&errors)?;
        let ledger = live.account.as_ref().map(proxy::Account::ledger);
        let broken = ledger.as_ref().is_some_and(|now| spent::mostly_cut(&live.charged, now));
        let report = match &state {
            State::Ended(Err(error)) => job.report_error(error.clone())?,
            State::Ended(Ok(exit)) => {
                let verdict = run.verdict(
                    &transcript,
                    ended,
                    stopped.as_ref(),
                    &errors,
                    (ledger.as_ref(), broken),
                );
                job.report(breach(exit).unwrap_or(verdict), Some(exit))?
            }
            State::Frozen(frozen) => {
                let verdict = run.verdict(
                    &transcript,
                    None,
                    stopped.as_ref(),
                    &errors,
                    (ledger.as_ref(), broken),
                );
                let report = job.report(verdict, None)?;
                AgentReport { survivors: frozen.survivors, ..report }
            }
        };
        let (spent, around) = match &ledger {
            Some(ledger) => spent::charged(&transcript, live.counted, &live.charged, ledger),
            None => (spent::spent(&transcript, live.counted, job.budget), false),
        };
        let mut report = run.fill(report, &transcript, spent);
        let (names, cut) = match &state {
            State::Frozen(frozen) => (&*frozen.survivor_names, false),
            State::Ended(Ok(exit)) => (&*exit.survivor_names, exit.output_cut),
            State::Ended(Err(_)) => (&[][..], false),
        };
        report.notes = run.notes(&transcript, report.survivors, names, cut);
        if gave_no_account(job.purpose, &report) {
            report.notes.push("it gave no account of what it decided".into());
        }
        if around {
            report.notes.push("its questions did not go through our proxy".into());
        }
        live.charged = ledger.unwrap_or_default();
        if let Some(result) = &transcript.result {
            let usd = result.cost.unwrap_or(live.counted.usd);
            live.counted = Counted { usd, tokens: Some(result.tokens) };
        }
        let session = matches!(state, State::Frozen(_))
            .then(|| Session { conversation: run.conversation.clone(), live });
        Ok(Some(Ran { report, session }))
    }

    /// Brings a process to rest whose turn is over or has to be: frozen, where it may go on, or ended.
    async fn settle(
        &self,
        live: &mut Live,
        turn: &mut Turn<'_>,
        watched: Watched,
        keeps: bool,
    ) -> (Option<Stopped>, State) {
        let stopped = match watched {
            Watched::Over => None,
            Watched::Ended(exit) => return (None, State::Ended(exit)),
            Watched::Stop(stopped) => Some(stopped),
        };
        if stopped.as_ref().is_some_and(Stopped::asks_first)
            && let Some(exit) = live.interrupt(turn, self.grace).await
        {
            return (stopped, State::Ended(exit));
        }
        let waits = turn.transcript.is_done();
        let over = waits && matches!(stopped, None | Some(Stopped::Spent));
        if keeps && over && goes_on(&turn.verdict(stopped.as_ref())) {
            let state = match live.running.freeze().await {
                Ok(Some(frozen)) if frozen.left == 0 => State::Frozen(frozen),
                Ok(Some(_)) => State::Ended(live.running.finish(Duration::ZERO).await),
                // It ended by itself just now.
                Ok(None) => State::Ended(live.running.wait().await),
                Err(error) => State::Ended(Err(error)),
            };
            return (stopped, state);
        }
        (stopped, State::Ended(live.end(waits, self.grace).await))
    }
}

impl Run<'_> {
    /// True when a process that was kept can carry this attempt.
    fn fits(&self, session: &Session) -> bool {
        session.conversation == self.conversation
            && session.live.arguments == self.arguments
            && session.live.workspace == self.files.workspace
            && session.live.home == self.job.home
            && session.live.walls == self.job.walls
            // Less money asks for shorter answers.
            && session.live.longest
                <= spent::longest_answer(self.job.model.as_deref(), self.job.budget)
    }

    /// True when the process may be kept for the next attempt.
    fn keeps(&self, live: &Live) -> bool {
        self.job.talk.is_some() && self.job.purpose == Purpose::Edit && live.has_room()
    }

    /// What a process that had died comes to: nothing, when nothing of it is left.
    fn nothing(&self, exit: Option<&Exit>) -> Result<Option<Ran>, AgentError> {
        self.job.report(AgentEnd::ConversationLost, exit)?;
        Ok(None)
    }

    fn verdict(
        &self,
        transcript: &Transcript,
        ended: Option<Ended>,
        stopped: Option<&Stopped>,
        errors: &str,
        (ledger, broken): (Option<&Ledger>, bool),
    ) -> AgentEnd {
        if let Some(refused @ Refused::Unbounded { .. }) =
            ledger.and_then(|ledger| ledger.refused.as_ref())
        {
            return AgentEnd::Unfit { message: refused.to_string() };
        }
        let refused = matches!(
            ledger.and_then(|ledger| ledger.refused.as_ref()),
            Some(Refused::Money { .. } | Refused::Tokens { .. })
        );
        let limit = ledger.and_then(|ledger| ledger.last_limit.as_ref());
        let limit = limit.filter(|limit| limit.status == 429);
        let until = limit.and_then(|limit| {
            let wait = limit.retry_after_s.and_then(|wait| i64::try_from(wait).ok());
            limit.reset.or_else(|| transcript.time()?.checked_add(wait?))
        });
        let resumed = self.resumed;
        classify(&Facts { transcript, ended, stopped, errors, resumed, refused, broken, until })
    }

    /// Keeps what was written to standard error, and gives it back without secrets.
    fn keep_errors(&self, errors: &str) -> Result<String, AgentError> {
        let errors = self.redactor.redact(errors).into_owned();
        if !errors.is_empty() {
            write_private(&self.job.run_dir.join("stderr.log"), &errors)?;
        }
        Ok(errors)
    }

    /// The report with all that the transcript tells.
    fn fill(&self, report: AgentReport, transcript: &Transcript, spent: Spend) -> AgentReport {
        let words = transcript.last_text().unwrap_or_default();
        let (reply, ended) = read_reply(self.job.purpose, report.ended, words);
        AgentReport {
            ended: self.redactor.redact_all(ended),
            spent,
            seconds: self.started.elapsed().as_millis().div_ceil(1000).try_into().unwrap_or(0),
            turns: transcript.turns(),
            conversation: Some(self.conversation.clone()),
            model: transcript.model().map(str::to_owned),
            last_words: last_words(&self.redactor.redact(words)),
            total: transcript.result.as_ref().and_then(|result| result.cost),
            window: transcript.window_used().cloned(),
            reply: self.redactor.redact_all(reply),
            ..report
        }
    }

    /// What a person should know of it.
    fn notes(
        &self,
        transcript: &Transcript,
        survivors: u32,
        names: &[String],
        cut: bool,
    ) -> Vec<String> {
        let mut notes: Vec<String> = killed(survivors, names).into_iter().collect();
        match transcript.compactions() {
            0 => {}
            1 => notes.push("its conversation was compacted once".into()),
            times => notes.push(format!("its conversation was compacted {times} times")),
        }
        let (retried, why) = transcript.retries();
        if retried > 0 {
            let why: Vec<&str> = why.iter().map(String::as_str).collect();
            notes.push(format!("asked the service again {retried} times ({})", why.join(", ")));
        }
        for model in spent::unknown_models(transcript) {
            notes.push(format!(
                "the price of the model `{model}` is not known: charged as the dearest one"
            ));
        }
        if cut {
            notes.push("its output was too long, and is not complete".into());
        }
        notes.extend(self.kept.trouble());
        let clean = |note: String| self.redactor.redact(&prompt::clean(&note)).into_owned();
        notes.into_iter().map(clean).collect()
    }
}

impl Agent for ClaudeAgent {
    fn run<'a>(
        &'a self,
        job: &'a Job,
        held: Option<Session>,
        stop: &'a Stop,
    ) -> BoxFuture<'a, Result<Ran, AgentError>> {
        Box::pin(self.attempt(job, held, stop))
    }

    fn preflight(&self, environment: &Environment) -> Result<AgentFacts, Unusable> {
        let unusable = |message: String, help: &str| Unusable { message, help: help.into() };
        let program = find_program(&self.program, environment).ok_or_else(|| {
            unusable(format!("`{}` was not found in PATH", self.program), INSTALL)
        })?;
        let mut asked = environment.clone();
        asked.set("HOME", "/nonexistent").set("DISABLE_AUTOUPDATER", "1");
        let argv = [&*program.to_string_lossy(), "--version"];
        let output = probe(&argv, &asked, Path::new("/"), Duration::from_secs(20))
            .map_err(|error| unusable(error.to_string(), INSTALL))?;
        let said = output.text();
        let version = parse_version(&said).filter(|_| output.success()).ok_or_else(|| {
            unusable(format!("`{}` did not tell its version", program.display()), INSTALL)
        })?;
        if version < OLDEST {
            return Err(unusable(
                format!("Claude Code {} is too old: 2.1.198 or later is needed", show(version)),
                INSTALL,
            ));
        }
        if version >= NEWER {
            return Err(unusable(
                format!(
                    "Claude Code {} is too new: nothing from {} on is known",
                    show(version),
                    show(NEWER)
                ),
                INSTALL,
            ));
        }
        if let Some(url) = self.base_url.as_deref().filter(|url| Url::parse(url).is_err()) {
            return Err(unusable(
                format!("the model's address `{}` cannot be read", prompt::clean(url)),
                "set ANTHROPIC_BASE_URL to an address that begins with https://, or unset it",
            ));
        }
        if self.credential.is_none() {
            return Err(unusable(
                "Claude Code has no credential for a night without a person".into(),
                "set ANTHROPIC_API_KEY, or CLAUDE_CODE_OAUTH_TOKEN to what `claude setup-token` prints",
            ));
        }
        let mut warnings = Vec::new();
        if version > TRIED {
            warnings.push(format!(
                "Claude Code {} is newer than {}, the last one that this version of {} was tried with",
                show(version),
                show(TRIED),
                crate::ids::NAME
            ));
        }
        warnings.extend(invocation::not_allowed(self).map(|command| {
            let command = prompt::clean(command);
            format!("the agent cannot run `{command}` itself: its rules read some signs otherwise")
        }));
        Ok(AgentFacts { name: "claude".into(), version: Some(show(version)), warnings })
    }
}

#[cfg(test)]
mod tests;
