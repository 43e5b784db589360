//! The reclaim worker, one per SR: the catalogue's key [`WORKER_KEY`] names its process, and has the end of
//! its lease.
//!
//! Two workers would do no harm, because every step can be repeated, but they would wait for each other. The
//! key is taken from a worker that is gone, or that this host has not seen renew it. That worker is
//! blocklisted first: what it has open would delay the next one by 30 s.

use std::cell::RefCell;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::catalogue::Stored;
use crate::error::{Changed, Context, Error, Result};
use crate::host::Owner;
use crate::journal::RECOVERY_BLOCKLIST_SECONDS;
use crate::lease::LEASE_SECONDS;
use crate::pool::{Entries, Transaction};
use crate::record::{record, Record, VERSION};
use crate::CephSr;

/// The catalogue's key for the reclaim worker.
pub(crate) const WORKER_KEY: &str = "worker";

/// After how many seconds a worker renews its lease.
const RENEW_SECONDS: u64 = LEASE_SECONDS / 4;

/// The reclaim worker of an SR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WorkerRecord {
    version: u32,
    nonce: Uuid,
    owner: Owner,
    /// The process's address in the cluster.
    address: String,
    /// Seconds since 1970 when the lease ends.
    lease_until: u64,
}

record!(WorkerRecord);

/// This process, as the reclaim worker of its SR.
pub(crate) struct Worker<'r> {
    ceph_sr: &'r CephSr<'r>,
    stored: RefCell<Stored<WorkerRecord>>,
}

impl<'r> Worker<'r> {
    /// Becomes the SR's reclaim worker.
    ///
    /// # Errors
    /// [`Error::WorkerRuns`]: another worker runs.
    pub(crate) fn start(ceph_sr: &'r CephSr<'_>) -> Result<Self> {
        let doing = "starting to free space";
        loop {
            let entries = ceph_sr.catalogue.read()?;
            if let Some(owner) = ceph_sr.worker_among(&entries) {
                return Err(Error::WorkerRuns {
                    sr: ceph_sr.sr,
                    host: owner.host,
                    pid: owner.pid,
                });
            }
            let found = entries.get(WORKER_KEY).cloned();
            let address = ceph_sr.pool.address().doing(doing)?;
            if let Some(Ok(left)) = found.clone().map(Stored::<WorkerRecord>::parse) {
                log::warn!(
                    "SR {}: process {} on host {} stopped before all space was freed",
                    ceph_sr.sr,
                    left.record.owner.pid,
                    left.record.owner.host
                );
                if left.record.address != address {
                    let cut_off = ceph_sr
                        .pool
                        .blocklist(&left.record.address, RECOVERY_BLOCKLIST_SECONDS);
                    cut_off.doing(doing)?;
                }
            }
            let mut record = WorkerRecord {
                version: VERSION,
                nonce: Uuid::new_v4(),
                owner: ceph_sr.host.owner().clone(),
                address,
                lease_until: ceph_sr.host.now() + LEASE_SECONDS,
            };
            let bytes = record.seal();
            let mut transaction = Transaction::default().put(WORKER_KEY.to_owned(), bytes.clone());
            transaction.expect.insert(WORKER_KEY.to_owned(), found);
            if ceph_sr.catalogue.commit(doing, &transaction)? {
                let stored = RefCell::new(Stored { bytes, record });
                return Ok(Worker { ceph_sr, stored });
            }
        }
    }

    /// Renews the lease, if it is due.
    ///
    /// # Errors
    /// Another worker has replaced this one.
    pub(crate) fn renew(&self) -> Result<()> {
        let mut stored = self.stored.borrow_mut();
        if self.ceph_sr.journal().seen_for(WORKER_KEY, &stored.record) < RENEW_SECONDS {
            return Ok(());
        }
        let mut record = stored.record.clone();
        record.lease_until = self.ceph_sr.host.now() + LEASE_SECONDS;
        let bytes = record.seal();
        let transaction = Transaction::default()
            .expect(WORKER_KEY.to_owned(), Some(&*stored))
            .put(WORKER_KEY.to_owned(), bytes.clone());
        let doing = "continuing to free space";
        if !self.ceph_sr.catalogue.commit(doing, &transaction)? {
            return Err(Changed::Worker {
                sr: self.ceph_sr.sr,
            }
            .into());
        }
        *stored = Stored { bytes, record };
        Ok(())
    }

    /// Renews the lease during a call. An error is found again after the call.
    pub(super) fn renew_while_waiting(&self) {
        if let Err(e) = self.renew() {
            log::warn!("{e}");
        }
    }

    /// Allows the next worker to start at once.
    pub(crate) fn end(self) {
        let stored = self.stored.into_inner();
        let transaction = Transaction::default()
            .expect(WORKER_KEY.to_owned(), Some(&stored))
            .erase(WORKER_KEY.to_owned());
        if let Err(e) = self
            .ceph_sr
            .catalogue
            .commit("releasing the lease of the reclaim worker", &transaction)
        {
            log::warn!("the next reclaim worker starts when the lease of this one is over: {e}");
        }
    }
}

impl CephSr<'_> {
    /// Returns the worker that runs, unless it is gone.
    pub(crate) fn worker_among(&self, entries: &Entries) -> Option<Owner> {
        let value = entries.get(WORKER_KEY)?;
        let record = Stored::<WorkerRecord>::parse(value.clone()).ok()?.record;
        let over = self.journal().seen_for(WORKER_KEY, &record) >= LEASE_SECONDS
            || self.fence.is_dead(&record.owner);
        (!over).then_some(record.owner)
    }

    /// The worker that the catalogue names, at work or not, and the end of its lease in seconds since 1970.
    pub(crate) fn worker_left(&self, entries: &Entries) -> Option<(Owner, u64)> {
        let value = entries.get(WORKER_KEY)?.clone();
        let record = Stored::<WorkerRecord>::parse(value).ok()?.record;
        Some((record.owner, record.lease_until))
    }

    /// As [`CephSr::observe_journal`], for the worker.
    #[cfg(feature = "sim")]
    pub(crate) fn observe_worker(&self, entries: &Entries) {
        self.worker_among(entries);
    }
}
