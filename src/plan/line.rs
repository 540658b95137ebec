//! One line of a plan: its marker, its box, its id, and where the rest begins.
//!
//! Looks at no other line and decides nothing: whether an item is a task depends on its section.

use std::ops::Range;

/// Longest id, in bytes: the limit of `TaskId`.
const LONGEST_ID: usize = 64;

/// What a line begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// An arrow, also one that was read in the wrong encoding, or any signs before `**[id]**`.
    Arrow,
    /// `-`, `*`, `+` or `•`.
    Bullet,
    /// `1.` or `1)`.
    Number,
}

/// A box between marker and title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tick {
    /// Offset of the character between the brackets.
    pub(super) at: usize,
    /// That character.
    pub(super) mark: char,
}

/// An id that stands in the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) text: String,
    pub(super) span: Range<usize>,
    /// `**[id]**`, which nobody writes by chance.
    pub(super) strong: bool,
}

/// A line taken apart. Offsets count in the source.
#[derive(Clone, Debug)]
pub(super) struct Line<'a> {
    /// The whole line without its line end.
    pub(super) span: Range<usize>,
    /// Columns before the first mark; a tab counts up to the next fourth.
    pub(super) indent: usize,
    pub(super) marker: Option<Marker>,
    pub(super) tick: Option<Tick>,
    pub(super) id: Option<Id>,
    /// What stands behind marker and box.
    pub(super) body: &'a str,
    /// Where the body begins.
    pub(super) body_at: usize,
    /// What stands behind the id.
    pub(super) title: &'a str,
}

/// Arrows, the last two as other encodings show `→`: Mac Roman and Windows-1252.
pub(super) const ARROWS: &[&str] =
    &["→", "➜", "➡", "▶", "►", "⇒", MOJIBAKE_MAC_ROMAN, MOJIBAKE_WINDOWS];
/// `→` in UTF-8, read as Mac Roman.
pub(super) const MOJIBAKE_MAC_ROMAN: &str = "‚Üí";
/// `→` in UTF-8, read as Windows-1252.
pub(super) const MOJIBAKE_WINDOWS: &str = "â†’";

impl<'a> Line<'a> {
    /// Takes a line apart. `at` is where it begins in the source; `text` has no line end.
    pub(super) fn read(text: &'a str, at: usize) -> Line<'a> {
        let content = text.trim_start_matches([' ', '\t']);
        let blank = text.len() - content.len();
        let mut indent = 0;
        for byte in text[..blank].bytes() {
            indent = if byte == b'\t' { indent / 4 * 4 + 4 } else { indent + 1 };
        }
        let (marker, length) = marker(content).map_or((None, 0), |(m, length)| (Some(m), length));
        let mut line = Line::behind_marker(&content[length..], at + blank + length);
        line.span = at..at + text.len();
        line.indent = indent;
        line.marker = marker;
        line
    }

    /// The same for text that has no marker of its own, such as a heading's.
    pub(super) fn behind_marker(text: &'a str, at: usize) -> Line<'a> {
        let (tick, length) = tick(text)
            .map_or((None, 0), |(mark, length)| (Some(Tick { at: at + 1, mark }), length));
        let body = &text[length..];
        let body_at = at + length;
        let found = find_id(body);
        let title = found.as_ref().map_or(body, |found| &body[found.rest..]);
        let id = found.map(|found| Id {
            span: body_at + found.span.start..body_at + found.span.end,
            text: found.text,
            strong: found.strong,
        });
        Line { span: at..at + text.len(), indent: 0, marker: None, tick, id, body, body_at, title }
    }

    /// An item that is a task wherever it stands: an arrow with an id, or `**[id]**` behind any marker.
    pub(super) fn is_strong(&self) -> bool {
        match (&self.marker, &self.id) {
            (Some(marker), Some(id)) => id.strong || *marker == Marker::Arrow,
            _ => false,
        }
    }
}

/// The marker and its length with the blanks behind it.
fn marker(text: &str) -> Option<(Marker, usize)> {
    let blanks = |from: usize| {
        let rest = &text[from..];
        from + rest.len() - rest.trim_start_matches([' ', '\t']).len()
    };
    for arrow in ARROWS {
        if let Some(rest) = text.strip_prefix(arrow) {
            // An arrow can be followed by the selector that asks for its colourful form.
            let selector = if rest.starts_with('\u{fe0f}') { 3 } else { 0 };
            return Some((Marker::Arrow, blanks(arrow.len() + selector)));
        }
    }
    for (sign, marker) in [
        ("->", Marker::Arrow),
        ("=>", Marker::Arrow),
        ("-", Marker::Bullet),
        ("*", Marker::Bullet),
        ("+", Marker::Bullet),
        ("•", Marker::Bullet),
    ] {
        if text.strip_prefix(sign).is_some_and(|rest| rest.starts_with([' ', '\t'])) {
            return Some((marker, blanks(sign.len())));
        }
    }
    let digits = text.bytes().take(10).take_while(u8::is_ascii_digit).count();
    if (1..10).contains(&digits)
        && text[digits..].starts_with(['.', ')'])
        && text[digits + 1..].starts_with([' ', '\t'])
    {
        return Some((Marker::Number, blanks(digits + 1)));
    }
    // Any other signs before `**[id]**`, so that an arrow lost to an encoding cannot lose a task.
    let at = text.bytes().take(24).position(|byte| byte == b'*')?;
    let signs = &text[..at];
    let strange = at > 0
        && text[at..].starts_with("**[")
        && !signs
            .contains(|c: char| c.is_ascii_alphanumeric() || matches!(c, '>' | '`' | '|' | '<'));
    strange.then_some((Marker::Arrow, at))
}

/// The mark of a box and the length of the box with the blanks behind it.
fn tick(text: &str) -> Option<(char, usize)> {
    let mark = text.strip_prefix('[')?.chars().next()?;
    let possible = matches!(mark, ' ' | 'x' | 'X' | '✓' | '✔' | '✅' | '☑')
        || (mark.is_ascii_punctuation() && !matches!(mark, '[' | ']' | '^' | '#'));
    let rest = text[1 + mark.len_utf8()..].strip_prefix(']')?;
    let title = rest.trim_start_matches([' ', '\t']);
    (possible && (rest.is_empty() || title.len() < rest.len()))
        .then_some((mark, text.len() - title.len()))
}

struct Found {
    text: String,
    span: Range<usize>,
    strong: bool,
    /// Where the title begins.
    rest: usize,
}

fn find_id(text: &str) -> Option<Found> {
    bracketed(text)
        .or_else(|| emphasised(text))
        .or_else(|| numbered_task(text))
        .or_else(|| bare(text))
}

/// `**[id]**`, `__[id]__`, `[id]`, and `**[id] title**`.
fn bracketed(text: &str) -> Option<Found> {
    let emphasis = ["**", "__"].into_iter().find(|sign| text.starts_with(sign)).unwrap_or_default();
    let start = emphasis.len() + 1;
    let inner = text[emphasis.len()..].strip_prefix('[')?;
    let length = inner.bytes().take(LONGEST_ID + 1).position(|byte| byte == b']')?;
    let id = &inner[..length];
    let rest = &inner[length + 1..];
    // `[text](address)` is a link, `[P]` marks a task that may run beside others.
    if !is_id(id) || rest.starts_with(['(', '[']) || id == "P" {
        return None;
    }
    let closed = if emphasis.is_empty() { None } else { rest.strip_prefix(emphasis) };
    Some(Found {
        text: id.to_owned(),
        span: start..start + length,
        strong: !emphasis.is_empty(),
        rest: text.len() - title(closed.unwrap_or(rest)).len(),
    })
}

/// `**T12**: title`, `**T12:** title`, `` `auth-1` title ``.
fn emphasised(text: &str) -> Option<Found> {
    let sign = ["**", "__", "`"].into_iter().find(|sign| text.starts_with(sign))?;
    let inner = &text[sign.len()..];
    let length = inner
        .char_indices()
        .take(LONGEST_ID + 2)
        .find_map(|(at, _)| inner[at..].starts_with(sign).then_some(at))?;
    let id = inner[..length].trim_end_matches(':');
    let rest = &inner[length + sign.len()..];
    let named = rest.trim_start().starts_with([':', '—', '–']) || id.len() < length;
    let has = |test: fn(char) -> bool| id.contains(test);
    let plausible = has(char::is_alphabetic) && (has(char::is_numeric) || (sign == "`" && named))
        || is_pattern(id);
    (is_id(id) && plausible).then(|| Found {
        text: id.to_owned(),
        span: sign.len()..sign.len() + id.len(),
        strong: false,
        rest: text.len() - title(rest).len(),
    })
}

/// `Task 3: title`, also in bold.
fn numbered_task(text: &str) -> Option<Found> {
    let start = text.len() - text.trim_start_matches('*').len();
    let word = text.get(start..start + 4).filter(|word| word.eq_ignore_ascii_case("task"))?;
    let gap = &text[start + word.len()..];
    let number = gap.strip_prefix(" #").or_else(|| gap.strip_prefix([' ', '#']))?;
    let length =
        number.bytes().take(12).take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let digits = number[..length].trim_end_matches('.');
    let rest = &number[digits.len()..];
    let separated =
        rest.trim_start_matches('*').trim_start().starts_with([':', '.', ')', '-', '—', '–']);
    if digits.is_empty() || !separated {
        return None;
    }
    let end = text.len() - rest.len();
    let rest = rest.trim_start_matches(['*', '.', ')']);
    Some(Found {
        text: format!("task-{digits}"),
        span: start..end,
        strong: false,
        rest: text.len() - title(rest).trim_start_matches('*').trim_start().len(),
    })
}

/// `#412`, `T003`, `1.2.3`, `ABC-12`, `login-1:`.
fn bare(text: &str) -> Option<Found> {
    let word = text.split([' ', '\t']).next().filter(|word| word.len() <= LONGEST_ID + 1)?;
    let id = word.trim_end_matches([':', '.']);
    let labelled =
        word.ends_with(':') && id.contains(char::is_alphabetic) && id.contains(char::is_numeric);
    (is_id(id) && (labelled || is_pattern(id))).then(|| Found {
        text: id.to_owned(),
        span: 0..id.len(),
        strong: false,
        rest: text.len() - title(&text[word.len()..]).len(),
    })
}

/// `#412`, `T003`, `1.2.3` or `ABC-12`.
fn is_pattern(id: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(number) = id.strip_prefix('#') {
        return digits(number);
    }
    if let Some(number) = id.strip_prefix('T')
        && digits(number)
        && number.len() >= 2
    {
        return true;
    }
    if id.contains('.') {
        return id.split('.').all(|part| digits(part) && part.len() < 5);
    }
    id.split_once('-').is_some_and(|(prefix, number)| {
        prefix.starts_with(|c: char| c.is_ascii_uppercase())
            && prefix.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
            && digits(number)
    })
}

/// Whether a text can be an id at all.
pub(super) fn is_id(text: &str) -> bool {
    text.len() <= LONGEST_ID
        && text.starts_with(|c: char| c.is_alphanumeric() || c == '#' || c == '_')
        && text.chars().all(|c| c.is_alphanumeric() || "._-#/+".contains(c))
        && text.contains(char::is_alphanumeric)
}

/// A title without the separator before it.
fn title(rest: &str) -> &str {
    let rest = rest.trim_start();
    match rest.strip_prefix([':', '—', '–']) {
        Some(title) => title.trim_start(),
        None => rest.strip_prefix("- ").map_or(rest, str::trim_start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Marker>, Option<char>, Option<String>, &str) {
        let line = Line::read(text, 0);
        if let Some(id) = &line.id {
            assert!(id.text.starts_with("task-") || text[id.span.clone()] == id.text, "{text}");
        }
        (line.marker, line.tick.map(|tick| tick.mark), line.id.map(|id| id.text), line.title)
    }

    #[test]
    fn every_form_of_an_item_is_taken_apart() {
        use Marker::{Arrow, Bullet, Number};
        for (text, marker, mark, id, title) in [
            ("→ **[task_3]** Add x", Some(Arrow), None, Some("task_3"), "Add x"),
            ("‚Üí **[task_3]** Add x", Some(Arrow), None, Some("task_3"), "Add x"),
            ("â†’ **[task_3]** Add x", Some(Arrow), None, Some("task_3"), "Add x"),
            ("??? **[task_3]** Add x", Some(Arrow), None, Some("task_3"), "Add x"),
            ("➡️ Add x", Some(Arrow), None, None, "Add x"),
            ("-> [t1] Add x", Some(Arrow), None, Some("t1"), "Add x"),
            ("- **[task_3]** Add x", Some(Bullet), None, Some("task_3"), "Add x"),
            ("- [ ] T003 [P] Add x", Some(Bullet), Some(' '), Some("T003"), "[P] Add x"),
            ("- [x] 1.1 Add x", Some(Bullet), Some('x'), Some("1.1"), "Add x"),
            ("* [-] #412 Add x", Some(Bullet), Some('-'), Some("#412"), "Add x"),
            ("1. Add x", Some(Number), None, None, "Add x"),
            ("2) `auth-1` Add x", Some(Number), None, Some("auth-1"), "Add x"),
            ("- **ABC-12**: Add x", Some(Bullet), None, Some("ABC-12"), "Add x"),
            ("- **ABC-12:** Add x", Some(Bullet), None, Some("ABC-12"), "Add x"),
            ("- login_2: Add x", Some(Bullet), None, Some("login_2"), "Add x"),
            ("- **Task 3:** Add x", Some(Bullet), None, Some("task-3"), "Add x"),
            ("- Task 3 - Add x", Some(Bullet), None, Some("task-3"), "Add x"),
            (
                "- [the docs](http://x) Add x",
                Some(Bullet),
                None,
                None,
                "[the docs](http://x) Add x",
            ),
            ("- **Login**: Add x", Some(Bullet), None, None, "**Login**: Add x"),
            ("- `parse()` is slow", Some(Bullet), None, None, "`parse()` is slow"),
            ("- 1.5 times faster", Some(Bullet), None, Some("1.5"), "times faster"),
            ("2026 was good", None, None, None, "2026 was good"),
            ("- [タスク1] Add x", Some(Bullet), None, Some("タスク1"), "Add x"),
            ("- [ ]", Some(Bullet), Some(' '), None, ""),
            ("-no", None, None, None, "-no"),
        ] {
            assert_eq!(read(text), (marker, mark, id.map(str::to_owned), title), "{text}");
        }
    }
}
