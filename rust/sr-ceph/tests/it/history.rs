//! Random histories of claims: three hosts act and die, and their clocks and networks fail. The cluster never
//! accepts two hosts as writers of a disk, the reason of each refusal is true, and after the faults stop every
//! host can use every disk. A failing history is shrunk and printed with its seed.

mod actor;
mod pool;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use sr::faults::seed;

use pool::XapiPool;

const HOSTS: usize = 3;
const DISKS: usize = 2;
const STEPS: usize = 50;
const HISTORIES: u32 = 500;

/// One step of a history. Hosts and disks are numbers.
#[derive(Debug, Clone, Copy)]
enum Step {
    Activate {
        host: usize,
        disk: usize,
    },
    Deactivate {
        host: usize,
        disk: usize,
    },
    /// The process dies at its nth change.
    Killed {
        host: usize,
        disk: usize,
        nth: usize,
    },
    /// Another step, before the activation's nth call.
    Interrupted {
        host: usize,
        disk: usize,
        nth: usize,
        by: Event,
    },
    Snapshot {
        host: usize,
        disk: usize,
    },
    Revert {
        host: usize,
        disk: usize,
    },
    Attach {
        host: usize,
    },
    Event(Event),
}

/// Events that no driver causes.
#[derive(Debug, Clone, Copy)]
enum Event {
    Freeze(usize),
    Thaw(usize),
    Reboot(usize),
    /// XAPI loses or gets back the connection to the host.
    Cut {
        host: usize,
        cut: bool,
    },
    /// XAPI declares the host dead. The flag: whether the hook reached the cluster.
    DeclareDead {
        host: usize,
        hook: bool,
    },
    Clock {
        host: usize,
        ahead: i64,
    },
    Blocklisting(bool),
    Time(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let host = || 0..HOSTS;
    prop_oneof![
        2 => host().prop_map(Event::Freeze),
        3 => host().prop_map(Event::Thaw),
        2 => host().prop_map(Event::Reboot),
        2 => (host(), any::<bool>()).prop_map(|(host, cut)| Event::Cut { host, cut }),
        3 => (host(), any::<bool>()).prop_map(|(host, hook)| Event::DeclareDead { host, hook }),
        1 => (host(), -172_800..172_800_i64).prop_map(|(host, ahead)| Event::Clock { host, ahead }),
        1 => prop::sample::select(vec![true, true, false]).prop_map(Event::Blocklisting),
        2 => (1..200_u64).prop_map(Event::Time),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let pair = || (0..HOSTS, 0..DISKS);
    prop_oneof![
        8 => pair().prop_map(|(host, disk)| Step::Activate { host, disk }),
        4 => pair().prop_map(|(host, disk)| Step::Deactivate { host, disk }),
        3 => (pair(), 0..6_usize)
            .prop_map(|((host, disk), nth)| Step::Killed { host, disk, nth }),
        4 => (pair(), 0..14_usize, event()).prop_map(|((host, disk), nth, by)| {
            Step::Interrupted { host, disk, nth, by }
        }),
        1 => pair().prop_map(|(host, disk)| Step::Snapshot { host, disk }),
        1 => pair().prop_map(|(host, disk)| Step::Revert { host, disk }),
        1 => (0..HOSTS).prop_map(|host| Step::Attach { host }),
        9 => event().prop_map(Step::Event),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: HISTORIES,
        rng_seed: RngSeed::Fixed(seed(20_261_129)),
        max_shrink_iters: 5_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_disk_never_has_two_writers_and_is_never_lost_to_a_fault(
        old_kernels in any::<bool>(),
        steps in prop::collection::vec(step(), STEPS),
    ) {
        let mut pool = XapiPool::new(old_kernels);
        for step in &steps {
            pool.take(step);
            pool.check_writers();
        }
        pool.end();
    }
}
