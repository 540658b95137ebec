//! The ledger on this machine: read when something starts, written and pushed when something ended.
//!
//! Whoever may push to the remote can write it, so it is believed in what holds work back and in nothing that lets
//! work pass: a base's gate always runs here, and every candidate's does. Its loss costs tries that were made before.
//! A retry in it frees one more try of a task that the plan has ready, and never brings words to an agent.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    git::{
        self, Vault, ledger as stored,
        network::{Network, PushOutcome, Rejection},
    },
    ids::{GateId, TaskId, TreeId},
    ledger::{Fact, LONGEST_REASON, Ledger, Outcome, origin},
    night::{Again, BaseGate, Canary, GateSpec, Night, Publication},
    outcome::{CanaryTry, Failure, GateProof},
    redact::Redactor,
    report::{self, text},
    runner::{
        earlier,
        hands::{Hands, blocking},
        home::{Home, redactor},
        open,
        places::{Places, Surroundings},
    },
};

/// Times that a push is tried while others write at the same moment.
const TRIES: u32 = 20;

/// What the vault knows: our own ledger, with what was last fetched. The words say what of it cannot be read.
pub fn here(vault: &Vault) -> (Ledger, Vec<String>) {
    let (mut all, mut problems) = (Ledger::default(), Vec::new());
    for name in [stored::name(), stored::fetched()] {
        match read(vault, &name) {
            Ok((ledger, damage, _)) => {
                all.merge(&ledger);
                problems.extend(damage);
            }
            Err(problem) => problems.push(problem),
        }
    }
    problems.dedup();
    (all, problems)
}

/// What all machines say, as it may be shown: nothing in it draws on a terminal or is long.
pub(super) fn said(vault: &Vault) -> Vec<Fact> {
    fn clean(value: &mut Value) {
        match value {
            Value::String(words) => *words = reason(words),
            Value::Array(values) => values.iter_mut().for_each(clean),
            Value::Object(fields) => fields.values_mut().for_each(clean),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let cleaned = |fact: Fact| {
        let mut value = serde_json::to_value(fact).ok()?;
        clean(&mut value);
        serde_json::from_value(value).ok()
    };
    here(vault).0.facts().filter_map(cleaned).collect()
}

type Reading = (Ledger, Vec<String>, Option<git::ledger::Found>);

/// The ledger at one ref. `Err`: it must not be written over.
fn read(vault: &Vault, name: &str) -> Result<Reading, String> {
    let found = stored::find(vault, name).map_err(|problem| problem.to_string())?;
    let Some(found) = found else { return Ok((Ledger::default(), Vec::new(), None)) };
    let told = |why: String| format!("the ledger ({}) is not read: {why}", stored::name());
    match &found.text {
        Ok(bytes) => {
            let (ledger, damage) = Ledger::read(bytes).map_err(told)?;
            Ok((ledger, damage.into_iter().map(told).collect(), Some(found)))
        }
        Err(why) => Ok((Ledger::default(), vec![told(why.clone())], Some(found))),
    }
}

/// Brings what other machines wrote. What does not work is a note.
pub fn fetch(surroundings: &Surroundings, home: &Home, notes: &mut Vec<String>) {
    let Some(remote) = &home.remote else { return };
    let network = home.network(surroundings);
    if let Err(problem) = bring(&home.vault, &network, &remote.fetch) {
        notes.push(format!("what other machines' nights settled could not be fetched: {problem}"));
    }
    notes.extend(here(&home.vault).1);
}

/// Fetches the remote's ledger, where it has one that is not here. True when it has one.
fn bring(vault: &Vault, network: &Network, url: &str) -> Result<bool, String> {
    let (name, fetched) = (stored::name(), stored::fetched());
    let listed = network.list(url, &name).map_err(|problem| problem.to_string())?;
    let Some((_, there)) = listed.into_iter().find(|(found, _)| *found == name) else {
        return Ok(false);
    };
    if vault.resolve(&fetched).map_err(|problem| problem.to_string())? != Some(there) {
        let refspec = format!("+{name}:{fetched}");
        network.fetch(url, &[&refspec]).map_err(|problem| problem.to_string())?;
    }
    Ok(true)
}

/// Adds facts to our own ledger, in the vault. Nothing leaves the machine.
pub fn keep(vault: &Vault, add: impl FnOnce(&mut Ledger)) -> Result<(), String> {
    let name = stored::name();
    let (mut ledger, _, found) = read(vault, &name)?;
    let before = ledger.clone();
    add(&mut ledger);
    if ledger == before {
        return Ok(());
    }
    let old = found.map(|found| found.commit);
    let wrap = |problem: git::Error| problem.to_string();
    let at = ledger.newest().unwrap_or(Timestamp::UNIX_EPOCH);
    let new = stored::store(vault, old.as_ref(), &ledger.write(), at).map_err(wrap)?;
    vault.move_ref(&name, old.as_ref(), &new).map_err(wrap)
}

/// Makes our ledger and the remote's the same, and both hold what either held: compare and swap, and once more from
/// the beginning when somebody else was first.
pub fn exchange(vault: &Vault, network: &Network, url: &str) -> Result<(), String> {
    let (name, fetched) = (stored::name(), stored::fetched());
    let wrap = |problem: git::Error| problem.to_string();
    let settle = |at: &crate::ids::CommitId| {
        for name in [&name, &fetched] {
            let old = vault.resolve(name).map_err(wrap)?;
            vault.move_ref(name, old.as_ref(), at).map_err(wrap)?;
        }
        Ok(())
    };
    let (ours, _, _) = read(vault, &name)?;
    for _ in 0..TRIES {
        let (theirs, there) = if bring(vault, network, url)? {
            let (theirs, _, found) = read(vault, &fetched)?;
            (theirs, found.map(|found| found.commit))
        } else {
            (Ledger::default(), None)
        };
        let mut all = theirs.clone();
        all.merge(&ours);
        if all == theirs {
            return there.as_ref().map_or(Ok(()), settle);
        }
        let at = all.newest().unwrap_or(Timestamp::UNIX_EPOCH);
        let new = stored::store(vault, there.as_ref(), &all.write(), at).map_err(wrap)?;
        match network.push(url, &new, &name, there.as_ref()).map_err(|p| p.to_string())? {
            PushOutcome::Pushed | PushOutcome::UpToDate => return settle(&new),
            PushOutcome::Rejected(Rejection::LeaseStale | Rejection::Other { .. }) => {}
            PushOutcome::Rejected(
                Rejection::Protected { message } | Rejection::Hook { message },
            ) => return Err(format!("the remote refused it: {message}")),
        }
    }
    Err(format!("others wrote it at the same moment, {TRIES} times"))
}

/// True when our ledger holds something that the remote was not seen to have.
pub fn waits(home: &Home) -> bool {
    let known = |name: String| read(&home.vault, &name).map(|(ledger, _, _)| ledger);
    match (known(stored::name()), known(stored::fetched())) {
        (Ok(ours), Ok(mut theirs)) if home.remote.is_some() => {
            let before = theirs.clone();
            theirs.merge(&ours);
            theirs != before
        }
        // It cannot be written over: what is known here stays here until a newer version tells it.
        (Ok(ours), Err(_)) if home.remote.is_some() => !ours.is_empty(),
        (Ok(_) | Err(_), _) => false,
    }
}

/// Writes down what this machine's nights came to, and tells the other machines where they wanted that.
pub fn tell(surroundings: &Surroundings, home: &Home) -> Result<(), String> {
    gather(&home.vault, &home.places, &redactor(surroundings, &[]))?;
    match open::remote(surroundings, home) {
        Some((network, url)) if waits(home) => exchange(&home.vault, &network, &url),
        Some(_) | None => Ok(()),
    }
}

/// Tells the other machines that these tasks are tried again, of those that they know of.
pub fn tell_again(surroundings: &Surroundings, home: &Home, all: &[Again]) -> Result<(), String> {
    let known: BTreeSet<TaskId> = said(&home.vault)
        .into_iter()
        .filter_map(|fact| if let Fact::Task { task, .. } = fact { Some(task) } else { None })
        .collect();
    keep(&home.vault, |ledger| {
        for again in all.iter().filter(|again| known.contains(&again.task)) {
            let (task, text, happened) = (again.task.clone(), again.text.clone(), again.at);
            ledger.put(&Fact::Retry { task, text, happened }, happened, |value| value);
        }
    })?;
    tell(surroundings, home)
}

impl Hands {
    /// As [`tell`], at a night's end. Nothing of it stops the night: what does not get out is told by the next one.
    pub(super) async fn tell_others(&self, push: bool) {
        let (vault, places, redactor) =
            (self.vault.clone(), self.places.clone(), self.redactor.clone());
        let remote = self.remote.clone().filter(|_| push);
        let told = blocking(move || {
            gather(&vault, &places, &redactor)?;
            remote.map_or(Ok(()), |(network, url)| exchange(&vault, &network, &url))
        })
        .await;
        if let Err(problem) = told {
            tracing::warn!(%problem, "the ledger did not get out");
        }
    }
}

fn gather(vault: &Vault, places: &Places, redactor: &Redactor) -> Result<(), String> {
    keep(vault, |ledger| add(ledger, earlier::nights(places), redactor))
}

/// Adds what these nights came to, as far as others may know of them.
fn add(ledger: &mut Ledger, nights: impl Iterator<Item = Night>, redactor: &Redactor) {
    let told = |night: &Night| {
        let publish = &night.opening().publish;
        publish.push && publish.remote.is_some()
    };
    for night in nights.filter(told) {
        for fact in facts(&night) {
            ledger.put(&fact, night.last_fact(), |value| redactor.redact_all(value));
        }
    }
}

/// True when one of the last nights came to something that our own ledger lacks: a disk refused it at that night's
/// end.
pub fn is_behind(surroundings: &Surroundings, home: &Home) -> bool {
    let Ok((ours, _, _)) = read(&home.vault, &stored::name()) else { return false };
    let mut all = ours.clone();
    add(&mut all, earlier::newest(&home.places, 3), &redactor(surroundings, &[]));
    all != ours
}

/// What other machines must know of a night.
fn facts(night: &Night) -> Vec<Fact> {
    let opening = night.opening();
    let (id, origin) = (&opening.night, origin(opening));
    let mut facts = Vec::new();
    for task in &opening.tasks {
        let Some(last) = night.task(task.id()).and_then(|state| state.last()) else { continue };
        let Some(outcome) = outcome(night, task.id()) else { continue };
        facts.push(Fact::Task {
            task: task.id().clone(),
            text: task.task().text_hash.clone(),
            night: id.clone(),
            origin: origin.clone(),
            happened: last.ended,
            outcome,
        });
    }
    let (gate, tree) = (opening.gate.id.clone(), opening.base.tree.clone());
    if let Some(report) = night.base_gate().report().filter(|report| !report.reused) {
        facts.push(Fact::Base {
            gate: gate.clone(),
            tree: tree.clone(),
            tier: report.tier.clone(),
            green: !matches!(night.base_gate(), BaseGate::Red(_)),
            happened: opening.at,
        });
    }
    let tier = night.base_gate().report().map(|report| report.tier.clone());
    if let (Some(tier), Some(proof), Canary::Auto) =
        (tier, night.gate_proof().filter(|proof| !proof.reused), &opening.gate.canary)
        && let Some(red) = proof.tries.iter().find(|tried| !tried.red_steps.is_empty())
    {
        facts.push(Fact::Canary {
            gate,
            tree,
            tier,
            what: reason(&red.what),
            broken: red.tree.clone(),
            red_steps: red.red_steps.clone(),
            happened: opening.at,
        });
    }
    if let Publication::Done { url, number: Some(number), .. } = night.publication() {
        facts.push(Fact::Pull {
            night: id.clone(),
            origin,
            url: url.clone(),
            number: *number,
            tip: night.tip().clone(),
            base: opening.base.branch.clone(),
            happened: night.last_fact(),
        });
    }
    facts
}

fn outcome(night: &Night, task: &TaskId) -> Option<Outcome> {
    let state = night.task(task)?;
    if let Some(candidate) = state.landed() {
        let (commit, place) = (candidate.commit.clone(), earlier::place(night));
        return Some(Outcome::Landed { commit, place });
    }
    if state.held().is_some() || state.is_approved() {
        return Some(Outcome::Held { why: reason(&state.last().map(report::why_held)?) });
    }
    if let Some(setback) = state.failed() {
        return Some(if let Failure::Rejected { reason: said, .. } = &setback.failure {
            Outcome::Rejected { why: reason(said) }
        } else {
            Outcome::Failed { why: reason(&report::why_of(state, setback)) }
        });
    }
    let (why, answer) = earlier::asked(state.parked()?);
    let answer = answer.iter().take(3).map(|line| reason(line)).collect();
    Some(Outcome::Asked { why: reason(&why), answer })
}

fn reason(words: &str) -> String {
    text::head(&text::inline_plain(words), LONGEST_REASON)
}

/// Another machine's word that this gate can fail, for exactly this base and these walls. It spares the trees that
/// are broken on purpose and nothing else; the base's gate has run here by then.
pub(super) fn proof(
    vault: &Vault,
    spec: &GateSpec,
    base: &TreeId,
    walls: &str,
) -> Option<GateProof> {
    if spec.canary != Canary::Auto {
        return None;
    }
    said(vault).into_iter().find_map(|fact| match fact {
        Fact::Canary { gate, tree, tier, what, broken, red_steps, happened }
            if gate == spec.id && tree == *base && tier == walls && !red_steps.is_empty() =>
        {
            let day = happened.strftime("%Y-%m-%d");
            let what = format!("{what} (on another machine, {day}, as the ledger says)");
            let tried = CanaryTry { what, tree: broken, red_steps, logs: String::new() };
            Some(GateProof { gate, tries: vec![tried], reused: true })
        }
        Fact::Task { .. }
        | Fact::Base { .. }
        | Fact::Canary { .. }
        | Fact::Pull { .. }
        | Fact::Retry { .. }
        | Fact::Stands { .. } => None,
    })
}

/// What to know of a base before its gate runs here: that it was red elsewhere.
pub(super) fn red_elsewhere(vault: &Vault, spec: &GateId, base: &TreeId) -> Option<String> {
    said(vault).into_iter().find_map(|fact| match fact {
        Fact::Base { gate, tree, green: false, happened, tier }
            if gate == *spec && tree == *base =>
        {
            let day = happened.strftime("%Y-%m-%d");
            Some(format!("the gate was red on this base in a night of {day} (walls {tier})"))
        }
        Fact::Task { .. }
        | Fact::Base { .. }
        | Fact::Canary { .. }
        | Fact::Pull { .. }
        | Fact::Retry { .. }
        | Fact::Stands { .. } => None,
    })
}
