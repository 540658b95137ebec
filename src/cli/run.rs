//! `nightshift run`.

use crate::{
    cli::{Global, Output, code},
    runner::{places::Surroundings, refused::Refused},
};

/// Placeholder arguments until the command lands.
#[derive(Debug, clap::Args)]
pub(super) struct Run {}

pub(super) fn run(
    _surroundings: &Surroundings,
    _global: &Global,
    _command: &Run,
    _output: &mut Output,
) -> Result<u8, Refused> {
    Ok(code::DONE)
}
