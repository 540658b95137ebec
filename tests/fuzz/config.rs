//! Configuration: no text makes the reader panic, every caret stands in the file, and what is accepted is
//! documented.

use std::{collections::BTreeSet, sync::LazyLock};

use nightshift::{
    config::{
        Settings, decode, parse_duration, parse_money, parse_repository, parse_size, parse_user,
        show,
    },
    diagnostic::{Diagnostic, Style},
};
use proptest::{prelude::*, test_runner::TestCaseResult};
use serde_yaml::Value;

use crate::{
    drive::drive,
    spoil::{Bytes, spoiled},
};

const PATH: &str = ".nightshift/config.yml";

/// The page that names every setting.
const PAGE: &str = include_str!("../../docs/configuration.md");

/// Whole files that are good, as people write them.
static GOOD: LazyLock<Vec<String>> = LazyLock::new(|| {
    let blocks = PAGE.split("```yaml\n").skip(1);
    let mut good: Vec<String> =
        blocks.filter_map(|block| block.split("```").next()).map(str::to_owned).collect();
    good.push(include_str!("../../templates/config.yml").to_owned());
    good.push(
        "gate:\n  steps:\n    - {name: a, run: 'b c', timeout: 5m, weight: 2}\n    - run: d\n"
            .to_owned(),
    );
    good.push(
        "policy: {paths: {allow: [\"src/**\"], deny: []}, added_lines: ['x\\d', \"é\"]}\n"
            .to_owned(),
    );
    good.push("sandbox:\n  use: t1\n  read: [/opt/sdk, ~/x]\n  memory: 8GiB\nagents:\n  mine: {command: [a, b]}\n".to_owned());
    good
});

/// The paths of all keys of a value; a list's items count as their list.
fn paths(value: &Value, below: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Mapping(map) => {
            for (key, value) in map {
                let key = key.as_str().unwrap_or("?");
                // A person's own word: any path is one.
                let named = below == "repos" && (key.starts_with('/') || key.starts_with("~/"));
                let key = if named { "(a path)" } else { key };
                let path = if below.is_empty() { key.to_owned() } else { format!("{below}.{key}") };
                paths(value, &path, found);
                found.insert(path);
            }
        }
        Value::Sequence(items) => items.iter().for_each(|item| paths(item, below, found)),
        _ => {}
    }
}

/// Keys that the page names, below each other as the file has them.
static DOCUMENTED: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let mut found = BTreeSet::new();
    for text in GOOD.iter() {
        if let Ok(value) = serde_yaml::from_str(text) {
            paths(&value, "", &mut found);
        }
    }
    found
});

const PIECES: &[&str] = &[
    "version: 1\n",
    "limits:\n",
    "  tasks: 3\n",
    "  time: 4h\n",
    "policy:\n",
    "  paths:\n",
    "    allow: [a, b]\n",
    "gate:\n",
    "  steps:\n",
    "    - run: x\n",
    "agent: {use: claude}\n",
    "pr: {draft: auto}\n",
    "notify: x\n",
    "sandbox: t2\n",
    "agents:\n",
    "  x: {command: [a]}\n",
    "tsaks: 1\n",
    "limits.tasks: 3\n",
    "- ",
    ": ",
    ":",
    "\n",
    "\r\n",
    "\r",
    "\t",
    "  ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "#",
    "# x\n",
    "&a ",
    "*a",
    "!!str ",
    "!x ",
    "|\n",
    ">-\n",
    "'",
    "\"",
    "\\",
    "\\x",
    "%YAML 1.2\n",
    "---\n",
    "...\n",
    "? ",
    "<<: ",
    "~",
    "null",
    "true",
    "no",
    "0x10",
    "1e9",
    ".inf",
    ".nan",
    "-1",
    "99999999999999999999",
    "1_000",
    "0o7",
    "12:30:00",
    "2026-11-21",
    "é",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "\u{a0}",
    "\u{0}",
    "\u{7}",
    "**",
    "(",
    "a{1000}{1000}",
    "P1D",
    "4h 99999999999h",
    "8GiB",
];

fn any_file() -> impl Strategy<Value = Bytes> {
    let good: Vec<Vec<u8>> = GOOD.iter().map(|text| text.clone().into_bytes()).collect();
    spoiled(prop::sample::select(good), PIECES)
}

fn well_placed(text: &str, found: &[Diagnostic]) -> TestCaseResult {
    for message in found {
        prop_assert!(text.get(message.span.clone()).is_some(), "{:?}", message);
        if let Some((span, _)) = &message.also {
            prop_assert!(text.get(span.clone()).is_some(), "{:?}", message);
        }
    }
    for message in found.iter().take(5) {
        let picture = message.render(PATH, text, Style::Plain);
        prop_assert!(picture.contains(message.code), "{}", picture);
    }
    Ok(())
}

#[test]
fn any_file_is_read_and_every_caret_stands_in_it() {
    drive("config: any", &any_file(), |bytes| {
        let text = match decode(&bytes.0) {
            Ok(text) => text,
            Err(found) => return well_placed(&String::from_utf8_lossy(&bytes.0), &found),
        };
        let accepted = match parse_repository(PATH, text) {
            Ok((settings, warnings)) => {
                well_placed(text, &warnings)?;
                written_again(&settings)?;
                true
            }
            Err(found) => {
                prop_assert!(!found.is_empty());
                well_placed(text, &found)?;
                false
            }
        };
        let users = parse_user(PATH, text);
        match &users {
            Ok(user) => {
                let file = show::user_file(user);
                let again = parse_user(PATH, &file);
                prop_assert!(again.is_ok(), "{:?}\n{}", again.err(), file);
                prop_assert_eq!(again.map(|user| show::user_file(&user)), Ok(file));
            }
            Err(found) => {
                prop_assert!(!found.is_empty());
                well_placed(text, found)?;
            }
        }
        if accepted || users.is_ok() {
            known_keys(text)?;
        }
        Ok(())
    });
}

/// Settings that are written down are read as the same settings.
fn written_again(settings: &Settings) -> TestCaseResult {
    for origins in [false, true] {
        let file = show::file(settings, origins);
        let again = parse_repository(PATH, &file);
        prop_assert!(again.is_ok(), "{:?}\n{}", again.err(), file);
        let again = again.map(|(settings, _)| show::values(&settings));
        prop_assert_eq!(again, Ok(show::values(settings)), "{}", file);
    }
    Ok(())
}

/// What is accepted holds no key that the page does not name.
fn known_keys(text: &str) -> TestCaseResult {
    let body = text.trim_start_matches('\u{feff}');
    let value: Value = serde_yaml::from_str(body).unwrap_or(Value::Null);
    let mut found = BTreeSet::new();
    paths(&value, "", &mut found);
    for path in found {
        // Names that people give: an agent's, in their own file.
        let named = path.strip_prefix("agents.").is_some_and(|name| !name.contains('.'));
        let profile = path.starts_with("agents.") && path.ends_with(".command");
        prop_assert!(named || profile || DOCUMENTED.contains(&path), "`{}` was accepted", path);
    }
    Ok(())
}

/// The lines of a good file that open a section, with the indentation of what stands below.
fn sections(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut found = vec![(0, 0)];
    for (number, line) in lines.iter().enumerate() {
        let opens = line.split('#').next().is_some_and(|line| line.trim_end().ends_with(':'));
        let next = lines.get(number + 1).filter(|next| indent(next) > indent(line));
        // A list takes no key.
        if let (true, Some(next)) = (opens, next.filter(|next| !next.trim().starts_with('-'))) {
            found.push((number + 1, indent(next)));
        }
    }
    found
}

#[test]
fn a_key_that_nobody_knows_is_never_accepted() {
    let good = prop::sample::select(&GOOD[..]);
    let key = prop_oneof![
        "[a-z_]{1,12}",
        "[a-z]{1,6}\\.[a-z]{1,6}",
        prop::sample::select(vec!["task", "Tasks", "polcy", "stepss", "allow ", "é", "use_"])
            .prop_map(str::to_owned),
    ];
    let planted = (good, key, any::<prop::sample::Index>());
    drive("config: unknown key", &planted, |(good, key, place)| {
        let places = sections(&good);
        let (line, indent) = *place.get(&places);
        let mut lines: Vec<&str> = good.lines().collect();
        let planted = format!("{}{key}: 1", " ".repeat(indent));
        lines.insert(line, &planted);
        let text = lines.join("\n");
        let known = DOCUMENTED.iter().any(|path| path.rsplit('.').next() == Some(key.trim()));
        if known {
            return Ok(());
        }
        for accepted in [parse_repository(PATH, &text).is_ok(), parse_user(PATH, &text).is_ok()] {
            prop_assert!(!accepted, "{}", text);
        }
        Ok(())
    });
}

#[test]
fn one_value_is_read_in_one_way_or_not_at_all() {
    let text = prop_oneof![
        "[0-9]{1,20}(\\.[0-9]{0,20})?[a-zA-Zµ ]{0,5}",
        "[-+]?[0-9]{0,6}(h|m|s|ms|us|ns|d|w|KiB|GiB|TiB|GB|K| )[0-9]{0,3}(h|m|s)?",
        "P(T)?[0-9]{1,12}[DHMSWY]",
        any::<String>(),
    ];
    drive("config: values", &text, |text| {
        if let Ok(seconds) = parse_duration(&text) {
            prop_assert!((1..=7 * 24 * 3600).contains(&seconds), "{seconds}");
            prop_assert_eq!(parse_duration(&format!("{seconds}s")), Ok(seconds));
        }
        if let Ok(bytes) = parse_size(&text) {
            prop_assert!(bytes <= 1 << 50);
            prop_assert!(bytes == 0 || bytes % 1024 == 0, "{bytes}");
        }
        if let Ok(usd) = parse_money(&text) {
            prop_assert!(usd.micros() <= 1_000_000_000_000, "{usd}");
        }
        Ok(())
    });
}

#[test]
fn the_good_files_are_good() {
    assert!(DOCUMENTED.len() > 40, "{DOCUMENTED:?}");
    let accepted =
        |text: &&String| parse_repository(PATH, text).is_ok() || parse_user(PATH, text).is_ok();
    let good = GOOD.iter().filter(accepted).count();
    assert!(good >= 5, "{good} of {}", GOOD.len());
    assert!(GOOD.iter().map(|text| sections(text).len()).sum::<usize>() > 12);
}
