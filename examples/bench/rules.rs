//! What the rules cost: a diff that adds one MiB of ordinary program text in a hundred files, inspected as after an
//! attempt, and the search for secrets in it alone.

use std::fmt::Write as _;

use nightshift::{
    budget::Limits,
    diff::{ChangeKind, Diff, FileChange, FileMode, Side},
    ids::BlobId,
    plan::{self, SectionWords},
    policy::{Facts, Policy, RuleSet, admit, inspect},
};

use crate::{
    report::{Bound, Report},
    timed,
};

const PART: &str = "rules";
const FILES: usize = 100;
const SECRETS: &str = "search one MiB for secrets";
const WHOLE: &str = "inspect one MiB";
const PLAN: &str = "# Plan\n\n## Ready\n\n→ **[t1]** Add a parser\n- Alignment score: 95/100\n\
                    - Estimated lines: 10\n- Tests defined: Yes\n- Status: READY\n";

/// Measures both, on the same diff.
pub(crate) fn measure(rounds: usize, report: &mut Report) {
    eprintln!("rules");
    let diff = diff();
    let rules = RuleSet::new(&Policy::default()).unwrap();
    let (plan, _) = plan::parse(PLAN, &SectionWords::default());
    let admission = admit(&rules, &Limits::default(), &plan.tasks[0], &Facts::default());
    let task = admission.admitted().unwrap();
    for _ in 0..rounds {
        let (found, time) = timed(|| rules.keeps_back(&diff));
        assert!(!found, "there is no secret in it");
        report.time(PART, SECRETS, FILES, time);
        let (_, time) = timed(|| inspect(&rules, task, &diff, &[]));
        report.time(PART, WHOLE, FILES, time);
    }
    let median = report.median(PART, SECRETS, FILES).unwrap();
    report.goal(format!("{SECRETS}, in milliseconds"), median, 100.0, Bound::Shown);
}

/// Ordinary code: names that hold the words of the rules, strings, addresses, tests.
fn diff() -> Diff {
    let mut changes = Vec::new();
    for number in 0..FILES {
        let mut text = String::new();
        while text.len() < 1024 * 1024 / FILES {
            let line = text.len();
            write!(
                text,
                "/// Reads the token of line {line} from https://example.org/docs/{line}.\n\
                 pub fn token_{line}(password: &str, secret_name: &str) -> Option<u32> {{\n    \
                 let key = format!(\"{{password}}-{{secret_name}}-{line}\"); // task-{line}\n    \
                 (key.len() > {line}).then_some({line})\n}}\n\n\
                 #[test]\nfn line_{line}_is_read() {{\n    assert_eq!(token_{line}(\"a\", \"b\"), None);\n}}\n\n"
            )
            .unwrap();
        }
        let blob = BlobId::new("1".repeat(40)).unwrap();
        let bytes = text.len() as u64;
        let lines: Vec<(u32, String)> = (1..).zip(text.lines().map(str::to_owned)).collect();
        changes.push(FileChange {
            path: format!("src/file_{number}.rs").as_str().into(),
            kind: ChangeKind::Added,
            old: None,
            new: Some(Side { mode: FileMode::Regular, blob, bytes, link_target: None }),
            added: u32::try_from(lines.len()).unwrap(),
            removed: 0,
            binary: false,
            added_lines: lines,
            removed_lines: Vec::new(),
            old_text: None,
            new_text: Some(text),
        });
    }
    Diff { changes, truncated: false }
}
