//! Unplugging works without the catalogue and without the cluster.

use sr_ceph::Error;

use crate::support::{Lab, A, B, GIB};

/// A fault of the cluster, and its repair.
type Breakage = (fn(&Lab), fn(&Lab));

const UNREACHABLE: Breakage = (
    |lab| lab.sim.set_reachable(false),
    |lab| lab.sim.set_reachable(true),
);

fn lose_catalogue(lab: &Lab) {
    lab.sim.remove_object(&lab.catalogue());
}

#[test]
fn a_disk_is_unmapped_although_the_catalogue_is_lost() {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    lab.activate(A, &disk).unwrap();
    lab.run(A, |sr| sr.activate_vdi(&snapshot, false)).unwrap();
    lose_catalogue(&lab);
    assert!(matches!(lab.scan(A), Err(Error::SrMissing { .. })));
    lab.deactivate(A, &disk).unwrap();
    let left = lab.sim.devices(A);
    assert_eq!(left.len(), 1, "the snapshot's device is another VDI's");
    lab.deactivate(A, &snapshot).unwrap();
    assert!(lab.sim.devices(A).is_empty());
    lab.deactivate(A, &disk).unwrap(); // again
}

#[test]
fn a_disk_of_an_image_with_a_foreign_name_is_unmapped_too() {
    let (lab, disk) = Lab::with_disk();
    lab.sim.rename_image(&lab.image_name(&disk), "vm-db");
    let other = lab.create(GIB);
    lab.activate(A, &disk).unwrap();
    lab.activate(A, &other).unwrap();
    lose_catalogue(&lab);
    lab.deactivate(A, &disk).unwrap();
    let left = lab.sim.devices(A);
    assert_eq!(left.len(), 1);
    assert!(left[0].image_name.contains(&other.to_string()));
}

#[test]
fn an_open_device_stays_although_the_catalogue_is_lost() {
    let (lab, disk) = Lab::with_disk();
    let mapped = lab.activate(A, &disk).unwrap();
    lab.sim.set_open(A, &mapped.device, true);
    lose_catalogue(&lab);
    let error = lab.deactivate(A, &disk).unwrap_err();
    assert_eq!(error.errno(), Some(nix::libc::EBUSY), "{error}");
    let error = lab.run(A, |sr| sr.detach_sr()).unwrap_err();
    assert!(error.to_string().contains(&disk.to_string()), "{error}");
    assert_eq!(lab.sim.devices(A).len(), 1);
    lab.sim.set_open(A, &mapped.device, false);
    lab.run(A, |sr| sr.detach_sr()).unwrap();
    assert!(lab.sim.devices(A).is_empty());
}

#[test]
fn another_host_gets_a_disk_whose_claim_was_not_released() {
    let (break_it, repair) = UNREACHABLE;
    for plugs_again in [false, true] {
        let (lab, disk) = Lab::with_disk();
        lab.activate(A, &disk).unwrap();
        break_it(&lab);
        lab.deactivate(A, &disk).unwrap();
        assert!(lab.sim.devices(A).is_empty());
        repair(&lab);
        assert!(lab.record(&disk).unwrap().claim.is_some());
        if plugs_again {
            lab.run(A, |sr| sr.attach_sr()).unwrap();
            assert!(lab.record(&disk).unwrap().claim.is_none());
        }
        lab.activate(B, &disk).unwrap();
        assert!(lab.sim.blocklist().is_empty(), "A lives");
    }
}

#[test]
fn a_claim_that_was_not_released_holds_while_its_host_is_silent() {
    let (lab, disk) = Lab::with_disk();
    lab.activate(A, &disk).unwrap();
    (UNREACHABLE.0)(&lab);
    lab.deactivate(A, &disk).unwrap();
    (UNREACHABLE.1)(&lab);
    lab.sim.set_host_reachable(A, false);
    let error = lab.activate(B, &disk).unwrap_err();
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}
