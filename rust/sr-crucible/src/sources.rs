//! The real inventory: the file that declares volumes, and the provisioner.

use std::collections::HashSet;
use std::path::PathBuf;

use crucible_host::declaration;
use crucible_host::provisioner::Provisioner;
use crucible_host::Volume;
use uuid::Uuid;

use super::config::Config;
use super::error::{Error, Result};
use super::{Inventory, Listing, Source};

/// The lists that a device-config names.
pub struct Sources {
    volumes: Option<PathBuf>,
    provisioner: Option<Provisioner>,
}

impl Sources {
    /// The lists of an SR. Reads nothing yet.
    pub fn new(config: &Config, sr: Uuid) -> Self {
        let provisioner = config
            .provisioner
            .clone()
            .map(|path| Provisioner::new(path, sr, config.provisioner_config.clone()));
        Sources {
            volumes: config.volumes.clone(),
            provisioner,
        }
    }

    fn provisioner(&self, what: &'static str) -> Result<&Provisioner> {
        self.provisioner
            .as_ref()
            .ok_or(Error::NoProvisioner { what })
    }
}

impl Inventory for Sources {
    fn list(&self) -> Result<Listing> {
        let mut listing = Listing::default();
        if let Some(path) = &self.volumes {
            let declared = declaration::read(path)?.into_iter();
            listing.volumes = declared.map(|volume| (volume, Source::Declared)).collect();
        }
        if let Some(provisioner) = &self.provisioner {
            let found = provisioner.list()?;
            // A volume that is in both lists counts as declared.
            let declared: HashSet<_> = listing.volumes.iter().map(|(v, _)| v.uuid).collect();
            let others = found
                .volumes
                .into_iter()
                .filter(|v| !declared.contains(&v.uuid));
            listing
                .volumes
                .extend(others.map(|volume| (volume, Source::Provisioned)));
            (listing.total, listing.free) = (found.total, found.free);
        }
        Ok(listing)
    }

    fn find(&self, vdi: &Uuid) -> Result<(Volume, Source)> {
        if let Some(path) = &self.volumes {
            let mut declared = declaration::read(path)?.into_iter();
            if let Some(volume) = declared.find(|volume| volume.uuid == *vdi) {
                return Ok((volume, Source::Declared));
            }
        }
        let found = match &self.provisioner {
            Some(provisioner) => provisioner.find(vdi)?,
            None => None,
        };
        let found = found.ok_or(Error::VolumeMissing { vdi: *vdi })?;
        Ok((found, Source::Provisioned))
    }

    fn create(&self, vdi: &Uuid, name: &str, size: u64) -> Result<Volume> {
        Ok(self.provisioner("create disks")?.create(vdi, name, size)?)
    }

    fn copy(&self, source: &Volume, vdi: &Uuid) -> Result<Volume> {
        Ok(self.provisioner("copy disks")?.copy(source, vdi)?)
    }

    fn delete(&self, volume: &Volume) -> Result<()> {
        Ok(self.provisioner("delete disks")?.delete(volume)?)
    }
}
