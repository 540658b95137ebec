//! The way to the model, from outside: a client as Claude Code is one, the proxy, and a service by script.

use std::{collections::BTreeMap, time::Duration};

use axum::body::Bytes;
use nightshift::{
    budget::{Spend, Usd},
    proxy::{
        Account, Allowance, Error, Ledger, LimitSeen, Patience, Proxy, Refused, Upstream,
        UpstreamCredential,
    },
    redact::Secret,
};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc::Sender,
    time::timeout,
};

use crate::support::service::{Fed, Script, Service};

const KEY: &str = "sk-ant-api03-the-real-one-0123456789";
const MODEL: &str = "claude-opus-5-5";
/// What a token costs that the model above writes to the cache, in millionths of a dollar.
const WRITE: u64 = 5;
/// And one that it answers with.
const OUTPUT: u64 = 20;

struct House {
    service: Service,
    proxy: Proxy,
    account: Account,
    client: reqwest::Client,
}

fn upstream(url: &str, credential: UpstreamCredential) -> Upstream {
    Upstream { url: url.parse().unwrap(), credential }
}

fn key() -> UpstreamCredential {
    UpstreamCredential::ApiKey(Secret::new(KEY))
}

fn money(micros: u64) -> Allowance {
    Allowance { usd: Some(Usd::from_micros(micros)), tokens: None }
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy();
    client.redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// A service, the proxy before it, and an account with ten dollars.
async fn house() -> House {
    house_with(Patience::default()).await
}

async fn house_with(patience: Patience) -> House {
    let service = Service::start().await;
    let proxy = Proxy::start_with(upstream(&service.url, key()), patience).await.unwrap();
    let account = proxy.open(money(10_000_000));
    House { service, proxy, account, client: client() }
}

fn body(max_tokens: u64) -> String {
    let content = "Please do what the plan says, with care.";
    let messages = json!([{ "role": "user", "content": content }]);
    json!({ "model": MODEL, "max_tokens": max_tokens, "stream": true, "messages": messages })
        .to_string()
}

/// What a call with this body reserves: a third of its bytes as written to the cache, and all of its answer.
fn reservation(body: &str, max_tokens: u64) -> Usd {
    Usd::from_micros((body.len() as u64).div_ceil(3) * WRITE + max_tokens * OUTPUT)
}

fn usage(input: u64, output: u64) -> Value {
    json!({
        "input_tokens": input, "output_tokens": output, "cache_read_input_tokens": 1_000,
        "cache_creation_input_tokens": 100,
    })
}

/// What [`usage`] costs: 4, 20, 0.2 and 5 millionths a token.
fn price(input: u64, output: u64) -> Usd {
    Usd::from_micros(input * 4 + output * OUTPUT + 200 + 100 * WRITE)
}

fn event(name: &str, data: Value) -> String {
    let mut data = data;
    data["type"] = json!(name);
    format!("event: {name}\ndata: {data}\n\n")
}

fn start(usage: Value) -> String {
    event("message_start", json!({ "message": { "model": MODEL, "usage": usage } }))
}

fn delta(usage: Value) -> String {
    event("message_delta", json!({ "delta": { "stop_reason": "end_turn" }, "usage": usage }))
}

fn stop() -> String {
    event("message_stop", json!({}))
}

/// A whole stream; the first figures are not the last.
fn stream(input: u64, output: u64) -> String {
    let text = event("content_block_delta", json!({ "index": 0, "delta": { "text": "héllo" } }));
    let ping = "event: ping\r\ndata: {\"type\": \"ping\"}\r\n\r\n: and an odd one\n\nevent: new\ndata: 1\n\n";
    [start(usage(input, 1)), text, ping.to_owned(), delta(usage(input, output)), stop()].concat()
}

fn message(input: u64, output: u64) -> String {
    json!({ "type": "message", "model": MODEL, "content": [], "usage": usage(input, output) })
        .to_string()
}

impl House {
    fn request(&self, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        let url = format!("{}/v1/messages?beta=true", self.proxy.url());
        self.client.post(url).header("x-api-key", self.account.token()).body(body)
    }

    async fn ask(&self, max_tokens: u64) -> Response {
        self.request(body(max_tokens)).send().await.unwrap()
    }

    fn ledger(&self) -> Ledger {
        self.account.ledger()
    }

    /// Until no call is in flight: the end of one whose caller went away takes a moment.
    async fn settled(&self) -> Ledger {
        for _ in 0..500 {
            let ledger = self.ledger();
            if ledger.in_flight == 0 {
                return ledger;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("calls are still in flight: {:?}", self.ledger());
    }
}

/// Status, and the message of an Anthropic error.
async fn problem(response: Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    let error: Value = response.json().await.unwrap();
    assert_eq!(error["type"], "error");
    let text = |name: &str| error["error"][name].as_str().unwrap().to_owned();
    (status, text("type"), text("message"))
}

fn measured(usd: Usd, input: u64, output: u64) -> Spend {
    Spend { usd, input_tokens: input + 1_100, output_tokens: output, cut: Usd::ZERO }
}

async fn feed(to: &Sender<Fed>, text: impl Into<Bytes>) {
    to.send(Fed::Bytes(text.into())).await.unwrap();
}

#[tokio::test]
async fn a_stream_passes_byte_for_byte_and_costs_what_it_says() {
    let house = house().await;
    let text = stream(500, 70);
    house.service.will_stream(text.clone());
    let response = house.ask(1_000).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.text().await.unwrap(), text);
    let ledger = house.ledger();
    assert_eq!(ledger.spend, measured(price(500, 70), 500, 70));
    assert_eq!((ledger.calls, ledger.cut_calls, ledger.in_flight), (1, 0, 0));
    assert_eq!(ledger.models.keys().collect::<Vec<_>>(), [MODEL]);
    assert_eq!(ledger.models[MODEL].1, ledger.spend.usd);
    assert_eq!(ledger.models[MODEL].0.cache_read, 1_000);
    assert!(ledger.unknown_models.is_empty() && ledger.refused.is_none());

    // In one piece, it costs the same; and a second call adds up.
    house.service.will_answer(200, message(500, 70));
    let response = house.ask(1_000).await;
    assert_eq!(response.text().await.unwrap(), message(500, 70));
    let ledger = house.ledger();
    assert_eq!(ledger.spend.usd, price(500, 70) + price(500, 70));
    assert_eq!((ledger.calls, ledger.in_flight, ledger.spend.input_tokens), (2, 0, 3_200));
}

#[tokio::test]
async fn words_are_passed_on_as_they_come() {
    let house = house().await;
    let service = house.service.will_feed();
    let mut response = house.ask(1_000).await;
    for part in
        [start(usage(1, 1)), "event: ping\nda".into(), "ta: {}\n\n".into(), delta(usage(1, 5))]
    {
        feed(&service, part.clone()).await;
        let piece = timeout(Duration::from_secs(5), response.chunk()).await.unwrap();
        assert_eq!(piece.unwrap().unwrap(), part);
        assert_eq!(house.ledger().in_flight, 1);
    }
    // The ledger is right before the agent knows that the answer is over.
    feed(&service, stop()).await;
    assert_eq!(response.chunk().await.unwrap().unwrap(), stop());
    assert_eq!(house.ledger().spend, measured(price(1, 5), 1, 5));
    assert_eq!(house.ledger().in_flight, 0);
    service.send(Fed::End).await.unwrap();
    assert_eq!(response.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn the_service_sees_the_real_credential_and_the_agent_never_does() {
    let house = house().await;
    let echo =
        format!("no: x-api-key {KEY}, base64 c2stYW50LWFwaTAzLXRoZS1yZWFsLW9uZS0wMTIzNDU2Nzg5");
    let headers = vec![
        ("set-cookie", "a=b".to_owned()),
        ("x-echo", format!("key {KEY}")),
        ("keep-alive", "timeout=5".to_owned()),
        ("request-id", "req_1".to_owned()),
    ];
    house.service.will(Script::Answer(400, "text/plain", headers, echo));
    let request = house.request(body(10)).header("cookie", "c=d").header("accept-encoding", "gzip");
    let request = request.header("anthropic-beta", "a,oauth-2025-04-20").header("te", "trailers");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["request-id"], "req_1");
    for gone in ["set-cookie", "x-echo", "keep-alive"] {
        assert!(!response.headers().contains_key(gone), "{gone}");
    }
    assert_eq!(response.text().await.unwrap(), "no: x-api-key ***, base64 ***");

    let asked = house.service.asked().remove(0);
    assert_eq!(asked.target, "POST /v1/messages?beta=true");
    assert_eq!(asked.body, body(10));
    assert_eq!(asked.headers["x-api-key"], KEY);
    assert_eq!(asked.headers["anthropic-beta"], "a,oauth-2025-04-20");
    assert_eq!(asked.headers["accept-encoding"], "identity");
    assert_eq!(asked.headers["host"], house.service.url.trim_start_matches("http://"));
    for gone in ["authorization", "cookie", "te"] {
        assert!(!asked.headers.contains_key(gone), "{gone}");
    }
    let token = house.account.token();
    assert!(token.starts_with("sk-ant-ns-") && token.len() == 74);
    assert!(!format!("{:?}", asked.headers).contains(token));
    let shown = format!("{:?} {:?} {:?}", house.proxy, house.account, house.ledger());
    assert!(!shown.contains(KEY) && !shown.contains(token));
    assert!(!format!("{:?}", upstream("https://x", key())).contains(KEY));
}

#[tokio::test]
async fn a_subscription_signs_in_as_a_bearer_and_a_path_stays_in_front() {
    let service = Service::start().await;
    let credential = UpstreamCredential::OAuthToken(Secret::new("sk-ant-oat01-real"));
    let proxy =
        Proxy::start(upstream(&format!("{}/gate/", service.url), credential)).await.unwrap();
    let account = proxy.open(Allowance::default());
    service.will_stream(stream(1, 1));
    let url = format!("{}/v1/messages", proxy.url());
    let request = client().post(url).bearer_auth(account.token()).body(body(10));
    assert_eq!(request.send().await.unwrap().text().await.unwrap(), stream(1, 1));
    let asked = service.asked().remove(0);
    assert_eq!(asked.target, "POST /gate/v1/messages");
    assert_eq!(asked.headers["authorization"], "Bearer sk-ant-oat01-real");
    assert!(!asked.headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn nothing_else_is_passed_on() {
    let house = house().await;
    let to = |method: Method, path: &str| {
        let request = house.client.request(method, format!("{}{path}", house.proxy.url()));
        request.header("x-api-key", house.account.token()).body(body(10))
    };
    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/v1/models"),
        (Method::GET, "/v1/messages"),
        (Method::POST, "/v1/messages/batches"),
        (Method::POST, "/v1/files"),
        (Method::POST, "/v1/messages/"),
        (Method::POST, "//v1/messages"),
    ] {
        let (status, kind, _) = problem(to(method.clone(), path).send().await.unwrap()).await;
        assert_eq!((status, kind.as_str()), (404, "not_found_error"), "{method} {path}");
    }
    let head = to(Method::HEAD, "/").send().await.unwrap();
    assert_eq!(head.status(), 404);

    // Without an account, with a made-up one, for another host.
    let url = format!("{}/v1/messages", house.proxy.url());
    for request in [
        house.client.post(&url),
        house.client.post(&url).header("x-api-key", "sk-ant-ns-0"),
        house.client.post(&url).bearer_auth(KEY),
        house.client.post(&url).header("authorization", house.account.token()),
    ] {
        let response = request.body(body(10)).send().await.unwrap();
        assert_eq!(response.headers()["x-should-retry"], "false");
        assert_eq!(problem(response).await.0, 401);
    }
    let rebound = house.request(body(10)).header("host", "evil.example").send().await.unwrap();
    assert_eq!(problem(rebound).await.0, 403);
    // What cannot be read cannot be counted.
    for text in ["", "x", "[]", "{\"model\":\"m\",\"model\":\"n\"}"] {
        assert_eq!(problem(house.request(text).send().await.unwrap()).await.0, 400, "{text}");
    }
    let packed = house.request(body(10)).header("content-encoding", "gzip").send().await.unwrap();
    assert_eq!(problem(packed).await.0, 415);
    assert!(house.service.asked().is_empty());
    assert_eq!(house.ledger(), Ledger::default());
}

/// What the proxy answers to these bytes, up to the end of the connection or of a second.
async fn raw(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = timeout(Duration::from_secs(1), read).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn it_is_no_way_to_anywhere_else() {
    let house = house().await;
    let address = house.proxy.url().replace("http://", "");
    let key = house.account.token();
    let body = body(10);
    let rest =
        format!("x-api-key: {key}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let ask = |line: &str, host: &str| format!("{line} HTTP/1.1\r\nhost: {host}\r\n{rest}{body}");
    for (line, host, status) in [
        // Attacks 23, 24, 26, 27 and 29: it tunnels nowhere, by name or by number.
        ("CONNECT api.anthropic.com:22", "api.anthropic.com:22", "403"),
        ("CONNECT api.anthropic.com:443", "api.anthropic.com", "403"),
        ("CONNECT 169.254.169.254:80", "169.254.169.254", "403"),
        ("CONNECT 127.0.0.1:22", "127.0.0.1:22", "404"),
        ("CONNECT evil.example:443", &address, "403"),
        ("GET http://evil.example/", "evil.example", "403"),
        ("GET http://169.254.169.254/latest/meta-data/", &address, "403"),
        ("POST http://evil.example/v1/messages", &address, "403"),
        // 28: a host of another's.
        ("POST http://127.0.0.1/v1/messages", "evil.example", "403"),
        ("POST /v1/messages", "evil.example", "403"),
        ("POST /v1/messages", "127.0.0.1.evil.example", "403"),
        ("POST /v1/messages", "user@127.0.0.1", "403"),
        // 30: other doors of the service.
        ("POST /v1/files", &address, "404"),
        ("POST /v1/messages/../files", &address, "404"),
        ("POST /v1/%6dessages", &address, "404"),
        ("POST /v1/messages%2f..%2ffiles", &address, "404"),
        ("POST /v1/messages;x", &address, "404"),
        ("OPTIONS *", &address, "404"),
        ("PUT /v1/messages", &address, "404"),
    ] {
        let answer = raw(&address, &ask(line, host)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {host}: {answer}");
    }
    assert!(house.service.asked().is_empty());
    // An address of our own in the request's line is our own; the service is the one that is fixed, whatever
    // port is asked for.
    house.service.will_stream(stream(1, 1));
    let answer = raw(&address, &ask("POST http://127.0.0.1:1/v1/messages", &address)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let asked = house.service.asked().remove(0);
    assert_eq!(asked.target, "POST /v1/messages");
    assert_eq!(asked.headers["host"], house.service.url.replace("http://", "").as_str());
}

fn inside() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Comes back when nobody listens there any more.
async fn gone(address: &str) {
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(5), refused).await.expect("somebody still listens");
}

#[tokio::test]
async fn a_second_entrance_serves_the_same_accounts_until_it_is_closed() {
    let house = house().await;
    let (listener, address) = inside();
    let attached = house.proxy.attach(listener).unwrap();
    house.service.will_stream(stream(10, 20));
    let ask = |body: String| {
        let request = house.client.post(format!("http://{address}/v1/messages"));
        request.header("x-api-key", house.account.token()).body(body)
    };
    let answer = ask(body(100)).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), stream(10, 20));
    assert_eq!(house.settled().await.calls, 1);
    let elsewhere = house.client.get(format!("http://{address}/v1/models"));
    assert_eq!(problem(elsewhere.send().await.unwrap()).await.0, 404);

    // Closed, it lets nobody in, and breaks what came through it: an answer that is read, and a connection
    // on which nothing is said.
    let fed = house.service.will_feed();
    let mut answer = ask(body(100)).send().await.unwrap();
    feed(&fed, start(usage(5, 1))).await;
    answer.chunk().await.unwrap();
    let mut silent = TcpStream::connect(&address).await.unwrap();
    drop(attached);
    let end =
        timeout(Duration::from_secs(5), silent.read(&mut [0; 1])).await.expect("it is closed");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert!(timeout(Duration::from_secs(5), answer.chunk()).await.expect("it is cut").is_err());
    house.service.alive(0).await;
    gone(&address).await;
    // The first entrance goes on.
    house.service.will_stream(stream(1, 1));
    assert_eq!(house.ask(10).await.status(), 200);
}

#[tokio::test]
async fn every_entrance_has_its_own_places_and_ends_with_the_proxy() {
    let House { service, proxy, account, client } = house().await;
    let (listener, address) = inside();
    let _attached = proxy.attach(listener).unwrap();
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(&address).await.unwrap());
    }
    // Who comes through the other entrance is served meanwhile.
    service.will_stream(stream(1, 1));
    let request = client.post(format!("{}/v1/messages", proxy.url())).body(body(10));
    let request = request.header("x-api-key", account.token());
    let answer = timeout(Duration::from_secs(5), request.send()).await.expect("it has places");
    assert_eq!(answer.unwrap().status(), 200);
    drop(proxy);
    let mut first = idle.swap_remove(0);
    let end = timeout(Duration::from_secs(5), first.read(&mut [0; 1])).await.expect("it is closed");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    drop(idle);
    gone(&address).await;
}

#[tokio::test]
async fn a_request_has_a_longest_length() {
    let house = house().await;
    let long = vec![b' '; 64 * 1024 * 1024 + 1];
    // The server may close before all of it is sent.
    if let Ok(response) = house.request(long).send().await {
        assert_eq!(problem(response).await.0, 413);
    }
    assert_eq!(house.ledger(), Ledger::default());
    let padded = format!("{}{}", body(10), " ".repeat(63 * 1024 * 1024));
    house.service.will_stream(stream(1, 1));
    house.account.allow(Allowance::default());
    assert_eq!(house.request(padded.clone()).send().await.unwrap().status(), 200);
    assert_eq!(house.service.asked().remove(0).body.len(), padded.len());
}

#[tokio::test]
async fn counting_tokens_costs_nothing() {
    let house = house().await;
    house.account.allow(money(0));
    house.service.will_answer(200, "{\"input_tokens\":7}");
    let url = format!("{}/v1/messages/count_tokens", house.proxy.url());
    let request = house.client.post(url).header("x-api-key", house.account.token());
    let response = request.body(body(10)).send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "{\"input_tokens\":7}");
    assert_eq!(house.service.asked().remove(0).target, "POST /v1/messages/count_tokens");
    assert_eq!(house.ledger(), Ledger::default());
}

#[tokio::test]
async fn an_error_of_the_service_costs_nothing_and_says_its_limits() {
    let house = house().await;
    let headers = [
        ("retry-after", "9000"),
        ("anthropic-ratelimit-unified-status", "rejected"),
        ("anthropic-ratelimit-unified-reset", "1763716500"),
        ("anthropic-ratelimit-unified-representative-claim", "five_hour"),
        ("anthropic-ratelimit-unified-5h-utilization", "1.0"),
        ("anthropic-ratelimit-unified-7d-utilization", "0.25"),
    ];
    let headers = headers.map(|(name, value)| (name, value.to_owned())).to_vec();
    let text = "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"m\"}}";
    house.service.will(Script::Answer(429, "application/json", headers, text.to_owned()));
    let response = house.ask(1_000).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (429, &"9000".parse().unwrap())
    );
    assert_eq!(response.text().await.unwrap(), text);
    let seen = LimitSeen {
        status: 429,
        retry_after_s: Some(9_000),
        unified_status: Some("rejected".into()),
        reset: Some(1_763_716_500),
        claim: Some("five_hour".into()),
        five_hour: Some(1.0),
        seven_day: Some(0.25),
    };
    let ledger = house.ledger();
    assert_eq!(ledger, Ledger { calls: 1, last_limit: Some(seen), ..Ledger::default() });

    for status in [301, 400, 401, 403, 404, 500, 503, 529] {
        let headers = vec![("location", format!("{}/elsewhere", house.service.url))];
        house.service.will(Script::Answer(status, "text/html", headers, "<html>".into()));
        let response = house.ask(1_000).await;
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.text().await.unwrap(), "<html>");
        let limit = (status == 529).then(|| LimitSeen { status, ..LimitSeen::default() });
        assert_eq!(house.ledger().last_limit, limit, "{status}");
    }
    assert_eq!(house.ledger().spend, Spend::default());
    assert_eq!((house.ledger().calls, house.service.asked().len()), (9, 9));

    // An error as the beginning of a stream is one like any other.
    let error = event("error", json!({ "error": { "type": "overloaded_error", "message": "m" } }));
    house.service.will_stream(error.clone());
    assert_eq!(house.ask(1_000).await.text().await.unwrap(), error);
    assert_eq!(house.settled().await.spend, Spend::default());

    // Too long to be searched for the credential: our own words instead.
    house.service.will_answer(500, format!("{}{KEY}", "x".repeat(2 * 1024 * 1024)));
    let (status, _, message) = problem(house.ask(1_000).await).await;
    assert!(status == 500 && message.contains("cannot be passed on"), "{status} {message}");
}

#[tokio::test]
async fn what_is_cut_off_costs_its_whole_reservation() {
    let house = house_with(Patience {
        start: Duration::from_millis(300),
        silence: Duration::from_millis(300),
    })
    .await;
    let one = reservation(&body(1_000), 1_000);
    let mut cut = Usd::ZERO;
    let mut calls = 0;
    let mut charged = |ledger: Ledger, what: &str| {
        cut = cut + one;
        calls += 1;
        assert_eq!(ledger.spend, Spend::reserved(cut), "{what}");
        assert_eq!((ledger.calls, ledger.cut_calls, ledger.in_flight), (calls, calls, 0), "{what}");
        assert_eq!(ledger.models[MODEL].1, cut, "{what}");
    };

    // Complete answers that do not say what they used.
    let error = event("error", json!({ "error": { "type": "overloaded_error", "message": "m" } }));
    for (what, text) in [
        ("no end", start(usage(5, 1))),
        ("an error", [start(usage(5, 1)), error].concat()),
        ("no start", [delta(usage(5, 5)), stop()].concat()),
        ("rubbish", "event: message_start\ndata: {\"type\": not json\n\n".to_owned()),
        ("nothing", String::new()),
    ] {
        house.service.will_stream(text.clone());
        assert_eq!(house.ask(1_000).await.text().await.unwrap(), text);
        charged(house.settled().await, what);
    }
    for text in ["", "<html>", "{\"type\": \"message\", \"content\": [", "{\"type\":\"error\"}"] {
        house.service.will_answer(200, text);
        assert_eq!(house.ask(1_000).await.text().await.unwrap(), text);
        charged(house.settled().await, text);
    }

    // The line to the service breaks: it does not look complete to the agent.
    let service = house.service.will_feed();
    let mut response = house.ask(1_000).await;
    feed(&service, start(usage(5, 1))).await;
    assert!(response.chunk().await.unwrap().is_some());
    drop(service);
    assert!(response.chunk().await.is_err());
    charged(house.settled().await, "a broken line");

    // The service falls silent.
    let service = house.service.will_feed();
    let mut response = house.ask(1_000).await;
    feed(&service, start(usage(5, 1))).await;
    assert!(response.chunk().await.unwrap().is_some());
    assert!(response.chunk().await.is_err());
    charged(house.settled().await, "silence");
    house.service.alive(0).await;

    // It does not answer at all.
    house.service.will(Script::Hang);
    let response = house.ask(1_000).await;
    assert!(!response.headers().contains_key("x-should-retry"));
    assert_eq!(problem(response).await.0, 504);
    charged(house.settled().await, "no answer");
    house.service.alive(0).await;
}

#[tokio::test]
async fn whoever_leaves_ends_the_call_at_the_service() {
    let house = house().await;
    let one = reservation(&body(1_000), 1_000);
    // Before the answer's first line.
    house.service.will(Script::Hang);
    let waiting = tokio::spawn(house.request(body(1_000)).send());
    house.service.alive(1).await;
    assert_eq!(house.ledger().in_flight, 1);
    waiting.abort();
    house.service.alive(0).await;
    assert_eq!(house.settled().await.spend, Spend::reserved(one));

    // In the middle of it.
    let service = house.service.will_feed();
    let mut response = house.ask(1_000).await;
    feed(&service, start(usage(5, 1))).await;
    response.chunk().await.unwrap();
    house.service.alive(1).await;
    drop(response);
    house.service.alive(0).await;
    assert_eq!(house.settled().await.spend, Spend::reserved(one + one));

    // After the last figures the cost is known.
    let service = house.service.will_feed();
    let mut response = house.ask(1_000).await;
    feed(&service, [start(usage(5, 1)), delta(usage(5, 7))].concat()).await;
    response.chunk().await.unwrap();
    drop(response);
    let ledger = house.settled().await;
    assert_eq!(ledger.spend.usd, one + one + price(5, 7));
    assert_eq!((ledger.spend.cut, ledger.cut_calls, ledger.calls), (one + one, 2, 3));
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let proxy = Proxy::start(upstream(&url, key())).await.unwrap();
    let account = proxy.open(money(10_000_000));
    let url = format!("{}/v1/messages", proxy.url());
    let request = client().post(&url).header("x-api-key", account.token()).body(body(10));
    let (status, _, message) = problem(request.send().await.unwrap()).await;
    assert!(status == 502 && message.contains("refused"), "{status} {message}");
    assert_eq!(account.ledger(), Ledger::default());

    // With one, nobody knows.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut some = [0; 64];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut some).await;
        }
    });
    let proxy = Proxy::start(upstream(&url, key())).await.unwrap();
    let account = proxy.open(money(10_000_000));
    let url = format!("{}/v1/messages", proxy.url());
    let request = client().post(&url).header("x-api-key", account.token()).body(body(10));
    assert_eq!(request.send().await.unwrap().status(), 502);
    assert_eq!(account.ledger().spend, Spend::reserved(reservation(&body(10), 10)));
}

#[tokio::test]
async fn a_call_that_might_not_fit_is_not_started() {
    let house = house().await;
    let needed = reservation(&body(1_000), 1_000);
    let left = needed.minus(Usd::from_micros(1));
    house.account.allow(Allowance { usd: Some(left), tokens: None });
    let response = house.ask(1_000).await;
    assert_eq!(response.headers()["x-should-retry"], "false");
    let (status, kind, message) = problem(response).await;
    assert_eq!((status, kind.as_str()), (402, "billing_error"));
    let words =
        "nightshift's limit, not the service's: the call could cost $0.03, and $0.02 are left";
    assert!(message.starts_with(words), "{message}");
    assert!(house.service.asked().is_empty());
    let refused = Some(Refused::Money { needed, left });
    assert_eq!(house.ledger(), Ledger { refused, ..Ledger::default() });

    // A smaller one fits, and so does this one with one millionth more.
    house.service.will_stream(stream(1, 1));
    assert_eq!(house.ask(10).await.text().await.unwrap(), stream(1, 1));
    let spent = house.ledger().spend.usd;
    assert_eq!(spent, price(1, 1));
    house.account.allow(Allowance { usd: Some(needed), tokens: None });
    assert_eq!(house.ledger().refused, None);
    house.service.will_stream(stream(2, 2));
    assert_eq!(house.ask(1_000).await.text().await.unwrap(), stream(2, 2));
    // The new allowance counts from its beginning, the ledger from the account's.
    let left = needed.minus(price(2, 2));
    assert_eq!(problem(house.ask(1_000).await).await.0, 402);
    assert_eq!(house.ledger().refused, Some(Refused::Money { needed, left }));
    assert_eq!((house.ledger().spend.usd, house.ledger().calls), (spent + price(2, 2), 2));
}

#[tokio::test]
async fn spent_tokens_end_it_too() {
    let house = house().await;
    house.account.allow(Allowance { usd: None, tokens: Some(1_200) });
    for _ in 0..2 {
        house.service.will_stream(stream(10, 50));
        house.ask(100_000).await.text().await.unwrap();
    }
    // 1,160 were spent by the first, so the second one could start.
    assert_eq!(problem(house.ask(1).await).await.0, 402);
    let refused = Some(Refused::Tokens { spent: 2_320, limit: 1_200 });
    assert_eq!(house.ledger().refused, refused);
    // A call that was cut off counts with all that it could have used.
    house.account.allow(Allowance { usd: None, tokens: Some(900) });
    house.service.will_stream("");
    house.ask(900).await.text().await.unwrap();
    house.settled().await;
    assert_eq!(problem(house.ask(1).await).await.0, 402);
    let spent = 900 + (body(900).len() as u64).div_ceil(3);
    assert_eq!(house.ledger().refused, Some(Refused::Tokens { spent, limit: 900 }));
    assert_eq!(house.ledger().spend.output_tokens, 100);
}

#[tokio::test]
async fn what_has_no_bound_is_not_started() {
    let house = house().await;
    house.account.allow(Allowance::default());
    let mut body: Value = serde_json::from_str(&body(10)).unwrap();
    body["tools"] = json!([{ "type": "web_fetch_20250910", "name": "web_fetch" }]);
    let (status, kind, _) = problem(house.request(body.to_string()).send().await.unwrap()).await;
    assert_eq!((status, kind.as_str()), (403, "permission_error"));
    let refused = Some(Refused::Unbounded { what: "web_fetch_20250910".into() });
    assert_eq!(house.ledger(), Ledger { refused, ..Ledger::default() });
}

#[tokio::test]
async fn an_unknown_model_is_charged_the_most_and_named() {
    let house = house().await;
    let text = body(1_000).replace(MODEL, "claude-opus-99");
    house.service.will_stream(stream(10, 10).replace(MODEL, "claude-opus-99"));
    house.request(text.clone()).send().await.unwrap().text().await.unwrap();
    let ledger = house.ledger();
    // 15, 75, 1.5 and 18.75 millionths a token.
    assert_eq!(ledger.spend.usd, Usd::from_micros(10 * 15 + 10 * 75 + 1_500 + 1_875));
    assert!(ledger.unknown_models.contains("claude-opus-99"));
    // A name that only a gateway knows: the model that was asked for counts.
    house.service.will_stream(stream(10, 10).replace(MODEL, "gateway-7"));
    house.ask(1_000).await.text().await.unwrap();
    let of_model: BTreeMap<_, _> = house.ledger().models;
    assert_eq!(of_model[MODEL].1, price(10, 10));
    assert_eq!(house.ledger().unknown_models.len(), 1);
}

#[tokio::test]
async fn calls_side_by_side_never_pass_the_allowance() {
    let house = house().await;
    let one = reservation(&body(1_000), 1_000);
    let fits = 7;
    let allowance = Usd::from_micros(one.micros() * fits + one.micros() / 2);
    house.account.allow(Allowance { usd: Some(allowance), tokens: None });
    // Each costs exactly what was reserved for it; all of them wait for each other.
    let prompt = (body(1_000).len() as u64).div_ceil(3);
    let most =
        json!({ "input_tokens": 0, "output_tokens": 1_000, "cache_creation_input_tokens": prompt });
    let mut open = Vec::new();
    for _ in 0..fits {
        open.push(house.service.will_feed());
    }
    let asked: Vec<_> = (0..30).map(|_| tokio::spawn(house.request(body(1_000)).send())).collect();
    house.service.alive(u32::try_from(fits).unwrap()).await;
    let mut answers = Vec::new();
    let mut refused = 0;
    // The refused ones come back at once, the others when their stream begins.
    for service in &open {
        feed(service, start(most.clone())).await;
    }
    for answer in asked {
        let answer = answer.await.unwrap().unwrap();
        if answer.status() == 402 { refused += 1 } else { answers.push(answer) }
    }
    assert_eq!((answers.len() as u64, refused), (fits, 30 - fits));
    let ledger = house.ledger();
    assert_eq!((u64::from(ledger.in_flight), ledger.spend.usd), (fits, Usd::ZERO));
    let Some(Refused::Money { needed, left }) = ledger.refused else { panic!() };
    assert_eq!((needed, left), (one, Usd::from_micros(one.micros() / 2)));
    for (at, service) in open.into_iter().enumerate() {
        // Some end as they should, the others do not.
        if at % 2 == 0 {
            feed(&service, [delta(most.clone()), stop()].concat()).await;
            service.send(Fed::End).await.unwrap();
        }
    }
    for answer in answers {
        let _ = answer.bytes().await;
    }
    let ledger = house.settled().await;
    assert_eq!(ledger.spend.usd, Usd::from_micros(one.micros() * fits));
    assert_eq!(ledger.spend.cut, Usd::from_micros(one.micros() * 3));
    assert!(ledger.spend.usd <= allowance);
    assert_eq!(problem(house.ask(1_000).await).await.0, 402);
    assert_eq!(house.service.asked().len() as u64, fits);
}

#[tokio::test]
async fn a_closed_account_cuts_and_charges_at_once() {
    let house = house().await;
    let one = reservation(&body(1_000), 1_000);
    let service = house.service.will_feed();
    let mut response = house.ask(1_000).await;
    feed(&service, start(usage(5, 1))).await;
    response.chunk().await.unwrap();
    house.service.will(Script::Hang);
    let waiting = tokio::spawn(house.request(body(1_000)).send());
    house.service.alive(2).await;

    house.account.close();
    let ledger = house.ledger();
    assert_eq!(ledger.spend, Spend::reserved(one + one));
    assert_eq!((ledger.in_flight, ledger.cut_calls, ledger.calls), (0, 2, 2));
    assert!(response.chunk().await.is_err());
    assert_eq!(problem(waiting.await.unwrap().unwrap()).await.0, 401);
    house.service.alive(0).await;
    assert_eq!(problem(house.ask(10).await).await.0, 401);
    assert_eq!(house.ledger(), ledger);

    // One that nobody holds any more is closed, too; its clone keeps it.
    let account = house.proxy.open(money(1_000_000));
    let (token, clone) = (account.token().to_owned(), account.clone());
    let status = async |token: &str| {
        let url = format!("{}/v1/messages", house.proxy.url());
        let request = house.client.post(url).header("x-api-key", token).body("x");
        request.send().await.unwrap().status()
    };
    drop(account);
    assert_eq!(status(&token).await, StatusCode::BAD_REQUEST);
    drop(clone);
    assert_eq!(status(&token).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_last_clone_of_the_proxy_ends_it() {
    let House { service, proxy, account, client } = house().await;
    let stream = service.will_feed();
    let url = format!("{}/v1/messages", proxy.url());
    let request = || client.post(&url).header("x-api-key", account.token()).body(body(1_000));
    let mut response = request().send().await.unwrap();
    feed(&stream, start(usage(5, 1))).await;
    response.chunk().await.unwrap();
    let clone = proxy.clone();
    drop(proxy);
    assert_eq!(account.ledger().in_flight, 1);
    drop(clone);
    assert_eq!(account.ledger().spend, Spend::reserved(reservation(&body(1_000), 1_000)));
    assert!(response.chunk().await.is_err());
    service.alive(0).await;
    for _ in 0..100 {
        if request().send().await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("somebody still listens");
}

#[tokio::test]
async fn a_long_answer_is_never_held() {
    let house = house().await;
    house.service.will(Script::Flood(200));
    let mut response = house.ask(1_000).await;
    // Nobody reads: what was taken from the service fills the buffers on the way and no more.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let buffers = house.service.taken();
    assert!(buffers < 24 * 1024 * 1024, "{buffers} bytes were taken");
    let (mut read, mut most) = (0, 0);
    while let Some(piece) = response.chunk().await.unwrap() {
        read += piece.len() as u64;
        most = most.max(house.service.taken() - read);
    }
    assert!(read >= 200 * 1024 * 1024 && most < 24 * 1024 * 1024, "{read} {most}");
    assert_eq!(house.settled().await.cut_calls, 1);
}

#[tokio::test]
async fn a_credential_travels_encrypted_or_not_at_all() {
    for url in ["http://api.example", "https://me:word@api.example", "ftp://127.0.0.1"] {
        let refused = Proxy::start(upstream(url, key())).await.unwrap_err();
        assert!(matches!(refused, Error::Address { .. }), "{refused:?}");
        assert!(!format!("{refused} {refused:?}").contains("word"));
    }
    for bad in ["", "a b", "a\nb"] {
        let credential = UpstreamCredential::OAuthToken(Secret::new(bad));
        let refused = Proxy::start(upstream("https://api.example", credential)).await.unwrap_err();
        assert!(matches!(refused, Error::Credential), "{refused:?}");
    }
}
