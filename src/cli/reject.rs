//! `nightshift reject`: says no to a held result. Its work stays kept, and the next attempt is told why.

use std::collections::BTreeMap;

use crate::{
    cli::{
        Global, Output, code,
        decide::{self, Answer, Chosen, Look, Outcome},
        run::drive,
        tell::Cleaner,
    },
    ids::{NAME, NightId},
    night::{Night, Publication},
    runner::{
        self,
        decide::Word,
        home::Home,
        open::{self, Wishes},
        places::Surroundings,
        refused::Refused,
    },
};

/// Say no to a held result; the next attempt is told why
#[derive(Debug, clap::Args)]
pub(super) struct Reject {
    /// Tasks: task_3, or with its night: 2026-11-21/task_3
    #[arg(value_name = "TASK", required = true)]
    tasks: Vec<String>,
    /// Why, for the next attempt; asked for on a terminal
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The night whose results are meant [default: the last that tried the task]
    #[arg(long, value_name = "NIGHT")]
    night: Option<String>,
    /// Leave branch and pull request outside as they are
    #[arg(long)]
    no_push: bool,
}

pub(super) fn reject(
    surroundings: &Surroundings,
    global: &Global,
    command: &Reject,
    output: &mut Output,
) -> Result<u8, Refused> {
    let home = Home::open(surroundings, &global.repository())?;
    let cleaner = Cleaner::new(surroundings);
    let mut answers = Vec::new();
    let mut results: BTreeMap<NightId, Vec<Chosen>> = BTreeMap::new();
    for name in decide::named(&home, &command.tasks, command.night.as_deref())? {
        match decide::look(&home, &name)? {
            Look::Result(chosen) if chosen.state().decidable().is_some() => {
                results.entry(chosen.id().clone()).or_default().push(*chosen);
            }
            Look::Result(chosen) => {
                let why = "it was approved, and may be on the branch already";
                let answer = Answer::new(&chosen.task, Outcome::Refused, why).of(&chosen.night);
                answers.push(answer.help(format!("{NAME} resume settles it")));
            }
            Look::Settled(answer) => answers.push(answer),
            Look::Unknown => answers.push(decide::unknown(&home, &name, None)),
        }
    }
    for chosen in results.values().flatten() {
        output.note(&chosen.shown(&cleaner));
    }
    let mut codes = Vec::new();
    if !results.is_empty() {
        let reason = reason(command, output)?;
        for (id, chosen) in results {
            let words: Vec<Word> = chosen
                .into_iter()
                .map(|result| Word {
                    task: result.task,
                    approved: false,
                    reason: Some(reason.clone()),
                })
                .collect();
            let (night, exit) = write(surroundings, &home, &id, &words, command, output)?;
            codes.push(exit);
            answers.extend(words.iter().map(|word| {
                Answer::new(
                    &word.task,
                    Outcome::Rejected,
                    "its work stays kept; the next attempt is told why",
                )
                .of(&night)
                .help(format!(
                    "change the task in the plan, or {NAME} retry '{}' has it made anew",
                    word.task
                ))
            }));
        }
    }
    Ok(decide::tell(output, "reject", answers, &codes, &cleaner))
}

fn reason(command: &Reject, output: &Output) -> Result<String, Refused> {
    let said = match &command.reason {
        Some(reason) => reason.clone(),
        None if output.asks() => output.asked("why? (the next attempt reads it)"),
        None => String::new(),
    };
    let said = said.trim().to_owned();
    if said.is_empty() {
        return Err(Refused::usage(
            "a rejection needs a reason: the next attempt has nothing else to learn from",
            format!("{NAME} reject TASK --reason 'the helper belongs into src/net'"),
        ));
    }
    Ok(said)
}

/// Writes the decisions of one night down, then brings its pull request up to date where it has one that is open.
fn write(
    surroundings: &Surroundings,
    home: &Home,
    id: &NightId,
    words: &[Word],
    command: &Reject,
    output: &Output,
) -> Result<(Night, u8), Refused> {
    let lock = open::lock(home, Some(id.clone()))?;
    let night = runner::decide::write_down(surroundings, home, id, words, &lock)?;
    let published = matches!(night.publication(), Publication::Done { .. });
    // A night that was cut off publishes when it goes on.
    if !published || command.no_push || night.ended().is_none() {
        if !command.no_push
            && let Err(problem) = runner::known::tell(surroundings, home)
        {
            output.note(&format!("other machines do not know it yet: {problem}"));
        }
        return Ok((night, code::DONE));
    }
    if let Some(over) = runner::decide::outside(surroundings, home, &night).over {
        output.note(&format!("the pull request's text stays as it is: {}", over.words));
        return Ok((night, code::DONE));
    }
    let wishes = Wishes { attended: output.attended(), ..Wishes::default() };
    let told = runner::decide::open(surroundings, home, id, &[], wishes, lock)
        .and_then(|opened| drive(surroundings, opened, output));
    match told {
        Ok((after, _)) => {
            let failed = matches!(after.publication(), Publication::Failed { .. });
            Ok((after, if failed { code::UNPUBLISHED } else { code::DONE }))
        }
        Err(problem) => {
            output.note(&format!("the pull request does not tell it yet: {problem}"));
            Ok((night, code::UNPUBLISHED))
        }
    }
}
