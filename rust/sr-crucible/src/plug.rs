//! Plugs and unplugs an SR on this host.

use uuid::Uuid;

use super::claim_log::{Log, SmConfig};
use super::error::{Context, Error, Result};
use super::host::Server;
use super::{CrucibleSr, Source};

impl CrucibleSr<'_> {
    /// `sr_create`: checks that the lists of volumes can be read. Writes nothing.
    pub fn create_sr(&self) -> Result<()> {
        self.inventory.list()?;
        Ok(())
    }

    /// `sr_attach`: removes what crashes and earlier boots of this host left of the SR's disks. Disks that
    /// are served now stay. No sled is asked: one that is away must not keep the SR from being plugged.
    pub fn attach_sr(&self) -> Result<()> {
        for (vdi, sm_config) in self.vdis()? {
            if let Err(e) = self.settle(&vdi, &sm_config) {
                // The other disks must stay usable. This disk's activation tries again.
                log::warn!("VDI {vdi}: cannot remove leftovers on this host, will retry: {e}");
            }
        }
        // Last: what this host had before it was declared dead is removed by now.
        let me = self.host.id();
        let published = self.xapi.publish_boot(&me.boot_id);
        published.of_xapi(|| "publishing the boot of this host in XAPI".to_owned())?;
        let revived = self.xapi.revive(&me.host);
        revived.of_xapi(|| "removing XAPI's note that this host was declared dead".to_owned())
    }

    /// Releases claims of this host without a server and a device, which a killed clone leaves on its source,
    /// and stops servers without a device. Runs in every command on a VDI or the SR, so that another host
    /// need not wait until this one plugs the SR again. A failure is logged; the next command tries again.
    pub(super) fn settle_leftovers(&self) {
        let vdis = match self.vdis() {
            Ok(vdis) => vdis,
            Err(e) => {
                return log::warn!(
                    "SR {}: cannot look for leftovers of killed commands: {e}",
                    self.sr
                )
            }
        };
        for (vdi, sm_config) in vdis {
            if let Err(e) = self.settle_leftover(&vdi, &sm_config) {
                log::warn!(
                    "VDI {vdi}: cannot remove leftovers of a killed command, will retry: {e}"
                );
            }
        }
    }

    fn settle_leftover(&self, vdi: &Uuid, sm_config: &SmConfig) -> Result<()> {
        // A device may be in use even if its server is gone. Only unplugging removes it.
        if !self.has_claimed(&Log::read(vdi, sm_config)?) || self.device(vdi)?.is_some() {
            return Ok(());
        }
        let doing = || format!("checking whether another command works on VDI {vdi}");
        let Some(_alone) = self.host.try_lock(vdi).doing(doing)? else {
            return Ok(()); // another command works on it
        };
        let log = self.log(vdi)?;
        if self.has_claimed(&log) && self.device(vdi)?.is_none() {
            log::warn!("VDI {vdi}: removing what a killed command left on this host");
            self.clear(vdi)?;
            self.release_ours(&log)?;
        }
        Ok(())
    }

    /// `sr_detach`: removes leftovers as [`Self::attach_sr`] does. Refused while a disk is served here.
    pub fn detach_sr(&self) -> Result<()> {
        for (vdi, sm_config) in self.vdis()? {
            if self.settle(&vdi, &sm_config)? {
                return Err(Error::SrInUse { sr: self.sr, vdi });
            }
        }
        Ok(())
    }

    /// `sr_delete`: refused while the provisioner has volumes. Declared volumes stay, and do not matter.
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
        vdis.of_xapi(|| format!("listing the VDIs of SR {}", self.sr))
    }

    /// Removes what a crash left of a VDI that is not served. Returns whether the VDI is served.
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
