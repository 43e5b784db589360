//! Changed-block tracking: what it refuses, and which changes it cannot list.

use uuid::Uuid;

use crate::size::Size;

/// Why changed-block tracking has refused something. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CbtRefusal {
    /// A snapshot without data is only a point in time to compare with.
    #[error("VDI {vdi} cannot be {refused}: its data was destroyed ('xe vdi-data-destroy'), and only its changes can be listed. Use another snapshot of the disk, or restore a backup")]
    DataDestroyed {
        /// The VDI.
        vdi: Uuid,
        /// What was requested.
        refused: &'static str,
    },
    /// Only the data of a tracked snapshot can be destroyed: without its data, nothing else is left of it.
    #[error("VDI {vdi}: its data was not destroyed, because it is no snapshot with changed-block tracking. To remove it, run 'xe vdi-destroy uuid={vdi}'")]
    NotTracked {
        /// The VDI.
        vdi: Uuid,
    },
    /// A snapshot does not change.
    #[error("VDI {vdi} is a snapshot, which does not change: changed-block tracking is switched for its disk, and each snapshot keeps the state that the disk had")]
    NotADisk {
        /// The VDI.
        vdi: Uuid,
    },
    /// A VDI does not differ from itself.
    #[error("the changes from VDI {vdi} to itself were requested. Name an older snapshot of the disk as first VDI")]
    Same {
        /// The VDI.
        vdi: Uuid,
    },
    /// Only VDIs with changed-block tracking are compared.
    #[error("VDI {vdi} has no changed-block tracking, so its changes are not listed. Make a full backup of the disk. To track its changes from now on, run 'xe vdi-enable-cbt' on the disk and take a snapshot")]
    Untracked {
        /// The VDI.
        vdi: Uuid,
    },
    /// A disk in use changes while it is compared.
    #[error("VDI {vdi} is in use on host {host}: its changes are not listed while it is written to. Take a snapshot of it, and list the changes of the snapshot")]
    InUse {
        /// The VDI.
        vdi: Uuid,
        /// The UUID of the host.
        host: String,
    },
    /// The two VDIs have no common origin that can be compared.
    #[error("the changes from VDI {from} to VDI {to} cannot be listed exactly: they are not of one disk, or what connects them was removed. Make a full backup of the disk")]
    Unrelated {
        /// The older VDI.
        from: Uuid,
        /// The newer VDI.
        to: Uuid,
    },
    /// A snapshot that must be compared does not exist.
    #[error("the changes from VDI {from} to VDI {to} cannot be listed exactly: a snapshot of image {image} in pool {pool} was removed. Make a full backup of the disk")]
    PointGone {
        /// The older VDI.
        from: Uuid,
        /// The newer VDI.
        to: Uuid,
        /// The image's name.
        image: String,
        /// The pool.
        pool: String,
    },
    /// The disk was changed while it was compared.
    #[error("VDI {vdi} was changed while its changes were listed. Take a snapshot of the disk, and list the changes of the snapshot")]
    Changed {
        /// The VDI.
        vdi: Uuid,
    },
    /// The list does not fit in a reply of SM.
    #[error("VDI {vdi} has {}: the changes of disks above {} are not listed, because the list does not fit in a reply of SM. Make a full backup of the disk", Size(*.size), Size(*.max))]
    TooLarge {
        /// The VDI.
        vdi: Uuid,
        /// Its size in bytes.
        size: u64,
        /// The largest size in bytes.
        max: u64,
    },
}

impl CbtRefusal {
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::DataDestroyed { .. } => "SMB-C155",
            Self::NotTracked { .. } => "SMB-C156",
            Self::NotADisk { .. } => "SMB-C157",
            Self::Same { .. } => "SMB-C158",
            Self::Untracked { .. } => "SMB-C159",
            Self::InUse { .. } => "SMB-C160",
            Self::Unrelated { .. } => "SMB-C161",
            Self::PointGone { .. } => "SMB-C162",
            Self::Changed { .. } => "SMB-C163",
            Self::TooLarge { .. } => "SMB-C164",
        }
    }
}
