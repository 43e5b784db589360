//! SRs of type crucible: one server process and one NBD device for each volume in use.
//!
//! The log of claims in XAPI ([`claim_log`]) keeps two hosts from running a server for one volume.
//! Crucible's generations are the second protection. They only work if no generation is used twice. The
//! rules:
//!
//! 1. A server is started only under an open claim of this host, with the claim's generation, at
//!    most once.
//! 2. A claim is released only when its server is certainly gone: by its own host, also if another host
//!    asks it; or by any host, if the claim's host was declared dead, has booted since or is forgotten.
//! 3. Everything that can be checked is checked before a claim is taken.
//!
//! [`CrucibleSr`] uses three traits: XAPI is a [`Xapi`], this host a [`Host`], the lists of volumes an
//! [`Inventory`].
#![forbid(unsafe_code)]

mod accept;
mod activate;
mod check;
mod claim;
mod claim_log;
pub mod config;
mod doctor;
pub mod dom0;
pub mod engine;
mod error;
#[cfg(feature = "sim")]
pub mod faults;
#[cfg(fuzzing)]
pub mod fuzzing;
mod health;
mod host;
mod inventory;
mod keys;
mod leftovers;
#[cfg(feature = "sim")]
pub mod memory;
mod overview;
mod plug;
mod provision;
mod records;
mod regions;
mod release;
mod scan;
mod servers;
mod sources;
pub mod supervisor;
mod targets;
mod xapi;

pub use self::claim_log::{Claim, Log, SmConfig, KEY_PREFIX};
pub use self::error::{Error, Hold, Result};
pub use self::health::ended_server;
pub use self::host::{Device, Host, HostId, Server};
pub use self::inventory::{Inventory, Listing, Source};
pub use self::scan::{Scan, Usage};
pub use self::sources::Sources;
pub use self::xapi::{HostState, Xapi};

/// Reads what a VDI has recorded of its volume.
#[cfg(fuzzing)]
fn read_recorded(vdi: &uuid::Uuid, sm_config: &SmConfig) {
    let _ = regions::recorded_regions(vdi, sm_config);
    let _ = keys::recorded_key(vdi, sm_config);
}

use self::claim::Claims;
use self::records::Records;
use self::servers::Servers;
use uuid::Uuid;

/// An SR of type crucible, as one process on one host sees it.
pub struct CrucibleSr<'a> {
    xapi: &'a dyn Xapi,
    host: &'a dyn Host,
    inventory: &'a dyn Inventory,
    sr: Uuid,
    records: Records<'a>,
    servers: Servers<'a>,
    claims: Claims<'a>,
}

impl<'a> CrucibleSr<'a> {
    /// The SR of that UUID.
    pub fn new(
        xapi: &'a dyn Xapi,
        host: &'a dyn Host,
        inventory: &'a dyn Inventory,
        sr: Uuid,
    ) -> Self {
        let records = Records { xapi, sr };
        CrucibleSr {
            xapi,
            host,
            inventory,
            sr,
            records,
            servers: Servers { host },
            claims: Claims {
                records,
                xapi,
                host,
            },
        }
    }
}
