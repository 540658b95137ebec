//! Whole nights with the real program: our binary, real git, a real gate, and a model server that knows from
//! the other side what was asked and what it cost.

use std::{collections::BTreeSet, fs, time::Duration};

use serde_json::{Value, json};

use nightshift::budget::Usd;

use super::{KEY, TOKEN};
use crate::support::{
    claude::claude,
    model::{At, FOREVER, Fault, Key, Limit, Model, SONNET, Turn, lane, now},
    night::{Ran, TestNight},
};

/// A night whose agent is the real program. `None` when it is not there.
fn night(model: &Model, settings: &str) -> Option<TestNight> {
    let program = claude()?;
    let config = format!("agent: {{model: claude-sonnet-4-5}}\n{settings}");
    let directory = program.parent().unwrap().to_str().unwrap().to_owned();
    let path = format!("{directory}:{}", std::env::var("PATH").unwrap());
    Some(
        TestNight::new()
            .file(".nightshift/config.yml", config)
            .env("PATH", &path)
            .env("ANTHROPIC_BASE_URL", &model.url),
    )
}

fn with_key(night: TestNight) -> TestNight {
    night.env("ANTHROPIC_API_KEY", KEY)
}

/// Runs the night beside the model's server.
async fn run(night: TestNight) -> Ran {
    tokio::task::spawn_blocking(move || night.call(&["run"])).await.unwrap()
}

fn write(task: &str) -> Turn {
    let path = format!("{{cwd}}/src/{task}.txt");
    Turn::tool("Write", json!({ "file_path": path, "content": format!("{task}\n") }))
}

/// The facts of the journal.
fn facts(ran: &Ran) -> Vec<Value> {
    let journal = fs::read_to_string(ran.journal()).unwrap();
    journal.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How each agent run of a task ended, as the journal names it.
fn ends(ran: &Ran, task: &str) -> Vec<String> {
    facts(ran)
        .iter()
        .filter_map(|fact| fact.pointer("/event/agent_ended"))
        .filter(|ended| ended["attempt"]["task"] == task)
        .map(|ended| match &ended["report"]["ended"] {
            Value::String(name) => name.clone(),
            Value::Object(fields) => fields.keys().next().unwrap().clone(),
            other => panic!("{other}"),
        })
        .collect()
}

/// What the journal says that the agents cost: all of it, and the part that stands for cut calls.
fn spent(ran: &Ran) -> (Usd, Usd) {
    let sum = |field: &str| -> u64 {
        facts(ran)
            .iter()
            .filter_map(|fact| fact.pointer("/event/agent_ended/report/spent"))
            .map(|spent| spent[field].as_u64().unwrap_or(0))
            .sum()
    };
    (Usd::from_micros(sum("usd")), Usd::from_micros(sum("cut")))
}

/// The price of all answers that came whole.
fn price(model: &Model) -> Usd {
    model.spent(|answer| if answer.whole { SONNET.of(answer.usage) } else { Usd::ZERO })
}

/// Processes of the real program that belong to this night.
pub(super) fn left(night_home: &str) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        if environment.contains(night_home) && environment.contains("NIGHTSHIFT_TASK=") {
            found.insert(pid);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_red_gate_goes_back_to_the_same_conversation() {
    let broken =
        Turn::tool("Write", json!({ "file_path": "{cwd}/src/t1.txt", "content": "broken\n" }));
    let model = Model::start(vec![lane(
        "t1",
        vec![broken, Turn::text("Done."), write("t1"), Turn::text("Mended.")],
    )])
    .await;
    let Some(night) = night(&model, "") else { return };
    let ran = run(with_key(night).task("t1", "Add a file")).await.exit(0).landed(["t1"]);
    assert_eq!(ends(&ran, "t1"), ["finished", "finished"]);
    let asked = model.asked();
    let sessions: BTreeSet<&str> = asked.iter().map(|asked| asked.session.as_str()).collect();
    assert_eq!(sessions.len(), 1, "one conversation");
    let second = asked.iter().find(|asked| asked.last().contains("not ok unbroken"));
    let second = second.expect("the gate's words came back");
    assert!(second.text().contains("Done."), "after all that was said before");
    assert_eq!(spent(&ran), (price(&model), Usd::ZERO));
    assert_eq!(model.surprises(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_meets_every_trouble_and_lands_what_can_land() {
    let hang = Turn::fault(Fault::Hang(At::Content), 1);
    let outside = json!({ "file_path": "/var/tmp/nightshift-outside.txt", "content": "x" });
    let refused = Fault::said(401, "invalid bearer token");
    let limit = Limit { window: "five_hour", until: now() + 12, used: 1.0 };
    let model = Model::start(vec![
        lane(
            "Meet a limit",
            vec![write("limited"), Turn::text("Done.").failing(Fault::limit(&limit), 1)],
        ),
        lane(
            "Meet an overload",
            vec![write("overloaded").failing(Fault::status(529), 5), Turn::text("Done.")],
        ),
        // The harness kills the program while it waits for this answer.
        lane(
            "Meet a crash",
            vec![
                write("crashing"),
                Turn::text("Done.").after(Duration::from_secs(4)),
                Turn::text("Done."),
            ],
        ),
        lane("Meet a hang", vec![write("hanging"), hang, Turn::text("Done.")]),
        lane(
            "Meet a wall",
            vec![
                Turn::tool("Write", outside.clone()),
                Turn::text("I could not."),
                Turn::tool("Write", outside),
                Turn::text("I could not."),
            ],
        ),
        lane("Meet an expired", vec![Turn::fault(refused, FOREVER)]),
    ])
    .await;
    let Some(night) = night(&model, "limits: {tasks: 6, silence: 6s, parallel: 1}\n") else {
        return;
    };
    let night = night
        .env("CLAUDE_CODE_OAUTH_TOKEN", TOKEN)
        .task("limited", "Meet a limit")
        .task("overloaded", "Meet an overload")
        .task("crashing", "Meet a crash")
        .task("hanging", "Meet a hang")
        .task("denied", "Meet a wall")
        .task("expired", "Meet an expired sign-in");
    let home = night.path("home").to_str().unwrap().to_owned();
    let killer = {
        let home = home.clone();
        tokio::task::spawn_blocking(move || kill_once(&home, "crashing"))
    };
    let ran = run(night).await;
    assert!(killer.await.unwrap(), "there was a program to kill\n{}", ran.all());
    let ran = ran.landed(["limited", "overloaded", "crashing", "hanging"]);
    assert_eq!(ends(&ran, "limited"), ["limited", "finished"], "{}", ran.all());
    assert_eq!(ends(&ran, "overloaded"), ["overloaded", "finished"], "{}", ran.all());
    assert_eq!(ends(&ran, "crashing"), ["killed", "finished"], "{}", ran.all());
    assert_eq!(ends(&ran, "hanging"), ["stalled", "finished"], "{}", ran.all());
    assert_eq!(ends(&ran, "denied"), ["denied", "denied"], "{}", ran.all());
    assert_eq!(ends(&ran, "expired"), ["not_signed_in"], "{}", ran.all());
    assert!(left(&home).is_empty(), "no process is left");
    assert!(!fs::exists("/var/tmp/nightshift-outside.txt").unwrap());
    let (all, cut) = spent(&ran);
    assert_eq!(all.minus(cut), price(&model), "{:#?}", model.answers());
    assert!(cut > Usd::ZERO, "cut calls are charged at their reservation");
    let ran = ran.says("not signed in");
    model.signed_in_with(&Key::Bearer(TOKEN.to_owned()));
    assert!(!ran.everything_kept().contains(TOKEN), "the token is nowhere on disk");
    assert_eq!(model.surprises(), [""; 0]);
}

/// Kills the program that works on `task` as soon as it waits for its second answer.
fn kill_once(home: &str, task: &str) -> bool {
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
        for pid in left(home) {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let environment = String::from_utf8_lossy(&environment).into_owned();
            let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            let ours = environment.contains(&format!("NIGHTSHIFT_TASK={task}\0"));
            if !ours || !program.to_string_lossy().contains("claude") {
                continue;
            }
            // Its file is there, as its own mounts show it: it waits for the answer after it.
            if fs::exists(format!("/proc/{pid}/cwd/src/{task}.txt")).unwrap_or_default() {
                std::thread::sleep(Duration::from_millis(500));
                let killed = std::process::Command::new("kill")
                    .args(["-9", &pid.to_string()])
                    .status()
                    .unwrap();
                return killed.success();
            }
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_runner_goes_on_in_the_same_conversation_and_files() {
    let model = Model::start(vec![lane(
        "Add a file",
        vec![write("t1"), Turn::text("Done.").after(Duration::from_secs(12))],
    )])
    .await;
    let Some(night) = night(&model, "") else { return };
    let night = with_key(night).task("t1", "Add a file").commit();
    let home = night.path("home").to_str().unwrap().to_owned();
    let mut runner = night.command(&["run"]).spawn().unwrap();
    let work = night.path("home/.cache/nightshift/repos");
    // In a pool, or in the upper directory of layers.
    let written = ["tree/src/t1.txt", "upper/src/t1.txt"];
    let wrote = || {
        let repos = fs::read_dir(&work).into_iter().flatten().flatten();
        repos.into_iter().any(|repo| {
            let mut places = fs::read_dir(repo.path().join("work")).into_iter().flatten().flatten();
            places.any(|place| written.iter().any(|file| place.path().join(file).exists()))
        })
    };
    for _ in 0..600 {
        if wrote() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(wrote(), "the agent came to its first edit");
    tokio::time::sleep(Duration::from_millis(500)).await;
    runner.kill().unwrap();
    runner.wait().unwrap();
    for _ in 0..100 {
        if left(&home).is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(left(&home).is_empty(), "a dead runner leaves no process");
    assert!(wrote(), "the files are still there");
    let ran = tokio::task::spawn_blocking(move || night.call(&["resume"])).await.unwrap();
    let ran = ran.exit(0).landed(["t1"]).holds("src/t1.txt", "t1\n");
    assert_eq!(ends(&ran, "t1"), ["finished"]);
    let asked = model.asked();
    let sessions: BTreeSet<&str> = asked.iter().map(|asked| asked.session.as_str()).collect();
    assert_eq!(sessions.len(), 1, "the conversation was gone on with");
    assert!(asked.last().unwrap().last().contains("You were interrupted"));
    let tools = asked.iter().filter(|asked| asked.last().contains("t1.txt")).count();
    assert!(tools <= 2, "the edit was not repeated");
    assert_eq!(model.surprises(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_medium_decision_needs_a_second_opinion_and_a_high_one_a_person() {
    let block = |json: Value| Turn::text(&format!("Done.\n\n```nightshift\n{json}\n```\n"));
    let decided = |level: &str| json!({ "decisions": [{ "level": level, "what": "a fixed window", "why": "it is short" }] });
    let model = Model::start(vec![
        lane("a fixed window", vec![block(json!({ "agree": true, "why": "it fits" }))]),
        lane("Decide a little", vec![write("t1"), block(decided("medium"))]),
        lane("Decide a lot", vec![write("t2"), block(decided("high"))]),
        lane("Ask something", vec![block(json!({ "questions": ["Which limit?"] }))]),
    ])
    .await;
    let Some(night) = night(&model, "") else { return };
    let ran = run(with_key(night)
        .task("t1", "Decide a little")
        .task("t2", "Decide a lot")
        .task("t3", "Ask something"))
    .await
    .landed(["t1"])
    .says("Which limit?")
    .says("a fixed window");
    let reviewed: Vec<Value> = facts(&ran)
        .iter()
        .filter_map(|fact| fact.pointer("/event/reviewed/review").cloned())
        .collect();
    assert_eq!(reviewed.len(), 1, "{reviewed:?}");
    assert_eq!(reviewed[0]["agree"], true);
    let second = model.asked();
    let second = second.iter().find(|asked| asked.prompt().contains("a fixed window")).unwrap();
    assert!(second.prompt().contains("src/t1.txt"), "it sees the diff");
    assert!(second.body.get("tools").is_none_or(|tools| tools.as_array().unwrap().is_empty()));
    assert_eq!(model.surprises(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_refused_is_put_back_and_the_rest_lands() {
    let stray = json!({ "file_path": "{cwd}/stray.txt", "content": "stray\n" });
    let model = Model::start(vec![lane(
        "Add a file",
        vec![write("t1").and("Write", stray), Turn::text("Done."), Turn::text("It is gone.")],
    )])
    .await;
    let Some(night) = night(&model, "") else { return };
    let ran = run(with_key(night).task("t1", "Add a file")).await.exit(0).landed(["t1"]);
    let ran = ran.holds("src/t1.txt", "t1\n").lacks("stray.txt");
    assert_eq!(ends(&ran, "t1"), ["finished", "finished"]);
    let told = model.asked();
    let told = told.last().unwrap().last();
    assert!(told.contains("stray.txt"), "it is told what was put back: {told}");
    assert!(!ran.everything_kept().contains("\"sessionId\""), "what the program kept is gone");
    assert_eq!(model.surprises(), [""; 0]);
}
