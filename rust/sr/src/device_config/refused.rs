//! A value of a device-config that cannot be used, and how to correct it.

use thiserror::Error;

/// A value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("device-config:{key}{} is refused: {problem}", equals(value.as_deref()))]
pub struct Refused {
    /// The key as it was given.
    pub key: String,
    /// The value; absent if it may be a secret in the wrong place.
    pub value: Option<String>,
    /// What is wrong with it, and what is right.
    pub problem: Problem,
}

impl Refused {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    #[must_use]
    pub const fn id(&self) -> &'static str {
        self.problem.id()
    }
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// `key=` without a value.
    #[error("it is empty; leave the key out to get the default")]
    Empty,
    /// Longer than the limit, in bytes.
    #[error("it has more than {limit} bytes")]
    TooLong {
        /// The longest that is accepted, in bytes.
        limit: usize,
    },
    /// A character that another program would read as a separator or an option.
    #[error("it contains {}; use only {allowed}", shown(&bad.to_string()))]
    BadCharacter {
        /// The first such character.
        bad: char,
        /// The allowed characters.
        allowed: &'static str,
    },
    /// The characters are valid, but the value is not.
    #[error("{0}")]
    Meaning(String),
}

impl Problem {
    /// The id of this error in docs/user/errors.md. An id is never used again.
    const fn id(&self) -> &'static str {
        match self {
            Self::Empty => "SMB-D010",
            Self::TooLong { .. } => "SMB-D011",
            Self::BadCharacter { .. } => "SMB-D012",
            Self::Meaning(_) => "SMB-D013",
        }
    }
}

/// `='value'`, or nothing.
pub fn equals(value: Option<&str>) -> String {
    value.map_or_else(String::new, |value| format!("={}", shown(value)))
}

/// Quotes text of unknown origin for a log line or for XML: one line, no control characters, limited length.
pub fn shown(text: &str) -> String {
    const LIMIT: usize = 64;
    let mut cut: String = text.chars().take(LIMIT).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("'{}'", cut.escape_debug())
}
