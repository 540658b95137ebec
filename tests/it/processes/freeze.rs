//! A frozen program stands still, alone, and goes on as if nothing had been.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nightshift::process::{Ended, Error, Frozen, Running};

use super::{Scene, TREE, start_helper, supervisor, wait_for};

/// Answers each line. After `write` a daemon of its appends to a file without end.
const READER: &str = "while read -r line; do \
     if [ \"$line\" = write ]; then \
         setsid sh -c 'while :; do echo more >>file; sleep 0.01; done' & fi; \
     echo \"got $line\"; done; echo end";

/// Long enough for what runs to show it.
const WHILE: Duration = Duration::from_millis(300);

/// Freezes, and makes sure that of the tree only the program itself is there, and is stopped.
async fn freeze(scene: &Scene, running: &mut Running) -> Frozen {
    let frozen = running.freeze().await.unwrap().unwrap();
    let end = Instant::now() + WHILE;
    while Instant::now() < end {
        let alive = scene.alive();
        assert!(alive.iter().all(|process| is(process, running)), "{alive:?}");
        assert_eq!(states(running.pid()), ['T']);
        thread::sleep(Duration::from_millis(3));
    }
    assert_eq!(frozen.left, 0);
    frozen
}

/// Asks for a freeze and does not wait for it. On a busy machine the answer can be there before we look once.
async fn ask(running: &mut Running) {
    tokio::select! {
        biased;
        frozen = running.freeze() => { frozen.unwrap(); }
        () = std::future::ready(()) => {}
    }
}

fn is(process: &str, running: &Running) -> bool {
    process.starts_with(&format!("{} ", running.pid()))
}

/// The states that the threads of a process are in, each once.
fn states(pid: i32) -> Vec<char> {
    let mut states: Vec<char> = fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok())
        .filter_map(|stat| stat[stat.rfind(')')? + 2..].chars().next())
        .collect();
    states.sort_unstable();
    states.dedup();
    states
}

fn parent(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat[stat.rfind(')').unwrap() + 2..].split(' ').nth(1).unwrap().parse().unwrap()
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_frozen_program_stands_still_alone_and_then_goes_on() {
    let scene = Scene::new();
    let mut running = supervisor().start(scene.sh(&format!("{TREE} {READER}"))).await.unwrap();
    running.send(b"write\n");
    wait_for("answer", || scene.out() == "ready\ngot write\n");
    let length = || fs::metadata(scene.path("file")).map_or(0, |file| file.len());
    wait_for("writer", || length() > 0);

    let frozen = running.freeze().await.unwrap().unwrap();
    let before = length();
    running.send(b"two\n");
    thread::sleep(WHILE);
    assert_eq!(length(), before);
    assert_eq!(scene.out(), "ready\ngot write\n");
    let alive = scene.alive();
    assert!(alive.len() == 1 && is(&alive[0], &running), "{alive:?}");
    // The tree's six, and the writer with or without its sleep.
    assert!((7..=8).contains(&frozen.survivors), "{frozen:?}");
    assert_eq!((frozen.survivor_names, frozen.left), (vec!["sh".into(), "sleep".into()], 0));

    running.thaw();
    wait_for("answer", || scene.out() == "ready\ngot write\ngot two\n");
    running.close_stdin();
    let exit = running.wait().await.unwrap();
    // What a freeze told of is not told again.
    assert_eq!((exit.ended, exit.survivors, exit.left), (Ended::Code(0), 0, 0));
    assert_eq!(scene.out(), "ready\ngot write\ngot two\nend\n");
}

#[tokio::test]
async fn what_runs_beside_a_thawed_program_is_reported_by_whoever_ends_it() {
    let scene = Scene::new();
    let script = "while read -r line; do setsid sleep 60 & echo $line; done";
    let mut running = supervisor().start(scene.sh(script)).await.unwrap();
    for turn in ["one", "two"] {
        running.send(format!("{turn}\n").as_bytes());
        wait_for(turn, || scene.out().ends_with(&format!("{turn}\n")));
        assert_eq!(freeze(&scene, &mut running).await.survivors, 1);
        assert_eq!(freeze(&scene, &mut running).await.survivors, 0);
        running.thaw();
    }
    running.send(b"three\n");
    running.close_stdin();
    assert_eq!(running.wait().await.unwrap().survivors, 1);
}

/// Not a test: threads that compute, and threads that come and go.
#[test]
#[ignore = "started by another test"]
fn helper_spinner() {
    if std::env::var("TEST_TAG").is_err() {
        return;
    }
    for _ in 0..20 {
        thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    io::stdout().write_all(b"ready\n").unwrap();
    loop {
        let threads: Vec<_> = (0..10).map(|_| thread::spawn(thread::yield_now)).collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

#[tokio::test]
async fn all_threads_of_a_frozen_program_stand_still() {
    let scene = Scene::new();
    let exe = std::env::current_exe().unwrap();
    let name = "processes::freeze::helper_spinner";
    let program =
        scene.program(&[exe.to_str().unwrap(), "--exact", name, "--ignored", "--nocapture"]);
    let mut running = supervisor().start(program).await.unwrap();
    wait_for("ready", || scene.out().contains("ready"));
    for _ in 0..3 {
        freeze(&scene, &mut running).await;
        let before = running.cpu_time().unwrap();
        thread::sleep(WHILE);
        assert_eq!(running.cpu_time(), Some(before));
        running.thaw();
        wait_for("work", || running.cpu_time() > Some(before + Duration::from_millis(50)));
    }
    assert_eq!(running.finish(Duration::ZERO).await.unwrap().survivors, 0);
}

#[tokio::test]
async fn a_program_that_forks_without_end_is_frozen_all_the_same() {
    // Daemons without end; processes that live only to fork the next of their kind, in the program's group
    // and outside of it; and the program itself forks, too.
    let script = "spawn() { while :; do setsid -f sleep 60; sleep 0.005; done; }; spawn & \
         hop() { hop & }; hop; setsid sh -c 'hop() { hop & }; hop' & \
         while :; do $(:); sleep 60 & sleep 0.005; done";
    for _ in 0..3 {
        let scene = Scene::new();
        let mut running = supervisor().start(scene.sh(script)).await.unwrap();
        for _ in 0..2 {
            wait_for("more", || scene.alive().len() > 30);
            let frozen = freeze(&scene, &mut running).await;
            assert!(frozen.survivors > 20, "{frozen:?}");
            running.thaw();
        }
        assert_eq!(running.finish(Duration::ZERO).await.unwrap().left, 0);
        assert_eq!(scene.alive(), [""; 0]);
    }
}

#[tokio::test]
async fn nobody_of_the_tree_can_let_a_frozen_program_go_on() {
    let scene = Scene::new();
    let script =
        "setsid sh -c \"while :; do kill -CONT $$; done\" & echo ready; while :; do :; done";
    let mut running = supervisor().start(scene.sh(script)).await.unwrap();
    wait_for("ready", || scene.out() == "ready\n");
    assert_eq!(freeze(&scene, &mut running).await.survivors, 1);
}

#[tokio::test]
async fn a_frozen_program_that_is_stopped_hears_it() {
    let scene = Scene::new();
    let script = "trap 'echo interrupted; exit 7' INT; echo ready; while :; do sleep 0.05; done";
    let mut running = supervisor().start(scene.sh(script)).await.unwrap();
    wait_for("ready", || scene.out() == "ready\n");
    freeze(&scene, &mut running).await;
    let started = Instant::now();
    let exit = running.finish(Duration::from_secs(20)).await.unwrap();
    assert_eq!((exit.ended, exit.survivors), (Ended::Code(7), 0));
    assert_eq!(scene.out(), "ready\ninterrupted\n");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_program_that_is_frozen_while_it_is_stopped_hears_the_second_signal() {
    let scene = Scene::new();
    let script = "trap 'echo no' INT; trap 'echo yes; exit 8' TERM; echo ready; \
         while :; do sleep 0.05; done";
    let mut running = supervisor().start(scene.sh(script)).await.unwrap();
    wait_for("ready", || scene.out() == "ready\n");
    running.stop(Duration::from_secs(2));
    wait_for("no", || scene.out() == "ready\nno\n");
    freeze(&scene, &mut running).await;
    assert_eq!(running.wait().await.unwrap().ended, Ended::Code(8));
    assert_eq!(scene.out(), "ready\nno\nyes\n");
}

#[tokio::test]
async fn a_frozen_program_can_be_killed_at_once() {
    let scene = Scene::new();
    let mut running = supervisor().start(scene.sh(&format!("{TREE} {READER}"))).await.unwrap();
    wait_for("ready", || scene.out() == "ready\n");
    freeze(&scene, &mut running).await;
    let started = Instant::now();
    let exit = running.finish(Duration::ZERO).await.unwrap();
    assert_eq!((exit.ended, exit.survivors, exit.left), (Ended::Signal(9), 0, 0));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_freeze_after_the_end_says_so_and_the_rest_is_not_lost() {
    let scene = Scene::new();
    let mut running = supervisor().start(scene.sh(&format!("{TREE} exit 3"))).await.unwrap();
    wait_for("ready", || scene.out() == "ready\n");
    wait_for("end", || !Path::new(&format!("/proc/{}", running.pid())).exists());
    assert_eq!(running.freeze().await, Ok(None));
    thread::sleep(WHILE);
    assert_eq!(running.freeze().await, Ok(None));
    running.thaw();
    let exit = running.wait().await.unwrap();
    assert_eq!((exit.ended, exit.survivors, exit.left), (Ended::Code(3), 6, 0));
    assert_eq!(running.freeze().await, Ok(None));
}

#[tokio::test]
async fn a_freeze_after_the_end_takes_no_time_from_the_last_lines() {
    let scene = Scene::new();
    let script = "( sleep 0.05; echo late ) & echo early";
    let mut running = supervisor().start(scene.sh(script)).await.unwrap();
    wait_for("end", || !Path::new(&format!("/proc/{}", running.pid())).exists());
    assert_eq!(running.freeze().await, Ok(None));
    assert_eq!(running.wait().await.unwrap().survivors, 0);
    assert_eq!(scene.out(), "early\nlate\n");
}

#[tokio::test]
async fn a_program_that_ends_while_it_is_frozen_is_either_frozen_or_ended() {
    for millis in 0..20 {
        let scene = Scene::new();
        let mut running = supervisor().start(scene.sh("sleep 0.01; exit 5")).await.unwrap();
        thread::sleep(Duration::from_millis(millis));
        if running.freeze().await.unwrap().is_some() {
            assert_eq!(states(running.pid()), ['T']);
            running.thaw();
        }
        assert_eq!(running.wait().await.unwrap().ended, Ended::Code(5));
    }
}

#[tokio::test]
async fn a_program_that_is_killed_while_it_freezes_has_ended() {
    let scene = Scene::new();
    let mut running = supervisor().start(scene.sh("sleep 61 & sleep 62")).await.unwrap();
    let started = Instant::now();
    ask(&mut running).await;
    kill(running.pid());
    assert_eq!(running.freeze().await, Ok(None));
    let exit = running.wait().await.unwrap();
    assert_eq!((exit.ended, exit.left), (Ended::Signal(9), 0));
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert_eq!(scene.alive(), [""; 0]);
}

#[tokio::test]
async fn a_freeze_that_nobody_waits_for_harms_no_later_one() {
    let scene = Scene::new();
    let script = format!("sleep 61 & setsid sleep 62 & {READER}");
    let mut running = supervisor().start(scene.sh(&script)).await.unwrap();
    running.send(b"one\n");
    wait_for("answer", || scene.out() == "got one\n");
    for pause in 0..10 {
        ask(&mut running).await;
        thread::sleep(Duration::from_millis(pause));
        running.thaw();
        ask(&mut running).await;
        running.thaw();
    }
    running.send(b"two\n");
    wait_for("answer", || scene.out() == "got one\ngot two\n");
    let frozen = freeze(&scene, &mut running).await;
    assert!(frozen.survivors <= 2, "{frozen:?}");
    running.close_stdin();
    running.thaw();
    assert_eq!(running.wait().await.unwrap().ended, Ended::Code(0));
}

#[tokio::test]
async fn input_for_a_frozen_program_keeps_its_order_and_holds_nothing_up() {
    let scene = Scene::new();
    let mut running = supervisor().start(scene.program(&["cat"])).await.unwrap();
    running.send(b"first\n");
    wait_for("echo", || scene.out() == "first\n");
    freeze(&scene, &mut running).await;
    let lines = (0..400_000).fold(String::new(), |lines, number| lines + &format!("{number}\n"));
    running.send(lines.as_bytes());
    // Behind all of it in the channel.
    freeze(&scene, &mut running).await;
    assert_eq!(scene.out(), "first\n");
    running.thaw();
    running.send(b"last\n");
    running.close_stdin();
    assert_eq!(running.wait().await.unwrap().ended, Ended::Code(0));
    assert!(scene.out() == format!("first\n{lines}last\n"));

    let mut running = supervisor().start(scene.program(&["cat"])).await.unwrap();
    freeze(&scene, &mut running).await;
    running.send(lines.as_bytes());
    let started = Instant::now();
    assert_eq!(running.finish(Duration::from_secs(20)).await.unwrap().ended, Ended::Signal(2));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_dropped_handle_of_a_frozen_program_leaves_nothing() {
    let scene = Scene::new();
    let mut running = supervisor().start(scene.sh(&format!("{TREE} {READER}"))).await.unwrap();
    wait_for("ready", || scene.out() == "ready\n");
    freeze(&scene, &mut running).await;
    drop(running);
    assert_eq!(scene.alive_within(Duration::from_secs(5)), [""; 0]);
}

/// Not a test: the runner that another test kills.
#[tokio::test]
#[ignore = "started by another test"]
async fn helper_freezer() {
    let Ok(dir) = std::env::var("HELPER_DIR") else { return };
    let scene =
        Scene { dir: tempfile::tempdir().unwrap(), tag: std::env::var("HELPER_TAG").unwrap() };
    let program = scene.sh(&std::env::var("HELPER_SCRIPT").unwrap());
    let mut running = supervisor().start(program).await.unwrap();
    wait_for("ready", || scene.out() == "ready\n");
    freeze(&scene, &mut running).await;
    fs::write(Path::new(&dir).join("frozen"), "").unwrap();
    running.wait().await.unwrap();
}

#[test]
fn when_the_runner_is_killed_nothing_is_left_of_a_frozen_program() {
    let scene = Scene::new();
    let script = format!("{TREE} {READER}");
    let mut runner = start_helper(&scene, "processes::freeze::helper_freezer", &script);
    wait_for("freeze", || scene.path("frozen").exists());
    assert_eq!(scene.alive().len(), 1);
    runner.kill().unwrap();
    runner.wait().unwrap();
    assert_eq!(scene.alive_within(Duration::from_secs(5)), [""; 0]);
}

#[tokio::test]
async fn when_the_supervisor_is_killed_a_freeze_says_so_and_nothing_is_left() {
    for frozen in [false, true] {
        let scene = Scene::new();
        let mut running = supervisor().start(scene.sh(&format!("{TREE} {READER}"))).await.unwrap();
        wait_for("ready", || scene.out() == "ready\n");
        if frozen {
            freeze(&scene, &mut running).await;
        }
        kill(parent(running.pid()));
        let error = running.freeze().await.unwrap_err();
        assert!(matches!(&error, Error::SupervisorLost { label, .. } if label == "sh"), "{error}");
        assert_eq!(scene.alive(), [""; 0]);
        assert!(running.wait().await.is_err());
    }
}
