//! Pools: warm directories that are exactly one tree again, whatever was done to them and wherever we were
//! cut off; caches; room.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use sha2::{Digest as _, Sha256};

use nightshift::{
    diff::FileMode,
    git::{Vault, user::UserRepository},
    ids::{RepoPath, TreeId},
    workspace::{CacheId, Collect, InUse, Kind, Slot, Store, Workspace},
};

/// A repository with several commits, each a tree to lay out.
pub(super) struct Repository {
    pub(super) root: tempfile::TempDir,
    pub(super) vault: Vault,
    pub(super) trees: Vec<TreeId>,
}

fn git(repo: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("git").arg("-C").arg(repo).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

impl Repository {
    /// Each step changes the checkout for one more commit.
    pub(super) fn new(steps: &[&dyn Fn(&Path)]) -> Repository {
        let root = tempfile::tempdir().unwrap();
        let repo = root.path().join("repo");
        fs::create_dir(&repo).unwrap();
        git(&repo, &["init", "-q", "-b", "main"]);
        let mut heads = Vec::new();
        for step in steps {
            step(&repo);
            git(&repo, &["add", "-A", "-f"]);
            let who = ["-c", "user.name=T", "-c", "user.email=t@localhost"];
            let commit = ["commit", "-q", "--allow-empty", "-m", "step"];
            git(&repo, &[&who[..], &commit].concat());
            heads.push(git(&repo, &["rev-parse", "HEAD"]));
        }
        let user = UserRepository::open(&repo).unwrap();
        let vault = Vault::prepare(&root.path().join("vault.git"), &user).unwrap();
        let tree = |head: Vec<u8>| {
            let head = String::from_utf8(head).unwrap();
            vault.tree_of(&user.revision(head.trim()).unwrap().unwrap()).unwrap()
        };
        let trees = heads.into_iter().map(tree).collect();
        Repository { root, vault, trees }
    }

    fn store(&self) -> Store {
        Store::new(&self.vault, &self.root.path().join("work"))
    }

    fn slot(&self) -> PathBuf {
        self.root.path().join("work/agent-0")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.slot().join("tree").join(path)
    }

    /// What git itself makes of a tree.
    fn expected(&self, tree: &TreeId) -> BTreeMap<Vec<u8>, String> {
        let out = tempfile::tempdir().unwrap();
        let tar = out.path().join("tree.tar");
        let output = format!("--output={}", tar.display());
        git(&self.root.path().join("repo"), &["archive", &output, tree.as_str()]);
        let into = out.path().join("tree");
        fs::create_dir(&into).unwrap();
        let status = Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(&into).status();
        assert!(status.unwrap().success());
        files_of(&into)
    }
}

/// Every entry below a directory: its kind, whether it can be executed, its contents.
fn files_of(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(at) = open.pop() {
        // What an agent locked is not looked into, unless we are root.
        for entry in fs::read_dir(&at).into_iter().flatten().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let mode = entry.metadata().map_or(0, |found| found.mode());
            let what = if kind.is_dir() {
                open.push(path.clone());
                format!("directory {:o}", mode & 0o700)
            } else if kind.is_symlink() {
                format!("link {}", fs::read_link(&path).unwrap_or_default().display())
            } else if kind.is_file() {
                let text = fs::read(&path).unwrap_or_else(|_| b"unreadable".to_vec());
                format!("file {:o} {}", mode & 0o100, String::from_utf8_lossy(&text))
            } else {
                format!("{kind:?}")
            };
            found.insert(name, what);
        }
    }
    found
}

fn same(found: &BTreeMap<Vec<u8>, String>, expected: &BTreeMap<Vec<u8>, String>, told: &str) {
    let differs = |path: &&Vec<u8>| found.get(*path) != expected.get(*path);
    let paths: BTreeSet<&Vec<u8>> = found.keys().chain(expected.keys()).filter(differs).collect();
    let lines = paths.into_iter().map(|path| {
        let (was, is) = (expected.get(path), found.get(path));
        format!("{}: {is:?} instead of {was:?}\n", String::from_utf8_lossy(path))
    });
    let lines: String = lines.collect();
    assert!(lines.is_empty(), "{told}\n{lines}");
}

fn times_of(root: &Path) -> BTreeMap<Vec<u8>, (i64, i64)> {
    let files = files_of(root).into_iter().filter(|(_, what)| !what.starts_with("directory"));
    let time = |path: &[u8]| {
        let found = fs::symlink_metadata(root.join(OsStr::from_bytes(path))).unwrap();
        (found.mtime(), found.mtime_nsec())
    };
    files.map(|(path, _)| (path.clone(), time(&path))).collect()
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn first(repo: &Path) {
    write(&repo.join(".gitignore"), "target/\n*.o\n/cache\n");
    write(&repo.join("src/a.txt"), "a\n");
    write(&repo.join("src/deep/er/b.txt"), "b\n");
    write(&repo.join("src/deep/c.txt"), "c\n");
    write(&repo.join("run.sh"), "#!/bin/sh\n");
    mode(&repo.join("run.sh"), 0o755);
    write(&repo.join("target/tracked.txt"), "tracked although ignored\n");
    write(&repo.join("swap"), "a file\n");
    symlink("src/a.txt", repo.join("link")).unwrap();
    write(&repo.join(OsStr::from_bytes(b"odd \xff\n name")), "bytes\n");
    write(&repo.join("n".repeat(255)), "long\n");
}

fn second(repo: &Path) {
    fs::remove_file(repo.join("swap")).unwrap();
    write(&repo.join("swap/now/a/directory.txt"), "d\n");
    fs::remove_dir_all(repo.join("src/deep")).unwrap();
    write(&repo.join("src/deep"), "a file now\n");
    fs::remove_file(repo.join("link")).unwrap();
    write(&repo.join("link"), "no link any more\n");
    mode(&repo.join("run.sh"), 0o644);
    write(&repo.join("src/a.txt"), "changed\n");
}

fn third(repo: &Path) {
    fs::remove_dir_all(repo.join("src")).unwrap();
    fs::remove_file(repo.join(".gitignore")).unwrap();
    write(&repo.join("target/out.o"), "tracked by now\n");
}

fn lay_out(store: &Store, tree: &TreeId) -> Workspace {
    store.lay_out(Kind::Pool, &Slot::agent(0), tree, None, 1_000).unwrap()
}

/// A small generator: the same seed gives the same run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        // Knuth's constants for 64 bits (MMIX).
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// One thing that an agent may do to its files, where it can be done.
fn meddle(root: &Path, dice: &mut Dice) {
    let all: Vec<Vec<u8>> = files_of(root).into_keys().collect();
    let pick = |dice: &mut Dice| root.join(OsStr::from_bytes(&all[dice.below(all.len())]));
    let chosen = pick(dice);
    let Ok(found) = fs::symlink_metadata(&chosen) else { return };
    let remove = |path: &Path| {
        let _ = if found.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    };
    let write = |path: &Path, text: &str| {
        let _ = fs::create_dir_all(path.parent().unwrap());
        let _ = fs::write(path, text);
    };
    match dice.below(14) {
        0 if found.is_file() => write(&chosen, &format!("{}", dice.below(9))),
        1 => remove(&chosen),
        2 => {
            remove(&chosen);
            write(&chosen.join("inner/file"), "instead\n");
        }
        3 => {
            remove(&chosen);
            write(&chosen, "a file instead\n");
        }
        4 => {
            remove(&chosen);
            drop(symlink("/etc/passwd", &chosen));
        }
        5 => {
            remove(&chosen);
            drop(symlink("..", &chosen));
        }
        6 if !found.is_symlink() => {
            let mode = [0o000, 0o555, 0o777, 0o644][dice.below(4)];
            drop(fs::set_permissions(&chosen, fs::Permissions::from_mode(mode)));
        }
        7 => write(&root.join(format!("new/{}/x.o", dice.below(3))), "new\n"),
        8 => write(&root.join(".git/config"), "[core]\n"),
        9 => write(&root.join(format!("target/debug/{}", dice.below(3))), "built\n"),
        10 => drop(UnixListener::bind(root.join(format!("s{}", dice.below(9))))),
        11 if found.is_file() => drop(fs::hard_link(&chosen, root.join("second-name"))),
        12 if found.is_file() => {
            // As many bytes, and the old time: only the time of change tells.
            let text = fs::read(&chosen).unwrap_or_default();
            let other: Vec<u8> = text.iter().map(|byte| byte.wrapping_add(1)).collect();
            if fs::write(&chosen, other).is_ok() {
                let file = fs::File::options().write(true).open(&chosen).unwrap();
                file.set_modified(found.modified().unwrap()).unwrap();
            }
        }
        13 => drop(fs::rename(&chosen, pick(dice))),
        _ => drop(fs::create_dir_all(root.join("empty/er"))),
    }
}

#[test]
fn whatever_was_done_a_lay_out_is_exactly_its_tree() {
    let repository = Repository::new(&[&first, &second, &third]);
    let expected: Vec<_> = repository.trees.iter().map(|tree| repository.expected(tree)).collect();
    let id = with_cache(&repository, &repository.store());
    // With the cache: as in a slot where nothing was before.
    let with_cache: Vec<_> = (0..3)
        .map(|number| {
            let (store, slot) =
                (repository.store(), Slot::agent(5 + u32::try_from(number).unwrap()));
            let tree = &repository.trees[number];
            let fresh = store.lay_out(Kind::Pool, &slot, tree, Some(&id), 1_000).unwrap();
            files_of(fresh.directory())
        })
        .collect();
    let (root, manifest) = (repository.slot().join("tree"), repository.slot().join("manifest"));
    for seed in 0..16 {
        let mut dice = Dice(seed);
        let mut warm = None;
        let mut store = repository.store();
        let mut former: Vec<Vec<u8>> = Vec::new();
        let mut told: Vec<String> = Vec::new();
        for _ in 0..12 {
            let number = dice.below(3);
            let cache = Some(&id).filter(|_| dice.below(2) == 0);
            told.push(format!("tree {number}, cache {}", cache.is_some()));
            let tree = &repository.trees[number];
            let workspace = store.lay_out(Kind::Pool, &Slot::agent(0), tree, cache, 1_000).unwrap();
            let files = if cache.is_some() { &with_cache } else { &expected };
            same(&files_of(&root), &files[number], &format!("seed {seed}: {told:#?}"));
            if cache.is_some() {
                let times = times_of(&root);
                let product = times.get(&b"target/debug/out"[..]);
                for (path, time) in
                    times.iter().filter(|(path, _)| expected[number].contains_key(*path))
                {
                    let same = expected[0].get(path) == expected[number].get(path);
                    let older = product.is_none_or(|product| (time <= product) == same);
                    assert!(older, "seed {seed}: {told:#?}: {}", String::from_utf8_lossy(path));
                }
            }
            let inode = fs::metadata(&root).unwrap().ino();
            assert!(warm.is_none_or(|warm| warm == inode), "made anew; seed {seed}: {told:#?}");
            warm = Some(inode);
            assert!(workspace.changes().unwrap().edits.is_empty(), "seed {seed}: {told:#?}");
            former.push(fs::read(&manifest).unwrap());
            for _ in 0..dice.below(8) {
                meddle(&root, &mut dice);
            }
            match dice.below(4) {
                0 => workspace.release().unwrap(),
                1 => {
                    workspace.changes().unwrap();
                    told.push("as read".into());
                    workspace.release_as_read().unwrap();
                }
                // Killed: another process goes on, with what is on disk, which may be any older state.
                other => {
                    drop(workspace);
                    store = repository.store();
                    let old = &former[dice.below(former.len())];
                    let cut = if other == 2 { old.len() } else { dice.below(old.len()) };
                    told.push(format!("killed, {cut} of {} bytes", old.len()));
                    fs::write(&manifest, &old[..cut]).unwrap();
                    warm = warm.filter(|_| other == 2);
                }
            }
        }
    }
}

#[test]
fn what_stays_the_same_keeps_its_time() {
    let repository = Repository::new(&[&first, &second]);
    let store = repository.store();
    let root = repository.slot().join("tree");
    lay_out(&store, &repository.trees[0]).release().unwrap();
    let before = times_of(&root);
    let inode = fs::metadata(repository.path("target/tracked.txt")).unwrap().ino();
    fs::write(repository.path("src/a.txt"), "an agent's\n").unwrap();
    fs::remove_file(repository.path("src/deep/c.txt")).unwrap();
    lay_out(&store, &repository.trees[0]).release().unwrap();
    assert_eq!(times_of(&root), before, "what was undone is as old as before, too");
    std::thread::sleep(Duration::from_millis(20)); // the file system's clock must tick
    lay_out(&store, &repository.trees[1]).release().unwrap();
    let after = times_of(&root);
    assert_eq!(after[&b"target/tracked.txt"[..]], before[&b"target/tracked.txt"[..]]);
    assert!(after[&b"src/a.txt"[..]] > before[&b"src/a.txt"[..]], "other contents are newer");
    assert_eq!(fs::metadata(repository.path("target/tracked.txt")).unwrap().ino(), inode);
}

#[test]
fn every_kind_of_change_is_read_or_called_odd() {
    let repository = Repository::new(&[&first]);
    let store = repository.store();
    let workspace = lay_out(&store, &repository.trees[0]);
    let at = |path: &str| repository.path(path);
    fs::write(at("src/a.txt"), "changed\n").unwrap();
    mode(&at("run.sh"), 0o644);
    fs::rename(at("src/deep/c.txt"), at("src/moved.txt")).unwrap();
    fs::remove_file(at("swap")).unwrap();
    write(&at("swap/inner.txt"), "in a directory now\n");
    fs::remove_dir_all(at("src/deep/er")).unwrap();
    fs::write(at("src/deep/er"), "a file now\n").unwrap();
    fs::write(at("target/tracked.txt"), "changed although ignored\n").unwrap();
    write(&at("target/debug/x"), "ignored\n");
    write(&at("src/x.o"), "ignored\n");
    write(&at(".git/info/exclude"), "*\n");
    write(&at("src/.gitignore"), "*\n"); // an agent's own rules have no say
    write(&repository.slot().join("tree").join(OsStr::from_bytes(b"\xfe\n")), "bytes\n");
    write(&at(&"m".repeat(255)), "long\n");
    fs::remove_file(at("link")).unwrap();
    symlink("src/moved.txt", at("link")).unwrap();
    let made = Command::new("mkfifo").arg(at("pipe")).status().unwrap();
    assert!(made.success());
    let socket = UnixListener::bind(at("socket")).unwrap();
    symlink("/etc/passwd", at("outside")).unwrap();
    fs::hard_link(at("src/a.txt"), at("second-name")).unwrap();
    write(&at("large"), &"x".repeat(1_001));
    write(&at("nested/.git/HEAD"), "ref: refs/heads/main\n");
    write(&at(".GIT/config"), "[core]\n");
    let deep = "d".repeat(200);
    for part in 1..22 {
        fs::create_dir(at(&vec![deep.as_str(); part].join("/"))).unwrap_or_else(|_| {
            // Too long for one call: from inside.
            let above = at(&vec![deep.as_str(); 15].join("/"));
            let below = vec![deep.as_str(); part - 15].join("/");
            let made = Command::new("mkdir").arg("-p").arg(&below).current_dir(above).status();
            assert!(made.unwrap().success());
        });
    }
    let changes = workspace.changes().unwrap();
    drop(socket);
    let edits: BTreeMap<String, Option<FileMode>> = changes
        .edits
        .iter()
        .map(|(path, edit)| (path.to_string(), edit.as_ref().map(|edit| edit.0)))
        .collect();
    let file = Some(FileMode::Regular);
    let long = "m".repeat(255);
    let expected: BTreeMap<String, Option<FileMode>> = [
        ("src/deep/c.txt", None),
        ("src/moved.txt", file),
        ("run.sh", file),
        ("swap", None),
        ("swap/inner.txt", file),
        ("src/deep/er/b.txt", None),
        ("src/deep/er", file),
        ("target/tracked.txt", file),
        ("src/.gitignore", file),
        ("\\xFE\\x0A", file),
        (long.as_str(), file),
        ("link", Some(FileMode::Symlink)),
    ]
    .map(|(path, mode)| (path.to_owned(), mode))
    .into();
    assert_eq!(edits, expected);
    let odd: Vec<(String, &str)> =
        changes.odd.iter().map(|odd| (odd.path.to_string(), odd.what.as_str())).collect();
    let says = |path: &str, what: &str| {
        assert!(odd.iter().any(|odd| odd.0 == path && odd.1.contains(what)), "{path}: {odd:#?}");
    };
    says("pipe", "pipe");
    says("socket", "socket");
    says("outside", "leaves the repository");
    says("second-name", "hard link");
    says("src/a.txt", "hard link");
    says("large", "1001 bytes");
    says("nested/.git", "nested git repository");
    says(".GIT", "nested git repository");
    assert!(odd.iter().any(|odd| odd.1.contains("4096") || odd.1.contains("cannot be read")));
    assert_eq!(odd.len(), 9, "{odd:#?}");
    workspace.release_as_read().unwrap();
    let _again = lay_out(&store, &repository.trees[0]);
    assert_eq!(
        files_of(&repository.slot().join("tree")),
        repository.expected(&repository.trees[0])
    );
}

#[test]
fn a_file_of_the_same_size_and_time_is_read_all_the_same() {
    let repository = Repository::new(&[&first]);
    let store = repository.store();
    let workspace = lay_out(&store, &repository.trees[0]);
    let path = repository.path("src/a.txt");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "b\n").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let changes = workspace.changes().unwrap();
    assert_eq!(changes.edits.keys().cloned().collect::<Vec<_>>(), [RepoPath::from("src/a.txt")]);
}

/// A file's stamp, as a manifest has it.
fn stamp(path: &Path) -> Vec<u8> {
    let found = fs::symlink_metadata(path).unwrap();
    let time =
        |seconds: i64, nanoseconds: i64| (seconds * 1_000_000_000 + nanoseconds).to_le_bytes();
    let (modified, changed) =
        (time(found.mtime(), found.mtime_nsec()), time(found.ctime(), found.ctime_nsec()));
    let (inode, size) = (found.ino().to_le_bytes(), found.size().to_le_bytes());
    [&inode[..], &size, &found.mode().to_le_bytes(), &modified, &changed].concat()
}

/// Changes a file of `agent-0` without a trace: same size, and the manifest has the stamp that it gets.
/// `change` may change the rest of the manifest, whose length stays.
fn change_without_a_trace(repository: &Repository, path: &str, change: impl FnOnce(&mut [u8])) {
    let (path, manifest) = (repository.path(path), repository.slot().join("manifest"));
    let bytes = fs::read(&manifest).unwrap();
    let before = stamp(&path);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(char::is_alphanumeric, "X")).unwrap();
    // Eight bytes of name, eight of length, the checksum, and one block, as the first lay-out writes it.
    let mut payload = bytes[48..].to_vec();
    let at = payload.windows(before.len()).position(|window| window == before).unwrap();
    payload[at..at + before.len()].copy_from_slice(&stamp(&path));
    change(&mut payload);
    let checksum = Sha256::digest(&payload);
    fs::write(&manifest, [&bytes[..16], checksum.as_slice(), &payload].concat()).unwrap();
}

/// Where a manifest says from which time of change on files are read: behind three texts with their lengths.
fn settled(payload: &mut [u8]) -> &mut [u8] {
    let mut at = 0;
    for _ in 0..3 {
        at += 4 + u32::from_le_bytes(payload[at..at + 4].try_into().unwrap()) as usize;
    }
    &mut payload[at..at + 8]
}

/// What a process that was started anew reads in `agent-0`.
fn read_anew(repository: &Repository) -> Vec<RepoPath> {
    let slot = Slot::agent(0);
    let reopened = repository.store().reopen(&slot, "me", &repository.trees[0], 1_000).unwrap();
    reopened.unwrap().changes().unwrap().edits.into_keys().collect()
}

/// The clock of a file system ticks in steps: who writes in the step of our own write leaves our stamp.
#[test]
fn what_was_changed_in_the_tick_of_our_own_write_is_read_and_put_back() {
    let repository = Repository::new(&[&first]);
    let tree = &repository.trees[0];
    let workspace = lay_out(&repository.store(), tree);
    workspace.claim("me").unwrap();
    drop(workspace);
    change_without_a_trace(&repository, "src/a.txt", |_| ());
    assert_eq!(read_anew(&repository), [RepoPath::from("src/a.txt")]);
    let _again = lay_out(&repository.store(), tree);
    assert_eq!(files_of(&repository.slot().join("tree")), repository.expected(tree));
}

/// After a power cut a file may have its stamp and not its contents.
#[cfg(target_os = "linux")]
#[test]
fn stamps_of_an_earlier_run_of_the_machine_are_not_believed() {
    let repository = Repository::new(&[&first]);
    let tree = &repository.trees[0];
    let workspace = lay_out(&repository.store(), tree);
    workspace.claim("me").unwrap();
    drop(workspace);
    let late = |payload: &mut [u8]| settled(payload).copy_from_slice(&i64::MAX.to_le_bytes());
    // The control: with a stamp that fits, nothing is read.
    change_without_a_trace(&repository, "src/a.txt", late);
    assert_eq!(read_anew(&repository), []);
    change_without_a_trace(&repository, "src/a.txt", |payload| {
        late(payload);
        // The id of the run stands first, behind its length.
        payload[4] ^= 1;
    });
    assert_eq!(read_anew(&repository), [RepoPath::from("src/a.txt")]);
    let _again = lay_out(&repository.store(), tree);
    assert_eq!(files_of(&repository.slot().join("tree")), repository.expected(tree));
}

fn build(root: &Path) {
    write(&root.join("target/debug/out"), "built\n");
    write(&root.join("target/debug/deps/dep"), "dep\n");
    mode(&root.join("target/debug/out"), 0o750);
    symlink("debug/out", root.join("target/latest")).unwrap();
    write(&root.join("src/x.o"), "object\n");
    fs::create_dir_all(root.join("cache/empty")).unwrap();
    write(&root.join("stray.txt"), "not ignored\n");
    write(&root.join(".git/HEAD"), "an agent's\n");
    drop(UnixListener::bind(root.join("target/socket")).unwrap());
}

/// Keeps what a build leaves in the gate's slot of the first tree.
fn with_cache(repository: &Repository, store: &Store) -> CacheId {
    let id = CacheId::new(&[b"gate", b"base"]);
    assert!(!store.has_cache(&id));
    let gate =
        store.lay_out(Kind::Pool, &Slot::gate(), &repository.trees[0], Some(&id), 1_000).unwrap();
    build(gate.directory());
    let kept = store.keep_cache(&gate, &id).unwrap();
    assert_eq!((kept.files, kept.bytes), (4, 6 + 4 + 9 + 7));
    gate.release().unwrap();
    assert!(store.has_cache(&id));
    id
}

#[test]
fn ignored_paths_hold_what_the_cache_holds() {
    let repository = Repository::new(&[&first, &second, &third]);
    let store = repository.store();
    let id = with_cache(&repository, &store);
    let lay_out = |slot: &Slot, tree: usize, cache: Option<&CacheId>| {
        store.lay_out(Kind::Pool, slot, &repository.trees[tree], cache, 1_000).unwrap()
    };
    let gate = lay_out(&Slot::gate(), 0, Some(&id));
    assert_eq!(gate.copied_bytes(), 0, "what the maker left is of the cache already");
    let of_gate = (files_of(gate.directory()), times_of(gate.directory()));
    let mut expected = repository.expected(&repository.trees[0]);
    for (path, what) in [
        ("target/debug", "directory 700"),
        ("target/debug/deps", "directory 700"),
        ("target/debug/out", "file 100 built\n"),
        ("target/debug/deps/dep", "file 0 dep\n"),
        ("target/latest", "link debug/out"),
        ("src/x.o", "file 0 object\n"),
        ("cache", "directory 700"),
        ("cache/empty", "directory 700"),
    ] {
        expected.insert(path.as_bytes().to_vec(), what.to_owned());
    }
    assert_eq!(of_gate.0, expected);
    let agent = lay_out(&Slot::agent(0), 0, Some(&id));
    let of_agent = (files_of(agent.directory()), times_of(agent.directory()));
    assert_eq!(of_agent.0, of_gate.0);
    for product in ["target/debug/out", "target/latest", "src/x.o"].map(str::as_bytes) {
        assert_eq!(of_agent.1[product], of_gate.1[product]);
    }
    assert!(agent.changes().unwrap().edits.is_empty());
    // Only what was changed is brought again.
    let out = agent.directory().join("target/debug/out");
    fs::write(&out, "forged\n").unwrap();
    write(&agent.directory().join("target/debug/more"), "more\n");
    fs::remove_dir(agent.directory().join("cache/empty")).unwrap();
    agent.release().unwrap();
    let agent = lay_out(&Slot::agent(0), 0, Some(&id));
    assert_eq!((files_of(agent.directory()), times_of(agent.directory())), of_agent);
    assert!([0, 6].contains(&agent.copied_bytes()), "{}", agent.copied_bytes());
    agent.release().unwrap();
    // Another tree's own files come first, and what it does not ignore is not there.
    for (tree, there) in [(1, true), (2, false), (1, true), (0, true)] {
        let agent = lay_out(&Slot::agent(0), tree, Some(&id));
        assert_eq!(agent.directory().join("target/debug/out").exists(), there, "tree {tree}");
        assert!(agent.changes().unwrap().edits.is_empty(), "tree {tree}");
        agent.release().unwrap();
    }
    let agent = lay_out(&Slot::agent(0), 0, None);
    assert_eq!(files_of(agent.directory()), repository.expected(&repository.trees[0]));
}

#[test]
fn products_of_a_cache_are_newer_than_the_same_sources_and_older_than_others() {
    let repository = Repository::new(&[&first, &second]);
    let store = repository.store();
    // Laid out before the cache is made, of other contents: its old time must not hide that.
    let slot = Slot::agent(0);
    store.lay_out(Kind::Pool, &slot, &repository.trees[1], None, 1_000).unwrap().release().unwrap();
    std::thread::sleep(Duration::from_millis(20)); // the file system's clock must tick
    let id = with_cache(&repository, &store);
    std::thread::sleep(Duration::from_millis(20));
    for slot in [slot, Slot::agent(1)] {
        let time = |workspace: &Workspace, path: &str| {
            fs::symlink_metadata(workspace.directory().join(path)).unwrap().modified().unwrap()
        };
        for tree in [1, 0, 1] {
            let tree_id = &repository.trees[tree];
            let laid = store.lay_out(Kind::Pool, &slot, tree_id, Some(&id), 1_000).unwrap();
            let product = time(&laid, "target/debug/out");
            assert!(time(&laid, "target/tracked.txt") <= product, "the same contents");
            let other = time(&laid, "src/a.txt");
            assert_eq!(other > product, tree == 1, "{slot} {tree}: {other:?} {product:?}");
            laid.release().unwrap();
        }
    }
}

#[test]
fn a_slot_is_lent_once_and_remembers_its_owner() {
    let repository = Repository::new(&[&first]);
    let (store, tree) = (repository.store(), &repository.trees[0]);
    let agent = || store.lay_out_agent(Kind::Pool, None, tree, None, 1_000).unwrap();
    let (one, two) = (agent(), agent());
    assert_eq!((one.slot(), two.slot()), (&Slot::agent(0), &Slot::agent(1)));
    let problem = store.lay_out(Kind::Pool, &Slot::agent(1), tree, None, 1_000).err().unwrap();
    assert!(problem.to_string().contains("agent-1 is in use"), "{problem}");
    two.claim("conversation").unwrap();
    drop((one, two));
    let store = repository.store();
    assert_eq!(store.slot_of("conversation"), Some(Slot::agent(1)));
    assert!(store.reopen(&Slot::agent(1), "another", tree, 1_000).unwrap().is_none());
    assert!(store.reopen(&Slot::agent(0), "conversation", tree, 1_000).unwrap().is_none());
    let agent = |preferred: u32| {
        let preferred = Slot::agent(preferred);
        store.lay_out_agent(Kind::Pool, Some(&preferred), tree, None, 1_000).unwrap()
    };
    // A claimed slot is nobody else's.
    assert_eq!(agent(1).slot(), &Slot::agent(0));
    assert_eq!(agent(3).slot(), &Slot::agent(3));
    let work = repository.root.path().join("work");
    write(&work.join("gate-base-77/home/x"), "foreign\n");
    store.clear(&BTreeSet::from(["conversation".to_owned()])).unwrap();
    assert!(!work.join("gate-base-77").exists());
    let reopened = store.reopen(&Slot::agent(1), "conversation", tree, 1_000).unwrap().unwrap();
    assert!(reopened.changes().unwrap().edits.is_empty());
    reopened.release().unwrap();
    assert_eq!(store.slot_of("conversation"), None, "what was given back is nobody's");
    let claimed = agent(1);
    claimed.claim("conversation").unwrap();
    drop(claimed);
    store.clear(&BTreeSet::new()).unwrap();
    assert_eq!(store.slot_of("conversation"), None);
    assert!(work.join("agent-1/tree/src/a.txt").exists(), "the files stay warm");
}

#[test]
fn a_damaged_manifest_costs_reading_and_no_change() {
    let repository = Repository::new(&[&first]);
    let workspace = lay_out(&repository.store(), &repository.trees[0]);
    workspace.claim("me").unwrap();
    fs::write(repository.path("src/a.txt"), "changed\n").unwrap();
    drop(workspace);
    fs::write(repository.slot().join("manifest"), "no manifest").unwrap();
    let store = repository.store();
    let tree = &repository.trees[0];
    let reopened = store.reopen(&Slot::agent(0), "me", tree, 1_000).unwrap().unwrap();
    let edits = reopened.changes().unwrap().edits;
    assert_eq!(edits.into_keys().collect::<Vec<_>>(), [RepoPath::from("src/a.txt")]);
    reopened.release().unwrap();
    let _again = lay_out(&store, tree);
    assert_eq!(files_of(&repository.slot().join("tree")), repository.expected(tree));
}

#[test]
fn a_replaced_root_is_said_and_made_anew() {
    let repository = Repository::new(&[&first]);
    let store = repository.store();
    let outside = repository.root.path().join("outside");
    write(&outside.join("mine.txt"), "mine\n");
    let workspace = lay_out(&store, &repository.trees[0]);
    let root = repository.slot().join("tree");
    fs::remove_dir_all(&root).unwrap();
    symlink(&outside, &root).unwrap();
    let changes = workspace.changes().unwrap();
    assert_eq!(changes.odd.len(), 1);
    assert!(changes.edits.is_empty());
    workspace.release_as_read().unwrap();
    let _again = lay_out(&store, &repository.trees[0]);
    assert_eq!(files_of(&root), repository.expected(&repository.trees[0]));
    assert_eq!(fs::read_to_string(outside.join("mine.txt")).unwrap(), "mine\n");
}

#[test]
fn what_nobody_used_for_long_makes_room() {
    let repository = Repository::new(&[&first]);
    let store = repository.store();
    let id = with_cache(&repository, &store);
    let kept = lay_out(&store, &repository.trees[0]);
    let all = store.size().unwrap();
    assert!(all > 0);
    let now = SystemTime::now();
    let year = Duration::from_secs(365 * 86_400);
    let rules = |older_than: Duration, largest: u64| Collect { older_than, largest };
    let none = store.collect(&rules(year, u64::MAX), &InUse::default(), now).unwrap();
    assert!(none.removed.is_empty() && none.bytes == 0);
    let in_use = InUse { caches: BTreeSet::from([id.clone()]), ..InUse::default() };
    let gone = store.collect(&rules(year, 0), &in_use, now).unwrap();
    assert_eq!(gone.removed, ["gate"]);
    assert!(gone.bytes > 0 && store.size().unwrap() < all && store.has_cache(&id));
    let gone = store.collect(&rules(year, u64::MAX), &InUse::default(), now + 2 * year).unwrap();
    assert_eq!(gone.removed, [format!("cache {}", id.as_str())]);
    kept.release().unwrap();
    let gone = store.collect(&rules(year, 0), &InUse::default(), now).unwrap();
    assert_eq!(gone.removed, ["agent-0"]);
    let _again = lay_out(&store, &repository.trees[0]);
    assert_eq!(
        files_of(&repository.slot().join("tree")),
        repository.expected(&repository.trees[0])
    );
}
