//! `nightshift check` before bed: what is held against a task later, what collides, what comes too late, what a
//! night takes, and what to type.

use super::{CONFIG, PLAN, Past, Scene};

/// Five ready tasks: two meet in a file, one waits for one that is refused, two are beyond the limit.
const FIVE: &str = "\
### Ready

→ **[one]** Speed up the parser in src/parser.sh
  - Alignment score: 95/100
  - Estimated lines: 10
  - Tests defined: yes (tests/one.sh)

→ **[two]** Shorten src/parser.sh by a helper
  - Alignment score: 91/100
  - Estimated lines: 15
  - Tests defined: yes (tests/two.sh)

→ **[three]** Drop table users
  - Alignment score: 91/100
  - Estimated lines: 5
  - Tests defined: yes (tests/three.sh)

→ **[four]** Count the words
  - Alignment score: 92/100
  - Estimated lines: 4
  - Tests defined: yes (tests/four.sh)
  - Depends on: three

→ **[five]** Count the lines
  - Alignment score: 92/100
  - Estimated lines: 4
  - Tests defined: yes (tests/five.sh)
";

fn five() -> Scene {
    let scene = Scene::ready();
    scene.write("PROJECT_PLAN.md", FIVE);
    scene.write("src/parser.sh", "true\n");
    scene.write(".nightshift/config.yml", &format!("{CONFIG}limits:\n  tasks: 2\n"));
    scene.commit("five");
    scene
}

#[test]
fn one_screen_says_what_collides_what_starves_and_what_to_type() {
    let scene = five();
    let ran = scene.run(&["check"]);
    ran.holds(&[
        "WOULD RUN 2 of 3",
        "low 29",
        "one and two both change src/parser.sh; to keep them apart:",
        "`Depends on: one` below two",
        "no  three   its title asks for \"drop table\"",
        "?   four    it needs three; three: its title asks for \"drop table\"",
        "..  five    the limit is 2 tasks a night (.nightshift/config.yml:7)",
        "nightshift run --max-tasks 3",
        "takes: at most 4h and $10.00; agent demo has worked in no earlier night here",
    ]);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines.len() <= 30, "{} lines\n{}", lines.len(), ran.stdout);
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{}", ran.stdout);
    let data = scene.run(&["check", "--json"]).data("check");
    let collision = &data["lint"]["collisions"][0];
    assert_eq!((&collision["path"], &collision["sure"]), (&"src/parser.sh".into(), &true.into()));
    assert_eq!(data["tasks"][4]["type"], "nightshift run --max-tasks 3");
    assert_eq!(data["tasks"][0]["files"][0], "src/parser.sh");
    assert_eq!(data["tasks"][0]["level"], "low");
    assert_eq!(data["lint"]["figures"], serde_json::Value::Null);
}

#[test]
fn strict_counts_what_is_held_back_and_what_collides() {
    let scene = five();
    assert_eq!((scene.run(&["check"]).code, scene.run(&["check", "--strict"]).code), (0, 1));
    let apart = FIVE.replace("(tests/two.sh)\n", "(tests/two.sh)\n  - Depends on: one\n");
    let only = apart.split("→ **[three]**").next().unwrap();
    scene.write("PROJECT_PLAN.md", only);
    let ran = scene.run(&["check", "--strict"]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
}

#[test]
fn what_waits_for_the_diff_is_said_beforehand_with_its_line() {
    let scene = five();
    let settings =
        format!("{CONFIG}policy:\n  max_changed_lines: 77\n  risk:\n    low: {{proof: 55}}\n");
    scene.write(".nightshift/config.yml", &settings);
    let plan = FIVE.replace("(tests/one.sh)\n", "(tests/one.sh)\n  - Files: src/parser.sh\n");
    scene.write("PROJECT_PLAN.md", &plan);
    scene.commit("stricter");
    let ran = scene.run(&["check", "--explain", "-t", "one"]);
    ran.holds(&[
        "after the run, on its diff, its gate and its tests:",
        "ask     inspection.lines          at most 77 (.nightshift/config.yml:7)",
        "of these only src/parser.sh, src/parser.sh/**, tests/one.sh, tests/one.sh/** (built in)",
        "ask     gate.proof                risk low 29: a score of at least 55 (.nightshift/config.yml:9)",
        "refuse  inspection.protected",
    ]);
    let data = scene.run(&["check", "--json", "-t", "one"]).data("check");
    let later = data["tasks"][0]["later"].as_array().unwrap();
    let lines = later.iter().find(|rule| rule["rule"] == "inspection.lines").unwrap();
    assert_eq!(lines["origin"], ".nightshift/config.yml:7");
}

#[test]
fn earlier_nights_are_the_only_ground_for_figures() {
    let scene = Scene::ready();
    Past::night(&scene, true);
    scene.write("PROJECT_PLAN.md", &PLAN.replace("Add a greeting", "Add another greeting"));
    let ran = scene.run(&["check"]);
    ran.holds(&["WOULD RUN 2", "takes: about ", "one try: ", "(1 in 1 night)"]);
    let data = scene.run(&["check", "--json"]).data("check");
    let figures = &data["lint"]["figures"];
    assert_eq!((&figures["nights"], &figures["attempt"]["count"]), (&1.into(), &1.into()));
    let one = figures["task"]["seconds"][1].as_u64().unwrap();
    assert!(one > 0 && data["lint"]["tonight"]["seconds"] == 2 * one, "{}", data["lint"]);
    // A night that could only hold the first of them.
    let settings = format!("{CONFIG}limits:\n  time: {one}s\n");
    scene.write(".nightshift/config.yml", &settings);
    scene.commit("a short night");
    let late = scene.run(&["check"]);
    late.holds(&["are probably over by then"]);
    assert_eq!(late.stdout.matches("probably over").count(), 1, "{}", late.stdout);
}

#[test]
fn a_task_behind_one_of_an_earlier_night_says_why() {
    let scene = Scene::ready();
    Past::night(&scene, true);
    // Task 1 failed and has not changed; task 2 needs it.
    scene.run(&["check"]).holds(&[
        "task_1  it failed in night 2026-11-21",
        "..  task_2  it needs task_1; task_1: it failed in night 2026-11-21",
    ]);
}
