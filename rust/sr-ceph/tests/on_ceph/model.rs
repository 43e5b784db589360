//! Random sequences of actions of two hosts on an SR. After every step, all blocks are compared with a model.
//! Processes die in any change, or sleep past their lease and continue after another host has recovered. XAPI
//! changes names and `snapshot_of` only in its database. Other programs have images open.

mod expectations;
mod run;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use sr::faults::seed;
use sr_ceph::faults::Mode;

use super::lab::{Lab, A, B, BLOCKS};
use run::Run;

const HOSTS: [&str; 2] = [A, B];
/// How many VDIs can exist at a time.
const VDIS: usize = 7;
/// A number below `ANY` selects a VDI that fits the action, if one exists. From `ANY` on it selects exactly
/// that VDI.
const NUMBERS: usize = 40;
const ANY: usize = 36;
const STEPS: usize = 55;
const SEQUENCES: u32 = 6;
const SEED: u64 = 20_261_121;
/// Few, because each attempt to shrink a failing sequence takes seconds.
const SHRINKING: u32 = 20;

/// An action. VDIs are numbers.
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

/// What happens to the process of the action.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Lives,
    /// Its nth change fails. The same host recovers at once, or the other one when the lease is over.
    Dies {
        nth: usize,
        mode: Mode,
        here: bool,
    },
    /// It sleeps past its lease before its nth call, the other host scans, then it continues.
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
    /// A VM writes, if one runs on that disk.
    Write {
        vdi: usize,
        block: usize,
        value: u64,
    },
    /// Only in XAPI's database.
    Rename {
        vdi: usize,
        name: u8,
    },
    /// `snapshot_of`, only in XAPI's database.
    Repoint {
        vdi: usize,
        of: usize,
    },
    /// Another program opens the image with librbd, and keeps it open.
    Open {
        vdi: usize,
    },
    /// The other program closes the image.
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
    fn any_actions_of_two_hosts_keep_each_vdis_content_and_leave_nothing(
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
