//! The images of an SR: their names, and operations on them that need no catalogue.
//!
//! Nothing here reads or writes the catalogue. The callers look up the image, and state in their plans why
//! each step is safe.

mod discard;
mod group;
mod make;
pub(crate) mod older;
mod refusal;
mod snapshots;
mod state;
mod successor;

pub(crate) use self::successor::Successor;

use uuid::Uuid;

use crate::catalogue::image_prefix;
use crate::error::{ByHand, Context, Migrating, Result};
use crate::host::ImageKey;
use crate::image_format::ImageFormat;
use crate::pool::{Pool, MIGRATING, NON_PRIMARY};
use crate::record::{ImageRef, Volume};

/// The images of one SR in one pool.
#[derive(Clone, Copy)]
pub(crate) struct Images<'a> {
    pool: &'a dyn Pool,
    sr: Uuid,
    /// The format of new images.
    format: ImageFormat,
}

impl<'a> Images<'a> {
    /// The images of that SR. New ones get `format`.
    pub(crate) fn new(pool: &'a dyn Pool, sr: Uuid, format: ImageFormat) -> Self {
        Images { pool, sr, format }
    }

    /// The pool, as [`Pool::spec`].
    pub(crate) fn pool_spec(&self) -> String {
        self.pool.spec()
    }

    /// Whether new images have stripes.
    pub(crate) fn are_striped(&self) -> bool {
        self.format.layout.stripes.is_some()
    }

    /// The name of the first image that a VDI gets.
    pub(crate) fn first_name(&self, vdi: &Uuid) -> String {
        format!("{}{vdi}.0", image_prefix(&self.sr))
    }

    /// The name of the image that a VDI gets after that one.
    pub(crate) fn next_name(&self, vdi: &Uuid, image: &ImageRef) -> String {
        let number = image.name.rsplit('.').next().and_then(|n| n.parse().ok());
        let number = number.unwrap_or(0u64) + 1;
        format!("{}{vdi}.{number}", image_prefix(&self.sr))
    }

    /// The VDI that an image of this SR was made for.
    pub(crate) fn vdi_of_name(&self, name: &str) -> Option<Uuid> {
        let rest = name.strip_prefix(&image_prefix(&self.sr))?;
        rest.split('.').next()?.parse().ok()
    }

    /// The path of an image, quoted for a shell.
    pub(crate) fn path(&self, name: &str) -> String {
        librbd::quoted(&format!("{}/{name}", self.pool.spec()))
    }

    /// The path of a snapshot, quoted for a shell.
    pub(crate) fn snapshot_path(&self, image: &str, snapshot: &str) -> String {
        let pool = self.pool.spec();
        librbd::quoted(&format!("{pool}/{image}@{snapshot}"))
    }

    /// The reason to refuse an image that is being migrated.
    pub(crate) fn migrating(&self, name: &str) -> Migrating {
        Migrating {
            image: self.path(name),
            sr: self.sr,
        }
    }

    /// The reason to refuse an image with those features, if there is one.
    pub(crate) fn refusal_of(&self, name: &str, features: u64) -> Option<ByHand> {
        let image = self.path(name);
        if features & MIGRATING != 0 {
            return Some(self.migrating(name).into());
        }
        (features & NON_PRIMARY != 0).then_some(ByHand::Demoted { image })
    }

    /// The identity of a device that shows that volume.
    pub(crate) fn key(&self, volume: &Volume) -> Result<ImageKey> {
        Ok(ImageKey {
            fsid: self.pool.fsid().doing("asking for the cluster's fsid")?,
            pool_id: self.pool.pool_id(),
            namespace: self.pool.namespace().to_owned(),
            image_id: volume.image().id.clone(),
            snap_id: volume.snapshot().map(|snapshot| snapshot.id),
        })
    }
}
