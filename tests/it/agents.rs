//! Agents as programs: what a script named `claude` and a plain command can do to us.
#![expect(clippy::disallowed_methods, reason = "the tests write scripts")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail like the test")]

mod walls;

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use nightshift::{
    agent::{
        Activity, Agent, ClaudeAgent, CommandAgent, Credential, DEMO_AGENT, DEMO_GREETING, Job,
        Purpose, Ran, Session, Talk,
    },
    budget::Usd,
    ids::{AttemptId, TaskId},
    outcome::{AgentEnd, AgentReport},
    process::{Environment, Stop, Supervisor, Urgency},
    redact::Secret,
};

/// The beginning of every fake `claude`: keeps its arguments and what it is told, and knows its session.
const FAKE: &str = r#"
[ "$1" = --version ] && { echo "${FAKE_VERSION:-2.1.329} (Claude Code)"; exit 0; }
echo "$*" >> "$TMPDIR/argv"
echo $$ > "$TMPDIR/pid"
while [ "$1" != --session-id ] && [ "$1" != --resume ]; do shift; done
S=$2
mkdir -p "$CLAUDE_CONFIG_DIR/projects/work"
echo '{}' >> "$CLAUDE_CONFIG_DIR/projects/work/$S.jsonl"
say() { printf "$1"',"session_id":"%s"}\n' "$S"; }
init() { say '{"type":"system","subtype":"init","tools":["Bash","Edit"],"mcp_servers":[],"model":"claude-fake-1","permissionMode":"'"${1:-acceptEdits}"'","claude_code_version":"2.1.329"'; }
result() { say '{"type":"result","subtype":"'"$1"'","is_error":'"$2"',"terminal_reason":"'"$3"'","num_turns":2,"result":"'"$4"'","total_cost_usd":'"${5:-0.25}"; }
idle() { say '{"type":"system","subtype":"session_state_changed","state":"idle"'; }
system() { say '{"type":"system","subtype":"'"$1"'"'"$2"; }
answer() { say '{"type":"assistant","message":{"id":"'"$1"'","model":"claude-fake-1","content":[{"type":"text","text":"..."}],"usage":{"input_tokens":10,"output_tokens":1}}'; }
hear() { IFS= read -r LINE || exit 0; printf '%s\n' "$LINE" >> "$TMPDIR/heard"; }
hear
"#;

struct Scene {
    dir: tempfile::TempDir,
    job: Job,
}

impl Scene {
    fn new() -> Scene {
        Scene::of(tempfile::tempdir().unwrap())
    }

    fn below(place: &str) -> Scene {
        Scene::of(tempfile::tempdir_in(place).unwrap())
    }

    fn of(dir: tempfile::TempDir) -> Scene {
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
            walls: None,
        };
        Scene { dir, job }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program in the scene.
    fn script(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn claude(&self, script: &str) -> ClaudeAgent {
        self.script("bin/claude", &format!("{FAKE}{script}"));
        let credential = Credential::ApiKey(Secret::new("sk-fake"));
        let mut agent = ClaudeAgent::new(supervisor(), Some(credential));
        agent.grace = Duration::from_secs(2);
        // It asks nobody.
        agent.proxy = false;
        agent
    }

    async fn run(&self, agent: &dyn Agent) -> AgentReport {
        agent.run(&self.job, None, &Stop::new()).await.unwrap().report
    }

    /// The next attempt of the scene's conversation.
    async fn go_on(&mut self, agent: &dyn Agent, held: Option<Session>, prompt: &str) -> Ran {
        let (resume, total) = match &self.job.talk {
            None => (false, Usd::ZERO),
            Some(talk) => (true, talk.total),
        };
        self.job.talk = Some(Talk { id: "a-conversation".into(), resume, total });
        self.job.prompt = prompt.into();
        self.job.attempt.number += u32::from(resume);
        self.job.run_dir = self.path(&format!("run-{}", self.job.attempt.number));
        self.job.home = self.path("talk");
        let ran = agent.run(&self.job, held, &Stop::new()).await.unwrap();
        self.job.talk.as_mut().unwrap().total = ran.report.total.unwrap_or(total);
        ran
    }

    /// A file that the fake wrote for us.
    fn told(&self, name: &str) -> String {
        let paths = ["talk/t", "run/t"].map(|place| self.path(place).join(name));
        let path = paths.iter().find(|path| path.exists());
        path.map(|path| fs::read_to_string(path).unwrap()).unwrap_or_default()
    }

    /// The state of the fake's process, as the kernel calls it; nothing when it is gone.
    fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.told("pid").trim())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
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
    Supervisor::new(env!("CARGO_BIN_EXE_nightshift").into())
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
    assert_eq!(
        scene.told("heard"),
        "{\"message\":{\"content\":\"Do it.\\n\",\"role\":\"user\"},\"type\":\"user\"}\n"
    );
    let kept = fs::read_to_string(scene.path("run/transcript.jsonl")).unwrap();
    assert!(kept.contains("Done with ***") && kept.lines().count() == 3, "{kept}");
    assert_eq!(
        report.notes,
        ["killed what it left running: sleep", "it gave no account of what it decided"]
    );
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
    // The second `sleep` may not have begun.
    assert!(report.survivors >= 1, "{report:?}");
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
    let report = scene.run_claude("init; result success false completed Done; sleep 60").await;
    assert_eq!(report.ended, AgentEnd::Finished);
    assert!(report.seconds < 20, "{report:?}");
}

#[tokio::test]
async fn a_session_is_asked_to_stop_before_it_is_made_to() {
    let mut scene = Scene::new();
    scene.job.time_limit = Duration::from_millis(700);
    let report = scene
        .run_claude(
            "trap 'result success false completed Never' INT
             init; hear; result error_during_execution true aborted_tools x 0.125; idle; hear",
        )
        .await;
    assert_eq!(report.ended, AgentEnd::TimedOut);
    assert_eq!((report.spent.usd, report.spent.is_estimated()), (Usd::from_micros(125_000), false));
    assert!(scene.told("heard").contains(r#""subtype":"interrupt""#));
}

#[tokio::test]
async fn a_silent_session_that_computes_or_writes_is_left_alone() {
    let mut scene = Scene::new();
    scene.job.stall_limit = Duration::from_secs(2);
    for work in [
        "for i in 1 2 3 4 5 6 7 8 9 10; do echo > file$i; sleep 0.4; done",
        "timeout 4 sh -c 'while :; do :; done'",
    ] {
        let script = format!("init; {work}; result success false completed Done; idle; hear");
        assert_eq!(scene.run_claude(&script).await.ended, AgentEnd::Finished, "{work}");
    }
}

#[tokio::test]
async fn a_conversation_goes_on_in_its_frozen_program() {
    let mut scene = Scene::new();
    let agent = scene.claude(
        "sleep 300 & init; echo one > file; result success false completed One; idle
         hear; init; echo two > file; result success false completed Two 0.75; idle; hear; exit 0",
    );
    let Ran { report, session } = scene.go_on(&agent, None, "First.").await;
    assert_eq!((report.ended, report.survivors), (AgentEnd::Finished, 1));
    assert_eq!((report.spent.usd.micros(), report.total.unwrap().micros()), (250_000, 250_000));
    assert_eq!(
        (scene.state(), fs::read_to_string(scene.path("work/file")).unwrap().as_str()),
        (Some('T'), "one\n")
    );

    let Ran { report, session } = scene.go_on(&agent, session, "Second.").await;
    assert_eq!((report.ended, report.survivors), (AgentEnd::Finished, 0));
    assert_eq!(report.last_words.as_deref(), Some("Two"));
    assert_eq!((report.spent.usd.micros(), report.total.unwrap().micros()), (500_000, 750_000));
    assert_eq!(fs::read_to_string(scene.path("work/file")).unwrap(), "two\n");
    assert_eq!((scene.told("argv").lines().count(), scene.told("heard").lines().count()), (1, 2));
    let kept = |number: u32| {
        let path = scene.path(&format!("run-{number}/transcript.jsonl"));
        fs::read_to_string(path).unwrap()
    };
    assert!(kept(1).contains("One") && !kept(1).contains("Two") && !kept(2).contains("One"));

    session.unwrap().close().await.unwrap();
    assert_eq!(scene.state(), None);
    assert!(!scene.path("talk/stream-1.jsonl").exists());
}

#[tokio::test]
async fn a_conversation_whose_program_died_is_resumed() {
    let mut scene = Scene::new();
    let agent = scene.claude("init; result success false completed Done; idle; hear; hear");
    let Ran { session, .. } = scene.go_on(&agent, None, "First.").await;
    let pid = scene.told("pid").trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let Ran { report, session } = scene.go_on(&agent, session, "Second.").await;
    assert_eq!(report.ended, AgentEnd::Finished);
    let argv = scene.told("argv");
    let argv: Vec<&str> = argv.lines().collect();
    assert!(argv[0].starts_with("--session-id a-conversation"), "{argv:?}");
    assert!(argv[1].starts_with("--resume a-conversation"), "{argv:?}");
    // Another model is another program too, and one that is not held is started.
    scene.job.model = None;
    let Ran { session, .. } = scene.go_on(&agent, session, "Third.").await;
    drop(session);
    let Ran { report, .. } = scene.go_on(&agent, None, "Fourth.").await;
    assert_eq!(report.ended, AgentEnd::Finished);
    assert_eq!(scene.told("argv").lines().count(), 4);
}

#[tokio::test]
async fn a_conversation_that_is_not_there_is_lost_before_anything_is_started() {
    let mut scene = Scene::new();
    let agent = scene.claude("init; result success false completed Done; idle");
    let talk = Talk { id: "another".into(), resume: true, total: Usd::ZERO };
    scene.job.talk = Some(talk);
    assert_eq!(scene.run(&agent).await.ended, AgentEnd::ConversationLost);
    assert_eq!(scene.told("argv"), "");
}

#[tokio::test]
async fn a_later_turn_in_another_mode_than_asked_is_unfit() {
    let mut scene = Scene::new();
    let agent = scene.claude(
        "init; result success false completed One; idle
         hear; init bypassPermissions; sleep 60",
    );
    let Ran { session, .. } = scene.go_on(&agent, None, "First.").await;
    let Ran { report, session } = scene.go_on(&agent, session, "Second.").await;
    assert!(matches!(report.ended, AgentEnd::Unfit { .. }) && session.is_none(), "{report:?}");
}

#[tokio::test]
async fn a_compaction_without_the_brief_ends_the_conversation() {
    let mut scene = Scene::new();
    scene.job.brief = "The task.".into();
    let compacts = |hook: &str| {
        format!(
            "init; system status ',\"status\":\"compacting\"'; {hook}
             system compact_boundary ''; answer m1; sleep 1
             result success false completed Done; idle; hear"
        )
    };
    let report = scene.run_claude(&compacts(":")).await;
    assert_eq!(report.ended, AgentEnd::ContextFull);
    let hook = r#"system hook_response ',"hook_name":"SessionStart:compact","stdout":"The task.","exit_code":0'"#;
    let report = scene.run_claude(&compacts(hook)).await;
    assert_eq!(report.ended, AgentEnd::Finished);
    assert!(report.notes.contains(&"its conversation was compacted once".to_owned()), "{report:?}");
    assert_eq!(fs::read_to_string(scene.path("run/brief.md")).unwrap(), "The task.");
    let settings = fs::read_to_string(scene.path("run/settings.json")).unwrap();
    assert!(settings.contains("/bin/cat"), "{settings}");
}

#[tokio::test]
async fn a_session_that_has_spent_its_money_is_stopped() {
    let mut scene = Scene::new();
    scene.job.tokens = Some(15);
    let report = scene
        .run_claude(
            "init; answer m1; answer m2
             hear; result error_during_execution true aborted_streaming x; idle; hear",
        )
        .await;
    assert_eq!(report.ended, AgentEnd::BudgetSpent);
    assert_eq!((report.spent.input_tokens, report.spent.output_tokens), (20, 2));
}

#[tokio::test]
async fn what_an_agent_says_of_its_work_is_read_whole_or_not_at_all() {
    let scene = Scene::new();
    let say = |block: &str| {
        format!(
            "init; result success false completed '```nightshift\\\\n{block}\\\\n```'; idle; hear"
        )
    };
    let report = scene.run_claude(&say(r#"{\\"questions\\":[\\"Why?\\"]}"#)).await;
    assert_eq!(
        (report.ended, report.reply.questions),
        (AgentEnd::Finished, vec!["Why?".to_owned()])
    );
    let report = scene.run_claude(&say("oops")).await;
    assert!(matches!(report.ended, AgentEnd::Unreadable { .. }), "{report:?}");
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
    scene.job.environment.set("FAKE_VERSION", "2.7.1");
    assert_eq!(agent.preflight(&scene.job.environment).unwrap().warnings.len(), 1);
    scene.job.environment.set("FAKE_VERSION", "3.0.1");
    let refused = agent.preflight(&scene.job.environment).unwrap_err();
    assert!(refused.message.contains("too new"), "{refused:?}");
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
async fn what_a_command_says_of_its_work_is_read_and_what_it_leaves_running_is_named() {
    let scene = Scene::new();
    let says = |block: &str| {
        let script = format!("setsid sleep 300 & printf '```nightshift\\n{block}\\n```\\n'");
        Scene::command(&["sh", "-c", &script])
    };
    let report = scene.run(&says(r#"{"questions":["Why?"]}"#)).await;
    assert_eq!(
        (report.ended, report.reply.questions.as_slice()),
        (AgentEnd::Finished, &["Why?".to_owned()][..])
    );
    assert_eq!(report.notes, ["killed what it left running: sleep"]);
    let report = scene.run(&says("oops")).await;
    assert!(matches!(report.ended, AgentEnd::Unreadable { .. }), "{report:?}");
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
