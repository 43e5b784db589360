//! How a record is written as a value of the catalogue, and read.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
pub use sr::xapi::Unknown;
use uuid::Uuid;

/// The version of the records that this code writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// The field of each record with the version of the smblock that wrote it. Only shown.
const WRITER: &str = "smblock";

/// This smblock.
const SMBLOCK: &str = env!("CARGO_PKG_VERSION");

/// A catalogue value that this code cannot read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unreadable {
    /// Not the JSON of a record.
    #[error("it is not a valid record: {0}")]
    Malformed(String),
    /// Written by a newer smblock.
    #[error("{0}")]
    Newer(Newer),
}

impl Unreadable {
    /// What the catalogue is, for a text.
    pub fn state(&self) -> &'static str {
        match self {
            Unreadable::Malformed(_) => "is damaged",
            Unreadable::Newer(_) => "has a record of a newer version",
        }
    }
}

/// A record of a version that this code does not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newer {
    /// The version of its format.
    version: u32,
    /// The smblock that wrote it, if the record names it.
    writer: Option<String>,
}

impl fmt::Display for Newer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what(), self.fix())
    }
}

impl Newer {
    /// Both versions.
    pub fn what(&self) -> String {
        let version = self.version;
        let writer = self.writer.as_ref();
        let writer = writer.map_or_else(String::new, |it| format!(", written by smblock {it}"));
        format!("its version is {version}{writer}, and smblock {SMBLOCK} of this host reads up to {VERSION}")
    }

    /// What to do on this host.
    pub fn fix(&self) -> String {
        match &self.writer {
            Some(writer) => format!(
                "install that version on this host: yum install ./smblock-{writer}-1.x86_64.rpm"
            ),
            None => {
                "install on this host the version that 'smblock --version' prints on the host that wrote it"
                    .to_owned()
            }
        }
    }
}

/// What every version's records have.
#[derive(Deserialize)]
struct Header {
    version: u32,
    #[serde(default)]
    smblock: Value,
}

impl Header {
    fn newer(&self) -> Option<Newer> {
        let writer = self.smblock.as_str().filter(|text| is_version(text));
        (self.version > VERSION).then(|| Newer {
            version: self.version,
            writer: writer.map(str::to_owned),
        })
    }
}

/// Whether a catalogue value is of a newer version, and of which.
pub fn newer(bytes: &[u8]) -> Option<Newer> {
    let header: Header = serde_json::from_slice(bytes).ok()?;
    header.newer()
}

/// A record that is stored as JSON with a version and a nonce.
pub trait Record: Serialize + for<'de> Deserialize<'de> {
    /// The version it was written with.
    fn version(&self) -> u32;
    /// The nonce it was written with.
    fn nonce(&self) -> Uuid;
    /// Gives it a new nonce. No two writes are alike, so reading again after a lost reply shows whether the
    /// write was applied.
    fn renew(&mut self);

    /// Reads a catalogue value.
    fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        let malformed = |e: serde_json::Error| Unreadable::Malformed(e.to_string());
        let read = serde_json::from_slice::<Self>(bytes);
        if read
            .as_ref()
            .is_ok_and(|record| record.version() <= VERSION)
        {
            return read.map_err(malformed);
        }
        // Not before: a scan reads thousands of records, of which hardly any is of a newer version.
        let header: Header = serde_json::from_slice(bytes).map_err(malformed)?;
        if let Some(newer) = header.newer() {
            return Err(Unreadable::Newer(newer));
        }
        read.map_err(malformed)
    }

    /// Returns the catalogue value, with a new nonce.
    fn seal(&mut self) -> Vec<u8> {
        self.renew();
        // serde_json cannot fail on plain structs with string keys. The cluster would refuse an empty value.
        let Ok(Value::Object(mut fields)) = serde_json::to_value(&self) else {
            return Vec::new();
        };
        fields.insert(WRITER.to_owned(), SMBLOCK.into());
        serde_json::to_vec(&fields).unwrap_or_default()
    }
}

/// Whether a text can be a version in a command.
fn is_version(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '~' | '+');
    (1..=32).contains(&text.len()) && text.chars().all(allowed)
}
