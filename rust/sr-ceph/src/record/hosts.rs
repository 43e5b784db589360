//! What the catalogue holds about hosts: claims, declarations of death, readers.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Unknown, VERSION};
use crate::host::Owner;

/// Which host may write to a VDI. Ceph does not prevent a second writer: the claim does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The process that took the claim. Its host and its boot count: a host that has booted since holds
    /// nothing. While the process runs, it may be about to map the image.
    #[serde(flatten)]
    pub owner: Owner,
    /// Seconds since 1970, by the host's clock, when the claim was taken. Only shown.
    pub since: u64,
    /// The UUID of the XAPI pool that the host was a member of. `None`: an older version wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The host's life in which the claim was taken, see [`HostRecord::life`].
    #[serde(default)]
    pub life: u32,
    /// Addresses of the kernel clients that the image was mapped with. An activation succeeds only after its
    /// address is here: through a claim without addresses nothing was written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// The fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A host was declared dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Why: xapi's reason (`fenced`, `user`, `dbdestroy`), or `administrator`.
    pub reason: String,
    /// Seconds since 1970 by the clock of the host that wrote it. Only shown.
    pub at: u64,
}

/// What the catalogue holds about one host.
///
/// A *life* of a host lasts from its boot to its next boot, or until it acts again after it was declared dead
/// by mistake. A claim belongs to a life. So a declaration covers the claims made before it, and no claim
/// that the host takes after it came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    version: u32,
    nonce: Uuid,
    /// The host's current boot, as the host itself has published it. `None`: not yet.
    pub boot_id: Option<String>,
    /// The number of its current life in that boot, from 0.
    pub life: u32,
    /// Set while that life is declared dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<Death>,
    /// The fields of a newer version.
    #[serde(flatten)]
    unknown: Unknown,
}
record!(HostRecord);

impl HostRecord {
    /// A living host, in its first life of that boot.
    pub fn new(boot_id: Option<String>) -> Self {
        HostRecord {
            version: VERSION,
            nonce: Uuid::new_v4(),
            boot_id,
            life: 0,
            dead: None,
            unknown: Unknown::default(),
        }
    }

    /// The declaration of death that covers what the host did in that boot and life.
    pub fn death_of(&self, boot_id: &str, life: u32) -> Option<&Death> {
        let same_boot = self.boot_id.as_deref().is_none_or(|boot| boot == boot_id);
        let death = self.dead.as_ref();
        death.filter(|_| same_boot && life <= self.life)
    }

    /// Whether that boot or life is over: the host has begun a later one.
    pub fn is_over(&self, boot_id: &str, life: u32) -> bool {
        match &self.boot_id {
            None => false,
            Some(boot) => boot != boot_id || life < self.life,
        }
    }
}

/// A VDI that a host has mapped read-only, with a kernel that watches the image then too (Linux before 5.5).
/// Without this note, its watch looks like that of a writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderRecord {
    version: u32,
    nonce: Uuid,
    /// The process that maps the VDI.
    #[serde(flatten)]
    pub owner: Owner,
    /// The VDI.
    pub vdi: Uuid,
    /// The address of the kernel client. `None`: the VDI is being mapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}
record!(ReaderRecord);

impl ReaderRecord {
    /// A note for a map that is about to be made.
    pub fn new(owner: Owner, vdi: Uuid) -> Self {
        ReaderRecord {
            version: VERSION,
            nonce: Uuid::new_v4(),
            owner,
            vdi,
            address: None,
        }
    }
}
