//! The image that has the name of an image that no longer exists.
//!
//! The image is the same one if it has the name that the lost image had, and an image-meta that
//! names this SR and the VDI that the name was made for. Migrations and copies keep the image-meta.

use serde::Deserialize;
use uuid::Uuid;

use super::Images;
use crate::error::{ByHand, Context, Error, ImageError, Result};
use crate::pool::{ImageState, TrashedImage, MIGRATING};
use crate::record::ImageRef;

/// What has the name of an image that no longer exists.
pub(crate) enum Successor {
    /// Nothing.
    None,
    /// The same image, with its present state.
    Ours(ImageState),
    /// An image with that id, which a client has open: it may still be imported or copied.
    Open { id: String, address: String },
    /// Another image, with that id.
    Foreign(String),
    /// A migration is under way.
    Migrating,
}

/// The part of an image-meta with the owner of the image.
#[derive(Deserialize)]
struct Owner {
    sr: Uuid,
    vdi: Uuid,
}

impl Images<'_> {
    /// Looks for the image that has the name of an image that no longer exists.
    pub(crate) fn successor_of(&self, lost: &ImageRef) -> Result<Successor> {
        Ok(match self.image_named_as(lost)? {
            None => Successor::None,
            Some(found) if found.features & MIGRATING != 0 => Successor::Migrating,
            Some(found) if self.is_ours(&found) => match self.who_writes(&found)? {
                Some(address) => Successor::Open {
                    id: found.id,
                    address,
                },
                None => Successor::Ours(found),
            },
            Some(found) => Successor::Foreign(found.id),
        })
    }

    /// Returns the image that a deletion continues with, if the image that it names no longer exists: the
    /// same image, with another id. `None`: the image was removed.
    ///
    /// # Errors
    /// [`ByHand`](crate::error::ByHand): it is being migrated, or may still be imported.
    pub(crate) fn moved_to(&self, lost: &ImageRef) -> Result<Option<ImageRef>> {
        match self.successor_of(lost)? {
            Successor::None | Successor::Foreign(_) => Ok(None),
            Successor::Ours(found) => Ok(Some(ImageRef {
                name: lost.name.clone(),
                id: found.id,
            })),
            Successor::Open { .. } | Successor::Migrating => {
                let vdi = self.vdi_of_name(&lost.name).unwrap_or_default();
                Err(self.explain_missing(vdi, lost))
            }
        }
    }

    /// Returns the address of a client that has an image open for writing. `rbd import` and `rbd cp` set the
    /// image-meta first, and write snapshots and data after it.
    fn who_writes(&self, found: &ImageState) -> Result<Option<String>> {
        let doing = format!("listing the watchers of image {}", found.name);
        let watchers = self.pool.watchers(&found.id).doing(&doing)?;
        Ok(watchers.into_iter().next().map(|watcher| watcher.address))
    }

    fn image_named_as(&self, lost: &ImageRef) -> Result<Option<ImageState>> {
        match self.pool.image_by_name(&lost.name) {
            Err(e) if e.is_not_found() => Ok(None),
            other => {
                let found = other.doing(&format!("looking for an image named {}", lost.name))?;
                Ok(Some(found).filter(|found| found.id != lost.id))
            }
        }
    }

    fn is_ours(&self, found: &ImageState) -> bool {
        let owner = found.meta.as_deref().map(serde_json::from_str::<Owner>);
        let made_for = self.vdi_of_name(&found.name);
        matches!(owner, Some(Ok(owner)) if owner.sr == self.sr && Some(owner.vdi) == made_for)
    }

    /// Explains that the image of a VDI does not exist.
    pub(crate) fn explain_missing(&self, vdi: Uuid, image: &ImageRef) -> Error {
        match self.successor_of(image) {
            Ok(Successor::Ours(found)) => ByHand::Moved {
                vdi,
                image: self.path(&image.name),
                found: found.id,
                sr: self.sr,
            }
            .into(),
            Ok(Successor::Open { id, address }) => ByHand::Open {
                vdi,
                image: self.path(&image.name),
                found: id,
                address,
                sr: self.sr,
            }
            .into(),
            Ok(Successor::Foreign(found)) => self.replaced(vdi, image, found).into(),
            Ok(Successor::Migrating) => ByHand::from(self.migrating(&image.name)).into(),
            Err(error) => error,
            Ok(Successor::None) => match self.pool.features(&image.id) {
                Err(e) if e.is_not_found() => ImageError::Missing {
                    vdi,
                    image: image.name.clone(),
                    id: image.id.clone(),
                    pool: self.pool.spec(),
                }
                .into(),
                Err(source) => Error::Ceph {
                    doing: format!("looking for image {}", image.name),
                    source,
                },
                Ok(_) => self.explain_unopened(vdi, image).into(),
            },
        }
    }

    /// Explains that the image of a VDI exists, but is not in the pool's directory.
    pub(crate) fn explain_unlisted(&self, vdi: Uuid, image: &ImageRef, features: u64) -> String {
        match self.refusal_of(&image.name, features) {
            Some(refusal) => format!("VDI {vdi}: {refusal}"),
            None => self.explain_unopened(vdi, image).to_string(),
        }
    }

    /// Explains why an image that exists cannot be used. If the cluster does not show the cause, the text
    /// assumes that the image is in the trash.
    pub(crate) fn explain_unopened(&self, vdi: Uuid, image: &ImageRef) -> ByHand {
        let (name, id) = (image.name.clone(), image.id.clone());
        let pool = self.pool.spec();
        let is_trashed = |trash: Vec<TrashedImage>| trash.iter().any(|found| found.id == id);
        if self.pool.trash().map_or(true, is_trashed) {
            return ByHand::Trashed {
                vdi,
                image: name,
                id,
                pool,
            };
        }
        match self.pool.image_name(&image.id) {
            Ok(None) => ByHand::Unlisted {
                vdi,
                image: name,
                id,
                pool,
            },
            _ => ByHand::Incomplete {
                vdi,
                image: name,
                id,
                pool,
            },
        }
    }

    fn replaced(&self, vdi: Uuid, image: &ImageRef, found: String) -> ByHand {
        ByHand::Replaced {
            vdi,
            image: self.path(&image.name),
            lost: image.id.clone(),
            found,
            sr: self.sr,
            disk: self.vdi_of_name(&image.name).unwrap_or(vdi),
        }
    }
}
