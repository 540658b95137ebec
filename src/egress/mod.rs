//! The way of a gate's or a set-up's programs to the hosts that the configuration names, and to no other.
//!
//! Never holds a credential, never looks into what is encrypted, and never decides who may be talked to.

mod rules;

pub use rules::{Peer, Rule, Target, Wrong};
