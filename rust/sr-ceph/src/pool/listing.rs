//! The part of [`Pool`](super::Pool) that counts the objects of images.

pub use librbd::{Counted, Part};

use super::Result;

/// How much the images of a pool take. See [`Pool`](super::Pool).
pub trait Listing {
    /// Counts the objects with data of the pool's images, in a part of the pool, or of the data pool of that
    /// name. The time depends on the number of objects, also of foreign ones. Opens no image. ENOENT: no such
    /// pool; EPERM: this client's user has no rights there.
    fn count_objects(&self, data_pool: Option<&str>, part: Part) -> Result<Counted>;
    /// The name of the pool that has an image's data. `None`: the image's own pool. Opens no image. ENOENT: the
    /// cluster has no such pool any more.
    fn data_pool_of(&self, id: &str) -> Result<Option<String>>;
    /// The bytes of an image's head, or of a snapshot, that have data of its own, in the range from `offset` on.
    /// What it shares with a parent does not count; what it shares with its snapshots does. The time depends on
    /// the length of the range. ENOENT: the image or the snapshot does not exist.
    fn data_in(&self, id: &str, snapshot: Option<u64>, offset: u64, length: u64) -> Result<u64>;
    /// The size of an image's objects in bytes. Opens no image. ENOENT: it does not exist.
    fn object_size_of(&self, id: &str) -> Result<u64>;
}
