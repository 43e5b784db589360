//! Requests to ceph-mgr to free space. What it does not accept is left to a reclaim worker.

use super::pending::{Kind, Pending};
use crate::error::Result;
use crate::record::ImageRef;
use crate::usage::PoolUsage;
use crate::CephSr;

impl CephSr<'_> {
    pub(crate) fn leave_to_worker(&self) {
        self.needs_worker.set(true);
    }

    /// Asks ceph-mgr to free an image that smblock moved to the trash and marked.
    pub(crate) fn free_trashed(&self, image: &ImageRef) {
        self.ask_manager([Kind::Trashed.of(image)], || self.usage());
    }

    /// Asks ceph-mgr to do what is pending. If it does not reply, it is not asked again, because each request
    /// waits for it. The only cost is space that is freed later.
    ///
    /// In a full pool it is not asked: its own writes there would wait for free space, and with them all its
    /// tasks in any pool.
    pub(super) fn ask_manager(
        &self,
        pending: impl IntoIterator<Item = Pending>,
        usage: impl FnOnce() -> Result<PoolUsage>,
    ) {
        let pending: Vec<_> = pending.into_iter().collect();
        if pending.is_empty() {
            return;
        }
        let refusal = match usage() {
            Err(e) => Some(e.to_string()),
            Ok(usage) if usage.full.is_some() => Some(format!("pool {} is full", usage.pool)),
            Ok(_) => self.ask_for_all(pending),
        };
        if let Some(reason) = refusal {
            log::warn!(
                "SR {}: ceph-mgr cannot free space ({reason}); a reclaim worker does it",
                self.sr
            );
            self.leave_to_worker();
        }
    }

    /// Asks ceph-mgr to do all of it. Returns the reason if it does not.
    fn ask_for_all(&self, pending: Vec<Pending>) -> Option<String> {
        let pending = match self.without_needed(pending) {
            Err(e) => return Some(e.to_string()),
            Ok(pending) => pending,
        };
        let mut asked = pending.iter().map(|each| self.ask_for(each));
        asked.find_map(|asked| asked.err().map(|e| e.to_string()))
    }

    fn ask_for(&self, pending: &Pending) -> crate::pool::Result<()> {
        let asked = match pending.kind {
            Kind::LongChain { .. } => self.pool.schedule_flatten(&pending.image.name),
            Kind::Trashed => self.pool.schedule_purge(&pending.image.id),
            Kind::TrashedOutside | Kind::Hidden { .. } => Ok(()), // not work for ceph-mgr
        };
        match asked {
            Err(e) if e.is_not_found() => Ok(()), // done meanwhile
            other => other,
        }
    }
}
