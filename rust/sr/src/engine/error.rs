//! Why an operation of an engine was refused or failed.

use crate::device_config::Refused;
use crate::limits::BadLimit;

use super::capability::Capability;

/// Result of an operation of an engine.
pub type Result<T> = std::result::Result<T, Error>;

/// The error of an SR type. A front reads it from [`Error::Failed`] by its type.
pub trait EngineError: std::error::Error + Send + Sync + 'static {}

impl EngineError for Refused {}

impl EngineError for BadLimit {}

/// Why an operation was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The SR type does not have the operation.
    ///
    /// Fix: The text has the alternative, if there is one. `xe sm-list type=TYPE params=capabilities` lists
    /// what the SR type has.
    #[error("an SR of type {sr_type} cannot {}: it lacks the capability {}{}", .capability.does(), .capability.name(), .instead.map(|instead| format!("; {instead}")).unwrap_or_default())]
    Unsupported {
        /// The SR type's name.
        sr_type: &'static str,
        /// What it lacks.
        capability: Capability,
        /// What an administrator can do instead, if there is something.
        instead: Option<&'static str>,
    },
    /// The SR type's own error.
    #[error("{source}{}", .advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default())]
    Failed {
        /// The error.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// What an administrator can do about it, if the error does not have it.
        advice: Option<String>,
    },
}

impl Error {
    /// The id of this error in docs/user/errors.md; `None`: it is the id of the error that this one contains.
    pub const fn id(&self) -> Option<&'static str> {
        match self {
            Self::Unsupported { .. } => Some("SMB-P002"),
            Self::Failed { .. } => None,
        }
    }
}

impl<E: EngineError> From<E> for Error {
    fn from(error: E) -> Self {
        Error::Failed {
            source: Box::new(error),
            advice: None,
        }
    }
}
