//! `nightshift check`.

use crate::{
    cli::{Global, Output, code},
    runner::{places::Surroundings, refused::Refused},
};

/// Placeholder arguments until the command lands.
#[derive(Debug, clap::Args)]
pub(super) struct Check {}

pub(super) fn check(
    _surroundings: &Surroundings,
    _global: &Global,
    _command: &Check,
    _output: &mut Output,
) -> Result<u8, Refused> {
    Ok(code::DONE)
}

/// The same for a request of `run --dry-run`.
pub(super) fn of(
    _surroundings: &Surroundings,
    _request: &crate::runner::prepare::Request,
    _output: &Output,
) -> Result<u8, Refused> {
    Ok(code::DONE)
}
