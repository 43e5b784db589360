//! A repair is what the driver does by itself: it touches nothing else.

use sr::finding::table;
use uuid::Uuid;

use super::{look, only};
use crate::support::{Lab, A, B, GIB};

#[test]
fn a_repair_changes_nothing_in_an_sr_that_is_well() {
    let (lab, disk) = Lab::with_disk();
    lab.snapshot(&disk);
    lab.activate(A, &disk).unwrap();
    let other = lab.create(GIB);
    lab.activate(B, &other).unwrap();
    let before = (lab.sim.snapshot(), lab.sim.all_devices());
    lab.run(A, |sr| sr.repair()).unwrap();
    assert!((lab.sim.snapshot(), lab.sim.all_devices()) == before);
}

#[test]
fn a_repair_keeps_devices_of_snapshots_and_of_other_hosts() {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    lab.run(A, |sr| sr.activate_vdi(&snapshot, false)).unwrap();
    lab.activate(B, &disk).unwrap();
    let before = lab.sim.all_devices();
    lab.run(A, |sr| sr.repair()).unwrap();
    assert_eq!(lab.sim.all_devices(), before);
    assert_eq!(look(&lab, A), []);
}

#[test]
fn a_repair_keeps_images_that_the_catalogue_lacks() {
    let lab = Lab::new();
    let name = format!("smblock.{}.{}.0", lab.sr, Uuid::new_v4());
    lab.sim.create_foreign_image(&name, GIB);
    lab.run(A, |sr| sr.repair()).unwrap();
    only(&lab, &table::ORPHAN);
}

#[test]
fn a_repair_begins_to_free_what_was_deleted() {
    let (lab, disk) = Lab::with_disk();
    lab.sim.set_manager(false);
    lab.run(A, |sr| sr.delete_vdi(&disk)).unwrap();
    only(&lab, &table::BACKLOG);
    let needs_worker = lab.run(A, |sr| {
        sr.repair().unwrap();
        sr.needs_worker()
    });
    assert!(needs_worker);
}
