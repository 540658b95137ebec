//! What a checkout shows about itself. Reads small files and runs nothing of the repository's.

use std::{path::Path, sync::LazyLock};

use regex::Regex;

use crate::{
    git::remote::Remote,
    runner::{home::Home, places::Surroundings, refused::Refused},
};

/// A command that may be the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gate {
    /// What would run.
    pub(super) command: String,
    /// The file that it was found in.
    pub(super) from: String,
}

/// Directories that often hold code and that the built-in policy does not allow.
const ELSEWHERE: [&str; 8] = ["lib", "app", "pkg", "cmd", "internal", "crates", "packages", "apps"];

/// Every gate that the checkout has, the likeliest first.
pub(super) fn gates(root: &Path) -> Vec<Gate> {
    let read = |name: &str| std::fs::read_to_string(root.join(name)).ok();
    let first = |names: &[&str]| {
        names.iter().find_map(|name| read(name).map(|text| ((*name).to_owned(), text)))
    };
    let mut found = Vec::new();
    let mut add = |command: &str, from: &str| {
        found.push(Gate { command: command.to_owned(), from: from.to_owned() });
    };
    let script = ".ai-validation/check_quality.sh";
    if root.join(script).is_file() {
        add(script, script);
    }
    if let Some((name, text)) = first(&["justfile", "Justfile", ".justfile"])
        && has_recipe(&text)
    {
        add("just check", &name);
    }
    if let Some((name, text)) = first(&["GNUmakefile", "makefile", "Makefile"])
        && has_recipe(&text)
    {
        add("make check", &name);
    }
    if root.join("Cargo.toml").is_file() {
        add("cargo test", "Cargo.toml");
    }
    if read("package.json").is_some_and(|text| has_npm_test(&text)) {
        add("npm test", "package.json");
    }
    if root.join("pytest.ini").is_file() {
        add("pytest", "pytest.ini");
    } else if read("pyproject.toml").is_some_and(|text| text.contains("[tool.pytest")) {
        add("pytest", "pyproject.toml");
    }
    if root.join("go.mod").is_file() {
        add("go test ./...", "go.mod");
    }
    found
}

/// `check:`, `check arg: dep` and `lint check:`, not `check := value`.
fn has_recipe(text: &str) -> bool {
    static RECIPE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"(?m)^@?(?:[\w./-]+[ \t]+)*check(?:[ \t]+[^=:?+\s][^:\n#]*)?[ \t]*::?(?:[^:=]|$)",
        )
        .expect("constant")
    });
    RECIPE.is_match(text)
}

/// A test script that is not the placeholder of `npm init`.
fn has_npm_test(text: &str) -> bool {
    let Ok(package) = serde_json::from_str::<serde_json::Value>(text) else { return false };
    let test = package.pointer("/scripts/test").and_then(serde_json::Value::as_str);
    test.is_some_and(|test| !test.trim().is_empty() && !test.contains("no test specified"))
}

/// The branch that a night would start from, without asking the remote. `None` before the first commit.
pub(super) fn base(home: &Home) -> Result<Option<String>, Refused> {
    if let Some(remote) = &home.remote {
        let below = format!("refs/remotes/{}/", remote.name);
        if let Some(head) = home.user.symbolic(&format!("{below}HEAD"))?
            && let Some(branch) = head.strip_prefix(&below)
        {
            return Ok(Some(branch.to_owned()));
        }
        for name in ["main", "master"] {
            if home.user.resolve(&format!("{below}{name}"))?.is_some() {
                return Ok(Some(name.to_owned()));
            }
        }
    }
    for name in ["main".to_owned(), "master".to_owned()].into_iter().chain(home.user.head_branch()?)
    {
        if home.user.resolve(&format!("refs/heads/{name}"))?.is_some() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Where pull requests would go, and whether there is a token for it.
pub(super) fn forge(home: &Home, surroundings: &Surroundings) -> String {
    if let Some(access) = home.github(surroundings) {
        return match &access.token {
            Some(_) => format!("{}, token found", access.address),
            None => {
                let missing = access.no_token();
                format!("{}: {}; {}", access.address, missing.message, missing.help)
            }
        };
    }
    let other = home.remote.as_ref().map(|remote| Remote::parse(&remote.push));
    match other {
        Some(Remote::Forge(_)) => {
            "not a GitHub: the pull request's text stays a file here".to_owned()
        }
        Some(Remote::Path(_) | Remote::Other) | None => {
            "none: the pull request's text stays a file here".to_owned()
        }
    }
}

/// Directories with code that the built-in policy does not let an agent change.
pub(super) fn code_elsewhere(root: &Path) -> Vec<String> {
    if root.join("src").is_dir() {
        return Vec::new();
    }
    let there = ELSEWHERE.iter().filter(|name| root.join(name).is_dir());
    there.map(|name| format!("{name}/")).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "the tests write files")]
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        gates(root.path()).into_iter().map(|gate| gate.command).collect()
    }

    #[test]
    fn the_projects_own_check_comes_before_its_tools() {
        let all = found(&[
            ("go.mod", ""),
            ("pyproject.toml", "[tool.pytest.ini_options]\n"),
            ("package.json", r#"{"scripts":{"test":"vitest run"}}"#),
            ("Cargo.toml", ""),
            ("Makefile", "all: build\n\ncheck: test\n\ttrue\n"),
            ("justfile", "check:\n  cargo test\n"),
            (".ai-validation/check_quality.sh", ""),
        ]);
        assert_eq!(
            all,
            [
                ".ai-validation/check_quality.sh",
                "just check",
                "make check",
                "cargo test",
                "npm test",
                "pytest",
                "go test ./...",
            ]
        );
    }

    #[test]
    fn what_only_looks_like_a_check_is_none() {
        assert!(
            found(&[("Makefile", "check := 1\nrecheck:\n\ttrue\ncheckout:\n\ttrue\n")]).is_empty()
        );
        assert!(found(&[("justfile", "check := 'x'\n")]).is_empty());
        let placeholder = r#"{"scripts":{"test":"echo \"Error: no test specified\" && exit 1"}}"#;
        assert!(found(&[("package.json", placeholder)]).is_empty());
        assert!(found(&[("package.json", "{")]).is_empty());
        assert!(found(&[("pyproject.toml", "[project]\n")]).is_empty());
        assert!(found(&[("Makefile", "check = a:b\ncheck ?= c:d\n")]).is_empty());
    }

    #[test]
    fn a_check_may_have_arguments_and_neighbours() {
        for text in ["@check filter='':\n  true\n", "check filter: lint\n  true\n", "check:"] {
            assert_eq!(found(&[("justfile", text)]), ["just check"], "{text}");
        }
        assert_eq!(found(&[("Makefile", "lint check : a\n\ttrue\n")]), ["make check"]);
    }
}
