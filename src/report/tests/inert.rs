//! Hostile text is inert wherever it comes from: nights full of it are rendered as GitHub renders them, and the page
//! is read by a browser's rules. Each trick is seen to work on the raw text first, or its test could not fail.

use std::sync::LazyLock;

use comrak::Options;
use regex::Regex;
use scraper::{ElementRef, Html, Node};

use super::*;
use crate::{
    night::{RefusedTask, Reverse},
    policy::{Factor, Risk},
};

/// A rendered text.
pub(super) struct Page(Html);

/// Renders as GitHub does: all extensions of its flavour, raw HTML allowed (its sanitizer comes after).
pub(super) fn page(markdown: &str) -> Page {
    let mut options = Options::default();
    let on = &mut options.extension;
    (on.strikethrough, on.table, on.autolink, on.tasklist) = (true, true, true, true);
    (on.footnotes, on.inline_footnotes, on.alerts, on.shortcodes) = (true, true, true, true);
    (on.math_dollars, on.math_code) = (true, true);
    options.render.r#unsafe = true;
    Page(Html::parse_document(&comrak::markdown_to_html(markdown, &options)))
}

impl Page {
    /// What a reader sees, links without their addresses.
    pub(super) fn text(&self) -> String {
        self.0.root_element().text().collect::<Vec<_>>().concat()
    }

    /// Every element with its attributes and every comment, without text. Addresses are looked at apart.
    fn skeleton(&self) -> Vec<String> {
        let mut parts = Vec::new();
        for node in self.0.tree.root().descendants() {
            match node.value() {
                Node::Element(element) => {
                    let attributes: Vec<String> = element
                        .attrs()
                        .filter(|(name, _)| *name != "href")
                        .map(|(name, value)| format!(" {name}={value}"))
                        .collect();
                    parts.push(format!("{}{}", element.name(), attributes.concat()));
                }
                Node::Comment(comment) => parts.push(format!("<!--{}-->", &**comment)),
                Node::Document
                | Node::Fragment
                | Node::Doctype(_)
                | Node::Text(_)
                | Node::ProcessingInstruction(_) => {}
            }
        }
        parts
    }

    fn cells(&self) -> Vec<String> {
        let all = self.0.tree.root().descendants().filter_map(ElementRef::wrap);
        let cells = all.filter(|element| element.value().name() == "td");
        cells.map(|cell| cell.text().collect::<Vec<_>>().concat()).collect()
    }

    fn links(&self) -> Vec<String> {
        let links = self.0.tree.root().descendants().filter_map(ElementRef::wrap);
        links.filter_map(|element| element.attr("href")).map(str::to_owned).collect()
    }

    /// Texts in which GitHub looks for mentions and references: outside of code and links.
    fn read_again(&self) -> Vec<String> {
        let mut texts = Vec::new();
        for node in self.0.tree.root().descendants() {
            let Node::Text(text) = node.value() else { continue };
            let quiet = node.ancestors().filter_map(ElementRef::wrap).any(|element| {
                matches!(element.value().name(), "pre" | "code" | "a" | "script" | "style")
            });
            if !quiet {
                texts.push(text.to_string());
            }
        }
        texts
    }
}

type Patterns = Vec<(&'static str, Regex)>;

fn patterns<const N: usize>(all: [(&'static str, &str); N]) -> Patterns {
    all.map(|(what, pattern)| (what, Regex::new(pattern).unwrap())).to_vec()
}

/// What GitHub's filters look for in the text of a page. Mentions: html-pipeline's `MentionFilter` (`(?:^|\W)@name`,
/// `\W` of ASCII); issues: `#1`, `GH-1`, `o/r#1` (docs "Autolinked references and URLs"); emoji: gemoji's
/// `:name:`; addresses: GFM's autolink extension.
static OF_PAGES: LazyLock<Patterns> = LazyLock::new(|| {
    patterns([
        ("a mention", r"(?i)(^|[^a-z0-9_])@[a-z0-9]"),
        ("a reference", r"(?i)#\d|\bgh-\d"),
        ("an emoji", r"(?i):[a-z0-9_+-]*[a-z][a-z0-9_+-]*:"),
        ("an emoji", r"[\x{2600}-\x{27bf}\x{1f000}-\x{1faff}]"),
        ("an address", r"(?i)https?://|\bwww\.|ftp://|mailto:[a-z]|[a-z0-9]@[a-z0-9]"),
    ])
});

/// What is read in the raw text of a commit, and of a body of which a squash merge makes one. Closing words: docs
/// "Linking a pull request to an issue"; orders: docs "Skipping workflow runs".
static OF_COMMITS: LazyLock<Patterns> = LazyLock::new(|| {
    patterns([
        ("a mention", r"(?i)(^|[^a-z0-9_])@[a-z0-9]"),
        (
            "a closing word",
            r"(?i)(close[sd]?|fix(e[sd])?|resolve[sd]?):?\s+([a-z0-9._-]+/[a-z0-9._-]+)?(#\d|gh-\d|https?://\S+/(issues|pull)/\d)",
        ),
        ("a reference", r"(?i)#\d|\bgh-\d"),
        (
            "an order to CI",
            r"(?i)\[(skip ci|ci skip|no ci|skip actions|actions skip)\]|\*\*\*no_ci\*\*\*|skip-checks:\s*true",
        ),
        ("a signature", r"(?im)^[\s>*-]*(signed-off-by|co-authored-by|acked-by)\s*:"),
    ])
});

/// What no reader sees, or what turns a line around.
fn unseen(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' | '\u{200c}'..='\u{200f}'
        | '\u{feff}' | '\u{ad}' | '\u{e0000}'..='\u{e007f}' | '\u{1b}')
}

/// What a page of harmless words is made of: its elements, its links, and its tables' cells, `None` where one holds
/// such a word.
type Bones = (Vec<String>, Vec<String>, Vec<Option<String>>);

fn bones(harmless: &str) -> Bones {
    let page = page(harmless);
    let cells = page.cells().into_iter().map(|cell| (!cell.contains("word")).then_some(cell));
    (page.skeleton(), page.links(), cells.collect())
}

/// What is wrong with a body, beside one made of harmless words.
fn wrong(body: &str, (other, links, cells): &Bones) -> Vec<String> {
    let here = page(body);
    let mut said = Vec::new();
    let own = here.skeleton();
    if own != *other {
        let at = own.iter().zip(other).position(|(own, other)| own != other);
        let at = at.unwrap_or(own.len().min(other.len()));
        said.push(format!("other elements: {:?} for {:?}", own.get(at), other.get(at)));
    }
    // A bar in a cell moves the cells behind it.
    let moved = here
        .cells()
        .into_iter()
        .zip(cells)
        .find(|(own, other)| other.as_ref().is_some_and(|other| other != own));
    said.extend(moved.map(|moved| format!("a cell is not in its place: {moved:?}")));
    if here.links() != *links {
        said.push(format!("other links: {:?}", here.links()));
    }
    for text in here.read_again() {
        let found = OF_PAGES.iter().filter_map(|(what, of)| Some((what, of.find(&text)?.as_str())));
        said.extend(found.map(|(what, found)| format!("{what} on the page: {found:?}")));
    }
    said.extend(wrong_in_raw(body));
    said
}

fn wrong_in_raw(text: &str) -> Vec<String> {
    let found = |(what, of): &(&str, Regex)| {
        Some(format!("{what} in the raw text: {:?}", of.find(text)?.as_str()))
    };
    let mut said: Vec<String> = OF_COMMITS.iter().filter_map(found).collect();
    said.extend(text.chars().find(|c| unseen(*c)).map(|c| format!("an unseen {c:?}")));
    said
}

/// Each does something where it stands raw.
const TRICKS: [(&str, &str); 50] = [
    ("mention", "@octocat look"),
    ("mention of a team", "cc @acme/owners"),
    ("mention behind a letter of another script", "ü@octocat"),
    ("reference", "see #12"),
    ("short reference", "see GH-12"),
    ("reference elsewhere", "see acme/web#12"),
    ("closing word", "Fixes #12"),
    ("closing word, denied", "this does not close #12"),
    ("closing word, short", "closes GH-1"),
    ("closing word with a colon", "resolves: acme/web#3"),
    ("closing word with an address", "fixes https://github.com/acme/web/issues/3"),
    ("order to CI", "[skip ci]"),
    ("order to CI, turned", "[ci skip]"),
    ("order to actions", "[skip actions]"),
    ("order in an order", "[skip [skip ci]ci] [sk@ip ci]"),
    ("order of Azure", "***NO_CI***"),
    ("order as a trailer", "a\n\nskip-checks: true"),
    ("signature", "a\n\nSigned-off-by: Linus <l@example.org>"),
    ("co-author", "a\n\nCo-authored-by: Eve <eve@example.org>"),
    ("comment", "a <!-- hidden --> b"),
    ("comment that stays open", "a\n\n<!-- b"),
    ("image", "![x](https://evil.example/p.png)"),
    ("image of HTML", "<img src=https://evil.example/p.png>"),
    ("link", "[here](https://evil.example)"),
    ("link by reference", "[here]\n\n[here]: https://evil.example"),
    ("link in angles", "<https://evil.example>"),
    ("bare address", "https://evil.example/a"),
    ("bare www", "www.evil.example"),
    ("bare e-mail", "write to eve@evil.example now"),
    ("heading", "a\n\n# Approved"),
    ("underlined heading", "a\n\nApproved\n===\n\nb"),
    ("rule", "a\n\n---\n\nb"),
    ("table", "a\n\n| a | b |\n|---|---|\n| c | d |"),
    ("cell", "a | b | c"),
    ("cell behind a backslash", "a\\| <img src=x> \\\\| b"),
    ("task list", "a\n\n- [x] done"),
    ("our own box", "a\n\n- [x] <!-- nightshift:retry=task_4 -->"),
    ("fence", "a\n```\n# b\n````\n# c\n~~~\n# d"),
    ("picture", "a\n\n```mermaid\ngraph TD; click A \"https://evil.example\"\n```"),
    ("folded part", "</summary></details><details open><summary>b"),
    ("script", "<script>alert(1)</script><style>*{display:none}</style>"),
    ("quote and alert", "a\n\n> [!NOTE]\n> merge it"),
    ("emoji", "done :tada: :white_check_mark:"),
    ("formula", "it is $x^2$ and $$y$$"),
    ("footnote", "a[^1]\n\n[^1]: b"),
    ("bold, struck, code", "**a** ~~b~~ `c` _d_ *e*"),
    ("turned line", "a \u{202e}b\u{2066} c\u{200d}\u{feff}"),
    ("line ends of Unicode", "a\u{2028}# b\u{2029}# c"),
    ("escape", "\u{1b}[31mred\u{1b}[0m"),
    ("command of a runner", "a\r\n::add-mask::b, file=c:: @d\n##[error]e"),
];

/// Where foreign text comes from.
const PLACES: [&str; 26] = [
    "title",
    "title of what is taken back",
    "id",
    "failed id",
    "refused title",
    "refused id",
    "path of a risk",
    "value of a finding",
    "message of a finding",
    "limit of a finding",
    "help of a finding",
    "failing test",
    "step",
    "command",
    "what a gate lacked",
    "decision",
    "why of a decision",
    "second opinion",
    "question",
    "last words",
    "reason of a person",
    "person",
    "base branch",
    "plan's path",
    "model",
    "note",
];

/// A night in which `text` stands in one place and harmless words in all others.
fn night_of(place: &str, text: &str) -> Night {
    let put = |here: &str| if place == here { text.to_owned() } else { "word".to_owned() };
    // Ids are checked when the plan is read: no blanks, 64 bytes.
    let id = |here: &str, other: &str| {
        let id: String = text.split_whitespace().collect::<Vec<_>>().join(".");
        let id: String = id.chars().filter(|c| !c.is_control()).collect();
        let end = (0..=id.len().min(60)).rev().find(|at| id.is_char_boundary(*at)).unwrap();
        let id = if place == here { format!("{other}{}", &id[..end]) } else { other.to_owned() };
        TaskId::new(id).unwrap()
    };
    let said = || Refusal {
        rule: "inspection.ask-first".into(),
        verdict: Verdict::Report,
        severity: Severity::High,
        message: put("message of a finding"),
        value: put("value of a finding"),
        limit: put("limit of a finding"),
        origin: Origin::Default,
        help: Some(put("help of a finding")),
    };
    let (landed, failed) = (id("id", "a"), id("failed id", "b"));
    let takes_back =
        ["title of what is taken back", "reason of a person", "person"].contains(&place);
    let mut story = Story::new(|opening| {
        let mut tasks = serde_json::to_value(&opening.tasks).unwrap();
        let title = put(if takes_back { "title of what is taken back" } else { "title" });
        for (at, id) in [landed.as_str(), failed.as_str(), "c"].into_iter().enumerate() {
            tasks[at]["task"]["id"] = id.into();
            tasks[at]["task"]["title"] = title.as_str().into();
        }
        opening.tasks = serde_json::from_value(tasks).unwrap();
        opening.base.branch = put("base branch");
        opening.plan.path = put("plan's path").as_str().into();
        opening.plan.working_tree = false;
        opening.gate.steps[0].run = put("command");
        opening.publish.web = Some("https://github.com/acme/billing".into());
        opening.publish.push = true;
        opening.notes = vec![put("note")];
        opening.refused = vec![RefusedTask {
            id: id("refused id", "r"),
            title: put("refused title"),
            line: 3,
            verdict: Verdict::Refuse,
            refusals: vec![said()],
        }];
        if takes_back {
            let back = reverse(&landed, &put("reason of a person"), &put("person"));
            opening.reverses = vec![back];
        }
    });
    let factor = Factor { name: "deletions".into(), points: 50, why: put("path of a risk") };
    story.seen = Inspection {
        findings: vec![said()],
        risk: Risk { score: 50, factors: vec![factor] },
        ..Inspection::default()
    };
    let [what, why] = [put("decision"), put("why of a decision")];
    let report = AgentReport {
        model: Some(put("model")),
        last_words: Some(put("last words")),
        notes: vec![put("note")],
        ..decided(&[(Level::Medium, &what, &why), (Level::Low, &what, &why)])
    };
    story.lands(landed.as_str(), report.clone(), Some(&put("second opinion")));
    let mut red = gate(story.night.tip(), &TreeId::new(hash(90)).unwrap());
    red.steps[0].ended = StepEnd::Exit(1);
    red.steps[0].name = put("step");
    red.steps[0].command = put("command");
    red.failing_tests = vec![put("failing test")];
    red.vacuous = Some(put("what a gate lacked"));
    let attempt = story.begins(failed.as_str());
    let failure = Failure::Gate(Box::new(red));
    let setback = Setback { failure, then: Then::FailTask, same_as: None };
    story.tell(Event::AgentEnded {
        attempt,
        report: report.clone(),
        result: Err(setback),
        kept: None,
        inspection: Inspection::default(),
    });
    story.fails("c", report, asks(&put("question")));
    story.night
}

fn reverse(task: &TaskId, reason: &str, by: &str) -> Reverse {
    Reverse {
        task: task.clone(),
        night: NightId::new("2026-11-20").unwrap(),
        commit: CommitId::new(hash(7)).unwrap(),
        before: TreeId::new(hash(8)).unwrap(),
        after: TreeId::new(hash(9)).unwrap(),
        puts_back: None,
        reason: Some(reason.to_owned()),
        by: by.to_owned(),
    }
}

#[test]
fn each_trick_works_where_it_stands_raw() {
    // A table's cell is where some are not lines of their own.
    let cell = |inside: &str| format!("| a | b |\n|---|---|\n| {inside} | e |\n");
    for (name, trick) in TRICKS {
        let text = wrong(&format!("text\n\n{trick}\n"), &bones("text\n\nword\n"));
        let said = [text, wrong(&cell(trick), &bones(&cell("word")))].concat();
        assert!(!said.is_empty(), "{name} does nothing");
    }
    assert_eq!(
        wrong(&cell("two words"), &bones(&cell("word"))),
        [""; 0],
        "harmless words do nothing"
    );
}

#[test]
fn each_place_is_seen_in_the_text() {
    for place in PLACES {
        assert!(pull_request(&night_of(place, "Zebra77")).body.contains("Zebra77"), "{place}");
    }
}

#[test]
fn no_trick_works_from_any_place() {
    // Ids stand encoded in our marks and addresses, names in the picture: both are ours.
    let ours = Regex::new(r"<!-- nightshift:\S+ -->|/edit/\S+#L3|(?m)^  \S+ :(done|crit)").unwrap();
    let own = |text: String| ours.replace_all(&text, "ours").into_owned();
    let mut failures = Vec::new();
    for place in PLACES {
        let harmless = night_of(place, "word");
        let body_without = bones(&own(pull_request(&harmless).body));
        let summary_without = bones(&own(job_summary(&harmless, 900_000)));
        // A summary is made of the same parts, but for its heading and the boxes.
        let in_summary = ["title", "failed id", "refused title"].contains(&place);
        for (name, trick) in TRICKS {
            let night = night_of(place, trick);
            let PullRequest { title, body, .. } = pull_request(&night);
            picture_is_ours(&body);
            let mut said = wrong(&own(body), &body_without);
            if in_summary {
                said.extend(wrong(&own(job_summary(&night, 900_000)), &summary_without));
            }
            said.extend(wrong_in_raw(&title));
            said.extend(title.find('\n').map(|_| "a title of two lines".to_owned()));
            said.extend(annotations(&night).iter().filter_map(|line| wrong_for_a_runner(line)));
            failures.extend(said.into_iter().map(|said| format!("{name} as {place}: {said}")));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// An annotation is one line that begins as ours do, and has no second command in it.
fn wrong_for_a_runner(line: &str) -> Option<String> {
    static OURS: LazyLock<Regex> = LazyLock::new(|| {
        let properties = r"[a-z]+=[^:,\r\n]*(,[a-z]+=[^:,\r\n]*)*";
        Regex::new(&format!(r"^::(error|warning|notice) {properties}::[^\r\n]*$")).unwrap()
    });
    let whole = OURS.is_match(line) && !line.contains("##[");
    (!whole).then(|| format!("another command: {line}"))
}

/// Every line of the picture is one that we make, with names of letters and digits.
fn picture_is_ours(body: &str) {
    static LINE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"^(gantt|  dateFormat YYYY-MM-DDTHH:mm|  axisFormat %H:%M|  section worker \d+|  task_[A-Za-z0-9_.-]+ :(done|crit), [0-9T:-]+, [0-9T:-]+)$",
        )
        .unwrap()
    });
    let picture = body.split("```mermaid\ngantt").nth(1).unwrap().split("```").next().unwrap();
    assert!(picture.lines().skip(1).all(|line| LINE.is_match(line)), "{picture}");
}

#[test]
fn no_trick_works_in_a_commit_message() {
    let (night, gate, task) =
        (NightId::new("2026-11-21").unwrap(), gate_id(), TaskId::new("task_5").unwrap());
    for (name, trick) in TRICKS {
        let reverse = reverse(&task, trick, "ada");
        let long = format!("{trick} {}", "and more words ".repeat(12));
        for (title, reverse) in [(trick, None), (long.as_str(), None), ("Add x", Some(&reverse))] {
            let message = Message {
                title,
                night: &night,
                attempt: &AttemptId { task: task.clone(), number: 2 },
                of: 3,
                gate: &gate,
                risk: (crate::policy::RiskLevel::Low, 29),
                co_author: None,
                reverse,
            };
            let text = message.text(&TreeId::new(hash(9)).unwrap());
            let said = wrong_in_raw(&text);
            assert!(said.is_empty(), "{name}: {said:?}\n{text}");
            let found = git2::message_trailers_strs(&text).unwrap();
            let keys: Vec<&str> = found.iter().map(|(key, _)| key).collect();
            let parts = ["Task", "Night", "Try", "Tree", "Gate", "Risk"];
            assert_eq!(keys, parts.map(|part| format!("Nightshift-{part}")), "{name}\n{text}");
            assert_eq!(text.matches("Nightshift-Tree:").count(), 1, "{name}\n{text}");
        }
    }
}

#[test]
fn a_secret_is_taken_out_before_it_is_escaped() {
    let secret = "p@ss_w0rd#1*:a:b";
    let redactor = crate::redact::Redactor::new([secret.to_owned()]);
    let letters =
        |text: &str| text.chars().filter(|c| !"\\\u{200b}".contains(*c)).collect::<String>();
    for place in PLACES.into_iter().filter(|place| !place.ends_with("id")) {
        let night = night_of(place, &format!("it is {secret} here"));
        let PullRequest { title, body, .. } = pull_request(&night.redacted(&redactor));
        assert!(!letters(&(title + &body)).contains(secret), "{place}: {body}");
    }
    let raw = pull_request(&night_of("title", secret)).body;
    assert!(letters(&raw).contains(secret) && redactor.redact(&raw) == raw, "the control: {raw}");
}
