//! Listing the blocks that differ between two VDIs. `cbt.rs` states what is compared.
//!
//! Nothing is locked and nothing is written, so the command can be stopped anywhere. What is deleted meanwhile
//! cannot lead to a wrong list: snapshots are looked up again after each comparison (`ceph/changes.rs`), and
//! the record of a disk after all of them.

use uuid::Uuid;

use super::lineage::{legs, Leg, Point};
use crate::bitmap::Bitmap;
use crate::error::{CbtRefusal, Context, Result};
use crate::record::VdiRecord;
use crate::CephSr;

/// The largest disk in bytes whose changes are listed. Its list has 32 MiB, and a third more as text.
const MAX_SIZE: u64 = 16 << 40;

impl CephSr<'_> {
    /// Returns the blocks that differ between two VDIs. The bitmap is that of `to`: it has a bit for each of its
    /// blocks, and nothing of what `from` has beyond its end. Both must be tracked, and no disk in use. `from`
    /// may be newer than `to`.
    ///
    /// # Errors
    /// [`CbtRefusal`]: the blocks cannot be listed exactly.
    pub fn changed_blocks(&self, from: &Uuid, to: &Uuid) -> Result<Bitmap> {
        if from == to {
            return Err(CbtRefusal::Same { vdi: *to }.into());
        }
        let (older, newer) = (self.tracked(from)?, self.tracked(to)?);
        let (vdi, size) = (*to, newer.size);
        if size > MAX_SIZE {
            let max = MAX_SIZE;
            return Err(CbtRefusal::TooLarge { vdi, size, max }.into());
        }
        let points = (Point::of(&older.volume), Point::of(&newer.volume));
        let unrelated = CbtRefusal::Unrelated {
            from: *from,
            to: *to,
        };
        let legs = legs(&self.catalogue, &points.0, &points.1)?.ok_or(unrelated)?;
        let mut bitmap = Bitmap::new(size);
        for leg in &legs {
            bitmap.merge(&self.compare_points(leg, size, (from, to))?, 0);
        }
        for before in [&older, &newer] {
            self.require_same(before)?;
        }
        log::info!(
            "from VDI {from} to VDI {to}: {} blocks of 64 KiB may differ, compared on {} image(s)",
            bitmap.marked(),
            legs.len()
        );
        Ok(bitmap)
    }

    /// Returns the record of a tracked VDI that nothing writes to.
    fn tracked(&self, vdi: &Uuid) -> Result<VdiRecord> {
        let entry = self.catalogue.entry(vdi)?;
        let record = self.catalogue.present(&entry, vdi)?.record.clone();
        if !record.cbt {
            return Err(CbtRefusal::Untracked { vdi: *vdi }.into());
        }
        match &record.claim {
            None => Ok(record),
            Some(claim) => {
                let host = claim.owner.host.clone();
                Err(CbtRefusal::InUse { vdi: *vdi, host }.into())
            }
        }
    }

    fn compare_points(&self, leg: &Leg, size: u64, (from, to): (&Uuid, &Uuid)) -> Result<Bitmap> {
        let newer = leg.newer.as_ref().map(|snapshot| snapshot.id);
        let image = &leg.image;
        match self
            .pool
            .changed_blocks(&image.id, leg.older.id, newer, size)
        {
            Err(e) if e.is_not_found() => Err(CbtRefusal::PointGone {
                from: *from,
                to: *to,
                image: image.name.clone(),
                pool: self.pool.pool_name().to_owned(),
            }
            .into()),
            other => other.doing(&format!("listing what changed in image {}", image.name)),
        }
    }

    /// Refuses a disk that may have been written to since its record was read. Each claim, resize and revert
    /// raises the epoch.
    fn require_same(&self, before: &VdiRecord) -> Result<()> {
        if before.volume.snapshot().is_some() {
            return Ok(());
        }
        let vdi = before.uuid;
        let entry = self.catalogue.entry(&vdi)?;
        let same = entry.vdi.is_some_and(|now| {
            let now = now.record;
            now.epoch == before.epoch && now.claim.is_none() && now.volume == before.volume
        });
        match same {
            true => Ok(()),
            false => Err(CbtRefusal::Changed { vdi }.into()),
        }
    }
}
