//! What XAPI's database and SM's files have, as the front hands it over.

use std::collections::BTreeMap;

use serde::Deserialize;
use uuid::Uuid;

/// What XAPI and SM have about an SR.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// XAPI's reference of this host.
    pub here: String,
    /// The hosts of the pool.
    pub hosts: Vec<HostFacts>,
    /// XAPI's VDIs of the SR.
    pub vdis: Vec<VdiFacts>,
    /// SM's links on this host.
    pub links: Vec<LinkFacts>,
}

/// A host of the pool.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFacts {
    /// XAPI's reference.
    pub reference: String,
    /// Its UUID.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// Whether smblock's hook has noted that it was declared dead.
    pub declared_dead: bool,
}

/// A VDI in XAPI's database.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VdiFacts {
    /// Its UUID.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// All of its `sm_config`.
    pub sm_config: BTreeMap<String, String>,
    /// All of its `other_config`.
    #[serde(default)]
    pub other_config: BTreeMap<String, String>,
    /// Its block device on this host, if a VM uses it here.
    #[serde(default)]
    pub device: Option<String>,
    /// The process that reads and writes the device.
    #[serde(default)]
    pub tapdisk: Option<u32>,
}

/// A file of SM on this host that names a device of a VDI.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkFacts {
    /// The VDI.
    pub vdi: String,
    /// The path of the link.
    pub path: String,
    /// What it points to.
    pub target: String,
}

impl Facts {
    /// Reads them from JSON.
    ///
    /// # Errors
    /// The text is no such JSON.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// What XAPI has about a host, by its reference.
    pub(super) fn host(&self, reference: &str) -> Option<&HostFacts> {
        self.hosts.iter().find(|host| host.reference == reference)
    }
}
