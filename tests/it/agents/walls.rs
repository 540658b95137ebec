//! Commands and a fake `claude` inside walls: what they are given to see, and how those end that use up too
//! much.

use std::{fs, time::Duration};

use nightshift::{
    agent::{Agent, AgentError, CommandAgent, DEMO_AGENT, DEMO_GREETING},
    ids::TaskId,
    outcome::AgentEnd,
    process::{Error, Stop},
    sandbox::{Limits, Network, Tier, Walls},
};

use super::{Scene, supervisor};
use crate::support::kernel::{has_landlock, has_namespaces};

/// A scene inside walls; none where this machine cannot put them up. Not below `/tmp`, which is another
/// directory inside.
fn inside(tier: Tier) -> Option<Scene> {
    let there = if tier == Tier::T2 { has_namespaces() } else { true };
    if !has_landlock() || !there {
        return None;
    }
    let mut scene = Scene::below(env!("CARGO_TARGET_TMPDIR"));
    scene.job.home = scene.path("run");
    let system = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/proc", "/dev"];
    scene.job.walls = Some(Walls {
        tier,
        read: system.map(Into::into).to_vec(),
        write: vec![scene.job.workspace.clone()],
        hidden: Vec::new(),
        overlays: Vec::new(),
        tmp: scene.path("run/t"),
        network: Network::Nobody,
        limits: Limits { disk_reserve: 0, ..Limits::default() },
    });
    Some(scene)
}

fn both() -> impl Iterator<Item = Scene> {
    [Tier::T2, Tier::T1].into_iter().filter_map(inside)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_reads_what_its_line_names_and_writes_its_own_places() {
    for scene in both() {
        for name in ["given/rules", "given2", "other/secret", "opt/bin/part"] {
            let path = scene.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        scene.script(
            "opt/bin/agent",
            "cat \"${0%/*}/part\" \"$1/rules\" \"${2#--file=}\" || exit 1
             cat \"${0%/*}/../../other/secret\" && exit 2
             echo x > \"$1/rules\" && exit 3
             echo x > \"${0%/*}/part\" && exit 4
             # Below /tmp, which is another one inside, this can make a file of that name: the machine's counts.
             echo forged > \"${0%/*}/../../run/transcript.log\"
             echo home > \"$HOME/made\" && echo tmp > \"$TMPDIR/made\" && echo work > made || exit 6
             printf '\\n%s\\n' \"$TMPDIR\"",
        );
        let given = [
            scene.path("given").display().to_string(),
            format!("--file={}", scene.path("given2").display()),
        ];
        let argv = [scene.path("opt/bin/agent").display().to_string()].into_iter().chain(given);
        let agent = CommandAgent::new("mine", argv.collect(), supervisor());
        let report = scene.run(&agent).await;
        assert_eq!(report.ended, AgentEnd::Finished, "{report:?}");
        let transcript = fs::read_to_string(scene.path("run/transcript.log")).unwrap();
        assert!(!transcript.contains("forged"), "{transcript}");
        let tmp = match scene.job.walls.as_ref().unwrap().tier {
            Tier::T2 => "/tmp".to_owned(),
            _ => scene.path("run/t").display().to_string(),
        };
        let said = format!("opt/bin/partgiven/rulesgiven2\n{tmp}");
        assert_eq!(report.last_words, Some(said));
        for (name, text) in
            [("run/home/made", "home\n"), ("run/t/made", "tmp\n"), ("work/made", "work\n")]
        {
            assert_eq!(fs::read_to_string(scene.path(name)).unwrap(), text, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_talks_to_nobody() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo reached");
    let agent = Scene::command(&["bash", "-c", &script]);
    let report = Scene::new().run(&agent).await;
    assert_eq!(report.last_words.as_deref(), Some("reached"), "without walls it works");
    for scene in both() {
        let report = scene.run(&agent).await;
        assert_eq!(report.last_words, None, "{report:?}");
        assert!(matches!(report.ended, AgentEnd::Failed { .. }), "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_agent_works_inside_walls() {
    for mut scene in both() {
        scene.job.attempt.task = TaskId::new("hello-2").unwrap();
        scene.job.prompt = "not ok trim_test".into();
        fs::create_dir_all(scene.path("work/src")).unwrap();
        fs::write(scene.path("work/src/greet.sh"), DEMO_GREETING).unwrap();
        let agent = Scene::command(&[env!("CARGO_BIN_EXE_nightshift"), DEMO_AGENT]);
        assert_eq!(scene.run(&agent).await.ended, AgentEnd::Finished);
        assert!(scene.path("work/tests/trim_test.sh").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_uses_up_too_much_ends_for_that_reason() {
    const MANY: &str = "i=0; while [ $i -lt 100 ]; do sleep 300 & i=$((i+1)); done; wait";
    for mut scene in both() {
        scene.job.walls.as_mut().unwrap().limits.processes = 64;
        let ended = AgentEnd::Breach { what: "more than 64 processes".into() };
        // As a user, the kernel's own limit can come first; as root there is none.
        let agent = Scene::command(&["sh", "-c", MANY]);
        let report = scene.run(&agent).await;
        assert_eq!(report.ended, ended, "{report:?}");
        let report = scene.run(&scene.claude(&format!("init; {MANY}"))).await;
        assert_eq!(report.ended, ended, "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn walls_that_cannot_be_put_up_are_not_the_agents_fault() {
    for mut scene in both() {
        let missing = scene.path("not-there");
        scene.job.walls.as_mut().unwrap().write.push(missing);
        let agent = Scene::command(&["sh", "-c", "echo ran > made"]);
        let error = agent.run(&scene.job, None, &Stop::new()).await.unwrap_err();
        assert!(matches!(error, AgentError::Process(Error::Walls { .. })), "{error:?}");
        let claude = scene.claude("init; echo ran > made");
        let error = claude.run(&scene.job, None, &Stop::new()).await.unwrap_err();
        assert!(matches!(error, AgentError::Process(Error::Walls { .. })), "{error:?}");
        assert!(!scene.path("work/made").exists(), "it was not started");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fake_claude_is_found_with_its_link_and_its_package() {
    for mut scene in both() {
        scene.job.time_limit = Duration::from_secs(20);
        let mut agent = scene.claude(
            "init; real=$(readlink -f \"$0\"); cat \"${real%/*}/../other/part\" > made; result success false completed Done; idle",
        );
        let package = scene.path("lib/node_modules/claude");
        fs::create_dir_all(package.join("bin")).unwrap();
        fs::create_dir_all(package.join("other")).unwrap();
        fs::write(package.join("other/part"), "part").unwrap();
        fs::rename(scene.path("bin/claude"), package.join("bin/claude")).unwrap();
        std::os::unix::fs::symlink(package.join("bin/claude"), scene.path("bin/claude")).unwrap();
        agent.program = "claude".into();
        let report = scene.run(&agent).await;
        assert_eq!(report.ended, AgentEnd::Finished, "{report:?}");
        assert_eq!(fs::read_to_string(scene.path("work/made")).unwrap(), "part");
    }
}
