//! The catalogue: one RADOS object per SR, with an omap key for the SR, for each VDI and for each
//! operation under way. Every change is one compare-and-swap.
//!
//! | key            | value                                       |
//! |----------------|---------------------------------------------|
//! | `sr`           | [`SrRecord`]                                |
//! | `vdi.<uuid>`   | [`VdiRecord`](crate::record::VdiRecord)     |
//! | `op.<uuid>`    | [`Intent`](crate::record::Intent), by VDI   |
//! | `hidden.<id>`  | [`HiddenRecord`](crate::record::HiddenRecord), by image |
//! | `lineage.<id>` | [`LineageRecord`](crate::record::LineageRecord), by image |
//! | `host.<uuid>`  | [`HostRecord`], by host: its boot, and whether it was declared dead |
//! | `reader.<image id>.<host>.<vdi>` | [`ReaderRecord`](crate::record::ReaderRecord): a read-only map on an old kernel |
//! | `prepared.<uuid>` | [`PreparedRecord`](crate::record::PreparedRecord), by disk |
//! | `trash.<id>`   | [`TrashRecord`](crate::record::TrashRecord), by image |
//! | `worker`       | the reclaim worker of the SR, see `sr/reclaim/lease.rs` |
//! | `utilisation`  | the last count of the disks' objects, see `sr/utilisation.rs` |
//!
//! A second object, [`DIRECTORY`], one per pool, names the SRs that live there.

pub(crate) mod keys;
mod sr;
mod stored;

use uuid::Uuid;

pub use self::keys::{catalogue_object, image_prefix, DIRECTORY};
pub(crate) use self::keys::{
    directory_key, hidden_key, host_key, intent_key, lineage_key, prepared_key, reader_prefix,
    vdi_key, HIDDEN_PREFIX, HOST_PREFIX, INTENT_PREFIX, LINEAGE_PREFIX, PREPARED_PREFIX, SR_KEY,
    VDI_PREFIX,
};
pub(crate) use self::stored::{
    disks, records, records_by_key, vdis_if, with_prefix, Entry, Stored,
};

use crate::error::{Context, Error, Result};
use crate::pool::{Entries, Pool, PoolError, Transaction};
use crate::record::{HostRecord, Unreadable, VdiRecord};

/// The catalogue of one SR: its keys and records. It contains no operation.
#[derive(Clone, Copy)]
pub(crate) struct Catalogue<'a> {
    pool: &'a dyn Pool,
    sr: Uuid,
}

impl<'a> Catalogue<'a> {
    /// The catalogue of that SR. It need not exist yet.
    pub(crate) fn new(pool: &'a dyn Pool, sr: Uuid) -> Self {
        Catalogue { pool, sr }
    }

    /// The SR.
    pub(crate) fn sr(&self) -> Uuid {
        self.sr
    }

    /// The name of its object.
    pub(crate) fn object(&self) -> String {
        catalogue_object(&self.sr)
    }

    /// Reads all entries of the catalogue. Fails if the object does not exist: that is not an empty SR.
    pub(crate) fn read(&self) -> Result<Entries> {
        self.pool
            .read(&self.object(), "")
            .map_err(|e| self.catalogue_error(e))
    }

    /// Reads those of these keys that exist.
    pub(crate) fn read_keys(&self, keys: &[&str]) -> Result<Entries> {
        let read = self.pool.get(&self.object(), keys);
        read.map_err(|e| self.catalogue_error(e))
    }

    /// Reads what the catalogue has about a VDI.
    pub(crate) fn entry(&self, vdi: &Uuid) -> Result<Entry> {
        let mut entries =
            self.read_keys(&[SR_KEY, &vdi_key(vdi), &intent_key(vdi), &prepared_key(vdi)])?;
        self.take_entry(vdi, &mut entries)
    }

    /// Reads what the catalogue has about several VDIs, in one operation. A result for each, in their order.
    pub(crate) fn entries(&self, vdis: &[Uuid]) -> Result<Vec<Result<Entry>>> {
        let keys = vdis
            .iter()
            .flat_map(|vdi| [vdi_key(vdi), intent_key(vdi), prepared_key(vdi)]);
        let keys: Vec<_> = keys.chain([SR_KEY.to_owned()]).collect();
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let entries = self.read_keys(&keys)?;
        let each = vdis.iter();
        let each = each.map(|vdi| self.take_entry(vdi, &mut entries.clone()));
        Ok(each.collect())
    }

    /// Reads what the catalogue has about a VDI and about a host, in one operation.
    pub(crate) fn entry_and_host(
        &self,
        vdi: &Uuid,
        host: &str,
    ) -> Result<(Entry, Option<Stored<HostRecord>>)> {
        let key = host_key(host);
        let mut entries = self.read_keys(&[SR_KEY, &vdi_key(vdi), &intent_key(vdi), &key])?;
        let bytes = entries.remove(&key);
        let host = bytes.map(Stored::parse).transpose();
        let host = host.map_err(|source| self.damaged(&key, source))?;
        Ok((self.take_entry(vdi, &mut entries)?, host))
    }

    fn take_entry(&self, vdi: &Uuid, entries: &mut Entries) -> Result<Entry> {
        let (vdi_key, intent_key) = (vdi_key(vdi), intent_key(vdi));
        let damaged = |key: &str| {
            let key = key.to_owned();
            move |source| self.damaged(&key, source)
        };
        let sr = entries
            .remove(SR_KEY)
            .ok_or_else(|| damaged(SR_KEY)(Unreadable::Malformed("the key is missing".into())))?;
        let parse_vdi = |bytes| Stored::parse(bytes).map_err(damaged(&vdi_key));
        let parse_intent = |bytes| Stored::parse(bytes).map_err(damaged(&intent_key));
        Ok(Entry {
            sr: Stored::parse(sr).map_err(damaged(SR_KEY))?,
            vdi: entries.remove(&vdi_key).map(parse_vdi).transpose()?,
            intent: entries.remove(&intent_key).map(parse_intent).transpose()?,
            prepared: entries.remove(&prepared_key(vdi)),
        })
    }

    /// Applies one compare-and-swap to the catalogue. Returns `false` if an expectation did not hold.
    ///
    /// If the reply is lost, the catalogue is read again. Each written value has its own nonce, so finding
    /// the values shows that the swap was applied. If they are not there, the swap is sent once more. If both
    /// requests arrive, the second one finds values that it does not expect, and changes nothing. If the
    /// second reply is lost too, the outcome is unknown: this is an error, and the journal's entry stays for
    /// recovery.
    pub(crate) fn commit(&self, doing: &str, transaction: &Transaction) -> Result<bool> {
        let object = self.object();
        match self.pool.transaction(&object, transaction) {
            Ok(()) => Ok(true),
            Err(e) if e.is_compare_failed() => Ok(false),
            Err(e) if e.is_outcome_unknown() => self.commit_again(doing, transaction, e),
            Err(e) => Err(e).doing(doing),
        }
    }

    fn commit_again(
        &self,
        doing: &str,
        transaction: &Transaction,
        lost: PoolError,
    ) -> Result<bool> {
        log::warn!(
            "{doing}: {lost}; reading the catalogue to find out whether the change was applied"
        );
        if self.was_applied(transaction) {
            return Ok(true);
        }
        match self.pool.transaction(&self.object(), transaction) {
            Ok(()) => Ok(true),
            // The first request arrived after all, or another process has changed the values.
            Err(e) if e.is_compare_failed() => Ok(self.was_applied(transaction)),
            Err(_) => Err(lost).doing(doing),
        }
    }

    fn was_applied(&self, transaction: &Transaction) -> bool {
        let keys: Vec<&str> = transaction
            .set
            .keys()
            .chain(&transaction.remove)
            .map(String::as_str)
            .collect();
        match self.pool.get(&self.object(), &keys) {
            Ok(found) => found == transaction.set,
            Err(e) => {
                log::warn!("cannot read {} again: {e}", self.object());
                false
            }
        }
    }

    fn catalogue_error(&self, source: PoolError) -> Error {
        if source.is_not_found() {
            Error::SrMissing {
                sr: self.sr,
                pool: self.pool.spec(),
            }
        } else {
            Error::Ceph {
                doing: format!("reading the catalogue of SR {}", self.sr),
                source,
            }
        }
    }

    /// The error for a value that cannot be read.
    pub(crate) fn damaged(&self, key: &str, source: Unreadable) -> Error {
        Error::Damaged {
            sr: self.sr,
            pool: self.pool.spec(),
            key: key.to_owned(),
            source,
        }
    }

    /// Returns the VDI's record, which must exist.
    pub(crate) fn present<'e>(
        &self,
        entry: &'e Entry,
        vdi: &Uuid,
    ) -> Result<&'e Stored<VdiRecord>> {
        entry.vdi.as_ref().ok_or(Error::VdiMissing {
            sr: self.sr,
            vdi: *vdi,
        })
    }
}
