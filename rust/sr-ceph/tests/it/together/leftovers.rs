//! Prepared snapshots that no command has adopted.

use sr::doctor::Facts;
use sr::faults::before_each_call;
use sr::finding::table;
use sr_ceph::pool::{Pool, Transaction};
use sr_ceph::record::{Prepared, PreparedRecord, Record};
use sr_ceph::{CephSr, Error, Result};

use super::{live_snapshots, Vm, TASK};
use crate::support::{A, B};

#[test]
fn what_no_command_adopts_goes_with_the_next_scan_after_the_task() {
    let vm = Vm::new(3);
    let first = vm.snapshot(0).unwrap();
    vm.lab.scan(A).unwrap();
    vm.lab.run(B, |sr| sr.attach_sr()).unwrap();
    assert_eq!((vm.prepared(), live_snapshots(&vm.lab)), (2, 3));
    let adopted = vm.snapshot(1).unwrap();
    assert_eq!(vm.prepared(), 1);
    vm.lab.sim.set_task(TASK, false);
    vm.lab.scan(B).unwrap();
    assert_eq!((vm.prepared(), live_snapshots(&vm.lab)), (0, 2));
    assert!([first, adopted]
        .iter()
        .all(|it| vm.lab.content(it).is_some()));
    vm.end();
}

#[test]
fn a_plug_a_repair_and_a_collector_remove_what_is_left() {
    let acts: [fn(CephSr<'_>) -> Result<()>; 3] = [
        |sr| sr.attach_sr(),
        |sr| sr.repair(),
        |sr| sr.drop_prepared(),
    ];
    for act in acts {
        let vm = Vm::new(2);
        vm.snapshot(0).unwrap();
        vm.lab.run(A, act).unwrap();
        assert_eq!(vm.prepared(), 1, "the task still runs");
        vm.lab.sim.set_task(TASK, false);
        vm.lab.run(A, act).unwrap();
        assert_eq!((vm.prepared(), live_snapshots(&vm.lab)), (0, 1));
        vm.end();
    }
}

#[test]
fn deleting_a_disk_frees_its_prepared_snapshot() {
    let vm = Vm::new(2);
    vm.snapshot(0).unwrap();
    vm.lab.deactivate(B, &vm.disks[1]).unwrap();
    let id = vm.lab.image_id(&vm.disks[1]);
    vm.lab.run(A, |sr| sr.delete_vdi(&vm.disks[1])).unwrap();
    assert_eq!(vm.prepared(), 0);
    assert!(vm.lab.sim.snapshot().trash.contains(&id));
    let error = vm.snapshot(1).unwrap_err();
    assert!(matches!(error, Error::VdiMissing { .. }), "{error}");
}

#[test]
fn a_snapshot_is_not_left_if_another_task_leaves_its_disk_out_meanwhile() {
    before_each_call(|nth| {
        let vm = Vm::new(2);
        let (key, catalogue) = (format!("prepared.{}", vm.disks[1]), vm.lab.catalogue());
        let reason = "busy".to_owned();
        let other =
            PreparedRecord::new("OpaqueRef:other", None, Prepared::Failed { reason }).seal();
        let (first, calls) = vm.interrupted(nth, || {
            if vm.prepared() == 0 {
                vm.lab.sim.put(&catalogue, &key, &other);
            }
        });
        first.unwrap();
        let named = 1 + usize::from(vm.is_taken(&key));
        assert_eq!(live_snapshots(&vm.lab), named);
        let transaction = Transaction {
            remove: vec![key],
            ..Transaction::default()
        };
        if named == 1 {
            let pool = vm.lab.process(A).pool;
            pool.transaction(&catalogue, &transaction).unwrap();
        }
        vm.end();
        calls
    });
}

#[test]
fn an_sr_is_deleted_with_a_prepared_snapshot_of_a_disk_that_is_gone() {
    let vm = Vm::new(2);
    let first = vm.snapshot(0).unwrap();
    let key = format!("prepared.{}", vm.disks[1]);
    let prepared = vm.lab.sim.object(&vm.lab.catalogue()).unwrap()[&key].clone();
    for disk in &vm.disks {
        vm.lab.deactivate(B, disk).unwrap();
    }
    for vdi in [vm.disks[0], first, vm.disks[1]] {
        vm.lab.run(A, |sr| sr.delete_vdi(&vdi)).unwrap();
    }
    // An older version deletes the disk, and leaves the key.
    vm.lab.sim.put(&vm.lab.catalogue(), &key, &prepared);
    vm.lab.sim.run_manager();
    vm.lab.run(A, |sr| sr.delete_sr()).unwrap();
}

#[test]
fn a_task_of_another_xapi_pool_is_judged_over_after_an_hour() {
    let vm = Vm::new(2);
    vm.snapshot(0).unwrap();
    vm.lab.sim.set_pool(A, "another");
    let scan = || vm.lab.scan(A).map(drop).unwrap();
    scan();
    vm.lab.sim.advance_seconds(3599);
    scan();
    assert_eq!(vm.prepared(), 1);
    vm.lab.sim.advance_seconds(2);
    scan();
    assert_eq!(vm.prepared(), 0);
}

#[test]
fn the_doctor_finds_what_a_task_has_left_and_no_snapshot_of_a_running_task() {
    let vm = Vm::new(2);
    vm.snapshot(0).unwrap();
    let found = || {
        let found = vm.lab.run(A, |sr| sr.doctor(&Facts::default()));
        let found = found.unwrap().into_iter();
        let found = found.filter(|found| found.kind == &table::UNUSED_SNAPSHOT);
        found.collect::<Vec<_>>()
    };
    assert_eq!(found().len(), 0);
    vm.lab.sim.set_task(TASK, false);
    let left = found();
    assert_eq!(left.len(), 1);
    assert!(left[0].fix.contains("xe sr-scan"), "{left:?}");
    vm.lab.scan(A).unwrap();
    assert_eq!(found().len(), 0);
    vm.end();
}
