//! The catalogue against the images, in both directions.

use sr::finding::{table, Severity};
use sr_ceph::image_features::ImageFeatures;
use sr_ceph::pool::SnapshotKind;

use super::{among, nothing, only};
use crate::support::{Lab, A, B, GIB};

#[test]
fn a_vdi_without_its_image_is_found() {
    let (lab, disk) = Lab::with_disk();
    lab.sim.remove_image(&lab.image_name(&disk));
    let found = only(&lab, &table::NO_IMAGE);
    assert!(found.object.contains(&disk.to_string()), "{found:?}");
    assert!(found.fix.contains("xe vdi-destroy"), "{found:?}");
}

#[test]
fn an_image_that_was_imported_again_is_found() {
    let (lab, disk) = Lab::with_disk();
    lab.sim.import_over(&lab.image_name(&disk), true).unwrap();
    only(&lab, &table::MOVED);
}

#[test]
fn an_image_that_was_replaced_is_found() {
    let (lab, disk) = Lab::with_disk();
    lab.sim.import_over(&lab.image_name(&disk), false).unwrap();
    only(&lab, &table::NO_IMAGE);
}

#[test]
fn an_image_of_a_vdi_in_the_trash_is_found() {
    let (lab, disk) = Lab::with_disk();
    let id = lab.sim.move_to_trash(&lab.image_name(&disk)).unwrap();
    let found = only(&lab, &table::IN_TRASH);
    assert_eq!(found.fix, format!("rbd trash restore --pool rbd {id}"));
    lab.sim.restore_from_trash(&id);
    nothing(&lab);
}

#[test]
fn an_image_that_the_directory_lacks_is_found() {
    let (lab, disk) = Lab::with_disk();
    let (name, id) = (lab.image_name(&disk), lab.image_id(&disk));
    lab.sim.lose_directory();
    let found = only(&lab, &table::UNLISTED);
    assert!(found.fix.starts_with("printf '"), "{found:?}");
    for key in [format!("id_{id}"), format!("name_{name}")] {
        let command = format!(" | rados -p rbd setomapval rbd_directory {key}");
        assert!(found.fix.contains(&command), "{found:?}");
    }
}

#[test]
fn a_snapshot_that_was_removed_is_found() {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    lab.sim.remove_snapshots(&lab.image_name(&disk));
    let found = only(&lab, &table::NO_SNAPSHOT);
    assert!(found.object.contains(&snapshot.to_string()), "{found:?}");
}

#[test]
fn an_image_that_was_resized_is_found() {
    let (lab, disk) = Lab::with_disk();
    lab.sim.resize_image(&lab.image_name(&disk), GIB / 2);
    let found = only(&lab, &table::SHRUNK);
    let keep = format!("rbd resize --size {GIB}B rbd/{}; ", lab.image_name(&disk));
    let give_up = format!("xe vdi-destroy uuid={disk}");
    assert!(found.fix.starts_with(&keep), "{found:?}");
    assert!(found.fix.ends_with(&give_up), "{found:?}");
    lab.sim.resize_image(&lab.image_name(&disk), 2 * GIB);
    let found = only(&lab, &table::GROWN);
    assert_eq!(found.severity, Severity::Note);
}

#[test]
fn a_disk_that_was_grown_while_tapdisk_has_it_is_found() {
    let (lab, disk) = Lab::with_disk();
    lab.activate(B, &disk).unwrap();
    lab.sim.set_used(B, &disk, true);
    lab.sim.resize_image(&lab.image_name(&disk), 2 * GIB);
    lab.sim.set_datapath(B, Some("phy"));
    let found = among(&lab, &table::GROWN);
    assert!(found.fix.starts_with("shut its VM down"), "{found:?}");
    lab.sim.set_datapath(B, Some("aio"));
    let found = among(&lab, &table::GROWN_IN_USE);
    let shrink = format!("--allow-shrink --size {GIB}B rbd/{}", lab.image_name(&disk));
    assert!(found.fix.ends_with(&shrink), "{found:?}");
}

#[test]
fn a_migration_and_a_demotion_are_found() {
    let (lab, disk) = Lab::with_disk();
    lab.sim.demote(&lab.image_name(&disk));
    only(&lab, &table::REFUSED_IMAGE);
    let (lab, disk) = Lab::with_disk();
    lab.sim.prepare_migration(&lab.image_name(&disk)).unwrap();
    let found = only(&lab, &table::REFUSED_IMAGE);
    assert!(found.fix.contains("rbd migration abort"), "{found:?}");
}

#[test]
fn features_that_the_kernel_lacks_are_found() {
    let (lab, disk) = Lab::with_disk();
    let bits = ImageFeatures::DEFAULT.bits() | ImageFeatures::JOURNALING.bits();
    lab.sim.set_features(&lab.image_name(&disk), bits);
    lab.sim
        .set_supported_features(A, Some(ImageFeatures::DEFAULT));
    let found = only(&lab, &table::UNMAPPABLE);
    assert!(found.fix.ends_with(" journaling"), "{found:?}");
}

#[test]
fn a_lock_by_hand_is_found() {
    let (lab, disk) = Lab::with_disk();
    lab.sim.lock_by_hand(&lab.image_name(&disk), Some("mine"));
    let found = only(&lab, &table::LOCKED);
    assert!(found.fix.starts_with("rbd lock ls rbd/"), "{found:?}");
}

#[test]
fn images_that_no_key_names_are_found() {
    let (lab, disk) = Lab::with_disk();
    let name = format!("smblock.{}.{}.0", lab.sr, uuid::Uuid::new_v4());
    lab.sim.create_foreign_image(&name, GIB);
    let found = only(&lab, &table::ORPHAN);
    assert_eq!(found.object, format!("image {name}"));
    lab.sim.remove_image(&name);
    lab.sim.create_foreign_image("somebody-elses", GIB);
    nothing(&lab);
    // One beside the image that the VDI has.
    let beside = format!("smblock.{}.{disk}.7", lab.sr);
    lab.sim.create_foreign_image(&beside, GIB);
    only(&lab, &table::ORPHAN);
}

#[test]
fn an_image_in_the_trash_by_hand_is_found() {
    let lab = Lab::new();
    let name = format!("smblock.{}.{}.0", lab.sr, uuid::Uuid::new_v4());
    lab.sim.create_foreign_image(&name, GIB);
    lab.sim.move_to_trash(&name).unwrap();
    let found = only(&lab, &table::TRASHED_BY_HAND);
    assert!(found.fix.contains("rbd trash restore"), "{found:?}");
}

#[test]
fn a_long_chain_and_many_snapshots_are_found() {
    let (lab, mut disk) = Lab::with_disk();
    for _ in 0..9 {
        let snapshot = lab.snapshot(&disk);
        disk = lab.clone_of(&snapshot);
    }
    let found = among(&lab, &table::LONG_CHAIN);
    assert!(found.object.contains(&disk.to_string()), "{found:?}");
    assert!(!found.fix.contains("vdi-destroy"), "{found:?}");
    lab.snapshot(&disk);
    let found = among(&lab, &table::LONG_CHAIN);
    let list = format!("its 1 snapshot(s), also those of backups (their next run is a full one): xe vdi-list snapshot-of={disk}");
    assert!(found.fix.contains(&list), "{found:?}");
    let (lab, disk) = Lab::with_disk();
    let name = lab.image_name(&disk);
    for number in 0..450 {
        lab.sim
            .snapshot_by_hand(&name, &number.to_string(), SnapshotKind::User);
    }
    let found = only(&lab, &table::MANY_SNAPSHOTS);
    assert_eq!(found.severity, Severity::Warning);
}
