//! Snapshots of several disks of a VM: one instant, one command each.

mod leftovers;

use std::cell::Cell;

use sr::engine::Together;
use sr::faults::before_each_call;
use sr_ceph::faults::{Calls, Faults, FaultyHost, FaultyPool, Mode, Plan};
use sr_ceph::host::{Host, Mapped};
use sr_ceph::pool::SnapshotKind;
use sr_ceph::record::{PreparedRecord, Record};
use sr_ceph::{CephSr, Error, Result};
use uuid::Uuid;

use crate::support::{ceph_sr, Lab, A, B, GIB};

const TASK: &str = "OpaqueRef:snapshot-of-the-vm";

/// A VM with disks in use on host B, and a program that writes numbers to them: each number to the next disk,
/// when the write of the last one has returned.
struct Vm {
    lab: Lab,
    disks: Vec<Uuid>,
    devices: Vec<Mapped>,
    next: Cell<u64>,
}

impl Vm {
    fn new(disks: usize) -> Self {
        let lab = Lab::new();
        lab.sim.set_task(TASK, true);
        let disks: Vec<_> = (0..disks).map(|_| lab.create(GIB)).collect();
        let devices = disks.iter().map(|disk| lab.activate(B, disk).unwrap());
        let vm = Vm {
            devices: devices.collect(),
            lab,
            disks,
            next: Cell::new(0),
        };
        vm.write(vm.disks.len());
        vm
    }

    /// Writes so many numbers. Stops at a disk that is paused.
    fn write(&self, count: usize) {
        for _ in 0..count {
            let number = self.next.get();
            let index = usize::try_from(number).unwrap() % self.disks.len();
            if self.lab.sim.paused().contains(&self.disks[index]) {
                return;
            }
            let device = &self.devices[index].device;
            self.lab.sim.write(B, device, number).unwrap();
            self.next.set(number + 1);
        }
    }

    fn together(&self, index: usize) -> Together {
        let mut siblings = self.disks.clone();
        siblings.remove(index);
        Together {
            task: TASK.to_owned(),
            siblings,
        }
    }

    fn snapshot(&self, index: usize) -> Result<Uuid> {
        self.lab.run(A, |sr| self.snapshot_by(&sr, index))
    }

    fn snapshot_by(&self, sr: &CephSr<'_>, index: usize) -> Result<Uuid> {
        let new = Uuid::new_v4();
        let made = sr.snapshot_vdi_with(&self.disks[index], &new, &self.together(index));
        made.map(|record| record.uuid)
    }

    /// Runs the first command, with `act` before its nth call. Returns the snapshot and the number of calls.
    fn interrupted(&self, nth: usize, act: impl FnOnce()) -> (Result<Uuid>, usize) {
        let process = self.lab.process(A);
        let faults = Faults::interrupted(nth, act);
        let pool = FaultyPool::new(&process.pool, &faults);
        let host = FaultyHost::new(&process.host, &faults);
        let taken = self.snapshot_by(&ceph_sr(&pool, &host, self.lab.sr), 0);
        self.lab.sim.kill(process.host.owner());
        (taken, faults.calls())
    }

    /// Checks that the snapshots of the disks have all numbers up to one, and none after it.
    fn check_order(&self, snapshots: &[Uuid]) {
        let contents = snapshots.iter().map(|it| self.lab.content(it).unwrap());
        let contents: Vec<_> = contents.collect();
        let last = *contents.iter().max().unwrap();
        let count = u64::try_from(self.disks.len()).unwrap();
        for (index, content) in contents.iter().enumerate() {
            let index = u64::try_from(index).unwrap();
            let expected = (0..=last).rev().find(|number| number % count == index);
            assert_eq!(Some(*content), expected, "{contents:?}");
        }
    }

    /// Takes a snapshot of a disk by hand, and sets the limit of its snapshots to one. Or undoes both.
    fn limit_snapshots(&self, index: usize, limit: bool) {
        let (sim, name) = (&self.lab.sim, self.lab.image_name(&self.disks[index]));
        if limit {
            sim.snapshot_by_hand(&name, "by-hand", SnapshotKind::User);
        } else {
            sim.remove_snapshots(&name);
        }
        sim.limit_snapshots(&name, limit.then_some(1));
    }

    fn end(&self) {
        self.lab.sim.set_task(TASK, false);
        for disk in &self.disks {
            self.lab.deactivate(B, disk).unwrap();
        }
        self.lab.settle();
        assert_eq!(self.lab.keys("prepared."), [""; 0]);
        assert_eq!(self.lab.keys("op."), [""; 0]);
        self.lab.clear();
    }

    /// Whether a key names a snapshot that no command has adopted yet.
    fn is_taken(&self, key: &str) -> bool {
        let entries = self.lab.sim.object(&self.lab.catalogue()).unwrap();
        let found = entries
            .get(key)
            .map(|value| PreparedRecord::parse(value).unwrap());
        found.is_some_and(|found| found.prepared.snapshot().is_some())
    }

    fn prepared(&self) -> usize {
        self.lab.keys("prepared.").len()
    }
}

fn live_snapshots(lab: &Lab) -> usize {
    let pool = lab.sim.snapshot();
    pool.snapshots.iter().filter(|(_, _, gone)| !gone).count()
}

#[test]
fn snapshots_of_a_vm_show_no_write_without_every_earlier_one() {
    before_each_call(|nth| {
        let vm = Vm::new(4);
        let (first, calls) = vm.interrupted(nth, || vm.write(11));
        let mut snapshots = vec![first.unwrap()];
        assert!(vm.lab.sim.paused().is_empty());
        for index in 1..4 {
            vm.write(5);
            snapshots.push(vm.snapshot(index).unwrap());
        }
        vm.check_order(&snapshots);
        assert_eq!(vm.prepared(), 0);
        vm.end();
        calls
    });
}

#[test]
fn a_disk_that_no_vm_uses_is_snapshotted_alone() {
    let vm = Vm::new(3);
    vm.lab.deactivate(B, &vm.disks[0]).unwrap();
    vm.lab.deactivate(B, &vm.disks[2]).unwrap();
    vm.snapshot(0).unwrap();
    assert_eq!(vm.prepared(), 0);
    vm.snapshot(1).unwrap();
    assert_eq!(vm.prepared(), 0);
    vm.snapshot(2).unwrap();
    vm.end();
}

#[test]
fn a_disk_that_fails_gets_no_snapshot_of_a_later_instant() {
    let vm = Vm::new(3);
    vm.limit_snapshots(1, true);
    let first = vm.snapshot(0).unwrap();
    vm.write(7);
    let third = vm.snapshot(2).unwrap();
    let contents = [first, third].map(|it| vm.lab.content(&it).unwrap());
    assert_eq!(contents, [0, 2]);
    vm.limit_snapshots(1, false);
    let error = vm.snapshot(1).unwrap_err();
    assert_eq!(error.id(), "SMB-C146", "{error}");
    assert!(error.to_string().contains("limit"), "{error}");
    assert_eq!(live_snapshots(&vm.lab), 2);
    assert!(vm.lab.sim.paused().is_empty());
    vm.end();
}

#[test]
fn the_requested_disk_fails_without_any_trace() {
    let vm = Vm::new(3);
    vm.limit_snapshots(0, true);
    vm.snapshot(0).unwrap_err();
    vm.limit_snapshots(0, false);
    assert_eq!((vm.prepared(), live_snapshots(&vm.lab)), (0, 0));
    assert_eq!(vm.lab.keys("op."), [""; 0]);
    assert!(vm.lab.sim.paused().is_empty());
    vm.snapshot(0).unwrap();
    vm.end();
}

#[test]
fn a_disk_that_is_resumed_early_makes_all_snapshots_again() {
    let mut repeated = 0;
    before_each_call(|nth| {
        let vm = Vm::new(3);
        let resume = || {
            let paused: Vec<_> = vm.lab.sim.paused().into_iter().collect();
            drop(vm.lab.sim.process(B).resume_disks(&paused));
            vm.write(4);
        };
        let (first, calls) = vm.interrupted(nth, resume);
        let mut snapshots = vec![first.unwrap()];
        snapshots.extend((1..3).map(|index| vm.snapshot(index).unwrap()));
        vm.check_order(&snapshots);
        assert_eq!(live_snapshots(&vm.lab), 3);
        vm.end();
        repeated = repeated.max(calls);
        calls
    });
    assert!(repeated > 40, "no case was repeated");
    let vm = Vm::new(3);
    vm.lab.sim.set_impatient(true);
    let error = vm.snapshot(0).unwrap_err();
    assert_eq!(error.id(), "SMB-C147", "{error}");
    assert_eq!((vm.prepared(), live_snapshots(&vm.lab)), (0, 0));
    vm.end();
}

#[test]
fn a_command_waits_for_a_busy_sibling_no_longer_than_for_its_own_disk() {
    let vm = Vm::new(4);
    let owner = vm.lab.process(B);
    for disk in &vm.disks[1..] {
        // A snapshot that has not come further than its intent.
        let plan = Plan {
            calls: Calls::Changes,
            nth: 1,
            mode: Mode::KilledBefore,
        };
        let faults = Faults::plan(plan);
        let pool = FaultyPool::new(&owner.pool, &faults);
        let host = FaultyHost::new(&owner.host, &faults);
        let busy = ceph_sr(&pool, &host, vm.lab.sr).snapshot_vdi(disk, &Uuid::new_v4());
        busy.unwrap_err();
    }
    let process = vm.lab.process(A);
    let before = process.host.now();
    vm.snapshot(0).unwrap();
    assert_eq!(process.host.now() - before, 30, "seconds");
    vm.lab.sim.kill(owner.host.owner());
    vm.lab.run(B, |sr| sr.scan(&[])).unwrap();
    let error = vm.snapshot(1).unwrap_err();
    assert!(error.to_string().contains("SMB-C020"), "{error}");
    vm.lab.sim.kill(process.host.owner());
    vm.end();
}

#[test]
fn two_vms_that_share_disks_never_wait_for_each_other_forever() {
    before_each_call(|nth| {
        let vm = Vm::new(3);
        let other = Together {
            task: "OpaqueRef:another".to_owned(),
            siblings: vec![vm.disks[1], vm.disks[0]],
        };
        vm.lab.sim.set_task(&other.task, true);
        let also = || {
            let new = Uuid::new_v4();
            match vm
                .lab
                .run(B, |sr| sr.snapshot_vdi_with(&vm.disks[2], &new, &other))
            {
                Ok(_) | Err(Error::VdiBusy { .. }) => {}
                Err(e) => panic!("{e}"),
            }
        };
        let (first, calls) = vm.interrupted(nth, also);
        first.unwrap();
        vm.lab.sim.set_task(&other.task, false);
        vm.end();
        calls
    });
}

#[test]
fn a_damaged_prepared_key_stops_only_its_adoption() {
    let vm = Vm::new(3);
    vm.snapshot(0).unwrap();
    let key = format!("prepared.{}", vm.disks[1]);
    vm.lab.sim.put(&vm.lab.catalogue(), &key, b"nonsense");
    vm.snapshot(2).unwrap();
    let error = vm.snapshot(1).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(&key), "{error}");
    vm.lab
        .run(A, |sr| sr.snapshot_vdi(&vm.disks[1], &Uuid::new_v4()))
        .unwrap();
    vm.lab.scan(A).unwrap();
    for disk in &vm.disks {
        vm.lab.deactivate(B, disk).unwrap();
        vm.lab.run(A, |sr| sr.delete_vdi(disk)).unwrap();
    }
}

#[test]
fn a_disk_without_a_snapshot_of_the_instant_gets_none_later() {
    let vm = Vm::new(3);
    vm.lab.deactivate(B, &vm.disks[1]).unwrap();
    vm.snapshot(0).unwrap();
    vm.lab.activate(B, &vm.disks[1]).unwrap();
    let error = vm.snapshot(1).unwrap_err();
    assert_eq!(error.id(), "SMB-C148", "{error}");
}
