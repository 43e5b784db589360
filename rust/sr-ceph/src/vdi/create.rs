//! Creating a disk.
//!
//! 1. The intent, with the image's name, goes into the catalogue.
//! 2. The image is made, then its image-meta is set.
//! 3. One swap writes the VDI's record and removes the intent.
//!
//! Until step 3 XAPI does not know the VDI and nobody can have written to it, so whoever finds the
//! intent undoes it: one swap turns it into the deletion of the image of that name, with the image's
//! id, and `vdi/delete.rs` does the rest. That no image of that name existed is checked before step
//! 1, so what is found after it was made by step 2; and an image whose image-meta names another VDI
//! is left alone all the same.

use sr::xapi::XapiFields;
use uuid::Uuid;

use crate::catalogue::{intent_key, vdi_key, Stored};
use crate::cluster::{ImageState, Swap};
use crate::error::{Changed, Context, Error, Result};
use crate::journal::LEASE_SECONDS;
use crate::record::{Action, ImageMeta, ImageRef, Intent, Record, VdiRecord, Volume, VERSION};
use crate::Repository;

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

impl Repository<'_> {
    /// Makes a disk of at least the size asked for.
    pub fn create_disk(&self, new: &NewDisk) -> Result<VdiRecord> {
        let vdi = new.uuid;
        let size = super::disk_size(new.size)?;
        let usage = self.require_room(&format!("VDI {vdi} was not created"))?;
        self.warn_if_oversized(&vdi, size, &usage);
        let image_name = self.first_image_name(&vdi);
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
        let id = match self.make_image(&image_name, size, &meta) {
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
        self.finish(&vdi, &intent, None, |swap, _| {
            swap.expect::<VdiRecord>(vdi_key(&vdi), None)
                .put(vdi_key(&vdi), bytes.clone())
        })?;
        Ok(record)
    }

    /// Writes the intent to make an image for a new VDI, as long as the VDI that it is made from
    /// stays what it is. `None`: something has changed; look again.
    pub(crate) fn begin_image(
        &self,
        vdi: &Uuid,
        image_name: &str,
        source: Option<&Stored<VdiRecord>>,
    ) -> Result<Option<Stored<Intent>>> {
        let entry = self.turn(vdi)?;
        if entry.vdi.is_some() {
            return Err(Error::VdiExists {
                sr: self.sr,
                vdi: *vdi,
            });
        }
        if entry.sr.record.deleting {
            return Err(Error::SrDeleting { sr: self.sr });
        }
        self.require_free_name(vdi, image_name)?;
        let action = Action::CreateDisk {
            image_name: image_name.to_owned(),
        };
        self.begin(vdi, &entry, action, |swap| match source {
            None => swap,
            Some(source) => swap.expect(vdi_key(&source.record.uuid), Some(source)),
        })
    }

    /// Refuses a name that an image has: what is found under it later is then this driver's own.
    pub(crate) fn require_free_name(&self, vdi: &Uuid, image_name: &str) -> Result<()> {
        match self.cluster.image_by_name(image_name) {
            Err(e) if e.is_not_found() => Ok(()),
            Err(e) => Err(e).doing("looking for an image of the same name"),
            Ok(_) => Err(Error::ForeignImage {
                vdi: *vdi,
                image: image_name.to_owned(),
                pool: self.cluster.pool_name().to_owned(),
            }),
        }
    }

    fn make_image(&self, name: &str, size: u64, meta: &ImageMeta) -> Result<String> {
        let doing = format!("creating image {name} of {size} bytes");
        let text = meta.to_text(&doing)?;
        self.cluster
            .create_image(name, size, self.image_features, &text)
            .doing(&doing)
    }

    /// Rolls a failed creation back. If that fails too, or if a request may still be applied, the
    /// intent stays for the next command, and the returned error states so.
    pub(crate) fn undo_after(
        &self,
        error: Error,
        vdi: &Uuid,
        intent: &Stored<Intent>,
        image_name: &str,
    ) -> Error {
        let undone = match &error {
            _ if error.is_outcome_unknown() => None,
            // An image that another client made since the name was looked up: it is not ours to remove.
            Error::Cluster { source, .. } if source.is_already_there() => {
                Some(self.finish(vdi, intent, None, |swap, _| swap))
            }
            _ => Some(undo(self, vdi, intent, image_name)),
        };
        error.after_rollback(vdi, undone)
    }
}

/// Takes back what a creation that did not finish has left: deletes the image, by its id from here on.
pub(crate) fn undo(
    repository: &Repository<'_>,
    vdi: &Uuid,
    intent: &Stored<Intent>,
    image_name: &str,
) -> Result<()> {
    let Some(image) = unfinished_image(repository, vdi, image_name)? else {
        return repository.finish(vdi, intent, None, |swap, _| swap);
    };
    let mut deletion = intent.record.clone();
    deletion.action = Action::DeleteDisk { image, base: None };
    let bytes = deletion.seal();
    let key = intent_key(vdi);
    let swap = Swap::default()
        .expect(key.clone(), Some(intent))
        .put(key, bytes.clone());
    let doing = format!("undoing the creation of VDI {vdi}");
    if !repository.commit(&doing, &swap)? {
        return Err(Changed::LeaseLost {
            doing,
            lease: LEASE_SECONDS,
        }
        .into());
    }
    let deletion = Stored {
        bytes,
        record: deletion,
    };
    super::delete::complete(repository, vdi, &deletion)
}

/// The image that was being made for a VDI, unless it is another's.
fn unfinished_image(
    repository: &Repository<'_>,
    vdi: &Uuid,
    image_name: &str,
) -> Result<Option<ImageRef>> {
    let doing = format!("undoing the creation of VDI {vdi}");
    match repository.cluster.image_by_name(image_name) {
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e).doing(&doing),
        Ok(image) if is_of_another(&image, &repository.sr, vdi) => {
            log::warn!("{doing}: image {image_name} belongs to somebody else; left alone");
            Ok(None)
        }
        Ok(image) => Ok(Some(ImageRef {
            name: image.name,
            id: image.id,
        })),
    }
}

impl ImageMeta {
    /// What goes into the image-meta.
    pub(crate) fn to_text(&self, doing: &str) -> Result<String> {
        serde_json::to_string(self).map_err(|source| Error::Encoding {
            doing: doing.to_owned(),
            source,
        })
    }
}

fn is_of_another(image: &ImageState, sr: &Uuid, vdi: &Uuid) -> bool {
    let Some(text) = image.meta.as_deref() else {
        return false;
    };
    match serde_json::from_str::<ImageMeta>(text) {
        // A clone has its parent's image-meta until it gets its own.
        Ok(meta) => meta.sr != *sr || (meta.vdi != *vdi && !image.has_parent),
        Err(_) => true,
    }
}
