//! A GitHub on loopback: real HTTP, a small state that follows GitHub's rules, and faults on demand.
//!
//! Each request and each answer is held to GitHub's own description of its API ([`contract`]); a request outside of it
//! fails the test that made it, at the latest when this GitHub is dropped.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, Response, StatusCode, Uri},
};
use serde_json::{Value, json};

pub(crate) mod contract;

/// The person's token.
pub(crate) const TOKEN: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
/// The token that the App's installation gets.
pub(crate) const APP_TOKEN: &str = "ghs_0123456789abcdefghijABCDEFGHIJ012345";
/// The number of the App's installation.
pub(crate) const INSTALLATION: u64 = 42;

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// 500 with JSON; nothing was done.
    InternalError,
    /// 502 with HTML; nothing was done.
    BadGateway,
    /// 502 with HTML, although it was done.
    BadGatewayAfter,
    /// The line breaks before anything was done.
    DropBefore,
    /// It was done, and the line breaks.
    DropAfter,
    /// It was done, and half of the answer arrives.
    Cut,
    /// It was done, and no answer ever comes.
    Silent,
    /// 403 with `retry-after: 0`.
    SecondaryLimit,
    /// 429 with `retry-after: 3600`.
    LongLimit,
    /// 403 with no more than GitHub's words.
    BareSecondaryLimit,
    /// 503 with JSON.
    Unavailable,
    /// 403, no limit.
    Forbidden,
    /// 404, as for what a token may not see.
    NotFound,
    /// 401, as at the end of a token's life.
    BadCredentials,
    /// 422 right after a pull request was opened.
    UnresolvedNode,
    /// 307, as when the repository is renamed at this moment.
    Moved,
}

/// A repository's settings.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    pub(crate) archived: bool,
    pub(crate) push: bool,
    pub(crate) drafts: bool,
    /// Whether who opens one from a fork may let others change its branch.
    pub(crate) maintainable: bool,
    pub(crate) branches: BTreeMap<String, String>,
    /// A bare repository whose branches are the real ones.
    pub(crate) bare: Option<PathBuf>,
}

/// A pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pull {
    pub(crate) number: u64,
    pub(crate) title: String,
    pub(crate) body: String,
    /// Whose repository the branch is in.
    pub(crate) from: String,
    pub(crate) head: String,
    pub(crate) base: String,
    pub(crate) draft: bool,
    pub(crate) open: bool,
    pub(crate) labels: Vec<String>,
    pub(crate) reviewers: Vec<String>,
    /// Every label that was ever added.
    pub(crate) added: Vec<String>,
    pub(crate) comments: Vec<(u64, String)>,
}

#[derive(Default)]
struct World {
    /// Answers hold every field, and not only what is required.
    full: bool,
    statuses: Vec<(String, Value)>,
    /// Labels of the repository: name, colour and description.
    labels: Vec<(String, String, String)>,
    violations: Vec<String>,
    /// Everything that was sent, without its headers.
    sent: String,
    /// Claims to be the App that came with requests.
    claims: Vec<String>,
    /// Permissions that the App was not given.
    not_granted: Vec<String>,
    repositories: BTreeMap<String, Repository>,
    renamed: BTreeMap<String, String>,
    pulls: Vec<Pull>,
    faults: Vec<(&'static str, Fault, u32)>,
    requests: Vec<String>,
}

/// The running server. It ends with its runtime.
pub(crate) struct FakeGitHub {
    pub(crate) url: String,
    world: Arc<Mutex<World>>,
}

type Reply = Response<Body>;

impl FakeGitHub {
    /// Starts with `octo/demo`, which has `main` and the branch of the tests' night.
    pub(crate) async fn start() -> FakeGitHub {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let world = Arc::new(Mutex::new(World::default()));
        let router = Router::new().fallback(answer).with_state((url.clone(), world.clone()));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let fake = FakeGitHub { url, world };
        let branches = [("main", "b"), ("nightshift/2026-11-21", "a")];
        let branches = branches.map(|(name, digit)| (name.to_owned(), digit.repeat(40)));
        let branches = branches.into();
        let demo = Repository {
            archived: false,
            push: true,
            drafts: true,
            maintainable: true,
            branches,
            bare: None,
        };
        fake.world().repositories.insert("octo/demo".to_owned(), demo);
        fake
    }

    /// Answers with every field from now on.
    pub(crate) fn full(self) -> FakeGitHub {
        self.world().full = true;
        self
    }

    /// Commit, and what was said at it.
    pub(crate) fn statuses(&self) -> Vec<(String, Value)> {
        self.world().statuses.clone()
    }

    /// The repository's labels: name, colour and description.
    pub(crate) fn labels(&self) -> Vec<(String, String, String)> {
        self.world().labels.clone()
    }

    /// Every path and body that was sent.
    pub(crate) fn sent(&self) -> String {
        self.world().sent.clone()
    }

    /// Claims to be the App that were sent.
    pub(crate) fn claims(&self) -> Vec<String> {
        self.world().claims.clone()
    }

    /// The App's installation does not have this permission.
    pub(crate) fn withhold(&self, permission: &str) {
        self.world().not_granted.push(permission.to_owned());
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Changes `octo/demo`.
    pub(crate) fn settings(&self, change: impl FnOnce(&mut Repository)) {
        change(self.world().repositories.get_mut("octo/demo").unwrap());
    }

    /// `octo/old` leads to `octo/demo` from now on.
    pub(crate) fn rename(&self) {
        self.world().renamed.insert("octo/old".to_owned(), "octo/demo".to_owned());
    }

    /// The next `times` requests for `operation` (`repo list create update label review`) go wrong.
    pub(crate) fn fault(&self, operation: &'static str, fault: Fault, times: u32) {
        self.world().faults.push((operation, fault, times));
    }

    pub(crate) fn heal(&self) {
        self.world().faults.clear();
    }

    pub(crate) fn pulls(&self) -> Vec<Pull> {
        self.world().pulls.clone()
    }

    pub(crate) fn change(&self, number: u64, change: impl FnOnce(&mut Pull)) {
        change(self.world().pulls.iter_mut().find(|pull| pull.number == number).unwrap());
    }

    /// A pull request by somebody else.
    pub(crate) fn add(&self, head: &str, base: &str, body: &str) -> u64 {
        let mut world = self.world();
        let number = world.pulls.len() as u64 + 1;
        world.pulls.push(Pull {
            number,
            title: "theirs".to_owned(),
            body: body.to_owned(),
            from: "octo".to_owned(),
            head: head.to_owned(),
            base: base.to_owned(),
            draft: false,
            open: true,
            labels: Vec::new(),
            reviewers: Vec::new(),
            added: Vec::new(),
            comments: Vec::new(),
        });
        number
    }

    /// How often an operation was asked for.
    pub(crate) fn count(&self, operation: &str) -> usize {
        self.world().requests.iter().filter(|asked| *asked == operation).count()
    }
}

impl Drop for FakeGitHub {
    fn drop(&mut self) {
        let violations =
            self.world.lock().map(|world| world.violations.clone()).unwrap_or_default();
        if !std::thread::panicking() {
            assert_eq!(violations, Vec::<String>::new(), "outside of GitHub's contract");
        }
    }
}

/// Our short name of an operation.
fn short(operation: &str) -> &'static str {
    match operation {
        "repos/get" => "repo",
        "pulls/list" => "list",
        "pulls/create" => "create",
        "pulls/update" => "update",
        "issues/add-labels" => "label",
        "issues/remove-label" => "unlabel",
        "issues/create-label" => "make-label",
        "issues/list-events" => "events",
        "issues/list-comments" => "comments",
        "issues/create-comment" => "comment",
        "issues/update-comment" => "edit-comment",
        "pulls/request-reviewers" => "review",
        "repos/create-commit-status" => "status",
        "repos/get-combined-status-for-ref" => "statuses",
        "repos/get-branch-rules" => "rules",
        "users/get-authenticated" => "user",
        "apps/get-repo-installation" => "installation",
        "apps/create-installation-access-token" => "token",
        other => panic!("{other} is in github.json and not played"),
    }
}

fn reply(status: u16, body: Value) -> Reply {
    let reply = Response::builder().status(status).header("content-type", "application/json");
    reply.body(Body::from(body.to_string())).unwrap()
}

fn invalid(error: Value) -> Said {
    say(422, json!({ "message": "Validation Failed", "errors": [error] }))
}

fn html() -> Reply {
    let reply = Response::builder().status(StatusCode::BAD_GATEWAY);
    reply.body(Body::from("<html>\n<body>Unicorn!</body>\n</html>")).unwrap()
}

async fn answer(
    State((url, world)): State<(String, Arc<Mutex<World>>)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    // Enterprise Server answers below a path of its own; a moved repository goes by its number.
    let path = uri.path().strip_prefix("/api/v3").unwrap_or(uri.path());
    let path = path.replacen("/repositories/1", "/repos/octo/demo", 1);
    let found = contract::request(
        method.as_str(),
        &path,
        uri.query().unwrap_or_default(),
        (!body.is_null()).then_some(&body),
    );
    let named = {
        let mut world = world.lock().unwrap();
        world.sent.push_str(&format!("{method} {uri} {body}\n"));
        match found {
            Ok(operation) => operation,
            Err(violation) => {
                world.violations.push(violation.clone());
                return reply(422, json!({ "message": violation }));
            }
        }
    };
    let operation = short(&named.name);
    let authorization: Vec<_> = headers.get_all("authorization").iter().collect();
    let bearer =
        authorization.first().and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let app = matches!(operation, "installation" | "token");
    if app && let Some(claim) = bearer {
        world.lock().unwrap().claims.push(claim.to_owned());
    }
    let known = if app {
        bearer.is_some_and(|claim| claim.split('.').count() == 3)
    } else {
        matches!(bearer, Some(TOKEN | APP_TOKEN))
    };
    if authorization.len() != 1 || !known {
        return reply(401, json!({ "message": "Bad credentials" }));
    }
    let path: Vec<&str> = path.split('/').skip(1).collect();
    let fault = {
        let mut world = world.lock().unwrap();
        world.requests.push(operation.to_owned());
        let due = world.faults.iter_mut().find(|(at, _, left)| *at == operation && *left > 0);
        due.map(|(_, fault, left)| {
            *left -= 1;
            *fault
        })
    };
    let query = uri.query().unwrap_or_default().to_owned();
    let person = bearer == Some(TOKEN);
    let done = || {
        let mut world = world.lock().unwrap();
        let (status, value, location) = match act(
            &mut world,
            &url,
            operation,
            (&path, &named.parameters, person),
            &query,
            &body,
        ) {
            Said::Value(status, value) => (status, value, None),
            Said::Moved(status) => {
                let at = format!("{url}/repositories/1");
                (status, json!({ "message": "Moved Permanently" }), Some(at))
            }
        };
        let value = contract::answer(&named.name, status, value, world.full);
        let mut said = reply(status, value);
        if let Some(at) = location {
            said.headers_mut().insert("location", at.parse().unwrap());
        }
        said
    };
    match fault {
        None => done(),
        Some(Fault::InternalError) => reply(500, json!({ "message": "Server Error" })),
        Some(Fault::BadGateway) => html(),
        Some(Fault::BadGatewayAfter) => {
            done();
            html()
        }
        // The task of the connection ends, and with it the connection; no message is printed.
        Some(Fault::DropBefore) => std::panic::resume_unwind(Box::new(())),
        Some(Fault::DropAfter) => {
            done();
            std::panic::resume_unwind(Box::new(()))
        }
        Some(Fault::Cut) => {
            let (mut parts, body) = done().into_parts();
            let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            parts.headers.remove("content-length");
            Response::from_parts(parts, Body::from(bytes.slice(..bytes.len() / 2)))
        }
        Some(Fault::Silent) => {
            done();
            std::future::pending().await
        }
        Some(Fault::SecondaryLimit) => {
            let body = json!({ "message": "You have exceeded a secondary rate limit." });
            let mut reply = reply(403, body);
            reply.headers_mut().insert("retry-after", "0".parse().unwrap());
            reply
        }
        Some(Fault::LongLimit) => {
            let mut reply = reply(429, json!({ "message": "Too many requests" }));
            reply.headers_mut().insert("retry-after", "3600".parse().unwrap());
            reply
        }
        Some(Fault::BareSecondaryLimit) => {
            reply(429, json!({ "message": "You have exceeded a secondary rate limit." }))
        }
        Some(Fault::Unavailable) => reply(503, json!({ "message": "No server is available." })),
        Some(Fault::Forbidden) => {
            reply(403, json!({ "message": "Resource not accessible by integration" }))
        }
        Some(Fault::NotFound) => reply(404, json!({ "message": "Not Found" })),
        Some(Fault::BadCredentials) => reply(401, json!({ "message": "Bad credentials" })),
        Some(Fault::UnresolvedNode) => {
            let error = "Could not resolve to a node with the global id of 'PR_x'.";
            reply(422, json!({ "message": "Validation Failed", "errors": [error] }))
        }
        Some(Fault::Moved) => {
            let mut said = reply(307, json!({ "message": "Moved Permanently" }));
            said.headers_mut().insert("location", format!("{url}/repositories/1").parse().unwrap());
            said
        }
    }
}

/// Branches of a bare repository and where they stand.
fn branches(bare: &Path) -> BTreeMap<String, String> {
    let format = "--format=%(refname:lstrip=2) %(objectname)";
    let listed = Command::new("git")
        .args(["for-each-ref", format, "refs/heads/"])
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .current_dir(bare)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let pair = |line: &str| line.split_once(' ').map(|(name, at)| (name.to_owned(), at.to_owned()));
    listed.lines().filter_map(pair).collect()
}

/// What is answered, before it is filled up to what GitHub says.
enum Said {
    Value(u16, Value),
    /// To `octo/demo`, by its number.
    Moved(u16),
}

/// Whose request: its path, what stands in its places, and whether a person's token came with it.
type Asked<'a> = (&'a [&'a str], &'a BTreeMap<String, String>, bool);

fn say(status: u16, value: Value) -> Said {
    Said::Value(status, value)
}

fn act(
    world: &mut World,
    url: &str,
    operation: &str,
    (path, parameters, person): Asked<'_>,
    query: &str,
    body: &Value,
) -> Said {
    match operation {
        "user" if person => return say(200, json!({ "login": "nightowl" })),
        "user" => return say(403, json!({ "message": "Resource not accessible by integration" })),
        "token" => {
            assert_eq!(parameters["installation_id"], INSTALLATION.to_string());
            let asked = body["permissions"].as_object().unwrap();
            if asked.keys().any(|name| world.not_granted.contains(name)) {
                let message = "The permissions requested are not granted to this installation.";
                return say(422, json!({ "message": message }));
            }
            assert!(!asked.contains_key("workflows"), "nothing of ours changes workflows");
            return say(201, json!({ "token": APP_TOKEN }));
        }
        _ => {}
    }
    let full = match path {
        ["repos", owner, name, ..] => format!("{owner}/{name}"),
        _ => "octo/demo".to_owned(),
    };
    if world.renamed.contains_key(&full) {
        let reads = matches!(operation, "repo" | "list" | "installation");
        return Said::Moved(if reads { 301 } else { 307 });
    }
    let Some(mut repository) = world.repositories.get(&full).cloned() else {
        return say(404, json!({ "message": "Not Found" }));
    };
    if let Some(bare) = &repository.bare {
        repository.branches = branches(bare);
    }
    if operation != "repo" && operation != "list" && repository.archived {
        return say(403, json!({ "message": "Repository was archived so is read-only." }));
    }
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let texts = |name: &str| {
        let list = body[name].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let number = path.get(4).and_then(|number| number.parse::<u64>().ok());
    let forbidden = || say(403, json!({ "message": "Must have push access to repository" }));
    let writes = matches!(operation, "label" | "unlabel" | "make-label" | "review" | "status");
    if writes && person && !repository.push {
        return forbidden();
    }
    match operation {
        "repo" => say(
            200,
            json!({
                "full_name": full,
                "archived": repository.archived,
                "permissions": { "push": repository.push, "admin": false },
                "default_branch": "main",
            }),
        ),
        "rules" => {
            let rule = json!({
                "type": "pull_request",
                "ruleset_source_type": "Repository",
                "ruleset_source": "octo/demo",
                "ruleset_id": 1,
                "parameters": {
                    "required_approving_review_count": 1,
                    "dismiss_stale_reviews_on_push": true,
                    "require_code_owner_review": false,
                    "require_last_push_approval": false,
                    "required_review_thread_resolution": false,
                },
            });
            say(200, json!([rule]))
        }
        "installation" => say(200, json!({ "id": INSTALLATION, "account": null })),
        "make-label" => {
            let name = text("name");
            if world.labels.iter().any(|(there, ..)| *there == name) {
                return invalid(
                    json!({ "resource": "Label", "code": "already_exists", "field": "name" }),
                );
            }
            let made =
                json!({ "name": name, "color": text("color"), "description": text("description") });
            world.labels.push((name, text("color"), text("description")));
            say(201, made)
        }
        "status" => {
            let commit = &parameters["sha"];
            if !repository.branches.values().any(|at| at == commit) && repository.bare.is_none() {
                return say(
                    422,
                    json!({ "message": format!("No commit found for SHA: {commit}") }),
                );
            }
            assert!(text("description").chars().count() <= 140);
            world.statuses.push((commit.clone(), body.clone()));
            say(201, body.clone())
        }
        "statuses" => {
            let of = |(commit, said): &(String, Value)| {
                (*commit == parameters["ref"]).then(|| said.clone())
            };
            let mut said: Vec<Value> = world.statuses.iter().filter_map(of).collect();
            said.reverse();
            say(200, json!({ "statuses": said, "sha": parameters["ref"] }))
        }
        "edit-comment" => {
            let id: u64 = parameters["comment_id"].parse().unwrap();
            let mut comments = world.pulls.iter_mut().flat_map(|pull| &mut pull.comments);
            let Some(comment) = comments.find(|(number, _)| *number == id) else {
                return say(404, json!({ "message": "Not Found" }));
            };
            comment.1 = text("body");
            say(200, json!({ "id": id, "body": text("body") }))
        }
        "list" => {
            let pair = |name: &str| {
                let found =
                    query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
                found.map(|value| value.replace("%2F", "/").replace("%3A", ":"))
            };
            // As on GitHub, a filter without an owner is ignored.
            let head = pair("head").and_then(|head| {
                head.split_once(':').map(|(owner, branch)| (owner.to_owned(), branch.to_owned()))
            });
            let state = pair("state").unwrap_or_else(|| "open".to_owned());
            let fits = |pull: &&Pull| {
                head.as_ref().is_none_or(|(owner, head)| *owner == pull.from && *head == pull.head)
                    && pair("base").is_none_or(|base| base == pull.base)
                    && (state == "all" || (state == "open") == pull.open)
            };
            let pulls = world.pulls.iter().filter(fits).map(|pull| shown(pull, url, &repository));
            say(200, pulls.collect())
        }
        "create" => {
            let (head, base) = (text("head"), text("base"));
            let (from, head) = match head.split_once(':') {
                Some((owner, branch)) => (owner.to_owned(), branch.to_owned()),
                None => ("octo".to_owned(), head),
            };
            if from != "octo" && !repository.maintainable && body["maintainer_can_modify"] != false
            {
                let message = "Fork collab can't be granted by someone without permission";
                return invalid(
                    json!({ "resource": "PullRequest", "code": "custom", "message": message }),
                );
            }
            let of = |name: &str| repository.branches.get(name);
            if of(&head).is_none() || of(&base).is_none() {
                let field = if of(&head).is_none() { "head" } else { "base" };
                let error = json!({ "resource": "PullRequest", "field": field, "code": "invalid" });
                return invalid(error);
            }
            if of(&head) == of(&base) {
                let message = format!("No commits between {base} and {head}");
                return invalid(
                    json!({ "resource": "PullRequest", "code": "custom", "message": message }),
                );
            }
            let same = |pull: &Pull| pull.open && pull.head == head && pull.base == base;
            if world.pulls.iter().any(same) {
                let message = format!("A pull request already exists for octo:{head}.");
                return invalid(
                    json!({ "resource": "PullRequest", "code": "custom", "message": message }),
                );
            }
            let draft = body["draft"] == true;
            if draft && !repository.drafts {
                let message = "Draft pull requests are not supported in this repository.";
                return say(422, json!({ "message": message }));
            }
            if text("body").chars().count() > 65_536 || text("title").chars().count() > 256 {
                return invalid(json!({ "resource": "Issue", "code": "custom", "field": "body" }));
            }
            let pull = Pull {
                number: world.pulls.len() as u64 + 1,
                title: text("title"),
                body: text("body"),
                from,
                head,
                base,
                draft,
                open: true,
                labels: Vec::new(),
                reviewers: Vec::new(),
                added: Vec::new(),
                comments: Vec::new(),
            };
            let answer = shown(&pull, url, &repository);
            world.pulls.push(pull);
            say(201, answer)
        }
        _ => {
            let Some(pull) = world.pulls.iter_mut().find(|pull| Some(pull.number) == number) else {
                return say(404, json!({ "message": "Not Found" }));
            };
            match operation {
                "update" => {
                    pull.title = text("title");
                    pull.body = text("body");
                    pull.open &= body["state"] != "closed";
                    say(200, shown(pull, url, &repository))
                }
                "label" => {
                    for label in texts("labels") {
                        if !pull.labels.contains(&label) {
                            // As on GitHub, a label that is missing is made, without looks.
                            if !world.labels.iter().any(|(there, ..)| *there == label) {
                                let plain = ("ededed".to_owned(), String::new());
                                world.labels.push((label.clone(), plain.0, plain.1));
                            }
                            pull.labels.push(label.clone());
                            pull.added.push(label);
                        }
                    }
                    say(200, json!([]))
                }
                "unlabel" => {
                    let name = parameters["name"].replace("%20", " ").replace("%3A", ":");
                    if !pull.labels.contains(&name) {
                        return say(404, json!({ "message": "Label does not exist" }));
                    }
                    pull.labels.retain(|label| *label != name);
                    say(200, json!([]))
                }
                "events" => {
                    let added = pull.added.iter().map(|name| {
                        json!({ "event": "labeled", "label": { "name": name, "color": "ededed" } })
                    });
                    say(200, added.collect())
                }
                "comments" => {
                    let said = pull.comments.iter().map(|(id, body)| {
                        json!({ "id": id, "body": body, "author_association": "COLLABORATOR" })
                    });
                    say(200, said.collect())
                }
                "comment" => {
                    let id = number.unwrap_or_default() * 1000 + pull.comments.len() as u64;
                    pull.comments.push((id, text("body")));
                    say(201, json!({ "id": id, "body": text("body") }))
                }
                _ => {
                    for reviewer in texts("reviewers") {
                        if reviewer == "nobody" {
                            let message = "Reviews may only be requested from collaborators.";
                            return say(422, json!({ "message": message }));
                        }
                        if !pull.reviewers.contains(&reviewer) {
                            pull.reviewers.push(reviewer);
                        }
                    }
                    say(201, shown(pull, url, &repository))
                }
            }
        }
    }
}

/// What is known of a pull request.
fn shown(pull: &Pull, url: &str, repository: &Repository) -> Value {
    let side = |owner: &str, name: &str| {
        let sha = repository.branches.get(name).cloned().unwrap_or_else(|| "c".repeat(40));
        json!({ "ref": name, "sha": sha, "repo": { "full_name": format!("{owner}/demo") } })
    };
    json!({
        "number": pull.number,
        "html_url": format!("{url}/octo/demo/pull/{}", pull.number),
        "state": if pull.open { "open" } else { "closed" },
        "title": pull.title,
        "body": pull.body,
        "draft": pull.draft,
        "merged_at": null,
        "head": side(&pull.from, &pull.head),
        "base": side("octo", &pull.base),
        "labels": pull.labels.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        "requested_reviewers": pull.reviewers.iter().map(|login| json!({ "login": login })).collect::<Vec<_>>(),
        "requested_teams": [{ "name": "Night Owls", "slug": "owls" }],
        "user": { "login": "nightowl" },
    })
}
