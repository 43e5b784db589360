//! Switching changed-block tracking on and off: one transaction that sets the flag of a disk's record.
//!
//! The flag has no effect on the data path, so the disk may run. Each snapshot gets the disk's flag. A clone
//! does not.

use uuid::Uuid;

use crate::catalogue::{intent_key, vdi_key};
use crate::error::{CbtRefusal, Result};
use crate::pool::Transaction;
use crate::record::Intent;
use crate::CephSr;

impl CephSr<'_> {
    /// Switches the tracking of a disk's changes on or off. Does nothing if it is as wanted.
    pub fn track_changes(&self, vdi: &Uuid, tracked: bool) -> Result<()> {
        loop {
            let entry = self.journal().acquire(vdi)?;
            let stored = self.catalogue.present(&entry, vdi)?;
            crate::ha::refuse(&stored.record, "tracked")?;
            if stored.record.volume.snapshot().is_some() {
                return Err(CbtRefusal::NotADisk { vdi: *vdi }.into());
            }
            if stored.record.cbt == tracked {
                return Ok(());
            }
            let mut record = stored.record.clone();
            record.cbt = tracked;
            let transaction = Transaction::default()
                .expect(vdi_key(vdi), Some(stored))
                .expect::<Intent>(intent_key(vdi), None)
                .write(vdi_key(vdi), &mut record);
            let doing = format!("switching changed-block tracking of VDI {vdi}");
            if self.catalogue.commit(&doing, &transaction)? {
                return Ok(());
            }
        }
    }
}
