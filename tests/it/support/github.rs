//! A GitHub on loopback: real HTTP, a small state that follows GitHub's rules, and faults on demand.
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

/// The only token that this GitHub knows.
pub(crate) const TOKEN: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";

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
    pub(crate) head: String,
    pub(crate) base: String,
    pub(crate) draft: bool,
    pub(crate) open: bool,
    pub(crate) labels: Vec<String>,
    pub(crate) reviewers: Vec<String>,
}

#[derive(Default)]
struct World {
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
        let demo = Repository { archived: false, push: true, drafts: true, branches, bare: None };
        fake.world().repositories.insert("octo/demo".to_owned(), demo);
        fake
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
            head: head.to_owned(),
            base: base.to_owned(),
            draft: false,
            open: true,
            labels: Vec::new(),
            reviewers: Vec::new(),
        });
        number
    }

    /// How often an operation was asked for.
    pub(crate) fn count(&self, operation: &str) -> usize {
        self.world().requests.iter().filter(|asked| *asked == operation).count()
    }
}

fn reply(status: u16, body: Value) -> Reply {
    let reply = Response::builder().status(status).header("content-type", "application/json");
    reply.body(Body::from(body.to_string())).unwrap()
}

fn invalid(error: Value) -> Reply {
    reply(422, json!({ "message": "Validation Failed", "errors": [error] }))
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
    let authorization: Vec<_> = headers.get_all("authorization").iter().collect();
    if authorization.len() != 1 || *authorization[0] != *format!("Bearer {TOKEN}") {
        return reply(401, json!({ "message": "Bad credentials" }));
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let path: Vec<&str> = uri.path().split('/').skip(1).collect();
    let operation = match (method.as_str(), path.as_slice()) {
        ("GET", ["repos", _, _] | ["repositories", _]) => "repo",
        ("GET", ["repos", _, _, "pulls"]) => "list",
        ("POST", ["repos", _, _, "pulls"]) => "create",
        ("PATCH", ["repos", _, _, "pulls", _]) => "update",
        ("POST", ["repos", _, _, "issues", _, "labels"]) => "label",
        ("POST", ["repos", _, _, "pulls", _, "requested_reviewers"]) => "review",
        _ => return reply(404, json!({ "message": "Not Found" })),
    };
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
    let done = || act(&mut world.lock().unwrap(), &url, operation, &path, &query, &body);
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
        Some(Fault::BadCredentials) => reply(401, json!({ "message": "Bad credentials" })),
        Some(Fault::UnresolvedNode) => {
            invalid(json!("Could not resolve to a node with the global id of 'PR_x'."))
        }
        Some(Fault::Moved) => moved(&url, 307),
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

fn moved(url: &str, status: u16) -> Reply {
    let mut reply = reply(status, json!({ "message": "Moved Permanently" }));
    reply.headers_mut().insert("location", format!("{url}/repositories/1").parse().unwrap());
    reply
}

fn act(
    world: &mut World,
    url: &str,
    operation: &str,
    path: &[&str],
    query: &str,
    body: &Value,
) -> Reply {
    let full = match path {
        ["repos", owner, name, ..] => format!("{owner}/{name}"),
        _ => "octo/demo".to_owned(),
    };
    if world.renamed.contains_key(&full) {
        return moved(url, if operation == "repo" || operation == "list" { 301 } else { 307 });
    }
    let Some(mut repository) = world.repositories.get(&full).cloned() else {
        return reply(404, json!({ "message": "Not Found" }));
    };
    if let Some(bare) = &repository.bare {
        repository.branches = branches(bare);
    }
    if operation != "repo" && operation != "list" && repository.archived {
        return reply(403, json!({ "message": "Repository was archived so is read-only." }));
    }
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let texts = |name: &str| {
        let list = body[name].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let number = path.get(4).and_then(|number| number.parse::<u64>().ok());
    match operation {
        "repo" => reply(
            200,
            json!({
                "full_name": full,
                "archived": repository.archived,
                "permissions": { "push": repository.push, "admin": false },
                "default_branch": "main",
            }),
        ),
        "list" => {
            let pair = |name: &str| {
                let found =
                    query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
                found.map(|value| value.replace("%2F", "/").replace("%3A", ":"))
            };
            // As on GitHub, a filter without an owner is ignored.
            let head = pair("head").and_then(|head| Some(head.split_once(':')?.1.to_owned()));
            let state = pair("state").unwrap_or_else(|| "open".to_owned());
            let fits = |pull: &&Pull| {
                head.as_ref().is_none_or(|head| *head == pull.head)
                    && pair("base").is_none_or(|base| base == pull.base)
                    && (state == "all" || (state == "open") == pull.open)
            };
            let pulls = world.pulls.iter().filter(fits).map(|pull| shown(pull, url, &repository));
            reply(200, pulls.collect())
        }
        "create" => {
            let (head, base) = (text("head"), text("base"));
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
                return reply(422, json!({ "message": message }));
            }
            if text("body").chars().count() > 65_536 || text("title").chars().count() > 256 {
                return invalid(json!({ "resource": "Issue", "code": "custom", "field": "body" }));
            }
            let pull = Pull {
                number: world.pulls.len() as u64 + 1,
                title: text("title"),
                body: text("body"),
                head,
                base,
                draft,
                open: true,
                labels: Vec::new(),
                reviewers: Vec::new(),
            };
            let answer = shown(&pull, url, &repository);
            world.pulls.push(pull);
            reply(201, answer)
        }
        _ => {
            let Some(pull) = world.pulls.iter_mut().find(|pull| Some(pull.number) == number) else {
                return reply(404, json!({ "message": "Not Found" }));
            };
            match operation {
                "update" => {
                    pull.title = text("title");
                    pull.body = text("body");
                    pull.open &= body["state"] != "closed";
                    reply(200, shown(pull, url, &repository))
                }
                "label" => {
                    for label in texts("labels") {
                        if !pull.labels.contains(&label) {
                            pull.labels.push(label);
                        }
                    }
                    reply(200, json!([]))
                }
                _ => {
                    for reviewer in texts("reviewers") {
                        if reviewer == "nobody" {
                            let message = "Reviews may only be requested from collaborators.";
                            return reply(422, json!({ "message": message }));
                        }
                        if !pull.reviewers.contains(&reviewer) {
                            pull.reviewers.push(reviewer);
                        }
                    }
                    reply(201, shown(pull, url, &repository))
                }
            }
        }
    }
}

/// A pull request with only what GitHub's schema requires of a reader, and null where it allows it.
fn shown(pull: &Pull, url: &str, repository: &Repository) -> Value {
    let side =
        |name: &str| json!({ "ref": name, "sha": repository.branches.get(name), "repo": null });
    json!({
        "number": pull.number,
        "html_url": format!("{url}/octo/demo/pull/{}", pull.number),
        "state": if pull.open { "open" } else { "closed" },
        "title": pull.title,
        "body": pull.body,
        "draft": pull.draft,
        "merged_at": null,
        "head": side(&pull.head),
        "base": side(&pull.base),
        "labels": pull.labels.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        "requested_reviewers": pull.reviewers.iter().map(|login| json!({ "login": login })).collect::<Vec<_>>(),
        "requested_teams": [{ "name": "Night Owls", "slug": "owls" }],
        "user": { "login": "nightowl" },
    })
}
