//! Recovery finishes or undoes an operation that its owner left unfinished. This file is above all
//! operations: they reach it through the journal alone, see [`Recovery`].
//!
//! **When.** An entry names its owner. Another process may act only if the owner is gone: it is a process of
//! this host that does not run any more, or a process of a dead host (`fence.rs`). Or if this host has seen
//! the entry unchanged for [`LEASE_SECONDS`](crate::lease::LEASE_SECONDS), by a clock of its own that is
//! never set. Clocks of different hosts are never compared: they differ by minutes, and jump.
//!
//! **How.** First the *owner's* address is put on the cluster's blocklist. Otherwise a slow owner could wake
//! up and continue with outdated data, requests that it has sent could still be applied, and a dead client's
//! lock and watch would delay the next operation on the image by 10 to 30 s. A wrong guess costs the owner
//! its operation, and never any data.

use uuid::Uuid;

use crate::catalogue::{intent_key, Stored};
use crate::error::{Context, Result};
use crate::journal::{Recovery, RECOVERY_BLOCKLIST_SECONDS};
use crate::pool::Transaction;
use crate::record::{Action, Intent};
use crate::vdi::steps::{disposal, new_image, new_snapshot};
use crate::vdi::{clone, resize};
use crate::CephSr;

impl Recovery for CephSr<'_> {
    fn may_recover(&self, vdi: &Uuid, intent: &Intent) -> bool {
        self.journal().is_lease_over(vdi, intent) || self.fence.is_dead(&intent.owner)
    }

    fn recover(&self, vdi: &Uuid, found: &Stored<Intent>) -> Result<()> {
        let left = &found.record;
        let what = left.action.describe();
        let doing = format!("recovering the {what} {vdi}");
        log::warn!(
            "{doing}: process {} on host {} left it unfinished",
            left.owner.pid,
            left.owner.host
        );
        let address = self.pool.address().doing(&doing)?;
        if left.address != address {
            let cut_off = self
                .pool
                .blocklist(&left.address, RECOVERY_BLOCKLIST_SECONDS);
            cut_off.doing(&doing)?;
        }
        let mine = self.journal().new_intent(&doing, left.action.clone())?;
        let transaction = Transaction::default()
            .expect(intent_key(vdi), Some(found))
            .put(intent_key(vdi), mine.bytes.clone());
        if !self.catalogue.commit(&doing, &transaction)? {
            return Ok(()); // another process was faster
        }
        self.complete(vdi, &mine)
    }
}

impl CephSr<'_> {
    /// Finishes or undoes every operation whose owner is gone. A living owner keeps its operation. If one
    /// cannot be recovered now, the other VDIs of the SR can still be used: the next command tries again.
    pub(crate) fn recover_all(&self, intents: Vec<(Uuid, Stored<Intent>)>) -> Result<usize> {
        let mut recovered = 0;
        for (vdi, intent) in intents {
            if !self.may_recover(&vdi, &intent.record) {
                continue;
            }
            recovered += 1;
            match self.recover(&vdi, &intent) {
                // The next one would wait as long for a cluster that does not reply.
                Err(e) if e.is_outcome_unknown() => return Err(e),
                Err(e) => log::error!("VDI {vdi}: cannot recover the interrupted operation, the next command tries again: {e}"),
                Ok(()) => {}
            }
        }
        Ok(recovered)
    }

    /// Finishes or undoes an operation that stopped after any of its steps.
    fn complete(&self, vdi: &Uuid, intent: &Stored<Intent>) -> Result<()> {
        match &intent.record.action {
            // Until a revert has changed its disk's record, it has only made an image.
            Action::CreateDisk { image_name } | Action::Revert { image_name } => {
                new_image::undo(self, vdi, intent, image_name)
            }
            Action::Snapshot { .. } => new_snapshot::undo(self, vdi, intent),
            Action::CloneDisk { .. } => clone::undo(self, vdi, intent),
            Action::DeleteDisk { .. } | Action::DeleteSnapshot { .. } => {
                disposal::complete(self, vdi, intent)
            }
            Action::Grow { image, .. } => resize::complete(self, vdi, intent, image),
        }
    }
}
