//! The score of a real diff, whatever the plan or the agent said about it.

use super::{Risk, Scale};
use crate::{
    diff::{ChangeKind, Diff, FileChange},
    policy::{TestDelta, is_test_or_doc, manifest, rules::is_test_place, words},
};

/// Names in paths whose mistakes are dear, by factor.
const SUBJECTS: [(&str, i32, &[&str]); 4] = [
    (
        "authentication",
        20,
        &["auth", "security", "login", "password", "token", "crypto", "permission", "session"],
    ),
    ("money", 20, &["payment", "stripe", "invoice", "refund", "billing", "checkout"]),
    ("schema", 20, &["migration", "schema"]),
    (
        "infrastructure",
        20,
        &["deploy", "terraform", "kubernetes", "k8s", "helm", "ansible", "production"],
    ),
];

/// Scores a diff. `tests` are the files with tests that it touches.
pub(crate) fn of_diff(diff: &Diff, tests: &[TestDelta]) -> Risk {
    let mut scale = Scale::default();
    let code: Vec<&FileChange> =
        diff.changes.iter().filter(|change| !change.paths().all(is_test_or_doc)).collect();
    if diff.changes.is_empty() {
        return scale.risk();
    }
    scale.add("effect", 25, "changes files of the repository");
    scale.add("undo", 4, "git brings them back");
    if code.is_empty() {
        scale.add("harmless", -20, "only tests or documents changed");
    }
    for (name, points, list) in SUBJECTS {
        let about = code.iter().flat_map(|change| change.paths()).find_map(|path| {
            let text = path.to_string();
            list.iter().find(|word| words::contains(&text, word)).map(|_| text)
        });
        if let Some(path) = about {
            scale.add(name, points, &path);
        }
    }
    let several = |count: usize, one: &str| match count {
        1 => one.to_owned(),
        _ => format!("{one} and {} more", count - 1),
    };
    let mut named = |name: &str, each: i32, most: i32, found: Vec<&FileChange>| {
        if let Some(first) = found.first() {
            let points = i32::try_from(found.len()).unwrap_or(i32::MAX).saturating_mul(each);
            let why = several(found.len(), &first.path.to_string());
            scale.add(name, points.min(most), &why);
        }
    };
    let of = |is_it: fn(&FileChange) -> bool| diff.changes.iter().filter(|c| is_it(c)).collect();
    named("deletions", 12, 24, of(|change| change.kind == ChangeKind::Deleted));
    named("binary", 8, 16, of(|change| change.binary && change.new.is_some()));
    named("generated", 5, 5, of(generated));
    named("dependencies", 15, 15, of(|change| change.paths().any(|p| manifest::kind(p).is_some())));
    let lines: u32 = code
        .iter()
        .map(|change| change.added.saturating_add(change.removed))
        .fold(0, u32::saturating_add);
    match lines {
        0..=60 => {}
        61..=120 => scale.add("size", 5, &format!("{lines} lines of code")),
        121..=300 => scale.add("size", 10, &format!("{lines} lines of code")),
        _ => scale.add("size", 20, &format!("{lines} lines of code")),
    }
    // What is said in a language that we do not read is a test all the same, by where it stands.
    let by_place = || diff.changes.iter().flat_map(FileChange::paths).any(is_test_place);
    let tested =
        tests.iter().any(|delta| delta.tests.1 > 0 || delta.assertions.1 > 0) || by_place();
    if !code.is_empty() && !tested {
        scale.add("untested", 6, "no test beside the code changed with it");
    }
    scale.risk()
}

/// Written by a program, or squeezed by one: no person reads it line by line.
fn generated(change: &FileChange) -> bool {
    let path = change.path.to_string().to_lowercase();
    let by_name = [".min.js", ".min.css", ".pb.go", "_pb2.py", ".generated.", ".g.dart", ".snap"];
    let first = change.new_text.as_deref().unwrap_or_default();
    let head: Vec<&str> = first.lines().take(5).collect();
    by_name.iter().any(|part| path.contains(part))
        || head.iter().any(|line| {
            line.contains("@generated")
                || (line.contains("generated") && line.contains("DO NOT EDIT"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diff::{FileMode, Side},
        ids::BlobId,
    };

    fn change(path: &str, kind: ChangeKind, lines: u32) -> FileChange {
        let blob = BlobId::new("1".repeat(40)).unwrap();
        let side = Side { mode: FileMode::Regular, blob, bytes: 10, link_target: None };
        FileChange {
            path: path.into(),
            old: (kind != ChangeKind::Added).then(|| side.clone()),
            new: (kind != ChangeKind::Deleted).then_some(side),
            kind,
            added: lines,
            removed: 0,
            binary: false,
            added_lines: Vec::new(),
            removed_lines: Vec::new(),
            old_text: None,
            new_text: None,
        }
    }

    fn modified(path: &str) -> FileChange {
        change(path, ChangeKind::Modified, 10)
    }

    fn delta() -> TestDelta {
        let path = "tests/a.rs".into();
        TestDelta { path, tests: (0, 1), assertions: (0, 1), skipped: (0, 0), separable: true }
    }

    fn scored(changes: Vec<FileChange>, tests: &[TestDelta]) -> Risk {
        of_diff(&Diff { changes, truncated: false }, tests)
    }

    #[test]
    fn a_small_tested_change_is_low_and_documents_are_lower() {
        assert_eq!(scored(vec![], &[]).score, 0);
        assert_eq!(scored(vec![modified("docs/a.md")], &[]).score, 9);
        assert_eq!(scored(vec![modified("src/a.rs")], &[delta()]).score, 29);
        assert_eq!(scored(vec![modified("src/a.rs")], &[]).score, 35);
        for delta in
            [TestDelta { assertions: (0, 0), ..delta() }, TestDelta { tests: (0, 0), ..delta() }]
        {
            assert_eq!(scored(vec![modified("src/a.rs")], &[delta]).score, 29);
        }
        // A test that lost all it had tests nothing.
        let emptied = TestDelta { tests: (1, 0), assertions: (1, 0), ..delta() };
        assert_eq!(scored(vec![modified("src/a.rs")], &[emptied]).score, 35);
    }

    #[test]
    fn each_factor_moves_the_score_by_its_points() {
        let tests = [delta()];
        let points = |changes: Vec<FileChange>| i64::from(scored(changes, &tests).score) - 29;
        assert_eq!(points(vec![modified("src/auth/mod.rs")]), 20);
        assert_eq!(points(vec![modified("src/billing.py")]), 20);
        assert_eq!(points(vec![modified("db/migrations/1.sql")]), 20);
        assert_eq!(points(vec![modified("deploy/app.tf")]), 20);
        assert_eq!(points(vec![modified("Cargo.toml")]), 15);
        let gone = |path| change(path, ChangeKind::Deleted, 0);
        assert_eq!(points(vec![gone("src/a.rs")]), 12);
        assert_eq!(points(vec![gone("src/a.rs"), gone("src/b.rs"), gone("src/c.rs")]), 24);
        let binary = FileChange { binary: true, ..modified("src/a.bin") };
        assert_eq!(points(vec![binary]), 8);
        assert_eq!(points(vec![modified("src/app.min.js")]), 5);
        let marked = FileChange {
            new_text: Some("// Code generated by x. DO NOT EDIT.\n".into()),
            ..modified("src/a.go")
        };
        assert_eq!(points(vec![marked]), 5);
        let long = |lines| vec![change("src/a.rs", ChangeKind::Modified, lines)];
        assert_eq!([60, 61, 121, 301].map(|lines| points(long(lines))), [0, 5, 10, 20]);
        // Of tests and documents the size says nothing.
        let documents = vec![modified("src/a.rs"), change("docs/a.md", ChangeKind::Added, 900)];
        assert_eq!(points(documents), 0);
    }

    #[test]
    fn a_moved_file_counts_with_both_of_its_names() {
        let kind = ChangeKind::Renamed { from: "src/auth/token.rs".into() };
        let moved = change("src/util.rs", kind, 0);
        assert!(scored(vec![moved], &[delta()]).factors.iter().any(|f| f.name == "authentication"));
    }

    #[test]
    fn a_score_is_never_above_a_hundred() {
        let changes = ["src/auth.rs", "src/billing.rs", "db/migrations/a.sql", "deploy/a.tf"]
            .map(|path| change(path, ChangeKind::Deleted, 400));
        let risk = scored(changes.to_vec(), &[]);
        assert_eq!(risk.score, 100, "{risk:?}");
    }
}
