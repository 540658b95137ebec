//! `nightshift add` through the real program: one task more in the plan, in its style, and nothing else.

use std::{
    fs,
    io::Write as _,
    process::{Output, Stdio},
};

use serde_json::Value;

use crate::support::night::TestNight;

fn add(night: &TestNight, arguments: &[&str], input: &str) -> Output {
    let mut command = night.command(&[&["add"], arguments].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn says(output: &Output, code: i32, words: &[&str]) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{all}");
    for words in words {
        assert!(all.contains(words), "no `{words}` in:\n{all}");
    }
}

fn plan(night: &TestNight) -> String {
    fs::read_to_string(night.repo().join("PROJECT_PLAN.md")).unwrap()
}

const FULL: &[&str] =
    &["--ready", "--score", "95", "--lines", "10", "--tests", "yes", "--files", "src/**"];

#[test]
fn a_ready_task_is_written_in_the_plans_style_and_runs_in_the_next_night() {
    let night = TestNight::new()
        .plan("# Plan\r\n\r\n## Ready\r\n\r\n## Pending\r\n\r\n→ **[task_7]** Wait\r\n  - Files: a\r\n")
        .agent("echo $NIGHTSHIFT_TASK > src/from_new.txt")
        .commit();
    let head = night.git(&["rev-parse", "HEAD"]);
    let before = plan(&night);
    let output = add(&night, &[FULL, &["Add a greeting", "--accept", "it greets"]].concat(), "");
    says(&output, 0, &["task_8: added: PROJECT_PLAN.md:5", "it would run tonight"]);
    let block = "→ **[task_8]** Add a greeting\r\n  - Alignment score: 95/100\r\n  - Estimated lines: 10\r\n  \
                 - Tests defined: yes\r\n  - Files: src/**\r\n  - Acceptance: it greets\r\n\r\n";
    let after = plan(&night);
    assert_eq!(after.replacen(block, "", 1), before);
    assert_ne!(after, before);
    assert_eq!(night.git(&["rev-parse", "HEAD"]), head, "nothing was committed");
    night.run(&[]).exit(0).landed(["task_8"]);
}

#[test]
fn what_would_not_run_says_why_and_what_sounds_alike_is_named() {
    let night = TestNight::new().task("a", "Add a greeting").commit();
    let output = add(&night, &["Add a  greetings", "--ready", "--after", "a"], "");
    says(&output, 0, &["note: a sounds alike: Add a greeting", "it would not run: "]);
    let output = add(&night, &["Choose a name", "--id", "name-1", "--json"], "");
    says(&output, 0, &[]);
    let data: Value = serde_json::from_slice(&output.stdout).unwrap();
    let data = &data["data"];
    assert_eq!((&data["task"], &data["would_run"]), (&"name-1".into(), &false.into()));
    assert_eq!(data["next"], "nightshift approve 'name-1' lets it run");
    assert!(plan(&night).contains("## Pending\n\n→ **[name-1]** Choose a name\n"));
    // What cannot be written is refused, and the file is as it was.
    let before = plan(&night);
    for (arguments, words) in [
        (&["Other", "--id", "a"][..], "the plan has a task `a` already"),
        (&["Open a <!-- comment"], "otherwise than it is meant"),
        (&["Other", "--files", "/etc/passwd"], "otherwise than it is meant"),
        (&["  "], "a title is one line"),
    ] {
        says(&add(&night, arguments, ""), 2, &[words]);
        assert_eq!(plan(&night), before, "{arguments:?}");
    }
}

#[test]
fn a_block_from_standard_input_keeps_its_id_and_its_lines_and_a_plan_is_begun_where_there_is_none()
{
    let night = TestNight::new().commit();
    fs::remove_file(night.repo().join("PROJECT_PLAN.md")).unwrap();
    night.git(&["rm", "-q", "--cached", "PROJECT_PLAN.md"]);
    let block = "- [ ] **[X-3]** Tell the time\n    - Files: src/a.txt\n    - Notes: with seconds\n\n    In UTC.\n";
    let output = add(&night, &["-", "--ready"], block);
    says(&output, 0, &["X-3: added: PROJECT_PLAN.md:8"]);
    let now = plan(&night);
    let lines = "## Ready\n\n- **[X-3]** Tell the time\n  - Files: src/a.txt\n  - Notes: with seconds\n\n  In UTC.\n\n## Pending\n";
    assert!(now.contains(lines), "{now}");
    let output = add(&night, &["-"], "Say it twice\n");
    says(&output, 0, &["X-4: added", "nightshift approve 'X-4'"]);
    says(&add(&night, &["-"], "\n"), 2, &["standard input has no title"]);
}
