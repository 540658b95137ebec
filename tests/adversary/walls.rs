//! The attacks on the walls around one program: files, processes, limits, the network, the kernel.
//!
//! Each is let loose in three scenes: behind T2, behind T1, and without walls, where it must come through.
//! `kill -9 -1` and the like are not here: they would end the machine that tests if the walls failed.

use nightshift::sandbox::{Limits, Tier};

use super::attack::{Attack, Needs, When};

const SLOWER: &str = "your other programs can be made slower (scheduling), not stopped";
const SIGNALS: &str = "your other programs can be sent signals (closed from Linux 6.12 on)";
const PORTS: &str = "all tasks share the machine's ports, and other machines can connect to them";
const OUR_PORT: &str = "any host that listens on the proxy's port can be reached";
const MODES: &str =
    "modes and times of files outside can be changed (chmod, touch), not their contents";
const SOCKETS: &str =
    "a service whose socket lies where programs may read (/usr, /opt, /etc) is reached";
const ARGUMENTS: &str = "names and arguments of your other programs can be seen";

/// All of them.
pub(super) fn attacks() -> Vec<Attack> {
    let groups = [
        ("files", files()),
        ("programs", programs()),
        ("limits", limits()),
        ("network", network()),
        ("kernel", kernel()),
    ];
    let named = |(group, attacks): (&'static str, Vec<Attack>)| {
        attacks.into_iter().map(move |attack| attack.of(group))
    };
    groups.into_iter().flat_map(named).collect()
}

fn files() -> Vec<Attack> {
    vec![
        Attack::sh("remove the home", "rm -rf \"$OUT\""),
        Attack::sh("append to a start-up file", "echo evil >> \"$OUT/.bashrc\""),
        Attack::sh("read a key", "cat \"$OUT/.ssh/id_ed25519\""),
        Attack::sh("read a token of another program", "cat \"$OUT/.config/gh/hosts.yml\""),
        Attack::sh(
            "read what is hidden in a readable directory",
            "cat \"$OUT/tools/credentials\"; ls \"$OUT/tools\"",
        ),
        Attack::sh("list the home", "ls -a \"$OUT\""),
        Attack::sh("open a key to everybody (chmod)", "chmod 777 \"$OUT/.ssh\"")
            .gap(Tier::T1, When::Always, MODES),
        Attack::sh("change the times of a file", "touch -d 2001-01-01 \"$OUT/.bashrc\"")
            .gap(Tier::T1, When::Always, MODES),
        Attack::sh("give a file away (chown)", "chown 12345 \"$OUT/.bashrc\"").needs(Needs::Root),
        Attack::sh("cut a file off", "truncate -s 0 \"$OUT/.bashrc\""),
        Attack::sh("link a key into the workspace and read it", "ln \"$OUT/.ssh/id_ed25519\" k; cat k"),
        Attack::sh("point a link at a key and read through it", "ln -s \"$OUT/.ssh/id_ed25519\" k; cat k"),
        Attack::sh("move a key into the workspace", "mv \"$OUT/.ssh/id_ed25519\" k; cat k"),
        Attack::sh(
            "put a link in the place of the workspace",
            "cd /; mv \"$W\" \"$W.gone\"; ln -s \"$OUT\" \"$W\"",
        ),
        Attack::sh("write a layer by its own path", "echo evil > \"$LOWER/file\"; echo evil > \"$UPPER/planted\""),
        Attack::sh("read the machine's shared memory", "cat \"$SHM\""),
        Attack::sh(
            "walk through the roots of processes",
            "for p in $VICTIM $PPID 1 self; do cat \"/proc/$p/root$OUT/.ssh/id_ed25519\"; done",
        ),
        Attack::sh("walk through a directory of another program", "cat /proc/$VICTIM/cwd/.ssh/id_ed25519"),
        Attack::sh("read an open file of another program", "cat /proc/$VICTIM/fd/9"),
        Attack::sh(
            "read the environment of other programs",
            "for p in $VICTIM $PPID 1; do tr '\\0' '\\n' < /proc/$p/environ; done",
        ),
        Attack::sh("read the arguments of other programs", "tr '\\0' '\\n' < /proc/$VICTIM/cmdline")
            .gap(Tier::T1, When::Always, ARGUMENTS),
        Attack::python(
            "leave shared memory of the System V kind behind",
            "sys.exit(call(194 if ARM else 29, int(E['KEY']), 4096, 0o1600)[0] < 0)",
        ),
        Attack::python(
            "run a program from memory",
            "fd = os.memfd_create('x')
with open('/bin/cat', 'rb') as cat: os.write(fd, cat.read())
os.execv(f'/proc/self/fd/{fd}', ['cat', E['OUT'] + '/.ssh/id_ed25519'])",
        ),
        Attack::python(
            "use a descriptor that was left open",
            "for n in range(3, 256):
    try: os.lseek(n, 0, 0); print(os.read(n, 100))
    except OSError: pass",
        ),
        Attack::sh("become another user by a setuid program", "[ \"$(\"$OUT/whoami\" -u)\" = 12345 ]")
            .by_exit()
            .needs(Needs::Root),
        Attack::sh("allow core files", "ulimit -c 1000").by_exit(),
        Attack::sh("set where the kernel sends core files", ": >> /proc/sys/kernel/core_pattern")
            .by_exit()
            .needs(Needs::Root),
        Attack::sh("open the kernel's emergency keys", ": >> /proc/sysrq-trigger")
            .by_exit()
            .needs(Needs::Luck),
        Attack::sh("make a device", "mknod d c 1 3 && : > d").by_exit().needs(Needs::Root),
        Attack::sh(
            "read a disk",
            "for d in /dev/vda /dev/sda /dev/nvme0n1 /dev/xvda; do head -c 1 $d && exit 0; done; exit 1",
        )
        .by_exit()
        .needs(Needs::Luck),
    ]
}

fn programs() -> Vec<Attack> {
    vec![
        Attack::sh("end another program", "kill -9 $VICTIM")
            .gap(Tier::T1, When::WithoutScopes, SIGNALS),
        Attack::sh("stop another program", "kill -STOP $VICTIM")
            .gap(Tier::T1, When::WithoutScopes, SIGNALS),
        Attack::sh("end its supervisor", "sleep 0.3; kill -9 $PPID; sleep 0.2")
            .gap(Tier::T1, When::WithoutScopes, SIGNALS),
        Attack::python(
            "speak in its supervisor's name",
            "import time
time.sleep(0.3)
words = b'{\"is\":\"ended\",\"ended\":{\"code\":77},\"millis\":1}\\n'
words += b'{\"is\":\"swept\",\"survivors\":0,\"names\":[],\"left\":0,\"output_cut\":false}\\n'
p, _ = call(434, os.getppid(), 0)
for n in range(8):
    f, _ = call(438, p, n, 0)
    try: os.write(f, words)
    except OSError: pass
os.kill(os.getppid(), 9)
time.sleep(0.3)",
        )
        .needs(Needs::Root),
        Attack::python(
            "set a limit of another program",
            "resource.prlimit(int(E['VICTIM']), resource.RLIMIT_NOFILE, (64, 64))",
        ),
        Attack::sh("be the last to go when memory is full", "echo -1000 > /proc/self/oom_score_adj")
            .by_exit()
            .needs(Needs::Luck),
        Attack::sh(
            "make its supervisor the first to go when memory is full",
            "echo 1000 > /proc/$PPID/oom_score_adj",
        )
        .by_exit(),
        Attack::python(
            "make another program slow (nice)",
            "os.setpriority(os.PRIO_PROCESS, int(E['VICTIM']), 15)",
        ),
        Attack::python(
            "make another program slow (scheduler)",
            "os.sched_setscheduler(int(E['VICTIM']), os.SCHED_BATCH, os.sched_param(0))",
        )
        .gap(Tier::T1, When::NotRoot, SLOWER),
        Attack::python(
            "trace another program",
            "sys.exit(call(117 if ARM else 101, 0x4206, int(E['VICTIM']), 0, 0)[0] != 0)",
        )
        .by_exit()
        .needs(Needs::Root),
        Attack::python(
            "read the memory of another program",
            "b = ctypes.create_string_buffer(8)
m = open(f\"/proc/{E['VICTIM']}/maps\").readline().split('-')[0]
v = lambda a: struct.pack('QQ', a, 8)
sys.exit(call(270 if ARM else 310, int(E['VICTIM']), v(ctypes.addressof(b)), 1, v(int(m, 16)), 1, 0)[0] != 8)",
        )
        .by_exit()
        .needs(Needs::Root),
        Attack::python(
            "take a descriptor of another program",
            "p, _ = call(434, int(E['VICTIM']), 0)
f, _ = call(438, p, 9, 0)
print(os.pread(f, 100, 0))",
        )
        .needs(Needs::Root),
        Attack::sh(
            "leave a daemon behind",
            "setsid sh -c 'trap \"\" TERM INT HUP; sleep 0.6; echo alive > beat' >/dev/null 2>&1 & sleep 0.1",
        )
        .alone(),
        Attack::python(
            "leave a daemon behind that forks away",
            "import time
if os.fork() == 0:
    os.setsid(); os.close(0); os.close(1); os.close(2)
    end = time.time() + 0.6
    while time.time() < end:
        if os.fork(): os._exit(0)
        time.sleep(0.01)
    open('beat', 'w').write('alive')
    os._exit(0)",
        )
        .alone(),
    ]
}

fn limits() -> Vec<Attack> {
    let small = Limits::default();
    vec![
        Attack::sh(
            "start more processes than allowed",
            "i=0; while [ $i -lt 150 ]; do sleep 9 & i=$((i+1)); done; sleep 3; kill $(jobs -p); exit 0",
        )
        .by_exit()
        .limits(Limits { processes: 100, ..small }),
        Attack::sh("write a file larger than allowed", "head -c 20000000 /dev/zero > big")
            .by_exit()
            .limits(Limits { file_bytes: 8 << 20, ..small }),
        Attack::python("open more files than allowed", "[os.open('own', 0) for _ in range(100)]")
            .by_exit()
            .limits(Limits { open_files: 64, ..small }),
        Attack::python(
            "take more memory than allowed",
            "import time
b = bytearray(400 << 20)
b[::4096] = b'x' * len(b[::4096])
time.sleep(3)",
        )
        .by_exit()
        .limits(Limits { memory_bytes: 200 << 20, ..small }),
        Attack::python(
            "raise its own limits",
            "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))",
        )
        .by_exit()
        .limits(Limits { open_files: 64, ..small }),
    ]
}

fn network() -> Vec<Attack> {
    vec![
        Attack::python(
            "connect to a server of the machine",
            "socket.create_connection(('127.0.0.1', int(E['PORT'])), 2)",
        ),
        Attack::python("connect by IPv6", "socket.create_connection(('::1', int(E['SIX'])), 2)")
            .needs(Needs::Luck),
        Attack::python(
            "connect to our port of another host",
            "socket.create_connection(('127.0.0.2', int(E['OURS'])), 2)",
        )
        .our_port()
        .gap(Tier::T1, When::Always, OUR_PORT),
        Attack::python(
            "connect by multipath TCP",
            "socket.socket(2, 1, 262).connect(('127.0.0.1', int(E['PORT'])))",
        )
        .needs(Needs::Luck),
        Attack::python(
            "connect by the first data (fast open)",
            "socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', int(E['PORT'])))",
        ),
        Attack::python(
            "send by UDP (DNS is this)",
            "socket.socket(2, 2).sendto(b'x', ('127.0.0.1', int(E['UDP'])))",
        ),
        Attack::python(
            "ask a service by its socket (docker, ssh-agent, dbus, tmux)",
            "socket.socket(socket.AF_UNIX).connect(E['SOCK'] + '/docker.sock')",
        ),
        Attack::python(
            "ask a service whose socket lies in a readable directory",
            "socket.socket(socket.AF_UNIX).connect(E['OUT'] + '/tools/agent.sock')",
        )
        .gap(Tier::T2, When::Always, SOCKETS),
        Attack::python(
            "send to a service by its socket for datagrams",
            "socket.socket(socket.AF_UNIX, 2).sendto(b'x', E['SOCK'] + '/log.sock')",
        ),
        Attack::python(
            "send the same from one half of a pair",
            "socket.socketpair(socket.AF_UNIX, 2)[0].sendto(b'x', E['SOCK'] + '/log.sock')",
        ),
        Attack::python(
            "ask a service by an abstract name",
            "socket.socket(socket.AF_UNIX).connect('\\0' + E['ABSTRACT'])",
        ),
        Attack::python(
            "be a server for the outside",
            "s = socket.create_server((E['HERE'], int(E['FREE']))); s.settimeout(1.5); s.accept()",
        )
        .listens()
        .gap(Tier::T1, When::Always, PORTS),
        Attack::python("listen to all packets", "socket.socket(17, 3, 768)")
            .by_exit()
            .needs(Needs::Root),
        Attack::python("send raw packets", "socket.socket(2, 3, 1)").by_exit().needs(Needs::Root),
        Attack::python(
            "hear the kernel's events (netlink)",
            "socket.socket(16, 3, 15).bind((0, 1))",
        )
        .by_exit(),
        Attack::python("the kernel's ciphers (AF_ALG)", "socket.socket(38, 5, 0)")
            .by_exit()
            .needs(Needs::Luck),
        Attack::python("the hypervisor (AF_VSOCK)", "socket.socket(40, 1, 0)")
            .by_exit()
            .needs(Needs::Luck),
    ]
}

fn kernel() -> Vec<Attack> {
    let root = Needs::Root;
    let new_user = "0x10000000";
    let mut attacks = vec![
        Attack::sh("mount something, as root of a new namespace", "mkdir m; unshare -Urm mount -t tmpfs none m")
            .by_exit()
            .needs(Needs::Luck),
        Attack::python("make a user namespace (unshare)", &format!("reached(97 if ARM else 272, {new_user})"))
            .by_exit()
            .needs(Needs::Luck),
        Attack::python(
            "make a user namespace (clone)",
            &format!(
                "pid, _ = call(220 if ARM else 56, {new_user} | 17, 0, 0, 0, 0)
if pid == 0: os._exit(0)
sys.exit(pid < 0)"
            ),
        )
        .by_exit()
        .needs(Needs::Luck),
        Attack::python(
            "make a user namespace (clone3)",
            &format!(
                "pid, _ = call(435, struct.pack('11Q', {new_user}, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0), 88)
if pid == 0: os._exit(0)
sys.exit(pid < 0)"
            ),
        )
        .by_exit()
        .needs(Needs::Luck),
        Attack::python("type into a terminal (TIOCSTI)", "reached(29 if ARM else 16, 0, 0x5412, b'x')").by_exit(),
        Attack::python(
            "the same with bits that the kernel drops",
            "reached(29 if ARM else 16, 0, 0x100005412, b'x')",
        )
        .by_exit(),
        Attack::python("copy and paste on the console (TIOCLINUX)", "reached(29 if ARM else 16, 0, 0x541c, b'x')")
            .by_exit(),
    ];
    if cfg!(target_arch = "x86_64") {
        attacks.push(
            Attack::python(
                "make calls of another architecture",
                "import mmap
m = mmap.mmap(-1, 4096, prot=7)
m.write(bytes.fromhex('b814000000cd80c3'))
f = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))
sys.exit(f() != os.getpid())",
            )
            .by_exit()
            .needs(Needs::Luck),
        );
    }
    // Arguments that end in an error of their own, once the kernel looks at them.
    attacks.extend([
        Attack::call("bpf", [321, 280], "0, 0, 0").needs(root),
        Attack::call("perf_event_open", [298, 241], "0, 0, -1, -1, 0").needs(Needs::Luck),
        Attack::call("userfaultfd", [323, 282], "1").needs(Needs::Luck),
        Attack::call("io_uring_setup", [425, 425], "1, 0").needs(Needs::Luck),
        Attack::call("keyctl", [250, 219], "0, -3, 0"),
        Attack::call("add_key", [248, 217], "0, 0, 0, 0, 0"),
        Attack::call("mount", [165, 40], "0, 0, 0, 0, 0").needs(root),
        Attack::call("umount2", [166, 39], "0, 0").needs(root),
        Attack::call("pivot_root", [155, 41], "0, 0").needs(root),
        Attack::call("chroot", [161, 51], "0"),
        Attack::call("open_tree", [428, 428], "-100, 0, 1").needs(root),
        Attack::call("fsopen", [430, 430], "0, 0").needs(root),
        Attack::call("mount_setattr", [442, 442], "-1, 0, 0, 0, 0").needs(root),
        Attack::call("setns", [308, 268], "-1, 0"),
        Attack::call("open_by_handle_at", [304, 265], "-100, 0, 0").needs(root),
        Attack::call("fanotify_init", [300, 262], "0xffffffff, 0").needs(Needs::Luck),
        Attack::call("kexec_load", [246, 104], "0, 0, 0, 0xffffffff").needs(Needs::Luck),
        Attack::call("init_module", [175, 105], "0, 0, 0").needs(Needs::Luck),
        Attack::call("reboot", [169, 142], "0, 0, 0, 0").needs(root),
        Attack::call("swapoff", [168, 225], "0").needs(root),
        Attack::call("settimeofday", [164, 170], "0, 0").needs(root),
        Attack::call("syslog", [103, 116], "10, 0, 0").needs(root),
        Attack::call("kcmp", [312, 272], "0, 0, 99, 0, 0").needs(Needs::Luck),
    ]);
    attacks
}
