//! Before an image goes: who needs it, and the way to the trash.

use super::Images;
use crate::error::{Context, Result};
use crate::pool::MIGRATING;
use crate::record::ImageRef;

impl Images<'_> {
    /// Whether anything depends on an image, or anybody has it open: also a client that died a
    /// moment ago, which nobody who deletes is to wait for. Nobody needs one that does not exist.
    pub(crate) fn is_needed(&self, image: &ImageRef) -> Result<bool> {
        Ok(self.is_used(image)?.unwrap_or(false))
    }

    /// As [`Images::is_needed`]; `None`: the image does not exist.
    pub(crate) fn is_used(&self, image: &ImageRef) -> Result<Option<bool>> {
        match self.pool.users(&image.id) {
            Err(e) if e.is_not_found() => Ok(None),
            other => other
                .doing(&format!("looking for who needs image {}", image.name))
                .map(|users| Some(!(users.snapshots.is_empty() && users.watchers.is_empty()))),
        }
    }

    /// Moves an image to the trash. The caller writes the mark in the swap that takes away what
    /// names the image.
    ///
    /// An image whose id is not in the directory any more was moved before. The name that it has
    /// there is what counts: it may have been renamed, and another image may have its name.
    pub(crate) fn move_to_trash(&self, image: &ImageRef) -> Result<()> {
        let doing = format!("moving image {} to the trash", image.name);
        let Some(name) = self.pool.image_name(&image.id).doing(&doing)? else {
            // A migration moves its source to the trash, and may bring it back.
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
