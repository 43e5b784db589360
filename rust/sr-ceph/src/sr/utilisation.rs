//! How much space each disk takes, as XAPI shows it.
//!
//! One listing of the pool's objects counts those of all images. RBD has no cheaper figure: the exact one costs
//! a request for each object that a disk can have. The reclaim worker counts, at most once an hour. A scan only
//! reports what the records have, so it costs nothing there.
//!
//! 1. The process becomes the SR's worker (`sr/reclaim/lease.rs`): only one process counts.
//! 2. It lists the pool in parts, and then the data pool. Between two parts it renews its lease, and ends if it
//!    has lost it. It holds no lock, and changes nothing.
//! 3. It reads the catalogue. A disk without objects may have its data in a former data pool: its header names
//!    that, and the pool is listed too.
//! 4. It reads the catalogue again. Each record whose figure has changed is written by a swap of its own. A
//!    record that another process has changed meanwhile keeps its figure until the next count.
//! 5. The key [`COUNT_KEY`] is written. An hour after this host has seen it first, the next count is due.
//!
//! It can be stopped anywhere: the next worker counts from the beginning. If the SR is deleted meanwhile, the
//! swaps find no catalogue, and create none.
//!
//! **The figure** is the number of objects times their size, rounded up: an upper bound of the disk's data. An
//! object counts as a whole if one byte of it was written, and also if only a snapshot of the disk has data in
//! it. A snapshot has no figure of its own: it shares its objects with its disk, and what only the snapshot
//! needs cannot be counted by objects. The blocks of a parent belong to the parent.

use std::collections::{BTreeMap, HashMap, HashSet};

use nix::libc;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::catalogue::{disks, vdi_key, Stored, SR_KEY};
use crate::error::{Context, Error, Result};
use crate::pool::{Entries, Part, PoolError, Transaction};
use crate::record::{record, Record, SrRecord, VdiRecord, VERSION};
use crate::sr::reclaim::lease::Worker;
use crate::usage::PoolUsage;
use crate::CephSr;

/// The catalogue's key for the last count.
pub(crate) const COUNT_KEY: &str = "utilisation";

/// How often the objects are counted, in seconds.
pub const COUNT_SECONDS: u64 = 3600;
/// How long one count may take, in seconds.
pub const GIVE_UP_SECONDS: u64 = 1800;
/// About how many objects one part of a listing has: those that a slow cluster lists in some seconds.
const OBJECTS_OF_PART: u64 = 50_000;
/// The number of parts if the number of objects is not known.
const PARTS: usize = 16;
/// Figures are multiples of this many bytes.
pub const UNIT: u64 = 64 << 20;

const DOING: &str = "counting the objects of the SR's disks";

/// How far a count is: how many objects were listed, and how many the pools have in all.
pub type Progress<'p> = &'p mut dyn FnMut(u64, u64);

/// The last count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CountRecord {
    version: u32,
    nonce: Uuid,
    /// How many objects were listed.
    objects: u64,
    /// Seconds since 1970, by the clock of the host that counted. It is only shown.
    counted: u64,
}

record!(CountRecord);

/// What was listed until now.
struct Objects {
    /// When it began, in seconds since 1970.
    began: u64,
    /// How many objects the present pools have.
    total: u64,
    listed: u64,
    /// How many objects each image has.
    images: HashMap<String, u64>,
}

/// When to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Now.
    Now,
    /// If the last count is an hour old.
    IfDue,
}

impl CephSr<'_> {
    /// Whether the last count is so old that a worker is to count again. In a new SR, and after an update from a
    /// version without counts, the first one is due after the same time.
    pub(crate) fn is_count_due(&self, entries: &Entries) -> bool {
        let last = entries.get(COUNT_KEY).map(|it| CountRecord::parse(it));
        let seen = match (last, entries.get(SR_KEY).map(|it| SrRecord::parse(it))) {
            (Some(Ok(last)), _) => self.journal().seen_for(COUNT_KEY, &last),
            (_, Some(Ok(sr))) => self.journal().seen_for(COUNT_KEY, &sr),
            _ => 0,
        };
        seen >= COUNT_SECONDS
    }

    /// Counts the objects of all disks, and writes the figures to their records. Returns whether it has counted.
    ///
    /// # Errors
    /// [`Error::WorkerRuns`]: another process counts or frees space, and `when` is [`When::Now`].
    pub fn count_utilisation(&self, when: When, progress: Progress<'_>) -> Result<bool> {
        if when == When::IfDue && !self.is_count_due(&self.catalogue.read()?) {
            return Ok(false);
        }
        let worker = match Worker::start(self) {
            Err(Error::WorkerRuns { .. }) if when == When::IfDue => return Ok(false),
            other => other?,
        };
        let counted = self.count(&worker, progress);
        worker.end();
        counted.map(|()| true)
    }

    fn count(&self, worker: &Worker<'_>, progress: Progress<'_>) -> Result<()> {
        let mut listing = self.list(worker, progress)?;
        let uncounted = self.list_former(worker, progress, &mut listing)?;
        for disk in disks(&self.catalogue.read()?) {
            worker.renew()?;
            if !uncounted.contains(&disk.record.volume.image().id) {
                self.note_utilisation(&disk, &listing.images)?;
            }
        }
        self.note_count(listing.listed)
    }

    /// Lists the pool and its data pool.
    fn list(&self, worker: &Worker<'_>, progress: Progress<'_>) -> Result<Objects> {
        let usage = self.usage()?;
        let headers = usage.headers.as_deref();
        let mut listing = Objects {
            began: self.host.now(),
            total: usage.objects + headers.map_or(0, |pool| pool.objects),
            listed: 0,
            images: HashMap::new(),
        };
        let Some(data_pool) = self.pool.data_pool() else {
            self.list_pool(worker, progress, &mut listing, (None, parts(&usage)))?;
            return Ok(listing);
        };
        let own = (None, parts(headers.unwrap_or(&usage)));
        self.list_pool(worker, progress, &mut listing, own)?;
        let data = (Some(data_pool), parts(&usage));
        self.list_pool(worker, progress, &mut listing, data)?;
        Ok(listing)
    }

    /// Lists the former data pools: those of the disks that have no objects in the present ones. Returns the ids of
    /// the images that could not be counted, because the pool cannot be listed.
    fn list_former(
        &self,
        worker: &Worker<'_>,
        progress: Progress<'_>,
        listing: &mut Objects,
    ) -> Result<HashSet<String>> {
        let mut uncounted = HashSet::new();
        let mut former: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for disk in disks(&self.catalogue.read()?) {
            let id = &disk.record.volume.image().id;
            if listing.images.contains_key(id) {
                continue;
            }
            worker.renew()?;
            match self.pool.data_pool_of(id) {
                Err(e) if e.is_not_found() => {
                    uncounted.insert(id.clone());
                }
                other => match other.doing(DOING)? {
                    Some(name) if self.pool.data_pool() != Some(name.as_str()) => {
                        former.entry(name).or_default().push(id.clone());
                    }
                    _ => {}
                },
            }
        }
        for (name, images) in former {
            match self.list_pool(worker, progress, listing, (Some(&name), PARTS)) {
                Err(Error::Ceph { source, .. })
                    if matches!(source.errno, libc::ENOENT | libc::EPERM | libc::EACCES) =>
                {
                    log::warn!(
                        "SR {}: the disks in pool {name} keep their figures: {source}",
                        self.sr
                    );
                    uncounted.extend(images);
                }
                other => other?,
            }
        }
        Ok(uncounted)
    }

    /// Lists a pool, or a data pool of that name, in that number of parts.
    fn list_pool(
        &self,
        worker: &Worker<'_>,
        progress: Progress<'_>,
        listing: &mut Objects,
        (data_pool, of): (Option<&str>, usize),
    ) -> Result<()> {
        for number in 0..of {
            worker.renew()?;
            if self.host.now().saturating_sub(listing.began) > GIVE_UP_SECONDS {
                return Err(self.too_slow(listing.listed, listing.total));
            }
            let counted = self.pool.count_objects(data_pool, Part { number, of });
            let counted = counted.doing(DOING)?;
            listing.listed += counted.listed;
            for (image, objects) in counted.images {
                *listing.images.entry(image).or_default() += objects;
            }
            progress(listing.listed, listing.total.max(listing.listed));
        }
        Ok(())
    }

    fn too_slow(&self, listed: u64, total: u64) -> Error {
        // Otherwise each scan would start the next attempt.
        if let Err(e) = self.note_count(listed) {
            log::warn!("SR {}: {e}", self.sr);
        }
        let detail = format!(
            "{listed} of about {total} objects in {GIVE_UP_SECONDS} s: the disks keep the figures of the last count, and the next one begins in an hour"
        );
        Error::Ceph {
            doing: DOING.to_owned(),
            source: PoolError {
                detail: Some(detail),
                ..PoolError::new("rados_object_list", self.pool.pool_name(), libc::ETIMEDOUT)
            },
        }
    }

    fn note_utilisation(
        &self,
        stored: &Stored<VdiRecord>,
        images: &HashMap<String, u64>,
    ) -> Result<()> {
        let mut record = stored.record.clone();
        let image = record.volume.image();
        let taken = match images.get(&image.id) {
            None => 0,
            Some(objects) => match self.pool.object_size_of(&image.id) {
                Err(e) if e.is_not_found() => return Ok(()), // a scan reports it
                other => objects.saturating_mul(
                    other.doing(&format!("reading the size of image {}", image.name))?,
                ),
            },
        };
        let now = rounded(taken, record.size);
        if !is_news(record.utilisation, now) {
            return Ok(());
        }
        record.utilisation = Some(now);
        let key = vdi_key(&record.uuid);
        let transaction = Transaction::default()
            .expect(key.clone(), Some(stored))
            .write(key, &mut record);
        let doing = format!("recording how much VDI {} takes", record.uuid);
        self.catalogue.commit(&doing, &transaction).map(drop)
    }

    /// Records that the objects were counted.
    fn note_count(&self, listed: u64) -> Result<()> {
        let doing = "recording that the SR's objects were counted";
        let entries = self.catalogue.read_keys(&[COUNT_KEY])?;
        let mut record = CountRecord {
            version: VERSION,
            nonce: Uuid::new_v4(),
            objects: listed,
            counted: self.host.now(),
        };
        let mut transaction = Transaction::default().write(COUNT_KEY.to_owned(), &mut record);
        let found = entries.get(COUNT_KEY).cloned();
        transaction.expect.insert(COUNT_KEY.to_owned(), found);
        // If the swap does not apply, another worker has counted.
        self.catalogue.commit(doing, &transaction).map(drop)
    }
}

/// In how many parts a pool is listed.
fn parts(usage: &PoolUsage) -> usize {
    match usage.stats_known {
        true => usize::try_from(usage.objects.div_ceil(OBJECTS_OF_PART)).unwrap_or(PARTS),
        false => PARTS,
    }
    .max(1)
}

/// The figure of a disk of `size` bytes whose objects take `taken` bytes.
fn rounded(taken: u64, size: u64) -> u64 {
    (taken.div_ceil(UNIT) * UNIT).min(size.max(taken))
}

/// Whether a figure has changed by more than 1 %. Each change costs a scan several calls to XAPI.
fn is_news(before: Option<u64>, now: u64) -> bool {
    match before {
        None => true,
        Some(before) => (before == 0) != (now == 0) || before.abs_diff(now) > before / 100,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_figure_is_rounded_up_but_not_above_the_disk() {
        assert_eq!(rounded(0, GIB), 0);
        assert_eq!(rounded(4 << 20, GIB), UNIT);
        assert_eq!(rounded(UNIT + 1, GIB), 2 * UNIT);
        assert_eq!(rounded(4 << 20, 6 << 20), 6 << 20);
        assert_eq!(rounded(8 << 20, 6 << 20), 8 << 20);
    }

    #[test]
    fn a_change_by_one_percent_is_no_news() {
        assert!(is_news(None, 0));
        assert!(is_news(Some(0), UNIT) && is_news(Some(UNIT), 0));
        assert!(!is_news(Some(0), 0) && !is_news(Some(GIB), GIB));
        assert!(is_news(Some(GIB), GIB + UNIT));
        assert!(!is_news(Some(100 * GIB), 101 * GIB));
        assert!(is_news(Some(100 * GIB), 98 * GIB));
    }
}
