//! The user's repository, seen from outside.
//!
//! Reads refs, configuration and the state of the work tree. The only writes: objects that our refs need,
//! in packs of their own, and refs below `refs/heads/nightshift/` and `refs/nightshift/`. There is no way
//! here to write the index, the work tree, HEAD, the configuration, the stash or any other ref.

use std::{
    collections::HashSet,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use git2::{ErrorCode, ObjectType, OdbLookupFlags, Oid, Repository, RepositoryOpenFlags};

use crate::{
    faults, files,
    git::{
        Error, Handles, Vault,
        anchor::Anchor,
        commit_id,
        export::{self, Kept},
        find_ref, git, move_ref, oid, patiently, refs_below,
        remote::Remote,
    },
    ids::{BRANCH_NAMESPACE, CommitId, REF_NAMESPACE},
    night::{Author, PlanSource},
    sys,
};

/// The user's repository.
#[derive(Clone, Debug)]
pub struct UserRepository {
    root: PathBuf,
    common_dir: PathBuf,
    work_tree: Option<PathBuf>,
    held: Arc<Held>,
    refs: Arc<Refs>,
}

/// The two directories, held: a person may move their repository while a night runs.
#[derive(Debug)]
struct Held {
    git_dir: Anchor,
    common_dir: Anchor,
}

/// A handle that is kept to look at refs, which libgit2 reads each time they are asked for. What it knows of objects
/// may be old: a person's `gc` takes packs away that it still has open.
#[derive(Default)]
struct Refs(Mutex<Option<Repository>>);

impl fmt::Debug for Refs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refs")
    }
}

/// The remote that a night fetches from and pushes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteUrl {
    /// Its name, such as `origin`.
    pub name: String,
    /// Where to fetch from. May hold credentials: never print it.
    pub fetch: String,
    /// Where to push to. May hold credentials: never print it.
    pub push: String,
}

impl UserRepository {
    /// Opens the repository that `path` is in: its root, a directory below, a linked worktree, or a bare
    /// repository.
    pub fn open(path: &Path) -> Result<UserRepository, Error> {
        sys::isolate_libgit2();
        let flags = RepositoryOpenFlags::empty();
        let ceilings: [&Path; 0] = [];
        let found = Repository::open_ext(path, flags, ceilings);
        let repository = found.map_err(|problem| unusable(path, &problem))?;
        let work_tree = repository.workdir().map(Path::to_path_buf);
        let root = work_tree.clone().unwrap_or_else(|| repository.path().to_path_buf());
        Ok(UserRepository {
            root: std::fs::canonicalize(&root).unwrap_or(root),
            common_dir: repository.commondir().to_path_buf(),
            work_tree,
            held: Arc::new(Held {
                git_dir: Anchor::of(repository.path()),
                common_dir: Anchor::of(repository.commondir()),
            }),
            refs: Arc::default(),
        })
    }

    /// The work tree's root, or the bare repository.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The work tree, where there is one.
    pub fn work_tree(&self) -> Option<&Path> {
        self.work_tree.as_deref()
    }

    /// Where refs and objects are.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// True when commits before some point were not fetched.
    pub fn is_shallow(&self) -> bool {
        self.common_dir.join("shallow").exists()
    }

    /// Refs of ours below `namespace`, such as `refs/nightshift/receipts/`, and where they stand.
    pub fn our_refs(&self, namespace: &str) -> Result<Vec<(String, CommitId)>, Error> {
        refs_below(&self.repository()?, namespace)
    }

    /// Every directory with objects that this repository reads, its own first.
    pub fn object_dirs(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect_object_dirs(&self.common_dir.join("objects"), &mut found);
        found
    }

    fn repository(&self) -> Result<Repository, Error> {
        patiently(|| {
            Repository::open(self.held.git_dir.path()).map_err(git("open your repository"))
        })
    }

    /// Where a full ref name stands.
    pub fn resolve(&self, name: &str) -> Result<Option<CommitId>, Error> {
        let repository = self.repository()?;
        match repository.find_reference(name) {
            Ok(reference) => {
                Ok(reference.peel_to_commit().ok().map(|commit| commit_id(commit.id())))
            }
            Err(problem)
                if matches!(problem.code(), ErrorCode::NotFound | ErrorCode::InvalidSpec) =>
            {
                Ok(None)
            }
            Err(problem) => Err(git(format!("read {name}"))(problem)),
        }
    }

    /// The ref that a symbolic ref names, such as a remote's HEAD.
    pub fn symbolic(&self, name: &str) -> Result<Option<String>, Error> {
        let repository = self.repository()?;
        let found = repository.find_reference(name).ok();
        Ok(found.and_then(|found| found.symbolic_target().ok().flatten().map(str::to_owned)))
    }

    /// The commit that a person's word means: a branch, tag or hash.
    pub fn revision(&self, word: &str) -> Result<Option<CommitId>, Error> {
        let repository = self.repository()?;
        let found = repository.revparse_single(word).ok();
        Ok(found.and_then(|object| object.peel_to_commit().ok()).map(|c| commit_id(c.id())))
    }

    /// The branch that HEAD is on, without `refs/heads/`; `None` when detached.
    pub fn head_branch(&self) -> Result<Option<String>, Error> {
        let repository = self.repository()?;
        let head = repository.find_reference("HEAD").map_err(git("read HEAD"))?;
        let target = head.symbolic_target().ok().flatten().map(str::to_owned);
        Ok(target.and_then(|name| name.strip_prefix("refs/heads/").map(str::to_owned)))
    }

    /// Who the user is to git: the repository's configuration, else the given files of theirs.
    pub fn identity(&self, configurations: &[PathBuf]) -> Option<Author> {
        let mut config = git2::Config::new().ok()?;
        let levels = [git2::ConfigLevel::XDG, git2::ConfigLevel::Global];
        for (file, level) in configurations.iter().zip(levels) {
            // A file that is not there, or not readable, says nothing.
            let _ = config.add_file(file, level, false);
        }
        let own = self.common_dir.join("config");
        let _ = config.add_file(&own, git2::ConfigLevel::Local, false);
        let config = config.snapshot().ok()?;
        let value = |key: &str| config.get_string(key).ok().filter(|v| !v.trim().is_empty());
        Some(Author { name: value("user.name")?, email: value("user.email")? })
    }

    /// Where HEAD stands; `None` before the first commit.
    pub fn head(&self) -> Result<Option<CommitId>, Error> {
        let repository = self.repository()?;
        let head = repository.head().and_then(|head| head.peel_to_commit());
        Ok(head.ok().map(|commit| commit_id(commit.id())))
    }

    /// The remote to work with: the only one, else `origin`, else none.
    pub fn remote(&self) -> Result<Option<RemoteUrl>, Error> {
        let repository = self.repository()?;
        let names = repository.remotes().map_err(git("list your remotes"))?;
        let names: Vec<String> =
            names.iter().filter_map(|name| name.ok().flatten().map(str::to_owned)).collect();
        let name = match names.as_slice() {
            [] => return Ok(None),
            [only] => only.clone(),
            several => match several.iter().find(|name| *name == "origin") {
                Some(origin) => origin.clone(),
                None => return Ok(None),
            },
        };
        let remote = repository.find_remote(&name).map_err(git("read your remote"))?;
        let Ok(fetch) = remote.url().map(str::to_owned) else { return Ok(None) };
        let push = remote.pushurl().ok().flatten().map_or_else(|| fetch.clone(), str::to_owned);
        let (fetch, push) = (self.absolute(fetch), self.absolute(push));
        // libgit2 resolves `insteadOf` of the repository's own configuration here; the user's global one
        // is applied by the git program when it opens the connection.
        Ok((!fetch.is_empty()).then_some(RemoteUrl { name, fetch, push }))
    }

    /// A relative path means relative to the repository's root; we run git from elsewhere.
    fn absolute(&self, url: String) -> String {
        match Remote::parse(&url) {
            Remote::Path(path) if path.is_relative() => self.root.join(path).display().to_string(),
            Remote::Path(_) | Remote::Forge(_) | Remote::Other => url,
        }
    }

    /// How many files differ between HEAD, index and work tree, untracked ones included; `None` when
    /// libgit2 cannot read this index (sparse and split ones). `plan` is not counted: a plan that is read from the work
    /// tree is part of a night as it is. Writes nothing, not even refreshed times.
    pub fn uncommitted(&self, plan: Option<&PlanSource>) -> Option<usize> {
        self.work_tree.as_ref()?;
        let repository = self.repository().ok()?;
        let mut options = git2::StatusOptions::new();
        options
            .include_untracked(true)
            .recurse_untracked_dirs(false)
            .no_refresh(true)
            .update_index(false)
            .exclude_submodules(true);
        let found = repository.statuses(Some(&mut options)).ok()?;
        let plan = plan.filter(|plan| plan.working_tree).map(|plan| plan.path.to_string());
        let counts = |path: &[u8]| plan.as_ref().is_none_or(|plan| plan.as_bytes() != path);
        Some(found.iter().filter(|entry| counts(entry.path_bytes())).count())
    }

    /// Commits on `tip` that are not on `base`.
    pub fn ahead(&self, vault: &Vault, tip: &CommitId, base: &CommitId) -> Result<usize, Error> {
        let handles = vault.open()?;
        let count = handles.read.graph_ahead_behind(oid(tip.as_str()), oid(base.as_str()));
        count.map(|(ahead, _)| ahead).map_err(git("compare your branch with the base"))
    }

    /// Makes or moves one of our refs, after writing one pack of the objects that are missing here.
    /// Safe to repeat. Refuses every name outside our namespaces, and leaves a branch that the person has checked out
    /// where it is.
    pub fn publish_ref(
        &self,
        vault: &Vault,
        name: &str,
        expected: Option<&CommitId>,
        to: &CommitId,
    ) -> Result<(), Error> {
        if !name.starts_with(BRANCH_NAMESPACE) && !name.starts_with(REF_NAMESPACE) {
            return Err(Error::Mismatch(format!("{name} is not a ref of ours")));
        }
        let repository = self.repository()?;
        if find_ref(&repository, name)?.as_ref() == Some(to) {
            return Ok(());
        }
        let kept = self.export(vault, &repository, (name, to))?;
        faults::pass("user.packed");
        // Looked at as late as can be: to move it then would move their HEAD.
        if expected.is_some() && self.is_checked_out(name) {
            return Ok(());
        }
        // Opened again: libgit2 makes directories where the repository was when it was opened.
        move_ref(&self.repository()?, name, expected, to)?;
        drop(kept);
        // libgit2 syncs refs only when the repository's configuration says so.
        let loose = self.held.common_dir.path().join(name);
        if let Ok(file) = std::fs::File::open(&loose) {
            file.sync_all().map_err(files::error("sync", &loose))?;
        }
        match loose.parent() {
            Some(parent) if parent.is_dir() => Ok(files::sync_dir(parent)?),
            _ => Ok(()),
        }
    }

    /// Removes one of our refs that stands at `expected`; one that is not there is fine. Refuses every name outside
    /// our namespaces, and a branch that the person has checked out.
    pub fn remove_ref(&self, name: &str, expected: &CommitId) -> Result<(), Error> {
        if !name.starts_with(BRANCH_NAMESPACE) && !name.starts_with(REF_NAMESPACE) {
            return Err(Error::Mismatch(format!("{name} is not a ref of ours")));
        }
        if self.is_checked_out(name) {
            return Err(Error::Mismatch(format!("{name} is checked out")));
        }
        patiently(|| super::remove_ref(&self.repository()?, name, expected))
    }

    /// Removes the locks that a killed night left on refs of ours, and its marks on packs of ours. No others are
    /// looked at. Only
    /// the holder of the night's lock may call it.
    pub fn clear_stale_locks(&self) -> Result<(), Error> {
        for namespace in [BRANCH_NAMESPACE, REF_NAMESPACE] {
            super::clear_ref_locks(&self.held.common_dir.path().join(namespace))?;
        }
        export::clear_marks(&self.held.common_dir.path().join("objects/pack"))
    }

    /// True when the person has the branch checked out, here or in a linked worktree: moving it then would
    /// move their HEAD under their feet.
    pub fn is_checked_out(&self, name: &str) -> bool {
        let line = format!("ref: {name}");
        let is_it =
            |head: PathBuf| std::fs::read_to_string(head).is_ok_and(|text| text.trim_end() == line);
        let common_dir = self.held.common_dir.path();
        let linked = std::fs::read_dir(common_dir.join("worktrees"));
        is_it(common_dir.join("HEAD"))
            || is_it(self.held.git_dir.path().join("HEAD"))
            || linked
                .is_ok_and(|linked| linked.flatten().any(|tree| is_it(tree.path().join("HEAD"))))
    }

    /// Where one of our refs stands.
    pub fn our_ref(&self, name: &str) -> Result<Option<CommitId>, Error> {
        let mut kept = self.refs.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repository) = &*kept
            && let Some(found) = find_ref(repository, name)?
        {
            return Ok(Some(found));
        }
        // A handle knows where the repository was when it was opened.
        find_ref(kept.insert(self.repository()?), name)
    }

    /// Writes what `to` needs here. What is written is kept from a clean-up until the result is dropped.
    fn export(
        &self,
        vault: &Vault,
        user: &Repository,
        (name, to): (&str, &CommitId),
    ) -> Result<Option<Kept>, Error> {
        let handles = vault.open()?;
        let there = user.odb().map_err(git("open your objects"))?;
        let to = oid(to.as_str());
        let mut objects: HashSet<Oid> =
            missing_objects(&handles, &there, to)?.into_iter().collect();
        // A base is the person's own commit.
        if !name.starts_with(&format!("{REF_NAMESPACE}keep/")) {
            objects.extend(export::brought(&handles, &export::held(&handles, user)?, to)?);
        }
        if objects.is_empty() {
            return Ok(None);
        }
        export::pack(vault, &handles, objects, &self.held.common_dir.path().join("objects/pack"))
    }
}

/// Writes a pack with its index into a directory of packs, and gives its name. Durable when it returns.
pub(super) fn write_pack(
    pack: &mut git2::PackBuilder<'_>,
    directory: &Path,
) -> Result<Option<String>, Error> {
    let wrap = || git(format!("write a pack into {}", directory.display()));
    files::create_dir_all(directory)?;
    pack.write(directory, 0o444).map_err(wrap())?;
    let name = pack.name().map_err(wrap())?.map(str::to_owned);
    if let Some(name) = &name {
        for kind in ["pack", "idx"] {
            let path = directory.join(format!("pack-{name}.{kind}"));
            let file = std::fs::File::open(&path).map_err(files::error("open", &path))?;
            file.sync_all().map_err(files::error("sync", &path))?;
        }
    }
    files::sync_dir(directory)?;
    Ok(name)
}

/// Objects reachable from `commit` that `there`, just opened, lacks. An object that is there is taken to be there with
/// all that it names, as git itself takes it.
fn missing_objects(
    handles: &Handles,
    there: &git2::Odb<'_>,
    commit: Oid,
) -> Result<Vec<Oid>, Error> {
    let mut missing = Vec::new();
    let mut seen = HashSet::new();
    let mut open = vec![(commit, ObjectType::Commit)];
    while let Some((id, kind)) = open.pop() {
        // It has just looked for packs: it need not look again for each object that it does not find.
        if there.exists_ext(id, OdbLookupFlags::NO_REFRESH) || !seen.insert(id) {
            continue;
        }
        missing.push(id);
        match kind {
            ObjectType::Commit => {
                let commit = handles.read.find_commit(id).map_err(git("read a commit"))?;
                open.push((commit.tree_id(), ObjectType::Tree));
                open.extend(commit.parent_ids().map(|parent| (parent, ObjectType::Commit)));
            }
            ObjectType::Tree => {
                let tree = handles.read.find_tree(id).map_err(git("read a tree"))?;
                open.extend(tree.iter().filter_map(|entry| match entry.kind() {
                    Some(kind @ (ObjectType::Tree | ObjectType::Blob)) => Some((entry.id(), kind)),
                    _ => None, // a gitlink names a commit of another repository
                }));
            }
            ObjectType::Blob | ObjectType::Tag | ObjectType::Any => {}
        }
    }
    Ok(missing)
}

fn collect_object_dirs(directory: &Path, found: &mut Vec<PathBuf>) {
    let directory = std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    // git stops at five levels of alternates as well.
    if found.contains(&directory) || found.len() > 16 {
        return;
    }
    found.push(directory.clone());
    let Ok(text) = std::fs::read_to_string(directory.join("info/alternates")) else { return };
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        collect_object_dirs(&directory.join(line), found);
    }
}

fn unusable(path: &Path, problem: &git2::Error) -> Error {
    let path = path.display();
    let text = problem.message().to_ascii_lowercase();
    let (message, help) = if problem.code() == ErrorCode::NotFound {
        (format!("{path} is not in a git repository"), "name a repository, or run `git init`")
    } else if text.contains("refstorage") || text.contains("reftable") {
        (
            format!("{path} keeps its refs in the reftable format, which this version cannot read"),
            "`git refs migrate --ref-format=files` converts it",
        )
    } else if text.contains("object format") || text.contains("objectformat") {
        (
            format!("{path} uses SHA-256 object names, which this version cannot read"),
            "use a SHA-1 repository",
        )
    } else if text.contains("partialclone") {
        (
            format!("{path} is a partial clone, which this version cannot read"),
            "make a full clone: `git fetch --refetch --no-filter`",
        )
    } else {
        (
            format!("could not open the repository at {path}: {}", problem.message()),
            "check it with `git fsck`",
        )
    };
    Error::Unusable { message, help: help.to_owned() }
}
