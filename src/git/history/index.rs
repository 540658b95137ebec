//! A git index as bytes: made from a tree once, then spliced, because libgit2 needs 200 ms for what changes ten
//! of 100,000 entries.
//!
//! Version 2 without extensions, as gitformat-index(5) has it. Times and inodes are zero, so that git looks at
//! each file once; the checksum is zero, as `index.skipHash` writes it. Never reads what an agent wrote.

use std::{borrow::Cow, collections::BTreeMap};

use crate::{
    diff::FileMode,
    git::{TreeEdit, TreeEntry},
    ids::{BlobId, RepoPath},
};

/// Signature and version; the number of entries follows.
const HEAD: [u8; 8] = *b"DIRC\0\0\0\x02";
/// Times, device, inode, mode, owner, group and size: ten numbers of four bytes.
const NUMBERS: usize = 40;
/// Where the mode stands among them.
const MODE: usize = 24;
/// The numbers, an id, and two bytes of flags.
const FIXED: usize = NUMBERS + 20 + 2;
/// The checksum.
const TRAILER: usize = 20;

/// The index of a whole tree, whose files stand in git's order.
pub(super) fn whole(files: &[TreeEntry]) -> Vec<u8> {
    // git orders an index by the bytes of whole paths; a listing of trees has directories in between.
    let mut files: Vec<&TreeEntry> = files.iter().collect();
    files.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    let mut index = begin(files.len());
    for file in files {
        push(&mut index, &file.path, file.mode, &file.blob);
    }
    index.extend([0; TRAILER]);
    index
}

/// `old` with edits, as pieces in their order: what is kept is not copied. `None` when `old` is no index of ours.
pub(super) fn spliced<'o>(
    old: &'o [u8],
    edits: &BTreeMap<RepoPath, TreeEdit>,
) -> Option<Vec<Cow<'o, [u8]>>> {
    let (head, rest) = old.split_at_checked(HEAD.len() + 4)?;
    let count = u32::from_be_bytes(head.strip_prefix(&HEAD)?.try_into().ok()?);
    let entries = rest.get(..rest.len().checked_sub(TRAILER)?)?;
    let mut pieces = vec![Cow::default()];
    let mut number = usize::try_from(count).ok()?;
    let mut edits = edits.iter().peekable();
    // What is kept is one long piece: from `kept` to `at`.
    let (mut kept, mut at) = (0, 0);
    for _ in 0..count {
        let path = path_at(entries, at)?;
        let next = at + length(path.len());
        while let Some((edited, edit)) = edits.next_if(|(edited, _)| edited.as_bytes() <= path) {
            pieces.push(entries.get(kept..at)?.into());
            kept = at;
            if edited.as_bytes() == path {
                kept = next;
                number -= 1;
            }
            number += usize::from(add(&mut pieces, edited, edit));
        }
        at = next;
        if edits.peek().is_none() {
            break; // all the rest is kept
        }
    }
    if edits.peek().is_some() {
        pieces.push(entries.get(kept..at)?.into());
        kept = at;
    }
    for (edited, edit) in edits {
        number += usize::from(add(&mut pieces, edited, edit));
    }
    pieces.push(entries.get(kept..)?.into());
    pieces.push(vec![0; TRAILER].into());
    pieces[0] = begin(number).into();
    Some(pieces)
}

fn begin(count: usize) -> Vec<u8> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    [&HEAD[..], &count.to_be_bytes()].concat()
}

fn add(pieces: &mut Vec<Cow<'_, [u8]>>, path: &RepoPath, edit: &TreeEdit) -> bool {
    if let Some((mode, blob)) = edit {
        let mut entry = Vec::new();
        push(&mut entry, path, *mode, blob);
        pieces.push(entry.into());
    }
    edit.is_some()
}

fn push(index: &mut Vec<u8>, path: &RepoPath, mode: FileMode, blob: &BlobId) {
    let end = index.len() + length(path.as_bytes().len());
    let mut numbers = [0; NUMBERS];
    let mode = u32::try_from(mode.raw()).unwrap_or(0);
    numbers[MODE..MODE + 4].copy_from_slice(&mode.to_be_bytes());
    index.extend(numbers);
    let hash = blob.as_str().as_bytes();
    index.extend(hash.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])));
    // A longer path is told by its end.
    let shown = u16::try_from(path.as_bytes().len()).unwrap_or(u16::MAX).min(0xfff);
    index.extend(shown.to_be_bytes());
    index.extend(path.as_bytes());
    index.resize(end, 0);
}

fn digit(hexadecimal: u8) -> u8 {
    match hexadecimal {
        b'0'..=b'9' => hexadecimal - b'0',
        b'a'..=b'f' => hexadecimal - b'a' + 10,
        _ => 0,
    }
}

/// An entry is padded with one to eight zeros to a multiple of eight.
fn length(path: usize) -> usize {
    (FIXED + path + 8) & !7
}

fn path_at(entries: &[u8], at: usize) -> Option<&[u8]> {
    let flags = entries.get(at + FIXED - 2..at + FIXED)?;
    let shown = usize::from(u16::from_be_bytes([flags[0], flags[1]]) & 0xfff);
    let rest = entries.get(at + FIXED..)?;
    if shown < 0xfff { rest.get(..shown) } else { rest.split(|byte| *byte == 0).next() }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write files")]
mod tests {
    use super::*;

    fn entry(path: &str, mode: FileMode, digit: char) -> TreeEntry {
        let blob = BlobId::new(digit.to_string().repeat(40)).unwrap();
        TreeEntry { path: path.into(), mode, blob }
    }

    fn files() -> Vec<TreeEntry> {
        vec![
            entry("a-b", FileMode::Regular, '1'),
            entry("a.txt", FileMode::Executable, '2'),
            entry("a/x", FileMode::Regular, '3'),
            entry("b", FileMode::Symlink, '4'),
            entry(&"d/".repeat(2_100), FileMode::Regular, '5'),
        ]
    }

    fn read(bytes: &[u8]) -> Vec<(String, u32, String)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        std::fs::write(&path, bytes).unwrap();
        let index = git2::Index::open(&path).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        index.iter().map(|e| (text(&e.path), e.mode, e.id.to_string())).collect()
    }

    #[test]
    fn libgit2_reads_what_was_written() {
        let found = read(&whole(&files()));
        let paths: Vec<&str> = found.iter().map(|(path, ..)| &path[..path.len().min(5)]).collect();
        assert_eq!(paths, ["a-b", "a.txt", "a/x", "b", "d/d/d"]);
        assert_eq!(found[1].1, 0o100_755);
        assert_eq!(found[3].2, "4".repeat(40));
        assert_eq!(found[4].0.len(), 4_200);
    }

    #[test]
    fn a_splice_is_the_same_as_a_whole() {
        let old = files();
        let edits: BTreeMap<RepoPath, TreeEdit> = [
            ("0first", Some((FileMode::Regular, old[0].blob.clone()))),
            ("a.txt", None),
            ("a/x", Some((FileMode::Executable, old[1].blob.clone()))),
            ("a/y", Some((FileMode::Regular, old[2].blob.clone()))),
            ("missing", None),
            ("z", Some((FileMode::Regular, old[3].blob.clone()))),
        ]
        .map(|(path, edit)| (RepoPath::from(path), edit))
        .into();
        let mut new: Vec<TreeEntry> =
            old.iter().filter(|file| !edits.contains_key(&file.path)).cloned().collect();
        for (path, edit) in &edits {
            if let Some((mode, blob)) = edit.clone() {
                new.push(TreeEntry { path: path.clone(), mode, blob });
            }
        }
        assert_eq!(spliced(&whole(&old), &edits).unwrap().concat(), whole(&new));
        assert_eq!(spliced(&whole(&old), &BTreeMap::new()).unwrap().concat(), whole(&old));
    }

    #[test]
    fn what_is_no_index_is_not_spliced() {
        let index = whole(&files());
        assert!(spliced(b"", &BTreeMap::new()).is_none());
        assert!(spliced(&index[..50], &BTreeMap::new()).is_none());
        assert!(spliced(&index[1..], &BTreeMap::new()).is_none());
    }
}
