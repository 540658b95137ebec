//! `nightshift status`: the last night on one screen, who runs now, and what to do next.

mod all;
mod watch;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    cli::{
        Global, Output, code,
        find::{self, Found, Selector},
        history, reports,
        tell::{self, Cleaner},
    },
    diagnostic::Style,
    ids::{NAME, NightId, TaskId},
    journal::Holder,
    night::{Command, Night, Publication},
    outcome::StopReason,
    report::{self, Screen},
    runner::{
        clock, earlier,
        home::Home,
        known,
        look::Open,
        outbox::{self, Waiting},
        places::Surroundings,
        prepare::user_settings,
        refused::Refused,
        slots,
        stop::StopFiles,
    },
};

/// Say how the last night went, or how far the running one is
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// A night: last, last~1, 2026-11-21 [default: last]
    #[arg(long, value_name = "NIGHT")]
    night: Option<String>,
    /// Draw the running night again and again until it ends; its events where nothing can be drawn
    #[arg(long, conflicts_with_all = ["night", "all"])]
    watch: bool,
    /// Every repository of this machine: its last night, and what needs you
    #[arg(long, conflicts_with_all = ["night", "exit_code"])]
    all: bool,
    /// Exit as that night did; 4 when it did not end, 5 while one is running
    #[arg(long)]
    exit_code: bool,
    /// Open the night's HTML report in a browser, or only say where it is
    #[arg(long, conflicts_with = "exit_code")]
    web: bool,
}

/// A start that ran nothing.
struct Slot {
    at: Timestamp,
    outcome: String,
    message: String,
}

/// Everything that is shown.
struct View<'a> {
    last: bool,
    found: Option<&'a Found>,
    holder: Option<Holder>,
    stopped: Option<String>,
    slot: Option<Slot>,
    uncommitted: Option<usize>,
    /// For whose places the running night's agents wait.
    waits: Option<String>,
    outbox: Vec<Waiting>,
    untold: bool,
    /// Why no night begins, as it was seen last.
    full: Option<String>,
    /// Tasks that a person wants tried again, and who.
    again: Vec<String>,
    /// Rate and cost of the last nights.
    recent: Option<String>,
}

pub(super) fn status(
    surroundings: &Surroundings,
    global: &Global,
    command: &Status,
    output: &mut Output,
) -> Result<u8, Refused> {
    if command.all {
        return all::all(surroundings, output);
    }
    let home = Home::open(surroundings, &global.repository())?;
    if command.watch {
        let ended = watch::watch(&home, &Cleaner::new(surroundings), output)?;
        if let Some(exit) = ended {
            return Ok(exit);
        }
    }
    let selector = Selector::parse(command.night.as_deref().unwrap_or("last"))?;
    if let Some(task) = &selector.task {
        return Err(Refused::usage(
            format!("`{task}` is not a night"),
            format!("{NAME} show {} shows a task", tell::quoted(task.as_str())),
        ));
    }
    let found = find::night(&home, &selector)?;
    if command.web {
        return match &found {
            Some(found) => reports::web(surroundings, &home, found, output),
            None => Err(Refused::usage(
                "no night has run here yet",
                format!("{NAME} check shows what would run, {NAME} run does it"),
            )),
        };
    }
    let cleaner = Cleaner::new(surroundings);
    let last = selector.night == Ok(0);
    let slot = last_slot(&home, &cleaner)
        .filter(|_| last)
        .filter(|slot| found.as_ref().is_none_or(|found| slot.at > found.night.last_fact()));
    let holder = tell::holder(&home).filter(|_| last);
    let waits = match (&holder, &found) {
        (Some(holder), Some(found)) if tell::is_at(holder, &found.night) => {
            waits(surroundings, &found.night)?
        }
        _ => None,
    };
    let mut view = View {
        last,
        waits,
        holder,
        found: found.as_ref(),
        stopped: StopFiles::of(&home).asked().map(|asked| cleaner.line(&asked.by)),
        slot,
        uncommitted: home.user.uncommitted(found.as_ref().map(|found| &found.night.opening().plan)),
        outbox: outbox::waiting(&home),
        untold: known::waits(&home),
        full: Open::last(&home.places).filter(|_| last).and_then(|open| full(&open)),
        again: if last { again(&home, &cleaner) } else { Vec::new() },
        recent: history::recent(surroundings, &home),
    };
    // A night under way publishes itself.
    if let Some(holder) = &view.holder {
        view.outbox
            .retain(|waiting| holder.night.as_ref() != Some(&waiting.night) && !waiting.cut_off);
    }
    let exit = if command.exit_code { exit_of(&view) } else { code::DONE };
    if output.is_json() {
        let night = view.found.map(|found| tell::night_json(&home, found, &cleaner));
        let data = json!({
            "night": night,
            "running": view.holder,
            "phase": view
                .holder
                .as_ref()
                .and(view.found)
                .map(|found| report::phase(&found.night, clock::now())),
            "waits_for": view.waits,
            "stopped_by": view.stopped,
            "last_start": view.slot.as_ref().map(|slot| {
                json!({"at": slot.at, "outcome": slot.outcome, "message": slot.message})
            }),
            "uncommitted": view.uncommitted,
            "ledger_waits": view.untold,
            "open_limit": view.full,
            "again": view.again,
            "outbox": view.outbox.iter().map(|waiting| {
                json!({"night": waiting.night, "why": cleaner.line(&waiting.why)})
            }).collect::<Vec<_>>(),
            "recent": view.recent,
            "next": next(&view),
        });
        output.json("status", &data);
    } else if !output.is_quiet() || exit > code::FINDINGS {
        output.page(&words(&view, &cleaner, &output.screen()));
    }
    Ok(exit)
}

/// For which places the night's next agent waits, where every one is taken.
fn waits(surroundings: &Surroundings, night: &Night) -> Result<Option<String>, Refused> {
    if !night.due(clock::now()).iter().any(Command::asks_a_model) {
        return Ok(None);
    }
    let most = slots::most(&user_settings(surroundings, Style::Plain)?);
    let taken = slots::holders(&surroundings.agent_slots(), most);
    let full = taken.len() >= usize::try_from(most).unwrap_or(usize::MAX);
    Ok(full.then(|| slots::in_words(&taken, most)))
}

fn words(view: &View<'_>, cleaner: &Cleaner, screen: &Screen) -> String {
    let mut lines = Vec::new();
    // A start that came to nothing is this morning's news: what stands below is older.
    if let Some(slot) = &view.slot {
        lines.push(format!(
            "last start: {} {}{}{}",
            tell::local(slot.at),
            slot.outcome,
            if slot.message.is_empty() { "" } else { ": " },
            slot.message
        ));
        lines.extend([format!("  {NAME} check"), String::new()]);
    }
    if let Some(found) = view.found {
        let running = view.holder.as_ref().is_some_and(|holder| tell::is_at(holder, &found.night));
        let summary = tell::summary(&found.night, running, screen);
        // The summary cannot know what else there is to do.
        let damaged = found.damage.is_some();
        let told = |line: &&str| {
            !(line.starts_with("next: ") || damaged && line.starts_with("not ended: "))
        };
        lines.extend(summary.lines().filter(told).map(str::to_owned));
        if let Some(damage) = &found.damage {
            lines.push(format!("damaged: {}", cleaner.line(damage)));
            lines.push("  shown is what stands before it; branch and attempts are safe".to_owned());
        }
    } else if view.holder.is_none() {
        lines.push("no night has run here yet".to_owned());
    }
    let mut below = Vec::new();
    if let Some(holder) = &view.holder {
        let phase = match view.found {
            Some(found) if found.night.ended().is_none() => {
                report::phase(&found.night, clock::now())
            }
            Some(_) | None => "it is being prepared".to_owned(),
        };
        below.push(format!("{}: {phase}", tell::holder_in_words(holder)));
    }
    if let Some(places) = &view.waits {
        below.push(format!("waits for {}", cleaner.line(places)));
    }
    // The night's own summary says it already.
    let told = view
        .found
        .map(|found| &found.night)
        .filter(|night| matches!(night.publication(), Publication::Failed { .. }));
    for Waiting { night, why, .. } in &view.outbox {
        if told.is_some_and(|told| told.opening().night == *night) {
            continue;
        }
        below.push(format!("not out yet: {night}: {}", cleaner.line(why)));
    }
    if view.untold && view.holder.is_none() {
        below.push(format!(
            "other machines do not know yet what nights here settled; {NAME} land tells them"
        ));
    }
    below.extend(view.again.iter().map(|again| format!("goes again tonight: {again}")));
    below.extend(view.full.iter().map(|full| format!("no night begins: {}", cleaner.line(full))));
    if let Some(by) = &view.stopped {
        below.push(format!("stopped by {by}; {NAME} resume lifts it"));
    }
    match view.uncommitted {
        None | Some(0) => {}
        Some(1) => below.push("1 uncommitted file is not part of the next night".to_owned()),
        Some(count) => {
            below.push(format!("{count} uncommitted files are not part of the next night"));
        }
    }
    if !below.is_empty() {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.append(&mut below);
    }
    // A night under way says nothing of how nights end.
    lines.extend(view.recent.clone().filter(|_| view.holder.is_none()));
    lines.push(format!("next: {}", next(view)));
    lines.join("\n")
}

/// Why no night begins, and when that was seen.
fn full(open: &Open) -> Option<String> {
    let why = open.refusal()?;
    Some(format!(
        "{} (looked at {}); {}",
        why.message,
        tell::local(open.at),
        why.help.unwrap_or_default()
    ))
}

/// What a person wants tried again, as far as it is known here.
fn again(home: &Home, cleaner: &Cleaner) -> Vec<String> {
    let wanted = earlier::wanted(home);
    let words = wanted.iter().map(|again| format!("{} ({})", again.task, again.by));
    words.map(|words| cleaner.line(&words)).collect()
}

/// The one thing to do now.
fn next(view: &View<'_>) -> String {
    if view.holder.is_some() {
        return match view.stopped {
            Some(_) => format!("{NAME} logs -f until it has ended"),
            None => format!("{NAME} status --watch shows it live, {NAME} stop ends it"),
        };
    }
    if view.stopped.is_some() {
        return format!("{NAME} resume");
    }
    let Some(found) = view.found else {
        return format!("{NAME} check shows what would run, {NAME} run does it");
    };
    let night = &found.night;
    let id = &night.opening().night;
    if found.damage.is_some() {
        return format!("{NAME} run --fresh begins a new night");
    }
    match night.ended() {
        None if night.only_lands() && view.outbox.iter().any(|waiting| waiting.night == *id) => {}
        None => return format!("{NAME} resume goes on with it"),
        Some((Some(StopReason::RedBase), _)) => {
            return format!("mend the gate on {}, then {NAME} run", night.opening().base.branch);
        }
        Some((Some(_), _)) => {
            return report::branch_moved(night).unwrap_or_else(|| format!("{NAME} resume"));
        }
        Some((None, _)) => {}
    }
    if matches!(night.publication(), Publication::Failed { .. }) || !view.outbox.is_empty() {
        return format!("{NAME} land tries to publish again");
    }
    // A task's name alone means the last night's.
    let show = |task: &TaskId| {
        let selector = if view.last { task.to_string() } else { format!("{id}/{task}") };
        format!("{NAME} show {}", tell::quoted(&selector))
    };
    if night.approved().next().is_some() {
        return format!("{NAME} resume lands what was approved");
    }
    if let Some((task, _)) = night.tasks().find(|(_, task)| task.held().is_some()) {
        let selector = if view.last { task.to_string() } else { format!("{id}/{task}") };
        let [approve, _] = report::decide(&tell::quoted(&selector));
        return format!("{} --diff, then {approve}, or reject", show(task));
    }
    if let Some((task, _)) = night.tasks().find(|(_, task)| task.parked().is_some()) {
        return format!(
            "{} tells what it asks; answer in {}",
            show(task),
            night.opening().plan.path
        );
    }
    if let Some((task, _)) = night.tasks().find(|(_, task)| task.failed().is_some()) {
        return show(task);
    }
    match night.publication() {
        Publication::Done { url, .. } if url.starts_with("http") => {
            format!("read and merge {}", report::text::inline_plain(url))
        }
        Publication::Done { url, .. } => format!(
            "git merge {}, once you have read {}",
            id.branch(),
            tell::quoted(&report::text::inline_plain(url)),
        ),
        Publication::Open | Publication::Failed { .. } => format!("{NAME} check"),
    }
}

fn exit_of(view: &View<'_>) -> u8 {
    if view.holder.is_some() {
        return code::BUSY;
    }
    match view.found.map(|found| found.night.ended()) {
        None => code::DONE,
        Some(Some((_, exit))) => *exit,
        Some(None) => code::STOPPED,
    }
}

/// The newest line about a start that left no night. A line that cannot be read says nothing.
fn last_slot(home: &Home, cleaner: &Cleaner) -> Option<Slot> {
    let text = std::fs::read(home.places.slots()).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    let value: Value = serde_json::from_str(line).ok()?;
    let word = |key: &str| cleaner.line(value.get(key).and_then(Value::as_str).unwrap_or(""));
    let named = value.get("night").and_then(Value::as_str);
    let left_a_night = named.is_some_and(|night| {
        NightId::new(night).is_ok_and(|night| home.places.all_nights().contains(&night))
    });
    if left_a_night {
        return None;
    }
    Some(Slot { at: word("at").parse().ok()?, outcome: word("outcome"), message: word("message") })
}
