//! Tries one property on made inputs until its time is over, and says on standard error how many there were.
//!
//! Keeps no file of failures: an input that fails is printed as small as it gets, and becomes a test of the
//! room that it concerns.

use std::{
    fmt::Debug,
    hash::{BuildHasher, RandomState},
    io::Write,
    time::{Duration, Instant},
};

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseResult, TestError, TestRng, TestRunner},
};

/// Seconds for one property where nobody says more: enough to notice that something broke.
const SECONDS: u64 = 2;
/// Inputs between two looks at the clock.
const BATCH: u32 = 32;

/// A number from the environment: `NIGHTSHIFT_FUZZ_` and this word.
#[expect(clippy::disallowed_methods, reason = "who runs the tests says how long and from where")]
fn wished(word: &str) -> Option<u64> {
    let name = format!("NIGHTSHIFT_FUZZ_{word}");
    let text = std::env::var(&name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: `{text}` is no whole number")))
}

/// Tries `property` on inputs of `strategy` for the wished number of seconds.
#[expect(clippy::disallowed_methods, reason = "measures how long it went on")]
pub(crate) fn drive<S>(name: &str, strategy: &S, property: impl Fn(S::Value) -> TestCaseResult)
where
    S: Strategy,
    S::Value: Debug,
{
    let time = Duration::from_secs(wished("SECONDS").unwrap_or(SECONDS));
    let first = wished("SEED").unwrap_or_else(|| RandomState::new().hash_one(name));
    let begun = Instant::now();
    let (mut seed, mut inputs) = (first, 0_u64);
    while inputs == 0 || begun.elapsed() < time {
        let config = Config {
            cases: BATCH,
            failure_persistence: None,
            max_shrink_iters: 20_000,
            max_global_rejects: 10 * BATCH,
            ..Config::default()
        };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        match TestRunner::new_with_rng(config, random).run(strategy, &property) {
            Ok(()) => {}
            Err(TestError::Fail(why, input)) => panic!(
                "{name} (NIGHTSHIFT_FUZZ_SEED={seed}, after {inputs} inputs): {why}\n{input:#?}"
            ),
            Err(TestError::Abort(why)) => panic!("{name} (seed {seed}): {why}"),
        }
        inputs += u64::from(BATCH);
        seed = seed.wrapping_add(1);
    }
    let millis = begun.elapsed().as_millis().max(1);
    let rate = u128::from(inputs) * 1000 / millis;
    let seconds = millis / 1000;
    let _ = writeln!(
        std::io::stderr(),
        "fuzz: {name}: {inputs} inputs in {seconds} s ({rate}/s), from seed {first}"
    );
}
