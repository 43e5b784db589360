//! The claim: which host may write to a VDI.
//!
//! Nothing in Ceph keeps a second writer out: two kernels that map one exclusive-lock image pass
//! the lock to and fro and both write. A claim is taken by compare-and-swap before the image is
//! mapped for writing, and given back after it was unmapped.

use std::time::{Duration, UNIX_EPOCH};

use uuid::Uuid;

use crate::catalogue::{records, vdi_key, Entry, Stored, VDI_PREFIX};
use crate::cluster::{Entries, Swap};
use crate::error::{Context, Error, Result};
use crate::host::{ImageKey, Owner};
use crate::record::{Claim, VdiRecord, Volume};
use crate::Repository;

/// What a VDI's claim means to this host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody has claimed the VDI, or whoever did is certainly gone.
    Free,
    /// This host has, in this boot.
    Ours,
    /// Another host has.
    Held(Claim),
}

impl Repository<'_> {
    pub(crate) fn standing(&self, record: &VdiRecord) -> Result<Standing> {
        let Some(claim) = &record.claim else {
            return Ok(Standing::Free);
        };
        let me = self.host.owner();
        if claim.owner.host == me.host {
            return Ok(if claim.owner.boot_id == me.boot_id {
                Standing::Ours
            } else {
                Standing::Free // this host has booted since
            });
        }
        let doing = format!("asking XAPI whether host {} is dead", claim.owner.host);
        Ok(
            if self
                .host
                .is_declared_dead(&claim.owner.host)
                .doing(&doing)?
            {
                log::warn!(
                    "VDI {}: its claim by host {}, which XAPI declared dead, counts no more",
                    record.uuid,
                    claim.owner.host
                );
                Standing::Free
            } else {
                Standing::Held(claim.clone())
            },
        )
    }

    /// Refuses what would pull a disk from under a running VM. Not only the claim of this host
    /// counts but also the device: a claim without one was left by a crash.
    pub(crate) fn refuse_if_in_use(&self, record: &VdiRecord) -> Result<()> {
        if record.volume.snapshot().is_some() {
            return self.refuse_if_mapped(record);
        }
        let claim = match self.standing(record)? {
            Standing::Free => return Ok(()),
            Standing::Held(claim) => claim,
            Standing::Ours => {
                let mapped = self.is_mapped_here(record)?;
                match &record.claim {
                    Some(claim) if mapped || self.is_at_work(&claim.owner) => claim.clone(),
                    _ => return Ok(()),
                }
            }
        };
        Err(in_use(record.uuid, &claim))
    }

    /// Snapshots are not claimed: this host's own devices are all there is to see.
    fn refuse_if_mapped(&self, record: &VdiRecord) -> Result<()> {
        if self.is_mapped_here(record)? {
            let here = Claim {
                owner: self.host.owner().clone(),
                since: self.host.now(),
            };
            return Err(in_use(record.uuid, &here));
        }
        Ok(())
    }

    fn is_mapped_here(&self, record: &VdiRecord) -> Result<bool> {
        let key = self.image_key(&record.volume)?;
        let doing = format!("looking for a device of VDI {}", record.uuid);
        let mappings = self.host.mappings().doing(&doing)?;
        Ok(mappings.iter().any(|mapped| mapped.key == key))
    }

    /// Whether another process of this host, which has claimed a VDI, may be about to map it.
    fn is_at_work(&self, owner: &Owner) -> bool {
        owner != self.host.owner() && !self.host.is_gone(owner)
    }

    /// Takes the claim for this host, as long as the VDI is that volume. `true`: it was not this
    /// host's before. `None`: the disk was reverted meanwhile; look at it again.
    pub(crate) fn claim(&self, vdi: &Uuid, volume: &Volume) -> Result<Option<(VdiRecord, bool)>> {
        loop {
            let entry = self.entry(vdi)?;
            let stored = self.present(&entry, vdi)?;
            if stored.record.volume != *volume {
                return Ok(None);
            }
            let mut record = stored.record.clone();
            let newly_claimed = match self.standing(&stored.record)? {
                Standing::Held(claim) => return Err(in_use(*vdi, &claim)),
                // Written all the same: an earlier process's request to give this claim back may
                // still be on its way, and must not find the record as it knew it.
                Standing::Ours => false,
                Standing::Free => true,
            };
            record.epoch += u64::from(newly_claimed);
            let since = match record.claim {
                Some(claim) if !newly_claimed => claim.since,
                _ => self.host.now(),
            };
            record.claim = Some(Claim {
                owner: self.host.owner().clone(),
                since,
            });
            let swap = Swap::default()
                .expect(vdi_key(vdi), Some(stored))
                .write(vdi_key(vdi), &mut record);
            if self.commit(&format!("claiming VDI {vdi}"), &swap)? {
                return Ok(Some((record, newly_claimed)));
            }
        }
    }

    /// Gives this host's claim back. Claims of others, and VDIs that are gone, are left alone.
    pub(crate) fn release(&self, vdi: &Uuid) -> Result<()> {
        loop {
            let Some(stored) = self.entry(vdi)?.vdi else {
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

    /// Gives back what earlier boots of this host had claimed: whatever ran then is gone, and no
    /// other host can know that.
    pub(crate) fn release_earlier_boots(&self, entries: &Entries) -> Result<()> {
        let me = self.host.owner();
        for stored in records::<VdiRecord>(entries, VDI_PREFIX) {
            let claim = stored.record.claim.as_ref();
            if claim.is_some_and(|c| c.owner.host == me.host && c.owner.boot_id != me.boot_id) {
                // Where the record has changed meanwhile, whoever did that has judged the claim.
                self.drop_claim(&stored.record.uuid, &stored)?;
            }
        }
        Ok(())
    }

    /// Drops a VDI's claim whoever holds it; answers whose it was. For an administrator who
    /// knows that the host does not run: nothing keeps that host from writing if it does.
    pub fn break_claim(&self, vdi: &Uuid) -> Result<Option<Claim>> {
        loop {
            let entry = self.entry(vdi)?;
            let stored = self.present(&entry, vdi)?;
            let Some(claim) = stored.record.claim.clone() else {
                return Ok(None);
            };
            if self.drop_claim(vdi, stored)? {
                return Ok(Some(claim));
            }
        }
    }

    fn drop_claim(&self, vdi: &Uuid, stored: &Stored<VdiRecord>) -> Result<bool> {
        let mut record = stored.record.clone();
        record.claim = None;
        let swap = Swap::default()
            .expect(vdi_key(vdi), Some(stored))
            .write(vdi_key(vdi), &mut record);
        self.commit(&format!("releasing the claim on VDI {vdi}"), &swap)
    }

    /// The VDI's record, which must exist.
    pub(crate) fn present<'e>(
        &self,
        entry: &'e Entry,
        vdi: &Uuid,
    ) -> Result<&'e Stored<VdiRecord>> {
        entry.vdi.as_ref().ok_or(Error::VdiMissing {
            sr: self.sr,
            vdi: *vdi,
        })
    }

    pub(crate) fn image_key(&self, volume: &Volume) -> Result<ImageKey> {
        Ok(ImageKey {
            fsid: self.cluster.fsid().doing("asking for the cluster's fsid")?,
            pool_id: self.cluster.pool_id(),
            image_id: volume.image().id.clone(),
            snap_id: volume.snapshot().map(|snapshot| snapshot.id),
        })
    }
}

fn in_use(vdi: Uuid, claim: &Claim) -> Error {
    Error::VdiInUse {
        vdi,
        host: claim.owner.host.clone(),
        since: humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(claim.since))
            .to_string(),
    }
}
