//! Requests that arrive after another process has acted.

use sr_ceph::faults::{Calls, Faults, Mode};
use sr_ceph::Error;

use super::{at, by_xapi, count, plan};
use crate::support::fixture::{Fixture, Operation, Setting};
use crate::support::{A, B};

#[test]
fn a_request_that_arrives_after_recovery_changes_nothing_in_the_journal() {
    // The journal does not cover devices, claims and names.
    let journalled = |(setting, operation): &(Setting, Operation)| {
        let copies = operation.copies() && *operation != Operation::SnapshotOfSnapshot;
        let others = [
            Operation::Create,
            Operation::Resize,
            Operation::Revert,
            Operation::Delete,
            Operation::DeleteSnapshot,
            Operation::DeleteClone,
        ];
        *setting != Setting::Deceased && (copies || others.contains(operation))
    };
    for case in Operation::CASES.into_iter().filter(journalled) {
        let (setting, operation) = case;
        for nth in 0..count((setting, operation, false)).0 {
            at(&format!("{case:?} {nth}"), || {
                let fixture = Fixture::new(setting);
                let process = fixture.lab.process(A);
                let faults = Faults::plan(plan(Calls::Changes, nth, Mode::Late));
                let _result =
                    fixture.as_process(&process, &faults, |sr| fixture.perform(operation, &sr));
                // If the journal's first entry arrives late, no process continues: that is a crash.
                if nth == 0 || by_xapi(&faults) {
                    faults.deliver();
                }
                fixture.lab.let_leases_end();
                fixture.lab.scan(B).map(|_| ()).unwrap();
                let recovered = fixture.lab.sim.snapshot();
                faults.deliver();
                assert_eq!(fixture.lab.sim.snapshot(), recovered);
            });
        }
    }
}

#[test]
fn a_release_that_arrives_late_does_not_free_a_disk_that_is_in_use_again() {
    let operation = Operation::Deactivate;
    let mut releases = 0;
    for nth in 0..count((Setting::Running, operation, false)).0 {
        let fixture = Fixture::new(Setting::Running);
        let process = fixture.lab.process(A);
        let faults = Faults::plan(plan(Calls::Changes, nth, Mode::Late));
        let result = fixture.as_process(&process, &faults, |sr| fixture.perform(operation, &sr));
        // A release without a reply is sent again: the first one arrives late.
        let released = faults.hit() == Some("swap");
        assert_eq!(result.is_ok(), released);
        releases += usize::from(released);
        fixture.lab.activate(A, &fixture.vdi).unwrap();
        faults.deliver();
        for refused in [
            fixture.lab.run(B, |sr| sr.delete_vdi(&fixture.vdi)),
            fixture.lab.activate(B, &fixture.vdi).map(|_| ()),
        ] {
            let refused_for_use = matches!(refused, Err(Error::VdiInUse { .. }));
            assert!(refused_for_use, "{nth}: {refused:?}");
        }
    }
    assert_eq!(releases, 1);
}

#[test]
fn a_disk_that_is_deleted_while_a_scan_begins_is_not_listed() {
    // Before each of the two reads of the list.
    for nth in 0..2 {
        let fixture = Fixture::new(Setting::Disk);
        let process = fixture.lab.process(A);
        let faults = Faults::interrupted(nth, || {
            fixture
                .lab
                .run(B, |sr| sr.delete_vdi(&fixture.vdi))
                .unwrap();
        });
        let scan = fixture.as_process(&process, &faults, |sr| sr.scan(&[]));
        let vdis = scan.unwrap().vdis;
        assert!(
            vdis.iter().all(|vdi| vdi.uuid != fixture.vdi),
            "before {nth}"
        );
    }
}
