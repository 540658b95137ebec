//! `nightshift stop`.

use crate::{
    cli::{Global, Output, code},
    runner::{places::Surroundings, refused::Refused},
};

/// Placeholder arguments until the command lands.
#[derive(Debug, clap::Args)]
pub(super) struct Stop {}

pub(super) fn stop(
    _surroundings: &Surroundings,
    _global: &Global,
    _command: &Stop,
    _output: &mut Output,
) -> Result<u8, Refused> {
    Ok(code::DONE)
}
