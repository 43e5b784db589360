//! An adoption and its undoing can stop in any call: nothing is lost, and either can be repeated.

use sr_ceph::faults::{at_each_call, Calls, Faults, FaultyPool};
use sr_ceph::host::Host;

use super::*;
use crate::support::{ceph_sr, Process};

/// Runs a request with a fault, and then lets a late request arrive.
fn run_with<'p>(older: &Older, process: &'p Process, faults: &Faults<'p>, undo: bool) -> bool {
    let pool = FaultyPool::new(&process.pool, faults);
    let sr = ceph_sr(&pool, &process.host, older.lab.sr);
    let result = sr.adopt_older(&older.request(undo, true));
    older.lab.sim.kill(process.host.owner());
    faults.deliver();
    result.is_ok_and(|report| report.done)
}

/// Walks each call of an adoption (or its undoing), ends with either, and returns how many points there were.
fn walk(undo: bool, calls: Calls) -> usize {
    let mut points = 0;
    for ends_undone in [false, true] {
        points += at_each_call(calls, |plan| {
            let (older, [disk, ..]) = Older::with_disks();
            let before = older.listed();
            if undo {
                older.adopt();
            }
            let (process, faults) = (older.lab.process(A), Faults::plan(plan));
            let done = run_with(&older, &process, &faults, undo);
            let half = older.listed();
            for (vdi, found) in &half {
                assert_eq!(before[vdi].0, found.0, "{plan:?}");
            }
            assert!(!done || undo || half.is_empty(), "{plan:?}");
            let pool = older.lab.sim.snapshot();
            if pool.objects.contains_key(&older.lab.catalogue()) {
                // smblock's SR is complete at any time: a scan makes XAPI forget no disk.
                assert_eq!(older.lab.vdis(B).len(), before.len() + 2, "{plan:?}");
                assert!(half.is_empty(), "{plan:?}");
            }
            match ends_undone {
                false => {
                    if pool.objects.contains_key(&older.lab.catalogue()) {
                        older.lab.run(B, |sr| sr.attach_sr()).unwrap();
                    }
                    older.adopt();
                    older.check_adopted(&before);
                    older.lab.write(&disk, 77);
                    assert_eq!(older.lab.content(&disk), Some(77));
                }
                true => {
                    let report = older.run(&older.request(true, true));
                    assert!(report.done || half.len() == before.len(), "{report:?}");
                    older.check_given_back(&before);
                }
            }
            faults.hit().is_some()
        });
    }
    points
}

#[test]
fn an_adoption_that_stops_in_any_change_can_be_completed_or_undone() {
    let points = walk(false, Calls::Changes);
    eprintln!("{points} points");
    assert!(points > 60, "only {points}");
}

#[test]
fn an_undoing_that_stops_in_any_change_can_be_completed_or_undone() {
    let points = walk(true, Calls::Changes);
    eprintln!("{points} points");
    assert!(points > 60, "only {points}");
}

#[test]
fn an_adoption_whose_read_fails_changes_hands_completely_or_not() {
    let points = walk(false, Calls::Reads) + walk(true, Calls::Reads);
    eprintln!("{points} points");
    assert!(points > 100, "only {points}");
}

/// The other driver maps a disk by its name at any moment. It has the disk, or smblock: never both.
#[test]
fn two_drivers_never_have_one_disk() {
    let (mut mapped, mut refused) = (0, 0);
    for nth in 0.. {
        let (older, [disk, ..]) = Older::with_disks();
        let device = std::cell::RefCell::new(None);
        let (sim, name) = (older.lab.sim.clone(), older.name(&disk));
        let map = || *device.borrow_mut() = sim.map_by_hand(B, &name).ok();
        let (process, faults) = (older.lab.process(A), Faults::interrupted(nth, map));
        let pool = FaultyPool::new(&process.pool, &faults);
        let sr = ceph_sr(&pool, &process.host, older.lab.sr);
        let report = sr.adopt_older(&older.request(false, true)).unwrap();
        if faults.calls() <= nth {
            break;
        }
        let device = device.borrow();
        let is_recorded = older.lab.sim.object(&older.lab.catalogue()).is_some();
        assert_eq!(report.done, is_recorded);
        if device.is_some() {
            mapped += 1;
            assert!(!report.done, "call {nth}: both have the disk");
            assert!(older.listed().contains_key(&disk), "call {nth}");
        }
        refused += usize::from(!report.done);
    }
    assert!(mapped > 10 && mapped == refused, "{mapped} {refused}");
}

/// Two hosts adopt one SR at the same time.
#[test]
fn two_adoptions_at_once_make_one_sr() {
    for nth in 0.. {
        let (older, _) = Older::with_disks();
        let before = older.listed();
        let other = || {
            drop(
                older
                    .lab
                    .run(B, |sr| sr.adopt_older(&older.request(false, true))),
            )
        };
        let (process, faults) = (older.lab.process(A), Faults::interrupted(nth, other));
        // One of them may meet a name that the other has changed. It is repeated.
        let _first = run_with(&older, &process, &faults, false);
        if faults.calls() <= nth {
            break;
        }
        older.adopt();
        older.check_adopted(&before);
    }
}
