//! Kept work on a branch for a person.

use std::fs;

use crate::support::night::TestNight;

/// In two parts, so that no scanner takes this file for a leak.
fn key() -> String {
    ["AKIA", "QYLPMN5HHHFPZAM2"].concat()
}

#[test]
fn every_kept_try_can_be_opened_and_put_on_a_branch() {
    // One that lands, one whose gate is red, one that a rule refuses, one that is held, one that does nothing.
    let night = TestNight::new()
        .gate("#!/bin/sh\n[ ! -e src/from_red.txt ]\n")
        .task("good", "Add one")
        .task("red", "Add two")
        .task("held", "Add three")
        .task("refused", "Add four")
        .agent(
            "case $NIGHTSHIFT_TASK in
            refused) echo x >> .ai-validation/check_quality.sh;;
            held) echo h > src/held.txt; chmod +x src/held.txt;;
            *) echo $NIGHTSHIFT_TASK > src/from_$NIGHTSHIFT_TASK.txt;;
            esac",
        );
    let mut night = night.run(&[]).landed(["good"]).then();
    let head = night.git(&["rev-parse", "HEAD"]);
    for (task, number, path, says) in [
        ("good", 1, "src/from_good.txt", "it landed on nightshift/"),
        ("red", 1, "src/from_red.txt", "it did not land: gate red"),
        ("held", 1, "src/held.txt", "it is held: "),
        ("refused", 1, ".ai-validation/check_quality.sh", "it did not land: refused by rule"),
    ] {
        let number = number.to_string();
        let ran = night.call(&["show", task, "--attempt", &number, "--diff"]).exit(0).says(path);
        let ran = ran.then().call(&["rescue", task, "--attempt", &number]).exit(0).says(says);
        night = ran.says("git switch nightshift/rescue/").then();
        let name = night.git(&[
            "for-each-ref",
            "--format=%(refname:short)",
            &format!("refs/heads/nightshift/rescue/*/{task}-1"),
        ]);
        assert!(!name.is_empty(), "{task}");
        let files = night.git(&["ls-tree", "-r", "--name-only", &name]);
        assert!(files.lines().any(|line| line == path), "{task}:\n{files}");
        // Twice is once, and what somebody put there stays.
        night = night.call(&["rescue", task, "--attempt", &number]).exit(0).then();
        night.git(&["branch", "-f", &name, "main"]);
        let ran = night.call(&["rescue", task, "--attempt", &number]).exit(2);
        let ran = ran.says("is there already").then();
        let branch = format!("attic/{task}");
        night = ran.call(&["rescue", task, "--attempt", &number, "--as", &branch]).exit(0).then();
        night.git(&["rev-parse", &format!("refs/heads/nightshift/attic/{task}")]);
    }
    assert_eq!(night.git(&["rev-parse", "HEAD"]), head);
    let ran = night.call(&["rescue", "good", "--as", "2026-01-01"]).exit(2);
    let ran = ran.says("the name of a night's own branch");
    let ran = ran.then().call(&["rescue", "last"]).exit(2).says("is a night");
    ran.then().call(&["rescue", "good@9"]).exit(2).says("has no try 9");
}

#[test]
fn a_secret_stays_with_us_until_a_person_asks_for_it_in_so_many_words() {
    let key = key();
    let night = TestNight::new()
        .task("a", "Add one")
        .agent(&format!("echo 'aws_access_key_id = {key}' > src/secret.txt"));
    let night = night.run(&[]).exit(1).landed([]).then();
    let objects = || {
        let all = night.git(&["cat-file", "--batch-all-objects", "--batch-check"]);
        let blobs = all.lines().filter(|line| line.contains(" blob "));
        blobs.map(|line| night.git(&["cat-file", "-p", &line[..40]])).collect::<String>()
    };
    assert!(!objects().contains(&key));
    let output = night.command(&["rescue", "a"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--even-with-secrets") && !said.contains(&key), "{said}");
    assert!(!objects().contains(&key));
    let output = night.command(&["rescue", "a", "--even-with-secrets"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(objects().contains(&key));
    assert!(!fs::read_to_string(night.journal().unwrap()).unwrap().contains(&key));
}
