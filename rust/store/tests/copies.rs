//! Snapshots and clones: what they hold, and that everything can be deleted in any order.
#![allow(clippy::unwrap_used)]

mod support;

use store::vdi::snapshot::MAX_DEPTH;
use store::Error;
use uuid::Uuid;

use support::{Lab, A, B, GIB};

#[test]
fn a_snapshot_keeps_what_the_disk_was_and_a_clone_starts_from_there() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    lab.write(&disk, 1);
    let snapshot = lab.snapshot(&disk);
    lab.write(&disk, 2);
    let clone = lab.clone_of(&snapshot);
    let twin = lab.clone_of(&disk);
    lab.write(&clone, 3);
    let contents = [disk, snapshot, clone, twin].map(|vdi| lab.content(&vdi));
    assert_eq!(contents, [Some(2), Some(1), Some(3), Some(2)]);
}

#[test]
fn a_running_disk_is_paused_for_its_snapshot_and_goes_on() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    lab.activate(B, &disk).unwrap();
    lab.snapshot(&disk);
    assert!(lab.world.paused().is_empty());
}

#[test]
fn a_snapshot_is_attached_read_only_beside_its_running_disk() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    let snapshot = lab.snapshot(&disk);
    lab.activate(A, &disk).unwrap();
    let mapped = lab.run(B, |sr| sr.activate_vdi(&snapshot, false)).unwrap();
    assert!(mapped.read_only);
    let refused = lab.activate(B, &snapshot);
    assert!(
        matches!(refused, Err(Error::ReadOnly { .. })),
        "{refused:?}"
    );
    lab.deactivate(B, &snapshot).unwrap();
    assert!(lab.world.devices(B).is_empty());
    assert_eq!(lab.world.devices(A).len(), 1);
}

#[test]
fn a_revert_as_xapi_does_it_gives_the_old_content_back() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    lab.write(&disk, 1);
    let snapshot = lab.snapshot(&disk);
    lab.write(&disk, 2);
    lab.run(A, |sr| sr.delete_vdi(&disk)).unwrap();
    let reverted = lab.clone_of(&snapshot);
    assert_eq!(lab.content(&reverted), Some(1));
    lab.write(&reverted, 3);
    assert_eq!(lab.content(&snapshot), Some(1));
}

#[test]
fn a_disk_is_refused_where_no_kernel_could_map_its_clones() {
    let lab = Lab::new();
    let mut disk = lab.create(GIB);
    for _ in 0..=MAX_DEPTH {
        let snapshot = lab.snapshot(&disk);
        disk = lab.clone_of(&snapshot);
    }
    for refused in [
        lab.run(A, |sr| sr.snapshot_vdi(&disk, &Uuid::new_v4())),
        lab.run(A, |sr| sr.clone_vdi(&disk, &Uuid::new_v4())),
    ] {
        assert!(
            matches!(refused, Err(Error::ChainTooLong { .. })),
            "{refused:?}"
        );
    }
}

/// A disk, its snapshot, a clone of that, the clone's snapshot, the first snapshot's twin, and a
/// clone of the disk itself.
fn family(lab: &Lab) -> [Uuid; 6] {
    let disk = lab.create(GIB);
    let snapshot = lab.snapshot(&disk);
    let clone = lab.clone_of(&snapshot);
    let clones_snapshot = lab.snapshot(&clone);
    let twin = lab.snapshot(&snapshot);
    let disks_clone = lab.clone_of(&disk);
    [disk, snapshot, clone, clones_snapshot, twin, disks_clone]
}

fn orders(left: Vec<usize>, chosen: Vec<usize>, all: &mut Vec<Vec<usize>>) {
    if left.is_empty() {
        all.push(chosen);
        return;
    }
    for &next in &left {
        let mut chosen = chosen.clone();
        chosen.push(next);
        let left = left.iter().copied().filter(|&n| n != next).collect();
        orders(left, chosen, all);
    }
}

#[test]
fn whatever_the_order_of_deletion_the_others_keep_their_content_and_nothing_is_left() {
    let mut all = Vec::new();
    orders((0..6).collect(), Vec::new(), &mut all);
    assert_eq!(all.len(), 720);
    for order in all {
        let lab = Lab::new();
        let family = family(&lab);
        for (step, &victim) in order.iter().enumerate() {
            lab.run(A, |sr| sr.delete_vdi(&family[victim])).unwrap();
            for &survivor in &order[step + 1..] {
                let content = lab.content(&family[survivor]);
                assert_eq!(content, Some(0), "{order:?} lost {survivor} at {step}");
            }
        }
        lab.settle();
        let pool = lab.world.snapshot();
        assert!(pool.images.is_empty(), "{order:?}: {:?}", pool.images);
        assert!(pool.sizes.is_empty(), "{order:?}: {:?}", pool.sizes);
        assert_eq!(lab.keys("hidden."), [""; 0], "{order:?}");
        lab.run(A, |sr| sr.delete_sr()).unwrap();
    }
}

#[test]
fn a_scan_does_not_complain_of_an_image_that_only_lives_for_its_snapshots() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    lab.snapshot(&disk);
    lab.run(A, |sr| sr.delete_vdi(&disk)).unwrap();
    assert_eq!(lab.scan(B).unwrap().warnings, [""; 0]);
}
