//! Disks that forget their changes: `on_boot=reset`.
//!
//! The first start of the VM takes a snapshot that is no VDI, the *reset point*. The disk's record names it.
//! Each later start gives the disk a clone of it as image, as a revert does (see `vdi/revert.rs`). The image
//! before is moved to the trash.
//!
//! The reset point is removed when the disk is to keep its changes, and when the disk is resized, reverted or
//! deleted: the next start takes a new one. XAPI does not inform a driver that `on_boot` has changed. But
//! each command and each start of a VM has the present value, and XAPI clones the disk when it changes it to
//! `reset`.
//!
//! Removing it (`vdi/steps/reset_point.rs`) is the deletion of a snapshot. The swap that removes its name
//! from the record writes the intent.

use uuid::Uuid;

use crate::catalogue::vdi_key;
use crate::error::{Error, Result};
use crate::record::{ResetPoint, Volume};
use crate::vdi::steps::replace_image::Origin;
use crate::{chain, CephSr};

impl CephSr<'_> {
    /// Resets a disk when its VM starts: it gets the content that it had at the first such start. Refused
    /// while it is in use, but not because the pool is nearly full.
    pub fn reset_vdi(&self, vdi: &Uuid) -> Result<()> {
        loop {
            let entry = self.journal().acquire(vdi)?;
            let stored = self.catalogue.present(&entry, vdi)?;
            let Volume::Head { image } = &stored.record.volume else {
                return Err(Error::ReadOnly {
                    vdi: *vdi,
                    refused: "reset",
                });
            };
            self.claims.refuse_if_in_use(&stored.record)?;
            if let Some(point) = &stored.record.reset_point {
                let origin = Origin {
                    snapshot: (&point.image, point.snapshot.id),
                    size: stored.record.size,
                    depth: point.depth,
                    tracked: None,
                };
                if self
                    .replace_image(vdi, &entry, &origin, |transaction| transaction)?
                    .is_some()
                {
                    return Ok(());
                }
                continue;
            }
            let (depth, _) = chain::require_short(&self.images, &stored.record)?;
            let name = format!("reset.{}", Uuid::new_v4());
            let taken = self.begin_snapshot(vdi, &entry, image, &name, false)?;
            let Some((intent, snapshot)) = taken else {
                continue;
            };
            let point = ResetPoint {
                image: image.clone(),
                snapshot,
                depth,
            };
            return self.journal().finish(
                vdi,
                &intent,
                Some(stored.clone()),
                |transaction, stored| {
                    let Some(stored) = stored else {
                        return transaction;
                    };
                    let mut record = stored.record.clone();
                    record.reset_point = Some(point.clone());
                    transaction
                        .expect(vdi_key(vdi), Some(stored))
                        .write(vdi_key(vdi), &mut record)
                },
            );
        }
    }
}
