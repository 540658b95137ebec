//! The way of an agent's questions to the model: a server of ours on loopback. It puts the real credential
//! on them, knows what a call can cost before it starts, and what it cost when it ended.
//!
//! Passes on `POST /v1/messages` and `POST /v1/messages/count_tokens`, each once, to one service. Never
//! shows the credential, never keeps an answer, never decides about tasks: it says what was spent, and
//! refuses what does not fit.

mod account;
mod ask;
mod body;
mod listener;
mod meter;
mod problem;
mod relay;

use std::{
    fmt, io,
    net::{self, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use tokio::net::TcpListener;
use url::Url;

pub use account::{Account, Allowance, Ledger, LimitSeen, Refused};

pub(crate) use account::random_word;
pub(crate) use listener::{End, Open, serve};
pub(crate) use relay::end_to_end;

use self::{account::Registry, relay::Relay};
use crate::{http, redact::Secret};

/// The port of our server on a sandbox's own loopback: there it is the only one, and needs no looking for.
pub const PORT_INSIDE: u16 = 3128;

/// Where the questions go, and as whom.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The service: https, or http on this machine. May have a path, to which `/v1/messages` is added.
    pub url: Url,
    /// How we sign in.
    pub credential: UpstreamCredential,
}

/// The real credential. It leaves this room in one header of one request at a time.
#[derive(Clone, Debug)]
pub enum UpstreamCredential {
    /// Goes into `x-api-key`.
    ApiKey(Secret),
    /// A subscription's token, from `claude setup-token`. Goes into `authorization: Bearer`.
    OAuthToken(Secret),
}

/// How long the service may say nothing.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the question to the answer's first line. An answer that is not streamed comes all at once:
    /// Claude Code waits ten minutes for it, and we a little longer, so that it is the first to give up.
    pub start: Duration,
    /// Between two pieces of an answer. The service sends a `ping` every few seconds; Claude Code's own
    /// limit is the same 300 seconds.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { start: Duration::from_secs(660), silence: Duration::from_secs(300) }
    }
}

/// Why there is no proxy. Never holds the credential.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The credential would travel in the clear, or the address holds a login of its own.
    #[error("no credential is sent to {host}: use an https address without a login")]
    Address {
        /// Scheme and host.
        host: String,
    },
    /// Nothing that can stand in a header.
    #[error("the model's credential is empty or holds blanks or control characters")]
    Credential,
    /// The client could not be made.
    #[error("could not set up the connection to {host}: {reason}")]
    Client {
        /// Scheme and host.
        host: String,
        /// Why.
        reason: String,
    },
    /// No port on loopback.
    #[error("could not listen on 127.0.0.1")]
    Listen(#[source] io::Error),
}

/// The running server. It ends with the last clone, and every account with it.
#[derive(Clone, Debug)]
pub struct Proxy {
    server: Arc<Server>,
}

struct Server {
    address: SocketAddr,
    registry: Arc<Registry>,
    router: Router,
    /// Every entrance closes when this is dropped.
    open: Open,
}

/// A further entrance to a [`Proxy`]. Dropped, it closes, and connections that came through it break.
#[derive(Debug)]
pub struct Attached {
    _open: Open,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.address).finish()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.registry.close_all();
    }
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1. Must be called on the runtime that is to carry the calls.
    pub async fn start(upstream: Upstream) -> Result<Proxy, Error> {
        Proxy::start_with(upstream, Patience::default()).await
    }

    /// [`Proxy::start`] with another patience.
    pub async fn start_with(upstream: Upstream, patience: Patience) -> Result<Proxy, Error> {
        let registry = Arc::new(Registry::default());
        let relay = Relay::new(upstream, patience, registry.clone())?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Error::Listen)?;
        let address = listener.local_addr().map_err(Error::Listen)?;
        let router = Router::new().fallback(relay::relay).with_state(Arc::new(relay));
        let open = Open::default();
        serve(listener, router.clone(), open.end(End::default()));
        Ok(Proxy { server: Arc::new(Server { address, registry, router, open }) })
    }

    /// Serves the same accounts on a listener that was made elsewhere: on a sandbox's own loopback. It has
    /// its own limit of connections, and ends with the proxy at the latest. Must be called on the runtime
    /// that is to carry the calls.
    pub fn attach(&self, listener: net::TcpListener) -> io::Result<Attached> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let open = Open::default();
        let end = open.end(self.server.open.end(End::default()));
        serve(listener, self.server.router.clone(), end);
        Ok(Attached { _open: open })
    }

    /// The address for `ANTHROPIC_BASE_URL`, on this machine's loopback.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Its port on this machine's loopback.
    pub fn port(&self) -> u16 {
        self.server.address.port()
    }

    /// Opens an account for one attempt. It is closed when its last clone is dropped.
    pub fn open(&self, allowance: Allowance) -> Account {
        Account::open(&self.server.registry, allowance)
    }
}

/// Scheme and host of an address: what may stand in a message.
fn shown(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default())
}

/// Refuses what must not be tried.
fn check(upstream: &Upstream) -> Result<(), Error> {
    let url = &upstream.url;
    let login = !url.username().is_empty() || url.password().is_some();
    if login || !http::is_private(url) {
        return Err(Error::Address { host: shown(url) });
    }
    let (UpstreamCredential::ApiKey(secret) | UpstreamCredential::OAuthToken(secret)) =
        &upstream.credential;
    if http::is_token(secret.expose()) { Ok(()) } else { Err(Error::Credential) }
}
