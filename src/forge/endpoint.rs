//! Which server a remote belongs to, and which token is meant for it. Pure: the environment's values are
//! passed in.
//!
//! Never gives one host's token to another host.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use url::Url;

use crate::{git::remote::is_github_cloud, redact::Secret};

/// Where a GitHub answers. Neither address ends with a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// For people and for git: `https://github.com`.
    pub server_url: String,
    /// For the API: `https://api.github.com`, `https://ghe.corp.example/api/v3`.
    pub api_url: String,
}

/// A token and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The token.
    pub value: Secret,
    /// For people: a variable's name, or the command that gave it.
    pub source: &'static str,
}

type Environment = BTreeMap<String, String>;

fn value<'e>(environment: &'e Environment, name: &str) -> Option<&'e str> {
    environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
}

/// The host of a web address, with its port if that is not the scheme's own.
fn web_host(address: &str) -> Option<String> {
    let url = Url::parse(address).ok()?;
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// The host that Actions says it works for.
fn actions_host(environment: &Environment) -> Option<String> {
    web_host(value(environment, "GITHUB_SERVER_URL")?)
}

/// Hosts beside GitHub's own that this environment knows to be a GitHub.
pub fn known_hosts(environment: &Environment) -> Vec<String> {
    let gh = value(environment, "GH_HOST").map(str::to_ascii_lowercase);
    actions_host(environment).into_iter().chain(gh).collect()
}

/// The addresses of the GitHub at `host` (`ForgeAddress::web_host`). `GITHUB_SERVER_URL` and
/// `GITHUB_API_URL`, which Actions sets together, win for their own host and mean nothing for others.
pub fn endpoint(host: &str, environment: &Environment) -> Endpoint {
    let host = host.to_ascii_lowercase();
    let plain = |address: &str| address.trim_end_matches('/').to_owned();
    let named = value(environment, "GITHUB_SERVER_URL")
        .filter(|address| web_host(address).is_some_and(|named| named == host));
    if let Some(server) = named {
        let server_url = plain(server);
        let api_url = value(environment, "GITHUB_API_URL").map_or_else(
            || {
                if is_github_cloud(&host) {
                    cloud_api(&host)
                } else {
                    format!("{server_url}/api/v3")
                }
            },
            plain,
        );
        return Endpoint { server_url, api_url };
    }
    let server_url = format!("https://{host}");
    let api_url =
        if is_github_cloud(&host) { cloud_api(&host) } else { format!("{server_url}/api/v3") };
    Endpoint { server_url, api_url }
}

/// Both `api.github.com` and `api.acme.ghe.com`.
fn cloud_api(host: &str) -> String {
    format!("https://api.{host}")
}

/// The directory in which GitHub's own command-line tool keeps its `hosts.yml`; `home` is the user's home.
pub fn gh_directory(environment: &Environment, home: &Path) -> PathBuf {
    let path = |name: &str| value(environment, name).map(PathBuf::from);
    path("GH_CONFIG_DIR")
        .or_else(|| path("XDG_CONFIG_HOME").map(|directory| directory.join("gh")))
        .unwrap_or_else(|| home.join(".config/gh"))
}

/// The token of `host` in a `hosts.yml`: the host's own, or that of the account that is in use there.
fn in_hosts_file(text: &str, host: &str) -> Option<String> {
    let all: serde_yaml::Value = serde_yaml::from_str(text).ok()?;
    let hosts = all.as_mapping()?.iter();
    let (_, entry) = hosts
        .into_iter()
        .find(|(name, _)| name.as_str().is_some_and(|n| n.eq_ignore_ascii_case(host)))?;
    let of = |entry: &serde_yaml::Value| {
        let token = entry.get("oauth_token")?.as_str()?.trim();
        (!token.is_empty()).then(|| token.to_owned())
    };
    of(entry).or_else(|| of(entry.get("users")?.get(entry.get("user")?.as_str()?)?))
}

/// Where a token can come from besides the environment.
pub trait GhTool {
    /// The text of its `hosts.yml`, where there is one.
    fn hosts_file(&self) -> Option<String>;
    /// What `gh auth token --hostname HOST` prints, if `gh` is installed and signed in: it knows the keyring.
    fn ask(&self, host: &str) -> Option<String>;
}

/// The token for `host`, in the order of GitHub's own command-line tool (`pkg/auth` of go-gh): the environment, its
/// configuration file, the tool itself.
///
/// github.com and *.ghe.com take `GH_TOKEN` and `GITHUB_TOKEN`; other hosts `GH_ENTERPRISE_TOKEN` and
/// `GITHUB_ENTERPRISE_TOKEN`, and `GITHUB_TOKEN` in a Codespace only, whose own it is. The host of `GITHUB_SERVER_URL` takes the first two as well, which Actions
/// sets beside it; and where Actions works for another host, its `GITHUB_TOKEN` stays there.
pub fn token(host: &str, environment: &Environment, gh: &impl GhTool) -> Option<Token> {
    let host = host.to_ascii_lowercase();
    let actions = actions_host(environment);
    let of_actions = actions.as_deref() == Some(host.as_str());
    let names: &[&'static str] = match (is_github_cloud(&host), of_actions) {
        (true, true) => &["GH_TOKEN", "GITHUB_TOKEN"],
        (true, false) if actions.is_none() => &["GH_TOKEN", "GITHUB_TOKEN"],
        (true, false) => &["GH_TOKEN"],
        (false, true) => {
            &["GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"]
        }
        (false, false) if is_true(value(environment, "CODESPACES")) => {
            &["GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN", "GITHUB_TOKEN"]
        }
        (false, false) => &["GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN"],
    };
    let found = names.iter().find_map(|name| Some((value(environment, name)?.to_owned(), *name)));
    let kept = || Some((in_hosts_file(&gh.hosts_file()?, &host)?, "gh's hosts.yml"));
    let asked = || Some((gh.ask(&host)?, "gh auth token"));
    let (value, source) = found.or_else(kept).or_else(asked)?;
    let value = Secret::new(value);
    (!value.expose().is_empty()).then_some(Token { value, source })
}

/// What Go reads as true, which `gh` is written in.
fn is_true(value: Option<&str>) -> bool {
    matches!(value, Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `gh` that has this in its file, and this in its keyring.
    struct Gh(Option<&'static str>, Option<&'static str>);

    impl GhTool for Gh {
        fn hosts_file(&self) -> Option<String> {
            self.0.map(str::to_owned)
        }

        fn ask(&self, host: &str) -> Option<String> {
            self.1.map(|token| format!("{token} of {host}\n"))
        }
    }

    fn environment(values: &[(&str, &str)]) -> Environment {
        values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_kind_of_host_has_its_own_api() {
        for (host, server, api) in [
            ("github.com", "https://github.com", "https://api.github.com"),
            ("acme.ghe.com", "https://acme.ghe.com", "https://api.acme.ghe.com"),
            ("GHE.corp.example", "https://ghe.corp.example", "https://ghe.corp.example/api/v3"),
        ] {
            let expected = Endpoint { server_url: server.to_owned(), api_url: api.to_owned() };
            assert_eq!(endpoint(host, &environment(&[])), expected);
            // Another host's address changes nothing.
            let actions =
                [("GITHUB_SERVER_URL", "http://127.0.0.1:8123"), ("GITHUB_API_URL", "http://x")];
            assert_eq!(endpoint(host, &environment(&actions)), expected);
        }
    }

    #[test]
    fn actions_names_the_addresses_of_its_own_host() {
        let both = environment(&[
            ("GITHUB_SERVER_URL", "http://127.0.0.1:8123/"),
            ("GITHUB_API_URL", "http://127.0.0.1:8123/rest/"),
            ("GH_HOST", "Git.corp.example"),
        ]);
        let found = endpoint("127.0.0.1:8123", &both);
        assert_eq!(found.server_url, "http://127.0.0.1:8123");
        assert_eq!(found.api_url, "http://127.0.0.1:8123/rest");
        assert_eq!(known_hosts(&both), ["127.0.0.1:8123", "git.corp.example"]);
        let one = environment(&[("GITHUB_SERVER_URL", "http://127.0.0.1:8123")]);
        assert_eq!(endpoint("127.0.0.1:8123", &one).api_url, "http://127.0.0.1:8123/api/v3");
    }

    #[test]
    fn a_token_goes_to_its_own_host_only() {
        let all = [
            ("GH_TOKEN", "gh"),
            ("GITHUB_TOKEN", "github"),
            ("GH_ENTERPRISE_TOKEN", "ghe"),
            ("GITHUB_ENTERPRISE_TOKEN", "githube"),
        ];
        let source = |host: &str, values: &[(&str, &str)]| {
            token(host, &environment(values), &Gh(None, None)).map(|token| token.source)
        };
        assert_eq!(source("github.com", &all), Some("GH_TOKEN"));
        assert_eq!(source("github.com", &all[1..]), Some("GITHUB_TOKEN"));
        assert_eq!(source("acme.ghe.com", &all[1..]), Some("GITHUB_TOKEN"));
        assert_eq!(source("github.com", &all[2..]), None);
        assert_eq!(source("ghe.corp.example", &all), Some("GH_ENTERPRISE_TOKEN"));
        assert_eq!(source("ghe.corp.example", &all[..2]), None);
        assert_eq!(source("github.com.evil.example", &all[..2]), None);
        assert_eq!(source("127.0.0.1:8123", &all[..2]), None);
    }

    #[test]
    fn a_token_of_actions_goes_to_the_host_of_actions() {
        let mut values = environment(&[
            ("GITHUB_SERVER_URL", "http://127.0.0.1:8123"),
            ("GITHUB_TOKEN", " of actions\n"),
        ]);
        let found = token("127.0.0.1:8123", &values, &Gh(None, None)).unwrap();
        assert_eq!((found.value.expose(), found.source), ("of actions", "GITHUB_TOKEN"));
        assert_eq!(token("github.com", &values, &Gh(None, None)), None);
        values.insert("GH_ENTERPRISE_TOKEN".to_owned(), "e".to_owned());
        let found = token("127.0.0.1:8123", &values, &Gh(None, None)).unwrap();
        assert_eq!(found.source, "GH_ENTERPRISE_TOKEN");
    }

    #[test]
    fn in_a_codespace_the_codespaces_token_is_for_its_server() {
        for (codespace, expected) in
            [("true", Some("GITHUB_TOKEN")), ("1", Some("GITHUB_TOKEN")), ("no", None), ("", None)]
        {
            let values =
                environment(&[("CODESPACES", codespace), ("GITHUB_TOKEN", "t"), ("GH_TOKEN", "g")]);
            let found = token("ghe.corp.example", &values, &Gh(None, None));
            assert_eq!(found.map(|token| token.source), expected, "{codespace}");
        }
    }

    #[test]
    fn the_gh_program_is_asked_last_and_for_that_host() {
        let none = environment(&[("GH_TOKEN", "  ")]);
        let found = token("ghe.corp.example", &none, &Gh(None, Some("token"))).unwrap();
        assert_eq!(found.value.expose(), "token of ghe.corp.example");
        assert_eq!(found.source, "gh auth token");
        let file = "github.com:\n    oauth_token: gho_one\n    user: me\n";
        let found = token("GitHub.com", &none, &Gh(Some(file), Some("other"))).unwrap();
        assert_eq!((found.value.expose(), found.source), ("gho_one", "gh's hosts.yml"));
        let set = environment(&[("GH_TOKEN", "t")]);
        let found = token("github.com", &set, &Gh(Some(file), Some("other"))).unwrap();
        assert_eq!(found.source, "GH_TOKEN");
    }

    #[test]
    fn the_file_of_gh_gives_each_host_its_own_account_in_use() {
        let several = "github.com:\n    user: me\n    users:\n        me:\n            oauth_token: gho_me\n        \
                       other:\n            oauth_token: gho_other\nghe.corp.example:\n    oauth_token: ' gho_corp '\n    \
                       users:\n        x:\n            oauth_token: gho_x\n    user: x\n";
        let of = |host: &str| in_hosts_file(several, host);
        assert_eq!(of("github.com").as_deref(), Some("gho_me"));
        assert_eq!(of("ghe.corp.example").as_deref(), Some("gho_corp"));
        assert_eq!(of("acme.ghe.com"), None);
        for odd in [
            "",
            "github.com:",
            "github.com: {user: me}",
            "[]",
            "github.com: {oauth_token: ''}",
            ": :",
        ] {
            assert_eq!(in_hosts_file(odd, "github.com"), None, "{odd}");
        }
    }

    #[test]
    fn the_file_of_gh_is_where_gh_looks_for_it() {
        let home = Path::new("/home/me");
        for (values, expected) in [
            (&[("GH_CONFIG_DIR", "/gh"), ("XDG_CONFIG_HOME", "/x")][..], "/gh"),
            (&[("XDG_CONFIG_HOME", "/x")], "/x/gh"),
            (&[], "/home/me/.config/gh"),
        ] {
            assert_eq!(gh_directory(&environment(values), home), PathBuf::from(expected));
        }
    }
}
