//! An SR on one screen, and where its VDIs are. Changes nothing.

use std::collections::BTreeMap;

use sr::engine::{Backlog, Operation, Overview, VdiPlace};
use uuid::Uuid;

use crate::catalogue::{records, VDI_PREFIX};
use crate::error::{Context, Result};
use crate::host::Mapped;
use crate::lease::LEASE_SECONDS;
use crate::pool::Entries;
use crate::record::VdiRecord;
use crate::CephSr;

impl CephSr<'_> {
    /// The SR on one screen.
    ///
    /// # Errors
    /// The pool or the catalogue cannot be read.
    pub fn overview(&self) -> Result<Overview> {
        let entries = self.catalogue.read()?;
        let usage = self.usage()?;
        let fsid = self.pool.fsid().doing("asking for the cluster's fsid")?;
        let mut overview = Overview {
            sr: self.sr,
            sr_type: crate::engine::SR_TYPE.name,
            version: env!("CARGO_PKG_VERSION"),
            place: format!("pool {} of cluster {fsid}", self.pool.pool_name()),
            size: usage.total(),
            free: usage.free(),
            quota_bytes: usage.quota_bytes,
            quota_objects: usage.quota_objects,
            allocated: 0,
            disks: 0,
            snapshots: 0,
            claims: BTreeMap::new(),
            operations: self.operations(&entries),
            backlog: Some(self.backlog()?),
        };
        for stored in records::<VdiRecord>(&entries, VDI_PREFIX) {
            let record = stored.record;
            overview.allocated = overview.allocated.saturating_add(record.size);
            match record.volume.snapshot() {
                None => overview.disks += 1,
                Some(_) => overview.snapshots += 1,
            }
            if let Some(claim) = record.claim {
                *overview.claims.entry(claim.owner.host).or_default() += 1;
            }
        }
        Ok(overview)
    }

    /// Where each VDI is that has a record which can be read.
    ///
    /// # Errors
    /// The catalogue, or this host's devices, cannot be read.
    pub fn places(&self) -> Result<Vec<VdiPlace>> {
        let entries = self.catalogue.read()?;
        let devices = self.devices.of_sr("listing this host's devices")?;
        let under_way: BTreeMap<Uuid, String> = self
            .operations(&entries)
            .into_iter()
            .map(|operation| (operation.vdi, operation.what))
            .collect();
        let vdis = records::<VdiRecord>(&entries, VDI_PREFIX).map(|stored| stored.record);
        let places = vdis.map(|record| VdiPlace {
            device: device_of(&record, &devices),
            operation: under_way.get(&record.uuid).cloned(),
            ..place_of(record)
        });
        Ok(places.collect())
    }

    fn operations(&self, entries: &Entries) -> Vec<Operation> {
        let intents = self.catalogue.intents(entries).into_iter();
        let operations = intents.map(|(vdi, intent)| Operation {
            vdi,
            what: intent.record.action.describe().to_owned(),
            host: intent.record.owner.host,
            pid: intent.record.owner.pid,
            since: intent.record.lease_until.saturating_sub(LEASE_SECONDS),
        });
        operations.collect()
    }

    fn backlog(&self) -> Result<Backlog> {
        let (mut images, mut bytes, mut waiting) = (0, 0u64, 0);
        for pending in self.pending()? {
            match pending.waits_for {
                Some(_) => waiting += 1,
                None => {
                    images += 1;
                    bytes = bytes.saturating_add(pending.size);
                }
            }
        }
        Ok(Backlog {
            images,
            bytes,
            waiting,
        })
    }
}

fn place_of(record: VdiRecord) -> VdiPlace {
    let image = record.volume.image();
    let snapshot = record.volume.snapshot();
    let claim = record.claim.as_ref();
    VdiPlace {
        uuid: record.uuid,
        image: image.name.clone(),
        image_id: Some(image.id.clone()),
        snapshot: snapshot.map(|snapshot| snapshot.name.clone()),
        snapshot_id: snapshot.map(|snapshot| snapshot.id),
        parents: record.depth,
        claimed_by: claim.map(|claim| claim.owner.host.clone()),
        claimed_since: claim.map(|claim| claim.since),
        changed_blocks: match (record.cbt, record.data_destroyed) {
            (true, true) => Some("tracked, data destroyed"),
            (true, false) => Some("tracked"),
            (false, _) => None,
        },
        name: record.xapi.name_label,
        size: record.size,
        device: None,
        operation: None,
    }
}

fn device_of(record: &VdiRecord, devices: &[Mapped]) -> Option<String> {
    let shows = |device: &&Mapped| crate::devices::shows(device, record);
    let device = devices.iter().find(shows)?;
    Some(device.device.display().to_string())
}
