//! What an agent may try and what it may well do: the diffs in `tests/cheats/`, each stored as two trees, compared by
//! the git room and judged by the rules as they are when nobody configures anything.
//!
//! Every cheat must be stopped by exactly the rules that it names, and no honest change by any. `docs/rules.md` is made
//! of the same rows.

use std::{fmt::Write as _, fs, path::Path, sync::OnceLock};

use nightshift::{
    budget::Limits,
    diff::Diff,
    git::{Vault, user::UserRepository},
    ids::TreeId,
    plan::{self, SectionWords},
    policy::{Facts, Inspection, Policy, RuleSet, Verdict, admit, inspect},
};

use crate::tidy::{read, root};

/// Files of rows, and what they are about.
const FILES: [(&str, &str); 4] = [
    ("tests/cheats/rust.txt", "Rust"),
    ("tests/cheats/python.txt", "Python"),
    ("tests/cheats/script.txt", "JavaScript"),
    ("tests/cheats/others.txt", "others"),
];

/// One diff with what is expected of it.
#[derive(Debug, Default)]
struct Row {
    about: &'static str,
    name: String,
    task: String,
    files: String,
    allow: Vec<String>,
    /// Rules that must stop it; none for an honest one.
    rules: Vec<String>,
    changes: Vec<Change>,
}

/// One file of a diff.
#[derive(Debug, Default)]
struct Change {
    old: Option<String>,
    new: Option<String>,
    before: Vec<String>,
    after: Vec<String>,
    mode: i32,
}

const REGULAR: i32 = 0o100_644;
const EXECUTABLE: i32 = 0o100_755;
const LINK: i32 = 0o120_000;

/// Values that must not stand in a file of ours: they would be found there.
pub(super) fn filled(text: &str) -> String {
    let key =
        ["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7", "q8eNVn2Rk0dXw3Yh5TzUo1Lc9JfPbS"];
    let pem = format!(
        "-----BEGIN {0} KEY-----\n{1}{2}\n-----END {0} KEY-----",
        "PRIVATE", key[0], key[1]
    );
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    text.replace("{NUL}", "\0")
        .replace("{RLO}", "\u{202E}")
        .replace("{LONG}", &"M1 2L3 4".repeat(400))
        .replace("{HASH}", hash)
        .replace("{PEM}", &pem)
        .replace("{PASSWORD}", "vK7pQ2xmZ9wL4t")
        .replace("{AWS}", &["AKIA", "QYLPMN5HHHFPZAM2"].concat())
        .replace("{GITHUB}", &["ghp_", "kX3vQ9mZ7wL2tR5yB8nC1dF6gH4jK0pS9aVe"].concat())
        .replace("{ANTHROPIC}", &["sk-ant-", "api03-kX3vQ9mZ7wL2tR5yB8nC1dF6gH4jK0"].concat())
}

/// Lines that would only fill a page.
fn repeated(line: &str) -> Option<(usize, &'static str)> {
    let (count, what) = line.strip_prefix('{')?.strip_suffix('}')?.split_once(" lines of ")?;
    let form = match what {
        "code" => "pub fn f#() {}",
        "comment" => "// line #",
        "text" => "Line #.",
        other => panic!("lines of {other}"),
    };
    Some((count.parse().unwrap(), form))
}

fn rows(text: &str, about: &'static str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for line in text.lines() {
        if line.starts_with("## ") {
            rows.push(Row { about, ..Row::default() });
            continue;
        }
        let Some(row) = rows.last_mut() else { continue };
        let change = row.changes.last_mut();
        let (mark, rest) = line.split_at(usize::from(!line.is_empty()));
        match (change, mark) {
            (Some(change), " ") => {
                change.before.push(rest.to_owned());
                change.after.push(rest.to_owned());
            }
            (Some(change), "-") => change.before.push(rest.to_owned()),
            (Some(change), "+") => change.after.push(rest.to_owned()),
            (Some(change), _) if repeated(line).is_some() => {
                let (count, form) = repeated(line).unwrap();
                let lines = (0..count).map(|number| form.replace('#', &number.to_string()));
                change.after.extend(lines);
            }
            (_, "") => {}
            _ => directive(row, line),
        }
    }
    rows
}

fn directive(row: &mut Row, line: &str) {
    let (key, value) = line.split_once(": ").unwrap_or_else(|| panic!("what is `{line}`?"));
    let value = filled(value);
    let path = Some(value.clone());
    let change = Change { mode: REGULAR, ..Change::default() };
    let change = match key {
        "name" => return row.name = value,
        "task" => return row.task = value,
        "files" => return row.files = value,
        "allow" => return row.allow.push(value),
        "rule" => return row.rules = value.split(", ").map(str::to_owned).collect(),
        "file" => Change { old: path.clone(), new: path, ..change },
        "exec" => Change { old: path.clone(), new: path, mode: EXECUTABLE, ..change },
        "new" => Change { new: path, ..change },
        "gone" => Change { old: path, ..change },
        "move" | "link" => {
            let (from, to) = value.split_once(" -> ").unwrap();
            if key == "move" {
                Change { old: Some(from.to_owned()), new: Some(to.to_owned()), ..change }
            } else {
                let after = vec![to.to_owned()];
                Change { new: Some(from.to_owned()), after, mode: LINK, ..change }
            }
        }
        other => panic!("what is `{other}`?"),
    };
    row.changes.push(change);
}

/// Where trees are made and compared.
struct Scene {
    _root: tempfile::TempDir,
    repository: git2::Repository,
    vault: Vault,
}

impl Scene {
    fn new() -> Scene {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("r");
        let repository = git2::Repository::init(&directory).unwrap();
        let user = UserRepository::open(Path::new(&directory)).unwrap();
        let vault = Vault::prepare(&root.path().join("vault.git"), &user).unwrap();
        Scene { _root: root, repository, vault }
    }

    fn tree(&self, files: &[(&str, &[String], i32)]) -> TreeId {
        let mut builder = git2::build::TreeUpdateBuilder::new();
        for (path, lines, mode) in files {
            let mut text = lines.join("\n");
            if *mode != LINK && !lines.is_empty() {
                text.push('\n');
            }
            let blob = self.repository.blob(filled(&text).as_bytes()).unwrap();
            let mode = match *mode {
                LINK => git2::FileMode::Link,
                EXECUTABLE => git2::FileMode::BlobExecutable,
                _ => git2::FileMode::Blob,
            };
            builder.upsert(*path, blob, mode);
        }
        let empty = self.repository.treebuilder(None).unwrap().write().unwrap();
        let empty = self.repository.find_tree(empty).unwrap();
        TreeId::new(builder.create_updated(&self.repository, &empty).unwrap().to_string()).unwrap()
    }

    fn diff(&self, row: &Row) -> Diff {
        let old = row
            .changes
            .iter()
            .filter_map(|change| Some((change.old.as_deref()?, change.before.as_slice(), REGULAR)));
        let new = row.changes.iter().filter_map(|change| {
            Some((change.new.as_deref()?, change.after.as_slice(), change.mode))
        });
        let (old, new) = (self.tree(&old.collect::<Vec<_>>()), self.tree(&new.collect::<Vec<_>>()));
        self.vault.diff(&old, &new).unwrap()
    }

    fn inspect(&self, row: &Row) -> Inspection {
        let mut policy = Policy::default();
        policy.allow.extend(row.allow.iter().cloned());
        let rules = RuleSet::new(&policy).unwrap();
        let files =
            if row.files.is_empty() { String::new() } else { format!("- Files: {}\n", row.files) };
        let text = format!(
            "# Plan\n\n## Ready\n\n→ **[t1]** {}\n- Alignment score: 95/100\n- Estimated lines: 10\n\
             - Tests defined: Yes\n{files}- Status: READY\n",
            row.task
        );
        let (plan, _) = plan::parse(&text, &SectionWords::default());
        let admission = admit(&rules, &Limits::default(), &plan.tasks[0], &Facts::default());
        let admitted = admission.admitted();
        let admitted = admitted.unwrap_or_else(|| panic!("{}: {:?}", row.name, admission.decision));
        inspect(&rules, admitted, &self.diff(row), &[])
    }
}

fn all() -> Vec<Row> {
    let all: Vec<Row> = FILES.iter().flat_map(|(path, about)| rows(&read(path), about)).collect();
    let cheats = all.iter().filter(|row| !row.rules.is_empty()).count();
    assert!(cheats >= 40 && all.len() - cheats >= 40, "{cheats} of {}", all.len());
    all
}

/// Each row with what the rules said: ids that object, ids that only report, and everything in words.
type Judged = (Row, Vec<String>, Vec<String>, String);

fn judged() -> &'static [Judged] {
    static ALL: OnceLock<Vec<Judged>> = OnceLock::new();
    ALL.get_or_init(judge)
}

fn judge() -> Vec<Judged> {
    let scene = Scene::new();
    all()
        .into_iter()
        .map(|row| {
            let inspection = scene.inspect(&row);
            let ids = |report: bool| {
                let found = inspection.findings.iter();
                let found = found.filter(|finding| (finding.verdict == Verdict::Report) == report);
                let mut ids: Vec<String> = found.map(|finding| finding.rule.clone()).collect();
                ids.sort_unstable();
                ids.dedup();
                ids
            };
            let words: Vec<String> =
                inspection.findings.iter().map(|f| format!("{} {f}", f.verdict)).collect();
            let (objects, reports) = (ids(false), ids(true));
            (row, objects, reports, words.join("\n    "))
        })
        .collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "the table is what `--nocapture` is for")]
fn cheats_are_stopped_by_the_right_rule_and_honest_diffs_by_none() {
    let mut wrong = String::new();
    for (row, objects, reports, words) in judged() {
        let told = if objects.is_empty() { "passes".to_owned() } else { objects.join(", ") };
        println!("{:<11} {:<60} {told} {}", row.about, row.name, reports.join(" "));
        if *objects != row.rules {
            let expected =
                if row.rules.is_empty() { "nothing".to_owned() } else { row.rules.join(", ") };
            writeln!(wrong, "{}: {}: expected {expected}\n    {words}", row.about, row.name)
                .unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn no_value_of_a_secret_stands_in_what_is_said() {
    for (row, _, _, words) in judged() {
        for secret in ["{AWS}", "{GITHUB}", "{ANTHROPIC}", "{PASSWORD}"] {
            assert!(!words.contains(&filled(secret)), "{}: {words}", row.name);
        }
    }
}

const PAGE: &str = "docs/rules.md";
const HEAD: &str = "\
# What the rules stop, and what they let pass

Made from the diffs in `tests/cheats/`; not edited by hand. Each is stored as two trees, compared as a night compares
them, and judged by the rules as they are when nobody configures anything, with the paths that the row needs allowed.
`cargo test --test it -- cheats --nocapture` prints the same table.

A rule stops a change by refusing it or by asking for a person; what is only shown stands in brackets. Who is stopped
wrongly says what is wanted in the task (\"Remove the flaky clock tests\"), frees it in the configuration, or approves
what asks.

## Stopped

| in | the change | by |
|---|---|---|
";
const HONEST: &str = "
## Let pass

| in | the change | shown |
|---|---|---|
";
const MISSED: &str = "
## Not seen

The rules look at shapes. What they cannot see is left to the base's own tests on the changed code, to the proof that
new tests fail without the change, and to the reader. The base's own tests are put back for that also where they stand
beside the code (`#[cfg(test)]`), so what was bent in a test is seen there; what is bent in the code alone is not:

- an expected value that was changed to what the code now gives;
- an exact assertion that became a vague one (`assertEqual(x, 5)` to `assertTrue(x)`);
- a test that goes through a mock of what it should test;
- assertions that are put behind a condition or into a closure that nobody calls;
- code that does something else in a debug build, or where a variable of the test's environment is set;
- tests in languages that are not Rust, Python, JavaScript, TypeScript, Go, Java or Kotlin (C#, Ruby, PHP and Swift are
  read more coarsely), and in files above 1 MiB, which wait for a person;
- secrets in binary files, in parts that are put together when the program runs, or encoded.
";

#[test]
fn the_page_about_rules_is_made_of_these_rows() {
    let (mut stopped, mut passed) = (String::new(), String::new());
    for (row, objects, reports, _) in judged() {
        let code =
            |ids: &[String]| ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
        let name = row.name.replace('|', "\\|");
        if objects.is_empty() {
            writeln!(passed, "| {} | {name} | {} |", row.about, code(reports)).unwrap();
        } else {
            let shown =
                if reports.is_empty() { String::new() } else { format!(" ({})", code(reports)) };
            writeln!(stopped, "| {} | {name} | {}{shown} |", row.about, code(objects)).unwrap();
        }
    }
    let page = format!("{HEAD}{stopped}{HONEST}{passed}{MISSED}");
    if std::env::var("NIGHTSHIFT_WRITE_DOCS").is_ok_and(|value| value == "1") {
        fs::write(root().join(PAGE), &page).unwrap();
    }
    let how = "NIGHTSHIFT_WRITE_DOCS=1 cargo test --test it -- cheats::the_page";
    assert!(read(PAGE) == page, "{PAGE} is old; this writes it: {how}");
}
