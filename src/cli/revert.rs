//! `nightshift revert`: takes landed results back. Never starts an agent.

use crate::{
    cli::{
        Global, Output, code,
        decide::{self, Answer, Outcome},
        find::{self, Selector},
        run::drive,
        tell::{self, Cleaner},
    },
    forge::Over,
    ids::{AttemptId, NAME, NightId, TaskId},
    night::{Night, Publication},
    outcome::Failure,
    process::Stop,
    report::{self, text},
    runner::{
        decide::{Outside, outside_for},
        home::Home,
        open::{self, Wishes},
        places::Surroundings,
        prepare::{Preparation, Request},
        refused::Refused,
        revert,
    },
};

/// Take a landed result back: from its night's branch, or by a pull request where that is merged
#[derive(Debug, clap::Args)]
pub(super) struct Revert {
    /// A task (task_3), a night (last, 2026-11-21) with all that it landed, or both: 2026-11-21/task_3
    #[arg(value_name = "TASK|NIGHT")]
    selector: String,
    /// Why; the next attempt at the task reads it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    deciding: decide::Deciding,
}

/// What is to be taken back.
struct Chosen {
    night: Night,
    /// In the order of the branch.
    tasks: Vec<TaskId>,
}

pub(super) fn revert(
    surroundings: &Surroundings,
    global: &Global,
    command: &Revert,
    output: &mut Output,
) -> Result<u8, Refused> {
    let home = Home::open(surroundings, &global.repository())?;
    let cleaner = Cleaner::new(surroundings);
    let chosen = match chosen(&home, &Selector::parse(&command.selector)?, &command.selector)? {
        Ok(chosen) => chosen,
        Err(answer) => return Ok(decide::tell(output, "revert", vec![*answer], &[], &cleaner)),
    };
    let night = &chosen.night;
    let Outside { over, notes, unseen } = outside_for(surroundings, &home, night, &chosen.tasks);
    // Taking merged work from the branch alone would leave it where it does harm.
    let cut_off = chosen.tasks.iter().any(|task| revert::is_cut_off(night, task));
    let was_out =
        matches!(night.publication(), Publication::Done { .. }) || !night.former().is_empty();
    if let (None, Some(unseen), true, false) = (&over, unseen, was_out, cut_off) {
        return Err(Refused::environment(
            format!("whether night {} is merged is not known: {unseen}", night.opening().night),
            "nothing was changed; see to the network or the token, and say it again",
        ));
    }
    for note in notes {
        output.note(&format!("note: {}", text::inline_plain(&note)));
    }
    if let Some(over) = over.as_ref().filter(|over| !over.merged) {
        let answers = chosen
            .tasks
            .iter()
            .map(|task| Answer::new(task, Outcome::Stays, over.words.clone()).of(night));
        return Ok(decide::tell(output, "revert", answers.collect(), &[], &cleaner));
    }
    let after = if over.is_some() { Vec::new() } else { after(&chosen) };
    let shown = match &over {
        Some(over) => shown_merged(&chosen, over, &cleaner),
        None => shown(&chosen, &after, &cleaner),
    };
    if command.dry_run {
        if output.is_json() {
            let would = serde_json::json!({ "reverts": chosen.tasks, "rebuilds": after });
            output.json("revert", &serde_json::json!({ "would": would }));
        } else {
            output.result(&shown);
        }
        return Ok(code::DONE);
    }
    output.note(&shown);
    if !command.deciding.yes && output.asks() && !output.confirmed("take it back?") {
        output.note("nothing was reverted");
        return Ok(code::FINDINGS);
    }
    if over.is_some() {
        let (reverting, around) = reverse(surroundings, global, &chosen, command, output)?;
        let answers = chosen.tasks.iter().map(|task| taken_back(&reverting, task)).collect();
        return Ok(decide::tell(output, "revert", answers, &[around], &cleaner));
    }
    let id = night.opening().night.clone();
    let (night, around) = rebuild(surroundings, &home, &id, &chosen.tasks, command, output)?;
    let mut answers: Vec<Answer> = chosen.tasks.iter().map(|task| reverted(&night, task)).collect();
    answers.extend(after.iter().map(|task| landed_again(&night, task)));
    Ok(decide::tell(output, "revert", answers, &[around], &cleaner))
}

/// What the selector means; an answer where there is nothing to take back.
fn chosen(
    home: &Home,
    selector: &Selector,
    word: &str,
) -> Result<Result<Chosen, Box<Answer>>, Refused> {
    let named = |id: NightId| {
        let none = || Refused::usage(format!("night {id} did nothing"), format!("{NAME} status"));
        revert::whole(home, &id)?.ok_or_else(none)
    };
    let with_night = selector.task.as_ref().is_none_or(|task| !word.starts_with(task.as_str()));
    let night = match &selector.task {
        Some(task) if !with_night => match revert::landed(home, task)? {
            Some(night)
                if night.opening().takes_back(task).is_some() && night.ended().is_some() =>
            {
                let id = &night.opening().night;
                let answer = Answer::new(task, Outcome::Nothing, "it is taken back already");
                let help = format!("{NAME} show {id}; {NAME} revert {id} takes that back");
                return Ok(Err(Box::new(answer.of(&night).help(help))));
            }
            // The same command goes on with a taking back that was cut off after it landed.
            Some(night) => match night.opening().takes_back(task) {
                Some(reverse) => named(reverse.night.clone())?,
                None => night,
            },
            None => {
                let why = "no night has it on its branch";
                let answer = Answer::new(task, Outcome::Unknown, why);
                return Ok(Err(Box::new(answer.help(format!("{NAME} status names what landed")))));
            }
        },
        Some(_) | None => {
            let none = || {
                Refused::usage(format!("there is no night `{word}` here"), format!("{NAME} status"))
            };
            named(find::night(home, selector)?.ok_or_else(none)?.id)?
        }
    };
    let tasks = match &selector.task {
        None => revert::on_branch(&night),
        Some(task) => vec![task.clone()],
    };
    for task in &tasks {
        if night.on_branch(task).is_none() && !revert::is_cut_off(&night, task) {
            let is = night.task(task).map_or("not of this night", tell::stage);
            let answer = if revert::is_reverted(&night, task) {
                Answer::new(task, Outcome::Nothing, "it is reverted already")
            } else {
                Answer::new(task, Outcome::Unknown, format!("it is not on the branch: {is}"))
            };
            return Ok(Err(Box::new(answer.of(&night))));
        }
    }
    if tasks.is_empty() {
        let id = &night.opening().night;
        return Err(Refused::usage(
            format!("nothing of night {id} is on its branch"),
            format!("{NAME} show {id} tells what became of its tasks"),
        ));
    }
    Ok(Ok(Chosen { night, tasks }))
}

/// What landed after the first of them and stays.
fn after(chosen: &Chosen) -> Vec<TaskId> {
    let all = revert::on_branch(&chosen.night);
    let first = all.iter().position(|task| chosen.tasks.contains(task)).unwrap_or(all.len());
    all.into_iter().skip(first).filter(|task| !chosen.tasks.contains(task)).collect()
}

fn shown(chosen: &Chosen, after: &[TaskId], cleaner: &Cleaner) -> String {
    let night = &chosen.night;
    let line = |task: &TaskId| {
        let title = cleaner.line(tell::title(night, task));
        format!("  {task} · {title}")
    };
    let id = &night.opening().night;
    let mut lines = vec![format!("goes from {}:", id.branch())];
    lines.extend(chosen.tasks.iter().map(line));
    if !after.is_empty() {
        lines.push("is rebuilt without it, and passes the gate again:".to_owned());
        lines.extend(after.iter().map(|task| {
            let needs = night.opening().tasks.iter().find(|admitted| admitted.id() == task);
            let needs = needs.into_iter().flat_map(|admitted| &admitted.task().fields.depends_on);
            let gone: Vec<&str> =
                needs.filter(|need| chosen.tasks.contains(need)).map(TaskId::as_str).collect();
            let why = if gone.is_empty() {
                String::new()
            } else {
                format!(" (the plan says that it needs {})", gone.join(", "))
            };
            format!("{}{why}", line(task))
        }));
    }
    if revert::on_branch(night).len() == chosen.tasks.len() {
        lines.push("nothing is left on the branch: its pull request is closed".to_owned());
    }
    lines.join("\n")
}

fn rebuild(
    surroundings: &Surroundings,
    home: &Home,
    id: &NightId,
    tasks: &[TaskId],
    command: &Revert,
    output: &Output,
) -> Result<(Night, u8), Refused> {
    open::not_stopped(home)?;
    let lock = open::lock(home, Some(id.clone()))?;
    let wishes = command.deciding.wishes(output);
    let words = (tasks, command.reason.as_deref());
    let opened = revert::rebuild(surroundings, home, id, words, wishes, lock)?;
    let (night, exit) = drive(surroundings, opened, output)?;
    if let Some(note) = stayed(home, &night)? {
        output.note(&note);
    }
    let around = around(&night, exit);
    Ok((night, around))
}

/// What a person should know whose own copy of the branch was not moved, because they have it checked out.
fn stayed(home: &Home, night: &Night) -> Result<Option<String>, Refused> {
    let id = &night.opening().night;
    let (name, branch) = (id.branch_ref(), id.branch());
    let at = home.user.our_ref(&name)?;
    let Some(at) = at.filter(|at| at != night.tip() && home.user.is_checked_out(&name)) else {
        return Ok(None);
    };
    let tip = night.tip().short();
    let mut note = format!("note: you have {branch} checked out: it stays at {}", at.short());
    note.push_str(&match (&home.remote, night.publication()) {
        (Some(remote), Publication::Done { .. }) => format!(
            ", and {tip} is what counts: git fetch {} {branch} && git reset --keep FETCH_HEAD",
            remote.name
        ),
        (Some(_) | None, _) => format!(", and {tip} is what counts"),
    });
    Ok(Some(note))
}

/// The same for what is merged: a night of its own takes it from the base.
fn reverse(
    surroundings: &Surroundings,
    global: &Global,
    chosen: &Chosen,
    command: &Revert,
    output: &Output,
) -> Result<(Night, u8), Refused> {
    let request = Request {
        repository: global.repository(),
        base: None,
        tasks: Vec::new(),
        overrides: Vec::new(),
        style: output.style(),
    };
    let preparation = Preparation::read(surroundings, &request)?;
    let home = &preparation.home;
    open::not_stopped(home)?;
    let unfinished = open::unfinished(home)?.filter(|(_, at_it)| {
        chosen.tasks.iter().any(|task| at_it.opening().reverse_of(task).is_some())
    });
    let wishes = command.deciding.wishes(output);
    let opened = if let Some((id, at_it)) = unfinished {
        if !takes(&at_it, chosen) {
            return Err(Refused::usage(
                format!("night {id} takes some of it back already, and has not come to its end"),
                format!("{NAME} resume goes on with it"),
            ));
        }
        output.note(&format!("going on with night {id}"));
        let lock = open::lock(home, Some(id.clone()))?;
        let wishes = Wishes { only_landing: true, ..wishes };
        open::resume(surroundings, home, &id, wishes, lock, Stop::new())?
    } else {
        let lock = open::lock(home, None)?;
        let words = (chosen.tasks.as_slice(), command.reason.as_deref());
        revert::reverse(surroundings, &preparation, &chosen.night, words, wishes, lock)?
    };
    let (night, exit) = drive(surroundings, opened, output)?;
    let around = around(&night, exit);
    Ok((night, around))
}

/// True when a night takes all of this back, as the same command told it before it was cut off.
fn takes(night: &Night, chosen: &Chosen) -> bool {
    chosen.tasks.iter().all(|task| {
        let reverse = night.opening().reverse_of(task);
        reverse.is_some_and(|reverse| reverse.night == chosen.night.opening().night)
    })
}

/// As for a decision, but what was stopped is not taken back yet.
fn around(night: &Night, exit: u8) -> u8 {
    if exit == code::STOPPED { exit } else { decide::around(night, exit) }
}

fn shown_merged(chosen: &Chosen, over: &Over, cleaner: &Cleaner) -> String {
    let mut lines = vec![
        cleaner.line(&over.words),
        if chosen.tasks.iter().any(|task| chosen.night.opening().takes_back(task).is_some()) {
            "a pull request puts back, on today's base and gated there:".to_owned()
        } else {
            "a pull request takes back, from today's base and gated there:".to_owned()
        },
    ];
    lines.extend(chosen.tasks.iter().map(|task| {
        let title = cleaner.line(tell::title(&chosen.night, task));
        format!("  {task} · {title}")
    }));
    lines.join("\n")
}

fn taken_back(night: &Night, task: &TaskId) -> Answer {
    let id = &night.opening().night;
    let state = night.task(task);
    let answer = if let Some(candidate) = state.and_then(|state| state.landed()) {
        let place = match night.publication() {
            Publication::Done { url, .. } => url.clone(),
            Publication::Open | Publication::Failed { .. } => id.branch(),
        };
        let (commit, base) = (candidate.commit.short(), &night.opening().base.branch);
        let (outcome, why) = if night.opening().puts_back() {
            (Outcome::Restored, format!("{commit} puts it into {base} again"))
        } else {
            (Outcome::Reverted, format!("{commit} takes it from {base}"))
        };
        Answer::new(task, outcome, why).help(format!("review and merge {place}"))
    } else if let Some((state, setback)) = state.and_then(|state| Some((state, state.failed()?))) {
        let why = text::inline_plain(&report::why_of(state, setback));
        if setback.failure == Failure::NothingLeft {
            return Answer::new(task, Outcome::Nothing, why).of(night);
        }
        let help = format!("{NAME} show {id}/{task}; by hand: git revert");
        Answer::new(task, Outcome::Failed, why).help(help)
    } else if let Some(record) = state.filter(|s| s.held().is_some()).and_then(|s| s.last()) {
        let why = report::why_held(record);
        Answer::new(task, Outcome::Held, why).help(format!("{NAME} approve '{id}/{task}' lands it"))
    } else {
        let help = format!("{NAME} resume goes on with it");
        Answer::new(task, Outcome::Held, "not taken back yet").help(help)
    };
    answer.of(night)
}

fn reverted(night: &Night, task: &TaskId) -> Answer {
    let id = &night.opening().night;
    if !revert::is_reverted(night, task) {
        let why = "it is on the branch still";
        return Answer::new(task, Outcome::Failed, why).of(night);
    }
    let number = night.task(task).and_then(|state| state.last()).map_or(0, |last| last.number);
    let kept = id.attempt_ref(&AttemptId { task: task.clone(), number });
    let why = format!("it is not on {} any more", id.branch());
    let answer = Answer::new(task, Outcome::Reverted, why).of(night);
    if night.is_rebuilding() {
        return answer.help(format!("the branch is not rebuilt to its end: {NAME} resume goes on"));
    }
    answer.help(format!("its work stays kept: git show {kept}"))
}

fn landed_again(night: &Night, task: &TaskId) -> Answer {
    let id = &night.opening().night;
    let state = night.task(task);
    let answer = if let Some(candidate) = state.and_then(|state| state.landed()) {
        let why = format!("again, {} on {}", candidate.commit.short(), id.branch());
        Answer::new(task, Outcome::Landed, why)
    } else if let Some((state, setback)) = state.and_then(|state| Some((state, state.failed()?))) {
        let why =
            format!("without the other it {}", text::inline_plain(&report::why_of(state, setback)));
        let help = format!("its work stays kept: {NAME} show {id}/{task}");
        Answer::new(task, Outcome::Failed, why).help(help)
    } else if let Some(record) = state.filter(|s| s.held().is_some()).and_then(|s| s.last()) {
        let why = format!("its gate says something new: {}", report::why_held(record));
        Answer::new(task, Outcome::Held, why).help(format!("{NAME} approve '{task}' lands it"))
    } else {
        let help = format!("{NAME} resume lands it");
        Answer::new(task, Outcome::Held, "not landed again yet").help(help)
    };
    answer.of(night)
}
