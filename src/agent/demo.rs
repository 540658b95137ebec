//! The agent of `nightshift demo`: deterministic, without a network, as a program of its own.
//!
//! It runs as a [`CommandAgent`](super::CommandAgent) inside the demo repository's workspace and knows
//! four tasks: one that lands, one that needs its second attempt, one that breaks a rule, one that never
//! passes. Never part of a real night.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it is a program of its own: it reads its own environment and edits its workspace"
)]

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
    process::ExitCode,
    thread,
    time::Duration,
};

/// The hidden first argument that makes our binary the demo's agent.
pub const DEMO_AGENT: &str = "__demo-agent";

/// `src/greet.sh` as the demo repository has it at first.
pub const DEMO_GREETING: &str = r#"#!/bin/sh
# Greets people.

# greet NAME: prints one line.
greet() {
    printf 'Hello, %s!\n' "$1"
}
"#;

const FAREWELL: &str = r#"#!/bin/sh
# Says goodbye to people.

# farewell NAME: prints one line.
farewell() {
    printf 'Goodbye, %s!\n' "$1"
}
"#;

const FAREWELL_TEST: &str = r#". ./src/farewell.sh
[ "$(farewell Ada)" = "Goodbye, Ada!" ]
"#;

/// Takes blanks off the front only: the bug that the test finds.
const TRIM_FRONT: &str = r#"#!/bin/sh
# Greets people.

# greet NAME: prints one line. Blanks around the name do not count.
greet() {
    name=${1#"${1%%[! ]*}"}
    printf 'Hello, %s!\n' "$name"
}
"#;

const TRIM_BOTH: &str = r#"#!/bin/sh
# Greets people.

# greet NAME: prints one line. Blanks around the name do not count.
greet() {
    name=${1#"${1%%[! ]*}"}
    name=${name%"${name##*[! ]}"}
    printf 'Hello, %s!\n' "$name"
}
"#;

const TRIM_TEST: &str = r#". ./src/greet.sh
[ "$(greet '  Ada')" = "Hello, Ada!" ] &&
    [ "$(greet 'Ada  ')" = "Hello, Ada!" ] &&
    [ "$(greet ' Ada L. ')" = "Hello, Ada L.!" ]
"#;

const SHOUT: &str = r#"#!/bin/sh
# Greets people loudly.

# shout NAME: prints one line in capitals.
shout() {
    printf 'HELLO, %s!\n' "$1"
}
"#;

const SHOUT_TEST: &str = r#". ./src/shout.sh
[ "$(shout Ada)" = "HELLO, ADA!" ]
"#;

/// What the demo's agent does: files and their new contents, in order.
type Edits = &'static [(&'static str, &'static str)];

/// Runs the demo's agent in the working directory. The entry behind the hidden argument
/// `__demo-agent`; task and prompt come as they do for every command agent.
pub fn demo_agent_main() -> ExitCode {
    let task = std::env::var("NIGHTSHIFT_TASK").unwrap_or_default();
    let mut prompt = String::new();
    let _ = io::stdin().take(1024 * 1024).read_to_string(&mut prompt);
    match work(&task, &prompt, Path::new("."), Duration::from_millis(150)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("could not edit: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn say(line: &str) {
    println!("{line}");
    let _ = io::stdout().flush();
}

fn work(task: &str, prompt: &str, dir: &Path, pause: Duration) -> io::Result<()> {
    say("reading the task");
    thread::sleep(pause);
    let edits = edits(task, prompt);
    if edits.is_empty() {
        say("nothing to do here");
    }
    for (path, text) in edits {
        say(&format!("writing {path}"));
        let path = dir.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
        thread::sleep(pause);
    }
    say("done");
    Ok(())
}

fn edits(task: &str, prompt: &str) -> Edits {
    match task {
        "hello-1" => &[("src/farewell.sh", FAREWELL), ("tests/farewell_test.sh", FAREWELL_TEST)],
        // The gate's words in the prompt are what it learns from, not the number of the attempt.
        "hello-2" if prompt.contains("not ok trim_test") => {
            &[("tests/trim_test.sh", TRIM_TEST), ("src/greet.sh", TRIM_BOTH)]
        }
        "hello-2" => &[("tests/trim_test.sh", TRIM_TEST), ("src/greet.sh", TRIM_FRONT)],
        "hello-3" => &[
            ("docs/settings.md", "# Settings\n\nThe greeting's language is set in `.env`.\n"),
            (".env", "GREETING_LANGUAGE=en\n"),
        ],
        "hello-4" => &[("src/shout.sh", SHOUT), ("tests/shout_test.sh", SHOUT_TEST)],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs every test of the workspace as the demo's gate does; names of those that fail.
    fn red(dir: &Path) -> Vec<String> {
        let mut red = Vec::new();
        for entry in fs::read_dir(dir.join("tests")).unwrap().flatten() {
            let name = format!("tests/{}", entry.file_name().display());
            let status = Command::new("sh").arg(&name).current_dir(dir).status().unwrap();
            if !status.success() {
                red.push(name);
            }
        }
        red
    }

    fn after(task: &str, prompt: &str) -> (tempfile::TempDir, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        for directory in ["src", "tests"] {
            fs::create_dir(dir.path().join(directory)).unwrap();
        }
        fs::write(dir.path().join("src/greet.sh"), DEMO_GREETING).unwrap();
        work(task, prompt, dir.path(), Duration::ZERO).unwrap();
        let red = red(dir.path());
        (dir, red)
    }

    #[test]
    fn the_first_task_passes_at_once() {
        let (dir, red) = after("hello-1", "Add a farewell function");
        assert_eq!(red, [""; 0]);
        assert!(dir.path().join("src/farewell.sh").exists());
    }

    #[test]
    fn the_second_task_fails_until_it_reads_what_the_gate_said() {
        assert_eq!(after("hello-2", "Make the greeting trim blanks").1, ["tests/trim_test.sh"]);
        assert_eq!(after("hello-2", "attempt 2\nnot ok trim_test\n").1, [""; 0]);
    }

    #[test]
    fn the_third_task_writes_where_no_task_may() {
        assert!(after("hello-3", "").0.path().join(".env").exists());
    }

    #[test]
    fn the_fourth_task_fails_in_the_same_way_every_time() {
        let first = after("hello-4", "").1;
        assert_eq!(first, ["tests/shout_test.sh"]);
        assert_eq!(after("hello-4", "not ok shout_test").1, first);
    }
}
