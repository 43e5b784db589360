//! The ids of errors, and properties of errors.

use super::Error;
use crate::usage::NoRoom;

impl Error {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Ceph { .. } => "SMB-C001",
            Self::Host { source, .. } => match source.id {
                Some(id) => id,
                None => "SMB-C002",
            },
            Self::Unreachable { source, .. } => source.id(),
            Self::PoolMissing { .. } => "SMB-C003",
            Self::PoolGone(reason) => reason.id(),
            Self::PoolNotForRbd { .. } => "SMB-C006",
            Self::SrMissing { .. } => "SMB-C007",
            Self::SrExists { .. } => "SMB-C008",
            Self::SrNotEmpty { .. } => "SMB-C009",
            Self::SrInUse { .. } => "SMB-C010",
            Self::WorkerRuns { .. } => "SMB-C011",
            Self::SrDeleting { .. } => "SMB-C012",
            Self::VdiMissing { .. } => "SMB-C013",
            Self::VdiExists { .. } => "SMB-C014",
            Self::VdiInUse { .. } => "SMB-C015",
            Self::NotReleased { .. } => "SMB-C016",
            Self::ClaimLost { .. } => "SMB-C017",
            Self::FenceFailed { .. } => "SMB-C018",
            Self::Blocklisted { .. } => "SMB-C019",
            Self::VdiBusy { .. } => "SMB-C020",
            Self::Image(reason) => reason.id(),
            Self::ByHand(reason) => reason.id(),
            Self::BadSize { .. } => "SMB-C026",
            Self::Shrink { .. } => "SMB-C027",
            Self::ReadOnly { .. } => "SMB-C028",
            Self::NotRevertible { .. } => "SMB-C029",
            Self::ChainTooLong { .. } => "SMB-C030",
            Self::TooManySnapshots { .. } => "SMB-C031",
            Self::NoRoom { .. } => NoRoom::ID,
            Self::Usage(source) => source.id(),
            Self::Damaged { .. } => "SMB-C033",
            Self::Changed(reason) => reason.id(),
            Self::DataPool(reason) => reason.id(),
            Self::Namespace(reason) => reason.id(),
            Self::KernelTooOld(reason) => reason.id(),
            Self::Ha(reason) => reason.id(),
            Self::Template(reason) => reason.id(),
            Self::NotTogether(reason) => reason.id(),
            Self::Cbt(reason) => reason.id(),
            Self::Growth(reason) => reason.id(),
            Self::Encoding { .. } => "SMB-C034",
            Self::NotUndone { .. } => "SMB-C035",
            Self::PoolErasure { .. } => "SMB-C036",
        }
    }
}

impl Error {
    /// The errno of the cause, positive, if there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Ceph { source, .. } if source.errno != 0 => Some(source.errno),
            Error::Host { source, .. } => source.errno,
            Error::Unreachable { source, .. } => source.errno(),
            Error::NotUndone { first, .. } => first.errno(),
            _ => None,
        }
    }

    /// Whether the cluster has no such image, snapshot or object.
    pub(crate) fn is_missing_in_cluster(&self) -> bool {
        matches!(self.cause(), Error::Ceph { source, .. } if source.is_not_found())
    }

    /// Whether the outcome is unknown: what failed may have been done, or may still be done.
    pub(crate) fn is_outcome_unknown(&self) -> bool {
        match self {
            Error::Ceph { source, .. } => source.is_outcome_unknown(),
            Error::Host { source, .. } => source.is_outcome_unknown(),
            Error::NotUndone { first, .. } => first.is_outcome_unknown(),
            _ => false,
        }
    }
}
