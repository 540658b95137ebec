//! A model service on loopback: real HTTP, answers by script, and a record of what it was asked.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Response},
};
use tokio::sync::{mpsc, oneshot, watch};

/// What the service does with one request.
pub(crate) enum Script {
    /// A whole answer: status, content type, more headers, text.
    Answer(u16, &'static str, Vec<(&'static str, String)>, String),
    /// 200 and a stream that the test feeds.
    Feed(mpsc::Receiver<Fed>),
    /// 200 and so many megabytes of events, as fast as they are taken.
    Flood(u64),
    /// Nothing, for ever.
    Hang,
}

/// A piece of a stream; without an `End` at its end the line breaks.
pub(crate) enum Fed {
    Bytes(Bytes),
    End,
}

/// A request as it arrived.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The running service. It ends with its runtime.
pub(crate) struct Service {
    pub(crate) url: String,
    world: Arc<World>,
}

struct World {
    scripts: Mutex<VecDeque<Script>>,
    asked: Mutex<Vec<Asked>>,
    /// Requests whose other end is still there.
    alive: watch::Sender<u32>,
    /// Bytes of floods that were taken.
    taken: AtomicU64,
}

impl Service {
    pub(crate) async fn start() -> Service {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let world = Arc::new(World {
            scripts: Mutex::default(),
            asked: Mutex::default(),
            alive: watch::Sender::new(0),
            taken: AtomicU64::new(0),
        });
        let router = Router::new().fallback(answer).with_state(world.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Service { url, world }
    }

    /// The next request gets this.
    pub(crate) fn will(&self, script: Script) {
        self.world.scripts.lock().unwrap().push_back(script);
    }

    /// The next request gets JSON.
    pub(crate) fn will_answer(&self, status: u16, text: impl Into<String>) {
        self.will(Script::Answer(status, "application/json", Vec::new(), text.into()));
    }

    /// The next request gets events.
    pub(crate) fn will_stream(&self, text: impl Into<String>) {
        self.will(Script::Answer(200, "text/event-stream", Vec::new(), text.into()));
    }

    /// The next request gets a stream that the test feeds.
    pub(crate) fn will_feed(&self) -> mpsc::Sender<Fed> {
        let (send, receive) = mpsc::channel(1);
        self.will(Script::Feed(receive));
        send
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.world.asked.lock().unwrap().clone()
    }

    /// Comes back when so many requests are there whose other end has not gone.
    pub(crate) async fn alive(&self, count: u32) {
        let mut alive = self.world.alive.subscribe();
        let there = alive.wait_for(|alive| *alive == count);
        tokio::time::timeout(std::time::Duration::from_secs(5), there).await.unwrap().unwrap();
    }

    pub(crate) fn taken(&self) -> u64 {
        self.world.taken.load(Ordering::Relaxed)
    }
}

/// Counts a request while its answer lives.
struct Alive(Arc<World>);

impl Alive {
    fn new(world: &Arc<World>) -> Alive {
        world.alive.send_modify(|alive| *alive += 1);
        Alive(world.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.send_modify(|alive| *alive -= 1);
    }
}

async fn answer(State(world): State<Arc<World>>, request: Request) -> Response<Body> {
    let alive = Alive::new(&world);
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let target = format!("{} {}", head.method, head.uri);
    world.asked.lock().unwrap().push(Asked { target, headers: head.headers, body });
    let script = world.scripts.lock().unwrap().pop_front();
    let events = || Response::builder().header("content-type", "text/event-stream");
    match script.expect("the service was asked more often than the test says") {
        Script::Answer(status, kind, headers, text) => {
            let mut response = Response::builder().status(status).header("content-type", kind);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Body::from(text)).unwrap()
        }
        Script::Feed(from) => events().body(Body::new(Feed { from, _alive: alive })).unwrap(),
        Script::Flood(megabytes) => {
            let left = megabytes * 1024 * 1024;
            events().body(Body::new(Flood { left, alive })).unwrap()
        }
        Script::Hang => {
            let (_never, wait) = oneshot::channel::<()>();
            let _ = wait.await;
            unreachable!("nobody sends")
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the line breaks")]
struct Broken;

struct Feed {
    from: mpsc::Receiver<Fed>,
    _alive: Alive,
}

type Polled = Poll<Option<Result<http_body::Frame<Bytes>, Broken>>>;

impl HttpBody for Feed {
    type Data = Bytes;
    type Error = Broken;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        Poll::Ready(match ready!(self.from.poll_recv(cx)) {
            Some(Fed::Bytes(bytes)) => Some(Ok(http_body::Frame::data(bytes))),
            Some(Fed::End) => None,
            None => Some(Err(Broken)),
        })
    }
}

struct Flood {
    left: u64,
    alive: Alive,
}

impl HttpBody for Flood {
    type Data = Bytes;
    type Error = Broken;
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = [b"event: ping\ndata: ".as_slice(), &vec![b'x'; 65_000], b"\n\n"].concat();
        self.left = self.left.saturating_sub(piece.len() as u64);
        self.alive.0.taken.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(http_body::Frame::data(piece.into()))))
    }
}
