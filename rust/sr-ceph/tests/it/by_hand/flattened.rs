//! Disks that were flattened by hand although their older snapshots have clones.

use super::*;

/// A flattened disk, and its clone, which needs the parent that the disk had.
fn flattened() -> (Lab, Uuid, Uuid) {
    let (lab, golden) = Lab::with_disk();
    let disk = lab.clone_of(&golden);
    let clone = lab.clone_of(&disk);
    lab.sim.flatten_by_hand(&lab.image_name(&disk));
    (lab, disk, clone)
}

#[test]
fn a_disk_whose_base_cannot_be_removed_is_not_replaced_half() {
    let (lab, disk, clone) = flattened();
    let snapshot = lab.snapshot(&disk);
    let before = lab.sim.snapshot();
    refused(&lab, |sr| sr.revert_vdi(&disk, &snapshot));
    refused(&lab, |sr| sr.delete_vdi(&disk));
    assert_eq!(lab.sim.snapshot(), before);
    lab.sim.flatten_by_hand(&lab.image_name(&clone));
    lab.run(A, |sr| sr.revert_vdi(&disk, &snapshot)).unwrap();
    lab.snapshot(&disk);
    lab.clear();
}

#[test]
fn the_same_is_true_for_a_reset() {
    let (lab, golden) = Lab::with_disk();
    let disk = lab.clone_of(&golden);
    lab.run(A, |sr| sr.reset_vdi(&disk)).unwrap();
    let clone = lab.clone_of(&disk);
    lab.sim.flatten_by_hand(&lab.image_name(&disk));
    let before = lab.sim.snapshot();
    refused(&lab, |sr| sr.reset_vdi(&disk));
    assert_eq!(lab.sim.snapshot(), before);
    delete(&lab, &clone);
    lab.settle();
    lab.run(A, |sr| sr.reset_vdi(&disk)).unwrap();
    lab.sim.flatten_by_hand(&lab.image_name(&disk)); // it needs the reset point
    lab.clear();
}

#[test]
fn a_reset_point_that_cannot_be_removed_stays() {
    let (lab, golden) = Lab::with_disk();
    let disk = lab.clone_of(&golden);
    let first = lab.image_name(&disk);
    for _ in 0..2 {
        lab.run(A, |sr| sr.reset_vdi(&disk)).unwrap();
    }
    assert_ne!(lab.image_name(&disk), first);
    lab.sim.flatten_by_hand(&first);
    let before = lab.sim.snapshot();
    refused(&lab, |sr| sr.forget_reset_point(&disk));
    assert_eq!(lab.sim.snapshot(), before);
    lab.sim.flatten_by_hand(&lab.image_name(&disk));
    lab.run(A, |sr| sr.forget_reset_point(&disk)).unwrap();
    lab.clear();
}

#[test]
fn a_changed_disk_can_be_cloned_while_its_base_has_to_stay() {
    let (lab, disk, clone) = flattened();
    lab.write(&disk, 2);
    for _ in 0..2 {
        let second = lab.clone_of(&disk);
        assert_eq!(lab.content(&second), Some(2));
        assert_eq!(lab.scan(B).unwrap().warnings, [""; 0]);
    }
    assert_eq!(lab.content(&clone), Some(1));
    let before = lab.sim.snapshot();
    refused(&lab, |sr| sr.delete_vdi(&disk)); // its record has no parent now
    assert_eq!(lab.sim.snapshot(), before);
    delete(&lab, &clone);
    lab.settle();
    lab.scan(B).unwrap();
    assert!(lab.record(&disk).unwrap().base.is_none());
    lab.clear();
}

#[test]
fn an_image_with_a_lock_or_a_protected_base_is_not_replaced_half() {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    let name = lab.image_name(&disk);
    lab.clone_of(&disk);
    let before = lab.sim.snapshot();
    lab.sim.protect_snapshots(&name, true);
    refused(&lab, |sr| sr.revert_vdi(&disk, &snapshot));
    lab.sim.protect_snapshots(&name, false);
    lab.sim.lock_by_hand(&name, Some("maintenance"));
    refused(&lab, |sr| sr.revert_vdi(&disk, &snapshot));
    lab.sim.lock_by_hand(&name, None);
    assert_eq!(lab.sim.snapshot(), before);
    lab.run(A, |sr| sr.revert_vdi(&disk, &snapshot)).unwrap();
    lab.clear();
}
