//! The walls hold: what a program behind them sees, writes and leaves, tried with the real binary.
#![expect(clippy::disallowed_methods, reason = "the tests look at files from outside the walls")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail like the test")]

mod ends;
mod files;
mod spare;

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use nightshift::{
    process::{Completed, Ended, Environment, Error, Program, Stop, Supervisor},
    sandbox::{Limits, Network, Tier, Walls, linux::limits},
};

use crate::{
    processes::{alive, wait_for},
    support::kernel::{self, has_landlock, has_namespaces},
};

const LONG: Duration = Duration::from_secs(60);
/// What a shell and its tools need.
const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc"];

/// A directory of the machine's, walls that name parts of it, and a tag in the environment of everything
/// that a test starts.
struct Scene {
    dir: tempfile::TempDir,
    walls: Walls,
    tag: String,
}

impl Scene {
    /// None, and a word about it, where this machine cannot hold the tier.
    fn new(tier: Tier) -> Option<Scene> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !(has_landlock() && (tier == Tier::T1 || has_namespaces())) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        for name in ["tmp", "work", "out"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let walls = Walls {
            tier,
            read: SYSTEM.map(PathBuf::from).to_vec(),
            write: vec![dir.path().join("work")],
            hidden: Vec::new(),
            overlays: Vec::new(),
            tmp: dir.path().join("tmp"),
            network: Network::Nobody,
            limits: Limits { disk_reserve: 0, ..Limits::default() },
        };
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let tag = format!("TEST_TAG=walls-{}-{number}", std::process::id());
        Some(Scene { dir, walls, tag })
    }

    /// One for each tier that this machine can hold.
    fn each() -> impl Iterator<Item = Scene> {
        [Tier::T2, Tier::T1].into_iter().filter_map(Scene::new)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn make_dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn out(&self) -> String {
        fs::read_to_string(self.path("out/out")).unwrap_or_default()
    }

    fn program(&self, argv: &[&str]) -> Program {
        let mut environment = Environment::empty();
        environment.set("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        let (name, value) = self.tag.split_once('=').unwrap();
        environment.set(name, value);
        let argv = argv.iter().map(ToString::to_string).collect();
        let (out, err) = (self.path("out/out"), self.path("out/err"));
        let mut program = Program::new(argv, &self.path("work"), environment, &out, &err);
        program.walls = Some(self.walls.clone());
        program
    }

    /// `{}` stands for the scene's directory.
    fn sh(&self, script: &str) -> Program {
        let script = script.replace("{}", &self.dir.path().display().to_string());
        self.program(&["sh", "-c", &script])
    }

    /// This test binary behind the walls, as one of the helpers below.
    fn helper(&mut self, name: &str) -> Program {
        let exe = std::env::current_exe().unwrap();
        self.walls.read.push(exe.clone());
        let exe = exe.to_str().unwrap();
        self.program(&[exe, "--exact", name, "--ignored", "--nocapture"])
    }

    async fn run(&self, script: &str) -> Completed {
        supervisor().run(self.sh(script), b"", LONG, &Stop::new()).await.unwrap()
    }

    async fn error(&self, program: Program) -> Error {
        supervisor().run(program, b"", LONG, &Stop::new()).await.unwrap_err()
    }

    /// What a script says, on both streams, and its code when that is not 0.
    async fn said(&self, script: &str) -> String {
        let completed = self.run(script).await;
        let mut said = self.out() + &fs::read_to_string(self.path("out/err")).unwrap();
        if completed.exit.ended != Ended::Code(0) {
            said += &format!("{:?}", completed.exit.ended);
        }
        said
    }
}

fn supervisor() -> Supervisor {
    Supervisor::new(env!("CARGO_BIN_EXE_nightshift").into())
}

#[tokio::test]
async fn a_program_sees_only_its_own_processes() {
    let Some(scene) = Scene::new(Tier::T2) else { return };
    // The supervisor is the first one, the shell the second.
    let said = scene.said("echo $$ /proc/[0-9]*; tr '\\0' ' ' </proc/1/cmdline; hostname").await;
    let exe = env!("CARGO_BIN_EXE_nightshift");
    assert_eq!(said, format!("2 /proc/1 /proc/2\n{exe} __supervise nightshift\n"));
}

#[tokio::test]
async fn nothing_of_the_stages_is_left_in_the_program() {
    // One that our own process lets every program inherit.
    let leak = rustix::io::fcntl_dupfd_cloexec(io::stderr(), 100).unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    for scene in Scene::each() {
        let said = scene.said("env | cut -d= -f1 | sort; ls /proc/self/fd; umask").await;
        assert_eq!(said, "NIGHTSHIFT_RUN\nPATH\nPWD\nTEST_TAG\n0\n1\n2\n3\n0022\n");
    }
}

#[tokio::test]
async fn nobody_inside_can_reach_into_the_supervisor() {
    let Some(scene) = Scene::new(Tier::T2) else { return };
    let said = scene
        .said("for what in root/etc cwd/etc environ fd/0 mem; do cat /proc/1/$what; done; ls /proc/1/root; kill -9 1; kill -STOP 1; echo still here")
        .await;
    assert_eq!(said.matches("Permission denied").count(), 6, "{said}");
    assert!(said.contains("still here\n"), "{said}");
}

/// Behind Landlock, and with a supervisor whose capabilities nobody else has, no program gets so far as to ask
/// the supervisor itself. Here is neither: a neighbour without Landlock, and nobody with a capability.
#[test]
fn a_supervisor_lets_no_program_of_its_user_look_into_it() {
    let Some(scene) = Scene::new(Tier::T1) else { return };
    let neighbour = move || {
        limits::drop_privileges().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut running = supervisor().start(scene.sh("echo ready; cat")).await.unwrap();
            wait_for("ready", || scene.out() == "ready\n");
            let refused = [(); 4].map(|()| Some(io::ErrorKind::PermissionDenied));
            assert_eq!(look_into(ends::parent(running.pid())), refused);
            running.close_stdin();
            assert_eq!(running.wait().await.unwrap().ended, Ended::Code(0));
        });
        // The control: another child of the same thread.
        let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let looked = look_into(i32::try_from(other.id()).unwrap());
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(looked, [None; 4]);
    };
    std::thread::spawn(neighbour).join().unwrap();
}

/// How a process refuses its environment, its memory, what a descriptor of it is, and the descriptor.
fn look_into(process: i32) -> [Option<io::ErrorKind>; 4] {
    let of = |name: &str| format!("/proc/{process}/{name}");
    let pid = rustix::process::Pid::from_raw(process).unwrap();
    let descriptor = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .and_then(|process| {
            rustix::process::pidfd_getfd(process, 0, rustix::process::PidfdGetfdFlags::empty())
        });
    [
        fs::read(of("environ")).err().map(|error| error.kind()),
        fs::File::options().read(true).write(true).open(of("mem")).err().map(|error| error.kind()),
        fs::read_link(of("fd/0")).err().map(|error| error.kind()),
        descriptor.err().map(rustix::io::Errno::kind),
    ]
}

/// Nothing of `/proc` but the kernel's settings is mounted read-only: what is a process's own there, and its
/// supervisor's where both are root, only Landlock keeps.
#[tokio::test]
async fn landlock_holds_behind_the_mounts_too() {
    for scene in Scene::each() {
        let script = "for p in self $PPID; do (echo 1000 >/proc/$p/oom_score_adj) 2>/dev/null && \
            echo wrote $p; done; (: </proc/self/oom_score_adj) && echo read";
        assert_eq!(scene.said(script).await, "read\n", "{:?}", scene.walls.tier);
    }
    let free = std::process::Command::new("sh")
        .args(["-c", "echo 1000 >/proc/self/oom_score_adj"])
        .status();
    assert!(free.unwrap().success(), "without walls anybody may");
}

/// On a kernel without x32 such a call is "not there" by itself; only the filter says that it is forbidden.
#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn calls_by_the_numbers_of_x32_are_refused() {
    const SCRIPT: &str = "perl -e '$r = syscall(0x40000000 + 39); print \"$r \", $! + 0, \"\\n\"'";
    let free = std::process::Command::new("sh").args(["-c", SCRIPT]).output().unwrap();
    if !free.status.success() {
        kernel::missing("perl is not there, which makes the call");
        return;
    }
    let eperm = rustix::io::Errno::PERM.raw_os_error();
    let refused = format!("-1 {eperm}\n");
    assert_ne!(String::from_utf8_lossy(&free.stdout), refused);
    for scene in Scene::each() {
        assert_eq!(scene.said(SCRIPT).await, refused, "{:?}", scene.walls.tier);
    }
}

#[tokio::test]
async fn settings_of_the_kernel_cannot_be_written() {
    let Some(scene) = Scene::new(Tier::T2) else { return };
    let script = "for file in sys/kernel/core_pattern sysrq-trigger sys/kernel/hostname; do \
        (: >>/proc/$file) 2>/dev/null && echo $file; done; cat /proc/keys /proc/timer_list; \
        chmod 0 /dev/null 2>/dev/null && echo null; (: >/dev/new) 2>/dev/null && echo new; echo end";
    assert_eq!(scene.said(script).await, "end\n");
}

#[tokio::test]
async fn two_programs_have_the_same_port_each_on_its_own_loopback() {
    let scenes = [Scene::new(Tier::T2), Scene::new(Tier::T2)];
    let [Some(mut one), Some(mut other)] = scenes else { return };
    let door = supervisor();
    let first = door.start(one.helper("sandbox::helper_server")).await.unwrap();
    wait_for("first server", || one.out().contains("listening"));
    let second = door.start(other.helper("sandbox::helper_server")).await.unwrap();
    wait_for("second server", || other.out().contains("listening"));
    // And the machine's own is free.
    assert!(TcpStream::connect(("127.0.0.1", 3000)).is_err());
    for mut running in [first, second] {
        running.close_stdin();
        assert_eq!(running.wait().await.unwrap().ended, Ended::Code(0));
    }
}

#[tokio::test]
async fn our_server_is_reached_from_inside_and_is_the_only_one() {
    let Some(mut scene) = Scene::new(Tier::T2) else { return };
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    scene.walls.network = Network::Ours { port: 3128 };
    let program = scene.helper("sandbox::helper_client");
    let mut running = supervisor().start(program).await.unwrap();
    let listener = running.listener().unwrap();
    assert!(running.listener().is_none());
    running.send(format!("{}\n", outside.local_addr().unwrap()).as_bytes());
    let answering = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        connection.write_all(b"hello from outside").unwrap();
    });
    assert_eq!(running.wait().await.unwrap().ended, Ended::Code(0));
    answering.join().unwrap();
    assert!(
        scene.out().contains("3128 says: hello from outside\nother: refused\n"),
        "{}",
        scene.out()
    );
}

#[tokio::test]
async fn a_program_has_the_machines_network_only_when_the_walls_say_so() {
    let Some(mut scene) = Scene::new(Tier::T2) else { return };
    let interfaces = "cut -d: -f1 -s /proc/net/dev | tr -d ' ' | sort";
    assert_eq!(scene.said(interfaces).await, "lo\n");
    scene.walls.network = Network::Host;
    let own = std::process::Command::new("sh").args(["-c", interfaces]).output().unwrap();
    assert_eq!(scene.said(interfaces).await, String::from_utf8_lossy(&own.stdout));
}

/// Not a test: listens on port 3000 until its input ends.
#[test]
#[ignore = "started by other tests"]
fn helper_server() {
    if std::env::var("TEST_TAG").is_err() {
        return;
    }
    let _listener = TcpListener::bind("127.0.0.1:3000").unwrap();
    io::stdout().write_all(b"listening\n").unwrap();
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Not a test: says what our server says, and whether another one can be reached.
#[test]
#[ignore = "started by other tests"]
fn helper_client() {
    if std::env::var("TEST_TAG").is_err() {
        return;
    }
    let mut address = String::new();
    BufReader::new(io::stdin()).read_line(&mut address).unwrap();
    let mut heard = String::new();
    TcpStream::connect("127.0.0.1:3128").unwrap().read_to_string(&mut heard).unwrap();
    let other = TcpStream::connect(address.trim()).map_or("refused", |_| "reached");
    io::stdout().write_all(format!("3128 says: {heard}\nother: {other}\n").as_bytes()).unwrap();
}

#[tokio::test]
async fn what_cannot_be_started_is_said_as_without_walls() {
    for scene in Scene::each() {
        let program = "no-such-program".to_owned();
        assert_eq!(scene.error(scene.program(&[&program])).await, Error::NotFound { program });
        scene.write("work/plain", "text");
        let error = scene.error(scene.program(&["./plain"])).await;
        assert!(matches!(error, Error::NotExecutable { .. }), "{error}");
        scene.write("work/script", "#!/no/such/interpreter\n");
        scene.run("chmod +x script").await;
        let error = scene.error(scene.program(&["./script"])).await;
        assert!(matches!(error, Error::NotExecutable { .. }), "{error}");
        let mut nowhere = scene.sh("true");
        nowhere.dir = scene.path("nowhere");
        assert_eq!(scene.error(nowhere).await, Error::NoDirectory { dir: scene.path("nowhere") });
        let mut no_output = scene.sh("true");
        no_output.stdout = scene.path("no/such/out");
        let error = scene.error(no_output).await;
        assert!(matches!(error, Error::Output { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_program_never_runs_without_all_of_its_walls() {
    for scene in Scene::each() {
        let with = |change: &dyn Fn(&mut Walls)| {
            let mut program = scene.sh("echo ran >>{}/work/canary");
            change(program.walls.as_mut().unwrap());
            program
        };
        let error = async |program| match scene.error(program).await {
            Error::Walls { message, .. } => message,
            other => panic!("{other}"),
        };
        let said = error(with(&|walls| walls.write.push("/no/such/place".into()))).await;
        assert!(said.contains("/no/such/place"), "{said}");
        error(with(&|walls| walls.tier = Tier::Mac)).await;
        error(with(&|walls| walls.tier = Tier::None)).await;
        if scene.walls.tier == Tier::T2 {
            let said = error(with(&|walls| walls.tmp = "/no/such/tmp".into())).await;
            assert!(said.contains("/no/such/tmp"), "{said}");
            let said = error(with(&|walls| walls.read.push("relative".into()))).await;
            assert!(said.contains("could not look at relative: it is not absolute"), "{said}");
            error(with(&|walls| walls.write.push("/".into()))).await;
        }
        assert!(!scene.path("work/canary").exists());
        // The control: with good walls it does run.
        scene.run("echo ran >>{}/work/canary").await;
        assert!(scene.path("work/canary").exists());
    }
}
