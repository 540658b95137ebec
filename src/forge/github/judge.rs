//! What an answer of GitHub's means, and what a person can do about it, with the address where it is done.
//!
//! Only reads what came back. Sends nothing and repeats nothing.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::forge::ForgeError;

/// Longest wait when GitHub says to slow down without saying for how long (its documentation: a minute).
const UNSAID_WAIT: Duration = Duration::from_secs(60);
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
    pub(super) location: Option<String>,
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

const LATER: &str = "nothing is lost: publish again when the network and GitHub are well";

/// Which repository a request is about: its pages are where a person sets things right.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// `https://github.com`, without a slash at its end.
    pub(super) server: String,
    /// `owner/name`.
    pub(super) slug: String,
    /// Which kind of token is used.
    pub(super) kind: Kind,
}

/// Whose a token is, as far as its form tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A person's with classic scopes, or of an unknown form.
    Person,
    /// A person's with fine-grained permissions.
    FineGrained,
    /// An App's installation, Actions among them. It has no user.
    App,
}

impl Kind {
    /// GitHub's prefixes: `ghs_` installations, `github_pat_` fine-grained ones.
    pub(super) fn of(token: &str) -> Kind {
        if token.starts_with("ghs_") {
            Kind::App
        } else if token.starts_with("github_pat_") {
            Kind::FineGrained
        } else {
            Kind::Person
        }
    }
}

impl Place {
    /// A page of the repository.
    pub(super) fn page(&self, rest: &str) -> String {
        format!("{}/{}{rest}", self.server, self.slug)
    }

    /// Where the token is looked after.
    fn token_page(&self) -> String {
        match self.kind {
            Kind::Person => format!("{}/settings/tokens", self.server),
            Kind::FineGrained => format!("{}/settings/personal-access-tokens", self.server),
            Kind::App => self.page("/settings/installations"),
        }
    }
}

/// What an answer means, from its status, its error codes and stable parts of its words; whole sentences
/// change. Sources: GitHub's documentation of rate limits and errors, and reports of its users.
pub(super) fn judge(place: &Place, status: u16, headers: &HeaderMap, body: &str) -> Problem {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let json = serde_json::from_str::<Value>(body).unwrap_or(Value::Null);
    let words = words_of(&json);
    let says = |part: &str| words.to_ascii_lowercase().contains(&part.to_ascii_lowercase());
    let problem = |fate: Fate, help: String| Problem {
        fate,
        message: if words.is_empty() {
            format!("GitHub answers {status}")
        } else {
            format!("GitHub answers {status}: {words}")
        },
        help,
        location: header("location").map(str::to_owned),
    };
    let fatal = |help: String| problem(Fate::Fatal, help);
    let incomplete = json.is_null() && body.trim_start().starts_with('{');
    match status {
        // What it is about got lost on the way.
        400..500 if incomplete => problem(Fate::Maybe, LATER.to_owned()),
        301 | 302 | 307 | 308 => {
            problem(Fate::Gone, "the repository moved: update the remote's address".to_owned())
        }
        401 => fatal(format!(
            "the token is expired, revoked or another host's: make a new one at {}; an App's token lives one \
             hour and must be made just before it is used",
            place.token_page()
        )),
        403 | 429 if limited(status, headers, &words) => {
            let help = "GitHub asks for less haste: publish again later".to_owned();
            problem(Fate::Wait(wait(headers)), help)
        }
        403 => fatal(forbidden(place, &says, &header)),
        404 => fatal(format!(
            "GitHub answers 404 for what a token may not see as well: open {} as the token's owner to check the \
             name, and give the token access to it at {}",
            place.page(""),
            place.token_page()
        )),
        422 if says("already exists") || has_code(&json, "already_exists") => {
            problem(Fate::Exists, LATER.to_owned())
        }
        // Right after a pull request was opened its parts may not find it yet; and right after a push,
        // the branch or the commit may not be there yet.
        422 if says("could not resolve to a node")
            || says("no commit found for sha")
            || head_is_unknown(&json) =>
        {
            problem(Fate::Wait(Duration::from_secs(1)), LATER.to_owned())
        }
        422 if says("no commits between") => fatal(
            "the branch holds nothing that its base lacks: there is nothing to review".to_owned(),
        ),
        422 if says("no history in common") => {
            fatal("base and branch begin differently: see `pr.base`".to_owned())
        }
        501 => {
            fatal("this server does not know that request: it is older than it must be".to_owned())
        }
        500.. => problem(
            Fate::Maybe,
            "see https://www.githubstatus.com, and publish again later".to_owned(),
        ),
        408 => problem(Fate::Maybe, LATER.to_owned()),
        _ => fatal("this is news to us: report it with the message".to_owned()),
    }
}

/// What to do about a 403 that is no limit.
fn forbidden<'h>(
    place: &Place,
    says: &impl Fn(&str) -> bool,
    header: &impl Fn(&str) -> Option<&'h str>,
) -> String {
    let sso = header("x-github-sso").and_then(|value| value.split_once("url="));
    if let Some((_, url)) = sso {
        let url = url.split(';').next().unwrap_or(url);
        return format!("authorize the token for the organization: {}", first_line(url));
    }
    if says("archived") {
        let page = place.page("/settings");
        return format!("unarchive the repository at {page}, or remove it from the nights");
    }
    if says("not permitted to create or approve") {
        let page = place.page("/settings/actions");
        return format!(
            "turn on \"Allow GitHub Actions to create and approve pull requests\" at {page} (an organization may \
             forbid it in its own settings), or use an App's token"
        );
    }
    match header("x-accepted-github-permissions") {
        Some(needed) if !needed.is_empty() => format!(
            "give the token this permission at {}: {}",
            place.token_page(),
            first_line(needed)
        ),
        _ => format!(
            "see at {} that the token may write pull requests, and at {} that its owner may",
            place.token_page(),
            place.page("")
        ),
    }
}

fn has_code(json: &Value, code: &str) -> bool {
    let errors = json.get("errors").and_then(Value::as_array);
    errors
        .into_iter()
        .flatten()
        .any(|error| error.get("code").and_then(Value::as_str) == Some(code))
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

pub(super) fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(LONGEST_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(token: &str) -> Place {
        Place { server: "https://h".to_owned(), slug: "o/r".to_owned(), kind: Kind::of(token) }
    }

    fn judged(status: u16, headers: &[(&'static str, &str)], body: &str) -> Problem {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        judge(&place("ghp_x"), status, &map, body)
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
            (422, &exists[..40], Fate::Maybe, "GitHub answers 422"),
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
                "approve pull requests\" at https://h/o/r/settings/actions",
            ),
            (
                [("x-other", "")],
                r#"{"message":"Repository was archived so is read-only."}"#,
                "https://h/o/r/settings,",
            ),
        ] {
            let problem = judged(403, &headers, body);
            assert_eq!(problem.fate, Fate::Fatal);
            assert!(problem.help.contains(help), "{}", problem.help);
        }
    }

    #[test]
    fn each_kind_of_token_is_looked_after_on_its_own_page() {
        for (token, page) in [
            ("ghp_x", "https://h/settings/tokens"),
            ("github_pat_x", "https://h/settings/personal-access-tokens"),
            ("ghs_x", "https://h/o/r/settings/installations"),
        ] {
            let problem =
                judge(&place(token), 404, &HeaderMap::new(), r#"{"message":"Not Found"}"#);
            assert!(problem.help.contains(page), "{}", problem.help);
            assert!(problem.help.contains("https://h/o/r "), "{}", problem.help);
            assert!(!problem.help.contains("does not exist"), "{}", problem.help);
        }
    }
}
