//! Deleting a disk.
//!
//! 1. One swap removes the VDI's record and writes the intent: from here on the VDI is gone for
//!    XAPI, whatever happens.
//! 2. The image goes to the trash, which takes as long for 1 GiB as for 64 TiB.
//! 3. The cluster's manager is asked to free it.
//! 4. The intent is removed.
//!
//! Whoever finds the intent repeats steps 2 to 4; all are idempotent. Step 3 may fail: the trash
//! itself remembers what is to be freed, and every scan asks again for what is still there.

use uuid::Uuid;

use crate::catalogue::{vdi_key, Stored};
use crate::error::{Context, Result};
use crate::record::{Action, ImageRef, Intent};
use crate::usage::PoolUsage;
use crate::Repository;

impl Repository<'_> {
    /// Deletes a VDI. One that does not exist is deleted already.
    pub fn delete_vdi(&self, vdi: &Uuid) -> Result<()> {
        loop {
            let entry = self.turn(vdi)?;
            let Some(stored) = &entry.vdi else {
                log::info!("VDI {vdi} is not in SR {}: nothing to delete", self.sr);
                return Ok(());
            };
            self.refuse_if_in_use(&stored.record)?;
            let image = stored.record.volume.image().clone();
            let action = Action::DeleteDisk {
                image: image.clone(),
            };
            if let Some(intent) =
                self.begin(vdi, &entry, action, |swap| swap.erase(vdi_key(vdi)))?
            {
                return complete(self, vdi, &intent, &image);
            }
        }
    }

    /// Moves an image to the trash and asks for its space to be freed. An image whose id is not
    /// in the directory any more was moved before; the name that it has there is what counts,
    /// since somebody may have renamed it and given its name to another one.
    pub(crate) fn discard(&self, image: &ImageRef) -> Result<()> {
        let doing = format!("moving image {} to the trash", image.name);
        let images = self.cluster.images().doing(&doing)?;
        if let Some(name) = images.get(&image.id) {
            match self.cluster.trash_image(name) {
                Err(e) if e.is_not_found() => {}
                other => other.doing(&doing)?,
            }
        }
        match self.usage() {
            Ok(usage) => self.request_purge(&image.id, &usage),
            Err(e) => log::warn!("image {} stays in the trash for now: {e}", image.id),
        }
        Ok(())
    }

    /// Asks the manager to free a trashed image. That it does not answer costs space for a while
    /// and nothing else: the next scan asks again.
    ///
    /// In a full pool it is not asked: its own writes there would wait until there is room, and
    /// with them all that it was asked to free in any pool.
    pub(crate) fn request_purge(&self, image_id: &str, usage: &PoolUsage) {
        if usage.full.is_some() {
            log::warn!(
                "pool {} is full, where the cluster's manager frees nothing: run 'smblock-admin reclaim --sr {}' to free image {image_id}",
                usage.pool,
                self.sr
            );
            return;
        }
        if let Err(e) = self.cluster.schedule_purge(image_id) {
            log::warn!("image {image_id} stays in the trash for now, a later scan will ask again for its space: {e}");
        }
    }
}

/// Brings a deletion to its end.
pub(crate) fn complete(
    repository: &Repository<'_>,
    vdi: &Uuid,
    intent: &Stored<Intent>,
    image: &ImageRef,
) -> Result<()> {
    repository.discard(image)?;
    repository.finish(vdi, intent, None, |swap, _| swap)
}
