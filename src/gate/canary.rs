//! What could be broken in a base on purpose, so that a gate that can fail does: proposals, the likeliest first.
//!
//! Reads paths and texts and writes nothing. Never touches what is protected: a gate whose own script is broken is
//! red and has shown nothing.

use std::collections::BTreeMap;

use crate::{
    diff::FileMode,
    gate::languages::{self, BROKEN, Language},
    git::TreeEntry,
    ids::RepoPath,
    policy::is_test_or_doc,
};

/// Trees that are tried at most; each costs a run of the gate, once in a gate's life.
pub const TRIES: usize = 4;

/// Files whose texts are looked at to find what most others import.
const LOOKED_AT: usize = 400;

/// A way to break a base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breakage {
    /// What is broken, such as "a syntax error in src/lib.rs".
    pub what: String,
    /// Files with their new contents.
    pub files: BTreeMap<RepoPath, Vec<u8>>,
}

/// A base that is to be broken.
pub struct Base<'b> {
    /// All its files.
    pub files: &'b [TreeEntry],
    /// What stays as it is: protected files and the plan.
    pub spared: &'b dyn Fn(&RepoPath) -> bool,
    /// The text of a file, where it has one.
    pub text: &'b dyn Fn(&RepoPath) -> Option<String>,
    /// What the gate runs: its command lines, and the texts of the protected files that they name.
    pub scripts: &'b [String],
}

/// At most [`TRIES`] ways to break a base, each less likely to be needed than the one before. The last breaks all that
/// is not protected: a gate that is green on that looks at nothing.
pub fn proposals(base: &Base<'_>) -> Vec<Breakage> {
    let mut found: Vec<Breakage> = Vec::new();
    let free = || base.files.iter().filter(|entry| is_file(entry) && !(base.spared)(&entry.path));
    if let Some((language, own)) = languages::main(free()) {
        let entry = base.entry(language, &own);
        // The test first: a gate that compiles and looks away from its tests shall be seen to look away.
        found.extend(base.failing_test(language, entry.unwrap_or(own[0])));
        found.extend(entry.and_then(|entry| base.broken(language, entry)));
        found.push(all_of(language, free().map(|entry| &entry.path)));
    }
    found.extend(base.inputs());
    found.extend(base.document());
    found.truncate(TRIES - 1);
    found.extend(everything(free().map(|entry| &entry.path)));
    found
}

fn is_file(entry: &TreeEntry) -> bool {
    matches!(entry.mode, FileMode::Regular | FileMode::Executable)
}

impl Base<'_> {
    fn entry<'f>(&self, language: &Language, own: &[&'f RepoPath]) -> Option<&'f RepoPath> {
        languages::entry(language, own).or_else(|| {
            let texts: Vec<(&RepoPath, String)> = self
                .files
                .iter()
                .map(|entry| &entry.path)
                .filter(|path| language.has(path))
                .take(LOOKED_AT)
                .filter_map(|path| Some((path, (self.text)(path)?)))
                .collect();
            languages::most_imported(own, &texts)
        })
    }

    fn broken(&self, language: &Language, path: &RepoPath) -> Option<Breakage> {
        let text = (self.text)(path)?;
        let files = BTreeMap::from([(path.clone(), language.broken(&text).into_bytes())]);
        Some(Breakage { what: format!("a syntax error in {path}"), files })
    }

    /// A test that fails, where the conventions of the language say how one is found.
    fn failing_test(&self, language: &Language, entry: &RepoPath) -> Option<Breakage> {
        let (path, text) = match language.name {
            "Rust" => (
                format!("{}tests/nightshift_canary.rs", above(entry, "src/")?),
                "#[test]\nfn nightshift_canary() {\n    panic!(\"broken on purpose by nightshift\");\n}\n".to_owned(),
            ),
            "Go" => {
                let code = (self.text)(entry)?;
                let package = code.lines().find_map(|line| line.strip_prefix("package "))?;
                (
                    format!("{}nightshift_canary_test.go", directory(entry)),
                    format!(
                        "package {}\n\nimport \"testing\"\n\nfunc TestNightshiftCanary(t *testing.T) {{\n\t\
                         t.Fatal(\"broken on purpose by nightshift\")\n}}\n",
                        package.trim()
                    ),
                )
            }
            // Found by pytest and by unittest.
            "Python" => {
                let like = |name: &str| name.starts_with("test_") && has_ending(name, "py");
                let place = self.beside(like).map_or("tests/".to_owned(), directory);
                (
                    format!("{place}test_nightshift_canary.py"),
                    "import unittest\n\n\nclass NightshiftCanary(unittest.TestCase):\n    def test_canary(self):\n        \
                     self.fail(\"broken on purpose by nightshift\")\n".to_owned(),
                )
            }
            // Fails with every runner, because the file itself cannot be run.
            "JavaScript" | "TypeScript" => {
                let like = |name: &str| name.contains(".test.") || name.contains(".spec.");
                let (place, ending) = match self.beside(like) {
                    Some(test) => {
                        let name = file_name(test);
                        let ending = name.split_once('.').map_or("test.js", |(_, ending)| ending);
                        (directory(test), ending.to_owned())
                    }
                    None => ("test/".to_owned(), "test.js".to_owned()),
                };
                let text = "throw new Error(\"broken on purpose by nightshift\");\n";
                (format!("{place}nightshift_canary.{ending}"), text.to_owned())
            }
            "Java" => {
                let other = self.beside(|name| name.ends_with("Test.java"));
                let text = other.and_then(|test| (self.text)(test)).unwrap_or_default();
                let older = text.contains("import org.junit.Test;");
                let package = if older { "org.junit" } else { "org.junit.jupiter.api" };
                (
                    format!("{}src/test/java/NightshiftCanaryTest.java", above(entry, "src/main/java/")?),
                    format!(
                        "import {package}.Test;\n\npublic class NightshiftCanaryTest {{\n    @Test\n    public void \
                         canary() {{\n        throw new AssertionError(\"broken on purpose by nightshift\");\n    \
                         }}\n}}\n"
                    ),
                )
            }
            _ => return None,
        };
        let path = RepoPath::from(path.as_str());
        let taken = (self.spared)(&path) || self.files.iter().any(|entry| entry.path == path);
        let what = format!("a failing test, {path}");
        (!taken).then(|| Breakage { what, files: BTreeMap::from([(path, text.into_bytes())]) })
    }

    /// The outermost test that is there already and whose name is like this.
    fn beside(&self, like: impl Fn(&str) -> bool) -> Option<&RepoPath> {
        let tests = self.files.iter().map(|entry| &entry.path);
        tests
            .filter(|path| is_test_or_doc(path) && like(&file_name(path)))
            .min_by_key(|path| path.components().count())
    }

    /// The files that the gate's own scripts name, by themselves or by their directory.
    fn inputs(&self) -> Option<Breakage> {
        let words: Vec<&str> = self
            .scripts
            .iter()
            .flat_map(|text| {
                text.split(|c: char| c.is_whitespace() || "\"';|&()<>=`$,:".contains(c))
            })
            .map(|word| word.trim_start_matches("./"))
            // `docs/*.md` names what is in `docs`.
            .map(|word| {
                word.split_once('*').map_or(word, |(before, _)| before).trim_end_matches('/')
            })
            .filter(|word| !word.is_empty() && *word != ".")
            .collect();
        let named = |path: &RepoPath| {
            let path = path.as_bytes();
            words.iter().any(|word| {
                let below = path.strip_prefix(word.as_bytes());
                below.is_some_and(|below| below.is_empty() || below.starts_with(b"/"))
            })
        };
        let free = |entry: &&TreeEntry| is_file(entry) && !(self.spared)(&entry.path);
        let files: Vec<&RepoPath> =
            self.files.iter().filter(free).map(|entry| &entry.path).filter(|p| named(p)).collect();
        let first = files.first()?;
        let what = match files.len() {
            1 => format!("{first}, which the gate's scripts name, is unreadable"),
            more => format!(
                "{first} and {} more, which the gate's scripts name, are unreadable",
                more - 1
            ),
        };
        Some(Breakage { what, files: unreadable(files) })
    }

    /// A document that any checker of documents must refuse.
    fn document(&self) -> Option<Breakage> {
        const FIRST: [&str; 4] = ["docs/index.md", "docs/README.md", "README.md", "index.md"];
        let free = |path: &&RepoPath| path.as_bytes().ends_with(b".md") && !(self.spared)(path);
        let paths =
            self.files.iter().filter(|entry| is_file(entry)).map(|entry| &entry.path).filter(free);
        let rank = |path: &&RepoPath| {
            let known = FIRST.iter().position(|first| first.as_bytes() == path.as_bytes());
            (known.unwrap_or(FIRST.len()), path.components().count())
        };
        let path = paths.min_by_key(rank)?;
        let text = (self.text)(path)?;
        let text = format!(
            "---\ntitle: [broken on purpose\n\n{text}\n[broken on purpose](nightshift-canary-missing.md)\n"
        );
        let what = format!("a broken link and open front matter in {path}");
        Some(Breakage { what, files: BTreeMap::from([(path.clone(), text.into_bytes())]) })
    }
}

fn all_of<'f>(language: &Language, paths: impl Iterator<Item = &'f RepoPath>) -> Breakage {
    let head = if language.name == "PHP" { "<?php\n" } else { "" };
    let text = format!("{head}{BROKEN}\n").into_bytes();
    let own = paths.filter(|path| language.has(path));
    let files: BTreeMap<RepoPath, Vec<u8>> = own.map(|path| (path.clone(), text.clone())).collect();
    Breakage { what: format!("nothing but a syntax error in every {} file", language.name), files }
}

fn everything<'f>(paths: impl Iterator<Item = &'f RepoPath>) -> Option<Breakage> {
    // git's own files say how the others are read, not what is in them.
    let paths = paths.filter(|path| !file_name(path).starts_with(".git"));
    let files = unreadable(paths.collect());
    let what = "every file that is not protected is unreadable".to_owned();
    (!files.is_empty()).then_some(Breakage { what, files })
}

/// A text that is no code, no settings, no clean document and nobody's spelling.
fn unreadable(paths: Vec<&RepoPath>) -> BTreeMap<RepoPath, Vec<u8>> {
    let text = format!(
        "---\nbroken: [on purpose\n{BROKEN}\n[brokn linkk](nightshift-canary-missing.md) \n"
    );
    paths.into_iter().map(|path| (path.clone(), text.clone().into_bytes())).collect()
}

fn has_ending(name: &str, ending: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, own)| own == ending)
}

fn file_name(path: &RepoPath) -> String {
    String::from_utf8_lossy(path.components().last().unwrap_or_default()).into_owned()
}

/// The directory of a path, with a `/` at its end; nothing for the root.
fn directory(path: &RepoPath) -> String {
    let text = String::from_utf8_lossy(path.as_bytes()).into_owned();
    text.rfind('/').map_or(String::new(), |cut| text[..=cut].to_owned())
}

/// What stands before the first `part` in a path: the package's own directory.
fn above(path: &RepoPath, part: &str) -> Option<String> {
    let text = String::from_utf8_lossy(path.as_bytes()).into_owned();
    let at = if text.starts_with(part) { 0 } else { text.find(&format!("/{part}"))? + 1 };
    Some(text[..at].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::BlobId;

    /// Proposals for a base of these files; `.ai-validation/` and the plan are spared.
    fn broken(files: &[(&str, &str)], script: &str) -> Vec<Breakage> {
        let blob = BlobId::new("a".repeat(40)).unwrap();
        let mut entries: Vec<TreeEntry> = files
            .iter()
            .map(|(path, _)| TreeEntry {
                path: RepoPath::from(*path),
                mode: FileMode::Regular,
                blob: blob.clone(),
            })
            .collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let spared = |path: &RepoPath| {
            path.as_bytes().starts_with(b".ai-validation/") || *path == RepoPath::from("PLAN.md")
        };
        let text = |path: &RepoPath| {
            let found = files.iter().find(|(own, _)| RepoPath::from(*own) == *path);
            found.map(|(_, text)| (*text).to_owned())
        };
        let scripts = [script.to_owned()];
        proposals(&Base { files: &entries, spared: &spared, text: &text, scripts: &scripts })
    }

    fn whats(found: &[Breakage]) -> Vec<&str> {
        found.iter().map(|breakage| breakage.what.as_str()).collect()
    }

    fn text_of<'b>(breakage: &'b Breakage, path: &str) -> &'b str {
        std::str::from_utf8(&breakage.files[&RepoPath::from(path)]).unwrap()
    }

    #[test]
    fn a_rust_package_is_broken_where_its_build_begins_then_in_a_test_then_everywhere() {
        let found = broken(
            &[
                ("Cargo.toml", "[package]\n"),
                ("src/lib.rs", "mod a;"),
                ("src/a.rs", ""),
                ("tests/t.rs", ""),
            ],
            "cargo test",
        );
        assert_eq!(
            whats(&found),
            [
                "a failing test, tests/nightshift_canary.rs",
                "a syntax error in src/lib.rs",
                "nothing but a syntax error in every Rust file",
                "every file that is not protected is unreadable",
            ]
        );
        assert!(text_of(&found[1], "src/lib.rs").starts_with("mod a;\n)]}"));
        assert!(text_of(&found[0], "tests/nightshift_canary.rs").contains("#[test]"));
        assert_eq!(found[2].files.len(), 3);
        assert_eq!(found[3].files.len(), 4);
    }

    #[test]
    fn each_ecosystem_gets_a_failing_test_where_its_own_stand() {
        for (files, test, says) in [
            (&[("crates/a/src/lib.rs", "")][..], "crates/a/tests/nightshift_canary.rs", "#[test]"),
            (
                &[("cmd/x/main.go", "// c\npackage main\n")],
                "cmd/x/nightshift_canary_test.go",
                "package main\n",
            ),
            (&[("shop/__init__.py", "")], "tests/test_nightshift_canary.py", "self.fail"),
            (
                &[("shop/__init__.py", ""), ("shop/test/test_a.py", "")],
                "shop/test/test_nightshift_canary.py",
                "self.fail",
            ),
            (
                &[("index.js", ""), ("package.json", "{}")],
                "test/nightshift_canary.test.js",
                "throw",
            ),
            (
                &[("src/index.ts", ""), ("src/cart.spec.ts", "")],
                "src/nightshift_canary.spec.ts",
                "throw",
            ),
            (
                &[
                    ("a/src/main/java/A.java", ""),
                    ("a/src/test/java/BTest.java", "import org.junit.Test;"),
                ],
                "a/src/test/java/NightshiftCanaryTest.java",
                "import org.junit.Test;",
            ),
            (
                &[("src/main/java/A.java", "")],
                "src/test/java/NightshiftCanaryTest.java",
                "import org.junit.jupiter.api.Test;",
            ),
        ] {
            let found = broken(files, "true");
            assert_eq!(found[0].what, format!("a failing test, {test}"), "{:?}", whats(&found));
            assert!(text_of(&found[0], test).contains(says), "{test}");
        }
    }

    #[test]
    fn without_source_the_inputs_of_the_gate_and_a_document_are_broken() {
        let files = [
            ("README.md", "# A\n"),
            ("docs/a.md", "a"),
            ("docs/b.md", "b"),
            (".ai-validation/check.sh", ""),
            ("PLAN.md", ""),
        ];
        let found = broken(
            &files,
            "for f in docs/*.md; do test -s \"$f\"; done; sh .ai-validation/check.sh PLAN.md",
        );
        assert_eq!(
            whats(&found),
            [
                "docs/a.md and 1 more, which the gate's scripts name, are unreadable",
                "a broken link and open front matter in README.md",
                "every file that is not protected is unreadable",
            ]
        );
        let text = text_of(&found[1], "README.md");
        assert!(
            text.starts_with("---\ntitle: [")
                && text.contains("# A")
                && text.contains("missing.md")
        );
    }

    #[test]
    fn what_is_spared_is_never_broken() {
        let files = [
            (".ai-validation/check.sh", "sh src/a.sh"),
            (".ai-validation/lib.sh", ""),
            ("PLAN.md", ""),
            ("src/a.sh", "true\n"),
            (".gitignore", ""),
        ];
        let found = broken(&files, "bash .ai-validation/check.sh PLAN.md src .");
        assert!(found.len() > 2 && found.len() <= TRIES, "{:?}", whats(&found));
        for breakage in &found {
            let paths: Vec<String> = breakage.files.keys().map(ToString::to_string).collect();
            assert_eq!(paths, ["src/a.sh"], "{}", breakage.what);
        }
        assert!(broken(&files[..3], "true").is_empty(), "nothing is left to break");
    }

    #[test]
    fn a_test_that_is_there_already_is_not_written_over() {
        let files = [("src/lib.rs", ""), ("tests/nightshift_canary.rs", "")];
        assert!(!whats(&broken(&files, "")).iter().any(|what| what.contains("failing test")));
    }

    #[test]
    fn however_much_could_be_broken_the_last_of_four_breaks_everything() {
        let files = [("src/lib.rs", ""), ("docs/a.md", "a"), ("README.md", "b")];
        let found = broken(&files, "check docs");
        assert_eq!(found.len(), TRIES, "{:?}", whats(&found));
        assert_eq!(found[TRIES - 1].files.len(), files.len());
    }

    #[test]
    fn of_documents_the_one_where_a_reader_begins_is_broken() {
        for (files, first) in [
            (&["README.md", "docs/index.md", "a.md"][..], "docs/index.md"),
            (&["index.md", "README.md"], "README.md"),
            (&["a/b/c.md", "a/b.md"], "a/b.md"),
        ] {
            let files: Vec<(&str, &str)> = files.iter().map(|path| (*path, "x")).collect();
            let found = broken(&files, "true");
            let what = format!("a broken link and open front matter in {first}");
            assert_eq!(found[0].what, what);
        }
    }
}
