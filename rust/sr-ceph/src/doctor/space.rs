//! Space: what is still to be freed, what keeps it, and how full the pool is.

use sr::finding::{table, Finding};

use super::look::Doctor;
use crate::error::Result;
use crate::size::Size;
use crate::sr::reclaim::{Blocker, Kind};
use crate::usage::PoolUsage;

/// How full the pool is, also if that is well. `None` if it is not known.
pub(super) fn of_usage(usage: &PoolUsage) -> Option<Finding> {
    let (total, free) = (usage.total()?, usage.free()?);
    let used = total.saturating_sub(free);
    let percent = u128::from(used) * 100 / u128::from(total.max(1));
    let text = format!(
        "{percent} % of {} are used, {} are free",
        Size(total),
        Size(free)
    );
    let limiting = usage.limiting();
    let fix = match (limiting.quota_bytes, limiting.quota_objects) {
        (Some(_), _) => format!(
            "destroy VDIs, or raise the quota: ceph osd pool set-quota {} max_bytes BYTES",
            limiting.pool
        ),
        (None, Some(_)) => format!(
            "destroy VDIs, or raise the quota: ceph osd pool set-quota {} max_objects OBJECTS",
            limiting.pool
        ),
        (None, None) => "destroy VDIs, or add OSDs: ceph osd df".to_owned(),
    };
    let found = table::NEARLY_FULL.found(format!("pool {}", limiting.pool), text, fix);
    Some(found.measured(u64::try_from(percent).unwrap_or(100)))
}

impl Doctor<'_, '_> {
    pub(super) fn look_at_space(&mut self) -> Result<()> {
        self.look_at_usage()?;
        let (mut count, mut bytes, mut waiting) = (0, 0u64, 0);
        for pending in self.sr.pending()? {
            let object = format!("image {}", pending.image.name);
            let work = pending.kind.to_string();
            match (pending.kind, pending.waits_for) {
                (_, None) => {
                    count += 1;
                    bytes = bytes.saturating_add(pending.size);
                }
                // The image of a VDI is a finding of its own.
                (_, Some(Blocker::Named { .. } | Blocker::Migrating(_))) => {}
                (Kind::TrashedOutside, Some(blocker)) => {
                    let found = table::TRASHED_BY_HAND.found(object, work, blocker.to_string());
                    self.found.push(found);
                }
                (_, Some(Blocker::InUse { .. })) => waiting += 1,
                (_, Some(Blocker::Snapshots { foreign, .. })) if foreign.is_empty() => waiting += 1,
                (_, Some(blocker)) => {
                    let found = table::BLOCKED.found(object, work, blocker.to_string());
                    self.found.push(found);
                }
            }
        }
        if count > 0 {
            let sr = self.sr.sr;
            let text = format!(
                "{count} image(s) with up to {} are to be freed or flattened, {waiting} more wait \
                 for their snapshots, or until a disk is not in use",
                Size(bytes)
            );
            let fix = format!("to have it done now: smblock reclaim {sr}");
            let found = table::BACKLOG.found(format!("SR {sr}"), text, fix);
            self.found.push(found);
        }
        self.look_at_worker();
        Ok(())
    }

    fn look_at_usage(&mut self) -> Result<()> {
        let usage = self.sr.usage()?;
        self.found
            .extend(of_usage(&usage).filter(Finding::is_trouble));
        Ok(())
    }

    pub(super) fn look_at_worker(&mut self) {
        let Some((owner, until)) = self.sr.worker_left(&self.entries) else {
            return;
        };
        let me = self.sr.host.owner();
        let gone = match owner.host == me.host {
            true => self.sr.host.is_gone(&owner),
            false => self.sr.host.now() > until + super::journal::STUCK_SECONDS,
        };
        if gone {
            let (sr, pid, host) = (self.sr.sr, owner.pid, &owner.host);
            let text = format!("the reclaim worker, process {pid} of host {host}, is gone");
            let fix = format!("smblock doctor {sr} --repair, or: smblock reclaim {sr}");
            let found = table::NO_WORKER.found(format!("SR {sr}"), text, fix);
            self.found.push(found.since(until));
        }
    }
}
