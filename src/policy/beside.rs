//! Tests that stand in the files of the code: another tree's are put in the place of a file's own.
//!
//! Knows items of Rust by their shape and compiles nothing: whether the tests of one tree fit the code of another is
//! the gate's to say.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

use super::{
    rows::Brackets,
    shapes::regex,
    source::{self, Family},
};
use crate::ids::RepoPath;

/// An item of a file, with its attributes.
struct Item<'t> {
    /// How many braces are open around it, its word (`mod`, `fn`) and its name: what it is known by in another text.
    key: (usize, &'t str, &'t str),
    /// From its first attribute to its end.
    span: Range<usize>,
    /// Bytes of its attributes.
    marks: usize,
    /// True when it is compiled for tests alone.
    tests: bool,
}

/// The text `new` with the tests that `old` has beside its code, as they are there: each in the place of the item of
/// its name, and at the end where there is none. What is new stays. `None` when nothing would change, and for
/// languages in which no tests stand beside the code.
pub fn with_tests_of(path: &RepoPath, old: &str, new: &str) -> Option<String> {
    let language = source::language_of(path).filter(|found| found.family == Family::Rust)?;
    // Declared in another file, and nothing but tests.
    if ["tests.rs", "test.rs"].iter().any(|name| path.components().last() == Some(name.as_bytes()))
    {
        return (old != new).then(|| old.to_owned());
    }
    let (was, is) = (source::read(Some(language), old), source::read(Some(language), new));
    let former: Vec<Item> = items(&was.bare).into_iter().filter(|item| item.tests).collect();
    let mut now = items(&is.bare);
    let mut edits: Vec<(Range<usize>, &str)> = Vec::new();
    for item in &former {
        let text = &old[item.span.clone()];
        match now.iter().position(|own| own.key == item.key) {
            Some(at) => edits.push((now.remove(at).span, text)),
            None => edits.push((new.len()..new.len(), text)),
        }
    }
    edits.sort_by_key(|(span, _)| (span.start, span.end));
    let (mut text, mut at) = (String::with_capacity(new.len() + old.len()), 0);
    for (span, former) in edits {
        // Inside of an item that is replaced as a whole.
        if span.start < at {
            continue;
        }
        text.push_str(&new[at..span.start]);
        if span.is_empty() {
            text.push('\n');
        }
        text.push_str(former);
        at = span.end;
    }
    text.push_str(&new[at..]);
    (text != new).then_some(text)
}

/// The name of an item that was there whatever is built, and is now another where tests are built. Both texts without
/// comments and strings.
pub(super) fn parted<'t>(old: &str, new: &'t str) -> Option<&'t str> {
    static PARTED: LazyLock<Regex> =
        LazyLock::new(|| regex(r"#\[\s*cfg\([^\]]*\bnot\(\s*test\s*\)"));
    if !PARTED.is_match(new) {
        return None;
    }
    let parted = |text: &str, item: &Item| PARTED.is_match(&text[item.span.clone()][..item.marks]);
    let was = items(old);
    let plain = |item: &&Item| !item.tests && !parted(old, item);
    let same = |item: &Item| was.iter().filter(plain).any(|former| former.key == item.key);
    let now = items(new);
    now.iter().find(|item| parted(new, item) && same(item)).map(|item| item.key.2)
}

/// The items of a text without strings that could be tests, the outermost alone where they are: modules, functions
/// and whatever has attributes.
fn items(bare: &str) -> Vec<Item<'_>> {
    static HEAD: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"(?<marks>(?:#\[(?:[^\[\]]|\[[^\[\]]*\])*\]\s*)*)\b(?:pub(?:\([^)]*\))?\s+)?",
            r"(?:async\s+|unsafe\s+|const\s+)*",
            r"\b(?<word>mod|fn|impl|struct|enum|trait|const|static|type|use|macro_rules!)\s*",
            r"(?<name>[^\s;{(=\[][^;{(=\[]*)"
        ))
    });
    static MARK: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"#\[\s*(?:cfg\(\s*(?:all\(\s*)?test\b|(?:\w+\s*::\s*)*(?:test|rstest|test_case|quickcheck)\b)",
        )
    });
    let brackets = Brackets::of(bare);
    let mut found: Vec<Item<'_>> = Vec::new();
    let (mut depth, mut counted) = (0_usize, 0);
    for captures in HEAD.captures_iter(bare) {
        let whole = captures.get_match();
        if found.last().is_some_and(|last| last.tests && whole.start() < last.span.end) {
            continue;
        }
        for byte in bare[counted..whole.start()].bytes() {
            match byte {
                b'{' => depth += 1,
                b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        counted = whole.start();
        let part = |name: &str| captures.name(name).map_or("", |part| part.as_str().trim());
        let (word, name) = (part("word"), part("name"));
        let end = end_of(bare, &brackets, whole.end(), word);
        // `fn total<T>` and `mod tests` are known by the name alone.
        let name = if ["impl", "use"].contains(&word) {
            name
        } else {
            name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
        };
        let (tests, marks) = (MARK.is_match(part("marks")), part("marks").len());
        found.push(Item { key: (depth, word, name), span: whole.start()..end, marks, tests });
    }
    found
}

/// Where an item ends whose name ends at `from`: behind its braces or its semicolon.
fn end_of(bare: &str, brackets: &Brackets, from: usize, word: &str) -> usize {
    let value = ["use", "const", "static", "type"].contains(&word);
    let mut at = from;
    while let Some(found) = bare[at..].find(['{', '(', '[', ';']) {
        at += found;
        match bare.as_bytes()[at] {
            b';' => return at + 1,
            b'{' if !value => return brackets.closed(at),
            _ => at = brackets.closed(at),
        }
    }
    bare.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(old: &str, new: &str) -> Option<String> {
        with_tests_of(&"src/a.rs".into(), old, new)
    }

    const CODE: &str = "pub fn f() -> u8 {\n    1\n}\n";
    const OTHER: &str = "pub fn f() -> u8 {\n    2\n}\n";
    const TESTS: &str =
        "#[cfg(test)]\nmod tests {\n    #[test]\n    fn a() { assert_eq!(super::f(), 1); }\n}\n";

    #[test]
    fn the_former_tests_stand_in_the_place_of_the_changed_ones() {
        for now in [
            TESTS.replace(", 1)", ", 2)"),
            TESTS.replace("#[cfg(test)]", "#[cfg(all(test, feature = \"slow\"))]"),
            TESTS.replace("#[cfg(test)]", "#[cfg(any())]"),
            TESTS.replace(
                "mod tests {",
                "mod tests {\n    macro_rules! assert_eq { ($($t:tt)*) => {} }",
            ),
            TESTS.replace("{ assert", "{ if cfg!(not(test)) { assert").replace(" }\n", " } }\n"),
            "#[cfg(test)]\nmod tests;\n".to_owned(),
            "// #[cfg(test)]\nmod tests {}\n".to_owned(),
        ] {
            let expected = format!("{OTHER}{TESTS}");
            let found = mixed(&format!("{CODE}{TESTS}"), &format!("{OTHER}{now}")).unwrap();
            let found = found.replace("// #[cfg(test)]\n", "");
            assert_eq!(found.trim_end(), expected.trim_end(), "{now}");
        }
    }

    #[test]
    fn tests_that_are_gone_come_back_and_new_ones_stay() {
        let more = TESTS.replace("mod tests", "mod more");
        let found = mixed(&format!("{CODE}{TESTS}"), &format!("{OTHER}{more}")).unwrap();
        assert_eq!(found, format!("{OTHER}{more}\n{}", TESTS.trim_end()));
        assert_eq!(mixed(&format!("{CODE}{TESTS}"), &format!("{OTHER}{TESTS}{more}")), None);
        assert_eq!(mixed(CODE, &format!("{OTHER}{TESTS}")), None);
    }

    #[test]
    fn tests_without_a_module_and_what_they_stand_on_are_put_back_too() {
        let alone = "#[test]\nfn a() {\n    assert_eq!(f(), ONE);\n}\n";
        let one = "#[cfg(test)]\nconst ONE: [u8; 1] = { [1] };\n#[cfg(test)]\nuse super::{a, b};\n";
        let old = format!("{one}{CODE}{alone}");
        let new = format!("{}{OTHER}fn a() {{}}\n", one.replace("[1]", "[2]"));
        assert_eq!(mixed(&old, &new).unwrap(), format!("{one}{OTHER}{alone}"));
        let inner = format!("mod inner {{\n{CODE}{alone}}}\n");
        let bent = inner.replace("ONE", "2");
        assert_eq!(mixed(&inner, &format!("{alone}{bent}")).unwrap(), format!("{alone}{inner}"));
    }

    #[test]
    fn code_that_is_another_under_test_is_told_from_helpers_of_tests() {
        let twin = format!("#[cfg(test)]\npub fn f() -> u8 {{ 1 }}\n#[cfg(not(test))]\n{OTHER}");
        assert_eq!(parted(CODE, &twin), Some("f"));
        assert_eq!(parted(CODE, &twin.replace("not(test)", "all(unix, not(test))")), Some("f"));
        assert_eq!(parted(&twin, &twin), None, "it was so before");
        assert_eq!(parted("", &twin), None, "it is new");
        assert_eq!(parted(CODE, &twin.replace("not(test)", "unix")), None);
        assert_eq!(parted(CODE, &format!("{CODE}#[cfg(not(test))]\nfn g() {{}}\n")), None);
    }

    #[test]
    fn braces_and_marks_in_strings_and_comments_are_none() {
        let tests = "#[cfg(test)]\nmod tests {\n    // }\n    const A: &str = \"} #[cfg(test)] mod x {\";\n    fn a() { assert!(ok()) }\n}\n";
        let (old, new) =
            (format!("{CODE}{tests}"), format!("{CODE}{}", tests.replace("ok()", "true")));
        assert_eq!(mixed(&old, &new).unwrap(), old);
    }

    #[test]
    fn a_file_of_tests_beside_the_code_is_taken_whole_and_other_languages_are_left_alone() {
        let of = |path: &str| with_tests_of(&path.into(), TESTS, CODE);
        assert_eq!(of("src/shop/tests.rs").as_deref(), Some(TESTS));
        assert_eq!(of("src/shop.py"), None);
        assert_eq!(with_tests_of(&"src/tests.rs".into(), CODE, CODE), None);
    }
}
