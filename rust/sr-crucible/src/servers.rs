//! The server and the block device that this host has for a volume.

use std::any::Any;

use uuid::Uuid;

use super::claim_log::Claim;
use super::error::{Context, Result};
use super::host::{Device, Host, Server};

/// The servers and the block devices of this host.
#[derive(Clone, Copy)]
pub(super) struct Servers<'a> {
    pub(super) host: &'a dyn Host,
}

impl Servers<'_> {
    /// Waits until no other command of this host works on the volume.
    pub(super) fn lock(&self, vdi: &Uuid) -> Result<Box<dyn Any>> {
        let doing = || format!("waiting for another command on VDI {vdi}");
        self.host.lock(vdi).doing(doing)
    }

    /// As [`Self::lock`], without waiting. `None` if another command works on the volume.
    pub(super) fn try_lock(&self, vdi: &Uuid) -> Result<Option<Box<dyn Any>>> {
        let doing = || format!("checking whether another command works on VDI {vdi}");
        self.host.try_lock(vdi).doing(doing)
    }

    /// Returns whether this host runs the server of a claim, and the server serves the volume.
    pub(super) fn serves(&self, claim: &Claim) -> Result<bool> {
        Ok(match self.server(&claim.vdi)? {
            Server::Running {
                generation,
                serving: Ok(()),
                ..
            } => generation == claim.generation,
            _ => false,
        })
    }

    pub(super) fn server(&self, vdi: &Uuid) -> Result<Server> {
        let doing = || format!("looking for a server of VDI {vdi} on this host");
        self.host.server(vdi).doing(doing)
    }

    pub(super) fn device(&self, vdi: &Uuid) -> Result<Option<Device>> {
        let doing = || format!("looking for a device of VDI {vdi} on this host");
        self.host.device(vdi).doing(doing)
    }

    /// Removes a volume's server and device from this host. The device goes first, because the kernel
    /// flushes it when it is removed. A server that does not serve cannot take the flush: it goes first.
    pub(super) fn clear(&self, vdi: &Uuid) -> Result<()> {
        let serving = matches!(
            self.server(vdi)?,
            Server::Running {
                serving: Ok(()),
                ..
            }
        );
        if serving {
            self.disconnect(vdi)?;
        }
        let stopped = self.host.stop(vdi);
        stopped.doing(|| format!("stopping the server of VDI {vdi}"))?;
        if !serving {
            self.disconnect(vdi)?;
        }
        let removed = self.host.remove(vdi);
        removed.doing(|| format!("removing what the server of VDI {vdi} left"))
    }

    fn disconnect(&self, vdi: &Uuid) -> Result<()> {
        let doing = || format!("removing the device of VDI {vdi}");
        self.host.disconnect(vdi).doing(doing)
    }
}
