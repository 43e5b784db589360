//! Changed blocks on a real Ceph: random histories of disks, and for every pair of tracked points a comparison of
//! all bytes. No block that differs may be unmarked. `SMBLOCK_TRACKING_SEED=N` repeats a history.

mod disks;
mod random;

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sr_ceph::{CbtRefusal, Error};

use self::disks::{Disks, Pair};
use self::random::Random;
use super::lab::Lab;
use super::pool::device_config;

/// How many pairs a run compares at least; the long one 20 times as many.
const PAIRS: usize = 1000;
/// How many histories go on at the same time.
const AT_ONCE: usize = 4;
/// A history ends when it has so many points, or after so many steps. Two have 1,012 pairs.
const POINTS: usize = 23;
const PAIRS_OF_ONE: usize = POINTS * (POINTS - 1);
const STEPS: usize = 150;

/// The pairs of all histories.
#[derive(Debug, Default)]
struct Counts {
    histories: usize,
    /// Of all histories that have begun.
    planned: usize,
    pairs: usize,
    /// Refused: points of two disks that nothing connects any more.
    refused: usize,
    changed: u64,
    marked: u64,
}

#[test]
fn no_changed_block_of_any_pair_of_tracked_points_is_unmarked() {
    histories(PAIRS, 20_261_129);
}

#[test]
#[ignore = "takes minutes"]
fn no_changed_block_of_any_pair_of_many_tracked_points_is_unmarked() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    histories(20 * PAIRS, now.as_secs());
}

/// Compares that many pairs, in histories with the seeds from that one.
fn histories(pairs: usize, first: u64) {
    if device_config().is_none() {
        return;
    }
    let given = env::var("SMBLOCK_TRACKING_SEED").ok();
    let given = given.map(|seed| seed.parse::<u64>().unwrap());
    let (counts, next) = (Mutex::new(Counts::default()), AtomicU64::new(first));
    let began = Instant::now();
    let worker = || {
        while plan(&mut counts.lock().unwrap(), pairs) {
            history(next.fetch_add(1, Ordering::Relaxed), &counts);
        }
    };
    match given {
        Some(seed) => {
            plan(&mut counts.lock().unwrap(), 1);
            history(seed, &counts);
        }
        None => thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(worker);
            }
        }),
    }
    let counts = counts.into_inner().unwrap();
    let surplus = counts.marked.saturating_sub(counts.changed);
    eprintln!(
        "{} pairs of {} histories, 0 changed blocks unmarked; {} blocks changed, {surplus} more were marked; \
         {} pairs refused; {:.0} s",
        counts.pairs,
        counts.histories,
        counts.changed,
        counts.refused,
        began.elapsed().as_secs_f64(),
    );
    assert!(counts.refused < counts.pairs / 4, "{counts:?}");
}

/// Whether another history is needed for that many pairs.
fn plan(counts: &mut Counts, pairs: usize) -> bool {
    let more = counts.planned < pairs;
    counts.planned += usize::from(more) * PAIRS_OF_ONE;
    more
}

/// Prints the seed and each step. Several histories print at once.
fn history(seed: u64, counts: &Mutex<Counts>) {
    let Some(lab) = Lab::connect() else {
        return;
    };
    let mut random = Random::new(seed);
    let mut disks = Disks::new(lab);
    disks.create();
    for number in 0..STEPS {
        let step = disks.step(&mut random);
        eprintln!("SMBLOCK_TRACKING_SEED={seed} {number}: {step}");
        if disks.points() >= POINTS {
            break;
        }
    }
    disks.read_heads();
    let mut found = Counts::default();
    for pair in disks.pairs() {
        compare(&disks, &pair, &mut found);
    }
    disks.end();
    let mut counts = counts.lock().unwrap();
    counts.histories += 1;
    counts.planned = counts.planned + found.pairs - PAIRS_OF_ONE;
    counts.pairs += found.pairs;
    counts.refused += found.refused;
    counts.changed += found.changed;
    counts.marked += found.marked;
}

fn compare(disks: &Disks, pair: &Pair<'_>, counts: &mut Counts) {
    let (from, to) = (pair.from, pair.to);
    let bitmap = match disks.changed_blocks(&from.vdi, &to.vdi) {
        Ok(bitmap) => bitmap,
        // What connects two disks may be removed.
        Err(Error::Cbt(CbtRefusal::Unrelated { .. })) if from.disk != to.disk => {
            counts.refused += 1;
            return;
        }
        Err(error) => panic!("from {from:?} to {to:?}: {error}"),
    };
    counts.pairs += 1;
    for (block, differs) in pair.differences().enumerate() {
        let marked = bitmap.is_marked(block as u64 * sr_ceph::bitmap::BLOCK);
        assert!(
            marked || !differs,
            "block {block} is unmarked, from {from:?} to {to:?}"
        );
        counts.changed += u64::from(differs);
        counts.marked += u64::from(marked);
    }
    let length = bitmap.into_bytes().len() as u64;
    let blocks = to.size().div_ceil(sr_ceph::bitmap::BLOCK);
    assert!(
        length * 8 >= blocks && length.is_multiple_of(4),
        "{length} bytes"
    );
}
