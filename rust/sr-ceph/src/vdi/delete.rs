//! Deleting a VDI. It always succeeds, whatever depends on the VDI: what others need stays.
//!
//! 1. One swap removes the VDI's record and writes the intent: from here on the VDI is gone for
//!    XAPI, whatever happens.
//! 2. A disk's image goes to the trash, which takes as long for 1 GiB as for 64 TiB; or, where it
//!    has snapshots, or somebody has it open (a host that died, until Ceph notices), it is hidden. A
//!    snapshot is removed unless another
//!    VDI is the same one; where clones need it, Ceph keeps it out of sight until the last of them
//!    goes.
//! 3. The intent is removed. The same swap writes the key of a hidden image, or the mark of an image
//!    in the trash (`sr/reclaim/trash.rs`). Then the cluster's manager is asked to free it.
//!
//! Whoever finds the intent repeats steps 2 and 3 (`vdi/steps/disposal.rs`); all is idempotent. How the space is given back
//! is told in `sr/reclaim.rs`.
//!
//! **Hidden images.** An image without a VDI whose snapshots are still needed stays in the pool's
//! directory, since nothing in the trash can be mapped. Whoever removes its last snapshot puts it
//! in the trash, and every scan looks at those whose last clone went meanwhile.

use uuid::Uuid;

use crate::catalogue::vdi_key;
use crate::error::{Context, Result};
use crate::record::{Action, VdiRecord, Volume};
use crate::vdi::steps::disposal;
use crate::CephSr;

impl CephSr<'_> {
    /// Refuses a VDI whose image was locked by hand, while it is still a VDI: the deletion
    /// could not go on after its first step.
    fn require_unlocked(&self, record: &VdiRecord) -> Result<()> {
        let image = record.volume.image();
        match self.pool.require_unlocked(&image.id) {
            Err(e) if e.is_not_found() => Ok(()), // removed outside this driver
            other => other.doing(&format!("deleting VDI {}", record.uuid)),
        }
    }

    /// Refuses to delete what would be left behind. Returns whether the record has changed: its
    /// image had another id. If the catalogue cannot take that over yet, since another VDI of the
    /// image is in use, the deletion finds the image itself.
    fn require_deletable(&self, record: &VdiRecord) -> Result<bool> {
        let image = record.volume.image();
        let doing = format!("looking at image {}", image.name);
        match self.pool.features(&image.id) {
            Err(e) if e.is_not_found() => {
                let adopted = self.adopt(image)? > 0;
                if !adopted {
                    self.images.moved_to(image)?;
                }
                return Ok(adopted);
            }
            other => {
                let features = other.doing(&doing)?;
                if let Some(refusal) = self.images.refusal_of(&image.name, features) {
                    return Err(refusal.into());
                }
            }
        }
        let base = record.base.as_ref().map(|base| &base.snapshot);
        for snapshot in record.volume.snapshot().into_iter().chain(base) {
            if let Some(protected) = self.images.protected(image, snapshot.id)? {
                return Err(protected.into());
            }
        }
        Ok(false)
    }

    /// Deletes a VDI. One that does not exist is deleted already.
    pub fn delete_vdi(&self, vdi: &Uuid) -> Result<()> {
        loop {
            let entry = self.journal().acquire(vdi)?;
            let Some(stored) = &entry.vdi else {
                log::info!("VDI {vdi} is not in SR {}: nothing to delete", self.sr);
                return Ok(());
            };
            self.claims.refuse_if_in_use(&stored.record)?;
            self.require_unlocked(&stored.record)?;
            if self.require_deletable(&stored.record)? {
                continue;
            }
            if stored.record.reset_point.is_some() {
                self.forget_reset_point(vdi)?;
                continue;
            }
            let action = match stored.record.volume.clone() {
                Volume::Head { image } => Action::DeleteDisk {
                    image,
                    base: stored.record.base.clone().map(|base| base.snapshot),
                },
                Volume::Snapshot { image, snapshot } => Action::DeleteSnapshot { image, snapshot },
            };
            if let Some(intent) = self.journal().begin(vdi, &entry, action, |transaction| {
                transaction.erase(vdi_key(vdi))
            })? {
                return disposal::complete(self, vdi, &intent);
            }
        }
    }
}
