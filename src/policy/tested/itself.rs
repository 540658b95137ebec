//! Assertions that compare a thing with itself: they hold whatever it is.
//!
//! Looks at the words of both sides, and never evaluates them.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

use super::LOOK;
use crate::policy::{rows::Brackets, shapes::regex, source::Source};

/// How many assertions of this part of a text have the same words on both sides.
pub(super) fn count(source: &Source, brackets: &Brackets, part: Range<usize>) -> u32 {
    static CALL: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"\b(?:assert(?:_eq)?!|assert(?:Equal|Equals|Same|_equal|True|That)?|(?:assert|require|t)\.\w*(?:[eE]qual|is)\w*",
            r"|(?<expect>expect))\s*\("
        ))
    });
    static TO: LazyLock<Regex> =
        LazyLock::new(|| regex(r"\A\s*\.\s*to(?:Be|Equal|StrictEqual)\s*\("));
    static STATEMENT: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^[ \t]*assert[ \t]+"));
    let bare = &source.bare[..part.end];
    let mut found = 0;
    for captures in CALL.captures_iter(&bare[part.start..]) {
        let open = part.start + captures.get_match().end() - 1;
        let Some(mut sides) = arguments(source, brackets, open) else { continue };
        let end = brackets.closed(open);
        let to = bare.get(end..).and_then(|rest| TO.find(rest));
        if let (Some(_), Some(to)) = (captures.name("expect"), to) {
            sides.extend(arguments(source, brackets, end + to.end() - 1).unwrap_or_default());
        }
        found += u32::from(same(source, &sides));
    }
    for head in STATEMENT.find_iter(&bare[part.start..]) {
        let from = part.start + head.end();
        let end = bare[from..].find('\n').map_or(bare.len(), |end| from + end);
        found += u32::from(same(source, &split(bare, from..end)));
    }
    found
}

/// What stands between the commas of a call's brackets; `None` for more than people write.
fn arguments(source: &Source, brackets: &Brackets, open: usize) -> Option<Vec<Range<usize>>> {
    let end =
        brackets.closed(open).checked_sub(1).filter(|end| (open..open + LOOK).contains(end))?;
    Some(split(&source.bare, open + 1..end))
}

/// The parts of a text between commas outside of brackets.
fn split(bare: &str, part: Range<usize>) -> Vec<Range<usize>> {
    let (mut parts, mut from, mut depth) = (Vec::new(), part.start, 0_i32);
    for (at, byte) in bare.as_bytes()[part.clone()].iter().enumerate().take(LOOK) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(from..part.start + at);
                from = part.start + at + 1;
            }
            _ => {}
        }
    }
    parts.push(from..part.end);
    parts
}

/// True when the first two parts are of the same words, or the two sides of a comparison in the first.
fn same(source: &Source, parts: &[Range<usize>]) -> bool {
    let text = |part: &Range<usize>| source.code[part.clone()].trim();
    // Go's frameworks are given the test first.
    let parts = match parts {
        [first, rest @ ..] if text(first) == "t" => rest,
        parts => parts,
    };
    let (Some(first), second) = (parts.first(), parts.get(1)) else { return false };
    // A literal is compared with itself in `shapes`.
    let alike = |one: &str, other: &str| one == other && one.contains(|c: char| c.is_alphabetic());
    let sides = text(first).split_once("===").or_else(|| text(first).split_once("=="));
    sides.is_some_and(|(one, other)| alike(one.trim(), other.trim()))
        || second.is_some_and(|second| alike(text(first), text(second)))
}

#[cfg(test)]
mod tests {
    use crate::{
        ids::RepoPath,
        policy::{rows::Brackets, source},
    };

    fn count(path: &str, text: &str) -> u32 {
        let source = source::read(source::language_of(&RepoPath::from(path)), text);
        let brackets = Brackets::of(&source.bare);
        super::count(&source, &brackets, 0..text.len())
    }

    #[test]
    fn both_sides_are_the_same_words() {
        for (path, text) in [
            ("a.py", "    assert f(x, 1) == f(x, 1)\n"),
            ("a.py", "    assert f('a') == f('a'), \"words\"\n"),
            ("a.py", "    self.assertEqual(f(x, [1, 2]), f(x, [1, 2]))\n"),
            ("a.rs", "assert_eq!(f(1), f(1));"),
            ("a.rs", "assert_eq!( f(1), f(1), \"why\");"),
            ("a.rs", "assert!(f(1) == f(1));"),
            ("a.js", "expect(f(1)).toEqual(f(1));"),
            ("a.js", "assert.strictEqual(f(1), f(1));"),
            ("a.go", "assert.Equal(t, f(1), f(1))"),
            ("A.java", "assertEquals(f(1), f(1));"),
        ] {
            assert_eq!(count(path, text), 1, "{text}");
        }
        for (path, text) in [
            ("a.py", "    assert f(x, 1) == f(x, 2)\n"),
            ("a.py", "    assert f('a') == f('b')\n"),
            ("a.py", "    assert f(x)\n"),
            ("a.rs", "assert_eq!(f(1), f(2)); assert!(f(1) == g(1), \"f(1)\");"),
            ("a.rs", "assert!(f(1)); assert!(x, x);".split_at(14).0),
            ("a.js", "expect(f(1)).toEqual(f(2)); expect(f(1)).not.toEqual(f(1));"),
            ("a.go", "assert.Equal(t, f(1), g(1))"),
            ("a.py", "    assert f(\n"),
            ("a.rs", "assert_eq!(f(1)"),
        ] {
            assert_eq!(count(path, text), 0, "{text}");
        }
    }
}
