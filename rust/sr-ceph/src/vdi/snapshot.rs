//! Taking a snapshot.
//!
//! Of a disk:
//! 1. The intent, with the snapshot's name, goes into the catalogue.
//! 2. A disk that runs is paused, the snapshot is taken, and the disk is resumed.
//! 3. One swap writes the new VDI's record and removes the intent.
//!
//! Until step 3 XAPI does not have the new VDI, so recovery undoes it (`vdi/steps/new_snapshot.rs`): the disk
//! is resumed, if it was to be paused, and a snapshot of that name is removed. Pausing and resuming a disk
//! send no request to the cluster, so neither waits for the intent.
//!
//! A snapshot of a snapshot: nothing can write to it, so the new VDI is the same one, by one swap.
//!
//! If XAPI snapshots a VM, the disks of the VM are snapshotted together: see `vdi/together.rs`.

use sr::engine::Together;
use uuid::Uuid;

use crate::catalogue::{intent_key, vdi_key, Entry, Stored};
use crate::error::{Error, NotTogether, Result};
use crate::pool::Transaction;
use crate::record::{ImageRef, Intent, Record, VdiRecord, Volume};
use crate::{chain, room, CephSr};

impl CephSr<'_> {
    /// Makes a VDI of the UUID `new` that keeps the content that `vdi` has now.
    pub fn snapshot_vdi(&self, vdi: &Uuid, new: &Uuid) -> Result<VdiRecord> {
        self.snapshot_vdi_with(vdi, new, &Together::default())
    }

    /// As [`CephSr::snapshot_vdi`]. If the disk and siblings of it are in use, all of them get a snapshot of
    /// one instant. The first command of the task takes them, the later ones adopt theirs: the UUID of the new
    /// VDI is then not `new`, but that of the record which is returned.
    pub fn snapshot_vdi_with(
        &self,
        vdi: &Uuid,
        new: &Uuid,
        together: &Together,
    ) -> Result<VdiRecord> {
        if let Some(record) = self.adopt_prepared(vdi, new, together)? {
            return Ok(record);
        }
        self.journal().require_new(new)?;
        room::require(self.pool, &format!("no snapshot of VDI {vdi} was taken"))?;
        let mut is_repeated = false;
        loop {
            let entry = self.journal().acquire(vdi)?;
            let source = self.catalogue.present(&entry, vdi)?;
            crate::ha::refuse(&source.record, "snapshotted")?;
            crate::cbt::require_data(&source.record, "snapshotted")?;
            if vdi == new {
                // Another process has just made it.
                return Err(self.journal().already_exists(new));
            }
            let done = match &source.record.volume {
                Volume::Snapshot { .. } => self.same_snapshot(vdi, &entry, source, new)?,
                Volume::Head { image } => match self.gather(&entry, source, new, together)? {
                    None => self.take_snapshot(vdi, &entry, source, image, new)?,
                    Some(group) => match self.take_together(&entry, &group, new, together) {
                        // The monitors may have been slow for a moment.
                        Err(Error::NotTogether(NotTogether::Resumed { .. })) if !is_repeated => {
                            is_repeated = true;
                            continue;
                        }
                        other => other?,
                    },
                },
            };
            if let Some(record) = done {
                return Ok(record);
            }
        }
    }

    fn same_snapshot(
        &self,
        vdi: &Uuid,
        entry: &Entry,
        source: &Stored<VdiRecord>,
        new: &Uuid,
    ) -> Result<Option<VdiRecord>> {
        let volume = source.record.volume.clone();
        let mut record = self.snapshot_of(&source.record, volume, source.record.depth, new);
        let transaction = Transaction::default()
            .expect(crate::catalogue::SR_KEY.into(), Some(&entry.sr))
            .expect(vdi_key(vdi), Some(source))
            .expect::<Intent>(intent_key(vdi), None)
            .expect::<VdiRecord>(vdi_key(new), None)
            .write(vdi_key(new), &mut record);
        let written = self
            .catalogue
            .commit(&format!("recording the snapshot {new}"), &transaction)?;
        Ok(written.then_some(record))
    }

    fn take_snapshot(
        &self,
        vdi: &Uuid,
        entry: &Entry,
        source: &Stored<VdiRecord>,
        image: &ImageRef,
        new: &Uuid,
    ) -> Result<Option<VdiRecord>> {
        let (depth, size) = chain::require_short(&self.images, &source.record)?;
        self.require_resumable(&source.record, size)?;
        let (name, runs) = (new.to_string(), source.record.claim.is_some());
        let Some((intent, snapshot)) = self.begin_snapshot(vdi, entry, image, &name, runs)? else {
            return Ok(None);
        };
        let volume = Volume::Snapshot {
            image: image.clone(),
            snapshot,
        };
        let mut record = self.snapshot_of(&source.record, volume, depth, new);
        record.size = size;
        let bytes = record.seal();
        self.journal()
            .finish_copy(vdi, &intent, source, (new, &bytes), None, |_| {})?;
        Ok(Some(record))
    }
}
