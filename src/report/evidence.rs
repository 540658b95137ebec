//! The folded parts of the pull request: what was checked besides the gate, each run's evidence, why a task failed,
//! what it cost. For whoever wants to check a claim; nobody has to open them.

use std::collections::BTreeMap;

use crate::{
    ids::{NAME, TaskId},
    night::{AttemptRecord, Night, Setback, TaskState},
    outcome::{Failure, GateReport, StepReport},
    policy::{TestDelta, Verdict},
    report::{facts, gates, line, not_landed::refusal_cell, plural, text},
};

/// Logs of the gate, by their place in the night's directory: their ends are quoted. Without secrets.
pub type Logs = BTreeMap<String, String>;

/// Lines of a red step's log that are quoted, and characters of these.
const LOG: (usize, usize) = (30, 2_000);
/// Characters of a broken rule's limit.
const LIMIT: usize = 200;

/// The logs whose ends a night's pull request quotes.
pub fn quoted_logs(night: &Night) -> Vec<&str> {
    let reports = night.tasks().filter_map(|(_, task)| red_gate(task));
    reports.flat_map(red_steps).map(|step| step.log.as_str()).collect()
}

/// The gate's run that a task failed at, also where a later attempt only made the same again.
fn red_gate(task: &TaskState) -> Option<&GateReport> {
    if let Failure::Gate(report) = &cause(task)?.failure { Some(report) } else { None }
}

/// What was wrong with a failed task's work.
fn cause(task: &TaskState) -> Option<&Setback> {
    let setback = task.failed()?;
    Some(line::behind(task, setback).unwrap_or(setback))
}

fn red_steps(report: &GateReport) -> impl Iterator<Item = &StepReport> {
    report.steps.iter().filter(|step| step.blocks())
}

pub(super) fn guards(night: &Night) -> String {
    let opening = night.opening();
    let mut rows = String::from("| guard | result |\n|---|---|\n");
    let mut guard = |name: &str, result: &str| rows.push_str(&format!("| {name} | {result} |\n"));
    guard("tests before → after", &tests(night));
    guard(
        "gate, CI, agent instructions, configuration",
        "identical to the base in every commit (blob and mode)",
    );
    for (name, factor) in [
        ("dependencies and lock files", "dependencies"),
        ("files deleted", "deletions"),
        ("binary files", "binary"),
    ] {
        guard(name, &touched(night, factor));
    }
    guard(
        "paths, modes, links, size, added lines",
        "inside the rules and the task's `Files`, checked on the real diff",
    );
    guard("secrets", &secrets(night));
    guard("ignored files", "each gate began with what the base's own gate had left, and no more");
    match night.gate_proof() {
        Some(proof) => guard("a gate that can fail", &text::inline(&gates::canary(proof))),
        None => guard("a gate that can fail", "**not proven**"),
    }
    for (id, task) in night.tasks().filter(|(_, task)| task.landed().is_some()) {
        let Some(record) = task.last() else { continue };
        if let Some(proof) = &record.test_proof {
            let name = format!("tests of {}", text::inline(id.as_str()));
            guard(&name, &text::inline(&gates::test_proof(proof)));
        }
    }
    let walls = match (opening.agent.walls.as_str(), opening.agent.gaps.as_slice()) {
        ("none", _) => "**none**".to_owned(),
        (tier, []) => format!("{tier}, tried before the first task"),
        (tier, gaps) => {
            format!("{tier}, tried before the first task; not stopped: {}", gaps.join("; "))
        }
    };
    guard("walls around agent and gate", &walls);
    let survivors: u32 = night
        .tasks()
        .flat_map(|(_, task)| &task.attempts)
        .filter_map(|record| record.agent.as_ref())
        .map(|report| report.survivors)
        .sum();
    guard(
        "processes that agents left running",
        &if survivors == 0 { "none".to_owned() } else { format!("{survivors}, killed") },
    );
    if opening.publish.push {
        guard("the base moved meanwhile", "where it did, the first line says so");
    }
    let unticked = night.landed().iter().filter(|(_, c)| opening.plan.update && !c.ticked).count();
    if unticked > 0 {
        guard(
            "plan",
            &format!("{} not in the base's plan, so not marked there", plural(unticked, "task")),
        );
    }
    for (id, record) in facts::approvals(night) {
        let note = record.approval_note.as_ref().map_or(String::new(), |note| format!(": {note}"));
        let asked: Vec<&str> = record
            .findings()
            .filter(|finding| finding.verdict == Verdict::Ask)
            .map(|finding| finding.rule.as_str())
            .collect();
        let by = record.approved_by.as_deref().unwrap_or_default();
        let words = format!("{id} by {by}{note}; had asked: {}", asked.join(", "));
        guard("approved by a person", &text::inline(&words));
    }
    let recoveries = facts::recoveries_in_words(night);
    if !recoveries.is_empty() {
        guard("troubles after which it went on", &recoveries);
    }
    for note in opening.notes.iter().chain(&facts::agent_notes(night)) {
        guard("note", &text::inline(note));
    }
    details("Guards: what was checked besides the gate", &rows)
}

/// How many tests ran on the base and on the last commit, and what the diffs took from tests.
fn tests(night: &Night) -> String {
    let ran =
        |count: Option<u32>| count.map_or("not counted".to_owned(), |count| count.to_string());
    let landed = night.landed();
    let records = || landed.iter().filter_map(|(id, _)| night.task(id)?.last());
    let before = night.base_gate().report().and_then(|report| report.tests_run);
    let after = records().next_back().and_then(|record| record.gate.as_ref()?.tests_run);
    let sum = |of: fn(&TestDelta) -> u32| -> u32 {
        records().flat_map(|record| &record.inspection.tests).map(of).sum()
    };
    format!(
        "{} → {} ran; in the files that changed {} removed, {} newly skipped, {} fewer",
        ran(before),
        ran(after),
        sum(|delta| delta.tests.0.saturating_sub(delta.tests.1)),
        sum(|delta| delta.skipped.1.saturating_sub(delta.skipped.0)),
        plural(
            sum(|delta| delta.assertions.0.saturating_sub(delta.assertions.1)) as usize,
            "assertion"
        ),
    )
}

/// Where a factor of risk was seen in landed diffs. A diff without any factor was never looked at in this way.
fn touched(night: &Night, factor: &str) -> String {
    let mut seen = Vec::new();
    for (id, _) in night.landed() {
        let Some(record) = night.task(id).and_then(TaskState::last) else { continue };
        let factors = &record.inspection.risk.factors;
        if factors.is_empty() {
            seen.push(format!("{}: not recorded", text::inline(id.as_str())));
        }
        let found = factors.iter().filter(|found| found.name == factor);
        seen.extend(
            found.map(|found| format!("{}: {}", text::inline(id.as_str()), text::code(&found.why))),
        );
    }
    if seen.is_empty() { "none".to_owned() } else { seen.join(", ") }
}

fn secrets(night: &Night) -> String {
    let landed = night.landed();
    let found = landed
        .iter()
        .filter_map(|(id, _)| night.task(id)?.last())
        .flat_map(AttemptRecord::findings)
        .filter(|finding| finding.rule == "inspection.secret")
        .count();
    match found {
        0 => "none found in any commit".to_owned(),
        count => format!("**{}**, see above", plural(count, "finding")),
    }
}

pub(super) fn evidence(night: &Night) -> String {
    let opening = night.opening();
    let mut rows = String::from(
        "| commit | tree | step | end | took | log sha256 |\n|---|---|---|---|--:|---|\n",
    );
    let base = night.base_gate().report();
    let landed = night.landed();
    let reports = landed.iter().filter_map(|(id, _)| night.task(id)?.last()?.gate.as_ref());
    for report in base.into_iter().chain(reports) {
        for step in &report.steps {
            rows.push_str(&format!(
                "| {}{} | {} | {} {} | {}{} | {} | {}… |\n",
                if report.commit == opening.base.commit { "base " } else { "" },
                report.commit.short(),
                report.tree.short(),
                text::inline(&step.name),
                text::code(&step.command),
                step.ended,
                if report.reused { " (receipt)" } else { "" },
                line::seconds(step.millis),
                report.log_hash.get(..8).unwrap_or(&report.log_hash),
            ));
        }
    }
    let reports = night.tasks().filter_map(|(id, task)| {
        task.landed()?;
        Some((id.as_str(), task.last()?.gate.as_ref()?))
    });
    let base = base.map(|report| ("base", report));
    for (name, report) in base.into_iter().chain(reports) {
        if let Some(words) = gates::flaky_in_words(report) {
            rows.push_str(&format!("\nFlaky, {}: {}\n", text::inline(name), text::inline(&words)));
        }
    }
    if let Some(proof) = night.gate_proof() {
        rows.push_str(&format!("\nProof of the gate: {}.\n", text::inline(&gates::canary(proof))));
    }
    let branch = opening.night.branch();
    let (fetch, tip) = match opening.publish.remote {
        Some(_) if opening.publish.push => (format!("git fetch origin {branch} && "), "FETCH_HEAD"),
        Some(_) | None => (String::new(), branch.as_str()),
    };
    let check = format!(
        "\nCheck it yourself, without trusting this text:\n\n```sh\n{fetch}git log \
         --format='%h %T %(trailers:key=Nightshift-Tree,valueonly,separator=)' {}..{tip} | awk \
         '$2!=$3{{bad=1;print \"not gated:\",$1}} END{{exit bad}}'\n{NAME} verify {}   # the receipts too; --rerun runs the gate again on each tree\n```\n\n\
         Gate id `{}`.\n",
        opening.base.commit.short(),
        opening.night,
        opening.gate.id,
    );
    details("Evidence: step, end, duration and tree of every gate run", &format!("{rows}{check}"))
}

/// How to take one commit out, and how to keep tomorrow's night from beginning.
pub(super) fn drop_or_stop(night: &Night) -> String {
    let opening = night.opening();
    let landed = night.landed();
    let Some((id, candidate)) = landed.first() else { return String::new() };
    let (commit, branch) = (candidate.commit.short(), opening.night.branch());
    let task = in_shell(&format!("{}/{id}", opening.night));
    let lines = format!(
        "{NAME} revert {task}   # rebuilds the branch without it; what landed after it passes the gate again\n\
         git rebase --onto {commit}^ {commit} {branch}   # the same by hand: the trees change, no gate saw them\n\
         {NAME} stop   # no night begins until `{NAME} resume`",
    );
    let inside = format!(
        "The first commit as an example; any other task in its place.\n\n{}\n",
        text::fence_of("sh", &lines)
    );
    details("Drop one commit, or stop", &inside)
}

/// One word for a shell.
fn in_shell(word: &str) -> String {
    if word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c)) {
        return word.to_owned();
    }
    format!("'{}'", text::inline_plain(word).replace('\'', "'\\''"))
}

pub(super) fn failure_details(
    night: &Night,
    id: &TaskId,
    task: &TaskState,
    logs: &Logs,
) -> Option<String> {
    let cause = cause(task)?;
    let mut inside = String::from("| try | agent | size | what happened |\n|-:|--:|--:|---|\n");
    for record in &task.attempts {
        let size = record
            .candidate
            .as_ref()
            .map_or(String::new(), |c| format!("+{}&nbsp;−{}", c.stat.added, c.stat.removed));
        let agent =
            record.agent.as_ref().map_or(String::new(), |report| format!("{} s", report.seconds));
        let what = record.setback.as_ref().map_or("cut off by a crash".to_owned(), line::why);
        inside.push_str(&format!(
            "| {} | {agent} | {size} | {} |\n",
            record.number,
            text::inline(&what)
        ));
    }
    if let Failure::Refused(refusals) = &cause.failure {
        inside.push_str("\nRules that the last try broke:\n\n");
        for refusal in refusals.iter().take(20) {
            inside.push_str(&format!(
                "- {}: saw {}\n",
                refusal_cell(refusal, LIMIT),
                text::code(&text::head(&refusal.value, 200))
            ));
        }
    }
    if let Some(report) = red_gate(task) {
        inside.push_str(&format!("\nThe gate's last run:\n\n{}\n", text::fence(&red_run(report))));
        for step in red_steps(report) {
            let Some(log) = logs.get(&step.log).filter(|log| !log.trim().is_empty()) else {
                continue;
            };
            inside.push_str(&format!(
                "\nThe end of the log of {}:\n\n{}\n",
                text::code(&step.name),
                text::fence(&end_of(log))
            ));
        }
    }
    let words = task.last().and_then(|r| r.agent.as_ref()).and_then(|r| r.last_words.as_deref());
    if let Some(words) = words.filter(|words| !words.trim().is_empty()) {
        inside.push_str("\nThe agent's last words, unchecked:\n\n");
        inside.push_str(&text::fence(&text::tail(words, 1_000)));
        inside.push('\n');
    }
    if let Some(kept) = task.attempts.iter().rev().find(|record| record.kept.is_some()) {
        inside.push_str(&format!("\n{}\n", kept_line(night, id, kept)));
    }
    Some(details(&format!("{}: why it failed", text::html(id.as_str())), &inside))
}

/// A red run as lines: each step with its end, and the tests that failed.
fn red_run(report: &GateReport) -> String {
    /// Tests that are named.
    const NAMED: usize = 30;
    let mut lines: Vec<String> = report
        .steps
        .iter()
        .map(|step| format!("{}: {} after {}", step.name, step.ended, line::seconds(step.millis)))
        .collect();
    lines.extend(report.vacuous.clone());
    let failing = &report.failing_tests;
    lines.extend(failing.iter().take(NAMED).map(|test| format!("failed: {test}")));
    if failing.len() > NAMED {
        lines.push(format!("and {} more failed", failing.len() - NAMED));
    }
    lines.join("\n")
}

/// The last lines of a log.
fn end_of(log: &str) -> String {
    let (most, characters) = LOG;
    // What moves a terminal's cursor takes no room.
    let log = text::plain(log);
    let lines: Vec<&str> = log.trim_end().lines().collect();
    let shown = &lines[lines.len().saturating_sub(most)..];
    text::tail(&shown.join("\n"), characters)
}

fn kept_line(night: &Night, id: &TaskId, record: &AttemptRecord) -> String {
    let attempt = crate::ids::AttemptId { task: id.clone(), number: record.number };
    if record.inspection.holds_secret() {
        return format!(
            "Try {} looks as if it held a secret: it is kept in the vault alone, and {} shows it masked",
            record.number,
            text::code(&format!("{NAME} show {attempt} --diff"))
        );
    }
    format!(
        "Try {} is kept on the machine that made it: {}",
        record.number,
        text::code(&format!("git show {}", night.opening().night.attempt_ref(&attempt)))
    )
}

pub(super) fn cost(night: &Night) -> String {
    if night.spent().usd == crate::budget::Usd::ZERO {
        return String::new();
    }
    let mut rows =
        String::from("| task | model | tries | cost | per line kept |\n|---|---|--:|--:|--:|\n");
    let mut tries = 0;
    for (id, task) in night.tasks().filter(|(_, task)| !task.attempts.is_empty()) {
        let model = task
            .attempts
            .iter()
            .rev()
            .find_map(|record| record.agent.as_ref()?.model.as_deref())
            .unwrap_or("");
        tries += task.attempts.len();
        rows.push_str(&format!(
            "| {} | {} | {} | {} | {} |\n",
            text::inline(id.as_str()),
            text::inline(model),
            task.attempts.len(),
            facts::spent_on(night, task),
            per_line(task),
        ));
    }
    rows.push_str(&format!("| **all** | | {tries} | **{}** | |\n", facts::spent(night)));
    if night.spent().is_estimated() {
        rows.push_str(
            "\nA call that was cut off reports no cost: what had been reserved for it is the most that it \
             can have cost.\n",
        );
    }
    details("Cost", &rows)
}

/// Money for each line that landed, in tenths of a cent; `–` where none did.
fn per_line(task: &TaskState) -> String {
    let lines = task.landed().map_or(0, |candidate| candidate.stat.added + candidate.stat.removed);
    match (lines, task.spent().usd.micros()) {
        (0, _) | (_, 0) => "–".to_owned(),
        (lines, micros) => {
            let tenths = micros.div_ceil(u64::from(lines)).div_ceil(1_000);
            format!("${}.{:03}", tenths / 1_000, tenths % 1_000)
        }
    }
}

/// A folded part. `summary` stands between the tags of HTML.
pub(super) fn details(summary: &str, inside: &str) -> String {
    format!("\n<details><summary>{summary}</summary>\n\n{inside}\n</details>\n")
}
