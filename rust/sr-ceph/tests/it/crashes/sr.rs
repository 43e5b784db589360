//! Creating and deleting an SR.

use sr_ceph::faults::{at_each_call, Calls, Faults, FaultyPool};
use sr_ceph::sr::probe::find_srs;
use sr_ceph::Error;
use uuid::Uuid;

use super::at;
use crate::support::{ceph_sr, new_disk, Lab, A, B, GIB};

/// Checks that nothing of the SR is left in the pool.
fn check_gone(lab: &Lab) {
    let pool = lab.sim.snapshot();
    assert!(!pool.objects.contains_key(&lab.catalogue()));
    assert!(pool
        .objects
        .get("smblock.directory")
        .is_none_or(|d| d.is_empty()));
    assert!(pool.images.is_empty() && pool.trash.is_empty());
}

#[test]
fn the_creation_of_an_sr_that_died_in_any_call_can_be_repeated_or_undone() {
    for repeated in [true, false] {
        let points = at_each_call(Calls::Changes, |plan| {
            at(&format!("{plan:?} repeated: {repeated}"), || {
                let lab = Lab::bare();
                let process = lab.process(A);
                let faults = Faults::plan(plan);
                let pool = FaultyPool::new(&process.pool, &faults);
                let sr = ceph_sr(&pool, &process.host, lab.sr);
                let done = sr.create_sr("ceph", "").is_ok();
                let found = find_srs(&lab.sim.client()).unwrap().len();
                assert!(!done || found == 1);
                faults.deliver();
                if repeated {
                    match lab.run(B, |sr| sr.create_sr("ceph", "")) {
                        Ok(()) | Err(Error::SrExists { .. }) => {}
                        Err(e) => panic!("{e}"),
                    }
                    assert_eq!(find_srs(&lab.sim.client()).unwrap().len(), 1);
                    lab.create(GIB);
                    let vdi = *lab.vdis(B).keys().next().unwrap();
                    lab.run(B, |sr| sr.delete_vdi(&vdi)).unwrap();
                    lab.sim.run_manager();
                }
                lab.run(B, |sr| sr.delete_sr()).unwrap();
                check_gone(&lab);
                faults.hit().is_some()
            })
        });
        assert!(points > 10, "only {points}");
    }
}

#[test]
fn the_deletion_of_an_sr_that_died_in_any_call_can_be_repeated_or_stopped() {
    for given_up in [true, false] {
        let points = at_each_call(Calls::Changes, |plan| {
            at(&format!("{plan:?} given up: {given_up}"), || {
                let lab = Lab::new();
                let process = lab.process(A);
                let faults = Faults::plan(plan);
                let pool = FaultyPool::new(&process.pool, &faults);
                let sr = ceph_sr(&pool, &process.host, lab.sr);
                let done = sr.delete_sr().is_ok();
                let left = lab.sim.object(&lab.catalogue()).is_some();
                assert!(!(done && left));
                if given_up && left {
                    lab.run(B, |sr| sr.attach_sr()).unwrap();
                    let vdi = lab.create(GIB);
                    faults.deliver();
                    assert!(lab.vdis(B).contains_key(&vdi), "a disk is lost");
                    let found = find_srs(&lab.sim.client()).unwrap();
                    assert_eq!(found.len(), 1, "the SR cannot be found again");
                    return faults.hit().is_some();
                }
                lab.run(B, |sr| sr.delete_sr()).unwrap();
                faults.deliver();
                check_gone(&lab);
                faults.hit().is_some()
            })
        });
        assert!(points > 10, "only {points}");
    }
}

#[test]
fn a_disk_made_while_its_sr_is_being_deleted_is_never_lost() {
    for nth in 0..12 {
        let lab = Lab::new();
        let (process, other) = (lab.process(A), lab.process(B));
        let vdi = Uuid::new_v4();
        let made = std::cell::Cell::new(false);
        let faults = Faults::interrupted(nth, || {
            let sr = ceph_sr(&other.pool, &other.host, lab.sr);
            let attached = sr.attach_sr().is_ok();
            made.set(attached && sr.create_disk(&new_disk(vdi, GIB)).is_ok());
        });
        let pool = FaultyPool::new(&process.pool, &faults);
        let deleted = ceph_sr(&pool, &process.host, lab.sr).delete_sr();
        if made.get() {
            assert!(
                lab.vdis(B).contains_key(&vdi),
                "before call {nth}: {deleted:?}"
            );
        }
    }
}
