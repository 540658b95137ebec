//! What `approve` and `reject` share: the results that a person names, how they are shown, the question before, and
//! what came of each.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{
    cli::{
        Output, code,
        find::{self, Selector},
        tell::{self, Cleaner},
    },
    ids::{AttemptId, NAME, NightId, TaskId},
    night::{AttemptRecord, Night, Publication, TaskState},
    outcome::Candidate,
    report::{self, text},
    runner::{decide, home::Home, open::Wishes, refused::Refused},
};

/// What somebody says who decides about landed or held work, beside what it is about.
#[derive(Debug, clap::Args)]
pub(super) struct Deciding {
    /// Do not ask
    #[arg(short, long)]
    pub(super) yes: bool,
    /// Leave the branch here
    #[arg(long)]
    no_push: bool,
    /// Push the branch, leave the pull request as it is
    #[arg(long)]
    no_pr: bool,
}

impl Deciding {
    /// The same for the night that carries it out.
    pub(super) fn wishes(&self, output: &Output) -> Wishes {
        Wishes {
            no_push: self.no_push,
            no_pr: self.no_pr,
            attended: output.attended(),
            ..Wishes::default()
        }
    }
}

/// What a command ends with beside its answers, when the night that carried it out ended with `exit`: those say which
/// results did not land. A night that was stopped early is so still after a decision: that is no news of the decision.
pub(super) fn around(night: &Night, exit: u8) -> u8 {
    match exit {
        code::INTERRUPTED | code::TERMINATED | code::HUNG_UP | code::BUG => exit,
        _ if matches!(night.publication(), Publication::Failed { .. }) => code::UNPUBLISHED,
        _ => code::DONE,
    }
}

/// A task as a person named it.
pub(super) struct Named {
    /// The task.
    pub(super) task: TaskId,
    /// The night, where one was named.
    pub(super) night: Option<NightId>,
    /// The try, where one was named.
    attempt: Option<u32>,
}

/// What a name stands for among the nights of this machine.
pub(super) enum Look {
    /// A result that waits for a decision, or whose approval was cut off on its way.
    Result(Box<Chosen>),
    /// The task was tried, and nothing of it can be decided: why, and what to do.
    Settled(Answer),
    /// No night tried it.
    Unknown,
}

/// A result that is decided about.
pub(super) struct Chosen {
    /// The night that made it.
    pub(super) night: Night,
    /// The task.
    pub(super) task: TaskId,
}

/// What came of one name.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    pub(super) task: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) night: Option<NightId>,
    pub(super) outcome: Outcome,
    /// One line.
    pub(super) why: String,
    /// What to do, where there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// What came of one name, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// The result is on its night's branch.
    Landed,
    /// The task is approved in the plan.
    Approved,
    /// The result is rejected.
    Rejected,
    /// The next night tries the task again.
    Again,
    /// There was nothing to decide.
    Nothing,
    /// It is taken from its night's branch, or a pull request takes it from the base.
    Reverted,
    /// A pull request puts it back into the base.
    Restored,
    /// It still waits.
    Held,
    /// It did not fit any more.
    Failed,
    /// A rule that no approval frees, or a night that is over.
    Refused,
    /// What was asked for does not fit how it stands.
    Stays,
    /// Nothing has this name.
    Unknown,
}

impl Outcome {
    fn code(self) -> u8 {
        match self {
            Outcome::Landed
            | Outcome::Approved
            | Outcome::Rejected
            | Outcome::Again
            | Outcome::Reverted
            | Outcome::Restored
            | Outcome::Nothing => code::DONE,
            Outcome::Held | Outcome::Failed | Outcome::Refused | Outcome::Stays => code::FINDINGS,
            Outcome::Unknown => code::USAGE,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Outcome::Landed => "landed",
            Outcome::Approved => "approved",
            Outcome::Rejected => "rejected",
            Outcome::Again => "goes again",
            Outcome::Nothing => "nothing to do",
            Outcome::Reverted => "reverted",
            Outcome::Restored => "put back",
            Outcome::Held => "held",
            Outcome::Failed => "failed",
            Outcome::Refused => "not approved",
            Outcome::Stays => "left as it is",
            Outcome::Unknown => "unknown",
        }
    }
}

impl Answer {
    /// An answer without a night.
    pub(super) fn new(task: &TaskId, outcome: Outcome, why: impl Into<String>) -> Answer {
        let (task, why) = (task.to_string(), why.into());
        Answer { task, night: None, outcome, why, next: None }
    }

    /// The same, of a night.
    pub(super) fn of(mut self, night: &Night) -> Answer {
        self.night = Some(night.opening().night.clone());
        self
    }

    /// The same, with what to do.
    pub(super) fn help(mut self, next: impl Into<String>) -> Answer {
        self.next = Some(next.into());
        self
    }
}

/// Reads the names; each once, in the order in which they were given.
pub(super) fn named(
    home: &Home,
    words: &[String],
    night: Option<&str>,
) -> Result<Vec<Named>, Refused> {
    let known = |selector: &Selector, word: &str| {
        let found = find::night(home, selector)?;
        found.map(|found| found.id).ok_or_else(|| {
            Refused::usage(
                format!("there is no night `{word}` here"),
                format!("{NAME} status shows the last one"),
            )
        })
    };
    let all = match night {
        None => None,
        Some(word) => {
            let selector = Selector::parse(word)?;
            if let Some(task) = &selector.task {
                let help = "write a night: last, last~1, 2026-11-21";
                return Err(Refused::usage(format!("`{task}` is not a night"), help));
            }
            Some(known(&selector, word)?)
        }
    };
    let mut names: Vec<Named> = Vec::new();
    for word in words {
        let selector = Selector::parse(word)?;
        let Some(task) = selector.task.clone() else {
            return Err(Refused::usage(
                format!("`{word}` is a night, and results are decided one by one"),
                format!("{NAME} status names the tasks that wait; write {word}/TASK"),
            ));
        };
        let with_night = !word.starts_with(task.as_str());
        let own = if with_night { Some(known(&selector, word)?) } else { all.clone() };
        if !names.iter().any(|name| name.task == task && name.night == own) {
            names.push(Named { task, night: own, attempt: selector.attempt });
        }
    }
    Ok(names)
}

/// What a name stands for among nights.
pub(super) fn look(home: &Home, name: &Named) -> Result<Look, Refused> {
    let task = &name.task;
    let Some(night) = decide::tried(home, name.night.as_ref(), task)? else {
        return Ok(Look::Unknown);
    };
    let Some(state) = night.task(task) else { return Ok(Look::Unknown) };
    let last = state.last().map_or(0, |last| last.number);
    if let Some(other) = name.attempt.filter(|attempt| *attempt != last) {
        let why = format!("try {other} is not the one that waits");
        let help = format!("the last one is {task}@{last}");
        return Ok(Look::Settled(Answer::new(task, Outcome::Refused, why).of(&night).help(help)));
    }
    // One that landed and was cut off before it was published is brought to its end as well.
    let unpublished = state.landed().is_some() && night.only_lands();
    if state.decidable().is_some() || state.is_approved() || unpublished {
        let task = task.clone();
        return Ok(Look::Result(Box::new(Chosen { night, task })));
    }
    let id = &night.opening().night;
    let answer = if state.landed().is_some() {
        Answer::new(task, Outcome::Nothing, format!("it landed in night {id}"))
    } else if let Some(setback) = state.failed().or(state.parked()) {
        let why =
            format!("it is not held: {}", text::inline_plain(&report::why_of(state, setback)));
        Answer::new(task, Outcome::Refused, why).help(format!("{NAME} show {id}/{task}"))
    } else {
        let why = format!("it has no finished result in night {id}");
        Answer::new(task, Outcome::Refused, why).help(format!("{NAME} show {id}/{task}"))
    };
    Ok(Look::Settled(answer.of(&night)))
}

/// The answer for a name that nothing has.
pub(super) fn unknown(home: &Home, name: &Named, plan: Option<&[TaskId]>) -> Answer {
    let task = &name.task;
    let mut known: BTreeSet<TaskId> = plan.unwrap_or_default().iter().cloned().collect();
    let last = Selector { night: Ok(0), task: None, attempt: None };
    if let Ok(Some(found)) = find::night(home, &last) {
        let tried = found.night.tasks().filter(|(_, state)| state.last().is_some());
        known.extend(tried.map(|(id, _)| id.clone()));
    }
    let why = match plan {
        Some(_) => "no night and no plan has a task of this name",
        None => "no night made anything of a task of this name",
    };
    let answer = Answer::new(task, Outcome::Unknown, why);
    match near(&known, task) {
        Some(near) => answer.help(format!("did you mean `{near}`?")),
        None => answer.help(format!("{NAME} status and {NAME} check name what waits")),
    }
}

/// The name that somebody may have meant.
pub(super) fn near<'k>(
    known: impl IntoIterator<Item = &'k TaskId>,
    task: &TaskId,
) -> Option<&'k TaskId> {
    known
        .into_iter()
        .map(|id| (strsim::jaro_winkler(id.as_str(), task.as_str()), id))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, id)| id)
}

impl Chosen {
    pub(super) fn id(&self) -> &NightId {
        &self.night.opening().night
    }

    pub(super) fn state(&self) -> &TaskState {
        self.night.task(&self.task).expect("a chosen result is of its night")
    }

    pub(super) fn last(&self) -> &AttemptRecord {
        self.state().last().expect("a chosen result was tried")
    }

    fn candidate(&self) -> Option<&Candidate> {
        self.state().decidable().or(self.last().candidate.as_ref())
    }

    /// What it is, why it waits, and how to see it.
    pub(super) fn shown(&self, cleaner: &Cleaner) -> String {
        let record = self.last();
        let stat = self.candidate().map(|candidate| candidate.stat).unwrap_or_default();
        let score =
            record.gate.as_ref().map_or(String::new(), |gate| format!(", score {}", gate.score));
        let mut lines = vec![
            format!("{} · {}", self.task, cleaner.line(tell::title(&self.night, &self.task))),
            format!(
                "  night {}, try {}: +{} -{}, gate {}{score}",
                self.id(),
                record.number,
                stat.added,
                stat.removed,
                match &record.gate {
                    Some(gate) if gate.passed() => "green",
                    Some(_) => "red",
                    None => "not run yet",
                },
            ),
        ];
        if let Some(setback) = &record.setback {
            lines.push(format!("  did not fit: {}", cleaner.line(&report::why(setback))));
        } else if let Some(by) = &record.approved_by {
            lines.push(format!("  approved by {}, and cut off on its way", cleaner.line(by)));
        }
        for said in record.findings().filter(|said| said.verdict != crate::policy::Verdict::Report)
        {
            lines.push(format!("  {} {}", said.verdict, cleaner.line(&said.to_string())));
        }
        let named = tell::quoted(&format!("{}/{}", self.id(), self.task));
        lines.push(format!("  see it: {NAME} show {named} --diff    --gate"));
        lines.join("\n")
    }

    /// Where its work is kept, for people who take it by hand.
    pub(super) fn kept(&self) -> String {
        let number = self.last().number;
        self.id().attempt_ref(&AttemptId { task: self.task.clone(), number })
    }
}

/// The worst of several exit codes, in the order of the table: 70 > 2 > 3 > 5 > 130 > 143 > 129 > 6 > 4 > 1 > 0.
pub(super) fn worst(codes: impl IntoIterator<Item = u8>) -> u8 {
    const ORDER: [u8; 11] = [
        code::DONE,
        code::FINDINGS,
        code::STOPPED,
        code::UNPUBLISHED,
        code::HUNG_UP,
        code::TERMINATED,
        code::INTERRUPTED,
        code::BUSY,
        code::REFUSED,
        code::USAGE,
        code::BUG,
    ];
    let rank = |code: &u8| ORDER.iter().position(|known| known == code).unwrap_or(ORDER.len());
    codes.into_iter().max_by_key(rank).unwrap_or(code::DONE)
}

/// Tells what came of each name, and gives the exit code: that of the worst answer, or of `others`.
pub(super) fn tell(
    output: &Output,
    schema: &str,
    mut answers: Vec<Answer>,
    others: &[u8],
    cleaner: &Cleaner,
) -> u8 {
    let codes = answers.iter().map(|answer| answer.outcome.code());
    let exit = worst(codes.chain(others.iter().copied()));
    for answer in &mut answers {
        answer.why = cleaner.line(&answer.why);
        answer.next = answer.next.take().map(|next| cleaner.line(&next));
    }
    if output.is_json() {
        output.json(schema, &serde_json::json!({ "tasks": answers, "exit": exit }));
        return exit;
    }
    if output.is_quiet() && exit <= code::FINDINGS {
        return exit;
    }
    for answer in answers {
        output.result(&format!("{}: {}: {}", answer.task, answer.outcome.word(), answer.why));
        if let Some(next) = answer.next {
            output.result(&format!("  {next}"));
        }
    }
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_several_codes_is_by_the_table_and_not_by_the_number() {
        assert_eq!(worst([0, 1, 0]), 1);
        assert_eq!(worst([1, 6, 4]), 6);
        assert_eq!(worst([130, 2, 5]), 2);
        assert_eq!(worst([6, 130]), 130);
        assert_eq!(worst([]), 0);
    }
}
