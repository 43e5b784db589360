//! Hidden images: the data of their heads is freed, then they wait until their snapshots are gone.
//!
//! To free the data of a clone's head, librbd deletes each object that the clone shares with its parent. If
//! the clone has a snapshot, an object that has data neither in the clone nor in the parent becomes a
//! *whiteout*: an object without data that keeps its name. Ceph does not remove whiteouts with the snapshot,
//! and a purge removes only the objects within the image's size: none, if the image is empty. So the key of
//! the hidden image keeps the size of its head. Before the image is moved to the trash, it gets that size
//! back, which writes only its header. Until then the whiteouts stay ([decision 29]).
//!
//! [decision 29]: ../../../../../docs/decisions/0029-whiteouts-of-emptied-clones.md

use super::named::Named;
use super::pending::Blocker;
use crate::catalogue::{disks, hidden_key, Stored};
use crate::error::{Changed, Context, Error, Result};
use crate::pool::{Entries, Progress, Transaction};
use crate::record::{HiddenRecord, ImageRef};
use crate::CephSr;

impl CephSr<'_> {
    /// Frees the data of a hidden image's head, after checking again that it is no VDI's.
    pub(super) fn empty(&self, image: &ImageRef, progress: Progress<'_>) -> Result<()> {
        let doing = format!("freeing the data of hidden image {}", image.name);
        let entries = self.catalogue.read()?;
        let Some(hidden) = self.hidden_among(&entries, &image.id)? else {
            return Ok(()); // in the trash now
        };
        if let Some(key) = Named::by(&entries).unreadable() {
            let reason =
                Blocker::unreadable(&self.catalogue, &self.pool.spec(), key.to_owned(), &entries);
            let (image, reason) = (image.name.clone(), reason.to_string());
            return Err(Changed::Unreadable { image, reason }.into());
        }
        if disks(&entries).any(|disk| disk.record.volume.image().id == image.id) {
            return Err(Changed::Hidden {
                image: image.name.clone(),
                key: hidden_key(&image.id),
                pool: self.pool.spec(),
                catalogue: self.catalogue.object(),
            }
            .into());
        }
        if !self.note_size(hidden)? {
            return Ok(()); // the key has changed: the next look handles it
        }
        match self.pool.empty_image(&image.id, progress) {
            Err(e) if e.is_not_found() => Ok(()),
            other => other.doing(&doing),
        }
    }

    /// Stores the size of its head in the key of a hidden clone. Returns `false` if the key has changed.
    fn note_size(&self, hidden: Stored<HiddenRecord>) -> Result<bool> {
        let image = &hidden.record.image;
        let header = match self.pool.header(&image.id) {
            Err(e) if e.is_not_found() => return Ok(true),
            other => other.doing(&format!("looking at hidden image {}", image.name))?,
        };
        let noted = hidden.record.size.unwrap_or(0);
        if !header.has_parent || header.size <= noted {
            return Ok(true);
        }
        let mut record = hidden.record.clone();
        record.size = Some(header.size);
        let key = hidden_key(&image.id);
        let transaction = Transaction::default().expect(key.clone(), Some(&hidden));
        let doing = format!("noting the size of hidden image {}", image.name);
        self.catalogue
            .commit(&doing, &transaction.write(key, &mut record))
    }

    /// Moves a hidden image to the trash, if nothing depends on it any more. Returns the image if it did: the
    /// caller asks ceph-mgr to free it, after no intent names it any more.
    pub(crate) fn discard_if_free(&self, hidden: Stored<HiddenRecord>) -> Result<Option<ImageRef>> {
        if self.images.is_needed(&hidden.record.image)? {
            return Ok(None);
        }
        match self.trash_hidden(&hidden) {
            // A deletion does not fail because the pool is full: the next scan tries again.
            Err(Error::Ceph { source, .. }) if source.is_out_of_space() => Ok(None),
            Err(e @ Error::ByHand(_)) => {
                log::error!("{e}");
                Ok(None)
            }
            other => other.map(|()| Some(hidden.record.image)),
        }
    }

    /// Moves a hidden image that nothing depends on any more to the trash.
    pub(super) fn discard_hidden(&self, image: &ImageRef) -> Result<()> {
        match self.hidden_among(&self.catalogue.read()?, &image.id)? {
            None => Ok(()),
            Some(hidden) => self.trash_hidden(&hidden),
        }
    }

    fn trash_hidden(&self, hidden: &Stored<HiddenRecord>) -> Result<()> {
        let image = &hidden.record.image;
        if let Some(size) = hidden.record.size {
            self.restore_size(image, size)?;
        }
        self.images.leave_group(image)?;
        self.images.move_to_trash(image)?;
        let key = hidden_key(&image.id);
        let transaction = Transaction::default().expect(key.clone(), Some(hidden));
        let transaction = transaction.erase(key).mark_trashed(image);
        // If the swap does not apply, another process has done it.
        self.catalogue.commit(
            &format!("removing the key of hidden image {}", image.name),
            &transaction,
        )?;
        Ok(())
    }

    fn restore_size(&self, image: &ImageRef, size: u64) -> Result<()> {
        let doing = format!("giving hidden image {} its size back", image.name);
        match self.pool.header(&image.id) {
            Err(e) if e.is_not_found() => return Ok(()),
            Ok(header) if header.size >= size => return Ok(()),
            other => other.doing(&doing)?,
        };
        match self.pool.grow_image(&image.id, size) {
            Err(e) if e.is_not_found() => Ok(()),
            other => {
                let grown = other.doing(&doing);
                grown.map_err(|error| self.images.explain_refusal(image, error))
            }
        }
    }

    fn hidden_among(
        &self,
        entries: &Entries,
        image_id: &str,
    ) -> Result<Option<Stored<HiddenRecord>>> {
        let key = hidden_key(image_id);
        let value = entries.get(&key).cloned();
        let hidden = value.map(Stored::parse).transpose();
        hidden.map_err(|source| self.catalogue.damaged(&key, source))
    }
}
