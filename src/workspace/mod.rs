//! A workspace: the files of one tree, laid out for an agent or a gate, and what changed in them.
//!
//! In this version a workspace is a plain directory. An agent's is kept while its conversation goes on, and
//! can be taken over from a killed process ([`Workspace::reopen`]) and brought to another state
//! ([`Workspace::put`]); a gate's is made for one use. Pools and overlays can take its inside. Reading back is our own walk: nothing is followed, no git
//! program and no repository of the agent's takes part.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    io::Read as _,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, symlink},
    },
    path::{Path, PathBuf},
};

use git2::{ObjectType, Oid};
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::{
    diff::FileMode,
    files,
    git::{Error, TreeEdit, TreeEntry, Vault, blob_id, git, oid, tree},
    ids::{BlobId, RepoPath, TreeId},
    outcome::OddEntry,
};

/// Longest path that may enter, in bytes: Linux's PATH_MAX. git skips longer ones without a word.
const LONGEST_PATH: usize = 4096;
/// Files whose time of change is this close to the end of the lay-out are read again: the file system's
/// clock ticks in steps (4 ms with 250 Hz, 10 ms with 100 Hz), so their stamp cannot tell.
const RACY_NANOSECONDS: i128 = 20_000_000;

/// What `lstat` says about a file that we laid out. An agent cannot set the time of change.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    mode: u32,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Stamp {
        Stamp {
            inode: metadata.ino(),
            size: metadata.size(),
            mode: metadata.mode(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn changed_at(&self) -> i128 {
        i128::from(self.changed.0) * 1_000_000_000 + i128::from(self.changed.1)
    }
}

/// The files of one tree in a directory of their own.
pub struct Workspace {
    directory: PathBuf,
    base: Vec<TreeEntry>,
    stamps: HashMap<RepoPath, Stamp>,
    racy_after: i128,
    rules: Rules,
    largest: u64,
}

/// What the base's own files say about paths.
#[derive(Default)]
struct Rules {
    ignores: BTreeMap<RepoPath, Gitignore>,
    frozen: Frozen,
}

impl Rules {
    /// True for files that hold such rules.
    fn concern(entry: &TreeEntry) -> bool {
        let name = entry.path.components().last();
        entry.mode != FileMode::Symlink && matches!(name, Some(b".gitignore" | b".gitattributes"))
    }

    fn read(&mut self, entry: &TreeEntry, contents: &[u8]) {
        if !Rules::concern(entry) {
            return;
        }
        let at = parent_of(&entry.path);
        if entry.path.components().last() == Some(b".gitignore") {
            self.ignores.insert(at, ignore_rules(contents));
        } else {
            self.frozen.0.extend(filtered_patterns(&at, contents));
        }
    }
}

/// Writes a file that is not there.
fn write(path: &Path, mode: FileMode, contents: &[u8]) -> Result<(), Error> {
    match mode {
        FileMode::Symlink => {
            let target = std::ffi::OsStr::from_bytes(contents);
            symlink(target, path).map_err(files::error("link", path))?;
        }
        FileMode::Executable => files::create_new(path, contents, 0o755)?,
        FileMode::Regular | FileMode::Gitlink => files::create_new(path, contents, 0o644)?,
    }
    Ok(())
}

/// Paths whose content git would pass through a filter program (LFS, git-crypt). libgit2 runs none, so
/// they are laid out as the base stores them and must stay so.
#[derive(Default)]
struct Frozen(Vec<Gitignore>);

/// What an agent left behind.
#[derive(Debug, Default)]
pub struct Changes {
    /// The new tree as edits of the base's.
    pub edits: BTreeMap<RepoPath, TreeEdit>,
    /// Entries that cannot enter a commit.
    pub odd: Vec<OddEntry>,
    /// Changed paths that the base's attributes give a filter.
    pub filtered: Vec<RepoPath>,
}

impl Workspace {
    /// Lays out `tree` in `directory`, which must not exist. `largest` is the size in bytes above which a
    /// changed file is an odd entry.
    pub fn lay_out(
        vault: &Vault,
        tree: &TreeId,
        directory: &Path,
        largest: u64,
    ) -> Result<Workspace, Error> {
        files::create_private_dir(directory)?;
        let handles = vault.open()?;
        let base = tree::list(&handles.read, tree)?;
        let mut made: HashSet<PathBuf> = HashSet::new();
        let mut stamps = HashMap::with_capacity(base.len());
        let mut rules = Rules::default();
        let mut newest = 0;
        for entry in &base {
            let path = inside(directory, &entry.path);
            if entry.mode == FileMode::Gitlink {
                files::create_dir_all(&path)?;
                continue;
            }
            if let Some(parent) = path.parent()
                && made.insert(parent.to_owned())
            {
                files::create_dir_all(parent)?;
            }
            let blob = handles
                .read
                .find_blob(oid(entry.blob.as_str()))
                .map_err(git(format!("read the file {}", entry.path)))?;
            write(&path, entry.mode, blob.content())?;
            rules.read(entry, blob.content());
            let metadata = fs::symlink_metadata(&path).map_err(files::error("look at", &path))?;
            let stamp = Stamp::of(&metadata);
            newest = newest.max(stamp.changed_at());
            stamps.insert(entry.path.clone(), stamp);
        }
        Ok(Workspace {
            directory: directory.to_owned(),
            base,
            stamps,
            racy_after: newest - RACY_NANOSECONDS,
            rules,
            largest,
        })
    }

    /// Takes over what an earlier process had laid out of `tree`, as it is by now. Every file is read again:
    /// the stamps of the lay-out are gone. Call it only when nothing runs in the workspace any more.
    pub fn reopen(
        vault: &Vault,
        tree: &TreeId,
        directory: &Path,
        largest: u64,
    ) -> Result<Workspace, Error> {
        let handles = vault.open()?;
        let base = tree::list(&handles.read, tree)?;
        let store = handles.read.odb().map_err(git("open the objects"))?;
        let mut rules = Rules::default();
        let mut stamps = HashMap::new();
        for entry in base.iter().filter(|entry| entry.mode != FileMode::Gitlink) {
            let id = oid(entry.blob.as_str());
            let wrap = || git(format!("read the file {}", entry.path));
            let (size, _) = store.read_header(id).map_err(wrap())?;
            let size = u64::try_from(size).unwrap_or(u64::MAX);
            // The size is what matters: no file has this inode, so the stamp fits none.
            let none = (0, 0);
            let stamp = Stamp { inode: 0, size, mode: 0, modified: none, changed: none };
            stamps.insert(entry.path.clone(), stamp);
            if Rules::concern(entry) {
                let blob = handles.read.find_blob(id).map_err(wrap())?;
                rules.read(entry, blob.content());
            }
        }
        let directory = directory.to_owned();
        Ok(Workspace { directory, base, stamps, racy_after: i128::MIN, rules, largest })
    }

    /// Makes each of `paths` what it is in `tree`, or absent where the tree does not have it. Nothing is
    /// followed: what stands in the way, a link above all, is removed. Call it only when nothing runs in
    /// the workspace any more.
    pub fn put(&self, vault: &Vault, tree: &TreeId, paths: &[RepoPath]) -> Result<(), Error> {
        let handles = vault.open()?;
        let is_dir = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
        let mut wanted = Vec::new();
        // What goes, goes first: it may stand where a directory of another path belongs.
        for path in paths {
            match tree::find(&handles.read, tree, path)? {
                Some(entry) => wanted.push((path, entry)),
                None if behind_other(&self.directory, path, is_dir) => {}
                None => files::remove_any(&inside(&self.directory, path))?,
            }
        }
        for (path, entry) in wanted {
            let mut at = self.directory.clone();
            for component in path.components() {
                if !is_dir(&at) {
                    files::remove_any(&at)?;
                    files::create_dir_all(&at)?;
                }
                at.push(std::ffi::OsStr::from_bytes(component));
            }
            files::remove_any(&at)?;
            if entry.kind() == Some(ObjectType::Blob) {
                let wrap = git(format!("read the file {path}"));
                let blob = handles.read.find_blob(entry.id()).map_err(wrap)?;
                write(&at, FileMode::from_raw(entry.filemode()), blob.content())?;
            } else {
                files::create_dir_all(&at)?; // a submodule, which is an empty directory
            }
        }
        Ok(())
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads what changed, writing new contents into the vault's own store. Call it only when nothing
    /// runs in the workspace any more.
    pub fn changes(&self, vault: &Vault) -> Result<Changes, Error> {
        let handles = vault.open()?;
        let mut walk = Walk {
            workspace: self,
            own: &handles.own,
            tracked: self.base.iter().map(|entry| (&entry.path, entry)).collect(),
            seen: HashSet::new(),
            changes: Changes::default(),
        };
        // The root may have been replaced by a link: nothing of where it leads is ours to read.
        if fs::symlink_metadata(&self.directory).is_ok_and(|root| root.is_dir()) {
            walk.directory(&RepoPath::new(""), &mut Vec::new())?;
            walk.leftovers()?;
        } else {
            walk.odd(&RepoPath::from("."), "the whole workspace, which is gone");
        }
        let mut changes = walk.changes;
        changes.odd.sort_by(|a, b| a.path.cmp(&b.path));
        changes.filtered = changes
            .edits
            .keys()
            .filter(|path| self.rules.frozen.0.iter().any(|rules| matches(rules, path, false)))
            .cloned()
            .collect();
        Ok(changes)
    }

    /// Removes the directory and all that is in it.
    pub fn remove(self) -> Result<(), Error> {
        Ok(files::remove_tree(&self.directory)?)
    }
}

struct Walk<'w> {
    workspace: &'w Workspace,
    own: &'w git2::Repository,
    tracked: HashMap<&'w RepoPath, &'w TreeEntry>,
    seen: HashSet<RepoPath>,
    changes: Changes,
}

impl<'w> Walk<'w> {
    /// Walks what the base does not ignore. `rules` are those of the directories above, outermost first.
    fn directory(
        &mut self,
        at: &RepoPath,
        rules: &mut Vec<(&'w RepoPath, &'w Gitignore)>,
    ) -> Result<(), Error> {
        let own = self.workspace.rules.ignores.get_key_value(at);
        rules.extend(own);
        let path = inside(&self.workspace.directory, at);
        let Ok(entries) = fs::read_dir(&path) else {
            self.odd(at, "a directory that cannot be read");
            if own.is_some() {
                rules.pop();
            }
            return Ok(());
        };
        for entry in entries {
            let entry = entry.map_err(files::error("list", &path))?;
            let name = entry.file_name();
            if at.as_bytes().is_empty() && name == ".git" {
                continue; // the agent's own, thrown away
            }
            let child = at.join(name.as_bytes());
            let file_type = entry.file_type().map_err(files::error("look at", &entry.path()))?;
            if name.as_bytes().eq_ignore_ascii_case(b".git") {
                self.odd(&child, "a nested git repository");
                continue;
            }
            if !self.tracked.contains_key(&child) && ignored(rules, &child, file_type.is_dir()) {
                continue;
            }
            if child.as_bytes().len() > LONGEST_PATH {
                self.odd(&child, "a path of more than 4096 bytes");
                continue;
            }
            if file_type.is_dir() {
                let gitlink = self.tracked.get(&child).is_some_and(|t| t.mode == FileMode::Gitlink);
                if gitlink {
                    self.submodule(&child)?;
                } else {
                    self.directory(&child, rules)?;
                }
            } else {
                self.file(&child, &entry.path(), file_type)?;
            }
        }
        if own.is_some() {
            rules.pop();
        }
        Ok(())
    }

    fn submodule(&mut self, path: &RepoPath) -> Result<(), Error> {
        self.seen.insert(path.clone());
        let directory = inside(&self.workspace.directory, path);
        let mut inside = fs::read_dir(&directory).map_err(files::error("list", &directory))?;
        if inside.next().is_some() {
            self.odd(path, "files in a submodule");
        }
        Ok(())
    }

    fn file(&mut self, path: &RepoPath, real: &Path, file_type: fs::FileType) -> Result<(), Error> {
        self.seen.insert(path.clone());
        let Ok(metadata) = fs::symlink_metadata(real) else {
            self.odd(path, "a file that cannot be looked at");
            return Ok(());
        };
        let stamp = Stamp::of(&metadata);
        if self.workspace.stamps.get(path) == Some(&stamp)
            && stamp.changed_at() < self.workspace.racy_after
        {
            return Ok(());
        }
        if file_type.is_symlink() {
            let target = fs::read_link(real).map_err(files::error("read the link", real))?;
            let target = target.into_os_string().into_vec();
            let id = Oid::hash_object(ObjectType::Blob, &target).map_err(git("hash a link"))?;
            if self.is_of_base(path, FileMode::Symlink, id) {
                return Ok(());
            }
            if leaves(path, &target) {
                self.odd(path, "a symbolic link that leaves the repository");
                return Ok(());
            }
            let blob = self.own.blob(&target).map_err(git("store a link"))?;
            self.changed(path, FileMode::Symlink, blob_id(blob));
            return Ok(());
        }
        if !file_type.is_file() {
            self.odd(path, kind_of(file_type));
            return Ok(());
        }
        let mode =
            if metadata.mode() & 0o100 == 0 { FileMode::Regular } else { FileMode::Executable };
        if metadata.size() > self.workspace.largest && self.grew(path, metadata.size()) {
            self.odd(path, &format!("a file of {} bytes", metadata.size()));
            return Ok(());
        }
        // Nothing is followed and nothing blocks, should the file have turned into something else.
        let nofollow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let opened = fs::OpenOptions::new()
            .read(true)
            .custom_flags(i32::try_from(nofollow.bits()).unwrap_or(0))
            .open(real);
        let Ok(mut file) = opened else {
            self.odd(path, "a file that cannot be read");
            return Ok(());
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(files::error("read", real))?;
        let id = Oid::hash_object(ObjectType::Blob, &bytes).map_err(git("hash a file"))?;
        if self.is_of_base(path, mode, id) {
            return Ok(());
        }
        if metadata.nlink() > 1 {
            self.odd(path, "a hard link to another file");
            return Ok(());
        }
        let known = self.tracked.get(path).is_some_and(|t| t.blob.as_str() == id.to_string());
        if !known {
            self.own.blob(&bytes).map_err(git("store a file"))?;
        }
        self.changed(path, mode, blob_id(id));
        Ok(())
    }

    /// Only what differs from the base is judged.
    fn is_of_base(&self, path: &RepoPath, mode: FileMode, id: Oid) -> bool {
        self.tracked
            .get(path)
            .is_some_and(|base| base.mode == mode && base.blob.as_str() == id.to_string())
    }

    /// A file of the base may be over the limit and stay so; it may not grow.
    fn grew(&self, path: &RepoPath, size: u64) -> bool {
        self.workspace.stamps.get(path).is_none_or(|stamp| size > stamp.size)
    }

    fn changed(&mut self, path: &RepoPath, mode: FileMode, blob: BlobId) {
        let same = self.tracked.get(path).is_some_and(|t| t.mode == mode && t.blob == blob);
        if !same {
            self.changes.edits.insert(path.clone(), Some((mode, blob)));
        }
    }

    /// Files of the base that the walk did not meet: in ignored directories, or gone.
    fn leftovers(&mut self) -> Result<(), Error> {
        let workspace = self.workspace;
        for entry in &workspace.base {
            if self.seen.contains(&entry.path) || self.is_odd(&entry.path) {
                continue;
            }
            let real = inside(&workspace.directory, &entry.path);
            match fs::symlink_metadata(&real) {
                Ok(found) if !behind_link(&workspace.directory, &entry.path) => {
                    if found.is_dir() {
                        if entry.mode == FileMode::Gitlink {
                            continue;
                        }
                        self.changes.edits.insert(entry.path.clone(), None);
                    } else {
                        self.file(&entry.path, &real, found.file_type())?;
                    }
                }
                Ok(_) | Err(_) => {
                    self.changes.edits.insert(entry.path.clone(), None);
                }
            }
        }
        Ok(())
    }

    fn is_odd(&self, path: &RepoPath) -> bool {
        self.changes.odd.iter().any(|odd| {
            path.as_bytes()
                .strip_prefix(odd.path.as_bytes())
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        })
    }

    fn odd(&mut self, path: &RepoPath, what: &str) {
        self.changes.odd.push(OddEntry { path: path.clone(), what: what.to_owned() });
    }
}

fn kind_of(file_type: fs::FileType) -> &'static str {
    if file_type.is_fifo() {
        "a named pipe"
    } else if file_type.is_socket() {
        "a socket"
    } else if file_type.is_block_device() || file_type.is_char_device() {
        "a device"
    } else {
        "neither a file, a directory nor a link"
    }
}

/// True when a component above the file is a link: then the path leads somewhere else.
fn behind_link(root: &Path, path: &RepoPath) -> bool {
    behind_other(root, path, |at| !fs::symlink_metadata(at).is_ok_and(|found| found.is_symlink()))
}

/// True when a component above the file is not what it must be.
fn behind_other(root: &Path, path: &RepoPath, must: impl Fn(&Path) -> bool) -> bool {
    let mut at = root.to_owned();
    let components: Vec<&[u8]> = path.components().collect();
    components.iter().take(components.len().saturating_sub(1)).any(|component| {
        at.push(std::ffi::OsStr::from_bytes(component));
        !must(&at)
    })
}

/// True when a link at `path` with this target leads out of the repository, by its text alone.
fn leaves(path: &RepoPath, target: &[u8]) -> bool {
    if target.first() == Some(&b'/') || target.is_empty() {
        return true;
    }
    let mut depth = i64::try_from(path.components().count()).unwrap_or(i64::MAX) - 1;
    for component in target.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return true;
        }
    }
    false
}

fn inside(root: &Path, path: &RepoPath) -> PathBuf {
    let mut joined = root.to_owned();
    joined.extend(path.components().map(std::ffi::OsStr::from_bytes));
    joined
}

fn parent_of(path: &RepoPath) -> RepoPath {
    let bytes = path.as_bytes();
    let cut = bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    RepoPath::new(&bytes[..cut])
}

fn ignore_rules(text: &[u8]) -> Gitignore {
    let mut builder = GitignoreBuilder::new("");
    for line in String::from_utf8_lossy(text).lines() {
        // A line that is no pattern ignores nothing, as in git.
        let _ = builder.add_line(None, line);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

/// The rules of one attributes file that give a filter, as patterns below its directory.
fn filtered_patterns(at: &RepoPath, text: &[u8]) -> Option<Gitignore> {
    let text = String::from_utf8_lossy(text);
    let mut builder = GitignoreBuilder::new("");
    let mut any = false;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(pattern) = words.next().filter(|word| !word.starts_with('#')) else { continue };
        if words.any(|word| word.starts_with("filter=")) {
            let below = at.to_string();
            let anchored = match (below.is_empty(), pattern.strip_prefix('/')) {
                (true, _) => pattern.to_owned(),
                (false, Some(rooted)) => format!("/{below}/{rooted}"),
                (false, None) if pattern.contains('/') => format!("/{below}/{pattern}"),
                (false, None) => format!("/{below}/**/{pattern}"),
            };
            any |= builder.add_line(None, &anchored).is_ok();
        }
    }
    if any { builder.build().ok() } else { None }
}

fn matches(rules: &Gitignore, path: &RepoPath, is_dir: bool) -> bool {
    let path = Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()));
    rules.matched(path, is_dir).is_ignore()
}

/// git's order: the innermost file that says anything about the path decides.
fn ignored(rules: &[(&RepoPath, &Gitignore)], path: &RepoPath, is_dir: bool) -> bool {
    for (at, rules) in rules.iter().rev() {
        let bytes = path.as_bytes();
        let below = if at.as_bytes().is_empty() {
            bytes
        } else {
            bytes.get(at.as_bytes().len() + 1..).unwrap_or_default()
        };
        let below = Path::new(std::ffi::OsStr::from_bytes(below));
        let verdict = rules.matched(below, is_dir);
        if verdict.is_ignore() {
            return true;
        }
        if verdict.is_whitelist() {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_leaves_is_seen_by_its_text() {
        let at = |text: &str| RepoPath::from(text);
        assert!(!leaves(&at("docs/link"), b"../src/a.rs"));
        assert!(!leaves(&at("link"), b"src/./a.rs"));
        assert!(leaves(&at("docs/link"), b"../../etc"));
        assert!(leaves(&at("link"), b".."));
        assert!(leaves(&at("link"), b"/etc/passwd"));
        assert!(leaves(&at("a/link"), b"b/../../../x/y"));
    }

    #[test]
    fn the_innermost_ignore_file_decides() {
        let (root, docs) = (RepoPath::new(""), RepoPath::from("docs"));
        let (outer, inner) = (ignore_rules(b"*.log\n/target\n"), ignore_rules(b"!keep.log\n"));
        let rules = [(&root, &outer), (&docs, &inner)];
        assert!(ignored(&rules, &RepoPath::from("docs/a.log"), false));
        assert!(!ignored(&rules, &RepoPath::from("docs/keep.log"), false));
        assert!(ignored(&rules[..1], &RepoPath::from("target"), true));
        assert!(!ignored(&rules[..1], &RepoPath::from("src/target"), true));
    }

    #[test]
    fn a_filtered_path_is_known_by_the_attributes() {
        let rules = filtered_patterns(&RepoPath::new(""), b"*.bin filter=lfs diff=lfs -text\n");
        assert!(matches(&rules.unwrap(), &RepoPath::from("assets/a.bin"), false));
        let rules = filtered_patterns(&RepoPath::from("assets"), b"/*.psd filter=lfs\n").unwrap();
        assert!(matches(&rules, &RepoPath::from("assets/a.psd"), false));
        assert!(!matches(&rules, &RepoPath::from("a.psd"), false));
        assert!(filtered_patterns(&RepoPath::new(""), b"*.rs diff=rust\n").is_none());
    }
}
