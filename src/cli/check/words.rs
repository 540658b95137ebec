//! `check` in words: one screen, or every rule.

use super::{Disk, Fate, Row, View, ruling};
use crate::{
    diagnostic::Level,
    ids::NAME,
    night::Step,
    policy::Verdict,
    report::{column, text},
    runner::storage,
};

/// Width of the title column, so that a row fits 80 cells.
const TITLE: usize = 36;
/// Rows of each list that fit one screen.
const SCREEN: usize = 8;

/// The header, what would run and what would not.
pub(super) fn screen(view: &View<'_>) -> String {
    let mut lines = vec![header(view), String::new()];
    would_run(view, &mut lines);
    would_not_run(view, &mut lines);
    lines.join("\n")
}

fn header(view: &View<'_>) -> String {
    let preparation = view.preparation;
    let plan = preparation.plan_source.as_ref().map_or(String::new(), |plan| {
        let place = if plan.working_tree { "working tree" } else { "base commit" };
        format!("{} ({place})", plan.path)
    });
    let base = &preparation.base;
    format!(
        "{plan} · base {}@{} ({}) · {}",
        text::inline_plain(&base.branch),
        base.commit.short(),
        text::inline_plain(&base.how),
        preparation.settings_file.as_deref().unwrap_or("built-in settings")
    )
}

fn would_run(view: &View<'_>, lines: &mut Vec<String>) {
    let mut running: Vec<(usize, &Row<'_>)> = view
        .rows
        .iter()
        .filter_map(|row| match row.fate {
            Fate::Runs(place) => Some((place, row)),
            Fate::Held(_) | Fate::No(..) | Fate::Silent(_) => None,
        })
        .collect();
    running.sort_by_key(|(place, _)| *place);
    let held = view.rows.iter().filter(|row| matches!(row.fate, Fate::Held(_))).count();
    let count = match held {
        0 => running.len().to_string(),
        held => format!("{} of {}", running.len(), running.len() + held),
    };
    let heading = format!("WOULD RUN {count}");
    if running.is_empty() {
        lines.push(heading);
        return;
    }
    let id = id_width(running.iter().map(|(_, row)| *row));
    let before = 5 + id + 2 + TITLE;
    lines.push(format!("{}  score  lines  after", column(&heading, before)));
    let number = |value: Option<u32>| value.map_or("–".to_owned(), |value| value.to_string());
    for (place, row) in cut(view, &running, SCREEN) {
        let fields = &row.task.fields;
        let mut line = format!(
            "{place:>3}  {}  {}  {:>5}  {:>5}  {}",
            column(row.task.id.as_str(), id),
            column(&row.task.title, TITLE),
            number(fields.alignment),
            number(fields.estimated_lines),
            list(&fields.depends_on),
        );
        if row.admission.admitted().is_some_and(crate::policy::AdmittedTask::only_tests_or_docs) {
            line = format!("{}  tests or documents only", line.trim_end());
        }
        lines.push(line.trim_end().to_owned());
        let reports = row.admission.findings().filter(|found| found.verdict == Verdict::Report);
        for report in reports {
            lines.push(format!("       note: {}", text::inline_plain(&report.message)));
        }
    }
    more(view, running.len(), SCREEN, lines);
}

fn would_not_run(view: &View<'_>, lines: &mut Vec<String>) {
    let runs = |row: &&Row<'_>| !matches!(row.fate, Fate::Runs(_));
    let others: Vec<&Row<'_>> = view.rows.iter().filter(runs).collect();
    if others.is_empty() {
        return;
    }
    lines.push(String::new());
    lines.push(format!("WOULD NOT RUN {}", others.len()));
    let id = id_width(others.iter().copied());
    let silent = |row: &&Row<'_>| matches!(row.fate, Fate::Silent(_));
    let (short, asking): (Vec<&Row<'_>>, Vec<&Row<'_>>) =
        others.iter().partition::<Vec<&Row<'_>>, _>(|row| silent(row));
    for row in cut(view, &asking, SCREEN) {
        let (mark, why) = match &row.fate {
            Fate::No(Verdict::Refuse, refusals) => ("no", refusals.as_slice()),
            Fate::No(Verdict::Ask | Verdict::Report, refusals) => ("? ", refusals.as_slice()),
            Fate::Held(_) | Fate::Runs(_) | Fate::Silent(_) => ("..", [].as_slice()),
        };
        lines.push(format!(
            "  {mark}  {}  {}",
            column(row.task.id.as_str(), id),
            text::head(&text::inline_plain(&row.task.title), 80 - 8 - id)
        ));
        if let Fate::Held(why) = &row.fate {
            lines.push(format!("        {}", text::inline_plain(why)));
        }
        if let Some(first) = why.first() {
            let more = match why.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more: --explain)"),
            };
            lines.push(format!("        {}{more}", text::inline_plain(&first.message)));
            let next = first.help.as_ref().map_or(String::new(), |help| format!("; {help}"));
            lines.push(format!(
                "        {}: limit {}, {}{}",
                first.rule,
                text::head(&text::inline_plain(&first.limit), 48),
                first.origin,
                text::inline_plain(&next)
            ));
        }
    }
    more(view, asking.len(), SCREEN, lines);
    for row in cut(view, &short, SCREEN) {
        let Fate::Silent(why) = &row.fate else { continue };
        lines.push(format!(
            "  --  {}  {}  {}",
            column(row.task.id.as_str(), id),
            column(&row.task.title, 30),
            text::inline_plain(why)
        ));
    }
    more(view, short.len(), SCREEN, lines);
}

/// Every rule of each task: all, or those that were asked for.
pub(super) fn explained(view: &View<'_>, asked: bool) -> String {
    let mut lines = vec![header(view)];
    for row in &view.rows {
        // What nobody asked for and nothing asks to run is not worth eight lines.
        if !asked && !view.all && matches!(row.fate, Fate::Silent(_)) {
            continue;
        }
        lines.push(String::new());
        lines.push(format!(
            "{} · {} · line {} · {}",
            row.task.id,
            text::inline_plain(&row.task.title),
            row.task.line,
            fate(&row.fate)
        ));
        for applied in &row.admission.rules {
            let (verdict, refusal) = ruling(applied);
            lines.push(format!(
                "  {verdict:<6}  {:<22}  {}  limit: {} ({})",
                applied.rule,
                column(&applied.value, 20),
                text::inline_plain(&applied.limit),
                applied.origin
            ));
            if let Some(refusal) = refusal {
                let help = refusal.help.as_ref().map_or(String::new(), |help| format!("; {help}"));
                let words = format!("{}{help}", refusal.message);
                lines.push(format!("          {}", text::inline_plain(&words)));
            }
        }
    }
    lines.join("\n")
}

fn fate(fate: &Fate) -> String {
    match fate {
        Fate::Runs(place) => format!("would run, as number {place}"),
        Fate::Held(why) | Fate::Silent(why) => {
            format!("would not run: {}", text::inline_plain(why))
        }
        Fate::No(Verdict::Refuse, _) => "would not run: refused".to_owned(),
        Fate::No(Verdict::Ask | Verdict::Report, _) => "would not run: waits".to_owned(),
    }
}

/// Messages about the plan, then notes.
pub(super) fn messages(view: &View<'_>) -> Vec<String> {
    let preparation = view.preparation;
    let mut found: Vec<&(Level, String)> = preparation.plan_messages.iter().collect();
    found.sort_by_key(|(level, _)| *level != Level::Error);
    let shown = if view.all { found.len() } else { 5 };
    let hidden = found.len().saturating_sub(shown);
    let mut messages: Vec<String> =
        found.into_iter().take(shown).map(|(_, text)| format!("\n{text}")).collect();
    if hidden > 0 {
        messages.push(format!("\nand {hidden} more messages about the plan: {NAME} check --all"));
    }
    if !preparation.notes.is_empty() {
        messages.push(String::new());
    }
    let notes = preparation.notes.iter();
    messages.extend(notes.map(|note| format!("note: {}", text::inline_plain(note))));
    messages
}

/// Gate, agent, and what to do next.
pub(super) fn end(view: &View<'_>, exit: u8) -> String {
    let preparation = view.preparation;
    let mut lines = vec![String::new()];
    match &preparation.gate_missing {
        Some(missing) => lines.push(format!("gate: missing: {}", text::inline_plain(missing))),
        None => {
            let gate = &preparation.gate;
            if !gate.setup.is_empty() {
                lines.push(format!(
                    "set-up: {} (before the base's gate, with your network)",
                    steps(&gate.setup)
                ));
            }
            lines.push(format!("gate: {}", steps(&gate.steps)));
            lines.push(format!("canary: {}", text::inline_plain(&view.canary)));
        }
    }
    let missing = if view.agent.usable { "" } else { "missing: " };
    let words = text::inline_plain(&view.agent.words);
    lines.push(format!("agent: {} ({missing}{words})", view.agent.name));
    lines.push(format!("walls: {}", text::inline_plain(&view.ground.walls)));
    lines.push(format!("disk: {}", text::inline_plain(&disk(&view.ground.disk))));
    let asks = view.rows.iter().any(|row| matches!(row.fate, Fate::No(Verdict::Ask, _)));
    if asks {
        lines.push("approve a task: write `- [x] Approve` below it in the plan".to_owned());
    }
    lines.push(format!("next: {}", next(view, exit)));
    lines.join("\n")
}

fn steps(steps: &[Step]) -> String {
    let step = |step: &Step| {
        let advisory = if step.required { "" } else { " (advisory)" };
        format!("{}{advisory}", text::inline_plain(&step.run))
    };
    steps.iter().map(step).collect::<Vec<_>>().join(" · ")
}

fn disk(disk: &Disk) -> String {
    match &disk.needed {
        Err(problem) => format!("too little: {problem}"),
        Ok(needed) => format!(
            "a night takes about {}, {} are free",
            storage::in_words(*needed),
            storage::in_words(disk.free)
        ),
    }
}

fn next(view: &View<'_>, exit: u8) -> String {
    if view.preparation.gate_missing.is_some() {
        return format!("{NAME} init proposes a gate; nothing is started without one");
    }
    if exit != 0 {
        return format!("mend the plan, then {NAME} check again");
    }
    if !view.agent.usable {
        return format!("make the agent `{}` ready, then {NAME} run", view.agent.name);
    }
    if view.ground.disk.needed.is_err() {
        return format!("make room on the disk, then {NAME} run");
    }
    if view.stopped {
        return format!("{NAME} resume lifts the stop");
    }
    if view.rows.iter().any(|row| matches!(row.fate, Fate::Runs(_))) {
        format!("{NAME} run")
    } else if view.rows.iter().any(|row| matches!(row.fate, Fate::No(..) | Fate::Held(_))) {
        format!("mend or approve what is held back, then {NAME} check again")
    } else {
        "mark a task ready: move it below a heading that begins with `Ready`".to_owned()
    }
}

fn list(ids: &[crate::ids::TaskId]) -> String {
    ids.iter().map(crate::ids::TaskId::as_str).collect::<Vec<_>>().join(", ")
}

fn id_width<'r>(rows: impl Iterator<Item = &'r Row<'r>>) -> usize {
    rows.map(|row| row.task.id.as_str().len()).max().unwrap_or(0).clamp(6, 16)
}

fn cut<'l, T>(view: &View<'_>, list: &'l [T], screen: usize) -> &'l [T] {
    if view.all { list } else { &list[..list.len().min(screen)] }
}

fn more(view: &View<'_>, count: usize, screen: usize, lines: &mut Vec<String>) {
    if !view.all && count > screen {
        lines.push(format!("      and {} more: {NAME} check --all", count - screen));
    }
}
