//! Hands the arguments to the library and returns its exit code.

use std::process::ExitCode;

use nightshift::{agent, process};

fn main() -> ExitCode {
    let first = std::env::args_os().nth(1).unwrap_or_default();
    if first == process::SUPERVISE {
        return process::supervise_main();
    }
    if first == agent::DEMO_AGENT {
        return agent::demo_agent_main();
    }
    ExitCode::SUCCESS
}
