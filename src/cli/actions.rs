//! A night in a job of GitHub Actions: lines folded by task, annotations, the job's summary and its outputs.
//!
//! Only there, and only beside what every night prints: who calls for JSON or silence gets no lines of this. A file
//! that cannot be written is said and ends no night.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::Write as _,
    path::Path,
};

use jiff::Timestamp;

use crate::{
    cli::{Output, code},
    files,
    ids::{AttemptId, TaskId},
    night::{Entry, Night},
    redact::Redactor,
    report,
    report::actions,
    runner::{Watch, places::Surroundings},
};

/// Longest summary, in bytes: the service drops one above 1 MiB whole. Characters of it are counted with three bytes
/// at most, which is what our own texts need.
const SUMMARY: usize = 900 * 1024;

/// The variable that says where a job runs.
pub(super) const HERE: &str = "GITHUB_ACTIONS";

/// A job of GitHub Actions, by what its runner told us.
pub(super) struct Job<'s> {
    summary: Option<&'s Path>,
    outputs: Option<&'s Path>,
    redactor: Redactor,
}

impl<'s> Job<'s> {
    /// The job that we run in; `None` anywhere else.
    pub(super) fn of(surroundings: &'s Surroundings, redactor: Redactor) -> Option<Job<'s>> {
        let file = |name| surroundings.value(name).filter(|path| !path.is_empty()).map(Path::new);
        (surroundings.value(HERE) == Some("true")).then(|| Job {
            summary: file("GITHUB_STEP_SUMMARY"),
            outputs: file("GITHUB_OUTPUT"),
            redactor,
        })
    }

    /// Tells the job how a night ended; `None` = nothing was ready. `code` is its exit code.
    pub(super) fn ended(&self, night: Option<&Night>, code: u8, output: &Output) {
        let outputs = actions::outputs(night, &token());
        Self::append(self.outputs, &self.redactor.redact(&outputs), output);
        let Some(night) = night.map(|night| night.redacted(&self.redactor)) else { return };
        let summary = self.redactor.redact(&report::job_summary(&night, SUMMARY / 3)).into_owned();
        Self::append(self.summary, &format!("{summary}\n"), output);
        if !output.is_quiet() || code >= code::USAGE {
            let lines = actions::annotations(&night);
            output.orders(&self.redactor.redact(&lines.join("\n")));
        }
    }

    fn append(file: Option<&Path>, text: &str, output: &Output) {
        let Some(path) = file else { return };
        let written = files::append_to(path)
            .map_err(|problem| problem.to_string())
            .and_then(|mut file| file.write_all(text.as_bytes()).map_err(|e| e.to_string()));
        if let Err(problem) = written {
            output.note(&format!("the job does not learn how it ended: {problem}"));
        }
    }
}

/// 128 bits that nobody could guess: the keys that the standard library draws for its tables.
pub(super) fn token() -> String {
    let draw = || RandomState::new().build_hasher().finish();
    format!("nightshift-{:016x}{:016x}", draw(), draw())
}

/// Keeps the lines of each task until it ends, and folds them then. Passes all else on.
pub(super) struct Folded<'w> {
    inner: &'w mut dyn Watch,
    output: &'w Output,
    kept: BTreeMap<TaskId, Vec<String>>,
}

impl<'w> Folded<'w> {
    pub(super) fn new(inner: &'w mut dyn Watch, output: &'w Output) -> Folded<'w> {
        Folded { inner, output, kept: BTreeMap::new() }
    }

    fn print(&self, night: &Night, task: &TaskId, lines: &[String]) {
        let title = actions::stands(night, task);
        self.output.orders(&actions::group(&title, lines, &token()));
    }
}

impl Watch for Folded<'_> {
    fn entry(&mut self, entry: &Entry, night: &Night) {
        let Some(task) = actions::task_of(entry) else {
            // Nothing of a task comes after these: what is kept is of tasks that did not end.
            if let crate::night::Event::Ended { .. } = entry.event {
                for (task, lines) in std::mem::take(&mut self.kept) {
                    self.print(night, &task, &lines);
                }
            }
            return self.inner.entry(entry, night);
        };
        let Some(line) = report::line(entry, night) else { return };
        let lines = self.kept.entry(task.clone()).or_default();
        lines.push(format!("{} {line}", entry.at.strftime("%H:%M:%SZ")));
        if night.task(task).is_some_and(crate::night::TaskState::is_settled)
            && let Some(lines) = self.kept.remove(task)
        {
            self.print(night, task, &lines);
        }
    }

    fn tick(&mut self, now: Timestamp, night: &Night, activity: &[(AttemptId, String)]) {
        self.inner.tick(now, night, activity);
    }

    fn waits(&mut self, now: Timestamp, for_what: &str) {
        self.inner.waits(now, for_what);
    }
}
