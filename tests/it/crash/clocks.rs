//! Clocks that are set while a night runs, a machine that sleeps, money and tokens among tasks that run together.

use jiff::SignedDuration;
use nightshift::{night::Gap, outcome::StopReason};

use super::*;

/// What came of a night, without its times.
type End = Vec<(String, std::mem::Discriminant<Stage>, usize)>;

/// Runs a night in which the clock is set by `jump` before the `step`th look, and tells how long it took by a clock
/// that nobody sets.
fn end_of(parallel: u32, seed: u64, jump: impl Fn(usize) -> i64) -> (Night, World, i64) {
    let (journal, mut world) = night(parallel);
    let mut night = Night::replay(journal).unwrap();
    let (mut random, mut took, mut set, mut looks) = (seed | 1, 0_i64, 0_i64, 0);
    let mut running: Vec<Command> = Vec::new();
    let time = |took: i64, set: i64| at(0) + SignedDuration::from_secs(took + set);
    loop {
        looks += 1;
        let by = jump(looks);
        if by != 0 {
            set += by;
            let gap = Gap { clock_s: by, ..Gap::default() };
            night.apply(time(took, set), Event::TimePassed(gap)).unwrap();
        }
        let now = time(took, set);
        for command in night.due(now) {
            night.apply(now, Event::Began(command.clone())).unwrap();
            running.push(command);
        }
        took += 1;
        if running.is_empty() {
            let Some(wake) = night.wake_at(now) else { return (night, world, took) };
            took += wake.duration_since(now).as_secs();
            continue;
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let picked = usize::try_from(random % running.len() as u64).unwrap();
        let command = running.remove(picked);
        let event = world.carry_out(&night, &command);
        night.apply(time(took, set), event).unwrap();
    }
}

fn end(night: &Night) -> End {
    let of = |(id, task): (&TaskId, &nightshift::night::TaskState)| {
        (id.to_string(), std::mem::discriminant(&task.stage), task.attempts.len())
    };
    night.tasks().map(of).collect()
}

#[test]
fn a_clock_that_is_set_by_an_hour_at_any_moment_changes_nothing_but_the_times() {
    for parallel in 1..=3 {
        for seed in 1..3_u64 {
            let seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let (still, world, took) = end_of(parallel, seed, |_| 0);
            assert!(still.is_over(at(usize::try_from(took).unwrap())));
            for hour in [3_600, -3_600] {
                for moment in 1..30 {
                    let (night, then, longer) =
                        end_of(parallel, seed, |look| if look == moment { hour } else { 0 });
                    assert_eq!(end(&night), end(&still), "{hour} at look {moment}");
                    assert_eq!(then.moves, world.moves);
                    // Only the end of a limit that the service named is a time of day.
                    assert!((longer - took).abs() <= 4_700, "{longer} s instead of {took}");
                }
            }
            // To and fro, all night long.
            let (night, then, _) = end_of(parallel, seed, |look| match look % 4 {
                0 => 3_600,
                2 => -3_600,
                _ => 0,
            });
            assert_eq!(end(&night), end(&still));
            assert_eq!(then.moves, world.moves);
        }
    }
}

#[test]
fn the_nights_time_counts_sleep_and_not_a_clock_that_is_set() {
    let mut night = Night::open(opening(1, 3));
    let end = night.deadline();
    assert_eq!(end.duration_since(at(0)).as_secs(), 4 * 3_600);
    let gap = Gap { slept_s: 1_800, stopped_s: 600, clock_s: 0 };
    night.apply(at(2_400), Event::TimePassed(gap)).unwrap();
    assert_eq!(night.deadline(), end, "it slept, and the morning comes as early");
    for (clock_s, hours) in [(3_600, 1), (-7_200, -1), (3_600, 0)] {
        night.apply(at(0), Event::TimePassed(Gap { clock_s, ..Gap::default() })).unwrap();
        assert_eq!(night.deadline(), end + SignedDuration::from_hours(hours));
    }
    // A clock that is set beyond all measure is no reason to fall.
    for clock_s in [i64::MAX, i64::MIN] {
        let mut night = night.clone();
        night.apply(at(0), Event::TimePassed(Gap { clock_s, ..Gap::default() })).unwrap();
        let _ = (night.deadline(), night.due(at(0)), night.wake_at(at(0)));
    }
}

#[test]
fn hours_between_two_processes_are_nobodys_time() {
    let mut night = Night::open(opening(1, 3));
    let end = night.deadline();
    let over = || Event::Ended { reason: None, exit: 1 };
    let only = || Event::StopAsked { reason: StopReason::OnlyLanding };
    let again = || Event::Restarted { charges: Vec::new() };
    let told = [
        (10, over(), 10),
        // A decision of the next morning.
        (30_000, only(), 10),
        (30_001, again(), 10),
        (30_005, over(), 14),
        // One that was cut off, and one after it.
        (40_000, only(), 14),
        (40_003, Event::StopAsked { reason: StopReason::Time }, 17),
        (50_000, only(), 17),
        (50_000, again(), 17),
        (50_002, over(), 19),
        (60_000, again(), 19),
        (60_001, over(), 20),
    ];
    for (second, event, lasted) in told {
        night.apply(at(second), event).unwrap();
        assert_eq!(night.lasted(at(second)).as_secs(), lasted, "at {second}");
    }
    assert_eq!(night.lasted(at(99_999)).as_secs(), 20, "nobody is at it");
    assert_eq!(night.deadline(), end + SignedDuration::from_secs(60_001 - 20));
}

#[test]
fn what_is_held_back_for_a_command_is_nobodys_cost() {
    let spent = |command: Option<Vec<String>>| {
        let (journal, _) = night(1);
        let Event::Opened(opening) = &journal[0].event else { panic!("no opening") };
        let mut opening = (**opening).clone();
        opening.agent.command = command;
        let mut night = Night::open(opening);
        for entry in &journal[1..] {
            night.apply(entry.at, entry.event.clone()).unwrap();
        }
        for second in 1.. {
            let now = at(100 + second);
            let command = night.due(now).remove(0);
            night.apply(now, Event::Began(command.clone())).unwrap();
            match command {
                Command::CheckBase { commit, tree } => {
                    let report = report(&commit, &tree, true, None);
                    night.apply(now, Event::BaseChecked { report }).unwrap();
                }
                Command::RunAgent { budget, .. } => {
                    assert!(!budget.is_zero());
                    return night.spent();
                }
                other => panic!("{other:?}"),
            }
        }
        unreachable!("an agent is started")
    };
    assert!(spent(None).is_estimated());
    assert_eq!(spent(Some(vec!["a".to_owned()])), Spend::default());
}

/// A night that has begun; the first orders of agents, by their tasks.
fn first(change: impl FnOnce(&mut Opening)) -> Vec<String> {
    let mut opening = opening(3, 3);
    change(&mut opening);
    let mut night = Night::open(opening);
    let Some(check @ Command::CheckBase { commit, tree }) = &night.due(at(1)).pop() else {
        panic!("no check of the base")
    };
    night.apply(at(1), Event::Began(check.clone())).unwrap();
    let report = report(commit, tree, true, None);
    night.apply(at(2), Event::BaseChecked { report }).unwrap();
    let due = night.due(at(3));
    due.iter().filter_map(Command::attempt).map(|attempt| attempt.task.to_string()).collect()
}

#[test]
fn nobody_starts_with_too_little_while_others_hold_what_they_may_give_back() {
    let dollars = |dollars: u64| Usd::from_micros(dollars * 1_000_000);
    assert_eq!(first(|_| ()), ["a", "b", "c"], "three at once, 3 dollars for each of 10");
    assert_eq!(first(|opening| opening.limits.parallel = 2), ["a", "b"]);
    assert_eq!(first(|opening| opening.limits.cost = dollars(8)), ["a", "b"]);
    assert_eq!(first(|opening| opening.limits.cost = dollars(2)), ["a"], "and it has what is left");
    assert_eq!(first(|opening| opening.limits.cost = Usd::ZERO), ["a", "b", "c"]);
    // Tokens are given to one, who may use all of them.
    assert_eq!(first(|opening| opening.limits.tokens = 1_000_000), ["a"]);
}
