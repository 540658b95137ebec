//! Which files a task will probably change, by its words and the names of the base's files; and which tasks
//! meet in one.
//!
//! A guess for people before the night: nothing is refused because of it, and the diff decides later. Reads
//! names only, never a file's contents.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AdmittedTask,
    judge::{has_wildcard, plain},
    rules::{Case, RuleSet, globs, matches},
};
use crate::{
    ids::{RepoPath, TaskId},
    plan::TestsDefined,
};

/// The files that a task will probably change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Predicted {
    /// Named in the task: in `Files`, in the place of its tests, or in title, acceptance and notes.
    pub named: BTreeSet<RepoPath>,
    /// Files of the base that only a glob or a directory of `Files` covers.
    pub covered: BTreeSet<RepoPath>,
}

/// Two tasks that will probably change the same file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// The one that comes first.
    pub first: TaskId,
    /// The other.
    pub second: TaskId,
    /// The file that stands for all.
    pub path: RepoPath,
    /// How many others they share.
    pub more: usize,
    /// True when both name the file; else a glob of one of them covers it.
    pub sure: bool,
}

/// The names of the base's files, made ready to be asked many times.
#[derive(Debug)]
pub struct BaseFiles<'b> {
    paths: BTreeSet<&'b RepoPath>,
    by_name: BTreeMap<&'b [u8], Vec<&'b RepoPath>>,
}

impl<'b> BaseFiles<'b> {
    /// Of these paths.
    pub fn new(paths: impl IntoIterator<Item = &'b RepoPath>) -> BaseFiles<'b> {
        let paths: BTreeSet<&RepoPath> = paths.into_iter().collect();
        let mut by_name: BTreeMap<&[u8], Vec<&RepoPath>> = BTreeMap::new();
        for path in &paths {
            if let Some(name) = path.components().last() {
                by_name.entry(name).or_default().push(*path);
            }
        }
        BaseFiles { paths, by_name }
    }

    fn is_directory(&self, name: &str) -> bool {
        let below = RepoPath::from(format!("{name}/").as_str());
        let next = self.paths.range::<&RepoPath, _>(&below..).next();
        next.is_some_and(|path| path.as_bytes().starts_with(below.as_bytes()))
    }

    /// The file that a word of a text means. A bare name is a file only where no other file has it.
    fn meant(&self, word: &str) -> Option<&'b RepoPath> {
        let bare = !word.contains('/');
        match self.by_name.get(word.as_bytes()).filter(|_| bare).map(Vec::as_slice) {
            Some([only]) => Some(*only),
            Some(_) | None => self.paths.get(&RepoPath::from(word)).copied(),
        }
    }
}

/// What `task` will probably change.
pub fn predicted(rules: &RuleSet, task: &AdmittedTask, base: &BaseFiles<'_>) -> Predicted {
    let narrowed = globs("", task.files(), Case::Exact).ok().filter(|globs| !globs.is_empty());
    let open = |path: &RepoPath| {
        rules.allows(path)
            && !rules.denies(path)
            && !rules.protects(path)
            && narrowed.as_ref().is_none_or(|narrowed| matches(narrowed, path))
    };
    let fields = &task.task().fields;
    let mut found = Predicted::default();
    let test = match &fields.tests {
        Some(TestsDefined::Yes(Some(path))) if !path.contains(' ') => Some(path.as_str()),
        Some(TestsDefined::Yes(_) | TestsDefined::No | TestsDefined::NotApplicable) | None => None,
    };
    let literal = fields.files.iter().map(String::as_str).chain(test).map(plain);
    for name in literal.filter(|name| !has_wildcard(name) && !base.is_directory(name)) {
        found.named.insert(RepoPath::from(name));
    }
    let title = std::iter::once(task.task().title.as_str());
    let texts = title.chain(fields.acceptance.iter().chain(&task.task().notes).map(String::as_str));
    let meant = texts.flat_map(words_of).filter_map(|word| base.meant(word));
    found.named.extend(meant.filter(|path| open(path)).cloned());
    if narrowed.is_some() {
        let covered = base.paths.iter().filter(|path| open(path) && !found.named.contains(**path));
        found.covered = covered.map(|path| (*path).clone()).collect();
    }
    found
}

/// Words of a text that could be paths: without the quotes and brackets around them.
fn words_of(text: &str) -> impl Iterator<Item = &str> {
    let inside = |c: char| c.is_alphanumeric() || "_-./".contains(c);
    text.split(move |c| !inside(c))
        .map(|word| plain(word.trim_end_matches(['.', '-'])))
        .filter(|word| word.contains(['.', '/']) && word.len() > 2)
}

/// Which of these tasks, in the order in which they start, meet in a file. Tasks that wait for each other by
/// `Depends on` do not: the later one starts from the other's work.
pub fn collisions(tasks: &[(&AdmittedTask, Predicted)]) -> Vec<Collision> {
    let ids: BTreeMap<&TaskId, &AdmittedTask> =
        tasks.iter().map(|(task, _)| (task.id(), *task)).collect();
    let mut found = Vec::new();
    for (at, (first, mine)) in tasks.iter().enumerate() {
        for (second, theirs) in &tasks[at + 1..] {
            if needs(&ids, second, first.id()) || needs(&ids, first, second.id()) {
                continue;
            }
            let sure: Vec<&RepoPath> = mine.named.intersection(&theirs.named).collect();
            let shared = if sure.is_empty() {
                let one_names = mine.named.intersection(&theirs.covered);
                one_names.chain(mine.covered.intersection(&theirs.named)).collect()
            } else {
                sure.clone()
            };
            if let Some(path) = shared.first() {
                found.push(Collision {
                    first: first.id().clone(),
                    second: second.id().clone(),
                    path: (*path).clone(),
                    more: shared.len() - 1,
                    sure: !sure.is_empty(),
                });
            }
        }
    }
    found
}

/// True when `task` waits for `id`, also by way of others.
fn needs(tasks: &BTreeMap<&TaskId, &AdmittedTask>, task: &AdmittedTask, id: &TaskId) -> bool {
    let (mut open, mut seen) = (vec![task], BTreeSet::new());
    while let Some(task) = open.pop() {
        for need in &task.task().fields.depends_on {
            if need == id {
                return true;
            }
            if let Some(next) = tasks.get(need).filter(|_| seen.insert(need)) {
                open.push(next);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        budget::Limits,
        plan::Task,
        policy::{Facts, Policy, admit, tests::ready},
    };

    const BASE: [&str; 8] = [
        "src/parser.rs",
        "src/cache.rs",
        "src/net/mod.rs",
        "src/store/mod.rs",
        "tests/parser.rs",
        "docs/guide.md",
        ".github/ci.yml",
        "README.md",
    ];

    fn base() -> Vec<RepoPath> {
        BASE.iter().map(|path| RepoPath::from(*path)).collect()
    }

    fn admitted(id: &str, title: &str, change: impl FnOnce(&mut Task)) -> AdmittedTask {
        let mut task = ready(title);
        task.id = TaskId::new(id).unwrap();
        task.fields.tests = Some(TestsDefined::Yes(None));
        task.fields.approved = true;
        change(&mut task);
        let rules = RuleSet::new(&Policy::default()).unwrap();
        let facts =
            Facts { done: task.fields.depends_on.iter().cloned().collect(), ..Facts::default() };
        admit(&rules, &Limits::default(), &task, &facts).admitted().expect("admitted").clone()
    }

    fn of(task: &AdmittedTask) -> Predicted {
        predicted(&RuleSet::new(&Policy::default()).unwrap(), task, &BaseFiles::new(&base()))
    }

    fn named(task: &AdmittedTask) -> Vec<String> {
        of(task).named.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_of_files_are_found_wherever_the_task_says_them() {
        let task = admitted("a", "Speed up `src/cache.rs`", |task| {
            task.fields.tests = Some(TestsDefined::Yes(Some("tests/cache.rs".into())));
            task.fields.acceptance = vec!["guide.md says how.".into()];
            task.notes = vec!["see (README.md), not .github/ci.yml".into(), "mod.rs".into()];
        });
        assert_eq!(named(&task), ["README.md", "docs/guide.md", "src/cache.rs", "tests/cache.rs"]);
        assert!(of(&task).covered.is_empty(), "without `Files` nothing is covered");
    }

    #[test]
    fn files_narrow_what_words_may_mean_and_globs_cover() {
        let task = admitted("a", "Speed up src/parser.rs", |task| {
            task.fields.files = vec!["src/net/**".into(), "src/new.rs".into(), "docs".into()];
        });
        assert_eq!(named(&task), ["src/new.rs"]);
        let covered: Vec<String> = of(&task).covered.iter().map(ToString::to_string).collect();
        assert_eq!(covered, ["docs/guide.md", "src/net/mod.rs"]);
    }

    fn met(tasks: &[AdmittedTask]) -> Vec<(String, String, String, usize, bool)> {
        let with: Vec<(&AdmittedTask, Predicted)> =
            tasks.iter().map(|task| (task, of(task))).collect();
        collisions(&with)
            .into_iter()
            .map(|found| {
                let Collision { first, second, path, more, sure } = found;
                (first.to_string(), second.to_string(), path.to_string(), more, sure)
            })
            .collect()
    }

    #[test]
    fn tasks_that_name_one_file_meet_and_those_in_line_do_not() {
        let one = admitted("a", "Speed up src/parser.rs and src/cache.rs", |_| {});
        let two = admitted("b", "Shorten src/parser.rs", |_| {});
        let found = ("a".into(), "b".into(), "src/parser.rs".into(), 0, true);
        assert_eq!(met(&[one.clone(), two.clone()]), [found]);
        let third = admitted("c", "Mend src/net/mod.rs", |_| {});
        assert_eq!(met(&[one.clone(), third.clone()]), []);
        let wait = |id: &str, on: &str, title: &str| {
            admitted(id, title, |task| task.fields.depends_on = vec![TaskId::new(on).unwrap()])
        };
        let between = wait("c", "a", "Mend src/net/mod.rs");
        let after = wait("b", "c", "Shorten src/parser.rs");
        assert_eq!(met(&[one, between, after]), []);
    }

    #[test]
    fn a_glob_that_covers_a_named_file_is_said_less_surely_and_two_globs_are_not() {
        let one = admitted("a", "Speed up src/parser.rs", |_| {});
        let wide =
            |id: &str| admitted(id, "Tidy up", |task| task.fields.files = vec!["src/**".into()]);
        let found = ("a".into(), "b".into(), "src/parser.rs".into(), 0, false);
        assert_eq!(met(&[one, wide("b")]), [found]);
        assert_eq!(met(&[wide("b"), wide("c")]), [], "`src/**` twice says nothing");
    }
}
