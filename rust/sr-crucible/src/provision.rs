//! Volumes are introduced, made, copied and deleted.

use crucible_host::Volume;
use sr::xapi::ScannedVdi;
use uuid::Uuid;

use super::claim_log::Claim;
use super::error::{Error, Hold, Result};
use super::scan::new_fields;
use super::{Source, Volumes};

impl Volumes<'_> {
    /// `vdi_introduce`
    pub fn introduce(&self, vdi: &Uuid) -> Result<ScannedVdi> {
        self.settle_leftovers();
        Ok(new_to_xapi(&self.catalogue.find(vdi)?.0))
    }

    /// `vdi_create`: answers the size in bytes, which is never less than asked for.
    pub fn create(&self, vdi: &Uuid, name: &str, size: u64) -> Result<u64> {
        self.settle_leftovers();
        Ok(self.catalogue.create(vdi, name, size)?.size)
    }

    /// `vdi_delete`: the volume goes with its data. Claimed first, so that no host can start a
    /// server for it meanwhile. One that is on record nowhere is deleted already.
    pub fn delete(&self, vdi: &Uuid) -> Result<()> {
        self.settle_leftovers();
        let _alone = self.lock(vdi)?;
        let (volume, source) = match self.catalogue.find(vdi) {
            Err(Error::VolumeMissing { .. }) => return Ok(()),
            found => found?,
        };
        if source == Source::Declared {
            return Err(Error::Declared { vdi: *vdi });
        }
        self.claim_unused(&volume)?;
        let deleted = self.catalogue.delete(&volume);
        deleted.map_err(|e| self.undo(vdi, e))
    }

    /// `vdi_clone`: a full copy, of which the time grows with the size. The source is claimed
    /// meanwhile, so that nobody writes to it.
    pub fn copy(&self, vdi: &Uuid, new: &Uuid) -> Result<ScannedVdi> {
        self.settle_leftovers();
        let _alone = self.lock(vdi)?;
        let (source, _) = self.catalogue.find(vdi)?;
        let claim = self.claim_unused(&source)?;
        let copied = self.catalogue.copy(&source, new);
        let copy = copied.map_err(|e| self.undo(vdi, e))?;
        self.release(&claim)?;
        Ok(new_to_xapi(&copy))
    }

    /// Claims a volume that no host uses, for what no server is needed for.
    fn claim_unused(&self, volume: &Volume) -> Result<Claim> {
        let vdi = &volume.uuid;
        self.refuse_if_served(vdi)?;
        self.clear(vdi)?;
        self.close(&self.log(vdi)?)?;
        self.claim(volume, &self.log(vdi)?)
    }

    fn refuse_if_served(&self, vdi: &Uuid) -> Result<()> {
        match self.log(vdi)?.open() {
            Some(claim) if self.is_ours(claim) && self.serves(claim)? => {
                Err(claim.in_use(Hold::InUse))
            }
            _ => Ok(()),
        }
    }
}

fn new_to_xapi(volume: &Volume) -> ScannedVdi {
    ScannedVdi {
        uuid: volume.uuid,
        size: volume.size,
        xapi: new_fields(volume),
        known_to_xapi: false,
    }
}
