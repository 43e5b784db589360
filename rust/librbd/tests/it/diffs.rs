//! What changed in an image since one of its snapshots.

use std::ops::ControlFlow;
use std::panic::{catch_unwind, AssertUnwindSafe};

use librbd::{Diff, Extent, Image, ImageRef};
use nix::errno::Errno;

use crate::fixture::{Fixture, MIB};

const SIZE: u64 = 8 * MIB;
const KIB: u64 = 1 << 10;

fn extent(offset: u64, length: u64, exists: bool) -> Extent {
    Extent {
        offset,
        length,
        exists,
    }
}

fn since(name: &str) -> Diff<'_> {
    Diff {
        since: Some(name),
        ..Diff::default()
    }
}

fn extents(image: &Image, diff: &Diff<'_>) -> Vec<Extent> {
    image.extents(diff, 0, SIZE).unwrap()
}

/// A clone of a full image, and its parent.
fn clone_of_a_full_image(fixture: &Fixture) -> (String, String, Image) {
    let (name, parent) = fixture.image("parent");
    for offset in (0..SIZE).step_by(1 << 20) {
        parent.write_at(offset, &[1; 1 << 20]).unwrap();
    }
    parent.snapshot_create("s").unwrap();
    drop(parent);
    let child = fixture.clone_of(&name, "s");
    let image = fixture
        .pool
        .image_open(&ImageRef::Name(&child), false)
        .unwrap();
    (name, child, image)
}

#[test]
fn a_write_to_an_object_that_exists_is_reported_exactly() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("exact");
    image.write_at(0, &[1; 1 << 20]).unwrap();
    image.snapshot_create("a").unwrap();
    assert_eq!(extents(&image, &since("a")), []);
    image.write_at(64 * KIB, &[2; 512]).unwrap();
    image.write_at(64 * KIB + 512, &[2; 512]).unwrap();
    image.write_at(MIB - 512, &[2; 512]).unwrap();
    assert_eq!(
        extents(&image, &since("a")),
        [extent(64 * KIB, 1024, true), extent(MIB - 512, 512, true)]
    );
    let part = image.extents(&since("a"), 64 * KIB + 256, 512);
    assert_eq!(part.unwrap(), [extent(64 * KIB + 256, 512, true)]);
    drop(image);
    fixture.remove(&name);
}

#[test]
fn a_write_to_a_new_object_is_reported_with_the_hole_before_it() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("new-object");
    image.snapshot_create("a").unwrap();
    image.write_at(6 * MIB, &[1; 512]).unwrap();
    let found = extents(&image, &since("a"));
    let covered = |byte: u64| {
        let mut found = found.iter();
        found.any(|e| e.exists && (e.offset..e.offset + e.length).contains(&byte))
    };
    assert!(covered(6 * MIB) && covered(6 * MIB + 511), "{found:?}");
    assert!(!covered(MIB), "another object: {found:?}");
    assert_eq!(extents(&image, &Diff::default()), found);
    drop(image);
    fixture.remove(&name);
}

#[test]
fn two_snapshots_are_compared_while_another_client_writes() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, writer) = fixture.image("written");
    writer.write_at(0, &[1; 1 << 20]).unwrap();
    writer.snapshot_create("a").unwrap();
    writer.write_at(0, &[2; 4096]).unwrap();
    let b = writer.snapshot_create("b").unwrap();
    writer.write_at(8192, &[3; 4096]).unwrap();

    let reader = fixture.another();
    let image = ImageRef::Name(&name);
    let mut image = reader.pool.image_open(&image, true).unwrap();
    image.set_snapshot(Some(b)).unwrap();
    assert_eq!(extents(&image, &since("a")), [extent(0, 4096, true)]);
    assert_eq!(extents(&image, &since("b")), []);
    writer.write_at(16384, &[4; 4096]).unwrap();
    assert_eq!(extents(&image, &since("a")), [extent(0, 4096, true)]);
    drop((image, reader, writer));
    fixture.remove(&name);
}

#[test]
fn a_diff_of_a_missing_or_newer_snapshot_or_range_is_an_error() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, mut image) = fixture.image("refused");
    let a = image.snapshot_create("a").unwrap();
    image.write_at(0, b"data").unwrap();
    image.snapshot_create("b").unwrap();
    let missing = image.extents(&since("none"), 0, SIZE).unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
    let beyond = image.extents(&since("a"), SIZE, MIB).unwrap_err();
    assert_eq!(beyond.errno(), Some(Errno::EINVAL as i32));
    let across = image.extents(&since("a"), SIZE - MIB, 2 * MIB);
    assert_eq!(across.unwrap(), []);
    image.set_snapshot(Some(a)).unwrap();
    let newer = image.extents(&since("b"), 0, SIZE).unwrap_err();
    assert_eq!(newer.errno(), Some(Errno::EINVAL as i32));
    drop(image);
    fixture.remove(&name);
}

#[test]
fn a_discard_of_a_clone_is_found_since_its_birth_also_after_a_flatten() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (parent, child, clone) = clone_of_a_full_image(&fixture);
    clone.snapshot_create("birth").unwrap();
    clone.discard(0, 4 * MIB).unwrap();
    clone.write_at(4 * MIB, &[2; 4096]).unwrap();
    let changed = [extent(0, 4 * MIB, false), extent(4 * MIB, 4096, true)];
    assert_eq!(extents(&clone, &since("birth")), changed);

    clone.snapshot_create("before").unwrap();
    clone.flatten(&mut |_, _| {}).unwrap();
    assert_eq!(extents(&clone, &since("before")), []);
    let mut at = fixture
        .pool
        .image_open(&ImageRef::Name(&child), true)
        .unwrap();
    let before = at.snapshot_id("before").unwrap();
    at.set_snapshot(Some(before)).unwrap();
    assert_eq!(extents(&at, &since("birth")), changed);
    drop((at, clone));
    fixture.remove(&child);
    fixture.remove(&parent);
}

#[test]
fn without_a_snapshot_of_its_birth_nothing_shows_the_discard_of_a_clone() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (parent, child, clone) = clone_of_a_full_image(&fixture);
    clone.discard(0, 4 * MIB).unwrap();
    let (of_clone, with_parent) = (
        Diff::default(),
        Diff {
            with_parent: true,
            ..Diff::default()
        },
    );
    assert_eq!(extents(&clone, &of_clone), []);
    assert_eq!(extents(&clone, &with_parent), [extent(0, SIZE, true)]);
    drop(clone);
    fixture.remove(&child);
    fixture.remove(&parent);
}

#[test]
fn a_step_ends_a_diff_and_its_panic_reaches_the_caller() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("ended");
    image.snapshot_create("a").unwrap();
    for offset in [0, 4 * MIB] {
        image.write_at(offset, &[1; 512]).unwrap();
    }
    let counted = image.diff(&since("a"), 0, SIZE, 0, |count, _| {
        *count += 1;
        ControlFlow::Break(())
    });
    assert_eq!(counted.unwrap(), 1);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        image.diff(&since("a"), 0, SIZE, (), |(), _| panic!("in a step"))
    }));
    let text = panicked.unwrap_err().downcast::<&str>();
    assert_eq!(*text.unwrap(), "in a step");
    assert_eq!(image.extents(&since("a"), 0, SIZE).unwrap().len(), 2);
    drop(image);
    fixture.remove(&name);
}

#[test]
fn several_threads_compare_one_open_image() {
    let Some(fixture) = Fixture::connect() else {
        return;
    };
    let (name, image) = fixture.image("threads");
    image.snapshot_create("a").unwrap();
    for offset in [0, 4 * MIB] {
        image.write_at(offset, &[1; 4096]).unwrap();
    }
    std::thread::scope(|scope| {
        let part = |at| image.extents(&since("a"), at, 4 * MIB).unwrap();
        let threads: Vec<_> = (0..8)
            .map(|n| scope.spawn(move || part(n % 2 * 4 * MIB)))
            .collect();
        for (n, thread) in (0..).zip(threads) {
            let found = thread.join().unwrap();
            assert_eq!(found, [extent(n % 2 * 4 * MIB, 4096, true)]);
        }
    });
    drop(image);
    fixture.remove(&name);
}
