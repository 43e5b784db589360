//! Finding what is still to be done before all space is freed.

use std::cell::LazyCell;

use super::named::Named;
use super::pending::{Blocker, Kind, Pending};
use super::trash::Trash;
use crate::catalogue::{records, vdis_if, HIDDEN_PREFIX};
use crate::cbt::BIRTH;
use crate::chain::SOFT_DEPTH;
use crate::error::{Context, Error, Result};
use crate::pool::Entries;
use crate::record::{HiddenRecord, ImageRef, VdiRecord};
use crate::CephSr;

impl CephSr<'_> {
    /// Returns what is still to be done, and what waits. Changes nothing.
    pub fn pending(&self) -> Result<Vec<Pending>> {
        let entries = self.catalogue.read()?;
        let mut pending = self.pending_among(self.look_at_trash(&entries)?, &entries, true)?;
        for each in &mut pending {
            each.size = self.size_of(each)?;
        }
        // The smallest first: a large one takes hours, and the others do not wait for it.
        pending.sort_by_key(|each| each.size);
        Ok(pending)
    }

    /// Returns what can be done now, without the sizes. Opens no image. Changes nothing.
    pub(crate) fn pending_now(&self, entries: &Entries) -> Result<Vec<Pending>> {
        let mut pending = self.pending_among(self.look_at_trash(entries)?, entries, false)?;
        pending.retain(|each| each.waits_for.is_none());
        Ok(pending)
    }

    /// The virtual size of what is pending.
    pub(crate) fn size_of(&self, pending: &Pending) -> Result<u64> {
        if !matches!(pending.kind, Kind::Trashed | Kind::LongChain { .. }) {
            return Ok(pending.size);
        }
        match self.pool.size(&pending.image.id) {
            Err(e) if e.is_not_found() => Ok(0),
            other => other.doing(&format!("reading the size of image {}", pending.image.name)),
        }
    }

    /// `waiting`: also the hidden images that only wait for their snapshots, each with what blocks it. That
    /// takes opening the image.
    pub(super) fn pending_among(
        &self,
        trash: Trash,
        entries: &Entries,
        waiting: bool,
    ) -> Result<Vec<Pending>> {
        let mut pending = trash.pending;
        let named = LazyCell::new(|| Named::by(entries));
        for hidden in records::<HiddenRecord>(entries, HIDDEN_PREFIX) {
            let mut hidden = self.hidden(&hidden.record.image, entries, waiting)?;
            if let (Some(key), Some(hidden)) = (named.unreadable(), &mut hidden) {
                hidden.waits_for = Some(Blocker::unreadable(
                    &self.catalogue,
                    &self.pool.spec(),
                    key.to_owned(),
                    entries,
                ));
            }
            pending.extend(hidden);
        }
        for disk in vdis_if(entries, |vdi| vdi.depth > SOFT_DEPTH) {
            if disk.record.volume.snapshot().is_some() {
                continue;
            }
            let VdiRecord { uuid, depth, .. } = disk.record;
            let kind = Kind::LongChain { vdi: uuid, depth };
            pending.push(Pending {
                waits_for: self.who_prevents_flattening(&disk.record)?,
                ..kind.of(disk.record.volume.image())
            });
        }
        Ok(pending)
    }

    /// A disk that a kernel has mapped could be flattened, but that takes the image's lock from the kernel again
    /// and again: a running VM would be slow. A snapshot that has clones must not be older than a flatten of its
    /// image: see `flatten.rs`.
    pub(super) fn who_prevents_flattening(&self, disk: &VdiRecord) -> Result<Option<Blocker>> {
        if let Some(claim) = &disk.claim {
            let host = claim.owner.host.clone();
            return Ok(Some(Blocker::InUse { host }));
        }
        let image = disk.volume.image();
        let users = match self.pool.users(&image.id) {
            Err(e) if e.is_not_found() => return Ok(None),
            other => other.doing(&format!("looking at the snapshots of image {}", image.name))?,
        };
        let cloned = users.snapshots.iter().filter(|s| s.name != BIRTH).count();
        Ok((cloned > 0).then_some(Blocker::OwnSnapshots { count: cloned }))
    }

    fn hidden(
        &self,
        image: &ImageRef,
        entries: &Entries,
        waiting: bool,
    ) -> Result<Option<Pending>> {
        let doing = format!("looking at hidden image {}", image.name);
        let (size, snapshots) = match self.pool.header(&image.id) {
            Ok(header) => (header.size, header.snapshots),
            Err(e) if e.is_not_found() => match self.images.moved_to(image) {
                Ok(None) => (0, 0),
                // The next scan records the image's new id, when that is possible.
                Ok(Some(_)) | Err(Error::ByHand(_)) => return Ok(None),
                Err(e) => return Err(e),
            },
            Err(e) => return Err(e).doing(&doing),
        };
        let kind = Kind::Hidden { size, snapshots };
        let waits_for = match (size, snapshots) {
            (0, 1..) if !waiting => return Ok(None),
            (0, 1..) => match self.pool.users(&image.id) {
                Err(e) if e.is_not_found() => return Ok(None), // freed in between
                users => Some(self.who_needs(image, &users.doing(&doing)?.snapshots, entries)?),
            },
            _ => self.who_has_open(image)?,
        };
        Ok(Some(Pending {
            waits_for,
            ..kind.of(image)
        }))
    }

    fn who_has_open(&self, image: &ImageRef) -> Result<Option<Blocker>> {
        let watchers = match self.pool.watchers(&image.id) {
            Err(e) if e.is_not_found() => return Ok(None),
            other => other.doing(&format!("listing the watchers of image {}", image.name))?,
        };
        let first = watchers.into_iter().next();
        Ok(first.map(|watcher| Blocker::Open {
            address: watcher.address,
        }))
    }
}
