//! Removing a disk's reset point. `vdi/reset.rs` states what a reset point is, and why this may be stopped
//! anywhere.

use uuid::Uuid;

use super::disposal;
use crate::catalogue::vdi_key;
use crate::error::Result;
use crate::record::Action;
use crate::CephSr;

impl CephSr<'_> {
    /// Removes the reset point: the disk keeps its changes from now on, or is to have another one.
    pub fn forget_reset_point(&self, vdi: &Uuid) -> Result<()> {
        loop {
            let entry = self.journal().acquire(vdi)?;
            let stored = self.catalogue.present(&entry, vdi)?;
            let mut record = stored.record.clone();
            let Some(point) = record.reset_point.take() else {
                return Ok(());
            };
            let doing = format!("removing the reset point of VDI {vdi}");
            self.images.require_removable(
                &point.image,
                &point.snapshot,
                point.depth > 0,
                &doing,
            )?;
            let action = Action::DeleteSnapshot {
                image: point.image,
                snapshot: point.snapshot,
            };
            let intent = self.journal().begin(vdi, &entry, action, |transaction| {
                transaction.write(vdi_key(vdi), &mut record)
            })?;
            if let Some(intent) = intent {
                return disposal::complete(self, vdi, &intent);
            }
        }
    }
}
