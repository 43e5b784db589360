//! Records with the bytes that they were read from, and changes that expect these bytes.

use crate::pool::{Entries, Transaction};
use crate::record::{Intent, Record, SrRecord, Unreadable, VdiRecord};

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

/// What the catalogue has about one VDI, read in one operation.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub sr: Stored<SrRecord>,
    pub vdi: Option<Stored<VdiRecord>>,
    pub intent: Option<Stored<Intent>>,
    /// The value of its `prepared` key, which only few operations read.
    pub prepared: Option<Vec<u8>>,
}

/// Returns the entries whose keys start with `prefix`.
pub(crate) fn with_prefix<'e>(
    entries: &'e Entries,
    prefix: &'static str,
) -> impl Iterator<Item = (&'e String, &'e Vec<u8>)> {
    let keys = entries.range(prefix.to_owned()..);
    keys.take_while(move |(key, _)| key.starts_with(prefix))
}

/// Returns the records whose keys start with `prefix`. Unreadable ones are left out: a scan reports them.
pub(crate) fn records<'e, T: Record>(
    entries: &'e Entries,
    prefix: &'static str,
) -> impl Iterator<Item = Stored<T>> + 'e {
    with_prefix(entries, prefix).filter_map(|(_, value)| Stored::parse(value.clone()).ok())
}

/// As [`records`], each record with its key.
pub(crate) fn records_by_key<'e, T: Record>(
    entries: &'e Entries,
    prefix: &'static str,
) -> impl Iterator<Item = (&'e String, Stored<T>)> + 'e {
    with_prefix(entries, prefix)
        .filter_map(|(key, value)| Some((key, Stored::parse(value.clone()).ok()?)))
}

/// Returns the records of disks. Unreadable ones are left out: a scan reports them.
pub(crate) fn disks(entries: &Entries) -> impl Iterator<Item = Stored<VdiRecord>> + '_ {
    records(entries, super::VDI_PREFIX).filter(|stored: &Stored<VdiRecord>| {
        let volume = &stored.record.volume;
        volume.snapshot().is_none()
    })
}

impl Transaction {
    /// Expects the key to hold the bytes that were read.
    pub(crate) fn expect<T>(mut self, key: String, stored: Option<&Stored<T>>) -> Self {
        self.expect.insert(key, stored.map(|s| s.bytes.clone()));
        self
    }

    /// Writes a record, with a new nonce.
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
