//! What taking over the disks of another driver does, or has done. Fronts print it, as text or as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::doctor::VdiFacts;
use crate::xapi::XapiVdi;

/// What XAPI has about an SR whose disks are taken over, beside [`AdoptionRequest::known`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptionFacts {
    /// The SR's name.
    pub name_label: String,
    /// Its description.
    pub name_description: String,
    /// The key `prefix` of the older driver's device-config, or an empty text.
    pub prefix: String,
    /// The names of the hosts on which the SR is plugged.
    pub plugged: Vec<String>,
    /// The names of the hosts with a PBD of the SR on which smblock does not reply.
    pub without_smblock: Vec<String>,
    /// The VDIs of the SR, with all of their `sm_config`.
    pub vdis: Vec<VdiFacts>,
    /// The VDIs of other SRs of the type, with the UUID of the SR.
    pub elsewhere: BTreeMap<Uuid, Uuid>,
}

/// What is to be taken over, or given back.
#[derive(Debug, Clone, Default)]
pub struct AdoptionRequest {
    /// What XAPI has.
    pub facts: AdoptionFacts,
    /// XAPI's VDIs of the SR.
    pub known: Vec<XapiVdi>,
    /// Whether to give the images back to the older driver.
    pub undo: bool,
    /// Whether to do it. If not, nothing is changed.
    pub act: bool,
}

/// What is done, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Adoption {
    /// The SR.
    pub sr: Uuid,
    /// Its pool.
    pub pool: String,
    /// Whether the images are given back.
    pub undo: bool,
    /// Whether everything is done. If not, nothing, or a part that the next run continues.
    pub done: bool,
    /// The disks.
    pub disks: Vec<AdoptedDisk>,
    /// Why it cannot be done now. Not empty: nothing was changed, except what the text states.
    pub refused: Vec<Remark>,
    /// Images that are left alone, and why.
    pub left: Vec<Remark>,
    /// What an administrator should look at.
    pub notes: Vec<Remark>,
    /// Keys of the older driver in the `sm_config` of VDIs, which SM would misread.
    pub stale_keys: Vec<StaleKey>,
}

/// A disk that is taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdoptedDisk {
    /// The VDI.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The image's name before.
    pub from: String,
    /// The image's name after.
    pub to: String,
    /// How many parents the image has, one behind the other.
    pub parents: u32,
    /// Its snapshots that are VDIs.
    pub snapshots: Vec<AdoptedSnapshot>,
}

/// A snapshot that is taken over with its disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdoptedSnapshot {
    /// The VDI.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The snapshot's name in the image. It stays.
    pub snapshot: String,
}

/// A sentence about an object, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// The image, the VDI or the SR.
    pub object: String,
    /// What was found.
    pub why: String,
    /// What to do: a command, or a sentence. Empty: nothing.
    pub fix: String,
}

/// A key of a VDI's `sm_config` that is to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StaleKey {
    /// The VDI.
    pub vdi: Uuid,
    /// The key.
    pub key: String,
}

impl Remark {
    /// A remark about an object.
    #[must_use]
    pub fn new(object: impl ToString, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Remark {
            object: object.to_string(),
            why: why.into(),
            fix: fix.into(),
        }
    }
}

impl AdoptionFacts {
    /// Reads them from JSON.
    ///
    /// # Errors
    /// The text is no such JSON.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

impl Adoption {
    /// As one JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
