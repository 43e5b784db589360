//! Activates and deactivates a volume: its server and its block device on this host.

use crucible_host::target::TargetState;
use crucible_host::Volume;
use uuid::Uuid;

use super::claim_log::{Claim, Log};
use super::error::{Context, Error, Result};
use super::host::{Device, Server};
use super::CrucibleSr;

impl CrucibleSr<'_> {
    /// Serves a volume on this host. Returns its block device, the same one at each call. Reading needs
    /// the claim too: Crucible allows one client for each volume.
    pub fn activate(&self, vdi: &Uuid, writable: bool) -> Result<Device> {
        self.settle_leftovers();
        let _alone = self.lock(vdi)?;
        let (volume, _) = &self.inventory.find(vdi)?;
        let log = self.log(vdi)?;
        if let Some(device) = self.served(volume, &log, writable)? {
            return Ok(device);
        }
        // Removes what a crash left here: `served` has found no server and device that can be used.
        self.clear(vdi)?;
        self.close(&log)?;
        let key = self.require_key(volume)?;
        let states = self.preflight(volume)?;
        self.record_regions(volume, &states)?;
        let served = self.serve(volume, writable, key.as_deref());
        served.map_err(|e| self.undo(vdi, e))
    }

    /// Removes a volume's device and server from this host, then releases its claim. Parts that are
    /// gone already are skipped.
    pub fn deactivate(&self, vdi: &Uuid) -> Result<()> {
        let _alone = self.lock(vdi)?;
        self.clear(vdi)?;
        match self.log(vdi) {
            Ok(log) => self.release_ours(&log),
            // XAPI has forgotten the VDI, and its claims with it.
            Err(Error::VdiUnknown { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    pub(super) fn lock(&self, vdi: &Uuid) -> Result<Box<dyn std::any::Any>> {
        let doing = || format!("waiting for another command on VDI {vdi}");
        self.host.lock(vdi).doing(doing)
    }

    /// Returns the connected device of the volume, if its size and access mode are those wanted.
    fn served(&self, volume: &Volume, log: &Log, writable: bool) -> Result<Option<Device>> {
        let Some(claim) = log.open().filter(|claim| self.is_ours(claim)) else {
            return Ok(None);
        };
        if !self.serves(claim)? {
            return Ok(None);
        }
        let device = self.device(&volume.uuid)?;
        Ok(device.filter(|device| {
            device.connected && device.read_only != writable && device.size == volume.size
        }))
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

    /// Undoes a failed activation. Returns the error to report. The claimed generation is spent, even if
    /// no server has used it.
    pub(super) fn undo(&self, vdi: &Uuid, first: Error) -> Error {
        // Read again: the claim may exist although XAPI's reply was lost.
        let release = || self.log(vdi).and_then(|log| self.release_ours(&log));
        match self.clear(vdi).and_then(|()| release()) {
            Ok(()) => first,
            Err(second) => Error::NotUndone {
                vdi: *vdi,
                first: Box::new(first),
                second: Box::new(second),
            },
        }
    }

    /// Checks everything that can make the start of a server fail.
    fn preflight(&self, volume: &Volume) -> Result<Vec<TargetState>> {
        let vdi = volume.uuid;
        let checked = self.host.check_program();
        checked.doing(|| format!("VDI {vdi} was not attached"))?;
        let states = self.host.probe(&volume.targets);
        let regions = self.wrong_regions(volume, &states, &self.vdis()?)?;
        let mut down = Vec::new();
        for ((target, state), region) in volume.targets.iter().zip(&states).zip(regions) {
            if let Some(why) = unusable(volume, state).or(region) {
                down.push(format!("target {target} {why}"));
            }
        }
        if down.is_empty() {
            return Ok(states);
        }
        let targets = down.join("; ");
        Err(Error::TargetsDown { vdi, targets })
    }

    fn serve(&self, volume: &Volume, writable: bool, key: Option<&str>) -> Result<Device> {
        let vdi = volume.uuid;
        let reserved = self.host.reserve(volume);
        reserved.doing(|| format!("preparing a server for VDI {vdi}"))?;
        // Read again: `close` adds entries to the log.
        let Claim { generation, .. } = self.claim(volume, &self.log(&vdi)?)?;
        let started = self.host.start(volume, generation, key);
        let doing = || format!("starting a server for VDI {vdi} with generation {generation}");
        started.doing(doing)?;
        let device = self.host.connect(volume, !writable);
        let device = device.doing(|| format!("connecting a device to VDI {vdi}"))?;
        // Reading with the key has succeeded. No VM has the device yet.
        self.record_key(volume, key)?;
        Ok(device)
    }
}

/// Returns why a volume's server could not use a target; `None` if it can.
pub(super) fn unusable(volume: &Volume, state: &TargetState) -> Option<String> {
    let (read_only, size, encrypted) = match state {
        TargetState::Down(why) => return Some(format!("is down ({why})")),
        TargetState::Up {
            read_only,
            size,
            encrypted,
            ..
        } => (*read_only, *size, *encrypted),
    };
    if read_only == Some(true) {
        return Some("serves its region for reading only".to_owned());
    }
    if let Some(size) = size.filter(|size| *size != volume.size) {
        return Some(format!(
            "has a region of {size} bytes, and the volume {}",
            volume.size
        ));
    }
    match (encrypted, &volume.key) {
        (Some(true), None) => Some("has an encrypted region, and the volume no key".to_owned()),
        (Some(false), Some(_)) => Some("has no encrypted region, and the volume a key".to_owned()),
        _ => None,
    }
}
