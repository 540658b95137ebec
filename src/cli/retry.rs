//! `nightshift retry`: a task that failed, asked, was rejected or whose pull request was closed may run again as it is.
//! Widens no rule: what the task may do is its text's and the base's.

use crate::{
    cli::{
        Global, Output, code,
        decide::{self, Answer, Outcome},
        run,
        tell::Cleaner,
    },
    ids::{NAME, TaskId},
    night::Again,
    plan::{Status, Task},
    policy::{Decision, Refusal},
    report::text,
    runner::{
        again, clock, earlier,
        home::redactor,
        known,
        permit::PlanEdit,
        places::Surroundings,
        prepare::{Preparation, Request},
        refused::Refused,
    },
};

/// Let a task run again that failed, asked, was rejected, or whose pull request was closed
#[derive(Debug, clap::Args)]
pub(super) struct Retry {
    /// Tasks, as the plan names them
    #[arg(value_name = "TASK", required = true)]
    tasks: Vec<TaskId>,
    /// What the next try is told; where the task asked, the answer, which is written into the plan
    #[arg(long, value_name = "TEXT", value_parser = words)]
    note: Option<String>,
    /// The model to ask in the next try
    #[arg(long, value_name = "M", value_parser = words)]
    model: Option<String>,
    /// Begin a night with exactly these tasks
    #[arg(long)]
    now: bool,
    /// Tell the next try nothing of what people said about earlier results
    #[arg(long)]
    from_scratch: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Characters of a note: the prompt takes no more of a person's words.
const LONGEST: usize = 2_000;

fn words(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err("it is empty".to_owned()),
        LONGEST.. => Err(format!("it is longer than {LONGEST} characters: write it into the plan")),
        _ => Ok(text.to_owned()),
    }
}

/// What is to be done for one task.
enum Step<'p> {
    /// It is remembered for this text.
    Remember(&'p Task),
    /// The note answers what it asked.
    Answer(&'p Task, Vec<String>),
    /// Nothing, and why.
    Not(Answer),
}

pub(super) fn retry(
    surroundings: &Surroundings,
    global: &Global,
    command: &Retry,
    output: &mut Output,
) -> Result<u8, Refused> {
    let request = Request {
        repository: global.repository(),
        base: None,
        tasks: Vec::new(),
        overrides: Vec::new(),
        style: output.style(),
    };
    let preparation = Preparation::read(surroundings, &request)?;
    let home = &preparation.home;
    let cleaner = Cleaner::new(surroundings);
    let steps: Vec<(&TaskId, Step<'_>)> =
        command.tasks.iter().map(|task| (task, step(&preparation, task, command))).collect();
    let mut edit = None;
    let (mut answers, mut remembered) = (Vec::new(), Vec::new());
    for (id, step) in steps {
        match step {
            Step::Not(answer) => answers.push(answer),
            Step::Remember(task) => {
                remembered.push(asked(&preparation, task, command, surroundings));
                answers.push(goes(command, id));
            }
            Step::Answer(task, questions) => {
                let note = redactor(surroundings, &[])
                    .redact(command.note.as_deref().unwrap_or(""))
                    .into_owned();
                let plan = match &mut edit {
                    Some(plan) => plan,
                    None => edit.insert(PlanEdit::open(&preparation)?),
                };
                let answered = match plan.answer(&task.id, &questions, &note) {
                    Ok(answered) => answered,
                    Err(why) => {
                        let help = "answer it below the task in the plan";
                        answers.push(Answer::new(id, Outcome::Stays, why).help(help));
                        continue;
                    }
                };
                output.note(&format!("{id}: its answer goes into {}", plan.shown()));
                if command.model.is_some() || command.from_scratch {
                    let again = asked(&preparation, &answered.task, command, surroundings);
                    remembered.push(Again { note: None, ..again });
                }
                answers.push(match answered.left.first() {
                    None => goes(command, id),
                    Some(_) => waits(id, "it is answered, and still waits", &answered.left),
                });
            }
        }
    }
    let all = answers.iter().all(|answer| answer.outcome == Outcome::Again);
    let question = match (command.now && all, edit.is_some()) {
        (true, _) => Some("begin a night with them now?"),
        (false, true) => Some("write it?"),
        (false, false) => None,
    };
    if let Some(question) = question.filter(|_| !command.yes && output.asks())
        && !output.confirmed(question)
    {
        output.note("nothing was changed");
        return Ok(code::FINDINGS);
    }
    if let Some(edit) = edit {
        edit.write()?;
    }
    for again in &remembered {
        again::write(home, again)?;
    }
    if !remembered.is_empty()
        && let Err(problem) = known::tell_again(surroundings, home, &remembered)
    {
        output.note(&format!("other machines do not know it yet: {problem}"));
    }
    if !(command.now && all) {
        let exit = decide::tell(output, "retry", answers, &[], &cleaner);
        if command.now {
            output.note("no night was begun: not all of them can run");
        }
        return Ok(exit);
    }
    let run = run::Run { tasks: command.tasks.clone(), ..run::Run::default() };
    run::run(surroundings, global, &run, output)
}

/// What a retry of one task comes to.
fn step<'p>(preparation: &'p Preparation, id: &TaskId, command: &Retry) -> Step<'p> {
    let mut named = preparation.tasks().filter(|(task, _)| task.id == *id);
    let not =
        |outcome, why: &str, help: String| Step::Not(Answer::new(id, outcome, why).help(help));
    let Some((task, admission)) = named.next() else {
        let known: Vec<TaskId> =
            preparation.plan.tasks.iter().map(|task| task.id.clone()).collect();
        let why = "the plan has no task of this name";
        let help = decide::near(&known, id)
            .map_or(format!("{NAME} check --all lists every task"), |near| {
                format!("did you mean `{near}`?")
            });
        return not(Outcome::Unknown, why, help);
    };
    if named.next().is_some() {
        let help = "give each an id of its own";
        return not(Outcome::Stays, "the plan has several tasks of this name", help.to_owned());
    }
    let refusals = match &admission.decision {
        Decision::Admitted(_) if preparation.earlier.again(task).is_some() => {
            return Step::Remember(task);
        }
        Decision::Admitted(_) => {
            let help = format!("{NAME} run -t '{id}' takes it now; the next night does too");
            return not(
                Outcome::Nothing,
                "no night has tried it as it is, so it runs by itself",
                help,
            );
        }
        Decision::Waiting(refusals) | Decision::Refused(refusals) => refusals,
    };
    let failed = task
        .fields
        .status
        .as_ref()
        .is_some_and(|field| matches!(field.status, Status::Failed(_) | Status::Rejected));
    match refusals.first().map(|first| first.rule.as_str()) {
        Some(earlier::FAILED | earlier::CLOSED) => Step::Remember(task),
        Some(earlier::ASKED) if command.note.is_some() => {
            Step::Answer(task, preparation.earlier.questions(task))
        }
        Some(earlier::ASKED) => Step::Remember(task),
        Some(earlier::LANDED) => {
            let help = format!("merge it, or {NAME} revert '{id}' first");
            Step::Not(waits(id, "it did not fail", refusals).help(help))
        }
        Some(earlier::HELD) => {
            let help = format!("{NAME} approve '{id}', or {NAME} reject '{id}' and retry it then");
            Step::Not(waits(id, "it did not fail", refusals).help(help))
        }
        _ if failed => {
            let help = "set its status to READY there".to_owned();
            not(Outcome::Stays, "the plan itself says that it failed or was rejected", help)
        }
        _ => Step::Not(waits(id, "a retry frees nothing here", refusals)),
    }
}

/// The answer for a task that something else keeps.
fn waits(id: &TaskId, what: &str, refusals: &[Refusal]) -> Answer {
    let said: Vec<String> = refusals.iter().map(|refusal| refusal.message.clone()).collect();
    let why = format!("{what}: {}", text::inline_plain(&said.join("; ")));
    let help = refusals.iter().find_map(|refusal| refusal.help.clone());
    let help = help.unwrap_or_else(|| format!("{NAME} check --explain -t '{id}' lists every rule"));
    Answer::new(id, Outcome::Stays, why).help(help)
}

fn goes(command: &Retry, id: &TaskId) -> Answer {
    let told = match (&command.note, command.from_scratch) {
        (Some(_), _) => ", with your words",
        (None, true) => ", from scratch",
        (None, false) => "",
    };
    Answer::new(id, Outcome::Again, format!("the next night takes it{told}"))
        .help(format!("{NAME} run -t '{id}' takes it now"))
}

fn asked(
    preparation: &Preparation,
    task: &Task,
    command: &Retry,
    surroundings: &Surroundings,
) -> Again {
    let redactor = redactor(surroundings, &[]);
    Again {
        task: task.id.clone(),
        text: task.text_hash.clone(),
        at: preparation.earlier.moment(task, clock::now()),
        by: surroundings.account.clone(),
        note: command.note.as_ref().map(|note| redactor.redact(note).into_owned()),
        model: command.model.clone(),
        from_scratch: command.from_scratch,
    }
}
