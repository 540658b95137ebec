//! Measures what nightshift costs beside the cheapest way there could be, all in one interleaved run:
//! `cargo build --release && cargo run --release --example bench -- [--quick] [--check] [--json FILE]`.
//!
//! Four parts: `rules` (a diff of one MiB, inspected), `start` (a night with nothing to do), `overhead` (what a landed task costs beside its agent and
//! its gate) and `warm` (a gate's build over the base's cache). Needs git and cargo; writes below `--dir` and
//! into the files that it is told to write, nothing else. `--check` fails on ratios inside this run and on a
//! broken promise (a landed tree that was not gated, a changed checkout), never on milliseconds.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement stands outside the doors, and one that cannot go on has failed"
)]

mod chart;
mod night;
mod overhead;
mod place;
mod report;
mod repository;
mod rules;
mod start;
mod warm;

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser as _;

use crate::{place::Place, report::Report};

/// What is asked for.
#[derive(clap::Parser)]
#[command(about = "Measures nightshift beside the cheapest way there could be")]
struct Wish {
    /// Fewer files, fewer rounds
    #[arg(long)]
    quick: bool,
    /// Fail when a ratio is over its goal
    #[arg(long)]
    check: bool,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the chart
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Where to work [default: /dev/shm, else the directory for temporary files]
    #[arg(long, value_name = "PLACE")]
    dir: Option<PathBuf>,
    /// Rounds of each measurement
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Files of the trees
    #[arg(long, value_name = "N", value_delimiter = ',')]
    files: Option<Vec<usize>>,
    /// Only these parts: rules, start, overhead, warm
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Option<Vec<String>>,
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    // The agent of the nights is this program, started again.
    if words.next().as_deref() == Some(repository::AGENT) {
        repository::agent(&words.next().unwrap());
        return ExitCode::SUCCESS;
    }
    let wish = Wish::parse();
    let place = Place::new(wish.dir.as_deref());
    let sizes = wish
        .files
        .clone()
        .unwrap_or_else(|| if wish.quick { vec![100, 10_000] } else { vec![100, 10_000, 100_000] });
    let rounds = |usual: u32, quick: u32| {
        usize::try_from(wish.rounds.unwrap_or(if wish.quick { quick } else { usual })).unwrap()
    };
    let wanted = |part: &str| wish.only.as_ref().is_none_or(|only| only.iter().any(|w| w == part));
    let mut report = Report::new(&place);
    if wanted("rules") {
        rules::measure(rounds(15, 5), &mut report);
    }
    if wanted("start") {
        start::measure(&place, rounds(15, 5), &mut report);
    }
    if wanted("overhead") {
        for files in sizes {
            overhead::measure(&place, files, rounds(7, 3), &mut report);
        }
        overhead::judge(&mut report);
    }
    if wanted("warm") {
        warm::measure(&place, rounds(5, 2), &mut report);
    }
    report.end();
    println!("{}", report.text());
    if let Some(path) = &wish.json {
        fs::write(path, report.json()).unwrap();
    }
    if let Some(path) = &wish.markdown {
        fs::write(path, report.markdown()).unwrap();
    }
    if let Some(path) = &wish.svg {
        fs::write(path, chart::draw(&report)).unwrap();
    }
    match report.failures() {
        failed if failed.is_empty() || !wish.check => ExitCode::SUCCESS,
        failed => {
            println!("over the goal: {}", failed.join("; "));
            ExitCode::FAILURE
        }
    }
}

/// Calls `work` and says how many milliseconds it took.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = work();
    (result, ms(start.elapsed()))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
