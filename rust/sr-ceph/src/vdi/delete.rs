//! Deleting a VDI. Others may depend on it: what they need stays.
//!
//! 1. One swap removes the VDI's record and writes the intent. From now on the VDI is gone for XAPI, also
//!    after a crash.
//! 2. A disk's image is moved to the trash, which takes the same time for 1 GiB and for 64 TiB. If the image
//!    has snapshots, or a client has it open (also a host that died, until Ceph detects it), it is hidden
//!    instead. A snapshot is removed unless another VDI is the same one. If it has clones, Ceph keeps it out
//!    of sight until the last of them is gone.
//! 3. One swap removes the intent, and writes the key of a hidden image or the mark of an image in the trash
//!    (`sr/reclaim/trash.rs`). Then ceph-mgr is asked to free it.
//!
//! Recovery repeats steps 2 and 3 (`vdi/steps/disposal.rs`): both are idempotent. `sr/reclaim.rs` states how
//! the space is freed.
//!
//! **Hidden images.** An image without a VDI whose snapshots are still needed stays in the pool's directory,
//! because an image in the trash cannot be mapped. The command that removes its last snapshot moves it to the
//! trash. Every scan does the same for an image whose last clone is gone.

use uuid::Uuid;

use crate::catalogue::vdi_key;
use crate::error::{Context, Result};
use crate::record::{Action, VdiRecord, Volume};
use crate::vdi::steps::disposal;
use crate::CephSr;

impl CephSr<'_> {
    /// Refuses to give up a VDI's image if Ceph would refuse that after the first step, so that the operation would
    /// stay unfinished: the image was locked by hand, or the base of its clones cannot be removed.
    pub(crate) fn require_disposable(&self, record: &VdiRecord, doing: &str) -> Result<()> {
        let image = record.volume.image();
        match self.pool.require_unlocked(&image.id) {
            Err(e) if e.is_not_found() => {} // removed outside smblock
            other => other.doing(doing)?,
        }
        let Some(base) = &record.base else {
            return Ok(());
        };
        // The record of a disk that was flattened has no parent. Its base may have one.
        self.images
            .require_removable(image, &base.snapshot, true, doing)
    }

    /// Refuses a deletion that would leave something behind. Returns whether the record has changed because
    /// its image had another id. If another VDI of the image is in use, the catalogue cannot be changed yet,
    /// and the deletion finds the image itself.
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
        let doing = format!("deleting VDI {}", record.uuid);
        if let Some(snapshot) = record.volume.snapshot() {
            let may_be_clone = record.depth > 0;
            self.images
                .require_removable(image, snapshot, may_be_clone, &doing)?;
        }
        self.require_disposable(record, &doing)?;
        Ok(false)
    }

    /// Deletes a VDI. One that does not exist counts as deleted.
    pub fn delete_vdi(&self, vdi: &Uuid) -> Result<()> {
        loop {
            let entry = self.journal().acquire(vdi)?;
            let Some(stored) = &entry.vdi else {
                log::info!("VDI {vdi} is not in SR {}: nothing to delete", self.sr);
                return Ok(());
            };
            self.claims.refuse_if_in_use(&stored.record)?;
            self.refuse_attached_ha_vdi(&stored.record)?;
            if self.require_deletable(&stored.record)? {
                continue;
            }
            self.drop_prepared_of(vdi, &entry)?;
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
