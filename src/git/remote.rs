//! What the address of a remote says: a repository on a forge's host, a directory, or something else.
//!
//! Only reads text. Never asks the network, git's configuration or ssh's: a host alias of
//! `~/.ssh/config` stays a host of that name.

use std::{fmt, path::PathBuf};

use url::Url;

use crate::redact::{self, Secret};

/// A remote's address, understood. Make it of what `git remote get-url --push` would print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// `owner/name` on some host. Whether GitHub answers there is [`ForgeAddress::is_github`]'s word.
    Forge(ForgeAddress),
    /// A directory of this machine.
    Path(PathBuf),
    /// An address that git may understand, but that cannot have a pull request here: deeper paths, queries,
    /// transport helpers (`ext::`), an option in disguise, nothing at all.
    Other,
}

/// Where a repository stands on a forge. Holds no login: addresses with one are cleaned on the way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgeAddress {
    /// How git talks to it.
    pub scheme: Scheme,
    /// In lower case, without a port. `www.` and `ssh.` of github.com are github.com.
    pub host: String,
    /// Of git's transport; `None` when it is the scheme's own.
    pub port: Option<u16>,
    /// A user or an organization, spelled as in the address.
    pub owner: String,
    /// The repository without `.git`, spelled as in the address.
    pub name: String,
}

/// How git talks to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `https://`
    Https,
    /// `http://`: a token goes there only on loopback.
    Http,
    /// `ssh://`, `git+ssh://`, or `user@host:path`.
    Ssh,
    /// `git://`: read only and unauthenticated; our protocol list refuses it.
    Git,
}

impl Remote {
    /// Never fails: what cannot be understood is [`Remote::Other`].
    pub fn parse(address: &str) -> Remote {
        let address = address.trim_end();
        if address.is_empty() || address.starts_with('-') || address.contains(char::is_control) {
            return Remote::Other;
        }
        if address.contains("://") {
            return Url::parse(address).map_or(Remote::Other, |url| of_url(&url));
        }
        let Some((before, path)) = address.split_once(':') else {
            return Remote::Path(PathBuf::from(address));
        };
        if before.len() == 1 && before.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Remote::Path(PathBuf::from(address)); // a Windows drive
        }
        if before.contains('/') {
            return Remote::Path(PathBuf::from(address)); // git's own rule: `./a:b` is a path
        }
        if path.starts_with(':') {
            return Remote::Other; // a transport helper, such as `ext::`
        }
        let host = before.rsplit_once('@').map_or(before, |(_, host)| host);
        forge(Scheme::Ssh, host, None, path.strip_prefix('/').unwrap_or(path))
    }
}

impl ForgeAddress {
    /// `owner/name`.
    pub fn slug(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// The repository's page, for people.
    pub fn page(&self) -> String {
        let scheme = if self.scheme == Scheme::Http { "http" } else { "https" };
        format!("{scheme}://{}/{}", self.web_host(), self.slug())
    }

    /// The host as the forge's web address has it: with the port for HTTP, without it for ssh, whose
    /// port says nothing about the web.
    pub fn web_host(&self) -> String {
        match (self.scheme, self.port) {
            (Scheme::Https | Scheme::Http, Some(port)) => format!("{}:{port}", self.host),
            (Scheme::Https | Scheme::Http, None) | (Scheme::Ssh | Scheme::Git, _) => {
                self.host.clone()
            }
        }
    }

    /// True for github.com, GitHub's own subdomains for customers (`acme.ghe.com`), and `known` hosts, which
    /// a configuration or `GITHUB_SERVER_URL` names (with a port if the web address has one). Whole names
    /// are compared, so that `github.com.evil.example` is a stranger.
    pub fn is_github<'a>(&self, known: impl IntoIterator<Item = &'a str>) -> bool {
        is_github_cloud(&self.host)
            || known.into_iter().any(|host| host.eq_ignore_ascii_case(&self.web_host()))
    }
}

/// For people: `github.com/o/r`.
impl fmt::Display for ForgeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.web_host(), self.owner, self.name)
    }
}

/// github.com, or a customer's subdomain of ghe.com.
pub fn is_github_cloud(host: &str) -> bool {
    host == "github.com"
        || host.strip_suffix(".ghe.com").is_some_and(|customer| {
            !customer.is_empty() && customer.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

/// A login that stood inside an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user, decoded.
    pub user: String,
    /// The password, decoded.
    pub password: Secret,
}

/// Takes a password, or a token in the user's place, out of an HTTP address: what is left can be printed
/// and stand in an argument list. `https://me@host` stays, since the name tells a credential helper which
/// account is meant; so does everything that is not HTTP.
pub fn without_login(address: &str) -> (String, Option<Login>) {
    let address = address.trim_end();
    let Ok(mut url) = Url::parse(address) else { return (address.to_owned(), None) };
    if !matches!(url.scheme(), "http" | "https")
        || url.username().is_empty() && url.password().is_none()
    {
        return (address.to_owned(), None);
    }
    let user = decoded(url.username());
    let login = match url.password() {
        Some(password) => Login { user, password: Secret::new(decoded(password)) },
        None if redact::has_token_shape(&user) => {
            // GitHub takes a token in either place.
            Login { user: "x-access-token".to_owned(), password: Secret::new(&user) }
        }
        None => return (address.to_owned(), None),
    };
    let cleaned = url.set_username("").is_ok() && url.set_password(None).is_ok();
    debug_assert!(cleaned, "HTTP addresses can have a login, so they can lose it");
    (url.to_string(), Some(login))
}

fn of_url(url: &Url) -> Remote {
    let (scheme, usual_port) = match url.scheme() {
        "https" => (Scheme::Https, 443),
        "http" => (Scheme::Http, 80),
        "ssh" | "git+ssh" | "ssh+git" => (Scheme::Ssh, 22),
        "git" => (Scheme::Git, 9418),
        "file" => return url.to_file_path().map_or(Remote::Other, Remote::Path),
        _ => return Remote::Other,
    };
    if url.query().is_some() || url.fragment().is_some() {
        return Remote::Other;
    }
    let Some(host) = url.host_str() else { return Remote::Other };
    let port = url.port().filter(|port| *port != usual_port);
    forge(scheme, host, port, url.path().trim_start_matches('/'))
}

fn forge(scheme: Scheme, host: &str, port: Option<u16>, path: &str) -> Remote {
    let mut host = host.to_ascii_lowercase();
    let mut port = port;
    if host == "www.github.com" {
        "github.com".clone_into(&mut host);
    }
    // GitHub's ssh for networks that let only port 443 out.
    if scheme == Scheme::Ssh && host == "ssh.github.com" {
        "github.com".clone_into(&mut host);
        port = None;
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let path = path.strip_suffix(".git").unwrap_or(path);
    match path.split_once('/') {
        Some((owner, name)) if is_host(&host) && is_owner(owner) && is_name(name) => {
            Remote::Forge(ForgeAddress {
                scheme,
                host,
                port,
                owner: owner.to_owned(),
                name: name.to_owned(),
            })
        }
        _ => Remote::Other,
    }
}

fn is_host(host: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.starts_with('-') && host.bytes().all(plain),
    }
}

/// Letters, digits, `-`, and the `_` of managed users; never `-` first, which a program may read as an
/// option.
fn is_owner(owner: &str) -> bool {
    owner.starts_with(|c: char| c.is_ascii_alphanumeric())
        && owner.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && !name.starts_with('-')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Undoes percent-encoding; what is not UTF-8 afterwards is replaced.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = (byte == b'%')
            .then(|| std::str::from_utf8(after.get(..2)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The enterprise host that the tests' configuration names.
    const KNOWN: [&str; 1] = ["ghe.corp.example"];

    fn on_github(address: &str) -> Option<String> {
        match Remote::parse(address) {
            Remote::Forge(forge) if forge.is_github(KNOWN) => Some(forge.to_string()),
            Remote::Forge(_) | Remote::Path(_) | Remote::Other => None,
        }
    }

    #[test]
    fn addresses_of_github_are_recognised_in_every_form() {
        for (address, expected) in [
            ("https://github.com/o/r.git", "github.com/o/r"),
            ("https://github.com/o/r", "github.com/o/r"),
            ("https://github.com/o/r/", "github.com/o/r"),
            ("https://me@github.com/o/r.git", "github.com/o/r"),
            ("https://x-access-token:TOKEN@github.com/o/r.git", "github.com/o/r"),
            ("https://github.com:443/o/r.git", "github.com/o/r"),
            ("http://github.com/o/r", "github.com/o/r"),
            ("https://www.github.com/o/r.git", "github.com/o/r"),
            ("https://GitHub.com/O/R.git", "github.com/O/R"),
            ("git@github.com:o/r.git", "github.com/o/r"),
            ("git@github.com:o/r", "github.com/o/r"),
            ("git@github.com:/o/r.git", "github.com/o/r"),
            ("org-12345@github.com:o/r.git", "github.com/o/r"),
            ("github.com:o/r.git", "github.com/o/r"),
            ("ssh://git@github.com/o/r.git", "github.com/o/r"),
            ("ssh://git@github.com:22/o/r.git", "github.com/o/r"),
            ("ssh://git@ssh.github.com:443/o/r.git", "github.com/o/r"),
            ("git+ssh://git@github.com/o/r.git", "github.com/o/r"),
            ("git://github.com/o/r.git", "github.com/o/r"),
            ("https://ghe.corp.example/o/r.git", "ghe.corp.example/o/r"),
            ("git@ghe.corp.example:o/r.git", "ghe.corp.example/o/r"),
            ("ssh://git@ghe.corp.example:2222/o/r.git", "ghe.corp.example/o/r"),
            ("https://acme.ghe.com/o/r.git", "acme.ghe.com/o/r"),
            ("git@github.com:o/r.name.git", "github.com/o/r.name"),
            ("git@github.com:o/.github.git", "github.com/o/.github"),
            ("git@github.com:name_emu/r.git", "github.com/name_emu/r"),
            ("https://github.com/o/r.git.git", "github.com/o/r.git"),
            ("https://github.com/o/r-_1.git", "github.com/o/r-_1"),
            ("https://github.com/o/r\n", "github.com/o/r"),
        ] {
            assert_eq!(on_github(address).as_deref(), Some(expected), "{address}");
        }
    }

    #[test]
    fn other_addresses_and_look_alikes_are_not_github() {
        for address in [
            "https://github.com/o",
            "https://github.com/",
            "https://github.com/o/r/tree/main",
            "https://github.com/o/r.git?x=1",
            "https://github.com/o/r#x",
            "https://github.com/o/r%2Fx",
            "https://github.com/o/..",
            "https://github.com/-o/r",
            "https://gist.github.com/0123456789abcdef.git",
            "https://gitlab.com/o/r.git",
            "https://gitlab.com/g/s/r.git",
            "git@work-alias:o/r.git",
            "https://github.com.evil.example/o/r.git",
            "https://evil.example/github.com/o/r.git",
            "https://github.com@evil.example/o/r.git",
            "/srv/git/r.git",
            "../r.git",
            "file:///srv/git/r.git",
            "C:\\repos\\r.git",
            "C:/repos/r.git",
            "--upload-pack=touch x",
            "ext::sh -c touch% x",
            "",
            "https://github.com/o/r x",
        ] {
            assert_eq!(on_github(address), None, "{address}");
        }
    }

    #[test]
    fn a_directory_is_a_path_and_a_helper_or_an_option_is_neither() {
        for (address, expected) in [
            ("/srv/git/r.git", Remote::Path("/srv/git/r.git".into())),
            ("../r.git", Remote::Path("../r.git".into())),
            ("./a:b", Remote::Path("./a:b".into())),
            ("file:///srv/git/r%20x.git", Remote::Path("/srv/git/r x.git".into())),
            ("C:\\repos\\r.git", Remote::Path("C:\\repos\\r.git".into())),
            ("C:/repos/r.git", Remote::Path("C:/repos/r.git".into())),
            ("ext::sh -c touch% x", Remote::Other),
            ("--upload-pack=touch x", Remote::Other),
            ("-oProxyCommand=x:o/r", Remote::Other),
            ("ssh://-oProxyCommand=x/o/r", Remote::Other),
            ("git@-evil:o/r", Remote::Other),
            ("file://elsewhere/srv/r.git", Remote::Other),
            ("https://github.com/o/r\u{1b}[2J", Remote::Other),
        ] {
            assert_eq!(Remote::parse(address), expected, "{address}");
        }
    }

    #[test]
    fn a_port_counts_for_the_web_but_not_for_ssh() {
        let web = |address: &str| match Remote::parse(address) {
            Remote::Forge(forge) => forge.web_host(),
            Remote::Path(_) | Remote::Other => panic!("{address}"),
        };
        assert_eq!(web("http://127.0.0.1:8123/o/r.git"), "127.0.0.1:8123");
        assert_eq!(web("ssh://git@ghe.corp.example:2222/o/r.git"), "ghe.corp.example");
        assert_eq!(web("https://GHE.corp.example:443/o/r"), "ghe.corp.example");
        assert_eq!(web("https://[::1]:8123/o/r"), "[::1]:8123");
    }

    #[test]
    fn a_login_leaves_the_address_and_is_never_printed() {
        let (address, login) =
            without_login("https://x-access-token:s3cr%40t@github.com/o/r.git\n");
        assert_eq!(address, "https://github.com/o/r.git");
        let login = login.unwrap();
        assert_eq!((login.user.as_str(), login.password.expose()), ("x-access-token", "s3cr@t"));
        assert!(!format!("{login:?}").contains("s3cr"));

        let token = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
        let (address, login) = without_login(&format!("https://{token}@github.com/o/r"));
        assert_eq!(address, "https://github.com/o/r");
        assert_eq!(login.unwrap().password.expose(), token);

        for same in
            ["https://me@github.com/o/r", "git@github.com:o/r", "/srv/a:b@c", "ssh://git@h/o/r"]
        {
            assert_eq!(without_login(same), (same.to_owned(), None));
        }
    }

    #[test]
    fn the_hosts_of_customers_are_told_from_look_alikes() {
        assert!(is_github_cloud("acme.ghe.com") && !is_github_cloud(".ghe.com"));
        assert!(!is_github_cloud("evil.example.ghe.com.") && !is_github_cloud("xghe.com"));
    }
}
