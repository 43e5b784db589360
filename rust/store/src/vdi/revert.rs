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

use crate::catalogue::{image_prefix, vdi_key, Stored};
use crate::error::{Error, Result};
use crate::record::{Action, ImageRef, Intent, VdiRecord, Volume};
use crate::vdi::delete;
use crate::Repository;

impl Repository<'_> {
    /// Gives a disk the content and the size of a snapshot; takes as long for 1 GiB as for 64 TiB.
    /// Refused while the disk is in use.
    pub fn revert_vdi(&self, vdi: &Uuid, snapshot: &Uuid) -> Result<VdiRecord> {
        self.require_room(&format!("VDI {vdi} was not reverted"))?;
        loop {
            let source = self.turn(snapshot)?;
            let source = self.present(&source, snapshot)?;
            let entry = self.turn(vdi)?;
            let stored = self.present(&entry, vdi)?;
            let (Volume::Head { image }, Volume::Snapshot { .. }) =
                (&stored.record.volume, &source.record.volume)
            else {
                return Err(Error::NotRevertible {
                    vdi: *vdi,
                    snapshot: *snapshot,
                });
            };
            self.refuse_if_in_use(&stored.record)?;
            let image_name = self.next_image_name(vdi, image);
            self.require_free_name(vdi, &image_name)?;
            let action = Action::Revert {
                image_name: image_name.clone(),
            };
            let intent = self.begin(vdi, &entry, action, |swap| {
                swap.expect(vdi_key(snapshot), Some(source))
            })?;
            if let Some(intent) = intent {
                let (disk, source) = (&stored.record, &source.record);
                return self.exchange(disk, image, source, &image_name, &intent);
            }
        }
    }

    fn exchange(
        &self,
        disk: &VdiRecord,
        old: &ImageRef,
        source: &VdiRecord,
        image_name: &str,
        intent: &Stored<Intent>,
    ) -> Result<VdiRecord> {
        let vdi = disk.uuid;
        let snapshot = source.volume.snapshot().map_or(0, |s| s.id);
        let reverted = self
            .make_clone(
                (source.volume.image(), snapshot),
                image_name,
                &vdi,
                &disk.xapi,
            )
            .and_then(|image| self.repoint(&vdi, intent, source, old, &image));
        match reverted {
            Ok((record, intent)) => {
                if let Err(e) = delete::complete(self, &vdi, &intent) {
                    log::warn!("VDI {vdi} is reverted; its old image goes later: {e}");
                }
                Ok(record)
            }
            Err(error) => {
                self.undo_after(&error, &vdi, intent, image_name);
                Err(error)
            }
        }
    }

    /// Points the disk at its new image, unless somebody has claimed it meanwhile.
    fn repoint(
        &self,
        vdi: &Uuid,
        intent: &Stored<Intent>,
        source: &VdiRecord,
        old: &ImageRef,
        new: &ImageRef,
    ) -> Result<(VdiRecord, Stored<Intent>)> {
        loop {
            let entry = self.entry_under(vdi, intent, &format!("reverting VDI {vdi}"))?;
            let stored = self.present(&entry, vdi)?;
            self.refuse_if_in_use(&stored.record)?;
            let mut record = stored.record.clone().with_depth(source.depth + 1);
            record.volume = Volume::Head { image: new.clone() };
            record.size = source.size;
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
