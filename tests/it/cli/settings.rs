//! `nightshift config` through the real program: layers, origins, schema.

use std::fs;

use super::{CONFIG, Scene};

/// Writes the user's own file.
fn mine(scene: &Scene, text: &str) {
    let directory = scene.home().join(".config/nightshift");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("nightshift.yml"), text).unwrap();
}

fn layered() -> Scene {
    let scene = Scene::ready();
    scene.write(
        ".nightshift/config.yml",
        &format!("{CONFIG}limits:\n  tasks: 9\npolicy:\n  max_estimated_lines: 50\n"),
    );
    scene.commit("settings");
    mine(&scene, "limits: {tasks: 1}\npolicy:\n  max_estimated_lines: 45\n  min_alignment: 93\n");
    scene
}

#[test]
fn the_stricter_of_both_files_holds_and_every_value_names_its_line() {
    let scene = layered();
    scene.run(&["config", "show", "--origin"]).holds(&[
        "  tasks: 1  # ~/.config/nightshift/nightshift.yml:1\n",
        "  max_estimated_lines: 45  # ~/.config/nightshift/nightshift.yml:3\n",
        "  attempts: 3  # built in\n",
        "  use: demo  # .nightshift/config.yml:5\n",
    ]);
    assert_eq!(scene.run(&["config", "get", "limits.tasks"]).stdout, "1\n");
    // Task 3 has 41 lines, and task 2 a score of 92.
    let check = scene.run(&["check", "--explain", "-t", "task_2"]);
    check.holds(&["limit: at least 93 (~/.config/nightshift/nightshift.yml:4)"]);
    scene.run(&["check", "-t", "task_3"]).holds(&["WOULD RUN 1"]);
    let root = fs::canonicalize(scene.repository()).unwrap();
    let own =
        format!("limits: {{tasks: 1}}\nrepos:\n  {}: {{limits: {{tasks: 7}}}}\n", root.display());
    mine(&scene, &own);
    let data = scene.run(&["config", "show", "--json"]).data("config");
    assert_eq!(data["settings"]["limits"]["tasks"], 7);
    assert_eq!(data["origins"]["limits.tasks"], "~/.config/nightshift/nightshift.yml:3");
    assert_eq!(data["file"], ".nightshift/config.yml");
}

#[test]
fn what_is_shown_can_be_used_as_the_file() {
    let scene = layered();
    let shown = scene.run(&["config", "show"]).stdout;
    scene.write(".nightshift/config.yml", &shown);
    scene.commit("as it is shown");
    mine(&scene, "");
    assert_eq!(scene.run(&["config", "show"]).stdout, shown);
}

#[test]
fn wrong_settings_and_unknown_keys_are_told_with_their_place() {
    let scene = layered();
    let ran = scene.run(&["config", "get", "limits.task"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("did you mean `limits.tasks`?"), "{}", ran.stderr);
    mine(&scene, "limits:\n  tasks: many\n");
    let ran = scene.run(&["config", "show"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--> ~/.config/nightshift/nightshift.yml:2:10"), "{}", ran.stderr);
}

#[test]
fn schema_and_places_need_no_repository() {
    let scene = Scene::empty();
    let home = scene.home();
    let schema = scene.run_in(&home, &["config", "schema"]).stdout;
    let held = crate::tidy::read("schema/config.v1.json");
    assert_eq!(schema, held);
    scene.run_in(&home, &["config", "schema", "--user"]).holds(&["\"repos\""]);
    let path = scene.run_in(&home, &["config", "path"]);
    path.holds(&["yours       ~/.config/nightshift/nightshift.yml\n"]);
    assert!(!path.stdout.contains("repository"), "{}", path.stdout);
    scene.run(&["config", "path"]).holds(&["repository  .nightshift/config.yml  (not there)"]);
}

#[test]
fn the_policy_is_printed_with_limits_reasons_and_origins() {
    let scene = layered();
    scene.run(&["config", "show", "--policy"]).holds(&[
        "## Can\n",
        "## Cannot\n",
        "## Needs approval\n",
        "`at most 45`",
        "(`policy.max_estimated_lines`, ~/.config/nightshift/nightshift.yml:3)",
    ]);
    let data = scene.run(&["config", "show", "--policy", "--json"]).data("policy");
    let rules = data["rules"].as_array().unwrap();
    let lines = rules.iter().find(|rule| rule["rule"] == "admission.lines").unwrap();
    assert_eq!((&lines["limit"], &lines["verdict"]), (&"at most 45".into(), &"ask".into()));
}
