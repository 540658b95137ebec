//! The folded parts of the pull request: what was checked besides the gate, each run's evidence, why a task failed,
//! what it cost. For whoever wants to check a claim; nobody has to open them.

use crate::{
    ids::{NAME, TaskId},
    night::{AttemptRecord, Night, TaskState},
    outcome::Failure,
    policy::Verdict,
    report::{
        facts, gates, line,
        pull_request::{plural, refusal_cell},
        text,
    },
};

pub(super) fn guards(night: &Night) -> String {
    let opening = night.opening();
    let mut rows = String::from("| guard | result |\n|---|---|\n");
    let mut guard = |name: &str, result: &str| rows.push_str(&format!("| {name} | {result} |\n"));
    guard(
        "gate, CI, agent instructions, configuration",
        "identical to the base in every commit (blob and mode)",
    );
    guard(
        "paths, deletions, modes, links, size, added lines",
        "inside the rules, checked on the real diff",
    );
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
    let check = format!(
        "\nCheck it yourself, without trusting this text:\n\n```sh\ngit fetch origin {branch} && git log \
         --format='%h %T %(trailers:key=Nightshift-Tree,valueonly,separator=)' {}..FETCH_HEAD | awk \
         '$2!=$3{{bad=1;print \"not gated:\",$1}} END{{exit bad}}'\n{NAME} verify {}   # the receipts too; --rerun runs the gate again on each tree\n```\n\n\
         Gate id `{}`.\n",
        opening.base.commit.short(),
        opening.night,
        opening.gate.id,
    );
    details("Evidence: step, end, duration and tree of every gate run", &format!("{rows}{check}"))
}

pub(super) fn failure_details(night: &Night, id: &TaskId, task: &TaskState) -> Option<String> {
    let setback = task.failed()?;
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
    if let Failure::Refused(refusals) = &setback.failure {
        inside.push_str("\nRules that the last try broke:\n\n");
        for refusal in refusals.iter().take(20) {
            inside.push_str(&format!(
                "- {}: saw {}\n",
                refusal_cell(refusal),
                text::code(&text::head(&refusal.value, 200))
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
    Some(details(&format!("{}: why it failed", text::inline(id.as_str())), &inside))
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
    let mut rows = String::from("| task | model | tries | cost |\n|---|---|--:|--:|\n");
    for (id, task) in night.tasks().filter(|(_, task)| !task.attempts.is_empty()) {
        let model = task
            .attempts
            .iter()
            .rev()
            .find_map(|record| record.agent.as_ref()?.model.as_deref())
            .unwrap_or("");
        rows.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            text::inline(id.as_str()),
            text::inline(model),
            task.attempts.len(),
            facts::spent_on(night, task),
        ));
    }
    rows.push_str(&format!("| **all** | | | **{}** |\n", facts::spent(night)));
    if night.spent().is_estimated() {
        rows.push_str(
            "\nA call that was cut off reports no cost: what had been reserved for it is the most that it \
             can have cost.\n",
        );
    }
    details("Cost", &rows)
}

pub(super) fn details(summary: &str, inside: &str) -> String {
    format!("\n<details><summary>{summary}</summary>\n\n{inside}\n</details>\n")
}
