//! A night's pull request on GitHub: found or opened, brought up to date, labelled. Never two of them.
//!
//! Nothing is repeated before it was looked for, since an answer that got lost may have been a yes. Never merges,
//! reopens or comments, closes only what a person's revert left without a commit, and never touches a pull request
//! that is not this night's.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use super::{
    Closing, Forge, ForgeError, Looking, Over, Published, Publishing, PullRequestDraft,
    endpoint::Endpoint,
};
use crate::{
    redact::{Redactor, Secret},
    report::marker,
};

mod api;

use self::api::{Api, Fate, Problem, Verb};

/// Times that one thing is tried before we give up.
const MOST_TRIES: u32 = 5;
/// GitHub's limit for titles, in characters.
const LONGEST_TITLE: usize = 256;
/// Below GitHub's limit of 65,536 characters, which its server sometimes counts otherwise.
const LONGEST_BODY: usize = 60_000;

/// Everything that is needed to reach one repository.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where GitHub answers.
    pub endpoint: Endpoint,
    /// The user or organization.
    pub owner: String,
    /// The repository.
    pub name: String,
    /// A token meant for this host.
    pub token: Secret,
    /// How long one publication waits in all, for limits and between tries.
    pub patience: Duration,
    /// The first pause after an unclear answer; each further one is twice as long.
    pub pause: Duration,
    /// Longest time for one request.
    pub request_limit: Duration,
}

impl Settings {
    /// Waits up to a minute and a half in all, since GitHub often asks for one minute, and up to 30
    /// seconds for each answer.
    pub fn new(
        endpoint: Endpoint,
        owner: impl Into<String>,
        name: impl Into<String>,
        token: Secret,
    ) -> Settings {
        Settings {
            endpoint,
            owner: owner.into(),
            name: name.into(),
            token,
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
    redactor: Redactor,
}

impl GitHub {
    /// Checks the address and the token's form. Sends nothing.
    pub fn new(settings: Settings) -> Result<GitHub, ForgeError> {
        let api_base = api::check(&settings.endpoint, &settings.token)?;
        let redactor = Redactor::new([settings.token.expose().to_owned()]);
        Ok(GitHub { settings, api_base, redactor })
    }

    fn visit<'a>(&'a self, draft: &'a PullRequestDraft) -> Result<Visit<'a>, ForgeError> {
        let settings = &self.settings;
        let api = Api::new(self.api_base.clone(), &settings.token, settings.request_limit)?;
        let marker = marker(&draft.night);
        let body = if draft.body.starts_with(&marker) {
            draft.body.clone()
        } else {
            format!("{marker}\n{}", draft.body)
        };
        Ok(Visit {
            api,
            settings,
            draft,
            marker,
            title: fitted(&self.redactor.redact(&draft.title), LONGEST_TITLE, "…"),
            body: fitted(&self.redactor.redact(&body), LONGEST_BODY, "\n\n(cut here)\n"),
            left: settings.patience,
            notes: Vec::new(),
        })
    }
}

impl Forge for GitHub {
    fn publish<'a>(&'a self, draft: &'a PullRequestDraft) -> Publishing<'a> {
        Box::pin(async move { self.visit(draft)?.publish().await })
    }

    fn close<'a>(&'a self, draft: &'a PullRequestDraft) -> Closing<'a> {
        Box::pin(async move { self.visit(draft)?.close().await })
    }

    fn ended<'a>(&'a self, draft: &'a PullRequestDraft) -> Looking<'a> {
        Box::pin(async move {
            let mut visit = self.visit(draft)?;
            let repository = visit.resolve().await?;
            let found = visit.find(&repository).await?;
            Ok(found.as_ref().and_then(Pull::ended))
        })
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
    settings: &'a Settings,
    draft: &'a PullRequestDraft,
    marker: String,
    title: String,
    body: String,
    left: Duration,
    notes: Vec<String>,
}

impl Visit<'_> {
    async fn publish(&mut self) -> Result<Published, ForgeError> {
        let repository = self.resolve().await?;
        let pull = match self.find(&repository).await? {
            Some(pull) if pull.state != "open" => {
                let how = pull.ended().map(|over| over.words).unwrap_or_default();
                self.notes.push(format!("{how}, so no second one of this night was opened"));
                return Ok(self.published(pull));
            }
            Some(pull) if self.is_ours(&pull) => {
                self.update(&repository, &pull).await?;
                pull
            }
            Some(pull) => {
                self.notes.push(format!(
                    "#{} was opened from this branch by a person, so its text was left alone",
                    pull.number
                ));
                return Ok(self.published(pull));
            }
            None => self.open(&repository).await?,
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
        self.label(&repository, &pull).await;
        self.ask_for_reviews(&repository, &pull).await;
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
            return Err(refused("is archived", "unarchive it, or remove it from the nights"));
        }
        // These are the rights of a user. A token of an App or of Actions (`ghs_…`) has no user, and
        // GitHub answers `push: false` for each of them, whatever it was granted.
        let of_a_user = !self.settings.token.expose().starts_with("ghs_");
        if of_a_user && repository.permissions.as_ref().is_some_and(|rights| !rights.push) {
            let help = "ask for write access, or use another token";
            return Err(refused("does not let this token push", help));
        }
        Ok(repository)
    }

    /// The pull request of this branch: the night's own first, an open one before a closed one. One that
    /// a person opened from the branch counts only with our base, where a second one is impossible.
    async fn find(&mut self, repository: &Repository) -> Result<Option<Pull>, ForgeError> {
        let full = &repository.full_name;
        let owner = full.split('/').next().unwrap_or(full);
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
                && pull.head.repo.as_ref().is_none_or(|repo| repo.full_name == *full);
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
        let mut as_draft = self.draft.draft;
        let mut tries = 0;
        loop {
            let body = json!({
                "title": self.title,
                "head": self.draft.branch,
                "base": self.draft.base,
                "body": self.body,
                "draft": as_draft,
            });
            let problem = match self.api.send(Verb::Post, &path, Some(&body)).await {
                Ok(value) => match serde_json::from_value(value) {
                    Ok(pull) => return Ok(pull),
                    Err(error) => Problem::unclear(&format!("GitHub's answer is odd: {error}")),
                },
                Err(problem) => problem,
            };
            if as_draft && problem.message.to_ascii_lowercase().contains("draft pull requests") {
                as_draft = false;
                self.notes.push(
                    "this repository has no drafts, so the pull request is open for review"
                        .to_owned(),
                );
                continue;
            }
            tries += 1;
            if let Err(mut error) = self.pause(WHAT, &problem, tries).await {
                error.help =
                    format!("{}; or open it by hand: {}", error.help, self.compare(repository));
                return Err(error);
            }
            if let Some(pull) = self.find(repository).await? {
                return Ok(pull);
            }
        }
    }

    /// Where a person opens this pull request with two clicks.
    fn compare(&self, repository: &Repository) -> String {
        let (server, full) = (&self.settings.endpoint.server_url, &repository.full_name);
        let (base, branch) = (&self.draft.base, &self.draft.branch);
        format!("{server}/{full}/compare/{base}...{branch}?quick_pull=1")
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

    async fn label(&mut self, repository: &Repository, pull: &Pull) {
        let labels = pull.labels.iter().flatten();
        let has: Vec<&String> = labels.filter_map(|label| label.name.as_ref()).collect();
        let missing: Vec<&String> = self.draft.labels.iter().filter(|l| !has.contains(l)).collect();
        if missing.is_empty() {
            return;
        }
        let path = format!("/repos/{}/issues/{}/labels", repository.full_name, pull.number);
        let body = json!({ "labels": missing });
        // Adding a label twice is the same as once.
        if let Err(error) = self.repeat("add labels", Verb::Post, &path, Some(&body)).await {
            self.notes.push(error.message);
        }
    }

    /// One request for each, so that one name that is wrong does not cost the others.
    async fn ask_for_reviews(&mut self, repository: &Repository, pull: &Pull) {
        let users = pull.requested_reviewers.iter().flatten().map(|user| &user.login);
        let teams = pull.requested_teams.iter().flatten().map(|team| &team.slug);
        let asked: Vec<&String> = users.chain(teams).collect();
        let author = pull.user.as_ref().map(|user| user.login.as_str());
        let path =
            format!("/repos/{}/pulls/{}/requested_reviewers", repository.full_name, pull.number);
        for reviewer in &self.draft.reviewers {
            let (field, name) = match reviewer.split_once('/') {
                Some((_, team)) => ("team_reviewers", team),
                None => ("reviewers", reviewer.as_str()),
            };
            if asked.iter().any(|asked| asked.eq_ignore_ascii_case(name)) {
                continue;
            }
            if author.is_some_and(|author| author.eq_ignore_ascii_case(name)) {
                self.notes.push(format!("{name} opened the pull request and so cannot review it"));
                continue;
            }
            let body = json!({ field: [name] });
            let what = format!("ask {name} for a review");
            if let Err(error) = self.repeat(&what, Verb::Post, &path, Some(&body)).await {
                self.notes.push(error.message);
            }
        }
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
