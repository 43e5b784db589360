//! An administrator releases a claim: what is checked before, and when its host is fenced.

use uuid::Uuid;

use super::claim::in_use;
use crate::blocklist::is_cut_off;
use crate::error::{Context, Error, Result};
use crate::fence::Verdict;
use crate::hold::Hold;
use crate::record::{Claim, VdiRecord};
use crate::CephSr;

impl CephSr<'_> {
    /// Releases a VDI's claim, of any host. Returns the claim.
    ///
    /// `force` checks nothing and fences nothing: if the host still writes, and another host uses the disk,
    /// its content is lost.
    ///
    /// # Errors
    /// [`Error::NotReleased`]: the claim's host is a member of this pool, was not declared dead, and uses the
    /// VDI or does not reply; or a kernel client of the claim watches the image.
    pub fn break_claim(&self, vdi: &Uuid, force: bool) -> Result<Option<Claim>> {
        let mut released = None;
        loop {
            let entry = self.catalogue.entry(vdi)?;
            let stored = self.catalogue.present(&entry, vdi)?;
            let Some(claim) = stored.record.claim.clone() else {
                return Ok(released);
            };
            if force {
                log::warn!(
                    "VDI {vdi}: the claim of host {} (kernel clients: {}) is released by force",
                    claim.owner.host,
                    claim.addresses.join(", ")
                );
            } else {
                self.require_released(&stored.record, &claim)?;
            }
            // The host may have released its claim when it was asked.
            if self.claims.drop_claim(vdi, stored)? {
                return Ok(Some(claim));
            }
            released = Some(claim);
        }
    }

    /// Refuses while the claim's host may write. If its claim is over, fences the host.
    fn require_released(&self, record: &VdiRecord, claim: &Claim) -> Result<()> {
        let hold = if claim.owner.host == self.host.owner().host {
            match self.claims.refuse_if_in_use(record) {
                Err(Error::VdiInUse { hold, .. }) => Some(hold),
                other => return other,
            }
        } else {
            match self.fence.judge(&record.uuid, claim)? {
                Verdict::Over(grounds) => {
                    return self.fence.fence_claim(&record.uuid, claim, &grounds);
                }
                Verdict::Holds(Hold::OtherPool(_)) => None,
                Verdict::Holds(hold) => Some(hold),
            }
        };
        let hold = match hold {
            None => {
                let watch = self.watch_of(record, claim)?;
                if watch.is_none() {
                    // A kernel whose network is down for 30 s has no watch, and may come back.
                    self.fence
                        .blocklist_clients(&claim.owner.host, &claim.addresses)?;
                }
                watch.map(Hold::Watched)
            }
            hold => hold,
        };
        hold.map_or(Ok(()), |hold| {
            let source = Box::new(in_use(record.uuid, claim, hold));
            Err(Error::NotReleased { source })
        })
    }

    /// Returns the address of a kernel client of the claim that watches the image and can write.
    fn watch_of(&self, record: &VdiRecord, claim: &Claim) -> Result<Option<String>> {
        let image = record.volume.image();
        let doing = format!("listing the watchers of image {}", image.name);
        let watchers = match self.pool.watchers(&image.id) {
            Err(e) if e.is_not_found() => return Ok(None),
            watchers => watchers.doing(&doing)?,
        };
        let mut of_claim = watchers
            .into_iter()
            .filter(|w| w.is_kernel() && claim.addresses.contains(&w.address))
            .peekable();
        if of_claim.peek().is_none() {
            return Ok(None);
        }
        let cut_off = self.pool.blocklisted().doing("reading the blocklist")?;
        let writer = of_claim.find(|w| !is_cut_off(&cut_off, &w.address));
        Ok(writer.map(|w| w.address))
    }
}
