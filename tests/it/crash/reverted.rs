//! A landed result that a person takes back, cut off at every moment on the way.

use nightshift::outcome::StopReason;

use super::*;

fn id(task: &str) -> TaskId {
    TaskId::new(task).unwrap()
}

fn replayed(journal: &[Entry]) -> Night {
    Night::replay(journal.iter().cloned()).unwrap()
}

fn push(journal: &mut Vec<Entry>, world: &World, event: Event) -> Result<(), &'static str> {
    let entry = entry(journal, world, event);
    let line = serde_json::to_string(&entry).unwrap();
    assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry);
    replayed(journal).apply(entry.at, entry.event.clone()).map_err(|illegal| illegal.why)?;
    journal.push(entry);
    Ok(())
}

fn fact(night: &Night, task: &str) -> Event {
    let number = night.task(&id(task)).unwrap().last().map_or(1, |last| last.number);
    let attempt = AttemptId { task: id(task), number };
    Event::Reverted { attempt, reason: Some("it is slow".into()), by: "ada".into() }
}

/// What the program writes down before it carries a revert out; cut after so many facts.
fn revert(
    journal: &mut Vec<Entry>,
    world: &World,
    tasks: &[&str],
    cut: usize,
) -> Result<(), Crashed> {
    let mut facts = vec![Event::StopAsked { reason: StopReason::OnlyLanding }];
    for task in tasks {
        // Said before, and cut off.
        if replayed(journal).on_branch(&id(task)).is_some() {
            facts.push(fact(&replayed(journal), task));
        }
    }
    for (at, fact) in facts.into_iter().enumerate() {
        if at == cut {
            return Err(Crashed);
        }
        push(journal, world, fact).unwrap();
    }
    restart(journal, world);
    Ok(())
}

/// A night whose four tasks all landed, with the branch's order.
fn ended(parallel: u32, seed: u64) -> (Vec<Entry>, World, Vec<String>) {
    let (mut journal, mut world) = of_opening(opening(parallel, 2));
    world.faults.clear();
    let Ok((night, _)) = run(&mut journal, &mut world, seed, None) else { panic!() };
    let order: Vec<String> = night.landed().iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(order.len(), TASKS.len());
    push(&mut journal, &world, Event::Ended { reason: None, exit: 0 }).unwrap();
    (journal, world, order)
}

#[test]
fn what_is_reverted_is_gone_once_and_all_the_rest_is_there_wherever_the_program_was_cut() {
    let mut cuts = 0;
    for parallel in 1..=3 {
        let (whole, world_then, order) = ended(parallel, u64::from(parallel));
        for gone in [vec![0], vec![1], vec![3], vec![2, 0], vec![3, 2, 1, 0]] {
            let tasks: Vec<&str> = gone.iter().map(|at| order[*at].as_str()).collect();
            let facts = tasks.len() + 1;
            let at_facts = (0..=facts).map(|cut| (cut, None));
            let at_steps = (0..12).flat_map(|step| CUTS.map(|cut| (usize::MAX, Some((step, cut)))));
            for (cut_fact, step) in at_facts.chain(at_steps) {
                for again in [false, true] {
                    let (mut journal, mut world) = (whole.clone(), world_then.clone());
                    let mut cut = revert(&mut journal, &world, &tasks, cut_fact).is_err();
                    let said = if cut { cut_fact.saturating_sub(1) } else { tasks.len() };
                    if !cut {
                        cut = run(&mut journal, &mut world, 5, step).is_err();
                    }
                    let mut left = said;
                    if cut && (again || cut_fact == 0) {
                        revert(&mut journal, &world, &tasks, usize::MAX).ok().unwrap();
                        left = tasks.len();
                    } else if cut {
                        restart(&mut journal, &world);
                    }
                    let Ok((night, _)) = run(&mut journal, &mut world, 9, None) else { panic!() };
                    let stays: Vec<&String> = order
                        .iter()
                        .filter(|task| !tasks[..left].contains(&task.as_str()))
                        .collect();
                    let landed = night.landed();
                    let names: Vec<String> = landed.iter().map(|(id, _)| id.to_string()).collect();
                    assert_eq!(
                        names.iter().collect::<Vec<_>>(),
                        stays,
                        "{cut_fact} {step:?} {again}"
                    );
                    assert_eq!(&world.branch, night.tip());
                    let base = &night.opening().base.commit;
                    let chain = world.chain(&world.branch);
                    assert_eq!(chain.len(), landed.len() + 1);
                    assert_eq!(chain.last(), Some(base));
                    for (_, candidate) in landed {
                        assert!(world.gated.contains(&candidate.tree), "gated at its own tree");
                    }
                    assert_eq!(world.pull_requests, 1);
                    assert!(!night.is_rebuilding());
                    let agents = |entry: &&Entry| {
                        matches!(&entry.event, Event::Began(Command::RunAgent { .. }))
                    };
                    assert_eq!(journal.iter().filter(agents).count(), TASKS.len());
                    push(&mut journal, &world, Event::Ended { reason: None, exit: 0 }).unwrap();
                    let night = replayed(&journal);
                    assert!(night.stop().is_none() && !night.only_lands());
                    cuts += usize::from(cut);
                }
            }
        }
    }
    assert!(cuts > 400, "{cuts}");
}

#[test]
fn what_does_not_fit_without_it_has_failed_and_the_next_is_built_without_both() {
    let (mut journal, mut world, order) = ended(1, 1);
    world.stuck = vec!["b"];
    assert_eq!(order[1], "b");
    revert(&mut journal, &world, &["a"], usize::MAX).ok().unwrap();
    let Ok((night, _)) = run(&mut journal, &mut world, 1, None) else { panic!() };
    let names: Vec<String> = night.landed().iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(names, ["c", "d"]);
    let failure = |task: &str| night.task(&id(task)).unwrap().failed().unwrap().failure.clone();
    assert!(matches!(failure("b"), Failure::Conflict { .. }), "{:?}", failure("b"));
    assert!(matches!(failure("a"), Failure::Reverted { .. }), "{:?}", failure("a"));
    assert!(night.stop_reason(at(900_000)) == Some(StopReason::OnlyLanding));
}

#[test]
fn nothing_is_reverted_out_of_turn() {
    let (mut journal, world, _) = ended(1, 1);
    let refused = |journal: &[Entry], event: Event| push(&mut journal.to_vec(), &world, event);
    let night = replayed(&journal);
    let word = fact(&night, "b");
    assert_eq!(refused(&journal, word.clone()), Err("nothing is reverted while the night goes on"));
    push(&mut journal, &world, Event::StopAsked { reason: StopReason::OnlyLanding }).unwrap();
    let other = AttemptId { task: id("b"), number: 9 };
    let strange = Event::Reverted { attempt: other, reason: None, by: "ada".into() };
    assert_eq!(refused(&journal, strange), Err("another attempt is on the branch"));
    push(&mut journal, &world, word.clone()).unwrap();
    assert_eq!(refused(&journal, word), Err("it is not on the branch"));
    restart(&mut journal, &world);
    let night = replayed(&journal);
    // Until the branch is back nothing else is due.
    let due = night.due(at(900_000));
    let [Command::Rewind { from, to }] = due.as_slice() else { panic!("{due:?}") };
    assert_eq!(to, night.tip());
    let wrong = Command::Rewind { from: from.clone(), to: from.clone() };
    let why = refused(&journal, Event::Began(wrong));
    assert_eq!(why, Err("the branch has no reason to go back"));
    let early = Event::Rewound { to: to.clone() };
    assert_eq!(refused(&journal, early), Err("not where the branch was to go"));
}
