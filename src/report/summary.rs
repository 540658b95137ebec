//! The night on one screen of a terminal: what landed, what did not, what needs a person, what to do next.

use jiff::Timestamp;
use unicode_width::UnicodeWidthStr as _;

use crate::{
    ids::{NAME, TaskId},
    night::{BaseGate, Night, NotStarted, Publication, RefusedTask, Stage},
    outcome::StopReason,
    policy::Verdict,
    report::{
        facts, gates, line,
        screen::{Screen, column},
        text,
    },
};

/// Most and fewest cells of the title column.
const TITLE: (usize, usize) = (48, 12);
/// Cells of the sign before a task, and of its name.
const MARK: usize = 8;
const ID: usize = 10;
/// Characters of a rule's limit: `show` has all of it.
const LIMIT: usize = 48;

/// The summary as it is at `now`, for a screen of this width, without signs and colours: [`Screen::page`] adds them.
/// Each open point is followed by the command that deals with it, on a line of its own. `running`: a process is at
/// the night, which the night itself cannot know.
pub fn summary(night: &Night, now: Timestamp, running: bool, screen: &Screen) -> String {
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
            lines.push(format!("  the log of `{}`:", text::inline_plain(&step.name)));
            lines.push(format!("        {NAME} logs gate"));
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
    landed(night, screen, &mut lines);
    failed(night, screen, &mut lines);
    asks(night, screen, &mut lines);
    held(night, screen, &mut lines);
    needs_you(night, screen, &mut lines);
    waiting(night, running, screen, &mut lines);
    notes(night, now, running, &mut lines);
    lines.join("\n") + "\n"
}

fn landed(night: &Night, screen: &Screen, lines: &mut Vec<String>) {
    let landed = night.landed();
    if landed.is_empty() {
        return;
    }
    lines.push(String::new());
    let place = match night.publication() {
        Publication::Done { url, .. } => text::inline_plain(url),
        Publication::Open | Publication::Failed { .. } => {
            format!("branch {}", night.opening().night.branch())
        }
    };
    let heading = format!("LANDED {}", landed.len());
    if heading.width() + 4 + place.width() <= screen.width {
        lines.push(format!("{heading}    {place}"));
    } else {
        lines.extend([heading, format!("  {place}")]);
    }
    let rows = landed.into_iter().map(|(id, candidate)| {
        let tries = night.task(id).map_or(0, |task| task.attempts.len());
        let tries = if tries > 1 { format!("  {tries} tries") } else { String::new() };
        let (commit, stat) = (candidate.commit.short(), candidate.stat);
        (id, format!("{commit}  +{} -{}{tries}", stat.added, stat.removed))
    });
    let rows: Vec<_> = rows.collect();
    let wide = widest(rows.iter().map(|(_, rest)| rest));
    for (id, rest) in &rows {
        lines.push(row("ok", id, title(night, id), rest, wide, screen));
    }
    lines.push("        did each of them pass the gate? On any clone:".to_owned());
    lines.push(format!("        {NAME} verify {}", night.opening().night));
}

/// One line for a task: its sign, its name, its title as far as there is room, and what more there is to say.
pub(super) fn row(
    mark: &str,
    id: &TaskId,
    title: &str,
    rest: &str,
    wide: usize,
    screen: &Screen,
) -> String {
    let taken = MARK + ID + 2 + if wide == 0 { 0 } else { wide + 2 };
    let room = screen.width.saturating_sub(taken).clamp(TITLE.1, TITLE.0);
    let line = format!("  {mark:<6}{}  {}  {rest}", column(id.as_str(), ID), column(title, room));
    line.trim_end().to_owned()
}

pub(super) fn widest<'w>(words: impl Iterator<Item = &'w String>) -> usize {
    words.map(|words| words.width()).max().unwrap_or(0)
}

fn failed(night: &Night, screen: &Screen, lines: &mut Vec<String>) {
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
    let tries: Vec<String> =
        failed.iter().map(|(id, task, _)| facts::tries(night, id, task)).collect();
    let wide = widest(tries.iter());
    for ((id, task, setback), tries) in failed.iter().zip(&tries) {
        lines.push(row("FAIL", id, title(night, id), tries, wide, screen));
        lines.push(format!("        {}", text::inline_plain(&line::why_of(task, setback))));
        lines.push(format!("        {NAME} show '{id}'"));
    }
}

fn asks(night: &Night, screen: &Screen, lines: &mut Vec<String>) {
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
        lines.push(row("?", id, title(night, id), "", 0, screen));
        let questions = facts::questions(setback);
        if questions.is_empty() {
            lines.push(format!("        {}", text::inline_plain(&line::why(setback))));
        }
        let answers = facts::answer_lines(questions);
        lines.extend(answers.iter().map(|line| format!("        {line}")));
        lines.push(format!("        {NAME} show '{id}'"));
    }
}

fn held(night: &Night, screen: &Screen, lines: &mut Vec<String>) {
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
        let size = format!("+{} -{}", candidate.stat.added, candidate.stat.removed);
        lines.push(row("?", id, title(night, id), &size, size.width(), screen));
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
        lines.extend([approve, reject].map(|command| format!("        {command}")));
    }
}

fn needs_you(night: &Night, screen: &Screen, lines: &mut Vec<String>) {
    let refused = &night.opening().refused;
    for (verdict, heading) in [(Verdict::Refuse, "REFUSED"), (Verdict::Ask, "NEEDS YOU")] {
        let those: Vec<_> = refused.iter().filter(|task| task.verdict == verdict).collect();
        if those.is_empty() {
            continue;
        }
        lines.push(String::new());
        lines.push(format!("{heading} {}    before the start", those.len()));
        for task in those {
            let mark = if verdict == Verdict::Refuse { "no" } else { "?" };
            lines.push(row(mark, &task.id, &task.title, "", 0, screen));
            for refusal in task.refusals.iter().filter(|r| r.verdict != Verdict::Report).take(3) {
                lines.push(format!(
                    "        {}: {}; limit {} ({})",
                    refusal.rule,
                    text::inline_plain(&refusal.message),
                    text::head(&text::inline_plain(&refusal.limit), LIMIT),
                    refusal.origin
                ));
            }
            lines.push(format!("        {}", way_in(task)));
        }
    }
}

/// The command for a task that asked to run and was not let in.
fn way_in(task: &RefusedTask) -> String {
    let id = &task.id;
    let about = |rule: &str| task.refusals.iter().any(|refusal| refusal.rule == rule);
    // What earlier nights made of it is no matter of approval.
    if about("admission.failed-before") || about("admission.asked") || about("admission.closed") {
        format!("{NAME} retry '{id}'")
    } else if about("admission.landed") {
        format!("{NAME} show '{id}'")
    } else if task.verdict == Verdict::Ask {
        format!("{NAME} approve '{id}'")
    } else {
        format!("{NAME} check -t '{id}' --explain")
    }
}

/// The command for a task that was not finished.
fn way_on(night: &Night, id: &TaskId, running: bool) -> String {
    let untouched = night.task(id).is_some_and(|task| task.attempts.is_empty());
    let needed = match night.why_not_started(id, night.last_fact()) {
        Some(NotStarted::Needs(need)) => night.task(&need).is_some().then_some(need),
        Some(_) | None => None,
    };
    let resumed = matches!(night.ended(), None | Some((Some(_), _)));
    match needed {
        _ if running && untouched => format!("{NAME} logs -f"),
        _ if running => format!("{NAME} logs -f '{id}'"),
        Some(need) => format!("{NAME} show '{need}'"),
        // On another base than this night's: a gate that was mended is in it.
        None if matches!(night.stop(), Some(StopReason::RedBase | StopReason::GateUnproven)) => {
            format!("{NAME} run")
        }
        // What is left when time or money is spent is the next night's.
        None if resumed && !matches!(night.stop(), Some(StopReason::Time | StopReason::Cost)) => {
            format!("{NAME} resume")
        }
        None => format!("{NAME} run -t '{id}'"),
    }
}

fn waiting(night: &Night, running: bool, screen: &Screen, lines: &mut Vec<String>) {
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
        lines.push(row("..", id, title(night, id), "", 0, screen));
        lines.push(format!("        {}", text::inline_plain(&why)));
        lines.push(format!("        {}", way_on(night, id, running)));
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

pub(super) fn title<'n>(night: &'n Night, id: &TaskId) -> &'n str {
    let found = night.opening().tasks.iter().find(|task| task.id() == id);
    found.map_or("", |task| task.task().title.as_str())
}
