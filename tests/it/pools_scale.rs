//! What a task costs in pools, against two walks of the same tree. Not part of a test run: it measures.
//!
//! `cargo test --release --test it -- --ignored --nocapture pools_scale`

use std::{
    fs,
    io::Write as _,
    os::fd::AsFd,
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use nightshift::{
    git::{Vault, landing, user::UserRepository},
    ids::TreeId,
    workspace::{Kind, Slot, Store},
};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};

/// Files of a directory, as in the measurements of the design.
const WIDTH: usize = 12;
const ROUNDS: usize = 9;

/// A repository of `count` files of 2 KiB, in one commit.
fn repository(at: &Path, count: usize) {
    fs::create_dir(at).unwrap();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(at).args(arguments);
        command
    };
    assert!(git(&["init", "-q", "-b", "main"]).status().unwrap().success());
    let mut import = git(&["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = std::io::BufWriter::new(import.stdin.take().unwrap());
    writeln!(input, "commit refs/heads/main\ncommitter T <t@localhost> 1700000000 +0000").unwrap();
    writeln!(input, "data 4\nbase\nM 644 inline .gitignore\ndata 7\n/junk/\n").unwrap();
    for file in 0..count {
        let text = format!("{file:08}\n").repeat(228);
        let (above, name) = (file / WIDTH, file % WIDTH);
        let path = format!("d{}/e{above}/f{name}.txt", above / WIDTH);
        writeln!(input, "M 644 inline {path}\ndata {}\n{text}", text.len()).unwrap();
    }
    drop(input);
    assert!(import.wait().unwrap().success());
}

/// A walk that does nothing but ask for every entry: getdents and fstatat, two threads.
fn bare_walk(root: &Path) -> usize {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = Mutex::new((vec![root.to_owned()], 0_usize));
    let work = || {
        let mut seen = 0;
        loop {
            let next = {
                let mut open = open.lock().unwrap();
                let next = open.0.pop();
                open.1 += usize::from(next.is_some());
                if next.is_none() && open.1 == 0 {
                    return seen;
                }
                next
            };
            let Some(path) = next else {
                std::thread::yield_now();
                continue;
            };
            let directory = openat(rustix::fs::CWD, &path, flags, Mode::empty()).unwrap();
            let mut below = Vec::new();
            let mut entries = Dir::read_from(&directory).unwrap();
            while let Some(entry) = entries.read().transpose().unwrap() {
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                seen += 1;
                statat(directory.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
                if entry.file_type() == FileType::Directory {
                    below.push(path.join(name.to_str().unwrap()));
                }
            }
            let mut open = open.lock().unwrap();
            open.0.extend(below);
            open.1 -= 1;
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        work() + other.join().unwrap()
    })
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1_000.0
}

#[test]
#[ignore = "measures: takes a minute and needs a release build"]
fn what_a_task_costs() {
    for count in [100, 10_000, 100_000] {
        let shm = Path::new("/dev/shm");
        let place = tempfile::tempdir_in(if shm.is_dir() { shm } else { Path::new("/tmp") });
        let place = place.unwrap();
        let repo = place.path().join("repo");
        repository(&repo, count);
        let user = UserRepository::open(&repo).unwrap();
        let vault = Vault::prepare(&place.path().join("vault.git"), &user).unwrap();
        let mut tip = vault.tree_of(&user.resolve("refs/heads/main").unwrap().unwrap()).unwrap();
        let store = Store::new(&vault, &place.path().join("work"));
        let agent = Slot::agent(0);
        let lay_out = |slot: &Slot, tree: &TreeId| {
            store.lay_out(Kind::Pool, slot, tree, None, 1 << 20).unwrap()
        };
        let start = Instant::now();
        lay_out(&agent, &tip).release().unwrap();
        let fresh = start.elapsed();
        lay_out(&Slot::gate(), &tip).release().unwrap();
        let mut parts: [Vec<Duration>; 6] = Default::default();
        for round in 0..ROUNDS {
            let root = place.path().join("work/agent-0/tree");
            let mut took = |part: usize, since: Instant| parts[part].push(since.elapsed());
            let start = Instant::now();
            bare_walk(&root);
            bare_walk(&root);
            took(0, start);
            let whole = Instant::now();
            let start = Instant::now();
            let workspace = lay_out(&agent, &tip);
            took(1, start);
            let not_ours = Instant::now();
            for file in 0..3 {
                let path = root.join(format!("d0/e{file}/f{file}.txt"));
                let mut file = fs::File::options().append(true).open(path).unwrap();
                writeln!(file, "round {round}").unwrap();
            }
            fs::write(root.join(format!("d0/new-{round}")), "new\n").unwrap();
            fs::create_dir_all(root.join("junk")).unwrap();
            fs::write(root.join("junk/x"), "ignored\n").unwrap();
            let agents = not_ours.elapsed();
            let start = Instant::now();
            let changes = workspace.changes().unwrap();
            took(2, start);
            assert_eq!(changes.edits.len(), 4);
            let start = Instant::now();
            tip = landing::store_tree(&vault, &tip, &changes.edits).unwrap().0;
            workspace.release_as_read().unwrap();
            took(3, start);
            let start = Instant::now();
            let gate = lay_out(&Slot::gate(), &tip);
            took(4, start);
            let all = whole.elapsed().saturating_sub(agents);
            parts[5].push(all);
            fs::create_dir_all(gate.directory().join("junk")).unwrap();
            gate.release().unwrap();
        }
        // A new process reads the manifest.
        let start = Instant::now();
        let other = Store::new(&vault, &place.path().join("work"));
        other.lay_out(Kind::Pool, &agent, &tip, None, 1 << 20).unwrap().release().unwrap();
        let first = start.elapsed();
        let [walks, agent, changes, stored, gate, all] = parts.each_mut().map(|part| median(part));
        #[expect(clippy::print_stdout, reason = "its only purpose")]
        {
            println!(
                "{count} files: two walks {walks:.1} ms; task {all:.1} ms = {:.2} x walks {:+.1} ms (agent {agent:.1}, changes {changes:.1}, stored {stored:.1}, gate {gate:.1}); fresh {:.0} ms; first of a process {:.1} ms",
                (all - 10.0) / walks,
                10.0,
                fresh.as_secs_f64() * 1_000.0,
                first.as_secs_f64() * 1_000.0,
            );
        }
    }
}
