//! Deleting a VDI. It always succeeds, whatever depends on the VDI: what others need stays.
//!
//! 1. One swap removes the VDI's record and writes the intent: from here on the VDI is gone for
//!    XAPI, whatever happens.
//! 2. A disk's image goes to the trash, which takes as long for 1 GiB as for 64 TiB, and the
//!    cluster's manager is asked to free it; or, where it has snapshots, it is hidden. A
//!    snapshot is removed unless another VDI is the same one; where clones need it, Ceph keeps it
//!    out of sight until the last of them goes.
//! 3. The intent is removed, and with the same swap a hidden image gets its key.
//!
//! Whoever finds the intent repeats steps 2 and 3; all is idempotent. Space that is still to be
//! freed is remembered by the trash itself: every scan asks again for what is there.
//!
//! **Hidden images.** An image without a VDI whose snapshots are still needed stays in the pool's
//! directory, since nothing in the trash can be mapped. Whoever removes its last snapshot puts it
//! in the trash, and every scan looks at those whose last clone went meanwhile.

use uuid::Uuid;

use crate::catalogue::{hidden_key, vdi_key, Stored, HIDDEN_PREFIX, VDI_PREFIX};
use crate::cluster::{Entries, Swap};
use crate::error::{Context, Result};
use crate::record::{
    Action, HiddenRecord, ImageRef, Intent, Record, SnapshotRef, VdiRecord, Volume,
};
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
            if stored.record.reset_point.is_some() {
                self.forget_reset_point(vdi)?;
                continue;
            }
            let action = match stored.record.volume.clone() {
                Volume::Head { image } => Action::DeleteDisk {
                    image,
                    base: stored.record.base.clone().map(|base| base.snapshot),
                },
                Volume::Snapshot { image, snapshot } => Action::DeleteSnapshot { image, snapshot },
            };
            if let Some(intent) =
                self.begin(vdi, &entry, action, |swap| swap.erase(vdi_key(vdi)))?
            {
                return complete(self, vdi, &intent);
            }
        }
    }

    /// Moves an image to the trash and asks for its space to be freed. An image whose id is not
    /// in the directory any more was moved before; the name that it has there is what counts,
    /// since somebody may have renamed it and given its name to another one.
    pub(crate) fn discard(&self, image: &ImageRef) -> Result<()> {
        let doing = format!("moving image {} to the trash", image.name);
        if let Some(name) = self.cluster.image_name(&image.id).doing(&doing)? {
            match self.cluster.trash_image(&name) {
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

    /// Puts the hidden images among `entries` in the trash whose last snapshot is gone.
    pub(crate) fn sweep(&self, entries: &Entries) -> Result<()> {
        for (key, value) in entries.range(HIDDEN_PREFIX.to_owned()..) {
            if !key.starts_with(HIDDEN_PREFIX) {
                break;
            }
            match Stored::<HiddenRecord>::parse(value.clone()) {
                Ok(stored) => self.discard_if_free(&stored)?,
                Err(e) => log::error!("SR {}: {key} is damaged: {e}", self.sr),
            }
        }
        Ok(())
    }

    fn discard_if_free(&self, hidden: &Stored<HiddenRecord>) -> Result<()> {
        let image = &hidden.record.image;
        if self.has_snapshots(image)? {
            return Ok(());
        }
        self.discard(image)?;
        let key = hidden_key(&image.id);
        let swap = Swap::default().expect(key.clone(), Some(hidden)).erase(key);
        // Where the swap does not apply, somebody else has swept.
        self.commit(&format!("forgetting hidden image {}", image.name), &swap)?;
        Ok(())
    }

    /// Whether anything depends on an image; not on one that does not exist.
    fn has_snapshots(&self, image: &ImageRef) -> Result<bool> {
        match self.cluster.snapshots(&image.id) {
            Err(e) if e.is_not_found() => Ok(false),
            other => other
                .doing(&format!("looking for snapshots of image {}", image.name))
                .map(|snapshots| !snapshots.is_empty()),
        }
    }
}

/// Brings a deletion to its end.
pub(crate) fn complete(
    repository: &Repository<'_>,
    vdi: &Uuid,
    intent: &Stored<Intent>,
) -> Result<()> {
    match &intent.record.action {
        Action::DeleteDisk { image, base } => {
            if let Some(base) = base {
                repository.remove_snapshot(image, base.id)?;
            }
            if repository.has_snapshots(image)? {
                let bytes = HiddenRecord::new(image.clone()).seal();
                return repository.finish(vdi, intent, None, |swap, _| {
                    swap.put(hidden_key(&image.id), bytes.clone())
                });
            }
            repository.discard(image)?;
        }
        Action::DeleteSnapshot { image, snapshot } => {
            drop_snapshot(repository, vdi, image, snapshot)?;
        }
        _ => {}
    }
    repository.finish(vdi, intent, None, |swap, _| swap)
}

fn drop_snapshot(
    repository: &Repository<'_>,
    vdi: &Uuid,
    image: &ImageRef,
    snapshot: &SnapshotRef,
) -> Result<()> {
    let mut entries = repository.read_catalogue()?;
    let needed = entries.iter().any(|(key, value)| {
        key.starts_with(VDI_PREFIX)
            // A record that cannot be read might be the same snapshot.
            && VdiRecord::parse(value).map_or(true, |record| {
                record.uuid != *vdi
                    && record.volume.image().id == image.id
                    && record.volume.snapshot().is_some_and(|s| s.id == snapshot.id)
            })
    });
    if needed {
        return Ok(());
    }
    repository.remove_snapshot(image, snapshot.id)?;
    entries.retain(|key, _| *key == hidden_key(&image.id));
    repository.sweep(&entries)
}
