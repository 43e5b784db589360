//! The files with the monitors and the key of a connection, and their faults.

use std::fmt;
use std::path::PathBuf;

use crate::files::{Fault, Verdict};
use crate::options::Secret;

/// The role of a configuration file.
pub const CONF: &str = "Ceph configuration";
/// The role of a keyring.
pub const KEYRING: &str = "keyring";

/// A Ceph file on this host, and its faults.
#[derive(Debug, Clone)]
pub struct CephFile {
    /// The file.
    pub path: PathBuf,
    /// Why librados cannot use it, or what it lacks.
    pub refusal: Option<Fault>,
    /// The lines that librados ignores.
    pub warnings: Vec<Fault>,
    pub(crate) role: &'static str,
    pub(crate) is_certain: bool,
    pub(crate) aborts: bool,
}

/// The files, the monitors and the key of a connection.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The configuration file. `None`: none is read.
    pub conf: Option<CephFile>,
    /// The file with the user's key. `None`: there is none, or the configuration has the key.
    pub keyring: Option<CephFile>,
    /// The keyrings that do not exist or cannot be opened, in the order of librados.
    pub tried: Vec<PathBuf>,
    /// The monitors' addresses or names, in the form of `mon_host`.
    pub monitors: Option<String>,
    /// The caller named the monitors, not the configuration.
    pub monitors_were_given: bool,
    /// The type of the user's key: 1 is AES-128; 2 is AES-256 (`aes256k`), of Ceph 20.2.4 and later.
    pub key_type: Option<u16>,
    /// A user with a key of a type that older versions of librados do not support, and that type.
    pub newer_key: Option<(String, u16)>,
    pub(crate) key: Option<Secret>,
    pub(crate) has_other_monitors: bool,
}

impl CephFile {
    pub(crate) fn new(role: &'static str, path: PathBuf, verdict: Verdict) -> Self {
        Self {
            role,
            path,
            is_certain: verdict.refusal.is_some(),
            aborts: verdict.aborts,
            refusal: verdict.refusal.or(verdict.missing),
            warnings: verdict.warnings,
        }
    }
}

impl Sources {
    /// Returns whether the user's key was found.
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Returns the files that were searched for the user's key.
    pub fn key_places(&self) -> String {
        let tried = self.tried.iter();
        let read = self.keyring.as_ref().map(|file| &file.path);
        let places: Vec<_> = tried
            .chain(read)
            .map(|path| path.display().to_string())
            .collect();
        places.join(", ")
    }
}

/// The files, for the log.
impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |file: &Option<CephFile>| match file {
            Some(file) => file.path.display().to_string(),
            None => "none".to_owned(),
        };
        let monitors = self.monitors.as_deref().unwrap_or("none");
        let (conf, key) = (path(&self.conf), path(&self.keyring));
        write!(f, "configuration {conf}, monitors {monitors}, key in {key}")
    }
}
