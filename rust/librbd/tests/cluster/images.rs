//! Images: what they are made with, what they tell, what is written to them.

use librbd::{CreateOptions, ImageRef, SnapId};

use crate::lab::{plain, Lab, FEATURES, MIB};

#[test]
fn an_image_is_what_it_was_made_as() {
    let Some(lab) = Lab::connect() else { return };
    let name = lab.name("made");
    // One byte less than a MiB: sizes are never rounded.
    let size = 64 * MIB - 1;
    let options = CreateOptions {
        order: 20,
        ..plain()
    };
    lab.pool.image_create(&name, size, &options).unwrap();
    assert!(lab
        .pool
        .image_create(&name, size, &options)
        .unwrap_err()
        .is_already_there());

    let listed = lab.pool.image_list().unwrap();
    let entry = listed.iter().find(|entry| entry.name == name).unwrap();
    let known_as = lab.pool.image_name(&entry.id).unwrap();
    assert_eq!(known_as.as_deref(), Some(name.as_str()));
    let image = lab.pool.image_open(&ImageRef::Id(&entry.id), true).unwrap();
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
    assert_eq!(lab.pool.image_id(&name).unwrap(), Some(entry.id.clone()));
    lab.remove(&name);
    assert_eq!(lab.pool.image_id(&name).unwrap(), None);
    assert_eq!(lab.pool.image_name(&entry.id).unwrap(), None);
    assert!(lab
        .pool
        .image_list()
        .unwrap()
        .iter()
        .all(|entry| entry.name != name));
}

#[test]
fn an_image_that_is_not_there_is_not_found() {
    let Some(lab) = Lab::connect() else { return };
    for reference in [
        ImageRef::Name("no-such-image"),
        ImageRef::Id("0123456789ab"),
    ] {
        for read_only in [true, false] {
            let error = lab.pool.image_open(&reference, read_only).unwrap_err();
            assert!(error.is_not_found(), "{error}");
            assert!(
                error.to_string().contains(&reference.to_string()),
                "{error}"
            );
        }
    }
}

#[test]
fn what_is_written_is_read_by_the_next_one() {
    let Some(lab) = Lab::connect() else { return };
    let (name, image) = lab.image("data");
    image.write_at(4 * MIB - 3, b"across two objects").unwrap();
    let reader = lab.another();
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
    lab.remove(&name);
}

#[test]
fn an_image_is_made_smaller_only_on_purpose() {
    let Some(lab) = Lab::connect() else { return };
    let (name, image) = lab.image("resized");
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
    lab.remove(&name);
}

#[test]
fn metadata_of_any_length_and_number_is_kept() {
    let Some(lab) = Lab::connect() else { return };
    let (name, image) = lab.image("meta");
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
    lab.remove(&name);
}

#[test]
fn who_has_an_image_open_for_writing_is_known_and_readers_are_not() {
    let Some(lab) = Lab::connect() else { return };
    let (name, image) = lab.image("watched");
    image.close().unwrap();
    let (writer, reader) = (lab.another(), lab.another());
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
    lab.remove(&name);
}

#[test]
fn an_open_image_keeps_its_connection() {
    let Some(lab) = Lab::connect() else { return };
    let (name, image) = lab.image("held");
    image.close().unwrap();
    let other = lab.another();
    let image = other.pool.image_open(&ImageRef::Name(&name), true).unwrap();
    drop(other);
    assert_eq!(image.size().unwrap(), 8 * MIB);
    drop(image);
    lab.remove(&name);
}

#[test]
fn a_name_with_a_nul_byte_is_refused_before_the_cluster_is_asked() {
    let Some(lab) = Lab::connect() else { return };
    let error = lab
        .pool
        .image_create("two\0names", MIB, &plain())
        .unwrap_err();
    assert_eq!(error.errno(), None);
    assert!(error.to_string().contains("image name"), "{error}");
}

#[test]
fn a_header_says_without_opening_the_image_what_librbd_says_of_the_open_one() {
    let Some(lab) = Lab::connect() else { return };
    let (name, image) = lab.image("closed");
    let id = image.id().unwrap();
    let header = lab.pool.header(&id);
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
    let told = numbers.iter().map(|id| header.snapshot_name(*id).unwrap());
    assert_eq!(told.collect::<Vec<_>>(), names);
    let unknown = header.snapshot_name(SnapId(u64::MAX - 7)).unwrap_err();
    assert!(unknown.is_not_found(), "{unknown}");

    header.metadata_set("key", "a \"value\"\u{e9}").unwrap();
    let set = image.metadata_get("key").unwrap();
    assert_eq!(set.as_deref(), Some("a \"value\"\u{e9}"));
    numbers
        .into_iter()
        .for_each(|id| image.snapshot_remove(id).unwrap());
    drop(image);
    lab.remove(&name);
    let gone = header.size().unwrap_err();
    assert!(gone.is_not_found(), "{gone}");
}
