//! The part of [`Pool`](super::Pool) that makes clones of images which do not belong to an SR.

use librbd::Monitor;

use crate::image_format::ImageFormat;

use super::{Result, SnapshotState, Watcher};

/// An image of any pool of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its id.
    pub id: String,
    /// Its feature bits.
    pub features: u64,
    /// Its snapshots.
    pub snapshots: Vec<SnapshotState>,
    /// Whether it is an image of an SR of smblock.
    pub is_smblocks: bool,
    /// The clients that have it open.
    pub watchers: Vec<Watcher>,
    /// The images that it shares data with, at the snapshot if there is one: its parent first. Each `POOL/IMAGE`,
    /// with its feature bits.
    pub parents: Vec<(String, u64)>,
}

/// Images outside the SR. See [`Pool`](super::Pool).
pub trait Templates {
    /// Looks up an image of the SR's namespace in a pool of the cluster, with the parents of that snapshot, if it has one of that name.
    /// ENOENT: there is no such pool or image. EPERM: the user has no rights there.
    fn template(&self, pool: &str, image: &str, snapshot: Option<&str>) -> Result<Template>;
    /// Returns the first bytes of a snapshot of such an image.
    fn first_bytes(&self, pool: &str, id: &str, snapshot: u64) -> Result<Vec<u8>>;
    /// Makes a thin clone of a snapshot of such an image in this pool. Otherwise as
    /// [`Pool::clone_image`](super::Pool::clone_image).
    fn clone_template(
        &self,
        source: (&str, &str, u64),
        name: &str,
        format: &ImageFormat,
        meta: &str,
    ) -> Result<String>;
    /// Returns the cluster's monitors.
    fn monitors(&self) -> Result<Vec<Monitor>>;
}
