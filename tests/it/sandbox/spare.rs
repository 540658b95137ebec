//! The supervisor that waits for the next program: it is used once, never missed, and never left over.

use std::{fs, path::PathBuf};

use nightshift::{process::Supervisor, sandbox::Tier};

use super::{Scene, wait_for};

/// A scene, and a supervisor whose processes are known by the place of their binary.
struct Ahead {
    scene: Scene,
    exe: PathBuf,
    supervisor: Supervisor,
}

impl Ahead {
    fn new() -> Option<Ahead> {
        let scene = Scene::new(Tier::T2)?;
        let exe = scene.path("nightshift-ahead");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_nightshift"), &exe).unwrap();
        let supervisor = Supervisor::new(exe.clone()).with_spare();
        Some(Ahead { scene, exe, supervisor })
    }

    /// What a program says, and the supervisor's processes while it runs.
    async fn said(&self) -> (String, Vec<i32>) {
        let script = self.scene.sh("echo hello; id -u; cat");
        let mut running = self.supervisor.start(script).await.unwrap();
        let busy = self.processes();
        running.close_stdin();
        let exit = running.wait().await.unwrap();
        assert_eq!((exit.survivors, exit.left), (0, 0));
        (self.scene.out(), busy)
    }

    /// Every process of this test's binary, by number.
    fn processes(&self) -> Vec<i32> {
        let exe = self.exe.as_os_str().as_encoded_bytes();
        let is_ours = |pid: &i32| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(exe))
        };
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_ours).collect()
    }

    /// The two processes, outside and inside, of the one that waits after the program of `busy`.
    fn waiting(&self, busy: &[i32]) -> Vec<i32> {
        let news = || {
            let all = self.processes();
            (all.len() == 2 && !all.iter().any(|pid| busy.contains(pid))).then_some(all)
        };
        wait_for("one that waits", || news().is_some());
        news().unwrap()
    }
}

#[tokio::test]
async fn the_next_program_takes_the_one_that_waits() {
    let Some(ahead) = Ahead::new() else { return };
    let expected = format!("hello\n{}\n", rustix::process::getuid().as_raw());
    let (said, busy) = ahead.said().await;
    assert_eq!(said, expected);
    let mut waiting = ahead.waiting(&busy);
    // One that waited too long on a busy machine is not taken.
    let mut taken = false;
    for _ in 0..20 {
        let (said, busy) = ahead.said().await;
        assert_eq!(said, expected);
        taken = busy == waiting;
        waiting = ahead.waiting(&busy);
        if taken {
            break;
        }
    }
    assert!(taken);
    ahead.supervisor.retire().await;
    assert_eq!(ahead.processes(), [0; 0], "nothing waits when it is retired");
    assert_eq!(ahead.said().await.0, expected);
    ahead.supervisor.retire().await;
    wait_for("no other comes", || ahead.processes().is_empty());
}

#[tokio::test]
async fn one_that_was_killed_while_it_waited_is_replaced() {
    let Some(ahead) = Ahead::new() else { return };
    let (expected, mut busy) = ahead.said().await;
    for which in 0..2 {
        super::ends::kill(ahead.waiting(&busy)[which]);
        let said;
        (said, busy) = ahead.said().await;
        assert_eq!(said, expected);
    }
    ahead.supervisor.retire().await;
}

#[tokio::test]
async fn one_that_nobody_takes_ends_with_its_runner() {
    let Some(ahead) = Ahead::new() else { return };
    let (_, busy) = ahead.said().await;
    ahead.waiting(&busy);
    let Ahead { scene, exe, supervisor } = ahead;
    drop(supervisor);
    let left = Ahead { scene, exe, supervisor: Supervisor::new("/bin/false".into()) };
    wait_for("its end", || left.processes().is_empty());
}
