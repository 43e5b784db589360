//! Whatever call an operation dies in, nothing is lost, nothing is left, and it can be repeated.
//!
//! Every call that changes the cluster or the host, of every operation, in every way that it can
//! go wrong. Afterwards one scan, on another host once the lease is over, or on the same host
//! at once, leaves the cluster clean; devices and claims are the host's own next call's.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

mod support;

use std::panic::{catch_unwind, AssertUnwindSafe};

use store::faults::{Calls, Faults, Mode, Plan};
use store::sr::probe::find_srs;
use store::Error;

use support::scene::{Operation, Scene, READ_FAULTS};
use support::{new_disk, repository, Lab, A, B, GIB, LEASE_OVER};

/// Who recovers, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recovery {
    /// A scan on another host, once the lease is over.
    ElsewhereLater,
    /// A scan on the same host, whose process is gone.
    HereAtOnce,
    /// No scan: the operation itself is repeated on the same host.
    Repeated,
}

const RECOVERIES: [Recovery; 3] = [
    Recovery::ElsewhereLater,
    Recovery::HereAtOnce,
    Recovery::Repeated,
];

/// When a request that timed out arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    BeforeRecovery,
    AfterRecovery,
}

fn plan(calls: Calls, nth: usize, mode: Mode) -> Plan {
    Plan { calls, nth, mode }
}

/// Runs an operation without faults; how many calls change something, and how many there are.
fn count(operation: Operation) -> (usize, usize) {
    let scene = Scene::new(operation);
    let (process, faults) = (scene.lab.process(A), Faults::none());
    let result = scene.as_process(&process, &faults, |sr| scene.perform(operation, &sr));
    result.unwrap();
    scene.check_success(operation);
    (faults.changes(), faults.calls())
}

/// Names the point that a failing check is about.
fn at(point: &str, check: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(check)) {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        panic!("{point}: {}", text.unwrap_or_default());
    }
}

fn survive(operation: Operation, plan: Plan, recovery: Recovery, arrival: Arrival) {
    let scene = Scene::new(operation);
    let process = scene.lab.process(A);
    let faults = Faults::plan(plan);
    let result = scene.as_process(&process, &faults, |sr| scene.perform(operation, &sr));
    assert!(faults.hit().is_some(), "the call was never made");
    if result.is_ok() && !faults.killed() {
        scene.check_success(operation);
    }
    scene.check_writers();
    // XAPI's plugins pause and resume: their call may outlive its process, but not for a lease.
    let by_xapi = matches!(faults.hit(), Some("pause_disk" | "resume_disk"));
    if by_xapi || arrival == Arrival::BeforeRecovery {
        faults.deliver();
    }
    let repeat = || {
        scene.lab.run(A, |sr| match scene.perform(operation, &sr) {
            Err(Error::VdiExists { .. }) if operation.creates() => {}
            other => other.unwrap(),
        });
        scene.check_success(operation);
    };
    match recovery {
        Recovery::ElsewhereLater => {
            scene.lab.world.advance_seconds(LEASE_OVER);
            scene.lab.scan(B).map(|_| ()).unwrap();
            scene.check_clean();
        }
        Recovery::HereAtOnce => {
            scene.lab.scan(A).map(|_| ()).unwrap();
            scene.check_clean();
        }
        Recovery::Repeated => repeat(),
    }
    faults.deliver();
    repeat();
    scene.check_writers();
    scene.check_host();
    scene.lab.scan(B).map(|_| ()).unwrap();
    scene.check_clean();
    scene.lab.world.run_manager();
    assert!(scene.lab.world.snapshot().trash.is_empty());
}

#[test]
fn whatever_change_an_operation_dies_in_nothing_is_lost_and_nothing_is_left() {
    let mut points = 0;
    for operation in Operation::ALL {
        let (changes, _) = count(operation);
        assert!(changes > 0, "{operation:?} changes nothing");
        for nth in 0..changes {
            for mode in Mode::ALL {
                for recovery in RECOVERIES {
                    for arrival in [Arrival::BeforeRecovery, Arrival::AfterRecovery] {
                        if arrival == Arrival::AfterRecovery && mode != Mode::Late {
                            continue;
                        }
                        let point =
                            format!("{operation:?} {nth} {mode:?} {recovery:?} {arrival:?}");
                        let plan = plan(Calls::Changes, nth, mode);
                        at(&point, || survive(operation, plan, recovery, arrival));
                        points += 1;
                    }
                }
            }
        }
    }
    eprintln!("{points} crash points survived");
    assert!(points > 500, "only {points}");
}

#[test]
fn whatever_answer_fails_nothing_is_lost_and_nothing_is_left() {
    let mut points = 0;
    for operation in Operation::ALL {
        let (changes, calls) = count(operation);
        for nth in 0..calls - changes {
            for mode in READ_FAULTS {
                for recovery in RECOVERIES {
                    let point = format!("{operation:?} read {nth} {mode:?} {recovery:?}");
                    let plan = plan(Calls::Reads, nth, mode);
                    at(&point, || {
                        survive(operation, plan, recovery, Arrival::BeforeRecovery);
                    });
                    points += 1;
                }
            }
        }
    }
    eprintln!("{points} failing reads survived");
    assert!(points > 200, "only {points}");
}

#[test]
fn a_request_that_arrives_after_recovery_changes_nothing_that_a_journal_covers() {
    for operation in [Operation::Create, Operation::Delete, Operation::Resize] {
        for nth in 0..count(operation).0 {
            at(&format!("{operation:?} {nth}"), || {
                let scene = Scene::new(operation);
                let process = scene.lab.process(A);
                let faults = Faults::plan(plan(Calls::Changes, nth, Mode::Late));
                let _told = scene.as_process(&process, &faults, |sr| scene.perform(operation, &sr));
                // The journal's first entry arrives late and finds nobody: that is a crash.
                if nth == 0 {
                    faults.deliver();
                }
                scene.lab.world.advance_seconds(LEASE_OVER);
                scene.lab.scan(B).map(|_| ()).unwrap();
                let recovered = scene.lab.world.snapshot();
                faults.deliver();
                assert_eq!(scene.lab.world.snapshot(), recovered);
            });
        }
    }
}

#[test]
fn a_release_that_arrives_late_does_not_free_a_disk_that_is_in_use_again() {
    let operation = Operation::Deactivate;
    let mut releases = 0;
    for nth in 0..count(operation).0 {
        let scene = Scene::new(operation);
        let process = scene.lab.process(A);
        let faults = Faults::plan(plan(Calls::Changes, nth, Mode::Late));
        let told = scene.as_process(&process, &faults, |sr| scene.perform(operation, &sr));
        // A release without an answer is sent again: the first one is what arrives late.
        let released = faults.hit() == Some("swap");
        assert_eq!(told.is_ok(), released);
        releases += usize::from(released);
        scene.lab.activate(A, &scene.vdi).unwrap();
        faults.deliver();
        for refused in [
            scene.lab.run(B, |sr| sr.delete_vdi(&scene.vdi)),
            scene.lab.activate(B, &scene.vdi).map(|_| ()),
        ] {
            let refused_for_use = matches!(refused, Err(Error::VdiInUse { .. }));
            assert!(refused_for_use, "{nth}: {refused:?}");
        }
    }
    assert_eq!(releases, 1);
}

#[test]
fn a_disk_that_is_deleted_while_a_scan_begins_does_not_come_back() {
    // Before each of the two reads of which the list is made.
    for nth in 0..2 {
        let scene = Scene::new(Operation::Rename);
        let process = scene.lab.process(A);
        let faults = Faults::interrupted(nth, || {
            scene.lab.run(B, |sr| sr.delete_vdi(&scene.vdi)).unwrap();
        });
        let scan = scene.as_process(&process, &faults, |sr| sr.scan(&[]));
        let vdis = scan.unwrap().vdis;
        assert!(vdis.iter().all(|vdi| vdi.uuid != scene.vdi), "before {nth}");
    }
}

#[test]
fn another_host_that_acts_between_any_two_calls_loses_nothing_and_leaves_nothing() {
    let mut points = 0;
    for operation in Operation::ALL {
        let (_, calls) = count(operation);
        // Two that make the same VDI there cannot be: each has a UUID of its own.
        let possible = |intruder: &Operation| {
            let copies = !intruder.needs_copies() || operation.needs_copies();
            copies && !(intruder.creates() && operation.creates())
        };
        for intruder in Operation::ALL.into_iter().filter(possible) {
            for nth in 0..calls {
                at(
                    &format!("{operation:?}, and {intruder:?} before call {nth}"),
                    || {
                        interrupt(operation, intruder, nth);
                    },
                );
                points += 1;
            }
        }
    }
    eprintln!("{points} interruptions survived");
}

fn interrupt(operation: Operation, intruder: Operation, nth: usize) {
    let scene = Scene::new(operation);
    let other = scene.lab.process(B);
    let process = scene.lab.process(A);
    let outcome = std::cell::Cell::new(None);
    let faults = Faults::interrupted(nth, || {
        let sr = repository(&other.cluster, &other.host, scene.lab.sr);
        outcome.set(Some(scene.perform(intruder, &sr).is_ok()));
        scene.check_writers();
    });
    let result = scene.as_process(&process, &faults, |sr| scene.perform(operation, &sr));
    scene.check_writers();
    let done = |wanted| {
        (operation == wanted && result.is_ok())
            || (intruder == wanted && outcome.get() == Some(true))
    };
    let deleted = done(Operation::Delete) || done(Operation::DeleteParent);
    if deleted {
        assert_eq!(scene.lab.record(&scene.vdi), None, "a deleted VDI is back");
    }
    if done(Operation::Create) {
        assert!(
            scene.lab.record(&scene.created).is_some(),
            "a created VDI is lost"
        );
    }
    if done(Operation::Resize) && !deleted {
        assert_eq!(scene.lab.record(&scene.vdi).unwrap().size, 2 * GIB);
    }
    scene.lab.world.advance_seconds(LEASE_OVER);
    scene.lab.scan(B).map(|_| ()).unwrap();
    scene.check_clean();
    scene.check_host();
    scene.lab.run(A, |sr| sr.delete_vdi(&scene.vdi)).unwrap();
    scene.check_clean();
}

/// A pool is as it was before there was an SR.
fn check_gone(lab: &Lab) {
    let pool = lab.world.snapshot();
    assert!(!pool.objects.contains_key(&lab.catalogue()));
    assert!(pool
        .objects
        .get("smblock.directory")
        .is_none_or(|d| d.is_empty()));
    assert!(pool.images.is_empty() && pool.trash.is_empty());
}

#[test]
fn creating_an_sr_can_be_repeated_or_undone_whatever_call_it_died_in() {
    let steps = {
        let lab = Lab::bare();
        let (process, faults) = (lab.process(A), Faults::none());
        let cluster = store::faults::FaultyCluster::new(&process.cluster, &faults);
        repository(&cluster, &process.host, lab.sr)
            .create_sr("ceph", "")
            .unwrap();
        faults.changes()
    };
    for nth in 0..steps {
        for mode in Mode::ALL {
            for repeated in [true, false] {
                at(&format!("{nth} {mode:?} repeated: {repeated}"), || {
                    let lab = Lab::bare();
                    let process = lab.process(A);
                    let faults = Faults::plan(plan(Calls::Changes, nth, mode));
                    let cluster = store::faults::FaultyCluster::new(&process.cluster, &faults);
                    let sr = repository(&cluster, &process.host, lab.sr);
                    let told = sr.create_sr("ceph", "").is_ok();
                    let found = find_srs(&lab.world.client()).unwrap().len();
                    assert!(!told || found == 1);
                    faults.deliver();
                    if repeated {
                        match lab.run(B, |sr| sr.create_sr("ceph", "")) {
                            Ok(()) | Err(Error::SrExists { .. }) => {}
                            Err(e) => panic!("{e}"),
                        }
                        assert_eq!(find_srs(&lab.world.client()).unwrap().len(), 1);
                        lab.create(GIB);
                        let vdi = *lab.vdis(B).keys().next().unwrap();
                        lab.run(B, |sr| sr.delete_vdi(&vdi)).unwrap();
                        lab.world.run_manager();
                    }
                    lab.run(B, |sr| sr.delete_sr()).unwrap();
                    check_gone(&lab);
                });
            }
        }
    }
}

#[test]
fn deleting_an_sr_can_be_repeated_or_given_up_whatever_call_it_died_in() {
    let steps = {
        let lab = Lab::new();
        let (process, faults) = (lab.process(A), Faults::none());
        let cluster = store::faults::FaultyCluster::new(&process.cluster, &faults);
        repository(&cluster, &process.host, lab.sr)
            .delete_sr()
            .unwrap();
        faults.changes()
    };
    for nth in 0..steps {
        for mode in Mode::ALL {
            for given_up in [true, false] {
                at(&format!("{nth} {mode:?} given up: {given_up}"), || {
                    let lab = Lab::new();
                    let process = lab.process(A);
                    let faults = Faults::plan(plan(Calls::Changes, nth, mode));
                    let cluster = store::faults::FaultyCluster::new(&process.cluster, &faults);
                    let sr = repository(&cluster, &process.host, lab.sr);
                    let told = sr.delete_sr().is_ok();
                    let left = lab.world.object(&lab.catalogue()).is_some();
                    assert!(!(told && left));
                    if given_up && left {
                        lab.run(B, |sr| sr.attach_sr()).unwrap();
                        let vdi = lab.create(GIB);
                        faults.deliver();
                        assert!(lab.vdis(B).contains_key(&vdi), "a disk is lost");
                        let found = find_srs(&lab.world.client()).unwrap();
                        assert_eq!(found.len(), 1, "the SR cannot be found again");
                        return;
                    }
                    lab.run(B, |sr| sr.delete_sr()).unwrap();
                    faults.deliver();
                    check_gone(&lab);
                });
            }
        }
    }
}

#[test]
fn a_disk_made_while_its_sr_is_being_deleted_is_never_lost() {
    for nth in 0..12 {
        let lab = Lab::new();
        let (process, other) = (lab.process(A), lab.process(B));
        let vdi = uuid::Uuid::new_v4();
        let made = std::cell::Cell::new(false);
        let faults = Faults::interrupted(nth, || {
            let sr = repository(&other.cluster, &other.host, lab.sr);
            let attached = sr.attach_sr().is_ok();
            made.set(attached && sr.create_disk(&new_disk(vdi, GIB)).is_ok());
        });
        let cluster = store::faults::FaultyCluster::new(&process.cluster, &faults);
        let deleted = repository(&cluster, &process.host, lab.sr).delete_sr();
        if made.get() {
            assert!(
                lab.vdis(B).contains_key(&vdi),
                "before call {nth}: {deleted:?}"
            );
        }
    }
}
