//! How we speak HTTP with services: one kind of client, and what may be said on which line.
//!
//! Never follows a redirect and never repeats a request: both would happen behind the back of the room that
//! asked. Sends nothing itself.

use std::time::Duration;

use url::Url;

/// Longest time to reach a server.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// The beginnings of a client for one service: TLS with ring, the person's HTTP(S)_PROXY, no redirects.
/// What is on this machine is reached without a proxy.
pub fn client(service: &Url) -> reqwest::ClientBuilder {
    // The process has one provider of cryptography; that it is there already is just as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .redirect(reqwest::redirect::Policy::none());
    if service.host_str().is_some_and(is_loopback) { client.no_proxy() } else { client }
}

/// True for names and numbers that never leave this machine.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// True when nobody on the way can read what is sent there: encrypted, or on this machine.
pub fn is_private(service: &Url) -> bool {
    match service.scheme() {
        "https" => service.has_host(),
        "http" => service.host_str().is_some_and(is_loopback),
        _ => false,
    }
}

/// True for what can be a credential in a header: something, without blanks and control characters.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The innermost reason of an error. The outer lines of HTTP libraries only name their layers.
pub fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut reason = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine_are_told_from_look_alikes() {
        for host in ["localhost", "127.0.0.1", "127.8.0.1", "::1", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn secrets_travel_encrypted_or_not_at_all() {
        for good in ["https://api.example/x", "http://127.0.0.1:8080", "http://[::1]/"] {
            assert!(is_private(&Url::parse(good).unwrap()), "{good}");
        }
        for bad in ["http://api.example", "ftp://127.0.0.1", "data:text/plain,x", "file:///x"] {
            assert!(!is_private(&Url::parse(bad).unwrap()), "{bad}");
        }
        assert!(is_token("sk-ant-1"));
        for bad in ["", "a b", "a\n", "ä"] {
            assert!(!is_token(bad), "{bad:?}");
        }
    }
}
