//! Creating, finding, attaching and deleting an SR.

use sr_ceph::pool::Deletion;
use sr_ceph::record::SrRecord;
use sr_ceph::sr::probe::find_srs;
use sr_ceph::Error;
use uuid::Uuid;

use crate::support::{Lab, A, B, GIB};

fn found(lab: &Lab) -> Vec<SrRecord> {
    find_srs(&lab.sim.client()).unwrap()
}

#[test]
fn a_forgotten_sr_is_found_again_with_its_name() {
    let lab = Lab::new();
    lab.run(A, |sr| sr.update_sr("fast ☃", "in rack 7"))
        .unwrap();
    let found = found(&lab);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].uuid, lab.sr);
    assert_eq!(found[0].name_label, "fast ☃");
    assert_eq!(found[0].name_description, "in rack 7");
}

#[test]
fn a_pool_without_srs_has_none_to_be_found() {
    assert!(found(&Lab::bare()).is_empty());
}

#[test]
fn two_srs_in_one_pool_do_not_touch_each_other() {
    let first = Lab::new();
    let mut second = first.clone();
    second.sr = Uuid::new_v4();
    second.run(A, |sr| sr.create_sr("other", "")).unwrap();
    let vdi = first.create(GIB);
    second.run(B, |sr| sr.delete_sr()).unwrap();
    assert_eq!(first.vdis(B).into_keys().collect::<Vec<_>>(), [vdi]);
    assert_eq!(found(&first).len(), 1);
}

#[test]
fn an_sr_that_exists_is_not_created_again() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    let error = lab.run(B, |sr| sr.create_sr("again", "")).unwrap_err();
    assert!(matches!(error, Error::SrExists { .. }), "{error}");
    assert!(lab.vdis(A).contains_key(&vdi));
}

#[test]
fn a_missing_catalogue_is_an_error_and_never_an_empty_sr() {
    let lab = Lab::new();
    lab.create(GIB);
    lab.sim.remove_object(&lab.catalogue());
    for error in [
        lab.scan(A).map(|_| ()).unwrap_err(),
        lab.run(A, |sr| sr.attach_sr()).unwrap_err(),
        lab.run(A, |sr| sr.update_sr("a", "b")).unwrap_err(),
    ] {
        assert!(matches!(error, Error::SrMissing { .. }), "{error}");
    }
}

#[test]
fn a_scan_while_ceph_is_down_is_an_error_and_never_an_empty_list() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    lab.sim.set_reachable(false);
    let error = lab.scan(A).map(|_| ()).unwrap_err();
    assert_eq!(error.errno(), Some(nix::libc::ETIMEDOUT));
    lab.sim.set_reachable(true);
    assert!(lab.vdis(A).contains_key(&vdi));
}

#[test]
fn an_sr_that_still_has_a_vdi_is_not_deleted() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    let error = lab.run(A, |sr| sr.delete_sr()).unwrap_err();
    assert!(
        matches!(error, Error::SrNotEmpty { vdis: 1, .. }),
        "{error}"
    );
    lab.create(GIB); // the SR still works
    assert!(lab.vdis(B).contains_key(&vdi));
}

#[test]
fn an_sr_whose_space_is_still_being_freed_is_not_deleted() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    lab.run(A, |sr| sr.delete_vdi(&vdi)).unwrap();
    let error = lab.run(A, |sr| sr.delete_sr()).unwrap_err();
    assert!(
        matches!(error, Error::SrNotEmpty { trashed: 1, .. }),
        "{error}"
    );
    lab.sim.run_manager();
    lab.run(A, |sr| sr.delete_sr()).unwrap();
}

#[test]
fn an_sr_with_an_image_that_its_catalogue_lacks_is_not_deleted() {
    let lab = Lab::new();
    let name = format!("smblock.{}.{}.0", lab.sr, Uuid::new_v4());
    lab.sim.create_foreign_image(&name, GIB);
    let error = lab.run(A, |sr| sr.delete_sr()).unwrap_err();
    assert!(
        matches!(error, Error::SrNotEmpty { images: 1, .. }),
        "{error}"
    );
    assert!(lab.sim.snapshot().images.contains_key(&name));
}

#[test]
fn the_deletion_of_an_sr_removes_all_of_it_and_nothing_else() {
    let lab = Lab::bare();
    lab.sim.create_foreign_image("somebody-elses", GIB);
    lab.sim.client().prepare_trash().unwrap();
    lab.run(A, |sr| sr.create_sr("ceph", "")).unwrap();
    lab.run(A, |sr| sr.delete_sr()).unwrap();
    let after = lab.sim.snapshot();
    assert_eq!(
        after.images.into_keys().collect::<Vec<_>>(),
        ["somebody-elses"]
    );
    assert!(!after.objects.contains_key(&lab.catalogue()));
    assert!(after.objects["smblock.directory"].is_empty());
    lab.run(A, |sr| sr.delete_sr()).unwrap(); // again: nothing to do
}

#[test]
fn an_sr_with_a_disk_mapped_here_is_not_detached() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    lab.activate(A, &vdi).unwrap();
    let error = lab.run(A, |sr| sr.detach_sr()).unwrap_err();
    assert!(error.to_string().contains(&vdi.to_string()), "{error}");
    lab.run(B, |sr| sr.detach_sr()).unwrap();
    lab.deactivate(A, &vdi).unwrap();
    lab.run(A, |sr| sr.detach_sr()).unwrap();
}

#[test]
fn a_device_that_a_crash_left_is_dropped_when_the_sr_is_attached() {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    lab.sim.map_by_hand(A, &lab.image_name(&vdi)).unwrap();
    lab.run(A, |sr| sr.attach_sr()).unwrap();
    assert!(lab.sim.devices(A).is_empty());
}

#[test]
fn a_device_in_use_and_devices_of_others_stay_when_the_sr_is_attached() {
    let lab = Lab::new();
    let (used, claimed) = (lab.create(GIB), lab.create(GIB));
    let reader = lab.run(A, |sr| sr.activate_vdi(&used, false)).unwrap();
    lab.sim.set_open(A, &reader.device, true);
    lab.activate(A, &claimed).unwrap();
    lab.sim.create_foreign_image("somebody-elses", GIB);
    lab.sim.map_by_hand(A, "somebody-elses").unwrap();
    lab.run(A, |sr| sr.attach_sr()).unwrap();
    assert_eq!(lab.sim.devices(A).len(), 3);
}
