//! What clones of a disk are made of: a snapshot that is no VDI.
//!
//! The first clone of a disk at rest takes it (`vdi/clone.rs`); the next ones share it, as long as
//! nobody can have written to the disk since, which the epoch in its record tells: a hundred disks
//! from one template cost one snapshot. Once the disk has changed the base is of no use, and the
//! next scan removes it; with clones it lives on in Ceph, out of sight, until the last of them goes.
//! Of a disk that is in use there is no base: it goes on changing.
//!
//! Removing a base takes two steps, the snapshot and the record's word for it. After the first
//! alone the record names a snapshot that does not exist: cloning it fails, and is done again with
//! a new one.

use uuid::Uuid;

use crate::catalogue::{intent_key, records, vdi_key, Stored, VDI_PREFIX};
use crate::cluster::{Entries, Swap};
use crate::error::Result;
use crate::record::{Intent, SnapshotRef, VdiRecord};
use crate::Repository;

impl VdiRecord {
    /// The snapshot that this disk's next clone can be made of.
    pub(crate) fn usable_base(&self) -> Option<&SnapshotRef> {
        let base = self.base.as_ref()?;
        (base.epoch == self.epoch && self.claim.is_none()).then_some(&base.snapshot)
    }
}

impl Repository<'_> {
    /// Removes the base of each disk that can have changed since.
    pub(crate) fn drop_stale_bases(&self, entries: &Entries) -> Result<()> {
        for stored in records::<VdiRecord>(entries, VDI_PREFIX) {
            if stored.record.base.is_some() && stored.record.usable_base().is_none() {
                let entry = self.entry(&stored.record.uuid)?;
                if let (Some(now), None) = (&entry.vdi, &entry.intent) {
                    self.drop_base(&stored.record.uuid, now)?;
                }
            }
        }
        Ok(())
    }

    /// Removes a disk's base; where the record was changed meanwhile, its new state counts.
    pub(crate) fn drop_base(&self, vdi: &Uuid, stored: &Stored<VdiRecord>) -> Result<()> {
        let mut record = stored.record.clone();
        let Some(base) = record.base.take() else {
            return Ok(());
        };
        let swap = Swap::default()
            .expect(vdi_key(vdi), Some(stored))
            .expect::<Intent>(intent_key(vdi), None)
            .write(vdi_key(vdi), &mut record);
        self.remove_snapshot(record.volume.image(), base.snapshot.id)?;
        self.commit(
            &format!("forgetting what clones of VDI {vdi} are made of"),
            &swap,
        )?;
        Ok(())
    }
}
