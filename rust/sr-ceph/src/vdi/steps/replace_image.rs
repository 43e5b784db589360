//! Another image for a disk: a clone of a snapshot. A step of a revert and of a reset; `vdi/revert.rs` states
//! why it may be stopped anywhere.

use uuid::Uuid;

use super::birth::Born;
use super::disposal;
use crate::catalogue::{Entry, Stored};
use crate::error::Result;
use crate::pool::Transaction;
use crate::record::{Action, ImageRef, Intent, SnapshotRef, VdiRecord, Volume};
use crate::CephSr;

/// The new content of a disk: a snapshot of an image.
pub(crate) struct Origin<'o> {
    /// The image, and the snapshot's id.
    pub snapshot: (&'o ImageRef, u64),
    /// Size in bytes.
    pub size: u64,
    /// The length of the image's clone chain, in parents.
    pub depth: u32,
    /// That snapshot, if its changes are tracked.
    pub tracked: Option<&'o SnapshotRef>,
}

impl CephSr<'_> {
    /// Gives an idle disk a clone of `origin` as image, as long as `also` holds. Returns `None` if something
    /// has changed: look again.
    pub(crate) fn replace_image(
        &self,
        vdi: &Uuid,
        entry: &Entry,
        origin: &Origin<'_>,
        also: impl FnOnce(Transaction) -> Transaction,
    ) -> Result<Option<VdiRecord>> {
        let disk = &self.catalogue.present(entry, vdi)?.record;
        self.claims.refuse_if_in_use(disk)?;
        // The old image is deleted after the last step that can be undone.
        self.require_disposable(disk, &format!("replacing the image of VDI {vdi}"))?;
        self.drop_prepared_of(vdi, entry)?;
        let old = disk.volume.image();
        let image_name = self.images.next_name(vdi, old);
        self.images.require_free_name(vdi, &image_name)?;
        let action = Action::Revert {
            image_name: image_name.clone(),
        };
        let Some(intent) = self.journal().begin(vdi, entry, action, also)? else {
            return Ok(None);
        };
        let reverted = self
            .images
            .make_clone(origin.snapshot, &image_name, vdi, &disk.xapi)
            .and_then(|image| self.birth(image, origin.tracked.map(|s| (origin.snapshot.0, s))))
            .and_then(|born| self.repoint(vdi, &intent, origin, old, &born));
        match reverted {
            Ok((record, intent)) => {
                if let Err(e) = disposal::complete(self, vdi, &intent) {
                    log::warn!("VDI {vdi} is reverted; its old image is removed later: {e}");
                }
                Ok(Some(record))
            }
            Err(error) => Err(self.undo_after(error, vdi, &intent, &image_name)),
        }
    }

    /// Changes the disk's record to its new image, unless a host has claimed the disk meanwhile.
    fn repoint(
        &self,
        vdi: &Uuid,
        intent: &Stored<Intent>,
        origin: &Origin<'_>,
        old: &ImageRef,
        born: &Born,
    ) -> Result<(VdiRecord, Stored<Intent>)> {
        loop {
            let entry =
                self.journal()
                    .entry_with_intent(vdi, intent, &format!("reverting VDI {vdi}"))?;
            let stored = self.catalogue.present(&entry, vdi)?;
            self.claims.refuse_if_in_use(&stored.record)?;
            let mut record = stored.record.clone().with_depth(origin.depth + 1);
            record.volume = Volume::Head {
                image: born.image.clone(),
            };
            record.size = origin.size;
            record.epoch += 1;
            let next = Action::DeleteDisk {
                image: old.clone(),
                base: record.base.take().map(|base| base.snapshot),
            };
            let recorded = self.journal().replace_intent(
                vdi,
                intent,
                stored,
                &mut record,
                next,
                |transaction| transaction.record_birth(born),
            )?;
            if let Some(intent) = recorded {
                return Ok((record, intent));
            }
        }
    }
}
