//! The trash: images are moved to it, restored or removed.

use librbd::{ImageRef, TrashEntry, TrashSource};

use crate::fixture::Fixture;

fn entry(fixture: &Fixture, id: &str) -> Option<TrashEntry> {
    fixture
        .pool
        .trash_list()
        .unwrap()
        .into_iter()
        .find(|entry| entry.id == id)
}

#[test]
fn an_image_in_the_trash_can_be_restored_until_it_is_removed() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("trashed");
    let id = image.id().unwrap();
    image.write_at(0, b"kept").unwrap();
    image.close().unwrap();

    fixture.pool.trash_move(&name, 3_600).unwrap();
    let found = entry(&fixture, &id).unwrap();
    assert_eq!((&found.name, found.source), (&name, TrashSource::User));
    assert_eq!(found.deferment_end - found.deleted_at, 3_600);
    assert!(fixture
        .pool
        .image_open(&ImageRef::Name(&name), true)
        .unwrap_err()
        .is_not_found());
    let early = fixture
        .pool
        .trash_remove(&id, false, &mut |_, _| {})
        .unwrap_err();
    assert_eq!(early.errno(), Some(1), "before its time: {early}");

    let new_name = fixture.name("restored");
    fixture.pool.trash_restore(&id, &new_name).unwrap();
    assert_eq!(entry(&fixture, &id), None);
    let image = fixture.pool.image_open(&ImageRef::Id(&id), true).unwrap();
    let mut data = [0; 4];
    image.read_at(0, &mut data).unwrap();
    assert_eq!(&data, b"kept");
    image.close().unwrap();

    fixture.pool.trash_move(&new_name, 3_600).unwrap();
    fixture
        .pool
        .trash_remove(&id, true, &mut |_, _| {})
        .unwrap();
    assert_eq!(entry(&fixture, &id), None);
    assert!(fixture
        .pool
        .trash_remove(&id, true, &mut |_, _| {})
        .unwrap_err()
        .is_not_found());
}

#[test]
fn a_parent_in_the_trash_is_kept_until_its_clones_are_removed() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("parent");
    let id = image.id().unwrap();
    image.write_at(0, b"original").unwrap();
    let snap = image.snapshot_create("s").unwrap();
    let child = fixture.clone_of(&name, "s");
    image.snapshot_remove(snap).unwrap();
    image.close().unwrap();

    fixture.pool.trash_move(&name, 0).unwrap();
    let clone = fixture
        .pool
        .image_open(&ImageRef::Name(&child), true)
        .unwrap();
    let mut data = [0; 8];
    clone.read_at(0, &mut data).unwrap();
    assert_eq!(&data, b"original");
    let parent = clone.parent().unwrap().unwrap();
    assert_eq!(
        (parent.image.image_id.as_str(), parent.image.in_trash),
        (id.as_str(), true)
    );
    clone.close().unwrap();
    let error = fixture
        .pool
        .trash_remove(&id, true, &mut |_, _| {})
        .unwrap_err();
    assert!(entry(&fixture, &id).is_some(), "it is kept: {error}");

    fixture.remove(&child);
    fixture
        .pool
        .trash_remove(&id, true, &mut |_, _| {})
        .unwrap();
    assert_eq!(entry(&fixture, &id), None);
}

#[test]
fn ensure_trash_object_can_be_repeated() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    fixture.pool.ensure_trash_object().unwrap();
    fixture.pool.ensure_trash_object().unwrap();
    assert!(fixture.pool.object_exists("rbd_trash").unwrap());
}
