//! Activation, and which host may write.

use sr_ceph::image_features::ImageFeatures;
use sr_ceph::{Error, ImageError};

use crate::support::{new_disk, Lab, A, B, GIB};

#[test]
fn the_next_host_reads_what_the_first_one_wrote() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    let mapped = lab.activate(A, &vdi).unwrap();
    lab.sim.write(A, &mapped.device, 42).unwrap();
    lab.deactivate(A, &vdi).unwrap();
    lab.activate(B, &vdi).unwrap();
    assert_eq!(lab.sim.content(&lab.image_id(&vdi)), Some(42));
}

#[test]
fn activating_again_gives_the_same_device() {
    let lab = Lab::new();
    let (first, second) = (lab.create(GIB), lab.create(GIB));
    let device = lab.activate(A, &first).unwrap().device;
    lab.activate(A, &second).unwrap();
    assert_eq!(lab.activate(A, &first).unwrap().device, device);
    assert_eq!(lab.sim.devices(A).len(), 2);
    lab.deactivate(A, &first).unwrap();
    lab.deactivate(A, &first).unwrap(); // again: deactivated already
    assert_eq!(lab.record(&first).unwrap().claim, None);
}

#[test]
fn only_one_host_may_write() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    lab.activate(A, &vdi).unwrap();
    let error = lab.activate(B, &vdi).unwrap_err();
    assert!(
        matches!(&error, Error::VdiInUse { host, .. } if host == A),
        "{error}"
    );
    assert!(lab.sim.devices(B).is_empty());
    let reader = lab.run(B, |sr| sr.activate_vdi(&vdi, false)).unwrap();
    assert!(reader.read_only);
    lab.deactivate(A, &vdi).unwrap();
    assert!(!lab.activate(B, &vdi).unwrap().read_only);
}

#[test]
fn a_disk_in_use_is_neither_deleted_nor_resized_anywhere() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    lab.activate(A, &vdi).unwrap();
    let before = lab.sim.snapshot();
    for host in [A, B] {
        for error in [
            lab.run(host, |sr| sr.delete_vdi(&vdi)).unwrap_err(),
            lab.run(host, |sr| sr.resize_vdi(&vdi, i128::from(2 * GIB)))
                .map(|_| ())
                .unwrap_err(),
        ] {
            assert!(
                matches!(&error, Error::VdiInUse { host, .. } if host == A),
                "{error}"
            );
        }
    }
    assert_eq!(lab.sim.snapshot(), before);
}

#[test]
fn an_image_that_another_kernel_has_mapped_is_refused_and_not_mapped() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    let foreign = lab.sim.map_by_hand(B, &lab.image_name(&vdi)).unwrap();
    let error = lab.activate(A, &vdi).unwrap_err();
    assert!(
        matches!(&error, Error::Image(ImageError::ForeignKernel { address, .. }) if *address == foreign.client_address),
        "{error}"
    );
    assert!(lab.sim.devices(A).is_empty());
    assert_eq!(lab.record(&vdi).unwrap().claim, None);
}

#[test]
fn a_backup_that_reads_with_librbd_does_not_keep_a_vm_from_starting() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    lab.sim.open_with_librbd(&lab.image_id(&vdi));
    lab.activate(A, &vdi).unwrap();
}

#[test]
fn a_stale_map_of_another_image_under_the_same_name_is_never_used() {
    let lab = Lab::new();
    let (stale, vdi) = (lab.create(GIB), lab.create(GIB));
    let old = lab.sim.map_by_hand(A, &lab.image_name(&stale)).unwrap();
    lab.sim
        .forge_device_name(A, &old.device, &lab.image_name(&vdi));
    let mapped = lab.activate(A, &vdi).unwrap();
    assert_ne!(mapped.device, old.device);
    assert_eq!(mapped.key.image_id, lab.image_id(&vdi));
    lab.deactivate(A, &vdi).unwrap();
    assert_eq!(
        lab.sim.devices(A).len(),
        1,
        "not ours to take away while it may be in use"
    );
    lab.run(A, |sr| sr.attach_sr()).unwrap();
    assert!(lab.sim.devices(A).is_empty());
}

#[test]
fn a_reused_uuid_never_shows_the_disk_that_was_deleted() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    let old = lab.run(A, |sr| sr.activate_vdi(&vdi, false)).unwrap();
    lab.run(B, |sr| sr.delete_vdi(&vdi)).unwrap();
    lab.run(B, |sr| sr.create_disk(&new_disk(vdi, GIB)))
        .unwrap();
    let mapped = lab.activate(A, &vdi).unwrap();
    assert_ne!(mapped.key, old.key);
    assert_eq!(mapped.key.image_id, lab.image_id(&vdi));
}

#[test]
fn an_image_that_this_kernel_cannot_map_is_refused_with_the_features() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    lab.sim
        .set_supported_features(A, Some(ImageFeatures::LAYERING));
    let error = lab.activate(A, &vdi).unwrap_err();
    assert!(error.to_string().contains("exclusive-lock"), "{error}");
    assert_eq!(lab.record(&vdi).unwrap().claim, None);
    lab.activate(B, &vdi).unwrap();
}

#[test]
fn a_busy_device_stays_and_so_does_its_claim() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    let mapped = lab.activate(A, &vdi).unwrap();
    lab.sim.set_open(A, &mapped.device, true);
    let error = lab.deactivate(A, &vdi).unwrap_err();
    assert_eq!(error.errno(), Some(nix::libc::EBUSY));
    assert!(matches!(lab.activate(B, &vdi), Err(Error::VdiInUse { .. })));
    lab.sim.set_open(A, &mapped.device, false);
    lab.deactivate(A, &vdi).unwrap();
}

#[test]
fn a_host_that_rebooted_uses_its_disks_again() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    lab.activate(A, &vdi).unwrap();
    lab.sim.reboot(A);
    lab.sim.advance_seconds(31); // its old kernel's watch
    lab.activate(A, &vdi).unwrap();
    lab.deactivate(A, &vdi).unwrap();
    lab.activate(B, &vdi).unwrap();
}

#[test]
fn a_host_that_rebooted_frees_its_disks_for_others_when_it_attaches_the_sr() {
    let lab = Lab::new();
    let (vdi, kept) = (lab.create(GIB), lab.create(GIB));
    lab.activate(A, &vdi).unwrap();
    lab.activate(B, &kept).unwrap();
    lab.sim.reboot(A);
    lab.sim.advance_seconds(31);
    lab.run(A, |sr| sr.attach_sr()).unwrap();
    lab.activate(B, &vdi).unwrap();
    assert!(lab.record(&kept).unwrap().claim.is_some());
}

#[test]
fn a_claim_that_an_administrator_breaks_is_free_for_all() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    lab.activate(A, &vdi).unwrap();
    lab.sim.reboot(A);
    lab.sim.advance_seconds(31);
    let broken = lab
        .run(B, |sr| sr.break_claim(&vdi, false))
        .unwrap()
        .unwrap();
    assert_eq!(broken.owner.host, A);
    lab.activate(B, &vdi).unwrap();
}

#[test]
fn each_claim_raises_the_epoch() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    let mut last = lab.record(&vdi).unwrap().epoch;
    for host in [A, B, A] {
        lab.activate(host, &vdi).unwrap();
        lab.deactivate(host, &vdi).unwrap();
        let epoch = lab.record(&vdi).unwrap().epoch;
        assert!(epoch > last);
        last = epoch;
    }
}
