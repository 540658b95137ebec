//! A YAML text twice: as `serde_yaml`'s values, and as the places where they stand.
//!
//! `serde_yaml` keeps no places, so `saphyr-parser`'s events give them. Where the two readings differ in
//! shape the file is refused. Aliases, tags and further documents are refused: settings need none of
//! them, and without aliases no small file can become a large one.

use std::{collections::HashMap, ops::Range};

use saphyr_parser::{Event, Marker, Parser, Span};
use serde_yaml::Value;

use crate::diagnostic::{Diagnostic, Level};

/// Larger files are no settings.
const MOST_BYTES: usize = 256 * 1024;
/// Settings nest four levels.
const MOST_LEVELS: usize = 16;

/// A text that was read.
#[derive(Debug)]
pub(super) struct Document {
    value: Value,
    root: Node,
}

#[derive(Debug)]
struct Node {
    span: Range<usize>,
    line: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Scalar,
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
struct Entry {
    key: String,
    span: Range<usize>,
    line: usize,
    node: Node,
}

/// One value of a document, with its place.
#[derive(Clone, Debug)]
pub(super) struct Spot<'a> {
    /// Such as `policy.paths.deny[2]`.
    pub(super) path: String,
    /// The last key of the path, as it is written.
    pub(super) name: String,
    /// Where the key stands; for an item of a list, where the item stands.
    pub(super) key: Range<usize>,
    /// The line of the key, from 1.
    pub(super) line: usize,
    pub(super) value: &'a Value,
    node: &'a Node,
}

impl Document {
    /// Reads a text. The first thing that is wrong with it as YAML is the answer.
    pub(super) fn read(text: &str) -> Result<Document, Box<Diagnostic>> {
        // Windows editors write a byte order mark; both parsers would stumble over it.
        let body = text.strip_prefix('\u{feff}').unwrap_or(text);
        let skipped = text.len() - body.len();
        if text.len() > MOST_BYTES {
            let label = format!("{} bytes", text.len());
            let message = format!("the file is larger than {MOST_BYTES} bytes");
            return Err(broken(0..0, message, label));
        }
        let root = nodes(body, skipped)?;
        if root.is_none() {
            let root = Node { span: 0..0, line: 1, kind: Kind::Map(Vec::new()) };
            return Ok(Document { value: Value::Null, root });
        }
        let value: Value = serde_yaml::from_str(body).map_err(|error| {
            let mut at = error.location().map_or(0, |location| location.index()).min(body.len());
            while !body.is_char_boundary(at) {
                at -= 1;
            }
            at += skipped;
            broken(at..at, "the file is not valid YAML".to_owned(), error.to_string())
        })?;
        match root {
            Some(root) if agree(&root, &value) => Ok(Document { value, root }),
            Some(Node { span, .. }) => {
                let label = "keys must be plain words, without tags or numbers".to_owned();
                Err(broken(span, "the file can be read in two ways".to_owned(), label))
            }
            None => Err(broken(0..0, "the file is empty".to_owned(), String::new())),
        }
    }

    /// The outermost value.
    pub(super) fn root(&self) -> Spot<'_> {
        Spot {
            path: String::new(),
            name: String::new(),
            key: self.root.span.clone(),
            line: self.root.line,
            value: &self.value,
            node: &self.root,
        }
    }
}

impl<'a> Spot<'a> {
    /// What a caret should point at: the value where it is one word, else its key.
    pub(super) fn caret(&self) -> Range<usize> {
        match self.node.kind {
            Kind::Scalar if !self.node.span.is_empty() => self.node.span.clone(),
            Kind::Scalar | Kind::List(_) | Kind::Map(_) => self.key.clone(),
        }
    }

    /// The values of a map with their keys, in the order of the file; of anything else none.
    pub(super) fn fields(&self) -> Vec<Spot<'a>> {
        self.entries().map(|(entry, value)| self.field(entry, value)).collect()
    }

    fn entries(&self) -> impl Iterator<Item = (&'a Entry, &'a Value)> + use<'a> {
        let both = match (&self.node.kind, self.value) {
            (Kind::Map(entries), Value::Mapping(values)) => {
                Some(entries.iter().zip(values.values()))
            }
            (Kind::Scalar | Kind::List(_) | Kind::Map(_), _) => None,
        };
        both.into_iter().flatten()
    }

    fn field(&self, entry: &'a Entry, value: &'a Value) -> Spot<'a> {
        let separator = if self.path.is_empty() { "" } else { "." };
        Spot {
            path: format!("{}{separator}{}", self.path, entry.key),
            name: entry.key.clone(),
            key: entry.span.clone(),
            line: entry.line,
            value,
            node: &entry.node,
        }
    }

    /// The values of a list; of anything else none.
    pub(super) fn items(&self) -> Vec<Spot<'a>> {
        let (Kind::List(nodes), Value::Sequence(values)) = (&self.node.kind, self.value) else {
            return Vec::new();
        };
        let numbered = nodes.iter().zip(values).enumerate();
        numbered
            .map(|(at, (node, value))| Spot {
                path: format!("{}[{at}]", self.path),
                name: self.name.clone(),
                // A map's or list's own span may end lines later: the caret takes the first character.
                key: match node.kind {
                    Kind::Scalar => node.span.clone(),
                    Kind::List(_) | Kind::Map(_) => node.span.start..node.span.start + 1,
                },
                line: node.line,
                value,
                node,
            })
            .collect()
    }

    /// The value at a path of plain keys, such as `policy.paths.deny`.
    pub(super) fn find(&self, path: &str) -> Option<Spot<'a>> {
        path.split('.').try_fold(self.clone(), |spot, key| {
            let (entry, value) = spot.entries().find(|(entry, _)| entry.key == key)?;
            Some(spot.field(entry, value))
        })
    }
}

fn broken(span: Range<usize>, message: String, label: String) -> Box<Diagnostic> {
    let level = Level::Error;
    Box::new(Diagnostic { level, code: "C001", message, span, label, also: None, help: None })
}

/// A list or map that is being read, with the key that waits for its value.
struct Open {
    node: Node,
    key: Option<(String, Range<usize>, usize)>,
    /// Where each key of a map stands.
    keys: HashMap<String, Range<usize>>,
}

/// The places of all values; `None` for a text without any.
fn nodes(body: &str, skipped: usize) -> Result<Option<Node>, Box<Diagnostic>> {
    // The parser counts characters.
    let mut offsets: Vec<usize> = body.char_indices().map(|(at, _)| at + skipped).collect();
    offsets.push(body.len() + skipped);
    let offset = |marker: &Marker| offsets[marker.index().min(offsets.len() - 1)];
    let range = |span: &Span| {
        let (start, end) = (offset(&span.start), offset(&span.end));
        start..end.max(start)
    };
    let refused = |span: &Span, message: &str, label: &str| {
        Err(broken(range(span), message.to_owned(), label.to_owned()))
    };

    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    let mut documents = 0;
    for event in Parser::new_from_str(body) {
        let (event, span) = event.map_err(|error| {
            let at = offset(error.marker());
            broken(at..at, "the file is not valid YAML".to_owned(), error.info().to_owned())
        })?;
        let tag = match &event {
            Event::Scalar(_, _, _, tag)
            | Event::SequenceStart(_, tag)
            | Event::MappingStart(_, tag) => tag.is_some(),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::Alias(_)
            | Event::SequenceEnd
            | Event::MappingEnd => false,
        };
        if tag {
            return refused(&span, "tags such as `!name` are not used in settings", "a tag");
        }
        let line = span.start.line();
        let finished = match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => None,
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return refused(&span, "the file holds more than one document", "the second");
                }
                None
            }
            Event::Alias(_) => {
                let label = "write the value out";
                return refused(&span, "aliases such as `*name` are not used in settings", label);
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if open.len() >= MOST_LEVELS {
                    return refused(&span, "settings do not nest so deep", "too deep");
                }
                let list = matches!(event, Event::SequenceStart(..));
                let kind = if list { Kind::List(Vec::new()) } else { Kind::Map(Vec::new()) };
                let node = Node { span: range(&span), line, kind };
                open.push(Open { node, key: None, keys: HashMap::new() });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|open| (open.node, None)),
            Event::Scalar(text, ..) => {
                let mut span = range(&span);
                // A plain word's span may take in the blanks and the comment's line end behind it.
                let start = span.start - skipped;
                span.end = span.start + body[start..span.end - skipped].trim_end().len();
                Some((Node { span, line, kind: Kind::Scalar }, Some(text.into_owned())))
            }
        };
        let Some((node, text)) = finished else { continue };
        let Some(parent) = open.last_mut() else {
            root = Some(node);
            continue;
        };
        match (&mut parent.node.kind, parent.key.take(), text) {
            (Kind::List(nodes), _, _) => nodes.push(node),
            (Kind::Map(entries), Some((key, span, line)), _) => {
                if let Some(first) = parent.keys.insert(key.clone(), span.clone()) {
                    return Err(twice(&key, first, span));
                }
                entries.push(Entry { key, span, line, node });
            }
            (Kind::Map(_), None, Some(text)) => parent.key = Some((text, node.span, node.line)),
            (Kind::Map(_), None, None) | (Kind::Scalar, _, _) => {
                let label = "this is a list or a map".to_owned();
                return Err(broken(node.span, "a key must be a word".to_owned(), label));
            }
        }
    }
    Ok(root)
}

fn twice(key: &str, first: Range<usize>, second: Range<usize>) -> Box<Diagnostic> {
    Box::new(Diagnostic {
        level: Level::Error,
        code: "C003",
        message: format!("`{key}` is set twice"),
        span: second,
        label: "set again here".to_owned(),
        also: Some((first, "first set here".to_owned())),
        help: Some("keep one of them".to_owned()),
    })
}

/// True when places and values have the same shape and the same keys.
fn agree(node: &Node, value: &Value) -> bool {
    match (&node.kind, value) {
        (Kind::Map(entries), Value::Mapping(values)) => {
            entries.len() == values.len()
                && entries.iter().zip(values).all(|(entry, (key, value))| {
                    key.as_str() == Some(&entry.key) && agree(&entry.node, value)
                })
        }
        (Kind::List(nodes), Value::Sequence(values)) => {
            nodes.len() == values.len() && nodes.iter().zip(values).all(|(n, v)| agree(n, v))
        }
        (Kind::Scalar, value) => {
            !matches!(value, Value::Mapping(_) | Value::Sequence(_) | Value::Tagged(_))
        }
        (Kind::Map(_) | Kind::List(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'t>(text: &'t str, path: &str) -> (&'t str, &'t str, usize) {
        let document = Document::read(text).unwrap();
        let spot = document.root().find(path).unwrap();
        (&text[spot.key.clone()], &text[spot.caret()], spot.line)
    }

    fn refused(text: &str) -> Diagnostic {
        *Document::read(text).unwrap_err()
    }

    #[test]
    fn every_value_knows_its_place() {
        let text = "# é\na:\n  bé: 12   # twelve\n  c: [x, \"y z\"]\nd: 'q'\n";
        assert_eq!(at(text, "a.bé"), ("bé", "12", 3));
        assert_eq!(at(text, "d"), ("d", "'q'", 5));
        assert_eq!(at(text, "a.c"), ("c", "c", 4));
        let document = Document::read(text).unwrap();
        let items = document.root().find("a.c").unwrap().items();
        assert_eq!(&text[items[1].caret()], "\"y z\"");
        assert_eq!(items[1].path, "a.c[1]");
    }

    #[test]
    fn places_are_right_behind_a_byte_order_mark_and_windows_line_ends() {
        let text = "\u{feff}a: 1\r\nb:\r\n  c: two\r\n";
        assert_eq!(at(text, "b.c"), ("c", "two", 3));
    }

    #[test]
    fn a_text_without_values_is_an_empty_map() {
        for text in ["", "\u{feff}", "# only a comment\n", "---\n", "\n\n"] {
            assert!(Document::read(text).unwrap().root().fields().is_empty(), "{text:?}");
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_shown_with_both_places() {
        let text = "a: 1\nb: 2\n\"a\": 3\n";
        let error = refused(text);
        assert_eq!((error.code, &text[error.span]), ("C003", "\"a\""));
        assert_eq!(error.also.unwrap().0, 0..1);
    }

    #[test]
    fn what_settings_do_not_need_is_refused_at_its_place() {
        for (text, place) in [
            ("a: &x 1\nb: *x\n", "*x"),
            ("a: 1\n---\nb: 2\n", "---"),
            ("a: !!str 1\n", "1"),
            ("? [a]\n: 1\n", "["),
        ] {
            let error = refused(text);
            assert_eq!(error.code, "C001");
            assert!(
                text[error.span.start..].starts_with(place) || text.contains("!!"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn settings_nest_a_few_levels_and_no_more() {
        let nested = |levels| format!("a: {}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(Document::read(&nested(MOST_LEVELS - 1)).is_ok());
        assert_eq!(refused(&nested(MOST_LEVELS)).label, "too deep");
    }

    #[test]
    fn no_text_makes_it_panic_or_grow() {
        let mut bomb = String::from("a0: &a0 [x]\n");
        for n in 1..40 {
            bomb.push_str(&format!("a{n}: &a{n} [*a{p}, *a{p}]\n", p = n - 1));
        }
        let deep = "[".repeat(100_000);
        for text in [
            "\ta: 1\n",
            "a:\n\t- b\n",
            "a: [1\n",
            "a: \"x\n",
            "\0",
            "a: b: c\n",
            "- ]\n",
            "%",
            "a: @x\n",
            "1: 2\n",
            "~: 1\n",
            "yes: {<<: 3}\n",
            ": :\n",
            "\u{feff}\u{feff}",
            "a: 'é",
            "é: [",
            bomb.as_str(),
            deep.as_str(),
        ] {
            if let Err(error) = Document::read(text) {
                assert!(text.get(error.span.clone()).is_some(), "{error:?}");
            }
        }
        assert!(Document::read(&bomb).is_err() && Document::read(&deep).is_err());
    }
}
