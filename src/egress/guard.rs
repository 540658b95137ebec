//! Whether a host may be talked to, and at which address: the allow-list, the resolver, the guard behind it,
//! and the connection.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};

use super::addresses::is_public;
use crate::hosts::{Peer, Rule, Target};

/// Longest time for a name to be resolved, and for a server to be reached.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why something was not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// No entry names this host at this port.
    NotListed,
    /// The name stands for this machine, a private network, or a cloud's metadata service.
    Private(IpAddr),
    /// What was asked for is no host and port, or no request to a proxy.
    NoTarget,
    /// It did not show the word of our programs.
    NoLogin,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::NotListed => f.write_str("not in `gate.network`"),
            Why::Private(address) => write!(f, "is {address}, which is no address of the internet"),
            Why::NoTarget => f.write_str("no request for a host"),
            Why::NoLogin => f.write_str("came from another program of this machine"),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// It is not allowed.
    Refused(Why),
    /// It is allowed and could not be made; in words.
    Failed(String),
}

/// The allow-list.
#[derive(Debug)]
pub(super) struct Guard {
    allowed: Vec<Rule>,
}

impl Guard {
    pub(super) fn new(allowed: Vec<Rule>) -> Guard {
        Guard { allowed }
    }

    fn names(&self, target: &Target) -> bool {
        self.allowed.iter().any(|rule| rule.names(target))
    }

    /// Which of the addresses of a target may be connected to. A name that anybody may give to any address
    /// leads only to addresses of the internet, and to those that an entry names literally.
    fn choose(&self, target: &Target, found: &[IpAddr]) -> Result<Vec<SocketAddr>, Why> {
        let literal = |address: IpAddr| {
            self.names(&Target { host: Peer::Address(address), port: target.port })
        };
        let mut hidden = None;
        let mut open = Vec::new();
        for address in found.iter().map(IpAddr::to_canonical) {
            if literal(address) || is_public(address) {
                open.push(SocketAddr::new(address, target.port));
            } else {
                hidden = Some(address);
            }
        }
        match hidden {
            Some(address) if open.is_empty() => Err(Why::Private(address)),
            Some(_) | None => Ok(open),
        }
    }

    /// Connects to a target that is allowed, at exactly the address that was judged.
    pub(super) async fn connect(&self, target: &Target) -> Result<TcpStream, Closed> {
        if !self.names(target) {
            return Err(Closed::Refused(Why::NotListed));
        }
        let found = match &target.host {
            Peer::Address(address) => vec![*address],
            Peer::Name(name) => {
                let looked = timeout(PATIENCE, tokio::net::lookup_host((name.as_str(), 0))).await;
                let failed = |why: String| Closed::Failed(format!("{name} is not found: {why}"));
                let found = looked.map_err(|_| failed("no answer".to_owned()))?;
                found.map_err(|error| failed(error.to_string()))?.map(|found| found.ip()).collect()
            }
        };
        let mut last = "it has no address".to_owned();
        for address in self.choose(target, &found).map_err(Closed::Refused)? {
            last = match timeout(PATIENCE, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // That it cannot be set only makes words later.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
        }
        Err(Closed::Failed(format!("{target} cannot be reached: {last}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(entries: &[&str]) -> Guard {
        Guard::new(entries.iter().map(|entry| entry.parse().unwrap()).collect())
    }

    fn target(text: &str) -> Target {
        Target::read(text, None).unwrap()
    }

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_name_leads_to_the_internet_only() {
        let guard = guard(&["a.example"]);
        let to = |found: &[&str]| guard.choose(&target("a.example:443"), &addresses(found));
        assert_eq!(to(&["1.1.1.1"]), Ok(vec!["1.1.1.1:443".parse().unwrap()]));
        // One that leads to both leads to the outer one.
        assert_eq!(to(&["127.0.0.1", "1.1.1.1"]), Ok(vec!["1.1.1.1:443".parse().unwrap()]));
        for own in ["127.0.0.1", "169.254.169.254", "10.1.2.3", "::1", "::ffff:127.0.0.1"] {
            let address = addresses(&[own])[0].to_canonical();
            assert_eq!(to(&[own]), Err(Why::Private(address)), "{own}");
        }
    }

    #[test]
    fn an_address_that_is_named_literally_may_be_reached_at_its_port() {
        let guard = guard(&["db.example:5432", "10.0.0.5:5432"]);
        let to = |text: &str| guard.choose(&target(text), &addresses(&["10.0.0.5"]));
        assert_eq!(to("db.example:5432"), Ok(vec!["10.0.0.5:5432".parse().unwrap()]));
        assert!(to("db.example:80").is_err());
        assert!(guard.names(&target("10.0.0.5:5432")) && !guard.names(&target("10.0.0.5:443")));
    }

    #[tokio::test]
    async fn what_is_not_listed_is_not_even_resolved() {
        let guard = guard(&["a.example"]);
        for text in ["evil.example:443", "a.example:22", "169.254.169.254:80", "127.0.0.1:443"] {
            let refused = guard.connect(&target(text)).await.unwrap_err();
            assert_eq!(refused, Closed::Refused(Why::NotListed), "{text}");
        }
    }
}
