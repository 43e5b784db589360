//! Records with the bytes that they were read from, and changes that expect these bytes.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::Deserialize;

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

/// A part of a VDI's record. Reading it takes a fraction of the time of the whole record, and no memory.
#[derive(Debug, Deserialize)]
pub(crate) struct Outline<'r> {
    /// As in the record.
    #[serde(default)]
    pub depth: u32,
    #[serde(default)]
    base: Option<IgnoredAny>,
    #[serde(borrow)]
    volume: OutlineOfVolume<'r>,
}

#[derive(Debug, Deserialize)]
struct OutlineOfVolume<'r> {
    #[serde(borrow)]
    image: OutlineOfImage<'r>,
}

#[derive(Debug, Deserialize)]
struct OutlineOfImage<'r> {
    #[serde(borrow)]
    id: Cow<'r, str>,
}

impl Outline<'_> {
    /// The id of the VDI's image.
    pub(crate) fn image_id(&self) -> &str {
        &self.volume.image.id
    }

    /// Whether the record names a base.
    pub(crate) fn has_base(&self) -> bool {
        self.base.is_some()
    }
}

/// Returns the records of VDIs whose outline matches. Only these are read as a whole: in a large SR most do not
/// match. Unreadable ones are left out, as by [`records`].
pub(crate) fn vdis_if<'e>(
    entries: &'e Entries,
    matches: impl Fn(&Outline<'_>) -> bool + 'e,
) -> impl Iterator<Item = Stored<VdiRecord>> + 'e {
    with_prefix(entries, super::VDI_PREFIX)
        .filter(move |(_, value)| match serde_json::from_slice(value) {
            Ok(outline) => matches(&outline),
            Err(_) => true, // the whole record shows whether it can be read
        })
        .filter_map(|(_, value)| Stored::parse(value.clone()).ok())
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use sr::xapi::XapiFields;
    use uuid::Uuid;

    use super::*;
    use crate::catalogue::vdi_key;
    use crate::record::{BaseSnapshot, ImageRef, SnapshotRef, Volume};

    fn disk(id: &str, depth: u32) -> VdiRecord {
        let image = ImageRef {
            name: format!("image \"{id}\""),
            id: id.to_owned(),
        };
        let volume = Volume::Head { image };
        VdiRecord::new(Uuid::new_v4(), volume, 1 << 30, XapiFields::default()).with_depth(depth)
    }

    #[test]
    fn only_vdis_whose_outline_matches_are_found_and_none_is_missed() {
        let (plain, deep, mut based) = (disk("1", 0), disk("2", 9), disk("3", 1));
        let snapshot = SnapshotRef {
            name: "base".to_owned(),
            id: 4,
        };
        based.base = Some(BaseSnapshot { snapshot, epoch: 0 });
        let mut entries = Entries::new();
        for mut record in [plain.clone(), deep.clone(), based.clone()] {
            entries.insert(vdi_key(&record.uuid), record.seal());
        }
        // A record that cannot be read, and an outline without the rest of a record.
        entries.insert(vdi_key(&Uuid::new_v4()), b"{".to_vec());
        let outline = br#"{"version": 1, "depth": 99, "volume": {"image": {"id": "1"}}}"#;
        entries.insert(vdi_key(&Uuid::new_v4()), outline.to_vec());
        let found = |matches: fn(&Outline<'_>) -> bool| {
            let found = vdis_if(&entries, matches).map(|stored| stored.record.uuid);
            found.collect::<Vec<_>>()
        };
        assert_eq!(found(|vdi| vdi.depth > 8), [deep.uuid]);
        assert_eq!(found(|vdi| vdi.has_base()), [based.uuid]);
        assert_eq!(found(|vdi| vdi.image_id() == "1"), [plain.uuid]);
        assert_eq!(found(|_| true).len(), 3);
    }
}
