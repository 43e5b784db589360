//! The claim: which host may write to a VDI.
//!
//! A claim is taken by compare-and-swap before the image is mapped for writing. A second swap records the
//! address of the kernel client that the image was mapped with. Only then has the activation succeeded. The
//! claim is released after the image was unmapped. `fence.rs` states when another host's claim may be taken.
//!
//! Both swaps also expect this host's own record (key `host.<uuid>`) as it was read: a host that is declared
//! dead at this moment can neither claim nor confirm.

use std::time::{Duration, UNIX_EPOCH};

use uuid::Uuid;

use crate::catalogue::{records, vdi_key, Catalogue, Entry, Stored, VDI_PREFIX};
use crate::devices::Devices;
use crate::error::{Context, Error, Result};
use crate::fence::{Fence, Grounds, Verdict};
use crate::hold::Hold;
use crate::host::{Host, Mapped, Owner};
use crate::pool::{Entries, Transaction};
use crate::record::{Claim, HostRecord, Unknown, VdiRecord, Volume};

/// What a VDI's claim means to this host.
#[derive(Debug, PartialEq, Eq)]
enum ClaimState {
    /// There is none.
    Free,
    /// An earlier boot of this host had claimed the VDI: its processes are gone.
    Earlier(Claim),
    /// This host has claimed the VDI, in this boot.
    Ours,
    /// Another host has.
    Foreign(Claim),
}

/// A claim that this host has.
pub(crate) struct Claimed {
    pub stored: Stored<VdiRecord>,
    /// This host's own record, as the claim found it.
    host: Option<Stored<HostRecord>>,
    /// Whether the host that had it before may be alive: see `fence.rs`.
    pub fenced: bool,
}

/// This host's claims on the VDIs of one SR, and what other claims mean to it.
#[derive(Clone, Copy)]
pub(crate) struct Claims<'a> {
    pub catalogue: Catalogue<'a>,
    pub host: &'a dyn Host,
    pub devices: Devices<'a>,
    pub fence: Fence<'a>,
}

impl Claims<'_> {
    fn claim_state(&self, record: &VdiRecord) -> ClaimState {
        let me = self.host.owner();
        match &record.claim {
            None => ClaimState::Free,
            Some(claim) if claim.owner.host != me.host => ClaimState::Foreign(claim.clone()),
            Some(claim) if claim.owner.boot_id == me.boot_id => ClaimState::Ours,
            Some(claim) => ClaimState::Earlier(claim.clone()),
        }
    }

    /// Refuses a disk that is in use, so that no running VM loses it. A claim of this host counts only with a
    /// device: without one, a crash left it. Fences a dead host.
    pub(crate) fn refuse_if_in_use(&self, record: &VdiRecord) -> Result<()> {
        if record.volume.snapshot().is_some() {
            return self.refuse_if_mapped(record);
        }
        match self.claim_state(record) {
            ClaimState::Free | ClaimState::Earlier(_) => Ok(()),
            ClaimState::Foreign(claim) => self.require_over(&record.uuid, &claim).map(drop),
            ClaimState::Ours => {
                let mapped = self.devices.is_mapped(record)?;
                match &record.claim {
                    Some(claim) if mapped || self.is_at_work(&claim.owner) => {
                        Err(in_use(record.uuid, claim, Hold::InUse))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Refuses while another host's claim counts. If it does not, fences that host.
    fn require_over(&self, vdi: &Uuid, claim: &Claim) -> Result<Grounds> {
        match self.fence.judge(vdi, claim)? {
            Verdict::Holds(hold) => Err(in_use(*vdi, claim, hold)),
            Verdict::Over(grounds) => {
                self.fence.fence_claim(vdi, claim, &grounds)?;
                Ok(grounds)
            }
        }
    }

    /// Snapshots are not claimed: only this host's own devices can be checked.
    fn refuse_if_mapped(&self, record: &VdiRecord) -> Result<()> {
        if self.devices.is_mapped(record)? {
            let here = self.new_claim(0)?;
            return Err(in_use(record.uuid, &here, Hold::InUse));
        }
        Ok(())
    }

    /// Whether another process of this host that has claimed a VDI may be about to map it.
    fn is_at_work(&self, owner: &Owner) -> bool {
        owner != self.host.owner() && !self.host.is_gone(owner)
    }

    fn new_claim(&self, life: u32) -> Result<Claim> {
        let pool = self.host.pool().doing("asking XAPI for this pool's UUID")?;
        Ok(Claim {
            owner: self.host.owner().clone(),
            since: self.host.now(),
            pool: Some(pool),
            life,
            addresses: Vec::new(),
            unknown: Unknown::default(),
        })
    }

    /// Takes the claim for this host, as long as the VDI has that volume. `size` is the image's: a disk that was grown
    /// by hand is plugged with it. Returns `None` if the disk was reverted: look at it again.
    pub(crate) fn claim(&self, vdi: &Uuid, volume: &Volume, size: u64) -> Result<Option<Claimed>> {
        loop {
            let (entry, host) = self.entry_and_self(vdi)?;
            let stored = self.catalogue.present(&entry, vdi)?;
            if stored.record.volume != *volume {
                return Ok(None);
            }
            let ours = self.claim_state(&stored.record) == ClaimState::Ours;
            let dead = host.as_ref().is_some_and(|h| h.record.dead.is_some());
            // A claim of this host from before its death no longer counts.
            if dead || (!ours && self.fence.must_revive(host.as_ref())?) {
                self.fence.revive()?;
                continue;
            }
            let life = host.as_ref().map_or(0, |host| host.record.life);
            let current = |claim: &Claim| claim.life == life;
            let (newly, fenced) = match self.claim_state(&stored.record) {
                ClaimState::Foreign(claim) => (true, self.require_over(vdi, &claim)?.needs_fence()),
                // Written in any case: an earlier process's request to release this claim may still arrive,
                // and must not find the record as it was.
                ClaimState::Ours => (!stored.record.claim.as_ref().is_some_and(current), false),
                ClaimState::Earlier(claim) => {
                    self.fence.fence_earlier_boot(vdi, &claim);
                    (true, false)
                }
                ClaimState::Free => (true, false),
            };
            let mut record = stored.record.clone();
            record.epoch += u64::from(newly);
            if newly {
                record.size = record.size.max(size);
            }
            let mut claim = self.new_claim(life)?;
            if let Some(before) = record.claim.filter(|_| !newly) {
                (claim.since, claim.addresses) = (before.since, before.addresses);
            }
            record.claim = Some(claim);
            let transaction = Transaction::default()
                .expect(vdi_key(vdi), Some(stored))
                .expect(self.fence.own_key(), host.as_ref())
                .write(vdi_key(vdi), &mut record);
            if self
                .catalogue
                .commit(&format!("claiming VDI {vdi}"), &transaction)?
            {
                let bytes = transaction.set[&vdi_key(vdi)].clone();
                let stored = Stored { bytes, record };
                return Ok(Some(Claimed {
                    stored,
                    host,
                    fenced,
                }));
            }
        }
    }

    /// Records the address that the image was mapped with.
    ///
    /// # Errors
    /// [`Error::ClaimLost`]: another host has taken the claim meanwhile, or is about to.
    pub(crate) fn confirm(&self, claimed: &Claimed, mapped: &Mapped) -> Result<()> {
        let vdi = &claimed.stored.record.uuid;
        let claim = claimed.stored.record.claim.as_ref();
        if claim.is_some_and(|claim| claim.addresses.contains(&mapped.client_address)) {
            return Ok(());
        }
        let (mut stored, mut host) = (claimed.stored.clone(), claimed.host.clone());
        loop {
            let mut record = stored.record.clone();
            let alive = host.as_ref().is_none_or(|host| host.record.dead.is_none());
            let ours = record.claim.as_mut().filter(|now| {
                let same = |claim: &Claim| now.owner == claim.owner && now.life == claim.life;
                alive && claim.is_some_and(same)
            });
            let Some(ours) = ours else {
                return Err(Error::ClaimLost {
                    vdi: *vdi,
                    device: mapped.device.display().to_string(),
                });
            };
            ours.addresses.push(mapped.client_address.clone());
            let transaction = Transaction::default()
                .expect(vdi_key(vdi), Some(&stored))
                .expect(self.fence.own_key(), host.as_ref())
                .write(vdi_key(vdi), &mut record);
            if self
                .catalogue
                .commit(&format!("confirming the claim on VDI {vdi}"), &transaction)?
            {
                return Ok(());
            }
            // Another part of the record has changed, or the claim was taken.
            let entry;
            (entry, host) = self.entry_and_self(vdi)?;
            stored = self.catalogue.present(&entry, vdi)?.clone();
        }
    }

    /// Releases this host's claim. Claims of others, and VDIs that do not exist, are ignored.
    pub(crate) fn release(&self, vdi: &Uuid) -> Result<()> {
        loop {
            let Some(stored) = self.catalogue.entry(vdi)?.vdi else {
                return Ok(());
            };
            let me = self.host.owner();
            let claim = stored.record.claim.as_ref();
            if claim.is_none_or(|claim| claim.owner.host != me.host) {
                return Ok(());
            }
            if self.drop_claim(vdi, &stored)? {
                return Ok(());
            }
        }
    }

    /// Releases what earlier boots of this host had claimed. Their processes are gone, but their requests may
    /// still arrive, and their watches last for a while: their clients are blocklisted.
    pub(crate) fn release_earlier_boots(&self, entries: &Entries) -> Result<()> {
        for stored in records::<VdiRecord>(entries, VDI_PREFIX) {
            if let ClaimState::Earlier(claim) = self.claim_state(&stored.record) {
                self.fence.fence_earlier_boot(&stored.record.uuid, &claim);
                // If the record has changed meanwhile, the other process has judged the claim.
                self.drop_claim(&stored.record.uuid, &stored)?;
            }
        }
        Ok(())
    }

    /// Releases claims of commands of this host that were killed before they mapped the image.
    pub(crate) fn release_unmapped(&self, entries: &Entries) -> Result<()> {
        for stored in records::<VdiRecord>(entries, VDI_PREFIX) {
            let record = &stored.record;
            let Some(claim) = &record.claim else {
                continue;
            };
            if self.claim_state(record) == ClaimState::Ours
                && self.host.is_gone(&claim.owner)
                && !self.devices.is_mapped(record)?
            {
                self.drop_claim(&record.uuid, &stored)?;
            }
        }
        Ok(())
    }

    pub(crate) fn drop_claim(&self, vdi: &Uuid, stored: &Stored<VdiRecord>) -> Result<bool> {
        let mut record = stored.record.clone();
        record.claim = None;
        let transaction = Transaction::default()
            .expect(vdi_key(vdi), Some(stored))
            .write(vdi_key(vdi), &mut record);
        self.catalogue
            .commit(&format!("releasing the claim on VDI {vdi}"), &transaction)
    }

    fn entry_and_self(&self, vdi: &Uuid) -> Result<(Entry, Option<Stored<HostRecord>>)> {
        self.catalogue.entry_and_host(vdi, &self.host.owner().host)
    }
}

pub(super) fn in_use(vdi: Uuid, claim: &Claim, hold: Hold) -> Error {
    Error::VdiInUse {
        vdi,
        host: claim.owner.host.clone(),
        since: humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(claim.since))
            .to_string(),
        hold,
    }
}
