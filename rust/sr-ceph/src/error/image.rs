//! Errors about the image behind a VDI.

use uuid::Uuid;

use crate::size::Size;

/// Why the image of a VDI cannot be used, or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The image behind a VDI is gone.
    #[error("VDI {vdi}: its image {image} (id {id}) does not exist in pool {pool}: it was removed or migrated to another pool, outside smblock. 'rbd trash ls --all {pool}' shows whether it can be restored. If it is in pool POOL2, bring it back: 'rbd migration prepare POOL2/{image} {pool}/{image}', then 'rbd migration execute {pool}/{image}', 'rbd migration commit {pool}/{image}' and 'xe sr-scan'. If it is lost, run 'xe vdi-destroy uuid={vdi}'")]
    Missing {
        /// The VDI.
        vdi: Uuid,
        /// The image's name.
        image: String,
        /// The image's id.
        id: String,
        /// The pool.
        pool: String,
    },
    /// The image behind a VDI is smaller than the VDI.
    #[error("VDI {vdi}: image {image} has {} but the VDI {}: it was shrunk outside smblock. Grow it again with 'rbd resize --size {expected}B {pool}/{image}' (the lost part reads as zeros), then try again", Size(*actual), Size(*expected))]
    Shrunk {
        /// The VDI.
        vdi: Uuid,
        /// The image's pool.
        pool: String,
        /// The image's name.
        image: String,
        /// Bytes the image has.
        actual: u64,
        /// Bytes the VDI has.
        expected: u64,
    },
    /// The snapshot behind a VDI is gone.
    #[error(
        "VDI {vdi}: image {image} has no snapshot {snapshot}: it was removed outside smblock. Destroy the VDI with 'xe vdi-destroy uuid={vdi}'"
    )]
    SnapshotMissing {
        /// The VDI.
        vdi: Uuid,
        /// The image's name.
        image: String,
        /// The snapshot's name.
        snapshot: String,
    },
    /// The image has features that this kernel cannot map.
    ///
    /// Fix: `rbd feature disable POOL/IMAGE FEATURE`, or update the host.
    #[error("VDI {vdi}: this host's kernel cannot map image {image}: it lacks the features {features}; {advice}", advice = .features.advice(&format!("{pool}/{image}")))]
    Features {
        /// The VDI.
        vdi: Uuid,
        /// The image's name.
        image: String,
        /// The pool.
        pool: String,
        /// The features.
        features: hostdev::ImageFeatures,
    },
    /// A kernel that is not this host's has the image mapped, without a claim.
    #[error("VDI {vdi}: image {image} is already mapped by another host's kernel ({address}), outside smblock. It was not attached: two writers would corrupt the disk. Unmap it there ('rbd device unmap'); if that host is down, its watch ends within 30 s")]
    ForeignKernel {
        /// The VDI.
        vdi: Uuid,
        /// The image's name.
        image: String,
        /// The address of that kernel's client.
        address: String,
    },
    /// An image that is not this VDI's has the name that is needed.
    #[error("VDI {vdi}: an image named {image} already exists in pool {pool} and is not in the catalogue. It was not changed. Rename it ('rbd rename') or remove it ('rbd rm'), then try again")]
    NameTaken {
        /// The VDI.
        vdi: Uuid,
        /// The image's name.
        image: String,
        /// The pool.
        pool: String,
    },
}

impl ImageError {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "SMB-C023",
            Self::Shrunk { .. } => "SMB-C024",
            Self::SnapshotMissing { .. } => "SMB-C032",
            Self::Features { .. } => "SMB-C025",
            Self::ForeignKernel { .. } => "SMB-C021",
            Self::NameTaken { .. } => "SMB-C022",
        }
    }
}
