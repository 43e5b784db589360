//! When another host's claim may be taken, and why that is safe.
//!
//! Ceph does not prevent a second kernel from writing to an image. So a claim of another host is taken only
//! if one of these is true of that host:
//!
//! - **Dead**: HA or an administrator declared it dead. smblock's own hook writes that to the catalogue (key
//!   `host.<uuid>`), and to XAPI's database in case the cluster cannot be reached. A missing heartbeat is not
//!   a declaration.
//! - **Booted**: it has booted since, by its record in the catalogue or by its reply.
//! - **Forgotten**: the claim was made in this XAPI pool, and the pool no longer has the host. A host of
//!   another pool is never judged: the SR may be in use there.
//! - **Unused**: the host replies, through XAPI, that it does not use the VDI.
//!
//! In the first three cases the host may only be cut off from XAPI, and may still write. So every address
//! that its kernel mapped the image with is put on the cluster's blocklist first. The claim has all of them:
//! an activation succeeds only after its address is in the claim. Then the image is mapped with a kernel
//! client of its own, which starts with the newest osdmap. An OSD that it reads from has that map, and
//! refuses the other host's writes from then on.
//!
//! A host that was declared dead by mistake begins a new *life* before it claims anything again (see
//! [`HostRecord`]): the declaration does not cover what it does then.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::alerts::Alerts;
use crate::blocklist::all_clients_of;
use crate::catalogue::{host_key, records, Catalogue, Stored, VDI_PREFIX};
use crate::error::{Context, Error, Result};
use crate::hold::Hold;
use crate::host::{Host, Membership, Owner};
use crate::pool::{Entries, Pool, Transaction};
use crate::record::{Claim, Death, HostRecord, Record, VdiRecord};
use crate::CephSr;

/// How long a fenced client stays on the blocklist, in seconds: longer than a host that was cut off keeps
/// unwritten data.
const FENCE_SECONDS: u32 = 24 * 60 * 60;

/// Why a claim no longer counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grounds {
    /// Its host was declared dead, for that reason.
    Dead(String),
    /// Its host has booted since.
    Booted,
    /// This pool no longer has the host.
    Forgotten,
    /// Its host replies that it does not use the VDI.
    Unused,
}

impl Grounds {
    /// Whether the host may still write.
    pub(crate) fn needs_fence(&self) -> bool {
        *self != Grounds::Unused
    }

    fn describe(&self) -> String {
        match self {
            Grounds::Dead(reason) => format!("the host was declared dead ({reason})"),
            Grounds::Booted => "the host has booted since".to_owned(),
            Grounds::Forgotten => "the host was removed from this pool".to_owned(),
            Grounds::Unused => "the host does not use the VDI".to_owned(),
        }
    }
}

/// The result of judging another host's claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It counts.
    Holds(Hold),
    /// It may be taken.
    Over(Grounds),
}

/// Judges the claims of other hosts, and fences hosts.
#[derive(Clone, Copy)]
pub(crate) struct Fence<'a> {
    pub catalogue: Catalogue<'a>,
    pub pool: &'a dyn Pool,
    pub host: &'a dyn Host,
    pub alerts: Alerts<'a>,
}

impl Fence<'_> {
    /// Judges another host's claim on a VDI. Changes nothing, except that a declaration of death that only
    /// XAPI has is copied to the catalogue.
    pub(crate) fn judge(&self, vdi: &Uuid, claim: &Claim) -> Result<Verdict> {
        let owner = &claim.owner;
        let grounds = self.grounds_of(&owner.host, &owner.boot_id, claim.life)?;
        if let Some(grounds) = grounds {
            return Ok(Verdict::Over(grounds));
        }
        let doing = format!("asking XAPI about host {}", owner.host);
        if self.host.membership(&owner.host).doing(&doing)? == Membership::Unknown {
            let pool = self.host.pool().doing(&doing)?;
            return Ok(if claim.pool.as_ref() == Some(&pool) {
                Verdict::Over(Grounds::Forgotten)
            } else {
                Verdict::Holds(Hold::OtherPool(claim.pool.clone()))
            });
        }
        let doing = format!("asking host {} whether it uses VDI {vdi}", owner.host);
        Ok(match self.host.ask(&owner.host, vdi).doing(&doing)? {
            None => Verdict::Holds(Hold::Silent),
            Some(reply) if reply.boot_id != owner.boot_id => Verdict::Over(Grounds::Booted),
            Some(reply) if reply.in_use => Verdict::Holds(Hold::InUse),
            Some(_) => Verdict::Over(Grounds::Unused),
        })
    }

    /// Returns why what a host began in that boot and life is over, by the catalogue and XAPI's database.
    /// `None`: it is not over.
    fn grounds_of(&self, host: &str, boot_id: &str, life: u32) -> Result<Option<Grounds>> {
        let doing = format!("asking XAPI whether host {host} was declared dead");
        loop {
            let found = self.host_record(host)?;
            let record = found.as_ref().map(|found| &found.record);
            if let Some(death) = record.and_then(|r| r.death_of(boot_id, life)) {
                return Ok(Some(Grounds::Dead(death.reason.clone())));
            }
            if record.is_some_and(|record| record.is_over(boot_id, life)) {
                return Ok(Some(Grounds::Booted));
            }
            if self.host.membership(host).doing(&doing)? != Membership::DeclaredDead {
                return Ok(None);
            }
            // The hook could not reach the cluster. If the host has acted meanwhile, its record has changed
            // before: read it again.
            if self.record_death(host, found.as_ref(), Some(boot_id), "declared in XAPI")? {
                self.alerts.alert_fenced(host);
            }
        }
    }

    /// Whether a process of any host, or its host, is gone. Its requests may still arrive until its address
    /// is blocklisted.
    pub(crate) fn is_dead(&self, owner: &Owner) -> bool {
        if owner.host == self.host.owner().host {
            return self.host.is_gone(owner);
        }
        // An operation that began after the host came back belongs to a later life. Only a declaration of
        // that life covers it.
        match self.grounds_of(&owner.host, &owner.boot_id, 0) {
            Ok(Some(Grounds::Dead(_))) => true,
            Ok(Some(_)) => self.has_booted(owner).unwrap_or(false),
            Ok(None) => false,
            Err(e) => {
                log::warn!("cannot find out whether host {} is dead: {e}", owner.host);
                false
            }
        }
    }

    fn has_booted(&self, owner: &Owner) -> Result<bool> {
        let found = self.host_record(&owner.host)?;
        let boot = found.and_then(|found| found.record.boot_id);
        Ok(boot.is_some_and(|boot| boot != owner.boot_id))
    }

    /// Blocklists every client that a claim's host has mapped the image with.
    pub(crate) fn fence_claim(&self, vdi: &Uuid, claim: &Claim, grounds: &Grounds) -> Result<()> {
        log::warn!(
            "VDI {vdi}: taking the claim of host {}: {}",
            claim.owner.host,
            grounds.describe()
        );
        if !grounds.needs_fence() {
            return Ok(());
        }
        self.blocklist_clients(&claim.owner.host, &claim.addresses)
    }

    /// Blocklists the clients that an earlier boot of this host has mapped an image with. That boot is gone:
    /// this only ends its watches at once.
    pub(crate) fn fence_earlier_boot(&self, vdi: &Uuid, claim: &Claim) {
        if let Err(e) = self.fence_claim(vdi, claim, &Grounds::Booted) {
            log::warn!("VDI {vdi}: the watches of this host's earlier boot end within 30 s: {e}");
        }
    }

    pub(crate) fn blocklist_clients<'c>(
        &self,
        host: &str,
        addresses: impl IntoIterator<Item = &'c String>,
    ) -> Result<()> {
        for address in addresses {
            let done = self.pool.blocklist(address, FENCE_SECONDS);
            done.map_err(|source| Error::FenceFailed {
                host: host.to_owned(),
                address: address.clone(),
                source: Box::new(source),
            })?;
            log::warn!("blocklisted client {address} of host {host} for 24 h");
        }
        Ok(())
    }

    /// Records that a host is dead, and blocklists every kernel client that it has mapped a disk of this SR
    /// with. Returns their addresses. Can be repeated.
    pub fn declare_dead(&self, host: &str, reason: &str) -> Result<Vec<String>> {
        loop {
            let found = self.host_record(host)?;
            let dead = found.as_ref().is_some_and(|f| f.record.dead.is_some());
            if dead || self.record_death(host, found.as_ref(), None, reason)? {
                break;
            }
        }
        // Read after the declaration: a later claim of the host belongs to a later life.
        let entries = self.catalogue.read()?;
        let declared = entries.get(&host_key(host)).cloned();
        let declared = declared.and_then(|bytes| Stored::<HostRecord>::parse(bytes).ok());
        let mut addresses = BTreeSet::new();
        for stored in records::<VdiRecord>(&entries, VDI_PREFIX) {
            let Some(claim) = stored.record.claim.filter(|c| c.owner.host == host) else {
                continue;
            };
            let boot = &claim.owner.boot_id;
            let record = declared.as_ref().map(|declared| &declared.record);
            if record.is_some_and(|r| {
                r.death_of(boot, claim.life).is_some() || r.is_over(boot, claim.life)
            }) {
                addresses.extend(claim.addresses);
            }
        }
        self.blocklist_clients(host, &addresses)?;
        self.alerts.alert_fenced(host);
        Ok(addresses.into_iter().collect())
    }

    /// Blocklists every client of the IP addresses that these clients have, also later ones. Returns the new
    /// entries. Not for a host that is to come back soon, and not for a host with OSDs.
    pub fn blocklist_hosts(&self, addresses: &[String]) -> Result<Vec<String>> {
        let hosts: BTreeSet<String> = addresses.iter().filter_map(|a| all_clients_of(a)).collect();
        self.blocklist_clients("with these addresses", &hosts)?;
        Ok(hosts.into_iter().collect())
    }

    /// Records a death. Returns `false` if the host's record has changed since it was read.
    fn record_death(
        &self,
        host: &str,
        found: Option<&Stored<HostRecord>>,
        boot_id: Option<&str>,
        reason: &str,
    ) -> Result<bool> {
        let mut record = match found {
            Some(found) => found.record.clone(),
            None => HostRecord::new(boot_id.map(str::to_owned)),
        };
        record.dead = Some(Death {
            reason: reason.to_owned(),
            at: self.host.now(),
        });
        self.replace_host_record(host, found, &mut record)
    }

    /// Reads what the catalogue has about a host.
    pub(crate) fn host_record(&self, host: &str) -> Result<Option<Stored<HostRecord>>> {
        let key = host_key(host);
        let mut entries = self.catalogue.read_keys(&[&key])?;
        let bytes = entries.remove(&key);
        bytes
            .map(Stored::parse)
            .transpose()
            .map_err(|source| self.catalogue.damaged(&key, source))
    }

    /// The catalogue's key for this host.
    pub(crate) fn own_key(&self) -> String {
        host_key(&self.host.owner().host)
    }

    fn replace_host_record(
        &self,
        host: &str,
        found: Option<&Stored<HostRecord>>,
        record: &mut HostRecord,
    ) -> Result<bool> {
        let key = host_key(host);
        let transaction = Transaction::default()
            .expect(key.clone(), found)
            .put(key, record.seal());
        self.catalogue
            .commit(&format!("updating the record of host {host}"), &transaction)
    }

    /// Publishes this host's boot: it shows other hosts that earlier claims are over. A host that was
    /// declared dead begins a new life.
    pub(crate) fn publish_boot(&self, entries: &Entries) -> Result<()> {
        let key = self.own_key();
        let found = entries.get(&key).cloned().map(Stored::parse).transpose();
        let found = found.map_err(|source| self.catalogue.damaged(&key, source))?;
        if found.is_some() && !self.must_revive(found.as_ref())? {
            return Ok(());
        }
        self.revive()
    }

    /// Whether this host must begin a new life, or publish its boot, before it claims anything.
    pub(crate) fn must_revive(&self, found: Option<&Stored<HostRecord>>) -> Result<bool> {
        let me = self.host.owner();
        let record = found.map(|found| &found.record);
        let other_boot = record.is_some_and(|r| r.boot_id.as_ref() != Some(&me.boot_id));
        let dead = record.is_some_and(|r| r.dead.is_some());
        Ok(other_boot || dead || self.is_declared_dead_in_xapi()?)
    }

    fn is_declared_dead_in_xapi(&self) -> Result<bool> {
        let me = &self.host.owner().host;
        let doing = "asking XAPI whether this host was declared dead";
        Ok(self.host.membership(me).doing(doing)? == Membership::DeclaredDead)
    }

    /// Begins a new life of this host: no earlier declaration of its death covers what it claims from now on.
    /// First in the catalogue, then in XAPI. If another host copies XAPI's note in between, this host has
    /// claimed nothing in that life yet, and begins another one.
    pub(crate) fn revive(&self) -> Result<()> {
        loop {
            let found = self.host_record(&self.host.owner().host)?;
            self.alerts
                .alert_own_death(found.as_ref().map(|found| &found.record));
            if self.begin_life(found.as_ref())? {
                break;
            }
        }
        if !self.is_declared_dead_in_xapi()? {
            return Ok(());
        }
        self.host
            .revive()
            .doing("removing XAPI's note that this host was declared dead")
    }

    fn begin_life(&self, found: Option<&Stored<HostRecord>>) -> Result<bool> {
        let me = self.host.owner();
        let mut record = HostRecord::new(Some(me.boot_id.clone()));
        if let Some(found) = found {
            if let Some(death) = &found.record.dead {
                log::warn!(
                    "this host was declared dead ({}), but runs: it begins a new life",
                    death.reason
                );
            }
            let same_boot = found.record.boot_id.as_deref() == Some(&me.boot_id);
            // Without a boot in the record, a declaration may be of this boot.
            if same_boot || found.record.boot_id.is_none() {
                record.life = found.record.life + 1;
            }
        }
        self.replace_host_record(&me.host, found, &mut record)
    }
}

impl CephSr<'_> {
    /// Records that a host is dead, and blocklists every kernel client that it has mapped a disk of this SR
    /// with. Returns their addresses. Can be repeated.
    pub fn declare_dead(&self, host: &str, reason: &str) -> Result<Vec<String>> {
        self.fence.declare_dead(host, reason)
    }

    /// Blocklists every client of the IP addresses that these clients have, also later ones. Returns the new
    /// entries. Not for a host that is to come back soon, and not for a host with OSDs.
    pub fn blocklist_hosts(&self, addresses: &[String]) -> Result<Vec<String>> {
        self.fence.blocklist_hosts(addresses)
    }
}
