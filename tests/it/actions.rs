//! Nights in a job of GitHub Actions: what the program writes is read by the documented rules of the runner.

use std::{collections::BTreeMap, fs};

use crate::support::night::{Ran, TestNight};

/// What a runner takes out of the lines of a step (actions/runner: `ActionCommand.cs`, `OutputManager.cs`): orders
/// with their properties and data, and the other lines. `::` at a line's beginning and `##[` anywhere are orders, and
/// nothing is while commands are stopped, but the token.
#[derive(Debug, Default)]
struct Read {
    orders: Vec<(String, BTreeMap<String, String>, String)>,
    lines: Vec<String>,
}

fn unescaped(text: &str, property: bool) -> String {
    let text = text.replace("%0D", "\r").replace("%0A", "\n");
    let text = if property { text.replace("%3A", ":").replace("%2C", ",") } else { text };
    text.replace("%25", "%")
}

fn read(said: &str) -> Read {
    let mut found = Read::default();
    let mut stopped: Option<String> = None;
    for line in said.lines() {
        if let Some(token) = &stopped {
            if line.trim() == format!("::{token}::") {
                stopped = None;
            } else {
                found.lines.push(line.to_owned());
            }
            continue;
        }
        assert!(!line.contains("##["), "an order of the old form: {line}");
        let Some((head, data)) =
            line.trim_start().strip_prefix("::").and_then(|l| l.split_once("::"))
        else {
            found.lines.push(line.to_owned());
            continue;
        };
        let (name, rest) = head.split_once(' ').unwrap_or((head, ""));
        let properties = rest.split(',').filter_map(|pair| pair.split_once('='));
        let properties =
            properties.map(|(key, value)| (key.to_owned(), unescaped(value, true))).collect();
        if name == "stop-commands" {
            assert!(data.len() > 32, "a token that can be guessed: {data}");
            stopped = Some(data.to_owned());
        } else {
            found.orders.push((name.to_owned(), properties, unescaped(data, false)));
        }
    }
    assert_eq!(stopped, None, "commands were never begun again");
    found
}

impl Read {
    fn named(&self, name: &str) -> Vec<&str> {
        let named = self.orders.iter().filter(|(own, ..)| own == name);
        named.map(|(_, _, data)| data.as_str()).collect()
    }
}

/// The values of a file of outputs: `name<<MARK`, lines, `MARK`.
fn outputs(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let (name, mark) = line.split_once("<<").unwrap();
        let value: Vec<&str> = lines.by_ref().take_while(|line| *line != mark).collect();
        found.insert(name.to_owned(), value.join("\n"));
    }
    found
}

fn in_a_job(night: TestNight) -> TestNight {
    let [summary, output] = ["summary.md", "output"].map(|name| night.path(name));
    night
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", summary.to_str().unwrap())
        .env("GITHUB_OUTPUT", output.to_str().unwrap())
}

fn hostile() -> TestNight {
    let said = "printf '%s\\n' '::error::from an agent%0A' '##[add-mask]y' '::endgroup::'";
    in_a_job(
        TestNight::new()
            .task("a", "Add ::warning::one ##[error]two")
            .task("b", "Break it")
            .one_at_a_time()
            .agent(&format!(
                "{said}; case $NIGHTSHIFT_TASK in a) echo a > src/a.txt;; *) echo bad > src/bad.txt;; esac"
            ))
            .gate(&format!("#!/bin/sh\n{said}\ntest ! -e src/bad.txt\n")),
    )
}

fn written(ran: &Ran, name: &str) -> String {
    fs::read_to_string(ran.night.path(name)).unwrap_or_default()
}

#[test]
fn a_night_in_a_job_folds_its_lines_and_says_what_a_person_must_see() {
    let ran = hostile().run(&[]).exit(1).landed(["a"]);
    let said = read(&String::from_utf8_lossy(&ran.output.stderr));
    let groups = said.named("group");
    assert_eq!(groups.len(), 2, "{said:#?}");
    assert!(groups[0].starts_with("a landed, 1 try") && groups[1].starts_with("b failed, "));
    assert_eq!(said.named("endgroup").len(), 2);
    assert!(said.lines.iter().any(|line| line.contains(" landed")), "{said:#?}");
    let errors: Vec<_> = said.orders.iter().filter(|(name, ..)| name == "error").collect();
    assert_eq!(errors.len(), 1, "{said:#?}");
    assert_eq!(errors[0].1["title"], "b failed");
    assert_eq!(errors[0].1["file"], "PROJECT_PLAN.md");
    assert!(errors[0].2.starts_with("Break it: "), "{said:#?}");
    let known = ["group", "endgroup", "error", "warning", "notice"];
    assert!(said.orders.iter().all(|(name, ..)| known.contains(&name.as_str())), "{said:#?}");
    assert!(read(&String::from_utf8_lossy(&ran.output.stdout)).orders.is_empty());

    let summary = written(&ran, "summary.md");
    assert!(summary.starts_with("### nightshift ") && summary.contains("**1 commit to review"));
    assert!(!summary.contains("- [ ]") && !summary.contains("<!--"), "{summary}");
    let values = outputs(&written(&ran, "output"));
    assert_eq!((&*values["landed"], &*values["failed"], &*values["pr-url"]), ("1", "1", ""));
    let night = ran.branch().unwrap();
    assert_eq!(format!("nightshift/{}", values["night"]), night);

    // Logs are all foreign: nothing in them is an order.
    let ran = ran.then().call(&["logs", "b@1", "--gate"]);
    let said = read(&String::from_utf8_lossy(&ran.output.stdout));
    assert!(said.orders.is_empty(), "{said:#?}");
    assert!(said.lines.iter().any(|line| line.contains("from an agent")), "{}", ran.all());
    // What only looks adds nothing to a summary.
    assert_eq!(written(&ran, "summary.md"), summary);
    let ran = ran.then().call(&["run"]);
    assert_eq!(written(&ran, "summary.md"), summary, "{}", ran.all());
    let both = written(&ran, "output");
    assert_eq!(both.matches("landed<<").count(), 2, "{both}");
    assert_eq!(outputs(&both)["landed"], "0", "the last counts: nothing was ready");
}

#[test]
fn json_and_silence_stay_what_they_are_in_a_job() {
    let ran = hostile().run(&["--json"]).exit(1);
    let stdout = String::from_utf8_lossy(&ran.output.stdout).into_owned();
    for line in stdout.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    let said = read(&String::from_utf8_lossy(&ran.output.stderr));
    assert!(said.named("group").is_empty() && said.named("error").len() == 1, "{said:#?}");
    assert_eq!(outputs(&written(&ran, "output"))["landed"], "1");
    let ran = hostile().run(&["-q"]).exit(1);
    assert_eq!(ran.all().trim(), "");
    assert!(written(&ran, "summary.md").contains("1 commit to review"));
}

#[test]
fn outside_of_a_job_nothing_of_it_is_written() {
    let night = hostile().env("GITHUB_ACTIONS", "");
    let ran = night.run(&[]).exit(1);
    assert!(!ran.all().contains("::group::"), "{}", ran.all());
    assert_eq!(written(&ran, "summary.md") + &written(&ran, "output"), "");
}

#[test]
fn a_file_that_cannot_be_written_is_said_and_ends_no_night() {
    let night = hostile();
    let nowhere = night.path("no/such/place");
    let ran = night.env("GITHUB_OUTPUT", nowhere.to_str().unwrap()).run(&[]).exit(1).landed(["a"]);
    ran.says("the job does not learn how it ended");
}
