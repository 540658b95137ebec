//! A night as JUnit XML after surefire's schema 3.0: the night is a suite, each task a test case, and former tries are
//! what surefire calls reruns, so that a CI system shows a task that landed late as flaky.
//!
//! Writes elements only in the schema's order. Characters that XML 1.0 forbids are taken out, not replaced.

use quick_xml::{
    Writer,
    events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event},
};

use crate::{
    ids::NAME,
    report::formats::{AttemptRow, Outcome, Sheet, TaskRow},
};

/// Writes the suite. Its first case is the night itself: it is in error where the night stopped early, or nothing could
/// be started, so that such a night is never green.
pub fn junit(sheet: &Sheet) -> String {
    let failed = sheet.count(Outcome::Failed);
    let landed = sheet.count(Outcome::Landed);
    let broken = usize::from(broken(sheet).is_some());
    let mut xml = Xml(Writer::new_with_indent(Vec::new(), b' ', 2));
    xml.write(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
    let counts = [
        (sheet.tasks.len() + 1).to_string(),
        broken.to_string(),
        (sheet.tasks.len() - failed - landed).to_string(),
        failed.to_string(),
    ];
    let [tests, errors, skipped, failures] = &counts;
    let attributes = [
        ("name", &*format!("{NAME} {}", sheet.night)),
        ("time", &format!("{}.000", sheet.lasted_s)),
        ("tests", tests),
        ("errors", errors),
        ("skipped", skipped),
        ("failures", failures),
    ];
    xml.inside("testsuite", &attributes, |xml| {
        xml.inside("properties", &[], |xml| {
            for (name, value) in [
                ("night", &*sheet.night),
                ("repository", &sheet.repository),
                ("base", &sheet.base),
                ("agent", &sheet.agent),
                ("began", &format!("{:.0}", sheet.began)),
                ("cost", &sheet.spent_words),
                ("exit", &sheet.exit.map_or("none".to_owned(), |exit| exit.to_string())),
                ("pull_request", sheet.url.as_deref().unwrap_or("none")),
            ] {
                xml.empty("property", &[("name", name), ("value", value)]);
            }
        });
        night_case(xml, sheet);
        for task in &sheet.tasks {
            task_case(xml, sheet, task);
        }
    });
    xml.text()
}

/// Why the night itself is in error.
fn broken(sheet: &Sheet) -> Option<String> {
    let bad = match sheet.exit {
        Some(exit) => exit > 1,
        None => !sheet.running,
    };
    bad.then(|| {
        let code =
            sheet.exit.map_or("it did not end".to_owned(), |exit| format!("exit code {exit}"));
        let alerts = sheet.alerts.join("; ");
        if alerts.is_empty() { code } else { format!("{code}: {alerts}") }
    })
}

fn night_case(xml: &mut Xml, sheet: &Sheet) {
    let class = class(sheet);
    let attributes = [("name", "the night"), ("classname", &class), ("time", "0.000")];
    xml.inside("testcase", &attributes, |xml| {
        if let Some(why) = broken(sheet) {
            xml.words("error", &[("message", &why), ("type", "night")], &why);
        }
    });
}

fn task_case(xml: &mut Xml, sheet: &Sheet, task: &TaskRow) {
    let seconds: u64 = task.attempts.iter().map(|attempt| attempt.seconds).sum();
    let name = format!("{} {}", task.id, task.title);
    let (class, time) = (class(sheet), format!("{seconds}.000"));
    let attributes = [("name", name.trim_end()), ("classname", &class), ("time", &time)];
    xml.inside("testcase", &attributes, |xml| {
        let troubles = task.attempts.iter().filter(|attempt| attempt.trouble.is_some());
        match task.outcome {
            Outcome::Failed => failed(xml, task),
            Outcome::Landed => {
                for attempt in troubles {
                    rerun(xml, "flakyFailure", attempt);
                }
            }
            Outcome::Held | Outcome::Asks | Outcome::Refused | Outcome::Open | Outcome::Waiting => {
                for attempt in troubles {
                    rerun(xml, "flakyFailure", attempt);
                }
                let message = format!("{}: {}", task.outcome.word(), task.why);
                xml.words("skipped", &[("message", &message)], &task.next);
            }
        }
    });
}

/// The first try is the failure, the others its reruns.
fn failed(xml: &mut Xml, task: &TaskRow) {
    let mut troubles = task.attempts.iter().filter(|attempt| attempt.trouble.is_some());
    let first = troubles.next().and_then(|first| first.trouble.as_ref());
    let kind = first.map_or("failed", |(kind, _)| kind.as_str());
    let words = format!("{}\n{}", first.map_or("", |(_, why)| why), task.next);
    xml.words("failure", &[("message", &task.why), ("type", kind)], words.trim());
    for attempt in troubles {
        rerun(xml, "rerunFailure", attempt);
    }
}

fn rerun(xml: &mut Xml, element: &str, attempt: &AttemptRow) {
    let Some((kind, why)) = &attempt.trouble else { return };
    xml.inside(element, &[("message", why), ("type", kind)], |xml| {
        xml.words("stackTrace", &[], &format!("try {}: {why}", attempt.number));
    });
}

fn class(sheet: &Sheet) -> String {
    format!("{NAME}.{}", sheet.night)
}

/// A writer into memory, which cannot fail.
struct Xml(Writer<Vec<u8>>);

impl Xml {
    fn write(&mut self, event: Event<'_>) {
        self.0.write_event(event).expect("a vector takes all bytes");
    }

    fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.write(Event::Empty(start(name, attributes)));
    }

    fn inside(&mut self, name: &str, attributes: &[(&str, &str)], content: impl FnOnce(&mut Xml)) {
        self.write(Event::Start(start(name, attributes)));
        content(self);
        self.write(Event::End(BytesEnd::new(name)));
    }

    fn words(&mut self, name: &str, attributes: &[(&str, &str)], words: &str) {
        self.inside(name, attributes, |xml| {
            xml.write(Event::Text(BytesText::new(&legal(words))));
        });
    }

    fn text(self) -> String {
        String::from_utf8(self.0.into_inner()).expect("all that was written is text") + "\n"
    }
}

fn start<'n>(name: &'n str, attributes: &[(&str, &str)]) -> BytesStart<'n> {
    let mut start = BytesStart::new(name);
    for (key, value) in attributes {
        start.push_attribute((*key, legal(value).as_str()));
    }
    start
}

/// Only characters of XML 1.0, section 2.2.
fn legal(text: &str) -> String {
    let is_legal = |c: &char| {
        matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}'
            | '\u{10000}'..='\u{10ffff}')
    };
    text.chars().filter(is_legal).collect()
}
