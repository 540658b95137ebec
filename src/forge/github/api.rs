//! One request to GitHub. Decides nothing about pull requests; what an answer means is [`super::judge`]'s.
//!
//! Repeats nothing by itself: after an unclear answer a request may have been carried out. Answers are
//! read as plain JSON, so that a field that GitHub adds, drops or nulls cannot turn a success into a
//! failure.

use std::time::Duration;

use octocrab::Octocrab;
use reqwest::header::ACCEPT;
use serde_json::Value;
use url::Url;

use super::judge::{Fate, Place, Problem, first_line, judge};
use crate::{
    forge::{ForgeError, endpoint::Endpoint},
    http,
    redact::{Redactor, Secret},
};

/// Moves of a repository that are followed.
const MOST_REDIRECTS: usize = 3;

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Patch,
    Delete,
}

/// A client of one API with one token.
pub(super) struct Api {
    client: Octocrab,
    base: Url,
    place: Place,
    redactor: Redactor,
}

fn refused(message: String, help: &str) -> ForgeError {
    ForgeError { message, help: help.to_owned(), temporary: false, wait: None }
}

/// The API's address. Refuses one that is none, and one on which a token could be read.
pub(super) fn base(endpoint: &Endpoint) -> Result<Url, ForgeError> {
    let url = &endpoint.api_url;
    let base = Url::parse(url).ok().filter(Url::has_host).ok_or_else(|| {
        refused(format!("`{url}` is not the address of an API"), "check GITHUB_API_URL")
    })?;
    if !http::is_private(&base) {
        let message = format!("no token is sent to `{url}`, which is not encrypted");
        return Err(refused(message, "use an https address"));
    }
    Ok(base)
}

/// Refuses what is no token.
pub(super) fn check(token: &Secret) -> Result<(), ForgeError> {
    if http::is_token(token.expose()) {
        return Ok(());
    }
    let message = "the token is empty or holds blanks or control characters".to_owned();
    Err(refused(message, "look at how it is set: `nightshift doctor` names the place"))
}

impl Api {
    /// Must be called on the runtime that will carry the requests. `base` comes from [`check`].
    pub(super) fn new(
        base: Url,
        place: Place,
        token: &Secret,
        limit: Duration,
    ) -> Result<Api, ForgeError> {
        let unusable = |error: String| ForgeError {
            message: format!("could not set up the connection to {base}: {error}"),
            help: "look at the proxy and certificate settings of this machine".to_owned(),
            temporary: false,
            wait: None,
        };
        // Redirects are followed by hand, below: only for reading, and only on the same server.
        let http = http::client(&base).timeout(limit);
        let http = http.build().map_err(|error| unusable(error.to_string()))?;
        let client = Octocrab::builder()
            .base_uri(base.as_str().trim_end_matches('/'))
            .map_err(|error| unusable(error.to_string()))?
            .personal_token(token.expose().to_owned())
            .add_header(ACCEPT, "application/vnd.github+json".to_owned())
            .build_with_reqwest(http)
            .map_err(|error| unusable(error.to_string()))?;
        let redactor = Redactor::new([token.expose().to_owned()]);
        Ok(Api { client, base, place, redactor })
    }

    /// The repository that requests are about.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// From now on the repository goes by this name.
    pub(super) fn renamed(&mut self, slug: &str) {
        slug.clone_into(&mut self.place.slug);
    }

    /// Sends one request, follows a GET that moved on the same server, and judges the answer.
    pub(super) async fn send(
        &self,
        verb: Verb,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Problem> {
        let mut path = path.to_owned();
        for _ in 0..MOST_REDIRECTS {
            let problem = match self.send_once(verb, &path, body).await {
                Ok(value) => return Ok(value),
                Err(problem) => problem,
            };
            let moved = problem.location.as_deref().and_then(|location| self.path_of(location));
            match (verb, moved) {
                (Verb::Get, Some(moved)) => path = moved,
                (Verb::Get | Verb::Post | Verb::Patch | Verb::Delete, _) => return Err(problem),
            }
        }
        Err(Problem {
            fate: Fate::Fatal,
            message: "GitHub sends us in a circle".to_owned(),
            help: "check the repository's name".to_owned(),
            location: None,
        })
    }

    async fn send_once(
        &self,
        verb: Verb,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Problem> {
        let sent = match verb {
            Verb::Get => self.client._get(path).await,
            Verb::Post => self.client._post(path, body).await,
            Verb::Patch => self.client._patch(path, body).await,
            Verb::Delete => self.client._delete(path, body).await,
        };
        let reply = sent.map_err(|error| self.unanswered(&error))?;
        let status = reply.status().as_u16();
        let headers = reply.headers().clone();
        let text = self.client.body_to_string(reply).await;
        let text = text.map_err(|error| self.unanswered(&error))?;
        if (200..300).contains(&status) {
            let incomplete =
                |_| Problem::unclear(&format!("GitHub's answer {status} is not complete"));
            return serde_json::from_str(&text).map_err(incomplete);
        }
        Err(self.redacted(judge(&self.place, status, &headers, &text)))
    }

    /// The line broke, or was never there.
    fn unanswered(&self, error: &octocrab::Error) -> Problem {
        let reason = http::reason(error);
        let host = self.base.host_str().unwrap_or_default();
        let message = format!("no answer from {host}: {}", first_line(&reason));
        self.redacted(Problem::unclear(&message))
    }

    fn redacted(&self, problem: Problem) -> Problem {
        let message = self.redactor.redact(&problem.message).into_owned();
        let help = self.redactor.redact(&problem.help).into_owned();
        Problem { message, help, ..problem }
    }

    /// The path below our base of an address on the same server.
    fn path_of(&self, location: &str) -> Option<String> {
        let target = self.base.join(location).ok()?;
        if target.origin() != self.base.origin() {
            return None;
        }
        let path = target.path().strip_prefix(self.base.path().trim_end_matches('/'))?;
        let query = target.query().map_or_else(String::new, |query| format!("?{query}"));
        Some(format!("{path}{query}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_checked_before_anything_is_sent() {
        let checked = |api: &str, token: &str| {
            let endpoint = Endpoint { server_url: String::new(), api_url: api.to_owned() };
            base(&endpoint).and_then(|_| check(&Secret::new(token))).map_err(|error| error.message)
        };
        assert!(checked("https://api.github.com", "ghp_x\n").is_ok());
        assert!(checked("http://127.0.0.1:8123/api/v3", "t").is_ok());
        for (api, token) in [
            ("https://api.github.com", "a\nb"),
            ("https://api.github.com", " "),
            ("https://api.github.com", "tök"),
            ("http://ghe.corp.example/api/v3", "t"),
            ("http://127.0.0.1.evil.example", "t"),
            ("ftp://h", "t"),
            ("api.github.com", "t"),
        ] {
            let message = checked(api, token).unwrap_err();
            assert!(!message.contains("a\nb"), "{message}");
        }
    }
}
