//! How the test frameworks of common languages write assertions, skips and whole parts that do not run.
//!
//! Patterns for texts without comments and strings, and nothing else; what they find is `tested`'s to use.

use std::sync::LazyLock;

use regex::Regex;

use super::source::Family;

/// How a language's frameworks write what is counted.
pub(super) struct Shapes {
    /// Something that can fail.
    pub(super) assertion: Regex,
    /// Assertions that cannot fail.
    pub(super) trivial: Regex,
    /// In attributes and body: the test is left out.
    pub(super) skip: Regex,
    /// What makes a skip one that this machine's gate does not see.
    pub(super) excuse: Option<Regex>,
    /// What takes a whole part of a file out.
    pub(super) dead: Regex,
}

/// A constant pattern.
pub(super) fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the shapes are constant, and a test compiles them")
}

/// The shapes of a language; `None` where its tests are not known.
pub(super) fn shapes(family: Family) -> Option<&'static Shapes> {
    static NEVER: &str = r"[^\s\S]";
    static RUST: LazyLock<Shapes> = LazyLock::new(|| Shapes {
        assertion: regex(
            r"\b(?:debug_|prop_)?assert\w*!?\s*[(\[{]|\bpanic!\s*\(|\b(?:check|verify|expect)\w*!?\s*\(|\.expect_err\(|\bexpect!\[",
        ),
        trivial: regex(
            r"\bassert!\s*\(\s*(?:true|!\s*false|1\s*==\s*1)\s*[,)]|\bassert_eq!\s*\(\s*(?:true\s*,\s*true|\d+\s*,\s*\d+)\s*[,)]|\bassert!\s*\([^;]*\|\|\s*true\s*[,)]|\.expect\(",
        ),
        skip: regex(
            r"#\[\s*ignore\b|cfg_attr\([^\]]*\bignore\b|cfg\(\s*(?:any\(\s*\)|FALSE|false|never|not\(\s*test\s*\)|not\(\s*all\(\s*\)\s*\))",
        ),
        excuse: Some(regex(r"cfg_attr\(\s*(?:miri|target_\w+|windows)\b")),
        dead: regex(concat!(
            r"cfg\(\s*(?:any\(\s*\)|FALSE|false|never|not\(\s*all\(\s*\)\s*\))|\bif\s+false\s*\{",
            // Under these names a macro stands in for the one of the standard library.
            r"|\bmacro_rules!\s*(?:assert|assert_eq|assert_ne|debug_assert\w*|panic|matches)\s*[{(\[]",
            r"|\bfor\s+[\w\s(),&]+\s+in\s+&?(?:vec!)?\[\s*\]\s*\{"
        )),
    });
    static PYTHON: LazyLock<Shapes> = LazyLock::new(|| Shapes {
        assertion: regex(
            r"\bassert\b|\bassert\w+\s*\(|\b(?:raises|warns|deprecated_call)\s*\(|\b(?:pytest|self)\.fail\s*\(|\b(?:check|verify|expect)\w*\s*\(",
        ),
        trivial: regex(
            r"(?m)\bassert\s+\(?(?:True|1|not\s+False|\d+\s*==\s*\d+|True\s*(?:is|==)\s*True)\)?\s*(?:,|$)|\bassertTrue\(\s*True\s*[,)]|\bassertEqual\(\s*(?:\d+|True|'[^'\n]*'|\x22[^\x22\n]*\x22)\s*,\s*(?:\d+|True|'[^'\n]*'|\x22[^\x22\n]*\x22)\s*[,)]|\bassert\b.*\bor\s+True\s*$",
        ),
        skip: regex(
            r"@(?:\w+\.)*(?:skip|skipif|skipIf|skipUnless|xfail|expectedFailure)\b|\b(?:pytest\.(?:skip|xfail)|self\.skipTest)\s*\(|\braise\s+(?:unittest\.)?SkipTest\b",
        ),
        excuse: None,
        dead: regex(
            r"(?m)\bif\s+(?:False|0)\s*:|^__test__\s*=\s*False|^pytestmark\s*=.*\bskip\b|\ballow_module_level\s*=\s*True|^collect_ignore(?:_glob)?\b|\bdef\s+pytest_ignore_collect\b|\bitems\.clear\(\)|\bitems\[:\]\s*=\s*\[\]|\.outcome\s*=|\bsuppress\(\s*(?:AssertionError|Exception|BaseException)\b|\bexcept\s+(?:AssertionError|BaseException)\b[^\n]*:\s*\n?\s*(?:pass|return)\b|\btry\s*:(?:[^\n]*\n){1,6}?[^\n]*\bassert[^\n]*\n(?:[^\n]*\n){0,3}?\s*except\b[^\n]*:\s*\n?\s*(?:pass|return|continue)\b|^\s+def\s+(?:run|assert(?:Equal|NotEqual|True|False|Raises|In|Is|IsNone|IsNotNone|AlmostEqual))\s*\(|^def\s+load_tests\b|\bassert[A-Z]\w*\s*=[^=]|^[ \t]*del\s+(?:test_\w+|Test\w+)|^(?:test_\w+|Test\w+)\s*=\s*(?:None|lambda\b)|\w\.__test__\s*=\s*False|\bparametrize\(\s*[^()\[\]]*,\s*(?:\[\s*\]|\(\s*\))|^[ \t]*for\s+[\w\s(),]+\s+in\s+(?:\[\s*\]|\(\s*\)|\{\s*\}|range\(\s*0\s*\))\s*:",
        ),
    });
    static SCRIPT: LazyLock<Shapes> = LazyLock::new(|| Shapes {
        assertion: regex(
            r"\bexpect\w*(?:\.\w+)?\s*(?:<[^>\n]*>)?\(|\bassert(?:\.\w+)*\s*\(|\bassert\w+\s*\(|\bt\.(?:is|not|ok|notOk|true|false|truthy|falsy|deepEqual|equal|same|strictSame|like|throws|throwsAsync|regex|snapshot|pass|fail|equals)\s*\(|\.should\b|\b(?:check|verify)\w*\s*\(",
        ),
        trivial: regex(
            r"\bexpect\s*\(\s*(?:true|1|false|!0|!1)\s*\)\s*\.\s*to|\bassert(?:\.ok)?\s*\(\s*(?:true|1)\s*[,)]|\bassert\.\w*[eE]qual\s*\(\s*(?:true\s*,\s*true|\d+\s*,\s*\d+)\s*[,)]|\bexpect\s*\([^;\n]*\|\|\s*true\s*\)|\bexpect\.(?:assertions|hasAssertions|anything|any|extend|objectContaining|arrayContaining|stringContaining|stringMatching|closeTo)\s*\(",
        ),
        skip: regex(r"\b(?:this|ctx|context|t)\.skip\s*\(|\bskip\s*:\s*true\b|\bpending\s*\(\s*\)"),
        excuse: None,
        dead: regex(
            r"\bif\s*\(\s*(?:false|0)\s*\)|\bjest\.mock\(.*expect\b|\.each\(\s*\[\s*\]\s*\)|\bof\s+\[\s*\]\s*\)",
        ),
    });
    static GO: LazyLock<Shapes> = LazyLock::new(|| Shapes {
        assertion: regex(
            r"\b[tb]\.(?:Error|Errorf|Fatal|Fatalf|Fail|FailNow)\s*\(|\b(?:require|assert|qt|is)\.\w+\s*\(|\bs(?:uite)?\.(?:Require|Equal|NoError|Error|True|False|Nil|NotNil|Contains|Len|Empty)\w*\s*\(|\b(?:assert|require|check|verify|expect|must)[A-Z]\w*\s*\(",
        ),
        trivial: regex(
            r"\b(?:require|assert)\.(?:True\s*\(\s*t\s*,\s*true|Equal\s*\(\s*t\s*,\s*(?:\d+\s*,\s*\d+|true\s*,\s*true))\s*[,)]|\brequire\.New\(|\bassert\.New\(",
        ),
        skip: regex(r"\bt\.Skip(?:f|Now)?\s*\("),
        excuse: Some(regex(
            r"\bif\s+(?:testing\.Short\(\)|runtime\.GO(?:OS|ARCH)\b)[^\n]*\{\s*t\.Skip",
        )),
        dead: regex(r"\bif\s+false\s*\{"),
    });
    static JVM: LazyLock<Shapes> = LazyLock::new(|| Shapes {
        assertion: regex(
            r"\b(?:assert|verify|expect|should|check)\w*\s*[({]|\bfail\s*\(|\bAssert\.\w+\s*\(",
        ),
        trivial: regex(
            r"\bassertTrue\s*\(\s*true\s*[,)]|\bassertFalse\s*\(\s*false\s*[,)]|\bassertEquals\s*\(\s*(?:1\s*,\s*1|true\s*,\s*true)\s*[,)]|\bassertThat\s*\(\s*true\s*\)\s*\.isTrue",
        ),
        skip: regex(
            r"@(?:\w+\.)*(?:Disabled|Ignore)\w*\b|\bassume(?:True\s*\(\s*false|False\s*\(\s*true)",
        ),
        excuse: Some(regex(r"@DisabledOn(?:Os|Jre)\b")),
        dead: regex(r"(?m)^@(?:Disabled|Ignore)\b|\bif\s*\(\s*false\s*\)"),
    });
    static OTHERS: LazyLock<Shapes> = LazyLock::new(|| Shapes {
        assertion: regex(
            r"\b(?:assert|refute|verify|expect|should|XCTAssert|check)\w*\s*[({]|\bassert\w*\s|\.to\b|\bAssert\.\w+\s*\(|->assert\w+\s*\(|\.Should\(|\bfail\s*\(|#expect\(|#require\(",
        ),
        trivial: regex(
            r"\b(?:assertTrue|XCTAssertTrue|Assert\.True|Assert\.IsTrue|#expect)\s*\(\s*true\s*[,)]|\bassert\s*\(?\s*true\s*\)?\s*$",
        ),
        skip: regex(
            r"\[\s*Ignore\b|\bSkip\s*=|\bmarkTest(?:Skipped|Incomplete)\b|\bXCTSkip\b|\.disabled\b|\bskip\b|\bpending\b",
        ),
        excuse: None,
        dead: regex(NEVER),
    });
    match family {
        Family::Rust => Some(&RUST),
        Family::Python => Some(&PYTHON),
        Family::Script => Some(&SCRIPT),
        Family::Go => Some(&GO),
        Family::Jvm => Some(&JVM),
        Family::CSharp | Family::Ruby | Family::Php | Family::Swift => Some(&OTHERS),
        Family::C | Family::Shell | Family::Plain => None,
    }
}

/// Matches in a text.
pub(super) fn count(regex: &Regex, text: &str) -> u32 {
    u32::try_from(regex.find_iter(text).count()).unwrap_or(u32::MAX)
}

/// Assertions of a text that can fail.
pub(super) fn real(bare: &str, shapes: &Shapes) -> u32 {
    count(&shapes.assertion, bare).saturating_sub(count(&shapes.trivial, bare))
}
