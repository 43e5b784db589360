//! Introduces, makes, copies and deletes volumes.

use crucible_host::Volume;
use sr::xapi::ScannedVdi;
use uuid::Uuid;

use super::claim_log::Claim;
use super::error::{Error, Hold, Result};
use super::scan::new_fields;
use super::{CrucibleSr, Source};

/// The largest disk, in bytes: XAPI has a disk's size as a signed number of 64 bits.
pub const MAX_SIZE: u64 = i64::MAX as u64;

impl CrucibleSr<'_> {
    /// `vdi_introduce`
    pub fn introduce(&self, vdi: &Uuid) -> Result<ScannedVdi> {
        self.remove_leftovers();
        Ok(new_to_xapi(&self.inventory.find(vdi)?.0))
    }

    /// `vdi_create`: returns the size in bytes, which is never less than `size`.
    ///
    /// # Errors
    /// [`Error::BadSize`] if no volume can have that size. The provisioner was not called.
    pub fn create(&self, vdi: &Uuid, name: &str, size: i128) -> Result<u64> {
        let size = volume_size(size)?;
        self.remove_leftovers();
        Ok(self.inventory.create(vdi, name, size)?.size)
    }

    /// `vdi_delete`: deletes the volume with its data. Claims it first, so that no host starts a server for
    /// it meanwhile. A volume that no list has is deleted already.
    pub fn delete(&self, vdi: &Uuid) -> Result<()> {
        self.remove_leftovers();
        let _alone = self.servers.lock(vdi)?;
        let (volume, source) = match self.inventory.find(vdi) {
            Err(Error::VolumeMissing { .. }) => return Ok(()),
            found => found?,
        };
        if source == Source::Declared {
            return Err(Error::Declared { vdi: *vdi });
        }
        self.claim_unused(&volume)?;
        let deleted = self.inventory.delete(&volume);
        deleted.map_err(|e| self.undo(vdi, e))
    }

    /// `vdi_clone`: makes a full copy. Its time grows with the size. The source is claimed meanwhile, so that
    /// no host writes to it.
    pub fn copy(&self, vdi: &Uuid, new: &Uuid) -> Result<ScannedVdi> {
        self.remove_leftovers();
        let _alone = self.servers.lock(vdi)?;
        let (source, _) = self.inventory.find(vdi)?;
        let claim = self.claim_unused(&source)?;
        let copied = self.inventory.copy(&source, new);
        let copy = copied.map_err(|e| self.undo(vdi, e))?;
        self.claims.release(&claim)?;
        Ok(new_to_xapi(&copy))
    }

    /// Claims a volume that no host uses, for work that needs no server.
    fn claim_unused(&self, volume: &Volume) -> Result<Claim> {
        let vdi = &volume.uuid;
        self.refuse_if_served(vdi)?;
        self.servers.clear(vdi)?;
        self.claims.close(&self.claims.log(vdi)?)?;
        self.claims.acquire(volume, &self.claims.log(vdi)?)
    }

    fn refuse_if_served(&self, vdi: &Uuid) -> Result<()> {
        match self.claims.log(vdi)?.open() {
            Some(claim) if self.claims.is_ours(claim) && self.servers.serves(claim)? => {
                Err(claim.in_use(Hold::InUse))
            }
            _ => Ok(()),
        }
    }
}

/// Returns the size to ask the provisioner for.
fn volume_size(size: i128) -> Result<u64> {
    match u64::try_from(size) {
        Ok(bytes @ 1..=MAX_SIZE) => Ok(bytes),
        _ => Err(Error::BadSize {
            size,
            max: MAX_SIZE,
        }),
    }
}

fn new_to_xapi(volume: &Volume) -> ScannedVdi {
    ScannedVdi {
        uuid: volume.uuid,
        size: volume.size,
        xapi: new_fields(volume),
        cbt_enabled: false,
        known_to_xapi: false,
    }
}
