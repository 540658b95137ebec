//! A running night as a picture: its tasks, how far it is, what it cost, and about when it is done.

use jiff::Timestamp;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::{
    ids::{NAME, TaskId},
    night::{Night, Stage, TaskState},
    report::{
        facts,
        history::duration,
        progress::{percent, phase},
        screen::Screen,
        summary::{row, title, widest},
        text,
    },
};

/// Cells of the bar, at most.
const BAR: usize = 30;
/// Lines of the picture that are no tasks.
const FRAME: usize = 8;

/// The night as it is at `now`, for a screen of so many lines, before its signs and colours. Where not all tasks have
/// room, those under way come first. `median`: seconds that a task took in earlier nights.
pub fn picture(
    night: &Night,
    now: Timestamp,
    median: Option<u64>,
    screen: &Screen,
    rows: usize,
) -> String {
    let opening = night.opening();
    let mut lines = vec![
        format!(
            "Night {} · {} · base {}@{}",
            opening.night,
            text::inline_plain(&opening.repository),
            opening.base.branch,
            opening.base.commit.short(),
        ),
        String::new(),
    ];
    let told: Vec<(&TaskId, &TaskState, String)> =
        night.tasks().map(|(id, task)| (id, task, at(night, id, task, now))).collect();
    let room = rows.saturating_sub(FRAME).max(1);
    let mut shown: Vec<&(&TaskId, &TaskState, String)> = told.iter().collect();
    if shown.len() > room {
        shown.sort_by_key(|(_, task, _)| (!task.is_under_way(), task.is_settled()));
        shown.truncate(room.saturating_sub(1).max(1));
    }
    let wide = widest(shown.iter().map(|(.., rest)| rest)).min(screen.width / 2);
    for (id, task, rest) in &shown {
        lines.push(row(mark(task), id, title(night, id), rest, wide, screen));
    }
    if told.len() > shown.len() {
        lines.push(format!("        and {} more", told.len() - shown.len()));
    }
    lines.push(String::new());
    lines.extend(foot(night, now, median, screen));
    lines.join("\n") + "\n"
}

/// What is under way, how far it is (a bar, tasks, time, money), and the time left.
fn foot(night: &Night, now: Timestamp, median: Option<u64>, screen: &Screen) -> [String; 3] {
    let settled = night.tasks().filter(|(_, task)| task.is_settled()).count();
    let all = night.tasks().count();
    let cells = (screen.width / 3).min(BAR);
    let as_u64 = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let limit = night.opening().limits.cost;
    let open = limit.is_zero() || !night.opening().agent.counts_cost();
    let limit = if open { String::new() } else { format!(" of {limit}") };
    let cost = format!("{}{limit}", facts::marked(&night.spent()));
    let lasted = u64::try_from(night.lasted(now).as_secs()).unwrap_or(0);
    let first = format!(
        "{}  {settled} of {all} · {}% · {} · {cost}",
        screen.bar(as_u64(settled), as_u64(all), cells),
        percent(night),
        duration(lasted),
    );
    [phase(night, now), first, format!("{} · {NAME} stop ends it", left(night, now, median))]
}

/// About how long it takes yet, in words: by what its own landed tasks or those of earlier nights took, never beyond
/// its time. What failed at once says nothing, and an estimate that is exceeded is none.
fn left(night: &Night, now: Timestamp, median: Option<u64>) -> String {
    let until = u64::try_from(night.deadline().duration_since(now).as_secs()).unwrap_or(0);
    let took = |task: &TaskState| -> u64 {
        let each = task.attempts.iter();
        each.map(|try_| u64::try_from(try_.took.as_secs()).unwrap_or(0)).sum()
    };
    let mut own: Vec<u64> = night
        .tasks()
        .filter(|(_, task)| task.landed().is_some())
        .map(|(_, task)| took(task))
        .collect();
    own.sort_unstable();
    let each = own.get(own.len() / 2).copied().or(median);
    let open: Vec<&TaskState> =
        night.tasks().map(|(_, task)| task).filter(|task| !task.is_settled()).collect();
    match each {
        _ if open.is_empty() => "all tasks are settled".to_owned(),
        None => format!("at most {} left", duration(until)),
        Some(each) => {
            // What a task has had already is not to come again.
            let rest: u64 = open.iter().map(|task| each.saturating_sub(took(task))).sum();
            let beside = u64::from(night.opening().limits.parallel.max(1));
            let count = u64::try_from(open.len()).unwrap_or(1);
            let seconds = (rest / beside.min(count).max(1)).min(until);
            if seconds == 0 {
                return format!("at most {} left", duration(until));
            }
            format!("about {} left, at most {}", duration(seconds), duration(until))
        }
    }
}

fn mark(task: &TaskState) -> &'static str {
    match task.stage {
        Stage::Landed(_) => "ok",
        Stage::Failed(_) => "FAIL",
        Stage::Held(_) | Stage::Parked(_) => "?",
        Stage::Waiting => "..",
        Stage::Editing | Stage::Ungated(_) | Stage::Gated(_) | Stage::Landing(_) => ">>",
    }
}

/// Where a task stands: time, cost, state.
fn at(night: &Night, id: &TaskId, task: &TaskState, now: Timestamp) -> String {
    let state = match &task.stage {
        Stage::Waiting => return "waits".to_owned(),
        Stage::Editing => {
            format!("try {} of {}: agent", task.attempts.len(), night.attempts_allowed(id))
        }
        Stage::Ungated(_) => "gate".to_owned(),
        Stage::Gated(_) | Stage::Landing(_) => "lands".to_owned(),
        Stage::Landed(candidate) => format!("landed {}", candidate.commit.short()),
        Stage::Failed(_) => facts::tries(night, id, task),
        Stage::Held(_) => "held for you".to_owned(),
        Stage::Parked(_) => "asks you".to_owned(),
    };
    let began = task.attempts.first().map(|first| first.began);
    let until = if task.is_settled() { task.last().map_or(now, |last| last.ended) } else { now };
    let seconds = began.map_or(0, |began| until.duration_since(began).as_secs());
    let seconds = u64::try_from(seconds).unwrap_or(0);
    format!("{:>6}  {:>6}  {state}", duration(seconds), facts::marked(&task.spent()))
}

/// Each line of a picture as it is on a screen, cut where it ends: nothing of it may scroll.
pub fn framed(page: &str, screen: &Screen, rows: usize) -> Vec<String> {
    let cut = |line: &str| {
        let (mut cells, mut escape, mut cut) = (0, false, String::new());
        for c in line.chars() {
            escape |= c == '\x1b';
            let next = if escape { 0 } else { c.width().unwrap_or(0) };
            if cells + next > screen.width {
                continue;
            }
            cells += next;
            cut.push(c);
            escape &= c != 'm';
        }
        cut
    };
    let lines = page.lines().take(rows.max(1));
    lines
        .map(|line| if line.width() > screen.width { cut(line) } else { line.to_owned() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_cut_at_its_edges_and_keeps_its_colours() {
        let screen = Screen { width: 5, ..Screen::default() };
        let page = "\x1b[36mabcdefg\x1b[0m\nshort\n日本語\nfourth\n";
        let framed = framed(page, &screen, 3);
        assert_eq!(framed, ["\x1b[36mabcde\x1b[0m", "short", "日本"]);
    }
}
