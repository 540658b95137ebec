//! A filter of system calls: what no build, test or agent needs and what walls were broken with before.
//!
//! Most of it makes the kernel smaller for a program that looks for its bugs. Three things are walls of their
//! own: no new namespaces (and with them no mounts), no word into a terminal's input, and in T1, whose
//! network is the machine's, only what Landlock can hold: TCP. It holds for the calling thread and
//! everything that it starts, for good, and is the same for every program: never decides by path.
//!
//! A refused call fails with EPERM, as it does without rights, so that programs take their other way.

use std::{collections::BTreeMap, io};

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, sock_filter,
};

use crate::sandbox::{Network, Tier, Walls};

/// Calls that nobody behind walls makes, in any tier.
const NEVER: &[libc::c_long] = &[
    // Other programs' memory and files. Namespaces and Landlock refuse it for programs outside; this keeps
    // it from the reaper inside.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Large, young or rarely used parts of the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    // Keys of the session are those of the user's other programs.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Mounts and roots, by the old and the new calls.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // open_tree_attr (Linux 6.15), which the libc crate does not name yet. New calls have one number everywhere.
    467,
    libc::SYS_setns,
    // A file by its number instead of its path goes round every rule about paths.
    libc::SYS_open_by_handle_at,
    // The machine.
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// Shared memory, queues and locks that have a number or a name and no path: without a namespace they are
/// those of all programs of the user.
const SHARED: &[libc::c_long] = &[
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
];

/// The flags of `clone` and `unshare` that make namespaces: mounts, control groups, host names, shared
/// memory, users, processes, network. That of the clock is for `unshare` alone: in `clone` it is part of
/// the signal.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];
/// `CLONE_NEWTIME`, linux/sched.h.
const NEW_CLOCK: libc::c_int = 0x80;
/// `TIOCSTI` and `TIOCLINUX`, asm-generic/ioctls.h: words into the input of a terminal, and of the console.
const INTO_TERMINALS: [libc::c_int; 2] = [0x5412, 0x541c];
/// The part of a socket's type that is its kind, linux/net.h; the rest are flags.
const KINDS: u64 = 0xf;

/// Puts the filter on the calling thread and all that it starts from now on. Sets `no_new_privs` too.
pub fn install(walls: &Walls) -> io::Result<()> {
    for program in programs(walls).map_err(|error| io::Error::other(format!("seccomp: {error}")))? {
        seccompiler::apply_filter(&program)
            .map_err(|error| io::Error::other(format!("seccomp: {error}")))?;
    }
    Ok(())
}

/// The filters. The kernel asks all of them and takes the strictest answer; it remembers the calls that are
/// always allowed, so that these cost nothing.
fn programs(walls: &Walls) -> Result<Vec<BpfProgram>, BackendError> {
    let refused = rules(walls)?;
    // clone3 has its flags in memory, where no filter can look. "Not there" makes every libc use clone.
    let absent = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let mut programs = vec![compile(refused, libc::EPERM)?, compile(absent, libc::ENOSYS)?];
    if cfg!(target_arch = "x86_64") {
        programs.push(without_x32());
    }
    Ok(programs)
}

/// A program that calls with another architecture's numbers is killed.
fn compile(
    rules: BTreeMap<libc::c_long, Vec<SeccompRule>>,
    error: libc::c_int,
) -> Result<BpfProgram, BackendError> {
    let error = SeccompAction::Errno(error.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, error, architecture)?.try_into()
}

/// x32 numbers its calls from 2^30 on and is the same architecture to the kernel, so that the other filters,
/// which compare numbers, would let all of them through. Refused like the others, and not called absent as
/// `clone3` is: so it shows that the filter stands where the kernel has no x32 either.
fn without_x32() -> BpfProgram {
    // Classic BPF, linux/bpf_common.h and linux/seccomp.h. The call's number is the first word.
    let step = |code, jf, k| sock_filter { code, jt: 0, jf, k };
    let (load, at_least, answer) = (0x20, 0x35, 0x06);
    vec![
        step(load, 0, 0),
        step(at_least, 1, 0x4000_0000),
        step(answer, 0, 0x0005_0000 | libc::EPERM.unsigned_abs()),
        step(answer, 0, 0x7fff_0000),
    ]
}

type Rules = BTreeMap<libc::c_long, Vec<SeccompRule>>;

/// All calls that are refused, by number. An empty list refuses the call whatever its arguments.
fn rules(walls: &Walls) -> Result<Rules, BackendError> {
    let mut rules: Rules = NEVER.iter().map(|call| (*call, Vec::new())).collect();
    let flags = |flags: &[libc::c_int]| {
        flags.iter().map(|flag| has(0, *flag)).collect::<Result<Vec<_>, _>>()
    };
    rules.insert(libc::SYS_clone, flags(&NAMESPACES)?);
    rules.insert(libc::SYS_unshare, flags(&[&NAMESPACES[..], &[NEW_CLOCK]].concat())?);
    let words = INTO_TERMINALS.iter().map(|request| all([is(1, *request)?]));
    rules.insert(libc::SYS_ioctl, words.collect::<Result<_, _>>()?);
    // Limits of another process may be read and not set: with one on its processor time it is dead.
    let sets = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![all([is_not(0, 0)?, sets])?]);
    // The kernel has forty families more. Of netlink only the part that tells addresses.
    let mut sockets = vec![
        all([
            is_not(0, libc::AF_UNIX)?,
            is_not(0, libc::AF_INET)?,
            is_not(0, libc::AF_INET6)?,
            is_not(0, libc::AF_NETLINK)?,
        ])?,
        all([is(0, libc::AF_NETLINK)?, is_not(2, libc::NETLINK_ROUTE)?])?,
    ];
    if walls.tier != Tier::T2 {
        rules.extend(SHARED.iter().map(|call| (*call, Vec::new())));
        // A program may make itself slower, and nobody else. The first arguments say "this process".
        for (call, process) in [(libc::SYS_setpriority, 0), (libc::SYS_ioprio_set, 1)] {
            rules.insert(call, vec![all([is_not(0, process)?])?, all([is_not(1, 0)?])?]);
        }
        if walls.network != Network::Host {
            only_tcp(&mut rules, &mut sockets)?;
        }
    }
    rules.insert(libc::SYS_socket, sockets);
    Ok(rules)
}

/// Landlock asks at TCP's `connect` and nowhere else. What is not plain TCP goes round it (MPTCP, SMC and
/// SCTP are stream sockets of the same families), and so does a connection that begins with its first data.
fn only_tcp(rules: &mut Rules, sockets: &mut Vec<SeccompRule>) -> Result<(), BackendError> {
    let others = (0..=0xf).filter(|kind| *kind != libc::SOCK_STREAM);
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in others.clone() {
            sockets.push(all([is(0, family)?, is_kind(kind)?])?);
        }
        sockets.push(all([is(0, family)?, is_not(2, 0)?, is_not(2, libc::IPPROTO_TCP)?])?);
    }
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        rules.insert(call, vec![has(flags, libc::MSG_FASTOPEN)?]);
    }
    // docker, ssh-agent, dbus. A pair is harmless unless it is made of datagrams, of which SOCK_RAW is
    // another name here: they can be sent to any address later.
    sockets.push(all([is(0, libc::AF_UNIX)?])?);
    let datagrams = vec![all([is_kind(libc::SOCK_DGRAM)?])?, all([is_kind(libc::SOCK_RAW)?])?];
    rules.insert(libc::SYS_socketpair, datagrams);
    Ok(())
}

/// True when all of these are.
fn all<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into())
}

/// The kernel takes these arguments as 32 bits, and so must the filter: the upper half is the program's to
/// choose.
fn argument(
    at: u8,
    how: SeccompCmpOp,
    value: libc::c_int,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(at, SeccompCmpArgLen::Dword, how, u64::from(value.cast_unsigned()))
}

fn is(at: u8, value: libc::c_int) -> Result<SeccompCondition, BackendError> {
    argument(at, SeccompCmpOp::Eq, value)
}

fn is_not(at: u8, value: libc::c_int) -> Result<SeccompCondition, BackendError> {
    argument(at, SeccompCmpOp::Ne, value)
}

fn is_kind(kind: libc::c_int) -> Result<SeccompCondition, BackendError> {
    argument(1, SeccompCmpOp::MaskedEq(KINDS), kind)
}

fn has(at: u8, flag: libc::c_int) -> Result<SeccompRule, BackendError> {
    all([argument(at, SeccompCmpOp::MaskedEq(u64::from(flag.cast_unsigned())), flag)?])
}
