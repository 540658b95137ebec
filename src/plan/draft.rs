//! A task while its lines are being read: takes fields, lists and notes, and becomes a [`Task`].
//!
//! Knows nothing of other tasks; what needs the whole plan is checked in `checks`.

use std::{fmt::Write as _, ops::Range};

use sha2::{Digest, Sha256};

use super::{
    Checkbox, Fields, Section, StatusField, Task,
    field::{Field, Key, Spelling},
    line::{Id, Line},
    value,
};
use crate::{
    diagnostic::{Diagnostic, Level},
    ids::TaskId,
};

/// A field whose value goes on in the lines below it.
#[derive(Clone, Copy, Debug)]
struct OpenList {
    key: Key,
    indent: usize,
    /// Whether the key stands behind a marker itself.
    marked: bool,
}

/// A task that is still being read.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) task: Task,
    /// What an error about the whole task points at.
    pub(super) name_span: Range<usize>,
    /// The plan gives the id; it is no slug of the title.
    pub(super) named: bool,
    /// Kept although nothing but this says that it is a task.
    pub(super) certain: bool,
    /// The heading's level, for a task that is a heading.
    pub(super) heading: Option<u8>,
    /// Messages about this task.
    pub(super) diagnostics: Vec<Diagnostic>,
    /// What it depends on, as written.
    pub(super) depends_on: Vec<(String, Range<usize>)>,
    list: Option<OpenList>,
    /// The fields seen, with the place of their keys.
    seen: Vec<(Key, Range<usize>)>,
    /// The text that makes the task what it is.
    hash: Sha256,
    /// The text that an approval names, and where.
    approved_text: Option<(String, Range<usize>)>,
}

impl Draft {
    /// Begins a task. None if nothing can name it.
    pub(super) fn begin(line: &Line<'_>, number: usize, section: &Section) -> Option<Draft> {
        let mut depends_on = Vec::new();
        let title = clean_title(line, &mut depends_on);
        let named = line.id.is_some();
        let (id, name_span) = match &line.id {
            Some(Id { text, span, .. }) => (TaskId::new(text.clone()).ok()?, span.clone()),
            None if title.is_empty() => return None,
            None => (slug(&title)?, title_place(line)),
        };
        let mut hash = Sha256::new();
        hash.update(line.body.trim_end());
        Some(Draft {
            name_span,
            named,
            certain: line.is_strong() || line.tick.is_some(),
            heading: None,
            diagnostics: Vec::new(),
            depends_on,
            list: None,
            seen: Vec::new(),
            hash,
            approved_text: None,
            task: Task {
                id,
                title,
                section: section.clone(),
                line: number,
                span: line.span.clone(),
                title_span: line.span.clone(),
                checkbox: line.tick.map(|tick| Checkbox {
                    at: tick.at,
                    checked: matches!(tick.mark, 'x' | 'X'),
                    other: !matches!(tick.mark, 'x' | 'X' | ' '),
                }),
                fields: Fields::default(),
                notes: Vec::new(),
                text: String::new(),
                text_hash: String::new(),
                errors: Vec::new(),
            },
        })
    }

    /// Ends the task. `source` is the plan's text.
    pub(super) fn finish(&mut self, source: &str) {
        self.task.text = source.get(self.task.span.clone()).map(str::to_owned).unwrap_or_default();
        for byte in std::mem::take(&mut self.hash).finalize() {
            let _ = write!(self.task.text_hash, "{byte:02x}");
        }
        let Some((text, span)) = self.approved_text.take() else { return };
        if self.task.text_hash.starts_with(&text) {
            self.task.fields.approved = true;
        } else if !self.task.fields.approved {
            self.warn(
                "P015",
                format!("the approval of `{}` is of another text than it has now", self.task.id),
                span,
                "given before the task was edited",
                Some("look at it again, then approve it again".to_owned()),
            );
        }
    }

    /// Whether the task stays one: in a section that says nothing, a list item is a task only if a
    /// status, a box or its form says so.
    pub(super) fn stays(&self) -> bool {
        self.certain
            || self.task.fields.status.is_some()
            || self
                .diagnostics
                .iter()
                .any(|message| message.code == "P005" && message.help.is_some())
    }

    /// Takes a line of which nothing is read: code, a quotation, a table.
    pub(super) fn take_shown(&mut self, text: &str, hidden: bool) {
        self.hash_line(text);
        if !hidden {
            self.task.notes.push(text.to_owned());
        }
    }

    /// Takes any other line of the block.
    pub(super) fn take(
        &mut self,
        line: &Line<'_>,
        text: &str,
        field: Option<Field>,
        spelling: &mut Spelling,
    ) {
        if let Some(approved) = approval_box(line) {
            self.task.fields.approved |= approved;
            return;
        }
        let key = field.as_ref().and_then(|field| field.key);
        if let Some(list) = self.list {
            let deeper = line.indent > list.indent;
            let beside = line.marker.is_some() && !list.marked && line.indent == list.indent;
            let says_status = key == Some(Key::Status)
                && field.as_ref().is_some_and(|field| {
                    value::status(&line.body[field.value_span.clone()]).is_some()
                });
            if !says_status && (deeper || (beside && key.is_none())) {
                self.hash_line(text);
                self.continue_list(list.key, line);
                return;
            }
            self.list = None;
        }
        match field {
            Some(field) if field.key.is_some() => self.take_field(line, text, &field),
            other => {
                if let Some(field) = other {
                    self.check_spelling(line, &field, spelling);
                }
                self.hash_line(text);
                self.task.notes.push(text.to_owned());
            }
        }
    }

    fn hash_line(&mut self, text: &str) {
        // Line ends and blanks at the end differ between checkouts of one text.
        self.hash.update("\n");
        self.hash.update(text.trim_end());
    }

    fn take_field(&mut self, line: &Line<'_>, text: &str, field: &Field) {
        let Some(key) = field.key else { return };
        let at = |span: &Range<usize>| line.body_at + span.start..line.body_at + span.end;
        let span = at(&field.value_span);
        let key_span = at(&field.key_span);
        let value = &line.body[field.value_span.clone()];
        if self.task.fields.first_line.is_none() {
            self.task.fields.first_line = Some(line.span.clone());
        }
        if !matches!(key, Key::Status | Key::Approved | Key::AutoApproved) {
            self.hash_line(text);
        }
        // A scope in words is a note, not a list of files.
        if key == Key::Scope && value::is_prose(value, &value::globs(value)) {
            self.task.notes.push(text.to_owned());
            return;
        }
        let additive =
            matches!(key, Key::DependsOn | Key::Acceptance | Key::Told | Key::AutoApproved);
        let kin = |key| if key == Key::Scope { Key::Files } else { key };
        if let Some((_, first)) = self.seen.iter().find(|(seen, _)| kin(*seen) == kin(key))
            && !additive
        {
            let message = format!("`{}` says `{}` twice", self.task.id, key.name());
            let also = Some((first.clone(), "first said here".to_owned()));
            self.error("P003", message, key_span, "said again here", also, None);
            return;
        }
        self.seen.push((key, key_span.clone()));
        if value.is_empty()
            && matches!(key, Key::DependsOn | Key::Files | Key::Scope | Key::Acceptance)
        {
            let marked = line.marker.is_some();
            self.list = Some(OpenList { key, indent: line.indent, marked });
            return;
        }
        self.read_value(key, value, span, text);
    }

    fn read_value(&mut self, key: Key, value: &str, span: Range<usize>, text: &str) {
        let id = self.task.id.clone();
        let fields = &mut self.task.fields;
        let unreadable = |what: &str| format!("{what} of `{id}` cannot be read");
        match key {
            Key::Alignment => match value::score(value) {
                Some(score) => fields.alignment = Some(score),
                None => self.error(
                    "P004",
                    format!("alignment score of `{id}` is not a number from 0 to 100"),
                    span,
                    "expected `95/100`, `95` or `95%`",
                    None,
                    None,
                ),
            },
            Key::EstimatedLines => match value::lines(value) {
                Some(lines) => fields.estimated_lines = Some(lines),
                None => self.warn(
                    "P008",
                    format!("estimated lines of `{id}` name no number"),
                    span,
                    "expected `10`, `~10` or `10-15`",
                    None,
                ),
            },
            Key::Tests => fields.tests = value::tests(value),
            Key::Safety => fields.safety = Some(value::safety(value)),
            Key::Status => match value::status(value) {
                Some(status) => fields.status = Some(StatusField { status, span }),
                None => {
                    let help =
                        value::nearest_status(value).map(|near| format!("did you mean `{near}`?"));
                    self.error(
                        "P005",
                        format!("status of `{id}` is none that nightshift knows"),
                        span,
                        "expected READY, PENDING, BLOCKED, DONE, FAILED, SKIP or REJECTED",
                        None,
                        help,
                    );
                }
            },
            Key::Approved => {
                fields.approval = Some(span.clone());
                match value::approved_text(value).filter(|_| value::approval(value)) {
                    // Whether it is this text is known when all of it is read.
                    Some(text) => {
                        self.approved_text = Some((text.to_ascii_lowercase(), span));
                    }
                    None => fields.approved |= value::approval(value),
                }
            }
            Key::AutoApproved => {}
            Key::DependsOn => {
                for (id, part) in value::ids(value) {
                    let place = span.start + part.start..span.start + part.end;
                    self.depends_on.push((id.to_owned(), place));
                }
            }
            Key::Files | Key::Scope => self.take_globs(value, span.start),
            Key::Acceptance => fields.acceptance.push(value.to_owned()),
            // As in the configuration: what holds when nobody names one.
            Key::Model => fields.model = value::word(value).filter(|model| model != "default"),
            Key::Attempts => match value::count(value) {
                Some(count) => fields.attempts = Some(count),
                None => {
                    let label = "expected a whole number above zero";
                    self.error("P008", unreadable("attempts"), span, label, None, None);
                }
            },
            Key::Timeout => match value::seconds(value) {
                Some(seconds) => fields.timeout_s = Some(seconds),
                None => {
                    let label = "expected a number with a unit, such as `30m` or `1h 30m`";
                    self.error("P008", unreadable("timeout"), span, label, None, None);
                }
            },
            Key::Budget => match value::micros(value) {
                Some(micros) => fields.budget_micros = Some(micros),
                None => {
                    let label = "expected money, such as `$2.50`";
                    self.error("P008", unreadable("budget"), span, label, None, None);
                }
            },
            Key::Reason => fields.reason = value::word(value).map(|_| value.to_owned()),
            Key::Risk => {
                self.task.fields.risk = value::word(value).map(|_| value.to_owned());
                self.task.notes.push(text.to_owned());
            }
            Key::Id => self.take_id(value, span),
            Key::Told => self.task.notes.push(text.to_owned()),
        }
    }

    /// An id given by a field counts where the title gives none.
    fn take_id(&mut self, value: &str, span: Range<usize>) {
        let text = value.trim_matches(['*', '[', ']', '`', ' ']);
        if self.named || !super::line::is_id(text) {
            return;
        }
        if let Ok(id) = TaskId::new(text) {
            self.task.id = id;
            self.named = true;
            self.name_span = span;
        }
    }

    fn take_globs(&mut self, value: &str, at: usize) {
        for (glob, part) in value::globs(value) {
            match value::glob_fault(glob) {
                None => self.task.fields.files.push(glob.to_owned()),
                Some(why) => {
                    let message = format!("a path of `{}` {why}", self.task.id);
                    let span = at + part.start..at + part.end;
                    let label = "expected a path or glob such as `src/**/*.rs`";
                    self.error("P008", message, span, label, None, None);
                }
            }
        }
    }

    fn continue_list(&mut self, key: Key, line: &Line<'_>) {
        let text = line.body.trim();
        match key {
            Key::DependsOn => {
                for (id, part) in value::ids(line.body) {
                    let place = line.body_at + part.start..line.body_at + part.end;
                    self.depends_on.push((id.to_owned(), place));
                }
            }
            Key::Files | Key::Scope => self.take_globs(line.body, line.body_at),
            Key::Acceptance
            | Key::Alignment
            | Key::EstimatedLines
            | Key::Tests
            | Key::Safety
            | Key::Status
            | Key::AutoApproved
            | Key::Approved
            | Key::Model
            | Key::Attempts
            | Key::Timeout
            | Key::Budget
            | Key::Reason
            | Key::Risk
            | Key::Id
            | Key::Told => match self.task.fields.acceptance.last_mut() {
                // The second line of an item.
                Some(last) if line.marker.is_none() => {
                    last.push(' ');
                    last.push_str(text);
                }
                _ => self.task.fields.acceptance.push(text.to_owned()),
            },
        }
    }

    fn check_spelling(&mut self, line: &Line<'_>, field: &Field, spelling: &mut Spelling) {
        let Some((key, name)) = spelling.nearest(&field.name) else { return };
        let span = line.body_at + field.key_span.start..line.body_at + field.key_span.end;
        let written = &line.body[field.key_span.clone()];
        let message = format!("unknown field `{written}`");
        let help = Some(format!("did you mean `{name}`?"));
        // A misspelled status may be what keeps the task from running.
        let status =
            key == Key::Status && value::status(&line.body[field.value_span.clone()]).is_some();
        if status {
            self.error("P010", message, span, "a status that would be overlooked", None, help);
        } else {
            let label = "not a field nightshift reads; passed to the agent as context";
            self.warn("P010", message, span, label, help);
        }
    }

    /// Adds an error, which makes the task unusable.
    pub(super) fn error(
        &mut self,
        code: &'static str,
        message: String,
        span: Range<usize>,
        label: &str,
        also: Option<(Range<usize>, String)>,
        help: Option<String>,
    ) {
        let label = label.to_owned();
        self.task.errors.push(format!("{code}: {message}"));
        self.diagnostics.push(Diagnostic {
            level: Level::Error,
            code,
            message,
            span,
            label,
            also,
            help,
        });
    }

    fn warn(
        &mut self,
        code: &'static str,
        message: String,
        span: Range<usize>,
        label: &str,
        help: Option<String>,
    ) {
        let label = label.to_owned();
        let level = Level::Warning;
        self.diagnostics.push(Diagnostic { level, code, message, span, label, also: None, help });
    }
}

/// Whether an `Approve` box of a task is ticked. None for a line that is no such box.
pub(super) fn approval_box(line: &Line<'_>) -> Option<bool> {
    let tick = line.tick?;
    let text = line.body.trim();
    let bold = text.starts_with("**");
    let bare = text.trim_start_matches('*');
    let end = bare.find(|c: char| !c.is_alphanumeric()).unwrap_or(bare.len());
    let word = bare[..end].to_lowercase();
    if !matches!(word.as_str(), "approve" | "approved" | "approva" | "approvato") {
        return None;
    }
    // "Approve button works" is something else.
    let rest = bare[end..].trim_start_matches('*').trim_start();
    let alone = !rest.starts_with(char::is_alphanumeric);
    (alone || (bold && bare[end..].starts_with("**"))).then_some(matches!(tick.mark, 'x' | 'X'))
}

/// The title without marks, hints and an inline dependency, which is added to `depends_on`.
fn clean_title(line: &Line<'_>, depends_on: &mut Vec<(String, Range<usize>)>) -> String {
    let at = line.span.end - line.title.len().min(line.span.end);
    let mut title = line.title.trim().to_owned();
    if let Some(comment) = title.find("<!--") {
        title.truncate(comment);
    }
    // ASCII lower case keeps every offset.
    let lower = line.title.to_ascii_lowercase();
    for opening in ["(depends on ", "(depends on: ", "(blocked by ", "(after "] {
        let Some(start) = lower.find(opening) else { continue };
        let from = start + opening.len();
        let Some(length) = lower[from..].find(')') else { continue };
        let ids = value::ids(&line.title[from..from + length]);
        if opening == "(after "
            && !ids.iter().all(|(id, _)| id.contains(|c: char| c.is_ascii_digit()))
        {
            continue;
        }
        for (id, part) in ids {
            depends_on.push((id.to_owned(), at + from + part.start..at + from + part.end));
        }
        title = title.replace(&line.title[start..=from + length], "");
        break;
    }
    let title = title.trim().trim_start_matches("[P]").trim().trim_end_matches('#');
    let title = title.trim_end();
    let title = if title.matches("**").count() % 2 == 1 {
        title.strip_suffix("**").or_else(|| title.strip_prefix("**")).unwrap_or(title)
    } else {
        title
    };
    title.trim().to_owned()
}

fn title_place(line: &Line<'_>) -> Range<usize> {
    let start = line.body_at + line.body.len() - line.body.trim_start().len();
    start..start + line.body.trim().len()
}

/// Longest slug, in bytes.
const LONGEST_SLUG: usize = 48;

/// An id made of a title: its words, as many as fit.
fn slug(title: &str) -> Option<TaskId> {
    let mut slug = String::new();
    for word in title.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let word = word.to_lowercase();
        if slug.is_empty() {
            // One word without blanks can be a whole sentence in some scripts.
            slug.extend(word.chars().scan(0, |length, c| {
                *length += c.len_utf8();
                (*length <= LONGEST_SLUG).then_some(c)
            }));
        } else if slug.len() + 1 + word.len() <= LONGEST_SLUG {
            slug.push('-');
            slug.push_str(&word);
        } else {
            break;
        }
    }
    if slug.is_empty() {
        slug.push_str("task-");
        for byte in Sha256::digest(title.as_bytes()).iter().take(4) {
            let _ = write!(slug, "{byte:02x}");
        }
    }
    TaskId::new(slug).ok()
}
