//! People's side: arguments in, words and exit codes out. The environment, the terminal and the signals
//! enter here and nowhere else.
//!
//! One file per command. Results go to standard output, everything else to standard error. No command
//! decides anything about a night: it asks the rooms above.

mod actions;
mod add;
mod approve;
mod check;
mod completions;
mod config;
mod decide;
mod demo;
mod doctor;
mod find;
mod gc;
mod history;
mod init;
mod land;
mod live;
mod logs;
mod output;
mod reject;
mod reports;
mod rescue;
mod resume;
mod retry;
mod revert;
mod run;
mod show;
mod status;
mod stop;
mod tell;
mod verify;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    agent::{DEMO_AGENT, demo_agent_main},
    faults,
    ids::NAME,
    process::{SUPERVISE, supervise_main},
    runner::{
        places::Surroundings,
        refused::{Refused, RefusedKind},
    },
    sandbox::trial::{TRY, trial_main},
};

pub use output::Output;

/// Works through the ready tasks of your PROJECT_PLAN.md and leaves one gated pull request.
///
/// Your checkout is never touched: work happens in directories of nightshift's own, on a branch of its own.
#[derive(Debug, Parser)]
#[command(name = NAME, version = faults::VERSION, max_term_width = 100, disable_help_subcommand = true)]
#[command(
    after_help = "First look: nightshift demo      On your own repository: nightshift init, then \
                        nightshift check, then nightshift run"
)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
struct Global {
    /// The repository, or a directory in it [default: where you are]
    #[arg(short = 'C', long = "repo", global = true, value_name = "PATH")]
    repository: Option<PathBuf>,
    /// Print JSON: one object with a schema id, or one line per event
    #[arg(long, global = true)]
    json: bool,
    /// Print nothing when all is well (exit code 0 or 1)
    #[arg(short, long, global = true)]
    quiet: bool,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Colour,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take the ready tasks and work through them now
    ///
    /// Exit codes: 0 all that was tried landed, or nothing was ready · 1 something failed, was refused or
    /// waits for you · 2 wrong argument, configuration or plan · 3 refused before the start (red gate, no
    /// agent, no token) · 4 stopped early, `resume` goes on · 5 another night is running · 6 commits are
    /// safe but not published · 70 a fault of ours · 129, 130, 143 interrupted.
    Run(run::Run),
    /// Say what a night would do and why, without starting anything
    Check(check::Check),
    /// Write one task into the plan
    ///
    /// In the style of the tasks that are there, and no other byte; nothing is committed. Exit codes: 0 added, and it
    /// says whether it would run · 2 it cannot be written.
    Add(add::Add),
    /// Say how the last night went, or how far the running one is
    Status(status::Status),
    /// Show a night, a task or an attempt in full
    Show(show::Show),
    /// Say what many nights came to: rates, time, cost, and which rules say no most
    History(history::History),
    /// Print transcripts and gate logs
    Logs(logs::Logs),
    /// Say whether commits passed the gate: on any clone, as a required check
    Verify(verify::Verify),
    /// Land a held result, or let a task that waits in the plan run
    ///
    /// A held result lands as it is when its night's branch did not move; otherwise it is rebuilt and passes the
    /// gate again. No agent is started. Exit codes: 0 all of it landed or may run · 1 something did not land, or
    /// a rule refuses it · 2 no such task · 3 no walls, no token · 4 stopped · 5 a night is running · 6 landed,
    /// not published.
    Approve(approve::Approve),
    /// Say no to a held result; the next attempt is told why
    Reject(reject::Reject),
    /// Let a task run again that failed, asked, was rejected, or whose pull request was closed
    ///
    /// The next night that may takes it, as the plan has it: no rule is widened. Exit codes: 0 it goes again · 1 it waits
    /// for something else · 2 no such task; with --now those of `run`.
    Retry(retry::Retry),
    /// Take a landed result back: from its night's branch, or by a pull request where that is merged
    ///
    /// Not merged: the branch is rebuilt without it, and what landed after it passes the gate again at its new tree.
    /// No agent is started, and every commit stays kept. Exit codes: 0 reverted · 1 something after it does not land
    /// without it · 2 no such task or night · 3 no walls, no token · 4 stopped · 5 a night is running · 6 done here,
    /// not published.
    Revert(revert::Revert),
    /// Put the kept work of a try on a branch for you: landed, failed, refused or held
    Rescue(rescue::Rescue),
    /// Publish what nights could not: push their branches, open their pull requests
    ///
    /// Starts no agent and no gate. Without NIGHT all that wait. Exit codes: 0 all of it is out · 2 no such night ·
    /// 4 stopped · 5 a night is running · 6 something is still not out, and the line says why.
    Land(land::Land),
    /// Go on with an interrupted night, or lift a stop
    Resume(resume::Resume),
    /// Stop the running night, and start no other until `resume`
    Stop(stop::Stop),
    /// Remove records of old nights that nobody needs, and what only they kept
    ///
    /// The same happens after every night. `keep` in your own file says how much stays. Exit codes: 0 done · 1 something
    /// could not be removed, or a damaged night is kept · 5 a night is running.
    Gc(gc::Gc),
    /// Say which walls hold on this machine, and what they do not stop
    ///
    /// Tries each way out with and without walls. Exit code 1 when no walls hold that your own file allows.
    Doctor(doctor::Doctor),
    /// Write a configuration and a plan to begin with
    Init(init::Init),
    /// Print the settings in force and where each comes from, their schema, and their places
    Config(config::Config),
    /// Watch a whole night on a throw-away repository: no account, no cost
    Demo(demo::Demo),
    /// Print a completion script for a shell
    Completions(completions::Completions),
}

/// The exit codes, as `nightshift run --help` and the documents tell them.
pub mod code {
    /// All that was tried landed, or nothing was ready.
    pub const DONE: u8 = 0;
    /// Finished; something failed, was refused or waits for a person.
    pub const FINDINGS: u8 = 1;
    /// Something that a person wrote is wrong; nothing was started.
    pub const USAGE: u8 = 2;
    /// Refused before anything started: red gate, no agent, no token.
    pub const REFUSED: u8 = 3;
    /// Stopped early; can be resumed.
    pub const STOPPED: u8 = 4;
    /// Another night is running.
    pub const BUSY: u8 = 5;
    /// Commits are safe here; push or pull request failed.
    pub const UNPUBLISHED: u8 = 6;
    /// A fault of ours.
    pub const BUG: u8 = 70;
    /// Interrupted by SIGINT.
    pub const INTERRUPTED: u8 = 130;
    /// Ended by SIGHUP: the terminal or the session closed.
    pub const HUNG_UP: u8 = 129;
    /// Ended by SIGTERM.
    pub const TERMINATED: u8 = 143;
}

/// Runs the program.
pub fn main() -> ExitCode {
    // Our own binary started by ourselves: before anything else, with nothing read.
    match std::env::args().nth(1).as_deref() {
        Some(SUPERVISE) => return supervise_main(),
        Some(DEMO_AGENT) => return demo_agent_main(),
        Some(TRY) => return trial_main(),
        _ => {}
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(problem) => {
            let _ = problem.print();
            return ExitCode::from(if problem.use_stderr() { code::USAGE } else { code::DONE });
        }
    };
    let mut output = Output::new(&arguments.global);
    let command =
        || surroundings().and_then(|surroundings| dispatch(&surroundings, arguments, &mut output));
    // What cannot be expected (the machine gives no more threads, a fault of ours) has a code of the table as well.
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(command));
    match result.unwrap_or_else(|_| Err(unexpected())) {
        Ok(code) => ExitCode::from(code),
        Err(refused) => {
            let code = exit_code(refused.kind);
            output.refused(&refused, code);
            ExitCode::from(code)
        }
    }
}

/// What is said when nothing was foreseen; the reason was printed where it happened.
fn unexpected() -> Refused {
    Refused::new(
        RefusedKind::Internal,
        "it ended where it should not: the reason stands above",
        format!(
            "what landed is safe; when memory, processes and disk are not short this is a fault of ours. {NAME} \
             resume goes on"
        ),
    )
}

#[expect(clippy::disallowed_methods, reason = "the environment is read here, once")]
fn surroundings() -> Result<Surroundings, Refused> {
    let exe = std::env::current_exe().map_err(|problem| Refused {
        kind: RefusedKind::Internal,
        message: format!("could not find our own program: {problem}"),
        help: None,
    })?;
    // Variables that are not UTF-8 reach nobody: agents and gates get a list of names anyway.
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    faults::arm(&environment).map_err(|problem| {
        Refused::usage(problem, "write it as src/faults.rs says, or unset it")
    })?;
    Surroundings::new(environment, exe).map_err(|missing| {
        Refused::environment(missing, "nightshift keeps its state below HOME; set it in the job")
    })
}

fn dispatch(
    surroundings: &Surroundings,
    arguments: Arguments,
    output: &mut Output,
) -> Result<u8, Refused> {
    let global = &arguments.global;
    match &arguments.command {
        Command::Run(command) => run::run(surroundings, global, command, output),
        Command::Check(command) => check::check(surroundings, global, command, output),
        Command::Add(command) => add::add(surroundings, global, command, output),
        Command::Status(command) => status::status(surroundings, global, command, output),
        Command::Show(command) => show::show(surroundings, global, command, output),
        Command::History(command) => history::history(surroundings, global, command, output),
        Command::Logs(command) => logs::logs(surroundings, global, command, output),
        Command::Verify(command) => verify::verify(surroundings, global, command, output),
        Command::Approve(command) => approve::approve(surroundings, global, command, output),
        Command::Reject(command) => reject::reject(surroundings, global, command, output),
        Command::Retry(command) => retry::retry(surroundings, global, command, output),
        Command::Revert(command) => revert::revert(surroundings, global, command, output),
        Command::Rescue(command) => rescue::rescue(surroundings, global, command, output),
        Command::Land(command) => land::land(surroundings, global, command, output),
        Command::Resume(command) => resume::resume(surroundings, global, command, output),
        Command::Stop(command) => stop::stop(surroundings, global, command, output),
        Command::Gc(command) => gc::gc(surroundings, global, command, output),
        Command::Doctor(command) => doctor::doctor(surroundings, global, command, output),
        Command::Init(command) => init::init(surroundings, global, command, output),
        Command::Config(command) => config::config(surroundings, global, command, output),
        Command::Demo(command) => demo::demo(surroundings, global, command, output),
        Command::Completions(command) => Ok(completions::completions(command, output)),
    }
}

/// The one table from "no" to exit code.
fn exit_code(kind: RefusedKind) -> u8 {
    match kind {
        RefusedKind::Usage => code::USAGE,
        RefusedKind::Environment => code::REFUSED,
        RefusedKind::Busy => code::BUSY,
        RefusedKind::Stopped => code::STOPPED,
        RefusedKind::Internal => code::BUG,
    }
}

impl Global {
    /// The repository that was named, or where the person is.
    #[expect(clippy::disallowed_methods, reason = "the environment is read here, once")]
    fn repository(&self) -> PathBuf {
        self.repository.clone().or_else(|| std::env::current_dir().ok()).unwrap_or_default()
    }
}
