//! Trees as plain maps, and overlays mounted as the walls mount them, in a namespace of their own.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use nightshift::{
    git::{Vault, user::UserRepository},
    ids::TreeId,
    sandbox::Overlay,
    workspace::{CacheId, Kind, Slot, Store, Workspace},
};

pub(crate) const REGULAR: u32 = 0o100_644;
pub(crate) const EXECUTABLE: u32 = 0o100_755;
pub(crate) const SYMLINK: u32 = 0o120_000;
pub(crate) const GITLINK: u32 = 0o160_000;

/// Path to mode and contents; a submodule's contents are empty.
pub(crate) type Files = BTreeMap<String, (u32, String)>;

pub(crate) fn files(list: &[(&str, u32, &str)]) -> Files {
    list.iter()
        .map(|(path, mode, text)| ((*path).to_owned(), (*mode, (*text).to_owned())))
        .collect()
}

/// A vault and a store without a night.
pub(crate) struct Scene {
    pub(crate) root: tempfile::TempDir,
    pub(crate) vault: Vault,
    pub(crate) store: Store,
}

impl Scene {
    pub(crate) fn new() -> Scene {
        Scene::in_directory(&std::env::temp_dir())
    }

    pub(crate) fn in_directory(directory: &Path) -> Scene {
        let root = tempfile::Builder::new().prefix("layers-").tempdir_in(directory).unwrap();
        let repo = root.path().join("repo");
        git2::Repository::init(&repo).unwrap();
        let user = UserRepository::open(&repo).unwrap();
        let vault = Vault::prepare(&root.path().join("vault.git"), &user).unwrap();
        let store = Store::new(&vault, &root.path().join("work"));
        Scene { root, vault, store }
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// Stores a tree.
    pub(crate) fn tree(&self, files: &Files) -> TreeId {
        let repository = git2::Repository::open_bare(self.vault.directory()).unwrap();
        let mut index = git2::Index::new().unwrap();
        for (path, (mode, text)) in files {
            let id = if *mode == GITLINK {
                git2::Oid::hash_object(git2::ObjectType::Commit, b"a commit of another").unwrap()
            } else {
                repository.blob(text.as_bytes()).unwrap()
            };
            let zero = git2::IndexTime::new(0, 0);
            index
                .add(&git2::IndexEntry {
                    ctime: zero,
                    mtime: zero,
                    dev: 0,
                    ino: 0,
                    mode: *mode,
                    uid: 0,
                    gid: 0,
                    file_size: 0,
                    id,
                    flags: 0,
                    flags_extended: 0,
                    path: path.clone().into_bytes(),
                })
                .unwrap();
        }
        TreeId::new(index.write_tree_to(&repository).unwrap().to_string()).unwrap()
    }

    /// A tree of `count` files of 2 KiB in the user's own repository, in one pack as a clone has it.
    pub(crate) fn packed(&self, count: usize) -> TreeId {
        let repo = self.root.path().join("repo");
        let mut command = Command::new("git");
        command.arg("-C").arg(&repo).args(["fast-import", "--quiet"]).stdin(Stdio::piped());
        let mut import = command.spawn().unwrap();
        let mut input = std::io::BufWriter::new(import.stdin.take().unwrap());
        writeln!(input, "commit refs/heads/main\ncommitter T <t@localhost> 1700000000 +0000")
            .unwrap();
        writeln!(input, "data 4\nbase\nM 644 inline .gitignore\ndata 8\n/target\n").unwrap();
        for file in 0..count {
            let text = format!("{file:08}\n").repeat(228);
            let (above, name) = (file / 12, file % 12);
            let path = format!("d{}/e{above}/f{name}.txt", above / 12);
            writeln!(input, "M 644 inline {path}\ndata {}\n{text}", text.len()).unwrap();
        }
        drop(input);
        assert!(import.wait().unwrap().success());
        let user = UserRepository::open(&repo).unwrap();
        let head = user.resolve("refs/heads/main").unwrap().unwrap();
        self.vault.tree_of(&head).unwrap()
    }

    /// What a tree holds.
    pub(crate) fn files(&self, tree: &TreeId) -> Files {
        let repository = git2::Repository::open_bare(self.vault.directory()).unwrap();
        let mut files = Files::new();
        for entry in self.vault.list(tree).unwrap() {
            let mode = u32::try_from(entry.mode.raw()).unwrap();
            let id = git2::Oid::from_str(entry.blob.as_str()).unwrap();
            let text = match mode {
                GITLINK => String::new(),
                _ => {
                    String::from_utf8(repository.find_blob(id).unwrap().content().to_vec()).unwrap()
                }
            };
            files.insert(entry.path.to_string(), (mode, text));
        }
        files
    }

    pub(crate) fn lay_out(&self, slot: &Slot, tree: &TreeId, cache: Option<&CacheId>) -> Workspace {
        self.store.lay_out(Kind::Overlay, slot, tree, cache, 1_000_000).unwrap()
    }

    /// Everything that a program in the workspace sees, as a plain copy with its times.
    pub(crate) fn copy_of_view(&self, workspace: &Workspace) -> PathBuf {
        let copy = self.root.path().join("view");
        if copy.exists() {
            fs::remove_dir_all(&copy).unwrap();
        }
        run(&workspace.overlay().unwrap(), &format!("cp -a . '{}'", copy.display()));
        copy
    }

    /// The same as a map. Directories that hold nothing are submodules.
    pub(crate) fn view(&self, workspace: &Workspace) -> Files {
        let mut found = Files::new();
        collect(&self.copy_of_view(workspace), "", &mut found);
        found
    }

    /// What [`Workspace::changes`] makes of the base.
    pub(crate) fn candidate(&self, workspace: &Workspace, base: &TreeId) -> TreeId {
        let changes = workspace.changes().unwrap();
        assert!(changes.odd.is_empty(), "{:?}", changes.odd);
        nightshift::git::landing::store_tree(&self.vault, base, &changes.edits).unwrap().0
    }
}

/// All files below a directory.
pub(crate) fn collect(directory: &Path, at: &str, found: &mut Files) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if at.is_empty() { name } else { format!("{at}/{name}") };
        let metadata = fs::symlink_metadata(entry.path()).unwrap();
        if metadata.is_dir() {
            if fs::read_dir(entry.path()).unwrap().next().is_none() {
                found.insert(path, (GITLINK, String::new()));
            } else {
                collect(&entry.path(), &path, found);
            }
        } else if metadata.is_symlink() {
            let target =
                fs::read_link(entry.path()).unwrap().into_os_string().into_string().unwrap();
            found.insert(path, (SYMLINK, target));
        } else if metadata.is_file() {
            // Not what else may stand in ignored paths: to read a pipe is to wait for ever.
            let mode = if metadata.mode() & 0o100 == 0 { REGULAR } else { EXECUTABLE };
            found.insert(path, (mode, fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

/// Times of change of all files below a directory, in nanoseconds.
pub(crate) fn times(directory: &Path) -> BTreeMap<String, i128> {
    let mut files = Files::new();
    collect(directory, "", &mut files);
    let time = |path: &String| {
        let metadata = fs::symlink_metadata(directory.join(path)).unwrap();
        i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
    };
    files.keys().map(|path| (path.clone(), time(path))).collect()
}

/// A shell that mounts an overlay in a namespace of its own and goes on with `script` in it.
pub(crate) fn shell(overlay: &Overlay, script: &str) -> Command {
    let lower: Vec<&str> = overlay.lower.iter().map(|path| path.to_str().unwrap()).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={},userxattr",
        lower.join(":"),
        overlay.upper.display(),
        overlay.work.display()
    );
    let mut command = Command::new("unshare");
    command
        .args(["-Urm", "sh", "-c"])
        .arg("mount -t overlay overlay -o \"$1\" \"$2\" && cd \"$2\" && exec sh -c \"$3\"")
        .args(["sh", &options])
        .arg(&overlay.at)
        .arg(script)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null());
    command
}

/// Runs a script inside a mounted overlay; it must succeed.
pub(crate) fn run(overlay: &Overlay, script: &str) -> Output {
    let output = shell(overlay, script).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// False where this machine mounts no overlays for plain users, which is said to the real standard error.
#[track_caller]
pub(crate) fn can_mount() -> bool {
    let root = tempfile::tempdir().unwrap();
    let directory = |name: &str| {
        let path = root.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        path
    };
    let overlay = Overlay {
        at: directory("at"),
        lower: vec![directory("lower")],
        upper: directory("upper"),
        work: directory("work"),
    };
    let possible = shell(&overlay, "true").output().is_ok_and(|output| output.status.success());
    if !possible {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        // Not with eprintln, which the test's harness swallows.
        let _ = writeln!(std::io::stderr(), "skipped: {test}: overlays cannot be mounted here");
    }
    possible
}
