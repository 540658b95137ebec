//! One night from its opening to the last time that somebody touches it: process after process, and what people do
//! between them.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use nightshift::{
    ids::AttemptId,
    night::{Event, Night, Publication, Stage},
    outcome::StopReason,
};

use crate::{
    fault::{Kind, Place},
    process::{Halt, Life, Sabotage},
    promises,
    random::drawn,
    scenario::Scenario,
};

/// Processes of one night: many times what the longest takes.
const PROCESSES: u64 = 80;
/// Processes that change nothing before a person gives a night up.
const IDLE: u32 = 8;

/// A night in which every promise held.
pub(crate) struct Lived {
    pub(crate) processes: u64,
    pub(crate) entries: u64,
    pub(crate) landed: u64,
    pub(crate) fired: BTreeSet<Kind>,
    pub(crate) told: Vec<String>,
}

/// A night in which one did not.
pub(crate) struct Broken {
    pub(crate) what: String,
    pub(crate) told: Vec<String>,
}

/// Lives a night. `tell`: every fact is written down for a person.
pub(crate) fn live(
    scenario: &Scenario,
    tell: bool,
    sabotage: Option<Sabotage>,
) -> Result<Lived, Broken> {
    let mut life = Life::of(scenario, tell, sabotage);
    let lived = catch_unwind(AssertUnwindSafe(|| all(&mut life)));
    let told = life.world.told.take().unwrap_or_default();
    match lived {
        Ok(Ok(processes)) => Ok(Lived {
            processes,
            entries: life.disk.entries().len() as u64,
            landed: life.world.landed.len() as u64,
            fired: life.world.fired,
            told,
        }),
        Ok(Err(Halt::Broken(what))) => Err(Broken { what, told }),
        Ok(Err(Halt::Cut)) => Err(Broken { what: "cut, and not taken over".to_owned(), told }),
        Err(_) => Err(Broken { what: "a panic".to_owned(), told }),
    }
}

/// Where a night stands, as far as a person who looks at it sees.
fn seen(night: &Night) -> String {
    let stages = night.tasks().map(|(_, task)| match &task.stage {
        Stage::Waiting => "-",
        Stage::Editing => "e",
        Stage::Ungated(_) => "u",
        Stage::Gated(_) => "g",
        Stage::Held(_) => "h",
        Stage::Landing(_) => "l",
        Stage::Landed(_) => "L",
        Stage::Failed(_) => "f",
        Stage::Parked(_) => "p",
    });
    let out = matches!(night.publication(), Publication::Done { .. });
    format!("{} {out} {}", stages.collect::<String>(), night.ended().is_some())
}

/// Whether `resume` finds something to do, as the program decides it.
fn is_left(night: &Night) -> bool {
    let unpublished = !night.in_flight().is_empty()
        || match night.publication() {
            Publication::Failed { .. } => true,
            Publication::Open => *night.tip() != night.opening().base.commit,
            Publication::Done { .. } => false,
        };
    match night.ended() {
        None => true,
        Some(_) if night.approved().next().is_some() => true,
        Some((None | Some(StopReason::Time | StopReason::Cost), _)) => unpublished,
        Some((Some(_), _)) => true,
    }
}

fn all(life: &mut Life) -> Result<u64, Halt> {
    let (mut first, mut before, mut idle) = (Vec::new(), String::new(), 0);
    for process in 1..=PROCESSES {
        match life.process(std::mem::take(&mut first)) {
            Ok(_) | Err(Halt::Cut) => {}
            Err(broken) => return Err(broken),
        }
        life.world.check()?;
        let mut night = life.replayed()?;
        if life.sabotage != Some(Sabotage::NoRestart) {
            promises::taken_over(&night, &life.world)?;
        }
        let now_seen = seen(&night);
        idle = if now_seen == before { idle + 1 } else { 0 };
        before = now_seen;
        let chance = drawn(life.world.seed, "pause", u32::try_from(process).unwrap_or(0));
        life.pause(if idle > 0 { 12 * 3_600 } else { chance % 7_200 });
        // What a person mends before the night goes on.
        (life.world.foreign, life.world.signed_out) = (false, false);
        let struck = life.world.strike(Place::End);
        life.killed_in_recovery |= struck.contains(&Kind::KillInRecovery);
        if night.ended().is_some() && struck.contains(&Kind::Reject) {
            for fact in decided(&night, false) {
                match life.note(&mut night, fact) {
                    Ok(()) | Err(Halt::Cut) => life.disk.sync(),
                    Err(broken) => return Err(broken),
                }
            }
        }
        let approvals = decided(&night, true);
        if night.ended().is_some() && struck.contains(&Kind::Approve) && !approvals.is_empty() {
            first.push(Event::StopAsked { reason: StopReason::OnlyLanding });
            first.extend(approvals);
        } else if !is_left(&night) || idle >= IDLE {
            let now = life.now();
            promises::lasts(&night, &life.world, now)?;
            return Ok(process);
        }
        if life.sabotage != Some(Sabotage::NoRestart) {
            first.push(Event::Restarted { charges: life.charges(&night) });
        }
    }
    Err(Halt::Broken(format!("{PROCESSES} processes came to no end")))
}

/// What a person says about every result that is held.
fn decided(night: &Night, approved: bool) -> Vec<Event> {
    let held = night.tasks().filter(|(_, task)| task.held().is_some());
    held.map(|(id, task)| {
        let number = task.last().map_or(0, |last| last.number);
        let attempt = AttemptId { task: id.clone(), number };
        let reason = (!approved).then(|| "not so".to_owned());
        Event::Decided { attempt, approved, reason, by: "ada".into() }
    })
    .collect()
}
