//! Random sequences of everything that two hosts can do to an SR, compared with a model of what an
//! administrator expects. A failing sequence is shrunk and printed with its seed.
#![allow(clippy::unwrap_used)]

#[path = "model/expectations.rs"]
mod expectations;
mod support;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use store::faults::Mode;

use expectations::Model;
use support::{A, B};

const HOSTS: [&str; 2] = [A, B];
const DISKS: usize = 4;
const STEPS: usize = 40;
const SEQUENCES: u32 = 300;

/// One step. Hosts and disks are numbers; a disk's number stands for one UUID, used again and
/// again.
#[derive(Debug, Clone)]
enum Step {
    Create {
        host: usize,
        disk: usize,
    },
    Delete {
        host: usize,
        disk: usize,
    },
    Grow {
        host: usize,
        disk: usize,
        gib: u64,
    },
    Activate {
        host: usize,
        disk: usize,
    },
    Deactivate {
        host: usize,
        disk: usize,
    },
    Write {
        host: usize,
        disk: usize,
        content: u64,
    },
    Rename {
        disk: usize,
        name: u8,
    },
    Scan {
        host: usize,
    },
    Attach {
        host: usize,
    },
    Reboot {
        host: usize,
    },
    DeclareDead {
        host: usize,
    },
    RunManager,
    LeaseOver,
    /// The step goes wrong at its nth change.
    Dying {
        nth: usize,
        mode: Mode,
        step: Box<Step>,
    },
    /// A request that timed out arrives.
    Deliver,
}

fn step() -> impl Strategy<Value = Step> {
    let (host, disk) = (0..HOSTS.len(), 0..DISKS);
    let on = move || (host.clone(), disk.clone());
    let operation = prop_oneof![
        3 => on().prop_map(|(host, disk)| Step::Create { host, disk }),
        2 => on().prop_map(|(host, disk)| Step::Delete { host, disk }),
        1 => (on(), 1..6_u64).prop_map(|((host, disk), gib)| Step::Grow { host, disk, gib }),
        4 => on().prop_map(|(host, disk)| Step::Activate { host, disk }),
        3 => on().prop_map(|(host, disk)| Step::Deactivate { host, disk }),
        1 => (0..HOSTS.len()).prop_map(|host| Step::Scan { host }),
        1 => (0..HOSTS.len()).prop_map(|host| Step::Attach { host }),
    ];
    let mode = prop::sample::select(Mode::ALL.to_vec());
    let dying = (0..4_usize, mode, operation.clone()).prop_map(|(nth, mode, step)| {
        let step = Box::new(step);
        Step::Dying { nth, mode, step }
    });
    let (host, disk) = (0..HOSTS.len(), 0..DISKS);
    prop_oneof![
        12 => operation,
        5 => dying,
        3 => (host.clone(), disk.clone(), 1..1000_u64)
            .prop_map(|(host, disk, content)| Step::Write { host, disk, content }),
        1 => (disk, any::<u8>()).prop_map(|(disk, name)| Step::Rename { disk, name }),
        1 => host.clone().prop_map(|host| Step::Reboot { host }),
        1 => host.prop_map(|host| Step::DeclareDead { host }),
        1 => Just(Step::RunManager),
        2 => Just(Step::LeaseOver),
        2 => Just(Step::Deliver),
    ]
}

/// The same sequences every time, unless `PROPTEST_RNG_SEED` asks for others, as `make test-slow`
/// does: a change is to be judged by what it changes.
fn seed() -> RngSeed {
    match ProptestConfig::default().rng_seed {
        RngSeed::Random => RngSeed::Fixed(20_261_121),
        asked_for => asked_for,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: SEQUENCES,
        rng_seed: seed(),
        max_shrink_iters: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_two_hosts_do_no_disk_is_lost_resurrected_or_written_twice(
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
