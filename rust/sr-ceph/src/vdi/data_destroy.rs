//! Destroying the data of a snapshot, so that only its changes can be listed.
//!
//! One transaction marks the snapshot's record. **The RBD snapshot stays**: the changes to the next snapshot do
//! not exist yet, and only the RBD snapshot shows them then. It takes the space of the blocks that are overwritten
//! until XAPI destroys the VDI, which a backup program does after its next backup.
//!
//! From then on the VDI cannot be activated, cloned, snapshotted or reverted to. It is listed by each scan, with
//! XAPI's type `cbt_metadata`, also after the SR was forgotten. Deleting it is the deletion of a snapshot.

use uuid::Uuid;

use crate::catalogue::{intent_key, vdi_key};
use crate::error::{CbtRefusal, Result};
use crate::pool::Transaction;
use crate::record::Intent;
use crate::CephSr;

/// XAPI's type of a VDI without data.
pub(crate) const CBT_METADATA: &str = "cbt_metadata";

impl CephSr<'_> {
    /// Destroys the data of a tracked snapshot. Does nothing if it was destroyed before.
    pub fn destroy_data(&self, vdi: &Uuid) -> Result<()> {
        loop {
            let entry = self.journal().acquire(vdi)?;
            let stored = self.catalogue.present(&entry, vdi)?;
            let mut record = stored.record.clone();
            if record.tracked_snapshot().is_none() {
                return Err(CbtRefusal::NotTracked { vdi: *vdi }.into());
            }
            if record.data_destroyed {
                return Ok(());
            }
            record.data_destroyed = true;
            CBT_METADATA.clone_into(&mut record.xapi.ty);
            let transaction = Transaction::default()
                .expect(vdi_key(vdi), Some(stored))
                .expect::<Intent>(intent_key(vdi), None)
                .write(vdi_key(vdi), &mut record);
            let doing = format!("destroying the data of VDI {vdi}");
            if self.catalogue.commit(&doing, &transaction)? {
                return Ok(());
            }
        }
    }
}
