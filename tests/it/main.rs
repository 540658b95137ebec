//! The tests of the whole program: one binary.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::enum_variant_names,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed, and tests stand outside the doors"
)]

#[cfg(target_os = "linux")]
#[path = "../adversary/mod.rs"]
mod adversary;
#[cfg(target_os = "linux")]
mod add;
mod agents;
#[cfg(target_os = "linux")]
mod claude;
#[cfg(target_os = "linux")]
mod layers;
#[cfg(target_os = "linux")]
mod processes;
#[cfg(target_os = "linux")]
mod caches;
mod actions;
mod cheats;
mod cli;
mod crash;
mod egress;
mod forge;
mod formats;
mod gates;
mod gc;
mod model;
#[cfg(target_os = "linux")]
mod heavy;
mod held;
mod histories;
mod history;
mod include;
mod ledger;
mod network;
mod proxy;
mod night;
mod notify;
#[cfg(target_os = "linux")]
mod overlays;
mod recorded;
mod rescue;
mod resume;
mod retry;
mod revert;
mod rules;
#[cfg(target_os = "linux")]
mod sandbox;
#[cfg(target_os = "linux")]
mod storage;
mod support;
mod publishing;
mod plan_scale;
mod pools;
#[cfg(target_os = "linux")]
mod pools_scale;
mod documents;
mod examples;
mod screens;
#[cfg(target_os = "linux")]
mod clocks;
#[cfg(target_os = "linux")]
mod soak;
#[cfg(target_os = "linux")]
mod stops;
mod tidy;
#[cfg(target_os = "linux")]
mod together;
#[cfg(target_os = "linux")]
mod turns;
mod verify;
mod workspaces;
mod world;
