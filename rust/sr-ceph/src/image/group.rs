//! Images that an administrator has made members of a group (`rbd group image add`).
//!
//! Ceph frees no member of a group, and shows nothing of the membership while the image is in the
//! trash. So an image leaves its group before it goes there, and, if it was a member in the trash
//! already, before it is purged. Taking out one that is not a member changes nothing.
//!
//! If the image cannot be taken out (the group is in a pool that the user has no rights in), a deleted
//! disk's image is hidden, and each scan tries again.

use nix::libc;

use super::Images;
use crate::error::{ByHand, Context, Error, Result};
use crate::pool::{PoolError, Progress};
use crate::record::ImageRef;

impl Images<'_> {
    /// Takes an image out of the group that it is a member of.
    pub(crate) fn leave_group(&self, image: &ImageRef) -> Result<()> {
        let doing = format!("looking for the group of image {}", image.name);
        // Who may not even look up the name of the group's pool gets no name.
        let group = match self.pool.group(&image.id) {
            // An image that was removed by hand is a member of nothing.
            Err(e) if e.is_not_found() => return Ok(()),
            other => other.doing(&doing)?,
        };
        let Some(group) = group else {
            return Ok(());
        };
        match self.pool.leave_group(&image.id) {
            Ok(()) => {
                log::warn!(
                    "image {} was taken out of group {group}: its disk was deleted",
                    image.name
                );
                Ok(())
            }
            Err(e) if e.is_outcome_unknown() => {
                Err(e).doing(&format!("taking image {} out of group {group}", image.name))
            }
            Err(source) => Err(ByHand::InGroup {
                id: image.id.clone(),
                pool: self.pool.pool_name().to_owned(),
                group,
                source,
            }
            .into()),
        }
    }

    /// As [`Images::leave_group`]; `false` if the image stays a member.
    pub(crate) fn leaves_group(&self, image: &ImageRef) -> Result<bool> {
        match self.leave_group(image) {
            Err(e @ Error::ByHand(_)) => {
                log::error!("{e}");
                Ok(false)
            }
            other => other.map(|()| true),
        }
    }

    /// Purges an image in the trash, which leaves its group for it.
    pub(crate) fn purge_outside_group(
        &self,
        image: &ImageRef,
        progress: Progress<'_>,
    ) -> Result<std::result::Result<(), PoolError>> {
        match self.pool.purge(&image.id, progress) {
            Err(e) if e.errno == libc::EMLINK => {
                self.leave_group(image)?;
                Ok(self.pool.purge(&image.id, progress))
            }
            other => Ok(other),
        }
    }
}
