//! Sheets with everything in them that is hard to write, and each format read again as its own readers do.

mod schema;

use std::collections::{BTreeMap, BTreeSet};

use html5ever::{parse_document, tendril::TendrilSink as _};
use jiff::Timestamp;
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use quick_xml::{Reader, events::Event as Xml};
use serde_json::Value;

use super::*;
use crate::{
    budget::{Spend, Usd},
    ids::{AttemptId, TaskId},
    policy::Verdict,
};

/// What a hostile plan, agent or gate would write, in one line as a sheet holds it.
const HOSTILE: &str = "=cmd|' /C calc'!A0 </title></style><script>alert(1)</script><img src=x onerror=alert(2)> \
                       \"'><svg onload=alert(3)> ]]> <!-- & &lt; `a` \u{fffe}, \"q\"";

/// 2026-11-21 02:00 UTC, and seconds after.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_226_400 + second).unwrap()
}

fn dollars(usd: f64) -> Spend {
    Spend { usd: Usd::from_dollars(usd), ..Spend::default() }
}

fn attempt(number: u32, from: i64, to: i64, trouble: Option<&str>) -> AttemptRow {
    AttemptRow {
        number,
        span: (at(from), at(to)),
        model: "opus".into(),
        seconds: u64::try_from(to - from).unwrap(),
        spent: dollars(0.25),
        tokens: (1_000, 200),
        size: trouble.is_none().then_some((40, 9)),
        commit: trouble.is_none().then(|| "9b1e7d2".into()),
        tests: trouble.is_none().then_some(221),
        trouble: trouble.map(|why| ("gate".into(), why.into())),
    }
}

fn finding(rule: &str, value: &str, message: &str) -> Finding {
    Finding {
        rule: rule.into(),
        verdict: Verdict::Refuse,
        message: message.into(),
        value: value.into(),
        limit: "not denied".into(),
        help: Some("put the file back".into()),
    }
}

fn row(id: &str, outcome: Outcome, why: &str, attempts: Vec<AttemptRow>) -> TaskRow {
    TaskRow {
        id: id.into(),
        title: HOSTILE.into(),
        line: 12,
        outcome,
        why: why.into(),
        next: if outcome == Outcome::Failed {
            format!("nightshift show 2026-11-21/{id}")
        } else {
            String::new()
        },
        typed: outcome == Outcome::Failed,
        commit: (outcome == Outcome::Landed).then(|| "9b1e7d2".into()),
        size: (outcome == Outcome::Landed).then_some((40, 9)),
        gate: String::new(),
        spent: attempts.iter().map(|attempt| attempt.spent).sum(),
        attempts,
        findings: Vec::new(),
    }
}

fn span(task: Option<(&str, u32)>, work: Work, from: i64, to: i64, end: End) -> Span {
    let attempt = task.map(|(task, number)| AttemptId { task: TaskId::new(task).unwrap(), number });
    Span { attempt, work, from: at(from), to: at(to), end }
}

/// A night with every outcome, hostile words everywhere, and a wait of three hours.
fn full() -> Sheet {
    let mut refused = row("r", Outcome::Refused, HOSTILE, Vec::new());
    refused.findings = vec![finding("admission.alignment", "80", HOSTILE)];
    let mut failed = row(
        "f",
        Outcome::Failed,
        "3 of 3 tries: gate red",
        vec![
            attempt(1, 100, 160, Some(HOSTILE)),
            attempt(2, 170, 200, Some("red")),
            attempt(3, 11_000, 11_300, Some("red")),
        ],
    );
    failed.findings = vec![
        finding("inspection.denied", "a b/.env", "`a b/.env` is denied"),
        finding("inspection.denied", "a b/.env", "`a b/.env` is denied"),
        finding(
            "inspection.secret",
            "src/x.rs:7",
            "what is added looks like a secret (aws, AKIA…)",
        ),
        finding("inspection.lines", "300", "300 lines changed"),
        finding("rule.of-a-later-version", "x", HOSTILE),
    ];
    let late = row(
        "l",
        Outcome::Landed,
        "on try 2",
        vec![attempt(1, 10, 40, Some("red")), attempt(2, 50, 90, None)],
    );
    let tasks = vec![
        late,
        row("h", Outcome::Held, "121 lines", vec![attempt(1, 300, 400, None)]),
        row("a", Outcome::Asks, HOSTILE, vec![attempt(1, 410, 420, Some("asks"))]),
        failed,
        refused,
        row("o", Outcome::Open, "cut off", vec![attempt(1, 500, 510, None)]),
        row("w", Outcome::Waiting, "", Vec::new()),
    ];
    let lanes = vec![
        vec![
            span(None, Work::Gate, 0, 9, End::Well),
            span(Some(("l", 1)), Work::Agent, 10, 30, End::Well),
            span(Some(("l", 1)), Work::Gate, 30, 40, End::Badly),
            span(Some(("f", 3)), Work::Agent, 11_000, 11_300, End::Unknown),
        ],
        vec![
            span(Some(("f", 1)), Work::Agent, 20, 25, End::Badly),
            span(Some(("l", 2)), Work::Review, 40, 41, End::Well),
        ],
    ];
    Sheet {
        night: "2026-11-21".into(),
        repository: "/home/a\"b\\c/pröject".into(),
        base: "main@4f1c2ab".into(),
        plan: "docs/PLAN one.md".into(),
        agent: HOSTILE.into(),
        began: at(0),
        last: at(11_300),
        lasted_s: 11_300,
        exit: Some(1),
        running: false,
        alerts: vec![HOSTILE.into()],
        url: Some("https://github.com/acme/x/pull/1?a=\"b\"&c".into()),
        spent: dollars(1.75),
        spent_words: "$1.75".into(),
        cost_limit: Some("$5.00".into()),
        tests: (Some(214), Some(221)),
        tasks,
        decisions: vec![["l".into(), "medium".into(), HOSTILE.into(), HOSTILE.into()]],
        guards: vec![["walls".into(), HOSTILE.into()]],
        notes: vec![HOSTILE.into()],
        timeline: Timeline { lanes },
        trend: (8..=21)
            .map(|day| Tally {
                night: format!("2026-11-{day:02}-2"),
                tried: 7,
                landed: day % 8,
                spent: dollars(1.0),
            })
            .collect(),
    }
}

/// A night whose gate was red, so that nothing was started.
fn red() -> Sheet {
    let mut sheet = full();
    sheet.tasks.retain(|task| task.outcome == Outcome::Waiting);
    sheet.timeline = Timeline { lanes: vec![vec![span(None, Work::Gate, 0, 3, End::Badly)]] };
    sheet.trend.truncate(1);
    sheet.exit = Some(3);
    sheet.url = Some("/home/a/pull_request.md".into());
    sheet
}

/// A night that was cut off before anything was written down.
fn cut_off() -> Sheet {
    let mut sheet = red();
    sheet.timeline = Timeline::default();
    sheet.exit = None;
    sheet
}

/// Rows of RFC 4180: quoted cells may hold anything, others no quote, comma or line end.
fn cells(text: &str) -> Vec<Vec<String>> {
    let mut rows = vec![vec![String::new()]];
    let mut characters = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = characters.next() {
        let row = rows.last_mut().unwrap();
        let cell = row.last_mut().unwrap();
        match c {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' if quoted => {
                quoted = false;
                assert!(matches!(characters.peek(), Some(',' | '\r')), "text after a quote");
            }
            '"' => {
                assert!(cell.is_empty(), "a quote inside a plain cell");
                quoted = true;
            }
            _ if quoted => cell.push(c),
            ',' => row.push(String::new()),
            '\r' => {
                assert_eq!(characters.next(), Some('\n'), "a bare carriage return");
                rows.push(vec![String::new()]);
            }
            '\n' => panic!("a bare line end"),
            _ => cell.push(c),
        }
    }
    assert!(!quoted && rows.pop() == Some(vec![String::new()]), "the last line has no end");
    rows
}

#[test]
fn csv_has_one_row_for_each_try_and_no_formula() {
    let sheet = full();
    let rows = cells(&csv(&sheet));
    let tries: usize = sheet.tasks.iter().map(|task| task.attempts.len().max(1)).sum();
    assert_eq!(rows.len(), tries + 1);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{rows:?}");
    for cell in rows.iter().flatten() {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell}");
    }
    assert_eq!(
        rows[1][2],
        format!("'{HOSTILE}"),
        "a title comes back as it was, behind its apostrophe"
    );
    assert_eq!((&*rows[1][4], &*rows[1][5], &*rows[2][5]), ("1", "gate", "landed"));
    assert_eq!(rows[2][10], "0.250000");
}

/// Samples of the text format, as strict as its grammar: HELP and TYPE before the samples, each series once.
fn samples(text: &str) -> BTreeMap<String, String> {
    assert!(text.ends_with('\n') && !text.contains('\r'));
    let mut samples = BTreeMap::new();
    let (mut helped, mut typed) = (BTreeSet::new(), String::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(helped.insert(help.split_once(' ').unwrap().0.to_owned()), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(helped.contains(name) && kind == "gauge", "{line}");
            name.clone_into(&mut typed);
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap();
            assert_eq!(name, typed, "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let mut rest = labels;
            while rest != "}" {
                let (label, value) = rest.split_once("=\"").unwrap();
                assert!(
                    label.trim_start_matches(',').chars().all(|c| c.is_ascii_lowercase()),
                    "{line}"
                );
                let mut escaped = false;
                let end = value.find(|c| {
                    let end = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    end
                });
                rest = &value[end.unwrap() + 1..];
            }
            assert!(samples.insert(series.to_owned(), value.to_owned()).is_none(), "{line}");
        }
    }
    samples
}

#[test]
fn prometheus_reads_every_sample_and_a_cut_off_night_has_no_end() {
    let name = "{repository=\"/home/a\\\"b\\\\c/pröject\"";
    let read = samples(&prometheus(&full()));
    assert_eq!(read[&format!("nightshift_night_tasks{name},result=\"failed\"}}")], "1");
    assert_eq!(read[&format!("nightshift_night_cost_usd{name}}}")], "1.750000");
    assert_eq!(read[&format!("nightshift_night_exit_code{name}}}")], "1");
    let read = samples(&prometheus(&cut_off()));
    assert!(!read.keys().any(|series| series.contains("_end_") || series.contains("exit_code")));
}

/// Children of each element in surefire's schema 3.0, in their order; `*` may be there more than once.
fn children(element: &str) -> &'static [&'static str] {
    match element {
        "testsuite" => &["properties", "testcase*"],
        "properties" => &["property*"],
        "testcase" => &[
            "failure*",
            "rerunFailure*",
            "flakyFailure*",
            "skipped",
            "error",
            "rerunError*",
            "flakyError*",
            "system-out",
            "system-err",
        ],
        "rerunFailure" | "flakyFailure" => &["stackTrace", "system-out", "system-err"],
        "failure" | "skipped" | "error" | "stackTrace" | "property" => &[],
        other => panic!("{other} is not in the schema"),
    }
}

/// Attributes of each element: those that must be there, and those that may.
fn attributes(element: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match element {
        "testsuite" => {
            (&["name", "time", "tests", "errors", "skipped", "failures"], &["group", "version"])
        }
        "testcase" => (&["name", "time"], &["classname", "group"]),
        "property" => (&["name", "value"], &[]),
        "failure" | "error" | "rerunFailure" | "flakyFailure" => (&["type"], &["message"]),
        "skipped" => (&[], &["message"]),
        _ => (&[], &[]),
    }
}

/// Holds a suite against the schema; gives how often each element is there, and the suite's own counts.
fn surefire(xml: &str) -> (BTreeMap<String, usize>, BTreeMap<String, String>) {
    let mut reader = Reader::from_str(xml);
    let mut counts = BTreeMap::new();
    let mut suite = BTreeMap::new();
    let mut stack: Vec<(String, usize)> = Vec::new();
    loop {
        let event = reader.read_event().unwrap();
        let empty = matches!(event, Xml::Empty(_));
        match event {
            Xml::Start(start) | Xml::Empty(start) => {
                let name = start.name().as_ref().to_owned();
                if let Some((parent, place)) = stack.last_mut() {
                    let list = children(parent);
                    let found = list.iter().position(|child| child.trim_end_matches('*') == name);
                    let found = found.unwrap_or_else(|| panic!("{name} in {parent}"));
                    let again = found + 1 == *place && list[found].ends_with('*');
                    assert!(found >= *place || again, "{name} in {parent} is too late");
                    *place = found + 1;
                }
                let (must, may) = attributes(&name);
                let mut seen = BTreeMap::new();
                for attribute in start.attributes() {
                    let attribute = attribute.unwrap();
                    let key = attribute.key.as_ref().to_owned();
                    assert!(must.contains(&&*key) || may.contains(&&*key), "{key} of {name}");
                    seen.insert(key, attribute.value.to_string());
                }
                assert!(must.iter().all(|key| seen.contains_key(*key)), "{name}: {seen:?}");
                if name == "testsuite" {
                    suite.clone_from(&seen);
                }
                *counts.entry(name.clone()).or_insert(0) += 1;
                if !empty {
                    stack.push((name, 0));
                }
            }
            Xml::End(_) => {
                stack.pop().unwrap();
            }
            Xml::Eof => break,
            Xml::Text(_) | Xml::GeneralRef(_) | Xml::Decl(_) => {}
            other @ (Xml::CData(_) | Xml::Comment(_) | Xml::PI(_) | Xml::DocType(_)) => {
                panic!("{other:?}")
            }
        }
    }
    assert!(stack.is_empty());
    (counts, suite)
}

#[test]
fn junit_keeps_to_surefires_schema_and_its_counts_are_right() {
    for (sheet, errors) in [(full(), 0), (red(), 1), (cut_off(), 1)] {
        let xml = junit(&sheet);
        assert!(!xml.contains(['\u{fffe}', '\u{1b}', '\0']), "characters that XML forbids");
        let (counts, suite) = surefire(&xml);
        let count = |element: &str| counts.get(element).copied().unwrap_or(0).to_string();
        assert_eq!(suite["tests"], count("testcase"));
        assert_eq!(suite["failures"], count("failure"));
        assert_eq!(suite["skipped"], count("skipped"));
        assert_eq!(suite["errors"], count("error"));
        assert_eq!(suite["errors"], errors.to_string());
        assert_eq!(counts["testcase"], sheet.tasks.len() + 1);
    }
    let (counts, _) = surefire(&junit(&full()));
    assert_eq!((counts["rerunFailure"], counts["flakyFailure"]), (2, 2));
}

#[test]
fn sarif_is_valid_and_each_finding_is_there_once_at_its_place() {
    let schema = include_str!("../../../tests/data/sarif/sarif-2.1.0.slice.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let problems = |log: &Value| {
        let mut problems = Vec::new();
        schema::held(&schema, &schema, log, "", &mut problems);
        problems
    };
    for sheet in [full(), red(), cut_off()] {
        let log: Value = serde_json::from_str(&sarif(&sheet)).unwrap();
        assert_eq!(problems(&log), Vec::<String>::new());
    }
    // The schema can say no.
    let wrong = serde_json::json!({"version": "2.2", "runs": [{"results": [{"message": {}, "level": 1}]}], "x": 1});
    assert_eq!(
        problems(&wrong),
        [
            "/runs/0 lacks tool",
            "/runs/0/results/0/level is none of the allowed",
            "/runs/0/results/0/message fits none of the choices",
            "/version is none of the allowed",
            " has x",
        ]
    );
    let log: Value = serde_json::from_str(&sarif(&full())).unwrap();
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    let places: Vec<(&str, &str, Option<u64>)> = results
        .iter()
        .map(|result| {
            let place = &result["locations"][0]["physicalLocation"];
            let rule = &run["tool"]["driver"]["rules"]
                [usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
            assert_eq!(rule["id"], result["ruleId"]);
            (
                result["ruleId"].as_str().unwrap(),
                place["artifactLocation"]["uri"].as_str().unwrap(),
                place["region"]["startLine"].as_u64(),
            )
        })
        .collect();
    assert_eq!(
        places,
        [
            ("inspection.denied", "a%20b/.env", None),
            ("inspection.secret", "src/x.rs", Some(7)),
            ("inspection.lines", "docs/PLAN%20one.md", Some(12)),
            ("rule.of-a-later-version", "docs/PLAN%20one.md", Some(12)),
            ("admission.alignment", "docs/PLAN%20one.md", Some(12)),
        ]
    );
    let help = &run["tool"]["driver"]["rules"][0]["help"]["text"];
    assert!(help.as_str().unwrap().contains("because"), "{help}");
}

/// Every element of a page with its attributes and the text right inside it.
fn elements(page: &str) -> Vec<(String, BTreeMap<String, String>, String)> {
    fn walk(node: &Handle, found: &mut Vec<(String, BTreeMap<String, String>, String)>) {
        if let NodeData::Element { name, attrs, .. } = &node.data {
            let attributes = attrs
                .borrow()
                .iter()
                .map(|a| (a.name.local.to_string(), a.value.to_string()))
                .collect();
            let words = |child: &Handle| match &child.data {
                NodeData::Text { contents } => contents.borrow().to_string(),
                NodeData::Document
                | NodeData::Doctype { .. }
                | NodeData::Comment { .. }
                | NodeData::Element { .. }
                | NodeData::ProcessingInstruction { .. } => String::new(),
            };
            let text: Vec<String> = node.children.borrow().iter().map(words).collect();
            let text = text.concat();
            found.push((name.local.to_string(), attributes, text));
        }
        for child in node.children.borrow().iter() {
            walk(child, found);
        }
    }
    let dom = parse_document(RcDom::default(), html5ever::ParseOpts::default()).one(page);
    assert!(dom.errors.borrow().is_empty(), "{:?}", dom.errors.borrow());
    let mut found = Vec::new();
    walk(&dom.document, &mut found);
    found
}

#[test]
fn the_page_loads_nothing_runs_nothing_and_says_hostile_words_as_words() {
    const ELEMENTS: [&str; 38] = [
        "html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "p", "b",
        "time", "code", "a", "ul", "li", "dl", "div", "dt", "dd", "section", "table", "caption",
        "thead", "tbody", "tr", "th", "td", "span", "svg", "defs", "pattern", "line", "text", "g",
        "rect", "footer",
    ];
    for sheet in [full(), red(), cut_off()] {
        let page = html(&sheet);
        let elements = elements(&page);
        let mut ids = BTreeSet::new();
        for (name, attributes, _) in &elements {
            assert!(ELEMENTS.contains(&name.as_str()), "{name}");
            for (key, value) in attributes {
                assert!(
                    !key.starts_with("on")
                        && !["src", "srcset", "style", "action"].contains(&key.as_str()),
                    "{key}"
                );
                assert!(!value.contains("url(") || value == "url(#hatch)", "{value}");
                match key.as_str() {
                    "href" => {
                        assert!(name == "a" && value.starts_with("https://"), "{name} {value}");
                    }
                    "id" => assert!(ids.insert(value.clone()), "{value} is there twice"),
                    _ => {}
                }
            }
            let labelled =
                ["aria-label", "aria-hidden"].iter().any(|key| attributes.contains_key(*key));
            assert!(name != "svg" || labelled, "a drawing without words");
            assert!(name != "th" || attributes.get("scope").is_some_and(|scope| scope == "col"));
        }
        for (_, attributes, _) in &elements {
            let by = attributes.get("aria-labelledby");
            assert!(by.is_none_or(|by| ids.contains(by)), "{by:?}");
        }
        let style = elements.iter().find(|(name, ..)| name == "style").unwrap();
        let hash = crate::redact::base64(&<sha2::Sha256 as sha2::Digest>::digest(&style.2));
        let policy = elements
            .iter()
            .find_map(|(_, a, _)| a.get("content").filter(|c| c.contains("default-src")));
        let policy = policy.unwrap();
        assert!(
            policy.starts_with("default-src 'none'; ")
                && policy.contains(&format!("'sha256-{hash}'")),
            "{policy}"
        );
        assert!(!style.2.contains("url(") && !style.2.contains("@import"));
        // Whole, as somebody wrote it.
        let cell = elements.iter().any(|(name, _, text)| name == "td" && text.trim() == HOSTILE);
        assert!(cell, "{page}");
    }
}

#[test]
fn a_bar_stands_inside_the_drawing_and_a_long_wait_is_a_gap() {
    let page = html(&full());
    let bars: Vec<(f64, f64)> = elements(&page)
        .into_iter()
        .filter(|(name, a, _)| name == "rect" && a.contains_key("rx") && a.contains_key("x"))
        .map(|(_, a, _)| (a["x"].parse().unwrap(), a["width"].parse().unwrap()))
        .collect();
    assert!(bars.len() >= 6);
    for (x, width) in &bars {
        assert!(*x >= 0.0 && *width >= 2.0 && x + width <= 951.0, "{x} {width}");
    }
    assert!(page.contains("<title>nothing ran for 3h02</title>"), "the wait");
    // Without the gap the first minute would be seven units wide, and its bars two each.
    assert!(bars.iter().filter(|(_, width)| *width > 20.0).count() >= 4, "{bars:?}");
    assert!(!html(&cut_off()).contains("id=\"night\""), "nothing ran");
    assert!(!html(&red()).contains("id=\"trend\""), "one night is no trend");
}

#[test]
fn markdown_keeps_fences_and_leaves_githubs_parts_out() {
    let body = "<!-- marker -->\n**1**&nbsp;x\n\n- [ ] <!-- box --> retry\n\n<details><summary>More</summary>\n\n\
                ````text\n<!-- kept -->\n```\n- [ ] kept\n````\n\n</details>\n";
    assert_eq!(
        markdown("A *title*", body),
        "# A \\*title\\*\n\n**1** x\n\n## More\n\n````text\n<!-- kept -->\n```\n- [ ] kept\n````\n\n"
    );
}

#[test]
fn a_files_ending_names_its_format() {
    for format in Format::ALL {
        assert_eq!(Format::of_file(&format!("out/x.{}", format.ending())), Some(format));
        assert_eq!(Format::of_word(format.word()), Some(format));
    }
    assert_eq!(Format::of_file("REPORT.HTML"), Some(Format::Html));
    assert_eq!(Format::of_file("x.sarif.json"), Some(Format::Sarif));
    assert_eq!(Format::of_file("html"), None);
}
