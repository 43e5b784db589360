//! Creating a disk.
//!
//! 1. The intent, with the image's name, goes into the catalogue.
//! 2. The image is made, then its image-meta is set.
//! 3. One swap writes the VDI's record and removes the intent.
//!
//! Until step 3 XAPI does not have the VDI and no VM can have written to it, so recovery undoes it
//! (`vdi/steps/new_image.rs`): one swap turns the intent into the deletion of the image of that name, with
//! the image's id, and `vdi/steps/disposal.rs` does the rest. Before step 1 it is checked that no image of
//! that name exists, so step 2 made the one that is found. An image whose image-meta names another VDI is
//! still left alone.

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
    /// Bytes that were requested.
    pub size: i128,
    /// What XAPI has about it.
    pub xapi: XapiFields,
}

impl CephSr<'_> {
    /// Makes a disk of at least the requested size.
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
            adopted_from: None,
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
