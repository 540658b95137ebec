//! Many runs of small nights beside each other: a case says what is wrong with its outcome, and all are told together.

use std::{
    io::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

/// What is asked for instead of the part that every change runs: `all`, or the cases whose name holds a text.
fn wanted() -> Option<String> {
    std::env::var("NIGHTSHIFT_KILLS").ok()
}

/// Every `nth` of what there is, or all of it where something is asked for.
pub(crate) fn some<T>(cases: Vec<T>, nth: usize) -> Vec<T> {
    let step = if wanted().is_some() { 1 } else { nth };
    cases.into_iter().step_by(step).collect()
}

/// Runs every case, as many at a time as there are processors, prints figures, and fails with all that was wrong.
/// A case gives what is wrong with its outcome, empty when nothing is.
pub(crate) fn run<C: Sync>(
    name: &str,
    cases: &[C],
    told: impl Fn(&C) -> String + Sync,
    case: impl Fn(&C) -> String + Sync,
) {
    let begun = Instant::now();
    let named = wanted().filter(|wanted| wanted != "all");
    let fits = |case: &&C| named.as_ref().is_none_or(|part| told(case).contains(part.as_str()));
    let cases: Vec<&C> = cases.iter().filter(fits).collect();
    let next = AtomicUsize::new(0);
    let wrong: Mutex<Vec<String>> = Mutex::default();
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(one) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let found = case(one);
                    if !found.is_empty() {
                        // At once: a whole matrix takes its time.
                        say(&format!("{name}: {}:\n{found}", told(one)));
                        wrong.lock().unwrap().push(told(one));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    let seconds = begun.elapsed().as_secs();
    say(&format!("{name}: {} runs, {} differences, {seconds} s", cases.len(), wrong.len()));
    assert!(named.is_some() || !cases.is_empty(), "{name}: no case");
    assert!(wrong.is_empty(), "{name}: {} of {}\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Says a line on the real standard error, also where the test passes.
pub(crate) fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// A random number below `below`, the same for the same seed.
pub(crate) fn random(seed: &mut u64, below: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed % below
}
