//! The model server of the tests, asked by hand: what a test concludes from it must be true of it.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use nightshift::budget::Usd;

use crate::support::model::{
    At, FOREVER, Fault, Garbage, Key, Limit, Model, SONNET, Turn, Usage, any, lane, now,
};

/// What came back for one request.
#[derive(Debug)]
struct Got {
    status: u16,
    headers: String,
    body: String,
    /// The pieces of texts and inputs in its events, put together.
    said: String,
    /// How it ended: none for a good end, else why reading stopped.
    broken: Option<ErrorKind>,
}

/// Asks as a session whose first user message is this.
async fn ask(model: &Model, session: &str, prompt: &str, stream: bool) -> Got {
    let messages = json!([{ "role": "user", "content": [
        { "type": "text", "text": "<system-reminder>\n - Primary working directory: /w\n</system-reminder>" },
        { "type": "text", "text": prompt },
    ] }]);
    let body = json!({ "model": "claude-x", "messages": messages, "stream": stream,
                       "tools": [{ "name": "Write" }] });
    send(model, session, "POST /v1/messages?beta=true", &body).await
}

async fn send(model: &Model, session: &str, what: &str, body: &Value) -> Got {
    let (host, body) = (model.url.trim_start_matches("http://").to_owned(), body.to_string());
    let request = format!(
        "{what} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nx-api-key: sk-1\r\n\
         X-Claude-Code-Session-Id: {session}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    tokio::task::spawn_blocking(move || {
        let mut line = TcpStream::connect(host).unwrap();
        line.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
        line.write_all(request.as_bytes()).unwrap();
        let mut all = Vec::new();
        let ended = line.read_to_end(&mut all);
        let text = String::from_utf8_lossy(&all).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        let chunked = head.contains("transfer-encoding: chunked");
        let body = if chunked { unchunked(body) } else { body.to_owned() };
        Got {
            status: head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0),
            headers: head.to_owned(),
            said: said(&body),
            body,
            broken: ended.err().map(|error| error.kind()),
        }
    })
    .await
    .unwrap()
}

/// The body without the lengths of its pieces.
fn unchunked(mut rest: &str) -> String {
    let mut whole = String::new();
    while let Some((length, behind)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        whole.push_str(&behind[..length.min(behind.len())]);
        rest = behind.get(length + 2..).unwrap_or_default();
    }
    whole
}

fn said(events: &str) -> String {
    let data = events.lines().filter_map(|line| line.strip_prefix("data: "));
    let delta = |data| Some(serde_json::from_str::<Value>(data).ok()?["delta"].clone());
    let piece = |delta: Value| {
        let piece = delta["text"].as_str().or(delta["partial_json"].as_str());
        piece.map(str::to_owned)
    };
    data.filter_map(delta).filter_map(piece).collect()
}

#[tokio::test]
async fn each_session_walks_through_the_lane_of_its_first_message() {
    let write = json!({ "file_path": "{cwd}/a.txt", "content": "{model} in {session}" });
    let model = Model::start(vec![
        lane("task_1", vec![Turn::tool("Write", write).and("Read", json!({})), Turn::text("one")]),
        any(vec![Turn::text("other")]),
    ])
    .await;
    let got = ask(&model, "s1", "Do task_1.", false).await;
    let said: Value = serde_json::from_str(&got.body).unwrap();
    assert_eq!((got.status, &said["stop_reason"]), (200, &json!("tool_use")));
    let input = json!({ "file_path": "/w/a.txt", "content": "claude-x in s1" });
    assert_eq!(
        (&said["content"][0]["input"], &said["content"][1]["name"]),
        (&input, &json!("Read"))
    );
    assert!(ask(&model, "s2", "Do task_2.", true).await.said.contains("other"));
    assert!(ask(&model, "s3", "Do task_1.", true).await.body.contains("input_json_delta"));
    // The place belongs to the session, whatever became of its first message.
    assert!(ask(&model, "s1", "A summary.", true).await.said == "one");
    assert_eq!(model.surprises(), [""; 0]);
    assert!(ask(&model, "s1", "Do task_1.", true).await.said == "done");
    assert_eq!(model.surprises(), ["the script is at its end in: Do task_1."]);
    let asked = model.asked();
    assert_eq!((asked.len(), asked[1].prompt().as_str()), (5, "Do task_2."));
    assert!(asked[0].text().contains("directory: /w") && asked[0].last().ends_with("Do task_1."));
    assert_eq!((asked[0].status, asked[0].session.as_str()), (Some(200), "s1"));
}

#[tokio::test]
async fn a_turn_that_failed_is_given_later_and_nothing_was_charged_for_errors() {
    let turn = Turn::text("at last")
        .failing(Fault::status(529), 2)
        .failing(Fault::retry_after(7), 1)
        .failing(Fault::Garbage(Garbage::Html), 1);
    let model = Model::start(vec![any(vec![turn])]).await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(ask(&model, "s", "x", true).await);
    }
    let statuses: Vec<u16> = seen.iter().map(|got| got.status).collect();
    assert_eq!(statuses, [529, 529, 429, 200, 200]);
    assert!(seen[0].body.contains("overloaded_error"));
    assert!(seen[2].headers.contains("retry-after: 7"));
    assert!(seen[3].body.contains("Bad Gateway") && seen[4].said == "at last");
    assert_eq!(model.answers().len(), 1);
}

#[tokio::test]
async fn an_answer_breaks_where_it_is_told_to_and_counts_as_cut() {
    use ErrorKind::{ConnectionReset, WouldBlock};
    for (fault, begun, broken) in [
        (Fault::Hang(At::Accept), false, Some(WouldBlock)),
        (Fault::Hang(At::Headers), false, Some(WouldBlock)),
        (Fault::Hang(At::Start), true, Some(WouldBlock)),
        (Fault::Hang(At::Content), true, Some(WouldBlock)),
        (Fault::Hang(At::Stop), true, Some(WouldBlock)),
        (Fault::Truncate(At::Content), true, None),
        (Fault::Reset(At::Accept), false, Some(ConnectionReset)),
        (Fault::Reset(At::Content), true, Some(ConnectionReset)),
        (Fault::Overloaded, true, None),
    ] {
        let usage = Usage { input: 200, output: 40, cache_read: 10, cache_write: 4 };
        let turn = Turn::text("some words").usage(usage).failing(fault.clone(), 1);
        let model = Model::start(vec![any(vec![turn])]).await;
        let got = ask(&model, "s", "x", true).await;
        assert_eq!(got.broken, broken, "{fault:?} {got:?}");
        assert!(!got.body.contains("message_stop"), "{fault:?}");
        assert_eq!(got.body.contains("message_start"), begun, "{fault:?}");
        let cut = model.answers();
        assert_eq!(cut.len(), usize::from(begun), "{fault:?}");
        let got = ask(&model, "s", "x", true).await;
        assert!(got.broken.is_none() && got.body.contains("message_stop"), "{got:?}");
        let price = Usd::from_micros(600 + 600 + 3 + 15);
        let whole = |whole: bool| {
            model.spent(
                |answer| if answer.whole == whole { SONNET.of(answer.usage) } else { Usd::ZERO },
            )
        };
        assert_eq!((whole(true), whole(false) > Usd::ZERO), (price, begun), "{fault:?}");
        let total: Usage = model.answers().iter().map(|answer| answer.usage).sum();
        assert_eq!(total.input, 200 * model.answers().len() as u64);
    }
    let model = Model::start(vec![any(vec![Turn::fault(Fault::Truncate(At::Content), FOREVER)])]);
    let model = model.await;
    let got = ask(&model, "s", "x", false).await;
    assert!(serde_json::from_str::<Value>(&got.body).is_err(), "half a text: {got:?}");
}

#[tokio::test]
async fn rubbish_is_rubbish() {
    for (what, holds) in [
        (Garbage::Events, "not json"),
        (Garbage::Json, "\"content\": ["),
        (Garbage::Html, "<html>"),
        (Garbage::Empty, ""),
    ] {
        let model = Model::start(vec![any(vec![Turn::fault(Fault::Garbage(what), 1)])]).await;
        let got = ask(&model, "s", "x", true).await;
        assert_eq!(got.status, 200);
        assert!(got.body.contains(holds) && !got.body.contains("message_stop"), "{got:?}");
    }
}

#[tokio::test]
async fn a_limit_refuses_until_it_ends_and_a_warning_comes_with_answers() {
    let turns = vec![Turn::text("one"), Turn::text("two"), Turn::text("three")];
    let model = Model::start(vec![any(turns)]).await;
    let limit = Limit { window: "five_hour", until: now() + 2, used: 1.0 };
    model.limit(limit.clone());
    let got = ask(&model, "s", "x", true).await;
    assert_eq!(got.status, 429);
    for header in [
        "unified-status: rejected".to_owned(),
        "representative-claim: five_hour".to_owned(),
        format!("unified-5h-reset: {}", limit.until),
    ] {
        assert!(got.headers.contains(&header), "{header} in {}", got.headers);
    }
    let begun = Instant::now();
    while ask(&model, "s", "x", true).await.status == 429 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    model.limit(Limit { window: "seven_day", until: now() + 1_000, used: 1.0 });
    assert_eq!(ask(&model, "s", "x", true).await.status, 429);
    model.lift();
    model.warn(Limit { window: "seven_day", until: now() + 1_000, used: 0.85 });
    let got = ask(&model, "s", "x", true).await;
    assert!(got.headers.contains("unified-status: allowed_warning"), "{}", got.headers);
    assert!(got.headers.contains("7d-surpassed-threshold: 0.8\r\n"), "{}", got.headers);
    assert!(got.said == "two", "the limit used up no turn");
}

#[tokio::test]
async fn a_question_on_the_side_moves_no_script() {
    let model = Model::start(vec![any(vec![Turn::text("main")])]).await;
    model.aside(Turn::text("A title"));
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "Title?" }] });
    assert!(send(&model, "s", "POST /v1/messages", &body).await.body.contains("A title"));
    let got = ask(&model, "s", "an <analysis> block and a <summary> block", true).await;
    assert_eq!(got.said, "A title");
    assert!(ask(&model, "s", "x", true).await.said == "main");
    assert_eq!((model.asides().len(), model.asked().len()), (2, 1));
    assert_eq!(model.asides()[0].headers.get("x-api-key"), None);
}

#[tokio::test]
async fn what_no_script_foresees_is_told() {
    let late = Turn::text("late").after(Duration::from_millis(100)).stop("max_tokens");
    let model = Model::start(vec![lane("only this", vec![late])]).await;
    assert_eq!(ask(&model, "s", "something else", true).await.status, 200);
    assert_eq!(send(&model, "s", "GET /v1/models", &json!({})).await.status, 404);
    let told = ["no lane for: something else", "GET /v1/models"];
    assert_eq!(model.surprises(), told);
    let begun = Instant::now();
    assert!(ask(&model, "s", "only this", true).await.body.contains("max_tokens"));
    assert!(begun.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn it_knows_how_it_was_asked() {
    let model = Model::start(vec![any(vec![])]).await;
    ask(&model, "s", "x", true).await;
    model.signed_in_with(&Key::Api("sk-1".to_owned()));
    for wrong in
        [Key::Api("sk-2".to_owned()), Key::Bearer("sk-1".to_owned()), Key::Both, Key::Neither]
    {
        let checked = std::panic::AssertUnwindSafe(|| model.signed_in_with(&wrong));
        let said = std::panic::catch_unwind(checked).unwrap_err();
        let said = said.downcast_ref::<String>().unwrap();
        assert!(said.contains("Api(…)") && !said.contains("sk-1"), "{said}");
    }
}
