//! `nightshift land`: publishes finished nights whose work is safe here and not out. `run` and `resume` do the same
//! before anything else.
//!
//! Starts no agent and no gate, and asks for nothing that a publication does not need.

use serde_json::json;

use crate::{
    cli::{
        Global, Output, code,
        find::{self, Selector},
        run::exit_code,
    },
    ids::{NAME, NightId},
    journal::Lock,
    report::text,
    runner::{
        home::Home,
        known, open,
        outbox::{self, Sent},
        places::Surroundings,
        refused::Refused,
    },
};

/// Publish what nights could not: push their branches, open their pull requests
#[derive(Debug, clap::Args)]
pub(super) struct Land {
    /// A night: last, last~1, 2026-11-21 [default: all that wait]
    #[arg(value_name = "NIGHT")]
    night: Option<String>,
}

pub(super) fn land(
    surroundings: &Surroundings,
    global: &Global,
    command: &Land,
    output: &mut Output,
) -> Result<u8, Refused> {
    let home = Home::open(surroundings, &global.repository())?;
    open::not_stopped(&home)?;
    let nights = match &command.night {
        Some(word) => vec![named(&home, word)?],
        None => outbox::waiting(&home).into_iter().map(|waiting| waiting.night).collect(),
    };
    let lock = open::lock(&home, None)?;
    let mut answers = Vec::new();
    for night in nights {
        let sent = send(surroundings, &home, &night, command.night.is_some(), &lock)?;
        answers.push((night, sent));
    }
    if command.night.is_none() {
        answers.extend(outbox::unreadable(&home).into_iter().map(|(night, problem)| {
            let why = format!("it cannot be read: {}", text::inline_plain(&problem.to_string()));
            (night, Sent::Kept { why, passing: false })
        }));
    }
    if let Err(problem) = known::tell(surroundings, &home) {
        output.note(&format!("other machines do not know what nights here settled: {problem}"));
    }
    let kept = answers.iter().any(|(_, sent)| matches!(sent, Sent::Kept { .. }));
    let exit = if kept { code::UNPUBLISHED } else { code::DONE };
    if output.is_json() {
        let nights: Vec<_> = answers
            .iter()
            .map(|(night, sent)| match sent {
                Sent::Out { url, notes } => {
                    json!({"night": night, "out": true, "url": url, "notes": notes})
                }
                Sent::Kept { why, passing } => {
                    json!({"night": night, "out": false, "why": why, "passing": passing})
                }
            })
            .collect();
        output.json("land", &json!({"nights": nights, "exit": exit}));
    } else if !output.is_quiet() || kept {
        if answers.is_empty() {
            output.result("nothing waits to be published");
        }
        for (night, sent) in &answers {
            output.result(&line(night, sent));
        }
    }
    Ok(exit)
}

fn named(home: &Home, word: &str) -> Result<NightId, Refused> {
    let unknown = || {
        Refused::usage(format!("`{word}` is not a night"), format!("{NAME} status shows the last"))
    };
    let selector = Selector::parse(word)?;
    if selector.task.is_some() {
        return Err(unknown());
    }
    find::night(home, &selector)?.map(|found| found.id).ok_or_else(unknown)
}

fn send(
    surroundings: &Surroundings,
    home: &Home,
    night: &NightId,
    named: bool,
    lock: &Lock,
) -> Result<Sent, Refused> {
    let exit = |night: &crate::night::Night| exit_code(night, night.stopped_early());
    outbox::land(surroundings, home, night, named, exit, lock)
}

/// What came of one night, in one line.
fn line(night: &NightId, sent: &Sent) -> String {
    match sent {
        Sent::Out { url, notes } => {
            let notes: Vec<String> =
                notes.iter().map(|note| format!(" ({})", text::inline_plain(note))).collect();
            format!("{night}  out   {}{}", text::inline_plain(url), notes.concat())
        }
        Sent::Kept { why, .. } => format!("{night}  kept  {why}"),
    }
}

/// Publishes what earlier nights could not, and says so. True when something is still not out. A night that was cut
/// off is left to what goes on with it, unless nothing will (`abandoned`).
pub(super) fn earlier(
    surroundings: &Surroundings,
    home: &Home,
    abandoned: bool,
    lock: &Lock,
    output: &Output,
) -> bool {
    let (mut kept, mut news) = (false, false);
    for waiting in outbox::waiting(home) {
        if waiting.cut_off && !abandoned {
            continue;
        }
        news = true;
        match send(surroundings, home, &waiting.night, false, lock) {
            Ok(sent) => {
                output.note(&format!("published later: {}", line(&waiting.night, &sent)));
                if let Sent::Kept { passing, .. } = sent {
                    kept = true;
                    if passing {
                        break; // the next would wait for the same
                    }
                }
            }
            Err(problem) => {
                kept = true;
                output.note(&format!("{} is not published: {problem}", waiting.night));
            }
        }
    }
    if (news || known::waits(home) || known::is_behind(surroundings, home))
        && let Err(problem) = known::tell(surroundings, home)
    {
        output.note(&format!("the other machines were not told: {problem}"));
    }
    kept
}
