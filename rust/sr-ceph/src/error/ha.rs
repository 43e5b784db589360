//! Disks of high availability, which every host writes to at once.

use uuid::Uuid;

/// Why a disk is refused that high availability uses, or one that it does not use.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HaRefusal {
    /// Only the two disks of high availability are attached without xapi.
    #[error("VDI {vdi} has the type '{ty}': only disks of the types ha_statefile and redo_log are attached without xapi, by every host at once. Plug another disk with 'xe vbd-plug'")]
    OtherType {
        /// The VDI.
        vdi: Uuid,
        /// Its type in XAPI.
        ty: String,
    },
    /// An image with the exclusive lock cannot have several writers: each would put the others on the blocklist.
    #[error("VDI {vdi} (type {ty}) cannot be attached on every host: image {image} has the features {features}, and may have 'layering' only. Destroy the VDI with 'xe vdi-destroy uuid={vdi}', then run 'xe pool-ha-enable', which makes a new one")]
    Features {
        /// The VDI.
        vdi: Uuid,
        /// Its type in XAPI.
        ty: String,
        /// The image's name.
        image: String,
        /// The image's features.
        features: String,
    },
    /// A disk that every host writes to has no single content at any instant.
    #[error("VDI {vdi} belongs to high availability (type {ty}): every host writes to it at once, so it cannot be {refused}. 'static-vdis' attaches it on a host")]
    Refused {
        /// The VDI.
        vdi: Uuid,
        /// Its type in XAPI.
        ty: String,
        /// What was requested.
        refused: &'static str,
    },
    /// A host has it open.
    #[error("VDI {vdi} belongs to high availability (type {ty}) and is attached, by the client {address}; nothing was deleted. Run 'xe pool-ha-disable' first. The client of a host that has died is gone after 30 s")]
    Attached {
        /// The VDI.
        vdi: Uuid,
        /// Its type in XAPI.
        ty: String,
        /// The address of the kernel's client that has it open.
        address: String,
    },
}

impl HaRefusal {
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::OtherType { .. } => "SMB-C140",
            Self::Features { .. } => "SMB-C141",
            Self::Refused { .. } => "SMB-C142",
            Self::Attached { .. } => "SMB-C143",
        }
    }
}
