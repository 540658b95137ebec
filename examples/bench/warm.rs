//! A gate that builds: ten crates without dependencies, compiled from nothing, again in place after an edit of one
//! file, and by nightshift's gate over what the base's own gate left, after the same edit.

use std::{fs, process::Command, time::Duration};

use nightshift::outcome::GateReport;

use crate::{
    ms,
    night::{Kind, PHASES, Person, environment},
    place::Place,
    report::{Bound, Case, Report},
    repository::{self, EDIT_CRATE, Files},
    timed,
};

pub(crate) const PART: &str = "warm gate";
const COLD: &str = "cargo, from nothing";
const IN_PLACE: &str = "cargo, in place after an edit";
const AROUND: &str = ": around it";
const BUILD: &str = "cargo test --no-run --offline --workspace -q";
/// Enough for the compiler to need about a second for each crate.
const FUNCTIONS: usize = 400;

/// Measures both kinds of workspace beside both builds.
pub(crate) fn measure(place: &Place, rounds: usize, report: &mut Report) {
    eprintln!("warm gate");
    let in_place = place.path("crates");
    repository::make(&in_place, crates(), BUILD);
    let people = Person::who_can(place, "crates", &in_place, EDIT_CRATE, report);
    let home = place.path("home-crates");
    fs::create_dir_all(&home).unwrap();
    let build = |report: &mut Report, case: &str| {
        let mut cargo = environment(Command::new("sh"), &home);
        let (status, time) =
            timed(|| cargo.args(["-c", BUILD]).current_dir(&in_place).status().unwrap());
        assert!(status.success());
        report.time(PART, case, 0, time);
    };
    for round in 0..rounds {
        eprintln!("  round {} of {rounds}", round + 1);
        let _ = fs::remove_dir_all(in_place.join("target"));
        build(report, COLD);
        repository::edit_crate(&in_place);
        build(report, IN_PLACE);
        for person in &people {
            let night = person.night(1).unwrap();
            let steps = night.gates().flat_map(|gate: &GateReport| &gate.steps);
            let step = ms(steps.map(|step| Duration::from_millis(step.millis)).sum());
            report.time(PART, &gate_of(person.kind()), 0, step);
            let gate = PHASES.iter().position(|phase| *phase == "gate").unwrap();
            let whole: f64 = night.phases()[gate].iter().sum();
            report.time(PART, &format!("{}{AROUND}", gate_of(person.kind())), 0, whole - step);
        }
    }
    report.note(
        "\"around it\" is the lay-out, with what a pool copies of the cache, the walls, and the clearing away"
            .to_owned(),
    );
    for person in people {
        let kind = person.kind().name();
        let gate = report.median(PART, &gate_of(person.kind()), 0).unwrap();
        for (case, limit) in [(IN_PLACE, 1.1), (COLD, 0.15)] {
            let beside = report.median(PART, case, 0).unwrap();
            report.goal(format!("gate, {kind} / {case}"), gate / beside, limit, Bound::Checked);
        }
        let megabytes = person.cache_bytes() / 1_000_000;
        report.note(format!("the base's cache for {kind} has {megabytes} MB"));
        person.leave(report);
    }
}

/// What is drawn of a case: a name and milliseconds.
pub(crate) fn shown(case: &Case) -> Option<(&str, f64)> {
    let drawn = !case.case.ends_with(AROUND);
    drawn.then(|| (case.case.as_str(), case.median()))
}

fn gate_of(kind: Kind) -> String {
    format!("nightshift's gate, {}", kind.name())
}

/// Ten crates: all build on the first, the last on all.
fn crates() -> Files {
    const LAST: usize = 9;
    let below = |number: usize| match number {
        0 => 0..0,
        LAST => 0..LAST,
        _ => 0..1,
    };
    let mut files = vec![(
        "Cargo.toml".to_owned(),
        "[workspace]\nmembers = [\"crates/*\"]\nresolver = \"3\"\n".to_owned(),
    )];
    let mut lock = "version = 4\n".to_owned();
    for number in 0..=LAST {
        let needs: String =
            joined(below(number).map(|n| format!("c{n} = {{ path = \"../c{n}\" }}\n")));
        let manifest = format!(
            "[package]\nname = \"c{number}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
             [dependencies]\n{needs}"
        );
        files.push((format!("crates/c{number}/Cargo.toml"), manifest));
        files.push((format!("crates/c{number}/src/lib.rs"), source(number, below(number))));
        lock += &format!("\n[[package]]\nname = \"c{number}\"\nversion = \"0.1.0\"\n");
        if number > 0 {
            let needs: String = joined(below(number).map(|n| format!(" \"c{n}\",\n")));
            lock += &format!("dependencies = [\n{needs}]\n");
        }
    }
    files.push(("Cargo.lock".to_owned(), lock));
    files
}

fn joined(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().concat()
}

fn source(number: usize, below: std::ops::Range<usize>) -> String {
    let mut text = String::from("use std::collections::BTreeMap;\n\n");
    for function in 0..FUNCTIONS {
        text += &format!(
            "pub fn f{function}(words: &[&str]) -> BTreeMap<String, Vec<usize>> {{\n    let mut found = \
             BTreeMap::new();\n    for (at, word) in words.iter().enumerate() {{\n        \
             found.entry(format!(\"{number} {function} {{word}}\")).or_insert_with(Vec::new).push(at);\n    \
             }}\n    found\n}}\n\n#[test]\nfn t{function}() {{\n    \
             assert_eq!(f{function}(&[\"a\", \"b\"]).len(), 2);\n}}\n\n"
        );
    }
    for other in below {
        text += &format!(
            "pub fn from{other}() -> usize {{\n    c{other}::f0(&[\"x\"]).len() + \
             c{other}::f1(&[]).len()\n}}\n\n"
        );
    }
    text
}
