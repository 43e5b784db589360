//! Deleting an SR, which must be empty.
//!
//! 1. The SR's record is marked. Every creation expects the record as it was read, so nothing can be created
//!    from now on.
//! 2. The SR is looked at again. If anything is left, the mark is removed.
//! 3. The catalogue object is removed, if it has this very mark, then the key in the pool's directory. A
//!    removal that arrives late, when the SR is in use again, finds another record.
//!
//! A crash leaves a marked SR, which can be deleted again, or attached and used again; or a directory key
//! without a catalogue, which is no SR. Only what has this SR's UUID is touched: never the pool, never an
//! image.

use crate::catalogue::{
    directory_key, image_prefix, with_prefix, DIRECTORY, INTENT_PREFIX, SR_KEY, VDI_PREFIX,
};
use crate::error::{Context, Error, Result};
use crate::pool::spec::as_option;
use crate::pool::{Entries, Transaction, TrashedImage};
use crate::size::Size;
use crate::CephSr;

/// How many images an error names.
const NAMED: usize = 5;

impl CephSr<'_> {
    /// Deletes an SR without VDIs. One that does not exist counts as deleted.
    pub fn delete_sr(&self) -> Result<()> {
        self.collect_garbage_before_deletion();
        while !self.remove_catalogue()? {
            log::info!("SR {} was changed while it was being deleted", self.sr);
        }
        let transaction = Transaction::default().erase(directory_key(&self.sr));
        match self.pool.transaction(DIRECTORY, &transaction) {
            Err(e) if e.is_not_found() => Ok(()),
            other => other.doing("removing the SR from the pool's directory"),
        }
    }

    /// Removes the catalogue. Returns `false` if the SR's record was changed after it was marked: look again.
    fn remove_catalogue(&self) -> Result<bool> {
        let marked = match self.catalogue.mark_deleting(true) {
            Err(Error::SrMissing { .. }) => return Ok(true),
            other => other?,
        };
        if let Err(refusal) = self.require_empty() {
            if let Err(e) = self.catalogue.mark_deleting(false) {
                log::warn!("SR {} stays marked until it is attached: {e}", self.sr);
            }
            return Err(refusal);
        }
        let expect = Entries::from([(SR_KEY.to_owned(), marked.bytes)]);
        match self.pool.remove_object(&self.catalogue.object(), &expect) {
            Err(e) if e.is_not_found() => Ok(true),
            Err(e) if e.is_compare_failed() => Ok(false),
            other => other
                .map(|()| true)
                .doing(&format!("removing the catalogue of SR {}", self.sr)),
        }
    }

    /// An image that only waits for others must not prevent the deletion of the SR.
    fn collect_garbage_before_deletion(&self) {
        let entries = self.catalogue.read();
        let entries = entries.and_then(|entries| match self.drop_all_prepared(&entries)? {
            true => self.catalogue.read(),
            false => Ok(entries),
        });
        let tidied = entries.and_then(|entries| {
            let lineages = self.drop_lineages(&entries);
            self.collect_garbage(&entries, || self.usage())
                .and(lineages)
        });
        if let Err(e) = tidied {
            log::warn!("SR {}: cleanup postponed: {e}", self.sr);
        }
    }

    fn require_empty(&self) -> Result<()> {
        let entries = self.catalogue.read()?;
        let count = |prefix| with_prefix(&entries, prefix).count();
        let (vdis, operations) = (count(VDI_PREFIX), count(INTENT_PREFIX));
        let prefix = image_prefix(&self.sr);
        let images = self.pool.images().doing("listing the pool's images")?;
        let images = images.values().filter(|n| n.starts_with(&prefix)).count();
        let (freed, kept) = self.split_trashed(&entries)?;
        let trashed = freed.len() + kept.len();
        if (vdis, operations, images, trashed) == (0, 0, 0, 0) {
            return Ok(());
        }
        Err(Error::SrNotEmpty {
            sr: self.sr,
            vdis,
            operations,
            images,
            trashed,
            outside: self.advise_on_trash(&freed, &kept),
        })
    }

    /// Lists the images in the trash that are still to be freed, and what to do about those that smblock has
    /// not moved there and does not free.
    fn advise_on_trash(&self, freed: &[TrashedImage], kept: &[TrashedImage]) -> String {
        let pool = as_option(&self.pool.spec());
        let mut advice = String::new();
        if !freed.is_empty() {
            let names = freed.iter().take(NAMED).map(|image| {
                let (name, id) = (&image.name, &image.id);
                match self.pool.size(id) {
                    Ok(size) => format!("{name} (id {id}, {})", Size(size)),
                    Err(_) => format!("{name} (id {id})"), // it was freed in between
                }
            });
            let names: Vec<_> = names.collect();
            advice += &format!(". Still to be freed: {}", names.join(", "));
            if freed.len() > NAMED {
                advice += &format!(" and {} more", freed.len() - NAMED);
            }
        }
        if !kept.is_empty() {
            let remove = kept.iter();
            let remove = remove.map(|image| format!("'rbd trash rm --pool {pool} {}'", image.id));
            let remove: Vec<_> = remove.collect();
            advice += &format!(
                ". {} of those in the trash were moved there outside smblock, which does not free them: remove each with its data ({}), or restore and rename it",
                kept.len(),
                remove.join(", ")
            );
        }
        advice
    }
}
