//! Nights that are ended at any seam, and doors that fail at any call: one binary, built with the feature `faults`.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    dead_code,
    unused_imports,
    reason = "a test that cannot go on has failed, and tests stand outside the doors; the support is for two binaries"
)]

mod cases;
mod doors;
mod kills;
mod order;
mod scene;
#[path = "../it/support/mod.rs"]
mod support;
