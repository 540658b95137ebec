//! A plan of any size and shape is read in a time that grows with its length and no faster.
#![expect(clippy::disallowed_methods, reason = "measures how long parsing takes")]

use std::time::{Duration, Instant};

use nightshift::{
    diagnostic::Style,
    plan::{SectionWords, decode, parse, tick},
};

/// Ten megabytes; a quarter of one where the compiler did not optimise, for those who wait.
const SIZE: usize = if cfg!(debug_assertions) { 1 << 18 } else { 10 << 20 };

/// Tasks that depend on each other, with the same thought.
const CROWD: usize = if cfg!(debug_assertions) { 10_000 } else { 100_000 };

/// Generous, for slow machines: what it must catch grows with the square of the length and takes hours.
fn bound() -> Duration {
    Duration::from_secs(if cfg!(debug_assertions) { 120 } else { 3 })
}

fn measured(name: &str, bytes: &[u8]) -> usize {
    let start = Instant::now();
    let (source, _) = decode(bytes);
    let (plan, messages) = parse(&source, &SectionWords::default());
    for message in messages.iter().take(3).chain(messages.iter().rev().take(3)) {
        assert!(message.render("PROJECT_PLAN.md", &source, Style::Plain).len() < 20_000, "{name}");
    }
    if let Some(task) = plan.tasks.last() {
        let _ = tick::set_status(bytes, task, "DONE (night 2026-11-21)");
    }
    let took = start.elapsed();
    assert!(took < bound(), "{name} took {took:?}");
    plan.tasks.len()
}

#[test]
fn a_hundred_thousand_tasks_are_read() {
    let mut text = String::from("### Ready for Autonomous Execution\n");
    for number in 0..100_000 {
        text += &format!(
            "→ **[task_{number}]** Add part {number}\n  - Estimated lines: 10\n  - Depends on: task_{}\n  - Status: READY\n",
            number / 2
        );
    }
    assert_eq!(measured("tasks", text.as_bytes()), 100_000);
}

#[test]
fn a_chain_or_a_crowd_of_dependencies_is_read() {
    let mut chain = String::from("## Ready\n");
    let mut unknown = String::from("## Ready\n");
    let mut twice = String::from("## Ready\n");
    let mut crowd = String::from("## Ready\n");
    let mut names = String::new();
    for number in 0..CROWD {
        chain += &format!("- [ ] T{number:06} a\n  - After: T{:06}\n", (number + 1) % CROWD);
        unknown +=
            &format!("- [ ] T{number:06} a\n  - After: U{number:06}\n  - Estimeted lines: 3\n");
        twice += "- **[same]** Add x\n  - Kex: y\n";
        crowd += &format!("- [ ] T{number:06} a\n");
        names += &format!("T{number:06},");
    }
    crowd += &format!("- [ ] X-1: last\n  - After: {names}{names}\n");
    for (name, text) in [("chain", chain), ("unknown", unknown), ("twice", twice), ("crowd", crowd)]
    {
        assert!(measured(name, text.as_bytes()) >= CROWD);
    }
}

#[test]
fn a_file_of_one_line_is_read() {
    for piece in [
        "a",
        "- ",
        "[",
        "**[",
        "]",
        "*a",
        "`",
        "<!--",
        "> ",
        "Status: READY ",
        "→",
        "|a",
        "#",
        "ä ",
        "![",
        "_",
        "\t",
        "(depends on ",
        "a, ",
        "&",
        "\\",
        "<",
        "</",
        "http://",
        "[a](",
        "``a`",
    ] {
        for head in ["", "## Ready\n- [ ] ", "## Ready\n- [ ] T01 a\n  - Depends on: ", "# "] {
            let text = format!("{head}{}", piece.repeat(SIZE / piece.len()));
            measured(&format!("{head:?} {piece:?}"), text.as_bytes());
        }
    }
}

#[test]
fn a_file_of_many_short_lines_is_read() {
    for line in [
        "\n",
        "- x\n",
        "# x\n",
        "## Ready\n",
        "```\n",
        "    ```a\n",
        "<!--\n",
        "-->\n",
        "- a\n\n",
        "> a\n",
        "x\n---\n",
        "<<<<<<< a\n",
        "=======\n",
        ">>>>>>> a\n",
        "|a|\n",
        "- [ ] T01 x\n",
        "1. x\n",
        "[a]: b\n",
        "<a\n",
        "  - Files: a\n",
        "- Depends on: a b c\n",
        "<!-- a --> b\n",
        "*\n",
        "- \n",
        "-\n\n",
        "\t- x\n",
        "a\r",
        "x <!-- a\n",
        "~~~\n\n",
    ] {
        let text = format!("## Ready\n{}", line.repeat(SIZE / line.len()));
        measured(&format!("{line:?}"), text.as_bytes());
    }
}

#[test]
fn bytes_that_are_no_text_are_read() {
    let mut state = 0x2545_f491_u32;
    let bytes: Vec<u8> = (0..SIZE)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        })
        .collect();
    measured("random", &bytes);
    measured("bad", &vec![0xff; SIZE]);
    measured("zero", &vec![0; SIZE]);
    measured("empty", b"");
}
