//! The image behind a VDI: its state, and whether it is complete.

use super::Images;
use crate::error::{Context, Error, ImageError, Result};
use crate::pool::{ImageHeader, ImageState};
use crate::record::VdiRecord;

impl Images<'_> {
    /// Returns the state of the image behind a VDI. Fails if the image does not exist or is too small.
    pub(crate) fn state(&self, record: &VdiRecord) -> Result<ImageState> {
        let vdi = record.uuid;
        let image = record.volume.image();
        let state = self.found(record, self.pool.image(&image.id))?;
        if let Some(refusal) = self.refusal_of(&state.name, state.features) {
            return Err(refusal.into());
        }
        let actual = match record.volume.snapshot() {
            None => state.size,
            Some(wanted) => {
                let mut snapshots = state.snapshots.iter();
                let found = snapshots.find(|s| s.id == wanted.id && !s.removed);
                found
                    .ok_or_else(|| ImageError::SnapshotMissing {
                        vdi,
                        image: image.name.clone(),
                        snapshot: wanted.name.clone(),
                    })?
                    .size
            }
        };
        self.require_whole(record, actual)?;
        Ok(state)
    }

    /// Returns the header of a disk's image. Fails if the image does not exist or is too small.
    pub(crate) fn header(&self, record: &VdiRecord) -> Result<ImageHeader> {
        let header = self.pool.header(&record.volume.image().id);
        let header = self.found(record, header)?;
        self.require_whole(record, header.size)?;
        Ok(header)
    }

    fn found<T>(&self, record: &VdiRecord, looked_up: crate::pool::Result<T>) -> Result<T> {
        let image = record.volume.image();
        match looked_up {
            Err(e) if e.is_not_found() => Err(self.explain_missing(record.uuid, image)),
            other => other.doing(&format!("looking at image {}", image.name)),
        }
    }

    /// The size in bytes of a VDI's clones. The image of a disk may have been grown by hand.
    pub(crate) fn size_of(&self, record: &VdiRecord) -> Result<u64> {
        if record.volume.snapshot().is_some() {
            return Ok(record.size);
        }
        let size = self.pool.size(&record.volume.image().id);
        self.found(record, size)
    }

    /// Refuses an image that is smaller than its VDI: it was shrunk outside smblock.
    pub(crate) fn require_whole(&self, record: &VdiRecord, actual: u64) -> Result<()> {
        if actual >= record.size {
            return Ok(());
        }
        Err(ImageError::Shrunk {
            vdi: record.uuid,
            pool: self.pool.spec(),
            image: record.volume.image().name.clone(),
            actual,
            expected: record.size,
        }
        .into())
    }

    /// Explains that the source of a clone, a snapshot, does not exist.
    pub(crate) fn explain_missing_source(&self, source: &VdiRecord, error: Error) -> Error {
        if !matches!(&error, Error::Ceph { source, .. } if source.is_not_found()) {
            return error;
        }
        match self.state(source) {
            Err(
                reason @ (Error::Image(
                    ImageError::SnapshotMissing { .. } | ImageError::Missing { .. },
                )
                | Error::ByHand(_)),
            ) => reason,
            _ => error,
        }
    }
}
