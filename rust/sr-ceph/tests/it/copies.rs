//! Snapshots and clones: their content, and deletion in any order.

mod orders;
mod trees;

use sr_ceph::chain::MAX_DEPTH;
use sr_ceph::faults::{Faults, FaultyPool};
use sr_ceph::Error;
use uuid::Uuid;

use crate::support::{ceph_sr, new_disk, Lab, A, B, GIB};

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

/// The new VDI has the UUID of the disk itself, which exists only when the command has begun.
#[test]
fn a_snapshot_never_replaces_a_disk_that_another_host_makes() {
    for nth in 0..10 {
        let lab = Lab::new();
        let disk = Uuid::new_v4();
        let (process, other) = (lab.process(A), lab.process(B));
        let faults = Faults::interrupted(nth, || {
            let sr = ceph_sr(&other.pool, &other.host, lab.sr);
            sr.create_disk(&new_disk(disk, GIB)).unwrap();
        });
        let pool = FaultyPool::new(&process.pool, &faults);
        let refused = ceph_sr(&pool, &process.host, lab.sr).snapshot_vdi(&disk, &disk);
        assert!(
            matches!(
                refused,
                Err(Error::VdiExists { .. } | Error::VdiMissing { .. })
            ),
            "before call {nth}: {refused:?}"
        );
        let record = lab.record(&disk);
        assert!(record.is_none_or(|record| record.volume.snapshot().is_none()));
    }
}

#[test]
fn a_running_disk_is_paused_for_its_snapshot_and_goes_on() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    lab.activate(B, &disk).unwrap();
    lab.snapshot(&disk);
    assert!(lab.sim.paused().is_empty());
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
    assert!(lab.sim.devices(B).is_empty());
    assert_eq!(lab.sim.devices(A).len(), 1);
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
fn a_copy_is_refused_if_no_kernel_could_map_its_clones() {
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

#[test]
fn two_vdis_of_one_snapshot_have_a_device_each() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    let snapshot = lab.snapshot(&disk);
    let twin = lab.snapshot(&snapshot);
    let attach = |vdi| lab.run(B, |sr| sr.activate_vdi(vdi, false)).unwrap().device;
    let (device, other) = (attach(&snapshot), attach(&twin));
    assert_ne!(device, other);
    assert_eq!(
        (attach(&snapshot), attach(&twin)),
        (device.clone(), other.clone())
    );
    lab.sim.set_open(B, &other, true);
    lab.deactivate(B, &snapshot).unwrap();
    let left = lab.sim.devices(B).into_iter().map(|d| d.device);
    assert_eq!(left.collect::<Vec<_>>(), std::slice::from_ref(&other));
    lab.sim.set_open(B, &other, false);
    lab.deactivate(B, &twin).unwrap();
    assert!(lab.sim.devices(B).is_empty());
}
