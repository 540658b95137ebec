//! Trees that are made to be tried and never land: with files broken on purpose, with a patch, with some files of
//! another tree.
//!
//! Writes objects into the vault's own store and moves no ref: nothing but a gate ever sees these trees.

use std::collections::BTreeMap;

use super::{Error, TreeEdit, Vault, adopt, blob_id, git, oid, tree, tree_id};
use crate::{
    diff::FileMode,
    ids::{RepoPath, TreeId},
};

/// The tree that is `base` with these files: their contents, or `None` to remove one. A file that is there keeps its
/// mode.
pub fn with_texts(
    vault: &Vault,
    base: &TreeId,
    files: &BTreeMap<RepoPath, Option<Vec<u8>>>,
) -> Result<TreeId, Error> {
    let handles = vault.open()?;
    let mut edits: BTreeMap<RepoPath, TreeEdit> = BTreeMap::new();
    // Many files of one text are one object.
    let mut stored: BTreeMap<&[u8], crate::ids::BlobId> = BTreeMap::new();
    for (path, text) in files {
        let Some(text) = text else {
            edits.insert(path.clone(), None);
            continue;
        };
        let blob = match stored.get(text.as_slice()) {
            Some(blob) => blob.clone(),
            None => {
                let blob = blob_id(handles.own.blob(text).map_err(git("store a file"))?);
                stored.insert(text, blob.clone());
                blob
            }
        };
        let old = tree::find(&handles.read, base, path)?;
        let mode = old.map_or(FileMode::Regular, |entry| FileMode::from_raw(entry.filemode()));
        edits.insert(path.clone(), Some((mode, blob)));
    }
    tree::write(&handles, base, &edits)
}

/// The tree that is `base`, with each of `paths` as it is in `other`: with its contents and mode, or absent.
pub fn with_files_of(
    vault: &Vault,
    base: &TreeId,
    other: &TreeId,
    paths: &[RepoPath],
) -> Result<TreeId, Error> {
    let handles = vault.open()?;
    let mut edits: BTreeMap<RepoPath, TreeEdit> = BTreeMap::new();
    for path in paths {
        let found = tree::find(&handles.read, other, path)?;
        let edit = found
            .filter(|entry| entry.kind() != Some(git2::ObjectType::Tree))
            .map(|entry| (FileMode::from_raw(entry.filemode()), blob_id(entry.id())));
        edits.insert(path.clone(), edit);
    }
    tree::write(&handles, base, &edits)
}

/// The tree that is `base` with a patch, and the paths that the patch names. `Err` in it says why it does not fit.
pub fn with_patch(
    vault: &Vault,
    base: &TreeId,
    patch: &[u8],
) -> Result<Result<(TreeId, Vec<RepoPath>), String>, Error> {
    let handles = vault.open()?;
    let diff = match git2::Diff::from_buffer(patch) {
        Ok(diff) if diff.deltas().len() > 0 => diff,
        Ok(_) => return Ok(Err("it changes nothing".to_owned())),
        Err(problem) => return Ok(Err(problem.message().to_owned())),
    };
    let mut paths: Vec<RepoPath> = diff
        .deltas()
        .flat_map(|delta| {
            [delta.old_file(), delta.new_file()].map(|f| f.path_bytes().map(RepoPath::new))
        })
        .flatten()
        .collect();
    paths.sort();
    paths.dedup();
    let old = handles.read.find_tree(oid(base.as_str())).map_err(git("read a tree"))?;
    let mut index = match handles.read.apply_to_tree(&old, &diff, None) {
        Ok(index) => index,
        Err(problem) => return Ok(Err(problem.message().to_owned())),
    };
    let written = index.write_tree_to(&handles.read).map_err(git("store a patched tree"))?;
    adopt(&handles, written)?;
    Ok(Ok((tree_id(written), paths)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::user::UserRepository;

    const REGULAR: i32 = 0o100_644;
    const EXECUTABLE: i32 = 0o100_755;

    struct Scene {
        _root: tempfile::TempDir,
        repository: git2::Repository,
        vault: Vault,
    }

    impl Scene {
        fn new() -> Scene {
            let root = tempfile::tempdir().unwrap();
            let directory = root.path().join("r");
            let repository = git2::Repository::init(&directory).unwrap();
            let user = UserRepository::open(&directory).unwrap();
            let vault = Vault::prepare(&root.path().join("vault.git"), &user).unwrap();
            Scene { _root: root, repository, vault }
        }

        /// A tree of these files.
        fn tree(&self, files: &[(&str, &str, i32)]) -> TreeId {
            let mut builder = git2::build::TreeUpdateBuilder::new();
            for (path, text, mode) in files {
                let blob = self.repository.blob(text.as_bytes()).unwrap();
                let executable = *mode == EXECUTABLE;
                let mode =
                    if executable { git2::FileMode::BlobExecutable } else { git2::FileMode::Blob };
                builder.upsert(*path, blob, mode);
            }
            let empty = self.repository.treebuilder(None).unwrap().write().unwrap();
            let empty = self.repository.find_tree(empty).unwrap();
            tree_id(builder.create_updated(&self.repository, &empty).unwrap())
        }

        /// The same tree by its id, so that contents and modes are compared as git does.
        fn holds(&self, tree: &TreeId, files: &[(&str, &str, i32)]) {
            assert_eq!(*tree, self.tree(files));
            // The vault has it by itself.
            self.vault.open().unwrap().own.find_tree(oid(tree.as_str())).unwrap();
        }
    }

    fn text(text: &str) -> Option<Vec<u8>> {
        Some(text.as_bytes().to_vec())
    }

    #[test]
    fn texts_are_laid_over_a_tree_and_modes_stay() {
        let scene = Scene::new();
        let base =
            scene.tree(&[("a", "1\n", REGULAR), ("b/x", "2\n", EXECUTABLE), ("c", "3\n", REGULAR)]);
        let files = [("b/x", text("new\n")), ("c", None), ("d/e", text("new\n"))];
        let files: BTreeMap<RepoPath, _> = files.map(|(path, text)| (path.into(), text)).into();
        let mixed = with_texts(&scene.vault, &base, &files).unwrap();
        scene.holds(
            &mixed,
            &[("a", "1\n", REGULAR), ("b/x", "new\n", EXECUTABLE), ("d/e", "new\n", REGULAR)],
        );
    }

    #[test]
    fn files_of_another_tree_come_with_contents_and_mode_or_go() {
        let scene = Scene::new();
        let base = scene.tree(&[
            ("a", "1\n", REGULAR),
            ("b", "2\n", REGULAR),
            ("c", "3\n", REGULAR),
            ("d", "4\n", REGULAR),
        ]);
        let other =
            scene.tree(&[("a", "5\n", EXECUTABLE), ("c/x", "6\n", REGULAR), ("d", "7\n", REGULAR)]);
        let paths = ["a", "b", "c"].map(RepoPath::from);
        let mixed = with_files_of(&scene.vault, &base, &other, &paths).unwrap();
        // Where the other tree has a directory it has no such file.
        scene.holds(&mixed, &[("a", "5\n", EXECUTABLE), ("d", "4\n", REGULAR)]);
    }

    #[test]
    fn a_patch_gives_a_tree_with_the_paths_that_it_names_or_says_why_not() {
        let scene = Scene::new();
        let base = scene.tree(&[("a", "one\n", REGULAR), ("b", "two\n", REGULAR)]);
        let of = |patch: &str| with_patch(&scene.vault, &base, patch.as_bytes()).unwrap();
        let change = "diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-one\n+three\n";
        let new = "diff --git a/c b/c\nnew file mode 100644\n--- /dev/null\n+++ b/c\n@@ -0,0 +1 @@\n+four\n";
        let (tree, paths) = of(change).unwrap();
        scene.holds(&tree, &[("a", "three\n", REGULAR), ("b", "two\n", REGULAR)]);
        assert_eq!(paths, ["a"].map(RepoPath::from));
        let (tree, paths) = of(&format!("{new}{change}")).unwrap();
        scene.holds(
            &tree,
            &[("a", "three\n", REGULAR), ("b", "two\n", REGULAR), ("c", "four\n", REGULAR)],
        );
        assert_eq!(paths, ["a", "c"].map(RepoPath::from));
        assert_eq!(of("").unwrap_err(), "it changes nothing");
        assert_ne!(of(&change.replace("one", "five")).unwrap_err(), "it changes nothing");
        assert_ne!(of("@@ -1 +1 @@\n-one\n").unwrap_err(), "");
    }
}
