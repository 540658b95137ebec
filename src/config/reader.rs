//! Typed values out of a document, and a message with its place for every value that is not what it must
//! be. Reading goes on after an error, so that all of them are seen at once.

use std::ops::{Range, RangeInclusive};

use serde::de::DeserializeOwned;
use serde_yaml::Value;

use super::{
    keys::{Key, lookup, nearest},
    parse_duration, parse_millis, parse_money, parse_size,
    yaml::Spot,
};
use crate::{
    budget::Usd,
    diagnostic::{Diagnostic, Level},
    policy::{check_glob, check_regex},
};

/// Messages up to which an unknown key is compared with all known ones. A file with more mistakes is no slip of a
/// pen, and may have thirty thousand.
const MOST_COMPARED: usize = 100;

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) found: Vec<Diagnostic>,
}

impl Reader {
    pub(super) fn error(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
        help: Option<String>,
    ) {
        let (message, label) = (message.into(), label.into());
        let level = Level::Error;
        self.found.push(Diagnostic { level, code, message, span, label, also: None, help });
    }

    /// Something that is allowed and probably not meant.
    pub(super) fn warning(&mut self, span: Range<usize>, message: &str, label: &str, help: &str) {
        self.found.push(Diagnostic {
            level: Level::Warning,
            code: "C020",
            message: message.to_owned(),
            span,
            label: label.to_owned(),
            also: None,
            help: Some(help.to_owned()),
        });
    }

    /// A value of the wrong kind or form.
    pub(super) fn wrong(&mut self, spot: &Spot<'_>, label: impl Into<String>, help: &str) {
        let message = format!("`{}` cannot be used as it is", spot.path);
        let help = (!help.is_empty()).then(|| help.to_owned());
        self.error("C004", spot.caret(), message, label, help);
    }

    /// Compares all keys below `spot` with a table. `below` is the path of `spot` in the table.
    pub(super) fn keys(&mut self, spot: &Spot<'_>, below: &str, table: &[(&str, Key)]) {
        if !matches!(spot.value, Value::Mapping(_) | Value::Null) {
            let label = "expected settings, one `key: value` to a line";
            self.wrong(spot, label, "");
            return;
        }
        for field in spot.fields() {
            let path = if below.is_empty() {
                field.name.clone()
            } else {
                format!("{below}.{}", field.name)
            };
            // A dot in a key is no nesting: it would look like a known path and be read by nobody.
            let key = lookup(table, &path).filter(|_| !field.name.contains('.'));
            match key {
                None => self.unknown(&field, below, table),
                Some(Key::Section) => self.keys(&field, &path, table),
                Some(Key::Value) => {}
                Some(Key::Only(held)) if as_text(field.value).as_deref() == Some(held) => {}
                Some(Key::Only(held)) => {
                    let message = format!("this version holds only `{}: {held}`", field.path);
                    let help = Some("remove it".to_owned());
                    self.error("C009", field.caret(), message, "not supported yet", help);
                }
                Some(Key::Later) => {
                    let message = format!("`{}` is not supported by this version yet", field.path);
                    let help = "remove it: nothing would hold what it promises".to_owned();
                    self.error("C009", field.key, message, "not supported yet", Some(help));
                }
                Some(Key::UserOnly) => self.users(&field),
            }
        }
    }

    fn unknown(&mut self, field: &Spot<'_>, below: &str, table: &[(&str, Key)]) {
        let compared = if self.found.len() < MOST_COMPARED { table } else { &[] };
        let siblings = compared.iter().filter_map(|(path, _)| match path.rsplit_once('.') {
            Some((parent, last)) => (parent == below).then_some(last),
            None => below.is_empty().then_some(*path),
        });
        let elsewhere = || {
            let last = field.name.rsplit('.').next().unwrap_or(&field.name);
            table.iter().map(|(path, _)| *path).find(|path| path.rsplit('.').next() == Some(last))
        };
        let (label, help) = match (nearest(&field.name, siblings), elsewhere()) {
            (_, Some(path)) if path == field.name => {
                let nested =
                    path.replace('.', ": {") + ": …" + &"}".repeat(path.matches('.').count());
                ("a key holds one name".to_owned(), Some(format!("nest it: `{nested}`")))
            }
            (Some(near), _) => (format!("did you mean `{near}`?"), None),
            (None, Some(path)) => (format!("did you mean `{path}`?"), None),
            (None, None) => ("no such setting".to_owned(), None),
        };
        let message = format!("unknown setting `{}`", field.path);
        self.error("C002", field.key.clone(), message, label, help);
    }

    /// A key that a repository must not set.
    pub(super) fn users(&mut self, field: &Spot<'_>) {
        let message = format!("a repository may not set `{}`", field.path);
        let label = "belongs in your own file";
        let help = "move it to nightshift/nightshift.yml in your configuration directory \
                    ($XDG_CONFIG_HOME, usually ~/.config): a repository chooses no programs and takes \
                    down no walls";
        self.error("C010", field.key.clone(), message, label, Some(help.to_owned()));
    }

    /// Through serde; `None` after a message.
    fn typed<T: DeserializeOwned>(&mut self, spot: &Spot<'_>, expected: &str) -> Option<T> {
        if spot.value.is_null() {
            self.wrong(spot, format!("no value; expected {expected}"), "remove the key, or set it");
            return None;
        }
        match serde_yaml::from_value(spot.value.clone()) {
            Ok(value) => Some(value),
            Err(_) => {
                self.wrong(spot, format!("expected {expected}"), "");
                None
            }
        }
    }

    pub(super) fn number(&mut self, spot: &Spot<'_>, range: RangeInclusive<u32>) -> Option<u32> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let number: u32 = self.typed(spot, &expected)?;
        if range.contains(&number) {
            return Some(number);
        }
        self.wrong(spot, format!("expected {expected}"), "");
        None
    }

    /// A whole number of something: bytes, tokens.
    pub(super) fn count(&mut self, spot: &Spot<'_>, of: &str) -> Option<u64> {
        self.typed(spot, &format!("a whole number of {of}"))
    }

    pub(super) fn flag(&mut self, spot: &Spot<'_>) -> Option<bool> {
        self.typed(spot, "`true` or `false`")
    }

    /// One line of text that is not empty.
    pub(super) fn text(&mut self, spot: &Spot<'_>) -> Option<String> {
        let text: String = match spot.value {
            Value::Number(_) | Value::Bool(_) => {
                self.wrong(spot, "expected text", "put it in quotes");
                return None;
            }
            Value::Null
            | Value::String(_)
            | Value::Sequence(_)
            | Value::Mapping(_)
            | Value::Tagged(_) => self.typed(spot, "text")?,
        };
        if text.trim().is_empty() || text.trim_end().contains(char::is_control) {
            self.wrong(spot, "expected one line of text", "");
            return None;
        }
        Some(text)
    }

    /// One of a few words.
    pub(super) fn word<T: DeserializeOwned>(
        &mut self,
        spot: &Spot<'_>,
        words: &[&str],
    ) -> Option<T> {
        let word = as_text(spot.value).unwrap_or_default();
        if words.contains(&word.as_str()) {
            return self.typed(spot, "a word");
        }
        let label = match nearest(&word, words.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("expected {}", words.join(", ")),
        };
        self.wrong(spot, label, &format!("one of: {}", words.join(", ")));
        None
    }

    /// A list of texts, each kept only if `check` finds nothing; one text stands for a list of one.
    pub(super) fn list(
        &mut self,
        spot: &Spot<'_>,
        mut check: impl FnMut(&mut Reader, &Spot<'_>, &str) -> bool,
    ) -> Option<Vec<String>> {
        if !matches!(spot.value, Value::Sequence(_)) {
            self.wrong(spot, "expected a list", "write `[one, two]`, or one `- item` to a line");
            return None;
        }
        let before = self.found.len();
        let mut list = Vec::new();
        for item in spot.items() {
            if let Some(text) = self.text(&item)
                && check(self, &item, &text)
            {
                list.push(text);
            }
        }
        (self.found.len() == before).then_some(list)
    }

    pub(super) fn words(&mut self, spot: &Spot<'_>) -> Option<Vec<String>> {
        self.list(spot, |_, _, _| true)
    }

    pub(super) fn globs(&mut self, spot: &Spot<'_>) -> Option<Vec<String>> {
        self.list(spot, |reader, item, glob| match check_glob(glob) {
            Ok(()) => true,
            Err(why) => {
                let message = format!("`{}` is not a valid glob", item.path);
                reader.error("C005", item.caret(), message, why, None);
                false
            }
        })
    }

    pub(super) fn patterns(&mut self, spot: &Spot<'_>) -> Option<Vec<String>> {
        self.list(spot, |reader, item, pattern| match check_regex(pattern) {
            Ok(()) => true,
            Err(why) => {
                let message = format!("`{}` is not a valid regular expression", item.path);
                let help =
                    "in double quotes YAML needs `\\\\` for a backslash; single quotes need one";
                reader.error("C006", item.caret(), message, why, Some(help.to_owned()));
                false
            }
        })
    }

    /// Paths of files inside the repository, without wildcards.
    pub(super) fn path(&mut self, spot: &Spot<'_>) -> Option<String> {
        let path = self.text(spot)?;
        match check_glob(&path) {
            Ok(()) => Some(path),
            Err(why) => {
                self.wrong(spot, why, "");
                None
            }
        }
    }

    /// Seconds.
    pub(super) fn duration(&mut self, spot: &Spot<'_>) -> Option<u64> {
        self.time(spot, parse_duration)
    }

    /// Durations in milliseconds, `most` of them at most.
    pub(super) fn pauses(&mut self, spot: &Spot<'_>, most: usize) -> Option<Vec<u64>> {
        if !matches!(spot.value, Value::Sequence(_)) {
            self.wrong(spot, "expected a list", "write `[2s, 4s, 8s]`; `[]` for none");
            return None;
        }
        let items = spot.items();
        if items.len() > most {
            self.wrong(spot, format!("expected at most {most}"), "");
            return None;
        }
        // All of them are looked at, so that every wrong one is told.
        let read: Vec<Option<u64>> =
            items.iter().map(|item| self.time(item, parse_millis)).collect();
        read.into_iter().collect()
    }

    fn time(&mut self, spot: &Spot<'_>, read: impl Fn(&str) -> Result<u64, String>) -> Option<u64> {
        let (label, help) = match spot.value {
            Value::String(text) => match read(text) {
                Ok(time) => return Some(time),
                Err(why) => (why, "write for example `30m`, `4h` or `1h 30m`".to_owned()),
            },
            Value::Number(number) => (
                "a number without a unit".to_owned(),
                format!("write `{number}s`, `{number}m` or `{number}h`"),
            ),
            Value::Null
            | Value::Bool(_)
            | Value::Sequence(_)
            | Value::Mapping(_)
            | Value::Tagged(_) => {
                ("expected a duration".to_owned(), "write for example `30m`".to_owned())
            }
        };
        let message = format!("`{}` is not a duration", spot.path);
        self.error("C007", spot.caret(), message, label, Some(help));
        None
    }

    /// Bytes, at least `least`; with `zero` also none at all, which is no limit.
    pub(super) fn size(&mut self, spot: &Spot<'_>, least: u64, zero: bool) -> Option<u64> {
        let read = match as_text(spot.value) {
            Some(text) => parse_size(&text),
            None => Err("expected a size".to_owned()),
        };
        match read {
            Ok(size) if size >= least || size == 0 && zero => return Some(size),
            Ok(_) => self.wrong(spot, format!("expected at least {}MiB", least >> 20), ""),
            Err(why) => self.wrong(spot, why, "write for example `512MiB` or `8GiB`"),
        }
        None
    }

    /// Dollars.
    pub(super) fn money(&mut self, spot: &Spot<'_>) -> Option<Usd> {
        let read = match spot.value {
            Value::Number(number) => parse_money(&number.to_string()),
            Value::Null
            | Value::Bool(_)
            | Value::String(_)
            | Value::Sequence(_)
            | Value::Mapping(_)
            | Value::Tagged(_) => Err("expected a number".to_owned()),
        };
        match read {
            Ok(usd) => Some(usd),
            Err(why) => {
                let message = format!("`{}` is not an amount of money", spot.path);
                let help =
                    "US dollars as a number without a sign, such as `10` or `2.50`; 0 = no limit";
                self.error("C008", spot.caret(), message, why, Some(help.to_owned()));
                None
            }
        }
    }
}

/// A scalar as it would be written; `None` for lists, maps and nothing.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => None,
    }
}
