//! `nightshift status`.

use crate::{
    cli::{Global, Output, code},
    runner::{places::Surroundings, refused::Refused},
};

/// Placeholder arguments until the command lands.
#[derive(Debug, clap::Args)]
pub(super) struct Status {}

pub(super) fn status(
    _surroundings: &Surroundings,
    _global: &Global,
    _command: &Status,
    _output: &mut Output,
) -> Result<u8, Refused> {
    Ok(code::DONE)
}
