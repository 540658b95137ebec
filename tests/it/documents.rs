//! What the documents tell people to type, typed: every block of commands in the README and in `docs/` is found by
//! parsing and run against a repository with a night behind it, and what it is said to print is compared.
//!
//! A command that cannot be run here stands in [`PARSED`] with the reason; its verb and its flags are read all the
//! same. A block that is neither commands nor named data fails.

use std::path::Path;

use crate::{
    screens::{in_shell, parsed},
    support::night::TestNight,
    tidy::{read, root},
};

/// Commands of ours that are only parsed, by how they begin, and why they are not run.
const PARSED: [(&str, &str); 6] = [
    ("nightshift run", "starts the agent of the person who reads"),
    ("nightshift -q run", "the same, for a crontab"),
    ("nightshift init", "the repository has its settings; tests/it/cli.rs runs it on an empty one"),
    (
        "nightshift verify 482",
        "needs a pull request on GitHub; tests/it/verify.rs runs it against a fake one",
    ),
    ("nightshift verify main..some-branch", "the branch is the reader's"),
    (
        "nightshift verify HEAD --require-all",
        "the base's own commits are a person's, so that it rightly says no",
    ),
];

/// Programs that the documents' scripts start beside ours; what they do is not ours to test.
const OTHERS: [&str; 6] = ["git", "cargo", "export", "cd", "gh", "curl"];

/// Languages of blocks that are data, each read by the program's own parsers in tests/it/examples.rs or shown only.
const DATA: [&str; 4] = ["yaml", "markdown", "json", "toml"];

/// Blocks of text that nobody types: file, first words, what they are.
const SHOWN: [(&str, &str, &str); 6] = [
    ("README.md", "PROJECT_PLAN.md      which tasks", "a drawing"),
    (
        "docs/verify.md",
        "night 2026-11-21 at",
        "an example of two kinds of \"no\", which tests/it/verify.rs makes",
    ),
    ("docs/notify.md", "acme/billing: 4 commits", "lines that tests/it/notify.rs makes"),
    ("docs/reports.md", "<testcase name=", "a part of a file that tests/it/formats.rs checks"),
    ("docs/reports.md", "# HELP nightshift_night_tasks", "the same"),
    ("docs/reports.md", "night,task,title,outcome", "the same"),
];

/// Scripts that are files, not commands.
const FILES: [(&str, &str); 1] = [("docs/agents.md", "run as an agent by tests/it/examples.rs")];

/// A fenced block of a document.
#[derive(Debug)]
struct Block {
    file: String,
    /// Of its first line inside, from 1.
    line: usize,
    language: String,
    lines: Vec<String>,
}

/// A command of a document, and what is said to be printed.
#[derive(Debug, PartialEq, Eq)]
struct Typed {
    command: String,
    printed: Vec<String>,
}

fn documents() -> Vec<String> {
    let mut files: Vec<String> = std::fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "md"))
        .map(|name| format!("docs/{name}"))
        .collect();
    files.push("README.md".to_owned());
    files.sort();
    files
}

fn blocks(file: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    for (at, line) in text.lines().enumerate() {
        let inner = line.trim_start();
        let ticks = inner.len() - inner.trim_start_matches('`').len();
        match &mut open {
            None if ticks >= 3 => {
                let language = inner[ticks..].trim().to_owned();
                let block =
                    Block { file: file.to_owned(), line: at + 2, language, lines: Vec::new() };
                open = Some((ticks, block));
            }
            Some((fence, _)) if ticks >= *fence && inner.len() == ticks => {
                blocks.extend(open.take().map(|(_, block)| block));
            }
            Some((_, block)) => block.lines.push(line.to_owned()),
            None => {}
        }
    }
    assert!(open.is_none(), "{file}: a fence is not closed");
    blocks
}

/// What is typed in a block; `None` when nothing in it is.
fn typed(block: &Block) -> Option<Vec<Typed>> {
    let command = |line: &str| Typed { command: line.trim().to_owned(), printed: Vec::new() };
    match block.language.as_str() {
        "console" | "text" | "" => {
            let mut typed: Vec<Typed> = Vec::new();
            for line in &block.lines {
                if let Some(line) = line.strip_prefix("$ ") {
                    typed.push(command(line));
                } else if let Some(last) = typed.last_mut() {
                    last.printed.push(line.clone());
                } else if line.starts_with("nightshift ") && block.language != "console" {
                    typed.push(command(line));
                }
            }
            (!typed.is_empty()).then_some(typed)
        }
        "sh" | "bash" => {
            let lines = block.lines.iter().map(|line| line.trim());
            let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            Some(lines.map(|line| command(line.split("  #").next().unwrap_or(line))).collect())
        }
        "crontab" => {
            let lines =
                block.lines.iter().filter(|line| !line.contains('=') && !line.starts_with('#'));
            let words = lines.map(|line| line.splitn(6, ' ').nth(5).unwrap_or(line));
            Some(words.map(command).collect())
        }
        _ => None,
    }
}

/// A repository with a night behind it, in which the names of the documents mean something.
fn scene() -> TestNight {
    let agent = "case $NIGHTSHIFT_TASK in
        task_3) echo more >> src/a.txt;;
        task_5) echo cache > src/cache.txt;;
        task_6) echo log > src/log.txt;;
        task_7) echo broken $NIGHTSHIFT_ATTEMPT > src/b.txt;;
        task_8) seq 14 >> src/import.sh; chmod +x src/import.sh;;
        esac";
    let task = |id: &str, title: &str, more: &str| {
        format!(
            "→ **[{id}]** {title}\n  - Alignment score: 95/100\n  - Estimated lines: 20\n  \
             - Tests defined: ✅ Yes\n  - Status: READY\n{more}\n"
        )
    };
    let plan = format!(
        "# Plan\n\n## Ready\n\n{}{}{}{}{}",
        task("task_3", "Add a line", ""),
        task("task_5", "Add a cache", ""),
        task("task_6", "Log cache misses", "  - Depends on: task_5\n"),
        task("task_7", "Break it", ""),
        task("task_8", "Run the import as a script", ""),
    );
    let night = TestNight::new().file("src/import.sh", "#!/bin/sh\n").plan(&plan).agent(agent);
    night.one_at_a_time().run(&[]).exit(1).then()
}

/// Night, hashes and runs of blanks are whatever they are.
fn alike(line: &str, night: &str) -> String {
    let words = line.replace(night, "2026-11-21");
    let hash = |word: &str| {
        (7..=40).contains(&word.len())
            && word.chars().all(|c| c.is_ascii_hexdigit())
            && word != "2026-11-21"
    };
    let words = words.split_whitespace();
    words.map(|word| if hash(word) { "HASH" } else { word }).collect::<Vec<_>>().join(" ")
}

/// Runs what a block says; words about what is wrong.
fn tried(night: &TestNight, name: &str, block: &Block, typed: &[Typed]) -> Vec<String> {
    let mut wrong = Vec::new();
    for Typed { command, printed } in typed {
        let place = format!("{}:{}: `{command}`", block.file, block.line);
        let ours: Vec<&str> = command
            .split("&&")
            .map(str::trim)
            .filter(|part| part.starts_with("nightshift"))
            .collect();
        for part in command.split("&&").map(str::trim) {
            let program = part.split_whitespace().next().unwrap_or_default();
            if program != "nightshift" && !OTHERS.contains(&program) {
                wrong.push(format!(
                    "{place}: `{program}` is no program that the documents start; a block of output is ```text, and is \
                     named in SHOWN of tests/it/documents.rs"
                ));
            }
        }
        for part in ours {
            let part = part.replace("2026-11-21", name);
            let output = parsed(night, &part);
            if !output.status.success() {
                let why = String::from_utf8_lossy(&output.stderr);
                wrong.push(format!("{place}: the program has no such command or flag: {why}"));
                continue;
            }
            if PARSED.iter().any(|(begins, _)| part.starts_with(begins)) {
                continue;
            }
            let output = in_shell(night, &part);
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            // Notes come before results.
            let all = text(&output.stderr) + &text(&output.stdout);
            if !matches!(output.status.code(), Some(0 | 1)) {
                wrong.push(format!(
                    "{place} ended with {:?} in the repository of tests/it/documents.rs, which has the tasks task_3 to \
                     task_8 (`scene`). Let it name one of those, or say in PARSED why it cannot be run:\n{all}",
                    output.status.code()
                ));
                continue;
            }
            let mut lines = all.lines().map(|line| alike(line, name));
            for line in printed.iter().filter(|line| !line.trim().is_empty() && line.trim() != "…")
            {
                let line = alike(line, name);
                if !lines.any(|found| found == line) {
                    wrong.push(format!("{place} does not print `{line}` (there), but:\n{all}"));
                    break;
                }
            }
        }
    }
    wrong
}

/// Why a block that nobody types may be there; `None` when it may not.
fn excused(block: &Block) -> Option<&'static str> {
    let first = block.lines.first().map_or("", String::as_str);
    let shown =
        SHOWN.iter().find(|(file, begins, _)| *file == block.file && first.starts_with(begins));
    let script = FILES.iter().find(|(file, _)| *file == block.file && first.starts_with("#!"));
    shown.map(|(.., why)| *why).or(script.map(|(_, why)| *why))
}

#[test]
fn every_command_of_the_documents_runs_and_prints_what_is_said() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in documents() {
        let mut night: Option<(TestNight, String)> = None;
        for block in blocks(&file, &read(&file)) {
            if DATA.contains(&block.language.as_str()) || excused(&block).is_some() {
                continue;
            }
            let Some(typed) = typed(&block) else {
                wrong.push(format!(
                    "{file}:{}: a block of `{}` with nothing to type: begin commands with `$ `, or name the block in \
                     SHOWN of tests/it/documents.rs with what it is",
                    block.line, block.language
                ));
                continue;
            };
            let (night, name) = night.get_or_insert_with(|| {
                let night = scene();
                let name =
                    night.journal().unwrap().parent().unwrap().file_name().unwrap().to_owned();
                (night, name.into_string().unwrap())
            });
            count += typed.len();
            wrong.extend(tried(night, name, &block, &typed));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(count > 20, "{count} commands were found");
}

#[test]
fn every_excuse_is_needed() {
    let all: Vec<Block> = documents().iter().flat_map(|file| blocks(file, &read(file))).collect();
    for (file, begins, _) in SHOWN {
        let used = all.iter().any(|block| {
            block.file == file && block.lines.first().is_some_and(|line| line.starts_with(begins))
        });
        assert!(used, "SHOWN: {file} has no block that begins with `{begins}`");
    }
    let commands: Vec<String> =
        all.iter().filter_map(typed).flatten().map(|typed| typed.command).collect();
    for (begins, _) in PARSED {
        assert!(
            commands.iter().any(|line| line.contains(begins)),
            "PARSED: nobody types `{begins}`"
        );
    }
}

#[test]
fn blocks_are_found_by_parsing() {
    let text = "a\n```console\n$ nightshift status\nNight\n…\n$ nightshift check\n```\n````text\n```\nx\n```\n````\n";
    let found = blocks("x.md", text);
    assert_eq!(found.len(), 2);
    let typed_first = typed(&found[0]).unwrap();
    assert_eq!(typed_first.len(), 2);
    assert_eq!(typed_first[0].printed, ["Night", "…"]);
    assert_eq!((found[0].line, typed(&found[1])), (3, None));
    let wrong = Block {
        lines: vec!["frobnicate now".to_owned()],
        language: "sh".to_owned(),
        ..blocks("x.md", text).remove(0)
    };
    let night = TestNight::new().commit();
    let said = tried(&night, "2026-01-01", &wrong, &typed(&wrong).unwrap());
    assert!(said[0].contains("`frobnicate` is no program"), "{said:?}");
    let no_flag = Block { lines: vec!["nightshift status --frobnicate".to_owned()], ..wrong };
    let said = tried(&night, "2026-01-01", &no_flag, &typed(&no_flag).unwrap());
    assert!(said[0].contains("no such command or flag"), "{said:?}");
}
