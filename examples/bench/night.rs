//! One night with the real program, and what its journal says of where the time went.
//!
//! The environment is made for it; nothing of the machine's but PATH and the toolchains reaches it. Every night is
//! checked: what landed is what was gated, and the person's checkout is as it was.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use jiff::Timestamp;
use nightshift::{
    journal,
    night::{Command as Order, Entry, Event},
    outcome::GateReport,
};

use crate::{
    place::{Place, binary},
    report::Report,
    repository::{self, AGENT, EDITED, fingerprint, git, task_name},
};

/// How workspaces are made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pool,
    Overlay,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Pool => "pool",
            Kind::Overlay => "overlay",
        }
    }
}

/// A person with a repository.
pub(crate) struct Person {
    home: PathBuf,
    repository: PathBuf,
    kind: Kind,
    before: BTreeMap<PathBuf, String>,
}

/// What a night's journal says.
pub(crate) struct Night {
    entries: Vec<Entry>,
}

/// Where the milliseconds of a task went, from order to fact. Their sum is less than the whole: what lies
/// between two deeds is in none of them.
pub(crate) const PHASES: [&str; 3] = ["agent", "gate", "land"];

impl Person {
    /// One for each kind of workspace that is possible here, after a first night. Each has a copy of the
    /// repository `of` and an agent that is told `what`.
    pub(crate) fn who_can(
        place: &Place,
        name: &str,
        of: &Path,
        what: &str,
        report: &mut Report,
    ) -> Vec<Person> {
        let mut possible = Vec::new();
        for kind in [Kind::Pool, Kind::Overlay] {
            let person = Person::new(place, name, of, kind, what);
            match person.night(1) {
                Ok(_) => possible.push(person),
                Err(why) => report.skip(format!("{name}, {}: skipped: {why}", kind.name())),
            }
        }
        possible
    }

    fn new(place: &Place, name: &str, of: &Path, kind: Kind, what: &str) -> Person {
        let home = place.path(&format!("home-{name}-{}", kind.name()));
        let repository = place.path(&format!("{name}-{}", kind.name()));
        repository::copy(of, &repository);
        let config = home.join(".config/nightshift");
        fs::create_dir_all(&config).unwrap();
        let own = format!(
            // Its gate costs next to nothing because it looks at nothing: no broken tree could make it red.
            "sandbox: auto\nworkspaces: {}\ngate: {{canary: off}}\nagents:\n  bench: {{command: [{}, {AGENT}, \"{what}\"]}}\n",
            kind.name(),
            std::env::current_exe().unwrap().display()
        );
        fs::write(config.join("nightshift.yml"), own).unwrap();
        let before = fingerprint(&repository);
        Person { home, repository, kind, before }
    }

    /// A night of the first `tasks` tasks. `Err` says why this kind of workspace is not possible here.
    pub(crate) fn night(&self, tasks: u32) -> Result<Night, String> {
        let known = self.journals();
        let mut command = environment(Command::new(binary()), &self.home);
        command.args(["run", "--agent", "bench", "--no-push", "--fresh"]);
        for number in 1..=tasks {
            command.args(["-t", &task_name(number)]);
        }
        let output = command.current_dir(&self.repository).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let made = self.journals().into_iter().find(|path| !known.contains(path));
        let Some(made) = made.filter(|_| output.status.success()) else {
            return Err(format!("{}: {}", output.status, said.trim()));
        };
        let night = Night { entries: journal::read(&made).unwrap().entries };
        let layers = self.repositories("cache").iter().any(|own| own.join("work/layers").is_dir());
        if layers != (self.kind == Kind::Overlay) {
            return Err("no layers here (`nightshift doctor` says why)".to_owned());
        }
        self.prove(&night, tasks);
        Ok(night)
    }

    /// All landed trees passed the gate, each commit says so, and each has what the agent edits and no more.
    fn prove(&self, night: &Night, tasks: u32) {
        let Some(Event::Opened(opening)) = night.entries.first().map(|entry| &entry.event) else {
            panic!("a night begins with its opening");
        };
        assert_eq!(opening.agent.walls, "t2", "the measurement is one with walls");
        let passed: Vec<_> =
            night.gates().filter(|report| report.passed()).map(|r| r.tree.as_str()).collect();
        let range = format!("{}..{}", opening.base.commit, opening.night.branch());
        let format = "--format=%T %(trailers:key=Nightshift-Tree,valueonly,separator=)";
        let log = git(&self.repository, &["log", "--first-parent", "--name-only", format, &range]);
        let (mut landed, mut files) = (0, Vec::new());
        for line in log.lines().filter(|line| !line.is_empty()) {
            match line.split_once(' ') {
                Some((tree, trailer)) => {
                    assert_eq!(tree, trailer, "a commit's tree is the one of its trailer");
                    assert!(passed.contains(&tree), "{tree} landed and passed no gate");
                    landed += 1;
                    files.push(0);
                }
                None => *files.last_mut().unwrap() += usize::from(line != "PROJECT_PLAN.md"),
            }
        }
        assert_eq!(landed, tasks, "every task landed");
        let fit = files.iter().all(|count| EDITED.contains(count));
        assert!(fit, "commits with {files:?} files");
    }

    /// Bytes of the cache that the base's own gate left.
    pub(crate) fn cache_bytes(&self) -> u64 {
        let text =
            self.repositories("cache").iter().find_map(|own| fs::read(own.join("cache.json")).ok());
        let cache: serde_json::Value =
            serde_json::from_slice(&text.unwrap_or_default()).unwrap_or_default();
        cache["bytes"].as_u64().unwrap_or(0)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The last look at all that is the person's; then nothing of it is left.
    pub(crate) fn leave(self, report: &mut Report) {
        let name = self.repository.file_name().unwrap_or_default().display();
        let what = format!("{name}: the checkout is byte for byte as it was");
        report.promise(what, fingerprint(&self.repository) == self.before);
        for directory in [&self.home, &self.repository] {
            fs::remove_dir_all(directory).unwrap();
        }
    }

    fn journals(&self) -> Vec<PathBuf> {
        let nights = self.repositories("local/state").into_iter().map(|own| own.join("nights"));
        nights.flat_map(|nights| list(&nights)).map(|night| night.join(journal::FILE)).collect()
    }

    /// What the program keeps of each repository, in `state` or `cache`.
    fn repositories(&self, kind: &str) -> Vec<PathBuf> {
        list(&self.home.join(format!(".{kind}/nightshift/repos")))
    }
}

fn list(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// A program with the environment that a person's night has.
pub(crate) fn environment(mut command: Command, home: &Path) -> Command {
    let real = PathBuf::from(std::env::var_os("HOME").unwrap());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home);
    command.env("GIT_AUTHOR_NAME", "Ada").env("GIT_AUTHOR_EMAIL", "ada@localhost");
    for (name, usual) in [("RUSTUP_HOME", ".rustup"), ("CARGO_HOME", ".cargo")] {
        command.env(name, std::env::var_os(name).map_or(real.join(usual), PathBuf::from));
    }
    command
}

impl Night {
    /// Milliseconds of one task, all that belongs to it: from the first order to an agent to the last landing,
    /// divided by `tasks`.
    pub(crate) fn per_task(&self, tasks: u32) -> f64 {
        let began = |entry: &&Entry| matches!(entry.event, Event::Began(Order::RunAgent { .. }));
        let landed = |entry: &&Entry| matches!(entry.event, Event::Landed { .. });
        let first = self.entries.iter().find(began).unwrap().at;
        let last = self.entries.iter().rfind(landed).unwrap().at;
        between(first, last) / f64::from(tasks)
    }

    /// Milliseconds of each phase of each task.
    pub(crate) fn phases(&self) -> [Vec<f64>; 3] {
        let mut phases = [const { Vec::new() }; 3];
        let mut began = None;
        for entry in &self.entries {
            let event = &entry.event;
            let ends = [
                matches!(event, Event::AgentEnded { .. }),
                matches!(event, Event::GateEnded { .. }),
                matches!(event, Event::Landed { .. }),
            ];
            let phase = ends.iter().position(|it| *it);
            if let (Some(phase), Some(began)) = (phase, began) {
                phases[phase].push(between(began, entry.at));
            }
            began = matches!(event, Event::Began(_)).then_some(entry.at);
        }
        phases
    }

    /// Every gate that ran on an attempt.
    pub(crate) fn gates(&self) -> impl Iterator<Item = &GateReport> {
        self.entries.iter().filter_map(|entry| {
            let Event::GateEnded { report, .. } = &entry.event else { return None };
            Some(report)
        })
    }
}

fn between(from: Timestamp, to: Timestamp) -> f64 {
    crate::ms(to.duration_since(from).unsigned_abs())
}
