//! Spoils good texts: moves, doubles, drops and replaces lines, pieces and bytes of them.

use std::fmt;

use proptest::{prelude::*, sample::Index};

/// Bytes that are shown as text.
#[derive(Clone, PartialEq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) => write!(f, "{text:?}"),
            Err(_) => write!(f, "b\"{}\"", self.0.escape_ascii()),
        }
    }
}

/// One thing that is done to a text.
#[derive(Clone, Debug)]
enum Deed {
    /// Puts a piece somewhere.
    Insert(Index, &'static str),
    /// Puts a piece before a line.
    Begin(Index, &'static str),
    /// Takes some bytes away.
    Cut(Index, usize),
    /// Takes a line away.
    DropLine(Index),
    /// Puts a copy of a line somewhere else.
    CopyLine(Index, Index),
    /// Changes a byte.
    Byte(Index, u8),
    /// Ends the text early.
    End(Index),
    /// Repeats a piece many times.
    Many(Index, &'static str, usize),
    /// Windows line ends.
    Crlf,
    /// A byte order mark.
    Mark,
}

impl Deed {
    fn apply(&self, text: &mut Vec<u8>) {
        match self {
            Deed::Insert(at, piece) => {
                let at = at.index(text.len() + 1);
                text.splice(at..at, piece.bytes());
            }
            Deed::Begin(line, piece) => {
                let at = line_at(text, *line).0;
                text.splice(at..at, piece.bytes());
            }
            Deed::Cut(at, length) => {
                let at = at.index(text.len() + 1);
                text.drain(at..text.len().min(at + length));
            }
            Deed::DropLine(line) => {
                let (from, to) = line_at(text, *line);
                text.drain(from..to);
            }
            Deed::CopyLine(line, behind) => {
                let (from, to) = line_at(text, *line);
                let copy = text[from..to].to_vec();
                let at = line_at(text, *behind).0;
                text.splice(at..at, copy);
            }
            Deed::Byte(at, byte) => {
                if !text.is_empty() {
                    let at = at.index(text.len());
                    text[at] = *byte;
                }
            }
            Deed::End(at) => text.truncate(at.index(text.len() + 1)),
            Deed::Many(at, piece, times) => {
                let at = at.index(text.len() + 1);
                text.splice(at..at, piece.repeat(*times).bytes());
            }
            Deed::Crlf => crlf(text),
            Deed::Mark => {
                text.splice(0..0, "\u{feff}".bytes());
            }
        }
    }
}

/// Where a line begins, and where the next one does.
fn line_at(text: &[u8], line: Index) -> (usize, usize) {
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.is_empty() {
        return (0, 0);
    }
    let number = line.index(lines.len());
    let from = lines[..number].iter().map(|line| line.len()).sum();
    (from, from + lines[number].len())
}

/// Gives every line Windows' end.
pub(crate) fn crlf(text: &mut Vec<u8>) {
    let old = std::mem::take(text);
    for byte in old {
        if byte == b'\n' && text.last() != Some(&b'\r') {
            text.push(b'\r');
        }
        text.push(byte);
    }
}

fn deed(pieces: &'static [&'static str]) -> impl Strategy<Value = Deed> {
    let at = any::<Index>;
    let piece = || prop::sample::select(pieces);
    prop_oneof![
        8 => (at(), piece()).prop_map(|(at, piece)| Deed::Insert(at, piece)),
        8 => (at(), piece()).prop_map(|(at, piece)| Deed::Begin(at, piece)),
        4 => (at(), 1_usize..12).prop_map(|(at, length)| Deed::Cut(at, length)),
        3 => at().prop_map(Deed::DropLine),
        4 => (at(), at()).prop_map(|(line, behind)| Deed::CopyLine(line, behind)),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Deed::Byte(at, byte)),
        1 => at().prop_map(Deed::End),
        1 => (at(), piece(), 1_usize..200).prop_map(|(at, piece, n)| Deed::Many(at, piece, n)),
        1 => Just(Deed::Crlf),
        1 => Just(Deed::Mark),
    ]
}

/// Texts of `good`, spoiled with `pieces`; and now and then bytes that never were a text.
pub(crate) fn spoiled(
    good: impl Strategy<Value = Vec<u8>>,
    pieces: &'static [&'static str],
) -> impl Strategy<Value = Bytes> {
    let made = (good, prop::collection::vec(deed(pieces), 0..8)).prop_map(|(mut text, deeds)| {
        for deed in &deeds {
            deed.apply(&mut text);
        }
        text
    });
    let pieced = prop::collection::vec(prop::sample::select(pieces), 0..60)
        .prop_map(|pieces| pieces.concat().into_bytes());
    let raw = prop::collection::vec(any::<u8>(), 0..300);
    prop_oneof![8 => made, 3 => pieced, 1 => raw].prop_map(Bytes)
}
