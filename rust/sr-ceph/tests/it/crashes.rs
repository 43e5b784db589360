//! An operation can fail in any call: nothing is lost, nothing is left, and it can be repeated.
//!
//! Each test walks every call of every operation that changes the cluster or the host, with every
//! [`Mode`]. Then one scan cleans up the cluster: on another host when the lease is over, or on the same host
//! at once. The host's own next command cleans up its devices and claims.

mod interruptions;
mod late;
mod sr;

use std::panic::{catch_unwind, AssertUnwindSafe};

use sr_ceph::faults::{Calls, Faults, Mode, Plan};
use sr_ceph::Error;

use crate::support::fixture::{Fixture, Operation, Setting, READ_FAULTS};
use crate::support::{A, B};

/// The third part: whether the kernels watch what they read (before Linux 5.5).
type Case = (Setting, Operation, bool);

fn cases() -> impl Iterator<Item = Case> {
    let both = |(setting, operation)| [false, true].map(|old| (setting, operation, old));
    Operation::CASES.into_iter().flat_map(both)
}

/// Which host recovers, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recovery {
    /// A scan on another host, after the lease is over.
    ElsewhereLater,
    /// A scan on the same host, whose process is gone.
    HereAtOnce,
    /// No scan: the operation itself is repeated on the same host.
    Repeated,
}

impl Recovery {
    /// The recoveries that differ for that operation: a scan is repeated by a scan.
    fn of(operation: Operation) -> &'static [Recovery] {
        const ALL: [Recovery; 3] = [
            Recovery::ElsewhereLater,
            Recovery::Repeated,
            Recovery::HereAtOnce,
        ];
        &ALL[..if operation == Operation::Scan { 2 } else { 3 }]
    }
}

/// When a request that timed out arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    BeforeRecovery,
    AfterRecovery,
}

fn plan(calls: Calls, nth: usize, mode: Mode) -> Plan {
    Plan { calls, nth, mode }
}

/// Runs an operation without faults. Returns the number of changes, and of all calls.
fn count((setting, operation, old): Case) -> (usize, usize) {
    let fixture = Fixture::with_kernels(setting, old);
    let (process, faults) = (fixture.lab.process(A), Faults::none());
    let result = fixture.as_process(&process, &faults, |sr| fixture.perform(operation, &sr));
    result.unwrap();
    fixture.check_success(operation);
    (faults.changes(), faults.calls())
}

/// Whether XAPI's plugin makes the call: it may outlive its process, but not the lease.
fn by_xapi(faults: &Faults<'_>) -> bool {
    matches!(faults.hit(), Some("pause_disk" | "resume_disk"))
}

/// Runs a check, and adds the crash point to its panic.
fn at<T>(point: &str, check: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        panic!("{point}: {}", text.unwrap_or_default());
    })
}

/// Makes one call of an operation fail, recovers, and checks everything. Returns the name of the call.
fn survive(
    (setting, operation, old): Case,
    plan: Plan,
    recovery: Recovery,
    arrival: Arrival,
) -> &'static str {
    let fixture = Fixture::with_kernels(setting, old);
    let process = fixture.lab.process(A);
    let faults = Faults::plan(plan);
    let result = fixture.as_process(&process, &faults, |sr| fixture.perform(operation, &sr));
    let call = faults.hit().expect("the call was never made");
    if result.is_ok() && !faults.killed() {
        match operation {
            Operation::Deactivate => fixture.check_unmapped(),
            _ => fixture.check_success(operation),
        }
    }
    fixture.check_writers();
    fixture.check_purges();
    if by_xapi(&faults) || arrival == Arrival::BeforeRecovery {
        faults.deliver();
    }
    let repeat = || {
        if setting == Setting::Rebooted {
            fixture.lab.sim.advance_seconds(31); // if the old kernel could not be blocklisted
        }
        fixture
            .lab
            .run(A, |sr| match fixture.perform(operation, &sr) {
                Err(Error::VdiExists { .. }) if operation.creates() => {}
                other => other.unwrap(),
            });
        fixture.check_success(operation);
    };
    match recovery {
        Recovery::ElsewhereLater => {
            fixture.lab.let_leases_end();
            fixture.lab.scan(B).map(|_| ()).unwrap();
            fixture.check_clean();
        }
        Recovery::HereAtOnce => {
            fixture.lab.scan(A).map(|_| ()).unwrap();
            fixture.check_clean();
        }
        Recovery::Repeated => repeat(),
    }
    faults.deliver();
    repeat();
    fixture.check_writers();
    fixture.check_host();
    fixture.lab.scan(B).map(|_| ()).unwrap();
    fixture.check_clean();
    if recovery == Recovery::ElsewhereLater {
        fixture.check_end();
    }
    call
}

#[test]
fn an_operation_that_dies_in_any_change_loses_and_leaves_nothing() {
    let mut points = 0;
    for case in cases() {
        let (changes, _) = count(case);
        assert!(changes > 0, "{case:?} changes nothing");
        for nth in 0..changes {
            points += survive_change(case, nth);
        }
    }
    eprintln!("{points} crash points survived");
    assert!(points > 1500, "only {points}");
}

/// Walks the modes and recoveries of one change. Returns how many there were.
fn survive_change(case: Case, nth: usize) -> usize {
    let (mut points, mut call) = (0, "");
    for mode in Mode::ALL {
        // For other calls, killed inside is the same as killed before.
        if mode == Mode::KilledInside && !matches!(call, "create_image" | "clone_image") {
            continue;
        }
        for &recovery in Recovery::of(case.1) {
            for arrival in [Arrival::BeforeRecovery, Arrival::AfterRecovery] {
                if arrival == Arrival::AfterRecovery && mode != Mode::Late {
                    continue;
                }
                let point = format!("{case:?} {nth} {mode:?} {recovery:?} {arrival:?}");
                let plan = plan(Calls::Changes, nth, mode);
                call = at(&point, || survive(case, plan, recovery, arrival));
                points += 1;
            }
        }
    }
    points
}

#[test]
fn an_operation_whose_read_fails_loses_and_leaves_nothing() {
    let mut points = 0;
    for case in cases() {
        let recoveries = Recovery::of(case.1);
        let (changes, calls) = count(case);
        for nth in 0..calls - changes {
            for mode in READ_FAULTS {
                // A read leaves nothing half done: one recovery for each call is enough.
                let recovery = recoveries[points % recoveries.len()];
                let point = format!("{case:?} read {nth} {mode:?} {recovery:?}");
                let plan = plan(Calls::Reads, nth, mode);
                at(&point, || {
                    survive(case, plan, recovery, Arrival::BeforeRecovery)
                });
                points += 1;
            }
        }
    }
    eprintln!("{points} failing reads survived");
    assert!(points > 300, "only {points}");
}
