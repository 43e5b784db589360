//! Growth of disks that a VM uses.

use sr_ceph::{Error, GrowthRefusal};
use uuid::Uuid;

use crate::support::{Lab, A, B, GIB};

/// A lab with a disk that a VM on host B uses over blkback, and an XAPI that asks for growth in use.
fn in_use() -> (Lab, Uuid) {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    lab.activate(B, &vdi).unwrap();
    lab.sim.set_used(B, &vdi, true);
    lab.sim.set_datapath(B, Some("phy"));
    lab.sim.set_growth_in_use(true);
    (lab, vdi)
}

fn grow(lab: &Lab, vdi: &Uuid, size: u64) -> Result<u64, Error> {
    lab.run(A, |sr| sr.resize_vdi(vdi, i128::from(size)))
}

#[test]
fn a_disk_in_use_on_another_host_grows_and_stays_in_use() {
    let (lab, vdi) = in_use();
    assert_eq!(grow(&lab, &vdi, 2 * GIB).unwrap(), 2 * GIB);
    let record = lab.record(&vdi).unwrap();
    assert_eq!(record.size, 2 * GIB);
    assert_eq!(record.claim.unwrap().owner.host, B);
    let snapshot = lab.snapshot(&vdi);
    assert_eq!(lab.record(&snapshot).unwrap().size, 2 * GIB);
    let clone = lab.clone_of(&snapshot);
    assert_eq!(lab.record(&clone).unwrap().size, 2 * GIB);
    assert_eq!(lab.sim.devices(B).len(), 1);
}

#[test]
fn a_disk_in_use_does_not_shrink() {
    let (lab, vdi) = in_use();
    let refused = grow(&lab, &vdi, GIB / 2).unwrap_err();
    assert!(matches!(refused, Error::Shrink { .. }), "{refused}");
}

#[test]
fn an_xapi_that_does_not_ask_for_it_gets_the_refusal_of_a_disk_in_use() {
    let (lab, vdi) = in_use();
    lab.sim.set_growth_in_use(false);
    let before = lab.sim.snapshot();
    let refused = grow(&lab, &vdi, 2 * GIB).unwrap_err();
    assert!(matches!(refused, Error::VdiInUse { .. }), "{refused}");
    assert_eq!(lab.sim.snapshot(), before);
}

#[test]
fn a_disk_behind_tapdisk_or_an_unknown_datapath_does_not_grow_in_use() {
    let (lab, vdi) = in_use();
    let before = lab.sim.snapshot();
    lab.sim.set_datapath(B, Some("aio"));
    let refused = grow(&lab, &vdi, 2 * GIB).unwrap_err();
    assert!(
        matches!(&refused, Error::Growth(GrowthRefusal::Tapdisk { host, .. }) if host == B),
        "{refused}"
    );
    lab.sim.set_datapath(B, None);
    let refused = grow(&lab, &vdi, 2 * GIB).unwrap_err();
    assert!(
        matches!(
            &refused,
            Error::Growth(GrowthRefusal::UnknownDatapath { .. })
        ),
        "{refused}"
    );
    lab.sim.set_host_reachable(B, false);
    let refused = grow(&lab, &vdi, 2 * GIB).unwrap_err();
    assert!(matches!(refused, Error::VdiInUse { .. }), "{refused}");
    assert_eq!(lab.sim.snapshot(), before);
}

#[test]
fn a_disk_that_forgets_its_changes_does_not_grow_in_use() {
    let (lab, vdi) = in_use();
    lab.sim.set_used(B, &vdi, false);
    lab.deactivate(B, &vdi).unwrap();
    lab.run(B, |sr| sr.reset_vdi(&vdi)).unwrap();
    lab.activate(B, &vdi).unwrap();
    lab.sim.set_used(B, &vdi, true);
    let refused = grow(&lab, &vdi, 2 * GIB).unwrap_err();
    assert!(
        matches!(&refused, Error::Growth(GrowthRefusal::Resets { .. })),
        "{refused}"
    );
    assert!(lab.record(&vdi).unwrap().reset_point.is_some());
}

#[test]
fn a_disk_of_a_dead_host_grows_and_is_not_in_use() {
    let (lab, vdi) = in_use();
    lab.sim.declare_dead(B, true);
    lab.sim.freeze(B);
    assert_eq!(grow(&lab, &vdi, 2 * GIB).unwrap(), 2 * GIB);
}
