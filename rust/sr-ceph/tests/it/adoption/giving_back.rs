//! Undoing an adoption.

use super::*;
use crate::by_hand::assert_contains;
use sr_ceph::pool::SnapshotKind;
use sr_ceph::record::{Prepared, PreparedRecord, Record, SnapshotRef};

/// What refuses to give the disks back, as one text. Nothing is changed.
fn kept(older: &Older) -> String {
    let before = older.lab.sim.snapshot();
    let report = older.run(&older.request(true, true));
    assert!(!report.done, "{report:?}");
    let after = older.lab.sim.snapshot();
    assert_eq!(
        (after.images, after.snapshots),
        (before.images, before.snapshots)
    );
    assert!(older.lab.sim.object(&older.lab.catalogue()).is_some());
    older.lab.run(A, |sr| sr.attach_sr()).unwrap(); // the mark does not stay
    texts(&report.refused)
}

#[test]
fn an_undone_adoption_leaves_the_pool_as_it_was() {
    let (older, [disk, ..]) = Older::with_disks();
    let before = older.listed();
    older.adopt();
    let names: Vec<_> = older
        .undo()
        .disks
        .into_iter()
        .map(|disk| disk.name)
        .collect();
    assert!(names.contains(&"disk".to_owned()) && names.contains(&String::new()));
    older.check_given_back(&before);
    older.adopt();
    older.lab.write(&disk, 8);
    older.undo();
    assert_eq!(older.listed()[&disk].2, Some(8), "a write is lost");
}

#[test]
fn what_smblock_has_made_since_is_not_lost() {
    let (older, [disk, first, ..]) = Older::with_disks();
    older.adopt();
    let lab = &older.lab;
    let new = lab.create(GIB);
    let snapshot = lab.snapshot(&disk);
    let clone = lab.clone_of(&first);
    let refused = kept(&older);
    for vdi in [new, snapshot, clone] {
        assert_contains(&refused, &[&format!("VDI {vdi}"), "since the adoption"]);
    }
    for vdi in [clone, snapshot, new] {
        lab.run(A, |sr| sr.delete_vdi(&vdi)).unwrap();
    }
    assert_contains(&kept(&older), &["its space is not freed yet"]);
    lab.settle();
    older.undo();
    assert_eq!(older.listed().len(), 3);
}

#[test]
fn a_reverted_disk_is_not_given_back_as_it_was() {
    let (older, [disk, first, ..]) = Older::with_disks();
    older.adopt();
    older.lab.run(A, |sr| sr.revert_vdi(&disk, &first)).unwrap();
    assert_contains(&kept(&older), &["also by a revert"]);
}

#[test]
fn a_disk_in_use_is_not_given_back() {
    let (older, [disk, ..]) = Older::with_disks();
    older.adopt();
    older.lab.run(A, |sr| sr.attach_sr()).unwrap();
    older.lab.activate(B, &disk).unwrap();
    let report = older.run(&older.request(true, true));
    assert_contains(&texts(&report.refused), &["has it open", "has claimed it"]);
    older.lab.deactivate(B, &disk).unwrap();
    older.undo();
}

#[test]
fn a_clone_base_goes_and_protection_comes_back() {
    let (older, [disk, first, second, clone, _]) = Older::with_disks();
    let before = older.listed();
    older.adopt();
    let lab = &older.lab;
    let copy = lab.clone_of(&disk); // leaves a base
                                    // The snapshot loses its protection, and its deletion fails then.
    lab.sim.flatten_by_hand(&lab.image_name(&clone));
    lab.run(A, |sr| sr.delete_vdi(&copy)).unwrap();
    lab.settle();
    assert!(lab.record(&disk).unwrap().base.is_some());
    lab.sim.protect_snapshots(&lab.image_name(&disk), false);
    older.undo();
    older.check_given_back(&before);
    assert!(older.lab.sim.snapshot().trash.is_empty());
    let _snapshots = (first, second);
}

#[test]
fn a_prepared_snapshot_goes_too() {
    let (older, [disk, ..]) = Older::with_disks();
    let before = older.listed();
    older.adopt();
    let lab = &older.lab;
    let image = lab.record(&disk).unwrap().volume.image().clone();
    let name = Uuid::new_v4().to_string();
    let id = lab
        .sim
        .snapshot_by_hand(&image.name, &name, SnapshotKind::User);
    let prepared = Prepared::Taken {
        image: image.clone(),
        snapshot: SnapshotRef { name, id },
        size: GIB,
        depth: 0,
    };
    let prepared = PreparedRecord::new("OpaqueRef:over", None, prepared).seal();
    let key = format!("prepared.{disk}");
    lab.sim.put(&lab.catalogue(), &key, &prepared);
    older.undo();
    older.check_given_back(&before);
    let left = lab.sim.snapshot().snapshots;
    assert!(left.iter().all(|(of, it, _)| (of, *it) != (&image.id, id)));
}

#[test]
fn an_sr_that_was_never_adopted_has_nothing_to_give_back() {
    let (lab, disk) = Lab::with_disk();
    let older = Older {
        lab,
        prefix: "",
        known: Vec::new(),
    };
    assert_contains(&kept(&older), &[&format!("VDI {disk}")]);
    let older = Older::with_disks().0;
    let report = older.run(&older.request(true, true));
    assert_contains(&texts(&report.refused), &["nothing of it was taken over"]);
}
