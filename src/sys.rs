//! The calls that have no safe wrapper, each with its proof. Nothing else in the program is `unsafe`.

use std::sync::Once;
#[cfg(target_os = "linux")]
use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Packs that libgit2 keeps open, at most; it opens another one when it needs it. Far below the 256 files that a process
/// may have open where least are allowed (macOS), and more than the packs of most repositories.
const PACKS_OPEN: usize = 64;

/// Keeps libgit2 away from every configuration but the vault's own: no user, system or XDG file is read,
/// so nothing that an agent might write there can change what we do with git.
///
/// Repositories of other owners may be opened: libgit2 runs no program of a repository, and in containers
/// the checkout often belongs to another user.
///
/// Called wherever a repository is first opened; only the first call does anything.
pub fn isolate_libgit2() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Objects are written in the vault's own store, where entries that only the user's store has
        // would not be found. We check what we write by reading it back.
        git2::opts::strict_object_creation(false);
        #[expect(
            unsafe_code,
            reason = "git2 marks these unsafe because they write process globals"
        )]
        // SAFETY: libgit2's options are plain globals. `Once` lets one thread write them, every other
        // thread that opens a repository waits here first, and nothing writes them afterwards.
        unsafe {
            for level in [
                git2::ConfigLevel::ProgramData,
                git2::ConfigLevel::System,
                git2::ConfigLevel::XDG,
                git2::ConfigLevel::Global,
            ] {
                // An error means that this libgit2 does not know the level: nothing is read from it.
                let _ = git2::opts::set_search_path(level, "");
            }
            let _ = git2::opts::set_verify_owner_validation(false);
            // Each is a file that stays open: a pack for every task of a night that keeps work, and all of the person's.
            let _ = git2::opts::set_mwindow_file_limit(PACKS_OPEN);
        }
    });
}

/// Sets attributes (`MOUNT_ATTR_…`) of a mount that is open, with all mounts below it when `whole`. What
/// is set already stays, so nothing that an outer namespace has locked is touched. Linux 5.12 and later.
#[cfg(target_os = "linux")]
pub fn set_mount_attributes(mount: impl AsFd, attributes: u64, whole: bool) -> io::Result<()> {
    use nix::libc;
    let wish = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if whole { libc::AT_RECURSIVE } else { 0 };
    #[expect(unsafe_code, reason = "no crate of ours wraps mount_setattr")]
    // SAFETY: the path is a constant string with its end, `wish` lives through the call and its size is
    // given with it, and the descriptor is borrowed. The kernel writes to none of them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const wish,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Closes every descriptor behind the first three when this process executes another program. Linux 5.11
/// and later.
#[cfg(target_os = "linux")]
pub fn close_all_at_exec() -> io::Result<()> {
    use nix::libc;
    #[expect(unsafe_code, reason = "no crate of ours wraps close_range")]
    // SAFETY: the call takes three numbers and closes nothing now: it sets a flag of descriptors, whoever
    // owns them.
    let result = unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The process that called and a copy of it.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    /// The one that called: the copy's process id, as it is seen here.
    Parent(i32),
    /// The copy. It has all descriptors of the other, and its locks of files are the same.
    Child,
}

/// Copies this process, which must have one thread; an error otherwise. It costs a quarter of starting our own
/// binary again, which has some ten thousand addresses to fill in each time.
#[cfg(target_os = "linux")]
pub fn fork() -> io::Result<Forked> {
    use nix::libc;
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a process with several threads cannot be copied"));
    }
    #[expect(unsafe_code, reason = "no crate makes a safe call of fork")]
    // SAFETY: what makes it unsafe is another thread that holds a lock, of the allocator for example, which
    // nobody gives back in the copy. There is no other, and only this one could make one.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}
