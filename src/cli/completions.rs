//! `nightshift completions SHELL`.

use clap::CommandFactory as _;

use crate::{
    cli::{Arguments, Output, code},
    ids::NAME,
};

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn completions(command: &Completions, output: &Output) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut Arguments::command(), NAME, &mut script);
    output.raw(&script);
    code::DONE
}
