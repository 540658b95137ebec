//! `nightshift approve`: lands a held result, or lets a task of the plan run. Never starts an agent.

use std::collections::BTreeMap;

use crate::{
    cli::{
        Global, Output, code,
        decide::{self, Answer, Chosen, Look, Named, Outcome},
        run::drive,
        tell::Cleaner,
    },
    ids::{NAME, NightId, TaskId},
    night::Night,
    policy::Refusal,
    report::{self, text},
    runner::{
        decide::{Outside, Word},
        home::Home,
        open,
        permit::{Permit, PlanEdit},
        places::Surroundings,
        prepare::{Preparation, Request},
        refused::Refused,
    },
};

/// Land a held result, or let a task that waits in the plan run
#[derive(Debug, clap::Args)]
pub(super) struct Approve {
    /// Tasks: task_3, or with its night: 2026-11-21/task_3
    #[arg(value_name = "TASK", required = true)]
    tasks: Vec<String>,
    /// The night whose results are meant [default: the last that tried the task]
    #[arg(long, value_name = "NIGHT")]
    night: Option<String>,
    /// What to remember about it
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    deciding: decide::Deciding,
}

pub(super) fn approve(
    surroundings: &Surroundings,
    global: &Global,
    command: &Approve,
    output: &mut Output,
) -> Result<u8, Refused> {
    let home = Home::open(surroundings, &global.repository())?;
    let cleaner = Cleaner::new(surroundings);
    let mut answers = Vec::new();
    let mut results: BTreeMap<NightId, Vec<Chosen>> = BTreeMap::new();
    let mut planned: Vec<(Named, Option<Answer>)> = Vec::new();
    for name in decide::named(&home, &command.tasks, command.night.as_deref())? {
        match decide::look(&home, &name)? {
            Look::Result(chosen) => {
                results.entry(chosen.id().clone()).or_default().push(*chosen);
            }
            Look::Settled(answer) if name.night.is_some() => answers.push(answer),
            Look::Settled(answer) => planned.push((name, Some(answer))),
            Look::Unknown => planned.push((name, None)),
        }
    }
    results.retain(|_, chosen| {
        keep_what_may_land(surroundings, &home, chosen, &mut answers, output);
        !chosen.is_empty()
    });
    for chosen in results.values().flatten() {
        output.note(&chosen.shown(&cleaner));
    }
    let preparation =
        (!planned.is_empty()).then(|| read_plan(surroundings, global, output)).transpose();
    let plan = match &preparation {
        Ok(preparation) => preparation.as_ref().map(PlanEdit::open).transpose(),
        Err(no) => {
            Err(Refused { kind: no.kind, message: no.message.clone(), help: no.help.clone() })
        }
    };
    let mut edit = None;
    let mut permitted = Vec::new();
    match plan {
        Ok(None) => {}
        Ok(Some(mut plan)) => {
            for (name, settled) in planned {
                let permit = plan.approve(&name.task, &surroundings.account);
                match in_plan(&home, &plan, &name, permit, settled) {
                    Ok((answer, words)) => {
                        output.note(&words);
                        permitted.push(answer);
                    }
                    Err(answer) => answers.push(answer),
                }
            }
            edit = Some(plan);
        }
        // Results land all the same.
        Err(no) => answers.extend(planned.into_iter().map(|(name, settled)| {
            let answer = Answer::new(&name.task, Outcome::Refused, no.message.clone());
            settled.unwrap_or(answer.help(no.help.clone().unwrap_or_default()))
        })),
    }
    let count = results.values().map(Vec::len).sum::<usize>() + permitted.len();
    if count > 0 && !command.deciding.yes {
        let what = if count == 1 { "it".to_owned() } else { format!("these {count}") };
        if output.asks() && !output.confirmed(&format!("approve {what}?")) {
            output.note("nothing was approved");
            return Ok(code::FINDINGS);
        }
    }
    if let Some(plan) = edit.filter(|_| !permitted.is_empty()) {
        plan.write()?;
        answers.extend(permitted);
    }
    let mut codes = Vec::new();
    for (id, chosen) in results {
        let (more, exit) = land(surroundings, &home, &id, &chosen, command, output)?;
        answers.extend(more);
        codes.push(exit);
    }
    Ok(decide::tell(output, "approve", answers, &codes, &cleaner))
}

/// Answers for results that no approval can land, and keeps the others.
fn keep_what_may_land(
    surroundings: &Surroundings,
    home: &Home,
    chosen: &mut Vec<Chosen>,
    answers: &mut Vec<Answer>,
    output: &Output,
) {
    chosen.retain(|result| {
        let Some(refusal) = result.last().refusals().next() else { return true };
        let why = format!("no approval frees {}", text::inline_plain(&refusal.to_string()));
        answers.push(Answer::new(&result.task, Outcome::Refused, why).of(&result.night));
        false
    });
    let Some(first) = chosen.first() else { return };
    let Outside { over, notes, .. } =
        crate::runner::decide::outside(surroundings, home, &first.night);
    for note in notes {
        output.note(&format!("note: {}", text::inline_plain(&note)));
    }
    let Some(over) = over else { return };
    for result in chosen.drain(..) {
        let why =
            format!("night {} takes nothing more: {}; the result is kept", result.id(), over.words);
        let next = format!(
            "{NAME} run -t '{}' makes it anew on today's base; by hand: git cherry-pick {}",
            result.task,
            result.kept()
        );
        answers.push(Answer::new(&result.task, Outcome::Refused, why).of(&result.night).help(next));
    }
}

fn read_plan(
    surroundings: &Surroundings,
    global: &Global,
    output: &Output,
) -> Result<Preparation, Refused> {
    let request = Request {
        repository: global.repository(),
        base: None,
        tasks: Vec::new(),
        overrides: Vec::new(),
        style: output.style(),
    };
    Preparation::read(surroundings, &request)
}

/// What the approval of a task in the plan comes to: the answer for when it is written, with the words before it.
fn in_plan(
    home: &Home,
    plan: &PlanEdit<'_>,
    name: &Named,
    permit: Permit,
    settled: Option<Answer>,
) -> Result<(Answer, String), Answer> {
    let task = &name.task;
    let say = |refusals: &[Refusal]| {
        let said: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        text::inline_plain(&said.join("; "))
    };
    let help = |refusals: &[Refusal]| {
        let help = refusals.iter().find_map(|refusal| refusal.help.clone());
        help.unwrap_or_else(|| format!("{NAME} check --explain -t '{task}' lists every rule"))
    };
    let answer = |outcome, why: String| Answer::new(task, outcome, why);
    // What a night knows of it says more.
    let beside = matches!(
        permit,
        Permit::Needless | Permit::Refused(_) | Permit::Waits(_) | Permit::Unknown
    );
    if let Some(settled) = settled.filter(|_| beside) {
        return Err(settled);
    }
    Err(match permit {
        Permit::Approved { freed, left } => {
            let shown = plan.shown();
            let mut words = format!("{task} · in {shown}, waits because");
            for refusal in &freed {
                words.push_str(&format!("\n  ask {}", text::inline_plain(&refusal.to_string())));
            }
            let mut found = answer(Outcome::Approved, format!("written into {shown}"));
            found = if left.is_empty() {
                found.help(format!("{NAME} run -t '{task}' takes it now; the next night does too"))
            } else {
                found.help(format!("it still waits: {}", say(&left)))
            };
            return Ok((found, words));
        }
        Permit::Refused(refusals) => {
            answer(Outcome::Refused, format!("no approval frees {}", say(&refusals)))
                .help(help(&refusals))
        }
        Permit::Waits(refusals) => {
            answer(Outcome::Refused, format!("it waits for something else: {}", say(&refusals)))
                .help(help(&refusals))
        }
        Permit::Ambiguous(count) => {
            answer(Outcome::Refused, format!("{} has {count} tasks of this name", plan.shown()))
                .help("give each an id of its own")
        }
        Permit::Unwritable(why) => answer(Outcome::Refused, why).help("mend it in the plan"),
        Permit::Needless => answer(Outcome::Nothing, "it may run as it is".to_owned()),
        Permit::Unknown => {
            let known: Vec<TaskId> = plan.tasks().into_iter().map(|task| task.id).collect();
            decide::unknown(home, name, Some(&known))
        }
    })
}

/// Lands results of one night, and says what came of each. The exit code is that of what went wrong around them.
fn land(
    surroundings: &Surroundings,
    home: &Home,
    id: &NightId,
    chosen: &[Chosen],
    command: &Approve,
    output: &Output,
) -> Result<(Vec<Answer>, u8), Refused> {
    open::not_stopped(home)?;
    let lock = open::lock(home, Some(id.clone()))?;
    let words: Vec<Word> = chosen
        .iter()
        .map(|result| Word {
            task: result.task.clone(),
            approved: true,
            reason: command.note.clone(),
        })
        .collect();
    let wishes = command.deciding.wishes(output);
    let opened = crate::runner::decide::open(surroundings, home, id, &words, wishes, lock)?;
    let (night, exit) = drive(surroundings, opened, output)?;
    let answers = words.iter().map(|word| landed(&night, &word.task)).collect();
    Ok((answers, decide::around(&night, exit)))
}

fn landed(night: &Night, task: &TaskId) -> Answer {
    let id = &night.opening().night;
    let state = night.task(task);
    let answer = if let Some(candidate) = state.and_then(|state| state.landed()) {
        let why = format!("{} on {}", candidate.commit.short(), id.branch());
        Answer::new(task, Outcome::Landed, why)
    } else if let Some((state, setback)) = state.and_then(|state| Some((state, state.failed()?))) {
        let why = text::inline_plain(&report::why_of(state, setback));
        Answer::new(task, Outcome::Failed, why).help(format!(
            "its work is kept: {NAME} show {id}/{task}; {NAME} retry '{task}' has it made anew, and {NAME} approve \
             tries this one again"
        ))
    } else if let Some(record) = state.filter(|s| s.held().is_some()).and_then(|s| s.last()) {
        let why = format!("its gate says something new: {}", report::why_held(record));
        Answer::new(task, Outcome::Held, why)
            .help(format!("{NAME} approve '{task}' once more lands it all the same"))
    } else {
        let trouble = night
            .stopped_early()
            .map_or(String::new(), |reason| format!(": {}", report::stop_reason(reason)));
        Answer::new(task, Outcome::Held, format!("approved, and not landed yet{trouble}"))
            .help(format!("{NAME} resume lands it"))
    };
    answer.of(night)
}
