//! Accepts other storage behind a volume: `smblock accept`.

use uuid::Uuid;

use super::error::{Hold, Result};
use super::{keys, regions, CrucibleSr};

impl CrucibleSr<'_> {
    /// Removes the record of a volume's regions and key, after an administrator has replaced them. The next
    /// activation records those that it finds.
    pub fn accept(&self, vdi: &Uuid) -> Result<()> {
        let _alone = self.servers.lock(vdi)?;
        let log = self.claims.log(vdi)?;
        if let Some(claim) = log.open().filter(|_| self.claims.has_claimed(&log)) {
            return Err(claim.in_use(Hold::InUse));
        }
        self.claims.close(&log)?;
        keys::forget(self.records, vdi)?;
        regions::forget(self.records, vdi)
    }
}
