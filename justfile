# Commands of every day. `just` lists them; each is one line that also works without just.

# list the commands
default:
    @just --list

# everything that CI checks, or only some: just check fmt lint test
check *steps:
    .ci/run {{ steps }}

# the tests
test *arguments:
    cargo test {{ arguments }}

# the Claude Code that the tests drive, where `cargo test` finds it
claude:
    .ci/run claude

# A night of hundreds of short tasks; minutes. NIGHTSHIFT_SOAK_TASKS=300
soak:
    cargo test --test it -- --ignored soak --nocapture

# format the code
fmt:
    cargo fmt --all

# a whole night on a throw-away repository
demo *arguments:
    cargo run --release -- demo {{ arguments }}

# the binary as it is released
release:
    cargo build --profile dist --locked
    @ls -l target/dist/nightshift
