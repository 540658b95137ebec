//! Field lines: `Key: value` in its everyday spellings, and which keys there are.
//!
//! Knows no types; what a value means is read in `value`.

use std::{collections::HashMap, ops::Range};

/// The fields that a plan can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    Alignment,
    EstimatedLines,
    Tests,
    Safety,
    Status,
    AutoApproved,
    Approved,
    DependsOn,
    Files,
    /// `Scope`, which people also use for prose.
    Scope,
    Acceptance,
    Model,
    Attempts,
    Timeout,
    Budget,
    Reason,
    Risk,
    Id,
    /// Read by people and the agent only: priority, type, context and so on.
    Told,
}

/// Names in the order in which a misspelled one is matched. The first name of a key is its own.
const NAMES: &[(Key, &[&str])] = &[
    (Key::Alignment, &["alignment score", "alignment", "score"]),
    (
        Key::EstimatedLines,
        &["estimated lines", "estimate", "estimated", "est lines", "lines", "loc", "size"],
    ),
    (Key::Tests, &["tests defined", "tests", "test"]),
    (Key::Safety, &["safety check", "safety"]),
    (Key::Status, &["status", "state"]),
    (Key::AutoApproved, &["auto approved"]),
    (Key::Approved, &["approved", "approved by"]),
    (
        Key::DependsOn,
        &["depends on", "depends", "dependencies", "after", "needs", "blocked by", "requires"],
    ),
    (Key::Files, &["files", "file", "paths", "touches"]),
    (Key::Scope, &["scope"]),
    (
        Key::Acceptance,
        &["acceptance", "acceptance criteria", "done when", "verify", "definition of done"],
    ),
    (Key::Model, &["model"]),
    (Key::Attempts, &["attempts", "max attempts"]),
    (Key::Timeout, &["timeout", "time limit"]),
    (Key::Budget, &["budget", "max cost"]),
    (Key::Reason, &["reason", "why"]),
    (Key::Risk, &["risk", "risk score", "risk level"]),
    (Key::Id, &["id", "task id"]),
    (
        Key::Told,
        &[
            "priority",
            "effort",
            "type",
            "issue",
            "closes",
            "fixes",
            "use",
            "context",
            "notes",
            "note",
            "description",
            "details",
            "question",
            "questions",
            "answer",
            "answers",
        ],
    ),
];

/// Words that are no misspelling of a field though they are near one.
const NEAR_BUT_MEANT: &[&str] =
    &["stage", "stats", "store", "model", "modes", "paths", "steps", "files"];

impl Key {
    /// The name we use for it.
    pub(super) fn name(self) -> &'static str {
        NAMES.iter().find(|(key, _)| *key == self).map_or("", |(_, names)| names[0])
    }

    fn from_name(name: &str) -> Option<Key> {
        NAMES.iter().find(|(_, names)| names.contains(&name)).map(|(key, _)| *key)
    }
}

/// A line that has the form of a field. Ranges count in the text that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// None for a key we do not know.
    pub(super) key: Option<Key>,
    /// The key in lower case, with single blanks.
    pub(super) name: String,
    pub(super) key_span: Range<usize>,
    pub(super) value_span: Range<usize>,
}

/// Longest key, in bytes.
const LONGEST_KEY: usize = 40;

/// Reads `text`, the part of a line behind marker and box, as a field.
pub(super) fn read(text: &str) -> Option<Field> {
    let start = text.char_indices().take(12).find(|(_, c)| c.is_alphanumeric())?.0;
    let signs = &text[..start];
    // Emphasis or a picture may stand before a key, but no bracket or quotation mark.
    if !signs.chars().all(|c| matches!(c, '*' | '_' | ' ' | '\t') || !c.is_ascii()) {
        return None;
    }
    let (length, colon) = text[start..]
        .char_indices()
        .take_while(|(at, _)| *at <= LONGEST_KEY)
        .find(|(_, c)| matches!(c, ':' | '：'))?;
    let mut key = text[start..start + length].trim_end();
    let emphasis = signs.trim_start_matches(|c| c != '*' && c != '_').trim_end();
    let closed = key.trim_end_matches(['*', '_']).len() < key.len();
    key = key.trim_end_matches(['*', '_']).trim_end();
    if let Some(at) = key.find('(').filter(|_| key.ends_with(')')) {
        key = key[..at].trim_end();
    }
    let name = normal(key)?;
    let mut from = start + length + colon.len_utf8();
    if text[from..].starts_with(':') {
        from += 1; // `key:: value`
    }
    let mut to = text.trim_end().len().max(from);
    if !closed && !emphasis.is_empty() {
        if text[from..].starts_with(emphasis) {
            from += emphasis.len();
        } else if text[from..to].ends_with(emphasis) {
            to -= emphasis.len(); // `_key: value_`
        }
    }
    if let Some(comment) = text[from..to].find("<!--") {
        to = from + comment;
    }
    let value = text[from..to].trim();
    from = if value.is_empty() {
        from
    } else {
        from + text[from..to].len() - text[from..to].trim_start().len()
    };
    Some(Field {
        key: Key::from_name(&name),
        name,
        key_span: start..start + key.len(),
        value_span: from..from + value.len(),
    })
}

/// Lower case, single blanks, `_` `-` `.` as blanks. None for what cannot be a key.
fn normal(key: &str) -> Option<String> {
    let mut name = String::with_capacity(key.len());
    for c in key.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        } else if c.is_alphanumeric() {
            name.extend(c.to_lowercase());
        } else if matches!(c, ' ' | '\t' | '_' | '-' | '.') {
            if !name.ends_with(' ') {
                name.push(' ');
            }
        } else {
            return None;
        }
    }
    let name = name.trim_end();
    (!name.is_empty() && name.split(' ').count() <= 4).then(|| name.to_owned())
}

/// Finds the field that a misspelled key stands for, and remembers its answers: a plan of a hundred
/// thousand tasks spells few keys.
#[derive(Debug, Default)]
pub(super) struct Spelling {
    known: HashMap<String, Option<(Key, &'static str)>>,
}

impl Spelling {
    /// The key and its spelling that `name` is one or two slips away from.
    pub(super) fn nearest(&mut self, name: &str) -> Option<(Key, &'static str)> {
        if let Some(answer) = self.known.get(name) {
            return *answer;
        }
        let answer = nearest(name);
        // Bounded, so that a hostile plan cannot fill the memory with keys.
        if self.known.len() < 10_000 {
            self.known.insert(name.to_owned(), answer);
        }
        answer
    }
}

fn nearest(name: &str) -> Option<(Key, &'static str)> {
    if NEAR_BUT_MEANT.contains(&name) {
        return None;
    }
    let letters = letters(name);
    let mut best = None;
    for &(key, names) in NAMES {
        for &known in names {
            // Short names are near to everything.
            let allowed = match known.len() {
                0..=4 => continue,
                5..=7 => 1,
                _ => 2,
            };
            let far = known.len().abs_diff(name.len()) > allowed
                || (letters ^ self::letters(known)).count_ones() as usize > 2 * allowed;
            if far {
                continue;
            }
            let slips = strsim::osa_distance(known, name);
            if slips <= allowed && best.is_none_or(|(fewest, _, _)| slips < fewest) {
                best = Some((slips, key, names[0]));
                if key == Key::Told {
                    best = Some((slips, key, known));
                }
            }
        }
    }
    best.map(|(_, key, known)| (key, known))
}

/// The set of letters, for refusing distant words without comparing them.
fn letters(word: &str) -> u32 {
    word.bytes().fold(0, |set, byte| set | 1 << (byte & 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(Option<Key>, &str, &str)> {
        read(text).map(|field| (field.key, &text[field.key_span], &text[field.value_span]))
    }

    #[test]
    fn a_key_is_known_in_every_spelling() {
        for (text, key, value) in [
            ("Status: READY", "Status", "READY"),
            ("**Status:** READY  ", "Status", "READY"),
            ("**Status**: READY", "Status", "READY"),
            ("**Status: READY**", "Status", "READY"),
            ("_status: READY_", "status", "READY"),
            ("STATUS :: READY", "STATUS", "READY"),
            ("🚫 Status：READY <!-- was DONE -->", "Status", "READY"),
            ("Status:", "Status", ""),
        ] {
            assert_eq!(parts(text), Some((Some(Key::Status), key, value)), "{text}");
        }
        assert_eq!(parts("est._lines: 4"), Some((Some(Key::EstimatedLines), "est._lines", "4")));
        assert_eq!(parts("**Files**: **/*.rs"), Some((Some(Key::Files), "Files", "**/*.rs")));
        assert_eq!(parts("**Files:** **/*.rs"), Some((Some(Key::Files), "Files", "**/*.rs")));
        assert_eq!(
            parts("Estimated lines (LOC): 4"),
            Some((Some(Key::EstimatedLines), "Estimated lines", "4"))
        );
        assert_eq!(parts("(Status: x)"), None);
        assert_eq!(parts("`Status: x`"), None);
        assert_eq!(parts("see http://x"), Some((None, "see http", "//x")));
    }

    #[test]
    fn a_slip_is_noticed_and_a_word_is_not() {
        let mut spelling = Spelling::default();
        for (slip, key, name) in [
            ("estimted lines", Key::EstimatedLines, "estimated lines"),
            ("stauts", Key::Status, "status"),
            ("aligment", Key::Alignment, "alignment score"),
            ("dependes on", Key::DependsOn, "depends on"),
            ("prioirty", Key::Told, "priority"),
        ] {
            assert_eq!(spelling.nearest(slip), Some((key, name)), "{slip}");
        }
        for word in ["stage", "http", "implementation", "owner", "date", "", "ä"] {
            assert_eq!(spelling.nearest(word), None, "{word}");
        }
    }
}
