//! Claude Code, run without a person: its arguments, settings and environment, and one attempt.
//!
//! The contract is that of version 2.1.329, tried by hand. What its output means stands in
//! `transcript` and `classify`. Never believes its exit code or its prose, never lets it read settings, hooks, servers
//! or instructions of the repository, and never gives it our environment or the user's login files.

mod classify;
mod transcript;

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;
use sha2::{Digest, Sha256};

use self::{
    classify::{Stopped, classify},
    transcript::{Expected, OLDEST, Transcript, parse_version},
};
use super::{
    Agent, AgentError, AgentFacts, BoxFuture, Job, Ran, Session, Unusable, end_of_file, last_words,
    make_dir, write_private,
};
use crate::{
    budget::Usd,
    outcome::{AgentEnd, AgentReport},
    process::{self, Environment, Program, Running, Stop, Supervisor, find_program, probe},
    redact::Secret,
};

/// The version whose behaviour was tried in full.
const TRIED: (u32, u32, u32) = (2, 1, 329);
/// Everything it may have. Without `WebFetch`, `Task`, background shells and wake-ups.
const TOOLS: [&str; 6] = ["Bash", "Edit", "Read", "Write", "Grep", "Glob"];
const MODE: &str = "acceptEdits";
/// Denied whatever else is allowed. Deny rules are advice (`sh -c 'git push'` passes): the workspace has
/// no remote and no credentials.
const DENIED: [&str; 7] = [
    "WebFetch",
    "WebSearch",
    "Bash(git push *)",
    "Bash(git commit *)",
    "Bash(git remote *)",
    "Read(./.env)",
    "Read(./.env.*)",
];
/// 256 MiB: with partial messages, an hour of work prints some tens of them.
const TRANSCRIPT_LIMIT: u64 = 256 * 1024 * 1024;
/// How often the transcript is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// From the end of the turn to the end of the program, which usually takes 0.1 s.
const LINGER: Duration = Duration::from_secs(5);
/// `<tmp>/cc-socks/<pid>.sock` must fit into a socket's address, 103 bytes.
const LONGEST_TMP: usize = 70;

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
    /// Patterns of commands that it may run, as they stand inside `Bash(…)`: the gate's own commands.
    pub bash: Vec<String>,
    /// Globs, from the workspace's root, where it may not write.
    pub no_edit: Vec<String>,
    /// Models to fall back to when the first is overloaded.
    pub fallback: Vec<String>,
    /// Turns for one attempt.
    pub max_turns: Option<u32>,
    /// From SIGINT, after which it writes its result and cost, to SIGTERM.
    pub grace: Duration,
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
            fallback: Vec::new(),
            max_turns: None,
            grace: process::GRACE,
        }
    }

    async fn attempt(&self, job: &Job, stop: &Stop) -> Result<AgentReport, AgentError> {
        let files = Files::prepare(self, job)?;
        let session = session_id(job);
        let mut program = Program::new(
            arguments(self, job, &session, &files),
            &job.workspace,
            environment(self, job, &files),
            &files.transcript,
            &files.errors,
        );
        program.output_limit = TRANSCRIPT_LIMIT;
        program.label = format!("claude for {}", job.attempt);

        let mut running = match self.supervisor.start(program).await {
            Ok(running) => running,
            Err(error) => return job.report_error(error),
        };
        running.send(job.prompt.as_bytes());
        running.close_stdin();

        let mut tail = Tail::of(&files.transcript);
        let mut transcript = Transcript::of(&session);
        let (stopped, exit) =
            self.follow(job, stop, &mut running, &mut tail, &mut transcript).await;
        tail.read_into(&mut transcript);
        let (ended, exit) = match exit {
            Ok(exit) => {
                let errors = end_of_file(&files.errors);
                (classify(&transcript, exit.ended, stopped.as_ref(), &errors), Some(exit))
            }
            Err(error) => {
                let report = job.report_error(error)?;
                return Ok(self.fill(report, &session, &transcript, job.budget));
            }
        };
        let report = job.report(ended, exit.as_ref())?;
        Ok(self.fill(report, &session, &transcript, job.budget))
    }

    /// Watches the transcript until the program ends or has to be stopped.
    async fn follow(
        &self,
        job: &Job,
        stop: &Stop,
        running: &mut Running,
        tail: &mut Tail,
        transcript: &mut Transcript,
    ) -> (Option<Stopped>, Result<process::Exit, process::Error>) {
        let expected = Expected {
            model: job.model.clone(),
            tools: TOOLS.map(str::to_owned).to_vec(),
            mode: MODE.into(),
        };
        let time_over = tokio::time::sleep(job.time_limit);
        tokio::pin!(time_over);
        let mut look = tokio::time::interval(LOOK);
        // A machine that slept is no agent that was silent: looks that were missed do not count.
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut silent, mut over) = (Duration::ZERO, Duration::ZERO);
        let stopped = loop {
            tokio::select! {
                exit = running.wait() => return (None, exit),
                () = &mut time_over => break Stopped::TimedOut,
                () = stop.now() => break Stopped::Interrupted,
                _ = look.tick() => {
                    let news = tail.read_into(transcript);
                    silent = if news { Duration::ZERO } else { silent + LOOK };
                    over = if transcript.is_over() { over + LOOK } else { Duration::ZERO };
                    if let Some(message) = transcript.unfit(&expected) {
                        break Stopped::Unfit(message);
                    }
                    if tail.at >= TRANSCRIPT_LIMIT - 1024 * 1024 {
                        break Stopped::TooLong;
                    }
                    if over >= LINGER {
                        break Stopped::Lingered;
                    }
                    if silent >= job.stall_limit {
                        break Stopped::Stalled;
                    }
                }
            }
        };
        (Some(stopped), running.finish(self.grace).await)
    }

    fn fill(
        &self,
        report: AgentReport,
        session: &str,
        transcript: &Transcript,
        reserved: Usd,
    ) -> AgentReport {
        AgentReport {
            ended: self.masked(report.ended),
            spent: transcript.spent(reserved),
            turns: transcript.turns(),
            conversation: Some(session.into()),
            model: transcript.model().map(str::to_owned),
            last_words: transcript.last_text().and_then(|text| last_words(&self.mask(text))),
            ..report
        }
    }

    /// The credential never leaves in what it said, whatever it was made to say.
    fn mask(&self, text: &str) -> String {
        match &self.credential {
            Some(credential) if !credential.secret().is_empty() => {
                text.replace(credential.secret(), "***")
            }
            Some(_) | None => text.to_owned(),
        }
    }

    fn masked(&self, ended: AgentEnd) -> AgentEnd {
        match ended {
            AgentEnd::NotSignedIn { message } => {
                AgentEnd::NotSignedIn { message: self.mask(&message) }
            }
            AgentEnd::Transport { message } => AgentEnd::Transport { message: self.mask(&message) },
            AgentEnd::ModelUnavailable { message } => {
                AgentEnd::ModelUnavailable { message: self.mask(&message) }
            }
            AgentEnd::Failed { code, message } => {
                AgentEnd::Failed { code, message: self.mask(&message) }
            }
            AgentEnd::Garbage { message } => AgentEnd::Garbage { message: self.mask(&message) },
            AgentEnd::Unfit { message } => AgentEnd::Unfit { message: self.mask(&message) },
            other @ (AgentEnd::Finished
            | AgentEnd::Denied { .. }
            | AgentEnd::NotInstalled { .. }
            | AgentEnd::Limited { .. }
            | AgentEnd::Overloaded
            | AgentEnd::ContextFull
            | AgentEnd::ConversationLost
            | AgentEnd::BudgetSpent
            | AgentEnd::TurnsSpent
            | AgentEnd::TimedOut
            | AgentEnd::Stalled
            | AgentEnd::Interrupted
            | AgentEnd::Killed { .. }) => other,
        }
    }
}

impl Agent for ClaudeAgent {
    fn run<'a>(
        &'a self,
        job: &'a Job,
        _: Option<Session>,
        stop: &'a Stop,
    ) -> BoxFuture<'a, Result<Ran, AgentError>> {
        Box::pin(async { Ok(Ran { report: self.attempt(job, stop).await?, session: None }) })
    }

    fn preflight(&self, environment: &Environment) -> Result<AgentFacts, Unusable> {
        let unusable = |message: String, help: &str| Unusable { message, help: help.into() };
        let install =
            "install it with `npm install -g @anthropic-ai/claude-code@latest` on Node 22 or later";
        let program = find_program(&self.program, environment).ok_or_else(|| {
            unusable(format!("`{}` was not found in PATH", self.program), install)
        })?;
        let mut asked = environment.clone();
        asked.set("HOME", "/nonexistent").set("DISABLE_AUTOUPDATER", "1");
        let argv = [&*program.to_string_lossy(), "--version"];
        let output = probe(&argv, &asked, Path::new("/"), Duration::from_secs(20))
            .map_err(|error| unusable(error.to_string(), install))?;
        let said = output.text();
        let version = parse_version(&said).filter(|_| output.success()).ok_or_else(|| {
            unusable(format!("`{}` did not tell its version", program.display()), install)
        })?;
        if version < OLDEST {
            return Err(unusable(
                format!("Claude Code {} is too old: 2.1.198 or later is needed", show(version)),
                install,
            ));
        }
        if self.credential.is_none() {
            return Err(unusable(
                "Claude Code has no credential for a night without a person".into(),
                "set ANTHROPIC_API_KEY, or CLAUDE_CODE_OAUTH_TOKEN to what `claude setup-token` prints",
            ));
        }
        let mut warnings = Vec::new();
        if (version.0, version.1) != (TRIED.0, TRIED.1) {
            warnings.push(format!(
                "Claude Code {} was not tried with this version of {}; {} was",
                show(version),
                crate::ids::NAME,
                show(TRIED)
            ));
        }
        Ok(AgentFacts { name: "claude".into(), version: Some(show(version)), warnings })
    }
}

fn show((major, minor, patch): (u32, u32, u32)) -> String {
    format!("{major}.{minor}.{patch}")
}

/// The private files of one attempt.
struct Files {
    transcript: PathBuf,
    errors: PathBuf,
    settings: PathBuf,
    system: Option<PathBuf>,
    config: PathBuf,
    tmp: PathBuf,
    /// Removed at the end, when the attempt's own directory has too long a name.
    _short: Option<tempfile::TempDir>,
}

impl Files {
    fn prepare(agent: &ClaudeAgent, job: &Job) -> Result<Files, AgentError> {
        job.prepare()?;
        let config = job.run_dir.join("claude");
        make_dir(&config)?;
        let settings_file = job.run_dir.join("settings.json");
        write_private(&settings_file, &settings(agent))?;
        let system = job.run_dir.join("system.md");
        let system = if job.system.trim().is_empty() {
            None
        } else {
            write_private(&system, &job.system)?;
            Some(system)
        };
        let own = job.run_dir.join("t");
        let short = if own.as_os_str().len() > LONGEST_TMP {
            let made = tempfile::Builder::new().prefix("ns").tempdir_in("/tmp");
            Some(made.map_err(|source| AgentError::Prepare { path: "/tmp".into(), source })?)
        } else {
            None
        };
        Ok(Files {
            transcript: job.run_dir.join("transcript.jsonl"),
            errors: job.run_dir.join("stderr.log"),
            settings: settings_file,
            system,
            config,
            tmp: short.as_ref().map_or(own, |short| short.path().into()),
            _short: short,
        })
    }
}

/// A settings file that does not fit its schema is dropped whole and silently: it is made here, from
/// strings only, and the vital denials stand on the command line too.
fn settings(agent: &ClaudeAgent) -> String {
    let allow: Vec<String> = agent.bash.iter().map(|pattern| format!("Bash({pattern})")).collect();
    let settings = json!({
        "permissions": {
            "allow": allow,
            "deny": denied(agent),
            "blockWritesOutsideWorkingDirectories": true,
            "blockReadsOutsideWorkingDirectories": true,
            "denyInsteadOfPrompting": true,
            "disableBypassPermissionsMode": "disable",
        },
        "attribution": { "commit": "", "pr": "" },
        "includeGitInstructions": false,
        "autoMemoryEnabled": false,
        "disableWorkflows": true,
        "disableBundledSkills": true,
        "crossSessionInbound": "refuse",
        "fileCheckpointingEnabled": false,
    });
    settings.to_string()
}

fn denied(agent: &ClaudeAgent) -> Vec<String> {
    // `Edit` governs every tool that writes; a leading `/` would match nothing in a settings file.
    let edits =
        agent.no_edit.iter().map(|glob| format!("Edit(./{})", glob.trim_start_matches('/')));
    DENIED.map(str::to_owned).into_iter().chain(edits).collect()
}

fn arguments(agent: &ClaudeAgent, job: &Job, session: &str, files: &Files) -> Vec<String> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut argv: Vec<String> = [
        agent.program.as_str(),
        "-p",
        "--output-format",
        "stream-json",
        "--verbose",
        "--include-partial-messages",
        "--session-id",
        session,
        "--permission-mode",
        MODE,
        "--permission-prompts",
        "none",
        "--setting-sources",
        "",
        "--strict-mcp-config",
        "--disable-slash-commands",
        "--settings",
        &path(&files.settings),
    ]
    .map(str::to_owned)
    .to_vec();
    let mut option = |name: &str, value: String| argv.extend([name.to_owned(), value]);
    if let Some(model) = &job.model {
        option("--model", model.clone());
    }
    if !agent.fallback.is_empty() {
        option("--fallback-model", agent.fallback.join(","));
    }
    if let Some(system) = &files.system {
        option("--append-system-prompt-file", path(system));
    }
    // 0 would mean unlimited.
    if let Some(turns) = agent.max_turns.filter(|turns| *turns > 0) {
        option("--max-turns", turns.to_string());
    }
    // 0 would be an error.
    if job.budget > Usd::ZERO {
        let micros = job.budget.micros();
        option("--max-budget-usd", format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000));
    }
    option("--tools", TOOLS.join(","));
    // Takes all that follows: last.
    argv.push("--disallowedTools".into());
    argv.extend(denied(agent));
    argv
}

fn environment(agent: &ClaudeAgent, job: &Job, files: &Files) -> Environment {
    let mut environment = job.base_environment();
    for (name, value) in [
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("DISABLE_AUTOUPDATER", "1"),
        ("DISABLE_TELEMETRY", "1"),
        ("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", "1"),
        ("CLAUDE_CODE_DISABLE_CRON", "1"),
        ("CLAUDE_CODE_DISABLE_AUTO_MEMORY", "1"),
        ("CLAUDE_CODE_DISABLE_GIT_INSTRUCTIONS", "1"),
        ("CLAUDE_CODE_DISABLE_FILE_MENTIONS", "1"),
        ("CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS", "1"),
        ("CLAUDE_CODE_STARTUP_FAILURE_RESULTS", "1"),
        // A stream that stops in the middle would take an hour to be given up.
        ("CLAUDE_ENABLE_BYTE_WATCHDOG", "1"),
        ("CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS", "150000"),
        ("API_TIMEOUT_MS", "600000"),
        ("CLAUDE_CODE_MAX_RETRIES", "4"),
        ("BASH_DEFAULT_TIMEOUT_MS", "600000"),
        ("BASH_MAX_TIMEOUT_MS", "1200000"),
    ] {
        environment.set(name, value);
    }
    environment
        .set("CLAUDE_CONFIG_DIR", files.config.to_string_lossy())
        .set("CLAUDE_CODE_TMPDIR", files.tmp.to_string_lossy())
        .unset("ANTHROPIC_API_KEY")
        .unset("ANTHROPIC_AUTH_TOKEN")
        .unset("ANTHROPIC_BASE_URL")
        .unset("CLAUDE_CODE_OAUTH_TOKEN");
    match &agent.credential {
        Some(Credential::ApiKey(secret)) => environment.set("ANTHROPIC_API_KEY", secret.expose()),
        Some(Credential::OAuthToken(secret)) => {
            environment.set("CLAUDE_CODE_OAUTH_TOKEN", secret.expose())
        }
        None => &mut environment,
    };
    if let Some(url) = &agent.base_url {
        environment.set("ANTHROPIC_BASE_URL", url);
    }
    environment
}

/// A UUID of its own for each attempt: the same attempt in the same directory has the same one.
fn session_id(job: &Job) -> String {
    let mut hash = Sha256::new();
    hash.update(job.run_dir.as_os_str().as_encoded_bytes());
    hash.update([0]);
    hash.update(job.attempt.file_name());
    let mut bytes: [u8; 16] = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    // The form of a random UUID, which is what the program accepts.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Reads what a growing file has gained. A file is always complete; a pipe would lose the result when
/// it is read too late.
struct Tail {
    path: PathBuf,
    at: u64,
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
}

impl Tail {
    fn of(path: &Path) -> Tail {
        Tail { path: path.into(), at: 0, partial: Vec::new() }
    }

    /// True when something new was there.
    fn read_into(&mut self, transcript: &mut Transcript) -> bool {
        let Ok(mut file) = File::open(&self.path) else { return false };
        if file.metadata().map_or(0, |meta| meta.size()) <= self.at {
            return false;
        }
        let before = self.at;
        let mut buffer = vec![0; 1024 * 1024];
        if file.seek(SeekFrom::Start(self.at)).is_err() {
            return false;
        }
        while let Ok(count @ 1..) = file.read(&mut buffer) {
            self.at += count as u64;
            let mut rest = &buffer[..count];
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                self.partial.extend_from_slice(&rest[..end]);
                transcript.line(&String::from_utf8_lossy(&self.partial));
                self.partial.clear();
                rest = &rest[end + 1..];
            }
            self.partial.extend_from_slice(rest);
        }
        self.at > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agent::{Activity, Purpose},
        ids::{AttemptId, TaskId},
    };

    fn job() -> Job {
        Job {
            purpose: Purpose::Edit,
            attempt: AttemptId { task: TaskId::new("task_3").unwrap(), number: 2 },
            workspace: "/w".into(),
            run_dir: "/r".into(),
            home: "/r".into(),
            talk: None,
            prompt: "Do it.".into(),
            system: String::new(),
            brief: String::new(),
            model: Some("claude-sonnet-4-5".into()),
            time_limit: Duration::from_secs(60),
            stall_limit: Duration::from_secs(60),
            budget: Usd::from_micros(1_250_000),
            tokens: None,
            turns: None,
            activity: Activity::new(),
            environment: Environment::empty(),
        }
    }

    fn agent() -> ClaudeAgent {
        let credential = Credential::ApiKey(Secret::new("sk-secret"));
        let mut agent = ClaudeAgent::new(Supervisor { exe: "/x".into() }, Some(credential));
        agent.bash = vec!["sh tests/run.sh".into()];
        agent.no_edit = vec![".github/**".into(), "/PROJECT_PLAN.md".into()];
        agent
    }

    fn files() -> Files {
        Files {
            transcript: "/r/transcript.jsonl".into(),
            errors: "/r/stderr.log".into(),
            settings: "/r/settings.json".into(),
            system: Some("/r/system.md".into()),
            config: "/r/claude".into(),
            tmp: "/r/t".into(),
            _short: None,
        }
    }

    #[test]
    fn the_command_line_is_the_contract() {
        let argv = arguments(&agent(), &job(), "S", &files()).join(" ");
        assert_eq!(
            argv,
            "claude -p --output-format stream-json --verbose --include-partial-messages \
             --session-id S --permission-mode acceptEdits --permission-prompts none \
             --setting-sources  --strict-mcp-config --disable-slash-commands \
             --settings /r/settings.json --model claude-sonnet-4-5 \
             --append-system-prompt-file /r/system.md --max-budget-usd 1.250000 \
             --tools Bash,Edit,Read,Write,Grep,Glob --disallowedTools WebFetch WebSearch \
             Bash(git push *) Bash(git commit *) Bash(git remote *) Read(./.env) Read(./.env.*) \
             Edit(./.github/**) Edit(./PROJECT_PLAN.md)"
        );
    }

    #[test]
    fn no_limit_is_no_argument_because_zero_means_something_else() {
        let mut job = job();
        job.budget = Usd::ZERO;
        let mut agent = agent();
        agent.max_turns = Some(0);
        let argv = arguments(&agent, &job, "S", &files()).join(" ");
        assert!(!argv.contains("--max-budget-usd") && !argv.contains("--max-turns"), "{argv}");
    }

    #[test]
    fn the_settings_allow_the_gates_commands_and_deny_the_protected_paths() {
        let settings: serde_json::Value = serde_json::from_str(&settings(&agent())).unwrap();
        assert_eq!(settings["permissions"]["allow"], json!(["Bash(sh tests/run.sh)"]));
        let deny = settings["permissions"]["deny"].to_string();
        assert!(deny.contains("\"Edit(./.github/**)\",\"Edit(./PROJECT_PLAN.md)\""), "{deny}");
    }

    #[test]
    fn exactly_one_credential_is_in_the_environment_and_none_on_the_command_line() {
        let mut job = job();
        job.environment.set("CLAUDE_CODE_OAUTH_TOKEN", "users-own");
        let environment = environment(&agent(), &job, &files());
        assert_eq!(environment.get("ANTHROPIC_API_KEY"), Some("sk-secret"));
        assert_eq!(environment.get("CLAUDE_CODE_OAUTH_TOKEN"), None);
        assert_eq!(environment.get("HOME"), Some("/r/home"));
        assert_eq!(environment.get("NIGHTSHIFT_TASK"), Some("task_3"));
        let argv = arguments(&agent(), &job, "S", &files()).join(" ");
        assert!(!argv.contains("sk-secret"));
        assert!(!format!("{:?}", agent()).contains("sk-secret"));
    }

    #[test]
    fn a_session_has_an_id_of_its_own() {
        let first = session_id(&job());
        assert_eq!((first.len(), &first[14..15]), (36, "4"));
        let mut other = job();
        other.attempt.number = 3;
        assert_ne!(session_id(&other), first);
    }

    #[test]
    fn what_it_said_never_holds_the_credential() {
        let message = "Invalid API key sk-secret".to_owned();
        let ended = agent().masked(AgentEnd::NotSignedIn { message });
        assert_eq!(ended, AgentEnd::NotSignedIn { message: "Invalid API key ***".into() });
    }
}
