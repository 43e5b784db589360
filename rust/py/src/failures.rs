//! The table of SM's errors: a match over each error enum, without a wildcard. Only this file has SM's
//! names.

use sr::device_config::{Problem, Refused};
use sr::engine::Error as EngineError;
use sr::limits::BadLimit;
use sr_ceph::device_config::ConfigError;
use sr_ceph::{CbtRefusal, Error, HaRefusal, ImageError};
use sr_crucible::config::ConfigError as CrucibleConfigError;
use sr_crucible::Error as CrucibleError;

use crate::error::{Failure, SM_GENERAL};
use crate::unknown_type::UnknownType;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure {
            id: Some(error.id()),
            key: of_ceph(&error),
            errno: error.errno(),
            message: error.to_string(),
        }
    }
}

impl From<CrucibleError> for Failure {
    fn from(error: CrucibleError) -> Self {
        Failure {
            id: Some(error.id()),
            key: of_crucible(&error),
            errno: error.errno(),
            message: error.to_string(),
        }
    }
}

impl From<UnknownType> for Failure {
    fn from(error: UnknownType) -> Self {
        Failure {
            id: Some(UnknownType::ID),
            key: "Unimplemented",
            errno: None,
            message: error.to_string(),
        }
    }
}

/// Not from a command of SM: the program that serves exports prints the text.
impl From<nbd_export::Error> for Failure {
    fn from(error: nbd_export::Error) -> Self {
        Failure {
            id: Some(error.id()),
            key: SM_GENERAL,
            errno: error.errno(),
            message: error.to_string(),
        }
    }
}

impl From<BadLimit> for Failure {
    fn from(error: BadLimit) -> Self {
        Failure {
            id: Some(BadLimit::ID),
            key: of_refused(&error.problem),
            errno: None,
            message: error.to_string(),
        }
    }
}

impl From<Refused> for Failure {
    fn from(error: Refused) -> Self {
        Failure {
            id: Some(error.id()),
            key: of_refused(&error.problem),
            errno: None,
            message: error.to_string(),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure {
            id: Some(error.id()),
            key: of_ceph_config(&error),
            errno: None,
            message: error.to_string(),
        }
    }
}

impl From<CrucibleConfigError> for Failure {
    fn from(error: CrucibleConfigError) -> Self {
        Failure {
            id: Some(error.id()),
            key: of_crucible_config(&error),
            errno: None,
            message: error.to_string(),
        }
    }
}

/// An error of an SR type itself is in the table of that type.
pub fn of_engine(error: &EngineError) -> &'static str {
    match error {
        EngineError::Unsupported { .. } => "Unimplemented",
        EngineError::Failed { .. } => SM_GENERAL,
    }
}

fn of_refused(problem: &Problem) -> &'static str {
    match problem {
        Problem::BadCharacter { .. } => "BadCharacter",
        Problem::Empty | Problem::TooLong { .. } | Problem::Meaning(_) => "InvalidArg",
    }
}

fn of_ceph_config(error: &ConfigError) -> &'static str {
    match error {
        ConfigError::PoolMissing => "ConfigParamsMissing",
        ConfigError::UnknownKey { .. }
        | ConfigError::Secret { .. }
        | ConfigError::Conflict { .. }
        | ConfigError::ImageFormats => "InvalidArg",
        ConfigError::Refused(refused) => of_refused(&refused.problem),
    }
}

fn of_crucible_config(error: &CrucibleConfigError) -> &'static str {
    match error {
        CrucibleConfigError::NoVolumes => "ConfigParamsMissing",
        CrucibleConfigError::UnknownKey { .. } | CrucibleConfigError::Secret { .. } => "InvalidArg",
        CrucibleConfigError::Refused(refused) => of_refused(&refused.problem),
    }
}

fn of_crucible(error: &CrucibleError) -> &'static str {
    match error {
        CrucibleError::NotUndone { first, .. } => of_crucible(first),
        CrucibleError::Xapi { .. } | CrucibleError::Inventory { .. } => "SRUnavailable",
        CrucibleError::Host { source, .. } if source.is_busy() => "VDIInUse",
        CrucibleError::Host { .. } | CrucibleError::TargetsDown { .. } => "VDIUnavailable",
        CrucibleError::VdiInUse { .. }
        | CrucibleError::NotReleased { .. }
        | CrucibleError::LostClaimRace { .. }
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

fn of_ceph(error: &Error) -> &'static str {
    match error {
        Error::NotUndone { first, .. } => of_ceph(first),
        Error::Ceph { source, .. } if source.is_out_of_space() => "SRNoSpace",
        // A removed image or snapshot. A missing pool or SR has an error of its own.
        Error::Ceph { source, .. } if source.is_not_found() || source.is_about_image() => {
            "VDIUnavailable"
        }
        Error::Ceph { .. }
        | Error::Changed(_)
        | Error::Encoding { .. }
        | Error::Unreachable { .. } => "SRUnavailable",
        Error::PoolMissing { .. } | Error::PoolNotForRbd { .. } | Error::SrMissing { .. } => {
            "SRUnavailable"
        }
        Error::PoolErasure { .. } | Error::PoolGone(_) | Error::DataPool(_) => "SRUnavailable",
        Error::Namespace(_) | Error::KernelTooOld(_) => "SRUnavailable",
        Error::Host { .. } => "VDIUnavailable",
        Error::VdiInUse { .. }
        | Error::VdiBusy { .. }
        | Error::NotReleased { .. }
        | Error::ClaimLost { .. } => "VDIInUse",
        Error::FenceFailed { .. } | Error::Blocklisted { .. } => "VDIUnavailable",
        Error::Image(reason) => of_image(reason),
        Error::ByHand(_) => "VDIUnavailable",
        Error::ChainTooLong { .. } | Error::TooManySnapshots { .. } => "SnapshotChainTooLong",
        Error::ReadOnly { .. } | Error::NotRevertible { .. } => "VDIUnavailable",
        Error::Ha(HaRefusal::Attached { .. }) => "VDIInUse",
        Error::Ha(_) | Error::Growth(_) | Error::Template(_) => "VDIUnavailable",
        Error::NotTogether(_) => "VDISnapshot",
        Error::Cbt(reason) => of_cbt(reason),
        Error::SrExists { .. } => "SRExists",
        Error::SrNotEmpty { .. } => "SRNotEmpty",
        Error::SrInUse { .. } | Error::SrDeleting { .. } | Error::WorkerRuns { .. } => "SRInUse",
        Error::VdiMissing { .. } => "VDIMissing",
        Error::VdiExists { .. } => "VDIExists",
        Error::BadSize { .. } | Error::Shrink { .. } => "VDISize",
        Error::NoRoom { .. } => "SRNoSpace",
        Error::Usage(_) => "SRUnavailable",
        Error::Damaged { .. } => "MetadataError",
    }
}

fn of_image(reason: &ImageError) -> &'static str {
    match reason {
        ImageError::Missing { .. }
        | ImageError::Shrunk { .. }
        | ImageError::SnapshotMissing { .. }
        | ImageError::Features { .. } => "VDIUnavailable",
        ImageError::ForeignKernel { .. } => "VDIInUse",
        ImageError::NameTaken { .. } => "VDIExists",
    }
}

fn of_cbt(reason: &CbtRefusal) -> &'static str {
    match reason {
        CbtRefusal::DataDestroyed { .. } => "VDIUnavailable",
        CbtRefusal::NotTracked { .. } | CbtRefusal::NotADisk { .. } => "VDIType",
        CbtRefusal::Same { .. }
        | CbtRefusal::Untracked { .. }
        | CbtRefusal::InUse { .. }
        | CbtRefusal::Unrelated { .. }
        | CbtRefusal::PointGone { .. }
        | CbtRefusal::Changed { .. }
        | CbtRefusal::TooLarge { .. } => "CBTChangedBlocksError",
    }
}

/// Returns the error that reaches `xe` with its text, for an operation (`"VDI.resize"`).
///
/// xapi drops the text of four errors, and shows another code instead: VDIInUse (VDI_IN_USE), SRInUse
/// (SR_DEVICE_IN_USE), SRNotEmpty (SR_NOT_EMPTY) and VDIMissing (VDI_MISSING). It shows every other one as
/// SR_BACKEND_FAILURE_n with the text. So one of the four is used only if a client acts on the code.
pub fn key_for(operation: &str, key: &'static str) -> &'static str {
    match (operation, key) {
        // Xen Orchestra tries a deletion again for a while if the code is VDI_IN_USE.
        ("VDI.delete", "VDIInUse") => key,
        (_, "VDIInUse") => "VDIUnavailable",
        (_, "SRInUse") => "SRUnavailable",
        (_, "SRNotEmpty") => SM_GENERAL,
        // xapi drops the text of this one, too.
        ("VDI.create", "Unimplemented") => SM_GENERAL,
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
            ("VDI.create", "Unimplemented", "SMGeneral"),
            ("VDI.clone", "Unimplemented", "Unimplemented"),
        ] {
            assert_eq!(key_for(operation, key), shown, "{operation}: {key}");
        }
    }
}
