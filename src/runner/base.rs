//! Where a night starts from: `--base`, else the remote's default (or the configured) branch fetched now,
//! else its remote-tracking ref, else the local default branch. Writes only into the vault.

use crate::{
    git::user::RemoteUrl,
    ids::{CommitId, REF_NAMESPACE},
    night::Base,
    runner::{home::Home, places::Surroundings, refused::Refused},
};

/// How a base was found that could not be fetched now begins so.
pub const LAST_FETCHED: &str = "the last fetched state of";

/// Finds the base. `asked` is `--base`, `branch` the configured branch.
pub fn find(
    surroundings: &Surroundings,
    home: &Home,
    asked: Option<&str>,
    branch: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<Base, Refused> {
    let of = |commit: CommitId, branch: String, how: String| -> Result<Base, Refused> {
        let tree = home.vault.tree_of(&commit)?;
        Ok(Base { commit, tree, branch, how })
    };
    if let Some(word) = asked {
        let commit = home.user.revision(word)?.ok_or_else(|| {
            Refused::usage(
                format!("`{word}` names no commit in {}", home.user.root().display()),
                "give a branch, a tag or a commit",
            )
        })?;
        // The pull request still needs a branch to go to.
        let branch = match (branch, home.user.resolve(&format!("refs/heads/{word}"))?) {
            (Some(branch), _) => branch.to_owned(),
            (None, Some(_)) => word.to_owned(),
            (None, None) => local_default(home)?.map_or(word.to_owned(), |(name, _)| name),
        };
        return of(commit, branch, format!("`{word}`, given with --base"));
    }
    if let Some(remote) = &home.remote {
        match fetch(surroundings, home, remote, branch) {
            Ok((branch, commit)) => {
                return of(commit, branch, format!("fetched from {}", remote.name));
            }
            Err(problem) => {
                let Some((branch, commit)) = tracking(home, &remote.name, branch)? else {
                    return Err(Refused::environment(
                        format!("could not fetch the base from {}: {problem}", remote.name),
                        "check the network and your access, or name a base with --base",
                    ));
                };
                notes.push(format!(
                    "{} could not be reached ({problem}); the base is the last fetched {branch}",
                    remote.name
                ));
                return of(commit, branch, format!("{LAST_FETCHED} {}", remote.name));
            }
        }
    }
    match local(home, branch)? {
        Some((name, commit)) => of(commit, name, "your local branch".to_owned()),
        None if home.user.head()?.is_some() => Err(Refused::environment(
            "HEAD is on no branch, and there is neither a remote nor a branch `main` or `master`",
            "name a base with --base, such as --base HEAD",
        )),
        None => Err(Refused::environment(
            format!("{} has no commit to start from", home.user.root().display()),
            "commit something, or name a base with --base",
        )),
    }
}

/// The branch that pull requests go to, as far as it is known here: nothing is fetched.
pub fn known(home: &Home, branch: Option<&str>) -> Result<Base, Refused> {
    let tracked = match &home.remote {
        Some(remote) => tracking(home, &remote.name, branch)?
            .map(|found| (found, format!("{LAST_FETCHED} {}", remote.name))),
        None => None,
    };
    let found = match tracked {
        Some(found) => Some(found),
        None => local(home, branch)?.map(|found| (found, "your local branch".to_owned())),
    };
    let ((branch, commit), how) = found.ok_or_else(|| {
        Refused::usage("no branch to start from is known here", "name the base with --base")
    })?;
    let tree = home.vault.tree_of(&commit)?;
    Ok(Base { commit, tree, branch, how })
}

fn local(home: &Home, branch: Option<&str>) -> Result<Option<(String, CommitId)>, Refused> {
    let Some(branch) = branch else { return local_default(home) };
    let found = home.user.resolve(&format!("refs/heads/{branch}"))?;
    Ok(found.map(|commit| (branch.to_owned(), commit)))
}

fn local_default(home: &Home) -> Result<Option<(String, CommitId)>, Refused> {
    let names = ["main".to_owned(), "master".to_owned()];
    for name in names.into_iter().chain(home.user.head_branch()?) {
        if let Some(commit) = home.user.resolve(&format!("refs/heads/{name}"))? {
            return Ok(Some((name, commit)));
        }
    }
    Ok(None)
}

fn fetch(
    surroundings: &Surroundings,
    home: &Home,
    remote: &RemoteUrl,
    branch: Option<&str>,
) -> Result<(String, CommitId), String> {
    let network = home.network(surroundings);
    let branch = match branch {
        Some(branch) => branch.to_owned(),
        None => {
            let found = network.default_branch(&remote.fetch).map_err(|e| e.to_string())?;
            let (name, commit) = found.ok_or("the remote is empty, or its HEAD is no branch")?;
            // Already here with all that it needs: the look was enough.
            if home.has(&commit) {
                return Ok((name, commit));
            }
            name
        }
    };
    let ours = format!("{REF_NAMESPACE}base/{branch}");
    network
        .fetch(&remote.fetch, &[&format!("+refs/heads/{branch}:{ours}")])
        .map_err(|e| e.to_string())?;
    let commit = home.vault.resolve(&ours).map_err(|e| e.to_string())?;
    Ok((branch, commit.ok_or("the fetch brought nothing")?))
}

fn tracking(
    home: &Home,
    remote: &str,
    branch: Option<&str>,
) -> Result<Option<(String, CommitId)>, Refused> {
    let names = match branch {
        Some(branch) => vec![branch.to_owned()],
        None => {
            let head = home.user.symbolic(&format!("refs/remotes/{remote}/HEAD"))?;
            let below = format!("refs/remotes/{remote}/");
            let head = head.and_then(|name| name.strip_prefix(&below).map(str::to_owned));
            head.into_iter().chain(["main".to_owned(), "master".to_owned()]).collect()
        }
    };
    for name in names {
        if let Some(commit) = home.user.resolve(&format!("refs/remotes/{remote}/{name}"))? {
            return Ok(Some((name, commit)));
        }
    }
    Ok(None)
}
