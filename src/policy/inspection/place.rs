//! Where a change is and what kind of file it makes: paths, deletions, permissions, links, submodules, names.
//!
//! Judges names and modes only; contents are read by the rules beside it.

use super::{
    DELETION, DENIED, INVISIBLE, Inspector, LINK, MODE, NAME, PATHS, PROTECTED, Rule, SCOPE,
    SUBMODULE,
};
use crate::{
    diff::{ChangeKind, FileChange, FileMode},
    ids::RepoPath,
    policy::{
        Deletion, Verdict,
        rules::{is_test_or_doc, matches},
        source::{self, Line},
    },
};

impl Inspector<'_> {
    /// Where a change may be. The first rule that says no speaks: a protected path is not also denied.
    pub(super) fn path(&mut self, path: &RepoPath) {
        let value = path.to_string();
        if path.components().any(|component| is_git_name(component) || component == b"..") {
            let message = format!("`{value}` would be read as git's own directory on some systems");
            self.no(NAME, value, "no component such as `.git` or `..`", message);
        } else if matches(&self.rules.protected, path) {
            let message = format!("`{value}` is protected and must stay as the base has it");
            let help = "put the file back; what judges the work is changed by people only";
            self.no_with_help(PROTECTED, value, "identical to the base", message, help);
        } else if matches(&self.rules.deny, path) {
            let message = format!("`{value}` is denied");
            self.no_with_help(DENIED, value, "not denied", message, "put the file back");
        } else if !self.rules.allows(path) {
            let limit = self.rules.policy.allowed();
            let message = format!("`{value}` is outside the allowed paths");
            self.no_with_help(PATHS, value, limit, message, "put the file back");
        } else if self.narrowed.as_ref().is_some_and(|narrowed| !matches(narrowed, path)) {
            let limit = self.task.files().join(", ");
            let message = format!("`{value}` is outside the files that the task names");
            self.no_with_help(
                PATHS,
                value,
                limit,
                message,
                "put the file back, or name it in `Files`",
            );
        } else if self.task.only_tests_or_docs() && !is_test_or_doc(path) {
            let message = format!(
                "`{value}` is neither test nor document, and the task was admitted as writing only those"
            );
            let help = "give the task a score, an estimate and tests, or put the file back";
            self.no_with_help(SCOPE, value, "tests and documents", message, help);
        }
    }

    /// A name that shows as another one.
    pub(super) fn name(&mut self, change: &FileChange) {
        let value = change.path.to_string();
        if change.new.is_some() && value.chars().any(is_invisible) {
            let message = "the name holds characters that hide or reorder what is shown";
            self.no(INVISIBLE, value, "no invisible or direction-changing characters", message);
        }
    }

    /// A rename is a move, not a deletion: both of its paths were judged by [`Inspector::path`].
    pub(super) fn deletion(&mut self, change: &FileChange) {
        let value = change.path.to_string();
        let emptied = change.kind == ChangeKind::Modified && emptied(change);
        let message = if change.kind == ChangeKind::Deleted {
            format!("`{value}` was deleted")
        } else if emptied {
            format!("`{value}` was emptied, which is deleting by another name")
        } else {
            return;
        };
        let verdict = match self.rules.policy.delete {
            Deletion::Allow => return,
            Deletion::Never => Verdict::Refuse,
            Deletion::Ask => Verdict::Ask,
        };
        let rule = Rule(DELETION.0, verdict, DELETION.2, DELETION.3);
        self.no_with_help(rule, value, "no file is deleted", message, "put the file back");
    }

    /// A changed permission asks and is not refused: a script may need it, and no line of a review shows it.
    pub(super) fn mode(&mut self, change: &FileChange) {
        let executable = |mode| mode == FileMode::Executable;
        let Some(new) = &change.new else { return };
        let was = change.old.as_ref().is_some_and(|side| executable(side.mode));
        let is = executable(new.mode);
        let file = matches!(new.mode, FileMode::Regular | FileMode::Executable);
        if file && was != is {
            let value = change.path.to_string();
            let message = if is {
                format!("`{value}` became executable")
            } else {
                format!("`{value}` is no longer executable")
            };
            self.no(MODE, value, "permissions stay", message);
        }
    }

    pub(super) fn link(&mut self, change: &FileChange) {
        let value = change.path.to_string();
        let sides = [change.old.as_ref(), change.new.as_ref()];
        if sides.iter().flatten().any(|side| side.mode == FileMode::Gitlink) {
            let message = format!("`{value}` is a submodule");
            self.no(SUBMODULE, value, "no submodule is added, moved or removed", message);
            return;
        }
        let Some(new) = change.new.as_ref().filter(|side| side.mode == FileMode::Symlink) else {
            return;
        };
        let limit = "links stay inside the repository, on paths that may be changed";
        let target = new.link_target.as_deref().unwrap_or_default();
        let Some(path) = resolve(&change.path, target) else {
            let message = format!("the link `{value}` leaves the repository: `{target}`");
            self.no(LINK, value, limit, message);
            return;
        };
        let below = path.join(b"x");
        let closed = [&path, &below].into_iter().any(|path| {
            path.components().any(is_git_name)
                || matches(&self.rules.protected, path)
                || matches(&self.rules.deny, path)
        });
        if closed {
            let message =
                format!("the link `{value}` leads to a path that may not change: `{target}`");
            self.no(LINK, value, limit, message);
        }
    }
}

/// True when a file held something and now holds nothing, or comments where code was.
fn emptied(change: &FileChange) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return false };
    if new.mode == FileMode::Gitlink || old.bytes == 0 {
        return false;
    }
    let code = |text: &Option<String>| {
        text.as_ref().map(|text| {
            source::read(source::language_of(&change.path), text).lines.contains(&Line::Code)
        })
    };
    new.bytes == 0
        || (code(&change.old_text) == Some(true) && code(&change.new_text) == Some(false))
}

/// Where a link leads, by its text alone; `None` when it is empty, absolute, leaves the repository, or
/// climbs after it went down (`a/../b`: `a` may be a link itself, and then text does not tell).
fn resolve(link: &RepoPath, target: &str) -> Option<RepoPath> {
    if target.is_empty() || target.starts_with('/') || target.contains(['\\', '\0', ':']) {
        return None;
    }
    let mut path: Vec<&[u8]> = link.components().collect();
    path.pop();
    let mut down = false;
    for component in target.split('/') {
        match component {
            "" | "." => {}
            ".." if down => return None,
            ".." => {
                path.pop()?;
            }
            name => {
                down = true;
                path.push(name.as_bytes());
            }
        }
    }
    Some(RepoPath::new(path.join(&b'/')))
}

/// True for what some file system takes for `.git`: any case, trailing dots and blanks, the short name of
/// NTFS, its streams (`.git::$INDEX_ALLOCATION`), and HFS+'s ignored characters.
fn is_git_name(component: &[u8]) -> bool {
    let text: String =
        String::from_utf8_lossy(component).chars().filter(|c| !is_ignored_by_hfs(*c)).collect();
    let name = text.split(':').next().unwrap_or_default();
    let name = name.trim_end_matches(['.', ' ']).to_lowercase();
    name == ".git" || name == "git~1"
}

/// What a name below the root of a tree means to git, in words, when it is one that git refuses to store or
/// calls an error in its check of a repository. Kept work goes to the person's repository, so that it must not
/// hold one either.
pub fn reserved(component: &[u8], link: bool) -> Option<&'static str> {
    if component.eq_ignore_ascii_case(b".git") {
        Some("a nested git repository")
    } else if is_git_name(component) {
        Some("a name that some systems read as `.git`")
    } else if link && component.eq_ignore_ascii_case(b".gitmodules") {
        Some("a link in the place of git's list of submodules")
    } else {
        None
    }
}

/// Characters that HFS+ leaves out of names.
fn is_ignored_by_hfs(c: char) -> bool {
    matches!(c, '\u{200C}' | '\u{200D}') || is_invisible(c)
}

/// Characters that take no room or turn the direction of what follows (CVE-2021-42574), and tags. Not the
/// joiners U+200C and U+200D: scripts and emoji need them.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{180E}' | '\u{200B}' | '\u{200E}'
        | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}'
        | '\u{FEFF}' | '\u{FFA0}' | '\u{E0000}'..='\u{E01EF}')
        || (c.is_control() && !matches!(c, '\t' | '\u{0C}'))
}
