//! Foreign text made harmless: what an agent, a gate or a plan wrote must not become a command, a ping, a
//! link or a heading where we show it.
//!
//! Forges read twice: Markdown first, then the text of what came out of it (mentions, references, closing
//! keywords), where an escape is gone again. What is read then is broken with a zero-width blank, which also holds
//! where a squash merge makes a commit message of the raw text. Left as they are: hashes of commits, `CVE-…` and
//! `GHSA-…`, which only become links.
//!
//! Secrets are not this file's matter: everything passes `redact` before it comes here, and again after.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Longest piece of foreign text that is shown in one place, in characters.
const SHOWN: usize = 4_000;
/// Longest foreign sentence, in characters.
const SENTENCE: usize = 1_000;
/// Longest line in a fence, in characters.
const LINE: usize = 500;

/// Stands where a forge would read on: a zero-width blank, which is neither part of a name nor a blank to it.
const GAP: char = '\u{200b}';

/// Takes out what a terminal or a reader's eye would act on: escape sequences, control characters other
/// than line ends and tabs, invisible and direction-changing characters.
pub fn plain(text: &str) -> String {
    static ESCAPES: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)?").expect("constant")
    });
    let text = ESCAPES.replace_all(text, "");
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\r' if characters.peek() == Some(&'\n') => {}
            // Line ends of Unicode: some readers begin a line there, so all do.
            '\r' | '\u{2028}' | '\u{2029}' => clean.push('\n'),
            '\n' | '\t' => clean.push(c),
            _ if c.is_control() || invisible(c) => {}
            _ => clean.push(c),
        }
    }
    clean
}

/// Zero-width, direction-changing, tag and filler characters (Unicode TR 36; "Trojan Source"), and the selectors in
/// which text can be hidden.
fn invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// One line for a table or a sentence in Markdown: nothing in it is markup, a mention or a reference. Never the first
/// thing in a line.
pub fn inline(text: &str) -> String {
    escaped(&unlinked(&defused(&head(&inline_plain(text), SENTENCE))))
}

/// One line of plain text, for a terminal.
pub fn inline_plain(text: &str) -> String {
    plain(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Code in a sentence or a table: between more backticks than it holds.
pub fn code(text: &str) -> String {
    let text = defused(&head(&inline_plain(text), SENTENCE));
    if text.is_empty() {
        return "–".to_owned();
    }
    // A bar ends a table's cell even in code, and not every reader takes `\\|` for an escaped bar.
    if text.contains('|') {
        return format!("<code>{}</code>", escaped(&unlinked(&text)));
    }
    let ticks = "`".repeat(longest_run(&text, '`') + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{ticks}{pad}{text}{pad}{ticks}")
}

/// One line between the tags of HTML, where no Markdown is read.
pub fn html(text: &str) -> String {
    let text = unlinked(&defused(&head(&inline_plain(text), SENTENCE)));
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A fenced block that the text cannot close. Long text keeps its end, where failures are.
pub fn fence(text: &str) -> String {
    fence_of("text", text)
}

/// The same, in a language that is ours to name.
pub fn fence_of(language: &str, text: &str) -> String {
    let lines: Vec<String> = plain(text).lines().map(|line| head(line, LINE)).collect();
    let text = defused(&tail(&lines.join("\n"), SHOWN));
    let ticks = "`".repeat(longest_run(&text, '`').max(2) + 1);
    format!("{ticks}{language}\n{}\n{ticks}", text.trim_end())
}

/// A name for a picture's language: letters, digits, `_`, `-` and `.`, at most 40; all else is `_`.
pub fn name(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '_' };
    inline_plain(text).chars().take(40).map(safe).collect()
}

/// The last `characters` characters, with a mark where something was cut.
pub fn tail(text: &str, characters: usize) -> String {
    let count = text.chars().count();
    if count <= characters {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(count - characters).collect();
    format!("… ({} characters cut)\n{kept}", count - characters)
}

/// The first `characters` characters, with `…` where something was cut.
pub fn head(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let kept: String = text.chars().take(characters.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// A sentence for a commit message or a title, which no Markdown escapes: no mention, no closing keyword with a
/// number or an address, no order to CI, no words that could be read as a trailer.
pub fn for_commit(text: &str) -> String {
    static SCHEMES: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?i)\b[a-z][a-z0-9+.-]*://|\bmailto:").expect("constant"));
    let mut safe = inline_plain(text);
    // What is taken out can bring together what was apart, so it is done until nothing is found. Ends: each step
    // makes the text shorter or has one mark less to find.
    loop {
        let next = ORDERS.replace_all(&safe, |found: &Captures<'_>| {
            let order = found.get(2).or(found.get(4)).map_or("", |word| word.as_str());
            if order.is_empty() { "skip checks".to_owned() } else { format!("({order})") }
        });
        let next = REFERENCES.replace_all(&next, "$2");
        let next = SCHEMES.replace_all(&next, "");
        let next = TRAILERS.replace_all(&next, "$1$2 ").replace('@', "");
        let next = next.split_whitespace().collect::<Vec<_>>().join(" ");
        if next == safe {
            return safe;
        }
        safe = next;
    }
}

/// Orders to services that look at commits: GitHub's own five words, and those of other CIs, which have the same
/// form (docs.github.com "Skipping workflow runs"; Azure's `***NO_CI***`).
static ORDERS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)(\[)\s*((?:skip|no)[\s_-]*[a-z][a-z0-9-]*|[a-z][a-z0-9-]*[\s_-]*skip)\s*\]|(\*\*\*)\s*(no_ci)\s*\*\*\*|(skip)-checks\s*:?\s*true",
    )
    .expect("constant")
});

/// Issues and pull requests by number.
static REFERENCES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)(#|\bGH-)(\d)").expect("constant"));

/// Words before a colon by which people and tools sign, and ours.
static TRAILERS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)(^|[^a-z0-9-])((?:[a-z]+-)+by|nightshift-[a-z]+|change-id|breaking[ -]change)\s*:",
    )
    .expect("constant")
});

/// Breaks what is read after Markdown or in raw text: orders, references, mentions, trailers.
fn defused(text: &str) -> String {
    static PLACES: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?i)(/(?:issues|pull|pulls|discussions)/)(\d)").expect("constant")
    });
    let text = ORDERS.replace_all(text, |found: &Captures<'_>| {
        let whole = &found[0];
        // Behind the mark by which it is known, or within its first word.
        let at = found.get(1).or(found.get(3)).or(found.get(5));
        let at = at.map_or(1, |mark| mark.len());
        format!("{}{GAP}{}", &whole[..at], &whole[at..])
    });
    let gap = format!("$1{GAP}$2");
    let text = REFERENCES.replace_all(&text, &gap);
    let text = PLACES.replace_all(&text, &gap);
    let text = TRAILERS.replace_all(&text, &format!("$1$2{GAP}:"));
    let mut broken = String::with_capacity(text.len());
    let mut before = ' ';
    for c in text.chars() {
        // An address is none: whoever reads it as one is met in `unlinked`.
        if before == '@' && c.is_ascii_alphanumeric() {
            let inside = broken.chars().rev().nth(1);
            if inside.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_') {
                broken.push(GAP);
            }
        }
        broken.push(c);
        before = c;
    }
    broken
}

/// Breaks what becomes a link or a picture without markup: addresses, and names between colons.
fn unlinked(text: &str) -> String {
    static SIGNS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?i)(:)(//|[a-z0-9_+-]+:)|(www)(\.)").expect("constant"));
    let gap = format!("$1$3{GAP}$2$4");
    // Twice: the second name of `:a:b:` begins at the colon that ended the first.
    let text = SIGNS.replace_all(text, &gap).into_owned();
    let text = SIGNS.replace_all(&text, &gap);
    text.replace('@', &format!("@{GAP}")).replace(&format!("{GAP}{GAP}"), &String::from(GAP))
}

/// Markdown's own marks, escaped.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '|' => safe.push_str("&vert;"),
            // By name: no formula begins there, and no number stands in it that reads like an issue's.
            '$' => safe.push_str("&dollar;"),
            '#' if characters.peek() == Some(&GAP) => safe.push(c),
            '`' | '*' | '_' | '[' | ']' | '\\' | '~' | '!' | '#' => {
                safe.push('\\');
                safe.push(c);
            }
            _ => safe.push(c),
        }
    }
    safe
}

/// An argument as a person would have to type it.
pub fn quoted(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./=:@%+".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

fn longest_run(text: &str, of: char) -> usize {
    let (mut longest, mut run) = (0, 0);
    for c in text.chars() {
        run = if c == of { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_cannot_be_closed_from_inside() {
        let block = fence("a\n````\n# heading\n```");
        assert!(block.starts_with("`````text\n"));
        assert!(block.ends_with("\n`````"));
    }

    #[test]
    fn a_table_cell_holds_no_markup() {
        let cell = inline("@team fixes #12 | ![x](http://evil) <img>\nnext `a`");
        for mark in ["@t", "#1", "<img", "![x]", "://", "|", "\n"] {
            assert!(!cell.contains(mark), "{mark} in {cell}");
        }
    }

    #[test]
    fn a_commit_message_gives_no_orders() {
        let text = for_commit("Closes #12 and o/r#3, GH-4 [skip ci]\nSigned-off-by: @root");
        assert_eq!(text, "Closes 12 and o/r3, 4 (skip ci) Signed-off-by root");
        // What is taken out must not bring together what it kept apart.
        for hidden in
            ["[sk@ip ci]", "[skip [skip ci]ci]", "##12", "fixes #@#12", "#GH-GH-12", "[@skip #1ci]"]
        {
            let text = for_commit(hidden);
            assert!(!text.contains('@') && !REFERENCES.is_match(&text), "{text}");
            assert!(!ORDERS.is_match(&text), "{hidden}: {text}");
        }
        let text =
            for_commit("closes https://github.com/o/r/issues/12 htt@ps://x skip-checks: true");
        assert_eq!(text, "closes github.com/o/r/issues/12 httx skip checks");
    }

    #[test]
    fn a_name_in_a_picture_is_letters_and_digits() {
        assert_eq!(name("a:b, %%{init}\nclick x"), "a_b_____init__click_x");
    }

    #[test]
    fn long_lines_and_sentences_are_cut() {
        assert!(fence(&"x".repeat(9_000)).lines().all(|line| line.chars().count() <= LINE));
        assert!(inline(&"x".repeat(9_000)).chars().count() <= SENTENCE);
        assert_eq!(fence("a\u{2028}# b").lines().count(), 4);
    }

    #[test]
    fn escapes_and_invisible_characters_go() {
        assert_eq!(plain("\x1b[31mred\x1b[0m\u{202e}\u{200b}a\r\nb\x07"), "reda\nb");
        assert_eq!(plain("\x1b]8;;http://x\x07link\x1b]8;;\x07"), "link");
    }
}
