//! A new image for a VDI, until a record of the catalogue names it: a step of a creation, of a clone, and
//! of a revert. `vdi/create.rs` states why it may be stopped anywhere.

use uuid::Uuid;

use super::disposal;
use crate::catalogue::{intent_key, vdi_key, Stored};
use crate::error::{Changed, Context, Error, Result};
use crate::lease::LEASE_SECONDS;
use crate::pool::{ImageState, Transaction};
use crate::record::{Action, ImageMeta, ImageRef, Intent, Record, VdiRecord};
use crate::CephSr;

impl CephSr<'_> {
    /// Writes the intent to make an image for a new VDI, as long as the VDI that it is made from has not
    /// changed. Returns `None` if something has changed: look again.
    pub(crate) fn begin_image(
        &self,
        vdi: &Uuid,
        image_name: &str,
        source: Option<&Stored<VdiRecord>>,
    ) -> Result<Option<Stored<Intent>>> {
        let entry = self.journal().acquire(vdi)?;
        if entry.vdi.is_some() {
            return Err(Error::VdiExists {
                sr: self.sr,
                vdi: *vdi,
            });
        }
        if entry.sr.record.deleting {
            return Err(Error::SrDeleting { sr: self.sr });
        }
        self.images.require_free_name(vdi, image_name)?;
        let action = Action::CreateDisk {
            image_name: image_name.to_owned(),
        };
        self.journal()
            .begin(vdi, &entry, action, |transaction| match source {
                None => transaction,
                Some(source) => transaction.expect(vdi_key(&source.record.uuid), Some(source)),
            })
    }

    /// Rolls back a failed creation. If that fails too, or if a request may still be applied, the intent
    /// stays for the next command, and the returned error states so.
    pub(crate) fn undo_after(
        &self,
        error: Error,
        vdi: &Uuid,
        intent: &Stored<Intent>,
        image_name: &str,
    ) -> Error {
        let undone =
            match &error {
                _ if error.is_outcome_unknown() => None,
                // Another client has made an image of that name meanwhile: it must not be removed.
                Error::Ceph { source, .. } if source.is_already_there() => Some(
                    self.journal()
                        .finish(vdi, intent, None, |transaction, _| transaction),
                ),
                _ => Some(undo(self, vdi, intent, image_name)),
            };
        error.after_rollback(vdi, undone)
    }
}

/// Undoes an unfinished creation: deletes the image, by its id from now on.
pub(crate) fn undo(
    ceph_sr: &CephSr<'_>,
    vdi: &Uuid,
    intent: &Stored<Intent>,
    image_name: &str,
) -> Result<()> {
    let Some(found) = unfinished_image(ceph_sr, vdi, image_name)? else {
        return ceph_sr
            .journal()
            .finish(vdi, intent, None, |transaction, _| transaction);
    };
    ceph_sr.remove_birth(&found)?;
    let image = ImageRef {
        name: found.name,
        id: found.id,
    };
    let mut deletion = intent.record.clone();
    deletion.action = Action::DeleteDisk { image, base: None };
    let bytes = deletion.seal();
    let key = intent_key(vdi);
    let transaction = Transaction::default()
        .expect(key.clone(), Some(intent))
        .put(key, bytes.clone());
    let doing = format!("undoing the creation of VDI {vdi}");
    if !ceph_sr.catalogue.commit(&doing, &transaction)? {
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
    disposal::complete(ceph_sr, vdi, &deletion)
}

/// Returns the image that was being made for a VDI, unless it belongs to another one.
fn unfinished_image(
    ceph_sr: &CephSr<'_>,
    vdi: &Uuid,
    image_name: &str,
) -> Result<Option<ImageState>> {
    let doing = format!("undoing the creation of VDI {vdi}");
    match ceph_sr.pool.image_by_name(image_name) {
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e).doing(&doing),
        Ok(image) if is_of_another(&image, &ceph_sr.sr, vdi) => {
            log::warn!("{doing}: image {image_name} belongs to another VDI; it was not changed");
            Ok(None)
        }
        Ok(image) => Ok(Some(image)),
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
