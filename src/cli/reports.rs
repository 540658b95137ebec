//! A night's reports: made in the form that is asked for, written where a person wants them, opened in a browser.
//!
//! Reads the journal and the vault; what a report says is made by `report::formats`. A report that cannot be written
//! never fails a night.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::{
    cli::{
        Output, code,
        find::{self, Found, Selector},
        output::{self, envelope},
        show,
        tell::{self, Cleaner},
    },
    files,
    ids::{NAME, NightId, TaskId},
    journal,
    night::Night,
    process::{self, Environment},
    report::{
        self,
        formats::{self, Format, Sheet, Source, Tally},
    },
    runner::{hands, home::Home, places::Surroundings, refused::Refused},
};

/// Nights that a report compares, its own included.
const NIGHTS: usize = 14;

/// What a program that opens a page may see: where the screen is, and which browser is meant.
const OPENER_SEES: [&str; 11] = [
    "HOME",
    "USER",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "XDG_CURRENT_DESKTOP",
    "XDG_DATA_DIRS",
    "DBUS_SESSION_BUS_ADDRESS",
    "DESKTOP_SESSION",
    "BROWSER",
];

/// A file to be written at a night's end.
#[derive(Clone, Debug)]
pub(super) struct ReportFile {
    path: PathBuf,
    format: Format,
}

/// Reads `--report FILE`.
pub(super) fn report_file(text: &str) -> Result<ReportFile, String> {
    let format = Format::of_file(text)
        .ok_or_else(|| format!("its ending names no format: {}", endings()))?;
    Ok(ReportFile { path: PathBuf::from(text), format })
}

/// Reads `--format FORMAT`.
pub(super) fn format_parser() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::word))
        .try_map(|word| Format::of_word(&word).ok_or("one of the words above is meant"))
}

/// The format that a file is to have, by its ending.
pub(super) fn format_of(file: &Path) -> Result<Format, Refused> {
    Format::of_file(&file.to_string_lossy()).ok_or_else(|| {
        Refused::usage(
            format!("the ending of {} names no format", file.display()),
            format!("say which with --format, or end it with one of {}", endings()),
        )
    })
}

fn endings() -> String {
    Format::ALL.map(|format| format!(".{}", format.ending())).join(" ")
}

/// Says no to places that cannot take a report, before a whole night is worked for it.
pub(super) fn can_be_written(files: &[ReportFile]) -> Result<(), Refused> {
    files.iter().try_for_each(|file| place(&file.path).map(drop))
}

/// Where a report is really written: behind links, from the root on.
fn place(path: &Path) -> Result<PathBuf, Refused> {
    let wrong = |why: &str, help: &str| {
        Err(Refused::usage(format!("{} {why}", path.display()), help.to_owned()))
    };
    // A link keeps being one: what it points at is replaced.
    let real = std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    let Ok(real) = real else { return wrong("is no path", "name a file") };
    match std::fs::metadata(&real) {
        Ok(known) if !known.is_file() => {
            return wrong("is no file", "name a file; without -o it goes to standard output");
        }
        Ok(_) | Err(_) => {}
    }
    if !real.parent().is_some_and(Path::is_dir) {
        return wrong("has no directory to be in", "make the directory first");
    }
    Ok(real)
}

/// Writes a report where a person wants it, readable as their umask says.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Refused> {
    Ok(files::write_for_others(&place(path)?, text.as_bytes())?)
}

/// The night, or one task of it, in this form.
pub(super) fn render(
    home: &Home,
    found: &Found,
    task: Option<&TaskId>,
    format: Format,
    cleaner: &Cleaner,
) -> Result<String, Refused> {
    let of_task = || {
        let whole = sheet(home, found, cleaner);
        match task {
            Some(task) => whole.only(&cleaner.line(task.as_str())),
            None => whole,
        }
    };
    Ok(match (format, task) {
        (Format::Markdown | Format::Html | Format::Prometheus, Some(task)) => {
            return Err(Refused::usage(
                format!("{} is of a whole night", format.word()),
                format!(
                    "leave the task out, or ask for {} as text, json, junit, sarif or csv",
                    tell::quoted(task.as_str())
                ),
            ));
        }
        (Format::Text, None) => cleaner.redacted(
            show::night_in_full(home, found, cleaner, &report::Screen::default()).as_bytes(),
        ),
        (Format::Text, Some(task)) => {
            cleaner.redacted(show::task_in_full(home, found, task, cleaner)?.as_bytes())
        }
        (Format::Json, None) => envelope("show", &tell::night_json(home, found, cleaner)) + "\n",
        (Format::Json, Some(task)) => {
            envelope("show", &show::task_data(home, found, task, cleaner)) + "\n"
        }
        (Format::Markdown, None) => {
            let redact = |log: &str| cleaner.redacted(log.as_bytes());
            let logs = hands::quoted_logs(&found.night, &found.places, &redact);
            let request = report::pull_request_with(&found.night, &logs);
            let [title, body] =
                [request.title, request.body].map(|text| cleaner.redacted(text.as_bytes()));
            formats::markdown(&title, &body)
        }
        (Format::Html, None) => formats::html(&sheet(home, found, cleaner)),
        (Format::Prometheus, None) => formats::prometheus(&sheet(home, found, cleaner)),
        (Format::JUnit, _) => formats::junit(&of_task()),
        (Format::Sarif, _) => formats::sarif(&of_task()),
        (Format::Csv, _) => formats::csv(&of_task()),
    })
}

fn sheet(home: &Home, found: &Found, cleaner: &Cleaner) -> Sheet {
    formats::sheet(Source {
        night: &found.night,
        entries: &found.reading,
        trend: trend(home, &found.id),
        running: tell::runs(home, &found.night),
        clean: &|words| cleaner.line(words),
    })
}

/// This night and those before it, as far as their journals can be read. Nights that only take results back tried
/// nothing and are no measure.
fn trend(home: &Home, id: &NightId) -> Vec<Tally> {
    let mut nights = home.places.all_nights();
    if let Some(at) = nights.iter().position(|night| night == id) {
        nights.truncate(at + 1);
    }
    let first = nights.len().saturating_sub(NIGHTS);
    let read = |id: &NightId| {
        let reading = journal::read(&home.places.night(id).journal()).ok()?;
        Night::replay(reading.entries).ok()
    };
    let measured = nights[first..].iter().filter_map(read);
    measured
        .filter(|night| night.opening().reverses.is_empty())
        .map(|night| Tally::of(&night))
        .collect()
}

/// Writes the HTML report of a night into its directory, and says where it is.
pub(super) fn keep_html(home: &Home, found: &Found, cleaner: &Cleaner) -> Result<PathBuf, Refused> {
    let path = found.places.html();
    files::write_atomic(&path, render(home, found, None, Format::Html, cleaner)?.as_bytes())?;
    Ok(path)
}

/// At the end of a night, however it ended: its HTML report, and the files that were asked for. What cannot be written
/// is said and changes nothing.
pub(super) fn after_a_night(
    surroundings: &Surroundings,
    home: &Home,
    id: &NightId,
    files: &[ReportFile],
    output: &Output,
) {
    let selector = Selector { night: Err(id.clone()), task: None, attempt: None };
    let found = match find::night(home, &selector) {
        Ok(Some(found)) => found,
        Ok(None) => return,
        Err(refused) => return output.note(&format!("no report of {id}: {}", refused.message)),
    };
    let cleaner = Cleaner::of(surroundings, home, &found.night);
    if let Err(refused) = keep_html(home, &found, &cleaner) {
        output.note(&format!("no HTML report: {}", refused.message));
    }
    for ReportFile { path, format } in files {
        let written =
            render(home, &found, None, *format, &cleaner).and_then(|text| write(path, &text));
        // Somebody asked for it: they learn of it also where only results are wanted.
        if let Err(refused) = written {
            output::say(&format!("note: no report {}: {}", path.display(), refused.message));
        }
    }
}

/// Opens the HTML report where somebody sits before a screen; prints its path everywhere.
pub(super) fn web(
    surroundings: &Surroundings,
    home: &Home,
    found: &Found,
    output: &Output,
) -> Result<u8, Refused> {
    let path = keep_html(home, found, &Cleaner::of(surroundings, home, &found.night))?;
    if output.is_json() {
        output.json("report", &serde_json::json!({ "night": found.id, "path": path }));
        return Ok(code::DONE);
    }
    output.result(&path.display().to_string());
    let screen =
        ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| surroundings.value(name).is_some());
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    if !output.attended() || !(screen || cfg!(target_os = "macos")) {
        return Ok(code::DONE);
    }
    let mut environment = Environment::from_allowed(&surroundings.environment, &[]);
    for name in OPENER_SEES {
        if let Some(value) = surroundings.value(name) {
            environment.set(name, value);
        }
    }
    let file = path.to_string_lossy();
    if let Err(problem) = process::start_and_leave(&[opener, &file], &environment) {
        output
            .note(&format!("no browser was opened ({problem}); {NAME} show --web prints the path"));
    }
    Ok(code::DONE)
}
