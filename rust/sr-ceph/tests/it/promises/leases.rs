//! Unfinished operations and clocks: which commands wait.

use std::cell::Cell;
use std::rc::Rc;

use sr_ceph::faults::{Calls, Faults, FaultyHost, FaultyPool, Mode, Plan};
use sr_ceph::host::Host;
use sr_ceph::{CephSr, Error, Result};
use uuid::Uuid;

use crate::support::{ceph_sr, Lab, Process, A, B, GIB};

const TWO_DAYS: i64 = 2 * 24 * 60 * 60;

/// Runs a command whose process dies after its nth change.
fn die<T>(lab: &Lab, host: &str, nth: usize, act: impl FnOnce(&CephSr<'_>) -> Result<T>) {
    let process = lab.process(host);
    let (calls, mode) = (Calls::Changes, Mode::KilledAfter);
    let faults = Faults::plan(Plan { calls, nth, mode });
    with(&process, &faults, lab.sr, |sr| drop(act(sr)));
    assert!(faults.killed());
    lab.sim.kill(process.host.owner());
}

fn with<'w>(process: &'w Process, faults: &Faults<'w>, sr: Uuid, act: impl FnOnce(&CephSr<'_>)) {
    let pool = FaultyPool::new(&process.pool, faults);
    let host = FaultyHost::new(&process.host, faults);
    act(&ceph_sr(&pool, &host, sr));
}

#[test]
fn an_activation_waits_for_no_unfinished_snapshot_and_resumes_nothing() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    lab.activate(A, &disk).unwrap();
    let new = Uuid::new_v4();
    die(&lab, A, 2, |sr| sr.snapshot_vdi(&disk, &new)); // paused, and the snapshot is taken
    assert!(lab.sim.paused().contains(&disk));
    lab.deactivate(A, &disk).unwrap();
    let before = lab.sim.snapshot().blocklist;
    let (process, faults) = (lab.process(B), Faults::none());
    with(&process, &faults, lab.sr, |sr| {
        drop(sr.activate_vdi(&disk, true).unwrap())
    });
    assert_eq!(faults.changes(), 3, "claim, map, confirm");
    assert_eq!(lab.sim.snapshot().blocklist, before);
    assert!(
        lab.sim.paused().contains(&disk),
        "resuming waits for SM's lock of the VDI"
    );
    assert_eq!(lab.keys("op.").len(), 1);
}

#[test]
fn an_activation_waits_for_no_clone_deletion_or_resize_of_others() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    let snapshot = lab.snapshot(&disk);
    for leave in [
        |sr: &CephSr<'_>, disk: &Uuid, _: &Uuid| sr.clone_vdi(disk, &Uuid::new_v4()).map(drop),
        |sr: &CephSr<'_>, _: &Uuid, snapshot: &Uuid| sr.delete_vdi(snapshot),
        |sr: &CephSr<'_>, disk: &Uuid, _: &Uuid| sr.resize_vdi(disk, i128::from(2 * GIB)).map(drop),
    ] {
        die(&lab, A, 0, |sr| leave(sr, &disk, &snapshot));
        lab.activate(B, &disk).unwrap();
        lab.deactivate(B, &disk).unwrap();
        lab.scan(A).unwrap();
    }
}

#[test]
fn a_lease_from_the_future_ends_like_any_other() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    lab.sim.set_clock(A, TWO_DAYS);
    die(&lab, A, 0, |sr| sr.resize_vdi(&disk, i128::from(2 * GIB)));
    lab.sim.power_off(A);
    lab.let_leases_end();
    lab.run(B, |sr| sr.resize_vdi(&disk, i128::from(3 * GIB)))
        .unwrap();
}

#[test]
fn an_operation_of_a_dead_host_is_taken_over_at_once() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    die(&lab, A, 0, |sr| sr.resize_vdi(&disk, i128::from(2 * GIB)));
    lab.sim.power_off(A);
    lab.sim.declare_dead(A, true);
    lab.run(B, |sr| sr.delete_vdi(&disk)).unwrap();
}

#[test]
fn clocks_that_differ_blocklist_no_living_owner() {
    for ahead in [300, -300, TWO_DAYS, -TWO_DAYS] {
        let mut met = 0;
        for nth in 0..20 {
            let lab = Lab::new();
            let disk = lab.create(GIB);
            lab.sim.set_clock(B, ahead);
            let process = lab.process(A);
            let (meanwhile, under_way) = (lab.clone(), Rc::new(Cell::new(0)));
            let seen = Rc::clone(&under_way);
            let faults = Faults::interrupted(nth, move || {
                seen.set(meanwhile.keys("op.").len());
                meanwhile.scan(B).unwrap();
                meanwhile.run(B, |sr| sr.attach_sr()).unwrap();
                assert!(meanwhile.sim.blocklist().is_empty());
            });
            let new = Uuid::new_v4();
            with(&process, &faults, lab.sr, |sr| {
                drop(sr.snapshot_vdi(&disk, &new).unwrap())
            });
            met += under_way.get();
        }
        assert!(met >= 2, "only {met} meetings");
    }
}

#[test]
fn a_command_waits_for_another_hosts_operation_and_then_names_it() {
    let lab = Lab::new();
    let disk = lab.create(GIB);
    die(&lab, A, 0, |sr| sr.resize_vdi(&disk, i128::from(2 * GIB)));
    let error = lab.run(B, |sr| sr.delete_vdi(&disk)).unwrap_err();
    assert!(
        matches!(&error, Error::VdiBusy { host, .. } if host == A),
        "{error}"
    );
}

/// Returns the error of a creation whose nth change fails with a mode.
fn failed_creation(lab: &Lab, vdi: Uuid, nth: usize, mode: Mode) -> Error {
    let (process, mut failed) = (lab.process(A), None);
    let calls = Calls::Changes;
    let faults = Faults::plan(Plan { calls, nth, mode });
    with(&process, &faults, lab.sr, |sr| {
        failed = sr.create_disk(&crate::support::new_disk(vdi, GIB)).err();
    });
    lab.sim.kill(process.host.owner());
    failed.unwrap()
}

#[test]
fn a_failed_rollback_is_in_the_error_and_the_next_command_finishes_it() {
    // The first change is the intent, the second the image. A killed client fails in all later calls.
    let cases = [
        (
            Mode::KilledInside,
            "rollback of SMB-C001 also failed (SMB-C001: ",
        ),
        (Mode::Late, "outcome of SMB-C001 is unknown"),
    ];
    for (mode, clue) in cases {
        let (lab, vdi) = (Lab::new(), Uuid::new_v4());
        let error = failed_creation(&lab, vdi, 1, mode);
        assert!(
            matches!(error, Error::NotUndone { .. }),
            "{mode:?}: {error}"
        );
        assert_eq!(error.id(), "SMB-C035");
        assert_eq!(error.errno(), error.cause().errno());
        let text = error.to_string();
        assert!(text.contains(clue), "{mode:?}: {text}");
        assert!(text.contains("after 120 s on another"), "{mode:?}: {text}");
        lab.run(A, |sr| sr.create_disk(&crate::support::new_disk(vdi, GIB)))
            .unwrap();
    }
}

#[test]
fn a_rollback_that_succeeds_leaves_the_error_as_it_is() {
    let (lab, vdi) = (Lab::new(), Uuid::new_v4());
    let error = failed_creation(&lab, vdi, 1, Mode::Fails(nix::libc::EIO));
    assert!(matches!(error, Error::Ceph { .. }), "{error}");
    assert_eq!(lab.keys("op.").len(), 0);
}
