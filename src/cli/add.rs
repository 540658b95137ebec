//! `nightshift add`: writes one task into the plan of the checkout, and says what `check` makes of it. Never commits.

use std::io::Read as _;

use serde_json::json;

use crate::{
    cli::{Global, Output, code, tell::Cleaner},
    ids::{NAME, TaskId},
    plan::{self, Readiness, SectionWords, Task, add::NewTask},
    policy::Refusal,
    report::text,
    runner::{
        permit::PlanEdit,
        places::Surroundings,
        prepare::{Preparation, Request},
        refused::Refused,
    },
};

/// Write one task into the plan
#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// What it is to do; `-` reads it from standard input, with more lines below it
    #[arg(value_name = "TITLE")]
    title: String,
    /// Into the section whose tasks run, instead of the one whose tasks wait for approval
    #[arg(long)]
    ready: bool,
    /// Its id [default: the next number of the plan's own ids]
    #[arg(long, value_name = "ID")]
    id: Option<TaskId>,
    /// A path or glob that it may change; more than once for several
    #[arg(long, value_name = "GLOB")]
    files: Vec<String>,
    /// Lines that it takes, about
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    lines: Option<u32>,
    /// How well it fits what the project wants, from 0 to 100
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=100))]
    score: Option<u32>,
    /// Its tests: yes, a path, or n/a
    #[arg(long, value_name = "TEXT")]
    tests: Option<String>,
    /// A task that must have landed before; more than once for several
    #[arg(long, value_name = "ID")]
    after: Vec<TaskId>,
    /// When it is done; more than once for several points
    #[arg(long, value_name = "TEXT")]
    accept: Vec<String>,
}

/// Bytes of standard input that are read at most: a task is small.
const LARGEST: u64 = 64 * 1024;
/// From here on two titles are told to be alike; 1 = the same.
const ALIKE: f64 = 0.9;

pub(super) fn add(
    surroundings: &Surroundings,
    global: &Global,
    command: &Add,
    output: &mut Output,
) -> Result<u8, Refused> {
    let request = Request {
        repository: global.repository(),
        base: None,
        tasks: Vec::new(),
        overrides: Vec::new(),
        style: output.style(),
    };
    let text = if command.title == "-" { standard_input()? } else { command.title.clone() };
    let new = task(command, &text);
    let preparation = Preparation::read(surroundings, &request)?;
    let mut edit = PlanEdit::open_or_begin(&preparation)?;
    let alike = alike(&edit.tasks(), &new.title);
    let shown = edit.shown().to_owned();
    let (task, left) = edit.add(&new)?;
    edit.write()?;
    let cleaner = Cleaner::new(surroundings);
    let fate = fate(&task, &left);
    if output.is_json() {
        output.json(
            "add",
            &json!({
                "task": task.id,
                "file": shown,
                "line": task.line,
                "text": cleaner.redacted(task.text.as_bytes()),
                "would_run": fate.is_none(),
                "why": fate.as_ref().map(|(why, _)| cleaner.line(why)),
                "next": fate.as_ref().map(|(_, next)| cleaner.line(next)),
                "alike": alike.iter().map(|(id, _)| id).collect::<Vec<_>>(),
            }),
        );
        return Ok(code::DONE);
    }
    for (id, title) in &alike {
        output.note(&cleaner.line(&format!("note: {id} sounds alike: {title}")));
    }
    if output.is_quiet() {
        return Ok(code::DONE);
    }
    let mut lines = vec![format!("{}: added: {shown}:{}", task.id, task.line)];
    let block = cleaner.clean(task.text.trim_end().as_bytes());
    lines.extend(block.lines().map(|line| format!("  | {line}")));
    match fate {
        None => {
            lines.push("  it would run tonight".to_owned());
            lines.push(format!("  {NAME} check shows the whole night"));
        }
        Some((why, next)) => {
            lines.push(format!("  it would not run: {}", cleaner.line(&why)));
            lines.push(format!("  {}", cleaner.line(&next)));
        }
    }
    output.result(&lines.join("\n"));
    Ok(code::DONE)
}

fn standard_input() -> Result<String, Refused> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().take(LARGEST + 1).read_to_end(&mut bytes);
    let no = |why: String| Refused::usage(why, format!("{NAME} add 'What it is to do'"));
    read.map_err(|problem| no(format!("standard input could not be read: {problem}")))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LARGEST {
        return Err(no(format!("standard input has more than {LARGEST} bytes: a task is small")));
    }
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| no("standard input is not text in UTF-8".to_owned()))?;
    if text.trim().is_empty() {
        return Err(no("standard input has no title".to_owned()));
    }
    Ok(text)
}

/// The first line is the title, written as one or as a task of a plan; what stands below it goes below the task.
fn task(command: &Add, text: &str) -> NewTask {
    let text = text.trim_start_matches('\u{feff}').trim_matches(['\n', '\r', ' ']);
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let first = first.trim();
    let (mut title, mut id) = (first.to_owned(), command.id.clone());
    // Written as a task: its signs and its id are read as a plan's are.
    let read = plan::parse(&format!("## Ready\n\n{first}\n"), &SectionWords::default()).0.tasks;
    if let [task] = &read[..]
        && task.title != first
    {
        task.title.clone_into(&mut title);
        let named = [format!("[{}]", task.id), format!("{}:", task.id)];
        if named.iter().any(|named| first.contains(named.as_str())) {
            id = id.or_else(|| Some(task.id.clone()));
        }
    }
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let lines: Vec<&str> = rest.lines().map(str::trim_end).collect();
    let common = lines.iter().filter(|line| !line.is_empty()).map(indent).min().unwrap_or(0);
    let notes = lines.iter().map(|line| line.get(common..).unwrap_or("").to_owned()).collect();
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let title = one_line(&title);
    let mut fields = Vec::new();
    let mut field = |name: &str, value: String| fields.push((name.to_owned(), one_line(&value)));
    if let Some(score) = command.score {
        field("Alignment score", format!("{score}/100"));
    }
    if let Some(lines) = command.lines {
        field("Estimated lines", lines.to_string());
    }
    if let Some(tests) = &command.tests {
        let path = tests.contains(['/', '.']) && !tests.starts_with("n/a");
        field("Tests defined", if path { format!("yes ({tests})") } else { tests.clone() });
    }
    if !command.files.is_empty() {
        field("Files", command.files.join(", "));
    }
    if !command.after.is_empty() {
        let after: Vec<&str> = command.after.iter().map(TaskId::as_str).collect();
        field("Depends on", after.join(", "));
    }
    for point in &command.accept {
        field("Acceptance", point.clone());
    }
    NewTask { id, title, fields, notes, ready: command.ready }
}

/// Why it would not run tonight, and what to do; `None`: it would.
fn fate(task: &Task, left: &[Refusal]) -> Option<(String, String)> {
    let id = &task.id;
    let said = |refusals: &[Refusal]| {
        let said: Vec<String> = refusals.iter().map(|refusal| refusal.message.clone()).collect();
        text::inline_plain(&said.join("; "))
    };
    match task.readiness() {
        Readiness::Ready if left.is_empty() => None,
        Readiness::Ready => {
            let help = left.iter().find_map(|refusal| refusal.help.clone());
            let help = help
                .unwrap_or_else(|| format!("{NAME} check --explain -t '{id}' lists every rule"));
            Some((said(left), help))
        }
        Readiness::NeedsApproval => {
            let why = "it waits for your approval".to_owned();
            Some((why, format!("{NAME} approve '{id}' lets it run")))
        }
        Readiness::Done => {
            Some(("its text says that it is done".to_owned(), "mend it in the plan".to_owned()))
        }
        Readiness::NotReady(why) => Some((why, "mend it in the plan".to_owned())),
    }
}

/// Tasks whose titles sound like the new one's.
fn alike(tasks: &[Task], title: &str) -> Vec<(TaskId, String)> {
    let title = title.to_lowercase();
    tasks
        .iter()
        .filter(|task| strsim::normalized_levenshtein(&task.title.to_lowercase(), &title) >= ALIKE)
        .map(|task| (task.id.clone(), task.title.clone()))
        .collect()
}
