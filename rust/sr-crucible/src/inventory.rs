//! The inventory: the volumes that a file declares, and the volumes that a provisioner made.

use crucible_host::Volume;
use uuid::Uuid;

use super::error::{Error, Result};

/// Which list has a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In the file of `device-config:volumes`, which this driver never writes.
    Declared,
    /// The list of the program of `device-config:provisioner`, which can delete the volume.
    Provisioned,
}

/// All volumes of an SR.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The volumes, declared ones first.
    pub volumes: Vec<(Volume, Source)>,
    /// Total bytes on the sleds, if the provisioner reports it.
    pub total: Option<u64>,
    /// Free bytes on the sleds, if the provisioner reports it.
    pub free: Option<u64>,
}

/// The lists of an SR's volumes. Every failure to read is an error: XAPI would forget the disks that an
/// incomplete list lacks.
pub trait Inventory {
    /// Returns all volumes. An error if the list could be incomplete.
    fn list(&self) -> Result<Listing>;
    /// Returns the volume of a VDI. Asks only the sleds of that volume.
    ///
    /// # Errors
    /// [`Error::VolumeMissing`] if the volume certainly does not exist.
    fn find(&self, vdi: &Uuid) -> Result<(Volume, Source)>;
    /// Makes a volume. Its size may be larger than `size`.
    fn create(&self, vdi: &Uuid, name: &str, size: u64) -> Result<Volume>;
    /// Makes a full copy of a volume. No host may use the volume meanwhile.
    fn copy(&self, source: &Volume, vdi: &Uuid) -> Result<Volume>;
    /// Deletes a volume with its data.
    fn delete(&self, volume: &Volume) -> Result<()>;
}

impl Listing {
    /// Returns the volume of a VDI.
    ///
    /// # Errors
    /// [`Error::VolumeMissing`]
    pub fn find(&self, vdi: &Uuid) -> Result<&(Volume, Source)> {
        let found = self.volumes.iter().find(|(volume, _)| volume.uuid == *vdi);
        found.ok_or(Error::VolumeMissing { vdi: *vdi })
    }
}
