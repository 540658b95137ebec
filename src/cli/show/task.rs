//! One task on one screen: why it stopped, its tries, where its work is, what to do.

use crate::{
    cli::{
        find::{Found, Selector},
        tell::{self, Cleaner},
    },
    ids::{AttemptId, NAME, TaskId},
    night::{AttemptRecord, NotStarted, Stage, TaskState},
    outcome::Failure,
    policy::Inspection,
    prompt::Decision,
    report::{self, column, seconds, text},
    runner::{earlier, home::Home, refused::Refused},
};

/// Lines of a red step's log that are shown.
const LOG: usize = 12;
/// Failing tests and refusals that are shown.
const MANY: usize = 10;
/// Characters of the agent's last words that are shown.
const WORDS: usize = 1_200;

/// Everything about one task of a night.
pub(super) fn in_full(
    home: &Home,
    found: &Found,
    selector: &Selector,
    id: &TaskId,
    cleaner: &Cleaner,
) -> Result<String, Refused> {
    let Some(state) = found.night.task(id) else { return Ok(refused(found, id, cleaner)) };
    let mut lines = vec![heading(found, id, state)];
    if let Some(candidate) = state.landed() {
        lines.push(format!(
            "landed           {} on {}",
            candidate.commit.short(),
            found.id.branch()
        ));
    }
    if state.attempts.is_empty() {
        let what = match found.night.why_not_started(id, found.night.last_fact()) {
            Some(NotStarted::Needs(need)) => format!("it {}", report::needs(&found.night, &need)),
            Some(NotStarted::TaskLimit) => "the night's number of tasks was reached".to_owned(),
            Some(NotStarted::Money) => "the money or the tokens are spent".to_owned(),
            Some(NotStarted::NoModel | NotStarted::Stopped) => match found.night.stop() {
                Some(reason) => report::stop_reason(reason),
                None => "the night had stopped".to_owned(),
            },
            None => "its turn has not come".to_owned(),
        };
        lines.push(format!("not tried        {}", cleaner.line(&what)));
        return Ok(lines.join("\n"));
    }
    let (attempt, record) = super::attempt_of(found, selector)?;
    lines.extend(talk(state, record, cleaner));
    if let Some(proof) = &record.test_proof {
        lines.push(format!("tests            {}", cleaner.line(&report::test_proof(proof))));
    }
    if let Some(setback) = &record.setback {
        lines.push(format!("why it stopped   {}", cleaner.line(&report::why_of(state, setback))));
        let cause = report::behind(state, setback).unwrap_or(setback);
        details(found, &cause.failure, cleaner, &mut lines);
    }
    lines.extend(judged(record, cleaner));
    lines.push(String::new());
    lines.push(tries(home, state, cleaner, tell::runs(home, &found.night)));
    lines.extend(said(record, cleaner));
    let words = record.agent.as_ref().and_then(|agent| agent.last_words.as_deref());
    if let Some(words) = words.filter(|words| !words.trim().is_empty()) {
        lines.push(format!("agent's last words, try {}:", attempt.number));
        let words = text::tail(cleaner.clean(words.as_bytes()).trim(), WORDS);
        lines.extend(words.lines().map(|line| format!("  | {line}")));
    }
    lines.push(String::new());
    lines.extend(kept(home, found, &attempt, record)?);
    lines.push("next".to_owned());
    let shown = if selector.attempt.is_some() { attempt.to_string() } else { id.to_string() };
    lines.extend(looks(home, found, state, (&attempt, record), &shown, cleaner)?);
    let cut_off = matches!(
        state.stage,
        Stage::Editing | Stage::Ungated(_) | Stage::Gated(_) | Stage::Landing(_)
    );
    if cut_off && !tell::runs(home, &found.night) {
        lines.push(format!("  {NAME} resume"));
    }
    if let Some(setback) = state.parked() {
        let plan = &found.night.opening().plan.path;
        lines.push(format!("  answer below the task in {plan}, and {NAME} run takes it again:"));
        for line in report::answer_lines(report::questions(setback)) {
            lines.push(format!("    {}", cleaner.line(&line)));
        }
    }
    if state.held().is_some() {
        let [approve, reject] = report::decide(&tell::quoted(&format!("{}/{id}", found.id)));
        lines.extend([approve, reject].map(|command| format!("  {command}")));
    }
    let again = earlier::wanted(home).into_iter().find(|again| again.task == *id);
    if let Some(again) = again {
        let by = cleaner.line(&again.by);
        lines.push(format!("  it goes again tonight: {by} asked for it"));
    } else if state.failed().is_some() {
        lines.push("  say more in the plan, or".to_owned());
        lines.push(format!("  {NAME} retry {} --note 'what to do'", tell::quoted(id.as_str())));
    }
    Ok(lines.join("\n"))
}

/// The commands that show more of an attempt: only those that have something to show. Where it has no log of a gate,
/// the last attempt that has one is named.
fn looks(
    home: &Home,
    found: &Found,
    state: &TaskState,
    (attempt, record): (&AttemptId, &AttemptRecord),
    shown: &str,
    cleaner: &Cleaner,
) -> Result<Vec<String>, Refused> {
    let command = |verb: &str, what: &str| {
        format!("  {NAME} {verb} {}", tell::quoted(&format!("{}/{what}", found.id)))
    };
    let mut lines = Vec::new();
    if tell::work_of(&home.vault, record)?.is_some() {
        lines.push(format!("{} --diff", command("show", shown)));
    }
    if found.places.attempt(attempt).join("prompt.md").is_file() {
        lines.push(format!("{} --prompt", command("show", shown)));
    }
    let gated = |attempt: &AttemptId| super::gate_logs(found, Some(attempt), cleaner).is_ok();
    let earlier = state.attempts.iter().rev().filter(|other| other.number < attempt.number);
    let earlier = earlier.map(|other| AttemptId { number: other.number, ..attempt.clone() });
    if gated(attempt) {
        lines.push(format!("{} --gate", command("show", shown)));
    } else if let Some(other) = earlier.into_iter().find(gated) {
        lines.push(format!("{} --gate", command("show", &other.to_string())));
    }
    lines.push(command("logs", shown));
    Ok(lines)
}

/// Which model and conversation an attempt was, where the agent has them.
fn talk(state: &TaskState, record: &AttemptRecord, cleaner: &Cleaner) -> Vec<String> {
    let mut lines = Vec::new();
    let answered = record.agent.as_ref().and_then(|agent| agent.model.as_ref());
    let model = match (answered, &record.model) {
        (Some(answered), Some(asked)) if answered != asked => {
            Some(format!("{answered} (asked for {asked})"))
        }
        (Some(model), _) | (None, Some(model)) => Some(model.clone()),
        (None, None) => None,
    };
    if let Some(model) = model {
        lines.push(format!("model            {}", cleaner.line(&model)));
    }
    if let Some(conversation) = &record.conversation {
        let how = if conversation.opened_by < record.number {
            format!("try {} went on in try {}'s", record.number, conversation.opened_by)
        } else {
            format!("opened by try {}", record.number)
        };
        lines.push(format!("conversation     {how}"));
    }
    let recovered: Vec<&str> = state.attempts.iter().filter_map(report::recovered_from).collect();
    if !recovered.is_empty() {
        lines.push(format!("recovered from   {}", recovered.join(", ")));
    }
    lines
}

/// What the rules, the gate and its proofs say of an attempt's work, also what stops nothing.
fn judged(record: &AttemptRecord, cleaner: &Cleaner) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(by) = &record.approved_by {
        let note = record.approval_note.as_ref().map_or(String::new(), |note| format!(": {note}"));
        lines.push(format!("approved by      {}", cleaner.line(&format!("{by}{note}"))));
    }
    if let Some(gate) = &record.gate {
        lines.push(format!("gate             score {} of 100", gate.score));
    }
    let risk = &record.inspection.risk;
    if !risk.factors.is_empty() {
        lines.push(format!("risk             {}", risk.score));
        for factor in risk.factors.iter().take(MANY) {
            let words = format!("{:+} {}: {}", factor.points, factor.name, factor.why);
            lines.push(format!("  {}", cleaner.line(&words)));
        }
    }
    let mut findings: Vec<_> = record.findings().collect();
    // What runs by itself is looked at before anything is checked out.
    findings.sort_by_key(|finding| !Inspection::runs_code(finding));
    if !findings.is_empty() {
        lines.push("rules said".to_owned());
        for said in findings.iter().take(MANY) {
            lines.push(format!("  {:<6} {}", said.verdict, cleaner.line(&said.to_string())));
        }
        if findings.len() > MANY {
            lines.push(format!("  and {} more; --json has all", findings.len() - MANY));
        }
    }
    lines
}

/// What the agent says about its own work, and what the second opinion says to that.
fn said(record: &AttemptRecord, cleaner: &Cleaner) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(agent) = &record.agent else { return lines };
    let mut part = |words: &str, items: Vec<String>| {
        if !items.is_empty() {
            lines.push(words.to_owned());
            lines.extend(items.iter().take(MANY).map(|item| format!("  {}", cleaner.line(item))));
            if items.len() > MANY {
                lines.push(format!("  and {} more", items.len() - MANY));
            }
        }
    };
    let reply = &agent.reply;
    part("its plan:", reply.plan.clone());
    let point =
        |met: bool, item: &str| format!("{} {item}", if met { "met    " } else { "NOT met" });
    part(
        "its own check of the acceptance:",
        reply.acceptance.iter().map(|p| point(p.met, &p.item)).collect(),
    );
    part("its decisions:", reply.decisions.iter().map(decision).collect());
    let told = record.setback.as_ref().is_some_and(|s| !report::questions(s).is_empty());
    if !told {
        part("its questions:", reply.questions.clone());
    }
    if let Some(review) = &record.review {
        let word = if review.agree { "agrees" } else { "disagrees" };
        let model = review.model.as_deref().unwrap_or("the agent's own model");
        part("second opinion:", vec![format!("{word} ({model}): {}", review.why)]);
    }
    part("notes:", agent.notes.clone());
    lines
}

/// A decision in one line.
fn decision(decision: &Decision) -> String {
    let why = if decision.why.is_empty() { String::new() } else { format!(" ({})", decision.why) };
    format!("{}: {}{why}", decision.level.word(), decision.what)
}

fn heading(found: &Found, id: &TaskId, state: &TaskState) -> String {
    let seconds: u64 = state.attempts.iter().map(millis).sum();
    let base = state.attempts.first().map_or(&found.night.opening().base.commit, |r| &r.base);
    format!(
        "{id} · {} · {}, {} · {} · {} · base {} · night {}",
        text::inline_plain(tell::title(&found.night, id)),
        tell::stage(state).to_uppercase(),
        report::tries(&found.night, id, state),
        report::seconds(seconds),
        report::spent_on(&found.night, state),
        base.short(),
        found.id,
    )
}

/// What exactly was red or refused.
fn details(found: &Found, failure: &Failure, cleaner: &Cleaner, lines: &mut Vec<String>) {
    match failure {
        Failure::Gate(report) => {
            lines.push(String::new());
            for test in report.failing_tests.iter().take(MANY) {
                lines.push(format!("  {}", cleaner.line(test)));
            }
            if report.failing_tests.len() > MANY {
                lines.push(format!("  and {} more", report.failing_tests.len() - MANY));
            }
            for step in report.steps.iter().filter(|step| step.blocks()) {
                let log = std::fs::read(found.places.directory().join(&step.log));
                let log = cleaner.clean(&log.unwrap_or_default());
                let all: Vec<&str> = log.trim_end().lines().collect();
                lines.push(format!("  end of the log of `{}`:", text::inline_plain(&step.name)));
                let from = all.len().saturating_sub(LOG);
                lines.extend(all[from..].iter().map(|line| format!("    | {line}")));
            }
        }
        Failure::Refused(refusals) => {
            lines.push(String::new());
            for refusal in refusals.iter().take(MANY) {
                lines.push(format!("  {} {}", refusal.verdict, cleaner.line(&refusal.to_string())));
                if let Some(help) = &refusal.help {
                    lines.push(format!("         {}", cleaner.line(help)));
                }
            }
            if refusals.len() > MANY {
                lines.push(format!("  and {} more", refusals.len() - MANY));
            }
        }
        Failure::Unfit(odd) => {
            lines.push(String::new());
            let shown = odd.iter().take(MANY);
            lines.extend(shown.map(|odd| cleaner.line(&format!("{} is {}", odd.path, odd.what))));
        }
        Failure::Question { questions } => {
            lines.push(String::new());
            lines
                .extend(questions.iter().map(|question| format!("  ? {}", cleaner.line(question))));
        }
        Failure::Agent(_)
        | Failure::Disagreed { .. }
        | Failure::Unproven(_)
        | Failure::Rejected { .. }
        | Failure::NothingLeft
        | Failure::Reverted { .. }
        | Failure::NoChange { .. }
        | Failure::NoProgress { .. }
        | Failure::Conflict { .. } => {}
    }
}

/// The table of a task's tries. `running`: a process is at its night.
pub(super) fn tries(home: &Home, state: &TaskState, cleaner: &Cleaner, running: bool) -> String {
    let mut lines = vec![format!(
        "try  {}  {}  {}  what came of it",
        column("time", 7),
        column("cost", 8),
        column("diff", 11)
    )];
    for record in &state.attempts {
        let size = tell::size_of(&home.vault, record)
            .map_or("–".to_owned(), |(added, removed)| format!("+{added} −{removed}"));
        let spent = record.spent();
        let cost = report::marked(&spent);
        let came = match (&record.setback, &record.gate) {
            (Some(setback), _) => format!("{}; {}", report::why(setback), setback.then.in_words()),
            (None, Some(gate)) if gate.passed() => {
                let landed = state.landed().is_some_and(|candidate| {
                    record.candidate.as_ref().is_some_and(|own| own.commit == candidate.commit)
                });
                let held = state.held().is_some_and(|candidate| {
                    record.candidate.as_ref().is_some_and(|own| own.commit == candidate.commit)
                });
                let what = match (landed, held) {
                    (true, _) => ", landed",
                    (false, true) => ", held for you",
                    (false, false) => "",
                };
                let flaky = report::flaky_in_words(gate);
                let flaky = flaky.map_or(String::new(), |words| format!(", flaky: {words}"));
                let known = report::excused(gate);
                let known =
                    known.map_or(String::new(), |words| format!(", red as on the base: {words}"));
                format!("gate green{what}{known}{flaky}")
            }
            (None, Some(gate)) => format!("gate red: {}", report::red(gate)),
            (None, None) if record.charged.is_some() => "cut off by a crash".to_owned(),
            (None, None) if record.agent.is_none() && running => "the agent is at work".to_owned(),
            (None, None) if record.agent.is_none() => "the agent was cut off".to_owned(),
            (None, None) => "waits for the gate".to_owned(),
        };
        lines.push(format!(
            "{:>3}  {}  {}  {}  {}",
            record.number,
            column(&seconds(millis(record)), 7),
            column(&cost, 8),
            column(&size, 11),
            cleaner.line(&came)
        ));
    }
    lines.join("\n")
}

/// Milliseconds that a try took, all in all.
fn millis(record: &AttemptRecord) -> u64 {
    let millis = record.took.as_millis();
    u64::try_from(millis.max(0)).unwrap_or(u64::MAX)
}

/// How the work of an attempt is opened in the user's repository.
fn kept(
    home: &Home,
    found: &Found,
    attempt: &AttemptId,
    record: &AttemptRecord,
) -> Result<Vec<String>, Refused> {
    if record.kept.is_none() {
        return Ok(vec!["work kept   none: this try changed nothing".to_owned()]);
    }
    let name = found.id.attempt_ref(attempt);
    if home.user.our_ref(&name)?.is_none() {
        return Ok(vec!["work kept   in the vault only; --diff prints it".to_owned()]);
    }
    let branch = format!("{}-try-{}", attempt.task.in_ref(), attempt.number);
    Ok(vec!["work kept".to_owned(), format!("  git switch -c {branch} {name}")])
}

/// A task that asked to run and was not let in.
fn refused(found: &Found, id: &TaskId, cleaner: &Cleaner) -> String {
    let Some(task) = found.night.opening().refused.iter().find(|task| task.id == *id) else {
        return format!("{id} is not a task of the night {}", found.id);
    };
    let mut lines = vec![
        format!(
            "{id} · {} · NOT STARTED ({}) · line {} of the plan · night {}",
            cleaner.line(&task.title),
            task.verdict,
            task.line,
            found.id
        ),
        String::new(),
    ];
    for refusal in &task.refusals {
        lines.push(format!("  {} {}", refusal.verdict, cleaner.line(&refusal.to_string())));
        if let Some(help) = &refusal.help {
            lines.push(format!("         {}", cleaner.line(help)));
        }
    }
    lines.push(String::new());
    lines.push(format!("next        {NAME} check -t {} --explain", tell::quoted(id.as_str())));
    lines.join("\n")
}
