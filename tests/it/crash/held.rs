//! Results that wait for a person: held, approved, rejected, cut off at every moment on their way.

use nightshift::{
    outcome::StopReason,
    policy::{Origin, Refusal, Severity},
};

use super::*;

/// What a rule says of a diff.
pub(super) fn finding(verdict: Verdict) -> Refusal {
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

fn id(task: &str) -> TaskId {
    TaskId::new(task).unwrap()
}

fn replayed(journal: &[Entry]) -> Night {
    Night::replay(journal.iter().cloned()).unwrap()
}

fn stage(night: &Night, task: &str) -> Stage {
    night.task(&id(task)).unwrap().stage.clone()
}

fn decided(night: &Night, task: &str, approved: bool) -> Event {
    let number = night.task(&id(task)).unwrap().last().map_or(1, |last| last.number);
    let reason = (!approved).then(|| "not so".to_owned());
    let attempt = AttemptId { task: id(task), number };
    Event::Decided { attempt, approved, reason, by: "ada".into() }
}

fn push(journal: &mut Vec<Entry>, world: &World, event: Event) {
    let entry = entry(journal, world, event);
    let line = serde_json::to_string(&entry).unwrap();
    assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry);
    replayed(journal).apply(entry.at, entry.event.clone()).unwrap();
    journal.push(entry);
}

/// What the program writes down before it carries a person's decisions out; cut after so many facts.
fn decide(
    journal: &mut Vec<Entry>,
    world: &World,
    words: &[(&str, bool)],
    cut: usize,
) -> Result<(), Crashed> {
    let night = replayed(journal);
    let mut facts = vec![Event::StopAsked { reason: StopReason::OnlyLanding }];
    for (task, approved) in words {
        let state = night.task(&id(task)).unwrap();
        // Said before, and cut off.
        if !state.is_approved() && state.decidable().is_some() {
            facts.push(decided(&night, task, *approved));
        }
    }
    for (at, fact) in facts.into_iter().enumerate() {
        if at == cut {
            return Err(Crashed);
        }
        push(journal, world, fact);
    }
    restart(journal, world);
    Ok(())
}

/// The end of a process, as the runner writes it.
fn end(journal: &mut Vec<Entry>, world: &World) -> Night {
    let reason = replayed(journal).stop_reason(at(journal.len() + world.waited));
    push(journal, world, Event::Ended { reason, exit: 0 });
    replayed(journal)
}

/// A night that has ended: `a` and `d` are held, `b` landed, `c` never came to an end.
fn ended(parallel: u32, seed: u64) -> (Vec<Entry>, World) {
    let mut opening = opening(parallel, 2);
    opening.gate.canary = Canary::Auto;
    opening.policy.tests = Tests::Required;
    let (mut journal, mut world) = of_opening(opening);
    world.asks = vec!["a", "d"];
    let Ok((night, _)) = run(&mut journal, &mut world, seed, None) else { panic!() };
    for task in ["a", "d"] {
        assert!(matches!(stage(&night, task), Stage::Held(_)), "{task} {:?}", stage(&night, task));
    }
    assert!(matches!(stage(&night, "b"), Stage::Landed(_)));
    assert!(
        world.reviews > 0 && night.task(&id("d")).unwrap().last().unwrap().test_proof.is_some()
    );
    let night = end(&mut journal, &world);
    assert!(
        matches!(night.ended(), Some((None, _))),
        "held results are an end: {:?}",
        night.ended()
    );
    (journal, world)
}

fn never_an_agent(journal: &[Entry]) {
    let from = journal
        .iter()
        .position(|entry| entry.event == Event::StopAsked { reason: StopReason::OnlyLanding })
        .unwrap();
    for entry in &journal[from..] {
        assert!(
            !matches!(
                &entry.event,
                Event::Began(Command::RunAgent { .. } | Command::Review { .. })
            ),
            "{:?}",
            entry.event
        );
    }
}

#[test]
fn approved_results_land_once_wherever_the_program_was_cut() {
    let words = [("a", true), ("d", true)];
    let mut cuts = 0;
    for parallel in 1..=3 {
        for seed in 1..3_u64 {
            let (ended, world_then) = ended(parallel, seed);
            // As many cuts as there are facts before the loop, then each step of the loop.
            let at_facts = (0..3).map(|cut| (cut, None));
            let at_steps = (0..9).flat_map(|step| CUTS.map(|cut| (usize::MAX, Some((step, cut)))));
            for (fact, step) in at_facts.chain(at_steps) {
                for again in [false, true] {
                    let (mut journal, mut world) = (ended.clone(), world_then.clone());
                    let mut cut = decide(&mut journal, &world, &words, fact).is_err();
                    if !cut {
                        cut = run(&mut journal, &mut world, seed, step).is_err();
                    }
                    if cut && (again || fact == 0) {
                        decide(&mut journal, &world, &words, usize::MAX).ok().unwrap();
                    } else if cut {
                        // `resume` lands what was approved, whatever was not decided yet stays held.
                        restart(&mut journal, &world);
                    }
                    let Ok((night, _)) = run(&mut journal, &mut world, seed + 5, None) else {
                        panic!()
                    };
                    let undecided = [("a", 1), ("d", 2)]
                        .into_iter()
                        .filter(|(_, facts)| cut && !again && fact != 0 && fact <= *facts)
                        .count();
                    let landed = night.landed();
                    assert_eq!(landed.len(), 3 - undecided, "cut at {fact} {step:?} {again}");
                    assert_eq!(world.moves, landed.len(), "each lands once");
                    assert_eq!(&world.branch, night.tip());
                    for (_, candidate) in landed {
                        assert!(world.gated.contains(&candidate.tree));
                    }
                    assert_eq!(world.pull_requests, 1);
                    never_an_agent(&journal);
                    let night = end(&mut journal, &world);
                    assert!(matches!(night.ended(), Some((None, _))), "{:?}", night.ended());
                    assert!(night.stop().is_none() && !night.only_lands());
                    assert_eq!(night.restarts(), 0);
                    cuts += usize::from(cut);
                }
            }
        }
    }
    assert!(cuts > 200, "{cuts}");
}

#[test]
fn an_approved_result_on_the_tip_lands_without_another_gate() {
    let (mut journal, mut world) = of_opening(opening(1, 2));
    world.asks = vec!["a"];
    // Nothing else lands.
    for task in ["b", "d"] {
        for number in 1..=9 {
            world.faults.insert((task.to_owned(), number), Fault::Agent);
        }
    }
    let Ok((night, _)) = run(&mut journal, &mut world, 1, None) else { panic!() };
    assert_eq!(night.tip(), &night.opening().base.commit);
    assert_eq!(world.pull_requests, 0, "no pull request without a commit");
    end(&mut journal, &world);
    let gated = world.gated.len();
    decide(&mut journal, &world, &[("a", true)], usize::MAX).ok().unwrap();
    let Ok((night, _)) = run(&mut journal, &mut world, 1, None) else { panic!() };
    assert!(matches!(stage(&night, "a"), Stage::Landed(_)));
    assert_eq!((world.gated.len(), world.moves, world.pull_requests), (gated, 1, 1));
    // Its night had stopped after failures in a row, and `resume` can still go on with it.
    let night = end(&mut journal, &world);
    assert_eq!(night.stopped_early(), None);
    assert!(matches!(night.ended(), Some((Some(StopReason::FailuresInARow { count: 2 }), _))));
}

#[test]
fn what_does_not_fit_any_more_has_failed_and_can_be_approved_again() {
    let (mut journal, mut world) = ended(1, 1);
    world.stuck = vec!["a"];
    for _ in 0..2 {
        decide(&mut journal, &world, &[("a", true)], usize::MAX).ok().unwrap();
        let failures = replayed(&journal).ended().cloned();
        let Ok((night, _)) = run(&mut journal, &mut world, 1, None) else { panic!() };
        let state = night.task(&id("a")).unwrap();
        assert!(
            matches!(&state.failed().unwrap().failure, Failure::Conflict { .. }),
            "{:?}",
            state.stage
        );
        assert!(state.decidable().is_some() && failures.is_none());
        end(&mut journal, &world);
    }
    never_an_agent(&journal);
    world.stuck.clear();
    decide(&mut journal, &world, &[("a", true)], usize::MAX).ok().unwrap();
    let Ok((night, _)) = run(&mut journal, &mut world, 1, None) else { panic!() };
    assert!(matches!(stage(&night, "a"), Stage::Landed(_)));
}

#[test]
fn a_gate_that_says_something_new_holds_an_approved_result_again() {
    let (mut journal, mut world) = ended(1, 1);
    decide(&mut journal, &world, &[("a", true)], usize::MAX).ok().unwrap();
    let mut night = replayed(&journal);
    let mut step = |night: &mut Night, change: fn(&mut Event)| {
        let order = night.due(at(900_000)).remove(0);
        night.apply(at(900_000), Event::Began(order.clone())).unwrap();
        let mut ended = world.carry_out(night, &order);
        change(&mut ended);
        night.apply(at(900_000), ended).unwrap();
    };
    step(&mut night, |restacked| assert!(matches!(restacked, Event::Restacked { .. })));
    step(&mut night, |gated| {
        let Event::GateEnded { findings, .. } = gated else { panic!("{gated:?}") };
        findings.push(finding(Verdict::Ask));
    });
    assert!(matches!(stage(&night, "a"), Stage::Held(_)), "{:?}", stage(&night, "a"));
    assert_eq!(night.task(&id("a")).unwrap().last().unwrap().approved_by, None);
    night.apply(at(900_001), decided(&night.clone(), "a", true)).unwrap();
    assert!(matches!(stage(&night, "a"), Stage::Gated(_)));
}

#[test]
fn a_rejected_result_has_failed_and_counts_for_nothing() {
    let (mut journal, mut world) = ended(2, 1);
    let before = replayed(&journal);
    decide(&mut journal, &world, &[("a", false), ("d", true)], usize::MAX).ok().unwrap();
    let Ok((night, _)) = run(&mut journal, &mut world, 1, None) else { panic!() };
    let Stage::Failed(setback) = stage(&night, "a") else { panic!("{:?}", stage(&night, "a")) };
    let rejected = Failure::Rejected { reason: "not so".into(), by: "ada".into() };
    assert_eq!(setback.failure, rejected);
    assert!(matches!(stage(&night, "d"), Stage::Landed(_)));
    assert_eq!(night.landed().len(), before.landed().len() + 1);
    assert!(night.task(&id("a")).unwrap().decidable().is_none(), "a no is a no");
    // The pull request tells it, once more.
    let last = journal.iter().rev().find(|entry| matches!(entry.event, Event::Published { .. }));
    assert!(last.unwrap().seq > journal.len() as u64 - 3);
}

#[test]
fn a_night_that_was_cut_off_is_cut_off_still_after_a_decision() {
    let (mut journal, mut world) = of_opening(opening(1, 2));
    world.asks = vec!["a"];
    // Until `a` is held and the next task has begun.
    let held = |journal: &[Entry]| matches!(stage(&replayed(journal), "a"), Stage::Held(_));
    let cut = (0..9)
        .find(|step| {
            let (mut journal, mut world) = (journal.clone(), world.clone());
            run(&mut journal, &mut world, 1, Some((*step, Cut::BeforeDeed))).is_err()
                && held(&journal)
        })
        .unwrap();
    assert!(run(&mut journal, &mut world, 1, Some((cut, Cut::BeforeDeed))).is_err());
    assert!(!replayed(&journal).in_flight().is_empty());
    decide(&mut journal, &world, &[("a", true)], usize::MAX).ok().unwrap();
    let Ok((night, _)) = run(&mut journal, &mut world, 1, None) else { panic!() };
    assert_eq!(night.landed().len(), 1);
    never_an_agent(&journal);
    let night = end(&mut journal, &world);
    assert_eq!((night.ended(), night.stop()), (None, None), "`resume` goes on with it");
    restart(&mut journal, &world);
    let Ok((night, _)) = run(&mut journal, &mut world, 1, None) else { panic!() };
    assert!(matches!(stage(&night, "b"), Stage::Landed(_)));
}

#[test]
fn no_decision_is_taken_out_of_turn() {
    let (journal, mut world) = ended(1, 1);
    let night = replayed(&journal);
    let why =
        |night: &Night, event: Event| night.clone().apply(at(900_000), event).unwrap_err().why;
    for approved in [true, false] {
        for task in ["b", "c"] {
            assert_eq!(why(&night, decided(&night, task, approved)), "nothing is held", "{task}");
        }
        let mut other = decided(&night, "a", approved);
        let Event::Decided { attempt, .. } = &mut other else { panic!() };
        attempt.number += 1;
        assert_eq!(why(&night, other.clone()), "another attempt is held");
        let Event::Decided { attempt, .. } = &mut other else { panic!() };
        attempt.task = id("nobody");
        assert_eq!(why(&night, other), "no such task");
    }
    // A held result lands by nobody's order.
    let Stage::Held(held) = stage(&night, "a") else { panic!() };
    let attempt = AttemptId { task: id("a"), number: 1 };
    let (from, to, tree) = (held.base.clone(), held.commit.clone(), held.tree.clone());
    let land = Event::Began(Command::Land { attempt: attempt.clone(), from, to, tree });
    let mut open = night.clone();
    open.apply(at(900_000), Event::Restarted { charges: Vec::new() }).unwrap();
    assert_eq!(why(&open, land), "landed without a passing gate");
    let restack = Command::Restack { attempt, candidate: held, onto: open.tip().clone() };
    assert_eq!(why(&open, Event::Began(restack)), "nothing to restack");
    // Twice, and by an agent's way.
    open.apply(at(900_000), Event::StopAsked { reason: StopReason::OnlyLanding }).unwrap();
    let approve = decided(&open, "a", true);
    open.apply(at(900_000), approve.clone()).unwrap();
    assert_eq!(why(&open, approve), "it is approved already");
    let due = open.due(at(900_001));
    assert!(matches!(due[..], [Command::Restack { .. }]), "{due:?}");
    // What was approved and is on its way can still be taken back.
    let mut back = open.clone();
    back.apply(at(900_001), decided(&open, "a", false)).unwrap();
    assert!(back.task(&id("a")).unwrap().failed().is_some());
    // Once the branch may have moved, nobody decides any more.
    while !matches!(stage(&open, "a"), Stage::Landing(_)) {
        let order = open.due(at(900_002)).remove(0);
        open.apply(at(900_002), Event::Began(order.clone())).unwrap();
        if !matches!(order, Command::Land { .. }) {
            let ended = world.carry_out(&open, &order);
            open.apply(at(900_002), ended).unwrap();
        }
    }
    assert_eq!(why(&open, decided(&open, "a", false)), "nothing is held");
}

#[test]
fn what_a_rule_refuses_is_freed_by_nobody() {
    let (journal, world) = ended(1, 1);
    // A journal that says so: no rule of ours lets such a diff come so far.
    let journal: Vec<Entry> = journal
        .into_iter()
        .map(|mut entry| {
            if let Event::AgentEnded { inspection, .. } = &mut entry.event {
                for finding in &mut inspection.findings {
                    finding.verdict = Verdict::Refuse;
                }
            }
            entry
        })
        .collect();
    let mut night = replayed(&journal);
    let refused = night.apply(at(900_000), decided(&night.clone(), "a", true)).unwrap_err();
    assert_eq!(refused.why, "no approval frees what a rule refuses");
    assert_eq!(&world.branch, night.tip());
}

#[test]
fn a_score_below_what_the_risk_asks_for_is_held_with_both_numbers() {
    let mut opening = opening(1, 2);
    opening.policy.risk.low.proof = Some(90);
    let (journal, mut world) = of_opening(opening);
    let mut night = replayed(&journal);
    loop {
        let order = night.due(at(1)).remove(0);
        night.apply(at(1), Event::Began(order.clone())).unwrap();
        let mut ended = world.carry_out(&night, &order);
        if let Event::GateEnded { attempt, report, findings, .. } = &mut ended {
            report.score = 75;
            *findings = nightshift::night::of_gate(&night, attempt, report);
        }
        let gated = matches!(ended, Event::GateEnded { .. });
        night.apply(at(1), ended).unwrap();
        if gated {
            break;
        }
    }
    let state = night.task(&id("a")).unwrap();
    assert!(state.held().is_some(), "{:?}", state.stage);
    let [said] = state.last().unwrap().objections()[..] else { panic!("{:?}", state.last()) };
    assert_eq!((&*said.rule, &*said.value, &*said.limit), ("gate.proof", "75", "at least 90"));
    // It keeps no slot, and the next task starts.
    let next = night.due(at(2));
    assert!(matches!(&next[..], [Command::RunAgent { attempt, .. }] if attempt.task == id("b")));
}

#[test]
fn what_needs_a_held_result_waits_and_the_night_goes_on() {
    let mut opening = opening(1, 2);
    let source = "## Ready\n\n- **[a]** Improve part a\n- **[b]** Improve part b\n  - Depends on: a\n\
                  - **[d]** Improve part d\n";
    let (plan, _) = parse(source, &SectionWords::default());
    let rules = RuleSet::new(&opening.policy).unwrap();
    let admissions = admit_plan(&rules, &opening.limits, &plan.tasks, &[].into());
    opening.tasks = admissions.iter().filter_map(|a| a.admitted().cloned()).collect();
    assert_eq!(opening.tasks.len(), 3);
    let (mut journal, mut world) = of_opening(opening);
    world.asks = vec!["a"];
    world.faults.clear();
    let Ok((night, _)) = run(&mut journal, &mut world, 1, None) else { panic!() };
    assert!(matches!(stage(&night, "d"), Stage::Landed(_)));
    let why = night.why_not_started(&id("b"), night.last_fact());
    assert_eq!(why, Some(nightshift::night::NotStarted::Needs(id("a"))));
    let screen = nightshift::report::Screen::default();
    let told = nightshift::report::summary(&night, night.last_fact(), false, &screen);
    assert!(told.contains("needs a, which waits for your decision"), "{told}");
    let text = nightshift::report::pull_request(&night);
    assert!(text.draft && text.body.contains("1 task is finished and held"), "{}", text.body);
    assert!(text.body.contains("nightshift approve 2026-11-21/a"), "{}", text.body);
    end(&mut journal, &world);
    decide(&mut journal, &world, &[("a", true)], usize::MAX).ok().unwrap();
    let Ok((night, _)) = run(&mut journal, &mut world, 1, None) else { panic!() };
    let text = nightshift::report::pull_request(&night);
    assert!(!text.draft && !text.body.contains("stopped early"), "{}", text.body);
    assert!(text.body.contains("approved by a person | a by ada; had asked"), "{}", text.body);
}

#[test]
fn an_agent_starts_in_no_hour_of_a_decision() {
    let (mut journal, mut world) = of_opening(opening(1, 2));
    world.asks = vec!["a"];
    assert!(run(&mut journal, &mut world, 1, Some((4, Cut::BeforeOrder))).is_err());
    let mut night = replayed(&journal);
    let due = night.due(at(journal.len()));
    let order = due.into_iter().find(|order| matches!(order, Command::RunAgent { .. })).unwrap();
    night.apply(at(1_000), Event::StopAsked { reason: StopReason::OnlyLanding }).unwrap();
    let refused = night.apply(at(1_000), Event::Began(order)).unwrap_err();
    assert_eq!(refused.why, "only what was approved lands");
}
