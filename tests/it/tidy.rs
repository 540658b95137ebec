//! The house keeps its own order: what `lib.rs`, `clippy.toml` and `ARCHITECTURE.md` say is looked up in
//! the files, and each rule is shown to fail on a text that breaks it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Lines of a file before its tests. Longer ones have two subjects.
const MOST_LINES: usize = 600;

/// Words of the world outside; none of them stands on the ground floor.
const OUTSIDE: [&str; 8] =
    ["std::fs", "std::process", "std::net", "std::env", "SystemTime", "Instant", "async ", "tokio"];

/// Files that open a door as a whole: file writes, other programs, the clock, and two that are programs of their
/// own: the demo's agent, and the trial of the walls.
const DOORS: [&str; 5] = [
    "src/files.rs",
    "src/process/mod.rs",
    "src/runner/clock.rs",
    "src/agent/demo.rs",
    "src/sandbox/trial.rs",
];

/// Files in which one function may open a door, with its reason: the environment enters in `cli`, the
/// demo shows its own repository with the person's own git, and the stage behind the walls becomes the program.
const WICKETS: [&str; 4] =
    ["src/cli/mod.rs", "src/cli/output.rs", "src/cli/demo.rs", "src/sandbox/enter.rs"];

/// A file of the repository: its path from the root, and its text.
struct Source {
    path: String,
    text: String,
}

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(super) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|problem| panic!("{path}: {problem}"))
}

/// All Rust files below a directory, in order of path.
fn sources(below: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(below), &mut found);
    found.sort();
    let inside = |path: &PathBuf| {
        let path = path.strip_prefix(root()).expect("below the root");
        path.to_string_lossy().into_owned()
    };
    found.iter().map(inside).map(|path| Source { text: read(&path), path }).collect()
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of ours").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Rust files below a directory as path and text, each without its tests.
pub(super) fn code_below(below: &str) -> Vec<(String, String)> {
    let untested = |source: Source| (source.path, without_tests(&source.text).to_owned());
    sources(below).into_iter().map(untested).collect()
}

fn own_sources() -> Vec<Source> {
    sources("src").into_iter().chain(sources("tests")).collect()
}

/// The text with comments, strings and characters blanked out; lines stay where they are.
fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let before = at.checked_sub(1).map_or(b' ', |before| bytes[before]);
        let word = before.is_ascii_alphanumeric() || before == b'_';
        let length = if rest.starts_with(b"//") {
            rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            end_of(rest, 2, b"*/")
        } else if let Some(hashes) = raw_string(rest).filter(|_| !word) {
            let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            end_of(rest, hashes + 2, &close)
        } else if rest[0] == b'"' {
            quoted(rest)
        } else if rest[0] == b'\'' {
            character(rest)
        } else {
            0
        };
        if length == 0 {
            let next = text[at..].chars().next().unwrap_or(' ');
            code.push(next);
            at += next.len_utf8();
        } else {
            code.extend(text[at..at + length].chars().map(|c| if c == '\n' { c } else { ' ' }));
            at += length;
        }
    }
    code
}

/// Length of what begins here and ends with `close`.
fn end_of(rest: &[u8], from: usize, close: &[u8]) -> usize {
    let found = rest[from..].windows(close.len()).position(|window| window == close);
    found.map_or(rest.len(), |found| from + found + close.len())
}

/// Hash signs of a raw string that begins here. Its `r` is taken for code, which harms nothing.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let rest = rest.strip_prefix(b"r")?;
    let hashes = rest.iter().take_while(|byte| **byte == b'#').count();
    (rest.get(hashes) == Some(&b'"')).then_some(hashes)
}

fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of a character; 0 for a lifetime.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        return rest[3..].iter().position(|byte| *byte == b'\'').map_or(0, |found| found + 4);
    }
    // One character of up to four bytes.
    let wide = rest.get(1).is_some_and(|byte| !byte.is_ascii());
    let close = rest.iter().skip(2).take(4).position(|byte| *byte == b'\'');
    close.filter(|found| *found == 0 || wide).map_or(0, |found| found + 3)
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The part of a file before its tests.
fn without_tests(text: &str) -> &str {
    let tests = text.find("\n#[cfg(test)]");
    tests.map_or(text, |at| &text[..at])
}

/// The rooms in the order of `lib.rs`, and which of them are on the ground floor.
fn rooms(lib: &str) -> Vec<(&str, bool)> {
    let mut ground = false;
    let mut rooms = Vec::new();
    for line in lib.lines() {
        if line.starts_with("// Ground floor") {
            ground = true;
        } else if line.starts_with("// First floor") {
            ground = false;
        }
        if let Some(room) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) {
            rooms.push((room, ground));
        }
    }
    rooms
}

/// The room that a file belongs to; `None` for `lib.rs` and `main.rs`.
fn room_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let room = inside.split('/').next()?.trim_end_matches(".rs");
    (!["lib", "main"].contains(&room)).then_some(room)
}

/// Rooms that a file names behind `crate::`, with the line.
fn named_rooms(text: &str) -> Vec<(String, usize)> {
    let code = code(text);
    let mut named = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = code[at + "crate::".len()..].trim_start();
        let line = line_of(&code, at);
        let firsts = if rest.starts_with('{') { group(rest) } else { vec![first_word(rest)] };
        named.extend(firsts.into_iter().filter(|w| !w.is_empty()).map(|word| (word, line)));
    }
    named
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// First words of the outermost items of `{a, b::{c, d}}`.
fn group(text: &str) -> Vec<String> {
    let (mut depth, mut items, mut item) = (0, Vec::new(), String::new());
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => items.push(std::mem::take(&mut item)),
            _ if depth == 1 => item.push(c),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    items.push(item);
    items.iter().map(|item| first_word(item)).collect()
}

/// Uses of rooms that do not stand above the file's own in `lib.rs`.
fn downward(lib: &str, file: &Source) -> Vec<String> {
    let rooms = rooms(lib);
    let place = |room: &str| rooms.iter().position(|(name, _)| *name == room);
    let Some(own) = room_of(&file.path) else { return Vec::new() };
    let Some(floor) = place(own) else {
        return vec![format!("{}: the room `{own}` is not in lib.rs", file.path)];
    };
    let wrong = |(room, line): &(String, usize)| match place(room) {
        Some(used) if used <= floor => None,
        Some(_) => Some(format!("{}:{line}: `{room}` stands below `{own}`", file.path)),
        None => Some(format!("{}:{line}: there is no room `{room}`", file.path)),
    };
    named_rooms(&file.text).iter().filter_map(wrong).collect()
}

/// Words of the world outside in a room of the ground floor.
fn outside(lib: &str, file: &Source) -> Vec<String> {
    let ground =
        rooms(lib).iter().any(|(room, ground)| *ground && Some(*room) == room_of(&file.path));
    if !ground {
        return Vec::new();
    }
    let code = code(&file.text);
    let of_line = |(number, line): (usize, &str)| {
        let word = OUTSIDE.iter().find(|word| line.contains(**word))?;
        Some(format!("{}:{}: `{}` on the ground floor", file.path, number + 1, word.trim()))
    };
    code.lines().enumerate().filter_map(of_line).collect()
}

fn too_long(file: &Source) -> Option<String> {
    let lines = without_tests(&file.text).lines().count();
    let message = format!("{}: {lines} lines before its tests, {MOST_LINES} at most", file.path);
    (lines > MOST_LINES).then_some(message)
}

fn without_head(file: &Source) -> Option<String> {
    (!file.text.starts_with("//! ")).then(|| format!("{}: does not open with `//!`", file.path))
}

/// Code that is only there, or only missing, under test.
fn test_only(file: &Source) -> Vec<String> {
    let code = code(&file.text);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("cfg") {
        let rest = code[at + 3..].trim_start_matches('!');
        let Some(condition) = rest.strip_prefix('(').and_then(|rest| rest.split(']').next()) else {
            continue;
        };
        let words = condition.split(|c: char| !c.is_alphanumeric() && c != '_');
        if !words.into_iter().any(|word| word == "test") {
            continue;
        }
        // Behind it, maybe after further attributes, stands the tests' module and nothing else.
        let behind = rest.find(']').map_or("", |end| &rest[end + 1..]);
        let item =
            behind.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        if !item.is_some_and(|item| item.starts_with("mod tests")) {
            found.push(format!("{}:{}: test code in the program", file.path, line_of(&code, at)));
        }
    }
    found
}

/// Marks of work that is not done.
fn unfinished(file: &Source) -> Vec<String> {
    let code = code(&file.text);
    let marks = ["todo!", "unimplemented!", "dbg!"];
    let found = marks.iter().flat_map(|mark| code.match_indices(mark));
    found.map(|(at, mark)| format!("{}:{}: {mark}", file.path, line_of(&code, at))).collect()
}

/// Doors that are opened where none is.
fn strange_doors(file: &Source) -> Vec<String> {
    let code = code(without_tests(&file.text));
    let mut found = Vec::new();
    for (at, _) in code.match_indices("clippy::disallowed_methods") {
        let start = code[..at].rfind('#').unwrap_or(0);
        let whole = code[start..].starts_with("#!");
        let allowed = if whole { &DOORS[..] } else { &WICKETS[..] };
        if !allowed.contains(&file.path.as_str()) {
            found.push(format!("{}:{}: a door is opened here", file.path, line_of(&code, at)));
        }
    }
    found
}

/// Relative targets of links in a Markdown text, without their anchors.
fn links(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for part in line.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            let target = target.split('#').next().unwrap_or_default().trim();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                targets.push(target.to_owned());
            }
        }
    }
    targets
}

/// Links of a text that lead nowhere. `exists` takes a path from the repository's root.
fn dead_links(path: &str, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let directory = Path::new(path).parent().unwrap_or(Path::new(""));
    let dead = |target: &String| !exists(&directory.join(target));
    let targets = links(text).into_iter().filter(dead);
    targets.map(|target| format!("{path}: `{target}` is not there")).collect()
}

/// Headings of a Markdown text, without the marks.
fn headings(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced && line.starts_with('#') {
            found.push(line.trim_start_matches('#').trim());
        }
    }
    found
}

/// Commands that a text names in code as `nightshift WORD` and that do not exist.
fn unknown_commands(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut unknown = Vec::new();
    for (at, name) in text.match_indices("nightshift ") {
        let in_code = text[..at].ends_with(['`', '\n', '$', ' ']) && at_code(text, at);
        let mut words = text[at + name.len()..].split([' ', '\n', '`']);
        let word = words.find(|word| !word.starts_with('-')).unwrap_or_default();
        let plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
        if in_code && plain && !exists(word) {
            unknown.push(format!("{path}:{}: no command `{word}`", line_of(text, at)));
        }
    }
    unknown
}

/// True inside a code span or fence.
fn at_code(text: &str, at: usize) -> bool {
    let fences = text[..at].lines().filter(|line| line.trim_start().starts_with("```")).count();
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    fences % 2 == 1 || text[start..at].matches('`').count() % 2 == 1
}

const TEXTS: [&str; 14] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/agents.md",
    "docs/plan.md",
    "docs/configuration.md",
    "docs/gate.md",
    "docs/publishing.md",
    "docs/pull-request.md",
    "docs/safety.md",
    "docs/troubleshooting.md",
    "docs/verify.md",
    "examples/first-night/README.md",
];

fn none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn fixture(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

const LIB: &str =
    "// Ground floor: words.\npub mod ids;\npub mod plan;\n// First floor: hands.\npub mod git;\n";

#[test]
fn a_room_uses_only_rooms_above_it() {
    let lib = read("src/lib.rs");
    assert!(rooms(&lib).len() > 15, "the rooms of lib.rs were not recognised");
    none(sources("src").iter().flat_map(|file| downward(&lib, file)).collect());
}

#[test]
fn a_use_of_a_room_below_is_found() {
    let good =
        "//! X\nuse crate::{ids::NightId, plan::{self, Task}};\n// crate::git in a comment\n";
    assert_eq!(downward(LIB, &fixture("src/plan/parse.rs", good)), Vec::<String>::new());
    for bad in [
        "use crate::git::Vault;",
        "use crate::{\n    ids,\n    git::{Vault, Oid},\n};",
        "fn f() -> crate::git::Vault {}",
        "use crate::nowhere;",
    ] {
        assert_eq!(downward(LIB, &fixture("src/plan/mod.rs", bad)).len(), 1, "{bad}");
    }
    assert_eq!(downward(LIB, &fixture("src/cellar.rs", "")).len(), 1, "a room without a place");
}

#[test]
fn the_ground_floor_does_not_see_the_world() {
    let lib = read("src/lib.rs");
    assert!(rooms(&lib).iter().filter(|(_, ground)| *ground).count() > 8);
    none(sources("src").iter().flat_map(|file| outside(&lib, file)).collect());
}

#[test]
fn the_world_on_the_ground_floor_is_found() {
    let file = |text: &str| fixture("src/plan/mod.rs", text);
    assert_eq!(outside(LIB, &file("// std::fs\nlet a = \"tokio\"; /* std::env */")), [""; 0]);
    for bad in ["use std::fs;", "async fn f() {}", "let now = Instant::now();", "use tokio::x;"] {
        assert_eq!(outside(LIB, &file(bad)).len(), 1, "{bad}");
    }
    assert_eq!(outside(LIB, &fixture("src/git/mod.rs", "use std::fs;")), [""; 0]);
}

#[test]
fn no_file_has_two_subjects() {
    none(sources("src").iter().filter_map(too_long).collect());
}

#[test]
fn a_file_that_is_too_long_is_found() {
    let lines = |count: usize| "x\n".repeat(count);
    assert_eq!(too_long(&fixture("a.rs", &lines(MOST_LINES))), None);
    assert!(too_long(&fixture("a.rs", &lines(MOST_LINES + 1))).is_some());
    let tested = lines(10) + "\n#[cfg(test)]\nmod tests {\n" + &lines(MOST_LINES);
    assert_eq!(too_long(&fixture("a.rs", &tested)), None);
}

#[test]
fn every_file_says_what_it_is_for() {
    none(own_sources().iter().filter_map(without_head).collect());
}

#[test]
fn a_file_without_a_head_is_found() {
    assert!(without_head(&fixture("a.rs", "use std::fmt;\n")).is_some());
    assert_eq!(without_head(&fixture("a.rs", "//! The clock.\n")), None);
}

#[test]
fn the_program_under_test_is_the_program() {
    none(sources("src").iter().flat_map(test_only).collect());
}

#[test]
fn code_for_tests_only_is_found() {
    let file = |text: &str| fixture("a.rs", text);
    for good in [
        "#[cfg(test)]\nmod tests {",
        "#[cfg(test)]\n#[expect(x)]\nmod tests;",
        "#[cfg(target_os = \"linux\")]\nfn f() {}",
    ] {
        assert_eq!(test_only(&file(good)), [""; 0], "{good}");
    }
    for bad in [
        "#[cfg(test)]\nfn fake() {}",
        "#[cfg(not(test))]\nfn real() {}",
        "#[cfg(any(test, unix))]\npub mod fake;",
        "if cfg!(test) { return; }",
    ] {
        assert_eq!(test_only(&file(bad)).len(), 1, "{bad}");
    }
}

#[test]
fn nothing_is_left_for_later() {
    none(own_sources().iter().flat_map(unfinished).collect());
}

#[test]
fn what_was_left_for_later_is_found() {
    assert_eq!(unfinished(&fixture("a.rs", "fn f() { todo!() }\n\ndbg!(x);")).len(), 2);
    assert_eq!(unfinished(&fixture("a.rs", "// todo!\nlet a = \"dbg!\";")), [""; 0]);
}

#[test]
fn the_doors_are_where_they_are_said_to_be() {
    none(sources("src").iter().flat_map(strange_doors).collect());
    for door in DOORS.iter().chain(&WICKETS) {
        assert!(root().join(door).is_file(), "{door} is gone: take it off the list");
    }
}

#[test]
fn a_door_elsewhere_is_found() {
    let whole = "//! X\n#![expect(\n    clippy::disallowed_methods,\n    reason = \"so\"\n)]\n";
    let one = "#[expect(clippy::disallowed_methods, reason = \"so\")]\nfn f() {}\n";
    assert_eq!(strange_doors(&fixture("src/files.rs", whole)), [""; 0]);
    assert_eq!(strange_doors(&fixture("src/cli/mod.rs", one)), [""; 0]);
    assert_eq!(strange_doors(&fixture("src/plan/mod.rs", whole)).len(), 1);
    assert_eq!(strange_doors(&fixture("src/cli/mod.rs", whole)).len(), 1);
    assert_eq!(strange_doors(&fixture("src/files.rs", one)).len(), 1);
    let tests = format!("fn f() {{}}\n\n#[cfg(test)]\nmod tests {{ {one} }}");
    assert_eq!(strange_doors(&fixture("src/git/mod.rs", &tests)), [""; 0]);
}

#[test]
fn strings_and_comments_are_no_code() {
    let text = "let a = 'x'; let b: &'a str = \"// \\\" no\"; r#\"std::fs \"# /* y\n*/ z // w";
    let code = code(text);
    assert_eq!(code.lines().count(), 2);
    for gone in ["no", "std::fs", "y", "w"] {
        assert!(!code.contains(gone), "{gone} in {code}");
    }
    assert!(code.contains("&'a str") && code.contains(" z "), "{code}");
}

#[test]
fn every_link_leads_somewhere() {
    let exists = |path: &Path| root().join(path).exists();
    none(TEXTS.iter().flat_map(|path| dead_links(path, &read(path), exists)).collect());
}

#[test]
fn a_dead_link_is_found() {
    let text = "[a](here.md#x) [b](https://x.y/z) [c](../gone.md)\n```\n[d](no.md)\n```\n";
    let exists = |path: &Path| path == Path::new("docs/here.md");
    assert_eq!(dead_links("docs/a.md", text, exists), ["docs/a.md: `../gone.md` is not there"]);
}

#[test]
fn every_command_in_the_documents_exists() {
    let exists = |word: &str| root().join(format!("src/cli/{word}.rs")).is_file();
    none(TEXTS.iter().flat_map(|path| unknown_commands(path, &read(path), exists)).collect());
}

#[test]
fn an_unknown_command_is_found() {
    let text = "nightshift works at night.\nSee `nightshift -q run /x` and `nightshift fly`.\n";
    let found = unknown_commands("a.md", text, |word| word == "run");
    assert_eq!(found, ["a.md:2: no command `fly`"]);
}

#[test]
fn the_readme_has_what_a_stranger_looks_for() {
    let readme = read("README.md");
    let found = headings(&readme);
    for wanted in [
        "nightshift",
        "See it, test it",
        "What a night does",
        "First use on your own repository",
        "Promises",
        "The plan",
        "Configuration",
        "Exit codes",
        "Where things are",
        "Every night",
        "Limits of this version",
        "Licence",
    ] {
        assert!(found.contains(&wanted), "no heading `{wanted}` in {found:?}");
    }
    for command in ["cargo run --release -- demo", "cargo test"] {
        assert!(readme.lines().take(40).any(|line| line.starts_with(command)), "{command}");
    }
    assert!(readme.lines().count() < 220, "{} lines", readme.lines().count());
    assert!(headings("```\n# no\n```\n## Yes\n") == ["Yes"]);
}

#[test]
fn one_rust_version_is_said_everywhere() {
    let cargo = read("Cargo.toml");
    let line = cargo.lines().find(|line| line.starts_with("rust-version")).expect("a line");
    let version = line.split('"').nth(1).expect("a version");
    for path in ["README.md", "CONTRIBUTING.md", ".github/workflows/ci.yml"] {
        assert!(read(path).contains(version), "{path} does not name {version}");
    }
}

#[test]
fn texts_fit_their_pages() {
    for (path, most) in [("ARCHITECTURE.md", 130), ("examples/first-night/README.md", 40)] {
        let lines = read(path).lines().count();
        assert!(lines <= most, "{path} has {lines} lines, {most} at most");
    }
}
