//! An SR of type crucible on one screen, and where its volumes are. Changes nothing.

use std::collections::BTreeMap;

use crucible_host::Volume;
use sr::engine::{Overview, VdiPlace};
use uuid::Uuid;

use super::claim_log::{Log, SmConfig};
use super::error::Result;
use super::CrucibleSr;

impl CrucibleSr<'_> {
    /// The SR on one screen. A claim that cannot be read is not counted.
    ///
    /// # Errors
    /// The list of volumes, or XAPI, cannot be read.
    pub fn overview(&self) -> Result<Overview> {
        let listing = self.inventory.list()?;
        let mut claims = BTreeMap::new();
        for (vdi, sm_config) in self.records.vdis()? {
            let log = Log::read(&vdi, &sm_config).unwrap_or_default();
            if let Some(claim) = log.open() {
                *claims.entry(claim.host.clone()).or_default() += 1;
            }
        }
        let sizes = listing.volumes.iter().map(|(volume, _)| volume.size);
        Ok(Overview {
            sr: self.sr,
            sr_type: super::engine::SR_TYPE.name,
            version: env!("CARGO_PKG_VERSION"),
            place: format!("{} volume(s) of Crucible", listing.volumes.len()),
            size: listing.total,
            free: listing.free,
            quota_bytes: None,
            quota_objects: None,
            allocated: sizes.fold(0, u64::saturating_add),
            disks: listing.volumes.len(),
            snapshots: 0,
            claims,
            operations: Vec::new(),
            backlog: None,
        })
    }

    /// Where each volume is.
    ///
    /// # Errors
    /// The list of volumes, XAPI, or this host's devices cannot be read.
    pub fn places(&self) -> Result<Vec<VdiPlace>> {
        let vdis: BTreeMap<Uuid, SmConfig> = self.records.vdis()?.into_iter().collect();
        let volumes = self.inventory.list()?.volumes.into_iter();
        let places = volumes.map(|(volume, _)| self.place(volume, &vdis));
        places.collect()
    }

    fn place(&self, volume: Volume, vdis: &BTreeMap<Uuid, SmConfig>) -> Result<VdiPlace> {
        let sm_config = vdis.get(&volume.uuid);
        let log = sm_config.and_then(|sm_config| Log::read(&volume.uuid, sm_config).ok());
        let claim = log.as_ref().and_then(Log::open);
        let device = self.servers.device(&volume.uuid)?;
        let targets = volume.targets.map(|target| target.to_string());
        Ok(VdiPlace {
            uuid: volume.uuid,
            image: targets.join(", "),
            image_id: None,
            snapshot: None,
            snapshot_id: None,
            parents: 0,
            claimed_by: claim.map(|claim| claim.host.clone()),
            claimed_since: claim.map(|claim| claim.since),
            device: device.map(|device| device.path.display().to_string()),
            changed_blocks: None,
            operation: None,
            name: volume.name,
            size: volume.size,
        })
    }
}
