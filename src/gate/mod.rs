//! The gate: the project's own quality steps, run on exactly one tree in a place where no agent ever wrote.
//!
//! Nothing is laid over the tree and nothing is taken from an agent's run. A gate never decides what a red
//! step leads to: that is the night's matter.

pub mod canary;
mod identity;
pub mod junit;
mod languages;
pub mod recognise;
pub mod verdict;

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest as _, Sha256};

pub use identity::{id, named_files, score};

use crate::{
    egress::Egress,
    files, git,
    ids::{CommitId, NAME, RepoPath, TreeId, hex},
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

fn file_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    name.chars().take(40).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
