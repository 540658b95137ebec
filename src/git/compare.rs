//! What changed between two trees: libgit2's diff as plain data.
//!
//! No attribute, driver, external program or configuration takes part: only the two trees.

use std::collections::BTreeMap;

use git2::{Delta, DiffFindOptions, DiffFormat, DiffOptions, Patch, Repository};

use crate::{
    diff::{ChangeKind, Diff, FileChange, FileMode, Side, TEXT_BYTES},
    git::{Error, TreeEdit, blob_id, differences::differences, git, oid},
    ids::{RepoPath, TreeId},
};

/// Changed lines beyond this many bytes in one diff are not kept, and inspection refuses such a diff.
const KEPT_BYTES: usize = 4 * 1024 * 1024;
/// Whole texts beyond this many bytes in one diff are not held.
const HELD_BYTES: u64 = 64 * 1024 * 1024;

/// What makes `new` of `old`, file by file. Costs what differs: equal directories are not looked into, as
/// libgit2's own comparison does (12 ms for 100,000 files in which nothing differs).
pub(crate) fn edits(
    repository: &Repository,
    old: &TreeId,
    new: &TreeId,
) -> Result<BTreeMap<RepoPath, TreeEdit>, Error> {
    let mut edits = BTreeMap::new();
    let (old, new) = (oid(old.as_str()), oid(new.as_str()));
    differences(repository, Some(old), new, &mut |path, known| {
        let edit = known.map(|(mode, id)| (mode, blob_id(id)));
        edits.insert(RepoPath::new(path), edit);
    })?;
    Ok(edits)
}

fn raw<'r>(
    repository: &'r Repository,
    old: &TreeId,
    new: &TreeId,
) -> Result<git2::Diff<'r>, Error> {
    let wrap = || git("compare two trees");
    let paths = edits(repository, old, new)?;
    let old = repository.find_tree(oid(old.as_str())).map_err(wrap())?;
    let new = repository.find_tree(oid(new.as_str())).map_err(wrap())?;
    let mut options = DiffOptions::new();
    options.include_typechange(true).ignore_submodules(false);
    // Only where something differs: the names as they stand, no patterns.
    options.disable_pathspec_match(true);
    for path in paths.keys() {
        options.pathspec(path.as_bytes());
    }
    let same = paths.is_empty();
    let new = if same { &old } else { &new };
    let mut diff =
        repository.diff_tree_to_tree(Some(&old), Some(new), Some(&mut options)).map_err(wrap())?;
    let mut find = DiffFindOptions::new();
    // git's own figure. Copies are additions: the original is still there.
    find.renames(true).rename_threshold(50).copies(false);
    diff.find_similar(Some(&mut find)).map_err(wrap())?;
    Ok(diff)
}

pub(crate) fn diff(repository: &Repository, old: &TreeId, new: &TreeId) -> Result<Diff, Error> {
    let raw = raw(repository, old, new)?;
    let mut changes = Vec::new();
    let (mut kept, mut held) = (0, 0);
    for index in 0..raw.deltas().len() {
        let Some(delta) = raw.get_delta(index) else { continue };
        let path = |file: &git2::DiffFile<'_>| RepoPath::new(file.path_bytes().unwrap_or_default());
        let (before, after) = (delta.old_file(), delta.new_file());
        let (kind, path) = match delta.status() {
            Delta::Added | Delta::Copied => (ChangeKind::Added, path(&after)),
            Delta::Deleted => (ChangeKind::Deleted, path(&before)),
            Delta::Renamed => (ChangeKind::Renamed { from: path(&before) }, path(&after)),
            Delta::Modified
            | Delta::Typechange
            | Delta::Unmodified
            | Delta::Ignored
            | Delta::Untracked
            | Delta::Unreadable
            | Delta::Conflicted => (ChangeKind::Modified, path(&after)),
        };
        let mut change = FileChange {
            path,
            kind,
            old: side(repository, &before)?,
            new: side(repository, &after)?,
            added: 0,
            removed: 0,
            binary: false,
            added_lines: Vec::new(),
            removed_lines: Vec::new(),
            old_text: None,
            new_text: None,
        };
        match Patch::from_diff(&raw, index).map_err(git("compare a file"))? {
            Some(patch) => lines(&patch, &mut change, &mut kept)?,
            None => change.binary = true,
        }
        if !change.binary {
            change.old_text = text(repository, change.old.as_ref(), &mut held)?;
            change.new_text = text(repository, change.new.as_ref(), &mut held)?;
        }
        changes.push(change);
    }
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Diff { changes, truncated: kept >= KEPT_BYTES })
}

fn lines(patch: &Patch<'_>, change: &mut FileChange, kept: &mut usize) -> Result<(), Error> {
    change.binary = patch.delta().flags().contains(git2::DiffFlags::BINARY);
    let (_, added, removed) = patch.line_stats().map_err(git("count lines"))?;
    change.added = u32::try_from(added).unwrap_or(u32::MAX);
    change.removed = u32::try_from(removed).unwrap_or(u32::MAX);
    for hunk in 0..patch.num_hunks() {
        for line in 0..patch.num_lines_in_hunk(hunk).map_err(git("read a hunk"))? {
            let line = patch.line_in_hunk(hunk, line).map_err(git("read a line"))?;
            let (number, lines) = match line.origin() {
                '+' => (line.new_lineno(), &mut change.added_lines),
                '-' => (line.old_lineno(), &mut change.removed_lines),
                _ => continue,
            };
            if *kept < KEPT_BYTES {
                *kept += line.content().len();
                let text = String::from_utf8_lossy(line.content());
                let text = text.trim_end_matches(['\n', '\r']).to_owned();
                lines.push((number.unwrap_or(0), text));
            }
        }
    }
    Ok(())
}

/// The whole text of a file that is small enough; bytes that are not UTF-8 replaced.
fn text(
    repository: &Repository,
    side: Option<&Side>,
    held: &mut u64,
) -> Result<Option<String>, Error> {
    let file = |side: &&Side| matches!(side.mode, FileMode::Regular | FileMode::Executable);
    let Some(side) = side.filter(file).filter(|side| side.bytes <= TEXT_BYTES) else {
        return Ok(None);
    };
    *held += side.bytes;
    if *held > HELD_BYTES {
        return Ok(None);
    }
    let blob = repository.find_blob(oid(side.blob.as_str())).map_err(git("read a file"))?;
    Ok(Some(String::from_utf8_lossy(blob.content()).into_owned()))
}

fn side(repository: &Repository, file: &git2::DiffFile<'_>) -> Result<Option<Side>, Error> {
    if file.id().is_zero() {
        return Ok(None);
    }
    let mode = FileMode::from_raw(i32::from(file.mode()));
    let (bytes, link_target) = match mode {
        FileMode::Gitlink => (0, None),
        FileMode::Symlink => {
            let blob = repository.find_blob(file.id()).map_err(git("read a link"))?;
            let target = String::from_utf8_lossy(blob.content()).into_owned();
            (blob.size() as u64, Some(target))
        }
        FileMode::Regular | FileMode::Executable => {
            let odb = repository.odb().map_err(git("read a file's size"))?;
            let (size, _) = odb.read_header(file.id()).map_err(git("read a file's size"))?;
            (size as u64, None)
        }
    };
    Ok(Some(Side { mode, blob: blob_id(file.id()), bytes, link_target }))
}

pub(crate) fn patch(repository: &Repository, old: &TreeId, new: &TreeId) -> Result<Vec<u8>, Error> {
    let raw = raw(repository, old, new)?;
    let mut text = Vec::new();
    raw.print(DiffFormat::Patch, |_, _, line| {
        if matches!(line.origin(), '+' | '-' | ' ') {
            text.push(line.origin() as u8);
        }
        text.extend_from_slice(line.content());
        true
    })
    .map_err(git("print a diff"))?;
    Ok(text)
}
