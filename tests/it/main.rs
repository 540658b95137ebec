//! The tests of the whole program: one binary.

#[cfg(target_os = "linux")]
mod agents;
#[cfg(target_os = "linux")]
mod processes;
mod crash;
mod forge;
mod network;
mod night;
mod resume;
mod support;
mod plan_scale;
