//! A repository with its vault and its directories, and the way from there to its remote: everything that
//! outlives one night.

use std::{path::Path, sync::Arc};

use crate::{
    diagnostic::Style,
    files,
    forge::{
        ForgeError, GitHub,
        endpoint::{self, Endpoint, GhTool, Token},
        github::{self, App, Identity},
    },
    git::{
        Vault,
        network::{Credential, Minted, Network},
        remote::{ForgeAddress, Remote, is_github_cloud, without_login},
        user::{RemoteUrl, UserRepository},
    },
    http,
    ids::{BRANCH_NAMESPACE, CommitId, NAME, NightId},
    process::{self, Environment},
    redact::Redactor,
    runner::{
        clock,
        places::{Places, Surroundings},
        prepare,
        refused::{Refused, RefusedKind},
    },
    workspace::Store,
};

/// A repository, before anything of a night is known.
#[derive(Clone, Debug)]
pub struct Home {
    /// The user's repository.
    pub user: UserRepository,
    /// Our own.
    pub vault: Vault,
    /// Our directories for it.
    pub places: Places,
    /// The remote, where there is one.
    pub remote: Option<RemoteUrl>,
}

/// The GitHub that a remote belongs to.
#[derive(Clone, Debug)]
pub struct GitHubAccess {
    /// Owner and name.
    pub address: ForgeAddress,
    /// Where it answers.
    pub endpoint: Endpoint,
    /// A token meant for it, where one was found.
    pub token: Option<Token>,
    /// The fork that is pushed to, where the pull request goes elsewhere.
    pub fork: Option<ForgeAddress>,
    /// The user's own App, where one is set for this host; or what is wrong with it.
    pub app: Option<Result<Arc<App>, ForgeError>>,
}

impl Home {
    /// Opens the repository at `path` and its vault.
    pub fn open(surroundings: &Surroundings, path: &Path) -> Result<Home, Refused> {
        let user = UserRepository::open(path)?;
        let places = Places::of(surroundings, user.common_dir());
        places.prepare()?;
        let vault = Vault::prepare(&places.vault(), &user)?;
        let remote = user.remote()?;
        Ok(Home { user, vault, places, remote })
    }

    /// The workspaces of this repository. One store serves a whole night: its clones share what is in use.
    pub fn workspaces(&self) -> Store {
        Store::new(&self.vault, &self.places.work())
    }

    /// The remote's address for people: without credentials.
    pub fn remote_shown(&self) -> Option<String> {
        self.remote.as_ref().map(|remote| without_login(&remote.push).0)
    }

    /// The GitHub behind the remote, when it is one.
    pub fn github(&self, surroundings: &Surroundings) -> Option<GitHubAccess> {
        GitHubAccess::of(surroundings, self.remote.as_ref()?)
    }

    /// The repository's page for people, where the remote is a GitHub. Asks nobody.
    pub fn web(&self, surroundings: &Surroundings) -> Option<String> {
        let (address, _) = addresses(surroundings, self.remote.as_ref()?)?;
        let endpoint = endpoint::endpoint(&address.web_host(), &surroundings.environment);
        Some(format!("{}/{}", endpoint.server_url, address.slug()))
    }

    /// The way to the remote, with the token of its own server where there is one.
    pub fn network(&self, surroundings: &Surroundings) -> Network {
        let mut network = Network::new(self.vault.directory(), &surroundings.environment)
            .with_redactor(redactor(surroundings, &[]));
        if let Some(objects) = self.vault.alternates().first() {
            network = network.reading(objects);
        }
        let Some(access) = self.github(surroundings) else { return network };
        let server = access.endpoint.server_url;
        match (access.token, access.app) {
            (Some(token), _) => network.with_credential(Credential { server, token: token.value }),
            (None, Some(Ok(app))) => {
                let ask = move || {
                    let told = |error: ForgeError| format!("{error}; {}", error.help);
                    app.token_now().map_err(told)
                };
                network.with_minted(Minted { server, ask: Arc::new(ask) })
            }
            (None, Some(Err(_)) | None) => network,
        }
    }

    /// The next free name of today: free here, in the user's repository and on the remote. The directory is
    /// the claim on this machine; on the remote the first push is, which expects the branch to be absent.
    pub fn claim_night(&self, surroundings: &Surroundings) -> Result<NightId, Refused> {
        let date = clock::local_date();
        if self.user.resolve(&format!("refs/heads/{NAME}"))?.is_some() {
            return Err(Refused::environment(
                format!("your branch `{NAME}` stands where the branches of nights belong"),
                format!("rename it: git branch -m {NAME} {NAME}-mine"),
            ));
        }
        let there: Vec<String> = self
            .remote
            .as_ref()
            .and_then(|remote| {
                let pattern = format!("{BRANCH_NAMESPACE}{date}*");
                self.network(surroundings).list(&remote.push, &pattern).ok()
            })
            .unwrap_or_default()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        for number in 1..10_000 {
            let night = NightId::of(&date, number).map_err(|problem| Refused {
                kind: RefusedKind::Internal,
                message: problem.to_string(),
                help: None,
            })?;
            let branch = night.branch_ref();
            let taken = there.contains(&branch)
                || self.user.our_ref(&branch)?.is_some()
                || self.vault.resolve(&branch)?.is_some();
            if !taken && files::claim_dir(self.places.night(&night).directory())? {
                return Ok(night);
            }
        }
        Err(Refused::environment(
            "there is no free name for a night of today",
            format!("remove old branches below {NAME}/{date}"),
        ))
    }

    /// True when a commit with its tree is here, in the vault or in the user's repository.
    pub fn has(&self, commit: &CommitId) -> bool {
        self.vault.tree_of(commit).and_then(|tree| self.vault.list(&tree)).is_ok()
    }
}

/// The repository on GitHub behind a remote, when it is one, and its fork: where one of the same host is pushed to, the
/// pull request goes to what is fetched from.
fn addresses(
    surroundings: &Surroundings,
    remote: &RemoteUrl,
) -> Option<(ForgeAddress, Option<ForgeAddress>)> {
    let forge = |address: &str| match Remote::parse(address) {
        Remote::Forge(address) => Some(address),
        Remote::Path(_) | Remote::Other => None,
    };
    let pushed = forge(&remote.push)?;
    let environment = &surroundings.environment;
    let known = endpoint::known_hosts(environment);
    if !pushed.is_github(known.iter().map(String::as_str)) {
        return None;
    }
    let differs = |there: &ForgeAddress| {
        there.host == pushed.host && !there.slug().eq_ignore_ascii_case(&pushed.slug())
    };
    Some(match forge(&remote.fetch).filter(differs) {
        Some(upstream) => (upstream, Some(pushed)),
        None => (pushed, None),
    })
}

impl GitHubAccess {
    /// The GitHub behind a remote, when it is one.
    pub fn of(surroundings: &Surroundings, remote: &RemoteUrl) -> Option<GitHubAccess> {
        let (address, fork) = addresses(surroundings, remote)?;
        let environment = &surroundings.environment;
        let host = address.web_host();
        let endpoint = endpoint::endpoint(&host, environment);
        let token = endpoint::token(&host, environment, &Gh(surroundings));
        let app = app(surroundings, &endpoint, &address);
        Some(GitHubAccess { address, endpoint, token, fork, app })
    }

    /// What is needed to reach the repository. The user's own App is asked before any token: it was set up for this.
    pub fn settings(&self) -> Result<github::Settings, ForgeError> {
        let credential = match (&self.app, &self.token) {
            (Some(app), _) => github::Credential::App(app.clone()?),
            (None, Some(token)) if http::is_token(token.value.expose()) => {
                github::Credential::Token(token.value.clone())
            }
            (None, Some(Token { source, .. })) => {
                return Err(ForgeError {
                    message: format!("the token of {source} holds blanks or control characters"),
                    help: "set it again, without quotes and line ends".to_owned(),
                    temporary: false,
                    wait: None,
                });
            }
            (None, None) => return Err(self.no_token()),
        };
        let (owner, name) = (&self.address.owner, &self.address.name);
        let mut settings = github::Settings::new(self.endpoint.clone(), owner, name, credential);
        settings.fork = self.fork.as_ref().map(|fork| (fork.owner.clone(), fork.name.clone()));
        Ok(settings)
    }

    /// The forge, ready to publish.
    pub fn forge(&self) -> Result<GitHub, ForgeError> {
        GitHub::new(self.settings()?)
    }

    /// Asks GitHub who we are there, and what that means for the morning.
    pub fn identity(&self) -> Result<Identity, ForgeError> {
        let mut settings = self.settings()?;
        settings.request_limit = std::time::Duration::from_secs(10);
        let unready = |problem: std::io::Error| ForgeError {
            message: format!("could not ask GitHub: {problem}"),
            help: "try again".to_owned(),
            temporary: true,
            wait: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(unready)?.block_on(github::identity(&settings))
    }

    /// For people: what the repository is reached with.
    pub fn source(&self) -> String {
        match (&self.app, &self.token) {
            (Some(Ok(app)), _) => {
                format!("your App {}, whose token is made when it is needed", app.issuer())
            }
            (Some(Err(problem)), _) => problem.to_string(),
            (None, Some(token)) => format!("the token of {}", token.source),
            (None, None) => "no token".to_owned(),
        }
    }

    /// What to say when there is no token for this server.
    pub fn no_token(&self) -> ForgeError {
        let host = self.address.web_host();
        ForgeError {
            message: format!("there is no token for {host}"),
            help: format!(
                "set {}, or sign in with `gh auth login --hostname {host}`; or run with --no-pr",
                if is_github_cloud(&host) { "GH_TOKEN" } else { "GH_ENTERPRISE_TOKEN" }
            ),
            temporary: false,
            wait: None,
        }
    }
}

/// Everything in our environment that looks like a credential, and `others`: no text of ours may hold it.
pub fn redactor(surroundings: &Surroundings, others: &[String]) -> Redactor {
    let secrets = surroundings
        .environment
        .iter()
        .filter(|(name, _)| crate::config::looks_secret(name) || name.ends_with("_KEY"))
        .map(|(_, value)| value.clone())
        .chain(others.iter().cloned());
    Redactor::new(secrets)
}

/// The App of the user's own file, where it belongs to this host. A file that cannot be read is told by whatever
/// reads it first.
fn app(
    surroundings: &Surroundings,
    endpoint: &Endpoint,
    address: &ForgeAddress,
) -> Option<Result<Arc<App>, ForgeError>> {
    let settings = prepare::user_settings(surroundings, Style::Plain).ok()?.app?;
    if settings.host != address.web_host() {
        return None;
    }
    let path = settings.key_file(&surroundings.home);
    let unusable = |why: String, help: String| ForgeError {
        message: format!("the App's key {} cannot be used: {why}", path.display()),
        help,
        temporary: false,
        wait: None,
    };
    let made = key(&path).map_err(|(why, help)| unusable(why, help)).and_then(|pem| {
        let installed = (settings.issuer, settings.installation);
        let place = (address.owner.as_str(), address.name.as_str());
        App::new(endpoint.clone(), place, installed, &pem, clock::now).map_err(|why| {
            let help =
                "make a new private key on the App's page, and name its file in `github.app`";
            unusable(why, help.to_owned())
        })
    });
    Some(made.map(Arc::new))
}

/// A private key, from a file that nobody else can read. `Err` says what is wrong and what to do.
fn key(path: &Path) -> Result<Vec<u8>, (String, String)> {
    use std::os::unix::fs::PermissionsExt as _;
    let unread = |problem: std::io::Error| {
        (problem.to_string(), "see `github.app.key` in your own file".to_owned())
    };
    let facts = std::fs::metadata(path).map_err(unread)?;
    if !facts.is_file() {
        return Err((
            "it is not a file".to_owned(),
            "see `github.app.key` in your own file".to_owned(),
        ));
    }
    let mode = facts.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let why = format!("others on this machine can read or change it (mode {mode:03o})");
        return Err((why, format!("chmod 600 {}", path.display())));
    }
    std::fs::read(path).map_err(unread)
}

/// GitHub's own command-line tool.
struct Gh<'s>(&'s Surroundings);

impl GhTool for Gh<'_> {
    fn hosts_file(&self) -> Option<String> {
        let Gh(surroundings) = self;
        let directory = endpoint::gh_directory(&surroundings.environment, &surroundings.home);
        std::fs::read_to_string(directory.join("hosts.yml")).ok()
    }

    fn ask(&self, host: &str) -> Option<String> {
        ask_gh(self.0, host)
    }
}

/// `gh auth token`, where the GitHub command-line tool is installed: it reads the keyring.
fn ask_gh(surroundings: &Surroundings, host: &str) -> Option<String> {
    let mut environment = Environment::from_allowed(&surroundings.environment, &[]);
    environment.set("HOME", surroundings.home.display().to_string());
    for name in ["XDG_CONFIG_HOME", "GH_CONFIG_DIR", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"]
    {
        if let Some(value) = surroundings.value(name) {
            environment.set(name, value);
        }
    }
    let argv = ["gh", "auth", "token", "--hostname", host];
    let limit = std::time::Duration::from_secs(10);
    let output = process::probe(&argv, &environment, &surroundings.home, limit).ok()?;
    let token = output.text().trim().to_owned();
    (output.success() && !token.is_empty()).then_some(token)
}
