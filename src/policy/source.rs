//! What of a text is code, what comment and what string, in the common languages.
//!
//! A lexer of a few rules for each language and no parser: it never fails, and where it cannot tell it says
//! code. Offsets and lines of what it gives back are those of the text.

use crate::ids::RepoPath;

/// What a line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing.
    Blank,
    /// A comment or a docstring, and nothing else.
    Comment,
    /// Something that counts.
    Code,
}

/// A text without what is not code. Both forms have the text's length and line ends.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Comments and docstrings blanked.
    pub(super) code: String,
    /// The insides of strings blanked as well; of a string over several lines only its first quote stays.
    pub(super) bare: String,
    /// Each line, the first one first.
    pub(super) lines: Vec<Line>,
}

/// How one language writes comments and strings.
#[derive(Debug)]
pub(super) struct Language {
    /// Its family, for what the table cannot say.
    pub(super) family: Family,
    extensions: &'static [&'static str],
    names: &'static [&'static str],
    line: &'static [&'static str],
    block: &'static [(&'static str, &'static str)],
    strings: &'static [Quote],
}

/// Languages that need a rule of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Nested comments, raw strings, characters beside lifetimes.
    Rust,
    /// Docstrings, prefixes of strings.
    Python,
    /// Regular expressions and templates.
    Script,
    /// Go.
    Go,
    /// Java, Kotlin, Scala, Groovy.
    Jvm,
    /// C and C++: raw strings.
    C,
    /// C#.
    CSharp,
    /// Ruby: comments of whole lines.
    Ruby,
    /// A number sign begins a comment only where a word begins.
    Shell,
    /// PHP: an attribute is no comment.
    Php,
    /// Swift.
    Swift,
    /// Nothing special.
    Plain,
}

/// One kind of string.
#[derive(Clone, Copy, Debug)]
struct Quote {
    open: &'static str,
    close: &'static str,
    /// A backslash takes the next character.
    escapes: bool,
    /// It may go over the end of a line.
    long: bool,
}

const fn quote(mark: &'static str, escapes: bool, long: bool) -> Quote {
    Quote { open: mark, close: mark, escapes, long }
}

const DOUBLE: Quote = quote("\"", true, false);
const SINGLE: Quote = quote("'", true, false);
const LONG_DOUBLE: Quote = quote("\"", true, true);
const LONG_SINGLE: Quote = quote("'", true, true);
const TRIPLE: Quote = quote("\"\"\"", true, true);
const TRIPLE_SINGLE: Quote = quote("'''", true, true);
const RAW_SINGLE: Quote = quote("'", false, true);
const BACKTICK: Quote = quote("`", false, true);
const SLASHES: &[&str] = &["//"];
const HASH: &[&str] = &["#"];
const C_BLOCK: &[(&str, &str)] = &[("/*", "*/")];

const fn language(
    family: Family,
    extensions: &'static [&'static str],
    line: &'static [&'static str],
    block: &'static [(&'static str, &'static str)],
    strings: &'static [Quote],
) -> Language {
    Language { family, extensions, names: &[], line, block, strings }
}

/// Longer quotes stand before the shorter ones that they begin with.
static LANGUAGES: [Language; 20] = [
    language(Family::Rust, &["rs"], SLASHES, C_BLOCK, &[LONG_DOUBLE]),
    language(
        Family::Python,
        &["py", "pyi", "pyw", "bzl"],
        HASH,
        &[],
        &[TRIPLE, TRIPLE_SINGLE, DOUBLE, SINGLE],
    ),
    language(
        Family::Script,
        &["js", "jsx", "mjs", "cjs", "ts", "tsx", "mts", "cts", "vue", "svelte"],
        SLASHES,
        C_BLOCK,
        &[DOUBLE, SINGLE],
    ),
    language(Family::Go, &["go"], SLASHES, C_BLOCK, &[DOUBLE, SINGLE, BACKTICK]),
    language(
        Family::Jvm,
        &["java", "kt", "kts", "scala", "groovy", "gradle"],
        SLASHES,
        C_BLOCK,
        &[TRIPLE, DOUBLE, SINGLE],
    ),
    language(
        Family::C,
        &["c", "h", "cc", "cpp", "cxx", "hpp", "hh", "m", "mm", "proto", "glsl", "zig"],
        SLASHES,
        C_BLOCK,
        &[DOUBLE, SINGLE],
    ),
    language(Family::CSharp, &["cs"], SLASHES, C_BLOCK, &[TRIPLE, DOUBLE, SINGLE]),
    language(Family::Plain, &["dart"], SLASHES, C_BLOCK, &[TRIPLE, TRIPLE_SINGLE, DOUBLE, SINGLE]),
    language(Family::Swift, &["swift"], SLASHES, C_BLOCK, &[TRIPLE, DOUBLE]),
    Language {
        names: &["Gemfile", "Rakefile", "Podfile", "Vagrantfile"],
        ..language(
            Family::Ruby,
            &["rb", "rake", "gemspec"],
            HASH,
            &[("\n=begin", "\n=end")],
            &[LONG_DOUBLE, LONG_SINGLE],
        )
    },
    Language {
        names: &["Makefile", "GNUmakefile", "makefile", "Dockerfile", "Justfile", "justfile"],
        ..language(
            Family::Shell,
            &["sh", "bash", "zsh", "fish", "ksh", "mk", "bats"],
            HASH,
            &[],
            &[LONG_DOUBLE, RAW_SINGLE],
        )
    },
    language(Family::Php, &["php"], &["//", "#"], C_BLOCK, &[LONG_DOUBLE, LONG_SINGLE]),
    language(Family::Plain, &["sql"], &["--"], C_BLOCK, &[RAW_SINGLE, DOUBLE]),
    language(Family::Shell, &["yml", "yaml"], HASH, &[], &[DOUBLE, quote("'", false, false)]),
    language(
        Family::Plain,
        &["toml"],
        HASH,
        &[],
        &[TRIPLE, quote("'''", false, true), DOUBLE, quote("'", false, false)],
    ),
    language(Family::Plain, &["ex", "exs"], HASH, &[], &[TRIPLE, LONG_DOUBLE]),
    language(Family::Plain, &["r", "pl", "pm", "jl", "nix", "tf", "hcl"], HASH, &[], &[DOUBLE]),
    language(Family::Plain, &["lua", "hs", "elm"], &["--"], &[("{-", "-}")], &[DOUBLE]),
    language(Family::Plain, &["css", "scss", "less"], &[], C_BLOCK, &[DOUBLE, SINGLE]),
    language(Family::Plain, &["html", "htm", "xml", "svg"], &[], &[("<!--", "-->")], &[]),
];

/// The language of a file by its name; `None` = unknown, and every line of it counts.
pub(super) fn language_of(path: &RepoPath) -> Option<&'static Language> {
    let text = path.to_string();
    let file = text.rsplit('/').next().unwrap_or(&text);
    let extension = file.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    LANGUAGES.iter().find(|language| {
        language.names.contains(&file)
            || extension.as_deref().is_some_and(|e| language.extensions.contains(&e))
    })
}

/// Reads a text in its language; of an unknown one every line that is not blank is code.
pub(super) fn read(language: Option<&Language>, text: &str) -> Source {
    let mut lexer = Lexer {
        text: text.as_bytes(),
        code: text.as_bytes().to_vec(),
        bare: text.as_bytes().to_vec(),
        at: 0,
        depth: 0,
    };
    if let Some(language) = language {
        lexer.run(language);
    }
    let own = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (code, bare) = (own(lexer.code), own(lexer.bare));
    let lines = text
        .lines()
        .zip(code.lines())
        .map(|(line, code)| match (line.trim().is_empty(), code.trim().is_empty()) {
            (true, _) => Line::Blank,
            (false, true) => Line::Comment,
            (false, false) => Line::Code,
        })
        .collect();
    Source { code, bare, lines }
}

/// How many of the numbered lines count, and those that are not there to look at.
pub(super) fn counted(source: &Source, numbered: &[(u32, String)], total: u32) -> u32 {
    let aside = numbered.iter().filter(|(number, line)| {
        let kind = number.checked_sub(1).and_then(|at| source.lines.get(at as usize));
        line.trim().is_empty() || kind.is_some_and(|kind| *kind != Line::Code)
    });
    total.saturating_sub(u32::try_from(aside.count()).unwrap_or(u32::MAX))
}

struct Lexer<'t> {
    text: &'t [u8],
    code: Vec<u8>,
    bare: Vec<u8>,
    at: usize,
    /// Open brackets.
    depth: usize,
}

impl Lexer<'_> {
    fn run(&mut self, language: &Language) {
        while self.at < self.text.len() {
            if !self.comment(language) && !self.special(language) && !self.string(language) {
                match self.text[self.at] {
                    b'(' | b'[' | b'{' => self.depth += 1,
                    b')' | b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                self.at += 1;
            }
        }
    }

    fn rest(&self) -> &[u8] {
        &self.text[self.at..]
    }

    fn before(&self) -> u8 {
        self.at.checked_sub(1).map_or(b'\n', |at| self.text[at])
    }

    fn in_word(&self) -> bool {
        let before = self.before();
        before.is_ascii_alphanumeric() || before == b'_'
    }

    /// Blanks `from..to` for whoever reads code, and goes on behind it.
    fn drop_comment(&mut self, to: usize) {
        let to = to.min(self.text.len());
        blank(&mut self.code[self.at..to]);
        blank(&mut self.bare[self.at..to]);
        self.at = to;
    }

    fn comment(&mut self, language: &Language) -> bool {
        let rest = self.rest();
        let word = !self.before().is_ascii_whitespace()
            && !matches!(self.before(), b';' | b'(' | b'|' | b'&');
        let begins = language.line.iter().any(|mark| {
            rest.starts_with(mark.as_bytes())
                && !(language.family == Family::Shell && word)
                && !(language.family == Family::Php && rest.starts_with(b"#["))
        });
        if begins {
            let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            self.drop_comment(self.at + length);
            return true;
        }
        let at_start = self.at == 0;
        let block = language.block.iter().find(|(open, _)| {
            rest.starts_with(open.as_bytes())
                || (at_start && open.starts_with('\n') && rest.starts_with(&open.as_bytes()[1..]))
        });
        let Some((open, close)) = block else { return false };
        let mut length = if language.family == Family::Rust {
            nested(rest)
        } else {
            find(rest, open.trim_start().len(), close.as_bytes())
        };
        if open.starts_with('\n') {
            // What closes it takes its own line along.
            length += rest[length..].iter().position(|byte| *byte == b'\n').unwrap_or(0);
        }
        self.drop_comment(self.at + length);
        true
    }

    /// Strings that the table cannot tell.
    fn special(&mut self, language: &Language) -> bool {
        let rest = self.rest();
        let length = match language.family {
            Family::Rust => raw_rust(rest).filter(|_| !self.in_word()).or_else(|| character(rest)),
            Family::C => raw_c(rest).filter(|_| !self.in_word()),
            Family::CSharp => verbatim(rest),
            Family::Script => match rest.first() {
                Some(b'`') => Some(template(rest)),
                Some(b'/') if self.expression_begins() => expression(rest),
                _ => None,
            },
            Family::Python
            | Family::Go
            | Family::Jvm
            | Family::Ruby
            | Family::Shell
            | Family::Php
            | Family::Swift
            | Family::Plain => None,
        };
        let Some(length) = length else { return false };
        self.take_string(length, 1, 1);
        true
    }

    fn string(&mut self, language: &Language) -> bool {
        let rest = self.rest();
        let found = language.strings.iter().find(|quote| rest.starts_with(quote.open.as_bytes()));
        let Some(quote) = found else { return false };
        let raw = language.family == Family::Python && self.raw_prefix();
        let length = quoted(rest, quote, quote.escapes && !raw);
        if language.family == Family::Python && quote.open.len() == 3 && self.is_docstring() {
            self.drop_comment(self.at + length);
        } else {
            self.take_string(length, quote.open.len(), quote.close.len());
        }
        true
    }

    fn take_string(&mut self, length: usize, open: usize, close: usize) {
        let to = (self.at + length).min(self.text.len());
        let inside = (self.at + open).min(to);
        let string = &self.text[inside..to];
        let closed = string.last().is_some_and(|byte| b"\"'`/#".contains(byte));
        let end =
            if closed && !string.contains(&b'\n') { to - close.min(string.len()) } else { to };
        blank(&mut self.bare[inside..end]);
        self.at = to;
    }

    /// True for a string that begins a statement: it documents, and has no effect.
    fn is_docstring(&self) -> bool {
        let own = |byte: &&u8| b" \t\rrRuU".contains(byte);
        let before = self.text[..self.at].iter().rev().take_while(own).count();
        let line = &self.text[..self.at - before];
        self.depth == 0 && (line.is_empty() || line.ends_with(b"\n")) && !line.ends_with(b"\\\n")
    }

    fn raw_prefix(&self) -> bool {
        let letters = self.text[..self.at].iter().rev().take(2);
        letters
            .take_while(|byte| byte.is_ascii_alphabetic())
            .any(|byte| matches!(byte, b'r' | b'R'))
    }

    /// True where a slash begins a regular expression and does not divide.
    fn expression_begins(&self) -> bool {
        let before = self.code[..self.at].trim_ascii_end();
        let Some(last) = before.last() else { return true };
        if last.is_ascii_alphanumeric() || b"_$".contains(last) {
            let start =
                before.iter().rposition(|b| !b.is_ascii_alphanumeric()).map_or(0, |n| n + 1);
            return [b"return".as_slice(), b"typeof", b"case", b"in", b"of", b"await"]
                .contains(&&before[start..]);
        }
        !b")]}\"'`".contains(last)
    }
}

fn blank(bytes: &mut [u8]) {
    for byte in bytes {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

/// Length to the end of `close`, looked for from `from` on; everything when it never comes.
fn find(rest: &[u8], from: usize, close: &[u8]) -> usize {
    let from = from.min(rest.len());
    let found = rest[from..].windows(close.len()).position(|window| window == close);
    found.map_or(rest.len(), |found| from + found + close.len())
}

/// Length of a comment that may hold others.
fn nested(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn quoted(rest: &[u8], quote: &Quote, escapes: bool) -> usize {
    let mut at = quote.open.len();
    while at < rest.len() {
        if escapes && rest[at] == b'\\' {
            at += 2;
        } else if rest[at..].starts_with(quote.close.as_bytes()) {
            return at + quote.close.len();
        } else if rest[at] == b'\n' && !quote.long {
            // It was no string: an apostrophe in a text.
            return at;
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// `r"…"`, `br#"…"#`.
fn raw_rust(rest: &[u8]) -> Option<usize> {
    let after = rest.strip_prefix(b"b").unwrap_or(rest).strip_prefix(b"r")?;
    let hashes = after.iter().take_while(|byte| **byte == b'#').count();
    let open = rest.len() - after.len() + hashes + 1;
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    (after.get(hashes) == Some(&b'"')).then(|| find(rest, open, &close))
}

/// A character; nothing for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    let inside = rest.strip_prefix(b"'")?;
    if inside.first() == Some(&b'\\') {
        let end = inside.iter().skip(2).take(12).position(|byte| *byte == b'\'')?;
        return Some(end + 4);
    }
    let wide = inside.first().is_some_and(|byte| !byte.is_ascii());
    let end = inside.iter().skip(1).take(4).position(|byte| *byte == b'\'')?;
    (end == 0 || wide).then_some(end + 3)
}

/// `R"x(…)x"`.
fn raw_c(rest: &[u8]) -> Option<usize> {
    let after = rest.strip_prefix(b"R\"")?;
    let mark = after.iter().take(17).position(|byte| *byte == b'(')?;
    let close = [b")".as_slice(), &after[..mark], b"\""].concat();
    Some(find(rest, mark + 3, &close))
}

/// `@"…"`, in which two quotes are one.
fn verbatim(rest: &[u8]) -> Option<usize> {
    let after = rest.strip_prefix(b"$").unwrap_or(rest).strip_prefix(b"@\"")?;
    let mut at = rest.len() - after.len();
    while at < rest.len() {
        match (rest[at], rest.get(at + 1)) {
            (b'"', Some(b'"')) => at += 2,
            (b'"', _) => return Some(at + 1),
            _ => at += 1,
        }
    }
    Some(rest.len())
}

/// A template with the expressions inside it, which may hold templates again.
fn template(rest: &[u8]) -> usize {
    // What is open, from the outside: a template, or the braces of an expression in it.
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut at = 0;
    while at < rest.len() {
        match (rest[at], open.last_mut()) {
            (b'\\', _) => at += 1,
            (b'`', Some(None)) => {
                open.pop();
                if open.is_empty() {
                    return at + 1;
                }
            }
            (b'`', _) => open.push(None),
            (b'$', Some(None)) if rest.get(at + 1) == Some(&b'{') => {
                open.push(Some(0));
                at += 1;
            }
            (b'{', Some(Some(braces))) => *braces += 1,
            (b'}', Some(Some(0))) => {
                open.pop();
            }
            (b'}', Some(Some(braces))) => *braces -= 1,
            _ => {}
        }
        at += 1;
    }
    rest.len()
}

/// A regular expression between slashes, on one line and of a length that people write.
fn expression(rest: &[u8]) -> Option<usize> {
    let (mut at, mut class) = (1, false);
    while at < rest.len().min(500) {
        match rest[at] {
            b'\\' => at += 1,
            b'\n' => return None,
            b'[' => class = true,
            b']' => class = false,
            b'/' if !class => return Some(at + 1),
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(path: &str, text: &str) -> String {
        let source = read(language_of(&path.into()), text);
        assert_eq!(source.code.len(), text.len(), "{path}");
        assert_eq!(source.bare.len(), text.len(), "{path}");
        let letter = |line: &Line| match line {
            Line::Blank => '.',
            Line::Comment => '#',
            Line::Code => 'x',
        };
        source.lines.iter().map(letter).collect()
    }

    fn bare(path: &str, text: &str) -> String {
        read(language_of(&path.into()), text).bare
    }

    #[test]
    fn comments_and_blank_lines_are_told_from_code() {
        for (path, text, expected) in [
            ("a.rs", "// a\n\nlet a = 1; // b\n/* c\n d */\n", "#.x##"),
            ("a.rs", "/* a /* b */ c */\nlet a;\n", "#x"),
            ("a.py", "# a\nx = 1 # b\n", "#x"),
            ("a.ts", "/** a\n * b\n */\nlet a = 1;\n", "###x"),
            ("a.go", "// a\nx := 1\n", "#x"),
            ("A.java", "/* a */ int b;\n// c\n", "x#"),
            ("a.c", "#include <a>\n// b\n", "x#"),
            ("a.rb", "=begin\na\n=end\nx = 1\n# b\n", "###x#"),
            ("a.sh", "#!/bin/sh\necho $#\necho a#b\n", "#xx"),
            ("a.php", "#[Pure]\n# a\n// b\n", "x##"),
            ("a.sql", "-- a\nselect 1;\n", "#x"),
            ("a.yml", "# a\nb: c#d\n", "#x"),
            ("a.toml", "# a\nb = \"#\"\n", "#x"),
            ("a.html", "<!-- a\nb -->\n<p>\n", "##x"),
            ("a.unknown", "# a\n\n// b\n", "x.x"),
        ] {
            assert_eq!(kinds(path, text), expected, "{path}: {text}");
        }
    }

    #[test]
    fn a_comments_mark_inside_a_string_begins_none() {
        for (path, text) in [
            ("a.rs", "let a = \"//\"; let b = r#\"/* \"# ; let c = '\"';\n"),
            ("a.py", "a = '#' + \"# \\\" #\"\n"),
            ("a.ts", "const a = '//' + `/* ${b('`//`')} */`; const c = /[/\"]'/;\n"),
            ("a.go", "a := `//` + \"/*\"\n"),
            ("a.cpp", "auto a = R\"x(/* \")x\";\n"),
            ("a.cs", "var a = @\"c:\\\"; var b = \"//\";\n"),
            ("a.sh", "echo '#' \"a # b\"\n"),
            ("a.sql", "select '--', '/*';\n"),
            ("a.toml", "a = '# b'\n"),
        ] {
            assert_eq!(read(language_of(&path.into()), text).code, text, "{path}");
        }
        assert_eq!(bare("a.rs", "f(\"a\", 'b', \"\")"), "f(\" \", ' ', \"\")");
    }

    #[test]
    fn lifetimes_are_no_characters() {
        assert_eq!(bare("a.rs", "fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
        assert_eq!(bare("a.rs", "('\\'', 'ä', '{')"), "('  ', '  ', ' ')");
    }

    #[test]
    fn a_docstring_is_a_comment_and_a_string_is_not() {
        let text =
            "def f():\n    \"\"\"What\n\n    it does.\"\"\"\n    return \"\"\"a\n# b\n\"\"\"\n";
        assert_eq!(kinds("a.py", text), "x#.#xxx");
        let argument = "f(\n    \"\"\"a\n    b\"\"\",\n)\n";
        assert_eq!(kinds("a.py", argument), "xxxx");
    }

    #[test]
    fn an_apostrophe_in_a_text_ends_with_its_line() {
        assert_eq!(bare("a.tsx", "<p>Don't</p>\nlet a = 'b';"), "<p>Don'     \nlet a = ' ';");
        assert_eq!(kinds("a.js", "a / b / c // d\n"), "x");
    }

    #[test]
    fn what_never_ends_is_read_to_the_end() {
        for path in ["a.rs", "a.py", "a.ts", "a.go", "a.rb", "a.cs", "a.cpp"] {
            for text in
                ["/*", "\"", "'", "`${", "r#\"", "\"\"\"", "@\"", "R\"x(", "/[", "\\", "ä\\"]
            {
                assert_eq!(read(language_of(&path.into()), text).code.len(), text.len());
            }
        }
    }

    #[test]
    fn lines_that_are_not_there_count() {
        let source = read(language_of(&"a.rs".into()), "// a\nlet b;\n\n");
        let lines = |numbers: &[u32]| -> Vec<(u32, String)> {
            numbers.iter().map(|number| (*number, "x".to_owned())).collect()
        };
        assert_eq!(counted(&source, &lines(&[1, 2]), 2), 1);
        assert_eq!(counted(&source, &lines(&[1]), 40), 39);
        assert_eq!(counted(&source, &lines(&[9]), 1), 1);
    }

    #[test]
    fn slashes_begin_an_expression_where_a_value_may_stand() {
        for (text, expected) in [
            ("return /'/.test(a) + 'b'", "return / /.test(a) + ' '"),
            ("x = /'/", "x = / /"),
            ("(/[/']/)", "(/    /)"),
            ("returns / 'b' / c", "returns / ' ' / c"),
            ("a[0] / 'b' / c", "a[0] / ' ' / c"),
            ("f() / 'b' / c", "f() / ' ' / c"),
            ("x = /[a]/ + 'b' + /c/", "x = /   / + ' ' + / /"),
            ("case /\\/'/: 'b'", "case /   /: ' '"),
        ] {
            assert_eq!(bare("a.js", text), expected, "{text}");
        }
    }

    #[test]
    fn what_stands_behind_a_string_is_code_again() {
        for (path, text, expected) in [
            ("a.js", "`a${ {b: {c: `}`}} }d` + 'e' // f", "`                    ` + ' '     "),
            ("a.js", "`a\\`b` + c", "`    ` + c"),
            ("a.cpp", "R\"x(a)\" )x\" + b", "R         \" + b"),
            ("a.cpp", "R\"xy(a)\" )x\" )xy\" + b", "R               \" + b"),
            ("a.cs", "@\"a\"\"b\" + c", "@     \" + c"),
            ("a.rs", "r##\"a\"# \"## + b", "r         # + b"),
            ("a.rs", "'\\u{7f}' + '\\'' + 'a' + b", "'      ' + '  ' + ' ' + b"),
            ("a.py", "'a\\'b' + r'c\\' + d", "'    ' + r'  ' + d"),
            ("a.rs", "/* a /* b */ c */ d", "                  d"),
        ] {
            assert_eq!(bare(path, text), expected, "{text}");
        }
    }

    #[test]
    fn a_letter_before_a_quote_is_of_a_word_or_of_the_string() {
        for (path, text, expected) in [
            ("a.rs", "bar\"a\" + r\"b\"", "bar\" \" + r  \""),
            ("a.cpp", "BAR\"x(a\" + b", "BAR\"   \" + b"),
            ("a.sh", "echo a#b 'c';# d", "echo a#b ' ';   "),
            ("a.sh", "(# a", "(   "),
            ("a.php", "#[A]\n# b", "#[A]\n   "),
        ] {
            assert_eq!(bare(path, text), expected, "{text}");
        }
    }

    /// The words in capitals that are neither in a comment nor in a string.
    fn left(path: &str, text: &str) -> String {
        let source = read(language_of(&path.into()), text);
        assert_eq!((source.code.len(), source.bare.len()), (text.len(), text.len()), "{text}");
        let words = source.bare.split(|c: char| !c.is_ascii_uppercase());
        words.filter(|word| word.len() > 1).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_language_has_its_own_marks() {
        for (path, text, expected) in [
            ("a.RS", "OUT // IN", "OUT"),
            ("deep/Makefile", "OUT # IN", "OUT"),
            ("Gemfile", "OUT # IN", "OUT"),
            ("Makefile.old", "OUT # NONE", "OUT NONE"),
            ("a.kt", "OUT \"\"\"IN\n\"IN\" IN\"\"\" OUT", "OUT OUT"),
            ("a.swift", "OUT 'OUT \"IN\"", "OUT OUT"),
            ("a.go", "OUT `IN\\` OUT 'x'", "OUT OUT"),
            ("a.lua", "OUT -- IN\n{- IN\n-} OUT \"IN\"", "OUT OUT"),
            ("a.css", "OUT { /* IN */ OUT: \"IN\" 'IN' }", "OUT OUT"),
            ("a.yml", "OUT: 'IN\\' # IN", "OUT"),
            ("a.yml", "OUT: \"IN\\\" IN\" # IN", "OUT"),
            ("a.toml", "OUT = '''IN\nIN\\''' # IN", "OUT"),
            ("a.ex", "OUT \"IN\nIN\" # IN", "OUT"),
            ("a.tf", "OUT = \"IN\" # IN", "OUT"),
            ("a.sh", "OUT 'IN\\' OUT \"IN\\\"IN\"", "OUT OUT"),
            ("a.php", "OUT 'IN\nIN' # IN", "OUT"),
            ("a.dart", "OUT '''IN\n'IN''' OUT", "OUT OUT"),
            ("a.html", "OUT <!-- IN --> 'OUT'", "OUT OUT"),
        ] {
            assert_eq!(left(path, text), expected, "{path}: {text}");
        }
    }

    #[test]
    fn a_comment_ends_where_its_language_says() {
        for (path, text, expected) in [
            // What opens it is no part of what closes it.
            ("a.go", "/*/ IN */ OUT", "OUT"),
            ("a.rs", "/*/ IN */ OUT", "OUT"),
            ("a.rs", "/* IN /* IN */ IN /* IN */ IN */ OUT /* IN */ OUT", "OUT OUT"),
            ("a.lua", "{-} IN -} OUT", "OUT"),
            ("a.html", "<!--> IN --> OUT", "OUT"),
            // A word before it makes no comment of it in a shell, and a bracket or a separator does.
            ("a.sh", "a#OUT", "OUT"),
            ("a.sh", "a;#IN", ""),
            ("a.sh", "a&#IN", ""),
            ("a.sh", "a|#IN", ""),
            ("a.sh", "\t#IN\nOUT", "OUT"),
            ("a.php", "$a#IN\nOUT", "OUT"),
            ("a.py", "a#IN\nOUT", "OUT"),
            // Ruby's stand at the beginning of a line, and take the line of their end along.
            ("a.rb", "OUT\n=begin\nIN\n=end IN\nOUT", "OUT OUT"),
            ("a.rb", "=begin\nIN\n=end IN\nOUT", "OUT"),
            ("a.rb", "OUT =begin OUT", "OUT OUT"),
            ("a.rb", "OUT =begin\nOUT\n=end OUT", "OUT OUT OUT"),
        ] {
            assert_eq!(left(path, text), expected, "{path}: {text}");
        }
    }

    #[test]
    fn raw_strings_end_with_their_own_mark() {
        for (path, text, expected) in [
            ("a.rs", "r\"\" OUT", "OUT"),
            ("a.rs", "br\"\" OUT \"IN\"", "OUT"),
            ("a.rs", "br\"IN\\\" OUT", "OUT"),
            ("a.rs", "b\"IN\\\"IN\" OUT", "OUT"),
            ("a.rs", "r#\"IN\" IN\"# OUT", "OUT"),
            ("a.rs", "br##\"IN\"# IN\"## OUT", "OUT"),
            ("a.rs", "r#type OUT \"IN\"", "OUT"),
            ("a.rs", "_r\"IN\\\"IN\" OUT", "OUT"),
            ("a.rs", "[r\"IN\\\", OUT]", "OUT"),
            ("a.cpp", "R\"()\" OUT", "OUT"),
            ("a.cpp", "R\"xyz()xyz\" OUT", "OUT"),
            ("a.cpp", "R\"xyz(IN)x\" IN)xyz\" OUT", "OUT"),
            ("a.cpp", "R\"0123456789abcdef(IN\"IN)0123456789abcdef\" OUT", "OUT"),
            ("a.cpp", "R\"0123456789abcdefg\" OUT (\"IN)0123456789abcdefg\" OUT", "OUT OUT"),
            ("a.cs", "@\"\" OUT", "OUT"),
            ("a.cs", "@\"IN\\\" OUT", "OUT"),
            ("a.cs", "$@\"IN\\\" OUT", "OUT"),
            ("a.cs", "@\"IN\"\"IN\" OUT", "OUT"),
            ("a.cs", "\"IN\\\"IN\" OUT", "OUT"),
            ("a.cs", "$@\"\" OUT \"IN\"", "OUT"),
        ] {
            assert_eq!(left(path, text), expected, "{path}: {text}");
        }
    }

    #[test]
    fn characters_are_told_from_lifetimes_and_from_each_other() {
        for (text, expected) in [
            ("'\"' OUT '\"' OUT", "OUT OUT"),
            ("'\\\\' OUT '\"' OUT", "OUT OUT"),
            ("'\\'' OUT '\"' OUT", "OUT OUT"),
            ("'\\u{10ffff}' OUT '\"' OUT", "OUT OUT"),
            ("'ä' OUT '\"' OUT", "OUT OUT"),
            ("'🌙' OUT '\"' OUT", "OUT OUT"),
            ("<'a, 'b> OUT \"IN\" OUT", "OUT OUT"),
            ("&'a OUT 'x' OUT", "OUT OUT"),
            ("f::<'a>('\"') OUT", "OUT"),
        ] {
            assert_eq!(left("a.rs", text), expected, "{text}");
        }
        assert_eq!(bare("a.rs", "'a' + 'bc' + '\\n'"), "' ' + 'bc' + '  '");
    }

    #[test]
    fn a_template_ends_behind_all_that_it_holds() {
        for (text, expected) in [
            ("`IN` + OUT", "OUT"),
            ("`IN $IN` + OUT + `IN`", "OUT"),
            ("`IN $` + OUT + `{IN}` + OUT", "OUT OUT"),
            ("`IN { IN` + OUT + `IN } IN` + OUT", "OUT OUT"),
            ("`${IN}` + OUT + `IN`", "OUT"),
            ("`${ {a: 1} + `IN` } IN` + OUT", "OUT"),
            ("`${ {a: {b: 1}} + `IN` } IN` + OUT", "OUT"),
            ("`${`IN`}${`IN`} IN` + OUT", "OUT"),
            ("`${`${`IN`}`} IN` + OUT", "OUT"),
            ("`\\${ IN` + OUT", "OUT"),
            ("`\\\\` + OUT + `IN`", "OUT"),
            ("{ `IN` } + OUT", "OUT"),
        ] {
            assert_eq!(left("a.js", text), expected, "{text}");
        }
    }

    #[test]
    fn an_expression_is_on_one_line_and_of_a_length_that_people_write() {
        for (text, expected) in [
            ("/IN/ + OUT", "OUT"),
            ("x = /\\/IN/ + OUT", "OUT"),
            ("x = /[/]IN/ + OUT", "OUT"),
            ("x = /[\\]/]IN/ + OUT", "OUT"),
            ("x = / OUT\n + '/IN' + OUT", "OUT OUT"),
            ("; return /IN/ + OUT", "OUT"),
            ("typeof /IN/", ""),
            ("case /IN/:", ""),
            ("a in /IN/", ""),
            ("a of /IN/", ""),
            ("await /IN/", ""),
            ("among / OUT / OUT", "OUT OUT"),
            ("$ / OUT / OUT", "OUT OUT"),
            ("_ / OUT / OUT", "OUT OUT"),
            ("9 / OUT / OUT", "OUT OUT"),
            ("} / OUT / OUT", "OUT OUT"),
            ("'IN' / OUT / OUT", "OUT OUT"),
            ("`IN` / OUT / OUT", "OUT OUT"),
            ("\"IN\" / OUT / OUT", "OUT OUT"),
            ("f(/* IN */ /IN/)", ""),
        ] {
            assert_eq!(left("a.js", text), expected, "{text}");
        }
        let of = |length: usize| left("a.js", &format!("x = /AA{}/", " ".repeat(length - 4)));
        assert_eq!((of(500).as_str(), of(501).as_str()), ("", "AA"));
    }

    #[test]
    fn pythons_letters_say_what_a_backslash_does() {
        for (text, expected) in [
            ("r'IN\\' + OUT", "OUT"),
            ("R'IN\\' + OUT", "OUT"),
            ("rb'IN\\' + OUT", "OUT"),
            ("Rb'IN\\' + OUT", "OUT"),
            ("br'IN\\' + OUT", "OUT"),
            ("b'IN\\' IN' + OUT", "OUT"),
            ("f'IN\\' IN' + OUT", "OUT"),
            ("r 'IN\\' IN' + OUT", "OUT"),
            ("f(x)'IN\\' IN' + OUT", "OUT"),
        ] {
            assert_eq!(left("a.py", text), expected, "{text}");
        }
    }

    #[test]
    fn a_docstring_stands_alone_at_the_beginning_of_a_statement() {
        for (text, expected) in [
            ("\"\"\"a\"\"\"\n", "#"),
            ("'''a'''\n", "#"),
            ("def f():\n\t\"\"\"a\"\"\"\n", "x#"),
            ("def f():\n    \"\"\"a\n\n    b\"\"\"\n    x\n", "x#.#x"),
            ("x = \"\"\"a\"\"\"\n", "x"),
            ("x = \\\n\"\"\"a\nb\"\"\"\n", "xxx"),
            ("r\"\"\"a\nb\"\"\"\n", "x#"),
            ("U\"\"\"a\nb\"\"\"\n", "x#"),
            ("b\"\"\"a\nb\"\"\"\n", "xx"),
            ("f(\n\"\"\"a\nb\"\"\")\n", "xxx"),
            ("f([1], {2})\n\"\"\"a\nb\"\"\"\n", "x##"),
            ("f = [\n\"\"\"a\nb\"\"\"]\n", "xxx"),
            ("f = {\n\"\"\"a\nb\"\"\"}\n", "xxx"),
            (")\n\"\"\"a\nb\"\"\"\n", "x##"),
            ("\"a\"\n", "x"),
        ] {
            assert_eq!(kinds("a.py", text), expected, "{text}");
        }
    }

    #[test]
    fn of_a_string_the_quotes_stay() {
        for (path, text, expected) in [
            ("a.rs", "\"\" + \"a\"", "\"\" + \" \""),
            ("a.rs", "\"a\nb\" + c", "\" \n   + c"),
            ("a.py", "x = '''ab''' + c", "x = '''  ''' + c"),
            ("a.py", "x = '''a\nb''' + c", "x = ''' \n     + c"),
            ("a.js", "`a` + /b/", "` ` + / /"),
            ("a.rs", "\"ab", "\"  "),
            ("a.js", "'ab\nc", "'  \nc"),
            ("a.js", "'a\\\nb' + c", "'  \n   + c"),
        ] {
            assert_eq!(bare(path, text), expected, "{text}");
        }
    }

    #[test]
    fn only_lines_of_code_are_counted() {
        let source = read(language_of(&"a.rs".into()), "// a\nlet b;\n\nlet c;\n");
        let line = |number: u32, text: &str| (number, text.to_owned());
        assert_eq!(counted(&source, &[line(2, "let b;"), line(4, "let c;")], 2), 2);
        assert_eq!(counted(&source, &[line(2, " "), line(4, "let c;")], 2), 1);
        assert_eq!(counted(&source, &[line(0, "let b;"), line(0, "")], 2), 1);
        assert_eq!(counted(&source, &[line(1, "// a"), line(3, "")], 2), 0);
    }
}
