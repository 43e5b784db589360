//! What the operations of an engine return.

use uuid::Uuid;

use crate::xapi::ScannedVdi;

/// How full an SR is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The sum of the virtual sizes of all VDIs.
    pub allocated: u64,
    /// What the storage can hold in all; `None` if it is not known now.
    pub total: Option<u64>,
    /// What is used of it.
    pub used: u64,
}

/// What a scan has found.
#[derive(Debug, Clone)]
pub struct Scan {
    /// Every VDI of the SR.
    pub vdis: Vec<ScannedVdi>,
    /// Snapshots and their disks, if XAPI does not have the disk of a snapshot.
    pub disks_of_snapshots: Vec<(Uuid, Uuid)>,
    /// How full the SR is.
    pub usage: Usage,
}

/// What a probe has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The SRs in the place that the device-config names.
    Srs(Vec<FoundSr>),
    /// The places of the storage, if the device-config names none.
    Places(Vec<Place>),
}

/// An SR that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSr {
    /// Its UUID.
    pub uuid: Uuid,
    /// The part of the place that its device-config has to name, if the place has parts: a RADOS namespace.
    pub namespace: Option<String>,
    /// Bytes that it can hold in all; `None` if that is not known now.
    pub size: Option<u64>,
    /// Its name in XAPI.
    pub name_label: String,
    /// Its description in XAPI.
    pub name_description: String,
}

/// A part of the storage that could hold an SR, such as a Ceph pool. All sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name, as the device-config takes it.
    pub name: String,
    /// What can still be stored; `None` if that is not known now.
    pub free: Option<u64>,
    /// The quota.
    pub quota: Option<u64>,
    /// What is stored.
    pub used: u64,
    /// Why it cannot hold an SR with this device-config.
    pub refused: Option<String>,
}

/// Work that frees space, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The name of the object that it is about, such as an RBD image.
    pub object: String,
    /// What is to be done.
    pub work: String,
    /// What has to happen first; `None`: it can be done now.
    pub waits_for: Option<String>,
}

/// How far the work on one object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<'a> {
    /// The name of the object.
    pub object: &'a str,
    /// How far the work is.
    pub state: State,
}

/// How far some work is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It goes on.
    Progress {
        /// How much is done.
        done: u64,
        /// How much there is in all.
        total: u64,
        /// What is counted.
        unit: Unit,
    },
    /// It is being found out how much each VDI takes: how many objects of the storage were listed, of how many.
    Counting {
        /// How many were listed.
        done: u64,
        /// How many there are in all.
        total: u64,
    },
    /// It is done. The text is the result.
    Done(&'static str),
    /// It could not be done, and the next object follows. The text is the error.
    Failed(String),
    /// Something else has to happen first. The text is what.
    Waits(String),
}

/// What the progress of some work counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Objects of the storage.
    Objects,
}

impl Unit {
    /// Its name in the plural.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Objects => "objects",
        }
    }
}
