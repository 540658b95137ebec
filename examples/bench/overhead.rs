//! What a landed task costs beside its agent and its gate, four ways, interleaved: the bare git commands in
//! place, two walks of the tree, and nights with both kinds of workspace.
//!
//! Agent and gate are timed alone, without walls, and taken off every figure: walls count as overhead.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    sync::{Condvar, Mutex},
};

use rustix::fs::{AtFlags, Dir, FileType, statat};

use crate::{
    night::{Kind, PHASES, Person, environment},
    place::Place,
    report::{Bound, Report},
    repository::{self, AGENT, GATE, command},
    timed,
};

/// Tasks of one night.
const TASKS: u32 = 5;
/// Threads of a walk, as in nightshift on this many cores.
const THREADS: usize = 2;

const OF_THAT: &str = "overhead: its phases, from order to fact, agent and gate included";
pub(crate) const PART: &str = "overhead per landed task";
const COMMANDS: &str = "git add . and git commit, in place";
const WALKS: &str = "two stat walks of the tree";
const POOL: &str = "nightshift, pool";
const OVERLAY: &str = "nightshift, overlay";
/// What is drawn.
pub(crate) const CASES: [&str; 4] = [COMMANDS, WALKS, POOL, OVERLAY];
const BARE: &str = "agent and gate alone (taken off)";

/// Measures on a tree of `files` files.
pub(crate) fn measure(place: &Place, files: usize, rounds: usize, report: &mut Report) {
    eprintln!("overhead, {files} files");
    let name = format!("tree{files}");
    let in_place = place.path(&name);
    repository::make(&in_place, repository::plain(files), GATE);
    // Its first night lays out, makes layers and runs the gate on the base: once in a repository's life.
    let people = Person::who_can(place, &name, &in_place, &files.to_string(), report);
    let home = place.path("home");
    std::fs::create_dir_all(&home).unwrap();
    for round in 0..rounds {
        eprintln!("  round {} of {rounds}", round + 1);
        let (bare, commands) = in_place_night(&in_place, &home, files, round);
        report.time(PART, BARE, files, bare);
        report.time(PART, COMMANDS, files, commands);
        report.time(PART, WALKS, files, 2.0 * timed(|| walk(&in_place)).1);
        for person in &people {
            let night = person.night(TASKS).unwrap();
            let name = name_of(person.kind());
            report.time(PART, name, files, night.per_task(TASKS) - bare);
            for (phase, times) in PHASES.iter().zip(night.phases()) {
                let name = format!("{name}: {phase}");
                for time in times {
                    report.time(OF_THAT, &name, files, time);
                }
            }
        }
    }
    std::fs::remove_dir_all(&in_place).unwrap();
    for person in people {
        person.leave(report);
    }
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Pool => POOL,
        Kind::Overlay => OVERLAY,
    }
}

/// Milliseconds of one task's agent and gate without walls, and of the git commands after them.
fn in_place_night(tree: &Path, home: &Path, files: usize, round: usize) -> (f64, f64) {
    let run = |program: &mut Command| {
        let (status, time) = timed(|| program.current_dir(tree).status().unwrap());
        assert!(status.success(), "{program:?}: {status}");
        time
    };
    let (mut bare, mut commands) = (0.0, 0.0);
    for number in 0..TASKS {
        let mut agent = environment(Command::new(std::env::current_exe().unwrap()), home);
        bare += run(agent.args([AGENT, &files.to_string()]));
        bare += run(environment(Command::new("sh"), home).args(["-c", GATE]));
        let message = format!("feat: task {number} of round {round}");
        commands += run(&mut command(tree, &["add", "."]));
        commands += run(&mut command(tree, &["commit", "-q", "-m", &message]));
    }
    (bare / f64::from(TASKS), commands / f64::from(TASKS))
}

/// The goals of all sizes.
pub(crate) fn judge(report: &mut Report) {
    const LARGE: usize = 100_000;
    let of = |report: &Report, case: &str, files| report.median(PART, case, files);
    for files in report.sizes(PART) {
        if let (Some(pool), Some(walks)) = (of(report, POOL, files), of(report, WALKS, files)) {
            let limit = 1.35 * walks + 10.0;
            let what = format!("pool / (1.35 × two walks + 10 ms), {files} files");
            report.goal(what, pool / limit, 1.0, Bound::Checked);
        }
        if let Some(overlay) = of(report, OVERLAY, files) {
            let what = format!("overlay in milliseconds, {files} files");
            report.goal(what, overlay, 20.0, Bound::Shown);
        }
    }
    if let (Some(overlay), Some(commands)) =
        (of(report, OVERLAY, LARGE), of(report, COMMANDS, LARGE))
    {
        let what = "overlay / git commands in place, 100000 files".to_owned();
        report.goal(what, overlay / commands, 0.05, Bound::Checked);
    }
    if let (Some(small), Some(large)) = (of(report, OVERLAY, 100), of(report, OVERLAY, LARGE)) {
        let what = "overlay at 100000 files / at 100 files".to_owned();
        report.goal(what, large / small, 2.0, Bound::Shown);
    }
}

/// Looks at every file below `root` once, with two threads: less than this no walk can cost.
fn walk(root: &Path) -> usize {
    struct Open {
        directories: Vec<PathBuf>,
        busy: usize,
    }
    let open = Mutex::new(Open { directories: vec![root.to_owned()], busy: 0 });
    let changed = Condvar::new();
    let work = || {
        let mut seen = 0;
        loop {
            let mut state = open.lock().unwrap();
            let directory = loop {
                match state.directories.pop() {
                    Some(directory) => break directory,
                    None if state.busy == 0 => return seen,
                    None => state = changed.wait(state).unwrap(),
                }
            };
            state.busy += 1;
            drop(state);
            let (count, below) = look(&directory);
            seen += count;
            let mut state = open.lock().unwrap();
            state.directories.extend(below);
            state.busy -= 1;
            drop(state);
            changed.notify_all();
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

fn look(directory: &Path) -> (usize, Vec<PathBuf>) {
    let file = File::open(directory).unwrap();
    let (mut count, mut below) = (0, Vec::new());
    for entry in Dir::read_from(&file).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_str().unwrap();
        if matches!(name, "." | ".." | ".git") {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            below.push(directory.join(name));
        } else {
            statat(&file, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW).unwrap();
            count += 1;
        }
    }
    (count, below)
}
