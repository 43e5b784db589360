//! Disks whose images were resized by hand.
//!
//! A disk gets the size that its image has grown to: its device has that size anyway. A disk whose image is
//! too small is reported, and keeps its size: it cannot be activated. A disk in use keeps its size too, because its
//! tapdisk does: see `vdi/grown.rs`.
//!
//! Each image costs a request, so a scan looks at [`AT_ONCE`] records at most. The next scans look at
//! the others.

use crate::catalogue::{intent_key, vdi_key, with_prefix, Stored, VDI_PREFIX};
use crate::error::{Context, Result};
use crate::pool::{Entries, Transaction};
use crate::record::{Intent, VdiRecord};
use crate::CephSr;

/// How many records a scan looks at.
pub const AT_ONCE: usize = 32;
/// After how many seconds a scan looks at the next records.
const ROUND_SECONDS: u64 = 30;

impl CephSr<'_> {
    /// Writes the sizes of images that have grown to the catalogue, and to `entries`. Returns warnings for an
    /// administrator.
    pub(super) fn record_grown_sizes(&self, entries: &mut Entries) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        for stored in &self.disks_of_this_round(entries) {
            let record = &stored.record;
            let image = record.volume.image();
            let size = match self.pool.size(&image.id) {
                Err(e) if e.is_not_found() => continue, // reported below, or deleted in between
                other => other.doing(&format!("reading the size of image {}", image.name))?,
            };
            if let Err(e) = self.images.require_whole(record, size) {
                warnings.push(e.to_string());
            } else if size > record.size && record.claim.is_none() {
                self.record_grown_size(stored, size, entries)?;
            }
        }
        Ok(warnings)
    }

    /// The disks among the [`AT_ONCE`] records that this scan looks at.
    fn disks_of_this_round(&self, entries: &Entries) -> Vec<Stored<VdiRecord>> {
        // Only these records are parsed: all records of a large SR take tens of MiB.
        let count = with_prefix(entries, VDI_PREFIX).count();
        let round = usize::try_from(self.host.now() / ROUND_SECONDS).unwrap_or(0);
        let first = round % count.div_ceil(AT_ONCE).max(1) * AT_ONCE;
        with_prefix(entries, VDI_PREFIX)
            .skip(first)
            .take(AT_ONCE)
            .filter_map(|(_, value)| Stored::<VdiRecord>::parse(value.clone()).ok())
            .filter(|stored| stored.record.volume.snapshot().is_none())
            // A disk that forgets its changes gets its size back at its next start.
            .filter(|stored| stored.record.reset_point.is_none())
            .collect()
    }

    fn record_grown_size(
        &self,
        stored: &Stored<VdiRecord>,
        size: u64,
        entries: &mut Entries,
    ) -> Result<()> {
        let (mut record, key) = (stored.record.clone(), vdi_key(&stored.record.uuid));
        (record.size, record.epoch) = (size, record.epoch + 1);
        let transaction = Transaction::default()
            .expect(key.clone(), Some(stored))
            .expect::<Intent>(intent_key(&record.uuid), None)
            .write(key.clone(), &mut record);
        let doing = format!("recording the size of VDI {}", record.uuid);
        // If the swap does not apply, the record has changed: the next scan looks again.
        if self.catalogue.commit(&doing, &transaction)? {
            log::warn!(
                "VDI {}: its image {} was grown outside smblock, from {} to {size} bytes: the disk has that size now",
                record.uuid, record.volume.image().name, stored.record.size
            );
            if let Some(value) = transaction.set.get(&key) {
                entries.insert(key, value.clone());
            }
        }
        Ok(())
    }
}
