//! Disks with `on-boot=reset`, which lose their changes when their VM starts.

use sr_ceph::faults::{at_each_call, Calls, Faults, FaultyPool};
use sr_ceph::Error;
use uuid::Uuid;

use crate::support::{ceph_sr, Lab, A, B, GIB};

/// Starts the VM, which resets its disk, and overwrites the disk.
fn run_vm(lab: &Lab, vdi: &Uuid, content: u64) {
    lab.run(A, |sr| sr.reset_vdi(vdi)).unwrap();
    lab.write(vdi, content);
}

#[test]
fn every_start_finds_the_disk_as_the_first_one_did() {
    let (lab, disk) = Lab::with_disk();
    for content in 2..6 {
        lab.run(A, |sr| sr.reset_vdi(&disk)).unwrap();
        assert_eq!(lab.content(&disk), Some(1));
        lab.write(&disk, content);
    }
    assert_eq!(lab.sim.snapshot().images.len(), 2, "old images are left");
    lab.clear();
}

#[test]
fn a_disk_that_keeps_its_changes_again_starts_from_them() {
    let (lab, disk) = Lab::with_disk();
    run_vm(&lab, &disk, 2);
    run_vm(&lab, &disk, 3);
    lab.run(A, |sr| sr.forget_reset_point(&disk)).unwrap();
    lab.write(&disk, 4);
    run_vm(&lab, &disk, 5);
    lab.run(A, |sr| sr.reset_vdi(&disk)).unwrap();
    assert_eq!(lab.content(&disk), Some(4));
    lab.clear();
}

#[test]
fn a_disk_that_was_reverted_or_grown_starts_from_that() {
    let (lab, disk) = Lab::with_disk();
    let snapshot = lab.snapshot(&disk);
    lab.write(&disk, 2);
    run_vm(&lab, &disk, 3);
    lab.run(A, |sr| sr.revert_vdi(&disk, &snapshot)).unwrap();
    run_vm(&lab, &disk, 4);
    lab.run(A, |sr| sr.reset_vdi(&disk)).unwrap();
    assert_eq!(lab.content(&disk), Some(1));
    lab.write(&disk, 5);
    let grown = lab.run(A, |sr| sr.resize_vdi(&disk, i128::from(2 * GIB)));
    assert_eq!(grown.unwrap(), 2 * GIB);
    run_vm(&lab, &disk, 6);
    lab.run(A, |sr| sr.reset_vdi(&disk)).unwrap();
    assert_eq!(lab.content(&disk), Some(5));
    assert_eq!(lab.record(&disk).unwrap().size, 2 * GIB);
    lab.clear();
}

#[test]
fn a_running_disk_is_not_reset() {
    let (lab, disk) = Lab::with_disk();
    lab.activate(B, &disk).unwrap();
    let refused = lab.run(A, |sr| sr.reset_vdi(&disk));
    assert!(
        matches!(refused, Err(Error::VdiInUse { .. })),
        "{refused:?}"
    );
    let snapshot = lab.snapshot(&disk);
    let refused = lab.run(A, |sr| sr.reset_vdi(&snapshot));
    assert!(
        matches!(refused, Err(Error::ReadOnly { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_full_pool_keeps_no_vm_from_starting() {
    let (lab, disk) = Lab::with_disk();
    lab.sim.set_quota(GIB);
    lab.sim.set_stored(GIB - 1);
    lab.run(A, |sr| sr.reset_vdi(&disk)).unwrap();
}

/// The operations that can be interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    FirstStart,
    LaterStart,
    Forget,
    Delete,
}

#[test]
fn a_start_that_dies_in_any_change_leaves_the_disk_right_at_the_next() {
    let mut points = 0;
    for step in [
        Step::FirstStart,
        Step::LaterStart,
        Step::Forget,
        Step::Delete,
    ] {
        points += at_each_call(Calls::Changes, |plan| {
            let (lab, disk) = Lab::with_disk();
            if step != Step::FirstStart {
                run_vm(&lab, &disk, 2);
            }
            let process = lab.process(A);
            let faults = Faults::plan(plan);
            let pool = FaultyPool::new(&process.pool, &faults);
            let sr = ceph_sr(&pool, &process.host, lab.sr);
            let result = match step {
                Step::FirstStart | Step::LaterStart => sr.reset_vdi(&disk),
                Step::Forget => sr.forget_reset_point(&disk),
                Step::Delete => sr.delete_vdi(&disk),
            };
            lab.sim.kill(sr_ceph::host::Host::owner(&process.host));
            faults.deliver();
            lab.let_leases_end();
            lab.scan(B).unwrap();
            let point = format!("{step:?} {plan:?} {result:?}");
            assert_eq!(lab.keys("op."), [""; 0], "{point}");
            let content = lab.content(&disk);
            match step {
                Step::FirstStart => assert_eq!(content, Some(1), "{point}"),
                Step::LaterStart if result.is_ok() => assert_eq!(content, Some(1), "{point}"),
                Step::LaterStart => assert!([Some(1), Some(2)].contains(&content), "{point}"),
                Step::Forget => assert_eq!(content, Some(2), "{point}"),
                Step::Delete => assert!([None, Some(2)].contains(&content), "{point}"),
            }
            if matches!(step, Step::FirstStart | Step::LaterStart) {
                run_vm(&lab, &disk, 3);
                lab.run(A, |sr| sr.reset_vdi(&disk)).unwrap();
                assert_eq!(lab.content(&disk), Some(1), "{point}");
            }
            lab.clear();
            faults.hit().is_some()
        });
    }
    assert!(points > 60, "only {points}");
}
