//! What people see on screens of any width, in any script, without colours and without Unicode: no line is broken in
//! the middle of what must be copied, none is wider than the screen otherwise, and each open point has its command.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use unicode_width::UnicodeWidthStr as _;

use crate::support::night::TestNight;

const LONG: &str = "Teach the importer to read files that were written by the machine of another vendor \
                    many years ago, and to say so";
const CJK: &str =
    "日本語の題名はとても長いので一行には収まらないことがありますから気をつけてください";
const EMOJI: &str =
    "🦀 crabs 🚀 rockets 👩‍👩‍👧 families and 🎉 parties in one title of a task that goes on";

/// 64 bytes, as long as an id may be.
fn long_id() -> String {
    format!("task-{}", "long-name-".repeat(6)).chars().take(64).collect()
}

/// A night with something of every kind: landed, failed, held, asked, refused, not done.
fn every_kind() -> TestNight {
    let agent = format!(
        "case $NIGHTSHIFT_TASK in
        landed) echo more >> src/a.txt;;
        {}) echo more >> src/l.txt;;
        failed) echo broken $NIGHTSHIFT_ATTEMPT > src/b.txt;;
        held) echo '#!/bin/sh' > src/run.sh; chmod +x src/run.sh;;
        asked) printf '%s\\n' '```nightshift' '{{\"questions\": [\"Which of both ways of doing it is the one that you \
         would like to have in the end?\"]}}' '```';;
        esac",
        long_id()
    );
    let plan = format!(
        "# Plan\n\n## Ready\n\n{}{}{}{}{}{}- [ ] **[late]** Do it after that\n  - Estimated lines: 5\n  - Tests defined: Yes\n  \
         - Alignment score: 95/100\n  - Status: READY\n  - Depends on: failed\n",
        task("landed", CJK, 10),
        task(&long_id(), LONG, 10),
        task("failed", EMOJI, 10),
        task("held", "Run it as a script", 10),
        task("asked", LONG, 10),
        task("big", "Rewrite the whole of it in one evening", 4_000),
    );
    TestNight::new().plan(&plan).agent(&agent).one_at_a_time()
}

fn task(id: &str, title: &str, lines: u32) -> String {
    format!(
        "→ **[{id}]** {title}\n  - Alignment score: 95/100\n  - Estimated lines: {lines}\n  \
         - Tests defined: ✅ Yes\n  - Status: READY\n\n"
    )
}

fn on_screen(night: &TestNight, arguments: &[&str], set: &[(&str, &str)]) -> String {
    let output = night.command(arguments).envs(set.iter().copied()).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Wide because it is copied: a command, or one word that cannot be broken.
fn is_copied(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("nightshift ") || line.starts_with("git ") || !line.contains(' ')
}

#[test]
fn every_answer_fits_its_screen() {
    let night = every_kind().run(&[]).exit(1).then();
    let id = long_id();
    let asked: [&[&str]; 13] = [
        &["status"],
        &["status", "--all"],
        &["show"],
        &["show", "landed"],
        &["show", "failed"],
        &["show", "held"],
        &["show", "asked"],
        &["show", &id],
        &["check"],
        &["check", "--explain"],
        &["verify"],
        &["history", "--by", "task"],
        &["history", "--chart"],
    ];
    for arguments in asked {
        for columns in ["60", "80", "120", "200"] {
            for locale in ["C.UTF-8", "C"] {
                let told = on_screen(&night, arguments, &[("COLUMNS", columns), ("LANG", locale)]);
                let wide = told
                    .lines()
                    .find(|line| line.width() > columns.parse().unwrap() && !is_copied(line));
                assert_eq!(wide, None, "{arguments:?} in {columns} columns:\n{told}");
                assert!(locale != "C" || told.is_ascii(), "{arguments:?}:\n{told}");
                assert!(
                    !told.contains('\x1b'),
                    "{arguments:?} draws in colours where nobody sees them"
                );
            }
        }
        let as_unknown = night.command(arguments).env_remove("COLUMNS").output().unwrap();
        let as_80 = on_screen(&night, arguments, &[("COLUMNS", "80")]);
        // How much is free changes while we look.
        let still = |told: &str| -> Vec<String> {
            told.lines().filter(|line| !line.starts_with("disk:")).map(str::to_owned).collect()
        };
        let as_unknown = String::from_utf8(as_unknown.stdout).unwrap();
        assert_eq!(still(&as_unknown), still(&as_80), "80 when nobody says");
    }
}

#[test]
fn colours_and_signs_are_there_where_they_are_wanted() {
    let night = every_kind().run(&[]).exit(1).then();
    let always = on_screen(&night, &["--color", "always", "status"], &[]);
    assert!(
        always.contains("\x1b[32m  ✓     \x1b[0m") && always.contains("\x1b[31m  ✗"),
        "{always}"
    );
    let never = on_screen(&night, &["--color", "never", "status"], &[("CLICOLOR_FORCE", "1")]);
    let forced = on_screen(&night, &["status"], &[("CLICOLOR_FORCE", "1")]);
    assert!(!never.contains('\x1b') && forced.contains('\x1b'));
    let plain = on_screen(&night, &["status"], &[("LC_ALL", "C")]);
    for sign in ["  ok    landed", "  FAIL  failed", "  ?     held", "  ..    late"] {
        assert!(plain.contains(sign), "no `{sign}` in\n{plain}");
    }
}

/// Our own program's directory in front of all others.
fn path() -> String {
    let own: PathBuf = Path::new(env!("CARGO_BIN_EXE_nightshift")).parent().unwrap().to_owned();
    format!("{}:{}", own.display(), std::env::var("PATH").unwrap())
}

/// The line as a shell runs it.
pub(crate) fn in_shell(night: &TestNight, line: &str) -> Output {
    let program = night.command(&[]);
    let set = program.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(night.repo()).env_clear().envs(set).env("PATH", path());
    shell.stdin(std::process::Stdio::null()).output().unwrap()
}

/// The same with `--help` behind it: its verb, its flags and its quotes are read, and nothing is done.
pub(crate) fn parsed(night: &TestNight, line: &str) -> Output {
    in_shell(night, &format!("{line} --help"))
}

#[test]
fn each_open_point_ends_in_a_command_that_can_be_typed() {
    let night = every_kind().run(&[]).exit(1).then();
    let told = on_screen(&night, &["status"], &[("COLUMNS", "80"), ("LC_ALL", "C")]);
    let mut open: Option<&str> = None;
    let mut points = 0;
    for line in told.lines() {
        let mark = ["  FAIL  ", "  no    ", "  ?     ", "  ..    "]
            .iter()
            .any(|mark| line.starts_with(mark));
        let ends = mark || line.is_empty() || line.starts_with(|c: char| c.is_ascii_uppercase());
        if ends {
            assert_eq!(open, None, "no command for it in\n{told}");
        }
        if mark {
            points += 1;
            open = Some(line);
        } else if let Some(command) =
            line.strip_prefix("        ").filter(|line| line.starts_with("nightshift "))
        {
            let output = parsed(&night, command);
            assert!(output.status.success(), "`{command}`: {output:?}");
            open = None;
        }
    }
    assert_eq!(open, None, "{told}");
    // Held, asked, failed, late and big.
    assert_eq!(points, 5, "{told}");
    let wrong = parsed(&night, "nightshift show x --no-such-flag");
    assert_eq!(wrong.status.code(), Some(2), "a flag that is not there is seen");
}

#[test]
fn all_repositories_of_a_machine_have_a_line_each() {
    let night = TestNight::new().task("a", "Add a line").agent("echo more >> src/a.txt");
    let night = night.run(&[]).exit(0).then();
    let told = on_screen(&night, &["status", "--all"], &[]);
    assert!(told.contains("1 of 1") && told.starts_with("repository"), "{told}");
    let other = night.path("other");
    assert!(Command::new("git").args(["init", "-q"]).arg(&other).status().unwrap().success());
    on_screen(&night, &["-C", other.to_str().unwrap(), "status"], &[]);
    let told = on_screen(&night, &["status", "--all"], &[]);
    assert!(told.contains("no night has run in other-") && told.contains("repo-"), "{told}");
    let output = night.command(&["status", "--all", "--night", "last"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn a_night_is_watched_until_it_ends() {
    let night = TestNight::new()
        .task("a", "Add a line")
        .agent(&TestNight::waits("echo more >> src/a.txt"))
        .commit();
    let mut run = night.spawn(&[]);
    while night.agents() == 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(run.try_wait().unwrap().is_none(), "the night ended without an agent");
    }
    let mut watch = night.command(&["status", "--watch"]);
    let watch = watch.stdout(std::process::Stdio::piped()).spawn().unwrap();
    night.go(&["a"]);
    assert!(run.wait().unwrap().success());
    let output = watch.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("landed") && told.contains("LANDED 1"), "{told}");
}
