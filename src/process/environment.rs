//! What another program sees of our environment: an allow-list, never a copy.
//!
//! Never reads the real environment: that is read once, in `cli`, and comes in as a map.

use std::{collections::BTreeMap, fmt};

/// Let through wherever they are set. `PATH` finds programs, the others choose language and zone.
///
/// `TERM` is not among them: output goes to files, so it is set to `dumb` (unset, some tools refuse to
/// start). Proxy variables are not either: they often carry a password.
const BASE: [&str; 5] = ["PATH", "LANG", "LANGUAGE", "LC_*", "TZ"];

/// Ways out to the user's session, and the user's files. A list cannot let them in; `set` can.
const NEVER: [&str; 9] = [
    "HOME",
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "GPG_AGENT_INFO",
    "DBUS_*",
    "XDG_RUNTIME_DIR",
    "DOCKER_HOST",
    "WAYLAND_DISPLAY",
    "DISPLAY",
];

/// Words that mark a credential. Such a name passes only when it is listed letter by letter: a pattern
/// such as `CARGO_*` does not let in `CARGO_REGISTRY_TOKEN`.
const SECRET: [&str; 8] =
    ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "API_KEY", "ACCESS_KEY", "PRIVATE_KEY"];

/// The names and values that a program is started with, in order of name. A secret leaks only if
/// someone lists it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// No variable at all.
    pub fn empty() -> Environment {
        Environment::default()
    }

    /// Of `all`, the base list and what `patterns` name (`*` stands for any text), with `TERM=dumb` and
    /// only absolute directories in `PATH`.
    ///
    /// `HOME` and the sockets of the user's session stay out even when listed. Names that look like a
    /// credential's pass only when listed in full.
    pub fn from_allowed(all: &BTreeMap<String, String>, patterns: &[String]) -> Environment {
        let mut chosen: BTreeMap<String, String> = all
            .iter()
            .filter(|(name, _)| allowed(name, patterns))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if let Some(path) = chosen.get_mut("PATH") {
            // `.` and empty entries mean the working directory: a repository could bring its own `git`.
            let absolute: Vec<&str> =
                path.split(':').filter(|entry| entry.starts_with('/')).collect();
            *path = absolute.join(":");
        }
        chosen.insert("TERM".into(), "dumb".into());
        Environment(chosen)
    }

    /// Sets one variable, whatever its name.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Environment {
        self.0.insert(name.into(), value.into());
        self
    }

    /// Takes one variable out.
    pub fn unset(&mut self, name: &str) -> &mut Environment {
        self.0.remove(name);
        self
    }

    /// The value of one variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All names, in order: what may be shown and hashed.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// All names and values, for the start of a program.
    pub(super) fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

/// Names only: values may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn allowed(name: &str, patterns: &[String]) -> bool {
    if NEVER.iter().any(|pattern| matches(pattern, name)) {
        return false;
    }
    if patterns.iter().any(|pattern| pattern == name) {
        return true;
    }
    let upper = name.to_ascii_uppercase();
    if SECRET.iter().any(|word| upper.contains(word)) {
        return false;
    }
    BASE.iter().any(|pattern| matches(pattern, name))
        || patterns.iter().any(|pattern| matches(pattern, name))
}

/// `*` stands for any text, also none; every other character for itself.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            name.char_indices()
                .map(|(at, _)| at)
                .chain([name.len()])
                .any(|at| matches(rest, &name[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(names: &[&str]) -> BTreeMap<String, String> {
        names.iter().map(|name| ((*name).to_owned(), format!("/value of {name}"))).collect()
    }

    #[test]
    fn only_what_is_listed_passes() {
        let all = map(&["PATH", "LC_ALL", "CARGO_HOME", "RUSTFLAGS", "EDITOR", "HTTPS_PROXY"]);
        let environment = Environment::from_allowed(&all, &["CARGO_*".into()]);
        let names: Vec<&str> = environment.names().collect();
        assert_eq!(names, ["CARGO_HOME", "LC_ALL", "PATH", "TERM"]);
    }

    #[test]
    fn a_pattern_lets_no_credential_in_but_its_full_name_does() {
        let all = map(&["CARGO_REGISTRY_TOKEN", "MY_API_KEY", "npm_password"]);
        let by_pattern = Environment::from_allowed(&all, &["*".into(), "CARGO_*".into()]);
        assert_eq!(by_pattern.names().collect::<Vec<_>>(), ["TERM"]);
        let by_name = Environment::from_allowed(&all, &["CARGO_REGISTRY_TOKEN".into()]);
        assert!(by_name.get("CARGO_REGISTRY_TOKEN").is_some());
    }

    #[test]
    fn the_users_home_and_sockets_stay_out_even_when_listed() {
        let all = map(&["HOME", "SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS", "DOCKER_HOST"]);
        let listed: Vec<String> = all.keys().cloned().collect();
        assert_eq!(Environment::from_allowed(&all, &listed).names().collect::<Vec<_>>(), ["TERM"]);
    }

    #[test]
    fn a_repository_cannot_bring_its_own_programs() {
        let all = BTreeMap::from([("PATH".to_owned(), ".:/usr/bin::bin:/bin".to_owned())]);
        assert_eq!(Environment::from_allowed(&all, &[]).get("PATH"), Some("/usr/bin:/bin"));
    }

    #[test]
    fn values_are_never_shown() {
        let mut environment = Environment::empty();
        environment.set("API_KEY", "sk-123");
        assert_eq!(format!("{environment:?}"), "{\"API_KEY\"}");
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("LC_*", "LC_", true),
            ("*_HOME", "GO_HOME", true),
            ("A*C*E", "ABCDE", true),
            ("A*C*E", "ABCD", false),
            ("*", "ö", true),
            ("PATH", "PATHS", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
