//! What the reports count and quote: questions and how they are answered, decisions, recoveries, money,
//! closed models. From the fold alone.

use jiff::Timestamp;

use crate::{
    budget::Spend,
    ids::{NAME, TaskId},
    night::{AttemptRecord, Closing, Night, Setback, TaskState, Then, Trigger, decided},
    outcome::{AgentEnd, Failure, StopReason},
    policy::{Freed, Refusal, Verdict, rule},
    prompt::{Decision, Level},
    report::text,
};

/// What a task that waits for a person asks; empty when it waits for another reason.
pub fn questions(setback: &Setback) -> &[String] {
    if let Failure::Question { questions } = &setback.failure { questions } else { &[] }
}

/// Why a result waits for a person, in one line; empty when nothing is said against it.
pub fn why_held(record: &AttemptRecord) -> String {
    let said: Vec<&str> = record.objections().iter().map(|said| said.message.as_str()).collect();
    text::inline_plain(&said.join("; "))
}

/// The two commands that decide about a held result. `selector` is the task, with its night where that is not the
/// last.
pub fn decide(selector: &str) -> [String; 2] {
    [format!("{NAME} approve {selector}"), format!("{NAME} reject {selector} --reason '…'")]
}

/// What to do about a rule that said no to a task: its own help, and how a person approves. What is to be typed stands
/// in backticks.
pub fn remedy(task: &TaskId, refusal: &Refusal) -> Option<String> {
    let approve = format!("`{NAME} approve '{task}'`");
    let by_approval = rule(&refusal.rule).is_some_and(|rule| rule.freed == Freed::ByApproval)
        && refusal.verdict == Verdict::Ask;
    match (&refusal.help, by_approval) {
        (None, false) => None,
        (None, true) => Some(approve),
        (Some(help), true) => {
            Some(help.replace("approve it", &approve).replace("approve the task", &approve))
        }
        (Some(help), false) => Some(help.clone()),
    }
}

/// Why a task that needs another one was not started.
pub fn needs(night: &Night, need: &TaskId) -> String {
    let held = night.task(need).is_some_and(|task| task.held().is_some());
    let how = if held { "which waits for your decision" } else { "which did not land" };
    format!("needs {need}, {how}")
}

/// Approved results that landed: task, who, what they said, and what had asked for them.
pub fn approvals(night: &Night) -> Vec<(&TaskId, &AttemptRecord)> {
    let landed = night.tasks().filter(|(_, task)| task.landed().is_some());
    landed
        .filter_map(|(id, task)| Some((id, task.last()?)))
        .filter(|(_, record)| record.approved_by.is_some())
        .collect()
}

/// The lines that a person writes below a task to answer it, without their indentation. A changed text is
/// taken again, and both lines go to the agent as they are.
pub fn answer_lines(questions: &[String]) -> Vec<String> {
    let line = |question: &String| {
        // An open comment would hide the rest of the plan.
        let question = text::inline_plain(question).replace("<!--", "<! --");
        [format!("- Question: {question}"), "- Answer: …".to_owned()]
    };
    questions.iter().flat_map(line).collect()
}

/// What was decided for what a task's last attempt left.
pub fn decisions(task: &TaskState) -> Vec<Decision> {
    task.last().map(|record| decided(&task.attempts, record)).unwrap_or_default()
}

/// How many decisions of each level the last attempts of a night made, in words; empty without any.
pub fn decisions_in_words(night: &Night) -> String {
    let all: Vec<Level> =
        night.tasks().flat_map(|(_, task)| decisions(task)).map(|d| d.level).collect();
    let counted = [Level::Low, Level::Medium, Level::High].into_iter().filter_map(|level| {
        let count = all.iter().filter(|other| **other == level).count();
        (count > 0).then(|| format!("{count} {}", level.word()))
    });
    counted.collect::<Vec<_>>().join(", ")
}

/// Troubles after which a night went on by itself, with how often; empty without any.
pub fn recoveries(night: &Night) -> Vec<(&'static str, usize)> {
    let mut counted: Vec<(&'static str, usize)> = Vec::new();
    let mut count = |what: &'static str, times: usize| {
        if let Some(known) = counted.iter_mut().find(|known| known.0 == what) {
            known.1 += times;
        } else if times > 0 {
            counted.push((what, times));
        }
    };
    for record in night.tasks().flat_map(|(_, task)| &task.attempts) {
        if let Some(what) = recovered_from(record) {
            count(what, 1);
        }
    }
    count("restart of the night", usize::try_from(night.restarts()).unwrap_or(usize::MAX));
    counted
}

/// The same in words: `2 × overload, 1 × usage limit`.
pub fn recoveries_in_words(night: &Night) -> String {
    let words: Vec<String> =
        recoveries(night).iter().map(|(what, times)| format!("{times} × {what}")).collect();
    words.join(", ")
}

/// What an attempt recovered from, where it did.
pub fn recovered_from(record: &AttemptRecord) -> Option<&'static str> {
    let setback = record.setback.as_ref()?;
    let Then::Recover { .. } = setback.then else { return None };
    let Failure::Agent(end) = &setback.failure else { return Some("trouble of the agent") };
    Some(match end {
        AgentEnd::Limited { .. } => "usage limit",
        AgentEnd::Overloaded => "overload",
        AgentEnd::Transport { .. } => "lost connection",
        AgentEnd::ModelUnavailable { .. } => "model not available",
        AgentEnd::Killed { .. } => "agent that died",
        AgentEnd::Stalled => "silent agent",
        AgentEnd::Unreadable { .. } => "unreadable answer",
        AgentEnd::Garbage { .. } => "no readable result",
        AgentEnd::ContextFull => "full conversation",
        AgentEnd::ConversationLost => "lost conversation",
        AgentEnd::Finished
        | AgentEnd::Denied { .. }
        | AgentEnd::NotInstalled { .. }
        | AgentEnd::NotSignedIn { .. }
        | AgentEnd::OutOfCredit { .. }
        | AgentEnd::BudgetSpent
        | AgentEnd::BudgetTooSmall
        | AgentEnd::TurnsSpent
        | AgentEnd::TimedOut
        | AgentEnd::Interrupted
        | AgentEnd::Breach { .. }
        | AgentEnd::DiskFull { .. }
        | AgentEnd::Failed { .. }
        | AgentEnd::Unfit { .. } => "trouble of the agent",
    })
}

/// What the agents' programs had to say about their runs, once each.
pub fn agent_notes(night: &Night) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for (id, task) in night.tasks() {
        let reports = task.attempts.iter().filter_map(|record| record.agent.as_ref());
        for note in reports.flat_map(|report| &report.notes) {
            let note = format!("{id}: {}", text::inline_plain(note));
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    notes
}

/// True when an attempt ended because the login is not valid any more.
pub(super) fn login_expired(night: &Night) -> bool {
    night.tasks().flat_map(|(_, task)| &task.attempts).any(|record| {
        matches!(
            record.setback.as_ref().map(|setback| &setback.failure),
            Some(Failure::Agent(AgentEnd::NotSignedIn { .. }))
        )
    })
}

/// How often a task was tried, and how many of these count against its limit.
pub fn tries(night: &Night, id: &TaskId, task: &TaskState) -> String {
    let (all, counted) = (task.attempts.len(), task.counted);
    let allowed = night.attempts_allowed(id);
    if u32::try_from(all) == Ok(counted) {
        format!("{counted} of {allowed} tries")
    } else {
        format!("{all} tries, {counted} of {allowed} counted")
    }
}

/// What a night cost, in words.
pub fn spent(night: &Night) -> String {
    let cut = night.tasks().map(|(_, task)| cut_calls(task)).sum();
    money(night, night.spent(), cut)
}

/// What a task cost, in words.
pub fn spent_on(night: &Night, task: &TaskState) -> String {
    money(night, task.spent(), cut_calls(task))
}

/// Money in short, marked where it is the most that it can be.
pub fn marked(spent: &Spend) -> String {
    format!("{}{}", if spent.is_estimated() { "≤" } else { "" }, spent.usd)
}

fn cut_calls(task: &TaskState) -> usize {
    let over =
        task.attempts.iter().filter(|record| record.agent.is_some() || record.charged.is_some());
    over.filter(|record| record.spent().is_estimated()).count()
}

fn money(night: &Night, spent: Spend, cut_calls: usize) -> String {
    let mut words = if night.opening().agent.subscription && !spent.usd.is_zero() {
        format!("≈ {} at list price, paid by subscription", spent.usd)
    } else {
        spent.usd.to_string()
    };
    if spent.is_estimated() && cut_calls == 0 && night.ended().is_none() {
        words = format!("up to {words}, while an agent is at work");
    } else if spent.is_estimated() {
        words.push_str(&format!(", of it up to {} for calls that were cut off", spent.cut));
    }
    words
}

/// What may not be asked at `now`, one sentence each, and when the night goes on where it waits.
pub fn closed(night: &Night, now: Timestamp) -> Vec<String> {
    if night.ended().is_some() {
        return Vec::new();
    }
    let closings: Vec<&Closing> = night.closings(now).collect();
    let mut words = Vec::new();
    let open = open_model(night, &closings);
    for closing in &closings {
        let until = moment(closing.until, now);
        let what = closing.model.as_deref().map_or("every model".into(), text::inline_plain);
        let instead = match (&closing.model, &open) {
            (Some(_), Some(open)) => format!(", {} is asked instead", text::inline_plain(open)),
            (Some(_), None) | (None, _) => String::new(),
        };
        words.push(match closing.trigger {
            Trigger::Limit => format!("{what} closed until {until} (usage limit){instead}"),
            Trigger::Overload => format!("{what} closed until {until} (overloaded){instead}"),
            Trigger::Transport => format!("{what} closed until {until} (not reachable){instead}"),
            Trigger::Unavailable => format!("{what} is not available for this account{instead}"),
            Trigger::Window => format!(
                "the usage window of {what} is nearly full until {until}{}",
                if open.is_some() { instead } else { ", and no other model is open".to_owned() }
            ),
        });
    }
    if night.in_flight().is_empty()
        && let Some(at) = night.wake_at(now)
    {
        words.push(format!("waits until {}, and goes on by itself", moment(at, now)));
    }
    words
}

/// The model that is asked while others are closed: the first without a closing of its own.
fn open_model(night: &Night, closings: &[&Closing]) -> Option<String> {
    let agent = &night.opening().agent;
    if closings.iter().any(|closing| closing.model.is_none()) {
        return None;
    }
    let mut models = agent.model.iter().chain(&agent.fallback);
    models.find(|model| closings.iter().all(|c| c.model.as_ref() != Some(model))).cloned()
}

/// Why something did not get out and what to do, in one line.
pub fn unpublished(message: &str, help: &str) -> String {
    let message = text::head(&text::inline_plain(message), 300);
    format!("{message}; {}", text::inline_plain(help))
}

/// What to do about a branch that somebody else moved, while it keeps a night from its end.
pub fn branch_moved(night: &Night) -> Option<String> {
    let Some(StopReason::BranchMoved { .. }) = night.stopped_early() else { return None };
    let (branch, tip) = (night.opening().night.branch(), night.tip());
    Some(format!("git branch MINE {branch} && git branch -f {branch} {tip}, then {NAME} resume"))
}

/// A time as it is read: with its date when that is not today's.
pub fn moment(at: Timestamp, now: Timestamp) -> String {
    let form = if at.strftime("%Y-%m-%d").to_string() == now.strftime("%Y-%m-%d").to_string() {
        "%H:%M UTC"
    } else {
        "%Y-%m-%d %H:%M UTC"
    };
    at.strftime(form).to_string()
}
