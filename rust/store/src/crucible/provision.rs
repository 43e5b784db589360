//! Volumes are introduced, made and deleted.

use uuid::Uuid;

use super::error::{Error, Result};
use super::scan::new_fields;
use super::{Source, Volumes};
use crate::xapi::ScannedVdi;

impl Volumes<'_> {
    /// `vdi_introduce`
    pub fn introduce(&self, vdi: &Uuid) -> Result<ScannedVdi> {
        let listing = self.catalogue.list()?;
        let (volume, _) = listing.find(vdi)?;
        Ok(ScannedVdi {
            uuid: *vdi,
            size: volume.size,
            xapi: new_fields(volume),
            known_to_xapi: false,
        })
    }

    /// `vdi_create`: answers the size in bytes, which is never less than asked for.
    pub fn create(&self, vdi: &Uuid, name: &str, size: u64) -> Result<u64> {
        Ok(self.catalogue.create(vdi, name, size)?.size)
    }

    /// `vdi_delete`: the volume goes with its data. Claimed first, so that no host can start a
    /// server for it meanwhile. One that is on record nowhere is deleted already.
    pub fn delete(&self, vdi: &Uuid) -> Result<()> {
        let _alone = self.lock(vdi)?;
        let listing = self.catalogue.list()?;
        let Ok((volume, source)) = listing.find(vdi) else {
            return Ok(());
        };
        if *source == Source::Declared {
            return Err(Error::Declared { vdi: *vdi });
        }
        self.refuse_if_served(vdi)?;
        self.clear(vdi)?;
        self.close(&self.log(vdi)?)?;
        self.claim(volume, &self.log(vdi)?)?;
        let deleted = self.catalogue.delete(volume);
        deleted.map_err(|e| self.undo(vdi, e))
    }

    fn refuse_if_served(&self, vdi: &Uuid) -> Result<()> {
        match self.log(vdi)?.open() {
            Some(claim) if self.is_ours(claim) && self.serves(claim)? => Err(Error::in_use(claim)),
            _ => Ok(()),
        }
    }
}
