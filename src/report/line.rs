//! One line for one event: what cron, systemd, a pipe and the live view print. Greppable: time, subject,
//! verb, facts.

use crate::{
    ids::AttemptId,
    night::{Command, Entry, Event, Gap, Night, Setback, TaskState, Then, Trigger},
    outcome::{AgentEnd, Failure, GateReport, StopReason},
    report::{facts, gates, text},
};

/// The line of an entry, without its time. `night` is the state after the entry. `None` for entries that
/// only order what the next entry reports.
pub fn line(entry: &Entry, night: &Night) -> Option<String> {
    let opening = night.opening();
    let subject = |attempt: &AttemptId| format!("{:<10}", attempt.task);
    let night_word = format!("{:<10}", "night");
    Some(match &entry.event {
        Event::Opened(_) => format!(
            "{night_word} start    {} base={}@{} plan={}({}) tasks={} refused={} agent={} walls={}",
            opening.night,
            opening.base.branch,
            opening.base.commit.short(),
            opening.plan.path,
            if opening.plan.working_tree { "tree" } else { "base" },
            opening.tasks.len(),
            opening.refused.len(),
            opening.agent.name,
            opening.agent.walls,
        ),
        Event::Began(Command::RunAgent { attempt, .. }) => format!(
            "{} start    try={}/{}",
            subject(attempt),
            night.task(&attempt.task).map_or(attempt.number, |task| task.counted),
            night.attempts_allowed(&attempt.task)
        ),
        Event::Began(Command::Rewind { .. } | Command::Reverse { .. }) => return None,
        Event::Began(Command::Publish { .. }) => {
            format!("{night_word} publish  {}", opening.night.branch())
        }
        Event::Began(
            Command::CheckBase { .. }
            | Command::ProveGate { .. }
            | Command::RunGate { .. }
            | Command::ProveTests { .. }
            | Command::Review { .. }
            | Command::Restack { .. }
            | Command::Land { .. },
        ) => return None,
        Event::BaseChecked { report } => format!("{:<10} {}", "base", gate(report, None)),
        Event::AgentEnded { attempt, report, result, .. } => {
            let subject = subject(attempt);
            let survivors = match report.survivors {
                0 => String::new(),
                count => format!(" killed={count}-left-processes"),
            };
            let cost = format!("{}s {}{survivors}", report.seconds, report.spent.usd);
            match result {
                Ok(candidate) => format!(
                    "{subject} edited   +{}-{} {cost}",
                    candidate.stat.added, candidate.stat.removed
                ),
                Err(setback) => format!("{subject} {} {cost}", set_back(setback)),
            }
        }
        Event::GateEnded { attempt, report, setback, .. } => match setback {
            None => format!(
                "{} {}{}",
                subject(attempt),
                gate(report, night.base_gate().report()),
                held(attempt, night)
            ),
            Some(setback) => format!("{} {}", subject(attempt), set_back(setback)),
        },
        Event::GateProven { proof } => format!("{night_word} canary   {}", gates::canary(proof)),
        Event::TestsProven { attempt, proof, setback, .. } => match setback {
            None => format!(
                "{} tests    {}{}",
                subject(attempt),
                gates::test_proof(proof),
                held(attempt, night)
            ),
            Some(setback) => format!("{} {}", subject(attempt), set_back(setback)),
        },
        Event::Decided { attempt, approved, reason, by } => {
            let what = if *approved { "approve " } else { "reject  " };
            let why =
                reason.as_ref().map_or(String::new(), |r| format!(": {}", text::inline_plain(r)));
            format!("{} {what} by {}{why}", subject(attempt), text::inline_plain(by))
        }
        Event::Reverted { attempt, reason, by } => {
            let why =
                reason.as_ref().map_or(String::new(), |r| format!(": {}", text::inline_plain(r)));
            format!("{} revert   by {}{why}", subject(attempt), text::inline_plain(by))
        }
        Event::Rewound { to } => format!("{night_word} back     to {}", to.short()),
        Event::Reviewed { attempt, review, setback } => match setback {
            None => format!(
                "{} reviewed agrees {}{}",
                subject(attempt),
                review.spent.usd,
                held(attempt, night)
            ),
            Some(setback) => format!("{} {}", subject(attempt), set_back(setback)),
        },
        Event::Reversed { attempt, result } => match result {
            Ok(_) => format!("{} opposite on {}", subject(attempt), night.tip().short()),
            Err(setback) => format!("{} {}", subject(attempt), set_back(setback)),
        },
        Event::Restacked { attempt, result } => match result {
            Ok(_) => format!("{} restack  on {}", subject(attempt), night.tip().short()),
            Err(setback) => format!("{} {}", subject(attempt), set_back(setback)),
        },
        Event::Landed { attempt, commit } => {
            let stat = night
                .task(&attempt.task)
                .and_then(|task| task.last())
                .and_then(|record| record.candidate.as_ref())
                .map(|candidate| candidate.stat)
                .unwrap_or_default();
            format!(
                "{} landed   {} +{}-{}",
                subject(attempt),
                commit.short(),
                stat.added,
                stat.removed
            )
        }
        Event::Published { url, .. } => format!("{night_word} pr       {url}"),
        Event::NotPublished { message, .. } => {
            format!("{night_word} unpublished {}", text::plain(message))
        }
        Event::StopAsked { reason: StopReason::OnlyLanding } => {
            format!("{night_word} decide   a person's decisions are carried out, and nothing else")
        }
        Event::StopAsked { reason } => format!("{night_word} stop     {}", stop_reason(reason)),
        Event::Restarted { .. } => format!("{night_word} resume   {}", opening.night),
        Event::TimePassed(gap) => format!("{night_word} clock    {}", passed(*gap)),
        Event::Ended { reason, exit } => {
            let landed = night.tasks().filter(|(_, task)| task.landed().is_some()).count();
            let failed = night.tasks().filter(|(_, task)| task.failed().is_some()).count();
            let asks = night.tasks().filter(|(_, task)| task.parked().is_some()).count();
            let asks = if asks == 0 { String::new() } else { format!(" asks={asks}") };
            let held = night.tasks().filter(|(_, task)| task.held().is_some()).count();
            let held = if held == 0 { String::new() } else { format!(" held={held}") };
            let why = reason
                .as_ref()
                .filter(|reason| **reason != StopReason::OnlyLanding)
                .map_or(String::new(), |r| format!(" stopped=\"{}\"", stop_reason(r)));
            format!(
                "{night_word} end      landed={landed} failed={failed}{asks}{held} refused={} {}{why} \
                 exit={exit}",
                opening.refused.len(),
                facts::marked(&night.spent()),
            )
        }
    })
}

/// What a gap in time was, in words.
fn passed(gap: Gap) -> String {
    let mut words = Vec::new();
    let minutes = |seconds: u64| format!("{}m{:02}s", seconds / 60, seconds % 60);
    if gap.slept_s > 0 {
        words.push(format!("the machine slept for {}", minutes(gap.slept_s)));
    }
    if gap.clock_s != 0 {
        let way = if gap.clock_s > 0 { "forward" } else { "back" };
        words.push(format!("the clock was set {way} by {}", minutes(gap.clock_s.unsigned_abs())));
    }
    if gap.stopped_s > 0 {
        words.push(format!("this process did not run for {}", minutes(gap.stopped_s)));
    }
    words.join(", ")
}

/// Why a result waits from now on, where it does.
fn held(attempt: &AttemptId, night: &Night) -> String {
    let task = night.task(&attempt.task).filter(|task| task.held().is_some());
    let why = task.and_then(|task| task.last()).map(facts::why_held);
    why.map_or(String::new(), |why| format!(" held=\"{why}\""))
}

fn gate(report: &GateReport, base: Option<&GateReport>) -> String {
    let millis: u64 = report.steps.iter().map(|step| step.millis).sum();
    let tests = gates::tests(report, base);
    let tests = tests.map_or(String::new(), |count| format!(" tests={}", count.replace(' ', "")));
    let reused = if report.reused { " (receipt of an earlier run)" } else { "" };
    if report.passed() {
        let mut more = String::new();
        for (word, names) in [
            ("flaky", gates::flaky(report).join(",")),
            ("known", gates::excused(report).unwrap_or_default()),
        ] {
            if !names.is_empty() {
                more.push_str(&format!(" {word}={}", text::plain(&names)));
            }
        }
        format!("gate     green {}{tests}{more}{reused}", seconds(millis))
    } else {
        format!("gate     red {}: {}", seconds(millis), red(report))
    }
}

/// Milliseconds as people read them.
pub fn seconds(millis: u64) -> String {
    if millis < 10_000 {
        format!("{}.{}s", millis / 1000, millis % 1000 / 100)
    } else if millis < 120_000 {
        format!("{}s", millis / 1000)
    } else {
        format!("{}m{:02}", millis / 60_000, millis / 1000 % 60)
    }
}

/// What is red in a gate's run.
pub fn red(report: &GateReport) -> String {
    let steps: Vec<String> = report
        .steps
        .iter()
        .filter(|step| step.blocks())
        .map(|step| format!("{} {}", step.name, step.ended))
        .chain(report.vacuous.as_ref().map(|why| text::plain(why)))
        .collect();
    let mut words = steps.join(", ");
    if !report.failing_tests.is_empty() {
        words.push_str(&format!(": {}", gates::few(&report.failing_tests)));
    }
    words
}

fn set_back(setback: &Setback) -> String {
    let verb = match setback.then {
        Then::Retry => "again   ",
        Then::FailTask => "failed  ",
        Then::Uncounted => "put off ",
        Then::Recover { .. } => "recover ",
        Then::Park => "asks    ",
        Then::StopNight(_) => "stopped ",
    };
    format!("{verb} {}{}", why(setback), until(setback))
}

/// When a task that recovers by itself goes on, and what is closed until when.
fn until(setback: &Setback) -> String {
    let Then::Recover { at, closing } = &setback.then else { return String::new() };
    match closing {
        None => format!(" again={at:.0}"),
        Some(closing) => {
            let what = text::plain(closing.model.as_deref().unwrap_or("every model"));
            match closing.trigger {
                Trigger::Unavailable => format!(" closed={what}"),
                Trigger::Limit | Trigger::Overload | Trigger::Transport | Trigger::Window => {
                    format!(" closed={what} until={:.0}", closing.until)
                }
            }
        }
    }
}

/// Why an attempt did not work, in one line.
pub fn why(setback: &Setback) -> String {
    let same = match setback.same_as {
        Some(_) if matches!(setback.failure, Failure::NoProgress { .. }) => {
            ": no further try".to_owned()
        }
        Some(number) => format!(" (the same as in try {number}: no further try)"),
        None => String::new(),
    };
    format!("{}{same}", failure(&setback.failure))
}

/// Why a task came to nothing, in one line: where an attempt only made again what an earlier one had made, first what
/// was wrong with that.
pub fn why_of(task: &TaskState, setback: &Setback) -> String {
    let Some(first) = behind(task, setback) else { return why(setback) };
    let again = task.attempts.iter().rfind(|record| record.setback.as_ref() == Some(setback));
    let again = again.map_or("another try".to_owned(), |record| format!("try {}", record.number));
    format!(
        "{}; {again} made exactly the same, so there was no further one",
        failure(&first.failure)
    )
}

/// What was wrong with the work that an attempt made again; `None` where it made something else.
pub fn behind<'t>(task: &'t TaskState, setback: &Setback) -> Option<&'t Setback> {
    let Failure::NoProgress { like } = setback.failure else { return None };
    task.attempts.iter().find(|record| record.number == like)?.setback.as_ref()
}

/// What went wrong, in one line.
pub fn failure(failure: &Failure) -> String {
    match failure {
        Failure::Agent(end) => agent_end(end),
        Failure::NoChange { denied } if denied.is_empty() => {
            "the agent ended without changing anything".to_owned()
        }
        Failure::NoChange { denied } => format!(
            "the agent ended without changing anything; it was denied {}",
            text::plain(&denied.join(", "))
        ),
        Failure::Refused(refusals) => {
            let words: Vec<String> = refusals
                .iter()
                .take(3)
                .map(|refusal| format!("{}: {}", refusal.rule, refusal.message))
                .collect();
            let more = match refusals.len().saturating_sub(3) {
                0 => String::new(),
                count => format!(" and {count} more"),
            };
            format!("refused by rule {}{more}", text::plain(&words.join("; ")))
        }
        Failure::Unfit(odd) => {
            let words: Vec<String> =
                odd.iter().take(3).map(|odd| format!("`{}` is {}", odd.path, odd.what)).collect();
            format!("cannot enter a commit: {}", words.join("; "))
        }
        Failure::Gate(report) => format!("gate red: {}", red(report)),
        Failure::NoProgress { like } => {
            format!("the agent made again exactly what try {like} had made")
        }
        Failure::Conflict { paths } => {
            let words: Vec<String> = paths.iter().take(3).map(ToString::to_string).collect();
            format!("does not fit the new tip: conflict in {}", words.join(", "))
        }
        Failure::Question { questions } => {
            format!("it asks: {}", text::plain(&questions.join(" / ")))
        }
        Failure::Unproven(_) => {
            "its new tests pass without the change, and `policy.tests` wants them proven".to_owned()
        }
        Failure::Rejected { reason, by } => {
            format!("rejected by {}: {}", text::plain(by), text::plain(reason))
        }
        Failure::NothingLeft => "nothing of it is in the base any more".to_owned(),
        Failure::Reverted { reason, by } => {
            let why = reason.as_ref().map_or(String::new(), |r| format!(": {}", text::plain(r)));
            format!("reverted by {}{why}", text::plain(by))
        }
        Failure::Disagreed { decisions, why } => {
            let decisions: Vec<&str> = decisions.iter().map(|d| d.what.as_str()).collect();
            format!(
                "the second opinion disagrees with \"{}\": {}",
                text::plain(&decisions.join("; ")),
                text::plain(why)
            )
        }
    }
}

/// How an agent's run ended, in words.
pub fn agent_end(end: &AgentEnd) -> String {
    match end {
        AgentEnd::Finished => "the agent finished".to_owned(),
        AgentEnd::Denied { tools } => format!("the agent was denied {}", tools.join(", ")),
        AgentEnd::NotInstalled { program } => format!("`{program}` is not there"),
        AgentEnd::NotSignedIn { message } => format!("not signed in: {}", text::plain(message)),
        AgentEnd::OutOfCredit { message } => format!("out of credit: {}", text::plain(message)),
        AgentEnd::Limited { .. } => "a usage limit was reached".to_owned(),
        AgentEnd::Overloaded => "the model's service is overloaded".to_owned(),
        AgentEnd::Transport { message } => {
            format!("the model's service could not be reached: {}", text::plain(message))
        }
        AgentEnd::ConversationLost => "its conversation is not there any more".to_owned(),
        AgentEnd::ContextFull => "the conversation grew too long".to_owned(),
        AgentEnd::BudgetTooSmall => {
            "the money or the tokens do not pay for a single call".to_owned()
        }
        AgentEnd::BudgetSpent => {
            "the money or the tokens left to it do not pay for its next call".to_owned()
        }
        AgentEnd::TurnsSpent => "the turns for this attempt are spent".to_owned(),
        AgentEnd::ModelUnavailable { message } => {
            format!("the model is not available: {}", text::plain(message))
        }
        AgentEnd::TimedOut => "the agent's time was over".to_owned(),
        AgentEnd::Stalled => "the agent was silent for too long".to_owned(),
        AgentEnd::Interrupted => "interrupted".to_owned(),
        // What the kernel sends when memory is short. Nobody of ours sent it.
        AgentEnd::Killed { signal: 9 } => {
            "the agent died by signal 9, as when the machine has no memory left".to_owned()
        }
        AgentEnd::Killed { signal } => format!("the agent died by signal {signal}"),
        AgentEnd::Breach { what } => format!("the agent exceeded a limit of its walls: {what}"),
        AgentEnd::DiskFull { what } => format!("a disk is almost full: {what}"),
        AgentEnd::Failed { code, message } => {
            let code = code.map_or("no exit code".to_owned(), |code| format!("exit {code}"));
            let message = text::head(&text::inline_plain(message), 120);
            if message.is_empty() {
                format!("the agent failed ({code})")
            } else {
                format!("the agent failed ({code}): {message}")
            }
        }
        AgentEnd::Unreadable { message } => {
            format!("what the agent says of its work: {}", text::plain(message))
        }
        AgentEnd::Garbage { message } => {
            format!("the agent ended without a readable result: {}", text::plain(message))
        }
        AgentEnd::Unfit { message } => {
            format!("the agent is not what was asked for: {}", text::plain(message))
        }
    }
}

/// Why a night ended early, in one line.
pub fn stop_reason(reason: &StopReason) -> String {
    match reason {
        StopReason::RedBase => "the gate is red on the base".to_owned(),
        StopReason::GateUnproven => {
            "the gate stayed green on a tree that was broken on purpose".to_owned()
        }
        StopReason::OnlyLanding => "only a person's decisions are carried out".to_owned(),
        StopReason::Asked { by } => format!("asked by {by}"),
        StopReason::Time => "the night's time is over".to_owned(),
        StopReason::Cost => "the money or the tokens are spent".to_owned(),
        StopReason::FailuresInARow { count } => format!("{count} tasks failed in a row"),
        StopReason::Limited { until: Some(until) } => {
            let until = jiff::Timestamp::from_second(*until).unwrap_or_default();
            format!("a usage limit was reached; it ends at {until}")
        }
        StopReason::Limited { until: None } => "a usage limit was reached".to_owned(),
        StopReason::AgentUnusable { message } => {
            format!("the agent cannot work: {}", text::plain(message))
        }
        StopReason::Broken { message } => text::plain(message),
        StopReason::BranchMoved { found } => {
            format!("somebody else moved the night's branch to {found}")
        }
    }
}

/// What a failed attempt tells the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// One sentence.
    pub why: String,
    /// Rules that were broken, in words.
    pub refusals: Vec<String>,
}

/// What the next attempt is told, and the logs (relative to the night's directory) whose ends go with it.
pub fn feedback(setback: &Setback) -> (Feedback, Vec<String>) {
    let mut refusals = Vec::new();
    let mut logs = Vec::new();
    if let Failure::Refused(broken) = &setback.failure {
        refusals = broken
            .iter()
            .map(|refusal| {
                let help = refusal.help.as_ref().map_or(String::new(), |help| format!(" ({help})"));
                format!(
                    "{}: {}; saw {}, the limit is {}{help}",
                    refusal.rule, refusal.message, refusal.value, refusal.limit
                )
            })
            .collect();
    }
    if let Failure::Gate(report) = &setback.failure {
        // Steps that ended well and tested nothing: what they printed is all there is.
        let hollow = report.vacuous.is_some();
        let told = report.steps.iter().filter(|step| hollow || !step.green());
        logs = told.map(|step| step.log.clone()).collect();
    }
    if let Failure::Unproven(_) = &setback.failure {
        refusals.push(
            "tests: your new and changed tests were run on the code as it was before your change, and they passed \
             there. At least one must fail without the change: let it check what the code does now and did not do \
             before. Keep the change, do not make it depend on the tests, and weaken no other test"
                .to_owned(),
        );
    }
    (Feedback { why: failure(&setback.failure), refusals }, logs)
}
