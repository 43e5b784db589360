//! Why a disk in use cannot grow.

use uuid::Uuid;

/// Why a disk in use cannot grow.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GrowthRefusal {
    /// A tapdisk that finds another size when it resumes its disk stays paused, and the VM with it.
    #[error("VDI {vdi} cannot grow while host {host} uses it through tapdisk: tapdisk cannot change the size of an open disk (EMEDIUMTYPE), and would stop the VM at the next snapshot. Nothing was changed. Shut the VM down, then run 'xe vdi-resize'")]
    Tapdisk {
        /// The VDI.
        vdi: Uuid,
        /// The host's UUID.
        host: String,
    },
    /// The host does not report the disk's datapath.
    #[error("VDI {vdi} cannot grow in use: host {host} does not report how its VM reaches it. Nothing was changed. If the VM is being started, try again; else install the same version of smblock on all hosts")]
    UnknownDatapath {
        /// The VDI.
        vdi: Uuid,
        /// The host's UUID.
        host: String,
    },
    /// Its reset point has the smaller size.
    #[error("VDI {vdi} forgets its changes when its VM starts (on-boot=reset), so it cannot grow in use. Nothing was changed. Shut the VM down, then run 'xe vdi-resize'")]
    Resets {
        /// The VDI.
        vdi: Uuid,
    },
}

impl GrowthRefusal {
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::Tapdisk { .. } => "SMB-C150",
            Self::UnknownDatapath { .. } => "SMB-C151",
            Self::Resets { .. } => "SMB-C152",
        }
    }
}
