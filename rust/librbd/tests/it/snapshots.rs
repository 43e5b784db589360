//! Snapshots of an image.

use librbd::{SnapId, SnapshotKind};
use nix::errno::Errno;

use crate::fixture::{Fixture, MIB};

#[test]
fn a_snapshot_keeps_data_and_size() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, mut image) = fixture.image("kept");
    image.write_at(0, b"old").unwrap();
    let id = image.snapshot_create("first").unwrap();
    image.write_at(0, b"new").unwrap();
    image.resize(0, true, &mut |_, _| {}).unwrap();

    image.set_snapshot(Some(id)).unwrap();
    let mut data = [0; 3];
    assert_eq!(image.read_at(0, &mut data).unwrap(), 3);
    assert_eq!(&data, b"old");
    assert_eq!(image.size().unwrap(), 8 * MIB);
    assert_eq!(image.write_at(0, b"no!").unwrap_err().errno(), Some(30));
    image.set_snapshot(None).unwrap();
    assert_eq!(image.size().unwrap(), 0);
    drop(image);
    fixture.remove(&name);
}

#[test]
fn a_long_list_of_snapshots_is_complete() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("many");
    assert_eq!(image.snapshots().unwrap(), []);
    // The first buffer has 64 entries, and the list needs one more entry for its end.
    let made: Vec<SnapId> = (0..65)
        .map(|number| image.snapshot_create(&format!("s{number}")).unwrap())
        .collect();
    let listed = image.snapshots().unwrap();
    assert_eq!(listed.iter().map(|snap| snap.id).collect::<Vec<_>>(), made);
    for (number, snap) in listed.iter().enumerate() {
        assert_eq!((&*snap.name, snap.size), (&*format!("s{number}"), 8 * MIB));
        assert_eq!(snap.kind, SnapshotKind::User);
    }
    image.snapshot_remove(made[64]).unwrap();
    assert_eq!(image.snapshots().unwrap().len(), 64);
    drop(image);
    fixture.remove(&name);
}

#[test]
fn a_snapshot_number_is_never_used_again() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("once");
    let id = image.snapshot_create("s").unwrap();
    assert!(image.snapshot_create("s").unwrap_err().is_already_there());
    assert_eq!(image.snapshot_id("s").unwrap(), id);
    image.snapshot_remove(id).unwrap();
    assert!(image.snapshot_remove(id).unwrap_err().is_not_found());
    assert!(image.snapshot_id("s").unwrap_err().is_not_found());
    assert_ne!(
        image.snapshot_create("s").unwrap(),
        id,
        "a number is never used again"
    );
    drop(image);
    fixture.remove(&name);
}

#[test]
fn an_image_differs_from_a_snapshot_if_it_was_written_or_discarded() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("compared");
    image.write_at(0, b"old").unwrap();
    image.snapshot_create("s").unwrap();
    let differs = |offset, length| image.differs_from("s", offset, length).unwrap();
    assert!(!differs(0, 8 * MIB));
    // A change of the metadata does not count.
    image.snapshot_create("later").unwrap();
    image.metadata_set("key", "value").unwrap();
    assert!(!differs(0, 8 * MIB));
    image.write_at(5 * MIB, b"new").unwrap();
    assert!(differs(0, 8 * MIB));
    assert!(!differs(0, 4 * MIB));
    assert!(differs(4 * MIB, 4 * MIB));
    image.write_at(0, b"old").unwrap();
    assert!(differs(0, 4 * MIB), "the same data, written again");

    image.snapshot_create("full").unwrap();
    assert!(!image.differs_from("full", 0, 8 * MIB).unwrap());
    image.resize(4 * MIB, true, &mut |_, _| {}).unwrap();
    image.resize(8 * MIB, false, &mut |_, _| {}).unwrap();
    assert!(image.differs_from("full", 0, 8 * MIB).unwrap());
    let missing = image.differs_from("none", 0, 8 * MIB).unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
    drop(image);
    fixture.remove(&name);
}

#[test]
fn a_protected_snapshot_is_removed_after_its_protection() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("protected");
    let id = image.snapshot_create("s").unwrap();
    let image_id = image.id().unwrap();
    let is_protected = || fixture.pool.header(&image_id).is_protected(id).unwrap();
    assert!(!is_protected());
    let refused = image.snapshot_unprotect("s").unwrap_err();
    assert_eq!(refused.errno(), Some(Errno::EINVAL as i32));
    image.snapshot_protect("s").unwrap();
    assert!(is_protected());
    let busy = Some(Errno::EBUSY as i32);
    assert_eq!(image.snapshot_protect("s").unwrap_err().errno(), busy);
    assert_eq!(image.snapshot_remove(id).unwrap_err().errno(), busy);
    image.snapshot_unprotect("s").unwrap();
    assert!(!is_protected());
    drop(image);
    fixture.remove(&name);
}
