//! Claims and releases the right to run a volume's server.

use crucible_host::Volume;
use uuid::Uuid;

use super::claim_log::{released_key, Claim, Log};
use super::error::{Context, Error, Hold, Result};
use super::host::Host;
use super::records::Records;
use super::xapi::Xapi;

/// The result of judging another host's claim.
enum Verdict {
    /// It is over: this host may release it.
    Over,
    /// Its host has released it.
    Settled,
    /// It counts.
    Holds(Hold),
}

/// Claims volumes for this host. Judges and releases claims.
#[derive(Clone, Copy)]
pub(super) struct Claims<'a> {
    pub(super) records: Records<'a>,
    pub(super) xapi: &'a dyn Xapi,
    pub(super) host: &'a dyn Host,
}

impl Claims<'_> {
    /// Reads the log of a volume.
    pub(super) fn log(&self, vdi: &Uuid) -> Result<Log> {
        Log::read(vdi, &self.records.sm_config(vdi)?)
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
    pub(super) fn acquire(&self, volume: &Volume, log: &Log) -> Result<Claim> {
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
}
