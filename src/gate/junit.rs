//! JUnit reports: which tests ran and which failed, as the test runner itself wrote it down.
//!
//! Reads text and nothing else. A report is the work of code under test: nothing in it is followed, entities of its
//! own are not known, and a report that is broken anywhere is not believed anywhere.

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};

use crate::gate::recognise::Seen;

/// Largest report that is read, in bytes: some hundred thousand tests.
pub const MOST_BYTES: u64 = 32 * 1024 * 1024;

/// A test that is being read.
struct Case {
    name: String,
    skipped: bool,
    failed: bool,
}

/// What a report says. `Err` says what is wrong with it.
pub fn read(bytes: &[u8]) -> Result<Seen, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut reader = Reader::from_str(text);
    let mut seen = Seen::default();
    let mut ran: u32 = 0;
    let (mut depth, mut suites) = (0_u64, false);
    let mut open: Option<(u64, Case)> = None;
    let mut done = |case: Case| {
        if !case.skipped {
            ran = ran.saturating_add(1);
        }
        if case.failed {
            seen.failing.push(case.name);
        }
    };
    loop {
        let event = reader.read_event().map_err(|problem| problem.to_string())?;
        let (start, empty) = match event {
            Event::Start(start) => (start, false),
            Event::Empty(start) => (start, true),
            Event::End(_) => {
                depth = depth.saturating_sub(1);
                if let Some((_, case)) = open.take_if(|(at, _)| *at == depth) {
                    done(case);
                }
                continue;
            }
            Event::Eof => break,
            Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_)
            | Event::GeneralRef(_) => continue,
        };
        match start.local_name().as_ref() {
            "testsuites" | "testsuite" => suites = true,
            "testcase" => {
                let case = case(&start)?;
                if empty {
                    done(case);
                } else {
                    open = Some((depth, case));
                }
            }
            "failure" | "error" => {
                if let Some((_, case)) = &mut open {
                    case.failed = true;
                }
            }
            "skipped" => {
                if let Some((_, case)) = &mut open {
                    case.skipped = true;
                }
            }
            // Surefire's `flakyFailure` and `rerunFailure` stand beside what counts.
            _ => {}
        }
        depth += u64::from(!empty);
    }
    if depth > 0 {
        return Err("it ends in the middle".to_owned());
    }
    if !suites {
        return Err("it is no JUnit report".to_owned());
    }
    seen.run = Some(ran);
    seen.tidy();
    Ok(seen)
}

fn case(start: &BytesStart<'_>) -> Result<Case, String> {
    let attribute = |name: &str| -> Result<String, String> {
        let found = start.try_get_attribute(name).map_err(|problem| problem.to_string())?;
        let value = found.map(|found| found.normalized_value(XmlVersion::Implicit1_0)).transpose();
        Ok(value.map_err(|problem| problem.to_string())?.unwrap_or_default().into_owned())
    };
    let (class, name) = (attribute("classname")?, attribute("name")?);
    let status = attribute("status")?;
    let whole = class.is_empty() || name.starts_with(&class);
    Ok(Case {
        name: if whole { name } else { format!("{class}::{name}") },
        skipped: matches!(status.as_str(), "notrun" | "skipped" | "disabled"),
        failed: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> (Vec<String>, Option<u32>) {
        let seen = read(text.as_bytes()).unwrap();
        (seen.failing, seen.run)
    }

    #[test]
    fn a_report_of_nextest_is_read() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
            <testsuites name="nextest-run" tests="3" failures="1" errors="0">
              <testsuite name="shop" tests="3" disabled="0" errors="0" failures="1">
                <testcase name="tests::adds" classname="shop" time="0.01"></testcase>
                <testcase name="tests::takes" classname="shop" time="0.01">
                  <failure type="test failure">thread 'tests::takes' panicked &amp; died</failure>
                  <system-out>not ok</system-out>
                </testcase>
                <testcase name="tests::later" classname="shop"><skipped/></testcase>
              </testsuite>
            </testsuites>"#;
        assert_eq!(seen(text), (vec!["shop::tests::takes".to_owned()], Some(2)));
    }

    #[test]
    fn a_report_of_pytest_and_one_of_surefire_are_read() {
        let text = r#"<testsuites><testsuite name="pytest"><testcase classname="tests.test_a" name="test_b[a b]"/>
            <testcase classname="tests.test_a" name="test_c"><error message="no &lt;file&gt;"/></testcase>
            </testsuite></testsuites>"#;
        assert_eq!(seen(text), (vec!["tests.test_a::test_c".to_owned()], Some(2)));
        let text = r#"<testsuite tests="2"><testcase name="a" classname="A"><flakyFailure/></testcase>
            <testcase name="b" classname="A" status="notrun"/></testsuite>"#;
        assert_eq!(seen(text), (vec![], Some(1)));
    }

    #[test]
    fn a_report_without_tests_counts_none_of_them() {
        assert_eq!(seen("<testsuites/>"), (vec![], Some(0)));
        assert_eq!(seen(r#"<testsuite tests="200"></testsuite>"#), (vec![], Some(0)));
    }

    #[test]
    fn what_is_broken_is_not_believed() {
        for (text, why) in [
            ("<testsuites><testsuite><testcase name=\"a\"/>", "ends in the middle"),
            ("<testsuites><testcase></testsuites>", ""),
            ("<html></html>", "no JUnit report"),
            ("", "no JUnit report"),
            ("plain words", "no JUnit report"),
            ("<testsuite><testcase name=\"&lol;\"/></testsuite>", ""),
        ] {
            let problem = read(text.as_bytes()).expect_err(text);
            assert!(problem.contains(why), "{text}: {problem}");
        }
        assert!(read(b"<testsuite>\xff</testsuite>").is_err());
    }

    #[test]
    fn a_deep_report_costs_no_stack() {
        let deep = "<testsuite>".repeat(200_000) + &"</testsuite>".repeat(200_000);
        assert_eq!(seen(&deep), (vec![], Some(0)));
    }
}
