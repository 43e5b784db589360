//! The part of [`Pool`](super::Pool) that deletes images.

use super::{Progress, Result};

/// An image in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashedImage {
    /// The image's id.
    pub id: String,
    /// The name it had.
    pub name: String,
    /// Whether it is the source of a migration that is not committed yet.
    pub migrating: bool,
}

/// What deleting images needs. See [`Pool`](super::Pool).
pub trait Deletion {
    /// Makes what deletion needs on a full pool (the object `rbd_trash`).
    fn prepare_trash(&self) -> Result<()>;
    /// Moves an image to the trash. ENOENT: the directory has no image of that name.
    fn trash_image(&self, name: &str) -> Result<()>;
    /// Returns the images in the trash.
    fn trash(&self) -> Result<Vec<TrashedImage>>;
    /// Asks ceph-mgr to free a trashed image in the background.
    fn schedule_purge(&self, id: &str) -> Result<()>;
    /// Frees a trashed image now. Takes longer the more objects the image has. EBUSY: a client watches it.
    /// ENOTEMPTY: it has snapshots.
    fn purge(&self, id: &str, progress: Progress<'_>) -> Result<()>;
}
