//! A night's pull request on GitHub: found or opened, brought up to date. Never two of them.
//!
//! Nothing is repeated before it was looked for, since an answer that got lost may have been a yes. Never merges or
//! reopens, closes only what a person's revert left without a commit, and never changes the text of a pull request
//! that is not this night's. What goes beside it is `beside`'s.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use super::{
    Closing, Forge, ForgeError, Listing, Looking, Over, Published, Publishing, PullRequestDraft,
    endpoint::Endpoint,
};
use crate::{
    redact::{Redactor, Secret},
    report::{boxes, labels, marker},
};

mod api;
mod app;
mod beside;
mod identity;
mod judge;
mod look;

use self::{
    api::{Api, Verb},
    judge::{Fate, Kind, Place, Problem},
};
pub use self::{
    app::{App, Issuer},
    identity::{Identity, identity},
};

/// Times that one thing is tried before we give up.
const MOST_TRIES: u32 = 5;
/// GitHub's limit for titles, in characters.
const LONGEST_TITLE: usize = 256;
/// What people call the remote that is meant; only for a message.
const REMOTE: &str = "origin";
/// Below GitHub's limit of 65,536 characters, which its server sometimes counts otherwise.
const LONGEST_BODY: usize = 60_000;

/// Everything that is needed to reach one repository.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where GitHub answers.
    pub endpoint: Endpoint,
    /// The user or organization whose repository gets the pull request.
    pub owner: String,
    /// The repository.
    pub name: String,
    /// Owner and name of the fork that holds the branch; `None` = the same repository.
    pub fork: Option<(String, String)>,
    /// What it is reached with.
    pub credential: Credential,
    /// How long one publication waits in all, for limits and between tries.
    pub patience: Duration,
    /// The first pause after an unclear answer; each further one is twice as long.
    pub pause: Duration,
    /// Longest time for one request.
    pub request_limit: Duration,
}

/// What GitHub is told we are.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A token meant for this host.
    Token(Secret),
    /// An App's key: a token is made just before it is used.
    App(Arc<App>),
}

impl Settings {
    /// Waits up to a minute and a half in all, since GitHub often asks for one minute, and up to 30
    /// seconds for each answer.
    pub fn new(
        endpoint: Endpoint,
        owner: impl Into<String>,
        name: impl Into<String>,
        credential: Credential,
    ) -> Settings {
        Settings {
            endpoint,
            owner: owner.into(),
            name: name.into(),
            fork: None,
            credential,
            patience: Duration::from_secs(90),
            pause: Duration::from_secs(1),
            request_limit: Duration::from_secs(30),
        }
    }
}

/// One repository on GitHub.
#[derive(Clone, Debug)]
pub struct GitHub {
    settings: Settings,
    api_base: Url,
}

impl GitHub {
    /// Checks the address and the token's form. Sends nothing.
    pub fn new(settings: Settings) -> Result<GitHub, ForgeError> {
        let api_base = api::base(&settings.endpoint)?;
        if let Credential::Token(token) = &settings.credential {
            api::check(token)?;
        }
        Ok(GitHub { settings, api_base })
    }

    /// A client with a token that was looked at or made now, and that token.
    async fn api(&self, limit: Duration) -> Result<(Api, Secret), ForgeError> {
        let settings = &self.settings;
        let token = match &settings.credential {
            Credential::Token(token) => token.clone(),
            Credential::App(app) => app.token().await?,
        };
        let place = Place {
            server: settings.endpoint.server_url.clone(),
            slug: format!("{}/{}", settings.owner, settings.name),
            kind: Kind::of(token.expose()),
        };
        Ok((Api::new(self.api_base.clone(), place, &token, limit)?, token))
    }

    async fn visit<'a>(&'a self, draft: &'a PullRequestDraft) -> Result<Visit<'a>, ForgeError> {
        let settings = &self.settings;
        let (api, token) = self.api(settings.request_limit).await?;
        let kind = Kind::of(token.expose());
        let redactor = Redactor::new([token.expose().to_owned()]);
        let marker = marker(&draft.night);
        let text = redactor.redact(&draft.body);
        let text = text.strip_prefix(&marker).unwrap_or(&text).trim_matches('\n');
        // The next publication reads here which labels this one meant to set.
        let record = match draft.labels.as_slice() {
            [] => String::new(),
            some => format!("\n\n{}", labels::record(some)),
        };
        let room = LONGEST_BODY - marker.chars().count() - 1 - record.chars().count();
        let (kept, cut) = split(text, room);
        let rest = [cut, redactor.redact(&draft.rest).into_owned()].join("\n");
        Ok(Visit {
            api,
            kind,
            settings,
            draft,
            title: fitted(&redactor.redact(&draft.title), LONGEST_TITLE, "…"),
            body: format!("{marker}\n{kept}{record}"),
            rest: rest.trim_matches('\n').to_owned(),
            text: format!("{text}\n{}", redactor.redact(&draft.rest)),
            marker,
            left: settings.patience,
            notes: Vec::new(),
        })
    }
}

impl Forge for GitHub {
    fn publish<'a>(&'a self, draft: &'a PullRequestDraft) -> Publishing<'a> {
        Box::pin(async move { self.visit(draft).await?.publish().await })
    }

    fn close<'a>(&'a self, draft: &'a PullRequestDraft) -> Closing<'a> {
        Box::pin(async move { self.visit(draft).await?.close().await })
    }

    fn ended<'a>(&'a self, draft: &'a PullRequestDraft) -> Looking<'a> {
        Box::pin(async move {
            let mut visit = self.visit(draft).await?;
            let repository = visit.resolve().await?;
            let found = visit.find(&repository).await?;
            Ok(found.as_ref().and_then(Pull::ended))
        })
    }

    fn pulls(&self) -> Listing<'_> {
        Box::pin(look::pulls(self))
    }
}

/// Of GitHub's answers only what we use.
#[derive(Deserialize)]
struct Repository {
    full_name: String,
    archived: Option<bool>,
    permissions: Option<Permissions>,
}

#[derive(Deserialize)]
struct Permissions {
    push: bool,
}

#[derive(Clone, Deserialize)]
struct Pull {
    number: u64,
    html_url: String,
    state: String,
    title: Option<String>,
    body: Option<String>,
    draft: Option<bool>,
    merged_at: Option<String>,
    head: Side,
    base: Side,
    labels: Option<Vec<Label>>,
    requested_reviewers: Option<Vec<User>>,
    requested_teams: Option<Vec<Team>>,
    user: Option<User>,
}

impl Pull {
    /// How it ended, when it is not open any more.
    fn ended(&self) -> Option<Over> {
        let merged = self.merged_at.is_some();
        let how = if merged { "merged" } else { "closed" };
        (self.state != "open").then(|| Over { words: format!("#{} is {how}", self.number), merged })
    }
}

#[derive(Clone, Deserialize)]
struct Side {
    #[serde(rename = "ref")]
    name: String,
    sha: Option<String>,
    repo: Option<SideRepository>,
}

#[derive(Clone, Deserialize)]
struct SideRepository {
    full_name: String,
}

#[derive(Clone, Deserialize)]
struct Label {
    name: Option<String>,
}

#[derive(Clone, Deserialize)]
struct User {
    login: String,
}

#[derive(Clone, Deserialize)]
struct Team {
    slug: String,
}

/// One publication: what is left of its patience, and what went wrong without mattering enough.
struct Visit<'a> {
    api: Api,
    kind: Kind,
    settings: &'a Settings,
    draft: &'a PullRequestDraft,
    marker: String,
    title: String,
    /// What the pull request says: at most [`LONGEST_BODY`] characters.
    body: String,
    /// What did not fit there.
    rest: String,
    /// All of the text, without its marker.
    text: String,
    left: Duration,
    notes: Vec<String>,
}

impl Visit<'_> {
    async fn publish(&mut self) -> Result<Published, ForgeError> {
        let published = self.bring_out().await;
        published.map_err(|mut error| {
            let by_hand = self.compare();
            error.help = format!("{}; or open it by hand: {by_hand}", error.help);
            error
        })
    }

    async fn bring_out(&mut self) -> Result<Published, ForgeError> {
        let repository = self.resolve().await?;
        let (pull, fresh) = match self.find(&repository).await? {
            Some(pull) if pull.state != "open" => {
                let how = pull.ended().map(|over| over.words).unwrap_or_default();
                self.notes.push(format!("{how}, so no second one of this night was opened"));
                return Ok(self.published(pull));
            }
            Some(pull) if self.is_ours(&pull) => {
                self.update(&repository, &pull).await?;
                (pull, false)
            }
            Some(pull) => {
                self.notes.push(format!(
                    "#{} was opened from this branch by a person, so its text was left alone; what the night says \
                     is in a comment",
                    pull.number
                ));
                let text = boxes::without(&self.text);
                self.comment(&repository, &pull, &text).await;
                return Ok(self.published(pull));
            }
            None => (self.open(&repository).await?, true),
        };
        if let Some(shown) = &pull.head.sha
            && shown != self.draft.head.as_str()
        {
            self.notes.push(format!(
                "GitHub shows the branch at {}, not yet at {}",
                shown.get(..7).unwrap_or(shown),
                self.draft.head.short()
            ));
        }
        let rest = boxes::without(&self.rest);
        if !rest.is_empty() {
            self.comment(&repository, &pull, &rest).await;
        }
        if self.may_write(&repository) {
            self.label(&repository, &pull, fresh).await;
            self.ask_for_reviews(&repository, &pull).await;
            if self.draft.statuses {
                self.tell_statuses(&repository, &pull, fresh).await;
            }
        } else {
            self.notes.push(format!(
                "labels, reviewers and commit statuses need write access to {}",
                repository.full_name
            ));
        }
        Ok(self.published(pull))
    }

    /// Text and end are one request: cut off anywhere, nothing is said twice.
    async fn close(&mut self) -> Result<Option<Published>, ForgeError> {
        let repository = self.resolve().await?;
        let Some(pull) = self.find(&repository).await? else { return Ok(None) };
        if pull.merged_at.is_some() || !self.is_ours(&pull) {
            let why = match pull.ended() {
                Some(over) => over.words,
                None => format!(
                    "#{} was opened from this branch by a person: it is not closed, though no commit is left",
                    pull.number
                ),
            };
            self.notes.push(why);
            return Ok(Some(self.published(pull)));
        }
        // GitHub closes it by itself when its branch is at the base again; then the text is what is left to do.
        let path = format!("/repos/{}/pulls/{}", repository.full_name, pull.number);
        let body = json!({ "title": self.title, "body": self.body, "state": "closed" });
        let what = format!("close {}", pull.html_url);
        self.repeat(&what, Verb::Patch, &path, Some(&body)).await?;
        self.notes.push(format!("#{} is closed: no commit is left", pull.number));
        Ok(Some(self.published(pull)))
    }

    fn published(&mut self, pull: Pull) -> Published {
        let notes = std::mem::take(&mut self.notes);
        Published { url: pull.html_url, number: Some(pull.number), notes }
    }

    /// The repository under its present name: a GET follows a rename, a POST does not.
    async fn resolve(&mut self) -> Result<Repository, ForgeError> {
        let asked = format!("{}/{}", self.settings.owner, self.settings.name);
        let path = format!("/repos/{asked}");
        let what = format!("read the repository {asked}");
        let value = self.repeat(&what, Verb::Get, &path, None).await?;
        let repository: Repository = serde_json::from_value(value).map_err(|error| ForgeError {
            message: format!("could not {what}: the answer is not a repository ({error})"),
            help: format!("see that {} is a GitHub API", self.settings.endpoint.api_url),
            temporary: false,
            wait: None,
        })?;
        let refused = |why: &str, help: &str| ForgeError {
            message: format!("the repository {} {why}", repository.full_name),
            help: help.to_owned(),
            temporary: false,
            wait: None,
        };
        if repository.archived == Some(true) {
            let help = format!(
                "unarchive it at {}, or remove it from the nights",
                self.api.place().page("/settings")
            );
            return Err(refused("is archived", &help));
        }
        self.api.renamed(&repository.full_name);
        // From a fork anybody may open one.
        if self.settings.fork.is_none() && !self.may_write(&repository) {
            let help = format!(
                "ask for write access at {}, use another token, or push to a fork of yours: git remote set-url \
                 --push {REMOTE} ADDRESS",
                self.api.place().page("/settings/access")
            );
            return Err(refused("does not let this token push", &help));
        }
        Ok(repository)
    }

    /// These are the rights of a user. A token of an App or of Actions has no user, and GitHub answers
    /// `push: false` for each of them, whatever it was granted.
    fn may_write(&self, repository: &Repository) -> bool {
        self.kind == Kind::App || repository.permissions.as_ref().is_none_or(|rights| rights.push)
    }

    /// Owner of the branch, and its repository's full name.
    fn head(&self, repository: &Repository) -> (String, String) {
        match &self.settings.fork {
            Some((owner, name)) => (owner.clone(), format!("{owner}/{name}")),
            None => {
                let full = &repository.full_name;
                (full.split('/').next().unwrap_or(full).to_owned(), full.clone())
            }
        }
    }

    /// The pull request of this branch: the night's own first, an open one before a closed one. One that
    /// a person opened from the branch counts only with our base, where a second one is impossible.
    async fn find(&mut self, repository: &Repository) -> Result<Option<Pull>, ForgeError> {
        let full = &repository.full_name;
        let (owner, head) = self.head(repository);
        // Without `owner:` GitHub ignores the filter and lists everybody's; so the answer is filtered
        // again. The base may have been changed by a person: it is not asked for.
        let branch: String =
            form_urlencoded::byte_serialize(self.draft.branch.as_bytes()).collect();
        let path = format!("/repos/{full}/pulls?state=all&head={owner}:{branch}&per_page=100");
        const WHAT: &str = "look for the pull request";
        let value = self.repeat(WHAT, Verb::Get, &path, None).await?;
        // An answer that cannot be read is not "there is none": that would open a second one.
        let pulls: Vec<Pull> = serde_json::from_value(value).map_err(|error| {
            Problem::unclear(&format!("GitHub's answer is odd: {error}")).failed(WHAT)
        })?;
        let rank = |pull: &Pull| {
            let here = pull.head.name == self.draft.branch
                && pull
                    .head
                    .repo
                    .as_ref()
                    .is_none_or(|repo| repo.full_name.eq_ignore_ascii_case(&head));
            let same_base = pull.base.name == self.draft.base;
            match (here, pull.state == "open", self.is_ours(pull)) {
                (true, true, true) => Some(if same_base { 3 } else { 2 }),
                (true, true, false) if same_base => Some(1),
                (true, false, true) => Some(0),
                _ => None,
            }
        };
        let ranked = pulls.into_iter().filter_map(|pull| Some((rank(&pull)?, pull)));
        Ok(ranked.max_by_key(|(rank, pull)| (*rank, pull.number)).map(|(_, pull)| pull))
    }

    fn is_ours(&self, pull: &Pull) -> bool {
        pull.body.as_deref().is_some_and(|body| body.trim_start().starts_with(&self.marker))
    }

    async fn open(&mut self, repository: &Repository) -> Result<Pull, ForgeError> {
        const WHAT: &str = "open the pull request";
        let path = format!("/repos/{}/pulls", repository.full_name);
        let head = match &self.settings.fork {
            Some((owner, _)) => format!("{owner}:{}", self.draft.branch),
            None => self.draft.branch.clone(),
        };
        let mut body = json!({
            "title": self.title,
            "head": head,
            "base": self.draft.base,
            "body": self.body,
            "draft": self.draft.draft,
        });
        let mut tries = 0;
        loop {
            let problem = match self.api.send(Verb::Post, &path, Some(&body)).await {
                Ok(value) => match serde_json::from_value(value) {
                    Ok(pull) => return Ok(pull),
                    Err(error) => Problem::unclear(&format!("GitHub's answer is odd: {error}")),
                },
                Err(problem) => problem,
            };
            let words = problem.message.to_ascii_lowercase();
            if body["draft"] == true && words.contains("draft pull requests") {
                body["draft"] = false.into();
                self.notes.push(
                    "this repository has no drafts, so the pull request is open for review"
                        .to_owned(),
                );
                continue;
            }
            // Forks of organizations cannot let others change the branch.
            if words.contains("fork collab") && body.get("maintainer_can_modify").is_none() {
                body["maintainer_can_modify"] = false.into();
                continue;
            }
            tries += 1;
            self.pause(WHAT, &problem, tries).await?;
            if let Some(pull) = self.find(repository).await? {
                return Ok(pull);
            }
        }
    }

    /// Where a person opens this pull request with two clicks.
    fn compare(&self) -> String {
        let (base, branch) = (&self.draft.base, &self.draft.branch);
        let owner = self.settings.fork.as_ref().map_or_else(String::new, |(o, _)| format!("{o}:"));
        self.api.place().page(&format!("/compare/{base}...{owner}{branch}?quick_pull=1"))
    }

    async fn update(&mut self, repository: &Repository, pull: &Pull) -> Result<(), ForgeError> {
        if pull.title.as_deref() != Some(&self.title) || pull.body.as_deref() != Some(&self.body) {
            let path = format!("/repos/{}/pulls/{}", repository.full_name, pull.number);
            let body = json!({ "title": self.title, "body": self.body });
            let what = format!("update the text of {}", pull.html_url);
            self.repeat(&what, Verb::Patch, &path, Some(&body)).await?;
        }
        if pull.base.name != self.draft.base {
            self.notes.push(format!(
                "#{} goes into {} and not into {}: a person changed that",
                pull.number, pull.base.name, self.draft.base
            ));
        }
        // GitHub's REST interface sets this when a pull request is opened, and never after.
        match (self.draft.draft, pull.draft) {
            (true, Some(false)) => self.notes.push(format!(
                "something in #{} waits for a person, but it is not a draft",
                pull.number
            )),
            (false, Some(true)) => self
                .notes
                .push(format!("#{} is still a draft: mark it ready for review", pull.number)),
            (true, Some(true)) | (false, Some(false)) | (_, None) => {}
        }
        Ok(())
    }

    /// For requests that may be carried out twice.
    async fn repeat(
        &mut self,
        what: &str,
        verb: Verb,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ForgeError> {
        let mut tries = 0;
        loop {
            let problem = match self.api.send(verb, path, body).await {
                Ok(value) => return Ok(value),
                Err(problem) => problem,
            };
            tries += 1;
            self.pause(what, &problem, tries).await?;
        }
    }

    /// Waits as long as `problem` asks for, or says that it is not worth waiting.
    async fn pause(&mut self, what: &str, problem: &Problem, tries: u32) -> Result<(), ForgeError> {
        let backed_off = self.settings.pause.saturating_mul(1 << tries.saturating_sub(1).min(8));
        let time = match problem.fate {
            Fate::Exists | Fate::Maybe => backed_off,
            Fate::Wait(time) => time.max(backed_off),
            Fate::Gone | Fate::Fatal => return Err(problem.failed(what)),
        };
        if tries >= MOST_TRIES {
            return Err(problem.failed(what));
        }
        if time > self.left {
            let mut error = problem.failed(what);
            error.message.push_str(&format!(" (it would take {} s more)", time.as_secs()));
            return Err(error);
        }
        self.left -= time;
        tokio::time::sleep(time).await;
        Ok(())
    }
}

/// At most `most` characters, `end` included if something had to go.
fn fitted(text: &str, most: usize, end: &str) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - end.chars().count()).collect();
    kept + end
}

/// The text in two parts, the first of at most `most` characters: cut before a heading or a folded part where there
/// is one in its second half, else at a line's end.
fn split(text: &str, most: usize) -> (String, String) {
    const MARK: &str = "\n\n(cut here: the rest is in a comment)";
    let Some((end, _)) = text.char_indices().nth(most) else {
        return (text.to_owned(), String::new());
    };
    let room = text.char_indices().nth(most - MARK.len()).map_or(end, |(at, _)| at);
    let edges = ["\n## ", "\n<details>"].iter().filter_map(|edge| text[..room].rfind(edge));
    let edge = edges.max().filter(|at| *at > room / 2);
    let at = edge.or_else(|| text[..room].rfind('\n').filter(|at| *at > room / 2)).unwrap_or(room);
    (text[..at].trim_end().to_owned() + MARK, text[at..].trim_start_matches('\n').to_owned())
}
