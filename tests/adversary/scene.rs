//! What an attack is let loose on: a home with secrets, a program, services, all of them the test's own. After
//! the attack the scene says what was harmed. It never holds anything of the machine's.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket},
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::{MetadataExt as _, PermissionsExt as _},
            net::{SocketAddr, UnixDatagram, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nightshift::{
    process::{Completed, Ended, Environment, Error, Program, Stop, Supervisor, Why},
    sandbox::{Network, Overlay, Tier, Walls},
};

use super::attack::{Attack, BEGUN, FORGED, Reach};

/// No attack needs as long; one that does has hung.
const LONG: Duration = Duration::from_secs(30);
/// What an attack makes when it lives on, and how long that takes it at most.
const BEAT: &str = "w/beat";
const AFTERLIFE: Duration = Duration::from_secs(1);
const LIVES_ON: &str = "lives on";

/// The surroundings of one attack.
pub(super) struct Scene {
    root: tempfile::TempDir,
    /// Stands in the files and environments that an attack is after, and nowhere else.
    loot: String,
    /// A file of the machine's shared memory, with the secret.
    shared: PathBuf,
    victim: Child,
    services: Services,
    /// Of shared memory that is not there.
    key: u32,
    before: BTreeMap<PathBuf, String>,
    victim_before: Option<String>,
}

/// Sockets that nobody behind walls may reach.
struct Services {
    tcp: TcpListener,
    /// On another address and the port that the walls allow.
    same_port: TcpListener,
    six: Option<TcpListener>,
    udp: UdpSocket,
    path: UnixListener,
    /// In a directory that programs in T2 may read.
    readable: UnixListener,
    path_datagrams: UnixDatagram,
    abstract_name: String,
    abstract_socket: UnixListener,
    /// Where nobody listens: an address that no other test has, and a port.
    free: (Ipv4Addr, u16),
}

/// What an attack came to.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What was harmed; empty = it held.
    pub(super) harm: Vec<String>,
    /// Why it says nothing: the attack did not begin, or did not end.
    pub(super) broken: Option<String>,
    /// What the attack printed.
    pub(super) text: String,
}

impl Outcome {
    /// Everything, for a person who has to find out why it is not as it should be.
    pub(super) fn told(&self) -> String {
        let harm = if self.harm.is_empty() { "no harm".to_owned() } else { self.harm.join(", ") };
        let broken = self.broken.as_deref().unwrap_or("it ran");
        format!("NOT AS EXPECTED: {harm}; {broken}\n{}", self.text)
    }
}

fn number() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    NUMBER.fetch_add(1, Ordering::SeqCst)
}

impl Services {
    fn new(sockets: &Path, readable: &Path) -> Services {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let same_port = TcpListener::bind(("127.0.0.2", 0)).unwrap();
        let six = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).ok();
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let path = UnixListener::bind(sockets.join("docker.sock")).unwrap();
        let readable = UnixListener::bind(readable.join("agent.sock")).unwrap();
        let path_datagrams = UnixDatagram::bind(sockets.join("log.sock")).unwrap();
        let abstract_name = format!("nightshift-test-{}-{}", std::process::id(), number());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let abstract_socket = UnixListener::bind_addr(&address).unwrap();
        let [high, low, ..] = number().to_le_bytes();
        let [process, ..] = std::process::id().to_le_bytes();
        let free = (Ipv4Addr::new(127, 1 + process % 100, high, low.max(1)), 7777);
        for listener in [&tcp, &same_port].into_iter().chain(&six) {
            listener.set_nonblocking(true).unwrap();
        }
        for listener in [&path, &readable, &abstract_socket] {
            listener.set_nonblocking(true).unwrap();
        }
        udp.set_nonblocking(true).unwrap();
        path_datagrams.set_nonblocking(true).unwrap();
        Services {
            tcp,
            same_port,
            six,
            udp,
            path,
            readable,
            path_datagrams,
            abstract_name,
            abstract_socket,
            free,
        }
    }

    /// What somebody reached. A connection that was made waits in the kernel to be accepted.
    fn reached(&self) -> Vec<String> {
        let mut buffer = [0; 16];
        let all = [
            ("a tcp port", self.tcp.accept().is_ok()),
            ("our port of another address", self.same_port.accept().is_ok()),
            ("a tcp port of IPv6", self.six.as_ref().is_some_and(|six| six.accept().is_ok())),
            ("a udp port", self.udp.recv(&mut buffer).is_ok()),
            ("a socket with a path", self.path.accept().is_ok()),
            ("a socket in a readable directory", self.readable.accept().is_ok()),
            ("a socket for datagrams", self.path_datagrams.recv(&mut buffer).is_ok()),
            ("a socket with an abstract name", self.abstract_socket.accept().is_ok()),
        ];
        all.iter()
            .filter(|(_, reached)| *reached)
            .map(|(what, _)| format!("reached {what}"))
            .collect()
    }
}

impl Scene {
    pub(super) fn new() -> Scene {
        // Not below /tmp, which is private in T2 and would hide too much.
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let at = root.path();
        let number = number();
        let loot = format!("loot-{}-{number}-ab19e4", std::process::id());
        for directory in [
            "out/.ssh",
            "out/.config/gh",
            "out/tools",
            "w/sub",
            "tmp",
            "logs",
            "s",
            "lower",
            "upper",
            "work",
            "at",
        ] {
            fs::create_dir_all(at.join(directory)).unwrap();
        }
        for (file, text) in [
            ("out/.ssh/id_ed25519", loot.as_str()),
            ("out/.config/gh/hosts.yml", &loot),
            ("out/tools/credentials", &loot),
            ("out/.bashrc", "# mine\n"),
            ("lower/file", "lower\n"),
            ("w/own", "own\n"),
        ] {
            fs::write(at.join(file), text).unwrap();
        }
        fs::write(at.join("out").join(&loot), "its name is the secret\n").unwrap();
        let shared =
            Path::new("/dev/shm").join(format!("nightshift-test-{}-{number}", std::process::id()));
        fs::write(&shared, &loot).unwrap();
        // An own identity for what the setuid attack is about; without root it stays the test's.
        let setuid = at.join("out/whoami");
        fs::copy("/usr/bin/id", &setuid).unwrap();
        let _ = std::os::unix::fs::chown(&setuid, Some(12345), None);
        fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).unwrap();
        let victim = Command::new("sh")
            .args(["-c", "exec 9< .ssh/id_ed25519; exec tail -f /dev/null \"$SECRET\""])
            .current_dir(at.join("out"))
            .env("SECRET", &loot)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let services = Services::new(&at.join("s"), &at.join("out/tools"));
        let mut scene = Scene {
            root,
            loot,
            shared,
            victim,
            services,
            key: 0x4e53_0000 + (std::process::id() % 0x100) * 0x100 + number % 0x100,
            before: BTreeMap::new(),
            victim_before: None,
        };
        scene.await_victim();
        scene.before = scene.outside();
        scene.victim_before = scene.victim();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Until it is what it will be: `tail`, asleep.
    fn await_victim(&self) {
        let end = std::time::Instant::now() + LONG;
        while self.victim().is_none_or(|state| !state.starts_with("tail S ")) {
            assert!(std::time::Instant::now() < end, "the victim did not start");
            thread::yield_now();
        }
    }

    /// Name, state, nice value, scheduling class and limits of the victim; none when it is gone.
    fn victim(&self) -> Option<String> {
        let proc = PathBuf::from("/proc").join(self.victim.id().to_string());
        let stat = fs::read_to_string(proc.join("stat")).ok()?;
        let limits = fs::read_to_string(proc.join("limits")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        // proc_pid_stat(5): fields 3, 19 and 41, of which the first stands after the name.
        let state = fields.first().filter(|state| **state != "Z")?;
        Some(format!("{name} {state} {} {} {limits}", fields.get(16)?, fields.get(38)?))
    }

    /// True when there is a segment with the scene's key. proc(5): the first column, signed.
    fn has_shared_memory(&self) -> bool {
        let all = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
        let key = self.key.to_string();
        all.lines().any(|line| line.split_whitespace().next() == Some(&key))
    }

    /// Everything that the attack was not given, with what it holds.
    fn outside(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        for name in ["out", "s", "lower"] {
            note(&self.path(name), &mut found);
        }
        // Of these the names: a mount touches the directories themselves, a program its own.
        for name in ["", "upper", "at"] {
            let entries = fs::read_dir(self.path(name)).into_iter().flatten();
            for path in entries.map(|entry| entry.unwrap().path()) {
                let kind = format!("{:?}", path.symlink_metadata().unwrap().file_type());
                found.entry(path).or_insert(kind);
            }
        }
        found
    }

    fn environment(&self) -> Environment {
        let mut environment = Environment::empty();
        environment.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let services = &self.services;
        let six = services.six.as_ref().map_or(0, |six| six.local_addr().unwrap().port());
        for (name, value) in [
            ("OUT", self.path("out").display().to_string()),
            ("W", self.path("w").display().to_string()),
            ("LOWER", self.path("lower").display().to_string()),
            ("UPPER", self.path("upper").display().to_string()),
            ("SOCK", self.path("s").display().to_string()),
            ("SHM", self.shared.display().to_string()),
            ("VICTIM", self.victim.id().to_string()),
            ("PORT", services.tcp.local_addr().unwrap().port().to_string()),
            ("OURS", services.same_port.local_addr().unwrap().port().to_string()),
            ("SIX", six.to_string()),
            ("UDP", services.udp.local_addr().unwrap().port().to_string()),
            ("ABSTRACT", services.abstract_name.clone()),
            ("HERE", services.free.0.to_string()),
            ("FREE", services.free.1.to_string()),
            ("KEY", self.key.to_string()),
        ] {
            environment.set(name, value);
        }
        environment
    }

    fn walls(&self, tier: Tier, attack: &Attack) -> Walls {
        let mut read: Vec<PathBuf> =
            ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc"].map(Into::into).into();
        // What an attack may execute of what is not its own.
        read.push(self.path("out/whoami"));
        if tier == Tier::T2 {
            // What T1 cannot take out of a readable directory again is not given to it.
            read.push(self.path("out/tools"));
        }
        let overlay = Overlay {
            at: self.path("at"),
            lower: vec![self.path("lower")],
            upper: self.path("upper"),
            work: self.path("work"),
        };
        Walls {
            tier,
            read,
            write: vec![self.path("w")],
            hidden: if tier == Tier::T2 {
                vec![self.path("out/tools/credentials")]
            } else {
                vec![]
            },
            overlays: if tier == Tier::T2 { vec![overlay] } else { vec![] },
            tmp: self.path("tmp"),
            network: match attack.reach {
                Reach::Nobody => Network::Nobody,
                // In T2 the port is one of the program's own loopback, and nobody listens there.
                Reach::OurPort if tier == Tier::T2 => Network::Nobody,
                Reach::OurPort => {
                    Network::Ours { port: self.services.same_port.local_addr().unwrap().port() }
                }
            },
            limits: attack.limits.unwrap_or_default(),
        }
    }

    /// Lets an attack loose without walls, and without a supervisor where this alone would hold it.
    pub(super) fn run_free(self, attack: &Attack) -> Outcome {
        if !attack.alone {
            return self.run(attack, None);
        }
        let [program, arguments @ ..] = &attack.argv()[..] else {
            unreachable!("it has a program")
        };
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.path("w")).stdin(Stdio::null());
        let output = command.output().unwrap();
        let end = std::time::Instant::now() + LONG;
        while !self.path(BEAT).exists() && std::time::Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        let harm = if self.path(BEAT).exists() { vec![LIVES_ON.to_owned()] } else { vec![] };
        Outcome { harm, broken: None, text: String::from_utf8_lossy(&output.stdout).into_owned() }
    }

    /// Lets an attack loose, behind walls or without any.
    pub(super) fn run(self, attack: &Attack, tier: Option<Tier>) -> Outcome {
        let (out, err) = (self.path("logs/out"), self.path("logs/err"));
        let argv = attack.argv();
        let mut program = Program::new(argv, &self.path("w"), self.environment(), &out, &err);
        program.walls = tier.map(|tier| self.walls(tier, attack));
        program.grace = Duration::ZERO;
        let leak = self.leak();
        let from_outside = attack.listens.then(|| self.knock());
        let supervisor = Supervisor::new(env!("CARGO_BIN_EXE_nightshift").into());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let result = runtime.block_on(supervisor.run(program, b"", LONG, &Stop::new()));
        drop(leak);
        if attack.alone {
            // Nothing can be waited for that is not to come.
            thread::sleep(AFTERLIFE);
        }
        let text = [out, err].map(|path| fs::read(path).unwrap_or_default()).concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut harm = from_outside.map_or(vec![], |answer| answer());
        harm.extend(self.harm(attack, &text, result.as_ref()));
        let broken = match &result {
            Ok(completed) if completed.why == Why::Ended && text.contains(BEGUN) => None,
            Err(Error::SupervisorLost { .. }) => None,
            other => Some(format!("{other:?}")),
        };
        Outcome { harm, broken, text }
    }

    /// A descriptor of ours that every program inherits which does not close it.
    fn leak(&self) -> fs::File {
        let secret = fs::File::open(self.path("out/.ssh/id_ed25519")).unwrap();
        rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).unwrap();
        secret
    }

    /// Tries to reach a port on which only the attack listens, until the answer is asked for.
    fn knock(&self) -> impl FnOnce() -> Vec<String> + use<> {
        let over = Arc::new(AtomicBool::new(false));
        let (place, end) = (self.services.free, over.clone());
        let knocking: JoinHandle<bool> = thread::spawn(move || {
            while !end.load(Ordering::SeqCst) {
                if TcpStream::connect(place).is_ok() {
                    return true;
                }
                thread::sleep(Duration::from_millis(5));
            }
            false
        });
        move || {
            over.store(true, Ordering::SeqCst);
            let reached = knocking.join().unwrap();
            if reached { vec!["its port can be reached from outside".to_owned()] } else { vec![] }
        }
    }

    fn harm(&self, attack: &Attack, text: &str, result: Result<&Completed, &Error>) -> Vec<String> {
        let mut harm = self.services.reached();
        if text.contains(&self.loot) {
            harm.push("told a secret".to_owned());
        }
        let after = self.outside();
        for path in self.before.keys().chain(after.keys()) {
            if self.before.get(path) != after.get(path) {
                let inside = path.strip_prefix(self.root.path()).unwrap_or(path);
                let name = inside.display().to_string().replace(&self.loot, "LOOT");
                harm.push(format!("changed {name}"));
            }
        }
        if self.has_shared_memory() {
            harm.push("left shared memory behind".to_owned());
        }
        if self.path(BEAT).exists() {
            harm.push(LIVES_ON.to_owned());
        }
        let victim = self.victim();
        if victim.is_none() {
            harm.push("ended another program".to_owned());
        } else if victim != self.victim_before {
            harm.push("changed another program".to_owned());
        }
        match result {
            Ok(Completed { exit, .. }) => match exit.ended {
                Ended::Code(0) if attack.by_exit => harm.push("the call worked".to_owned()),
                Ended::Code(FORGED) => harm.push("spoke for its supervisor".to_owned()),
                Ended::Code(_) | Ended::Signal(_) => {}
            },
            Err(Error::SupervisorLost { .. }) => harm.push("ended its supervisor".to_owned()),
            Err(_) => {}
        }
        harm.dedup();
        harm
    }
}

/// A file or directory with all below it. The time of the last change of its inode tells of new modes, owners,
/// attributes and links too.
fn note(path: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let Ok(metadata) = path.symlink_metadata() else { return };
    let content = if metadata.is_file() { fs::read(path).unwrap_or_default() } else { Vec::new() };
    let (seconds, nanos) = (metadata.ctime(), metadata.ctime_nsec());
    let state = format!("{:o} {seconds}.{nanos} {content:?}", metadata.mode());
    found.insert(path.to_owned(), state);
    if metadata.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            note(&entry.path(), found);
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
        let _ = fs::remove_file(&self.shared);
        if self.has_shared_memory() {
            let _ = Command::new("ipcrm").args(["-M", &self.key.to_string()]).status();
        }
    }
}
