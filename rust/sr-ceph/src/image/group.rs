//! Images that an administrator has made members of a group (`rbd group image add`).
//!
//! Ceph does not free a member of a group, and does not show the membership of an image in the trash. So an
//! image leaves its group before it is moved there. If it was a member in the trash already, it leaves the
//! group before it is purged. Removing an image that is not a member changes nothing.
//!
//! If the image cannot be removed from the group (the user has no rights in the group's pool), the image of a
//! deleted disk is hidden, and each scan tries again.

use nix::libc;

use super::Images;
use crate::error::{ByHand, Context, Error, Result};
use crate::pool::{PoolError, Progress};
use crate::record::ImageRef;

impl Images<'_> {
    /// Removes an image from the group that it is a member of.
    pub(crate) fn leave_group(&self, image: &ImageRef) -> Result<()> {
        let doing = format!("looking for the group of image {}", image.name);
        // A user without rights in the group's pool cannot look up its name.
        let group = match self.pool.group(&image.id) {
            // An image that was removed by hand is a member of no group.
            Err(e) if e.is_not_found() => return Ok(()),
            other => other.doing(&doing)?,
        };
        let Some(group) = group else {
            return Ok(());
        };
        match self.pool.leave_group(&image.id) {
            Ok(()) => {
                log::warn!(
                    "image {} was removed from group {group}: its disk was deleted",
                    image.name
                );
                Ok(())
            }
            Err(e) if e.is_outcome_unknown() => {
                Err(e).doing(&format!("removing image {} from group {group}", image.name))
            }
            Err(source) => Err(ByHand::InGroup {
                id: image.id.clone(),
                pool: self.pool.spec(),
                group,
                source,
            }
            .into()),
        }
    }

    /// As [`Images::leave_group`]. Returns `false` if the image stays a member.
    pub(crate) fn leaves_group(&self, image: &ImageRef) -> Result<bool> {
        match self.leave_group(image) {
            Err(e @ Error::ByHand(_)) => {
                log::error!("{e}");
                Ok(false)
            }
            other => other.map(|()| true),
        }
    }

    /// Purges an image in the trash, which leaves its group first.
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
