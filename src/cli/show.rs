//! `nightshift show`: a night, a task or an attempt in full.

mod task;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{
    cli::{
        Global, Output, code,
        find::{self, Found, Selector},
        reports,
        tell::{self, Cleaner},
    },
    ids::{AttemptId, NAME, TaskId},
    night::AttemptRecord,
    report::{Screen, formats::Format, text},
    runner::{
        home::Home,
        places::{NightPlaces, Surroundings},
        refused::{Refused, RefusedKind},
        rules,
    },
};

/// Nights that are looked through for a task that the last one does not have.
const LOOK_BACK: usize = 60;

/// Show a night, a task or an attempt in full
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// A night (last, last~1, 2026-11-21), a task (task_3), or both with a try: last/task_3@2
    #[arg(default_value = "last")]
    selector: String,
    /// The try [default: the last one]
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Print the work as a patch
    #[arg(long, group = "part")]
    diff: bool,
    /// Print exactly what the agent was told
    #[arg(long, group = "part")]
    prompt: bool,
    /// Print the gate's logs
    #[arg(long, group = "part")]
    gate: bool,
    /// In which form [default: as the ending of FILE says, else text]
    #[arg(long, value_name = "FORMAT", value_parser = reports::format_parser(), group = "part")]
    format: Option<Format>,
    /// Write it to FILE
    #[arg(short = 'o', long = "output", value_name = "FILE", conflicts_with_all = ["diff", "prompt", "gate"])]
    file: Option<PathBuf>,
    /// Open the HTML report in a browser, or only say where it is
    #[arg(long, group = "part", conflicts_with = "file")]
    web: bool,
}

pub(super) fn show(
    surroundings: &Surroundings,
    global: &Global,
    command: &Show,
    output: &mut Output,
) -> Result<u8, Refused> {
    let home = Home::open(surroundings, &global.repository())?;
    let mut selector = Selector::parse(&command.selector)?;
    if command.attempt.is_some() {
        if selector.task.is_none() {
            return Err(Refused::usage(
                "--attempt belongs to a task",
                format!("{NAME} show task_3 --attempt 2"),
            ));
        }
        selector.attempt = command.attempt;
    }
    let found = night_with(&home, &command.selector, &selector)?;
    let cleaner = Cleaner::of(surroundings, &home, &found.night);
    if command.web {
        return reports::web(surroundings, &home, &found, output);
    }
    if command.format.is_some() || command.file.is_some() {
        return in_a_format(&home, &found, &selector, command, &cleaner, output);
    }
    match selector.task.clone() {
        None => of_night(&home, &found, command, &cleaner, output),
        Some(task) => of_task(&home, &found, &selector, &task, command, &cleaner, output),
    }
}

/// The night that is meant: the named one, else the last that knows the task.
pub(super) fn night_with(home: &Home, word: &str, selector: &Selector) -> Result<Found, Refused> {
    let found = find::night(home, selector)?.ok_or_else(|| {
        Refused::usage(
            format!("no night has run in {} yet", home.user.root().display()),
            format!("{NAME} check shows what would run, {NAME} run does it"),
        )
    })?;
    let Some(task) = &selector.task else { return Ok(found) };
    if knows(&found, task) {
        return Ok(found);
    }
    let named = word.contains('/');
    let count = if named { 0 } else { home.places.all_nights().len().min(LOOK_BACK) };
    for back in 1..count {
        let earlier = Selector { night: Ok(back), ..selector.clone() };
        // A damaged journal of an old night must not hide the others.
        if let Ok(Some(earlier)) = find::night(home, &earlier)
            && knows(&earlier, task)
        {
            return Ok(earlier);
        }
    }
    let known: Vec<&str> = found.night.tasks().map(|(id, _)| id.as_str()).take(8).collect();
    let place = if named { format!("the night {}", found.id) } else { "any night".to_owned() };
    let help = if known.is_empty() {
        format!("{NAME} check says why tasks do not run")
    } else {
        format!("tasks of {}: {}", found.id, known.join(", "))
    };
    Err(Refused::usage(format!("there is no task `{task}` in {place}"), help))
}

fn knows(found: &Found, task: &TaskId) -> bool {
    found.night.task(task).is_some()
        || found.night.opening().refused.iter().any(|refused| refused.id == *task)
}

/// The attempt that is meant, with what is known of it.
pub(super) fn attempt_of<'f>(
    found: &'f Found,
    selector: &Selector,
) -> Result<(AttemptId, &'f AttemptRecord), Refused> {
    let task = selector.task.as_ref().map_or("?", TaskId::as_str);
    let missing = |what: String| {
        Refused::usage(what, format!("{NAME} show {} lists what there is", tell::quoted(task)))
    };
    let attempt = selector
        .attempt_of(&found.night)
        .ok_or_else(|| missing(format!("{task} was not tried in the night {}", found.id)))?;
    let record = found
        .night
        .task(&attempt.task)
        .and_then(|state| state.attempts.iter().find(|r| r.number == attempt.number))
        .ok_or_else(|| missing(format!("{task} has no try {}", attempt.number)))?;
    Ok((attempt, record))
}

/// The night or the task in the form that was asked for, to standard output or into a file.
fn in_a_format(
    home: &Home,
    found: &Found,
    selector: &Selector,
    command: &Show,
    cleaner: &Cleaner,
    output: &Output,
) -> Result<u8, Refused> {
    let format = match (command.format, &command.file) {
        (Some(format), _) => format,
        (None, _) if output.is_json() => Format::Json,
        (None, Some(file)) => reports::format_of(file)?,
        (None, None) => Format::Text,
    };
    if output.is_json() && format != Format::Json {
        return Err(Refused::usage(
            format!("--json and --format {} are two formats", format.word()),
            "leave one of them out",
        ));
    }
    if selector.attempt.is_some() && !matches!(format, Format::Text | Format::Json) {
        return Err(Refused::usage(
            format!("{} has every try of a task", format.word()),
            "leave the try out",
        ));
    }
    let text = reports::render(home, found, selector.task.as_ref(), format, cleaner)?;
    match &command.file {
        Some(file) => reports::write(file, &text)?,
        None => output.raw(text.as_bytes()),
    }
    Ok(code::DONE)
}

fn of_night(
    home: &Home,
    found: &Found,
    command: &Show,
    cleaner: &Cleaner,
    output: &Output,
) -> Result<u8, Refused> {
    if command.diff {
        let opening = found.night.opening();
        let tip = home.vault.tree_of(found.night.tip())?;
        let patch = home.vault.patch(&opening.base.tree, &tip)?;
        return Ok(print(output, "diff", &cleaner.clean(&patch)));
    }
    if command.gate {
        return Ok(print(output, "gate", &gate_logs(found, None, cleaner)?));
    }
    if command.prompt {
        return Err(Refused::usage(
            "a night has no prompt; its tasks have",
            format!("{NAME} show task_3 --prompt"),
        ));
    }
    if output.is_json() {
        output.json("show", &tell::night_json(home, found, cleaner));
        return Ok(code::DONE);
    }
    output.page(&night_in_full(home, found, cleaner, &output.screen()));
    Ok(code::DONE)
}

/// All of a night as text: its summary, and every try.
pub(super) fn night_in_full(
    home: &Home,
    found: &Found,
    cleaner: &Cleaner,
    screen: &Screen,
) -> String {
    let running = tell::runs(home, &found.night);
    let mut text = tell::summary(&found.night, running, screen);
    let proof = found.night.gate_proof().map(|proof| cleaner.line(&tell::gate_proof(proof)));
    // The summary says it of a gate that was seen to fail.
    if let Some(words) = proof.filter(|words| !text.contains(words.as_str())) {
        text.push_str(&format!("\n{words}\n"));
    }
    for (id, state) in found.night.tasks().filter(|(_, state)| !state.attempts.is_empty()) {
        text.push_str(&format!(
            "\n{id} · {}\n{}\n",
            text::inline_plain(tell::title(&found.night, id)),
            task::tries(home, state, cleaner, running)
        ));
    }
    if let Some(damage) = &found.damage {
        text.push_str(&format!("\ndamaged: {}\n", cleaner.line(damage)));
    }
    text.push_str(&format!("\nnext: {NAME} logs {}, {NAME} show {}/TASK\n", found.id, found.id));
    text
}

/// All of a task as text, its last try first.
pub(super) fn task_in_full(
    home: &Home,
    found: &Found,
    id: &TaskId,
    cleaner: &Cleaner,
) -> Result<String, Refused> {
    let selector = Selector { night: Err(found.id.clone()), task: Some(id.clone()), attempt: None };
    task::in_full(home, found, &selector, id, cleaner)
}

/// A task as JSON, or why it was refused.
pub(super) fn task_data(home: &Home, found: &Found, id: &TaskId, cleaner: &Cleaner) -> Value {
    let refused = found.night.opening().refused.iter().find(|refused| refused.id == *id);
    let state = found.night.task(id);
    let task = state.map(|state| tell::task_json(home, found, id, state, cleaner));
    json!({ "night": found.id, "task": task, "refused": refused })
}

fn of_task(
    home: &Home,
    found: &Found,
    selector: &Selector,
    id: &TaskId,
    command: &Show,
    cleaner: &Cleaner,
    output: &Output,
) -> Result<u8, Refused> {
    if command.diff {
        let (attempt, record) = attempt_of(found, selector)?;
        let Some((from, to)) = tell::work_of(&home.vault, record)? else {
            return Err(Refused::usage(
                format!("{attempt} left no work"),
                format!("{NAME} logs {} shows what it did", tell::quoted(&attempt.to_string())),
            ));
        };
        let patch = home.vault.patch(&from, &to)?;
        let patch = cleaner.clean(&patch);
        let patch = if record.inspection.holds_secret() {
            let rules = rules::of_night(&home.vault, found.night.opening());
            let rules = rules.map_err(|problem| {
                let help = "the journal of that night was written by another version";
                Refused::new(RefusedKind::Internal, problem.to_string(), help)
            })?;
            rules.mask_secrets(&patch)
        } else {
            patch
        };
        return Ok(print(output, "diff", &patch));
    }
    if command.prompt {
        let (attempt, _) = attempt_of(found, selector)?;
        return prompt(found, &attempt, cleaner, output);
    }
    if command.gate {
        let (attempt, _) = attempt_of(found, selector)?;
        return Ok(print(output, "gate", &gate_logs(found, Some(&attempt), cleaner)?));
    }
    if output.is_json() {
        output.json("show", &task_data(home, found, id, cleaner));
        return Ok(code::DONE);
    }
    output.page(&task::in_full(home, found, selector, id, cleaner)?);
    Ok(code::DONE)
}

/// What an attempt was told: its message, the standing instructions, and what a hook puts back after a
/// compaction, where there are such.
fn prompt(
    found: &Found,
    attempt: &AttemptId,
    cleaner: &Cleaner,
    output: &Output,
) -> Result<u8, Refused> {
    let directory = found.places.attempt(attempt);
    let path = directory.join("prompt.md");
    let message = std::fs::read(&path).map_err(crate::files::error("read", &path))?;
    let read =
        |name: &str| std::fs::read(directory.join(name)).ok().map(|text| cleaner.clean(&text));
    let message = cleaner.clean(&message);
    let (system, brief) = (read("system.md"), read("brief.md"));
    if output.is_json() {
        let data = json!({"prompt": message, "system": system, "brief": brief});
        output.json("show", &data);
        return Ok(code::DONE);
    }
    let mut text = message;
    for (name, more) in [("system.md", system), ("brief.md", brief)] {
        if let Some(more) = more.filter(|more| !more.trim().is_empty()) {
            text.push_str(&format!(
                "{}==> {name}\n{more}",
                if text.ends_with('\n') { "\n" } else { "\n\n" }
            ));
        }
    }
    output.result(&text);
    Ok(code::DONE)
}

/// The logs of a gate's run, one below the other.
pub(super) fn gate_logs(
    found: &Found,
    attempt: Option<&AttemptId>,
    cleaner: &Cleaner,
) -> Result<String, Refused> {
    let text = logs_below(found, &NightPlaces::gate_name(attempt), cleaner)?;
    if text.is_empty() {
        let report = match attempt {
            None => found.night.base_gate().report(),
            Some(attempt) => found.night.task(&attempt.task).and_then(|state| {
                state.attempts.iter().find(|r| r.number == attempt.number)?.gate.as_ref()
            }),
        };
        let why = match report {
            Some(report) if report.reused => "its tree had passed before, so it did not run again",
            Some(_) => "its logs are gone",
            None => "it did not run",
        };
        let whose = attempt.map_or("the base".to_owned(), ToString::to_string);
        return Err(Refused::usage(
            format!("there is no gate log for {whose}: {why}"),
            format!("{NAME} logs {} shows what happened", found.id),
        ));
    }
    Ok(text)
}

/// The logs of the trees that were broken on purpose, one below the other.
pub(super) fn canary_logs(found: &Found, cleaner: &Cleaner) -> Result<String, Refused> {
    let text = logs_below(found, NightPlaces::canary_name(), cleaner)?;
    if !text.is_empty() {
        return Ok(text);
    }
    let why = match found.night.gate_proof() {
        Some(proof) if proof.reused => "the proof of an earlier night holds for this gate",
        Some(_) => "its logs are gone",
        None => "no tree was broken on purpose",
    };
    Err(Refused::usage(
        format!("there is no log of a canary in the night {}: {why}", found.id),
        format!("{NAME} logs {} shows what happened", found.id),
    ))
}

/// The logs in a directory of the night's, and after them those of the directories in it: repeated runs, and trees
/// that were mixed to try tests.
fn logs_below(found: &Found, name: &str, cleaner: &Cleaner) -> Result<String, Refused> {
    let mut entries: Vec<_> = std::fs::read_dir(found.places.directory().join(name))
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    entries.sort();
    let (directories, files): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|path| path.is_dir());
    let mut text = String::new();
    for path in files.iter().filter(|path| path.is_file()) {
        let log = std::fs::read(path).map_err(crate::files::error("read", path))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        text.push_str(&format!("==> {name}/{file}\n"));
        let log = cleaner.clean(&log);
        text.push_str(&log);
        if !log.is_empty() && !log.ends_with('\n') {
            text.push('\n');
        }
    }
    for path in &directories {
        let below = path.file_name().unwrap_or_default().to_string_lossy();
        text.push_str(&logs_below(found, &format!("{name}/{below}"), cleaner)?);
    }
    Ok(text)
}

fn print(output: &Output, what: &str, text: &str) -> u8 {
    if output.is_json() {
        output.json("show", &json!({ what: text }));
    } else {
        output.result(text);
    }
    code::DONE
}
