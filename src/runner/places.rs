//! Where things are on this machine: state, cache and configuration, and one repository's part of them.
//!
//! Only names paths; reads nothing but directory listings of ours.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use crate::{
    files,
    ids::{AttemptId, BlobId, GateId, NAME, NightId, TreeId, hex},
    journal,
};

/// What the process was started with. Read once, in `cli`.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// Our own binary, for supervisors and the demo's agent.
    pub exe: PathBuf,
    /// The user's home.
    pub home: PathBuf,
    /// `$XDG_STATE_HOME/nightshift`.
    pub state: PathBuf,
    /// `$XDG_CACHE_HOME/nightshift`.
    pub cache: PathBuf,
    /// `$XDG_CONFIG_HOME/nightshift`.
    pub config: PathBuf,
    /// The account that runs us, for the journal.
    pub account: String,
}

impl Surroundings {
    /// From the environment. `Err` says what is missing.
    pub fn new(
        environment: BTreeMap<String, String>,
        exe: PathBuf,
    ) -> Result<Surroundings, &'static str> {
        let value = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        let home = value("HOME").map(PathBuf::from).ok_or("HOME is not set")?;
        // A relative XDG path is to be ignored, says the specification.
        let place = |name: &str, default: &str| {
            value(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
                .unwrap_or_else(|| home.join(default))
                .join(NAME)
        };
        Ok(Surroundings {
            state: place("XDG_STATE_HOME", ".local/state"),
            cache: place("XDG_CACHE_HOME", ".cache"),
            config: place("XDG_CONFIG_HOME", ".config"),
            account: value("USER")
                .or(value("LOGNAME"))
                .cloned()
                .unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw())),
            exe,
            home,
            environment,
        })
    }

    /// The directory of the places that agents of all nights of this account share.
    pub fn agent_slots(&self) -> PathBuf {
        self.state.join("agents")
    }

    /// One variable; empty counts as unset.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The user's own file.
    pub fn user_file(&self) -> PathBuf {
        self.config.join(format!("{NAME}.yml"))
    }

    /// The same as people write it: `~/` for the home directory.
    pub fn user_file_shown(&self) -> String {
        let file = self.user_file();
        match file.strip_prefix(&self.home) {
            Ok(below) => format!("~/{}", below.display()),
            Err(_) => file.display().to_string(),
        }
    }
}

/// One repository's directories of ours.
#[derive(Clone, Debug)]
pub struct Places {
    state: PathBuf,
    cache: PathBuf,
}

impl Places {
    /// The directories for the repository whose refs and objects are in `common_dir`.
    pub fn of(surroundings: &Surroundings, common_dir: &Path) -> Places {
        let common = std::fs::canonicalize(common_dir).unwrap_or_else(|_| common_dir.to_owned());
        let hash = hex(&Sha256::digest(common.as_os_str().as_encoded_bytes()));
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        // Of the repository, not of the worktree: all its worktrees share one lock and one state.
        let named = match common.file_name() {
            Some(name) if name == ".git" => common.parent().unwrap_or(&common),
            Some(_) | None => &common,
        };
        let name: String = named
            .file_name()
            .map_or("repository".into(), |name| name.to_string_lossy())
            .chars()
            .take(40)
            .map(safe)
            .collect();
        let name = format!("{}-{}", name.trim_start_matches('.'), &hash[..8]);
        Places {
            state: real(&surroundings.state).join("repos").join(&name),
            cache: real(&surroundings.cache).join("repos").join(&name),
        }
    }

    /// Those of every repository that a night or a look of ours was ever at on this machine, by name.
    pub fn all(surroundings: &Surroundings) -> Vec<Places> {
        let (state, cache) = (real(&surroundings.state), real(&surroundings.cache));
        let Ok(entries) = std::fs::read_dir(state.join("repos")) else { return Vec::new() };
        let mut names: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.path().join("nights").is_dir())
            .map(|entry| entry.file_name())
            .collect();
        names.sort();
        let of = |name| Places {
            state: state.join("repos").join(&name),
            cache: cache.join("repos").join(&name),
        };
        names.into_iter().map(of).collect()
    }

    /// The repository's name among our directories.
    pub fn name(&self) -> String {
        self.state.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The same repository's directories for running gates again: the same caches, and none of the receipts
    /// and nights.
    pub fn apart(&self) -> Places {
        Places { state: self.state.join("verify"), cache: self.cache.clone() }
    }

    /// Makes the directories.
    pub fn prepare(&self) -> Result<(), files::Error> {
        files::create_private_dir(&self.state)?;
        files::create_private_dir(&self.nights())?;
        files::create_private_dir(&self.work())
    }

    /// Everything of this repository that must not be lost.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Our bare repository.
    pub fn vault(&self) -> PathBuf {
        self.state.join("vault.git")
    }

    /// The lock that a running night holds.
    pub fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// The file by which `stop` speaks to a night.
    pub fn stop(&self) -> PathBuf {
        self.state.join("stop.json")
    }

    /// One line for every start, also for those that ran nothing.
    pub fn slots(&self) -> PathBuf {
        self.state.join("slots.jsonl")
    }

    /// One line for each task that a person wants tried again.
    pub fn again(&self) -> PathBuf {
        self.state.join("again.jsonl")
    }

    /// Our open pull requests, as they were last seen.
    pub fn pulls(&self) -> PathBuf {
        self.state.join("pulls.json")
    }

    /// The directory of all nights.
    pub fn nights(&self) -> PathBuf {
        self.state.join("nights")
    }

    /// The directory of one night.
    pub fn night(&self, night: &NightId) -> NightPlaces {
        NightPlaces { directory: self.nights().join(night.as_str()) }
    }

    /// Nights with a journal, oldest first.
    pub fn all_nights(&self) -> Vec<NightId> {
        let Ok(entries) = std::fs::read_dir(self.nights()) else { return Vec::new() };
        let mut nights: Vec<NightId> = entries
            .flatten()
            .filter(|entry| entry.path().join(journal::FILE).is_file())
            .filter_map(|entry| NightId::new(entry.file_name().to_string_lossy()).ok())
            .collect();
        nights.sort_by_key(NightId::order);
        nights
    }

    /// The receipt of a gate at a tree.
    pub fn receipt(&self, gate: &GateId, tree: &TreeId) -> PathBuf {
        self.state.join("receipts").join(gate.as_str()).join(format!("{tree}.json"))
    }

    /// The record that a gate was seen to fail, on what we broke or on a patch of the person's.
    pub fn gate_proof(&self, gate: &GateId, patch: Option<&BlobId>) -> PathBuf {
        let patch = patch.map_or(String::new(), |blob| format!("-{blob}"));
        self.state.join("proofs").join(format!("{gate}{patch}.json"))
    }

    /// Where workspaces are laid out. They stay, for the next use.
    pub fn work(&self) -> PathBuf {
        self.cache.join("work")
    }

    /// What is known of the newest cache that the base's own gate left.
    pub fn last_cache(&self) -> PathBuf {
        self.cache.join("cache.json")
    }

    /// What set-ups of this repository added to package stores.
    pub fn stores(&self) -> PathBuf {
        self.cache.join("stores")
    }

    /// Room that a running night holds back, to be able to write down its end.
    pub fn reserve(&self) -> PathBuf {
        self.state.join("reserve")
    }

    /// Packs of history that agents may look at.
    pub fn history(&self) -> PathBuf {
        self.cache.join("history")
    }
}

/// The path without links, as far as it is there: walls let nobody write through one.
pub fn real(path: &Path) -> PathBuf {
    match (std::fs::canonicalize(path), path.parent(), path.file_name()) {
        (Ok(real), ..) => real,
        (Err(_), Some(parent), Some(name)) => real(parent).join(name),
        (Err(_), ..) => path.to_owned(),
    }
}

/// One night's directory.
#[derive(Clone, Debug)]
pub struct NightPlaces {
    directory: PathBuf,
}

impl NightPlaces {
    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The journal.
    pub fn journal(&self) -> PathBuf {
        self.directory.join(journal::FILE)
    }

    /// What an attempt left besides its commit: prompt, transcript.
    pub fn attempt(&self, attempt: &AttemptId) -> PathBuf {
        self.directory.join("attempts").join(attempt.file_name())
    }

    /// The directory of gate logs, relative to the night's: an attempt's, or the base's.
    pub fn gate_name(attempt: Option<&AttemptId>) -> String {
        format!("gate/{}", attempt.map_or("base".to_owned(), AttemptId::file_name))
    }

    /// The directory of the logs of trees that were broken on purpose, relative to the night's; one for each below.
    pub fn canary_name() -> &'static str {
        "gate/canary"
    }

    /// The pull request's text.
    pub fn pull_request(&self) -> PathBuf {
        self.directory.join("pull_request.md")
    }

    /// The HTML report.
    pub fn html(&self) -> PathBuf {
        self.directory.join("report.html")
    }

    /// The program's own log.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log.jsonl")
    }
}
