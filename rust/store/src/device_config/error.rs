//! What is wrong with a device-config, and what the administrator types instead.

use thiserror::Error;

use super::VALID_KEYS;

/// Why a device-config cannot be used. Every text says what to do about it, none contains the
/// value of a key that is unknown, of `keyring`, or of one that smells of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The command needs a pool, and none was named.
    #[error(
        "device-config:pool is missing: name the Ceph pool of this SR \
         (device-config:pool=NAME); sr-probe without a pool lists those that can hold one"
    )]
    PoolMissing,

    /// A key that means nothing to this driver.
    #[error("device-config:{} is unknown; the valid keys are: {}", shown(key), VALID_KEYS.join(", "))]
    UnknownKey {
        /// The key as it was given.
        key: String,
    },

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
        /// The spelling seen second, perhaps the same.
        second: &'static str,
    },

    /// A value that cannot be used.
    #[error("device-config:{key}{} is refused: {problem}", equals(value.as_deref()))]
    Invalid {
        /// The key as it was given.
        key: &'static str,
        /// The value; absent where it might be a secret put in the wrong place.
        value: Option<String>,
        /// What is wrong with it, and what is right.
        problem: Problem,
    },
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// `key=` with nothing behind it.
    #[error("it is empty; leave the key out to get the default")]
    Empty,
    /// Longer than the limit, in bytes.
    #[error("it has more than {limit} bytes")]
    TooLong {
        /// The longest that is accepted, in bytes.
        limit: usize,
    },
    /// A character that would be read as a separator, an option or worse further on.
    #[error("it contains {}; use only {allowed}", shown(&bad.to_string()))]
    BadCharacter {
        /// The first such character.
        bad: char,
        /// What may stand there instead.
        allowed: &'static str,
    },
    /// The characters are fine, the meaning is not.
    #[error("{0}")]
    Meaning(String),
}

impl ConfigError {
    /// The name of this error in SM's `XE_SR_ERRORCODES.xml`.
    #[must_use]
    pub const fn sm_error(&self) -> &'static str {
        match self {
            Self::PoolMissing => "ConfigParamsMissing",
            Self::Invalid {
                problem: Problem::BadCharacter { .. },
                ..
            } => "BadCharacter",
            Self::UnknownKey { .. }
            | Self::Secret { .. }
            | Self::Conflict { .. }
            | Self::Invalid { .. } => "InvalidArg",
        }
    }
}

pub(crate) fn equals(value: Option<&str>) -> String {
    value.map_or_else(String::new, |value| format!("={}", shown(value)))
}

/// Text of unknown origin made fit for a log line and for XML: one line, no control characters,
/// not too long, quoted.
pub(crate) fn shown(text: &str) -> String {
    const LIMIT: usize = 64;
    let mut cut: String = text.chars().take(LIMIT).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("'{}'", cut.escape_debug())
}
