//! What a gate is: its identity, the files that its steps name, and what a run of it scores.
//!
//! Reads commands as text and starts none of them.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::{
    git::TreeEntry,
    hosts::Rule,
    ids::{GateId, RepoPath, hex},
    night::Step,
    outcome::StepReport,
};

/// 100 × weight of green steps / weight of all steps of the gate; its set-up has no part in it. A step that was not
/// reached is not green; one that is excused counts, because then only what fails anew does.
pub fn score(all: &[Step], done: &[StepReport]) -> u32 {
    let counts = |report: &StepReport, step: &Step| {
        report.name == step.name && (report.green() || report.excused)
    };
    let weight: u64 = all.iter().map(|step| u64::from(step.weight)).sum();
    let green: u64 = all
        .iter()
        .filter(|step| done.iter().any(|report| counts(report, step)))
        .map(|step| u64::from(step.weight))
        .sum();
    (100 * green).checked_div(weight).map_or(100, |score| u32::try_from(score).unwrap_or(100))
}

/// The identity of a gate: SHA-256 over its resolved steps and those of its set-up, the environment names it
/// sees, the hosts it may talk to, and the mode and blob of every protected file. The same id at the same tree
/// means the same question.
pub fn id<'e>(
    steps: &[Step],
    setup: &[Step],
    env: &[String],
    network: &[Rule],
    protected: impl IntoIterator<Item = &'e TreeEntry>,
) -> GateId {
    let mut hash = Sha256::new();
    // Lengths first, so that no two lists run together into the same bytes.
    let mut part = |bytes: &[u8]| {
        hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(bytes);
    };
    // 2: steps without `network` talk to nobody, where 1 left them the machine's network.
    part(b"gate 2");
    let kinds = [(b"step".as_slice(), steps), (b"setup", setup)];
    for (kind, step) in kinds.iter().flat_map(|(kind, list)| list.iter().map(move |s| (kind, s))) {
        part(kind);
        part(step.name.as_bytes());
        part(step.run.as_bytes());
        part(&step.timeout_s.to_be_bytes());
        part(&[u8::from(step.required)]);
        part(&step.weight.to_be_bytes());
        part(step.junit.as_deref().unwrap_or_default().as_bytes());
    }
    let hosts = network.iter().map(|host| ("host", host.to_string()));
    for (kind, word) in env.iter().map(|name| ("env", name.clone())).chain(hosts) {
        part(kind.as_bytes());
        part(word.as_bytes());
    }
    for entry in protected {
        part(b"file");
        part(entry.path.as_bytes());
        part(&entry.mode.raw().to_be_bytes());
        part(entry.blob.as_str().as_bytes());
    }
    GateId::new(hex(&hash.finalize())).expect("SHA-256 has 64 hexadecimal digits")
}

/// Files of the base that the steps name: `bash scripts/check.sh` names `scripts/check.sh`, and so do
/// `cd scripts && ./check.sh`, `"$PWD"/scripts//check.sh` and `sh -c 'scripts/check.sh'`. A file too many is only
/// protected; patterns and values of variables are not read.
pub fn named_files(steps: &[Step], files: &[TreeEntry]) -> Vec<RepoPath> {
    let known: BTreeSet<&RepoPath> = files.iter().map(|entry| &entry.path).collect();
    let mut named: Vec<RepoPath> = Vec::new();
    for step in steps {
        let gap = |c: char| c.is_whitespace() || ";|&()<>=`".contains(c);
        let apart = step.run.split(|c: char| gap(c) || "\"'$\\:".contains(c));
        let joined = step.run.replace("\\\n", "").replace(['"', '\'', '\\'], "");
        let quoted = step.run.split(['"', '\'']).map(str::trim);
        for words in [apart.collect(), joined.split(gap).collect(), quoted.collect::<Vec<_>>()] {
            for path in spelled(&words).into_iter().map(|path| RepoPath::from(path.as_str())) {
                if known.contains(&path) && !named.contains(&path) {
                    named.push(path);
                }
            }
        }
    }
    named
}

/// Paths that the words of a command may mean, from the root and from each directory that it enters.
fn spelled(words: &[&str]) -> Vec<String> {
    const ENTERS: [&str; 8] =
        ["cd", "pushd", "-C", "--prefix", "--directory", "--cwd", "--chdir", "PYTHONPATH"];
    // What these are given may lack its ending.
    const LOADERS: [&str; 5] = ["node", "nodejs", "bun", "tsx", "ts-node"];
    const ENDINGS: [&str; 6] = [".js", ".cjs", ".mjs", ".ts", ".json", "/index.js"];
    let (mut places, mut before, mut loads) = (vec![String::new()], "", false);
    let mut paths = Vec::new();
    for word in words.iter().copied().filter(|word| !word.is_empty()) {
        let mut ways = vec![word.to_owned()];
        // `$PWD/a` and the like: what the variable holds is taken for a place already known.
        ways.extend(word.strip_prefix('$').and_then(|rest| Some(rest.split_once('/')?.1.into())));
        if before.starts_with('-') && !before.starts_with("--") && before.ends_with('m') {
            let module = word.replace('.', "/");
            ways.extend([format!("{module}.py"), format!("{module}/__main__.py")]);
        }
        if loads {
            ways.extend(ENDINGS.iter().map(|ending| format!("{word}{ending}")));
        }
        if ENTERS.contains(&before) {
            let from = places.last().map_or("", String::as_str);
            let entered: Vec<String> = ways.iter().filter_map(|way| resolved(from, way)).collect();
            places.extend(entered);
        }
        for place in &places {
            paths.extend(ways.iter().filter_map(|way| resolved(place, way)));
        }
        loads |= LOADERS.contains(&word.rsplit('/').next().unwrap_or(word));
        before = word;
    }
    paths
}

/// A path from the root without `.`, `..` and doubled slashes; `None` for one that leaves the root. The first slash
/// says nothing: before it may have stood a variable.
fn resolved(place: &str, word: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in place.split('/').chain(word.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diff::FileMode, ids::BlobId, outcome::StepEnd};

    fn step(name: &str, run: &str) -> Step {
        Step {
            name: name.into(),
            run: run.into(),
            timeout_s: 60,
            required: true,
            weight: 1,
            junit: None,
        }
    }

    fn entry(path: &str, digit: char) -> TreeEntry {
        let blob = BlobId::new(digit.to_string().repeat(40)).unwrap();
        TreeEntry { path: path.into(), mode: FileMode::Regular, blob }
    }

    #[test]
    fn a_step_protects_the_files_that_it_names() {
        let files =
            [entry("scripts/check.sh", 'a'), entry("Makefile", 'b'), entry("src/a.rs", 'c')];
        let steps = [step("q", "CI=1 bash ./scripts/check.sh && make -f Makefile")];
        let named = named_files(&steps, &files);
        assert_eq!(named, ["scripts/check.sh", "Makefile"].map(RepoPath::from));
    }

    #[test]
    fn a_step_protects_the_files_that_it_names_in_another_spelling() {
        let files =
            ["ci/check.sh", "ci/run.js", "tools/gate.py", "tools/all/__main__.py", "a b/x.sh"]
                .map(|path| entry(path, 'a'));
        for (run, expected) in [
            ("cd ci && ./check.sh", "ci/check.sh"),
            ("(cd ./ci//; sh check.sh)", "ci/check.sh"),
            ("cd tools && sh ../ci/check.sh", "ci/check.sh"),
            ("cd tools/all && cd ../../ci && sh check.sh", "ci/check.sh"),
            ("cd \"$PWD/ci\" && sh check.sh", "ci/check.sh"),
            ("sh ci//./check.sh", "ci/check.sh"),
            ("sh \"$PWD\"/ci/check.sh", "ci/check.sh"),
            ("sh ${PWD}/ci/check.sh", "ci/check.sh"),
            ("\"$(pwd)/ci/check.sh\" --all", "ci/check.sh"),
            ("sh -c 'cd ci && sh \"check.sh\"'", "ci/check.sh"),
            ("sh -c \"sh \\\"ci/check.sh\\\"\"", "ci/check.sh"),
            ("sh ci/'check.sh'", "ci/check.sh"),
            ("sh ci/che\\\nck.sh || env -C ci sh check.sh", "ci/check.sh"),
            ("python3 -m tools.gate --fast", "tools/gate.py"),
            ("python -Im tools.all", "tools/all/__main__.py"),
            ("cd tools && python -m gate", "tools/gate.py"),
            ("PYTHONPATH=tools python -m gate", "tools/gate.py"),
            ("node --test ci/run", "ci/run.js"),
            ("cd ci; node run", "ci/run.js"),
            ("sh 'a b/x.sh'", "a b/x.sh"),
        ] {
            assert_eq!(named_files(&[step("q", run)], &files), [RepoPath::from(expected)], "{run}");
        }
        for run in ["sh check.sh", "cd .. && sh ci/none.sh", "sh ../ci/check.sh", "cargo test gate"]
        {
            assert_eq!(named_files(&[step("q", run)], &files), [] as [RepoPath; 0], "{run}");
        }
    }

    #[test]
    fn any_change_of_a_gate_is_another_gate() {
        let steps = [step("a", "true")];
        let files = [entry("check.sh", 'a')];
        let same = id(&steps, &[], &[], &[], &files);
        assert_eq!(same, id(&steps, &[], &[], &[], &files));
        assert_ne!(same, id(&[step("a", "false")], &[], &[], &[], &files));
        assert_ne!(same, id(&steps, &steps, &[], &[], &files));
        assert_ne!(id(&[], &steps, &[], &[], &files), id(&steps, &[], &[], &[], &files));
        let lang = ["lang".to_owned()];
        assert_ne!(same, id(&steps, &[], &lang, &[], &files));
        let host: [Rule; 1] = ["lang".parse().unwrap()];
        assert_ne!(same, id(&steps, &[], &[], &host, &files));
        assert_ne!(id(&steps, &[], &lang, &[], &files), id(&steps, &[], &[], &host, &files));
        assert_ne!(same, id(&steps, &[], &[], &[], &[entry("check.sh", 'b')]));
        let mut executable = entry("check.sh", 'a');
        executable.mode = FileMode::Executable;
        assert_ne!(same, id(&steps, &[], &[], &[], &[executable]));
        let one = |name, run| id(&[step(name, run)], &[], &[], &[], &[]);
        assert_ne!(one("a", "bc"), one("ab", "c"));
    }

    #[test]
    fn the_score_is_the_weight_of_what_passed() {
        let weigh = |name: &str, weight| Step { weight, ..step(name, "true") };
        let steps = [weigh("a", 3), weigh("b", 1)];
        let done = |name: &str, code, excused| StepReport {
            name: name.into(),
            command: "true".into(),
            ended: StepEnd::Exit(code),
            millis: 1,
            required: true,
            log: String::new(),
            failing_tests: Vec::new(),
            tests_run: None,
            unheard: Vec::new(),
            excused,
        };
        let (a, b) = (done("a", 0, false), done("b", 0, false));
        assert_eq!(score(&steps, &[a.clone(), b]), 100);
        assert_eq!(score(&steps, std::slice::from_ref(&a)), 75, "not reached is not green");
        assert_eq!(score(&steps, &[a.clone(), done("b", 1, true)]), 100, "only new failures count");
        assert_eq!(score(&steps, &[done("setup-1", 0, false), a]), 75, "the set-up weighs nothing");
        assert_eq!(score(&steps, &[done("a", 1, false)]), 0);
    }
}
