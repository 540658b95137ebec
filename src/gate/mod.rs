//! The gate: the project's own quality steps, run on exactly one tree in a place where no agent ever wrote.
//!
//! Nothing is laid over the tree and nothing is taken from an agent's run. A gate never decides what a red
//! step leads to: that is the night's matter.

pub mod canary;
pub mod junit;
mod languages;
pub mod recognise;
pub mod verdict;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use crate::{
    egress::Egress,
    files,
    git::{self, TreeEntry},
    hosts::Rule,
    ids::{CommitId, GateId, NAME, RepoPath, TreeId, hex},
    night::{GateSpec, Step},
    outcome::{GateReport, StepEnd, StepReport},
    process::{self, Ended, Environment, Program, Running, Stop, Supervisor, Why},
    sandbox::Walls,
    workspace::Workspace,
};

/// Why a gate could not be run at all. A red gate is no error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its workspace could not be made.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// A directory or a log could not be written.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// Our own supervisor could not be started.
    #[error(transparent)]
    Process(#[from] process::Error),
}

/// One run of a gate, where exactly the tree lies.
pub struct GateRun<'a> {
    /// What runs the steps.
    pub supervisor: &'a Supervisor,
    /// The gate.
    pub spec: &'a GateSpec,
    /// The commit under test.
    pub commit: &'a CommitId,
    /// Its tree.
    pub tree: &'a TreeId,
    /// Where the steps run: exactly the tree lies there.
    pub workspace: &'a Workspace,
    /// The directory for the steps' logs.
    pub logs: PathBuf,
    /// `logs` relative to the night's directory, for the report.
    pub logs_name: String,
    /// What stands around the steps, by name.
    pub tier: &'a str,
    /// The base's own red run, where what failed there already is no reason to stop.
    pub known: Option<&'a GateReport>,
    /// True: the steps after a red required one run as well, so that all that fails has a name.
    pub to_the_end: bool,
}

/// Steps that run one after another with the same things around them.
pub struct Part<'a> {
    /// The steps.
    pub steps: &'a [Step],
    /// All that they see of our environment.
    pub environment: Environment,
    /// What stands around them; `None` = nothing.
    pub walls: Option<Walls>,
    /// Their way to the hosts of the configuration, where there is one.
    pub egress: Option<&'a Egress>,
}

impl GateRun<'_> {
    /// Runs the steps in order until a required one is red: the set-up's, then the gate's own, which are the last
    /// part. `None` when the night was stopped at once: nothing can be said about the tree then.
    pub async fn run(&self, parts: &[Part<'_>], stop: &Stop) -> Result<Option<GateReport>, Error> {
        files::create_private_dir(&self.logs)?;
        let mut steps = Vec::new();
        let mut hash = Sha256::new();
        for (index, part) in parts.iter().enumerate() {
            let last = index + 1 == parts.len();
            for step in part.steps {
                let Some(report) = self.step(steps.len(), step, part, &mut hash, stop).await?
                else {
                    return Ok(None);
                };
                let go_on = !report.blocks() || (self.to_the_end && last);
                steps.push(report);
                if !go_on {
                    return Ok(Some(self.report(steps, hash)));
                }
            }
        }
        Ok(Some(self.report(steps, hash)))
    }

    async fn step(
        &self,
        number: usize,
        step: &Step,
        part: &Part<'_>,
        hash: &mut Sha256,
        stop: &Stop,
    ) -> Result<Option<StepReport>, Error> {
        let junit = step.junit.as_ref().map(|path| RepoPath::from(path.as_str()));
        let junit = junit.map(|path| (path.clone(), self.workspace.product(&path)));
        let name = format!("{}-{}.log", number + 1, file_name(&step.name));
        let log = self.logs.join(&name);
        // One log for both streams, in the order in which they came: what a person would have seen.
        let argv = ["/bin/sh", "-c", "exec 2>&1\neval \"$0\"", &step.run].map(str::to_owned);
        let stderr = self.logs.join(format!("{name}.err"));
        let environment = part.environment.clone();
        let mut program =
            Program::new(argv.to_vec(), self.workspace.directory(), environment, &log, &stderr);
        program.label.clone_from(&step.name);
        program.grace = Duration::ZERO;
        program.walls.clone_from(&part.walls);
        let limit = Duration::from_secs(step.timeout_s);
        let told = part.egress.map_or(0, |egress| egress.refusals().len());
        let way_out = |running: &mut Running| {
            let listener = running.listener()?;
            // Without it the step talks to nobody, which is the safe side.
            part.egress?.attach(listener).ok()
        };
        let run = self.supervisor.run_with(program, b"", limit, stop, way_out);
        let (ended, millis) = match run.await {
            Ok(done) => match (done.why, done.exit.breach, done.exit.ended) {
                (Why::Interrupted, ..) => return Ok(None),
                (_, Some(breach), _) => (StepEnd::Breach(breach.to_string()), done.exit.millis),
                (Why::TimedOut, ..) => (StepEnd::TimedOut, done.exit.millis),
                (Why::Ended, _, Ended::Code(code)) => (StepEnd::Exit(code), done.exit.millis),
                (Why::Ended, _, Ended::Signal(signal)) => {
                    (StepEnd::Signal(signal), done.exit.millis)
                }
            },
            Err(process::Error::NotFound { .. }) => {
                (StepEnd::NotStarted("/bin/sh is not there".to_owned()), 0)
            }
            Err(problem) => return Err(problem.into()),
        };
        for refusal in part.egress.iter().flat_map(|egress| egress.refusals()).skip(told) {
            files::append_line(&log, format!("[{NAME}: not reached: {refusal}]").as_bytes())?;
        }
        if std::fs::metadata(&stderr).is_ok_and(|found| found.len() == 0) {
            files::remove_file(&stderr)?;
        }
        let reported = junit.map(|(path, product)| {
            let read = self.workspace.read_product(&product, junit::MOST_BYTES);
            (path, read.and_then(|bytes| junit::read(&bytes)))
        });
        if let Some((path, Err(why))) = &reported {
            let words = format!("[{NAME}: no JUnit report in {path}: {why}; counted by this log]");
            files::append_line(&log, words.as_bytes())?;
        }
        let seen = match reported {
            Some((_, Ok(seen))) => {
                read_log(&log, hash)?;
                seen
            }
            Some((_, Err(_))) | None => recognise::tests(&read_log(&log, hash)?),
        };
        let well = ended == StepEnd::Exit(0);
        let (failing_tests, unheard) =
            if well { (Vec::new(), seen.failing) } else { (seen.failing, Vec::new()) };
        let mut report = StepReport {
            name: step.name.clone(),
            command: step.run.clone(),
            failing_tests,
            unheard,
            tests_run: seen.run,
            ended,
            millis,
            required: step.required,
            log: format!("{}/{name}", self.logs_name),
            excused: false,
        };
        report.excused = self.known.is_some_and(|base| verdict::excused(&report, base));
        Ok(Some(report))
    }

    fn report(&self, steps: Vec<StepReport>, hash: Sha256) -> GateReport {
        let mut failing: Vec<String> =
            steps.iter().flat_map(|step| &step.failing_tests).cloned().collect();
        failing.sort();
        failing.dedup();
        let tests_run = steps.iter().filter_map(|step| step.tests_run).reduce(u32::saturating_add);
        GateReport {
            commit: self.commit.clone(),
            tree: self.tree.clone(),
            gate: self.spec.id.clone(),
            score: score(&self.spec.steps, &steps),
            steps,
            log_hash: hex(&hash.finalize()),
            tier: self.tier.to_owned(),
            failing_tests: failing,
            tests_run,
            reused: false,
            vacuous: None,
            former_runs: Vec::new(),
        }
    }
}

/// Bytes of a log's end in which tests are looked for; more is a log that nobody reads.
const LOG: u64 = 16 * 1024 * 1024;

/// Adds a log's hash to the run's, and returns its end.
fn read_log(path: &Path, hash: &mut Sha256) -> Result<String, Error> {
    let wrap = || files::error("read", path);
    let mut file = File::open(path).map_err(wrap())?;
    let mut own = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => own.update(&buffer[..length]),
            Err(problem) if problem.kind() == io::ErrorKind::Interrupted => {}
            Err(problem) => return Err(wrap()(problem).into()),
        }
    }
    hash.update(own.finalize());
    let length = file.metadata().map_err(wrap())?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG))).map_err(wrap())?;
    let mut end = Vec::new();
    file.take(LOG).read_to_end(&mut end).map_err(wrap())?;
    Ok(String::from_utf8_lossy(&end).into_owned())
}

/// 100 × weight of green steps / weight of all steps of the gate; its set-up has no part in it. A step that was not
/// reached is not green; one that is excused counts, because then only what fails anew does.
pub fn score(all: &[Step], done: &[StepReport]) -> u32 {
    let counts = |report: &StepReport, step: &Step| {
        report.name == step.name && (report.green() || report.excused)
    };
    let weight: u64 = all.iter().map(|step| u64::from(step.weight)).sum();
    let green: u64 = all
        .iter()
        .filter(|step| done.iter().any(|report| counts(report, step)))
        .map(|step| u64::from(step.weight))
        .sum();
    (100 * green).checked_div(weight).map_or(100, |score| u32::try_from(score).unwrap_or(100))
}

/// The identity of a gate: SHA-256 over its resolved steps and those of its set-up, the environment names it
/// sees, the hosts it may talk to, and the mode and blob of every protected file. The same id at the same tree
/// means the same question.
pub fn id<'e>(
    steps: &[Step],
    setup: &[Step],
    env: &[String],
    network: &[Rule],
    protected: impl IntoIterator<Item = &'e TreeEntry>,
) -> GateId {
    let mut hash = Sha256::new();
    // Lengths first, so that no two lists run together into the same bytes.
    let mut part = |bytes: &[u8]| {
        hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(bytes);
    };
    // 2: steps without `network` talk to nobody, where 1 left them the machine's network.
    part(b"gate 2");
    let kinds = [(b"step".as_slice(), steps), (b"setup", setup)];
    for (kind, step) in kinds.iter().flat_map(|(kind, list)| list.iter().map(move |s| (kind, s))) {
        part(kind);
        part(step.name.as_bytes());
        part(step.run.as_bytes());
        part(&step.timeout_s.to_be_bytes());
        part(&[u8::from(step.required)]);
        part(&step.weight.to_be_bytes());
        part(step.junit.as_deref().unwrap_or_default().as_bytes());
    }
    let hosts = network.iter().map(|host| ("host", host.to_string()));
    for (kind, word) in env.iter().map(|name| ("env", name.clone())).chain(hosts) {
        part(kind.as_bytes());
        part(word.as_bytes());
    }
    for entry in protected {
        part(b"file");
        part(entry.path.as_bytes());
        part(&entry.mode.raw().to_be_bytes());
        part(entry.blob.as_str().as_bytes());
    }
    GateId::new(hex(&hash.finalize())).expect("SHA-256 has 64 hexadecimal digits")
}

/// Files of the base that the steps name: `bash scripts/check.sh` names `scripts/check.sh`, and so do
/// `cd scripts && ./check.sh`, `"$PWD"/scripts//check.sh` and `sh -c 'scripts/check.sh'`. A file too many is only
/// protected; patterns and values of variables are not read.
pub fn named_files(steps: &[Step], files: &[TreeEntry]) -> Vec<RepoPath> {
    let known: BTreeSet<&RepoPath> = files.iter().map(|entry| &entry.path).collect();
    let mut named: Vec<RepoPath> = Vec::new();
    for step in steps {
        let gap = |c: char| c.is_whitespace() || ";|&()<>=`".contains(c);
        let apart = step.run.split(|c: char| gap(c) || "\"'$\\:".contains(c));
        let joined = step.run.replace("\\\n", "").replace(['"', '\'', '\\'], "");
        let quoted = step.run.split(['"', '\'']).map(str::trim);
        for words in [apart.collect(), joined.split(gap).collect(), quoted.collect::<Vec<_>>()] {
            for path in spelled(&words).into_iter().map(|path| RepoPath::from(path.as_str())) {
                if known.contains(&path) && !named.contains(&path) {
                    named.push(path);
                }
            }
        }
    }
    named
}

/// Paths that the words of a command may mean, from the root and from each directory that it enters.
fn spelled(words: &[&str]) -> Vec<String> {
    const ENTERS: [&str; 8] =
        ["cd", "pushd", "-C", "--prefix", "--directory", "--cwd", "--chdir", "PYTHONPATH"];
    // What these are given may lack its ending.
    const LOADERS: [&str; 5] = ["node", "nodejs", "bun", "tsx", "ts-node"];
    const ENDINGS: [&str; 6] = [".js", ".cjs", ".mjs", ".ts", ".json", "/index.js"];
    let (mut places, mut before, mut loads) = (vec![String::new()], "", false);
    let mut paths = Vec::new();
    for word in words.iter().copied().filter(|word| !word.is_empty()) {
        let mut ways = vec![word.to_owned()];
        // `$PWD/a` and the like: what the variable holds is taken for a place already known.
        ways.extend(word.strip_prefix('$').and_then(|rest| Some(rest.split_once('/')?.1.into())));
        if before.starts_with('-') && !before.starts_with("--") && before.ends_with('m') {
            let module = word.replace('.', "/");
            ways.extend([format!("{module}.py"), format!("{module}/__main__.py")]);
        }
        if loads {
            ways.extend(ENDINGS.iter().map(|ending| format!("{word}{ending}")));
        }
        if ENTERS.contains(&before) {
            let from = places.last().map_or("", String::as_str);
            let entered: Vec<String> = ways.iter().filter_map(|way| resolved(from, way)).collect();
            places.extend(entered);
        }
        for place in &places {
            paths.extend(ways.iter().filter_map(|way| resolved(place, way)));
        }
        loads |= LOADERS.contains(&word.rsplit('/').next().unwrap_or(word));
        before = word;
    }
    paths
}

/// A path from the root without `.`, `..` and doubled slashes; `None` for one that leaves the root. The first slash
/// says nothing: before it may have stood a variable.
fn resolved(place: &str, word: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in place.split('/').chain(word.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn file_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    name.chars().take(40).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diff::FileMode, ids::BlobId};

    fn step(name: &str, run: &str) -> Step {
        Step {
            name: name.into(),
            run: run.into(),
            timeout_s: 60,
            required: true,
            weight: 1,
            junit: None,
        }
    }

    fn entry(path: &str, digit: char) -> TreeEntry {
        let blob = BlobId::new(digit.to_string().repeat(40)).unwrap();
        TreeEntry { path: path.into(), mode: FileMode::Regular, blob }
    }

    #[test]
    fn a_step_protects_the_files_that_it_names() {
        let files =
            [entry("scripts/check.sh", 'a'), entry("Makefile", 'b'), entry("src/a.rs", 'c')];
        let steps = [step("q", "CI=1 bash ./scripts/check.sh && make -f Makefile")];
        let named = named_files(&steps, &files);
        assert_eq!(named, ["scripts/check.sh", "Makefile"].map(RepoPath::from));
    }

    #[test]
    fn a_step_protects_the_files_that_it_names_in_another_spelling() {
        let files =
            ["ci/check.sh", "ci/run.js", "tools/gate.py", "tools/all/__main__.py", "a b/x.sh"]
                .map(|path| entry(path, 'a'));
        for (run, expected) in [
            ("cd ci && ./check.sh", "ci/check.sh"),
            ("(cd ./ci//; sh check.sh)", "ci/check.sh"),
            ("cd tools && sh ../ci/check.sh", "ci/check.sh"),
            ("cd tools/all && cd ../../ci && sh check.sh", "ci/check.sh"),
            ("cd \"$PWD/ci\" && sh check.sh", "ci/check.sh"),
            ("sh ci//./check.sh", "ci/check.sh"),
            ("sh \"$PWD\"/ci/check.sh", "ci/check.sh"),
            ("sh ${PWD}/ci/check.sh", "ci/check.sh"),
            ("\"$(pwd)/ci/check.sh\" --all", "ci/check.sh"),
            ("sh -c 'cd ci && sh \"check.sh\"'", "ci/check.sh"),
            ("sh -c \"sh \\\"ci/check.sh\\\"\"", "ci/check.sh"),
            ("sh ci/'check.sh'", "ci/check.sh"),
            ("sh ci/che\\\nck.sh || env -C ci sh check.sh", "ci/check.sh"),
            ("python3 -m tools.gate --fast", "tools/gate.py"),
            ("python -Im tools.all", "tools/all/__main__.py"),
            ("cd tools && python -m gate", "tools/gate.py"),
            ("PYTHONPATH=tools python -m gate", "tools/gate.py"),
            ("node --test ci/run", "ci/run.js"),
            ("cd ci; node run", "ci/run.js"),
            ("sh 'a b/x.sh'", "a b/x.sh"),
        ] {
            assert_eq!(named_files(&[step("q", run)], &files), [RepoPath::from(expected)], "{run}");
        }
        for run in ["sh check.sh", "cd .. && sh ci/none.sh", "sh ../ci/check.sh", "cargo test gate"]
        {
            assert_eq!(named_files(&[step("q", run)], &files), [] as [RepoPath; 0], "{run}");
        }
    }

    #[test]
    fn any_change_of_a_gate_is_another_gate() {
        let steps = [step("a", "true")];
        let files = [entry("check.sh", 'a')];
        let same = id(&steps, &[], &[], &[], &files);
        assert_eq!(same, id(&steps, &[], &[], &[], &files));
        assert_ne!(same, id(&[step("a", "false")], &[], &[], &[], &files));
        assert_ne!(same, id(&steps, &steps, &[], &[], &files));
        assert_ne!(id(&[], &steps, &[], &[], &files), id(&steps, &[], &[], &[], &files));
        let lang = ["lang".to_owned()];
        assert_ne!(same, id(&steps, &[], &lang, &[], &files));
        let host: [Rule; 1] = ["lang".parse().unwrap()];
        assert_ne!(same, id(&steps, &[], &[], &host, &files));
        assert_ne!(id(&steps, &[], &lang, &[], &files), id(&steps, &[], &[], &host, &files));
        assert_ne!(same, id(&steps, &[], &[], &[], &[entry("check.sh", 'b')]));
        let mut executable = entry("check.sh", 'a');
        executable.mode = FileMode::Executable;
        assert_ne!(same, id(&steps, &[], &[], &[], &[executable]));
        let one = |name, run| id(&[step(name, run)], &[], &[], &[], &[]);
        assert_ne!(one("a", "bc"), one("ab", "c"));
    }

    #[test]
    fn the_score_is_the_weight_of_what_passed() {
        let weigh = |name: &str, weight| Step { weight, ..step(name, "true") };
        let steps = [weigh("a", 3), weigh("b", 1)];
        let done = |name: &str, code, excused| StepReport {
            name: name.into(),
            command: "true".into(),
            ended: StepEnd::Exit(code),
            millis: 1,
            required: true,
            log: String::new(),
            failing_tests: Vec::new(),
            tests_run: None,
            unheard: Vec::new(),
            excused,
        };
        let (a, b) = (done("a", 0, false), done("b", 0, false));
        assert_eq!(score(&steps, &[a.clone(), b]), 100);
        assert_eq!(score(&steps, std::slice::from_ref(&a)), 75, "not reached is not green");
        assert_eq!(score(&steps, &[a.clone(), done("b", 1, true)]), 100, "only new failures count");
        assert_eq!(score(&steps, &[done("setup-1", 0, false), a]), 75, "the set-up weighs nothing");
        assert_eq!(score(&steps, &[done("a", 1, false)]), 0);
    }

    #[test]
    fn a_log_is_hashed_whole_and_read_from_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let long = usize::try_from(LOG).unwrap();
        let text = "x".repeat(long) + "the end";
        files::write_atomic(&path, text.as_bytes()).unwrap();
        let mut hash = Sha256::new();
        let end = read_log(&path, &mut hash).unwrap();
        assert!(end.len() == long && end.ends_with("xthe end"));
        let mut whole = Sha256::new();
        whole.update(Sha256::digest(text.as_bytes()));
        assert_eq!(hex(&hash.finalize()), hex(&whole.finalize()));
    }
}
