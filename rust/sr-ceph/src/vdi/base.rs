//! The clone base of a disk: a snapshot that is no VDI, from which its clones are made.
//!
//! The first clone of an idle disk takes it (`vdi/clone.rs`). The next clones share it, as long as the disk
//! has not changed: a hundred disks from one template cost one snapshot. Two checks show whether it has
//! changed. The epoch in its record changes with all that smblock does to the disk, and costs nothing to
//! read. A write by hand changes no epoch: so the image is compared with the snapshot before each further
//! clone ([decision 27]). The base of a disk that has changed is useless: the next clone replaces it, and the
//! next scan removes it if its epoch is over. Ceph keeps a removed base, out of sight, until its last clone
//! is gone. A disk in use has no base, because it keeps changing. A base that is older than a flatten of the disk
//! stays until its clones are gone ([decision 107]): meanwhile each clone has a snapshot that is removed at once.
//!
//! [decision 27]: ../../../../docs/decisions/0027-compare-before-cloning.md
//! [decision 107]: ../../../../docs/decisions/0107-a-disk-with-snapshots-is-not-flattened.md
//!
//! Removing a base takes two steps: the snapshot, and then the base in the record. After the first step alone
//! the record names a snapshot that does not exist: cloning it fails, and is repeated with a new one.

use uuid::Uuid;

use crate::catalogue::{intent_key, vdi_key, vdis_if, Stored};
use crate::error::{Context, Result};
use crate::image::Images;
use crate::pool::{Entries, Transaction};
use crate::record::{Intent, SnapshotRef, VdiRecord};
use crate::CephSr;

impl VdiRecord {
    /// The snapshot from which this disk's next clone can be made, unless its image was changed by hand.
    fn usable_base(&self) -> Option<&SnapshotRef> {
        let base = self.base.as_ref()?;
        (base.epoch == self.epoch && self.claim.is_none()).then_some(&base.snapshot)
    }
}

impl CephSr<'_> {
    /// Returns the snapshot from which a disk's next clone can be made.
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
            Err(e) if e.is_not_found() => Ok(None), // removed outside smblock
            other => Ok(other.doing(&doing)?.then_some(base)),
        }
    }

    /// Removes the base of each disk that can have changed since. One that cannot be removed does not keep the
    /// others: its error is returned after them.
    pub(crate) fn drop_stale_bases(&self, entries: &Entries) -> Result<()> {
        let mut failed = None;
        for stored in vdis_if(entries, |vdi| vdi.has_base()) {
            if stored.record.usable_base().is_some() {
                continue;
            }
            let entry = self.catalogue.entry(&stored.record.uuid)?;
            if let (Some(now), None) = (&entry.vdi, &entry.intent) {
                match self.drop_base(&stored.record.uuid, now) {
                    Err(e) if e.is_outcome_unknown() => return Err(e),
                    Err(e) if Images::keeps_for_clones(&e) => {}
                    Err(e) => failed = failed.or(Some(e)),
                    Ok(()) => {}
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Removes a disk's base. A record that was changed meanwhile keeps its new state.
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
            &format!("removing the clone base of VDI {vdi}"),
            &transaction,
        )?;
        Ok(())
    }
}
