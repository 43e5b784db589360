//! What is safe to repair: only what the driver does by itself with the next scan or the next plug of the
//! SR. Each step can be repeated, and stopped anywhere: see the files of the steps.

use crate::catalogue::image_prefix;
use crate::devices::UNMAP_IDLE_SECONDS;
use crate::error::{Context, Result};
use crate::sr::plug::Ha;
use crate::CephSr;

impl CephSr<'_> {
    /// Finishes or undoes what dead processes left, releases this host's claims that are over, unmaps this
    /// host's devices that no VDI uses, and asks ceph-mgr to free what is to be freed. If something is left
    /// for a reclaim worker, [`CephSr::needs_worker`] is true.
    ///
    /// # Errors
    /// The catalogue cannot be read or written.
    pub fn repair(&self) -> Result<()> {
        let entries = self.catalogue.read()?;
        self.recover_all(self.catalogue.intents(&entries))?;
        let entries = self.catalogue.read()?;
        self.claims.release_earlier_boots(&entries)?;
        self.claims.release_unmapped(&entries)?;
        self.readers.erase_stale_notes(&entries)?;
        self.unmap_unclaimed_disks()?;
        self.drop_prepared_among(&entries)?;
        let entries = self.catalogue.read()?;
        self.collect_garbage(&entries, || self.usage())?;
        if self.worker_left(&entries).is_some() {
            self.leave_to_worker();
        }
        Ok(())
    }

    /// Unmaps the devices of disks that this host has not claimed. Nothing claims a snapshot, so devices of
    /// snapshots stay. A device that is open stays, too.
    fn unmap_unclaimed_disks(&self) -> Result<()> {
        let prefix = image_prefix(&self.sr);
        for mapped in self.devices.of_sr("listing this host's devices")? {
            let is_disk = mapped.key.snap_id.is_none() && mapped.image_name.starts_with(&prefix);
            if !is_disk || mapped.read_only || self.is_used_here(&mapped, Ha::Stays)? {
                continue;
            }
            match self.host.unmap(&mapped, UNMAP_IDLE_SECONDS) {
                Err(e) if e.is_busy() => log::info!("{} is open", mapped.device.display()),
                other => other.doing(&format!("unmapping {}", mapped.device.display()))?,
            }
        }
        Ok(())
    }
}
