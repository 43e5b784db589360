//! Whether an image is still needed, and moving it to the trash.

use super::Images;
use crate::error::{Context, Result};
use crate::pool::MIGRATING;
use crate::record::ImageRef;

impl Images<'_> {
    /// Whether anything depends on an image, or a client has it open. A client that died less than 30 s ago
    /// counts: a deletion does not wait for it. `false` if the image does not exist.
    pub(crate) fn is_needed(&self, image: &ImageRef) -> Result<bool> {
        Ok(self.is_used(image)?.unwrap_or(false))
    }

    /// As [`Images::is_needed`]. `None`: the image does not exist.
    pub(crate) fn is_used(&self, image: &ImageRef) -> Result<Option<bool>> {
        match self.pool.users(&image.id) {
            Err(e) if e.is_not_found() => Ok(None),
            other => other
                .doing(&format!("looking for what uses image {}", image.name))
                .map(|users| Some(!(users.snapshots.is_empty() && users.watchers.is_empty()))),
        }
    }

    /// Moves an image to the trash. The caller writes the mark in the swap that removes the key which names
    /// the image.
    ///
    /// If the directory no longer has the image's id, the image was moved before. The name in the directory
    /// counts: the image may have been renamed, and another image may have its old name.
    pub(crate) fn move_to_trash(&self, image: &ImageRef) -> Result<()> {
        let doing = format!("moving image {} to the trash", image.name);
        let Some(name) = self.pool.image_name(&image.id).doing(&doing)? else {
            // A migration moves its source to the trash, and may move it back.
            return match self.pool.features(&image.id) {
                Err(e) if e.is_not_found() => Ok(()),
                features => self
                    .refusal_of(&image.name, features.doing(&doing)? & MIGRATING)
                    .map_or(Ok(()), |refusal| Err(refusal.into())),
            };
        };
        match self.pool.trash_image(&name) {
            Err(e) if e.is_not_found() => Ok(()),
            other => {
                let moved = other.doing(&doing);
                moved.map_err(|error| self.explain_refusal(image, error))
            }
        }
    }
}
