//! Images: their options, their properties and their data.

use librbd::{CreateOptions, ImageRef, SnapId};

use crate::fixture::{plain, Fixture, FEATURES, MIB};

#[test]
fn a_new_image_has_the_requested_options() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let name = fixture.name("made");
    // One byte less than a MiB: sizes are never rounded.
    let size = 64 * MIB - 1;
    let options = CreateOptions {
        object_size: 1 << 20,
        ..plain()
    };
    fixture.pool.image_create(&name, size, &options).unwrap();
    assert!(fixture
        .pool
        .image_create(&name, size, &options)
        .unwrap_err()
        .is_already_there());

    let listed = fixture.pool.image_list().unwrap();
    let entry = listed.iter().find(|entry| entry.name == name).unwrap();
    let known_as = fixture.pool.image_name(&entry.id).unwrap();
    assert_eq!(known_as.as_deref(), Some(name.as_str()));
    let image = fixture
        .pool
        .image_open(&ImageRef::Id(&entry.id), true)
        .unwrap();
    assert_eq!(image.id().unwrap(), entry.id);
    assert_eq!(image.name().unwrap(), name);
    assert_eq!(image.size().unwrap(), size);
    assert_eq!(image.features().unwrap(), FEATURES);
    assert_eq!(image.op_features().unwrap(), 0);
    let info = image.info().unwrap();
    assert_eq!(
        (info.size, info.object_size, info.order, info.num_objects),
        (size, MIB, 20, 64)
    );
    assert_eq!(info.block_name_prefix, format!("rbd_data.{}", entry.id));
    image.close().unwrap();
    assert_eq!(
        fixture.pool.image_id(&name).unwrap(),
        Some(entry.id.clone())
    );
    fixture.remove(&name);
    assert_eq!(fixture.pool.image_id(&name).unwrap(), None);
    assert_eq!(fixture.pool.image_name(&entry.id).unwrap(), None);
    assert!(fixture
        .pool
        .image_list()
        .unwrap()
        .iter()
        .all(|entry| entry.name != name));
}

#[test]
fn a_missing_image_is_not_found() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    for reference in [
        ImageRef::Name("no-such-image"),
        ImageRef::Id("0123456789ab"),
    ] {
        for read_only in [true, false] {
            let error = fixture.pool.image_open(&reference, read_only).unwrap_err();
            assert!(error.is_not_found(), "{error}");
            assert!(
                error.to_string().contains(&reference.to_string()),
                "{error}"
            );
        }
    }
}

#[test]
fn another_client_reads_the_written_data() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("data");
    image.write_at(4 * MIB - 3, b"across two objects").unwrap();
    let reader = fixture.another();
    let other = reader
        .pool
        .image_open(&ImageRef::Name(&name), true)
        .unwrap();
    let mut data = [0; 18];
    assert_eq!(other.read_at(4 * MIB - 3, &mut data).unwrap(), data.len());
    assert_eq!(&data, b"across two objects");
    assert_eq!(
        other.read_at(8 * MIB - 4, &mut data).unwrap(),
        4,
        "a read ends with the image"
    );
    assert_eq!(
        other.write_at(0, b"no").unwrap_err().errno(),
        Some(30),
        "read-only is EROFS"
    );
    let error = image.write_at(8 * MIB - 1, b"too much").unwrap_err();
    assert!(error.to_string().contains("only 1 of 8 bytes"), "{error}");
    drop((image, other));
    fixture.remove(&name);
}

#[test]
fn an_image_shrinks_only_with_allow_shrink() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("resized");
    image.resize(64 * MIB, false, &mut |_, _| {}).unwrap();
    assert_eq!(
        image
            .resize(MIB, false, &mut |_, _| {})
            .unwrap_err()
            .errno(),
        Some(22)
    );
    assert_eq!(image.size().unwrap(), 64 * MIB);
    image.resize(0, true, &mut |_, _| {}).unwrap();
    assert_eq!(image.size().unwrap(), 0);
    drop(image);
    fixture.remove(&name);
}

#[test]
fn an_image_keeps_many_and_long_metadata() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("meta");
    let long = "x".repeat(3_000);
    for number in 0..150 {
        image
            .metadata_set(&format!("key.{number:03}"), &long)
            .unwrap();
    }
    image.metadata_set("key.000", "").unwrap();
    image.metadata_set("key.001", "Größe").unwrap();
    let all = image.metadata_list().unwrap();
    assert_eq!(all.len(), 150);
    assert_eq!(
        (all["key.000"].as_str(), all["key.001"].as_str()),
        ("", "Größe")
    );
    assert!(all.values().skip(2).all(|value| *value == long));
    assert_eq!(image.metadata_get("key.149").unwrap(), Some(long));
    image.metadata_remove("key.149").unwrap();
    assert_eq!(image.metadata_get("key.149").unwrap(), None);
    assert!(image.metadata_remove("key.149").unwrap_err().is_not_found());
    drop(image);
    fixture.remove(&name);
}

#[test]
fn the_watchers_of_an_image_are_its_writers() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("watched");
    image.close().unwrap();
    let (writer, reader) = (fixture.another(), fixture.another());
    let read = reader
        .pool
        .image_open(&ImageRef::Name(&name), true)
        .unwrap();
    assert_eq!(read.watchers().unwrap(), []);
    let written = writer
        .pool
        .image_open(&ImageRef::Name(&name), false)
        .unwrap();
    let watchers = read.watchers().unwrap();
    assert_eq!(watchers.len(), 1);
    assert_eq!(
        u64::try_from(watchers[0].client_id).unwrap(),
        writer.cluster.instance_id()
    );
    assert_eq!(watchers[0].address, writer.cluster.addresses().unwrap());
    written.close().unwrap();
    assert_eq!(read.watchers().unwrap(), []);
    drop(read);
    fixture.remove(&name);
}

#[test]
fn an_open_image_keeps_its_connection() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("held");
    image.close().unwrap();
    let other = fixture.another();
    let image = other.pool.image_open(&ImageRef::Name(&name), true).unwrap();
    drop(other);
    assert_eq!(image.size().unwrap(), 8 * MIB);
    drop(image);
    fixture.remove(&name);
}

#[test]
fn a_name_with_a_nul_byte_is_refused() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let error = fixture
        .pool
        .image_create("two\0names", MIB, &plain())
        .unwrap_err();
    assert_eq!(error.errno(), None);
    assert!(error.to_string().contains("image name"), "{error}");
}

#[test]
fn a_header_has_the_same_properties_as_the_open_image() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("closed");
    let id = image.id().unwrap();
    let header = fixture.pool.header(&id);
    assert_eq!(header.size().unwrap(), image.size().unwrap());
    assert_eq!(header.snapshots().unwrap(), []);
    assert!(!header.has_parent().unwrap());

    let names: Vec<_> = (0..3).map(|n| format!("snapshot {n}")).collect();
    for name in &names {
        image.snapshot_create(name).unwrap();
    }
    let mut numbers = header.snapshots().unwrap();
    numbers.sort();
    let listed = image.snapshots().unwrap();
    assert_eq!(numbers, listed.iter().map(|s| s.id).collect::<Vec<_>>());
    let found = numbers.iter().map(|id| header.snapshot_name(*id).unwrap());
    assert_eq!(found.collect::<Vec<_>>(), names);
    let unknown = header.snapshot_name(SnapId(u64::MAX - 7)).unwrap_err();
    assert!(unknown.is_not_found(), "{unknown}");

    header.metadata_set("key", "a \"value\"\u{e9}").unwrap();
    let set = image.metadata_get("key").unwrap();
    assert_eq!(set.as_deref(), Some("a \"value\"\u{e9}"));
    numbers
        .into_iter()
        .for_each(|id| image.snapshot_remove(id).unwrap());
    drop(image);
    fixture.remove(&name);
    let gone = header.size().unwrap_err();
    assert!(gone.is_not_found(), "{gone}");
}

#[test]
fn a_renamed_image_keeps_its_id_and_loses_its_name() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (old, image) = fixture.image("old");
    let (id, new) = (image.id().unwrap(), fixture.name("new"));
    let snapshot = image.snapshot_create("s").unwrap();
    let child = fixture.clone_of(&old, "s");
    image.close().unwrap();
    let taken = fixture.pool.image_rename(&old, &child).unwrap_err();
    assert!(taken.is_already_there());
    fixture.pool.image_rename(&old, &new).unwrap();
    assert_eq!(fixture.pool.image_id(&old).unwrap(), None);
    assert_eq!(fixture.pool.image_id(&new).unwrap(), Some(id.clone()));
    let missing = fixture.pool.image_rename(&old, &new).unwrap_err();
    assert!(missing.is_not_found());
    let clone = fixture
        .pool
        .image_open(&ImageRef::Name(&child), true)
        .unwrap();
    let parent = clone.parent().unwrap().unwrap();
    assert_eq!((parent.image.image_id, parent.snap_id), (id, snapshot));
    clone.close().unwrap();
    fixture.remove(&child);
    fixture.remove(&new);
}
