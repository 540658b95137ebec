//! Conversations with the real program: frozen between two attempts, resumed, compacted, stopped, limited.

use std::{fs, time::Duration};

use serde_json::json;

use nightshift::{
    agent::{Agent, Purpose, Ran, Session, Talk},
    budget::Usd,
    outcome::AgentEnd,
    process::{Stop, Urgency},
};

use super::{Scene, write};
use crate::support::model::{At, Fault, Turn, Usage};

/// A UUID, which is all that the program wants of it.
const ID: &str = "5b0c2f0e-6c8e-4a51-9d0f-0f7a3c1e8b12";

impl Scene {
    /// The next attempt of the scene's conversation.
    pub(super) async fn go_on(&mut self, held: Option<Session>, prompt: &str) -> Ran {
        let total = self.job.talk.as_ref().map(|talk| talk.total);
        let (resume, total) = (total.is_some(), total.unwrap_or_default());
        self.job.talk = Some(Talk { id: ID.into(), resume, total });
        self.job.prompt = prompt.into();
        self.job.attempt.number += u32::from(resume);
        self.job.run_dir = self.path(&format!("run-{}", self.job.attempt.number));
        self.job.home = self.path("talk");
        let ran = self.agent.run(&self.job, held, &Stop::new()).await.unwrap();
        self.job.talk.as_mut().unwrap().total = ran.report.total.unwrap_or(total);
        ran
    }
}

/// Processes of the real program that belong to this scene, with their states.
fn programs(scene: &Scene) -> Vec<(i32, char)> {
    let home = scene.dir.path().to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if environment.contains(&home) && environment.contains("NIGHTSHIFT_TASK=") {
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            found.extend(state.map(|state| (pid, state)));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_attempt_is_the_next_line_of_the_same_frozen_program() {
    let daemon = Turn::tool("Bash", json!({ "command": "sh work.sh" }));
    let turns = vec![daemon, Turn::text("One."), write("b.txt", "b\n"), Turn::text("Two.")];
    let Some(mut scene) = Scene::with(turns).await else { return };
    fs::write(scene.path("work/work.sh"), "setsid sleep 300 >/dev/null 2>&1 &\n").unwrap();
    let Ran { report, session } = scene.go_on(None, "Do the task.").await;
    assert_eq!((&report.ended, report.survivors), (&AgentEnd::Finished, 1), "{report:?}");
    assert_eq!(
        report.notes,
        ["killed what it left running: sleep", "it gave no account of what it decided"]
    );
    let frozen = programs(&scene);
    assert!(matches!(frozen[..], [(_, 'T')]), "{frozen:?}");
    let first = report.spent.usd;

    let Ran { report, session } = scene.go_on(session, "The gate is red.").await;
    assert_eq!(report.ended, AgentEnd::Finished, "{report:?}");
    assert_eq!(programs(&scene)[0].0, frozen[0].0, "the same process");
    assert_eq!(first + report.spent.usd, scene.price());
    let asked = scene.model.asked();
    let messages = |index: usize| asked[index].body["messages"].as_array().unwrap().len();
    assert_eq!([messages(0), messages(1), messages(2), messages(3)], [1, 3, 5, 7]);
    assert!(asked[2].last().contains("The gate is red."));
    session.unwrap().close().await.unwrap();
    assert_eq!(programs(&scene), []);
    // Nothing of it is left but its own record.
    let left = fs::read_dir(scene.path("talk")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("stream")), "{left:?}");
    // Closed, the conversation is still there.
    let Ran { report, .. } = scene.go_on(None, "Once more.").await;
    assert_eq!(report.model.as_deref(), Some("claude-sonnet-4-5"));
    assert!(scene.model.asked().last().unwrap().text().contains("The gate is red."));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_program_that_was_killed_is_resumed_and_costs_what_it_costs() {
    let turns = vec![write("a.txt", "a\n"), Turn::text("One."), Turn::text("Two.")];
    let Some(mut scene) = Scene::with(turns).await else { return };
    let Ran { report, session } = scene.go_on(None, "Do the task.").await;
    let first = report.spent.usd;
    let pid = rustix::process::Pid::from_raw(programs(&scene)[0].0).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let Ran { report, .. } = scene.go_on(session, "The gate is red.").await;
    assert_eq!(report.ended, AgentEnd::Finished, "{report:?}");
    assert_eq!(first + report.spent.usd, scene.price());
    assert!(scene.model.asked()[2].text().contains("Do the task."));

    fs::remove_dir_all(scene.path("talk/claude/projects")).unwrap();
    let Ran { report, .. } = scene.go_on(None, "Again.").await;
    assert_eq!(report.ended, AgentEnd::ConversationLost);
    assert_eq!(scene.model.asked().len(), 3);
}

/// A conversation that is compacted before its third question.
async fn compacted() -> Option<Scene> {
    let full = Usage { input: 95_000, ..Usage::default() };
    let turns = vec![
        write("a.txt", "a\n"),
        write("b.txt", "b\n").usage(full),
        write("c.txt", "c\n").after(Duration::from_secs(1)),
        Turn::text("Done."),
    ];
    let mut scene = Scene::with(turns).await?;
    scene.job.environment.set("CLAUDE_CODE_AUTO_COMPACT_WINDOW", "100000");
    scene.job.brief = "These are the rules of the task.".into();
    Some(scene)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_puts_the_brief_back() {
    let Some(scene) = compacted().await else { return };
    let report = scene.run().await;
    assert_eq!(report.ended, AgentEnd::Finished, "{report:?}");
    assert_eq!(
        report.notes,
        ["its conversation was compacted once", "it gave no account of what it decided"]
    );
    let asked = scene.model.asked();
    let briefed = asked.iter().filter(|asked| asked.text().contains("the rules of the task"));
    assert_eq!(briefed.count(), 2, "the questions after it");
    let over = report.spent.usd.minus(scene.price());
    assert!(report.spent.usd >= scene.price() && over <= Usd::from_micros(1), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_that_loses_the_brief_ends_the_conversation() {
    let Some(scene) = compacted().await else { return };
    let (stop, brief) = (Stop::new(), scene.path("run/brief.md"));
    let (ran, ()) = tokio::join!(scene.agent.run(&scene.job, None, &stop), async {
        while !scene.path("work/a.txt").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fs::remove_file(&brief).unwrap();
    });
    assert_eq!(ran.unwrap().report.ended, AgentEnd::ContextFull);
    assert_eq!(programs(&scene), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_stopped_at_once_tells_what_it_cost() {
    let hang = Turn::fault(Fault::Hang(At::Content), 1);
    let Some(scene) = Scene::with(vec![write("half.txt", "half\n"), hang]).await else { return };
    let stop = Stop::new();
    let (ran, ()) = tokio::join!(scene.agent.run(&scene.job, None, &stop), async {
        while scene.model.asked().len() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        stop.ask(Urgency::Now);
    });
    let report = ran.unwrap().report;
    assert_eq!(report.ended, AgentEnd::Interrupted);
    assert!(report.seconds <= 10, "it was asked: {report:?}");
    assert!(report.spent.usd > scene.price() && report.spent.usd <= scene.job.budget);
    assert_eq!(programs(&scene), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_never_ends_by_itself_has_its_turns_and_its_money() {
    let again = || Turn::tool("Bash", json!({ "command": "echo again" }));
    let Some(mut scene) = Scene::with((0..60).map(|_| again()).collect()).await else { return };
    scene.job.turns = Some(3);
    let Ran { report, session } = scene.go_on(None, "Do the task.").await;
    assert_eq!(report.ended, AgentEnd::TurnsSpent, "{report:?}");
    assert_eq!(scene.model.asked().len(), 3);
    assert!(session.is_some(), "more words can cure it");

    // Three answers, and what the next one might cost does not fit any more.
    scene.job.turns = None;
    scene.job.budget = Usd::from_micros(140_000);
    let Ran { report, .. } = scene.go_on(session, "Go on.").await;
    assert_eq!(report.ended, AgentEnd::BudgetSpent, "{report:?}");
    assert!(report.spent.usd <= scene.job.budget && report.spent.usd > Usd::ZERO, "{report:?}");
    let before = scene.model.asked().len();
    scene.job.budget = Usd::from_micros(2_000_000);
    scene.job.tokens = Some(3_000);
    let Ran { report, .. } = scene.go_on(None, "Go on.").await;
    assert_eq!(report.ended, AgentEnd::BudgetSpent, "{report:?}");
    assert_eq!(scene.model.asked().len() - before, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_is_given_no_tools_and_no_files() {
    let lane = crate::support::model::lane("An opinion", vec![Turn::text("It fits.")]);
    let Some(mut scene) = Scene::with(vec![]).await else { return };
    let model = crate::support::model::Model::start(vec![lane]).await;
    scene.agent.base_url = Some(model.url.clone());
    scene.job.purpose = Purpose::Review;
    scene.job.prompt = "An opinion, please.".into();
    let Ran { report, session } = scene.agent.run(&scene.job, None, &Stop::new()).await.unwrap();
    assert_eq!((&report.ended, session.is_none()), (&AgentEnd::Finished, true), "{report:?}");
    let asked = model.asked();
    assert_eq!(asked[0].body["tools"].as_array().map_or(0, Vec::len), 0);
    assert!(!asked[0].text().contains(&*scene.path("work").to_string_lossy()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_on_in_the_background_and_no_other_agents_are_asked() {
    let behind = json!({ "command": "sh work.sh", "run_in_background": true });
    let other =
        json!({ "description": "sub", "prompt": "do it", "subagent_type": "general-purpose" });
    let turns = vec![Turn::tool("Bash", behind), Turn::tool("Agent", other), Turn::text("Done.")];
    let Some(scene) = Scene::with(turns).await else { return };
    fs::write(scene.path("work/work.sh"), "sleep 20\n").unwrap();
    let report = scene.run().await;
    assert_eq!(report.ended, AgentEnd::Finished, "{report:?}");
    let asked = scene.model.asked();
    assert_eq!((asked.len(), report.survivors), (3, 0), "{report:?}");
    assert!(asked[2].last().contains("No such tool available: Agent"), "{}", asked[2].last());
    assert!(report.seconds < 60, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_side_by_side_have_accounts_of_their_own() {
    let Some(one) = Scene::with(vec![write("a.txt", "a\n"), Turn::text("One.")]).await else {
        return;
    };
    let two = Scene::with(vec![write("b.txt", "b\n"), Turn::text("Two.")]).await.unwrap();
    let mut both = one.job.clone();
    both.run_dir = one.path("other");
    both.home = one.path("other");
    both.workspace = two.job.workspace.clone();
    // The same agent, and with it the same proxy.
    let stop = Stop::new();
    let (first, second) =
        tokio::join!(one.agent.run(&one.job, None, &stop), two.agent.run(&both, None, &stop));
    let (first, second) = (first.unwrap().report, second.unwrap().report);
    assert_eq!((&first.ended, &second.ended), (&AgentEnd::Finished, &AgentEnd::Finished));
    assert_eq!((first.spent.usd, second.spent.usd), (one.price(), two.price()));
    assert!(fs::exists(two.path("work/b.txt")).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_repository_is_read_as_instruction_or_run() {
    let Some(scene) = Scene::with(vec![Turn::text("Done.")]).await else { return };
    let ran = scene.path("planted-was-run");
    let touch = json!({ "type": "command", "command": format!("touch {}", ran.display()) });
    let hooks = json!([{ "matcher": "", "hooks": [touch] }]);
    let settings = json!({
        "hooks": { "SessionStart": hooks, "UserPromptSubmit": hooks, "Stop": hooks },
        "apiKeyHelper": format!("touch {}; echo x", ran.display()),
        "enableAllProjectMcpServers": true,
    });
    let server = json!({ "command": "touch", "args": [ran] });
    let skill = "---\nname: planted\ndescription: PLANTED\n---\nPLANTED\n";
    for (name, text) in [
        ("CLAUDE.md", "PLANTED\n"),
        ("CLAUDE.local.md", "PLANTED\n"),
        ("AGENTS.md", "PLANTED\n"),
        (".claude/rules/planted.md", "PLANTED\n"),
        (".claude/skills/planted/SKILL.md", skill),
        (".claude/agents/planted.md", skill),
        (".claude/commands/planted.md", "PLANTED\n"),
        (".claude/settings.json", &settings.to_string()),
        (".claude/settings.local.json", &settings.to_string()),
        (".mcp.json", &json!({ "mcpServers": { "planted": server } }).to_string()),
    ] {
        let path = scene.path("work").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let report = scene.run().await;
    assert_eq!(report.ended, AgentEnd::Finished, "{report:?}");
    assert!(!ran.exists());
    let asked = scene.model.asked();
    assert!(!asked[0].body.to_string().contains("PLANTED"), "{}", asked[0].text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_begun_before_can_begin_again() {
    let turns = vec![Turn::text("One."), Turn::text("Two.")];
    let Some(scene) = Scene::with(turns).await else { return };
    assert_eq!(scene.run().await.ended, AgentEnd::Finished);
    let report = scene.run().await;
    assert_eq!(report.ended, AgentEnd::Finished, "{report:?}");
    let asked = scene.model.asked();
    assert_eq!(asked[1].session, asked[0].session);
    assert!(!asked[1].text().contains("One."), "it knows nothing of the first");
}
