//! Taking landed results back: which night landed them, and what a person's word against them opens.
//!
//! Decides nothing: what follows is the night's to say. Never starts an agent, never touches a branch of the person's.

use crate::{
    budget::Limits,
    git::landing,
    ids::{AttemptId, NAME, NightId, TaskId},
    journal::{self, Lock},
    night::{Canary, Event, GateSpec, Night, Reverse},
    outcome::{Failure, StopReason},
    process::Stop,
    runner::{
        clock, decide,
        home::Home,
        open::{self, Opened, Tonight, Wishes, replay},
        places::Surroundings,
        prepare::Preparation,
        refused::Refused,
    },
};

/// Nights that are looked through for a landed result, newest first: two months of them.
const NIGHTS: usize = 60;

/// The newest night that has this task on its branch, or whose revert of it was cut off. An old journal that cannot be
/// read is passed over, the newest one is an error.
pub fn landed(home: &Home, task: &TaskId) -> Result<Option<Night>, Refused> {
    for (back, id) in home.places.all_nights().into_iter().rev().take(NIGHTS).enumerate() {
        let night = match whole(home, &id) {
            Ok(None) => continue, // nothing was begun
            Ok(Some(night)) => night,
            Err(damage) if back == 0 => return Err(damage),
            Err(_) => continue,
        };
        if night.on_branch(task).is_some() || is_cut_off(&night, task) {
            return Ok(Some(night));
        }
    }
    Ok(None)
}

/// A night, from a journal without damage; `None` when nothing was begun.
pub fn whole(home: &Home, id: &NightId) -> Result<Option<Night>, Refused> {
    let reading = journal::read(&home.places.night(id).journal())?;
    match reading.damage {
        Some(damage) => Err(damage.into()),
        None if reading.entries.is_empty() => Ok(None),
        None => replay(reading.entries).map(Some),
    }
}

/// True when a person took the task's result back.
pub fn is_reverted(night: &Night, task: &TaskId) -> bool {
    let failed = night.task(task).and_then(|state| state.failed());
    failed.is_some_and(|setback| matches!(setback.failure, Failure::Reverted { .. }))
}

/// True when the task was taken back, and a process was cut off before all that follows was done.
pub fn is_cut_off(night: &Night, task: &TaskId) -> bool {
    (night.only_lands() || night.is_rebuilding()) && is_reverted(night, task)
}

/// Tasks on the branch, or on the way back to it, in its order.
pub fn on_branch(night: &Night) -> Vec<TaskId> {
    let mut found: Vec<TaskId> = night.landed().into_iter().map(|(id, _)| id.clone()).collect();
    found.extend(night.to_land_again().iter().cloned());
    found
}

/// A night of its own that takes results from the base: their opposite, made and gated on today's base. No agent is
/// asked. The caller holds the lock.
pub fn reverse(
    surroundings: &Surroundings,
    preparation: &Preparation,
    night: &Night,
    (tasks, reason): (&[TaskId], Option<&str>),
    wishes: Wishes,
    lock: Lock,
) -> Result<Opened, Refused> {
    let vault = &preparation.home.vault;
    let mut tonight = Tonight {
        tasks: Vec::new(),
        refused: Vec::new(),
        rejected: Vec::new(),
        again: Vec::new(),
        reverses: Vec::new(),
    };
    // The last that landed goes first: each was made on the one before.
    for task in tasks.iter().rev() {
        let admitted = night.opening().tasks.iter().find(|admitted| admitted.id() == task);
        let (Some(admitted), Some(candidate)) = (admitted, night.on_branch(task)) else {
            return Err(decide::impossible("what is merged is not of this night"));
        };
        tonight.tasks.push(admitted.clone());
        tonight.reverses.push(Reverse {
            task: task.clone(),
            night: night.opening().night.clone(),
            commit: candidate.commit.clone(),
            before: vault.tree_of(&candidate.base)?,
            after: candidate.edit.clone(),
            puts_back: night.opening().takes_back(task).map(|reverse| reverse.night.clone()),
            reason: reason.map(str::to_owned),
            by: surroundings.account.clone(),
        });
    }
    let wishes = Wishes { only_landing: true, ..wishes };
    open::begin(surroundings, preparation, tonight, wishes, lock, Stop::new())
}

/// What holds in a night that takes results back: each is tried once, and a gate that is red on the base, perhaps for
/// their sake, is not asked whether it can be red.
pub(super) fn limits(limits: &mut Limits, gate: &mut GateSpec, tasks: usize) {
    limits.attempts = 1;
    limits.failures_in_a_row = 0;
    limits.tasks = u32::try_from(tasks).unwrap_or(u32::MAX);
    gate.canary = Canary::Off { origin: "results are only taken back".to_owned() };
}

/// Opens a night to take results from its branch: a person's word is its first facts, each written before anything is
/// done. The caller holds the lock.
pub fn rebuild(
    surroundings: &Surroundings,
    home: &Home,
    id: &NightId,
    (tasks, reason): (&[TaskId], Option<&str>),
    wishes: Wishes,
    lock: Lock,
) -> Result<Opened, Refused> {
    let by = &surroundings.account;
    decide::open_with(surroundings, home, id, wishes, lock, |night| {
        if !landing::is_ours(&home.vault, &home.user, id, night.tip(), night.former())? {
            return Err(Refused::usage(
                format!("{} was moved by somebody else: it is not rebuilt", id.branch()),
                "take their commits to a branch of their own first, or revert by hand",
            ));
        }
        facts(night, tasks, reason, by)
    })
}

/// The facts, tried on a copy, because a journal takes nothing back. The last on the branch goes first.
fn facts(
    night: &Night,
    tasks: &[TaskId],
    reason: Option<&str>,
    by: &str,
) -> Result<Vec<Event>, Refused> {
    let mut copy = night.clone();
    let tell = |why: &str| decide::impossible(why);
    let stop = Event::StopAsked { reason: StopReason::OnlyLanding };
    copy.apply(clock::now(), stop).map_err(|problem| tell(problem.why))?;
    let mut facts = Vec::new();
    for task in tasks.iter().rev() {
        if is_reverted(&copy, task) {
            continue; // said before, by a process that was cut off
        }
        let number = copy.task(task).and_then(|state| state.last()).map_or(0, |last| last.number);
        let attempt = AttemptId { task: task.clone(), number };
        let (reason, by) = (reason.map(str::to_owned), by.to_owned());
        let fact = Event::Reverted { attempt, reason, by };
        copy.apply(clock::now(), fact.clone()).map_err(|problem| {
            Refused::usage(
                format!("{task} cannot be reverted now: {}", problem.why),
                format!("{NAME} resume brings its night to an end first"),
            )
        })?;
        facts.push(fact);
    }
    Ok(facts)
}
