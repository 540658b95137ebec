//! Landlock, the filter of system calls and the loss of privileges, each on a thread of this test: they hold
//! for one thread and what it starts. Every refusal has its control on a thread without.

use std::{
    fs, io,
    net::{TcpListener, TcpStream, UdpSocket},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::Command,
    thread,
};

use nightshift::sandbox::{
    Limits, Network, Tier, Walls,
    linux::{landlock, limits, seccomp},
};
use nix::sched::CloneFlags;
use rustix::{
    io::Errno,
    net::{AddressFamily, Protocol, SendFlags, SocketFlags, SocketType},
};

use crate::support::kernel::has_landlock;

/// Walls of T1 around one directory to write.
fn walls(dir: &Path, network: Network) -> Walls {
    fs::create_dir_all(dir.join("inside")).unwrap();
    fs::create_dir_all(dir.join("tmp")).unwrap();
    let read = ["/usr", "/bin", "/lib", "/lib64", "/etc"].map(Into::into).into();
    Walls {
        tier: Tier::T1,
        read,
        write: vec![dir.join("inside")],
        hidden: Vec::new(),
        overlays: Vec::new(),
        tmp: dir.join("tmp"),
        network,
        limits: Limits::default(),
    }
}

/// Runs something on a thread with all layers that are a thread's.
fn behind<T: Send + 'static>(walls: &Walls, inside: impl FnOnce() -> T + Send + 'static) -> T {
    let walls = walls.clone();
    let run = move || {
        limits::drop_privileges().unwrap();
        landlock::restrict(&walls).unwrap();
        seccomp::install(&walls).unwrap();
        inside()
    };
    thread::spawn(run).join().unwrap()
}

fn sh(script: String) -> impl FnOnce() -> (Option<i32>, String) + Send {
    move || {
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }
}

#[test]
fn files_outside_are_neither_read_nor_written_nor_replaced() {
    if !has_landlock() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let walls = walls(&root, Network::Nobody);
    for script in [
        "cat $R/secret",
        "ls $R",
        "echo x > $R/new",
        "echo x >> $R/secret",
        "truncate -s 0 $R/secret",
        "mv $R/inside/own $R/own",
        "mv $R/secret $R/inside/secret",
        "ln $R/secret $R/inside/link",
        "rm $R/secret",
        "mkdir $R/directory",
        "mkfifo $R/pipe",
        "ln -s / $R/link",
        "mv $R/inside $R/elsewhere",
        "ln -s $R/secret $R/inside/soft && cat $R/inside/soft",
        "cat /proc/$PPID/environ",
        "$R/run",
    ] {
        for layers in [false, true] {
            let _ = fs::remove_dir_all(root.join("elsewhere"));
            for made in
                ["new", "own", "pipe", "link", "inside/secret", "inside/link", "inside/soft"]
            {
                let _ = fs::remove_file(root.join(made));
            }
            let _ = fs::remove_dir(root.join("directory"));
            fs::create_dir_all(root.join("inside")).unwrap();
            fs::write(root.join("inside/own"), "own").unwrap();
            fs::write(root.join("secret"), "secret").unwrap();
            fs::write(root.join("run"), "#!/bin/sh\nexit 0\n").unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(root.join("run"), mode).unwrap();
            let script = sh(format!("R={}; {script}", root.display()));
            if layers {
                let (code, text) = behind(&walls, script);
                assert!(code != Some(0), "{text}");
                assert_eq!(fs::read_to_string(root.join("secret")).unwrap(), "secret");
            } else {
                let (code, text) = script();
                assert_eq!(code, Some(0), "the control: {text}");
            }
        }
    }
}

#[test]
fn a_program_has_its_own_directories_its_devices_and_its_descriptors() {
    if !has_landlock() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let script = format!(
        "set -e; cd {}/inside; mkdir -p a/b; echo x > a/b/f; mv a/b/f a/g; ln a/g a/h; rm -r a
         mktemp -p {0}/tmp; echo x > /dev/null; head -c 4 /dev/urandom | wc -c; echo e > /dev/stderr
         cat /proc/self/status | grep -E '^(Cap(Inh|Prm|Eff|Amb)|NoNewPrivs)'; cp /bin/true t; ./t; getent ahosts localhost",
        root.display()
    );
    let (code, text) = behind(&walls(&root, Network::Nobody), sh(script));
    assert_eq!(code, Some(0), "{text}");
    for line in text.lines().filter(|line| line.starts_with("Cap")) {
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    assert!(text.contains("NoNewPrivs:\t1"), "{text}");
}

#[test]
fn a_link_in_the_place_of_a_writable_path_is_an_error() {
    if !has_landlock() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let mut walls = walls(&root, Network::Nobody);
    fs::create_dir(root.join("private")).unwrap();
    std::os::unix::fs::symlink("../private", root.join("inside/planted")).unwrap();
    walls.write.push(root.join("inside/planted"));
    let problem = thread::spawn(move || landlock::restrict(&walls).unwrap_err()).join().unwrap();
    assert!(problem.to_string().contains("a directory that the program may write"), "{problem}");
}

#[test]
fn a_link_of_the_machine_on_the_way_to_a_writable_path_is_followed() {
    if !has_landlock() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let real = walls(&root, Network::Nobody);
    std::os::unix::fs::symlink(".", root.join("data")).unwrap();
    let walls = Walls { write: vec![root.join("data/inside")], tmp: root.join("data/tmp"), ..real };
    let script = format!("cd {}/data/inside && echo x > made && cat made", root.display());
    assert_eq!(behind(&walls, sh(script)), (Some(0), "x\n".to_owned()));
}

#[test]
fn only_the_port_of_the_walls_can_be_reached() {
    if !has_landlock() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let (ours, other) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (ours, other) = (ours.local_addr().unwrap(), other.local_addr().unwrap());
    let reach = move || {
        [ours, other].map(|to| TcpStream::connect(to).map(drop).map_err(|error| error.kind()))
    };
    assert_eq!(reach(), [Ok(()), Ok(())]);
    let denied = Err(io::ErrorKind::PermissionDenied);
    assert_eq!(behind(&walls(&root, Network::Ours { port: ours.port() }), reach), [Ok(()), denied]);
    assert_eq!(behind(&walls(&root, Network::Nobody), reach), [denied, denied]);
    assert_eq!(behind(&walls(&root, Network::Host), reach), [Ok(()), Ok(())]);
    let listen = || TcpListener::bind("127.0.0.1:0").map(drop).map_err(|error| error.kind());
    assert_eq!(behind(&walls(&root, Network::Nobody), listen), Ok(()));
}

/// A call, and what it answers.
type Call = (&'static str, fn() -> Result<(), Errno>);

fn socket(family: AddressFamily, kind: SocketType, protocol: u32) -> Result<OwnedFd, Errno> {
    let protocol = std::num::NonZero::new(protocol).map(Protocol::from_raw);
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol)
}

fn nix(result: nix::Result<()>) -> Result<(), Errno> {
    result.map_err(|error| Errno::from_raw_os_error(error as i32))
}

fn mount() -> Result<(), Errno> {
    let none = None::<&str>;
    nix(nix::mount::mount(
        Some("none"),
        "/proc/self/nowhere",
        none,
        nix::mount::MsFlags::empty(),
        none,
    ))
}

/// Connects with the first data: no `connect`, at which Landlock would ask.
fn fast_open() -> Result<(), Errno> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|_| Errno::IO)?;
    let to = listener.local_addr().map_err(|_| Errno::IO)?;
    let socket = socket(AddressFamily::INET, SocketType::STREAM, 0)?;
    let flags = SendFlags::from_bits_retain(0x2000_0000);
    rustix::net::sendto(&socket, b"x", flags, &to).map(drop)
}

/// Refused in every tier.
const ALWAYS: [Call; 8] = [
    ("mount", mount),
    ("unshare of users", || nix(nix::sched::unshare(CloneFlags::CLONE_NEWUSER))),
    ("unshare of mounts", || nix(nix::sched::unshare(CloneFlags::CLONE_NEWNS))),
    ("packets", || socket(AddressFamily::PACKET, SocketType::DGRAM, 0).map(drop)),
    ("the kernel's crypto", || {
        socket(AddressFamily::from_raw(38), SocketType::SEQPACKET, 0).map(drop)
    }),
    ("vsock", || socket(AddressFamily::VSOCK, SocketType::STREAM, 0).map(drop)),
    ("netlink of the firewall", || socket(AddressFamily::NETLINK, SocketType::RAW, 12).map(drop)),
    ("limits of another process", || {
        let parent = rustix::process::getppid();
        let none = rustix::process::Rlimit { current: None, maximum: None };
        rustix::process::prlimit(parent, rustix::process::Resource::Core, none).map(drop)
    }),
];

/// Refused where the network is the machine's.
const WITHOUT_A_NETWORK_OF_ITS_OWN: [Call; 8] = [
    ("udp", || socket(AddressFamily::INET, SocketType::DGRAM, 0).map(drop)),
    ("udp over IPv6", || socket(AddressFamily::INET6, SocketType::DGRAM, 0).map(drop)),
    ("raw", || socket(AddressFamily::INET, SocketType::RAW, 1).map(drop)),
    ("mptcp", || socket(AddressFamily::INET, SocketType::STREAM, 262).map(drop)),
    ("a socket with a path", || socket(AddressFamily::UNIX, SocketType::STREAM, 0).map(drop)),
    ("a pair that can be sent elsewhere", || pair(SocketType::DGRAM)),
    ("the same under its other name", || pair(SocketType::RAW)),
    ("data that connects", fast_open),
];

fn pair(kind: SocketType) -> Result<(), Errno> {
    rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).map(drop)
}

/// What programs do all the time.
const NEVER_REFUSED: [Call; 4] = [
    ("tcp", || socket(AddressFamily::INET, SocketType::STREAM, 0).map(drop)),
    ("tcp by name", || socket(AddressFamily::INET6, SocketType::STREAM, 6).map(drop)),
    ("a pair", || pair(SocketType::STREAM)),
    ("addresses", || socket(AddressFamily::NETLINK, SocketType::RAW, 0).map(drop)),
];

#[test]
fn calls_that_go_round_walls_are_refused_and_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let filtered = |tier: Tier, network: Network, calls: Vec<Call>| {
        let walls = Walls { tier, ..walls(dir.path(), network) };
        let run = move || {
            seccomp::install(&walls).unwrap();
            calls.iter().map(|(name, call)| (*name, call())).collect::<Vec<_>>()
        };
        thread::spawn(run).join().unwrap()
    };
    let narrow = [&ALWAYS[..], &WITHOUT_A_NETWORK_OF_ITS_OWN].concat();
    for (name, answer) in filtered(Tier::T1, Network::Nobody, narrow.clone()) {
        assert_eq!(answer, Err(Errno::PERM), "{name}");
    }
    for (tier, network) in [(Tier::T2, Network::Nobody), (Tier::T1, Network::Host)] {
        let answers = filtered(tier, network, narrow.clone());
        let open = answers.iter().skip(ALWAYS.len()).filter(|(_, answer)| answer.is_ok()).count();
        assert!(open >= 6, "{answers:?}");
        for (name, answer) in &answers[..ALWAYS.len()] {
            assert_eq!(*answer, Err(Errno::PERM), "{name}");
        }
    }
    for (name, answer) in filtered(Tier::T1, Network::Nobody, NEVER_REFUSED.into()) {
        assert_eq!(answer, Ok(()), "{name}");
    }
    // The control: what the filter refuses fails without it for other reasons, or not at all.
    let answers = thread::spawn(move || narrow.iter().map(|(_, call)| call()).collect::<Vec<_>>());
    let answers = answers.join().unwrap();
    let own = answers.iter().filter(|answer| **answer != Err(Errno::PERM)).count();
    assert!(own >= 12, "{answers:?}");
}

#[test]
fn sockets_of_services_are_out_of_reach_and_udp_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("docker.sock");
    let _service = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let reach = move || {
        let unix = UnixStream::connect(&path).map(drop).map_err(|error| error.kind());
        let udp = UdpSocket::bind("127.0.0.1:0").map(drop).map_err(|error| error.kind());
        (unix, udp)
    };
    assert_eq!(reach.clone()(), (Ok(()), Ok(())));
    let walls = walls(dir.path(), Network::Nobody);
    let answer = thread::spawn(move || {
        seccomp::install(&walls).unwrap();
        reach()
    });
    let denied = Err(io::ErrorKind::PermissionDenied);
    assert_eq!(answer.join().unwrap(), (denied, denied));
}
