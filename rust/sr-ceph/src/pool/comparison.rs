//! The part of [`Pool`](super::Pool) that compares an image with its snapshots.

use super::Result;
use crate::bitmap::Bitmap;

/// What changed in an image. See [`Pool`](super::Pool).
pub trait Comparison {
    /// Returns the blocks of the first `size` bytes of an image that may differ between a snapshot and a later
    /// one, or the head if `until` is `None`. Never misses one that differs, if nothing writes to the head
    /// meanwhile. Takes longer the larger the image is. Takes no lock, and changes nothing. ENOENT: the image
    /// does not exist, or a snapshot does not exist, was removed (also meanwhile), or is not an ordinary one.
    fn changed_blocks(&self, id: &str, since: u64, until: Option<u64>, size: u64)
        -> Result<Bitmap>;
}
