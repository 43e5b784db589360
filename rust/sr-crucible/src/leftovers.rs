//! Removes what crashes, killed commands and earlier boots of this host left of a volume: its device, its
//! server, its claim.

use uuid::Uuid;

use super::claim_log::{Log, SmConfig};
use super::error::{Error, Result};
use super::host::Server;
use super::CrucibleSr;

impl CrucibleSr<'_> {
    /// Releases claims of this host without a server and a device, which a killed clone leaves on its source,
    /// and stops servers without a device. Runs in every command on a VDI or the SR, so that another host
    /// need not wait until this one plugs the SR again. A failure is logged; the next command tries again.
    pub(super) fn remove_leftovers(&self) {
        let vdis = match self.records.vdis() {
            Ok(vdis) => vdis,
            Err(e) => {
                return log::warn!(
                    "SR {}: cannot look for leftovers of killed commands: {e}",
                    self.sr
                )
            }
        };
        for (vdi, sm_config) in vdis {
            if let Err(e) = self.remove_leftover(&vdi, &sm_config) {
                log::warn!(
                    "VDI {vdi}: cannot remove leftovers of a killed command, will retry: {e}"
                );
            }
        }
    }

    fn remove_leftover(&self, vdi: &Uuid, sm_config: &SmConfig) -> Result<()> {
        // A device may be in use even if its server is gone. Only unplugging removes it.
        if !self.claims.has_claimed(&Log::read(vdi, sm_config)?)
            || self.servers.device(vdi)?.is_some()
        {
            return Ok(());
        }
        let Some(_alone) = self.servers.try_lock(vdi)? else {
            return Ok(()); // another command works on it
        };
        let log = self.claims.log(vdi)?;
        if self.claims.has_claimed(&log) && self.servers.device(vdi)?.is_none() {
            log::warn!("VDI {vdi}: removing what a killed command left on this host");
            self.servers.clear(vdi)?;
            self.claims.release_ours(&log)?;
        }
        Ok(())
    }

    /// Removes what a killed command of this host left of a volume: device, server, claim. Returns whether
    /// this host uses the volume: its device is open, or another command works on it. The caller holds SM's
    /// lock of the VDI, and has checked that SM has not activated the VDI here.
    pub fn reconcile_vdi(&self, vdi: &Uuid) -> Result<bool> {
        let Some(_alone) = self.servers.try_lock(vdi)? else {
            return Ok(true);
        };
        // The device first: a server that waits for its targets may serve a VM again.
        match self.host.disconnect(vdi) {
            Err(e) if e.is_busy() => return Ok(true),
            // The server cannot take the flush. It is stopped first, then the device is removed.
            Err(e) => log::warn!(
                "VDI {vdi}: its device cannot be removed before its server is stopped: {e}"
            ),
            Ok(()) => {}
        }
        match self.servers.clear(vdi).and_then(|()| self.claims.log(vdi)) {
            Err(e) if e.errno() == Some(nix::libc::EBUSY) => Ok(true),
            Err(Error::VdiUnknown { .. }) => Ok(false),
            Err(e @ Error::Damaged { .. }) => {
                log::warn!("VDI {vdi}: not in use on this host; its claim was not released: {e}");
                Ok(false)
            }
            log => self.claims.release_ours(&log?).map(|()| false),
        }
    }

    /// Removes what a crash left of a VDI that is not served. Returns whether the VDI is served.
    pub(super) fn remove_unserved(&self, vdi: &Uuid, sm_config: &SmConfig) -> Result<bool> {
        let claimed = self.claims.has_claimed(&Log::read(vdi, sm_config)?);
        if !claimed
            && self.servers.server(vdi)? == Server::Absent
            && self.servers.device(vdi)?.is_none()
        {
            return Ok(false);
        }
        let _alone = self.servers.lock(vdi)?;
        let log = self.claims.log(vdi)?;
        if let Some(claim) = log.open().filter(|claim| self.claims.is_ours(claim)) {
            if self.servers.serves(claim)?
                && self
                    .servers
                    .device(vdi)?
                    .is_some_and(|device| device.connected)
            {
                return Ok(true);
            }
        }
        self.servers.clear(vdi)?;
        self.claims.release_ours(&log)?;
        Ok(false)
    }
}
