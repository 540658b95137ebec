//! The score of a task's words, before anything ran.
//!
//! Words only: a plan's author is believed about what a task is, never about how safe it is. The diff is
//! scored again when it is there.

use super::{Bands, DECLARED, Risk, RiskLevel, Scale};
use crate::{
    plan::{SafetyMark, Task, TestsDefined},
    policy::words,
};

/// Verbs that only look.
const LOOKS: [&str; 12] = [
    "query", "list", "show", "read", "find", "count", "fetch", "search", "print", "inspect",
    "view", "analyse",
];
/// Verbs that put stored data away.
const DESTROYS: [&str; 9] =
    ["delete", "drop", "purge", "wipe", "truncate", "erase", "destroy", "remove", "clear"];
/// Verbs that change stored data.
const STORES: [&str; 12] = [
    "update",
    "insert",
    "set",
    "change",
    "modify",
    "migrate",
    "alter",
    "backfill",
    "import",
    "upsert",
    "overwrite",
    "rewrite",
];
/// Verbs that reach somebody outside.
const REACHES: [&str; 16] = [
    "send", "email", "mail", "notify", "post", "publish", "tweet", "deploy", "release", "pay",
    "charge", "refund", "transfer", "call", "text", "announce",
];
/// What holds data that no commit brings back.
const DATA: [&str; 12] = [
    "database",
    "db",
    "table",
    "row",
    "record",
    "data",
    "backup",
    "bucket",
    "production",
    "prod",
    "volume",
    "index",
];
/// What is outside.
const OUTSIDE: [&str; 16] = [
    "mail",
    "email",
    "newsletter",
    "sms",
    "message",
    "customer",
    "client",
    "slack",
    "production",
    "prod",
    "webhook",
    "registry",
    "package",
    "money",
    "invoice",
    "release",
];
/// What is only code, whatever word stands before it.
const CODE: [&str; 34] = [
    "function",
    "helper",
    "method",
    "class",
    "module",
    "struct",
    "type",
    "test",
    "file",
    "import",
    "component",
    "button",
    "page",
    "view",
    "endpoint",
    "route",
    "handler",
    "parser",
    "flag",
    "option",
    "code",
    "comment",
    "variable",
    "constant",
    "field",
    "layer",
    "client",
    "model",
    "mock",
    "fixture",
    "template",
    "script",
    "loader",
    "wrapper",
];
/// What turns an order into a behaviour: "send a mail *when* an order ships" is code.
const CONDITIONS: [&str; 8] =
    ["when", "whenever", "after", "before", "if", "once", "upon", "unless"];
/// Where the object of a verb ends.
const PREPOSITIONS: [&str; 13] =
    ["for", "of", "to", "in", "into", "about", "on", "that", "with", "from", "by", "at", "as"];
/// Subjects whose mistakes are dear.
const SECURITY: [&str; 6] = ["auth", "security", "login", "password", "token", "crypto"];
const MONEY: [&str; 5] = ["payment", "stripe", "invoice", "refund", "billing"];
const SCHEMA: [&str; 4] = ["migration", "schema", "remove column", "alter table"];

/// What a task does, by its title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Looks,
    OwnFiles,
    StoredData,
    Outside,
    DestroysData,
}

/// Scores a task. `only_tests_or_docs`: it writes nothing else, as far as its words say.
pub(crate) fn of_task(task: &Task, only_tests_or_docs: bool, bands: &Bands) -> Risk {
    let mut scale = Scale::default();
    let title = words::split(subject(&task.title));
    let effect = effect(&title);
    let (changes, change_why, undo, undo_why) = match effect {
        Effect::Looks => (0, "only looks", 0, ""),
        Effect::OwnFiles => (25, "changes files of the repository", 4, "git brings them back"),
        Effect::StoredData => {
            (30, "changes stored data", 8, "no commit brings stored data back by itself")
        }
        Effect::Outside => {
            (45, "reaches people or services outside", 41, "it cannot be taken back")
        }
        Effect::DestroysData => (45, "destroys stored data", 41, "it cannot be taken back"),
    };
    scale.add("effect", changes, change_why);
    scale.add("undo", undo, undo_why);
    let reads = |word: &str| words::contains(&task.title, word);
    let looks = effect == Effect::Looks;
    let about =
        |list: &[&str]| list.iter().find(|word| !looks && reads(word)).map(|w| (*w).to_owned());
    for (name, list, points) in
        [("authentication", &SECURITY[..], 20), ("money", &MONEY, 20), ("schema", &SCHEMA, 20)]
    {
        if let Some(word) = about(list) {
            scale.add(name, points, &format!("its title is about \"{word}\""));
        }
    }
    if effect == Effect::OwnFiles {
        let one_of = |list: &[&str]| title.iter().find(|word| is_one_of(word, list)).cloned();
        if let Some(word) = one_of(&["database", "db", "sql", "table"]) {
            scale.add("data", 6, &format!("its title names \"{word}\""));
        }
        if let Some(word) = one_of(&["mail", "email", "sms", "webhook", "newsletter"]) {
            scale.add("outside", 6, &format!("its title names \"{word}\""));
        }
        if title.first().is_some_and(|word| is_one_of(word, &DESTROYS)) {
            scale.add("deletions", 12, "it takes something away");
        }
    }
    if words::dependencies(task) != words::Dependencies::None {
        scale.add("dependencies", 15, "it adds or changes dependencies");
    }
    match task.fields.estimated_lines {
        Some(lines) if lines > 100 => scale.add("size", 10, &format!("about {lines} lines")),
        Some(lines) if lines > 30 => scale.add("size", 5, &format!("about {lines} lines")),
        Some(_) | None => {}
    }
    let tested = matches!(task.fields.tests, Some(TestsDefined::Yes(_)));
    if !tested && !only_tests_or_docs && !looks {
        scale.add("untested", 5, "no tests are defined for it");
    }
    let broad = |file: &&String| file.starts_with('*') || file.as_str() == "src/**";
    if let Some(file) = task.fields.files.iter().find(broad) {
        scale.add("reach", 3, &format!("its files reach far: {file}"));
    }
    if only_tests_or_docs && effect == Effect::OwnFiles {
        scale.add("harmless", -20, "it writes only tests or documents");
    }
    match task.fields.safety.as_ref().map(|safety| safety.mark) {
        Some(SafetyMark::Caution) => scale.add("caution", 10, "its safety check carries a warning"),
        Some(SafetyMark::Safe) if effect == Effect::OwnFiles => {
            scale.add("checked", -3, "its safety check is marked as passed");
        }
        Some(_) | None => {}
    }
    let computed = scale.score();
    if let Some(said) = task.fields.risk.as_deref().and_then(|text| declared(text, bands))
        && said > computed
    {
        let more = i32::try_from(said - computed).unwrap_or(0);
        scale.add(DECLARED, more, "its `Risk` says more; it can only raise the score");
    }
    scale.risk()
}

/// The title without the type of a conventional commit.
fn subject(title: &str) -> &str {
    match title.split_once(": ") {
        Some((kind, rest)) if kind.len() <= 20 && !kind.contains(' ') => rest,
        _ => title,
    }
}

fn is_one_of(word: &str, list: &[&str]) -> bool {
    list.iter().any(|base| words::is_form(word, base))
}

fn effect(title: &[String]) -> Effect {
    let Some((verb, rest)) = title.split_first() else { return Effect::OwnFiles };
    let has = |list: &[&str]| rest.iter().any(|word| is_one_of(word, list));
    // "e-mail" is two words here.
    let mails = verb == "e" && rest.first().is_some_and(|word| is_one_of(word, &["mail"]));
    // What the verb is done to: "the database *client*", and not "the *client* list".
    let object = rest.iter().take_while(|word| !PREPOSITIONS.contains(&word.as_str())).last();
    if has(&CONDITIONS) || object.is_some_and(|word| is_one_of(word, &CODE)) {
        return Effect::OwnFiles;
    }
    if is_one_of(verb, &DESTROYS) && has(&DATA) {
        Effect::DestroysData
    } else if mails || (is_one_of(verb, &REACHES) && has(&OUTSIDE)) {
        Effect::Outside
    } else if is_one_of(verb, &STORES) && has(&DATA) {
        Effect::StoredData
    } else if is_one_of(verb, &LOOKS) {
        Effect::Looks
    } else {
        Effect::OwnFiles
    }
}

/// `high`, `72`, `72/100`; a level stands for its lowest score.
fn declared(text: &str, bands: &Bands) -> Option<u32> {
    let word = text.split(|c: char| !c.is_alphanumeric()).find(|word| !word.is_empty())?;
    if let Ok(score) = word.parse::<u32>() {
        return Some(score.min(100));
    }
    match word.to_lowercase().as_str() {
        "low" => Some(0),
        "medium" | "middle" | "moderate" => Some(bands.least(RiskLevel::Medium)),
        "high" => Some(bands.least(RiskLevel::High)),
        "critical" => Some(bands.least(RiskLevel::Critical)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::ready;

    fn score(title: &str) -> u32 {
        of_task(&ready(title), false, &Bands::default()).score
    }

    #[test]
    fn the_five_reference_cases_score_in_their_bands() {
        for (expected, titles) in [
            (
                0,
                [
                    "Query the list of open invoices",
                    "List the orders of last week",
                    "Count the open tickets",
                ],
            ),
            (
                29,
                [
                    "Write the report file into the working directory",
                    "Save the summary as docs/summary.md",
                    "Create the export file",
                ],
            ),
            (
                38,
                [
                    "Update the customer row in the database",
                    "Change the record of order 12",
                    "Insert the missing rows into the database",
                ],
            ),
            (
                86,
                [
                    "Send an e-mail to each customer",
                    "E-mail the newsletter",
                    "Send email to the client list",
                ],
            ),
            (
                86,
                [
                    "Delete the customer database",
                    "Wipe the production data",
                    "Purge all records of inactive people",
                ],
            ),
        ] {
            for title in titles {
                let found = of_task(&ready(title), false, &Bands::default());
                assert!(found.score.abs_diff(expected) <= 2, "{title}: {found:?}");
                assert_eq!(
                    Bands::default().of(found.score).0,
                    Bands::default().of(expected).0,
                    "{title}"
                );
            }
        }
    }

    #[test]
    fn ordinary_work_is_low_or_medium() {
        for title in [
            "Add a parser",
            "Fix the off-by-one in pagination",
            "Delete the unused date helper",
            "Send a welcome e-mail after signup",
            "Notify the owner when a build fails",
            "Add User model",
            "Remove the dead code in the loader",
            "Update the customer model",
            "Refactor the database client",
            "feat: export orders as CSV",
            "Handle empty rows in the table view",
            "Add password hashing",
        ] {
            assert!(score(title) <= 60, "{title}: {}", score(title));
        }
        for title in ["Add a parser", "Fix the off-by-one in pagination", "Add User model"] {
            assert!(score(title) <= 30, "{title}: {}", score(title));
        }
    }

    #[test]
    fn a_person_may_raise_the_score_and_never_lower_it() {
        let with = |title: &str, risk: &str| {
            let mut task = ready(title);
            task.fields.risk = Some(risk.to_owned());
            of_task(&task, false, &Bands::default())
        };
        assert_eq!(with("Add a parser", "high").score, 61);
        assert_eq!(with("Add a parser", "72/100").score, 72);
        assert_eq!(with("Add a parser", "CRITICAL: see ticket").score, 86);
        assert_eq!(with("Delete the customer database", "low").score, 86);
        assert_eq!(with("Add a parser", "unclear").score, score("Add a parser"));
        let raised = with("Add a parser", "high");
        assert!(raised.factors.iter().any(|factor| factor.name == "declared"), "{raised:?}");
    }

    #[test]
    fn each_factor_moves_the_score_by_its_points() {
        let plain = score("Add a parser");
        let moved = |change: fn(&mut Task)| {
            let mut task = ready("Add a parser");
            change(&mut task);
            i64::from(of_task(&task, false, &Bands::default()).score) - i64::from(plain)
        };
        assert_eq!(moved(|task| task.fields.estimated_lines = Some(31)), 5);
        assert_eq!(moved(|task| task.fields.estimated_lines = Some(101)), 10);
        assert_eq!(moved(|task| task.fields.tests = None), 5);
        assert_eq!(moved(|task| task.fields.files = vec!["src/**".into()]), 3);
        let mark = |task: &mut Task, mark| {
            task.fields.safety = Some(crate::plan::Safety { mark, text: String::new() });
        };
        let caution = {
            let mut task = ready("Add a parser");
            mark(&mut task, SafetyMark::Caution);
            of_task(&task, false, &Bands::default()).score
        };
        assert_eq!(caution, plain + 10);
        let mut safe = ready("Add a parser");
        mark(&mut safe, SafetyMark::Safe);
        assert_eq!(of_task(&safe, false, &Bands::default()).score, plain - 3);
        assert_eq!(of_task(&ready("Add a parser"), true, &Bands::default()).score, plain - 20);
        assert_eq!(score("Add a login form"), plain + 20);
        assert_eq!(score("Add a payment form"), plain + 20);
        assert_eq!(score("Add a migration"), plain + 20);
        assert_eq!(score("Add dependency serde"), plain + 15);
        assert_eq!(score("Delete the unused date helper"), plain + 12);
        assert_eq!(score("Add a database client"), plain + 6);
        assert_eq!(score("Add an email template"), plain + 6);
    }

    fn effect_of(title: &str) -> Effect {
        effect(&words::split(subject(title)))
    }

    #[test]
    fn the_verb_and_what_it_is_done_to_make_the_effect() {
        for (title, expected) in [
            ("Delete old records", Effect::DestroysData),
            ("Delete old ideas", Effect::OwnFiles),
            ("Describe old records", Effect::OwnFiles),
            ("Send a newsletter", Effect::Outside),
            ("Send a signal", Effect::OwnFiles),
            ("Draft a newsletter", Effect::OwnFiles),
            ("E-mail everybody", Effect::Outside),
            ("E-commerce pages", Effect::OwnFiles),
            ("A mail of thanks", Effect::OwnFiles),
            ("Update the production data", Effect::StoredData),
            ("Update the ideas", Effect::OwnFiles),
            ("Show the records", Effect::Looks),
            // A condition makes code of it, and so does an object that is code.
            ("Delete records when a user leaves", Effect::OwnFiles),
            ("Delete the database client", Effect::OwnFiles),
            ("Delete the records of a client", Effect::DestroysData),
            ("Show the database helper", Effect::OwnFiles),
            ("", Effect::OwnFiles),
        ] {
            assert_eq!(effect_of(title), expected, "{title}");
        }
    }

    #[test]
    fn the_type_of_a_conventional_commit_is_no_verb() {
        for (title, expected) in [
            ("fix(db): show the records", "show the records"),
            ("12345678901234567890: show", "show"),
            ("123456789012345678901: show", "123456789012345678901: show"),
            ("Delete all: show", "Delete all: show"),
            ("fix:show", "fix:show"),
        ] {
            assert_eq!(subject(title), expected);
        }
    }

    #[test]
    fn each_way_to_declare_a_risk_is_read() {
        let bands = Bands::default();
        for (text, expected) in [
            ("low", Some(0)),
            ("Medium", Some(31)),
            ("middle", Some(31)),
            ("moderate", Some(31)),
            ("high", Some(61)),
            ("critical", Some(86)),
            ("72", Some(72)),
            ("**72**/100", Some(72)),
            ("101", Some(100)),
            ("0", Some(0)),
            ("unclear", None),
            ("", None),
            ("--", None),
        ] {
            assert_eq!(declared(text, &bands), expected, "{text}");
        }
    }

    #[test]
    fn a_declared_risk_adds_what_is_missing_and_nothing_when_it_is_no_more() {
        let plain = score("Add a parser");
        let with = |risk: u32| {
            let mut task = ready("Add a parser");
            task.fields.risk = Some(risk.to_string());
            of_task(&task, false, &Bands::default())
        };
        let points = |risk: &Risk| {
            risk.factors.iter().find(|factor| factor.name == DECLARED).map(|factor| factor.points)
        };
        let (same, more) = (with(plain), with(plain + 1));
        assert_eq!((same.score, points(&same)), (plain, None));
        assert_eq!((more.score, points(&more)), (plain + 1, Some(1)));
        assert_eq!(with(plain - 1).score, plain);
        assert_eq!(points(&with(100)), Some(i32::try_from(100 - plain).unwrap()));
    }

    #[test]
    fn a_factor_counts_where_it_belongs() {
        let factors = |task: &Task, only: bool| -> Vec<String> {
            let risk = of_task(task, only, &Bands::default());
            risk.factors.into_iter().map(|factor| factor.name).collect()
        };
        let has = |title: &str, name: &str| {
            factors(&ready(title), false).iter().any(|factor| factor == name)
        };
        // Whoever only looks at a subject changes nothing of it.
        assert!(has("Change the login page", "authentication"));
        assert!(!has("Show the login data", "authentication"));
        // What is destroyed or stored has its points by its effect.
        assert!(has("Add a database index page", "data") && !has("Update the database", "data"));
        assert!(!has("Delete the database", "deletions") && has("Delete old ideas", "deletions"));
        let with = |change: fn(&mut Task), title: &str, only: bool| {
            let mut task = ready(title);
            change(&mut task);
            factors(&task, only).join(" ")
        };
        let untested = |task: &mut Task| task.fields.tests = None;
        assert_eq!(with(untested, "Add a parser", false), "effect untested undo");
        assert_eq!(with(untested, "Add a parser", true), "effect undo harmless");
        assert_eq!(with(untested, "Show the records", false), "");
        assert_eq!(with(|_| {}, "Update the database", true), "effect undo");
        assert_eq!(
            with(|task| task.fields.estimated_lines = Some(30), "Add a parser", false),
            "effect undo"
        );
        assert_eq!(
            with(|task| task.fields.estimated_lines = Some(100), "Add a parser", false),
            "effect size undo"
        );
        let files = |task: &mut Task, path: &str| task.fields.files = vec![path.to_owned()];
        for (path, far) in [("src/**", true), ("**", true), ("*.rs", true), ("src/a", false)] {
            let mut task = ready("Add a parser");
            files(&mut task, path);
            assert_eq!(factors(&task, false).contains(&"reach".to_owned()), far, "{path}");
        }
        let safe = |task: &mut Task| {
            let mark = SafetyMark::Safe;
            task.fields.safety = Some(crate::plan::Safety { mark, text: String::new() });
        };
        assert_eq!(with(safe, "Add a parser", false), "effect undo checked");
        assert_eq!(with(safe, "Update the database", false), "effect undo");
    }
}
