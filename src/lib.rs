//! nightshift works through the ready tasks of a plan at night and leaves one gated pull request.
//!
//! This file is the map and the law: **the order of the lines below is the order of dependency**. A
//! room uses only rooms listed above it, and `tests/it/tidy.rs` holds us to it. `ARCHITECTURE.md` tells
//! the same story in words.

// Ground floor: words and rules. No clock, disk, network, processes or async.
pub mod ids;
pub mod budget;
pub mod redact;
pub mod diagnostic;
pub mod diff;
pub mod hosts;
pub mod plan;
pub mod prompt;
pub mod policy;
pub mod outcome;
pub mod night;
pub mod receipt;
pub mod ledger;
pub mod report;

// First floor: hands. Each touches one thing outside.
pub mod faults;
pub mod sys;
pub mod files;
pub mod sandbox;
pub mod process;
pub mod http;
pub mod proxy;
pub mod egress;
pub mod git;
pub mod workspace;
pub mod gate;
pub mod agent;
pub mod forge;
pub mod notify;
pub mod journal;
pub mod history;

// Second floor: the night.
pub mod config;
pub mod runner;

// Top floor: people.
pub mod cli;
