//! The part of [`Cluster`](super::Cluster) that finds out what was done to an image by hand.

use super::Result;

/// `RBD_FEATURE_NON_PRIMARY`: the image is a mirror's copy of another cluster's.
pub const NON_PRIMARY: u64 = 1 << 10;
/// `RBD_FEATURE_MIGRATING`: a migration of the image was prepared, and not committed yet.
pub const MIGRATING: u64 = 1 << 9;

/// What limits what can be done with an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The name that the image has now.
    pub name: String,
    /// Feature bits (`RBD_FEATURE_*`).
    pub features: u64,
    /// How many snapshots it has, those among them that only clones keep.
    pub snapshots: usize,
    /// How many it may have, if that is limited.
    pub limit: Option<u64>,
}

/// What was done to images by hand. See [`Cluster`](super::Cluster).
pub trait Inspection {
    /// The size of an image's head in bytes. Opens no image. ENOENT: it does not exist.
    fn size(&self, id: &str) -> Result<u64>;
    /// An image's feature bits. Opens no image. ENOENT: it does not exist.
    fn features(&self, id: &str) -> Result<u64>;
    /// Whether a snapshot is protected: then it cannot be removed. Opens no image. ENOENT: the image
    /// or the snapshot does not exist.
    fn is_protected(&self, id: &str, snapshot_id: u64) -> Result<bool>;
    /// What limits what can be done with an image. ENOENT: it does not exist.
    fn condition(&self, id: &str) -> Result<Condition>;
    /// The group that an image is a member of, `POOL/GROUP`; also of an image in the trash. Opens
    /// only images that are members of one.
    fn group(&self, id: &str) -> Result<Option<String>>;
    /// Takes an image out of its group. One that is a member of none stays so.
    fn leave_group(&self, id: &str) -> Result<()>;
}
