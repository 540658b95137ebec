//! A long input takes a time that grows with its length and no faster, whatever it is made of.
#![expect(clippy::disallowed_methods, reason = "measures how long reading takes")]

use std::{
    io::Write,
    time::{Duration, Instant},
};

use nightshift::{
    config::{parse_repository, parse_user},
    diagnostic::Style,
    gate::{junit, recognise},
    prompt::Reply,
};

/// A megabyte; a quarter of one is the longest configuration that is read.
const SIZE: usize = 1 << 20;
const LONGEST_FILE: usize = 1 << 18;

/// Generous, for slow and busy machines: what it must catch takes minutes.
const BOUND: Duration = Duration::from_secs(30);

fn measured(name: &str, pieces: &[&str], size: usize, read: impl Fn(&str)) {
    let mut slowest = (Duration::ZERO, String::new());
    for piece in pieces {
        let text = piece.repeat(size / piece.len());
        let shown: String = piece.chars().take(24).collect();
        let begun = Instant::now();
        read(&text);
        let took = begun.elapsed();
        assert!(took < BOUND, "{name}: {shown:?} took {took:?}");
        slowest = slowest.max((took, shown));
    }
    let (took, piece) = slowest;
    let _ = writeln!(std::io::stderr(), "fuzz: {name}: at most {took:?}, for {piece:?}");
}

fn file(text: &str) {
    for found in [parse_repository("c.yml", text).err(), parse_user("c.yml", text).err()] {
        for message in found.iter().flatten().take(3) {
            message.render("c.yml", text, Style::Plain);
        }
    }
}

#[test]
fn a_long_configuration_is_read_at_once() {
    let pieces = [
        "a",
        "[",
        "{",
        "- ",
        "- a\n",
        "# x\n",
        "\n",
        "a: b: ",
        "'",
        "\"",
        "\\",
        "|\n",
        "? ",
        "&a ",
        "*a ",
        "!a ",
        "---\n",
        "é",
        "  ",
        "[a, ",
        "{a: ",
        "\u{85}",
        "policy:\n",
        "- - - - - - - - ",
    ];
    measured("config of one piece", &pieces, LONGEST_FILE, file);
    let many = |line: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        for number in 0.. {
            let line = line(number);
            if text.len() + line.len() > LONGEST_FILE {
                break;
            }
            text.push_str(&line);
        }
        text
    };
    let keys = many(&|number| format!("k{number}: 1\n"));
    let nested = format!("policy:\n{}", many(&|number| format!("  k{number}: 1\n")).trim_end());
    let listed = format!("gate:\n  env:\n{}", many(&|number| format!("  - A{number}\n")));
    let globs = format!(
        "policy: {{paths: {{allow: [{}]}}}}",
        many(&|number| format!("'s{number}/**',")).trim_end_matches(',')
    );
    for (name, text) in [("keys", keys), ("nested", nested), ("listed", listed), ("globs", globs)] {
        let text = &text[..text.len().min(LONGEST_FILE)];
        measured(&format!("config: {name}"), &[text], text.len(), file);
    }
}

#[test]
fn a_long_reply_is_read_at_once() {
    let pieces = [
        "a",
        "`",
        "```\n",
        "```nightshift\n",
        "````\n```\n",
        "```nightshift\n{}\n```\n",
        "\n",
        "[",
        "{\"a\":",
        "é",
        "\"",
        " ",
        "~~~\n",
    ];
    let read = |text: &str| {
        let _ = Reply::read(text);
        let block =
            format!("```nightshift\n{{\"plan\":[\"{}\"]}}\n```\n", text.replace(['"', '\n'], " "));
        let _ = Reply::read(&block);
    };
    measured("reply", &pieces, SIZE, read);
}

#[test]
fn a_long_log_is_read_at_once() {
    let pieces = [
        "a",
        "\n",
        " ",
        "=",
        "= ",
        ", ",
        "1 failed",
        "1 passed, ",
        " in 1",
        "test ",
        "test a ... ",
        "test a ... FAILED\n",
        "test result: ok. 1 passed; 1 failed;\n",
        "    FAIL [",
        "FAIL  a > ",
        "FAILED a.py::b",
        "FAILED a::b\n",
        "--- FAIL: a\n",
        "not ok ",
        "not ok a\n",
        "# tests 1\n",
        "  ● a\n",
        "Tests:  1 failed, ",
        "ERROR: a (b)\n",
        "Ran 1 tests in 1s\n",
        "OK (",
        "✖ a (1ms)\n",
        "    1) a\n",
        "  1 passing (1ms)\n",
        "a Time elapsed: ",
        "a > ",
        "ok\ta\t1s\n",
        "\u{1b}[1m",
        "\u{1b}]8;;",
        "\t",
        "\r",
        "é",
    ];
    measured("recognise", &pieces, SIZE, |text| {
        recognise::tests(text);
    });
}

#[test]
fn a_long_report_is_read_at_once() {
    let pieces = [
        "a",
        "<",
        "<a>",
        "<a",
        "<testsuite>",
        "<testcase name=\"a\"/>",
        "<testcase name=\"a\">",
        "<testcase name=\"a\"><failure/></testcase>",
        "<!--",
        "<![CDATA[",
        "&amp;",
        "&a;",
        "<a b=\"",
        " a=\"b\"",
        "</a>",
        "<?a?>",
        "<!DOCTYPE a [",
        "]]>",
    ];
    measured("junit", &pieces, SIZE, |text| {
        let _ = junit::read(text.as_bytes());
        let _ = junit::read(format!("<testsuites>{text}</testsuites>").as_bytes());
    });
}
