//! What this machine's kernel has of what walls are made of. Asked of the kernel itself, never of the program
//! under test: a wall that does not stand must not look like a machine without it.

use std::io::Write as _;

use landlock::{Access, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr};

/// True when Landlock can hold T1. Otherwise the test is said to be skipped, on the real standard error. With
/// `NIGHTSHIFT_REQUIRE_WALLS=1` that is a failure.
pub(crate) fn has_landlock() -> bool {
    let there = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessNet::from_all(landlock::ABI::V4))
        .and_then(Ruleset::create)
        .is_ok();
    there || missing("this kernel has no Landlock with ABI 4 (Linux 6.7)")
}

/// True when a user may have namespaces of every kind. Otherwise as [`has_landlock`].
pub(crate) fn has_namespaces() -> bool {
    // The kernel refuses it to a process with threads, as ours is.
    let mut unshare = std::process::Command::new("unshare");
    unshare.args(["-r", "-m", "-p", "-n", "-i", "-u", "-C", "-f", "--mount-proc", "true"]);
    let there = unshare.output().is_ok_and(|output| output.status.success());
    there || missing("`unshare -rmpniuCf --mount-proc true` does not work here")
}

/// Says that a test is skipped, and why; always false.
pub(crate) fn missing(why: &str) -> bool {
    let required = std::env::var("NIGHTSHIFT_REQUIRE_WALLS").is_ok_and(|value| value == "1");
    assert!(!required, "NIGHTSHIFT_REQUIRE_WALLS is set, and {why}");
    let thread = std::thread::current();
    // Not with eprintln, which the test's harness swallows.
    let _ = writeln!(std::io::stderr(), "skipped: {}: {why}", thread.name().unwrap_or("a test"));
    false
}
