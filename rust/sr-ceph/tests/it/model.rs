//! Random sequences of everything that two hosts can do to an SR, compared with a model of what an
//! administrator expects. A failing sequence is shrunk and printed with its seed.

mod commands;
mod expectations;
mod states;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use sr::faults::seed;
use sr_ceph::faults::Mode;

use crate::support::{A, B};
use expectations::Model;

const HOSTS: [&str; 2] = [A, B];
const VDIS: usize = 5;
const STEPS: usize = 40;
const SEQUENCES: u32 = 300;

/// A command of a host. Hosts and VDIs are numbers. A VDI's number stands for one UUID, which is used
/// repeatedly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Create(usize),
    Snapshot { of: usize, new: usize },
    Clone { of: usize, new: usize },
    Revert { disk: usize, to: usize },
    Delete(usize),
    Grow { disk: usize, gib: u64 },
    Activate { vdi: usize, writable: bool },
    Deactivate(usize),
    Scan,
    Attach,
}

/// One step.
#[derive(Debug, Clone)]
enum Step {
    Run {
        host: usize,
        command: Command,
    },
    /// The command fails at its nth change.
    Dying {
        host: usize,
        command: Command,
        nth: usize,
        mode: Mode,
    },
    /// The host stops before the command's nth call, and continues after the other host has run another
    /// command: at once, or when its lease is over.
    HeldUp {
        host: usize,
        command: Command,
        nth: usize,
        past_lease: bool,
        meanwhile: Command,
    },
    /// A request that timed out arrives.
    Deliver,
    Write {
        vdi: usize,
        content: u64,
    },
    /// Only in XAPI's database.
    Rename {
        vdi: usize,
        name: u8,
        snapshot_of: usize,
    },
    /// `rbd device map`, out of band.
    MapByHand {
        host: usize,
        vdi: usize,
    },
    /// A tool opens the image with librbd, and keeps it open.
    OpenWithLibrbd {
        vdi: usize,
    },
    Reboot {
        host: usize,
    },
    DeclareDead {
        host: usize,
    },
    RunManager,
    LeaseOver,
}

fn command() -> impl Strategy<Value = Command> {
    let pair = || (0..VDIS, 0..VDIS);
    prop_oneof![
        3 => (0..VDIS).prop_map(Command::Create),
        3 => pair().prop_map(|(of, new)| Command::Snapshot { of, new }),
        3 => pair().prop_map(|(of, new)| Command::Clone { of, new }),
        3 => pair().prop_map(|(disk, to)| Command::Revert { disk, to }),
        3 => (0..VDIS).prop_map(Command::Delete),
        1 => (0..VDIS, 1..6_u64).prop_map(|(disk, gib)| Command::Grow { disk, gib }),
        4 => (0..VDIS).prop_map(|vdi| Command::Activate { vdi, writable: true }),
        1 => (0..VDIS).prop_map(|vdi| Command::Activate { vdi, writable: false }),
        4 => (0..VDIS).prop_map(Command::Deactivate),
        1 => Just(Command::Scan),
        1 => Just(Command::Attach),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let host = || 0..HOSTS.len();
    let mode = prop::sample::select(Mode::ALL.to_vec());
    prop_oneof![
        16 => (host(), command()).prop_map(|(host, command)| Step::Run { host, command }),
        5 => (host(), command(), 0..7_usize, mode)
            .prop_map(|(host, command, nth, mode)| Step::Dying { host, command, nth, mode }),
        3 => (host(), command(), 0..20_usize, any::<bool>(), command()).prop_map(
            |(host, command, nth, past_lease, meanwhile)| Step::HeldUp {
                host,
                command,
                nth,
                past_lease,
                meanwhile,
            }
        ),
        2 => Just(Step::Deliver),
        4 => (0..VDIS, 1..1000_u64).prop_map(|(vdi, content)| Step::Write { vdi, content }),
        1 => (0..VDIS, any::<u8>(), 0..VDIS)
            .prop_map(|(vdi, name, snapshot_of)| Step::Rename { vdi, name, snapshot_of }),
        1 => (host(), 0..VDIS).prop_map(|(host, vdi)| Step::MapByHand { host, vdi }),
        1 => (0..VDIS).prop_map(|vdi| Step::OpenWithLibrbd { vdi }),
        1 => host().prop_map(|host| Step::Reboot { host }),
        1 => host().prop_map(|host| Step::DeclareDead { host }),
        1 => Just(Step::RunManager),
        2 => Just(Step::LeaseOver),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: SEQUENCES,
        rng_seed: RngSeed::Fixed(seed(20_261_121)),
        max_shrink_iters: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_actions_of_two_hosts_lose_resurrect_or_write_a_disk_twice(
        steps in prop::collection::vec(step(), STEPS)
    ) {
        let mut model = Model::new();
        for step in &steps {
            model.take(step);
            model.check();
        }
        model.end();
    }
}
