//! A line of commits: from where it left another one to its tip, with what their messages claim.
//!
//! Reads objects of the vault and of the user's repository; moves nothing.

use git2::{ErrorCode, Sort};

use crate::{
    git::{Error, Vault, commit_id, differences, git, oid, tree_id},
    ids::{CommitId, NAME, RepoPath, TreeId},
};

/// A commit, as far as it is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: CommitId,
    /// Its tree.
    pub tree: TreeId,
    /// Its parents.
    pub parents: Vec<CommitId>,
    /// The first line of its message.
    pub subject: String,
    /// Trailers of ours, as git reads them: name without our prefix (`Tree`), and value.
    pub trailers: Vec<(String, String)>,
    /// True when any line of its message begins as a trailer of ours does.
    pub claims: bool,
}

impl Commit {
    /// All values of one of our trailers, such as `Tree`.
    pub fn trailer<'c>(&'c self, name: &str) -> impl Iterator<Item = &'c str> {
        let name = name.to_owned();
        let same = move |(found, _): &&(String, String)| found.eq_ignore_ascii_case(&name);
        self.trailers.iter().filter(same).map(|(_, value)| value.as_str())
    }
}

impl Vault {
    /// The last commit that two lines have in common; `None` when there is none, or when it was not fetched.
    pub fn merge_base(&self, one: &CommitId, two: &CommitId) -> Result<Option<CommitId>, Error> {
        let handles = self.open()?;
        match handles.read.merge_base(oid(one.as_str()), oid(two.as_str())) {
            Ok(found) => Ok(Some(commit_id(found))),
            Err(problem) if problem.code() == ErrorCode::NotFound => Ok(None),
            Err(problem) => Err(git("compare two lines of commits")(problem)),
        }
    }

    /// Every commit that `tip` has and `base` has not, parents before children.
    pub fn commits(&self, base: &CommitId, tip: &CommitId) -> Result<Vec<Commit>, Error> {
        let handles = self.open()?;
        let wrap = || git("list the commits");
        let mut walk = handles.read.revwalk().map_err(wrap())?;
        walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE).map_err(wrap())?;
        walk.push(oid(tip.as_str())).map_err(wrap())?;
        walk.hide(oid(base.as_str())).map_err(wrap())?;
        let mut found = Vec::new();
        for id in walk {
            let commit = handles.read.find_commit(id.map_err(wrap())?).map_err(wrap())?;
            found.push(facts(&commit));
        }
        Ok(found)
    }

    /// Paths that are another in `new` than in `old`, in blob or in mode, or in one of them only.
    pub fn changed_paths(&self, old: &TreeId, new: &TreeId) -> Result<Vec<RepoPath>, Error> {
        let handles = self.open()?;
        let mut paths = Vec::new();
        let (old, new) = (oid(old.as_str()), oid(new.as_str()));
        differences::differences(&handles.read, Some(old), new, &mut |path, _| {
            paths.push(RepoPath::new(path));
        })?;
        Ok(paths)
    }
}

fn facts(commit: &git2::Commit<'_>) -> Commit {
    let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
    let prefix = format!("{NAME}-");
    let ours = |line: &str| {
        line.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(&prefix))
    };
    // A message with a NUL in it has no trailers, neither here nor for git.
    let trailers = git2::message_trailers_strs(&message).map_or_else(
        |_| Vec::new(),
        |found| {
            let own = found.iter().filter(|(name, _)| ours(name));
            own.map(|(name, value)| (name[prefix.len()..].to_owned(), value.trim().to_owned()))
                .collect()
        },
    );
    Commit {
        id: commit_id(commit.id()),
        tree: tree_id(commit.tree_id()),
        parents: commit.parent_ids().map(commit_id).collect(),
        subject: message.trim_start().lines().next().unwrap_or_default().to_owned(),
        trailers,
        claims: message.lines().any(|line| ours(line.trim_start()) && line.contains(':')),
    }
}
