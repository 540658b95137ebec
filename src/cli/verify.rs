//! `nightshift verify`: whether the commits of a line passed the gate, on any clone.
//!
//! Shows what `runner::verify` finds; decides nothing but the exit code.

use serde_json::{Value, json};

use crate::{
    cli::{Global, Output, code, run::watch_signals, tell::Cleaner},
    ids::NAME,
    process::{self, Stop},
    report::{self, column},
    runner::{
        home::Home,
        open,
        places::Surroundings,
        refused::{Refused, RefusedKind},
        verify::{
            self, Judged, Question, Standing, Verification,
            rerun::{Outcome, Rerun},
        },
    },
};

/// Width of the column of subjects, in terminal cells.
const SUBJECT: usize = 44;

/// Say whether commits passed the gate, by their receipts or by running it again
///
/// Works on any clone: the receipts are in git, at refs/nightshift/receipts, and are fetched when they are not
/// here. Commits that do not claim to be ours are left out, unless --require-all asks for them. A branch is looked at
/// as the remote has it; a night's has to have all that landed in it, and nothing else.
///
/// Exit codes: 0 every commit is proven · 1 one is not · 2 the question cannot be understood, or commits are
/// missing here · 3 the remote or this machine refuses · 5 a night is running (--rerun).
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// A night (2026-11-21, last, last~1), a pull request (482, its URL), a range (main..x) or a revision [default:
    /// the last night here, else HEAD]
    #[arg(value_name = "WHAT")]
    what: Option<String>,
    /// Run the gate again on each tree, in walls: takes one gate run for each commit and one for the base
    #[arg(long)]
    rerun: bool,
    /// Commits of other people must be proven too
    #[arg(long)]
    require_all: bool,
    /// Where the commits left off [default: where they left the remote's default branch]
    #[arg(long, value_name = "REF")]
    base: Option<String>,
    /// Ask the remote for nothing
    #[arg(long)]
    no_fetch: bool,
}

pub(super) fn verify(
    surroundings: &Surroundings,
    global: &Global,
    command: &Verify,
    output: &mut Output,
) -> Result<u8, Refused> {
    let home = Home::open(surroundings, &global.repository())?;
    let question = Question {
        what: command.what.clone(),
        base: command.base.clone(),
        fetch: !command.no_fetch,
        all: command.require_all,
        style: output.style(),
    };
    let mut found = verify::verify(surroundings, &home, &question)?;
    let cleaner = Cleaner::new(surroundings);
    if command.rerun
        && found.to_run() > 0
        && let Some(exit) = rerun(surroundings, &home, &mut found, &cleaner, output)?
    {
        return Ok(exit);
    }
    let holds = found.holds(question.all) && !(question.all && found.judged.is_empty());
    let exit = if holds { code::DONE } else { code::FINDINGS };
    if output.is_json() {
        output.json("verify", &as_json(&found, holds, command, &cleaner));
    } else if !output.is_quiet() {
        output.page(&in_words(&found, holds, command, &cleaner));
    }
    Ok(exit)
}

/// Runs the gate again. An exit code when that ended early, for a reason that was told.
fn rerun(
    surroundings: &Surroundings,
    home: &Home,
    found: &mut Verification,
    cleaner: &Cleaner,
    output: &Output,
) -> Result<Option<u8>, Refused> {
    let lock = open::lock(home, None)?;
    let stop = Stop::new();
    let ready = Rerun::prepare(surroundings, home, &found.ground, lock, stop.clone())?;
    let millis = |judged: &Judged| -> u64 {
        judged.report.iter().flat_map(|report| &report.steps).map(|step| step.millis).sum()
    };
    let before: u64 = found.judged.iter().map(millis).sum();
    let cost = if before == 0 {
        "no receipt says how long that takes".to_owned()
    } else {
        format!("the receipts tell of {} for the former", report::seconds(before))
    };
    output.note(&format!(
        "running the gate on {} and on the base; {cost}",
        count(found.to_run(), "tree")
    ));
    let internal = |problem: std::io::Error| Refused {
        kind: RefusedKind::Internal,
        message: format!("could not start: {problem}"),
        help: None,
    };
    process::adopt_orphans().map_err(internal)?;
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(internal)?;
    let tell = |what: &str| output.note(&format!("gate: {}", cleaner.line(what)));
    let (outcome, signal) = tokio.block_on(async {
        let signal = watch_signals(stop, output.attended());
        (ready.run(found, tell).await, signal)
    });
    drop(tokio);
    match outcome? {
        Outcome::Done => Ok(None),
        Outcome::Stopped => {
            output.note("stopped before the gate had run on all of them: nothing is said");
            Ok(Some(signal.code().unwrap_or(code::STOPPED)))
        }
        Outcome::RedBase(report) => Err(Refused::environment(
            format!(
                "the gate is red on the base {} here ({}): nothing can be said about the commits",
                found.ground.commit.short(),
                report.red_steps().join(", ")
            ),
            format!("{NAME} doctor shows what programs see here; the gate ran inside walls"),
        )),
    }
}

fn in_words(found: &Verification, holds: bool, command: &Verify, cleaner: &Cleaner) -> String {
    let mut lines = vec![format!(
        "{} at {} · {} since {} ({})",
        cleaner.line(&found.tip_how),
        found.tip.short(),
        count(found.judged.len(), "commit"),
        found.ground.commit.short(),
        cleaner.line(&found.base_how)
    )];
    lines.extend(found.judged.iter().map(|judged| line(judged, cleaner)));
    lines.extend(found.findings.iter().map(|finding| format!("  NO    {}", cleaner.line(finding))));
    lines.extend(found.notes.iter().map(|note| format!("note: {}", cleaner.line(note))));
    lines.push(verdict(found, holds, command));
    lines.join("\n")
}

fn line(judged: &Judged, cleaner: &Cleaner) -> String {
    let mark = match judged.standing {
        Standing::Landed | Standing::SameTree(_) | Standing::Rerun => "ok",
        Standing::NotProven => "NO",
        Standing::NotOurs => "--",
    };
    let mut words = Vec::new();
    if judged.standing.proven() {
        let task = judged.of.as_ref().map_or(String::new(), |(_, task)| format!("{task}: "));
        let gate = judged.report.as_ref().map_or(String::new(), |report| {
            let millis = report.steps.iter().map(|step| step.millis).sum();
            format!(", {}, {}", report.tier, report::seconds(millis))
        });
        words.push(format!("{task}the gate passed at its tree{gate}"));
    } else if judged.standing == Standing::NotOurs {
        words.push("not ours".to_owned());
    }
    words.extend(judged.why.iter().chain(&judged.notes).cloned());
    let words = cleaner.line(&words.join("; "));
    let subject = column(&cleaner.line(&judged.commit.subject), SUBJECT);
    format!("  {mark:<4}  {}  {subject}  {words}", judged.commit.id.short())
}

fn verdict(found: &Verification, holds: bool, command: &Verify) -> String {
    let all = found.judged.len();
    let proven = found.judged.iter().filter(|judged| judged.standing.proven()).count();
    let by = if command.rerun { "by running the gate again" } else { "by receipts" };
    if all == 0 && found.findings.is_empty() {
        let word = if holds { "nothing to verify" } else { "not proven" };
        return format!("{word}: there is no commit that the base does not have");
    }
    if !holds {
        let those: Vec<&str> = found
            .judged
            .iter()
            .filter(|judged| judged.standing == Standing::NotProven)
            .map(|judged| judged.commit.id.short())
            .collect();
        let more = found.findings.len();
        if those.is_empty() && more > 0 {
            return format!("not proven: the branch is not what the night left ({more} found)");
        }
        let more = if more == 0 { String::new() } else { format!("; {more} more found") };
        let next = if command.rerun {
            more
        } else {
            format!("{more}; {NAME} verify --rerun runs the gate again")
        };
        return format!(
            "not proven: {} of {} ({}){next}",
            those.len(),
            count(all, "commit"),
            those.join(", ")
        );
    }
    match all - proven {
        0 => format!("proven: {}, {by}", count(all, "commit")),
        _ if proven == 0 => format!("nothing to verify: none of {} is ours", count(all, "commit")),
        others => {
            format!("proven: {proven} of {}, {by}; {others} not ours", count(all, "commit"))
        }
    }
}

fn as_json(found: &Verification, holds: bool, command: &Verify, cleaner: &Cleaner) -> Value {
    let lines = |words: &[String]| words.iter().map(|w| cleaner.line(w)).collect::<Vec<_>>();
    let commits: Vec<Value> = found
        .judged
        .iter()
        .map(|judged| {
            json!({
                "commit": judged.commit.id,
                "tree": judged.commit.tree,
                "subject": cleaner.line(&judged.commit.subject),
                "standing": judged.standing.word(),
                "same_tree_as": match &judged.standing {
                    Standing::SameTree(commit) => Some(commit),
                    Standing::Landed
                    | Standing::Rerun
                    | Standing::NotProven
                    | Standing::NotOurs => None,
                },
                "night": judged.of.as_ref().map(|(night, _)| night),
                "task": judged.of.as_ref().map(|(_, task)| task),
                "score": judged.report.as_ref().map(|report| report.score),
                "tier": judged.report.as_ref().map(|report| &report.tier),
                "why": lines(&judged.why),
                "notes": lines(&judged.notes),
            })
        })
        .collect();
    json!({
        "proven": holds,
        "rerun": command.rerun,
        "require_all": command.require_all,
        "base": found.ground.commit,
        "base_how": cleaner.line(&found.base_how),
        "gate_file": found.ground.file(),
        "tip": found.tip,
        "commits": commits,
        "findings": lines(&found.findings),
        "notes": lines(&found.notes),
    })
}

fn count(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
