//! `nightshift resume`: lifts a stop and goes on with what was interrupted.

use std::time::Duration;

use crate::{
    cli::{
        Global, Output, code, land,
        run::{self, drive},
    },
    ids::NAME,
    process::Stop,
    runner::{
        home::Home,
        open::{self, Wishes},
        places::Surroundings,
        refused::Refused,
        stop::StopFiles,
    },
};

/// Go on with an interrupted night, or lift a stop
#[derive(Debug, clap::Args)]
pub(super) struct Resume {
    /// Only lift the stop; start nothing
    #[arg(long)]
    only_lift: bool,
    /// Wait for a night that runs here, at most so long; without D until it has ended
    #[arg(long, value_name = "D", num_args = 0..=1, require_equals = true, value_parser = run::wait,
          default_missing_value = "always")]
    wait: Option<Duration>,
}

pub(super) fn resume(
    surroundings: &Surroundings,
    global: &Global,
    command: &Resume,
    output: &mut Output,
) -> Result<u8, Refused> {
    let home = Home::open(surroundings, &global.repository())?;
    let files = StopFiles::of(&home);
    // Who only lifts needs no turn: a night that is on its way to its end is no reason to wait.
    let lock = if command.only_lift { None } else { Some(run::lock(&home, command.wait, output)?) };
    let stopped = files.asked();
    if let Some(path) = files.lift()? {
        return Err(Refused::usage(
            format!("the file {} still stops this repository", path.display()),
            "remove it: it is yours, so it is not removed here",
        ));
    }
    if let Some(asked) = stopped {
        output.note(&format!("the stop by {} is lifted", asked.by));
    }
    let Some(lock) = lock else { return Ok(code::DONE) };
    let kept = land::earlier(surroundings, &home, false, &lock, output);
    let Some((id, _)) = open::unfinished(&home)? else {
        if kept {
            return Ok(code::UNPUBLISHED);
        }
        if output.is_json() {
            output.json("resume", &serde_json::json!({"outcome": "nothing_to_resume"}));
        } else if !output.is_quiet() {
            output.result(&format!("nothing to go on with; {NAME} run begins a night"));
        }
        return Ok(code::DONE);
    };
    output.note(&format!("going on with night {id}"));
    let wishes = Wishes { attended: output.attended(), ..Wishes::default() };
    run::telling(surroundings, &home, output, || {
        let opened = open::resume(surroundings, &home, &id, wishes, lock, Stop::new())?;
        drive(surroundings, opened, output).map(|(night, code)| (Some(night), code))
    })
}
