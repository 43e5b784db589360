//! The disks of high availability: every host has them, at once and without XAPI.

use sr::xapi::XapiVdi;
use sr_ceph::faults::{Calls, Faults, FaultyHost, FaultyPool, Mode, Plan};
use sr_ceph::host::Host;
use sr_ceph::vdi::create::NewDisk;
use sr_ceph::{Error, HaRefusal};
use uuid::Uuid;

use crate::support::{ceph_sr, new_disk, Lab, A, B, GIB};

/// The size that xapi asks for, in bytes.
const STATEFILE: u64 = 266_240;

fn create(lab: &Lab, ty: &str) -> Uuid {
    let vdi = Uuid::new_v4();
    let mut new: NewDisk = new_disk(vdi, STATEFILE);
    new.xapi.ty = ty.to_owned();
    let record = lab.run(A, |sr| sr.create_disk(&new)).unwrap();
    assert_eq!(record.size, 2 << 20);
    vdi
}

fn refusal(result: sr_ceph::Result<impl Sized>) -> HaRefusal {
    match result {
        Err(Error::Ha(refusal)) => refusal,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was not refused"),
    }
}

#[test]
fn hosts_write_to_a_statefile_at_once_and_claim_nothing() {
    let lab = Lab::new();
    let statefile = create(&lab, "ha_statefile");
    let before = lab.sim.object(&lab.catalogue()).unwrap();
    let devices = [A, B].map(|host| {
        let attach = || lab.run(host, |sr| sr.attach_ha_vdi(&statefile)).unwrap();
        let (first, again) = (attach(), attach());
        assert_eq!(first, again);
        (host, first)
    });
    assert_ne!(devices[0].1.client_id, devices[1].1.client_id);
    for (host, mapped) in devices.iter().cycle().take(4) {
        lab.sim.write(host, &mapped.device, 7).unwrap();
    }
    assert_eq!(lab.sim.object(&lab.catalogue()).unwrap(), before);
    for host in [A, B] {
        lab.run(host, |sr| sr.deactivate_vdi(&statefile)).unwrap();
        assert!(lab.sim.devices(host).is_empty());
    }
}

#[test]
fn a_dead_writer_of_a_statefile_leaves_no_lock_behind() {
    let lab = Lab::new();
    let log = create(&lab, "redo_log");
    lab.run(A, |sr| sr.attach_ha_vdi(&log)).unwrap();
    let survivor = lab.run(B, |sr| sr.attach_ha_vdi(&log)).unwrap();
    lab.sim.reboot(A);
    lab.sim.write(B, &survivor.device, 9).unwrap();
    lab.run(A, |sr| sr.attach_ha_vdi(&log)).unwrap();
    lab.sim.write(B, &survivor.device, 10).unwrap();
}

#[test]
fn a_plug_a_scan_and_a_repair_leave_an_idle_statefile_attached() {
    let lab = Lab::new();
    let statefile = create(&lab, "ha_statefile");
    lab.run(A, |sr| sr.attach_ha_vdi(&statefile)).unwrap();
    lab.run(A, |sr| sr.attach_sr()).unwrap();
    lab.scan(A).unwrap();
    lab.run(A, |sr| sr.repair()).unwrap();
    assert_eq!(lab.sim.devices(A).len(), 1);
    lab.run(A, |sr| sr.detach_sr()).unwrap();
    assert!(lab.sim.devices(A).is_empty(), "SM has detached it before");
}

#[test]
fn a_statefile_serves_no_vm_and_has_no_copies() {
    let lab = Lab::new();
    let statefile = create(&lab, "ha_statefile");
    let new = Uuid::new_v4();
    for refused in [
        refusal(lab.run(A, |sr| sr.activate_vdi(&statefile, true))),
        refusal(lab.run(A, |sr| sr.activate_vdi(&statefile, false))),
        refusal(lab.run(A, |sr| sr.snapshot_vdi(&statefile, &new))),
        refusal(lab.run(A, |sr| sr.clone_vdi(&statefile, &new))),
        refusal(lab.run(A, |sr| sr.resize_vdi(&statefile, i128::from(GIB)))),
    ] {
        assert!(matches!(refused, HaRefusal::Refused { .. }), "{refused}");
    }
    assert_eq!(lab.vdis(A).len(), 1);
    assert_eq!(lab.keys("op."), [""; 0]);
}

#[test]
fn a_statefile_that_a_host_has_is_not_deleted() {
    let lab = Lab::new();
    let statefile = create(&lab, "ha_statefile");
    lab.run(B, |sr| sr.attach_ha_vdi(&statefile)).unwrap();
    for host in [A, B] {
        let refused = refusal(lab.run(host, |sr| sr.delete_vdi(&statefile)));
        assert!(matches!(refused, HaRefusal::Attached { .. }), "{refused}");
    }
    assert_eq!(lab.vdis(A).len(), 1);
    lab.run(B, |sr| sr.deactivate_vdi(&statefile)).unwrap();
    lab.clear();
}

#[test]
fn only_disks_made_for_high_availability_are_attached_without_xapi() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    let refused = refusal(lab.run(A, |sr| sr.attach_ha_vdi(&disk)));
    assert!(matches!(refused, HaRefusal::OtherType { .. }), "{refused}");
    // A version without this feature made it, with the exclusive lock.
    let mut known: XapiVdi = lab.known(disk, "log");
    known.fields.ty = "redo_log".into();
    lab.run(A, |sr| sr.update_vdi(&known)).unwrap();
    for refused in [
        refusal(lab.run(A, |sr| sr.attach_ha_vdi(&disk))),
        refusal(lab.run(A, |sr| sr.require_ha_vdi(&disk))),
    ] {
        assert!(matches!(refused, HaRefusal::Features { .. }), "{refused}");
        assert!(refused.to_string().contains("xe vdi-destroy"), "{refused}");
    }
    assert!(lab.sim.devices(A).is_empty());
}

#[test]
fn an_attachment_that_is_killed_anywhere_is_repeated() {
    for nth in 0.. {
        let lab = Lab::new();
        let statefile = create(&lab, "ha_statefile");
        let process = lab.process(A);
        let (calls, mode) = (Calls::All, Mode::KilledAfter);
        let faults = Faults::plan(Plan { calls, nth, mode });
        let pool = FaultyPool::new(&process.pool, &faults);
        let host = FaultyHost::new(&process.host, &faults);
        let done = ceph_sr(&pool, &host, lab.sr).attach_ha_vdi(&statefile);
        lab.sim.kill(process.host.owner());
        let again = lab.run(A, |sr| sr.attach_ha_vdi(&statefile)).unwrap();
        assert_eq!(lab.sim.devices(A), [again]);
        if done.is_ok() {
            assert!(nth > 3, "{nth} calls");
            return;
        }
    }
}
