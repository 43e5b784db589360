//! Disks that forget their changes: `on_boot=reset`.
//!
//! The first start of the VM takes a snapshot that is no VDI, the *reset point*, and the disk's record
//! names it. Each later start gives the disk a clone of it for an image, as a revert does (see
//! `vdi/revert.rs`); the image before goes to the trash.
//!
//! The reset point is forgotten once XAPI says that the disk is to keep its changes, and when the
//! disk is resized, reverted or deleted: the next start takes another one. XAPI tells no driver
//! that it has changed `on_boot`; but it says what it is with every command, it clones the disk
//! when it changes it to `reset`, and every start of a VM says so too.
//!
//! Forgetting it (`vdi/steps/reset_point.rs`) is the deletion of a snapshot, whose intent is written in the same
//! swap that takes its name out of the record.

use uuid::Uuid;

use crate::catalogue::vdi_key;
use crate::error::{Error, Result};
use crate::record::{ResetPoint, Volume};
use crate::vdi::steps::replace_image::Origin;
use crate::{chain, CephSr};

impl CephSr<'_> {
    /// The disk's VM starts, and the disk is to be what it was at the first such start. Refused
    /// while it is in use; never for want of room.
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
