//! Agents as programs: what a script named `claude` and a plain command can do to us.
#![expect(clippy::disallowed_methods, reason = "the tests write scripts")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail like the test")]

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use nightshift::{
    agent::{
        Activity, Agent, ClaudeAgent, CommandAgent, Credential, DEMO_AGENT, DEMO_GREETING, Job,
        Purpose,
    },
    budget::Usd,
    ids::{AttemptId, TaskId},
    outcome::{AgentEnd, AgentReport},
    process::{Environment, Stop, Supervisor, Urgency},
    redact::Secret,
};

/// The beginning of every fake `claude`: keeps its arguments and prompt, and knows its session.
const FAKE: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo "${FAKE_VERSION:-2.1.329} (Claude Code)"; exit 0; }
printf '%s\n' "$@" > "$TMPDIR/argv"
cat > "$TMPDIR/prompt"
while [ "$1" != --session-id ]; do shift; done
S=$2
init() { printf '{"type":"system","subtype":"init","session_id":"%s","tools":["Bash","Edit"],"mcp_servers":[],"model":"claude-fake-1","permissionMode":"%s","claude_code_version":"2.1.329"}\n' "$S" "${1:-acceptEdits}"; }
result() { printf '{"type":"result","subtype":"%s","is_error":%s,"terminal_reason":"%s","num_turns":2,"result":"%s","total_cost_usd":0.25,"session_id":"%s"}\n' "$1" "$2" "$3" "$4" "$S"; }
idle() { printf '{"type":"system","subtype":"session_state_changed","state":"idle","session_id":"%s"}\n' "$S"; }
"#;

struct Scene {
    dir: tempfile::TempDir,
    job: Job,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("work")).unwrap();
        fs::create_dir(path("bin")).unwrap();
        let mut environment = Environment::empty();
        let inherited = std::env::var("PATH").unwrap();
        environment.set("PATH", format!("{}:{inherited}", path("bin").display()));
        let job = Job {
            purpose: Purpose::Edit,
            attempt: AttemptId { task: TaskId::new("t1").unwrap(), number: 1 },
            workspace: path("work"),
            run_dir: path("run"),
            home: path("run"),
            talk: None,
            prompt: "Do it.\n".into(),
            system: "Be kind.".into(),
            brief: String::new(),
            model: Some("claude-fake-1".into()),
            time_limit: Duration::from_secs(60),
            stall_limit: Duration::from_secs(60),
            budget: Usd::from_micros(2_000_000),
            tokens: None,
            turns: None,
            activity: Activity::new(),
            environment,
        };
        Scene { dir, job }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn claude(&self, script: &str) -> ClaudeAgent {
        let path = self.path("bin/claude");
        fs::write(&path, format!("{FAKE}{script}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let credential = Credential::ApiKey(Secret::new("sk-fake"));
        let mut agent = ClaudeAgent::new(supervisor(), Some(credential));
        agent.grace = Duration::from_secs(2);
        agent
    }

    async fn run(&self, agent: &dyn Agent) -> AgentReport {
        agent.run(&self.job, None, &Stop::new()).await.unwrap().report
    }

    async fn run_claude(&self, script: &str) -> AgentReport {
        self.run(&self.claude(script)).await
    }

    fn command(argv: &[&str]) -> CommandAgent {
        let argv = argv.iter().map(ToString::to_string).collect();
        CommandAgent::new("helper", argv, supervisor())
    }
}

fn supervisor() -> Supervisor {
    Supervisor { exe: env!("CARGO_BIN_EXE_nightshift").into() }
}

#[tokio::test]
async fn a_session_that_finishes_is_reported_with_its_cost_and_what_it_left_running() {
    let scene = Scene::new();
    let report = scene
        .run_claude(
            "init; echo edited > file; setsid sleep 300 & sleep 0.1
             result success false completed 'Done with sk-fake'; idle",
        )
        .await;
    assert_eq!(report.ended, AgentEnd::Finished);
    assert_eq!(report.spent.usd, Usd::from_micros(250_000));
    assert_eq!((report.turns, report.survivors), (Some(2), 1));
    assert_eq!(report.model.as_deref(), Some("claude-fake-1"));
    assert_eq!(report.last_words.as_deref(), Some("Done with ***"));
    assert_eq!(fs::read_to_string(scene.path("work/file")).unwrap(), "edited\n");
    assert_eq!(fs::read_to_string(scene.path("run/t/prompt")).unwrap(), "Do it.\n");
    assert_eq!(fs::read_to_string(scene.path("run/system.md")).unwrap(), "Be kind.");
    let mode = fs::metadata(scene.path("run")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn a_silent_session_is_stopped_and_asked_for_its_cost_first() {
    let mut scene = Scene::new();
    scene.job.stall_limit = Duration::from_secs(1);
    let report = scene
        .run_claude(
            "trap 'result error_during_execution true aborted_streaming x; exit 0' INT
             init; sleep 60 & wait",
        )
        .await;
    assert_eq!(report.ended, AgentEnd::Stalled);
    assert_eq!(report.spent.usd, Usd::from_micros(250_000));
    assert!(!report.spent.is_estimated());
}

#[tokio::test]
async fn a_session_over_its_time_that_says_nothing_more_is_charged_what_was_reserved() {
    let mut scene = Scene::new();
    scene.job.time_limit = Duration::from_millis(700);
    let report = scene.run_claude("init; sleep 60").await;
    assert_eq!(report.ended, AgentEnd::TimedOut);
    assert_eq!((report.spent.usd, report.spent.is_estimated()), (scene.job.budget, true));
}

#[tokio::test]
async fn stopping_the_night_at_once_interrupts_the_session() {
    let scene = Scene::new();
    let agent = scene.claude("init; sleep 60");
    let stop = Stop::new();
    let (report, ()) = tokio::join!(agent.run(&scene.job, None, &stop), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.ask(Urgency::Now);
    });
    assert_eq!(report.unwrap().report.ended, AgentEnd::Interrupted);
}

#[tokio::test]
async fn a_session_in_another_mode_than_asked_is_stopped_before_it_does_more() {
    let scene = Scene::new();
    let report = scene.run_claude("init bypassPermissions; sleep 2; echo x > late; sleep 60").await;
    let message = "permission mode is `bypassPermissions`, not `acceptEdits`".into();
    assert_eq!(report.ended, AgentEnd::Unfit { message });
    assert!(!scene.path("work/late").exists());
}

#[tokio::test]
async fn a_session_that_dies_or_never_says_a_word_is_told_apart() {
    let scene = Scene::new();
    assert_eq!(scene.run_claude("init; kill -9 $$").await.ended, AgentEnd::Killed { signal: 9 });
    let report = scene.run_claude("echo 'error: unknown option --x' >&2; exit 1").await;
    assert_eq!(report.ended, AgentEnd::Unfit { message: "error: unknown option --x".into() });
    assert_eq!(report.spent.usd, Usd::ZERO);
    let report = scene.run_claude("echo hello").await;
    assert!(matches!(report.ended, AgentEnd::Garbage { .. }), "{report:?}");
}

#[tokio::test]
async fn a_session_that_ends_its_supervisor_leaves_nothing_and_is_killed() {
    let scene = Scene::new();
    let report = scene.run_claude("init; setsid sleep 300 & kill -9 $PPID; sleep 300").await;
    assert_eq!(report.ended, AgentEnd::Killed { signal: 9 });
    assert!(report.survivors >= 2, "{report:?}");
}

#[tokio::test]
async fn a_flood_before_the_result_does_not_lose_the_result() {
    let scene = Scene::new();
    let report = scene
        .run_claude(
            "init; head -c 30000000 /dev/zero | tr '\\0' 'x'; echo
             yes '{\"type\":\"noise\"}' | head -n 100000
             result success false completed Done",
        )
        .await;
    assert_eq!(report.ended, AgentEnd::Finished);
}

#[tokio::test]
async fn a_session_that_lingers_after_its_turn_is_ended_and_counts_as_finished() {
    let scene = Scene::new();
    let report =
        scene.run_claude("init; result success false completed Done; idle; sleep 60").await;
    assert_eq!(report.ended, AgentEnd::Finished);
    assert!(report.seconds < 20, "{report:?}");
}

#[tokio::test]
async fn a_missing_program_is_not_an_error_of_ours() {
    let scene = Scene::new();
    let mut agent = scene.claude("");
    agent.program = "no-such-claude".into();
    let program = "no-such-claude".to_owned();
    assert_eq!(scene.run(&agent).await.ended, AgentEnd::NotInstalled { program });
    assert!(agent.preflight(&scene.job.environment).unwrap_err().message.contains("not found"));
}

#[test]
fn preflight_wants_a_known_version_and_a_credential() {
    let mut scene = Scene::new();
    let mut agent = scene.claude("");
    let facts = agent.preflight(&scene.job.environment).unwrap();
    assert_eq!((facts.version.as_deref(), facts.warnings.len()), (Some("2.1.329"), 0));
    scene.job.environment.set("FAKE_VERSION", "3.0.1");
    assert_eq!(agent.preflight(&scene.job.environment).unwrap().warnings.len(), 1);
    scene.job.environment.set("FAKE_VERSION", "2.1.197");
    let refused = agent.preflight(&scene.job.environment).unwrap_err();
    assert_eq!(refused.message, "Claude Code 2.1.197 is too old: 2.1.198 or later is needed");
    scene.job.environment.unset("FAKE_VERSION");
    agent.credential = None;
    let refused = agent.preflight(&scene.job.environment).unwrap_err();
    assert!(refused.help.contains("setup-token"), "{refused:?}");
}

#[tokio::test]
async fn a_command_is_given_the_prompt_and_edits_its_workspace() {
    let scene = Scene::new();
    let agent =
        Scene::command(&["sh", "-c", "cat > asked; echo \"$NIGHTSHIFT_TASK@$NIGHTSHIFT_ATTEMPT\""]);
    let report = scene.run(&agent).await;
    assert_eq!(report.ended, AgentEnd::Finished);
    assert_eq!(report.last_words.as_deref(), Some("t1@1"));
    assert_eq!(fs::read_to_string(scene.path("work/asked")).unwrap(), "Do it.\n");
    assert_eq!(fs::read_to_string(scene.path("run/transcript.log")).unwrap(), "t1@1\n");
}

#[tokio::test]
async fn a_command_fails_by_code_by_signal_or_by_time() {
    let mut scene = Scene::new();
    let report = scene.run(&Scene::command(&["sh", "-c", "echo no >&2; exit 3"])).await;
    assert_eq!(report.ended, AgentEnd::Failed { code: Some(3), message: "no".into() });
    let report = scene.run(&Scene::command(&["sh", "-c", "kill -15 $$"])).await;
    assert_eq!(report.ended, AgentEnd::Killed { signal: 15 });
    scene.job.time_limit = Duration::from_millis(200);
    let report = scene.run(&Scene::command(&["sleep", "60"])).await;
    assert_eq!(report.ended, AgentEnd::TimedOut);
}

#[tokio::test]
async fn the_demo_agent_is_our_own_binary() {
    let mut scene = Scene::new();
    scene.job.attempt.task = TaskId::new("hello-2").unwrap();
    scene.job.prompt = "not ok trim_test".into();
    fs::create_dir_all(scene.path("work/src")).unwrap();
    fs::write(scene.path("work/src/greet.sh"), DEMO_GREETING).unwrap();
    let agent = Scene::command(&[env!("CARGO_BIN_EXE_nightshift"), DEMO_AGENT]);
    let report = scene.run(&agent).await;
    assert_eq!(report.ended, AgentEnd::Finished);
    assert!(scene.path("work/tests/trim_test.sh").exists());
    let said = "reading the task\nwriting tests/trim_test.sh\nwriting src/greet.sh\ndone";
    assert_eq!(report.last_words.as_deref(), Some(said));
}
