//! Images whose id or name was changed, or whose name is missing.

use crate::support::{ceph_sr, B};
use nix::libc;
use sr_ceph::faults::{Calls, Faults, FaultyPool, Mode, Plan};

use super::*;

/// Returns a disk with a snapshot and a clone base, and its image's name.
fn family() -> (Lab, Uuid, Uuid, String) {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    lab.write(&disk, 2);
    lab.clone_of(&disk);
    let name = lab.image_name(&disk);
    (lab, disk, snapshot, name)
}

/// Checks that the disk and its snapshot have their content, can be used, and can be deleted.
fn assert_whole(lab: &Lab, disk: &Uuid, snapshot: &Uuid) {
    assert_eq!(lab.vdis(A).len(), 3);
    assert_eq!(lab.content(disk), Some(2));
    assert_eq!(lab.content(snapshot), Some(1));
    lab.activate(B, disk).unwrap();
    lab.deactivate(B, disk).unwrap();
    let again = lab.clone_of(disk);
    assert_eq!(lab.content(&again), Some(2));
    let from_snapshot = lab.clone_of(snapshot);
    assert_eq!(lab.content(&from_snapshot), Some(1));
    lab.run(A, |sr| sr.revert_vdi(disk, snapshot)).unwrap();
    assert_eq!(lab.content(disk), Some(1));
    lab.clear();
}

#[test]
fn a_scan_takes_over_an_image_that_was_migrated_in_place() {
    let (lab, disk, snapshot, name) = family();
    let id = lab.sim.prepare_migration(&name).unwrap();
    lab.sim.commit_migration(&name);
    // A migration moves the clone base too. The model does not do that.
    lab.scan(A).unwrap();
    assert_eq!(lab.image_id(&disk), id);
    assert_eq!(lab.image_id(&snapshot), id);
    assert_whole(&lab, &disk, &snapshot);
}

#[test]
fn a_migration_under_way_is_named_and_its_disk_left_alone() {
    for abort in [false, true] {
        let (lab, disk, snapshot, name) = family();
        lab.sim.prepare_migration(&name).unwrap();
        let before = lab.sim.snapshot();
        let new = Uuid::new_v4();
        for refusal in [
            refused(&lab, |sr| sr.activate_vdi(&disk, true)),
            refused(&lab, |sr| sr.activate_vdi(&snapshot, false)),
            refused(&lab, |sr| sr.snapshot_vdi(&disk, &new)),
            refused(&lab, |sr| sr.resize_vdi(&disk, i128::from(2 * GIB))),
            refused(&lab, |sr| sr.delete_vdi(&disk)),
            refused(&lab, |sr| sr.delete_vdi(&snapshot)),
        ] {
            for command in ["commit", "abort"] {
                let command = format!("'rbd migration {command} rbd/{name}'");
                assert_contains(&refusal, &[&command]);
            }
        }
        let scan = lab.scan(A).unwrap();
        assert_eq!(scan.vdis.len(), 3);
        assert_contains(&scan.warnings.concat(), &["rbd migration abort"]);
        assert!(!scan.warnings.concat().contains("trash restore"));
        assert_contains(&waiting(&lab).concat(), &["rbd migration abort"]);
        lab.settle();
        assert_eq!(lab.keys("op."), [""; 0]);
        let after = lab.sim.snapshot();
        assert_eq!((after.images, after.trash), (before.images, before.trash));
        if abort {
            lab.sim.abort_migration(&name);
        } else {
            lab.sim.commit_migration(&name);
        }
        assert_whole(&lab, &disk, &snapshot);
    }
}

#[test]
fn a_disk_migrated_since_the_last_scan_is_deleted_whole() {
    let (lab, disk, snapshot, name) = family();
    lab.sim.prepare_migration(&name).unwrap();
    lab.sim.commit_migration(&name);
    let refusal = refused(&lab, |sr| sr.activate_vdi(&disk, true));
    assert_contains(&refusal, &["'xe sr-scan uuid="]);
    delete(&lab, &disk);
    delete(&lab, &snapshot);
    lab.clear();
}

#[test]
fn a_deleted_disk_whose_image_was_migrated_keeps_its_snapshot() {
    let (lab, disk, snapshot, name) = family();
    delete(&lab, &disk);
    lab.sim.prepare_migration(&name).unwrap();
    lab.scan(A).unwrap();
    lab.sim.commit_migration(&name);
    lab.scan(A).unwrap();
    assert_eq!(lab.content(&snapshot), Some(1));
    assert_eq!(lab.keys("hidden.").len(), 1);
    lab.clear();
}

#[test]
fn an_image_migrated_under_a_claim_is_taken_over_after_its_end() {
    let (lab, disk, _, name) = family();
    lab.activate(A, &disk).unwrap();
    lab.sim.prepare_migration(&name).unwrap();
    lab.sim.commit_migration(&name);
    let scan = lab.scan(B).unwrap();
    assert_eq!(scan.vdis.len(), 3);
    assert_contains(&scan.warnings.concat(), &["unless the disk is in use"]);
    lab.deactivate(A, &disk).unwrap();
    lab.scan(B).unwrap();
    lab.activate(B, &disk).unwrap();
    assert_eq!(lab.content(&disk), Some(2));
}

#[test]
fn a_disk_migrated_to_another_pool_stays_listed_until_it_is_back() {
    let (lab, disk, snapshot, name) = family();
    lab.sim.migrate_away(&name);
    let before = lab.record(&disk);
    let scan = lab.scan(A).unwrap();
    assert_eq!(scan.vdis.len(), 3);
    let back = format!("'rbd migration prepare POOL2/{name} rbd/{name}'");
    assert_contains(&scan.warnings.concat(), &[&back, "xe vdi-destroy"]);
    let refusal = refused(&lab, |sr| sr.activate_vdi(&disk, true));
    assert_contains(&refusal, &[&back]);
    assert_eq!(lab.record(&disk).unwrap().volume, before.unwrap().volume);
    lab.sim.migrate_back(&name);
    lab.scan(A).unwrap();
    assert_whole(&lab, &disk, &snapshot);
}

#[test]
fn an_image_imported_over_with_its_image_meta_is_taken_over() {
    let (lab, disk, snapshot, name) = family();
    let id = lab.sim.import_over(&name, true).unwrap();
    lab.scan(A).unwrap();
    assert_eq!(lab.image_id(&disk), id);
    assert_whole(&lab, &disk, &snapshot);
}

#[test]
fn an_image_that_is_still_imported_is_not_taken_over() {
    let (lab, disk, snapshot, name) = family();
    lab.sim.import_over(&name, true).unwrap();
    let importer = lab.sim.open_by_hand(&name);
    let before = lab.record(&disk);
    let scan = lab.scan(A).unwrap();
    assert_eq!(scan.vdis.len(), 3);
    assert_contains(&scan.warnings.concat(), &[&importer, "xe sr-scan"]);
    let refusal = refused(&lab, |sr| sr.activate_vdi(&disk, true));
    assert_contains(&refusal, &[&importer, "may still be imported"]);
    assert_eq!(lab.record(&disk), before);
    lab.sim.close_by_hand(&importer);
    lab.scan(A).unwrap();
    assert_whole(&lab, &disk, &snapshot);
}

#[test]
fn a_scan_whose_reads_fail_drops_no_vdi() {
    for nth in 0.. {
        let (lab, disk, _, name) = family();
        lab.sim.import_over(&name, false).unwrap();
        let process = lab.process(A);
        let faults = Faults::plan(Plan {
            calls: Calls::Reads,
            nth,
            mode: Mode::Fails(libc::ETIMEDOUT),
        });
        let pool = FaultyPool::new(&process.pool, &faults);
        let scan = ceph_sr(&pool, &process.host, lab.sr).scan(&[]);
        if let Ok(scan) = scan {
            assert_eq!(scan.vdis.len(), 3, "read {nth}: {:?}", faults.hit());
        }
        assert!(
            lab.record(&disk).is_some(),
            "read {nth}: {:?}",
            faults.hit()
        );
        if faults.hit().is_none() {
            assert!(nth > 3);
            break;
        }
    }
}

#[test]
fn an_image_of_the_same_name_without_image_meta_is_not_taken_over() {
    let (lab, disk, snapshot, name) = family();
    let id = lab.sim.import_over(&name, false).unwrap();
    let before = lab.sim.snapshot();
    let scan = lab.scan(A).unwrap();
    assert_eq!(scan.vdis.len(), 3);
    let meta = format!("{{\"sr\":\"{}\",\"vdi\":\"{disk}\"}}", lab.sr);
    let adopt = format!("rbd image-meta set rbd/{name} smblock '{meta}'");
    assert_contains(&scan.warnings.concat(), &[&adopt, &id]);
    let new = Uuid::new_v4();
    for refusal in [
        refused(&lab, |sr| sr.activate_vdi(&disk, true)),
        refused(&lab, |sr| sr.activate_vdi(&snapshot, false)),
        refused(&lab, |sr| sr.snapshot_vdi(&disk, &new)),
        refused(&lab, |sr| sr.resize_vdi(&disk, i128::from(2 * GIB))),
    ] {
        assert_contains(&refusal, &[&adopt]);
    }
    assert_eq!(lab.sim.snapshot().images, before.images);
    // The printed commands make the image the disk again.
    lab.sim.set_image_meta(&name, Some(&meta));
    lab.scan(A).unwrap();
    assert_whole(&lab, &disk, &snapshot);
}

#[test]
fn a_foreign_image_of_a_deleted_disks_name_is_left_alone() {
    let (lab, disk) = Lab::with_disk();
    let name = lab.image_name(&disk);
    lab.sim.remove_image(&name);
    let foreign = lab.sim.create_foreign_image(&name, GIB);
    delete(&lab, &disk);
    lab.settle();
    assert_eq!(lab.sim.snapshot().images, [(name, foreign)].into());
}

#[test]
fn a_snapshot_that_an_imported_image_lacks_is_missing_and_no_other() {
    let (lab, disk, snapshot, name) = family();
    lab.sim.remove_snapshots(&name);
    lab.sim.import_over(&name, true).unwrap();
    lab.scan(A).unwrap();
    let refusal = refused(&lab, |sr| sr.activate_vdi(&snapshot, false));
    assert_contains(&refusal, &["has no snapshot"]);
    assert_eq!(lab.content(&disk), Some(2));
    delete(&lab, &snapshot);
    lab.activate(A, &disk).unwrap();
}

#[test]
fn a_renamed_disk_works_under_its_new_name_and_is_deleted() {
    let (lab, disk, snapshot, name) = family();
    lab.sim.rename_image(&name, "vm-db");
    assert_whole(&lab, &disk, &snapshot);
}

#[test]
fn a_scan_keeps_the_disks_of_a_pool_that_lost_its_directory() {
    let (lab, disk, snapshot, name) = family();
    let (id, count) = (lab.image_id(&disk), lab.vdis(A).len());
    let listed = lab.sim.snapshot().images;
    lab.sim.lose_directory();
    let scan = lab.scan(A).unwrap();
    assert_eq!(scan.vdis.len(), count);
    let length = name.len();
    let value = format!("printf '\\{length:03o}\\000\\000\\000{name}'");
    let command = format!("{value} | rados -p rbd setomapval rbd_directory id_{id}");
    assert_contains(&scan.warnings.concat(), &[&command]);
    let refusal = refused(&lab, |sr| sr.activate_vdi(&disk, true));
    assert_contains(&refusal, &[&command]);
    for id in listed.values() {
        lab.sim.list_again(id);
    }
    assert_whole(&lab, &disk, &snapshot);
}

#[test]
fn a_scan_keeps_a_clone_in_the_trash_whose_parent_is_gone() {
    let (lab, disk, snapshot, _) = family();
    let clone = lab.clone_of(&snapshot);
    lab.sim.lose_header(&lab.image_id(&disk));
    let (name, id) = (lab.image_name(&clone), lab.image_id(&clone));
    let refusal = refused(&lab, |sr| sr.activate_vdi(&clone, true));
    assert_contains(&refusal, &[&format!("listomapvals rbd_header.{id}'")]);
    lab.sim.move_to_trash(&name);
    let scan = lab.scan(A).unwrap();
    assert!(scan.vdis.iter().any(|vdi| vdi.uuid == clone));
    assert_contains(
        &scan.warnings.concat(),
        &[&format!("'rbd trash restore --pool rbd {id}'")],
    );
}
