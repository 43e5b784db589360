//! Giving space back.
//!
//! Freeing data takes as long as there is data, so nothing that XAPI waits for does it. What is to
//! be freed remembers itself, in one of three places:
//!
//! | found | to do | then |
//! |---|---|---|
//! | an image in the trash that smblock moved there (key `trash.<id>`, see `reclaim/trash.rs`) | purge it | the snapshot that it was cloned from may go, and free a hidden image |
//! | a hidden image (key `hidden.<id>`), which no VDI is the head of and whose snapshots others need | make its head empty, which leaves snapshots and clones what they are (see `reclaim/hidden.rs`) | it waits for the last of them, and goes to the trash |
//! | a disk with more than [`SOFT_DEPTH`](crate::chain::SOFT_DEPTH) parents, one behind the other | flatten it | its record says that it has none |
//!
//! Flattening a disk frees the chain of its head and not of its snapshots: a parent goes when the
//! last snapshot that needs it does.
//!
//! The cluster's manager is asked first, by whoever deletes and by every scan. It can purge and
//! flatten; it cannot empty a head, frees nothing in a full pool, and may be absent. What it does not
//! take is the work of one *worker* per SR, a process that outlives the command which found it needed
//! ([`CephSr::needs_worker`]) and ends when nothing is left that it can do.
//!
//! Each step may be stopped anywhere and repeated: a purge or a flatten begins again and finds most
//! of it done, a head is emptied piece by piece. A hidden image goes to the trash before one swap
//! removes its key and marks it, so that a key has its id at any time.
//!
//! No image is purged that a key of the catalogue names, whoever moved it to the trash: each purge, and
//! each request to the manager for one, follows a fresh look at the whole catalogue.

mod flatten;
mod hidden;
mod lease;
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

pub use self::pending::{Blocker, Kind, Pending};

/// How long a worker waits for clients that have an image open: Ceph forgets a dead one after 30 s.
const DEATH_MILLISECONDS: u64 = 40_000;
const DEATH_POLL_MILLISECONDS: u64 = 2_000;

/// What a worker says about one thing it works on.
#[derive(Debug)]
pub enum Report<'r> {
    /// So much is done, of so much.
    Progress(u64, u64),
    /// It is done.
    Done,
    /// It could not be done, and is passed over.
    Failed(&'r Error),
    /// Something else has to happen first, see [`Pending::holds_up`].
    Waits,
}

impl CephSr<'_> {
    /// Whether this process found, or left, data to be freed that the cluster's manager did not
    /// take: then a worker is to be started.
    pub fn needs_worker(&self) -> bool {
        self.needs_worker.get()
    }

    /// Does what takes no time about what is pending, and hands the rest to the manager, or leaves
    /// it to a worker.
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
                _ if pending.holds_up.is_some() => {}
                Kind::TrashedOutside => {}
                Kind::Trashed => for_manager.push(pending),
                Kind::Hidden { snapshots: 0, .. } => {
                    match self.discard_hidden(&pending.image) {
                        // It stays hidden until there is room. Its data is freed.
                        Err(Error::Ceph { source, .. }) if source.is_out_of_space() => continue,
                        // Another one does not wait for it.
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
        // One at work looks again before it ends.
        if self.worker_among(entries).is_some() {
            self.needs_worker.set(false);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Does all that is pending, here and now, until nothing changes any more: what was purged may
    /// have been the last to need another image. `report` hears of everything. What cannot be done
    /// (somebody has the image open) is passed over: answers how much that is.
    ///
    /// # Errors
    /// [`Error::WorkerRuns`] where another process does it already; those of a cluster that does
    /// not answer.
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
                pending.partition(|pending| pending.holds_up.is_some())
            };
            doable.retain(|pending| !failed.contains(&pending.image.id));
            let held_open = |p: &Pending| matches!(p.holds_up, Some(Blocker::Open { .. }));
            if doable.is_empty() && waiting.iter().any(held_open) && waited < DEATH_MILLISECONDS {
                worker.renew()?;
                self.host.pause(DEATH_POLL_MILLISECONDS);
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
                let mut progress = |done, total| {
                    report(&pending, Report::Progress(done, total));
                    worker.renew_while_waiting();
                };
                match self.work_on(&pending, &mut progress) {
                    Ok(()) => report(&pending, Report::Done),
                    // Everything else would fail in the same way, after as long a wait.
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
