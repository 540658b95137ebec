//! Hands the arguments to the library and returns its exit code.

use std::process::ExitCode;

use nightshift::process;

fn main() -> ExitCode {
    let first = std::env::args_os().nth(1).unwrap_or_default();
    if first == process::SUPERVISE {
        return process::supervise_main();
    }
    ExitCode::SUCCESS
}
