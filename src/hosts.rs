//! Who may be talked to: entries such as `registry.npmjs.org`, `*.crates.io`, `host:8443`, and whether one
//! of them names a host and a port.
//!
//! Names and numbers are brought into one form first, so that `EXAMPLE.org.` is `example.org` and `127.1` is
//! `127.0.0.1`. Resolves no names and connects to nobody.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use url::Host;

/// The ports of the web: what an entry without a port means.
const WEB: [u16; 2] = [443, 80];

/// One entry of an allow-list. In JSON it is its text, and no other text is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    whom: Whom,
    /// `None` = 443 and 80.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Whom {
    Name(String),
    /// All names below this one, not itself.
    Below(String),
    Address(IpAddr),
}

/// Why a text is no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// An address of a page instead of a host.
    #[error("expected a host, not an address: write `{0}`")]
    Url(String),
    /// `*`, or `*.com`.
    #[error("names nearly everybody: write a host, or `*.host.org`")]
    TooWide,
    /// `a*.org`, `*.10.0.0.1`.
    #[error("`*` stands only for whole names before a host: write `*.host.org`")]
    Star,
    /// More than one colon without brackets.
    #[error("write IPv6 addresses in brackets: `[2001:db8::1]:443`")]
    Brackets,
    /// No number from 1 to 65535.
    #[error("expected a port from 1 to 65535 behind the `:`")]
    Port,
    /// No host at all.
    #[error("expected a host such as `registry.npmjs.org`, `*.crates.io` or `host:8443`")]
    Host,
}

/// A host and a port that a program asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host.
    pub host: Peer,
    /// Its port, never 0.
    pub port: u16,
}

/// A host in its one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A name for the DNS.
    Name(String),
    /// An address, never an IPv4 one in IPv6 clothes.
    Address(IpAddr),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Name(name) => f.write_str(name),
            Peer::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Peer::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Target {
    /// `host:port`; without a port it is `port`. `None` for everything else: a login, a path, no host.
    pub fn read(authority: &str, port: Option<u16>) -> Option<Target> {
        let (host, named) = split(authority).ok()?;
        Some(Target { host: peer(host).ok()?, port: named.or(port)? })
    }
}

/// Host and port of a text, neither of them judged but that the port is a number.
fn split(text: &str) -> Result<(&str, Option<u16>), Wrong> {
    // `+80` is a number to Rust.
    let number = |port: &str| match port.parse() {
        Ok(number @ 1..) if !port.starts_with('+') => Ok(Some(number)),
        Ok(_) | Err(_) => Err(Wrong::Port),
    };
    if text.starts_with('[') {
        let end = text.find(']').ok_or(Wrong::Brackets)? + 1;
        let (host, rest) = text.split_at(end);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, number(port)?)),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(Wrong::Brackets),
        };
    }
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((_, rest)) if rest.contains(':') => Err(Wrong::Brackets),
        Some((host, port)) => Ok((host, number(port)?)),
    }
}

/// The one form of a host: small letters, no dot at its end, international names as the DNS has them, and
/// every spelling of a number (`127.1`, `0x7f000001`) as the address that it is.
fn peer(host: &str) -> Result<Peer, Wrong> {
    // `Host::parse` would decode percent signs: nobody who means well writes a host so.
    if host.contains(['%', '*']) {
        return Err(Wrong::Host);
    }
    match Host::parse(host).map_err(|_| Wrong::Host)? {
        Host::Ipv4(address) => Ok(Peer::Address(address.into())),
        Host::Ipv6(address) => Ok(Peer::Address(canonical(address))),
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(&name);
            let label = |label: &str| {
                !label.is_empty()
                    && label.len() <= 63
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            };
            let good = name.len() <= 253 && name.split('.').all(label);
            if good { Ok(Peer::Name(name.to_owned())) } else { Err(Wrong::Host) }
        }
    }
}

/// `::ffff:127.0.0.1` is 127.0.0.1 to the kernel.
fn canonical(address: Ipv6Addr) -> IpAddr {
    IpAddr::V6(address).to_canonical()
}

impl FromStr for Rule {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Rule, Wrong> {
        let text = text.trim();
        if let Some((_, rest)) = text.split_once("://") {
            let host = rest.split(['/', '?', '#', '@']).next().unwrap_or_default();
            return Err(Wrong::Url(host.to_owned()));
        }
        let (host, port) = split(text)?;
        let whom = match host.strip_prefix("*.") {
            _ if host == "*" => return Err(Wrong::TooWide),
            None if host.contains('*') => return Err(Wrong::Star),
            None => match peer(host)? {
                Peer::Name(name) => Whom::Name(name),
                Peer::Address(address) => Whom::Address(address),
            },
            Some(above) if above.contains('*') => return Err(Wrong::Star),
            Some(above) => match peer(above)? {
                Peer::Name(name) if name.contains('.') => Whom::Below(name),
                Peer::Name(_) => return Err(Wrong::TooWide),
                Peer::Address(_) => return Err(Wrong::Star),
            },
        };
        Ok(Rule { whom, port })
    }
}

impl TryFrom<String> for Rule {
    type Error = Wrong;

    fn try_from(text: String) -> Result<Rule, Wrong> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> String {
        rule.to_string()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.whom {
            Whom::Name(name) => f.write_str(name),
            Whom::Below(name) => write!(f, "*.{name}"),
            Whom::Address(address) => Peer::Address(*address).fmt(f),
        }?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Rule {
    /// True when it names this host at this port.
    pub fn names(&self, target: &Target) -> bool {
        let named = match (&self.whom, &target.host) {
            (Whom::Name(name), Peer::Name(asked)) => name == asked,
            (Whom::Below(name), Peer::Name(asked)) => {
                asked.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            (Whom::Address(address), Peer::Address(asked)) => address == asked,
            (Whom::Name(_) | Whom::Below(_), Peer::Address(_))
            | (Whom::Address(_), Peer::Name(_)) => false,
        };
        named && self.port.map_or(WEB.contains(&target.port), |port| port == target.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        text.parse().unwrap_or_else(|wrong| panic!("{text}: {wrong}"))
    }

    fn allows(entry: &str, authority: &str) -> bool {
        let target = Target::read(authority, None).unwrap_or_else(|| panic!("{authority}"));
        rule(entry).names(&target)
    }

    #[test]
    fn an_entry_is_kept_in_its_one_form() {
        for (text, shown) in [
            ("Registry.NPMJS.org.", "registry.npmjs.org"),
            ("*.Crates.IO", "*.crates.io"),
            ("host.example:8443", "host.example:8443"),
            ("127.1:5432", "127.0.0.1:5432"),
            ("0x7f000001", "127.0.0.1"),
            ("[::1]:80", "[::1]:80"),
            ("[::ffff:10.0.0.1]", "10.0.0.1"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("localhost:3000", "localhost:3000"),
        ] {
            assert_eq!(rule(text).to_string(), shown, "{text}");
            assert_eq!(rule(shown), rule(text));
            let json = serde_json::to_string(&rule(text)).unwrap();
            assert_eq!(json, format!("\"{shown}\""));
            assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), rule(text));
        }
    }

    #[test]
    fn what_is_no_entry_says_why() {
        for (text, wrong) in [
            ("https://registry.npmjs.org/x", Wrong::Url("registry.npmjs.org".into())),
            ("*", Wrong::TooWide),
            ("*:443", Wrong::TooWide),
            ("*.com", Wrong::TooWide),
            ("a*.example.org", Wrong::Star),
            ("*.*.example.org", Wrong::Star),
            ("*.10.0.0.1", Wrong::Star),
            ("::1", Wrong::Brackets),
            ("[::1", Wrong::Brackets),
            ("[::1]x", Wrong::Brackets),
            ("host:0", Wrong::Port),
            ("host:70000", Wrong::Port),
            ("host:", Wrong::Port),
            ("host:+80", Wrong::Port),
            ("", Wrong::Host),
            ("user@host", Wrong::Host),
            ("a b", Wrong::Host),
            ("host/path", Wrong::Host),
            ("ex%61mple.org", Wrong::Host),
            ("a..b", Wrong::Host),
            (".example.org", Wrong::Host),
        ] {
            let read = serde_json::from_value::<Rule>(text.into());
            assert_eq!(read.unwrap_err().to_string(), wrong.to_string(), "{text}");
            assert_eq!(text.parse::<Rule>(), Err(wrong), "{text}");
        }
    }

    #[test]
    fn an_entry_names_one_host_at_the_ports_of_the_web_or_at_its_own() {
        for (entry, authority) in [
            ("example.org", "EXAMPLE.org.:443"),
            ("example.org", "example.org:80"),
            ("example.org:8443", "example.org:8443"),
            ("*.example.org", "a.example.org:443"),
            ("*.example.org", "a.b.example.org:443"),
            ("127.0.0.1:9", "2130706433:9"),
            ("127.0.0.1:9", "[::ffff:127.0.0.1]:9"),
            ("[::1]:9", "[0:0::1]:9"),
        ] {
            assert!(allows(entry, authority), "{entry} {authority}");
        }
        for (entry, authority) in [
            ("example.org", "example.org:22"),
            ("example.org", "example.org:8443"),
            ("example.org:8443", "example.org:443"),
            ("example.org", "a.example.org:443"),
            ("example.org", "example.org.evil.example:443"),
            ("*.example.org", "example.org:443"),
            ("*.example.org", "badexample.org:443"),
            ("127.0.0.1:9", "localhost:9"),
            ("localhost:9", "127.0.0.1:9"),
        ] {
            assert!(!allows(entry, authority), "{entry} {authority}");
        }
    }

    #[test]
    fn a_target_is_a_host_and_a_port_and_nothing_else() {
        assert_eq!(Target::read("a.example", Some(80)).unwrap().to_string(), "a.example:80");
        assert_eq!(Target::read("[::1]:8", None).unwrap().to_string(), "[::1]:8");
        for wrong in ["a.example", "", ":443", "u:p@a.example:443", "a.example:443/x", "a:b:443"] {
            assert_eq!(Target::read(wrong, None), None, "{wrong}");
        }
    }
}
