//! What a hostile program tries, and what it comes to.
//!
//! Every attack is tried without walls too, where it must succeed: an attack that never works proves nothing.
//! What does not hold has a name and a reason, and both stand in `docs/adversary.md`, which is made of the
//! same lists.

mod attack;
mod nights;
mod scene;
mod walls;

use std::{
    any::Any,
    collections::VecDeque,
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
    sync::Mutex,
    thread,
};

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

/// The tiers that nights are tried in: without walls, where a night's own rules must hold alone, and in the best
/// that the machine has.
const TIERS: [&str; 2] = ["off", "auto"];

/// What a failed assertion said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

#[test]
fn plain_git_runs_what_is_planted() {
    let rows = for_all(nights::ATTACKS.to_vec(), |attack| {
        let result = nights::control(&attack)?;
        let (result, wrong) = match result {
            Ok(()) => ("comes through: plain git runs it".to_owned(), false),
            Err(text) => (format!("NOT AS EXPECTED: plain git does not run it\n{text}"), true),
        };
        Some(Row { attack: attack.to_string(), place: "without", result, wrong })
    });
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    assert!(rows.len() > 15);
    tell(&rows);
}

#[test]
fn nights_land_what_is_honest_and_nothing_else() {
    let only = std::env::var("NIGHTSHIFT_TEST_ATTACK").unwrap_or_default();
    let mut tries = Vec::new();
    for attack in nights::ATTACKS.iter().filter(|attack| attack.to_string().contains(&only)) {
        tries.extend(TIERS.map(|tier| (*attack, tier)));
    }
    tell(&for_all(tries, |(attack, tier)| {
        let result = catch_unwind(AssertUnwindSafe(|| nights::night(&attack, tier)));
        let (result, wrong) = match result {
            Ok(()) => ("held".to_owned(), false),
            Err(panic) => (format!("NOT AS EXPECTED: {}", words(&*panic)), true),
        };
        Row { attack: attack.to_string(), place: tier, result, wrong }
    }));
}

#[test]
fn the_gaps_of_a_tier_are_those_that_reports_name() {
    for attack in walls::attacks() {
        let everywhere = |gap: &&Gap| matches!(gap.when, When::Always | When::NotRoot);
        for gap in attack.gaps.iter().filter(everywhere) {
            assert!(gap.tier.gaps().contains(&gap.words), "{attack}: {}", gap.words);
        }
    }
}

#[test]
fn what_is_said_to_be_tried_elsewhere_is() {
    for (attack, file, test) in nights::ELSEWHERE {
        let text = crate::tidy::read(file);
        assert!(text.contains(&format!("fn {test}")), "{attack}: no test `{test}` in {file}");
    }
}

#[test]
fn the_page_about_attacks_is_made_of_these_lists() {
    let page = page();
    if std::env::var("NIGHTSHIFT_WRITE_DOCS").is_ok_and(|value| value == "1") {
        std::fs::write(crate::tidy::root().join(PAGE), &page).unwrap();
    }
    let how = "NIGHTSHIFT_WRITE_DOCS=1 cargo test --test it -- adversary::the_page";
    assert!(crate::tidy::read(PAGE) == page, "{PAGE} is old; this writes it: {how}");
}

const PAGE: &str = "docs/adversary.md";
const HEAD: &str = "\
# What a hostile agent tries

Made from the lists in `tests/adversary/`; not edited by hand. `cargo test --test it -- adversary --nocapture`
tries all of it on this machine and prints what came of each.

## Walls

Each attack runs behind the walls of tier T2 (namespaces), behind those of tier T1 (Landlock and a filter of
system calls alone), and without walls. **Without walls it must come through**, or the test fails: an attack
that never works proves nothing. What it is let loose on (home, programs, sockets, servers) is the test's own.

To come through without walls, some need the user root (*root*), or something that not every machine has
(*machine*); where that is missing, only the walls are tried. \"held, but\" says for whom it does not hold.

| attack | T2 | T1 | comes through without |
|---|---|---|---|
";
const NIGHTS: &str = "
## Nights

Each of these is an agent in a whole night: real program, real git, real gate. Nothing that it plants may run,
neither in the night nor when the person looks at the branch and merges it the morning after; the person's
checkout stays as it was to the last byte. Plain git is let loose on the same plants, and runs them.

| attack | what comes of it | plain git |
|---|---|---|
";
const OTHERS: &str = "
## Tried elsewhere

| attack | where |
|---|---|
";
const OPEN: &str = "
## Open

| attack | what it comes to |
|---|---|
";

/// The page, from the same lists as the tests.
fn page() -> String {
    let mut page = HEAD.to_owned();
    for attack in walls::attacks() {
        let [t2, t1] = [Tier::T2, Tier::T1].map(|tier| {
            let gap = attack.gaps.iter().find(|gap| gap.tier == tier);
            gap.map_or("held".to_owned(), |gap| match gap.when {
                When::Always => format!("**gap**: {}", gap.words),
                When::NotRoot => format!("held, but not as root: {}", gap.words),
                When::WithoutScopes => format!("held, but before Linux 6.12: {}", gap.words),
            })
        });
        let control = match attack.needs {
            Needs::Nothing => "yes",
            Needs::Root => "root",
            Needs::Luck => "machine",
        };
        let _ = writeln!(page, "| {attack} | {t2} | {t1} | {control} |");
    }
    page.push_str(NIGHTS);
    for attack in nights::ATTACKS {
        let result = match attack.expect {
            nights::Expect::Lands => "no effect".to_owned(),
            nights::Expect::Refused(words) => format!("refused: {words}"),
            nights::Expect::Told(words) => format!("the pull request warns: {words}"),
        };
        let control = if attack.planted() { "runs it" } else { "" };
        let _ = writeln!(page, "| {attack} | {result} | {control} |");
    }
    page.push_str(OTHERS);
    for (attack, file, _) in nights::ELSEWHERE {
        let _ = writeln!(page, "| {attack} | [{file}](../{file}) |");
    }
    page.push_str(OPEN);
    for (attack, result) in nights::OPEN {
        let _ = writeln!(page, "| {attack} | {result} |");
    }
    page
}
