//! Claims and releases the right to run a volume's server.

use crucible_host::Volume;
use uuid::Uuid;

use super::claim_log::{released_key, Claim, Log, SmConfig};
use super::error::{Context, Error, Hold, Result};
use super::host::Server;
use super::CrucibleSr;

/// The result of judging another host's claim.
enum Verdict {
    /// It is over: this host may release it.
    Over,
    /// Its host has released it.
    Settled,
    /// It counts.
    Holds(Hold),
}

impl CrucibleSr<'_> {
    pub(super) fn log(&self, vdi: &Uuid) -> Result<Log> {
        Log::read(vdi, &self.sm_config(vdi)?)
    }

    pub(super) fn sm_config(&self, vdi: &Uuid) -> Result<SmConfig> {
        let sm_config = self.xapi.sm_config(vdi);
        let sm_config = sm_config.of_xapi(|| format!("reading who has VDI {vdi}"))?;
        sm_config.ok_or(Error::VdiUnknown { vdi: *vdi })
    }

    /// Returns whether a claim is this host's, of this boot.
    pub(super) fn is_ours(&self, claim: &Claim) -> bool {
        let me = self.host.id();
        claim.host == me.host && claim.boot_id == me.boot_id
    }

    /// Returns whether this host has an open claim, of this boot or of an earlier one.
    pub(super) fn has_claimed(&self, log: &Log) -> bool {
        log.open()
            .is_some_and(|claim| claim.host == self.host.id().host)
    }

    /// Releases this host's claim, if it has one. This host must run no server for the volume.
    pub(super) fn release_ours(&self, log: &Log) -> Result<()> {
        let ours = log.open().filter(|_| self.has_claimed(log));
        ours.map_or(Ok(()), |claim| self.release(claim))
    }

    /// Releases the open claim on a volume, if it is over: this host's own claim, or one that
    /// [`Self::judge`] finds to be over. This host must run no server for the volume.
    ///
    /// # Errors
    /// [`Error::VdiInUse`]: another host's claim holds. [`Error::UnknownHost`]: the claim is of a host
    /// that XAPI does not have.
    pub(super) fn close(&self, log: &Log) -> Result<()> {
        let Some(claim) = log.open() else {
            return Ok(());
        };
        if self.has_claimed(log) {
            return self.release(claim);
        }
        match self.judge(claim)? {
            Verdict::Over => self.release(claim),
            Verdict::Holds(hold) => Err(claim.in_use(hold)),
            // The host has released it. What is open now is a later claim.
            Verdict::Settled => match self.log(&claim.vdi)?.open() {
                None => Ok(()),
                Some(now) => Err(now.in_use(Hold::InUse)),
            },
        }
    }

    /// Judges whether another host's claim is over. It is over on one of these grounds:
    ///
    /// - The host was declared dead, as smblock's hook has noted in XAPI. A missing heartbeat
    ///   (`host_metrics.live`) proves nothing.
    /// - The host has published another boot than the claim's, or replies with another one.
    /// - XAPI does not have the host any more, and the claim was made in this pool.
    /// - The host replies that it does not use the volume. Before it replies, it removes a server and a
    ///   device that a killed command left, and releases its claim.
    fn judge(&self, claim: &Claim) -> Result<Verdict> {
        let doing = || {
            format!(
                "asking XAPI about host {}, which has claimed VDI {}",
                claim.host, claim.vdi
            )
        };
        let Some(host) = self.xapi.host(&claim.host).of_xapi(doing)? else {
            let pool = self.xapi.pool().of_xapi(doing)?;
            if claim.pool.as_ref() == Some(&pool) {
                return Ok(Verdict::Over);
            }
            return Err(claim.of_another_pool());
        };
        let other_boot = |boot: &String| *boot != claim.boot_id;
        if host.declared_dead || host.boot_id.as_ref().is_some_and(other_boot) {
            return Ok(Verdict::Over);
        }
        Ok(match self.xapi.ask(&claim.host, &claim.vdi) {
            Err(e) => Verdict::Holds(Hold::Failed(e.message)),
            Ok(None) => Verdict::Holds(Hold::Silent),
            Ok(Some(reply)) if other_boot(&reply.boot_id) => Verdict::Over,
            Ok(Some(reply)) if reply.in_use => Verdict::Holds(Hold::InUse),
            Ok(Some(_)) => Verdict::Settled,
        })
    }

    /// Removes what a killed command of this host left of a volume: device, server, claim. Returns whether
    /// this host uses the volume: its device is open, or another command works on it. The caller holds SM's
    /// lock of the VDI, and has checked that SM has not activated the VDI here.
    pub fn settle_vdi(&self, vdi: &Uuid) -> Result<bool> {
        let doing = || format!("checking whether another command works on VDI {vdi}");
        let Some(_alone) = self.host.try_lock(vdi).doing(doing)? else {
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
        match self.clear(vdi).and_then(|()| self.log(vdi)) {
            Err(e) if e.errno() == Some(nix::libc::EBUSY) => Ok(true),
            Err(Error::VdiUnknown { .. }) => Ok(false),
            Err(e @ Error::Damaged { .. }) => {
                log::warn!("VDI {vdi}: not in use on this host; its claim was not released: {e}");
                Ok(false)
            }
            log => self.release_ours(&log?).map(|()| false),
        }
    }

    /// Publishes this host's boot, so that other hosts can judge the claim that this host is about to make:
    /// with an old boot, or with a note that this host is dead, they would release the claim. Returns the
    /// pool's UUID.
    fn publish(&self) -> Result<String> {
        let me = self.host.id();
        let doing = || format!("publishing the boot of host {} in XAPI", me.host);
        let known = self.xapi.host(&me.host).of_xapi(doing)?;
        if known.as_ref().is_some_and(|host| host.declared_dead) {
            return Err(Error::DeclaredDead {
                host: me.host.clone(),
            });
        }
        let published = known.and_then(|host| host.boot_id);
        if published.as_ref() != Some(&me.boot_id) {
            self.xapi.publish_boot(&me.boot_id).of_xapi(doing)?;
        }
        self.xapi.pool().of_xapi(doing)
    }

    /// Claims a volume. `log` is its log as it was read last.
    pub(super) fn claim(&self, volume: &Volume, log: &Log) -> Result<Claim> {
        if let Some(claim) = log.open() {
            return Err(claim.in_use(Hold::InUse));
        }
        let vdi = &volume.uuid;
        let pool = self.publish()?;
        let (me, now) = (self.host.id(), self.host.now());
        let (key, claim) = log.next(vdi, me, pool, volume.generation_floor, now);
        let value = serde_json::to_string(&claim).map_err(|e| Error::Damaged {
            vdi: *vdi,
            key: key.clone(),
            detail: e.to_string(),
        })?;
        let added = self.xapi.add(vdi, &key, &value);
        added.of_xapi(|| format!("claiming VDI {vdi}"))?;
        // A new key does not prove the claim: other hosts may have had the volume since the log was read,
        // and have removed an entry of that number. The last claim is never removed.
        match self.log(vdi)?.open() {
            Some(winner) if *winner == claim => {}
            Some(winner) => return Err(winner.in_use(Hold::InUse)),
            None => return Err(Error::LostClaimRace { vdi: *vdi }),
        }
        self.forget(vdi, log);
        Ok(claim)
    }

    /// Releases a claim. Its server must be certainly gone.
    pub(super) fn release(&self, claim: &Claim) -> Result<()> {
        let me = &self.host.id().host;
        if *me != claim.host {
            log::warn!(
                "VDI {}: releasing the claim of host {}, generation {}, which is over",
                claim.vdi,
                claim.host,
                claim.generation
            );
        }
        let key = released_key(claim.generation);
        // If the key exists, another command has released the claim before.
        let added = self.xapi.add(&claim.vdi, &key, me);
        added.of_xapi(|| format!("releasing VDI {}", claim.vdi))?;
        Ok(())
    }

    /// Removes entries that a newer claim has replaced. An entry that stays has no effect.
    fn forget(&self, vdi: &Uuid, log: &Log) {
        for key in log.keys() {
            if let Err(e) = self.xapi.remove(vdi, key) {
                log::warn!("VDI {vdi}: the old entry {key} stays in its sm-config: {e}");
            }
        }
    }

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
            match self.log(vdi) {
                Err(Error::Damaged { key, .. }) => {
                    let removed = self.xapi.remove(vdi, &key);
                    removed.of_xapi(|| format!("removing {key} from VDI {vdi}"))?;
                }
                log => break log?,
            }
        };
        let claim = log.open().cloned();
        let done = match force {
            true => claim.iter().try_for_each(|claim| self.release(claim)),
            false => self.close(&log),
        };
        match (done, &claim) {
            // XAPI has no record of another pool's hosts. The administrator has confirmed that it is off.
            (Err(Error::UnknownHost { .. }), Some(claim)) => self.release(claim)?,
            (Err(source @ Error::VdiInUse { .. }), _) => {
                let source = Box::new(source);
                return Err(Error::NotReleased { source });
            }
            (done, _) => done?,
        }
        Ok(claim)
    }

    /// Checks that this host does not use a volume, and keeps it so until the returned lock is dropped.
    fn require_idle(&self, vdi: &Uuid) -> Result<Box<dyn std::any::Any>> {
        let doing = || format!("checking whether another command works on VDI {vdi}");
        let Some(alone) = self.host.try_lock(vdi).doing(doing)? else {
            return Err(Error::UsedHere { vdi: *vdi });
        };
        let serves = matches!(self.server(vdi)?, Server::Running { .. });
        if serves || self.device(vdi)?.is_some() {
            return Err(Error::UsedHere { vdi: *vdi });
        }
        Ok(alone)
    }
}
