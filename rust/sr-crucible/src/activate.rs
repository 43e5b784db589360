//! Activates and deactivates a volume: its server and its block device on this host.

use crucible_host::target::TargetState;
use crucible_host::Volume;
use uuid::Uuid;

use super::claim_log::{Claim, Log};
use super::error::{Context, Error, Result};
use super::host::Device;
use super::{keys, regions, CrucibleSr};

impl CrucibleSr<'_> {
    /// Serves a volume on this host. Returns its block device, the same one at each call. Reading needs
    /// the claim too: Crucible allows one client for each volume.
    pub fn activate(&self, vdi: &Uuid, writable: bool) -> Result<Device> {
        self.remove_leftovers();
        let _alone = self.servers.lock(vdi)?;
        let (volume, _) = &self.inventory.find(vdi)?;
        let log = self.claims.log(vdi)?;
        if let Some(device) = self.served(volume, &log, writable)? {
            return Ok(device);
        }
        // Removes what a crash left here: `served` has found no server and device that can be used.
        self.servers.clear(vdi)?;
        self.claims.close(&log)?;
        let key = keys::require(self.host, self.records, volume)?;
        let states = self.preflight(volume)?;
        regions::record(self.records, volume, &states)?;
        let served = self.serve(volume, writable, key.as_deref());
        served.map_err(|e| self.undo(vdi, e))
    }

    /// Removes a volume's device and server from this host, then releases its claim. Parts that are
    /// gone already are skipped.
    pub fn deactivate(&self, vdi: &Uuid) -> Result<()> {
        let _alone = self.servers.lock(vdi)?;
        self.servers.clear(vdi)?;
        match self.claims.log(vdi) {
            Ok(log) => self.claims.release_ours(&log),
            // XAPI has forgotten the VDI, and its claims with it.
            Err(Error::VdiUnknown { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Returns the connected device of the volume, if its size and access mode are those wanted.
    fn served(&self, volume: &Volume, log: &Log, writable: bool) -> Result<Option<Device>> {
        let Some(claim) = log.open().filter(|claim| self.claims.is_ours(claim)) else {
            return Ok(None);
        };
        if !self.servers.serves(claim)? {
            return Ok(None);
        }
        let device = self.servers.device(&volume.uuid)?;
        Ok(device.filter(|device| {
            device.connected && device.read_only != writable && device.size == volume.size
        }))
    }

    /// Undoes a failed activation. Returns the error to report. The claimed generation is spent, even if
    /// no server has used it.
    pub(super) fn undo(&self, vdi: &Uuid, first: Error) -> Error {
        // Read again: the claim may exist although XAPI's reply was lost.
        let release = || {
            self.claims
                .log(vdi)
                .and_then(|log| self.claims.release_ours(&log))
        };
        match self.servers.clear(vdi).and_then(|()| release()) {
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
        let regions = regions::wrong(volume, &states, &self.records.vdis()?)?;
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
        let Claim { generation, .. } = self.claims.acquire(volume, &self.claims.log(&vdi)?)?;
        let started = self.host.start(volume, generation, key);
        let doing = || format!("starting a server for VDI {vdi} with generation {generation}");
        started.doing(doing)?;
        let device = self.host.connect(volume, !writable);
        let device = device.doing(|| format!("connecting a device to VDI {vdi}"))?;
        // Reading with the key has succeeded. No VM has the device yet.
        keys::record(self.records, volume, key)?;
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
