//! The trash: out of sight, and back again, or gone for good.

use librbd::{ImageRef, SnapshotRef, TrashEntry, TrashSource};

use crate::lab::{plain, Lab};

fn entry(lab: &Lab, id: &str) -> Option<TrashEntry> {
    lab.pool
        .trash_list()
        .unwrap()
        .into_iter()
        .find(|entry| entry.id == id)
}

#[test]
fn an_image_in_the_trash_can_be_restored_until_it_is_removed() {
    let Some(lab) = Lab::connect() else { return };
    let (name, image) = lab.image("trashed");
    let id = image.id().unwrap();
    image.write_at(0, b"kept").unwrap();
    image.close().unwrap();

    lab.pool.trash_move(&name, 3_600).unwrap();
    let found = entry(&lab, &id).unwrap();
    assert_eq!((&found.name, found.source), (&name, TrashSource::User));
    assert_eq!(found.deferment_end - found.deleted_at, 3_600);
    assert!(lab
        .pool
        .image_open(&ImageRef::Name(&name), true)
        .unwrap_err()
        .is_not_found());
    let early = lab
        .pool
        .trash_remove(&id, false, &mut |_, _| {})
        .unwrap_err();
    assert_eq!(early.errno(), Some(1), "before its time: {early}");

    let new_name = lab.name("restored");
    lab.pool.trash_restore(&id, &new_name).unwrap();
    assert_eq!(entry(&lab, &id), None);
    let image = lab.pool.image_open(&ImageRef::Id(&id), true).unwrap();
    let mut data = [0; 4];
    image.read_at(0, &mut data).unwrap();
    assert_eq!(&data, b"kept");
    image.close().unwrap();

    lab.pool.trash_move(&new_name, 3_600).unwrap();
    lab.pool.trash_remove(&id, true, &mut |_, _| {}).unwrap();
    assert_eq!(entry(&lab, &id), None);
    assert!(lab
        .pool
        .trash_remove(&id, true, &mut |_, _| {})
        .unwrap_err()
        .is_not_found());
}

#[test]
fn a_parent_in_the_trash_carries_its_clones_until_they_are_gone() {
    let Some(lab) = Lab::connect() else { return };
    let (name, image) = lab.image("parent");
    let id = image.id().unwrap();
    image.write_at(0, b"original").unwrap();
    let snap = image.snapshot_create("s").unwrap();
    let child = lab.name("child");
    let (parent, at) = (ImageRef::Name(&name), SnapshotRef::Name("s"));
    lab.pool
        .image_clone(&parent, &at, &child, &plain())
        .unwrap();
    image.snapshot_remove(snap).unwrap();
    image.close().unwrap();

    lab.pool.trash_move(&name, 0).unwrap();
    let clone = lab.pool.image_open(&ImageRef::Name(&child), true).unwrap();
    let mut data = [0; 8];
    clone.read_at(0, &mut data).unwrap();
    assert_eq!(&data, b"original");
    let parent = clone.parent().unwrap().unwrap();
    assert_eq!(
        (parent.image.image_id.as_str(), parent.image.in_trash),
        (id.as_str(), true)
    );
    clone.close().unwrap();
    let error = lab
        .pool
        .trash_remove(&id, true, &mut |_, _| {})
        .unwrap_err();
    assert!(entry(&lab, &id).is_some(), "it is kept: {error}");

    lab.remove(&child);
    lab.pool.trash_remove(&id, true, &mut |_, _| {}).unwrap();
    assert_eq!(entry(&lab, &id), None);
}

#[test]
fn the_trash_of_a_pool_is_prepared_once_and_for_all() {
    let Some(lab) = Lab::connect() else { return };
    lab.pool.ensure_trash_object().unwrap();
    lab.pool.ensure_trash_object().unwrap();
    assert!(lab.pool.object_exists("rbd_trash").unwrap());
}
