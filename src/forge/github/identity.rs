//! Who a token is on GitHub, and what follows for the morning: found with requests that change nothing.
//!
//! Never asks for more than four answers, and never waits for GitHub: what it does not tell at once is not known.

use serde::Deserialize;

use super::{
    Credential, Permissions, Settings,
    api::{self, Api, Verb},
    judge::{Kind, Place},
};
use crate::forge::ForgeError;

/// Who opens pull requests, and who can approve them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The person; `None` for an App and for Actions, whose pull requests everybody can approve.
    pub person: Option<String>,
    /// Whether it may push; `None` = GitHub does not say it of this kind of token.
    pub push: Option<bool>,
    /// True when the repository takes no change.
    pub archived: bool,
    /// Approvals that the base branch asks for, as far as this token may read its rules.
    pub reviews: Option<u32>,
}

#[derive(Deserialize)]
struct User {
    login: String,
}

#[derive(Deserialize)]
struct Seen {
    full_name: String,
    archived: Option<bool>,
    permissions: Option<Permissions>,
    default_branch: Option<String>,
}

#[derive(Deserialize)]
struct Rule {
    #[serde(rename = "type")]
    kind: String,
    parameters: Option<Parameters>,
}

#[derive(Deserialize)]
struct Parameters {
    required_approving_review_count: Option<u32>,
}

impl Identity {
    /// What it means for who reads the pull request in the morning, and what to do.
    pub fn words(&self) -> String {
        let Some(person) = &self.person else {
            return "pull requests come from an App, so you can approve them yourself".to_owned();
        };
        match self.reviews {
            Some(0) => format!(
                "pull requests come from {person}, who cannot approve them; the base branch asks for no approval"
            ),
            Some(needed) => format!(
                "pull requests come from {person}, who cannot approve them, and the base branch asks for {needed} \
                 approval{}: somebody else approves, or an App opens them (`github.app` in your own file)",
                if needed == 1 { "" } else { "s" }
            ),
            None => format!(
                "pull requests come from {person}, who cannot approve them; whether the base branch asks for \
                 approvals is not known"
            ),
        }
    }
}

/// Asks who the credential is, and what it may do in the repository.
pub async fn identity(settings: &Settings) -> Result<Identity, ForgeError> {
    let token = match &settings.credential {
        Credential::Token(token) => token.clone(),
        Credential::App(app) => app.token().await?,
    };
    api::check(&token)?;
    let slug = format!("{}/{}", settings.owner, settings.name);
    let kind = Kind::of(token.expose());
    let place = Place { server: settings.endpoint.server_url.clone(), slug: slug.clone(), kind };
    let api = Api::new(api::base(&settings.endpoint)?, place, &token, settings.request_limit)?;
    let get = async |path: String| api.send(Verb::Get, &path, None).await;
    let seen = get(format!("/repos/{slug}")).await;
    let seen = seen.map_err(|problem| problem.failed(&format!("read the repository {slug}")))?;
    let seen: Seen = serde_json::from_value(seen).map_err(|error| ForgeError {
        message: format!("GitHub's answer about {slug} is odd: {error}"),
        help: format!("see that {} is a GitHub API", settings.endpoint.api_url),
        temporary: false,
        wait: None,
    })?;
    let user = if kind == Kind::App { None } else { get("/user".to_owned()).await.ok() };
    let user = user.and_then(|user| serde_json::from_value::<User>(user).ok());
    let rules = match &seen.default_branch {
        Some(branch) => {
            get(format!("/repos/{}/rules/branches/{branch}", seen.full_name)).await.ok()
        }
        None => None,
    };
    let rules = rules.and_then(|rules| serde_json::from_value::<Vec<Rule>>(rules).ok());
    let reviews = rules.map(|rules| {
        let of_pulls = rules.into_iter().filter(|rule| rule.kind == "pull_request");
        let needed = of_pulls.filter_map(|rule| rule.parameters?.required_approving_review_count);
        needed.max().unwrap_or(0)
    });
    Ok(Identity {
        push: user.as_ref().and(seen.permissions).map(|rights| rights.push),
        person: user.map(|user| user.login),
        archived: seen.archived == Some(true),
        reviews,
    })
}
