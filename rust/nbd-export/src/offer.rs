//! What a server offers to its clients.

use crate::protocol::export;

/// An export, for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// In bytes.
    pub size: u64,
    /// The smallest block that the device can write, in bytes.
    pub block: u32,
    /// Whether a client can only read. Then several clients can.
    pub read_only: bool,
}

/// Why an export cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whether there is no such export.
    pub is_unknown: bool,
    /// The reason, for the client's user.
    pub text: String,
}

/// What a client can choose from.
pub trait Exports {
    /// An export that a client uses.
    type Session;

    /// Returns the names of all exports.
    fn names(&self) -> Vec<String>;

    /// Describes an export.
    ///
    /// # Errors
    /// [`Refused`].
    fn describe(&self, name: &str) -> Result<Description, Refused>;

    /// Gives an export to this client.
    ///
    /// # Errors
    /// [`Refused`], also if another client has it.
    fn open(&self, name: &str) -> Result<(Description, Self::Session), Refused>;
}

impl Description {
    /// Returns what the export supports, as bits of [`export`].
    #[must_use]
    pub fn flags(self, structured: bool) -> u16 {
        let both = export::HAS_FLAGS | export::SEND_FLUSH;
        let chunks = if structured { export::SEND_DF } else { 0 };
        // Several connections of one writer look like several writers.
        let rights = if self.read_only {
            export::READ_ONLY | export::CAN_MULTI_CONN
        } else {
            export::SEND_FUA
                | export::SEND_TRIM
                | export::SEND_WRITE_ZEROES
                | export::SEND_FAST_ZERO
        };
        both | chunks | rights
    }
}
