//! Snapshots that were made, protected, limited or removed out of band.

use sr_ceph::pool::SnapshotKind;

use super::*;

#[test]
fn a_protected_snapshot_is_not_deleted_and_the_refusal_has_the_command() {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    let name = lab.image_name(&disk);
    lab.sim.protect_snapshots(&name, true);
    let before = lab.sim.snapshot();
    let refusal = refused(&lab, |sr| sr.delete_vdi(&snapshot));
    let unprotect = format!("'rbd snap unprotect rbd/{name}@{snapshot}'");
    assert_contains(&refusal, &[&unprotect, "rbd children"]);
    assert_eq!(lab.sim.snapshot(), before);
    lab.sim.protect_snapshots(&name, false);
    delete(&lab, &snapshot);
    lab.clear();
}

#[test]
fn a_disk_whose_base_is_protected_is_not_deleted_half() {
    let (lab, disk) = Lab::with_disk();
    lab.clone_of(&disk);
    let name = lab.image_name(&disk);
    lab.sim.protect_snapshots(&name, true);
    let before = lab.sim.snapshot();
    let refusal = refused(&lab, |sr| sr.delete_vdi(&disk));
    assert_contains(
        &refusal,
        &[&format!("'rbd snap unprotect rbd/{name}@clone.")],
    );
    assert_eq!(lab.sim.snapshot(), before);
    lab.write(&disk, 2); // the base is stale
    lab.scan(A).unwrap();
    lab.sim.protect_snapshots(&name, false);
    lab.clear();
}

#[test]
fn each_foreign_snapshot_of_a_deleted_disk_is_listed_with_its_removal() {
    let (lab, disk) = Lab::with_disk();
    let name = lab.image_name(&disk);
    lab.sim.snapshot_by_hand(&name, "kept", SnapshotKind::User);
    lab.sim.protect_snapshots(&name, true);
    lab.sim
        .snapshot_by_hand(&name, "by-hand", SnapshotKind::User);
    let group = SnapshotKind::Group("rbd/nightly@monday".to_owned());
    lab.sim.snapshot_by_hand(&name, ".group.1_a_b", group);
    lab.sim
        .snapshot_by_hand(&name, ".mirror.primary.x", SnapshotKind::Mirror);
    delete(&lab, &disk);
    lab.settle();
    lab.run(A, |sr| sr.reclaim(|_, _| {})).unwrap();
    assert_contains(
        &waiting(&lab).concat(),
        &[
            "4 that smblock has not taken",
            &format!("'rbd snap ls --all rbd/{name}'"),
            &format!("'rbd snap unprotect rbd/{name}@kept', 'rbd snap rm rbd/{name}@kept'"),
            &format!("; 'rbd snap rm rbd/{name}@by-hand'"),
            "'rbd group snap rm rbd/nightly@monday'",
            &format!("'rbd mirror image disable rbd/{name}'"),
        ],
    );
    lab.sim.remove_snapshots(&name);
    lab.clear();
}

#[test]
fn clones_made_by_hand_keep_a_deleted_snapshot_and_are_named() {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    let name = lab.image_name(&disk);
    lab.sim.clone_by_hand(&name, "by-hand");
    delete(&lab, &snapshot);
    delete(&lab, &disk);
    lab.settle();
    lab.run(A, |sr| sr.reclaim(|_, _| {})).unwrap();
    let waits = waiting(&lab).concat();
    assert_contains(
        &waits,
        &[&format!(
            "1 that only clones need ('rbd children --all rbd/{name}'"
        )],
    );
    let clone = lab
        .sim
        .snapshot()
        .images
        .into_keys()
        .find(|n| n.starts_with("by-hand"));
    lab.sim.flatten_by_hand(&clone.unwrap());
    lab.settle();
    assert_eq!(lab.sim.snapshot().images.len(), 1);
}

#[test]
fn a_snapshot_limit_is_named_and_leaves_nothing_unfinished() {
    let (lab, disk) = Lab::with_disk();
    let name = lab.image_name(&disk);
    lab.snapshot(&disk);
    lab.sim.limit_snapshots(&name, Some(1));
    let new = Uuid::new_v4();
    for refusal in [
        refused(&lab, |sr| sr.snapshot_vdi(&disk, &new)),
        refused(&lab, |sr| sr.clone_vdi(&disk, &new)),
        refused(&lab, |sr| sr.reset_vdi(&disk)),
    ] {
        let command = format!("'rbd snap limit clear rbd/{name}'");
        assert_contains(&refusal, &["limit of 1", &command]);
    }
    assert_eq!(lab.keys("op."), [""; 0]);
    assert_eq!(lab.sim.snapshot().images.len(), 1);
    lab.sim.limit_snapshots(&name, None);
    lab.snapshot(&disk);
    lab.clear();
}

#[test]
fn a_snapshot_removed_by_hand_is_refused_and_can_be_destroyed() {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    lab.sim.remove_snapshots(&lab.image_name(&disk));
    let new = Uuid::new_v4();
    for refusal in [
        refused(&lab, |sr| sr.activate_vdi(&snapshot, false)),
        refused(&lab, |sr| sr.clone_vdi(&snapshot, &new)),
        refused(&lab, |sr| sr.revert_vdi(&disk, &snapshot)),
    ] {
        assert_contains(&refusal, &[&snapshot.to_string(), "outside smblock"]);
    }
    assert_eq!(lab.keys("op."), [""; 0]);
    assert_eq!(lab.vdis(A).len(), 2);
    delete(&lab, &snapshot);
    lab.activate(A, &disk).unwrap();
    lab.deactivate(A, &disk).unwrap();
    lab.clear();
}

#[test]
fn a_clone_is_taken_anew_if_its_base_was_removed_by_hand() {
    let (lab, disk) = Lab::with_disk();
    lab.clone_of(&disk);
    lab.sim.remove_snapshots(&lab.image_name(&disk));
    let second = lab.clone_of(&disk);
    assert_eq!(lab.content(&second), Some(1));
    lab.clear();
}

#[test]
fn a_disk_flattened_by_hand_counts_no_parents() {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    let clone = lab.clone_of(&snapshot);
    lab.sim.flatten_by_hand(&lab.image_name(&clone));
    let of_clone = lab.snapshot(&clone);
    assert_eq!(lab.record(&of_clone).unwrap().depth, 0);
    delete(&lab, &disk);
    delete(&lab, &snapshot);
    lab.settle();
    assert_eq!(lab.content(&clone), Some(1));
    lab.clear();
}
