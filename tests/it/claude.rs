//! The real Claude Code, driven by our agent, against a model server of ours: what the fake of `agents.rs`
//! cannot know. Without the program each test says so and passes; see CONTRIBUTING.md.

mod conversations;
mod nights;
mod rows;
mod walls;

use std::{fs, path::PathBuf, time::Duration};

use serde_json::json;

use nightshift::{
    agent::{Activity, Agent, ClaudeAgent, Credential, Job, Purpose},
    budget::Usd,
    ids::{AttemptId, TaskId},
    outcome::{AgentEnd, AgentReport, LimitScope},
    process::{Environment, Stop, Supervisor},
    redact::Secret,
};

use crate::{
    support::{
        claude::claude,
        model::{At, FOREVER, Fault, Key, Lane, Limit, Model, SONNET, Turn, Usage, any, now},
    },
    tidy,
};

const KEY: &str = "sk-ant-a-key-of-the-tests";
const TOKEN: &str = "sk-ant-oat01-a-token-of-the-tests";

/// One attempt at a task with the real program.
struct Scene {
    dir: tempfile::TempDir,
    job: Job,
    agent: ClaudeAgent,
    model: Model,
}

impl Scene {
    /// None when the program is not there.
    async fn with(turns: Vec<Turn>) -> Option<Scene> {
        Scene::below("/tmp", vec![any(turns)]).await
    }

    /// [`Scene::with`], in another place and with other scripts.
    async fn below(place: &str, lanes: Vec<Lane>) -> Option<Scene> {
        let program = claude()?;
        let dir = tempfile::Builder::new().prefix("ns").tempdir_in(place).unwrap();
        let model = Model::start(lanes).await;
        let workspace = dir.path().join("work");
        fs::create_dir(&workspace).unwrap();
        fs::write(workspace.join("README.md"), "hello\n").unwrap();
        let mut environment = Environment::empty();
        environment.set("PATH", std::env::var("PATH").unwrap());
        let job = Job {
            purpose: Purpose::Edit,
            attempt: AttemptId { task: TaskId::new("t1").unwrap(), number: 1 },
            workspace,
            run_dir: dir.path().join("run"),
            home: dir.path().join("run"),
            talk: None,
            prompt: "Do the task t1.\n".into(),
            system: String::new(),
            brief: String::new(),
            model: Some("claude-sonnet-4-5".into()),
            time_limit: Duration::from_secs(120),
            stall_limit: Duration::from_secs(60),
            budget: Usd::from_micros(2_000_000),
            tokens: None,
            turns: None,
            activity: Activity::new(),
            environment,
            walls: None,
        };
        let supervisor = Supervisor::new(env!("CARGO_BIN_EXE_nightshift").into());
        let key = Credential::ApiKey(Secret::new(KEY));
        let mut agent = ClaudeAgent::new(supervisor, Some(key));
        agent.program = program.to_string_lossy().into_owned();
        agent.base_url = Some(model.url.clone());
        agent.bash = vec!["sh work.sh".into()];
        Some(Scene { dir, job, agent, model })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn run(&self) -> AgentReport {
        let report = self.agent.run(&self.job, None, &Stop::new()).await.unwrap().report;
        assert_eq!(self.model.surprises(), [""; 0], "{report:?}");
        report
    }

    /// The price of all answers that came whole.
    fn price(&self) -> Usd {
        self.model.spent(|answer| if answer.whole { SONNET.of(answer.usage) } else { Usd::ZERO })
    }
}

fn write(name: &str, text: &str) -> Turn {
    Turn::tool("Write", json!({ "file_path": format!("{{cwd}}/{name}"), "content": text }))
}

#[tokio::test]
async fn an_edit_is_made_and_its_price_is_what_the_model_charged() {
    let read = Turn::tool("Read", json!({ "file_path": "{cwd}/README.md" }));
    let usage = Usage { input: 20, output: 300, cache_read: 4_000, cache_write: 5_000 };
    let Some(scene) = Scene::with(vec![
        read.usage(usage),
        write("answer.txt", "42\n").and("Bash", json!({ "command": "cat README.md" })),
        Turn::text("Done."),
    ])
    .await
    else {
        return;
    };
    let report = scene.run().await;
    assert_eq!(report.ended, AgentEnd::Finished);
    assert_eq!(fs::read_to_string(scene.path("work/answer.txt")).unwrap(), "42\n");
    assert_eq!(report.last_words.as_deref(), Some("Done."));
    assert_eq!(report.spent.usd, scene.price());
    assert!(!report.spent.is_estimated());
    scene.model.signed_in_with(&Key::Api(KEY.to_owned()));
    let asked = scene.model.asked();
    assert_eq!((asked.len(), asked[0].prompt().trim()), (3, "Do the task t1."));
    assert!(asked[1].last().contains("hello"), "it read the file: {}", asked[1].last());
}

#[tokio::test]
async fn the_end_of_a_usage_limit_is_known_and_what_was_done_stays() {
    let limit = Limit { window: "five_hour", until: now() + 3_600, used: 1.0 };
    let limited = Turn::fault(Fault::limit(&limit), FOREVER);
    let Some(mut scene) = Scene::with(vec![write("half.txt", "half\n"), limited]).await else {
        return;
    };
    scene.agent.credential = Some(Credential::OAuthToken(Secret::new(TOKEN)));
    let report = scene.run().await;
    assert_eq!(
        report.ended,
        AgentEnd::Limited { until: Some(limit.until), scope: LimitScope::Account }
    );
    assert_eq!(fs::read_to_string(scene.path("work/half.txt")).unwrap(), "half\n");
    assert_eq!((report.spent.usd, scene.model.asked().len()), (scene.price(), 2));
    scene.model.signed_in_with(&Key::Bearer(TOKEN.to_owned()));
}

#[tokio::test]
async fn a_token_that_is_not_valid_is_told_and_not_shown() {
    // With a key, it would try for eight seconds and say nothing of what it was answered.
    let refused = Fault::said(401, &format!("no such token: {TOKEN}"));
    let Some(mut scene) = Scene::with(vec![Turn::fault(refused, FOREVER)]).await else { return };
    scene.agent.credential = Some(Credential::OAuthToken(Secret::new(TOKEN)));
    let report = scene.run().await;
    let AgentEnd::NotSignedIn { message } = &report.ended else { panic!("{report:?}") };
    assert!(message.contains("no such token: ***"), "{message}");
}

#[tokio::test]
async fn an_overloaded_service_is_asked_again_and_costs_once() {
    let turn = write("a.txt", "a\n").failing(Fault::status(529), 2);
    let Some(scene) = Scene::with(vec![turn, Turn::text("Done.")]).await else { return };
    let report = scene.run().await;
    assert_eq!(report.ended, AgentEnd::Finished);
    assert_eq!((report.spent.usd, scene.model.asked().len()), (scene.price(), 4));
}

#[tokio::test]
async fn tools_that_are_not_allowed_are_denied_and_the_rest_goes_on() {
    let bash = |command: &str| Turn::tool("Bash", json!({ "command": command }));
    let outside = "/var/tmp/nightshift-escaped.txt";
    let Some(scene) = Scene::with(vec![
        bash("git push origin HEAD"),
        Turn::tool("Write", json!({ "file_path": outside, "content": "x" })),
        bash("python3 -c 0"),
        Turn::text("I could not."),
    ])
    .await
    else {
        return;
    };
    let report = scene.run().await;
    let tools = vec!["Bash".to_owned(), "Write".to_owned()];
    assert_eq!(report.ended, AgentEnd::Denied { tools });
    assert!(!PathBuf::from(outside).exists());
    assert_eq!(fs::read_dir(scene.path("work")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_model_that_falls_silent_in_the_middle_is_given_up_and_asked_for_the_cost() {
    let hang = Turn::fault(Fault::Hang(At::Content), FOREVER);
    let Some(mut scene) = Scene::with(vec![write("half.txt", "half\n"), hang]).await else {
        return;
    };
    scene.job.stall_limit = Duration::from_secs(15);
    let report = scene.run().await;
    assert_eq!(report.ended, AgentEnd::Stalled);
    assert_eq!(fs::read_to_string(scene.path("work/half.txt")).unwrap(), "half\n");
    // It counts what the call that was cut had read.
    assert!(report.spent.usd > scene.price(), "{report:?}");
    assert_eq!(scene.model.answers().iter().filter(|answer| !answer.whole).count(), 1);
}

#[tokio::test]
async fn a_conversation_that_is_full_is_summed_up_and_that_is_paid_too() {
    let full = Fault::said(400, "prompt is too long: 205000 tokens > 200000 maximum");
    let read = Usage { input: 190_000, ..Usage::default() };
    let Some(scene) =
        Scene::with(vec![write("a.txt", "a\n").usage(read), Turn::fault(full, 1)]).await
    else {
        return;
    };
    let report = scene.run().await;
    assert_eq!(report.ended, AgentEnd::Finished);
    let (asides, asked) = (scene.model.asides(), scene.model.asked());
    assert_eq!((asides.len(), asked.len()), (1, 3));
    assert_eq!(asides[0].session, asked[0].session);
    assert!(asked[2].prompt().contains("What was done so far."), "{}", asked[2].prompt());
    // Adding up dollars in binary may cost a millionth.
    let over = report.spent.usd.minus(scene.price());
    assert!(report.spent.usd >= scene.price() && over <= Usd::from_micros(1), "{report:?}");
}

#[tokio::test]
async fn the_program_of_the_tests_is_the_one_that_was_tried() {
    let Some(scene) = Scene::with(vec![]).await else { return };
    let facts = scene.agent.preflight(&scene.job.environment).unwrap();
    assert_eq!(facts.warnings, [""; 0], "{facts:?}");
}

#[test]
fn one_version_is_tried_and_installed() {
    let package = tidy::read("tests/claude-cli/package.json");
    let package: serde_json::Value = serde_json::from_str(&package).unwrap();
    let wanted = package["dependencies"]["@anthropic-ai/claude-code"].as_str().unwrap();
    let tried = format!("({})", wanted.replace('.', ", "));
    assert!(tidy::read("src/agent/claude/mod.rs").contains(&tried), "{wanted} was not tried");
    let lock = tidy::read("tests/claude-cli/package-lock.json");
    let versions: Vec<_> = lock.lines().filter(|line| line.contains("\"version\":")).collect();
    assert!(
        versions.len() > 5 && versions.iter().all(|line| line.contains(wanted)),
        "{versions:?}"
    );
}
