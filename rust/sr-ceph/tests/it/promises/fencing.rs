//! A host is down or cut off: when another host gets its disks.

use std::slice::from_ref;

use sr_ceph::host::{Host, Mapped};
use sr_ceph::{Error, Hold, ImageError};
use uuid::Uuid;

use crate::support::{Lab, A, B, C, GIB};

/// Returns a disk that host A uses, and its device there.
fn used_by_a() -> (Lab, Uuid, Mapped) {
    let lab = Lab::new();
    let vdi = lab.create(GIB);
    let mapped = lab.activate(A, &vdi).unwrap();
    lab.sim.write(A, &mapped.device, 1).unwrap();
    (lab, vdi, mapped)
}

fn hold_of(error: Error) -> Hold {
    match error {
        Error::VdiInUse { hold, .. } => hold,
        other => panic!("{other}"),
    }
}

#[test]
fn a_host_that_was_declared_dead_loses_its_disk_at_once_and_cannot_write() {
    let (lab, vdi, mapped) = used_by_a();
    lab.sim.freeze(A);
    lab.sim.declare_dead(A, true);
    let here = lab.activate(B, &vdi).unwrap();
    assert_eq!(lab.sim.blocklist(), from_ref(&mapped.client_address));
    lab.sim.write(B, &here.device, 2).unwrap();
    lab.sim.thaw(A);
    assert!(lab.sim.write(A, &mapped.device, 3).is_err());
    assert_eq!(lab.content(&vdi), Some(2));
    let error = lab.activate(A, &vdi).unwrap_err();
    assert_eq!(hold_of(error), Hold::InUse);
}

#[test]
fn a_silent_host_keeps_its_disk_until_it_is_declared_dead() {
    let (lab, vdi, mapped) = used_by_a();
    lab.sim.set_host_reachable(A, false);
    lab.sim.advance_seconds(24 * 60 * 60);
    let error = lab.activate(B, &vdi).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&format!("xe host-declare-dead uuid={A}")),
        "{text}"
    );
    assert!(!text.contains("release"), "{text}");
    assert_eq!(hold_of(error), Hold::Silent);
    assert!(lab.sim.blocklist().is_empty());
    lab.sim.write(A, &mapped.device, 4).unwrap();
    for refused in [
        lab.run(B, |sr| sr.delete_vdi(&vdi)),
        lab.run(B, |sr| sr.resize_vdi(&vdi, i128::from(2 * GIB)))
            .map(drop),
    ] {
        assert_eq!(hold_of(refused.unwrap_err()), Hold::Silent);
    }
}

#[test]
fn a_disk_is_refused_if_its_dead_host_cannot_be_blocklisted() {
    let (lab, vdi, mapped) = used_by_a();
    lab.sim.declare_dead(A, true);
    lab.sim.set_may_blocklist(false);
    let before = lab.record(&vdi);
    let error = lab.activate(B, &vdi).unwrap_err();
    assert!(matches!(error, Error::FenceFailed { .. }), "{error}");
    assert!(
        error.to_string().contains(&mapped.client_address),
        "{error}"
    );
    assert_eq!(lab.record(&vdi), before);
    assert!(lab.sim.devices(B).is_empty());
}

#[test]
fn the_hook_cuts_off_every_disk_of_the_host() {
    let (lab, vdi, mapped) = used_by_a();
    let dead = lab.run(B, |sr| sr.declare_dead(A, "fenced")).unwrap();
    assert_eq!(dead, from_ref(&mapped.client_address));
    assert!(lab.sim.write(A, &mapped.device, 5).is_err());
    lab.activate(B, &vdi).unwrap();
    let again = lab.run(B, |sr| sr.declare_dead(A, "fenced")).unwrap();
    assert!(again.is_empty(), "B has the disk by now");
}

#[test]
fn a_dead_hosts_disk_is_deleted_and_grown_elsewhere() {
    let (lab, vdi, _) = used_by_a();
    let other = lab.create(GIB);
    lab.activate(A, &other).unwrap();
    lab.sim.declare_dead(A, true);
    lab.run(B, |sr| sr.resize_vdi(&vdi, i128::from(2 * GIB)))
        .unwrap();
    lab.run(B, |sr| sr.delete_vdi(&other)).unwrap();
    assert_eq!(lab.sim.blocklist().len(), 1, "one client serves both disks");
}

#[test]
fn a_forgotten_member_loses_its_disks_and_a_host_of_another_pool_does_not() {
    let (lab, vdi, mapped) = used_by_a();
    lab.sim.set_pool(A, "other");
    lab.activate(B, &vdi).unwrap();
    assert_eq!(lab.sim.blocklist(), [mapped.client_address]);

    let (lab, vdi, mapped) = used_by_a();
    lab.sim.kill(lab.process(C).host.owner());
    lab.sim.set_pool(C, "elsewhere");
    let error = lab.activate(C, &vdi).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&format!("smblock fence --host {A}")),
        "{text}"
    );
    assert_eq!(hold_of(error), Hold::OtherPool(Some("pool".to_owned())));
    assert!(lab.sim.blocklist().is_empty());
    lab.run(C, |sr| sr.declare_dead(A, "administrator"))
        .unwrap();
    lab.activate(C, &vdi).unwrap();
    assert!(lab.sim.write(A, &mapped.device, 6).is_err());
}

#[test]
fn a_host_that_booted_without_plugging_the_sr_frees_its_disks() {
    let (lab, vdi, mapped) = used_by_a();
    lab.sim.reboot(A);
    lab.activate(B, &vdi).unwrap();
    assert_eq!(lab.sim.blocklist(), [mapped.client_address]);
}

#[test]
fn a_host_that_boots_plugs_and_starts_without_waiting_for_old_watches() {
    let (lab, vdi, _) = used_by_a();
    lab.sim.reboot(A);
    lab.run(A, |sr| sr.attach_sr()).unwrap();
    assert_eq!(lab.record(&vdi).unwrap().claim, None);
    lab.activate(B, &vdi).unwrap();
    lab.deactivate(B, &vdi).unwrap();
    lab.activate(A, &vdi).unwrap();
}

#[test]
fn a_clean_stop_blocklists_no_client() {
    let (lab, vdi, _) = used_by_a();
    lab.deactivate(A, &vdi).unwrap();
    lab.sim.power_off(A);
    lab.activate(B, &vdi).unwrap();
    assert!(lab.sim.blocklist().is_empty());
}

#[test]
fn another_host_gets_the_disk_of_a_killed_activation() {
    use sr_ceph::faults::{Calls, Faults, FaultyHost, FaultyPool, Mode, Plan};
    for nth in 0.. {
        let lab = Lab::new();
        let vdi = lab.create(GIB);
        let process = lab.process(A);
        let faults = Faults::plan(Plan {
            calls: Calls::Changes,
            nth,
            mode: Mode::KilledAfter,
        });
        let pool = FaultyPool::new(&process.pool, &faults);
        let host = FaultyHost::new(&process.host, &faults);
        let sr = crate::support::ceph_sr(&pool, &host, lab.sr);
        let done = sr.activate_vdi(&vdi, true);
        lab.sim.kill(process.host.owner());
        if done.is_ok() {
            assert!(nth >= 3, "claim, map, confirm");
            return;
        }
        lab.activate(B, &vdi).unwrap();
        assert!(lab.sim.devices(A).is_empty(), "change {nth}");
        assert!(lab.sim.blocklist().is_empty(), "A lives");
    }
}

#[test]
fn a_declaration_does_not_cover_what_a_host_claims_after_it_came_back() {
    let (lab, vdi, mapped) = used_by_a();
    lab.run(B, |sr| sr.declare_dead(A, "fenced")).unwrap();
    let second = lab.create(GIB);
    let again = lab.activate(A, &second).unwrap();
    assert_ne!(
        again.client_address, mapped.client_address,
        "the old client is cut off"
    );
    lab.sim.write(A, &again.device, 7).unwrap();
    assert_eq!(hold_of(lab.activate(B, &second).unwrap_err()), Hold::InUse);
    lab.sim.set_host_reachable(A, false);
    assert_eq!(hold_of(lab.activate(B, &second).unwrap_err()), Hold::Silent);
    // It has lost the disk that it had before its death.
    lab.activate(B, &vdi).unwrap();
}

#[test]
fn a_host_that_comes_back_clears_the_note_that_only_xapi_has() {
    let (lab, vdi, _) = used_by_a();
    lab.deactivate(A, &vdi).unwrap();
    lab.sim.declare_dead(A, true);
    lab.activate(A, &vdi).unwrap();
    assert!(!lab.sim.is_declared_dead(A));
    lab.sim.set_host_reachable(A, false);
    assert_eq!(hold_of(lab.activate(B, &vdi).unwrap_err()), Hold::Silent);
}

#[test]
fn a_cut_off_host_refuses_an_open_device_and_maps_anew_once_it_is_closed() {
    let (lab, vdi, mapped) = used_by_a();
    lab.sim.set_open(A, &mapped.device, true);
    lab.run(B, |sr| sr.declare_dead(A, "user")).unwrap();
    let error = lab.activate(A, &vdi).unwrap_err();
    let address = &mapped.client_address;
    assert!(
        matches!(&error, Error::Blocklisted { address: cut_off, .. } if cut_off == address),
        "{error}"
    );
    lab.sim.set_open(A, &mapped.device, false);
    let again = lab.activate(A, &vdi).unwrap();
    lab.sim.write(A, &again.device, 8).unwrap();
}

#[test]
fn a_declaration_in_the_middle_of_an_activation_leaves_one_writer() {
    use sr_ceph::faults::{Faults, FaultyHost, FaultyPool};
    for nth in 0..40 {
        let lab = Lab::new();
        let vdi = lab.create(GIB);
        let process = lab.process(A);
        let meanwhile = {
            let lab = lab.clone();
            move || {
                lab.sim.set_host_reachable(A, false);
                lab.run(B, |sr| sr.declare_dead(A, "fenced")).unwrap();
                match lab.activate(B, &vdi) {
                    Ok(mapped) => lab.sim.write(B, &mapped.device, 9).unwrap(),
                    // A has mapped the image, and the claim has no address yet.
                    Err(error) => assert!(
                        matches!(error, Error::Image(ImageError::ForeignKernel { .. })),
                        "{error}"
                    ),
                }
            }
        };
        let faults = Faults::interrupted(nth, meanwhile);
        let pool = FaultyPool::new(&process.pool, &faults);
        let host = FaultyHost::new(&process.host, &faults);
        let sr = crate::support::ceph_sr(&pool, &host, lab.sr);
        let done = sr.activate_vdi(&vdi, true);
        lab.sim.kill(process.host.owner());
        let acted = !lab.keys("host.").is_empty();
        if acted && lab.sim.devices(B).is_empty() {
            let mapped = lab.activate(B, &vdi).unwrap();
            lab.sim.write(B, &mapped.device, 9).unwrap();
        }
        let has_b = !lab.sim.devices(B).is_empty();
        match done {
            Ok(mapped) if has_b => {
                // A had finished before the declaration: it cannot write any more.
                assert!(lab.sim.write(A, &mapped.device, 1).is_err(), "call {nth}");
            }
            Ok(_) => return assert!(nth > 5, "the hook never acted"),
            Err(error) => {
                assert!(has_b, "call {nth}: {error}");
                let left = lab.sim.devices(A).into_iter();
                let writes = left.filter(|d| lab.sim.write(A, &d.device, 1).is_ok());
                assert_eq!(writes.count(), 0, "call {nth}: {error}");
            }
        }
        assert_eq!(lab.content(&vdi), Some(9), "call {nth}");
    }
    panic!("an activation has fewer calls");
}
