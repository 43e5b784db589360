//! Releases the claim on a volume for an administrator: `smblock release`.

use std::any::Any;

use uuid::Uuid;

use super::claim_log::Claim;
use super::error::{Context, Error, Result};
use super::host::Server;
use super::CrucibleSr;

impl CrucibleSr<'_> {
    /// Releases the claim on a volume, of any host. Returns the claim. Removes entries that cannot be read.
    ///
    /// `force` does not check the host: if it still runs a server, the next server fences it.
    ///
    /// # Errors
    /// [`Error::UsedHere`]: this host has a server or a device of the volume, or a command works on it.
    /// [`Error::NotReleased`]: the claim's host is a member of this pool, was not declared dead, and uses
    /// the volume or does not reply.
    pub fn break_claim(&self, vdi: &Uuid, force: bool) -> Result<Option<Claim>> {
        let _alone = match force {
            true => None,
            false => Some(self.require_idle(vdi)?),
        };
        let log = loop {
            match self.claims.log(vdi) {
                Err(Error::Damaged { key, .. }) => {
                    let removed = self.xapi.remove(vdi, &key);
                    removed.of_xapi(|| format!("removing {key} from VDI {vdi}"))?;
                }
                log => break log?,
            }
        };
        let claim = log.open().cloned();
        let done = match force {
            true => claim
                .iter()
                .try_for_each(|claim| self.claims.release(claim)),
            false => self.claims.close(&log),
        };
        match (done, &claim) {
            // XAPI has no record of another pool's hosts. The administrator has confirmed that it is off.
            (Err(Error::UnknownHost { .. }), Some(claim)) => self.claims.release(claim)?,
            (Err(source @ Error::VdiInUse { .. }), _) => {
                let source = Box::new(source);
                return Err(Error::NotReleased { source });
            }
            (done, _) => done?,
        }
        Ok(claim)
    }

    /// Checks that this host does not use a volume, and keeps it so until the returned lock is dropped.
    fn require_idle(&self, vdi: &Uuid) -> Result<Box<dyn Any>> {
        let Some(alone) = self.servers.try_lock(vdi)? else {
            return Err(Error::UsedHere { vdi: *vdi });
        };
        let serves = matches!(self.servers.server(vdi)?, Server::Running { .. });
        if serves || self.servers.device(vdi)?.is_some() {
            return Err(Error::UsedHere { vdi: *vdi });
        }
        Ok(alone)
    }
}
