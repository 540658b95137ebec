//! Which mounts make the files that a program sees, in which order. Looks at the machine's files, and
//! changes nothing.
//!
//! What is nested works whatever the order of the lists: the outer is mounted before the inner. A path that
//! goes through a symbolic link is there under both names. A link that the program itself could have made
//! is never followed.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    fs, io,
    path::{Component, Path, PathBuf},
};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

use super::super::{Error, Overlay, Walls};

/// What programs ask about the machine itself: how many processors there are.
pub const OF_THE_MACHINE: [&str; 1] = ["/sys/devices/system"];
/// More links on one path are a loop. The kernel's own limit.
const LINKS: usize = 40;

/// One thing to mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The machine's file or directory, with all that is mounted below it.
    Bind { source: PathBuf, directory: bool, writable: bool },
    /// Processes, our own instance.
    Processes,
    /// A few devices.
    Devices,
    /// Memory shared by name.
    SharedMemory,
    /// Layers.
    Layers { lower: Vec<PathBuf>, upper: PathBuf, work: PathBuf },
    /// Nothing, over what is there.
    Nothing { directory: bool },
    /// An empty directory over what is there, in which other things are mounted.
    Hall,
}

/// A symbolic link to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) at: PathBuf,
    pub(super) to: PathBuf,
}

/// What to do, in this order: the mounts, then the links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) mounts: Vec<(PathBuf, What)>,
    pub(super) links: Vec<Link>,
}

/// A path without links, and the links that led there.
pub(super) struct Real {
    pub(super) path: PathBuf,
    directory: bool,
    pub(super) links: Vec<Link>,
}

/// What is ours in every room; the machine's own is never shown there.
const OURS: [(&str, What); 3] =
    [("/proc", What::Processes), ("/dev", What::Devices), ("/dev/shm", What::SharedMemory)];

/// Says what to mount for these walls.
pub(super) fn plan(walls: &Walls) -> Result<Plan, Error> {
    let mut made = Draft::default();
    for path in &walls.read {
        if let Some(real) = resolve_if_there(path)? {
            made.bind(real, false);
        }
    }
    for path in &walls.write {
        made.bind(resolve(path)?, true);
    }
    for path in OF_THE_MACHINE {
        if let Some(real) = resolve_if_there(Path::new(path))? {
            made.bind(real, false);
        }
    }
    let tmp = made.resolve_directory(&walls.tmp)?;
    for at in ["/tmp", "/var/tmp"] {
        let source = tmp.clone();
        made.binds.insert(at.into(), What::Bind { source, directory: true, writable: true });
    }
    for overlay in &walls.overlays {
        made.layers(overlay)?;
    }
    for path in &walls.hidden {
        if let Some(real) = resolve_if_there(path)? {
            made.links.extend(real.links);
            made.hidden.push((real.path, What::Nothing { directory: real.directory }));
        }
    }
    made.order()
}

/// What was found, not yet in order.
#[derive(Default)]
struct Draft {
    binds: BTreeMap<PathBuf, What>,
    layers: Vec<(PathBuf, What)>,
    hidden: Vec<(PathBuf, What)>,
    links: Vec<Link>,
}

impl Draft {
    fn bind(&mut self, real: Real, writable: bool) {
        self.links.extend(real.links);
        let (source, directory) = (real.path, real.directory);
        // A list for other walls may name them; here they are ours.
        if source.starts_with("/proc")
            || source.starts_with("/dev") && !source.starts_with("/dev/shm")
            || OURS.iter().any(|(ours, _)| source == Path::new(ours))
        {
            return;
        }
        // Named twice, the wider wish holds: writable paths come after readable ones.
        self.binds.insert(source.clone(), What::Bind { source, directory, writable });
    }

    fn resolve_directory(&mut self, path: &Path) -> Result<PathBuf, Error> {
        let real = resolve(path)?;
        if !real.directory {
            return Err(look_at(path)(io::ErrorKind::NotADirectory.into()));
        }
        self.links.extend(real.links);
        Ok(real.path)
    }

    fn layers(&mut self, overlay: &Overlay) -> Result<(), Error> {
        // What the machine does not have yet is made inside.
        let there = fs::symlink_metadata(&overlay.at).is_ok();
        let at = if there { self.resolve_directory(&overlay.at)? } else { overlay.at.clone() };
        let lower = overlay.lower.iter().map(|path| self.resolve_directory(path));
        let lower = lower.collect::<Result<Vec<_>, _>>()?;
        if lower.is_empty() {
            let problem = io::Error::other("it has no layer below");
            return Err(Error::at(format!("mount {}", overlay.at.display()))(problem));
        }
        let upper = self.resolve_directory(&overlay.upper)?;
        let work = self.resolve_directory(&overlay.work)?;
        self.layers.push((at, What::Layers { lower, upper, work }));
        Ok(())
    }

    fn order(self) -> Result<Plan, Error> {
        let ours = OURS.into_iter().map(|(at, what)| (PathBuf::from(at), what));
        let mut all: Vec<(PathBuf, What)> = self.binds.into_iter().chain(ours).collect();
        all.extend(self.layers);
        all.extend(self.hidden);
        // Stable: at the same place, what hides comes last.
        all.sort_by_key(|(at, _)| at.components().count());
        let mut plan = Plan::default();
        for (at, what) in all {
            let around = around(&plan.mounts, &at);
            // What is shown there because the machine has it there, and whether it can be written.
            let shown = match around {
                Some((outer, What::Bind { source, writable, .. })) if outer == source => {
                    Some(*writable)
                }
                Some(_) | None => None,
            };
            let needed = match &what {
                What::Nothing { .. } => shown.is_some(),
                What::Bind { writable, source, .. } if at == *source => shown != Some(*writable),
                What::Bind { .. }
                | What::Processes
                | What::Devices
                | What::SharedMemory
                | What::Hall
                | What::Layers { .. } => true,
            };
            if needed {
                plan.mounts.push((at, what));
            }
        }
        // In what is empty and sealed no place for an inner mount could be made.
        for number in 0..plan.mounts.len() {
            let (outer, rest) = plan.mounts.split_at_mut(number + 1);
            if let Some((at, what @ What::Nothing { directory: true })) = outer.last_mut()
                && rest.iter().any(|(inner, _)| inner != at && inner.starts_with(&*at))
            {
                *what = What::Hall;
            }
        }
        for link in self.links {
            match around(&plan.mounts, &link.at) {
                None => plan.link(link),
                Some((at, What::Bind { source, writable, .. })) if at == source => {
                    if *writable {
                        return Err(Error::at(format!("follow {}", link.at.display()))(
                            io::Error::other(
                                "it is a symbolic link in a directory that the program may write; \
                                 name where it leads to",
                            ),
                        ));
                    }
                }
                // An empty directory of ours: the link is not there yet.
                Some((_, What::Bind { .. } | What::SharedMemory | What::Hall)) => plan.link(link),
                Some((
                    _,
                    What::Processes | What::Devices | What::Layers { .. } | What::Nothing { .. },
                )) => {}
            }
        }
        Ok(plan)
    }
}

impl Plan {
    fn link(&mut self, link: Link) {
        if !self.links.contains(&link) {
            self.links.push(link);
        }
    }
}

/// The innermost mount at or above a path; of several at one place the last, which is what is seen.
fn around<'a>(mounts: &'a [(PathBuf, What)], path: &Path) -> Option<&'a (PathBuf, What)> {
    mounts
        .iter()
        .filter(|(at, _)| path.starts_with(at))
        .max_by_key(|(at, _)| at.components().count())
}

fn look_at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    Error::at(format!("look at {}", path.display()))
}

/// As [`resolve`]; `None` when it is not there, or when nobody of ours may go there.
fn resolve_if_there(path: &Path) -> Result<Option<Real>, Error> {
    match follow(path) {
        Ok(real) => Ok(Some(real)),
        Err(problem)
            if matches!(
                problem.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(None)
        }
        Err(problem) => Err(look_at(path)(problem)),
    }
}

fn resolve(path: &Path) -> Result<Real, Error> {
    follow(path).map_err(look_at(path))
}

/// Follows every link of a path, and keeps them.
pub(super) fn follow(path: &Path) -> io::Result<Real> {
    if !path.is_absolute() {
        return Err(io::Error::other("it is not absolute"));
    }
    if let Some(real) = without_links(path) {
        return Ok(real);
    }
    let parts = |path: &Path| -> Vec<OsString> {
        path.components().map(|part| part.as_os_str().to_owned()).collect()
    };
    let mut ahead: VecDeque<OsString> = parts(path).into();
    let mut real = Real { path: "/".into(), directory: true, links: Vec::new() };
    while let Some(name) = ahead.pop_front() {
        match Path::new(&name).components().next() {
            Some(Component::RootDir) => (real.path, real.directory) = ("/".into(), true),
            Some(Component::ParentDir) => real.directory = real.path.pop(),
            Some(Component::Normal(_)) => {
                let here = real.path.join(&name);
                let found = fs::symlink_metadata(&here)?;
                real.directory = found.is_dir();
                if !found.is_symlink() {
                    real.path = here;
                    continue;
                }
                let to = fs::read_link(&here)?;
                for part in parts(&to).into_iter().rev() {
                    ahead.push_front(part);
                }
                real.links.push(Link { at: here, to });
                if real.links.len() > LINKS {
                    return Err(io::Error::other("its symbolic links lead in a circle"));
                }
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => {}
        }
    }
    if real.path == Path::new("/") {
        return Err(io::Error::other("the whole machine is no room"));
    }
    Ok(real)
}

/// A path that leads through no link: one call instead of one for each of its parts, of which an agent's walls have
/// 400. `None` where that is not so, or cannot be said in one call.
fn without_links(path: &Path) -> Option<Real> {
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    if !path.components().all(plain) || path == Path::new("/") {
        return None;
    }
    // Without NOFOLLOW: with it a link at the end would be opened itself.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).ok()?;
    let directory = FileType::from_raw_mode(fstat(&found).ok()?.st_mode).is_dir();
    Some(Real { path: path.components().collect(), directory, links: Vec::new() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::files;
    use crate::sandbox::{Limits, Network, Tier};

    /// Walls around a directory that has `read`, `read/write`, `tmp` and a link to `read`.
    fn scene() -> (tempfile::TempDir, PathBuf, Walls) {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = fs::canonicalize(dir.path()).unwrap();
        for name in ["read", "read/write", "tmp"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        symlink("read", path.join("link")).unwrap();
        let walls = Walls {
            tier: Tier::T2,
            read: vec![path.join("link")],
            write: vec![path.join("read/write")],
            hidden: Vec::new(),
            overlays: Vec::new(),
            tmp: path.join("tmp"),
            network: Network::Nobody,
            limits: Limits::default(),
        };
        (dir, path, walls)
    }

    /// Where something is mounted, in order, without what is the same in every room.
    fn places(plan: &Plan, below: &Path) -> Vec<PathBuf> {
        let places = plan.mounts.iter().map(|(at, _)| at.clone());
        places.filter(|at| at.starts_with(below) && at != below).collect()
    }

    #[test]
    fn the_outer_comes_before_the_inner_and_a_link_is_made_again() {
        let (_dir, path, walls) = scene();
        let plan = plan(&walls).unwrap();
        assert_eq!(places(&plan, &path), [path.join("read"), path.join("read/write")]);
        assert_eq!(plan.links, [Link { at: path.join("link"), to: "read".into() }]);
        let depths: Vec<usize> =
            plan.mounts.iter().map(|(at, _)| at.components().count()).collect();
        assert!(depths.is_sorted(), "{depths:?}");
    }

    #[test]
    fn what_is_there_already_is_not_mounted_again() {
        let (_dir, path, mut walls) = scene();
        fs::create_dir(path.join("read/write/deep")).unwrap();
        walls.read.extend([path.join("read/file"), path.join("read")]);
        walls.write.push(path.join("read/write/deep"));
        let plan = plan(&walls).unwrap();
        assert_eq!(places(&plan, &path), [path.join("read"), path.join("read/write")]);
    }

    #[test]
    fn only_what_can_be_seen_is_hidden() {
        let (_dir, path, mut walls) = scene();
        files::create_new(&path.join("read/secret"), b"", 0o644).unwrap();
        files::create_new(&path.join("elsewhere"), b"", 0o644).unwrap();
        walls.hidden = ["read/secret", "elsewhere", "read/no"].map(|name| path.join(name)).into();
        let plan = plan(&walls).unwrap();
        let nothing = What::Nothing { directory: false };
        let hidden: Vec<_> = plan.mounts.into_iter().filter(|(_, what)| *what == nothing).collect();
        assert_eq!(hidden, [(path.join("read/secret"), nothing)]);
    }

    #[test]
    fn the_machines_own_processes_and_devices_are_never_shown() {
        let (_dir, _, mut walls) = scene();
        walls.read = ["/proc", "/proc/self", "/dev", "/dev/null"].map(PathBuf::from).into();
        let plan = plan(&walls).unwrap();
        let of_the_machine = |(_, what): &&(PathBuf, What)| matches!(what, What::Bind { source, .. } if source.starts_with("/proc") || source.starts_with("/dev"));
        assert_eq!(plan.mounts.iter().filter(of_the_machine).count(), 0);
    }

    #[test]
    fn what_cannot_be_a_room_is_said() {
        let (_dir, path, walls) = scene();
        symlink("circle", path.join("circle")).unwrap();
        for (wrong, said) in [
            (PathBuf::from("relative"), "it is not absolute"),
            ("/".into(), "the whole machine is no room"),
            (path.join("circle"), "its symbolic links lead in a circle"),
        ] {
            let error =
                plan(&Walls { read: vec![wrong], ..walls.clone() }).unwrap_err().to_string();
            assert!(error.ends_with(said), "{error}");
        }
        symlink("..", path.join("read/write/made")).unwrap();
        let write = vec![path.join("read/write"), path.join("read/write/made/write")];
        let error = plan(&Walls { write, ..walls }).unwrap_err().to_string();
        assert!(error.contains("a directory that the program may write"), "{error}");
    }
}
