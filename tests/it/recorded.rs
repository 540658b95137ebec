//! The recordings of Claude Code are what their table says they are, and tell nothing of the machine on which
//! they were made.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use crate::tidy;

const HOME: &str = "tests/recorded/claude";
const SESSION: &str = "5b0c2f0e-6c8e-4a51-9d0f-0f7a3c1e8b11";

/// Names of the recordings: files without their ending.
fn files(ending: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(tidy::root().join(HOME)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| Some(name.strip_suffix(ending)?.to_owned())).collect()
}

/// The rows of the tables: name, exit code or signal, requests.
fn rows() -> Vec<[String; 3]> {
    let text = tidy::read(&format!("{HOME}/README.md"));
    let cells = |line: &str| {
        let cells: Vec<String> = line.split(" | ").map(str::to_owned).collect();
        let name = cells.first()?.strip_prefix("| `")?.strip_suffix('`')?.to_owned();
        Some([name, cells.get(2)?.clone(), cells.get(3)?.clone()])
    };
    text.lines().filter_map(cells).collect()
}

#[test]
fn every_row_has_its_recording_and_every_recording_its_row() {
    let rows: BTreeSet<String> = rows().into_iter().map(|[name, ..]| name).collect();
    assert!(rows.len() > 80, "the tables were not recognised: {rows:?}");
    let printed = files(".jsonl");
    for name in printed.union(&files(".stderr")) {
        assert!(rows.contains(name.trim_end_matches("_first")), "{name} is in no table");
    }
    // What is refused at the start, and what was asked nothing, prints nothing.
    let silent: Vec<&String> = rows.difference(&printed).collect();
    assert_eq!(silent, ["bad_flag", "missing_settings", "no_input", "session_in_use"]);
}

#[test]
fn a_recording_holds_frames_of_its_session_and_nothing_of_a_machine() {
    for name in files(".jsonl") {
        let text = tidy::read(&format!("{HOME}/{name}.jsonl"));
        for secret in ["/tmp/", "/home/", "/root", "/Users/", "sk-ant"] {
            assert!(!text.contains(secret), "{name} holds {secret}");
        }
        for line in text.lines() {
            let frame: Value = serde_json::from_str(line).unwrap();
            let session = frame["session_id"].as_str();
            let ours = session == Some(SESSION) || name == "resume_unknown";
            // An answer to a request of ours names the request.
            assert!(ours || frame["type"] == "control_response", "{name}: {line}");
        }
    }
}

#[test]
fn the_exit_code_is_that_of_the_last_result() {
    for [name, exit, _] in rows() {
        let Ok(text) = fs::read_to_string(tidy::root().join(HOME).join(format!("{name}.jsonl")))
        else {
            continue;
        };
        let frames = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let last = frames.rev().find(|frame| frame["type"] == "result");
        let expected = match last {
            Some(result) if result["is_error"] == true => "1",
            Some(_) => "0",
            None => continue,
        };
        // A signal, and a line that was no line, end it after its result.
        if !name.starts_with("sig") && name != "bad_input_line" {
            assert_eq!(exit, expected, "{name}");
        }
    }
}
