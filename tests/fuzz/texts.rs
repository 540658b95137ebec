//! What agents and test runners print, and the hosts that a configuration names.

use nightshift::{
    gate::{junit, recognise},
    hosts::Rule,
    prompt::{Acceptance, Decision, FENCE, Level, Opinion, Reply},
};
use proptest::{prelude::*, test_runner::TestCaseResult};

use crate::{drive::drive, spoil::spoiled};

const WORDS: &[&str] = &[
    "```nightshift\n",
    "```nightshift",
    "````\n",
    "```\n",
    "```rust\n",
    "~~~nightshift\n",
    "\n",
    "\r\n",
    "\r",
    "  ",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\"plan\":",
    "\"decisions\":",
    "\"questions\":",
    "[\"a\"]",
    "{\"level\":\"high\",\"what\":\"x\"}",
    "{\"agree\":true}",
    "null",
    "true",
    "1e999",
    "\u{1b}[31m",
    "\u{202e}",
    "é",
];

fn replies() -> impl Strategy<Value = Vec<u8>> {
    let good = [
        "Done.\n\n```nightshift\n{\"plan\":[\"look\"],\"acceptance\":[{\"item\":\"x\",\"met\":true}],\"decisions\":[{\"level\":\"medium\",\"what\":\"w\",\"why\":\"y\"}],\"questions\":[\"Which?\"]}\n```\n",
        "````text\n```nightshift\n{\"questions\":[\"quoted\"]}\n```\n````\n",
        "```nightshift\n{\"agree\":false,\"why\":\"no\"}\n```",
    ];
    prop::sample::select(good.map(|text| text.as_bytes().to_vec()).to_vec())
}

fn shown_well(reply: &Reply) -> TestCaseResult {
    let texts = reply.plan.iter().chain(&reply.questions);
    let texts = texts
        .chain(reply.acceptance.iter().map(|point| &point.item))
        .chain(reply.decisions.iter().flat_map(|decision| [&decision.what, &decision.why]));
    for text in texts {
        prop_assert!(!text.chars().any(char::is_control), "{:?}", text);
        prop_assert!(text.chars().count() <= 601);
    }
    prop_assert!(reply.decisions.len() <= 30 && reply.questions.len() <= 30);
    prop_assert!(reply.questions.iter().all(|question| !question.is_empty()));
    Ok(())
}

#[test]
fn a_reply_is_read_from_a_block_of_ours_and_from_nothing_else() {
    drive("reply: any", &spoiled(replies(), WORDS), |bytes| {
        let text = String::from_utf8_lossy(&bytes.0);
        let reply = Reply::read(&text);
        let opinion = Opinion::read(&text);
        // Without the word there is nothing of ours, and silence is no agreement.
        if !text.to_lowercase().contains(FENCE) || !text.contains("```") {
            prop_assert_eq!(&reply, &Ok(Reply::default()));
            prop_assert!(opinion.is_err());
        }
        if let Ok(reply) = &reply {
            shown_well(reply)?;
        }
        // What comes behind without a fence changes nothing that was said.
        if text.ends_with("```\n") {
            let more = format!("{text}And {{\"questions\":[]}} `x`.\n");
            if let (Ok(before), Ok(after)) = (&reply, Reply::read(&more)) {
                prop_assert_eq!(before, &after);
            }
        }
        Ok(())
    });
}

#[test]
fn a_reply_that_is_written_is_read() {
    let text = || "[a-zA-Zé`\"\\\\{}:\\[\\],.]{1,20}( [a-z`]{1,9}){0,3}";
    let level = prop::sample::select(vec![Level::Low, Level::Medium, Level::High]);
    let decision =
        (level, text(), text()).prop_map(|(level, what, why)| Decision { level, what, why });
    let point = (text(), any::<bool>()).prop_map(|(item, met)| Acceptance { item, met });
    let list = || prop::collection::vec(text(), 0..4);
    let reply =
        (list(), prop::collection::vec(point, 0..4), prop::collection::vec(decision, 0..4), list());
    drive("reply: written", &reply, |(plan, acceptance, decisions, questions)| {
        let reply = Reply { plan, acceptance, decisions, questions };
        let json = serde_json::to_string_pretty(&reply).unwrap();
        let text = format!("Some words.\n```{FENCE}\n{json}\n```\n");
        prop_assert_eq!(Reply::read(&text), Ok(reply));
        Ok(())
    });
}

const PRINTED: &[&str] = &[
    "test a::b ... FAILED\n",
    "test result: FAILED. 4294967295 passed; 4294967295 failed; 0 ignored\n",
    "test result: ok. 3 passed; 1 failed; 0 ignored\n",
    "        FAIL [   0.004s] crate tests::name\n",
    "     Summary [ 0.1s] 3 tests run: 3 passed\n",
    "FAILED tests/test_a.py::test_b - x\n",
    "== 1 failed, 2 passed in 0.1s ==\n",
    "= 4294967295 failed, 4294967295 passed in 1s =\n",
    "--- FAIL: TestA (0.00s)\n",
    "not ok 2 - name # x\n",
    "# tests 12\n",
    "# tests 4294967295\n",
    "  ● suite › name\n",
    "Tests:       1 failed, 2 passed, 3 total\n",
    "\n",
    "\r\n",
    " ",
    "=",
    ", ",
    "9",
    "in 1.1.1.s",
    "\u{1b}[31m",
    "\u{1b}]8;;",
    "\u{7}",
    "›",
    "test ",
];

#[test]
fn a_log_names_only_what_stands_in_it() {
    let good = prop::collection::vec(prop::sample::select(PRINTED), 0..20)
        .prop_map(|lines| lines.concat().into_bytes());
    drive("recognise: any", &spoiled(good, PRINTED), |bytes| {
        let log = String::from_utf8_lossy(&bytes.0);
        let seen = recognise::tests(&log);
        let lines = log.split(['\n', '\r']).count();
        prop_assert!(seen.failing.len() <= 2 * lines);
        prop_assert!(seen.failing.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(seen.failing.iter().all(|name| !name.is_empty() && !name.contains('\n')));
        if !log.contains(|c: char| c.is_numeric()) {
            prop_assert_eq!(seen.run, None);
        }
        Ok(())
    });
}

const XML: &[&str] = &[
    "<testsuites>",
    "</testsuites>",
    "<testsuite name=\"s\" tests=\"2\">",
    "</testsuite>",
    "<testcase name=\"a\" classname=\"b\"/>",
    "<testcase name=\"a\">",
    "</testcase>",
    "<failure message=\"m\">x</failure>",
    "<skipped/>",
    "<error/>",
    "<![CDATA[",
    "]]>",
    "<!DOCTYPE a [<!ENTITY b \"c\">]>",
    "<!--",
    "-->",
    "<?xml version=\"1.0\"?>",
    "&b;",
    "&#0;",
    "&amp;",
    "<",
    ">",
    "/",
    "\"",
    "'",
    "=",
    " name=\"x\"",
    "\0",
    "é",
    "\n",
];

#[test]
fn a_report_names_only_what_stands_in_it() {
    let good = "<?xml version=\"1.0\"?>\n<testsuites>\n<testsuite name=\"s\">\n<testcase name=\"one\" \
                classname=\"c\"/>\n<testcase name=\"two\"><failure message=\"m\">x</failure></testcase>\n\
                <testcase name=\"three\"><skipped/></testcase>\n</testsuite>\n</testsuites>\n";
    drive("junit: any", &spoiled(Just(good.as_bytes().to_vec()), XML), |bytes| {
        let Ok(seen) = junit::read(&bytes.0) else { return Ok(()) };
        let text = String::from_utf8_lossy(&bytes.0);
        let cases = text.matches("<testcase").count();
        prop_assert!(seen.failing.len() <= cases);
        prop_assert!(seen.run.is_none_or(|run| usize::try_from(run).is_ok_and(|run| run <= cases)));
        let failures = text.matches("failure").count() + text.matches("error").count();
        prop_assert!(seen.failing.len() <= failures);
        Ok(())
    });
}

#[test]
fn an_entry_names_one_host_and_is_written_in_one_form() {
    let pieces = prop::sample::select(vec![
        "example",
        ".",
        "org",
        "*",
        "*.",
        ":",
        "443",
        "8443",
        "0",
        "65536",
        "[",
        "]",
        "::1",
        "127.1",
        "0x7f",
        "10.0.0.1",
        "é",
        "ß",
        "xn--",
        "%",
        "%2e",
        "@",
        "/",
        "//",
        "https://",
        " ",
        "\t",
        "\n",
        "-",
        "_",
        "。",
        "．",
        "１２７",
        "\u{ad}",
        "\u{200d}",
        "A",
        "?",
        "#",
        "::ffff:10.0.0.1",
        "localhost",
        "+80",
        "\0",
        "i̇",
    ]);
    let text = prop_oneof![
        4 => prop::collection::vec(pieces, 0..8).prop_map(|pieces| pieces.concat()),
        1 => any::<String>(),
    ];
    drive("egress: entries", &text, |text| {
        let Ok(rule) = text.parse::<Rule>() else { return Ok(()) };
        let shown = rule.to_string();
        prop_assert_eq!(shown.parse::<Rule>(), Ok(rule), "{}", shown);
        prop_assert!(
            shown.is_ascii() && !shown.contains(['/', '@', '%', ' ', '?', '#']),
            "{}",
            shown
        );
        prop_assert_eq!(
            shown.matches('*').count(),
            usize::from(shown.starts_with("*.")),
            "{}",
            shown
        );
        // `*.com` names everybody.
        let wide = shown.strip_prefix("*.").is_some_and(|rest| !rest.contains('.'));
        prop_assert!(!wide, "{}", shown);
        Ok(())
    });
}
