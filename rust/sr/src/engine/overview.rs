//! What an administrator sees of an SR on one screen, and where its VDIs are. Fronts print it, as text or as JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

/// An SR on one screen. Sizes in bytes, times in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// The SR.
    pub sr: Uuid,
    /// Its type.
    pub sr_type: &'static str,
    /// The version of this smblock.
    pub version: &'static str,
    /// Where the SR is: pool and cluster, or the lists of its volumes.
    pub place: String,
    /// What it can hold in all; `None` if that is not known now.
    pub size: Option<u64>,
    /// What is free.
    pub free: Option<u64>,
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
    /// How many VDIs each host has claimed, by UUID.
    pub claims: BTreeMap<String, usize>,
    /// Operations under way.
    pub operations: Vec<Operation>,
    /// Space that is still to be freed.
    pub backlog: Option<Backlog>,
}

/// An operation under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// The VDI.
    pub vdi: Uuid,
    /// What is done.
    pub what: String,
    /// The UUID of the host that does it.
    pub host: String,
    /// The process that does it.
    pub pid: u32,
    /// Since when, by that host's clock.
    pub since: u64,
}

/// Space that is still to be freed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backlog {
    /// How many images can be freed or flattened now.
    pub images: usize,
    /// Their virtual size.
    pub bytes: u64,
    /// How many images wait for something else.
    pub waiting: usize,
}

/// Where a VDI's blocks are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VdiPlace {
    /// The VDI.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Its virtual size.
    pub size: u64,
    /// The image's name, or the addresses of the volume's targets.
    pub image: String,
    /// The image's id.
    pub image_id: Option<String>,
    /// The name of the snapshot, if it is one.
    pub snapshot: Option<String>,
    /// The id of that snapshot.
    pub snapshot_id: Option<u64>,
    /// How many parents the image has, one behind the other.
    pub parents: u32,
    /// The UUID of the host that has claimed it.
    pub claimed_by: Option<String>,
    /// Since when.
    pub claimed_since: Option<u64>,
    /// Its block device on this host.
    pub device: Option<String>,
    /// Whether its changed blocks can be listed, and whether only they can. `None`: no.
    pub changed_blocks: Option<&'static str>,
    /// What is done with it at the moment.
    pub operation: Option<String>,
}

impl Overview {
    /// As one JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl VdiPlace {
    /// Several of them, as one JSON list.
    #[must_use]
    pub fn json(places: &[Self]) -> String {
        serde_json::to_string(places).unwrap_or_default()
    }
}
