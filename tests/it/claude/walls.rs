//! The real program inside walls: it works there as it does outside, and what it starts reaches nothing but
//! its workspace, its own HOME, and our proxy.

use std::{
    fs,
    io::Read as _,
    path::Path,
    process::{Child, Command},
};

use serde_json::json;

use nightshift::{
    agent::{Credential, Purpose, Ran},
    outcome::{AgentEnd, AgentReport},
    redact::Secret,
    sandbox::{Limits, Network, Tier, Walls},
};

use super::{KEY, Scene, TOKEN, write};
use crate::support::{
    kernel::{has_landlock, has_namespaces},
    model::{Key, Lane, Turn, any, lane},
};

/// What every program of the machine needs.
const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc"];

fn walls(tier: Tier, scene: &Scene) -> Walls {
    Walls {
        tier,
        // In T1 programs of the system read what they find in these.
        read: SYSTEM.into_iter().chain(["/proc", "/dev"]).map(Into::into).collect(),
        write: vec![scene.job.workspace.clone()],
        hidden: Vec::new(),
        overlays: Vec::new(),
        tmp: scene.job.home.join("t"),
        network: Network::Nobody,
        limits: Limits { disk_reserve: 0, ..Limits::default() },
    }
}

/// A scene inside walls; none where this machine cannot put them up or the program is not there. Not below
/// `/tmp`, which is another directory inside.
async fn inside(tier: Tier, lanes: Vec<Lane>) -> Option<Scene> {
    let there = if tier == Tier::T2 { has_namespaces() } else { true };
    if !has_landlock() || !there {
        return None;
    }
    let mut scene = Scene::below(env!("CARGO_TARGET_TMPDIR"), lanes).await?;
    scene.job.home = scene.path("home");
    scene.job.walls = Some(walls(tier, &scene));
    Some(scene)
}

fn bash(command: impl Into<String>) -> Turn {
    Turn::tool("Bash", json!({ "command": command.into() }))
}

/// True when a file below the directory holds this text.
fn holds(directory: &Path, text: &str) -> bool {
    fs::read_dir(directory).unwrap().flatten().any(|entry| {
        let path = entry.path();
        let mut bytes = Vec::new();
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => return holds(&path, text),
            Ok(found) if found.is_file() => {
                fs::File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
            }
            _ => return false,
        }
        String::from_utf8_lossy(&bytes).contains(text)
    })
}

/// A script that tries to get out, one line for each try that worked. `$1` is the scene's directory, `$2` the
/// port of the model's server, `$3` that of a server of the machine's.
const ESCAPE: &str = r#"
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "ESCAPED: $name"; fi; }
reach() { timeout 3 bash -c "exec 3<>/dev/tcp/$1/$2"; }
put() { echo planted >> "$1"; }
secrets() { cat /proc/[0-9]*/environ | tr '\0' '\n' | grep -q -- "$1"; }
try 'read the transcript' cat "$1/run/transcript.jsonl"
try 'write the transcript' put "$1/run/transcript.jsonl"
try 'read the stream' cat "$1/home/stream-1.jsonl"
try 'write the stream' put "$1/home/stream-1.jsonl"
try 'plant a file beside it' put "$1/home/planted"
try 'change its own settings' put "$1/home/settings.json"
try 'plant a file in the machine' put "$1/planted"
try 'read a secret' cat "$1/secret"
try 'ask the model around the proxy' reach 127.0.0.1 "$2"
try 'reach a server of the machine' reach 127.0.0.1 "$3"
try 'find the key with other programs' secrets a-key-of-the-tests
try 'find the key of its own' sh -c 'env | grep a-key-of-the-tests'
try 'reach the internet' reach 1.1.1.1 443
try 'reach a metadata service' reach 169.254.169.254 80
"#;
/// Tries that may fail without walls too: there is not always an internet.
const NOT_EVERYWHERE: usize = 2;

/// Every try works without walls, or that it fails inside would say nothing.
fn control(scene: &Scene, arguments: &[&str]) {
    let place = scene.path("control");
    for directory in ["run", "home"] {
        fs::create_dir_all(place.join(directory)).unwrap();
    }
    for file in ["run/transcript.jsonl", "home/stream-1.jsonl", "home/settings.json", "secret"] {
        fs::write(place.join(file), "text").unwrap();
    }
    let mut script = Command::new("sh");
    script.args(["-c", ESCAPE, "sh"]).arg(place).args(arguments).env("KEY", KEY);
    let said = script.output().unwrap().stdout;
    let escaped = String::from_utf8_lossy(&said).lines().count();
    let tries = ESCAPE.lines().filter(|line| line.starts_with("try '")).count();
    let all = tries - NOT_EVERYWHERE..=tries;
    assert!(all.contains(&escaped), "{}", String::from_utf8_lossy(&said));
}

/// Another program of the machine's, with the key in its environment.
struct Neighbour(Child);

impl Neighbour {
    fn start() -> Neighbour {
        Neighbour(Command::new("sleep").arg("300").env("KEY", KEY).spawn().unwrap())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a program inside must be able to do; one line for each try that failed.
const WORK: &str = r#"
must() { name=$1; shift; if ! "$@" >/dev/null 2>&1; then echo "CANNOT: $name"; fi; }
put() { echo text > "$1"; }
must 'read the workspace' grep -q hello README.md
must 'write in the workspace' put made.txt
must 'write in HOME' put "$HOME/made"
must 'write in TMPDIR' put "$TMPDIR/made"
must 'run a program' git --version
must 'use a pipe of its own' sh -c 'echo a | grep -q a'
must 'reach its own server' python3 -c '
import socket
a = socket.socket(); a.bind(("127.0.0.1", 0)); a.listen()'
must 'ask our proxy' sh -c 'bash -c "exec 3<>/dev/tcp/127.0.0.1/${ANTHROPIC_BASE_URL##*:}"'
echo "at $ANTHROPIC_BASE_URL, TMPDIR $TMPDIR"
"#;

async fn a_turn(tier: Tier) -> Option<(Scene, AgentReport, String)> {
    let (escape, work) = ("sh ./escape.sh \"$@\"", "sh ./work.sh");
    let read = Turn::tool("Grep", json!({ "pattern": "hel+o", "output_mode": "content" }));
    let mut turns = vec![write("answer.txt", "42\n"), read, bash(work)];
    // The arguments are known when the scene is there: they lie in a file.
    turns.push(bash(format!("set -- $(cat arguments); {escape}; echo it is over")));
    turns.push(Turn::text("Done."));
    let scene = inside(tier, vec![any(turns)]).await?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let model = scene.model.url.rsplit_once(':').unwrap().1.to_owned();
    let dir = scene.dir.path().display();
    fs::write(scene.path("work/arguments"), format!("{dir} {model} {port}")).unwrap();
    fs::write(scene.path("work/escape.sh"), ESCAPE).unwrap();
    fs::write(scene.path("work/work.sh"), WORK).unwrap();
    fs::write(scene.path("secret"), "secret").unwrap();
    let _neighbour = Neighbour::start();
    control(&scene, &[&model, &port.to_string()]);
    let report = scene.run().await;
    let asked = scene.model.asked();
    assert_eq!((&report.ended, asked.len()), (&AgentEnd::Finished, 5), "{report:?}");
    assert_eq!(fs::read_to_string(scene.path("work/answer.txt")).unwrap(), "42\n");
    let found = asked[2].last();
    assert!(found.contains("README.md:1:hello"), "its own search: {found}");
    let said = asked[3].last();
    assert!(!said.contains("CANNOT"), "{said}");
    let escapes = asked[4].last();
    // Where the scene lies below /tmp, which is another one inside, files of these names can be made there.
    let elsewhere = tier == Tier::T2 && scene.dir.path().starts_with("/tmp");
    let made = ["write the stream", "plant a file beside it", "plant a file in the machine"];
    let real = |line: &&str| {
        line.contains("ESCAPED") && !(elsewhere && made.iter().any(|name| line.contains(name)))
    };
    assert_eq!(escapes.lines().find(real), None, "{escapes}");
    assert!(!scene.path("planted").exists() && !scene.path("home/planted").exists());
    for kept in ["home/stream-1.jsonl", "run/transcript.jsonl"] {
        let text = fs::read_to_string(scene.path(kept)).unwrap_or_default();
        assert!(!text.lines().any(|line| line == "planted"), "{kept}: {text}");
    }
    assert!(escapes.contains("it is over"), "{escapes}");
    assert_eq!(fs::read_to_string(scene.path("work/made.txt")).unwrap(), "text\n");
    assert_eq!(fs::read_to_string(scene.path("home/home/made")).unwrap(), "text\n");
    // The program had a word that is worth nothing, and the proxy put the key in its place.
    scene.model.signed_in_with(&Key::Api(KEY.to_owned()));
    assert!(!holds(&scene.path("home"), KEY) && !holds(&scene.path("run"), KEY));
    assert!(!holds(&scene.path("run"), "planted"));
    assert_eq!(report.spent.usd, scene.price());
    Some((scene, report, said))
}

#[tokio::test(flavor = "multi_thread")]
async fn in_t2_a_turn_is_made_and_nothing_else_is_reached() {
    let Some((scene, report, said)) = a_turn(Tier::T2).await else { return };
    assert!(said.contains("at http://127.0.0.1:3128, TMPDIR /tmp"), "{said}");
    assert_eq!(fs::read_to_string(scene.path("home/t/made")).unwrap(), "text\n");
    assert_eq!(report.survivors, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_t1_a_turn_is_made_and_nothing_else_is_reached() {
    let Some((scene, _, said)) = a_turn(Tier::T1).await else { return };
    let tmp = scene.path("home/t");
    assert!(said.contains(&format!("TMPDIR {}", tmp.display())), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_opinion_is_given_inside_walls_and_sees_no_workspace() {
    for tier in [Tier::T2, Tier::T1] {
        let lane = lane("An opinion", vec![Turn::text("It fits.")]);
        let Some(mut scene) = inside(tier, vec![lane]).await else { return };
        scene.job.purpose = Purpose::Review;
        scene.job.prompt = "An opinion, please.".into();
        // A subscription's token stays outside as a key does.
        scene.agent.credential = Some(Credential::OAuthToken(Secret::new(TOKEN)));
        let report = scene.run().await;
        assert_eq!(report.ended, AgentEnd::Finished, "{report:?}");
        scene.model.signed_in_with(&Key::Bearer(TOKEN.to_owned()));
        assert!(!holds(&scene.path("home"), TOKEN));
        assert_eq!(report.last_words.as_deref(), Some("It fits."));
        assert!(!scene.model.asked()[0].text().contains(&*scene.path("work").to_string_lossy()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_attempt_goes_on_in_the_same_frozen_program_and_its_entrance_lasts() {
    for tier in [Tier::T2, Tier::T1] {
        let daemon = bash("setsid sleep 300 >/dev/null 2>&1 & echo started");
        let turns = vec![daemon, Turn::text("One."), write("b.txt", "b\n"), Turn::text("Two.")];
        let Some(mut scene) = inside(tier, vec![any(turns)]).await else { return };
        scene.job.home = scene.path("talk");
        scene.job.walls = Some(walls(tier, &scene));
        let Ran { report, session } = scene.go_on(None, "Do the task.").await;
        assert_eq!((&report.ended, report.survivors), (&AgentEnd::Finished, 1), "{report:?}");
        assert!(session.is_some(), "it waits, frozen");
        let streams = || fs::read_dir(scene.path("talk")).unwrap().flatten().count();
        let files = streams();
        let Ran { report, session } = scene.go_on(session, "Go on.").await;
        assert_eq!(report.last_words.as_deref(), Some("Two."), "{report:?}");
        assert_eq!(fs::read_to_string(scene.path("work/b.txt")).unwrap(), "b\n");
        assert_eq!(scene.model.asked().len(), 4);
        assert_eq!(fs::read_dir(scene.path("talk")).unwrap().flatten().count(), files);
        session.expect("it waits again").close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_walls_need_another_program() {
    let turns = vec![Turn::text("One."), bash("cat $(cat arguments)"), Turn::text("Two.")];
    let Some(mut scene) = inside(Tier::T2, vec![any(turns)]).await else { return };
    fs::write(scene.path("work/arguments"), scene.path("given").display().to_string()).unwrap();
    fs::write(scene.path("given"), "a given text").unwrap();
    scene.job.home = scene.path("talk");
    scene.job.walls = Some(walls(Tier::T2, &scene));
    let Ran { session, .. } = scene.go_on(None, "Do the task.").await;
    let given = scene.path("given");
    scene.job.walls.as_mut().unwrap().read.push(given);
    let Ran { report, session } = scene.go_on(session, "Go on.").await;
    assert_eq!(report.ended, AgentEnd::Finished, "{report:?}");
    assert!(scene.model.asked()[2].last().contains("a given text"));
    session.expect("it waits").close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_with_a_long_name_has_short_temporary_files_in_t1_too() {
    let made = bash("echo text > \"$CLAUDE_CODE_TMPDIR/made\" && echo \"in $CLAUDE_CODE_TMPDIR\"");
    let Some(mut scene) = inside(Tier::T1, vec![any(vec![made, Turn::text("Done.")])]).await else {
        return;
    };
    scene.job.home = scene.path(&"long".repeat(20));
    scene.job.walls = Some(walls(Tier::T1, &scene));
    let report = scene.run().await;
    assert_eq!(report.ended, AgentEnd::Finished, "{report:?}");
    let said = scene.model.asked()[1].last();
    assert!(said.contains("in /tmp/ns"), "{said}");
}
