//! What people, agents and disks may hand to our parsers: made inputs by the thousand, and what must hold for
//! each of them. See CONTRIBUTING.md for how to run it for longer than a moment.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed, and tests stand outside the doors"
)]

mod config;
mod drive;
mod journal;
mod nights;
mod plan;
mod scale;
mod spoil;
mod texts;
