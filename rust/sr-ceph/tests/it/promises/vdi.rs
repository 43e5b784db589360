//! Creating, resizing and deleting VDIs.

use nix::libc;
use sr_ceph::faults::{Calls, Faults, FaultyPool, Mode, Plan};
use sr_ceph::sr::reclaim::Report;
use sr_ceph::{Error, ImageError};
use uuid::Uuid;

use crate::support::{ceph_sr, named, new_disk, Lab, A, B, GIB};

#[test]
fn a_disk_is_listed_on_every_host_with_its_size() {
    let lab = Lab::new();
    let vdi = lab.create(GIB + 1);
    let size = lab.vdis(B)[&vdi];
    assert!(size > GIB, "never smaller than asked: {size}");
    assert_eq!(lab.sim.snapshot().sizes[&lab.image_id(&vdi)], size);
}

#[test]
fn a_vdi_that_exists_is_not_created_again() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    let before = lab.sim.snapshot();
    let error = lab
        .run(B, |sr| sr.create_disk(&new_disk(vdi, 2 * GIB)))
        .unwrap_err();
    assert!(matches!(error, Error::VdiExists { .. }), "{error}");
    assert_eq!(lab.sim.snapshot(), before);
}

#[test]
fn a_foreign_image_with_our_naming_is_left_alone() {
    let lab = Lab::new();
    let vdi = Uuid::new_v4();
    let name = format!("smblock.{}.{vdi}.0", lab.sr);
    let id = lab.sim.create_foreign_image(&name, GIB);
    let before = lab.sim.snapshot();
    let error = lab
        .run(A, |sr| sr.create_disk(&new_disk(vdi, GIB)))
        .unwrap_err();
    assert!(
        matches!(error, Error::Image(ImageError::NameTaken { .. })),
        "{error}"
    );
    let scan = lab.scan(B).unwrap();
    assert!(scan.vdis.is_empty());
    assert!(
        scan.warnings.iter().any(|w| w.contains(&name)),
        "{:?}",
        scan.warnings
    );
    assert_eq!(lab.sim.snapshot(), before);
    assert!(lab.sim.content(&id).is_some());
}

#[test]
fn names_of_64_kib_emoji_and_control_characters_come_back_as_they_were() {
    let lab = Lab::new();
    let names = [
        "é".repeat(32 * 1024),
        "🐙💾".into(),
        "\u{1}\u{0}]]>&<\u{7f}\n\"".into(),
    ];
    let mut made = Vec::new();
    for name in &names {
        let uuid = Uuid::new_v4();
        let mut disk = new_disk(uuid, GIB);
        disk.xapi = named(name);
        lab.run(A, |sr| sr.create_disk(&disk)).unwrap();
        made.push((uuid, name));
    }
    let scan = lab.scan(B).unwrap();
    for (uuid, name) in made {
        let vdi = scan.vdis.iter().find(|vdi| vdi.uuid == uuid).unwrap();
        assert_eq!(vdi.xapi.name_label, *name);
    }
}

#[test]
fn a_deleted_disk_is_gone_at_once_and_its_space_soon() {
    let lab = Lab::new();
    let (vdi, other) = (lab.create(GIB), lab.create(GIB));
    let image = lab.image_id(&vdi);
    lab.run(B, |sr| sr.delete_vdi(&vdi)).unwrap();
    assert_eq!(lab.vdis(A).into_keys().collect::<Vec<_>>(), [other]);
    lab.sim.run_manager();
    assert_eq!(lab.sim.content(&image), None);
    assert!(lab.sim.content(&lab.image_id(&other)).is_some());
    lab.run(A, |sr| sr.delete_vdi(&vdi)).unwrap(); // again: deleted already
}

#[test]
fn the_space_of_a_watched_disk_is_freed_when_the_watch_ends() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    let image = lab.image_id(&vdi);
    lab.sim.open_with_librbd(&image);
    lab.run(A, |sr| sr.delete_vdi(&vdi)).unwrap();
    lab.sim.run_manager();
    let mut waits = 0;
    let left = lab
        .run(A, |sr| {
            sr.reclaim(|_, report| waits += usize::from(matches!(report, Report::Waits)))
        })
        .unwrap();
    assert_eq!((left, waits), (1, 1));
}

#[test]
fn reclaim_frees_what_the_manager_does_not_free() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    lab.run(A, |sr| sr.delete_vdi(&vdi)).unwrap();
    assert_eq!(lab.run(A, |sr| sr.reclaim(|_, _| ())).unwrap(), 0);
    assert!(lab.sim.snapshot().sizes.is_empty());
}

#[test]
fn a_deleted_uuid_can_be_used_again() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    lab.run(A, |sr| sr.delete_vdi(&vdi)).unwrap();
    lab.run(B, |sr| sr.create_disk(&new_disk(vdi, 2 * GIB)))
        .unwrap();
    lab.sim.run_manager();
    assert_eq!(lab.vdis(A)[&vdi], 2 * GIB);
    assert!(lab.sim.content(&lab.image_id(&vdi)).is_some());
}

#[test]
fn a_disk_grows_and_never_shrinks() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    let grown = lab
        .run(B, |sr| sr.resize_vdi(&vdi, i128::from(2 * GIB)))
        .unwrap();
    assert_eq!(grown, 2 * GIB);
    assert_eq!(lab.vdis(A)[&vdi], 2 * GIB);
    assert_eq!(lab.sim.snapshot().sizes[&lab.image_id(&vdi)], 2 * GIB);
    let error = lab
        .run(A, |sr| sr.resize_vdi(&vdi, i128::from(GIB)))
        .unwrap_err();
    assert!(matches!(error, Error::Shrink { .. }), "{error}");
    assert_eq!(lab.vdis(A)[&vdi], 2 * GIB);
}

#[test]
fn a_resize_to_the_same_size_succeeds_twice() {
    let lab = Lab::new();
    let vdi = lab.create(GIB + 1);
    let asked = i128::from(GIB + 1);
    let size = lab.run(A, |sr| sr.resize_vdi(&vdi, asked)).unwrap();
    assert_eq!(size, lab.vdis(A)[&vdi]);
}

#[test]
fn a_disk_whose_image_was_removed_by_hand_is_reported_by_name() {
    let lab = Lab::new();
    let (vdi, other) = (lab.create(GIB), lab.create(GIB));
    let name = lab.image_name(&vdi);
    lab.sim.remove_image(&name);
    let error = lab.activate(A, &vdi).unwrap_err();
    assert!(
        matches!(error, Error::Image(ImageError::Missing { .. })),
        "{error}"
    );
    let scan = lab.scan(A).unwrap();
    assert!(
        scan.warnings.iter().any(|w| w.contains(&name)),
        "{:?}",
        scan.warnings
    );
    let destroy = format!("xe vdi-destroy uuid={vdi}");
    assert!(scan.warnings.concat().contains(&destroy));
    assert_eq!(scan.vdis.len(), 2, "XAPI forgets what a scan leaves out");
    lab.run(A, |sr| sr.delete_vdi(&vdi)).unwrap();
    assert_eq!(lab.vdis(A).into_keys().collect::<Vec<_>>(), [other]);
}

#[test]
fn a_disk_that_was_shrunk_by_hand_is_not_activated() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    lab.sim.resize_image(&lab.image_name(&vdi), GIB / 2);
    let error = lab.activate(A, &vdi).unwrap_err();
    assert!(
        matches!(error, Error::Image(ImageError::Shrunk { .. })),
        "{error}"
    );
    assert!(lab.sim.devices(A).is_empty());
}

#[test]
fn a_disk_that_was_shrunk_by_hand_is_not_resized() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    lab.sim.resize_image(&lab.image_name(&vdi), GIB / 2);
    let before = lab.sim.snapshot();
    for size in [GIB, 2 * GIB] {
        let refused = lab.run(A, |sr| sr.resize_vdi(&vdi, i128::from(size)));
        assert!(
            matches!(refused, Err(Error::Image(ImageError::Shrunk { .. }))),
            "{refused:?}"
        );
    }
    assert_eq!(lab.sim.snapshot(), before);
}

#[test]
fn a_resize_takes_over_what_was_grown_by_hand() {
    for (asked, expected) in [(GIB, 2 * GIB), (GIB + GIB / 2, 2 * GIB), (3 * GIB, 3 * GIB)] {
        let lab = Lab::new();
        let vdi = lab.create(GIB);
        lab.sim.resize_image(&lab.image_name(&vdi), 2 * GIB);
        let size = lab.run(A, |sr| sr.resize_vdi(&vdi, i128::from(asked)));
        assert_eq!(size.unwrap(), expected);
        assert_eq!(lab.record(&vdi).unwrap().size, expected);
        assert_eq!(lab.sim.snapshot().sizes[&lab.image_id(&vdi)], expected);
    }
}

#[test]
fn a_resize_that_the_cluster_refuses_leaves_no_intent() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    let process = lab.process(A);
    // The intent is the first change.
    let plan = Plan {
        calls: Calls::Changes,
        nth: 1,
        mode: Mode::Fails(libc::EINVAL),
    };
    let faults = Faults::plan(plan);
    let pool = FaultyPool::new(&process.pool, &faults);
    let sr = ceph_sr(&pool, &process.host, lab.sr);
    let refused = sr.resize_vdi(&vdi, i128::from(2 * GIB)).unwrap_err();
    assert_eq!(faults.hit(), Some("grow_image"));
    assert_eq!(refused.errno(), Some(libc::EINVAL));
    assert_eq!(lab.keys("op."), [""; 0]);
    assert_eq!(lab.record(&vdi).unwrap().size, GIB);
}
