//! Measures what a person or a timer waits for when there is nothing to do, beside the cheapest way there
//! could be: `cargo build --release && cargo run --release --example bench [FILES]`.
//!
//! One run, interleaved: the start of the binary, a night with nothing ready on a repository of 10,000
//! files with a remote, and `git rev-parse HEAD` and `git status` there. Needs git; writes only into a
//! temporary directory. Fails when a figure is over its limit: 20 ms for the start, 100 ms for the night.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement stands outside the doors, and one that cannot go on has failed"
)]

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

const ROUNDS: usize = 15;
const START_MS: f64 = 20.0;
const NIGHT_MS: f64 = 100.0;

fn main() -> ExitCode {
    let files: usize = std::env::args().nth(1).map_or(10_000, |count| count.parse().unwrap());
    let binary = std::env::current_exe().unwrap().with_file_name("../nightshift");
    assert!(binary.exists(), "build it first: cargo build --release");
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("repo");
    make(&repository, &directory.path().join("remote.git"), files);
    let home = directory.path().join("home");
    fs::create_dir_all(&home).unwrap();
    let cases: [(&str, Command); 4] = [
        ("nightshift --version", command(&binary, &["--version"], &repository, &home)),
        ("nightshift run, nothing ready", command(&binary, &["run"], &repository, &home)),
        (
            "git rev-parse HEAD",
            command(Path::new("git"), &["rev-parse", "HEAD"], &repository, &home),
        ),
        ("git status", command(Path::new("git"), &["status", "-s"], &repository, &home)),
    ];
    let mut cases = cases.map(|(name, command)| (name, command, Vec::new()));
    for _ in 0..ROUNDS {
        for (name, command, times) in &mut cases {
            let start = Instant::now();
            let status = command.status().unwrap();
            times.push(start.elapsed().as_secs_f64() * 1000.0);
            assert!(status.success(), "{name}: {status}");
        }
    }
    println!("{files} files, {ROUNDS} rounds, milliseconds: least, median, most");
    let mut medians = Vec::new();
    for (name, _, times) in &mut cases {
        times.sort_by(f64::total_cmp);
        let median = times[ROUNDS / 2];
        println!("{name:<32} {:7.1} {median:7.1} {:7.1}", times[0], times[ROUNDS - 1]);
        medians.push(median);
    }
    if medians[0] <= START_MS && medians[1] <= NIGHT_MS {
        ExitCode::SUCCESS
    } else {
        println!("over the limit: {START_MS} ms for the start, {NIGHT_MS} ms for the night");
        ExitCode::FAILURE
    }
}

fn command(program: &Path, arguments: &[&str], directory: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).env("HOME", home);
    command.env_remove("XDG_STATE_HOME").env_remove("XDG_CACHE_HOME").env_remove("XDG_CONFIG_HOME");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn make(repository: &Path, remote: &Path, files: usize) {
    for number in 0..files {
        let directory = repository.join(format!("src/d{}/m{}", number / 360, number / 12));
        fs::create_dir_all(&directory).unwrap();
        let text = format!("file {number}\n").repeat(150);
        fs::write(directory.join(format!("f{number}.txt")), text).unwrap();
    }
    let plan = "# Plan\n\n## Pending\n\n- **[t1]** Later\n";
    fs::write(repository.join("PROJECT_PLAN.md"), plan).unwrap();
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=Ada", "-c", "user.email=ada@localhost"];
        let mut git = Command::new("git");
        git.args(identity).args(arguments).current_dir(repository);
        assert!(git.status().unwrap().success(), "git {arguments:?}");
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "base"]);
    git(&["clone", "-q", "--bare", ".", remote.to_str().unwrap()]);
    git(&["remote", "add", "origin", remote.to_str().unwrap()]);
}
