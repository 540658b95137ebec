//! What a hostile program tries, and what it comes to.
//!
//! Every attack is tried without walls too, where it must succeed: an attack that never works proves nothing.
//! What does not hold has a name and a reason, and both stand in `docs/adversary.md`, which is made of the
//! same lists.

mod attack;
mod scene;
mod walls;

use std::{collections::VecDeque, fmt::Write as _, process::Command, sync::Mutex, thread};

use attack::{Attack, Gap, Needs, When};
use nightshift::sandbox::{Tier, linux::landlock};
use scene::Scene;

use crate::support::kernel;

/// What one attack came to in one place.
struct Row {
    attack: String,
    place: &'static str,
    result: String,
    wrong: bool,
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The gap that this machine has for an attack, if there is one.
fn gap(attack: &Attack, tier: Tier) -> Option<&Gap> {
    attack.gaps.iter().filter(|gap| gap.tier == tier).find(|gap| match gap.when {
        When::Always => true,
        When::Root => root(),
        When::NotRoot => !root(),
        When::WithoutScopes => !landlock::gaps().is_empty(),
    })
}

fn behind(attack: &Attack, tier: Tier) -> Row {
    let outcome = Scene::new().run(attack, Some(tier));
    let gap = gap(attack, tier);
    let (result, wrong) = match (outcome.harm.is_empty(), gap) {
        _ if outcome.broken.is_some() => (outcome.told(), true),
        (true, None) => ("held".to_owned(), false),
        (false, Some(gap)) => (format!("gap: {}", gap.words), false),
        (true, Some(gap)) => (format!("held, though `{}` is called a gap", gap.words), true),
        (false, None) => (outcome.told(), true),
    };
    Row { attack: attack.to_string(), place: tier.name(), result, wrong }
}

fn control(attack: &Attack) -> Row {
    let outcome = Scene::new().run_free(attack);
    let possible = match attack.needs {
        Needs::Nothing => true,
        Needs::Root => root(),
        Needs::Luck => false,
    };
    let (result, wrong) = match (outcome.harm.is_empty(), possible) {
        _ if outcome.broken.is_some() => (outcome.told(), true),
        (false, _) => (format!("comes through: {}", outcome.harm.join(", ")), false),
        (true, false) => ("not possible on this machine".to_owned(), false),
        (true, true) => (outcome.told(), true),
    };
    Row { attack: attack.to_string(), place: "without", result, wrong }
}

/// What can be tried here: the tiers that this kernel carries.
fn places() -> Vec<Option<Tier>> {
    let mut places = vec![None];
    if kernel::has_landlock() {
        places.push(Some(Tier::T1));
    }
    if kernel::has_namespaces() {
        places.push(Some(Tier::T2));
    }
    places
}

/// Does something for all, a few at a time: most attacks wait more than they work.
fn for_all<T: Send, R: Send>(all: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let queue: Mutex<VecDeque<(usize, T)>> = Mutex::new(all.into_iter().enumerate().collect());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().pop_front();
                    let Some((place, one)) = next else { return };
                    let result = work(one);
                    done.lock().unwrap().push((place, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Prints all rows, and fails when one of them is not as it should be.
#[expect(clippy::print_stdout, reason = "the table is what `--nocapture` is for")]
fn tell(rows: &[Row]) {
    let mut table = String::new();
    for row in rows {
        let _ = writeln!(table, "{:<70} {:<8} {}", row.attack, row.place, row.result);
    }
    println!("{table}");
    let wrong = rows
        .iter()
        .filter(|row| row.wrong)
        .map(|row| format!("{} ({}): {}", row.attack, row.place, row.result));
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn walls_hold_and_without_them_every_attack_comes_through() {
    let python = Command::new("python3").arg("--version").output().is_ok();
    if !python {
        kernel::missing("python3 is not there, in which many of the attacks are written");
    }
    let places = places();
    let mut tries = Vec::new();
    for attack in walls::attacks().into_iter().filter(|attack| python || !attack.uses_python()) {
        tries.extend(places.iter().map(|place| (attack.clone(), *place)));
    }
    let only = std::env::var("NIGHTSHIFT_TEST_ATTACK").unwrap_or_default();
    tries.retain(|(attack, _)| attack.to_string().contains(&only));
    tell(&for_all(tries, |(attack, place)| match place {
        Some(tier) => behind(&attack, tier),
        None => control(&attack),
    }));
}
