//! Freeing space.
//!
//! Freeing data takes longer the more data there is, so no command that XAPI waits for does it. What is to be
//! freed is recorded in one of three places:
//!
//! | found | to do | then |
//! |---|---|---|
//! | an image in the trash that smblock moved there (key `trash.<id>`, see `reclaim/trash.rs`) | purge it | the snapshot that it was cloned from may be removed, and a hidden image be freed |
//! | a hidden image (key `hidden.<id>`): its head is no VDI, and others need its snapshots | free the data of its head; snapshots and clones keep their content (see `reclaim/hidden.rs`) | when its last snapshot is gone, it is moved to the trash |
//! | a disk with a clone chain of more than [`SOFT_DEPTH`](crate::chain::SOFT_DEPTH) parents | flatten it | its record has no parents |
//!
//! A disk with snapshots is not flattened: see `reclaim/flatten.rs`.
//!
//! Each deletion and each scan asks ceph-mgr first. ceph-mgr can purge and flatten. It cannot free the data
//! of a head, frees nothing in a full pool, and may not run. A *reclaim worker* does the rest: one process
//! per SR. It outlives the command that found it necessary ([`CephSr::needs_worker`]), and ends when nothing
//! is left that it can do.
//!
//! Each step can be stopped anywhere and repeated: a purge or a flatten starts again and finds most of it
//! done, the data of a head is freed piece by piece. A hidden image is moved to the trash before one swap
//! removes its key and marks it, so a key has its id at any time.
//!
//! An image that a key of the catalogue names is never purged, even if it was moved to the trash by hand:
//! each purge, and each request to ceph-mgr for one, reads the whole catalogue first.

mod flatten;
mod hidden;
pub(crate) mod lease;
mod lineages;
mod lookup;
mod manager;
mod named;
pub mod pending;
mod snapshots;
mod trash;

use std::collections::BTreeSet;

use nix::libc;

use self::lease::Worker;
use crate::error::{Error, Result};
use crate::pool::{Entries, Progress};
use crate::usage::PoolUsage;
use crate::CephSr;

pub(crate) use self::lease::WORKER_KEY;
pub use self::pending::{Blocker, Kind, Pending};
pub(crate) use self::trash::TRASH_PREFIX;

/// How long a reclaim worker waits for clients that have an image open, in milliseconds: Ceph drops a dead
/// one after 30 s.
const DEATH_MILLISECONDS: u64 = 40_000;
const DEATH_POLL_MILLISECONDS: u64 = 2_000;

/// What a reclaim worker reports about one object.
#[derive(Debug)]
pub enum Report<'r> {
    /// How much is done, and how much there is in all.
    Progress(u64, u64),
    /// It is done.
    Done,
    /// It failed, and is skipped.
    Failed(&'r Error),
    /// Something else has to happen first, see [`Pending::waits_for`].
    Waits,
}

impl CephSr<'_> {
    /// Whether this process found, or left, data to be freed that ceph-mgr did not accept: then a reclaim
    /// worker is to be started.
    pub fn needs_worker(&self) -> bool {
        self.needs_worker.get()
    }

    /// Does the pending work that takes no time. Passes the rest to ceph-mgr, or leaves it to a reclaim
    /// worker.
    pub(crate) fn collect_garbage(
        &self,
        entries: &Entries,
        usage: impl FnOnce() -> Result<PoolUsage>,
    ) -> Result<()> {
        let trash = self.look_at_trash(entries)?;
        self.forget_marks(&trash.gone)?;
        let mut for_manager = Vec::new();
        let mut failed = None;
        for pending in self.pending_among(trash, entries, false)? {
            match &pending.kind {
                _ if pending.waits_for.is_some() => {}
                Kind::TrashedOutside => {}
                Kind::Trashed => for_manager.push(pending),
                Kind::Hidden { snapshots: 0, .. } => {
                    match self.discard_hidden(&pending.image) {
                        // It stays hidden until there is free space. Its data is freed.
                        Err(Error::Ceph { source, .. }) if source.is_out_of_space() => continue,
                        // The next one does not depend on it.
                        Err(e @ Error::ByHand(_)) => {
                            failed = Some(e);
                            continue;
                        }
                        other => other?,
                    }
                    for_manager.push(Kind::Trashed.of(&pending.image));
                }
                Kind::Hidden { .. } => self.leave_to_worker(),
                Kind::LongChain { .. } => {
                    if !self.note_if_flat(&pending)? {
                        for_manager.push(pending);
                    }
                }
            }
        }
        self.ask_manager(for_manager, usage);
        // A running worker looks again before it ends.
        if self.worker_among(entries).is_some() {
            self.needs_worker.set(false);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Does all pending work now, until nothing changes any more: a purged image may have been the last one
    /// that needs another image. `report` gets each step. Work that cannot be done (a client has the image
    /// open) is skipped. Returns how much that is.
    ///
    /// # Errors
    /// [`Error::WorkerRuns`]: another process does it already. Other errors: the cluster does not reply.
    pub fn reclaim(&self, mut report: impl FnMut(&Pending, Report<'_>)) -> Result<usize> {
        let worker = Worker::start(self)?;
        let result = self.work(&worker, &mut report);
        worker.end();
        result
    }

    fn work(
        &self,
        worker: &Worker<'_>,
        report: &mut dyn FnMut(&Pending, Report<'_>),
    ) -> Result<usize> {
        let mut failed = BTreeSet::new();
        let mut waited = 0;
        loop {
            let (waiting, mut doable): (Vec<_>, Vec<_>) = {
                let pending = self.pending()?.into_iter();
                pending.partition(|pending| pending.waits_for.is_some())
            };
            doable.retain(|pending| !failed.contains(&pending.image.id));
            let held_open = |p: &Pending| matches!(p.waits_for, Some(Blocker::Open { .. }));
            if doable.is_empty() && waiting.iter().any(held_open) && waited < DEATH_MILLISECONDS {
                worker.renew()?;
                self.host.sleep(DEATH_POLL_MILLISECONDS);
                waited += DEATH_POLL_MILLISECONDS;
                continue;
            }
            if doable.is_empty() {
                waiting
                    .iter()
                    .for_each(|pending| report(pending, Report::Waits));
                return Ok(failed.len() + waiting.into_iter().filter(held_open).count());
            }
            for pending in doable {
                worker.renew()?;
                if self.must_not_be_flattened(&pending)? {
                    continue; // the work before it may have taken hours
                }
                let mut progress = |done, total| {
                    report(&pending, Report::Progress(done, total));
                    worker.renew_while_waiting();
                };
                match self.work_on(&pending, &mut progress) {
                    Ok(()) => report(&pending, Report::Done),
                    // Everything else would fail in the same way, after the same wait.
                    Err(e) if e.is_outcome_unknown() || e.errno() == Some(libc::ESHUTDOWN) => {
                        return Err(e)
                    }
                    Err(e) => {
                        report(&pending, Report::Failed(&e));
                        failed.insert(pending.image.id.clone());
                    }
                }
            }
        }
    }

    fn work_on(&self, pending: &Pending, progress: Progress<'_>) -> Result<()> {
        let image = &pending.image;
        let done = match &pending.kind {
            Kind::Trashed => self.purge(image, progress),
            Kind::TrashedOutside => Ok(()),
            Kind::Hidden { snapshots: 0, .. } => self.discard_hidden(image),
            Kind::Hidden { .. } => self.empty(image, progress),
            Kind::LongChain { .. } => self.flatten(pending, progress),
        };
        done.map_err(|error| self.images.explain_refusal(image, error))
    }
}
