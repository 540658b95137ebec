//! Foreign text made harmless: what an agent, a gate or a plan wrote must not become a command, a ping, a
//! link or a heading where we show it.
//!
//! Secrets are not this file's matter: everything passes `redact` as well.

use std::sync::LazyLock;

use regex::Regex;

/// Longest piece of foreign text that is shown in one place, in characters.
const SHOWN: usize = 4_000;

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
            '\r' => clean.push('\n'),
            '\n' | '\t' => clean.push(c),
            _ if c.is_control() || invisible(c) => {}
            _ => clean.push(c),
        }
    }
    clean
}

/// Zero-width, direction-changing and tag characters (Unicode TR 36; "Trojan Source").
fn invisible(c: char) -> bool {
    matches!(c,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
        | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// One line for a table or a sentence in Markdown: nothing in it is markup, a mention or a reference.
pub fn inline(text: &str) -> String {
    let one_line = plain(text).split_whitespace().collect::<Vec<_>>().join(" ");
    let mut safe = String::with_capacity(one_line.len());
    for c in one_line.chars() {
        match c {
            '@' => safe.push_str("&#64;"),
            '#' => safe.push_str("&#35;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            // GitHub links bare addresses, and images are beacons.
            ':' => safe.push_str("&#58;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '~' | '!' => {
                safe.push('\\');
                safe.push(c);
            }
            _ => safe.push(c),
        }
    }
    safe
}

/// One line of plain text, for a terminal.
pub fn inline_plain(text: &str) -> String {
    plain(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Code in a sentence: between more backticks than it holds.
pub fn code(text: &str) -> String {
    let one_line = plain(text).split_whitespace().collect::<Vec<_>>().join(" ");
    let ticks = "`".repeat(longest_run(&one_line, '`') + 1);
    let pad = if one_line.starts_with('`') || one_line.ends_with('`') { " " } else { "" };
    // Inside a table a bar ends the cell even in code.
    format!("{ticks}{pad}{}{pad}{ticks}", one_line.replace('|', "\\|"))
}

/// A fenced block that the text cannot close. Long text keeps its end, where failures are.
pub fn fence(text: &str) -> String {
    let text = tail(&plain(text), SHOWN);
    let ticks = "`".repeat(longest_run(&text, '`').max(2) + 1);
    format!("{ticks}text\n{}\n{ticks}", text.trim_end())
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

/// A sentence for a commit message: no mention, no closing keyword with a number, no order to CI, no line
/// that could be read as a trailer.
pub fn for_commit(text: &str) -> String {
    static REFERENCES: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?i)(?:#|\bGH-)(\d+)").expect("constant"));
    static ORDERS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?i)\[\s*(?:skip[ -]ci|ci[ -]skip|no[ -]ci|skip actions|actions skip)\s*\]|\*\*\*no_ci\*\*\*|skip-checks\s*:?\s*true")
            .expect("constant")
    });
    let one_line = plain(text).split_whitespace().collect::<Vec<_>>().join(" ");
    let safe = ORDERS.replace_all(&one_line, "");
    let safe = REFERENCES.replace_all(&safe, "$1");
    safe.replace('@', "").split_whitespace().collect::<Vec<_>>().join(" ")
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
        for mark in ["@", " #", "<img", "![x]", "\n"] {
            assert!(!cell.contains(mark), "{mark} in {cell}");
        }
    }

    #[test]
    fn a_commit_message_gives_no_orders() {
        let text = for_commit("Closes #12 and o/r#3, GH-4 [skip ci]\nSigned-off-by: @root");
        assert_eq!(text, "Closes 12 and o/r3, 4 Signed-off-by: root");
    }

    #[test]
    fn escapes_and_invisible_characters_go() {
        assert_eq!(plain("\x1b[31mred\x1b[0m\u{202e}\u{200b}a\r\nb\x07"), "reda\nb");
        assert_eq!(plain("\x1b]8;;http://x\x07link\x1b]8;;\x07"), "link");
    }
}
