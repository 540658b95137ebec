//! Removes what nights left behind and nobody will ask for again, and says how much it was.
//!
//! Journals, transcripts, gate logs and pull requests' texts are [`super::keep`]'s. Only the holder of the
//! repository's lock may call it, and it touches nothing of another repository's. What a program left is never
//! followed. Never decides which night goes on.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    files, git,
    ids::{CommitId, NightId},
    journal::{self, Lock},
    night::Event,
    runner::{
        places::Places,
        storage::{Space, in_words},
    },
    workspace::{self, Store},
};

const DAY: i64 = 24 * 60 * 60;
/// Seconds that a store of history is kept after its last use: a holiday of two weeks finds it warm.
const HISTORY: i64 = 14 * DAY;
/// Seconds after which a night that was cut off is taken for one that nobody goes on with.
const CUT_OFF: i64 = 14 * DAY;
/// Seconds that a gate's receipt is kept.
const RECEIPT: i64 = 90 * DAY;
/// Seconds that a workspace or a cache is kept after its last use.
const WORKSPACE: u64 = 14 * DAY.unsigned_abs();
/// Seconds after which a directory that a killed process could not remove is a left-over.
const LEFT_OVER: i64 = DAY;
/// What agents have for themselves in the directory of an attempt.
const PRIVATE: [&str; 4] = ["home", "claude", "t", "stores"];

/// What was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Packs of history that agents looked at.
    History,
    /// Private directories and raw output of agents whose nights are over.
    Agent,
    /// Receipts of gates.
    Receipt,
    /// What killed processes could not remove.
    LeftOver,
    /// Old workspaces, layers and caches.
    Workspace,
    /// Records of nights, with their journals.
    Night,
    /// Transcripts, prompts and gate logs of nights whose journals stay.
    Log,
    /// Refs of ours, in the vault and in the person's repository.
    Ref,
    /// Objects of the vault.
    Object,
}

impl What {
    /// In words, for more than one.
    pub fn name(self) -> &'static str {
        match self {
            What::History => "histories",
            What::Agent => "private directories of agents",
            What::Receipt => "receipts",
            What::LeftOver => "left-overs",
            What::Workspace => "workspaces and caches",
            What::Night => "records of nights",
            What::Log => "directories of transcripts and gate logs",
            What::Ref => "refs of ours",
            What::Object => "objects of the vault",
        }
    }
}

/// How much was removed of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Things, each with all that was in it.
    pub things: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// What one collection removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// By kind.
    pub by: BTreeMap<What, Removed>,
    /// Things that could not be removed. The log says why.
    pub failed: u64,
}

impl Collected {
    /// Counts what was removed elsewhere.
    pub fn add(&mut self, what: What, things: u64, bytes: u64) {
        let removed = self.by.entry(what).or_default();
        removed.things += things;
        removed.bytes += bytes;
    }

    /// Bytes of all that was removed.
    pub fn bytes(&self) -> u64 {
        self.by.values().map(|removed| removed.bytes).sum()
    }

    /// True when there was nothing to do.
    pub fn is_empty(&self) -> bool {
        self.by.is_empty() && self.failed == 0
    }

    /// Removes a path with all below it, and counts it.
    pub(super) fn remove(&mut self, what: What, path: &Path) {
        let bytes = weigh(path);
        match files::remove_any(path) {
            Ok(()) => self.add(what, 1, bytes),
            Err(problem) => {
                tracing::warn!(%problem, "could not remove what a night left");
                self.failed += 1;
            }
        }
    }
}

/// One line for the night's log.
impl fmt::Display for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.by.iter().map(|(what, removed)| {
            format!("{} {} ({})", removed.things, what.name(), in_words(removed.bytes))
        });
        let kinds: Vec<String> = kinds.collect();
        let kinds = if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(", ") };
        write!(f, "removed of earlier nights: {kinds}")?;
        if self.failed > 0 {
            write!(f, "; {} could not be removed", self.failed)?;
        }
        Ok(())
    }
}

/// What somebody will ask for again.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    /// The night that begins, and the one that may be gone on with.
    pub nights: BTreeSet<NightId>,
    /// Commits that their agents work on.
    pub commits: BTreeSet<CommitId>,
    /// Workspaces and caches, beside those that are claimed.
    pub workspaces: workspace::InUse,
}

/// Removes what is old and in nobody's use. `temporary` is where directories with short names are made:
/// `/tmp`. What cannot be removed is counted and stays.
pub fn collect(
    _lock: &Lock,
    places: &Places,
    store: &Store,
    temporary: &Path,
    in_use: &InUse,
    now: Timestamp,
) -> Collected {
    let mut collected = Collected::default();
    if let Err(problem) = workspaces(&mut collected, places, store, in_use, now) {
        tracing::warn!(%problem, "could not remove an old workspace");
        collected.failed += 1;
    }
    for store in old_histories(&places.history(), in_use, now) {
        // Without its mark it is no whole store, should the rest not go.
        if let Err(problem) = files::remove_file(&store.join(MARK)) {
            tracing::warn!(%problem, "could not remove an old history");
            collected.failed += 1;
            break; // what it stands on must stay
        }
        collected.remove(What::History, &store);
    }
    for path in private_directories(places, in_use, now) {
        collected.remove(What::Agent, &path);
    }
    for gate in entries(&places.state().join("receipts")) {
        for receipt in entries(&gate).filter(|path| is_older(path, RECEIPT, now)) {
            collected.remove(What::Receipt, &receipt);
        }
        if is_directory(&gate) && entries(&gate).next().is_none() {
            // Holds nothing; the next receipt makes it again.
            let _ = files::remove_tree(&gate);
        }
    }
    let ours = left_overs(&places.work(), &["trial-", "gate-", "run-"], now)
        .chain(left_overs(places.state(), &[".vault-"], now))
        .chain(short_names(temporary, now));
    for path in ours {
        collected.remove(What::LeftOver, &path);
    }
    collected
}

/// Workspaces and caches that nobody used for long, or that take more than half of what their disk could have
/// free: they make nights faster, and must not be what ends one.
fn workspaces(
    collected: &mut Collected,
    places: &Places,
    store: &Store,
    in_use: &InUse,
    now: Timestamp,
) -> Result<(), git::Error> {
    let free = Space::of(&places.work())?.free;
    let rules = workspace::Collect {
        older_than: Duration::from_secs(WORKSPACE),
        largest: free.saturating_add(store.size()?) / 2,
    };
    let gone = store.collect(&rules, &in_use.workspaces, SystemTime::from(now))?;
    if !gone.removed.is_empty() {
        let things = u64::try_from(gone.removed.len()).unwrap_or(u64::MAX);
        collected.add(What::Workspace, things, gone.bytes);
    }
    Ok(())
}

/// Says that the history of a commit is in use. Cheap; without it a store counts as used when it was made.
pub fn used_history(places: &Places, commit: &CommitId) -> Result<(), files::Error> {
    files::set_modified(&places.history().join(commit.as_str()).join(MARK), None)
}

/// The file that makes a store of history whole. Its time is that of the last use.
const MARK: &str = "store.json";

/// What a store of history says of itself.
#[derive(Deserialize)]
struct History {
    /// Those whose objects it needs, itself first.
    stores: Vec<String>,
}

/// Stores of history that nobody needs, in an order in which each goes before those that it needs.
fn old_histories(shared: &Path, in_use: &InUse, now: Timestamp) -> Vec<PathBuf> {
    let mut whole: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut kept: BTreeSet<String> = BTreeSet::new();
    let mut half = Vec::new();
    for path in entries(shared).filter(|path| is_directory(path)) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let mark = path.join(MARK);
        let text = fs::read(&mark).ok();
        let history = text.and_then(|text| serde_json::from_slice::<History>(&text).ok());
        match history {
            Some(History { stores }) => {
                let commit = CommitId::new(name).ok();
                let used = commit.is_some_and(|commit| in_use.commits.contains(&commit));
                if used || !is_older(&mark, HISTORY, now) {
                    kept.extend(stores.iter().cloned());
                    kept.insert(name.to_owned());
                }
                whole.insert(name.to_owned(), stores);
            }
            // Cut off while it was made, or half removed.
            None if is_older(&path, LEFT_OVER, now) => half.push(path),
            None => {}
        }
    }
    let mut unneeded: Vec<(&String, &Vec<String>)> =
        whole.iter().filter(|(name, _)| !kept.contains(*name)).collect();
    // Who needs another has the longer list.
    unneeded.sort_by_key(|(name, stores)| (std::cmp::Reverse(stores.len()), *name));
    // A store without its mark may still hold what a kept one needs.
    half.retain(|path| !kept.contains(&*name(path)));
    unneeded.into_iter().map(|(name, _)| shared.join(name)).chain(half).collect()
}

/// What agents of finished nights had for themselves, and their raw output, which is not masked.
fn private_directories(places: &Places, in_use: &InUse, now: Timestamp) -> Vec<PathBuf> {
    let last = places.all_nights().pop();
    let mut found = Vec::new();
    for directory in entries(&places.nights()).filter(|path| is_directory(path)) {
        let Some(night) = directory.file_name().and_then(|name| NightId::new(name.to_str()?).ok())
        else {
            continue;
        };
        // The last one may be gone on with, however it ended.
        if in_use.nights.contains(&night) || last.as_ref() == Some(&night) {
            continue;
        }
        let attempts = entries(&directory.join("attempts")).filter(|path| is_directory(path));
        let private: Vec<PathBuf> = attempts
            .flat_map(|attempt| {
                let reviews = entries(&attempt).filter(|path| name(path).starts_with("review-"));
                reviews.chain([attempt]).collect::<Vec<PathBuf>>()
            })
            .flat_map(|place| entries(&place))
            .filter(|path| is_private(&name(path)))
            .collect();
        if !private.is_empty() && is_over(&places.night(&night).journal(), now) {
            found.extend(private);
        }
    }
    found
}

/// The name of an entry, for comparisons with names of ours.
fn name(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

fn is_private(name: &str) -> bool {
    let number = |name: &str| {
        let (number, ending) = name.strip_prefix("stream-")?.split_once('.')?;
        let known = ["jsonl", "errors", "from"].contains(&ending);
        Some(known && number.parse::<u32>().is_ok())
    };
    PRIVATE.contains(&name) || number(name) == Some(true)
}

/// True for a night that came to its end, or that nobody went on with.
fn is_over(path: &Path, now: Timestamp) -> bool {
    let last = journal::read(path).ok().and_then(|mut reading| reading.entries.pop());
    last.is_some_and(|entry| matches!(entry.event, Event::Ended { .. }))
        || !path.exists()
        || is_older(path, CUT_OFF, now)
}

fn left_overs<'p>(
    directory: &Path,
    prefixes: &'p [&str],
    now: Timestamp,
) -> impl Iterator<Item = PathBuf> + 'p {
    entries(directory).filter(move |path| {
        let name = name(path);
        prefixes.iter().any(|prefix| name.starts_with(prefix)) && is_older(path, LEFT_OVER, now)
    })
}

/// Directories with short names that killed processes of ours left: `ns` and six letters, of this account, open
/// to nobody else. Other programs choose such names too, so only those go that hold what ours hold: nothing,
/// or sockets. What lies in them has to be old as well, for another repository's night may use them.
fn short_names(temporary: &Path, now: Timestamp) -> impl Iterator<Item = PathBuf> {
    let account = rustix::process::getuid().as_raw();
    entries(temporary).filter(move |path| {
        let name = name(path);
        let random = name.strip_prefix("ns").is_some_and(|rest| {
            rest.len() == 6 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        random
            && fs::symlink_metadata(path).is_ok_and(|found| {
                found.is_dir() && found.uid() == account && found.mode() & 0o7777 == 0o700
            })
            && is_older(path, LEFT_OVER, now)
            && holds_what_ours_hold(path, now)
    })
}

fn holds_what_ours_hold(path: &Path, now: Timestamp) -> bool {
    let mut known = true;
    let mut recent = false;
    for entry in entries(path) {
        // A trial's, and Claude Code's.
        let name = name(&entry);
        known &= name == "socket" || name == "cc-socks" || name.starts_with("claude-");
        recent |= !is_older(&entry, LEFT_OVER, now);
        recent |= entries(&entry).any(|below| !is_older(&below, LEFT_OVER, now));
    }
    known && !recent
}

/// What is in a directory; nothing when it is none.
fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    // A listing of a link would be one of where it leads.
    let listed = is_directory(directory).then(|| fs::read_dir(directory).ok()).flatten();
    listed.into_iter().flatten().flatten().map(|entry| entry.path())
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// True when what stands there was last written more than `seconds` ago. What cannot be looked at is not old.
fn is_older(path: &Path, seconds: i64, now: Timestamp) -> bool {
    let written = fs::symlink_metadata(path).map(|found: Metadata| found.mtime());
    written.is_ok_and(|written| now.as_second().saturating_sub(written) > seconds)
}

/// Bytes on disk of all that is below a path. Nothing is followed.
pub(super) fn weigh(path: &Path) -> u64 {
    let mut bytes = 0_u64;
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        // The system counts in units of 512, whatever the file system's own are.
        bytes = bytes.saturating_add(found.blocks().saturating_mul(512));
        if found.is_dir() {
            open.extend(entries(&path));
        }
    }
    bytes
}
