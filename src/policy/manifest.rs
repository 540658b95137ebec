//! Files that say which foreign code a project uses, and which names an added line of them gives.
//!
//! Reads added lines only, by shape; it does not parse a package manager's format. What it cannot place
//! is not approved.

use crate::{diff::FileChange, ids::RepoPath};

/// What a file says about dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manifest {
    /// Written by people.
    Manifest,
    /// Written by a package manager from the manifest.
    Lock,
}

/// What a path is by its name.
pub(super) fn kind(path: &RepoPath) -> Option<Manifest> {
    let text = path.to_string().to_lowercase();
    let file = text.rsplit('/').next().unwrap_or(&text);
    let manifests = [
        "cargo.toml",
        "package.json",
        "pyproject.toml",
        "setup.py",
        "setup.cfg",
        "pipfile",
        "go.mod",
        "gemfile",
        "composer.json",
        "pom.xml",
        "build.gradle",
        "build.gradle.kts",
        "mix.exs",
        "pubspec.yaml",
        "environment.yml",
        "deno.json",
        "package.swift",
    ];
    let locks = [
        "package-lock.json",
        "npm-shrinkwrap.json",
        "yarn.lock",
        "pnpm-lock.yaml",
        "bun.lockb",
        "go.sum",
        "gemfile.lock",
        "composer.lock",
        "mix.lock",
        "pubspec.lock",
        "package.resolved",
    ];
    let (stem, extension) = file.rsplit_once('.').unwrap_or((file, ""));
    let requirements = stem.starts_with("requirements") && ["txt", "in"].contains(&extension);
    if locks.contains(&file) || extension == "lock" {
        Some(Manifest::Lock)
    } else if manifests.contains(&file) || requirements {
        Some(Manifest::Manifest)
    } else {
        None
    }
}

/// True when every added line is blank, a comment, or names a dependency of `approved`, and at least one
/// does. Anything else (a script, a feature, a source) needs a person.
pub(super) fn adds_only(change: &FileChange, approved: &[String]) -> bool {
    let mut named = 0;
    for (_, line) in &change.added_lines {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line.starts_with("//") {
            continue;
        }
        match name(line) {
            Some(name) if approved.iter().any(|a| a.eq_ignore_ascii_case(name)) => named += 1,
            Some(_) | None => return false,
        }
    }
    named > 0
}

/// The dependency that a line names: `serde = "1.0"`, `"lodash": "^4.17.0",`, `requests>=2.0`,
/// `github.com/x/y v1.2.3`. The rest of the line must be a plain version: a line with a path, an address
/// or a command in it gives no name.
fn name(line: &str) -> Option<&str> {
    let line = line.trim_end_matches(',');
    let line = line.strip_prefix("require ").unwrap_or(line);
    let end = line
        .char_indices()
        .skip(1)
        .find(|(_, c)| !(c.is_alphanumeric() || "-_./@".contains(*c)))
        .map_or(line.len(), |(at, _)| at);
    let (name, rest) = line.split_at(end);
    let quoted = name.strip_prefix(['"', '\'']);
    let name = quoted.unwrap_or(name);
    let starts_well = name.starts_with(|c: char| c.is_alphanumeric() || c == '@');
    let version: String = rest.chars().filter(|c| !" \t\"':=^~<>!*,v".contains(*c)).collect();
    let plain = version.chars().all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c))
        && version.starts_with(|c: char| c.is_ascii_digit());
    // A bare requirement (`requests`) names itself.
    let bare = rest.trim_matches(['"', '\'']).is_empty();
    (starts_well && (plain || bare)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_and_lock_files_are_known_at_any_depth() {
        assert_eq!(kind(&"Cargo.toml".into()), Some(Manifest::Manifest));
        assert_eq!(kind(&"web/package.json".into()), Some(Manifest::Manifest));
        assert_eq!(kind(&"requirements-dev.txt".into()), Some(Manifest::Manifest));
        assert_eq!(kind(&"a/Cargo.lock".into()), Some(Manifest::Lock));
        assert_eq!(kind(&"src/main.rs".into()), None);
        assert_eq!(kind(&"docs/requirements.md".into()), None);
    }

    #[test]
    fn a_dependency_line_gives_its_name() {
        for (line, expected) in [
            ("serde = \"1.0\"", Some("serde")),
            ("\"lodash\": \"^4.17.0\",", Some("lodash")),
            ("\"@types/node\": \"~20.1.0\"", Some("@types/node")),
            ("requests>=2.0,<3", Some("requests")),
            ("requests", Some("requests")),
            ("\"requests>=2.0\",", Some("requests")),
            ("require github.com/x/y v1.2.3", Some("github.com/x/y")),
            ("serde = { git = \"https://example.org/serde\" }", None),
            ("\"lodash\": \"file:../evil\"", None),
            ("\"postinstall\": \"node evil.js\"", None),
            ("\"test\": \"true\"", None),
            ("[dependencies]", None),
        ] {
            assert_eq!(name(line), expected, "{line}");
        }
    }
}
