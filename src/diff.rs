//! What an attempt changed, as plain data: made by `git`, judged by `policy`, shown by `report`.
//!
//! Holds texts only up to [`TEXT_BYTES`] a file, for the rules that read them.

use serde::{Deserialize, Serialize};

use crate::ids::{BlobId, RepoPath};

/// Files above this many bytes are not held as text: rules that read texts say that they could not.
pub const TEXT_BYTES: u64 = 1024 * 1024;

/// All changes from one tree to another, in path order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// One entry for each path that differs; a rename is one entry with both paths.
    pub changes: Vec<FileChange>,
    /// True when there were more added lines than are kept: the rules that read them saw only a part.
    pub truncated: bool,
}

/// One file that differs between two trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// The path after the change; for a deletion, the path that went.
    pub path: RepoPath,
    /// What happened to it.
    pub kind: ChangeKind,
    /// The file before; `None` for an addition.
    pub old: Option<Side>,
    /// The file after; `None` for a deletion.
    pub new: Option<Side>,
    /// Lines added. 0 for binary files.
    pub added: u32,
    /// Lines removed. 0 for binary files.
    pub removed: u32,
    /// True when git would call one of the sides binary.
    pub binary: bool,
    /// The added lines with their numbers in the new file (from 1); bytes that are not UTF-8 replaced.
    pub added_lines: Vec<(u32, String)>,
    /// The removed lines with their numbers in the old file (from 1), in the same form.
    pub removed_lines: Vec<(u32, String)>,
    /// The whole text before; `None` for what is no file, is binary, or is above [`TEXT_BYTES`].
    pub old_text: Option<String>,
    /// The whole text after; `None` in the same cases.
    pub new_text: Option<String>,
}

/// What happened to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The path is new.
    Added,
    /// The contents differ, or only the mode.
    Modified,
    /// The path is gone.
    Deleted,
    /// The file moved here, with or without edits (git's similarity, 50 % or more).
    Renamed {
        /// Where it was.
        from: RepoPath,
    },
}

/// A file in one of the two trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Kind and permission as git stores them.
    pub mode: FileMode,
    /// Its contents.
    pub blob: BlobId,
    /// Size of the contents in bytes; 0 for a gitlink.
    pub bytes: u64,
    /// Where a symbolic link points; `None` for other files.
    pub link_target: Option<String>,
}

/// The four kinds of entry that a git tree has besides directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FileMode {
    /// 100644.
    Regular,
    /// 100755.
    Executable,
    /// 120000.
    Symlink,
    /// 160000: a submodule's commit.
    Gitlink,
}

/// The size of a diff, for journals and reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffStat {
    /// Files that differ.
    pub files: u32,
    /// Lines added in all.
    pub added: u32,
    /// Lines removed in all.
    pub removed: u32,
}

impl Diff {
    /// The sums over all files.
    pub fn stat(&self) -> DiffStat {
        let mut stat = DiffStat::default();
        for change in &self.changes {
            stat.files += 1;
            stat.added = stat.added.saturating_add(change.added);
            stat.removed = stat.removed.saturating_add(change.removed);
        }
        stat
    }
}

impl FileChange {
    /// Every path that this change touches: two for a rename.
    pub fn paths(&self) -> impl Iterator<Item = &RepoPath> {
        let from = match &self.kind {
            ChangeKind::Renamed { from } => Some(from),
            ChangeKind::Added | ChangeKind::Modified | ChangeKind::Deleted => None,
        };
        std::iter::once(&self.path).chain(from)
    }
}
