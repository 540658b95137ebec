//! `nightshift logs`.

use crate::{
    cli::{Global, Output, code},
    runner::{places::Surroundings, refused::Refused},
};

/// Placeholder arguments until the command lands.
#[derive(Debug, clap::Args)]
pub(super) struct Logs {}

pub(super) fn logs(
    _surroundings: &Surroundings,
    _global: &Global,
    _command: &Logs,
    _output: &mut Output,
) -> Result<u8, Refused> {
    Ok(code::DONE)
}
