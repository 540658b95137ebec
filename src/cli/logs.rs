//! `nightshift logs`: what happened, line by line: a night's events, an agent's transcript, a gate's log.

mod transcript;

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cli::{
        Global, Output, code,
        find::{Found, Selector},
        show,
        tell::{self, Cleaner},
    },
    files,
    ids::{AttemptId, NAME},
    journal,
    night::{Entry, Event, Night},
    report,
    runner::{home::Home, places::Surroundings, refused::Refused},
};

/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(200);

/// Print transcripts and gate logs
#[derive(Debug, clap::Args)]
pub(super) struct Logs {
    /// A night (last), a task (task_3, last/task_3@2), `gate` for the gate on the base, or `canary` for the gate on
    /// trees that were broken on purpose
    #[arg(default_value = "last")]
    selector: String,
    /// Go on until the night ends
    #[arg(short, long)]
    follow: bool,
    /// The transcript as the agent printed it
    #[arg(long)]
    raw: bool,
    /// The gate's logs instead of the transcript
    #[arg(long, conflicts_with_all = ["raw", "follow"])]
    gate: bool,
}

pub(super) fn logs(
    surroundings: &Surroundings,
    global: &Global,
    command: &Logs,
    output: &mut Output,
) -> Result<u8, Refused> {
    let home = Home::open(surroundings, &global.repository())?;
    let base = matches!(command.selector.as_str(), "gate" | "base");
    let canary = command.selector == "canary";
    let word = if base || canary { "last" } else { command.selector.as_str() };
    let selector = Selector::parse(word)?;
    let found = show::night_with(&home, word, &selector)?;
    let cleaner = Cleaner::of(surroundings, &home, &found.night);
    if canary {
        return Ok(gate(output, &show::canary_logs(&found, &cleaner)?));
    }
    if base || (command.gate && selector.task.is_none()) {
        return Ok(gate(output, &show::gate_logs(&found, None, &cleaner)?));
    }
    if selector.task.is_none() {
        return events(&home, &found, command.follow, &cleaner, output);
    }
    let (attempt, _) = show::attempt_of(&found, &selector)?;
    if command.gate {
        return Ok(gate(output, &show::gate_logs(&found, Some(&attempt), &cleaner)?));
    }
    let reader = Transcript { home: &home, found: &found, command, cleaner: &cleaner, output };
    reader.print(&selector, attempt)
}

fn gate(output: &Output, log: &str) -> u8 {
    if output.is_json() {
        output.json("logs", &serde_json::json!({ "gate": log }));
    } else {
        output.result(log);
    }
    code::DONE
}

/// The events of a night that runs, until it ends.
pub(super) fn follow(
    home: &Home,
    found: &Found,
    cleaner: &Cleaner,
    output: &Output,
) -> Result<(), Refused> {
    events(home, found, true, cleaner, output).map(|_| ())
}

/// The events of a night, and with `-f` those to come.
fn events(
    home: &Home,
    found: &Found,
    follow: bool,
    cleaner: &Cleaner,
    output: &Output,
) -> Result<u8, Refused> {
    let mut night: Option<Night> = None;
    let mut told = 0;
    let mut entries = found.reading.clone();
    let mut damage = found.damage.clone();
    loop {
        // Asked before the journal is read: what is written between the two is read all the same.
        let running = tell::holder(home).is_some();
        if told > 0 {
            let reading = journal::read(&found.places.journal())?;
            entries = reading.entries;
            damage = reading.damage.map(|damage| damage.to_string());
        }
        for entry in entries.iter().skip(told) {
            tell_entry(entry, &mut night, cleaner, output);
        }
        told = entries.len();
        let ended = night.as_ref().is_some_and(|night| night.ended().is_some());
        if !follow || ended || !running || damage.is_some() {
            break;
        }
        std::thread::sleep(POLL);
    }
    if let Some(damage) = damage {
        output.note(&format!("damaged: {}; nothing behind it is shown", cleaner.line(&damage)));
    }
    Ok(code::DONE)
}

fn tell_entry(entry: &Entry, night: &mut Option<Night>, cleaner: &Cleaner, output: &Output) {
    match (&mut *night, &entry.event) {
        (None, Event::Opened(opening)) => *night = Some(Night::open((**opening).clone())),
        (None, _) => {}
        (Some(state), _) => {
            // The whole journal was replayed before: what cannot follow was refused then.
            let _ = state.apply(entry.at, entry.event.clone());
        }
    }
    if output.is_json() {
        let line = serde_json::to_string(entry).unwrap_or_default();
        output.result(&cleaner.redacted(line.as_bytes()));
        return;
    }
    let line = night.as_ref().and_then(|night| report::line(entry, night));
    if let Some(line) = line {
        // Its columns stay; a line end of foreign text must not begin another line.
        let line = cleaner.clean(line.as_bytes()).replace('\n', " ");
        output.result(&format!("{} {line}", tell::local(entry.at)));
    }
}

/// Prints an agent's transcript.
struct Transcript<'a> {
    home: &'a Home,
    found: &'a Found,
    command: &'a Logs,
    cleaner: &'a Cleaner,
    output: &'a Output,
}

impl Transcript<'_> {
    fn print(&self, selector: &Selector, first: AttemptId) -> Result<u8, Refused> {
        let mut attempt = first;
        let mut tail = self.open(&attempt);
        let mut any = false;
        loop {
            let running = self.command.follow && tell::holder(self.home).is_some();
            // A try named by its number stays the one that is meant.
            let newest = if running && selector.attempt.is_none() {
                newest(&self.found.places.journal(), &attempt)
            } else {
                None
            };
            // Which kind it is, its file says; the agent may not have begun it.
            if !tail.path.exists() {
                tail = self.open(&attempt);
            }
            let text = tail.more(running && newest.is_none())?;
            any |= !text.is_empty();
            self.tell(&tail, &text);
            match newest {
                Some(next) => {
                    self.output.note(&format!("--- try {}", next.number));
                    attempt = next;
                    tail = self.open(&attempt);
                }
                None if running => std::thread::sleep(POLL),
                None => break,
            }
        }
        if any {
            return Ok(code::DONE);
        }
        let errors = self.found.places.attempt(&attempt).join("stderr.log");
        let errors = std::fs::read(&errors).unwrap_or_default();
        if errors.is_empty() {
            return Err(Refused::usage(
                format!("there is no transcript of {attempt}: the agent printed nothing"),
                format!(
                    "{NAME} show {} tells what came of it",
                    tell::quoted(attempt.task.as_str())
                ),
            ));
        }
        self.output.note("nothing on standard output; on standard error:");
        self.output.result(&self.cleaner.clean(&errors));
        Ok(code::DONE)
    }

    /// The file of the attempt: of Claude Code as JSON lines, of other programs as text.
    fn open(&self, attempt: &AttemptId) -> Tail {
        let directory = self.found.places.attempt(attempt);
        let text = directory.join("transcript.log");
        let structured = !text.exists();
        let path = if structured { directory.join("transcript.jsonl") } else { text };
        Tail { path, structured, at: 0 }
    }

    fn tell(&self, tail: &Tail, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.command.raw || (self.output.is_json() && tail.structured) {
            self.output.raw(self.cleaner.redacted(bytes).as_bytes());
        } else if self.output.is_json() {
            self.output.json("logs", &serde_json::json!({"text": self.cleaner.clean(bytes)}));
        } else if tail.structured {
            for line in String::from_utf8_lossy(bytes).lines() {
                for told in transcript::told(line) {
                    self.output.result(&self.cleaner.clean(told.as_bytes()));
                }
            }
        } else {
            self.output.result(&self.cleaner.clean(bytes));
        }
    }
}

/// The newest attempt of the same task, when it is another one.
fn newest(journal: &Path, attempt: &AttemptId) -> Option<AttemptId> {
    let entries = journal::read(journal).ok()?.entries;
    let night = Night::replay(entries).ok()?;
    let number = night.task(&attempt.task)?.last()?.number;
    (number > attempt.number).then(|| AttemptId { task: attempt.task.clone(), number })
}

/// A file that may still grow.
struct Tail {
    path: PathBuf,
    structured: bool,
    at: u64,
}

impl Tail {
    /// What was added since the last call; while it grows, whole lines only.
    fn more(&mut self, grows: bool) -> Result<Vec<u8>, Refused> {
        let Ok(mut file) = File::open(&self.path) else { return Ok(Vec::new()) };
        let wrap = || files::error("read", &self.path);
        file.seek(SeekFrom::Start(self.at)).map_err(wrap())?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(wrap())?;
        if grows {
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            bytes.truncate(whole);
        }
        self.at += u64::try_from(bytes.len()).unwrap_or(0);
        Ok(bytes)
    }
}
