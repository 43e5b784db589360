//! Walks through the points where an operation can fail, and chooses the seed of random tests.

use super::{Calls, Mode, Plan};

/// Runs `attempt` with each mode at the first call, then at the second one, and so on, until no
/// attempt reaches its call. `attempt` returns whether its fault happened. Returns how many did.
pub fn at_each_call(calls: Calls, mut attempt: impl FnMut(Plan) -> bool) -> usize {
    let mut at_call = |nth| {
        let plans = Mode::ALL.map(|mode| Plan { calls, nth, mode });
        plans.into_iter().filter(|&plan| attempt(plan)).count()
    };
    (0..)
        .map(&mut at_call)
        .take_while(|&faults| faults > 0)
        .sum()
}

/// Runs `attempt` with 0, 1, 2 and so on: the number of the call before which another host acts.
/// `attempt` returns how many calls were made. Ends after the first number that no call has.
pub fn before_each_call(mut attempt: impl FnMut(usize) -> usize) {
    let mut nth = 0;
    while attempt(nth) > nth {
        nth += 1;
    }
}

/// Returns the seed of a random test: `usual`, or `PROPTEST_RNG_SEED` of the environment, which
/// `make test-slow` sets. `usual` is a constant, so that a failure comes from the change under test.
///
/// # Panics
/// If the variable is not a number.
pub fn seed(usual: u64) -> u64 {
    match std::env::var("PROPTEST_RNG_SEED").map(|text| text.parse()) {
        Ok(Ok(seed)) => seed,
        Ok(Err(error)) => panic!("PROPTEST_RNG_SEED: {error}"),
        Err(_) => usual,
    }
}
