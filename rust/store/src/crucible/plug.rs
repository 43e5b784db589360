//! An SR is plugged and unplugged on this host.

use uuid::Uuid;

use super::error::{Context, Error, Result};
use super::log::{Log, SmConfig};
use super::machine::Server;
use super::{Source, Volumes};

impl Volumes<'_> {
    /// `sr_create`: the volumes must be readable, and nothing is written.
    pub fn create_sr(&self) -> Result<()> {
        self.catalogue.list()?;
        Ok(())
    }

    /// `sr_attach`: the volumes must be readable. Clears up what this host's crashes and earlier
    /// boots left of the SR's disks, but for those that are served right now.
    pub fn attach_sr(&self) -> Result<()> {
        self.catalogue.list()?;
        for (vdi, sm_config) in self.vdis()? {
            if let Err(e) = self.settle(&vdi, &sm_config) {
                // One disk keeps no other from being used; its own activation says it again.
                ::log::warn!("VDI {vdi}: left as it was found: {e}");
            }
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
        let listing = self.catalogue.list()?;
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

    fn vdis(&self) -> Result<Vec<(Uuid, SmConfig)>> {
        let vdis = self.registry.vdis();
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
