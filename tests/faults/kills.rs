//! Nights that are killed at every step of their journal, between the parts of their deeds, at random times and while
//! they recover. Afterwards the world is that of a night that nobody touched.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::ExitStatusExt as _,
    process::Command,
    sync::OnceLock,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    cases::{random, run, some},
    scene::{STORIES, Scene, Story, World, said},
};

/// A night that nobody touched.
pub(crate) struct Whole {
    pub(crate) world: World,
    pub(crate) code: i32,
    /// How often each seam was reached.
    pub(crate) seams: BTreeMap<String, u64>,
    took: Duration,
}

/// The uncut night of a story, made once.
pub(crate) fn whole(story: Story) -> &'static Whole {
    static WHOLE: [OnceLock<Whole>; STORIES.len()] = [const { OnceLock::new() }; STORIES.len()];
    WHOLE[story as usize].get_or_init(|| {
        let scene = Scene::new(story);
        let trace = scene.night.path("trace");
        let begun = Instant::now();
        let output = scene.subject().env("NIGHTSHIFT_FAULTS_TRACE", &trace).output().unwrap();
        let took = begun.elapsed();
        let mut seams = BTreeMap::new();
        for line in fs::read_to_string(&trace).unwrap().lines() {
            let name = line.split(' ').next().unwrap();
            *seams.entry(name.to_owned()).or_insert(0) += 1;
        }
        let code = output.status.code().unwrap();
        let wanted = i32::from(story == Story::Held);
        assert_eq!(code, wanted, "{story:?}: {}", said(&output));
        let world = scene.world();
        assert!(world.refs.iter().any(|line| line.starts_with("vault refs/nightshift/attempts")));
        assert_eq!(world.pulls.len(), usize::from(story == Story::Published));
        assert!(world.left.is_empty() && world.touched.is_empty(), "{world:#?}");
        Whole { world, code, seams, took }
    })
}

/// Seams of a story, each as often as it is reached: those of doors that are asked all the time are left out.
fn steps(story: Story) -> Vec<(Story, String, u64)> {
    let doors = ["files", "clock", "process.start"];
    let seams = whole(story).seams.iter().filter(|(name, _)| !doors.contains(&name.as_str()));
    let each = seams.flat_map(|(name, times)| (1..=*times).map(|nth| (story, name.clone(), nth)));
    each.collect()
}

/// What differs from the uncut night once it was gone on with.
fn after(scene: &Scene, story: Story) -> String {
    let (code, text) = scene.go_on();
    let whole = whole(story);
    let mut wrong = scene.world().against(&whole.world);
    if code != whole.code {
        wrong.push_str(&format!("  exit code {code} instead of {}\n", whole.code));
    }
    if wrong.is_empty() { wrong } else { format!("{wrong}{text}") }
}

fn faults(command: &mut Command, asked: &str) -> std::process::Output {
    command.env("NIGHTSHIFT_FAULTS", asked).output().unwrap()
}

/// CI runs each ninth; `NIGHTSHIFT_KILLS=all` runs all.
#[test]
fn killed_or_ended_at_any_step_a_night_goes_on_to_the_same_end() {
    let cases: Vec<_> = STORIES
        .into_iter()
        .flat_map(steps)
        .flat_map(|step| ["KILL", "TERM"].map(|signal| (signal, step.clone())))
        .collect();
    assert!(cases.len() > 500, "{} cases", cases.len());
    run(
        "kills at every step",
        &some(cases, 9),
        |(signal, (story, seam, nth))| format!("{story:?} {signal}@{seam}#{nth}"),
        |(signal, (story, seam, nth))| {
            let scene = Scene::new(*story);
            let output = faults(&mut scene.subject(), &format!("{signal}@{seam}#{nth}"));
            let killed = output.status.signal() == Some(9);
            // A signal that can be caught may come when all is done.
            let ended =
                output.status.code().is_some_and(|code| [143, whole(*story).code].contains(&code))
                    || output.status.signal() == Some(15);
            if if *signal == "KILL" { !killed } else { !ended } {
                return format!("  not ended by its fault: {:?} {}", output.status, said(&output));
            }
            after(&scene, *story)
        },
    );
}

/// CI runs each eleventh.
#[test]
fn killed_at_any_time_a_night_goes_on_to_the_same_end() {
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    let cases: Vec<_> = (0..200)
        .map(|number| {
            let story = STORIES[number % STORIES.len()];
            let longest = whole(story).took.as_micros() as u64 * 11 / 10;
            (story, Duration::from_micros(random(&mut seed, longest)))
        })
        .collect();
    run(
        "kills at random times",
        &some(cases, 11),
        |(story, time)| format!("{story:?} after {time:?}"),
        |(story, time)| {
            let scene = Scene::new(*story);
            let mut child = scene.subject().spawn().unwrap();
            sleep(*time);
            let _ = child.kill();
            child.wait().unwrap();
            after(&scene, *story)
        },
    );
}

/// CI runs each eleventh.
#[test]
fn killed_while_it_recovers_a_night_goes_on_to_the_same_end() {
    let mut seed = 0x2545_f491_4f6c_dd1d;
    let steps: Vec<_> = STORIES.into_iter().flat_map(steps).collect();
    let cases: Vec<_> = (0..100)
        .map(|_| {
            let first = random(&mut seed, steps.len() as u64) as usize;
            // Any seam, those of files among them.
            (steps[first].clone(), 1 + random(&mut seed, 200))
        })
        .collect();
    run(
        "kills during recovery",
        &some(cases, 11),
        |((story, seam, nth), again)| format!("{story:?} KILL@{seam}#{nth}, then KILL@*#{again}"),
        |((story, seam, nth), again)| {
            let scene = Scene::new(*story);
            faults(&mut scene.subject(), &format!("KILL@{seam}#{nth}"));
            faults(&mut scene.command(&["resume"]), &format!("KILL@*#{again}"));
            after(&scene, *story)
        },
    );
}
