//! `nightshift demo`.

use crate::{
    cli::{Global, Output, code},
    runner::{places::Surroundings, refused::Refused},
};

/// Placeholder arguments until the command lands.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {}

pub(super) fn demo(
    _surroundings: &Surroundings,
    _global: &Global,
    _command: &Demo,
    _output: &mut Output,
) -> Result<u8, Refused> {
    Ok(code::DONE)
}
