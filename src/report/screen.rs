//! Text as it fits a terminal: its width, its characters, its colours.
//!
//! Knows nothing of what it draws but how our own lines begin. Never cuts words: what does not fit goes on in
//! the next line, and what a person copies (a command, a path, an address) stays in one piece.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::{ids::NAME, report::text};

/// Cells of a terminal that does not say how wide it is.
pub const UNKNOWN_WIDTH: usize = 80;
/// Fewer are drawn as if there were so many.
const NARROWEST: usize = 40;

/// Where text is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Cells in a line.
    pub width: usize,
    /// False: ASCII alone.
    pub unicode: bool,
    /// True: escape sequences for colours.
    pub colours: bool,
}

impl Default for Screen {
    fn default() -> Screen {
        Screen { width: UNKNOWN_WIDTH, unicode: true, colours: false }
    }
}

/// How our lines begin, what stands there on a screen with signs, and its colour.
const MARKS: [(&str, &str, &str); 7] = [
    ("  >>    ", "  »     ", "36"),
    ("  ok    ", "  ✓     ", "32"),
    ("  FAIL  ", "  ✗     ", "31"),
    ("  NO    ", "  ✗     ", "31"),
    ("  no    ", "  ✗     ", "33"),
    ("  ?     ", "  ?     ", "33"),
    ("  ..    ", "  ·     ", "2"),
];

/// Words that open a part of the summary.
const HEADINGS: [&str; 8] = [
    "LANDED ",
    "FAILED ",
    "HELD FOR YOU ",
    "WAITS FOR YOU ",
    "NEEDS YOU ",
    "REFUSED",
    "NOT DONE",
    "Night ",
];

impl Screen {
    /// A whole text of ours, fitted line by line.
    pub fn page(&self, text: &str) -> String {
        let width = self.width.max(NARROWEST);
        let mut lines = Vec::new();
        for line in text.lines() {
            let line = if self.unicode { line.to_owned() } else { ascii(line) };
            fit(&line, width, &mut lines);
        }
        lines.iter().map(|line| self.drawn(line) + "\n").collect()
    }

    /// One line with its sign and its colours.
    fn drawn(&self, line: &str) -> String {
        let mark = MARKS.iter().find(|(plain, ..)| line.starts_with(plain));
        let (head, rest, colour) = match mark {
            Some((plain, sign, colour)) => {
                (*if self.unicode { sign } else { plain }, &line[plain.len()..], *colour)
            }
            None => ("", line, ""),
        };
        if !self.colours {
            return format!("{head}{rest}");
        }
        if !head.is_empty() {
            return format!("\x1b[{colour}m{head}\x1b[0m{rest}");
        }
        let inner = rest.trim_start();
        let indent = &rest[..rest.len() - inner.len()];
        if copied(inner) {
            format!("{indent}\x1b[36m{inner}\x1b[0m")
        } else if HEADINGS.iter().any(|heading| rest.starts_with(heading)) {
            format!("\x1b[1m{rest}\x1b[0m")
        } else {
            rest.to_owned()
        }
    }

    /// `part` of `whole` as a bar of `cells` cells. A part that is not nothing is seen.
    pub fn bar(&self, part: u64, whole: u64, cells: usize) -> String {
        let eighths = eighths(part, whole, cells);
        let full = eighths / 8;
        if !self.unicode {
            let full = full.max(usize::from(part > 0)).min(cells);
            return "#".repeat(full) + &".".repeat(cells - full);
        }
        let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
        let drawn = full + usize::from(!rest.is_empty());
        "█".repeat(full) + rest + &"░".repeat(cells - drawn)
    }

    /// A table whose columns are as wide as what is in them; two blanks stand between two. Where that is too wide
    /// the last columns go, and a first cell of more than a third of the line gets a line of its own.
    pub fn table(&self, heads: &[&str], rows: &[Vec<String>]) -> String {
        let width = self.width.max(NARROWEST);
        let most_first = width / 3;
        let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
        let wide = |column: usize| {
            let cells = cells(column).map(|cell| cell.width());
            let cells = cells.filter(|cells| column > 0 || *cells <= most_first);
            cells.chain([heads[column].width()]).max().unwrap_or(0)
        };
        let mut widths = Vec::new();
        let mut used = 0;
        for column in 0..heads.len() {
            let next = wide(column);
            if column > 0 && used + 2 + next > width {
                break;
            }
            used += next + if column > 0 { 2 } else { 0 };
            widths.push(next);
        }
        let mut text = String::new();
        let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
        for row in std::iter::once(&heads).chain(rows) {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column > 0 {
                    line.push_str("  ");
                }
                if column == 0 && cell.width() > *width {
                    text.push_str(cell);
                    text.push('\n');
                    line.push_str(&" ".repeat(*width));
                } else {
                    line.push_str(&filled(cell, *width));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A part in eighths of a cell; nothing only of nothing.
fn eighths(part: u64, whole: u64, cells: usize) -> usize {
    let cells = u128::try_from(cells).unwrap_or(0) * 8;
    let eighths = u128::from(part.min(whole)) * cells / u128::from(whole.max(1));
    usize::try_from(eighths).unwrap_or(0).max(usize::from(part > 0))
}

/// True for what a person copies whole.
fn copied(line: &str) -> bool {
    [NAME, "git"]
        .iter()
        .any(|program| line.strip_prefix(program).is_some_and(|rest| rest.starts_with(' ')))
}

/// Adds the line to `lines`, in as many as it needs. What follows stands below the line's last column.
fn fit(line: &str, width: usize, lines: &mut Vec<String>) {
    let inner = line.trim_start_matches(' ');
    let indent = line.len() - inner.len();
    if line.width() <= width || copied(inner) {
        lines.push(line.to_owned());
        return;
    }
    let hang = hang(line, width).unwrap_or(indent + 2).min(width / 2);
    let mut now = " ".repeat(indent);
    let mut empty = true;
    // Blanks between columns stay while their line does.
    for piece in pieces(inner) {
        let word = piece.trim_start_matches(' ');
        let gap = piece.len() - word.len();
        if empty || now.width() + gap + word.width() <= width {
            now.push_str(if empty { word } else { piece });
        } else {
            lines.push(std::mem::replace(&mut now, " ".repeat(hang)));
            now.push_str(word);
        }
        empty = false;
    }
    lines.push(now);
}

/// Words with the blanks before them; a command of ours keeps its verb.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut from = 0;
    let mut blank = true;
    for (at, byte) in text.bytes().enumerate() {
        let is_blank = byte == b' ';
        if is_blank && !blank && at > from {
            let word = text[from..at].trim_start();
            if word != NAME {
                pieces.push(&text[from..at]);
                from = at;
            }
        }
        blank = is_blank;
    }
    pieces.push(&text[from..]);
    pieces
}

/// Where the last column begins: behind the last gap of two blanks in the line's first half.
fn hang(line: &str, width: usize) -> Option<usize> {
    let mut found = None;
    let mut cells = 0;
    let mut blanks = 0;
    for c in line.chars() {
        if c != ' ' && blanks >= 2 && cells > blanks && cells <= width / 2 {
            found = Some(cells);
        }
        blanks = if c == ' ' { blanks + 1 } else { 0 };
        cells += c.width().unwrap_or(0);
    }
    found
}

/// The same in ASCII, cell for cell; `≤` alone may take one more.
fn ascii(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            _ if c.is_ascii() => plain.push(c),
            '·' | '–' | '—' | '−' | '─' | '•' => plain.push('-'),
            '…' | '≈' => plain.push('~'),
            '≤' => {
                // It takes a cell more: of the blanks before it, where there are two.
                if plain.ends_with("  ") {
                    plain.pop();
                }
                plain.push_str("<=");
            }
            '×' => plain.push('x'),
            '→' => plain.push('>'),
            _ => plain.push_str(&"?".repeat(c.width().unwrap_or(0))),
        }
    }
    plain
}

/// Foreign text in exactly `width` terminal cells: cut with `…`, or filled with blanks.
pub fn column(words: &str, width: usize) -> String {
    let words = text::inline_plain(words);
    if words.width() <= width {
        return filled(&words, width);
    }
    let mut cut = String::new();
    let mut cells = 0;
    for c in words.chars() {
        let next = c.width().unwrap_or(0);
        if cells + next + 1 > width {
            break;
        }
        cut.push(c);
        cells += next;
    }
    cut.push('…');
    filled(&cut, width)
}

fn filled(words: &str, width: usize) -> String {
    words.to_owned() + &" ".repeat(width.saturating_sub(words.width()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrow(width: usize) -> Screen {
        Screen { width, ..Screen::default() }
    }

    #[test]
    fn a_column_has_its_width_in_any_script() {
        for words in
            ["short", "a title that is far too long for it", "日本語の題名がここにある", ""]
        {
            assert_eq!(column(words, 12).width(), 12, "{words}");
        }
    }

    #[test]
    fn a_long_line_goes_on_below_its_last_column() {
        let line = "why it stopped   gate red: the tests say that nothing of it works today";
        let page = narrow(44).page(line);
        let expected = "why it stopped   gate red: the tests say\n                 that nothing of it works\n                 today\n";
        assert_eq!(page, expected);
    }

    #[test]
    fn what_is_copied_stays_whole() {
        let command =
            format!("        {NAME} show 'a-name-of-many-characters-that-nobody-can-type'");
        assert_eq!(narrow(40).page(&command), format!("{command}\n"));
        let page = narrow(40).page(&format!("then look at it again with {NAME} check and so on"));
        assert!(page.contains(&format!("{NAME} check")), "{page}");
        let path = "/a/path/that/is/much/longer/than/the/line/of/the/screen/is";
        assert!(
            narrow(40).page(&format!("written to {path} today")).lines().any(|l| l.trim() == path)
        );
    }

    #[test]
    fn no_line_is_wider_than_its_screen_in_any_script() {
        let words = ["日本語の題名が", "🦀🦀🦀", "plain", "words", "·", "…", "−"];
        for width in [40, 60, 80] {
            for unicode in [true, false] {
                let text = words.repeat(9).join(" ");
                let screen = Screen { width, unicode, colours: false };
                let page = screen.page(&format!("  ok    {text}"));
                assert!(page.lines().all(|line| line.width() <= width), "{page}");
                assert!(unicode || page.is_ascii(), "{page}");
            }
        }
    }

    #[test]
    fn a_bar_shows_its_part() {
        let screen = narrow(80);
        assert_eq!(screen.bar(1, 2, 4), "██░░");
        assert_eq!(screen.bar(0, 2, 4), "░░░░");
        assert_eq!(screen.bar(5, 2, 4), "████");
        assert_eq!(screen.bar(1, 1_000, 4).chars().next(), Some('▏'));
        let plain = Screen { unicode: false, ..screen };
        assert_eq!((plain.bar(1, 2, 4), plain.bar(1, 1_000, 4)), ("##..".into(), "#...".into()));
    }

    #[test]
    fn a_table_drops_columns_and_gives_long_names_a_line() {
        let long = "x".repeat(30);
        let rows = vec![
            vec!["a".to_owned(), "1".repeat(20), "2".repeat(20)],
            vec![long.clone(), "3".into(), "4".into()],
        ];
        let table = narrow(40).table(&["name", "one", "two"], &rows);
        assert!(!table.contains("two") && table.contains(&format!("\n{long}\n")), "{table}");
        assert!(narrow(80).table(&["name", "one", "two"], &rows).contains("two"));
    }
}
