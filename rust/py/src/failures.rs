//! Which of SM's errors each failure of an SR becomes: one table, total over the enum.

use sr::device_config::Refused;
use sr_ceph::device_config::ConfigError;
use sr_ceph::Error;
use sr_crucible::config::ConfigError as CrucibleConfigError;
use sr_crucible::Error as CrucibleError;

use crate::error::{Failure, SM_GENERAL};

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure {
            key: sm_key(&error),
            errno: error.errno(),
            message: error.to_string(),
        }
    }
}

impl From<Refused> for Failure {
    fn from(error: Refused) -> Self {
        Failure {
            key: error.sm_error(),
            errno: None,
            message: error.to_string(),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure {
            key: error.sm_error(),
            errno: None,
            message: error.to_string(),
        }
    }
}

impl From<CrucibleConfigError> for Failure {
    fn from(error: CrucibleConfigError) -> Self {
        Failure {
            key: error.sm_error(),
            errno: None,
            message: error.to_string(),
        }
    }
}

impl From<CrucibleError> for Failure {
    fn from(error: CrucibleError) -> Self {
        Failure {
            key: sm_key_of_crucible(&error),
            errno: error.errno(),
            message: error.to_string(),
        }
    }
}

/// As [`sm_key`], for SRs of type crucible.
fn sm_key_of_crucible(error: &CrucibleError) -> &'static str {
    match error {
        CrucibleError::NotUndone { first, .. } => sm_key_of_crucible(first),
        CrucibleError::Registry { .. } | CrucibleError::Catalogue { .. } => "SRUnavailable",
        CrucibleError::Machine { source, .. } if source.is_busy() => "VDIInUse",
        CrucibleError::Machine { .. } | CrucibleError::TargetsDown { .. } => "VDIUnavailable",
        CrucibleError::VdiInUse { .. }
        | CrucibleError::NotReleased { .. }
        | CrucibleError::Outrun { .. }
        | CrucibleError::UsedHere { .. }
        | CrucibleError::UnknownHost { .. } => "VDIInUse",
        CrucibleError::DeclaredDead { .. } | CrucibleError::WrongKey { .. } => "VDIUnavailable",
        CrucibleError::VolumeMissing { .. } | CrucibleError::VdiUnknown { .. } => "VDIMissing",
        CrucibleError::Damaged { .. } | CrucibleError::Unreadable { .. } => "MetadataError",
        CrucibleError::SrInUse { .. } => "SRInUse",
        CrucibleError::SrNotEmpty { .. } => "SRNotEmpty",
        CrucibleError::NoProvisioner { .. } => "Unimplemented",
        CrucibleError::BadSize { .. } => "VDISize",
        CrucibleError::Declared { .. } => "VDIDelete",
    }
}

/// The name in SM's `XE_SR_ERRORCODES.xml`, before [`key_for`].
fn sm_key(error: &Error) -> &'static str {
    match error {
        Error::Cluster { source, .. } if source.is_full() => "SRNoSpace",
        // An image or a snapshot that somebody has removed; a pool or an SR has errors of its own.
        Error::Cluster { source, .. } if source.is_not_found() || source.is_about_image() => {
            "VDIUnavailable"
        }
        Error::Cluster { .. } | Error::Unexpected { .. } | Error::Unreachable { .. } => {
            "SRUnavailable"
        }
        Error::PoolMissing { .. } | Error::PoolNotForRbd { .. } | Error::SrMissing { .. } => {
            "SRUnavailable"
        }
        Error::PoolErasure { .. } | Error::PoolRenamed { .. } | Error::PoolDeleted { .. } => {
            "SRUnavailable"
        }
        Error::Host { .. } | Error::Features { .. } => "VDIUnavailable",
        Error::ForeignKernel { .. }
        | Error::VdiInUse { .. }
        | Error::VdiBusy { .. }
        | Error::NotReleased { .. }
        | Error::ClaimLost { .. } => "VDIInUse",
        Error::FenceFailed { .. } | Error::Blocklisted { .. } => "VDIUnavailable",
        Error::ByHand(_) => "VDIUnavailable",
        Error::ImageMissing { .. } | Error::ImageShrunk { .. } | Error::SnapshotMissing { .. } => {
            "VDIUnavailable"
        }
        Error::ChainTooLong { .. } | Error::TooManySnapshots { .. } => "SnapshotChainTooLong",
        Error::ReadOnly { .. } | Error::NotRevertible { .. } => "VDIUnavailable",
        Error::SrExists { .. } => "SRExists",
        Error::SrNotEmpty { .. } => "SRNotEmpty",
        Error::SrInUse { .. } | Error::SrDeleting { .. } | Error::WorkerRuns { .. } => "SRInUse",
        Error::VdiMissing { .. } => "VDIMissing",
        Error::VdiExists { .. } | Error::ForeignImage { .. } => "VDIExists",
        Error::BadSize { .. } | Error::Shrink { .. } => "VDISize",
        Error::NoRoom { source, .. } => source.sm_error(),
        Error::Usage(source) => source.sm_error(),
        Error::Damaged { .. } => "MetadataError",
    }
}

/// The error that reaches `xe` with its text, for an operation (`"VDI.resize"`).
///
/// xapi drops the text of four errors, and shows a code of its own instead: VDIInUse (VDI_IN_USE), SRInUse
/// (SR_DEVICE_IN_USE), SRNotEmpty (SR_NOT_EMPTY) and VDIMissing (VDI_MISSING). It shows every other one as
/// SR_BACKEND_FAILURE_n with the text. So one of the four is used only if a client acts on the code.
pub fn key_for(operation: &str, key: &'static str) -> &'static str {
    match (operation, key) {
        // Xen Orchestra tries a deletion again for a while if the code is VDI_IN_USE.
        ("VDI.delete", "VDIInUse") => key,
        (_, "VDIInUse") => "VDIUnavailable",
        (_, "SRInUse") => "SRUnavailable",
        (_, "SRNotEmpty") => SM_GENERAL,
        ("VDI.activate", "VDIMissing") => "VDIUnavailable",
        _ => key,
    }
}

#[cfg(test)]
mod tests {
    use super::key_for;

    #[test]
    fn every_error_keeps_its_text_unless_a_client_acts_on_the_code() {
        for (operation, key, shown) in [
            ("VDI.delete", "VDIInUse", "VDIInUse"),
            ("VDI.activate", "VDIInUse", "VDIUnavailable"),
            ("VDI.snapshot", "VDIInUse", "VDIUnavailable"),
            ("VDI.clone", "VDIInUse", "VDIUnavailable"),
            ("VDI.resize", "VDIInUse", "VDIUnavailable"),
            ("VDI.revert", "VDIInUse", "VDIUnavailable"),
            ("SR.detach", "SRInUse", "SRUnavailable"),
            ("SR.attach", "SRInUse", "SRUnavailable"),
            ("SR.delete", "SRInUse", "SRUnavailable"),
            ("SR.delete", "SRNotEmpty", "SMGeneral"),
            ("VDI.activate", "VDIMissing", "VDIUnavailable"),
            ("VDI.delete", "VDIMissing", "VDIMissing"),
            ("VDI.create", "SRNoSpace", "SRNoSpace"),
        ] {
            assert_eq!(key_for(operation, key), shown, "{operation}: {key}");
        }
    }
}
