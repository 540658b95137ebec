//! Values of fields: scores, line counts, statuses, durations, money, globs and lists of ids.
//!
//! A value that could be read in two ways is read in the way that allows less, or not at all.

use std::ops::Range;

use globset::GlobBuilder;
use jiff::SignedDuration;

use super::{Safety, SafetyMark, Status, TestsDefined, line::is_id};

/// A number from 0 to 100: `95/100`, `95`, `95%`.
pub(super) fn score(value: &str) -> Option<u32> {
    let text = plain(value);
    let digits = text.bytes().take(4).take_while(u8::is_ascii_digit).count();
    let number: u32 = text[..digits].parse().ok().filter(|number| *number <= 100)?;
    let rest = text[digits..].trim_start();
    let rest = match rest.strip_prefix('/') {
        Some(whole) => whole.trim_start().strip_prefix("100")?,
        None => rest.strip_prefix('%').unwrap_or(rest),
    };
    // "95.5" and "9/10" are not this.
    (!rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '/' | ',')))
        .then_some(number)
}

/// A number of lines; the largest that is named. `1,200` and `1.5k` are read whole.
pub(super) fn lines(value: &str) -> Option<u32> {
    let text = plain(value);
    let mut largest: Option<u32> = None;
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let more_than = rest[..at].trim_end().ends_with('>');
        rest = &rest[at..];
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ',' | '_' | '\''))
            .unwrap_or(rest.len());
        let (number, behind) = rest.split_at(end);
        rest = behind;
        let number = number.trim_end_matches(['.', ',', '_', '\'']);
        let parts: Vec<&str> = number.split(['.', ',', '_', '\'']).collect();
        let grouped = parts.len() > 1 && parts[1..].iter().all(|part| part.len() == 3);
        let thousand = behind.starts_with(['k', 'K']);
        let whole = if grouped { parts.concat() } else { parts[0].to_owned() };
        let mut read = whole.parse::<u32>().unwrap_or(u32::MAX);
        if thousand {
            read = read.saturating_add(u32::from(parts.len() > 1)).saturating_mul(1000);
        } else if more_than || behind.starts_with('+') || (!grouped && parts.len() > 1) {
            read = read.saturating_add(1);
        }
        largest = largest.max(Some(read));
    }
    largest
}

/// `✅ Yes (path)`, `yes`, `no`, `⏳ …`, `n/a (docs)`, or a path alone.
pub(super) fn tests(value: &str) -> Option<TestsDefined> {
    let text = plain(value);
    let lower = text.to_lowercase();
    let first = lower.split(|c: char| !c.is_alphanumeric() && c != '/').next().unwrap_or_default();
    let path = path_in(text);
    if ["n/a", "not applicable", "not needed", "none needed", "not required"]
        .iter()
        .any(|words| lower.starts_with(words))
    {
        return Some(TestsDefined::NotApplicable);
    }
    if value.contains(['❌', '⏳', '✖', '🚫'])
        || matches!(first, "no" | "not" | "none" | "false" | "pending" | "tbd" | "todo" | "missing")
    {
        return Some(TestsDefined::No);
    }
    let yes = matches!(first, "yes" | "y" | "true" | "defined" | "done" | "exist" | "existing");
    (yes || path.is_some() || value.contains(['✅', '✔', '✓', '☑']))
        .then_some(TestsDefined::Yes(path))
}

/// The first thing in brackets or backticks that looks like a path, or the whole text if it does.
fn path_in(text: &str) -> Option<String> {
    text.split(['(', ')', '`', '[', ']', ' ', ','])
        .map(str::trim)
        .find(|part| {
            let named = part.contains('/') && !part.eq_ignore_ascii_case("n/a");
            let extended = part.rsplit_once('.').is_some_and(|(name, extension)| {
                !name.is_empty()
                    && (1..6).contains(&extension.len())
                    && extension.starts_with(|c: char| c.is_ascii_alphabetic())
                    && extension.bytes().all(|byte| byte.is_ascii_alphanumeric())
            });
            (named || extended) && !part.contains("://")
        })
        .map(str::to_owned)
}

/// The words of a safety check and the strictest mark in it.
pub(super) fn safety(value: &str) -> Safety {
    let text = plain(value);
    let lower = text.to_lowercase();
    let first = lower.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    let mark = if value.contains(['❌', '✖', '✗', '✘', '🚫', '🔴', '⛔', '🛑'])
        || matches!(first, "no" | "not" | "unsafe" | "failed" | "dangerous" | "blocked")
    {
        SafetyMark::Unsafe
    } else if value.contains(['⚠', '🟡', '🟠', '⏳'])
        || matches!(first, "caution" | "warning" | "risky" | "careful" | "unclear" | "pending")
    {
        SafetyMark::Caution
    } else if value.contains(['✅', '✔', '✓', '☑', '🟢'])
        || matches!(first, "yes" | "ok" | "okay" | "safe" | "passed" | "pass")
    {
        SafetyMark::Safe
    } else {
        SafetyMark::Unmarked
    };
    Safety { mark, text: text.to_owned() }
}

/// Words behind *Ready* that take it back.
const HEDGES: &[&str] = &[
    "for", "to", "when", "after", "once", "if", "but", "pending", "soon", "not", "except",
    "unless", "until", "as", "or", "only", "tomorrow",
];

/// A status and free words behind it. None for anything that is not plainly one.
pub(super) fn status(value: &str) -> Option<Status> {
    let text = plain(value).to_lowercase();
    let mut words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let first = words.next()?;
    let second = words.next().unwrap_or_default();
    let third = words.next().unwrap_or_default();
    let status = match (first, second) {
        ("ready", _) => Status::Ready,
        ("not" | "to", "started" | "do") | ("needs" | "awaiting", _) => Status::Pending,
        ("pending" | "todo" | "open" | "new" | "proposed" | "draft" | "planned", _) => {
            Status::Pending
        }
        ("blocked" | "waiting", _) | ("not", "ready") => Status::Blocked,
        (
            "done" | "completed" | "complete" | "merged" | "shipped" | "landed" | "finished"
            | "closed",
            _,
        ) => Status::Done,
        ("failed", number) => Status::Failed(number.parse().unwrap_or(1)),
        ("skip" | "skipped" | "hold" | "deferred" | "cancelled" | "canceled", _)
        | ("on", "hold") => Status::Skip,
        ("rejected" | "declined", _) => Status::Rejected,
        ("running" | "wip" | "doing" | "started" | "active", _) | ("in", "progress" | "review") => {
            Status::Running
        }
        _ => return None,
    };
    // `READY | PENDING | DONE` is a template that nobody filled in.
    let behind = text.split_once(first).map_or("", |(_, behind)| behind.trim_start());
    let choice = behind.starts_with(['|', '/', '?'])
        || (behind.starts_with(',') && self::status(second).is_some());
    if choice && status != Status::Skip {
        return None;
    }
    // "Ready for review" waits for a person, "ready when task_2 is done" for something else.
    let joined = behind.starts_with(char::is_alphanumeric);
    let for_us =
        second == "for" && matches!(third, "autonomous" | "tonight" | "nightshift" | "execution");
    if status == Status::Ready && joined && HEDGES.contains(&second) && !for_us {
        return None;
    }
    Some(status)
}

/// The status one or two slips away.
pub(super) fn nearest_status(value: &str) -> Option<&'static str> {
    let text = plain(value);
    let word = text.split(|c: char| !c.is_alphanumeric()).next().filter(|word| word.len() <= 16)?;
    let word = word.to_uppercase();
    ["READY", "PENDING", "BLOCKED", "DONE", "FAILED", "SKIP", "REJECTED"]
        .into_iter()
        .map(|known| (strsim::osa_distance(known, &word), known))
        .filter(|(slips, known)| *slips > 0 && *slips <= 2 && known.len() > slips + 2)
        .min()
        .map(|(_, known)| known)
}

/// Whether the value of an approval names a person or says yes.
pub(super) fn approval(value: &str) -> bool {
    let lower = plain(value).to_lowercase();
    let first = lower.split(|c: char| !c.is_alphanumeric()).find(|word| !word.is_empty());
    let refused = matches!(
        first,
        None | Some(
            "no" | "not"
                | "none"
                | "nobody"
                | "false"
                | "pending"
                | "tbd"
                | "todo"
                | "n"
                | "waiting"
                | "auto"
        )
    );
    !refused && !value.contains(['❌', '⏳', '✖', '🚫'])
}

/// The beginning of the task's text hash that an approval is for: `2026-11-21 by ada (text 1a2b3c4d)`. `None` for an
/// approval of whatever the task says.
pub(super) fn approved_text(value: &str) -> Option<&str> {
    let (_, rest) = value.rsplit_once("(text ")?;
    let (hash, _) = rest.split_once(')')?;
    let hash = hash.trim();
    (hash.len() >= 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(hash)
}

/// Seconds of `30m`, `1h 30m`, `90s`. A bare number has no unit and is refused, as is nothing.
pub(super) fn seconds(value: &str) -> Option<u64> {
    let text = before_remark(plain(value));
    let duration: SignedDuration = text.parse().ok()?;
    u64::try_from(duration.as_secs()).ok().filter(|seconds| *seconds > 0)
}

/// Millionths of a dollar in `$2.50`, `2.50 USD`.
pub(super) fn micros(value: &str) -> Option<u64> {
    let text = before_remark(plain(value));
    let (number, marked) = ["US$", "USD", "$"]
        .into_iter()
        .find_map(|sign| text.strip_prefix(sign))
        .map_or((text, false), |rest| (rest.trim_start(), true));
    let (number, marked) = ["USD", "usd", "$", "dollars"]
        .into_iter()
        .find_map(|sign| number.strip_suffix(sign))
        .map_or((number, marked), |rest| (rest.trim_end(), true));
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !marked || whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 6 {
        return None;
    }
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part)
}

/// A whole number above zero.
pub(super) fn count(value: &str) -> Option<u32> {
    before_remark(plain(value)).parse().ok().filter(|number| *number > 0)
}

/// A single word or phrase without emphasis.
pub(super) fn word(value: &str) -> Option<String> {
    let text = before_remark(plain(value)).trim_matches('`').trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A part of a value, with its place in the value.
pub(super) type Part<'a> = (&'a str, Range<usize>);

/// The globs of a value: separated by commas or blanks, or everything in backticks if anything is.
pub(super) fn globs(value: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    if value.contains('`') {
        let mut at = 0;
        for (number, piece) in value.split('`').enumerate() {
            if number % 2 == 1 {
                push(&mut parts, piece, at);
            }
            at += piece.len() + 1;
        }
        return parts;
    }
    let end = [" (", " – ", " — ", " - "].iter().filter_map(|sign| value.find(sign)).min();
    let value = &value[..end.unwrap_or(value.len())];
    let (mut depth, mut from) = (0_usize, 0);
    for (at, c) in value.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' | ';' | ' ' | '\t' if depth == 0 => {
                push(&mut parts, &value[from..at], from);
                from = at + c.len_utf8();
            }
            _ => {}
        }
    }
    push(&mut parts, &value[from..], from);
    parts.retain(|(part, _)| !part.eq_ignore_ascii_case("and") && *part != "&");
    parts
}

fn push<'a>(parts: &mut Vec<Part<'a>>, piece: &'a str, at: usize) {
    let mut part = piece.trim();
    let mut at = at + piece.len() - piece.trim_start().len();
    // `[src/a.rs](src/a.rs)`
    if let Some((text, _)) = part.strip_prefix('[').and_then(|link| link.split_once("](")) {
        part = text;
        at += 1;
    }
    if let Some(rest) = part.strip_prefix("./") {
        part = rest;
        at += 2;
    }
    if !part.is_empty() {
        parts.push((part, at..at + part.len()));
    }
}

/// Why a glob cannot name files of a repository.
pub(super) fn glob_fault(glob: &str) -> Option<&'static str> {
    if glob.starts_with('/') || glob.starts_with('~') || glob.get(1..3) == Some(":\\") {
        Some("must be relative to the repository's root")
    } else if glob.split('/').any(|part| part == "..") {
        Some("leaves the repository")
    } else if GlobBuilder::new(glob).literal_separator(true).build().is_err() {
        Some("cannot be read as a glob")
    } else {
        None
    }
}

/// Whether words that stand where files belong are a sentence: many of them, none like a path.
pub(super) fn is_prose(value: &str, parts: &[Part<'_>]) -> bool {
    parts.len() >= 3 && !value.contains(['/', '*', '`']) && path_in(value).is_none()
}

/// The ids of a value: separated by commas, blanks, `and`, `&`, `+`. Empty for `none`.
pub(super) fn ids(value: &str) -> Vec<Part<'_>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    let end = value.find([':', '—', '–']).into_iter().chain(value.find(" (")).min();
    let value = &value[..end.unwrap_or(value.len())];
    let mut at = 0;
    for piece in value.split([',', ';', ' ', '\t', '&', '+']) {
        let part = piece.trim_start_matches(['*', '[', '(', '`', '_']);
        let from = at + piece.len() - part.len();
        let part = part.trim_end_matches(['*', ']', ')', '`', '.', '_']);
        at += piece.len() + 1;
        let nothing =
            ["and", "none", "n/a", "nothing", "na"].iter().any(|w| part.eq_ignore_ascii_case(w));
        if part.is_empty() || nothing || !part.contains(char::is_alphanumeric) {
            continue;
        }
        // "task 3" is what the heading "Task 3:" is called.
        if let Some((before, span)) = parts.last_mut()
            && before.eq_ignore_ascii_case("task")
            && is_id(part)
        {
            span.end = from + part.len();
            *before = &value[span.clone()];
            continue;
        }
        parts.push((part, from..from + part.len()));
    }
    parts
}

/// The value without emphasis and without pictures before its words.
fn plain(value: &str) -> &str {
    let text = value.trim().trim_matches(['*', '_', '`']).trim();
    text.trim_start_matches(|c: char| {
        !c.is_alphanumeric() && (!c.is_ascii() || c == '*' || c == ' ')
    })
    .trim_start_matches(['*', '`'])
    .trim()
}

fn before_remark(value: &str) -> &str {
    value.split('(').next().unwrap_or_default().trim().trim_end_matches(['*', '`', '.']).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_out_of_a_hundred() {
        for (value, read) in [
            ("95/100", Some(95)),
            ("95", Some(95)),
            ("**95 %**", Some(95)),
            ("✅ 95 / 100 (good)", Some(95)),
            ("150/100", None),
            ("9/10", None),
            ("9.5", None),
            ("high", None),
            ("", None),
        ] {
            assert_eq!(score(value), read, "{value}");
        }
    }

    #[test]
    fn the_largest_number_of_lines_counts() {
        for (value, read) in [
            ("10", Some(10)),
            ("~10", Some(10)),
            ("10-15", Some(15)),
            ("<30", Some(30)),
            (">30", Some(31)),
            ("30+", Some(31)),
            ("1,200", Some(1200)),
            ("1.5k", Some(2000)),
            ("1 file, ~40 lines", Some(40)),
            ("99999999999999", Some(u32::MAX)),
            ("small", None),
        ] {
            assert_eq!(lines(value), read, "{value}");
        }
    }

    #[test]
    fn tests_are_yes_no_or_not_applicable() {
        let yes = |path: &str| Some(TestsDefined::Yes(Some(path.to_owned())));
        for (value, read) in [
            ("✅ Yes (tests/unit/test_x.py)", yes("tests/unit/test_x.py")),
            ("`test_x.py`", yes("test_x.py")),
            ("yes", Some(TestsDefined::Yes(None))),
            ("no", Some(TestsDefined::No)),
            ("⏳ To be written", Some(TestsDefined::No)),
            ("❌ yes", Some(TestsDefined::No)),
            ("n/a (docs)", Some(TestsDefined::NotApplicable)),
            ("some day", None),
        ] {
            assert_eq!(tests(value), read, "{value}");
        }
    }

    #[test]
    fn a_status_is_plainly_one() {
        for (value, read) in [
            ("READY", Some(Status::Ready)),
            ("**Ready**", Some(Status::Ready)),
            ("🟢 ready (was PENDING)", Some(Status::Ready)),
            ("Ready for autonomous execution", Some(Status::Ready)),
            ("Ready for review", None),
            ("ready when task_2 is done", None),
            ("READY | PENDING | DONE", None),
            ("READY?", None),
            ("Not ready", Some(Status::Blocked)),
            ("not started", Some(Status::Pending)),
            ("FAILED 2 (gate)", Some(Status::Failed(2))),
            ("failed", Some(Status::Failed(1))),
            ("DONE (night 2026-11-21)", Some(Status::Done)),
            ("✅", None),
            ("REDAY", None),
            ("", None),
        ] {
            assert_eq!(status(value), read, "{value}");
        }
        assert_eq!(nearest_status("REDAY"), Some("READY"));
        assert_eq!(nearest_status("whatever"), None);
    }

    #[test]
    fn time_needs_a_unit_and_money_a_sign() {
        for (value, read) in [
            ("30m", Some(1800)),
            ("1h 30m", Some(5400)),
            ("90s (hard)", Some(90)),
            ("30", None),
            ("-5m", None),
            ("0s", None),
            ("soon", None),
        ] {
            assert_eq!(seconds(value), read, "{value}");
        }
        for (value, read) in [
            ("$2.50", Some(2_500_000)),
            ("2 USD", Some(2_000_000)),
            ("`$0.000001`", Some(1)),
            ("2.50", None),
            ("$2,50", None),
            ("-$2", None),
            ("200k tokens", None),
            ("$99999999999999999999", None),
        ] {
            assert_eq!(micros(value), read, "{value}");
        }
    }

    #[test]
    fn lists_are_split_where_people_split_them() {
        let texts = |parts: Vec<Part<'_>>| parts.iter().map(|p| p.0.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            texts(globs("src/{a,b}.rs, ./tests/** and docs")),
            ["src/{a,b}.rs", "tests/**", "docs"]
        );
        assert_eq!(texts(globs("the model in `src/a b.rs` (new)")), ["src/a b.rs"]);
        assert_eq!(texts(globs("src/a.rs - the model")), ["src/a.rs"]);
        assert_eq!(texts(ids("task_1, **[task_2]** and #3 (soon)")), ["task_1", "task_2", "#3"]);
        assert_eq!(texts(ids("Task 3, T4.")), ["Task 3", "T4"]);
        assert_eq!(texts(ids("None")), Vec::<String>::new());
        assert_eq!(glob_fault("src/**/*.rs"), None);
        for bad in ["/etc/passwd", "../x", "a/../../b", "src/[", "~/x"] {
            assert!(glob_fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn an_approval_is_by_someone() {
        for yes in ["Anna", "yes", "✅ 2026-01-02"] {
            assert!(approval(yes), "{yes}");
        }
        for no in ["", "no", "pending", "⏳", "-", "not yet", "❌ Anna"] {
            assert!(!approval(no), "{no}");
        }
    }
}
