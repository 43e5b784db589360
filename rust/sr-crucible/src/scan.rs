//! The SR's volumes and its size, for XAPI.

use crucible_host::Volume;
use sr::xapi::{ScannedVdi, XapiFields, XapiVdi};

use super::claim_log::Log;
use super::error::Result;
use super::{CrucibleSr, Listing};

/// XAPI's null reference.
const NULL_REF: &str = "OpaqueRef:NULL";

/// What a scan has found.
#[derive(Debug, Clone)]
pub struct Scan {
    /// Every VDI of the SR.
    pub vdis: Vec<ScannedVdi>,
    /// How full the SR is.
    pub usage: Usage,
    /// The lists of volumes that were read.
    pub listing: Listing,
}

/// Bytes of an SR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The sizes of all volumes. Their space is allocated when they are made.
    pub allocated: u64,
    /// The size of the sleds, if the provisioner reports it; else what is allocated.
    pub total: u64,
    /// What is used of that.
    pub used: u64,
}

impl CrucibleSr<'_> {
    /// `sr_scan`: returns all volumes. `known` are XAPI's records. A VDI whose volume is in no list any more
    /// stays while a host has claimed it: XAPI would delete its claims with the VDI.
    pub fn scan(&self, known: &[XapiVdi]) -> Result<Scan> {
        self.remove_leftovers();
        let listing = self.inventory.list()?;
        let volumes = listing.volumes.iter().map(|(volume, _)| volume);
        let mut vdis: Vec<_> = volumes.map(|volume| scanned(volume, known)).collect();
        for vdi in known {
            if listing.find(&vdi.uuid).is_ok() {
                continue;
            }
            if Log::read(&vdi.uuid, &vdi.fields.sm_config)?
                .open()
                .is_some()
            {
                log::warn!(
                    "VDI {} is in use, but no list of volumes has it any more: it stays in SR {} until it is unplugged",
                    vdi.uuid, self.sr
                );
                vdis.push(ScannedVdi {
                    uuid: vdi.uuid,
                    size: vdi.size,
                    xapi: vdi.fields.clone(),
                    cbt_enabled: false,
                    known_to_xapi: true,
                });
            }
        }
        Ok(Scan {
            vdis,
            usage: usage(&listing),
            listing,
        })
    }

    /// `sr_update`
    pub fn usage(&self) -> Result<Usage> {
        self.remove_leftovers();
        Ok(usage(&self.inventory.list()?))
    }
}

fn usage(listing: &Listing) -> Usage {
    let sizes = listing.volumes.iter().map(|(volume, _)| volume.size);
    let allocated = sizes.fold(0, u64::saturating_add);
    let total = listing.total.unwrap_or(allocated);
    let used = listing
        .free
        .map_or(allocated, |free| total.saturating_sub(free));
    Usage {
        allocated,
        total,
        used,
    }
}

fn scanned(volume: &Volume, known: &[XapiVdi]) -> ScannedVdi {
    let known = known.iter().find(|vdi| vdi.uuid == volume.uuid);
    ScannedVdi {
        uuid: volume.uuid,
        size: volume.size,
        xapi: known.map_or_else(|| new_fields(volume), |vdi| vdi.fields.clone()),
        cbt_enabled: false,
        known_to_xapi: known.is_some(),
    }
}

/// Returns the fields of a volume that XAPI does not have yet.
pub(super) fn new_fields(volume: &Volume) -> XapiFields {
    XapiFields {
        name_label: volume.name.clone(),
        name_description: volume.description.clone(),
        ty: "user".to_owned(),
        managed: true,
        metadata_of_pool: NULL_REF.to_owned(),
        snapshot_time: sr::xapi::NO_TIME.to_owned(),
        ..XapiFields::default()
    }
}
