//! What is known of languages: which files hold their code, where a build begins to read, how a line breaks them.
//!
//! Plain tables over paths and texts; what is not in them is no source here.

use crate::{git::TreeEntry, ids::RepoPath, policy::is_test_or_doc};

/// One language.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Language {
    /// Its name, for people.
    pub(super) name: &'static str,
    /// Endings of its files, without the dot.
    pub(super) endings: &'static [&'static str],
    /// Ends of paths at which programs and packages of it begin, the likeliest first.
    pub(super) entries: &'static [&'static str],
    /// True when a file is run line by line: what is broken must stand before the first of them.
    pub(super) by_line: bool,
}

/// In the order in which equals are decided.
pub(super) const LANGUAGES: [Language; 18] = [
    compiled("Rust", &["rs"], &["src/lib.rs", "src/main.rs"]),
    compiled("Go", &["go"], &["main.go"]),
    compiled("Python", &["py"], &["__init__.py", "__main__.py", "main.py", "app.py", "manage.py"]),
    compiled(
        "TypeScript",
        &["ts", "tsx", "mts", "cts"],
        &["src/index.ts", "src/index.tsx", "index.ts", "src/main.ts", "src/main.tsx", "src/app.ts"],
    ),
    compiled(
        "JavaScript",
        &["js", "jsx", "mjs", "cjs"],
        &["src/index.js", "src/index.mjs", "index.js", "index.mjs", "src/main.js", "src/app.js"],
    ),
    compiled("Java", &["java"], &["Application.java", "Main.java", "App.java"]),
    compiled("Kotlin", &["kt"], &["Application.kt", "Main.kt", "App.kt"]),
    compiled("Scala", &["scala"], &["Main.scala"]),
    compiled("C", &["c", "h"], &["src/main.c", "main.c"]),
    compiled("C++", &["cc", "cpp", "cxx", "hpp", "hh"], &["src/main.cpp", "main.cpp"]),
    compiled("C#", &["cs"], &["Program.cs"]),
    compiled("Swift", &["swift"], &["main.swift"]),
    compiled("Dart", &["dart"], &["lib/main.dart"]),
    compiled("Elixir", &["ex"], &[]),
    by_line("PHP", &["php"], &["index.php"]),
    by_line("Ruby", &["rb"], &[]),
    by_line("Perl", &["pm", "pl"], &[]),
    by_line("shell", &["sh", "bash"], &[]),
];

const fn compiled(
    name: &'static str,
    endings: &'static [&'static str],
    entries: &'static [&'static str],
) -> Language {
    Language { name, endings, entries, by_line: false }
}

const fn by_line(
    name: &'static str,
    endings: &'static [&'static str],
    entries: &'static [&'static str],
) -> Language {
    Language { name, endings, entries, by_line: true }
}

/// Directories whose code is somebody else's, made by a program, or not built with the rest.
const ASIDE: [&str; 17] = [
    "vendor",
    "node_modules",
    "third_party",
    "external",
    "dist",
    "build",
    "out",
    "target",
    "examples",
    "example",
    "benches",
    "bench",
    "scripts",
    "tools",
    "fuzz",
    "migrations",
    "generated",
];

/// A line that no language takes.
pub(super) const BROKEN: &str = ")]} this line was broken on purpose by nightshift {[(";

impl Language {
    /// True when a path is a file of this language.
    pub(super) fn has(&self, path: &RepoPath) -> bool {
        let name = path.components().last().unwrap_or_default();
        let ending = name.iter().rposition(|byte| *byte == b'.').map(|dot| &name[dot + 1..]);
        ending.is_some_and(|ending| self.endings.iter().any(|own| own.as_bytes() == ending))
    }

    /// The text with a line in it that cannot be read, where it is read first.
    pub(super) fn broken(&self, text: &str) -> String {
        if !self.by_line {
            return format!("{text}\n{BROKEN}\n");
        }
        let first = text.split_inclusive('\n').next().unwrap_or_default();
        let head = if first.starts_with("#!") || first.starts_with("<?") { first } else { "" };
        let line = if head.is_empty() || head.ends_with('\n') { "" } else { "\n" };
        format!("{head}{line}{BROKEN}\n{}", &text[head.len()..])
    }
}

/// True when a path is code that a build surely concerns.
pub(super) fn central(path: &RepoPath) -> bool {
    let aside = |part: &[u8]| ASIDE.iter().any(|aside| aside.as_bytes() == part);
    let name = path.components().last().unwrap_or_default();
    let made = name.ends_with(b".min.js") || name.ends_with(b".d.ts") || name == b"build.rs";
    !made && !is_test_or_doc(path) && !path.components().any(aside)
}

/// The language of most central files, and those files in order of path.
pub(super) fn main<'f>(
    files: impl Iterator<Item = &'f TreeEntry> + Clone,
) -> Option<(&'static Language, Vec<&'f RepoPath>)> {
    let of = |language: &'static Language| {
        let paths = files.clone().map(|entry| &entry.path);
        let own: Vec<&RepoPath> =
            paths.filter(|path| language.has(path) && central(path)).collect();
        (language, own)
    };
    // The first of equals: `max_by_key` takes the last.
    let best = LANGUAGES.iter().rev().map(of).max_by_key(|(_, own)| own.len());
    best.filter(|(_, own)| !own.is_empty())
}

/// The file at which the build of a language begins to read, by its name alone: the likeliest, the outermost.
pub(super) fn entry<'f>(language: &Language, own: &[&'f RepoPath]) -> Option<&'f RepoPath> {
    let named = |path: &RepoPath| {
        language.entries.iter().position(|entry| {
            let (path, entry) = (path.as_bytes(), entry.as_bytes());
            path == entry || path.strip_suffix(entry).is_some_and(|above| above.ends_with(b"/"))
        })
    };
    let rank = |path: &&RepoPath| Some((named(path)?, path.components().count()));
    own.iter().copied().filter_map(|path| Some((rank(&path)?, path))).min().map(|(_, path)| path)
}

/// The file whose name most others mention where they import: what is broken there is read whatever is built.
/// `texts` are the files of the language that are looked at, tests among them.
pub(super) fn most_imported<'f>(
    own: &[&'f RepoPath],
    texts: &[(&RepoPath, String)],
) -> Option<&'f RepoPath> {
    const WORDS: [&str; 9] =
        ["import", "from ", "require", "use ", "mod ", "include", "source ", ". ", "package "];
    let imports = |line: &&str| {
        let line = line.trim_start();
        WORDS.iter().any(|word| line.starts_with(word)) || line.contains("require(")
    };
    let lines: Vec<(&RepoPath, Vec<&str>)> =
        texts.iter().map(|(path, text)| (*path, text.lines().filter(imports).collect())).collect();
    let mentions = |path: &RepoPath| {
        let name = path.components().last().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let stem = name.split('.').next().unwrap_or_default().to_owned();
        let word = |line: &&str| {
            line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').any(|w| w == stem)
        };
        lines.iter().filter(|(other, lines)| *other != path && lines.iter().any(word)).count()
    };
    let best = |path: &&'f RepoPath| {
        let outermost = usize::MAX - path.components().count();
        (mentions(path), outermost)
    };
    own.iter().copied().rev().max_by_key(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diff::FileMode, ids::BlobId};

    fn files(paths: &[&str]) -> Vec<TreeEntry> {
        let blob = BlobId::new("a".repeat(40)).unwrap();
        let entry = |path: &&str| TreeEntry {
            path: RepoPath::from(*path),
            mode: FileMode::Regular,
            blob: blob.clone(),
        };
        paths.iter().map(entry).collect()
    }

    fn begins(paths: &[&str]) -> Option<String> {
        let files = files(paths);
        let (language, own) = main(files.iter())?;
        entry(language, &own).map(ToString::to_string)
    }

    #[test]
    fn a_build_begins_at_the_outermost_file_of_its_kind() {
        let rust = ["crates/a/src/lib.rs", "src/main.rs", "src/lib.rs", "examples/src/lib.rs"];
        assert_eq!(begins(&rust).as_deref(), Some("src/lib.rs"));
        assert_eq!(
            begins(&["crates/b/src/lib.rs", "crates/a/src/lib.rs"]).as_deref(),
            Some("crates/a/src/lib.rs")
        );
        assert_eq!(
            begins(&["cmd/x/main.go", "a.go", "a_test.go"]).as_deref(),
            Some("cmd/x/main.go")
        );
        let python =
            ["tests/__init__.py", "src/shop/__init__.py", "src/shop/cart/__init__.py", "setup.py"];
        assert_eq!(begins(&python).as_deref(), Some("src/shop/__init__.py"));
        assert_eq!(
            begins(&["src/index.test.ts", "src/index.ts", "a.js"]).as_deref(),
            Some("src/index.ts")
        );
        assert_eq!(begins(&["README.md", "docs/a.py"]), None);
    }

    #[test]
    fn most_files_decide_the_language_and_tests_do_not_count() {
        let all =
            files(&["a.py", "b.sh", "tests/test_a.py", "tests/c.sh", "tests/d.sh", "vendor/x.rs"]);
        assert_eq!(main(all.iter()).map(|(language, _)| language.name), Some("Python"));
    }

    #[test]
    fn what_most_files_import_is_found() {
        let paths = files(&["shop/cart.py", "shop/money.py", "shop/web.py"]);
        let own: Vec<&RepoPath> = paths.iter().map(|entry| &entry.path).collect();
        let texts =
            ["from shop.money import Money\n", "import re\n", "from shop import money\n# cart\n"];
        let texts: Vec<(&RepoPath, String)> =
            own.iter().copied().zip(texts.map(str::to_owned)).collect();
        assert_eq!(most_imported(&own, &texts).unwrap().to_string(), "shop/money.py");
    }

    #[test]
    fn what_is_run_line_by_line_is_broken_before_its_first_line() {
        let language =
            |name: &str| LANGUAGES.iter().find(|language| language.name == name).unwrap();
        assert_eq!(
            language("shell").broken("#!/bin/sh\nexit 0\n"),
            format!("#!/bin/sh\n{BROKEN}\nexit 0\n")
        );
        assert_eq!(language("shell").broken("exit 0\n"), format!("{BROKEN}\nexit 0\n"));
        assert_eq!(language("PHP").broken("<?php"), format!("<?php\n{BROKEN}\n"));
        assert_eq!(language("Rust").broken("fn a() {}"), format!("fn a() {{}}\n{BROKEN}\n"));
    }

    #[test]
    fn code_of_others_and_of_programs_is_not_central() {
        for path in ["src/a.js", "a.ts", "src/min.js", "src/build.py", "builder/a.go"] {
            assert!(central(&path.into()), "{path}");
        }
        for path in [
            "src/a.min.js",
            "src/a.d.ts",
            "build.rs",
            "sub/build.rs",
            "tests/a.rs",
            "vendor/a.go",
            "web/node_modules/x/a.js",
            "README.md",
        ] {
            assert!(!central(&path.into()), "{path}");
        }
    }
}
