//! Nothing keeps running after its task: the door to other programs, tried with the real binary.
#![expect(clippy::disallowed_methods, reason = "the tests look at processes from outside the door")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail like the test")]

mod freeze;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use nightshift::process::{
    Completed, Ended, Environment, Error, Program, Stop, Supervisor, Urgency, Why,
};

const LONG: Duration = Duration::from_secs(60);
/// One plain background process, one in its own session, one daemon that was forked twice, one that
/// ignores polite signals. Then a line, so that the test knows that all are there.
const TREE: &str = "sleep 301 & nohup sleep 302 >/dev/null 2>&1 & setsid sleep 303 & \
     (setsid sh -c 'setsid sleep 304 & ' &) ; \
     sh -c 'trap \"\" INT TERM HUP; while :; do sleep 305; done' & \
     sleep 0.3; echo ready;";

/// A scratch directory and a tag in the environment of everything that a test starts.
struct Scene {
    dir: tempfile::TempDir,
    tag: String,
}

impl Scene {
    fn new() -> Scene {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        Scene {
            dir: tempfile::tempdir().unwrap(),
            tag: format!("TEST_TAG={}-{number}", std::process::id()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn out(&self) -> String {
        fs::read_to_string(self.path("out")).unwrap_or_default()
    }

    fn program(&self, argv: &[&str]) -> Program {
        let mut environment = Environment::empty();
        environment.set("PATH", std::env::var("PATH").unwrap());
        let (name, value) = self.tag.split_once('=').unwrap();
        environment.set(name, value);
        let argv = argv.iter().map(ToString::to_string).collect();
        Program::new(argv, self.dir.path(), environment, &self.path("out"), &self.path("err"))
    }

    fn sh(&self, script: &str) -> Program {
        self.program(&["sh", "-c", script])
    }

    async fn run(&self, script: &str) -> Completed {
        supervisor().run(self.sh(script), b"", LONG, &Stop::new()).await.unwrap()
    }

    fn alive(&self) -> Vec<String> {
        alive(&self.tag)
    }

    fn alive_within(&self, limit: Duration) -> Vec<String> {
        let end = Instant::now() + limit;
        loop {
            let alive = self.alive();
            if alive.is_empty() || Instant::now() > end {
                return alive;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for process in self.alive() {
            let pid = process.split(' ').next().unwrap().parse().unwrap();
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Every living process that carries the tag (`NAME=value`) in its environment, wherever it hides.
pub(crate) fn alive(tag: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|pair| pair == tag.as_bytes()) {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            found.push(format!("{} {command}", entry.file_name().display()));
        }
    }
    found
}

fn supervisor() -> Supervisor {
    Supervisor::new(env!("CARGO_BIN_EXE_nightshift").into())
}

#[test]
fn without_a_supervisor_the_daemons_do_survive() {
    // The control: what the other tests find dead would be alive.
    let scene = Scene::new();
    let (name, value) = scene.tag.split_once('=').unwrap();
    let script = format!("{TREE} exit 3");
    let status = Command::new("sh")
        .args(["-c", &script])
        .env(name, value)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert_eq!(status.unwrap().code(), Some(3));
    assert!(scene.alive().len() >= 5, "{:?}", scene.alive());
}

#[tokio::test]
async fn a_normal_exit_leaves_nothing_although_daemons_were_started() {
    let scene = Scene::new();
    let completed = scene.run(&format!("{TREE} exit 3")).await;
    assert_eq!(scene.alive(), [""; 0]);
    let exit = completed.exit;
    assert_eq!((completed.why, exit.ended, exit.left), (Why::Ended, Ended::Code(3), 0));
    // The loop that ignores signals is two processes: the shell and its sleep.
    assert_eq!(exit.survivors, 6);
    assert_eq!(exit.survivor_names, ["sh", "sleep"]);
    assert_eq!(scene.out(), "ready\n");
}

#[tokio::test]
async fn a_tidy_program_has_no_survivors_and_its_last_lines_arrive() {
    let scene = Scene::new();
    // As `tee` does, it still writes for a moment after the shell has ended.
    let completed = scene.run("( sleep 0.03; echo late ) & echo early; echo no >&2").await;
    assert_eq!(completed.exit.survivors, 0);
    assert_eq!(scene.out(), "early\nlate\n");
    assert_eq!(fs::read_to_string(scene.path("err")).unwrap(), "no\n");
    assert!(!completed.exit.output_cut);
}

#[tokio::test]
async fn a_program_over_its_time_is_stopped_with_its_whole_tree() {
    let scene = Scene::new();
    let started = Instant::now();
    let limit = Duration::from_millis(800);
    let program = scene.sh(&format!("{TREE} wait"));
    let completed = supervisor().run(program, b"", limit, &Stop::new()).await.unwrap();
    assert_eq!(scene.alive(), [""; 0]);
    assert_eq!(completed.why, Why::TimedOut);
    assert_eq!(completed.exit.ended, Ended::Signal(2));
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[tokio::test]
async fn asking_to_stop_now_interrupts_and_asking_to_stop_soon_does_not() {
    let scene = Scene::new();
    let stop = Stop::new();
    stop.ask(Urgency::Soon);
    let program = scene.sh("trap 'echo interrupted; exit 7' INT; echo ready; sleep 30 & wait");
    let door = supervisor();
    let asking = async {
        while scene.out() != "ready\n" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(scene.out(), "ready\n");
        stop.ask(Urgency::Now);
    };
    let (completed, ()) = tokio::join!(door.run(program, b"", LONG, &stop), asking);
    let completed = completed.unwrap();
    assert_eq!((completed.why, completed.exit.ended), (Why::Interrupted, Ended::Code(7)));
    assert_eq!(scene.out(), "ready\ninterrupted\n");
}

#[tokio::test]
async fn a_program_that_ignores_polite_signals_is_killed_after_them() {
    let scene = Scene::new();
    let script = "trap 'echo int' INT; trap 'echo term' TERM; echo ready; \
                  while :; do sleep 0.05; done";
    let mut running = supervisor().start(scene.sh(script)).await.unwrap();
    wait_for("ready", || scene.out() == "ready\n");
    let started = Instant::now();
    let exit = running.finish(Duration::from_millis(300)).await.unwrap();
    assert_eq!(exit.ended, Ended::Signal(9));
    assert_eq!(scene.out(), "ready\nint\nterm\n");
    let took = started.elapsed();
    assert!(took > Duration::from_secs(5) && took < Duration::from_secs(9), "{took:?}");
    assert_eq!(scene.alive(), [""; 0]);
}

#[tokio::test]
async fn no_grace_kills_at_once() {
    let scene = Scene::new();
    let mut running =
        supervisor().start(scene.sh("trap '' INT TERM; echo ready; sleep 30")).await.unwrap();
    wait_for("ready", || scene.out() == "ready\n");
    let started = Instant::now();
    let exit = running.finish(Duration::ZERO).await.unwrap();
    assert_eq!(exit.ended, Ended::Signal(9));
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(scene.alive(), [""; 0]);
}

#[tokio::test]
async fn processes_that_fork_faster_than_one_looks_are_ended_too() {
    let scene = Scene::new();
    // Two that start daemons without end, and one that lives only to fork the next of its kind.
    let script = "spawn() { while :; do setsid -f sleep 60; sleep 0.005; done; }; spawn & spawn & \
                  hop() { hop & }; hop; sleep 0.5; exit 0";
    let completed = scene.run(script).await;
    assert_eq!(scene.alive_within(Duration::ZERO), [""; 0]);
    assert!(completed.exit.survivors > 10, "{}", completed.exit.survivors);
    assert_eq!(completed.exit.left, 0);
}

#[tokio::test]
async fn a_process_whose_first_thread_has_ended_is_ended_too() {
    // Such a process looks dead, and its environment cannot be read any more.
    let exit = match std::env::consts::ARCH {
        "x86_64" => 60,
        _ => 93,
    };
    let threads =
        Command::new("perl").args(["-Mthreads", "-e", "1"]).stderr(Stdio::null()).status();
    if !threads.is_ok_and(|status| status.success()) {
        return;
    }
    let scene = Scene::new();
    let script = format!(
        "setsid perl -Mthreads -e 'threads->create(sub {{ sleep 1 while 1 }})->detach; \
         syscall({exit}, 0)' & echo $!; sleep 0.5; grep State /proc/$!/status >&2"
    );
    let completed = scene.run(&script).await;
    let state = fs::read_to_string(scene.path("err")).unwrap();
    assert!(state.contains("Z (zombie)"), "{state}");
    assert_eq!((completed.exit.survivors, completed.exit.left), (1, 0));
    assert!(!Path::new("/proc").join(scene.out().trim()).exists());
}

#[tokio::test]
async fn cpu_time_grows_with_work_and_stands_still_without() {
    let scene = Scene::new();
    // By a child that is waited for, and by a daemon that only the supervisor buries.
    let work = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
    let script = format!(
        "({work}); echo child; read -r next; (setsid sh -c '{work}; echo daemon' &); read -r next; \
         {work}; echo self; read -r next"
    );
    let mut running = supervisor().start(scene.sh(&script)).await.unwrap();
    let mut before = Duration::ZERO;
    for said in ["child\n", "child\ndaemon\n", "child\ndaemon\nself\n"] {
        wait_for(said, || scene.out() == said);
        // What was running ends, and is buried.
        thread::sleep(Duration::from_millis(100));
        let after = running.cpu_time().unwrap();
        assert!(after > before + Duration::from_millis(30), "{said}: {before:?}, {after:?}");
        thread::sleep(Duration::from_millis(300));
        // A tick or two may come or go when a process that ended is added to its parent.
        assert!(running.cpu_time().unwrap() < after + Duration::from_millis(30), "{said}");
        before = after;
        running.send(b"\n");
    }
    running.wait().await.unwrap();
    assert_eq!(running.cpu_time(), None);
}

#[tokio::test]
async fn a_dropped_handle_kills_the_tree() {
    let scene = Scene::new();
    let running = supervisor().start(scene.sh(&format!("{TREE} wait"))).await.unwrap();
    wait_for("ready", || scene.out() == "ready\n");
    assert!(scene.alive().len() > 4);
    drop(running);
    assert_eq!(scene.alive_within(Duration::from_secs(5)), [""; 0]);
}

pub(crate) fn wait_for(what: &str, ready: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !ready() {
        assert!(Instant::now() < end, "{what} did not come");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Not a test: the runner that other tests kill or whose supervisor they kill.
#[tokio::test]
#[ignore = "started by other tests"]
async fn helper_runner() {
    let Ok(dir) = std::env::var("HELPER_DIR") else { return };
    let scene =
        Scene { dir: tempfile::tempdir().unwrap(), tag: std::env::var("HELPER_TAG").unwrap() };
    nightshift::process::adopt_orphans().unwrap();
    let mut program = scene.sh(&std::env::var("HELPER_SCRIPT").unwrap());
    program.stdout = Path::new(&dir).join("out");
    let error = supervisor().run(program, b"", LONG, &Stop::new()).await.unwrap_err();
    fs::write(Path::new(&dir).join("said"), error.to_string()).unwrap();
}

fn start_helper(scene: &Scene, name: &str, script: &str) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env("HELPER_DIR", scene.dir.path())
        .env("HELPER_TAG", &scene.tag)
        .env("HELPER_SCRIPT", script)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn when_the_runner_is_killed_nothing_is_left() {
    let scene = Scene::new();
    let mut runner = start_helper(&scene, "processes::helper_runner", &format!("{TREE} wait"));
    wait_for("ready", || scene.out() == "ready\n");
    assert!(scene.alive().len() > 4);
    runner.kill().unwrap();
    runner.wait().unwrap();
    assert_eq!(scene.alive_within(Duration::from_secs(5)), [""; 0]);
}

#[test]
fn when_the_supervisor_is_killed_the_runner_notices_and_nothing_is_left() {
    let scene = Scene::new();
    // One of the daemons has no trace of us in its environment.
    let hidden = format!("sleep 306.{}", std::process::id());
    let script = format!("{TREE} env -i setsid {hidden} & sleep 0.2; kill -9 $PPID; wait");
    let mut runner = start_helper(&scene, "processes::helper_runner", &script);
    wait_for("report", || scene.path("said").exists());
    runner.wait().unwrap();
    assert_eq!(scene.alive(), [""; 0]);
    let said = fs::read_to_string(scene.path("said")).unwrap();
    assert!(said.starts_with("the supervisor of sh was ended from outside"), "{said}");
    let sleeps = Command::new("pgrep").args(["-f", &format!("^{hidden}")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&sleeps.stdout), "");
}

#[tokio::test]
async fn a_supervisor_cannot_be_talked_into_ending() {
    let scene = Scene::new();
    let script = format!("{TREE} kill -TERM $PPID; kill -HUP $PPID; kill -INT $PPID; sleep 0.1");
    let completed = scene.run(&script).await;
    assert_eq!(completed.exit.ended, Ended::Code(0));
    assert_eq!(completed.exit.survivors, 6);
    assert_eq!(scene.alive(), [""; 0]);
}

#[tokio::test]
async fn an_endless_output_costs_neither_disk_nor_memory() {
    let scene = Scene::new();
    let mut program = scene.sh("awk '/VmHWM/ { print $2 }' /proc/$PPID/status >&2; \
         head -c 200000000 /dev/zero | tr '\\0' x; echo; echo the last words; \
         awk '/VmHWM/ { print $2 }' /proc/$PPID/status >&2");
    program.output_limit = 8_000_000;
    let completed = supervisor().run(program, b"", LONG, &Stop::new()).await.unwrap();
    assert!(completed.exit.output_cut);
    let out = scene.out();
    assert!(out.len() < 8_000_100, "{}", out.len());
    assert!(out.contains("\n[nightshift: 192000016 bytes left out]\n"));
    assert!(out.ends_with("\nthe last words\n"));
    let memory = fs::read_to_string(scene.path("err")).unwrap();
    let peaks: Vec<u64> = memory.split_whitespace().map(|kib| kib.parse().unwrap()).collect();
    assert!(peaks[1] < peaks[0] + 8 * 1024, "KiB before and after: {peaks:?}");
}

#[tokio::test]
async fn a_program_is_given_its_input_and_its_end() {
    let scene = Scene::new();
    // More than a pipe holds, to a program that reads late.
    let input = "0123456789abcdef\n".repeat(100_000);
    let program = scene.sh("sleep 0.2; wc -c");
    let completed = supervisor().run(program, input.as_bytes(), LONG, &Stop::new()).await.unwrap();
    assert_eq!(completed.exit.ended, Ended::Code(0));
    assert_eq!(scene.out().trim(), "1700000");
}

#[tokio::test]
async fn a_program_that_never_reads_does_not_hold_up_the_stop() {
    let scene = Scene::new();
    let program = scene.sh("sleep 30");
    let input = vec![b'x'; 4_000_000];
    let limit = Duration::from_millis(200);
    let started = Instant::now();
    let completed = supervisor().run(program, &input, limit, &Stop::new()).await.unwrap();
    assert_eq!(completed.why, Why::TimedOut);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_running_program_can_be_spoken_to() {
    let scene = Scene::new();
    let mut running = supervisor().start(scene.program(&["cat"])).await.unwrap();
    running.send(b"one\n");
    wait_for("echo", || scene.out() == "one\n");
    running.send(b"two\n");
    running.close_stdin();
    assert_eq!(running.wait().await.unwrap().ended, Ended::Code(0));
    assert_eq!(scene.out(), "one\ntwo\n");
}

#[tokio::test]
async fn a_program_sees_only_the_environment_that_it_was_given_and_no_terminal() {
    let scene = Scene::new();
    scene.run("env | cut -d= -f1 | sort; (: </dev/tty) 2>/dev/null && echo terminal").await;
    let names = scene.out();
    assert_eq!(names, "NIGHTSHIFT_RUN\nPATH\nPWD\nTEST_TAG\n");
    let mode = fs::metadata(scene.path("out")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn what_cannot_be_started_is_said_in_words() {
    let scene = Scene::new();
    let door = supervisor();
    let start = async |program: Program| door.start(program).await.map(|_| ()).unwrap_err();
    assert_eq!(
        start(scene.program(&["no-such-program"])).await,
        Error::NotFound { program: "no-such-program".into() }
    );
    fs::write(scene.path("plain"), "text").unwrap();
    let error = start(scene.program(&["./plain"])).await;
    assert!(matches!(error, Error::NotExecutable { .. }), "{error}");
    fs::write(scene.path("script"), "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(scene.path("script"), fs::Permissions::from_mode(0o755)).unwrap();
    let error = start(scene.program(&["./script"])).await;
    assert!(matches!(error, Error::NotExecutable { .. }), "{error}");
    let mut program = scene.sh("true");
    program.dir = scene.path("nowhere");
    assert_eq!(start(program).await, Error::NoDirectory { dir: scene.path("nowhere") });
    let mut program = scene.sh("true");
    program.stdout = scene.path("no/such/out");
    let error = start(program).await;
    assert!(matches!(error, Error::Output { .. }), "{error}");
    let wrong = Supervisor::new("/bin/true".into());
    let error = wrong.start(scene.sh("true")).await.map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "could not start `sh`: /bin/true is no supervisor");
}

#[tokio::test]
async fn an_output_file_is_never_opened_through_a_link() {
    let scene = Scene::new();
    fs::write(scene.path("precious"), "keep").unwrap();
    std::os::unix::fs::symlink("precious", scene.path("out")).unwrap();
    let error = supervisor().start(scene.sh("echo gone")).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Output { .. }), "{error}");
    assert_eq!(fs::read_to_string(scene.path("precious")).unwrap(), "keep");
}
