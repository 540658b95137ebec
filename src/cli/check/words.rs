//! `check` in words: one screen, or every rule.

use super::{
    Disk, Fate, Row, View,
    lint::{apart, reason, remedy},
};
use crate::{
    budget::Usd,
    diagnostic::Level,
    ids::NAME,
    night::Step,
    policy::{AdmittedTask, Verdict},
    report::{column, text},
    runner::storage,
};

/// Cells of a line: what a terminal has when nobody made it wider.
const WIDTH: usize = 80;
/// Width of the title column, so that a row fits [`WIDTH`].
const TITLE: usize = 26;
/// Pairs of tasks that meet in a file, on one screen.
const MEETINGS: usize = 3;
/// Rows of each list that fit one screen.
const SCREEN: usize = 8;

/// The header, what would run and what would not.
pub(super) fn screen(view: &View<'_>) -> String {
    let mut lines = vec![header(view), String::new()];
    would_run(view, &mut lines);
    would_not_run(view, &mut lines);
    lines.join("\n")
}

pub(super) fn header(view: &View<'_>) -> String {
    let preparation = view.preparation;
    let plan = preparation.plan_source.as_ref().map_or(String::new(), |plan| {
        let place = if plan.working_tree { "working tree" } else { "base commit" };
        format!("{} ({place})", plan.path)
    });
    let base = &preparation.base;
    let mut lines = Vec::new();
    let words = format!(
        "{plan} · base {}@{} ({}) · {}",
        text::inline_plain(&base.branch),
        base.commit.short(),
        text::inline_plain(&base.how),
        preparation.settings_file.as_deref().unwrap_or("built-in settings")
    );
    begun(&mut lines, "", &words);
    lines.join("\n")
}

fn would_run(view: &View<'_>, lines: &mut Vec<String>) {
    let mut running: Vec<(usize, &Row<'_>)> = view
        .rows
        .iter()
        .filter_map(|row| match row.fate {
            Fate::Runs(place) => Some((place, row)),
            Fate::Held(..) | Fate::No(..) | Fate::Silent(_) => None,
        })
        .collect();
    running.sort_by_key(|(place, _)| *place);
    let held = view.rows.iter().filter(|row| matches!(row.fate, Fate::Held(..))).count();
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
    lines.push(format!("{}  score  lines  risk        after", column(&heading, before)));
    let number = |value: Option<u32>| value.map_or("–".to_owned(), |value| value.to_string());
    for (place, row) in cut(view, &running, SCREEN) {
        let fields = &row.task.fields;
        let (risk, proof) = risk(view, row);
        let line = format!(
            "{place:>3}  {}  {}  {:>5}  {:>5}  {risk:<10}  {}",
            column(row.task.id.as_str(), id),
            column(&row.task.title, TITLE),
            number(fields.alignment),
            number(fields.estimated_lines),
            list(&fields.depends_on),
        );
        lines.push(line.trim_end().to_owned());
        let mut notes: Vec<String> = proof.into_iter().collect();
        if row.admission.admitted().is_some_and(AdmittedTask::only_tests_or_docs) {
            notes.push("tests or documents only".to_owned());
        }
        let again = view.preparation.earlier.again(row.task);
        notes.extend(again.map(|again| format!("goes again: {} asked for it", again.by)));
        notes.extend(view.lint.late.get(&row.task.id).cloned());
        if !notes.is_empty() {
            wrapped(lines, 7, &notes.join("; "));
        }
        let reports = row.admission.findings().filter(|found| found.verdict == Verdict::Report);
        for report in reports {
            wrapped(lines, 7, &format!("note: {}", report.message));
        }
    }
    more(view, running.len(), SCREEN, lines);
    for found in cut(view, &view.lint.collisions, MEETINGS) {
        let others =
            if found.more == 0 { String::new() } else { format!(" and {} more", found.more) };
        let what = if found.sure { "both change" } else { "may both change" };
        let words = format!(
            "{} and {} {what} {}{others}; to keep them apart: {}",
            found.first,
            found.second,
            found.path,
            apart(found)
        );
        wrapped(lines, 5, &words);
    }
    more(view, view.lint.collisions.len(), MEETINGS, lines);
}

/// Level and score, and what the level needs to land.
fn risk(view: &View<'_>, row: &Row<'_>) -> (String, Option<String>) {
    let Some(task) = row.admission.admitted() else { return ("–".to_owned(), None) };
    let score = task.risk().score;
    let (level, band) = view.preparation.rules.policy().risk.of(score);
    let proof = band.proof.map(|least| format!("lands only if the gate scores {least}"));
    (format!("{level} {score}"), proof)
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
        let mark = match &row.fate {
            Fate::No(Verdict::Refuse, _) => "no",
            Fate::No(Verdict::Ask | Verdict::Report, _) => "? ",
            Fate::Held(..) | Fate::Runs(_) | Fate::Silent(_) => "..",
        };
        let start = format!("  {mark}  {}  ", column(row.task.id.as_str(), id));
        match &row.fate {
            Fate::Held(why, remedy) => {
                begun(lines, &start, why);
                wrapped(lines, 6, remedy);
            }
            Fate::No(_, refusals) => {
                let Some(first) = refusals.first() else { continue };
                let more = match refusals.len() - 1 {
                    0 => String::new(),
                    more => format!(" (+{more}: --explain)"),
                };
                begun(lines, &start, &format!("{}{more}", reason(view.preparation, first)));
                let next = remedy(row, first).map_or(String::new(), |next| format!("; {next}"));
                // The words of a long list were said: the one that was found stands in the message.
                let limit = Some(&first.limit).filter(|limit| limit.chars().count() <= 40);
                let limit = limit.map_or(String::new(), |limit| format!("limit {limit}, "));
                let words = format!("{}: {limit}{}{next}", first.rule, first.origin);
                wrapped(lines, 6, &words);
            }
            Fate::Runs(_) | Fate::Silent(_) => {}
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

/// Stands for a blank at which no line is broken, while lines are made.
const HELD: char = '\u{A0}';

/// A paragraph of which every line is indented.
fn wrapped(lines: &mut Vec<String>, indent: usize, words: &str) {
    begun(lines, &" ".repeat(indent), words);
}

/// A paragraph whose first line begins with something, and whose others are indented by six.
fn begun(lines: &mut Vec<String>, start: &str, words: &str) {
    let mut line = start.to_owned();
    let mut empty = true;
    // What is to be typed stays on one line.
    let mut code = false;
    let plain = text::inline_plain(words);
    let words = plain.chars().map(|c| {
        code ^= c == '`';
        if code && c == ' ' { HELD } else { c }
    });
    for word in words.collect::<String>().split(' ') {
        let word = word.replace(HELD, " ");
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, " ".repeat(6)));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(&word);
        empty = false;
    }
    lines.push(line);
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
    lines.extend(forecast(view));
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

/// What the night would take: from earlier nights, or the limits where there are none.
fn forecast(view: &View<'_>) -> Vec<String> {
    if !view.rows.iter().any(|row| matches!(row.fate, Fate::Runs(_))) {
        return Vec::new();
    }
    let limits = &view.preparation.settings.limits;
    let time = span(limits.time_s);
    let most = match limits.cost {
        Usd::ZERO => format!("at most {time}; no limit of money"),
        cost => format!("at most {time} and {cost}"),
    };
    let (Some(figures), Some((took, cost))) = (&view.lint.figures, view.lint.tonight) else {
        let agent = &view.agent.name;
        return vec![format!("takes: {most}; agent {agent} has worked in no earlier night here")];
    };
    let time = |at: usize| span(figures.attempt.seconds[at]);
    let money = |at: usize| figures.attempt.cost[at];
    let (count, nights) = (figures.attempt.count, figures.nights);
    vec![
        format!("takes: about {} and {cost}; {most}", span(took)),
        format!(
            "       one try: {}–{}, median {}; {}–{}, median {} ({count} in {nights} night{})",
            time(0),
            time(2),
            time(1),
            money(0),
            money(2),
            money(1),
            if nights == 1 { "" } else { "s" },
        ),
    ]
}

/// Seconds as people plan with them: `45s`, `12m`, `1h 30m`.
pub(super) fn span(seconds: u64) -> String {
    let minutes = seconds.saturating_add(30) / 60;
    match (minutes / 60, minutes % 60) {
        (0, _) if seconds < 90 => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m"),
        (hours, 0) => format!("{hours}h"),
        (hours, minutes) => format!("{hours}h {minutes}m"),
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
    } else if view.rows.iter().any(|row| matches!(row.fate, Fate::No(..) | Fate::Held(..))) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_never_inside_of_what_is_to_be_typed() {
        let mut lines = Vec::new();
        let words = format!("{} `a b c d e f g h` end", "word ".repeat(14));
        begun(&mut lines, "  ?  ", &words);
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].starts_with("  ?  word") && lines[1].starts_with("      `a b c d e f g h`")
        );
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:?}");
    }

    #[test]
    fn spans_are_said_as_people_plan() {
        let said = [0, 89, 90, 600, 3_599, 3_600, 5_400, 14_400].map(span);
        assert_eq!(said, ["0s", "89s", "2m", "10m", "1h", "1h", "1h 30m", "4h"]);
    }
}
