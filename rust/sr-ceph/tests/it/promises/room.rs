//! A pool without free space.

use sr_ceph::sr::reclaim::Report;
use sr_ceph::Error;
use uuid::Uuid;

use crate::support::{new_disk, Lab, A, B, GIB};

/// Returns an SR with one disk in a pool that is full by its quota.
fn full() -> (Lab, Uuid) {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    lab.sim.set_quota(10 * GIB);
    lab.sim.set_stored(10 * GIB);
    lab.sim.set_full(true);
    (lab, vdi)
}

#[test]
fn a_full_pool_refuses_a_new_disk_at_once() {
    let (lab, _) = full();
    let before = lab.sim.snapshot();
    let error = lab
        .run(A, |sr| sr.create_disk(&new_disk(Uuid::new_v4(), GIB)))
        .unwrap_err();
    assert!(
        matches!(error, Error::NoRoom { .. }) && error.to_string().contains("set-quota"),
        "{error}"
    );
    assert_eq!(lab.sim.snapshot(), before);
}

#[test]
fn a_disk_in_a_full_pool_does_not_grow() {
    let (lab, vdi) = full();
    let error = lab
        .run(A, |sr| sr.resize_vdi(&vdi, i128::from(2 * GIB)))
        .unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "{error}");
    assert_eq!(lab.vdis(B)[&vdi], GIB);
}

#[test]
fn the_deletion_of_a_disk_in_a_full_pool_frees_space() {
    let (lab, vdi) = full();
    lab.run(A, |sr| sr.delete_vdi(&vdi)).unwrap();
    // In a full pool, the manager's own writes would wait, and delay all other pools.
    assert!(lab.sim.snapshot().scheduled.is_empty());
    lab.run(A, |sr| {
        sr.reclaim(|_, report| assert!(!matches!(report, Report::Failed(_))))
    })
    .unwrap();
    assert!(lab.sim.snapshot().sizes.is_empty());
    lab.sim.set_stored(0);
    lab.sim.set_full(false);
    lab.create(GIB);
}

#[test]
fn a_vm_on_a_full_pool_can_still_migrate() {
    let (lab, vdi) = full();
    lab.activate(A, &vdi).unwrap();
    lab.deactivate(A, &vdi).unwrap();
    lab.activate(B, &vdi).unwrap();
}

#[test]
fn a_pool_that_fills_while_a_disk_is_made_keeps_nothing_of_it() {
    let lab = Lab::new();
    lab.sim.set_full(false);
    let process = lab.process(A);
    let sim = lab.sim.clone();
    // The flag is set after the check of the free space.
    let faults = sr_ceph::faults::Faults::interrupted(6, move || sim.set_full(true));
    let pool = sr_ceph::faults::FaultyPool::new(&process.pool, &faults);
    let sr = crate::support::ceph_sr(&pool, &process.host, lab.sr);
    let error = sr.create_disk(&new_disk(Uuid::new_v4(), GIB)).unwrap_err();
    assert_eq!(error.errno(), Some(nix::libc::EDQUOT), "{error}");
    assert!(lab.sim.snapshot().images.is_empty());
    assert!(lab.keys("op.").is_empty() && lab.keys("vdi.").is_empty());
}

#[test]
fn a_disk_larger_than_the_pool_is_thin_and_allowed() {
    let lab = Lab::new();
    lab.sim.set_quota(10 * GIB);
    let vdi = lab.create(64 << 40);
    assert_eq!(lab.vdis(A)[&vdi], 64 << 40);
}

#[test]
fn a_quota_limits_the_free_space_that_a_scan_reports() {
    let lab = Lab::new();
    lab.sim.set_quota(10 * GIB);
    lab.sim.set_stored(4 * GIB);
    let usage = lab.scan(A).unwrap().usage;
    assert_eq!(usage.free(), Some(6 * GIB));
    assert_eq!(usage.total(), Some(10 * GIB));
}
