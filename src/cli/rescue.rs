//! `nightshift rescue`: puts the kept work of an attempt on a branch for a person. Starts nothing, and never moves a
//! branch that is there.

use crate::{
    cli::{
        Global, Output, code,
        find::Selector,
        show::{attempt_of, night_with},
        tell::{self, Cleaner},
    },
    git,
    ids::{AttemptId, BRANCH_NAMESPACE, NAME, NightId},
    night::{AttemptRecord, Night},
    report,
    runner::{home::Home, places::Surroundings, refused::Refused},
};

/// Put the kept work of a try on a branch for you: landed, failed, refused or held
#[derive(Debug, clap::Args)]
pub(super) struct Rescue {
    /// A task (task_3), with its night (2026-11-21/task_3), with a try (last/task_3@2)
    #[arg(value_name = "TASK")]
    selector: String,
    /// The try [default: the last one]
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// The branch's name below `nightshift/` [default: nightshift/rescue/NIGHT/TASK-N]
    #[arg(long = "as", value_name = "BRANCH")]
    branch: Option<String>,
    /// Put it out although a rule found a secret in it
    #[arg(long)]
    even_with_secrets: bool,
}

pub(super) fn rescue(
    surroundings: &Surroundings,
    global: &Global,
    command: &Rescue,
    output: &mut Output,
) -> Result<u8, Refused> {
    let home = Home::open(surroundings, &global.repository())?;
    let mut selector = Selector::parse(&command.selector)?;
    let Some(task) = selector.task.clone() else {
        return Err(Refused::usage(
            format!(
                "`{}` is a night, and the work of one task is put on a branch",
                command.selector
            ),
            format!("{NAME} show {} names its tasks", tell::quoted(&command.selector)),
        ));
    };
    selector.attempt = command.attempt.or(selector.attempt);
    let found = night_with(&home, &command.selector, &selector)?;
    let (attempt, record) = attempt_of(&found, &selector)?;
    let cleaner = Cleaner::of(surroundings, &home, &found.night);
    let candidate = record.candidate.as_ref().map(|candidate| &candidate.commit);
    let named = tell::quoted(&format!("{}/{attempt}", found.id));
    let Some(commit) = candidate.or(record.kept.as_ref()) else {
        return Err(Refused::usage(
            format!("{attempt} left no work"),
            format!("{NAME} logs {named} shows what it did"),
        ));
    };
    if record.inspection.holds_secret() && !command.even_with_secrets {
        return Err(Refused::usage(
            format!("a rule found a secret in {attempt}: it is kept where only {NAME} looks"),
            format!(
                "{NAME} show {named} --diff shows it masked; with --even-with-secrets the branch holds it in clear"
            ),
        ));
    }
    if !home.has(commit) {
        return Err(Refused::usage(
            format!("the work of {attempt} is not here any more: {}", commit.short()),
            format!("`{NAME} gc` removes what is older than `keep` says"),
        ));
    }
    let branch = match &command.branch {
        Some(name) => named_by_person(name)?,
        None => format!("rescue/{}/{}-{}", found.id, task.in_ref(), attempt.number),
    };
    let name = format!("{BRANCH_NAMESPACE}{branch}");
    let made = home.user.publish_ref(&home.vault, &name, None, commit);
    if let Err(git::Error::Moved { found, .. }) = &made {
        return Err(Refused::usage(
            format!("the branch {NAME}/{branch} is there already, at {found}"),
            "give another name with --as, or remove it first",
        ));
    }
    made?;
    let branch = format!("{NAME}/{branch}");
    let state = state(&found.night, &attempt, record);
    if output.is_json() {
        let state = cleaner.line(&state);
        output.json(
            "rescue",
            &serde_json::json!({
                "night": found.id, "task": task, "attempt": attempt.number, "branch": branch,
                "commit": commit, "state": state,
            }),
        );
    } else if !output.is_quiet() {
        output.result(&format!("{attempt}: {} is on {branch}", commit.short()));
        output.result(&format!("  {}", cleaner.line(&state)));
        output.result(&format!("  git switch {}", tell::quoted(&branch)));
    }
    Ok(code::DONE)
}

/// What the person should know of it before they build on it.
fn state(night: &Night, attempt: &AttemptId, record: &AttemptRecord) -> String {
    let task = night.task(&attempt.task);
    let last = task.and_then(|task| task.last()).is_some_and(|last| last.number == attempt.number);
    if let Some(setback) = &record.setback {
        let why = task.map_or_else(|| report::why(setback), |task| report::why_of(task, setback));
        format!("it did not land: {why}")
    } else if last && task.is_some_and(|task| task.landed().is_some()) {
        format!("it landed on {}", night.opening().night.branch())
    } else if last && task.is_some_and(|task| task.held().is_some()) {
        format!("it is held: {}", report::why_held(record))
    } else {
        "it did not come to its end: no gate has passed it".to_owned()
    }
}

/// A name for a branch, without our prefix. Names of nights' own branches are not given away.
fn named_by_person(name: &str) -> Result<String, Refused> {
    let branch = name.strip_prefix(&format!("{NAME}/")).unwrap_or(name);
    let wrong = |why: &str| {
        Refused::usage(
            format!("`{name}` cannot be the branch: {why}"),
            format!(
                "--as attic/better is {NAME}/attic/better; only branches below {NAME}/ are made"
            ),
        )
    };
    let first = branch.split('/').next().unwrap_or(branch);
    if NightId::new(first).is_ok() {
        return Err(wrong("this is the name of a night's own branch"));
    }
    if !git2::Reference::is_valid_name(&format!("{BRANCH_NAMESPACE}{branch}")) {
        return Err(wrong("git takes no such name"));
    }
    Ok(branch.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_below_our_prefix_and_never_a_nights() {
        assert_eq!(named_by_person("nightshift/attic/x").unwrap(), "attic/x");
        assert_eq!(named_by_person("x").unwrap(), "x");
        for wrong in
            ["", "2026-11-21", "nightshift/2026-11-21-2", "2026-11-21/x", "a..b", "/x", "x "]
        {
            assert!(named_by_person(wrong).is_err(), "{wrong}");
        }
    }
}
