//! Attaching an SR to this host, and detaching it.

use uuid::Uuid;

use crate::catalogue::{image_prefix, intent_key, Stored, INTENT_PREFIX};
use crate::cluster::Entries;
use crate::error::{Context, Error, Result};
use crate::record::Intent;
use crate::vdi::unplug::unmap_sr;
use crate::Repository;

impl Repository<'_> {
    /// Checks that the SR is there, finishes what dead processes left in it, gives back what this
    /// host had claimed before it booted, and removes devices that a crash left on this host.
    pub fn attach_sr(&self) -> Result<()> {
        self.mark_deleting(false)?;
        let entries = self.read_catalogue()?;
        self.note_place();
        self.publish_boot(&entries)?;
        self.alert_if_cut_off();
        if let Err(e) = self.cluster.may_blocklist() {
            log::warn!("SR {}: disks of a host that dies stay locked, since its user may not cut clients off: {e}. 'smblock-admin check' prints the command that grants the cap", self.sr);
        }
        self.recover(self.intents(&entries))?;
        self.release_earlier_boots(&entries)?;
        self.drop_stale_devices()?;
        self.erase_stale_notes(&entries)?;
        self.release_unmapped(&entries)
    }

    /// Finishes or undoes what a dead process left unfinished on one VDI, now.
    pub fn recover_vdi(&self, vdi: &Uuid) -> Result<()> {
        let intent = self.entry(vdi)?.intent;
        self.recover(intent.map(|intent| (*vdi, intent)).into_iter().collect())
            .map(drop)
    }

    /// Looks at what is under way, so that this host can tell later for how long it has not changed.
    pub fn look_at_journal(&self) -> Result<()> {
        let entries = self.read_catalogue()?;
        for (vdi, intent) in self.intents(&entries) {
            self.seen_for(&intent_key(&vdi), &intent.record);
        }
        self.look_at_worker(&entries);
        Ok(())
    }

    /// Refused while a VDI of the SR is mapped on this host. If the catalogue cannot be read, only a
    /// device that is open counts.
    pub fn detach_sr(&self) -> Result<()> {
        match self.drop_stale_devices() {
            Err(e) if !matches!(e, Error::Host { .. }) => {
                log::warn!("SR {}: {e}; its idle devices are unmapped", self.sr);
                return unmap_sr(self.host, &self.sr);
            }
            other => other?,
        }
        let fsid = self.cluster.fsid().doing("asking for the cluster's fsid")?;
        let prefix = image_prefix(&self.sr);
        let mappings = self.host.mappings().doing("listing this host's devices")?;
        let left = mappings.into_iter().find(|m| {
            m.key.fsid == fsid
                && m.key.pool_id == self.cluster.pool_id()
                && m.image_name.starts_with(&prefix)
        });
        match left {
            None => Ok(()),
            Some(mapped) => Err(Error::SrInUse {
                sr: self.sr,
                vdi: self
                    .vdi_of_image_name(&mapped.image_name)
                    .map_or(mapped.image_name, |vdi| vdi.to_string()),
                device: mapped.device.display().to_string(),
            }),
        }
    }

    /// The operations under way, as far as their entries can be read.
    pub(crate) fn intents(&self, entries: &Entries) -> Vec<(Uuid, Stored<Intent>)> {
        let mut intents = Vec::new();
        for (key, value) in entries.range(INTENT_PREFIX.to_owned()..) {
            let Some(vdi) = key.strip_prefix(INTENT_PREFIX) else {
                break;
            };
            match (vdi.parse(), Stored::parse(value.clone())) {
                (Ok(vdi), Ok(intent)) if intent_key(&vdi) == *key => intents.push((vdi, intent)),
                (_, Err(e)) => log::error!("SR {}: journal entry {key}: {e}", self.sr),
                _ => log::error!("SR {}: {key} is not a journal entry's key", self.sr),
            }
        }
        intents
    }
}
