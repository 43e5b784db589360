//! Deletions in an image that has a new id, before a scan has recorded the id.

use super::*;
use crate::support::{ceph_sr, B};
use sr_ceph::faults::{Calls, Faults, FaultyPool, Mode, Plan};
use sr_ceph::host::Host;

/// `rbd migration prepare`, `execute` and `commit`.
fn migrate(lab: &Lab, name: &str) {
    lab.sim.prepare_migration(name).unwrap();
    lab.sim.commit_migration(name);
}

/// Returns a disk that was reverted to its snapshot. The snapshot is in another image than the disk.
fn reverted() -> (Lab, Uuid, Uuid) {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    lab.run(A, |sr| sr.revert_vdi(&disk, &snapshot)).unwrap();
    lab.settle();
    (lab, disk, snapshot)
}

#[test]
fn a_snapshot_of_a_moved_image_is_deleted_while_its_disk_is_in_use() {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    lab.activate(B, &disk).unwrap();
    migrate(&lab, &lab.image_name(&disk));
    delete(&lab, &snapshot);
    lab.deactivate(B, &disk).unwrap();
    assert_eq!(lab.vdis(A).len(), 1);
    assert_eq!(lab.content(&disk), Some(1));
    lab.clear();
}

#[test]
fn a_snapshot_of_a_moved_image_is_deleted_while_its_disk_is_resized() {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    // The resize has written its intent, and host B does not finish it.
    let process = lab.process(B);
    let faults = Faults::plan(Plan {
        calls: Calls::Changes,
        nth: 1,
        mode: Mode::KilledBefore,
    });
    let pool = FaultyPool::new(&process.pool, &faults);
    let sr = ceph_sr(&pool, &process.host, lab.sr);
    sr.resize_vdi(&disk, i128::from(2 * GIB)).unwrap_err();
    assert_eq!(lab.keys("op.").len(), 1);
    migrate(&lab, &lab.image_name(&disk));
    delete(&lab, &snapshot);
    lab.sim.kill(process.host.owner());
    assert_eq!(lab.vdis(B).len(), 1);
    assert_eq!(lab.content(&disk), Some(1));
    lab.clear();
}

#[test]
fn a_snapshot_that_two_vdis_are_stays_if_one_is_deleted_from_a_moved_image() {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    let same = lab.snapshot(&snapshot);
    lab.activate(B, &disk).unwrap();
    migrate(&lab, &lab.image_name(&disk));
    delete(&lab, &snapshot);
    lab.deactivate(B, &disk).unwrap();
    lab.settle();
    assert_eq!(lab.content(&same), Some(1));
    lab.clear();
}

#[test]
fn a_moved_image_that_a_revert_replaces_is_deleted() {
    let (lab, disk, snapshot) = reverted();
    migrate(&lab, &lab.image_name(&disk));
    lab.run(A, |sr| sr.revert_vdi(&disk, &snapshot)).unwrap();
    assert_eq!(lab.content(&disk), Some(1));
    lab.clear();
}

#[test]
fn an_image_that_is_replaced_during_its_migration_is_deleted_after_it() {
    for abort in [false, true] {
        let (lab, disk, snapshot) = reverted();
        let name = lab.image_name(&disk);
        lab.sim.prepare_migration(&name).unwrap();
        lab.run(A, |sr| sr.revert_vdi(&disk, &snapshot)).unwrap();
        assert_eq!(lab.keys("op.").len(), 1);
        let new = Uuid::new_v4();
        let refusal = refused(&lab, |sr| sr.snapshot_vdi(&disk, &new));
        assert_contains(&refusal, &["rbd migration abort"]);
        if abort {
            lab.sim.abort_migration(&name);
        } else {
            lab.sim.commit_migration(&name);
        }
        assert_eq!(lab.content(&disk), Some(1));
        lab.clear();
    }
}

#[test]
fn a_moved_hidden_image_is_freed_with_its_last_clone() {
    for scans in [false, true] {
        let (lab, disk) = Lab::with_disk();
        let clone = lab.clone_of(&disk);
        let name = lab.image_name(&disk);
        delete(&lab, &disk);
        lab.settle();
        assert_eq!(lab.keys("hidden.").len(), 1);
        migrate(&lab, &name);
        if scans {
            lab.scan(A).unwrap();
        }
        delete(&lab, &clone);
        lab.run(A, |sr| sr.reclaim(|_, _| {})).unwrap();
        lab.clear();
    }
}

#[test]
fn a_reset_point_in_a_moved_image_is_removed() {
    let (lab, disk) = Lab::with_disk();
    lab.run(A, |sr| sr.reset_vdi(&disk)).unwrap();
    let name = lab.image_name(&disk);
    lab.run(A, |sr| sr.reset_vdi(&disk)).unwrap();
    lab.settle();
    migrate(&lab, &name);
    lab.run(A, |sr| sr.forget_reset_point(&disk)).unwrap();
    lab.clear();
}

#[test]
fn a_disk_whose_deletion_is_refused_keeps_its_reset_point() {
    let (lab, disk) = Lab::with_disk();
    lab.run(A, |sr| sr.reset_vdi(&disk)).unwrap();
    let name = lab.image_name(&disk);
    lab.sim.prepare_migration(&name).unwrap();
    let before = lab.record(&disk);
    assert_contains(
        &refused(&lab, |sr| sr.delete_vdi(&disk)),
        &["rbd migration abort"],
    );
    assert_eq!(lab.record(&disk), before);
    lab.sim.commit_migration(&name);
    delete(&lab, &disk);
    lab.clear();
}

#[test]
fn a_disk_whose_image_is_still_imported_is_not_deleted() {
    let (lab, disk) = Lab::with_disk();
    let name = lab.image_name(&disk);
    lab.sim.import_over(&name, true).unwrap();
    let importer = lab.sim.open_by_hand(&name);
    let before = (lab.record(&disk), lab.sim.snapshot());
    let refusal = refused(&lab, |sr| sr.delete_vdi(&disk));
    assert_contains(&refusal, &[&importer, "may still be imported"]);
    assert_eq!((lab.record(&disk), lab.sim.snapshot()), before);
    lab.sim.close_by_hand(&importer);
    delete(&lab, &disk);
    lab.clear();
}
