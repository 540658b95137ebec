//! `nightshift stop`: asks the running night to end, and keeps others from starting.

use std::time::Duration;

use serde_json::json;

use crate::{
    cli::{Global, Output, code, tell},
    ids::{NAME, REPO_DIRECTORY},
    report::text,
    runner::{
        clock,
        home::Home,
        places::Surroundings,
        refused::Refused,
        stop::{self, StopFiles, StopOrder},
    },
};

/// Stop the running night, and start no other until `resume`
#[derive(Debug, clap::Args)]
pub(super) struct Stop {
    /// End agents and gates at once; their attempts do not count
    #[arg(long)]
    now: bool,
    /// The stop lifts itself after this time: 2h, 30m
    #[arg(long = "for", value_name = "D", value_parser = super::run::wait)]
    lasts: Option<Duration>,
    /// Why, for whoever finds the night stopped
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) fn stop(
    surroundings: &Surroundings,
    global: &Global,
    command: &Stop,
    output: &mut Output,
) -> Result<u8, Refused> {
    let home = Home::open(surroundings, &global.repository())?;
    let files = StopFiles::of(&home);
    let before = files.asked().map(|asked| asked.by);
    let now = clock::now();
    let order = StopOrder {
        by: surroundings.account.clone(),
        at: now.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        now: command.now,
        until: command.lasts.and_then(|lasts| now.checked_add(lasts).ok()),
        reason: command.reason.as_deref().map(text::inline_plain),
    };
    let holder = tell::holder(&home);
    if let Err(problem) = files.ask(&order) {
        let kill = match &holder {
            Some(holder) if holder.pid > 0 => {
                format!(", or `kill -TERM {}`, ends the night", holder.pid)
            }
            Some(_) | None => " stops as well".to_owned(),
        };
        let file = home.user.work_tree().map(|root| root.join(REPO_DIRECTORY).join("STOP"));
        let file = file.map_or_else(String::new, |file| {
            format!("an empty file {}{kill}; and ", file.display())
        });
        return Err(Refused::environment(
            problem.to_string(),
            format!("{file}see that the disk has room and works"),
        ));
    }
    if output.is_json() {
        output.json(
            "stop",
            &json!({ "order": order, "running": holder, "stopped_before_by": before }),
        );
        return Ok(code::DONE);
    }
    if output.is_quiet() {
        return Ok(code::DONE);
    }
    let happens = match (&holder, command.now) {
        (Some(holder), true) => format!(
            "a night is {}: agent and gate end now, and the work is kept",
            tell::holder_in_words(holder)
        ),
        (Some(holder), false) => format!(
            "a night is {}: what is under way is finished and landed, nothing new is started\n\
             {NAME} stop --now ends it at once",
            tell::holder_in_words(holder)
        ),
        (None, _) => "no night is running; none will start".to_owned(),
    };
    let again = if before.is_some() { "stopped, as it was already" } else { "stopped" };
    let lifts = match order.until {
        Some(until) => format!("next: it lifts itself at {}, or {NAME} resume", stop::local(until)),
        None => format!("next: {NAME} resume lifts it"),
    };
    output.result(&format!("{again}: {happens}\n{lifts}"));
    Ok(code::DONE)
}
