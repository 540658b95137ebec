//! What is printed and where: results on standard output, the rest on standard error, colours only where
//! they are wanted, JSON in an envelope with a schema id.

use std::{
    borrow::Cow,
    io::{IsTerminal as _, Write as _},
};

use serde::Serialize;

use crate::{
    cli::{
        Colour, Global,
        actions::{HERE, token},
    },
    diagnostic::Style,
    ids::NAME,
    report::{Screen, UNKNOWN_WIDTH, actions},
    runner::refused::{Refused, RefusedKind},
};

/// The two streams, and how they are to be used.
#[derive(Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
    colours: bool,
    /// As `colours`, on standard output.
    coloured_results: bool,
    /// Cells of a line where standard output is no terminal.
    columns: Option<usize>,
    unicode: bool,
    /// In a job of GitHub Actions: a line that reads as an order is followed there.
    in_job: bool,
}

/// A line on standard error. A full disk or a closed pipe there must not end a night.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    schema: String,
    #[serde(flatten)]
    inside: Inside<'a, T>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Inside<'a, T> {
    Data(&'a T),
}

/// Data as JSON in one line: `{"schema":"nightshift.NAME/1","data":…}`.
pub(super) fn envelope(name: &str, data: &impl Serialize) -> String {
    let schema = format!("{NAME}.{name}/1");
    let envelope = Envelope { schema, inside: Inside::Data(data) };
    serde_json::to_string(&envelope).unwrap_or_default()
}

impl Output {
    /// From the flags and the environment's habits (NO_COLOR, CLICOLOR_FORCE, COLUMNS, the locale).
    pub(super) fn new(global: &Global) -> Output {
        #[expect(
            clippy::disallowed_methods,
            reason = "terminal habits are read where they are used"
        )]
        let value = |name: &str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            value.map(|value| value.to_string_lossy().into_owned())
        };
        let dumb = value("TERM").is_some_and(|term| term == "dumb");
        let coloured = |terminal: bool| match global.color {
            _ if global.json => false,
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => {
                (terminal && value("NO_COLOR").is_none() && !dumb)
                    || value("CLICOLOR_FORCE").is_some()
            }
        };
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(value);
        Output {
            json: global.json,
            quiet: global.quiet,
            colours: coloured(std::io::stderr().is_terminal()),
            coloured_results: coloured(std::io::stdout().is_terminal()),
            columns: value("COLUMNS").and_then(|cells| cells.trim().parse().ok()),
            unicode: locale.is_some_and(|locale| {
                let locale = locale.to_ascii_lowercase();
                locale.contains("utf-8") || locale.contains("utf8")
            }),
            in_job: value(HERE).is_some_and(|value| value == "true"),
        }
    }

    /// The screen that results are drawn on. A terminal that was made narrower is asked anew each time.
    pub fn screen(&self) -> Screen {
        let window = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
        let window = window.map(|size| usize::from(size.ws_col));
        let width = window.or(self.columns).filter(|cells| *cells > 0);
        let width = width.unwrap_or(UNKNOWN_WIDTH);
        Screen { width, unicode: self.unicode, colours: self.coloured_results }
    }

    /// Lines of the terminal that results are drawn on.
    pub fn rows(&self) -> usize {
        let window = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
        window.map(|size| usize::from(size.ws_row)).filter(|rows| *rows > 0).unwrap_or(24)
    }

    /// True when results can be drawn again and again on the same place.
    pub fn draws(&self) -> bool {
        std::io::stdout().is_terminal() && self.moving()
    }

    /// A result, as text of ours that is fitted to the screen.
    pub fn page(&self, text: &str) {
        self.result(&self.screen().page(text));
    }

    /// True when answers are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// True when nothing is to be said while all is well.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// True when colours are wanted.
    pub fn colours(&self) -> bool {
        self.colours
    }

    /// How messages about files are drawn.
    pub fn style(&self) -> Style {
        if self.colours { Style::Coloured } else { Style::Plain }
    }

    /// True when a person watches standard error.
    pub fn attended(&self) -> bool {
        std::io::stderr().is_terminal()
    }

    /// True when a person can be asked: they see what we say, and we read what they type.
    pub fn asks(&self) -> bool {
        !self.json && self.attended() && std::io::stdin().is_terminal()
    }

    /// What a person types as an answer, without the line's end. Empty at the end of their input.
    pub fn asked(&self, question: &str) -> String {
        let mut line = String::new();
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "{question} ").and_then(|()| stderr.flush());
        let _ = std::io::stdin().read_line(&mut line);
        line.trim().to_owned()
    }

    /// True when a person says yes. No answer is a no.
    pub fn confirmed(&self, question: &str) -> bool {
        matches!(self.asked(&format!("{question} [y/N]")).to_lowercase().as_str(), "y" | "yes")
    }

    /// True where lines are folded by task: in a job of GitHub Actions, for people.
    pub(super) fn folds(&self) -> bool {
        self.in_job && !self.json && !self.quiet
    }

    /// Orders to the runner of a job, one a line: on the stream of the lines that they are about.
    pub(super) fn orders(&self, lines: &str) {
        if self.in_job && !lines.is_empty() {
            say(lines);
        }
    }

    /// A result, as text. A closed pipe is no error: the reader has seen enough.
    pub fn result(&self, text: &str) {
        let text = &*self.shown(text);
        let mut stdout = std::io::stdout().lock();
        let newline = if text.ends_with('\n') { "" } else { "\n" };
        let _ = write!(stdout, "{text}{newline}").and_then(|()| stdout.flush());
    }

    /// Text without what a job's runner would take for an order. JSON has no line that begins so; of the older form,
    /// which is an order anywhere in a line, it has another spelling.
    fn shown<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match (self.in_job, self.json) {
            (true, true) => text.replace("##[", "#\\u0023[").into(),
            (true, false) => actions::inert(text).into(),
            (false, _) => text.into(),
        }
    }

    /// A result, as JSON in its `envelope`.
    pub fn json(&self, name: &str, data: &impl Serialize) {
        self.result(&envelope(name, data));
    }

    /// Bytes as they are, such as a log.
    pub fn raw(&self, bytes: &[u8]) {
        let mut stdout = std::io::stdout().lock();
        // Logs of agents and gates: nothing in them is for the runner.
        let text =
            self.in_job.then(|| actions::unread(&String::from_utf8_lossy(bytes), &token()) + "\n");
        let bytes = text.as_ref().map_or(bytes, |text| text.as_bytes());
        let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
    }

    /// Something to know, beside the result.
    pub fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            say(&self.shown(text));
        }
    }

    /// Something that went wrong beside the result, and that nothing else would tell.
    pub fn trouble(&self, text: &str) {
        if self.json {
            let message = serde_json::json!({"schema": format!("{NAME}.note/1"), "message": text});
            say(&message.to_string());
        } else {
            say(&format!("note: {text}"));
        }
    }

    /// True when lines may move: a terminal that can, and no wish against it.
    pub fn moving(&self) -> bool {
        #[expect(clippy::disallowed_methods, reason = "terminal habits are read where colours are")]
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        !dumb && !self.json
    }

    /// A "no": what, and what to do.
    pub(super) fn refused(&self, refused: &Refused, code: u8) {
        if self.json {
            let kind = match refused.kind {
                RefusedKind::Usage => "usage",
                RefusedKind::Environment => "refused",
                RefusedKind::Busy => "busy",
                RefusedKind::Stopped => "stopped",
                RefusedKind::Internal => "internal",
            };
            let error = serde_json::json!({
                "schema": format!("{NAME}.error/1"),
                "code": code,
                "kind": kind,
                "message": refused.message,
                "help": refused.help.iter().collect::<Vec<_>>(),
            });
            say(&error.to_string());
            return;
        }
        // A drawing has its own "error:" in front.
        let drawn = refused.message.contains("\n --> ") || refused.message.contains(" --> ");
        let (bold, red, plain) =
            if self.colours { ("\x1b[1m", "\x1b[31m", "\x1b[0m") } else { ("", "", "") };
        if drawn {
            say(&self.shown(&refused.message));
        } else {
            let message = self.shown(&refused.message);
            say(&format!("{bold}{red}error{plain}{bold}: {message}{plain}"));
        }
        if let Some(help) = &refused.help {
            say(&self.shown(&format!("  help: {help}")));
        }
    }
}
