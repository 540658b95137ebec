//! What an order comes to in the pretended world, and the fact that a runner makes of it: the verdicts are the
//! night's own.

use jiff::Timestamp;
use nightshift::{
    budget::{Spend, Usd},
    ids::{AttemptId, CommitId, TreeId},
    night::{Command, Event, Hindrance, Night, of_gate, of_tests},
    outcome::{
        AgentEnd, AgentReport, CanaryTry, Failure, FormerRun, FormerTests, GateProof, GateReport,
        LimitScope, NewTests, Review, StepEnd, StepReport, StopReason, TestProof,
    },
    policy::{Inspection, Origin, Refusal, Severity, TestDelta, Verdict},
    prompt::{Decision, Level, Reply},
};

use crate::{
    fault::Kind,
    world::{CALL, OPINION, Running, World},
};

fn spent(micros: u64) -> Spend {
    Spend { usd: Usd::from_micros(micros), ..Spend::default() }
}

fn finding(verdict: Verdict) -> Refusal {
    Refusal {
        rule: "inspection.mode".into(),
        verdict,
        severity: Severity::Medium,
        message: "`src/a.sh` became executable".into(),
        value: "src/a.sh".into(),
        limit: "permissions stay".into(),
        origin: Origin::Default,
        help: None,
    }
}

/// A gate's report: green, or red by `ended`, with the tests that failed.
fn gated(
    night: &Night,
    (commit, tree): (&CommitId, &TreeId),
    ended: StepEnd,
    failing_tests: Vec<String>,
) -> GateReport {
    let green = ended == StepEnd::Exit(0);
    let step = StepReport {
        name: "quality".into(),
        command: "check".into(),
        ended,
        millis: 5,
        required: true,
        log: "gate/log".into(),
        failing_tests: failing_tests.clone(),
        tests_run: Some(3),
        unheard: Vec::new(),
        excused: false,
    };
    GateReport {
        commit: commit.clone(),
        tree: tree.clone(),
        gate: night.opening().gate.id.clone(),
        steps: vec![step],
        score: if green { 100 } else { 0 },
        log_hash: "0".repeat(64),
        tier: "none".into(),
        failing_tests,
        tests_run: Some(3),
        reused: false,
        vacuous: None,
        former_runs: Vec::new(),
    }
}

fn agent_report(ended: AgentEnd, spent: Spend) -> AgentReport {
    AgentReport {
        ended,
        spent,
        seconds: 1,
        turns: None,
        conversation: None,
        model: None,
        last_words: None,
        survivors: 0,
        total: None,
        window: None,
        reply: Reply::default(),
        notes: Vec::new(),
    }
}

fn until(now: Timestamp, hours: i64) -> Option<i64> {
    Some(now.as_second() + hours * 3_600)
}

/// The end of an agent's run that is none of its own; `None` when it comes to its end.
fn agent_end(world: &World, running: &Running, now: Timestamp) -> Option<AgentEnd> {
    let limited = |until, scope| AgentEnd::Limited { until, scope };
    let message = || "pretended".to_owned();
    if world.signed_out {
        return Some(AgentEnd::NotSignedIn { message: message() });
    }
    for kind in &running.struck {
        let end = match kind {
            Kind::SilentAgent => AgentEnd::TimedOut,
            Kind::AgentFails => AgentEnd::Failed { code: Some(1), message: message() },
            Kind::Limited => limited(until(now, 1), LimitScope::Account),
            Kind::LimitedForLong => limited(until(now, 30), LimitScope::Account),
            Kind::LimitedByMinute => limited(None, LimitScope::Model),
            Kind::Overloaded => AgentEnd::Overloaded,
            Kind::Unreachable => AgentEnd::Transport { message: message() },
            Kind::SignedOut => AgentEnd::NotSignedIn { message: message() },
            Kind::AgentDies => AgentEnd::Killed { signal: 9 },
            Kind::ContextFull => AgentEnd::ContextFull,
            _ => continue,
        };
        return Some(end);
    }
    None
}

fn agent_ended(
    world: &mut World,
    night: &Night,
    running: &Running,
    now: Timestamp,
    interrupted: bool,
) -> Event {
    let Command::RunAgent { attempt, base, time_s, budget, .. } = &running.command else {
        unreachable!("asked for runs of agents alone")
    };
    let reserved = budget.micros();
    let (mut micros, stopped) = world.cost(running, reserved);
    let mut end = agent_end(world, running, now);
    if stopped {
        end = Some(AgentEnd::BudgetSpent);
    }
    if reserved > 0 && reserved < CALL {
        end = Some(AgentEnd::BudgetTooSmall);
    }
    if interrupted {
        (micros, end) = (micros / 2, Some(AgentEnd::Interrupted));
    }
    let slow = running.is_struck_by(Kind::SlowAgent) && (60 + running.chance % 840) * 4 > *time_s;
    if slow && end.is_none() {
        end = Some(AgentEnd::TimedOut);
    }
    world.signed_out |= matches!(end, Some(AgentEnd::NotSignedIn { .. }));
    world.pay(attempt, micros);
    world.cost_of.insert(attempt.clone(), micros);
    world.over += if reserved > 0 { micros.saturating_sub(reserved) } else { 0 };
    let mut report = agent_report(end.clone().unwrap_or(AgentEnd::Finished), spent(micros));
    let mut inspection = Inspection::default();
    let failure = if let Some(end) = end {
        Some(Failure::Agent(end))
    } else if running.is_struck_by(Kind::NoChange) {
        Some(Failure::NoChange { denied: Vec::new() })
    } else if running.is_struck_by(Kind::Question) {
        Some(Failure::Question { questions: vec!["Which one?".into()] })
    } else if running.is_struck_by(Kind::BreaksRule) {
        inspection.findings.push(finding(Verdict::Refuse));
        Some(Failure::Refused(inspection.findings.clone()))
    } else {
        None
    };
    let result = match failure {
        Some(failure) => Err(failure),
        None => {
            if running.chance.is_multiple_of(5) {
                let (what, why) = ("a way".into(), "it is short".into());
                report.reply.decisions.push(Decision { level: Level::Medium, what, why });
            }
            if running.chance.is_multiple_of(3) {
                inspection.tests.push(TestDelta {
                    path: "tests/a.rs".into(),
                    tests: (0, 1),
                    assertions: (0, 1),
                    skipped: (0, 0),
                    separable: true,
                });
            }
            if running.is_struck_by(Kind::NeedsPerson) {
                inspection.findings.push(finding(Verdict::Ask));
            }
            let same = running.is_struck_by(Kind::SameDiff);
            let candidate = world.commit(attempt.task.as_str(), base, same);
            match night.same_tree_as(attempt, &candidate) {
                Some(like) => Err(Failure::NoProgress { like }),
                None => Ok(candidate),
            }
        }
    };
    let result = result.map_err(|failure| night.judge(now, attempt, failure));
    Event::AgentEnded { attempt: attempt.clone(), report, result, kept: None, inspection }
}

fn gate_ended(
    world: &mut World,
    night: &Night,
    running: &Running,
    (attempt, commit, tree): (&AttemptId, &CommitId, &TreeId),
    now: Timestamp,
) -> Event {
    let names = |number: u64| vec![format!("test_{number}")];
    let report = if running.is_struck_by(Kind::GateRed) {
        gated(night, (commit, tree), StepEnd::Exit(1), names(running.chance % 2))
    } else if running.is_struck_by(Kind::GateSlow) {
        gated(night, (commit, tree), StepEnd::TimedOut, Vec::new())
    } else {
        let mut report = gated(night, (commit, tree), StepEnd::Exit(0), Vec::new());
        if running.is_struck_by(Kind::GateFlaky) {
            let red = gated(night, (commit, tree), StepEnd::Exit(1), names(7));
            let (steps, failing_tests) = (red.steps, red.failing_tests);
            report.former_runs.push(FormerRun { steps, failing_tests, tests_run: Some(3) });
        }
        world.gated.insert(tree.clone());
        report
    };
    let failure = || Failure::Gate(Box::new(report.clone()));
    let setback = (!report.passed()).then(|| night.judge(now, attempt, failure()));
    let findings = match &setback {
        None => of_gate(night, attempt, &report),
        Some(_) => Vec::new(),
    };
    Event::GateEnded { attempt: attempt.clone(), report, findings, setback }
}

fn tests_proven(night: &Night, running: &Running, attempt: &AttemptId, now: Timestamp) -> Event {
    let logs = || "gate/tests".to_owned();
    let (red_steps, failing_tests) = (vec!["quality".to_owned()], vec!["t".to_owned()]);
    let new_tests = if running.is_struck_by(Kind::TestsUnproven) {
        NewTests::Unproven { logs: logs() }
    } else {
        let (red_steps, failing_tests) = (red_steps.clone(), failing_tests.clone());
        NewTests::Proven { red_steps, failing_tests, logs: logs() }
    };
    let former_tests = if running.is_struck_by(Kind::FormerTestsRed) {
        FormerTests::Red { red_steps, failing_tests, beside: Vec::new(), logs: logs() }
    } else {
        FormerTests::Unchanged
    };
    let proof = TestProof { new_tests, former_tests };
    let (findings, unproven) = of_tests(night, attempt, &proof);
    let failure = || Failure::Unproven(Box::new(proof.clone()));
    let setback = unproven.then(|| night.judge(now, attempt, failure()));
    Event::TestsProven { attempt: attempt.clone(), proof, findings, setback }
}

fn reviewed(
    world: &mut World,
    night: &Night,
    running: &Running,
    (attempt, budget): (&AttemptId, Usd),
    now: Timestamp,
) -> Event {
    let (mut ended, mut micros) = (AgentEnd::Finished, OPINION);
    let mut agree = !running.is_struck_by(Kind::ReviewSaysNo);
    let limit = |until| AgentEnd::Limited { until, scope: LimitScope::Account };
    if running.is_struck_by(Kind::ReviewLimited) {
        (ended, agree) = (limit(until(now, 1)), false);
    } else if running.is_struck_by(Kind::ReviewLimitedForLong) {
        (ended, agree) = (limit(until(now, 30)), false);
    }
    if budget < Usd::from_micros(OPINION) {
        (ended, agree, micros) = (AgentEnd::BudgetTooSmall, false, 0);
    }
    world.pay(attempt, micros);
    let review = Review { agree, why: "so".into(), ended, spent: spent(micros), model: None };
    let setback = (!agree).then(|| night.without_agreement(now, attempt, &review));
    Event::Reviewed { attempt: attempt.clone(), review, setback }
}

fn published(
    world: &mut World,
    night: &Night,
    running: &Running,
    tip: &CommitId,
    now: Timestamp,
) -> Event {
    let lasting = running.is_struck_by(Kind::PushRefused);
    let hindrance = if lasting { Hindrance::Lasting } else { Hindrance::Passing { wait_s: 0 } };
    let failed = |what: &str| night.not_published(now, what.into(), "later".into(), hindrance);
    if running.is_struck_by(Kind::ForgeDown) {
        world.down = 3;
    }
    if world.down > 0 {
        world.down -= 1;
        return failed("no answer");
    }
    if lasting {
        return failed("refused");
    }
    world.push(tip);
    if running.is_struck_by(Kind::PushAnswerLost) {
        return failed("the answer was lost");
    }
    world.request(running);
    if running.is_struck_by(Kind::RequestAnswerLost) {
        return failed("the answer was lost");
    }
    let notes = if world.base_moved { vec!["main has moved on".to_owned()] } else { Vec::new() };
    Event::Published { url: "pr/1".into(), number: Some(1), notes }
}

/// Carries a deed to its end, and gives back the fact. `interrupted`: the night is to stop at once. `None` when
/// nothing can be said: the order stays open.
pub(crate) fn finish(
    world: &mut World,
    night: &Night,
    running: &Running,
    now: Timestamp,
    interrupted: bool,
) -> Option<Event> {
    if running.is_struck_by(Kind::DeedFails) && !matches!(running.command, Command::RunAgent { .. })
    {
        world.cut(running);
        let message = "the disk refused".to_owned();
        return Some(Event::StopAsked { reason: StopReason::Broken { message } });
    }
    Some(match &running.command {
        Command::RunAgent { .. } => agent_ended(world, night, running, now, interrupted),
        Command::CheckBase { .. }
        | Command::ProveGate { .. }
        | Command::RunGate { .. }
        | Command::ProveTests { .. }
            if interrupted =>
        {
            return None;
        }
        Command::Review { .. } if interrupted => {
            world.cut(running);
            return None;
        }
        Command::CheckBase { commit, tree } => {
            let red = running.is_struck_by(Kind::RedBase);
            let names = if red { vec!["t".to_owned()] } else { Vec::new() };
            let report = gated(night, (commit, tree), StepEnd::Exit(i32::from(red)), names);
            Event::BaseChecked { report }
        }
        Command::ProveGate { tree, .. } => {
            let blind = running.is_struck_by(Kind::Unproven);
            let red_steps = if blind { Vec::new() } else { vec!["quality".to_owned()] };
            let (what, tree, logs) = ("a syntax error".into(), tree.clone(), "gate/c".into());
            let tries = vec![CanaryTry { what, tree, red_steps, logs }];
            let gate = night.opening().gate.id.clone();
            Event::GateProven { proof: GateProof { gate, tries, reused: false } }
        }
        Command::RunGate { attempt, commit, tree } => {
            gate_ended(world, night, running, (attempt, commit, tree), now)
        }
        Command::ProveTests { attempt, .. } => tests_proven(night, running, attempt, now),
        Command::Review { attempt, budget, .. } => {
            reviewed(world, night, running, (attempt, *budget), now)
        }
        Command::Restack { attempt, onto, .. } => {
            let result = if running.is_struck_by(Kind::Conflict) {
                let paths = vec!["src/a.rs".into()];
                Err(night.judge(now, attempt, Failure::Conflict { paths }))
            } else {
                Ok(world.commit(attempt.task.as_str(), onto, false))
            };
            Event::Restacked { attempt: attempt.clone(), result }
        }
        Command::Land { attempt, from, to, .. } => match world.land(from, to) {
            Ok(()) => Event::Landed { attempt: attempt.clone(), commit: to.clone() },
            Err(found) => Event::StopAsked { reason: StopReason::BranchMoved { found } },
        },
        // Nobody takes back here what is merged.
        Command::Reverse { .. } => return None,
        Command::Rewind { from, to } => match world.rewind(from, to) {
            Ok(()) => Event::Rewound { to: to.clone() },
            Err(found) => Event::StopAsked { reason: StopReason::BranchMoved { found } },
        },
        Command::Publish { tip } => published(world, night, running, tip, now),
    })
}
