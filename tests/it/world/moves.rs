//! A person does everything that a person does, in random order, while nights run; and the few things by name that
//! have an outcome of their own.

use std::{fs, process::Stdio, thread::sleep, time::Duration};

use super::{git_in, person::Person, said_in, vault};
use crate::{
    resume::wait_for,
    support::night::{Ran, TestNight},
};

const TASKS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// How many nights, and from which seed.
fn rounds() -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    (number("NIGHTSHIFT_WORLD_ROUNDS").unwrap_or(2), number("NIGHTSHIFT_WORLD_SEED").unwrap_or(1))
}

fn busy() -> TestNight {
    let agent = "echo x > src/from_$NIGHTSHIFT_TASK.txt; sleep 0.$(( $$ % 4 + 1 ))";
    let night =
        TASKS.into_iter().fold(TestNight::new(), |night, id| night.task(id, &format!("Add {id}")));
    night.agent(agent).user("limits: {parallel: 3}").commit()
}

#[test]
#[expect(clippy::print_stdout, reason = "what makes this night again is read when it failed")]
fn whatever_a_person_does_meanwhile_nothing_of_theirs_is_touched_and_nothing_of_ours_is_lost() {
    let (rounds, first) = rounds();
    let mut acts = 0;
    for seed in first..first + rounds {
        // Seen when the test fails: what makes this night again, as far as two programs can be made again.
        println!("NIGHTSHIFT_WORLD_SEED={seed} NIGHTSHIFT_WORLD_ROUNDS=1");
        acts += one_night(seed);
    }
    println!("{rounds} nights, {acts} acts");
}

#[test]
fn a_branch_that_a_person_works_on_stops_the_night_and_is_left_alone() {
    let agent = TestNight::waits("echo x > src/from_$NIGHTSHIFT_TASK.txt");
    let night = TestNight::new().task("a", "Add one").task("b", "Add two").agent(&agent);
    let night = night.one_at_a_time().commit();
    let mut run = night.command(&["run", "--agent", "test"]);
    let child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the first agent", || night.agents() == 1);
    night.go(&["a"]);
    let ours = || night.git(&["for-each-ref", "--format=%(refname)", "refs/heads/nightshift/"]);
    wait_for("the first landing", || !ours().is_empty());
    let (branch, tip) = (ours(), night.git(&["rev-parse", &ours()]));
    let tree = format!("{tip}^{{tree}}");
    let theirs = night.git(&["commit-tree", &tree, "-p", &tip, "-m", "of the person's own"]);
    night.git(&["update-ref", &branch, &theirs]);
    night.go(&["b"]);
    let ran = Ran::of(night, child.wait_with_output().unwrap());
    let night = ran.exit(4).says("somebody else moved the night's branch").then();
    assert_eq!(night.git(&["rev-parse", &branch]), theirs, "it is theirs");
    night.git(&["branch", "-q", "-m", branch.trim_start_matches("refs/heads/"), "mine"]);
    night.call(&["resume"]).exit(0).landed(["a", "b"]);
}

/// Lives one night beside a person, and gives how much the person did.
#[expect(clippy::print_stdout, reason = "what a person did is read when it failed")]
fn one_night(seed: u64) -> usize {
    let night = busy();
    let base = night.git(&["rev-parse", "main"]);
    let mut person = Person::new(&night, seed);
    let said = fs::File::create(night.path("said")).unwrap();
    let mut child = night
        .command(&["run", "--agent", "test"])
        .stdout(said.try_clone().unwrap())
        .stderr(said)
        .spawn()
        .unwrap();
    wait_for("the first order", || night.entries() >= 2 || child.try_wait().unwrap().is_some());
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        person.act();
        sleep(Duration::from_millis(person.random.below(120)));
    };
    person.nobody_else_was_here();
    person.put_the_remote_back();
    let mut said = fs::read_to_string(night.path("said")).unwrap();
    let mut code = ended.code();
    println!("exit {code:?} after {:?}", person.did);
    // What is left over is gone on with when the person is done, in a world that stands still.
    for _ in 0..3 {
        assert!(matches!(code, Some(0 | 4 | 6)), "exit {code:?}:\n{said}");
        if code == Some(0) {
            break;
        }
        println!("{said}");
        let next = if code == Some(6) { "land" } else { "resume" };
        let output = night.command(&[next]).output().unwrap();
        said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        code = output.status.code();
    }
    assert_eq!(code, Some(0), "{said}");
    person.nobody_else_was_here();
    holds(&night, &base);
    person.did.len()
}

/// The night's branch is the chain of gated commits of all tasks, out and in the vault, and both repositories are
/// whole.
fn holds(night: &TestNight, base: &str) {
    let vault = vault(night);
    let branch =
        said_in(night, &vault, &["for-each-ref", "--format=%(refname)", "refs/heads/nightshift/"]);
    let name = branch.trim_start_matches("refs/heads/");
    let format = "--format=%T|%(trailers:key=Nightshift-Tree,valueonly,separator=)|\
                  %(trailers:key=Nightshift-Task,valueonly,separator=)";
    let log = said_in(night, &vault, &["log", format, &format!("{base}..{branch}")]);
    let receipts = format!("refs/nightshift/receipts/{}", name.trim_start_matches("nightshift/"));
    let receipts = said_in(night, &vault, &["ls-tree", "--name-only", &receipts]);
    let mut landed = Vec::new();
    for line in log.lines() {
        let parts: Vec<&str> = line.split('|').collect();
        assert_eq!(parts[0], parts[1], "the trailer names the commit's own tree");
        assert!(receipts.contains(parts[0]), "a receipt for {line} in:\n{receipts}");
        landed.push(parts[2].to_owned());
    }
    landed.sort();
    assert_eq!(landed, TASKS, "{log}");
    let tip = said_in(night, &vault, &["rev-parse", &branch]);
    assert_eq!(said_in(night, &night.remote(), &["rev-parse", &branch]), tip, "it is out");
    // The person's copy, where they left it one, is behind ours.
    let copy = night.git(&["for-each-ref", "--format=%(objectname)", &branch]);
    if !copy.is_empty() {
        assert!(
            git_in(night, &vault, &["merge-base", "--is-ancestor", &copy, &tip]).status.success()
        );
    }
    // What git wrote for itself into its commit graph it may have pruned since.
    for directory in [&vault, &night.repo().join(".git"), &night.remote()] {
        let looked = git_in(
            night,
            directory,
            &["-c", "core.commitGraph=false", "fsck", "--full", "--no-dangling"],
        );
        assert!(looked.status.success(), "fsck of {}: {looked:?}", directory.display());
    }
    let text =
        fs::read_to_string(night.journal().unwrap().with_file_name("pull_request.md")).unwrap();
    for id in TASKS {
        assert!(text.contains(&format!("**{id}**")), "{text}");
    }
    let status = night.command(&["status"]).stdin(Stdio::null()).output().unwrap();
    assert!(status.status.success(), "{status:?}");
}
