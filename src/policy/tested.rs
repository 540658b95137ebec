//! The tests in a text: where each begins and ends, what it asserts, whether it runs.
//!
//! Reads by shape, in the texts without comments and strings. Never says what a change of them means: that
//! is `weaker`'s.

mod itself;
mod python;

use std::{collections::BTreeSet, ops::Range, sync::LazyLock};

use regex::Regex;

use super::{
    rows::Brackets,
    rules::{TEST_DIRECTORIES, is_test_or_doc},
    shapes::{Shapes, count, real, regex, shapes},
    source::{self, Family, Source},
};
use crate::ids::RepoPath;

/// One test of a file.
#[derive(Clone, Debug)]
pub(super) struct Test {
    /// As its runner would name it, without the modules around it.
    pub(super) name: String,
    /// From its first attribute to its end, in bytes of the file.
    pub(super) span: Range<usize>,
    /// Assertions that can fail, each once for every row of a table around it.
    pub(super) assertions: u32,
    /// It is left out of the run.
    pub(super) skipped: bool,
    /// It leaves all others out of the run.
    pub(super) focused: bool,
    /// It must fail to pass.
    pub(super) panics: bool,
    /// Rows of the table that it goes through; 1 without one.
    pub(super) cases: u32,
}

/// A file with its tests.
#[derive(Clone, Debug)]
pub(super) struct Tested {
    pub(super) family: Family,
    pub(super) source: Source,
    pub(super) tests: Vec<Test>,
    /// All assertions: of the tests, and in a file of tests also those of its helpers.
    pub(super) assertions: u32,
    /// Marks that take whole parts of the file out of the run.
    pub(super) dead: u32,
}

/// Bytes of a signature, or of a body's beginning, that are looked at.
const LOOK: usize = 2_000;
/// Bytes of a test whose end is looked for by its indentation.
const LONGEST: usize = 64 * 1024;

/// How sure a runner would look for tests in a file of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Convention {
    /// It would not.
    No,
    /// Some would.
    Loose,
    /// By default.
    Strict,
}

/// What a path says about tests in it.
pub(super) fn convention(path: &RepoPath, family: Family) -> Convention {
    let text = path.to_string();
    let (directory, file) = text.rsplit_once('/').unwrap_or(("", &text));
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let below = |name: &str| directory.split('/').any(|part| part == name);
    let (strict, loose) = match family {
        Family::Rust => (true, true),
        Family::Python => (
            stem.starts_with("test_")
                || stem.ends_with("_test")
                || ["test", "tests"].contains(&stem),
            TEST_DIRECTORIES.iter().any(|name| below(name)),
        ),
        Family::Script => {
            let marks = [".test", ".spec", "_test", "-test", ".cy"];
            let named = marks.iter().any(|mark| stem.ends_with(mark));
            (named || below("__tests__"), TEST_DIRECTORIES.iter().any(|name| below(name)))
        }
        Family::Go => (stem.ends_with("_test"), false),
        Family::Jvm => {
            let ends = ["Test", "Tests", "IT", "Spec", "TestCase"];
            let named = stem.starts_with("Test") || ends.iter().any(|end| stem.ends_with(end));
            (named, text.contains("src/test/"))
        }
        Family::CSharp | Family::Ruby | Family::Php | Family::Swift => {
            let lower = text.to_ascii_lowercase();
            let known = lower.contains("test") || lower.contains("spec");
            (is_test_or_doc(path) || known, known)
        }
        Family::C | Family::Shell | Family::Plain => (false, false),
    };
    match (strict, loose) {
        (true, _) => Convention::Strict,
        (false, true) => Convention::Loose,
        (false, false) => Convention::No,
    }
}

/// True when the file can stand on another tree without the code beside it.
pub(super) fn separable(path: &RepoPath) -> bool {
    is_test_or_doc(path)
}

/// Reads the tests of a file; `None` for a language whose tests are not known. `runs` is false for a name at
/// which no runner looks: then there are none.
pub(super) fn read(path: &RepoPath, text: &str, runs: bool) -> Option<Tested> {
    let language = source::language_of(path)?;
    let family = language.family;
    let shapes = shapes(family)?;
    let source = source::read(Some(language), text);
    let brackets = Brackets::of(&source.bare);
    let mut found = if runs { find(family, &source, &brackets) } else { Vec::new() };
    // A test inside a test is none, and reading what it holds twice would cost a hostile file's square.
    found.sort_by_key(|found| found.span.start);
    for at in 1..found.len() {
        let next = found[at].span.start;
        let before = &mut found[at - 1];
        before.span.end = before.span.end.min(next);
        before.body.end = before.body.end.min(next);
        before.body.start = before.body.start.min(before.body.end);
    }
    let helpers = helpers(&source, &found, shapes);
    let tests: Vec<Test> =
        found.into_iter().map(|found| test(found, &source, shapes, &helpers, &brackets)).collect();
    let assertions = if separable(path) && runs {
        let all = 0..source.bare.len();
        let whole =
            real(&source.bare, shapes).saturating_sub(itself::count(&source, &brackets, all));
        // A row of a table is an assertion of its own.
        tests.iter().map(|test| test.assertions - test.assertions / test.cases.max(1)).sum::<u32>()
            + whole
    } else {
        tests.iter().map(|test| test.assertions).sum()
    };
    let of_tests = separable(path) || ["tests.rs", "test.rs"].iter().any(|end| file_is(path, end));
    let dead = if family == Family::Rust && !of_tests {
        dead_beside_code(&source, &tests, &brackets, shapes)
    } else {
        count(&shapes.dead, &source.bare)
    };
    Some(Tested { family, source, tests, assertions, dead })
}

fn file_is(path: &RepoPath, name: &str) -> bool {
    path.components().last() == Some(name.as_bytes())
}

/// Marks that take a part out, in a file of code with tests in it. A condition that never holds counts inside of
/// tests and their modules alone: in the code it is ordinary. A `cfg` stands outside of what it takes out.
fn dead_beside_code(source: &Source, tests: &[Test], brackets: &Brackets, shapes: &Shapes) -> u32 {
    static MODULE: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"#\[\s*cfg\(\s*(?:all\(\s*)?test\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*",
            r"(?:pub(?:\([^)]*\))?\s+)?(?:async\s+|const\s+|unsafe\s+)*(?:mod|fn|impl)\b[^{};]*\{"
        ))
    });
    let mut spans: Vec<Range<usize>> = tests.iter().map(|test| test.span.clone()).collect();
    spans.extend(MODULE.find_iter(&source.bare).map(|head| {
        let open = head.end() - 1;
        open..brackets.closed(open)
    }));
    spans.sort_by_key(|span| span.start);
    let (mut dead, mut next, mut inside) = (0, 0, 0);
    for mark in shapes.dead.find_iter(&source.bare) {
        while let Some(span) = spans.get(next).filter(|span| span.start <= mark.start()) {
            inside = inside.max(span.end);
            next += 1;
        }
        dead += u32::from(mark.start() < inside || !mark.as_str().starts_with("if"));
    }
    dead
}

/// True when a line of the file without strings asserts something that can fail.
pub(super) fn asserts(family: Family, bare: &str) -> bool {
    shapes(family).is_some_and(|shapes| real(bare, shapes) > 0)
}

/// The words of a text that tell one test from another: names, numbers, words of strings.
pub(super) fn words(code: &str) -> impl Iterator<Item = &str> {
    static COMMON: [&str; 62] = [
        "self",
        "assert",
        "assert_eq",
        "assert_ne",
        "assertEqual",
        "assertTrue",
        "assertFalse",
        "expect",
        "toBe",
        "toEqual",
        "toStrictEqual",
        "let",
        "mut",
        "const",
        "var",
        "def",
        "func",
        "fun",
        "function",
        "async",
        "await",
        "return",
        "true",
        "false",
        "True",
        "False",
        "None",
        "null",
        "nil",
        "unwrap",
        "not",
        "for",
        "and",
        "test",
        "tests",
        "pytest",
        "mark",
        "describe",
        "public",
        "void",
        "static",
        "private",
        "int",
        "string",
        "String",
        "str",
        "err",
        "Errorf",
        "Fatalf",
        "Fatal",
        "Error",
        "testing",
        "assertEquals",
        "require",
        "Equal",
        "new",
        "should",
        "raises",
        "with",
        "import",
        "from",
        "super",
    ];
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty() && !COMMON.contains(word))
        .filter(|word| word.len() > 1 || word.starts_with(|c: char| c.is_ascii_digit()))
}

/// Where a test stands, before it is read.
struct Found {
    name: String,
    /// With its attributes.
    span: Range<usize>,
    body: Range<usize>,
    skipped: bool,
    focused: bool,
    /// Whoever calls it gets something back and runs nothing of it.
    idle: bool,
}

/// A test whose first statement leaves it.
static LEAVES: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"\A\s*(?:\{|[^\n{]*(?:=>|\))\s*\{)?\s*return\s*(?:;|None\b|True\b|null\s*;|true\s*;|Ok\(\(\)\)\s*;|\n)",
    )
});

fn test(
    found: Found,
    source: &Source,
    shapes: &Shapes,
    helpers: &BTreeSet<&str>,
    brackets: &Brackets,
) -> Test {
    let (whole, body) = (&source.bare[found.span.clone()], &source.bare[found.body.clone()]);
    let cases = brackets.cases(whole, found.span.start);
    let to_itself = itself::count(source, brackets, found.body.clone());
    let mut assertions = real(body, shapes).saturating_sub(to_itself);
    let called = words(body).filter(|word| helpers.contains(*word)).count();
    assertions = assertions.saturating_add(u32::try_from(called).unwrap_or(u32::MAX));
    let head = &whole[..found.body.start - found.span.start];
    let panics = head.contains("should_panic");
    assertions += u32::from(panics);
    // A Rust test fails by the error that it gives back.
    let result = head.rsplit_once("->").is_some_and(|(_, gives)| gives.contains("Result"));
    assertions += u32::from(result && (body.contains('?') || !body.contains("Ok(())")));
    if found.idle || LEAVES.is_match(head_of(body, LOOK)) {
        assertions = 0;
    }
    let left_out = count(&shapes.skip, whole);
    let excused = shapes.excuse.as_ref().map_or(0, |excuse| count(excuse, whole));
    Test {
        name: found.name,
        skipped: found.skipped || left_out > excused,
        focused: found.focused,
        panics,
        assertions: assertions.saturating_mul(cases),
        cases,
        span: found.span,
    }
}

fn find(family: Family, source: &Source, brackets: &Brackets) -> Vec<Found> {
    static RUST: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"(?s)(?<marks>(?:#\[(?:[^\[\]]|\[[^\[\]]*\])*\]\s*)+)(?:pub(?:\([^)]*\))?\s+)?",
            r"(?:const\s+|async\s+|unsafe\s+)*fn\s+(?<name>\w+)"
        ))
    });
    static RUST_MARK: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"#\[\s*(?:\w+\s*::\s*)*(?:test|rstest|test_case|wasm_bindgen_test|quickcheck|gtest)\b",
        )
    });
    static GO: LazyLock<Regex> = LazyLock::new(|| {
        regex(r"(?m)^func\s+(?:\([^)]*\)\s*)?(?<name>(?:Test|Fuzz)(?:[A-Z_0-9]\w*)?)\s*\(")
    });
    static JVM: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"(?<marks>(?:@[\w.:]+(?:\((?:[^()]|\([^()]*\))*\))?\s+)+)(?:[\w<>\[\],.?]+\s+)*?",
            r"(?<name>\w+|`[^`\n]*`)\s*\("
        ))
    });
    static JVM_MARK: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"@(?:[\w.]+\.)?(?:Test|ParameterizedTest|RepeatedTest|TestFactory|TestTemplate|Property)\b",
        )
    });
    static SHARP: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"(?<marks>(?:\[(?:[^\[\]]|\[[^\[\]]*\])*\]\s*)+)(?:[\w<>\[\],.?]+\s+)+",
            r"(?<name>\w+)\s*\("
        ))
    });
    static SHARP_MARK: LazyLock<Regex> = LazyLock::new(|| {
        regex(r"\[\s*(?:Skippable)?(?:Fact|Theory|Test|TestMethod|TestCase|DataTestMethod)\b")
    });
    static PHP: LazyLock<Regex> = LazyLock::new(|| regex(r"function\s+(?<name>test\w*)\s*\("));
    static SWIFT: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?:@Test\b[^\n]*\s+)?func\s+(?<name>test\w*)\s*\("));
    match family {
        Family::Rust => braced(&source.bare, brackets, &RUST, Some(&RUST_MARK)),
        Family::Python => python::find(&source.bare),
        Family::Script => script(source, brackets),
        Family::Go => braced(&source.bare, brackets, &GO, None),
        Family::Jvm => braced(&source.bare, brackets, &JVM, Some(&JVM_MARK)),
        Family::CSharp => braced(&source.bare, brackets, &SHARP, Some(&SHARP_MARK)),
        Family::Php => braced(&source.bare, brackets, &PHP, None),
        Family::Swift => braced(&source.bare, brackets, &SWIFT, None),
        Family::Ruby => ruby(source),
        Family::C | Family::Shell | Family::Plain => Vec::new(),
    }
}

/// Functions with a body in braces.
fn braced(bare: &str, brackets: &Brackets, head: &Regex, mark: Option<&Regex>) -> Vec<Found> {
    let mut found = Vec::new();
    for captures in head.captures_iter(bare) {
        let whole = captures.get_match();
        let marked = mark.is_none_or(|mark| {
            captures.name("marks").is_some_and(|marks| mark.is_match(marks.as_str()))
        });
        let signature = head_of(&bare[whole.end()..], LOOK);
        let Some(open) = signature.find(['{', ';']).filter(|_| marked) else { continue };
        let open = whole.end() + open;
        let end = if bare[open..].starts_with(';') { open } else { brackets.closed(open) };
        found.push(Found {
            name: captures["name"].to_owned(),
            span: whole.start()..end,
            body: open..end,
            skipped: false,
            focused: false,
            idle: false,
        });
    }
    found
}

/// At most this many bytes of a text, to a character's edge.
fn head_of(text: &str, bytes: usize) -> &str {
    let edge = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..edge.unwrap_or(0)]
}

fn script(source: &Source, brackets: &Brackets) -> Vec<Found> {
    static CALL: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"(?m)(?:^|[^\w.$])(?<word>[xf]?(?:it|test|specify|describe|context)|suite)",
            r"(?<marks>(?:\s*\.\s*\w+)*)\s*(?<open>[(`])"
        ))
    });
    let bytes = source.bare.as_bytes();
    let (mut found, mut suites) = (Vec::new(), Vec::new());
    for captures in CALL.captures_iter(&source.bare) {
        let (word, marks) = (&captures["word"], &captures["marks"]);
        let has = |names: &[&str]| marks.split('.').any(|mark| names.contains(&mark.trim()));
        if has(&[
            "beforeEach",
            "afterEach",
            "beforeAll",
            "afterAll",
            "use",
            "step",
            "extend",
            "setTimeout",
        ]) {
            continue;
        }
        let start = captures.name("word").map_or(0, |word| word.start());
        let mut open = captures.name("open").map_or(0, |open| open.start());
        // A table or a condition stands before the test's own arguments.
        if bytes[open] == b'`' {
            let Some(next) = source.bare[open + 1..].find('(') else { continue };
            open += 1 + next;
        }
        let mut end = brackets.closed(open);
        while let Some(next) = next_open(bytes, end) {
            open = next;
            end = brackets.closed(open);
        }
        let skipped = word.starts_with('x')
            || has(&["skip", "todo", "failing", "fails", "fixme", "skipIf", "runIf"]);
        let focused = word.starts_with('f') || has(&["only"]);
        let first = source.code[open + 1..end].trim_start();
        let Some(mark) = first.chars().next().filter(|c| "\"'`".contains(*c)) else { continue };
        if ["describe", "context", "suite"].iter().any(|suite| word.ends_with(suite))
            || has(&["describe"])
        {
            suites.push((start..end, skipped, focused));
            continue;
        }
        let name = first[1..].split(mark).next().unwrap_or_default().to_owned();
        let (span, body) = (start..end, open..end);
        found.push(Found { name, span, body, skipped, focused, idle: false });
    }
    for test in &mut found {
        let around = suites.iter().filter(|(span, ..)| span.contains(&test.span.start));
        for (_, skipped, focused) in around {
            test.skipped |= skipped;
            test.focused |= focused;
        }
    }
    found
}

/// The bracket that follows at once.
fn next_open(bytes: &[u8], from: usize) -> Option<usize> {
    let blanks = bytes[from..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    (bytes.get(from + blanks) == Some(&b'(') && !bytes[from..from + blanks].contains(&b'\n'))
        .then_some(from + blanks)
}

/// Ruby's blocks end with an `end` under their beginning.
fn ruby(source: &Source) -> Vec<Found> {
    static HEAD: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?m)^(?<indent>[ \t]*)(?:(?<word>x?(?:it|specify|test|scenario))\b[^\n]*\bdo\b|def\s+(?<name>test_\w+))",
        )
    });
    let mut found = Vec::new();
    for captures in HEAD.captures_iter(&source.bare) {
        let whole = captures.get_match();
        let last = format!("\n{}end", &captures["indent"]);
        let rest = head_of(&source.bare[whole.end()..], LONGEST);
        let end = whole.end() + rest.find(&last).unwrap_or(rest.len());
        let word = captures.name("word").map_or("", |word| word.as_str());
        let line = source.code[whole.range()].trim();
        let name = captures.name("name").map_or(line, |name| name.as_str()).to_owned();
        found.push(Found {
            name: name.strip_prefix('x').unwrap_or(&name).to_owned(),
            span: whole.start()..end,
            body: whole.end()..end,
            skipped: word.starts_with('x'),
            focused: false,
            idle: false,
        });
    }
    found
}

/// Functions of the file that assert and are no tests: a call of one asserts as well. Those whose names say it
/// are known anyway.
fn helpers<'s>(source: &'s Source, tests: &[Found], shapes: &Shapes) -> BTreeSet<&'s str> {
    static HEAD: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?m)^(?<indent>[ \t]*)(?:(?:pub|async|export|static|private|const|let)\s+)*(?:fn|def|function|func|const)\s+(?<name>\w+)",
        )
    });
    let inside = |at: usize| {
        let before = tests.partition_point(|test| test.span.start <= at);
        before.checked_sub(1).is_some_and(|before| tests[before].span.contains(&at))
    };
    let mut found = BTreeSet::new();
    for captures in HEAD.captures_iter(&source.bare) {
        let (whole, name) = (captures.get_match(), captures.name("name"));
        let Some(name) = name.filter(|_| !inside(whole.start())) else { continue };
        let rest = head_of(&source.bare[whole.end()..], LONGEST / 8);
        // To the next line that is not deeper: right for braces and for indentation.
        let deeper = format!("{} ", &captures["indent"]);
        let tab = format!("{}\t", &captures["indent"]);
        let lines = rest.split_inclusive('\n').skip(1);
        let body = lines
            .take_while(|line| {
                line.trim().is_empty() || line.starts_with(&deeper) || line.starts_with(&tab)
            })
            .map(str::len)
            .sum::<usize>();
        let first = rest.find('\n').map_or(rest.len(), |end| end + 1);
        let body = &rest[..(first + body).min(rest.len())];
        if real(body, shapes) > 0 && !shapes.assertion.is_match(&format!("{}(", name.as_str())) {
            found.insert(name.as_str());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests(path: &str, text: &str) -> Vec<Test> {
        read(&path.into(), text, true).map_or_else(Vec::new, |tested| tested.tests)
    }

    /// Name, assertions, and a letter for what keeps it from running.
    fn told(path: &str, text: &str) -> Vec<String> {
        let letter = |test: &Test| match (test.skipped, test.focused, test.panics) {
            (true, ..) => "s",
            (_, true, _) => "f",
            (.., true) => "p",
            _ => "",
        };
        let tests = tests(path, text);
        tests.iter().map(|t| format!("{} {}{}", t.name, t.assertions, letter(t))).collect()
    }

    #[test]
    fn rust_tests_are_found_with_their_assertions() {
        let text = r##"
fn f() { assert!(x) }
#[test]
fn a() { assert_eq!(1, f()); assert!(b); }
#[tokio::test]
#[ignore = "}"]
async fn b() {}
#[test]
#[should_panic]
fn c() { f() }
#[cfg_attr(miri, ignore)]
#[test]
fn d() { let text = r#"#[test] fn no() {}"#; }
"##;
        assert_eq!(told("src/a.rs", text), ["a 2", "b 0s", "c 1p", "d 0"]);
    }

    #[test]
    fn python_tests_are_found_with_their_assertions() {
        let text = "
def test_a():
    assert 1 == f()

class TestB:
    @pytest.mark.skip
    def test_c(self):
        self.assertTrue(x)

class Other:
    def test_no(self):
        assert x

@unittest.skip('later')
class TestD(unittest.TestCase):
    def test_e(self):
        text = '''
def test_no():
'''
        with pytest.raises(ValueError):
            f()

def helper():
    def test_no(): pass
";
        assert_eq!(told("tests/test_a.py", text), ["test_a 1", "test_c 1s", "test_e 1s"]);
    }

    #[test]
    fn script_tests_are_found_with_their_assertions() {
        let text = "
describe('x', () => {
  it('a', () => { expect(f('it(')).toBe(1); });
  it.only(`b`, () => {});
});
xit('c', () => {});
test.each([[1, 2], [3, 4]])('d', (a, b) => { expect(a).toBe(b); });
describe.skip('y', () => { it('e', () => {}); });
test.describe('z', () => { test.beforeEach('no', () => {}); });
/it('z', x)/.test(s); profit('q', 1); it(1);
";
        assert_eq!(told("src/a.test.ts", text), ["a 1", "b 0f", "c 0s", "d 2", "e 0s"]);
    }

    #[test]
    fn tests_of_other_languages_are_found() {
        for (path, text, expected) in [
            (
                "a_test.go",
                "func TestA(t *testing.T) {\n\tt.Errorf(\"}\")\n}\n\nfunc Testing() {}\n",
                "TestA 1",
            ),
            ("a_test.go", "func TestB(t *testing.T) { t.Skip() }\n", "TestB 0s"),
            (
                "ATest.java",
                "class ATest {\n  @Test\n  void a() { assertEquals(1, f()); }\n}\n",
                "a 1",
            ),
            ("ATest.java", "class ATest {\n  @Disabled @Test public void b() {}\n}\n", "b 0s"),
            ("ATest.kt", "  @Test\n  fun `does it`() { assertEquals(1, f()) }\n", "`does it` 1"),
            (
                "ATests.cs",
                "class A {\n [Fact]\n public void B() { Assert.Equal(1, F()); }\n}\n",
                "B 1",
            ),
            (
                "tests/ATest.php",
                "class A { public function testB() { $this->assertSame(1, f()); } }",
                "testB 1",
            ),
            (
                "Tests/ATests.swift",
                "class A { func testB() { XCTAssertEqual(1, f()) } }",
                "testB 1",
            ),
        ] {
            assert_eq!(told(path, text), [expected], "{path}");
        }
        let ruby =
            "describe A do\n  it 'b' do\n    expect(1).to eq(1)\n  end\n  xit 'c' do\n  end\nend\n";
        let names: Vec<(String, bool)> =
            tests("spec/a_spec.rb", ruby).into_iter().map(|t| (t.name, t.skipped)).collect();
        assert_eq!(names, [("it 'b' do".to_owned(), false), ("it 'c' do".to_owned(), true)]);
        assert!(read(&"a.sql".into(), "select 'test'", true).is_none());
    }

    #[test]
    fn assertions_that_cannot_fail_are_none() {
        for (path, body) in [
            ("tests/a.rs", "#[test]\nfn a() { assert!(true); assert_eq!(1, 1); }"),
            ("tests/a.rs", "#[test]\nfn a() { assert!(f() || true); }"),
            ("tests/a.rs", "#[test]\nfn a() {\n    return;\n    assert_eq!(f(), 2);\n}"),
            ("test_a.py", "def test_a():\n    assert True\n    assert f() or True\n"),
            ("test_a.py", "def test_a():\n    return\n    assert f() == 1\n"),
            ("a.test.js", "it('a', () => { expect(true).toBe(true); })"),
            ("a.test.js", "it('a', () => {\n  return;\n  expect(f()).toBe(1); })"),
            ("ATest.java", "@Test void a() { assertTrue(true); }"),
        ] {
            let tests = tests(path, body);
            assert_eq!(tests.len(), 1, "{body}");
            assert_eq!(tests[0].assertions, 0, "{body}");
        }
    }

    #[test]
    fn what_never_runs_counts_in_tests_and_not_in_the_code_beside_them() {
        let code = "fn f() { if false { unreachable!() } }\n";
        let test = "#[test]\nfn a() { assert!(f()); }\n";
        let never = "#[test]\nfn b() { if false { assert!(f()); } }\n";
        let module = "#[cfg(test)]\nmod tests {\n fn holds() { if false { assert!(f()); } }\n}\n";
        let out = "#[cfg(any())]\nmod tests { }\n";
        let dead = |path: &str, text: &str| read(&path.into(), text, true).unwrap().dead;
        assert_eq!(dead("src/a.rs", &[code, test, code].concat()), 0);
        assert_eq!(dead("src/a.rs", &[code, never, code].concat()), 1);
        assert_eq!(dead("src/a.rs", &[code, module, code].concat()), 1);
        assert_eq!(dead("src/a.rs", &[code, out].concat()), 1);
        assert_eq!(dead("tests/a.rs", code), 1, "all of a file of tests is tests");
    }

    #[test]
    fn a_helper_of_the_file_asserts_for_its_test() {
        let text = "fn holds(a: u8) {\n    assert_eq!(a, 1);\n}\n\n#[test]\nfn a() {\n    holds(1);\n    holds(2);\n}\n";
        assert_eq!(tests("tests/a.rs", text)[0].assertions, 2);
    }

    #[test]
    fn a_row_is_an_assertion_of_its_own() {
        let text =
            "#[test]\nfn a() {\n    for b in [1, 2, 3] {\n        assert!(f(b));\n    }\n}\n";
        let test = &tests("tests/a.rs", text)[0];
        assert_eq!((test.cases, test.assertions), (3, 3));
        assert_eq!(read(&"tests/a.rs".into(), text, true).unwrap().assertions, 3);
    }

    #[test]
    fn names_say_where_a_runner_looks() {
        use Convention::{Loose, No, Strict};
        for (path, family, expected) in [
            ("tests/test_a.py", Family::Python, Strict),
            ("tests/helper.py", Family::Python, Loose),
            ("src/a.py", Family::Python, No),
            ("src/a.test.ts", Family::Script, Strict),
            ("src/__tests__/a.ts", Family::Script, Strict),
            ("tests/a.ts", Family::Script, Loose),
            ("src/a.ts", Family::Script, No),
            ("a_test.go", Family::Go, Strict),
            ("tests/a.go", Family::Go, No),
            ("src/test/java/A.java", Family::Jvm, Loose),
            ("src/A.c", Family::C, No),
        ] {
            assert_eq!(convention(&path.into(), family), expected, "{path}");
        }
    }

    #[test]
    fn a_hostile_file_costs_its_size_and_not_its_square() {
        let lines = [
            "#[test] fn a() { [ ",
            "it('a', () => { [ ",
            "def test_a():",
            "\"\"\"a\"\"\" ",
            "x = [ ",
            "= / [ ",
        ];
        for line in lines {
            let text = line.repeat(10_000);
            for path in ["tests/a.rs", "tests/a.test.js", "tests/test_a.py"] {
                assert!(read(&path.into(), &text, true).is_some());
            }
        }
    }

    #[test]
    fn the_arguments_of_a_test_may_stand_behind_a_table_or_a_blank() {
        for (text, expected) in [
            ("it.each`a | b`('c', (a) => { expect(a).toBe(1); });", "c 1"),
            ("it.each([[1, 2]]) ('c', (a) => { expect(a).toBe(1); });", "c 2"),
            ("it.skipIf(x)\t('c', () => { expect(a).toBe(1); });", "c 1s"),
        ] {
            assert_eq!(told("src/a.test.ts", text), [expected], "{text}");
        }
    }

    #[test]
    fn a_rust_test_fails_by_the_error_that_it_gives_back() {
        for (text, expected) in [
            ("#[test]\nfn a() -> Result<(), E> { f()?; Ok(()) }", "a 1"),
            ("#[test]\nfn a() -> io::Result<()> { f() }", "a 1"),
            ("#[test]\nfn a() -> Result<(), E> { assert!(f()?); Ok(()) }", "a 2"),
            ("#[test]\nfn a() -> Result<(), E> { f(); Ok(()) }", "a 0"),
            ("#[test]\nfn a() -> Result<(), E> { return Ok(()); f()?; }", "a 0"),
            ("#[test]\nfn a() { f(|| g()?); }", "a 0"),
        ] {
            assert_eq!(told("src/a.rs", text), [expected], "{text}");
        }
    }

    #[test]
    fn each_convention_is_known_by_its_parts() {
        use Convention::{Loose, No, Strict};
        for (path, expected) in [
            ("a/test_x.py", Strict),
            ("a/x_test.py", Strict),
            ("a/tests.py", Strict),
            ("a/test.py", Strict),
            ("tests/x.py", Loose),
            ("a/contest.py", No),
            ("a/x.test.ts", Strict),
            ("a/x.spec.js", Strict),
            ("a/x_test.js", Strict),
            ("a/x-test.js", Strict),
            ("a/x.cy.js", Strict),
            ("__tests__/x.js", Strict),
            ("e2e/x.js", Loose),
            ("a/x.js", No),
            ("a/x_test.go", Strict),
            ("tests/x.go", No),
            ("a/XTest.java", Strict),
            ("a/TestX.java", Strict),
            ("a/XIT.java", Strict),
            ("src/test/X.java", Loose),
            ("a/X.java", No),
            ("a/x_spec.rb", Strict),
            ("a/Latest.cs", Strict),
            ("a/x.rb", No),
            ("tests/x.c", No),
            ("a/x.rs", Strict),
        ] {
            let path = RepoPath::from(path);
            let family = source::language_of(&path).unwrap().family;
            assert_eq!(convention(&path, family), expected, "{path}");
        }
    }

    #[test]
    fn a_line_asserts_when_it_can_fail() {
        for (path, line, expected) in [
            ("a.rs", "    assert_eq!(f(), 1);", true),
            ("a.rs", "    assert!(true);", false),
            ("a.rs", "    let a = f();", false),
            ("a.py", "    assert f() == 1", true),
            ("a.go", "    x := 1", false),
        ] {
            let family = source::language_of(&RepoPath::from(path)).unwrap().family;
            assert_eq!(asserts(family, line), expected, "{line}");
        }
        assert!(!asserts(Family::Plain, "assert f()"));
    }

    #[test]
    fn a_call_of_a_helper_asserts_and_a_call_of_anything_else_does_not() {
        let text = "fn same(a: u32) {\n    assert_eq!(a, 1);\n}\nfn other(a: u32) {\n    drop(a);\n}\n\
                    #[test]\nfn a() {\n    same(1);\n    same(2);\n    other(3);\n}\n";
        assert_eq!(told("src/a.rs", text), ["a 2"]);
        let python = "def same(a):\n    b = a\n\n    assert b == 1\n\ndef test_a():\n    same(1)\n";
        assert_eq!(told("tests/test_a.py", python), ["test_a 1"]);
    }
}
