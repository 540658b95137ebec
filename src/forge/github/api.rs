//! One request to GitHub, and what its answer means. Decides nothing about pull requests.
//!
//! Repeats nothing by itself: after an unclear answer a request may have been carried out. Answers are
//! read as plain JSON, so that a field that GitHub adds, drops or nulls cannot turn a success into a
//! failure.

use std::time::Duration;

use octocrab::Octocrab;
use reqwest::header::{ACCEPT, HeaderMap};
use serde_json::Value;
use url::Url;

use crate::{
    forge::{ForgeError, endpoint::Endpoint},
    http,
    redact::{Redactor, Secret},
};

/// Longest wait when GitHub says to slow down without saying for how long (its documentation: a minute).
const UNSAID_WAIT: Duration = Duration::from_secs(60);
/// Moves of a repository that are followed.
const MOST_REDIRECTS: usize = 3;
/// Of GitHub's own words in a message, in characters.
const LONGEST_MESSAGE: usize = 300;

/// What to do after an answer that is not a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// What was asked for is there already.
    Exists,
    /// Not done. Ask again after this time.
    Wait(Duration),
    /// Perhaps done: look before asking again.
    Maybe,
    /// The repository moved while we worked.
    Gone,
    /// Not done, and asking again will not help.
    Fatal,
}

/// An answer that is not a success, or no answer.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) fate: Fate,
    /// Redacted, without a full stop.
    pub(super) message: String,
    /// What to do.
    pub(super) help: String,
    /// Where GitHub sends us instead.
    location: Option<String>,
}

impl Problem {
    /// Nobody knows what became of the request.
    pub(super) fn unclear(message: &str) -> Problem {
        Problem {
            fate: Fate::Maybe,
            message: message.to_owned(),
            help: LATER.to_owned(),
            location: None,
        }
    }

    /// This problem as the reason why `what` was not done.
    pub(super) fn failed(&self, what: &str) -> ForgeError {
        ForgeError {
            message: format!("could not {what}: {}", self.message),
            help: self.help.clone(),
            temporary: !matches!(self.fate, Fate::Fatal),
            wait: if let Fate::Wait(time) = self.fate { Some(time) } else { None },
        }
    }
}

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Patch,
}

/// A client of one API with one token.
pub(super) struct Api {
    client: Octocrab,
    base: Url,
    redactor: Redactor,
}

/// Refuses what must not be tried: a token in the clear, one that is no token, an address that is none.
pub(super) fn check(endpoint: &Endpoint, token: &Secret) -> Result<Url, ForgeError> {
    let refused = |message: String, help: &str| ForgeError {
        message,
        help: help.to_owned(),
        temporary: false,
        wait: None,
    };
    let url = &endpoint.api_url;
    let base = Url::parse(url).ok().filter(Url::has_host).ok_or_else(|| {
        refused(format!("`{url}` is not the address of an API"), "check GITHUB_API_URL")
    })?;
    if !http::is_private(&base) {
        let message = format!("no token is sent to `{url}`, which is not encrypted");
        return Err(refused(message, "use an https address"));
    }
    if !http::is_token(token.expose()) {
        let message = "the token is empty or holds blanks or control characters".to_owned();
        return Err(refused(message, "look at how GH_TOKEN or GITHUB_TOKEN is set"));
    }
    Ok(base)
}

impl Api {
    /// Must be called on the runtime that will carry the requests. `base` comes from [`check`].
    pub(super) fn new(base: Url, token: &Secret, limit: Duration) -> Result<Api, ForgeError> {
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
        Ok(Api { client, base, redactor })
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
                (Verb::Get | Verb::Post | Verb::Patch, _) => return Err(problem),
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
        Err(self.redacted(judge(status, &headers, &text)))
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
        Problem { message, ..problem }
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

const LATER: &str = "nothing is lost: publish again when the network and GitHub are well";

/// What an answer means, from its status, its error codes and stable parts of its words; whole sentences
/// change. Sources: GitHub's documentation of rate limits and errors, and reports of its users.
fn judge(status: u16, headers: &HeaderMap, body: &str) -> Problem {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let json = serde_json::from_str::<Value>(body).unwrap_or(Value::Null);
    let words = words_of(&json);
    let says = |part: &str| words.to_ascii_lowercase().contains(&part.to_ascii_lowercase());
    let problem = |fate: Fate, help: &str| Problem {
        fate,
        message: if words.is_empty() {
            format!("GitHub answers {status}")
        } else {
            format!("GitHub answers {status}: {words}")
        },
        help: help.to_owned(),
        location: header("location").map(str::to_owned),
    };
    match status {
        301 | 302 | 307 | 308 => {
            problem(Fate::Gone, "the repository moved: update the remote's address")
        }
        401 => problem(
            Fate::Fatal,
            "the token is expired, revoked or another host's; an App's token lives one hour and must be \
             made just before it is used",
        ),
        403 | 429 if limited(status, headers, &words) => {
            problem(Fate::Wait(wait(headers)), "GitHub asks for less haste: publish again later")
        }
        403 => {
            let sso = header("x-github-sso").and_then(|value| value.split_once("url="));
            if let Some((_, url)) = sso {
                let url = url.split(';').next().unwrap_or(url);
                return problem(
                    Fate::Fatal,
                    &format!("authorize the token for the organization: {url}"),
                );
            }
            if says("archived") {
                return problem(
                    Fate::Fatal,
                    "unarchive the repository, or remove it from the nights",
                );
            }
            if says("not permitted to create or approve") {
                let help = "turn on \"Allow GitHub Actions to create and approve pull requests\" in the \
                            Actions settings of the repository and its organization, or use an App's token";
                return problem(Fate::Fatal, help);
            }
            match header("x-accepted-github-permissions") {
                Some(needed) if !needed.is_empty() => {
                    problem(Fate::Fatal, &format!("give the token this permission: {needed}"))
                }
                _ => problem(Fate::Fatal, "see that the token may write pull requests here"),
            }
        }
        404 => problem(
            Fate::Fatal,
            "check the repository's name and the token: GitHub answers 404 for what a token may not see",
        ),
        422 if says("already exists") => problem(Fate::Exists, LATER),
        // Right after a pull request was opened its parts may not find it yet; and right after a push,
        // the branch may not be there yet.
        422 if says("could not resolve to a node") || head_is_unknown(&json) => {
            problem(Fate::Wait(Duration::from_secs(1)), LATER)
        }
        422 if says("no commits between") => problem(
            Fate::Fatal,
            "the branch holds nothing that its base lacks: there is nothing to review",
        ),
        500.. => problem(Fate::Maybe, "see https://www.githubstatus.com, and publish again later"),
        408 => problem(Fate::Maybe, LATER),
        _ => problem(Fate::Fatal, "this is news to us: report it with the message"),
    }
}

/// `message` and the `errors` of GitHub's answer. Nothing for HTML, which proxies and 502 pages send.
fn words_of(json: &Value) -> String {
    let text = |value: &Value, name: &str| value.get(name)?.as_str().map(str::to_owned);
    let mut parts: Vec<String> = text(json, "message").into_iter().collect();
    let errors = json.get("errors").and_then(Value::as_array);
    for error in errors.into_iter().flatten() {
        let fields = ["resource", "field", "code"].map(|name| text(error, name));
        let said = text(error, "message").or_else(|| error.as_str().map(str::to_owned));
        let said =
            said.unwrap_or_else(|| fields.into_iter().flatten().collect::<Vec<_>>().join(" "));
        parts.push(said);
    }
    parts.retain(|part| !part.is_empty());
    first_line(&parts.join("; "))
}

fn head_is_unknown(json: &Value) -> bool {
    let errors = json.get("errors").and_then(Value::as_array);
    errors.into_iter().flatten().any(|error| {
        let is = |name: &str, value: &str| error.get(name).and_then(Value::as_str) == Some(value);
        is("field", "head") && is("code", "invalid")
    })
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// True when a 403 or 429 is about haste and not about rights.
fn limited(status: u16, headers: &HeaderMap, words: &str) -> bool {
    status == 429
        || headers.contains_key("retry-after")
        || number(headers, "x-ratelimit-remaining") == Some(0)
        || words.to_ascii_lowercase().contains("rate limit")
}

/// GitHub's order: `retry-after`, then the reset of a spent limit, else a minute. The reset is compared
/// with the answer's own date, so that this machine's clock does not matter.
fn wait(headers: &HeaderMap) -> Duration {
    if let Some(seconds) = number(headers, "retry-after") {
        return Duration::from_secs(seconds);
    }
    if number(headers, "x-ratelimit-remaining") != Some(0) {
        return UNSAID_WAIT;
    }
    let date = headers.get("date").and_then(|date| date.to_str().ok());
    let now = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let reset = number(headers, "x-ratelimit-reset");
    match (now.and_then(|now| u64::try_from(now.timestamp().as_second()).ok()), reset) {
        (Some(now), Some(reset)) => Duration::from_secs(reset.saturating_sub(now) + 1),
        _ => UNSAID_WAIT,
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(LONGEST_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, headers: &[(&'static str, &str)], body: &str) -> Problem {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        judge(status, &map, body)
    }

    #[test]
    fn an_answer_is_judged_by_status_code_and_stable_words() {
        let exists = r#"{"message":"Validation Failed","errors":[{"resource":"PullRequest","code":"custom","message":"A pull request already exists for o:b."}]}"#;
        let node = r#"{"message":"Validation Failed","errors":["Could not resolve to a node with the global id of 'X'."]}"#;
        let head = r#"{"message":"Validation Failed","errors":[{"resource":"PullRequest","field":"head","code":"invalid"}]}"#;
        let base = r#"{"message":"Validation Failed","errors":[{"resource":"PullRequest","field":"base","code":"invalid"}]}"#;
        let html = "<html><body><h1>Unicorn!</h1>\n</body></html>";
        for (status, body, fate, message) in [
            (
                422,
                exists,
                Fate::Exists,
                "Validation Failed; A pull request already exists for o:b.",
            ),
            (422, node, Fate::Wait(Duration::from_secs(1)), "Could not resolve"),
            (422, head, Fate::Wait(Duration::from_secs(1)), "PullRequest head invalid"),
            (422, base, Fate::Fatal, "PullRequest base invalid"),
            (500, "{}", Fate::Maybe, "GitHub answers 500"),
            (502, html, Fate::Maybe, "GitHub answers 502"),
            (307, "", Fate::Gone, "GitHub answers 307"),
            (404, r#"{"message":"Not Found"}"#, Fate::Fatal, "GitHub answers 404: Not Found"),
            (401, r#"{"message":"Bad credentials"}"#, Fate::Fatal, "Bad credentials"),
        ] {
            let problem = judged(status, &[], body);
            assert_eq!(problem.fate, fate, "{status} {body}");
            assert!(problem.message.contains(message), "{}", problem.message);
            assert!(!problem.message.contains('<'), "{}", problem.message);
        }
    }

    #[test]
    fn haste_is_told_from_missing_rights() {
        let seconds =
            |headers: &[(&'static str, &str)], body: &str| match judged(403, headers, body).fate {
                Fate::Wait(time) => Some(time.as_secs()),
                Fate::Exists | Fate::Maybe | Fate::Gone | Fate::Fatal => None,
            };
        assert_eq!(seconds(&[("retry-after", "7")], ""), Some(7));
        let spent = [
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1795258172"),
            ("date", "Sat, 21 Nov 2026 10:49:02 GMT"),
        ];
        assert_eq!(seconds(&spent, ""), Some(31));
        assert_eq!(seconds(&spent[..2], ""), Some(60));
        let words = r#"{"message":"You have exceeded a secondary rate limit."}"#;
        assert_eq!(seconds(&[], words), Some(60));
        assert_eq!(seconds(&[("x-ratelimit-remaining", "12")], "{}"), None);
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for (headers, body, help) in [
            (
                [("x-github-sso", "required; url=https://h/orgs/o/sso?x=1")],
                r#"{"message":"Resource protected by organization SAML enforcement."}"#,
                "https://h/orgs/o/sso?x=1",
            ),
            (
                [("x-accepted-github-permissions", "pull_requests=write")],
                r#"{"message":"Resource not accessible by personal access token"}"#,
                "pull_requests=write",
            ),
            (
                [("x-other", "")],
                r#"{"message":"GitHub Actions is not permitted to create or approve pull requests."}"#,
                "Allow GitHub Actions to create",
            ),
        ] {
            let problem = judged(403, &headers, body);
            assert_eq!(problem.fate, Fate::Fatal);
            assert!(problem.help.contains(help), "{}", problem.help);
        }
    }

    #[test]
    fn a_token_is_checked_before_anything_is_sent() {
        let checked = |api: &str, token: &str| {
            let endpoint = Endpoint { server_url: String::new(), api_url: api.to_owned() };
            check(&endpoint, &Secret::new(token)).map_err(|error| error.message)
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
