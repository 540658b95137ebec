//! A repository with its vault and its directories, and the way from there to its remote: everything that
//! outlives one night.

use std::path::Path;

use crate::{
    files,
    forge::{
        ForgeError, GitHub,
        endpoint::{self, Endpoint, Token},
        github,
    },
    git::{
        Vault,
        network::{Credential, Network},
        remote::{ForgeAddress, Remote, without_login},
        user::{RemoteUrl, UserRepository},
    },
    ids::{BRANCH_NAMESPACE, CommitId, NAME, NightId},
    process::{self, Environment},
    redact::Redactor,
    runner::{
        clock,
        places::{Places, Surroundings},
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
        let Remote::Forge(address) = Remote::parse(&self.remote.as_ref()?.push) else {
            return None;
        };
        let environment = &surroundings.environment;
        let known = endpoint::known_hosts(environment);
        if !address.is_github(known.iter().map(String::as_str)) {
            return None;
        }
        let host = address.web_host();
        let endpoint = endpoint::endpoint(&host, environment);
        let token = endpoint::token(&host, environment, |host| ask_gh(surroundings, host));
        Some(GitHubAccess { address, endpoint, token })
    }

    /// The way to the remote, with the token of its own server where there is one.
    pub fn network(&self, surroundings: &Surroundings) -> Network {
        let mut network = Network::new(self.vault.directory(), &surroundings.environment)
            .with_redactor(redactor(surroundings, &[]));
        if let Some(objects) = self.vault.alternates().first() {
            network = network.reading(objects);
        }
        if let Some(access) = self.github(surroundings)
            && let Some(token) = access.token
        {
            let server = access.endpoint.server_url;
            network = network.with_credential(Credential { server, token: token.value });
        }
        network
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

impl GitHubAccess {
    /// The forge, ready to publish.
    pub fn forge(&self) -> Result<GitHub, ForgeError> {
        let token = self.token.as_ref().ok_or_else(|| self.no_token())?;
        GitHub::new(github::Settings::new(
            self.endpoint.clone(),
            &self.address.owner,
            &self.address.name,
            token.value.clone(),
        ))
    }

    /// What to say when there is no token for this server.
    pub fn no_token(&self) -> ForgeError {
        let host = self.address.web_host();
        ForgeError {
            message: format!("there is no token for {host}"),
            help: format!(
                "set GH_TOKEN, or sign in with `gh auth login --hostname {host}`; or run with --no-pr"
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
