//! How an answer goes over the line: events or one JSON text, whole or up to where it breaks.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::{convert::Infallible, os::fd::AsFd as _, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::connect_info::Connected,
    http::Response,
    serve::IncomingStream,
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::script::{At, Fault, Garbage, Turn, Usage};

pub(super) type Reply = Response<Body>;

/// How far an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// The caller was told of the tokens that were read.
    Begun,
    /// All of it.
    Whole,
}

/// The socket below a request, so that it can be reset.
#[derive(Clone, Debug)]
pub(super) struct Socket(Arc<std::net::TcpStream>);

impl Connected<IncomingStream<'_, TcpListener>> for Socket {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Socket {
        Socket(Arc::new(stream.io().as_fd().try_clone_to_owned().unwrap().into()))
    }
}

impl Socket {
    /// Ends the connection's task, and with it the connection: a reset, not an end. Prints nothing.
    fn reset(&self) -> ! {
        let socket = TcpStream::from_std(self.0.try_clone().unwrap()).unwrap();
        socket.set_zero_linger().unwrap();
        drop(socket);
        std::panic::resume_unwind(Box::new(()))
    }
}

/// One thing to do with the line.
enum Step {
    Send(Bytes),
    Note(Came),
    /// Lets what was sent leave before what follows.
    Rest,
    Hang,
    Reset,
}

/// An answer, or the fault in its place. `note` learns how far it came, before the caller can.
pub(super) async fn reply(
    turn: &Turn,
    fault: Option<&Fault>,
    headers: &[(String, String)],
    request: &Value,
    socket: Socket,
    note: impl Fn(Came) + Send + 'static,
) -> Reply {
    let streamed = request["stream"] == true;
    let message = message(turn, request);
    let parts = if streamed { events(&message, turn.usage) } else { one_text(&message) };
    let (at, last) = match fault {
        None => (None, None),
        Some(Fault::Http { status, message, headers }) => {
            return error(*status, message, headers);
        }
        Some(Fault::Overloaded) if !streamed => return error(529, "Overloaded", &[]),
        Some(Fault::Overloaded) => {
            let error = json!({ "type": "overloaded_error", "message": "Overloaded" });
            let event = event("error", json!({ "error": error }));
            (Some(At::Start), Some(Step::Send(event)))
        }
        Some(Fault::Hang(at)) => (Some(*at), Some(Step::Hang)),
        Some(Fault::Truncate(at)) => (Some(*at), None),
        Some(Fault::Reset(at)) => (Some(*at), Some(Step::Reset)),
        Some(Fault::Garbage(what)) => return garbage(*what),
    };
    if at == Some(At::Accept) {
        match last {
            Some(Step::Hang) => std::future::pending::<()>().await,
            // An answer that ends before it began is a line that breaks.
            Some(Step::Reset | Step::Send(_) | Step::Note(_) | Step::Rest) | None => socket.reset(),
        }
    }
    let mut steps = Vec::new();
    for (phase, bytes) in parts {
        // What a break at the end leaves out is the end.
        if at.is_some_and(|at| phase > at || phase == At::Stop) {
            break;
        }
        match (phase, at) {
            (At::Start, _) => steps.push(Step::Note(Came::Begun)),
            (At::Stop, None) => steps.push(Step::Note(Came::Whole)),
            (At::Accept | At::Headers | At::Content | At::Stop, _) => {}
        }
        if !bytes.is_empty() {
            steps.push(Step::Send(bytes));
        }
        // Of what is said only the beginning.
        if at == Some(At::Content) && phase == At::Content {
            break;
        }
    }
    if let Some(last) = last {
        steps.push(Step::Rest);
        steps.push(last);
    }
    let kind = if streamed { "text/event-stream; charset=utf-8" } else { "application/json" };
    let mut reply = Response::builder().status(200).header("content-type", kind);
    for (name, value) in headers {
        reply = reply.header(name, value);
    }
    reply.body(Body::from_stream(play(steps, socket, note))).unwrap()
}

fn play(
    steps: Vec<Step>,
    socket: Socket,
    note: impl Fn(Came) + Send + 'static,
) -> impl stream::Stream<Item = Result<Bytes, Infallible>> + Send {
    let state = (steps.into_iter(), socket, note);
    stream::unfold(state, |(mut steps, socket, note)| async move {
        loop {
            match steps.next()? {
                Step::Send(bytes) => return Some((Ok(bytes), (steps, socket, note))),
                Step::Note(came) => note(came),
                Step::Rest => tokio::time::sleep(Duration::from_millis(30)).await,
                Step::Hang => std::future::pending().await,
                Step::Reset => socket.reset(),
            }
        }
    })
}

fn message(turn: &Turn, request: &Value) -> Value {
    let mut content = Vec::new();
    if !turn.text.is_empty() || turn.tools.is_empty() {
        content.push(json!({ "type": "text", "text": turn.text }));
    }
    for (name, input) in &turn.tools {
        let id = format!("toolu_{}", unique());
        content.push(json!({ "type": "tool_use", "id": id, "name": name, "input": input }));
    }
    let usual = if turn.tools.is_empty() { "end_turn" } else { "tool_use" };
    json!({
        "id": format!("msg_{}", unique()),
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": content,
        "stop_reason": turn.stop.as_deref().unwrap_or(usual),
        "stop_sequence": null,
        "usage": usage(turn.usage),
    })
}

fn usage(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_write,
    })
}

/// A number that no other answer of this process has.
fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{:016x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn event(kind: &str, mut data: Value) -> Bytes {
    data["type"] = kind.into();
    format!("event: {kind}\ndata: {data}\n\n").into()
}

/// The events of a message, each with how far it brings the answer. The last one is its end.
fn events(message: &Value, total: Usage) -> Vec<(At, Bytes)> {
    let mut start = message.clone();
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    start["usage"] = usage(Usage { output: 1, ..total });
    let mut events = vec![(At::Start, event("message_start", json!({ "message": start })))];
    let mut content = |kind: &str, data: Value| events.push((At::Content, event(kind, data)));
    for (index, block) in message["content"].as_array().unwrap().iter().enumerate() {
        let (empty, whole, field) = if block["type"] == "text" {
            let whole = block["text"].as_str().unwrap().to_owned();
            (json!({ "type": "text", "text": "" }), whole, "text")
        } else {
            let mut empty = block.clone();
            empty["input"] = json!({});
            (empty, block["input"].to_string(), "partial_json")
        };
        let kind = if field == "text" { "text_delta" } else { "input_json_delta" };
        content("content_block_start", json!({ "index": index, "content_block": empty }));
        let chars: Vec<char> = whole.chars().collect();
        for part in chars.chunks(chars.len().div_ceil(3).max(1)) {
            let part: String = part.iter().collect();
            let delta = json!({ "type": kind, field: part });
            content("content_block_delta", json!({ "index": index, "delta": delta }));
        }
        content("content_block_stop", json!({ "index": index }));
    }
    let delta = json!({ "stop_reason": message["stop_reason"], "stop_sequence": null });
    let last = event("message_delta", json!({ "delta": delta, "usage": message["usage"] }));
    let stop = event("message_stop", json!({}));
    events.push((At::Stop, [last, stop].concat().into()));
    events
}

/// The answer to who wants no stream, in two halves.
fn one_text(message: &Value) -> Vec<(At, Bytes)> {
    let text = Bytes::from(message.to_string());
    let half = text.len() / 2;
    vec![
        (At::Start, Bytes::new()),
        (At::Content, text.slice(..half)),
        (At::Stop, text.slice(half..)),
    ]
}

/// An error as the service words it.
pub(super) fn error(status: u16, message: &str, headers: &[(String, String)]) -> Reply {
    let kind = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    let body = json!({ "type": "error", "error": { "type": kind, "message": message } });
    let mut reply = Response::builder().status(status).header("content-type", "application/json");
    for (name, value) in headers {
        reply = reply.header(name, value);
    }
    reply.body(Body::from(body.to_string())).unwrap()
}

fn garbage(what: Garbage) -> Reply {
    let (kind, text) = match what {
        Garbage::Events => {
            ("text/event-stream", "event: message_start\ndata: {\"type\": not json\n\n")
        }
        Garbage::Json => ("application/json", "{\"type\": \"message\", \"content\": ["),
        Garbage::Html => ("text/html", "<html><body>502 Bad Gateway</body></html>"),
        Garbage::Empty => ("text/event-stream", ""),
    };
    Response::builder().header("content-type", kind).body(Body::from(text)).unwrap()
}
