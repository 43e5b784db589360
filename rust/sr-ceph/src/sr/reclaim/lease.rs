//! One worker per SR: the catalogue's key [`WORKER_KEY`] says who it is, and until when.
//!
//! Two at once would do no harm, since every step can be repeated; they would wait for each other. So
//! the key is taken over from a worker that is gone, or that this host has not seen renew it. It is
//! blocklisted first: what it has open would hold up the next one for 30 s.

use std::cell::RefCell;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::catalogue::Stored;
use crate::error::{Changed, Context, Error, Result};
use crate::host::Owner;
use crate::journal::RECOVERY_BLOCKLIST_SECONDS;
use crate::lease::LEASE_SECONDS;
use crate::pool::{Entries, Transaction};
use crate::record::{Record, VERSION};
use crate::CephSr;

/// The catalogue's key for the worker.
const WORKER_KEY: &str = "worker";

/// A worker renews its lease so long after it did last.
const RENEW_SECONDS: u64 = LEASE_SECONDS / 4;

/// Who frees an SR's space at the moment.
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

impl Record for WorkerRecord {
    fn version(&self) -> u32 {
        self.version
    }

    fn nonce(&self) -> Uuid {
        self.nonce
    }

    fn renew(&mut self) {
        self.version = VERSION;
        self.nonce = Uuid::new_v4();
    }
}

/// This process, as the one worker of its SR.
pub(super) struct Worker<'r> {
    ceph_sr: &'r CephSr<'r>,
    stored: RefCell<Stored<WorkerRecord>>,
}

impl<'r> Worker<'r> {
    /// Becomes the SR's worker.
    ///
    /// # Errors
    /// [`Error::WorkerRuns`] where another one is at work.
    pub(super) fn start(ceph_sr: &'r CephSr<'_>) -> Result<Self> {
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
                    "SR {}: process {} on host {} stopped freeing space half-way",
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

    /// Renews the lease, where that is due.
    ///
    /// # Errors
    /// Another worker has taken over.
    pub(super) fn renew(&self) -> Result<()> {
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
        let doing = "going on freeing space";
        if !self.ceph_sr.catalogue.commit(doing, &transaction)? {
            return Err(Changed::Worker {
                sr: self.ceph_sr.sr,
            }
            .into());
        }
        *stored = Stored { bytes, record };
        Ok(())
    }

    /// Renews the lease in the middle of a call. What goes wrong is found again after it.
    pub(super) fn renew_while_waiting(&self) {
        if let Err(e) = self.renew() {
            log::warn!("{e}");
        }
    }

    /// Lets the next worker begin at once.
    pub(super) fn end(self) {
        let stored = self.stored.into_inner();
        let transaction = Transaction::default()
            .expect(WORKER_KEY.to_owned(), Some(&stored))
            .erase(WORKER_KEY.to_owned());
        if let Err(e) = self
            .ceph_sr
            .catalogue
            .commit("ending to free space", &transaction)
        {
            log::warn!("the next worker starts when this one's lease is over: {e}");
        }
    }
}

impl CephSr<'_> {
    /// The worker that is at work, as far as anybody can say.
    pub(super) fn worker_among(&self, entries: &Entries) -> Option<Owner> {
        let value = entries.get(WORKER_KEY)?;
        let record = Stored::<WorkerRecord>::parse(value.clone()).ok()?.record;
        let over = self.journal().seen_for(WORKER_KEY, &record) >= LEASE_SECONDS
            || self.fence.is_dead(&record.owner);
        (!over).then_some(record.owner)
    }

    /// As [`CephSr::look_at_journal`], of the worker.
    pub(crate) fn look_at_worker(&self, entries: &Entries) {
        self.worker_among(entries);
    }
}
