//! What the tests do to an SR, and what there is to do it to.

/// What is there before an operation: a disk, and what was made from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// A disk at rest.
    Disk,
    /// A disk that runs on host A.
    Running,
    /// A disk, its snapshot, and a clone of that. The disk has changed and grown since.
    Family,
    /// The same, with the snapshot attached on host A.
    Reading,
    /// The same, and the disk was reverted: its first image is hidden.
    Reverted,
    /// The same without the disk: its image is hidden.
    Orphans,
    /// A snapshot whose disk is deleted: only it needs the hidden image.
    LoneSnapshot,
    /// A clone whose parent's disk and snapshot are deleted: only it needs the hidden image.
    LoneClone,
    /// A disk, and a creation, a deletion and a resize that died.
    Unfinished,
    /// A disk, and a snapshot, a clone and two reverts that died.
    UnfinishedCopies,
    /// A disk that runs on host C, which stands still, and which XAPI has as declared dead.
    Deceased,
    /// A disk that host A used before it booted.
    Rebooted,
}

impl Setting {
    pub fn has_disk(self) -> bool {
        !matches!(
            self,
            Setting::Orphans | Setting::LoneSnapshot | Setting::LoneClone
        )
    }

    pub fn has_snapshot(self) -> bool {
        self.is_family() || self == Setting::LoneSnapshot
    }

    pub fn has_clone(self) -> bool {
        self.is_family() || self == Setting::LoneClone
    }

    fn is_family(self) -> bool {
        matches!(
            self,
            Setting::Family | Setting::Reading | Setting::Reverted | Setting::Orphans
        )
    }
}

/// What the tests do to an SR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    AttachSr,
    Scan,
    Create,
    Delete,
    Resize,
    Activate,
    Deactivate,
    Rename,
    Snapshot,
    SnapshotOfSnapshot,
    CloneOfSnapshot,
    CloneOfDisk,
    CloneOfClone,
    /// Of the disk, to its snapshot.
    Revert,
    DeleteSnapshot,
    DeleteClone,
    ActivateSnapshot,
    DeactivateSnapshot,
    /// As the hook does, of host C.
    DeclareDead,
}

impl Operation {
    pub const ALL: [Operation; 19] = [
        Operation::AttachSr,
        Operation::Scan,
        Operation::Create,
        Operation::Delete,
        Operation::Resize,
        Operation::Activate,
        Operation::Deactivate,
        Operation::Rename,
        Operation::Snapshot,
        Operation::SnapshotOfSnapshot,
        Operation::CloneOfSnapshot,
        Operation::CloneOfDisk,
        Operation::CloneOfClone,
        Operation::Revert,
        Operation::DeleteSnapshot,
        Operation::DeleteClone,
        Operation::ActivateSnapshot,
        Operation::DeactivateSnapshot,
        Operation::DeclareDead,
    ];

    /// Every operation in each of its shapes.
    pub const CASES: [(Setting, Operation); 33] = [
        (Setting::Unfinished, Operation::AttachSr),
        (Setting::Unfinished, Operation::Scan),
        (Setting::UnfinishedCopies, Operation::Scan),
        (Setting::Disk, Operation::Create),
        (Setting::Disk, Operation::Resize),
        (Setting::Disk, Operation::Activate),
        (Setting::Running, Operation::Deactivate),
        (Setting::Disk, Operation::Rename),
        (Setting::Disk, Operation::Snapshot),
        (Setting::Running, Operation::Snapshot),
        (Setting::Family, Operation::SnapshotOfSnapshot),
        (Setting::Family, Operation::CloneOfSnapshot),
        (Setting::Disk, Operation::CloneOfDisk),
        (Setting::Running, Operation::CloneOfDisk),
        (Setting::Family, Operation::CloneOfClone),
        (Setting::Family, Operation::Revert),
        (Setting::Reverted, Operation::Revert),
        (Setting::Disk, Operation::Delete),
        (Setting::Family, Operation::Delete),
        (Setting::Reverted, Operation::Delete),
        (Setting::Family, Operation::DeleteSnapshot),
        (Setting::Reverted, Operation::DeleteSnapshot),
        (Setting::Orphans, Operation::DeleteSnapshot),
        (Setting::LoneSnapshot, Operation::DeleteSnapshot),
        (Setting::LoneClone, Operation::DeleteClone),
        (Setting::Family, Operation::ActivateSnapshot),
        (Setting::Reading, Operation::DeactivateSnapshot),
        (Setting::Deceased, Operation::Activate),
        (Setting::Deceased, Operation::Delete),
        (Setting::Deceased, Operation::DeclareDead),
        (Setting::Rebooted, Operation::AttachSr),
        (Setting::Rebooted, Operation::Activate),
        (Setting::Reading, Operation::Activate),
    ];

    /// Whether what it is about is there.
    pub fn suits(self, setting: Setting) -> bool {
        match self {
            Operation::AttachSr | Operation::Scan | Operation::Create | Operation::DeclareDead => {
                true
            }
            Operation::Delete
            | Operation::Resize
            | Operation::Activate
            | Operation::Deactivate
            | Operation::Rename
            | Operation::Snapshot
            | Operation::CloneOfDisk => setting.has_disk(),
            Operation::Revert => setting.has_disk() && setting.has_snapshot(),
            Operation::SnapshotOfSnapshot
            | Operation::CloneOfSnapshot
            | Operation::DeleteSnapshot
            | Operation::ActivateSnapshot
            | Operation::DeactivateSnapshot => setting.has_snapshot(),
            Operation::CloneOfClone | Operation::DeleteClone => setting.has_clone(),
        }
    }

    /// Whether it makes the VDI [`Scene::created`](super::Scene::created).
    pub fn creates(self) -> bool {
        self == Operation::Create || self.copies()
    }

    /// Whether what it makes holds what another VDI does.
    pub fn copies(self) -> bool {
        self.clones() || matches!(self, Operation::Snapshot | Operation::SnapshotOfSnapshot)
    }

    /// Whether it makes a disk of another VDI.
    pub fn clones(self) -> bool {
        matches!(
            self,
            Operation::CloneOfSnapshot | Operation::CloneOfDisk | Operation::CloneOfClone
        )
    }
}
