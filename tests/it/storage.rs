//! Room on real disks, and what is removed of real directories.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use nightshift::{
    files,
    git::{Vault, history, user::UserRepository},
    ids::{CommitId, NightId, TreeId},
    journal::{Holder, Journal, Lock, Locking},
    night::{Entry, Event},
    runner::{
        places::{Places, Surroundings},
        storage::{
            self, Load, Reserve, Size, Space,
            collect::{self, Collected, InUse, What},
        },
    },
    sandbox::Limits,
    workspace::{self, Kind, Slot, Store},
};

use super::support::kernel;

const MIB: u64 = 1 << 20;

fn places(root: &Path, name: &str) -> Places {
    let environment =
        BTreeMap::from([("HOME".to_owned(), root.join("home").display().to_string())]);
    let surroundings = Surroundings::new(environment, "/x".into()).unwrap();
    let places = Places::of(&surroundings, &root.join(name).join(".git"));
    places.prepare().unwrap();
    places
}

fn write(path: &Path, text: &str) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    path.to_owned()
}

/// Makes a path look as if it had last been written so long ago.
fn age(path: &Path, days: f64) {
    let then = SystemTime::now() - Duration::from_secs_f64(days * 86_400.0);
    let times = fs::FileTimes::new().set_modified(then).set_accessed(then);
    fs::File::open(path).unwrap().set_times(times).unwrap();
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=T", "-c", "user.email=t@localhost"])
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// A repository of ours with its directories and its lock.
struct Scene {
    root: tempfile::TempDir,
    places: Places,
    vault: Vault,
    store: Store,
    lock: Lock,
}

impl Scene {
    fn new() -> Scene {
        let root = tempfile::tempdir().unwrap();
        let repo = root.path().join("repo");
        write(&repo.join("a.txt"), "a");
        git(&repo, &["init", "-q", "-b", "main"]);
        git(&repo, &["add", "-A"]);
        git(&repo, &["commit", "-q", "-m", "base"]);
        let places = places(root.path(), "repo");
        let user = UserRepository::open(&repo).unwrap();
        let vault = Vault::prepare(&places.vault(), &user).unwrap();
        let store = Store::new(&vault, &places.work());
        let Locking::Held(lock) =
            Lock::ask(&places.lock(), &Holder::this("now".into(), None)).unwrap()
        else {
            panic!("nobody else is here");
        };
        fs::create_dir(root.path().join("tmp")).unwrap();
        Scene { root, places, vault, store, lock }
    }

    fn temporary(&self) -> PathBuf {
        self.root.path().join("tmp")
    }

    fn collect(&self, in_use: &InUse) -> Collected {
        self.collect_at(in_use, Timestamp::now())
    }

    fn collect_at(&self, in_use: &InUse, now: Timestamp) -> Collected {
        let (lock, places, store) = (&self.lock, &self.places, &self.store);
        collect::collect(lock, places, store, &self.temporary(), in_use, now)
    }

    fn tree(&self) -> TreeId {
        let head = git(&self.root.path().join("repo"), &["rev-parse", "HEAD"]);
        self.vault.tree_of(&CommitId::new(head).unwrap()).unwrap()
    }

    fn nothing_in_use(&self) -> Collected {
        self.collect(&InUse::default())
    }

    /// A night with an attempt that has all that an attempt can leave. `ended`: it came to its end.
    fn night(&self, name: &str, ended: bool) -> PathBuf {
        let id = NightId::new(name).unwrap();
        let night = self.places.night(&id);
        let attempt = night.directory().join("attempts/task_1@1");
        for file in KEPT.iter().chain(&REMOVED) {
            write(&attempt.join(file), "text");
        }
        write(&night.directory().join("gate/base/1-quality.log"), "ok");
        write(&night.pull_request(), "# A night");
        let mut journal = Journal::create(&night.journal(), &id).unwrap();
        let event = if ended {
            Event::Ended { reason: None, exit: 0 }
        } else {
            Event::Restarted { charges: Vec::new() }
        };
        journal.append(&Entry::new(1, Timestamp::now(), "demo", event)).unwrap();
        night.directory().to_owned()
    }
}

const KEPT: [&str; 7] = [
    "review-1/prompt.md",
    "prompt.md",
    "transcript.jsonl",
    "settings.json",
    "stream-1.jsonl.txt",
    "stream-x.jsonl",
    "homework/notes",
];
const REMOVED: [&str; 9] = [
    "review-1/home/x",
    "review-1/stream-1.jsonl",
    "home/.cache/x",
    "claude/projects/p/record.jsonl",
    "t/y",
    "stores/0/upper/z",
    "stream-1.jsonl",
    "stream-1.errors",
    "stream-12.from",
];

/// Those of the files that are still there.
fn there(night: &Path, files: &[&str]) -> usize {
    let attempt = night.join("attempts/task_1@1");
    files.iter().filter(|file| attempt.join(file).exists()).count()
}

fn removed(collected: &Collected, what: What) -> u64 {
    collected.by.get(&what).map_or(0, |removed| removed.things)
}

#[test]
fn a_tree_is_measured_by_its_blobs() {
    let root = tempfile::tempdir().unwrap();
    let repo = root.path().join("repo");
    write(&repo.join("empty"), "");
    write(&repo.join("src/one"), "x");
    write(&repo.join("src/two"), &"x".repeat(4097));
    write(&repo.join("src/deep/large"), &"x".repeat(1 << 20));
    symlink("one", repo.join("src/link")).unwrap();
    git(&repo, &["init", "-q", "-b", "main"]);
    git(&repo, &["add", "-A"]);
    git(&repo, &["commit", "-q", "-m", "base"]);
    let user = UserRepository::open(&repo).unwrap();
    let vault = Vault::prepare(&root.path().join("vault.git"), &user).unwrap();
    let tree = vault.tree_of(&user.resolve("refs/heads/main").unwrap().unwrap()).unwrap();
    let size = storage::size_of(&vault, &tree).unwrap();
    // Blocks of a link and three files, the empty one has none; and of two directories.
    let blocks = 1 + 1 + 2 + 256 + 2;
    assert_eq!(size, Size { bytes: blocks * 4096, files: 5 + 2 });
}

#[test]
fn a_disk_is_asked_for_its_space() {
    let root = tempfile::tempdir().unwrap();
    let space = Space::of(root.path()).unwrap();
    assert!(space.free > 0 && space.free <= space.total, "{space:?}");
    let problem = Space::of(&root.path().join("gone")).unwrap_err().to_string();
    assert!(problem.contains("gone") && problem.contains("free space"), "{problem}");
}

#[test]
fn a_night_that_fits_may_begin_and_one_that_does_not_is_refused() {
    let scene = Scene::new();
    let tree = Size { bytes: MIB, files: 10 };
    let present = Size::default();
    let load = Load { tree, cache: None, kind: Kind::Pool, parallel: 1, present };
    let needed =
        storage::check(&scene.places, &load, &Limits { disk_reserve: 0, ..Limits::default() })
            .unwrap();
    assert_eq!(needed, storage::forecast(&load));
    let huge = Load { tree: Size { bytes: 1 << 60, files: 10 }, ..load };
    let refused = storage::check(&scene.places, &huge, &Limits::default()).unwrap_err();
    assert!(refused.message.contains("this night needs about"), "{refused}");
    assert!(refused.message.contains("work"), "{refused}");
}

#[test]
fn room_is_really_held_and_given_back() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("reserve");
    // What a killed night left, in part.
    write(&path, "x");
    let reserve = Reserve::hold(&path, 3 * MIB + 5).unwrap();
    let found = fs::metadata(&path).unwrap();
    assert_eq!(found.len(), 3 * MIB + 5);
    assert!(found.blocks() * 512 >= 3 * MIB, "{} blocks", found.blocks());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    reserve.release().unwrap();
    assert!(!path.exists());
    drop(Reserve::hold(&path, 10).unwrap());
    assert!(!path.exists());
    assert!(Reserve::hold(&root.path().join("no/reserve"), 10).is_err());
}

/// The variable by which this test finds itself inside, on a disk of its own.
const SMALL: &str = "NIGHTSHIFT_TEST_SMALL_DISK";
const SMALL_MIB: u64 = 24;

#[test]
fn on_a_full_disk_the_end_of_a_night_is_still_written() {
    if let Some(disk) = std::env::var_os(SMALL) {
        return on_a_small_disk(Path::new(&disk));
    }
    let disk = tempfile::tempdir().unwrap();
    let inside = |program: &Path, arguments: &[&str]| {
        let mount = format!("mount -t tmpfs -o size={SMALL_MIB}m,nr_inodes=64 none \"$0\"");
        Command::new("unshare")
            .args(["-Urm", "sh", "-c", &format!("{mount} && exec \"$@\"")])
            .arg(disk.path())
            .arg(program)
            .args(arguments)
            .env(SMALL, disk.path())
            .output()
    };
    if !inside(Path::new("true"), &[]).is_ok_and(|output| output.status.success()) {
        kernel::missing("no file system can be mounted in a namespace of one's own");
        return;
    }
    let name = "storage::on_a_full_disk_the_end_of_a_night_is_still_written";
    let itself = std::env::current_exe().unwrap();
    let output = inside(&itself, &["--exact", name, "--nocapture"]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn on_a_small_disk(disk: &Path) {
    let space = Space::of(disk).unwrap();
    assert_eq!(space.total, SMALL_MIB * MIB);
    let files = space.files.unwrap();
    assert!(files < 64, "{files}");

    // Too small to begin with, and said so; no part of the room stays taken.
    let refused = storage::check(
        &places(disk, "repo"),
        &Load {
            tree: Size { bytes: MIB, files: 10 },
            cache: None,
            kind: Kind::Overlay,
            parallel: 1,
            present: Size::default(),
        },
        &Limits::default(),
    );
    let refused = refused.unwrap_err();
    assert!(refused.message.contains("MiB are free"), "{refused}");
    // The state on a small disk of its own: a part of that disk stays free, as the guard wants it.
    let large = tempfile::tempdir().unwrap();
    let environment = BTreeMap::from([
        ("HOME".to_owned(), large.path().display().to_string()),
        ("XDG_STATE_HOME".to_owned(), disk.join("state").display().to_string()),
    ]);
    let apart = Surroundings::new(environment, "/x".into()).unwrap();
    let apart = Places::of(&apart, &large.path().join("repo/.git"));
    apart.prepare().unwrap();
    let load = Load {
        tree: Size { bytes: MIB, files: 1 },
        cache: None,
        kind: Kind::Overlay,
        parallel: 1,
        present: Size::default(),
    };
    let refused = storage::check(&apart, &load, &Limits::default()).unwrap_err();
    assert!(refused.message.contains("2.3 MiB of it to stay free"), "{refused}");
    assert!(refused.help.unwrap().contains("XDG_STATE_HOME"));
    fs::remove_dir_all(disk.join("state")).unwrap();
    let too_many = Size { bytes: 1, files: 65 };
    assert!(storage::enough(disk, "X", &space, too_many, 0).is_err());
    let path = disk.join("reserve");
    let problem = Reserve::hold(&path, storage::RESERVED).unwrap_err().to_string();
    assert!(problem.contains("hold room") && problem.contains("reserve"), "{problem}");
    assert!(!path.exists());

    let before = Space::of(disk).unwrap().free;
    let reserve = Reserve::hold(&path, 8 * MIB).unwrap();
    assert!(Space::of(disk).unwrap().free <= before - 8 * MIB);
    let mut filler = fs::File::create(disk.join("filler")).unwrap();
    let chunk = vec![7; 1 << 16];
    let full = loop {
        if let Err(problem) = filler.write_all(&chunk) {
            break problem;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let report = vec![b'x'; 1 << 20];
    files::write_atomic(&disk.join("report"), &report).unwrap_err();
    reserve.release().unwrap();
    files::write_atomic(&disk.join("report"), &report).unwrap();
}

#[test]
fn agents_of_finished_nights_leave_nothing_of_their_own() {
    let scene = Scene::new();
    let finished = scene.night("2026-11-01", true);
    let cut_off = scene.night("2026-11-02", false);
    let long_cut_off = scene.night("2026-11-03", false);
    age(&long_cut_off.join("journal.jsonl"), 14.1);
    let goes_on = scene.night("2026-11-04", true);
    let last = scene.night("2026-11-05", true);
    // An agent without walls can put a link where its directory was.
    let outside = write(&scene.root.path().join("outside/file"), "x");
    let home = finished.join("attempts/task_1@1/home");
    fs::remove_dir_all(&home).unwrap();
    symlink(outside.parent().unwrap(), &home).unwrap();
    symlink(outside.parent().unwrap(), finished.join("attempts/task_2@1")).unwrap();
    fs::create_dir(outside.with_file_name("home")).unwrap();

    let nights = [NightId::new("2026-11-04").unwrap()].into();
    let collected = scene.collect(&InUse { nights, ..InUse::default() });
    for night in [&finished, &long_cut_off] {
        assert_eq!((there(night, &KEPT), there(night, &REMOVED)), (KEPT.len(), 0), "{night:?}");
    }
    for night in [&cut_off, &goes_on, &last] {
        assert_eq!(there(night, &REMOVED), REMOVED.len(), "{night:?}");
    }
    for night in [&finished, &long_cut_off, &cut_off, &goes_on, &last] {
        for file in ["journal.jsonl", "pull_request.md", "gate/base/1-quality.log"] {
            assert!(night.join(file).exists(), "{night:?} {file}");
        }
    }
    assert!(home.symlink_metadata().is_err() && outside.exists());
    assert!(outside.with_file_name("home").exists());
    assert_eq!(removed(&collected, What::Agent), 18);
    assert!(collected.bytes() >= 17 * 4096 && collected.failed == 0, "{collected:?}");
    assert!(scene.collect(&InUse::default()).by[&What::Agent].things == 9, "no longer in use");
}

#[test]
fn directories_that_an_agent_locked_go_as_well() {
    let scene = Scene::new();
    let night = scene.night("2026-11-01", true);
    scene.night("2026-11-02", true);
    let locked = night.join("attempts/task_1@1/home/.cache");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(scene.nothing_in_use().failed, 0);
    assert_eq!(there(&night, &REMOVED), 0);
}

#[test]
fn receipts_are_kept_for_three_months() {
    let scene = Scene::new();
    let receipts = scene.places.state().join("receipts");
    let old = write(&receipts.join("gate-a/t1.json"), "{}");
    let young = write(&receipts.join("gate-a/t2.json"), "{}");
    let only = write(&receipts.join("gate-b/t1.json"), "{}");
    age(&old, 90.1);
    age(&young, 89.9);
    age(&only, 200.0);
    assert_eq!(removed(&scene.nothing_in_use(), What::Receipt), 2);
    assert!(young.exists() && !old.exists() && !only.parent().unwrap().exists());
}

#[test]
fn left_overs_go_after_a_day() {
    let scene = Scene::new();
    let work = scene.places.work();
    let old = ["trial-abc", "gate-base-77"].map(|name| work.join(name));
    let kept = ["trial-new", "gate", "others"].map(|name| work.join(name));
    let vault = scene.places.state().join(".vault-x");
    let gate = scene.store.lay_out(Kind::Pool, &Slot::gate(), &scene.tree(), None, 1_000).unwrap();
    gate.release().unwrap();
    for directory in old.iter().chain(&kept).chain([&vault]) {
        write(&directory.join("file"), "x");
        age(directory, if directory.ends_with("trial-new") { 0.9 } else { 1.1 });
    }
    assert_eq!(removed(&scene.nothing_in_use(), What::LeftOver), 3);
    assert!(old.iter().chain([&vault]).all(|path| !path.exists()));
    assert!(kept.iter().all(|path| path.exists()));
}

#[test]
fn of_short_names_only_ours_go() {
    let scene = Scene::new();
    let make = |name: &str, mode: u32, inside: &[&str], days: f64| {
        let path = scene.temporary().join(name);
        fs::create_dir(&path).unwrap();
        for entry in inside {
            fs::create_dir_all(path.join(entry)).unwrap();
            age(&path.join(entry), days);
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        age(&path, days);
        path
    };
    let ours = [
        make("nsAbC123", 0o700, &[], 1.1),
        make("nsAbC124", 0o700, &["cc-socks"], 1.1),
        make("nsAbC125", 0o700, &["socket", "claude-0/x"], 1.1),
    ];
    age(&ours[2].join("claude-0"), 1.1);
    let recent = make("nsAbC126", 0o700, &["cc-socks"], 1.1);
    let _socket = UnixListener::bind(recent.join("cc-socks/1.sock")).unwrap();
    age(&recent.join("cc-socks"), 1.1);
    let others = [
        recent,
        make("nsAbC127", 0o700, &[], 0.9),
        make("nsAbC128", 0o755, &[], 1.1),
        make("nsAbC129", 0o700, &["thesis"], 1.1),
        make("nsAbC12", 0o700, &[], 1.1),
        make("ns-bC129", 0o700, &[], 1.1),
        make("tsAbC129", 0o700, &[], 1.1),
    ];
    symlink(&others[3], scene.temporary().join("nsAbCabc")).unwrap();
    assert_eq!(removed(&scene.nothing_in_use(), What::LeftOver), 3);
    assert!(ours.iter().all(|path| !path.exists()));
    assert!(others.iter().all(|path| path.exists()));
}

#[test]
fn what_a_kept_history_needs_is_kept() {
    let scene = Scene::new();
    let repo = scene.root.path().join("repo");
    let shared = scene.places.history();
    let tip = |message: &str| {
        write(&repo.join("a.txt"), message);
        git(&repo, &["add", "-A"]);
        git(&repo, &["commit", "-q", "-m", message]);
        let head = CommitId::new(git(&repo, &["rev-parse", "HEAD"])).unwrap();
        history::prepare(&scene.vault, &head, &shared).unwrap();
        head
    };
    let chain = [tip("one"), tip("two"), tip("three")];
    git(&repo, &["checkout", "-q", "--orphan", "other"]);
    let alone = tip("alone");
    let half = write(&shared.join("half/objects/pack/x"), "x");
    let store = |commit: &CommitId| shared.join(commit.as_str());
    let old = |commit: &CommitId| age(&store(commit).join("store.json"), 14.1);
    for commit in chain.iter().chain([&alone]) {
        old(commit);
    }

    collect::used_history(&scene.places, &chain[2]).unwrap();
    let collected = scene.nothing_in_use();
    assert_eq!(removed(&collected, What::History), 1, "{collected:?}");
    assert!(!store(&alone).exists() && half.exists());
    let workspace = scene.root.path().join("work");
    let layer = history::prepare(&scene.vault, &chain[2], &shared).unwrap();
    nightshift::files::copy_tree(&layer, &workspace).unwrap();
    assert_eq!(git(&workspace, &["rev-list", "--count", "HEAD"]), "4");
    git(&workspace, &["fsck", "--full", "--strict"]);

    old(&chain[2]);
    age(&shared.join("half"), 1.1);
    let commits = [chain[1].clone()].into();
    let collected = scene.collect(&InUse { commits, ..InUse::default() });
    assert_eq!(removed(&collected, What::History), 2);
    assert!(!store(&chain[2]).exists() && !half.exists());
    assert!(store(&chain[0]).exists() && store(&chain[1]).exists());

    assert_eq!(removed(&scene.nothing_in_use(), What::History), 2);
    assert_eq!(fs::read_dir(&shared).unwrap().count(), 0);
    assert!(collect::used_history(&scene.places, &chain[0]).is_err());
}

#[test]
fn workspaces_that_nobody_used_for_long_go() {
    let scene = Scene::new();
    let tree = scene.tree();
    let slots = [0, 1, 2].map(Slot::agent);
    for slot in &slots {
        let laid = scene.store.lay_out(Kind::Pool, slot, &tree, None, 1_000).unwrap();
        if *slot == slots[1] {
            laid.claim("a conversation").unwrap(); // and the process is killed
        } else {
            laid.release().unwrap();
        }
    }
    let place = |slot: &Slot| scene.places.work().join(slot.to_string());
    let later = Timestamp::now() + Duration::from_secs(15 * 86_400);
    assert!(scene.nothing_in_use().is_empty());
    let workspaces = workspace::InUse { slots: [slots[2].clone()].into(), ..Default::default() };
    let collected = scene.collect_at(&InUse { workspaces, ..InUse::default() }, later);
    assert_eq!(removed(&collected, What::Workspace), 1, "{collected:?}");
    assert!(!place(&slots[0]).exists() && place(&slots[1]).exists() && place(&slots[2]).exists());
}

#[test]
fn another_repository_loses_nothing() {
    let scene = Scene::new();
    let other = places(scene.root.path(), "other");
    let files = [
        other.state().join("receipts/g/t.json"),
        other.state().join("nights/2026-11-01/attempts/t@1/home/x"),
        other.history().join("half/x"),
        other.work().join("gate-x/y"),
    ];
    for file in &files {
        write(file, "x");
        age(file, 400.0);
        age(file.parent().unwrap(), 400.0);
    }
    assert!(scene.nothing_in_use().is_empty());
    assert!(files.iter().all(|file| file.exists()));
}

#[test]
fn a_collection_is_one_line() {
    let mut collected = Collected::default();
    assert_eq!(collected.to_string(), "removed of earlier nights: nothing");
    collected.add(What::Workspace, 2, 3 << 30);
    collected.add(What::History, 1, 512);
    collected.add(What::History, 1, 512);
    collected.failed = 1;
    assert_eq!(
        collected.to_string(),
        "removed of earlier nights: 2 histories (1.0 KiB), 2 workspaces and caches (3.0 GiB); \
         1 could not be removed"
    );
    assert_eq!(collected.bytes(), (3 << 30) + 1024);
}
