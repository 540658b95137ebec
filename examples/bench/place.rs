//! Where a measurement is made: a directory that is thrown away, and what the machine is.
//!
//! Only looks and names; measures nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Serialize;

/// A directory to measure in.
pub(crate) struct Place {
    root: tempfile::TempDir,
    /// Why file times are not to be trusted there.
    pub(crate) invalid: Option<String>,
    /// The machine.
    pub(crate) machine: Machine,
}

/// What has to be known to read the figures.
#[derive(Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) file_system: String,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
    pub(crate) git: String,
    pub(crate) cargo: String,
    pub(crate) nightshift: String,
}

impl Place {
    /// Below `wished`, else in memory, else where temporary files are.
    pub(crate) fn new(wished: Option<&Path>) -> Place {
        let memory = Path::new("/dev/shm");
        let parent = match wished {
            Some(wished) => wished.to_owned(),
            None if memory.is_dir() => memory.to_owned(),
            None => std::env::temp_dir(),
        };
        // Absolute: programs are started in other directories.
        let parent = fs::canonicalize(parent).unwrap();
        let root = tempfile::Builder::new().prefix("bench-").tempdir_in(parent).unwrap();
        let (file_system, invalid) = file_system(root.path());
        let machine = Machine {
            date: jiff::Zoned::now().strftime("%Y-%m-%d").to_string(),
            kernel: said("uname", &["-sr"]),
            processor: processor(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            file_system,
            load_before: load(),
            load_after: String::new(),
            git: said("git", &["--version"]),
            cargo: said("cargo", &["--version"]),
            nightshift: said(binary().to_str().unwrap(), &["--version"]),
        };
        Place { root, invalid, machine }
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }
}

/// The program that is measured, built with the same profile.
pub(crate) fn binary() -> PathBuf {
    let binary = std::env::current_exe().unwrap().with_file_name("../nightshift");
    assert!(binary.exists(), "build it first: cargo build --release");
    fs::canonicalize(binary).unwrap()
}

/// Programs that wait for a processor, over one, five and fifteen minutes.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().take(3).collect();
    if words.is_empty() { "unknown".to_owned() } else { words.join(" ") }
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    line.map_or("unknown".to_owned(), |line| line.trim_start_matches([' ', '\t', ':']).to_owned())
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let said = output.ok().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.unwrap_or_else(|| format!("no {program}"))
}

/// The kind of file system, and why it cannot be measured on: ext4 without a journal makes new files 10 to 25
/// times slower for minutes after many were removed.
fn file_system(path: &Path) -> (String, Option<String>) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let found = fields
        .filter(|fields| fields.len() > 2 && path.starts_with(fields[1]))
        .max_by_key(|fields| fields[1].len());
    let Some(fields) = found else { return ("unknown".to_owned(), None) };
    let (device, kind) = (fields[0], fields[2]);
    let name = Path::new(device).file_name().unwrap_or_default().to_string_lossy();
    let journals = fs::read_dir("/proc/fs/jbd2").into_iter().flatten().flatten();
    let journal = journals
        .into_iter()
        .any(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{name}-")));
    let invalid = (kind == "ext4" && !journal && device != "/dev/root").then(|| {
        format!("{} is ext4 without a journal: its times say nothing here", path.display())
    });
    (kind.to_owned(), invalid)
}
