//! Random pools, random stops, and both drivers in turn.

use proptest::prelude::*;
use sr_ceph::faults::{Calls, Faults, FaultyPool, Mode, Plan};
use sr_ceph::host::Host;

use super::*;
use crate::support::ceph_sr;

#[derive(Debug, Clone)]
enum Step {
    Disk,
    Snapshot(usize),
    Clone(usize),
    Write(usize, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Disk),
        (0..8_usize).prop_map(Step::Snapshot),
        (0..8_usize).prop_map(Step::Clone),
        (0..8_usize, 1..99_u64).prop_map(|(disk, content)| Step::Write(disk, content)),
    ];
    prop::collection::vec(step, 1..14)
}

/// Makes the pool of those steps as CephRBDSR does.
fn make(steps: &[Step]) -> Older {
    let mut older = Older::new("");
    let mut disks = vec![older.disk("first", 1)];
    let mut with_snapshots = std::collections::BTreeSet::new();
    for step in steps {
        let at = |n: &usize| disks[n % disks.len()];
        match step {
            Step::Disk => {
                let name = ["", "named"][disks.len() % 2];
                disks.push(older.disk(name, 5));
            }
            Step::Snapshot(n) => {
                let disk = at(n);
                with_snapshots.insert(disk);
                older.snapshot(&disk, "snapshot");
            }
            Step::Clone(n) if with_snapshots.contains(&at(n)) => {
                let disk = at(n);
                disks.push(older.clone_of(&disk, "clone"));
            }
            Step::Clone(_) => {}
            Step::Write(n, content) => older.write(&at(n), *content),
        }
    }
    older
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        rng_seed: proptest::test_runner::RngSeed::Fixed(sr::faults::seed(84)),
        ..ProptestConfig::default()
    })]
    #[test]
    fn any_pool_goes_to_and_fro_through_any_stops(
        steps in steps(),
        stops in prop::collection::vec((any::<bool>(), 0..60_usize, 0..6_usize), 0..6),
        ends_adopted in any::<bool>(),
    ) {
        let older = make(&steps);
        let before = older.listed();
        for (undo, nth, mode) in stops {
            let plan = Plan { calls: Calls::Changes, nth, mode: Mode::ALL[mode] };
            let (process, faults) = (older.lab.process(A), Faults::plan(plan));
            let pool = FaultyPool::new(&process.pool, &faults);
            let sr = ceph_sr(&pool, &process.host, older.lab.sr);
            let _result = sr.adopt_older(&older.request(undo, true));
            older.lab.sim.kill(process.host.owner());
            faults.deliver();
        }
        if older.lab.sim.object(&older.lab.catalogue()).is_some() {
            older.lab.run(B, |sr| sr.attach_sr()).unwrap();
        }
        older.adopt();
        older.check_adopted(&before);
        if !ends_adopted {
            older.undo();
            older.check_given_back(&before);
        }
    }
}
