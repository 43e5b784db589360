//! A disk, its snapshot and a clone of it, before and after an operation.

use sr_ceph::{CephSr, Error, Result};
use uuid::Uuid;

use super::lab::{named, new_disk, Content, Lab, B, SIZE};

/// Every operation of several steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Resize,
    /// A snapshot of a running disk, which is paused for it.
    Snapshot,
    CloneOfSnapshot,
    CloneOfDisk,
    Revert,
    Delete,
    /// The deletion of a disk with a snapshot and a clone of it.
    DeleteParent,
    /// The deletion of a snapshot with a clone, whose disk is deleted.
    DeleteSnapshot,
}

impl Operation {
    pub const ALL: [Operation; 9] = [
        Operation::Create,
        Operation::Resize,
        Operation::Snapshot,
        Operation::CloneOfSnapshot,
        Operation::CloneOfDisk,
        Operation::Revert,
        Operation::Delete,
        Operation::DeleteParent,
        Operation::DeleteSnapshot,
    ];

    fn needs_snapshot(self) -> bool {
        matches!(
            self,
            Operation::CloneOfSnapshot
                | Operation::Revert
                | Operation::DeleteParent
                | Operation::DeleteSnapshot
        )
    }

    fn needs_clone(self) -> bool {
        matches!(self, Operation::DeleteParent | Operation::DeleteSnapshot)
    }

    fn creates(self) -> bool {
        matches!(
            self,
            Operation::Create
                | Operation::Snapshot
                | Operation::CloneOfSnapshot
                | Operation::CloneOfDisk
        )
    }
}

/// The content before the snapshot, and after it.
const FIRST: Content = [11, 12, 0];
const SECOND: Content = [11, 22, 23];

pub struct Fixture<'l> {
    lab: &'l Lab,
    operation: Operation,
    disk: Uuid,
    snapshot: Option<Uuid>,
    clone: Option<Uuid>,
    created: Uuid,
}

impl<'l> Fixture<'l> {
    pub fn new(lab: &'l Lab, operation: Operation) -> Self {
        let disk = lab.disk("disk", &FIRST);
        if operation.needs_snapshot() {
            // A clone of a tracked snapshot has more steps.
            lab.prepare(|sr| sr.track_changes(&disk, true)).unwrap();
        }
        let snapshot = operation.needs_snapshot().then(|| lab.snapshot(&disk));
        let clone = operation
            .needs_clone()
            .then(|| lab.clone_of(&snapshot.unwrap()));
        lab.prepare(|sr| sr.activate_vdi(&disk, true)).unwrap();
        lab.write(&disk, &SECOND);
        if operation != Operation::Snapshot {
            lab.prepare(|sr| sr.deactivate_vdi(&disk)).unwrap();
        }
        if operation == Operation::DeleteSnapshot {
            lab.prepare(|sr| sr.delete_vdi(&disk)).unwrap();
        }
        Fixture {
            lab,
            operation,
            disk,
            snapshot,
            clone,
            created: Uuid::new_v4(),
        }
    }

    pub fn perform(&self, sr: &CephSr<'_>) -> Result<()> {
        let (disk, created) = (&self.disk, &self.created);
        let snapshot = || self.snapshot.unwrap();
        match self.operation {
            Operation::Create => sr.create_disk(&new_disk(*created, "created")).map(drop),
            Operation::Resize => sr.resize_vdi(disk, i128::from(2 * SIZE)).map(drop),
            Operation::Snapshot => sr.snapshot_vdi(disk, created).map(drop),
            Operation::CloneOfSnapshot => sr.clone_vdi(&snapshot(), created).map(drop),
            Operation::CloneOfDisk => sr.clone_vdi(disk, created).map(drop),
            Operation::Revert => sr.revert_vdi(disk, &snapshot()).map(drop),
            Operation::Delete | Operation::DeleteParent => sr.delete_vdi(disk),
            Operation::DeleteSnapshot => sr.delete_vdi(&snapshot()),
        }
    }

    /// Repeats the operation, which must then be complete.
    pub fn repeat(&self) {
        match self.lab.run(B, |sr| self.perform(sr)) {
            Err(Error::VdiExists { .. }) if self.operation.creates() => {}
            other => other.unwrap(),
        }
        self.check_done();
    }

    /// Checks the result of an operation that succeeded.
    pub fn check_done(&self) {
        let record = |vdi| self.lab.record(vdi);
        match self.operation {
            Operation::Resize => assert_eq!(record(&self.disk).unwrap().size, 2 * SIZE),
            Operation::Revert => assert_eq!(self.lab.content(&self.disk), FIRST),
            Operation::Delete | Operation::DeleteParent => assert_eq!(record(&self.disk), None),
            Operation::DeleteSnapshot => assert_eq!(record(&self.snapshot.unwrap()), None),
            _ => assert!(record(&self.created).is_some()),
        }
    }

    /// Checks after any outcome that each VDI has its name and its content, and that only the VDI is missing that
    /// the operation removes.
    pub fn check_contents(&self) {
        let expect = |vdi: &Uuid, name: &str, contents: &[Content], may_be_gone: bool| {
            let Some(record) = self.lab.record(vdi) else {
                assert!(may_be_gone, "lost: the {name}");
                return;
            };
            assert_eq!(record.xapi.name_label, named(name).name_label);
            let content = self.lab.content(vdi);
            assert!(contents.contains(&content), "the {name} has {content:?}");
        };
        let operation = self.operation;
        let gone = matches!(
            operation,
            Operation::Delete | Operation::DeleteParent | Operation::DeleteSnapshot
        );
        match operation {
            Operation::Revert => expect(&self.disk, "disk", &[FIRST, SECOND], false),
            _ => expect(&self.disk, "disk", &[SECOND], gone),
        }
        if let Some(snapshot) = self.snapshot {
            let gone = operation == Operation::DeleteSnapshot;
            expect(&snapshot, "disk", &[FIRST], gone);
        }
        if let Some(clone) = self.clone {
            expect(&clone, "disk", &[FIRST], false);
        }
        match operation {
            Operation::Create => expect(&self.created, "created", &[[0; 3]], true),
            Operation::CloneOfSnapshot => expect(&self.created, "disk", &[FIRST], true),
            _ => expect(&self.created, "disk", &[SECOND], true),
        }
    }

    /// Deletes the VDIs of the operation, and checks that nothing is left.
    pub fn clear(self) {
        self.lab.prepare(|sr| {
            sr.deactivate_vdi(&self.disk).unwrap();
            let copies = [self.snapshot, self.clone, Some(self.created)];
            for vdi in copies.iter().flatten().chain([&self.disk]) {
                sr.delete_vdi(vdi).unwrap();
            }
        });
    }
}
