//! Snapshots that were to be taken at one instant.

use uuid::Uuid;

/// Why a disk has no snapshot of the instant at which those of the VM's other disks were taken. A snapshot of
/// a later instant is not taken in its place.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotTogether {
    /// The snapshot of this disk failed when those of the VM's other disks were taken.
    #[error("VDI {vdi} has no snapshot of the instant at which the VM's other disks were snapshotted: {reason}. Fix that, then snapshot the VM again ('xe vm-snapshot')")]
    Failed {
        /// The VDI.
        vdi: Uuid,
        /// Why, with the id of the error.
        reason: String,
    },
    /// A disk was resumed before all snapshots were taken.
    #[error("VDI {vdi} was resumed before the snapshots of all disks of the VM were taken: they would show different instants, so they were removed. A disk is resumed after 4 s. Look for slow monitors with 'ceph health detail', then snapshot the VM again ('xe vm-snapshot')")]
    Resumed {
        /// The VDI.
        vdi: Uuid,
    },
    /// The disk was not among those that were snapshotted.
    #[error("VDI {vdi} has no snapshot of the instant at which the VM's other disks were snapshotted: it was not in use then, or another snapshot of it was under way. Snapshot the VM again ('xe vm-snapshot')")]
    LeftOut {
        /// The VDI.
        vdi: Uuid,
    },
}

impl NotTogether {
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::Failed { .. } => "SMB-C146",
            Self::Resumed { .. } => "SMB-C147",
            Self::LeftOut { .. } => "SMB-C148",
        }
    }
}
