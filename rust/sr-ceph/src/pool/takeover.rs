//! The part of [`Pool`](super::Pool) that takes an image over from another driver, and gives it back.

use super::Result;

/// What taking an image over needs. See [`Pool`](super::Pool).
pub trait Takeover {
    /// Renames the image with that id. Its snapshots and clones stay. After that, no client can open it by
    /// the name `from`. Does nothing if it has the name `to`. EEXIST: another image has that name. ENOENT: no
    /// image has the id and one of the names.
    fn rename_image(&self, id: &str, from: &str, to: &str) -> Result<()>;
    /// Sets the image-meta of an image that exists, or removes it. ENOENT: the image does not exist.
    fn set_image_meta(&self, id: &str, meta: Option<&str>) -> Result<()>;
    /// Protects a snapshot, or removes its protection. Does nothing if it is as wanted. EBUSY: it has clones of
    /// format 1, and stays protected. ENOENT: the image or the snapshot does not exist.
    fn set_protected(&self, id: &str, snapshot_id: u64, protect: bool) -> Result<()>;
    /// Returns the image that an image is a clone of: its id, and whether it is in this pool and namespace.
    fn parent(&self, id: &str) -> Result<Option<(String, bool)>>;
}
