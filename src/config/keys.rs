//! The names of all settings, and which of them this version holds.
//!
//! A setting that is known and not held is an error, never ignored: nobody shall rely on a rule that is
//! not kept.

/// What a key is to this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Other keys stand below it.
    Section,
    /// Read.
    Value,
    /// Of the design, and not in this version.
    Later,
    /// Not in this version, and this value is what happens anyway.
    Only(&'static str),
    /// Belongs in the user's own file.
    UserOnly,
}

use Key::{Later, Only, Section, UserOnly, Value};

/// Keys of a repository's file.
pub(super) const REPOSITORY: &[(&str, Key)] = &[
    ("version", Value),
    ("plan", Section),
    ("plan.file", Value),
    ("plan.sections", Section),
    ("plan.sections.ready", Value),
    ("plan.sections.pending", Value),
    ("plan.sections.never", Value),
    ("plan.update", Value),
    ("limits", Section),
    ("limits.tasks", Value),
    ("limits.time", Value),
    ("limits.task_time", Value),
    ("limits.attempts", Value),
    ("limits.failures_in_a_row", Value),
    ("limits.parallel", Value),
    ("limits.cost", Value),
    ("limits.task_cost", Value),
    ("limits.silence", Value),
    ("limits.turns", Value),
    ("limits.tokens", Value),
    ("limits.when_rate_limited", Value),
    ("policy", Section),
    ("policy.min_alignment", Value),
    ("policy.max_estimated_lines", Value),
    ("policy.max_changed_lines", Value),
    ("policy.max_file_bytes", Value),
    ("policy.tests", Value),
    ("policy.missing", Value),
    ("policy.paths", Section),
    ("policy.paths.allow", Value),
    ("policy.paths.deny", Value),
    ("policy.paths.delete", Value),
    ("policy.protected", Value),
    ("policy.title_words", Value),
    ("policy.added_lines", Value),
    ("policy.ask_first", Value),
    ("policy.dependencies", Value),
    ("policy.secrets", Value),
    ("policy.weaker_tests", Value),
    ("policy.risk", Section),
    ("policy.risk.low", Value),
    ("policy.risk.medium", Value),
    ("policy.risk.high", Value),
    ("policy.risk.critical", Value),
    ("policy.decisions", Section),
    ("policy.decisions.low", Value),
    ("policy.decisions.medium", Value),
    ("policy.decisions.high", Value),
    ("gate", Section),
    ("gate.steps", Value),
    ("gate.env", Value),
    ("gate.baseline", Value),
    ("gate.flaky_reruns", Value),
    ("gate.network", Value),
    ("gate.setup", Value),
    ("gate.setup_timeout", Value),
    ("gate.canary", Value),
    ("agent", Section),
    ("agent.use", Value),
    ("agent.model", Value),
    ("agent.context", Value),
    ("agent.env", Value),
    ("agent.fallback", Value),
    ("agent.retry", Value),
    ("agent.sandbox", Later),
    ("pr", Section),
    ("pr.base", Value),
    ("pr.draft", Value),
    ("pr.labels", Value),
    ("pr.reviewers", Value),
    ("pr.statuses", Value),
    ("pr.open_limit", Value),
    ("pr.split", Only("night")),
    ("pr.branch", Later),
    ("pr.title", Later),
    ("pr.commit", Later),
    ("schedule", Later),
    ("notify", UserOnly),
    ("memory", Later),
    ("keep", UserOnly),
    ("profile", Later),
    ("git", Later),
    ("sandbox", UserOnly),
    ("workspaces", UserOnly),
    ("agents_at_once", UserOnly),
    ("github", UserOnly),
    ("agents", UserOnly),
    ("repos", UserOnly),
];

/// Keys of the user's file, without those that [`rules`] adds.
const USER: &[(&str, Key)] = &[
    ("version", Value),
    ("sandbox", Value),
    ("workspaces", Value),
    ("agents_at_once", Value),
    ("agent", Section),
    ("agent.sandbox", Value),
    ("agent.use", Later),
    ("agent.model", Later),
    ("agent.env", Later),
    ("agent.context", Later),
    ("agent.fallback", Later),
    ("agent.retry", Later),
    ("agents", Value),
    ("github", Section),
    ("github.app", Value),
    ("repos", Value),
    ("plan", Later),
    ("gate", Section),
    ("gate.canary", Value),
    ("gate.flaky_reruns", Value),
    ("gate.steps", Later),
    ("gate.env", Later),
    ("gate.baseline", Later),
    ("gate.network", Later),
    ("gate.setup", Later),
    ("gate.setup_timeout", Later),
    ("pr", Later),
    ("schedule", Later),
    ("notify", Value),
    ("memory", Later),
    ("keep", Section),
    ("keep.nights", Value),
    ("keep.log_days", Value),
    ("profile", Later),
    ("git", Later),
];

/// Keys of one gate step.
pub(super) const STEP: &[(&str, Key)] = &[
    ("name", Value),
    ("run", Value),
    ("timeout", Value),
    ("required", Value),
    ("weight", Value),
    ("junit", Value),
];

/// Keys of `agent.fallback`, where it is a map.
pub(super) const FALLBACK: &[(&str, Key)] = &[("models", Value), ("at", Value)];

/// Keys of one agent of the user's file.
pub(super) const PROFILE: &[(&str, Key)] = &[("command", Value)];

/// Keys of one way on which somebody is told.
pub(super) const NOTIFY: &[(&str, Key)] = &[
    ("to", Value),
    ("run", Value),
    ("on", Value),
    ("env", Value),
    ("token", Value),
    ("from", Value),
    ("server", Value),
];

/// Keys of `github.app`.
pub(super) const APP: &[(&str, Key)] = &[
    ("id", Value),
    ("client_id", Value),
    ("key", Value),
    ("installation", Value),
    ("host", Value),
];

/// Keys of `sandbox`, where it is a map.
pub(super) const SANDBOX: &[(&str, Key)] = &[
    ("use", Value),
    ("read", Value),
    ("processes", Value),
    ("memory", Value),
    ("disk_reserve", Value),
    ("file_size", Value),
];

/// Keys of one level of risk.
pub(super) const BAND: &[(&str, Key)] = &[("upto", Value), ("do", Value), ("proof", Value)];

/// Keys that the user may set for all repositories and for one: limits and rules.
pub(super) fn rules() -> Vec<(&'static str, Key)> {
    let of = |path: &str| ["limits", "policy"].contains(&path.split('.').next().unwrap_or(path));
    REPOSITORY.iter().filter(|(path, _)| of(path)).copied().collect()
}

/// Keys of the user's file, limits and rules among them.
pub(super) fn user() -> Vec<(&'static str, Key)> {
    USER.iter().copied().chain(rules()).collect()
}

/// What `path` is in `table`.
pub(super) fn lookup(table: &[(&str, Key)], path: &str) -> Option<Key> {
    table.iter().find(|(known, _)| *known == path).map(|(_, key)| *key)
}

/// The known word nearest to `word`, if one is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, &candidate.to_lowercase()), candidate))
        // The threshold that clap uses for arguments, a little higher: settings are longer words.
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_below_a_section_that_is_known() {
        for table in [REPOSITORY, &user()] {
            for (path, _) in table {
                if let Some((parent, _)) = path.rsplit_once('.') {
                    assert_eq!(lookup(table, parent), Some(Section), "{path}");
                }
            }
        }
    }

    #[test]
    fn no_key_stands_twice() {
        for table in [REPOSITORY, &user(), STEP] {
            for (at, (path, _)) in table.iter().enumerate() {
                assert!(table[..at].iter().all(|(other, _)| other != path), "{path}");
            }
        }
    }

    #[test]
    fn only_a_word_that_is_near_is_suggested() {
        assert_eq!(nearest("task", ["tasks", "time"]), Some("tasks"));
        assert_eq!(
            nearest("max-estimated-lines", ["max_estimated_lines"]),
            Some("max_estimated_lines")
        );
        assert_eq!(nearest("banana", ["tasks", "time"]), None);
    }
}
