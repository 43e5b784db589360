//! Which of SM's errors each failure of the store becomes: one table, total over the enum.

use store::caps::Caps;
use store::crucible::config::ConfigError as CrucibleConfigError;
use store::crucible::Error as CrucibleError;
use store::device_config::{ConfigError, DeviceConfig};
use store::Error;

use crate::error::Failure;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure {
            key: sm_key(&error),
            errno: error.errno(),
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
        | CrucibleError::UnknownHost { .. } => "VDIInUse",
        CrucibleError::DeclaredDead { .. } | CrucibleError::WrongKey { .. } => "VDIUnavailable",
        CrucibleError::VolumeMissing { .. } | CrucibleError::VdiUnknown { .. } => "VDIMissing",
        CrucibleError::Damaged { .. } | CrucibleError::Unreadable { .. } => "MetadataError",
        CrucibleError::SrInUse { .. } => "SRInUse",
        CrucibleError::SrNotEmpty { .. } => NOT_EMPTY,
        CrucibleError::NoProvisioner { .. } => "Unimplemented",
        CrucibleError::Declared { .. } => "VDIDelete",
    }
}

/// xapi drops the text of SRNotEmpty, which says what the SR still holds and how to free it.
const NOT_EMPTY: &str = "SMGeneral";

/// The name in SM's `XE_SR_ERRORCODES.xml`. xapi gives some of them names of its own (VDI_IN_USE,
/// SR_NOT_EMPTY, …) and shows the others as SR_BACKEND_FAILURE_n with the text.
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
        Error::PoolRenamed { .. } | Error::PoolDeleted { .. } => "SRUnavailable",
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
        Error::SrNotEmpty { .. } => NOT_EMPTY,
        Error::SrInUse { .. } | Error::SrDeleting { .. } | Error::WorkerRuns { .. } => "SRInUse",
        Error::VdiMissing { .. } => "VDIMissing",
        Error::VdiExists { .. } | Error::ForeignImage { .. } => "VDIExists",
        Error::BadSize { .. } | Error::Shrink { .. } => "VDISize",
        Error::NoRoom { source, .. } => source.sm_error(),
        Error::Usage(source) => source.sm_error(),
        Error::Damaged { .. } => "MetadataError",
    }
}

/// A failure with what an administrator can do about the caps of the user, if they may be the cause.
pub fn with_advice(error: Error, config: &DeviceConfig) -> Failure {
    let advice = Caps::new(config, &[]).advise(&error);
    let mut failure = Failure::from(error);
    if let Some(advice) = advice {
        failure.message = format!("{}; {advice}", failure.message);
    }
    failure
}

/// A failure of this host's kernel outside the store's own operations.
pub fn of_host(doing: &str, source: store::host::HostError) -> Failure {
    Failure::from(Error::Host {
        doing: doing.to_owned(),
        source,
    })
}
