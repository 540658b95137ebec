//! Workspaces of the kind `pool`: plain directories, one fixed path each.
//!
//! Writes below its own directories only.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::{Path, PathBuf},
};

use rustix::fs::FileType;

use crate::{
    diff::FileMode,
    files,
    git::{Error, TreeEntry, Vault, oid, tree},
    ids::{RepoPath, TreeId},
    workspace::{
        look,
        read::{Changes, Reader},
        rules::{Base, InBase, Known},
    },
};

/// One slot of this kind.
pub(super) struct Pool {
    directory: PathBuf,
    base: Vec<TreeEntry>,
}

impl Pool {
    pub(super) fn lay_out(vault: &Vault, place: &Path, tree: &TreeId) -> Result<Pool, Error> {
        let directory = place.join("tree");
        files::remove_any(&directory)?;
        files::create_private_dir(&directory)?;
        let handles = vault.open()?;
        let base = tree::list(&handles.read, tree)?;
        let asked = Base::new(&handles.read, tree)?;
        let mut made: HashSet<PathBuf> = HashSet::new();
        for entry in &base {
            let path = look::inside(&directory, &entry.path);
            if entry.mode == FileMode::Gitlink {
                files::create_dir_all(&path)?;
                continue;
            }
            if let Some(parent) = path.parent()
                && made.insert(parent.to_owned())
            {
                files::create_dir_all(parent)?;
            }
            let blob = asked.contents(oid(entry.blob.as_str()))?;
            write(&path, entry.mode, blob.content())?;
        }
        Ok(Pool { directory, base })
    }

    pub(super) fn reopen(
        vault: &Vault,
        place: &Path,
        tree: &TreeId,
    ) -> Result<Option<Pool>, Error> {
        let directory = place.join("tree");
        if !is_dir(&directory) {
            return Ok(None);
        }
        let base = vault.list(tree)?;
        Ok(Some(Pool { directory, base }))
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn changes(&self, mut reader: Reader<'_>) -> Result<Changes, Error> {
        // The root may have been replaced by a link: nothing of where it leads is ours to read.
        let Ok(root) = look::root(&self.directory) else {
            reader.odd(&RepoPath::from("."), "the whole workspace, which is gone");
            return reader.finish();
        };
        reader.strangers(&RepoPath::new(""), &root)?;
        for entry in &self.base {
            let (above, name) = look::split(entry.path.as_bytes());
            let known = Known { mode: entry.mode, id: oid(entry.blob.as_str()) };
            let parent = look::below(&root, above);
            let found = parent.and_then(|parent| Ok((look::entry(&parent, name)?, parent)));
            match found {
                Ok((seen, parent)) if seen.kind == FileType::Directory => {
                    if entry.mode != FileMode::Gitlink {
                        reader.removed(&entry.path);
                    } else if let Ok(directory) = look::below(&parent, name) {
                        reader.submodule(&entry.path, &directory);
                    }
                }
                Ok((seen, parent)) => {
                    reader.file(&entry.path, &parent, name, &seen, Some(known))?;
                }
                Err(_) => reader.removed(&entry.path),
            }
        }
        reader.finish()
    }

    pub(super) fn put(&self, base: &Base<'_>, paths: &[RepoPath]) -> Result<(), Error> {
        put(&self.directory, base, paths)
    }
}

/// Makes each of `paths` below `root` what it is in `base`, or absent.
pub(super) fn put(root: &Path, base: &Base<'_>, paths: &[RepoPath]) -> Result<(), Error> {
    let mut wanted = Vec::new();
    // What goes, goes first: it may stand where a directory of another path belongs.
    for path in paths {
        match base.find(path)? {
            InBase::File(known) => wanted.push((path, known)),
            InBase::Nothing | InBase::Directory if behind_other(root, path) => {}
            InBase::Directory if is_dir(&look::inside(root, path)) => {}
            InBase::Nothing | InBase::Directory => files::remove_any(&look::inside(root, path))?,
        }
    }
    for (path, known) in wanted {
        let mut at = root.to_owned();
        for component in path.components() {
            if !is_dir(&at) {
                files::remove_any(&at)?;
                files::create_dir_all(&at)?;
            }
            at.push(OsStr::from_bytes(component));
        }
        files::remove_any(&at)?;
        if known.mode == FileMode::Gitlink {
            files::create_dir_all(&at)?; // a submodule, which is an empty directory
        } else {
            write(&at, known.mode, base.contents(known.id)?.content())?;
        }
    }
    Ok(())
}

/// Writes a file that is not there.
pub(super) fn write(path: &Path, mode: FileMode, contents: &[u8]) -> Result<(), Error> {
    match mode {
        FileMode::Symlink => {
            let target = OsStr::from_bytes(contents);
            symlink(target, path).map_err(files::error("link", path))?;
        }
        FileMode::Executable => files::create_new(path, contents, 0o755)?,
        FileMode::Regular | FileMode::Gitlink => files::create_new(path, contents, 0o644)?,
    }
    Ok(())
}

fn is_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// True when a component above the file is no directory: then the path leads somewhere else.
fn behind_other(root: &Path, path: &RepoPath) -> bool {
    let mut at = root.to_owned();
    let components: Vec<&[u8]> = path.components().collect();
    components.iter().take(components.len().saturating_sub(1)).any(|component| {
        at.push(OsStr::from_bytes(component));
        !is_dir(&at)
    })
}
