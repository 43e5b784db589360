//! Attaching an SR to this host, and detaching it.

use uuid::Uuid;

use crate::catalogue::{image_prefix, Entry};
use crate::devices::UNMAP_IDLE_SECONDS;
use crate::error::{Context, Error, Result};
use crate::ha::is_for_ha;
use crate::host::Mapped;
use crate::vdi::unplug::unmap_sr;
use crate::{room, CephSr};

/// What happens to an idle device of a disk of high availability. SM attaches those before the SR is plugged, and
/// detaches them before it is unplugged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ha {
    /// It is in use.
    Stays,
    /// A crash left it.
    IsStale,
}

impl CephSr<'_> {
    /// Checks that the SR exists, recovers operations of dead processes, releases what this host had claimed
    /// before it booted, and removes devices that a crash left on this host.
    pub fn attach_sr(&self) -> Result<()> {
        self.require_kernel()?;
        room::require_place(self.pool)?;
        self.catalogue.mark_deleting(false)?;
        let entries = self.catalogue.read()?;
        self.note_place();
        self.fence.publish_boot(&entries)?;
        self.alerts.alert_if_cut_off();
        if let Err(e) = self.pool.may_blocklist() {
            log::warn!("SR {}: if a host dies, its disks stay locked, because the user may not cut clients off: {e}. 'smblock check' prints the command that grants the cap", self.sr);
        }
        self.recover_all(self.catalogue.intents(&entries))?;
        self.claims.release_earlier_boots(&entries)?;
        self.drop_stale_devices(Ha::Stays)?;
        self.readers.erase_stale_notes(&entries)?;
        self.claims.release_unmapped(&entries)
    }

    /// Finishes or undoes an operation that a dead process left unfinished on one VDI.
    pub fn recover_vdi(&self, vdi: &Uuid) -> Result<()> {
        let intent = self.catalogue.entry(vdi)?.intent;
        self.recover_all(intent.map(|intent| (*vdi, intent)).into_iter().collect())
            .map(drop)
    }

    /// Reads what is under way, so that this host can later find out for how long it has not changed.
    #[cfg(feature = "sim")]
    pub fn observe_journal(&self) -> Result<()> {
        let entries = self.catalogue.read()?;
        for (vdi, intent) in self.catalogue.intents(&entries) {
            self.journal()
                .seen_for(&crate::catalogue::intent_key(&vdi), &intent.record);
        }
        self.observe_worker(&entries);
        Ok(())
    }

    /// Fails while a VDI of the SR is mapped on this host. If the catalogue cannot be read, only an open
    /// device counts.
    pub fn detach_sr(&self) -> Result<()> {
        match self.drop_stale_devices(Ha::IsStale) {
            Err(e) if !matches!(e, Error::Host { .. }) => {
                log::warn!("SR {}: {e}; its idle devices are unmapped", self.sr);
                return unmap_sr(self.host, &self.sr);
            }
            other => other?,
        }
        let fsid = self.pool.fsid().doing("asking for the cluster's fsid")?;
        let prefix = image_prefix(&self.sr);
        let mappings = self.host.mappings().doing("listing this host's devices")?;
        let left = mappings
            .into_iter()
            .find(|m| self.pool.holds(&fsid, &m.key) && m.image_name.starts_with(&prefix));
        match left {
            None => Ok(()),
            Some(mapped) => Err(Error::SrInUse {
                sr: self.sr,
                vdi: self
                    .images
                    .vdi_of_name(&mapped.image_name)
                    .map_or(mapped.image_name, |vdi| vdi.to_string()),
                device: mapped.device.display().to_string(),
            }),
        }
    }

    /// Removes devices of this SR without a claim of this host: a crash left them. A device that is open is
    /// in use, read-only, and stays.
    fn drop_stale_devices(&self, ha: Ha) -> Result<()> {
        let fsid = self.pool.fsid().doing("asking for the cluster's fsid")?;
        let prefix = image_prefix(&self.sr);
        let mappings = self.host.mappings().doing("listing this host's devices")?;
        for mapped in mappings {
            let ours =
                self.pool.holds(&fsid, &mapped.key) && mapped.image_name.starts_with(&prefix);
            if !ours || self.is_used_here(&mapped, ha)? {
                continue;
            }
            match self.host.unmap(&mapped, UNMAP_IDLE_SECONDS) {
                Ok(()) => log::warn!(
                    "unmapped {}: it was left behind and shows image {}",
                    mapped.device.display(),
                    mapped.image_name
                ),
                Err(e) if e.is_busy() => {
                    log::info!("{} is in use and stays", mapped.device.display());
                }
                Err(e) => log::warn!("{} stays mapped: {e}", mapped.device.display()),
            }
        }
        Ok(())
    }

    /// Whether this host has claimed the disk that a device shows. No host claims a disk of high availability.
    pub(crate) fn is_used_here(&self, mapped: &Mapped, ha: Ha) -> Result<bool> {
        let Some(vdi) = self.images.vdi_of_name(&mapped.image_name) else {
            return Ok(false);
        };
        let stored = match self.catalogue.entry(&vdi) {
            Ok(Entry { vdi: None, .. }) => return Ok(false),
            Ok(Entry {
                vdi: Some(stored), ..
            }) => stored,
            Err(e @ Error::Damaged { .. }) => {
                log::error!(
                    "{} stays mapped, because its owner is unknown: {e}",
                    mapped.device.display()
                );
                return Ok(true);
            }
            Err(e) => return Err(e),
        };
        let same_image = self.images.key(&stored.record.volume)? == mapped.key;
        let me = self.host.owner();
        let claim = stored.record.claim;
        let claimed =
            claim.is_some_and(|c| c.owner.host == me.host && c.owner.boot_id == me.boot_id);
        Ok(same_image && (claimed || ha == Ha::Stays && is_for_ha(&stored.record.xapi)))
    }
}
