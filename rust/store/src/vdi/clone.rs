//! Cloning: a disk that shares the blocks of another VDI until it writes its own.
//!
//! Of a snapshot:
//! 1. The intent, with the new image's name, goes into the catalogue: the same as for a new disk,
//!    and undone in the same way.
//! 2. The image is cloned, then its image-meta is set.
//! 3. One swap writes the new VDI's record and removes the intent.
//!
//! Of a disk, there must be a snapshot to clone first:
//! 1. The intent stands at the disk, so that nothing else happens to it meanwhile.
//! 2. A snapshot is taken, the image is cloned from it, and the snapshot is removed again: it lives
//!    on, out of sight, as long as the clone needs it, and nobody has to remember it.
//! 3. One swap writes the new VDI's record and removes the intent.
//!
//! Whoever finds the intent removes the new image and the snapshot. If a snapshot goes while it is
//! being cloned, cloning it fails; nothing is left.

use uuid::Uuid;

use crate::catalogue::{image_prefix, Stored};
use crate::error::{Context, Result};
use crate::record::{Action, ImageMeta, ImageRef, Intent, Record, VdiRecord, Volume, VERSION};
use crate::vdi::create::discard_unfinished;
use crate::xapi::XapiFields;
use crate::Repository;

impl Repository<'_> {
    /// Makes a disk of the UUID `new` with the content that `source` has now.
    pub fn clone_vdi(&self, source: &Uuid, new: &Uuid) -> Result<VdiRecord> {
        self.require_new(new)?;
        self.require_room(&format!("VDI {source} was not cloned"))?;
        loop {
            let entry = self.turn(source)?;
            let stored = self.present(&entry, source)?;
            let done = match &stored.record.volume {
                Volume::Snapshot { .. } => self.clone_snapshot(stored, new)?,
                Volume::Head { image } => {
                    let depth = self.require_short_chain(&stored.record)?;
                    let action = Action::CloneDisk {
                        image: image.clone(),
                        snapshot_name: format!("clone.{new}"),
                        vdi: *new,
                        image_name: self.first_image_name(new),
                    };
                    let intent = self.begin(source, &entry, action, |swap| swap)?;
                    intent
                        .map(|intent| self.clone_head(stored, image, depth, &intent, new))
                        .transpose()?
                }
            };
            if let Some(record) = done {
                return Ok(record);
            }
        }
    }

    fn clone_snapshot(&self, source: &Stored<VdiRecord>, new: &Uuid) -> Result<Option<VdiRecord>> {
        let image_name = self.first_image_name(new);
        let Some(intent) = self.begin_image(new, &image_name, Some(source))? else {
            return Ok(None);
        };
        let parent = source.record.volume.image();
        let snapshot = source.record.volume.snapshot().map_or(0, |s| s.id);
        let xapi = source.record.xapi.for_clone();
        let image = match self.make_clone((parent, snapshot), &image_name, new, &xapi) {
            Ok(image) => image,
            Err(error) => {
                self.undo_after(&error, new, &intent, &image_name);
                return Err(error);
            }
        };
        let depth = source.record.depth + 1;
        let mut record = clone_of(&source.record, image, depth, new);
        let bytes = record.seal();
        self.finish_copy(new, &intent, None, &record, &bytes)?;
        Ok(Some(record))
    }

    fn clone_head(
        &self,
        source: &Stored<VdiRecord>,
        parent: &ImageRef,
        depth: u32,
        intent: &Stored<Intent>,
        new: &Uuid,
    ) -> Result<VdiRecord> {
        let vdi = source.record.uuid;
        match self.clone_by_snapshot(&source.record, parent, new) {
            Ok(image) => {
                let mut record = clone_of(&source.record, image, depth + 1, new);
                let bytes = record.seal();
                self.finish_copy(&vdi, intent, Some(source), &record, &bytes)?;
                Ok(record)
            }
            Err(error) => {
                if !error.is_unknown() {
                    if let Err(e) = undo(self, &vdi, intent) {
                        log::warn!("VDI {vdi}: its unfinished clone will be undone later: {e}");
                    }
                }
                Err(error)
            }
        }
    }

    fn clone_by_snapshot(
        &self,
        source: &VdiRecord,
        parent: &ImageRef,
        new: &Uuid,
    ) -> Result<ImageRef> {
        let name = format!("clone.{new}");
        let doing = format!("taking a snapshot of image {} to clone it", parent.name);
        let snapshot = self
            .cluster
            .create_snapshot(&parent.id, &name)
            .doing(&doing)?;
        let image_name = self.first_image_name(new);
        let xapi = source.xapi.for_clone();
        let image = self.make_clone((parent, snapshot), &image_name, new, &xapi)?;
        self.remove_snapshot(parent, snapshot)?;
        Ok(image)
    }

    /// Clones a snapshot to an image for the VDI `vdi`.
    pub(crate) fn make_clone(
        &self,
        (parent, snapshot): (&ImageRef, u64),
        name: &str,
        vdi: &Uuid,
        xapi: &XapiFields,
    ) -> Result<ImageRef> {
        let doing = format!("cloning image {} to {name}", parent.name);
        let meta = ImageMeta {
            version: VERSION,
            sr: self.sr,
            vdi: *vdi,
            xapi: xapi.clone(),
        };
        let text = meta.to_text(&doing)?;
        let from = (parent.id.as_str(), snapshot);
        let id = self
            .cluster
            .clone_image(from, name, self.image_features, &text);
        Ok(ImageRef {
            name: name.to_owned(),
            id: id.doing(&doing)?,
        })
    }

    /// The name of the first image that a VDI gets.
    pub(crate) fn first_image_name(&self, vdi: &Uuid) -> String {
        format!("{}{vdi}.0", image_prefix(&self.sr))
    }
}

fn clone_of(source: &VdiRecord, image: ImageRef, depth: u32, new: &Uuid) -> VdiRecord {
    let volume = Volume::Head { image };
    let xapi = source.xapi.for_clone();
    VdiRecord::new(*new, volume, source.size, xapi).with_depth(depth)
}

/// Takes back what the cloning of a disk that did not finish has left.
pub(crate) fn undo(repository: &Repository<'_>, vdi: &Uuid, intent: &Stored<Intent>) -> Result<()> {
    if let Action::CloneDisk {
        image,
        snapshot_name,
        vdi: new,
        image_name,
    } = &intent.record.action
    {
        discard_unfinished(repository, new, image_name)?;
        repository.remove_snapshot_named(image, snapshot_name)?;
    }
    repository.finish(vdi, intent, None, |swap, _| swap)
}
