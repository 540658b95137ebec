//! `nightshift history`: its figures are those of the journals, whatever happens to the index.

use std::{fs, path::PathBuf};

use nightshift::{journal, night::Night, report::NightFigures};
use serde_json::Value;

use crate::support::night::{Ran, TestNight};

/// One lands, one lands after a red gate, one never does.
const AGENT: &str = "case $NIGHTSHIFT_TASK.$NIGHTSHIFT_ATTEMPT in
a.*) echo more >> src/a.txt;;
b.1) echo broken >> src/b.txt;;
b.*) echo mended > src/b.txt;;
c.*) echo broken $NIGHTSHIFT_ATTEMPT > src/c.txt;;
d.*) echo more > src/d.txt;;
esac";

/// Two nights.
fn lived() -> TestNight {
    let night = TestNight::new().agent(AGENT).one_at_a_time();
    let night = night.task("a", "Add a line").task("b", "Mend it").task("c", "Break it");
    let night = night.run(&[]).exit(1).landed_in_order(["a", "b"]).then();
    night.task_later("d", "Add a file").run(&["-t", "d"]).exit(0).then()
}

fn state(night: &TestNight) -> PathBuf {
    night.path("home/.local/state/nightshift")
}

fn index(night: &TestNight) -> PathBuf {
    state(night).join("history.db")
}

/// What the journals themselves say.
fn folded(night: &TestNight) -> Vec<NightFigures> {
    let repository = fs::read_dir(state(night).join("repos")).unwrap().next().unwrap().unwrap();
    let nights = fs::read_dir(repository.path().join("nights")).unwrap();
    let mut found: Vec<NightFigures> = nights
        .map(|one| journal::read(&one.unwrap().path().join(journal::FILE)).unwrap().entries)
        .map(|entries| NightFigures::of(&Night::replay(entries).unwrap()))
        .collect();
    found.sort_by_key(|figures| figures.night.order());
    found
}

/// What the program says.
fn told(night: &TestNight) -> Vec<NightFigures> {
    let output = night.command(&["history", "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["schema"], "nightshift.history/1");
    let nights = answer["data"]["nights"].as_array().unwrap().iter().rev();
    nights.map(|one| serde_json::from_value(one["figures"].clone()).unwrap()).collect()
}

#[test]
fn the_index_is_never_the_truth() {
    let night = lived();
    let truth = folded(&night);
    assert_eq!(truth.len(), 2);
    let totals = truth.iter().map(NightFigures::totals).collect::<Vec<_>>();
    assert_eq!(
        (totals[0].tried, totals[0].landed, totals[0].recovered, totals[0].failed),
        (3, 2, 1, 1)
    );
    assert_eq!((totals[1].tried, totals[1].landed), (1, 1));
    assert_eq!(told(&night), truth, "built");
    let index = index(&night);
    let whole = fs::read(&index).unwrap();
    assert!(whole.starts_with(b"SQLite format 3"));
    assert_eq!(told(&night), truth, "read again");
    fs::remove_file(&index).unwrap();
    assert_eq!(told(&night), truth, "deleted");
    for length in [0, 1, 100, 5_000, whole.len() - 1] {
        fs::write(&index, &whole[..length.min(whole.len())]).unwrap();
        assert_eq!(told(&night), truth, "cut to {length} bytes");
    }
    // Every 97th byte, whatever it is of: header, page, key, figure, checksum.
    for at in (0..whole.len()).step_by(97) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        fs::write(&index, &damaged).unwrap();
        assert_eq!(told(&night), truth, "byte {at} is another");
    }
    fs::write(&index, "this is no database, whatever its name says ".repeat(100)).unwrap();
    assert_eq!(told(&night), truth, "another file");
    assert!(fs::read(&index).unwrap().starts_with(b"SQLite format 3"), "it was built anew");
    // Nothing can be written there.
    fs::remove_file(&index).unwrap();
    fs::create_dir(&index).unwrap();
    assert_eq!(told(&night), truth, "built in memory");
    let output = night.command(&["history"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("the index is not kept: "),
        "{output:?}"
    );
}

#[test]
fn a_night_that_changed_is_read_again_and_one_that_went_is_forgotten() {
    let night = lived();
    assert_eq!(told(&night).len(), 2);
    let journal = night.journal().unwrap();
    let text = fs::read_to_string(&journal).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    // As it was while it ran.
    fs::write(&journal, lines[..lines.len() - 1].join("\n") + "\n").unwrap();
    assert_eq!(told(&night), folded(&night));
    assert!(told(&night).iter().any(|figures| figures.exit.is_none()));
    fs::remove_dir_all(journal.parent().unwrap()).unwrap();
    assert_eq!(told(&night), folded(&night));
    assert_eq!(told(&night).len(), 1);
}

#[test]
fn two_at_once_say_the_same() {
    let night = lived();
    let truth = folded(&night);
    for _ in 0..3 {
        let _ = fs::remove_file(index(&night));
        let ask = || {
            let mut command = night.command(&["history", "--json"]);
            command.stdout(std::process::Stdio::piped()).spawn().unwrap()
        };
        let both: Vec<_> = (0..4).map(|_| ask()).collect();
        for one in both {
            let output = one.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(answer["data"]["totals"]["landed"], 3, "{answer}");
        }
        assert_eq!(told(&night), truth);
    }
}

#[test]
fn rates_tables_and_charts_are_drawn() {
    let night = lived();
    let ask = |arguments: &[&str]| {
        let output = night.command(&[&["history"], arguments].concat()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let plain = ask(&[]);
    for said in [
        "2 of 3",
        "1 of 1",
        "landed 75 % (3 of 4)",
        "33 % of them after a failed try (1)",
        "next: nightshift show ",
    ] {
        assert!(plain.contains(said), "no `{said}` in\n{plain}");
    }
    assert!(ask(&["--by", "task"]).contains("Break it"));
    assert!(ask(&["--by", "model"]).contains("\ntest "), "the agent, where it names no model");
    assert!(ask(&["--by", "month"]).lines().nth(1).is_some_and(|row| row.contains("3 of 4")));
    let chart = ask(&["--chart"]);
    assert!(chart.contains('█') && chart.contains("░") && chart.contains("2 of 3"), "{chart}");
    assert!(ask(&["--limit", "1"]).contains("and 1 more: --limit 2"));
    assert!(ask(&["--all"]).starts_with("repo-"), "{}", ask(&["--all"]));
    assert!(ask(&["--since", "2099-01-01"]).contains("no night began since then"));
    let output = night.command(&["history", "--since", "yesterday"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    // The last line of the morning.
    Ran::of(night, output)
        .then()
        .call(&["status"])
        .says("last 2 nights: 75 % landed, $0.00 a night");
}

#[test]
fn a_rule_that_refuses_is_counted() {
    let night = TestNight::new()
        .task("a", "Touch CI")
        .agent("mkdir -p .github/workflows; echo x > .github/workflows/x.yml");
    let night = night.run(&[]).exit(1).landed([]).then();
    let ran = night.call(&["history", "--by", "rule"]).exit(0);
    let told = ran.all();
    assert!(
        told.lines().any(|line| line.starts_with("inspection.") || line.starts_with("policy.")),
        "{told}"
    );
}

#[test]
fn an_empty_history_says_what_comes_first() {
    TestNight::new()
        .call(&["history"])
        .exit(0)
        .says("no night has run here yet")
        .says("next: nightshift check");
}
