//! The walls of Linux, one file for each of the kernel's means.

pub mod landlock;
pub mod limits;
pub mod seccomp;
