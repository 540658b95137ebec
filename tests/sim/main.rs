//! Whole nights by the thousand, each decided by its seed: the real fold, orders, verdicts and journal entries in a
//! pretended world with a clock of its own, in which everything goes wrong that can. A seed that breaks a promise
//! prints itself and the shortest schedule of faults that still does. See CONTRIBUTING.md for how to run more.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed, and tests stand outside the doors"
)]

mod deeds;
mod disk;
mod fault;
mod life;
mod process;
mod promises;
mod random;
mod scenario;
mod world;

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::{fault::Kind, life::Lived, process::Sabotage, scenario::Scenario};

/// Nights where nobody says more.
const SEEDS: u64 = 10_000;

/// A number from the environment: `NIGHTSHIFT_SIM_` and this word.
fn wished(word: &str) -> Option<u64> {
    let name = format!("NIGHTSHIFT_SIM_{word}");
    let text = std::env::var(&name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: `{text}` is no whole number")))
}

/// What many nights had in them.
#[derive(Default)]
struct Sum {
    nights: u64,
    processes: u64,
    entries: u64,
    landed: u64,
    fired: BTreeMap<Kind, u64>,
}

impl Sum {
    fn add(&mut self, lived: &Lived) {
        self.nights += 1;
        self.processes += lived.processes;
        self.entries += lived.entries;
        self.landed += lived.landed;
        for kind in &lived.fired {
            *self.fired.entry(*kind).or_default() += 1;
        }
    }
}

/// Lives every seed, on all cores. `Err` has the smallest seed that broke a promise, and which.
fn live_all(seeds: u64, sabotage: Option<Sabotage>) -> Result<Sum, (u64, String)> {
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Sum::default()));
    let broken: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let work = || {
        while broken.lock().unwrap().is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                break;
            }
            match life::live(&Scenario::of(seed), false, sabotage) {
                Ok(lived) => sum.lock().unwrap().add(&lived),
                Err(why) => {
                    let mut broken = broken.lock().unwrap();
                    if broken.as_ref().is_none_or(|(known, _)| seed < *known) {
                        *broken = Some((seed, why.what));
                    }
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    match broken.into_inner().unwrap() {
        Some(found) => Err(found),
        None => Ok(sum.into_inner().unwrap()),
    }
}

/// Leaves out one fault after the other as long as a promise is still broken.
fn shortened(mut scenario: Scenario) -> Scenario {
    let mut at = 0;
    while at < scenario.faults.len() {
        let mut less = scenario.clone();
        less.faults.remove(at);
        if life::live(&less, false, None).is_err() {
            (scenario, at) = (less, 0);
        } else {
            at += 1;
        }
    }
    scenario
}

/// A seed that broke a promise: its shortest schedule, what happened in it, and the promise.
fn told(seed: u64) -> Option<String> {
    let scenario = Scenario::of(seed);
    life::live(&scenario, false, None).err()?;
    let scenario = shortened(scenario);
    let broken = life::live(&scenario, true, None).err()?;
    let faults: Vec<String> = scenario.faults.iter().map(|fault| format!("  {fault}")).collect();
    let limits = &scenario.opening.limits;
    Some(format!(
        "NIGHTSHIFT_SIM_SEED={seed}\n{limits:?}\n{}\nfaults:\n{}\n{}",
        broken.told.join("\n"),
        faults.join("\n"),
        broken.what
    ))
}

#[test]
fn every_promise_holds_in_every_night() {
    if let Some(seed) = wished("SEED") {
        match told(seed) {
            Some(told) => panic!("{told}"),
            None => {
                let lived = life::live(&Scenario::of(seed), true, None);
                let told = lived.map_or_else(|broken| broken.told, |lived| lived.told);
                let _ = writeln!(std::io::stderr(), "{}", told.join("\n"));
                return;
            }
        }
    }
    let seeds = wished("SEEDS").unwrap_or(SEEDS);
    let begun = Instant::now();
    let sum = live_all(seeds, None).unwrap_or_else(|(seed, what)| {
        panic!("{}", told(seed).unwrap_or_else(|| format!("seed {seed}, once: {what}")))
    });
    let _ = writeln!(
        std::io::stderr(),
        "sim: {} nights in {:.1} s: {} processes, {} facts, {} landings, {} kinds of fault",
        sum.nights,
        begun.elapsed().as_secs_f64(),
        sum.processes,
        sum.entries,
        sum.landed,
        sum.fired.len()
    );
    if seeds >= SEEDS {
        assert!(sum.landed > seeds, "most nights land something: {}", sum.landed);
        for kind in Kind::ALL {
            let times = sum.fired.get(kind).copied().unwrap_or(0);
            assert!(times >= seeds / 1_000, "{kind:?} struck {times} times");
        }
    }
}

#[test]
fn a_schedule_is_the_seeds_alone() {
    for seed in [1, 77, 4_711] {
        let twice =
            [(); 2].map(|()| life::live(&Scenario::of(seed), true, None).map(|one| one.told));
        let [one, other] = twice.map(|told| told.map_err(|broken| broken.what));
        assert_eq!(one, other);
        assert!(one.unwrap().len() > 5);
    }
}

#[test]
fn a_runner_that_does_it_wrong_is_found() {
    for (sabotage, told) in [
        (Sabotage::DeedsFirst, "nobody knows it"),
        (Sabotage::ForgottenCharges, "is on record"),
        (Sabotage::NoRestart, ""),
        (Sabotage::ForgottenLanding, ""),
        (Sabotage::NoWaiting, "nothing is waited for"),
    ] {
        let Err((seed, what)) = live_all(2_000, Some(sabotage)) else {
            panic!("{sabotage:?} was not found");
        };
        assert!(what.contains(told), "{sabotage:?}, seed {seed}: {what}");
    }
}
