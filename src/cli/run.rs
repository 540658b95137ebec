//! `nightshift run`: one night, from the lock to the exit code.

use std::{path::PathBuf, time::Duration};

use crate::{
    cli::{
        Global, Output,
        actions::{Folded, Job},
        check, code, gc, land,
        live::Live,
        reports::{self, ReportFile},
    },
    config::{Override, parse_duration, parse_money},
    files,
    ids::{NAME, TaskId},
    journal::Lock,
    night::{Night, Publication, Stage},
    outcome::StopReason,
    process::{self, Stop, Urgency},
    redact::Redactor,
    report,
    runner::{
        Runner, Watch, clock,
        home::Home,
        look::Open,
        open::{self, Opened, Wishes},
        places::Surroundings,
        prepare::{Preparation, Request},
        refused::{Refused, RefusedKind},
        tell::Telling,
    },
};

/// The arguments of `run`.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Run {
    /// The repository, or a directory in it [default: where you are]
    #[arg(value_name = "REPO")]
    pub(super) repository: Option<PathBuf>,
    /// Only these tasks
    #[arg(short, long = "task", value_name = "ID", num_args = 1)]
    pub(super) tasks: Vec<TaskId>,
    /// Only say what would be done: the same as `check`
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,
    /// Tasks to start, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_tasks: Option<u32>,
    /// When to start nothing new: 4h, 90m
    #[arg(long, value_name = "D", value_parser = duration)]
    pub(super) max_time: Option<Seconds>,
    /// US dollars for the night, at most; 0 = no limit
    #[arg(long, value_name = "USD", value_parser = parse_money)]
    pub(super) max_cost: Option<crate::budget::Usd>,
    /// Tasks to work on at the same time
    #[arg(short = 'j', long = "jobs", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) jobs: Option<u32>,
    /// Wait for a night that runs here, at most so long; without D until it has ended
    #[arg(long, value_name = "D", num_args = 0..=1, require_equals = true, value_parser = wait,
          default_missing_value = "always")]
    pub(super) wait: Option<Duration>,
    /// Do not stop after failures in a row
    #[arg(long)]
    pub(super) keep_going: bool,
    /// Start from this branch, tag or commit
    #[arg(long, value_name = "REF")]
    pub(super) base: Option<String>,
    /// Read this plan
    #[arg(long, value_name = "FILE")]
    pub(super) plan: Option<String>,
    /// claude, demo, or an agent of your own file
    #[arg(long, value_name = "NAME")]
    pub(super) agent: Option<String>,
    /// The model to ask the agent for
    #[arg(long, value_name = "M")]
    pub(super) model: Option<String>,
    /// Begin a new night even if one was cut off
    #[arg(long)]
    pub(super) fresh: bool,
    /// Leave the branch here
    #[arg(long)]
    pub(super) no_push: bool,
    /// Push the branch, open no pull request
    #[arg(long)]
    pub(super) no_pr: bool,
    /// Open the pull request as a draft
    #[arg(long)]
    pub(super) draft: bool,
    /// Write a report at the night's end, in the format of FILE's ending; may be given more than once
    #[arg(long = "report", value_name = "FILE", value_parser = reports::report_file,
          conflicts_with = "dry_run")]
    pub(super) reports: Vec<ReportFile>,
}

/// Seconds of a duration that was typed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds(u64);

fn duration(text: &str) -> Result<Seconds, String> {
    parse_duration(text).map(Seconds)
}

/// How long to wait: a duration, or `always`.
pub(super) fn wait(text: &str) -> Result<Duration, String> {
    match text {
        "always" => Ok(Duration::MAX),
        _ => parse_duration(text).map(Duration::from_secs),
    }
}

/// The repository's lock, at once or within the time that the person gives it.
pub(super) fn lock(home: &Home, wait: Option<Duration>, output: &Output) -> Result<Lock, Refused> {
    match wait {
        None => open::lock(home, None),
        Some(limit) => open::lock_within(home, limit, |busy| output.note(busy)),
    }
}

impl Run {
    /// What to prepare.
    pub(super) fn request(&self, global: &Global, output: &Output) -> Request {
        let mut overrides = Vec::new();
        overrides.extend(self.max_tasks.map(Override::MaxTasks));
        overrides.extend(self.max_time.map(|Seconds(seconds)| Override::MaxTime(seconds)));
        overrides.extend(self.max_cost.map(Override::MaxCost));
        overrides.extend(self.jobs.map(Override::Jobs));
        overrides.extend(self.keep_going.then_some(Override::KeepGoing));
        overrides.extend(self.plan.clone().map(Override::Plan));
        overrides.extend(self.agent.clone().map(Override::Agent));
        overrides.extend(self.model.clone().map(Override::Model));
        overrides.extend(self.draft.then_some(Override::Draft));
        Request {
            repository: self.repository.clone().unwrap_or_else(|| global.repository()),
            base: self.base.clone(),
            tasks: self.tasks.clone(),
            overrides,
            style: output.style(),
        }
    }
}

pub(super) fn run(
    surroundings: &Surroundings,
    global: &Global,
    command: &Run,
    output: &mut Output,
) -> Result<u8, Refused> {
    let request = command.request(global, output);
    if command.dry_run {
        return check::of(surroundings, &request, &check::Check::default(), output);
    }
    reports::can_be_written(&command.reports)?;
    let home = Home::open(surroundings, &request.repository)?;
    open::not_stopped(&home)?;
    let lock = lock(&home, command.wait, output)?;
    telling(surroundings, &home, output, || {
        night(surroundings, command, (&request, &home, lock), output)
    })
}

/// Carries out what may become a night, and tells who asked for it. A person who sees that it was refused is told
/// nothing else.
pub(super) fn telling(
    surroundings: &Surroundings,
    home: &Home,
    output: &Output,
    night: impl FnOnce() -> Result<(Option<Night>, u8), Refused>,
) -> Result<u8, Refused> {
    let mut telling = Telling::of(surroundings, home);
    telling.begin();
    let ended = night();
    let missed = match &ended {
        Ok((night, code)) => telling.end(Ok(night.as_ref()), *code),
        Err(_) if output.attended() => Vec::new(),
        Err(refused) => telling.end(Err(refused), super::exit_code(refused.kind)),
    };
    for sentence in missed {
        output.trouble(&sentence);
    }
    ended.map(|(_, code)| code)
}

fn night(
    surroundings: &Surroundings,
    command: &Run,
    (request, home, lock): (&Request, &Home, Lock),
    output: &Output,
) -> Result<(Option<Night>, u8), Refused> {
    let wishes = Wishes {
        no_push: command.no_push,
        no_pr: command.no_pr,
        attended: output.attended(),
        ..Wishes::default()
    };
    let kept = !command.no_push && land::earlier(surroundings, home, command.fresh, &lock, output);
    let left = match open::unfinished(home) {
        // What a person approved is no night's work: it does not keep tonight's from beginning.
        Ok(Some((id, night))) if night.only_lands() => {
            output.note(&format!(
                "night {id} has decisions that were not carried out to their end: {NAME} resume lands them"
            ));
            None
        }
        Ok(left) => left.filter(|(_, night)| !command.fresh && was_cut_off(night)),
        // An old record that cannot be trusted stops nobody from a new night.
        Err(damage) => {
            output.note(&format!("the last night cannot be gone on with: {damage}"));
            None
        }
    };
    if let Some((id, _)) = left {
        if !request.tasks.is_empty() || request.base.is_some() {
            return Err(Refused::usage(
                format!("night {id} was cut off, and -t and --base are for a new one"),
                format!("{NAME} resume goes on with it; {NAME} run --fresh begins a new night"),
            ));
        }
        output.note(&format!("going on with {id}, which was cut off (--fresh begins a new night)"));
        let stop = Stop::new();
        let opened = open::resume(surroundings, home, &id, wishes, lock, stop)?;
        let (night, code) = drive_and_report(surroundings, opened, &command.reports, output)?;
        return Ok((Some(night), with_earlier(code, kept)));
    }
    let mut preparation = Preparation::read(surroundings, request)?;
    check::known_tasks(&preparation, &request.tasks)?;
    if preparation.start_order(&request.tasks).is_empty() {
        if !command.reports.is_empty() {
            output.note("no report is written: there is no night to tell of");
        }
        let code = nothing_ready(&preparation, &request.tasks, output)?;
        if let Some(job) = Job::of(surroundings, Redactor::default()) {
            job.ended(None, code, output);
        }
        return Ok((None, with_earlier(code, kept)));
    }
    if !command.no_push
        && !command.no_pr
        && let Some(full) = preparation.open.as_ref().and_then(Open::refusal)
    {
        slot(home, "refused", &full.message)?;
        return Err(full);
    }
    preparation.look_at_checkout()?;
    let stop = Stop::new();
    let opened = open::open(surroundings, &preparation, &request.tasks, wishes, lock, stop)?;
    let (night, code) = drive_and_report(surroundings, opened, &command.reports, output)?;
    Ok((Some(night), with_earlier(code, kept)))
}

/// The exit code when earlier nights may still not be out: who reads nothing but codes must learn of it.
fn with_earlier(code: u8, kept: bool) -> u8 {
    let less = matches!(code, code::DONE | code::FINDINGS | code::STOPPED);
    if kept && less { code::UNPUBLISHED } else { code }
}

/// True for a night that the machine ended: by a crash, or by the signals of a shutdown and of a closed session. One
/// that a person stopped waits for them.
fn was_cut_off(night: &Night) -> bool {
    match night.ended() {
        None => true,
        Some((_, exit)) => matches!(*exit, code::TERMINATED | code::HUNG_UP),
    }
}

/// Writes a start down that left no night.
fn slot(home: &Home, outcome: &str, message: &str) -> Result<(), files::Error> {
    let slot = serde_json::json!({
        "at": clock::now().to_string(),
        "outcome": outcome,
        "message": message,
    });
    files::append_line(&home.places.slots(), slot.to_string().as_bytes())
}

/// A night in which nothing is to be done leaves a line, not a night.
fn nothing_ready(
    preparation: &Preparation,
    only: &[TaskId],
    output: &Output,
) -> Result<u8, Refused> {
    let home = &preparation.home;
    if preparation.plan_source.is_none() {
        return Err(open::no_plan(home));
    }
    let refused = preparation.refused(only);
    let merges: Vec<String> = preparation
        .waiting_for_merge()
        .map(|(id, place)| format!("{id} waits in {place}"))
        .collect();
    let message = if refused.is_empty() && !merges.is_empty() {
        format!("nothing new is ready: {}", merges.join(", "))
    } else if refused.is_empty() {
        "nothing is ready".to_owned()
    } else {
        format!("no task may run; {} marked ready are held back", refused.len())
    };
    slot(home, "nothing_ready", &message)?;
    let findings = if refused.is_empty() { code::DONE } else { code::FINDINGS };
    if output.is_json() {
        output.json("run", &serde_json::json!({"outcome": "nothing_ready", "exit": findings}));
    } else if !output.is_quiet() {
        output.result(&message);
        for task in &refused {
            let why: Vec<String> =
                task.refusals.iter().map(|refusal| refusal.message.clone()).collect();
            output.result(&format!(
                "  {}  {}",
                task.id,
                report::text::inline_plain(&why.join("; "))
            ));
        }
        output.result(&format!("{NAME} check says why for each task"));
    }
    Ok(findings)
}

/// Runs an opened night to its end, shows it, and gives its exit code.
pub(super) fn drive(
    surroundings: &Surroundings,
    opened: Opened,
    output: &Output,
) -> Result<(Night, u8), Refused> {
    drive_and_report(surroundings, opened, &[], output)
}

/// As [`drive`], and writes these reports at its end, also where the night could not go on.
fn drive_and_report(
    surroundings: &Surroundings,
    opened: Opened,
    reports: &[ReportFile],
    output: &Output,
) -> Result<(Night, u8), Refused> {
    let internal = |problem: std::io::Error| Refused {
        kind: RefusedKind::Internal,
        message: format!("could not start: {problem}"),
        help: None,
    };
    process::adopt_orphans().map_err(internal)?;
    log_to(&opened.hands.night_places.log())?;
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(internal)?;
    let stop = opened.hands.stop.clone();
    let stamped = surroundings.value("JOURNAL_STREAM").is_none();
    let mut live = Live::new(output, stamped, clock::now());
    let Opened { night, journal, hands, stop_files, slots, watchman, lock, entries, first } =
        opened;
    let job = Job::of(surroundings, hands.redactor.clone());
    let home = Home {
        user: hands.user.clone(),
        vault: hands.vault.clone(),
        places: hands.places.clone(),
        remote: hands.user.remote()?,
    };
    if first.is_empty() {
        for entry in &entries {
            Watch::entry(&mut live, entry, &night);
        }
        if !output.is_json() && !output.is_quiet() {
            for note in &night.opening().notes {
                output.note(&format!("note: {}", crate::report::text::inline_plain(note)));
            }
        }
    }
    let id = night.opening().night.clone();
    let code = std::cell::Cell::new(code::BUG);
    let ended = tokio.block_on(async {
        let signal = watch_signals(stop, output.attended());
        let mut folded = None;
        let watch: &mut dyn Watch = if job.is_some() && output.folds() {
            folded.insert(Folded::new(&mut live, output))
        } else {
            &mut live
        };
        let mut runner = Runner::new(night, journal, hands, stop_files, slots, watchman, watch);
        for event in first {
            runner.record(event)?;
        }
        let exit = |night: &Night, reason: Option<&StopReason>| {
            code.set(signal.code().unwrap_or_else(|| exit_code(night, reason)));
            code.get()
        };
        runner.run(exit).await
    });
    // Whatever a deed left behind dies with its supervisor: the runtime's threads hold the pipes. One that waits for
    // the network is not waited for.
    tokio.shutdown_timeout(Duration::from_secs(3));
    process::end_probes();
    let kept = live.finish();
    gc::after_a_night(surroundings, &home, &lock);
    drop(lock);
    // Without the lock: a night that could not go on is told as one that nobody is at.
    reports::after_a_night(surroundings, &home, &id, reports, output);
    let night = ended.map_err(|problem: anyhow::Error| Refused {
        kind: if problem.downcast_ref::<crate::night::IllegalEvent>().is_some() {
            RefusedKind::Internal
        } else {
            RefusedKind::Stopped
        },
        message: format!("night {id} could not go on: {problem:#}"),
        help: Some(format!("nothing that landed is lost; {NAME} resume goes on with it")),
    })?;
    let code = code.get();
    if output.is_quiet() && code >= code::USAGE {
        for line in kept.iter().rev().take(10).rev() {
            output.result(line);
        }
    }
    if !output.is_json() && (!output.is_quiet() || code >= code::USAGE) {
        output.page(&report::summary(&night, clock::now(), false, &output.screen()));
    }
    if let Some(job) = &job {
        job.ended(Some(&night), code, output);
    }
    Ok((night, code))
}

/// The exit code of a night. Several at once: 3 > 6 > 4 > 1 > 0.
pub(super) fn exit_code(night: &Night, reason: Option<&StopReason>) -> u8 {
    let tried = night.tasks().any(|(_, task)| !task.attempts.is_empty());
    let landed = night.tasks().any(|(_, task)| task.landed().is_some());
    match reason {
        Some(StopReason::RedBase | StopReason::GateUnproven) => return code::REFUSED,
        Some(StopReason::AgentUnusable { .. }) if !landed => return code::REFUSED,
        _ => {}
    }
    if matches!(night.publication(), Publication::Failed { .. }) {
        return code::UNPUBLISHED;
    }
    let reason = match reason {
        Some(StopReason::OnlyLanding) => night.stopped_early(),
        other => other,
    };
    if reason.is_some() {
        return code::STOPPED;
    }
    let failed = night.tasks().any(|(_, task)| {
        matches!(task.stage, Stage::Held(_) | Stage::Failed(_) | Stage::Parked(_))
    });
    if failed || !night.opening().refused.is_empty() || !tried {
        return code::FINDINGS;
    }
    code::DONE
}

/// Which signal ended the night, if one did.
pub(super) struct Signal(std::sync::Arc<std::sync::atomic::AtomicU8>);

impl Signal {
    /// Its exit code.
    pub(super) fn code(&self) -> Option<u8> {
        let code = self.0.load(std::sync::atomic::Ordering::Relaxed);
        (code != 0).then_some(code)
    }
}

/// The first signal saves the work and ends the night; the second ends the process at once, and every
/// supervisor with it.
pub(super) fn watch_signals(stop: Stop, attended: bool) -> Signal {
    use tokio::signal::unix::{SignalKind, signal};
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicU8::new(0));
    let signals = [
        (SignalKind::interrupt(), code::INTERRUPTED),
        (SignalKind::terminate(), code::TERMINATED),
        (SignalKind::hangup(), code::HUNG_UP),
    ];
    for (kind, exit) in signals {
        // `nohup` asked for it: the night goes on when its terminal closes.
        if kind == SignalKind::hangup() && process::ignores_hangup() {
            continue;
        }
        let (seen, stop) = (seen.clone(), stop.clone());
        // Without a handler the signal ends the process, which is no worse than before.
        let Ok(mut stream) = signal(kind) else { continue };
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if seen.swap(exit, std::sync::atomic::Ordering::Relaxed) != 0 {
                    std::process::exit(i32::from(exit));
                }
                if attended {
                    super::output::say("saving the work… press Ctrl-C again to end at once");
                }
                stop.ask(Urgency::Now);
            }
        });
    }
    Signal(seen)
}

/// The program's own log, in the night's directory. The journal decides, the log explains.
fn log_to(path: &std::path::Path) -> Result<(), Refused> {
    let file = files::append_to(path)?;
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_writer(std::sync::Mutex::new(file))
        .with_max_level(tracing::Level::INFO)
        .finish();
    // A second night in one process (the demo's) keeps the first one's log.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}
