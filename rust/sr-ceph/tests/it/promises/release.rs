//! When the release of a host's claim by an administrator is refused.

use std::slice::from_ref;

use sr_ceph::host::{Host, Mapped};
use sr_ceph::{Error, Hold};
use uuid::Uuid;

use crate::support::{Lab, A, B, C, GIB};

fn used_by_a() -> (Lab, Uuid, Mapped) {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    let mapped = lab.activate(A, &vdi).unwrap();
    (lab, vdi, mapped)
}

/// Returns the reason and the text of a refused release. Checks that the claim stays.
fn refused(lab: &Lab, host: &str, vdi: &Uuid) -> (Hold, String) {
    let before = lab.record(vdi);
    let error = lab.run(host, |sr| sr.break_claim(vdi, false)).unwrap_err();
    assert_eq!(lab.record(vdi), before, "the claim stays");
    let text = error.to_string();
    match error {
        Error::NotReleased { source } => match *source {
            Error::VdiInUse { hold, .. } => (hold, text),
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}

#[test]
fn a_release_is_refused_while_the_living_host_uses_the_disk() {
    let (lab, vdi, mapped) = used_by_a();
    let (hold, text) = refused(&lab, B, &vdi);
    assert_eq!(hold, Hold::InUse);
    assert!(text.contains("unplug it there"), "{text}");
    assert_eq!(refused(&lab, A, &vdi).0, Hold::InUse, "on the host itself");
    lab.sim.write(A, &mapped.device, 1).unwrap();
}

#[test]
fn a_release_is_refused_while_a_silent_host_is_not_declared_dead() {
    let (lab, vdi, mapped) = used_by_a();
    lab.sim.set_host_reachable(A, false);
    let (hold, text) = refused(&lab, B, &vdi);
    assert_eq!(hold, Hold::Silent);
    for part in [&format!("xe host-declare-dead uuid={A}"), "--force"] {
        assert!(text.contains(part), "{text}");
    }
    lab.sim.declare_dead(A, true);
    let claim = lab.run(B, |sr| sr.break_claim(&vdi, false)).unwrap();
    assert_eq!(claim.unwrap().owner.host, A);
    assert_eq!(lab.sim.blocklist(), from_ref(&mapped.client_address));
    assert!(lab.sim.write(A, &mapped.device, 2).is_err(), "A is cut off");
}

#[test]
fn a_release_is_refused_while_another_pools_kernel_watches_the_image() {
    let (lab, vdi, mapped) = used_by_a();
    lab.sim.kill(lab.process(C).host.owner());
    lab.sim.set_pool(C, "elsewhere");
    let (hold, text) = refused(&lab, C, &vdi);
    assert_eq!(hold, Hold::Watched(mapped.client_address.clone()));
    assert!(text.contains(&mapped.client_address), "{text}");
    lab.sim.reboot(A);
    lab.sim.advance_seconds(31);
    let claim = lab.run(C, |sr| sr.break_claim(&vdi, false)).unwrap();
    assert_eq!(claim.unwrap().owner.host, A);
    // A living kernel that has no network for 30 s has no watch either.
    assert_eq!(lab.sim.blocklist(), from_ref(&mapped.client_address));
}

#[test]
fn a_release_by_force_asks_nothing() {
    let (lab, vdi, _) = used_by_a();
    let claim = lab.run(B, |sr| sr.break_claim(&vdi, true)).unwrap();
    assert_eq!(claim.unwrap().owner.host, A);
    assert!(lab.record(&vdi).unwrap().claim.is_none());
    assert!(lab.sim.blocklist().is_empty());
}
