//! The way of a gate's or a set-up's programs to the hosts that the configuration names, and to no other: a
//! forward proxy of ours, which they learn from `HTTPS_PROXY` and the like.
//!
//! Names are resolved here, and the address that was judged is the one that is connected to. Every "no" is
//! kept for the report. Never holds a credential, never looks into what is encrypted, never asks anybody but
//! the system's resolver, and never decides who may be talked to: the configuration does.

mod addresses;
mod forward;
mod guard;

use std::{
    fmt, io, net,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::Router;
use tokio::net::TcpListener;

pub use guard::Why;

use self::guard::Guard;
use crate::{
    hosts::Rule,
    prompt,
    proxy::{End, Open, serve},
    redact::base64,
};

/// Different refusals that are kept. A program that tries more is described well enough by these.
const MOST_REFUSALS: usize = 100;
/// Characters of a refused address that are kept.
const MOST_SHOWN: usize = 200;
/// The login of a program that reaches us over the machine's loopback. What counts is the word behind it.
const LOGIN: &str = crate::ids::NAME;

/// A forward proxy for one gate or set-up. Clones are the same; its entrances end one by one.
#[derive(Clone, Debug)]
pub struct Egress {
    guard: Arc<Guard>,
    refusals: Refusals,
}

/// An entrance on a listener that only the programs of one sandbox reach. Dropped, it closes, and what came
/// through it breaks.
#[derive(Debug)]
pub struct Attached {
    _open: Open,
}

/// An entrance on the machine's loopback, which everybody on the machine reaches: whoever comes must show a
/// word that only our programs know. Dropped, it closes, and what came through it breaks.
pub struct Door {
    address: SocketAddr,
    word: String,
    _open: Open,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Door").field(&self.address).finish()
    }
}

/// Something that was not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked for, such as `evil.example:443`.
    pub target: String,
    /// Why not.
    pub why: Why,
    /// How often.
    pub times: u32,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.target, self.why)?;
        if self.times > 1 { write!(f, " ({} times)", self.times) } else { Ok(()) }
    }
}

/// What was not let through so far. Clones are the same list.
#[derive(Clone, Debug, Default)]
struct Refusals(Arc<Mutex<Vec<Refusal>>>);

impl Refusals {
    fn note(&self, target: &str, why: &Why) {
        let target: String = prompt::clean(target).chars().take(MOST_SHOWN).collect();
        tracing::info!(%target, %why, "not let through");
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = list.iter_mut().find(|known| known.target == target && known.why == *why);
        if let Some(known) = known {
            known.times = known.times.saturating_add(1);
        } else if list.len() < MOST_REFUSALS {
            list.push(Refusal { target, why: why.clone(), times: 1 });
        }
    }
}

impl Egress {
    /// A proxy to these hosts.
    pub fn new(allowed: Vec<Rule>) -> Egress {
        Egress { guard: Arc::new(Guard::new(allowed)), refusals: Refusals::default() }
    }

    /// Serves a listener that came from inside a sandbox. Must be called on the runtime that is to carry the
    /// connections.
    pub fn attach(&self, listener: net::TcpListener) -> io::Result<Attached> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let open = Open::default();
        serve(listener, self.router(None), open.end(End::default()));
        Ok(Attached { _open: open })
    }

    /// Listens on a free port of 127.0.0.1, for programs without a loopback of their own.
    pub async fn listen(&self) -> io::Result<Door> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let word = crate::proxy::random_word();
        let open = Open::default();
        let login = format!("Basic {}", base64(format!("{LOGIN}:{word}").as_bytes()));
        serve(listener, self.router(Some(login)), open.end(End::default()));
        Ok(Door { address, word, _open: open })
    }

    fn router(&self, login: Option<String>) -> Router {
        let (guard, refusals) = (self.guard.clone(), self.refusals.clone());
        let entrance = Arc::new(forward::Entrance { guard, refusals, login });
        Router::new().fallback(forward::forward).with_state(entrance)
    }

    /// What was not let through so far, in the order in which it was asked for first; at most a hundred.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.refusals.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Door {
    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What its programs see of it; see [`variables`].
    pub fn variables(&self) -> Vec<(String, String)> {
        of_proxy(&format!("http://{LOGIN}:{}@{}", self.word, self.address))
    }
}

/// What programs behind an entrance see of it: the variables from which they learn that there is a proxy, and
/// where. `port` is that of the listener inside the sandbox.
pub fn variables(port: u16) -> Vec<(String, String)> {
    of_proxy(&format!("http://127.0.0.1:{port}"))
}

fn of_proxy(url: &str) -> Vec<(String, String)> {
    // curl reads `http_proxy` in small letters only, others the large ones; cargo, pip, npm and Go read one
    // of them. Yarn 2 and later has names of its own.
    let proxies = [
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
        "YARN_HTTP_PROXY",
        "YARN_HTTPS_PROXY",
    ];
    // A test's own server on loopback is no matter of ours.
    let around = ["no_proxy", "NO_PROXY"].map(|name| (name, "localhost,127.0.0.1,::1"));
    // Node's own `fetch` reads the variables only when it is told to, from version 24 on.
    let node = [("NODE_USE_ENV_PROXY", "1")];
    let all = proxies.map(|name| (name, url)).into_iter().chain(around).chain(node);
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_learn_of_the_proxy_in_every_spelling_and_not_for_their_own_servers() {
        let all = variables(3128);
        let value = |name: &str| all.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "YARN_HTTPS_PROXY"] {
            assert_eq!(value(name), Some("http://127.0.0.1:3128"), "{name}");
        }
        for name in ["no_proxy", "NO_PROXY"] {
            assert!(value(name).is_some_and(|hosts| hosts.contains("127.0.0.1")), "{name}");
        }
    }

    #[test]
    fn refusals_are_counted_and_bounded_and_cannot_paint_a_terminal() {
        let refusals = Refusals::default();
        for n in 0..200 {
            refusals.note("evil.example:443", &Why::NotListed);
            refusals.note(&format!("h{n}.example:443"), &Why::NotListed);
        }
        refusals.note("\u{1b}[2Jx", &Why::NoTarget);
        let list = refusals.0.lock().unwrap();
        assert_eq!((list.len(), list[0].times), (MOST_REFUSALS, 200));
        assert_eq!(list[0].to_string(), "evil.example:443: not in `gate.network` (200 times)");
        drop(list);
        let refusals = Refusals::default();
        refusals.note(&format!("\u{1b}[2J{}", "x".repeat(500)), &Why::NoTarget);
        let list = refusals.0.lock().unwrap();
        assert!(list[0].target.chars().all(|c| c == 'x') && list[0].target.len() <= MOST_SHOWN);
    }
}
