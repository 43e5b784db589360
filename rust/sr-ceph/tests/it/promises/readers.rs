//! The driver distinguishes readers from writers, on kernels that watch what they read and on others.

use sr_ceph::faults::{Calls, Faults, FaultyHost, FaultyPool, Mode, Plan};
use sr_ceph::host::Host;
use sr_ceph::{Error, ImageError};

use crate::support::{ceph_sr, Lab, A, B, GIB};

/// Both kinds of kernel, on all hosts.
fn labs() -> [Lab; 2] {
    [false, true].map(|old| {
        let lab = Lab::new();
        for host in [A, B] {
            lab.sim.set_old_kernel(host, old);
        }
        lab
    })
}

#[test]
fn a_backup_that_reads_a_snapshot_elsewhere_refuses_no_writer() {
    for lab in labs() {
        let disk = lab.create(GIB);
        let snapshots = [lab.snapshot(&disk), lab.snapshot(&disk)];
        for snapshot in &snapshots {
            lab.run(A, |sr| sr.activate_vdi(snapshot, false)).unwrap();
        }
        lab.run(A, |sr| sr.activate_vdi(&disk, false)).unwrap();
        lab.activate(B, &disk).unwrap();
        lab.deactivate(B, &disk).unwrap();
        for vdi in [&snapshots[0], &snapshots[1], &disk] {
            lab.deactivate(A, vdi).unwrap();
        }
        lab.activate(B, &disk).unwrap();
        assert_eq!(lab.keys("reader."), [""; 0]);
    }
}

#[test]
fn a_kernel_that_may_write_is_refused_also_beside_a_reader() {
    for lab in labs() {
        let disk = lab.create(GIB);
        let snapshot = lab.snapshot(&disk);
        lab.run(A, |sr| sr.activate_vdi(&snapshot, false)).unwrap();
        lab.sim.map_by_hand(A, &lab.image_name(&disk)).unwrap();
        let error = lab.activate(B, &disk).unwrap_err();
        assert!(
            matches!(error, Error::Image(ImageError::ForeignKernel { .. })),
            "{error}"
        );
        assert!(lab.sim.devices(B).is_empty());
        assert_eq!(lab.record(&disk).unwrap().claim, None);
    }
}

#[test]
fn a_reader_that_is_killed_anywhere_refuses_no_writer() {
    for nth in 0.. {
        let lab = Lab::new();
        lab.sim.set_old_kernel(A, true);
        let disk = lab.create(GIB);
        let snapshot = lab.snapshot(&disk);
        let process = lab.process(A);
        let (calls, mode) = (Calls::Changes, Mode::KilledAfter);
        let faults = Faults::plan(Plan { calls, nth, mode });
        let pool = FaultyPool::new(&process.pool, &faults);
        let host = FaultyHost::new(&process.host, &faults);
        let done = ceph_sr(&pool, &host, lab.sr).activate_vdi(&snapshot, false);
        lab.sim.kill(process.host.owner());
        lab.activate(B, &disk).unwrap();
        if done.is_ok() {
            assert_eq!(nth, 3, "note, map, note");
            return;
        }
        // The host's next plug removes it.
        lab.run(A, |sr| sr.attach_sr()).unwrap();
        assert!(lab.sim.devices(A).is_empty());
        assert_eq!(lab.keys("reader."), [""; 0], "change {nth}");
    }
}

#[test]
fn a_reader_on_a_host_that_booted_leaves_no_note() {
    let lab = Lab::new();
    lab.sim.set_old_kernel(A, true);
    let disk = lab.create(GIB);
    let snapshot = lab.snapshot(&disk);
    lab.run(A, |sr| sr.activate_vdi(&snapshot, false)).unwrap();
    lab.sim.reboot(A);
    lab.activate(B, &disk).unwrap();
    lab.run(A, |sr| sr.attach_sr()).unwrap();
    assert_eq!(lab.keys("reader."), [""; 0]);
}
