//! Two hosts that act at the same time.

use std::cell::Cell;

use sr_ceph::faults::Faults;

use super::{at, count};
use crate::support::fixture::{Fixture, Operation, Setting};
use crate::support::{ceph_sr, A, B, GIB};

#[test]
fn another_host_between_two_calls_loses_and_leaves_nothing() {
    interruptions(9);
}

#[test]
#[ignore = "takes a minute"]
fn another_host_between_any_two_calls_loses_and_leaves_nothing() {
    interruptions(1);
}

/// Interrupts every operation before every call by every other operation. Checks each `stride`th of these
/// points.
fn interruptions(stride: usize) {
    let (mut points, mut checked) = (0, 0);
    for case in Operation::CASES {
        let (setting, operation) = case;
        let (_, calls) = count((setting, operation, false));
        // Two operations never make the same VDI: each has a new UUID.
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
    let fixture = Fixture::new(setting);
    let other = fixture.lab.process(B);
    let process = fixture.lab.process(A);
    let outcome = Cell::new(None);
    let faults = Faults::interrupted(nth, || {
        let sr = ceph_sr(&other.pool, &other.host, fixture.lab.sr);
        outcome.set(Some(fixture.perform_on(B, intruder, &sr).is_ok()));
        fixture.check_writers();
    });
    let result = fixture.as_process(&process, &faults, |sr| fixture.perform(operation, &sr));
    fixture.check_writers();
    fixture.check_purges();
    let done = |wanted| {
        (operation == wanted && result.is_ok())
            || (intruder == wanted && outcome.get() == Some(true))
    };
    let record = |vdi| fixture.lab.record(vdi);
    for (deletion, vdi) in [
        (Operation::Delete, &fixture.vdi),
        (Operation::DeleteSnapshot, &fixture.snapshot),
        (Operation::DeleteClone, &fixture.clone),
    ] {
        if done(deletion) {
            assert_eq!(record(vdi), None, "a deleted VDI is back");
        }
    }
    if Operation::ALL.into_iter().any(|o| o.creates() && done(o)) {
        assert!(record(&fixture.created).is_some(), "a created VDI is lost");
    }
    if done(Operation::Resize) && !done(Operation::Delete) && !done(Operation::Revert) {
        assert_eq!(record(&fixture.vdi).unwrap().size, 2 * GIB);
    }
    fixture.lab.let_leases_end();
    fixture.lab.scan(B).map(|_| ()).unwrap();
    fixture.check_clean();
    fixture.check_host();
    fixture.check_end();
}
