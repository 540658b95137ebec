//! `nightshift show`.

use crate::{
    cli::{Global, Output, code},
    runner::{places::Surroundings, refused::Refused},
};

/// Placeholder arguments until the command lands.
#[derive(Debug, clap::Args)]
pub(super) struct Show {}

pub(super) fn show(
    _surroundings: &Surroundings,
    _global: &Global,
    _command: &Show,
    _output: &mut Output,
) -> Result<u8, Refused> {
    Ok(code::DONE)
}
