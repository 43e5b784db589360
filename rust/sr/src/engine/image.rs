//! Images that others have made, and VDIs for programs outside XCP-ng.

use serde::Serialize;
use uuid::Uuid;

/// A disk to make of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImportRequest {
    /// The name of the image, as the SR type takes it.
    pub source: String,
    /// The least size in bytes; `None`: that of the image.
    pub size: Option<i128>,
    /// `name_label`
    pub name_label: String,
    /// `name_description`
    pub name_description: String,
}

/// Where a VDI is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Location {
    /// The VDI.
    pub uuid: Uuid,
    /// The cluster's fsid.
    pub fsid: String,
    /// The pool, or `POOL/NAMESPACE`.
    pub pool: String,
    /// The image's name.
    pub image: String,
    /// The name of the snapshot, if it is one.
    pub snapshot: Option<String>,
    /// Bytes.
    pub size: u64,
    /// The cephx user of the SR.
    pub user: String,
    /// The path of the configuration on this host, if the device-config has one.
    pub conf: Option<String>,
    /// The path of the user's keyring on this host, if the device-config has one.
    pub keyring: Option<String>,
    /// The monitors' addresses, `host:port`: those of version 1 of the messenger, or of version 2 if there are no
    /// others.
    pub monitors: Vec<String>,
}

impl Location {
    /// As one JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
