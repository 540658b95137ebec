//! What one machine's nights settled, another machine knows: real git, two clones, two states.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use jiff::Timestamp;
use nightshift::{
    git::{Vault, ledger as stored, network::Network, user::UserRepository},
    ids::{NightId, TaskId},
    ledger::{Fact, Ledger, Outcome},
    runner::known,
};

use crate::support::night::TestNight;

/// A second machine: a clone, a home, the same user's file.
struct Machine<'n> {
    night: &'n TestNight,
    clone: PathBuf,
    home: PathBuf,
}

impl Machine<'_> {
    fn new<'n>(night: &'n TestNight, name: &str) -> Machine<'n> {
        let (clone, home) = (night.path(name), night.path(&format!("{name}-home")));
        let remote = night.remote();
        night.git(&["clone", "-q", remote.to_str().unwrap(), clone.to_str().unwrap()]);
        let file = ".config/nightshift/nightshift.yml";
        fs::create_dir_all(home.join(".config/nightshift")).unwrap();
        fs::copy(night.path("home").join(file), home.join(file)).unwrap();
        Machine { night, clone, home }
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let mut command = self.night.command(arguments);
        command.current_dir(&self.clone).env("HOME", &self.home).output().unwrap()
    }

    /// Runs a command, and gives what it says in one line.
    fn says(&self, arguments: &[&str], code: i32, words: &[&str]) -> String {
        let output = self.call(arguments);
        let all = one_line(&output);
        assert_eq!(output.status.code(), Some(code), "{all}");
        for words in words {
            assert!(all.contains(words), "no `{words}` in:\n{all}");
        }
        all
    }

    /// What `check` says. Its code is about the agent too.
    fn checks(&self, words: &str) {
        let all = one_line(&self.call(&["check"]));
        assert!(all.contains(words), "no `{words}` in:\n{all}");
    }
}

fn one_line(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = text(&output.stdout) + &text(&output.stderr);
    all.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `a` fails, `b` lands.
fn one_of_two() -> TestNight {
    TestNight::new().task("a", "Add one").task("b", "Add another").agent(
        "case $NIGHTSHIFT_TASK in a) echo broken > src/a.txt;; *) echo b > src/from_b.txt;; esac",
    )
}

fn ledger_of(night: &TestNight) -> String {
    let remote = night.remote();
    let file = "refs/nightshift/ledger:ledger.jsonl";
    night.git(&["--git-dir", remote.to_str().unwrap(), "show", file])
}

/// Puts this text where the ledger stands on the remote.
fn forge(night: &TestNight, text: &str) {
    fs::write(night.path("forged"), text).unwrap();
    let blob = night.git(&["hash-object", "-w", night.path("forged").to_str().unwrap()]);
    let list = night.path("list");
    fs::write(&list, format!("100644 blob {blob}\tledger.jsonl\n")).unwrap();
    let make = format!("git mktree < '{}'", list.display());
    let tree = Command::new("sh").args(["-c", &make]).current_dir(night.repo()).output().unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    let commit = night.git(&["commit-tree", "-m", "forged", tree.trim()]);
    night.git(&["push", "-q", "-f", "origin", &format!("{commit}:refs/nightshift/ledger")]);
}

#[test]
fn a_fresh_clone_does_not_try_again_what_was_settled_elsewhere() {
    let night = one_of_two().run(&[]).exit(1).landed(["b"]).then();
    let other = Machine::new(&night, "other");
    let branch =
        night.git(&["for-each-ref", "--format=%(refname:short)", "refs/heads/nightshift/"]);
    other.checks("and its text has not changed since (on another machine)");
    other.checks(&format!("its work waits in {branch} (on another machine)"));
    other.says(&["run", "--agent", "test"], 1, &["no task may run"]);
    // Nobody is kept from doing it all the same, and the first machine learns what came of it.
    fs::write(night.path("agent.sh"), "echo a > src/from_a.txt").unwrap();
    other.says(&["run", "--agent", "test", "-t", "a"], 0, &["LANDED 1"]);
    let all = one_line(&night.command(&["check"]).output().unwrap());
    assert_eq!(all.matches("its work waits in nightshift/").count(), 2, "{all}");
    let text = ledger_of(&night);
    assert!(text.contains("\"kind\":\"base\"") && text.contains("\"green\":true"), "{text}");
}

#[test]
fn what_is_only_known_is_told_although_nothing_landed() {
    let night = TestNight::new().task("a", "Add one").agent("echo broken > src/a.txt");
    let night = night.run(&["--no-push"]).exit(1).then();
    assert_eq!(night.git(&["ls-remote", "origin", "refs/nightshift/*"]), "");
    let night = night.run(&["-t", "a"]).exit(1).landed([]).then();
    let text = ledger_of(&night);
    assert_eq!(text.matches("\"is\":\"failed\"").count(), 1, "{text}");
    assert!(!text.contains(night.path("").to_str().unwrap()), "{text}");
    Machine::new(&night, "other").checks("it failed in night");
}

#[test]
fn a_rejection_is_known_elsewhere_and_no_word_of_the_ledger_reaches_an_agent() {
    let night = TestNight::new().task("a", "Make it run").agent("chmod +x src/a.txt");
    let night = night.run(&[]).exit(1).says("HELD FOR YOU").then();
    let waits = "waits for your decision (on another machine)";
    Machine::new(&night, "first").checks(waits);
    let night = night.call(&["reject", "a", "--reason", "not like this"]).exit(0).then();
    Machine::new(&night, "second").checks("it failed in night");
    assert!(ledger_of(&night).contains("not like this"));
    let prompt = "cat > \"$(dirname \"$0\")/prompt\"; echo a > src/from_a.txt";
    fs::write(night.path("agent.sh"), prompt).unwrap();
    let night = night.tier_later("off");
    let other = Machine::new(&night, "third");
    other.says(&["run", "--agent", "test", "-t", "a"], 0, &["LANDED 1"]);
    let told = fs::read_to_string(night.path("prompt")).unwrap();
    assert!(told.contains("Make it run") && !told.contains("not like this"), "{told}");
}

#[test]
fn a_gate_that_was_seen_to_fail_elsewhere_is_not_broken_again_and_runs_all_the_same() {
    let night = TestNight::new()
        .task("a", "Add one")
        .agent("echo new > src/new.txt; echo false >> src/shop.sh")
        .file("src/shop.sh", "#!/bin/sh\ntrue\n")
        .gate("sh src/shop.sh\n")
        .canary(true);
    let night = night.run(&[]).exit(1).landed([]).then();
    let other = Machine::new(&night, "other");
    // A forged word about another tree, and one about other walls, are no words about this one.
    let text = ledger_of(&night);
    let canary: Vec<&str> = text.lines().filter(|line| line.contains("\"canary\"")).collect();
    assert_eq!(canary.len(), 1, "{text}");
    let all = other.says(
        &["run", "--agent", "test", "-t", "a"],
        1,
        &["quality red on a syntax error in src/shop.sh (on another machine,"],
    );
    assert!(all.contains("the gate is red") || all.contains("quality"), "{all}");
    let elsewhere = text.replace("\"tier\":\"", "\"tier\":\"x");
    forge(&night, &elsewhere);
    let third = Machine::new(&night, "third");
    let all = third.says(&["run", "--agent", "test", "-t", "a"], 1, &["quality red on"]);
    assert!(!all.contains("on another machine"), "{all}");
}

#[test]
fn a_damaged_ledger_is_named_and_stops_nothing_and_a_newer_one_is_not_written_over() {
    let night = TestNight::new().task("a", "Add one").agent("echo a > src/from_a.txt").commit();
    forge(&night, "not a ledger\n");
    let night = night.run(&[]).exit(0).says("its first line is damaged").landed(["a"]).then();
    assert!(ledger_of(&night).contains("\"is\":\"landed\""));
    let newer = "{\"ledger\":2}\n{\"what\":\"nobody knows yet\"}\n";
    forge(&night, newer);
    let night = night.task_later("b", "Add another");
    fs::write(night.path("agent.sh"), "echo b > src/from_b.txt").unwrap();
    let ran = night.run(&["-t", "b"]).exit(0).says("it is of form 2, this version reads 1");
    let night = ran.then();
    assert_eq!(format!("{}\n", ledger_of(&night)), newer);
    night.call(&["land"]).exit(0).says("other machines do not know");
}

/// One of several machines that write at the same moment.
struct Writer {
    vault: Vault,
    network: Network,
}

impl Writer {
    fn new(directory: &Path, name: &str) -> Writer {
        let repository = directory.join(name);
        git2::Repository::init(&repository).unwrap();
        let user = UserRepository::open(&repository).unwrap();
        let vault = directory.join(format!("{name}.vault"));
        let environment: BTreeMap<String, String> = [
            ("PATH", std::env::var("PATH").unwrap()),
            ("HOME", directory.display().to_string()),
            ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let network = Network::new(&vault, &environment);
        Writer { vault: Vault::prepare(&vault, &user).unwrap(), network }
    }

    /// Learns one thing, and tells it.
    fn learns(&self, task: &str, url: &str) {
        let fact = Fact::Task {
            task: TaskId::new(task).unwrap(),
            text: "ab".repeat(32),
            night: NightId::new("2026-11-21").unwrap(),
            origin: "0123456789ab".to_owned(),
            happened: Timestamp::UNIX_EPOCH,
            outcome: Outcome::Failed { why: "so".to_owned() },
        };
        let put = |ledger: &mut Ledger| ledger.put(&fact, Timestamp::UNIX_EPOCH, |value| value);
        known::keep(&self.vault, put).unwrap();
        known::exchange(&self.vault, &self.network, url).unwrap();
    }
}

#[test]
fn machines_that_write_at_the_same_moment_lose_nothing() {
    const EACH: usize = 6;
    let directory = tempfile::tempdir().unwrap();
    let remote = directory.path().join("remote.git");
    git2::Repository::init_bare(&remote).unwrap();
    let url = remote.to_str().unwrap();
    let writers = ["one", "two", "three"].map(|name| (name, Writer::new(directory.path(), name)));
    std::thread::scope(|scope| {
        for (name, writer) in &writers {
            scope.spawn(move || {
                for number in 0..EACH {
                    writer.learns(&format!("{name}_{number}"), url);
                }
            });
        }
    });
    let all: BTreeSet<String> = writers
        .iter()
        .flat_map(|(name, _)| (0..EACH).map(move |number| format!("{name}_{number}")))
        .collect();
    for (_, writer) in &writers {
        known::exchange(&writer.vault, &writer.network, url).unwrap();
        let found = stored::find(&writer.vault, &stored::name()).unwrap().unwrap();
        let (ledger, problems) = Ledger::read(&found.text.unwrap()).unwrap();
        assert_eq!(problems, [""; 0]);
        let tasks = ledger.facts().map(|fact| match fact {
            Fact::Task { task, .. } => task.to_string(),
            other => panic!("{other:?}"),
        });
        assert_eq!(tasks.collect::<BTreeSet<_>>(), all);
    }
}
