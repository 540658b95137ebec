//! What must hold whatever happens: looked at before every order, after every fact, and at every end.

use std::collections::BTreeMap;

use jiff::Timestamp;
use nightshift::{
    budget::{Spend, Usd},
    ids::AttemptId,
    night::{Command, Entry, Event, Night, Publication, Stage, Then},
    outcome::StopReason,
    policy::{Refusal, Verdict},
    report,
};

use crate::world::{Running, World};

fn must(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// An order that is about to be written down.
pub(crate) fn ordered(
    night: &Night,
    command: &Command,
    world: &World,
    running: &[Running],
    now: Timestamp,
) -> Result<(), String> {
    let runs = |is_it: fn(&Command) -> bool| running.iter().any(|one| is_it(&one.command));
    if let Some(attempt) = command.attempt() {
        let twice = running.iter().any(|one| one.command.attempt() == Some(attempt));
        must(!twice, || format!("{command:?} beside another order for {attempt}"))?;
    }
    match command {
        Command::RunAgent { attempt, .. } => {
            must(night.stop().is_none(), || format!("{attempt} is started after a stop"))?;
            must(now < night.deadline(), || format!("{attempt} is started after the night"))?;
            let known = night.opening().tasks.iter().find(|task| *task.id() == attempt.task);
            let Some(task) = known else {
                return Err(format!("{attempt} is started, and its task is not ready"));
            };
            for need in &task.task().fields.depends_on {
                let tonight = night.task(need).is_some();
                let landed = world.landed.iter().any(|(task, _)| task == need.as_str());
                must(!tonight || landed, || format!("{attempt} is started without {need}"))?;
            }
            let known = world.starts.contains_key(attempt);
            must(!known, || format!("the agent is called a second time for {attempt}"))
        }
        Command::RunGate { .. } | Command::ProveTests { .. } => {
            let gates = |command: &Command| {
                matches!(command, Command::RunGate { .. } | Command::ProveTests { .. })
            };
            must(!runs(gates), || "two gates at a time".to_owned())
        }
        Command::Land { .. } => {
            let lands = |command: &Command| matches!(command, Command::Land { .. });
            must(!runs(lands), || "two landings at a time".to_owned())
        }
        Command::Reverse { attempt, .. } => Err(format!("{attempt} is no merged result")),
        Command::Rewind { .. } => {
            must(running.is_empty(), || "the branch goes back beside something else".to_owned())
        }
        Command::Publish { .. } => {
            must(running.is_empty(), || "published beside something else".to_owned())
        }
        Command::CheckBase { .. }
        | Command::ProveGate { .. }
        | Command::Review { .. }
        | Command::Restack { .. } => Ok(()),
    }
}

/// What lands is what everybody agreed to who had to, as the journal's lines alone say it.
pub(crate) fn agreed(command: &Command, entries: &[Entry]) -> Result<(), String> {
    let Command::Land { attempt, .. } = command else { return Ok(()) };
    let (mut asks, mut approved, mut opposed) = (false, false, false);
    let needs_person = |findings: &[Refusal]| findings.iter().any(|f| f.verdict >= Verdict::Ask);
    for entry in entries {
        match &entry.event {
            Event::AgentEnded { attempt: of, inspection, .. } if of == attempt => {
                asks |= needs_person(&inspection.findings);
            }
            Event::TestsProven { attempt: of, findings, .. } if of == attempt => {
                asks |= needs_person(findings);
            }
            Event::Decided { attempt: of, approved: yes, .. } if of == attempt => approved = *yes,
            Event::Reviewed { attempt: of, review, .. } if of == attempt => {
                opposed = !review.agree;
            }
            _ => {}
        }
    }
    must(!asks || approved, || format!("{attempt} lands, and a person had to see it"))?;
    must(!opposed, || format!("{attempt} lands against a second opinion"))
}

/// After every fact.
pub(crate) fn hold(night: &Night, world: &World) -> Result<(), String> {
    let (tip, branch) = (night.tip(), &world.branch);
    let on_its_way = night.tasks().any(
        |(_, task)| matches!(&task.stage, Stage::Landing(c) if c.commit == *branch && c.base == *tip),
    );
    must(tip == branch || on_its_way, || format!("the branch stands at {branch}, not at {tip}"))?;
    let landed: Vec<_> =
        night.landed().iter().map(|(id, c)| (id.to_string(), c.commit.clone())).collect();
    let there = world.landed.len().saturating_sub(usize::from(tip != branch));
    must(landed == world.landed[..there], || {
        format!("landed: {:?}, on record: {landed:?}", world.landed)
    })?;
    let opening = night.opening();
    if let Some(most) = world.most(opening) {
        must(world.bill <= most, || format!("spent {} of {most}", world.bill))?;
    }
    for task in &opening.tasks {
        let limit = task.limits().cost.micros();
        let bill = world.bills.get(task.id().as_str()).copied().unwrap_or(0);
        let most = limit + world.over;
        must(limit == 0 || bill <= most, || format!("{} spent {bill} of {most}", task.id()))?;
    }
    let editing = night.tasks().filter(|(_, task)| task.stage == Stage::Editing).count();
    let started = night.tasks().filter(|(_, task)| !task.attempts.is_empty()).count();
    let limits = &opening.limits;
    must(editing <= limits.parallel as usize, || format!("{editing} agents at a time"))?;
    must(started <= limits.tasks as usize, || format!("{started} tasks were started"))?;
    for (id, task) in night.tasks() {
        let allowed = night.attempts_allowed(id);
        let failed = task.attempts.iter().filter_map(|record| record.setback.as_ref());
        let failed = failed.filter(|setback| matches!(setback.then, Then::Retry | Then::FailTask));
        let (failed, allowed) = (failed.count(), allowed as usize);
        must(failed <= allowed, || format!("{id} failed {failed} of {allowed} times"))?;
        must(task.counted as usize <= allowed, || format!("{id} has {} tries", task.counted))?;
    }
    Ok(())
}

/// The next process finds the night.
pub(crate) fn taken_over(night: &Night, world: &World) -> Result<(), String> {
    for attempt in world.starts.keys() {
        let task = night.task(&attempt.task);
        let known = task.is_some_and(|t| t.attempts.iter().any(|r| r.number == attempt.number));
        must(known, || format!("an agent was at work on {attempt}, and nobody knows it"))?;
    }
    let calls = |command: &&Command| matches!(command, Command::RunAgent { .. });
    let lost = night.in_flight().iter().filter(calls).count();
    must(lost <= night.opening().limits.parallel as usize, || format!("{lost} calls are repeated"))
}

/// A process sees nothing more to do.
pub(crate) fn leaves(
    night: &Night,
    reason: Option<&StopReason>,
    at_once: bool,
    now: Timestamp,
) -> Result<(), String> {
    if at_once {
        return Ok(());
    }
    must(reason.is_some() || night.is_over(now), || {
        let stages: Vec<_> =
            night.tasks().map(|(id, task)| format!("{id}: {:?}", task.stage)).collect();
        format!("nothing is waited for and nothing is over: {}", stages.join(", "))
    })?;
    let out =
        *night.publication() != Publication::Open || night.tip() == &night.opening().base.commit;
    must(out || !night.in_flight().is_empty(), || {
        format!("it ends ({reason:?}) and what landed was not let out")
    })
}

/// A process wrote down that it ended.
pub(crate) fn rests(
    night: &Night,
    entries: &[Entry],
    replayed: &Night,
    world: &World,
) -> Result<(), String> {
    let (live, again) = (format!("{night:?}"), format!("{replayed:?}"));
    must(live == again, || format!("replayed it is another night:\n{live}\n{again}"))?;
    let booked = booked(entries);
    must(booked == night.spent(), || format!("{booked:?} is booked, {:?} told", night.spent()))?;
    must(booked.usd.micros() >= world.bill, || {
        format!("{} was spent, and {} is on record", world.bill, booked.usd.micros())
    })?;
    let landings = entries.iter().filter(|entry| matches!(entry.event, Event::Landed { .. }));
    let landings = landings.count();
    let summary = report::summary(night, night.last_fact(), false, &report::Screen::default());
    let told = landings == 0 || summary.contains(&format!("LANDED {landings}"));
    must(told && landings == night.landed().len(), || {
        format!("{landings} landings are on record, and the report says:\n{summary}")
    })
}

/// What a journal's lines say was spent, added up by themselves.
fn booked(entries: &[Entry]) -> Spend {
    let mut sum = Spend::default();
    let mut reserved: BTreeMap<AttemptId, (Usd, Usd)> = BTreeMap::new();
    let mut open: BTreeMap<AttemptId, Usd> = BTreeMap::new();
    for entry in entries {
        match &entry.event {
            Event::Began(Command::RunAgent { attempt, budget, .. }) => {
                open.insert(attempt.clone(), *budget);
            }
            Event::Began(Command::Review { attempt, budget, .. }) => {
                let (all, _) = reserved.get(attempt).copied().unwrap_or_default();
                reserved.insert(attempt.clone(), (all + *budget, *budget));
            }
            Event::AgentEnded { attempt, report, .. } => {
                open.remove(attempt);
                sum = sum + report.spent;
            }
            Event::Reviewed { attempt, review, .. } => {
                let (all, last) = reserved.get(attempt).copied().unwrap_or_default();
                reserved.insert(attempt.clone(), (all.minus(last), Usd::ZERO));
                sum = sum + review.spent;
            }
            Event::Restarted { charges } => {
                for charge in charges {
                    open.remove(&charge.attempt);
                    sum = sum + charge.spent;
                }
            }
            _ => {}
        }
    }
    let reviews = reserved.into_values().map(|(all, _)| Spend::reserved(all));
    let agents = open.into_values().map(Spend::reserved);
    sum + reviews.sum() + agents.sum()
}

/// Nobody will touch the night again.
pub(crate) fn lasts(night: &Night, world: &World, now: Timestamp) -> Result<(), String> {
    must(night.tip() == &world.branch, || "the last landing is not on record".to_owned())?;
    if world.landed.is_empty() {
        must(world.requests == 0 && world.pushed.is_none(), || "nothing was let out".to_owned())?;
    } else {
        let done = matches!(night.publication(), Publication::Done { .. });
        must(done, || format!("what landed is left behind: {:?}", night.publication()))?;
        let out = world.pushed.as_ref() == Some(night.tip()) && world.requests == 1;
        must(out, || format!("{:?} is out, in {} requests", world.pushed, world.requests))?;
    }
    for (id, task) in night.tasks() {
        let settled = match &task.stage {
            Stage::Held(_) | Stage::Landed(_) | Stage::Failed(_) | Stage::Parked(_) => true,
            Stage::Waiting => {
                let next_nights = !report::approvals(night).is_empty(); // an approval starts no agent
                next_nights
                    || night.why_not_started(id, now).is_some()
                    || night.stop_reason(now).is_some()
            }
            // Its second opinion waits for the end of a limit, and nobody waited as long.
            Stage::Gated(_) => {
                matches!(night.ended(), Some((Some(StopReason::Limited { .. }), _)))
            }
            Stage::Editing | Stage::Ungated(_) | Stage::Landing(_) => false,
        };
        must(settled, || format!("{id} is left in the middle: {:?}", task.stage))?;
    }
    Ok(())
}
