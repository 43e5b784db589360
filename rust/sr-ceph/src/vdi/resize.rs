//! Growing a disk.
//!
//! 1. The intent, with the new size, goes into the catalogue.
//! 2. The image grows.
//! 3. One swap writes the size that the image has and removes the intent.
//!
//! The size that the image has counts. An image that was shrunk by hand is refused: growing it would put
//! zeros in the place of lost data. An image that was grown by hand keeps its size.
//!
//! A disk in use grows only if XAPI asks for it: see `vdi/plugged.rs`.
//!
//! Recovery reads the image's real size, which is the old or the new one, and does step 3. The record never
//! promises more than the image has.

use uuid::Uuid;

use crate::catalogue::{vdi_key, Stored};
use crate::error::{Context, Error, Result};
use crate::record::{Action, ImageRef, Intent, VdiRecord};
use crate::{room, CephSr};

impl CephSr<'_> {
    /// Grows a disk to at least `requested` bytes. Returns its new size. Shrinking is refused.
    pub fn resize_vdi(&self, vdi: &Uuid, requested: i128) -> Result<u64> {
        let rounded = super::disk_size(requested)?;
        loop {
            let entry = self.journal().acquire(vdi)?;
            let stored = self.catalogue.present(&entry, vdi)?;
            crate::ha::refuse(&stored.record, "resized")?;
            let current = stored.record.size;
            if stored.record.volume.snapshot().is_some() {
                return Err(Error::ReadOnly {
                    vdi: *vdi,
                    refused: "resized",
                });
            }
            // A disk that was made with another unit of sizes, or grown by hand, keeps its size.
            let size = match requested <= i128::from(current) {
                true => rounded.min(current),
                false => rounded,
            };
            if size < current {
                return Err(Error::Shrink {
                    vdi: *vdi,
                    current,
                    size,
                });
            }
            // An image that was grown by hand is not shrunk: the disk gets its size.
            let actual = self.images.header(&stored.record)?.size;
            let size = size.max(actual);
            if size == current {
                return Ok(current);
            }
            let user = self.require_growable(&stored.record)?;
            let usage = room::require(self.pool, &format!("VDI {vdi} was not resized"))?;
            room::warn_if_oversized(vdi, size, &usage);
            if stored.record.reset_point.is_some() {
                self.forget_reset_point(vdi)?;
                continue;
            }
            let image = stored.record.volume.image().clone();
            let action = Action::Grow {
                image: image.clone(),
                size,
            };
            let Some(intent) = self
                .journal()
                .begin(vdi, &entry, action, |transaction| transaction)?
            else {
                continue;
            };
            if actual < size {
                if let Err(error) = self.grow(&image, size) {
                    self.complete_after(&error, vdi, &intent, &image);
                    return Err(self.images.explain_refusal(&image, error));
                }
            }
            self.record_size(vdi, &intent, Some(stored.clone()), size)?;
            if let Some(host) = user {
                self.warn_unless_grown_on(&host, vdi, size);
            }
            return Ok(size);
        }
    }

    fn grow(&self, image: &ImageRef, size: u64) -> Result<()> {
        let grown = self.pool.grow_image(&image.id, size);
        grown.doing(&format!("growing image {} to {size} bytes", image.name))
    }

    /// Removes the intent of a growth that the cluster has refused. If the outcome is unknown, the intent
    /// stays for recovery.
    fn complete_after(&self, error: &Error, vdi: &Uuid, intent: &Stored<Intent>, image: &ImageRef) {
        if error.is_outcome_unknown() {
            return;
        }
        if let Err(e) = complete(self, vdi, intent, image) {
            log::warn!("VDI {vdi}: its unfinished resize will be completed later: {e}");
        }
    }

    fn record_size(
        &self,
        vdi: &Uuid,
        intent: &Stored<Intent>,
        record: Option<Stored<VdiRecord>>,
        size: u64,
    ) -> Result<()> {
        self.journal()
            .finish(vdi, intent, record, |transaction, record| match record {
                None => transaction,
                Some(stored) => {
                    let mut record = stored.record.clone();
                    record.epoch += u64::from(record.size != size);
                    record.size = size;
                    transaction
                        .expect(vdi_key(vdi), Some(stored))
                        .write(vdi_key(vdi), &mut record)
                }
            })
    }
}

/// Finishes a resize: the record gets the size that the image has.
pub(crate) fn complete(
    ceph_sr: &CephSr<'_>,
    vdi: &Uuid,
    intent: &Stored<Intent>,
    image: &ImageRef,
) -> Result<()> {
    let size = match ceph_sr.pool.image(&image.id) {
        Ok(state) => state.size,
        // Removed outside smblock: a scan reports that. The intent must not stay.
        Err(e) if e.is_not_found() => {
            return ceph_sr
                .journal()
                .finish(vdi, intent, None, |transaction, _| transaction)
        }
        Err(e) => return Err(e).doing(&format!("reading the size of image {}", image.name)),
    };
    let record = ceph_sr.catalogue.entry(vdi)?.vdi;
    ceph_sr.record_size(vdi, intent, record, size)
}
