//! Counting the objects of images, beside other images and foreign objects.

use librbd::{Part, Pool};

use crate::fixture::{Fixture, MIB};

const WHOLE: Part = Part { number: 0, of: 1 };

/// The objects of an image by the pool's parts, and those that were listed in all.
fn counted(pool: &Pool, image: &str, of: usize) -> (u64, u64) {
    let parts = (0..of).map(|number| pool.count_data_objects(pool, Part { number, of }).unwrap());
    parts.fold((0, 0), |(own, all), part| {
        let found = part.images.get(image).copied().unwrap_or(0);
        (own + found, all + part.listed)
    })
}

#[test]
fn each_object_of_an_image_is_in_one_part_of_the_pool() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("counted");
    let (other, beside) = fixture.image("beside");
    let id = image.id().unwrap();
    assert_eq!(counted(&fixture.pool, &id, 1).0, 0);
    image.resize(64 * MIB, false, &mut |_, _| {}).unwrap();
    for number in [0, 3, 9] {
        image.write_at(number * 4 * MIB, b"data").unwrap();
    }
    image
        .write_at(3 * 4 * MIB + 512, b"the same object")
        .unwrap();
    beside.write_at(0, b"data").unwrap();
    for parts in [1, 2, 7, 64] {
        let (own, all) = counted(&fixture.pool, &id, parts);
        assert_eq!(own, 3, "in {parts} parts");
        assert!(all >= 4, "{all}");
    }
    // The object of a snapshot whose data was discarded still counts.
    image.snapshot_create("kept").unwrap();
    image.resize(4 * MIB, true, &mut |_, _| {}).unwrap();
    assert_eq!(counted(&fixture.pool, &id, 3).0, 3);
    let header = fixture.pool.header(&id);
    assert_eq!(header.object_size().unwrap(), 4 * MIB);
    image.close().unwrap();
    beside.close().unwrap();
    fixture.remove(&name);
    fixture.remove(&other);
}

#[test]
fn a_part_that_does_not_exist_is_the_last_one() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("last");
    image.write_at(0, b"data").unwrap();
    let id = image.id().unwrap();
    image.close().unwrap();
    for part in [WHOLE, Part { number: 9, of: 0 }, Part { number: 5, of: 1 }] {
        let counted = fixture.pool.count_data_objects(&fixture.pool, part);
        assert_eq!(counted.unwrap().images.get(&id), Some(&1));
    }
    fixture.remove(&name);
}
