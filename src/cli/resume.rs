//! `nightshift resume`.

use crate::{
    cli::{Global, Output, code},
    runner::{places::Surroundings, refused::Refused},
};

/// Placeholder arguments until the command lands.
#[derive(Debug, clap::Args)]
pub(super) struct Resume {}

pub(super) fn resume(
    _surroundings: &Surroundings,
    _global: &Global,
    _command: &Resume,
    _output: &mut Output,
) -> Result<u8, Refused> {
    Ok(code::DONE)
}
