//! What a person or a timer waits for when there is nothing to do: the start of the binary and a night with
//! nothing ready on 10,000 files, beside `git rev-parse HEAD` and `git status` there.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    night::environment,
    place::{Place, binary},
    report::{Bound, Report},
    repository, timed,
};

const PART: &str = "nothing to do";
const FILES: usize = 10_000;
const VERSION: &str = "nightshift --version";
const NIGHT: &str = "nightshift run, nothing ready";

/// Measures all four, interleaved.
pub(crate) fn measure(place: &Place, rounds: usize, report: &mut Report) {
    eprintln!("start");
    let (tree, repository) = (place.path("start-tree"), place.path("start"));
    repository::make(&tree, repository::plain(FILES), repository::GATE);
    fs::write(tree.join("PROJECT_PLAN.md"), "# Plan\n\n## Pending\n\n- **[t1]** Later\n").unwrap();
    repository::git(&tree, &["commit", "-q", "-a", "-m", "nothing is ready"]);
    repository::git(&tree, &["clone", "-q", ".", repository.to_str().unwrap()]);
    let home = place.path("home-start");
    fs::create_dir_all(&home).unwrap();
    let program = binary();
    let git = Path::new("git");
    let cases: [(&str, &Path, &[&str]); 4] = [
        (VERSION, &program, &["--version"]),
        (NIGHT, &program, &["run"]),
        ("git rev-parse HEAD", git, &["rev-parse", "HEAD"]),
        ("git status", git, &["status", "-s"]),
    ];
    for _ in 0..rounds {
        for (name, program, arguments) in cases {
            let mut command = environment(Command::new(program), &home);
            command.args(arguments).current_dir(&repository);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let (status, time) = timed(|| command.status().unwrap());
            assert!(status.success(), "{name}: {status}");
            report.time(PART, name, FILES, time);
        }
    }
    for (case, limit) in [(VERSION, 20.0), (NIGHT, 100.0)] {
        let median = report.median(PART, case, FILES).unwrap();
        report.goal(format!("{case}, in milliseconds"), median, limit, Bound::Shown);
    }
}
