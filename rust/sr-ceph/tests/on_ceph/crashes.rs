//! An operation can die in any call. Within seconds, a scan on another host after the lease, or on the same host
//! at once, recovers everything.

use std::time::{Duration, Instant};

use sr_ceph::faults::{Calls, Faults, Mode, Plan};

use super::fixture::{Fixture, Operation};
use super::lab::{Lab, A, B};

/// The longest time of a recovery, from connecting to the end. On an idle host it takes 3 s. A recovery that
/// waits for a dead client's watch or lock takes 30 s.
pub const RECOVERED: Duration = Duration::from_secs(9);

/// Which host recovers, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recovery {
    /// A scan on another host, after the lease is over.
    ElsewhereLater,
    /// A scan on the same host, whose process is gone.
    HereAtOnce,
    /// No scan: the operation is repeated on another host, after the lease is over.
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

/// One way for an operation to die.
#[derive(Debug, Clone, Copy)]
struct Point {
    operation: Operation,
    /// Which of its changes.
    nth: usize,
    mode: Mode,
    recovery: Recovery,
    arrival: Arrival,
}

impl Point {
    /// All points of one change of an operation.
    fn all(operation: Operation, nth: usize) -> Vec<Point> {
        let mut points = Vec::new();
        for mode in Mode::ALL {
            for recovery in RECOVERIES {
                for arrival in [Arrival::AfterRecovery, Arrival::BeforeRecovery] {
                    if arrival == Arrival::BeforeRecovery || mode == Mode::Late {
                        points.push(Point {
                            operation,
                            nth,
                            mode,
                            recovery,
                            arrival,
                        });
                    }
                }
            }
        }
        points
    }

    /// Dies at the point, and recovers. Returns how long the recovery takes.
    fn survive(self, lab: &Lab) -> Duration {
        let fixture = Fixture::new(lab, self.operation);
        let process = lab.process(A);
        let faults = Faults::plan(Plan {
            calls: Calls::Changes,
            nth: self.nth,
            mode: self.mode,
        });
        let result = lab.as_process(&process, &faults, |sr| fixture.perform(sr));
        assert!(faults.hit().is_some(), "the call was never made");
        if result.is_ok() && !faults.killed() {
            fixture.check_done();
        }
        // XAPI's plugins pause and resume. Their call may outlive its process, but not the lease.
        let by_xapi = matches!(faults.hit(), Some("pause_disk" | "resume_disk"));
        if by_xapi || self.arrival == Arrival::BeforeRecovery {
            faults.deliver();
        }
        if self.recovery != Recovery::HereAtOnce {
            lab.let_leases_end();
        }
        let began = Instant::now();
        match self.recovery {
            Recovery::ElsewhereLater => drop(lab.run(B, |sr| sr.scan(&[])).unwrap()),
            Recovery::HereAtOnce => drop(lab.run(A, |sr| sr.scan(&[])).unwrap()),
            Recovery::Repeated => fixture.repeat(),
        }
        let took = began.elapsed();
        faults.deliver();
        if self.recovery != Recovery::Repeated {
            lab.check_clean();
            fixture.check_contents();
            fixture.repeat();
        }
        lab.run(B, |sr| sr.scan(&[])).unwrap();
        lab.check_clean();
        fixture.check_contents();
        fixture.clear();
        took
    }
}

/// Returns the number of changes that an operation makes.
fn changes(lab: &Lab, operation: Operation) -> usize {
    let fixture = Fixture::new(lab, operation);
    let (process, faults) = (lab.process(A), Faults::none());
    lab.as_process(&process, &faults, |sr| fixture.perform(sr))
        .unwrap();
    fixture.check_done();
    fixture.check_contents();
    lab.check_clean();
    fixture.clear();
    faults.changes()
}

/// Tests the points that `choose` returns of all points of a change.
fn survive_everywhere(choose: impl Fn(usize, Vec<Point>) -> Vec<Point>) {
    let Some(lab) = Lab::connect() else {
        return;
    };
    let bystander = lab.disk("bystander", &[1, 2, 3]);
    let (mut survived, mut longest) = (0, Duration::ZERO);
    let mut number = 0;
    for operation in Operation::ALL {
        let changes = changes(&lab, operation);
        assert!(changes > 1, "{operation:?} has no steps");
        for nth in 0..changes {
            for point in choose(number, Point::all(operation, nth)) {
                eprintln!("{point:?}");
                let took = point.survive(&lab);
                assert!(took < RECOVERED, "recovery took {took:?}");
                longest = longest.max(took);
                survived += 1;
            }
            number += 1;
        }
    }
    assert_eq!(lab.content(&bystander), [1, 2, 3]);
    lab.prepare(|sr| sr.delete_vdi(&bystander)).unwrap();
    assert!(lab.records().is_empty());
    lab.end();
    eprintln!("{survived} crash points survived, the longest recovery took {longest:?}");
}

#[test]
fn an_operation_that_dies_in_any_change_is_recovered_within_seconds() {
    // One point for every change of every operation. A few changes together have all ways.
    survive_everywhere(|number, points| vec![points[number * 5 % points.len()]]);
}

#[test]
#[ignore = "takes a quarter of an hour: every change of every operation, in every way"]
fn every_way_to_die_in_any_change_is_recovered_from() {
    survive_everywhere(|_, points| points);
}
