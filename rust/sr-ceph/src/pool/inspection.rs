//! The part of [`Pool`](super::Pool) that shows what was done to an image by hand.

use super::Result;
use crate::image_features::ImageFeatures;

/// `RBD_FEATURE_NON_PRIMARY`: the image is a mirrored copy of another cluster's image.
pub const NON_PRIMARY: u64 = ImageFeatures::NON_PRIMARY.bits();
/// `RBD_FEATURE_MIGRATING`: a migration of the image was prepared, and not committed yet.
pub const MIGRATING: u64 = 1 << 9;

/// What was done to images by hand. See [`Pool`](super::Pool).
pub trait Inspection {
    /// The size of an image's head in bytes. Opens no image. ENOENT: it does not exist.
    fn size(&self, id: &str) -> Result<u64>;
    /// An image's feature bits. Opens no image. ENOENT: it does not exist.
    fn features(&self, id: &str) -> Result<u64>;
    /// Whether a snapshot is protected, and so cannot be removed. Opens no image. ENOENT: the image or the
    /// snapshot does not exist.
    fn is_protected(&self, id: &str, snapshot_id: u64) -> Result<bool>;
    /// Refuses to remove a snapshot that is older than a flatten of its image and has clones: Ceph would free what the
    /// clones share with the image's former parent. Opens the image. ENOENT: the image or the snapshot does not exist.
    fn require_removable(&self, id: &str, snapshot_id: u64) -> Result<()>;
    /// Returns the group that an image is a member of, `POOL/GROUP` or `POOL/NAMESPACE/GROUP`; also of an image in the trash. Opens the
    /// image only if it is a member.
    fn group(&self, id: &str) -> Result<Option<String>>;
    /// Removes an image from its group. Does nothing if it is a member of none.
    fn leave_group(&self, id: &str) -> Result<()>;
    /// `ceph health detail`, as JSON.
    fn health(&self) -> Result<Vec<u8>>;
    /// `ceph osd crush rule dump`, as JSON.
    fn crush_rules(&self) -> Result<Vec<u8>>;
}
