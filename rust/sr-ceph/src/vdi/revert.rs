//! Reverting a disk to a snapshot: it keeps its UUID and its name, and gets another image.
//!
//! 1. The intent, with the new image's name, goes into the catalogue.
//! 2. The snapshot is cloned to that image, then its image-meta is set. Nothing is copied or renamed: a
//!    kernel's mapping keeps the name that it was made with.
//!    If the snapshot is tracked, a birth of the new image is taken (`vdi/steps/birth.rs`).
//! 3. One swap points the VDI's record at the new image, and turns the intent into the deletion of
//!    the old one.
//! 4. The old image is treated as that of a deleted disk: moved to the trash, or hidden while its snapshots
//!    are needed. The intent is removed.
//!
//! The steps are in `vdi/steps/replace_image.rs`: a reset has them too.
//!
//! Before step 3 the disk is what it was, and recovery undoes the intent as a creation. After it the disk is
//! reverted, and recovery does step 4.

use uuid::Uuid;

use crate::catalogue::vdi_key;
use crate::error::{Error, Result};
use crate::pool::Transaction;
use crate::record::{VdiRecord, Volume};
use crate::vdi::steps::replace_image::Origin;
use crate::CephSr;

impl CephSr<'_> {
    /// Gives a disk the content and the size of a snapshot. Takes the same time for 1 GiB and for 64 TiB.
    /// Refused while the disk is in use, and if the pool is really full.
    pub fn revert_vdi(&self, vdi: &Uuid, snapshot: &Uuid) -> Result<VdiRecord> {
        loop {
            let source = self.journal().acquire(snapshot)?;
            let source = self.catalogue.present(&source, snapshot)?;
            crate::cbt::require_data(&source.record, "reverted to")?;
            let entry = self.journal().acquire(vdi)?;
            let stored = self.catalogue.present(&entry, vdi)?;
            if stored.record.reset_point.is_some() {
                self.forget_reset_point(vdi)?;
                continue;
            }
            let (Volume::Head { .. }, Volume::Snapshot { image, snapshot: s }) =
                (&stored.record.volume, &source.record.volume)
            else {
                return Err(Error::NotRevertible {
                    vdi: *vdi,
                    snapshot: *snapshot,
                });
            };
            let origin = Origin {
                snapshot: (image, s.id),
                size: source.record.size,
                depth: source.record.depth,
                tracked: source.record.tracked_snapshot(),
            };
            let unchanged =
                |transaction: Transaction| transaction.expect(vdi_key(snapshot), Some(source));
            let reverted = self.replace_image(vdi, &entry, &origin, unchanged);
            let reverted =
                reverted.map_err(|e| self.images.explain_missing_source(&source.record, e))?;
            if let Some(record) = reverted {
                return Ok(record);
            }
        }
    }
}
