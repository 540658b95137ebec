//! Room on the disk: how much a night will need, whether it is there, and a piece that is held back for the
//! night's own end.
//!
//! A night that cannot finish is refused before it begins, in words. Never decides what may go: that is
//! [`collect`]'s.

pub mod collect;
pub mod keep;

use std::{
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::{fs::FallocateFlags, io::Errno};

use crate::{
    diff::FileMode,
    files,
    git::{self, Vault, git, oid},
    ids::TreeId,
    runner::{places::Places, refused::Refused},
    sandbox::Limits,
    workspace::Kind,
};

/// Bytes that [`Reserve`] holds back for a night's report, journal and pull request (safety.md F7). They take
/// some hundred KiB; a file system that is full to the last block gives less back than was freed.
pub const RESERVED: u64 = 64 << 20;
/// Bytes of one program's private directories, transcripts and logs: a guess with room to spare. Claude Code keeps
/// some MiB for a conversation, and a transcript ends at its own limit.
const RECORDS: u64 = 32 << 20;
/// Files of the same.
const RECORD_FILES: u64 = 1_000;
/// What a small file takes on most file systems, in bytes.
const BLOCK: u64 = 4096;

/// Bytes and files on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes, in whole blocks.
    pub bytes: u64,
    /// Files, directories and links.
    pub files: u64,
}

impl Size {
    fn and(self, other: Size) -> Size {
        Size {
            bytes: self.bytes.saturating_add(other.bytes),
            files: self.files.saturating_add(other.files),
        }
    }

    fn times(self, count: u64) -> Size {
        Size { bytes: self.bytes.saturating_mul(count), files: self.files.saturating_mul(count) }
    }

    fn without(self, other: Size) -> Size {
        Size {
            bytes: self.bytes.saturating_sub(other.bytes),
            files: self.files.saturating_sub(other.files),
        }
    }

    fn at_most(self, other: Size) -> Size {
        Size { bytes: self.bytes.min(other.bytes), files: self.files.min(other.files) }
    }
}

/// What a tree takes when it is laid out. Costs one look at the header of every blob.
pub fn size_of(vault: &Vault, tree: &TreeId) -> Result<Size, git::Error> {
    let handles = vault.open()?;
    let objects = handles.read.odb().map_err(git("open the objects"))?;
    let mut size = Size::default();
    let mut above = None;
    for entry in vault.list(tree)? {
        let path = entry.path.as_bytes();
        let directory = path.iter().rposition(|byte| *byte == b'/').map(|end| path[..end].to_vec());
        // In order of path, so most files lie where the one before lay.
        let new = above != directory;
        above = directory;
        let header = || objects.read_header(oid(entry.blob.as_str()));
        let length = match entry.mode {
            FileMode::Gitlink => 0, // an empty directory
            FileMode::Regular | FileMode::Executable | FileMode::Symlink => {
                header().map_err(git(format!("read the size of {}", entry.path)))?.0
            }
        };
        let blocks = u64::try_from(length).unwrap_or(u64::MAX).div_ceil(BLOCK) + u64::from(new);
        let bytes = blocks.saturating_mul(BLOCK);
        size = size.and(Size { bytes, files: 1 + u64::from(new) });
    }
    Ok(size)
}

/// What a night is going to do, as far as it matters to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The base's tree, as [`size_of`] gives it.
    pub tree: Size,
    /// What the base's gate leaves in ignored paths, as the last cache told; `None` = nobody knows yet.
    pub cache: Option<Size>,
    /// How workspaces are made.
    pub kind: Kind,
    /// Tasks at a time.
    pub parallel: u32,
    /// What lies in the store of workspaces already, to be used again.
    pub present: Size,
}

/// What a night is going to need that is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// On the disk of the workspaces and histories.
    pub work: Size,
    /// On the disk of journals, the vault and agents' private directories.
    pub state: Size,
}

/// What a night is going to need. At least the three checkouts of safety.md F7: an agent's, a gate's and one
/// over, for histories. Beside what is laid out, each place is given room for what programs make in it: as
/// much again as the last cache, and while nobody knows that, as the tree.
pub fn forecast(load: &Load) -> Forecast {
    let places = u64::from(load.parallel.max(1)) + 1; // the gate's
    let cache = load.cache.unwrap_or_default();
    let made = load.cache.unwrap_or(load.tree);
    let laid_out = load.tree.and(cache);
    let standing = match load.kind {
        // Every place has all files, and the cache has its own.
        Kind::Pool => laid_out.times(places).and(cache),
        // One layer of each, under all places.
        Kind::Overlay => laid_out,
    };
    let there = load.present.at_most(standing);
    let history = load.tree;
    let records = Size { bytes: RECORDS, files: RECORD_FILES }.times(places);
    Forecast {
        work: standing.without(there).and(made.times(places)).and(history),
        state: records.and(Size { bytes: RESERVED, files: 1 }),
    }
}

/// What a disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes of all of it.
    pub total: u64,
    /// Bytes that this account may still use.
    pub free: u64,
    /// Files that may still be made; `None` = the file system does not count them.
    pub files: Option<u64>,
    device: u64,
}

impl Space {
    /// The disk that holds `path`, which exists.
    pub fn of(path: &Path) -> Result<Space, files::Error> {
        let problem = || files::error("ask for the free space of", path);
        let found = rustix::fs::statvfs(path).map_err(|errno| problem()(errno.into()))?;
        let device = std::fs::metadata(path).map_err(problem())?.dev();
        Ok(Space {
            total: found.f_blocks.saturating_mul(found.f_frsize),
            free: found.f_bavail.saturating_mul(found.f_frsize),
            files: (found.f_files > 0).then_some(found.f_favail),
            device,
        })
    }

    /// How much programs with these limits must leave free of this disk, below which they are stopped.
    pub fn reserve(&self, limits: &Limits) -> u64 {
        limits.reserve_of(self.total)
    }
}

/// Says no when a disk has not the room for what is needed and for the bytes that are to stay free.
/// `variable` moves `place` to another disk.
pub fn enough(
    place: &Path,
    variable: &str,
    space: &Space,
    needed: Size,
    reserve: u64,
) -> Result<(), Refused> {
    let on = format!("on the disk of {}", place.display());
    let help = format!("free some, or set {variable} to a directory on a larger disk");
    let bytes = needed.bytes.saturating_add(reserve);
    if space.free < bytes {
        return Err(Refused::environment(
            format!(
                "this night needs about {} {on}, {} of it to stay free: {} are free",
                in_words(bytes),
                in_words(reserve),
                in_words(space.free)
            ),
            help,
        ));
    }
    match space.files {
        Some(files) if files < needed.files => Err(Refused::environment(
            format!(
                "this night makes about {} files {on}, which has room for {files} (inodes)",
                needed.files
            ),
            help,
        )),
        Some(_) | None => Ok(()),
    }
}

/// Says no when a night of this repository cannot come to its end. What programs write lies on both disks, so each
/// keeps its part free: [`Space::reserve`]'s.
pub fn check(places: &Places, load: &Load, limits: &Limits) -> Result<Forecast, Refused> {
    let needed = forecast(load);
    let (work, state) = (places.work(), places.state());
    let (at_work, at_state) = (Space::of(&work)?, Space::of(state)?);
    if at_work.device == at_state.device {
        let all = needed.work.and(needed.state);
        enough(&work, "XDG_CACHE_HOME", &at_work, all, at_work.reserve(limits))?;
    } else {
        enough(&work, "XDG_CACHE_HOME", &at_work, needed.work, at_work.reserve(limits))?;
        enough(state, "XDG_STATE_HOME", &at_state, needed.state, at_state.reserve(limits))?;
    }
    Ok(needed)
}

/// Bytes for people: `6.2 GiB`, `340 MiB`, `12 KiB`.
pub fn in_words(bytes: u64) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= unit {
            let (whole, tenth) = (bytes / unit, bytes % unit * 10 / unit);
            let precise = unit == 1 << 30 || whole < 10;
            return if precise {
                format!("{whole}.{tenth} {name}")
            } else {
                format!("{whole} {name}")
            };
        }
    }
    format!("{bytes} bytes")
}

/// Room that is held back by a file, so that a night on a full disk can still write down how it ended.
/// Given back when it is dropped.
#[derive(Debug)]
pub struct Reserve {
    path: Option<PathBuf>,
}

impl Reserve {
    /// Holds `bytes` on the disk of `path`, a file of ours; one that a killed night left there is replaced.
    pub fn hold(path: &Path, bytes: u64) -> Result<Reserve, files::Error> {
        files::remove_file(path)?;
        let mut file = files::append_to(path)?;
        let mut reserve = Reserve { path: Some(path.to_owned()) };
        let held = match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => fill(&mut file, bytes),
            other => other.map_err(std::io::Error::from),
        };
        if let Err(problem) = held {
            reserve.give_back()?;
            return Err(files::error("hold room for the night's end in", path)(problem));
        }
        Ok(reserve)
    }

    /// Gives the room back: the night is about to write its end.
    pub fn release(mut self) -> Result<(), files::Error> {
        self.give_back()
    }

    fn give_back(&mut self) -> Result<(), files::Error> {
        self.path.take().map_or(Ok(()), |path| files::remove_file(&path))
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        if let Err(problem) = self.give_back() {
            tracing::warn!(%problem, "could not give back the room for the night's end");
        }
    }
}

/// Writes what no file system can make smaller: where room cannot be asked for, it is often compressed.
fn fill(file: &mut std::fs::File, bytes: u64) -> std::io::Result<()> {
    let mut noise = 0x9E37_79B9_7F4A_7C15_u64;
    let mut chunk = Vec::with_capacity(1 << 16);
    let mut left = bytes;
    while left > 0 {
        chunk.clear();
        while chunk.len() < 1 << 16 {
            // xorshift64.
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            chunk.extend_from_slice(&noise.to_le_bytes());
        }
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        file.write_all(&chunk[..now])?;
        left -= u64::try_from(now).unwrap_or(left);
    }
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn load(kind: Kind, parallel: u32, cache: Option<u64>) -> Load {
        let size = |mib: u64| Size { bytes: mib * MIB, files: mib };
        let cache = cache.map(size);
        Load { tree: size(100), cache, kind, parallel, present: Size::default() }
    }

    fn work(load: &Load) -> u64 {
        forecast(load).work.bytes / MIB
    }

    #[test]
    fn a_night_needs_its_places_its_cache_and_what_programs_make() {
        // Agent and gate: the tree, and as much again for what nobody knows yet; a history.
        assert_eq!(work(&load(Kind::Pool, 1, None)), 2 * (100 + 100) + 100);
        assert_eq!(work(&load(Kind::Pool, 1, Some(40))), 2 * (140 + 40) + 40 + 100);
        assert_eq!(work(&load(Kind::Pool, 3, Some(0))), 4 * 100 + 100);
        assert_eq!(work(&load(Kind::Overlay, 3, Some(40))), 140 + 4 * 40 + 100);
        for kind in [Kind::Pool, Kind::Overlay] {
            assert!(work(&load(kind, 1, None)) >= 300, "three checkouts");
        }
        let state = forecast(&load(Kind::Pool, 1, None)).state.bytes;
        assert_eq!(state, RESERVED + 2 * RECORDS);
    }

    #[test]
    fn what_is_there_already_is_not_needed_again() {
        let mut warm = load(Kind::Pool, 1, Some(40));
        warm.present = Size { bytes: 200 * MIB, files: 200 };
        assert_eq!(work(&warm), 2 * (140 + 40) + 40 + 100 - 200);
        // What others left there does not make room for what programs make.
        warm.present = Size { bytes: 9_000 * MIB, files: 9_000 };
        assert_eq!(work(&warm), 2 * 40 + 100);
        assert_eq!(forecast(&warm).work.files, 2 * 40 + 100);
    }

    #[test]
    fn a_small_repository_runs_on_a_small_disk() {
        let size = Size { bytes: 100 * BLOCK, files: 110 };
        let load = Load { tree: size, ..load(Kind::Pool, 1, None) };
        let needed = forecast(&load);
        let all = needed.work.and(needed.state);
        assert!(all.bytes < 132 * MIB, "{}", in_words(all.bytes));
        let disk = Space { total: 512 * MIB, free: 200 * MIB, files: None, device: 1 };
        enough(Path::new("/x"), "X", &disk, all, disk.reserve(&Limits::default())).unwrap();
    }

    #[test]
    fn what_cannot_finish_is_refused_in_words() {
        let disk =
            Space { total: 100 << 30, free: (1 << 30) + 107 * MIB, files: Some(5), device: 1 };
        let asked = |bytes: u64, files: u64, reserve: u64| {
            let size = Size { bytes, files };
            enough(Path::new("/cache/x"), "XDG_CACHE_HOME", &disk, size, reserve)
        };
        assert_eq!(disk.reserve(&Limits::default()), 1 << 30);
        let small = Space { total: 500 * MIB, ..disk };
        assert_eq!(small.reserve(&Limits::default()), 50 * MIB, "ours is meant for large disks");
        let wished = Limits { disk_reserve: 2 << 30, ..Limits::default() };
        assert_eq!(small.reserve(&wished), 2 << 30, "a person's is meant as it stands");
        let refused = asked((5 << 30) + 205 * MIB, 1, 1 << 30).unwrap_err();
        assert_eq!(
            refused.message,
            "this night needs about 6.2 GiB on the disk of /cache/x, 1.0 GiB of it to stay free: \
             1.1 GiB are free"
        );
        assert!(refused.help.unwrap().contains("XDG_CACHE_HOME"));
        asked(100 * MIB, 5, 1 << 30).unwrap();
        assert!(asked(108 * MIB, 5, 1 << 30).is_err());
        asked(1 << 30, 5, 0).unwrap();
        let refused = asked(1, 6, 0).unwrap_err();
        assert!(refused.message.contains("about 6 files"), "{refused}");
        assert!(asked(u64::MAX, 1, u64::MAX).is_err(), "nothing overflows");
    }

    #[test]
    fn bytes_are_said_as_people_say_them() {
        for (bytes, words) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5 KiB"),
            (10 * MIB - 1, "9.9 MiB"),
            (340 * MIB, "340 MiB"),
            ((12 << 30) + 600 * MIB, "12.5 GiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(in_words(bytes), words);
        }
    }

    #[test]
    fn where_room_cannot_be_asked_for_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reserve");
        fill(&mut files::append_to(&path).unwrap(), (1 << 16) + 7).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), (1 << 16) + 7);
        let distinct: std::collections::BTreeSet<&[u8]> = bytes.chunks_exact(8).collect();
        assert_eq!(distinct.len(), (1 << 13), "no part is like another");
    }
}
