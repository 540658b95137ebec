//! The first screen of a pull request: what is decided in ten minutes on a phone.
//!
//! Counts and quotes records only. Long tables go on in a folded part, and nothing is left out.

use crate::{
    night::{Night, Stage, TaskState},
    outcome::GateReport,
    policy::Verdict,
    report::{
        evidence::details,
        facts, gates, line,
        look_at::{self, Look},
        plural,
        pull_request::title,
        text,
    },
};

/// Rows of a table that are shown before the rest is folded.
const ROWS: usize = 10;
/// Longest title in a table, in characters.
const TITLE: usize = 100;
/// Lines of a diff that are read in a minute. A rule of thumb: what studies of review find (200 to 500 lines an
/// hour) is for code that nobody has tested.
const LINES_A_MINUTE: u32 = 30;

/// Counts, base, times and money, in one paragraph that says first what there is to do.
pub(super) fn decision(night: &Night) -> String {
    let opening = night.opening();
    let landed = night.landed();
    let minutes = reading(night);
    let mut facts = vec![format!(
        "**{} to review, about {}.**",
        plural(landed.len(), "commit"),
        plural(minutes as usize, "minute")
    )];
    facts.extend(others(night));
    facts.push(format!(
        "Base {}, {}, {}.",
        text::code(&format!("{}@{}", opening.base.branch, opening.base.commit.short())),
        times(night),
        money(night),
    ));
    if let Some(reason) = night.stopped_early() {
        facts.push(format!(
            "The night stopped early: {}.",
            text::inline(&line::stop_reason(reason))
        ));
    }
    format!("{}\n\n", facts.join(" "))
}

/// Minutes that reading what landed takes, about.
pub(super) fn reading(night: &Night) -> u32 {
    let landed = night.landed();
    minutes(landed.len(), landed.iter().map(|(_, c)| c.stat.added + c.stat.removed))
}

/// Minutes to review commits of so many lines: one for each commit, the rest by its lines, and above ten in steps
/// of five, because nobody knows better.
fn minutes(commits: usize, lines: impl Iterator<Item = u32>) -> u32 {
    let lines = lines.fold(0, u32::saturating_add);
    let exact = u32::try_from(commits).unwrap_or(u32::MAX).saturating_add(lines / LINES_A_MINUTE);
    if exact <= 10 { exact.max(1) } else { exact.div_ceil(5).saturating_mul(5) }
}

/// What did not land, in one sentence: `1 task failed, 2 were refused.`
fn others(night: &Night) -> Option<String> {
    let count =
        |is_it: &dyn Fn(&TaskState) -> bool| night.tasks().filter(|(_, task)| is_it(task)).count();
    let refused = |is_it: &dyn Fn(Verdict) -> bool| {
        night.opening().refused.iter().filter(|task| is_it(task.verdict)).count()
    };
    let counts = [
        (count(&|task| task.failed().is_some()), "failed", "failed"),
        (count(&|task| task.parked().is_some()), "waits for your answer", "wait for your answer"),
        (
            count(&|task| task.held().is_some()),
            "is finished and held for your decision",
            "are finished and held for your decision",
        ),
        (
            refused(&|verdict| verdict != Verdict::Refuse),
            "waits for your word",
            "wait for your word",
        ),
        (refused(&|verdict| verdict == Verdict::Refuse), "was refused", "were refused"),
        (
            count(&|task| matches!(task.stage, Stage::Waiting)),
            "was not started or not finished",
            "were not started or not finished",
        ),
    ];
    let mut said = Vec::new();
    for (count, one, many) in counts.into_iter().filter(|(count, ..)| *count > 0) {
        let whose = if said.is_empty() { plural(count, "task") } else { count.to_string() };
        said.push(format!("{whose} {}", if count == 1 { one } else { many }));
    }
    (!said.is_empty()).then(|| format!("{}.", said.join(", ")))
}

fn times(night: &Night) -> String {
    let clock = |at: jiff::Timestamp| at.strftime("%H:%M").to_string();
    format!("{}–{} UTC", clock(night.opening().at), clock(night.last_fact()))
}

/// What it cost, beside its limit where both are exact dollars.
fn money(night: &Night) -> String {
    let (spent, limit) = (facts::spent(night), night.opening().limits.cost);
    let exact = spent == night.spent().usd.to_string();
    if exact && !limit.is_zero() { format!("{spent} of {limit}") } else { spent }
}

/// What the gate's word is worth, and where less than usual stands behind it.
pub(super) fn gate_claim(night: &Night) -> String {
    let opening = night.opening();
    let steps: Vec<String> = opening.gate.steps.iter().map(|step| text::code(&step.run)).collect();
    let mut claim = format!(
        "Each commit passed {} on exactly its own tree, where no agent ever wrote; the gate's files and every \
         protected file are those of the base.\n\n",
        steps.join(", ")
    );
    for (heading, words) in [
        ("Known failures", gates::known_failures(night)),
        ("Not proven able to fail", gates::not_proven(night)),
    ] {
        if let Some(words) = words {
            claim.push_str(&format!("> **{heading}.** {}.\n\n", text::inline(&words)));
        }
    }
    if opening.agent.walls == "none" {
        claim.push_str(
            "> **No walls.** Agent and gate ran without a sandbox, as this machine's owner allowed.\n\n",
        );
    }
    claim
}

/// The commits in the order of the branch, and in which order to read them.
pub(super) fn commits(night: &Night) -> String {
    let landed = night.landed();
    let mut looks: Vec<Look> = Vec::new();
    let mut rows = Vec::new();
    for (number, (id, candidate)) in landed.iter().enumerate() {
        let Some(task) = night.task(id) else { continue };
        let look = look_at::look(night, id, task);
        let gate = task.last().and_then(|record| record.gate.as_ref());
        rows.push(format!(
            "| {} | {} | {} | +{}&nbsp;−{} | {} | {} |\n",
            number + 1,
            named(id.as_str(), title(night, id)),
            look.cell(),
            candidate.stat.added,
            candidate.stat.removed,
            gate.map_or_else(String::new, |report| gate_cell(report, night)),
            candidate.commit.short(),
        ));
        looks.push(look);
    }
    if rows.is_empty() {
        return String::new();
    }
    // On a phone the columns on the left are seen without a swipe: what it is, and why to look.
    let head = "| | task | look at | size | gate | commit |\n|-:|---|---|--:|---|---|\n";
    let mut screen = folded(head, &rows, "commit");
    if looks.len() > 1 {
        let order = look_at::order(&looks);
        let mut words: Vec<String> = order.iter().take(ROWS).map(ToString::to_string).collect();
        if order.len() > ROWS {
            words.push("the others".to_owned());
        }
        screen
            .push_str(&format!("\nRead in this order: {} (riskiest first).\n", words.join(" → ")));
    }
    screen
}

/// A task in a table: its id and what it says.
pub(super) fn named(id: &str, title: &str) -> String {
    format!("**{}** {}", text::inline(id), text::inline(&text::head(title, TITLE)))
}

/// A table whose first rows are shown, and the rest below a line that says how many there are.
pub(super) fn folded(head: &str, rows: &[String], what: &str) -> String {
    let (shown, rest) = rows.split_at(rows.len().min(ROWS));
    let table = format!("{head}{}", shown.concat());
    if rest.is_empty() {
        return table;
    }
    let more = details(
        &format!("and {} more {what}{}", rest.len(), if rest.len() == 1 { "" } else { "s" }),
        &format!("{head}{}", rest.concat()),
    );
    format!("{table}{more}")
}

fn gate_cell(report: &GateReport, night: &Night) -> String {
    let millis = report.steps.iter().map(|step| step.millis).sum();
    let tests = gates::tests(report, night.base_gate().report()).map_or(String::new(), |count| {
        format!(",&nbsp;{}&nbsp;tests", count.replace(' ', "&nbsp;"))
    });
    let flaky = if gates::flaky(report).is_empty() { "" } else { ", **flaky**" };
    let known = gates::excused(report)
        .map_or(String::new(), |words| format!(", red as on the base: {}", text::inline(&words)));
    format!("pass,&nbsp;{}{tests}{flaky}{known}", line::seconds(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_grow_with_commits_and_lines_and_promise_no_more_than_they_know() {
        let of = |commits, lines: &[u32]| minutes(commits, lines.iter().copied());
        assert_eq!(of(1, &[2]), 1);
        assert_eq!(of(4, &[46, 33, 64, 49]), 10);
        assert_eq!(of(5, &[200, 10]), 15);
        assert_eq!(of(2, &[u32::MAX, 9]) % 5, 0);
    }

    #[test]
    fn a_long_table_goes_on_in_a_folded_part() {
        let rows: Vec<String> = (0..13).map(|row| format!("| {row} |\n")).collect();
        let table = folded("| n |\n|-|\n", &rows, "commit");
        assert!(table.contains("<summary>and 3 more commits</summary>"), "{table}");
        assert!(rows.iter().all(|row| table.matches(row.as_str()).count() == 1), "{table}");
        assert!(!folded("", &rows[..10], "commit").contains("more"));
    }
}
