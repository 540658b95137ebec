//! Git: what a remote's address means, and the one place that runs the `git` program.

pub mod remote;
pub mod network;
