//! The seed of random tests.

use proptest::test_runner::{Config, RngSeed};

/// The same every time, unless `PROPTEST_RNG_SEED` asks for another one, as `make test-slow` does: a
/// change is to be judged by what it changes.
pub fn seed(usual: u64) -> RngSeed {
    match Config::default().rng_seed {
        RngSeed::Random => RngSeed::Fixed(usual),
        asked_for => asked_for,
    }
}
