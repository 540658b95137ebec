//! Fetching and pushing: the one place that runs the `git` program, always from the vault, never on a
//! directory that an agent could write.
//!
//! git is used here because it brings the user's ssh, proxies and credential helpers; their configuration
//! holds for the network and for nothing else. No hook runs, nothing asks a question, no token stands in
//! an argument or a file, and only refs of ours can be pushed.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use url::Url;

mod answers;

pub use self::answers::{Error, PushOutcome, Rejection};
use self::answers::{classify, read_push, read_refs, read_symref};
use super::remote::{self, Login};
use crate::{
    http,
    ids::{BRANCH_NAMESPACE, CommitId, REF_NAMESPACE},
    process::{self, Ended, Environment},
    redact::{self, Redactor, Secret},
};

/// Longest time to ask a remote for its refs.
pub const LOOK_LIMIT: Duration = Duration::from_secs(60);
/// Longest time for a fetch or a push. A first fetch of a large repository takes minutes.
pub const TRANSFER_LIMIT: Duration = Duration::from_secs(30 * 60);

/// What the user's environment may bring: where their configuration, agents, certificates and proxies are.
const ALLOWED: [&str; 32] = [
    "HOME",
    "PATH",
    "USER",
    "LOGNAME",
    "LANG",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "SSH_AUTH_SOCK",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_EXEC_PATH",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GH_CONFIG_DIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "HTTPS_PROXY",
    "https_proxy",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "KRB5CCNAME",
];

/// A token for one server. It is given to git as a header, for addresses of that server alone.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Such as `https://github.com`; plain `http` is believed on loopback only.
    pub server: String,
    /// The token.
    pub token: Secret,
}

/// A token that is asked for when git goes to its server, and not before.
#[derive(Clone)]
pub struct Minted {
    /// As [`Credential::server`].
    pub server: String,
    /// Gives the token, or says why there is none.
    pub ask: Arc<dyn Fn() -> Result<Secret, String> + Send + Sync>,
}

/// Tells nothing of the token.
impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Minted({})", self.server)
    }
}

/// Where one ref of the remote is to go.
#[derive(Clone, Copy, Debug)]
pub struct Move<'a> {
    /// The commit that it shall stand at.
    pub commit: &'a CommitId,
    /// The ref, of ours.
    pub to: &'a str,
    /// Where it must stand before; `None` = it must not exist.
    pub expected: Option<&'a CommitId>,
}

/// The vault's way to remotes.
#[derive(Debug)]
pub struct Network {
    vault: PathBuf,
    alternates: Option<PathBuf>,
    user: BTreeMap<String, String>,
    credential: Option<Credential>,
    minted: Option<Minted>,
    redactor: Redactor,
    look_limit: Duration,
    transfer_limit: Duration,
    ssh_command: OnceLock<Option<String>>,
}

impl Network {
    /// A way out of the bare repository `vault`. Of the user's environment only a fixed list is taken.
    pub fn new(vault: impl Into<PathBuf>, user_environment: &BTreeMap<String, String>) -> Network {
        let allowed = |(name, _): &(&String, &String)| ALLOWED.contains(&name.as_str());
        let user = user_environment.iter().filter(allowed);
        Network {
            vault: vault.into(),
            alternates: None,
            user: user.map(|(name, value)| (name.clone(), value.clone())).collect(),
            credential: None,
            minted: None,
            redactor: Redactor::default(),
            look_limit: LOOK_LIMIT,
            transfer_limit: TRANSFER_LIMIT,
            ssh_command: OnceLock::new(),
        }
    }

    /// Reads objects of this directory too: the user's `objects`, from which nothing is copied.
    #[must_use]
    pub fn reading(mut self, objects: impl Into<PathBuf>) -> Network {
        self.alternates = Some(objects.into());
        self
    }

    /// Gives the token to its server. Without one, git asks the user's ssh and credential helpers.
    #[must_use]
    pub fn with_credential(mut self, credential: Credential) -> Network {
        self.credential = Some(credential);
        self
    }

    /// Asks for a token when git goes to its server and no other login is known for it.
    #[must_use]
    pub fn with_minted(mut self, minted: Minted) -> Network {
        self.minted = Some(minted);
        self
    }

    /// Takes known secrets out of every message. Shapes of tokens, the credential, and a login inside an
    /// address are always taken out.
    #[must_use]
    pub fn with_redactor(mut self, redactor: Redactor) -> Network {
        self.redactor = redactor;
        self
    }

    /// Waits no longer than this for anything.
    #[must_use]
    pub fn with_time_limit(mut self, limit: Duration) -> Network {
        self.look_limit = self.look_limit.min(limit);
        self.transfer_limit = self.transfer_limit.min(limit);
        self
    }

    /// The remote's default branch, without `refs/heads/`, and where it stands. `None` for an empty
    /// repository, and for one whose HEAD is no branch.
    pub fn default_branch(&self, url: &str) -> Result<Option<(String, CommitId)>, Error> {
        let target = self.target(url)?;
        let arguments = ["ls-remote", "--symref", "--", &target.url, "HEAD"];
        let output = self.run_git(&arguments, &target, self.look_limit)?;
        if output.code == Some(0) {
            Ok(read_symref(&String::from_utf8_lossy(&output.stdout)))
        } else {
            Err(self.error("ls-remote", &output, &target))
        }
    }

    /// Refs of the remote that match `pattern`, such as `refs/heads/nightshift/*`, and where they stand.
    /// git matches the end of a name: a full name or one that begins with `refs/` is meant here.
    pub fn list(&self, url: &str, pattern: &str) -> Result<Vec<(String, CommitId)>, Error> {
        self.list_all(url, &[pattern])
    }

    /// Refs of the remote that match one of `patterns`, as [`Network::list`] finds them, in one question.
    pub fn list_all(&self, url: &str, patterns: &[&str]) -> Result<Vec<(String, CommitId)>, Error> {
        let target = self.target(url)?;
        let arguments = [&["ls-remote", "--refs", "--", &target.url], patterns].concat();
        let output = self.run_git(&arguments, &target, self.look_limit)?;
        if output.code == Some(0) {
            Ok(read_refs(&String::from_utf8_lossy(&output.stdout)))
        } else {
            Err(self.error("ls-remote", &output, &target))
        }
    }

    /// Fetches into refs of the vault: no tags, no pruning, no FETCH_HEAD, no submodules. Doing it twice
    /// is harmless.
    pub fn fetch(&self, url: &str, refspecs: &[&str]) -> Result<(), Error> {
        let target = self.target(url)?;
        for refspec in refspecs {
            let destination = refspec.rsplit_once(':').map(|(_, destination)| destination);
            if refspec.starts_with('-') || !destination.is_some_and(is_ref) {
                return Err(Error::Refspec((*refspec).to_owned()));
            }
        }
        let mut arguments = vec![
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-prune",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-show-forced-updates",
            "--",
            &target.url,
        ];
        arguments.extend(refspecs);
        let output = self.run_git(&arguments, &target, self.transfer_limit)?;
        if output.code == Some(0) { Ok(()) } else { Err(self.error("fetch", &output, &target)) }
    }

    /// Moves the remote's `to`, a ref of ours, from `expected` (`None`: it must not exist) to `commit`.
    ///
    /// Compare-and-swap, so safe to repeat: the second time it is [`PushOutcome::UpToDate`]. When the line
    /// is cut before the answer, the remote is asked where its ref stands before this says it failed.
    pub fn push(
        &self,
        url: &str,
        commit: &CommitId,
        to: &str,
        expected: Option<&CommitId>,
    ) -> Result<PushOutcome, Error> {
        let (target, output) = match self.send(url, &[Move { commit, to, expected }]) {
            Ok(sent) => sent,
            Err(timeout @ Error::TimedOut { .. }) => {
                return if self.stands_at(url, to, commit) {
                    Ok(PushOutcome::Pushed)
                } else {
                    Err(timeout)
                };
            }
            Err(error) => return Err(error),
        };
        let stderr = self.readable(&output.stderr, &target);
        match read_push(&String::from_utf8_lossy(&output.stdout), to, &stderr) {
            Some(clear @ (PushOutcome::Pushed | PushOutcome::UpToDate)) => Ok(clear),
            Some(refused @ PushOutcome::Rejected(_)) => {
                let race = matches!(
                    refused,
                    PushOutcome::Rejected(Rejection::LeaseStale | Rejection::Other { .. })
                );
                // A push of ours whose answer was lost may have won the race against this one.
                if race && self.stands_at(url, to, commit) {
                    Ok(PushOutcome::UpToDate)
                } else {
                    Ok(refused)
                }
            }
            None => {
                let error = classify("push", &stderr);
                let clear = matches!(error, Error::AuthenticationFailed(_) | Error::NotFound(_));
                if !clear && self.stands_at(url, to, commit) {
                    Ok(PushOutcome::Pushed)
                } else {
                    Err(error)
                }
            }
        }
    }

    /// Moves all of these refs or none, in one push. False when that is not what came of it, for whatever
    /// reason (a server without atomic pushes, one of the refs refused, no answer): then each is to be pushed
    /// by itself, which says why.
    pub fn push_together(&self, url: &str, moves: &[Move<'_>]) -> Result<bool, Error> {
        let (target, output) = match self.send(url, moves) {
            Ok(sent) => sent,
            Err(Error::TimedOut { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), self.readable(&output.stderr, &target));
        Ok(moves.iter().all(|moved| {
            matches!(
                read_push(&stdout, moved.to, &stderr),
                Some(PushOutcome::Pushed | PushOutcome::UpToDate)
            )
        }))
    }

    fn send(&self, url: &str, moves: &[Move<'_>]) -> Result<(Target, Output), Error> {
        if let Some(foreign) = moves.iter().find(|moved| !is_ours(moved.to)) {
            return Err(Error::ForeignRef(foreign.to.to_owned()));
        }
        let target = self.target(url)?;
        let lease = |moved: &Move<'_>| {
            format!(
                "--force-with-lease={}:{}",
                moved.to,
                moved.expected.map_or("", CommitId::as_str)
            )
        };
        let leases: Vec<String> = moves.iter().map(lease).collect();
        let refspecs: Vec<String> =
            moves.iter().map(|moved| format!("{}:{}", moved.commit, moved.to)).collect();
        let mut arguments = vec![
            "push",
            "--porcelain",
            "--no-verify",
            "--no-follow-tags",
            "--no-signed",
            "--recurse-submodules=no",
        ];
        arguments.extend((moves.len() > 1).then_some("--atomic"));
        arguments.extend(leases.iter().map(String::as_str));
        arguments.extend(["--", &target.url]);
        arguments.extend(refspecs.iter().map(String::as_str));
        let output = self.run_git(&arguments, &target, self.transfer_limit)?;
        Ok((target, output))
    }

    fn stands_at(&self, url: &str, name: &str, commit: &CommitId) -> bool {
        self.list(url, name).is_ok_and(|refs| refs.iter().any(|(n, at)| n == name && at == commit))
    }

    fn error(&self, operation: &str, output: &Output, target: &Target) -> Error {
        classify(operation, &self.readable(&output.stderr, target))
    }

    /// What git said, without secrets, control characters and the blanks that pad `remote:` lines.
    fn readable(&self, bytes: &[u8], target: &Target) -> String {
        let text = String::from_utf8_lossy(bytes);
        let text = self.redactor.redact(&text);
        let text = target.redactor.redact(&text);
        // The vault is set up for libgit2 as well, which knows only the old name.
        let noise = |line: &&str| !line.contains("core.fsyncObjectFiles is deprecated");
        let lines = text.lines().filter(noise).map(|line| {
            let shown: String = line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
            shown.trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Where to, and the login for it: the configured credential if it is meant for that server, else the
    /// one that stood in the address.
    fn target(&self, url: &str) -> Result<Target, Error> {
        let (url, login) = remote::without_login(url);
        if url.is_empty() || url.starts_with('-') || url.contains(char::is_control) {
            return Err(Error::Address(self.redactor.redact(&url).into_owned()));
        }
        let server = server_of(&url);
        let configured = self
            .credential
            .as_ref()
            .filter(|credential| server.is_some() && server == server_of(&credential.server));
        let login = match configured {
            Some(Credential { token, .. }) => {
                Some(Login { user: "x-access-token".to_owned(), password: token.clone() })
            }
            None if login.is_none() => self.ask_for(server.as_deref())?,
            None => login,
        };
        let header = server.as_ref().zip(login.as_ref()).map(|(_, login)| {
            let pair = format!("{}:{}", login.user, login.password.expose());
            format!("Authorization: Basic {}", redact::base64(pair.as_bytes()))
        });
        let secrets = login.iter().map(|login| login.password.expose().to_owned());
        let redactor = Redactor::new(secrets);
        Ok(Target { url, server, header, redactor })
    }

    fn ask_for(&self, server: Option<&str>) -> Result<Option<Login>, Error> {
        let meant = self.minted.as_ref();
        let meant = meant.filter(|m| server.is_some() && server == server_of(&m.server).as_deref());
        let Some(minted) = meant else { return Ok(None) };
        let password = (minted.ask)().map_err(Error::AuthenticationFailed)?;
        Ok(Some(Login { user: "x-access-token".to_owned(), password }))
    }

    /// The single call of the program. `arguments` hold no secret.
    fn run_git(
        &self,
        arguments: &[&str],
        target: &Target,
        limit: Duration,
    ) -> Result<Output, Error> {
        let mut environment = self.environment(target);
        environment.insert("GIT_SSH_COMMAND".to_owned(), self.ssh_command(&environment));
        run(arguments, &environment, &self.vault, limit)
    }

    /// Everything git gets to know about the world.
    fn environment(&self, target: &Target) -> BTreeMap<String, String> {
        let mut environment = self.user.clone();
        let mut set = |name: &str, value: &str| {
            environment.insert(name.to_owned(), value.to_owned());
        };
        set("GIT_DIR", &self.vault.to_string_lossy());
        if let Some(objects) = &self.alternates {
            set("GIT_ALTERNATE_OBJECT_DIRECTORIES", &quoted(&objects.to_string_lossy()));
        }
        // Messages that can be read by a program.
        set("LC_ALL", "C");
        set("GIT_ADVICE", "0");
        // Nobody is there to answer. An empty GIT_ASKPASS also silences core.askPass and SSH_ASKPASS.
        set("GIT_TERMINAL_PROMPT", "0");
        set("GIT_ASKPASS", "");
        set("SSH_ASKPASS_REQUIRE", "never");
        set("GCM_INTERACTIVE", "never");
        let plain = target.url.starts_with("http://") && target.server.is_some();
        set("GIT_ALLOW_PROTOCOL", if plain { "https:ssh:file:http" } else { "https:ssh:file" });
        set("GIT_NO_LAZY_FETCH", "1");
        set("GIT_NO_REPLACE_OBJECTS", "1");
        // Of the highest precedence, and neither in an argument list nor on the disk.
        let mut configuration: Vec<(String, &str)> = [
            ("core.hooksPath", "/dev/null"),
            ("core.fsmonitor", "false"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("credential.interactive", "false"),
            // Below 1 byte per second for two minutes: the line is dead.
            ("http.lowSpeedLimit", "1"),
            ("http.lowSpeedTime", "120"),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        if let (Some(server), Some(header)) = (&target.server, &target.header) {
            // extraheader has many values: the empty one forgets what others left there (actions/checkout
            // persists its token so), and two Authorization headers are a `400 Duplicate header`. The
            // address itself is the most specific key, so nobody's key beats it; the server's is for a
            // repository that moved there.
            for place in [format!("{server}/"), target.url.clone()] {
                let key = format!("http.{place}.extraheader");
                configuration.push((key.clone(), ""));
                configuration.push((key, header));
            }
        }
        set("GIT_CONFIG_COUNT", &configuration.len().to_string());
        for (at, (key, value)) in configuration.iter().enumerate() {
            set(&format!("GIT_CONFIG_KEY_{at}"), key);
            set(&format!("GIT_CONFIG_VALUE_{at}"), value);
        }
        environment
    }

    /// ssh that never asks; the user's own command as it is, if they have set one.
    fn ssh_command(&self, environment: &BTreeMap<String, String>) -> String {
        const QUIET: &str = "ssh -o BatchMode=yes -o ConnectTimeout=30";
        if let Some(command) = self.user.get("GIT_SSH_COMMAND") {
            return command.clone();
        }
        let configured = self.ssh_command.get_or_init(|| {
            let arguments = ["config", "--get", "core.sshCommand"];
            let output = run(&arguments, environment, &self.vault, self.look_limit).ok()?;
            let command = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            (output.code == Some(0) && !command.is_empty()).then_some(command)
        });
        match (configured, self.user.get("GIT_SSH")) {
            (Some(command), _) => command.clone(),
            // A program's path, which GIT_SSH_COMMAND would give to a shell.
            (None, Some(program)) => format!("'{}'", program.replace('\'', r"'\''")),
            (None, None) => QUIET.to_owned(),
        }
    }
}

/// One address, ready to be used.
struct Target {
    /// Without a login.
    url: String,
    /// The server to which a login may be sent, if there is one: HTTPS, or HTTP on loopback.
    server: Option<String>,
    header: Option<String>,
    redactor: Redactor,
}

/// `https://host[:port]` of an address that a login may be sent to.
fn server_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?;
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    http::is_private(&url).then(|| format!("{}://{host}{port}", url.scheme()))
}

/// A path for `GIT_ALTERNATE_OBJECT_DIRECTORIES`, whose entries are parted by `:` and may be quoted as in C.
fn quoted(path: &str) -> String {
    if path.contains(':') || path.starts_with('"') {
        format!("\"{}\"", path.replace('\\', r"\\").replace('"', "\\\""))
    } else {
        path.to_owned()
    }
}

/// True for what we may push: a well-formed name below one of our namespaces.
fn is_ours(name: &str) -> bool {
    is_ref(name)
        && !name.contains('*')
        && [BRANCH_NAMESPACE, REF_NAMESPACE]
            .iter()
            .any(|space| name.strip_prefix(space).is_some_and(|rest| !rest.is_empty()))
}

/// The rules of `git check-ref-format`, with `*` allowed for refspecs.
fn is_ref(name: &str) -> bool {
    let component = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && !part.to_ascii_lowercase().ends_with(".lock")
    };
    name.starts_with("refs/")
        && name.split('/').all(component)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && !name.contains(|c: char| c.is_control() || " ~^:?[\\".contains(c))
}

/// What a program left behind.
struct Output {
    /// `None` when a signal ended it.
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Runs `git` in `directory` with this environment alone and an empty input, and kills it at the limit.
fn run(
    arguments: &[&str],
    environment: &BTreeMap<String, String>,
    directory: &Path,
    limit: Duration,
) -> Result<Output, Error> {
    let mut whole = Environment::empty();
    for (name, value) in environment {
        whole.set(name, value);
    }
    let argv: Vec<&str> = std::iter::once("git").chain(arguments.iter().copied()).collect();
    match process::probe(&argv, &whole, directory, limit) {
        Ok(output) => {
            let code = match output.ended {
                Ended::Code(code) => Some(code),
                Ended::Signal(_) => None,
            };
            Ok(Output { code, stdout: output.stdout, stderr: output.stderr })
        }
        Err(process::Error::TimedOut { seconds, .. }) => Err(Error::TimedOut {
            operation: arguments.first().copied().unwrap_or_default().to_owned(),
            seconds,
        }),
        Err(problem) => Err(Error::NotStarted(problem.to_string())),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make repositories with the real git")]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    const BRANCH: &str = "refs/heads/nightshift/2026-11-21";

    /// A vault with two commits, and a bare remote beside it.
    struct Place {
        directory: tempfile::TempDir,
        first: CommitId,
        second: CommitId,
    }

    impl Place {
        fn new() -> Place {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path();
            git(path, &["init", "-q", "--bare", "vault.git"]);
            git(path, &["init", "-q", "--bare", "-b", "main", "remote.git"]);
            let vault = path.join("vault.git");
            let tree = git(&vault, &["hash-object", "-w", "-t", "tree", "/dev/null"]);
            let first = git(&vault, &["commit-tree", "-m", "one", &tree]);
            let second = git(&vault, &["commit-tree", "-m", "two", "-p", &first, &tree]);
            let id = |hash: String| CommitId::new(hash).unwrap();
            Place { first: id(first), second: id(second), directory }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn url(&self) -> String {
            self.path("remote.git").to_str().unwrap().to_owned()
        }

        fn environment(&self) -> BTreeMap<String, String> {
            let home = self.directory.path().to_str().unwrap().to_owned();
            let path = std::env::var("PATH").unwrap();
            [("HOME", home), ("PATH", path), ("GIT_CONFIG_NOSYSTEM", "1".to_owned())]
                .map(|(name, value)| (name.to_owned(), value))
                .into()
        }

        fn network(&self) -> Network {
            Network::new(self.path("vault.git"), &self.environment())
        }

        fn hook(&self, repository: &str, name: &str, script: &str) {
            use std::os::unix::fs::PermissionsExt as _;
            let hook = self.path(repository).join("hooks").join(name);
            fs::write(&hook, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        }

        fn remote_at(&self, name: &str) -> Option<CommitId> {
            let refs =
                git(&self.path("remote.git"), &["for-each-ref", "--format=%(objectname)", name]);
            CommitId::new(refs).ok()
        }
    }

    fn git(directory: &Path, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "n")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "n@e.example")))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn a_branch_is_made_moved_and_found_to_be_there() {
        let place = Place::new();
        let (network, url) = (place.network(), place.url());
        let push = |commit, expected| network.push(&url, commit, BRANCH, expected).unwrap();
        assert_eq!(push(&place.first, None), PushOutcome::Pushed);
        assert_eq!(push(&place.first, None), PushOutcome::UpToDate);
        assert_eq!(push(&place.second, Some(&place.first)), PushOutcome::Pushed);
        assert_eq!(push(&place.second, Some(&place.first)), PushOutcome::UpToDate);
        assert_eq!(place.remote_at(BRANCH), Some(place.second.clone()));
        let listed = network.list(&url, "refs/heads/nightshift/*").unwrap();
        assert_eq!(listed, [(BRANCH.to_owned(), place.second.clone())]);
    }

    #[test]
    fn a_branch_that_somebody_else_moved_is_left_alone() {
        let place = Place::new();
        let (network, url) = (place.network(), place.url());
        network.push(&url, &place.second, BRANCH, None).unwrap();
        for expected in [None, Some(&place.first)] {
            let outcome = network.push(&url, &place.first, BRANCH, expected).unwrap();
            assert_eq!(outcome, PushOutcome::Rejected(Rejection::LeaseStale));
        }
        assert_eq!(place.remote_at(BRANCH), Some(place.second.clone()));
    }

    #[test]
    fn only_refs_of_ours_can_be_pushed() {
        let place = Place::new();
        for name in [
            "refs/heads/main",
            "refs/heads/nightshift/",
            "refs/heads/nightshift/../main",
            "refs/heads/nightshift/a:refs/heads/main",
            "refs/heads/nightshift/*",
            "refs/tags/nightshift/x",
            "nightshift/x",
            "--mirror",
        ] {
            let refused = place.network().push(&place.url(), &place.first, name, None);
            assert_eq!(refused, Err(Error::ForeignRef(name.to_owned())));
        }
        let ledger =
            place.network().push(&place.url(), &place.first, "refs/nightshift/ledger", None);
        assert_eq!(ledger, Ok(PushOutcome::Pushed));
    }

    #[test]
    fn a_refusal_of_the_remote_brings_its_words_without_secrets() {
        let place = Place::new();
        let secret = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
        place.hook(
            "remote.git",
            "pre-receive",
            &format!("echo 'no {secret} \x1b[31mhere'; exit 1"),
        );
        let outcome = place.network().push(&place.url(), &place.first, BRANCH, None).unwrap();
        let message = "no *** [31mhere".to_owned();
        assert_eq!(outcome, PushOutcome::Rejected(Rejection::Hook { message }));

        let words = "error: GH006: Protected branch update failed for refs/heads/nightshift/x.";
        place.hook("remote.git", "pre-receive", &format!("echo '{words}'; exit 1"));
        let outcome = place.network().push(&place.url(), &place.first, BRANCH, None).unwrap();
        let message = words.to_owned();
        assert_eq!(outcome, PushOutcome::Rejected(Rejection::Protected { message }));
        assert_eq!(place.remote_at(BRANCH), None);
    }

    #[test]
    fn a_push_whose_answer_was_lost_is_looked_up() {
        let place = Place::new();
        // The server dies when the ref is written and before it says so.
        let script = "[ \"$1\" != committed ] || kill -9 $PPID";
        place.hook("remote.git", "reference-transaction", script);
        let outcome = place.network().push(&place.url(), &place.first, BRANCH, None);
        assert_eq!(outcome, Ok(PushOutcome::Pushed));

        place.hook("remote.git", "pre-receive", "kill -9 $PPID");
        let outcome = place.network().push(&place.url(), &place.second, BRANCH, Some(&place.first));
        assert!(matches!(outcome, Err(Error::Unreachable(_))), "{outcome:?}");
    }

    #[test]
    fn hooks_in_the_vault_and_in_the_users_configuration_do_not_run() {
        let place = Place::new();
        let (vault, url) = (place.path("vault.git"), place.url());
        let mark = place.path("mark");
        let script =
            format!("case \"$PWD $GIT_DIR\" in *vault.git*) touch '{}';; esac", mark.display());
        fs::create_dir_all(place.path("users/hooks")).unwrap();
        for hook in ["pre-push", "reference-transaction", "post-update", "pre-auto-gc"] {
            place.hook("vault.git", hook, &script);
            place.hook("users", hook, &script);
        }
        let hooks = place.path("users/hooks");
        let configuration = format!("[core]\n\thooksPath = {}\n", hooks.display());
        fs::write(place.path(".gitconfig"), configuration).unwrap();
        let network = place.network();
        network.push(&url, &place.first, BRANCH, None).unwrap();
        network.fetch(&url, &[&format!("+{BRANCH}:refs/nightshift/base/x")]).unwrap();
        assert!(!mark.exists());
        assert!(!vault.join("FETCH_HEAD").exists());
        // They would have run.
        git(&vault, &["push", "-q", &url, &format!("{}:refs/heads/other", place.first)]);
        assert!(mark.exists());
        git(&vault, &["rev-parse", "refs/nightshift/base/x"]);
    }

    #[test]
    fn the_default_branch_is_the_remotes_own_word() {
        let place = Place::new();
        let (network, url) = (place.network(), place.url());
        assert_eq!(network.default_branch(&url), Ok(None));
        let refspec = format!("{}:refs/heads/main", place.first);
        git(&place.path("vault.git"), &["push", "-q", &url, &refspec]);
        let found = network.default_branch(&url).unwrap();
        assert_eq!(found, Some(("main".to_owned(), place.first.clone())));
        network.fetch(&url, &["+refs/heads/main:refs/nightshift/base/main"]).unwrap();
    }

    #[test]
    fn objects_of_the_user_are_read_where_they_are() {
        let place = Place::new();
        // A path that must be quoted.
        git(place.directory.path(), &["init", "-q", "--bare", "v:2.git"]);
        let network = Network::new(place.path("v:2.git"), &place.environment());
        let lacking = network.push(&place.url(), &place.first, BRANCH, None);
        let Ok(PushOutcome::Rejected(Rejection::Other { message })) = lacking else {
            panic!("{lacking:?}")
        };
        assert!(message.contains("bad object"), "{message}");
        let colon = place.path("user:objects");
        fs::rename(place.path("vault.git/objects"), &colon).unwrap();
        let network = network.reading(colon);
        let outcome = network.push(&place.url(), &place.first, BRANCH, None);
        assert_eq!(outcome, Ok(PushOutcome::Pushed));
    }

    #[test]
    fn two_refs_move_together_or_not_at_all() {
        const RECEIPTS: &str = "refs/nightshift/receipts/2026-11-21";
        let place = Place::new();
        let (network, url) = (place.network(), place.url());
        let to = |commit, expected| [BRANCH, RECEIPTS].map(|to| Move { commit, to, expected });
        assert_eq!(network.push_together(&url, &to(&place.first, None)), Ok(true));
        // Again, and on.
        assert_eq!(network.push_together(&url, &to(&place.first, Some(&place.first))), Ok(true));
        assert_eq!(network.push_together(&url, &to(&place.second, Some(&place.first))), Ok(true));
        let both = network.list_all(&url, &[BRANCH, RECEIPTS]).unwrap();
        assert_eq!(both.iter().map(|(_, at)| at).collect::<Vec<_>>(), [&place.second; 2]);
        // One of them was moved by somebody else.
        let [branch, receipts] = to(&place.first, Some(&place.second));
        let stale = Move { expected: Some(&place.first), ..receipts };
        assert_eq!(network.push_together(&url, &[branch, stale]), Ok(false));
        assert_eq!(place.remote_at(BRANCH), Some(place.second.clone()));
        // A server that takes branches only.
        place.hook("remote.git", "update", "case $1 in refs/heads/*) ;; *) exit 1;; esac");
        assert_eq!(network.push_together(&url, &to(&place.first, Some(&place.second))), Ok(false));
        assert_eq!(place.remote_at(BRANCH), Some(place.second.clone()));
        let alone = network.push(&url, &place.first, BRANCH, Some(&place.second));
        assert_eq!(alone, Ok(PushOutcome::Pushed));
        let foreign = Move { commit: &place.first, to: "refs/heads/main", expected: None };
        let refused = network.push_together(&url, &[foreign]);
        assert_eq!(refused, Err(Error::ForeignRef("refs/heads/main".to_owned())));
    }

    #[test]
    fn a_missing_remote_and_a_dead_host_are_told_apart() {
        let place = Place::new();
        let (network, first) = (place.network(), &place.first);
        let missing = place.path("none.git").to_str().unwrap().to_owned();
        let outcome = network.push(&missing, first, BRANCH, None);
        assert!(matches!(outcome, Err(Error::NotFound(_))), "{outcome:?}");
        let outcome = network.list("https://127.0.0.1:1/o/r.git", "refs/heads/*");
        assert!(matches!(outcome, Err(Error::Unreachable(_))), "{outcome:?}");
        assert!(outcome.unwrap_err().temporary());
    }

    #[test]
    fn an_address_cannot_be_an_option_or_a_program() {
        let place = Place::new();
        let mark = place.path("mark");
        for url in
            ["--upload-pack=touch x".to_owned(), "-".to_owned(), String::new(), "a\nb".to_owned()]
        {
            let outcome = place.network().list(&url, "refs/heads/*");
            assert_eq!(outcome, Err(Error::Address(url)));
        }
        for url in [format!("ext::touch {}", mark.display()), "http://h.example/o/r".to_owned()] {
            let outcome = place.network().list(&url, "refs/heads/*");
            let Err(Error::Failed { message, .. }) = outcome else { panic!("{outcome:?}") };
            assert!(message.contains("not allowed"), "{message}");
        }
        assert!(!mark.exists());
    }

    #[test]
    fn a_user_cannot_be_asked_and_their_ssh_command_is_kept_but_not_waited_for() {
        let place = Place::new();
        fs::write(place.path(".gitconfig"), "[core]\n\tsshCommand = \"sh -c 'sleep 5'\"\n")
            .unwrap();
        let network = place.network().with_time_limit(Duration::from_millis(300));
        let outcome = network.list("git@host.example:o/r.git", "refs/heads/*");
        assert!(matches!(outcome, Err(Error::TimedOut { .. })), "{outcome:?}");
    }

    #[test]
    fn a_token_is_for_its_own_server_and_stands_in_the_environment_only() {
        let place = Place::new();
        let token = "0123456789abcdefghij";
        let network = place.network().with_credential(Credential {
            server: "https://github.com".to_owned(),
            token: Secret::new(token),
        });
        let values = |url: &str| {
            let environment = network.environment(&network.target(url).unwrap());
            let value = |(name, value): (&String, &String)| {
                let at = name.strip_prefix("GIT_CONFIG_KEY_")?;
                let place = value.strip_prefix("http.")?.strip_suffix(".extraheader")?;
                Some((place.to_owned(), environment[&format!("GIT_CONFIG_VALUE_{at}")].clone()))
            };
            let mut found: Vec<_> = environment.iter().filter_map(value).collect();
            found.sort();
            found
        };
        let header = format!(
            "Authorization: Basic {}",
            redact::base64(format!("x-access-token:{token}").as_bytes())
        );
        let (root, url) = ("https://github.com/", "https://github.com/o/r.git");
        let expected = [(root, ""), (root, &header), (url, ""), (url, &header)]
            .map(|(place, value)| (place.to_owned(), value.to_owned()));
        assert_eq!(values(url), expected);
        for other in [
            "https://github.com.evil.example/o/r",
            "http://github.com/o/r",
            "https://github.com:444/o/r",
            "https://ghe.corp.example/o/r",
            "git@github.com:o/r",
            "/srv/github.com",
        ] {
            assert_eq!(values(other), [], "{other}");
        }
        // A login in an address goes the same way, and is never an argument.
        let target = network.target("https://u:pass-word@ghe.corp.example/o/r").unwrap();
        assert_eq!(target.url, "https://ghe.corp.example/o/r");
        assert_eq!(network.readable(b"bad pass-word\t\x07  ", &target), "bad ***");
        assert_eq!(values("https://u:pass-word@ghe.corp.example/o/r").len(), 4);
    }
}
