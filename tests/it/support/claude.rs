//! The real Claude Code, where there is one. It is never asked to sign in and never sees the network: the
//! tests give it a model server of their own.

use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
};

/// How to get it.
const HOW: &str =
    "`.ci/run claude` installs it for the tests, NIGHTSHIFT_TEST_CLAUDE names another";

/// The program; none when it is not there, which is said to the real standard error, once for each test
/// that asks. With `NIGHTSHIFT_REQUIRE_CLAUDE=1` that is a failure.
#[track_caller]
pub(crate) fn claude() -> Option<PathBuf> {
    let program = find(|name| env::var_os(name).map(PathBuf::from), Path::is_file);
    if program.is_none() {
        let required = env::var("NIGHTSHIFT_REQUIRE_CLAUDE").is_ok_and(|value| value == "1");
        assert!(!required, "claude not found, and NIGHTSHIFT_REQUIRE_CLAUDE is set ({HOW})");
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        // Not with eprintln, which the test's harness swallows.
        let _ = writeln!(std::io::stderr(), "skipped: {test}: claude not found ({HOW})");
    }
    program
}

/// What is named, else what `.ci/run` installed, else what the person has.
fn find(
    variable: impl Fn(&str) -> Option<PathBuf>,
    exists: impl Fn(&Path) -> bool,
) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = variable("NIGHTSHIFT_TEST_CLAUDE").filter(|path| !path.as_os_str().is_empty());
    if let Some(named) = named {
        // One that is named and missing is no reason to take another.
        return Some(root.join(named)).filter(|path| exists(path));
    }
    let target = variable("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let installed = root.join(target).join("tools/claude/node_modules/.bin/claude");
    let path = variable("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path).map(|directory| directory.join("claude"));
    let mut all = std::iter::once(installed).chain(in_path);
    all.find(|path| exists(path))
}

#[test]
fn the_named_program_comes_first_then_the_installed_one_then_the_persons_own() {
    let with = |named: &'static str, there: &[&str]| {
        let variable = |name: &str| match name {
            "NIGHTSHIFT_TEST_CLAUDE" => Some(named.into()),
            "CARGO_TARGET_DIR" => Some("/t".into()),
            "PATH" => Some("/a:/b".into()),
            _ => None,
        };
        find(variable, |path| there.iter().any(|there| path == Path::new(there)))
    };
    let installed = "/t/tools/claude/node_modules/.bin/claude";
    assert_eq!(with("/x", &["/x", "/b/claude"]), Some("/x".into()));
    assert_eq!(with("/x", &["/b/claude"]), None);
    assert_eq!(with("", &["/b/claude", installed]), Some(installed.into()));
    assert_eq!(with("", &["/b/claude"]), Some("/b/claude".into()));
    assert_eq!(with("", &[]), None);
}
