//! Deleting an SR, which must hold nothing any more.
//!
//! 1. The SR's record is marked: from here on nothing can be created, since every creation
//!    expects the record as it was read.
//! 2. With the mark standing, the SR is looked at again, and the mark is taken back if anything
//!    is left.
//! 3. The catalogue object is removed, then the key in the pool's directory.
//!
//! A crash leaves a marked SR, which can be deleted again or, on the next attach, is used again; or
//! a directory key without a catalogue, which is no SR. Only what bears this SR's UUID is touched:
//! never the pool, never an image.

use uuid::Uuid;

use crate::catalogue::{
    directory_key, image_prefix, Stored, DIRECTORY, INTENT_PREFIX, SR_KEY, VDI_PREFIX,
};
use crate::cluster::Swap;
use crate::error::{Context, Error, Result};
use crate::record::{Record, SrRecord};
use crate::Repository;

impl Repository<'_> {
    /// Deletes an SR without VDIs. One that does not exist is deleted already.
    pub fn delete_sr(&self) -> Result<()> {
        let marked = match self.mark_deleting(true) {
            Err(Error::SrMissing { .. }) => false,
            other => other.map(|()| true)?,
        };
        if marked {
            if let Err(refusal) = self.require_empty() {
                if let Err(e) = self.mark_deleting(false) {
                    log::warn!("SR {} stays marked until it is attached: {e}", self.sr);
                }
                return Err(refusal);
            }
            let doing = format!("removing the catalogue of SR {}", self.sr);
            match self.cluster.remove_object(&self.object()) {
                Err(e) if e.is_not_found() => {}
                other => other.doing(&doing)?,
            }
        }
        let swap = Swap::default().erase(directory_key(&self.sr));
        match self.cluster.swap(DIRECTORY, &swap) {
            Err(e) if e.is_not_found() => Ok(()),
            other => other.doing("removing the SR from the pool's directory"),
        }
    }

    /// Sets or clears the mark that nothing may be created.
    pub(crate) fn mark_deleting(&self, deleting: bool) -> Result<()> {
        loop {
            let stored = self.sr_record()?;
            if stored.record.deleting == deleting {
                return Ok(());
            }
            let mut record = stored.record.clone();
            record.deleting = deleting;
            if self.replace_sr_record(&stored, &mut record)? {
                return Ok(());
            }
        }
    }

    /// The SR's own record.
    pub(crate) fn sr_record(&self) -> Result<Stored<SrRecord>> {
        self.entry(&Uuid::nil()).map(|entry| entry.sr)
    }

    /// `false`: somebody else wrote it meanwhile.
    pub(crate) fn replace_sr_record(
        &self,
        stored: &Stored<SrRecord>,
        record: &mut SrRecord,
    ) -> Result<bool> {
        let swap = Swap::default()
            .expect(SR_KEY.to_owned(), Some(stored))
            .put(SR_KEY.to_owned(), record.seal());
        self.commit(&format!("updating SR {}", self.sr), &swap)
    }

    fn require_empty(&self) -> Result<()> {
        let entries = self.read_catalogue()?;
        let count = |prefix: &str| entries.keys().filter(|k| k.starts_with(prefix)).count();
        let (vdis, operations) = (count(VDI_PREFIX), count(INTENT_PREFIX));
        let prefix = image_prefix(&self.sr);
        let images = self.cluster.images().doing("listing the pool's images")?;
        let images = images.values().filter(|n| n.starts_with(&prefix)).count();
        let trashed = self.trashed_images()?.len();
        if (vdis, operations, images, trashed) == (0, 0, 0, 0) {
            return Ok(());
        }
        Err(Error::SrNotEmpty {
            sr: self.sr,
            vdis,
            operations,
            images,
            trashed,
        })
    }
}
