//! Creating a disk.
//!
//! 1. The intent, with the image's name, goes into the catalogue.
//! 2. The image is made, then its image-meta is set.
//! 3. One swap writes the VDI's record and removes the intent.
//!
//! Until step 3 XAPI does not know the VDI and nobody can have written to it, so whoever finds the
//! intent undoes it (`vdi/steps/new_image.rs`): one swap turns it into the deletion of the image of
//! that name, with the image's id, and `vdi/steps/disposal.rs` does the rest. That no image of that name existed is checked before step
//! 1, so what is found after it was made by step 2; and an image whose image-meta names another VDI
//! is left alone all the same.

use sr::xapi::XapiFields;
use uuid::Uuid;

use crate::catalogue::vdi_key;
use crate::error::Result;
use crate::record::{ImageMeta, ImageRef, Record, VdiRecord, Volume, VERSION};
use crate::{room, CephSr};

/// A disk to make.
#[derive(Debug, Clone)]
pub struct NewDisk {
    /// The VDI's UUID.
    pub uuid: Uuid,
    /// Bytes asked for.
    pub size: i128,
    /// What XAPI says about it.
    pub xapi: XapiFields,
}

impl CephSr<'_> {
    /// Makes a disk of at least the size asked for.
    pub fn create_disk(&self, new: &NewDisk) -> Result<VdiRecord> {
        let vdi = new.uuid;
        let size = super::disk_size(new.size)?;
        let usage = room::require(self.pool, &format!("VDI {vdi} was not created"))?;
        room::warn_if_oversized(&vdi, size, &usage);
        let image_name = self.images.first_name(&vdi);
        let intent = loop {
            if let Some(intent) = self.begin_image(&vdi, &image_name, None)? {
                break intent;
            }
        };

        let meta = ImageMeta {
            version: VERSION,
            sr: self.sr,
            vdi,
            xapi: new.xapi.clone(),
        };
        let id = match self.images.make(&image_name, size, &meta) {
            Ok(id) => id,
            Err(error) => {
                return Err(self.undo_after(error, &vdi, &intent, &image_name));
            }
        };
        let image = ImageRef {
            name: image_name,
            id,
        };
        let mut record = VdiRecord::new(vdi, Volume::Head { image }, size, new.xapi.clone());
        let bytes = record.seal();
        self.journal()
            .finish(&vdi, &intent, None, |transaction, _| {
                transaction
                    .expect::<VdiRecord>(vdi_key(&vdi), None)
                    .put(vdi_key(&vdi), bytes.clone())
            })?;
        Ok(record)
    }
}
