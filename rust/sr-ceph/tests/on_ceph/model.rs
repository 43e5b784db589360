//! Random sequences of what two hosts do to an SR, compared with a model after every step, block by
//! block. Processes die in any change, or sleep past their lease and go on when another host has
//! taken over; XAPI renames and repoints in its own database alone; somebody has images open.

mod expectations;
mod run;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use sr::faults::seed;
use sr_ceph::faults::Mode;

use super::lab::{Lab, A, B, BLOCKS};
use run::Run;

const HOSTS: [&str; 2] = [A, B];
/// VDIs that there can be at a time.
const VDIS: usize = 7;
/// The numbers that actions are made with, and from which on they are taken as they are: those below
/// mean a VDI that fits the action, where there is one.
const NUMBERS: usize = 40;
const ANY: usize = 36;
const STEPS: usize = 55;
const SEQUENCES: u32 = 6;
const SEED: u64 = 20_261_121;
/// Each attempt to shorten a sequence that fails takes seconds.
const SHRINKING: u32 = 20;

/// What is done; VDIs are numbers.
#[derive(Debug, Clone, Copy)]
enum Action {
    Create { vdi: usize },
    Snapshot { of: usize, new: usize },
    Clone { of: usize, new: usize },
    Revert { disk: usize, to: usize },
    Delete { vdi: usize },
    Grow { vdi: usize, objects: u64 },
    Activate { vdi: usize },
    Deactivate { vdi: usize },
}

impl Action {
    fn is_activation(self) -> bool {
        matches!(self, Action::Activate { .. } | Action::Deactivate { .. })
    }
}

/// What happens to the process that does it.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Lives,
    /// Its nth change goes wrong. Who recovers: the same host at once, or the other one once the
    /// lease is over.
    Dies {
        nth: usize,
        mode: Mode,
        here: bool,
    },
    /// It sleeps past its lease before its nth call; the other host scans; it goes on.
    Sleeps {
        nth: usize,
    },
}

#[derive(Debug, Clone)]
enum Step {
    Command {
        host: usize,
        action: Action,
        fate: Fate,
    },
    Scan {
        host: usize,
    },
    /// A VM writes, where it runs on that disk.
    Write {
        vdi: usize,
        block: usize,
        value: u64,
    },
    /// In XAPI's database alone.
    Rename {
        vdi: usize,
        name: u8,
    },
    /// `snapshot_of`, in XAPI's database alone.
    Repoint {
        vdi: usize,
        of: usize,
    },
    /// Somebody opens the image with librbd, and has it open from now on.
    Open {
        vdi: usize,
    },
    /// Whoever has an image open closes it.
    Close,
}

fn action() -> impl Strategy<Value = Action> {
    let one = || 0..NUMBERS;
    let two = || (0..NUMBERS, 0..NUMBERS);
    prop_oneof![
        4 => one().prop_map(|vdi| Action::Create { vdi }),
        5 => two().prop_map(|(of, new)| Action::Snapshot { of, new }),
        4 => two().prop_map(|(of, new)| Action::Clone { of, new }),
        4 => two().prop_map(|(disk, to)| Action::Revert { disk, to }),
        4 => one().prop_map(|vdi| Action::Delete { vdi }),
        2 => (one(), 3..8_u64).prop_map(|(vdi, objects)| Action::Grow { vdi, objects }),
        2 => one().prop_map(|vdi| Action::Activate { vdi }),
        4 => one().prop_map(|vdi| Action::Deactivate { vdi }),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    let mode = prop::sample::select(Mode::ALL.to_vec());
    prop_oneof![
        2 => Just(Fate::Lives),
        3 => (0..5_usize, mode, any::<bool>())
            .prop_map(|(nth, mode, here)| Fate::Dies { nth, mode, here }),
        2 => (4..9_usize).prop_map(|nth| Fate::Sleeps { nth }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..HOSTS.len(), action(), fate())
            .prop_map(|(host, action, fate)| Step::Command { host, action, fate }),
        1 => (0..HOSTS.len()).prop_map(|host| Step::Scan { host }),
        5 => (0..VDIS, 0..BLOCKS, 1..1000_u64)
            .prop_map(|(vdi, block, value)| Step::Write { vdi, block, value }),
        1 => (0..VDIS, any::<u8>()).prop_map(|(vdi, name)| Step::Rename { vdi, name }),
        1 => (0..VDIS, 0..VDIS).prop_map(|(vdi, of)| Step::Repoint { vdi, of }),
        1 => (0..VDIS).prop_map(|vdi| Step::Open { vdi }),
        1 => Just(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: SEQUENCES,
        rng_seed: RngSeed::Fixed(seed(SEED)),
        max_shrink_iters: SHRINKING,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_two_hosts_do_each_vdi_holds_what_it_is_to_hold_and_nothing_is_left(
        steps in prop::collection::vec(step(), STEPS)
    ) {
        let Some(lab) = Lab::connect() else {
            return Ok(());
        };
        eprintln!("{STEPS} steps of {:?}", seed(SEED));
        let mut run = Run::new(lab);
        for (number, step) in steps.iter().enumerate() {
            eprintln!("{number}: {step:?}");
            run.take(step);
        }
        run.end();
    }
}
