//! Records of old nights: what goes, what stays because somebody needs it, and what a kill leaves.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use serde_json::Value;

use crate::support::night::TestNight;

const EACH: &str = "case $NIGHTSHIFT_TASK in
    held) chmod +x src/a.txt;;
    failed) exit 1;;
    *) echo $NIGHTSHIFT_TASK > src/from_$NIGHTSHIFT_TASK.txt;;
    esac";

fn state(night: &TestNight) -> PathBuf {
    let repos = night.path("home/.local/state/nightshift/repos");
    fs::read_dir(repos).unwrap().next().unwrap().unwrap().path()
}

fn nights(night: &TestNight) -> BTreeSet<String> {
    let entries = fs::read_dir(state(night).join("nights")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// All that happened so far happened years ago.
fn age(night: &TestNight) {
    for id in nights(night) {
        let journal = state(night).join("nights").join(id).join("journal.jsonl");
        let text = fs::read_to_string(&journal).unwrap();
        fs::write(&journal, text.replace("\"at\":\"20", "\"at\":\"19")).unwrap();
    }
    let objects = state(night).join("vault.git/objects");
    let mut touch = Command::new("find");
    let touched = touch.arg(objects).args(["-type", "f", "-exec", "touch", "-d", "2001-01-01"]);
    assert!(touched.args(["{}", "+"]).status().unwrap().success());
}

fn keep(night: &TestNight, words: &str) {
    let file = night.path("home/.config/nightshift/nightshift.yml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}keep: {words}\n")).unwrap();
}

fn refs(night: &TestNight) -> String {
    night.git(&["for-each-ref", "--format=%(refname) %(objectname)"])
}

/// Every object that a ref of the vault names is there.
fn vault_is_whole(night: &TestNight) {
    let output = Command::new("git")
        .args(["fsck", "--connectivity-only", "--no-dangling"])
        .current_dir(state(night).join("vault.git"))
        .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", night.repo().join(".git/objects"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn objects(night: &TestNight) -> usize {
    let mut git = Command::new("git");
    let git = git.args(["cat-file", "--batch-all-objects", "--batch-check"]);
    let output = git.current_dir(state(night).join("vault.git")).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().count()
}

fn merge_last(night: &TestNight) {
    let all = night.git(&[
        "for-each-ref",
        "--format=%(refname:short)",
        "--sort=creatordate",
        "refs/heads/nightshift/",
    ]);
    let last = all.lines().max().unwrap();
    night.git(&["stash", "-q", "--include-untracked"]);
    night.git(&["merge", "-q", "--no-ff", "-m", "merged", last]);
    night.git(&["push", "-q", "origin", "main"]);
}

/// Three nights: the first is merged, the second is not, the third is the newest.
fn three() -> TestNight {
    let night = TestNight::new().tier("off").task("a", "Add one").agent(EACH);
    let night = night.run(&[]).exit(0).landed(["a"]).then();
    merge_last(&night);
    let night = night.task_later("b", "Add two").run(&["-t", "b"]).landed(["b"]).then();
    night.task_later("c", "Add three").run(&["-t", "c"]).landed(["c"]).then()
}

#[test]
fn a_merged_night_goes_with_its_refs_and_what_nobody_merged_stays() {
    let night = three();
    let all = nights(&night);
    let [first, second, third] = all.iter().collect::<Vec<_>>()[..] else { panic!("{all:?}") };
    age(&night);
    let before = (refs(&night), objects(&night));
    // Sixty nights stay, whatever their age; logs do not.
    keep(&night, "{nights: 1}");
    let ran = night.call(&["gc", "-n"]).exit(0).says(&format!("nights: {first}"));
    let ran = ran.says(&format!("{second} stays: ")).says("is not merged").says("would be removed");
    let night = ran.then();
    assert_eq!((refs(&night), objects(&night)), before, "only said");
    let ran = night.call(&["gc"]).exit(0).says(&format!("nights: {first}"));
    let night =
        ran.says("1 records of nights").says("refs of ours").says("objects of the vault").then();
    assert_eq!(nights(&night), [second.clone(), third.clone()].into());
    let left = refs(&night);
    let of_first = |line: &&str| line.split(['/', ' ']).any(|part| part == first);
    assert_eq!(left.lines().filter(of_first).count(), 0, "{left}");
    for line in before.0.lines().filter(|line| !of_first(line)) {
        assert!(left.contains(line), "{line} is not in\n{left}");
    }
    vault_is_whole(&night);
    assert!(objects(&night) < before.1);
    let ran = night.call(&["show", &format!("{second}/b"), "--diff"]).exit(0).says("from_b.txt");
    let ran = ran.then().call(&["verify", &format!("nightshift/{second}")]).exit(0);
    // Merged as one commit by now: it goes as well, by itself after the next night.
    let night = ran.then();
    night.git(&["merge", "-q", "--squash", &format!("nightshift/{second}")]);
    night.git(&["commit", "-q", "-m", "squashed"]);
    night.git(&["push", "-q", "origin", "main"]);
    let ran = night.task_later("d", "Add four").run(&["-t", "d"]).landed(["d"]);
    let night = ran.then();
    let left = nights(&night);
    assert!(!left.contains(second) && left.contains(third), "{left:?} {all:?}");
    vault_is_whole(&night);
}

#[test]
fn what_waits_for_a_person_stays_and_a_damaged_night_is_named() {
    let night = TestNight::new().tier("off").task("held", "Add one").agent(EACH);
    let night = night.run(&[]).exit(1).then();
    let night = night.task_later("failed", "Add two").run(&["-t", "failed"]).exit(1).then();
    let night = night.task_later("c", "Add three").run(&["-t", "c"]).exit(0).then();
    merge_last(&night);
    let night = night.task_later("d", "Add four").run(&["-t", "d"]).then();
    let all: Vec<String> = nights(&night).into_iter().collect();
    age(&night);
    let journal = state(&night).join("nights").join(&all[2]).join("journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replacen("\"seq\":3", "\"seq\":33", 1)).unwrap();
    keep(&night, "{nights: 1, log_days: 1}");
    let ran = night.call(&["gc"]).exit(1).says("waits for your decision");
    let ran = ran.says("failed failed in it, stands in the plan, and was not tried again");
    let night = ran.says(&format!("{} is damaged and stays: ", all[2])).then();
    assert_eq!(nights(&night).into_iter().collect::<Vec<_>>(), all);
    // What the damaged journal names is there still, and so is what is held.
    vault_is_whole(&night);
    night.call(&["approve", &format!("{}/held", all[0])]).exit(0);
}

#[test]
fn logs_go_before_their_nights() {
    let night = three();
    let all = nights(&night);
    let first = all.first().unwrap();
    age(&night);
    let ran = night.call(&["gc", "--json"]).exit(0);
    let said: Value = serde_json::from_str(ran.all().lines().next().unwrap()).unwrap();
    assert_eq!(said["data"]["logs"], serde_json::json!([first]), "{said}");
    let night = ran.then();
    assert_eq!(nights(&night), all);
    let left = fs::read_dir(state(&night).join("nights").join(first)).unwrap();
    let left: BTreeSet<String> =
        left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(left, ["journal.jsonl", "pull_request.md"].map(str::to_owned).into());
    night.call(&["show", &format!("{first}/a"), "--diff"]).exit(0).says("from_a.txt");
}

#[test]
fn killed_anywhere_the_next_one_comes_to_the_same_end() {
    let night = three();
    age(&night);
    keep(&night, "{nights: 1}");
    let copy = |from: &str, to: &str| {
        for name in ["repo", "home"] {
            let to = night.path(to).join(name);
            let _ = fs::remove_dir_all(&to);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            let mut cp = Command::new("cp");
            assert!(
                cp.arg("-a").arg(night.path(from).join(name)).arg(&to).status().unwrap().success()
            );
        }
    };
    copy("", "backup");
    assert!(night.command(&["gc"]).output().unwrap().status.success());
    let end = (refs(&night), nights(&night), objects(&night));
    let mut cut = 0;
    for pause in 0..24 {
        copy("backup", "");
        let mut gc = night.command(&["gc"]);
        let mut gc = gc.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(pause * 8));
        cut += usize::from(gc.try_wait().unwrap().is_none());
        gc.kill().unwrap();
        gc.wait().unwrap();
        vault_is_whole(&night);
        let output = night.command(&["gc"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!((refs(&night), nights(&night), objects(&night)), end, "killed after {pause}");
    }
    assert!(cut > 3, "{cut}");
    // And where it was cut between the refs and the directory's end.
    copy("backup", "");
    let first = nights(&night).first().unwrap().clone();
    let places = state(&night).join("nights");
    for (name, _) in refs(&night).lines().filter_map(|line| line.split_once(' ')) {
        if name.split('/').any(|part| part == first) {
            night.git(&["update-ref", "-d", name]);
        }
    }
    fs::rename(places.join(&first), places.join(format!(".gone-{first}"))).unwrap();
    let ran = night.call(&["gc"]).exit(0);
    assert_eq!(nights(&ran.then()), end.1);
}

#[test]
fn nothing_is_collected_beside_a_night() {
    let night = TestNight::new().tier("off").task("a", "Wait").agent("sleep 20").commit();
    let mut child = night.spawn(&[]);
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while night.entries() < 2 {
        assert!(std::time::Instant::now() < end, "waited for the night");
        sleep(Duration::from_millis(5));
    }
    let output = night.command(&["gc"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert_eq!(night.command(&["gc", "-n"]).output().unwrap().status.code(), Some(0));
    child.kill().unwrap();
    child.wait().unwrap();
}
