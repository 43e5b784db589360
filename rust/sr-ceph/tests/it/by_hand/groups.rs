//! Members of groups.

use super::*;

#[test]
fn a_deleted_disk_leaves_its_group_and_is_freed() {
    let (lab, disk) = Lab::with_disk();
    lab.sim.add_to_group(&lab.image_name(&disk), "rbd/nightly");
    delete(&lab, &disk);
    lab.clear();
}

#[test]
fn a_hidden_image_leaves_its_group_with_its_last_snapshot() {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    lab.sim.add_to_group(&lab.image_name(&disk), "rbd/nightly");
    delete(&lab, &disk);
    delete(&lab, &snapshot);
    lab.clear();
}

#[test]
fn reclaim_takes_an_image_in_the_trash_out_of_its_group() {
    let lab = Lab::new();
    lab.sim.set_manager(false);
    let disk = lab.create(GIB);
    let name = lab.image_name(&disk);
    delete(&lab, &disk);
    lab.sim
        .restore_from_trash(lab.sim.snapshot().trash.first().unwrap());
    lab.sim.add_to_group(&name, "rbd/nightly");
    lab.sim.move_to_trash(&name);
    assert_eq!(lab.run(A, |sr| sr.reclaim(|_, _| {})).unwrap(), 0);
    assert!(lab.sim.snapshot().trash.is_empty());
}

#[test]
fn a_disk_that_cannot_leave_its_group_is_kept_until_it_can() {
    let lab = Lab::new();
    let (disk, other) = (lab.create(GIB), lab.create(GIB));
    let name = lab.image_name(&disk);
    let id = lab.image_id(&disk);
    lab.sim.add_to_group(&name, "backup/nightly");
    lab.sim.set_groups_open(false);
    delete(&lab, &disk);
    delete(&lab, &other);
    lab.settle();
    let left = lab.sim.snapshot();
    assert_eq!(left.images.keys().collect::<Vec<_>>(), [&name]);
    assert!(left.trash.is_empty(), "{:?}", left.trash);
    let mut failures = Vec::new();
    let failed = lab.run(A, |sr| {
        sr.reclaim(|_, report| {
            if let sr_ceph::sr::reclaim::Report::Failed(error) = report {
                failures.push(error.to_string());
            }
        })
    });
    assert_eq!(failed.unwrap(), 1);
    let remove =
        "rbd group image rm --group-pool backup --group nightly --image-pool rbd --image-id";
    assert_contains(&failures.concat(), &[&format!("'{remove} {id}'")]);
    lab.sim.set_groups_open(true);
    lab.clear();
}
