//! The tests of Python files: functions by their names, at the top of a file or in a class of tests.
//!
//! Follows indentation in texts without comments and strings.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;

use super::Found;
use crate::policy::shapes::regex;

/// What a Python line opens.
enum Scope {
    Class { at: usize, collected: bool, skipped: bool },
    Function,
    Test(usize),
}

pub(super) fn find(bare: &str) -> Vec<Found> {
    static CLASS: LazyLock<Regex> = LazyLock::new(|| regex(r"^class\s+(\w+)\s*(\([^)]*\))?"));
    static FUNCTION: LazyLock<Regex> = LazyLock::new(|| regex(r"^(?:async\s+)?def\s+(\w+)\s*\("));
    static SKIP: LazyLock<Regex> =
        LazyLock::new(|| regex(r"@(?:\w+\.)*(?:skip|skipIf|skipif|xfail)\b"));
    let mut found: Vec<Found> = Vec::new();
    let mut scopes: Vec<(usize, Scope)> = Vec::new();
    let (mut depth, mut offset) = (0_usize, 0);
    let mut marks: Option<usize> = None;
    // The last test of each name, by the place of its class: it is the one that runs.
    let mut named: BTreeMap<(usize, String), usize> = BTreeMap::new();
    let end = |found: &mut Vec<Found>, scope: &Scope, at: usize| {
        if let Scope::Test(index) = scope {
            found[*index].span.end = at;
            found[*index].body.end = at;
            found[*index].body.start = found[*index].body.start.min(at);
        }
    };
    for line in bare.split_inclusive('\n') {
        let statement = line.trim();
        if depth == 0 && !statement.is_empty() {
            let indent = line.len() - line.trim_start().len();
            while let Some((_, scope)) = scopes.pop_if(|(own, _)| *own >= indent) {
                end(&mut found, &scope, marks.unwrap_or(offset));
            }
            if statement.starts_with('@') {
                marks.get_or_insert(offset);
            } else {
                let from = marks.take().unwrap_or(offset);
                if let Some(class) = CLASS.captures(statement) {
                    let bases = class.get(2).map_or("", |bases| bases.as_str());
                    let collected = class[1].starts_with("Test") || bases.contains("Test");
                    let skipped = SKIP.is_match(&bare[from..offset]);
                    scopes.push((indent, Scope::Class { at: offset, collected, skipped }));
                } else if let Some(function) = FUNCTION.captures(statement) {
                    let (collected, skipped) = match scopes.last() {
                        None => (true, false),
                        Some((_, Scope::Class { collected, skipped, .. })) => {
                            (*collected, *skipped)
                        }
                        Some((_, Scope::Function | Scope::Test(_))) => (false, false),
                    };
                    if collected && function[1].starts_with("test") {
                        let class = scopes.last().map_or(usize::MAX, |(_, class)| match class {
                            Scope::Class { at, .. } => *at,
                            Scope::Function | Scope::Test(_) => usize::MAX,
                        });
                        // Below an `if` the other branch may have the name as well.
                        if class != usize::MAX || indent == 0 {
                            let key = (class, function[1].to_owned());
                            if let Some(former) = named.insert(key, found.len()) {
                                found[former].skipped = true;
                            }
                        }
                        scopes.push((indent, Scope::Test(found.len())));
                        found.push(Found {
                            name: function[1].to_owned(),
                            span: from..bare.len(),
                            body: offset + line.len()..bare.len(),
                            skipped,
                            focused: false,
                            idle: false,
                        });
                    } else {
                        scopes.push((indent, Scope::Function));
                    }
                }
            }
        }
        for byte in line.bytes() {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        offset += line.len();
    }
    for (_, scope) in &scopes {
        end(&mut found, scope, bare.len());
    }
    let loops = ["asyncio", "anyio", "trio", "AsyncTestCase", "gen_test", "inlineCallbacks"];
    let loops = loops.iter().any(|word| bare.contains(word));
    for test in &mut found {
        let (head, body) = (&bare[test.span.start..test.body.start], &bare[test.body.clone()]);
        test.idle = !head.contains("coroutine") && idle(head, body, loops);
    }
    found
}

/// True for a test whose call gives back a generator, or a coroutine for which nothing in the file shows that
/// anybody awaits it.
fn idle(head: &str, body: &str, loops: bool) -> bool {
    static YIELDS: LazyLock<Regex> = LazyLock::new(|| regex(r"\byield\b"));
    static AWAITS: LazyLock<Regex> = LazyLock::new(|| regex(r"\bawait\b|\basync\s+(?:for|with)\b"));
    static COROUTINE: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^\s*async\s+def\b"));
    let own = || own_lines(body);
    (own().any(|line| YIELDS.is_match(line)) && !loops)
        || (COROUTINE.is_match(head) && !loops && !own().any(|line| AWAITS.is_match(line)))
}

/// The lines of a body without those of the functions and classes inside it.
fn own_lines(body: &str) -> impl Iterator<Item = &str> {
    let mut inner: Option<usize> = None;
    body.lines().filter(move |line| {
        let statement = line.trim_start();
        if statement.is_empty() {
            return false;
        }
        let indent = line.len() - statement.len();
        if inner.is_some_and(|inner| indent > inner) {
            return false;
        }
        let opens = ["def ", "async def ", "class "].iter().any(|word| statement.starts_with(word));
        inner = opens.then_some(indent);
        !opens
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, with a letter for what keeps a test from saying anything.
    fn told(bare: &str) -> Vec<String> {
        let letter = |test: &Found| match (test.skipped, test.idle) {
            (true, _) => " s",
            (_, true) => " i",
            (false, false) => "",
        };
        find(bare).iter().map(|test| format!("{}{}", test.name, letter(test))).collect()
    }

    #[test]
    fn the_last_test_of_a_name_is_the_one_that_runs() {
        let twice = "def test_a():\n    assert f()\n\ndef test_a():\n    assert True\n";
        assert_eq!(told(twice), ["test_a s", "test_a"]);
        let classes = "class TestA:\n    def test_a(self): pass\nclass TestB:\n    def test_a(self): pass\n    def test_a(self): pass\n";
        assert_eq!(told(classes), ["test_a", "test_a s", "test_a"]);
        let branches = "if x:\n    def test_a(): pass\nelse:\n    def test_a(): pass\n";
        assert_eq!(told(branches), ["test_a", "test_a"]);
    }

    #[test]
    fn a_call_that_only_makes_a_generator_or_a_coroutine_runs_nothing() {
        for (text, expected) in [
            ("def test_a():\n    assert f()\n    yield\n", "test_a i"),
            ("def test_a():\n    def g():\n        yield 1\n    assert list(g())\n", "test_a"),
            ("def test_a():\n    def g():\n        pass\n    yield g\n", "test_a i"),
            ("async def test_a():\n    assert f()\n", "test_a i"),
            ("async def test_a():\n    assert await f()\n", "test_a"),
            ("@pytest.mark.asyncio\nasync def test_a():\n    assert f()\n", "test_a"),
            ("@coroutine\ndef test_a():\n    yield f()\n", "test_a"),
            ("def test_a():\n    yields = f()\n", "test_a"),
        ] {
            assert_eq!(told(text), [expected], "{text}");
        }
    }
}
