//! The night on one screen of a terminal: what landed, what did not, what needs a person, what to do next.

use jiff::Timestamp;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::{
    ids::NAME,
    night::{BaseGate, Night, NotStarted, Publication, Stage},
    outcome::StopReason,
    policy::Verdict,
    report::{facts, gates, line, text},
};

/// Width of the title column, in terminal cells.
const TITLE: usize = 48;

/// The summary as it is at `now`, without colours. Ends with the commands for each open point. `running`: a
/// process is at the night, which the night itself cannot know.
pub fn summary(night: &Night, now: Timestamp, running: bool) -> String {
    let opening = night.opening();
    let running = running && night.ended().is_none();
    let mut lines = vec![format!(
        "Night {} · {} · {} · {}",
        opening.night,
        text::inline_plain(&opening.repository),
        spans(night),
        facts::spent(night),
    )];
    if let BaseGate::Red(report) = night.base_gate() {
        lines.push(String::new());
        lines.push("REFUSED: the gate is red on the base, so nothing was started".to_owned());
        lines.push(format!(
            "  {}@{}  {}",
            opening.base.branch,
            opening.base.commit.short(),
            line::red(report)
        ));
        for step in report.steps.iter().filter(|step| !step.green()) {
            lines.push(format!("  {NAME} logs gate   the log of `{}`", step.name));
        }
        if opening.agent.walls != "none" {
            lines.push(format!(
                "  it ran inside walls ({}): no HOME of yours, no network; see `sandbox.read`, \
                 `gate.network`, `gate.setup`",
                opening.agent.walls
            ));
        }
    }
    if let Some(proof) = night.gate_proof().filter(|proof| !proof.proven()) {
        lines.push(String::new());
        lines.push("REFUSED: the gate did not go red, so nothing was started".to_owned());
        lines.extend(gates::unproven(proof));
    }
    landed(night, &mut lines);
    failed(night, &mut lines);
    asks(night, &mut lines);
    held(night, &mut lines);
    needs_you(night, &mut lines);
    waiting(night, running, &mut lines);
    notes(night, now, running, &mut lines);
    lines.join("\n") + "\n"
}

fn landed(night: &Night, lines: &mut Vec<String>) {
    let landed = night.landed();
    if landed.is_empty() {
        return;
    }
    lines.push(String::new());
    let place = match night.publication() {
        Publication::Done { url, .. } => format!("    {url}"),
        Publication::Open | Publication::Failed { .. } => {
            format!("    branch {}", night.opening().night.branch())
        }
    };
    lines.push(format!("LANDED {}{place}", landed.len()));
    for (id, candidate) in landed {
        let tries = night.task(id).map_or(0, |task| task.attempts.len());
        let tries = if tries > 1 { format!("{tries} tries") } else { String::new() };
        lines.push(format!(
            "  ok    {}  {}  {tries:<8}  {}  +{} -{}",
            column(id.as_str(), 10),
            column(title(night, id), TITLE),
            candidate.commit.short(),
            candidate.stat.added,
            candidate.stat.removed,
        ));
    }
    lines.push(format!(
        "        {NAME} verify {}   on any clone: did each of them pass the gate",
        night.opening().night
    ));
}

fn failed(night: &Night, lines: &mut Vec<String>) {
    let failed: Vec<_> = night
        .tasks()
        .filter_map(|(id, task)| task.failed().map(|setback| (id, task, setback)))
        .collect();
    if failed.is_empty() {
        return;
    }
    lines.push(String::new());
    lines.push(format!(
        "FAILED {}    not in the pull request; what they made is kept",
        failed.len()
    ));
    for (id, task, setback) in failed {
        lines.push(format!(
            "  FAIL  {}  {}  {}",
            column(id.as_str(), 10),
            column(title(night, id), TITLE),
            facts::tries(night, id, task),
        ));
        lines.push(format!("        {}", text::inline_plain(&line::why(setback))));
        lines.push(format!("        {NAME} show '{id}'"));
    }
}

fn asks(night: &Night, lines: &mut Vec<String>) {
    let parked: Vec<_> =
        night.tasks().filter_map(|(id, task)| task.parked().map(|setback| (id, setback))).collect();
    if parked.is_empty() {
        return;
    }
    let plan = &night.opening().plan.path;
    lines.push(String::new());
    lines.push(format!(
        "WAITS FOR YOU {}    answer below the task in {plan}; the next night takes it again",
        parked.len()
    ));
    for (id, setback) in parked {
        lines.push(format!(
            "  ?     {}  {}",
            column(id.as_str(), 10),
            column(title(night, id), TITLE)
        ));
        let questions = facts::questions(setback);
        if questions.is_empty() {
            lines.push(format!("        {}", text::inline_plain(&line::why(setback))));
        }
        let answers = facts::answer_lines(questions);
        lines.extend(answers.iter().map(|line| format!("        {line}")));
        lines.push(format!("        {NAME} show '{id}'"));
    }
}

fn held(night: &Night, lines: &mut Vec<String>) {
    let held: Vec<_> = night
        .tasks()
        .filter(|(_, task)| task.held().is_some())
        .filter_map(|(id, task)| Some((id, task.held()?, task.last()?)))
        .collect();
    if held.is_empty() {
        return;
    }
    lines.push(String::new());
    lines.push(format!("HELD FOR YOU {}    finished, passed the gate, and not landed", held.len()));
    for (id, candidate, record) in held {
        lines.push(format!(
            "  ?     {}  {}  +{} -{}",
            column(id.as_str(), 10),
            column(title(night, id), TITLE),
            candidate.stat.added,
            candidate.stat.removed,
        ));
        for said in record.objections().iter().take(3) {
            lines.push(format!(
                "        {}: {}; limit {} ({})",
                said.rule,
                text::inline_plain(&said.message),
                text::inline_plain(&said.limit),
                said.origin
            ));
        }
        let [approve, reject] = facts::decide(&format!("'{id}'"));
        lines.push(format!("        {NAME} show '{id}' --diff"));
        lines.push(format!("        {approve}, or {reject}"));
    }
}

fn needs_you(night: &Night, lines: &mut Vec<String>) {
    let refused = &night.opening().refused;
    for (verdict, heading) in [(Verdict::Refuse, "REFUSED"), (Verdict::Ask, "NEEDS YOU")] {
        let those: Vec<_> = refused.iter().filter(|task| task.verdict == verdict).collect();
        if those.is_empty() {
            continue;
        }
        lines.push(String::new());
        lines.push(format!("{heading} {}    before the start", those.len()));
        for task in those {
            lines.push(format!(
                "  {}  {}  {}",
                if verdict == Verdict::Refuse { "no  " } else { "?   " },
                column(task.id.as_str(), 10),
                column(&task.title, TITLE),
            ));
            for refusal in task.refusals.iter().filter(|r| r.verdict != Verdict::Report).take(3) {
                lines.push(format!(
                    "        {}: {}; limit {} ({})",
                    refusal.rule,
                    text::inline_plain(&refusal.message),
                    text::inline_plain(&refusal.limit),
                    refusal.origin
                ));
            }
        }
    }
}

fn waiting(night: &Night, running: bool, lines: &mut Vec<String>) {
    let now = night.last_fact();
    let mut any = false;
    for (id, task) in night.tasks() {
        let why = match &task.stage {
            Stage::Waiting => match night.why_not_started(id, now) {
                Some(NotStarted::Needs(need)) => facts::needs(night, &need),
                Some(NotStarted::TaskLimit) => "the limit of tasks was reached".to_owned(),
                Some(NotStarted::Money) => "the money or the tokens are spent".to_owned(),
                Some(NotStarted::NoModel | NotStarted::Stopped) => match night.stop() {
                    // Said once, below.
                    Some(StopReason::AgentUnusable { .. }) => "the agent cannot work".to_owned(),
                    Some(reason) => line::stop_reason(reason),
                    None => night.stop_reason(now).map_or_else(
                        || "the night stopped".to_owned(),
                        |reason| line::stop_reason(&reason),
                    ),
                },
                None if night.ended().is_some() => "left for another night".to_owned(),
                None => "waits for its turn".to_owned(),
            },
            Stage::Editing if running => "the agent is at work".to_owned(),
            Stage::Editing => "the agent was cut off".to_owned(),
            Stage::Ungated(_) if running => "the gate is at work".to_owned(),
            Stage::Ungated(_) => "is edited, and was cut off before its gate had ended".to_owned(),
            Stage::Gated(_) | Stage::Landing(_) if running => {
                "passed the gate, lands next".to_owned()
            }
            Stage::Gated(_) | Stage::Landing(_) => {
                "passed the gate, and was cut off before it landed".to_owned()
            }
            // Each has a place of its own.
            Stage::Held(_) | Stage::Parked(_) | Stage::Landed(_) | Stage::Failed(_) => continue,
        };
        if !any {
            lines.push(String::new());
            lines.push("NOT DONE".to_owned());
            any = true;
        }
        lines.push(format!(
            "  ..    {}  {}  {}",
            column(id.as_str(), 10),
            column(title(night, id), TITLE),
            text::inline_plain(&why)
        ));
    }
}

fn notes(night: &Night, now: Timestamp, running: bool, lines: &mut Vec<String>) {
    lines.push(String::new());
    for (words, what) in [
        ("decided by agents", facts::decisions_in_words(night)),
        ("recovered from", facts::recoveries_in_words(night)),
    ] {
        if !what.is_empty() {
            lines.push(format!("{words}: {what}"));
        }
    }
    lines.extend(facts::closed(night, now));
    if !matches!(night.base_gate(), BaseGate::Red(_)) {
        let proof = night.gate_proof().filter(|proof| proof.proven()).map(gates::canary);
        lines.extend(proof.or_else(|| not_proven(night)).map(|words| format!("gate: {words}")));
    }
    lines.extend(gates::known_failures(night).map(|words| format!("known failures: {words}")));
    for (id, task) in night.tasks() {
        let report = task.last().and_then(|record| record.gate.as_ref());
        if let Some(words) = report.and_then(gates::flaky_in_words) {
            lines.push(format!("flaky: {id}: {}", text::inline_plain(&words)));
        }
    }
    if let Some(words) = night.base_gate().report().and_then(gates::flaky_in_words) {
        lines.push(format!("flaky: base: {}", text::inline_plain(&words)));
    }
    match night.publication() {
        Publication::Failed { message, help, again, .. } => {
            let by_itself = again
                .filter(|_| running)
                .map_or(String::new(), |at| format!(" (again at {})", facts::moment(at, now)));
            let words = facts::unpublished(message, help);
            lines.push(format!("not published: {words}{by_itself}"));
        }
        Publication::Done { notes, .. } => {
            lines.extend(notes.iter().map(|note| format!("note: {}", text::inline_plain(note))));
        }
        Publication::Open => {}
    }
    for note in night.opening().notes.iter().chain(&facts::agent_notes(night)) {
        lines.push(format!("note: {}", text::inline_plain(note)));
    }
    match night.ended() {
        Some((Some(reason), _)) => {
            lines.push(format!("stopped early: {}", line::stop_reason(reason)));
            if facts::login_expired(night) {
                lines.push(
                    "  sign in anew: CLAUDE_CODE_OAUTH_TOKEN from `claude setup-token`, or a valid \
                     ANTHROPIC_API_KEY"
                        .to_owned(),
                );
            }
            match reason {
                StopReason::RedBase | StopReason::GateUnproven | StopReason::OnlyLanding => {}
                StopReason::BranchMoved { .. } => {
                    let way = facts::branch_moved(night);
                    lines.extend(way.map(|way| format!("next: {way}")));
                }
                StopReason::Time | StopReason::Cost => {
                    lines.push("the next night takes what is left".to_owned());
                }
                StopReason::Asked { .. }
                | StopReason::FailuresInARow { .. }
                | StopReason::Limited { .. }
                | StopReason::AgentUnusable { .. }
                | StopReason::Broken { .. } => lines.push(format!("next: {NAME} resume")),
            }
        }
        Some((None, _)) => {}
        None if running => {}
        None => lines.push(format!("not ended: cut off; {NAME} resume goes on with it")),
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
}

fn not_proven(night: &Night) -> Option<String> {
    gates::not_proven(night).map(|words| format!("not proven able to fail. {words}"))
}

fn spans(night: &Night) -> String {
    let (from, to) = (night.opening().at, night.last_fact());
    let seconds = night.lasted(to).as_secs().unsigned_abs();
    format!("{} UTC, {}", from.strftime("%Y-%m-%d %H:%M"), line::seconds(seconds * 1000))
}

fn title<'n>(night: &'n Night, id: &crate::ids::TaskId) -> &'n str {
    let found = night.opening().tasks.iter().find(|task| task.id() == id);
    found.map_or("", |task| task.task().title.as_str())
}

/// Text in exactly `width` terminal cells: cut with `…`, or filled with blanks.
pub fn column(words: &str, width: usize) -> String {
    let words = text::inline_plain(words);
    let mut cells = 0;
    let mut fitted = String::new();
    let whole = words.width();
    for c in words.chars() {
        let next = c.width().unwrap_or(0);
        let room = if whole > width { width - 1 } else { width };
        if cells + next > room {
            break;
        }
        fitted.push(c);
        cells += next;
    }
    if whole > width {
        fitted.push('…');
        cells += 1;
    }
    fitted + &" ".repeat(width.saturating_sub(cells))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_has_its_width_in_any_script() {
        for words in
            ["short", "a title that is far too long for it", "日本語の題名がここにある", ""]
        {
            assert_eq!(column(words, 12).width(), 12, "{words}");
        }
    }
}
