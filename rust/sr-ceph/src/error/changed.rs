//! The catalogue, or the pool, changed while an operation worked on it.

use uuid::Uuid;

use crate::pool::spec::as_option;

/// Why an operation stopped: another process changed what it works on. Nothing of the other process is
/// overwritten.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Changed {
    /// The operation took longer than its lease, and another process recovered it.
    #[error("{doing}: another process recovered this operation, because it took longer than its lease of {lease} s. Check the VDI with 'xe vdi-list', then repeat the command")]
    LeaseLost {
        /// What this driver did.
        doing: String,
        /// The lease, in seconds.
        lease: u64,
    },
    /// The catalogue was changed by another program than smblock, or by a newer smblock.
    #[error("{doing}: the catalogue does not hold the expected values, so the operation was not finished. The next command on this VDI rolls it back. Scan the SR with 'xe sr-scan', then repeat the command")]
    Catalogue {
        /// What this driver did.
        doing: String,
    },
    /// A reclaim worker did not renew its lease in time.
    #[error("another process frees the space of SR {sr} now, because this process did not renew its lease in time. 'smblock reclaim --list' shows what is left")]
    Worker {
        /// The SR.
        sr: Uuid,
    },
    /// An image in the trash is needed again.
    #[error("image {image} was not purged, because the catalogue no longer lists it for removal. It stays in the trash (id {id}); 'smblock reclaim --list' shows how to restore or remove it")]
    Trashed {
        /// The image's name.
        image: String,
        /// The image's id.
        id: String,
    },
    /// A hidden image is the image of a VDI.
    #[error("hidden image {image} was not emptied, because a VDI uses it. The key {key} of the catalogue is wrong. To remove it, run 'rados -p {pool} rmomapkey {catalogue} {key}'", pool = as_option(.pool))]
    Hidden {
        /// The image's name.
        image: String,
        /// The key of the catalogue.
        key: String,
        /// The pool.
        pool: String,
        /// The catalogue's object.
        catalogue: String,
    },
    /// A damaged record of the catalogue may name the image.
    #[error("hidden image {image} was not emptied: {reason}")]
    Unreadable {
        /// The image's name.
        image: String,
        /// Which record, and how to fix it.
        reason: String,
    },
}

impl Changed {
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::LeaseLost { .. } => "SMB-C120",
            Self::Catalogue { .. } => "SMB-C121",
            Self::Worker { .. } => "SMB-C122",
            Self::Trashed { .. } => "SMB-C123",
            Self::Hidden { .. } => "SMB-C124",
            Self::Unreadable { .. } => "SMB-C125",
        }
    }
}
