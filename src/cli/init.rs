//! `nightshift init`.

use crate::{
    cli::{Global, Output, code},
    runner::{places::Surroundings, refused::Refused},
};

/// Placeholder arguments until the command lands.
#[derive(Debug, clap::Args)]
pub(super) struct Init {}

pub(super) fn init(
    _surroundings: &Surroundings,
    _global: &Global,
    _command: &Init,
    _output: &mut Output,
) -> Result<u8, Refused> {
    Ok(code::DONE)
}
