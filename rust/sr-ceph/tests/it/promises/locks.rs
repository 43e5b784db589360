//! Images that were locked or demoted by hand: which commands are refused.

use nix::libc;
use sr_ceph::image_features::ImageFeatures;
use sr_ceph::{CephSr, Error};
use uuid::Uuid;

use crate::support::{Lab, A, B, GIB};

type Change = fn(&CephSr<'_>, &Uuid) -> sr_ceph::Result<()>;

const CHANGES: [(&str, Change); 4] = [
    ("snapshot", |sr, disk| {
        sr.snapshot_vdi(disk, &Uuid::new_v4()).map(drop)
    }),
    ("clone", |sr, disk| {
        sr.clone_vdi(disk, &Uuid::new_v4()).map(drop)
    }),
    ("resize", |sr, disk| {
        sr.resize_vdi(disk, i128::from(2 * GIB)).map(drop)
    }),
    ("delete", |sr, disk| sr.delete_vdi(disk)),
];

fn is_refused(what: &str, done: sr_ceph::Result<()>) {
    let error = done.unwrap_err();
    assert_eq!(error.errno(), Some(libc::EBUSY), "{what}: {error}");
    let about_image = matches!(&error, Error::Ceph { source, .. } if source.is_about_image());
    assert!(about_image, "{what}: {error}");
    assert!(error.to_string().contains("rbd lock rm"), "{what}: {error}");
}

#[test]
fn a_disk_locked_by_hand_stays_as_it_is_until_the_lock_is_removed() {
    for (what, change) in CHANGES {
        let lab = Lab::new();
        let (vdi, other) = (lab.create(GIB), lab.create(GIB));
        let name = lab.image_name(&vdi);
        lab.sim.lock_by_hand(&name, Some("mylock"));
        is_refused(what, lab.run(A, |sr| change(&sr, &vdi)));
        assert_eq!(lab.keys("op."), [""; 0], "{what}");
        assert_eq!(lab.scan(B).unwrap().warnings, [""; 0], "{what}");
        assert!(lab.vdis(B).contains_key(&vdi), "{what}");

        lab.run(B, |sr| change(&sr, &other)).unwrap();
        let third = lab.create(GIB);
        assert!(lab.vdis(A).contains_key(&third), "{what}");
        lab.activate(A, &vdi).unwrap();
        lab.deactivate(A, &vdi).unwrap();

        lab.sim.lock_by_hand(&name, None);
        lab.run(B, |sr| change(&sr, &vdi)).unwrap();
    }
}

#[test]
fn a_deletion_that_meets_a_lock_half_way_is_finished_without_the_lock() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    let snapshot = lab.snapshot(&vdi);
    let name = lab.image_name(&vdi);
    lab.sim.lock_by_hand(&name, Some("mylock"));
    is_refused("of a snapshot", lab.run(A, |sr| sr.delete_vdi(&snapshot)));
    assert!(lab.vdis(B).contains_key(&snapshot));

    // The lock is set after the deletion has begun.
    lab.sim.lock_by_hand(&name, None);
    lab.run(A, |sr| sr.delete_vdi(&vdi)).unwrap();
    lab.sim.lock_by_hand(&name, Some("mylock"));
    assert!(lab.run(A, |sr| sr.delete_vdi(&snapshot)).is_err());
    lab.scan(B).unwrap();
    lab.sim.lock_by_hand(&name, None);
    lab.run(A, |sr| sr.delete_vdi(&snapshot)).unwrap();
    lab.settle();
    assert!(lab.sim.snapshot().sizes.is_empty());
}

#[test]
fn a_demoted_disk_is_refused_with_the_command_that_promotes_it() {
    let (lab, vdi) = Lab::with_disk();
    let kernel = ImageFeatures::DEFAULT;
    lab.sim.set_supported_features(A, Some(kernel));
    lab.sim.demote(&lab.image_name(&vdi));
    let error = lab.activate(A, &vdi).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::ByHand(_)), "{text}");
    assert!(text.contains("rbd mirror image promote"), "{text}");
    assert!(!text.contains("feature disable"), "{text}");
}

#[test]
fn a_locked_hidden_image_stops_no_scan_and_is_freed_without_the_lock() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    let name = lab.image_name(&vdi);
    let snapshot = lab.snapshot(&vdi);
    let clone = lab.clone_of(&snapshot);
    for gone in [snapshot, vdi] {
        lab.run(A, |sr| sr.delete_vdi(&gone)).unwrap();
    }
    lab.sim.lock_by_hand(&name, Some("mylock"));
    lab.run(A, |sr| sr.delete_vdi(&clone)).unwrap();
    lab.run(A, |sr| sr.reclaim(|_, _| {})).unwrap();
    assert!(lab.scan(B).unwrap().vdis.is_empty());
    assert_eq!(lab.sim.snapshot().sizes.len(), 1, "the locked one stays");

    lab.sim.lock_by_hand(&name, None);
    lab.scan(B).unwrap();
    lab.settle();
    assert!(lab.sim.snapshot().sizes.is_empty());
}
