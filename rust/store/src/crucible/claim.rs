//! Taking and giving back the right to run a volume's server.

use ::crucible::Volume;
use uuid::Uuid;

use super::error::{Context, Error, Result};
use super::log::{released_key, Claim, Log};
use super::Volumes;

impl Volumes<'_> {
    pub(super) fn log(&self, vdi: &Uuid) -> Result<Log> {
        let sm_config = self
            .registry
            .sm_config(vdi)
            .registering(|| format!("reading who has VDI {vdi}"))?;
        Log::read(vdi, &sm_config.ok_or(Error::VdiUnknown { vdi: *vdi })?)
    }

    /// Whether a claim is this host's, of this boot.
    pub(super) fn is_ours(&self, claim: &Claim) -> bool {
        let me = self.machine.identity();
        claim.host == me.host && claim.boot_id == me.boot_id
    }

    /// Whether this host has an open claim, of this boot or of an earlier one.
    pub(super) fn has_claimed(&self, log: &Log) -> bool {
        log.open()
            .is_some_and(|claim| claim.host == self.machine.identity().host)
    }

    /// Gives back this host's claim, if it has one. It must run no server for the volume.
    pub(super) fn release_ours(&self, log: &Log) -> Result<()> {
        let ours = log.open().filter(|_| self.has_claimed(log));
        ours.map_or(Ok(()), |claim| self.release(claim))
    }

    /// Sees to it that no claim on a volume is open, given that this host runs no server for it:
    /// its own claims are over then, and those of dead hosts.
    ///
    /// # Errors
    /// [`Error::VdiInUse`]: another host's claim holds.
    pub(super) fn close(&self, log: &Log) -> Result<()> {
        let Some(claim) = log.open() else {
            return Ok(());
        };
        if !self.has_claimed(log) && !self.is_declared_dead(claim)? {
            return Err(claim.in_use());
        }
        self.release(claim)
    }

    pub(super) fn is_declared_dead(&self, claim: &Claim) -> Result<bool> {
        let doing = || format!("asking whether host {} is dead", claim.host);
        self.registry
            .is_declared_dead(&claim.host)
            .registering(doing)
    }

    /// Claims a volume, as its log was read last.
    pub(super) fn claim(&self, volume: &Volume, log: &Log) -> Result<Claim> {
        if let Some(claim) = log.open() {
            return Err(claim.in_use());
        }
        let vdi = &volume.uuid;
        let now = self.machine.now();
        let (key, claim) = log.next(vdi, self.machine.identity(), volume.generation_floor, now);
        let value = serde_json::to_string(&claim).map_err(|e| Error::Damaged {
            vdi: *vdi,
            key: key.clone(),
            detail: e.to_string(),
        })?;
        let added = self.registry.add(vdi, &key, &value);
        added.registering(|| format!("claiming VDI {vdi}"))?;
        // That the key was new is not enough: it may have been there and removed again, where
        // others have had the volume since the log was read. The last claim is never removed.
        match self.log(vdi)?.open() {
            Some(winner) if *winner == claim => {}
            Some(winner) => return Err(winner.in_use()),
            None => return Err(Error::Outrun { vdi: *vdi }),
        }
        self.forget(vdi, log);
        Ok(claim)
    }

    /// Says that a claim is over. Its server must be certainly gone.
    pub(super) fn release(&self, claim: &Claim) -> Result<()> {
        let me = &self.machine.identity().host;
        if *me != claim.host {
            ::log::warn!(
                "VDI {}: the claim of host {}, generation {}, counts no more",
                claim.vdi,
                claim.host,
                claim.generation
            );
        }
        let key = released_key(claim.generation);
        // Where the key exists, somebody has said the same before.
        let added = self.registry.add(&claim.vdi, &key, me);
        added.registering(|| format!("releasing VDI {}", claim.vdi))?;
        Ok(())
    }

    /// Removes entries that a newer claim has made meaningless. Those that stay change nothing.
    fn forget(&self, vdi: &Uuid, log: &Log) {
        for key in log.keys() {
            if let Err(e) = self.registry.remove(vdi, key) {
                ::log::warn!("VDI {vdi}: the old entry {key} stays in its sm-config: {e}");
            }
        }
    }

    /// Drops whoever's claim on a volume; answers whose it was. Entries that cannot be read go, too.
    /// For an administrator who knows that no host runs a server for it: nothing else keeps two from
    /// running.
    pub fn break_claim(&self, vdi: &Uuid) -> Result<Option<Claim>> {
        let log = loop {
            match self.log(vdi) {
                Err(Error::Damaged { key, .. }) => {
                    let removed = self.registry.remove(vdi, &key);
                    removed.registering(|| format!("removing {key} from VDI {vdi}"))?;
                }
                log => break log?,
            }
        };
        self.forget_regions(vdi)?;
        let claim = log.open().cloned();
        claim.iter().try_for_each(|claim| self.release(claim))?;
        Ok(claim)
    }
}
