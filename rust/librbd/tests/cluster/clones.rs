//! Clones of format 2: of snapshots that need no protection and may be removed.

use librbd::{Error, Image, ImageRef, SnapshotKind, SnapshotRef};

use crate::lab::{plain, Lab};

fn text(image: &Image) -> String {
    let mut data = [0; 8];
    image.read_at(0, &mut data).unwrap();
    String::from_utf8_lossy(&data).into_owned()
}

#[test]
fn a_clone_of_a_snapshot_is_independent_and_knows_its_parent() {
    let Some(lab) = Lab::connect() else { return };
    let (name, image) = lab.image("parent");
    image.write_at(0, b"original").unwrap();
    let snap = image.snapshot_create("s").unwrap();
    let parent_id = image.id().unwrap();

    // By ids and by names: the same clone.
    let children = [lab.name("by-ids"), lab.name("by-names")];
    let (id, names) = (ImageRef::Id(&parent_id), ImageRef::Name(&name));
    lab.pool
        .image_clone(&id, &SnapshotRef::Id(snap), &children[0], &plain())
        .unwrap();
    lab.pool
        .image_clone(&names, &SnapshotRef::Name("s"), &children[1], &plain())
        .unwrap();

    for child in &children {
        let clone = lab.pool.image_open(&ImageRef::Name(child), false).unwrap();
        assert_eq!(text(&clone), "original");
        clone.write_at(0, b"its own!").unwrap();
        let parent = clone.parent().unwrap().unwrap();
        assert_eq!(parent.image.image_id, parent_id);
        assert_eq!(parent.image.image_name, name);
        assert_eq!(
            (parent.image.pool_id, parent.image.in_trash),
            (lab.pool.id(), false)
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
    children.iter().for_each(|child| lab.remove(child));
    lab.remove(&name);
}

#[test]
fn the_snapshot_under_a_clone_may_be_removed_and_goes_with_the_clone() {
    let Some(lab) = Lab::connect() else { return };
    let (name, image) = lab.image("parent");
    image.write_at(0, b"original").unwrap();
    let snap = image.snapshot_create("s").unwrap();
    let child = lab.name("child");
    let (parent, at) = (ImageRef::Name(&name), SnapshotRef::Name("s"));
    lab.pool
        .image_clone(&parent, &at, &child, &plain())
        .unwrap();

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
    let clone = lab.pool.image_open(&ImageRef::Name(&child), true).unwrap();
    assert_eq!(text(&clone), "original");
    drop(clone);

    lab.remove(&child);
    assert_eq!(image.snapshots().unwrap(), []);
    drop(image);
    lab.remove(&name);
}

#[test]
fn a_flattened_clone_has_its_data_and_no_parent() {
    let Some(lab) = Lab::connect() else { return };
    let (name, image) = lab.image("parent");
    image.write_at(0, b"original").unwrap();
    image.snapshot_create("s").unwrap();
    drop(image);
    let child = lab.name("child");
    let (parent, at) = (ImageRef::Name(&name), SnapshotRef::Name("s"));
    lab.pool
        .image_clone(&parent, &at, &child, &plain())
        .unwrap();
    let clone = lab.pool.image_open(&ImageRef::Name(&child), false).unwrap();
    let id = clone.id().unwrap();
    assert!(lab.pool.header(&id).has_parent().unwrap());
    let mut heard = Vec::new();
    clone
        .flatten(&mut |done, total| heard.push((done, total)))
        .unwrap();
    assert_eq!(clone.parent().unwrap(), None);
    assert!(!lab.pool.header(&id).has_parent().unwrap());
    let objects = clone.info().unwrap().num_objects;
    assert!(!heard.is_empty());
    let all_fit = heard.iter().all(|h| h.0 <= objects && h.1 == objects);
    assert!(all_fit, "of {objects} objects: {heard:?}");
    lab.remove(&name);
    assert_eq!(text(&clone), "original");
    assert_eq!(
        clone.flatten(&mut |_, _| {}).unwrap_err().errno(),
        Some(22),
        "it has no parent any more"
    );
    drop(clone);
    lab.remove(&child);
}

#[test]
fn a_flattened_clone_has_no_parent_even_where_its_snapshot_has_one() {
    let Some(lab) = Lab::connect() else { return };
    let (name, image) = lab.image("parent");
    image.snapshot_create("s").unwrap();
    drop(image);
    let child = lab.name("child");
    let (parent, at) = (ImageRef::Name(&name), SnapshotRef::Name("s"));
    lab.pool
        .image_clone(&parent, &at, &child, &plain())
        .unwrap();
    let clone = lab.pool.image_open(&ImageRef::Name(&child), false).unwrap();
    clone.snapshot_create("before").unwrap();
    clone.flatten(&mut |_, _| {}).unwrap();
    assert_eq!(clone.parent().unwrap(), None);
    let header = lab.pool.header(&clone.id().unwrap()).has_parent();
    assert!(!header.unwrap());
    drop(clone);
    lab.remove(&child);
    lab.remove(&name);
}

#[test]
fn a_clone_of_what_is_not_there_says_so() {
    let Some(lab) = Lab::connect() else { return };
    let (name, image) = lab.image("parent");
    drop(image);
    let child = lab.name("child");
    let clone = |parent: &str, snap: &SnapshotRef<'_>| -> Error {
        lab.pool
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
    assert!(lab
        .pool
        .image_list()
        .unwrap()
        .iter()
        .all(|entry| entry.name != child));
    lab.remove(&name);
}
