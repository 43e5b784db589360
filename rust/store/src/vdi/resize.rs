//! Growing a disk.
//!
//! 1. The intent, with the new size, goes into the catalogue.
//! 2. The image grows.
//! 3. One swap writes the size that the image has and removes the intent.
//!
//! Whoever finds the intent reads the image's real size, which is the old or the new one, and
//! does step 3. The record never promises more than the image has.

use uuid::Uuid;

use crate::catalogue::{vdi_key, Stored};
use crate::error::{Context, Error, Result};
use crate::record::{Action, ImageRef, Intent, VdiRecord};
use crate::Repository;

impl Repository<'_> {
    /// Grows a disk to at least `requested` bytes; the size it has then. Shrinking is refused.
    pub fn resize_vdi(&self, vdi: &Uuid, requested: i128) -> Result<u64> {
        let size = super::disk_size(requested)?;
        loop {
            let entry = self.turn(vdi)?;
            let stored = self.present(&entry, vdi)?;
            let current = stored.record.size;
            if stored.record.volume.snapshot().is_some() {
                return Err(Error::ReadOnly {
                    vdi: *vdi,
                    refused: "resized",
                });
            }
            if size < current {
                return Err(Error::Shrink {
                    vdi: *vdi,
                    current,
                    size,
                });
            }
            if size == current {
                return Ok(current);
            }
            self.refuse_if_in_use(&stored.record)?;
            self.require_room(&format!("VDI {vdi} was not resized"))?;
            if stored.record.reset_point.is_some() {
                self.forget_reset_point(vdi)?;
                continue;
            }
            let image = stored.record.volume.image().clone();
            let action = Action::Grow {
                image: image.clone(),
                size,
            };
            let Some(intent) = self.begin(vdi, &entry, action, |swap| swap)? else {
                continue;
            };
            self.cluster
                .grow_image(&image.id, size)
                .doing(&format!("growing image {} to {size} bytes", image.name))?;
            self.record_size(vdi, &intent, Some(stored.clone()), size)?;
            return Ok(size);
        }
    }

    fn record_size(
        &self,
        vdi: &Uuid,
        intent: &Stored<Intent>,
        record: Option<Stored<VdiRecord>>,
        size: u64,
    ) -> Result<()> {
        self.finish(vdi, intent, record, |swap, record| match record {
            None => swap,
            Some(stored) => {
                let mut record = stored.record.clone();
                record.epoch += u64::from(record.size != size);
                record.size = size;
                swap.expect(vdi_key(vdi), Some(stored))
                    .write(vdi_key(vdi), &mut record)
            }
        })
    }
}

/// Brings a resize to its end: the record gets the size that the image has.
pub(crate) fn complete(
    repository: &Repository<'_>,
    vdi: &Uuid,
    intent: &Stored<Intent>,
    image: &ImageRef,
) -> Result<()> {
    let size = match repository.cluster.image(&image.id) {
        Ok(state) => state.size,
        // Removed outside this driver: the scan reports that; the intent must not stay for ever.
        Err(e) if e.is_not_found() => return repository.finish(vdi, intent, None, |swap, _| swap),
        Err(e) => return Err(e).doing(&format!("reading the size of image {}", image.name)),
    };
    let record = repository.entry(vdi)?.vdi;
    repository.record_size(vdi, intent, record, size)
}
