//! Files that say which foreign code a project uses: which dependencies a change adds, changes and takes away, what
//! it would run at installation, from where it would fetch.
//!
//! Reads the formats of common package managers by their tables or by their lines; runs no tool. What it cannot
//! place is not approved.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use regex::Regex;
use serde_json::Value;

use super::shapes::regex;
use crate::{
    diff::{ChangeKind, FileChange},
    ids::RepoPath,
};

/// What a file says about dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manifest {
    /// Written by people.
    Manifest,
    /// Written by a package manager from the manifest.
    Lock,
}

/// How a file is read.
#[derive(Clone, Copy)]
enum Reader {
    /// Where the dependencies stand in it; `*` is any key.
    Toml(&'static [&'static str]),
    Json(&'static [&'static str]),
    /// One line, one dependency: the groups `name` and `version`.
    Lines(&'static str),
}

use Manifest::{Lock, Manifest as Written};
use Reader::{Json, Lines, Toml};

const REQUIREMENT: &str =
    r"(?m)^\s*(?<name>[A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*(?<version>(?:[=<>!~@][^#;\n]*)?)";
const PACKAGES: &[&str] = &["package"];

/// Names of files, what they are, and how they are read. A star stands for the rest of the name.
const FILES: [(&str, Manifest, Option<Reader>); 51] = [
    (
        "cargo.toml",
        Written,
        Some(Toml(&[
            "dependencies",
            "dev-dependencies",
            "build-dependencies",
            "workspace/dependencies",
            "target/*/dependencies",
            "target/*/dev-dependencies",
            "target/*/build-dependencies",
            "patch/*",
            "replace",
        ])),
    ),
    ("cargo.lock", Lock, Some(Toml(PACKAGES))),
    ("package.json", Written, Some(Json(NPM))),
    ("package-lock.json", Lock, Some(Json(&["packages", "dependencies"]))),
    ("npm-shrinkwrap.json", Lock, Some(Json(&["packages", "dependencies"]))),
    (
        "yarn.lock",
        Lock,
        Some(Lines(r#"(?m)^"?(?<name>@?[\w./-]+)@[^\n]*:\n\s+version:? "?(?<version>[^"\n]+)"#)),
    ),
    (
        "pnpm-lock.yaml",
        Lock,
        Some(Lines(r"(?m)^  '?/?(?<name>@?[\w./-]+)@(?<version>[\d][^('\n:]*)")),
    ),
    ("pnpm-workspace.yaml", Written, None),
    ("bun.lock", Lock, Some(Lines(r#"(?m)^\s+"(?<name>[^"]+)": \["[^"]+@(?<version>[^"@]+)""#))),
    ("bun.lockb", Lock, None),
    ("deno.json", Written, Some(Json(&["imports"]))),
    ("deno.jsonc", Written, None),
    ("deno.lock", Lock, None),
    (
        "pyproject.toml",
        Written,
        Some(Toml(&[
            "project/dependencies",
            "project/optional-dependencies/*",
            "dependency-groups/*",
            "build-system/requires",
            "tool/poetry/dependencies",
            "tool/poetry/dev-dependencies",
            "tool/poetry/group/*/dependencies",
            "tool/pdm/dev-dependencies/*",
            "tool/uv/sources",
        ])),
    ),
    ("poetry.lock", Lock, Some(Toml(PACKAGES))),
    ("uv.lock", Lock, Some(Toml(PACKAGES))),
    ("pdm.lock", Lock, Some(Toml(PACKAGES))),
    ("pylock.toml", Lock, Some(Toml(&["packages"]))),
    ("pipfile", Written, Some(Toml(&["packages", "dev-packages"]))),
    ("pipfile.lock", Lock, Some(Json(&["default", "develop"]))),
    ("setup.py", Written, None),
    ("setup.cfg", Written, None),
    (
        "environment.yml",
        Written,
        Some(Lines(r"(?m)^\s*-\s+(?<name>[\w.-]+)\s*(?<version>[=<>][^\n]*)?$")),
    ),
    (
        "environment.yaml",
        Written,
        Some(Lines(r"(?m)^\s*-\s+(?<name>[\w.-]+)\s*(?<version>[=<>][^\n]*)?$")),
    ),
    ("requirements*.txt", Written, Some(Lines(REQUIREMENT))),
    ("requirements*.in", Written, Some(Lines(REQUIREMENT))),
    ("constraints*.txt", Written, Some(Lines(REQUIREMENT))),
    (
        "go.mod",
        Written,
        Some(Lines(
            r"(?m)^(?:require\s+|replace\s+|\t)(?<name>[\w.~/-]+\.[\w.~/-]+)\s+(?<version>(?:v|=>)[^\n]*)$",
        )),
    ),
    ("go.sum", Lock, Some(Lines(r"(?m)^(?<name>\S+) (?<version>v\S+) h1:"))),
    ("go.work", Written, None),
    (
        "gemfile",
        Written,
        Some(Lines(r#"(?m)^\s*gem\s*\(?\s*["'](?<name>[^"']+)["'](?<version>[^\n#]*)"#)),
    ),
    (
        "*.gemspec",
        Written,
        Some(Lines(r#"(?m)add_\w*dependency\s*\(?\s*["'](?<name>[^"']+)["'](?<version>[^\n#]*)"#)),
    ),
    ("gemfile.lock", Lock, Some(Lines(r"(?m)^    (?<name>[\w.-]+) \((?<version>[^)]+)\)$"))),
    ("composer.json", Written, Some(Json(&["require", "require-dev"]))),
    ("composer.lock", Lock, Some(Json(&["packages", "packages-dev"]))),
    (
        "pom.xml",
        Written,
        Some(Lines(
            r"(?s)<artifactId>(?<name>[^<]+)</artifactId>\s*<version>(?<version>[^<]+)</version>",
        )),
    ),
    (
        "build.gradle*",
        Written,
        Some(Lines(r#"(?m)["'](?<name>[\w.-]+:[\w.-]+):(?<version>[\w.$\{\}+-]+)["']"#)),
    ),
    ("libs.versions.toml", Written, Some(Toml(&["libraries", "plugins", "versions"]))),
    ("gradle.lockfile", Lock, Some(Lines(r"(?m)^(?<name>[\w.-]+:[\w.-]+):(?<version>[^=\n]+)="))),
    ("*.csproj", Written, Some(Lines(NUGET))),
    ("*.fsproj", Written, Some(Lines(NUGET))),
    ("directory.packages.props", Written, Some(Lines(NUGET))),
    ("packages.lock.json", Lock, Some(Json(&["dependencies/*"]))),
    (
        "package.swift",
        Written,
        Some(Lines(
            r#"(?m)\.package\(\s*(?:name:[^,]+,\s*)?url:\s*"(?<name>[^"]+)",\s*(?<version>[^)\n]*)"#,
        )),
    ),
    (
        "package.resolved",
        Lock,
        Some(Lines(
            r#""identity"\s*:\s*"(?<name>[^"]+)"(?s:.*?)"(?:version|revision)"\s*:\s*"(?<version>[^"]+)""#,
        )),
    ),
    (
        "podfile",
        Written,
        Some(Lines(r#"(?m)^\s*pod\s+["'](?<name>[^"']+)["'](?<version>[^\n#]*)"#)),
    ),
    ("mix.exs", Written, Some(Lines(r"(?m)^\s*\{:(?<name>\w+),\s*(?<version>[^\n]*?)\},?\s*$"))),
    ("mix.lock", Lock, Some(Lines(r#"(?m)^\s*"(?<name>\w+)": \{:\w+, :\w+, "(?<version>[^"]+)""#))),
    (
        "pubspec.yaml",
        Written,
        Some(Lines(r"(?m)^  (?<name>\w+): *(?<version>(?:[\^<>=]|any|\d)[^\n#]*)")),
    ),
    (
        "pubspec.lock",
        Lock,
        Some(Lines(r#"(?m)^  (?<name>\w+):\n(?s:.*?)^    version: "(?<version>[^"]+)""#)),
    ),
    ("*.lock", Lock, None),
];

const NPM: &[&str] = &[
    "dependencies",
    "devDependencies",
    "peerDependencies",
    "optionalDependencies",
    "overrides",
    "resolutions",
    "pnpm/overrides",
];
const NUGET: &str = r#"<Package(?:Reference|Version)\s+(?:Include|Update)="(?<name>[^"]+)"(?:\s+Version="(?<version>[^"]+)")?"#;

/// Deeper files are not read: nothing that people write nests so far, and a reader must not run out of stack.
const DEPTH: usize = 48;
/// Names of one kind that are told; more are counted.
const NAMES: usize = 6;

/// What a path is by its name.
pub(super) fn kind(path: &RepoPath) -> Option<Manifest> {
    entry(path).map(|(kind, _)| kind)
}

fn entry(path: &RepoPath) -> Option<(Manifest, Option<Reader>)> {
    let text = path.to_string().to_lowercase();
    let file = text.rsplit('/').next().unwrap_or(&text);
    let is = |pattern: &str| match pattern.split_once('*') {
        Some((start, end)) => {
            file.len() >= start.len() + end.len() && file.starts_with(start) && file.ends_with(end)
        }
        None => file == pattern,
    };
    FILES.iter().find(|(pattern, ..)| is(pattern)).map(|(_, kind, reader)| (*kind, *reader))
}

/// What a change does to the dependencies, in words that follow the file's name: "adds left-pad 1.0, removes serde".
/// `None` when the format cannot be read, or when no dependency is another than before.
pub(super) fn in_words(change: &FileChange) -> Option<String> {
    let before = if let ChangeKind::Renamed { from } = &change.kind { from } else { &change.path };
    let side = |path: &RepoPath, text: &Option<String>, there: bool| match (text, there) {
        (_, false) => Some(BTreeMap::new()),
        (Some(text), true) => dependencies(entry(path)?.1?, text),
        (None, true) => None,
    };
    let old = side(before, &change.old_text, change.old.is_some())?;
    let new = side(&change.path, &change.new_text, change.new.is_some())?;
    let named = |name: &String, version: &String| format!("{name} {version}").trim().to_owned();
    let added = new.iter().filter(|(name, _)| !old.contains_key(*name)).map(|(n, v)| named(n, v));
    let removed = old.keys().filter(|name| !new.contains_key(*name)).cloned();
    let changed = new.iter().filter_map(|(name, version)| {
        let was = old.get(name).filter(|was| *was != version)?;
        Some(format!("{name} ({was} → {version})"))
    });
    let parts = [
        ("adds", added.collect::<Vec<_>>()),
        ("changes", changed.collect()),
        ("removes", removed.collect()),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(verb, names)| list(verb, names))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn list(verb: &str, names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMES);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{verb} {}{rest}", names[..names.len().min(NAMES)].join(", "))
}

/// The dependencies of a text by name, each with its version or what stands there.
fn dependencies(reader: Reader, text: &str) -> Option<BTreeMap<String, String>> {
    let (paths, root) = match reader {
        Lines(pattern) => {
            let pattern = regex(pattern);
            let group = |captures: &regex::Captures<'_>, name: &str| {
                captures
                    .name(name)
                    .map_or("", |found| found.as_str())
                    .trim()
                    .trim_end_matches(',')
                    .to_owned()
            };
            let found = pattern.captures_iter(text);
            return Some(found.map(|c| (group(&c, "name"), group(&c, "version"))).collect());
        }
        Toml(paths) => (paths, toml(text)?),
        Json(paths) => (paths, serde_json::from_str(text).ok()?),
    };
    let mut found = BTreeMap::new();
    for path in paths {
        let parts: Vec<&str> = path.split('/').collect();
        walk(&root, &parts, &mut |node| collect(node, &mut found));
    }
    Some(found)
}

/// A TOML text as a value. `None` when it is none, or nested without reason.
fn toml(text: &str) -> Option<Value> {
    let mut depth = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH {
            return None;
        }
    }
    toml_span::parse(text).ok().map(|value| plain(&value))
}

fn plain(value: &toml_span::Value<'_>) -> Value {
    if let Some(table) = value.as_table() {
        Value::Object(
            table.iter().map(|(key, value)| (key.name.to_string(), plain(value))).collect(),
        )
    } else if let Some(array) = value.as_array() {
        Value::Array(array.iter().map(plain).collect())
    } else if let Some(text) = value.as_str() {
        Value::String(text.to_owned())
    } else {
        value.as_bool().map_or(Value::Null, Value::Bool)
    }
}

fn walk<'v>(node: &'v Value, path: &[&str], found: &mut dyn FnMut(&'v Value)) {
    match path.split_first() {
        None => found(node),
        Some((&"*", rest)) => {
            for value in node.as_object().into_iter().flat_map(|object| object.values()) {
                walk(value, rest, found);
            }
        }
        Some((key, rest)) => {
            if let Some(value) = node.get(key) {
                walk(value, rest, found);
            }
        }
    }
}

/// Names and versions of a table, of a list of requirements, or of a list of packages.
fn collect(node: &Value, found: &mut BTreeMap<String, String>) {
    static NAME: LazyLock<Regex> = LazyLock::new(|| {
        regex(r"^\s*(?<name>@?[A-Za-z0-9][\w./-]*)(?:\[[^\]]*\])?\s*(?<version>.*)$")
    });
    let version = |value: &Value| match value {
        Value::String(version) => version.clone(),
        Value::Object(table) => match table.get("version") {
            Some(Value::String(version)) => version.clone(),
            _ => value.to_string(),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    };
    match node {
        Value::Object(table) => {
            for (key, value) in table {
                // A package lock names the directory.
                let name = key.rsplit("node_modules/").next().unwrap_or(key);
                if !name.is_empty() {
                    found.insert(name.to_owned(), version(value));
                }
            }
        }
        Value::Array(list) => {
            for item in list {
                if let Some(captures) = item.as_str().and_then(|text| NAME.captures(text)) {
                    found.insert(captures["name"].to_owned(), captures["version"].to_owned());
                } else if let Some(name) = item.get("name").and_then(Value::as_str) {
                    found.insert(
                        name.to_owned(),
                        item.get("version").map_or(String::new(), version),
                    );
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Commands that a package manager would run by itself and that are new or another: `postinstall` and its like.
pub(super) fn install_scripts(change: &FileChange) -> Vec<String> {
    const NAMES: [&str; 13] = [
        "preinstall",
        "install",
        "postinstall",
        "prepare",
        "prepublish",
        "prepack",
        "postpack",
        "dependencies",
        "pre-install-cmd",
        "post-install-cmd",
        "post-update-cmd",
        "post-autoload-dump",
        "post-package-install",
    ];
    let file = change.path.to_string().to_lowercase();
    if !["package.json", "composer.json"].iter().any(|name| file.ends_with(name)) {
        return Vec::new();
    }
    let scripts = |text: &Option<String>| {
        let value = text.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        value.and_then(|value| value.get("scripts").cloned()).unwrap_or(Value::Null)
    };
    let (old, new) = (scripts(&change.old_text), scripts(&change.new_text));
    NAMES
        .iter()
        .filter(|name| new.get(**name).is_some() && new.get(**name) != old.get(**name))
        .map(|name| (*name).to_owned())
        .collect()
}

/// Hosts in added lines that neither the file named before nor a public registry is.
pub(super) fn new_hosts(change: &FileChange) -> Vec<String> {
    static HOST: LazyLock<Regex> =
        LazyLock::new(|| regex(r"[a-z+]{2,10}://(?:[^/\s@]*@)?(?<host>[\w.-]+)"));
    const KNOWN: [&str; 14] = [
        "registry.npmjs.org",
        "registry.yarnpkg.com",
        "github.com",
        "index.crates.io",
        "crates.io",
        "pypi.org",
        "files.pythonhosted.org",
        "rubygems.org",
        "proxy.golang.org",
        "api.github.com",
        "repo.packagist.org",
        "pub.dev",
        "repo.maven.apache.org",
        "npm.jsr.io",
    ];
    if kind(&change.path) != Some(Lock) {
        return Vec::new();
    }
    let old = change.old_text.as_deref().unwrap_or_default();
    let mut hosts = BTreeSet::new();
    for (_, line) in &change.added_lines {
        for captures in HOST.captures_iter(line) {
            let host = &captures["host"];
            if !KNOWN.contains(&host) && !old.contains(&format!("://{host}")) {
                hosts.insert(host.to_owned());
            }
        }
    }
    hosts.into_iter().collect()
}

/// True when every changed line is blank, a comment, or names a dependency of `approved`, and at least one added line
/// does. Anything else (a script, a feature, a source) needs a person.
pub(super) fn adds_only(change: &FileChange, approved: &[String]) -> bool {
    let names = |lines: &[(u32, String)]| {
        let mut named = 0;
        for (_, line) in lines {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') || line.starts_with("//") {
                continue;
            }
            match name(line) {
                Some(name) if approved.iter().any(|a| a.eq_ignore_ascii_case(name)) => named += 1,
                // In JSON the line before the new one gets its comma.
                Some(_) if in_both(change, line) => {}
                Some(_) | None => return None,
            }
        }
        Some(named)
    };
    names(&change.added_lines).is_some_and(|named| named > 0)
        && names(&change.removed_lines).is_some()
}

/// True when a line was taken away and added again but for its comma.
fn in_both(change: &FileChange, line: &str) -> bool {
    let own = line.trim_end_matches(',');
    let has = |lines: &[(u32, String)]| {
        lines.iter().any(|(_, other)| other.trim().trim_end_matches(',') == own)
    };
    has(&change.added_lines) && has(&change.removed_lines)
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

    fn change(path: &str, old: &str, new: &str) -> FileChange {
        let side = || {
            let blob = crate::ids::BlobId::new("1".repeat(40)).unwrap();
            let mode = crate::diff::FileMode::Regular;
            Some(crate::diff::Side { mode, blob, bytes: 1, link_target: None })
        };
        FileChange {
            path: path.into(),
            kind: ChangeKind::Modified,
            old: side(),
            new: side(),
            added: 1,
            removed: 1,
            binary: false,
            added_lines: (1..).zip(new.lines().map(str::to_owned)).collect(),
            removed_lines: (1..).zip(old.lines().map(str::to_owned)).collect(),
            old_text: Some(old.to_owned()),
            new_text: Some(new.to_owned()),
        }
    }

    #[test]
    fn what_becomes_of_dependencies_is_told_with_their_versions() {
        for (path, old, new, expected) in [
            (
                "Cargo.toml",
                "[dependencies]\nserde = \"1\"\nold = \"2\"\n",
                "[dependencies]\nserde = \"2\"\nnew = { version = \"3\" }\n",
                "adds new 3, changes serde (1 → 2), removes old",
            ),
            (
                "package.json",
                r#"{"dependencies": {"a": "1"}}"#,
                r#"{"dependencies": {"a": "1"}, "devDependencies": {"b": "^2"}}"#,
                "adds b ^2",
            ),
            ("requirements.txt", "a==1\n", "a==1\nb==2\n", "adds b ==2"),
            (
                "requirements.txt",
                "",
                "a==1\nb==1\nc==1\nd==1\ne==1\nf==1\ng==1\n",
                "adds a ==1, b ==1, c ==1, d ==1, e ==1, f ==1 and 1 more",
            ),
        ] {
            assert_eq!(in_words(&change(path, old, new)).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(
            in_words(&change("Cargo.toml", "[dependencies]\n", "# b\n[dependencies]\n")),
            None
        );
        assert_eq!(in_words(&change("Cargo.toml", "[dependencies]\n", "[dependencies\n")), None);
        let many = "[a]\n".repeat(60) + "[dependencies]\nb = \"1\"\n";
        let many = many.replacen("[a]", "[c]", 59).replace("[c]\n", "[[c]]\n");
        assert_eq!(in_words(&change("Cargo.toml", "", &many)).as_deref(), Some("adds b 1"));
        let deep = format!("a = {}{}\n", "[".repeat(60), "]".repeat(60));
        assert_eq!(in_words(&change("Cargo.toml", "", &deep)), None, "nested without reason");
    }

    #[test]
    fn hosts_that_a_lock_file_did_not_name_are_told() {
        let line = |host: &str| format!("  \"resolved\": \"https://{host}/a.tgz\",\n");
        let of = |path: &str, old: &str, new: &str| new_hosts(&change(path, old, new));
        let lock = "package-lock.json";
        assert_eq!(of(lock, "", &line("evil.example")), ["evil.example"]);
        assert_eq!(of(lock, "", &line("user:pw@evil.example")), ["evil.example"]);
        assert_eq!(of(lock, &line("ours.example"), &line("ours.example")), [""; 0]);
        assert_eq!(of(lock, "", &line("registry.npmjs.org")), [""; 0]);
        assert_eq!(of("src/a.rs", "", &line("evil.example")), [""; 0]);
    }

    #[test]
    fn only_approved_names_and_what_says_nothing_may_be_added() {
        let approved = ["serde".to_owned()];
        let of = |old: &str, new: &str| adds_only(&change("Cargo.toml", old, new), &approved);
        assert!(of("", "serde = \"1\"\n"));
        assert!(of("", "# why\n// why\n\nSerde = \"1\"\n"));
        assert!(of("\"a\": \"1\"", "\"a\": \"1\",\n\"serde\": \"1\"\n"), "a comma");
        assert!(!of("", "# why\n"), "nothing is added");
        assert!(!of("", "serde = \"1\"\nother = \"1\"\n"));
        assert!(!of("other = \"1\"\n", "serde = \"1\"\n"), "another went");
        assert!(!of("", "serde = { path = \"../evil\" }\n"));
    }
}
