//! An SR is plugged and unplugged on this host.

use uuid::Uuid;

use super::claim_log::{Log, SmConfig};
use super::error::{Context, Error, Result};
use super::host::Server;
use super::{CrucibleSr, Source};

impl CrucibleSr<'_> {
    /// `sr_create`: the volumes must be readable, and nothing is written.
    pub fn create_sr(&self) -> Result<()> {
        self.inventory.list()?;
        Ok(())
    }

    /// `sr_attach`: clears up what this host's crashes and earlier boots left of the SR's disks, but
    /// for those that are served right now. It asks no storage machine: one that is away must not
    /// keep the others' disks from being plugged.
    pub fn attach_sr(&self) -> Result<()> {
        for (vdi, sm_config) in self.vdis()? {
            if let Err(e) = self.settle(&vdi, &sm_config) {
                // One disk keeps no other from being used; its own activation says it again.
                log::warn!("VDI {vdi}: left as it was found: {e}");
            }
        }
        // In this order: what this host had before it was declared dead is gone by now.
        let me = self.host.id();
        let published = self.xapi.publish_boot(&me.boot_id);
        published.registering(|| "telling XAPI in which boot this host is".to_owned())?;
        let revived = self.xapi.revive(&me.host);
        revived.registering(|| "telling XAPI that this host is not dead".to_owned())
    }

    /// Releases the claims of this host that have neither a server nor a device, such as a killed clone
    /// leaves on its source, and stops servers without a device. Part of every command on a VDI or the
    /// SR: another host must not have to wait until this one plugs the SR again. What fails is logged,
    /// and tried again by the next command.
    pub(super) fn settle_leftovers(&self) {
        let vdis = match self.vdis() {
            Ok(vdis) => vdis,
            Err(e) => return log::warn!("SR {}: leftovers are not looked for: {e}", self.sr),
        };
        for (vdi, sm_config) in vdis {
            if let Err(e) = self.settle_leftover(&vdi, &sm_config) {
                log::warn!("VDI {vdi}: left as it was found: {e}");
            }
        }
    }

    fn settle_leftover(&self, vdi: &Uuid, sm_config: &SmConfig) -> Result<()> {
        // A device may be in use, even if its server is gone: only unplugging ends that.
        if !self.has_claimed(&Log::read(vdi, sm_config)?) || self.device(vdi)?.is_some() {
            return Ok(());
        }
        let doing = || format!("looking whether another command works on VDI {vdi}");
        let Some(_alone) = self.host.try_lock(vdi).doing(doing)? else {
            return Ok(()); // it is no leftover
        };
        let log = self.log(vdi)?;
        if self.has_claimed(&log) && self.device(vdi)?.is_none() {
            log::warn!("VDI {vdi}: what a command that ended early left here is removed");
            self.clear(vdi)?;
            self.release_ours(&log)?;
        }
        Ok(())
    }

    /// `sr_detach`: as [`Self::attach_sr`], refused while a disk is served here.
    pub fn detach_sr(&self) -> Result<()> {
        for (vdi, sm_config) in self.vdis()? {
            if self.settle(&vdi, &sm_config)? {
                return Err(Error::SrInUse { sr: self.sr, vdi });
            }
        }
        Ok(())
    }

    /// `sr_delete`: refused while there are volumes that a provisioner made. Declared ones are not
    /// this driver's to delete, nor to keep an SR for.
    pub fn delete_sr(&self) -> Result<()> {
        let listing = self.inventory.list()?;
        let left = listing.volumes.iter();
        let volumes = left
            .filter(|(_, source)| *source == Source::Provisioned)
            .count();
        if volumes > 0 {
            return Err(Error::SrNotEmpty {
                sr: self.sr,
                volumes,
            });
        }
        Ok(())
    }

    pub(super) fn vdis(&self) -> Result<Vec<(Uuid, SmConfig)>> {
        let vdis = self.xapi.vdis();
        vdis.registering(|| format!("listing the VDIs of SR {}", self.sr))
    }

    /// Clears up after crashes where a VDI is not served; answers whether it is.
    fn settle(&self, vdi: &Uuid, sm_config: &SmConfig) -> Result<bool> {
        let claimed = self.has_claimed(&Log::read(vdi, sm_config)?);
        if !claimed && self.server(vdi)? == Server::Absent && self.device(vdi)?.is_none() {
            return Ok(false);
        }
        let _alone = self.lock(vdi)?;
        let log = self.log(vdi)?;
        if let Some(claim) = log.open().filter(|claim| self.is_ours(claim)) {
            if self.serves(claim)? && self.device(vdi)?.is_some_and(|device| device.connected) {
                return Ok(true);
            }
        }
        self.clear(vdi)?;
        self.release_ours(&log)?;
        Ok(false)
    }
}
