//! The catalogue: one RADOS object per SR, with an omap key for the SR, for each VDI and for each
//! operation under way. Every change is one compare-and-swap.
//!
//! | key            | value                                       |
//! |----------------|---------------------------------------------|
//! | `sr`           | [`SrRecord`]                                |
//! | `vdi.<uuid>`   | [`VdiRecord`](crate::record::VdiRecord)     |
//! | `op.<uuid>`    | [`Intent`](crate::record::Intent), by VDI   |
//! | `hidden.<id>`  | [`HiddenRecord`](crate::record::HiddenRecord), by image |
//! | `host.<uuid>`  | [`HostRecord`], by host: its boot, and whether it was declared dead |
//! | `reader.<image id>.<host>.<vdi>` | [`ReaderRecord`](crate::record::ReaderRecord): a read-only map on an old kernel |
//! | `trash.<id>`   | [`TrashRecord`](crate::record::TrashRecord), by image |
//! | `worker`       | who frees the SR's space at the moment, see `sr/reclaim/lease.rs` |
//!
//! A second object, [`DIRECTORY`], one per pool, names the SRs that live there.

use uuid::Uuid;

use crate::cluster::{ClusterError, Entries, Swap};
use crate::error::{Context, Error, Result};
use crate::record::{HostRecord, Intent, Record, SrRecord, Unreadable, VdiRecord};
use crate::Repository;

/// The object that lists the SRs of a pool: an omap key `sr.<uuid>` for each.
pub const DIRECTORY: &str = "smblock.directory";
/// The catalogue's key for the SR itself.
pub(crate) const SR_KEY: &str = "sr";
/// What the keys of VDIs start with.
pub(crate) const VDI_PREFIX: &str = "vdi.";
/// What the keys of operations under way start with.
pub(crate) const INTENT_PREFIX: &str = "op.";

/// Name of an SR's catalogue object.
pub fn catalogue_object(sr: &Uuid) -> String {
    format!("smblock.sr.{sr}")
}

/// What the names of all images of an SR start with.
pub fn image_prefix(sr: &Uuid) -> String {
    format!("smblock.{sr}.")
}

/// The directory's key for an SR.
pub(crate) fn directory_key(sr: &Uuid) -> String {
    format!("sr.{sr}")
}

/// What the keys of hidden images start with.
pub(crate) const HIDDEN_PREFIX: &str = "hidden.";

pub(crate) fn hidden_key(image_id: &str) -> String {
    format!("{HIDDEN_PREFIX}{image_id}")
}

/// The key of a host, by its UUID in XAPI.
pub(crate) fn host_key(host: &str) -> String {
    format!("host.{host}")
}

/// What the keys of an image's readers start with.
pub(crate) fn reader_prefix(image_id: &str) -> String {
    format!("reader.{image_id}.")
}

pub(crate) fn vdi_key(vdi: &Uuid) -> String {
    format!("{VDI_PREFIX}{vdi}")
}

pub(crate) fn intent_key(vdi: &Uuid) -> String {
    format!("{INTENT_PREFIX}{vdi}")
}

/// A record together with the bytes it was read from, which a compare-and-swap expects.
#[derive(Debug, Clone)]
pub(crate) struct Stored<T> {
    pub bytes: Vec<u8>,
    pub record: T,
}

impl<T: Record> Stored<T> {
    pub fn parse(bytes: Vec<u8>) -> std::result::Result<Self, Unreadable> {
        let record = T::parse(&bytes)?;
        Ok(Stored { bytes, record })
    }
}

/// What the catalogue says about one VDI, read in one operation.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub sr: Stored<SrRecord>,
    pub vdi: Option<Stored<VdiRecord>>,
    pub intent: Option<Stored<Intent>>,
}

/// A catalogue's entries whose keys start with `prefix`.
pub(crate) fn under<'e>(
    entries: &'e Entries,
    prefix: &'static str,
) -> impl Iterator<Item = (&'e String, &'e Vec<u8>)> {
    let keys = entries.range(prefix.to_owned()..);
    keys.take_while(move |(key, _)| key.starts_with(prefix))
}

/// The records under `prefix`. What cannot be read is left out: the scan reports it.
pub(crate) fn records<'e, T: Record>(
    entries: &'e Entries,
    prefix: &'static str,
) -> impl Iterator<Item = Stored<T>> + 'e {
    under(entries, prefix).filter_map(|(_, value)| Stored::parse(value.clone()).ok())
}

/// The records under `prefix`, each with its key.
pub(crate) fn records_under<'e, T: Record>(
    entries: &'e Entries,
    prefix: &'static str,
) -> impl Iterator<Item = (&'e String, Stored<T>)> + 'e {
    under(entries, prefix)
        .filter_map(|(key, value)| Some((key, Stored::parse(value.clone()).ok()?)))
}

impl Swap {
    /// Expects the key to hold what was read.
    pub(crate) fn expect<T>(mut self, key: String, stored: Option<&Stored<T>>) -> Self {
        self.expect.insert(key, stored.map(|s| s.bytes.clone()));
        self
    }

    /// Writes a record, with a fresh nonce.
    pub(crate) fn write<T: Record>(self, key: String, record: &mut T) -> Self {
        self.put(key, record.seal())
    }

    /// Writes a value.
    pub(crate) fn put(mut self, key: String, value: Vec<u8>) -> Self {
        self.set.insert(key, value);
        self
    }

    /// Removes a key.
    pub(crate) fn erase(mut self, key: String) -> Self {
        self.remove.push(key);
        self
    }
}

impl Repository<'_> {
    pub(crate) fn object(&self) -> String {
        catalogue_object(&self.sr)
    }

    /// Every entry of the catalogue. A missing object is an error, never an empty SR.
    pub(crate) fn read_catalogue(&self) -> Result<Entries> {
        self.cluster
            .read(&self.object(), "")
            .map_err(|e| self.catalogue_error(e))
    }

    /// These keys of the catalogue, as far as they exist.
    pub(crate) fn read_keys(&self, keys: &[&str]) -> Result<Entries> {
        let read = self.cluster.get(&self.object(), keys);
        read.map_err(|e| self.catalogue_error(e))
    }

    /// What the catalogue has about a VDI.
    pub(crate) fn entry(&self, vdi: &Uuid) -> Result<Entry> {
        let mut entries = self.read_keys(&[SR_KEY, &vdi_key(vdi), &intent_key(vdi)])?;
        self.take_entry(vdi, &mut entries)
    }

    /// What the catalogue has about a VDI, and about a host, at one moment.
    pub(crate) fn entry_and_host(
        &self,
        vdi: &Uuid,
        host: &str,
    ) -> Result<(Entry, Option<Stored<HostRecord>>)> {
        let key = host_key(host);
        let mut entries = self.read_keys(&[SR_KEY, &vdi_key(vdi), &intent_key(vdi), &key])?;
        let bytes = entries.remove(&key);
        let host = bytes.map(Stored::parse).transpose();
        let host = host.map_err(|source| Error::Damaged {
            sr: self.sr,
            pool: self.cluster.pool_name().to_owned(),
            key,
            source,
        })?;
        Ok((self.take_entry(vdi, &mut entries)?, host))
    }

    fn take_entry(&self, vdi: &Uuid, entries: &mut Entries) -> Result<Entry> {
        let (vdi_key, intent_key) = (vdi_key(vdi), intent_key(vdi));
        let damaged = |key: &str| {
            let key = key.to_owned();
            move |source| Error::Damaged {
                sr: self.sr,
                pool: self.cluster.pool_name().to_owned(),
                key,
                source,
            }
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
        })
    }

    /// Applies one compare-and-swap to the catalogue: `false` where an expectation did not hold.
    ///
    /// Where the reply is lost, the catalogue is read again: the values written carry a nonce, so
    /// finding them proves that the swap was applied. Where they are not there, it is sent once
    /// more: whichever of the two comes second finds other values than it expects. If that reply
    /// is lost too, nobody can say what will be: that is an error, and what the journal holds
    /// stays for whoever takes over.
    pub(crate) fn commit(&self, doing: &str, swap: &Swap) -> Result<bool> {
        let object = self.object();
        match self.cluster.swap(&object, swap) {
            Ok(()) => Ok(true),
            Err(e) if e.is_compare_failed() => Ok(false),
            Err(e) if e.is_outcome_unknown() => self.commit_again(doing, swap, e),
            Err(e) => Err(e).doing(doing),
        }
    }

    fn commit_again(&self, doing: &str, swap: &Swap, lost: ClusterError) -> Result<bool> {
        log::warn!("{doing}: {lost}; looking whether it was applied");
        if self.was_applied(swap) {
            return Ok(true);
        }
        match self.cluster.swap(&self.object(), swap) {
            Ok(()) => Ok(true),
            // The first request arrived between the look and the second one; or somebody else's.
            Err(e) if e.is_compare_failed() => Ok(self.was_applied(swap)),
            Err(_) => Err(lost).doing(doing),
        }
    }

    fn was_applied(&self, swap: &Swap) -> bool {
        let keys: Vec<&str> = swap
            .set
            .keys()
            .chain(&swap.remove)
            .map(String::as_str)
            .collect();
        match self.cluster.get(&self.object(), &keys) {
            Ok(found) => found == swap.set,
            Err(e) => {
                log::warn!("cannot read {} again: {e}", self.object());
                false
            }
        }
    }

    fn catalogue_error(&self, source: ClusterError) -> Error {
        if source.is_not_found() {
            Error::SrMissing {
                sr: self.sr,
                pool: self.cluster.pool_name().to_owned(),
            }
        } else {
            Error::Cluster {
                doing: format!("reading the catalogue of SR {}", self.sr),
                source,
            }
        }
    }
}
