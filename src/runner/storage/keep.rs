//! Records of old nights: which of them nobody needs any more, and their end.
//!
//! A night goes in an order in which it can be cut off anywhere: its refs first, then its directory in one step, and
//! last, for all nights, the objects that nothing names. A branch on the remote is never touched, nor one that a person
//! made with `rescue`. What cannot be looked at stays, and is named.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;

use crate::{
    config::Keep,
    files,
    git::{
        self, landing,
        prune::{self, Pruned},
    },
    ids::{BRANCH_NAMESPACE, CommitId, NightId, REF_NAMESPACE, TaskId},
    journal::Lock,
    night::{Night, Publication},
    plan::{self, SectionWords},
    runner::{
        decide,
        home::Home,
        places::Surroundings,
        revert,
        storage::collect::{Collected, What, weigh},
    },
};

const DAY: i64 = 24 * 60 * 60;
/// Seconds that a night stays after its last fact, whatever is said of nights: who looks on Monday finds the weekend.
const RECENT: i64 = 7 * DAY;
/// Seconds that an object of the vault stays though nothing names it: workspaces may stand on its tree so long.
const OBJECT: u64 = 14 * DAY.unsigned_abs();
/// What a directory of a night is called from the moment on when it goes.
const GOING: &str = ".gone-";
/// What of a night's directory are transcripts and logs, and the report that can be made again.
const LOGS: [&str; 4] = ["attempts", "gate", "log.jsonl", "report.html"];

/// What is to become of the nights that are old enough.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Their records go.
    pub go: Vec<NightId>,
    /// Their transcripts and logs go.
    pub logs: Vec<NightId>,
    /// They are old enough, and stay: why.
    pub stay: Vec<(NightId, String)>,
    /// Their journals cannot be read: what is wrong. Nobody but a person removes these.
    pub damaged: Vec<(NightId, String)>,
    /// Bases and forges that were looked at and could not be seen.
    pub notes: Vec<String>,
}

/// Says what is to become of each night. Looks at the remote and the forge only for nights that are old enough. Removes
/// nothing.
pub fn plan(surroundings: &Surroundings, home: &Home, keep: Keep, now: Timestamp) -> Plan {
    let mut found = Plan::default();
    let mut newest: Vec<NightId> = home.places.all_nights();
    newest.reverse();
    let look = Look { surroundings, home };
    // Tasks that a newer night tried: what an older one made of them is past.
    let mut tried = BTreeSet::new();
    for (back, id) in newest.into_iter().enumerate() {
        let night = match revert::whole(home, &id) {
            Ok(Some(night)) => night,
            // Begun and cut off before its first fact: nothing is known by it.
            Ok(None) => continue,
            Err(problem) => {
                found.damaged.push((id, problem.message));
                continue;
            }
        };
        let age = now.as_second().saturating_sub(night.last_fact().as_second());
        let whole_goes = back >= usize::try_from(keep.nights).unwrap_or(usize::MAX) && age > RECENT;
        let places = home.places.night(&id);
        let has_logs = LOGS.iter().any(|name| places.directory().join(name).exists());
        let logs_go = has_logs && age > i64::from(keep.log_days).saturating_mul(DAY);
        if whole_goes || logs_go {
            match look.needed(&night, &tried, &mut found.notes) {
                Some(why) => found.stay.push((id, why)),
                None if whole_goes => found.go.push(id),
                None => found.logs.push(id),
            }
        }
        let begun = night.tasks().filter(|(_, task)| !task.attempts.is_empty());
        tried.extend(begun.map(|(id, _)| id.clone()));
    }
    found
}

/// What is asked while nights are looked at.
struct Look<'a> {
    surroundings: &'a Surroundings,
    home: &'a Home,
}

impl Look<'_> {
    /// Why a night must stay; `None` when nobody needs it.
    fn needed(
        &self,
        night: &Night,
        tried: &BTreeSet<TaskId>,
        notes: &mut Vec<String>,
    ) -> Option<String> {
        let opening = night.opening();
        if night.ended().is_none() || night.only_lands() || night.is_rebuilding() {
            return Some("it was cut off, and can be gone on with".to_owned());
        }
        if let Some((id, _)) = night.tasks().find(|(_, task)| task.held().is_some()) {
            return Some(format!("its result of {id} waits for your decision"));
        }
        if night.approved().next().is_some() {
            return Some("what was approved in it has not landed".to_owned());
        }
        if matches!(night.publication(), Publication::Failed { .. }) {
            return Some("its branch did not get out".to_owned());
        }
        let waits = night.tasks().find(|(id, task)| {
            (task.failed().is_some() || task.parked().is_some())
                && !tried.contains(*id)
                && self.is_planned(night, id)
        });
        if let Some((id, _)) = waits {
            return Some(format!("{id} failed in it, stands in the plan, and was not tried again"));
        }
        if *night.tip() == opening.base.commit {
            return None;
        }
        let outside = decide::outside(self.surroundings, self.home, night);
        if outside.over.is_some() {
            return None;
        }
        notes.extend(outside.notes.into_iter().filter(|note| note.starts_with("could not")));
        Some(match night.publication() {
            Publication::Done { url, number: Some(_), .. } => format!("{url} is open"),
            Publication::Done { .. } | Publication::Open | Publication::Failed { .. } => {
                format!("{} is not merged", opening.night.branch())
            }
        })
    }

    /// True when a plan that is in use has a task of this name, or when none can be read.
    fn is_planned(&self, night: &Night, id: &TaskId) -> bool {
        let path = &night.opening().plan.path;
        let here = self.home.user.work_tree().and_then(|root| {
            std::fs::read(root.join(String::from_utf8_lossy(path.as_bytes()).as_ref())).ok()
        });
        let bytes = here.or_else(|| {
            let head = self.home.user.head().ok()??;
            let tree = self.home.vault.tree_of(&head).ok()?;
            self.home.vault.read_file(&tree, path).ok()?
        });
        let Some(bytes) = bytes else { return true };
        let (source, _) = plan::decode(&bytes);
        let (plan, _) = plan::parse(&source, &SectionWords::default());
        plan.tasks.iter().any(|task| task.id == *id)
    }
}

/// Removes what a plan names, and then the objects of the vault that nothing names.
pub fn carry_out(_lock: &Lock, home: &Home, plan: &Plan, now: Timestamp) -> Collected {
    let mut collected = Collected::default();
    for left in going(home) {
        collected.remove(What::Night, &left);
    }
    for id in &plan.logs {
        for name in LOGS {
            let path = home.places.night(id).directory().join(name);
            if path.exists() {
                collected.remove(What::Log, &path);
            }
        }
    }
    for id in &plan.go {
        match remove(home, id, &mut collected) {
            Ok(()) => {}
            Err(problem) => {
                tracing::warn!(%problem, night = %id, "could not remove an old night");
                collected.failed += 1;
            }
        }
    }
    match objects(home, &BTreeSet::new(), now, false) {
        Ok(Pruned { objects: 0, .. }) => {}
        Ok(Pruned { objects, bytes }) => collected.add(What::Object, objects, bytes),
        Err(problem) => {
            tracing::warn!(%problem, "could not look through the vault");
            collected.failed += 1;
        }
    }
    collected
}

/// What carrying a plan out would remove. Of the vault's packs nothing is known before they are written anew.
pub fn forecast(home: &Home, plan: &Plan, now: Timestamp) -> Result<Collected, git::Error> {
    let mut collected = Collected::default();
    for id in &plan.logs {
        let logs = LOGS.map(|name| home.places.night(id).directory().join(name));
        for path in logs.iter().filter(|path| path.exists()) {
            collected.add(What::Log, 1, weigh(path));
        }
    }
    let mut without = BTreeSet::new();
    for id in &plan.go {
        collected.add(What::Night, 1, weigh(home.places.night(id).directory()));
        let own = refs(id, |space| home.vault.refs(space))?;
        let theirs = refs(id, |space| home.user.our_refs(space))?;
        let count = own.len() + theirs.len();
        collected.add(What::Ref, u64::try_from(count).unwrap_or(u64::MAX), 0);
        without.extend(own.into_iter().map(|(name, _)| name));
    }
    let Pruned { objects, bytes } = objects(home, &without, now, true)?;
    if objects > 0 {
        collected.add(What::Object, objects, bytes);
    }
    Ok(collected)
}

/// One night: refs in the person's repository, refs in the vault, then its directory.
fn remove(home: &Home, id: &NightId, collected: &mut Collected) -> Result<(), git::Error> {
    let branch = id.branch_ref();
    let tip = home.vault.resolve(&branch)?;
    let former: Vec<CommitId> =
        home.vault.refs(&former(id))?.into_iter().map(|(_, at)| at).collect();
    for (name, at) in refs(id, |space| home.user.our_refs(space))? {
        // A branch that the person built on, or has checked out, is theirs by now.
        if name == branch {
            let ours = match &tip {
                Some(tip) => landing::is_ours(&home.vault, &home.user, id, tip, &former)?,
                None => false,
            };
            if !ours || home.user.is_checked_out(&name) {
                continue;
            }
        }
        home.user.remove_ref(&name, &at)?;
        collected.add(What::Ref, 1, 0);
    }
    for (name, at) in refs(id, |space| home.vault.refs(space))? {
        home.vault.remove_ref(&name, &at)?;
        collected.add(What::Ref, 1, 0);
    }
    let directory = home.places.night(id).directory().to_owned();
    let going = home.places.nights().join(format!("{GOING}{id}"));
    files::rename(&directory, &going)?;
    collected.remove(What::Night, &going);
    Ok(())
}

/// Directories whose nights were on their way out when a process was cut off.
fn going(home: &Home) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home.places.nights()).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.strip_prefix(GOING).is_some_and(|night| NightId::new(night).is_ok())
        })
        .map(|entry| entry.path())
        .collect()
}

fn former(id: &NightId) -> String {
    format!("{REF_NAMESPACE}former/{id}/")
}

/// The refs of a night, wherever `list` looks.
fn refs(
    id: &NightId,
    list: impl Fn(&str) -> Result<Vec<(String, CommitId)>, git::Error>,
) -> Result<Vec<(String, CommitId)>, git::Error> {
    let mut found = Vec::new();
    for (space, name) in [
        (BRANCH_NAMESPACE.to_owned(), id.branch_ref()),
        (format!("{REF_NAMESPACE}keep/"), id.keep_ref()),
        (format!("{REF_NAMESPACE}receipts/"), id.receipts_ref()),
    ] {
        found.extend(list(&space)?.into_iter().filter(|(at, _)| *at == name));
    }
    found.extend(list(&format!("{REF_NAMESPACE}attempts/{id}/"))?);
    found.extend(list(&former(id))?);
    Ok(found)
}

/// Removes objects that no ref names, and no record of a night that is here: what a journal names it may need, also
/// where no ref says so, and also where the journal is damaged.
fn objects(
    home: &Home,
    without: &BTreeSet<String>,
    now: Timestamp,
    dry_run: bool,
) -> Result<Pruned, git::Error> {
    let mut roots = BTreeSet::new();
    let goes = |id: &NightId| without.contains(&id.branch_ref());
    for id in home.places.all_nights().iter().filter(|id| !goes(id)) {
        let path = home.places.night(id).journal();
        // Without this journal nobody knows what it names.
        let text = std::fs::read(&path).map_err(files::error("read", &path))?;
        names(&text, &mut roots);
    }
    let now = SystemTime::from(now);
    let older_than = now.checked_sub(Duration::from_secs(OBJECT)).unwrap_or(SystemTime::UNIX_EPOCH);
    prune::prune(&home.vault, &prune::Rules { without, roots: &roots, older_than, dry_run })
}

/// Everything in a text that has the form of an object's name.
fn names(text: &[u8], found: &mut BTreeSet<String>) {
    for word in text.split(|byte| !byte.is_ascii_hexdigit()).filter(|word| word.len() == 40) {
        found.insert(String::from_utf8_lossy(word).into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects_are_found_in_any_text() {
        let (one, two) = ("a".repeat(40), "0123456789".repeat(4));
        let text = format!("{{\"commit\":\"{one}\",\"x\":\"{}\"}} {two}\n", "b".repeat(64));
        let mut found = BTreeSet::new();
        names(text.as_bytes(), &mut found);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [two, one]);
    }
}
