//! The walls of Linux, one file for each of the kernel's means.
//!
//! Never decides what a program may see: [`super::Walls`] say it.

pub mod apart;
pub mod landlock;
pub mod limits;
pub mod mounts;
mod plan;
pub mod seccomp;
