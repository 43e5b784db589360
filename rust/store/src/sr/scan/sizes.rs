//! Disks whose images were resized by hand.
//!
//! A disk gets the size that its image has grown to: a plug shows it anyway. One whose image is
//! smaller than the disk is reported, and keeps its size: plugging it is refused.
//!
//! Each image costs a request, so a scan looks at [`AT_ONCE`] disks at most. The next scans look at
//! the others.

use super::Scan;
use crate::catalogue::{intent_key, vdi_key, Stored};
use crate::cluster::{Entries, Swap};
use crate::error::{Context, Result};
use crate::record::{Intent, VdiRecord};
use crate::sr::reclaim::pending::heads;
use crate::Repository;

/// How many images a scan looks at.
pub const AT_ONCE: usize = 32;
/// How often a scan begins at another disk, in seconds: as often as it looks at some.
const ROUND_SECONDS: u64 = 30;

impl Repository<'_> {
    /// Writes the sizes of images that have grown to the catalogue, and to `entries`.
    pub(super) fn take_sizes(&self, entries: &mut Entries, scan: &mut Scan) -> Result<()> {
        // A disk that forgets its changes gets its size back with its next start.
        let lasting = |stored: &Stored<VdiRecord>| stored.record.reset_point.is_none();
        let disks: Vec<_> = heads(entries).filter(lasting).collect();
        let count = disks.len().max(1);
        let first = usize::try_from(self.host.now() / ROUND_SECONDS).unwrap_or(0) % count;
        let first = (first * AT_ONCE) % count;
        for stored in disks
            .iter()
            .cycle()
            .skip(first)
            .take(AT_ONCE.min(disks.len()))
        {
            let record = &stored.record;
            let image = record.volume.image();
            let size = match self.cluster.size(&image.id) {
                Err(e) if e.is_not_found() => continue, // reported below, or deleted this moment
                other => other.doing(&format!("reading the size of image {}", image.name))?,
            };
            if let Err(e) = self.require_whole(record, size) {
                scan.warn(e.to_string());
            } else if size > record.size {
                self.take_size(stored, size, entries)?;
            }
        }
        Ok(())
    }

    fn take_size(
        &self,
        stored: &Stored<VdiRecord>,
        size: u64,
        entries: &mut Entries,
    ) -> Result<()> {
        let (mut record, key) = (stored.record.clone(), vdi_key(&stored.record.uuid));
        (record.size, record.epoch) = (size, record.epoch + 1);
        let swap = Swap::default()
            .expect(key.clone(), Some(stored))
            .expect::<Intent>(intent_key(&record.uuid), None)
            .write(key.clone(), &mut record);
        let doing = format!("taking over the size of VDI {}", record.uuid);
        // If the swap does not apply, the record has changed: the next scan looks again.
        if self.commit(&doing, &swap)? {
            log::warn!(
                "VDI {}: its image {} was grown outside smblock, from {} to {size} bytes: the disk has that size now",
                record.uuid, record.volume.image().name, stored.record.size
            );
            if let Some(value) = swap.set.get(&key) {
                entries.insert(key, value.clone());
            }
        }
        Ok(())
    }
}
