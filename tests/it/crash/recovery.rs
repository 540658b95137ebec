//! What follows from each way in which an agent's run can end: one row each, and the rules around them.

use nightshift::{
    budget::WhenLimited,
    night::{Closing, Setback, Then, Trigger},
    outcome::{OddEntry, StopReason, UsageWindow},
};

use super::*;

/// A night with one task in reach, driven by hand.
struct Scene {
    night: Night,
    seq: u64,
    now: Timestamp,
}

impl Scene {
    fn new(change: impl FnOnce(&mut Opening)) -> Scene {
        let mut opening = opening(1, 3);
        opening.agent.model = Some("opus".into());
        opening.agent.fallback = vec!["sonnet".into()];
        opening.agent.fallback_at = 80;
        change(&mut opening);
        let mut scene = Scene { now: opening.at, night: Night::open(opening), seq: 1 };
        let check = scene.order();
        let Command::CheckBase { commit, tree } = &check else { panic!("{check:?}") };
        scene.fact(Event::BaseChecked { report: report(commit, tree, true, None) });
        scene
    }

    fn fact(&mut self, event: Event) {
        let entry = Entry::new(self.seq, self.now, "pretend", event);
        self.seq += 1;
        let line = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry, "{line}");
        self.night.apply(entry.at, entry.event).unwrap();
    }

    fn later(&mut self, seconds: i64) {
        self.now += jiff::SignedDuration::from_secs(seconds);
    }

    /// The next order, begun.
    fn order(&mut self) -> Command {
        let due = self.night.due(self.now);
        assert_eq!(due.len(), 1, "{due:?}; next at {:?}", self.night.wake_at(self.now));
        self.fact(Event::Began(due[0].clone()));
        due[0].clone()
    }

    /// The next agent run ends so.
    fn ends(&mut self, end: AgentEnd) -> Setback {
        self.fails(Failure::Agent(end))
    }

    fn fails(&mut self, failure: Failure) -> Setback {
        let order = self.order();
        let Command::RunAgent { attempt, .. } = &order else { panic!("{order:?}") };
        let end = match &failure {
            Failure::Agent(end) => end.clone(),
            _ => AgentEnd::Finished,
        };
        let setback = self.night.judge(self.now, attempt, failure);
        self.fact(Event::AgentEnded {
            attempt: attempt.clone(),
            report: agent_report(end),
            result: Err(setback.clone()),
            kept: None,
            inspection: Inspection::default(),
        });
        setback
    }

    fn next(&mut self) -> (Option<String>, bool) {
        let due = self.night.due(self.now);
        let Some(Command::RunAgent { attempt, model, conversation, .. }) = due.first() else {
            panic!("{due:?}; next at {:?}", self.night.wake_at(self.now))
        };
        let conversation = conversation.as_ref().unwrap();
        (model.clone(), conversation.opened_by != attempt.number)
    }

    fn task(&self, id: &str) -> &nightshift::night::TaskState {
        self.night.task(&TaskId::new(id).unwrap()).unwrap()
    }
}

fn text() -> String {
    "said".into()
}

fn gate_red(number: u32) -> Failure {
    let (commit, tree) = (CommitId::new(hash(1)).unwrap(), TreeId::new(hash(2)).unwrap());
    let attempt = AttemptId { task: TaskId::new("a").unwrap(), number };
    Failure::Gate(Box::new(report(&commit, &tree, false, Some(&attempt))))
}

fn seconds(then: &Then, from: Timestamp) -> i64 {
    let Then::Recover { at, .. } = then else { panic!("{then:?}") };
    at.duration_since(from).as_secs()
}

fn closing(then: &Then) -> &Closing {
    let Then::Recover { closing: Some(closing), .. } = then else { panic!("{then:?}") };
    closing
}

#[test]
fn each_end_of_an_agent_leads_to_one_decision() {
    let limited = |until, scope| AgentEnd::Limited { until, scope };
    let unusable =
        |message: &str| Then::StopNight(StopReason::AgentUnusable { message: message.to_owned() });
    #[derive(Debug, PartialEq)]
    enum Class {
        Counts,
        Recovers,
        RecoversAndCloses,
        Is(Then),
    }
    for (end, class) in [
        (AgentEnd::Finished, Class::Counts),
        (AgentEnd::Denied { tools: vec!["Write".into()] }, Class::Counts),
        (AgentEnd::BudgetSpent, Class::Is(Then::FailTask)),
        (AgentEnd::TurnsSpent, Class::Counts),
        (AgentEnd::TimedOut, Class::Counts),
        (AgentEnd::Breach { what: text() }, Class::Counts),
        (
            AgentEnd::DiskFull { what: text() },
            Class::Is(Then::StopNight(StopReason::Broken {
                message: "a disk is almost full: said; make room on it".into(),
            })),
        ),
        (AgentEnd::Failed { code: Some(1), message: text() }, Class::Counts),
        (AgentEnd::Overloaded, Class::Recovers),
        (AgentEnd::Transport { message: text() }, Class::Recovers),
        (AgentEnd::Killed { signal: 9 }, Class::Recovers),
        (AgentEnd::Stalled, Class::Recovers),
        (AgentEnd::Garbage { message: text() }, Class::Recovers),
        (AgentEnd::Unreadable { message: text() }, Class::Recovers),
        (AgentEnd::ContextFull, Class::Recovers),
        (AgentEnd::ConversationLost, Class::Recovers),
        (limited(Some(1_800_003_600), LimitScope::Account), Class::RecoversAndCloses),
        (limited(None, LimitScope::Model), Class::Recovers),
        (limited(None, LimitScope::Account), Class::RecoversAndCloses),
        (AgentEnd::ModelUnavailable { message: text() }, Class::RecoversAndCloses),
        (
            AgentEnd::BudgetTooSmall,
            Class::Is(unusable(
                "what `limits.cost`, `limits.task_cost` or `limits.tokens` leave does not pay for a \
                 single call",
            )),
        ),
        (AgentEnd::Interrupted, Class::Is(Then::Uncounted)),
        (
            AgentEnd::NotInstalled { program: "claude".into() },
            Class::Is(unusable("`claude` is not there")),
        ),
        (AgentEnd::NotSignedIn { message: text() }, Class::Is(unusable("not signed in: said"))),
        (AgentEnd::OutOfCredit { message: text() }, Class::Is(unusable("out of credit: said"))),
        (AgentEnd::Unfit { message: text() }, Class::Is(unusable("said"))),
    ] {
        let mut scene = Scene::new(|_| {});
        let setback = scene.ends(end.clone());
        let found = match setback.then.clone() {
            Then::Retry => Class::Counts,
            Then::Recover { closing: None, .. } => Class::Recovers,
            Then::Recover { closing: Some(_), .. } => Class::RecoversAndCloses,
            other => Class::Is(other),
        };
        assert_eq!(found, class, "{end:?}");
        let counts = matches!(class, Class::Counts | Class::Is(Then::FailTask));
        assert_eq!(scene.task("a").counted, u32::from(counts), "{end:?}");
    }
}

#[test]
fn each_other_failure_leads_to_one_decision() {
    let path = "src/a".into();
    for (failure, then) in [
        (Failure::NoChange { denied: Vec::new() }, Then::Retry),
        (gate_red(1), Then::Retry),
        (Failure::Refused(Vec::new()), Then::Retry),
        (Failure::Unfit(vec![OddEntry { path, what: text() }]), Then::Retry),
        (Failure::Conflict { paths: Vec::new() }, Then::Retry),
        (Failure::Disagreed { decisions: Vec::new(), why: text() }, Then::Retry),
        (Failure::NoProgress { like: 1 }, Then::FailTask),
        (Failure::Question { questions: vec![text()] }, Then::Park),
    ] {
        assert_eq!(Scene::new(|_| {}).fails(failure.clone()).then, then, "{failure:?}");
    }
}

#[test]
fn an_overload_is_tried_again_after_two_four_and_eight_seconds_then_another_model_is_asked() {
    let mut scene = Scene::new(|_| {});
    for pause in [2, 4, 8] {
        let setback = scene.ends(AgentEnd::Overloaded);
        let found = seconds(&setback.then, scene.now);
        assert!((pause..=pause + pause / 4).contains(&found), "{found} s for {pause} s");
        assert!(
            scene.night.due(scene.now).iter().all(|c| c.attempt().unwrap().task.as_str() != "a")
        );
        scene.later(pause + pause / 4 + 1);
        assert_eq!(scene.next(), (Some("opus".into()), true));
    }
    let setback = scene.ends(AgentEnd::Overloaded);
    let closed = closing(&setback.then);
    assert_eq!((closed.model.as_deref(), closed.trigger), (Some("opus"), Trigger::Overload));
    assert_eq!(scene.next(), (Some("sonnet".into()), true), "the conversation goes on");
    // Its window opens again: the first model is asked again.
    scene.later(120);
    assert_eq!(scene.next().0, Some("opus".into()));
    assert_eq!(scene.task("a").counted, 0);
}

#[test]
fn pauses_of_a_service_that_stays_away_grow_to_sixteen_minutes_and_reach_every_task() {
    let mut scene = Scene::new(|_| {});
    for _ in 0..3 {
        scene.ends(AgentEnd::Transport { message: text() });
        scene.later(11);
    }
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let setback = scene.ends(AgentEnd::Transport { message: text() });
        let closed = closing(&setback.then).clone();
        assert_eq!((closed.model, closed.trigger), (None, Trigger::Transport));
        assert!(scene.night.due(scene.now).is_empty(), "no task may be started");
        assert_eq!(scene.night.wake_at(scene.now), Some(closed.until));
        pauses.push(closed.until.duration_since(scene.now).as_mins());
        scene.now = closed.until;
    }
    assert!(pauses.is_sorted() && pauses[0] == 1 && (16..=20).contains(&pauses[5]), "{pauses:?}");
}

#[test]
fn a_usage_limit_is_waited_for_with_jitter_and_the_conversation_goes_on() {
    let reset = at(3_600).as_second();
    let mut scene = Scene::new(|_| {});
    let end = AgentEnd::Limited { until: Some(reset), scope: LimitScope::Account };
    let setback = scene.ends(end);
    let until = closing(&setback.then).until;
    let jitter = until.as_second() - reset;
    assert!((5..=65).contains(&jitter), "{jitter} s");
    assert!(scene.night.due(scene.now).is_empty(), "no model of this account answers");
    assert_eq!(scene.night.wake_at(scene.now), Some(until));
    assert!(!scene.night.is_over(scene.now));
    // A restart keeps the wait; a machine that slept finds its end passed.
    scene.fact(Event::Restarted { charges: Vec::new() });
    assert_eq!(scene.night.wake_at(scene.now), Some(until));
    scene.later(5_000);
    assert_eq!(scene.next(), (Some("opus".into()), true));
}

#[test]
fn a_limit_of_one_model_leaves_the_others() {
    let mut scene = Scene::new(|_| {});
    let reset = at(3_600).as_second();
    scene.ends(AgentEnd::Limited { until: Some(reset), scope: LimitScope::Model });
    assert_eq!(scene.next(), (Some("sonnet".into()), true));
    scene.later(3_700);
    assert_eq!(scene.next().0, Some("opus".into()), "back to the first when its window reopens");
}

#[test]
fn a_limit_beyond_the_night_ends_it_and_says_until_when() {
    let mut scene = Scene::new(|_| {});
    let reset = at(5 * 3_600).as_second();
    scene.ends(AgentEnd::Limited { until: Some(reset), scope: LimitScope::Account });
    assert!(scene.night.is_over(scene.now));
    assert_eq!(scene.night.wake_at(scene.now), None);
    let Some(StopReason::Limited { until: Some(until) }) = scene.night.stop_reason(scene.now)
    else {
        panic!("{:?}", scene.night.stop_reason(scene.now))
    };
    assert!((reset..=reset + 65).contains(&until));
}

#[test]
fn a_night_that_shall_not_wait_stops_at_a_limit() {
    let mut scene = Scene::new(|opening| opening.limits.when_rate_limited = WhenLimited::Stop);
    let setback = scene.ends(AgentEnd::Limited { until: Some(7), scope: LimitScope::Account });
    assert_eq!(setback.then, Then::StopNight(StopReason::Limited { until: Some(7) }));
    assert!(scene.night.is_over(scene.now));
}

#[test]
fn a_window_that_is_nearly_full_is_spared_while_another_model_answers() {
    let mut scene = Scene::new(|_| {});
    let order = scene.order();
    let Command::RunAgent { attempt, .. } = &order else { panic!() };
    let setback = scene.night.judge(scene.now, attempt, gate_red(1));
    let mut told = agent_report(AgentEnd::Finished);
    let reset = at(3_600).as_second();
    told.window =
        Some(UsageWindow { name: "five_hour".into(), percent: 80, resets_at: Some(reset) });
    scene.fact(Event::AgentEnded {
        attempt: attempt.clone(),
        report: told,
        result: Err(setback),
        kept: None,
        inspection: Inspection::default(),
    });
    assert_eq!(scene.next(), (Some("sonnet".into()), true));
    // A limit of the other one: better a strained model than none.
    scene.ends(AgentEnd::Limited { until: Some(reset), scope: LimitScope::Model });
    assert_eq!(scene.next().0, Some("opus".into()));
    scene.later(3_700);
    assert_eq!(scene.next().0, Some("opus".into()));
}

#[test]
fn a_model_that_does_not_exist_is_left_for_the_night() {
    let mut scene = Scene::new(|_| {});
    scene.ends(AgentEnd::ModelUnavailable { message: text() });
    assert_eq!(scene.next().0, Some("sonnet".into()));
    scene.ends(AgentEnd::ModelUnavailable { message: text() });
    assert!(scene.night.is_over(scene.now));
    let Some(StopReason::AgentUnusable { message }) = scene.night.stop_reason(scene.now) else {
        panic!("{:?}", scene.night.stop_reason(scene.now))
    };
    assert!(message.contains("is not available"), "{message}");
}

impl Scene {
    /// The next agent run makes a candidate, and these decisions.
    fn edits(&mut self, world: &mut World, decisions: &[Level]) -> AttemptId {
        let order = self.order();
        let Command::RunAgent { attempt, base, .. } = order else { panic!("{order:?}") };
        let mut report = agent_report(AgentEnd::Finished);
        report.reply.decisions = decisions
            .iter()
            .map(|level| Decision { level: *level, what: format!("{level:?}"), why: text() })
            .collect();
        let result = Ok(world.commit(&base));
        self.fact(Event::AgentEnded {
            attempt: attempt.clone(),
            report,
            result,
            kept: None,
            inspection: Inspection::default(),
        });
        attempt
    }

    fn gates(&mut self, green: bool) {
        let order = self.order();
        let Command::RunGate { attempt, commit, tree } = order else { panic!("{order:?}") };
        let report = report(&commit, &tree, green, Some(&attempt));
        let failure = || Failure::Gate(Box::new(report.clone()));
        let setback = (!green).then(|| self.night.judge(self.now, &attempt, failure()));
        self.fact(Event::GateEnded { attempt, report, findings: Vec::new(), setback });
    }

    fn reviewed(&mut self, agree: bool, ended: AgentEnd) {
        let order = self.order();
        let Command::Review { attempt, .. } = order else { panic!("{order:?}") };
        let spent = Spend { usd: Usd::from_micros(7), ..Spend::default() };
        let review = Review { agree, why: text(), ended, spent, model: None };
        let night = &self.night;
        let setback = (!agree).then(|| night.without_agreement(self.now, &attempt, &review));
        self.fact(Event::Reviewed { attempt, review, setback });
    }
}

fn world() -> World {
    night(1).1
}

#[test]
fn what_an_earlier_attempt_of_the_conversation_decided_still_needs_its_opinion() {
    let (mut scene, mut world) = (Scene::new(|_| {}), world());
    scene.edits(&mut world, &[Level::Medium]);
    scene.gates(false);
    scene.edits(&mut world, &[]);
    scene.gates(true);
    scene.reviewed(true, AgentEnd::Finished);
    assert!(matches!(scene.order(), Command::Land { .. }));
}

#[test]
fn a_candidate_cannot_land_before_its_second_opinion() {
    let (mut scene, mut world) = (Scene::new(|_| {}), world());
    let attempt = scene.edits(&mut world, &[Level::Medium]);
    scene.gates(true);
    let Stage::Gated(candidate) = scene.task("a").stage.clone() else { panic!() };
    let land = Command::Land {
        attempt,
        from: candidate.base.clone(),
        to: candidate.commit.clone(),
        tree: candidate.tree.clone(),
    };
    let refused = scene.night.apply(scene.now, Event::Began(land)).unwrap_err();
    assert_eq!(refused.why, "landed without its second opinion");
}

#[test]
fn a_service_in_trouble_leaves_gated_work_gated_and_is_asked_again() {
    let (mut scene, mut world) = (Scene::new(|_| {}), world());
    scene.edits(&mut world, &[Level::Medium]);
    scene.gates(true);
    let reset = at(3_600).as_second();
    scene.reviewed(false, AgentEnd::Limited { until: Some(reset), scope: LimitScope::Account });
    assert!(matches!(scene.task("a").stage, Stage::Gated(_)));
    assert!(scene.night.due(scene.now).is_empty());
    let end = scene.night.wake_at(scene.now).unwrap();
    assert!((reset..=reset + 65).contains(&end.as_second()));
    scene.now = end;
    scene.reviewed(true, AgentEnd::Finished);
    assert_eq!(scene.task("a").spent().usd, Usd::from_micros(10_014), "both are paid");
    assert!(matches!(scene.order(), Command::Land { .. }));
}

/// A gated candidate whose second opinion ends so.
fn without_an_opinion(ended: AgentEnd) -> Scene {
    let (mut scene, mut world) = (Scene::new(|_| {}), world());
    scene.edits(&mut world, &[Level::Medium]);
    scene.gates(true);
    scene.reviewed(false, ended);
    scene
}

#[test]
fn an_opinion_that_nobody_gives_tonight_ends_the_night_with_its_reason() {
    let until = Some(at(40 * 3_600).as_second());
    let limited = AgentEnd::Limited { until, scope: LimitScope::Account };
    let mut scene = without_an_opinion(limited);
    assert!(matches!(scene.task("a").stage, Stage::Gated(_)));
    assert_eq!((scene.night.due(scene.now), scene.night.wake_at(scene.now)), (Vec::new(), None));
    assert!(scene.night.is_over(scene.now));
    let reason = scene.night.stop_reason(scene.now);
    assert!(matches!(reason, Some(StopReason::Limited { until: Some(_) })), "{reason:?}");
    scene.fact(Event::Ended { reason, exit: 0 });
    scene.later(41 * 3_600);
    scene.fact(Event::Restarted { charges: Vec::new() });
    scene.reviewed(true, AgentEnd::Finished);
    assert!(matches!(scene.order(), Command::Land { .. }));
}

#[test]
fn a_night_that_is_stopped_asks_for_no_opinion() {
    let mut scene = without_an_opinion(AgentEnd::NotSignedIn { message: text() });
    assert_eq!(scene.night.due(scene.now), []);
    assert!(scene.night.is_over(scene.now), "it was asked for again and again");
    scene.fact(Event::Restarted { charges: Vec::new() });
    scene.reviewed(true, AgentEnd::Finished);
}

#[test]
fn an_opinion_that_no_money_pays_is_a_persons() {
    let scene = without_an_opinion(AgentEnd::BudgetTooSmall);
    assert!(scene.task("a").parked().is_some() && scene.night.stop().is_none());
}

#[test]
fn a_rest_that_pays_for_no_call_ends_what_it_belongs_to() {
    let dollar = Usd::from_micros(1_000_000);
    for (cost, then) in [
        (Usd::from_micros(10_000_000), Then::FailTask),
        (dollar, Then::StopNight(StopReason::Cost)),
    ] {
        let mut scene = Scene::new(|opening| opening.limits.cost = cost);
        scene.ends(AgentEnd::Failed { code: Some(1), message: text() });
        assert_eq!(scene.ends(AgentEnd::BudgetTooSmall).then, then, "{cost}");
    }
}

#[test]
fn an_opinion_against_it_is_told_and_none_at_all_asks_a_person() {
    let (mut scene, mut world) = (Scene::new(|_| {}), world());
    scene.edits(&mut world, &[Level::Medium]);
    scene.gates(true);
    scene.reviewed(false, AgentEnd::Finished);
    assert_eq!(scene.next(), (Some("opus".into()), true));
    scene.edits(&mut world, &[Level::Medium]);
    scene.gates(true);
    scene.reviewed(false, AgentEnd::TimedOut);
    assert!(scene.task("a").parked().is_some());
}

#[test]
fn time_between_two_processes_is_no_time_of_the_night() {
    let mut scene = Scene::new(|_| {});
    let reset = at(5 * 3_600).as_second();
    scene.ends(AgentEnd::Limited { until: Some(reset), scope: LimitScope::Account });
    assert!(scene.night.is_over(scene.now));
    scene.later(6 * 3_600);
    scene.fact(Event::Restarted { charges: Vec::new() });
    assert_eq!(scene.next(), (Some("opus".into()), true), "the morning goes on with it");
}

#[test]
fn a_conversation_goes_on_until_it_fails_twice_in_the_same_way() {
    let mut scene = Scene::new(|_| {});
    assert!(!scene.next().1, "the first attempt opens one");
    scene.fails(gate_red(1));
    assert!(scene.next().1, "told what was red");
    scene.fails(Failure::NoChange { denied: Vec::new() });
    assert!(scene.next().1, "another failure");
    let mut scene = Scene::new(|_| {});
    scene.fails(gate_red(1));
    scene.fails(gate_red(2));
    assert!(!scene.next().1, "the same step twice: a fresh head");
}

#[test]
fn what_cannot_be_gone_on_with_is_not() {
    for failure in [
        Failure::Agent(AgentEnd::ContextFull),
        Failure::Agent(AgentEnd::ConversationLost),
        Failure::Conflict { paths: Vec::new() },
        Failure::Unfit(Vec::new()),
    ] {
        let mut scene = Scene::new(|_| {});
        scene.fails(failure.clone());
        assert!(!scene.next().1, "{failure:?}");
    }
    let mut scene = Scene::new(|_| {});
    scene.ends(AgentEnd::Killed { signal: 9 });
    scene.later(3);
    assert!(scene.next().1, "a program that died is started again in its conversation");
    let second = scene.ends(AgentEnd::Killed { signal: 9 });
    assert_eq!(second.then, Then::Retry, "twice is this task's own trouble");
    assert!(!scene.next().1);
}

#[test]
fn a_question_parks_its_task_and_the_night_goes_on() {
    let mut scene = Scene::new(|_| {});
    scene.fails(Failure::Question { questions: vec!["which?".into()] });
    assert!(scene.task("a").parked().is_some());
    assert_eq!(scene.task("a").counted, 0);
    let due = scene.night.due(scene.now);
    assert_eq!(due[0].attempt().unwrap().task.as_str(), "b");
    assert_eq!(scene.night.stop_reason(scene.now), None);
}

#[test]
fn tokens_limit_a_night_that_dollars_cannot() {
    let mut scene = Scene::new(|opening| {
        opening.agent.subscription = true;
        opening.limits.tokens = 1_000;
        opening.limits.cost = Usd::from_micros(1);
    });
    let order = scene.order();
    let Command::RunAgent { attempt, budget, tokens, .. } = &order else { panic!() };
    assert_eq!((*budget, *tokens), (Usd::ZERO, Some(1_000)));
    let setback = scene.night.judge(scene.now, attempt, gate_red(1));
    let mut told = agent_report(AgentEnd::Finished);
    told.spent.input_tokens = 900;
    told.spent.output_tokens = 100;
    scene.fact(Event::AgentEnded {
        attempt: attempt.clone(),
        report: told,
        result: Err(setback),
        kept: None,
        inspection: Inspection::default(),
    });
    assert!(scene.night.is_over(scene.now));
    assert_eq!(scene.night.stop_reason(scene.now), Some(StopReason::Cost));
}
