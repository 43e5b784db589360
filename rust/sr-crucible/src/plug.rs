//! Plugs and unplugs an SR on this host.

use super::error::{Context, Error, Result};
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
        for (vdi, sm_config) in self.records.vdis()? {
            if let Err(e) = self.remove_unserved(&vdi, &sm_config) {
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

    /// `sr_detach`: removes leftovers as [`Self::attach_sr`] does. Refused while a disk is served here.
    pub fn detach_sr(&self) -> Result<()> {
        for (vdi, sm_config) in self.records.vdis()? {
            if self.remove_unserved(&vdi, &sm_config)? {
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
}
