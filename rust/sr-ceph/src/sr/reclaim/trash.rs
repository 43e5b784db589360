//! The trash: which of its images smblock moved there, and so may purge.
//!
//! The key `trash.<image id>` of the catalogue marks an image that smblock moved to the trash. The swap that
//! removes the key which named the image until then (the intent of a deletion, a `hidden` key) writes the
//! mark. So at any time either a key names the image or the mark has its id, also if the image was renamed.
//! The mark is removed when the image has left the trash: it was purged, or an administrator restored it.
//!
//! An image of this SR in the trash that has no mark was moved there by hand, or by a version
//! before 0.1.0. It is listed, and left alone. So is a marked one that a key of the catalogue names.

use std::cell::LazyCell;

use nix::libc;

use super::named::{Named, Reason};
use super::pending::{Blocker, Kind, Pending};
use crate::catalogue::{image_prefix, records, Stored, VDI_PREFIX};
use crate::error::{Changed, Context, Result};
use crate::pool::spec::as_option;
use crate::pool::{Entries, PoolError, Progress, Transaction, TrashedImage};
use crate::record::{ImageRef, Record, TrashRecord};
use crate::CephSr;

/// Prefix of the keys of images that smblock moved to the trash.
pub(crate) const TRASH_PREFIX: &str = "trash.";

fn trash_key(image_id: &str) -> String {
    format!("{TRASH_PREFIX}{image_id}")
}

/// What the trash holds of an SR.
#[derive(Default)]
pub(super) struct Trash {
    /// Its images there.
    pub pending: Vec<Pending>,
    /// The marks of images that are not there any more.
    pub gone: Vec<Stored<TrashRecord>>,
}

impl Transaction {
    /// Marks an image as one that smblock has moved to the trash.
    pub(crate) fn mark_trashed(self, image: &ImageRef) -> Self {
        let mut mark = TrashRecord::new(image.clone());
        self.put(trash_key(&image.id), mark.seal())
    }
}

impl CephSr<'_> {
    /// This SR's images in the trash: those that have its name, and those that have a mark.
    #[cfg(feature = "sim")]
    pub fn trashed_images(&self) -> Result<Vec<TrashedImage>> {
        self.trashed_among(&self.catalogue.read()?)
    }

    fn trashed_among(&self, entries: &Entries) -> Result<Vec<TrashedImage>> {
        let prefix = image_prefix(&self.sr);
        let mut trashed = self.pool.trash().doing("listing the trash")?;
        trashed.retain(|image| {
            image.name.starts_with(&prefix) || entries.contains_key(&trash_key(&image.id))
        });
        Ok(trashed)
    }

    /// This SR's images in the trash: those that are still to be freed, and those that smblock does not free.
    pub(crate) fn split_trashed(
        &self,
        entries: &Entries,
    ) -> Result<(Vec<TrashedImage>, Vec<TrashedImage>)> {
        let trashed = self.trashed_among(entries)?.into_iter();
        Ok(trashed.partition(|image| mark_of(&image.id, entries).is_some()))
    }

    /// Returns what the trash holds. `entries`: the catalogue's, read before the trash.
    pub(super) fn look_at_trash(&self, entries: &Entries) -> Result<Trash> {
        let trashed = self.trashed_among(entries)?;
        // Finding what the catalogue names parses all of it. Most scans find an empty trash.
        let named = LazyCell::new(|| Named::by(entries));
        let is_there = |id: &String| trashed.iter().any(|image| image.id == *id);
        let mut gone: Vec<_> = records::<TrashRecord>(entries, TRASH_PREFIX).collect();
        gone.retain(|mark| !is_there(&mark.record.image.id));
        let pending = trashed.into_iter();
        let pending = pending.filter_map(|image| self.trashed(image, entries, &named));
        Ok(Trash {
            pending: pending.collect(),
            gone,
        })
    }

    /// What is to be done about an image in the trash. `None`: an operation under way, or a hidden image's
    /// key, covers it.
    fn trashed(&self, image: TrashedImage, entries: &Entries, named: &Named) -> Option<Pending> {
        let key = trash_key(&image.id);
        let readable = mark_of(&image.id, entries).is_some();
        let pool = self.pool.spec();
        let id = image.id.clone();
        let kind = if entries.contains_key(&key) {
            Kind::Trashed
        } else {
            Kind::TrashedOutside
        };
        let waits_for = match named.reason_to_keep(&image.id, &image.name) {
            Some(Reason::NamedBy(key)) if !key.starts_with(VDI_PREFIX) => return None,
            Some(Reason::NamedBy(_)) if image.migrating => {
                Some(Blocker::Migrating(self.images.migrating(&image.name)))
            }
            Some(Reason::NamedBy(key)) => Some(Blocker::Named { key, pool, id }),
            _ if kind == Kind::TrashedOutside => Some(Blocker::Outside { pool, id }),
            Some(Reason::Unreadable(key)) => Some(Blocker::unreadable(
                &self.catalogue,
                &self.pool.spec(),
                key,
                entries,
            )),
            None if readable => None,
            None => Some(Blocker::unreadable(
                &self.catalogue,
                &self.pool.spec(),
                key,
                entries,
            )),
        };
        let image = ImageRef {
            name: image.name,
            id: image.id,
        };
        Some(Pending {
            waits_for,
            ..kind.of(&image)
        })
    }

    /// Checks again which images may be purged, right before that. Returns the mark of each.
    pub(super) fn purgeable(
        &self,
        images: &[ImageRef],
    ) -> Result<Vec<Option<Stored<TrashRecord>>>> {
        let entries = self.catalogue.read()?;
        let named = Named::by(&entries);
        let marks = images.iter().map(|image| {
            let kept = named.reason_to_keep(&image.id, &image.name);
            mark_of(&image.id, &entries).filter(|_| kept.is_none())
        });
        Ok(marks.collect())
    }

    /// Removes the images that must not be purged.
    pub(super) fn without_needed(&self, mut pending: Vec<Pending>) -> Result<Vec<Pending>> {
        let purges = pending.iter().filter(|each| each.kind == Kind::Trashed);
        let images: Vec<_> = purges.map(|each| each.image.clone()).collect();
        if images.is_empty() {
            return Ok(pending);
        }
        let mut marks = self.purgeable(&images)?.into_iter();
        pending.retain(|each| each.kind != Kind::Trashed || marks.next().flatten().is_some());
        Ok(pending)
    }

    /// Purges an image in the trash, and removes its mark.
    pub(super) fn purge(&self, image: &ImageRef, progress: Progress<'_>) -> Result<()> {
        let doing = format!("freeing image {}", image.name);
        let mark = self.purgeable(std::slice::from_ref(image))?.remove(0);
        let mark = mark.ok_or_else(|| Changed::Trashed {
            image: image.name.clone(),
            id: image.id.clone(),
        })?;
        match self.images.purge_outside_group(image, progress)? {
            Err(e) if e.is_not_found() => {} // ceph-mgr was faster
            other => other
                .map_err(|e| self.with_remedy(&image.id, e))
                .doing(&doing)?,
        }
        self.forget_marks(&[mark])
    }

    /// Removes the marks of images that have left the trash.
    pub(super) fn forget_marks(&self, marks: &[Stored<TrashRecord>]) -> Result<()> {
        if marks.is_empty() {
            return Ok(());
        }
        let transaction = marks
            .iter()
            .fold(Transaction::default(), |transaction, mark| {
                let key = trash_key(&mark.record.image.id);
                transaction.expect(key.clone(), Some(mark)).erase(key)
            });
        // If the swap does not apply, another process has removed one of them; the next scan removes
        // the others.
        self.catalogue
            .commit("removing the marks of images that are freed", &transaction)?;
        Ok(())
    }

    fn with_remedy(&self, id: &str, error: PoolError) -> PoolError {
        let pool = as_option(&self.pool.spec());
        let remedy = match error.errno {
            libc::EBUSY => format!("a client has it open: 'rados --pool {pool} listwatchers rbd_header.{id}' shows which; the watch of a dead client ends within 30 s"),
            libc::ENOTEMPTY => format!("it has snapshots: 'rbd snap ls --all --pool {pool} --image-id {id}' lists them"),
            _ => return error,
        };
        PoolError {
            detail: Some(remedy),
            ..error
        }
    }
}

/// The mark of an image, if it has one that can be read.
fn mark_of(id: &str, entries: &Entries) -> Option<Stored<TrashRecord>> {
    let value = entries.get(&trash_key(id))?;
    let mark = Stored::<TrashRecord>::parse(value.clone()).ok()?;
    (mark.record.image.id == id).then_some(mark)
}
