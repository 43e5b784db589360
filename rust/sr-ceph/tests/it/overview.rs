//! An SR on one screen, and where its VDIs are.

use crate::support::{Lab, A, B, GIB};

#[test]
fn the_overview_counts_what_the_sr_has() {
    let lab = Lab::with_some_of_each();
    let seen = lab.run(A, |sr| sr.overview()).unwrap();
    assert_eq!((seen.disks, seen.snapshots), (1, 1));
    assert_eq!(seen.allocated, 2 * GIB);
    assert_eq!(seen.size, Some(10 * GIB));
    assert_eq!(seen.free, Some(8 * GIB));
    assert_eq!(seen.quota_bytes, Some(10 * GIB));
    assert_eq!(seen.claims, [(B.to_owned(), 1)].into());
    assert_eq!(seen.operations, []);
    let backlog = seen.backlog.unwrap();
    assert_eq!((backlog.images, backlog.bytes), (1, GIB));
    assert!(seen.place.starts_with("pool rbd of cluster "));
}

#[test]
fn the_places_name_images_snapshots_claims_and_devices() {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    let mapped = lab.activate(B, &disk).unwrap();
    let places = lab.run(B, |sr| sr.places()).unwrap();
    let of = |vdi| places.iter().find(|place| place.uuid == vdi).unwrap();
    let (head, taken) = (of(disk), of(snapshot));
    assert_eq!(head.image, lab.image_name(&disk));
    assert_eq!(head.image_id, Some(lab.image_id(&disk)));
    assert_eq!(head.snapshot, None);
    assert_eq!(head.claimed_by.as_deref(), Some(B));
    let device = mapped.device.display().to_string();
    assert_eq!(head.device, Some(device));
    assert_eq!(taken.image, head.image);
    assert!(taken.snapshot.is_some() && taken.snapshot_id.is_some());
    assert_eq!(taken.device, None);
    assert_eq!(lab.run(A, |sr| sr.places()).unwrap().len(), 2);
}
