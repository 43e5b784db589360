//! The birth of an image that is cloned from a tracked snapshot. `cbt.rs` states what it is for. A step of a clone
//! and of a revert, between the image's creation and the transaction that makes it a VDI's.
//!
//! Until that transaction, nothing writes to the image. If the operation stops before it, the image is deleted, and
//! its birth before that (`vdi/steps/new_image.rs`).

use crate::catalogue::lineage_key;
use crate::cbt::BIRTH;
use crate::error::{Context, Result};
use crate::pool::{ImageState, Transaction};
use crate::record::{ImageRef, LineageRecord, OriginRef, SnapshotRef};
use crate::CephSr;

/// A new image, with its lineage if it was cloned from a tracked snapshot.
pub(crate) struct Born {
    pub image: ImageRef,
    lineage: Option<LineageRecord>,
}

impl CephSr<'_> {
    /// Takes the birth snapshot of a new image. `origin`: the tracked snapshot that it was cloned from, with its
    /// image; `None`: the snapshot is not tracked, and nothing is done.
    pub(crate) fn birth(
        &self,
        image: ImageRef,
        origin: Option<(&ImageRef, &SnapshotRef)>,
    ) -> Result<Born> {
        let Some((of, snapshot)) = origin else {
            let lineage = None;
            return Ok(Born { image, lineage });
        };
        let doing = format!("taking the first snapshot of image {}", image.name);
        let id = self.pool.create_snapshot(&image.id, BIRTH).doing(&doing)?;
        let birth = SnapshotRef {
            name: BIRTH.to_owned(),
            id,
        };
        let origin = OriginRef {
            image: of.clone(),
            snapshot: snapshot.clone(),
        };
        let lineage = Some(LineageRecord::new(image.clone(), birth, origin));
        Ok(Born { image, lineage })
    }

    /// Removes the birth snapshot of an image that is to be deleted.
    pub(crate) fn remove_birth(&self, image: &ImageState) -> Result<()> {
        let mut snapshots = image.snapshots.iter();
        let Some(birth) = snapshots.find(|s| s.name == BIRTH && !s.removed) else {
            return Ok(());
        };
        let reference = ImageRef {
            name: image.name.clone(),
            id: image.id.clone(),
        };
        self.images.remove_snapshot(&reference, birth.id)
    }
}

impl Transaction {
    /// Records the lineage of a new image, if it has one.
    pub(crate) fn record_birth(self, born: &Born) -> Self {
        match born.lineage.clone() {
            None => self,
            Some(mut lineage) => self.write(lineage_key(&born.image.id), &mut lineage),
        }
    }
}
