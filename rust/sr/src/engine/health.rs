//! The state of an SR in numbers, with what the check that comes every ten minutes finds: for alarms, for the plugin
//! function `health`, and for metrics. It is cheap: no image is opened for it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::alarm::AlarmType;
use crate::finding::{Entry, Finding};

/// The state of an SR, as seen from this host. Sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The SR.
    pub sr: Uuid,
    /// Its type.
    pub sr_type: String,
    /// The version of this smblock.
    pub version: String,
    /// Whether the SR could be read. If not, all numbers are missing or 0.
    pub up: bool,
    /// Ceph's pool; empty for an SR without one.
    pub pool: String,
    /// What it can hold in all.
    pub size: Option<u64>,
    /// What is used of that.
    pub used: Option<u64>,
    /// What is free.
    pub free: Option<u64>,
    /// What is kept of the free space for the disks that exist: below it, new disks are refused.
    pub reserve: Option<u64>,
    /// The quota in bytes.
    pub quota_bytes: Option<u64>,
    /// The quota in objects.
    pub quota_objects: Option<u64>,
    /// The sum of the virtual sizes of all VDIs.
    pub allocated: u64,
    /// How many disks it has.
    pub disks: usize,
    /// How many snapshots it has.
    pub snapshots: usize,
    /// How many images are to be freed or flattened; `None` for a type that frees space at once.
    pub backlog_images: Option<usize>,
    /// Their virtual size; `None` if there are too many to ask for each.
    pub backlog_bytes: Option<u64>,
    /// How many operations are under way.
    pub operations: usize,
    /// How many VDIs this host has claimed.
    pub claims_here: usize,
    /// How many VDIs all hosts have claimed.
    pub claims: usize,
    /// How many devices of this host are cut off from the cluster.
    pub cut_off: usize,
    /// What was found.
    pub findings: Vec<Entry>,
}

/// What a check has seen.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// The numbers, without the findings.
    pub health: Health,
    /// What was found, also measurements that are well.
    pub findings: Vec<Finding>,
    /// The alarms whose kinds of findings were looked for.
    pub looked_at: Vec<&'static AlarmType>,
}

impl Look {
    /// The numbers with those findings that are not well.
    #[must_use]
    pub fn health(self) -> Health {
        let found = self.findings.iter().filter(|f| f.is_trouble());
        Health {
            findings: found.map(|finding| Entry::of(finding, "")).collect(),
            ..self.health
        }
    }
}

impl Health {
    /// As one JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads it from JSON.
    ///
    /// # Errors
    /// The text is no such JSON.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}
