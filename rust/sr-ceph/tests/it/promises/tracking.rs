//! Changed-block tracking: what is kept for a list, and for how long.

use sr_ceph::bitmap::Bitmap;
use sr_ceph::pool::{Pool, Transaction};
use sr_ceph::{CbtRefusal, Error, Result};
use uuid::Uuid;

use crate::support::{Lab, A, B, GIB};

/// An SR with a tracked disk, whose content is 1.
fn tracked() -> (Lab, Uuid) {
    let (lab, disk) = Lab::with_disk();
    lab.run(A, |sr| sr.track_changes(&disk, true)).unwrap();
    (lab, disk)
}

fn changed(lab: &Lab, from: &Uuid, to: &Uuid) -> Result<Bitmap> {
    lab.run(B, |sr| sr.changed_blocks(from, to))
}

/// Whether anything differs; `None` if the list is refused.
fn differs(lab: &Lab, from: &Uuid, to: &Uuid) -> Option<bool> {
    match changed(lab, from, to) {
        Ok(bitmap) => Some(bitmap.marked() > 0),
        Err(Error::Cbt(CbtRefusal::Unrelated { .. } | CbtRefusal::PointGone { .. })) => None,
        Err(error) => panic!("{error}"),
    }
}

fn revert(lab: &Lab, disk: &Uuid, to: &Uuid) {
    lab.run(A, |sr| sr.revert_vdi(disk, to)).unwrap();
}

fn delete(lab: &Lab, vdi: &Uuid) {
    lab.run(A, |sr| sr.delete_vdi(vdi)).unwrap();
}

fn refusal(result: Result<Bitmap>) -> CbtRefusal {
    match result {
        Err(Error::Cbt(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_list_goes_across_reverts_also_if_what_they_reverted_to_is_deleted() {
    let (lab, disk) = tracked();
    let first = lab.snapshot(&disk);
    lab.write(&disk, 2);
    let base = lab.snapshot(&disk);
    revert(&lab, &disk, &first);
    delete(&lab, &first);
    lab.scan(B).unwrap();
    assert_eq!(differs(&lab, &base, &disk), Some(true));
    let after = lab.snapshot(&disk);
    lab.write(&disk, 3);
    let last = lab.snapshot(&disk);
    revert(&lab, &disk, &after);
    for point in [&after, &last, &disk] {
        assert_eq!(differs(&lab, &base, point), Some(true));
        assert_eq!(differs(&lab, point, &base), Some(true));
    }
    assert_eq!(differs(&lab, &after, &disk), Some(false));
    assert_eq!(lab.lineages().len(), 2);

    // The next backup destroys its base: nothing needs the older images any more.
    delete(&lab, &base);
    assert_eq!(lab.lineages().len(), 1, "that of the disk");
    delete(&lab, &last);
    delete(&lab, &after);
    assert_eq!(lab.lineages(), []);
    lab.clear();
}

#[test]
fn a_clone_is_compared_with_its_tracked_snapshot_while_that_exists() {
    let (lab, disk) = tracked();
    let snapshot = lab.snapshot(&disk);
    let clone = lab.clone_of(&snapshot);
    assert!(!lab.record(&clone).unwrap().cbt);
    let untracked = refusal(changed(&lab, &snapshot, &clone));
    assert!(matches!(untracked, CbtRefusal::Untracked { vdi } if vdi == clone));
    lab.run(A, |sr| sr.track_changes(&clone, true)).unwrap();
    assert_eq!(differs(&lab, &snapshot, &clone), Some(false));
    lab.write(&clone, 5);
    assert_eq!(differs(&lab, &snapshot, &clone), Some(true));
    // The first disk goes on, and does not keep the clone's birth.
    delete(&lab, &snapshot);
    assert_eq!(lab.lineages(), []);
    lab.clear();
}

#[test]
fn a_clone_of_an_untracked_snapshot_or_of_a_disk_has_no_lineage() {
    let (lab, disk) = tracked();
    lab.clone_of(&disk);
    lab.run(A, |sr| sr.track_changes(&disk, false)).unwrap();
    let untracked = lab.snapshot(&disk);
    assert!(!lab.record(&untracked).unwrap().cbt);
    lab.clone_of(&untracked);
    revert(&lab, &disk, &untracked);
    assert_eq!(lab.lineages(), []);
    lab.clear();
}

#[test]
fn what_version_0_1_0_drops_leads_to_a_refusal_and_nothing_else() {
    let (lab, disk) = tracked();
    let first = lab.snapshot(&disk);
    lab.write(&disk, 2);
    let base = lab.snapshot(&disk);
    revert(&lab, &disk, &first);
    let lineage = lab.lineages().remove(0);
    // Its revert writes no lineage.
    let transaction = Transaction {
        remove: vec![format!("lineage.{}", lineage.image.id)],
        ..Transaction::default()
    };
    let process = lab.process(A);
    process
        .pool
        .transaction(&lab.catalogue(), &transaction)
        .unwrap();
    assert_eq!(differs(&lab, &base, &disk), None);
    assert_eq!(differs(&lab, &first, &base), Some(true));
    // Its deletion removes an origin.
    let (lab, disk) = tracked();
    let first = lab.snapshot(&disk);
    let base = lab.snapshot(&disk);
    revert(&lab, &disk, &first);
    lab.sim.remove_snapshots(&lab.image_name(&base));
    assert_eq!(differs(&lab, &base, &disk), None);
}

#[test]
fn a_disk_in_use_is_not_compared_and_its_snapshot_is() {
    let (lab, disk) = tracked();
    let first = lab.snapshot(&disk);
    lab.activate(A, &disk).unwrap();
    let in_use = refusal(changed(&lab, &first, &disk));
    assert!(matches!(in_use, CbtRefusal::InUse { host, .. } if host == A));
    let second = lab.snapshot(&disk);
    assert_eq!(differs(&lab, &first, &second), Some(false));
    let same = refusal(changed(&lab, &first, &first));
    assert!(matches!(same, CbtRefusal::Same { .. }));
}

#[test]
fn a_snapshot_without_data_can_only_be_compared_and_deleted() {
    let (lab, disk) = tracked();
    let snapshot = lab.snapshot(&disk);
    let untracked = lab.run(A, |sr| sr.destroy_data(&disk)).unwrap_err();
    assert!(matches!(
        untracked,
        Error::Cbt(CbtRefusal::NotTracked { .. })
    ));
    for _ in 0..2 {
        lab.run(A, |sr| sr.destroy_data(&snapshot)).unwrap();
    }
    let new = Uuid::new_v4();
    let refused = [
        lab.run(A, |sr| sr.activate_vdi(&snapshot, false).map(drop)),
        lab.run(A, |sr| sr.clone_vdi(&snapshot, &new).map(drop)),
        lab.run(A, |sr| sr.snapshot_vdi(&snapshot, &new).map(drop)),
        lab.run(A, |sr| sr.revert_vdi(&disk, &snapshot).map(drop)),
        lab.run(A, |sr| sr.locate_vdi(&snapshot).map(drop)),
    ];
    for result in refused {
        let error = result.unwrap_err();
        assert!(
            matches!(error, Error::Cbt(CbtRefusal::DataDestroyed { .. })),
            "{error}"
        );
    }
    lab.write(&disk, 2);
    assert_eq!(differs(&lab, &snapshot, &disk), Some(true));
    let scan = lab.scan(B).unwrap();
    let listed = scan.vdis.iter().find(|vdi| vdi.uuid == snapshot).unwrap();
    assert!(listed.cbt_enabled && listed.xapi.ty == "cbt_metadata");
    lab.clear();
}

#[test]
fn a_bitmap_has_the_size_of_the_newer_vdi() {
    let (lab, disk) = tracked();
    let small = lab.snapshot(&disk);
    lab.run(A, |sr| sr.resize_vdi(&disk, i128::from(2 * GIB)))
        .unwrap();
    let large = lab.snapshot(&disk);
    let bytes = |from, to| changed(&lab, from, to).unwrap().into_bytes().len();
    assert_eq!(bytes(&small, &large), 4096);
    assert_eq!(bytes(&large, &small), 2048);
}

#[test]
fn births_and_origins_of_moved_images_are_removed() {
    for moves_origin in [false, true] {
        let (lab, disk) = tracked();
        let first = lab.snapshot(&disk);
        let base = lab.snapshot(&disk);
        revert(&lab, &disk, &first);
        delete(&lab, &first);
        let moved = if moves_origin { &base } else { &disk };
        let name = lab.image_name(moved);
        lab.sim.prepare_migration(&name).unwrap();
        lab.sim.commit_migration(&name);
        lab.scan(A).unwrap();
        assert_eq!(differs(&lab, &base, &disk), None);
        assert_eq!(lab.content(&base), Some(1));
        lab.clear();
    }
}

#[test]
fn a_snapshot_of_a_moved_image_that_was_an_origin_is_kept() {
    let (lab, disk) = tracked();
    let first = lab.snapshot(&disk);
    let clone = lab.clone_of(&first);
    let name = lab.image_name(&disk);
    lab.sim.prepare_migration(&name).unwrap();
    lab.sim.commit_migration(&name);
    delete(&lab, &clone);
    lab.scan(A).unwrap();
    assert_eq!(lab.lineages(), []);
    assert_eq!(lab.content(&first), Some(1));
    lab.clear();
}

/// The order of the keys decides which one is looked at first.
#[test]
fn a_lineage_that_cannot_be_removed_does_not_keep_the_others() {
    for kept in [0, 1] {
        let (lab, disk) = tracked();
        let other = lab.clone_of(&disk);
        lab.run(A, |sr| sr.track_changes(&other, true)).unwrap();
        for disk in [&disk, &other] {
            let first = lab.snapshot(disk);
            lab.snapshot(disk);
            revert(&lab, disk, &first);
            delete(&lab, &first);
        }
        let lineages = lab.lineages();
        assert_eq!(lineages.len(), 2);
        let protected = &lineages[kept].image.name;
        lab.sim.protect_snapshots(protected, true);
        for disk in [&disk, &other] {
            delete(&lab, disk);
        }
        lab.scan(A).unwrap();
        let left = lab.lineages();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].image.name, *protected);
        lab.sim.protect_snapshots(protected, false);
        lab.clear();
    }
}
