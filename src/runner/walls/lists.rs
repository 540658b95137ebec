//! What a program inside the walls may see of this machine: systems and toolchains, and nothing of the user's.
//!
//! An allow-list: what is not named here is not there. Only looks at which of the places exist.

use std::path::{Path, PathBuf};

use crate::runner::places::{Surroundings, real};

/// Where systems keep programs, libraries and settings that all may read.
const SYSTEM: [&str; 14] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/run/current-system",
    "/run/systemd/resolve/resolv.conf",
    // Not their directory: a socket lies beside them that resolves names for everybody, past every wall.
    "/run/systemd/resolve/stub-resolv.conf",
];

/// What of them is nobody's but the machine's owner's. Readable for us only where we are root.
const PRIVATE: [&str; 18] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/pki/tls/private",
    "/etc/letsencrypt",
    "/etc/krb5.keytab",
    "/etc/NetworkManager",
    "/etc/wpa_supplicant",
    "/etc/wireguard",
    "/etc/openvpn",
    "/etc/docker",
    "/etc/kubernetes",
    "/etc/rancher",
];

/// A toolchain's own directory: its variable, where it is when that is not set, what of it is read, and its
/// package stores. Files with credentials are in none of them.
struct Toolchain {
    variable: &'static str,
    directory: &'static str,
    read: &'static [&'static str],
    stores: &'static [&'static str],
}

/// HOME itself is private for agents and gates, and these programs would not find themselves without it.
const TOOLCHAINS: [Toolchain; 10] = [
    Toolchain {
        variable: "RUSTUP_HOME",
        directory: ".rustup",
        read: &["toolchains", "settings.toml", "update-hashes"],
        stores: &[],
    },
    Toolchain {
        variable: "CARGO_HOME",
        directory: ".cargo",
        read: &["bin", "env"],
        stores: &["registry", "git"],
    },
    Toolchain { variable: "PYENV_ROOT", directory: ".pyenv", read: &["."], stores: &[] },
    Toolchain {
        variable: "NVM_DIR",
        directory: ".nvm",
        read: &["versions", "alias", "nvm.sh"],
        stores: &[],
    },
    Toolchain { variable: "VOLTA_HOME", directory: ".volta", read: &["bin", "tools"], stores: &[] },
    Toolchain { variable: "BUN_INSTALL", directory: ".bun", read: &["bin"], stores: &[] },
    Toolchain { variable: "GOPATH", directory: "go", read: &["bin"], stores: &["pkg/mod"] },
    Toolchain {
        variable: "SDKMAN_DIR",
        directory: ".sdkman",
        read: &["bin", "candidates"],
        stores: &[],
    },
    Toolchain { variable: "RBENV_ROOT", directory: ".rbenv", read: &["."], stores: &[] },
    Toolchain { variable: "npm_config_cache", directory: ".npm", read: &[], stores: &["_cacache"] },
];

/// What may be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Files and directories to read.
    pub read: Vec<PathBuf>,
    /// What below them must not be seen.
    pub hidden: Vec<PathBuf>,
    /// Package stores, some of them not there yet: to read, or to lie under a layer of one's own.
    pub stores: Vec<PathBuf>,
}

impl Lists {
    /// What this machine has. `extra` is what the user's own file adds; `keep_out` what must not be seen
    /// wherever it lies: the user's repository and our own directories.
    pub fn of(surroundings: &Surroundings, extra: &[PathBuf], keep_out: &[PathBuf]) -> Lists {
        let system = SYSTEM.iter().map(PathBuf::from);
        let path = surroundings.value("PATH").unwrap_or_default();
        let programs = path.split(':').filter(|entry| entry.starts_with('/')).map(PathBuf::from);
        let toolchains = TOOLCHAINS.iter().flat_map(|toolchain| {
            let directory = toolchain.place(surroundings);
            let read = toolchain.read.iter().map(move |part| joined(&directory, part));
            read.chain(cargo_settings(toolchain, surroundings))
        });
        let mut read: Vec<PathBuf> = Vec::new();
        // A PATH or a setting that names HOME, or what is above it, would show all of it.
        let all = system.chain(programs).chain(toolchains);
        let all = all.filter(|path| !surroundings.home.starts_with(path));
        for path in all.chain(extra.iter().cloned()).filter(|path| path.exists()) {
            // A program in PATH is often a link to where it really is.
            let real = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
            for path in [path, real] {
                if !read.contains(&path) && path != Path::new("/") {
                    read.push(path);
                }
            }
        }
        let below = |path: &Path| read.iter().any(|above| path.starts_with(above));
        let owners = [surroundings.home.clone()];
        let hidden = PRIVATE
            .iter()
            .map(PathBuf::from)
            .chain(keep_out.iter().cloned())
            // Where HOME lies inside a system directory, such as /opt/app.
            .chain(owners.into_iter().filter(|home| !read.contains(home)))
            .filter(|path| path.exists() && below(path))
            .collect();
        let stores = TOOLCHAINS
            .iter()
            .flat_map(|toolchain| {
                let directory = toolchain.place(surroundings);
                // One that is not there yet may be filled by the set-up.
                let there = directory.is_dir();
                let stores = toolchain.stores.iter().filter(move |_| there);
                stores.map(move |part| joined(&directory, part))
            })
            .map(|path| real(&path))
            .filter(|path| !below(path))
            .collect();
        Lists { read, hidden, stores }
    }

    /// The same without `hidden`, for walls that can allow and not hide: a directory that holds something
    /// hidden is replaced by what else is in it.
    pub fn spelled_out(&self) -> Vec<PathBuf> {
        let mut allowed = Vec::new();
        let mut open: Vec<PathBuf> = self.read.iter().chain(&self.stores).cloned().collect();
        while let Some(path) = open.pop() {
            if self.hidden.iter().any(|hidden| path.starts_with(hidden)) {
                continue;
            }
            if self.hidden.iter().any(|hidden| hidden.starts_with(&path)) {
                let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
                open.extend(entries.map(|entry| entry.path()));
            } else if !allowed.contains(&path) {
                allowed.push(path);
            }
        }
        allowed.sort();
        allowed
    }
}

impl Toolchain {
    fn place(&self, surroundings: &Surroundings) -> PathBuf {
        match surroundings.value(self.variable) {
            Some(set) => PathBuf::from(set),
            None => surroundings.home.join(self.directory),
        }
    }
}

/// Variables that lead toolchains to their own directories, where those exist.
pub fn toolchains(surroundings: &Surroundings) -> Vec<(&'static str, String)> {
    TOOLCHAINS
        .iter()
        .map(|toolchain| (toolchain.variable, toolchain.place(surroundings)))
        .filter(|(_, place)| place.is_dir())
        .map(|(variable, place)| (variable, place.display().to_string()))
        .collect()
}

fn joined(directory: &Path, part: &str) -> PathBuf {
    if part == "." { directory.to_owned() } else { directory.join(part) }
}

/// Cargo's settings name mirrors and linkers, which builds need; and sometimes a token, which nobody does.
fn cargo_settings(toolchain: &Toolchain, surroundings: &Surroundings) -> Vec<PathBuf> {
    if toolchain.variable != "CARGO_HOME" {
        return Vec::new();
    }
    let place = toolchain.place(surroundings);
    let harmless = |path: &PathBuf| {
        std::fs::read_to_string(path).is_ok_and(|text| !text.to_lowercase().contains("token"))
    };
    ["config.toml", "config"].map(|name| place.join(name)).into_iter().filter(harmless).collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write files")]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;

    fn scene() -> (tempfile::TempDir, Surroundings) {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home");
        for directory in [".cargo/bin", ".cargo/registry", ".rustup/toolchains", "bin", ".ssh"] {
            fs::create_dir_all(home.join(directory)).unwrap();
        }
        fs::write(home.join(".cargo/credentials.toml"), "[registry]\ntoken = 'x'\n").unwrap();
        fs::write(home.join(".cargo/config.toml"), "[build]\njobs = 1\n").unwrap();
        let path = format!("/usr/bin:{}:relative", home.join("bin").display());
        let environment = BTreeMap::from([
            ("HOME".to_owned(), home.display().to_string()),
            ("PATH".to_owned(), path),
        ]);
        (root, Surroundings::new(environment, "/x".into()).unwrap())
    }

    #[test]
    fn of_home_only_programs_and_toolchains_are_seen() {
        let (_root, surroundings) = scene();
        let lists = Lists::of(&surroundings, &[], &[]);
        let below_home: Vec<&str> = lists
            .read
            .iter()
            .chain(&lists.stores)
            .filter_map(|path| path.strip_prefix(&surroundings.home).ok()?.to_str())
            .collect();
        let expected = [
            "bin",
            ".rustup/toolchains",
            ".cargo/bin",
            ".cargo/config.toml",
            ".cargo/registry",
            // Not there yet: the set-up may fill it.
            ".cargo/git",
        ];
        assert_eq!(below_home, expected);
        assert!(lists.read.contains(&"/usr".into()));
    }

    #[test]
    fn settings_with_a_token_are_not_seen() {
        let (_root, surroundings) = scene();
        let settings = surroundings.home.join(".cargo/config.toml");
        fs::write(&settings, "[registries.mine]\ntoken = 'x'\n").unwrap();
        assert!(!Lists::of(&surroundings, &[], &[]).read.contains(&settings));
    }

    #[test]
    fn what_must_not_be_seen_is_hidden_where_it_would_be() {
        let (root, surroundings) = scene();
        let tools = root.path().join("tools");
        fs::create_dir_all(tools.join("repo/.git")).unwrap();
        fs::create_dir_all(tools.join("bin")).unwrap();
        let repo = tools.join("repo");
        let lists =
            Lists::of(&surroundings, std::slice::from_ref(&tools), std::slice::from_ref(&repo));
        assert!(lists.hidden.contains(&repo));
        let spelled = lists.spelled_out();
        assert!(spelled.contains(&tools.join("bin")));
        assert!(!spelled.iter().any(|path| repo.starts_with(path)), "{spelled:?}");
        assert!(!Lists::of(&surroundings, &[], std::slice::from_ref(&repo)).hidden.contains(&repo));
    }
}
