//! How Claude Code is started: its private files, settings, arguments and environment.
//!
//! Nothing of the repository is read as settings, hooks, servers or instructions, nothing of the user's
//! login, and nothing of our environment that is not named here.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{ClaudeAgent, Credential, spent, transcript::Expected};
use crate::{
    agent::{AgentError, Job, Purpose, make_dir, write_private},
    process::Environment,
    proxy,
    sandbox::{Network, Tier, Walls},
};

/// Everything it may have to edit. Without `WebFetch`, `Task`, background shells and wake-ups.
const TOOLS: [&str; 6] = ["Bash", "Edit", "Read", "Write", "Grep", "Glob"];
/// Edits inside the working directory are allowed.
const EDITS: &str = "acceptEdits";
/// Nothing is.
const NOTHING: &str = "default";
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
/// `<tmp>/cc-socks/<pid>.sock` must fit into a socket's address, 103 bytes.
const LONGEST_TMP: usize = 70;
/// Seconds that the hook after a compaction may take; it prints one small file.
const HOOK_TIME: u32 = 20;

/// The private files of a conversation.
#[derive(Debug)]
pub(super) struct Files {
    settings: PathBuf,
    system: Option<PathBuf>,
    /// The program's own directory, with its record of the conversation.
    config: PathBuf,
    tmp: PathBuf,
    brief: Option<PathBuf>,
    /// Where it works.
    pub(super) workspace: PathBuf,
    /// Removed at the end, when the conversation's own directory has too long a name.
    short: Option<tempfile::TempDir>,
}

impl Files {
    pub(super) fn prepare(agent: &ClaudeAgent, job: &Job) -> Result<Files, AgentError> {
        job.prepare()?;
        let config = job.home.join("claude");
        make_dir(&config)?;
        let brief = Some(job.home.join("brief.md")).filter(|_| !job.brief.is_empty());
        if let Some(brief) = &brief {
            write_private(brief, &job.brief)?;
        }
        let settings_file = job.home.join("settings.json");
        write_private(&settings_file, &settings(agent, job, brief.as_deref()).to_string())?;
        let system = job.home.join("system.md");
        let system = if job.system.trim().is_empty() {
            None
        } else {
            write_private(&system, &job.system)?;
            Some(system)
        };
        let workspace = match job.purpose {
            Purpose::Edit => job.workspace.clone(),
            Purpose::Review => {
                let empty = job.home.join("empty");
                make_dir(&empty)?;
                empty
            }
        };
        Ok(Files {
            settings: settings_file,
            system,
            config,
            brief,
            tmp: job.tmp(),
            workspace,
            short: None,
        })
    }

    /// Makes the directory for temporary files short enough for a socket. Given to the process that uses it.
    pub(super) fn shorten(&mut self) -> Result<(), AgentError> {
        if self.tmp.as_os_str().len() > LONGEST_TMP {
            let made = tempfile::Builder::new().prefix("ns").tempdir_in("/tmp");
            let made =
                made.map_err(|source| AgentError::Prepare { path: "/tmp".into(), source })?;
            self.tmp = made.path().into();
            self.short = Some(made);
        }
        Ok(())
    }

    /// The walls with all that the program needs: its own files, and us on the port where its way to the model
    /// is. A second opinion sees no workspace.
    pub(super) fn walls(&self, agent: &ClaudeAgent, job: &Job, port: Option<u16>) -> Option<Walls> {
        let mut walls = job.walls_around(&agent.program)?;
        if job.purpose == Purpose::Review {
            walls.write.retain(|path| !job.workspace.starts_with(path));
            walls.overlays.clear();
            walls.read.push(self.workspace.clone());
        }
        let own = [Some(&self.settings), self.system.as_ref(), self.brief.as_ref()];
        walls.read.extend(own.into_iter().flatten().cloned());
        walls.write.push(self.config.clone());
        // In T2 it is what `/tmp` is inside.
        let short = self.short.as_ref().map(|short| short.path().to_owned());
        walls.write.extend(short);
        if let Some(port) = port {
            let inside = walls.tier == Tier::T2;
            walls.network = Network::Ours { port: if inside { proxy::PORT_INSIDE } else { port } };
        }
        Some(walls)
    }

    /// Takes over the directory that has to be removed when the process has ended.
    pub(super) fn take_short(&mut self) -> Option<tempfile::TempDir> {
        self.short.take()
    }

    /// The program's own record of a conversation, where it is. It lies in a directory that is named after
    /// the working directory of its first turn.
    pub(super) fn record(&self, conversation: &str) -> Option<PathBuf> {
        let name = format!("{conversation}.jsonl");
        let projects = std::fs::read_dir(self.config.join("projects")).ok()?;
        projects.flatten().map(|project| project.path().join(&name)).find(|path| path.is_file())
    }
}

/// What each turn's first frame has to say.
pub(super) fn expected(agent: &ClaudeAgent, job: &Job) -> Expected {
    Expected {
        model: job.model.clone(),
        tools: tools(job.purpose).iter().map(|tool| (*tool).to_owned()).collect(),
        mode: mode(job.purpose).into(),
        key_source: agent.credential.as_ref().map(|credential| {
            match credential {
                Credential::ApiKey(_) => "ANTHROPIC_API_KEY",
                Credential::OAuthToken(_) => "none",
            }
            .to_owned()
        }),
    }
}

fn tools(purpose: Purpose) -> &'static [&'static str] {
    match purpose {
        Purpose::Edit => &TOOLS,
        Purpose::Review => &[],
    }
}

fn mode(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Edit => EDITS,
        Purpose::Review => NOTHING,
    }
}

/// A settings file that does not fit its schema is dropped whole and silently: it is made here, from
/// strings only, and the vital denials stand on the command line too.
fn settings(agent: &ClaudeAgent, job: &Job, brief: Option<&Path>) -> Value {
    let walled = job.walls.is_some();
    let allow: Vec<String> = match job.purpose {
        // Inside walls it may run what it likes: they hold, and no rule about commands ever did.
        Purpose::Edit if walled => vec!["Bash".into()],
        Purpose::Edit => agent.bash.iter().filter_map(|command| bash_rule(command)).collect(),
        Purpose::Review => Vec::new(),
    };
    let mut settings = json!({
        "permissions": {
            "allow": allow,
            "deny": denied(agent),
            "blockWritesOutsideWorkingDirectories": !walled,
            "blockReadsOutsideWorkingDirectories": !walled,
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
    if let Some(brief) = brief {
        let path = brief.to_string_lossy().replace('\'', r"'\''");
        let hook = json!({
            "type": "command", "command": format!("/bin/cat '{path}'"), "timeout": HOOK_TIME,
        });
        settings["hooks"] = json!({ "SessionStart": [{ "matcher": "compact", "hooks": [hook] }] });
    }
    settings
}

/// The rule that allows exactly this command. `None` for a command with characters that mean something in a
/// rule: a bracket would break the rule, a star or a colon before it would widen it, a backslash could do
/// either.
fn bash_rule(command: &str) -> Option<String> {
    let special = |c: char| matches!(c, '(' | ')' | '*' | '\\') || c.is_control();
    let plain = !command.trim().is_empty() && !command.contains(special);
    plain.then(|| format!("Bash({command})"))
}

/// Commands of the gate that cannot be allowed, because no rule says them exactly.
pub(super) fn not_allowed(agent: &ClaudeAgent) -> impl Iterator<Item = &str> {
    agent.bash.iter().map(String::as_str).filter(|command| bash_rule(command).is_none())
}

fn denied(agent: &ClaudeAgent) -> Vec<String> {
    let edits = agent.no_edit.iter().map(|glob| edit_rule(glob));
    DENIED.map(str::to_owned).into_iter().chain(edits).collect()
}

/// The rule that denies edits at these paths. `Edit` governs every tool that writes; a leading `/` would
/// match nothing in a settings file. A character that would break the rule becomes one that stands for
/// any: what is denied may be more, never less.
fn edit_rule(glob: &str) -> String {
    let special = |c: char| matches!(c, '(' | ')' | '\\') || c.is_control();
    let glob: String = glob.chars().map(|c| if special(c) { '?' } else { c }).collect();
    format!("Edit(./{})", glob.trim_start_matches('/'))
}

/// Which conversation a process is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start<'a> {
    /// A new one with this id.
    New(&'a str),
    /// An earlier one.
    Resume(&'a str),
}

/// The command line without the conversation: a process is kept for a turn that has the same.
pub(super) fn arguments(agent: &ClaudeAgent, job: &Job, files: &Files) -> Vec<String> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut argv: Vec<String> = [
        agent.program.as_str(),
        "-p",
        "--input-format",
        "stream-json",
        "--output-format",
        "stream-json",
        "--verbose",
        "--include-partial-messages",
        "--permission-mode",
        mode(job.purpose),
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
    if let Some(system) = &files.system {
        option("--append-system-prompt-file", path(system));
    }
    // 0 would mean unlimited.
    if let Some(turns) = job.turns.filter(|turns| *turns > 0) {
        option("--max-turns", turns.to_string());
    }
    option("--tools", tools(job.purpose).join(","));
    // Takes all that follows: last.
    argv.push("--disallowedTools".into());
    argv.extend(denied(agent));
    argv
}

/// The whole command line.
pub(super) fn command_line(arguments: &[String], start: Start<'_>) -> Vec<String> {
    let (flag, id) = match start {
        Start::New(id) => ("--session-id", id),
        Start::Resume(id) => ("--resume", id),
    };
    let (program, rest) = arguments.split_at(1.min(arguments.len()));
    [program, &[flag.to_owned(), id.to_owned()], rest].concat()
}

/// What one process sees. `access` is how it reaches the model: a URL if it is not the vendor's, and what it
/// shows there.
pub(super) fn environment(
    job: &Job,
    files: &Files,
    url: Option<&str>,
    credential: Option<&Credential>,
) -> Environment {
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
        // An old model stays the one that was asked for.
        ("CLAUDE_CODE_DISABLE_LEGACY_MODEL_REMAP", "1"),
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
    let longest = spent::longest_answer(job.model.as_deref(), job.budget);
    environment
        .set("CLAUDE_CODE_MAX_OUTPUT_TOKENS", longest.to_string())
        .set("CLAUDE_CONFIG_DIR", files.config.to_string_lossy())
        .set("CLAUDE_CODE_TMPDIR", files.tmp.to_string_lossy())
        .unset("ANTHROPIC_API_KEY")
        .unset("ANTHROPIC_AUTH_TOKEN")
        .unset("ANTHROPIC_BASE_URL")
        .unset("CLAUDE_CODE_OAUTH_TOKEN");
    // Its only way is to us on loopback; a proxy of the network would get every question to read.
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        environment.unset(name).unset(&name.to_lowercase());
    }
    match credential {
        Some(Credential::ApiKey(secret)) => environment.set("ANTHROPIC_API_KEY", secret.expose()),
        Some(Credential::OAuthToken(secret)) => {
            environment.set("CLAUDE_CODE_OAUTH_TOKEN", secret.expose())
        }
        None => &mut environment,
    };
    if let Some(url) = url {
        environment.set("ANTHROPIC_BASE_URL", url);
    }
    environment
}

/// A UUID of its own for an attempt that is no part of a longer conversation: the same attempt in the same
/// directory has the same one.
pub(super) fn own_conversation(job: &Job) -> String {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        agent::Activity,
        budget::Usd,
        ids::{AttemptId, TaskId},
        process::Supervisor,
        redact::Secret,
    };

    fn job() -> Job {
        Job {
            purpose: Purpose::Edit,
            attempt: AttemptId { task: TaskId::new("task_3").unwrap(), number: 2 },
            workspace: "/w".into(),
            run_dir: "/r".into(),
            home: "/h".into(),
            talk: None,
            prompt: "Do it.".into(),
            system: String::new(),
            brief: String::new(),
            model: Some("claude-sonnet-4-5".into()),
            time_limit: Duration::from_secs(60),
            stall_limit: Duration::from_secs(60),
            budget: Usd::from_micros(300_000),
            tokens: None,
            turns: Some(7),
            activity: Activity::new(),
            environment: Environment::empty(),
            walls: None,
        }
    }

    fn agent() -> ClaudeAgent {
        let credential = Credential::ApiKey(Secret::new("sk-secret"));
        let mut agent = ClaudeAgent::new(Supervisor::new("/x".into()), Some(credential));
        agent.bash = vec!["sh tests/run.sh".into()];
        agent.no_edit = vec![".github/**".into(), "/PROJECT_PLAN.md".into()];
        agent
    }

    fn files() -> Files {
        Files {
            settings: "/h/settings.json".into(),
            system: Some("/h/system.md".into()),
            config: "/h/claude".into(),
            brief: None,
            tmp: "/h/t".into(),
            workspace: "/w".into(),
            short: None,
        }
    }

    #[test]
    fn the_command_line_is_the_contract() {
        let argv = arguments(&agent(), &job(), &files());
        assert_eq!(
            command_line(&argv, Start::New("S")).join(" "),
            "claude --session-id S -p --input-format stream-json --output-format stream-json \
             --verbose --include-partial-messages --permission-mode acceptEdits \
             --permission-prompts none --setting-sources  --strict-mcp-config \
             --disable-slash-commands --settings /h/settings.json --model claude-sonnet-4-5 \
             --append-system-prompt-file /h/system.md --max-turns 7 \
             --tools Bash,Edit,Read,Write,Grep,Glob --disallowedTools WebFetch WebSearch \
             Bash(git push *) Bash(git commit *) Bash(git remote *) Read(./.env) Read(./.env.*) \
             Edit(./.github/**) Edit(./PROJECT_PLAN.md)"
        );
        assert!(command_line(&argv, Start::Resume("S")).join(" ").contains(" --resume S -p "));
    }

    #[test]
    fn no_limit_is_no_argument_because_zero_means_something_else() {
        let mut job = job();
        for turns in [None, Some(0)] {
            job.turns = turns;
            let argv = arguments(&agent(), &job, &files()).join(" ");
            assert!(!argv.contains("--max-turns"), "{argv}");
        }
    }

    #[test]
    fn a_review_has_no_tools_and_may_edit_nothing() {
        let mut job = job();
        job.purpose = Purpose::Review;
        let argv = arguments(&agent(), &job, &files()).join(" ");
        assert!(argv.contains("--permission-mode default"), "{argv}");
        assert!(argv.contains("--tools  --disallowedTools"), "{argv}");
        let settings = settings(&agent(), &job, None);
        assert_eq!(settings["permissions"]["allow"], json!([]));
        assert!(expected(&agent(), &job).tools.is_empty());
    }

    #[test]
    fn the_settings_allow_the_gates_commands_and_deny_the_protected_paths() {
        let settings = settings(&agent(), &job(), None);
        assert_eq!(settings["permissions"]["allow"], json!(["Bash(sh tests/run.sh)"]));
        let deny = settings["permissions"]["deny"].to_string();
        assert!(deny.contains("\"Edit(./.github/**)\",\"Edit(./PROJECT_PLAN.md)\""), "{deny}");
        assert!(settings.get("hooks").is_none());
    }

    #[test]
    fn a_command_that_no_rule_says_exactly_is_not_allowed() {
        let mut agent = agent();
        let odd = ["x) Bash(*", "cargo test -- a*", "echo (a)", r"printf a\nb", "a\nb", " "];
        agent.bash.extend(odd.map(str::to_owned));
        agent.bash.push("cargo test --workspace -- --nocapture '$A'".into());
        let settings = settings(&agent, &job(), None);
        let allowed = ["Bash(sh tests/run.sh)", "Bash(cargo test --workspace -- --nocapture '$A')"];
        assert_eq!(settings["permissions"]["allow"], json!(allowed));
        assert_eq!(not_allowed(&agent).collect::<Vec<_>>(), odd);
    }

    #[test]
    fn a_path_that_would_break_a_rule_is_denied_with_its_likes() {
        assert_eq!(edit_rule("a (b)/**"), "Edit(./a ?b?/**)");
        assert_eq!(edit_rule("/x\\y\n"), "Edit(./x?y?)");
    }

    #[test]
    fn a_brief_is_put_back_by_a_hook_after_a_compaction_only() {
        let settings = settings(&agent(), &job(), Some(Path::new("/it's/brief.md")));
        let hooks = &settings["hooks"]["SessionStart"];
        assert_eq!(hooks[0]["matcher"], "compact");
        let hook = json!({
            "type": "command", "command": r"/bin/cat '/it'\''s/brief.md'", "timeout": 20,
        });
        assert_eq!(hooks[0]["hooks"], json!([hook]));
    }

    #[test]
    fn exactly_one_credential_is_in_the_environment_and_none_on_the_command_line() {
        let mut job = job();
        job.environment.set("CLAUDE_CODE_OAUTH_TOKEN", "users-own");
        let environment = environment(&job, &files(), None, agent().credential.as_ref());
        assert_eq!(environment.get("ANTHROPIC_API_KEY"), Some("sk-secret"));
        assert_eq!(environment.get("CLAUDE_CODE_OAUTH_TOKEN"), None);
        assert_eq!(environment.get("HOME"), Some("/h/home"));
        assert_eq!(environment.get("NIGHTSHIFT_TASK"), Some("task_3"));
        assert_eq!(environment.get("CLAUDE_CODE_MAX_OUTPUT_TOKENS"), Some("10000"));
        let argv = arguments(&agent(), &job, &files()).join(" ");
        assert!(!argv.contains("sk-secret"));
        assert!(!format!("{:?}", agent()).contains("sk-secret"));
    }

    fn walls(tier: Tier) -> Walls {
        Walls {
            tier,
            read: vec!["/usr".into()],
            write: vec!["/w".into()],
            hidden: Vec::new(),
            overlays: Vec::new(),
            tmp: "/h/t".into(),
            network: Network::Nobody,
            limits: crate::sandbox::Limits::default(),
        }
    }

    #[test]
    fn inside_walls_any_command_may_be_run_and_outside_only_the_gates() {
        let mut job = job();
        job.walls = Some(walls(Tier::T1));
        let inside = settings(&agent(), &job, None);
        assert_eq!(inside["permissions"]["allow"], json!(["Bash"]));
        assert_eq!(inside["permissions"]["blockReadsOutsideWorkingDirectories"], json!(false));
        job.purpose = Purpose::Review;
        assert_eq!(settings(&agent(), &job, None)["permissions"]["allow"], json!([]));
    }

    #[test]
    fn the_program_is_given_its_own_files_and_not_its_transcript() {
        let mut job = job();
        for (tier, tmp, port) in [(Tier::T2, "/tmp", proxy::PORT_INSIDE), (Tier::T1, "/h/t", 4000)]
        {
            job.walls = Some(walls(tier));
            let walls = files().walls(&agent(), &job, Some(4000)).unwrap();
            let own = ["/usr", "/h/settings.json", "/h/system.md"].map(PathBuf::from);
            assert_eq!(walls.read, own);
            assert_eq!(walls.write, ["/w", "/h/home", "/h/claude"].map(PathBuf::from));
            assert_eq!(walls.network, Network::Ours { port });
            assert_eq!(job.base_environment().get("TMPDIR"), Some(tmp));
        }
        // Who has no way to the model through us has none at all.
        let walls = files().walls(&agent(), &job, None).unwrap();
        assert_eq!(walls.network, Network::Nobody);
    }

    #[test]
    fn a_second_opinion_sees_no_workspace() {
        let mut job = job();
        job.walls = Some(walls(Tier::T2));
        job.purpose = Purpose::Review;
        let files = Files { workspace: "/h/empty".into(), ..files() };
        let walls = files.walls(&agent(), &job, None).unwrap();
        assert!(!walls.write.contains(&"/w".into()), "{walls:?}");
        assert!(walls.read.contains(&"/h/empty".into()));
    }

    #[test]
    fn an_attempt_alone_has_a_conversation_of_its_own() {
        let first = own_conversation(&job());
        assert_eq!((first.len(), &first[14..15]), (36, "4"));
        let mut other = job();
        other.attempt.number = 3;
        assert_ne!(own_conversation(&other), first);
    }
}
