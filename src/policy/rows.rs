//! Tables that tests go through: how many rows they have.
//!
//! Counts brackets and commas in texts without comments and strings. A guess, made the same way before and after a
//! change.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;

use super::shapes::{count, regex};

/// The brackets of a text, each with the place behind its end and what it holds.
pub(super) struct Brackets {
    ends: BTreeMap<usize, usize>,
    /// Lists and tables: where they begin, and their elements.
    lists: BTreeMap<usize, u32>,
    /// Elements of lists that have a name.
    named: BTreeMap<String, u32>,
    length: usize,
}

impl Brackets {
    /// Reads a text once.
    pub(super) fn of(bare: &str) -> Brackets {
        static HEAD: LazyLock<Regex> = LazyLock::new(|| {
            regex(concat!(
                r"(?m)^[ \t]*(?:(?:pub|const|static|let|var|export|final|private)\s+)*(?<name>\w+)\b",
                r"[^=\n]{0,80}=\s*(?:&|vec!|\[\]\w*)?\s*(?<open>[\[{(])"
            ))
        });
        let mut brackets = Brackets {
            ends: BTreeMap::new(),
            lists: BTreeMap::new(),
            named: BTreeMap::new(),
            length: bare.len(),
        };
        brackets.read(bare.as_bytes());
        for captures in HEAD.captures_iter(bare) {
            let open = captures.name("open").map_or(0, |open| open.start());
            if let Some(elements) = brackets.lists.get(&open) {
                brackets.named.insert(captures["name"].to_owned(), *elements);
            }
        }
        brackets
    }

    /// The place behind the end of the bracket that opens at `open`; the text's end where it never ends.
    pub(super) fn closed(&self, open: usize) -> usize {
        self.ends.get(&open).copied().unwrap_or(self.length)
    }

    fn read(&mut self, bytes: &[u8]) {
        struct Group {
            open: usize,
            list: bool,
            elements: u32,
            /// Nothing stands behind the last comma.
            fresh: bool,
        }
        let mut groups: Vec<Group> = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            if byte.is_ascii_whitespace() {
                continue;
            }
            if let Some(group) = groups.last_mut() {
                if *byte == b',' {
                    group.fresh = true;
                } else if group.fresh && !b")]}".contains(byte) {
                    group.elements += 1;
                    group.fresh = false;
                }
            }
            match byte {
                b'[' | b'{' | b'(' => {
                    let next = bytes[at + 1..].iter().take(200).find(|b| !b.is_ascii_whitespace());
                    let rows = next.is_some_and(|next| b"{[(\"'`".contains(next));
                    let list = *byte == b'[' || (*byte == b'{' && rows);
                    groups.push(Group { open: at, list, elements: 0, fresh: true });
                }
                b']' | b'}' | b')' => {
                    let Some(group) = groups.pop() else { continue };
                    self.ends.insert(group.open, at + 1);
                    if group.list {
                        self.lists.insert(group.open, group.elements);
                    }
                }
                _ => {}
            }
        }
    }

    /// Rows of the longest table that a test goes through; 1 for a test without one. `whole` is the test's part
    /// of the text and `from` where it begins.
    pub(super) fn cases(&self, whole: &str, from: usize) -> u32 {
        static LOOPS: LazyLock<Regex> = LazyLock::new(|| {
            regex(concat!(
                r"\bfor\b|\.each\b|forEach|parametrize|subTest|\.iter\(\)|\.map\(|@ParameterizedTest|\[\s*Theory",
                r"|\[\s*(?:InlineData|TestCase)|#\[\s*(?:case|test_case|rstest|values)\b|\bt\.Run\("
            ))
        });
        static MARKS: LazyLock<Regex> =
            LazyLock::new(|| regex(r"#\[\s*(?:case|test_case)\b|\[\s*(?:InlineData|TestCase)\b"));
        if !LOOPS.is_match(whole) {
            return 1;
        }
        let own = self.lists.range(from..from + whole.len()).map(|(_, elements)| *elements).max();
        let words = whole.split(|c: char| !c.is_alphanumeric() && c != '_');
        let named = words.filter_map(|word| self.named.get(word)).copied().max();
        [own, named, Some(count(&MARKS, whole))].into_iter().flatten().max().unwrap_or(1).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(text: &str) -> u32 {
        Brackets::of(text).cases(text, 0)
    }

    #[test]
    fn rows_are_counted() {
        for (text, expected) in [
            ("for (a, b) in [(1, 2), (3, 4), (5, 6),] { f(a, b, c, d) }", 3),
            ("@pytest.mark.parametrize('', [1, 2])\ndef test_a(a): ...", 2),
            ("tests := []struct{ a int }{ {1}, {2}, {3} }\nfor _, t := range tests {}", 3),
            ("#[rstest]\n#[case(1)]\n#[case(2)]\nfn a() {}", 2),
            ("f(1, 2, 3); let a = [1, 2, 3];", 1),
            ("for x in y() {}", 1),
        ] {
            assert_eq!(cases(text), expected, "{text}");
        }
        let named = "const ROWS: [u8; 3] = [1, 2, 3];\nfn a() { for row in ROWS { f(row) } }";
        let test = named.find("fn").unwrap();
        assert_eq!(Brackets::of(named).cases(&named[test..], test), 3);
    }

    #[test]
    fn what_never_ends_ends_with_the_text() {
        let brackets = Brackets::of("a(b[c) d");
        assert_eq!((brackets.closed(1), brackets.closed(3)), (8, 6));
        assert_eq!(Brackets::of(")]}(").closed(3), 4);
    }
}
