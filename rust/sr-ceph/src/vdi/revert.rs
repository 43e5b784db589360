//! Reverting a disk to a snapshot: it keeps its UUID and its name, and gets another image.
//!
//! 1. The intent, with the new image's name, goes into the catalogue.
//! 2. The snapshot is cloned to that image, then its image-meta is set. Nothing is copied and
//!    nothing renamed: a kernel's mapping remembers the name that it was made with.
//! 3. One swap points the VDI's record at the new image, and turns the intent into the deletion of
//!    the old one.
//! 4. The old image goes the way of a deleted disk's: to the trash, or hidden while its snapshots
//!    are needed. The intent is removed.
//!
//! Up to step 3 the disk is what it was, and whoever finds the intent undoes it as a creation;
//! from there on it is reverted, and whoever finds the intent does step 4.

use uuid::Uuid;

use crate::catalogue::{image_prefix, vdi_key, Entry, Stored};
use crate::cluster::Swap;
use crate::error::{Error, Result};
use crate::record::{Action, ImageRef, Intent, VdiRecord, Volume};
use crate::vdi::delete;
use crate::Repository;

/// What a disk is to become: a snapshot of an image.
pub(crate) struct Origin<'o> {
    /// The image, and the snapshot's id.
    pub snapshot: (&'o ImageRef, u64),
    /// Size in bytes.
    pub size: u64,
    /// How many parents the image has, one behind the other.
    pub depth: u32,
}

impl Repository<'_> {
    /// Gives a disk the content and the size of a snapshot; takes as long for 1 GiB as for 64 TiB.
    /// Refused while the disk is in use, and not for want of room before the pool is really full.
    pub fn revert_vdi(&self, vdi: &Uuid, snapshot: &Uuid) -> Result<VdiRecord> {
        loop {
            let source = self.turn(snapshot)?;
            let source = self.present(&source, snapshot)?;
            let entry = self.turn(vdi)?;
            let stored = self.present(&entry, vdi)?;
            if stored.record.reset_point.is_some() {
                self.forget_reset_point(vdi)?;
                continue;
            }
            let (Volume::Head { .. }, Volume::Snapshot { image, snapshot: s }) =
                (&stored.record.volume, &source.record.volume)
            else {
                return Err(Error::NotRevertible {
                    vdi: *vdi,
                    snapshot: *snapshot,
                });
            };
            let origin = Origin {
                snapshot: (image, s.id),
                size: source.record.size,
                depth: source.record.depth,
            };
            let unchanged = |swap: Swap| swap.expect(vdi_key(snapshot), Some(source));
            let reverted = self.exchange(vdi, &entry, &origin, unchanged);
            let reverted = reverted.map_err(|e| self.explain_missing_source(&source.record, e))?;
            if let Some(record) = reverted {
                return Ok(record);
            }
        }
    }

    /// Gives a disk at rest a clone of `origin` for an image, as long as `also` holds.
    /// `None`: something has changed; look again.
    pub(crate) fn exchange(
        &self,
        vdi: &Uuid,
        entry: &Entry,
        origin: &Origin<'_>,
        also: impl FnOnce(Swap) -> Swap,
    ) -> Result<Option<VdiRecord>> {
        let disk = &self.present(entry, vdi)?.record;
        self.refuse_if_in_use(disk)?;
        let old = disk.volume.image();
        let image_name = self.next_image_name(vdi, old);
        self.require_free_name(vdi, &image_name)?;
        let action = Action::Revert {
            image_name: image_name.clone(),
        };
        let Some(intent) = self.begin(vdi, entry, action, also)? else {
            return Ok(None);
        };
        let reverted = self
            .make_clone(origin.snapshot, &image_name, vdi, &disk.xapi)
            .and_then(|image| self.repoint(vdi, &intent, origin, old, &image));
        match reverted {
            Ok((record, intent)) => {
                if let Err(e) = delete::complete(self, vdi, &intent) {
                    log::warn!("VDI {vdi} is reverted; its old image goes later: {e}");
                }
                Ok(Some(record))
            }
            Err(error) => Err(self.undo_after(error, vdi, &intent, &image_name)),
        }
    }

    /// Points the disk at its new image, unless somebody has claimed it meanwhile.
    fn repoint(
        &self,
        vdi: &Uuid,
        intent: &Stored<Intent>,
        origin: &Origin<'_>,
        old: &ImageRef,
        new: &ImageRef,
    ) -> Result<(VdiRecord, Stored<Intent>)> {
        loop {
            let entry = self.entry_under(vdi, intent, &format!("reverting VDI {vdi}"))?;
            let stored = self.present(&entry, vdi)?;
            self.refuse_if_in_use(&stored.record)?;
            let mut record = stored.record.clone().with_depth(origin.depth + 1);
            record.volume = Volume::Head { image: new.clone() };
            record.size = origin.size;
            record.epoch += 1;
            let next = Action::DeleteDisk {
                image: old.clone(),
                base: record.base.take().map(|base| base.snapshot),
            };
            if let Some(intent) = self.proceed(vdi, intent, stored, &mut record, next)? {
                return Ok((record, intent));
            }
        }
    }

    /// The name of the image that a VDI gets after that one.
    fn next_image_name(&self, vdi: &Uuid, image: &ImageRef) -> String {
        let number = image.name.rsplit('.').next().and_then(|n| n.parse().ok());
        let number = number.unwrap_or(0u64) + 1;
        format!("{}{vdi}.{number}", image_prefix(&self.sr))
    }
}
