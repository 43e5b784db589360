//! What clones of a disk are made of: a snapshot that is no VDI.
//!
//! The first clone of a disk at rest takes it (`vdi/clone.rs`); the next ones share it, as long as
//! the disk has not changed since: a hundred disks from one template cost one snapshot. Two things tell
//! whether it has. The epoch in its record changes with all that smblock does to the disk, and costs
//! nothing. What was written to the image by hand changes no epoch: so the image is compared with the
//! snapshot before each further clone ([decision 27]). Once the disk has changed the base is of no use.
//! The next clone replaces it; the next scan removes one whose epoch is over. With clones it lives on
//! in Ceph, out of sight, until the last of them goes. Of a disk that is in use there is no base: it
//! goes on changing.
//!
//! [decision 27]: ../../../../docs/decisions/0027-compare-before-cloning.md
//!
//! Removing a base takes two steps, the snapshot and the record's word for it. After the first
//! alone the record names a snapshot that does not exist: cloning it fails, and is done again with
//! a new one.

use uuid::Uuid;

use crate::catalogue::{intent_key, records, vdi_key, Stored, VDI_PREFIX};
use crate::error::{Context, Result};
use crate::pool::{Entries, Transaction};
use crate::record::{Intent, SnapshotRef, VdiRecord};
use crate::CephSr;

impl VdiRecord {
    /// The snapshot that this disk's next clone can be made of, if its image has not been changed by
    /// hand.
    fn usable_base(&self) -> Option<&SnapshotRef> {
        let base = self.base.as_ref()?;
        (base.epoch == self.epoch && self.claim.is_none()).then_some(&base.snapshot)
    }
}

impl CephSr<'_> {
    /// The snapshot that a disk's next clone can be made of.
    pub(crate) fn current_base<'r>(&self, disk: &'r VdiRecord) -> Result<Option<&'r SnapshotRef>> {
        let Some(base) = disk.usable_base() else {
            return Ok(None);
        };
        let image = disk.volume.image();
        let doing = format!(
            "comparing image {} with its snapshot {}",
            image.name, base.name
        );
        match self.pool.is_unchanged_since(&image.id, base.id) {
            Err(e) if e.is_not_found() => Ok(None), // removed outside this driver
            other => Ok(other.doing(&doing)?.then_some(base)),
        }
    }

    /// Removes the base of each disk that can have changed since.
    pub(crate) fn drop_stale_bases(&self, entries: &Entries) -> Result<()> {
        for stored in records::<VdiRecord>(entries, VDI_PREFIX) {
            if stored.record.base.is_some() && stored.record.usable_base().is_none() {
                let entry = self.catalogue.entry(&stored.record.uuid)?;
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
        let transaction = Transaction::default()
            .expect(vdi_key(vdi), Some(stored))
            .expect::<Intent>(intent_key(vdi), None)
            .write(vdi_key(vdi), &mut record);
        self.images
            .remove_snapshot_of_moved(record.volume.image(), &base.snapshot)?;
        self.catalogue.commit(
            &format!("forgetting what clones of VDI {vdi} are made of"),
            &transaction,
        )?;
        Ok(())
    }
}
