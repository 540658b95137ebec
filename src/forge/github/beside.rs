//! What stands beside a night's pull request: labels, reviewers, one comment, a status at each commit.
//!
//! None of it matters enough to fail: what does not work is a note. Never adds twice what may be there already, and
//! never puts back a label that a person took away.

use serde::Deserialize;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{Fate, LONGEST_BODY, Pull, Repository, Visit, api::Verb, fitted, judge::Problem};
use crate::{
    forge::{ForgeError, Landed},
    ids::{NAME, NightId},
    report::labels::{is_state, look, recorded},
};

/// Answers of a hundred each that are read of one list. More than that nobody wrote beside one pull request.
const MOST_PAGES: usize = 30;
/// The name under which a commit's status stands.
fn status_name() -> String {
    format!("{NAME}/gate")
}

/// Hidden text at the start of our comment, by which it is found again.
pub(super) fn comment_marker(night: &NightId) -> String {
    format!("<!-- {NAME}:comment={night} -->")
}

#[derive(Deserialize)]
struct Comment {
    id: u64,
    body: Option<String>,
    user: Option<Author>,
    author_association: Option<String>,
}

#[derive(Deserialize)]
struct Author {
    login: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl Comment {
    /// True when whoever wrote it could be us: a bot, who opened the pull request, or who may write here. Anybody can
    /// write our marker.
    fn may_be_ours(&self, pull: &Pull) -> bool {
        let author = self.user.as_ref();
        let bot = author.is_some_and(|author| author.kind.as_deref() == Some("Bot"));
        let opener = author.zip(pull.user.as_ref()).is_some_and(|(a, b)| a.login == b.login);
        let writes = ["OWNER", "MEMBER", "COLLABORATOR"];
        bot || opener
            || self.author_association.as_deref().is_some_and(|word| writes.contains(&word))
    }
}

#[derive(Deserialize)]
struct Happened {
    event: Option<String>,
    label: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Combined {
    statuses: Vec<Seen>,
}

#[derive(Deserialize)]
struct Seen {
    context: String,
    state: String,
    description: Option<String>,
}

impl Visit<'_> {
    /// Adds the labels that are missing, and takes away those of ours that no longer hold. `fresh`: it was opened
    /// just now.
    ///
    /// A label that the last publication meant to set, that was there once and is not there now, was taken away by a
    /// person: it stays away. The first is recorded in the text, the second in GitHub's own events.
    pub(super) async fn label(&mut self, repository: &Repository, pull: &Pull, fresh: bool) {
        let same = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
        let labels = pull.labels.iter().flatten();
        let has: Vec<&String> = labels.filter_map(|label| label.name.as_ref()).collect();
        let before = pull.body.as_deref().filter(|_| !fresh).and_then(recorded).unwrap_or_default();
        let wanted = &self.draft.labels;
        let mut missing: Vec<&String> =
            wanted.iter().filter(|label| !has.iter().any(|had| same(had, label))).collect();
        if missing.iter().any(|label| before.contains(*label)) {
            match self.ever_added(repository, pull).await {
                Ok(added) => missing.retain(|label| {
                    !(before.contains(label) && added.iter().any(|name| same(name, label)))
                }),
                Err(error) => {
                    self.notes.push(format!("{}: no label was added", error.message));
                    missing.clear();
                }
            }
        }
        for label in &missing {
            self.make_label(repository, label).await;
        }
        let path = format!("/repos/{}/issues/{}/labels", repository.full_name, pull.number);
        if !missing.is_empty() {
            let body = json!({ "labels": missing });
            // Adding a label twice is the same as once.
            if let Err(error) = self.repeat("add labels", Verb::Post, &path, Some(&body)).await {
                self.notes.push(error.message);
            }
        }
        let over = |label: &&&String| {
            is_state(label) && before.contains(**label) && !wanted.contains(**label)
        };
        for label in has.iter().filter(over) {
            let name: String = form_urlencoded::byte_serialize(label.as_bytes()).collect();
            let path = format!("{path}/{}", name.replace('+', "%20"));
            let what = format!("take the label `{label}` away");
            match self.repeat(&what, Verb::Delete, &path, None).await {
                Ok(_) => {}
                // The second time it is gone.
                Err(error) if error.message.contains("404") => {}
                Err(error) => self.notes.push(error.message),
            }
        }
    }

    /// Names of labels that were ever added to the pull request.
    async fn ever_added(
        &mut self,
        repository: &Repository,
        pull: &Pull,
    ) -> Result<Vec<String>, ForgeError> {
        let path = format!("/repos/{}/issues/{}/events", repository.full_name, pull.number);
        let events: Vec<Happened> = self.all("see who changed labels", &path).await?;
        let added =
            events.into_iter().filter(|happened| happened.event.as_deref() == Some("labeled"));
        Ok(added.filter_map(|happened| Some(happened.label?.name)).collect())
    }

    /// Makes one of our own labels, where the repository has none of that name: with a colour and a description.
    async fn make_label(&mut self, repository: &Repository, label: &str) {
        let look = look(label);
        if look.description.is_empty() {
            return;
        }
        let path = format!("/repos/{}/labels", repository.full_name);
        let body = json!({ "name": label, "color": look.colour, "description": look.description });
        let what = format!("make the label `{label}`");
        if let Err(error) = self.repeat_until_there(&what, &path, &body).await {
            self.notes.push(error.message);
        }
    }

    /// For requests that make something once: that it is there already is what was asked for.
    async fn repeat_until_there(
        &mut self,
        what: &str,
        path: &str,
        body: &Value,
    ) -> Result<(), ForgeError> {
        let mut tries = 0;
        loop {
            let problem = match self.api.send(Verb::Post, path, Some(body)).await {
                Ok(_) => return Ok(()),
                Err(Problem { fate: Fate::Exists, .. }) => return Ok(()),
                Err(problem) => problem,
            };
            tries += 1;
            self.pause(what, &problem, tries).await?;
        }
    }

    /// One request for each, so that one name that is wrong does not cost the others.
    pub(super) async fn ask_for_reviews(&mut self, repository: &Repository, pull: &Pull) {
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

    /// Says `text` in the one comment of ours: what is there is brought up to date, and what may be there is looked
    /// for before anything is said again.
    pub(super) async fn comment(&mut self, repository: &Repository, pull: &Pull, text: &str) {
        if let Err(error) = self.say(repository, pull, text).await {
            self.notes.push(error.message);
        }
    }

    async fn say(
        &mut self,
        repository: &Repository,
        pull: &Pull,
        text: &str,
    ) -> Result<(), ForgeError> {
        let marker = comment_marker(&self.draft.night);
        let body = fitted(&format!("{marker}\n{text}"), LONGEST_BODY, "\n\n(cut here)");
        let path = format!("/repos/{}/issues/{}/comments", repository.full_name, pull.number);
        let what = format!("comment on {}", pull.html_url);
        let said = json!({ "body": body });
        let mut tries = 0;
        loop {
            let comments: Vec<Comment> = self.all("look for our comment", &path).await?;
            let ours = comments.iter().find(|comment| {
                let begins = |body: &String| body.trim_start().starts_with(&marker);
                comment.body.as_ref().is_some_and(begins) && comment.may_be_ours(pull)
            });
            if let Some(comment) = ours {
                if comment.body.as_deref() != Some(&body) {
                    let path =
                        format!("/repos/{}/issues/comments/{}", repository.full_name, comment.id);
                    self.repeat(&what, Verb::Patch, &path, Some(&said)).await?;
                }
                return Ok(());
            }
            let Err(problem) = self.api.send(Verb::Post, &path, Some(&said)).await else {
                return Ok(());
            };
            tries += 1;
            self.pause(&what, &problem, tries).await?;
        }
    }

    /// Every entry of a list.
    async fn all<T: for<'d> Deserialize<'d>>(
        &mut self,
        what: &str,
        path: &str,
    ) -> Result<Vec<T>, ForgeError> {
        const EACH: usize = 100;
        let mut all = Vec::new();
        for page in 1..=MOST_PAGES {
            let path = format!("{path}?per_page={EACH}&page={page}");
            let value = self.repeat(what, Verb::Get, &path, None).await?;
            let found: Vec<T> = serde_json::from_value(value).map_err(|error| {
                Problem::unclear(&format!("GitHub's answer is odd: {error}")).failed(what)
            })?;
            let full = found.len() >= EACH;
            all.extend(found);
            if !full {
                break;
            }
        }
        Ok(all)
    }

    /// Says at each landed commit that its gate was green. A second status of the same name takes the place of the
    /// first, so an answer that got lost does no harm.
    pub(super) async fn tell_statuses(
        &mut self,
        repository: &Repository,
        pull: &Pull,
        fresh: bool,
    ) {
        let draft = self.draft;
        for (at, status) in draft.landed.iter().enumerate() {
            if !fresh && self.is_told(repository, status).await {
                continue;
            }
            // GitHub asks for a second between requests that write.
            if at > 0 {
                tokio::time::sleep(self.settings.pause).await;
            }
            let path = format!("/repos/{}/statuses/{}", repository.full_name, status.commit);
            let body = json!({
                "state": "success",
                "context": status_name(),
                "description": status.description,
                "target_url": pull.html_url,
            });
            let what = format!("set the status of {}", status.commit.short());
            if let Err(error) = self.repeat(&what, Verb::Post, &path, Some(&body)).await {
                // What one commit is refused for, all are.
                self.notes.push(error.message);
                return;
            }
        }
    }

    /// True when the commit says it already. Not to know it costs one request more.
    async fn is_told(&mut self, repository: &Repository, status: &Landed) -> bool {
        let full = &repository.full_name;
        let path = format!("/repos/{full}/commits/{}/status?per_page=100", status.commit);
        let Ok(value) = self.api.send(Verb::Get, &path, None).await else { return false };
        let name = status_name();
        serde_json::from_value::<Combined>(value).is_ok_and(|combined| {
            combined.statuses.iter().any(|seen| {
                seen.context == name
                    && seen.state == "success"
                    && seen.description.as_deref() == Some(&status.description)
            })
        })
    }
}
