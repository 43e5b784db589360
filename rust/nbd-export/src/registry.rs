//! The exports of this host: one file each, which the command `smblock export` writes.
//!
//! The server reads them for each connection that asks, so that an export is added and removed without it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hostos::{json_file, FileError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::offer::Refused;

/// An export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// The UUID of its VDI.
    pub vdi: Uuid,
    /// The name by which clients choose it.
    pub name: String,
    /// The block device of the VDI on this host.
    pub device: PathBuf,
    /// Whether clients can only read.
    #[serde(default)]
    pub read_only: bool,
    /// What the opener of the device needs besides.
    #[serde(default)]
    pub storage: serde_json::Value,
}

/// The directory of the files.
#[derive(Debug)]
pub struct Registry(PathBuf);

impl Registry {
    /// The registry in that directory. If there is no such directory, it has no exports.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// Returns all exports, sorted by name. A file that cannot be read is left out, with a line in the log.
    #[must_use]
    pub fn exports(&self) -> Vec<Export> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    log::warn!("{}", FileError::new("list", &self.0, error));
                }
                return found;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|end| end != "json") {
                continue; // a temporary file of a writer
            }
            match json_file::read::<Export>(&path) {
                Ok(Some(export)) => found.push(export),
                Ok(None) => {} // removed meanwhile
                Err(error) => log::warn!("an export is left out: {error}"),
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// Returns the export of that name.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub fn find(&self, name: &str) -> Result<Export, Refused> {
        let mut named: Vec<_> = self.exports();
        named.retain(|export| export.name == name);
        let refused = |is_unknown, text| Err(Refused { is_unknown, text });
        match (named.pop(), named.is_empty()) {
            (None, _) => refused(true, format!("this host has no export {name:?}")),
            (Some(export), true) => Ok(export),
            _ => refused(false, format!("several VDIs have the export name {name:?}")),
        }
    }

    /// Removes the export of a VDI. If there is none, this is a success.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(&self, vdi: Uuid) -> Result<(), FileError> {
        json_file::remove_with_leftovers(&self.0.join(format!("{vdi}.json")))
    }
}
