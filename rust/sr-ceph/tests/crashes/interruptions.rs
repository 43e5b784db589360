//! Two hosts at once.

use std::cell::Cell;

use sr_ceph::faults::Faults;

use crate::support::scene::{Operation, Scene, Setting};
use crate::support::{repository, A, B, GIB};
use crate::{at, count};

#[test]
fn another_host_that_acts_between_two_calls_loses_nothing_and_leaves_nothing() {
    interruptions(9);
}

#[test]
#[ignore = "takes a minute"]
fn another_host_that_acts_between_any_two_calls_loses_nothing_and_leaves_nothing() {
    interruptions(1);
}

/// Every operation, interrupted by every other one before every call; of these points each that
/// the stride comes to.
fn interruptions(stride: usize) {
    let (mut points, mut checked) = (0, 0);
    for case in Operation::CASES {
        let (setting, operation) = case;
        let (_, calls) = count((setting, operation, false));
        // Two that make the same VDI there cannot be: each has a UUID of its own.
        let possible = |intruder: &Operation| {
            intruder.suits(setting) && !(intruder.creates() && operation.creates())
        };
        for intruder in Operation::ALL.into_iter().filter(possible) {
            for nth in 0..calls {
                points += 1;
                if points % stride == 0 {
                    let point = format!("{case:?}, and {intruder:?} before call {nth}");
                    at(&point, || interrupt(case, intruder, nth));
                    checked += 1;
                }
            }
        }
    }
    eprintln!("{checked} of {points} interruptions survived");
    assert!(points > 2000, "only {points}");
}

fn interrupt((setting, operation): (Setting, Operation), intruder: Operation, nth: usize) {
    let scene = Scene::new(setting);
    let other = scene.lab.process(B);
    let process = scene.lab.process(A);
    let outcome = Cell::new(None);
    let faults = Faults::interrupted(nth, || {
        let sr = repository(&other.cluster, &other.host, scene.lab.sr);
        outcome.set(Some(scene.perform_on(B, intruder, &sr).is_ok()));
        scene.check_writers();
    });
    let result = scene.as_process(&process, &faults, |sr| scene.perform(operation, &sr));
    scene.check_writers();
    scene.check_purges();
    let done = |wanted| {
        (operation == wanted && result.is_ok())
            || (intruder == wanted && outcome.get() == Some(true))
    };
    let record = |vdi| scene.lab.record(vdi);
    for (deletion, vdi) in [
        (Operation::Delete, &scene.vdi),
        (Operation::DeleteSnapshot, &scene.snapshot),
        (Operation::DeleteClone, &scene.clone),
    ] {
        if done(deletion) {
            assert_eq!(record(vdi), None, "a deleted VDI is back");
        }
    }
    if Operation::ALL.into_iter().any(|o| o.creates() && done(o)) {
        assert!(record(&scene.created).is_some(), "a created VDI is lost");
    }
    if done(Operation::Resize) && !done(Operation::Delete) && !done(Operation::Revert) {
        assert_eq!(record(&scene.vdi).unwrap().size, 2 * GIB);
    }
    scene.lab.let_leases_end();
    scene.lab.scan(B).map(|_| ()).unwrap();
    scene.check_clean();
    scene.check_host();
    scene.check_end();
}
