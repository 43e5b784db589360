//! Clones of format 2: their snapshots need no protection and can be removed.

use librbd::{Error, Image, ImageRef, SnapshotKind, SnapshotRef};

use crate::fixture::{plain, Fixture};

fn text(image: &Image) -> String {
    let mut data = [0; 8];
    image.read_at(0, &mut data).unwrap();
    String::from_utf8_lossy(&data).into_owned()
}

#[test]
fn a_clone_has_its_own_data_and_a_parent() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("parent");
    image.write_at(0, b"original").unwrap();
    let snap = image.snapshot_create("s").unwrap();
    let parent_id = image.id().unwrap();

    // By ids and by names: the same clone.
    let children = [fixture.name("by-ids"), fixture.name("by-names")];
    let (id, names) = (ImageRef::Id(&parent_id), ImageRef::Name(&name));
    fixture
        .pool
        .image_clone(&id, &SnapshotRef::Id(snap), &children[0], &plain())
        .unwrap();
    fixture
        .pool
        .image_clone(&names, &SnapshotRef::Name("s"), &children[1], &plain())
        .unwrap();

    for child in &children {
        let clone = fixture
            .pool
            .image_open(&ImageRef::Name(child), false)
            .unwrap();
        assert_eq!(text(&clone), "original");
        clone.write_at(0, b"its own!").unwrap();
        let parent = clone.parent().unwrap().unwrap();
        assert_eq!(parent.image.image_id, parent_id);
        assert_eq!(parent.image.image_name, name);
        assert_eq!(
            (parent.image.pool_id, parent.image.in_trash),
            (fixture.pool.id(), false)
        );
        assert_eq!((parent.snap_id, &*parent.snap_name), (snap, "s"));
    }
    assert_eq!(text(&image), "original");
    assert_eq!(image.parent().unwrap(), None);
    let mut found: Vec<_> = image
        .children()
        .unwrap()
        .into_iter()
        .map(|c| c.image_name)
        .collect();
    found.sort();
    assert_eq!(found, children);
    drop(image);
    children.iter().for_each(|child| fixture.remove(child));
    fixture.remove(&name);
}

#[test]
fn a_removed_snapshot_is_in_the_trash_until_its_clone_is_removed() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("parent");
    image.write_at(0, b"original").unwrap();
    let snap = image.snapshot_create("s").unwrap();
    let child = fixture.clone_of(&name, "s");

    image.snapshot_remove(snap).unwrap();
    let left = image.snapshots().unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, snap);
    assert_eq!(
        left[0].kind,
        SnapshotKind::Trash {
            original_name: "s".to_owned()
        }
    );
    let clone = fixture
        .pool
        .image_open(&ImageRef::Name(&child), true)
        .unwrap();
    assert_eq!(text(&clone), "original");
    drop(clone);

    fixture.remove(&child);
    assert_eq!(image.snapshots().unwrap(), []);
    drop(image);
    fixture.remove(&name);
}

#[test]
fn a_flattened_clone_has_its_data_and_no_parent() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("parent");
    image.write_at(0, b"original").unwrap();
    image.snapshot_create("s").unwrap();
    drop(image);
    let child = fixture.clone_of(&name, "s");
    let clone = fixture
        .pool
        .image_open(&ImageRef::Name(&child), false)
        .unwrap();
    let id = clone.id().unwrap();
    assert!(fixture.pool.header(&id).has_parent().unwrap());
    let mut reports = Vec::new();
    clone
        .flatten(&mut |done, total| reports.push((done, total)))
        .unwrap();
    assert_eq!(clone.parent().unwrap(), None);
    assert!(!fixture.pool.header(&id).has_parent().unwrap());
    let objects = clone.info().unwrap().num_objects;
    assert!(!reports.is_empty());
    let all_fit = reports.iter().all(|r| r.0 <= objects && r.1 == objects);
    assert!(all_fit, "of {objects} objects: {reports:?}");
    fixture.remove(&name);
    assert_eq!(text(&clone), "original");
    assert_eq!(
        clone.flatten(&mut |_, _| {}).unwrap_err().errno(),
        Some(22),
        "it has no parent"
    );
    drop(clone);
    fixture.remove(&child);
}

#[test]
fn a_flattened_clone_has_no_parent_even_if_its_snapshot_has_one() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("parent");
    image.snapshot_create("s").unwrap();
    drop(image);
    let child = fixture.clone_of(&name, "s");
    let clone = fixture
        .pool
        .image_open(&ImageRef::Name(&child), false)
        .unwrap();
    clone.snapshot_create("before").unwrap();
    clone.flatten(&mut |_, _| {}).unwrap();
    assert_eq!(clone.parent().unwrap(), None);
    let header = fixture.pool.header(&clone.id().unwrap()).has_parent();
    assert!(!header.unwrap());
    drop(clone);
    fixture.remove(&child);
    fixture.remove(&name);
}

#[test]
fn a_clone_of_a_missing_snapshot_or_image_is_not_found() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("parent");
    drop(image);
    let child = fixture.name("child");
    let clone = |parent: &str, snap: &SnapshotRef<'_>| -> Error {
        fixture
            .pool
            .image_clone(&ImageRef::Name(parent), snap, &child, &plain())
            .unwrap_err()
    };
    let cases = [
        clone(&name, &SnapshotRef::Name("none")),
        clone(&name, &SnapshotRef::Id(librbd::SnapId(987_654))),
        clone("no-such-image", &SnapshotRef::Name("s")),
    ];
    for error in cases {
        assert!(error.is_not_found(), "{error}");
    }
    assert!(fixture
        .pool
        .image_list()
        .unwrap()
        .iter()
        .all(|entry| entry.name != child));
    fixture.remove(&name);
}
