//! Cloning: a disk that shares the blocks of another VDI until it writes its own.
//!
//! A clone of a snapshot:
//! 1. The intent, with the new image's name, goes into the catalogue: the same as for a new disk,
//!    and undone in the same way.
//! 2. The image is cloned, then its image-meta is set.
//! 3. One swap writes the new VDI's record and removes the intent.
//!
//! A clone of a disk needs a snapshot first:
//! 1. One swap writes two intents: one at the disk, so that no other operation changes it meanwhile, and that
//!    of a creation at the new VDI, so that no other process makes it.
//! 2. A snapshot is taken, and the image is cloned from it.
//! 3. One swap writes the new VDI's record, names the snapshot in the disk's record as the *base* of
//!    its clones, and removes both intents.
//!
//! A clone of a tracked snapshot gets a birth (`vdi/steps/birth.rs`) in step 2, and its lineage in step 3.
//!
//! Recovery removes the snapshot for the first intent, and the new image for the second. The next clones are
//! made of the base, in the first way, if the disk has not changed (see `vdi/base.rs`).
//!
//! If a snapshot is removed while it is being cloned, cloning it fails, and nothing is left.

use uuid::Uuid;

use crate::catalogue::{intent_key, vdi_key, Entry, Stored};
use crate::error::{Context, Result};
use crate::image::Images;
use crate::record::{
    Action, BaseSnapshot, ImageRef, Intent, Record, SnapshotRef, VdiRecord, Volume,
};
use crate::{chain, room, CephSr};

impl CephSr<'_> {
    /// Makes a disk of the UUID `new` with the content that `source` has now.
    ///
    /// A clone of a snapshot is refused only if the pool is really full: XAPI's revert destroys the disk
    /// first, and this clone replaces it.
    pub fn clone_vdi(&self, source: &Uuid, new: &Uuid) -> Result<VdiRecord> {
        self.clone_any(source, new, false)
    }

    /// As [`CephSr::clone_vdi`], for a disk that is to keep its changes: its reset point is removed first.
    pub fn clone_lasting_vdi(&self, source: &Uuid, new: &Uuid) -> Result<VdiRecord> {
        self.clone_any(source, new, true)
    }

    fn clone_any(&self, source: &Uuid, new: &Uuid, lasts: bool) -> Result<VdiRecord> {
        loop {
            let entry = self.journal().acquire(source)?;
            let stored = self.catalogue.present(&entry, source)?;
            crate::ha::refuse(&stored.record, "cloned")?;
            crate::cbt::require_data(&stored.record, "cloned")?;
            if lasts && stored.record.reset_point.is_some() {
                self.forget_reset_point(source)?;
                continue;
            }
            let base = self.current_base(&stored.record)?;
            let done = match (&stored.record.volume, base) {
                (Volume::Snapshot { snapshot, .. }, _) => {
                    let cloned = self.clone_snapshot(stored, snapshot, new);
                    cloned.map_err(|error| {
                        self.images.explain_missing_source(&stored.record, error)
                    })?
                }
                (Volume::Head { .. }, Some(base)) => {
                    match self.clone_snapshot(stored, base, new) {
                        // Removed outside smblock, or the disk was changed in between.
                        Err(error) if error.is_missing_in_cluster() => {
                            self.drop_base(source, stored)?;
                            None
                        }
                        other => other?,
                    }
                }
                (Volume::Head { image }, None) => self.clone_head(&entry, stored, image, new)?,
            };
            if let Some(record) = done {
                return Ok(record);
            }
        }
    }

    fn clone_snapshot(
        &self,
        source: &Stored<VdiRecord>,
        snapshot: &SnapshotRef,
        new: &Uuid,
    ) -> Result<Option<VdiRecord>> {
        let size = self.images.size_of(&source.record)?;
        let image_name = self.images.first_name(new);
        let Some(intent) = self.begin_image(new, &image_name, Some(source))? else {
            return Ok(None);
        };
        let parent = (source.record.volume.image(), snapshot.id);
        let xapi = source.record.xapi.for_clone();
        let tracked = source.record.tracked_snapshot();
        let made = self
            .images
            .make_clone(parent, &image_name, new, &xapi)
            .and_then(|image| self.birth(image, tracked.map(|s| (parent.0, s))));
        let born = match made {
            Ok(born) => born,
            Err(error) => {
                return Err(self.undo_after(error, new, &intent, &image_name));
            }
        };
        let (image, depth) = (born.image.clone(), source.record.depth);
        let mut record = clone_of(&source.record, image, depth, new);
        record.size = size;
        let bytes = record.seal();
        self.journal()
            .finish(new, &intent, None, |transaction, _| {
                transaction
                    .expect::<VdiRecord>(vdi_key(new), None)
                    .put(vdi_key(new), bytes.clone())
                    .record_birth(&born)
            })?;
        Ok(Some(record))
    }

    fn clone_head(
        &self,
        entry: &Entry,
        source: &Stored<VdiRecord>,
        parent: &ImageRef,
        new: &Uuid,
    ) -> Result<Option<VdiRecord>> {
        let disk = &source.record;
        self.journal().require_new(new)?;
        room::require(self.pool, &format!("VDI {} was not cloned", disk.uuid))?;
        let (depth, size) = chain::require_short(&self.images, disk)?;
        let image_name = self.images.first_name(new);
        self.images.require_free_name(new, &image_name)?;
        let creation = Action::CreateDisk {
            image_name: image_name.clone(),
        };
        let reserved = self
            .journal()
            .new_intent(&format!("reserving VDI {new}"), creation)?;
        let action = Action::CloneDisk {
            image: parent.clone(),
            snapshot_name: format!("clone.{new}"),
        };
        let intent = self
            .journal()
            .begin(&disk.uuid, entry, action, |transaction| {
                transaction
                    .expect::<VdiRecord>(vdi_key(new), None)
                    .expect::<Intent>(intent_key(new), None)
                    .put(intent_key(new), reserved.bytes.clone())
            })?;
        let Some(intent) = intent else {
            return Ok(None);
        };
        match self.clone_by_snapshot(disk, parent, new) {
            Ok((image, base)) => {
                let mut record = clone_of(disk, image, depth, new);
                record.size = size;
                let bytes = record.seal();
                let new = (new, bytes.as_slice());
                self.journal().finish_copy(
                    &disk.uuid,
                    &intent,
                    source,
                    new,
                    Some(&reserved),
                    |disk| {
                        disk.depth = depth;
                        disk.base.clone_from(&base);
                    },
                )?;
                Ok(Some(record))
            }
            Err(error) => {
                let is_unknown = error.is_outcome_unknown();
                let error = self.undo_after(error, new, &reserved, &image_name);
                let undone = (!is_unknown).then(|| undo(self, &disk.uuid, &intent));
                Err(error.after_rollback(&disk.uuid, undone))
            }
        }
    }

    fn clone_by_snapshot(
        &self,
        disk: &VdiRecord,
        parent: &ImageRef,
        new: &Uuid,
    ) -> Result<(ImageRef, Option<BaseSnapshot>)> {
        let kept = match &disk.base {
            None => None,
            Some(stale) => match self.images.remove_snapshot(parent, stale.snapshot.id) {
                Err(e) if Images::keeps_for_clones(&e) => Some(stale.clone()),
                other => other.map(|()| None)?,
            },
        };
        let name = format!("clone.{new}");
        let doing = format!("taking a snapshot of image {} to clone it", parent.name);
        let id = self.pool.create_snapshot(&parent.id, &name);
        let snapshot = SnapshotRef {
            name,
            id: id
                .doing(&doing)
                .map_err(|error| self.images.explain_refusal(parent, error))?,
        };
        let image_name = self.images.first_name(new);
        let xapi = disk.xapi.for_clone();
        let image = self
            .images
            .make_clone((parent, snapshot.id), &image_name, new, &xapi)?;
        if disk.claim.is_some() || kept.is_some() {
            self.images.remove_snapshot(parent, snapshot.id)?;
            return Ok((image, kept));
        }
        let epoch = disk.epoch;
        Ok((image, Some(BaseSnapshot { snapshot, epoch })))
    }
}

/// The record of a clone. Its parent has a clone chain of `depth` parents.
fn clone_of(source: &VdiRecord, image: ImageRef, depth: u32, new: &Uuid) -> VdiRecord {
    let volume = Volume::Head { image };
    let xapi = source.xapi.for_clone();
    VdiRecord::new(*new, volume, source.size, xapi).with_depth(depth + 1)
}

/// Removes the snapshot of an unfinished clone of a disk. The image belongs to the new VDI, and is removed
/// with the intent there.
pub(crate) fn undo(ceph_sr: &CephSr<'_>, vdi: &Uuid, intent: &Stored<Intent>) -> Result<()> {
    if let Action::CloneDisk {
        image,
        snapshot_name,
    } = &intent.record.action
    {
        ceph_sr.images.remove_snapshot_named(image, snapshot_name)?;
    }
    ceph_sr
        .journal()
        .finish(vdi, intent, None, |transaction, _| transaction)
}
