//! Giving space back.
//!
//! Freeing data takes as long as there is data, so nothing that XAPI waits for does it. What is to
//! be freed remembers itself, in one of three places:
//!
//! | found | to do | then |
//! |---|---|---|
//! | an image in the trash that smblock moved there (key `trash.<id>`, see `reclaim/trash.rs`) | purge it | the snapshot that it was cloned from may go, and free a hidden image |
//! | a hidden image (key `hidden.<id>`), which no VDI is the head of and whose snapshots others need | make its head empty, which leaves snapshots and clones what they are (see `reclaim/hidden.rs`) | it waits for the last of them, and goes to the trash |
//! | a disk with more than [`SOFT_DEPTH`] parents, one behind the other | flatten it | its record says that it has none |
//!
//! Flattening a disk frees the chain of its head and not of its snapshots: a parent goes when the
//! last snapshot that needs it does.
//!
//! The cluster's manager is asked first, by whoever deletes and by every scan. It can purge and
//! flatten; it cannot empty a head, frees nothing in a full pool, and may be absent. What it does not
//! take is the work of one *worker* per SR, a process that outlives the command which found it needed
//! ([`Repository::needs_worker`]) and ends when nothing is left that it can do.
//!
//! Each step may be stopped anywhere and repeated: a purge or a flatten begins again and finds most
//! of it done, a head is emptied piece by piece. A hidden image goes to the trash before one swap
//! removes its key and marks it, so that a key has its id at any time.
//!
//! No image is purged that a key of the catalogue names, whoever moved it to the trash: each purge, and
//! each request to the manager for one, follows a fresh look at the whole catalogue.

mod group;
mod hidden;
mod lease;
mod named;
pub mod pending;
mod snapshots;
mod trash;

use std::collections::BTreeSet;

use nix::libc;

use self::lease::Worker;
use crate::catalogue::vdi_key;
use crate::cluster::{Entries, Progress, Swap};
use crate::error::{Context, Error, Result};
use crate::record::{ImageRef, Record, VdiRecord};
use crate::usage::PoolUsage;
use crate::Repository;

pub use self::pending::{HoldUp, Kind, Pending};

/// Parents that a disk may have, one behind the other, before it is flattened in the background:
/// each costs a look when a block is read that none of them has.
pub const SOFT_DEPTH: u32 = 8;

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

impl Repository<'_> {
    /// Whether this process found, or left, data to be freed that the cluster's manager did not
    /// take: then a worker is to be started.
    pub fn needs_worker(&self) -> bool {
        self.needs_worker.get()
    }

    pub(crate) fn leave_to_worker(&self) {
        self.needs_worker.set(true);
    }

    /// Asks the manager to free an image that smblock moved to the trash and marked.
    pub(crate) fn free_trashed(&self, image: &ImageRef) {
        self.hand_over([Kind::Trashed.of(image)], || self.usage());
    }

    /// Whether anything depends on an image, or anybody has it open: also a client that died a
    /// moment ago, which nobody who deletes is to wait for. Nobody needs one that does not exist.
    pub(crate) fn is_needed(&self, image: &ImageRef) -> Result<bool> {
        Ok(self.is_used(image)?.unwrap_or(false))
    }

    /// As [`Repository::is_needed`]; `None`: the image does not exist.
    pub(crate) fn is_used(&self, image: &ImageRef) -> Result<Option<bool>> {
        match self.cluster.users(&image.id) {
            Err(e) if e.is_not_found() => Ok(None),
            other => other
                .doing(&format!("looking for who needs image {}", image.name))
                .map(|users| Some(!(users.snapshots.is_empty() && users.watchers.is_empty()))),
        }
    }

    /// Does what takes no time about what is pending, and hands the rest to the manager, or leaves
    /// it to a worker.
    pub(crate) fn tidy(
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
                        Err(Error::Cluster { source, .. }) if source.is_out_of_space() => continue,
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
        self.hand_over(for_manager, usage);
        // One at work looks again before it ends.
        if self.worker_among(entries).is_some() {
            self.needs_worker.set(false);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Asks the manager to do what is pending. That it does not answer costs space for a while and
    /// nothing else. It is not asked again then, since each request waits for it.
    ///
    /// In a full pool it is not asked: its own writes there would wait until there is room, and
    /// with them all that it was asked to free in any pool.
    fn hand_over(
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
                "SR {}: a worker frees space, not the cluster's manager: {reason}",
                self.sr
            );
            self.leave_to_worker();
        }
    }

    /// Why the manager does not take it all.
    fn ask_for_all(&self, pending: Vec<Pending>) -> Option<String> {
        let pending = match self.without_needed(pending) {
            Err(e) => return Some(e.to_string()),
            Ok(pending) => pending,
        };
        let mut asked = pending.iter().map(|each| self.ask_manager(each));
        asked.find_map(|asked| asked.err().map(|e| e.to_string()))
    }

    fn ask_manager(&self, pending: &Pending) -> crate::cluster::Result<()> {
        let asked = match pending.kind {
            Kind::LongChain { .. } => self.cluster.schedule_flatten(&pending.image.name),
            Kind::Trashed => self.cluster.schedule_purge(&pending.image.id),
            Kind::TrashedOutside | Kind::Hidden { .. } => Ok(()), // not the manager's
        };
        match asked {
            Err(e) if e.is_not_found() => Ok(()), // done meanwhile
            other => other,
        }
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
            let held_open = |p: &Pending| matches!(p.holds_up, Some(HoldUp::Open { .. }));
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
        match &pending.kind {
            Kind::Trashed => self.purge(image, progress),
            Kind::TrashedOutside => Ok(()),
            Kind::Hidden { snapshots: 0, .. } => self.discard_hidden(image),
            Kind::Hidden { .. } => self.empty(image, progress),
            Kind::LongChain { .. } => self.flatten(pending, progress),
        }
    }

    fn flatten(&self, pending: &Pending, progress: Progress<'_>) -> Result<()> {
        let image = &pending.image;
        self.require_room(&format!("image {} was not flattened", image.name))?;
        match self.cluster.flatten_image(&image.id, progress) {
            Err(e) if e.is_not_found() => return Ok(()),
            Err(e) if e.errno == libc::EINVAL => {} // has no parent any more
            other => other.doing(&format!("flattening image {}", image.name))?,
        }
        self.note_if_flat(pending).map(|_| ())
    }

    /// Whether a disk stands alone by now; then its record says so from here on.
    fn note_if_flat(&self, pending: &Pending) -> Result<bool> {
        let Kind::LongChain { vdi, .. } = &pending.kind else {
            return Ok(false);
        };
        let image = &pending.image;
        match self.cluster.image(&image.id) {
            Err(e) if e.is_not_found() => return Ok(true),
            Ok(state) if state.has_parent => return Ok(false),
            other => other.doing(&format!("looking at image {}", image.name))?,
        };
        let entry = self.entry(vdi)?;
        let still = entry.vdi.filter(|vdi| vdi.record.volume.image() == image);
        if let Some(stored) = still {
            let mut record: VdiRecord = stored.record.clone().with_depth(0);
            let swap = Swap::default()
                .expect(vdi_key(vdi), Some(&stored))
                .put(vdi_key(vdi), record.seal());
            // Where it does not apply, the next look finds the disk again.
            self.commit(&format!("noting that VDI {vdi} stands alone"), &swap)?;
        }
        Ok(true)
    }
}
