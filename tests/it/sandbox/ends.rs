//! Nothing behind walls outlives its end, whoever ends what; and what it may use up is held.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nightshift::{
    process::{Breach, Ended, Error, Running},
    sandbox::Tier,
};

use super::{Scene, alive, supervisor, wait_for};

/// Two hundred daemons that ignore polite signals, and one that lives only to fork the next of its kind.
const HORDE: &str = r#"i=0; while [ $i -lt 200 ]; do i=$((i+1));
     setsid sh -c 'trap "" TERM INT HUP; while :; do sleep 1000; done' & done;
     export HOP='sh -c "$HOP" &'; sh -c "$HOP"; echo ready; "#;

impl Scene {
    async fn start(&self, script: &str) -> Running {
        let running = supervisor().start(self.sh(script)).await.unwrap();
        wait_for("ready", || self.out() == "ready\n");
        assert!(!alive(&self.tag).is_empty());
        running
    }

    fn gone_within(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while !alive(&self.tag).is_empty() {
            if Instant::now() > end {
                return false;
            }
            thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for process in alive(&self.tag) {
            kill(process.split(' ').next().unwrap().parse().unwrap());
        }
    }
}

pub(super) fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

fn stat(pid: i32) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat[stat.rfind(')').unwrap() + 2..].split(' ').map(ToOwned::to_owned).collect()
}

pub(super) fn parent(pid: i32) -> i32 {
    stat(pid)[1].parse().unwrap()
}

#[tokio::test]
async fn a_normal_end_leaves_nothing() {
    for scene in Scene::each() {
        let completed = scene.run(&format!("{HORDE} exit 3")).await;
        assert_eq!(alive(&scene.tag), [""; 0]);
        assert_eq!((completed.exit.ended, completed.exit.left), (Ended::Code(3), 0));
        assert!(completed.exit.survivors >= 200, "{:?}", completed.exit);
        assert_eq!(completed.exit.breach, None);
    }
}

#[tokio::test]
async fn when_the_runner_lets_go_nothing_is_left() {
    for scene in Scene::each() {
        let running = scene.start(&format!("{HORDE} wait")).await;
        drop(running);
        assert!(scene.gone_within(Duration::from_secs(5)), "{:?}", alive(&scene.tag));
    }
}

#[test]
fn when_a_supervisor_is_killed_the_runner_notices_and_nothing_is_left() {
    // A process of its own, to which orphans may come: a night.
    let night = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sandbox::ends::helper_night", "--ignored", "--nocapture"])
        .env("HELPER", "night")
        .output()
        .unwrap();
    assert!(night.status.success(), "{}", String::from_utf8_lossy(&night.stderr));
}

/// Not a test: the runner of another test.
#[tokio::test]
#[ignore = "started by another test"]
async fn helper_night() {
    if std::env::var("HELPER").is_err() {
        return;
    }
    nightshift::process::adopt_orphans().unwrap();
    // Of tier T2 the process outside, then the one inside; T1 has only one.
    for (tier, steps) in [(Tier::T2, 2), (Tier::T2, 1), (Tier::T1, 1)] {
        let Some(scene) = Scene::new(tier) else { continue };
        let mut running = scene.start(&format!("{HORDE} wait")).await;
        kill((0..steps).fold(running.pid(), |pid, _| parent(pid)));
        // What is left would be waited for without end.
        let lost = tokio::time::timeout(Duration::from_secs(20), running.wait()).await;
        let Ok(lost) = lost else { panic!("{tier:?} {steps}: its end was not noticed") };
        let error = lost.unwrap_err();
        assert!(matches!(error, Error::SupervisorLost { .. }), "{error}");
        assert_eq!(alive(&scene.tag), [""; 0], "{tier:?} {steps}");
    }
}

#[tokio::test]
async fn a_stop_begins_with_polite_signals() {
    for scene in Scene::each() {
        let script = "trap 'echo int; exit 7' INT; echo ready; while :; do sleep 0.05; done";
        let mut running = scene.start(script).await;
        let exit = running.finish(Duration::from_secs(20)).await.unwrap();
        assert_eq!((exit.ended, exit.survivors), (Ended::Code(7), 0));
        assert_eq!(scene.out(), "ready\nint\n");
    }
}

#[tokio::test]
async fn a_frozen_program_stands_still_alone_and_then_goes_on() {
    for scene in Scene::each() {
        let script = "sleep 301 & setsid sh -c 'while :; do :; done' & echo ready; \
             while read -r line; do echo \"got $line\"; done";
        let mut running = scene.start(script).await;
        let frozen = running.freeze().await.unwrap().unwrap();
        let (before, pid) = (running.cpu_time().unwrap(), running.pid());
        running.send(b"one\n");
        thread::sleep(Duration::from_millis(300));
        assert_eq!(running.cpu_time(), Some(before));
        assert_eq!((frozen.survivors, frozen.left), (2, 0), "{frozen:?}");
        assert_eq!(stat(pid)[0], "T");
        let alive = alive(&scene.tag);
        assert!(alive.len() == 1 && alive[0].starts_with(&format!("{pid} ")), "{alive:?}");
        assert_eq!(scene.out(), "ready\n");
        running.thaw();
        wait_for("answer", || scene.out() == "ready\ngot one\n");
        running.close_stdin();
        assert_eq!(running.wait().await.unwrap().ended, Ended::Code(0));
    }
}

#[tokio::test]
async fn too_many_processes_end_the_program() {
    for mut scene in Scene::each() {
        scene.walls.limits.processes = 300;
        let started = Instant::now();
        let exit = scene
            .run("i=0; while [ $i -lt 3000 ]; do sleep 60 & i=$((i+1)); done; wait")
            .await
            .exit;
        assert_eq!(exit.breach, Some(Breach::Processes(300)), "{exit:?}");
        assert_eq!(exit.left, 0);
        assert_eq!(alive(&scene.tag), [""; 0]);
        let took = started.elapsed();
        assert!(took < Duration::from_secs(10), "{:?} {took:?}", scene.walls.tier);
    }
}

#[tokio::test]
async fn too_much_memory_ends_the_program() {
    for mut scene in Scene::each() {
        scene.walls.limits.memory_bytes = 100 << 20;
        // `tail` keeps a line until its end comes.
        let exit = scene.run("(head -c 200000000 /dev/zero; sleep 60) | tail").await.exit;
        assert_eq!(exit.breach, Some(Breach::Memory(100 << 20)), "{exit:?}");
        // Shared by twenty processes, it is there once.
        scene.walls.limits.memory_bytes = 150 << 20;
        let script = "perl -e '$x = \"x\" x 60000000; for (1..20) { $pid = fork; defined $pid or die; if (!$pid) { sleep 2; exit } } \
             sleep 2; print \"done\\n\"'";
        let exit = scene.run(script).await.exit;
        assert_eq!((&exit.breach, exit.ended), (&None, Ended::Code(0)), "{exit:?}");
    }
}

/// Bytes and files, as the program itself may ask for them.
#[tokio::test]
async fn shared_memory_is_no_more_than_memory_may_be() {
    let Some(mut scene) = Scene::new(Tier::T2) else { return };
    let script = "set -- $(stat -f -c '%b %S %c' /dev/shm); echo $(($1 * $2)) $3; \
        head -c 90000000 /dev/zero 2>/dev/null >/dev/shm/a && echo fits; rm /dev/shm/a; \
        cat /proc/self/mounts | grep -c ' /dev/shm '";
    let files = 64 << 10;
    assert_eq!(scene.said(script).await, format!("{} {files}\nfits\n1\n", 1 << 30));
    scene.walls.limits.memory_bytes = 80 << 20;
    assert_eq!(scene.said(script).await, format!("{} {files}\n1\n", 80 << 20));
}

#[tokio::test]
async fn a_disk_that_fills_ends_the_program() {
    for mut scene in Scene::each() {
        scene.walls.limits.disk_reserve = u64::MAX;
        let exit = scene.run("sleep 60").await.exit;
        let of = scene.walls.tmp.clone();
        assert_eq!(exit.breach, Some(Breach::Disk { reserve: u64::MAX, of }), "{exit:?}");
    }
}
