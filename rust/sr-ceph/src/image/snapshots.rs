//! Removing snapshots of images, also of an image that has another id now.

use nix::libc;

use super::Images;
use crate::error::{Context, Error, Result};
use crate::record::{ImageRef, SnapshotRef};

impl Images<'_> {
    /// Removes the snapshot of that name, if the image has one.
    pub(crate) fn remove_snapshot_named(&self, image: &ImageRef, name: &str) -> Result<()> {
        let doing = format!("removing snapshot {name} of image {}", image.name);
        let snapshots = match self.pool.users(&image.id) {
            Err(e) if e.is_not_found() => return Ok(()),
            other => other.doing(&doing)?.snapshots,
        };
        match snapshots.iter().find(|s| s.name == name && !s.removed) {
            None => Ok(()),
            Some(snapshot) => self.remove_snapshot(image, snapshot.id),
        }
    }

    /// Removes a snapshot of an image that may have another id now. Returns the image as it is.
    pub(crate) fn remove_snapshot_of_moved(
        &self,
        image: &ImageRef,
        snapshot: &SnapshotRef,
    ) -> Result<ImageRef> {
        match self.pool.remove_snapshot(&image.id, snapshot.id) {
            Err(e) if e.is_not_found() => {}
            other => {
                let kept = |error| self.explain_kept_snapshot(image, snapshot.id, error);
                return other.map_err(kept).map(|()| image.clone());
            }
        }
        let Some(moved) = self.moved_to(image)? else {
            return Ok(image.clone());
        };
        self.remove_snapshot_named(&moved, &snapshot.name)?;
        Ok(moved)
    }

    /// Whether a snapshot could not be removed because it is older than a flatten of its image, and has clones.
    pub(crate) fn keeps_for_clones(error: &Error) -> bool {
        matches!(error, Error::Ceph { source, .. } if source.errno == libc::EBUSY)
    }

    /// Removes a snapshot. A missing one counts as removed.
    pub(crate) fn remove_snapshot(&self, image: &ImageRef, id: u64) -> Result<()> {
        match self.pool.remove_snapshot(&image.id, id) {
            Err(e) if e.is_not_found() => Ok(()),
            other => other.map_err(|error| self.explain_kept_snapshot(image, id, error)),
        }
    }
}
