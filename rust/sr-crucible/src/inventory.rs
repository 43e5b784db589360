//! Which volumes an SR has: those that a file declares, and those that a provisioner made.

use crucible_host::Volume;
use uuid::Uuid;

use super::error::{Error, Result};

/// Where a volume is kept on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In the file of `device-config:volumes`, which this driver never writes.
    Declared,
    /// With the program of `device-config:provisioner`, which can delete it again.
    Provisioned,
}

/// All volumes of an SR.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The volumes, declared ones first.
    pub volumes: Vec<(Volume, Source)>,
    /// Bytes that the storage machines hold in total, where the provisioner says.
    pub total: Option<u64>,
    /// Bytes that are free there, where the provisioner says.
    pub free: Option<u64>,
}

/// Where an SR's volumes are on record. Every failure to read is an error: a list without those
/// volumes would have XAPI forget their disks.
pub trait Inventory {
    /// All volumes. An error if that could be a part of them.
    fn list(&self) -> Result<Listing>;
    /// The volume behind a VDI, by what only its own storage machines have to say.
    ///
    /// # Errors
    /// [`Error::VolumeMissing`]: there is certainly none.
    fn find(&self, vdi: &Uuid) -> Result<(Volume, Source)>;
    /// Has a volume made. Its size may be larger than asked for.
    fn create(&self, vdi: &Uuid, name: &str, size: u64) -> Result<Volume>;
    /// Has a full copy made of a volume that nobody uses meanwhile.
    fn copy(&self, source: &Volume, vdi: &Uuid) -> Result<Volume>;
    /// Has a volume deleted, with its data.
    fn delete(&self, volume: &Volume) -> Result<()>;
}

impl Listing {
    /// The volume behind a VDI.
    ///
    /// # Errors
    /// [`Error::VolumeMissing`]
    pub fn find(&self, vdi: &Uuid) -> Result<&(Volume, Source)> {
        let found = self.volumes.iter().find(|(volume, _)| volume.uuid == *vdi);
        found.ok_or(Error::VolumeMissing { vdi: *vdi })
    }
}
