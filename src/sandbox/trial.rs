//! Tries to get out: the program that walls are tested with.
//!
//! It runs inside (and once outside, to show that it can), tries each way that is named, harmlessly, and
//! prints what worked as one line of JSON. Never judges: whoever started it does.
#![expect(
    clippy::disallowed_methods,
    reason = "it writes to see whether it may, which is no file of ours"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// The hidden first argument that makes our binary a trial; the second is [`Ways`] as JSON.
pub const TRY: &str = "__try";

/// What there is to get at. All of it belongs to whoever started the trial.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ways {
    /// A file outside that must not be read.
    pub secret: PathBuf,
    /// A directory outside in which nothing may be made.
    pub outside: PathBuf,
    /// A directory inside in which files may be made.
    pub inside: PathBuf,
    /// A process outside: the runner itself.
    pub process: i32,
    /// When it began, in clock ticks since boot: with the number, it names a process for good.
    pub born: u64,
    /// A TCP server on the machine's loopback.
    pub tcp: SocketAddr,
    /// A UDP server on the machine's loopback.
    pub udp: SocketAddr,
    /// A server at a path outside.
    pub socket: PathBuf,
}

/// The ways that are tried, in this order, with what each means in words.
pub const WAYS: [(&str, &str); 13] = [
    ("read", "read a file outside"),
    ("write", "write outside"),
    ("signal", "signal a process outside"),
    ("environ", "read the runner's environment"),
    ("tcp", "reach a server of this machine"),
    ("udp", "send a datagram"),
    ("socket", "reach a socket outside"),
    ("kernel", "write a kernel setting"),
    ("capabilities", "keep privileges"),
    ("setuid", "gain privileges"),
    ("calls", "make any system call"),
    ("descriptors", "use files that were left open"),
    ("namespace", "make namespaces of its own"),
];

/// What worked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// True for each way that led out.
    pub out: BTreeMap<String, bool>,
    /// True when files can be made inside and in `/tmp` or `TMPDIR`.
    pub works: bool,
}

/// Runs a trial. The entry behind [`TRY`].
pub fn trial_main() -> ExitCode {
    let ways = std::env::args().nth(2).and_then(|text| serde_json::from_str(&text).ok());
    let Some(ways) = ways else { return ExitCode::FAILURE };
    let tried = attempt(&ways);
    let line = serde_json::to_string(&tried).unwrap_or_default();
    let mut out = std::io::stdout();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn attempt(ways: &Ways) -> Tried {
    let out = WAYS.iter().map(|(name, _)| ((*name).to_owned(), escapes(name, ways))).collect();
    let temporary = std::env::var_os("TMPDIR").map_or("/tmp".into(), PathBuf::from);
    Tried { out, works: writes(&ways.inside) && writes(&temporary) }
}

/// True when a way leads out. Whatever cannot be tried does not lead out.
fn escapes(way: &str, ways: &Ways) -> bool {
    const WAIT: Duration = Duration::from_millis(500);
    match way {
        "read" => fs::read(&ways.secret).is_ok(),
        "write" => writes(&ways.outside),
        "signal" => rustix::process::Pid::from_raw(ways.process).is_some_and(|pid| {
            is_the_runner(ways) && rustix::process::test_kill_process(pid).is_ok()
        }),
        "environ" => {
            is_the_runner(ways)
                && fs::read(format!("/proc/{}/environ", ways.process))
                    .is_ok_and(|environ| !environ.is_empty())
        }
        "tcp" => TcpStream::connect_timeout(&ways.tcp, WAIT)
            .and_then(|mut stream| {
                stream.set_read_timeout(Some(WAIT))?;
                let mut word = [0; 1];
                stream.read_exact(&mut word)
            })
            .is_ok(),
        // Sent may be into a loopback of its own: whether it arrived is for the receiver to say.
        "udp" => UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.send_to(b"out", ways.udp))
            .is_ok(),
        "socket" => UnixStream::connect(&ways.socket).is_ok(),
        "kernel" => {
            fs::OpenOptions::new().write(true).open("/proc/sys/kernel/core_pattern").is_ok()
        }
        "namespace" => makes_namespaces(),
        "capabilities" => {
            status("CapEff:").is_none_or(|caps| !caps.trim_start_matches('0').is_empty())
        }
        "setuid" => status("NoNewPrivs:").as_deref() != Some("1"),
        "calls" => status("Seccomp:").as_deref() != Some("2"),
        "descriptors" => open_descriptors() > 0,
        _ => true,
    }
}

/// True unless another process has that number here: inside, numbers begin anew.
fn is_the_runner(ways: &Ways) -> bool {
    let born = born(ways.process);
    born.is_none() || born == Some(ways.born)
}

fn writes(directory: &Path) -> bool {
    let file = directory.join("trial");
    let made = fs::write(&file, b"x").is_ok();
    // One that cannot be removed again was made all the same.
    let _ = fs::remove_file(&file);
    made
}

/// A line of `/proc/self/status`, without its name.
fn status(name: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().to_owned())
}

/// Open files beside the three that every program has, and the one that is looking.
fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(4))
}

/// Last of all: where it works, the trial is in another world afterwards.
#[cfg(target_os = "linux")]
fn makes_namespaces() -> bool {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn makes_namespaces() -> bool {
    false
}

/// When a process began, in clock ticks since boot; `None` where it cannot be seen.
pub fn born(process: i32) -> Option<u64> {
    let text = fs::read(format!("/proc/{process}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let rest = text.get(text.rfind(')')? + 2..)?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}
