//! What a gate protects: the one place where a base's settings become rules and a gate's identity, for the
//! night that is run and for whoever verifies it.

use crate::{
    config::{CanarySetting, PlanFile, Settings, plan_files},
    gate,
    git::TreeEntry,
    ids::RepoPath,
    policy::RuleSet,
    receipt::ProtectedFile,
    runner::refused::Refused,
};

/// The rules of a base: its policy, and as protected files besides those of the policy what the steps and the
/// set-up name, the settings' own file, and the plan.
pub fn rules(
    settings: &Settings,
    settings_file: Option<&str>,
    plan: Option<&RepoPath>,
    listing: &[TreeEntry],
) -> Result<RuleSet, Refused> {
    let mut policy = settings.policy.clone();
    // What the set-up runs is trusted as the steps are.
    let named = [&settings.gate.steps, &settings.gate.setup]
        .into_iter()
        .flat_map(|steps| gate::named_files(steps, listing));
    let canary = match &settings.gate.canary {
        CanarySetting::Patch(path) => Some(RepoPath::from(path.as_str())),
        CanarySetting::Auto | CanarySetting::Off => None,
    };
    let own = named.chain(canary).chain(plan.cloned());
    policy.protected.extend(own.map(|path| glob_of(&path.to_string())));
    policy.protected.extend(settings_file.map(glob_of));
    // A plan in another place that is looked into would be tomorrow's.
    if settings.plan.file == PlanFile::Auto {
        policy.protected.extend(plan_files().iter().map(|file| glob_of(file)));
    }
    RuleSet::new(&policy).map_err(|problem| {
        Refused::usage(problem.to_string(), "correct the pattern in the configuration")
    })
}

/// The files of a base that a gate's identity counts, in order. Not the plan: it is protected, and every tick
/// would make another gate.
pub fn files<'l>(
    rules: &'l RuleSet,
    plan: Option<&'l RepoPath>,
    listing: &'l [TreeEntry],
) -> impl Iterator<Item = &'l TreeEntry> {
    listing.iter().filter(move |entry| rules.protects(&entry.path) && Some(&entry.path) != plan)
}

/// The same as a receipt holds them.
pub fn kept<'l>(files: impl Iterator<Item = &'l TreeEntry>) -> Vec<ProtectedFile> {
    files
        .map(|entry| ProtectedFile {
            path: entry.path.clone(),
            mode: entry.mode,
            blob: entry.blob.clone(),
        })
        .collect()
}

/// A path as a glob that matches only itself.
fn glob_of(path: &str) -> String {
    path.chars().fold(String::new(), |mut glob, c| {
        if "*?[]{}\\!".contains(c) {
            glob.extend(['[', c, ']']);
        } else {
            glob.push(c);
        }
        glob
    })
}
