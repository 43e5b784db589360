//! One reclaim worker at a time frees the space of an SR.

use super::*;

#[test]
fn a_second_worker_stops_at_once_and_names_the_first() {
    let lab = alone();
    let disk = lab.create(GIB);
    delete(&lab, &disk);
    let mut refused = None;
    let owner = lab.run(A, |sr| {
        sr.reclaim(|_, report| {
            if matches!(report, Report::Progress(..)) {
                return;
            }
            // While the first one works, also for longer than a lease.
            refused = Some(lab.run(B, |other| {
                assert!(!asks(&lab, |sr| sr.scan(&[])), "it is at work already");
                other.reclaim(|_, _| panic!("two work at once"))
            }));
        })
        .map(|_| A)
    });
    assert_eq!(owner.unwrap(), A);
    match refused.unwrap() {
        Err(Error::WorkerRuns { host, .. }) => assert_eq!(host, A),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_worker_that_works_for_hours_stays_the_only_one() {
    let lab = alone();
    for disk in [0; 4].map(|_| lab.create(GIB)) {
        delete(&lab, &disk);
    }
    let process = lab.process(A);
    let faults = Faults::none();
    let pool = FaultyPool::new(&process.pool, &faults);
    let mut asked = 0;
    let left = ceph_sr(&pool, &process.host, lab.sr).reclaim(|_, report| {
        if matches!(report, Report::Progress(..)) {
            lab.sim.advance_seconds(LEASE_OVER * 2 / 3);
            return;
        }
        let second = lab.run(B, |sr| sr.reclaim(|_, _| {}));
        assert!(
            matches!(second, Err(Error::WorkerRuns { .. })),
            "{second:?}"
        );
        asked += 1;
    });
    assert_eq!((left.unwrap(), asked), (0, 4));
}

#[test]
fn a_dead_workers_work_is_continued_here_at_once_elsewhere_after_its_lease() {
    for (host, seconds) in [(A, 0), (B, LEASE_OVER)] {
        let lab = alone();
        for disk in chain(&lab, 1) {
            delete(&lab, &disk);
        }
        let process = lab.process(A);
        let faults = Faults::plan(Plan {
            calls: Calls::Changes,
            nth: 2,
            mode: Mode::KilledBefore,
        });
        let pool = FaultyPool::new(&process.pool, &faults);
        let died = ceph_sr(&pool, &process.host, lab.sr).reclaim(|_, _| {});
        assert!(died.is_err() && faults.killed());
        lab.sim.kill(process.host.owner());
        if seconds > 0 {
            let early = lab.run(host, |sr| sr.reclaim(|_, _| {}));
            assert!(matches!(early, Err(Error::WorkerRuns { .. })), "{early:?}");
            lab.sim.advance_seconds(seconds);
        }
        assert_eq!(lab.run(host, |sr| sr.reclaim(|_, _| {})).unwrap(), 0);
        assert!(is_empty(&lab), "{:?}", lab.sim.snapshot());
        assert_eq!(lab.sim.snapshot().blocklist.len(), 1, "what it had open");
    }
}
