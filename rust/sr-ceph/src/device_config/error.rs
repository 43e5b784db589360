//! What is wrong with a device-config, and how to correct it.

use sr::device_config::{shown, Refused};
use thiserror::Error;

use super::{IMAGE_FORMATS, VALID_KEYS};

/// Why a device-config cannot be used. Each text has the fix. No text has the value of an unknown key, of
/// `keyring`, or a value that looks like a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The command needs a pool, and none was named.
    #[error(
        "device-config:pool is missing: name the Ceph pool of this SR \
         (device-config:pool=NAME); sr-probe without a pool lists those that can hold one"
    )]
    PoolMissing,

    /// A key that this driver does not have.
    #[error("device-config:{} is unknown; the valid keys are: {}", shown(key), VALID_KEYS.join(", "))]
    UnknownKey {
        /// The key as it was given.
        key: String,
    },

    /// The key with which drivers of XCP-ng choose between VHD and QCOW2.
    #[error(
        "device-config:{IMAGE_FORMATS} does not apply: the disks of this SR are RBD images, without a \
         format and without its limit of 2040 GiB; leave the key out"
    )]
    ImageFormats,

    /// A secret was given, which SM would write to its log on every command.
    #[error(
        "device-config:{} is refused: SM logs the device-config, so a secret must not be in it; \
         put the key into a keyring file on each host \
         (/etc/ceph/ceph.client.USER.keyring, or device-config:keyring=PATH)",
        shown(key)
    )]
    Secret {
        /// The key as it was given.
        key: String,
    },

    /// Two spellings of one setting, or one given twice, with different values.
    #[error("device-config:{first} and device-config:{second} differ: give only one of them")]
    Conflict {
        /// The spelling seen first.
        first: &'static str,
        /// The spelling seen second. It may be the same.
        second: &'static str,
    },

    /// A value that cannot be used.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl ConfigError {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::PoolMissing => "SMB-D001",
            Self::UnknownKey { .. } => "SMB-D002",
            Self::Secret { .. } => "SMB-D003",
            Self::Conflict { .. } => "SMB-D004",
            Self::ImageFormats => "SMB-D005",
            Self::Refused(refused) => refused.id(),
        }
    }
}
