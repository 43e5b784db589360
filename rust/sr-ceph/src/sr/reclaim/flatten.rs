//! Flattening disks with long clone chains.
//!
//! Only a disk without snapshots is flattened. If a snapshot that is older than the flatten has clones and is
//! removed, librbd (seen in 16.2) detaches the image from its parent, although the removed snapshot still needs
//! it for the clones. The parent could be purged then, and the clones would be lost. The birth of an image has no
//! clones.

use nix::libc;

use super::pending::{Kind, Pending};
use crate::catalogue::vdi_key;
use crate::error::{Context, Result};
use crate::pool::{Progress, Transaction};
use crate::record::{Record, VdiRecord};
use crate::{room, CephSr};

impl CephSr<'_> {
    /// Whether a disk with a long clone chain has changed since it was listed, so that it must be looked at again.
    pub(super) fn must_not_be_flattened(&self, pending: &Pending) -> Result<bool> {
        let Kind::LongChain { vdi, .. } = &pending.kind else {
            return Ok(false);
        };
        let disk = self.catalogue.entry(vdi)?.vdi.map(|stored| stored.record);
        match disk.filter(|disk| *disk.volume.image() == pending.image) {
            None => Ok(true),
            Some(disk) => Ok(self.who_prevents_flattening(&disk)?.is_some()),
        }
    }

    pub(super) fn flatten(&self, pending: &Pending, progress: Progress<'_>) -> Result<()> {
        let image = &pending.image;
        room::require(
            self.pool,
            &format!("image {} was not flattened", image.name),
        )?;
        match self.pool.flatten_image(&image.id, progress) {
            Err(e) if e.is_not_found() => return Ok(()),
            Err(e) if e.errno == libc::EINVAL => {} // it has no parent any more
            other => other.doing(&format!("flattening image {}", image.name))?,
        }
        self.note_if_flat(pending).map(|_| ())
    }

    /// Whether a disk has no parent now. If so, its record states it from now on.
    pub(super) fn note_if_flat(&self, pending: &Pending) -> Result<bool> {
        let Kind::LongChain { vdi, .. } = &pending.kind else {
            return Ok(false);
        };
        let image = &pending.image;
        match self.pool.image(&image.id) {
            Err(e) if e.is_not_found() => return Ok(true),
            Ok(state) if state.has_parent => return Ok(false),
            other => other.doing(&format!("looking at image {}", image.name))?,
        };
        let entry = self.catalogue.entry(vdi)?;
        let still = entry.vdi.filter(|vdi| vdi.record.volume.image() == image);
        if let Some(stored) = still {
            let mut record: VdiRecord = stored.record.clone().with_depth(0);
            let transaction = Transaction::default()
                .expect(vdi_key(vdi), Some(&stored))
                .put(vdi_key(vdi), record.seal());
            // If the swap does not apply, the next look finds the disk again.
            self.catalogue.commit(
                &format!("recording that VDI {vdi} has no parent"),
                &transaction,
            )?;
        }
        Ok(true)
    }
}
