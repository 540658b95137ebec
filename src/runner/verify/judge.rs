//! One commit against its receipts and the base.
//!
//! Computes again what can be computed: tree, parent, the gate's identity from the receipt's steps and the
//! base's files, protected files in blob and mode. Never runs a gate.

use crate::{
    gate,
    git::{TreeEntry, Vault, range::Commit, receipts::Found},
    hosts::Rule,
    ids::{NAME, RepoPath},
    night::{Baseline, Step},
    receipt::Receipt,
    report::text,
    runner::verify::{Ground, Judged, Standing},
};

/// Paths of one message. More are counted.
const SHOWN: usize = 3;

/// What the receipts and the base say of a commit. `all`: it must be proven whatever it claims.
pub(super) fn judge(
    vault: &Vault,
    ground: &Ground,
    commit: Commit,
    found: Vec<Found>,
    all: bool,
) -> Judged {
    let (changed, unreadable) = match vault.changed_paths(&ground.tree, &commit.tree) {
        Ok(changed) => (changed, None),
        Err(problem) => (Vec::new(), Some(problem.to_string())),
    };
    let mut judged = Judged {
        standing: Standing::NotOurs,
        of: None,
        report: None,
        why: Vec::new(),
        notes: Vec::new(),
        protected: Vec::new(),
        commit,
    };
    let read = found.iter().filter_map(|found| Some((found, found.receipt.as_ref().ok()?)));
    let mut best: Option<(Vec<String>, &Receipt)> = None;
    for (found, receipt) in read {
        let mut problems = of_receipt(&judged.commit, found, receipt);
        problems.extend(of_gate(ground, receipt));
        // A receipt for exactly this commit says more of it than one for its tree.
        let better = best.as_ref().is_none_or(|(known, other)| {
            let rank = |receipt: &Receipt| receipt.commit != judged.commit.id;
            (!problems.is_empty(), rank(receipt)) < (!known.is_empty(), rank(other))
        });
        if better {
            best = Some((problems, receipt));
        }
    }
    let plans = match &best {
        Some((_, receipt)) => vec![receipt.plan.clone()],
        None => ground.plans(),
    };
    let own = best.iter().flat_map(|(_, receipt)| &receipt.protected);
    let own: Vec<&RepoPath> = own.map(|file| &file.path).collect();
    judged.protected = changed
        .iter()
        .filter(|path| ground.rules.protects(path) || own.contains(path))
        .filter(|path| !plans.contains(path))
        .map(ToString::to_string)
        .collect();
    match best {
        Some((problems, receipt)) => {
            judged.of = Some((receipt.night.clone(), receipt.task.clone()));
            judged.report = Some(receipt.report.clone());
            judged.why = problems;
            judged.standing = if receipt.commit == judged.commit.id {
                Standing::Landed
            } else {
                Standing::SameTree(receipt.commit.clone())
            };
            trailers(&mut judged, receipt);
        }
        None if judged.commit.claims || all || !found.is_empty() => {
            without_receipt(&mut judged, &found);
        }
        None => {}
    }
    if !judged.protected.is_empty() {
        let shown: Vec<&str> = judged.protected.iter().take(SHOWN).map(String::as_str).collect();
        let more = judged.protected.len() - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let words = format!("protected files are not the base's: {}{more}", shown.join(", "));
        if judged.standing == Standing::NotOurs {
            judged.notes.push(words);
        } else {
            judged.why.push(words);
        }
    }
    judged.why.extend(unreadable);
    if !judged.why.is_empty() {
        judged.standing = Standing::NotProven;
    }
    judged
}

/// What is wrong with a receipt itself, as one for this commit.
fn of_receipt(commit: &Commit, found: &Found, receipt: &Receipt) -> Vec<String> {
    let mut problems = Vec::new();
    if receipt.tree != commit.tree {
        problems.push(format!(
            "the receipt that is named by its tree is for the tree {}",
            receipt.tree.short()
        ));
    }
    if receipt.night != found.night {
        problems.push(format!(
            "its receipt is of night {} and stands among those of {}",
            receipt.night, found.night
        ));
    }
    if receipt.commit == commit.id && commit.parents != [receipt.parent.clone()] {
        problems.push(format!("its receipt names another parent: {}", receipt.parent.short()));
    }
    let inside = receipt.contradictions();
    problems
        .extend(inside.into_iter().map(|what| format!("its receipt contradicts itself: {what}")));
    problems
}

/// What differs between a receipt's gate and the one of the base.
fn of_gate(ground: &Ground, receipt: &Receipt) -> Vec<String> {
    let mut problems = Vec::new();
    let (told, own) = (&receipt.gate, &ground.settings.gate);
    let file = ground.file();
    for (what, told, own) in
        [("steps", &told.steps, &own.steps), ("set-up", &told.setup, &own.setup)]
    {
        if told != own {
            problems.push(format!(
                "another gate: its {what} were {}, and {} in {file} of the base",
                in_words(told),
                in_words(own)
            ));
        }
    }
    let hosts = |rules: &[Rule]| rules.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (what, told, own) in [
        ("environment", told.env.clone(), own.env.clone()),
        ("network", hosts(&told.network), hosts(&own.network)),
    ] {
        if told != own {
            problems.push(format!(
                "another gate: its {what} was [{}], and is [{}] in {file} of the base",
                told.join(", "),
                own.join(", ")
            ));
        }
    }
    if receipt.report.steps.iter().any(|step| step.excused) && own.baseline != Baseline::Compare {
        problems.push(format!("a red step was excused, and {file} of the base excuses none"));
    }
    let plan = &receipt.plan;
    if !ground.plans().contains(plan) && ground.rules.protects(plan) {
        problems.push(format!("its receipt takes {plan} for the plan, which is protected"));
        return problems;
    }
    let told = |path: &RepoPath| receipt.protected.iter().find(|file| file.path == *path);
    let other = ground
        .listing
        .iter()
        .filter(|entry| ground.rules.protects(&entry.path) && entry.path != *plan)
        .find(|entry| {
            told(&entry.path)
                .is_none_or(|file| (file.mode, &file.blob) != (entry.mode, &entry.blob))
        });
    // A person's own file may protect more than the base does.
    let strange = receipt.protected.iter().find(|file| {
        !ground.listing.iter().any(|entry| {
            (&entry.path, entry.mode, &entry.blob) == (&file.path, file.mode, &file.blob)
        })
    });
    if let Some(path) = other.map(|entry| &entry.path).or(strange.map(|file| &file.path)) {
        problems.push(format!("another gate: {path} was not as the base has it"));
    }
    let counted: Vec<TreeEntry> = receipt
        .protected
        .iter()
        .map(|file| TreeEntry { path: file.path.clone(), mode: file.mode, blob: file.blob.clone() })
        .collect();
    let gate = &receipt.gate;
    if gate::id(&gate.steps, &gate.setup, &gate.env, &gate.network, &counted) != gate.id {
        problems.push(
            "its receipt's gate id is not that of the steps and files that it names".to_owned(),
        );
    }
    problems
}

/// What its message claims, beside its receipt.
fn trailers(judged: &mut Judged, receipt: &Receipt) {
    let commit = &judged.commit;
    let landed = judged.standing == Standing::Landed;
    let trees: Vec<&str> = commit.trailer("Tree").collect();
    let own = trees.contains(&commit.tree.as_str());
    let mut why = Vec::new();
    if landed && trees != [commit.tree.as_str()] {
        why.push("its message does not name its own tree".to_owned());
    }
    // The message of a squash is that of one of its parts, or of all, or a person's own.
    if landed || own {
        let task = text::for_commit(receipt.task.as_str());
        for (name, told) in
            [("Gate", receipt.gate.id.as_str()), ("Night", receipt.night.as_str()), ("Task", &task)]
        {
            // A squash of several has the trailers of each: one of them is this one.
            let mut values = commit.trailer(name).peekable();
            if values.peek().is_some() && !values.any(|value| value == told) {
                why.push(format!(
                    "its message names another {} than its receipt",
                    name.to_lowercase()
                ));
            }
        }
    }
    if let (Standing::SameTree(gated), true) = (&judged.standing, judged.why.is_empty()) {
        let words = if trees.is_empty() || own {
            "squashed, moved or its message edited"
        } else {
            "its trailers are those of another tree"
        };
        judged.notes.push(format!("same tree as {}, which passed; {words}", gated.short()));
    }
    judged.why.append(&mut why);
}

fn without_receipt(judged: &mut Judged, found: &[Found]) {
    let commit = &judged.commit;
    let tree = commit.tree.short();
    judged.standing = Standing::NotProven;
    for problem in found.iter().filter_map(|found| found.receipt.as_ref().err()) {
        judged.why.push(format!("the receipt of its tree {tree} cannot be read: {problem}"));
    }
    if judged.why.is_empty() {
        judged.why.push(format!("no receipt for its tree {tree}"));
    }
    match commit.trailer("Tree").next() {
        Some(told) if told != commit.tree.as_str() => judged.why.push(format!(
            "its message names the tree {}: it was changed after the gate",
            told.get(..7).unwrap_or(told)
        )),
        None if commit.claims => {
            judged.why.push(format!("its message speaks of {NAME} and names no tree"));
        }
        Some(_) | None => {}
    }
}

fn in_words(steps: &[Step]) -> String {
    let words: Vec<String> = steps.iter().map(|step| format!("`{}`", step.run)).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}
