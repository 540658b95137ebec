//! What a remote's refusal of a push means, in words for the person who reads it in the morning.
//!
//! Reads the remote's words by their stable parts: GitHub's codes (`GH001`, `GH006`, `GH013`) and key words. Never
//! says that something was published.

use crate::ids::NAME;

/// What to do about a refusal. `page` is the repository's page; `landed` has each landed commit and its task.
pub fn help(message: &str, page: &str, landed: &[(&str, &str)]) -> String {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if has(&["PUSH PROTECTION"]) {
        return protected_secret(message, landed);
    }
    if has(&["workflow` scope", "workflows` permission", "create or update workflow"]) {
        let file = between(message, '`').unwrap_or("a file in .github/workflows");
        return format!(
            "a commit changes {file}: give the token the `workflow` scope where it was made (the one that Actions gives \
             to a job can never do this), or take that task back with `{NAME} revert`"
        );
    }
    if has(&["GH001"]) {
        return format!(
            "a commit holds a file that is too large for the remote: take its task back with `{NAME} revert`; every \
             commit is looked at, so that a later one does not help"
        );
    }
    if has(&["verified signature", "must be signed"]) {
        return format!(
            "the rules of the remote ask for signed commits: let `{NAME}/**` be pushed without them: {page}/rules"
        );
    }
    if has(&["GH006"]) {
        return format!(
            "let `{NAME}/**` be pushed by the rules of the remote: {page}/settings/branches"
        );
    }
    if has(&["GH013", "protected branch", "Protected branch"]) {
        return format!("let `{NAME}/**` be pushed by the rules of the remote: {page}/rules");
    }
    "see to what the remote says".to_owned()
}

/// Which commit, which task and which line, as far as the remote says it.
fn protected_secret(message: &str, landed: &[(&str, &str)]) -> String {
    let value = |line: &str, name: &str| {
        let rest = line.trim().trim_start_matches("- ").strip_prefix(name)?;
        Some(rest.trim().to_owned())
    };
    let (mut commit, mut places, mut tasks) = (None, Vec::new(), Vec::new());
    for line in message.lines() {
        if let Some(id) = value(line, "commit:") {
            commit = Some(id);
        } else if let (Some(path), Some(id)) = (value(line, "path:"), commit.as_ref()) {
            let found =
                landed.iter().find(|(commit, _)| id.len() >= 7 && commit.starts_with(id.as_str()));
            let of = found.map_or_else(String::new, |(_, task)| format!(" (task {task})"));
            tasks.extend(found.map(|(_, task)| *task));
            places.push(format!("{path} in commit {id}{of}"));
        }
    }
    tasks.dedup();
    let allow = message.split_whitespace().find(|word| word.contains("/unblock-secret/"));
    let allow = allow.map_or_else(String::new, |url| format!("; if it is none, say so at {url}"));
    let task = if tasks.is_empty() { "TASK".to_owned() } else { tasks.join(" ") };
    let place = match places.as_slice() {
        [] => "a commit holds what looks like a secret".to_owned(),
        some => format!("what looks like a secret stands at {}", some.join(", ")),
    };
    format!(
        "{place}: take the task back with `{NAME} revert {task}`; every commit is read, so that removing it in a later \
         one does not help{allow}"
    )
}

/// The first text between two such marks.
fn between(text: &str, mark: char) -> Option<&str> {
    text.split(mark).nth(1).filter(|found| !found.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "https://github.com/o/r";

    #[test]
    fn each_refusal_says_what_to_do_and_where() {
        for (message, parts) in [
            (
                "error: GH006: Protected branch update failed for refs/heads/nightshift/x.",
                &["`nightshift/**`", "https://github.com/o/r/settings/branches"][..],
            ),
            (
                "error: GH013: Repository rule violations found for refs/heads/nightshift/x.\n- Branch name must match a given regex pattern: ^x$",
                &["`nightshift/**`", "https://github.com/o/r/rules"],
            ),
            (
                "refusing to allow a Personal Access Token to create or update workflow `.github/workflows/ci.yml` without `workflow` scope",
                &[".github/workflows/ci.yml", "`workflow` scope", "nightshift revert"],
            ),
            ("error: GH001: Large files detected.", &["too large", "nightshift revert"]),
            ("- Commits must have verified signatures.\nGH013", &["signed", "/rules"]),
            ("no branches on Fridays", &["what the remote says"]),
        ] {
            let help = help(message, PAGE, &[]);
            assert!(parts.iter().all(|part| help.contains(part)), "{help}");
        }
    }

    #[test]
    fn a_secret_is_told_with_commit_path_and_task() {
        let message = "error: GH013: Repository rule violations found for refs/heads/nightshift/x.\n\
            - GITHUB PUSH PROTECTION\n  - Push cannot contain secrets\n   —— GitHub Personal Access Token ——\n    \
            locations:\n      - commit: 8728dbe67\n        path: README.md:4\n\n    (?) To push, remove secret from \
            commit(s) or follow this URL to allow the secret.\n    https://github.com/o/r/security/secret-scanning/unblock-secret/2abc";
        let commit = "8728dbe67".to_owned() + &"0".repeat(31);
        let told = help(message, PAGE, &[("f".repeat(40).as_str(), "a"), (&commit, "b")]);
        for part in [
            "README.md:4 in commit 8728dbe67 (task b)",
            "`nightshift revert b`",
            "https://github.com/o/r/security/secret-scanning/unblock-secret/2abc",
        ] {
            assert!(told.contains(part), "{told}");
        }
        let unknown = help("- GITHUB PUSH PROTECTION", PAGE, &[]);
        assert!(unknown.contains("nightshift revert TASK"), "{unknown}");
    }
}
