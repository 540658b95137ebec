//! A trial: our own program tries to get out, and we look at what it could do.
//!
//! Everything that it could get at is made for it here: a secret, a directory, servers on loopback.

use std::{
    io::Write as _,
    net::{TcpListener, UdpSocket},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    files,
    process::{self, Ended, Environment, Program, Stop, Supervisor},
    runner::{places::Surroundings, refused::Refused, walls::lists::Lists},
    sandbox::{
        Limits, Network, Overlay, Tier, Walls,
        trial::{TRY, Tried, WAYS, Ways, born},
    },
};

/// Longest time of one trial. It takes some milliseconds.
const LIMIT: Duration = Duration::from_secs(20);

/// What came of one trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// What stood around it.
    pub tier: Tier,
    /// What came of it.
    pub outcome: Outcome,
    /// Ways that led out, as [`WAYS`] names them.
    pub out: Vec<&'static str>,
    /// Ways that were closed.
    pub closed: Vec<&'static str>,
}

/// Whether walls hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No way led out, and work inside is possible.
    Holds,
    /// They could be put up, and these ways led out, in words.
    Breaks(Vec<&'static str>),
    /// They could not be put up, or nothing can be done inside, in words.
    Missing(String),
}

impl Outcome {
    /// What is wrong, in words.
    pub fn problem(&self) -> Option<String> {
        match self {
            Outcome::Holds => None,
            Outcome::Breaks(ways) => Some(format!("a program could {}", ways.join(", "))),
            Outcome::Missing(why) => Some(why.clone()),
        }
    }
}

impl Trial {
    /// One line for a person.
    pub fn in_words(&self) -> String {
        let name = self.tier.name();
        match self.outcome.problem() {
            None => format!("{name} holds"),
            Some(problem) => format!("{name}: {problem}"),
        }
    }
}

/// What a trial could get at.
pub(super) struct Scene<'s> {
    surroundings: &'s Surroundings,
    /// Removed at the end. On the disk of the workspaces: what a file system cannot do shows here.
    root: tempfile::TempDir,
    ways: Ways,
    udp: UdpSocket,
    _near: tempfile::TempDir,
    _socket: UnixListener,
}

impl<'s> Scene<'s> {
    pub(super) fn set(surroundings: &'s Surroundings, place: &Path) -> Result<Scene<'s>, Refused> {
        let wrap = |problem: std::io::Error| {
            Refused::environment(
                format!("could not prepare the trial of the walls: {problem}"),
                "the cache directory must be writable, and 127.0.0.1 usable",
            )
        };
        let root = tempfile::Builder::new().prefix("trial-").tempdir_in(place).map_err(wrap)?;
        let at = |name: &str| root.path().join(name);
        for name in ["outside", "inside", "tmp", "lower", "upper", "work", "at"] {
            files::create_private_dir(&at(name))?;
        }
        files::create_new(&at("secret"), b"secret", 0o600)?;
        files::create_new(&at("lower/file"), b"of the base", 0o600)?;
        let tcp = TcpListener::bind("127.0.0.1:0").map_err(wrap)?;
        let udp = UdpSocket::bind("127.0.0.1:0").map_err(wrap)?;
        udp.set_nonblocking(true).map_err(wrap)?;
        // In /tmp, because the address of a socket has at most 107 bytes.
        let near = tempfile::Builder::new().prefix("ns").tempdir_in("/tmp").map_err(wrap)?;
        let socket = UnixListener::bind(near.path().join("socket")).map_err(wrap)?;
        let process = rustix::process::getpid().as_raw_nonzero().get();
        let ways = Ways {
            secret: at("secret"),
            outside: at("outside"),
            inside: at("inside"),
            process,
            born: born(process).unwrap_or(0),
            tcp: tcp.local_addr().map_err(wrap)?,
            udp: udp.local_addr().map_err(wrap)?,
            socket: near.path().join("socket"),
        };
        let serve = move || {
            // Ends with the process. Each who gets here is told so.
            for stream in tcp.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.write_all(b"!");
            }
        };
        std::thread::Builder::new().spawn(serve).map_err(wrap)?;
        Ok(Scene { surroundings, root, ways, udp, _near: near, _socket: socket })
    }

    /// One trial. `overlay`: it works in layers.
    pub(super) fn run(&self, tier: Option<Tier>, overlay: bool) -> Trial {
        let at = |name: &str| self.root.path().join(name);
        let mut ways = self.ways.clone();
        let walls = tier.map(|tier| {
            // The bait may lie below a directory that all may read, as our own directories may.
            let lists = Lists::of(self.surroundings, &[], &[self.root.path().to_owned()]);
            let read = if tier == Tier::T2 { lists.read.clone() } else { lists.spelled_out() };
            let mut walls = Walls {
                tier,
                read: [read, vec![self.surroundings.exe.clone()]].concat(),
                write: Vec::new(),
                hidden: if tier == Tier::T2 { lists.hidden } else { Vec::new() },
                overlays: Vec::new(),
                tmp: at("tmp"),
                network: Network::Nobody,
                limits: Limits::default(),
            };
            if overlay {
                ways.inside = at("at");
                walls.overlays.push(Overlay {
                    at: at("at"),
                    lower: vec![at("lower")],
                    upper: at("upper"),
                    work: at("work"),
                });
            } else {
                walls.write.push(at("inside"));
            }
            walls
        });
        let shown = tier.unwrap_or(Tier::None);
        match self.tried(&ways, walls) {
            Ok(tried) => judged(shown, &tried),
            Err(why) => Trial {
                tier: shown,
                outcome: Outcome::Missing(why),
                out: Vec::new(),
                closed: Vec::new(),
            },
        }
    }

    fn tried(&self, ways: &Ways, walls: Option<Walls>) -> Result<Tried, String> {
        let exe = self.surroundings.exe.display().to_string();
        let text = serde_json::to_string(ways).map_err(|problem| problem.to_string())?;
        let mut environment = Environment::empty();
        let in_t2 = walls.as_ref().is_some_and(|walls| walls.tier == Tier::T2);
        let temporary = if in_t2 { PathBuf::from("/tmp") } else { self.root.path().join("tmp") };
        environment.set("TMPDIR", temporary.display().to_string());
        let (stdout, stderr) = (self.root.path().join("out"), self.root.path().join("err"));
        let argv = vec![exe, TRY.to_owned(), text];
        let mut program = Program::new(argv, &ways.inside, environment, &stdout, &stderr);
        "the trial of the walls".clone_into(&mut program.label);
        program.grace = Duration::ZERO;
        program.walls = walls;
        let supervisor = Supervisor::new(self.surroundings.exe.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|problem| problem.to_string())?;
        let stop = Stop::new();
        let run = async { supervisor.run(program, b"", LIMIT, &stop).await };
        let done = runtime.block_on(run).map_err(|problem: process::Error| problem.to_string())?;
        if done.exit.ended != Ended::Code(0) {
            return Err(format!("the trial itself could not run: {:?}", done.exit.ended));
        }
        let text = std::fs::read_to_string(&stdout).map_err(|problem| problem.to_string())?;
        let mut tried: Tried =
            serde_json::from_str(&text).map_err(|problem| problem.to_string())?;
        let mut word = [0; 8];
        let mut arrived = false;
        while self.udp.recv(&mut word).is_ok() {
            arrived = true;
        }
        tried.out.insert("udp".to_owned(), arrived);
        Ok(tried)
    }
}

fn judged(tier: Tier, tried: &Tried) -> Trial {
    let led_out = |name: &str| tried.out.get(name).copied().unwrap_or(true);
    let (out, closed): (Vec<&str>, Vec<&str>) =
        WAYS.iter().map(|(name, _)| *name).partition(|name| led_out(name));
    let words: Vec<&str> =
        WAYS.iter().filter(|(name, _)| led_out(name)).map(|(_, words)| *words).collect();
    let outcome = if !words.is_empty() {
        Outcome::Breaks(words)
    } else if !tried.works {
        Outcome::Missing("nothing can be written inside".to_owned())
    } else {
        Outcome::Holds
    };
    Trial { tier, outcome, out, closed }
}
