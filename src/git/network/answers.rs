//! What git and remotes say about a fetch or a push, and what it means. Only reads text.

use crate::ids::CommitId;

/// How a push ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushOutcome {
    /// The remote's ref stands at the commit now.
    Pushed,
    /// It stood there already.
    UpToDate,
    /// The remote answered, and its answer is no.
    Rejected(Rejection),
}

/// Why a remote refused a ref. Messages are the remote's words, redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The ref does not stand where it was expected: somebody else moved or made it.
    LeaseStale,
    /// A protected branch or a rule of the repository.
    Protected {
        /// What the remote said.
        message: String,
    },
    /// A hook of the remote: push protection, a missing `workflow` scope, a project's own check.
    Hook {
        /// What the remote said.
        message: String,
    },
    /// Something else.
    Other {
        /// What the remote said.
        message: String,
    },
}

/// Why nothing was fetched, listed or pushed. Messages are git's words, redacted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An empty address, an option in disguise, control characters.
    #[error("`{0}` is not an address that git can be given")]
    Address(String),
    /// A push outside our namespaces, or a malformed name.
    #[error("`{0}` is not a ref of ours, and nothing else is ever pushed")]
    ForeignRef(String),
    /// A refspec that could be read as something else.
    #[error("`{0}` is not a refspec")]
    Refspec(String),
    /// The program is missing or cannot be run.
    #[error("could not run git: {0}")]
    NotStarted(String),
    /// It was killed at its time limit, in seconds.
    #[error("git {operation} did not end within {seconds} s")]
    TimedOut {
        /// `push`, `fetch`, `ls-remote`.
        operation: String,
        /// The limit.
        seconds: u64,
    },
    /// No login, a wrong one, or one without the right to do this.
    #[error("the remote refused the login: {0}")]
    AuthenticationFailed(String),
    /// No repository there, or none that this login may see.
    #[error("no repository there: {0}")]
    NotFound(String),
    /// No network, no answer, an answer cut short, a server's fault.
    #[error("the remote cannot be reached: {0}")]
    Unreachable(String),
    /// git said something we do not know.
    #[error("git {operation} failed: {message}")]
    Failed {
        /// `push`, `fetch`, `ls-remote`.
        operation: String,
        /// Its words.
        message: String,
    },
}

impl Error {
    /// True when the same may work later.
    pub fn temporary(&self) -> bool {
        matches!(self, Error::TimedOut { .. } | Error::Unreachable(_))
    }

    /// What a person can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Error::Address(_) => "look at `git remote -v`",
            Error::ForeignRef(_) | Error::Refspec(_) => "this is a fault of the program: report it",
            Error::NotStarted(_) => "install git, and see that it is on PATH where the night runs",
            Error::TimedOut { .. } | Error::Unreachable(_) => {
                "look at the network, and publish again later: every commit is kept"
            }
            Error::AuthenticationFailed(_) => {
                "check with `git ls-remote` where the night runs: an ssh key without a passphrase or in \
                 an agent, a credential helper, or GH_TOKEN"
            }
            Error::NotFound(_) => {
                "check the remote's address; a private repository looks like a missing one to a login \
                 that may not see it"
            }
            Error::Failed { .. } => "run the same by hand to see more",
        }
    }
}

/// Reads what `git ls-remote --symref URL HEAD` prints (2.47; `⇥` is a tab):
///
/// ```text
/// ref: refs/heads/main⇥HEAD
/// b66c9f491b32946c4755e98115d22857b4c92bf9⇥HEAD
/// ```
pub(super) fn read_symref(stdout: &str) -> Option<(String, CommitId)> {
    let (mut branch, mut commit) = (None, None);
    for line in stdout.lines() {
        match line.split_once('\t') {
            Some((target, "HEAD")) if target.starts_with("ref: ") => {
                branch = target.strip_prefix("ref: refs/heads/").map(str::to_owned);
            }
            Some((hash, "HEAD")) => commit = CommitId::new(hash).ok(),
            _ => {}
        }
    }
    branch.zip(commit)
}

/// Reads what `git ls-remote --refs URL PATTERN` prints, one ref a line:
///
/// ```text
/// b66c9f491b32946c4755e98115d22857b4c92bf9⇥refs/heads/main
/// ```
pub(super) fn read_refs(stdout: &str) -> Vec<(String, CommitId)> {
    let line = |line: &str| {
        let (hash, name) = line.split_once('\t')?;
        Some((name.to_owned(), CommitId::new(hash).ok()?))
    };
    stdout.lines().filter_map(line).collect()
}

/// Reads what `git push --porcelain` prints about `to`: a flag, the refspec and a summary, parted by
/// tabs (2.47). `None` when there is no such line: the push ended before the remote answered.
///
/// ```text
/// To https://github.com/o/r.git
/// *⇥cc90e28f…:refs/heads/nightshift/x⇥[new branch]
///  ⇥b881e195…:refs/heads/nightshift/x⇥cc90e28..b881e19
/// +⇥cc90e28f…:refs/heads/nightshift/x⇥b881e19...cc90e28 (forced update)
/// =⇥cc90e28f…:refs/heads/nightshift/x⇥[up to date]
/// !⇥b881e195…:refs/heads/nightshift/x⇥[rejected] (stale info)
/// !⇥b881e195…:refs/heads/nightshift/x⇥[remote rejected] (hook declined)
/// !⇥b881e195…:refs/heads/nightshift/x⇥[remote rejected] (failed to update ref)
/// !⇥b881e195…:refs/heads/nightshift/x⇥[remote failure] (remote failed to report status)
/// Done
/// ```
pub(super) fn read_push(stdout: &str, to: &str, stderr: &str) -> Option<PushOutcome> {
    let (flag, summary) = stdout.lines().find_map(|line| {
        let mut fields = line.splitn(3, '\t');
        let (flag, refspec, summary) = (fields.next()?, fields.next()?, fields.next()?);
        (refspec.rsplit_once(':')?.1 == to).then_some((flag, summary))
    })?;
    match flag {
        "=" => return Some(PushOutcome::UpToDate),
        "!" => {}
        _ => return Some(PushOutcome::Pushed),
    }
    if summary.starts_with("[remote failure]") {
        return None;
    }
    let words = [remote_words(stderr), telling(stderr), summary.to_owned()];
    let message = words.into_iter().find(|words| !words.is_empty()).unwrap_or_default();
    let has = |words: &[&str]| words.iter().any(|w| summary.contains(w) || message.contains(w));
    let rejection = if summary.starts_with("[rejected]") && has(&["stale info"])
        || has(&["cannot lock ref", "incorrect old value", "reference already exists"])
    {
        Rejection::LeaseStale
    } else if has(&["PUSH PROTECTION"]) {
        // GH013 as well, but about what is pushed and not about where to.
        Rejection::Hook { message }
    } else if has(&["GH006", "GH013", "protected branch", "Protected branch"]) {
        Rejection::Protected { message }
    } else if has(&["hook declined", "refusing to allow"]) {
        Rejection::Hook { message }
    } else {
        Rejection::Other { message }
    };
    Some(PushOutcome::Rejected(rejection))
}

/// The lines that git marks as the remote's own, without the mark.
fn remote_words(stderr: &str) -> String {
    let lines = stderr.lines().filter_map(|line| line.strip_prefix("remote:"));
    let lines = lines.map(str::trim).filter(|l| !l.starts_with("error: hook declined to update"));
    cut(lines.collect::<Vec<_>>().join("\n").trim())
}

/// The lines of a complaint that say something about this case.
fn telling(stderr: &str) -> String {
    let lines = stderr.lines().map(str::trim).filter(|line| {
        let boilerplate = [
            "Please make sure you have the correct access rights",
            "and the repository exists.",
            "fatal: Could not read from remote repository.",
            "error: failed to push some refs",
        ];
        !line.is_empty() && !boilerplate.iter().any(|words| line.starts_with(words))
    });
    cut(&lines.collect::<Vec<_>>().join("\n"))
}

/// What git's complaint means. Its wordings (2.47, ssh of OpenSSH, GitHub's server):
///
/// ```text
/// fatal: Authentication failed for 'https://github.com/o/r.git/'
/// fatal: could not read Username for 'https://github.com': terminal prompts disabled
/// git@github.com: Permission denied (publickey).
/// fatal: unable to access '…': The requested URL returned error: 403
/// remote: Repository not found.
/// fatal: '../none.git' does not appear to be a git repository
/// fatal: unable to access '…': Could not resolve host: github.com
/// fatal: the remote end hung up unexpectedly
/// ```
pub(super) fn classify(operation: &str, stderr: &str) -> Error {
    let has = |words: &[&str]| words.iter().any(|word| stderr.contains(word));
    let message = telling(stderr);
    if has(&["not found", "does not appear to be a git repository", "URL returned error: 404"])
        && !has(&["command not found"])
    {
        Error::NotFound(message)
    } else if has(&[
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "unable to get password",
        "terminal prompts disabled",
        "Permission denied",
        "Permission to ",
        "Invalid username or ",
        "Host key verification failed",
        "URL returned error: 401",
        "URL returned error: 403",
    ]) {
        Error::AuthenticationFailed(message)
    } else if has(&[
        "unable to access",
        "Could not resolve host",
        "Connection refused",
        "Connection reset",
        "Connection closed",
        "Connection timed out",
        "Operation timed out",
        "Network is unreachable",
        "No route to host",
        "hung up",
        "unexpected disconnect",
        "early EOF",
        "RPC failed",
        "Could not read from remote repository",
    ]) {
        Error::Unreachable(message)
    } else {
        Error::Failed { operation: operation.to_owned(), message }
    }
}

/// At most this much of another program's words goes into a message, in characters.
const LONGEST_MESSAGE: usize = 2_000;

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRANCH: &str = "refs/heads/nightshift/2026-11-21";

    #[test]
    fn what_git_says_is_understood() {
        for (stderr, temporary) in [
            ("fatal: unable to access 'https://h/': Could not resolve host: h", true),
            (
                "remote: Internal Server Error\nfatal: unable to access 'u': The requested URL returned error: 502",
                true,
            ),
            ("send-pack: unexpected disconnect while reading sideband packet", true),
            (
                "git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.",
                false,
            ),
            ("ERROR: Repository not found.\nfatal: Could not read from remote repository.", false),
            ("fatal: bad object 1111", false),
        ] {
            assert_eq!(classify("push", stderr).temporary(), temporary, "{stderr}");
        }
        let words = "remote: - GITHUB PUSH PROTECTION\nremote:   - Push cannot contain secrets   ";
        let line =
            format!("!\tabc:{BRANCH}\t[remote rejected] (push declined due to rule violations)");
        let message = "- GITHUB PUSH PROTECTION\n- Push cannot contain secrets".to_owned();
        let expected = PushOutcome::Rejected(Rejection::Hook { message });
        assert_eq!(read_push(&line, BRANCH, words), Some(expected));
        let line = format!("!\tabc:{BRANCH}\t[remote failure] (remote failed to report status)");
        assert_eq!(read_push(&line, BRANCH, ""), None);
        assert_eq!(read_push("Done\n", BRANCH, ""), None);
    }
}
