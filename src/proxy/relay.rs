//! One request: whose it is, whether it may go on, and its answer on the way back.
//!
//! The answer is passed on piece by piece as it comes, and the next piece is read when the last one is
//! taken. Whoever goes away ends the other side, too.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
        header::{
            ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH,
            CONTENT_TYPE, COOKIE, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
            SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
        },
    },
};
use http_body::Frame;
use tokio::{sync::mpsc, time::timeout};
use url::Url;

use super::{
    Error, Patience, Upstream, UpstreamCredential,
    account::{Call, LimitSeen, Registry, Shared},
    ask::Ask,
    body::{self, Held, Room},
    check,
    meter::Meter,
    problem::Problem,
    shown,
};
use crate::{
    http,
    redact::{Redactor, Secret},
};

/// An error, or a number of tokens, is a few hundred bytes. Longer ones are not passed on: only what we
/// hold as a whole can be searched for the credential.
const LONGEST_SMALL: usize = 1024 * 1024;
/// A connection that nobody used for so long is not used again: a service that closes it at the same
/// moment would leave us a call that was sent and never answered.
const KEPT_OPEN: Duration = Duration::from_secs(20);

/// What is about one connection, not about the request (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The two requests that are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Messages,
    CountTokens,
}

impl Door {
    fn of(method: &Method, path: &str) -> Option<Door> {
        match path {
            "/v1/messages" if method == Method::POST => Some(Door::Messages),
            "/v1/messages/count_tokens" if method == Method::POST => Some(Door::CountTokens),
            _ => None,
        }
    }
}

/// What all requests share.
pub(super) struct Relay {
    client: reqwest::Client,
    service: Url,
    sign_in: (HeaderName, HeaderValue),
    secret: Secret,
    redactor: Redactor,
    patience: Patience,
    registry: Arc<Registry>,
    room: Room,
}

/// Takes every request.
pub(super) async fn relay(State(relay): State<Arc<Relay>>, request: Request) -> Response<Body> {
    relay.pass_on(request).await.unwrap_or_else(Problem::into_response)
}

impl Relay {
    pub(super) fn new(
        upstream: Upstream,
        patience: Patience,
        registry: Arc<Registry>,
    ) -> Result<Relay, Error> {
        check(&upstream)?;
        let service = upstream.url;
        let client = http::client(&service).pool_idle_timeout(KEPT_OPEN).build();
        let client = client.map_err(|error| Error::Client {
            host: shown(&service),
            reason: http::reason(&error),
        })?;
        let (name, secret, text) = match upstream.credential {
            UpstreamCredential::ApiKey(key) => (API_KEY, key.clone(), key.expose().to_owned()),
            UpstreamCredential::OAuthToken(token) => {
                let text = format!("Bearer {}", token.expose());
                (AUTHORIZATION, token, text)
            }
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| Error::Credential)?;
        value.set_sensitive(true);
        let redactor = Redactor::new([secret.expose().to_owned()]);
        Ok(Relay {
            client,
            service,
            sign_in: (name, value),
            secret,
            redactor,
            patience,
            registry,
            room: Room::of_all(),
        })
    }

    async fn pass_on(&self, request: Request) -> Result<Response<Body>, Problem> {
        let (head, body) = request.into_parts();
        let named = head.headers.get(HOST).and_then(|host| host.to_str().ok());
        if !named.is_some_and(is_ours) || head.uri.host().is_some_and(|host| !is_ours(host)) {
            return Err(Problem::strange_host());
        }
        let door = Door::of(&head.method, head.uri.path()).ok_or_else(Problem::unknown_path)?;
        let account = self.registry.find(&head.headers).ok_or_else(Problem::no_account)?;
        if head.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(Problem::packed());
        }
        let Held { bytes: body, place } = tokio::select! {
            biased;
            () = account.closed() => return Err(Problem::no_account()),
            read = body::read(&head.headers, body, account.room(), &self.room, body::PATIENCE) => read?,
        };
        let call = match door {
            Door::CountTokens => None,
            Door::Messages => {
                let ask = Ask::read(&body).map_err(|why| Problem::unreadable(&why))?;
                let call = account.reserve(ask).map_err(|refused| Problem::refused(&refused))?;
                Some(call.ok_or_else(Problem::no_account)?)
            }
        };
        let mut url = self.service.clone();
        url.set_path(&format!("{}{}", url.path().trim_end_matches('/'), head.uri.path()));
        url.set_query(head.uri.query());
        url.set_fragment(None);
        let request = self.client.post(url).headers(self.outward(&head.headers)).body(body);
        let sent = tokio::select! {
            biased;
            () = account.closed() => return Err(Problem::no_account()),
            sent = timeout(self.patience.start, request.send()) => sent,
        };
        drop(place);
        match sent {
            Err(_) => Err(Problem::silent()),
            Ok(Err(error)) => {
                // Without a connection nothing was sent. After it nobody knows what the service did.
                if let Some(call) = call.filter(|_| error.is_connect()) {
                    call.unsent();
                }
                let reason = self.redactor.redact(&http::reason(&error)).into_owned();
                let message = format!("no answer from {}: {reason}", shown(&self.service));
                Err(Problem::unreachable(message))
            }
            Ok(Ok(answer)) => self.answer(answer, call, &account).await,
        }
    }

    /// The headers of a request as the service gets them: all that is not about the connection to us.
    fn outward(&self, headers: &HeaderMap) -> HeaderMap {
        let mut outward = end_to_end(headers);
        for name in [&HOST, &CONTENT_LENGTH, &EXPECT, &COOKIE, &AUTHORIZATION, &API_KEY] {
            outward.remove(name);
        }
        // We read the answer on its way.
        outward.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        outward.insert(self.sign_in.0.clone(), self.sign_in.1.clone());
        outward
    }

    /// The headers of an answer as the agent gets them.
    fn inward(&self, headers: &HeaderMap) -> HeaderMap {
        let mut inward = end_to_end(headers);
        inward.remove(SET_COOKIE);
        let secret = self.secret.expose().as_bytes();
        let tells = |value: &HeaderValue| {
            value.as_bytes().windows(secret.len()).any(|window| window == secret)
        };
        let telling: Vec<HeaderName> =
            inward.iter().filter(|(_, v)| tells(v)).map(|(name, _)| name.clone()).collect();
        for name in telling {
            inward.remove(name);
        }
        inward
    }

    async fn answer(
        &self,
        answer: reqwest::Response,
        call: Option<Call>,
        account: &Shared,
    ) -> Result<Response<Body>, Problem> {
        let status = answer.status();
        let mut headers = self.inward(answer.headers());
        let streamed = match call {
            Some(call) => {
                account.saw(LimitSeen::read(status.as_u16(), answer.headers()));
                if status.is_success() {
                    Some(call)
                } else {
                    call.failed();
                    None
                }
            }
            None => None,
        };
        let body = match streamed {
            Some(call) => {
                let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
                let meter = Meter::new(kind.unwrap_or_default());
                let (pieces, body) = mpsc::channel(1);
                let silence = self.patience.silence;
                let pump = Pump { answer, meter, call: Some(call), pieces, silence };
                let closed = account.closed();
                tokio::spawn(async move {
                    tokio::select! {
                        () = closed => {}
                        () = pump.run() => {}
                    }
                });
                Body::new(Pieces { from: body, ended: false })
            }
            None => {
                headers.remove(CONTENT_LENGTH);
                Body::from(self.small(status, answer, account).await?)
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// A short answer as a whole, without the credential, should the service repeat it.
    async fn small(
        &self,
        status: StatusCode,
        mut answer: reqwest::Response,
        account: &Shared,
    ) -> Result<Bytes, Problem> {
        let closed = account.closed();
        tokio::pin!(closed);
        let mut text = Vec::new();
        loop {
            let piece = tokio::select! {
                biased;
                () = &mut closed => return Err(Problem::no_account()),
                piece = timeout(self.patience.silence, answer.chunk()) => piece,
            };
            match piece {
                Ok(Ok(Some(piece))) if text.len() + piece.len() <= LONGEST_SMALL => {
                    text.extend_from_slice(&piece);
                }
                Ok(Ok(None)) => break,
                Ok(Ok(Some(_)) | Err(_)) | Err(_) => return Err(Problem::instead_of(status)),
            }
        }
        let shown = String::from_utf8_lossy(&text);
        let redacted = self.redactor.redact(&shown);
        Ok(if *redacted == *shown { text.into() } else { redacted.into_owned().into() })
    }
}

/// `127.0.0.1:8080`, `localhost`, `[::1]:80`. Any other name was made to lead here by somebody else.
fn is_ours(host: &str) -> bool {
    let port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let name = host.rsplit_once(':').filter(|(_, end)| port(end)).map_or(host, |(name, _)| name);
    http::is_loopback(name)
}

/// The headers that are meant for the other end.
pub(crate) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for value in headers.get_all(CONNECTION) {
        for name in value.to_str().unwrap_or_default().split(',') {
            kept.remove(name.trim());
        }
    }
    for name in &HOP_BY_HOP {
        kept.remove(name);
    }
    kept
}

/// A piece of an answer.
enum Piece {
    Bytes(Bytes),
    /// The answer is complete. Without it, it was cut off.
    End,
}

/// Carries one answer over. Dropped, it ends the request to the service and settles the call.
struct Pump {
    answer: reqwest::Response,
    meter: Meter,
    call: Option<Call>,
    pieces: mpsc::Sender<Piece>,
    silence: Duration,
}

impl Pump {
    async fn run(mut self) {
        // What was read and not passed on. The end of an answer that is read as a whole waits until its
        // cost is known: the ledger is right before the agent has its answer.
        let mut held: Option<Bytes> = None;
        loop {
            let read = tokio::select! {
                biased;
                () = self.pieces.closed() => return,
                read = timeout(self.silence, self.answer.chunk()) => read,
            };
            let send = match read {
                Err(_) | Ok(Err(_)) => return,
                Ok(Ok(Some(piece))) => {
                    self.take_in(&piece);
                    if self.meter.is_whole() { held.replace(piece) } else { Some(piece) }
                }
                Ok(Ok(None)) => {
                    self.end();
                    if let Some(piece) = held {
                        let _ = self.pieces.send(Piece::Bytes(piece)).await;
                    }
                    let _ = self.pieces.send(Piece::End).await;
                    return;
                }
            };
            if let Some(piece) = send
                && self.pieces.send(Piece::Bytes(piece)).await.is_err()
            {
                return;
            }
        }
    }

    fn take_in(&mut self, piece: &[u8]) {
        self.meter.feed(piece);
        if let Some(call) = &self.call {
            call.used(self.meter.used());
        }
        if self.meter.is_error()
            && let Some(call) = self.call.take()
        {
            call.failed();
        }
        if self.meter.is_over() {
            self.call = None;
        }
    }

    fn end(&mut self) {
        self.meter.end();
        if let Some(call) = self.call.take() {
            call.used(self.meter.used());
        }
    }
}

/// The agent's end of an answer.
struct Pieces {
    from: mpsc::Receiver<Piece>,
    ended: bool,
}

/// The connection to the agent breaks in the middle of the answer: it must not look complete.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut off")]
struct CutOff;

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(self.from.poll_recv(cx));
        self.ended = !matches!(piece, Some(Piece::Bytes(_)));
        Poll::Ready(match piece {
            Some(Piece::Bytes(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => None,
            None => Some(Err(CutOff)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_ours() {
        for host in ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "[::1]:80", "[::1]"] {
            assert!(is_ours(host), "{host}");
        }
        for host in ["", "evil.example", "127.0.0.1.evil.example:80", "localhost:80:evil", "::"] {
            assert!(!is_ours(host), "{host}");
        }
    }

    #[test]
    fn two_requests_are_passed_on() {
        let of = |method: Method, path: &str| Door::of(&method, path);
        assert_eq!(of(Method::POST, "/v1/messages"), Some(Door::Messages));
        assert_eq!(of(Method::POST, "/v1/messages/count_tokens"), Some(Door::CountTokens));
        for path in
            ["/", "/v1/messages/", "/v1/messages/batches", "/v1/../v1/messages", "/v1/files"]
        {
            assert_eq!(of(Method::POST, path), None, "{path}");
        }
        assert_eq!(of(Method::GET, "/v1/messages"), None);
    }

    #[test]
    fn headers_of_one_connection_stay_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("anthropic-beta", "oauth-2025-04-20"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let kept = end_to_end(&headers);
        assert_eq!(kept.len(), 1);
        assert_eq!(kept["anthropic-beta"], "oauth-2025-04-20");
    }
}
