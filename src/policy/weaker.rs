//! Whether a diff makes the tests weaker: taken away, left out of the run, emptied, asserting less.
//!
//! Compares the tests of the files before and after, over the whole diff: a test that moved, was renamed or
//! became a row of a table is not gone. Judges shapes and words and runs nothing.

mod asked;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ops::Range,
    sync::LazyLock,
};

use regex::Regex;

use self::asked::Asked;
use super::{
    beside,
    inspection::TestDelta,
    loosened,
    rules::is_test_or_doc,
    shapes::regex,
    source,
    tested::{self, Convention, Test, Tested},
    words,
};
use crate::{
    diff::{ChangeKind, Diff, FileChange, FileMode, Side},
    ids::RepoPath,
    plan::Task,
};

/// Parts of 100 of a test's words that must turn up among the added ones for it to be there still.
const SAME: usize = 60;
/// The same for a test that may have been rewritten, when as many tests are there as before.
const LIKE: usize = 34;

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// It is worth a look.
    Light,
    /// It would be grave, had the task's title not asked for it.
    Asked,
    /// No words of a task excuse it.
    Grave,
}

/// Something that a reader must know about the tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Weaker {
    /// How much it weighs.
    pub(super) weight: Weight,
    /// The file, with the line where there is one.
    pub(super) place: String,
    /// One sentence without a full stop.
    pub(super) message: String,
}

/// What the diff does to the tests.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Each changed file that has or had tests.
    pub(super) tests: Vec<TestDelta>,
    /// What makes them weaker.
    pub(super) weaker: Vec<Weaker>,
}

/// True when a task's title asks for tests to go or to be others: renamed, merged, rewritten.
pub fn asks_for_other_tests(title: &str) -> bool {
    asked::of(title).tests
}

/// Looks at the whole diff.
pub(super) fn look(diff: &Diff, task: &Task) -> Seen {
    let pairs: Vec<Pair<'_>> = diff.changes.iter().filter_map(Pair::of).collect();
    let matching = Matching::of(&pairs);
    let mut look = Look {
        pairs: &pairs,
        retired: retired(diff, &pairs, task),
        asked: asked::of(&task.title),
        added: pairs.iter().flat_map(Pair::added_words).collect(),
        seen: Seen::default(),
    };
    for (index, pair) in pairs.iter().enumerate() {
        look.seen.tests.extend(pair.delta());
        look.file(pair);
        let own: Vec<(&Test, &Test)> = matching
            .same
            .iter()
            .filter(|(old, _)| old.file == index)
            .map(|(old, new)| (old.before(&pairs), new.after(&pairs)))
            .collect();
        for (before, after) in &own {
            look.one(pair, before, after);
        }
        let fresh = matching.fresh.iter().filter(|place| place.file == index);
        let fresh: Vec<&Test> = fresh.map(|place| place.after(&pairs)).collect();
        for test in fresh.iter().filter(|test| test.focused) {
            look.grave(
                pair.place(),
                format!("`{}` runs alone: all other tests are left out", test.name),
            );
        }
        for test in fresh.iter().filter(|test| test.skipped && !test.focused) {
            look.light(
                pair.place(),
                format!("the new test `{}` is left out of the run: skipped", test.name),
            );
        }
        look.assertions(pair, &own, fresh.iter().map(|test| test.assertions).sum());
    }
    look.gone(&matching);
    for change in &diff.changes {
        look.seen.weaker.extend(loosened::of(change));
    }
    look.modules(diff);
    look.seen
}

/// A changed file that could hold tests, before and after.
struct Pair<'d> {
    change: &'d FileChange,
    old: Option<Tested>,
    new: Option<Tested>,
    /// A file of tests that is too large to be read.
    unread: bool,
}

impl<'d> Pair<'d> {
    fn of(change: &'d FileChange) -> Option<Pair<'d>> {
        let before =
            if let ChangeKind::Renamed { from } = &change.kind { from } else { &change.path };
        let (was, is) = (convention_of(before), convention_of(&change.path));
        if was.max(is) == Convention::No {
            return None;
        }
        // What a runner found by its name before it must find by its name again.
        let still =
            is == Convention::Strict || (is == Convention::Loose && was != Convention::Strict);
        let file = |side: &Option<Side>| {
            side.as_ref()
                .is_some_and(|side| matches!(side.mode, FileMode::Regular | FileMode::Executable))
        };
        let unread = !change.binary
            && is_test_or_doc(&change.path)
            && ((file(&change.old) && change.old_text.is_none())
                || (file(&change.new) && change.new_text.is_none()));
        let text = |text: &'d Option<String>| text.as_deref().filter(|text| may_test(text));
        Some(Pair {
            old: text(&change.old_text)
                .and_then(|text| tested::read(before, text, was > Convention::No)),
            new: text(&change.new_text).and_then(|text| tested::read(&change.path, text, still)),
            change,
            unread,
        })
    }

    fn delta(&self) -> Option<TestDelta> {
        let figures = |of: &dyn Fn(&Tested) -> usize| {
            let figure = |side: &Option<Tested>| {
                u32::try_from(side.as_ref().map_or(0, of)).unwrap_or(u32::MAX)
            };
            (figure(&self.old), figure(&self.new))
        };
        let tests = figures(&|side| side.tests.len());
        (tests != (0, 0)).then(|| TestDelta {
            path: self.change.path.clone(),
            tests,
            assertions: figures(&|side| side.assertions as usize),
            skipped: figures(&|side| side.tests.iter().filter(|test| test.skipped).count()),
            separable: tested::separable(&self.change.path),
        })
    }

    fn old_tests(&self) -> &[Test] {
        self.old.as_ref().map_or(&[], |side| &side.tests)
    }

    fn new_tests(&self) -> &[Test] {
        self.new.as_ref().map_or(&[], |side| &side.tests)
    }

    /// Words of the added lines that are code.
    fn added_words(&self) -> HashSet<&str> {
        let Some(new) = &self.new else { return HashSet::new() };
        let lines: Vec<&str> = new.source.code.lines().collect();
        let numbers = self.change.added_lines.iter().map(|(number, _)| number);
        let added = numbers.filter_map(|number| lines.get(number.checked_sub(1)? as usize));
        added.flat_map(|line| tested::words(line)).collect()
    }

    fn place(&self) -> String {
        self.change.path.to_string()
    }
}

fn convention_of(path: &RepoPath) -> Convention {
    let Some(language) = source::language_of(path) else { return Convention::No };
    let found = tested::convention(path, language.family);
    let set_up = path.to_string().ends_with("conftest.py");
    if set_up { found.max(Convention::Loose) } else { found }
}

/// A cheap look before an exact one.
fn may_test(text: &str) -> bool {
    const MARKS: [&str; 10] =
        ["test", "Test", "it(", "it ", "assert", "expect", "Fact", "exit", "skip", "collect"];
    MARKS.iter().any(|mark| text.contains(mark))
}

/// A test by its file and its place in it.
#[derive(Clone, Copy)]
struct Place {
    file: usize,
    test: usize,
}

impl Place {
    fn before<'p>(self, pairs: &'p [Pair<'_>]) -> &'p Test {
        &pairs[self.file].old_tests()[self.test]
    }

    fn after<'p>(self, pairs: &'p [Pair<'_>]) -> &'p Test {
        &pairs[self.file].new_tests()[self.test]
    }
}

/// Which tests are the same, which are gone, which are new. Tests are the same by their names: in their own file
/// first, then in any.
#[derive(Default)]
struct Matching {
    same: Vec<(Place, Place)>,
    gone: Vec<Place>,
    fresh: Vec<Place>,
}

impl Matching {
    fn of(pairs: &[Pair<'_>]) -> Matching {
        let mut matching = Matching::default();
        for (file, pair) in pairs.iter().enumerate() {
            let place = |test| Place { file, test };
            let gone: Vec<Place> = (0..pair.old_tests().len()).map(place).collect();
            let fresh: Vec<Place> = (0..pair.new_tests().len()).map(place).collect();
            matching.pair(pairs, gone, fresh);
        }
        let (gone, fresh) =
            (std::mem::take(&mut matching.gone), std::mem::take(&mut matching.fresh));
        matching.pair(pairs, gone, fresh);
        matching
    }

    fn pair(&mut self, pairs: &[Pair<'_>], gone: Vec<Place>, fresh: Vec<Place>) {
        let mut named: BTreeMap<&str, Vec<Place>> = BTreeMap::new();
        for place in fresh.into_iter().rev() {
            named.entry(&place.after(pairs).name).or_default().push(place);
        }
        for place in gone {
            let same = named.get_mut(place.before(pairs).name.as_str()).and_then(Vec::pop);
            match same {
                Some(same) => self.same.push((place, same)),
                None => self.gone.push(place),
            }
        }
        self.fresh.extend(named.into_values().flatten());
    }
}

/// Words of code that the task itself takes away, where its title says that something goes: what tested them goes
/// with them.
fn retired(diff: &Diff, pairs: &[Pair<'_>], task: &Task) -> BTreeSet<String> {
    const VERBS: [&str; 8] =
        ["remove", "delete", "drop", "retire", "deprecate", "replace", "rename", "stop"];
    let title = words::split(&task.title);
    if !title.iter().any(|word| VERBS.iter().any(|verb| words::is_form(word, verb))) {
        return BTreeSet::new();
    }
    let code = |change: &&FileChange| !is_test_or_doc(&change.path);
    let mut gone = BTreeSet::new();
    for change in diff.changes.iter().filter(code) {
        let pair = pairs.iter().find(|pair| std::ptr::eq(pair.change, change));
        let tests = pair.map_or_else(Vec::new, |pair| lines_of(pair.old.as_ref()));
        for (number, line) in &change.removed_lines {
            if !tests.iter().any(|lines| lines.contains(number)) {
                gone.extend(tested::words(line).filter(|word| word.len() > 2).map(str::to_owned));
            }
        }
    }
    for change in diff.changes.iter().filter(code) {
        for word in change.added_lines.iter().flat_map(|(_, line)| tested::words(line)) {
            gone.remove(word);
        }
    }
    gone.retain(|word| !word.starts_with(|c: char| c.is_ascii_digit()));
    gone
}

/// The lines of each test, from 1.
fn lines_of(side: Option<&Tested>) -> Vec<Range<u32>> {
    let Some(side) = side else { return Vec::new() };
    let starts: Vec<usize> = std::iter::once(0)
        .chain(side.source.code.match_indices('\n').map(|(at, _)| at + 1))
        .collect();
    let line =
        |at: usize| u32::try_from(starts.partition_point(|start| *start <= at)).unwrap_or(u32::MAX);
    side.tests
        .iter()
        .map(|test| line(test.span.start)..line(test.span.end.saturating_sub(1)) + 1)
        .collect()
}

/// Parts of 100 of the words that are among others; 100 for no words.
fn share<'w>(words: impl Iterator<Item = &'w str>, among: impl Fn(&str) -> bool) -> usize {
    let words: HashSet<&str> = words.collect();
    let found = words.iter().filter(|word| among(word)).count();
    (found * 100).checked_div(words.len()).unwrap_or(100)
}

/// Code that could behave in tests as it does nowhere else.
static ASKS: LazyLock<Regex> = LazyLock::new(|| regex(r"\bcfg!\([^)]*\btest\b"));

struct Look<'p, 'd> {
    pairs: &'p [Pair<'d>],
    retired: BTreeSet<String>,
    asked: Asked,
    /// Words of all added lines of files with tests.
    added: HashSet<&'p str>,
    seen: Seen,
}

impl Look<'_, '_> {
    fn say(&mut self, weight: Weight, place: String, message: String) {
        self.seen.weaker.push(Weaker { weight, place, message });
    }

    fn grave(&mut self, place: String, message: String) {
        self.say(Weight::Grave, place, message);
    }

    fn light(&mut self, place: String, message: String) {
        self.say(Weight::Light, place, message);
    }

    /// Grave unless the title asked for it.
    fn unless(&mut self, asked: bool, place: String, message: String) {
        self.say(if asked { Weight::Asked } else { Weight::Grave }, place, message);
    }

    fn file(&mut self, pair: &Pair<'_>) {
        if pair.unread {
            self.grave(pair.place(), "its tests could not be read: it is above 1 MiB".to_owned());
        }
        let dead = |side: &Option<Tested>| side.as_ref().map_or(0, |side| side.dead);
        if dead(&pair.new) > dead(&pair.old) {
            let message =
                "a part of it was made to never run, or to pass whatever happens".to_owned();
            self.grave(pair.place(), message);
        }
        let (Some(new), Some(old)) = (&pair.new, &pair.change.old_text) else { return };
        if new.family != source::Family::Rust {
            return;
        }
        let old = source::read(source::language_of(&pair.change.path), old).bare;
        if let Some(name) = beside::parted(&old, &new.source.bare) {
            let message = format!("`{name}` is another where tests are built");
            self.grave(pair.place(), message);
        }
        let asks = |text: &str| ASKS.find_iter(text).count();
        if asks(&new.source.bare) > asks(&old) {
            let message = "its code asks whether it is being tested".to_owned();
            self.grave(pair.place(), message);
        }
    }

    fn one(&mut self, pair: &Pair<'_>, before: &Test, after: &Test) {
        let name = &after.name;
        if after.focused && !before.focused {
            self.grave(pair.place(), format!("`{name}` runs alone: all other tests are left out"));
        } else if after.skipped && !before.skipped {
            let message = format!("`{name}` is now left out of the run");
            self.unless(self.asked.tests, pair.place(), message);
        } else if before.assertions > 0 && after.assertions == 0 {
            self.grave(pair.place(), format!("`{name}` asserts nothing any more that could fail"));
        } else if after.panics && !before.panics && !before.skipped {
            self.grave(pair.place(), format!("`{name}` now passes by failing"));
        }
    }

    /// Assertions of a file that went without a trace. `fresh` are those of its new tests.
    fn assertions(&mut self, pair: &Pair<'_>, own: &[(&Test, &Test)], fresh: u32) {
        // A test that asserts nothing any more has been named.
        let own: Vec<_> =
            own.iter().filter(|(before, after)| after.assertions > 0 && !before.skipped).collect();
        let (mut was, mut is, mut lost) = (0, fresh, false);
        for (before, after) in &own {
            was += before.assertions;
            is += after.assertions;
            lost |= after.assertions < before.assertions;
        }
        let (Some(old), Some(new), true) = (&pair.old, &pair.new, lost) else { return };
        let (code, bare): (Vec<&str>, Vec<&str>) =
            (old.source.code.lines().collect(), old.source.bare.lines().collect());
        let left: HashSet<&str> = new.source.code.lines().map(str::trim).collect();
        let (tests, added) = (lines_of(Some(old)), pair.added_words());
        // A row that went took an assertion along.
        let shorter = own.iter().filter(|(before, after)| after.cases < before.cases);
        let shorter: HashSet<usize> = shorter.map(|(before, _)| before.span.start).collect();
        let gone = pair.change.removed_lines.iter().filter(|(number, _)| {
            let Some(at) = number.checked_sub(1).map(|at| at as usize) else { return false };
            let (Some(code), Some(bare)) = (code.get(at), bare.get(at)) else { return false };
            let inside = tests.iter().zip(&old.tests).find(|(lines, _)| lines.contains(number));
            let row = inside.is_some_and(|(_, test)| shorter.contains(&test.span.start))
                && tested::words(code).next().is_some();
            inside.is_some()
                && (row || tested::asserts(old.family, bare))
                && !left.contains(code.trim())
                && share(tested::words(code), |word| added.contains(word)) < SAME
                && !tested::words(code).any(|word| self.retired.contains(word))
        });
        let Some((first, _)) = gone.clone().next() else { return };
        let place = format!("{}:{first}", pair.place());
        let count = gone.count();
        let what = if count == 1 {
            "an assertion is".to_owned()
        } else {
            format!("{count} assertions are")
        };
        if is < was {
            let message = format!("{what} gone (line of the old file), and nothing took the place");
            self.unless(self.asked.assertions, place, message);
        } else {
            self.light(place, format!("{what} gone (line of the old file); others are new"));
        }
    }

    /// Tests that are in no file any more under their names.
    fn gone(&mut self, matching: &Matching) {
        let pairs = self.pairs;
        let gone: Vec<Place> =
            matching.gone.iter().copied().filter(|place| !place.before(pairs).skipped).collect();
        if gone.is_empty() {
            return;
        }
        let asserted: u32 = gone.iter().map(|place| place.before(pairs).assertions).sum();
        let fresh = matching.fresh.iter().map(|place| place.after(pairs));
        let (fresh, hollow): (Vec<&Test>, Vec<&Test>) = fresh
            .filter(|test| !test.skipped)
            .partition(|test| test.assertions > 0 || asserted == 0);
        let grown = matching
            .same
            .iter()
            .any(|(before, after)| after.after(pairs).assertions > before.before(pairs).assertions);
        // A test with a new name keeps lines that were not touched.
        let mut known = self.added.clone();
        for place in &matching.fresh {
            if let Some(new) = &pairs[place.file].new {
                known.extend(tested::words(&new.source.code[place.after(pairs).span.clone()]));
            }
        }
        let weight = |cases: &mut dyn Iterator<Item = u32>| cases.fold(0, u32::saturating_add);
        let lost = weight(&mut gone.iter().map(|place| place.before(pairs).cases));
        let won = weight(&mut fresh.iter().map(|test| test.cases));
        for place in gone {
            let (pair, test) = (&pairs[place.file], place.before(pairs));
            let Some(old) = &pair.old else { continue };
            let text = &old.source.code[test.span.clone()];
            let (name, file) = (&test.name, pair.place());
            let words = tested::words(text).filter(|word| word != name);
            let alike = share(words, |word| known.contains(word));
            if alike >= SAME && (!fresh.is_empty() || grown) {
                continue;
            }
            if tested::words(text).any(|word| self.retired.contains(word)) {
                self.light(file, format!("the test `{name}` went with the code that it tested"));
            } else if alike >= LIKE && won >= lost {
                self.light(
                    file,
                    format!("the test `{name}` is gone, and another stands in its place"),
                );
            } else {
                // Whoever renames or rewrites a test leaves one that can fail.
                let empty = hollow.first().map(|test| {
                    format!(", and the new `{}` asserts nothing that could fail", test.name)
                });
                let asked = self.asked.tests && empty.is_none();
                let empty = empty.unwrap_or_default();
                self.unless(asked, file, format!("the test `{name}` is gone{empty}"));
            }
        }
    }

    /// Rust runs the tests of a module only where it is declared.
    fn modules(&mut self, diff: &Diff) {
        static DECLARED: LazyLock<Regex> =
            LazyLock::new(|| regex(r"^\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;"));
        let name = |line: &str| DECLARED.captures(line).map(|captures| captures[1].to_owned());
        let added: HashSet<String> = diff
            .changes
            .iter()
            .flat_map(|c| &c.added_lines)
            .filter_map(|(_, line)| name(line))
            .collect();
        let moved = |module: &str| {
            let ends = [format!("{module}.rs"), format!("{module}/mod.rs")];
            diff.changes.iter().any(|change| {
                let old = if let ChangeKind::Renamed { from } = &change.kind {
                    from.to_string()
                } else if change.kind == ChangeKind::Deleted {
                    change.path.to_string()
                } else {
                    return false;
                };
                ends.iter().any(|end| old.ends_with(end.as_str()))
            })
        };
        for change in &diff.changes {
            let Some(old) =
                change.old_text.as_deref().filter(|_| convention_of(&change.path) > Convention::No)
            else {
                continue;
            };
            let lines: Vec<&str> = old.lines().collect();
            for (number, line) in &change.removed_lines {
                let Some(module) = name(line).filter(|name| !added.contains(name) && !moved(name))
                else {
                    continue;
                };
                let marked = number.checked_sub(2).and_then(|at| lines.get(at as usize));
                let marked = marked.is_some_and(|line| line.contains("cfg(test)"));
                if marked || is_test_or_doc(&change.path) {
                    let place = change.path.to_string();
                    self.grave(place, format!("`mod {module}` is no part of the tests any more"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::ready;

    #[test]
    fn acceptance_frees_nothing() {
        let text = "def test_a():\n    assert f() == 1\n";
        let change = FileChange {
            path: "tests/test_a.py".into(),
            old: None,
            new: None,
            kind: ChangeKind::Modified,
            added: 0,
            removed: 2,
            binary: false,
            added_lines: Vec::new(),
            removed_lines: (1..).zip(text.lines().map(str::to_owned)).collect(),
            old_text: Some(text.to_owned()),
            new_text: Some(String::new()),
        };
        let diff = Diff { changes: vec![change], truncated: false };
        let weight = |task: &Task| look(&diff, task).weaker[0].weight;
        let mut task = ready("Tidy the parser");
        task.fields.acceptance = vec![
            "the parser must reduce allocations; test counts stay".into(),
            "remove the old tests".into(),
        ];
        assert_eq!(weight(&task), Weight::Grave);
        assert_eq!(weight(&ready("Remove the old tests")), Weight::Asked);
    }

    #[test]
    fn words_are_shared_in_parts_of_a_hundred() {
        assert_eq!(share(["a", "b", "b"].into_iter(), |word| word == "a"), 50);
        assert_eq!(share(std::iter::empty(), |_| false), 100);
    }

    /// A change from one text to another: all lines between what both begin and end with.
    fn changed(path: &str, old: &str, new: &str) -> FileChange {
        let (before, after): (Vec<&str>, Vec<&str>) =
            (old.lines().collect(), new.lines().collect());
        let head = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
        let tails = before[head..].iter().rev().zip(after[head..].iter().rev());
        let tail = tails.take_while(|(a, b)| a == b).count();
        let numbered = |lines: &[&str]| -> Vec<(u32, String)> {
            let own = lines[head..lines.len() - tail].iter().map(|line| (*line).to_owned());
            (u32::try_from(head).unwrap() + 1..).zip(own).collect()
        };
        let (removed_lines, added_lines) = (numbered(&before), numbered(&after));
        FileChange {
            path: path.into(),
            old: None,
            new: None,
            kind: ChangeKind::Modified,
            added: u32::try_from(added_lines.len()).unwrap(),
            removed: u32::try_from(removed_lines.len()).unwrap(),
            binary: false,
            added_lines,
            removed_lines,
            old_text: Some(old.to_owned()),
            new_text: Some(new.to_owned()),
        }
    }

    /// What is said of these changes: weight and message.
    fn said(title: &str, changes: Vec<FileChange>) -> Vec<(Weight, String)> {
        let seen = look(&Diff { changes, truncated: false }, &ready(title));
        seen.weaker.into_iter().map(|weaker| (weaker.weight, weaker.message)).collect()
    }

    #[test]
    fn a_module_of_tests_that_is_declared_no_more_is_missed() {
        let (with, without) = ("mod a;\n#[cfg(test)]\nmod checks;\n", "mod a;\n");
        let lost = [(Weight::Grave, "`mod checks` is no part of the tests any more".to_owned())];
        assert_eq!(said("Tidy", vec![changed("src/lib.rs", with, without)]), lost);
        // In a file of tests any module counts, elsewhere a marked one.
        let plain =
            |path: &str| said("Tidy", vec![changed(path, "mod checks;\nmod a;\n", "mod a;\n")]);
        assert_eq!(plain("tests/it/main.rs"), lost);
        assert_eq!(plain("src/lib.rs"), []);
        // It is declared elsewhere, or its file went or moved.
        let elsewhere = changed("src/b.rs", "", "#[cfg(test)]\npub(crate) mod checks;\n");
        assert_eq!(said("Tidy", vec![changed("src/lib.rs", with, without), elsewhere]), []);
        for (path, kind) in [
            ("src/checks.rs", ChangeKind::Deleted),
            ("src/checks/mod.rs", ChangeKind::Deleted),
            ("src/more.rs", ChangeKind::Renamed { from: "src/checks.rs".into() }),
        ] {
            let file = FileChange { kind, old_text: None, new_text: None, ..changed(path, "", "") };
            assert_eq!(
                said("Tidy", vec![changed("src/lib.rs", with, without), file]),
                [],
                "{path}"
            );
        }
        let other = FileChange { kind: ChangeKind::Deleted, ..changed("src/more.rs", "", "") };
        assert_eq!(said("Tidy", vec![changed("src/lib.rs", with, without), other]), lost);
    }

    #[test]
    fn a_tests_lines_are_those_from_its_mark_to_its_end() {
        let text = "fn a() {}\n\n#[test]\nfn b() {\n    assert!(c());\n}\n#[test]\nfn d() { assert!(e()) }\n";
        let tested = tested::read(&"src/a.rs".into(), text, true);
        assert_eq!(lines_of(tested.as_ref()), [3..7, 7..9]);
        assert_eq!(lines_of(None), [0..0; 0]);
    }

    const CODE: &str = "pub fn gamble(x: u32) -> u32 {\n    x\n}\n";
    const TEST: &str = "use shop::gamble;\n#[test]\nfn gambles() {\n    assert_eq!(gamble(3), 3);\n}\n#[test]\nfn adds() {\n    assert_eq!(shop::add(1), 2);\n}\n";

    #[test]
    fn a_test_goes_with_the_code_that_its_title_takes_away() {
        let kept = "#[test]\nfn adds() {\n    assert_eq!(shop::add(1), 2);\n}\n";
        let of = |title: &str, code: &str| {
            let test = changed("tests/shop.rs", TEST, kept);
            let found = said(title, vec![changed("src/gamble.rs", CODE, code), test]);
            found.into_iter().map(|(weight, _)| weight).collect::<Vec<_>>()
        };
        assert_eq!(of("Remove the gamble", ""), [Weight::Light]);
        assert_eq!(of("Improve the gamble", ""), [Weight::Grave]);
        // What stands in the code again did not go.
        assert_eq!(of("Remove the gamble", "pub fn gamble() {}\n"), [Weight::Grave]);
        assert_eq!(of("Remove the gamble", CODE), [Weight::Grave]);
    }

    #[test]
    fn each_way_to_silence_a_test_weighs_what_it_weighs() {
        let python = "def test_a():\n    assert f(1) == 1\n    assert g(2) == 2\n";
        let of =
            |title: &str, new: &str| said(title, vec![changed("tests/test_a.py", python, new)]);
        let weights = |title: &str, new: &str| -> Vec<Weight> {
            of(title, new).into_iter().map(|(weight, _)| weight).collect()
        };
        assert_eq!(weights("Tidy", python), []);
        let skipped = format!("@pytest.mark.skip\n{python}");
        assert_eq!(weights("Tidy", &skipped), [Weight::Grave]);
        assert_eq!(weights("Skip the slow tests", &skipped), [Weight::Asked]);
        let fewer = "def test_a():\n    assert f(1) == 1\n";
        assert_eq!(weights("Tidy", fewer), [Weight::Grave]);
        assert_eq!(weights("Remove the assertions on g", fewer), [Weight::Asked]);
        assert!(of("Tidy", fewer)[0].1.starts_with("an assertion is gone"));
        // As many as before, and one of them is another.
        let others = "def test_a():\n    assert f(1) == 1\n    assert quite(7) == other\n";
        assert_eq!(weights("Tidy", others), [] as [Weight; 0]);
        assert_eq!(weights("Tidy", "def test_a():\n    f(1)\n    g(2)\n"), [Weight::Grave]);
        let fresh = format!("{python}\n@pytest.mark.skip\ndef test_b():\n    assert h(3) == 3\n");
        assert_eq!(weights("Tidy", &fresh), [Weight::Light]);
        let tests = |text: &str| {
            let changes = vec![changed("tests/test_a.py", python, text)];
            look(&Diff { changes, truncated: false }, &ready("Tidy")).tests
        };
        let delta = &tests(&fresh)[0];
        assert_eq!((delta.tests, delta.assertions, delta.skipped), ((1, 2), (2, 3), (0, 1)));
        assert!(delta.separable);
    }
}
