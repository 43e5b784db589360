//! Changed blocks on a real Ceph: random histories of disks, and for every pair of tracked points a comparison of
//! all bytes. No block that differs may be unmarked. `SMBLOCK_TRACKING_SEED=N` repeats a history.

mod disks;
mod random;

use std::env;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sr_ceph::{CbtRefusal, Error};

use self::disks::{Disks, Pair};
use self::random::Random;
use super::lab::Lab;

/// How many pairs a run compares at least.
const PAIRS: usize = 2000;
const STEPS: usize = 60;
/// How many points a history may have at once: the pairs grow with their square.
const POINTS: usize = 15;

/// The pairs of a history.
#[derive(Debug, Default)]
struct Counts {
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
    histories(5 * PAIRS, now.as_secs());
}

/// Compares that many pairs, in histories with the seeds from that one.
fn histories(pairs: usize, first: u64) {
    let given = env::var("SMBLOCK_TRACKING_SEED").ok();
    let given = given.map(|seed| seed.parse::<u64>().unwrap());
    let (mut counts, began) = (Counts::default(), Instant::now());
    let mut number = 0;
    while counts.pairs < pairs {
        let Some(lab) = Lab::connect() else {
            return;
        };
        let seed = given.unwrap_or(first + number);
        eprintln!("SMBLOCK_TRACKING_SEED={seed}");
        history(lab, seed, &mut counts);
        number += 1;
        if given.is_some() {
            break;
        }
    }
    let surplus = counts.marked.saturating_sub(counts.changed);
    eprintln!(
        "{} pairs of {number} histories, 0 changed blocks unmarked; {} blocks changed, {surplus} more were marked; \
         {} pairs refused; {:.0} s",
        counts.pairs,
        counts.changed,
        counts.refused,
        began.elapsed().as_secs_f64(),
    );
    assert!(counts.refused < counts.pairs / 4, "{counts:?}");
}

fn history(lab: Lab, seed: u64, counts: &mut Counts) {
    let mut random = Random::new(seed);
    let mut disks = Disks::new(lab);
    disks.create();
    for number in 0..STEPS {
        let step = disks.step(&mut random);
        eprintln!("{number}: {step}");
        if disks.points().len() > POINTS {
            break;
        }
    }
    disks.read_heads();
    for pair in disks.pairs() {
        compare(&disks, &pair, counts);
    }
    disks.end();
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
