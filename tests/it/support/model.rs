//! A model server on loopback: the Messages API with scripted answers, and faults on demand.
//!
//! The text of the first user message leads a session into a lane. Its place there moves on when an
//! answer has gone out whole: a call that failed or was cut off meets the same turn again, and a resumed
//! session goes on where it was. Nothing is answered that stands in no script, except the questions that a
//! program asks on the side (titles, summaries), which have a turn of their own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod script;
mod wire;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, State},
    http::{HeaderMap, Method, Uri},
};
use nightshift::budget::Usd;
use regex::Regex;
use serde_json::Value;

pub(crate) use script::{
    At, FOREVER, Fault, Garbage, Lane, Limit, Prices, SONNET, Turn, Usage, any, lane, now,
};
use wire::{Came, Reply, Socket};

/// The running server. It ends with its runtime.
pub(crate) struct Model {
    pub(crate) url: String,
    world: Arc<Mutex<World>>,
}

/// One request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The session that it came from.
    pub(crate) session: String,
    /// True for a question on the side: a title, a summary.
    pub(crate) aside: bool,
    /// The whole request.
    pub(crate) body: Value,
    /// Its headers without the secret ones, names in small letters.
    pub(crate) headers: BTreeMap<String, String>,
    /// The status of the answer; none while there is none.
    pub(crate) status: Option<u16>,
    came: Option<Came>,
    usage: Usage,
    key: Key,
}

/// How a request signed in. Not shown by what prints it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// `x-api-key`.
    Api(String),
    /// `authorization: Bearer`.
    Bearer(String),
    /// Both of them.
    Both,
    Neither,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Key::Api(_) => "Api(…)",
            Key::Bearer(_) => "Bearer(…)",
            Key::Both => "Both",
            Key::Neither => "Neither",
        })
    }
}

/// An answer that was given, or begun: what the service would charge for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) session: String,
    pub(crate) model: String,
    /// Of an answer that was cut off: what the whole one would have been, so the most.
    pub(crate) usage: Usage,
    /// False for one that was cut off.
    pub(crate) whole: bool,
}

impl Asked {
    /// The text of the first user message that is not only what the program puts around it.
    pub(crate) fn prompt(&self) -> String {
        let own = |message: &Value| {
            let texts = texts(&message["content"]).into_iter();
            let own = texts.filter(|text| !text.trim_start().starts_with("<system-reminder>"));
            own.collect::<Vec<_>>().join("\n")
        };
        let messages = self.body["messages"].as_array().into_iter().flatten();
        let mut users = messages.filter(|message| message["role"] == "user").map(own);
        users.find(|text| !text.is_empty()).unwrap_or_default()
    }

    /// All text of the last message, results of tools included.
    pub(crate) fn last(&self) -> String {
        let messages = self.body["messages"].as_array();
        let last = messages.and_then(|messages| messages.last());
        last.map(|message| texts(&message["content"])).unwrap_or_default().join("\n")
    }

    /// Everything that the model was given to read.
    pub(crate) fn text(&self) -> String {
        let messages = self.body["messages"].as_array().into_iter().flatten();
        let messages = messages.flat_map(|message| texts(&message["content"]));
        texts(&self.body["system"]).into_iter().chain(messages).collect::<Vec<_>>().join("\n")
    }

    /// True for what a program asks beside the conversation: it wants a summary, or it offers no tools and no
    /// lane has a name for it.
    fn is_an_aside(&self, lanes: &[Lane]) -> bool {
        let prompt = self.prompt();
        let named = |lane: &Lane| !lane.part.is_empty() && prompt.contains(&lane.part);
        self.body["tools"].as_array().is_none_or(Vec::is_empty) && !lanes.iter().any(named)
            || self.last().contains("a <summary> block")
            || self.last().contains("how to write this summary")
    }

    /// The turn's texts for this session.
    fn fill(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill_text(text)),
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect(),
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, item)| (name.clone(), self.fill(item)));
                Value::Object(fields.collect())
            }
            other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other.clone(),
        }
    }

    fn fill_text(&self, text: &str) -> String {
        let directory = Regex::new(r"orking directory: (\S+)").unwrap();
        let all = self.text();
        let cwd = directory.captures(&all).map_or("", |found| found.get(1).unwrap().as_str());
        let model = self.body["model"].as_str().unwrap_or_default();
        text.replace("{cwd}", cwd).replace("{session}", &self.session).replace("{model}", model)
    }
}

/// The texts of a content: a string, or blocks, of which some hold contents themselves.
fn texts(content: &Value) -> Vec<String> {
    match content {
        Value::String(text) => vec![text.clone()],
        Value::Array(blocks) => {
            let inside = |block: &Value| match block["type"].as_str() {
                Some("text") => texts(&block["text"]),
                Some("tool_result") => texts(&block["content"]),
                _ => Vec::new(),
            };
            blocks.iter().flat_map(inside).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

struct World {
    lanes: Vec<Lane>,
    aside: Turn,
    places: BTreeMap<String, Place>,
    limit: Option<Limit>,
    warning: Option<Limit>,
    asked: Vec<Asked>,
    surprises: Vec<String>,
}

/// Where a session is.
struct Place {
    lane: usize,
    turn: usize,
    /// Requests for this turn that were answered with a fault.
    failed: u32,
}

impl Model {
    /// Starts with these scripts; the first lane that fits a session takes it.
    pub(crate) async fn start(lanes: Vec<Lane>) -> Model {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let world = Arc::new(Mutex::new(World {
            lanes,
            aside: Turn::text("<summary>\nWhat was done so far.\n</summary>"),
            places: BTreeMap::new(),
            limit: None,
            warning: None,
            asked: Vec::new(),
            surprises: Vec::new(),
        }));
        let router = Router::new().fallback(answer).with_state(world.clone());
        let service = router.into_make_service_with_connect_info::<Socket>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Model { url, world }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// What it answers to questions on the side.
    pub(crate) fn aside(&self, turn: Turn) {
        self.world().aside = turn;
    }

    /// Every request is refused from now on, until the limit's own end or [`Model::lift`].
    pub(crate) fn limit(&self, limit: Limit) {
        self.world().limit = Some(limit);
    }

    /// Every answer says from now on how much of a limit is used.
    pub(crate) fn warn(&self, limit: Limit) {
        self.world().warning = Some(limit);
    }

    /// No limit and no warning any more.
    pub(crate) fn lift(&self) {
        let mut world = self.world();
        (world.limit, world.warning) = (None, None);
    }

    /// The requests of conversations, in the order in which they came.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.world().asked.iter().filter(|asked| !asked.aside).cloned().collect()
    }

    /// The requests on the side.
    pub(crate) fn asides(&self) -> Vec<Asked> {
        self.world().asked.iter().filter(|asked| asked.aside).cloned().collect()
    }

    /// The answers that were begun or given, also those on the side.
    pub(crate) fn answers(&self) -> Vec<Answer> {
        let given = |asked: &Asked| {
            Some(Answer {
                session: asked.session.clone(),
                model: asked.body["model"].as_str().unwrap_or_default().to_owned(),
                usage: asked.usage,
                whole: asked.came? == Came::Whole,
            })
        };
        self.world().asked.iter().filter_map(given).collect()
    }

    /// The price of all answers that were begun or given.
    pub(crate) fn spent(&self, price: impl Fn(&Answer) -> Usd) -> Usd {
        self.answers().iter().map(price).sum()
    }

    /// What no script foresaw: a session without a lane, a script at its end, an unknown address.
    pub(crate) fn surprises(&self) -> Vec<String> {
        self.world().surprises.clone()
    }

    /// Every request was signed in in this way, and in no other.
    #[track_caller]
    pub(crate) fn signed_in_with(&self, key: &Key) {
        let keys: Vec<Key> = self.world().asked.iter().map(|asked| asked.key.clone()).collect();
        assert!(!keys.is_empty(), "nothing was asked");
        for (index, found) in keys.iter().enumerate() {
            assert!(found == key, "request {index} has {found:?}, not this {key:?}");
        }
    }
}

async fn answer(
    State(world): State<Arc<Mutex<World>>>,
    ConnectInfo(socket): ConnectInfo<Socket>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    if method != Method::POST || uri.path() != "/v1/messages" {
        world.lock().unwrap().surprises.push(format!("{method} {}", uri.path()));
        return wire::error(404, "Not found", &[]);
    }
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        world.lock().unwrap().surprises.push("a request that is no JSON".to_owned());
        return wire::error(400, "The request body is not valid JSON", &[]);
    };
    let (index, turn, fault, mut extra) = world.lock().unwrap().take_in(body, &headers);
    let request = world.lock().unwrap().asked[index].body.clone();
    extra.push(("request-id".to_owned(), format!("req_{index:04}")));
    tokio::time::sleep(turn.delay).await;
    let ledger = world.clone();
    let note = move |came| ledger.lock().unwrap().note(index, came);
    let reply = wire::reply(&turn, fault.as_ref(), &extra, &request, socket, note).await;
    world.lock().unwrap().asked[index].status = Some(reply.status().as_u16());
    reply
}

impl World {
    /// Writes a request down and finds its answer.
    fn take_in(
        &mut self,
        body: Value,
        headers: &HeaderMap,
    ) -> (usize, Turn, Option<Fault>, Vec<(String, String)>) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text("authorization").map(|value| value.trim_start_matches("Bearer "));
        let key = match (text("x-api-key"), bearer) {
            (Some(key), None) => Key::Api(key.to_owned()),
            (None, Some(token)) => Key::Bearer(token.to_owned()),
            (Some(_), Some(_)) => Key::Both,
            (None, None) => Key::Neither,
        };
        let open = headers.iter().filter(|(name, _)| {
            !["x-api-key", "authorization", "proxy-authorization", "cookie"]
                .contains(&name.as_str())
        });
        let open = open.map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        let mut asked = Asked {
            session: text("x-claude-code-session-id").unwrap_or("none").to_owned(),
            aside: false,
            body,
            headers: open.collect(),
            status: None,
            came: None,
            usage: Usage::NONE,
            key,
        };
        asked.aside = asked.is_an_aside(&self.lanes);
        let (mut turn, mut fault) = if asked.aside {
            (self.aside.clone(), self.aside.fault_of(0).cloned())
        } else {
            self.next(&asked)
        };
        turn.text = asked.fill_text(&turn.text);
        for (_, input) in &mut turn.tools {
            *input = asked.fill(input);
        }
        asked.usage = turn.usage;
        if let Some(limit) = self.limit.as_ref().filter(|limit| now() < limit.until) {
            fault = Some(Fault::limit(limit));
        }
        let warning = self.warning.as_ref().map(|limit| limit.headers("allowed_warning"));
        self.asked.push(asked);
        (self.asked.len() - 1, turn, fault, warning.unwrap_or_default())
    }

    /// The turn that is due in this session.
    fn next(&mut self, asked: &Asked) -> (Turn, Option<Fault>) {
        let prompt = asked.prompt();
        if !self.places.contains_key(&asked.session) {
            let fits = |lane: &Lane| prompt.contains(&lane.part);
            let Some(lane) = self.lanes.iter().position(fits) else {
                self.surprises.push(format!("no lane for: {prompt}"));
                return (Turn::text("done"), None);
            };
            self.places.insert(asked.session.clone(), Place { lane, turn: 0, failed: 0 });
        }
        let place = self.places.get_mut(&asked.session).unwrap();
        let Some(turn) = self.lanes[place.lane].turns.get(place.turn) else {
            self.surprises.push(format!("the script is at its end in: {prompt}"));
            return (Turn::text("done"), None);
        };
        let fault = turn.fault_of(place.failed).cloned();
        // A limit that stands in the way uses up no fault of the script.
        if fault.is_some() && self.limit.as_ref().is_none_or(|limit| now() >= limit.until) {
            place.failed += 1;
        }
        (turn.clone(), fault)
    }

    fn note(&mut self, index: usize, came: Came) {
        let asked = &mut self.asked[index];
        asked.came = Some(came);
        if came == Came::Whole
            && !asked.aside
            && let Some(place) = self.places.get_mut(&asked.session)
        {
            place.turn += 1;
            place.failed = 0;
        }
    }
}
